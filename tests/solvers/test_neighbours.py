"""Neighbours and votes against scikit-learn and against plain loops in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from bench.errors import BenchError
from bench.solvers import neighbours
from bench.solvers.neighbours import nearest, vote

Matrix = npt.NDArray[np.float32]
NEAR = 1e-5


def gaussian(rows: int, features: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).standard_normal((rows, features), dtype=np.float32)


def cosines(queries: Matrix, bank: Matrix) -> npt.NDArray[np.float64]:
    """All cosines, one at a time, in float64."""
    out = np.zeros((len(queries), len(bank)))
    for i, a in enumerate(queries.astype(np.float64)):
        for j, b in enumerate(bank.astype(np.float64)):
            length = math.sqrt(a @ a) * math.sqrt(b @ b)
            out[i, j] = a @ b / length if length else 0.0
    return out


def small_blocks(monkeypatch: pytest.MonkeyPatch, *, rows: int, d: int, queries: int) -> None:
    monkeypatch.setattr(neighbours, "_BANK_BYTES", 4 * rows * d)
    monkeypatch.setattr(neighbours, "_SCORE_BYTES", 4 * rows * queries)
    monkeypatch.setattr(neighbours, "_MIN_QUERIES", queries)
    monkeypatch.setattr(neighbours, "_MAX_QUERIES", queries)


@pytest.mark.parametrize("m", [1, 7, 99, 101])
@pytest.mark.parametrize("k", [1, 20, 53])
def test_equals_float64_loop(m: int, k: int) -> None:
    queries, bank = gaussian(m, 9), gaussian(53, 9, seed=1)
    indices, similarities = nearest(queries, bank, k)
    assert indices.shape == similarities.shape == (m, k)
    assert indices.dtype == np.int64
    assert similarities.dtype == np.float32
    exact = cosines(queries, bank)
    np.testing.assert_allclose(similarities, -np.sort(-exact)[:, :k], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(exact, indices, axis=1), similarities, atol=1e-6)
    assert all(len(set(row)) == k for row in indices.tolist())


def test_equals_scikit_learn() -> None:
    queries, bank, k = gaussian(101, 32), gaussian(2000, 32, seed=1), 50
    indices, similarities = nearest(queries, bank, k)
    model = NearestNeighbors(n_neighbors=k + 1, algorithm="brute", metric="cosine").fit(bank)
    distances, theirs = model.kneighbors(queries)
    np.testing.assert_allclose(similarities, 1 - distances[:, :k], atol=NEAR)
    gaps = np.diff(distances, axis=1, prepend=-np.inf, append=np.inf)
    clear = ((gaps[:, :-1] > NEAR) & (gaps[:, 1:] > NEAR))[:, :k]
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(indices[clear], theirs[:, :k][clear])


@pytest.mark.parametrize("d", [3, 64, 300])
def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch, d: int) -> None:
    queries, bank = gaussian(101, d), gaussian(1001, d, seed=1)
    bank[500:600] = bank[:100]  # ties between blocks
    whole = nearest(queries, bank, 40)
    for rows, k in ((301, 7), (90, 2), (41, 64), (2, 50)):  # 2: some blocks have one row
        small_blocks(monkeypatch, rows=rows, d=d, queries=k)
        cut = nearest(queries, bank, 40)
        np.testing.assert_allclose(cut[1], whole[1], atol=1e-6)
        moved = cut[0] != whole[0]
        # A BLAS may round by the block, and so swap neighbours that near: a fifth here are twins.
        exact = [np.take_along_axis(queries @ bank.T, part[0], axis=1) for part in (cut, whole)]
        np.testing.assert_allclose(exact[0][moved], exact[1][moved], rtol=NEAR, atol=NEAR)
        assert moved.mean() < 0.1


def test_fewer_neighbours_are_the_first_of_more() -> None:
    queries, bank = gaussian(31, 16), gaussian(700, 16, seed=1)
    bank[300:] = bank[:400]
    all_neighbours = nearest(queries, bank, 200)
    for k in (1, 2, 19, 20, 199):
        first = nearest(queries, bank, k)
        np.testing.assert_array_equal(first[0], all_neighbours[0][:, :k])
        np.testing.assert_array_equal(first[1], all_neighbours[1][:, :k])


def test_order_and_number_of_queries_do_not_matter() -> None:
    queries, bank = gaussian(99, 64), gaussian(500, 64, seed=1)
    order = np.random.default_rng(2).permutation(99)
    straight, shuffled = nearest(queries, bank, 20), nearest(queries[order], bank, 20)
    np.testing.assert_array_equal(straight[0][order], shuffled[0])
    np.testing.assert_allclose(straight[1][order], shuffled[1], atol=1e-6)
    alone = [nearest(queries[i : i + 1], bank, 20)[0][0] for i in range(99)]
    np.testing.assert_array_equal(straight[0], alone)


@pytest.mark.parametrize("neighbour_count", [0, 12])
def test_ties_go_to_the_lower_index(monkeypatch: pytest.MonkeyPatch, neighbour_count: int) -> None:
    # Integers along axes: equal cosines are equal to the bit, whatever the BLAS.
    directions = np.vstack([np.eye(4), -np.eye(4)]).astype(np.float32)
    draw = np.random.default_rng(3)
    bank = directions[draw.integers(8, size=200)] * draw.integers(1, 4, size=(200, 1))
    bank = bank.astype(np.float32)
    bank[::17] = 0
    queries = np.vstack([directions, np.zeros((1, 4)), [[3, 4, 0, 0]]]).astype(np.float32)
    exact = cosines(queries, bank).astype(np.float32)
    if neighbour_count:
        small_blocks(monkeypatch, rows=30, d=4, queries=neighbour_count)
    for k in (1, 5, 24, 37, 199, 200):
        indices, similarities = nearest(queries, bank, k)
        for i in range(len(queries)):
            expected = np.lexsort((np.arange(200), -exact[i]))[:k]
            np.testing.assert_array_equal(indices[i], expected)
            np.testing.assert_allclose(similarities[i], exact[i][expected], atol=1e-6)


def test_keys_keep_order_and_values() -> None:
    values = torch.tensor([-np.inf, -1.0, -0.5, -1e-40, -0.0, 0.0, 1e-40, 0.5, 1.0])
    order = neighbours._to_order(values)
    assert order[4] == order[5]  # a product may give either zero
    assert (order.diff() > 0).tolist() == [i != 4 for i in range(8)]
    assert torch.equal(neighbours._from_order(order), values)


def test_a_lone_row_is_multiplied_as_two() -> None:
    # As gemm then sums it, not gemv: else its last bits would differ from those among others.
    unit = neighbours._unit(np.ones((1, 4), np.float32), np.full((1, 1), 2, np.float32))
    np.testing.assert_array_equal(unit.numpy(), [[0.5] * 4, [0] * 4])


def test_zero_rows_are_like_nothing() -> None:
    bank = gaussian(10, 5)
    bank[4] = 0
    indices, similarities = nearest(np.zeros((2, 5), np.float32), bank, 10)
    np.testing.assert_array_equal(indices, [range(10)] * 2)
    np.testing.assert_array_equal(similarities, np.zeros((2, 10)))
    indices, similarities = nearest(bank[:1], bank, 10)
    assert similarities[0, indices[0] == 4] == 0


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e30])
def test_length_does_not_matter(scale: float) -> None:
    queries, bank = gaussian(7, 16), gaussian(60, 16, seed=1)
    plain, scaled = nearest(queries, bank, 5), nearest(queries * np.float32(scale), bank, 5)
    np.testing.assert_array_equal(plain[0], scaled[0])
    np.testing.assert_allclose(plain[1], scaled[1], atol=1e-6)


def test_k_is_capped_and_sizes_of_nothing_and_one() -> None:
    queries = gaussian(7, 6)
    indices, similarities = nearest(queries, gaussian(3, 6, seed=1), 200)
    assert indices.shape == similarities.shape == (7, 3)
    assert vote(indices, similarities, np.array([0, 1, 1]), 4, k=200, temperature=0.07).shape == (
        7,
        4,
    )
    np.testing.assert_array_equal(nearest(queries, gaussian(1, 6), 1)[0], np.zeros((7, 1)))
    indices, similarities = nearest(queries[:0], gaussian(30, 6), 5)
    assert indices.shape == similarities.shape == (0, 5)
    assert vote(indices, similarities, np.arange(30), 30, k=5, temperature=1).shape == (0, 30)


def test_inputs_are_left_alone() -> None:
    queries, bank = gaussian(7, 6), gaussian(30, 6, seed=1)
    queries.flags.writeable = bank.flags.writeable = False
    indices, similarities = nearest(queries, bank, 4)
    indices.flags.writeable = similarities.flags.writeable = False
    vote(indices, similarities, np.arange(30) % 3, 3, k=4, temperature=0.07)
    np.testing.assert_array_equal(nearest(np.asfortranarray(queries), bank, 4)[0], indices)


def voted(m: int = 99, n: int = 400) -> tuple[npt.NDArray[np.int64], Matrix, npt.NDArray[Any]]:
    indices, similarities = nearest(gaussian(m, 8), gaussian(n, 8, seed=1), 50)
    return indices, similarities, np.random.default_rng(4).integers(5, size=n)


@pytest.mark.parametrize("temperature", [0.001, 0.07, 1.0])
@pytest.mark.parametrize("k", [1, 20, 50])
def test_vote_equals_float64_loop(
    monkeypatch: pytest.MonkeyPatch, k: int, temperature: float
) -> None:
    indices, similarities, labels = voted()
    monkeypatch.setattr(neighbours, "_VOTE_BYTES", 16 * 7 * 30)
    got = vote(indices, similarities, labels, 7, k=k, temperature=temperature)
    assert got.dtype == np.float32
    for i in range(len(indices)):
        shares = [0.0] * 7
        for j in range(k):
            gap = float(similarities[i, j]) - float(similarities[i, 0])
            shares[labels[indices[i, j]]] += math.exp(gap / temperature)
        whole = math.fsum(shares)
        expected = [(k * share / whole + 1 / 7) / (k + 1) for share in shares]
        np.testing.assert_allclose(got[i], np.log(expected), rtol=1e-5, atol=1e-6)
        assert shares[int(got[i].argmax())] >= max(shares) * (1 - NEAR)


def test_vote_is_a_finite_distribution_at_any_temperature() -> None:
    indices, similarities, labels = voted()
    for temperature in (1e-300, 1e-6, 0.07, 1e6):
        got = vote(indices, similarities, labels, 9, k=50, temperature=temperature)
        assert np.isfinite(got).all()
        np.testing.assert_allclose(np.exp(got, dtype=np.float64).sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(got[:, 5:], -math.log(51 * 9), rtol=1e-6)  # absent classes
    coldest = vote(indices, similarities, labels, 9, k=50, temperature=1e-300)
    np.testing.assert_array_equal(coldest.argmax(axis=1), labels[indices[:, 0]])


def test_relabelling_permutes_votes() -> None:
    indices, similarities, labels = voted()
    names = np.random.default_rng(5).permutation(5)
    plain = vote(indices, similarities, labels, 5, k=20, temperature=0.07)
    renamed = vote(indices, similarities, names[labels], 5, k=20, temperature=0.07)
    np.testing.assert_array_equal(renamed[:, names], plain)


def test_equal_votes_go_to_the_lower_class() -> None:
    indices = np.array([[0, 1, 2, 3]])
    similarities = np.full((1, 4), 0.5, np.float32)
    got = vote(indices, similarities, np.array([3, 1, 1, 3]), 4, k=4, temperature=0.07)
    assert got[0, 1] == got[0, 3]
    assert got.argmax() == 1


def test_errors_of_nearest_say_what_to_do() -> None:
    good = gaussian(7, 6)
    for spoilt in (np.nan, np.inf, 3e38):
        bad = good.copy()
        bad[2] = spoilt
        with pytest.raises(BenchError, match=r"^queries: 1 of 7 rows \(first: row 2\).*mend"):
            nearest(bad, good, 1)
        with pytest.raises(BenchError, match=r"^bank: 1 of 7"):
            nearest(good, bad, 1)
    with pytest.raises(BenchError, match="6 features and the bank 5"):
        nearest(good, gaussian(7, 5), 1)
    with pytest.raises(BenchError, match="at least one row"):
        nearest(good, good[:0], 1)
    with pytest.raises(BenchError, match="at least one row and one feature"):
        nearest(good[:, :0], good[:, :0], 1)
    with pytest.raises(BenchError, match="k = 0"):
        nearest(good, good, 0)
    with pytest.raises(BenchError, match="give a matrix"):
        nearest(good[0], good, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"labels": np.full(400, -1)},
            r"-1 to -1: with 5 classes 0 to 4 are allowed.*leave out rows",
        ),
        ({"labels": np.full(400, 5)}, "5 to 5: with 5 classes 0 to 4"),
        ({"labels": np.zeros(400)}, "one integer per bank row"),
        ({"labels": np.zeros(3, int)}, "0 to 2 are allowed"),
        ({"k": 0}, "at least 1"),
        ({"k": 51}, "ask `nearest` for k = 51"),
        ({"classes": 0}, "at least 1"),
        ({"temperature": 0.0}, "above 0"),
        ({"temperature": np.nan}, "above 0"),
        ({"similarities": np.full((99, 50), np.nan, np.float32)}, "NaN"),
        ({"similarities": np.zeros((99, 49), np.float32)}, "alike"),
    ],
)
def test_errors_of_vote_say_what_to_do(change: dict[str, Any], said: str) -> None:
    indices, similarities, labels = voted()
    arguments: dict[str, Any] = {
        "indices": indices,
        "similarities": similarities,
        "labels": labels,
        "classes": 5,
        "k": 20,
        "temperature": 0.07,
    }
    vote(**arguments)
    with pytest.raises(BenchError, match=said) as caught:
        vote(**{**arguments, **change})
    assert "\n" not in str(caught.value)
