"""Ranges of ranks and groups of ties for any set of tasks, from what a page carries.

`assets/ties.js` does the same in a browser, with the same numbers in the same order. Standard errors and
degrees of freedom are in steps, rounded so that fewer pairs differ. Tasks on the same images are combined
by the sum of their standard errors, which bounds that of the sum for any correlation between them; other
images are independent, and variances add. The exact ranks of the boards can be narrower.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.statistics.ranking import rank_ranges, tie_groups
from bench.statistics.significance import LEAST_P
from bench.statistics.variance import Array

LEVEL = 0.05
NEVER = 255  # the code of a standard error above all steps: the pair does not differ
# Of differences between scores from 0 (chance) to 1 (ceiling): steps of 4 %.
SE_STEPS = np.geomspace(1e-4, 3.0, NEVER)
FREEDOM_STEPS = np.array(
    [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 40, 80, 200, 1000, 100_000], np.float64
)
# Where Holm's first comparison of 45,000 pairs is made, Student's t with one degree of freedom is 6e5.
T_STEPS = 2.0 ** (np.arange(-2 * 24, 20 * 24 + 1) / 24)


@dataclass(frozen=True, slots=True)
class Ties:
    """Of the encoders that have a rank on every one of the tasks: their indices, mean normalised scores,
    first and last ranks, and groups from 1."""

    encoders: list[int]
    scores: list[float]
    ranges: list[tuple[int, int]]
    groups: list[int]


def steps() -> dict[str, Any]:
    """The tables that the page carries: keys se_steps, freedom_steps, p_steps, level."""
    from scipy.special import stdtr

    p = np.maximum(LEAST_P, 2 * stdtr(FREEDOM_STEPS[:, None], -T_STEPS[None]))
    return {
        "level": LEVEL,
        "se_steps": _digits(SE_STEPS, 8),
        "freedom_steps": FREEDOM_STEPS.tolist(),
        "p_steps": {"t": _digits(T_STEPS, 8), "p": [_digits(line, 4) for line in p]},
    }


def se_codes(errors: Array) -> Array:
    """Codes (m,) uint8 of standard errors (m,): the least step that is not below."""
    codes = np.searchsorted(np.array(_digits(SE_STEPS, 8)), errors)
    return np.where(np.isfinite(errors), codes, NEVER).astype(np.uint8)


def freedom_codes(freedoms: Array) -> Array:
    """Codes (m,) uint8 of degrees of freedom (m,), 1 or more: the largest step that is not above."""
    codes = np.searchsorted(FREEDOM_STEPS, freedoms, side="right") - 1
    return codes.clip(min=0).astype(np.uint8)


def packed(errors: Sequence[Array], freedoms: Sequence[Array]) -> str:
    """Codes of all tasks as text: base64 of zlib, standard errors first."""
    codes = np.concatenate([*errors, *freedoms, np.zeros(0, np.uint8)]).astype(np.uint8)
    return base64.b64encode(zlib.compress(codes.tobytes(), 9)).decode()


class PairErrors:
    """Standard errors and degrees of freedom of a page's pairs, by task, as matrices of codes.

    Raises BenchError where the page has not as many as it has ranked encoders."""

    def __init__(self, page: Mapping[str, Any]) -> None:
        codes = np.frombuffer(zlib.decompress(base64.b64decode(page["pairs"])), np.uint8)
        self.ranked: list[list[int]] = ranked_encoders(page)
        counts = [len(ranked) * (len(ranked) - 1) // 2 for ranked in self.ranked]
        if len(codes) != 2 * sum(counts):
            raise BenchError(f"a page has {len(codes)} codes of pairs for {sum(counts)} pairs")
        ends = np.cumsum([0, *counts])
        self._errors = [codes[a:b] for a, b in pairwise(ends)]
        half = codes[sum(counts) :]
        self._freedoms = [half[a:b] for a, b in pairwise(ends)]

    def of(self, task: int, encoders: Sequence[int]) -> tuple[Array, Array]:
        """Codes (e, e) of standard errors and of degrees of freedom; the diagonal means nothing."""
        if len(encoders) < 2:
            return np.full((len(encoders),) * 2, NEVER), np.zeros((len(encoders),) * 2, int)
        position = {encoder: place for place, encoder in enumerate(self.ranked[task])}
        places = np.array([position[encoder] for encoder in encoders])
        first = np.minimum(places[:, None], places[None])
        second = np.maximum(places[:, None], places[None])
        count = len(self.ranked[task])
        index = first * (2 * count - first - 1) // 2 + second - first - 1
        np.fill_diagonal(index, 0)
        return self._errors[task][index], self._freedoms[task][index]


def ranked_encoders(page: Mapping[str, Any]) -> list[list[int]]:
    """For each task the encoders that have a rank on it, ascending."""
    ranked: list[list[int]] = [[] for _ in page["tasks"]]
    for encoder, task, *_, reason_unranked, _, _, _ in page["cells"]:
        if not reason_unranked:
            ranked[task].append(encoder)
    return [sorted(encoders) for encoders in ranked]


def ties(page: Mapping[str, Any], tasks: Sequence[int]) -> Ties:
    """Of the tasks with these indices (one or more)."""
    pairs = PairErrors(page)
    complete = sorted(set.intersection(*(set(pairs.ranked[task]) for task in tasks)))
    values = {(cell[0], cell[1]): cell[2] for cell in page["cells"]}
    scores, combined = np.zeros(len(complete)), _Errors(page, len(complete))
    for task in tasks:
        facts = page["tasks"][task]
        anchored = np.array([values[encoder, task] - facts["chance"] for encoder in complete])
        scores += anchored / facts["unit"]
        combined.add(facts["images"], *pairs.of(task, complete))
    scores = scores / len(tasks)
    errors, freedom = combined.of_mean(len(tasks))
    t = np.abs(scores[:, None] - scores[None]) / errors
    step = np.searchsorted(np.array(page["p_steps"]["t"]), t, side="right") - 1
    table = np.array(page["p_steps"]["p"])
    p = np.where(step < 0, 1.0, table[freedom, step.clip(min=0)])
    ranges = rank_ranges(scores.tolist(), p, level=page["level"])
    groups = tie_groups(scores.tolist(), p, level=page["level"])
    return Ties(complete, scores.tolist(), ranges, groups)


class _Errors:
    """Sums of the standard errors of all pairs over tasks on the same images."""

    def __init__(self, page: Mapping[str, Any], count: int) -> None:
        self._steps = np.array([*page["se_steps"], np.inf])
        self._freedoms, self._shape = np.array(page["freedom_steps"]), (count, count)
        self._sums: dict[str, tuple[Array, Array]] = {}

    def add(self, images: str, errors: Array, freedoms: Array) -> None:
        """Codes of one task, (e, e)."""
        zeros = np.zeros(self._shape), np.zeros(self._shape)
        total, over_freedom = self._sums.setdefault(images, zeros)
        total += self._steps[errors]
        over_freedom += self._steps[errors] / self._freedoms[freedoms]

    def of_mean(self, tasks: int) -> tuple[Array, Array]:
        """Standard errors (e, e) of the mean, and codes (e, e) of its degrees of freedom: of tasks on the
        same images 1 / freedom is the mean by their shares of the sum, of independent ones that of
        Satterthwaite (1946)."""
        variance, below = np.zeros(self._shape), np.zeros(self._shape)
        with np.errstate(invalid="ignore"):  # infinite errors, which never differ
            for total, over_freedom in self._sums.values():
                variance += total * total
                below += total * total * total * over_freedom
            freedom = np.nan_to_num(variance * variance / below) * (1 + 1e-9)  # rounding is no step
        codes = np.searchsorted(self._freedoms, freedom, side="right") - 1
        return np.sqrt(variance) / tasks, codes.clip(min=0)


def _digits(numbers: Array, count: int) -> list[float]:
    """Rounded up to so many significant digits."""
    powers = 10.0 ** (np.floor(np.log10(numbers)) - count + 1)
    return [float(f"{n:.{count - 1}e}") for n in np.ceil(numbers / powers - 1e-9) * powers]
