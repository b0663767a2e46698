"""Sprites: every factor is exact and changes only what it names; no image is repeated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bench.data.images import Input
from bench.data.samples import SPLITS
from bench.datasets import sprites
from bench.datasets.base import SplitDataSet, known_facts
from bench.datasets.sprites import Factors, draw, sample

Array = npt.NDArray[Any]
NATIVE = Input(size=(32, 32), channels=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SplitDataSet:
    return sprites.build(root=tmp_path_factory.mktemp("unused"))


@pytest.fixture(scope="module")
def factors() -> Factors:
    """540 images: each shape in each colour 18 times, sizes and textures as they fall."""
    return sample(540, seed=3, split="val")


def pixels(data: SplitDataSet, split: Any) -> Array:
    samples = data.split(split)
    return samples.x.read(np.arange(len(samples)), NATIVE)


def changed(factors: Factors, **changes: Array) -> Array:
    """Which pixels another value of some factors moves, in any channel: bool (n, 32, 32)."""
    return (draw(factors) != draw(replace(factors, **changes))).any(axis=1)


def silhouettes(factors: Factors) -> Array:
    """How many of each pixel's 16 samples lie in the sprite: uint8 (n, 32, 32)."""
    covered = np.zeros((len(factors.shape), 1, 32, 32), dtype=np.uint8)
    for shape, name in enumerate(sprites.SHAPES):
        rows = np.flatnonzero(factors.shape == shape)
        window = sprites._window(factors, rows)
        covered[window] = sprites._sprites(factors, rows, shape=name)[0][..., None]
    return covered[:, 0]


# --- The data set


def test_sprites_are_the_known_ones(data: SplitDataSet) -> None:
    facts = known_facts()["sprites"]
    assert data.fingerprint == facts["fingerprint"]
    assert {name: len(data.split(name)) for name in SPLITS} == facts["rows"]
    assert facts["rows"] == {"train": 5_000, "val": 1_000, "test": 2_000}
    assert data.test_in_train == facts["test_in_train"] == 0


def test_labels_are_the_factors_that_the_images_are_drawn_from(data: SplitDataSet) -> None:
    drawn = sample(1_000, seed=0, split="val")
    np.testing.assert_array_equal(pixels(data, "val"), draw(drawn))
    y = data.split("val").y
    for name in ("shape", "colour", "size", "texture", "dot"):
        np.testing.assert_array_equal(y[name], getattr(drawn, name))
    np.testing.assert_array_equal(y["position"] * 64, np.stack([drawn.x, drawn.y], axis=1))
    angle = np.arctan2(y["rotation"][:, 1], y["rotation"][:, 0]) / (2 * np.pi) * 64
    np.testing.assert_allclose(angle % 64 % 63.99, drawn.rotation, atol=0.01)


def test_another_seed_makes_another_data_set_with_a_name_of_its_own(
    data: SplitDataSet, tmp_path: Path
) -> None:
    second = sprites.build(root=tmp_path, seed=1)
    assert second.name != data.name
    assert second.fingerprint != data.fingerprint
    seen = {image.tobytes() for name in SPLITS for image in pixels(data, name)}
    assert not any(image.tobytes() in seen for image in pixels(second, "test"))


def test_the_same_seed_and_split_draw_the_same_whatever_the_global_state() -> None:
    first = draw(sample(50, seed=5, split="train"))
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(draw(sample(50, seed=5, split="train")), first)
    assert not np.array_equal(draw(sample(50, seed=5, split="test")), first)


def test_no_image_is_twice_in_any_splits(data: SplitDataSet) -> None:
    seen = [image.tobytes() for name in SPLITS for image in pixels(data, name)]
    assert len(set(seen)) == len(seen) == 8_000


@pytest.mark.parametrize("split", SPLITS)
def test_classes_have_equal_shares(data: SplitDataSet, split: Any) -> None:
    samples = data.split(split)
    for name, target in data.meta.targets.items():
        if target.kind == "classes":
            counts = np.bincount(samples.y[name], minlength=target.size)
            # A last round through the 30 combinations that is cut short may lack 5 of a colour.
            spread = {"shape": 0, "dot": 0, "colour": 5}.get(name, 1)
            assert counts.max() - counts.min() <= spread, name


