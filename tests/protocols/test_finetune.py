"""Fine-tuning: what it starts from, what moves and what does not, how a rate is chosen, what diverges."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import nn

from bench.data.images import ArrayImages, Delivery, Input
from bench.data.samples import Meta, Samples, Target
from bench.datasets.base import DataSets
from bench.errors import BenchError, Declined
from bench.naming.specs import resolve
from bench.protocols import finetune, linear
from bench.protocols.parts import finetune as finetune_parts
from bench.protocols.parts import tuning
from bench.protocols.parts.tuning import Diverged, Recipe, augmented, tune
from bench.results.record import Record
from bench.running.runner import run_cell
from bench.running.workspace import Workspace
from bench.seeding import generator, minibatches
from bench.tasks.cell import Cell
from bench.tasks.task import Primary, Replicates, Task
from tests.kit import TOYS

META = Meta({"label": Target("classes", 3, ("a", "b", "c"))})
SIDE = 8


class Trunk(nn.Module):
    """Images (n, 1, 8, 8) to maps (n, 4, 4, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 4, stride=2, padding=1)
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.norm(self.conv(x)).relu()
        return maps


def trunk(state: str, *, seed: int, blocks: int | None = None) -> nn.Module:
    torch.manual_seed(7)
    return Trunk()


def images(count: int, *, seed: int) -> Samples:
    """Class c: a bright bar in row 2 c + 1, on noise."""
    rng = np.random.default_rng(seed)
    y = np.arange(count, dtype=np.int64) % 3
    pixels = rng.integers(0, 140, (count, 1, SIDE, SIDE))
    for row, c in enumerate(y):
        pixels[row, 0, 2 * c + 1] += 70
    array = ArrayImages(pixels.astype(np.uint8))
    return Samples(
        Delivery(array, Input(size=(SIDE, SIDE), channels=1)), {"label": y}, np.arange(count)
    )


def built(meta: Meta = META, *, seed: int = 0, **arguments: Any) -> finetune_parts.FineTune:
    return finetune.build(meta=meta, trunk=trunk, seed=seed, **arguments)  # type: ignore[arg-type]


def features(samples: Samples) -> Samples:
    assert isinstance(samples.x, Delivery)
    with torch.inference_mode():
        x = trunk("trained", seed=0)(samples.x.read(np.arange(len(samples)))).flatten(1).numpy()
    return Samples(x, samples.y, samples.rows)


# --- The start


def test_at_step_0_the_predictions_are_those_of_the_encoders_own_linear_probe() -> None:
    train, val, test = images(60, seed=0), images(30, seed=1), images(40, seed=2)
    probe = linear.build(meta=META, trunk=trunk, seed=0).fit(features(train), features(val))  # type: ignore[arg-type]
    with torch.no_grad():
        expected = probe.head()(torch.from_numpy(features(test).x))["label"].numpy()
    untuned = built(images=0).fit(train, val)
    np.testing.assert_allclose(
        untuned.predict(test.x)["label"], log_softmax(expected, axis=1), atol=1e-5
    )
    start = built().start_as_probe(train, val).model  # what every tuned run sets out from
    np.testing.assert_allclose(
        tuning.outputs(start, test.x)["label"], expected, rtol=1e-4, atol=1e-4
    )
    still = built(images=64, rate=1e-12).fit(train, val)
    np.testing.assert_allclose(
        still.predict(test.x)["label"], untuned.predict(test.x)["label"], atol=1e-4
    )
    assert untuned.report()["steps"] == untuned.report()["images_seen"] == 0
    assert untuned.report()["temperature"] == pytest.approx(probe.report()["temperature"], rel=1e-3)


