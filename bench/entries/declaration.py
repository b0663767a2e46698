"""entry.toml beside the files and the records that it is of: do they say the same?"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from bench.entries.entry import FILE, MOST_WEIGHTS, WEIGHTS_ENDING, Entry, problems, read_entry
from bench.entries.remark import Remark, printed
from bench.errors import BenchError
from bench.files.reading import read_bytes
from bench.naming.grammar import escape
from bench.naming.specs import resolve
from bench.results.record import Record
from bench.scoring.verification import same_images
from bench.tasks.task import Task

_OF_ENCODER = ("version", "digest", "group", "content", "pretrained_on", "unlabelled", "seeded")
_OF_FEATURES = ("read_out", "dim", "parameters")  # may differ between data sets


def entry_findings(
    folder: Path, files: Collection[str], records: Mapping[str, Record], tasks: Mapping[str, Task]
) -> Iterator[Remark]:
    """What contradicts entry.toml in the folder of an entered encoder.

    files: those that may be read; records: the ok ones, by the name of their file.
    """
    where = f"{folder.parent.name}/{folder.name}"
    if FILE not in files:
        yield Remark(f"{where}/{FILE}", "", "is missing: it says what the encoder is")
        return
    try:
        entry = read_entry(folder / FILE)
    except BenchError as error:
        yield Remark(f"{where}/{FILE}", "", str(error).replace(f"{folder / FILE}", FILE))
        return
    yield from (Remark(f"{where}/{FILE}", *problem) for problem in problems(entry))
    yield from _weights(folder, where, files, entry)
    for name, record in records.items():
        found = [*_training(record, records.values(), entry), *_seen(record, tasks, entry)]
        found += _network(folder, files, record)
        yield from (Remark(f"{where}/{name}", *finding) for finding in found)


def identity_findings(where: str, records: Mapping[str, Record]) -> Iterator[Remark]:
    """What makes records in the folder of one encoder records of several; by the name of their file."""
    first = dict[str, tuple[str, Record]]()
    for name, record in records.items():
        for fields, of in ((_OF_ENCODER, ""), (_OF_FEATURES, record.data.id)):
            before, other = first.setdefault(of, (name, record))
            for field in fields:
                value, expected = getattr(record.encoder, field), getattr(other.encoder, field)
                if value != expected:
                    message = f"{value!r:.80}, where {before} has {expected!r:.80}"
                    yield Remark(f"{where}/{name}", f"encoder.{field}", message)


def _weights(folder: Path, where: str, files: Collection[str], entry: Entry) -> Iterator[Remark]:
    """The files of weights that lie in the entry are those that it lists, byte by byte."""
    listed = {part.name for part in entry.weights if part.url is None}
    for name in files:
        if name.endswith(WEIGHTS_ENDING) and name not in listed:
            message = f"is not listed in [[weights]] of {FILE} as lying in the entry"
            yield Remark(f"{where}/{printed(name)}", "", message)
    for number, part in enumerate(entry.weights):
        field = f"weights[{number}]"
        if part.url is not None:
            continue
        if part.name not in files:
            message = f"{part.name!a:.80} does not lie in the entry"
            yield Remark(f"{where}/{FILE}", f"{field}.name", message)
            continue
        try:
            content = read_bytes(folder / part.name, "weights", most=MOST_WEIGHTS, links=False)
        except BenchError as error:
            text = str(error).replace(str(folder / part.name), part.name)
            yield Remark(f"{where}/{part.name}", "", text)
            continue
        if len(content) != part.bytes:
            message = f"{part.bytes}, where {part.name} has {len(content)}"
            yield Remark(f"{where}/{FILE}", f"{field}.bytes", message)
        if (digest := hashlib.sha256(content).hexdigest()) != part.sha256:
            message = f"{part.sha256:.80}, where {part.name} has {digest}"
            yield Remark(f"{where}/{FILE}", f"{field}.sha256", message)


def _training(
    record: Record, records: Collection[Record], entry: Entry
) -> Iterator[tuple[str, str]]:
    """The data sets of the training are the same in record and entry: those of given weights, and where
    the encoder is trained in the runs perhaps those of the runs."""
    given = set(record.encoder.pretrained_on or ())
    declared = {*entry.trained_with_labels, *entry.trained_without_labels}
    may_be = set(given)
    if any(training.images_seen for training in record.training):
        may_be |= {r.data.id for r in records} | {record.encoder.source or record.data.id}
    if absent := sorted(given - declared):
        yield (
            "encoder.pretrained_on",
            f"has {absent[0]!a:.80}, which {FILE} has neither in trained_with_labels nor in "
            "trained_without_labels",
        )
    for name in record.encoder.unlabelled or ():
        if name in entry.trained_with_labels:
            yield "encoder.unlabelled", f"has {name!a:.80}, which {FILE} has in trained_with_labels"
    if extra := sorted(declared - may_be):
        yield "encoder.pretrained_on", f"lacks {extra[0]!a:.80}, which {FILE} has"
    supervision = {r.supervision for r in records}
    if record.supervision == "labels" and not entry.trained_with_labels:
        yield "supervision", f"'labels', where {FILE} has no trained_with_labels"
    if supervision == {"none"} and entry.trained_with_labels:
        yield "supervision", f"'none', where {FILE} has trained_with_labels"


def _seen(record: Record, tasks: Mapping[str, Task], entry: Entry) -> Iterator[tuple[str, str]]:
    """Given weights have not met classes that the task removes from training."""
    task = tasks.get(record.task.id)
    given = set(record.encoder.pretrained_on or ())
    for name in sorted(given & set(entry.trained_with_labels)):
        if task is not None and has_seen([name], task):
            yield (
                "encoder.pretrained_on",
                f"{name!a:.80} has images of the classes that the task keeps unseen, and {FILE} has it in "
                "trained_with_labels",
            )


def has_seen(names: Iterable[str], task: Task) -> bool:
    """Do any of these data sets, with their labels, have classes that the task keeps unseen?"""
    unseen = task.removed_classes or task.replicates.splits
    return bool(unseen) and any(same_images(name, task.dataset) for name in names)


def _network(folder: Path, files: Collection[str], record: Record) -> Iterator[tuple[str, str]]:
    """A record of a network that lies in the entry is of these very bytes."""
    match = re.fullmatch(r"(onnx,(?:.*,)?path=)([\w.+-]+)(,.*)?", record.encoder.id, re.ASCII)
    if match is None or match[2] not in files:
        return
    try:
        place = escape(str(folder / match[2]))
        spec = resolve("encoders", f"{match[1]}{place}{match[3] or ''}")
    except BenchError as error:
        yield "encoder.id", f"is not read: {str(error).replace(str(folder), '')}"
        return
    for field, value in spec.identity.items():
        stored = getattr(record.encoder, field)
        if field not in ("id", "digest") and stored != value:
            yield (
                f"encoder.{field}",
                f"{stored!r:.80}, where {match[2]} in the entry gives {value!r:.80}",
            )
    if record.encoder.digest != spec.identity["digest"]:
        yield "encoder.digest", f"is not that of {match[2]} in the entry"
