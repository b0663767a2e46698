"""The conditional VAE's bound against PyTorch's distributions, what it draws; the balanced softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as expected_divergence

from bench.errors import BenchError
from bench.seeding import generator, torch_generator
from bench.solvers import balanced_softmax
from bench.solvers.conditional_vae import (
    _decode,
    _encode,
    kl_divergence,
    negative_elbo,
    train,
)

GIVEN: dict[str, Any] = {"latent": 4, "width": 256, "samples": 60_000, "seed": 0}


def random(*shape: int, name: str = "x") -> torch.Tensor:
    return torch.randn(*shape, generator=torch_generator(0, name), dtype=torch.float64)


def small() -> list[torch.Tensor]:
    """Parameters of 3 features, 2 attributes, 2 numbers of code and 4 units."""
    sizes = ((5, 4), (4, 4), (4, 4), (4, 3))
    shapes = [shape for inputs, outputs in sizes for shape in ((inputs, outputs), (outputs,))]
    return [
        (0.5 * random(*shape, name=str(number))).requires_grad_()
        for number, shape in enumerate(shapes)
    ]


def test_the_divergence_is_that_of_the_distributions_and_of_draws() -> None:
    mean, log_variance = random(5, 3), random(5, 3, name="v")
    q = Normal(mean, (0.5 * log_variance).exp())
    p = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    value = kl_divergence(mean, log_variance)
    torch.testing.assert_close(value, expected_divergence(q, p).sum(dim=1))
    z = mean + q.scale * random(200_000, 5, 3, name="z")
    drawn = (q.log_prob(z) - p.log_prob(z)).sum(dim=2).mean(dim=0)
    torch.testing.assert_close(value, drawn, rtol=0.02, atol=0.02)


def test_the_bound_is_a_normal_likelihood_of_the_best_variance() -> None:
    parameters, x, s, noise = small(), random(6, 3), random(6, 2, name="s"), random(6, 2, name="n")
    mean, log_variance = _encode(parameters, x, s)
    z = mean + noise * (0.5 * log_variance).exp()
    away = x - _decode(parameters, z, s)
    best = away.square().mean(dim=0).sqrt()
    kl = kl_divergence(mean, log_variance).mean()

    def at(scale: torch.Tensor) -> torch.Tensor:
        likelihood = Normal(0.0, scale).log_prob(away).sum(dim=1).mean()
        return kl - likelihood - 1.5 * (1 + math.log(2 * math.pi))

    torch.testing.assert_close(negative_elbo(parameters, x, s, noise), at(best), atol=1e-4, rtol=0)
    assert at(best) < at(1.1 * best) and at(best) < at(0.9 * best)


def test_the_slope_of_the_bound_is_that_of_small_steps() -> None:
    x, s, noise = random(6, 3), random(6, 2, name="s"), random(6, 2, name="n")
    assert torch.autograd.gradcheck(lambda *p: negative_elbo(list(p), x, s, noise), small())


def problem(noise: float = 0.2) -> tuple[Any, Any, Any, Any]:
    rng = generator(0, "conditional")
    signatures, y = np.abs(rng.standard_normal((24, 4))), np.arange(480) % 20
    signatures /= np.linalg.norm(signatures, axis=1, keepdims=True)
    means = signatures @ rng.standard_normal((4, 8)) / 2
    x = means[y] + noise * rng.standard_normal((480, 8))
    return x.astype(np.float32) / 2, y, signatures, means / 2


def test_draws_of_classes_never_seen_are_balanced_and_like_them() -> None:
    x, y, signatures, means = problem()
    model = train(x, y, signatures[:20], **GIVEN)
    drawn, places = model.draw(signatures[20:], 300, 0)
    assert drawn.shape == (1200, 8) and drawn.dtype == np.float32
    assert np.bincount(places).tolist() == [300] * 4
    for place in range(4):
        features = drawn[places == place]
        away = np.linalg.norm(features.mean(axis=0) - means, axis=1)
        assert away[20:].argmin() == place and away[20 + place] < 0.5 * np.median(away)
        assert features.std(axis=0).mean() == pytest.approx(0.1, rel=0.3)
    assert model.draw(signatures[20:], 300, 0)[0].tobytes() == drawn.tobytes()
    assert model.draw(signatures[20:], 300, 1)[0].tobytes() != drawn.tobytes()
    assert model.draw(signatures[20:20], 300, 0)[0].shape == (0, 8)


def test_training_depends_on_its_seed_alone() -> None:
    x, y, signatures, _ = problem()
    state = torch.get_rng_state()
    options: list[dict[str, Any]] = [{**GIVEN, "samples": 2000, "seed": seed} for seed in (0, 0, 1)]
    draws = [
        train(x, y, signatures, **option).draw(signatures, 2, 0)[0].tobytes() for option in options
    ]
    assert draws[0] == draws[1] != draws[2]
    assert torch.equal(state, torch.get_rng_state())


def test_a_balanced_softmax_has_no_prior() -> None:
    rng = generator(0, "balanced")
    y = np.repeat([0, 1], [1000, 50])
    x = (y[:, None] * 2.0 - 1 + 1.5 * rng.standard_normal((1050, 2))).astype(np.float32) / 2
    model = balanced_softmax.train(x, y, 2, samples=60_000, seed=0)
    right = [(model.scores(x[y == c]).argmax(axis=1) == c).mean() for c in (0, 1)]
    assert abs(right[0] - right[1]) < 0.1 and min(right) > 0.75
    again, third = (balanced_softmax.train(x, y, 2, samples=60_000, seed=seed) for seed in (0, 1))
    assert model.weights.tobytes() == again.weights.tobytes() != third.weights.tobytes()


@pytest.mark.parametrize("penalty", [1e-2, 0.1])
def test_a_penalised_balanced_softmax_is_that_of_scikit_learn(penalty: float) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = generator(0, "penalised")
    y = np.repeat([0, 1, 2], [600, 200, 40])
    x = (rng.standard_normal((3, 4))[y] + rng.standard_normal((840, 4))).astype(np.float32) / 2
    model = balanced_softmax.train(x, y, 3, samples=200_000, seed=0, penalty=penalty)
    theirs = LogisticRegression(
        C=1 / (2 * penalty * len(x)), class_weight="balanced", tol=1e-8, max_iter=1000
    ).fit(2 * x, y)
    scores, expected = model.scores(x), x @ (2 * theirs.coef_.T) + theirs.intercept_
    scores, expected = (s - s.mean(axis=1, keepdims=True) for s in (scores, expected))
    assert np.abs(scores - expected).max() < 0.03 * np.abs(expected).max()


def test_decay_brings_what_is_said_of_new_signatures_nearer_to_the_middle() -> None:
    x, y, signatures, _ = problem()
    lengths = []
    for decay in (0.0, 10.0, 100.0):
        model = train(x, y, signatures[:20], **GIVEN, decay=decay)
        drawn, places = model.draw(signatures[20:], 300, 0)
        means = np.stack([drawn[places == place].mean(axis=0) for place in range(4)])
        lengths.append(np.linalg.norm(means - means.mean(axis=0)))
    assert lengths[0] > lengths[1] > lengths[2]


def test_wrong_arguments_are_refused() -> None:
    x, y, signatures, _ = problem()
    for name in ("latent", "width", "samples"):
        with pytest.raises(BenchError, match=f"{name}=0"):
            train(x, y, signatures, **{**GIVEN, name: 0})
    model = train(x, y, signatures, **{**GIVEN, "samples": 100})
    with pytest.raises(BenchError, match="per_class=0"):
        model.draw(signatures, 0, 0)
    with pytest.raises(BenchError, match="penalty=-1"):
        balanced_softmax.train(x, y, 20, samples=10, seed=0, penalty=-1)
    with pytest.raises(BenchError, match="decay=-1"):
        train(x, y, signatures, **GIVEN, decay=-1)
    with pytest.raises(BenchError, match="each of 3 needs one or more"):
        balanced_softmax.train(x[:2], np.array([0, 2]), 3, samples=10, seed=0)
