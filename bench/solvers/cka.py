"""Similarity of representations: linear CKA on the same images, with the debiased estimator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.errors import BenchError
from bench.solvers._checks import Array

SAME = "features that are constant over rows have no CKA"


def pairwise_cka(features: Sequence[Array], groups: int = 20) -> tuple[Array, Array]:
    """Linear CKA, debiased, of every pair of m features (n, d_i) of the same n rows: (m, m) in [-1, 1],
    and what it is without each of `groups` runs of rows, (groups, m, m), for `statistics.jackknife`.

    1 where two are alike but for rotation, scale and shift, 0 on average where they have nothing in
    common: Kornblith et al. 2019, arXiv:1905.00414, by the estimator of Nguyen et al. 2021,
    arXiv:2010.15327. The common one is far above 0 for independent features of more dimensions than rows.

    One pass over blocks of the kernel matrices, n^2 d in all; none is held whole. Raises BenchError unless
    there are two groups or more, and 4 rows outside each of them, for features of other numbers of rows,
    that are not finite, and that do not vary.
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
            if g == h:  # the diagonals, which bias the common estimator, are left out
                block[:, np.arange(len(run)), np.arange(len(run))] = 0
            flat = block.reshape(m, -1)
            products[g, h] = products[h, g] = flat @ flat.T
            rows[:, run, h] = block.sum(axis=2)
            rows[:, columns, g] = block.sum(axis=1)

    def cka_of(selected: Sequence[int]) -> Array:
        in_runs = np.concatenate([runs[g] for g in selected])
        sums = rows[:, in_runs][:, :, selected].sum(axis=2)
        hsics = _unbiased(products[np.ix_(selected, selected)].sum(axis=(0, 1)), sums)
        spread = np.sqrt(np.outer(hsics.diagonal(), hsics.diagonal()).clip(0))
        if not spread.all():
            raise BenchError(SAME)
        values: Array = np.clip(hsics / spread, -1, 1)
        return values

    every = list(range(groups))
    return cka_of(every), np.stack([cka_of([g for g in every if g != out]) for out in every])


def _unbiased(products: Array, sums: Array) -> Array:
    """HSIC_1 (m, m) (Song et al. 2012, JMLR 13, eq. 5) of m kernel matrices (n, n) with zero diagonals:
    `products` (m, m) are sums over the entries of two of them, `sums` (m, n) those of their rows."""
    n = sums.shape[1]
    whole = np.outer(sums.sum(axis=1), sums.sum(axis=1)) / ((n - 1) * (n - 2))
    hsics: Array = (products + whole - 2 * (sums @ sums.T) / (n - 2)) / (n * (n - 3))
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
