"""A small trunk with stages, trained a few steps to reconstruct; reports the arguments of its fit."""

from __future__ import annotations

import torch
from torch import nn

from bench import Delivery, Encoder, FitReport, Input, SourceInfo, generator

REVISION = 1


class SmallTrunk(Encoder):
    def __init__(self, source: SourceInfo, dim: int, uses_labels: bool) -> None:
        super().__init__()
        self.input = Input(size=(source.height, source.width), channels=source.channels)
        self.uses_labels = uses_labels
        self.dims = {"trunk": dim, "code": 3}
        pixels = source.channels * source.height * source.width
        first = nn.Sequential(nn.Conv2d(source.channels, 4, 3, padding=1), nn.ReLU())
        second = nn.Sequential(nn.Flatten(), nn.Linear(4 * source.height * source.width, dim))
        self.trunk = nn.Sequential(first, second, nn.Tanh())
        self.to_code, self.decoder = nn.Linear(dim, 3), nn.Linear(3, pixels)

    def taps(self, images):
        trunk = self.trunk(images)
        return {"trunk": trunk, "code": self.to_code(trunk)}

    def stages(self):
        return self.trunk

    def fit(self, images: Delivery, *, labels, budget, seed):
        self.train()
        optimiser = torch.optim.Adam(self.parameters(), lr=1e-2)
        order, seen = generator(seed, "batches"), 0
        while seen < budget:
            batch = images.read(order.integers(len(images), size=min(32, budget - seen)))
            loss = (self.decoder(self.taps(batch)["code"]) - batch.flatten(1)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            seen += len(batch)
        granted = None if labels is None else {n: int((y >= 0).sum()) for n, y in labels.items()}
        notes = {"rows": images.rows.tolist(), "labels": granted}
        return FitReport(images_seen=seen, terms={"loss": loss.item()}, notes=notes)


def build(*, source: SourceInfo, dim: int = 8, uses_labels: bool = False) -> SmallTrunk:
    return SmallTrunk(source, dim, uses_labels)
