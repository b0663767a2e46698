"""How many dimensions are enough? Codes of 2 to 512 numbers: probe, reconstruction, effective rank."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from bench.data.samples import Array
from bench.drawing.charts import lines, load_altair
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.report.text import percent_text, scaled, table
from bench.statistics.intervals import Interval, mean_interval, paired_difference
from bench.studies.base import Claim, Report, Setting, linear_task, measure, require
from bench.studies.parts.differences import claim, compared
from bench.tasks.cell import Cell
from bench.tasks.task import Replicates

REVISION = 1
METHODS = {
    "pca": "pca,dim={d}",
    "autoencoder": "autoencoder,code={d},level=code~{budget}",
    "vae": "vae,code={d},level=code~{budget}",
}
DIAGNOSTICS = ["reconstruction/train", "reconstruction/held_out"]
DIAGNOSTICS += ["effective_rank/rankme", "effective_rank/participation"]
NEAR = 0.01  # of the best accuracy: a dimension that is as good
MEASURES = {
    "accuracy": "accuracy of a ridge probe, %",
    "held_out": "lost of held-out images, % of their variance",
    "rankme": "effective rank",
}
COLUMNS = ["method", "numbers", "accuracy", "lost, held out", "lost, train", "effective rank"]
COLUMNS += ["participation"]


@dataclass(frozen=True, slots=True, eq=False)
class CodeScores:
    """One method at one dimension: hits of its probe on test images by training (r, n), and by training
    the share of the variance of images that is lost, and the effective dimensions of the code."""

    method: str
    dim: int
    hits: Array
    train: Array
    held_out: Array
    rankme: Array
    participation: Array


def run(
    *,
    setting: Setting,
    dataset: str = "fashion_mnist",
    dims: str = "2 8 32 128 512",
    budget: str = "60k",
    seeds: int = 1,
) -> Report:
    """Fit PCA, an autoencoder and a VAE with codes of each of `dims` numbers on training rows,
    the last two at `budget` images with `seeds` seeds, and measure the accuracy of a linear probe
    (test images), the reconstruction error of validation images, and the effective dimensions.

    Raises BenchError for fewer than two dims, those that are not whole numbers above 0, no seed, and
    where charts cannot be drawn.
    """
    sizes = _sizes(dims)
    require("dimension", 1, seeds=seeds)
    load_altair()
    task = linear_task(dataset)
    task = task.derive(
        name=f"{task.dataset}-dimension",
        family="diagnostics",
        protocol="ridge",
        diagnostics=("effective_rank", "reconstruction"),
        replicates=Replicates(seeds=seeds),
    )
    cells = {
        (method, d): Cell(task, resolve("encoders", text.format(d=d, budget=budget)))
        for method, text in METHODS.items()
        for d in sizes
    }
    measured = measure(cells.values(), setting)
    scores = []
    for (method, d), cell in cells.items():
        diagnostics = measured.record(cell).diagnostics  # one a training
        values = (np.array([training[n] for training in diagnostics], float) for n in DIAGNOSTICS)
        scores.append(CodeScores(method, d, measured.rows(cell), *values))
    parameters = {"dataset": task.dataset, "dims": sizes, "budget": budget, "seeds": seeds}
    return report(scores, parameters)


def _sizes(text: str) -> list[int]:
    words = text.split()
    if len(set(words)) < 2 or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise BenchError(f"dimension: dims={text!r}; give two or more whole numbers above 0")
    return sorted({int(word) for word in words})


def report(scores: Sequence[CodeScores], parameters: Mapping[str, Any]) -> Report:
    """The study's answer; `parameters` are those of `run`."""
    by_key = {(code.method, code.dim): code for code in scores}
    methods, dims = list(dict.fromkeys(m for m, _ in by_key)), sorted({d for _, d in by_key})
    enough = {method: _enough([by_key[method, d] for d in dims]) for method in methods}
    count = parameters["seeds"]
    trainings = "one training" if count == 1 else f"{count} trainings"
    parts = [
        f"Codes of {parameters['dataset']}: principal components, an autoencoder and a VAE ({trainings} "
        f"each of {parameters['budget']} images). Accuracy is that of a ridge probe on the code, over "
        "test images, with its 95 % interval. Lost: squared error of the reconstruction, over the "
        "variance of the images; of validation images and of training images. Effective rank: the "
        "exponential of the entropy of the singular values (Garrido et al. 2023); participation: of "
        "the covariance's eigenvalues, squared sum over sum of squares.",
        "![figure](dimension.svg)",
        table(COLUMNS, [_line(by_key[method, d]) for method in methods for d in dims]),
        f"The smallest code whose accuracy is within {100 * NEAR:g} point of the method's best by the "
        "low end of the paired interval: "
        + ", ".join(f"`{method}` {d}" for method, d in enough.items())
        + ". This holds for these dimensions, this data, this probe and this length of training.",
    ]
    rows = [
        {
            **{f.name: getattr(code, f.name) for f in fields(code) if f.name != "hits"},
            "accuracy": mean_interval(code.hits),
        }
        for code in scores
    ]
    return Report.of(
        "How many dimensions are enough?",
        parts,
        {**parameters, "rows": rows, "enough": enough},
        claims=_claims(by_key, methods, dims),
        note="p is adjusted by Holm over all differences of accuracy.",
        figures={"dimension.svg": _figure(scores)},
    )


