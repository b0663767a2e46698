"""What every protocol keeps to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bench.data.samples import Meta, Samples
from bench.errors import Declined
from bench.naming import registry
from bench.protocols.base import Job, Selects, Sweeps, TransferProtocol
from bench.seeding import generator
from bench.testing._alone import require_alone
from bench.testing._finding import Check, Finding, require
from bench.testing._protocol_case import ProtocolCase, accuracy, distance, pick, require_predictions
from bench.testing.edges import edge_checks
from bench.testing.symmetries import symmetry_checks

__all__ = ["protocol_checks"]

Array = npt.NDArray[Any]
KINDS = {"classes", "binary", "number"}


def check_protocol_alone(case: ProtocolCase) -> None:
    """Import, build, select, fit and predict write no file, need no network, leave global state
    alone."""
    found: list[TransferProtocol] = []

    def select() -> None:
        if isinstance(found[0], Selects):
            found[0].select(*case.parts())

    require_alone(
        {
            "its file": lambda: registry.load(case.spec.entry),
            "build": lambda: found.append(case.build()),
            "select": select,
            "fit": lambda: found[0].fit(*case.parts()),
            "predict": lambda: found[0].predict(case.test()),
        },
        instead="a protocol keeps what it learns on self, and tells it in report()",
    )


def check_protocol_contract(case: ProtocolCase) -> None:
    """It says what it gives and takes, takes its trunk in fit and not in build, chooses arguments that
    build has, and fit gives it back."""
    try:
        protocol = case.build(trunk=_refused)
    except _TooEarly:
        raise Finding("build asks for the trunk; keep the factory, and ask it in fit") from None
    require(
        getattr(protocol, "output", None) in ("log_probability", "score"),
        f"`output` is {getattr(protocol, 'output', None)!r}; 'log_probability' or 'score' is wanted",
    )
    accepts = getattr(protocol, "accepts", None)
    require(
        isinstance(accepts, frozenset) and bool(accepts) and accepts <= KINDS,
        f"`accepts` is {accepts!r}; a frozenset of {', '.join(sorted(KINDS))} is wanted",
    )
    require(
        type(protocol.seeded) is bool, f"`seeded` is {protocol.seeded!r}; True or False is wanted"
    )
    protocol = case.build()
    if isinstance(protocol, Selects):
        chosen = protocol.select(*case.parts())
        odd = sorted(set(chosen) - set(case.spec.arguments))
        require(not odd, f"select chooses {', '.join(map(repr, odd))}, which build does not take")
        _require_json(chosen, "select")
    protocol = case.build()
    require(protocol.fit(*case.parts()) is protocol, "fit gives something else; return self")


class _TooEarly(Exception):
    pass


def _refused(state: object, *, seed: int, blocks: int | None = None) -> NoReturn:
    raise _TooEarly


def check_protocol_output(case: ProtocolCase) -> None:
    """Predictions are finite float32 (n, k) for its targets and their variants; log-probabilities sum
    to 1."""
    found = case.usual().predict(case.test())
    require_predictions(case.usual(), found, case.meta, 60)
    for name, values in found.items():
        if case.usual().output == "log_probability":
            total = np.exp(values.astype(np.float64)).sum(axis=1)
            require(
                bool(np.allclose(total, 1, atol=1e-3)),
                f"{name!r}: probabilities sum to {total[0]:.3g}, not 1; give log p, or output = 'score'",
            )


def check_protocol_untouched(case: ProtocolCase) -> None:
    """select, fit and predict leave the features and labels that they are given unchanged: others use
    the same arrays."""
    train, val = case.parts()
    kept = [(part, np.copy(part.x), {**part.y}, _copied(part.y)) for part in (train, val)]  # type: ignore[arg-type]
    protocol = case.fit(train, val)
    for part, x, own, labels in kept:
        alike = np.array_equal(part.x, x)  # type: ignore[arg-type]
        same = part.y.keys() == own.keys() and all(
            np.array_equal(part.y[name], labels[name]) for name in own
        )
        require(alike, "the training features that were passed in are changed; copy them first")
        require(same, "the labels that were passed in are changed; copy them first")
    x = case.test()
    before = x.copy()
    protocol.predict(x)
    require(np.array_equal(x, before), "the test features are changed by predict; copy them first")


def _copied(labels: Mapping[str, Array]) -> dict[str, Array]:
    return {name: y.copy() for name, y in labels.items()}


def check_protocol_learns(case: ProtocolCase) -> None:
    """On well separated blobs it is right in 19 of 20 cases."""
    fitted = case.fit(case.blobs(120, seed=0), case.blobs(40, seed=1))
    right = accuracy(fitted, case.blobs(200, seed=2))
    require(right >= 0.95, f"accuracy {right:.2f} on separable blobs; 0.95 is wanted")


def check_protocol_chance(case: ProtocolCase) -> None:
    """On shuffled labels it is at chance: nothing leaks from the test rows."""
    parts = []
    for seed in (0, 1):
        samples = case.blobs((400, 200)[seed], seed=seed)
        order = generator(seed, "shuffled").permutation(len(samples))
        parts.append(Samples(samples.x, {"label": samples.y["label"][order]}, samples.rows))
    test = case.blobs(2000, seed=2, separation=0.0)
    found, chance = accuracy(case.fit(parts[0], parts[1]), test), 1 / case.classes
    bound = 4 * (chance * (1 - chance) / len(test)) ** 0.5
    require(
        abs(found - chance) < bound,
        f"accuracy {found:.3f} on shuffled labels; {chance:.3f} +- {bound:.3f} is wanted",
    )


def check_protocol_report(case: ProtocolCase) -> None:
    """report() is JSON with finite numbers; a `temperature` is above 0, of a predicted column."""
    report = case.usual().report()
    _require_json(report, "report")
    columns = case.usual().predict(case.test(3))
    for name, value in report.get("temperature", {}).items():
        good = isinstance(value, int | float) and value > 0 and name in columns
        require(good, f"the temperature of {name!r} is {value!r}; a number above 0 is wanted")


def _require_json(value: object, what: str) -> None:
    require(isinstance(value, Mapping), f"{what} gives {type(value).__name__}; a mapping is wanted")
    try:
        back = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise Finding(
            f"{what} gives no JSON ({error}); give plain numbers that are finite"
        ) from error
    require(back.keys() == value.keys(), f"{what} has keys that are no strings")  # type: ignore[attr-defined]


def check_protocol_head(case: ProtocolCase) -> None:
    """head(), where there is one, is a module from features as they come to logits, passes gradients,
    and has learnt from train alone."""
    train, test = case.blobs(80, seed=0), case.blobs(100, seed=2)
    # More rows with another truth: who fits the head on both believes them.
    other = case.blobs(320, seed=1)
    val = Samples(other.x, {"label": (other.y["label"] + 1) % case.classes}, other.rows)
    head = case.fit(train, val).head()
    if head is None:
        return
    require(isinstance(head, nn.Module), f"head() is {type(head).__name__}; a module is wanted")
    x = torch.from_numpy(np.asarray(test.x)).requires_grad_()
    found = head(x)
    logits = found["label"] if isinstance(found, Mapping) else found
    good = isinstance(logits, torch.Tensor) and tuple(logits.shape) == (100, case.classes)
    require(good, "head()(features) gives no (n, k) of the target; give logits, or them by target")
    require(bool(logits.requires_grad), "no gradient passes head(); give plain torch modules")
    right = float((logits.argmax(dim=1).numpy() == test.y["label"]).mean())
    require(
        right >= 0.9,
        f"the head's accuracy is {right:.2f} where validation has other labels than train; fit it on "
        "train alone, on features as they come",
    )


def check_protocol_sweep(case: ProtocolCase) -> None:
    """`sweep`, where it has one, equals the loop over its jobs at fixed parameters: rows, validation,
    seed and meta of each."""
    train, val = case.parts()
    rows = np.arange(len(train))
    samples = Samples(
        np.concatenate([train.x, val.x]),
        {"label": np.concatenate([train.y["label"], val.y["label"]])},
        np.arange(len(train) + len(val)),
    )
    after = np.arange(len(train), len(samples))
    unseen = Meta({"label": replace(case.meta.targets["label"], unseen=frozenset({3}))})
    jobs = [
        Job(case.meta, rows, after, 0),
        Job(case.meta, rows[::3], after[::2], 1),
        Job(case.meta, rows[5:40], None, 1),
        Job(unseen, rows[rows % 4 != 3], after[after % 4 != 3], 0),
    ]
    swept = case.build()
    if not isinstance(swept, Sweeps):
        return
    chosen = dict(swept.select(train, val)) if isinstance(swept, Selects) else {}
    loop, done = [], []
    for job in jobs:
        one = case.build(seed=job.seed, meta=job.meta, **chosen)
        own = None if job.val is None else pick(samples, job.val)
        try:
            loop.append(one.fit(pick(samples, job.train), own))
        except Declined:
            continue
        done.append(job)
    x = case.test()
    sweeping: Any = case.build(**chosen)
    outcomes = sweeping.sweep(samples, done, x)
    require(len(outcomes) == len(done), f"{len(done)} jobs give {len(outcomes)} outcomes")
    for number, (one, (found, report)) in enumerate(zip(loop, outcomes, strict=True)):
        wanted = one.predict(x)
        alike = set(found) == set(wanted) and all(
            distance(one, found[name], wanted[name]) <= 1e-3 for name in wanted
        )
        require(
            alike, f"job {number} of a sweep predicts otherwise than a fit of its own; use its rows, "
            "validation, seed and meta",
        )  # fmt: skip
        require(
            report.get("temperature") == one.report().get("temperature"),
            f"job {number} of a sweep reports another temperature than a fit of its own",
        )


def protocol_checks() -> list[Check[ProtocolCase]]:
    """For a protocol that reads features and predicts classes; what is basic comes first."""
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
