"""The loop that tunes a model on labelled rows, for every protocol that tunes a trunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import Array, Samples
from bench.errors import BenchError
from bench.progress import progress
from bench.seeding import generator, minibatches, seeded, stream

Inputs = Array | Delivery  # features (n, d), activations (n, c, h, w), or images
Loss = Callable[[Any, Array], Tensor]  # of a model's output, and the row numbers of its batch
BATCH = 64
DECAY, WARM_UP, CLIP = 0.05, 0.05, 1.0
SHIFT = 1 / 16  # of a side: 2 pixels of 32
_ACCURACY_ROWS = 1000  # training rows on which a collapse is noticed
_CHECK_STEPS = 64  # between two looks at the loss: each one waits for the device


class Diverged(BenchError):
    """Tuning has made the model worse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model is tuned: images drawn in all, the highest learning rate, and whether images are
    augmented (cropped and mirrored)."""

    images: int
    rate: float
    augment: bool = False

    @property
    def steps(self) -> int:
        return math.ceil(self.images / BATCH)

    def rate_at(self, step: int) -> float:
        """Linear warm-up over the first twentieth of the steps, then a cosine to zero."""
        warm = max(1, round(WARM_UP * self.steps))
        if step < warm:
            return self.rate * (step + 1) / warm
        return self.rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (self.steps - warm)))


def tune(
    model: nn.Module,
    x: Inputs,
    loss: Loss,
    *,
    recipe: Recipe,
    seed: int,
    clipped: Sequence[Sequence[nn.Parameter]] | None = None,
) -> float:
    """Tune a model in place; returns the mean loss of the last tenth of the steps.

    AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), without decay of biases and norms; gradients are
    clipped to norm 1 (Pascanu et al. 2013, arXiv:1211.5063); the last state is kept, not the best.

    model: of batches of `x`
    x: rows (n, ...), drawn in whole epochs
    loss: of the model's output and the numbers (b,) of the batch's rows
    recipe: images, rate, augmentation
    seed: of the order of rows, augmentation and dropout
    clipped: groups of parameters, the gradient of each clipped by itself (None: all together)

    Raises Diverged where the loss is no longer finite.
    """
    optimiser, device = _optimiser(model, recipe.rate), device_of(model)
    moves, last = generator(seed, "moves"), recipe.steps - max(1, recipe.steps // 10)
    tail: list[Tensor] = []
    model.train()
    # Dropout draws from the global state.
    with seeded(stream(seed, "tuning")), progress("tuning", recipe.images, "images") as counted:
        for step, rows in enumerate(minibatches(len(x), recipe.images, BATCH, seed)):
            batch = batch_of(x, rows)
            batch = augmented(batch, moves) if recipe.augment else batch
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate_at(step)
            value = loss(model(batch.to(device)), rows)
            optimiser.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            for parameters in [list(model.parameters())] if clipped is None else clipped:
                nn.utils.clip_grad_norm_(parameters, CLIP)
            optimiser.step()
            if step >= last:
                tail.append(value.detach())
            checked = step % _CHECK_STEPS == 0 or step == recipe.steps - 1
            if checked and not bool(value.isfinite()):
                raise Diverged(
                    f"tuning has diverged: after {step + 1} of {recipe.steps} steps at rate "
                    f"{recipe.rate:g} the loss is {value.item()}"
                )
            counted.update(len(rows))
    model.eval()
    return float(torch.stack(tail).mean())


def _optimiser(model: nn.Module, rate: float) -> torch.optim.AdamW:
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: Sequence[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=rate)


def augmented(batch: Tensor, rng: np.random.Generator) -> Tensor:
    """Images (n, c, h, w), each shifted by up to a sixteenth of its sides, padded with black, and mirrored
    with probability 1/2."""
    n, _, height, width = batch.shape
    down, right = int(height * SHIFT), int(width * SHIFT)
    padded = nn.functional.pad(batch, (right, right, down, down))
    tops, starts = rng.integers(2 * down + 1, size=n), rng.integers(2 * right + 1, size=n)
    shifted = torch.stack(
        [
            image[:, top : top + height, start : start + width]
            for image, top, start in zip(padded, tops, starts, strict=True)
        ]
    )
    mirrored = torch.from_numpy(rng.random(n) < 0.5)
    return torch.where(mirrored[:, None, None, None], shifted.flip(-1), shifted)


def device_of(model: nn.Module) -> torch.device:
    """That of the model's parameters; the CPU where there are none."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def batch_of(x: Inputs, rows: Array) -> Tensor:
    """Rows by number (b,), as a model reads them."""
    return x.read(rows) if isinstance(x, Delivery) else torch.from_numpy(x[rows])


