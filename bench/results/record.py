"""The record of a cell: one encoder on one task, with everything needed to score it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bench.digests import digest
from bench.errors import BenchError

__all__ = ["SCHEMA", "Record", "decode", "encode", "encode_truth"]

SCHEMA = "reptransfer.record/1"

Array = npt.NDArray[Any]
Status = Literal["ok", "declined", "failed"]
_GRID = 16.0  # steps of a stored log-probability in one nat


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One JSON file. Identities have `id`, `version`, `digest` (data: also rows and duplicates)."""

    owner: str
    encoder: Mapping[str, Any]
    task: Mapping[str, Any]
    data: Mapping[str, Any]
    protocol: Mapping[str, Any]
    status: Status
    reason: str | None = None
    supervision: str | None = None
    # [{coords, status, n_train, scores: {target: {metric: value}}, report}]
    replicates: tuple[Mapping[str, Any], ...] = ()
    primary: Mapping[str, Any] | None = None  # {metric, target, reduction, value, low, high}
    training: tuple[Mapping[str, Any], ...] = ()  # a FitReport per fitted encoder
    tuning: Mapping[str, Any] | None = None  # what the protocol's `select` chose, once a cell
    diagnostics: tuple[Mapping[str, Any], ...] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)  # seconds, memory, machine: no digest
    predictions: Mapping[str, Any] | None = None  # {file, digest, encoding}

    @property
    def digest(self) -> str:
        """Over everything but what was measured: equal for equal runs."""
        return digest(replace(self, measured={}).to_json())

    def to_json(self) -> dict[str, Any]:
        """What is written, without its own digest."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            "schema": SCHEMA,
            **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()},
        }

    @classmethod
    def from_json(cls, value: object, where: str) -> Record:
        """Check and take what `to_json` gave. Raises BenchError naming `where` otherwise."""
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            found = value.get("schema") if isinstance(value, dict) else type(value).__name__
            raise BenchError(f"{where}: schema {found!r} is not known ({SCHEMA} is read)")
        known = {f.name: f for f in fields(cls)}
        given = {k: v for k, v in value.items() if k not in ("schema", "digest")}
        if set(given) != set(known):
            odd = ", ".join(sorted(set(given) ^ set(known)))
            raise BenchError(f"{where}: missing or unknown fields: {odd}")
        if not isinstance(given["owner"], str):
            raise BenchError(f"{where}: owner is no string")
        for name in ("reason", "supervision"):
            if not isinstance(given[name], str | None):
                raise BenchError(f"{where}: {name} is no string")
        for name in ("primary", "tuning", "predictions"):
            if not isinstance(given[name], dict | None):
                raise BenchError(f"{where}: {name} is no object")
        for name in ("encoder", "task", "data", "protocol", "measured"):
            if not isinstance(given[name], dict):
                raise BenchError(f"{where}: {name} is no object")
        for name in ("encoder", "task", "data", "protocol"):
            if not isinstance(given[name].get("id"), str):
                raise BenchError(f"{where}: {name} has no id")
        if given["status"] not in ("ok", "declined", "failed"):
            raise BenchError(f"{where}: status {given['status']!r} is not known")
        for name in ("replicates", "training", "diagnostics"):
            if not isinstance(given[name], list) or not all(
                isinstance(x, dict) for x in given[name]
            ):
                raise BenchError(f"{where}: {name} is no list of objects")
            given[name] = tuple(given[name])
        if given["status"] == "ok":
            _check_primary(given["primary"], where)
        record = cls(**given)
        try:
            own = digest(record.to_json()), record.digest
        except (ValueError, RecursionError) as error:
            raise BenchError(f"{where}: it holds NaN or infinity") from error
        if value.get("digest") not in (None, own[1]):
            raise BenchError(f"{where}: its content does not match its digest")
        return record


def _check_primary(primary: object, where: str) -> None:
    wanted = ("value", "low", "high")
    if not isinstance(primary, dict) or not all(
        isinstance(primary.get(k), int | float) for k in wanted
    ):
        raise BenchError(f"{where}: an ok record needs a primary value with low and high")
    if not primary["low"] <= primary["value"] <= primary["high"]:
        raise BenchError(f"{where}: the primary value lies outside its interval")


def encode(kind: str, prediction: Array, truth: Array, *, probabilistic: bool) -> dict[str, Array]:
    """What is kept of one target's predictions (n, k), so that its scores can be computed again.

    classes: `class` (n,); with log-probabilities also the `top` probability in steps of 1/255 and
    the `true` class's log-probability in steps of 1/16 nat (255: below -15.9). binary: `yes`, bits.
    number: `value`, fp16. The truth (n,) or (n, k) is kept once a target, by `encode_truth`.
    """
    if kind == "number":
        return {"value": _half(prediction)}
    if kind == "binary":
        return {"yes": np.packbits(prediction > (np.log(0.5) if probabilistic else 0.0))}
    kept = {"class": prediction.argmax(axis=1).astype(_small(prediction.shape[1]))}
    if probabilistic:
        own = prediction[np.arange(len(truth)), truth.clip(0)]
        kept["top"] = np.round(np.exp(prediction.max(axis=1)) * 255).clip(0, 255).astype(np.uint8)
        kept["true"] = np.round(-own * _GRID).clip(0, 255).astype(np.uint8)
    return kept


def encode_stacked(scores: Array, unseen: Sequence[int]) -> dict[str, Array]:
    """What is kept of zero-shot scores (n, C): the best class of each side, and by how much the seen one
    leads, in fp16 of three bits (to a sixteenth of itself), which gives every metric at every
    calibration again, the area under their curve within 0.0005."""
    new = np.zeros(scores.shape[1], bool)
    new[list(unseen)] = True
    old, rest, small = np.flatnonzero(~new), np.flatnonzero(new), _small(scores.shape[1])
    seen, other = scores[:, old], scores[:, rest]
    return {
        "best_seen": old[seen.argmax(axis=1)].astype(small),
        "best_unseen": rest[other.argmax(axis=1)].astype(small),
        "margin": _coarse(_half(seen.max(axis=1) - other.max(axis=1))),
    }


def counted(kept: Mapping[str, Array], truth: Array, classes: int) -> dict[str, Array]:
    """Of `encode_stacked` what is kept where rows are not: `counts` (3, C), by class its test rows, how
    many of them are right among all classes, and how many among those of their own side alone."""
    known = truth >= 0
    truth = truth[known]
    seen, other, margin = (kept[key][known] for key in ("best_seen", "best_unseen", "margin"))
    guess = np.where(margin > 0, seen, np.where(margin < 0, other, np.minimum(seen, other)))
    hits = np.ones(len(truth)), guess == truth, (seen == truth) | (other == truth)
    found = [np.bincount(truth, weights=hit, minlength=classes) for hit in hits]
    return {"counts": np.stack(found).astype(np.int32)}


def encode_truth(kind: str, truth: Array) -> Array:
    """Test labels in a small type: numbers as fp16, classes and yes/no (-1 missing) as integers."""
    if kind == "number":
        return _half(truth)
    return truth.astype(_small(int(truth.max(initial=0)) + 1))


def _half(values: Array) -> Array:
    """fp16, or fp32 where that would overflow."""
    large = np.nanmax(np.abs(values), initial=0.0) > np.finfo(np.float16).max
    return values.astype(np.float32 if large else np.float16)


def _coarse(values: Array) -> Array:
    """fp16 or fp32 rounded to three bits of their fractions: more would be noise on disk."""
    kind, low = (np.uint16, 7) if values.dtype == np.float16 else (np.uint32, 20)
    raw = np.ascontiguousarray(values).view(kind).astype(np.uint64) + (1 << (low - 1))
    near: Array = (raw >> low << low).astype(kind).view(values.dtype)
    return np.where(np.isfinite(near), near, values)


def _small(size: int) -> type[np.signedinteger[Any]]:
    return np.int8 if size <= 2**7 else np.int16 if size <= 2**15 else np.int32


def decode(kind: str, kept: Mapping[str, Array], truth: Array) -> dict[str, Array]:
    """`encode` undone as far as it goes, beside the truth.

    classes: truth, class int64 (n,), and where kept the top probability and the true class's
    log-probability (n,); binary: truth and yes int64 (n, k); number: truth and value float64.
    """
    if kind == "number":
        return {"truth": truth.astype(np.float64), "value": kept["value"].astype(np.float64)}
    found: dict[str, Array] = {"truth": truth.astype(np.int64)}
    if kind == "binary":
        yes = np.unpackbits(kept["yes"], count=truth.size).reshape(truth.shape)
        return {**found, "yes": yes.astype(np.int64)}
    found["class"] = kept["class"].astype(np.int64)
    if "top" in kept:
        found["top"] = kept["top"] / 255.0
        found["true"] = -(kept["true"] / _GRID)
    return found