def test_a_start_of_zeros_predicts_all_classes_alike_and_ignores_validation() -> None:
    train, val, test = images(60, seed=0), images(30, seed=1), images(10, seed=2)
    zero = built(images=0, start="zero").fit(train, val)
    np.testing.assert_allclose(zero.predict(test.x)["label"], -math.log(3), atol=1e-6)
    shifted_val = Samples(val.x, {"label": (val.y["label"] + 1) % 3}, val.rows)
    runs = [built(images=640, rate=0.01, start="zero").fit(train, v) for v in (val, shifted_val)]
    actual = [run.predict(test.x)["label"] for run in runs]
    np.testing.assert_array_equal(actual[0], actual[1])  # no row of validation is trained on
    assert runs[0].report()["temperature"] != runs[1].report()["temperature"]


def test_the_head_is_that_of_the_frozen_encoder_before_and_after_tuning() -> None:
    train, val = images(60, seed=0), images(30, seed=1)
    heads = [built(images=n, rate=0.01).fit(train, val).head().state_dict() for n in (0, 640)]
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])


# --- The loop


def test_the_rate_warms_up_over_a_twentieth_and_falls_to_zero_as_a_cosine() -> None:
    recipe = Recipe(images=6400, rate=0.5)
    assert recipe.steps == 100
    assert [recipe.rate_at(s) for s in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert recipe.rate_at(5) == 0.5
    assert recipe.rate_at(5 + 95 // 2) == pytest.approx(
        0.25 * (1 + math.cos(math.pi * 47 / 95)) * 1
    )
    assert 0 < recipe.rate_at(99) < 0.001
    assert Recipe(images=1, rate=0.5).rate_at(0) == 0.5


def test_the_loop_is_adamw_by_its_equations() -> None:
    """Against the update rule written out in float64: decay of matrices alone, the gradient cut to 1."""
    x = np.random.default_rng(0).standard_normal((128, 3)).astype(np.float32)
    y = torch.from_numpy(3 * x[:, :1] + 1)
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    w, b = (p.detach().double().numpy().copy() for p in (model.weight, model.bias))
    recipe = Recipe(images=640, rate=0.1)
    tune(
        model,
        x,
        lambda out, rows: (out - y[torch.from_numpy(rows)]).square().mean(),
        recipe=recipe,
        seed=3,
    )
    moments = [[np.zeros_like(p), np.zeros_like(p)] for p in (w, b)]
    for step, rows in enumerate(minibatches(128, 640, 64, 3)):
        rate, error = recipe.rate_at(step), x[rows] @ w.T + b - y.numpy()[rows]
        slopes = [2 * error.T @ x[rows] / 64, 2 * error.mean(axis=0)]
        norm = math.sqrt(sum(float((s**2).sum()) for s in slopes))
        for p, slope, (m, v), decay in zip((w, b), slopes, moments, (0.05, 0.0), strict=True):
            slope = slope * min(1.0, 1.0 / (norm + 1e-6))
            m += 0.1 * (slope - m)
            v += 0.001 * (slope**2 - v)
            p *= 1 - rate * decay
            t = step + 1
            p -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(model.weight.detach().numpy(), w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.bias.detach().numpy(), b, rtol=1e-4, atol=1e-5)


def test_moved_images_are_shifts_by_up_to_a_sixteenth_some_mirrored() -> None:
    batch = torch.from_numpy(np.random.default_rng(0).random((64, 1, 32, 48), dtype=np.float32))
    shifted, kinds = augmented(batch, generator(0, "moves")), set()
    share = tuning.SHIFT
    down, right = int(32 * share), int(48 * share)
    padded = np.pad(batch.numpy(), ((0, 0), (0, 0), (down, down), (right, right)))
    for image, border in zip(shifted.numpy(), padded, strict=True):
        fits = [
            (top - down, start - right, mirrored)
            for top in range(2 * down + 1)
            for start in range(2 * right + 1)
            for mirrored in (False, True)
            if np.array_equal(
                border[:, top : top + 32, start : start + 48][:, :, :: -1 if mirrored else 1], image
            )
        ]
        assert len(fits) == 1
        kinds.add(fits[0])
    assert {k[2] for k in kinds} == {False, True}
    assert {k[0] for k in kinds} == set(range(-down, down + 1))


@pytest.mark.parametrize("flips", [False, True])
def test_images_are_moved_only_where_the_data_set_says_flips(
    flips: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def spy(batch: torch.Tensor, rng: Any) -> torch.Tensor:
        calls.append(len(batch))
        return batch

    monkeypatch.setattr(tuning, "augmented", spy)
    meta = Meta(META.targets, flips=flips)
    built(meta, images=128, rate=0.001).fit(images(60, seed=0), images(30, seed=1))
    assert calls == ([64, 64] if flips else [])
    calls.clear()
    built(meta, images=128, rate=0.001).fit(_maps(images(60, seed=0)), None)
    assert calls == []  # activations are no images


def _maps(samples: Samples) -> Samples:
    assert isinstance(samples.x, Delivery)
    x = samples.x.read(np.arange(len(samples))).numpy()
    return Samples(x, samples.y, samples.rows)


def test_tuning_moves_the_trunk_and_learns() -> None:
    train, val, test = images(90, seed=0), images(30, seed=1), images(300, seed=2)
    start, tuned = (built(images=n, rate=0.01).fit(train, val) for n in (0, 12_800))
    assert not torch.equal(start._model.trunk.conv.weight, tuned._model.trunk.conv.weight)
    scores = [
        (p.predict(test.x)["label"].argmax(axis=1) == test.y["label"]).mean()
        for p in (start, tuned)
    ]
    assert scores[1] > scores[0] + 0.02
    report = tuned.report()
    assert report["parameters"] == sum(p.numel() for p in tuned._model.parameters())
    assert (report["images_seen"], report["steps"]) == (12_800, 200)


def test_rows_without_a_label_teach_nothing() -> None:
    train = images(60, seed=0)
    gone = np.arange(60) % 4 == 0
    masked = Samples(train.x, {"label": np.where(gone, -1, train.y["label"])}, train.rows)
    labels = {"label": np.where(gone, -1, train.y["label"])}
    assert isinstance(train.x, Delivery)
    noise = train.x.images.read(np.arange(60), train.x.images.native).copy()
    noise[gone] = 255 - noise[gone]
    again = Samples(Delivery(ArrayImages(noise), train.x.input), labels, train.rows)
    test = images(20, seed=2)
    actual = [built(images=640, rate=0.01).fit(s, None).predict(test.x) for s in (masked, again)]
    np.testing.assert_array_equal(actual[0]["label"], actual[1]["label"])


# --- Choosing a rate


def test_four_rates_then_two_then_one_by_accuracy_then_likelihood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[float, int]] = []
    scores = {1e-4: (0.5, 2.0), 3.16e-4: (0.8, 1.0), 1e-3: (0.8, 0.9), 3.16e-3: (0.7, 0.1)}

    def trial(
        self: Any, start: Any, train: Any, val: Any, rate: float, images: int
    ) -> finetune_parts.RateTrial:
        calls.append((rate, images))
        near = min(scores, key=lambda r: abs(math.log(r / rate)))
        return finetune_parts.RateTrial(rate, images, *scores[near])

    monkeypatch.setattr(finetune_parts.FineTune, "_trial", trial)
    protocol = built(images=1000, least=1e-4)
    chosen = protocol.select(images(60, seed=0), images(30, seed=1))
    assert chosen == {"rate": 0.001}
    assert [n for _, n in calls] == [200] * 4 + [500] * 2
    assert {round(r, 6) for r, n in calls if n == 500} == {0.000316, 0.001}
    assert protocol.trials()["images_seen"] == 1800 and len(protocol.trials()["trials"]) == 6
    assert built(images=1000, rate=0.5).select(images(60, seed=0), images(30, seed=1)) == {}
    with pytest.raises(Declined, match="give rate="):
        built(images=1000).select(images(60, seed=0), None)


def test_the_chosen_rate_is_the_best_of_real_trials() -> None:
    train, val = images(90, seed=0), images(60, seed=1)
    protocol = built(images=3200)
    rate = protocol.select(train, val)["rate"]
    last = [t for t in protocol.trials()["trials"] if t[1] == 1600]
    best = max(last, key=lambda t: (t[2], -t[3]))
    assert rate == pytest.approx(best[0], rel=1e-5)


# --- What diverges


def test_a_wild_rate_is_caught_halved_once_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    train, val = images(60, seed=0), images(30, seed=1)
    with pytest.raises(Diverged, match="rate 500000 "):
        built(images=640, rate=1e6).fit(train, val)
    rates: list[float] = []
    real = tuning.tune

    def once(model: nn.Module, x: Any, loss: Any, *, recipe: Recipe, **options: Any) -> float:
        rates.append(recipe.rate)
        if len(rates) == 1:
            raise Diverged("the loss is nan")
        return real(model, x, loss, recipe=recipe, **options)

    monkeypatch.setattr(finetune_parts, "tune", once)
    report = built(images=640, rate=0.01).fit(train, val).report()
    assert rates == [0.01, 0.005] and report["halved"] and report["rate"] == 0.005


def test_a_loss_that_is_not_finite_is_reported_with_its_rate() -> None:
    x = np.ones((4, 2), np.float32)
    model = nn.Linear(2, 1)
    with pytest.raises(Diverged, match=r"after 1 of 2 steps at rate 0\.1 the loss is nan"):
        tune(
            model,
            x,
            lambda out, rows: out.sum() * math.nan,
            recipe=Recipe(images=128, rate=0.1),
            seed=0,
        )


def test_trials_that_diverge_lose_and_where_all_do_there_is_no_rate() -> None:
    train, val = images(60, seed=0), images(30, seed=1)
    protocol = built(images=3200, least=0.001)
    assert protocol.select(train, val)["rate"] < 0.05
    with pytest.raises(Diverged, match="give least="):
        built(images=3200, least=1e5).select(train, val)


def test_wrong_arguments_are_refused() -> None:
    for wrong in ({"images": -1}, {"rate": -1.0}, {"least": 0.0}, {"blocks": -1}):
        with pytest.raises(BenchError, match="finetune"):
            built(**wrong)


# --- In a run


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(DataSets(tmp_path))


def task(**changes: Any) -> Task:
    defaults = {
        "name": "toy",
        "family": "finetune",
        "dataset": f"{TOYS / 'quadrants'}.py",
        "targets": ("label",),
        "protocol": "finetune,images=640",
        "input": "images",
        "chance": 0.25,
        "primary": Primary(target="label"),
        "replicates": Replicates(seeds=2, per_class=(20,)),
        **changes,
    }
    return Task(**defaults)


def run(workspace: Workspace, question: Task, encoder: str) -> Record:
    record, _ = run_cell(Cell(question, resolve("encoders", encoder)), workspace)
    assert record.status == "ok", record.reason
    return record


TRUNK = f"{TOYS / 'small_trunk'}.py"


def test_a_row_and_its_scratch_have_equal_bookkeeping_and_the_record_has_all_of_it(
    workspace: Workspace,
) -> None:
    rows = [run(workspace, task(), f"{TRUNK}~{budget}") for budget in ("1k", "0")]
    for record in rows:
        assert record.tuning is not None and record.tuning["images_seen"] == round(640 * 1.8)
        assert [t[1] for t in record.tuning["trials"]] == [128] * 4 + [320] * 2
        assert record.tuning["chosen"]["rate"] > 0
        for replicate in record.replicates:
            report = replicate.report
            assert (report["images_seen"], report["steps"]) == (640, 10)
            assert replicate.n_train == 80
    ours, scratch = (record.tuning or {} for record in rows)
    assert [t[:2] for t in ours["trials"][:4]] == [t[:2] for t in scratch["trials"][:4]]
    assert rows[0].encoder.start == rows[1].encoder.start


def test_the_same_cell_twice_has_the_same_digest(tmp_path: Path) -> None:
    first, again = (run(Workspace(DataSets(tmp_path)), task(), f"{TRUNK}~1k") for _ in range(2))
    assert first.digest == again.digest


def test_only_the_last_stages_move_and_the_frozen_ones_stay_bit_for_bit(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocols: list[finetune_parts.FineTune] = []
    real = finetune.build

    def spy(**arguments: Any) -> finetune_parts.FineTune:
        protocols.append(real(**arguments))
        return protocols[-1]

    monkeypatch.setattr(finetune, "build", spy)
    question = task(
        input="activations",
        protocol="finetune,images=1280,rate=0.01,blocks=2",
        replicates=Replicates(seeds=1),
    )
    cell = Cell(question, resolve("encoders", f"{TRUNK}~1k"))
    before = {
        key: copy.deepcopy(fitted.encoder.state_dict())
        for key, fitted in _fitted(workspace, cell).items()
    }
    run(workspace, question, f"{TRUNK}~1k")
    for key, state in before.items():
        now = workspace._fitted[key].encoder.state_dict()
        assert all(torch.equal(now[name], value) for name, value in state.items())
    tuned = protocols[-1]._model.trunk
    names = [name for name, _ in tuned.named_parameters()]
    assert names == ["1.1.weight", "1.1.bias"]  # the first stage's are not even there
    [start] = before.values()
    assert not torch.equal(dict(tuned.named_parameters())["1.1.weight"], start["trunk.1.1.weight"])


def _fitted(workspace: Workspace, cell: Cell) -> dict[str, Any]:
    run_cell(cell, workspace)
    return dict(workspace._fitted)


def test_tuning_all_stages_on_activations_is_tuning_the_trunk_on_images(
    workspace: Workspace,
) -> None:
    plan = Replicates(seeds=1)
    whole = task(protocol="finetune,images=640,rate=0.01", replicates=plan)
    parts = task(
        protocol="finetune,images=640,rate=0.01,blocks=3", input="activations", replicates=plan
    )
    scores = [run(workspace, question, f"{TRUNK}~1k").replicates[0] for question in (whole, parts)]
    assert scores[0].scores == scores[1].scores
    assert scores[0].report["loss"] == pytest.approx(scores[1].report["loss"], rel=1e-5)


def test_encoders_with_one_trunk_have_one_start_and_others_have_not(workspace: Workspace) -> None:
    def start(spec: str) -> str:
        question = task(protocol="finetune,images=0", replicates=Replicates(seeds=1))
        return str(run(workspace, question, spec).encoder.start)

    width = "width=8"
    plain = start(f"autoencoder,{width}~0")
    assert start(f"denoising,{width}~0") == start(f"vae,{width}~0") == plain
    assert start(f"supervised,{width}~0") == plain
    assert start(f"gan,{width}~0") != plain != start("autoencoder,width=16~0")


def test_activations_are_computed_once_for_all_heads_of_an_encoder(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.running import inputs as material

    calls: list[int] = []
    real = material.activations

    def spy(below: nn.Module, images: Delivery) -> Any:
        calls.append(len(images))
        return real(below, images)

    monkeypatch.setattr(material, "activations", spy)
    question = task(
        input="activations",
        protocol="finetune,images=128,blocks=2",
        replicates=Replicates(seeds=4, encoder_seeds=2, per_class=(20,)),
    )
    run(workspace, question, f"{TRUNK}~1k")
    # Train, validation and test of two encoders in turn; the first one is also asked by select.
    assert sorted(set(calls)) == [60, 80] and len(calls) <= 3 * 4
    calls.clear()
    one_encoder = task(
        input="activations",
        protocol="finetune,images=128,blocks=2",
        replicates=Replicates(seeds=3, encoder_seeds=1, per_class=(20,)),
    )
    run(workspace, one_encoder, f"{TRUNK}~1k")
    assert calls == [80, 60, 80]
