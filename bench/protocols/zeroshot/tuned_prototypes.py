"""Zero-shot prototypes on a trunk that is fine-tuned on the seen classes first (`zst-v1`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from torch import nn

from bench.data.images import Delivery
from bench.data.samples import Meta, Samples, Target
from bench.errors import BenchError, Declined
from bench.protocols.base import TransferProtocol, TrunkFactory
from bench.protocols.parts.finetune import FineTune, Plan, Start, Trial, halving
from bench.protocols.parts.tuning import Diverged, inputs, picked, read_out, resident
from bench.protocols.zeroshot._class_rows import Whole, some
from bench.protocols.zeroshot._folds import Exam, choose, folds
from bench.protocols.zeroshot._method import ROWS, Course, seen_of
from bench.protocols.zeroshot._prototypes import Prototypes

REVISION = 1
EXAMPLE = "images=0,penalty=0.1"  # the check kit has features: there is no trunk to tune

Array = npt.NDArray[Any]
TRIED = 1000  # training rows a class that teach the prototypes of a trial: rates differ by more


@dataclass(frozen=True, slots=True, eq=False)
class _Pupil:
    """A trunk before it is tuned on some of the seen classes, and all that it may be shown."""

    tuner: FineTune
    start: Start
    train: Samples  # labels are places among these classes
    truth: Array  # (n,) the classes of these rows


class TunedPrototypes(TransferProtocol):
    """Fine-tuning by cross-entropy on the seen classes, then `prototypes` on what the tuned trunk makes of
    the same rows. `images=0` differs by the tuning alone; it is `prototypes` on the frozen trunk, but for
    the number of folds, which is all of them there.

    Whoever holds classes out to choose must not have tuned on them. So each fold of seen classes has a
    trunk of its own, which was tuned without them, its head started as a probe that has not seen them
    either. The first fold chooses the rate, by successive halving on the area under the seen-unseen
    curve (Chao et al. 2016, arXiv:1605.04253); all folds, tuned on as many images as the last trunk,
    choose the setting of the head and the share that calibrates it. Then a fresh trunk is tuned on all
    seen classes. Rates are chosen in each fit and never once for several class splits, since what is
    seen in one of them is unseen in another.
    """

    output = "score"
    accepts = frozenset({"classes"})

    def __init__(
        self, trunk: TrunkFactory, seed: int, plan: Plan, head: Prototypes, meta: Meta, count: int
    ) -> None:
        ((self._name, self._target),) = meta.targets.items()
        self._trunk, self._seed, self._plan, self._head = trunk, seed, plan, head
        self._flips, self._count = meta.flips, count
        self._trials: list[Trial] = []

    def fit(self, train: Samples, val: Samples | None) -> Self:
        seen, plan = seen_of(self._target, train.y[self._name]), self._plan
        out, rate = folds(seen)[: self._count], plan.rate
        if val is None:
            raise Declined("zero-shot heads choose on validation rows, and this task grants none")
        if plan.images and not rate and not out:
            raise Declined(
                f"the rate is chosen without some of the seen classes {seen}; give rate=..."
            )
        train, val = resident(self._of(train, seen)), resident(self._of(val, seen))
        few = picked(val, some(val.y[self._name], ROWS))
        exams, halved = list[Exam](), False
        for fold in out:
            pupil = self._pupil(train, val, [c for c in seen if c not in fold])
            if plan.images and not rate:
                rate = self._best_rate(pupil, few, seen, fold)
            done = pupil.tuner.settle(pupil.start, pupil.train, rate)
            exams.append(self._exam(done.model.trunk, pupil, few, seen, fold))
            rate, halved = done.rate, halved or done.halved
        settings = len(self._head.settings())
        choice = choose(exams, settings, calibrate=bool(self._target.unseen))
        pupil = self._pupil(train, val, seen)
        done = pupil.tuner.settle(pupil.start, pupil.train, rate)
        self._tuned = done.model.trunk
        course = self._course(self._tuned, pupil, val)
        self._taught = course.finished(self._target, seen, choice, self._seed)
        self._told = {
            "rate": done.rate,
            "rates": [
                [float(f"{t.rate:.6g}"), t.images, None if t.score is None else round(t.score, 5)]
                for t in self._trials
            ],
            "halved": halved or done.halved,
            "images_seen": plan.images,
            "loss": done.loss,
            "train_accuracy": {"start": pupil.start.right, "end": done.right},
            "held_out": [list(fold) for fold in out],
        }
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        return {self._name: self._taught(read_out(self._tuned, x))}

    def report(self) -> Mapping[str, Any]:
        """What `prototypes` tells; the rate, of each trial its rate, images and area (null: it has
        diverged), and whether a run has diverged and was done again at half the rate; images drawn for
        one run; the last run's loss in nats and its accuracy among seen classes on training rows, before
        and after; the folds."""
        return {**self._taught.told, **self._told}

    def _of(self, samples: Samples, classes: Sequence[int]) -> Samples:
        """The rows of these classes alone."""
        return picked(samples, np.flatnonzero(np.isin(samples.y[self._name], classes)))

    def _pupil(self, train: Samples, val: Samples, classes: Sequence[int]) -> _Pupil:
        """A fresh trunk under the probe of these classes; rows of others go no further than this."""
        own, name = self._of(train, classes), self._name
        target = Target("classes", len(classes), tuple(self._target.names[c] for c in classes))
        tuner = FineTune(
            Meta({name: target}, flips=self._flips), self._trunk, self._seed, self._plan
        )
        shown, judged = (
            replace(part, y={name: np.searchsorted(classes, part.y[name])})
            for part in (own, self._of(val, classes))
        )
        return _Pupil(tuner, tuner.begin(shown, judged), shown, own.y[name])

    def _best_rate(
        self, pupil: _Pupil, few: Samples, seen: Sequence[int], fold: Sequence[int]
    ) -> float:
        rows = some(pupil.truth, TRIED)
        taught = replace(pupil, train=picked(pupil.train, rows), truth=pupil.truth[rows])

        def trial(rate: float, images: int) -> Trial:
            try:
                done = pupil.tuner.tuned(pupil.start, pupil.train, rate, images)
            except Diverged:
                return Trial(rate, images, None, None)
            exam = self._exam(done.model.trunk, taught, few, seen, fold)
            return Trial(rate, images, max(exam.areas()), None)

        rate, self._trials = halving(self._plan, trial)
        return rate

    def _exam(
        self,
        trunk: nn.Module,
        pupil: _Pupil,
        few: Samples,
        seen: Sequence[int],
        fold: Sequence[int],
    ) -> Exam:
        return self._course(trunk, pupil, few).exam(self._target, seen, fold, self._seed)

    def _course(self, trunk: nn.Module, pupil: _Pupil, val: Samples) -> Course:
        """What the head learns from: the tuned rows as the tuned trunk sees them."""
        x, other = read_out(trunk, inputs(pupil.train)), read_out(trunk, inputs(val))
        return Course(self._head, Whole(x, pupil.truth, other, val.y[self._name]))


class Untuned(TunedPrototypes):
    """With no image to draw nothing is random: `prototypes` on the frozen trunk."""

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
    """`images` drawn for each run (0: the trunk stays as it is); the learning `rate`, 0: one of four from
    `least` on, half a decade apart; up to how many `folds` of seen classes are held out, each for a run
    (0: the middle setting, no calibration); the head as in `prototypes`. A fit draws 3.8 times `images`
    with one fold, and twice with a given rate.

    Raises BenchError for what is negative, a lowest rate of 0, and tuning without rate and folds.
    """
    if images < 0 or rate < 0 or folds < 0 or not least > 0 or (images and not rate and not folds):
        raise BenchError(
            f"tuned_prototypes,images={images},rate={rate:g},least={least:g},folds={folds}: none is "
            "below 0, least is above, and without folds a rate is wanted"
        )
    chosen = {"penalty": penalty, "shrinkage": shrinkage} if penalty else {}
    head = Prototypes(meta, seed, pca, chosen)
    plan = Plan(images=images, rate=rate, least=least, blocks=0, start="probe")
    made = TunedPrototypes if images else Untuned
    return made(trunk, seed, plan, head, meta, folds)
