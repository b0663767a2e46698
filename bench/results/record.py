"""The record of a cell: one encoder on one task, with everything needed to score it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from bench.digests import digest
from bench.errors import BenchError
from bench.results.layout import NULLABLE, OPTIONAL, from_json, of_accepted, to_json
from bench.tasks.task import MOST_REPLICATES, Coords

SCHEMA = "reptransfer.record/1"

Revisions = Mapping[str, int]
Status = Literal["ok", "declined", "failed"]
Kind = Literal["classes", "binary", "number"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderIdentity:
    """Which encoder; of a spec what it resolves to, and of a fitted one its features and size."""

    id: str
    version: int
    digest: str
    group: str
    arguments: Mapping[str, Any] | None = field(default=None, metadata=OPTIONAL)
    revisions: Revisions | None = field(default=None, metadata=OPTIONAL)
    content: str | None = field(default=None, metadata=OPTIONAL)
    files: Mapping[str, str] | None = field(
        default=None, metadata=OPTIONAL
    )  # digests of the files that it opened while it was built
    level: str | None = field(default=None, metadata=NULLABLE)
    source: str | None = field(default=None, metadata=NULLABLE)
    budget: int | None = field(default=None, metadata=NULLABLE)
    depends: Mapping[str, str] | None = field(default=None, metadata=OPTIONAL)
    read_out: str | None = field(
        default=None, metadata=OPTIONAL
    )  # the level whose features are used
    dim: int | None = field(default=None, metadata=OPTIONAL)
    parameters: int | None = field(default=None, metadata=OPTIONAL)
    pretrained_on: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)
    unlabelled: tuple[str, ...] | None = field(
        default=None, metadata=OPTIONAL
    )  # those of `pretrained_on` whose labels were not used
    seeded: bool | None = field(
        default=None, metadata=OPTIONAL
    )  # does its training draw random numbers?
    start: str | None = field(
        default=None, metadata=OPTIONAL
    )  # digest of its weights before training
    built: str | None = field(
        default=None, metadata=OPTIONAL
    )  # of a file of the user's own: digest of what it builds

    def to_json(self) -> dict[str, Any]:
        """A spec's level, source and budget are written where they are None too."""
        values: dict[str, Any] = to_json(self)
        if self.arguments is not None:
            values |= {"level": self.level, "source": self.source, "budget": self.budget}
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskIdentity:
    """Which task, and by what revisions of scores; `parent`: digest of the task it is derived from."""

    id: str
    version: int
    digest: str
    family: str
    parent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataIdentity:
    """Which images: their fingerprint (None: absent), rows by split, test images also in train."""

    id: str
    version: int
    digest: str | None
    rows: Mapping[str, int]
    test_in_train: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolIdentity:
    """Which protocol, its arguments, and the revisions of the modules that it depends on."""

    id: str
    version: int
    digest: str
    arguments: Mapping[str, Any]
    revisions: Revisions
    content: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicate:
    """One run of a cell: its scores by target (and "target:variant") and metric.

    n_train: training rows with a granted label; report: what the protocol says of its fit.
    """

    coords: Coords
    status: Literal["ok", "failed"]
    n_train: int
    scores: Mapping[str, Mapping[str, float]]
    report: Mapping[str, Any]
    reason: str | None = field(default=None, metadata=OPTIONAL)

    def score(self, metric: str, target: str | None) -> float:
        """A metric of one target, or its mean over all of them (None).

        Raises BenchError where the metric is missing.
        """
        names = [target] if target else [name for name in self.scores if ":" not in name]
        values = [self.scores.get(name, {}).get(metric) for name in names]
        numbers = [value for value in values if value is not None]
        if not numbers or len(numbers) < len(values):
            raise BenchError(f"a replicate has no {metric} of {target or 'every target'}")
        return float(numbers[0] if len(numbers) == 1 else np.mean(numbers))


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimaryScore:
    """A cell's own score with its 95 % interval; target None: the mean over targets."""

    metric: str
    target: str | None
    reduction: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """A `FitReport`, the digest of the training, and how many images it was given."""

    key: str
    images_seen: int
    steps: int
    terms: Mapping[str, float]
    notes: Mapping[str, Any]
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPredictions:
    """Kind and size of each target; once written, the file, the digest of its arrays, the encoding."""

    kinds: Mapping[str, tuple[Kind, int]]
    file: str | None = field(default=None, metadata=OPTIONAL)
    digest: str | None = field(default=None, metadata=OPTIONAL)
    encoding: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One JSON file."""

    owner: str
    encoder: EncoderIdentity
    task: TaskIdentity
    data: DataIdentity
    protocol: ProtocolIdentity
    status: Status
    reason: str | None = None
    supervision: str | None = None
    replicates: tuple[Replicate, ...] = ()
    primary: PrimaryScore | None = None
    training: tuple[TrainingReport, ...] = ()  # one per fitted encoder
    tuning: Mapping[str, Any] | None = None  # what the protocol's `select` chose, once a cell
    diagnostics: tuple[Mapping[str, float | None], ...] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)  # seconds, memory, machine: no digest
    predictions: StoredPredictions | None = None

    @property
    def name(self) -> str:
        """Its cell, for messages."""
        return f"{self.encoder.id} on {self.task.id}"

    @property
    def score(self) -> PrimaryScore:
        """The primary score. Raises BenchError where there is none."""
        if self.primary is None:
            raise BenchError(f"{self.name} is {self.status}: {self.reason}")
        return self.primary

    @property
    def seconds(self) -> Mapping[str, float]:
        """Of its parts and in `total`, where they were measured."""
        seconds: Mapping[str, float] = self.measured.get("seconds", {})
        return seconds

    @property
    def digest(self) -> str:
        """Over everything but what was measured: equal for equal runs."""
        return digest({**self.to_json(), "measured": {}})

    def to_json(self) -> dict[str, Any]:
        """What is written, without its own digest."""
        return {"schema": SCHEMA, **to_json(self), "encoder": self.encoder.to_json()}

    @classmethod
    def of_accepted(cls, value: Mapping[str, Any]) -> Record:
        """What `from_json` gives of a value that it has taken before."""
        written = {k: v for k, v in value.items() if k not in ("schema", "digest")}
        return of_accepted(cls, written)

    @classmethod
    def from_json(cls, value: object, where: str) -> Record:
        """Check and take what `to_json` gave. Raises BenchError naming `where` otherwise."""
        schema = value.get("schema") if isinstance(value, dict) else type(value).__name__
        if not isinstance(value, dict) or schema != SCHEMA:
            raise BenchError(f"{where}: unknown schema {schema!r:.80} ({SCHEMA} is read)")
        written = {k: v for k, v in value.items() if k not in ("schema", "digest")}
        record = from_json(cls, written, where)
        _check(record, where)
        spec = _SPEC.intersection(written["encoder"])
        if spec not in (_SPEC, frozenset()):
            raise BenchError(
                f"{where}: encoder has {', '.join(sorted(spec))} alone of a spec's fields"
            )
        current = digest({"schema": SCHEMA, **written, "measured": {}})
        if value.get("digest") not in (None, current):
            raise BenchError(f"{where}: its content does not match its digest")
        return record


# Far beyond all that a run writes: names of data sets, classes of a target, seconds (300 years).
_MOST_SOURCES, _MOST_CLASSES, _MOST_SECONDS = 100, 10**6, 1e10
_FITTED = ("read_out", "dim", "parameters", "pretrained_on", "seeded")
_SPEC = frozenset({"arguments", "revisions", "depends", "level", "source", "budget"})


def _check(record: Record, where: str) -> None:
    """Raise BenchError for what no run writes, though every part of it is of its type."""

    def require(ok: bool, message: str) -> None:
        if not ok:
            raise BenchError(f"{where}: {message}")

    counts = [record.encoder.dim, record.encoder.parameters, *record.data.rows.values()]
    counts += [replicate.n_train for replicate in record.replicates]
    counts += [n for training in record.training for n in (training.images_seen, training.images)]
    require(min((n for n in counts if n is not None), default=0) >= 0, "a count is negative")
    lists = max(map(len, (record.replicates, record.training, record.diagnostics)))
    require(
        lists <= MOST_REPLICATES, f"it has {lists} replicates; at most {MOST_REPLICATES} are read"
    )
    absent = set(record.encoder.unlabelled or ()) - set(record.encoder.pretrained_on or ())
    require(
        not absent, f"unlabelled has {min(absent, default='')!r:.80}, which pretrained_on lacks"
    )
    sources = len(record.encoder.pretrained_on or ())
    require(sources <= _MOST_SOURCES, f"pretrained_on has {sources} names; at most {_MOST_SOURCES}")
    kinds = record.predictions.kinds if record.predictions else {}
    require(
        all(0 < size <= _MOST_CLASSES for _, size in kinds.values()),
        f"a target of its predictions has no size of 1 to {_MOST_CLASSES}",
    )
    read = {k: record.measured.get(k, default) for k, default in (("seconds", {}), ("seeds", None))}
    from_json(_Measured, read, f"{where}: measured")
    require(
        all(0 <= seconds <= _MOST_SECONDS for seconds in record.seconds.values()),
        f"its seconds are not 0 to {_MOST_SECONDS:g}",
    )
    fitted = [getattr(record.encoder, name) is not None for name in _FITTED]
    require(all(fitted) or not any(fitted), f"encoder needs all of {', '.join(_FITTED)}, or none")
    if record.status != "ok":
        return
    primary = record.primary
    if primary is None:
        raise BenchError(f"{where}: an ok record needs a primary score")
    inside = primary.low <= primary.value <= primary.high
    require(inside, "the primary score lies outside its interval")
    require(record.encoder.read_out is not None, "an ok record needs its encoder's read_out")
    require(bool(kinds), "an ok record needs predictions")
    ok = [replicate.status == "ok" for replicate in record.replicates]
    require(bool(ok) and all(ok), "an ok record needs replicates that are all ok")
    require(
        {"train", "val", "test"} <= set(record.data.rows), "an ok record needs rows of all splits"
    )
    require(record.data.rows["test"] > 0, "an ok record needs test rows")
    require("total" in record.seconds, "an ok record needs its total of seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """What is read of `Record.measured`."""

    seconds: Mapping[str, float]
    seeds: int | None
