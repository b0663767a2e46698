"""Images a second of training, against a bare loop over a float tensor in memory.

Both train the autoencoder of width 16 on grey images of 28 x 28, resized to 32 x 32, with the same
loss, optimiser and batches of the same size. Ours goes through `Encoder.fit`, and its time has the
resizing in it; the bare loop is given the resized images. Aim: a ratio of 0.8 or more.

Run: python tests/speed/training.py [--threads N] [--rounds N] [--images N] [--steps N]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.data.images import ArrayImages, Delivery
from bench.data.samples import SourceInfo
from bench.encoders.autoencoders import autoencoder
from bench.encoders.parts.autoencoder import Autoencoder
from bench.encoders.parts.training import BATCH

RATE = 1e-3


def blurred(count: int) -> ArrayImages:
    """Grey images of 28 x 28, blurred noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 1, 7, 7), dtype=np.uint8)
    return ArrayImages(coarse.repeat(4, axis=2).repeat(4, axis=3))


def model() -> Autoencoder:
    torch.manual_seed(0)
    return autoencoder.build(source=SourceInfo(1, 28, 28, {}), width=16, rate=RATE)


def ours(images: ArrayImages, steps: int) -> float:
    """Seconds of a fit, conversion of the images included."""
    encoder = model()
    delivery, start = Delivery(images, encoder.input), time.perf_counter()
    encoder.fit(delivery, labels=None, budget=steps * BATCH, seed=0)
    return time.perf_counter() - start


def bare(images: Tensor, steps: int) -> float:
    """Seconds of the shortest loop that does the same work on images (n, 1, 32, 32) in [0, 1]."""
    encoder = model().train()
    start = time.perf_counter()
    adam, step = torch.optim.Adam(encoder.parameters(), lr=RATE), 0
    while step < steps:
        order = torch.randperm(len(images))
        for rows in order[: len(order) // BATCH * BATCH].split(BATCH)[: steps - step]:
            batch = images[rows]
            loss = (encoder.reconstruct(batch) - batch).square().flatten(1).sum(dim=1).mean()
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            step += 1
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    if arguments.images < BATCH:
        parser.error(f"--images: {BATCH} or more are wanted")
    torch.set_num_threads(arguments.threads)
    images = blurred(arguments.images)
    resized = Delivery(images, model().input).read(np.arange(arguments.images))
    ours(images, 3), bare(resized, 3)  # what is slow once
    print(
        f"{arguments.threads} threads; {arguments.images} images, {arguments.steps} steps of {BATCH}; "
        f"images a second, {arguments.rounds} rounds in turn"
    )
    print(f"{'round':>6} {'ours':>8} {'bare':>8} {'ratio':>6}")
    seen, rates = arguments.steps * BATCH, list[tuple[float, float]]()
    for number in range(arguments.rounds):
        rates.append((seen / ours(images, arguments.steps), seen / bare(resized, arguments.steps)))
        ours_rate, rival_rate = rates[-1]
        print(
            f"{number + 1:6d} {ours_rate:8.0f} {rival_rate:8.0f} {ours_rate / rival_rate:6.2f}",
            flush=True,
        )
    ours_rate, rival_rate = (statistics.median(column) for column in zip(*rates, strict=True))
    print(f"{'median':>6} {ours_rate:8.0f} {rival_rate:8.0f} {ours_rate / rival_rate:6.2f}")
    print(f"median of the rounds' ratios: {statistics.median(a / b for a, b in rates):.2f}")


if __name__ == "__main__":
    main()
