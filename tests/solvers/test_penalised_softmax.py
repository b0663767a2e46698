"""Penalised softmax regression against float64 optima, scikit-learn and its own bound."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from bench.errors import BenchError
from bench.solvers.penalised_softmax import PenalisedSoftmax, PenalisedSolution

Array = NDArray[Any]
GRID = 10.0 ** np.arange(1, -7.5, -2)


def make(n: int, d: int, k: int, *, seed: int = 0, noise: float = 1.0) -> tuple[Array, Array]:
    """Features with a decaying spectrum, rotated; labels from a softmax teacher, all classes."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.5
    scores = 3 * x @ rng.standard_normal((d, k)) + noise * rng.gumbel(size=(n, k))
    y = scores.argmax(1)
    y[:k] = np.arange(k)
    x = x @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    x = (x - x.mean(0)) / x.std()
    return x.astype(np.float32), y.astype(np.int64)


def value(weights: Array, biases: Array, x: Array, y: Array, penalty: float, q: Array) -> float:
    """The objective in float64."""
    weights = weights.astype(np.float64)
    z = x.astype(np.float64) @ weights + biases.astype(np.float64)
    z = z - z[np.arange(len(y)), y][:, None]
    finite = np.isfinite(q)
    square = (q[finite, None] * weights[finite] ** 2).sum()
    return float(np.logaddexp.reduce(z, 1).mean() + penalty / 2 * square)


def optimum(x: Array, y: Array, k: int, penalty: float, q: Array) -> tuple[float, Array, Array]:
    """The least objective a float64 L-BFGS finds, and weights (d, k) and biases (k,) there; in the basis
    in which the covariance is diagonal."""
    mean, root = x.mean(0, dtype=np.float64), np.where(np.isfinite(q), q, np.inf) ** -0.5
    u, sizes, v = np.linalg.svd((x - mean) * root, full_matrices=False)
    # Coordinates scaled by about the root of the curvature.
    scale = (np.square(sizes) / len(y) / k + penalty) ** -0.5
    inner, r = u * sizes * scale, len(sizes)

    def objective(flat: Array) -> tuple[float, Array]:
        a, b = flat[: r * k].reshape(r, k), flat[r * k :]
        z = inner @ a + b
        z -= z[np.arange(len(y)), y][:, None]
        level = np.logaddexp.reduce(z, 1)
        p = np.exp(z - level[:, None])
        p[np.arange(len(y)), y] -= 1
        a = a * scale[:, None]
        slope = inner.T @ p / len(y) + penalty * a * scale[:, None]
        total = level.mean() + penalty / 2 * (a**2).sum()
        return float(total), np.concatenate([slope.ravel(), p.mean(0)])

    start = np.concatenate([np.zeros(r * k), np.log(np.bincount(y, minlength=k) / len(y))])
    options = {"maxiter": 2000, "maxfun": 3000, "ftol": 0, "gtol": 1e-8, "maxcor": 30}
    best = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    weights = (v.T * root[:, None] * scale) @ best.x[: r * k].reshape(r, k)
    return float(best.fun), weights, best.x[r * k :] - mean @ weights


@functools.cache
def least(x: bytes, shape: tuple[int, int], y: bytes, k: int, penalty: float, q: bytes) -> float:
    """`optimum`, once for the same problem."""
    features, labels = np.frombuffer(x, np.float32).reshape(shape), np.frombuffer(y, np.int64)
    return optimum(features, labels, k, penalty, np.frombuffer(q))[0]


def excesses(s: PenalisedSolution, x: Array, y: Array, k: int) -> Array:
    """(objective - optimum) of every point, as a share of the lesser of objective and gain; of the
    weights returned."""
    share = np.bincount(y, minlength=k) / len(y)
    flat = -(share[share > 0] * np.log(share[share > 0])).sum()
    shares = []
    for i, penalty in enumerate(s.penalties):
        reached = value(s.weights[i], s.biases[i], x, y, penalty, s.factors[i])
        best = least(x.tobytes(), x.shape, y.tobytes(), k, penalty, s.factors[i].tobytes())
        assert reached - best <= s.gap[i] * 1.001 + 1e-9 + 2e-7 * reached
        shares.append((reached - best) / min(reached, flat - reached))
    return np.array(shares)


