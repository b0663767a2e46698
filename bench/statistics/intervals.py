"""95 % intervals of means over test rows and replicates, of their differences, and over classes.

`tests/statistics/coverage.py` prints how many of them hold the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.errors import BenchError
from bench.statistics.significance import LEAST_P, difference_p, mcnemar
from bench.statistics.variance import (
    UNBOUNDED,
    Array,
    Bounds,
    Key,
    Part,
    Scored,
    difference_rows_part,
    is_binary,
    replicate_parts,
    rows_part,
    together,
)

REVISION = 3
KNOWN_AS = "statistics"  # its key in the revisions of records


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def mean_interval(
    rows: Array, keys: Sequence[Key] | None = None, bounds: Bounds | None = None
) -> Interval:
    """Mean of rows (r, n): r replicates (such as training seeds), each scored on the same n rows.

    keys, bounds: as for `Scored.of`. Within the bounds: Clopper and Pearson's of one replicate of 0/1
    rows, and of the effective number of rows else (`share_interval`). Of 0/1 rows at least .93 of the
    intervals hold the truth. Of others less where few rows have a long tail: of 20, .92 for exponential
    scores, and .88 for means over 40 targets of which half are wrong in a tenth of the rows (percentiles
    of resampled rows: .91 and .86).
    """
    return scored_interval(Scored.of(rows, keys, bounds))


def scored_interval(scored: Scored) -> Interval:
    """As `mean_interval`, of scores that are reduced already."""
    variance, freedom = rows_part(scored.rows)
    if math.isfinite(scored.width) and np.isin(scored.rows, scored.bounds).all():
        freedom = math.inf  # the mean of such rows is their distribution
    total, freedom = together([(variance, freedom)], scored.parts)
    return _bounded(scored.value, total, freedom, len(scored.rows), scored.bounds)


def _bounded(value: float, variance: float, freedom: float, n: int, bounds: Bounds) -> Interval:
    """Of a mean of n rows in these bounds, with the variance of this mean and its degrees of freedom.

    With one bound Student's t interval of the logarithm of the distance from it, by the delta method;
    without bounds Student's.
    """
    low, high = bounds
    if math.isfinite(low) and math.isfinite(high):
        width = high - low
        share = share_interval((value - low) / width, variance / width**2, freedom, n)
        ends = low + width * share.low, low + width * share.high
        return Interval(value, min(ends[0], value), max(ends[1], value))
    half = _student(freedom) * math.sqrt(variance)
    if not half or not (math.isfinite(low) or math.isfinite(high)):
        return Interval(value, value - half, value + half)
    bound = low if math.isfinite(low) else high
    near, far = (bound + (value - bound) * math.exp(s * half / abs(value - bound)) for s in (-1, 1))
    return Interval(value, min(near, far), max(near, far))


def share_interval(share: float, variance: float, freedom: float, n: int) -> Interval:
    """Of a share in [0, 1] over n rows, with the variance of its estimate and the degrees of freedom of
    this variance.

    Clopper and Pearson's interval (1934, doi:10.1093/biomet/26.4.404) for as many 0/1 rows as have this
    variance, fewer by the square of the ratio of the normal to Student's quantile (Korn and Graubard
    1998, Survey Methodology 24, 193-201). Where nothing varies, as where every row is right, for n.
    """
    from scipy.special import betaincinv

    share = min(max(share, 0.0), 1.0)
    most = share * (1 - share)
    if most > 0 and variance > 1e-9 * most / n:  # below that the variance is one of rounding
        n_effective = most / variance * (_NORMAL / _student(freedom)) ** 2
    else:
        n_effective = float(n)
    right, wrong = n_effective * share, n_effective * (1 - share)
    low = float(betaincinv(right, wrong + 1, 0.025)) if right > 0 else 0.0
    high = float(betaincinv(right + 1, wrong, 0.975)) if wrong > 0 else 1.0
    return Interval(share, min(low, share), max(high, share))


_NORMAL = 1.959963984540054  # 97.5 % quantile
_ROUNDING = 1e-24  # variance of equal numbers of the order of 1


def _student(freedom: float) -> float:
    """The 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return _NORMAL if freedom > 1e9 else float(stdtrit(freedom, 0.975))


def paired_difference(
    a: Array,
    b: Array,
    keys_a: Sequence[Key] | None = None,
    keys_b: Sequence[Key] | None = None,
    bounds: Bounds | None = None,
) -> tuple[Interval, float]:
    """Mean of a (r, n) minus mean of b (s, n) on the same n rows, and a two-sided p-value.

    Rows are drawn together; replicates with the same label subset or class split are paired, training
    seeds of two encoders are not. Interval and p-value are Student's by the variance of rows and
    replicates (`variance.together`), that of rows with `variance.rare_variance`. With one replicate each
    and 0/1 rows the p-value is McNemar's exact mid-p. bounds: as for `Scored.of`, of `a` and of `b`;
    differences are at most as large as the range between them.
    """
    scored_a, scored_b = Scored.of(a, keys_a, bounds), Scored.of(b, keys_b, bounds)
    if a.shape[1] != b.shape[1]:
        raise BenchError(f"{a.shape[1]} rows cannot be paired with {b.shape[1]}")
    rows, parts = scored_a.rows - scored_b.rows, replicate_parts(scored_a, scored_b)
    width = max(scored_a.width, scored_b.width)
    if len(a) == len(b) == 1 and is_binary(a) and is_binary(b):
        of_rows = difference_rows_part(rows, width)[0], math.inf
        p = mcnemar(int((a > b).sum()), int((a < b).sum()))
        return _difference(float(rows.mean()), [of_rows], parts, width), p
    return rows_difference(rows, parts, width)


