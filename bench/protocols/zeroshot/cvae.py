"""Generated features (`cvz-v2`): a conditional VAE draws features of unseen classes for a softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.data.samples import Array, Meta
from bench.digests import arrays_digest
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._method import Scores, Setting, TrainedZeroShot
from bench.protocols.zeroshot._seen_classes import SeenClasses
from bench.solvers import balanced_softmax
from bench.solvers.conditional_vae import ConditionalVAE, train

REVISION = 2
EXAMPLE = "samples=16000,width=32"  # the check kit fits often


@dataclass(frozen=True, slots=True)
class GeneratorPlan:
    """The arguments of `build` that validation does not choose."""

    width: int
    latent: int
    samples: int
    per_class: int
    penalty: float


class GeneratedFeatures(TrainedZeroShot):
    """Mishra et al. 2018, arXiv:1709.00663: a generator learns the seen classes, features of all others
    are drawn by their signatures, and a linear softmax learns from real and drawn rows. Validation chooses
    the decay of the generator's weights. Without decay, and without a penalty on the softmax, which then
    separates drawn from real rows, ten classes are too few."""

    sees_unseen: ClassVar[bool] = True
    grid = tuple({"decay": decay} for decay in (0.3, 1.0, 3.0, 10.0))

    def __init__(
        self, meta: Meta, seed: int, pca: int, chosen: Setting, *, plan: GeneratorPlan
    ) -> None:
        super().__init__(meta, seed, pca, chosen)
        self._plan = plan

    def train(self, x: Array, y: Array, seen: SeenClasses, setting: Setting) -> Scores:
        plan = self._plan
        model = train(
            x, y, seen.signatures, latent=plan.latent, width=plan.width, samples=plan.samples,
            seed=seen.seed, decay=setting["decay"],
        )  # fmt: skip
        return _Classifiers(seen, x, y, model, plan).scores


class _Classifiers:
    """A softmax for each table of signatures, trained when its scores are first needed."""

    def __init__(
        self, seen: SeenClasses, x: Array, y: Array, model: ConditionalVAE, plan: GeneratorPlan
    ) -> None:
        self._seen, self._x, self._y = seen, x, y
        self._model, self._plan = model, plan
        self._trained: dict[str, balanced_softmax.LinearClassifier] = {}

    def scores(self, x: Array, signatures: Array) -> Array:
        """Logits (n, C) of features (n, r) for the classes of signatures (C, a)."""
        key = arrays_digest({"signatures": signatures})
        if key not in self._trained:
            self._trained[key] = self._train(signatures)
        return self._trained[key].scores(x)

    def _train(self, signatures: Array) -> balanced_softmax.LinearClassifier:
        x, y = self.rows(signatures)
        seed, plan = self._seen.seed, self._plan
        return balanced_softmax.train(
            x, y, len(signatures), samples=plan.samples, seed=seed, penalty=plan.penalty
        )

    def rows(self, signatures: Array) -> tuple[Array, Array]:
        """Real rows of seen classes, then drawn ones of every other class: (m, r), and classes (m,)."""
        seen = np.array(self._seen.classes)
        unseen = np.setdiff1d(np.arange(len(signatures)), seen)
        drawn, places = self._model.draw(signatures[unseen], self._plan.per_class, self._seen.seed)
        x = np.concatenate([self._x.astype(np.float32, copy=False), drawn])
        return x, np.concatenate([seen[self._y], unseen[places]])


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
    """The head.

    pca: principal components that are read (0: all)
    width: units of the generator's hidden layers
    samples: rows drawn to train the generator, and again the softmax
    per_class: feature rows drawn of each unseen class
    latent: dimensions of the generator's code
    penalty: of the softmax (see `solvers.balanced_softmax`)
    decay: of the generator's weights (0: validation chooses)

    Raises BenchError for numbers below 0.
    """
    plan = GeneratorPlan(width, latent, samples, per_class, penalty)
    return GeneratedFeatures(meta, seed, pca, {"decay": decay} if decay else {}, plan=plan)
