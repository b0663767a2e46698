"""Which encoders differ significantly: all pairs tested, ranges of ranks, groups of ties."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.statistics.significance import difference_p, holm
from bench.statistics.variance import Array, Part, Scored, rare_variance, replicate_parts


def pairwise_p(groups: Sequence[Sequence[Scored]], weights: Sequence[float]) -> Array:
    """p-values (e, e) of all pairs of e encoders. `groups` has for each data set one `Scored` an
    encoder, on the same rows; what is compared is their sum by `weights`.

    As `paired_difference`, all pairs at once.
    """
    count = len(groups[0])
    by_rows: list[Array] = []
    for group, weight in zip(groups, weights, strict=True):
        rows = weight * np.stack([scored.rows for scored in group])
        rows -= rows.mean(axis=1, keepdims=True)
        products = rows @ rows.T / rows.shape[1] ** 2
        squares = np.diag(products)
        by_rows.append((squares[:, None] + squares[None, :] - 2 * products).clip(min=0))
    p = np.ones((count, count))
    for i in range(count):
        for j in range(i):
            of_rows, of_replicates = list[Part](), list[Part]()
            difference = 0.0
            for group, weight, variances in zip(groups, weights, by_rows, strict=True):
                a, b = group[i], group[j]
                difference += weight * (a.value - b.value)
                n, width = len(a.rows), max(a.width, b.width)
                variance = float(variances[i, j]) + weight**2 * rare_variance(n, width)
                of_rows.append((variance, max(1, n - 1)))
                of_replicates += [(weight**2 * v, freedom) for v, freedom in replicate_parts(a, b)]
            p[i, j] = p[j, i] = difference_p(difference, of_rows, of_replicates)
    return p


def rank_ranges(values: Sequence[float], p: Array, *, level: float = 0.05) -> list[tuple[int, int]]:
    """Best and worst rank of each of e encoders: 1 + the number of significantly better ones, e - the
    number of significantly worse ones, by Holm's adjustment over all pairs of p (e, e). Larger values are
    better."""
    differs = _differ(p, level)
    scores = np.asarray(values)
    above = (differs & (scores[None, :] > scores[:, None])).sum(axis=1)
    below = (differs & (scores[None, :] < scores[:, None])).sum(axis=1)
    return [(1 + int(a), len(scores) - int(b)) for a, b in zip(above, below, strict=True)]


def tie_groups(values: Sequence[float], p: Array, *, level: float = 0.05) -> list[int]:
    """The group (from 1) of each encoder: those that do not differ from the best one not yet in a
    group, by Holm's adjustment over all pairs of p (e, e)."""
    differs, group = _differ(p, level), [0] * len(values)
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    number = 0
    for leader in order:
        if not group[leader]:
            number += 1
            for i in order:
                if not group[i] and (i == leader or not differs[leader, i]):
                    group[i] = number
    return group


def _differ(p: Array, level: float) -> Array:
    """Which pairs differ: bool (e, e)."""
    upper = np.triu_indices(len(p), 1)
    differ = np.zeros(p.shape, dtype=bool)
    differ[upper] = np.array(holm(p[upper].tolist())) < level
    return differ | differ.T
