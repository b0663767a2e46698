"""The shared trunk, the loop that trains, the heads of labels: against NumPy, scikit-learn, loops."""

from __future__ import annotations

import io
import math
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.special import expit, log_softmax
from sklearn.metrics import log_loss, mean_squared_error
from torch import Tensor, nn

from bench import testing
from bench.data.images import ArrayImages, Delivery, Input
from bench.data.samples import SourceInfo, Target
from bench.datasets.base import DataSets
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.labels import Heads, as_tensors, pick
from bench.encoders.parts.training import train
from bench.encoders.parts.trunk import ConvDecoder, ConvTrunk, _initialised, conv_input
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.running.runner import run_cell
from bench.running.workspace import Workspace, fresh
from bench.seeding import minibatches, seeded, stream
from bench.tasks.cell import Cell
from bench.tasks.task import Primary, Replicates, Task
from tests.kit import TOYS

Array = npt.NDArray[Any]
QUADRANTS = f"{TOYS / 'quadrants'}.py"
LABEL = {"label": Target("classes", 2, ("even", "odd"))}
KINDS = ["autoencoder", "vae", "supervised"]
PLAIN = Input(size=(4, 4), channels=1)


def made(text: str, *, seed: int = 0, channels: Any = 1) -> Any:
    """An untrained encoder, as the workspace builds it."""
    return fresh(resolve("encoders", text), SourceInfo(channels, 32, 32, LABEL), seed, {})


def small(kind: str, *, seed: int = 0) -> Any:
    return made(f"{kind},width=8,code=4", seed=seed)


def delivery(count: int, input: Input = PLAIN, *, seed: int = 0) -> Delivery:
    return Delivery(testing.tiny_images(count, input, seed=seed), input)


def fit(encoder: Encoder, *, count: int = 20, budget: int = 40, seed: int = 0) -> FitReport:
    """A fit on images in the encoder's own form, all of them labelled."""
    labels = {"label": np.arange(count) % 2} if encoder.uses_labels else None
    images = delivery(count, encoder.input)
    return encoder.fit(images, labels=labels, budget=budget, seed=seed)


