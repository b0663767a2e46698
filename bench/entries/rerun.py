"""Cells of records that are run again, and what differs.

Predictions that agree with their record may still be made up: only running the encoder tells. Run is what
needs no code of others: specs of this package, and networks and features in files that lie in the entry or
in a folder of the maintainers' own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.data.samples import Array
from bench.datasets.base import DataSets, data_root
from bench.digests import file_digest
from bench.entries.entry import FILE, MOST_WEIGHTS, WeightsFile, read_entry
from bench.entries.folder import listing
from bench.entries.remark import Remark
from bench.errors import BenchError
from bench.files.reading import read_bytes
from bench.files.writing import write_atomically
from bench.naming.grammar import Spec, escape, format_budget, split_name
from bench.naming.readings import settable
from bench.naming.registry import find
from bench.naming.specs import Resolved, resolve
from bench.progress import Tell
from bench.results.own_tasks import available_tasks
from bench.results.record import Record
from bench.results.store import Store
from bench.running.cache import Cache
from bench.running.executor import run_cells
from bench.running.machine import chosen_device
from bench.seeding import generator
from bench.tasks.cell import Cell
from bench.tasks.task import Task

SHARE = (
    0.002  # of the range from chance to ceiling, that a score may differ by without random training
)
EQUAL_ROWS = 0.95  # of the predicted classes, at least, without random training


@dataclass(frozen=True, slots=True)
class Machine:
    """Where cells are run: data root (None: the usual one), cache (None: an empty one), PyTorch's device
    (None: a GPU where there is one), and a folder with files of weights that lie in no entry."""

    data: str | None = None
    cache: Path | None = None
    device: str | None = None
    weights: Path | None = None


@dataclass(frozen=True, slots=True)
class CellRerun:
    """One cell: file and digest of its record, the primary scores of both, their difference, the largest
    that is allowed, and the share of equal predicted classes (None: no classes are stored)."""

    file: str
    digest: str
    recorded: float
    value: float
    difference: float
    tolerance: float
    equal_rows: float | None
    agrees: bool

    def __str__(self) -> str:
        rows = "" if self.equal_rows is None else f", {100 * self.equal_rows:.2f} % equal classes"
        return (
            f"{self.file}: {self.value:.6g}, difference {self.difference:+.6f} "
            f"(tolerance {self.tolerance:.6f}){rows}"
        )


@dataclass(slots=True)
class Rerun:
    """Cells that were run again, what of them contradicts their records, and which could not be run."""

    cells: list[CellRerun] = field(default_factory=list)
    findings: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)


def rerun(
    path: Path,
    count: int,
    *,
    seed: int = 0,
    machine: Machine = Machine(),
    tell: Tell = lambda line: None,
) -> Rerun:
    """Run `count` cells of the ok records below `path` again, drawn at random by `seed` from those that
    can be run here; nothing that an earlier run has kept answers for them.

    Raises BenchError for a folder without records, a missing data root, and a device that is not here.
    """
    found, result = listing(path), Rerun()
    if machine.device is not None:
        chosen_device(machine.device)
    store = Store(found.root)
    tasks, datasets = available_tasks(store), DataSets(data_root(machine.data))
    order = generator(seed, "cells that are run again").permutation(len(found.records))
    tell(f"{count} of {len(order)} records are drawn by seed {seed}")
    with TemporaryDirectory() as folder:
        scratch = Path(folder)
        cache = Cache(machine.cache or scratch / "cache")
        for number in order:
            if len(result.cells) == count:
                break
            file = found.records[number]
            where = file.relative_to(store.root).as_posix()
            try:
                record = store.read(file)
                if record.status != "ok":
                    continue
                if record.task.id not in tasks:
                    raise BenchError(f"task {record.task.id!r:.80} is not here")
                stored, task = store.predictions(record), tasks[record.task.id]
                spec = runnable(record, file.parent, machine.weights, scratch)
                fresh, arrays = _run(Cell(task, spec), record, datasets, cache, machine, tell)
            except BenchError as error:
                text = str(error).replace(f"{scratch}{os.sep}", "")
                result.notes.append(Remark(where, "", f"not run again: {text}"))
                continue
            result.cells.append(_compared(where, record, fresh, task, stored, arrays))
            result.findings += _findings(result.cells[-1])
    if len(result.cells) < count:
        message = f"{len(result.cells)} of {count} cells could be run again"
        result.notes.append(Remark("", "", message))
    return result


def runnable(record: Record, folder: Path, weights: Path | None, scratch: Path) -> Resolved:
    """The record's encoder with the files that it needs, from its entry's `folder` or from `weights`.

    Raises BenchError where it cannot be run: it is not of this package, a file is elsewhere or another.
    """
    name, _ = split_name(record.encoder.id)
    if name.endswith(".py"):
        raise BenchError("its encoder is a Python file of its user")
    keys = {k for k, p in settable(find("encoders", name)).items() if "Path" in p.annotation}
    spec = Spec.parse(record.encoder.id, keys)
    digests = record.encoder.arguments or {}
    paths = {}
    for key in keys & spec.arguments.keys():
        file = _file(spec.arguments[key], folder, weights, scratch)
        if file_digest(file) != digests.get(key):
            raise BenchError(f"{file.name} is another file than that of the record")
        paths[key] = str(file)
    resolved = resolve("encoders", _text(replace(spec, arguments={**spec.arguments, **paths})))
    if resolved.local and not paths:
        raise BenchError("its encoder needs files of its user")
    if resolved.identity["digest"] != record.encoder.digest:
        raise BenchError("its encoder has changed since")
    return resolved


def _text(spec: Spec) -> str:
    """A spec as `Spec.parse` reads it."""
    arguments = "".join(f",{key}={escape(value)}" for key, value in spec.arguments.items())
    source = "" if spec.source is None else f"@{escape(spec.source)}"
    budget = "" if spec.budget is None else f"~{format_budget(spec.budget)}"
    return spec.name + arguments + source + budget


def _file(name: str, folder: Path, weights: Path | None, scratch: Path) -> Path:
    """A file or folder of this name: what lies in the entry is copied, so that no link is followed."""
    if name in ("", ".", "..") or os.path.basename(name) != name:
        raise BenchError(f"{name!r:.80} is no name of a file")
    listed = dict[str, WeightsFile]()
    with suppress(BenchError):
        listed = {part.name: part for part in read_entry(folder / FILE).weights}
    if os.path.lexists(folder / name):
        content = read_bytes(folder / name, "weights", most=MOST_WEIGHTS, links=False)
        copy = scratch / hashlib.sha256(content).hexdigest() / name
        write_atomically(copy, content)
        return copy
    if weights is None:
        raise BenchError(
            f"{name} does not lie in the entry; name a folder that has it by --weights"
        )
    path = weights / name
    if not path.exists():
        path = _gathered(scratch / "gathered" / folder.parent.name / name, weights, listed)
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        _check_sha256(file, listed)
    return path


def _gathered(target: Path, weights: Path, listed: Mapping[str, WeightsFile]) -> Path:
    """A folder of those files that entry.toml lists, which lie in `weights` side by side."""
    if missing := [name for name in listed if not (weights / name).is_file()]:
        raise BenchError(f"{weights} has no {missing[0]}")
    if not listed:
        raise BenchError(f"{weights} has no {target.name}")
    if not target.exists():
        target.mkdir(parents=True)
        for name in listed:
            try:
                os.link(weights / name, target / name)
            except OSError:  # another disk
                shutil.copyfile(weights / name, target / name)
    return target


def _check_sha256(file: Path, listed: Mapping[str, WeightsFile]) -> None:
    if file.name not in listed:
        return
    with file.open("rb") as handle:
        sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
    if sha256 != listed[file.name].sha256:
        raise BenchError(f"{file} has another sha256 than entry.toml says")


def _run(
    cell: Cell, record: Record, datasets: DataSets, cache: Cache, machine: Machine, tell: Tell
) -> tuple[Record, Mapping[str, Array]]:
    """The cell's new record and predictions. Raises BenchError where it could not be run."""
    seeds = record.measured.get("seeds")
    possible = isinstance(seeds, int) and 1 <= seeds <= len(record.replicates)
    outcome = run_cells(
        [cell],
        datasets,
        cache=cache,
        seeds=seeds if possible else None,
        device=machine.device,
        tell=tell,
    )
    [fresh] = outcome.records
    if fresh.status != "ok":
        raise BenchError(f"{fresh.status}: {fresh.reason}")
    if fresh.data.digest != record.data.digest:
        raise BenchError("its data here are others")
    return fresh, outcome.predictions[cell]


