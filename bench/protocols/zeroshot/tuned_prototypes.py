"""Zero-shot prototypes on a trunk that is fine-tuned on the seen classes first (`zst-v1`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from torch import nn

from bench.data.images import Delivery
from bench.data.samples import Array, Meta, Samples, Target
from bench.errors import BenchError, Declined
from bench.protocols.base import TransferProtocol, TrunkFactory
from bench.protocols.parts.finetune import FineTune, RateTrial, TuningPlan, TuningStart, halving
from bench.protocols.parts.tuning import Diverged, inputs, pick_rows, resident, trunk_features
from bench.protocols.zeroshot._class_rows import NEEDS_VALIDATION, LabelledRows, rows_per_class
from bench.protocols.zeroshot._folds import HeldOutFold, choose_setting, folds
from bench.protocols.zeroshot._method import CHOOSING_ROWS, SplitFits, seen_of
from bench.protocols.zeroshot._prototypes import PrototypeRegression

REVISION = 1
EXAMPLE = "images=0,penalty=0.1"  # the check kit has features: there is no trunk to tune

TRIAL_ROWS = 1000  # a class, from which a trial's prototypes learn: rates differ by more


@dataclass(frozen=True, slots=True, eq=False)
class _FoldTrunk:
    """A trunk not yet tuned, and the rows of the seen classes that it may be tuned on."""

    tuner: FineTune
    start: TuningStart
    train: Samples  # labels are places among these classes
    classes: Array  # (n,) the class of each row


class TunedPrototypes(TransferProtocol):
    """Fine-tuning by cross-entropy on the seen classes, then `prototypes` on features of the tuned trunk.
    `images=0` is the same without tuning: `prototypes` on the frozen trunk, but for the number of folds,
    which is all of them there.

    Held-out classes can only choose where the trunk was not tuned on them. So each fold of seen classes
    has a trunk of its own, tuned on the others, its head started as a probe of the others. The first fold
    chooses the rate, by successive halving on the area under the seen-unseen curve (Chao et al. 2016,
    arXiv:1605.04253); all folds, tuned on as many images as the last trunk, choose the setting of the
    head and the share that calibrates it. Then a fresh trunk is tuned on all seen classes. Rates are
    chosen in each fit, not once for several class splits: what is seen in one is unseen in another.
    """

    output = "score"
    accepts = frozenset({"classes"})

    def __init__(
        self,
        trunk: TrunkFactory,
        seed: int,
        plan: TuningPlan,
        method: PrototypeRegression,
        meta: Meta,
        max_folds: int,
    ) -> None:
        """Arguments, beside those that every `build` gets:

        plan: of the tuning
        method: that learns on features of the tuned trunk
        max_folds: of seen classes that are held out, a run each
        """
        ((self._name, self._target),) = meta.targets.items()
        self._trunk, self._seed, self._plan, self._method = trunk, seed, plan, method
        self._flips, self._max_folds = meta.flips, max_folds
        self._trials: list[RateTrial] = []

    def fit(self, train: Samples, val: Samples | None) -> Self:
        seen, plan = seen_of(self._target, train.y[self._name]), self._plan
        held_out_classes, rate = folds(seen)[: self._max_folds], plan.rate
        if val is None:
            raise Declined(NEEDS_VALIDATION)
        if plan.images and not rate and not held_out_classes:
            raise Declined(
                f"the rate is chosen without some of the seen classes {seen}; give rate=..."
            )
        train, val = resident(self._of(train, seen)), resident(self._of(val, seen))
        choosing = pick_rows(val, rows_per_class(val.y[self._name], CHOOSING_ROWS))
        held_out, halved = list[HeldOutFold](), False
        for fold in held_out_classes:
            fresh = self._fold_trunk(train, val, [c for c in seen if c not in fold])
            if plan.images and not rate:
                rate = self._best_rate(fresh, choosing, seen, fold)
            tuned = fresh.tuner.tune_fully(fresh.start, fresh.train, rate)
            held_out.append(self._held_out(tuned.model.trunk, fresh, choosing, seen, fold))
            rate, halved = tuned.rate, halved or tuned.halved
        settings = len(self._method.settings())
        choice = choose_setting(held_out, settings, calibrate=bool(self._target.unseen))
        fresh = self._fold_trunk(train, val, seen)
        tuned = fresh.tuner.tune_fully(fresh.start, fresh.train, rate)
        self._tuned = tuned.model.trunk
        fits = self._fits(self._tuned, fresh, val)
        self._head = fits.fit_at(choice, self._target, seen, self._seed)
        self._tuning_report = {
            "rate": tuned.rate,
            "rates": [
                [float(f"{t.rate:.6g}"), t.images, None if t.score is None else round(t.score, 5)]
                for t in self._trials
            ],
            "halved": halved or tuned.halved,
            "images_seen": plan.images,
            "loss": tuned.loss,
            "train_accuracy": {"start": fresh.start.accuracy, "end": tuned.accuracy},
            "held_out": [list(fold) for fold in held_out_classes],
        }
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        return {self._name: self._head(trunk_features(self._tuned, x))}

    def report(self) -> Mapping[str, Any]:
        """That of `prototypes`, and: the `rate`; `rates`, each trial's rate, images and area (null: it
        diverged); whether a run diverged and was repeated at half the rate; images drawn for one run; the
        last run's loss in nats, and its accuracy among seen classes on training rows before and after; the
        classes that each fold held out."""
        return {**self._head.report, **self._tuning_report}

    def _of(self, samples: Samples, classes: Sequence[int]) -> Samples:
        """The rows of these classes alone."""
        return pick_rows(samples, np.flatnonzero(np.isin(samples.y[self._name], classes)))

    def _fold_trunk(self, train: Samples, val: Samples, classes: Sequence[int]) -> _FoldTrunk:
        """A fresh trunk under the probe of these classes; it gets no row of the others."""
        own_train, name = self._of(train, classes), self._name
        target = Target("classes", len(classes), tuple(self._target.names[c] for c in classes))
        tuner = FineTune(
            Meta({name: target}, flips=self._flips), self._trunk, self._seed, self._plan
        )
        train, val = (
            replace(part, y={name: np.searchsorted(classes, part.y[name])})
            for part in (own_train, self._of(val, classes))
        )
        return _FoldTrunk(tuner, tuner.start_as_probe(train, val), train, own_train.y[name])

    def _best_rate(
        self, fresh: _FoldTrunk, choosing: Samples, seen: Sequence[int], fold: Sequence[int]
    ) -> float:
        rows = rows_per_class(fresh.classes, TRIAL_ROWS)
        trial_rows = replace(fresh, train=pick_rows(fresh.train, rows), classes=fresh.classes[rows])

        def trial(rate: float, images: int) -> RateTrial:
            try:
                tuned = fresh.tuner.tune_copy(fresh.start, fresh.train, rate, images)
            except Diverged:
                return RateTrial(rate, images, None, None)
            held_out = self._held_out(tuned.model.trunk, trial_rows, choosing, seen, fold)
            return RateTrial(rate, images, max(held_out.areas()), None)

        rate, self._trials = halving(self._plan, trial)
        return rate

    def _held_out(
        self,
        trunk: nn.Module,
        rows: _FoldTrunk,
        choosing: Samples,
        seen: Sequence[int],
        fold: Sequence[int],
    ) -> HeldOutFold:
        fits = self._fits(trunk, rows, choosing)
        return fits.held_out(self._target, seen, fold, self._seed)

    def _fits(self, trunk: nn.Module, rows: _FoldTrunk, val: Samples) -> SplitFits:
        """The head's fits on features of the tuned trunk, for the rows that it was tuned on."""
        x, val_x = trunk_features(trunk, inputs(rows.train)), trunk_features(trunk, inputs(val))
        return SplitFits(self._method, LabelledRows(x, rows.classes, val_x, val.y[self._name]))


