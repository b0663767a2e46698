"""Sprites: 8,000 generated colour images of 32 x 32, each one textured shape, with exact factors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.data.samples import SPLITS, Array, Meta, SplitName, Target
from bench.datasets.base import SplitDataSet
from bench.seeding import generator

REVISION = 1


ROWS: dict[SplitName, int] = {"train": 5_000, "val": 1_000, "test": 2_000}
SHAPES = ("square", "disc", "triangle", "cross", "ring")
COLOURS = {
    "red": (235, 45, 45),
    "yellow": (235, 215, 40),
    "green": (45, 205, 60),
    "cyan": (40, 205, 220),
    "blue": (65, 85, 240),
    "magenta": (225, 60, 215),
}
SIZES = {"small": 38, "medium": 48, "large": 58}  # radius of the circumscribed circle, in 1/8 pixel
TEXTURES = ("plain", "stripes", "checks")
DOTS = ("none", "top left", "top right", "bottom left", "bottom right")
STEPS = 64  # quarter pixels over which a sprite's centre moves; also the number of directions
KNOTS = 5  # of the background, in each dimension
DOT = 32  # grey levels by which the dot is lighter than the background

# All drawing is in integers, so that pixels do not depend on a machine's rounding. Lengths are in 1/8
# pixel: a pixel has 4 x 4 samples at odd eighths, centres are at even ones. Directions are in 1/4096.
UNIT = 4096
SAMPLES = (1, 3, 5, 7)
WINDOW = 16  # pixels that hold the largest sprite at any quarter
CHUNK = 250  # images drawn at once, to fit into a core's cache


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Factors:
    """The factors of n images, int64; classes are indices into the tables above."""

    shape: Array  # (n,)
    colour: Array  # (n,)
    size: Array  # (n,)
    texture: Array  # (n,)
    x: Array  # (n,) of the centre, 0 to 64
    y: Array  # (n,)
    rotation: Array  # (n,) in 1/64 turn
    dot: Array  # (n,)
    background: Array  # (n, 3, 5, 5) grey levels from 50 to 150 at the knots of a grid


def build(*, root: Path, seed: int = 0) -> SplitDataSet:
    """Sprites, drawn anew at each call (nothing is read from `root`); their factors are the targets.

    - shape: square, disc, triangle, cross or ring; colour: six hues; size: the circumscribed circle has
      a radius of 4.75, 6 or 7.25 pixels; texture: plain, stripes or checks, rotated with the shape.
    - position: the shape's centroid, x to the right and y down, both in [0, 1] in steps of 1/64: from
      8 to 24 pixels, so that sprites are never cut off.
    - rotation: (cos, sin), in steps of 1/4096, of the direction, one of 64, in which the sprite gets
      lighter. This gradient rotates with the shape, so that the angle is visible over the whole circle
      for shapes of any symmetry, a plain disc included.
    - dot: a slightly lighter 2 x 2 square in one of the four corners, or none; no sprite covers it. An
      encoder trained by squared error can drop it at almost no cost.
    - combination: shape x colour, 30 classes with the one-hot factors as semantics, for zero-shot.

    The background is smooth noise around a grey with a slight tint. Factors are independent, classes
    equally frequent. Each split is drawn from a stream of its own, "sprites:train" and so on, hence there
    is no index file. With another seed it is another data set, whose name includes the seed.
    """
    factors = {split: sample(ROWS[split], seed=seed, split=split) for split in SPLITS}
    return SplitDataSet.of(
        "sprites" if seed == 0 else f"sprites,seed={seed}",  # known.json has the first alone
        meta=Meta(_targets()),
        licence="CC0-1.0",
        flips=False,
        images={split: draw(factors[split]) for split in SPLITS},
        labels={split: _labels(factors[split]) for split in SPLITS},
    )


def sample(count: int, *, seed: int, split: SplitName) -> Factors:
    """Factors of `count` images from the split's own stream."""
    rng = generator(seed, f"sprites:{split}")
    # Permutations modulo the number of classes, so that classes are as equally frequent as possible.
    order = rng.permutation(count)
    level = rng.integers(80, 121, (count, 1, 1, 1))
    tint = rng.integers(-10, 11, (count, 3, 1, 1))
    noise = rng.integers(-20, 21, (count, 1, KNOTS, KNOTS))
    return Factors(
        shape=order % len(SHAPES),
        colour=order // len(SHAPES) % len(COLOURS),
        size=rng.permutation(count) % len(SIZES),
        texture=rng.permutation(count) % len(TEXTURES),
        x=rng.integers(0, STEPS + 1, count),
        y=rng.integers(0, STEPS + 1, count),
        rotation=rng.integers(0, STEPS, count),
        dot=rng.permutation(count) % len(DOTS),
        background=level + tint + noise,
    )