def seed_paired_difference(
    a: Array, b: Array, keys: Sequence[Key] | None = None, bounds: Bounds | None = None
) -> tuple[Interval, float]:
    """As `paired_difference`, where replicate i of a (r, n) and of b (r, n) share the training and the
    seeds, as two protocols on one encoder: the r differences are the sample."""
    if a.shape != b.shape:
        raise BenchError(f"scores {a.shape} and {b.shape} cannot be paired by seed")
    if len(a) == 1:
        return paired_difference(a, b, keys, keys, bounds)
    width = max(Scored.of(a, keys, bounds).width, Scored.of(b, keys, bounds).width)
    differences = Scored.of(a - b, keys, UNBOUNDED)
    return rows_difference(differences.rows, differences.parts, width)


def rows_difference(rows: Array, parts: Sequence[Part], width: float) -> tuple[Interval, float]:
    """Mean of differences (n,) of at most `width` either way, and of replicates with these parts of its
    variance, and a two-sided p-value, as `paired_difference`."""
    value, of_rows = float(rows.mean()), [difference_rows_part(rows, width)]
    return _difference(value, of_rows, parts, width), difference_p(value, of_rows, parts)


def _difference(
    value: float, rows: Sequence[Part], replicates: Sequence[Part], width: float
) -> Interval:
    """Student's, within the range of this width on either side of 0."""
    variance, freedom = together(rows, replicates)
    half = _student(freedom) * math.sqrt(variance)
    return Interval(value, max(value - half, -width), min(value + half, width))


def student_interval(
    values: Sequence[float], *, bounds: Bounds = UNBOUNDED, n: int = 0
) -> Interval:
    """Mean of independent replicates with Student's t interval, cut at the bounds. Where all replicates
    within two bounds are equal, that of their score as a share of n test rows.

    Raises BenchError below two, and for equal ones within bounds without rows.
    """
    if len(values) < 2:
        raise BenchError(f"an interval over replicates needs two or more; there are {len(values)}")
    mean, variance = float(np.mean(values)), float(np.var(values, ddof=1)) / len(values)
    return _of_sample(mean, variance, len(values) - 1, bounds, n)


def _of_sample(value: float, variance: float, freedom: int, bounds: Bounds, n: int) -> Interval:
    low, high = bounds
    if variance < _ROUNDING and math.isfinite(high - low):
        if n < 1:
            raise BenchError("equal replicates within bounds need the number of test rows")
        return _bounded(value, 0.0, freedom, n, bounds)
    half = _student(freedom) * math.sqrt(variance)
    ends = max(value - half, low), min(value + half, high)
    return Interval(value, min(ends[0], value), max(ends[1], value))


def log_area_weights(sizes: Sequence[float]) -> Array:
    """Weights (m,) of scores at m training sizes: the area over log2 of the size by trapezoids,
    divided by its width, so that they sum to 1.

    >>> log_area_weights([8, 1, 2]).round(3).tolist()
    [0.333, 0.167, 0.5]
    """
    if len(sizes) < 2 or len(set(sizes)) != len(sizes):
        raise BenchError(f"an area needs two or more different sizes; there are {sorted(sizes)}")
    order = np.argsort(sizes)
    x = np.log2(np.asarray(sizes, dtype=float)[order])
    steps = np.diff(x) / (x[-1] - x[0])
    weights = np.empty(len(sizes))
    weights[order] = np.append(steps, 0) / 2 + np.insert(steps, 0, 0) / 2
    return weights


def jackknife(
    value: float, without: Array, *, bounds: Bounds = UNBOUNDED, n: int = 0
) -> tuple[Interval, float]:
    """A value with its 95 % interval, and the p-value of its being 0, from what it is without each of k
    groups (k,).

    Student's t with k - 1 degrees of freedom on the jackknife's variance, (k - 1) / k times the sum of
    squares about their mean (Tukey 1958; Efron and Stein 1981, doi:10.1214/aos/1176345462). bounds, n: as
    for `student_interval`. Raises BenchError for fewer than two groups, and as that.
    """
    k = len(without)
    if k < 2:
        raise BenchError(f"a jackknife over {k} groups has no interval; give two or more")
    from scipy.special import stdtr

    variance = (k - 1) / k * float(np.square(without - without.mean()).sum())
    error = math.sqrt(variance)
    p = 2 * float(stdtr(k - 1, -abs(value) / error)) if error else float(value == 0)
    return _of_sample(value, variance, k - 1, bounds, n), max(p, LEAST_P)
