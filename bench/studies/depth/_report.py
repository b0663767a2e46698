"""What the study of depth says: its tables, its claims, its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy.typing as npt

from bench.drawing.charts import lines
from bench.report.text import interval_text, table
from bench.scoring.comparison import Comparison
from bench.statistics.intervals import Interval, bootstrap_mean, paired_difference
from bench.statistics.significance import holm
from bench.studies.base import Claim, Report, judged

__all__ = ["PANELS", "Found", "Place", "compared", "report"]

PANELS = ("source", "target", "tuned")  # probed on the one and the other, tuned on the other
X = "stages below the probe, or frozen"

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Place:
    """A point of the figure: an encoder, one of PANELS, and how many stages are below or frozen."""

    encoder: str
    panel: str
    stage: int


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Scores of trainings by test rows (r, n) of all places, and their differences: `minus_untrained`,
    and `minus_first` of the same encoder at stage 0. Holm's adjustment is over both of them, once for
    the probes and once for what was tuned. The last of `encoders` is the untrained one."""

    encoders: Sequence[str]
    rows: Mapping[Place, Array]
    minus_untrained: Mapping[Place, Comparison]
    minus_first: Mapping[Place, Comparison]

    @property
    def last(self) -> int:
        """The deepest stage."""
        return max(place.stage for place in self.rows)

    @classmethod
    def of(cls, rows: Mapping[Place, Array]) -> Found:
        encoders = list(dict.fromkeys(place.encoder for place in rows))
        untrained: dict[Place, Comparison] = {}
        first: dict[Place, Comparison] = {}
        for panels in (PANELS[:2], PANELS[2:]):
            some = [place for place in rows if place.panel in panels]
            trained = [
                p for p in some if p.encoder != encoders[-1] and (p.stage or len(panels) < 2)
            ]
            later = [p for p in some if p.stage]
            pairs = [
                *((p, Place(encoders[-1], p.panel, p.stage)) for p in trained),
                *((p, Place(p.encoder, p.panel, 0)) for p in later),
            ]
            told = compared(rows, pairs)
            untrained |= zip(trained, told[: len(trained)], strict=True)
            first |= zip(later, told[len(trained) :], strict=True)
        return cls(encoders, rows, untrained, first)


def compared(rows: Mapping[Place, Array], pairs: Sequence[tuple[Place, Place]]) -> list[Comparison]:
    """The first place of each pair minus the second on the same test rows, with Holm's adjustment over
    all of the pairs."""
    found = [paired_difference(rows[a], rows[b]) for a, b in pairs]
    return [
        Comparison(
            task=a.panel,
            metric="accuracy",
            a=float(rows[a].mean()),
            b=float(rows[b].mean()),
            difference=difference,
            p=p,
            adjusted=adjusted,
            higher_is_better=True,
        )
        for (a, b), (difference, p), adjusted in zip(
            pairs, found, holm([p for _, p in found]), strict=True
        )
    ]


def report(
    found: Found,
    *,
    data: Mapping[str, str],
    dims: Sequence[int],
    rates: Mapping[Place, float | None],
    asked: Mapping[str, Any],
) -> Report:
    """The study's answer. `data`: panel -> data set; `dims` of the stages; `rates` that tuning chose;
    `asked`: budget, images, seeds and labels a class."""
    shown, told = judged(_claims(found, data))
    source, target, untrained = data["source"], data["target"], found.encoders[-1]
    parts = [
        "# Which layers of a trunk transfer",
        f"{asked['seeds']} trainings each of {asked['budget']} images of {source}, and the untrained "
        f"trunk (`{untrained}`); {asked['labels']} labels a class for each probe and each tuning. "
        "Accuracy in per cent on test images with its 95 % interval; below it, in points on the same "
        "images, differences, for which trainings count as independent, those of one encoder too.",
        "![curves](depth.svg)",
        "## A linear probe on each stage",
        f"Stage 0 is what the trunk gets, all {dims[0]:,} pixels; what comes out of the others is "
        f"max-pooled to 4 x 4: {', '.join(f'{d:,}' for d in dims[1:])} numbers. A trunk gets images as "
        "its source has them, the untrained one as the data set that it is probed on has them. An "
        f"encoder that learns from labels has had all those of {source}.",
        _table(found, data, PANELS[:2], "stage {}", "minus stage 0"),
        f"## Tuned on {target} with the first stages frozen",
        f"Each fit sees {asked['images']:,} images as they are, none of them cropped or mirrored, at the "
        "best of four rates on validation. With all stages frozen nothing is tuned: the probe that "
        "tuning starts from, fitted on training rows alone; those above are fitted on validation too.",
        _table(found, data, PANELS[2:], "{} frozen", "minus 0 frozen"),
        f"p is adjusted by Holm over all differences of a table ({_count(found, PANELS[:2])} and "
        f"{_count(found, PANELS[2:])}); in claims on steps from one stage to the next, over these.",
        "## What is said of them",
        shown,
    ]
    places = [
        {**_told(found, place), "data": data[place.panel], "rate": rates.get(place)}
        for place in found.rows
    ]
    answer = {**asked, "source": source, "target": target, "dims": [*dims]}
    return Report(
        "\n\n".join(parts),
        {**answer, "places": places, "claims": told},
        {"depth.svg": _figure(found, data)},
    )


