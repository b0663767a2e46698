"""The semantic autoencoder (`sae-v1`): features to signatures and back by one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._method import GridScores, Setting, ZeroShot, values_of
from bench.protocols.zeroshot._seen_classes import SeenClasses
from bench.solvers import signatures

REVISION = 1


class SAEHead(ZeroShot):
    """Kodirov et al. 2017, arXiv:1704.08345. Scores are cosines of encoded features with signatures
    ("forward"), or of features with decoded signatures ("backward")."""

    grid = tuple({"penalty": 10.0**exponent} for exponent in range(-2, 6))

    def __init__(self, meta: Meta, seed: int, pca: int, chosen: Setting, *, side: str) -> None:
        super().__init__(meta, seed, pca, chosen)
        self._side = side

    def learn(self, seen: SeenClasses, settings: Sequence[Setting]) -> GridScores:
        solver = signatures.SAESolver(seen.statistics, seen.signatures)
        encoding = solver.solve(values_of(settings, "penalty"))
        return encoding.encoded_scores if self._side == "forward" else encoding.decoded_scores


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 128,
    side: Literal["forward", "backward"] = "backward",
    penalty: float = 0.0,
) -> SAEHead:
    """The head.

    pca: principal components that are read (0: all)
    side: cosines of encoded features ("forward") or of decoded signatures ("backward")
    penalty: weight of the encoding error, in units of |s|^2 / |x|^2 over rows x and signatures s (0:
      validation chooses)

    Raises BenchError for numbers below 0.
    """
    chosen = {"penalty": penalty} if penalty else {}
    return SAEHead(meta, seed, pca, chosen, side=side)
