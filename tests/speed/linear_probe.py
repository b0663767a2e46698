"""Times the search and the refit of the linear probe against scikit-learn at equal relative gaps.

Ours searches both scalings of the features (one scale, each standardised) and refits on training and
validation rows with a certificate; scikit-learn searches 17 penalties of standardised features.

python tests/speed/linear_probe.py [--data DIR] [--repeats 5] [--defaults]
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from bench.solvers.penalised_softmax import PenalisedSoftmax, PenalisedSolution

Array = NDArray[Any]
Split = tuple[Array, Array, Array, Array]

GRID = 10.0 ** np.arange(-7, 1.25, 0.5)
CHOOSE, POLISH = 1e-2, 1e-3  # shares of the lesser of objective and gain over no weights
WORSE = 1.03  # a validation likelihood worse than the best by this factor ends the search


def fashion(root: str | None) -> Split | None:
    """50,000 train and 5,000 validation rows of 784 pixels."""
    if not root or not (Path(root) / "FashionMNIST" / "raw").is_dir():
        print("Fashion-MNIST: skipped, no FashionMNIST/raw under --data or REPTRANSFER_DATA")
        return None
    from torchvision.datasets import FashionMNIST

    data = FashionMNIST(root, train=True, download=False)
    x = data.data.numpy().reshape(len(data), -1).astype(np.float64)
    return centred(x[:55000], data.targets.numpy()[:55000], 50000)


def synthetic() -> Split:
    """20,000 and 5,000 rows of 1,280 features with eigenvalues j^-1.2; labels from a teacher."""
    rng = np.random.default_rng(0)
    n, d, k = 25000, 1280, 10
    rank = np.arange(1, d + 1)
    basis, _ = np.linalg.qr(rng.standard_normal((d, d)))
    latent = rng.standard_normal((n, d))
    scores = latent @ (rng.standard_normal((d, k)) * rank[:, None] ** -0.5)
    labels = (3 * scores / scores.std() + rng.gumbel(size=(n, k))).argmax(1)
    return centred((latent * rank**-0.6) @ basis, labels, 20000)


def centred(x: Array, y: Array, n: int) -> Split:
    x = (x - x[:n].mean(0)).astype(np.float32)
    return x[:n], y[:n].astype(np.int64), x[n:], y[n:].astype(np.int64)


def standardised(split: Split) -> Split:
    """What scikit-learn is given."""
    x, y, held, labels = split
    scale = x.std(0)
    scale = np.where(scale > 0, scale, 1)
    return x / scale, y, held / scale, labels


def score(weights: Array, biases: Array, x: Array, y: Array) -> tuple[float, float]:
    """Accuracy and minus the cross-entropy."""
    z = x @ weights + biases
    z = z - z.max(1, keepdims=True)
    loss = np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]
    return float((z.argmax(1) == y).mean()), -float(loss.mean())


@dataclass(frozen=True)
class Job:
    """What a search and a refit found."""

    accuracy: float  # on validation rows, at the chosen penalty
    penalty: float
    standardised: bool
    path: PenalisedSolution
    final: PenalisedSolution
    seconds: tuple[float, float]  # of the search, of the refit


def ours(split: Split) -> Job:
    """Decades of both scalings from the largest until the likelihood gets worse, then half and quarter
    decades around the best; the best refitted with the validation rows."""
    began = time.perf_counter()
    x, y, held, labels = split
    variances = np.concatenate([part.var(0) for part in np.array_split(x, 16, 1)])
    scale = np.float32(np.sqrt(variances.mean()))
    x, held, variances = x / scale, held / scale, variances / scale**2
    factors = np.stack([np.ones_like(variances), np.where(variances > 0, variances, np.inf)])
    problem = PenalisedSoftmax(x, y, 10)
    path: PenalisedSolution | None = None
    scores: list[tuple[float, float]] = []

    def solve(penalties: list[float], scalings: list[int]) -> None:
        nonlocal path
        grid, pairs = np.repeat(penalties, len(scalings)), np.tile(scalings, len(penalties))
        new = problem.solve(grid, factors[pairs], gap=CHOOSE, start=path)
        scores.extend(
            score(w, b, held, labels) for w, b in zip(new.weights, new.biases, strict=True)
        )
        path = new if path is None else PenalisedSolution.together([path, new])

    for exponent in range(1, -8, -1):
        solve([10.0**exponent], [0, 1])
        losses = -np.array(scores).reshape(-1, 2, 2)[..., 1]
        if (losses[-1] > WORSE * losses.min()).all() and exponent < 0:
            break
    assert path is not None
    for width in (0.5, 0.25):
        chosen = max(range(len(scores)), key=lambda i: scores[i][1])
        centre, scaling = path.penalties[chosen], int((path.factors[chosen] != 1).any())
        solve([centre * 10**width, centre / 10**width], [scaling])
    chosen = max(range(len(scores)), key=lambda i: scores[i])
    searched = time.perf_counter()
    both = PenalisedSoftmax(np.concatenate([x, held]), np.concatenate([y, labels]), 10)
    final = both.solve(
        path.penalties[[chosen]],
        path.factors[chosen],
        gap=POLISH,
        certified=True,
        start=path.take(np.array([chosen])),
    )
    took = searched - began, time.perf_counter() - searched
    standardised = bool((path.factors[chosen] != 1).any())
    return Job(scores[chosen][0], path.penalties[chosen], standardised, path, final, took)


class Peer:
    """scikit-learn's lbfgs, told in advance the fewest iterations that reach each gap."""

    def __init__(self, split: Split, best: Array) -> None:
        self.split, self.best = split, best
        share = np.bincount(split[1]) / len(split[1])
        self.unit = np.minimum(best, -(share * np.log(share)).sum() - best)  # (l,) nats, of a gap

    def fit(
        self, i: int, iterations: int, before: LogisticRegression | None, tol: float = 1e-12
    ) -> LogisticRegression:
        x, y = self.split[:2]
        model = LogisticRegression(
            C=1 / (GRID[i] * len(y)), tol=tol, max_iter=iterations, warm_start=before is not None
        )
        if before is not None:
            model.coef_, model.intercept_ = before.coef_.copy(), before.intercept_.copy()
            model.classes_ = before.classes_
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(x, y)

    def gap(self, i: int, model: LogisticRegression) -> float:
        x, y = self.split[:2]
        _, fit = score(model.coef_.T, model.intercept_, x, y)
        value = -fit + GRID[i] / 2 * float((model.coef_.astype(float) ** 2).sum())
        return (value - self.best[i]) / self.unit[i]

    def fewest(self, i: int, gap: float, start: Array | None) -> tuple[int, Array]:
        """Iterations that reach the gap (untimed), counted in a trace of the same method, and the
        point (k, d + 1) reached. That scikit-learn reaches it too is checked when it is timed."""
        x, y = self.split[:2]
        (n, d), k, rows = x.shape, 10, np.arange(len(y))
        start = np.zeros((k, d + 1)) if start is None else start
        count = 0

        def value(flat: Array) -> tuple[float, Array]:
            point = flat.reshape(k, d + 1).astype(np.float32)
            z = x @ point[:, :-1].T + point[:, -1]
            z -= z.max(1, keepdims=True)
            loss = -z[rows, y]
            np.exp(z, out=z)
            total = z.sum(1, keepdims=True)
            loss += np.log(total[:, 0])
            z /= total
            z[rows, y] -= 1
            slope = np.concatenate([z.T @ x / n + GRID[i] * point[:, :-1], z.mean(0)[:, None]], 1)
            penalty = GRID[i] / 2 * np.square(point[:, :-1], dtype=np.float64).sum()
            return float(loss.mean(dtype=np.float64) + penalty), slope.ravel().astype(np.float64)

        def stop(intermediate_result: OptimizeResult) -> None:
            nonlocal count
            count += 1
            if intermediate_result.fun - self.best[i] <= gap * self.unit[i]:
                raise StopIteration

        limits = {"maxiter": 4000, "ftol": 64 * np.finfo(float).eps, "maxls": 50, "gtol": 1e-12}
        solution = minimize(
            value, start.ravel(), jac=True, method="L-BFGS-B", callback=stop, options=limits
        )
        return count, solution.x.reshape(k, d + 1)

    def plan(self, *, warm: bool, limit: float = np.inf) -> list[int] | None:
        """Iterations for every penalty, from the largest; None as soon as they are more than `limit`."""
        counts, before = [0] * len(GRID), None
        for i in reversed(range(len(GRID))):
            counts[i], point = self.fewest(i, CHOOSE, before)
            before = point if warm else None
            if sum(counts) > limit:
                return None
        return counts

    def run(self, counts: list[int], *, warm: bool) -> list[Any]:
        """The timed job: the fitted models."""
        models: list[Any] = [None] * len(GRID)
        before = None
        for i in reversed(range(len(GRID))):
            models[i] = self.fit(i, counts[i], before)
            before = models[i] if warm else None
            score(models[i].coef_.T, models[i].intercept_, *self.split[2:])
        return models


