"""Named streams, and global random state that is borrowed and given back."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bench.seeding import generator, minibatches, seeded, stream

NAMES = ("trunk", "batches", "corruption", "few:0", "few:1", "")


def draw() -> tuple[float, float, float]:
    """One number from each of the three global generators."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def state() -> tuple[Any, list[Any], list[int]]:
    numpy: Any = np.random.get_state()  # noqa: NPY002
    return (
        random.getstate(),
        [part.tolist() if isinstance(part, np.ndarray) else part for part in numpy],
        torch.get_rng_state().tolist(),
    )


def test_a_stream_is_the_top_63_bits_of_the_sha256_of_seed_and_name() -> None:
    for seed in (0, 1, 2**40):
        bits = bin(int(hashlib.sha256(f"{seed}:trunk".encode()).hexdigest(), 16))[2:].zfill(256)
        assert stream(seed, "trunk") == int(bits[:63], 2)


def test_streams_of_other_seeds_or_names_differ_and_lie_in_63_bits() -> None:
    streams = [stream(seed, name) for seed in range(200) for name in NAMES]
    assert len(set(streams)) == len(streams)
    assert all(0 <= s < 2**63 for s in streams)
    assert max(streams) > 2**62  # all 63 bits are used


def test_streams_depend_neither_on_order_nor_on_other_streams() -> None:
    alone = {name: generator(3, name).random(5) for name in NAMES}
    together = {name: generator(3, name) for name in reversed(NAMES)}
    for _ in range(5):  # taken in turns, each from its own generator
        for name, rng in together.items():
            index = 5 - len(alone[name])
            assert rng.random() == alone[name][0], (name, index)
            alone[name] = alone[name][1:]


def test_streams_are_uncorrelated() -> None:
    """Sample correlations of n independent pairs have standard deviation 1 / sqrt(n)."""
    n = 4000
    draws: npt.NDArray[np.float64] = np.stack(
        [generator(seed, name).standard_normal(n) for seed in (0, 1) for name in NAMES]
    )
    off = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(off).max() < 5 / np.sqrt(n)


def test_a_generator_leaves_global_state_alone() -> None:
    before = state()
    generator(0, "trunk").random(100)
    assert state() == before


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**63 - 1])
def test_equal_seeds_give_equal_draws_whatever_the_state_outside(seed: int) -> None:
    with seeded(seed):
        first = [draw() for _ in range(3)]
    draw()
    with seeded(seed):
        assert [draw() for _ in range(3)] == first


def test_other_seeds_give_other_draws_in_all_three_generators() -> None:
    streams = []
    for seed in range(20):
        with seeded(seed):
            streams.append(draw())
    for numbers in zip(*streams, strict=True):
        assert len(set(numbers)) == 20


def test_state_is_given_back() -> None:
    draw()
    before = state()
    with seeded(7):
        assert state() != before
        draw()
    assert state() == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_state_is_given_back_after_an_exception(error: type[BaseException]) -> None:
    def fail() -> None:
        with seeded(7):
            draw()
            raise error

    before = state()
    with pytest.raises(error):
        fail()
    assert state() == before


def test_a_seeded_block_within_another_does_not_move_the_outer_one() -> None:
    with seeded(1):
        alone = [draw(), draw()]
    with seeded(1):
        nested = [draw()]
        with seeded(2):
            draw()
        nested.append(draw())
    assert nested == alone


def test_what_follows_a_block_is_what_would_have_been_without_it() -> None:
    with seeded(5):
        expected = draw()
    with seeded(5):
        with seeded(6):
            draw()
        assert draw() == expected


@pytest.mark.parametrize(("count", "batch"), [(0, 8), (-1, 8), (8, 0)])
def test_minibatches_of_nothing_are_refused_where_they_would_never_end(
    count: int, batch: int
) -> None:
    try:
        answer = str(next(minibatches(count, 0, batch, seed=0), None))
    except ValueError as error:
        answer = str(error)
    assert answer == f"minibatches of {batch} of {count} rows: give 1 or more of both"
