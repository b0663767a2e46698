"""The loop that tunes a model on labelled rows, for every protocol that tunes one.

Without a REVISION of its own: an edit that moves numbers raises those of the protocols.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from bench.data.images import Delivery
from bench.data.samples import Samples
from bench.errors import BenchError
from bench.seeding import generator, minibatches, seeded, stream

Array = npt.NDArray[Any]
X = Array | Delivery
Loss = Callable[[Any, Array], Tensor]
BATCH = 64
DECAY, WARM_UP, CLIP = 0.05, 0.05, 1.0
SHIFT = 1 / 16  # of a side: 2 pixels of 32
_SHOWN = 1000  # training rows that say whether anything is left of what a start knew
_LOOK = 64  # steps between two looks at the loss: each one waits for the device


class Diverged(BenchError):
    """Tuning has made things worse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model is tuned: images drawn in all, the highest learning rate, whether images are moved
    (cropped and mirrored)."""

    images: int
    rate: float
    moved: bool = False

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
    x: X,
    loss: Loss,
    *,
    recipe: Recipe,
    seed: int,
    parts: Sequence[Sequence[nn.Parameter]] | None = None,
) -> float:
    """Tune `model` in place on `x`, rows drawn in whole epochs; the mean loss of the last tenth of the
    steps. `loss` gets what the model makes of a batch, and the numbers (n,) of its rows.

    AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), without decay of biases and norms; the
    gradient's norm is cut to 1 (Pascanu et al. 2013, arXiv:1211.5063), that of each of the `parts`
    (None: of all parameters together); the last state is kept, never the best. Raises Diverged where
    the loss is no longer finite.
    """
    optimiser, device = _optimiser(model, recipe.rate), device_of(model)
    moves, last = generator(seed, "moves"), recipe.steps - max(1, recipe.steps // 10)
    tail: list[Tensor] = []
    model.train()
    progress = tqdm(
        total=recipe.images, desc="tuning", unit="image", disable=None, leave=False, delay=1
    )
    with seeded(stream(seed, "tuning")), progress:  # dropout draws from the global state
        for step, rows in enumerate(minibatches(len(x), recipe.images, BATCH, seed)):
            batch = read(x, rows)
            batch = moved(batch, moves) if recipe.moved else batch
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate_at(step)
            value = loss(model(batch.to(device)), rows)
            optimiser.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            for part in [list(model.parameters())] if parts is None else parts:
                nn.utils.clip_grad_norm_(part, CLIP)
            optimiser.step()
            if step >= last:
                tail.append(value.detach())
            if (step % _LOOK == 0 or step == recipe.steps - 1) and not bool(value.isfinite()):
                raise Diverged(
                    f"tuning has diverged: after {step + 1} of {recipe.steps} steps at rate "
                    f"{recipe.rate:g} the loss is {value.item()}"
                )
            progress.update(len(rows))
    model.eval()
    return float(torch.stack(tail).mean())


def _optimiser(model: nn.Module, rate: float) -> torch.optim.AdamW:
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: Sequence[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=rate)


def moved(batch: Tensor, rng: np.random.Generator) -> Tensor:
    """Images (n, c, h, w), each shifted by up to a sixteenth of its side, black coming in, and
    mirrored half of the time."""
    n, _, height, width = batch.shape
    down, right = int(height * SHIFT), int(width * SHIFT)
    padded = nn.functional.pad(batch, (right, right, down, down))
    tops, lefts = rng.integers(2 * down + 1, size=n), rng.integers(2 * right + 1, size=n)
    found = torch.stack(
        [
            image[:, top : top + height, left : left + width]
            for image, top, left in zip(padded, tops, lefts, strict=True)
        ]
    )
    mirrored = torch.from_numpy(rng.random(n) < 0.5)
    return torch.where(mirrored[:, None, None, None], found.flip(-1), found)


def device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def read(x: X, rows: Array) -> Tensor:
    """The rows of images, activations or features, as a model takes them."""
    return x.read(rows) if isinstance(x, Delivery) else torch.from_numpy(x[rows])


def outputs(model: nn.Module, x: X, size: int = 256) -> dict[str, Array]:
    """What a model gives by name for all rows in order, in eval mode: float32."""
    model.eval()
    device, parts = device_of(model), dict[str, list[Array]]()
    with torch.inference_mode():
        for batch in _batches(x, size):
            for name, values in model(batch.to(device)).items():
                parts.setdefault(name, []).append(values.float().cpu().numpy())
    return {name: np.concatenate(each) for name, each in parts.items()}


def read_out(trunk: nn.Module, x: Array | Delivery) -> Array:
    """Features (n, d) of all rows in order, float32, read in batches."""
    return outputs(_Named(trunk), x)["features"]


class _Named(nn.Module):
    """A trunk whose features (n, d) have a name."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"features": self.trunk(x).flatten(1)}


def _batches(x: X, size: int) -> Iterator[Tensor]:
    if isinstance(x, Delivery):
        yield from x.batches(size)
    else:
        for start in range(0, len(x), size):
            yield torch.from_numpy(x[start : start + size])


def cross_entropy(logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
    """Nats, summed over targets: each the mean over rows with a label, 0 where there is none."""
    terms = [
        nn.functional.cross_entropy(logits[name], y, ignore_index=-1, reduction="sum")
        / (y >= 0).sum().clamp(min=1)
        for name, y in labels.items()
    ]
    return torch.stack(terms).sum()


def inputs(samples: Samples) -> Array | Delivery:
    """What a protocol was given as `x`."""
    if not isinstance(samples.x, np.ndarray | Delivery):
        raise TypeError("a protocol is given images as its trunk wants them")
    return samples.x


def resident(samples: Samples) -> Samples:
    """The same, its images converted once and held in memory."""
    x = inputs(samples)
    return replace(samples, x=x.resident()) if isinstance(x, Delivery) else samples


def picked(samples: Samples, rows: Array) -> Samples:
    """These rows (m,) alone, images where they lie."""
    x = inputs(samples)
    own = Delivery(x.images, x.input, x.rows[rows]) if isinstance(x, Delivery) else x[rows]
    return Samples(own, {name: y[rows] for name, y in samples.y.items()}, samples.rows[rows])


def right_share(model: nn.Module, samples: Samples) -> float:
    """Share that is right of up to 1,000 rows, images as they are, averaged over targets."""
    shown = picked(samples, np.arange(len(samples))[:: max(1, len(samples) // _SHOWN)])
    shares = []
    for name, logits in outputs(model, inputs(shown)).items():
        y = shown.y[name]
        shares.append((logits.argmax(axis=1) == y)[y >= 0].mean() if (y >= 0).any() else 0.0)
    return float(np.mean(shares))


def least_share(samples: Samples, targets: Iterable[str]) -> float:
    """What is little more than the largest class's share, averaged over targets."""
    found = []
    for name in targets:
        counts = np.bincount(samples.y[name][samples.y[name] >= 0])
        share = counts.max() / counts.sum()
        found.append(min(1.2 * share, (1 + share) / 2))
    return float(np.mean(found))