def both_factors(x: Array) -> tuple[Array, Array]:
    """Every penalty of GRID with one scale for all features and with each standardised: (l,), (l, d)."""
    variances = x.var(0, dtype=np.float64)
    factors = np.stack([np.ones_like(variances), np.where(variances > 0, variances, np.inf)])
    return np.repeat(GRID, 2), np.tile(factors, (len(GRID), 1))


# n < d, float64 rows, float32 rows with rotated weights, and float32 rotated rows of many classes.
SHAPES = [(40, 60, 4), (300, 12, 3), (2500, 30, 3), (2200, 15, 12), (150, 5, 2)]


@pytest.mark.parametrize("certified", [False, True])
@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
def test_every_penalty_is_within_the_relative_gap(n: int, d: int, k: int, certified: bool) -> None:
    x, y = make(n, d, k)
    penalties, factors = both_factors(x)
    s = PenalisedSoftmax(x, y, k).solve(penalties, factors, gap=1e-2, certified=certified)
    assert s.converged.all()
    assert (excesses(s, x, y, k) <= 1e-2).all()
    if certified:
        assert (s.relative_gap <= 1e-2).all()


def peculiar(name: str) -> tuple[Array, Array, int]:
    """Features of a peculiar kind, labels and the number of classes."""
    x, y = make(300, 20, 4, seed=1)
    if name == "rectified":
        x = np.maximum(x - 0.5, 0)
    elif name == "nearly dead":
        x[:, :10] *= np.arange(300)[:, None] % 97 == 0
    elif name == "of huge scale":
        x[:, 3] *= 1e4
        x /= x.std()
    elif name == "far from zero":
        x += 30.0
    elif name == "constant":
        x[:, 2:5] = 7.0
    elif name == "separable":
        x, y = make(60, 40, 4, noise=0.0)
    elif name == "separable in one feature":
        x[:, 0] = y
    elif name == "one row a class":
        x, y = make(10, 64, 10)
    elif name == "one row a class, far from zero":
        x, y = make(10, 64, 10)
        x += 30.0
    elif name == "classes without rows":
        return x.astype(np.float32), np.array([0, 2, 3, 5])[y], 7
    return x.astype(np.float32), y, int(y.max()) + 1


KINDS = [
    "rectified",
    "nearly dead",
    "of huge scale",
    "far from zero",
    "constant",
    "separable",
    "separable in one feature",
    "one row a class",
    "one row a class, far from zero",
    "classes without rows",
]


@pytest.mark.parametrize("kind", KINDS)
def test_peculiar_features_are_solved_too(kind: str) -> None:
    x, y, k = peculiar(kind)
    penalties, factors = both_factors(x)
    present, inner = np.unique(y, return_inverse=True)
    s = PenalisedSoftmax(x, y, k).solve(penalties, factors, gap=1e-2, certified=True)
    assert s.converged.all()
    assert (s.relative_gap <= 1e-2).all()
    absent = np.setdiff1d(np.arange(k), present)
    assert (s.biases[:, absent] == -30).all() and not s.weights[..., absent].any()
    of_present = PenalisedSolution(
        **{f: getattr(s, f) for f in s.__dataclass_fields__ if f not in ("weights", "biases")},
        weights=s.weights[..., present],
        biases=s.biases[:, present],
    )
    assert (excesses(of_present, x, inner, len(present)) <= 1e-2).all()


@pytest.mark.parametrize("penalty", [1e-7, 1e-4, 1.0])
def test_the_certificate_is_tight_at_every_penalty(penalty: float) -> None:
    x, y = make(300, 12, 3)
    s = PenalisedSoftmax(x, y, 3).solve(np.array([penalty]), np.ones(12), gap=1e-6, certified=True)
    reached = value(s.weights[0], s.biases[0], x, y, penalty, np.ones(12))
    assert s.converged[0] and s.gap[0] <= 1e-6
    assert reached == pytest.approx(s.objective[0], abs=1e-9)
    assert reached - optimum(x, y, 3, penalty, np.ones(12))[0] <= s.gap[0] + 1e-10


