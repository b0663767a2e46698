"""What cells will take: seconds from what records measured, less what the cache has already.

What no record has measured takes as long as on a reference machine, scaled by the speed of this one.
"""

from __future__ import annotations

import functools
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.naming.specs import Resolved
from bench.progress import duration
from bench.results.record import DataIdentity, EncoderIdentity, Record
from bench.results.status import CellStatus, data_identity
from bench.results.store import Store
from bench.running.cache import Cache, CacheFile
from bench.running.calibration import calibration_seconds, reference_speeds
from bench.tasks.cell import Cell


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a cell's parts, None without a measurement; and what the cache has of it.

    weights: for how many seeds, of how many. features: are there those of all its images?
    calibrated: is a part of it a reference machine's time, scaled by the speed of this one?
    """

    fit: float | None
    extract: float | None
    protocol: float | None
    weights: tuple[int, int]
    features: bool
    calibrated: bool = False

    @property
    def parts(self) -> tuple[float | None, float | None, float | None]:
        return self.fit, self.extract, self.protocol

    @property
    def seconds(self) -> float | None:
        """All parts together; None where one has no measurement."""
        parts = [part for part in self.parts if part is not None]
        return sum(parts) if len(parts) == len(self.parts) else None

    @property
    def basis(self) -> str | None:
        """Where the seconds come from: "earlier runs", "calibration", or None where there are none."""
        if self.seconds is None:
            return None
        return "calibration" if self.calibrated else "earlier runs"


NO_COST = Cost(0.0, 0.0, 0.0, (0, 0), False)  # of a cell whose interval alone is made anew


class Forecast:
    """Speeds of what was measured: each a median, of the same encoder, else of the same kind.

    Training goes by images seen, encoding by images, protocols by replicates times dimension where the
    same task was measured here, or else on the reference machine: small tasks say little of large ones.
    Others go by training rows times dimension.

    slowness: how many times as long this machine takes as the reference machine, asked for at most once,
    and only for what no record has measured; None: that has no forecast. data: the identities of
    data sets that are not of the package.
    """

    def __init__(
        self,
        records: Iterable[Record],
        files: Iterable[CacheFile],
        *,
        slowness: Callable[[], float] | None = None,
        data: Mapping[str, DataIdentity] | None = None,
    ) -> None:
        self._slowness = None if slowness is None else functools.cache(slowness)
        self._own_data = data or {}
        self.speeds: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.facts: dict[str, EncoderIdentity] = {}
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
                    self.speeds[part, key].append(float(seconds[spent] / amount))
        for key in (encoder.id, _kind(encoder.id)):
            self.facts.setdefault(key, encoder)
        self._data[record.data.id] = record.data

    @classmethod
    def of(cls, store: Store, cache: Cache, data: Mapping[str, DataIdentity]) -> Forecast:
        """From the records of a results folder and the files of a cache, and the speed of this machine."""
        records = store.readable()
        return cls(records, cache.entries(), slowness=slowness, data=data)

    def costs(self, due: Iterable[CellStatus], *, seeds: int | None) -> list[Cost]:
        """What cells that must be run will take, one after the other."""
        return [NO_COST if s.rescored else self.cost(s.cell, seeds=seeds) for s in due]

    def cost(self, cell: Cell, *, seeds: int | None = None) -> Cost:
        """What `cell` will take after the cells of earlier calls, with which it shares fits."""
        encoder, task = cell.encoder, cell.task
        if not isinstance(encoder, Resolved):
            return Cost(None, None, None, (0, 0), False)
        facts = self.facts.get(encoder.text) or self.facts.get(_kind(encoder.text))
        self._calibrated, training = False, f"({encoder.entry.training})"
        data = self._about(task.dataset)
        source = self._about(encoder.source) if encoder.source else data
        trained = encoder.entry.training != "none" and encoder.budget != 0
        seeded = facts.seeded if facts else encoder.entry.training == "budget"
        runs = (seeds or task.replicates.seeds) if seeded else 1
        # Is it trained anew for class splits?
        split = trained and encoder.source is None and not task.transductive
        coords = list(task.coords(seeds=runs, seeded=(True, True), per_split=split))
        fits = len({at.encoder_seed for at in coords})
        splits = task.replicates.splits if split else ()
        dim, rows = facts.dim if facts else None, data.rows
        if dim is None and self._slowness is not None:
            dim = round(_reference("dim", encoder.text, training) or 0) or None
        places = (encoder.source or task.dataset, f"features of {task.dataset}")
        begun = [(encoder.training_digest, f"{place} {splits}") for place in places]
        fitted, encoded = (key in self._begun for key in begun)
        self._begun.update(begun)
        trained_seeds = len(self._weights[encoder.training_digest, source.digest])
        needed = fits if trained else 0
        passes = self._features[encoder.training_digest, data.digest]
        features = len(passes) >= 3 * fits
        seen = encoder.budget or source.rows.get("train")
        missing = 0 if fitted else max(0, needed - trained_seeds)
        fit = self._seconds("fit", encoder.text, seen, missing, training)
        passed = 0 if features or encoded else fits
        extract = self._seconds("extract", encoder.text, sum(rows.values()), passed, training)
        work = None if dim is None or "train" not in rows else rows["train"] * dim
        replicates, protocol_text = len(coords), task.resolved_protocol.text
        protocol = self._measured("task", task.name, dim, replicates)
        if protocol is None:
            protocol = self._scaled("task", task.name, dim, replicates)
        if protocol is None:
            protocol = self._measured("protocol", protocol_text, work, runs)
        if protocol is None:
            protocol = self._scaled("protocol", protocol_text, work, runs, "(any)")
        weights = min(trained_seeds, needed), needed
        return Cost(fit, extract, protocol, weights, features, self._calibrated)

    def _about(self, dataset: str) -> DataIdentity:
        identity = self._own_data.get(dataset) or data_identity(dataset)
        return identity if identity.digest else self._data.get(identity.id, identity)

    def _seconds(
        self, part: str, name: str, amount: int | None, times: int, similar: str
    ) -> float | None:
        measured = self._measured(part, name, amount, times)
        return self._scaled(part, name, amount, times, similar) if measured is None else measured

    def _measured(self, part: str, name: str, amount: int | None, times: int) -> float | None:
        if times == 0:
            return 0.0
        speeds = self.speeds.get((part, name)) or self.speeds.get((part, _kind(name)))
        return statistics.median(speeds) * amount * times if speeds and amount else None

    def _scaled(
        self, part: str, name: str, amount: int | None, times: int, *similar: str
    ) -> float | None:
        """By the reference machine's times of `name`, else of its kind, else of `similar` ones."""
        speed = _reference(part, name, *similar)
        if self._slowness is None or speed is None or not amount:
            return None
        self._calibrated = True
        return speed * amount * times * self._slowness()


