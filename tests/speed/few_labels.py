"""Times the few-label probe of one encoder, every size and subset, against scikit-learn's grid search
with the same folds and penalties. The peer runs at the sizes of --peer alone: it would take hours.

python tests/speed/few_labels.py [--rows 50000] [--dims 64 1280] [--subsets 5] [--peer 5 10 20]
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from bench.data.samples import Meta, Samples, Target
from bench.protocols import linear
from bench.protocols.parts.probe import GRID, Scaler, stratified_folds

Array = NDArray[Any]

SIZES = (1, 2, 5, 10, 20, 50, 100, 0)  # 0: all rows, once
CLASSES = 10
WANTED = {64: 60, 1280: 300}  # dimension -> seconds on two cores, at 50,000 rows


@dataclass(frozen=True)
class Data:
    """Features and labels of train, then of test."""

    x: Array
    y: Array
    test: Array
    truth: Array


def synthetic(rows: int, d: int) -> Data:
    """Features with eigenvalues j^-1.2, labels from a teacher; a fifth as many test rows."""
    rng = np.random.default_rng(0)
    rank = np.arange(1, d + 1)
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32)
    latent = rng.standard_normal((rows + rows // 5, d), dtype=np.float32)
    scores = latent @ (rng.standard_normal((d, CLASSES)) * rank[:, None] ** -0.5).astype(np.float32)
    labels = (3 * scores / scores.std() + rng.gumbel(size=scores.shape)).argmax(1)
    x = (latent * (rank**-0.6).astype(np.float32)) @ basis
    return Data(x[:rows], labels[:rows], x[rows:], labels[rows:])


def granted(y: Array, size: int, subset: int) -> Array:
    """Labels (n,) with all but `size` a class taken away; 0: none."""
    if not size:
        return y
    subset_labels, rng = np.full_like(y, -1), np.random.default_rng(subset)
    for c in range(CLASSES):
        chosen = rng.permutation(np.flatnonzero(y == c))[:size]
        subset_labels[chosen] = c
    return subset_labels


def ours(data: Data, y: Array) -> float:
    """A fit and its predictions, as the runner asks for them: accuracy."""
    meta = Meta({"label": Target("classes", CLASSES, tuple(map(str, range(CLASSES))))})
    probe = linear.build(meta=meta, trunk=lambda *_, **__: torch.nn.Identity(), seed=0)
    probe.fit(Samples(data.x, {"label": y}, np.arange(len(y))), None)
    return float((probe.predict(data.test)["label"].argmax(1) == data.truth).mean())


def theirs(x: Array, test: Array, data: Data, y: Array) -> float:
    """The same of rows (n, d) and test rows that are standardised already."""
    labelled = y >= 0
    x, y = x[labelled], y[labelled]
    fold = stratified_folds(y)
    model: Any = LogisticRegression(C=1 / len(y), max_iter=1000)
    if fold is not None:
        inner = len(y) * (1 - 1 / (1 + fold.max()))
        grid = {"C": [1 / (penalty * inner) for penalty in GRID]}
        model = GridSearchCV(model, grid, cv=PredefinedSplit(fold))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float((model.fit(x, y).predict(test) == data.truth).mean())


def compare(rows: int, d: int, subsets: int, peer: list[int]) -> None:
    data = synthetic(rows, d)
    print(f"\n{rows} x {d}, {subsets} subsets, {len(GRID)} penalties", flush=True)
    print(
        f"{'labels a class':>14}{'ours, s':>10}{'theirs':>8}{'ratio':>7}{'ours, %':>10}{'theirs':>8}"
    )
    scaler = Scaler.of(data.x)
    x, test = scaler(data.x), scaler(data.test)
    total = both = rival = 0.0
    for size in SIZES:
        labels = [granted(data.y, size, subset) for subset in range(subsets if size else 1)]
        start = time.perf_counter()
        right = np.mean([ours(data, y) for y in labels])
        took = time.perf_counter() - start
        total += took
        line = f"{size or 'all':>14}{took:10.2f}"
        if size in peer:
            start = time.perf_counter()
            their = np.mean([theirs(x, test, data, y) for y in labels])
            slow = time.perf_counter() - start
            both, rival = both + took, rival + slow
            print(
                f"{line}{slow:8.2f}{slow / took:7.1f}{100 * right:10.2f}{100 * their:8.2f}",
                flush=True,
            )
        else:
            print(f"{line}{'':15}{100 * right:10.2f}", flush=True)
    expected = f", wanted: under {WANTED[d]} s" if rows == 50_000 and d in WANTED else ""
    print(f"all sizes: {total:.1f} s{expected}")
    if both:
        print(
            f"sizes {', '.join(map(str, peer))}: {rival:.1f} s theirs, {rival / both:.1f} times ours"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dims", type=int, nargs="+", default=[64, 1280])
    parser.add_argument("--subsets", type=int, default=5)
    parser.add_argument("--peer", type=int, nargs="*", default=[5, 10, 20])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for d in options.dims:
        compare(options.rows, d, options.subsets, options.peer)


if __name__ == "__main__":
    main()
