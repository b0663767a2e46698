"""Chooses once a cell, then is built with what was chosen."""

from __future__ import annotations

from tests.kit.toys.means import Means

REVISION = 1


class Choosing(Means):
    def select(self, train, val):
        return {"strength": self.strength + 10 + self.seed}


def build(*, meta, trunk, seed, strength: int = 0) -> Choosing:
    return Choosing(meta, trunk, seed, strength, -1)
