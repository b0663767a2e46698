"""Tunes whatever trunk it is given, with a linear head, for a few steps."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from bench import TransferProtocol

REVISION = 1


class Tuning(TransferProtocol):
    output = "log_probability"
    accepts = frozenset({"classes"})

    def __init__(self, meta, trunk, seed, start, blocks) -> None:
        self.meta, self.trunk, self.seed, self.start, self.blocks = meta, trunk, seed, start, blocks

    def _read(self, x, rows):
        return torch.from_numpy(x[rows]) if isinstance(x, np.ndarray) else x.read(rows)

    def fit(self, train, val):
        torch.manual_seed(self.seed)
        self.body = self.trunk(self.start, seed=self.seed, blocks=self.blocks or None)
        self.before = {n: p.detach().clone() for n, p in self.body.named_parameters()}
        labels = torch.from_numpy(train.y["label"])
        everything = np.arange(len(train))
        dim = self.body(self._read(train.x, everything[:2])).flatten(1).shape[1]
        self.layer = nn.Linear(dim, self.meta.targets["label"].size)
        both = [*self.body.parameters(), *self.layer.parameters()]
        optimiser = torch.optim.Adam(both, lr=1e-2)
        for _ in range(30):
            logits = self.layer(self.body(self._read(train.x, everything)).flatten(1))
            loss = nn.functional.cross_entropy(logits, labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return self

    def predict(self, x):
        with torch.inference_mode():
            logits = self.layer(self.body(self._read(x, np.arange(len(x)))).flatten(1))
        return {"label": logits.log_softmax(dim=1).numpy()}

    def report(self):
        moved = [n for n, p in self.body.named_parameters() if not torch.equal(p, self.before[n])]
        names = [n for n, _ in self.body.named_parameters()]
        return {"moved": moved, "parameters": names, "body": type(self.body).__name__}


def build(*, meta, trunk, seed, start: str = "trained", blocks: int = 0) -> Tuning:
    return Tuning(meta, trunk, seed, start, blocks)