def scrambled(module: nn.Module) -> nn.Module:
    """All parameters away from where they start, so that scales and biases count."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


# --- The trunk and its mirror image, in NumPy


def plain_conv(x: Array, layer: Any) -> Array:
    """4 x 4 kernels, stride 2, one pixel of zeros around."""
    weight, bias = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
    padded, side = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), x.shape[2] // 2
    output = np.empty((len(x), len(weight), side, side))
    for i in range(side):
        for j in range(side):
            patch = padded[:, :, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
            output[:, :, i, j] = np.einsum("nchw,ochw->no", patch, weight) + bias
    return output


def plain_transposed(x: Array, layer: Any) -> Array:
    """Each pixel stamps its kernel; the outermost pixels are cut."""
    weight, bias = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
    side = x.shape[2]
    output = np.zeros((len(x), weight.shape[1], 2 * side + 2, 2 * side + 2))
    for i in range(side):
        for j in range(side):
            stamp = np.einsum("ni,iohw->nohw", x[:, :, i, j], weight)
            output[:, :, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += stamp
    return output[:, :, 1:-1, 1:-1] + bias[:, None, None]


def plain_subpixels(x: Array, layer: Any) -> Array:
    """3 x 3 kernels, one pixel of zeros around; four maps make one of twice the side."""
    weight, bias = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
    padded, side = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), x.shape[2]
    output = np.empty((len(x), len(weight) // 4, 2 * side, 2 * side))
    for i in range(side):
        for j in range(side):
            four = np.einsum("nchw,ochw->no", padded[:, :, i : i + 3, j : j + 3], weight) + bias
            output[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = four.reshape(len(x), -1, 2, 2)
    return output


def plain_norm(x: Array, layer: Any) -> Array:
    """GroupNorm of 8 groups, then LeakyReLU of 0.2."""
    weight, bias = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
    groups = x.reshape(len(x), 8, -1)
    groups = groups - groups.mean(axis=2, keepdims=True)
    groups = groups / np.sqrt((groups**2).mean(axis=2, keepdims=True) + 1e-5)
    y = groups.reshape(x.shape) * weight[:, None, None] + bias[:, None, None]
    return np.where(y > 0, y, 0.2 * y)


@pytest.mark.parametrize("channels", [1, 3])
def test_all_levels_equal_a_plain_computation(channels: int) -> None:
    trunk, to_code = scrambled(ConvTrunk(channels, 8)), scrambled(nn.Linear(512, 5))
    images = torch.rand(3, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    x, pooled = 2 * images.double().numpy() - 1, []
    for block in trunk.blocks:  # type: ignore[union-attr]
        x = plain_norm(plain_conv(x, block[0]), block[1])
        n, c, side, _ = x.shape
        pooled.append(x.reshape(n, c, 4, side // 4, 4, side // 4).max(axis=(3, 5)).reshape(n, -1))
    flat = x.reshape(3, -1)
    code = flat @ to_code.weight.detach().double().numpy().T  # type: ignore[operator,union-attr]
    expected = {
        "trunk": flat,
        "code": code + to_code.bias.detach().double().numpy(),  # type: ignore[operator,union-attr]
        "multi": np.concatenate(pooled, axis=1),
    }
    values = trunk.taps(images, to_code)  # type: ignore[operator]
    assert list(values) == list(expected)
    for level, features in expected.items():
        np.testing.assert_allclose(values[level].detach().numpy(), features, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_decoder_equals_a_plain_computation_and_mirrors_the_trunk(channels: int) -> None:
    decoder: Any = scrambled(ConvDecoder(5, channels, 8))
    codes = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    first, layers = decoder.first, decoder.layers
    x = codes.double().numpy() @ first.weight.detach().double().numpy().T
    x = (x + first.bias.detach().double().numpy()).reshape(3, 32, 4, 4)
    for at in (0, 3):
        x = plain_transposed(plain_norm(x, layers[at]), layers[at + 2])
    x = plain_subpixels(plain_norm(x, layers[6]), layers[8])
    assert x.shape == (3, channels, 32, 32)
    np.testing.assert_allclose(decoder(codes).detach().numpy(), (x + 1) / 2, rtol=1e-3, atol=1e-3)

    trunk = ConvTrunk(channels, 8)
    shapes = [tuple(b[0].weight.shape) for b in trunk.blocks]  # type: ignore[index]
    assert [tuple(layers[at].weight.shape) for at in (5, 2)] == shapes[1:]
    assert first.weight.shape[::-1] == nn.Linear(trunk.dim, 5).weight.shape


def test_what_is_decoded_is_not_cut() -> None:
    decoder: Any = ConvDecoder(5, 1, 8)
    with torch.no_grad():
        last = decoder.layers[-2]
        last.weight.zero_()
        for bias, expected in ((0.0, 0.5), (1.0, 1.0), (5.0, 3.0), (-5.0, -2.0)):
            last.bias.fill_(bias)
            assert decoder(torch.zeros(2, 5)).unique().tolist() == [expected]


def test_the_grey_trunk_of_width_16_with_a_code_of_64_has_107152_parameters() -> None:
    encoder = made("autoencoder,width=16,code=64")
    parameters = {
        n: p.numel() for n, p in encoder.named_parameters() if not n.startswith("decoder")
    }
    assert sum(parameters.values()) == 107_152
    assert all(p.requires_grad for p in encoder.parameters()) and not list(encoder.buffers())


@pytest.mark.parametrize("width", [8, 16, 24])
@pytest.mark.parametrize("kind", KINDS)
def test_dimensions_follow_width_and_code_and_the_trunk_is_ranked(kind: str, width: int) -> None:
    encoder = made(f"{kind},width={width},code=7")
    assert dict(encoder.dims) == {"trunk": 64 * width, "code": 7, "multi": 112 * width}
    assert encoder.level == "trunk"
    taps = encoder.taps(torch.rand(2, 1, 32, 32))
    assert {n: tuple(t.shape) for n, t in taps.items()} == {
        n: (2, d) for n, d in encoder.dims.items()
    }


@pytest.mark.parametrize("channels", [1, 3])
def test_images_come_at_32_pixels_in_their_own_channels(channels: Any) -> None:
    form = conv_input(SourceInfo(channels, 28, 57, {}))
    assert (form.size, form.channels, form.crop) == ((32, 32), channels, 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_stages_compose_to_the_trunk_and_hold_each_of_its_parameters_once(kind: str) -> None:
    encoder = small(kind)
    scrambled(encoder)
    stages, images = encoder.stages(), torch.rand(3, 1, 32, 32)
    x = images
    for stage in stages:
        x = stage(x)
    assert len(stages) == 3 and torch.equal(x, encoder(images))
    assert torch.equal(stages(images), encoder.taps(images)["trunk"])
    held = [id(p) for stage in stages for p in stage.parameters()]
    assert len(held) == len(set(held)) == 12
    assert set(held) == {id(p) for p in encoder.trunk.parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_depends_on_its_batch_or_on_the_mode(kind: str) -> None:
    encoder = small(kind)
    scrambled(encoder)
    images = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    others = torch.cat([images[:1], 1 - images[1:] ** 2])
    with torch.no_grad():
        whole = encoder.eval().taps(images)
        training = encoder.train().taps(images)
        single, mixed = encoder.taps(images[:1]), encoder.taps(others)
    for level, features in whole.items():
        torch.testing.assert_close(training[level], features)
        for mixture in (single, mixed):
            torch.testing.assert_close(mixture[level][:1], features[:1], atol=1e-4, rtol=1e-4)
        assert (mixed[level][1:] - features[1:]).abs().max() > 0.1


def test_all_kinds_start_from_the_same_trunk_and_autoencoders_from_the_same_decoder() -> None:
    ae, vae, supervised = (small(kind, seed=5).state_dict() for kind in KINDS)
    trunks = [name for name in ae if name.startswith("trunk.")]
    decoders = [name for name in ae if name.startswith("decoder.")]
    assert len(trunks) == 12 and len(decoders) == 14
    for name in trunks:
        assert torch.equal(ae[name], vae[name]) and torch.equal(ae[name], supervised[name])
    for name in decoders:
        assert torch.equal(ae[name], vae[name])
    for part in ("weight", "bias"):
        assert torch.equal(ae[f"to_code.0.{part}"], vae[f"to_mean.{part}"])
        assert torch.equal(ae[f"to_code.0.{part}"], supervised[f"to_code.{part}"])
    state = small("autoencoder", seed=6).state_dict()
    assert not torch.equal(ae["trunk.blocks.0.0.weight"], state["trunk.blocks.0.0.weight"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_depends_on_the_seed_and_not_on_global_state(kind: str) -> None:
    torch.manual_seed(1)
    first = small(kind).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = small(kind).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(again[name], value) for name, value in first.items())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(64, 128, 4, stride=2, padding=1),
        nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1),
        nn.Linear(2048, 512),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_the_start_keeps_the_scale_of_activations(layer: Any) -> None:
    with seeded(0), torch.no_grad():
        _initialised(layer)
        flat = isinstance(layer, nn.Linear)
        x = torch.randn((64, 2048) if flat else (8, layer.in_channels, 16, 16))
        y = layer(x)
        y = y if flat else y[:, :, 2:-2, 2:-2]  # zeros around take from the rim
    assert float(nn.functional.leaky_relu(y, 0.2).square().mean()) == pytest.approx(1.04, rel=0.05)
    assert layer.bias.abs().max() == 0
    assert float(layer.weight.detach().mean()) == pytest.approx(0, abs=1e-3)


def test_the_last_layer_of_the_decoder_keeps_the_variance_itself() -> None:
    with seeded(0), torch.no_grad():
        last: Any = ConvDecoder(4, 3, 64).layers[-2:]
        y = last(torch.randn(16, 64, 16, 16))[:, :, 2:-2, 2:-2]
    assert float(y.square().mean()) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("argument", ["code=0", "width=0", "width=4", "width=12", "width=-8"])
def test_sizes_that_cannot_be_built_are_reported_in_one_line(kind: str, argument: str) -> None:
    with pytest.raises(BenchError, match=f"{kind},{argument}: must be ") as caught:
        made(f"{kind},{argument}")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", KINDS)
def test_a_negative_rate_is_reported_in_one_line(kind: str) -> None:
    with pytest.raises(BenchError, match="rate=-1"):
        fit(made(f"{kind},width=8,code=4,rate=-1"))


# --- The order of the minibatches


def order(count: int, budget: int, seed: int) -> Array:
    """Whole permutations after each other, cut where the budget ends."""
    rng = np.random.default_rng(stream(seed, "batches"))
    epochs = [rng.permutation(count) for _ in range(-(-budget // count))]
    return np.concatenate(epochs)[:budget]


SHAPES = [  # count, budget, batch
    (10, 40, 5),
    (10, 37, 5),
    (10, 43, 7),
    (10, 3, 5),
    (3, 20, 8),
    (1, 5, 2),
    (10, 1, 1),
    (7, 7, 7),
]


class Scale(nn.Module):
    """One number to learn; keeps the rows that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.rows = nn.Parameter(torch.ones(1)), list[Array]()

    def loss(self, images: Tensor, rows: Array) -> dict[str, Tensor]:
        self.rows.append(rows.copy())
        return {"loss": (self.weight * images).square().mean()}


