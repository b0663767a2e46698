"""Small networks for several tasks, many runs at once: towers, how tasks mix them, heads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.seeding import generator, torch_generator
from bench.solvers._checks import Array

REVISION = 1
Mix = Literal["separate", "shared", "stitch", "gates"]
Kind = Literal["classes", "binary", "number"]
_EPSILON = 1e-5  # of PyTorch's layer_norm
_OF_TOWERS = ("tower", "tower:bias", "norm", "norm:bias")
_STITCH_RATE = 10.0  # of stitch units, over that of others (Misra et al. 2016: far more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """`towers` of one hidden layer of `width` units, and how a task's head reads them.

    separate: tower t is task t's. shared: all tasks read one tower (Caruana 1997). stitch: a learnt
    mixture of all towers, one tower a task (Misra et al. 2016, arXiv:1604.03539). gates: a mixture of
    experts, weighted by a softmax of the input (Ma et al. 2018, doi:10.1145/3219819.3220007).
    """

    towers: int
    width: int
    mix: Mix


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training: its seed, learning rate, weight decay, dropout, and the coupling of towers: the loss
    adds `coupling` / 2 times the squared distances of all pairs; infinite: they are equal."""

    seed: int
    rate: float
    decay: float = 0.0
    dropout: float = 0.0
    coupling: float = 0.0
    weights: tuple[float, ...] = ()  # of the tasks' losses, by name; (): 1 each
    random_weights: bool = False  # drawn at each step (Lin et al. 2022, arXiv:2111.10603)


class Towers:
    """Parameters of r runs of one layout, on features (n, d), for `outputs`: task -> logits or values.

    Tasks are taken in the order of their names, and each draws its head by its name: their order and
    company change nothing. Towers of `separate` and `stitch` start alike, experts each by its number.
    """

    def __init__(
        self, dim: int, outputs: Mapping[str, int], layout: Layout, seeds: Sequence[int]
    ) -> None:
        tasks = len(outputs)
        if layout.towers != {"separate": tasks, "stitch": tasks, "shared": 1}.get(
            layout.mix, layout.towers
        ):
            raise BenchError(
                f"{layout.towers} towers of {tasks} tasks cannot be mixed as {layout.mix}"
            )
        self.outputs = {name: outputs[name] for name in sorted(outputs)}
        self.layout, self.dim = layout, dim
        alike = layout.mix in ("separate", "stitch")
        k, h = layout.towers, layout.width
        drawn: dict[str, list[Tensor]] = {}
        for seed in seeds:
            numbers = [0] * k if alike else range(k)
            towers = [_layer(seed, f"tower:{number}", dim, h) for number in numbers]
            drawn.setdefault("tower", []).append(torch.stack(towers))
            for name, size in self.outputs.items():
                drawn.setdefault(f"head:{name}", []).append(_layer(seed, f"head:{name}", h, size))
        r = len(seeds)
        self.parameters = {name: torch.stack(values) for name, values in drawn.items()}
        self.parameters["tower:bias"] = torch.zeros(r, k, 1, h)
        self.parameters["norm"] = torch.ones(r, k, 1, h)
        self.parameters["norm:bias"] = torch.zeros(r, k, 1, h)
        for name, size in self.outputs.items():
            self.parameters[f"bias:{name}"] = torch.zeros(r, 1, size)
            if layout.mix == "gates":
                self.parameters[f"gate:{name}"] = torch.zeros(r, dim, k)
        if layout.mix == "stitch":
            off_diagonal = 0.1 / (k - 1) if k > 1 else 0.0
            start = torch.full((k, k), off_diagonal).fill_diagonal_(0.9 if k > 1 else 1.0)
            self.parameters["stitch"] = start.repeat(r, 1, 1)
        for value in self.parameters.values():
            value.requires_grad_(True)

    def __call__(self, x: Tensor, keep: Tensor | None = None) -> dict[str, Tensor]:
        """Task -> (r, b, size) of inputs (r, b, d); `keep` (r, 1, b, h) multiplies hidden units."""
        p = self.parameters
        hidden = hidden_units(x, p["tower"], p["tower:bias"], p["norm"], p["norm:bias"], keep)
        by_tower = hidden.unbind(dim=1)
        outputs = {}
        for number, name in enumerate(self.outputs):
            if self.layout.mix == "gates":
                share = (x @ p[f"gate:{name}"]).softmax(dim=2)  # (r, b, k)
                mixed = torch.einsum("rbk,rkbh->rbh", share, hidden)
            elif self.layout.mix == "stitch":
                mixed = torch.einsum("rk,rkbh->rbh", p["stitch"][:, number], hidden)
            else:
                mixed = by_tower[number if self.layout.mix == "separate" else 0]
            outputs[name] = mixed @ p[f"head:{name}"] + p[f"bias:{name}"]
        return outputs

    def tower_distance(self) -> Tensor:
        """(r,): half the summed squared distances of all pairs of towers."""
        by_parameter = []
        for name in _OF_TOWERS:
            values = self.parameters[name]
            offset = values - values.mean(dim=1, keepdim=True)
            by_parameter.append(self.layout.towers / 2 * offset.square().sum(dim=(1, 2, 3)))
        return torch.stack(by_parameter).sum(dim=0)