def user_job(split: Split) -> float:
    """What a user runs: a loop over ten values of C with defaults, then a refit with validation rows;
    validation accuracy."""
    x, y, held, labels = split
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = [LogisticRegression(C=c).fit(x, y) for c in np.logspace(-4, 4, 10)]
        scores = [score(m.coef_.T, m.intercept_, held, labels) for m in fits]
        chosen = fits[max(range(len(fits)), key=lambda i: scores[i])]
        LogisticRegression(C=chosen.C).fit(np.concatenate([x, held]), np.concatenate([y, labels]))
    return max(scores)[0]


def seconds(job: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = job()
    return time.perf_counter() - start, result


def compare(name: str, split: Split, repeats: int, defaults: bool) -> None:
    plain = standardised(split)
    x, y = plain[:2]
    print(f"\n{name}: {len(y)} x {x.shape[1]}, {len(GRID)} penalties, 2 threads", flush=True)
    # Close to the optimum; a value above it favours the peer.
    exact = PenalisedSoftmax(x, y, 10).solve(GRID, np.ones(x.shape[1]), gap=1e-3)
    peer = Peer(plain, exact.objective)
    # The better of the two: cold fits are given up once they need more iterations than warm ones.
    warm_plan = peer.plan(warm=True)
    assert warm_plan is not None
    cold_plan = peer.plan(warm=False, limit=sum(warm_plan))
    warm, counts = (True, warm_plan) if cold_plan is None else (False, cold_plan)
    jobs, theirs, models = [], [], []
    for turn in range(repeats):
        jobs.append(ours(split))
        if turn < 2:
            took, models = seconds(lambda: peer.run(counts, warm=warm))
            theirs.append(took)
    search, refit = (float(np.median([job.seconds[i] for job in jobs])) for i in range(2))
    job, took = jobs[-1], min(theirs)
    print(f"{'':34}{'s':>9}{'ratio':>8}  iterations or passes")
    print(f"{'ours: search of both scalings':34}{search:9.2f}{1:8.1f}  {job.path.passes:.0f}")
    print(f"{'ours: certified refit':34}{refit:9.2f}{'':8}  {job.final.passes:.0f}")
    label = f"scikit-learn, {'warm' if warm else 'cold'} (its better)"
    print(f"{label:34}{took:9.2f}{took / search:8.1f}  {sum(counts)}", flush=True)
    reached = max(peer.gap(i, model) for i, model in enumerate(models))
    print(f"largest relative gap of theirs: {reached:.1e}; asked: {CHOOSE:.0e}")
    scaling = "each feature standardised" if job.standardised else "one scale"
    print(
        f"chosen: {scaling}, penalty {job.penalty:.1e}, {len(job.path.penalties)} points; refit: relative "
        f"gap at most {job.final.relative_gap[0]:.1e}"
    )
    best_theirs = max(score(m.coef_.T, m.intercept_, *plain[2:])[0] for m in models)
    gap = 100 * (job.accuracy - best_theirs)
    print(f"validation accuracy: ours {gap:+.2f} points from scikit-learn's best", flush=True)
    if defaults:
        took, accuracy = seconds(lambda: user_job(plain))
        whole = search + refit
        print(f"{'ours: search and refit':34}{whole:9.2f}{1:8.1f}")
        print(f"{'scikit-learn: loop over C, refit':34}{took:9.2f}{took / whole:8.1f}")
        gap = 100 * (job.accuracy - accuracy)
        print(f"validation accuracy: ours {gap:+.2f} points from that loop's best", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("REPTRANSFER_DATA"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--defaults", action="store_true", help="time a loop over C with defaults too"
    )
    options = parser.parse_args()
    torch.set_num_threads(2)
    pixels = fashion(options.data)
    if pixels is not None:
        compare("Fashion-MNIST pixels", pixels, options.repeats, options.defaults)
    compare("synthetic, power-law spectrum", synthetic(), options.repeats, options.defaults)


if __name__ == "__main__":
    main()
