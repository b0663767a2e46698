"""The class-normalised network against PyTorch's own layers, and what a prototype depends on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from bench.errors import BenchError
from bench.seeding import generator
from bench.solvers.prototype_network import PrototypeNetwork, train

GIVEN: dict[str, Any] = {"width": 32, "rate": 4e-3, "scale": 10.0, "samples": 20_000, "seed": 0}


def problem() -> tuple[Any, Any, Any]:
    rng = generator(0, "embedding")
    signatures, y = rng.standard_normal((6, 4)), np.arange(120) % 6
    signatures /= np.linalg.norm(signatures, axis=1, keepdims=True)
    x = signatures[y] @ rng.standard_normal((4, 8)) + 0.2 * rng.standard_normal((120, 8))
    return x.astype(np.float32) / np.float32(np.sqrt(8)), y, signatures


@pytest.fixture(scope="module")
def fitted() -> PrototypeNetwork:
    return train(*problem(), **GIVEN)


def test_it_is_batch_normalisation_over_the_seen_classes(fitted: PrototypeNetwork) -> None:
    _, _, signatures = problem()
    w1, b1, w2, b2, w3, b3 = fitted.parameters
    hidden = torch.relu(2 * torch.from_numpy(signatures).float() @ w1 + b1) @ w2 + b2
    hidden = torch.relu(functional.batch_norm(hidden, None, None, training=True))
    hidden = functional.batch_norm(hidden, None, None, training=True)
    np.testing.assert_allclose(
        fitted.prototypes(signatures), (hidden @ w3 + b3).numpy(), rtol=1e-4, atol=1e-5
    )


def test_a_prototype_depends_on_no_other_class(fitted: PrototypeNetwork) -> None:
    unseen = generator(1, "more").standard_normal((40, 4))
    whole = fitted.prototypes(unseen)
    alone = np.concatenate([fitted.prototypes(row[None]) for row in unseen])
    np.testing.assert_allclose(whole, alone, rtol=1e-4, atol=1e-5)


def test_logits_are_scaled_cosines_and_separate_the_classes(fitted: PrototypeNetwork) -> None:
    x, y, signatures = problem()
    p = fitted.prototypes(signatures)
    cosines = x @ p.T / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(p, axis=1)
    scores = fitted.scores(x, signatures)
    np.testing.assert_allclose(scores, 10 * cosines, rtol=1e-4, atol=1e-5)
    assert (scores.argmax(axis=1) == y).mean() > 0.95
    assert np.isfinite(fitted.scores(np.zeros((2, 8), np.float32), signatures)).all()


def test_it_depends_on_its_seed_alone() -> None:
    state, table = torch.get_rng_state(), problem()[2]
    networks = [train(*problem(), **{**GIVEN, "samples": 2000, "seed": seed}) for seed in (0, 0, 1)]
    first, again, third = (network.prototypes(table).tobytes() for network in networks)
    assert first == again != third
    assert torch.equal(state, torch.get_rng_state())


def test_wrong_arguments_are_refused() -> None:
    for name in ("width", "rate", "scale", "samples"):
        with pytest.raises(BenchError, match=f"{name}=0"):
            train(*problem(), **{**GIVEN, name: 0})