def draw(factors: Factors) -> Array:
    """Images of these factors: uint8 (n, 3, 32, 32)."""
    images = _backgrounds(factors)
    colours = np.array(list(COLOURS.values()), dtype=np.int32)[factors.colour]
    for shape, name in enumerate(SHAPES):
        rows = np.flatnonzero(factors.shape == shape)
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            covered, light = _sprites(factors, chunk, shape=name)
            window = _window(factors, chunk)
            behind = images[window].astype(np.int32)  # (m, 16, 16, 3)
            front = light[..., None] * colours[chunk, None, None]
            mixed = behind * ((16 - covered) << 8)[..., None] + front  # 16 samples x 256 of light
            images[window] = ((mixed + 2048) >> 12).astype(np.uint8)
    return images


def directions() -> Array:
    """(cos, sin) of the 64 angles in 1/4096: int32 (64, 2)."""
    angles = 2 * np.pi / STEPS * np.arange(STEPS)
    # No value is near a half, so that rounding does not depend on the last bit of the cosine.
    exact = UNIT * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rounded: Array = np.rint(exact).astype(np.int32)
    return rounded


def _backgrounds(factors: Factors) -> Array:
    """Images without sprites, by bilinear interpolation of the knots: uint8 (n, 3, 32, 32)."""
    centres = 2 * np.arange(32) + 1  # of pixels, in 1/16 of the grid's step, which is 8 pixels
    weights = np.maximum(16 - np.abs(centres[:, None] - 16 * np.arange(KNOTS)), 0)
    # Integers below 2**24 are exact in float32 in any order of summation, and fast.
    across = weights.astype(np.float32)
    levels = across @ factors.background.astype(np.float32) @ across.T
    images: Array = ((levels.astype(np.int32) + 128) >> 8).astype(np.uint8)
    for dot in range(1, len(DOTS)):
        bottom, right = divmod(dot - 1, 2)
        rows = np.flatnonzero(factors.dot == dot)
        images[rows, :, 30 * bottom : 30 * bottom + 2, 30 * right : 30 * right + 2] += DOT
    return images


def _window(factors: Factors, rows: Array) -> tuple[Array, slice, Array, Array]:
    """The index of the 16 x 16 pixels around each sprite, which selects (m, 16, 16, channels)."""
    side = np.arange(WINDOW)
    top, left = factors.y[rows] // 4, factors.x[rows] // 4
    return (
        rows[:, None, None],
        slice(None),
        (top[:, None] + side)[:, :, None],
        (left[:, None] + side)[:, None, :],
    )


