"""Families of tasks: what sets each apart, for the rules, the scorer and the board."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What is particular to the tasks of a family.

    title: its heading on the board. sections, end_sections: modules of `report.sections` with
    `section(board, tasks)`, below the scores of its tasks and at the end of the board. needs: keys of a
    task, one of which must be set. few_labels: encoders that use labels are declined, and the validation
    split may not choose. shifted: its primary is over the shifted replicates. class_alone: of predictions
    with log-probabilities the class alone is stored, as replicates are many.
    """

    title: str
    sections: tuple[str, ...] = ()
    end_sections: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    few_labels: bool = False
    shifted: bool = False
    class_alone: bool = False


FAMILIES: Mapping[str, Family] = {  # in the board's order
    "probe": Family(title="Frozen: probes and neighbours", end_sections=("calibration",)),
    "shift": Family(
        title="Frozen, shifted test images",
        sections=("shifts",),
        needs=("replicates.shifts",),
        shifted=True,
        class_alone=True,
    ),
    "finetune": Family(title="Fine-tuned"),
    "few_labels": Family(
        title="Few labels",
        sections=("few_labels",),
        needs=("replicates.per_class",),
        few_labels=True,
        class_alone=True,
    ),
    "multitask": Family(
        title="Multi-task", sections=("sharing_headline", "sharing"), class_alone=True
    ),
    "zeroshot": Family(
        title="Zero-shot",
        sections=("zero_shot", "exposure"),
        needs=("replicates.splits", "removed_classes"),
    ),
    "diagnostics": Family(title="Properties of features", sections=("diagnostics",)),
}
