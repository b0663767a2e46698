"""Prototypes on a tuned trunk: which classes it is tuned on, what chooses, and what tuning gains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.data.images import ArrayImages, Delivery, Input
from bench.data.samples import Meta, Samples, Target
from bench.datasets.base import DataSets
from bench.errors import BenchError, Declined
from bench.naming.specs import resolve
from bench.protocols.parts import finetune
from bench.protocols.parts.tuning import Diverged, pick_rows, trunk_features
from bench.protocols.zeroshot import prototypes, tuned_prototypes
from bench.protocols.zeroshot._prototypes import PrototypeRegression
from bench.running.runner import run_cell
from bench.running.workspace import Workspace
from bench.seeding import generator, seeded
from bench.tasks.cell import Cell
from bench.tasks.task import Primary, Replicates, Task
from tests.kit import TOYS
from tests.kit.stacking import accuracies

SIDE = 8
TABLE = np.array([[c >> bit & 1 for bit in range(3)] for c in range(8)], dtype=np.float32)
SEEN, UNSEEN = (0, 1, 2, 4, 6, 7), frozenset({3, 5})
TARGET = Target("classes", 8, tuple("abcdefgh"), TABLE, UNSEEN)


class Trunk(nn.Module):
    """Images (n, 1, 8, 8) to 16 features."""

    def __init__(self) -> None:
        super().__init__()
        self.below, self.above = nn.Linear(SIDE * SIDE, 48), nn.Linear(48, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.above(self.below(x.flatten(1) - 0.5).relu())
        return features


def trunk(state: str, *, seed: int, blocks: int | None = None) -> nn.Module:
    with seeded(7):
        return Trunk()


def images(count: int, *, seed: int, among: tuple[int, ...] = SEEN) -> Samples:
    """An attribute is a bar across its row; columns of random strength hide it, more in some classes."""
    rng = np.random.default_rng(seed)
    y = np.array(among, dtype=np.int64)[np.arange(count) % len(among)]
    pixels = rng.integers(0, 100, (count, 1, SIDE, SIDE)).astype(float)
    pixels += (15 + 10 * (y % 3))[:, None, None, None] * rng.random((count, 1, 1, SIDE))
    for bit in range(3):
        pixels[:, 0, 2 * bit + 1] += 45 * TABLE[y, bit][:, None]
    array = ArrayImages(pixels.clip(0, 255).astype(np.uint8))
    # Rows of a split, as a run delivers them, are not all of its images.
    x = Delivery(array, Input(size=(SIDE, SIDE), channels=1), np.arange(count))
    return Samples(x, {"label": y}, np.arange(count))


TRAIN, VAL = images(240, seed=0), images(120, seed=1)
TEST = images(640, seed=2, among=tuple(range(8)))
X: Any = TEST.x


def built(target: Target = TARGET, *, seed: int = 0, **arguments: Any) -> Any:
    arguments = {"images": 1280, "rate": 0.01, **arguments}
    return tuned_prototypes.build(
        meta=Meta({"label": target}),
        trunk=trunk,  # type: ignore[arg-type]
        seed=seed,
        **arguments,
    )


def features(samples: Samples) -> Samples:
    x: Any = samples.x
    return replace(samples, x=trunk_features(trunk("trained", seed=0), x))


# --- Beside the frozen trunk


@pytest.mark.parametrize("arguments", [{}, {"penalty": 0.1}, {"pca": 8}])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_without_images_it_is_prototypes_on_the_frozen_trunk(
    arguments: dict[str, Any], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PrototypeRegression, "max_folds", count)
    frozen = prototypes.build(meta=Meta({"label": TARGET}), trunk=trunk, seed=0, **arguments)  # type: ignore[arg-type]
    frozen.fit(features(TRAIN), features(VAL))
    protocol = built(images=0, rate=0.0, folds=count, **arguments)
    assert not protocol.seeded and built().seeded
    actual, expected = protocol.fit(TRAIN, VAL).predict(X), frozen.predict(features(TEST).x)  # type: ignore[arg-type]
    np.testing.assert_allclose(actual["label"], expected["label"], rtol=1e-4, atol=1e-4)
    report = protocol.report()
    for name, value in frozen.report().items():
        if name in ("calibration", "area"):
            assert report[name] == pytest.approx(value, abs=1e-4)
        else:
            assert report[name] == value
    assert report["images_seen"] == 0 and report["rates"] == [] and not report["halved"]
    assert report["train_accuracy"]["start"] == report["train_accuracy"]["end"]


def test_tuning_on_seen_classes_raises_their_accuracy() -> None:
    actual = {}
    for images in (0, 12_800):
        scores = built(images=images).fit(TRAIN, VAL).predict(X)["label"]
        # Among seen classes alone, and among all of them at the calibration that was chosen.
        actual[images] = [accuracies(scores, TEST.y["label"], UNSEEN, g).seen for g in (-1e6, 0.0)]
    assert actual[12_800][0] > actual[0][0] + 0.1
    assert actual[12_800][1] > actual[0][1] + 0.1


def test_the_trunk_that_was_given_stays_and_the_tuned_one_has_moved() -> None:
    trunks: list[nn.Module] = []

    def recorded(state: str, *, seed: int, blocks: int | None = None) -> nn.Module:
        trunks.append(trunk(state, seed=seed))
        return trunks[-1]

    protocol = tuned_prototypes.build(
        meta=Meta({"label": TARGET}),
        trunk=recorded,  # type: ignore[arg-type]
        seed=0,
        images=640,
        rate=0.01,
    ).fit(TRAIN, VAL)
    assert len(trunks) == 2  # one for the fold, one at last
    before = trunk("trained", seed=0).state_dict()
    assert all(torch.equal(m.state_dict()[n], v) for m in trunks for n, v in before.items())
    assert not torch.equal(protocol._tuned.state_dict()["below.weight"], before["below.weight"])


# --- Who is tuned on


def spied(monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any]) -> list[tuple[str, set[int]]]:
    """What reaches the loop and the head that it starts from: the classes of the rows, in order."""
    seen: list[tuple[str, set[int]]] = []
    tune, begin, probe = finetune.tune, finetune.FineTune.start_as_probe, finetune.fit_probe
    class_of_image = {image.tobytes(): int(c) for s in (TRAIN, VAL) for image, c in zip(
        s.x.images.read(np.arange(len(s)), s.x.images.native), s.y["label"], strict=True)}  # type: ignore[union-attr]  # fmt: skip

    def classes(x: Any) -> set[int]:
        return {class_of_image[image.tobytes()] for image in x.images.read(x.rows, x.images.native)}

    def tuning(model: nn.Module, x: Any, loss: Any, **options: Any) -> float:
        seen.append(("tune", classes(x)))
        return tune(model, x, loss, **options)

    def beginning(self: Any, train: Samples, val: Samples) -> Any:
        both = classes(train.x), classes(val.x)
        assert both[0] == both[1]
        assert set(np.unique(train.y["label"])) == set(range(len(both[0])))  # places, no more
        seen.append(("begin", both[0]))
        return begin(self, train, val)

    def probing(x: Any, y: Any, val_x: Any, truth: Any, size: int, **options: Any) -> Any:
        assert len(x) == len(y) == 40 * size and len(val_x) == len(truth) == 20 * size
        return probe(x, y, val_x, truth, size, **options)

    with monkeypatch.context() as patch:
        patch.setattr(finetune, "tune", tuning)
        patch.setattr(finetune.FineTune, "start_as_probe", beginning)
        patch.setattr(finetune, "fit_probe", probing)
        run()
    return seen


def test_classes_that_a_fold_holds_out_are_never_tuned_on(monkeypatch: pytest.MonkeyPatch) -> None:
    actual = spied(monkeypatch, lambda: built(rate=0.0, images=320, folds=2).fit(TRAIN, VAL))
    first, second, everything = {2, 4, 6, 7}, {0, 4, 6, 7}, set(SEEN)
    assert actual == [
        ("begin", first),
        *[("tune", first)] * (4 + 2 + 1),  # rates on a fifth, two on half, the chosen one on all
        ("begin", second),
        ("tune", second),
        ("begin", everything),
        ("tune", everything),
    ]


def test_rows_of_unseen_classes_reach_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BenchError, match=r"labels of the unseen classes \[3, 5\]"):
        built().fit(images(240, seed=0, among=tuple(range(8))), VAL)
    every = images(160, seed=3, among=tuple(range(8)))
    is_seen = np.isin(every.y["label"], SEEN)
    masked = replace(every, y={"label": np.where(is_seen, every.y["label"], -1)})
    pixels = every.x.images.read(np.arange(160), every.x.images.native).copy()  # type: ignore[union-attr]
    pixels[~is_seen] = 255 - pixels[~is_seen]
    noise = replace(masked, x=Delivery(ArrayImages(pixels), every.x.input))  # type: ignore[union-attr]
    rows = np.flatnonzero(is_seen)
    without = pick_rows(every, rows)
    runs = [built().fit(train, VAL) for train in (masked, noise, without)]
    # Validation, too: rows of unseen classes change nothing, should there be any.
    runs += [built().fit(without, val) for val in (VAL, _with_unseen(VAL))]
    actual = [run.predict(X)["label"] for run in runs]
    assert all(np.array_equal(actual[0], predictions) for predictions in actual[1:])


def _with_unseen(samples: Samples) -> Samples:
    extra = images(40, seed=9, among=tuple(sorted(UNSEEN)))
    both = [s.x.images.read(np.arange(len(s)), s.x.images.native) for s in (samples, extra)]  # type: ignore[union-attr]
    labels = {"label": np.concatenate([samples.y["label"], extra.y["label"]])}
    pixels = ArrayImages(np.concatenate(both))
    return Samples(Delivery(pixels, samples.x.input), labels, np.arange(len(samples) + 40))  # type: ignore[union-attr]


def test_other_signatures_of_unseen_classes_change_nothing_that_was_tuned_or_chosen() -> None:
    table = TABLE.copy()
    table[sorted(UNSEEN)] = generator(1, "other").random((2, 3))
    first, second = (
        built(t, rate=0.0, images=640).fit(TRAIN, VAL)
        for t in (TARGET, replace(TARGET, semantics=table))
    )
    for name, value in first._tuned.state_dict().items():
        assert torch.equal(value, second._tuned.state_dict()[name])
    same = set(first.report()) - {"calibration", "coverage"}
    assert {n: first.report()[n] for n in same} == {n: second.report()[n] for n in same}
    seen = [
        run.predict(X)["label"][:, SEEN] + run.report()["calibration"] for run in (first, second)
    ]
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-3)


# --- Choices


def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    with seeded(90210):
        first = built().fit(TRAIN, VAL)
    again, second = built().fit(TRAIN, VAL), built(seed=1).fit(TRAIN, VAL)
    assert first.predict(X)["label"].tobytes() == again.predict(X)["label"].tobytes()
    assert first.report() == again.report()
    assert not np.array_equal(first.predict(X)["label"], second.predict(X)["label"])


def test_the_rate_is_the_best_of_its_trials_and_the_setting_that_of_the_last_run() -> None:
    report = built(rate=0.0, images=1600).fit(TRAIN, VAL).report()
    assert [images for _, images, _ in report["rates"]] == [320] * 4 + [800] * 2
    last = report["rates"][4:]
    assert report["rate"] == pytest.approx(min(last, key=lambda t: (-t[2], t[0]))[0], rel=1e-5)
    assert report["held_out"] == [[0, 1]]
    assert report["setting"] in PrototypeRegression.grid and 0 < report["area"] <= 1
    assert 0 <= report["share"] <= 1 and 0 < report["dimensions"] <= 16
    fixed = built(images=1600, rate=report["rate"], **report["setting"]).fit(TRAIN, VAL).report()
    assert fixed["rates"] == [] and fixed["area"] == report["area"]
    assert {n: fixed[n] for n in ("share", "calibration", "loss")} == {
        n: report[n] for n in ("share", "calibration", "loss")
    }


def test_a_run_that_diverges_is_halved_and_the_last_one_goes_on_from_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates: list[float] = []
    real = finetune.tune

    def once(model: nn.Module, x: Any, loss: Any, *, recipe: Any, **options: Any) -> float:
        rates.append(recipe.rate)
        if len(rates) == 1:
            raise Diverged("the loss is nan")
        return real(model, x, loss, recipe=recipe, **options)

    monkeypatch.setattr(finetune, "tune", once)
    report = built().fit(TRAIN, VAL).report()
    assert rates == [0.01, 0.005, 0.005]  # the fold twice, then all seen classes
    assert report["rate"] == 0.005 and report["halved"]
    monkeypatch.undo()
    with pytest.raises(Diverged, match="give least="):
        built(rate=0.0, least=1e5).fit(TRAIN, VAL)


def test_without_folds_nothing_is_calibrated() -> None:
    report = built(folds=0, images=128).fit(TRAIN, VAL).report()
    assert (report["share"], report["calibration"], report["area"]) == (None, 0.0, None)


def test_invalid_input_is_refused() -> None:
    with pytest.raises(Declined, match="validation"):
        built().fit(TRAIN, None)
    with pytest.raises(Declined, match="no signatures"):
        built(replace(TARGET, semantics=None)).fit(TRAIN, VAL)
    meta = Meta({"label": TARGET, "other": TARGET})
    with pytest.raises(Declined, match="one target"):
        tuned_prototypes.build(meta=meta, trunk=trunk, seed=0)  # type: ignore[arg-type]
    two = replace(TARGET, unseen=frozenset(range(8)) - {0, 1})
    with pytest.raises(Declined, match=r"\[0, 1\]; give rate="):
        built(two, rate=0.0).fit(*(images(40, seed=s, among=(0, 1)) for s in (0, 1)))
    bad: list[dict[str, Any]] = [{"images": -1}, {"rate": -1.0}, {"least": 0.0}, {"folds": -1}]
    for wrong in [*bad, {"rate": 0.0, "folds": 0}]:
        with pytest.raises(BenchError, match="tuned_prototypes"):
            built(**wrong)


def test_a_run_over_class_splits_is_the_same_twice(tmp_path: Path) -> None:
    question = Task(
        name="toy",
        family="zeroshot",
        dataset=f"{TOYS / 'quadrants'}.py",
        targets=("label",),
        protocol="tuned_prototypes,images=320",
        input="images",
        chance=0.0,
        primary=Primary(metric="ausuc", target="label", interval="replicates"),
        replicates=Replicates(seeds=1, splits=((0,), (3,))),
    )
    cell = Cell(question, resolve("encoders", f"{TOYS / 'small_trunk'}.py~1k"))
    first, again = (run_cell(cell, Workspace(DataSets(tmp_path)))[0] for _ in range(2))
    assert first.status == "ok", first.reason
    assert first.digest == again.digest and first.tuning is None
    reports = [replicate.report for replicate in first.replicates]
    # Rates are tried for each split: what is unseen in one is seen in the other.
    assert [report["held_out"] for report in reports] == [[[1]], [[0]]]
    assert all(len(report["rates"]) == 6 for report in reports)
