"""Tasks: data, targets, protocol and metric of a cell, and who may see which labels and classes.

A task's digest leaves its title out; the digest in a record adds the revisions of runner, metrics and
statistics.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

from bench.data.semantics import read_semantics
from bench.data.shifts import SHIFTS
from bench.digests import arrays_digest, digest
from bench.errors import BenchError, unknown
from bench.naming.specs import Resolved, resolve
from bench.statistics.metrics import METRICS
from bench.tasks.families import FAMILIES

MOST_REPLICATES = 10_000  # of a cell
Reduction = Literal["mean", "log_area"]
Control = Literal["shuffled_labels", "shuffled_auxiliary", "shuffled_signatures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coords:
    """Which replicate of a cell: seeds, split, labels, control, shift. Those that differ in `shift` and
    `strength` alone share one fit."""

    encoder_seed: int = 0
    head_seed: int = 0
    split: int | None = None  # which of the task's class splits
    per_class: int | None = None  # labels granted a class; None: all
    subset: int | None = None  # which draw of them
    control: str | None = None
    shift: str | None = None
    strength: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicates:
    """How often a cell is repeated: the product of its axes.

    `seeds` runs, the i-th with head seed i and encoder seed i mod `encoder_seeds` (None: as many as
    seeds), so that ten heads may share three trainings; what draws no random numbers runs once. `splits`
    are sets of unseen classes; where an encoder is retrained for each, the split's number is its seed.
    `control_seeds`: how many draws of each control; None: one a run.
    """

    seeds: int = 3
    encoder_seeds: int | None = None
    per_class: tuple[int, ...] = ()  # 0: all labels
    subsets: int = 1
    splits: tuple[tuple[int, ...], ...] = ()
    shifts: tuple[str, ...] = ()
    strengths: tuple[float, ...] = ()
    controls: tuple[Control, ...] = ()
    control_seeds: int | None = None

    def most(self, runs: int) -> int:
        """The number of replicates of so many runs, if everything draws random numbers."""
        fits = sum(self.subsets if size else 1 for size in self.per_class) or 1
        fits *= (len(self.splits) or 1) * (1 + len(self.shifts) * len(self.strengths))
        return fits * (runs + len(self.controls) * (self.control_seeds or runs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Primary:
    """The cell's own score: a metric of one target (None: mean over targets), reduced over the
    replicates without control or shift (`Family.shifted`: the shifted ones).

    interval: "rows" is over test rows and replicates; "replicates" is Student's t over replicates;
    "classes" leaves out one class after the other (see `statistics.intervals`).
    """

    metric: str = "accuracy"
    target: str | None = None
    reduction: Reduction = "mean"
    interval: Literal["rows", "replicates", "classes"] = "rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One data set, its targets, one protocol, and who may see which labels and classes."""

    name: str
    version: int = 1
    family: str  # one of FAMILIES
    dataset: str
    protocol: str
    targets: tuple[str, ...] = ()  # () = all of the data set's; the first names the classes
    input: Literal["features", "activations", "images"] = "features"
    train_limit: int | None = None  # train rows used, stratified by the first target
    validation: bool = True  # False: only granted training labels may choose
    replicates: Replicates = field(default_factory=Replicates)
    semantics: str | None = None  # a table of tasks/semantics, or a file: signatures of the classes
    removed_classes: tuple[int, ...] = ()
    transductive: bool = False  # may encoders train on images of removed classes?
    baseline: str | None = None  # a task; with ~0 after it, or "~0" alone: the untrained encoder
    diagnostics: tuple[str, ...] = ()
    outliers: str | None = None  # a data set without images of this one, for diagnostics
    primary: Primary = field(default_factory=Primary)
    chance: float
    ceiling: float = 1.0
    title: str = ""  # for readers; outside the digest
    parent: str | None = None  # digest of the task that this one was derived from

    def __post_init__(self) -> None:
        """Raises BenchError for values that are invalid, alone or together."""

        def require(ok: object, rule: str) -> None:
            if not ok:
                raise BenchError(f"task {self.name!r}: {rule}")

        plan, primary = self.replicates, self.primary
        require(self.version >= 1, "version must be 1 or more")
        families = " or ".join(map(repr, FAMILIES))
        require(
            self.family in FAMILIES, f"family = {self.family!r} is not valid; expected {families}"
        )
        require(primary.metric in METRICS, str(unknown("metric", primary.metric, METRICS)))
        encoder_seeds = plan.encoder_seeds
        require(plan.seeds >= 1, "seeds must be 1 or more")
        require(encoder_seeds is None or encoder_seeds >= 1, "encoder_seeds must be 1 or more")
        require(min(plan.per_class, default=0) >= 0, "per_class must be 0 (all labels) or more")
        require(plan.subsets >= 1, "subsets must be 1 or more")
        drawn = plan.control_seeds
        require(drawn is None or drawn >= 1, "control_seeds must be 1 or more")
        require(drawn is None or plan.controls, "control_seeds needs replicates.controls")
        require(
            primary.interval != "classes" or plan.splits,
            "interval = 'classes' needs replicates.splits",
        )
        most = plan.most(plan.seeds)
        require(most <= MOST_REPLICATES, f"{most} replicates; at most {MOST_REPLICATES} are run")
        require(self.train_limit is None or self.train_limit >= 1, "train_limit must be 1 or more")
        require(
            math.isfinite(self.chance) and math.isfinite(self.ceiling),
            "chance and ceiling must be finite",
        )
        require(self.chance < self.ceiling, "chance must be below the ceiling")
        require(
            set(plan.shifts) <= set(SHIFTS), f"shifts must be among {', '.join(sorted(SHIFTS))}"
        )
        require(not plan.shifts or plan.strengths, "shifts needs replicates.strengths")
        require(
            primary.reduction != "log_area" or len(plan.per_class) >= 2,
            "reduction = 'log_area' needs two or more sizes in replicates.per_class",
        )
        require(
            self.input != "activations" or self.resolved_protocol.arguments.get("blocks"),
            "input = 'activations' needs a protocol with blocks=k",
        )

    @property
    def keeps_counts(self) -> bool:
        """Are its predictions kept as counts by class alone, which do not give the area (AUSUC) again?"""
        has_unseen = bool(self.removed_classes or self.replicates.splits)
        return has_unseen and (self.baseline is not None or self.transductive)

    @property
    def resolved_protocol(self) -> Resolved:
        return resolve("protocols", self.protocol)

    @property
    def digest(self) -> str:
        """Over everything that changes scores, every default filled in; the title is left out."""
        value = dataclasses.asdict(self)
        protocol = self.resolved_protocol
        del value["title"], value["version"], value["name"], value["semantics"]
        if self.outliers is None:
            del value["outliers"]
        if self.replicates.control_seeds is None:
            del value["replicates"]["control_seeds"]
        if self.semantics is not None:  # by its content
            table = read_semantics(self.semantics)
            names = {"classes": table.classes, "attributes": table.attributes}
            value["semantics"] = digest([names, arrays_digest({"table": table.table})])
        value["protocol"] = {"id": protocol.text, "arguments": protocol.arguments}
        return digest(value)

    def derive(self, **changes: Any) -> Task:
        """A changed copy for a study: it names its parent's digest, and has no place on the board."""
        parts = {f.name: changes.pop(f.name) for f in dataclasses.fields(self) if f.name in changes}
        if changes:
            raise unknown(
                "field of a task", next(iter(changes)), [f.name for f in dataclasses.fields(self)]
            )
        child = dataclasses.replace(self, **{"parent": self.digest, **parts})
        return dataclasses.replace(child, name=parts.get("name", f"{self.name}+{child.digest[:8]}"))

    def coords(
        self, *, seeds: int | None, seeded: tuple[bool, bool], per_split: bool
    ) -> Iterator[Coords]:
        """All replicates in order, unshifted before shifted.

        seeds: overrides the task's number. seeded: does the encoder, does the protocol draw random
        numbers? per_split: are encoders retrained for each class split?
        """
        plan = self.replicates
        runs = plan.seeds if seeds is None else seeds
        if runs != plan.seeds and plan.most(runs) > MOST_REPLICATES:
            raise BenchError(
                f"task {self.name!r}: {runs} seeds give {plan.most(runs)} replicates; at most "
                f"{MOST_REPLICATES} are run"
            )
        trainings = min(plan.encoder_seeds or runs, runs)
        pairs = dict.fromkeys(
            (i % trainings if seeded[0] else 0, i if seeded[1] else 0) for i in range(runs)
        )
        sizes: list[int | None] = [n or None for n in plan.per_class] or [None]
        axes = product(
            range(len(plan.splits)) if plan.splits else [None],
            [(n, s) for n in sizes for s in ([None] if n is None else range(plan.subsets))],
            [None, *plan.controls],
            [(None, None), *product(plan.shifts, plan.strengths)],
        )
        for split, (per_class, subset), control, (shift, strength) in axes:
            seed_pairs = pairs
            if control is not None and plan.control_seeds is not None:
                first = next(iter(pairs))[0]
                seed_pairs = dict.fromkeys((first, head) for head in range(plan.control_seeds))
            if per_split and split is not None:
                seed_pairs = dict.fromkeys([(split, head) for _, head in seed_pairs])
            for encoder_seed, head_seed in seed_pairs:
                yield Coords(
                    encoder_seed=encoder_seed,
                    head_seed=head_seed,
                    split=split,
                    per_class=per_class,
                    subset=subset,
                    control=control,
                    shift=shift,
                    strength=strength,
                )