@pytest.mark.parametrize(("count", "budget", "batch"), SHAPES)
def test_exactly_the_budget_is_seen_in_full_batches_but_for_the_last(
    count: int, budget: int, batch: int
) -> None:
    model = Scale()
    report = train(model, delivery(count), model.loss, budget=budget, seed=3, rate=0.1, batch=batch)
    sizes = [len(rows) for rows in model.rows]
    assert report.images_seen == budget == sum(sizes)
    assert report.steps == len(sizes) == math.ceil(budget / batch)
    assert set(sizes[:-1]) <= {batch} and 1 <= sizes[-1] <= batch
    seen = np.concatenate(model.rows)
    np.testing.assert_array_equal(seen, order(count, budget, 3))
    for start in range(0, budget - count + 1, count):
        assert sorted(seen[start : start + count]) == list(range(count))
    remainder = seen[budget // count * count :]
    assert len(set(remainder)) == len(remainder)


def test_epochs_are_ordered_anew_and_seeds_give_other_orders() -> None:
    first, again, third = (
        np.concatenate(list(minibatches(50, 150, 16, seed))).reshape(3, 50) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert len({tuple(row) for row in [*first, *third]}) == 6


def test_the_batch_does_not_change_the_order() -> None:
    small_batches, large = (np.concatenate(list(minibatches(9, 40, b, 0))) for b in (4, 30))
    np.testing.assert_array_equal(small_batches, large)


def test_no_budget_is_no_step() -> None:
    model = Scale()
    report = train(model, delivery(5), model.loss, budget=0, seed=0, rate=0.1)
    assert (report.images_seen, report.steps, dict(report.terms)) == (0, 0, {})
    assert model.weight.item() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_encoder_sees_the_same_images_in_the_same_order(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, read = list[Array](), Delivery.read

    def watched(self: Delivery, indices: Array) -> Tensor:
        seen.append(self.rows[indices])
        return read(self, indices)

    monkeypatch.setattr(Delivery, "read", watched)
    fit(small(kind), count=150, budget=256, seed=4)
    np.testing.assert_array_equal(np.concatenate(seen[:2]), order(150, 256, 4))
    assert [len(rows) for rows in seen[:2]] == [128, 128]


# --- The loop


def net(seed: int = 0) -> nn.Module:
    with seeded(seed):
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 16))


def two_terms(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    codes = model[:3](batch)  # type: ignore[index]
    errors = (model[3](codes) - batch.flatten(1)).square()  # type: ignore[index]
    return {"error": errors.sum(dim=1).mean(), "size": 0.01 * codes.abs().sum(dim=1).mean()}


def test_the_loop_equals_one_written_by_hand_bit_for_bit() -> None:
    images, rate, batch, budget = delivery(23), 0.02, 6, 100
    ours, theirs = net(), net()
    train(
        ours, images, lambda x, _: two_terms(ours, x), budget=budget, seed=5, rate=rate, batch=batch
    )
    rows, steps = order(23, budget, 5), 17
    adam = torch.optim.Adam(theirs.parameters(), lr=1.0)
    for step in range(steps):
        adam.param_groups[0]["lr"] = rate / 2 * (1 + math.cos(math.pi * step / steps))
        pixels = images.images.array[rows[step * batch : (step + 1) * batch]]  # type: ignore[attr-defined]
        terms = two_terms(theirs, torch.from_numpy(pixels).float() / 255)
        adam.zero_grad()
        (terms["error"] + terms["size"]).backward()
        adam.step()
    assert not torch.equal(net()[1].weight, ours[1].weight)  # type: ignore[index]
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_steps_are_those_of_the_paper_in_float64() -> None:
    """Algorithm 1 of Kingma and Ba on least squares, with its gradient by hand."""
    images, rate, batch, budget, count = delivery(23), 0.05, 6, 100, 23
    expected = np.random.default_rng(0).standard_normal(count)
    model = nn.Linear(16, 1, bias=False, dtype=torch.float64)
    weight = model.weight.detach().numpy()[0].copy()
    target = torch.from_numpy(expected)

    def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
        output = model(batch.flatten(1).double())[:, 0]
        return {"loss": (output - target[torch.from_numpy(rows)]).square().mean()}

    train(model, images, loss, budget=budget, seed=5, rate=rate, batch=batch)
    x, rows = images.read(np.arange(count)).double().flatten(1).numpy(), order(count, budget, 5)
    first, second = np.zeros(16), np.zeros(16)
    for step in range(17):
        part = rows[step * batch : (step + 1) * batch]
        slope = 2 / len(part) * x[part].T @ (x[part] @ weight - expected[part])
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        mean, size = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
        now = rate * (1 + np.cos(np.pi * step / 17)) / 2
        weight -= now * mean / (np.sqrt(size) + 1e-8)
    np.testing.assert_allclose(model.weight.detach().numpy()[0], weight, rtol=1e-9)


@pytest.mark.parametrize(("steps", "tail"), [(45, 4), (20, 2), (19, 1), (9, 1), (1, 1)])
def test_the_report_has_each_terms_mean_over_the_last_tenth(steps: int, tail: int) -> None:
    model, values = Scale(), list[float]()

    def loss(images: Tensor, rows: Array) -> dict[str, Tensor]:
        values.append(len(values) ** 2 + 0.25)
        constant = torch.tensor(values[-1])
        return {"a": constant + 0 * model.weight.sum(), "b": -2 * constant}

    report = train(model, delivery(5), loss, budget=3 * steps, seed=0, rate=0.1, batch=3)
    expected = float(np.mean(values[-tail:]))
    assert report.steps == len(values) == steps
    assert dict(report.terms) == {"a": pytest.approx(expected), "b": pytest.approx(-2 * expected)}
    assert all(type(value) is float for value in report.terms.values())


def test_the_model_learns_in_training_mode_and_is_left_in_eval_mode() -> None:
    model, modes = Scale().eval(), set[bool]()

    def loss(images: Tensor, rows: Array) -> Mapping[str, Tensor]:
        modes.add(model.training)
        return model.loss(images, rows)

    train(model, delivery(5), loss, budget=20, seed=0, rate=0.1, batch=3)
    assert modes == {True} and not model.training


def test_images_of_another_size_are_converted_as_delivered() -> None:
    """Reading from memory in the loop gives what reading one by one gives."""
    input = Input(size=(8, 8), channels=3, interpolation="bilinear", crop=0.8)
    rows = np.array([4, 1, 7, 7, 2])
    images = Delivery(testing.tiny_images(9, Input(size=(11, 13), channels=1)), input, rows)
    seen, model = dict[int, Tensor](), Scale()

    def loss(batch: Tensor, numbers: Array) -> dict[str, Tensor]:
        seen.update(zip(numbers.tolist(), batch, strict=True))
        return model.loss(batch, numbers)

    train(model, images, loss, budget=10, seed=0, rate=0.1, batch=2)
    assert sorted(seen) == [0, 1, 2, 3, 4]
    for number, image in seen.items():
        assert torch.equal(image, images.read(np.array([number]))[0])


# --- What goes wrong


@pytest.mark.parametrize("at", [0, 1, 30, 99])
def test_a_loss_that_is_not_finite_is_reported_wherever_it_begins(at: int) -> None:
    model, steps = Scale(), list[int]()

    def loss(images: Tensor, rows: Array) -> dict[str, Tensor]:
        steps.append(len(steps))
        broken = float("nan") if len(steps) > at else 1.0
        return {"fine": model.weight.sum(), "broken": broken * model.weight.sum()}

    with pytest.raises(BenchError, match=r"has diverged: .* nan after .* of 100 steps; .* 0\.5"):
        train(model, delivery(5), loss, budget=200, seed=0, rate=0.5, batch=2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_far_too_high_is_reported_in_one_line(kind: str) -> None:
    with pytest.raises(BenchError, match=r"diverged.*try a lower rate than 1e\+30") as caught:
        fit(made(f"{kind},width=8,code=4,rate=1e30"), budget=384)
    assert str(caught.value).isprintable()


def test_a_training_that_diverges_is_a_failed_record(tmp_path: Path) -> None:
    task = Task(
        name="toy",
        family="probe",
        dataset=QUADRANTS,
        targets=("label",),
        protocol="knn",
        chance=0.25,
        primary=Primary(target="label"),
        replicates=Replicates(seeds=1),
    )
    encoder = resolve("encoders", "autoencoder,width=8,code=4,rate=1e30~384")
    record, arrays = run_cell(Cell(task, encoder), Workspace(DataSets(tmp_path)))
    assert record.status == "failed" and "training has diverged" in str(record.reason)
    assert record.primary is None and arrays == {}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_train_on_is_reported_in_one_line(kind: str) -> None:
    encoder = small(kind)
    images = Delivery(delivery(4, encoder.input).images, encoder.input, np.empty(0, np.int64))
    labels = {"label": np.empty(0, np.int64)} if encoder.uses_labels else None
    with pytest.raises(BenchError) as caught:
        encoder.fit(images, labels=labels, budget=10, seed=0)
    assert str(caught.value).isprintable()


# --- Random numbers, progress


@pytest.mark.parametrize("kind", KINDS)
def test_fits_repeat_by_their_seed_and_leave_global_random_state(kind: str) -> None:
    states = []
    for number, seed in enumerate((0, 0, 1)):
        random.seed(number), np.random.seed(number), torch.manual_seed(number)  # noqa: NPY002
        python, torchs = random.getstate(), torch.get_rng_state()
        numpys = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]  # noqa: NPY002
        encoder = small(kind)
        fit(encoder, count=150, budget=256, seed=seed)
        assert random.getstate() == python and torch.equal(torch.get_rng_state(), torchs)
        now = np.random.get_state()[1]  # type: ignore[index]  # noqa: NPY002
        np.testing.assert_array_equal(now, numpys)
        states.append(encoder.state_dict())
    first, again, third = states
    assert all(torch.equal(first[name], value) for name, value in again.items())
    moved = [name for name, value in third.items() if not torch.equal(first[name], value)]
    assert moved == list(first)


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_reported_in_lines_on_a_terminal_and_elsewhere(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    stderr = Stream()
    monkeypatch.setattr("bench.progress.PERIOD", 0.01)
    monkeypatch.setattr(sys, "stderr", stderr)
    model = Scale()

    def slow(batch: Tensor, rows: Array) -> Mapping[str, Tensor]:
        time.sleep(0.05)
        return model.loss(batch, rows)

    train(model, delivery(5), slow, budget=20, seed=0, rate=0.1, batch=2)
    lines = stderr.getvalue().splitlines()
    assert any(line.startswith("training (10 of 20 images), ") for line in lines)
    assert "\r" not in stderr.getvalue()


# --- Heads of labels


TARGETS = {
    "a kind": Target("classes", 3, ("x", "y", "z")),
    "tags": Target("binary", 2, ("south", "east")),
    "size": Target("number", 2, ("height", "width")),
}


def heads_and_labels() -> tuple[Heads, Tensor, dict[str, Array]]:
    rng = np.random.default_rng(0)
    with seeded(0):
        heads = Heads(6, TARGETS)
    features = torch.from_numpy(rng.standard_normal((12, 6))).float().requires_grad_()
    labels = {
        "a kind": rng.integers(-1, 3, 12),
        "tags": rng.integers(-1, 2, (12, 2)),
        "size": rng.standard_normal((12, 2)).astype(np.float32),
    }
    labels["size"][::3, 0] = np.nan
    labels["size"][4] = np.nan
    labels["tags"][:2] = [[-1, 1], [-1, -1]]
    labels["a kind"][:3] = [0, 1, 2]
    return heads, features, labels


def outputs(heads: Heads, features: Tensor) -> list[Array]:
    x = features.detach().double().numpy()
    return [
        x @ h.weight.detach().double().numpy().T + h.bias.detach().double().numpy()  # type: ignore[operator,union-attr]
        for h in heads.heads
    ]


def test_losses_of_labels_are_those_of_scikit_learn_over_what_is_labelled() -> None:
    heads, features, labels = heads_and_labels()
    loss = heads.loss(features, as_tensors(labels, torch.device("cpu")))
    classes, tags, sizes = outputs(heads, features)
    labelled = labels["a kind"] >= 0
    assert 3 < labelled.sum() < 12
    probabilities = np.exp(log_softmax(classes, axis=1))[labelled]
    expected = log_loss(labels["a kind"][labelled], probabilities, labels=[0, 1, 2])
    assert loss["a kind"].item() == pytest.approx(expected, rel=1e-5)
    has_label = labels["tags"] >= 0
    expected = log_loss(labels["tags"][has_label], expit(tags)[has_label], labels=[0, 1])
    assert loss["tags"].item() == pytest.approx(expected, rel=1e-5)
    there = ~np.isnan(labels["size"])
    expected = mean_squared_error(labels["size"][there], sizes[there])
    assert loss["size"].item() == pytest.approx(expected, rel=1e-5)
    assert list(loss) == list(TARGETS)


def test_what_is_not_labelled_gives_no_gradient() -> None:
    heads, features, labels = heads_and_labels()
    for name, missing in (("a kind", -1), ("tags", -1), ("size", np.nan)):
        labels[name][5] = missing
    sum(heads.loss(features, as_tensors(labels, torch.device("cpu"))).values()).backward()  # type: ignore[union-attr]
    assert features.grad is not None and features.grad.isfinite().all()
    assert features.grad[5].abs().max() == 0 < features.grad[0].abs().max()


def test_a_batch_without_labels_has_loss_0_and_gradient_0() -> None:
    heads, features, labels = heads_and_labels()
    nothing = {n: np.full_like(y, np.nan if n == "size" else -1) for n, y in labels.items()}
    loss = heads.loss(features, as_tensors(nothing, torch.device("cpu")))
    assert [value.item() for value in loss.values()] == [0, 0, 0]
    sum(loss.values()).backward()  # type: ignore[union-attr]
    assert features.grad is not None and features.grad.abs().max() == 0


def test_a_target_that_is_not_granted_has_no_term() -> None:
    heads, features, labels = heads_and_labels()
    both = heads.loss(features, as_tensors(labels, torch.device("cpu")))
    single = heads.loss(features, as_tensors({"tags": labels["tags"]}, torch.device("cpu")))
    assert list(single) == ["tags"] and torch.equal(single["tags"], both["tags"])


def test_one_target_or_all_are_picked_and_an_unknown_one_is_reported() -> None:
    assert pick(TARGETS, None, "e") == TARGETS
    assert pick(TARGETS, "tags", "e") == {"tags": TARGETS["tags"]}
    with pytest.raises(BenchError, match=r"e,target=tag: .* \(targets: a kind, tags, size\)"):
        pick(TARGETS, "tag", "e")


def test_images_are_held_as_they_are_where_they_fit() -> None:
    images = delivery(5)
    assert isinstance(images.images, ArrayImages) and images.resident() is images
