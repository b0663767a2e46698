"""Which representations are similar? Linear CKA between encoders, as a table and as a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bench.data.samples import Array
from bench.drawing.charts import load_altair, matrix
from bench.drawing.plane import labelled_points
from bench.errors import BenchError
from bench.naming.specs import Resolved, resolve
from bench.report.text import interval_text, table
from bench.running.workspace import Fitted
from bench.solvers.cka import pairwise_cka
from bench.solvers.multidimensional_scaling import classical_scaling
from bench.statistics.intervals import Interval, jackknife
from bench.studies.base import Claim, Report, Setting, linear_task
from bench.studies.parts.differences import claim, with_holm
from bench.studies.parts.fits import SourceFits, sampled_rows

REVISION = 1
GROUPS = 20  # of images, of which one after another is left out
COLUMNS = ("encoder", "", "dimensions", "most similar to", "CKA")
LABELLED, UNLABELLED, UNTRAINED = "trained with labels", "trained without labels", "not trained"


@dataclass(frozen=True, slots=True)
class Member:
    """A representation: its name, what it was trained on, its dimension; `by_steps`: by gradients?"""

    name: str
    kind: str
    dim: int
    by_steps: bool

    @property
    def spec(self) -> str:
        """Of one that was trained twice: its name without the seed."""
        return self.name.rpartition(", seed")[0]


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """CKA of all pairs of m members (m, m), and without each group of images (k, m, m)."""

    members: Sequence[Member]
    values: Array
    without: Array

    def of(self, a: int, b: int) -> Interval:
        if a == b:
            return Interval(1.0, 1.0, 1.0)
        interval = jackknife(float(self.values[a, b]), self.without[:, a, b])[0]
        return Interval(interval.value, max(interval.low, -1.0), min(interval.high, 1.0))

    def minus(self, pair: tuple[int, int], reference: tuple[int, int]) -> tuple[Interval, float]:
        """CKA of a pair minus that of a reference pair, and the p-value of the difference."""
        difference = float(self.values[pair] - self.values[reference])
        return jackknife(difference, self.without[:, *pair] - self.without[:, *reference])


def run(
    *,
    setting: Setting,
    dataset: str = "fashion_mnist",
    encoders: str = (
        "pixels pca autoencoder~0 autoencoder denoising sparse vae contractive supervised "
        "timm_backbone,model=tf_efficientnet_lite0,size=96 hog"
    ),
    twice: str = "autoencoder",
    images: int = 2000,
    seed: int = 0,
) -> Report:
    """Train each encoder on the data set's training rows, or take the weights that the cache has, `twice`
    with the next seed too, and compare their default levels on `images` validation images. The test
    split is not read.

    Raises BenchError for fewer than 40 images or more than there are, fewer than three encoders, a
    `twice` that is not one of them, and where charts cannot be drawn.
    """
    load_altair()
    specs = [resolve("encoders", name) for name in dict.fromkeys(encoders.split())]
    again = resolve("encoders", twice)
    texts = [spec.text for spec in specs]
    if len(set(texts)) < 3 or again.text not in texts:
        named = f"encoders={encoders!r}, twice={twice!r}"
        raise BenchError(f"likeness: {named}; give three or more, and one of them twice")
    fits = SourceFits.of(setting, task := linear_task(dataset))
    total = len(fits.dataset.split("val"))
    if not 2 * GROUPS <= images <= total:
        raise BenchError(f"likeness: images={images}; it must be {2 * GROUPS} to {total}")
    rows = sampled_rows(total, images, seed=seed, purpose="images")

    def member(spec: Resolved, number: int) -> tuple[Member, Array]:
        fitted = fits.fitted(spec, number)
        features = fits.features(fitted, "val", spec.level)[rows]
        name = f"{spec.text}, seed {number}" if spec.text == again.text else spec.text
        by_steps = spec.entry.training == "budget" and spec.budget != 0
        kind = _kind(fitted, trained=by_steps or spec.entry.training == "closed_form")
        return Member(name, kind, features.shape[1], by_steps), features

    pairs = [*(member(spec, seed) for spec in specs), member(again, seed + 1)]
    setting.progress(f"{len(pairs)} representations compared on {images} images")
    values, without = pairwise_cka([features for _, features in pairs], GROUPS)
    return report(
        Likeness([member for member, _ in pairs], values, without),
        first=texts.index(again.text),
        start=next((i for i, s in enumerate(specs) if s == replace(again, budget=0)), None),
        parameters={"dataset": task.dataset, "images": images, "seed": seed},
    )


def _kind(fitted: Fitted, *, trained: bool) -> str:
    if fitted.pretrained_on:
        return f"trained on {', '.join(fitted.pretrained_on)}"
    if not trained:
        return UNTRAINED
    return LABELLED if fitted.supervised else UNLABELLED


def report(
    likeness: Likeness, *, first: int, start: int | None, parameters: Mapping[str, Any]
) -> Report:
    """The study's answer. `first` is the member of which the last one is another training, `start` the
    same without any; `parameters`: data set, images and seed."""
    members, values = likeness.members, likeness.values
    ordered = order(values)
    points, share = classical_scaling(2 * (1 - values))
    parts = [
        "Linear CKA without its bias (Kornblith et al. 2019; Nguyen et al. 2021) of the default level on "
        f"{parameters['images']:,} validation images of {parameters['dataset']}: 1 for representations "
        "that are equal up to rotation, scale and shift, about 0 for unrelated ones. One "
        f"training each (seed {parameters['seed']}), of `{members[first].spec}` a second one. Encoders of "
        "one trunk and one seed start from the same weights. Intervals (95 %, jackknife over groups of "
        "images) hold for these trainings alone. The test split is not read.",
        "![table](likeness.svg)",
        "In hundredths; rows are ordered by average linkage of 1 - CKA: similar ones are neighbours.",
        "![map](map.svg)",
        "The same as a map by classical scaling: CKA is the cosine of two kernel matrices, so squared "
        f"distances are 2 (1 - CKA). The plane shows {share:.0%} of the spread.",
        "## The most similar of each",
        table(COLUMNS, [_nearest(likeness, i) for i in ordered]),
    ]
    data = {
        **parameters,
        "members": members,
        "order": ordered,
        "pairs": [
            {"a": members[a].name, "b": members[b].name, **asdict(likeness.of(a, b))}
            for a in range(len(members))
            for b in range(a)
        ],
        "map": points,
        "shown": share,
    }
    dots = [(m.name, float(x), float(y), m.kind) for m, (x, y) in zip(members, points, strict=True)]
    names, cells = [members[i].name for i in ordered], values[np.ix_(ordered, ordered)].tolist()
    return Report.of(
        "Which representations are similar",
        parts,
        data,
        claims=_claims(likeness, first, start),
        note="p is adjusted by Holm over all differences of the table.",
        figures={
            "likeness.svg": matrix(names, cells, colour="CKA"),
            "map.svg": labelled_points(dots, kind="encoder"),
        },
    )


def order(values: Array) -> list[int]:
    """Members (m,) such that similar ones are neighbours: the leaves of average linkage of 1 - CKA (m, m),
    turned so that neighbours are as similar as possible (Bar-Joseph et al. 2001)."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distances = (1 - (values + values.T) / 2).clip(0)
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), "average", optimal_ordering=True)
    leaves = [int(leaf) for leaf in leaves_list(tree)]
    return leaves if leaves[0] < leaves[-1] else leaves[::-1]


