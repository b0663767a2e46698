"""Pictures of what an encoder has learnt: reconstructions, samples, codes, filters, neighbours, attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import Array
from bench.diagnostics.base import Context, first_images
from bench.diagnostics.robustness import ATTACK, attacked, class_logits, incomplete
from bench.drawing.sheet import Row, Section
from bench.seeding import generator
from bench.solvers.neighbours import nearest

LIMIT = 300_000  # bytes of a contact sheet
TILE = 56  # approximate side of a tile in pixels
COLUMNS = 10
CODES = 1_000  # validation images that give the spread of codes


def pictures(context: Context) -> dict[str, Section]:
    """By name, all pictures that the encoder's methods allow."""
    sections = {name: draw(context) for name, draw in PICTURES.items()}
    return {name: section for name, section in sections.items() if section is not None}


def reconstructions(context: Context) -> Section | None:
    """Validation images, whole and with pixels missing, above their reconstructions."""
    if not hasattr(context.encoder, "reconstruct"):
        return None
    images = first_images(context.validation, COLUMNS)
    holes = incomplete(generator(context.seed, "pictures:missing"))(images)
    rows = [("images", images), ("rebuilt", _output(context, "reconstruct", images))]
    rows += [("3 in 10 missing", holes), ("rebuilt", _output(context, "reconstruct", holes))]
    return _section("Images that were not trained on, and their reconstructions", rows)


def samples(context: Context) -> Section | None:
    """Images drawn from the model."""
    if not hasattr(context.encoder, "sample"):
        return None
    with torch.inference_mode():
        images = context.encoder.sample(2 * COLUMNS, seed=context.seed).cpu()  # type: ignore[operator]
    return _section("Samples", [("", images[:COLUMNS]), ("", images[COLUMNS:])])


def interpolation(context: Context) -> Section | None:
    """Decoded paths between the codes of two validation images, along a line and along an arc."""
    if not _decodes(context):
        return None
    codes, steps = _codes(context)[:6], np.linspace(0, 1, COLUMNS)
    rows = []
    for start, end in zip(codes[::2], codes[1::2], strict=False):
        for name, interpolate in (("line", lerp), ("arc", slerp)):
            path = np.stack([interpolate(start, end, float(t)) for t in steps])
            rows.append((name, _decoded(context, path)))
    return _section("From one code to another", rows)


def lerp(a: Array, b: Array, t: float) -> Array:
    """(1 - t) a + t b of a (d,) and b (d,)."""
    return (1 - t) * a + t * b


def slerp(a: Array, b: Array, t: float) -> Array:
    """Spherical interpolation of a (d,) and b (d,) about 0 (Shoemake 1985, doi:10.1145/325165.325242),
    with a length that goes linearly from |a| to |b|: the codes of a normal prior lie near a sphere. A line
    where the ends are opposite, since no arc is the shortest, or where one is 0."""
    length_a, length_b = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    cosine = float(np.clip(a @ b / (length_a * length_b), -1, 1)) if length_a * length_b else 1.0
    angle = float(np.arccos(cosine))
    if np.sin(angle) < 1e-6:
        return lerp(a, b, t)
    turned = np.sin((1 - t) * angle) * a / length_a + np.sin(t * angle) * b / length_b
    point: Array = ((1 - t) * length_a + t * length_b) * turned / np.sin(angle)
    return point


def traversals(context: Context) -> Section | None:
    """A row for each of the five units with the largest standard deviation: the unit moved by -2 to 2
    standard deviations about the code of one validation image."""
    if not _decodes(context):
        return None
    codes = _codes(context)
    deviation = codes.std(axis=0)
    rows = []
    for unit in np.argsort(-deviation, kind="stable")[:5].tolist():
        path = np.repeat(codes[:1], COLUMNS, axis=0)
        path[:, unit] += np.linspace(-2, 2, COLUMNS) * deviation[unit]
        rows.append((f"unit {unit}", _decoded(context, path)))
    return _section("One unit of the code moved by -2 to 2 standard deviations", rows)


def grid(context: Context) -> Section | None:
    """Decoded codes of two units, on a grid of quantiles (0.05 to 0.95) of validation codes."""
    if not _decodes(context) or context.encoder.dims["code"] != 2:
        return None
    sides = np.quantile(_codes(context), np.linspace(0.05, 0.95, COLUMNS), axis=0)
    rows = [
        (f"{y:.2g}", _decoded(context, np.stack([sides[:, 0], np.full(COLUMNS, y)], axis=1)))
        for y in sides[::-1, 1]
    ]
    return _section("The plane of codes, decoded, by quantiles", rows)


def filters(context: Context) -> Section | None:
    """Weights of the first layer that reads pixels; of an encoder without such layers the gradients of its
    first features at the mean image. Grey is 0; each filter is scaled by its largest absolute value."""
    weights = _weights(context)
    if weights is None:
        return None
    largest = weights.abs().flatten(1).amax(dim=1).clamp(min=1e-12)
    tiles = 0.5 + 0.5 * weights / largest[:, None, None, None]
    tiles = tiles[: 4 * COLUMNS]
    rows = [("", part) for part in torch.split(tiles, 2 * COLUMNS)]
    heading = (
        "Weights of the first layer"
        if _first_layer(context) is not None
        else "Gradients of features"
    )
    return Section(heading, [Row(n, x.numpy()) for n, x in rows], 32 / weights.shape[-1])


