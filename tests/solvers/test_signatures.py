"""Zero-shot maps: minima by gradient and descent, statistics against rows, and worlds of known answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.linalg import solve_sylvester
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from torch import Tensor

from bench.errors import BenchError
from bench.solvers.class_statistics import ClassStatistics
from bench.solvers.prototypes import GFZSLSolver, RidgePrototypes, quadratic_kernel
from bench.solvers.signatures import ESZSLSolver, SAESolver, prepare_signatures

Matrix = npt.NDArray[np.float64]
Scores = Callable[[ClassStatistics, Matrix, Matrix, Matrix], Matrix]


def linear_kernel(a: Matrix, b: Matrix) -> Matrix:
    return np.asarray(a @ b.T)


# Statistics and signatures of seen classes, test rows, signatures to tell apart -> scores.
EXACT: dict[str, Scores] = {
    "eszsl": lambda z, s, x, t: ESZSLSolver(z, s).solve(1e-4, 1e-4).scores(x, t),
    "sae forward": lambda z, s, x, t: SAESolver(z, s).solve(1.0).encoded_scores(x, t),
    "sae backward": lambda z, s, x, t: SAESolver(z, s).solve(1.0).decoded_scores(x, t),
    "prototypes": lambda z, s, x, t: RidgePrototypes(z, s).solve(1e-4).scores(x, t),
    "whitened": lambda z, s, x, t: RidgePrototypes(z, s).solve(1e-4, shrinkage=1.0).scores(x, t),
    "gfzsl": lambda z, s, x, t: (
        GFZSLSolver(z, s, kernel=linear_kernel).solve(1e-4, 1.0).scores(x, t)
    ),
}
METHODS: dict[str, Scores] = {
    **EXACT,
    "eszsl of -1 and 1": lambda z, s, x, t: (
        ESZSLSolver(z, s, negative_target=-1).solve(0.1, 0.1).scores(x, t)
    ),
    "gfzsl, quadratic": lambda z, s, x, t: GFZSLSolver(z, s).solve(0.01, 1.0).scores(x, t),
}


@dataclass
class World:
    """Rows whose features are a linear map of the unit signatures of their classes, and noise."""

    x: Matrix
    y: npt.NDArray[np.int64]
    s: Matrix
    seen: list[int]
    unseen: list[int]

    @property
    def statistics(self) -> ClassStatistics:
        return ClassStatistics.of(self.x, self.y, len(self.s)).take(self.seen)

    def t1(self, method: Scores, s: Matrix | None = None) -> float:
        """Accuracy on unseen rows among unseen classes, which are of one size here."""
        signatures = self.s if s is None else s
        new = np.isin(self.y, self.unseen)
        scores = method(
            self.statistics, signatures[self.seen], self.x[new], signatures[self.unseen]
        )
        return float((np.array(self.unseen)[scores.argmax(axis=1)] == self.y[new]).mean())


def world(
    seen: int = 30, unseen: int = 8, a: int = 10, d: int = 16, noise: float = 0.01, seed: int = 0
) -> World:
    rng = np.random.default_rng(seed)
    s, _ = prepare_signatures(rng.standard_normal((seen + unseen, a)), range(seen))
    y = np.repeat(np.arange(len(s)), 12)
    x = s[y] @ rng.standard_normal((a, d)) + noise * rng.standard_normal((len(y), d))
    return World(x, y, s, list(range(seen)), list(range(seen, len(s))))


def small(seed: int = 0) -> tuple[Matrix, Any, Matrix]:
    """40 x 7 features of 5 classes of unequal sizes, 4 attributes."""
    rng = np.random.default_rng(seed)
    y = np.sort(rng.permutation(np.r_[np.arange(5), rng.integers(3, size=35)]))
    x = rng.standard_normal((40, 7)) * np.geomspace(0.5, 2, 7) + rng.standard_normal((5, 7))[y]
    return x, y, rng.standard_normal((5, 4))


# --- Each closed form is the minimum of what it says


def check_minimum(objective: Callable[[Tensor], Tensor], minimum: Matrix) -> None:
    """No slope at the point found (relative to that at zero), and no descent gets lower."""

    def value(flat: Matrix) -> tuple[float, Matrix]:
        at = torch.from_numpy(flat.reshape(minimum.shape).copy()).requires_grad_()
        loss = objective(at)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item(), at.grad.numpy().ravel()  # type: ignore[union-attr]

    zero = np.zeros(minimum.size)
    slope = np.linalg.norm(value(minimum)[1]) / np.linalg.norm(value(zero)[1])
    assert slope < 1e-8
    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-9}
    descent = minimize(value, zero, jac=True, method="L-BFGS-B", options=options)
    assert value(minimum)[0] <= descent.fun * (1 + 1e-12)
    np.testing.assert_allclose(value(minimum)[0], descent.fun, rtol=1e-4)
    np.testing.assert_allclose(descent.x.reshape(minimum.shape), minimum, rtol=0.02, atol=1e-3)


def units(x: Matrix, s: Matrix) -> tuple[float, float]:
    """Mean eigenvalues of the Gram matrices of features and of signatures."""
    return float(np.square(x).sum() / x.shape[1]), float(np.square(s).sum() / s.shape[1])


@pytest.mark.parametrize("regularisation", [0.0, -1.0])
@pytest.mark.parametrize(("gamma", "lam"), [(0.01, 0.1), (1.0, 0.01)])
def test_eszsl_is_the_minimum(regularisation: float, gamma: float, lam: float) -> None:
    x, y, s = small()
    solution = (
        ESZSLSolver(ClassStatistics.of(x, y, 5), s, negative_target=regularisation)
        .solve(gamma, lam)
        .weights
    )
    g, l = (p * u for p, u in zip((gamma, lam), units(x, s), strict=True))  # noqa: E741
    X, S = torch.from_numpy(x), torch.from_numpy(s)
    Y = torch.from_numpy(np.where(np.eye(5)[y] == 1, 1, regularisation))

    def objective(v: Tensor) -> Tensor:
        loss = (X @ v @ S.T - Y).square().sum() + g * (v @ S.T).square().sum()
        return loss + l * (X @ v).square().sum() + g * l * v.square().sum()

    check_minimum(objective, solution)


@pytest.mark.parametrize("lam", [0.1, 1.0, 10.0])
def test_sae_is_the_minimum(lam: float) -> None:
    x, y, s = small()
    weights = SAESolver(ClassStatistics.of(x, y, 5), s).solve(lam).weights
    X, S = torch.from_numpy(x.T), torch.from_numpy(s[y].T)
    l = lam * float(S.square().sum() / X.square().sum())  # noqa: E741

    def objective(w: Tensor) -> Tensor:
        return (X - w.T @ S).square().sum() + l * (w @ X - S).square().sum()

    check_minimum(objective, weights)


def test_ridge_prototypes_are_the_minimum() -> None:
    x, y, s = small()
    weights = RidgePrototypes(ClassStatistics.of(x, y, 5), s).solve(0.1).weights
    M = torch.from_numpy(np.stack([x[y == c].mean(axis=0) for c in range(5)]))
    S, l = torch.from_numpy(s), 0.1 * units(x, s)[1]  # noqa: E741
    check_minimum(lambda r: (S @ r - M).square().sum() + l * r.square().sum(), weights)


@pytest.mark.parametrize("kernel", [linear_kernel, quadratic_kernel])
def test_gfzsl_is_the_minimum_of_both_its_regressions(kernel: Any) -> None:
    """Kernel ridge is the minimum over functions sum_c k(., s_c) A_c, penalised by tr(A^T K A)."""
    x, y, s = small()
    x, y = np.concatenate([x, x + 0.3]), np.concatenate([y, y])
    fitted = GFZSLSolver(ClassStatistics.of(x, y, 5), s, kernel=kernel, floor=0.1).solve(0.2, 2.0)
    groups = [x[y == c] for c in range(5)]
    means = np.stack([rows.mean(axis=0) for rows in groups])
    variances = np.stack([rows.var(axis=0) for rows in groups])
    logs = np.log(variances + 0.1 * variances.mean())
    K, size = torch.from_numpy(kernel(s, s)), np.trace(kernel(s, s)) / 5
    fits = (means, fitted.mean_weights, 0.2), (logs, fitted.log_variance_weights, 2.0)
    for expected, solution, penalty in fits:
        aim, share = torch.from_numpy(expected - expected.mean(axis=0)), penalty * size

        def objective(f: Tensor, aim: Tensor = aim, share: float = share) -> Tensor:
            # In f = K A, since descent in A is slow; the penalty is then f^T K^-1 f.
            smooth = (f * torch.linalg.solve(K, f)).sum()
            return (f - aim).square().sum() + share * smooth

        if kernel is quadratic_kernel:  # the linear one has no inverse: its coefficients themselves
            check_minimum(objective, K.numpy() @ solution)
        slope = K @ (K @ torch.from_numpy(solution) - aim) + share * K @ torch.from_numpy(solution)
        assert float(slope.norm()) < 1e-8 * float((K @ aim).norm())


def test_gfzsl_scores_are_densities() -> None:
    x, y, s = small()
    fitted = GFZSLSolver(ClassStatistics.of(x, y, 5), s).solve(0.1, 1.0)
    means, variances = fitted.moments(s)
    scores = fitted.scores(x, s)
    for c in range(5):
        theirs = multivariate_normal(means[c], np.diag(variances[c])).logpdf(x)
        np.testing.assert_allclose(scores[:, c], theirs, rtol=1e-9)


# --- The eigenvectors' way is the direct way


@pytest.mark.parametrize("regularisation", [0.0, -1.0])
def test_the_grid_of_eszsl_equals_direct_solutions(regularisation: float) -> None:
    x, y, s = small()
    solver = ESZSLSolver(ClassStatistics.of(x, y, 5), s, negative_target=regularisation)
    new = np.random.default_rng(1).standard_normal((3, 4))
    gammas, lambdas = 10.0 ** np.arange(-4, 3), 10.0 ** np.arange(-3, 3)
    scores = solver.solve(*np.meshgrid(gammas, lambdas, indexing="ij")).scores(x, new)
    assert scores.shape == (7, 6, 40, 3)
    Y = np.where(np.eye(5)[y] == 1, 1, regularisation)
    for (i, gamma), (j, lam) in itertools.product(enumerate(gammas), enumerate(lambdas)):
        g, l = gamma * units(x, s)[0], lam * units(x, s)[1]  # noqa: E741
        half = np.linalg.solve(x.T @ x + g * np.eye(7), x.T @ Y @ s)
        direct = np.linalg.solve(s.T @ s + l * np.eye(4), half.T).T
        single = solver.solve(gamma, lam)
        scale = np.abs(direct).max()
        np.testing.assert_allclose(single.weights, direct, atol=1e-10 * scale)
        np.testing.assert_allclose(single.scores(x, new), scores[i, j], atol=1e-10 * scale)
        np.testing.assert_allclose(scores[i, j], x @ direct @ new.T, atol=1e-9 * scale)


def test_many_settings_together_score_as_each_alone() -> None:
    x, y, s = small()
    problem = ClassStatistics.of(x, y, 5), s
    first, two = np.array([1e-3, 0.1, 10.0]), np.array([0.01, 1.0, 0.1])
    methods: dict[str, Any] = {
        "prototypes": lambda a, _: RidgePrototypes(*problem).solve(a).scores,
        "whitened": lambda a, b: RidgePrototypes(*problem).solve(a, shrinkage=b).scores,
        "gfzsl": lambda a, b: GFZSLSolver(*problem).solve(a, b).scores,
        "eszsl": lambda a, b: ESZSLSolver(*problem).solve(a, b).scores,
        "sae forward": lambda a, _: SAESolver(*problem).solve(a).encoded_scores,
        "sae backward": lambda a, _: SAESolver(*problem).solve(a).decoded_scores,
    }
    new = np.random.default_rng(1).standard_normal((3, 4))
    for name, method in methods.items():
        scores = method(first, two)(x, new)
        expected = np.stack([method(a, b)(x, new) for a, b in zip(first, two, strict=True)])
        assert scores.shape == (3, 40, 3)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(scores, expected, atol=1e-10 * scale, err_msg=name)


def test_the_path_of_sae_equals_that_of_a_sylvester_solver() -> None:
    x, y, s = small()
    solver, S = SAESolver(ClassStatistics.of(x, y, 5), s), s[y].T
    for lam in 10.0 ** np.arange(-3, 4):
        l = lam * np.square(S).sum() / np.square(x).sum()  # noqa: E741
        direct = solve_sylvester(S @ S.T, l * x.T @ x, (1 + l) * S @ x)
        np.testing.assert_allclose(solver.solve(lam).weights, direct, rtol=1e-9, atol=1e-12)


def test_sae_takes_the_smallest_map_where_many_are_minima() -> None:
    x, _, s = small()
    wide = np.c_[x[:4], np.zeros((4, 9))]  # four rows, of two classes, four attributes, 16 features
    weights = (
        SAESolver(ClassStatistics.of(wide, np.array([0, 0, 1, 1]), 2), s[:2]).solve(1.0).weights
    )
    assert np.isfinite(weights).all() and np.abs(weights).max() < 10
    assert not weights[:, 7:].any()
    A = np.kron(s[:2].T @ s[:2] * 2, np.eye(16))
    l = np.square(s[:2]).sum() * 2 / np.square(wide).sum()  # noqa: E741
    A += l * np.kron(np.eye(4), wide.T @ wide)
    sums = np.stack([wide[:2].sum(axis=0), wide[2:].sum(axis=0)])
    smallest = np.linalg.lstsq(A, ((1 + l) * s[:2].T @ sums).ravel(), rcond=1e-10)[0]
    np.testing.assert_allclose(weights.ravel(), smallest, atol=1e-8)


# --- ClassStatistics are all that is needed of rows


def solved_from_rows(x: Matrix, y: Any, s: Matrix, at: Matrix, new: Matrix) -> dict[str, Matrix]:
    """Scores of rows `at` for signatures `new` by each method of `METHODS`, by the plain formulas."""
    (g, l), (d, a), S = units(x, s), (x.shape[1], s.shape[1]), s[y]  # noqa: E741

    def unit(values: Matrix) -> Matrix:
        return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))

    def eszsl(Y: Matrix, gamma: float, lam: float) -> Matrix:  # noqa: N803
        half = np.linalg.solve(x.T @ x + gamma * g * np.eye(d), x.T @ Y @ s)
        return np.asarray(at @ half @ np.linalg.inv(s.T @ s + lam * l * np.eye(a)) @ new.T)

    def far(a: Matrix, b: Matrix) -> Matrix:
        return -np.square(a[:, None] - b).sum(axis=2)

    ratio = np.square(S).sum() / np.square(x).sum()
    W = solve_sylvester(S.T @ S, ratio * x.T @ x, (1 + ratio) * S.T @ x)
    means = np.stack([x[y == c].mean(axis=0) for c in range(len(s))])
    centres = new @ np.linalg.solve(s.T @ s + 1e-4 * l * np.eye(a), s.T @ means)
    residuals = x - means[y]
    C = residuals.T @ residuals / len(x)
    root = np.linalg.cholesky(np.linalg.inv(C + np.trace(C) / d * np.eye(d)))
    variances = np.stack([x[y == c].var(axis=0) for c in range(len(s))])
    logs = np.log(variances + 1e-3 * variances.mean())

    def gfzsl(kernel: Any, lam: float) -> Matrix:
        K, parts = kernel(s, s), []
        for values, share in ((means, lam), (logs, 1.0)):
            middle = values.mean(axis=0)
            penalty = share * np.trace(K) / len(s) * np.eye(len(s))
            parts.append(kernel(new, s) @ np.linalg.solve(K + penalty, values - middle) + middle)
        far = np.square(at[:, None] - parts[0]) / np.exp(parts[1]) + parts[1]
        return np.asarray(-(far.sum(axis=2) + d * np.log(2 * np.pi)) / 2)

    coded = np.eye(len(s))[y]
    return {
        "eszsl": eszsl(coded, 1e-4, 1e-4),
        "eszsl of -1 and 1": eszsl(2 * coded - 1, 0.1, 0.1),
        "sae forward": unit(at @ W.T) @ unit(new).T,
        "sae backward": unit(at) @ unit(new @ W).T,
        "prototypes": far(at, centres),
        "whitened": far(at @ root, centres @ root),
        "gfzsl": gfzsl(linear_kernel, 1e-4),
        "gfzsl, quadratic": gfzsl(quadratic_kernel, 0.01),
    }


def test_statistics_give_for_every_split_what_the_rows_give() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(6, size=90)
    x, s = rng.standard_normal((90, 5)) + 1, rng.standard_normal((6, 4))
    whole = ClassStatistics.of(x, y, 6)
    for size in (2, 3, 4, 5):
        for seen in itertools.combinations(range(6), size):
            seen_rows, chosen = np.isin(y, seen), s[list(seen)]
            expected = solved_from_rows(
                x[seen_rows], np.searchsorted(seen, y[seen_rows]), chosen, x, s
            )
            assert expected.keys() == METHODS.keys()
            for name, method in METHODS.items():
                scores, aim = method(whole.take(seen), chosen, x, s), expected[name]
                if name in ("prototypes", "whitened"):  # but for a row's own square
                    scores, aim = (v - v.mean(axis=1, keepdims=True) for v in (scores, aim))
                np.testing.assert_allclose(
                    scores, aim, atol=1e-8 * np.abs(expected[name]).max(), err_msg=name
                )


def test_statistics_are_those_of_the_rows_and_follow_affine_maps() -> None:
    x, y, _ = small()
    whole, rng = ClassStatistics.of(x, y, 6), np.random.default_rng(1)
    mean, basis = rng.standard_normal(7), rng.standard_normal((7, 3))
    moved, expected = whole.mapped(mean, basis), ClassStatistics.of((x - mean) @ basis, y, 6)
    scatters = [x[y == c].T @ x[y == c] for c in range(6)]
    np.testing.assert_allclose(whole.scatters, scatters, rtol=1e-12)
    np.testing.assert_allclose(whole.gram, x.T @ x, rtol=1e-12)
    np.testing.assert_allclose(whole.squares, [(x[y == c] ** 2).sum(axis=0) for c in range(6)])
    for name in ("counts", "sums", "gram", "squares"):
        np.testing.assert_allclose(getattr(moved, name), getattr(expected, name), atol=1e-12)
    away = x - mean
    np.testing.assert_allclose(whole.scatter_about(mean), away.T @ away, rtol=1e-12)
    np.testing.assert_allclose(whole.mean, x.mean(axis=0), rtol=1e-12)
    part = whole.take(range(5))
    np.testing.assert_allclose(part.means[4], x[y == 4].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(part.variances[1], x[y == 1].var(axis=0), rtol=1e-9)
    residuals = x - part.means[y]
    np.testing.assert_allclose(part.within, residuals.T @ residuals / 40, atol=1e-12)


def test_rows_without_a_label_and_single_precision_are_as_they_should_be() -> None:
    x, y, _ = small()
    gone = np.where(np.arange(40) % 3 == 0, -1, y)
    weights, expected = (
        ClassStatistics.of(x, gone, 5),
        ClassStatistics.of(x[gone >= 0], y[gone >= 0], 5),
    )
    np.testing.assert_array_equal(weights.scatters, expected.scatters)
    np.testing.assert_array_equal(weights.counts, expected.counts)
    single = x.astype(np.float32)
    single.flags.writeable = False
    exact = ClassStatistics.of(single.astype(np.float64), y, 5)
    np.testing.assert_array_equal(ClassStatistics.of(single, y, 5).scatters, exact.scatters)


# --- Worlds of known answers


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("seed", range(3))
def test_a_linear_world_is_reported_without_error(name: str, seed: int) -> None:
    assert world(seed=seed).t1(EXACT[name]) == 1.0


@pytest.mark.parametrize("name", EXACT)
def test_noise_and_want_of_attributes_cost_accuracy(name: str) -> None:
    values = [
        np.mean([world(noise=noise, seed=seed).t1(EXACT[name]) for seed in range(3)])
        for noise in (0.01, 1.0, 10.0)
    ]
    assert values[0] == 1 > values[1] > values[2]
    accuracies = [world(seen=4, unseen=8, seed=seed).t1(EXACT[name]) for seed in range(3)]
    assert np.mean(accuracies) < 1  # four classes do not span ten attributes


@pytest.mark.parametrize("name", METHODS)
def test_signatures_of_other_classes_are_at_chance(name: str) -> None:
    problem, rng, accuracies = world(), np.random.default_rng(0), []
    numbers = np.arange(len(problem.s))
    while len(accuracies) < 200:
        order = rng.permutation(numbers)
        if (order != numbers).all():
            accuracies.append(problem.t1(METHODS[name], problem.s[order]))
    assert abs(np.mean(accuracies) - 1 / 8) < 0.05


@pytest.mark.parametrize("name", METHODS)
def test_order_and_numbers_of_classes_and_rows_do_not_matter(name: str) -> None:
    problem, rng = world(noise=0.3), np.random.default_rng(1)
    method, new = METHODS[name], np.isin(problem.y, problem.unseen)
    plain = method(problem.statistics, problem.s[problem.seen], problem.x[new], problem.s)
    numbers, rows = rng.permutation(len(problem.s)), rng.permutation(len(problem.y))
    s = np.empty_like(problem.s)
    s[numbers] = problem.s
    statistics = ClassStatistics.of(problem.x[rows], numbers[problem.y[rows]], len(s))
    seen = numbers[rng.permutation(problem.seen)]
    scores = method(statistics.take(seen), s[seen], problem.x[new], s)
    np.testing.assert_allclose(scores[:, numbers], plain, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", METHODS)
def test_twin_signatures_tie_and_a_row_s_scores_are_its_own(name: str) -> None:
    problem = world(noise=0.3)
    twins = problem.s[[31, 32, 31]]
    scores = METHODS[name](problem.statistics, problem.s[problem.seen], problem.x[-9:], twins)
    assert scores.shape == (9, 3)
    np.testing.assert_allclose(scores[:, 0], scores[:, 2], rtol=1e-9)
    alone = METHODS[name](problem.statistics, problem.s[problem.seen], problem.x[-1:], twins[1:2])
    np.testing.assert_allclose(alone[0, 0], scores[-1, 1], rtol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_scales_of_features_and_signatures_do_not_matter(name: str) -> None:
    """Penalties are shares of what they are added to, so guesses stay as they are."""
    problem = world(noise=0.5)
    arguments = [problem.s[problem.seen], problem.x[-96:], problem.s[problem.unseen]]
    plain = METHODS[name](problem.statistics, *arguments)
    scaled = ClassStatistics.of(1000 * problem.x, problem.y, len(problem.s)).take(problem.seen)
    scores = METHODS[name](scaled, arguments[0], 1000 * arguments[1], arguments[2])
    np.testing.assert_array_equal(scores.argmax(axis=1), plain.argmax(axis=1))
    if "quadratic" not in name:  # whose kernel has a scale of its own: signatures of length 1
        scores = METHODS[name](problem.statistics, 7 * arguments[0], arguments[1], 7 * arguments[2])
        np.testing.assert_array_equal(scores.argmax(axis=1), plain.argmax(axis=1))


@pytest.mark.parametrize("name", METHODS)
def test_twice_the_rows_change_nothing(name: str) -> None:
    problem = world(noise=0.5)
    arguments = (problem.s[problem.seen], problem.x[-96:], problem.s)
    x, y = np.concatenate([problem.x] * 2), np.concatenate([problem.y] * 2)
    statistics = ClassStatistics.of(x, y, len(problem.s)).take(problem.seen)
    twice = METHODS[name](statistics, *arguments)
    np.testing.assert_allclose(twice, METHODS[name](problem.statistics, *arguments), rtol=1e-9)


# --- Preparing signatures, and errors


def test_signatures_are_mended_centred_and_scaled_by_seen_classes_alone() -> None:
    raw = np.array([[1.0, np.nan, 4], [3, 2, 0], [5, 4, np.nan], [np.nan, 100, 100]])
    prepared, mended = prepare_signatures(raw, [0, 1, 2], unit=False)
    np.testing.assert_array_equal(prepared, [[1, 3, 4], [3, 2, 0], [5, 4, 2], [3, 100, 100]])
    np.testing.assert_array_equal(mended, np.isnan(raw))
    centred, _ = prepare_signatures(raw, [2, 1, 0], centre=True, unit=False)
    np.testing.assert_allclose(centred, prepared - [3, 3, 2])
    np.testing.assert_allclose(centred[:3].mean(axis=0), 0, atol=1e-15)
    unit, _ = prepare_signatures(raw, {0, 1, 2}, centre=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1)
    np.testing.assert_allclose(unit * np.linalg.norm(centred, axis=1, keepdims=True), centred)
    np.testing.assert_array_equal(prepare_signatures(np.zeros((2, 2)), [0])[0], np.zeros((2, 2)))
    second, _ = prepare_signatures(np.r_[raw[:3], [[-7, 0, 1e9]]], [0, 1, 2], centre=True)
    np.testing.assert_array_equal(second[:3], unit[:3])
    assert np.isnan(raw).sum() == 3


def test_errors_of_signatures_say_what_to_do() -> None:
    with pytest.raises(BenchError, match=r"attributes \[1\]: leave them out"):
        prepare_signatures(np.array([[1, np.nan], [2, 3]]), [0])
    with pytest.raises(BenchError, match="infinite"):
        prepare_signatures(np.array([[1, np.inf]]), [0])
    for seen in ([], [2], [-1]):
        with pytest.raises(BenchError, match="at least one of these"):
            prepare_signatures(np.ones((2, 2)), seen)


def test_errors_of_statistics_say_what_to_do() -> None:
    x, y, _ = small()
    with pytest.raises(BenchError, match="give an integer a row"):
        ClassStatistics.of(x, y[:5], 5)
    with pytest.raises(BenchError, match="give an integer a row"):
        ClassStatistics.of(x, y.astype(float), 5)
    with pytest.raises(BenchError, match="from 0 to 4: with 4 classes 0 to 3"):
        ClassStatistics.of(x, y, 4)
    with pytest.raises(BenchError, match="from -2"):
        ClassStatistics.of(x, y - 2, 5)
    with pytest.raises(BenchError, match="column 1 of row 3 is nan"):
        ClassStatistics.of(np.where(np.arange(280).reshape(40, 7) == 22, np.nan, x), y, 5)


@pytest.mark.parametrize("solver", [ESZSLSolver, SAESolver, RidgePrototypes, GFZSLSolver])
def test_errors_of_maps_say_what_to_do(solver: Any) -> None:
    x, y, s = small()
    statistics = ClassStatistics.of(x, y, 6)
    with pytest.raises(BenchError, match="5 signatures for 6 classes"):
        solver(statistics, s)
    with pytest.raises(BenchError, match=r"classes \[5\] have no rows"):
        solver(statistics, np.r_[s, s[:1]])
    statistics = statistics.take(range(5))
    with pytest.raises(BenchError, match="all zero"):
        solver(statistics, 0 * s)
    with pytest.raises(BenchError, match="column 0 of row 0 is nan"):
        solver(statistics, np.full((5, 4), np.nan))
    fitted = solver(statistics, s)
    two = solver in (ESZSLSolver, GFZSLSolver)
    for bad in (0.0, -1.0, np.nan):
        with pytest.raises(BenchError, match="finite values > 0"):
            fitted.solve(*([bad, 1.0] if two else [bad]))
    solution = fitted.solve(*([1.0, 1.0] if two else [1.0]))
    scores = solution.encoded_scores if solver is SAESolver else solution.scores
    with pytest.raises(BenchError, match=r"signatures have shape \(4,\)"):
        scores(x, s[0])
    with pytest.raises(BenchError, match="row 0 is inf"):
        scores(np.full((2, 7), np.inf), s)
