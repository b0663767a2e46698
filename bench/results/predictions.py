"""Predictions as they are stored: `encode` keeps of them what their scores need, `pack` makes the arrays
small in a file.

Arrays are named truth/TARGET and REPLICATE/TARGET/PART. A packed array is its difference from what other
arrays predict of it, and replicates of one shape lie side by side: most predictions are right, so that
most differences are zero, and at the same rows. Packing loses nothing; the digest of predictions is that
of the unpacked arrays.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.digests import arrays_digest
from bench.errors import BenchError

Array = npt.NDArray[Any]
EXACT_PARTS = frozenset({"class", "yes"})  # stored as they were predicted, not rounded
_GRID = 16.0  # steps of a stored log-probability in one nat


def encode(kind: str, prediction: Array, truth: Array, *, probabilistic: bool) -> dict[str, Array]:
    """What is stored of one target's predictions (n, k), so that its scores can be computed again.

    classes: `class` (n,); with log-probabilities also the `top` probability in steps of 1/255 and
    the `true` class's log-probability in steps of 1/16 nat (255: below -15.9). binary: `yes`, bits.
    number: `value`, fp16. The truth (n,) or (n, k) is stored once a target, by `encode_truth`.
    """
    if kind == "number":
        return {"value": _half(prediction)}
    if kind == "binary":
        return {"yes": np.packbits(prediction > (np.log(0.5) if probabilistic else 0.0))}
    parts = {"class": prediction.argmax(axis=1).astype(_small(prediction.shape[1]))}
    if probabilistic:
        of_truth = prediction[np.arange(len(truth)), truth.clip(0)]
        parts["top"] = np.round(np.exp(prediction.max(axis=1)) * 255).clip(0, 255).astype(np.uint8)
        parts["true"] = np.round(-of_truth * _GRID).clip(0, 255).astype(np.uint8)
    return parts


def encode_stacked(scores: Array, unseen: Sequence[int]) -> dict[str, Array]:
    """What is stored of zero-shot scores (n, C): the best class of each side, and by how much the seen one
    leads, in fp16 of three bits (to a sixteenth of itself), which gives every metric at every
    calibration again, the area under their curve within 0.05 / sqrt(n) (0.0005 for 10,000 rows)."""
    small = _small(scores.shape[1])
    seen, new = np.setdiff1d(np.arange(scores.shape[1]), unseen), np.unique(unseen)
    of_seen, of_unseen = scores[:, seen], scores[:, new]
    return {
        "best_seen": seen[of_seen.argmax(axis=1)].astype(small),
        "best_unseen": new[of_unseen.argmax(axis=1)].astype(small),
        "margin": _coarse(_half(of_seen.max(axis=1) - of_unseen.max(axis=1))),
    }


def counted(parts: Mapping[str, Array], truth: Array, classes: int) -> dict[str, Array]:
    """Of `encode_stacked` what is stored where rows are not: `counts` (3, C), by class its test rows, how
    many of them are right among all classes, and how many among those of their own side alone."""
    labelled = truth >= 0
    truth = truth[labelled]
    seen, unseen, margin = (
        parts[part][labelled] for part in ("best_seen", "best_unseen", "margin")
    )
    guess = np.where(margin > 0, seen, np.where(margin < 0, unseen, np.minimum(seen, unseen)))
    hits = np.ones(len(truth)), guess == truth, (seen == truth) | (unseen == truth)
    counts = [np.bincount(truth, weights=hit, minlength=classes) for hit in hits]
    return {"counts": np.stack(counts).astype(np.int32)}


def encode_truth(kind: str, truth: Array) -> Array:
    """Test labels in a small type: numbers as fp16, classes and yes/no (-1 missing) as integers."""
    if kind == "number":
        return _half(truth)
    return truth.astype(_small(int(truth.max(initial=0)) + 1))


def labels_digest(truth: Array) -> str:
    """Of test labels as `encode_truth` gives them, for known.json."""
    return arrays_digest({"truth": truth})


def _half(values: Array) -> Array:
    """fp16, or fp32 where that would overflow."""
    large = np.nanmax(np.abs(values), initial=0.0) > np.finfo(np.float16).max
    return values.astype(np.float32 if large else np.float16)


def _coarse(values: Array) -> Array:
    """fp16 or fp32 rounded to three bits of their fractions: more would be noise on disk."""
    kind, low = (np.uint16, 7) if values.dtype == np.float16 else (np.uint32, 20)
    raw = np.ascontiguousarray(values).view(kind).astype(np.uint64) + (1 << (low - 1))
    near: Array = (raw >> low << low).astype(kind).view(values.dtype)
    return np.where(np.isfinite(near), near, values)


def _small(size: int) -> type[np.signedinteger[Any]]:
    return np.int8 if size <= 2**7 else np.int16 if size <= 2**15 else np.int32


_ALWAYS = {
    "classes": "class",
    "binary": "yes",
    "number": "value",
}  # the part that all others are beside


def decode(kind: str, parts: Mapping[str, Array], truth: Array) -> dict[str, Array]:
    """`encode` undone as far as it goes, beside the truth.

    classes: truth, class int64 (n,), and where stored the top probability and the true class's
    log-probability (n,); binary: truth and yes int64 (n, k); number: truth and value float64.
    """
    if kind == "number":
        return {"truth": truth.astype(np.float64), "value": parts["value"].astype(np.float64)}
    decoded: dict[str, Array] = {"truth": truth.astype(np.int64)}
    if kind == "binary":
        yes = np.unpackbits(parts["yes"], count=truth.size).reshape(truth.shape)
        return {**decoded, "yes": yes.astype(np.int64)}
    decoded["class"] = parts["class"].astype(np.int64)
    if {"top", "true"} <= set(parts):
        decoded |= {"top": parts["top"] / 255.0, "true": -(parts["true"] / _GRID)}
    return decoded


def parts_of(
    arrays: Mapping[str, Array], replicate: int, target: str, *needed: str
) -> dict[str, Array]:
    """What is stored of a replicate's predictions of one target, with its `truth`.

    Raises BenchError where a needed part is missing; so does the lookup of another part in what it gives.
    """
    prefix = f"{replicate}/{target}/"
    parts = _Parts(f"replicate {replicate}", target)
    parts |= {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    if f"truth/{target}" in arrays:
        parts["truth"] = arrays[f"truth/{target}"]
    if missing := {"truth", *needed} - set(parts):
        raise parts.lack(", ".join(sorted(missing)))
    return parts


class _Parts(dict[str, Array]):
    """Parts of one target's predictions in a file that anybody may have written."""

    def __init__(self, replicate: str, target: str) -> None:
        super().__init__()
        self._replicate, self._target = replicate, target

    def __missing__(self, part: str) -> Array:
        raise self.lack(part)

    def lack(self, part: str) -> BenchError:
        return BenchError(f"{self._replicate} has no {part} of {self._target!r:.80} stored")


