"""Back ends: each agrees with eager PyTorch or is refused with its reason, and no encoder changes."""

from __future__ import annotations

import builtins
import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.data.images import Input
from bench.encoders.base import Encoder
from bench.errors import BenchError
from bench.running import backends
from bench.running.backends import backend_for

BACKENDS = ("channels_last", "onnxruntime")


class Small(Encoder):
    """Two convolutions with batch norm whose running statistics are not the initial ones."""

    def __init__(self, *backends: str, size: int = 12) -> None:
        super().__init__()
        self.backends = backends
        self.input = Input(size=(size, size), channels=3)
        self.dims = {"trunk": 8, "code": 3}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
            self.second = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
            self.to_code = nn.Linear(8, 3)
            self.train().taps(torch.rand(20, 3, size, size))
        self.eval()

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        trunk = self.second(self.first(images)).mean(dim=(2, 3))
        return {"code": self.to_code(trunk), "trunk": trunk}  # not in the order of dims


class Deciding(Small):
    """Decides in Python by what it sees: a trace would freeze one branch."""

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return super().taps(images if images.mean() > 0.1 else 1 - images)


class Wide(Small):
    """Pools to more pixels than there are, which the TorchScript exporter refuses."""

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return super().taps(nn.functional.adaptive_avg_pool2d(images, 17))


class Borrowing(Small):
    """Each row leans on the others of its batch."""

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return super().taps(images - images.mean(dim=0))


class Timm(Encoder):
    backends = ("onnxruntime", "channels_last")

    def __init__(self, name: str) -> None:
        super().__init__()
        import timm

        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model = timm.create_model(name, pretrained=False, num_classes=0).eval()
        self.input = Input(size=(32, 32), channels=3)
        self.dims = {"code": self.model.head_hidden_size, "trunk": self.model.num_features}
        self.eval()

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        features = self.model.forward_features(images)
        code = self.model.forward_head(features, pre_logits=True)
        return {"trunk": features.mean(dim=(2, 3)), "code": code}


def pictures(count: int, size: int = 12) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(count))


