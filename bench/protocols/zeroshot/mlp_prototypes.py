"""Network prototypes (`mlz-v1`): a class-normalised network maps signatures to prototypes."""

from __future__ import annotations

from bench.data.samples import Array, Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._method import Scores, Setting, TrainedZeroShot
from bench.protocols.zeroshot._seen_classes import SeenClasses
from bench.solvers import prototype_network

REVISION = 1
EXAMPLE = "samples=30000,width=64,rate=0.001,scale=5"  # on the kit's blobs settings tie


class NetworkPrototypes(TrainedZeroShot):
    """Skorokhodov and Elhoseiny 2021, arXiv:2006.11328, on centred features: scores are scaled cosines
    with prototypes; unseen classes are standardised by the statistics of the seen ones."""

    grid = tuple({"rate": rate, "scale": scale} for rate in (1e-3, 4e-3) for scale in (10.0, 25.0))

    def __init__(
        self, meta: Meta, seed: int, pca: int, chosen: Setting, *, width: int, samples: int
    ) -> None:
        """meta, seed, pca, chosen: as in `ZeroShot`; width, samples: as in `build`."""
        super().__init__(meta, seed, pca, chosen)
        self._width, self._samples = width, samples

    def train(self, x: Array, y: Array, seen: SeenClasses, setting: Setting) -> Scores:
        network = prototype_network.train(
            x, y, seen.signatures, width=self._width, rate=setting["rate"], scale=setting["scale"],
            samples=self._samples, seed=seen.seed,
        )  # fmt: skip
        return network.scores


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 128,
    width: int = 256,
    samples: int = 200_000,
    rate: float = 0.0,
    scale: float = 25.0,
) -> NetworkPrototypes:
    """The head.

    pca: principal components that are read (0: all)
    width: units of each of two hidden layers
    samples: rows drawn for training
    rate: learning rate of AdamW (0: validation chooses it and `scale`)
    scale: of the cosines

    Raises BenchError for numbers below 0.
    """
    chosen = {"rate": rate, "scale": scale} if rate else {}
    return NetworkPrototypes(meta, seed, pca, chosen, width=width, samples=samples)
