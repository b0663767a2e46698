"""The semantic autoencoder (`sae-v1`): features to signatures and back by one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._method import Lesson, Scores, Setting, ZeroShot, along
from bench.solvers import signatures

REVISION = 1


class SAE(ZeroShot):
    """Kodirov et al. 2017, arXiv:1704.08345. Classes are told apart where signatures live ("forward") or
    where features do ("backward"), by cosines."""

    grid = tuple({"penalty": 10.0**exponent} for exponent in range(-2, 6))

    def __init__(self, meta: Meta, seed: int, pca: int, chosen: Setting, *, side: str) -> None:
        super().__init__(meta, seed, pca, chosen)
        self._side = side

    def learn(self, lesson: Lesson, settings: Sequence[Setting]) -> Scores:
        solver = signatures.SAE(lesson.statistics, lesson.own)
        encoding = solver.solve(along(settings, "penalty"))
        return encoding.forward if self._side == "forward" else encoding.backward


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 128,
    side: Literal["forward", "backward"] = "backward",
    penalty: float = 0.0,
) -> SAE:
    """The head, on the first `pca` principal components (0: all). `side`: where cosines are taken;
    `penalty`: the weight of encoding, in units that make both errors count alike (0: validation chooses).

    Raises BenchError for numbers below 0.
    """
    chosen = {"penalty": penalty} if penalty else {}
    return SAE(meta, seed, pca, chosen, side=side)
