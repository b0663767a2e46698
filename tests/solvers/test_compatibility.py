"""Ranking losses against loops over rows and classes, and properties of the maps learnt by them."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch

from bench.errors import BenchError
from bench.seeding import generator, torch_generator
from bench.solvers.compatibility import Rule, ranking, train

RULES = get_args(Rule)


def drawn(rows: int = 12, classes: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    scores = torch.randn(rows, classes, generator=torch_generator(0, "scores"), dtype=torch.float64)
    return scores.requires_grad_(), torch.arange(rows) % classes


def plain(scores: torch.Tensor, y: torch.Tensor, rule: str, margin: float) -> torch.Tensor:
    """Row by row, class by class."""
    losses = []
    for row, truth in zip(scores, y.tolist(), strict=True):
        over = [margin + s - row[truth] for c, s in enumerate(row) if c != truth]
        over = [value for value in over if value.item() > 0]
        r = len(over)
        if rule == "sje":
            over, weight = [max(over, key=torch.Tensor.item)] if over else [], 1.0
        elif rule == "ale":
            weight = sum(1 / i for i in range(1, r + 1)) / max(r, 1)
        else:
            weight = 1.0
        losses.append(weight * sum(over, torch.zeros((), dtype=scores.dtype)))
    return torch.stack(losses)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("margin", [0.1, 0.7, 5.0])
def test_a_loss_and_its_slope_are_those_of_a_loop(rule: Rule, margin: float) -> None:
    scores, y = drawn()
    ours, theirs = ranking(scores, y, rule, margin=margin), plain(scores, y, rule, margin)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    slopes = [torch.autograd.grad(loss.sum(), scores)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*slopes, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(lambda s: ranking(s, y, rule, margin=margin), scores)


def test_with_one_violator_all_rules_are_one() -> None:
    scores = torch.tensor([[2.0, 1.5, -3.0], [0.0, 4.0, 3.5]])
    values = [ranking(scores, torch.tensor([0, 1]), rule) for rule in RULES]
    assert all(torch.equal(loss, torch.tensor([0.5, 0.5])) for loss in values)


def test_the_worst_violators_share_where_they_are_equals() -> None:
    scores = torch.zeros(1, 5, requires_grad=True)
    (slope,) = torch.autograd.grad(ranking(scores, torch.tensor([2]), "sje").sum(), scores)
    assert slope.tolist() == [[0.25, 0.25, -1.0, 0.25, 0.25]]


@pytest.mark.parametrize("rule", RULES)
def test_a_margin_is_a_scale(rule: Rule) -> None:
    scores, y = drawn()
    unscaled, scaled = (
        ranking(scores, y, rule, margin=0.5),
        ranking(8 * scores, y, rule, margin=4.0),
    )
    torch.testing.assert_close(8 * unscaled, scaled)


def problem(noise: float = 0.3) -> tuple[Any, Any, Any]:
    rng = generator(0, "compatibility")
    signatures, y = rng.standard_normal((6, 4)), np.arange(120) % 6
    signatures /= np.linalg.norm(signatures, axis=1, keepdims=True)
    turn = rng.standard_normal((4, 8)) / np.sqrt(8)
    x = signatures[y] @ turn + noise * rng.standard_normal((120, 8)) / np.sqrt(8)
    return x.astype(np.float32), y, signatures


GIVEN: dict[str, Any] = {"rate": 0.1, "decay": 0.0, "samples": 20_000, "seed": 0}


@pytest.mark.parametrize("rule", RULES)
def test_training_lowers_the_loss_and_depends_on_its_seed_alone(rule: Rule) -> None:
    x, y, signatures = problem()
    state = torch.get_rng_state()
    models = [train(x, y, signatures, rule, **{**GIVEN, "seed": seed}) for seed in (0, 0, 1)]
    assert torch.equal(state, torch.get_rng_state())
    assert models[0].tobytes() == models[1].tobytes() != models[2].tobytes()
    assert models[0].shape == (8, 4) and models[0].dtype == np.float32
    scores = torch.from_numpy(x @ models[0] @ signatures.T.astype(np.float32))
    start = ranking(torch.zeros_like(scores), torch.from_numpy(y), rule).mean()
    assert float(ranking(scores, torch.from_numpy(y), rule).mean()) < 0.3 * float(start)
    small = train(x, y, signatures, rule, **{**GIVEN, "decay": 3.0})
    assert np.linalg.norm(small) < 0.7 * np.linalg.norm(models[0])


def test_nothing_is_learnt_of_an_attribute_that_no_class_has() -> None:
    x, y, signatures = problem()
    wide = np.concatenate([signatures, np.zeros((6, 1))], axis=1)
    weights = train(x, y, wide, "ale", **GIVEN)
    assert not weights[:, 4].any() and weights[:, :4].all()


def test_wrong_arguments_are_refused() -> None:
    x, y, signatures = problem()
    with pytest.raises(BenchError, match="samples=0"):
        train(x, y, signatures, "ale", **{**GIVEN, "samples": 0})
    with pytest.raises(BenchError, match=r"rate=-1"):
        train(x, y, signatures, "ale", **{**GIVEN, "rate": -1.0})
    with pytest.raises(BenchError, match="decay=-1"):
        train(x, y, signatures, "ale", **{**GIVEN, "decay": -1.0})
    with pytest.raises(BenchError, match="with 4 classes 0 to 3 are allowed"):
        train(x, y, signatures[:4], "ale", **GIVEN)
    with pytest.raises(BenchError, match="do not fit"):
        train(x, y[:5], signatures, "ale", **GIVEN)
    with pytest.raises(BenchError, match="diverged"):
        train(x, y, signatures, "ale", **{**GIVEN, "rate": 1.0, "decay": 1e30})
