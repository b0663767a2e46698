"""Network prototypes (`mlz-v1`): a class-normalised network makes prototypes of signatures."""

from __future__ import annotations

from collections.abc import Sequence

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._method import Lesson, OneScores, Scores, Setting, ZeroShot, stacked
from bench.solvers import embedding

REVISION = 1
EXAMPLE = "samples=30000,width=64,rate=0.001,scale=5"  # on blobs settings tie


class NetworkPrototypes(ZeroShot):
    """Skorokhodov and Elhoseiny 2021, arXiv:2006.11328, on features about their mean: scaled cosines with
    prototypes; of unseen classes nothing is standardised but by the seen ones."""

    seeded = True
    most_folds = 1
    grid = tuple({"rate": rate, "scale": scale} for rate in (1e-3, 4e-3) for scale in (10.0, 25.0))

    def __init__(
        self, meta: Meta, seed: int, pca: int, chosen: Setting, *, width: int, samples: int
    ) -> None:
        super().__init__(meta, seed, pca, chosen)
        self._width, self._samples = width, samples

    def learn(self, lesson: Lesson, settings: Sequence[Setting]) -> Scores:
        x, y = lesson.rows()

        def at(setting: Setting) -> OneScores:
            found = embedding.train(
                x, y, lesson.own, width=self._width, rate=setting["rate"], scale=setting["scale"],
                samples=self._samples, seed=lesson.seed,
            )  # fmt: skip
            return found.scores

        return stacked([at(s) for s in settings])


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
    """The head, on the first `pca` principal components (0: all), trained on `samples` rows drawn; two
    hidden layers of `width` units. `rate` of AdamW, `scale` of the cosines (rate 0: validation chooses
    both).

    Raises BenchError for numbers below 0.
    """
    chosen = {"rate": rate, "scale": scale} if rate else {}
    return NetworkPrototypes(meta, seed, pca, chosen, width=width, samples=samples)
