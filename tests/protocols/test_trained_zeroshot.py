"""Zero-shot heads that are trained on rows: exact worlds, seeds, and what unseen signatures may move."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.data.samples import Meta
from bench.errors import BenchError
from bench.naming import registry
from bench.seeding import generator
from tests.kit.stacking import accuracies
from tests.kit.worlds import build, scored, world

FIXED: dict[str, dict[str, Any]] = {
    "compatibility": {"rate": 0.1, "samples": 60_000},
    "mlp_prototypes": {"rate": 4e-3, "samples": 30_000, "width": 64},
    "cvae": {"decay": 0.3, "per_class": 50, "latent": 8, "samples": 60_000, "width": 256},
}
TRAINED = [
    "compatibility", "compatibility,loss=devise", "compatibility,loss=sje", "mlp_prototypes", "cvae",
]  # fmt: skip
SHORT = {"samples": 4000}


def fixed(spec: str) -> dict[str, Any]:
    return FIXED[spec.partition(",")[0]]


@pytest.mark.parametrize("spec", TRAINED)
def test_an_exact_linear_world_is_solved(spec: str) -> None:
    parts = world(30, 8, 10)
    fitted, scores, truth = scored(spec, parts, **fixed(spec))
    at = accuracies(scores, truth, parts[0].unseen, 0.0)
    assert at.zero_shot > 0.97 and at.harmonic_mean > 0.8, (at, fitted.report())
    assert scores.dtype == np.float32 and np.isfinite(scores).all()


@pytest.mark.parametrize("spec", FIXED)
def test_four_settings_are_tried_on_one_fold(spec: str) -> None:
    fitted, _, _ = scored(spec, world(10, 3, 6), samples=16_000)
    assert len(fitted.grid) == 4 and fitted.max_folds == 1 and 0 < fitted.report()["area"] <= 1
    assert fitted.report()["setting"] in [dict(setting) for setting in fitted.grid]
    assert fitted.report().get("sees_unseen", False) is (spec == "cvae")


@pytest.mark.parametrize("spec", TRAINED)
def test_a_seed_makes_the_same_bytes_and_another_does_not(spec: str) -> None:
    parts = world(10, 3, 6)
    arguments = {**fixed(spec), **SHORT}
    actual = [scored(spec, parts, **arguments, seed=seed)[1].tobytes() for seed in (0, 0, 1)]
    assert actual[0] == actual[1] != actual[2]


@pytest.mark.parametrize("spec", ["compatibility", "mlp_prototypes"])
def test_other_signatures_of_unseen_classes_move_nothing_that_was_learnt(spec: str) -> None:
    parts = world(10, 3, 6, noise=0.4)
    assert parts[0].semantics is not None
    table = parts[0].semantics.copy()
    table[10:] = generator(1, "other").random(table[10:].shape)
    first, scores, _ = scored(spec, parts, **SHORT)
    second, moved, _ = scored(spec, (replace(parts[0], semantics=table), *parts[1:]), **SHORT)
    same = ("setting", "share", "area")
    assert all(first.report()[key] == second.report()[key] for key in same)
    learnt = [
        values[:, :10] + fitted.report()["calibration"]
        for values, fitted in ((scores, first), (moved, second))
    ]
    np.testing.assert_allclose(learnt[0], learnt[1], atol=1e-4)


def test_only_unseen_classes_are_drawn_and_one_softmax_serves_all_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = registry.load(registry.find("protocols", "cvae"))
    trainings: list[tuple[Any, Any]] = []
    train = module.balanced_softmax.train

    def watched(x: Any, y: Any, classes: int, **options: Any) -> Any:
        trainings.append((x, y))
        return train(x, y, classes, **options)

    monkeypatch.setattr(module.balanced_softmax, "train", watched)
    target, *samples = world(10, 3, 6)
    fitted, scores, _ = scored("cvae", (target, *samples), **FIXED["cvae"])
    assert len(trainings) == 2  # that of the fold, and the last
    x, y = trainings[1]
    assert np.bincount(y).tolist() == [20] * 10 + [50] * 3
    read = fitted._head.projection(samples[0].x)
    np.testing.assert_array_equal(x[:200], read)
    np.testing.assert_array_equal(y[:200], samples[0].y["label"])
    held = np.bincount(
        trainings[0][1]
    ).tolist()  # the first fold: classes 0 and 1 and the unseen ones
    assert held == [50] * 2 + [20] * 8 + [50] * 3
    again = fitted.predict(samples[2].x[:7])["label"]
    np.testing.assert_allclose(again, scores[:7], atol=1e-5)
    assert len(trainings) == 2


@pytest.mark.parametrize("spec", FIXED)
def test_deranged_signatures_are_at_chance(spec: str) -> None:
    target, *samples = world(12, 4, 6, noise=0.3)
    assert target.semantics is not None
    actual = []
    for seed in range(40):
        order = generator(seed, "order").permutation(target.size)
        moved = replace(target, semantics=target.semantics[order])
        _, scores, truth = scored(spec, (moved, *samples), **{**FIXED[spec], **SHORT})
        actual.append(accuracies(scores, truth, target.unseen, 0.0).zero_shot)
    assert abs(np.mean(actual) - 1 / 4) < 0.08


def test_invalid_input_is_refused() -> None:
    target, train, val, _ = world(6, 2, 4)
    meta = Meta({"label": target})
    for spec, name in (("compatibility", "rate"), ("mlp_prototypes", "scale"), ("cvae", "latent")):
        for wrong in ({name: -1}, {"samples": 0}):
            ((key, value),) = wrong.items()
            with pytest.raises(BenchError, match=f"{key}={value}"):
                build(spec, meta, **{**FIXED[spec], **wrong}).fit(train, val)