def hidden_units(
    x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor, keep: Tensor | None
) -> Tensor:
    """(r, k, b, h): rectified, normalised (Ba et al. 2016, arXiv:1607.06450) x @ weight + bias, in few
    passes over memory, whose bandwidth limits the speed.

    x: (r, b, d), without a gradient; weight: (r, k, d, h); bias, scale and shift: (r, k, 1, h); keep
    (r, 1, b, h) multiplies the units, or None.
    """
    units: Tensor = _Hidden.apply(x, weight, bias, scale, shift, keep)
    return units


class _Hidden(torch.autograd.Function):
    """The gradient of autograd, computed in place where a buffer is no longer needed."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor,
        shift: Tensor,
        keep: Tensor | None,
    ) -> Tensor:
        sums = (x[:, None] @ weight).add_(bias)
        normal, _, rate = torch.native_layer_norm(sums, sums.shape[-1:], None, None, _EPSILON)
        units = torch.addcmul(shift, normal, scale, out=sums).relu_()
        if keep is not None:
            units.mul_(keep)
        ctx.save_for_backward(x, scale, normal, rate, units, keep)
        return units

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, normal, rate, units, keep = ctx.saved_tensors
        slope = torch.ops.aten.threshold_backward(slopes[0], units, 0)
        if keep is not None:
            slope.mul_(keep)
        of_shift = slope.sum(dim=2, keepdim=True)
        along = slope * normal
        of_scale = along.sum(dim=2, keepdim=True)
        # through the layer norm: remove the mean of the row and its projection on the normalised row
        width = slope.shape[-1]
        share = (along @ scale.transpose(2, 3)).div_(-width)  # (r, k, b, 1)
        slope.mul_(scale)
        mean = slope.mean(dim=3, keepdim=True)
        slope.addcmul_(normal, share).sub_(mean).mul_(rate)
        of_weight = x[:, None].transpose(2, 3) @ slope
        return None, of_weight, slope.sum(dim=2, keepdim=True), of_scale, of_shift, None


def _layer(seed: int, name: str, inputs: int, outputs: int) -> Tensor:
    """(inputs, outputs) by He et al. 2015, from a stream of its own."""
    draw = torch_generator(seed, name)
    return torch.randn(inputs, outputs, generator=draw) * math.sqrt(2 / inputs)


def parameter_count(dim: int, sizes: Sequence[int], layout: Layout) -> int:
    """The number of parameters of one run, for tasks with these output sizes on features (n, dim)."""
    k, h, t = layout.towers, layout.width, len(sizes)
    extra = {"gates": t * dim * k, "stitch": t * k}.get(layout.mix, 0)
    return k * (dim * h + 3 * h) + sum(h * size + size for size in sizes) + extra


def train(
    towers: Towers,
    x: Array,
    labels: Mapping[str, Array],
    kinds: Mapping[str, Kind],
    runs: Sequence[Run],
    *,
    epochs: int,
    batch: int,
    optimiser: Literal["adamw", "sgd"] = "adamw",
) -> Array:
    """Train all runs in place on x (n, d); the mean loss (r,) of the last epoch, summed over tasks.

    labels: task -> classes (n,), -1 where missing; yes/no (n, s), -1; numbers (n, s), NaN. A task's loss
    is the mean over its labels in the batch, 0 where there is none. AdamW (Loshchilov and Hutter 2019)
    with a cosine to zero; each run its own rates, order of rows and dropout, so that it is the same
    run alone or in company.
    """
    inputs, steps = torch.from_numpy(x), epochs * math.ceil(len(x) / batch)
    targets = {
        name: _filled(kinds[name], torch.from_numpy(labels[name])) for name in towers.outputs
    }
    update = _Update(towers, runs, optimiser)
    weigh = [generator(run.seed, "weights") for run in runs]
    tied = torch.tensor([math.isinf(run.coupling) for run in runs])
    coupling = torch.tensor([0.0 if math.isinf(run.coupling) else run.coupling for run in runs])
    drop = _Dropout(runs, towers.layout.width)
    orders = [_batches(len(x), batch, epochs, run.seed) for run in runs]
    last, total = torch.zeros(len(runs)), 0
    for step in range(steps):
        rows = torch.from_numpy(np.stack([next(order) for order in orders]))  # (r, b)
        outputs = towers(inputs[rows], drop(rows.shape[1]))
        losses = torch.stack(
            [
                _loss(kinds[name], outputs[name], *(part[rows] for part in targets[name]))
                for name in outputs
            ],
            dim=1,
        )  # (r, t)
        loss = (losses * _weights(runs, weigh, losses.shape[1])).sum(dim=1)
        if bool(coupling.any()):
            loss = loss + coupling * towers.tower_distance()
        update(loss.sum(), 0.5 * (1 + math.cos(math.pi * step / steps)), tied)
        if step >= steps - steps // epochs:
            last, total = last + losses.detach().sum(dim=1), total + 1
    mean: Array = (last / total).numpy()
    return mean


def _batches(count: int, batch: int, epochs: int, seed: int) -> Iterator[Array]:
    """Row numbers (b,), whole epochs in an order of their own; the last batch of each is filled up
    from its beginning, so that all have one size."""
    rng, size = generator(seed, "batches"), min(batch, count)
    for _ in range(epochs):
        order = rng.permutation(count)
        for start in range(0, count, batch):
            yield np.take(order, np.arange(start, start + size), mode="wrap")


def _weights(runs: Sequence[Run], draws: Sequence[np.random.Generator], tasks: int) -> Tensor:
    """(r, t), summing to t."""
    weights = np.ones((len(runs), tasks), np.float32)
    for number, (run, rng) in enumerate(zip(runs, draws, strict=True)):
        if run.random_weights:
            drawn = np.exp(rng.standard_normal(tasks))
            weights[number] = tasks * drawn / drawn.sum()
        elif run.weights:
            weights[number] = tasks * np.array(run.weights) / sum(run.weights)
    return torch.from_numpy(weights)


def _filled(kind: Kind, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Labels (n, s) or (n,) with 0 where one is missing, and a mask: 1 where labelled, else 0."""
    labelled = ~labels.isnan() if kind == "number" else labels >= 0
    filled = labels.nan_to_num() if kind == "number" else labels.clamp(min=0)
    return (filled if kind == "classes" else filled.float()), labelled.float()


