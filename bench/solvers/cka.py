"""How alike two representations are: linear CKA of the same images, without its bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

__all__ = ["cka", "hsic", "pairwise_cka"]

Array = npt.NDArray[Any]
SAME = "features that are the same for all rows are like nothing"


def cka(a: Array, b: Array) -> float:
    """Linear CKA, debiased, of features (n, d) and (n, e) of the same n rows, in [-1, 1]: 1 where they
    are alike but for rotation, scale and shift, 0 on average where they have nothing in common.

    Kornblith et al. 2019, arXiv:1905.00414, by the estimator of Nguyen et al. 2021, arXiv:2010.15327:
    the common one is far above 0 for independent features of more dimensions than rows. Costs n d e, or
    n^2 (d + e) where that is less. Raises BenchError for fewer than 4 rows, or not as many of both,
    features that are not finite, and those that do not vary.
    """
    both = hsic(a, b)
    spread = hsic(a, a) * hsic(b, b)
    if spread <= 0:
        raise BenchError(SAME)
    return float(np.clip(both / np.sqrt(spread), -1, 1))


def hsic(a: Array, b: Array) -> float:
    """The unbiased HSIC_1 of linear kernels (Song et al. 2012, JMLR 13, eq. 5), of features (n, d) and
    (n, e); costs and errors as for `cka`."""
    x, y = _centred([a, b])
    n = len(x)
    if x.shape[1] * y.shape[1] < n * (x.shape[1] + y.shape[1]):
        products = float(np.square(x.T @ y).sum())
    else:
        products = float(((x @ x.T) * (y @ y.T)).sum())
    # Kernel matrices without their diagonals: those are what biases the common estimator.
    own = np.stack([np.square(each).sum(axis=1) for each in (x, y)])
    rows = np.stack([each @ each.sum(axis=0) for each in (x, y)]) - own
    products -= float(own[0] @ own[1])
    return float(_unbiased(np.array([[products]]), rows[:1], rows[1:])[0, 0])


def pairwise_cka(features: Sequence[Array], groups: int = 20) -> tuple[Array, Array]:
    """`cka` of every pair of m features (n, d_i): (m, m), and what it is without each of `groups` runs of
    rows, (groups, m, m), for `statistics.jackknife`.

    One pass over blocks of the kernel matrices, n^2 d in all; none is held whole. Raises BenchError as
    `cka` does, and unless there are two groups or more, and 4 rows outside each of them.
    """
    centred = _centred(features)
    m, n = len(centred), len(centred[0])
    runs = np.array_split(np.arange(n), groups) if groups > 1 else []
    if not runs or n - len(runs[0]) < 4:
        raise BenchError(f"{n} rows in {groups} groups: two or more, and 4 rows outside each")
    products = np.zeros((groups, groups, m, m))
    rows = np.zeros((m, n, groups))  # sums of each row of a kernel matrix over a run's columns
    for g, some in enumerate(runs):
        for h, others in enumerate(runs[: g + 1]):
            block = np.stack([x[some] @ x[others].T for x in centred])
            if g == h:
                block[:, np.arange(len(some)), np.arange(len(some))] = 0
            flat = block.reshape(m, -1)
            products[g, h] = products[h, g] = flat @ flat.T
            rows[:, some, h] = block.sum(axis=2)
            rows[:, others, g] = block.sum(axis=1)

    def of(kept: Sequence[int]) -> Array:
        own = np.concatenate([runs[g] for g in kept])
        sums = rows[:, own][:, :, kept].sum(axis=2)
        found = _unbiased(products[np.ix_(kept, kept)].sum(axis=(0, 1)), sums, sums)
        spread = np.sqrt(np.outer(found.diagonal(), found.diagonal()).clip(0))
        if not spread.all():
            raise BenchError(SAME)
        result: Array = np.clip(found / spread, -1, 1)
        return result

    every = list(range(groups))
    return of(every), np.stack([of([g for g in every if g != out]) for out in every])


def _unbiased(products: Array, a: Array, b: Array) -> Array:
    """HSIC_1 (m, k) of kernel matrices with zero diagonals: `products` (m, k) sums over the entries of
    two of them, `a` (m, n) and `b` (k, n) the sums of their rows."""
    n = a.shape[1]
    whole = np.outer(a.sum(axis=1), b.sum(axis=1)) / ((n - 1) * (n - 2))
    found: Array = (products + whole - 2 * (a @ b.T) / (n - 2)) / (n * (n - 3))
    return found


def _centred(features: Sequence[Array]) -> list[Array]:
    """In float64, about their means: HSIC does not see a shift, its rounding does."""
    if len({len(each) for each in features}) != 1 or len(features[0]) < 4:
        shapes = ", ".join(str(each.shape) for each in features)
        raise BenchError(f"features {shapes}: as many rows of each are wanted, 4 or more")
    if not all(np.isfinite(each).all() for each in features):
        raise BenchError("features hold NaN or infinity")
    found = []
    for each in features:
        wide = np.asarray(each, dtype=np.float64)
        about = wide - wide.mean(axis=0)
        if np.abs(about).max() <= 1e-12 * np.abs(wide).max():  # rounding alone
            raise BenchError(SAME)
        found.append(about)
    return found
