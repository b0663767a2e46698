"""Which cells are declined and why: checked on an untrained encoder, before anything is fitted.

An encoder that uses labels is declined on few-label tasks, unless it learnt them elsewhere.
"""

from __future__ import annotations

from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.errors import Declined
from bench.naming.specs import Resolved, share_images
from bench.running.trunks import last_stages, untrained
from bench.running.workspace import Fitted
from bench.tasks.cell import Cell
from bench.tasks.families import FAMILIES
from bench.tasks.task import Task


def check_allowed(cell: Cell, info: SourceInfo) -> Encoder:
    """An untrained example of the cell's encoder; `info` describes the task's data set.

    Raises Declined for a cell that the rules do not allow.
    """
    task, spec = cell.task, cell.spec
    check_readable(spec, task.dataset, info)
    if task.replicates.shifts and spec is not None and spec.entry.takes == "files":
        raise Declined(
            "the features of this encoder lie in files: there are none of shifted images"
        )
    if info.features and task.replicates.shifts:
        raise Declined(f"{task.dataset} holds features: only images can be shifted")
    if isinstance(cell.encoder, Encoder):
        start = Fitted(cell.encoder, "", FitReport())
    else:
        start = untrained(spec, info, 0)
    example = start.encoder
    if task.removed_classes or task.replicates.splits:
        source = spec.source if spec else None
        elsewhere = source is None or not _shows_task_images(source, task)
        if not task.transductive and not elsewhere:
            raise Declined(
                f"@{source} trains on images of all classes of {task.dataset}; this task removes some"
            )
        if task.transductive and start.supervised:
            raise Declined("a transductive task is for encoders that use no labels")
    few_labels = FAMILIES[task.family].few_labels
    if few_labels and start.supervised and _trained_on_task_images(spec, task):
        raise Declined(
            "an encoder that uses labels would be trained anew on every few of them, or has seen "
            "all; name another source, as in supervised@mnist"
        )
    if task.input != "features" and not example.differentiable:
        raise Declined("this encoder cannot be fine-tuned: it passes no gradients")
    if task.input == "activations":
        last_stages(example, tuned_blocks(task))
    return example


def check_readable(spec: Resolved | None, dataset: str, info: SourceInfo) -> None:
    """Raise Declined where the encoder takes images and a data set holds features, or the reverse."""
    takes = "images" if spec is None else spec.entry.takes
    if info.features and takes != "features":
        raise Declined(f"{dataset} holds features, not images: use given_features")
    if takes == "features" and not info.features:
        raise Declined(f"{dataset} holds images, not features: use an encoder of images")


def trained_per_split(cell: Cell) -> bool:
    """Is the encoder trained anew without each split's unseen classes?"""
    spec = cell.spec
    bare = spec is not None and spec.entry.training != "none" and spec.source is None
    return bare and not cell.task.transductive


def tuned_blocks(task: Task) -> int:
    """How many stages the task's protocol tunes; 0 where it names no number."""
    return int(task.resolved_protocol.arguments.get("blocks") or 0)


def supervision(cell: Cell, fitted: Fitted) -> str:
    """Which labels have gone into the encoder: "none", "labels" of this task, or "labels elsewhere"."""
    source = cell.spec.source if cell.spec else None
    labelled = [name for name in fitted.pretrained_on if name not in fitted.unlabelled]
    if fitted.supervised and _shows_task_images(source, cell.task):
        return "labels"
    if any(share_images(name, cell.task.dataset) for name in labelled):
        return "labels"
    return "labels elsewhere" if fitted.supervised or labelled else "none"


def _shows_task_images(source: str | None, task: Task) -> bool:
    """Does the data set that an encoder is trained on (None: the task's own) have the task's images?"""
    return source is None or share_images(source, task.dataset)


def _trained_on_task_images(spec: Resolved | None, task: Task) -> bool:
    trained = spec is not None and spec.entry.training != "none" and spec.budget != 0
    return spec is not None and trained and _shows_task_images(spec.source, task)