def _kind(text: str) -> str:
    """The component's name without arguments; text that is not a spec is its own kind."""
    return text.partition(",")[0].partition("@")[0].partition("~")[0]


def _reference(part: str, name: str, *similar: str) -> float | None:
    """The number of `name`, else of its kind, else of the first of `similar` that has one."""
    numbers = reference_speeds()[part]
    return next((numbers[key] for key in (name, _kind(name), *similar) if key in numbers), None)


def slowness() -> float:
    """How many times as long this machine takes now as the reference machine; measured in a second."""
    return calibration_seconds() / reference_speeds()["calibration"]["seconds"]


def estimate_text(costs: Sequence[Cost]) -> str:
    """The seconds of all cells together in words, and what they rest on."""
    seconds, unknown = total(costs)
    calibrated = sum(cost.calibrated for cost in costs)
    if unknown == len(costs):
        return "no estimate, since nothing similar has been measured"
    words = f"about {duration(seconds)}, estimated from "
    if calibrated:
        words += "the speed of this machine and times measured on another"
        words += f" ({calibrated} of them) and from " if calibrated + unknown < len(costs) else ""
    if calibrated + unknown < len(costs):
        words += "earlier runs"
    return words + (f"; no estimate for {unknown} of them" if unknown else "")


def total(costs: Sequence[Cost]) -> tuple[float, int]:
    """Seconds of all measured parts together, and how many cells have a part without a measurement."""
    seconds = sum(part or 0.0 for cost in costs for part in cost.parts)
    return seconds, sum(None in cost.parts for cost in costs)
