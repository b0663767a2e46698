"""What the signatures of classes keep to, by which a class without training images is told."""

from __future__ import annotations

import numpy as np

from bench.data.samples import Meta
from bench.data.semantics import twins
from bench.testing._finding import Check, Finding, require

__all__ = ["semantics_checks"]


def check_semantics_shape(meta: Meta) -> None:
    """Signatures are finite numbers (classes, attributes)."""
    for name, target in meta.targets.items():
        if target.semantics is None:
            continue
        require(
            target.kind == "classes", f"{name!r} has signatures, and no classes that they are of"
        )
        found = target.semantics
        good = found.ndim == 2 and len(found) == target.size and found.shape[1] > 0
        require(
            good and found.dtype.kind == "f",
            f"signatures of {name!r} are {found.dtype} {found.shape}; floats ({target.size}, attributes) "
            "are wanted",
        )
        require(bool(np.isfinite(found).all()), f"a signature of {name!r} is not finite")


def check_semantics_distinct(meta: Meta) -> None:
    """No two classes have one signature, and no attribute is the same for all."""
    for name, target in meta.targets.items():
        if target.semantics is None:
            continue
        if (same := twins(target.semantics)) is not None:
            one, other = (target.names[number] for number in same)
            raise Finding(
                f"{name!r}: {one!r} and {other!r} have one signature; no method could tell them apart"
            )
        constant = np.flatnonzero(np.ptp(target.semantics, axis=0) == 0)
        require(
            not len(constant),
            f"{name!r}: attribute {constant[:3].tolist()} is the same for all classes; leave it out",
        )


def check_semantics_unseen(meta: Meta) -> None:
    """Unseen classes are some of the classes, and leave others to learn from."""
    for name, target in meta.targets.items():
        odd = sorted(set(target.unseen) - set(range(target.size)))
        require(not odd, f"{name!r}: unseen classes {odd} are none of its {target.size}")
        require(len(target.unseen) < target.size, f"{name!r}: all classes are unseen; keep some")


def semantics_checks() -> list[Check[Meta]]:
    """For what a data set, or a replicate, tells of its targets."""
    return [check_semantics_shape, check_semantics_distinct, check_semantics_unseen]