def _compared(
    where: str,
    record: Record,
    fresh: Record,
    task: Task,
    stored: Mapping[str, Array],
    arrays: Mapping[str, Array],
) -> CellRerun:
    old, new = record.score, fresh.score
    if draws_random_numbers(fresh):
        tolerance = (old.high - old.low) / 2
    else:
        tolerance = SHARE * abs(task.ceiling - task.chance)
    names = [name for name in stored if name.endswith("/class") and name in arrays]
    equal = [stored[n] == arrays[n] for n in names if stored[n].shape == arrays[n].shape]
    share = float(np.mean(np.concatenate(equal))) if equal else None
    rows_agree = share is None or share >= EQUAL_ROWS or draws_random_numbers(fresh)
    difference = new.value - old.value
    return CellRerun(
        file=where,
        digest=record.digest,
        recorded=old.value,
        value=new.value,
        difference=difference,
        tolerance=tolerance,
        equal_rows=share,
        agrees=bool(abs(difference) <= tolerance and rows_agree),
    )


def draws_random_numbers(fresh: Record) -> bool:
    """Does the training of encoder or heads, by the new record? The old one may say anything."""
    seeds = {(r.coords.encoder_seed, r.coords.head_seed) for r in fresh.replicates}
    return bool(fresh.encoder.seeded) or len(seeds) > 1


def _findings(cell: CellRerun) -> Iterator[Remark]:
    if abs(cell.difference) > cell.tolerance:
        message = (
            f"rerun gives {cell.value:.6g}, the record says {cell.recorded:.6g} "
            f"(tolerance {cell.tolerance:.6g})"
        )
        yield Remark(cell.file, "primary.value", message)
    elif cell.equal_rows is not None and not cell.agrees:
        message = (
            f"rerun gives {100 * cell.equal_rows:.2f} % of the classes that are stored "
            f"({100 * EQUAL_ROWS:.0f} % are needed)"
        )
        yield Remark(cell.file, "predictions", message)
