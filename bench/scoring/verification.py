"""Is a record what it says? Its scores by its own predictions, its identities and test labels by this
package; no images are needed: `known.json` has the fingerprints of data sets and digests of test labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from bench.data.samples import Array
from bench.datasets.base import known_facts
from bench.errors import BenchError
from bench.naming import registry
from bench.naming.specs import Resolved, share_images
from bench.results.predictions import labels_digest, unread
from bench.results.record import Record
from bench.results.status import KnownIdentities, why_stale
from bench.scoring.consistency import Contradiction, contradictions
from bench.scoring.scorer import targets_of
from bench.tasks.cell import LOCAL, OURS
from bench.tasks.task import Task

SUPERVISION = ("none", "labels", "labels elsewhere")


def findings(record: Record, task: Task, arrays: Mapping[str, Array]) -> list[Contradiction]:
    """All that contradicts an ok record of `task`: its stored predictions `arrays`, and what this package
    knows of its task, data, encoder and test labels.

    Raises BenchError where a part of the predictions that the task's records have is missing.
    """
    return [
        *prediction_findings(record, task, arrays),
        *identity_findings(record, task, KnownIdentities()),
    ]


def prediction_findings(
    record: Record, task: Task, arrays: Mapping[str, Array]
) -> list[Contradiction]:
    """What of `findings` follows from record, task, predictions and the known test labels alone."""
    return [
        *contradictions(record, task, arrays),
        *(Contradiction(*finding) for finding in _truth(record, arrays)),
        *(Contradiction(*finding) for finding in _form(task, arrays)),
    ]


def identity_findings(
    record: Record, task: Task, identities: KnownIdentities
) -> list[Contradiction]:
    """The others of `findings`: of today's identities of task, data and encoder."""
    return [Contradiction(*finding) for finding in _identity(record, task, identities)]


def findings_without_predictions(
    record: Record, task: Task, identities: KnownIdentities
) -> list[Contradiction]:
    """What contradicts an ok record of `task` whose predictions are absent: nothing can be computed."""
    of_task, primary = task.primary, record.score
    found = identity_findings(record, task, identities)
    if (primary.metric, primary.target) != (of_task.metric, of_task.target):
        message = f"{primary.metric:.80} of {primary.target or 'all targets':.80}"
        found.append(Contradiction("primary", f"{message}, where the task has {of_task.metric}"))
    return found


def _identity(record: Record, task: Task, identities: KnownIdentities) -> Iterator[tuple[str, str]]:
    """Task, data and protocol are those of this package, the encoder its own spec's."""
    spec = _spec(record, identities)
    current = identities.of(task, "pixels" if spec is None else record.encoder.id)
    if spec is None:
        current = replace(current, encoder=record.encoder)
    if reason := why_stale(record, current):
        yield "", reason
    for part in ("task", "data"):
        stored, now = getattr(record, part), getattr(current, part)
        if part == "data" and now.digest is None:
            continue
        if stored != now:
            yield part, f"{stored}, where this package has {now}"
    if record.data.rows.get("test", 0) < 1:
        yield "data.rows", "no test row"
    if record.supervision not in SUPERVISION:
        yield "supervision", f"{record.supervision!r:.80} is none of {', '.join(SUPERVISION)}"
    if spec is not None:
        yield from _training(record, spec)
    yield from _group(record)
    yield from _supervision(record)


def _spec(record: Record, identities: KnownIdentities) -> Resolved | None:
    """The encoder's spec where it needs nothing but this package."""
    try:
        spec = identities.encoder(record.encoder.id)
    except BenchError:
        if record.owner == OURS:
            raise
        return None
    return None if spec.local else spec


def _training(record: Record, spec: Resolved) -> Iterator[tuple[str, str]]:
    """What is known of a spec of this package without running it."""
    trains = spec.entry.training == "budget" and spec.budget != 0
    seen = sum(training.images_seen for training in record.training)
    if trains and not record.encoder.seeded:
        yield "encoder.seeded", "false, where its training draws random numbers"
    if trains and not seen:
        yield "training", "no image was seen, where its spec trains"
    if spec.entry.training == "none" and spec.source is None and seen:
        yield "training", f"{seen} images were seen, where its spec does not train"


def _group(record: Record) -> Iterator[tuple[str, str]]:
    """Controls are those of this package: others have to beat them."""
    head, group = re.split("[,@~]", record.encoder.id)[0], record.encoder.group
    packaged = head in registry.names("encoders")
    allowed = (registry.find("encoders", head).group, LOCAL) if packaged else ()
    if (packaged and group not in allowed) or (not packaged and group == "controls"):
        yield "encoder.group", f"{group!r:.80} is not that of {head!r:.80}"


def _supervision(record: Record) -> Iterator[tuple[str, str]]:
    """Labels of the task need a training in the run, labels elsewhere one on other data or before it."""
    unlabelled, source = record.encoder.unlabelled or (), record.encoder.source
    given = [name for name in record.encoder.pretrained_on or () if name not in unlabelled]
    seen = sum(training.images_seen for training in record.training)
    of_task = any(same_images(name, record.data.id) for name in given)
    if record.supervision == "none" and given:
        yield "supervision", f"'none', where its weights are pretrained on {given[0]!r:.80}"
    if record.supervision == "labels elsewhere" and of_task:
        yield (
            "supervision",
            "'labels elsewhere', where it was trained with labels of the task's images",
        )
    if record.owner == LOCAL or record.encoder.budget == 0:  # untrained, or perhaps without a count
        return
    if record.supervision == "labels" and not seen and not of_task:
        yield "supervision", "'labels', where no image was seen in a training"
    if record.supervision == "labels elsewhere" and not given and not (source and seen):
        yield "supervision", "'labels elsewhere', where nothing was trained on other data"


def same_images(name: str, dataset: str) -> bool:
    """Do a data set that others name and a task's have the same images? No file is looked up."""
    packaged = re.split("[,@~]", name)[0] in registry.names("datasets")
    return name == dataset or (packaged and share_images(name, dataset))


def _truth(record: Record, arrays: Mapping[str, Array]) -> Iterator[tuple[str, str]]:
    """The stored labels are those of the data set, where this package has their digest."""
    kinds = record.predictions.kinds if record.predictions else {}
    for name in unread(arrays, kinds, record.data.rows.get("test", 0)):
        yield "predictions", f"{name!a:.80} is an array that is not read"
    known: Mapping[str, str] = known_facts().get(record.data.id, {}).get("labels", {})
    for name in targets_of(record):
        truth = arrays.get(f"truth/{name}")
        if truth is None:
            yield "predictions", f"no labels of {name!r:.80} are stored"
        elif name in known and labels_digest(truth) != known[name]:
            yield "predictions", f"the stored labels of {name!r} are not those of {record.data.id}"


def _form(task: Task, arrays: Mapping[str, Array]) -> Iterator[tuple[str, str]]:
    """Where a task's records keep counts alone, rows are from elsewhere, and would count for more."""
    if task.keeps_counts and any(name.endswith("/margin") for name in arrays):
        yield "predictions", "of rows, where records of its task keep counts by class"
