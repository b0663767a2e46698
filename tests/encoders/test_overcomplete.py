"""The overcomplete autoencoder: the autoencoder with a larger code, and what its notes say of copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import testing
from bench.data.images import ArrayImages, Delivery, Input
from bench.encoders.autoencoders.overcomplete import copies
from bench.errors import BenchError
from tests.kit.trained import apart, learnt, made, quadrants

FORM = Input(size=(8, 8), channels=3)


class Rebuilt(nn.Module):
    """Reconstructs by a rule."""

    def __init__(self, rule: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.rule, self.unused = rule, nn.Parameter(torch.zeros(1))

    def reconstruct(self, images: Tensor) -> Tensor:
        return self.rule(images)


def noted(rule: Callable[[Tensor], Tensor], images: Delivery) -> Any:
    return copies(Rebuilt(rule), images)  # type: ignore[arg-type]


def some(count: int = 300) -> Delivery:
    return Delivery(testing.tiny_images(count, FORM), FORM)


def test_a_perfect_copier_keeps_everything() -> None:
    assert noted(lambda x: x, some()) == {"images_kept": 1.0, "noise_kept": 1.0}


def test_the_mean_image_keeps_nothing_of_the_images() -> None:
    images = some()
    mean = images.read(np.arange(300)).mean(dim=0)
    assert noted(lambda x: mean.expand_as(x), images)["images_kept"] == 0


def test_a_constant_keeps_what_it_keeps_of_uniform_noise() -> None:
    """Noise in [0, 1] has mean 1/2 and variance 1/12: a constant c loses (c - 1/2)^2 more than that."""
    images = some()
    x = images.read(np.arange(300)).double().numpy()
    for c in (0.5, 0.9):
        notes = noted(lambda batch, c=c: torch.full_like(batch, c), images)  # type: ignore[misc]
        assert notes["noise_kept"] == pytest.approx(-12 * (c - 0.5) ** 2, abs=0.02)
        expected = 1 - ((c - x) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum()
        assert notes["images_kept"] == pytest.approx(expected, abs=1e-4)


def test_half_the_contrast_keeps_three_quarters() -> None:
    images = some()
    mean = images.read(np.arange(300)).mean(dim=0)
    halved = noted(lambda x: mean + (x - mean) / 2, images)
    assert halved["images_kept"] == 0.75
    assert noted(lambda x: 0.5 + (x - 0.5) / 2, images)["noise_kept"] == pytest.approx(
        0.75, abs=0.01
    )


def test_many_images_are_looked_at_in_chunks() -> None:
    images = some(1300)
    x = images.read(np.arange(1300)).double().numpy()
    expected = 1 - ((0.4 - x) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum()
    notes = noted(lambda batch: torch.full_like(batch, 0.4), images)
    assert notes["images_kept"] == pytest.approx(expected, abs=0.01)


def test_notes_of_a_single_image_can_be_written() -> None:
    images = Delivery(ArrayImages(np.full((1, 3, 8, 8), 7, np.uint8)), FORM)
    notes = noted(lambda x: x, images)
    assert set(notes) == {"images_kept", "noise_kept"}
    assert all(value is None or np.isfinite(value) for value in notes.values())


def test_with_the_autoencoders_code_it_is_the_autoencoder_bit_for_bit() -> None:
    encoder = learnt(made("overcomplete,width=8,code=64"))
    assert apart(encoder, learnt(made("autoencoder,width=8"))) == []


def test_its_code_is_larger_than_the_image_by_default_and_its_fit_is_noted() -> None:
    encoder = made("overcomplete,width=8")
    assert encoder.dims["code"] == 2048 > encoder.trunk.dim == 512
    report = encoder.fit(quadrants(20), labels=None, budget=40, seed=0)
    assert report.notes == copies(encoder, quadrants(20))
    assert report.notes["noise_kept"] < 0.5  # after one step it copies nothing


def test_it_is_of_the_conv_track_alone() -> None:
    with pytest.raises(BenchError, match=r"track.*conv") as caught:
        made("overcomplete,track=mlp")
    assert str(caught.value).isprintable()
