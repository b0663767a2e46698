"""Changes around a protocol that must not change its predictions."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.data.samples import Samples
from bench.protocols.base import TransferProtocol
from bench.seeding import generator, seeded
from bench.testing._finding import Check, require
from bench.testing._protocol_case import NUMBERS, ProtocolCase, distance, pick

# In probability. Solvers stop at a tolerance far below; a different question gives far more.
TOLERANCE = 0.05


def check_protocol_deterministic(case: ProtocolCase) -> None:
    """The same test rows give the same predictions, bit for bit, in every call."""
    x, fitted = case.test(), case.fitted()
    require(
        _equal(fitted.predict(x), fitted.predict(x)),
        "a second predict(x) differs from the first; predict in eval mode, without random numbers",
    )


def check_protocol_instances(case: ProtocolCase) -> None:
    """Two instances share no state: fitting the second leaves the predictions of the first unchanged."""
    x, fitted = case.test(), case.fitted()
    before = fitted.predict(x)
    vars(case).pop("fitted_to_renumbered", None)  # fitted now, and not earlier
    _ = case.fitted_to_renumbered
    require(
        _equal(fitted.predict(x), before),
        "fitting a second instance changes the first: they share state; keep what is learnt on self",
    )


def check_protocol_repeatable(case: ProtocolCase) -> None:
    """Two fits with the same seed predict the same, bit for bit, whatever the global random state."""
    x = case.test()
    before = case.fitted().predict(x)
    with seeded(90210):
        again = case.fit(*case.parts()).predict(x)
    require(
        _equal(again, before),
        "two fits with one seed differ; draw every number from bench.generator(seed, purpose)",
    )


def check_protocol_seeded(case: ProtocolCase) -> None:
    """Another seed changes the predictions if it says `seeded`, and changes nothing if it does not."""
    x = case.test()
    differs = not _equal(case.fitted(0).predict(x), case.fitted(1).predict(x))
    require(
        differs or not case.is_seeded,
        "another seed changes nothing; use the seed, or say seeded = False",
    )
    require(
        case.is_seeded or not differs,
        "another seed changes the predictions, though it says seeded = False",
    )


def check_protocol_test_order(case: ProtocolCase) -> None:
    """The prediction of a test row depends neither on the order of the test rows nor on the others."""
    fitted, x = case.fitted(), case.test()
    order = generator(0, "order").permutation(len(x))
    for name, whole in fitted.predict(x).items():
        reordered = fitted.predict(x[order])[name]
        single = np.concatenate([fitted.predict(x[i : i + 1])[name] for i in range(5)])
        close = np.allclose(whole[order], reordered, atol=1e-4) and np.allclose(
            whole[:5], single, atol=1e-4
        )
        require(
            close,
            f"{name!r}: the prediction of a test row depends on the other test rows or their order; take "
            "means and scales from the training rows",
        )


def check_protocol_train_order(case: ProtocolCase) -> None:
    """The order of training and validation rows changes the predictions by no more than the solver's
    tolerance (with random numbers: at most one guess in ten)."""
    rng = generator(0, "train order")
    train, val = (pick(part, rng.permutation(len(part))) for part in case.parts())
    gap = _gap(case, case.fitted(), case.fit(train, val))
    require(
        gap <= _tolerance(case),
        f"another order of the training rows changes predictions by {gap:.2g}; use all rows alike",
    )


def check_protocol_relabelled(case: ProtocolCase) -> None:
    """Other numbers for the same classes only permute the columns of the predictions."""
    x, fitted = case.test(), case.fitted()
    columns = case.fitted_to_renumbered.predict(x)["label"][:, NUMBERS]
    gap = distance(fitted, fitted.predict(x)["label"], columns)
    require(
        gap <= _tolerance(case),
        f"other numbers for the classes change predictions by {gap:.2g}; treat all classes alike",
    )


def check_protocol_missing(case: ProtocolCase) -> None:
    """Rows whose label is missing (-1) have no influence: the fit is the same without them."""
    masked, reduced = [], []
    for part in case.parts():
        is_missing = generator(0, "missing").random(len(part)) < 0.3
        labels = np.where(is_missing, -1, part.y["label"])
        x = np.where(is_missing[:, None], np.float32(5), np.asarray(part.x))
        masked.append(Samples(x, {"label": labels}, part.rows))
        reduced.append(pick(part, np.flatnonzero(~is_missing)))
    gap = _gap(case, case.fit(masked[0], masked[1]), case.fit(reduced[0], reduced[1]))
    require(
        gap <= _tolerance(case),
        f"rows without a label change predictions by {gap:.2g}; leave out rows where y < 0, also for "
        "means and scales",
    )


def _tolerance(case: ProtocolCase) -> float:
    return 0.1 if case.is_seeded else TOLERANCE


def _gap(case: ProtocolCase, a: TransferProtocol, b: TransferProtocol) -> float:
    x = case.test()
    return distance(a, a.predict(x)["label"], b.predict(x)["label"])


def _equal(a: Any, b: Any) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


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