def _weights(context: Context) -> Tensor | None:
    """Filters (k, c, h, w); None where there are none to show."""
    layer, channels = _first_layer(context), context.encoder.input.channels
    if layer is not None:
        weight = layer.weight.detach().float().cpu()
        return (
            weight if weight.ndim == 4 else weight.view(-1, channels, *context.encoder.input.size)
        )
    if not context.encoder.differentiable:
        return None
    mean = first_images(context.training, CODES).mean(dim=0, keepdim=True).to(context.device)
    x = mean.requires_grad_()
    slopes = []
    for value in context.encoder.taps(x)[context.level][0, : 2 * COLUMNS]:
        if not value.requires_grad:
            return None
        [slope] = torch.autograd.grad(value, x, retain_graph=True)
        slopes.append(slope[0].cpu())
    weights = torch.stack(slopes)
    # Features that each copy one pixel have nothing to show.
    return weights if bool(((weights != 0).flatten(1).sum(dim=1) > 1).any()) else None


def _first_layer(context: Context) -> nn.Conv2d | nn.Linear | None:
    """The first layer, if it reads pixels."""
    size, channels = context.encoder.input.size, context.encoder.input.channels
    for module in context.encoder.modules():
        if isinstance(module, nn.Conv2d):
            return module if module.in_channels == channels else None
        if isinstance(module, nn.Linear):
            return module if module.in_features == channels * size[0] * size[1] else None
    return None


def neighbours(context: Context) -> Section | None:
    """Validation images, and the training images with the largest cosine of features."""
    name = next((n for n, t in context.meta.targets.items() if t.kind == "classes"), None)
    queries, level = 5, context.level
    near, _ = nearest(
        context.validation_features[level][:queries], context.training_features[level], COLUMNS - 3
    )
    images, training = first_images(context.validation, queries), context.training.x
    assert isinstance(training, Delivery)
    rows = []
    for row, (image, nearest_rows) in enumerate(zip(images, near, strict=True)):
        tiles = torch.cat([image[None], training.read(nearest_rows)])
        title, framed = "", list[bool]()
        if name is not None:
            truth = int(context.validation.y[name][row])
            title = context.meta.targets[name].names[truth]
            framed = [False, *(context.training.y[name][nearest_rows] != truth).tolist()]
        rows.append(Row(title, tiles.numpy(), framed=framed))
    heading = (
        "An image and the nearest training images by cosine of features; red: of another class"
    )
    return Section(heading, rows, _scale(images))


def attack(context: Context) -> Section | None:
    """Images, the attack's noise, and attacked images, each with the class and probability that a linear
    head predicts: the panda and the gibbon (Goodfellow et al. 2015, arXiv:1412.6572)."""
    readout = class_logits(context)
    if readout is None or not context.encoder.differentiable:
        return None
    (name, logits), step = readout, ATTACK[context.encoder.input.channels]
    names = context.meta.targets[name].names

    def predictions(x: Tensor) -> list[str]:
        with torch.no_grad():
            probability, label = logits(x).softmax(dim=1).max(dim=1)
        pairs = zip(label.tolist(), probability.tolist(), strict=True)
        return [f"{names[c]}\n{100 * p:.0f} %" for c, p in pairs]

    images = first_images(context.validation, COLUMNS - 2)
    changed = attacked(logits, images, step)
    noise = 0.5 + 0.5 * (changed - images).sign()
    rows = [
        Row("image", images.numpy(), predictions(images)),
        Row("noise, as signs", noise.numpy()),
        Row("attacked", changed.numpy(), predictions(changed)),
    ]
    heading = f"Pixels changed by at most {step:.2g} against the class that a linear head predicts"
    return Section(heading, rows, _scale(images))


PICTURES: Mapping[str, Callable[[Context], Section | None]] = {
    "reconstructions": reconstructions,
    "samples": samples,
    "interpolation": interpolation,
    "traversals": traversals,
    "grid": grid,
    "filters": filters,
    "neighbours": neighbours,
    "attack": attack,
}


def _section(heading: str, rows: list[tuple[str, Tensor]]) -> Section:
    return Section(heading, [Row(name, x.numpy()) for name, x in rows], _scale(rows[0][1]))


def _scale(images: Tensor) -> float:
    """From the size of an image to that of a tile, an integer where images are smaller."""
    scale = TILE / images.shape[-1]
    return max(1, round(scale)) if scale > 0.75 else scale


def _decodes(context: Context) -> bool:
    return hasattr(context.encoder, "decode") and "code" in context.encoder.dims


def _codes(context: Context) -> Array:
    return context.encode(first_images(context.validation, CODES), "code")


def _decoded(context: Context, codes: Array) -> Tensor:
    return _output(context, "decode", torch.from_numpy(np.asarray(codes, np.float32)))


@torch.inference_mode()
def _output(context: Context, method: str, inputs: Tensor) -> Tensor:
    """Of a method of the encoder, on the CPU."""
    images: Tensor = getattr(context.encoder, method)(inputs.to(context.device)).float().cpu()
    return images