def check_arrays(arrays: Mapping[str, Array], kinds: Mapping[str, tuple[str, int]], n: int) -> None:
    """Raise BenchError unless arrays have the types, shapes and ranges that targets of these kinds and
    sizes have over n test rows; parts that are never read may be anything."""
    for name, array in arrays.items():
        expected = _checked_form(name, array.dtype, array.shape, kinds, n)
        if expected is None:
            continue
        _, _, low, high = expected
        if low is not None and array.size and not low <= array.min() <= array.max() <= high:
            raise BenchError(f"{name:.80} has values that are not in {low} to {high}")


def unread(arrays: Mapping[str, Array], kinds: Mapping[str, tuple[str, int]], n: int) -> list[str]:
    """Names of arrays that `check_arrays` lets be anything."""
    return [k for k, a in arrays.items() if _checked_form(k, a.dtype, a.shape, kinds, n) is None]


def check_packed(
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    kinds: Mapping[str, tuple[str, int]],
    n: int,
    replicates: int,
) -> int:
    """How many arrays a packed one stands for. Raises BenchError unless it may have this name, type and
    shape, before any of it is read: as for `check_arrays`, of so many replicates, and at most 16 MB of
    parts that are never read. A name may be a stranger's, and stand for millions of arrays."""
    numbers, _, part = name.partition("/")
    count = 1
    if part and (runs := _runs_of(numbers)):
        if runs[-1].stop > replicates:
            raise BenchError(f"{name:.80} is of replicates that the record has not")
        name = f"{runs[0].start}/{part}"
        if (count := sum(map(len, runs))) > 1:
            if shape[-1:] != (count,):
                raise BenchError(f"{name:.80} has shape {shape}; expected {count} replicates")
            shape = shape[:-1]
    elif numbers != "truth":
        raise BenchError(f"{name:.80} is not of a target of the record")
    simple = dtype.kind in "biuf" and not dtype.hasobject
    expected = _checked_form(name, dtype, shape, kinds, n)
    if not simple or (expected is None and math.prod(shape) * dtype.itemsize > _MOST_UNREAD):
        raise BenchError(f"{name:.80} has type {dtype} and shape {shape}, which is not read")
    return count


def _checked_form(
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    kinds: Mapping[str, tuple[str, int]],
    n: int,
) -> tuple[str, tuple[int, ...], int | None, int] | None:
    """What `_expected` gives of an array's part. Raises BenchError where type or shape are others."""
    first, _, target_and_part = name.partition("/")
    target, _, part = target_and_part.rpartition("/")
    if first == "truth":
        target, part = target_and_part, first
    if target not in kinds:
        raise BenchError(f"{name:.80} is not of a target of the record")
    expected = _expected(part, *kinds[target], n)
    if expected is not None and (dtype.kind not in expected[0] or shape != expected[1]):
        raise BenchError(f"{name:.80} has type {dtype} and shape {shape}, not {expected[1]}")
    return expected


