"""Generated features (`cvz-v1`): a conditional VAE draws rows of unseen classes, a softmax learns them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from bench.data import Meta
from bench.digests import arrays_digest
from bench.protocols._zeroshot import Array, Lesson, OneScores, Scores, Setting, ZeroShot, stacked
from bench.protocols.base import TrunkFactory
from bench.solvers import balanced
from bench.solvers.conditional import Conditional, train

REVISION = 1
EXAMPLE = "samples=16000,width=32"  # the check kit fits often


class GeneratedFeatures(ZeroShot):
    """Mishra et al. 2018, arXiv:1709.00663: after a lesson on the seen classes, features of all others are
    drawn by their signatures, and a linear softmax learns real rows of seen classes beside them."""

    seeded = True
    sees_unseen: ClassVar[bool] = True
    most_folds = 1
    grid = tuple(
        {"latent": latent, "per_class": count} for latent in (8.0, 32.0) for count in (50.0, 200.0)
    )

    def __init__(
        self, meta: Meta, seed: int, pca: int, chosen: Setting, *, width: int, samples: int
    ) -> None:
        super().__init__(meta, seed, pca, chosen)
        self._width, self._samples = width, samples

    def learn(self, lesson: Lesson, settings: Sequence[Setting]) -> Scores:
        x, y = lesson.rows()
        models: dict[int, Conditional] = {}

        def at(setting: Setting) -> OneScores:
            latent = int(setting["latent"])
            if latent not in models:
                models[latent] = train(
                    x, y, lesson.own, latent=latent, width=self._width, samples=self._samples,
                    seed=lesson.seed,
                )  # fmt: skip
            count = int(setting["per_class"])
            return _Classifiers(lesson, x, y, models[latent], count, self._samples).scores

        return stacked([at(s) for s in settings])


class _Classifiers:
    """One softmax for each table of signatures that scores are asked for."""

    def __init__(
        self, lesson: Lesson, x: Array, y: Array, model: Conditional, count: int, samples: int
    ) -> None:
        self._lesson, self._x, self._y = lesson, x, y
        self._model, self._count, self._samples = model, count, samples
        self._made: dict[str, balanced.Linear] = {}

    def scores(self, x: Array, signatures: Array) -> Array:
        """Logits (n, C) of features (n, r), for all classes of signatures (C, a)."""
        key = arrays_digest({"signatures": signatures})
        if key not in self._made:
            self._made[key] = self._train(signatures)
        return self._made[key].scores(x)

    def _train(self, signatures: Array) -> balanced.Linear:
        x, y = self.rows(signatures)
        seed, samples = self._lesson.seed, self._samples
        return balanced.train(x, y, len(signatures), samples=samples, seed=seed)

    def rows(self, signatures: Array) -> tuple[Array, Array]:
        """Real rows of the lesson's classes, then drawn ones of every other class; their classes."""
        seen = np.array(self._lesson.classes)
        new = np.setdiff1d(np.arange(len(signatures)), seen)
        drawn, places = self._model.draw(signatures[new], self._count, self._lesson.seed)
        x = np.concatenate([self._x.astype(np.float32, copy=False), drawn])
        return x, np.concatenate([seen[self._y], new[places]])


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 128,
    width: int = 512,
    samples: int = 200_000,
    per_class: int = 0,
    latent: int = 32,
) -> GeneratedFeatures:
    """The head, on the first `pca` principal components (0: all); generator and softmax are each trained
    on `samples` rows drawn. `width` of the hidden layers; `per_class` features are drawn of each unseen
    class, from a code of `latent` numbers (per_class 0: validation chooses both).

    Raises BenchError for numbers below 0.
    """
    chosen = {"latent": float(latent), "per_class": float(per_class)} if per_class else {}
    return GeneratedFeatures(meta, seed, pca, chosen, width=width, samples=samples)