def _count(found: Found, panels: Sequence[str]) -> int:
    kinds = (found.minus_untrained, found.minus_first)
    return sum(place.panel in panels for kind in kinds for place in kind)


def _table(
    found: Found, data: Mapping[str, str], panels: Sequence[str], column: str, first: str
) -> str:
    """A line of accuracies an encoder and panel, and below it those of differences."""
    rows = []
    for panel in panels:
        for encoder in found.encoders:
            row = [Place(encoder, panel, stage) for stage in range(found.last + 1)]
            scores = [interval_text(_points(bootstrap_mean(found.rows[place]))) for place in row]
            rows.append([encoder, data[panel], "accuracy", *scores])
            for name, some in (
                ("minus untrained", found.minus_untrained),
                (first, found.minus_first),
            ):
                if any(place in some for place in row):
                    rows.append(["", "", name, *(_shown(some.get(place)) for place in row)])
    return table(["trunk", "on", "", *map(column.format, range(found.last + 1))], rows)


def _told(found: Found, place: Place) -> dict[str, Any]:
    """A place as JSON."""

    def told(one: Comparison | None) -> dict[str, Any] | None:
        if one is None:
            return None
        return {**asdict(one.difference), "p": one.p, "adjusted": one.adjusted}

    rows = found.rows[place]
    return {
        **asdict(place),
        "accuracy": asdict(bootstrap_mean(rows)),
        "trainings": rows.mean(axis=1).tolist(),
        "minus_untrained": told(found.minus_untrained.get(place)),
        "minus_first": told(found.minus_first.get(place)),
    }


def _figure(found: Found, data: Mapping[str, str]) -> bytes:
    points = []
    for place, rows in found.rows.items():
        interval = _points(bootstrap_mean(rows))
        kind = "tuned on" if place.panel == "tuned" else "probe on"
        points.append(
            {
                "trunk": place.encoder,
                "panel": f"{kind} {data[place.panel]}",
                X: str(place.stage),
                "accuracy, %": interval.value,
                **asdict(interval),
            }
        )
    return lines(points, x=X, y="accuracy, %", ends=("low", "high"), line="trunk", side="panel")


def _claims(found: Found, data: Mapping[str, str]) -> list[Claim]:
    return [claim for e in found.encoders[:-1] for claim in _claims_of(found, data, e)]


def _claims_of(found: Found, data: Mapping[str, str], encoder: str) -> list[Claim]:
    """What is said of one trained encoder."""

    def step(panel: str, stage: int) -> tuple[Place, Place]:
        return Place(encoder, panel, stage), Place(encoder, panel, stage - 1)

    def own(some: Mapping[Place, Comparison], panel: str) -> dict[str, Comparison]:
        own = {p: c for p, c in some.items() if (p.encoder, p.panel) == (encoder, panel)}
        return {f"{place.stage}:": each for place, each in own.items()}

    def steps(panel: str) -> dict[str, Comparison]:
        stages = range(1, found.last + 1)
        told = compared(found.rows, [step(panel, stage) for stage in stages])
        return {f"{stage} - {stage - 1}:": each for stage, each in zip(stages, told, strict=True)}

    up, down = steps("source"), steps("tuned")
    last = compared(found.rows, [step("source", found.last), step("target", found.last)])
    probed, tuned = (own(found.minus_untrained, panel) for panel in PANELS[1:])
    target = data["target"]
    return [
        Claim(
            f"`{encoder}`: on {data['source']} each stage's probe is above the one before it",
            _listed(up),
            all(each.verdict == "A" for each in up.values()),
        ),
        Claim(
            f"`{encoder}`: the last stage adds to the probe on {data['source']} and takes from that on "
            f"{target}",
            _listed({f"{data[panel]}:": c for panel, c in zip(PANELS[:2], last, strict=True)}),
            [each.verdict for each in last] == ["A", "B"],
        ),
        Claim(
            f"`{encoder}`: the probe of every stage beats that of the untrained trunk on {target}",
            _listed(probed),
            all(each.verdict == "A" for each in probed.values()),
        ),
        Claim(
            f"`{encoder}`: tuned on {target} it beats the untrained trunk, however many stages are frozen",
            _listed(tuned),
            all(each.verdict == "A" for each in tuned.values()),
        ),
        Claim(
            f"`{encoder}`: tuned on {target}, each further frozen stage costs accuracy",
            _listed(down),
            all(each.verdict == "B" for each in down.values()),
        ),
    ]


def _listed(some: Mapping[str, Comparison]) -> tuple[str, ...]:
    return tuple(f"{name} {_shown(each)}" for name, each in some.items())


def _points(interval: Interval) -> Interval:
    return Interval(100 * interval.value, 100 * interval.low, 100 * interval.high)


def _shown(one: Comparison | None) -> str:
    if one is None:
        return ""
    return f"{interval_text(_points(one.difference), '+')}, p = {one.adjusted:.2g}"
