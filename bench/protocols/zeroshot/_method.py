"""The base of zero-shot methods: class-disjoint validation, calibration, many class splits at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from bench.data.images import Delivery
from bench.data.samples import Array, Meta, Samples, Target, among
from bench.digests import arrays_digest
from bench.errors import BenchError, Declined
from bench.progress import each
from bench.protocols.base import Job, TransferProtocol, features_of
from bench.protocols.zeroshot._class_rows import (
    READER,
    LabelledRows,
    check_unseen,
    common_rows,
    rows_per_class,
)
from bench.protocols.zeroshot._folds import ChosenSetting, HeldOutFold, choose_setting, folds
from bench.protocols.zeroshot._seen_classes import Projection, SeenClasses, class_sums_of
from bench.solvers.signatures import prepare_signatures, signature_coverage
from bench.solvers.stacking import Candidates, calibrated_scores, calibration_at, stacking_margins
from bench.threads import threaded_algebra

Setting = Mapping[str, float]
Scores = Callable[[Array, Array], Array]
"""Projected features (n, r) and signatures (C, a) to scores (n, C); the largest is the guess."""
GridScores = Callable[[Array, Array], Array]
"""The same at each of s settings: (s, n, C)."""

CHOOSING_ROWS = 50  # validation rows a class that choose among settings


class ZeroShot(TransferProtocol):
    """A method that learns from seen classes to score any class by its signature.

    Everything is chosen on seen classes, some of which are held out in turn: the setting by the area under
    the seen-unseen curve (Chao et al. 2016, arXiv:1605.04253), and the calibration, which is subtracted
    from scores of seen classes, as the share of seen rows whose guess it turns to an unseen class. The
    same share of the validation rows, all of seen classes, gives the final calibration.
    """

    output = "score"
    accepts = frozenset({"classes"})
    seeded: ClassVar[bool] = False
    grid: ClassVar[Sequence[Setting]]
    centre_features: ClassVar[bool] = True  # subtract their mean over the seen classes
    centre_signatures: ClassVar[bool] = False  # subtract theirs
    unit_signatures: ClassVar[bool] = True  # scale each to length 1
    max_folds: ClassVar[int | None] = None  # None: all
    sees_unseen: ClassVar[bool] = False  # signatures of unseen classes shape what is learnt

    def __init__(self, meta: Meta, seed: int, pca: int, chosen: Setting) -> None:
        """`pca`: principal components that are read (0: all); `chosen`: the setting (empty: validation's).

        Raises BenchError for pca below 0, Declined for more than one target.
        """
        if pca < 0:
            raise BenchError(f"pca={pca}: 0 (all) or more dimensions are needed")
        if len(meta.targets) != 1:
            raise Declined(f"zero-shot heads have one target; {sorted(meta.targets)} are given")
        ((self._name, self._target),) = meta.targets.items()
        self._seed, self.pca, self._chosen = seed, pca, dict(chosen)

    @abstractmethod
    def learn(self, seen: SeenClasses, settings: Sequence[Setting]) -> GridScores:
        """Scores at each setting; what settings share is learnt once."""

    def fit(self, train: Samples, val: Samples | None) -> Self:
        check_unseen(train.y[self._name], self._target)
        fits = SplitFits(self, LabelledRows.of(train, val, self._name))
        self._head = fits.fit(self._target, self._seed)
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        return {self._name: self._head(features_of(x, READER))}

    def report(self) -> Mapping[str, Any]:
        """`setting`, its mean `area` on held-out folds, which of its values lie `at_edge` of the grid, the
        `share` and its `calibration`, `dimensions` read, the split's `coverage` (see
        `solvers.signatures.signature_coverage`), and `sees_unseen` where true."""
        return self._head.report

    def sweep(
        self, samples: Samples, jobs: Sequence[Job], x: Array
    ) -> Sequence[tuple[Mapping[str, Array], Mapping[str, Any]]]:
        """As `Sweeps`: a fit on the same classes is made once for all splits that need it."""
        for job in jobs:
            check_unseen(samples.y[self._name][job.train], job.meta.targets[self._name])
        fits_by_rows: dict[tuple[bytes, ...], SplitFits] = {}
        fits_by_job = []
        for train_rows, val_rows in common_rows(samples, jobs, self._name):
            key = train_rows.tobytes(), b"" if val_rows is None else val_rows.tobytes()
            if key not in fits_by_rows:
                labelled = LabelledRows.picked(samples, train_rows, val_rows, self._name)
                fits_by_rows[key] = SplitFits(self, labelled)
            fits_by_job.append(fits_by_rows[key])
        x = features_of(x, READER)

        def run(number: int) -> tuple[Mapping[str, Array], Mapping[str, Any]]:
            job = jobs[number]
            head = fits_by_job[number].fit(job.meta.targets[self._name], job.seed)
            return {self._name: head(x)}, head.report

        # Methods that train by PyTorch have its threads.
        results = map(run, range(len(jobs))) if self.seeded else threaded_algebra(run, len(jobs))
        return list(each(results, "class splits", len(jobs), "splits"))

    def settings(self) -> Sequence[Setting]:
        """The setting that `build` was given, else the grid."""
        return [self._chosen] if self._chosen else self.grid


class TrainedZeroShot(ZeroShot):
    """A method that is trained by descent, for each setting anew; one fold chooses."""

    seeded = True
    max_folds = 1

    def learn(self, seen: SeenClasses, settings: Sequence[Setting]) -> GridScores:
        x, y = seen.rows()
        return stacked([self.train(x, y, seen, setting) for setting in settings])

    @abstractmethod
    def train(self, x: Array, y: Array, seen: SeenClasses, setting: Setting) -> Scores:
        """Learn from features (n, r) and places (n,) in `seen.classes`."""


def stacked(scores: Sequence[Scores]) -> GridScores:
    """Of a method that scores one setting after the other."""
    return lambda x, signatures: np.stack([at(x, signatures) for at in scores])


def values_of(settings: Sequence[Setting], key: str) -> Array:
    """One number of each setting: (s,)."""
    return np.array([setting[key] for setting in settings])


def seen_of(target: Target, labels: Array) -> list[int]:
    """The classes of training labels (n,), rising.

    Raises BenchError for fewer than two, and for unseen ones; Declined where classes have no signatures.
    """
    check_unseen(labels, target)
    return _seen(target, _present(labels))


def _present(labels: Array) -> list[int]:
    """Classes of labels (n,), rising; -1 is not one."""
    return [int(c) for c in np.flatnonzero(np.bincount(labels[labels >= 0]))]


def _seen(target: Target, present: Sequence[int]) -> list[int]:
    if target.semantics is None:
        raise Declined("this task's classes have no signatures; name a table in semantics = '...'")
    seen = [c for c in present if c not in target.unseen]
    if len(seen) < 2:
        raise BenchError(f"classes {seen} have training rows; two or more are needed")
    return seen


class SplitFits:
    """Fits of one method on the same rows, for many class splits.

    Threads may share an instance: two that need the same scores at once both make them, and one is kept.
    """

    def __init__(self, method: ZeroShot, labelled: LabelledRows) -> None:
        self._method, self._labelled = method, labelled
        self._sums = class_sums_of(
            labelled.x, labelled.y, method.pca, centre=method.centre_features
        )
        self._choosing = rows_per_class(labelled.val_y, CHOOSING_ROWS)
        self._present = _present(labelled.y)
        self._cache: dict[tuple[Any, ...], Array] = {}

    def fit(self, target: Target, seed: int) -> FittedHead:
        """Choose a setting on held-out folds of the target's seen classes, then learn from all of them."""
        seen, method = _seen(target, self._present), self._method
        # A small data set may have no validation rows of a class.
        validated = set(seen) & set(self._labelled.val_y[self._choosing].tolist())
        usable = [fold for fold in folds(seen) if 0 < len(validated & set(fold)) < len(validated)]
        held_out = [self.held_out(target, seen, fold, seed) for fold in usable[: method.max_folds]]
        choice = choose_setting(held_out, len(method.settings()), calibrate=bool(target.unseen))
        return self.fit_at(choice, target, seen, seed)

    def fit_at(
        self, choice: ChosenSetting, target: Target, seen: Sequence[int], seed: int
    ) -> FittedHead:
        """The head learnt from all seen classes, at the chosen setting and share."""
        setting = self._method.settings()[choice.index]
        classes, projection = self._seen_classes(target, seen, seed)
        scores = self._method.learn(classes, [setting])
        unseen, offset = sorted(target.unseen), 0.0
        if choice.share is not None:
            rows = among(self._labelled.val_y, seen)
            (val_scores,) = scores(projection(self._labelled.val_x[rows]), classes.all_signatures)
            offset = calibration_at(stacking_margins(val_scores, unseen), choice.share)
        report = {
            "setting": dict(setting),
            "area": choice.areas[choice.index] if choice.areas else None,
            "at_edge": [key for key in setting if _at_edge(key, setting, self._method.settings())],
            "share": choice.share,
            "calibration": offset,
            "dimensions": projection.dimensions,
            "coverage": signature_coverage(classes.all_signatures, seen, unseen)
            if unseen
            else None,
            **({"sees_unseen": True} if self._method.sees_unseen else {}),
        }
        signatures = classes.all_signatures
        return FittedHead(projection, scores, signatures, tuple(unseen), offset, report)

    def held_out(
        self, target: Target, seen: Sequence[int], fold: Sequence[int], seed: int
    ) -> HeldOutFold:
        """Validation rows of each seen class, scored by fits without the classes of the fold."""
        labels = self._labelled.val_y[self._choosing]
        scores_by_class = self._scores(target, [c for c in seen if c not in fold], seed)
        rows = np.flatnonzero(among(labels, seen))
        truth, places = np.searchsorted(seen, labels[rows]), np.searchsorted(seen, fold)
        scores = np.moveaxis(scores_by_class[seen].take(rows, axis=-1), 0, -1)
        return HeldOutFold(Candidates.of(scores, truth, places.tolist()))

    def _seen_classes(
        self, target: Target, classes: Sequence[int], seed: int
    ) -> tuple[SeenClasses, Projection]:
        assert target.semantics is not None
        method = self._method
        signatures, _ = prepare_signatures(
            target.semantics, classes, centre=method.centre_signatures, unit=method.unit_signatures
        )
        return self._sums.seen_classes(classes, signatures, seed)

    def _scores(self, target: Target, classes: Sequence[int], seed: int) -> Array:
        """Scores (C, s, m) of the choosing rows at every setting, learnt from these classes; classes come
        first because `Candidates` compares scores class by class."""
        method = self._method
        assert target.semantics is not None
        key = (*classes, arrays_digest({"s": target.semantics}), seed if method.seeded else 0)
        if key not in self._cache:
            seen, projection = self._seen_classes(target, classes, seed)
            grid_scores = method.learn(seen, method.settings())
            x = projection(self._labelled.val_x[self._choosing])
            scores = grid_scores(x, seen.all_signatures)
            self._cache[key] = np.ascontiguousarray(np.moveaxis(scores, -1, 0), np.float32)
        return self._cache[key]


@dataclass(frozen=True, slots=True, eq=False)
class FittedHead:
    """Features (n, d) to scores (n, C) of all classes, float32, those of seen ones less the offset."""

    projection: Projection
    scores: GridScores  # of one setting
    signatures: Array  # (C, a)
    unseen: tuple[int, ...]
    offset: float
    report: Mapping[str, Any]

    def __call__(self, x: Array) -> Array:
        (scores,) = self.scores(self.projection(x), self.signatures)
        if self.unseen:
            scores = calibrated_scores(scores, self.unseen, self.offset)
        single: Array = scores.astype(np.float32)
        return single


def _at_edge(key: str, chosen: Setting, settings: Sequence[Setting]) -> bool:
    """Is the value of several settings the smallest or the largest of them?"""
    values = sorted({setting[key] for setting in settings})
    return len(values) > 1 and chosen[key] in (values[0], values[-1])