def _nearest(likeness: Likeness, i: int) -> list[str]:
    """A member, and which other is most similar to it."""
    member, neighbours = likeness.members[i], [j for j in range(len(likeness.members)) if j != i]
    nearest = max(neighbours, key=lambda j: (likeness.values[i, j], -j))
    cka = interval_text(likeness.of(i, nearest))
    return [member.name, member.kind, f"{member.dim:,}", likeness.members[nearest].name, cka]


def _claims(likeness: Likeness, first: int, start: int | None) -> list[Claim]:
    """For each statement the pairs that must be more similar than their reference pairs; statements
    without any are left out. p-values are adjusted over all of them."""
    members, last = likeness.members, len(likeness.members) - 1
    others = [(i, m) for i, m in enumerate(members) if m.by_steps and i not in (first, last)]
    plain, labelled = ([i for i, m in others if m.kind == k] for k in (UNLABELLED, LABELLED))
    kinds = (UNLABELLED, LABELLED, UNTRAINED)
    pretrained = [i for i, m in enumerate(members) if m.kind not in kinds]
    name = members[first].spec
    comparisons: dict[str, dict[str, tuple[tuple[int, int], tuple[int, int]]]] = {
        f"another seed changes `{name}` less than another objective does from the same seed": {
            f"than {members[e].name}": ((first, last), (first, e)) for e in plain
        },
        f"encoders trained without labels are more similar to `{name}` than those trained with labels": {
            f"{members[e].name} than {members[s].name}": ((first, e), (first, s))
            for s in labelled
            for e in (*plain, last)
        },
        f"`{name}` is more similar to its untrained start than to encoders trained with labels": {
            f"than {members[s].name}": ((first, start), (first, s))
            for s in labelled
            if start is not None
        },
        "pretrained encoders are more similar to those trained here with labels than to those trained "
        "without": {
            f"{members[g].name}: {members[s].name} than {members[e].name}": ((g, s), (g, e))
            for g in pretrained
            for s in labelled
            for e in (first, *plain)
        },
    }
    differences = with_holm(
        {
            (statement, label): likeness.minus(pair, reference)
            for statement, pairs in comparisons.items()
            for label, (pair, reference) in pairs.items()
        }
    )
    return [
        claim(statement, {label: differences[statement, label] for label in pairs}, scale=1)
        for statement, pairs in comparisons.items()
        if pairs
    ]
