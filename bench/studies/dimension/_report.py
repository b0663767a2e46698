"""What the study of dimensions says: its table, its claims, its figure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.drawing.charts import lines
from bench.report.text import percent_text, table
from bench.statistics.intervals import Interval, bootstrap_mean, paired_difference
from bench.statistics.significance import holm
from bench.studies.base import Claim, Report, judged

__all__ = ["Found", "report"]

NEAR = 0.01  # of the best accuracy: a dimension that is as good
MEASURES = {
    "accuracy": "accuracy of a ridge probe, %",
    "held_out": "lost of held-out images, % of their variance",
    "rankme": "effective rank",
}

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One method at one dimension: hits of its probe on test images by training (r, n), and by training
    the share of the variance of images that is lost, and the dimensions that are used."""

    method: str
    dim: int
    hits: Array
    train: Array
    held_out: Array
    rankme: Array
    participation: Array

    @classmethod
    def of(
        cls, method: str, dim: int, hits: Sequence[Array], notes: Sequence[Mapping[str, Any]]
    ) -> Found:
        """From the diagnostics of a record."""

        def values(name: str) -> Array:
            return np.array([float(note[name]) for note in notes])

        return cls(
            method,
            dim,
            np.stack(hits),
            values("reconstruction/train"),
            values("reconstruction/held_out"),
            values("effective_rank/rankme"),
            values("effective_rank/participation"),
        )


def report(found: Sequence[Found], *, asked: Mapping[str, Any]) -> Report:
    """The study's answer; `asked` is what was asked of it."""
    by = {(each.method, each.dim): each for each in found}
    methods = list(dict.fromkeys(each.method for each in found))
    dims = sorted({each.dim for each in found})
    enough = {method: _enough([by[method, d] for d in dims]) for method in methods}
    claims, told = judged(_claims(by, methods, dims))
    trainings = "one training" if asked["seeds"] == 1 else f"{asked['seeds']} trainings"
    text = "\n\n".join(
        [
            "# How many dimensions are enough?",
            f"Codes of {asked['dataset']}: principal components, an autoencoder and a VAE ({trainings} "
            f"each of {asked['budget']} images). Accuracy is that of a ridge probe on the code, over test "
            "images, with its 95 % interval. Lost: squared error of what the code rebuilds, over the "
            "variance of the images; of validation images and of training images. Effective rank: the "
            "exponential of the entropy of the singular values (Garrido et al. 2023); participation: of "
            "the covariance's eigenvalues, squared sum over sum of squares.",
            "![figure](dimension.svg)",
            table(_HEAD, [_line(by[method, d]) for method in methods for d in dims]),
            f"The fewest numbers whose accuracy is within {100 * NEAR:g} point of the method's best, "
            "beyond doubt of the paired interval: "
            + ", ".join(f"`{method}` {d}" for method, d in enough.items())
            + ". Among these dimensions, on this data, for this probe and this length of training.",
            "## What is said of them",
            claims,
            "p is adjusted by Holm over all differences of accuracy.",
        ]
    )
    rows = [
        {
            "method": each.method,
            "dim": each.dim,
            "accuracy": asdict(bootstrap_mean(each.hits)),
            **{
                name: getattr(each, name).tolist()
                for name in ("train", "held_out", "rankme", "participation")
            },
        }
        for each in found
    ]
    data = {**asked, "rows": rows, "enough": enough, "claims": told}
    return Report(text, data, {"dimension.svg": _figure(found)})


_HEAD = ["method", "numbers", "accuracy", "lost, held out", "lost, train", "effective rank"]
_HEAD += ["participation"]


def _line(found: Found) -> list[str]:
    return [
        found.method,
        str(found.dim),
        percent_text(bootstrap_mean(found.hits)),
        f"{100 * found.held_out.mean():.1f}",
        f"{100 * found.train.mean():.1f}",
        f"{found.rankme.mean():.1f}",
        f"{found.participation.mean():.1f}",
    ]


def _points(interval: Interval) -> Interval:
    return Interval(100 * interval.value, 100 * interval.low, 100 * interval.high)


def _enough(found: Sequence[Found]) -> int:
    """The smallest dimension that is within `NEAR` of the best by the low end of the paired interval."""
    best = max(found, key=lambda each: (float(each.hits.mean()), -each.dim))
    return min(
        each.dim
        for each in found
        if each is best or paired_difference(each.hits, best.hits)[0].low > -NEAR
    )


def _figure(found: Sequence[Found]) -> bytes:
    points = []
    for each in found:
        accuracy = _points(bootstrap_mean(each.hits))
        values = {
            "accuracy": accuracy,
            "held_out": _range(100 * each.held_out),
            "rankme": _range(each.rankme),
        }
        points += [
            {
                "numbers of the code": str(each.dim),
                "value": values[name].value,
                "low": values[name].low,
                "high": values[name].high,
                "method": each.method,
                "measure": said,
            }
            for name, said in MEASURES.items()
        ]
    return lines(
        points,
        x="numbers of the code",
        y="value",
        ends=("low", "high"),
        line="method",
        side="measure",
    )


def _range(values: Array) -> Interval:
    """The mean, and the least and the largest training."""
    return Interval(float(values.mean()), float(values.min()), float(values.max()))


def _claims(
    by: Mapping[tuple[str, int], Found], methods: Sequence[str], dims: Sequence[int]
) -> list[Claim]:
    pairs = list(itertools.pairwise(dims))
    steps = {
        (method, b): paired_difference(by[method, b].hits, by[method, a].hits)
        for method in methods
        for a, b in pairs
    }
    adjusted = dict(zip(steps, holm([p for _, p in steps.values()]), strict=True))
    claims = []
    for method in methods:
        own = [(b, steps[method, b][0], adjusted[method, b]) for _, b in pairs]
        claims.append(
            Claim(
                f"`{method}`: more numbers tell the class better at every step",
                tuple(f"at {b} {percent_text(i, '+')}, p = {p:.2g}" for b, i, p in own),
                all(i.value > 0 and p < 0.05 for _, i, p in own),
            )
        )
    lost = {key: float(each.held_out.mean()) for key, each in by.items()}
    for method in methods:
        claims.append(
            Claim(
                f"`{method}`: more numbers rebuild held-out images better at every step",
                tuple(f"at {d} {100 * lost[method, d]:.1f}" for d in dims),
                all(lost[method, b] < lost[method, a] for a, b in pairs),
            )
        )
    principal, plain, variational = (
        m if m in methods else None for m in ("pca", "autoencoder", "vae")
    )
    if principal and plain:
        claims.append(
            Claim(
                "the autoencoder rebuilds held-out images better than as many principal components",
                tuple(f"at {d} {100 * (lost[plain, d] - lost[principal, d]):+.1f}" for d in dims),
                all(lost[plain, d] < lost[principal, d] for d in dims),
            )
        )
    if plain and variational:
        last = dims[-1]
        ranks = {m: float(by[m, last].participation.mean()) for m in (plain, variational)}
        claims.append(
            Claim(
                f"of {last} numbers the VAE varies in fewer dimensions than the autoencoder "
                "(participation)",
                tuple(f"{m} {value:.1f}" for m, value in ranks.items()),
                ranks[variational] < ranks[plain],
            )
        )
    return claims