def _expected(
    part: str, kind: str, size: int, n: int
) -> tuple[str, tuple[int, ...], int | None, int] | None:
    """NumPy's kinds of types, shape, least and largest value of a part; None for an unknown part."""
    byte, whole, real = "u", "iu", "f"
    if kind == "classes":
        rows: dict[str, tuple[str, tuple[int, ...], int | None, int]] = {
            "truth": (whole, (n,), -1, size - 1),
            "top": (byte, (n,), 0, 255),
            "true": (byte, (n,), 0, 255),
            "margin": (real, (n,), None, 0),
            "counts": (whole, (3, size), 0, n),
            "without": (real, (size,), None, 0),
        }
        rows |= dict.fromkeys(("class", "best_seen", "best_unseen"), (whole, (n,), 0, size - 1))
        return rows.get(part)
    if kind == "binary":
        yes = byte, (-(-n * size // 8),), 0, 255
        return {"truth": (whole, (n, size), -1, 1), "yes": yes}.get(part)
    return (real, (n, size), None, 0) if part in ("truth", "value") else None


_MOST_UNREAD = 2**24  # bytes of an array that is never read
_NUMBER = re.compile("0|[1-9][0-9]{0,5}")
_RUNS = re.compile("[0-9]{1,6}(-[0-9]{1,6})?(,[0-9]{1,6}(-[0-9]{1,6})?)*")

# Of a top probability in steps of 1/255 its negative logarithm in steps of 1/16: no entry lies so
# close to a half that another machine's logarithm would round it otherwise.
_LOGARITHMS = np.round(-16 * np.log(np.arange(1, 256) / 255)).clip(0, 255)
_LOGARITHMS = np.concatenate([[255], _LOGARITHMS]).astype(np.uint8)


def pack(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """`class` and `best_seen` minus the true class, and where it is right `true` minus its value by `top`,
    both modulo the range of their types; then replicates whose arrays have one name, shape and type as one
    array, along an additional last axis: 0/label/class to 2/label/class are 0-2/label/class."""
    packed = {name: _shifted(name, array, arrays, -1) for name, array in arrays.items()}
    alike = dict[tuple[Any, ...], list[int]]()
    for name, array in packed.items():
        number, _, part = name.partition("/")
        if part and _NUMBER.fullmatch(number):
            alike.setdefault((part, array.shape, array.dtype.str), []).append(int(number))
    for (part, *_), numbers in alike.items():
        group = [packed.pop(f"{number}/{part}") for number in sorted(numbers)]
        packed[f"{_runs(sorted(numbers))}/{part}"] = np.stack(group, -1) if group[1:] else group[0]
    return packed


def unpack(packed: Mapping[str, Array]) -> dict[str, Array]:
    """`pack` undone. Raises ValueError for an array that has not as many replicates as its name, and for
    numbers that do not rise."""
    arrays = {k: v for name, array in packed.items() for k, v in _split(name, array)}
    names = list(arrays)
    for field in ("class", "best_seen", "true"):  # the last needs the first
        for name in names:
            if name.endswith(f"/{field}"):
                arrays[name] = _shifted(name, arrays[name], arrays, 1)
    return arrays


def _runs(numbers: list[int]) -> str:
    """Rising numbers, neighbours as a range: 0-2,5 for 0, 1, 2 and 5."""
    runs = list[tuple[int, int]]()
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)


def _split(name: str, array: Array) -> Iterator[tuple[str, Array]]:
    """The replicates of a packed array, by name."""
    numbers, _, part = name.partition("/")
    runs = _runs_of(numbers) if part else []
    count = sum(map(len, runs))
    if count < 2:
        yield name, array
        return
    if not array.ndim or array.shape[-1] != count:
        raise ValueError(f"{name[:80]} has shape {array.shape}; expected {count} replicates")
    for place, number in enumerate(itertools.chain(*runs)):
        yield f"{number}/{part}", np.ascontiguousarray(array[..., place])


def _runs_of(numbers: str) -> list[range]:
    """`_runs` undone; empty for another text. Raises ValueError where the numbers do not rise."""
    if not _RUNS.fullmatch(numbers):
        return []
    ends = [[int(number) for number in run.split("-")] for run in numbers.split(",")]
    runs = [range(run[0], run[-1] + 1) for run in ends]
    bounds = [bound for run in runs for bound in (run.start, run.stop)]
    if any(a > b for a, b in itertools.pairwise(bounds)):  # names are a stranger's
        raise ValueError(f"{numbers[:80]}: its numbers do not rise")
    return runs


def _shifted(name: str, array: Array, arrays: Mapping[str, Array], sign: int) -> Array:
    """In the array's own type, whose sums wrap round: a wider one would take eight times the memory."""
    number, target, field = name.split("/") if name.count("/") == 2 else ("", "", "")
    truth = arrays.get(f"truth/{target}")
    if truth is None or truth.shape != array.shape or array.dtype.kind not in "iu":
        return array
    if field in ("class", "best_seen"):
        by = truth.astype(array.dtype)
    elif field == "true":
        right = arrays[f"{number}/{target}/class"] == truth
        by = _LOGARITHMS[arrays[f"{number}/{target}/top"]].astype(array.dtype) * right
    else:
        return array
    shifted: Array = array + by if sign > 0 else array - by
    return shifted
