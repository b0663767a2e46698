"""What the study of depth reports: its tables, its claims, its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.drawing.charts import lines
from bench.report.text import percent_text, table
from bench.statistics.intervals import bootstrap_mean, paired_difference
from bench.studies.base import Array, Claim, Report
from bench.studies.parts.differences import Difference, Key, claim, holm_adjusted, scaled

PANELS = ("source", "target", "tuned")  # probed on the one and the other, tuned on the other
X = "stages below the probe, or frozen"


@dataclass(frozen=True, slots=True)
class StagePoint:
    """A point of the figure: an encoder, one of PANELS, and how many stages are below or frozen."""

    encoder: str
    panel: str
    stage: int


@dataclass(frozen=True, slots=True, eq=False)
class DepthScores:
    """Scores of trainings by test rows (r, n) of all points, and their differences: `minus_untrained`,
    and `minus_first` of the same encoder at stage 0. Holm's adjustment is over both of them, once for
    the probes and once for what was tuned. The last of `encoders` is the untrained one."""

    encoders: Sequence[str]
    rows: Mapping[StagePoint, Array]
    minus_untrained: Mapping[StagePoint, Difference]
    minus_first: Mapping[StagePoint, Difference]

    @property
    def last(self) -> int:
        """The deepest stage."""
        return max(point.stage for point in self.rows)

    @classmethod
    def of(cls, rows: Mapping[StagePoint, Array]) -> DepthScores:
        encoders = list(dict.fromkeys(point.encoder for point in rows))
        minus_untrained: dict[StagePoint, Difference] = {}
        minus_first: dict[StagePoint, Difference] = {}
        for panels in (PANELS[:2], PANELS[2:]):
            points = [point for point in rows if point.panel in panels]
            pairs = {
                (p, "untrained"): (p, StagePoint(encoders[-1], p.panel, p.stage))
                for p in points
                if p.encoder != encoders[-1] and (p.stage or len(panels) < 2)
            }
            pairs |= {
                (p, "first"): (p, StagePoint(p.encoder, p.panel, 0)) for p in points if p.stage
            }
            for (point, reference), difference in compared(rows, pairs).items():
                kind = minus_untrained if reference == "untrained" else minus_first
                kind[point] = difference
        return cls(encoders, rows, minus_untrained, minus_first)

    def count(self, panels: Sequence[str]) -> int:
        """How many differences there are in these panels."""
        kinds = (self.minus_untrained, self.minus_first)
        return sum(point.panel in panels for kind in kinds for point in kind)


def compared(
    rows: Mapping[StagePoint, Array], pairs: Mapping[Key, tuple[StagePoint, StagePoint]]
) -> dict[Key, Difference]:
    """The first point of each pair minus the second on the same test rows, with Holm's adjustment over
    all of the pairs."""
    return holm_adjusted(
        {key: paired_difference(rows[a], rows[b]) for key, (a, b) in pairs.items()}
    )


def report(
    scores: DepthScores,
    *,
    data: Mapping[str, str],
    dims: Sequence[int],
    rates: Mapping[StagePoint, float | None],
    parameters: Mapping[str, Any],
) -> Report:
    """The study's answer. `data`: panel -> data set; `dims` of the stages; `rates` that tuning chose;
    `parameters`: budget, images, seeds and labels a class."""
    source, target, untrained = data["source"], data["target"], scores.encoders[-1]
    parts = [
        f"{parameters['seeds']} trainings each of {parameters['budget']} images of {source}, and the "
        f"untrained trunk (`{untrained}`); {parameters['labels']} labels a class for each probe and each "
        "tuning. Accuracy in per cent on test images with its 95 % interval; below it, in points on the "
        "same images, differences, for which trainings count as independent, also those of one encoder.",
        "![curves](depth.svg)",
        "## A linear probe on each stage",
        f"Stage 0 is the input of the trunk, all {dims[0]:,} pixels; the output of the others is "
        f"max-pooled to 4 x 4: {', '.join(f'{d:,}' for d in dims[1:])} numbers. A trunk gets images as "
        "its source has them, the untrained one as the data set that it is probed on has them. An "
        f"encoder that learns from labels has had all those of {source}.",
        _table(scores, data, PANELS[:2], "stage {}", "minus stage 0"),
        f"## Tuned on {target} with the first stages frozen",
        f"Each fit sees {parameters['images']:,} images as they are, none of them cropped or mirrored, at "
        "the best of four rates on validation. With all stages frozen nothing is tuned: the probe that "
        "tuning starts from, fitted on training rows alone; those above are fitted on validation too.",
        _table(scores, data, PANELS[2:], "{} frozen", "minus 0 frozen"),
        f"p is adjusted by Holm over all differences of a table ({scores.count(PANELS[:2])} and "
        f"{scores.count(PANELS[2:])}); in claims on steps from one stage to the next, over these.",
    ]
    points = [
        {
            **asdict(point),
            "accuracy": bootstrap_mean(rows),
            "trainings": rows.mean(axis=1),
            "minus_untrained": scores.minus_untrained.get(point),
            "minus_first": scores.minus_first.get(point),
            "data": data[point.panel],
            "rate": rates.get(point),
        }
        for point, rows in scores.rows.items()
    ]
    return Report.of(
        "Which layers of a trunk transfer",
        parts,
        {**parameters, "source": source, "target": target, "dims": dims, "places": points},
        claims=[c for encoder in scores.encoders[:-1] for c in claims_of(scores, data, encoder)],
        figures={"depth.svg": _figure(scores, data)},
    )


def _table(
    scores: DepthScores, data: Mapping[str, str], panels: Sequence[str], column: str, first: str
) -> str:
    """A line of accuracies an encoder and panel, and below it those of differences."""
    rows = []
    for panel in panels:
        for encoder in scores.encoders:
            points = [StagePoint(encoder, panel, stage) for stage in range(scores.last + 1)]
            accuracies = [percent_text(bootstrap_mean(scores.rows[point])) for point in points]
            rows.append([encoder, data[panel], "accuracy", *accuracies])
            for name, differences in (
                ("minus untrained", scores.minus_untrained),
                (first, scores.minus_first),
            ):
                cells = [differences[p].text() if p in differences else "" for p in points]
                rows += [["", "", name, *cells]] if any(cells) else []
    return table(["trunk", "on", "", *map(column.format, range(scores.last + 1))], rows)


def _figure(scores: DepthScores, data: Mapping[str, str]) -> bytes:
    y, points = "accuracy, %", []
    for point, rows in scores.rows.items():
        interval = scaled(bootstrap_mean(rows))
        kind = "tuned on" if point.panel == "tuned" else "probe on"
        points.append(
            {
                "trunk": point.encoder,
                "panel": f"{kind} {data[point.panel]}",
                X: str(point.stage),
                y: interval.value,
                **asdict(interval),
            }
        )
    return lines(points, x=X, y=y, ends=("low", "high"), line="trunk", side="panel")


def claims_of(scores: DepthScores, data: Mapping[str, str], encoder: str) -> list[Claim]:
    """The claims about one trained encoder."""
    source, target, last = data["source"], data["target"], scores.last

    def step(panel: str, stage: int) -> tuple[StagePoint, StagePoint]:
        return StagePoint(encoder, panel, stage), StagePoint(encoder, panel, stage - 1)

    def steps(panel: str) -> dict[str, Difference]:
        stages = range(1, last + 1)
        return compared(scores.rows, {f"{k} - {k - 1}:": step(panel, k) for k in stages})

    def gains(panel: str) -> dict[str, Difference]:
        """Minus the untrained trunk, by stage."""
        return {
            f"{point.stage}:": difference
            for point, difference in scores.minus_untrained.items()
            if (point.encoder, point.panel) == (encoder, panel)
        }

    ends = compared(scores.rows, {f"{data[panel]}:": step(panel, last) for panel in PANELS[:2]})
    return [
        claim(
            f"`{encoder}`: on {source} each stage's probe is above the one before it",
            steps("source"),
        ),
        Claim(
            f"`{encoder}`: the last stage adds to the probe on {source} and takes from that on {target}",
            tuple(f"{label} {difference.text()}" for label, difference in ends.items()),
            [difference.sign for difference in ends.values()] == [1, -1],
        ),
        claim(
            f"`{encoder}`: the probe of every stage beats that of the untrained trunk on {target}",
            gains("target"),
        ),
        claim(
            f"`{encoder}`: tuned on {target} it beats the untrained trunk, however many stages are frozen",
            gains("tuned"),
        ),
        claim(
            f"`{encoder}`: tuned on {target}, each further frozen stage costs accuracy",
            steps("tuned"),
            sign=-1,
        ),
    ]
