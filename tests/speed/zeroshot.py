"""Seconds of all 120 choices of three unseen classes of ten, against a plain loop over splits.

Ours: `sweep` of every closed form (prototypes, semantic autoencoder, Gaussians, ESZSL), each with its
class-disjoint folds and calibration, on rows of one encoder. The plain loop is ESZSL as one would write
it: for each split and fold the products of the rows that are left, for each pair of penalties two solves
and the area under the seen-unseen curve on validation rows. A few of its splits are timed and scaled up
to 120; mean areas on new rows show that both do the same work.

Run: python tests/speed/zeroshot.py [--dim D] [--rows N] [--splits N] [--threads N]
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.data.samples import Meta, Samples, Target, among
from bench.data.semantics import read_semantics
from bench.naming import registry
from bench.naming.specs import resolve
from bench.protocols.base import Job
from bench.protocols.zeroshot._folds import folds
from bench.protocols.zeroshot._method import ZeroShot
from tests.kit.stacking import ausuc

CLOSED = ("prototypes", "sae", "gfzsl", "eszsl")
TABLE = read_semantics("fashion_mnist")
TARGET = Target("classes", 10, TABLE.classes, semantics=TABLE.table)
GRID = list(itertools.product((1e-4, 1e-3, 1e-2, 0.1), (1e-2, 0.1, 1.0, 10.0)))
VAL, NEW = 5_000, 10_000
TRIPLES = list(itertools.combinations(range(10), 3))


def rows(count: int, dim: int, seed: int) -> tuple[Any, Any]:
    """Features that depend on the attributes of their classes, with noise of falling strength."""
    turn = np.random.default_rng(0).standard_normal((TABLE.table.shape[1], dim))
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 10, count)
    x = TABLE.table[y] @ turn + rng.standard_normal((count, dim)) * (
        8 / np.sqrt(np.arange(1, dim + 1))
    )
    return x.astype(np.float32), y


def ours(method: str, samples: Samples, count: int, x: Any, splits: Any) -> list[Any]:
    spec = resolve("protocols", method)
    y, after, jobs = samples.y["label"], len(samples) - VAL, []
    for unseen in splits:
        seen = ~among(y, unseen)
        meta = Meta({"label": replace(TARGET, unseen=frozenset(unseen))})
        train, val = np.flatnonzero(seen[:after]), after + np.flatnonzero(seen[after:])
        jobs.append(Job(meta, train, val, 0))
    protocol = registry.load(spec.entry).build(
        meta=Meta({"label": TARGET}), trunk=None, seed=0, **spec.arguments
    )
    assert isinstance(protocol, ZeroShot)
    return [predictions["label"] for predictions, _ in protocol.sweep(samples, jobs, x)]


def plain(x: Any, y: Any, held_out: Any, truth: Any, new: Any, unseen: tuple[int, ...]) -> Any:
    signatures = TABLE.table / np.linalg.norm(TABLE.table, axis=1, keepdims=True)
    seen = [c for c in range(10) if c not in unseen]

    def learnt(classes: list[int], pairs: Any) -> list[Any]:
        places = among(y, classes)
        part, S = x[places].astype(np.float64), signatures[classes]
        coded = (y[places][:, None] == np.array(classes)).astype(float)
        gram, core, inner = part.T @ part, part.T @ coded @ S, S.T @ S
        outputs = []
        for g, lam in pairs:
            half = np.linalg.solve(gram + g * np.trace(gram) / len(gram) * np.eye(len(gram)), core)
            shifted = inner + lam * np.trace(inner) / len(inner) * np.eye(len(inner))
            outputs.append(np.linalg.solve(shifted, half.T).T)
        return outputs

    total = np.zeros(len(GRID))
    side = among(truth, seen)
    places = np.searchsorted(seen, truth[side])
    for out in folds(seen):
        for number, weights in enumerate(learnt([c for c in seen if c not in out], GRID)):
            scores = held_out[side] @ weights @ signatures[seen].T
            total[number] += ausuc(scores, places, [seen.index(c) for c in out])
    return new @ learnt(seen, [GRID[int(total.argmax())]])[0] @ signatures.T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rows", type=int, default=55_000)
    parser.add_argument("--splits", type=int, default=2, help="of the plain loop")
    parser.add_argument("--threads", type=int, default=None)
    args = parser.parse_args()
    if min(args.dim, args.rows, args.splits, args.threads or 1) < 1:
        parser.error("all numbers start at 1")
    with threadpool_limits(args.threads):
        (x, y), (held_out, truth), (new, expected) = (
            rows(count, args.dim, seed) for seed, count in ((1, args.rows), (2, VAL), (3, NEW))
        )
        both = {"label": np.concatenate([y, truth])}
        samples = Samples(np.concatenate([x, held_out]), both, np.arange(len(x) + VAL))
        total = 0.0
        for method in CLOSED:
            start = time.perf_counter()
            outputs = ours(method, samples, args.rows, new, TRIPLES)
            seconds = time.perf_counter() - start
            total += seconds
            area = np.mean([ausuc(s, expected, u) for s, u in zip(outputs, TRIPLES, strict=True)])
            print(f"{method:>12} {seconds:8.1f} s, mean area {area:.3f}", flush=True)
        start, areas = time.perf_counter(), []
        for unseen in TRIPLES[:: len(TRIPLES) // args.splits][: args.splits]:
            areas.append(ausuc(plain(x, y, held_out, truth, new, unseen), expected, unseen))
        loop = (time.perf_counter() - start) * len(TRIPLES) / args.splits
        print(f"{'all of ours':>12} {total:8.1f} s")
        print(
            f"{'plain ESZSL':>12} {loop:8.1f} s, mean area {np.mean(areas):.3f} ({args.splits} splits)"
        )
        print(f"{'ratio, ESZSL':>12} {loop / seconds:8.1f}")


if __name__ == "__main__":
    main()
