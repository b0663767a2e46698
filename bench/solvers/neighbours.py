"""Exact cosine neighbours by blocked products and a running top-k, and their weighted votes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from bench.errors import BenchError
from bench.solvers._checks import Array, require_labels

REVISION = 1

# These two and the smaller temporaries keep `nearest` under about 256 MiB. The bank has the larger
# part: each of its blocks is selected from anew, and torch's topk takes its slower way (3 times, at
# k = 200) where a row has fewer than 64 k entries; 144 MiB hold 18,432 rows of 2,048 features.
_BANK_BYTES = 144 * 2**20
_SCORE_BYTES = 64 * 2**20
# Fewer queries at a time slow the product, more do not speed it.
_MIN_QUERIES, _MAX_QUERIES = 256, 1024
_VOTE_BYTES = 64 * 2**20

# A key is (order of the similarity's bits, all ones less the bank index): its high half sorts by
# similarity, its low half breaks ties by lower index, so no two keys of a query are equal.
_LOW = 2**32 - 1
_SIGN = 2**31 - 1


def nearest(queries: Array, bank: Array, k: int) -> tuple[Array, Array]:
    """The min(k, n) rows of bank (n, d) most like each of queries (m, d): int64 indices (m, k) and
    float32 cosine similarities (m, k).

    The most similar comes first, ties by lower index; the first j columns are the answer for
    every j below k. Rows are scaled to unit length here; a row of zeros has similarity 0 with
    everything. A similarity is a float32 product of unit rows, good to about 1e-6, and a tie is
    equality of these. Blocks only cut the product into tiles; each entry is still one sum over d
    in an order that OpenBLAS keeps for any tile of two rows and columns or more, so that answers
    do not move with the block sizes or with the other queries; another BLAS may move the last
    bits, and with them the order of neighbours that close.
    """
    queries, bank = _rows("queries", queries), _rows("bank", bank)
    (m, d), n = queries.shape, len(bank)
    if bank.shape[1] != d:
        raise BenchError(
            f"queries have {d} features and the bank {bank.shape[1]}: "
            "they must be equal; take both from the same representation"
        )
    if n == 0 or d == 0:
        raise BenchError(f"the bank is {n} x {d}: give at least one row and one feature")
    if n > _LOW:
        raise BenchError(f"the bank has {n} rows: at most {_LOW} are allowed; give fewer")
    if k < 1:
        raise BenchError(f"k = {k} neighbours: k must be at least 1; give a positive k")
    query_norms, bank_norms = _norms("queries", queries), _norms("bank", bank)
    k = min(k, n)

    bank_rows = max(2, min(_BANK_BYTES // (4 * d), _SCORE_BYTES // (4 * _MIN_QUERIES)))
    # Made once: fresh pages for every product add a fifth to its time at d = 64.
    space = torch.empty(min(max(m, 2) * max(min(n, bank_rows), 2), _SCORE_BYTES // 4))
    best = torch.empty((m, 0), dtype=torch.int64)
    for columns in _spans(n, bank_rows):
        block = _unit(bank[columns], bank_norms[columns])
        width = min(columns.stop, k)
        merged = torch.empty((m, width), dtype=torch.int64)
        for rows in _spans(m, min(_MAX_QUERIES, len(space) // len(block))):
            scores = _product(_unit(queries[rows], query_norms[rows]), block, space)
            count = rows.stop - rows.start
            block_best = _top(scores[:count, : columns.stop - columns.start], k, columns.start)
            both = torch.cat((best[rows], block_best), dim=1)
            merged[rows] = both.topk(width, dim=1).values
        best = merged
        del block  # Before the next one is made beside it.
    return _LOW - (best & _LOW).numpy(), _from_order((best >> 32).int()).numpy()


def vote(
    indices: Array, similarities: Array, labels: Array, classes: int, *, k: int, temperature: float
) -> Array:
    """Log-probabilities, float32 (m, classes), from the first min(k, n) neighbours of `nearest`, by the
    bank's integer labels (n,).

    A neighbour votes for its label with weight exp(similarity / temperature) (Wu et al. 2018,
    arXiv:1805.01978, section 3.4). The shares of the k votes are mixed with one part in k + 1 of
    the uniform distribution, as if one more neighbour of average weight had voted for all classes
    alike: the least that k votes can tell from nothing. A class without votes so has probability
    1 / ((k + 1) * classes), and the log-likelihood is finite. Mixing keeps the order of classes:
    argmax is the largest vote, votes equal to float32 going to the lower class.
    """
    labels = np.asarray(labels)
    m, n = len(indices), len(labels)
    _check_vote(indices, similarities, labels, classes, k, temperature)
    k = min(k, n)

    # The largest similarity is taken off first, so that the largest weight is exactly 1.
    gaps = similarities[:, :k].astype(np.float64)
    gaps -= gaps.max(axis=1, keepdims=True)
    with np.errstate(over="ignore"):
        weights = np.exp(gaps / temperature)
    weights /= weights.sum(axis=1, keepdims=True)
    weights *= k / (k + 1)
    cast = labels[indices[:, :k]].astype(np.int64)

    out = np.empty((m, classes), dtype=np.float32)
    for rows in _spans(m, max(2, _VOTE_BYTES // (16 * classes))):
        count = rows.stop - rows.start
        slots = cast[rows] + classes * np.arange(count)[:, None]
        votes = np.bincount(slots.ravel(), weights[rows].ravel(), minlength=count * classes)
        out[rows] = np.log(votes + 1 / ((k + 1) * classes)).reshape(count, classes)
    return out


def _rows(name: str, values: Array) -> Array:
    """The values as a float32 matrix."""
    with np.errstate(over="ignore"):  # `_norms` reports overflow.
        rows = np.asarray(values, dtype=np.float32)
    if rows.ndim != 2:
        raise BenchError(f"{name} have shape {rows.shape}: give a matrix, one row per example")
    return rows


def _norms(name: str, rows: Array) -> Array:
    """Lengths (m, 1) of rows, with 1 for a row of zeros; float64 inside, so that none under- or
    overflows and a length that is finite shows that all its features are."""
    norms: Array = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    bad = np.flatnonzero(~(norms <= np.finfo(np.float32).max))
    if len(bad):
        raise BenchError(
            f"{name}: {len(bad)} of {len(rows)} rows (first: row {bad[0]}) hold NaN, infinite or "
            "float32-overflowing features: only finite ones are allowed; mend or drop these rows"
        )
    norms[norms == 0] = 1
    return norms[:, None].astype(np.float32)


def _spans(count: int, longest: int) -> Iterator[slice]:
    """Even spans of at most `longest` of range(count), so that none is a small remainder."""
    pieces = -(-count // longest)
    for i in range(pieces):
        yield slice(count * i // pieces, count * (i + 1) // pieces)


def _unit(rows: Array, norms: Array) -> torch.Tensor:
    """Rows of unit length, at least two of them (the second then being zeros): BLAS takes a
    product with a single row or column to gemv, which sums in another order than gemm."""
    unit = np.zeros((max(2, len(rows)), rows.shape[1]), dtype=np.float32)
    np.divide(rows, norms, out=unit[: len(rows)])
    return torch.from_numpy(unit)


def _product(queries: torch.Tensor, block: torch.Tensor, space: torch.Tensor) -> torch.Tensor:
    """Similarities (m, n), laid in `space`. On a CPU by NumPy's OpenBLAS, which took 0.7 of the
    time of torch's MKL on an AMD EPYC (180 and 130 GFLOP/s, d = 784); a GPU would want `torch.mm`
    here and changes nowhere else but in `_unit`."""
    scores = space[: len(queries) * len(block)].view(len(queries), len(block))
    np.matmul(queries.numpy(), block.numpy().T, out=scores.numpy())
    return scores


def _top(scores: torch.Tensor, k: int, start: int) -> torch.Tensor:
    """Keys (m, min(k, n)) of the largest scores (m, n), ties by lower index; unsorted."""
    n = scores.shape[1]
    k = min(k, n)
    # One more than asked for shows where a tie lies across the end: topk then may have taken any.
    values, indices = scores.topk(min(k + 1, n), dim=1)
    if k < n:
        last = values[:, k - 1 : k]
        for row in (values[:, k:] == last).squeeze(1).nonzero().flatten().tolist():
            above = int((values[row] > last[row]).sum())
            indices[row, above:k] = (scores[row] == last[row]).nonzero().flatten()[: k - above]
    high = _to_order(values[:, :k]).long() << 32
    return high | (_LOW - start - indices[:, :k])


def _to_order(values: torch.Tensor) -> torch.Tensor:
    """int32 in the order of float32 values: the bits, those of negative numbers turned round."""
    bits = (values + 0.0).view(torch.int32)  # -0.0 + 0.0 is 0.0: both zeros tie.
    return torch.where(bits < 0, bits ^ _SIGN, bits)


def _from_order(order: torch.Tensor) -> torch.Tensor:
    """The float32 values that `_to_order` was given."""
    return torch.where(order < 0, order ^ _SIGN, order).view(torch.float32)


def _check_vote(
    indices: Array, similarities: Array, labels: Array, classes: int, k: int, temperature: float
) -> None:
    """Raise BenchError for what `vote` cannot count."""
    if k < 1 or classes < 1:
        raise BenchError(f"k = {k}, classes = {classes}: both must be at least 1")
    if not 0 < temperature < np.inf:
        raise BenchError(f"temperature {temperature}: give a finite one above 0, such as 0.07")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or len(labels) == 0:
        raise BenchError(
            f"labels are {labels.dtype} of shape {labels.shape}: give one integer per bank row"
        )
    require_labels(labels, classes)
    least = min(k, len(labels))
    if indices.ndim != 2 or indices.shape != similarities.shape or indices.shape[1] < least:
        raise BenchError(
            f"indices have shape {indices.shape} and similarities {similarities.shape}: both must "
            f"be alike, with at least {least} columns; ask `nearest` for k = {k}"
        )
    if indices.size and (indices.min() < 0 or indices.max() >= len(labels)):
        raise BenchError(
            f"indices run from {indices.min()} to {indices.max()}: 0 to {len(labels) - 1} are "
            "allowed; give the labels of the bank that `nearest` was given, in its order"
        )
    if not np.isfinite(similarities).all():
        raise BenchError("similarities hold NaN or infinite values: give those of `nearest`")