def test_no_factor_tells_of_another(data: SplitDataSet) -> None:
    """Correlations of 5,000 independent rows have a standard deviation of 0.014."""
    y = data.split("train").y
    single = [y[n] for n in ("shape", "colour", "size", "texture", "dot")]
    columns = np.column_stack([*single, y["position"], y["rotation"]]).astype(float)
    correlations = np.corrcoef(columns.T) - np.eye(columns.shape[1])
    assert np.abs(correlations).max() < 0.06


def test_signatures_are_the_factors_of_each_combination(data: SplitDataSet) -> None:
    targets, y = data.meta.targets, data.split("test").y
    semantics = targets["combination"].semantics
    assert semantics is not None and semantics.dtype == np.float32
    assert len(np.unique(semantics, axis=0)) == targets["combination"].size == 30
    rows = semantics[y["combination"]]
    np.testing.assert_array_equal(rows[:, :5], np.eye(5)[y["shape"]])
    np.testing.assert_array_equal(rows[:, 5:], np.eye(6)[y["colour"]])
    for name, signature in zip(targets["combination"].names, semantics, strict=True):
        colour = targets["colour"].names[int(signature[5:].argmax())]
        assert name == f"{colour} {targets['shape'].names[int(signature[:5].argmax())]}"


# --- The factors, one by one


@pytest.mark.parametrize("dot", [1, 2, 3, 4])
def test_a_dot_lightens_the_four_pixels_of_its_corner_and_no_other(
    factors: Factors, dot: int
) -> None:
    without = replace(factors, dot=np.zeros_like(factors.dot))
    gap = draw(replace(factors, dot=np.full_like(factors.dot, dot))).astype(int) - draw(without)
    assert ((gap != 0).any(axis=1).sum(axis=(1, 2)) == 4).all()
    top = slice(0, 2) if dot in (1, 2) else slice(30, 32)
    left = slice(0, 2) if dot in (1, 3) else slice(30, 32)
    assert (gap[:, :, top, left] == sprites.DOT).all()


def test_the_dot_carries_less_than_a_hundredth_of_the_variance() -> None:
    drawn = sample(2_000, seed=0, split="test")
    images = draw(drawn).astype(float)
    without = draw(replace(drawn, dot=np.zeros_like(drawn.dot))).astype(float)
    share = (images - without).var(axis=0).sum() / images.var(axis=0).sum()
    assert 0.0001 < share < 0.01


def test_a_colour_or_texture_moves_no_pixel_outside_the_silhouette(factors: Factors) -> None:
    inside = silhouettes(factors) > 0
    colour = changed(factors, colour=(factors.colour + 1) % 6)
    assert not (colour & ~inside).any()
    assert (colour.sum(axis=(1, 2)) > 0.9 * inside.sum(axis=(1, 2))).all()
    texture = changed(factors, texture=(factors.texture + 1) % 3)
    assert not (texture & ~inside).any()
    assert texture.any(axis=(1, 2)).all()


@pytest.mark.parametrize("name", ["colour", "texture", "dot", "background"])
def test_a_silhouette_depends_on_shape_size_place_and_rotation_alone(
    factors: Factors, name: str
) -> None:
    reversed_factors = replace(factors, **{name: getattr(factors, name)[::-1]})
    np.testing.assert_array_equal(silhouettes(reversed_factors), silhouettes(factors))


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (0, 1), (3, 2)])
def test_moving_by_whole_pixels_moves_the_silhouette(factors: Factors, dx: int, dy: int) -> None:
    near = replace(factors, x=factors.x % 50, y=factors.y % 50)
    far = replace(near, x=near.x + 4 * dx, y=near.y + 4 * dy)
    moved = np.roll(silhouettes(near), (dy, dx), axis=(1, 2))
    np.testing.assert_array_equal(silhouettes(far), moved)
    flat = np.full_like(factors.background, 100)
    plain = {"background": flat, "dot": np.zeros_like(factors.dot)}
    images = draw(replace(near, **plain))
    np.testing.assert_array_equal(
        draw(replace(far, **plain)), np.roll(images, (dy, dx), axis=(2, 3))
    )