def gap(outputs: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> float:
    """The largest difference in units of the RMS of the level."""
    assert set(outputs) == set(truth)
    return max(
        float((outputs[level] - rows).abs().max() / rows.square().mean().sqrt())
        for level, rows in truth.items()
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_back_end_agrees_with_eager_at_any_batch_size(backend: str) -> None:
    encoder, images = Small(backend), pictures(256)
    chosen = backend_for(encoder, pictures(20))
    assert (chosen.name, dict(chosen.refused)) == (backend, {})
    with torch.inference_mode():
        truth = encoder.taps(images)
    for count in (1, 7, 16, 256):
        taps = chosen.taps(images[:count])
        assert list(taps) == ["trunk", "code"]
        assert all(rows.dtype == torch.float32 and len(rows) == count for rows in taps.values())
        assert gap(taps, {level: rows[:count] for level, rows in truth.items()}) < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_back_end_runs_a_pretrained_architecture(backend: str) -> None:
    encoder = Timm("mobilenetv3_small_050")
    encoder.backends = (backend,)
    chosen = backend_for(encoder, pictures(8, 32))
    assert chosen.name == backend
    images = pictures(33, 32)
    with torch.inference_mode():
        assert gap(chosen.taps(images), encoder.taps(images)) < 1e-4


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_encoder_stays_as_it_was(backend: str) -> None:
    encoder = Small(backend)
    encoder.to_code.weight.requires_grad_(False)
    before = copy.deepcopy(encoder)
    backend_for(encoder, pictures(8))
    after, state = encoder.state_dict(), before.state_dict()
    assert all(torch.equal(after[name], state[name]) for name in state) and len(after) == len(state)
    assert not any(part.training for part in encoder.modules())
    for ours, theirs in zip(encoder.parameters(), before.parameters(), strict=True):
        assert ours.stride() == theirs.stride() and ours.requires_grad == theirs.requires_grad
        assert ours.grad is None


def test_a_later_change_of_the_encoder_reaches_no_copy() -> None:
    encoder = Small("channels_last")
    backend, images = backend_for(encoder, pictures(8)), pictures(3)
    before = backend.taps(images)["code"]
    nn.init.zeros_(encoder.to_code.weight)
    assert torch.equal(backend.taps(images)["code"], before)


def test_an_encoder_that_names_none_runs_in_eager_mode() -> None:
    encoder, images = Small(), pictures(5)
    backend = backend_for(encoder, images)
    assert (backend.name, dict(backend.refused)) == ("eager", {})
    with torch.inference_mode():
        assert gap(backend.taps(images), encoder.taps(images)) == 0


def planted(change: Callable[[Tensor], Tensor]) -> Callable[[Encoder, Tensor], Any]:
    def back_end(encoder: Encoder, sample: Tensor) -> Any:
        return lambda images: {level: change(x) for level, x in encoder.taps(images).items()}

    return back_end


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows + 0.02 * rows.square().mean().sqrt(), "differs from eager by 0.0"),
        (lambda rows: rows / 0, "gives NaN or infinity"),
        (lambda rows: rows[:, :1], "another shape than eager for level 'trunk'"),
        (lambda rows: rows if len(rows) != 7 else rows + 1, "differs from eager"),
        (lambda rows: rows.view(9, -1), "fails on 1 images: RuntimeError"),
    ],
)
def test_a_disagreement_is_refused(
    change: Callable[[Tensor], Tensor], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "_BACKENDS", {**backends._BACKENDS, "planted": planted(change)})
    backend = backend_for(Small("planted", "channels_last"), pictures(9))
    assert backend.name == "channels_last"
    assert reason in backend.refused["planted"] and "\n" not in backend.refused["planted"]


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_what_is_not_installed_is_refused(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == missing:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    backend = backend_for(Small("onnxruntime", "channels_last"), pictures(8))
    assert backend.name == "channels_last"
    assert backend.refused == {"onnxruntime": "not installed: pip install 'reptransfer[fast]'"}


def test_a_decision_in_python_is_not_frozen(capfd: pytest.CaptureFixture[str]) -> None:
    backend = backend_for(Deciding("onnxruntime"), pictures(8))
    assert backend.name == "eager"
    assert backend.refused["onnxruntime"].startswith("export failed: ")
    assert "\n" not in backend.refused["onnxruntime"]
    assert capfd.readouterr() == ("", "")


def test_the_other_exporter_is_asked_where_the_first_fails(
    capfd: pytest.CaptureFixture[str],
) -> None:
    encoder, images = Wide("onnxruntime"), pictures(21)
    backend = backend_for(encoder, pictures(8))
    assert (backend.name, dict(backend.refused)) == ("onnxruntime", {})
    with torch.inference_mode():
        assert gap(backend.taps(images), encoder.taps(images)) < 1e-5
    assert capfd.readouterr() == ("", "")  # the first one writes the graph past Python


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_that_lean_on_their_batch_are_refused(backend: str) -> None:
    chosen = backend_for(Borrowing(backend), pictures(20))
    assert chosen.name == "eager" and "differs from eager" in chosen.refused[backend]


def test_on_another_device_than_the_cpu_it_is_eager() -> None:
    encoder = Small(*BACKENDS).to("meta")
    backend = backend_for(encoder, torch.rand(2, 3, 12, 12, device="meta"))
    assert backend.name == "eager"
    assert backend.refused == dict.fromkeys(BACKENDS, "for the CPU; the encoder is on meta")


def test_faults_of_the_author_are_said() -> None:
    with pytest.raises(BenchError, match=r"no back end 'onnx_runtime'.*onnxruntime"):
        backend_for(Small("channels_last", "onnx_runtime"), pictures(2))
    with pytest.raises(BenchError, match="training mode"):
        backend_for(Small("channels_last").train(), pictures(2))
    halfway = Small("channels_last")
    halfway.second.train()
    with pytest.raises(BenchError, match="training mode"):
        backend_for(halfway, pictures(2))
    with pytest.raises(BenchError, match="empty"):
        backend_for(Small("channels_last"), pictures(0))
