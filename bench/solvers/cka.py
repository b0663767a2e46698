"""Similarity of representations: linear CKA on the same images, with the debiased estimator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.errors import BenchError
from bench.solvers._checks import Array

SAME = "features that are constant over rows have no CKA"


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
    # The diagonals of the kernel matrices, which bias the common estimator, are left out.
    diagonals = np.stack([np.square(z).sum(axis=1) for z in (x, y)])
    rows = np.stack([z @ z.sum(axis=0) for z in (x, y)]) - diagonals
    products -= float(diagonals[0] @ diagonals[1])
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
    for g, run in enumerate(runs):
        for h, columns in enumerate(runs[: g + 1]):
            block = np.stack([x[run] @ x[columns].T for x in centred])
            if g == h:
                block[:, np.arange(len(run)), np.arange(len(run))] = 0
            flat = block.reshape(m, -1)
            products[g, h] = products[h, g] = flat @ flat.T
            rows[:, run, h] = block.sum(axis=2)
            rows[:, columns, g] = block.sum(axis=1)

    def cka_of(selected: Sequence[int]) -> Array:
        in_runs = np.concatenate([runs[g] for g in selected])
        sums = rows[:, in_runs][:, :, selected].sum(axis=2)
        hsics = _unbiased(products[np.ix_(selected, selected)].sum(axis=(0, 1)), sums, sums)
        spread = np.sqrt(np.outer(hsics.diagonal(), hsics.diagonal()).clip(0))
        if not spread.all():
            raise BenchError(SAME)
        values: Array = np.clip(hsics / spread, -1, 1)
        return values

    every = list(range(groups))
    return cka_of(every), np.stack([cka_of([g for g in every if g != out]) for out in every])


def _unbiased(products: Array, a: Array, b: Array) -> Array:
    """HSIC_1 (m, k) of kernel matrices with zero diagonals: `products` (m, k) sums over the entries of
    two of them, `a` (m, n) and `b` (k, n) the sums of their rows."""
    n = a.shape[1]
    whole = np.outer(a.sum(axis=1), b.sum(axis=1)) / ((n - 1) * (n - 2))
    hsics: Array = (products + whole - 2 * (a @ b.T) / (n - 2)) / (n * (n - 3))
    return hsics


def _centred(features: Sequence[Array]) -> list[Array]:
    """Features minus their means, in float64: HSIC is invariant to a shift, its rounding error is not."""
    if len({len(x) for x in features}) != 1 or len(features[0]) < 4:
        shapes = ", ".join(str(x.shape) for x in features)
        raise BenchError(f"features {shapes}: give equally many rows of each, 4 or more")
    if not all(np.isfinite(x).all() for x in features):
        raise BenchError("features hold NaN or infinity")
    all_centred = []
    for x in features:
        wide = np.asarray(x, dtype=np.float64)
        centred = wide - wide.mean(axis=0)
        if np.abs(centred).max() <= 1e-12 * np.abs(wide).max():  # rounding alone
            raise BenchError(SAME)
        all_centred.append(centred)
    return all_centred