def _line(code: CodeScores) -> list[str]:
    means = (100 * code.held_out, 100 * code.train, code.rankme, code.participation)
    accuracy = percent_text(mean_interval(code.hits))
    return [code.method, str(code.dim), accuracy, *(f"{values.mean():.1f}" for values in means)]


def _enough(codes: Sequence[CodeScores]) -> int:
    """The smallest dimension that is within `NEAR` of the best by the low end of the paired interval."""
    best = max(codes, key=lambda code: (float(code.hits.mean()), -code.dim))
    gaps = {code.dim: paired_difference(code.hits, best.hits)[0].low for code in codes}
    return min(dim for dim, low in gaps.items() if dim == best.dim or low > -NEAR)


def _figure(scores: Sequence[CodeScores]) -> bytes:
    x, points = "numbers of the code", []
    for code in scores:
        intervals = {
            "accuracy": scaled(mean_interval(code.hits), 100),
            "held_out": _range(100 * code.held_out),
            "rankme": _range(code.rankme),
        }
        points += [
            {x: str(code.dim), "method": code.method, "measure": label, **asdict(intervals[name])}
            for name, label in MEASURES.items()
        ]
    return lines(points, x=x, y="value", ends=("low", "high"), line="method", side="measure")


def _range(values: Array) -> Interval:
    """The mean, and the least and the largest training."""
    return Interval(float(values.mean()), float(values.min()), float(values.max()))


def _claims(
    by_key: Mapping[tuple[str, int], CodeScores], methods: Sequence[str], dims: Sequence[int]
) -> list[Claim]:
    pairs = list(itertools.pairwise(dims))
    hits = {key: code.hits for key, code in by_key.items()}
    steps = compared(hits, {(m, b): ((m, b), (m, a)) for m in methods for a, b in pairs})
    lost = {key: float(code.held_out.mean()) for key, code in by_key.items()}
    claims = [
        claim(
            f"`{method}`: at every step more numbers give a more accurate probe",
            {f"at {b}": steps[method, b] for _, b in pairs},
        )
        for method in methods
    ]
    claims += [
        Claim(
            f"`{method}`: at every step more numbers reconstruct held-out images better",
            tuple(f"at {d} {100 * lost[method, d]:.1f}" for d in dims),
            all(lost[method, b] < lost[method, a] for a, b in pairs),
        )
        for method in methods
    ]
    if {"pca", "autoencoder"} <= set(methods):
        gaps = {d: lost["autoencoder", d] - lost["pca", d] for d in dims}
        claims.append(
            Claim(
                "the autoencoder reconstructs held-out images better than as many principal components",
                tuple(f"at {d} {100 * gap:+.1f}" for d, gap in gaps.items()),
                all(gap < 0 for gap in gaps.values()),
            )
        )
    if {"autoencoder", "vae"} <= set(methods):
        ranks = {m: float(by_key[m, dims[-1]].participation.mean()) for m in ("autoencoder", "vae")}
        claims.append(
            Claim(
                f"with {dims[-1]} numbers the VAE varies in fewer dimensions than the autoencoder "
                "(participation)",
                tuple(f"{m} {value:.1f}" for m, value in ranks.items()),
                ranks["vae"] < ranks["autoencoder"],
            )
        )
    return claims
