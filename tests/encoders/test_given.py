"""A user's module or object as an encoder: how it is called, its allowed outputs, its identity."""

from __future__ import annotations

import re
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bench
from bench.data.images import Input
from bench.encoders.parts.given import Given, eval_mode
from bench.errors import BenchError
from bench.results.record import Record
from bench.results.status import identities
from bench.tasks.cell import Cell
from bench.tasks.files import load, read

KNN = "digits-knn"
SCALE = 1.0  # read by `Scaled`

FINETUNE = """
title = "Fine-tuned"
version = 1
family = "finetune"
dataset = "digits"
targets = ["label"]
protocol = "finetune,images=300"
input = "images"
chance = 0.1
[replicates]
seeds = 1
[primary]
metric = "accuracy"
target = "label"
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPTRANSFER_CACHE", str(tmp_path / "cache"))


class Net(nn.Module):
    input = Input(size=(8, 8), channels=1)

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(64, 32)

    def forward(self, images: Tensor) -> Any:
        return self.layer(images.flatten(1))


class Gives(nn.Module):
    """Gives `make(pixels)` of images, pixels (n, 64)."""

    input = Net.input

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, images: Tensor) -> Any:
        return self.make(images.flatten(1))


class Scaled(nn.Module):
    input = Net.input

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) * SCALE


def score(encoder: object, tasks: Any = KNN) -> float:
    [record] = bench.evaluate(encoder, tasks).records
    assert record.status == "ok", record.reason
    assert record.primary is not None
    return float(record.primary.value)


def tuning(folder: Path) -> list[Any]:
    path = folder / "digits-tuned.toml"
    path.write_text(FINETUNE)
    return list(read(path))


# --- It is called


def binarise(module: nn.Module, arguments: Any) -> Any:
    return ((arguments[0] > 0.5).float(),)


def test_hooks_of_a_module_itself_run() -> None:
    hooked, images = Net(), torch.rand(5, 1, 8, 8)
    hooked.register_forward_pre_hook(binarise)
    hooked.register_forward_hook(lambda module, arguments, output: 2 * output)
    with torch.no_grad():
        assert torch.equal(Given(hooked)(images), hooked(images))
        assert not torch.equal(Given(Net())(images), hooked(images))
    assert score(hooked) < score(Net())


def test_hooks_on_an_encoder_whose_taps_are_called_are_refused() -> None:
    encoder = Given(Net())
    encoder.register_forward_pre_hook(binarise)
    with pytest.raises(BenchError, match="hooks of its own"):
        bench.evaluate(encoder, KNN)


def test_train_mode_scores_as_eval_mode_and_the_model_is_unchanged() -> None:
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.Dropout(), nn.Flatten())
    model.input = Net.input  # type: ignore[assignment]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert score(model.eval()) == score(model.train())
    assert all(part.training for part in model.modules())
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())


def test_a_module_in_train_mode_that_an_object_hides_is_reported() -> None:
    class Holder:
        input = Net.input

        def __init__(self) -> None:
            self.inner = nn.Sequential(nn.Flatten(), nn.Dropout())

        def forward(self, images: Tensor) -> Any:
            return self.inner(images)

    [record] = bench.evaluate(Holder(), KNN).records
    assert record.status == "failed" and "depend on the batch" in str(record.reason)


def test_what_forward_keeps_at_its_first_call_can_be_tuned_later(tmp_path: Path) -> None:
    class Keeps(Net):
        grid: Tensor | None = None

        def forward(self, images: Tensor) -> Tensor:
            if self.grid is None:
                self.grid = torch.linspace(0.5, 1, 32)[None]
            return torch.relu(self.layer(images.flatten(1))) * self.grid

    records = bench.evaluate(Keeps(), [KNN, *tuning(tmp_path)]).records
    assert [record.reason for record in records if record.status != "ok"] == []


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        (Net, r"Net is a class; give an object of it: Net\(\.\.\.\)"),
        (nn.Conv2d(1, 4, 3), r"\(2, 3, 32, 32\) and type float32.*input = bench\.Input"),
        (nn.Conv2d(1, 4, 3).half(), r"type float16, with weights of type float16"),
        (nn.Module(), "NotImplementedError"),
    ],
)
def test_what_cannot_encode_is_one_line(encoder: object, words: str) -> None:
    with pytest.raises(BenchError, match=words) as caught:
        bench.evaluate(encoder, KNN)
    assert "\n" not in str(caught.value)


def test_an_input_that_is_no_input_is_reported() -> None:
    model = Net()
    model.input = (8, 8)  # type: ignore[assignment]
    with pytest.raises(BenchError, match=r"`input` of Net is tuple; .*bench\.Input"):
        bench.evaluate(model, KNN)


def test_a_module_that_refuses_eval_is_one_line() -> None:
    class Exported(Net):
        def train(self, mode: bool = True) -> Any:
            raise NotImplementedError("Calling train() or eval() is not supported.")

    with pytest.raises(BenchError, match=r"Exported\.eval\(\) fails .*within an object"):
        bench.evaluate(Exported(), KNN)


class Slopes(Net):
    """Gives the gradient of its squared output."""

    def forward(self, images: Tensor) -> Any:
        with torch.enable_grad():
            images = images.detach().requires_grad_()
            (slopes,) = torch.autograd.grad(super().forward(images).square().sum(), images)
        return slopes.flatten(1)


def test_a_model_may_take_gradients_of_its_own() -> None:
    assert score(Slopes()) > 0.9


def test_a_model_that_exits_is_one_line() -> None:
    with pytest.raises(BenchError, match="SystemExit: 3"):
        bench.evaluate(Gives(lambda pixels: sys.exit(3)), KNN)


SURROUNDINGS: dict[str, Callable[[], Any]] = {
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "strict NumPy": lambda: np.errstate(all="raise"),
}


@pytest.fixture(scope="module")
def alone() -> list[Any]:
    """The records of an encoder of the catalogue and of `Net` where nothing is set."""
    return [bench.evaluate(encoder, KNN).records[0] for encoder in ("autoencoder~256", Net())]


@pytest.mark.parametrize("what", [*SURROUNDINGS, "double"])
def test_scores_do_not_depend_on_what_the_caller_has_set(what: str, alone: list[Any]) -> None:
    encoders = ["autoencoder~256", Net()]
    assert [record.status for record in alone] == ["ok", "ok"]
    if what == "double":
        torch.set_default_dtype(torch.float64)
    with SURROUNDINGS.get(what, nullcontext)():
        try:
            inside = [bench.evaluate(encoder, KNN).records[0] for encoder in encoders]
        except BenchError as error:
            pytest.fail(str(error))
        finally:
            torch.set_default_dtype(torch.float32)
    assert [record.reason for record in inside] == [None, None]
    assert [record.digest for record in inside] == [record.digest for record in alone]


# --- Types of weights


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_are_cast_to_the_type_of_the_weights(dtype: torch.dtype) -> None:
    model, images = Net().to(dtype), torch.rand(5, 1, 8, 8)
    features = Given(model)(images)
    assert features.dtype == torch.float32
    assert torch.equal(features, model(images.to(dtype)).float())
    assert abs(score(model) - score(Net())) < 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_deep_half_precision_weights_are_not_taken_for_a_live_batch_norm(dtype: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Sequential(nn.Linear(64, 64), nn.ReLU()) for _ in range(4)]
    model = nn.Sequential(nn.Flatten(), *layers).to(dtype)
    model.input = Net.input  # type: ignore[assignment]
    assert score(model) > 0.8


def test_a_model_that_casts_for_itself_gets_float32() -> None:
    class Casts(Net):
        def forward(self, images: Tensor) -> Tensor:
            assert images.dtype == torch.float32
            return self.layer(images.flatten(1).double())

    assert score(Casts().double()) == pytest.approx(score(Net()), abs=0.01)


def test_half_precision_weights_are_tuned_in_float32(tmp_path: Path) -> None:
    model = Net().half()
    assert score(model, tuning(tmp_path)) > 0.5
    assert model.layer.weight.dtype == torch.float16


# --- Quantised


def quantised() -> nn.Module:
    model = Net()
    model.layer = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32))  # type: ignore[assignment]
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)))
    return model.eval()


def in_int8(model: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch announces a successor
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear})


def test_an_int8_model_scores_like_its_float_model(tmp_path: Path) -> None:
    model, int8 = quantised(), in_int8(quantised())
    assert abs(score(int8) - score(model)) < 0.01
    [tuned] = bench.evaluate(int8, tuning(tmp_path)).records
    assert tuned.status == "declined" and "passes no gradients" in str(tuned.reason)


def test_features_of_an_int8_model_do_not_depend_on_the_batch() -> None:
    encoder, images = Given(in_int8(quantised())), torch.rand(6, 1, 8, 8)
    images[3] *= 9  # would stretch the scale of its batch
    assert torch.equal(encoder(images), torch.cat([encoder(image[None]) for image in images]))


def test_quantised_state_is_read_and_counts() -> None:
    from bench.encoders.parts.state import state_arrays, state_tensors

    first, same, third = in_int8(quantised()), in_int8(quantised()), quantised()
    with torch.no_grad():
        third.layer[0].weight.mul_(1.5)  # type: ignore[index, union-attr]
    third = in_int8(third)
    assert {t.is_quantized for t in state_tensors(first).values()} == {True, False}
    weight = next(name for name, t in state_tensors(first).items() if t.is_quantized)
    gap = state_arrays(first)[weight] - quantised().layer[0].weight.detach().numpy()  # type: ignore[index, union-attr]
    assert np.abs(gap).max() < 0.05
    assert known_by(first) == known_by(same) != known_by(third)


def test_state_that_numpy_has_no_type_for_keeps_its_values() -> None:
    from bench.encoders.parts.state import state_arrays

    for dtype in (torch.bfloat16, torch.float8_e4m3fn):
        model = Net().to(dtype)
        assert state_arrays(model)["layer.weight"].dtype == np.float32
        assert np.array_equal(
            state_arrays(model)["layer.weight"], model.layer.weight.detach().float().numpy()
        )


# --- What it gives

PLAIN: dict[str, Callable[[Tensor], Any]] = {
    "a tuple of one": lambda x: (x,),
    "a tuple with None": lambda x: (x, None),
    "a mapping of one": lambda x: OrderedDict(features=x),
    "a list of one": lambda x: [x],
    "a list of rows": lambda x: list(x),
    "a list of lists": lambda x: x.tolist(),
    "an array": lambda x: x.numpy(),
    "an array in a mapping": lambda x: {"code": x.double().numpy()},
    "double": lambda x: x.double(),
    "pooled maps": lambda x: x[:, :, None, None],
    "not contiguous": lambda x: x.T.contiguous().T,
    "expanded": lambda x: x[:, :, None].expand(-1, -1, 3)[:, :, 1],
    "sparse": lambda x: x.to_sparse(),
}


@pytest.mark.parametrize("case", PLAIN)
def test_an_output_of_one_meaning_is_its_features(case: str) -> None:
    pixels = torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        features = Given(Gives(PLAIN[case]))(pixels)
    assert features.dtype == torch.float32
    assert torch.equal(features, pixels.flatten(1))


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
)
def test_numbers_of_any_type_are_features(dtype: torch.dtype) -> None:
    pixels = 9 * torch.rand(5, 1, 8, 8)
    assert torch.equal(
        Given(Gives(lambda x: x.to(dtype)))(pixels), pixels.flatten(1).to(dtype).float()
    )
    assert score(Gives(lambda x: (16 * x).to(dtype))) > 0.2


def test_quantised_features_stand_for_their_values() -> None:
    pixels = torch.randint(0, 9, (5, 1, 8, 8)).float()
    encoder = Given(Gives(lambda x: torch.quantize_per_tensor(x, 1.0, 0, torch.quint8)))
    assert torch.equal(encoder(pixels), pixels.flatten(1))


REFUSED: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "two tensors": (
        lambda x: (x, x[:, :3]),
        r"tuple of Tensor float32 \(2, 64\), Tensor float32 \(2, 3\)",
    ),
    "two entries": (lambda x: {"a": x, "b": x}, r"dict of a: Tensor float32 \(2, 64\), b: Tensor"),
    "maps": (lambda x: x.view(-1, 4, 4, 4), r"\(2, 4, 4, 4\) .*maps: pool or flatten"),
    "tokens": (lambda x: x.view(-1, 16, 4), r"Tensor float32 \(2, 16, 4\)"),
    "complex": (lambda x: x + 1j * x, r"complex64 \(2, 64\) .*no real numbers"),
    "a number an image": (lambda x: x[:, 0], r"Tensor float32 \(2,\)"),
    "one row": (lambda x: x[:1], r"\(1, 64\) for 2 images"),
    "no features": (lambda x: x[:, :0], r"\(2, 0\)"),
    "nothing": (lambda x: None, "NoneType for 2 images"),
    "an empty tuple": (lambda x: (), "tuple"),
    "words": (lambda x: np.array(["a", "b"]), "ndarray"),
    "without values": (lambda x: x.to("meta"), "on meta"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_output_that_is_no_features_is_one_line(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(BenchError, match=words) as caught:
        bench.evaluate(Gives(make), KNN)
    assert "\n" not in str(caught.value)
    assert "expected real features of shape (2, dim)" in str(caught.value)


def test_an_encoder_that_loses_a_batch_of_one_is_reported() -> None:
    [record] = bench.evaluate(Gives(lambda x: x.squeeze()), KNN).records
    assert record.status == "failed"
    assert "gives Tensor float32 (64,) for 1 images" in str(record.reason)


class Levels(bench.Encoder):
    """An encoder whose `taps` gives `make(pixels)`."""

    seeded = False

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make, self.input, self.dims = make, Net.input, {"code": 64}

    def taps(self, images: Tensor) -> Any:
        return self.make(images.flatten(1))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: {"code": x + 1j * x}, "complex64"),
        (lambda x: {"cod": x}, r"taps gives levels \['cod'\]; `dims` promises level 'code'"),
        (lambda x: x, "taps gives Tensor"),
        (lambda x: {"code": x.numpy()}, "is ndarray; expected a tensor"),
        (lambda x: {"code": x[:, :3]}, r"dims promises \(64, 64\)"),
    ],
)
def test_taps_that_are_no_levels_are_reported(make: Any, words: str) -> None:
    [record] = bench.evaluate(Levels(make), KNN).records
    assert record.status == "failed" and re.search(words, str(record.reason)), record.reason


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_script_is_refused_by_what_is_wrong_in_it() -> None:
    script = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    with pytest.raises(BenchError, match=r"mat1 and mat2 shapes cannot be multiplied .*2x3072"):
        bench.evaluate(script, KNN)


# --- Collapsed


@pytest.mark.parametrize("noise", [0.0, 1e-7])
@pytest.mark.parametrize(
    "task",
    [KNN, "digits-linear", "digits-few_labels", "digits-zeroshot", "finetune", "diagnostics"],
)
def test_collapsed_features_have_one_answer_everywhere(
    task: str, noise: float, tmp_path: Path
) -> None:
    path = tmp_path / "digits-diagnosed.toml"
    path.write_text(
        FINETUNE.replace('"finetune"', '"diagnostics"')
        .replace("finetune,images=300", "knn,k=5")
        .replace('input = "images"', 'diagnostics = ["effective_rank"]')
    )
    tasks = {"finetune": lambda: tuning(tmp_path), "diagnostics": lambda: list(read(path))}
    encoder = Gives(lambda x: 3 + noise * x)
    [record] = bench.evaluate(encoder, tasks[task]() if task in tasks else task).records
    assert record.status == "failed" and record.primary is None
    assert "the encoder has collapsed: all features" in str(record.reason)


def test_a_nearly_constant_encoder_is_not_collapsed() -> None:
    assert score(Gives(lambda x: 1 + 1e-4 * x)) > 0.5
    assert score(Gives(lambda x: torch.cat([0 * x, x[:, 10:40]], dim=1))) > 0.5


# --- What it is known by


def known_by(value: object) -> str:
    return str(identities(Cell(load(KNN), Given(value))).encoder.digest)


def test_equal_models_have_equal_digests_in_train_mode_and_after_a_call() -> None:
    model = Net()
    with eval_mode(model):
        before = known_by(model)
    model(torch.rand(2, 1, 8, 8))
    assert before == known_by(model.train()) == known_by(Net())


def test_a_digest_is_that_of_another_process() -> None:
    import subprocess
    import sys

    code = (
        "from tests.encoders.test_given import *\n"
        "model = Net(); model.register_forward_pre_hook(binarise); print(known_by(model))"
    )
    model = Net()
    model.register_forward_pre_hook(binarise).remove()  # keys of hooks count up
    model.register_forward_pre_hook(binarise)
    root = str(Path(__file__).parents[2])
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True
    )
    assert printed.stdout.strip() == known_by(model)


def rescale(model: Any) -> None:
    model.layer.weight.data.mul_(2)


def hook(model: Any) -> None:
    model.register_forward_hook(lambda module, arguments, output: output * 2)


def hook_within(model: Any) -> None:
    model.layer.register_forward_pre_hook(binarise)


def add_buffer(model: Any) -> None:
    model.register_buffer("mean", torch.ones(3), persistent=False)


def set_attribute(model: Any) -> None:
    model.factor = 0.5


def fill_list(model: Any) -> None:
    model.steps = [nn.Linear(2, 2)]


def replace_forward(model: Any) -> None:
    model.forward = lambda images: images.flatten(1)


def freeze_type(model: Any) -> None:
    model.half()


@pytest.mark.parametrize(
    "change",
    [
        rescale,
        hook,
        hook_within,
        add_buffer,
        set_attribute,
        fill_list,
        replace_forward,
        freeze_type,
    ],
)
def test_a_model_changed_in_place_has_another_digest(change: Callable[[Any], None]) -> None:
    model = Net()
    before = known_by(model)
    change(model)
    assert known_by(model) != before


def test_a_hook_is_known_by_what_it_does() -> None:
    def halved(factor: float) -> Any:
        return lambda module, arguments, output: output * factor

    digests = []
    for factor in (0.5, 0.5, 0.25):
        model = Net()
        model.register_forward_hook(halved(factor))
        digests.append(known_by(model))
    assert digests[0] == digests[1] != digests[2]


def test_a_global_that_forward_reads_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = known_by(Scaled())
    monkeypatch.setattr(f"{__name__}.SCALE", 2.0)
    assert known_by(Scaled()) != before


def test_an_object_that_is_no_module_is_known_by_the_model_within() -> None:
    class Holder:
        input = Net.input

        def __init__(self, factor: float) -> None:
            self.model = Net()
            self.model.layer.weight.data.mul_(factor)

        def forward(self, images: Tensor) -> Any:
            return self.model(images)

    assert known_by(Holder(1)) == known_by(Holder(1)) != known_by(Holder(2))


def test_records_of_a_changed_model_differ_and_of_an_unchanged_one_do_not() -> None:
    def identity(record: Record) -> Any:
        return record.encoder.digest

    model = Net()
    first, again = (bench.evaluate(model, KNN).records[0] for _ in range(2))
    assert (identity(first), first.digest) == (identity(again), again.digest)
    model.register_forward_pre_hook(binarise)
    [changed] = bench.evaluate(model, KNN).records
    assert identity(changed) != identity(first)


def test_a_model_too_deep_to_be_read_is_never_taken_for_a_former_one() -> None:
    chain: list[Any] = []
    for _ in range(100_000):
        chain = [chain]
    model = Net()
    model.chain = chain  # type: ignore[assignment]
    assert known_by(model) != known_by(model)
