"""The softmax path against scikit-learn, float64 optima and its own certificate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from bench.errors import BenchError
from bench.solvers.logistic import SoftmaxPath

Array = NDArray[Any]
SHAPES = [(300, 12, 3), (40, 60, 4), (150, 5, 2)]


def make(n: int, d: int, k: int, *, seed: int = 0, noise: float = 1.0) -> tuple[Array, Array]:
    """Features with a decaying spectrum and an offset; labels from a softmax teacher."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.5 + 0.3
    scores = 3 * x @ rng.standard_normal((d, k)) + noise * rng.gumbel(size=(n, k))
    y = scores.argmax(1)
    y[:k] = np.arange(k)
    return x.astype(np.float32), y.astype(np.int64)


def value_and_slope(flat: Array, x: Array, y: Array, k: int, penalty: float) -> tuple[float, Array]:
    """The objective and its gradient in float64, weights (d, k) then biases (k,)."""
    n, d = x.shape
    weights, biases = flat[: d * k].reshape(d, k), flat[d * k :]
    z = x.astype(np.float64) @ weights + biases
    level = np.logaddexp.reduce(z, 1)
    p = np.exp(z - level[:, None])
    p[np.arange(n), y] -= 1
    value = (level - z[np.arange(n), y]).mean() + penalty / 2 * (weights**2).sum()
    slope = x.T.astype(np.float64) @ p / n + penalty * weights
    return float(value), np.concatenate([slope.ravel(), p.mean(0)])


def flatten(weights: Array, biases: Array) -> Array:
    return np.concatenate([weights.ravel(), biases]).astype(np.float64)


def optimum(x: Array, y: Array, k: int, penalty: float) -> float:
    """The least objective a long float64 L-BFGS finds: never below the true optimum."""
    best = minimize(
        value_and_slope,
        np.zeros((x.shape[1] + 1) * k),
        args=(x, y, k, penalty),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 400, "maxfun": 800, "ftol": 0, "gtol": 1e-9, "maxcor": 30},
    )
    return float(best.fun)


@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
def test_equals_scikit_learn(n: int, d: int, k: int) -> None:
    x, y = make(n, d, k)
    grid = np.array([1e-3, 1e-1])
    path = SoftmaxPath(x, y, k).solve(grid, gap=1e-7, certified=True)
    assert path.converged.all()
    for i, penalty in enumerate(grid):
        if k == 2:  # two softmax columns +-w/2 pay half the penalty of one column w
            peer = LogisticRegression(C=2 / (penalty * n), tol=1e-10, max_iter=3000)
        else:
            peer = LogisticRegression(C=1 / (penalty * n), tol=1e-10, max_iter=3000)
        peer.fit(x.astype(np.float64), y)
        weights, biases = peer.coef_.T, peer.intercept_
        if k == 2:
            weights, biases = weights * [[-0.5, 0.5]], biases * [-0.5, 0.5]
        theirs, _ = value_and_slope(flatten(weights, biases), x, y, k, penalty)
        assert path.objective[i] == pytest.approx(theirs, abs=1e-6)
        ours = (x @ path.weights[i] + path.biases[i]).argmax(1)
        assert (ours != peer.predict(x)).mean() <= 0.005