def outputs(model: nn.Module, x: Inputs) -> dict[str, Array]:
    """A model's named outputs for all rows in order, in eval mode, computed in batches: float32."""
    model.eval()
    device, parts = device_of(model), dict[str, list[Array]]()
    with torch.no_grad():
        for batch in _batches(x):
            for name, values in model(batch.to(device)).items():
                parts.setdefault(name, []).append(values.float().cpu().numpy())
    return {name: np.concatenate(batches) for name, batches in parts.items()}


def trunk_features(trunk: nn.Module, x: Inputs) -> Array:
    """Features (n, d) of all rows in order, float32, computed in batches."""
    device = device_of(trunk.eval())
    with torch.no_grad():
        parts = [trunk(batch.to(device)).flatten(1).float().cpu() for batch in _batches(x)]
    return torch.cat(parts).numpy()


def _batches(x: Inputs, size: int = 256) -> Iterator[Tensor]:
    if isinstance(x, Delivery):
        yield from x.batches(size)
    else:
        for start in range(0, len(x), size):
            yield torch.from_numpy(x[start : start + size])


def cross_entropy(logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
    """Nats, summed over targets: of each the mean over its labelled rows, 0 where there are none."""
    terms = [
        nn.functional.cross_entropy(logits[name], y, ignore_index=-1, reduction="sum")
        / (y >= 0).sum().clamp(min=1)
        for name, y in labels.items()
    ]
    return torch.stack(terms).sum()


def inputs(samples: Samples) -> Inputs:
    """`x`, as a trunk reads it. Raises TypeError for a data set's own images."""
    if not isinstance(samples.x, np.ndarray | Delivery):
        raise TypeError("a protocol needs images as its trunk reads them: a Delivery")
    return samples.x


def resident(samples: Samples) -> Samples:
    """The same samples, images converted once and held in memory."""
    x = inputs(samples)
    return replace(samples, x=x.resident()) if isinstance(x, Delivery) else samples


def pick_rows(samples: Samples, rows: Array) -> Samples:
    """These rows (m,) alone; images are not copied."""
    x = inputs(samples)
    part = Delivery(x.images, x.input, x.rows[rows]) if isinstance(x, Delivery) else x[rows]
    return Samples(part, {name: y[rows] for name, y in samples.y.items()}, samples.rows[rows])


def train_accuracy(model: nn.Module, samples: Samples) -> float:
    """Accuracy in [0, 1] on up to about 1,000 rows, images not augmented, averaged over targets."""
    step = max(1, len(samples) // _ACCURACY_ROWS)
    samples = pick_rows(samples, np.arange(len(samples))[::step])
    accuracies = []
    for name, logits in outputs(model, inputs(samples)).items():
        y = samples.y[name]
        accuracies.append((logits.argmax(axis=1) == y)[y >= 0].mean() if (y >= 0).any() else 0.0)
    return float(np.mean(accuracies))


def collapsed_accuracy(samples: Samples, targets: Iterable[str]) -> float:
    """An accuracy little above that of always guessing the largest class, averaged over targets: with its
    share p of the labels, min(1.2 p, (1 + p) / 2)."""
    thresholds = []
    for name in targets:
        counts = np.bincount(samples.y[name][samples.y[name] >= 0])
        share = counts.max() / counts.sum()
        thresholds.append(min(1.2 * share, (1 + share) / 2))
    return float(np.mean(thresholds))
