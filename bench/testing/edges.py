"""A protocol on unusual inputs: several targets, few rows, empty classes, no validation."""

from __future__ import annotations

import numpy as np

from bench.data.samples import Meta, Samples, Target
from bench.errors import BenchError, Declined
from bench.seeding import generator
from bench.testing._finding import Check, Finding, first_line, require
from bench.testing._protocol_case import ProtocolCase, accuracy, pick, require_predictions


def check_protocol_targets(case: ProtocolCase) -> None:
    """Of several targets, one or two of each kind that it accepts, each is learnt from the rows that have
    its label; or it raises Declined."""
    accepts = case.fitted().accepts
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
        is_missing = (generator(seed, "targets").random((4, count)) < 0.4) & missing
        labels = {
            "label": np.where(is_missing[0], -1, label),
            "half": np.where(is_missing[1], -1, label // 2),
            "tag": np.where(is_missing[2, :, None], -1, np.stack([label // 2, label % 2], axis=1)),
            "size": np.where(is_missing[3, :, None], np.nan, x[:, :2] - x[:, 2:4]).astype(
                np.float32
            ),
        }
        return Samples(base.x, {name: labels[name] for name in meta.targets}, base.rows)

    try:
        protocol = case.fit(
            labelled(160, 0, missing=True), labelled(60, 1, missing=True), meta=meta
        )
    except Declined:
        return  # it takes one target only
    test = labelled(100, 2, missing=False)
    predictions = protocol.predict(test.x)  # type: ignore[arg-type]
    require_predictions(protocol, predictions, meta, 100)
    for name, target in meta.targets.items():
        truth, values = test.y[name], predictions[name].astype(np.float64)
        if target.kind == "number":
            score = 1 - ((values - truth) ** 2).mean() / truth.var(axis=0).mean()
        elif target.kind == "binary":
            threshold = np.log(0.5) if protocol.output == "log_probability" else 0.0
            score = ((values > threshold) == (truth == 1)).mean()
        else:
            score = (values.argmax(axis=1) == truth).mean()
        require(
            score >= 0.9,
            f"{name!r} ({target.kind}), one of several targets with missing labels, scores {score:.2f}; "
            "expected 0.9: give each target the rows that have its label",
        )


def check_protocol_test_sizes(case: ProtocolCase) -> None:
    """It can predict 1, 7, 99 or 101 test rows."""
    for count in (1, 7, 99, 101):
        try:
            predictions = case.fitted().predict(case.test(count))
        except Exception as error:
            raise Finding(f"predict fails on {count} test rows ({first_line(error)})") from error
        require_predictions(case.fitted(), predictions, case.meta, count)


def check_protocol_empty_class(case: ProtocolCase) -> None:
    """A class without training rows keeps its column, with finite scores; rows of the other classes are
    still predicted correctly."""
    for empty in (0, case.classes - 1):
        parts = [pick(part, np.flatnonzero(part.y["label"] != empty)) for part in case.parts()]
        protocol = case.fit(parts[0], parts[1])
        test = case.blobs(60, seed=2)
        predictions = protocol.predict(test.x)  # type: ignore[arg-type]
        require_predictions(protocol, predictions, case.meta, 60)
        is_seen = test.y["label"] != empty
        score = (predictions["label"].argmax(axis=1) == test.y["label"])[is_seen].mean()
        require(
            score >= 0.9,
            f"without class {empty} in training, accuracy on the others is {score:.2f}; expected 0.9",
        )


def check_protocol_few_rows(case: ProtocolCase) -> None:
    """One training row per class is enough, also with fewer rows than features or neighbours."""
    wide = ProtocolCase(case.spec, classes=case.classes, dim=30)
    for small in (case, wide):
        train, val = (small.blobs(small.classes, seed=seed) for seed in (0, 1))
        try:
            protocol = small.fit(train, val)
            predictions = protocol.predict(small.test(9))
        except Exception as error:
            raise Finding(
                f"{len(train)} training rows of {small.dim} features are refused ({first_line(error)}); "
                "limit numbers of neighbours or folds to the rows that there are"
            ) from error
        require_predictions(protocol, predictions, small.meta, 9)


def check_protocol_degenerate(case: ProtocolCase) -> None:
    """With constant features, and with rows of zeros, predictions are finite."""
    train, val = case.parts()
    for part in (train, val):
        part.x[:, 0] = 3.0  # type: ignore[index]
        part.x[:2] = 0.0  # type: ignore[index]
        part.x[:, 1] = 0.0  # type: ignore[index]
    x = case.test(5)
    x[:2] = 0.0
    protocol = case.fit(train, val)
    with np.errstate(all="ignore"):
        predictions = protocol.predict(x)
    require_predictions(protocol, predictions, case.meta, 5)


def check_protocol_no_val(case: ProtocolCase) -> None:
    """Without validation rows (val = None) it learns from the training rows alone, or raises Declined."""
    train = case.blobs(120, seed=0)
    try:
        protocol = case.fit(train, None)
    except Declined:
        return
    except Exception as error:
        fault = "raises no Declined" if isinstance(error, BenchError) else "fails"
        raise Finding(
            f"fit(train, None) {fault} ({first_line(error)}); raise Declined(why), or choose by the "
            "training rows"
        ) from error
    score = accuracy(protocol, case.blobs(200, seed=2))
    require(score >= 0.9, f"accuracy {score:.2f} without validation; expected 0.9")


def edge_checks() -> list[Check[ProtocolCase]]:
    return [
        check_protocol_targets,
        check_protocol_test_sizes,
        check_protocol_empty_class,
        check_protocol_few_rows,
        check_protocol_degenerate,
        check_protocol_no_val,
    ]
