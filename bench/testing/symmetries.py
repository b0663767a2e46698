"""What may be changed around a protocol without changing what it predicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.samples import Samples
from bench.protocols.base import TransferProtocol
from bench.seeding import generator, seeded
from bench.testing._finding import Check, require
from bench.testing._protocol_case import ProtocolCase, distance, pick

__all__ = ["symmetry_checks"]

Array = npt.NDArray[Any]
# In probability. Solvers stop at a tolerance; what changes with the question is far above it.
CLOSE = 0.05


def check_protocol_deterministic(case: ProtocolCase) -> None:
    """The same test rows give the same predictions, bit for bit, as often as they are asked for."""
    x, fitted = case.test(), case.usual()
    require(
        _same(fitted.predict(x), fitted.predict(x)),
        "a second predict(x) differs from the first; predict in eval mode, without drawing numbers",
    )


def check_protocol_instances(case: ProtocolCase) -> None:
    """Two of a kind side by side share nothing: fitting the second leaves the first as it was."""
    train, val = case.parts()
    x, first = case.test(), case.fit(train, val)
    before = first.predict(x)
    case.fit(_renamed(train, np.array([1, 0, 3, 2])), _renamed(val, np.array([1, 0, 3, 2])))
    require(
        _same(first.predict(x), before),
        "fitting another one changes it: they share state; keep what is learnt on self",
    )


def check_protocol_repeatable(case: ProtocolCase) -> None:
    """Fitted anew with the same seed it predicts the same, bit for bit, whatever global random state
    is."""
    x = case.test()
    wanted = case.usual().predict(x)
    with seeded(90210):
        again = case.fit(*case.parts()).predict(x)
    require(
        _same(again, wanted),
        "two fits with one seed differ; draw every number from bench.seeding.generator(seed, what for)",
    )


def check_protocol_seeded(case: ProtocolCase) -> None:
    """Another seed makes other predictions exactly where it says `seeded`."""
    x = case.test()
    moves = not _same(case.usual(0).predict(x), case.usual(1).predict(x))
    require(
        moves or not case.draws, "another seed changes nothing; use the seed, or say seeded = False"
    )
    require(
        case.draws or not moves,
        "another seed makes other predictions, though it says seeded = False",
    )


def check_protocol_test_order(case: ProtocolCase) -> None:
    """A test row's prediction depends neither on the order of the test rows nor on the others."""
    fitted, x = case.usual(), case.test()
    order = generator(0, "order").permutation(len(x))
    for name, whole in fitted.predict(x).items():
        moved = fitted.predict(x[order])[name]
        alone = np.concatenate([fitted.predict(x[i : i + 1])[name] for i in range(5)])
        close = np.allclose(whole[order], moved, atol=1e-4) and np.allclose(
            whole[:5], alone, atol=1e-4
        )
        require(
            close,
            f"{name!r}: predictions change with the order or the company of test rows; take means and "
            "scales from the training rows",
        )


def check_protocol_train_order(case: ProtocolCase) -> None:
    """The order of training and validation rows changes nothing beyond a solver's tolerance (of what
    draws random numbers: nine guesses of ten stay)."""
    rng = generator(0, "train order")
    parts = [pick(part, rng.permutation(len(part))) for part in case.parts()]
    moved = _gap(case, case.usual(), case.fit(parts[0], parts[1]))
    require(
        moved <= _tolerance(case),
        f"another order of the training rows moves predictions by {moved:.2g}; use all rows alike",
    )


def check_protocol_relabelled(case: ProtocolCase) -> None:
    """Other numbers for the same classes only permute the columns of the predictions."""
    numbers = np.array([2, 0, 3, 1])
    train, val = (_renamed(part, numbers) for part in case.parts())
    x, fitted = case.test(), case.usual()
    found = case.fit(train, val).predict(x)["label"]
    moved = distance(fitted, fitted.predict(x)["label"], found[:, numbers])
    require(
        moved <= _tolerance(case),
        f"other numbers for the classes move predictions by {moved:.2g}; treat all classes alike",
    )


def check_protocol_missing(case: ProtocolCase) -> None:
    """A row whose label is missing (-1), wherever it lies, teaches nothing: the fit is that without
    these rows."""
    masked, without = [], []
    for part in case.parts():
        gone = generator(0, "missing").random(len(part)) < 0.3
        labels = np.where(gone, -1, part.y["label"])
        far = np.where(gone[:, None], np.float32(5), np.asarray(part.x))
        masked.append(Samples(far, {"label": labels}, part.rows))
        without.append(pick(part, np.flatnonzero(~gone)))
    moved = _gap(case, case.fit(masked[0], masked[1]), case.fit(without[0], without[1]))
    require(
        moved <= _tolerance(case),
        f"rows without a label move predictions by {moved:.2g}; leave out rows where y < 0, also for "
        "means and scales",
    )


def _renamed(samples: Samples, numbers: Array) -> Samples:
    return Samples(samples.x, {"label": numbers[samples.y["label"]]}, samples.rows)


def _tolerance(case: ProtocolCase) -> float:
    return 0.1 if case.draws else CLOSE


def _gap(case: ProtocolCase, one: TransferProtocol, other: TransferProtocol) -> float:
    x = case.test()
    return distance(one, one.predict(x)["label"], other.predict(x)["label"])


def _same(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


def symmetry_checks() -> list[Check[ProtocolCase]]:
    return [
        check_protocol_deterministic,
        check_protocol_instances,
        check_protocol_repeatable,
        check_protocol_seeded,
        check_protocol_test_order,
        check_protocol_train_order,
        check_protocol_relabelled,
        check_protocol_missing,
    ]
