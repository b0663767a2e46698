"""An encoder of anybody's own becomes an entry: run, put into a folder, checked, compared."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.datasets.base import DataSets, data_root
from bench.entries import pull_request
from bench.entries.assembly import Place, assemble, weights_files, without_places
from bench.entries.declaration import has_seen
from bench.entries.entry import FILE, Entry
from bench.entries.export import (
    Export,
    Form,
    check_exportable,
    export,
    has_code,
    learns,
    training_arguments,
)
from bench.entries.owners import check_owner
from bench.entries.verify import Verdict, verify
from bench.errors import BenchError, printable
from bench.naming.grammar import escape
from bench.naming.specs import Resolved, resolve
from bench.progress import Reporter, Tell
from bench.report.leaderboard import update_boards
from bench.results.own_names import OwnNames
from bench.results.record import Record
from bench.results.status import identities, why_stale
from bench.results.store import EXPORTS, Store, is_reserved
from bench.running.cache import Cache, cache_root
from bench.running.executor import run_cells
from bench.running.forecast import Forecast
from bench.tasks.cell import Cell
from bench.tasks.files import load, select, suite
from bench.tasks.task import Task

DEFAULT = "core"  # suite


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an author says of an entry, for a new entry.toml; None and empty: nothing yet. Of the data sets
    of its training those are added that are known without being named."""

    title: str = ""
    authors: tuple[str, ...] = ()
    contact: str = ""
    licence: str = ""
    paper: str | None = None
    code: str | None = None
    trained_with_labels: tuple[str, ...] = ()
    trained_without_labels: tuple[str, ...] = ()

    @property
    def trained_on(self) -> tuple[str, ...]:
        return (*self.trained_with_labels, *self.trained_without_labels)

    def entry(self, with_labels: Sequence[str], without: Sequence[str], hardware: str) -> Entry:
        """entry.toml before it is filled in, without weights; `with_labels`, `without`: data sets of its
        training, as far as they are known."""
        declared = self.trained_on
        return Entry(
            title=self.title,
            authors=self.authors,
            contact=self.contact,
            licence=self.licence,
            hardware=hardware,
            trained_with_labels=_and_new(self.trained_with_labels, with_labels, declared),
            trained_without_labels=_and_new(self.trained_without_labels, without, declared),
            paper=self.paper,
            code=self.code,
        )


