"""Work on several threads: for code that leaves Python's lock while it computes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def threaded(work: Callable[[int], T], count: int) -> Iterator[T]:
    """work(0), ..., work(count - 1) in order, on a thread a processor; the first error ends it."""
    affinity = getattr(os, "sched_getaffinity", None)
    workers = len(affinity(0)) if affinity else os.cpu_count() or 1
    # Several items a task: small images are fast.
    return _spread(work, count, workers, max(1, min(64, count // (4 * workers))))


def threaded_algebra(work: Callable[[int], T], count: int) -> Iterator[T]:
    """The same for linear algebra: on as many threads as BLAS has, which meanwhile has one for each of
    them. Decompositions of a thousand rows hardly gain from BLAS's own threads, and libraries that bring
    a BLAS each (NumPy, SciPy) wait for each other's.
    """
    from threadpoolctl import ThreadpoolController

    blas = ThreadpoolController().select(user_api="blas")
    workers = max((library.num_threads for library in blas.lib_controllers), default=1)
    if workers < 2 or count < 2:
        yield from map(work, range(count))
        return
    with blas.limit(limits=1):
        yield from _spread(work, count, workers, 1)


def _spread(work: Callable[[int], T], count: int, workers: int, step: int) -> Iterator[T]:
    """In order, `step` of them to a task."""
    if workers < 2 or count < 2:
        yield from map(work, range(count))
        return

    def chunk(start: int) -> list[T]:
        return [work(i) for i in range(start, min(start + step, count))]

    with ThreadPoolExecutor(workers) as pool:
        try:
            for part in pool.map(chunk, range(0, count, step)):
                yield from part
        finally:
            pool.shutdown(cancel_futures=True)
