"""DAP, ConSE and the nearest seen class against loops by hand; exact worlds, chance, symmetries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression

from bench.data.samples import Meta, Samples, Target
from bench.errors import BenchError
from bench.protocols.zeroshot._method import ZeroShot
from bench.seeding import generator
from bench.solvers import attribute_prediction, class_similarity
from bench.solvers.class_statistics import ClassStatistics
from tests.kit.stacking import accuracies
from tests.protocols.test_zeroshot import build, scored, world

Array = npt.NDArray[Any]
NEW = ["dap", "conse", "nearest_seen"]
FIXED: dict[str, dict[str, float]] = {
    "dap": {"penalty": 1e-3},
    "conse": {"penalty": 1e-3, "top": 3},
    "nearest_seen": {},
}
EASY: dict[str, dict[str, float]] = {"dap": {}, "conse": {"penalty": 0.1}, "nearest_seen": {}}


def cloud(
    classes: int, attributes: int, *, seed: int = 0, d: int = 7
) -> tuple[Array, Array, Array]:
    """Overlapping rows of classes of different sizes, and signatures in (0, 1)."""
    rng = generator(seed, "cloud")
    y = np.repeat(np.arange(classes), 15 + 5 * np.arange(classes))
    x = rng.standard_normal((classes, d))[y] + rng.standard_normal((len(y), d)) + 1
    return x.astype(np.float32), y, rng.random((classes, attributes))


def dap(x: Array, y: Array, signatures: Array, **options: Any) -> attribute_prediction.DAPSolver:
    return attribute_prediction.DAPSolver(
        ClassStatistics.of(x, y, len(signatures)), x, signatures, **options
    )


@pytest.mark.parametrize("lam", [0.1, 1e-3, 1e-5])
def test_dap_is_a_loop_over_logistic_regressions(lam: float) -> None:
    x, y, S = cloud(6, 5)
    fitted = dap(x, y, S).solve(lam, gap=1e-9)
    all_classes = np.concatenate([S, generator(1, "unseen").random((3, 5))])
    expected = np.zeros((len(x), len(all_classes)))
    for m in range(S.shape[1]):
        bits = S[:, m] > S[:, m].mean()
        model = LogisticRegression(C=1 / (lam * len(x)), tol=1e-10, max_iter=10_000)
        p = model.fit(x.astype(np.float64), bits[y]).predict_proba(x)[:, 1].clip(1e-6, 1 - 1e-6)
        for c, s in enumerate(all_classes[:, m] > S[:, m].mean()):
            prior = bits.mean() if s else 1 - bits.mean()
            expected[:, c] += np.log(p if s else 1 - p) - np.log(prior)
    actual = fitted.scores(x, all_classes)
    np.testing.assert_allclose(actual, expected, atol=0.02 if lam < 1e-4 else 2e-3)
    assert fitted.bound <= 1e-9


def test_a_regression_stops_only_within_its_gap() -> None:
    x, y, S = cloud(6, 5)
    solver = dap(x, y, S)
    far, near = (solver.solve(1e-3, gap=gap) for gap in (1e-2, 1e-8))
    assert near.bound <= 1e-8 < far.bound <= 1e-2
    assert np.abs(far.weights - near.weights).max() > 1e-4
    stopped = solver.solve(1e-5, gap=1e-8, max_iterations=3)
    assert 1e-8 < stopped.bound < np.inf and np.isfinite(stopped.weights).all()


def test_attributes_that_part_classes_alike_are_solved_once_and_mirrored() -> None:
    x, y, S = cloud(6, 2)
    five = np.column_stack([S, 1 - S[:, 0], S[:, 1] * 3 + 1, S[:, 0]])
    actual, plain = (dap(x, y, table).solve(1e-3) for table in (five, S))
    np.testing.assert_array_equal(actual.weights[:, [0, 1, 2, 3, 4]],
                                  plain.weights[:, [0, 1, 0, 1, 0]] * [1, 1, -1, 1, 1])  # fmt: skip
    np.testing.assert_array_equal(actual.biases, plain.biases[[0, 1, 0, 1, 0]] * [1, 1, -1, 1, 1])


def test_an_attribute_that_all_seen_classes_share_is_left_out() -> None:
    x, y, S = cloud(6, 4)
    with_shared = np.insert(S, 2, 0.1, axis=1)
    solved, plain = dap(x, y, with_shared).solve(1e-3), dap(x, y, S).solve(1e-3)
    assert solved.selected.tolist() == [True, True, False, True, True]
    changed = with_shared.copy()
    changed[0, 2] = 9.0  # an unseen class may have it
    np.testing.assert_array_equal(solved.scores(x, changed), plain.scores(x, S))
    with pytest.raises(BenchError, match="no attribute"):
        dap(x, y, np.ones((6, 3)))


def test_probabilities_stay_away_from_0_and_1() -> None:
    x = np.array([[-1.0], [1.0]], np.float32).repeat(20, axis=0)
    y = np.arange(2).repeat(20)
    fitted = dap(x, y, np.array([[0.0], [1.0]])).solve(1e-5)
    scores = fitted.scores(np.array([[1e6]], np.float32), np.array([[0.0], [1.0]]))
    np.testing.assert_allclose(scores, [[np.log(1e-6) + np.log(2), np.log(2)]], atol=1e-5)


@pytest.mark.parametrize("top", [1, 2, 4, 5, 9])
def test_conse_by_hand(top: int) -> None:
    rng = generator(0, "conse")
    p, S = rng.dirichlet(np.ones(5), 30), rng.random((8, 6))
    expected = np.zeros((30, 8))
    for row in range(30):
        best = sorted(range(5), key=lambda k, row=row: -p[row, k])[:top]  # type: ignore[misc]
        e = sum(p[row, k] * S[k] for k in best) / sum(p[row, k] for k in best)
        np.testing.assert_allclose(
            class_similarity.combined_signatures(p, S[:5], top)[row], e, rtol=1e-12
        )
        expected[row] = [e @ s / np.linalg.norm(e) / np.linalg.norm(s) for s in S]
    actual = class_similarity.cosines(class_similarity.combined_signatures(p, S[:5], top), S)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    with pytest.raises(BenchError, match="top=0"):
        class_similarity.combined_signatures(p, S[:5], 0)


@pytest.mark.parametrize("top", [1, 3])
def test_the_protocol_combines_what_a_softmax_regression_says(top: int) -> None:
    target, train, val, test = world(6, 2, 5, noise=0.5)
    assert target.semantics is not None
    arguments: Any = {"penalty": 1e-2, "top": top}
    fitted, scores, _ = scored("conse", (target, train, val, test), **arguments)
    x, z = (np.asarray(part.x, np.float64) for part in (train, test))
    mean = x.mean(axis=0)
    scale = np.sqrt(np.square(x - mean).sum(axis=1).mean())
    model = LogisticRegression(C=1 / (1e-2 * len(x)), tol=1e-10, max_iter=10_000)
    p = model.fit((x - mean) / scale, train.y["label"]).predict_proba((z - mean) / scale)
    S = target.semantics.astype(np.float64)
    expected = class_similarity.cosines(class_similarity.combined_signatures(p, S[:6], top), S)
    expected[:, :6] -= fitted.report()["calibration"]
    close = np.abs(scores - expected).max(axis=1) < 0.01
    assert close.mean() > 0.97  # the third class can depend on a tolerance


def test_a_row_scores_as_its_nearest_seen_class() -> None:
    target, train, val, test = world(6, 3, 5, noise=0.5)
    assert target.semantics is not None
    fitted, scores, _ = scored("nearest_seen", (target, train, val, test))
    x, z, y = np.asarray(train.x), np.asarray(test.x), train.y["label"]
    means = np.stack([x[y == c].mean(axis=0) for c in range(6)])
    nearest_seen = np.square(z[:, None] - means).sum(axis=2).argmin(axis=1)
    S = target.semantics.astype(np.float64)
    expected = (S / np.linalg.norm(S, axis=1, keepdims=True)) @ S.T / np.linalg.norm(S, axis=1)
    expected = expected[nearest_seen]
    expected[:, :6] -= fitted.report()["calibration"]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert fitted.report()["setting"] == {} and 0 <= fitted.report()["area"] <= 1


def binary_world(seen: int, unseen: int, attributes: int) -> Any:
    """Features that are a linear map of yes/no signatures, no two alike, but for noise."""
    rng, count = generator(0, "binary world"), seen + unseen
    codes = rng.permutation(2**attributes)[:count]
    table = (codes[:, None] >> np.arange(attributes) & 1).astype(np.float32)
    turn = rng.standard_normal((attributes, 2 * attributes))
    target = Target(
        "classes", count, tuple(map(str, range(count))), table, frozenset(range(seen, count))
    )

    def samples(rows: int, among: int) -> Samples:
        y = np.arange(rows * among) % among
        x = table[y] @ turn + 0.01 * rng.standard_normal((len(y), turn.shape[1]))
        return Samples(x.astype(np.float32), {"label": y}, np.arange(len(y)))

    return target, samples(20, seen), samples(20, seen), samples(20, count)


def test_an_exact_binary_world_is_solved_and_the_baseline_is_behind() -> None:
    parts, right = binary_world(30, 8, 7), {}
    for spec in NEW:
        _, scores, truth = scored(spec, parts)
        right[spec] = accuracies(scores, truth, parts[0].unseen, 0.0).zero_shot
    assert right["dap"] == pytest.approx(1.0, abs=1e-12)
    assert right["nearest_seen"] < 0.95 < right["conse"], right


@pytest.mark.parametrize("spec", NEW)
def test_deranged_signatures_are_at_chance(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ZeroShot, "max_folds", 1)  # they calibrate, which is not asked here
    target, *samples = world(12, 4, 6, noise=0.3, rows=8)
    assert target.semantics is not None
    actual = []
    for seed in range(40):
        order = generator(seed, "order").permutation(target.size)
        moved = replace(target, semantics=target.semantics[order])
        _, scores, truth = scored(spec, (moved, *samples), **{**FIXED[spec], **EASY[spec]})
        actual.append(accuracies(scores, truth, target.unseen, 0.0).zero_shot)
    assert abs(np.mean(actual) - 1 / 4) < 0.06


@pytest.mark.parametrize("spec", NEW)
def test_the_numbers_of_classes_mean_nothing(spec: str) -> None:
    target, *samples = world(9, 3, 6, noise=0.4)
    assert target.semantics is not None
    new = np.array([4, 2, 0, 1, 3, 8, 7, 6, 5, 11, 9, 10])  # class c becomes new[c]
    table = np.empty_like(target.semantics)
    table[new] = target.semantics
    moved = [Samples(s.x, {"label": new[s.y["label"]]}, s.rows) for s in samples]
    _, first, _ = scored(spec, (target, *samples), **FIXED[spec])
    _, second, _ = scored(spec, (replace(target, semantics=table), *moved), **FIXED[spec])
    for side in (slice(0, 9), slice(9, 12)):  # without calibration, which depends on the folds
        a, b = first[:, side], second[:, new][:, side]
        a, b = (v - v.mean(axis=1, keepdims=True) for v in (a, b))
        np.testing.assert_allclose(a, b, atol=0.02 * a.std())


def test_what_is_given_is_what_is_tried() -> None:
    target, train, val, _ = world(5, 2, 4)
    meta = Meta({"label": target})
    report: Any = build("conse", meta, penalty=1e-3, top=2).fit(train, val).report()
    assert report["setting"] == {"penalty": 1e-3, "top": 2}
    with pytest.raises(BenchError, match="top=0"):
        build("conse", meta, top=0)
    with pytest.raises(BenchError, match="penalties"):
        build("dap", meta, penalty=-1.0).fit(train, val)
