"""Records made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.results.record import (
    DataIdentity,
    EncoderIdentity,
    PrimaryScore,
    ProtocolIdentity,
    Record,
    Replicate,
    StoredPredictions,
    TaskIdentity,
    TrainingReport,
)
from bench.tasks.task import Coords


def encoder(**changes: Any) -> EncoderIdentity:
    """An encoder that was fitted."""
    values: dict[str, Any] = {
        "id": "pca,dim=4",
        "version": 1,
        "digest": "e" * 32,
        "group": "classical",
        "read_out": "code",
        "dim": 4,
        "parameters": 8,
        "pretrained_on": (),
        "seeded": False,
    }
    return EncoderIdentity(**{**values, **changes})


def task(**changes: Any) -> TaskIdentity:
    values: dict[str, Any] = {
        "id": "digits-knn",
        "version": 1,
        "digest": "t" * 32,
        "family": "probe",
        "parent": None,
    }
    return TaskIdentity(**{**values, **changes})


def data(**changes: Any) -> DataIdentity:
    rows = {"train": 80, "val": 20, "test": 40}
    values: dict[str, Any] = {"id": "d", "version": 1, "digest": "d" * 32, "rows": rows}
    return DataIdentity(**{**values, "test_in_train": 0, **changes})


def protocol(**changes: Any) -> ProtocolIdentity:
    values: dict[str, Any] = {"id": "knn", "version": 1, "digest": "p" * 32}
    return ProtocolIdentity(**{**values, "arguments": {}, "revisions": {}, **changes})


def replicate(
    scores: Mapping[str, Mapping[str, float]],
    at: Coords | None = None,
    *,
    n_train: int = 80,
    **changes: Any,
) -> Replicate:
    """An ok replicate with these scores by target and metric."""
    values: dict[str, Any] = {"status": "ok", "report": {}, **changes}
    return Replicate(coords=at or Coords(), n_train=n_train, scores=scores, **values)


def primary(**changes: Any) -> PrimaryScore:
    values: dict[str, Any] = {"metric": "accuracy", "target": "label", "reduction": "mean"}
    return PrimaryScore(**{**values, "value": 0.5, "low": 0.4, "high": 0.6, **changes})


def training(**changes: Any) -> TrainingReport:
    values: dict[str, Any] = {"key": "k", "images_seen": 0, "steps": 0, "terms": {}, "notes": {}}
    return TrainingReport(**{**values, "images": 80, **changes})


def unnoted() -> None:
    """What a scorer does before its first score where no ledger is kept."""


def record(**changes: Any) -> Record:
    """An ok record of one replicate."""
    values: dict[str, Any] = {
        "owner": "somebody",
        "encoder": encoder(),
        "task": task(),
        "data": data(),
        "protocol": protocol(),
        "status": "ok",
        "supervision": "none",
        "replicates": (replicate({"label": {"accuracy": 0.5, "nll": 1.0}}, Coords(head_seed=1)),),
        "primary": primary(),
        "measured": {"seconds": {"total": 1.5}},
        "predictions": StoredPredictions(kinds={"label": ("classes", 5)}),
    }
    return Record(**{**values, **changes})
