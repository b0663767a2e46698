"""What zero-shot heads share: class-disjoint validation, calibration, many class splits at once.

Without a REVISION of its own: an edit that moves numbers raises those of the protocols.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from bench.data.images import Delivery
from bench.data.samples import Meta, Samples, Target, among
from bench.digests import arrays_digest
from bench.errors import BenchError, Declined
from bench.protocols.base import Job, TransferProtocol
from bench.protocols.zeroshot._class_rows import (
    Whole,
    check_unseen,
    features_of,
    joined,
    shared,
    some,
)
from bench.protocols.zeroshot._folds import Choice, Exam, choose, folds
from bench.protocols.zeroshot._seen_classes import Lesson, Reading, material_of
from bench.solvers.signatures import coverage, prepare
from bench.solvers.stacking import Rivals, calibrated, calibration, margins
from bench.threads import threaded_algebra

__all__ = [
    "ROWS", "Course", "Lesson", "OneScores", "Scores", "Setting", "Taught", "ZeroShot", "along", "seen_of",
    "stacked",
]  # fmt: skip

Array = npt.NDArray[Any]
Setting = Mapping[str, float]
OneScores = Callable[[Array, Array], Array]
"""Features (n, r) as a lesson reads them and signatures (C, a): scores (n, C), the highest the guess."""
Scores = Callable[[Array, Array], Array]
"""The same at each of some settings: (s, n, C)."""

ROWS = 50  # validation rows a class that choose among settings


class ZeroShot(TransferProtocol):
    """A method that scores classes by their signatures, after lessons on the seen ones.

    Everything is chosen on seen classes alone, some of them held out in turn: the setting by the area
    under the seen-unseen curve (Chao et al. 2016, arXiv:1605.04253), and how far scores of seen classes
    are lowered, as the share of rows of seen classes that then turn to unseen ones. The same share of the
    validation rows, which are of seen classes, gives the final calibration.
    """

    output = "score"
    accepts = frozenset({"classes"})
    seeded: ClassVar[bool] = False
    grid: ClassVar[Sequence[Setting]]
    centre: ClassVar[bool] = False  # signatures about their mean over the seen classes?
    unit: ClassVar[bool] = True  # of length 1?
    about_mean: ClassVar[bool] = True  # are features taken about their mean over the seen classes?
    most_folds: ClassVar[int | None] = None  # None: all
    sees_unseen: ClassVar[bool] = False  # do signatures of unseen classes shape what is learnt?

    def __init__(self, meta: Meta, seed: int, pca: int, chosen: Setting) -> None:
        if pca < 0:
            raise BenchError(f"pca={pca}: 0 (all) or more dimensions are wanted")
        if len(meta.targets) != 1:
            raise Declined(f"zero-shot heads have one target; {sorted(meta.targets)} are given")
        ((self._name, self._target),) = meta.targets.items()
        self._seed, self._pca, self._chosen = seed, pca, dict(chosen)

    @abstractmethod
    def learn(self, lesson: Lesson, settings: Sequence[Setting]) -> Scores:
        """Scores at each setting, after what they share has been learnt once."""

    def fit(self, train: Samples, val: Samples | None) -> Self:
        check_unseen(train.y[self._name], self._target)
        whole = joined(train, val, self._name)
        self._taught = Course(self, whole).taught(self._target, self._seed)
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        return {self._name: self._taught(features_of(x))}

    def report(self) -> Mapping[str, Any]:
        """The setting, its mean area on validation, what of it is the largest or smallest tried, the share
        and its calibration, dimensions read, the split's `solvers.signatures.coverage`, and `sees_unseen`
        where that is so."""
        return self._taught.told

    def sweep(
        self, samples: Samples, jobs: Sequence[Job], x: Array
    ) -> Sequence[tuple[Mapping[str, Array], Mapping[str, Any]]]:
        """Lessons on the same classes are held once for all splits that need them."""
        courses: dict[tuple[bytes, ...], Course] = {}
        mine = []
        for job in jobs:
            check_unseen(samples.y[self._name][job.train], job.meta.targets[self._name])
        for rows, after in shared(samples, jobs, self._name):
            key = rows.tobytes(), b"" if after is None else after.tobytes()
            if key not in courses:
                courses[key] = Course(self, Whole.of(samples, rows, after, self._name))
            mine.append(courses[key])
        x = features_of(x)

        def done(number: int) -> tuple[Mapping[str, Array], Mapping[str, Any]]:
            job = jobs[number]
            taught = mine[number].taught(job.meta.targets[self._name], job.seed)
            return {self._name: taught(x)}, taught.told

        # What PyTorch descends has threads of its own.
        found = map(done, range(len(jobs))) if self.seeded else threaded_algebra(done, len(jobs))
        shown = tqdm(
            found, "class splits", len(jobs), unit="split", disable=None, leave=False, delay=1
        )
        return list(shown)

    def settings(self) -> Sequence[Setting]:
        """What is to be tried: the grid, or the one that `build` was given."""
        return [self._chosen] if self._chosen else self.grid


def stacked(each: Sequence[OneScores]) -> Scores:
    """Of a method that has no quicker way than one setting after the other."""
    return lambda x, signatures: np.stack([scores(x, signatures) for scores in each])


def along(settings: Sequence[Setting], key: str) -> Array:
    """One number (s,) of each setting."""
    return np.array([setting[key] for setting in settings])


def seen_of(target: Target, labels: Array) -> list[int]:
    """Classes of labels (n,) to train on, rising.

    Raises BenchError for fewer than two, and unseen ones; Declined where classes have no signatures.
    """
    check_unseen(labels, target)
    return _seen(target, _present(labels))


def _present(labels: Array) -> list[int]:
    """Classes of labels (n,), rising; -1 is none."""
    return [int(c) for c in np.flatnonzero(np.bincount(labels[labels >= 0]))]


def _seen(target: Target, present: Sequence[int]) -> list[int]:
    if target.semantics is None:
        raise Declined("this task's classes have no signatures; name a table in semantics = '...'")
    seen = [c for c in present if c not in target.unseen]
    if len(seen) < 2:
        raise BenchError(f"classes {seen} have training rows; two or more are wanted")
    return seen


class Course:
    """One method's lessons on the same rows, for many class splits. Threads may share it: two that want
    the same lesson at the same time both make it, and one is kept."""

    def __init__(self, method: ZeroShot, whole: Whole) -> None:
        self._method, self._whole = method, whole
        if whole.other is None or whole.truth is None:
            raise Declined("zero-shot heads choose on validation rows, and this task grants none")
        self._other, self._truth = whole.other, whole.truth
        self._material = material_of(whole.x, whole.y, method._pca, about_mean=method.about_mean)
        self._few = some(self._truth, ROWS)
        self._present = _present(whole.y)
        self._held: dict[tuple[Any, ...], Array] = {}

    def taught(self, target: Target, seed: int) -> Taught:
        """All that is chosen and learnt for a target with its unseen classes."""
        seen, method = _seen(target, self._present), self._method
        exams = [self.exam(target, seen, out, seed) for out in folds(seen)[: method.most_folds]]
        choice = choose(exams, len(method.settings()), calibrate=bool(target.unseen))
        return self.finished(target, seen, choice, seed)

    def finished(self, target: Target, seen: Sequence[int], choice: Choice, seed: int) -> Taught:
        """A lesson on all seen classes, at the setting and with the share that were chosen."""
        setting = self._method.settings()[choice.setting]
        lesson, reading = self._lesson(target, seen, seed)
        scores = self._method.learn(lesson, [setting])
        rows = among(self._truth, seen)
        unseen, offset = sorted(target.unseen), 0.0
        if choice.share is not None:
            (last,) = scores(reading(self._other[rows]), lesson.signatures)
            offset = calibration(margins(last, unseen), choice.share)
        told = {
            "setting": dict(setting),
            "area": choice.areas[choice.setting] if choice.areas else None,
            "at_edge": [
                key for key in setting if _outermost(key, setting, self._method.settings())
            ],
            "share": choice.share,
            "calibration": offset,
            "dimensions": reading.dimensions,
            "coverage": coverage(lesson.signatures, seen, unseen) if unseen else None,
            **({"sees_unseen": True} if self._method.sees_unseen else {}),
        }
        return Taught(reading, scores, lesson.signatures, tuple(unseen), offset, told)

    def exam(self, target: Target, seen: Sequence[int], out: Sequence[int], seed: int) -> Exam:
        """Some validation rows of each seen class, after a lesson without those in `out`."""
        labels, held = self._truth[self._few], self._scores(target, seen, out, seed)
        rows = np.flatnonzero(among(labels, seen))
        truth, places = np.searchsorted(seen, labels[rows]), np.searchsorted(seen, out)
        scores = np.moveaxis(held[seen].take(rows, axis=-1), 0, -1)
        return Exam(Rivals.of(scores, truth, places.tolist()))

    def _lesson(self, target: Target, classes: Sequence[int], seed: int) -> tuple[Lesson, Reading]:
        assert target.semantics is not None
        signatures, _ = prepare(
            target.semantics, classes, centre=self._method.centre, unit=self._method.unit
        )
        return self._material.lesson(classes, signatures, seed)

    def _scores(self, target: Target, seen: Sequence[int], out: Sequence[int], seed: int) -> Array:
        """Scores (C, s, n) of the few rows at every setting, after a lesson without some seen classes;
        classes come first because rivals are found class by class."""
        classes = [c for c in seen if c not in out]
        assert target.semantics is not None
        key = (*classes, arrays_digest({"s": target.semantics}), seed if self._method.seeded else 0)
        if key not in self._held:
            lesson, reading = self._lesson(target, classes, seed)
            scores = self._method.learn(lesson, self._method.settings())
            found = scores(reading(self._other[self._few]), lesson.signatures)
            self._held[key] = np.ascontiguousarray(np.moveaxis(found, -1, 0), np.float32)
        return self._held[key]


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """A finished head."""

    reading: Reading
    scores: Scores
    signatures: Array  # (C, a) of all classes
    unseen: tuple[int, ...]
    offset: float
    told: Mapping[str, Any]

    def __call__(self, x: Array) -> Array:
        (found,) = self.scores(self.reading(x), self.signatures)
        if self.unseen:
            found = calibrated(found, self.unseen, self.offset)
        result: Array = found.astype(np.float32)
        return result


def _outermost(key: str, best: Setting, tried: Sequence[Setting]) -> bool:
    values = sorted({setting[key] for setting in tried})
    return len(values) > 1 and best[key] in (values[0], values[-1])
