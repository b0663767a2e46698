"""Time of the neighbour search against scikit-learn's brute force, and how far both agree.

Run: python tests/speed/neighbours.py [--data DIR]   (DIR holds FashionMNIST/raw)
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.neighbors import NearestNeighbors

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.solvers.neighbours import nearest, vote

Matrix = npt.NDArray[np.float32]
Found = tuple[npt.NDArray[np.int64], Matrix]
Part = tuple[Matrix, Matrix, npt.NDArray[np.int64]]
KS = (200, 20)
REPEATS = 3
NEAR = 1e-5


def by_cosine(queries: Matrix, bank: Matrix, k: int) -> Found:
    model = NearestNeighbors(n_neighbors=k, algorithm="brute", metric="cosine").fit(bank)
    distances, indices = model.kneighbors(queries)
    return indices, 1 - distances


def by_euclid(queries: Matrix, bank: Matrix, k: int) -> Found:
    """On unit rows the squared distance is 2 - 2 cos: the same ranking."""
    queries, bank = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, bank))
    model = NearestNeighbors(n_neighbors=k, algorithm="brute", metric="euclidean").fit(bank)
    distances, indices = model.kneighbors(queries)
    return indices, (1 - distances**2 / 2).astype(np.float32)


def fashion(root: str) -> Part:
    """Pixels of the test and training images, less the training mean, and the training labels."""
    from torchvision.datasets import FashionMNIST

    train, test = (FashionMNIST(root, train=part, download=False) for part in (True, False))
    bank, queries = (x.data.numpy().reshape(len(x), -1).astype(np.float32) for x in (train, test))
    mean = bank.mean(axis=0)
    return queries - mean, bank - mean, train.targets.numpy()


def synthetic() -> Part:
    """Gaussian classes with overlap: 5,000 queries, 20,000 bank rows, 1,280 features."""
    draw = np.random.default_rng(0)
    labels = draw.integers(10, size=25_000)
    rows = draw.standard_normal((25_000, 1280), dtype=np.float32)
    rows += 0.08 * draw.standard_normal((10, 1280), dtype=np.float32)[labels]
    return rows[20_000:], rows[:20_000], labels[:20_000]


def peak(m: int, n: int, d: int, k: int) -> float:
    """MiB that `nearest` adds to a process that holds its input. Run in a process of its own."""
    draw = np.random.default_rng(0)
    queries, bank = (draw.standard_normal((rows, d), dtype=np.float32) for rows in (m, n))
    nearest(queries[:100], bank[:1000], 5)  # the libraries' own space
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    nearest(queries, bank, k)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return grown / (2**20 if sys.platform == "darwin" else 2**10)


def timed(run: Callable[[], Found]) -> tuple[float, Found]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def compare(
    name: str, queries: Matrix, bank: Matrix, labels: npt.NDArray[np.int64], k: int, space: float
) -> None:
    """One line of the table. Exits with 1 where a difference is no near tie."""
    nearest(queries[:100], bank, k)
    sample = queries[: len(queries) // 10]
    rivals = {"cosine": by_cosine, "euclid": by_euclid}
    trial = {metric: timed(partial(rival, sample, bank, k))[0] for metric, rival in rivals.items()}
    metric = min(trial, key=lambda metric: trial[metric])
    ours, theirs = [], []
    for _ in range(REPEATS):
        seconds, neighbours = timed(lambda: nearest(queries, bank, k))
        ours.append(seconds)
        seconds, theirs_found = timed(lambda: rivals[metric](queries, bank, k))
        theirs.append(seconds)

    equal = float((neighbours[0] == theirs_found[0]).mean())
    apart = float(np.abs(neighbours[1] - theirs_found[1]).max())
    k_vote = min(k, 20)
    log_p, log_q = (
        vote(*x, labels, 10, k=k_vote, temperature=0.07) for x in (neighbours, theirs_found)
    )
    differ = log_p.argmax(axis=1) != log_q.argmax(axis=1)
    two = np.sort(np.exp(log_p), axis=1)[:, -2:]
    unexplained = int((differ & (two[:, 1] - two[:, 0] > NEAR)).sum())
    a, b = statistics.median(ours), statistics.median(theirs)
    print(
        f"{name:26} {k:4d} {a:8.2f} {b:8.2f} {metric:>7} {a / b:6.2f} {equal:10.5f} {apart:8.0e} "
        f"{1 - differ.mean():11.5f} {unexplained:6d} {space:9.0f}",
        flush=True,
    )
    if unexplained or apart > NEAR:
        sys.exit(f"{name}: answers differ by more than near ties")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("REPTRANSFER_DATA"))
    root = parser.parse_args().data
    print(f"{torch.get_num_threads()} threads; seconds are medians of {REPEATS}, runs in turn")
    print(
        f"{'m x n x d':26} {'k':>4} {'ours':>8} {'sklearn':>8} {'metric':>7} {'ratio':>6} "
        f"{'same rows':>10} {'max gap':>8} {'same class':>11} {'wrong':>6} {'peak MiB':>9}"
    )
    parts: list[tuple[str, tuple[int, int, int], Callable[[], Part]]] = []
    if root and (Path(root) / "FashionMNIST" / "raw").is_dir():
        parts.append(("fashion", (10_000, 60_000, 784), partial(fashion, root)))
    else:
        print("Fashion-MNIST skipped: give --data or REPTRANSFER_DATA, holding FashionMNIST/raw")
    parts.append(("synthetic", (5_000, 20_000, 1_280), synthetic))
    # First, while this process is small: on Linux a child starts from its parent's peak.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        tasks = [(*shape, k) for _, shape, _ in parts for k in KS]
        spaces = iter(pool.starmap(peak, tasks, chunksize=1))
    for name, shape, make in parts:
        queries, bank, labels = make()
        for k in KS:
            title = f"{name} {'x'.join(map(str, shape))}"
            compare(title, queries, bank, labels, k, next(spaces))


if __name__ == "__main__":
    main()
