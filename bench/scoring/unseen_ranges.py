"""The ranges of scores over classes some of which are unseen: what is stored are margins of three bits, or
counts by class alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bench.data.samples import Array, Target
from bench.scoring.ranges import Range
from bench.solvers.stacking import Candidates, harmonic_mean

MANY = 300  # rows, of which margins of three bits move the area under the curve by AREA / sqrt(n) at most
AREA = 0.05
BEST = 0.5  # the same for the best harmonic mean, of any number of rows
TIES = 5e-3  # what rows whose margin is 0 in fp16 are of S and U at most, where counts are stored
MARGINS = ("best_seen", "best_unseen", "margin")  # of rows, where some classes are unseen


def unseen_ranges(
    target: Target, parts: Mapping[str, Array], unseen: frozenset[int]
) -> dict[str, Range]:
    """Metric -> its range, of one replicate's stored predictions over all classes of a target, of which
    those of `unseen` have no training rows. parts: as `parts_of` gives them."""
    if "counts" in parts:
        return _ranges_of_counts(parts["counts"], unseen)
    candidates = _candidates(target, parts, unseen)
    as_seen, as_unseen = (
        _recalls(_counts_at(candidates, ties_seen), unseen) for ties_seen in (True, False)
    )
    curve = candidates.curve()
    best = float(harmonic_mean(curve.seen, curve.unseen).max())
    width = BEST / math.sqrt(len(candidates.truth))
    return {
        "zero_shot": Range(as_seen.zero_shot, as_seen.zero_shot),
        "seen": Range(as_unseen.seen, as_seen.seen),
        "unseen": Range(as_seen.unseen, as_unseen.unseen),
        "ausuc": _area_range(candidates, curve.area),
        "oracle_harmonic_mean": Range(best - width, best + width),
    }


def _candidates(target: Target, parts: Mapping[str, Array], unseen: frozenset[int]) -> Candidates:
    labelled = parts["truth"] >= 0
    stored = [parts[part][labelled] for part in ("truth", *MARGINS)]
    truth, best_seen, best_unseen = (array.astype(np.int64) for array in stored[:3])
    is_unseen = np.isin(np.arange(target.size), sorted(unseen))
    return Candidates(truth, is_unseen, best_seen, best_unseen, stored[3].astype(np.float64))


def _area_range(candidates: Candidates, area: float) -> Range:
    """Rounding keeps the order of margins, but for those that it makes equal: their rows may have turned
    in any order. Of many rows only a small part of that range is met."""
    c, weights = candidates, candidates.weights
    steps, place = np.unique(c.margin, return_inverse=True)
    won = np.bincount(place.ravel(), weights * (c.best_unseen == c.truth), minlength=len(steps))
    lost = np.bincount(place.ravel(), weights * (c.best_seen == c.truth), minlength=len(steps))
    after = lost.sum() - np.cumsum(lost)
    low, high = float(won @ after), float(won @ (after + lost))
    if len(c.truth) < MANY:
        return Range(low, high)
    width = AREA / math.sqrt(len(c.truth))
    return Range(max(low, area - width), min(high, area + width))


class _Recalls(NamedTuple):
    """T1, U and S, and S among the seen classes alone; of several sets of rows (k,)."""

    zero_shot: Any
    unseen: Any
    seen: Any
    seen_alone: Any


def _counts_at(candidates: Candidates, ties_seen: bool) -> Array:
    """(3, C) as `counted` gives them, rows without a margin as of the one side or the other."""
    c = candidates
    as_seen = c.margin >= 0 if ties_seen else c.margin > 0
    right = np.where(as_seen, c.best_seen, c.best_unseen) == c.truth
    right_on_side = (c.best_seen == c.truth) | (c.best_unseen == c.truth)
    hits = np.ones(len(c.truth)), right, right_on_side
    size = len(c.is_unseen)
    return np.stack([np.bincount(c.truth, weights=hit, minlength=size) for hit in hits])


def _recalls(
    counts: Array, unseen: frozenset[int], without: Sequence[int] | None = None
) -> _Recalls:
    """Of counts (3, C); `without`: of the rows without each of these k classes in turn, (k,)."""
    rows, right, right_on_side = counts.astype(np.float64)
    is_unseen = np.zeros(len(rows), dtype=bool)
    is_unseen[[c for c in unseen if 0 <= c < len(rows)]] = True

    def mean(hits: Array, side: Array) -> Any:
        scored = side & (rows > 0)
        shares = np.where(scored, hits / np.where(scored, rows, 1.0), 0.0)
        lost, fewer = (0.0, 0) if without is None else (shares[without], scored[without])
        return (shares.sum() - lost) / np.maximum(scored.sum() - fewer, 1)

    return _Recalls(
        mean(right_on_side, is_unseen),
        mean(right, is_unseen),
        mean(right, ~is_unseen),
        mean(right_on_side, ~is_unseen),
    )


def _ranges_of_counts(
    counts: Array, unseen: frozenset[int], without: Sequence[int] | None = None
) -> dict[str, Range]:
    """S falls as U rises, from (0, S among seen classes alone) through (U, S) to (T1, 0)."""
    r = _recalls(counts, unseen, without)
    highest = r.unseen * r.seen_alone + (r.zero_shot - r.unseen) * r.seen
    best = harmonic_mean(r.seen_alone, r.zero_shot)
    return {
        "zero_shot": Range(r.zero_shot, r.zero_shot),
        "seen": Range(r.seen - TIES, r.seen + TIES),
        "unseen": Range(r.unseen - TIES, r.unseen + TIES),
        "ausuc": Range(0 * highest, highest + TIES),
        "oracle_harmonic_mean": Range(0 * best, best),
    }


def ranges_without(
    target: Target,
    parts: Mapping[str, Array],
    unseen: frozenset[int],
    classes: Sequence[int],
    metric: str,
) -> dict[int, Range]:
    """The range of a metric without the rows of each of these classes in turn; empty for one that has
    none."""
    ranges = dict[int, Range]()
    if "counts" in parts:  # all at once: there are hundreds a record
        several = _ranges_of_counts(parts["counts"], unseen, classes).get(metric)
        if several is not None:
            ends = zip(several.low, several.high, strict=True)
            ranges = {c: Range(*pair) for c, pair in zip(classes, ends, strict=True)}
        return ranges
    for c in classes:
        others = parts["truth"] != c
        stored = {part: parts[part][others] for part in ("truth", *MARGINS)}
        if metric == "ausuc":  # the others cost as much again
            candidates = _candidates(target, stored, unseen)
            ranges[c] = _area_range(candidates, candidates.curve().area)
        elif (allowed := unseen_ranges(target, stored, unseen).get(metric)) is not None:
            ranges[c] = allowed
    return ranges