class FrozenPrototypes(TunedPrototypes):
    """With no images to draw nothing is random: `prototypes` on the frozen trunk."""

    seeded = False


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    images: int = 60_000,
    rate: float = 0.0,
    least: float = 1e-3,
    folds: int = 1,
    pca: int = 128,
    penalty: float = 0.0,
    shrinkage: float = 1.0,
) -> TunedPrototypes:
    """The head on a tuned trunk. With one fold a fit draws 3.8 times `images`, with a given rate twice.

    images, rate, least: as in `bench.protocols.parts.finetune.TuningPlan`
    folds: up to how many folds of seen classes are held out, a run each (0: the middle setting, no
      calibration)
    pca, penalty, shrinkage: as in `prototypes`

    Raises BenchError for negative numbers, `least` of 0, and tuning with neither rate nor folds.
    """
    if images < 0 or rate < 0 or folds < 0 or not least > 0 or (images and not rate and not folds):
        raise BenchError(
            f"tuned_prototypes,images={images},rate={rate:g},least={least:g},folds={folds}: least must "
            "be above 0, the others 0 or more, and tuning without folds needs a rate"
        )
    chosen = {"penalty": penalty, "shrinkage": shrinkage} if penalty else {}
    method = PrototypeRegression(meta, seed, pca, chosen)
    plan = TuningPlan(images=images, rate=rate, least=least, blocks=0, start="probe")
    protocol = TunedPrototypes if images else FrozenPrototypes
    return protocol(trunk, seed, plan, method, meta, folds)