@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
def test_objective_and_gradient_are_those_of_the_returned_weights(n: int, d: int, k: int) -> None:
    x, y = make(n, d, k)
    path = SoftmaxPath(x, y, k).solve(np.array([1e-1, 1e-3]), gap=1e-6, certified=True)
    for i, penalty in enumerate(path.lambdas):
        point = flatten(path.weights[i], path.biases[i])
        value, slope = value_and_slope(point, x, y, k, penalty)
        assert path.objective[i] == pytest.approx(value, abs=1e-9)
        assert np.square(slope[: d * k]).sum() / (2 * penalty) <= 1.1e-6
        assert np.abs(slope[d * k :]).max() < 1e-6
        start = np.concatenate([np.zeros(d * k), np.log(np.bincount(y) / n)])
        scale = np.linalg.norm(value_and_slope(start, x, y, k, penalty)[1])
        assert path.gradient[i] * scale == pytest.approx(np.linalg.norm(slope), rel=0.2, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("certified", [False, True])
def test_the_gap_is_an_upper_bound(seed: int, certified: bool) -> None:
    n, d, k = [(60, 8, 3), (30, 50, 4), (120, 6, 2)][seed % 3]
    # Without noise and with few rows the classes are separable: the weights grow as lambda falls.
    x, y = make(n, d, k, seed=seed, noise=float(seed % 2))
    grid = 10.0 ** np.arange(-6, 2, 2.5)
    problem = SoftmaxPath(x, y, k)
    best = [optimum(x, y, k, penalty) for penalty in grid]
    for limit in (1, 4, 20):
        path = problem.solve(grid, gap=1e-4, certified=certified, max_iterations=limit)
        for i, penalty in enumerate(grid):
            point = flatten(path.weights[i], path.biases[i])
            value, _ = value_and_slope(point, x, y, k, penalty)
            assert value - best[i] <= path.gap[i] * 1.001 + 1e-6


def test_stops_within_the_gap_requested() -> None:
    x, y = make(400, 20, 4, seed=1)
    grid = 10.0 ** np.arange(-7, 2, 1.5)
    best = np.array([optimum(x, y, 4, penalty) for penalty in grid])
    for gap in (1e-2, 1e-3):
        path = SoftmaxPath(x, y, 4).solve(grid, gap=gap)
        assert path.converged.all()
        assert (path.objective - best <= gap).all()


def test_a_certificate_takes_few_iterations_when_warm() -> None:
    x, y = make(500, 40, 5, seed=2)
    problem = SoftmaxPath(x, y, 5)
    loose = problem.solve(np.array([1e-3, 1e-2]), gap=1e-2)
    cold = problem.solve(np.array([1e-3]), gap=1e-4, certified=True)
    warm = problem.solve(np.array([1e-3]), gap=1e-4, certified=True, start=loose)
    assert warm.converged.all()
    assert warm.gap[0] <= 1e-4
    assert warm.gradient[0] <= 1e-2
    assert warm.passes < cold.passes
    exact = problem.solve(np.array([1e-3]), gap=1e-9, certified=True, start=warm)
    assert exact.gradient[0] <= 1e-4


def test_a_path_equals_separate_solves_in_any_order() -> None:
    x, y = make(200, 15, 4)
    grid = np.array([1e-2, 1e-5, 1.0, 1e-3, 1e-1, 1e-4])
    problem = SoftmaxPath(x, y, 4)
    path = problem.solve(grid, gap=1e-7, certified=True)
    for i, penalty in enumerate(grid):
        alone = problem.solve(np.array([penalty]), gap=1e-7, certified=True)
        assert path.lambdas[i] == penalty
        assert path.objective[i] == pytest.approx(alone.objective[0], abs=3e-7)


def test_rows_may_come_in_any_order_and_the_same_call_gives_the_same_bits() -> None:
    x, y = make(300, 10, 3)
    grid = np.array([1e-3, 1e-1])
    order = np.random.default_rng(5).permutation(300)
    first = SoftmaxPath(x, y, 3).solve(grid, gap=1e-7, certified=True)
    again = SoftmaxPath(x, y, 3).solve(grid, gap=1e-7, certified=True)
    permuted = SoftmaxPath(x[order], y[order], 3).solve(grid, gap=1e-7, certified=True)
    assert np.array_equal(first.weights, again.weights)
    assert np.allclose(first.objective, permuted.objective, atol=2e-7)
    assert np.allclose(first.weights, permuted.weights, atol=2e-2)


def test_renaming_classes_permutes_the_result() -> None:
    x, y = make(300, 10, 4)
    names = np.array([2, 0, 3, 1])
    first = SoftmaxPath(x, y, 4).solve(np.array([1e-2]), gap=1e-7, certified=True)
    renamed = SoftmaxPath(x, names[y], 4).solve(np.array([1e-2]), gap=1e-7, certified=True)
    assert np.allclose(first.weights, renamed.weights[..., names], atol=1e-3)
    assert np.allclose(first.biases, renamed.biases[:, names], atol=1e-3)


def test_constant_and_repeated_columns_change_nothing_they_should_not() -> None:
    x, y = make(200, 6, 3)
    grid = np.array([1e-5, 1e-2])
    plain = SoftmaxPath(x, y, 3).solve(grid, gap=1e-6, certified=True)
    flat = np.concatenate([x, np.full((200, 1), 7, np.float32), np.zeros((200, 1), np.float32)], 1)
    wide = SoftmaxPath(flat, y, 3).solve(grid, gap=1e-6, certified=True)
    assert np.allclose(plain.objective, wide.objective, atol=2e-6)
    assert np.abs(wide.weights[:, 6:]).max() < 1e-3
    # A column given twice shares its weight: the same fit at half the penalty.
    twice = SoftmaxPath(np.concatenate([x, x], 1), y, 3).solve(grid, gap=1e-6, certified=True)
    half = SoftmaxPath(x, y, 3).solve(grid / 2, gap=1e-6, certified=True)
    assert np.allclose(twice.objective, half.objective, atol=2e-6)


def test_a_class_without_rows_is_never_predicted_and_does_not_alter_the_others() -> None:
    x, y = make(200, 6, 3)
    full = SoftmaxPath(x, y, 3).solve(np.array([1e-3]), gap=1e-6, certified=True)
    holes = SoftmaxPath(x, np.array([0, 2, 4])[y], 6).solve(
        np.array([1e-3]), gap=1e-6, certified=True
    )
    assert np.allclose(full.weights, holes.weights[..., [0, 2, 4]], atol=1e-6)
    scores = x @ holes.weights[0] + holes.biases[0]
    assert set(scores.argmax(1)) <= {0, 2, 4}
    value, _ = value_and_slope(
        flatten(holes.weights[0], holes.biases[0]), x, np.array([0, 2, 4])[y], 6, 1e-3
    )
    assert value == pytest.approx(full.objective[0], abs=1e-8)


def test_one_row_is_fitted_without_weights() -> None:
    path = SoftmaxPath(np.ones((1, 3), np.float32), np.array([1]), 2).solve(
        np.array([1e-4, 1.0]), gap=1e-4
    )
    assert not path.weights.any()
    assert path.biases.argmax(1).tolist() == [1, 1]
    assert path.gap.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": np.full((4, 2), np.nan, np.float32)}, "feature 0 of row 0 is nan"),
        ({"x": np.array([[0, 0], [0, np.inf], [0, 0], [0, 0]], np.float32)}, "feature 1 of row 1"),
        ({"y": np.array([0, 1, 2, 0])}, "labels run from 0 to 2: with 2 classes 0 to 1"),
        ({"y": np.array([0, 1, -1, 0])}, "labels run from -1"),
        ({"y": np.array([0.0, 1, 1, 0])}, "integer labels"),
        ({"y": np.array([0, 1])}, "labels of shape"),
        ({"x": np.zeros((4, 0), np.float32)}, "features of shape"),
        ({"classes": 1}, "classes 1 is not allowed"),
        ({"lambdas": np.array([0.0])}, "penalties"),
        ({"lambdas": np.array([])}, "penalties"),
        ({"gap": 0.0}, "gap 0.0 is not allowed"),
    ],
)
def test_what_cannot_be_solved_is_refused_in_one_line(change: dict[str, Any], said: str) -> None:
    arguments: dict[str, Any] = {
        "x": np.eye(4, 2, dtype=np.float32),
        "y": np.array([0, 1, 1, 0]),
        "classes": 2,
        "lambdas": np.array([1.0]),
        "gap": 1e-2,
    } | change
    with pytest.raises(BenchError, match=said) as caught:
        SoftmaxPath(arguments["x"], arguments["y"], arguments["classes"]).solve(
            arguments["lambdas"], gap=arguments["gap"]
        )
    assert "\n" not in str(caught.value)
