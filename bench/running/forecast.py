"""What cells will take: seconds from what records measured, less what the cache has already."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.naming.specs import Resolved
from bench.results.record import DataIdentity, EncoderIdentity, Record
from bench.results.status import data_identity
from bench.running.cache import CacheFile
from bench.tasks.cell import Cell


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a cell's parts, None without a measurement; and what the cache has of it.

    weights: for how many seeds, of how many. features: are there those of all its images?
    """

    fit: float | None
    extract: float | None
    protocol: float | None
    weights: tuple[int, int]
    features: bool

    @property
    def parts(self) -> tuple[float | None, float | None, float | None]:
        return self.fit, self.extract, self.protocol


class Forecast:
    """Speeds of what was measured: each a median, of the same encoder, else of the same kind.

    Training goes by images seen, encoding by images, protocols by replicates times dimension where the
    same task was measured, else by training rows times dimension.
    """

    def __init__(self, records: Iterable[Record], files: Iterable[CacheFile]) -> None:
        self._speeds: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._facts: dict[str, EncoderIdentity] = {}
        self._data: dict[str, DataIdentity] = {}
        for record in records:
            if record.status == "ok":
                self._learn(record)
        self._weights: dict[tuple[Any, Any], set[Any]] = defaultdict(set)
        self._features: dict[tuple[Any, Any], set[Any]] = defaultdict(set)
        for entry in files:
            key, seed = (
                (entry.notes.get("training"), entry.notes.get("data")),
                entry.notes.get("seed"),
            )
            if entry.kind == "weights":
                self._weights[key].add(seed)
            else:
                self._features[key].add((seed, entry.notes.get("split")))
        self._begun: set[tuple[str, str]] = set()

    def _learn(self, record: Record) -> None:
        encoder, seconds, fits = record.encoder, record.seconds, max(1, len(record.training))
        dim, rows = encoder.dim or 0, sum(record.data.rows.values())
        seen = sum(fit.images_seen or fit.images for fit in record.training)
        work = sum(replicate.n_train for replicate in record.replicates) * dim
        speeds = [
            ("fit", encoder.id, "fit", seen),
            ("extract", encoder.id, "extract", rows * fits),
            ("protocol", record.protocol.id, "protocol", work),
            ("task", record.task.id, "protocol", len(record.replicates) * dim),
        ]
        for part, name, spent, amount in speeds:
            if amount and spent in seconds:
                for key in {name, _kind(name)}:
                    self._speeds[part, key].append(float(seconds[spent] / amount))
        for key in (encoder.id, _kind(encoder.id)):
            self._facts.setdefault(key, encoder)
        self._data[record.data.id] = record.data

    def cost(self, cell: Cell, *, seeds: int | None = None) -> Cost:
        """What `cell` will take after the cells of earlier calls, with which it shares fits."""
        encoder, task = cell.encoder, cell.task
        if not isinstance(encoder, Resolved):
            return Cost(None, None, None, (0, 0), False)
        facts = self._facts.get(encoder.text) or self._facts.get(_kind(encoder.text))
        data = self._about(task.dataset)
        source = self._about(encoder.source) if encoder.source else data
        trained = encoder.entry.training != "none" and encoder.budget != 0
        seeded = facts.seeded if facts else encoder.entry.training == "budget"
        runs = (seeds or task.replicates.seeds) if seeded else 1
        dim, rows = facts.dim if facts else None, data.rows
        fitted, encoded = (
            (encoder.training_digest, where) in self._begun
            for where in (encoder.source or task.dataset, f"features of {task.dataset}")
        )
        self._begun |= {
            (encoder.training_digest, encoder.source or task.dataset),
            (encoder.training_digest, f"features of {task.dataset}"),
        }
        trained_seeds = len(self._weights[encoder.training_digest, source.digest])
        needed = runs if trained else 0
        passes = self._features[encoder.training_digest, data.digest]
        features = len(passes) >= 3 * runs
        seen = encoder.budget or source.rows.get("train")
        fit = self._seconds("fit", encoder.text, seen, max(0, needed - trained_seeds))
        extract = self._seconds(
            "extract", encoder.text, sum(rows.values()), 0 if features else runs
        )
        work = None if dim is None or "train" not in rows else rows["train"] * dim
        plan = task.coords(seeds=runs, seeded=(True, True), per_split=False)
        protocol = self._seconds("task", task.name, dim, len(list(plan)))
        if protocol is None:
            protocol = self._seconds("protocol", task.resolved_protocol.text, work, runs)
        fit, extract = 0.0 if fitted else fit, 0.0 if encoded else extract
        return Cost(fit, extract, protocol, (min(trained_seeds, needed), needed), features)

    def _about(self, dataset: str) -> DataIdentity:
        identity = data_identity(dataset)
        return identity if identity.digest else self._data.get(identity.id, identity)

    def _seconds(self, part: str, name: str, amount: int | None, times: int) -> float | None:
        if times == 0:
            return 0.0
        speeds = self._speeds.get((part, name)) or self._speeds.get((part, _kind(name)))
        return statistics.median(speeds) * amount * times if speeds and amount else None


def _kind(text: str) -> str:
    """The component's name without arguments; text that is not a spec is its own kind."""
    return text.partition(",")[0].partition("@")[0].partition("~")[0]


def total(costs: Sequence[Cost]) -> tuple[float, int]:
    """Seconds of all measured parts together, and how many cells have a part without a measurement."""
    seconds = sum(part or 0.0 for cost in costs for part in cost.parts)
    return seconds, sum(None in cost.parts for cost in costs)