def _loss(kind: Kind, outputs: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Loss (r,) of outputs (r, b, s), mean over labels: cross-entropy in nats, or squared error."""
    if kind == "classes":
        flat = torch.nn.functional.cross_entropy(
            outputs.flatten(0, 1), labels.flatten(), reduction="none"
        )
        losses = flat.view(labels.shape)
    elif kind == "binary":
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            outputs, labels, reduction="none"
        )
    else:
        losses = (outputs - labels).square()
    return (losses * mask).flatten(1).sum(dim=1) / mask.flatten(1).sum(dim=1).clamp(min=1)


class _Dropout:
    """Dropout masks from a random stream of each run; the same in all towers of a run."""

    def __init__(self, runs: Sequence[Run], width: int) -> None:
        self._shares, self._width = [run.dropout for run in runs], width
        self._draws = [torch_generator(run.seed, "dropout") for run in runs]

    def __call__(self, rows: int) -> Tensor | None:
        if not any(self._shares):
            return None
        mask = torch.ones(len(self._shares), 1, rows, self._width)
        for number, (share, draw) in enumerate(zip(self._shares, self._draws, strict=True)):
            if share:
                drawn = torch.rand(rows, self._width, generator=draw)
                mask[number, 0] = (drawn >= share) / (1 - share)
        return mask


class _Update:
    """A step of the optimiser for all runs, each at its own rate and decay."""

    def __init__(self, towers: Towers, runs: Sequence[Run], kind: Literal["adamw", "sgd"]) -> None:
        self._towers, self._kind, self._steps = towers, kind, 0
        self._rate = torch.tensor([run.rate for run in runs])
        self._decay = torch.tensor([run.decay for run in runs])
        self._moments = {
            name: (torch.zeros_like(value), torch.zeros_like(value))
            for name, value in towers.parameters.items()
        }

    def __call__(self, loss: Tensor, share: float, tied: Tensor) -> None:
        parameters = self._towers.parameters
        slopes = torch.autograd.grad(loss, list(parameters.values()))
        self._steps += 1
        with torch.no_grad():
            for (name, value), slope in zip(parameters.items(), slopes, strict=True):
                if name in _OF_TOWERS and bool(tied.any()):
                    mean = slope.mean(dim=1, keepdim=True).expand_as(slope)
                    slope = torch.where(_wide(tied, slope), mean, slope)
                rate = share * _wide(self._rate, value)
                rate = rate * (_STITCH_RATE if name == "stitch" else 1.0)
                if self._kind == "sgd":
                    value -= rate * slope
                    continue
                if name == "tower" or name.startswith("head:"):  # no biases, norms, gates or units
                    value *= 1 - rate * _wide(self._decay, value)
                first, second = self._moments[name]
                first.lerp_(slope, 0.1)
                second.mul_(0.999).addcmul_(slope, slope, value=0.001)
                scale = (second / (1 - 0.999**self._steps)).sqrt_().add_(1e-8)
                value -= rate * (first / (1 - 0.9**self._steps)) / scale


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """(r,) as (r, 1, ...)."""
    return values.view(-1, *(1 for _ in like.shape[1:]))
