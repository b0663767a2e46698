"""Work on threads: in order, the first error ends it, and BLAS has one thread a worker meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from bench.threads import threaded, threaded_algebra


def blas_threads() -> set[int]:
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    return {library.num_threads for library in libraries}


def failing(at: int) -> tuple[list[int], Callable[[int], None]]:
    """Work that fails at a number, and what it was asked for."""
    done: list[int] = []

    def work(number: int) -> None:
        done.append(number)
        time.sleep(0.001)
        if number == at:
            raise ValueError(f"number {number}")

    return done, work


def test_threaded_work_comes_in_order_and_the_first_error_ends_it() -> None:
    done, work = failing(70)
    assert list(threaded(lambda i: i * i, 500)) == [i * i for i in range(500)]
    assert list(threaded(work, 0)) == []
    with pytest.raises(ValueError, match="number 70"):
        list(threaded(work, 10_000))
    assert len(done) < 1_000


def test_algebra_has_as_many_threads_as_blas_which_then_has_one() -> None:
    matrix = np.random.default_rng(0).standard_normal((20, 20))
    both = threading.Barrier(2, timeout=30)

    def work(number: int) -> tuple[float, set[int]]:
        both.wait()  # of two threads: one alone would never come past it
        return float(np.linalg.det(matrix + number)), blas_threads()

    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        results = list(threaded_algebra(work, 6))
        assert blas_threads() == before
    np.testing.assert_allclose(
        [value for value, _ in results], [np.linalg.det(matrix + i) for i in range(6)], rtol=1e-9
    )
    assert all(threads == {1} for _, threads in results)


def test_where_blas_has_one_thread_algebra_stays_on_the_caller_s() -> None:
    with threadpool_limits(1, user_api="blas"):
        results = list(threaded_algebra(lambda i: (i, threading.current_thread()), 5))
    assert results == [(i, threading.current_thread()) for i in range(5)]


def test_the_first_error_ends_algebra_and_gives_blas_its_threads_back() -> None:
    done, work = failing(7)
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with pytest.raises(ValueError, match="number 7"):
            list(threaded_algebra(work, 10_000))
        assert blas_threads() == before
    assert len(done) < 1_000
