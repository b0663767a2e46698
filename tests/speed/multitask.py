"""Seconds of one encoder's multi-task heads, against a plain loop of trainings one by one.

Six arms, each with 12 trials and 10 seeds, on two tasks of 10 classes, 8,000 rows of 64 features, 30
epochs. Ours is `select` and `sweep`, the reading of the features and all scoring in it. The plain loop is
what one would write: a module of `torch.nn` an arm, `torch.optim.AdamW` with a cosine, shuffled batches of
the rows in memory (no DataLoader, which would be slower), one training after the other. A few of its
trainings are timed and scaled up to 22; accuracies on new rows show that both do the same work.

Run: python tests/speed/multitask.py [--threads N] [--rows N] [--epochs N] [--trials N] [--seeds N]
     [--runs N]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.data.samples import Meta, Samples, Target
from bench.naming import registry
from bench.naming.specs import resolve
from bench.protocols.base import Job
from bench.protocols.parts.multitask import BATCH, MultiTask
from bench.solvers.towers import Layout

ARMS = (
    "single_task",
    "hard_sharing",
    "hard_sharing,slim=true",
    "soft_sharing",
    "cross_stitch",
    "gated_experts",
)
DIM, CLASSES, NEW = 64, 10, 2_000
NAMES = tuple(str(number) for number in range(CLASSES))
META = Meta({name: Target("classes", CLASSES, NAMES) for name in ("left", "right")})
RATE, COUPLING = 1e-3, 1e-2  # of the plain loop


def samples(count: int, seed: int) -> Samples:
    """Rows with the classes that two random networks give them."""
    x = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    rng, y = np.random.default_rng(0), {}
    for name in META.targets:
        hidden = np.maximum(x @ rng.standard_normal((DIM, 32)), 0)
        y[name] = (hidden @ rng.standard_normal((32, CLASSES))).argmax(axis=1)
    return Samples(x, y, np.arange(count))


def built(arm: str, epochs: int, trials: int, **chosen: Any) -> MultiTask:
    spec = resolve("protocols", arm)
    params = {**spec.arguments, "epochs": epochs, "trials": trials, **chosen}
    protocol = registry.load(spec.entry).build(meta=META, trunk=None, seed=0, **params)
    assert isinstance(protocol, MultiTask)
    return protocol


def ours(
    arm: str, train: Samples, new: Samples, epochs: int, trials: int, seeds: int
) -> tuple[float, float]:
    """Seconds of the trials and the seeds, and the mean accuracy of the seeds."""
    start = time.perf_counter()
    chosen = built(arm, epochs, trials).select(train, new)
    jobs = [Job(META, np.arange(len(train)), None, seed) for seed in range(seeds)]
    swept = built(arm, epochs, trials, **chosen).sweep(train, jobs, np.asarray(new.x))
    seconds = time.perf_counter() - start
    right = [
        (predictions[name].argmax(axis=1) == new.y[name]).mean()
        for predictions, _ in swept
        for name in predictions
    ]
    return seconds, float(np.mean(right))


class Plain(nn.Module):
    """The towers, mixing and heads of a layout, module by module."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.mix, tasks, width = layout.mix, len(META.targets), layout.width
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(DIM, width), nn.LayerNorm(width), nn.ReLU())
            for _ in range(layout.towers)
        )
        self.heads = nn.ModuleList(nn.Linear(width, CLASSES) for _ in range(tasks))
        if self.mix == "gates":
            self.gates = nn.ModuleList(nn.Linear(DIM, layout.towers) for _ in range(tasks))
        if self.mix == "stitch":
            self.stitch = nn.Parameter(torch.full((tasks, tasks), 0.1).fill_diagonal_(0.9))

    def forward(self, x: Tensor) -> list[Tensor]:
        hidden = [tower(x) for tower in self.towers]
        outputs = []
        for task, head in enumerate(self.heads):
            if self.mix == "gates":
                shares = self.gates[task](x).softmax(dim=1)
                mixture = sum(shares[:, [k]] * h for k, h in enumerate(hidden))
            elif self.mix == "stitch":
                mixture = sum(self.stitch[task, k] * h for k, h in enumerate(hidden))
            else:
                mixture = hidden[task if self.mix == "own" else 0]
            outputs.append(head(mixture))
        return outputs

    def apart(self) -> Tensor:
        """The squared distance of two towers."""
        first, second = (tower.parameters() for tower in self.towers)
        return torch.stack(
            [(a - b).square().sum() for a, b in zip(first, second, strict=True)]
        ).sum()


def plain(arm: str, train: Samples, new: Samples, epochs: int, runs: int) -> tuple[float, float]:
    """Mean seconds of a training, and the mean accuracy."""
    layout, right = built(arm, epochs, 1).layout(DIM), list[float]()
    x, y = torch.from_numpy(np.asarray(train.x)), [torch.from_numpy(v) for v in train.y.values()]
    start = time.perf_counter()
    for seed in range(runs):
        torch.manual_seed(seed)
        model = Plain(layout)
        adam = torch.optim.AdamW(model.parameters(), lr=RATE)
        steps = epochs * math.ceil(len(x) / BATCH)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(BATCH):
                outputs = model(x[rows])
                loss = sum(
                    nn.functional.cross_entropy(o, labels[rows])
                    for o, labels in zip(outputs, y, strict=True)
                )
                if arm.startswith("soft_sharing"):
                    loss = loss + COUPLING / 2 * model.apart()
                adam.zero_grad()
                loss.backward()  # type: ignore[union-attr, no-untyped-call]
                adam.step()
                cosine.step()
        with torch.no_grad():
            for output, truth in zip(
                model(torch.from_numpy(np.asarray(new.x))), new.y.values(), strict=True
            ):
                right.append(float((output.argmax(dim=1).numpy() == truth).mean()))
    return (time.perf_counter() - start) / runs, float(np.mean(right))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rows", type=int, default=8_000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3, help="trainings of the plain loop an arm")
    args = parser.parse_args()
    if min(args.rows, args.epochs, args.trials, args.seeds, args.runs) < 1:
        parser.error("all numbers start at 1")
    torch.set_num_threads(args.threads)
    train, new = samples(args.rows, 1), samples(NEW, 2)
    small = samples(2 * BATCH, 1)
    ours(ARMS[0], small, small, 1, 1, 1), plain(ARMS[0], small, small, 1, 1)  # what is slow once
    count = args.trials + args.seeds
    print(
        f"{args.threads} threads; {args.rows} rows, {args.epochs} epochs, {args.trials} trials and "
        f"{args.seeds} seeds; plain: {args.runs} trainings, times {count}"
    )
    print(f"{'arm':>24} {'ours, s':>8} {'plain, s':>9} {'ratio':>6} {'ours, %':>8} {'plain, %':>9}")
    sums = [0.0, 0.0]
    for arm in ARMS:
        spent, hits = ours(arm, train, new, args.epochs, args.trials, args.seeds)
        peer, its = plain(arm, train, new, args.epochs, args.runs)
        sums = [sums[0] + spent, sums[1] + count * peer]
        print(
            f"{arm:>24} {spent:8.1f} {count * peer:9.1f} {count * peer / spent:6.2f} "
            f"{100 * hits:8.1f} {100 * its:9.1f}",
            flush=True,
        )
    print(f"{'all':>24} {sums[0]:8.1f} {sums[1]:9.1f} {sums[1] / sums[0]:6.2f}")


if __name__ == "__main__":
    main()