def test_the_position_is_the_silhouette_s_centroid(factors: Factors) -> None:
    mass = silhouettes(factors).astype(float)
    centres = np.arange(32) + 0.5
    total = mass.sum(axis=(1, 2))
    x, y = (mass.sum(axis=axis) @ centres / total for axis in (1, 2))
    # In pixels; what is left is that of 4 x 4 samples.
    np.testing.assert_allclose(x, 8 + factors.x / 4, atol=0.12)
    np.testing.assert_allclose(y, 8 + factors.y / 4, atol=0.12)


def test_no_sprite_is_cut_or_reaches_a_dot(factors: Factors) -> None:
    for x in (0, 64):
        for y in (0, 64):
            edge = replace(factors, x=np.full_like(factors.x, x), y=np.full_like(factors.y, y))
            middle = replace(factors, x=np.full_like(factors.x, 32), y=np.full_like(factors.y, 32))
            outlines = silhouettes(edge)
            np.testing.assert_array_equal(
                outlines.sum(axis=(1, 2)), silhouettes(middle).sum(axis=(1, 2))
            )
            for corner in np.ix_([0, -1], [0, -1]), np.ix_([0, 1, -2, -1], [0, 1, -2, -1]):
                assert not outlines[:, corner[0], corner[1]].any()


def test_areas_are_those_of_the_geometry() -> None:
    """For a circle of radius r around them, in square pixels, over all rotations and places.

    Samples lie on a lattice, whose grain does not average out: 1.5 % in the smallest ring.
    """
    expected = {
        "square": 2.0,
        "disc": np.pi,
        "triangle": 3 * np.sqrt(3) / 4,
        "cross": 4 * (2 * 59 / 64 - 3 / 8) * 3 / 8,
        "ring": np.pi * (1 - (9 / 16) ** 2),
    }
    subset = sample(3_000, seed=9, split="train")
    area = silhouettes(subset).sum(axis=(1, 2)) / 16
    radius = np.array([4.75, 6.0, 7.25])[subset.size]
    for index, name in enumerate(sprites.SHAPES):
        for size in range(3):
            rows = (subset.shape == index) & (subset.size == size)
            ratio = (area[rows] / radius[rows] ** 2).mean()
            assert ratio == pytest.approx(expected[name], rel=0.02), (name, size)


def test_a_sprite_is_lighter_in_the_direction_of_its_rotation(factors: Factors) -> None:
    """Of plain ones on black: the covered light's centroid lies that way from the silhouette's."""
    plain = replace(
        factors,
        texture=np.zeros_like(factors.texture),
        dot=np.zeros_like(factors.dot),
        colour=np.full_like(factors.colour, 1),
        background=np.zeros_like(factors.background),
    )
    centres = np.arange(32) + 0.5
    middles = []
    for mass in (draw(plain).astype(float).sum(axis=1), silhouettes(plain).astype(float)):
        total = mass.sum(axis=(1, 2))
        middles.append(np.stack([mass.sum(axis=a) @ centres / total for a in (1, 2)], axis=1))
    towards = middles[0] - middles[1]
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    angles = 2 * np.pi * factors.rotation / 64
    cosine = (towards * np.stack([np.cos(angles), np.sin(angles)], axis=1)).sum(axis=1)
    assert cosine.min() > 0.97


def test_a_rotation_can_be_seen_on_every_sprite(factors: Factors) -> None:
    for turn in (8, 16, 32):  # 32 is half a circle, 16 the square's own symmetry
        moved = changed(factors, rotation=(factors.rotation + turn) % 64)
        assert (moved.sum(axis=(1, 2)) > 10).all()


def test_no_direction_lies_where_rounding_could_go_either_way() -> None:
    angles = 2 * np.pi / 64 * np.arange(64)
    exact = 4096 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert np.abs(exact % 1 - 0.5).min() > 0.001
    assert np.abs(sprites.directions() - exact).max() < 0.5


def test_an_image_does_not_depend_on_those_it_is_drawn_with(factors: Factors) -> None:
    names = list(Factors.__dataclass_fields__)
    subset = Factors(**{name: getattr(factors, name)[7:300:5] for name in names})
    np.testing.assert_array_equal(draw(subset), draw(factors)[7:300:5])
