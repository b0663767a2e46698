"""Pictures of what an encoder has learnt: what it rebuilds, makes, takes for alike, and is fooled by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.diagnostics.base import Context, deliver
from bench.diagnostics.robustness import ATTACK, attacked, incomplete
from bench.drawing.sheet import Row, Section
from bench.seeding import generator
from bench.solvers.neighbours import nearest

__all__ = ["LIMIT", "PICTURES", "pictures", "slerp"]

Array = npt.NDArray[Any]
LIMIT = 300_000  # bytes of a contact sheet
TILE = 56  # pixels of a tile's side, about
COLUMNS = 10
CODES = 1_000  # validation images whose codes say how far a code goes


def pictures(context: Context) -> dict[str, Section]:
    """Each picture that the encoder has the means for, by its name."""
    found = {name: draw(context) for name, draw in PICTURES.items()}
    return {name: section for name, section in found.items() if section is not None}


def reconstructions(context: Context) -> Section | None:
    """Validation images, whole and with pixels missing, above what the encoder makes of them."""
    if not hasattr(context.encoder, "reconstruct"):
        return None
    images = deliver(context.validation, COLUMNS)
    holes = incomplete(generator(context.seed, "pictures:missing"))(images)
    rows = [("images", images), ("rebuilt", _made(context, "reconstruct", images))]
    rows += [("3 in 10 missing", holes), ("rebuilt", _made(context, "reconstruct", holes))]
    return _section("Images that were not trained on, and what is rebuilt of them", rows)


def samples(context: Context) -> Section | None:
    """Images drawn from the model."""
    if not hasattr(context.encoder, "sample"):
        return None
    with torch.inference_mode():
        drawn = context.encoder.sample(2 * COLUMNS, seed=context.seed).cpu()  # type: ignore[operator]
    return _section("Samples", [("", drawn[:COLUMNS]), ("", drawn[COLUMNS:])])


def interpolation(context: Context) -> Section | None:
    """From the code of one validation image to that of another, along a line and along an arc."""
    if not _decodes(context):
        return None
    codes, steps = _codes(context)[:6], np.linspace(0, 1, COLUMNS)
    rows = []
    for start, end in zip(codes[::2], codes[1::2], strict=False):
        for name, way in (("line", lerp), ("arc", slerp)):
            path = np.stack([way(start, end, float(t)) for t in steps])
            rows.append((name, _decoded(context, path)))
    return _section("From one code to another", rows)


def lerp(a: Array, b: Array, t: float) -> Array:
    """The point a share t of the way from a (d,) to b (d,) along a line."""
    return (1 - t) * a + t * b


def slerp(a: Array, b: Array, t: float) -> Array:
    """The same along the arc about 0, its length going from that of a to that of b (Shoemake 1985,
    doi:10.1145/325165.325242, for equal lengths): the codes of a normal prior lie near a sphere. Of
    opposite ends, between which no arc is the shortest, and of 0 the line."""
    one, other = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    cosine = float(np.clip(a @ b / (one * other), -1, 1)) if one * other else 1.0
    angle = float(np.arccos(cosine))
    if np.sin(angle) < 1e-6:
        return lerp(a, b, t)
    turned = np.sin((1 - t) * angle) * a / one + np.sin(t * angle) * b / other
    found: Array = ((1 - t) * one + t * other) * turned / np.sin(angle)
    return found


def traversals(context: Context) -> Section | None:
    """The units whose codes vary most, one a row, moved by -2 to 2 standard deviations about the code of
    one validation image."""
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
    """The plane of a code of two units, decoded: over the middle nine tenths of validation codes each
    way."""
    if not _decodes(context) or context.encoder.dims["code"] != 2:
        return None
    sides = np.quantile(_codes(context), np.linspace(0.05, 0.95, COLUMNS), axis=0)
    rows = [
        (f"{y:.2g}", _decoded(context, np.stack([sides[:, 0], np.full(COLUMNS, y)], axis=1)))
        for y in sides[::-1, 1]
    ]
    return _section("The plane of codes, decoded, by quantiles", rows)


def filters(context: Context) -> Section | None:
    """Weights of the first layer that reads pixels; of an encoder without layers the gradient of its first
    features at the mean image. Each by itself from black to white, 0 in the middle."""
    found = _weights(context)
    if found is None:
        return None
    largest = found.abs().flatten(1).amax(dim=1).clamp(min=1e-12)
    shown = 0.5 + 0.5 * found / largest[:, None, None, None]
    shown = shown[: 4 * COLUMNS]
    rows = [("", part) for part in torch.split(shown, 2 * COLUMNS)]
    heading = (
        "Weights of the first layer" if _first(context) is not None else "Gradients of features"
    )
    return Section(heading, [Row(n, x.numpy()) for n, x in rows], 32 / found.shape[-1])


def _weights(context: Context) -> Tensor | None:
    """(k, c, h, w), as one sees them."""
    layer, channels = _first(context), context.encoder.input.channels
    if layer is not None:
        weight = layer.weight.detach().float().cpu()
        return (
            weight if weight.ndim == 4 else weight.view(-1, channels, *context.encoder.input.size)
        )
    if not context.encoder.differentiable:
        return None
    mean = deliver(context.training, CODES).mean(dim=0, keepdim=True).to(context.device)
    x = mean.requires_grad_()
    found = []
    for value in context.encoder.taps(x)[context.level][0, : 2 * COLUMNS]:
        if not value.requires_grad:
            return None
        [slope] = torch.autograd.grad(value, x, retain_graph=True)
        found.append(slope[0].cpu())
    weights = torch.stack(found)
    # A feature that is one pixel has nothing to show.
    return weights if bool(((weights != 0).flatten(1).sum(dim=1) > 1).any()) else None


def _first(context: Context) -> nn.Conv2d | nn.Linear | None:
    """The first layer, if pixels are what it reads."""
    size, channels = context.encoder.input.size, context.encoder.input.channels
    for module in context.encoder.modules():
        if isinstance(module, nn.Conv2d):
            return module if module.in_channels == channels else None
        if isinstance(module, nn.Linear):
            return module if module.in_features == channels * size[0] * size[1] else None
    return None


def neighbours(context: Context) -> Section | None:
    """Validation images, and the training images whose features are the most like theirs."""
    name, target = next(
        ((n, t) for n, t in context.meta.targets.items() if t.kind == "classes"), (None, None)
    )
    queries, level = 5, context.level
    near, _ = nearest(context.features[level][:queries], context.trained[level], COLUMNS - 3)
    images, training = deliver(context.validation, queries), context.training.x
    assert isinstance(training, Delivery)
    rows = []
    for row, (image, own) in enumerate(zip(images, near, strict=True)):
        found = torch.cat([image[None], training.read(own)])
        title, framed = "", list[bool]()
        if name is not None and target is not None:
            truth = int(context.validation.y[name][row])
            title = target.names[truth]
            framed = [False, *(context.training.y[name][own] != truth).tolist()]
        rows.append(Row(title, found.numpy(), framed=framed))
    heading = (
        "An image and the nearest training images by cosine of features; red: of another class"
    )
    return Section(heading, rows, _scale(images))


def attack(context: Context) -> Section | None:
    """Images, the sign of the gradient, and both together, with the class that a linear head sees and how
    sure it is: the panda and the gibbon (Goodfellow et al. 2015, arXiv:1412.6572)."""
    name, target = next(
        ((n, t) for n, t in context.meta.targets.items() if t.kind == "classes"), (None, None)
    )
    if context.head is None or name is None or target is None or not context.encoder.differentiable:
        return None
    head = context.head.to(context.device)

    def logits(x: Tensor) -> Tensor:
        found: Tensor = head(context.encoder.taps(x.to(context.device))[context.level])[name]
        return found

    def told(x: Tensor) -> list[str]:
        with torch.no_grad():
            sure, label = logits(x).softmax(dim=1).max(dim=1)
        return [
            f"{target.names[c]}\n{100 * p:.0f} %"
            for c, p in zip(label.tolist(), sure.tolist(), strict=True)
        ]

    images = deliver(context.validation, COLUMNS - 2)
    changed = attacked(logits, images, ATTACK[context.encoder.input.channels])
    noise = 0.5 + 0.5 * (changed - images).sign()
    rows = [
        Row("image", images.numpy(), told(images)),
        Row("noise, as signs", noise.numpy()),
        Row("attacked", changed.numpy(), told(changed)),
    ]
    step = ATTACK[context.encoder.input.channels]
    heading = f"Values moved by {step:.2g} away from what a linear head sees"
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
    """Whole where images are smaller than a tile."""
    scale = TILE / images.shape[-1]
    return max(1, round(scale)) if scale > 0.75 else scale


def _decodes(context: Context) -> bool:
    return hasattr(context.encoder, "decode") and "code" in context.encoder.dims


def _codes(context: Context) -> Array:
    return context.encode(deliver(context.validation, CODES), "code")


def _decoded(context: Context, codes: Array) -> Tensor:
    return _made(context, "decode", torch.from_numpy(np.asarray(codes, np.float32)))


@torch.inference_mode()
def _made(context: Context, method: str, given: Tensor) -> Tensor:
    found: Tensor = getattr(context.encoder, method)(given.to(context.device)).float().cpu()
    return found
