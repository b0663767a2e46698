"""The checks of class signatures, by which zero-shot methods recognise classes without training images."""

from __future__ import annotations

import numpy as np

from bench.data.samples import Meta
from bench.data.semantics import twins
from bench.testing._finding import Check, Finding, require


def check_semantics_shape(meta: Meta) -> None:
    """Signatures are finite floats (classes, attributes)."""
    for name, target in meta.targets.items():
        if target.semantics is None:
            continue
        require(
            target.kind == "classes",
            f"{name!r} has signatures, but no classes; its kind is {target.kind}",
        )
        table = target.semantics
        is_table = table.ndim == 2 and len(table) == target.size and table.shape[1] > 0
        require(
            is_table and table.dtype.kind == "f",
            f"signatures of {name!r} are {table.dtype} {table.shape}; expected floats ({target.size}, "
            "attributes)",
        )
        require(bool(np.isfinite(table).all()), f"a signature of {name!r} is not finite")


def check_semantics_distinct(meta: Meta) -> None:
    """No two classes have the same signature, and no attribute is the same for all classes."""
    for name, target in meta.targets.items():
        if target.semantics is None:
            continue
        if (same := twins(target.semantics)) is not None:
            first, second = (target.names[number] for number in same)
            raise Finding(
                f"{name!r}: {first!r} and {second!r} have the same signature; nothing can tell them apart"
            )
        constant = np.flatnonzero(np.ptp(target.semantics, axis=0) == 0)
        require(
            not len(constant),
            f"{name!r}: attribute {constant[:3].tolist()} is the same for all classes; leave it out",
        )


def check_semantics_unseen(meta: Meta) -> None:
    """Unseen classes are numbers of classes, and at least one class is left to learn from."""
    for name, target in meta.targets.items():
        invalid = sorted(set(target.unseen) - set(range(target.size)))
        require(not invalid, f"{name!r}: unseen classes {invalid} are not among its {target.size}")
        require(len(target.unseen) < target.size, f"{name!r}: all classes are unseen; keep some")


def semantics_checks() -> list[Check[Meta]]:
    """For the targets of a data set, or of a replicate."""
    return [check_semantics_shape, check_semantics_distinct, check_semantics_unseen]