@pytest.mark.parametrize("limit", [1, 4, 20])
def test_the_gap_is_a_bound_wherever_the_descent_stops(limit: int) -> None:
    for seed, (n, d, k) in enumerate([(60, 8, 3), (30, 50, 4), (120, 6, 2)]):
        x, y = make(n, d, k, seed=seed, noise=float(seed % 2))
        penalties, factors = both_factors(x)
        s = PenalisedSoftmax(x, y, k).solve(
            penalties, factors, gap=1e-6, certified=True, max_iterations=limit
        )
        excesses(s, x, y, k)


def test_equals_scikit_learn() -> None:
    x, y = make(300, 12, 3)
    variances = x.var(0)
    s = PenalisedSoftmax(x, y, 3).solve(np.array([1e-3]), variances, gap=1e-7, certified=True)
    peer = LogisticRegression(C=1 / (1e-3 * 300), tol=1e-10, max_iter=3000)
    peer.fit((x / np.sqrt(variances)).astype(np.float64), y)
    assert np.allclose(s.weights[0] * np.sqrt(variances)[:, None], peer.coef_.T, atol=2e-3)
    assert np.allclose(s.biases[0], peer.intercept_ - peer.intercept_.mean(), atol=2e-3)


def test_a_direction_in_which_no_training_row_differs_gets_no_weight() -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((10, 64)) + 40 * rng.standard_normal(64)).astype(np.float32)
    s = PenalisedSoftmax(x, np.arange(10), 10).solve(
        np.array([1e-6, 1e-3]), np.ones(64), gap=1e-2, certified=True
    )
    rows = x - x.mean(0, dtype=np.float64)
    span = np.linalg.svd(rows, full_matrices=False)[2][:9]
    outside = s.weights - np.einsum("rd,re,lek->ldk", span, span, s.weights)
    assert np.abs(outside).max() < 1e-6 * np.abs(s.weights).max()


def test_an_infinite_factor_drops_the_feature() -> None:
    x, y = make(300, 12, 3)
    for rows in (x, x[:9]):
        factors = np.ones(12)
        factors[[0, 5]] = np.inf
        s = PenalisedSoftmax(rows, y[: len(rows)], 3).solve(GRID[1:4], factors, gap=1e-6)
        left = PenalisedSoftmax(np.delete(rows, [0, 5], 1), y[: len(rows)], 3).solve(
            GRID[1:4], np.ones(10), gap=1e-6
        )
        assert not s.weights[:, [0, 5]].any()
        assert np.allclose(s.objective, left.objective, atol=1e-6)


def test_order_mixed_factors_and_calls_do_not_matter() -> None:
    for n, d, k in ((300, 12, 3), (2500, 30, 3)):
        x, y = make(n, d, k)
        penalties, factors = both_factors(x)
        problem = PenalisedSoftmax(x, y, k)
        order = np.random.default_rng(3).permutation(len(penalties))
        s = problem.solve(penalties[order], factors[order], gap=1e-5, certified=True)
        assert np.array_equal(s.penalties, penalties[order])
        for i, j in enumerate(order):
            alone = problem.solve(penalties[[j]], factors[j], gap=1e-5, certified=True)
            assert s.objective[i] == pytest.approx(alone.objective[0], rel=2e-5)
            assert np.array_equal(s.factors[i], factors[j])


def test_a_start_near_the_optimum_saves_passes() -> None:
    x, y = make(2500, 30, 3)
    penalties, factors = both_factors(x)
    problem = PenalisedSoftmax(x, y, 3)
    path = problem.solve(penalties, factors, gap=1e-2)
    for other in (problem, PenalisedSoftmax(x[:2400], y[:2400], 3)):
        warm = other.solve(penalties[-4:-2], factors[-4:-2], gap=1e-2, certified=True, start=path)
        cold = other.solve(penalties[-4:-2], factors[-4:-2], gap=1e-2, certified=True)
        assert warm.converged.all() and warm.passes < cold.passes


def test_the_same_calls_give_the_same_bits() -> None:
    x, y = make(2500, 30, 3)
    penalties, factors = both_factors(x)
    first, again = (PenalisedSoftmax(x, y, 3).solve(penalties, factors, gap=1e-2) for _ in range(2))
    assert np.array_equal(first.weights, again.weights)


