"""A protocol where little or odd is given: several targets, few rows, empty classes, no validation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.samples import Meta, Samples, Target
from bench.errors import BenchError, Declined
from bench.seeding import generator
from bench.testing._finding import Check, Finding, require
from bench.testing._protocol_case import ProtocolCase, accuracy, pick, require_predictions

__all__ = ["edge_checks"]

Array = npt.NDArray[Any]


def check_protocol_targets(case: ProtocolCase) -> None:
    """Several targets at once, of every kind that it accepts, are each learnt from the rows that have
    their label; or it raises Declined."""
    accepts = case.usual().accepts
    targets = {
        "label": case.meta.targets["label"],
        "half": Target("classes", 2, ("low", "high")),
        "tag": Target("binary", 2, ("upper", "odd")),
        "size": Target("number", 2, ("first", "second")),
    }
    meta = Meta({name: t for name, t in targets.items() if t.kind in accepts})
    if not meta.targets:
        return

    def labelled(count: int, seed: int, *, missing: bool) -> Samples:
        base = case.blobs(count, seed=seed)
        label, x = base.y["label"], np.asarray(base.x)
        gone = (generator(seed, "targets").random((4, count)) < 0.4) & missing
        labels = {
            "label": np.where(gone[0], -1, label),
            "half": np.where(gone[1], -1, label // 2),
            "tag": np.where(gone[2, :, None], -1, np.stack([label // 2, label % 2], axis=1)),
            "size": np.where(gone[3, :, None], np.nan, x[:, :2] - x[:, 2:4]).astype(np.float32),
        }
        return Samples(base.x, {name: labels[name] for name in meta.targets}, base.rows)

    try:
        protocol = case.fit(
            labelled(160, 0, missing=True), labelled(60, 1, missing=True), meta=meta
        )
    except Declined:
        return  # it has one target
    test = labelled(100, 2, missing=False)
    found = protocol.predict(test.x)  # type: ignore[arg-type]
    require_predictions(protocol, found, meta, 100)
    for name, target in meta.targets.items():
        truth, values = test.y[name], found[name].astype(np.float64)
        if target.kind == "number":
            good = 1 - ((values - truth) ** 2).mean() / truth.var(axis=0).mean()
        elif target.kind == "binary":
            middle = np.log(0.5) if protocol.output == "log_probability" else 0.0
            good = ((values > middle) == (truth == 1)).mean()
        else:
            good = (values.argmax(axis=1) == truth).mean()
        require(
            good >= 0.9,
            f"{name!r} ({target.kind}), one of several targets with labels missing, is learnt to "
            f"{good:.2f}; 0.9 is wanted: give each target the rows that have its label",
        )


def check_protocol_test_sizes(case: ProtocolCase) -> None:
    """It predicts 1, 7, 99 or 101 test rows alike."""
    for count in (1, 7, 99, 101):
        try:
            found = case.usual().predict(case.test(count))
        except Exception as error:
            raise Finding(
                f"predict fails on {count} test rows ({type(error).__name__}: {error})".splitlines()[
                    0
                ]
            ) from error
        require_predictions(case.usual(), found, case.meta, count)


def check_protocol_empty_class(case: ProtocolCase) -> None:
    """A class without training rows keeps its column, with finite scores, and takes no other's rows."""
    for gone in (0, case.classes - 1):
        parts = [pick(part, np.flatnonzero(part.y["label"] != gone)) for part in case.parts()]
        protocol = case.fit(parts[0], parts[1])
        test = case.blobs(60, seed=2)
        found = protocol.predict(test.x)  # type: ignore[arg-type]
        require_predictions(protocol, found, case.meta, 60)
        seen = test.y["label"] != gone
        right = (found["label"].argmax(axis=1) == test.y["label"])[seen].mean()
        require(
            right >= 0.9,
            f"without class {gone} in training, accuracy on the others is {right:.2f}; 0.9 is wanted",
        )


def check_protocol_few_rows(case: ProtocolCase) -> None:
    """One training row a class is enough to predict, fewer rows than features or neighbours too."""
    wide = ProtocolCase(case.spec, classes=case.classes, dim=30)
    for each in (case, wide):
        train, val = each.blobs(each.classes, seed=0), each.blobs(each.classes, seed=1)
        try:
            protocol = each.fit(train, val)
            found = protocol.predict(each.test(9))
        except Exception as error:
            raise Finding(
                f"{len(train)} training rows of {each.dim} features are refused "
                f"({type(error).__name__}: {error}); cut numbers of rows to what there are".splitlines()[
                    0
                ]
            ) from error
        require_predictions(protocol, found, each.meta, 9)


def check_protocol_degenerate(case: ProtocolCase) -> None:
    """Features that are constant, and rows that are all zero, give finite predictions."""
    train, val = case.parts()
    for part in (train, val):
        part.x[:, 0] = 3.0  # type: ignore[index]
        part.x[:2] = 0.0  # type: ignore[index]
        part.x[:, 1] = 0.0  # type: ignore[index]
    x = case.test(5)
    x[:2] = 0.0
    protocol = case.fit(train, val)
    with np.errstate(all="ignore"):
        found = protocol.predict(x)
    require_predictions(protocol, found, case.meta, 5)


def check_protocol_no_val(case: ProtocolCase) -> None:
    """Without validation (val = None) it learns from the training rows alone, or raises Declined."""
    train = case.blobs(120, seed=0)
    try:
        protocol = case.fit(train, None)
    except Declined:
        return
    except Exception as error:
        what = "fails" if not isinstance(error, BenchError) else "is no Declined"
        raise Finding(
            f"fit(train, None) {what} ({type(error).__name__}: {error}); raise Declined(why), or choose "
            "by the training rows".splitlines()[0]
        ) from error
    right = accuracy(protocol, case.blobs(200, seed=2))
    require(right >= 0.9, f"accuracy {right:.2f} without validation; 0.9 is wanted")


def edge_checks() -> list[Check[ProtocolCase]]:
    return [
        check_protocol_targets,
        check_protocol_test_sizes,
        check_protocol_empty_class,
        check_protocol_few_rows,
        check_protocol_degenerate,
        check_protocol_no_val,
    ]
