"""The checks of protocols."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import torch
from torch import nn

from bench.data.samples import Meta, Samples
from bench.errors import Declined
from bench.naming import registry
from bench.protocols.base import Job, Sweeps
from bench.seeding import generator
from bench.testing._alone import require_alone
from bench.testing._finding import Check, Finding, require
from bench.testing._protocol_case import (
    FAR,
    ProtocolCase,
    accuracy,
    distance,
    pick,
    require_predictions,
)
from bench.testing.edges import edge_checks
from bench.testing.symmetries import symmetry_checks

KINDS = {"classes", "binary", "number"}


def check_protocol_alone(case: ProtocolCase) -> None:
    """Import, build, select, fit and predict write no file, use no network, and leave global state
    unchanged."""
    require_alone(
        {
            "its file": lambda: registry.load(case.spec.entry),
            "build": case.build,
            "select": lambda: case.selected,
            "fit": lambda: case.default_fit,
            "predict": lambda: case.default_fit[0].predict(case.test()),
        },
        path=case.spec.entry.path,
        instead="keep what is learnt on self, and give it in report()",
    )


def check_protocol_contract(case: ProtocolCase) -> None:
    """`output`, `accepts` and `seeded` are valid; the trunk is made in fit, not in build; select chooses
    arguments of build; fit returns self."""
    try:
        protocol = case.build(trunk=_refuse)
    except _TrunkInBuild:
        raise Finding("build makes the trunk; keep the factory, and call it in fit") from None
    require(
        getattr(protocol, "output", None) in ("log_probability", "score"),
        f"`output` is {getattr(protocol, 'output', None)!r}; expected 'log_probability' or 'score'",
    )
    accepts = getattr(protocol, "accepts", None)
    require(
        isinstance(accepts, frozenset) and bool(accepts) and accepts <= KINDS,
        f"`accepts` is {accepts!r}; expected a frozenset of {', '.join(sorted(KINDS))}",
        at="accepts",
    )
    require(
        type(protocol.seeded) is bool,
        f"`seeded` is {protocol.seeded!r}; expected True or False",
        at="seeded",
    )
    unknown = sorted(set(case.selected) - set(case.spec.arguments))
    require(
        not unknown,
        f"select chooses {', '.join(map(repr, unknown))}, which build does not take",
        at="select()",
    )
    _require_json(case.selected, "select")
    fitted, returned = case.default_fit
    require(returned is fitted, f"fit returns {type(returned).__name__}; return self", at="fit()")


class _TrunkInBuild(Exception):
    pass


def _refuse(state: object, *, seed: int, blocks: int | None = None) -> NoReturn:
    raise _TrunkInBuild


def check_protocol_output(case: ProtocolCase) -> None:
    """Predictions are finite float32 (n, k) for each target and its variants; where `output` is
    "log_probability", probabilities sum to 1."""
    predictions = case.fitted().predict(case.test())
    require_predictions(case.fitted(), predictions, case.meta, 60)
    for name, values in predictions.items():
        if case.fitted().output == "log_probability":
            total = np.exp(values.astype(np.float64)).sum(axis=1)
            require(
                bool(np.allclose(total, 1, atol=1e-3)),
                f"{name!r}: probabilities sum to {total[0]:.3g}, not 1; give log p, or output = 'score'",
            )


def check_protocol_untouched(case: ProtocolCase) -> None:
    """select, fit and predict change neither features nor labels in place: other cells use the same
    arrays."""
    fitted = case.fitted()
    for part, original in zip(case.samples, case.parts(), strict=True):
        require(
            np.array_equal(part.x, original.x),  # type: ignore[arg-type]
            "fit or select changes the training features in place; copy them first",
        )
        require(
            part.y.keys() == original.y.keys()
            and all(np.array_equal(part.y[name], y) for name, y in original.y.items()),
            "fit or select changes the labels in place; copy them first",
        )
    x = case.test()
    fitted.predict(x)
    require(
        np.array_equal(x, case.test()),
        "predict changes the test features in place; copy them first",
    )


def check_protocol_learns(case: ProtocolCase) -> None:
    """On well separated blobs its accuracy is at least 0.95."""
    if case.separation == FAR:
        fitted = case.fitted()
    else:
        fitted = case.fit(case.blobs(120, seed=0), case.blobs(40, seed=1))
    score = accuracy(fitted, case.blobs(200, seed=2))
    require(score >= 0.95, f"accuracy {score:.2f} on well separated blobs; expected 0.95")


def check_protocol_chance(case: ProtocolCase) -> None:
    """With shuffled training labels its accuracy is at chance: no information leaks from test rows."""
    parts = []
    for seed in (0, 1):
        samples = case.blobs((400, 200)[seed], seed=seed)
        order = generator(seed, "shuffled").permutation(len(samples))
        parts.append(Samples(samples.x, {"label": samples.y["label"][order]}, samples.rows))
    test = case.blobs(2000, seed=2, separation=0.0)
    score, chance = accuracy(case.fit(parts[0], parts[1]), test), 1 / case.classes
    bound = 4 * (chance * (1 - chance) / len(test)) ** 0.5
    require(
        abs(score - chance) < bound,
        f"accuracy {score:.3f} on shuffled labels; expected {chance:.3f} +- {bound:.3f}",
    )


def check_protocol_report(case: ProtocolCase) -> None:
    """report() is a JSON object with finite numbers; each `temperature` is positive, and of a target or
    variant that it predicts."""
    report = case.fitted().report()
    _require_json(report, "report")
    predicted = case.fitted().predict(case.test(3))
    for name, value in report.get("temperature", {}).items():
        is_valid = isinstance(value, int | float) and value > 0 and name in predicted
        require(is_valid, f"the temperature of {name!r} is {value!r}; expected a positive number")


def _require_json(value: object, method: str) -> None:
    require(
        isinstance(value, Mapping), f"{method} returns {type(value).__name__}; expected a mapping"
    )
    try:
        parsed = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise Finding(
            f"{method} does not return JSON ({error}); use plain finite numbers"
        ) from error
    require(parsed.keys() == value.keys(), f"{method} has keys that are not strings")  # type: ignore[attr-defined]


def check_protocol_head(case: ProtocolCase) -> None:
    """head() is None, or a module from unscaled features to logits that passes gradients and was fitted to
    the training rows alone."""
    train, test = case.blobs(80, seed=0), case.blobs(100, seed=2)
    # More validation rows, with wrong labels: a head that is fitted to both learns the wrong ones.
    blobs = case.blobs(320, seed=1)
    val = Samples(blobs.x, {"label": (blobs.y["label"] + 1) % case.classes}, blobs.rows)
    head = case.fit(train, val).head()
    if head is None:
        return
    require(isinstance(head, nn.Module), f"head() is {type(head).__name__}; expected a module")
    x = torch.from_numpy(np.asarray(test.x)).requires_grad_()
    output = head(x)
    logits = output["label"] if isinstance(output, Mapping) else output
    is_valid = isinstance(logits, torch.Tensor) and tuple(logits.shape) == (100, case.classes)
    require(is_valid, "head()(features) must be logits (n, k), or a mapping from targets to logits")
    require(bool(logits.requires_grad), "no gradient passes head(); use plain torch modules")
    score = float((logits.argmax(dim=1).numpy() == test.y["label"]).mean())
    require(
        score >= 0.9,
        f"the head's accuracy is {score:.2f} where validation labels are wrong; fit it to unscaled "
        "features of train alone",
    )


def check_protocol_sweep(case: ProtocolCase) -> None:
    """sweep(samples, jobs, x), where it has one, equals a loop of fits, each with the rows, validation
    rows, seed and meta of its job."""
    train, val = case.parts()
    rows = np.arange(len(train))
    samples = Samples(
        np.concatenate([train.x, val.x]),
        {"label": np.concatenate([train.y["label"], val.y["label"]])},
        np.arange(len(train) + len(val)),
    )
    val_rows = np.arange(len(train), len(samples))
    unseen = Meta({"label": replace(case.meta.targets["label"], unseen=frozenset({3}))})
    jobs = [
        Job(case.meta, rows, val_rows, 0),
        Job(case.meta, rows[::3], val_rows[::2], 1),
        Job(case.meta, rows[5:40], None, 1),
        Job(unseen, rows[rows % 4 != 3], val_rows[val_rows % 4 != 3], 0),
    ]
    if not isinstance(case.build(), Sweeps):
        return
    single_fits, fitted_jobs = [], []
    for job in jobs:
        protocol = case.build(seed=job.seed, meta=job.meta, **case.selected)
        job_val = None if job.val is None else pick(samples, job.val)
        try:
            single_fits.append(protocol.fit(pick(samples, job.train), job_val))
        except Declined:
            continue
        fitted_jobs.append(job)
    x = case.test()
    sweeping: Any = case.build(**case.selected)
    outcomes = sweeping.sweep(samples, fitted_jobs, x)
    require(
        len(outcomes) == len(fitted_jobs), f"{len(fitted_jobs)} jobs give {len(outcomes)} outcomes"
    )
    for number, (single, (swept, report)) in enumerate(zip(single_fits, outcomes, strict=True)):
        expected = single.predict(x)
        require(
            set(swept) == set(expected)
            and all(distance(single, swept[name], expected[name]) <= 1e-3 for name in expected),
            f"job {number} of a sweep predicts differently from a single fit; use its rows, validation "
            "rows, seed and meta",
        )
        require(
            report.get("temperature") == single.report().get("temperature"),
            f"job {number} of a sweep reports another temperature than a single fit",
        )


def protocol_checks() -> list[Check[ProtocolCase]]:
    """For a protocol that reads features and predicts classes, the most basic check first."""
    return [
        check_protocol_alone,
        check_protocol_contract,
        check_protocol_output,
        check_protocol_untouched,
        check_protocol_learns,
        check_protocol_chance,
        *symmetry_checks(),
        *edge_checks(),
        check_protocol_report,
        check_protocol_head,
        check_protocol_sweep,
    ]