def _and_new(
    first: Sequence[str], further: Sequence[str], declared: Sequence[str]
) -> tuple[str, ...]:
    """Names, each once, and those of `further` that are not declared."""
    return tuple(dict.fromkeys([*first, *(name for name in further if name not in declared)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Results of runs, the results folder that the entry is for, data (None: the usual root), cache."""

    results: Path
    into: Path
    data: str | None = None
    cache: str | None = None


@dataclass(slots=True)
class Entered:
    """What became of it: the entry's place, what `verify` says, how it stands, the tasks that have no row
    and why; has a cell failed?"""

    place: Place
    entry: Entry
    verdict: Verdict
    standings: pull_request.Standings
    left_out: dict[str, str] = field(default_factory=dict)
    failed: bool = False

    @property
    def findings(self) -> bool:
        """Is something left to mend?"""
        return self.failed or bool(self.verdict.findings)


def enter(
    text: str,
    *,
    owner: str,
    suite_name: str | None,
    tasks: Sequence[str],
    form: Form | None,
    folders: Folders,
    facts: Facts,
    tell: Tell,
) -> Entered:
    """Make the entry of an encoder, given by its spec, a Python file or an ONNX file, on the tasks of a
    suite (None: core), or on those of the names `tasks`, which may be patterns.

    What is wrong with names, files and folders is told before any long work, as BenchError. An entry that
    is there already gets new rows in place of those on the same tasks.
    """
    store, into = Store(folders.results), Store(folders.into)
    check_owner(owner, others=_owners(into))
    spec = _encoder(text, form, facts)
    chosen = _tasks(suite_name, tasks)
    data = DataSets(data_root(folders.data))
    cache = Cache(cache_root(folders.cache))
    place = Place(into, owner, "encoder" if form else spec.text)
    place.check()
    store.check_writable()
    exported: Export | None = None
    if form is not None:
        with Reporter(tell):
            exported = export(
                spec,
                form,
                chosen,
                data,
                folder=store.root / EXPORTS,
                cache=cache,
                with_labels=facts.trained_with_labels,
                without_labels=facts.trained_without_labels,
                tell=tell,
            )
        spec = resolve("encoders", exported.spec)
        place = replace(place, encoder=spec.text)
    place.check()
    files = _weights(spec)
    former = place.entry()
    chosen = [*chosen, *_outdated(place, spec, chosen, tell)]
    labelled = former.trained_with_labels if former else facts.trained_with_labels
    if exported is not None and former is None:
        labelled = (*labelled, *exported.with_labels)
    seen = [task for task in chosen if has_seen(labelled, task)]
    records = _run(spec, [task for task in chosen if task not in seen], store, data, cache, tell)
    update_boards(store)
    folders_here = _folders_of_machine(folders, data)
    ok = [without_places(record, folders_here) for record in records if record.status == "ok"]
    left_out = {r.task.id: f"{r.status}: {r.reason}" for r in records if r.status != "ok"}
    left_out |= dict.fromkeys((t.name for t in seen), "declined: its unseen classes were seen")
    if not ok:
        raise BenchError(f"no task could be run: {': '.join(next(iter(left_out.items())))}")
    blank = facts.entry(*_training(spec, exported, ok), _hardware(ok[0]))
    for line in assemble(place, ok, store, files, blank):
        tell(line)
    if former is not None and facts != Facts():
        tell(f"{place.folder / FILE} stays as it is: edit it there")
    entry = place.entry()
    assert entry is not None
    with Reporter(tell):
        verdict = verify(place.folder)
        standings = pull_request.standings(place, suite(suite_name or DEFAULT).overall)
    failed = any(record.status == "failed" for record in records)
    return Entered(place, entry, verdict, standings, left_out, failed)


def _owners(store: Store) -> list[str]:
    if not store.root.is_dir():
        return []
    return [p.name for p in store.root.iterdir() if p.is_dir() and not is_reserved(p.name)]


def _encoder(text: str, form: Form | None, facts: Facts) -> Resolved:
    """The encoder of a spec or a file, whose arguments say what it was trained on as its author does where
    the spec does not. Raises BenchError for one that cannot enter as it is meant to."""
    if text.endswith(".onnx") and os.path.isfile(os.path.expanduser(text)):
        text = f"onnx,path={text}"
    spec = resolve("encoders", text)
    for argument, names in training_arguments(
        facts.trained_with_labels, facts.trained_without_labels
    ):
        if spec.arguments.get(argument) == "":
            spec = resolve("encoders", f"{spec.full_text},{argument}={escape(names)}")
    _ = spec.identity  # raises for a file that is missing
    if form is not None:
        check_exportable(spec, form)
    elif has_code(spec):
        raise BenchError(
            f"{text} needs code or images of yours, and an entry is data: give --as onnx, which makes a "
            "network that anybody can run, or --as features"
        )
    return spec


def _tasks(suite_name: str | None, patterns: Sequence[str]) -> list[Task]:
    if files := [pattern for pattern in patterns if pattern.endswith(".toml")]:
        raise BenchError(f"{files[0]} is a task of yours; only this package's can be entered")
    chosen = suite(suite_name or DEFAULT).tasks
    return select(patterns or chosen, chosen if suite_name or not patterns else None)


def _weights(spec: Resolved) -> list[Path]:
    """The files that the encoder needs. Raises BenchError for names that entry.toml cannot have."""
    files = weights_files(spec)
    names = [file.name.casefold() for file in files]
    for file in files:
        plain = file.name.isascii() and not set(file.name) - _LETTERS and file.name[0].isalnum()
        if not plain:
            raise BenchError(f"{file.name!r}: rename the file to letters, digits and ._+-")
        if names.count(file.name.casefold()) > 1:
            raise BenchError(f"two files are called {file.name!r}; rename one")
    return files


_LETTERS = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-")


def _outdated(place: Place, spec: Resolved, chosen: Sequence[Task], tell: Tell) -> list[Task]:
    """Further tasks of rows that are there and are not of this encoder as it is now."""
    names, further = {task.name for task in chosen}, list[Task]()
    for record in place.records():
        if record.task.id in names:
            continue
        task = load(record.task.id)
        if reason := why_stale(record, identities(Cell(task, spec))):
            tell(f"{task.name} is run again, since it is in the entry: {reason}")
            further.append(task)
    return further


def _run(
    spec: Resolved, tasks: Sequence[Task], store: Store, data: DataSets, cache: Cache, tell: Tell
) -> list[Record]:
    """The records of the encoder's cells in a results folder of the user's; those missing are computed."""
    names = OwnNames(store, data.root)
    encoder = names.encoder(spec.full_text)
    cells = [Cell(task, encoder) for task in tasks]
    names.keep(cells)
    outcome = run_cells(
        cells,
        data,
        store=store,
        cache=cache,
        tell=tell,
        forecast=lambda: Forecast.of(store, cache, {}),
    )
    return outcome.records


def _folders_of_machine(folders: Folders, data: DataSets) -> list[str]:
    """Folders whose names no record may hold, the longest first."""
    paths = [Path.home(), Path.cwd(), folders.results, folders.into, data.root]
    texts = {os.path.abspath(path) for path in paths} | {os.path.realpath(path) for path in paths}
    return sorted((t for t in texts if t.count(os.sep) > 1 or len(t) > 4), key=len, reverse=True)


def _training(
    spec: Resolved, exported: Export | None, records: Sequence[Record]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The data sets that the encoder was trained on, with labels and without."""
    if exported is not None:
        return exported.with_labels, exported.without_labels
    encoders = [record.encoder for record in records]
    pretrained_on = [name for encoder in encoders for name in encoder.pretrained_on or ()]
    unlabelled = dict.fromkeys(name for encoder in encoders for name in encoder.unlabelled or ())
    labelled = tuple(name for name in dict.fromkeys(pretrained_on) if name not in unlabelled)
    if not learns(spec):
        return labelled, tuple(unlabelled)
    own = [spec.source] if spec.source else [record.data.id for record in records]
    sources = tuple(name for name in dict.fromkeys(own) if name not in pretrained_on)
    if any(record.supervision == "labels" for record in records):
        return (*labelled, *sources), tuple(unlabelled)
    return labelled, (*unlabelled, *sources)


def _hardware(record: Record) -> str:
    """The processor, threads and system that a record was computed with, in a line."""
    machine, threads = record.measured.get("machine", {}), record.measured.get("threads")
    count = f"{threads} thread{'' if threads == 1 else 's'}" if threads else ""
    parts = (machine.get("processor"), count, machine.get("system"))
    return printable(", ".join(str(part) for part in parts if part))[:200]
