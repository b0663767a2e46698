"""Diagnostics of features: cases whose answer is known, and the lecture's three codes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from bench.data.images import ArrayImages, Delivery, Input
from bench.data.samples import Meta, Samples, Target
from bench.diagnostics.base import Context
from bench.diagnostics.clustering import agreement
from bench.diagnostics.effective_rank import participation, rankme
from bench.diagnostics.robustness import diagnose, incomplete, noisy
from bench.diagnostics.sparsity import measures
from bench.encoders.base import Encoder

Array = npt.NDArray[Any]
LECTURE = {
    "sparse, not distributed": [[0, 0.2, 0, 0, 0], [0, 0, 0, 0, 0.1], [0, 0, 0, 0.4, 0]],
    "distributed, not sparse": [
        [0.1, 0.8, 0.7, 0.5, 0.7],
        [0.8, 0.9, 0.6, 0.2, 0.4],
        [0.3, 0.1, 0.6, 0.3, 0.3],
    ],
    "sparse and distributed": [[0, 0.8, 0, 0.5, 0], [0, 0, 0.6, 0, 0.4], [0.3, 0, 0, 0.3, 0]],
}


def rotation(d: int, seed: int) -> Array:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


@pytest.mark.parametrize("n", [3, 50])
def test_rankme_of_known_singular_values(n: int) -> None:
    """Singular values 3, 1 of 4 dimensions: shares 3/4 and 1/4, whichever way they are turned."""
    values = np.zeros((n, 4))
    values[:2, :2] = np.diag([3.0, 1.0])
    turned = rotation(n, 0) @ values @ rotation(4, 1)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert rankme(turned) == pytest.approx(math.exp(entropy), rel=1e-5)
    assert rankme(5 * turned) == pytest.approx(rankme(turned))
    assert rankme(np.zeros((n, 4))) == 0


def test_rankme_is_not_of_centred_features() -> None:
    features = np.random.default_rng(0).standard_normal((500, 8))
    assert rankme(features) == pytest.approx(8, rel=0.02)
    assert rankme(features + 50) < 2 < rankme(features - features.mean(axis=0))


@pytest.mark.parametrize("n", [5, 60])
def test_participation_is_that_of_the_eigenvalues(n: int) -> None:
    features = np.random.default_rng(1).standard_normal((n, 9)) * np.arange(1, 10) + 3
    eigenvalues = np.linalg.eigvalsh(np.cov(features.T))
    expected = eigenvalues.sum() ** 2 / np.square(eigenvalues).sum()
    assert participation(features) == pytest.approx(expected)
    assert participation(np.ones((n, 9))) == 0


def test_the_three_codes_of_the_lecture_are_distinguished() -> None:
    local, dense, both = (measures(np.array(code)) for code in LECTURE.values())
    assert local["hoyer"] == pytest.approx(1) and local["active"] == pytest.approx(1 / 5)
    assert dense["active"] == 1 and dense["always"] == 1
    assert dense["hoyer"] < 0.35 < both["hoyer"] < local["hoyer"]  # type: ignore[operator]
    assert both["active"] == pytest.approx(2 / 5)  # more than one unit an image, and not all
    assert local["dead"] == pytest.approx(2 / 5) and both["dead"] == dense["dead"] == 0


def test_sparsity_by_hand() -> None:
    values = measures(np.array([[3.0, -4.0], [0.0, 2.0]]))
    first = (math.sqrt(2) - 7 / 5) / (math.sqrt(2) - 1)
    assert values["hoyer"] == pytest.approx((first + 1) / 2)
    assert values["lifetime"] == pytest.approx(((1 - 1.5**2 / 4.5) + (1 - 9 / 10)) / 2)
    assert values["population"] == pytest.approx(((1 - 3.5**2 / 12.5) + (1 - 1 / 2)) / 2)
    assert values["active"] == pytest.approx(3 / 4) and values["always"] == pytest.approx(1 / 2)


def test_a_code_of_nothing_has_no_sparsity() -> None:
    values = measures(np.zeros((4, 3)))
    assert values["hoyer"] is values["lifetime"] is values["population"] is None
    assert values["dead"] == 1 and values["active"] == 0
    assert measures(np.ones((4, 3)))["hoyer"] == pytest.approx(0)


def test_clusters_that_are_classes_agree_and_noise_does_not() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2], 50)
    apart = np.eye(3)[labels] * 9 + rng.normal(0, 0.1, (150, 3))
    assert agreement(apart, labels, 0) == pytest.approx(1)
    assert agreement(apart, np.where(np.arange(150) % 5, labels, -1), 0) == pytest.approx(1)
    assert agreement(rng.standard_normal((150, 3)), labels, 0) < 0.1  # type: ignore[operator]
    assert agreement(apart, np.zeros(150, dtype=np.int64), 0) is None


class Flat(Encoder):
    """The pixels themselves."""

    seeded = False

    def __init__(self, side: int) -> None:
        super().__init__()
        self.input = Input(size=(side, side), channels=1)
        self.dims = {"code": side * side}

    def taps(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"code": images.flatten(1)}


class Head(nn.Module):
    def __init__(self, weight: Array) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(weight))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"label": x @ self.weight.T}


def seen(weight: Array, images: Array, labels: Array) -> Context:
    delivery = Delivery(ArrayImages(images), Input(size=images.shape[2:], channels=1))
    samples = Samples(delivery, {"label": labels}, np.arange(len(labels)))
    targets = {"label": Target("classes", 2, ("a", "b"))}
    return Context(
        encoder=Flat(images.shape[2]),
        level="code",
        meta=Meta(targets),
        factors=targets,
        training=samples,
        training_features={},
        validation=samples,
        validation_features={},
        outliers=None,
        head=Head(weight),
        seed=0,
    )


def test_the_attack_on_a_linear_head_is_the_one_in_closed_form() -> None:
    """One step of epsilon lowers the margin of two classes by epsilon times the 1-norm of w_a - w_b."""
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((2, 16)).astype(np.float32)
    images = rng.integers(60, 196, (400, 1, 4, 4), dtype=np.uint8)  # far enough from both ends
    flat = images.reshape(400, 16) / 255.0
    margin = flat @ (weight[0] - weight[1])
    labels = np.where(margin > 0, 0, 1)
    values = diagnose(seen(weight, images, labels))
    assert values["clean"] == 1
    fall = 0.1 * np.abs(weight[0] - weight[1]).sum()
    assert values["fgsm"] == pytest.approx((np.abs(margin) > fall).mean())
    assert values["fgsm"] < values["noise"] <= 1  # type: ignore[operator]


def test_what_is_missing_is_as_much_as_is_said() -> None:
    x = torch.ones(200, 3, 10, 10)
    changed = incomplete(np.random.default_rng(0))(x)
    assert (changed == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert ((changed == 0).sum(dim=1) % 3 == 0).all()  # all channels of a pixel, or none
    spread = (noisy(np.random.default_rng(0))(x / 2) - 0.5).std().item()
    assert spread == pytest.approx(0.1, abs=0.005)


def test_without_a_head_or_a_gradient_there_is_no_answer() -> None:
    images, labels = np.zeros((4, 1, 4, 4), dtype=np.uint8), np.array([0, 1, 0, -1])
    context = seen(np.eye(2, 16, dtype=np.float32), images, labels)
    assert set(diagnose(replace(context, head=None)).values()) == {None}
    context.encoder.differentiable = False
    values = diagnose(context)
    assert values["fgsm"] is None and values["clean"] == pytest.approx(2 / 3)