def _sprites(factors: Factors, rows: Array, *, shape: str) -> tuple[Array, Array]:
    """Sprites of one shape in their windows, two of int32 (m, 16, 16): the number of covered samples of
    16, and the sum of their light, at most 256 each."""
    radius = np.array(list(SIZES.values()), dtype=np.int32)[factors.size[rows], None, None]
    cos, sin = directions()[factors.rotation[rows]].T[..., None, None]
    textured = (factors.texture[rows] > 0).astype(np.int32)[:, None, None]
    checked = -(factors.texture[rows] == 2).astype(np.int32)[:, None, None]  # all bits 1, or 0
    # From the centre to the corners of the window's pixels, in 1/8 pixel.
    start = 8 * np.arange(WINDOW, dtype=np.int32) - 8 * WINDOW // 2
    to_x = (start - 2 * (factors.x[rows, None] % 4).astype(np.int32))[:, None, :]
    to_y = (start - 2 * (factors.y[rows, None] % 4).astype(np.int32))[:, :, None]
    covered = np.zeros((len(rows), WINDOW, WINDOW), dtype=np.int32)
    light = np.zeros_like(covered)
    for down in SAMPLES:
        dy = to_y + down
        for right in SAMPLES:
            dx = to_x + right
            u, v = cos * dx + sin * dy, cos * dy - sin * dx  # the sprite's own axes, in 1/8/4096
            inside = _inside(shape, u, v, dx * dx + dy * dy, radius)
            # Stripes and squares are 2 pixels wide, 2**16 here; dark ones have half the light.
            dark = ((v >> 16) ^ ((u >> 16) & checked)) & textured
            covered += inside
            light += (((u >> 12) + 198) >> dark) * inside
    return covered, light


def _inside(shape: str, u: Array, v: Array, squared: Array, radius: Array) -> Array:
    """Which samples, at (u, v) in 1/8/4096 pixel and at a `squared` distance from the centre, are inside
    the shape with a circumscribed circle of `radius`: bool (m, 16, 16)."""
    inside: Array
    if shape == "disc":
        inside = squared <= radius**2
    elif shape == "ring":
        inside = (squared <= radius**2) & (256 * squared >= 81 * radius**2)  # from 9/16 of it
    elif shape == "triangle":  # 512/1024 and 887/1024: cosine and sine of 60 degrees
        inside = (512 * u + 887 * np.abs(v) <= 512 * UNIT * radius) & (2 * u >= -UNIT * radius)
    else:
        across, along = np.abs(u), np.abs(v)
        longer = np.maximum(across, along)
        if shape == "square":
            inside = longer <= 2896 * radius  # of 4096: the root of a half
        else:  # a cross, whose arms are 2 * 3/8 wide and 59/64 long
            inside = (longer <= 3776 * radius) & (np.minimum(across, along) <= 1536 * radius)
    return inside


def _targets() -> dict[str, Target]:
    shape, colour = np.divmod(np.arange(len(SHAPES) * len(COLOURS)), len(COLOURS))
    semantics = np.concatenate([np.eye(len(SHAPES))[shape], np.eye(len(COLOURS))[colour]], axis=1)
    combined = tuple(f"{c} {s}" for s in SHAPES for c in COLOURS)
    return {
        "shape": Target("classes", len(SHAPES), SHAPES),
        "colour": Target("classes", len(COLOURS), tuple(COLOURS)),
        "size": Target("classes", len(SIZES), tuple(SIZES)),
        "texture": Target("classes", len(TEXTURES), TEXTURES),
        "position": Target("number", 2, ("x", "y")),
        "rotation": Target("number", 2, ("cos", "sin")),
        "dot": Target("classes", len(DOTS), DOTS),
        "combination": Target(
            "classes", len(combined), combined, semantics=semantics.astype(np.float32)
        ),
    }


def _labels(factors: Factors) -> dict[str, Array]:
    position = np.stack([factors.x, factors.y], axis=1) / STEPS
    return {
        "shape": factors.shape,
        "colour": factors.colour,
        "size": factors.size,
        "texture": factors.texture,
        "position": position.astype(np.float32),
        "rotation": (directions()[factors.rotation] / UNIT).astype(np.float32),
        "dot": factors.dot,
        "combination": factors.shape * len(COLOURS) + factors.colour,
    }
