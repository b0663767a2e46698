"""Generated features (`cvz-v2`): a conditional VAE draws rows of unseen classes, a softmax learns them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.data.samples import Meta
from bench.digests import arrays_digest
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._method import (
    Array,
    Lesson,
    OneScores,
    Scores,
    Setting,
    ZeroShot,
    stacked,
)
from bench.solvers import balanced
from bench.solvers.conditional import Conditional, train

REVISION = 2
EXAMPLE = "samples=16000,width=32"  # the check kit fits often


@dataclass(frozen=True, slots=True)
class Plan:
    """Units of the hidden layers, numbers of a code, rows drawn to train on, features drawn of each unseen
    class, and the penalty of the softmax."""

    width: int
    latent: int
    samples: int
    per_class: int
    penalty: float


class GeneratedFeatures(ZeroShot):
    """Mishra et al. 2018, arXiv:1709.00663: after a lesson on the seen classes, features of all others are
    drawn by their signatures, and a linear softmax learns real rows of seen classes beside them. What is
    chosen is how much the generator's weights decay: without that, and without a penalty on the softmax,
    which else tells drawn rows from real ones, ten classes are too few."""

    seeded = True
    sees_unseen: ClassVar[bool] = True
    most_folds = 1
    grid = tuple({"decay": decay} for decay in (0.3, 1.0, 3.0, 10.0))

    def __init__(self, meta: Meta, seed: int, pca: int, chosen: Setting, *, plan: Plan) -> None:
        super().__init__(meta, seed, pca, chosen)
        self._plan = plan

    def learn(self, lesson: Lesson, settings: Sequence[Setting]) -> Scores:
        x, y = lesson.rows()
        plan = self._plan

        def at(setting: Setting) -> OneScores:
            model = train(
                x, y, lesson.own, latent=plan.latent, width=plan.width, samples=plan.samples,
                seed=lesson.seed, decay=setting["decay"],
            )  # fmt: skip
            return _Classifiers(lesson, x, y, model, plan).scores

        return stacked([at(s) for s in settings])


class _Classifiers:
    """One softmax for each table of signatures that scores are asked for."""

    def __init__(self, lesson: Lesson, x: Array, y: Array, model: Conditional, plan: Plan) -> None:
        self._lesson, self._x, self._y = lesson, x, y
        self._model, self._plan = model, plan
        self._made: dict[str, balanced.Linear] = {}

    def scores(self, x: Array, signatures: Array) -> Array:
        """Logits (n, C) of features (n, r), for all classes of signatures (C, a)."""
        key = arrays_digest({"signatures": signatures})
        if key not in self._made:
            self._made[key] = self._train(signatures)
        return self._made[key].scores(x)

    def _train(self, signatures: Array) -> balanced.Linear:
        x, y = self.rows(signatures)
        seed, plan = self._lesson.seed, self._plan
        return balanced.train(
            x, y, len(signatures), samples=plan.samples, seed=seed, penalty=plan.penalty
        )

    def rows(self, signatures: Array) -> tuple[Array, Array]:
        """Real rows of the lesson's classes, then drawn ones of every other class; their classes."""
        seen = np.array(self._lesson.classes)
        new = np.setdiff1d(np.arange(len(signatures)), seen)
        drawn, places = self._model.draw(signatures[new], self._plan.per_class, self._lesson.seed)
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
    per_class: int = 200,
    latent: int = 32,
    penalty: float = 0.01,
    decay: float = 0.0,
) -> GeneratedFeatures:
    """The head, on the first `pca` principal components (0: all); generator and softmax are each trained
    on `samples` rows drawn. `width` of the hidden layers; `per_class` features are drawn of each unseen
    class, from a code of `latent` numbers; `penalty` of the softmax (see `solvers.balanced`); `decay` of
    the generator's weights (0: validation chooses).

    Raises BenchError for numbers below 0.
    """
    plan = Plan(width, latent, samples, per_class, penalty)
    return GeneratedFeatures(meta, seed, pca, {"decay": decay} if decay else {}, plan=plan)
