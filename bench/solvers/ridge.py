"""Ridge regression for a path of penalties, with exact leave-one-out, from one eigendecomposition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.errors import BenchError
from bench.solvers._checks import Array, penalty_grid, require_finite

REVISION = 1

_ROWS = 4096  # at a time in float64, so that no float64 copy of the features is held


@dataclass(frozen=True, slots=True, eq=False)
class RidgeSolution:
    """Minimisers for a path of l penalties, for the features as given, float64."""

    lambdas: Array  # (l,)
    weights: Array  # (l, d, m)
    biases: Array  # (l, m)


class RidgePath:
    """Ridge regression of y (n, m) on x (n, d): mean |y - x W - b|^2 + lambda |W|^2, bias b free.

    lambda is per row, as that of `SoftmaxPath`: scikit-learn's alpha is lambda * n. The
    eigendecomposition is that of the centred Gram matrix (d, d), or (n, n) where n < d (Hastie et al.
    2009, The Elements of Statistical Learning, sections 3.4.1 and 18.3.5); each penalty then costs a
    product. All in float64. Raises BenchError for shapes that do not fit and values that are not finite.
    """

    def __init__(self, x: Array, y: Array) -> None:
        _check(x, y)
        (self.n, self.d), self.m = x.shape, y.shape[1]
        self._x, self._wide = x, self.n < self.d
        self._mean, self._centre = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=float)
        self._y = y - self._centre
        if self._wide:
            rows = x - self._mean
            gram = rows @ rows.T
            # Centring makes the vector of ones an eigenvector: lifted above all others it comes last,
            # alone, and is dropped. The others span the centred targets.
            gram += (2 * gram.trace() or 1.0) / self.n
            values, vectors = np.linalg.eigh(gram)
            values, self._turn = values[:-1], vectors[:, :-1]  # (n, n - 1)
            self._basis, self._inner = rows.T @ self._turn, self._turn.T @ self._y
        else:
            gram, cross = np.zeros((self.d, self.d)), np.zeros((self.d, self.m))
            for start, rows in self._blocks():
                gram += rows.T @ rows
                cross += rows.T @ self._y[start : start + len(rows)]
            values, self._basis = np.linalg.eigh(gram)
            self._inner = self._basis.T @ cross
        self._values: Array = values.clip(0)  # negative by rounding alone

    def solve(self, lambdas: Array) -> RidgeSolution:
        """Minimise for every penalty of lambdas (l,). Raises BenchError unless all are above 0."""
        grid = penalty_grid(lambdas)
        weights = np.stack([self._basis @ inner for inner in self._shrunk(grid * self.n)])
        return RidgeSolution(grid, weights, self._centre - self._mean @ weights)

    def left_out(self, lambdas: Array) -> Array:
        """Residuals (l, n, m): y less the prediction of a fit to the other n - 1 rows at that lambda.

        Exact, by the shortcut of linear smoothers (Allen 1974; Hastie et al. 2009, section 7.10): the
        residual of the fit to all rows at penalty lambda * (n - 1), over 1 - the row's leverage.
        Raises BenchError for fewer than two rows, and unless all penalties are above 0.
        """
        return np.concatenate(list(self._left_out(lambdas)), axis=1)

    def left_out_errors(self, lambdas: Array) -> Array:
        """Mean squares (l, m) of `left_out`, without holding its residuals."""
        total = np.zeros((len(penalty_grid(lambdas)), self.m))
        for part in self._left_out(lambdas):
            total += np.square(part).sum(axis=1)
        mean: Array = total / self.n
        return mean

    def _shrunk(self, alphas: Array) -> Array:
        """Weights (l, r, m) in the eigenbasis at penalties alphas (l,) on the summed squares."""
        weights: Array = self._inner / (self._values + alphas[:, None])[..., None]
        return weights

    def _left_out(self, lambdas: Array) -> Iterator[Array]:
        """Leave-one-out residuals (l, b, m), block by block of b rows."""
        if self.n < 2:
            raise BenchError("one row leaves none to learn from when left out: give at least 2")
        alphas = penalty_grid(lambdas) * (self.n - 1)
        inner, weigh = self._shrunk(alphas), 1 / (self._values + alphas[:, None])
        if self._wide:
            # Residual and 1 - leverage have the factor alpha: without it nothing cancels.
            yield (self._turn @ inner) / (np.square(self._turn) @ weigh.T).T[..., None]
            return
        least = np.finfo(float).eps
        for start, rows in self._blocks():
            turned = rows @ self._basis
            residual = self._y[start : start + len(rows)] - turned @ inner
            one_minus_leverage = 1 - 1 / self.n - (np.square(turned) @ weigh.T).T
            yield residual / one_minus_leverage.clip(least)[..., None]

    def _blocks(self) -> Iterator[tuple[int, Array]]:
        """Centred rows (b, d) in float64, and the number of the first."""
        for start in range(0, self.n, _ROWS):
            yield start, self._x[start : start + _ROWS] - self._mean


def _check(x: Array, y: Array) -> None:
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not x.size or not y.size:
        raise BenchError(
            f"features of shape {x.shape} with targets of shape {y.shape}: give features (n, d) and "
            "targets (n, m) with n, d and m at least 1"
        )
    require_finite(x, "feature")
    require_finite(y, "target")
