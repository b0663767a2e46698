"""What the study of likeness says: its order, its claims, its two figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.drawing.charts import matrix
from bench.drawing.plane import labelled_points
from bench.report.text import interval_text, table
from bench.solvers.multidimensional_scaling import classical_scaling
from bench.statistics.intervals import Interval, jackknife
from bench.statistics.significance import holm
from bench.studies.base import Claim, Report, judged

__all__ = ["LABELLED", "UNLABELLED", "Found", "Member", "order", "report"]

LABELLED, UNLABELLED = "trained with labels", "trained without labels"

Array = npt.NDArray[Any]
Difference = tuple[str, Interval, float]  # of what, and its p-value


@dataclass(frozen=True, slots=True)
class Member:
    """A representation: its name, what it was trained on, its dimension; `by_steps`: by gradients?"""

    name: str
    kind: str
    dim: int
    by_steps: bool


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """CKA of all pairs of m members (m, m), and without each group of images (k, m, m)."""

    members: Sequence[Member]
    values: Array
    without: Array

    def of(self, a: int, b: int) -> Interval:
        if a == b:
            return Interval(1.0, 1.0, 1.0)
        told = jackknife(float(self.values[a, b]), self.without[:, a, b])[0]
        return Interval(told.value, max(told.low, -1.0), min(told.high, 1.0))

    def minus(self, one: tuple[int, int], other: tuple[int, int]) -> tuple[Interval, float]:
        """The likeness of one pair minus that of another, and the p-value of its being 0."""
        off = float(self.values[one] - self.values[other])
        return jackknife(off, self.without[:, *one] - self.without[:, *other])


def report(found: Found, *, first: int, start: int | None, asked: Mapping[str, Any]) -> Report:
    """The study's answer. `first` is the member of which the last one is another training, `start` the
    same without any; `asked`: data set, images and seed."""
    names = [member.name for member in found.members]
    ordered = order(found.values)
    points, share = classical_scaling(2 * (1 - found.values))
    claims = _claims(found, first, start)
    shown, told = judged(claims)
    text = [
        "# Which representations are alike",
        "Linear CKA without its bias (Kornblith et al. 2019; Nguyen et al. 2021) of the default level on "
        f"{asked['images']:,} validation images of {asked['dataset']}: 1 for representations that are "
        "alike but for rotation, scale and shift, about 0 for those with nothing in common. One training "
        f"each (seed {asked['seed']}), of `{_plain(names[first])}` a second one. Encoders of one trunk "
        "and one seed start from the same weights. Intervals (95 %, jackknife over groups of images) are "
        "of these trainings, and say nothing of others. The test split is not read.",
        "![table](likeness.svg)",
        "In hundredths; rows are ordered so that like ones stand together (average linkage of 1 - CKA).",
        "![map](map.svg)",
        "The same as a map by classical scaling: CKA is the cosine of two kernel matrices, so squared "
        f"distances are 2 (1 - CKA). The plane shows {share:.0%} of the spread.",
        "## The nearest of each",
        table(["encoder", "", "dimensions", "most like", "CKA"], _nearest(found, ordered)),
        "## What is said of them",
        shown,
        "p is adjusted by Holm over all differences of the table.",
    ]
    pairs = [(a, b) for a in range(len(names)) for b in range(a)]
    data = {
        **asked,
        "members": [asdict(member) for member in found.members],
        "order": ordered,
        "pairs": [{"a": names[a], "b": names[b], **asdict(found.of(a, b))} for a, b in pairs],
        "map": points.tolist(),
        "shown": share,
        "claims": told,
    }
    rows = [found.values[i][ordered].tolist() for i in ordered]
    spots = [
        (m.name, float(x), float(y), m.kind)
        for m, (x, y) in zip(found.members, points, strict=True)
    ]
    figures = {
        "likeness.svg": matrix([names[i] for i in ordered], rows, colour="CKA"),
        "map.svg": labelled_points(spots, kind="encoder"),
    }
    return Report("\n\n".join(text), data, figures)


def order(values: Array) -> list[int]:
    """Members (m,) such that like ones stand together: the leaves of average linkage of 1 - CKA (m, m),
    turned so that neighbours are as like as they can be (Bar-Joseph et al. 2001)."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    apart = (1 - (values + values.T) / 2).clip(0)
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), "average", optimal_ordering=True)
    found = [int(leaf) for leaf in leaves_list(tree)]
    return found if found[0] < found[-1] else found[::-1]


def _plain(name: str) -> str:
    """Without its seed."""
    return name.rpartition(", seed")[0]


def _nearest(found: Found, ordered: Sequence[int]) -> list[list[str]]:
    lines = []
    for i in ordered:
        member = found.members[i]
        others = [j for j in range(len(found.members)) if j != i]
        nearest = max(others, key=lambda j: (found.values[i, j], -j))
        told = interval_text(found.of(i, nearest))
        lines.append(
            [member.name, member.kind, f"{member.dim:,}", found.members[nearest].name, told]
        )
    return lines


def _claims(found: Found, first: int, start: int | None) -> list[Claim]:
    """What is said, where the members are there; each holds if all of its differences are above 0."""
    members, last = found.members, len(found.members) - 1
    own = {first, last}

    def some(kind: str) -> list[int]:
        return [i for i, m in enumerate(members) if m.kind == kind and m.by_steps and i not in own]

    plain, labelled = some(UNLABELLED), some(LABELLED)
    given = [
        i for i, m in enumerate(members) if m.kind not in (UNLABELLED, LABELLED, "not trained")
    ]
    name = _plain(members[first].name)
    wanted: list[tuple[str, list[tuple[str, tuple[int, int], tuple[int, int]]]]] = [
        (
            f"another seed changes `{name}` less than another objective does from the same seed",
            [(f"than {members[e].name}", (first, last), (first, e)) for e in plain],
        ),
        (
            f"all that is trained without labels is more like `{name}` than what is trained with them",
            [
                (f"{members[e].name} than {members[s].name}", (first, e), (first, s))
                for s in labelled
                for e in (*plain, last)
            ],
        ),
        (
            f"`{name}` is more like its untrained start than like what is trained with labels",
            []
            if start is None
            else [(f"than {members[s].name}", (first, start), (first, s)) for s in labelled],
        ),
        (
            "weights that came trained are more like what is trained with labels here than like what is "
            "trained without",
            [
                (f"{members[g].name}: {members[s].name} than {members[e].name}", (g, s), (g, e))
                for g in given
                for s in labelled
                for e in (first, *plain)
            ],
        ),
    ]
    measured = [[(what, *found.minus(a, b)) for what, a, b in pairs] for _, pairs in wanted]
    adjusted = iter(holm([p for group in measured for _, _, p in group]))
    claims = []
    for (said, _), group in zip(wanted, measured, strict=True):
        told = [(what, interval, next(adjusted)) for what, interval, _ in group]
        if told:
            claims.append(_claim(said, told))
    return claims


def _claim(said: str, told: Sequence[Difference]) -> Claim:
    shown = tuple(f"{what} {interval_text(i, '+')}, p = {p:.2g}" for what, i, p in told)
    return Claim(said, shown, all(i.value > 0 and p < 0.05 for _, i, p in told))
