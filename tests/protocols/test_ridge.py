"""Ridge regression against scikit-learn and fits with each row left out; the probe that uses it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import Ridge, RidgeCV

from bench.data.samples import Meta, Samples, Target
from bench.errors import BenchError
from bench.protocols import ridge as protocol
from bench.solvers import ridge
from bench.solvers.ridge import RidgePath

Matrix = npt.NDArray[np.float64]
GRID = np.array([1e-8, 1e-3, 1.0, 100.0])
SHAPES = [
    (40, 5),
    (12, 30),
    (9, 8),
    (8, 8),
    (7, 8),
    (2, 3),
]  # more rows, more features, and between


def problem(n: int, d: int, m: int = 3, *, seed: int = 0) -> tuple[Matrix, Matrix]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) * np.geomspace(0.3, 3, d) + 2
    return x, x @ rng.standard_normal((d, m)) + rng.standard_normal((n, m)) - 5


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_equals_scikit_learn_at_every_penalty(n: int, d: int) -> None:
    x, y = problem(n, d)
    actual = RidgePath(x, y).solve(GRID)
    assert actual.weights.shape == (len(GRID), d, 3) and actual.biases.shape == (len(GRID), 3)
    for penalty, weights, bias in zip(GRID, actual.weights, actual.biases, strict=True):
        theirs = Ridge(alpha=penalty * n, solver="svd").fit(x, y)
        np.testing.assert_allclose(weights, theirs.coef_.T, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(bias, theirs.intercept_, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_leaving_one_out_equals_a_fit_for_each_row(n: int, d: int) -> None:
    x, y = problem(n, d)
    path = RidgePath(x, y)
    actual = path.left_out(GRID)
    assert actual.shape == (len(GRID), n, 3)
    for i in range(n):
        others = np.arange(n) != i
        alone = RidgePath(x[others], y[others]).solve(GRID)
        expected = y[i] - (x[i] @ alone.weights + alone.biases)
        np.testing.assert_allclose(actual[:, i], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(path.left_out_errors(GRID), (actual**2).mean(axis=1))


@pytest.mark.parametrize(("n", "d"), [(40, 5), (12, 30)])
def test_leaving_one_out_equals_that_of_scikit_learn(n: int, d: int) -> None:
    """There alpha is that of all rows; here lambda is per row, so alpha is lambda (n - 1)."""
    x, y = problem(n, d, 1)
    theirs = [RidgeCV(alphas=[a * (n - 1)]).fit(x, y).best_score_ for a in GRID[1:]]
    errors = RidgePath(x, y).left_out_errors(GRID[1:])[:, 0]
    np.testing.assert_allclose(errors, -np.array(theirs), rtol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(40, 5), (12, 30)])
def test_the_gradient_vanishes_at_the_minimum_that_descent_finds(n: int, d: int) -> None:
    x, y = problem(n, d)
    path, penalty = RidgePath(x, y), 0.1

    def value(flat: Matrix) -> tuple[float, Matrix]:
        at = torch.from_numpy(flat.copy()).requires_grad_()
        weights, bias = at[: d * 3].reshape(d, 3), at[d * 3 :]
        residuals = torch.from_numpy(y) - torch.from_numpy(x) @ weights - bias
        loss = residuals.square().sum(dim=1).mean() + penalty * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item(), at.grad.numpy()  # type: ignore[union-attr]

    solution = path.solve(np.array([penalty]))
    ours, zero = np.append(solution.weights[0], solution.biases[0]), np.zeros(d * 3 + 3)
    assert np.linalg.norm(value(ours)[1]) < 1e-8 * np.linalg.norm(value(zero)[1])
    actual = minimize(value, zero, jac=True, method="L-BFGS-B", options={"maxiter": 5000})
    assert value(ours)[0] <= actual.fun
    np.testing.assert_allclose(value(ours)[0], actual.fun, rtol=1e-4)


@pytest.mark.parametrize("d", [5, 30])
def test_twins_constant_features_and_large_offsets_do_no_harm(d: int) -> None:
    x, y = problem(12, d)
    x[:, 0], x[6:], x[:, 2] = 4.0, x[:6], x[:, 1]
    actual = RidgePath(x, y)
    np.testing.assert_allclose(actual.solve(GRID[1:]).weights[:, 0], 0, atol=1e-12)
    moved = RidgePath(x + 1e4, y)
    np.testing.assert_allclose(moved.left_out(GRID[1:]), actual.left_out(GRID[1:]), rtol=1e-6)
    still = RidgePath(np.ones((4, d)), y[:4]).left_out(GRID)
    np.testing.assert_allclose(still, np.broadcast_to((y[:4] - y[:4].mean(0)) * 4 / 3, still.shape))


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = problem(40, 5)
    whole = RidgePath(x, y)
    monkeypatch.setattr(ridge, "_ROWS", 7)
    cut = RidgePath(x, y)
    np.testing.assert_allclose(cut.solve(GRID).weights, whole.solve(GRID).weights, rtol=1e-9)
    np.testing.assert_allclose(cut.left_out(GRID), whole.left_out(GRID), rtol=1e-9)
    np.testing.assert_allclose(cut.left_out_errors(GRID), whole.left_out_errors(GRID))


def test_inputs_of_single_precision_are_left_alone() -> None:
    x, y = (part.astype(np.float32) for part in problem(20, 4))
    x.flags.writeable = y.flags.writeable = False
    actual = RidgePath(x, y)
    assert actual.solve(GRID).weights.dtype == actual.left_out(GRID).dtype == np.float64
    exact = RidgePath(x.astype(np.float64), y.astype(np.float64))
    np.testing.assert_allclose(actual.solve(GRID).weights, exact.solve(GRID).weights, rtol=1e-9)


def test_errors_say_what_to_do() -> None:
    x, y = problem(6, 4)
    spoilt = x.copy()
    spoilt[2, 1] = np.nan
    with pytest.raises(BenchError, match=r"feature 1 of row 2 is nan.*drop the row"):
        RidgePath(spoilt, y)
    with pytest.raises(BenchError, match="target 0 of row 0 is inf"):
        RidgePath(x, np.full((6, 1), np.inf))
    for a, b in ((x, y[:5]), (x[0], y), (x, y[:, 0]), (x[:, :0], y), (x[:0], y[:0])):
        with pytest.raises(BenchError, match=r"give features \(n, d\)"):
            RidgePath(a, b)
    for grid in ([0.0], [], [np.nan], [[1.0]], [-1.0, 1.0]):
        with pytest.raises(BenchError, match="finite values > 0"):
            RidgePath(x, y).solve(np.array(grid))
        with pytest.raises(BenchError, match="finite values > 0"):
            RidgePath(x, y).left_out_errors(np.array(grid))
    with pytest.raises(BenchError, match="at least 2"):
        RidgePath(x[:1], y[:1]).left_out(GRID)
    assert not RidgePath(x[:1], y[:1]).solve(GRID).weights.any()


# --- The probe

CLASSES = Meta({"label": Target("classes", 3, ("a", "b", "c"))})
MIXED = Meta(
    {
        "label": Target("classes", 3, ("a", "b", "c")),
        "tag": Target("binary", 2, ("one", "two")),
        "size": Target("number", 2, ("first", "second")),
    }
)


def rows(count: int, dim: int = 6, *, seed: int, noise: float = 1.0) -> Samples:
    rng = np.random.default_rng(seed)
    label = rng.integers(3, size=count)
    centres = 2 * np.random.default_rng(9).standard_normal((3, dim))
    x = (centres[label] + noise * rng.standard_normal((count, dim))) * 3 + 1
    size = np.stack([x[:, 0] - x[:, 1], 2 * x[:, 2]], axis=1)
    y = {"label": label, "tag": (size > 0).astype(np.int64), "size": size.astype(np.float32)}
    return Samples(x.astype(np.float32), y, np.arange(count))


def probe(meta: Meta = CLASSES) -> protocol.RidgeProbe:
    return protocol.build(meta=meta, trunk=lambda *_, **__: torch.nn.Identity(), seed=0)


def features(samples: Samples) -> Any:
    return np.asarray(samples.x, dtype=np.float64)


@pytest.mark.parametrize("dim", [6, 70])
def test_the_probe_is_scikit_learns_ridge_on_one_hot_labels(dim: int) -> None:
    train, val, test = (rows(count, dim, seed=s) for s, count in enumerate((45, 15, 20)))
    fitted = probe().fit(train, val)
    penalty = fitted.report()["targets"]["label"]["penalty"]
    mean, scale = features(train).mean(0), features(train).std(0)
    both = (np.concatenate([features(train), features(val)]) - mean) / scale
    labels = np.concatenate([train.y["label"], val.y["label"]])
    theirs = Ridge(alpha=penalty * 60).fit(both, np.eye(3)[labels])
    expected = theirs.predict((features(test) - mean) / scale)
    np.testing.assert_allclose(fitted.predict(test.x)["label"], expected, atol=1e-5)


def test_without_validation_the_rows_left_out_choose() -> None:
    """On labels that mean nothing the largest penalty wins; where they have no noise, a small
    one; and the choice is that of scikit-learn."""
    train = rows(40, seed=0, noise=3.0)
    for noise in (False, True):
        order = np.random.default_rng(1).permutation(40) if noise else np.arange(40)
        samples = Samples(train.x, {"size": train.y["size"][order]}, train.rows)
        report = probe(Meta({"size": MIXED.targets["size"]})).fit(samples, None).report()
        penalty = report["targets"]["size"]["penalty"]
        x = (features(train) - features(train).mean(0)) / features(train).std(0)
        alphas = np.array(protocol.GRID) * 39
        np.testing.assert_allclose(RidgeCV(alphas).fit(x, samples.y["size"]).alpha_, 39 * penalty)
        assert penalty > 1 if noise else penalty < 1e-2
        trials = report["targets"]["size"]["trials"]
        assert [p for p, _, _ in trials] == sorted(protocol.GRID)
        assert all(accuracy is None for _, accuracy, _ in trials)


def test_every_label_is_learnt_from_the_rows_that_have_it() -> None:
    train, val, test = rows(90, seed=0), rows(30, seed=1), rows(50, seed=2)
    gaps = np.random.default_rng(3).random((90, 2)) < 0.4
    holed = {
        **train.y,
        "tag": np.where(gaps, -1, train.y["tag"]),
        "size": np.where(gaps, np.nan, train.y["size"]).astype(np.float32),
    }
    fitted = probe(MIXED).fit(Samples(train.x, holed, train.rows), val)
    actual = fitted.predict(test.x)
    assert ((actual["tag"] > 0) == test.y["tag"]).mean() > 0.9
    np.testing.assert_allclose(actual["size"], test.y["size"], atol=0.05)
    # A column alone, with its own rows, is learnt as it is beside the other at the same penalty.
    report = fitted.report()["targets"]["size"]
    for column in (0, 1):
        labelled = ~np.isnan(holed["size"][:, column])
        whole = ~np.isnan(holed["size"]).all(axis=1)
        mean, scale = features(train)[whole].mean(0), features(train)[whole].std(0)
        x = np.concatenate([features(train)[labelled], features(val)])
        y = np.concatenate([holed["size"][labelled, column], val.y["size"][:, column]])
        alone = Ridge(alpha=report["penalty"] * len(x), solver="svd").fit((x - mean) / scale, y)
        expected = alone.predict((features(test) - mean) / scale)
        np.testing.assert_allclose(actual["size"][:, column], expected, rtol=1e-4, atol=1e-3)


def test_the_head_is_the_fit_to_train_alone_with_standardisation_folded_in() -> None:
    train, val, test = rows(45, seed=0), rows(30, seed=1), rows(20, seed=2)
    fitted = probe(MIXED).fit(train, val)
    with torch.no_grad():
        actual = fitted.head()(torch.from_numpy(test.x))
    mean, scale = features(train).mean(0), features(train).std(0)
    for name, target in MIXED.targets.items():
        y = np.eye(3)[train.y[name]] if target.kind == "classes" else train.y[name]
        penalty = fitted.report()["targets"][name]["penalty"]
        theirs = Ridge(alpha=penalty * 45, solver="svd").fit((features(train) - mean) / scale, y)
        expected = theirs.predict((features(test) - mean) / scale) - 0.5 * (target.kind == "binary")
        np.testing.assert_allclose(actual[name], expected, rtol=1e-3, atol=2e-3)


def test_constant_features_and_one_row_leave_the_means() -> None:
    train = rows(9, seed=0)
    still = Samples(np.ones((9, 4), np.float32), train.y, train.rows)
    for val in (None, still):
        actual = probe(MIXED).fit(still, val).predict(np.ones((2, 4), np.float32))
        np.testing.assert_allclose(actual["size"][0], train.y["size"].mean(0), rtol=1e-5)
    first = Samples(train.x[:1], {n: y[:1] for n, y in train.y.items()}, train.rows[:1])  # type: ignore[index]
    actual = probe(MIXED).fit(first, None).predict(train.x)  # type: ignore[arg-type]
    np.testing.assert_allclose(actual["size"][3], train.y["size"][0], rtol=1e-5)


def test_a_label_without_rows_is_refused() -> None:
    train = rows(9, seed=0)
    none = {**train.y, "size": np.full((9, 2), np.nan, np.float32)}
    with pytest.raises(BenchError, match="has a label of 'size'"):
        probe(MIXED).fit(Samples(train.x, none, train.rows), None)
    half = {**train.y, "tag": np.stack([train.y["tag"][:, 0], np.full(9, -1)], axis=1)}
    actual = probe(MIXED).fit(Samples(train.x, half, train.rows), None).predict(train.x)  # type: ignore[arg-type]
    assert (actual["tag"][:, 1] <= 0).all() and np.isfinite(actual["tag"]).all()
