"""Which encoders differ significantly: all pairs compared, ranges of ranks, groups of ties."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.statistics.significance import differences_p, holm_adjusted
from bench.statistics.variance import (
    FACTORS,
    SHARED,
    Array,
    Scored,
    rare_variance,
    variance_part,
)


def pairwise_p(groups: Sequence[Sequence[Scored]], weights: Sequence[float]) -> Array:
    """p-values (e, e) of all pairs of e encoders, from 1e-12 to 1. `groups` has for each data set one
    `Scored` an encoder, on the same rows; what is compared is their sum by `weights`.

    As `paired_difference`, all pairs at once.
    """
    differences = np.zeros((len(groups[0]),) * 2)
    for group, weight in zip(groups, weights, strict=True):
        values = np.array([scored.value for scored in group])
        differences += weight * (values[:, None] - values[None])
    return differences_p(differences, *pair_variances(groups, weights))


def pair_variances(
    groups: Sequence[Sequence[Scored]], weights: Sequence[float]
) -> tuple[Array, Array]:
    """Variances (e, e) of the differences between all pairs of e encoders, and their degrees of freedom
    (e, e), infinite where the variance is 0; arguments as of `pairwise_p`. Diagonals mean nothing.

    As `together` of the parts of each pair: `rows_part` of the differences between their rows with
    `rare_variance`, and `replicate_parts`.
    """
    shape = (len(groups[0]),) * 2
    of_rows, of_replicates = _Parts(shape), _Parts(shape)
    for group, weight in zip(groups, weights, strict=True):
        n = len(group[0].rows)
        rows = weight * np.stack([scored.rows for scored in group])
        rows -= rows.mean(axis=1, keepdims=True)
        products = rows @ rows.T / n**2
        squares = np.diag(products)
        variances = (squares[:, None] + squares[None] - 2 * products).clip(min=0)
        rare = np.array([rare_variance(n, scored.width) for scored in group])
        widest = np.array([scored.width for scored in group])
        rare = np.where(widest[:, None] >= widest[None], rare[:, None], rare[None])
        of_rows.add(variances + weight**2 * rare, max(1, n - 1))
        for factor in FACTORS:
            _add_replicates(of_replicates, [s.levels.get(factor) for s in group], weight, factor)
    total = of_rows.total + of_replicates.total
    below = of_rows.total / of_rows.freedom + of_replicates.total / of_replicates.freedom
    return total, _ratio(total, below)


def _add_replicates(
    parts: _Parts, levels: Sequence[Mapping[Hashable, float] | None], weight: float, factor: str
) -> None:
    """What one factor adds to the variance of each pair's difference, as `replicate_parts`. `levels`: of
    each encoder the mean score by level; None or empty where the factor does not vary."""
    separate = [variance_part(list(means.values())) if means else (0.0, 1.0) for means in levels]
    variances, freedoms = np.array(separate).T
    variances = weight**2 * variances
    paired = np.zeros(parts.total.shape, dtype=bool)
    clusters: dict[frozenset[Hashable], list[int]] = {}
    for place, means in enumerate(levels):
        if means and factor in SHARED:
            clusters.setdefault(frozenset(means), []).append(place)
    for keys, places in clusters.items():
        order = list(keys)
        scores = np.array([[(levels[i] or {})[key] for key in order] for i in places])
        paired[np.ix_(places, places)] = True
        for i, scores_of_one in zip(places, scores, strict=True):
            differences = (scores_of_one - scores).var(axis=1, ddof=1) / len(order)
            parts.add(weight**2 * differences, len(order) - 1, at=(i, places))
    for axis in (0, 1):
        index = (slice(None), None) if axis == 0 else (None, slice(None))
        parts.add(np.where(paired, 0.0, variances[index]), freedoms[index])


class _Parts:
    """Sums over parts of the variances of all pairs, with Satterthwaite's degrees of freedom."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.total, self._below = np.zeros(shape), np.zeros(shape)

    def add(self, variances: Array, freedom: float | Array, at: Any = ...) -> None:
        """Variances of the pairs `at` this index, and the degrees of freedom of each."""
        self.total[at] += variances
        self._below[at] += variances**2 / freedom

    @property
    def freedom(self) -> Array:
        return _ratio(self.total**2, self._below)


def _ratio(above: Array, below: Array) -> Array:
    """Their quotient, infinite where `below` is 0."""
    quotient: Array = np.divide(above, below, out=np.full(above.shape, np.inf), where=below > 0)
    return quotient


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
    differ[upper] = holm_adjusted(p[upper]) < level
    return differ | differ.T