def test_renaming_classes_permutes_the_result() -> None:
    x, y = make(300, 10, 4)
    names = np.array([2, 0, 3, 1])
    first = PenalisedSoftmax(x, y, 4).solve(np.array([1e-2]), np.ones(10), gap=1e-7, certified=True)
    renamed = PenalisedSoftmax(x, names[y], 4).solve(
        np.array([1e-2]), np.ones(10), gap=1e-7, certified=True
    )
    assert np.allclose(first.weights, renamed.weights[..., names], atol=1e-3)
    assert np.allclose(first.biases, renamed.biases[:, names], atol=1e-3)


def test_rows_of_one_class_or_alike_are_fitted_without_weights() -> None:
    one = PenalisedSoftmax(np.ones((1, 3), np.float32), np.array([1]), 2).solve(
        np.array([1e-4, 1.0]), np.ones(3), gap=1e-4, certified=True
    )
    assert not one.weights.any() and one.biases.argmax(1).tolist() == [1, 1]
    assert one.gap.tolist() == [0, 0] and one.converged.all()
    alike = PenalisedSoftmax(
        np.full((6, 3), 2.5, np.float32), np.array([0, 1, 1, 2, 2, 2]), 3
    ).solve(np.array([1e-4]), np.ones(3), gap=1e-4, certified=True)
    assert np.abs(alike.weights).max() < 1e-6 and alike.converged.all()
    odds = np.exp(alike.biases[0]) / np.exp(alike.biases[0]).sum()
    assert np.allclose(odds, [1 / 6, 2 / 6, 3 / 6], atol=1e-5)


def test_solutions_are_parted_and_joined() -> None:
    x, y = make(300, 12, 3)
    problem = PenalisedSoftmax(x, y, 3)
    s = problem.solve(GRID, np.ones(12), gap=1e-2)
    parts = [s.take(np.arange(2)), s.take(s.penalties < GRID[1])]
    joined = PenalisedSolution.together(parts)
    assert np.array_equal(joined.weights, s.weights)
    assert np.array_equal(joined.penalties, s.penalties)
    again = problem.solve(GRID[2:3], np.ones(12), gap=1e-2, start=joined)
    cold = problem.solve(GRID[2:3], np.ones(12), gap=1e-2)
    assert again.converged.all() and again.passes < cold.passes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": np.full((4, 2), np.nan, np.float32)}, "feature 0 of row 0 is nan"),
        ({"y": np.array([0, 1, 2, 0])}, "labels run from 0 to 2: with 2 classes 0 to 1"),
        ({"y": np.array([0.0, 1, 1, 0])}, "integer labels"),
        ({"x": np.zeros((4, 0), np.float32)}, "features of shape"),
        ({"classes": 1}, "classes 1 is not allowed"),
        ({"penalties": np.array([0.0])}, "penalties"),
        ({"factors": np.ones(3)}, r"factors of shape \(3,\) are not allowed"),
        ({"factors": np.array([1.0, 0.0])}, "one factor > 0 a feature"),
        ({"factors": np.array([1.0, np.nan])}, "one factor > 0 a feature"),
        ({"gap": 0.0}, "gap 0.0 is not allowed"),
        ({"max_iterations": 0}, "max_iterations 0 is not allowed"),
    ],
)
def test_what_cannot_be_solved_is_refused_in_one_line(change: dict[str, Any], said: str) -> None:
    arguments: dict[str, Any] = {
        "x": np.eye(4, 2, dtype=np.float32),
        "y": np.array([0, 1, 1, 0]),
        "classes": 2,
        "penalties": np.array([1.0]),
        "factors": np.ones(2),
        "gap": 1e-2,
        "max_iterations": 10,
    } | change
    with pytest.raises(BenchError, match=said) as caught:
        PenalisedSoftmax(arguments["x"], arguments["y"], arguments["classes"]).solve(
            arguments["penalties"],
            arguments["factors"],
            gap=arguments["gap"],
            max_iterations=arguments["max_iterations"],
        )
    assert "\n" not in str(caught.value)
