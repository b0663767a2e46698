"""Pretrained weights: checked name by name, loaded completely or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.encoders.parts.checkpoints import State, first_names
from bench.errors import BenchError

REVISION = 1
KNOWN_AS = "encoders/_weights"  # its key in the revisions of records

_COUNT = ".num_batches_tracked"
_AVERAGED = "n_averaged"  # PyTorch's AveragedModel counts the states that it has averaged


def load_strictly(
    model: nn.Module,
    state: State,
    *,
    heads: Sequence[str],
    adapt: Callable[[dict[str, Tensor], nn.Module], Mapping[str, Tensor]] | None,
    label: str,
    removed: Callable[[], Collection[str]] = tuple,
) -> None:
    """Load `state` into a model without its head: every name once, every shape equal.

    A prefix that all names in `state` share is removed where they fit without it. Batch norms' counts of
    batches may be missing: they have no say in eval mode.

    heads: modules of the head, whose weights in `state` are ignored
    adapt: tried where `state` does not fit: timm's filter for checkpoints of this family, which renames
        weights and resamples position embeddings
    label: what the error calls the model
    removed: gives the names of all weights that the model has lost with its head, which are ignored too;
        called where `state` does not fit without

    Raises BenchError with the names that are missing, unexpected, of another shape or type; the model is
    unchanged then.
    """
    state = {name: tensor for name, tensor in state.items() if name != _AVERAGED}
    fits = []
    for names in _prefixes(state):
        plain = {name.removeprefix(names): tensor for name, tensor in state.items()}
        fits.append(_fit(model, plain, heads, ()))
        if not fits[-1].problems:
            break
        fits.append(_fit(model, plain, heads, removed()))
        if not fits[-1].problems:
            break
        if adapt is not None:
            try:
                adapted = adapt(dict(plain), model)
            except Exception:  # the filter expects files of its family, and may fail on others
                continue
            fits.append(_fit(model, adapted, heads, removed()))
            if not fits[-1].problems:
                break
    best = min(reversed(fits), key=lambda fit: fit.mismatches)
    if best.problems:
        within = [
            p for p in _parts(state) if not _fit(model, _below(state, p), heads, removed()).problems
        ]
        advice = (
            f"the names under {' or '.join(map(repr, within))} fit: save these alone"
            if within
            else "give a file of this architecture"
        )
        if re.search(r"\d+-of-\d+", label):
            advice += ", and all parts of it in one"
        raise BenchError(
            f"{label}: the weights do not fit the model: {'; '.join(best.problems)}; {advice}"
        )
    model.load_state_dict(best.state)


@dataclass(frozen=True, slots=True)
class _Fit:
    """A state without the head, and how it differs from the model's: in words, and in how many names."""

    state: State
    problems: Sequence[str]
    mismatches: int


def _prefixes(state: State) -> Iterator[str]:
    """Nothing, then what all names begin with, cut behind each dot: "module.", "module.encoder_q.", ..."""
    yield ""
    first = next(iter(state), "")
    for place, letter in enumerate(first):
        if letter == "." and all(name.startswith(first[: place + 1]) for name in state):
            yield first[: place + 1]


def _parts(state: State) -> list[str]:
    """All that names begin with, cut behind each dot, where one model of several may lie: "backbone."."""
    dots = {name[: m.end()] for name in state for m in re.finditer(r"\.", name)}
    return sorted(part for part in dots if part.count(".") < 4)


def _below(state: State, part: str) -> dict[str, Tensor]:
    return {n.removeprefix(part): tensor for n, tensor in state.items() if n.startswith(part)}


def _fit(model: nn.Module, state: State, heads: Sequence[str], removed: Collection[str]) -> _Fit:
    expected = model.state_dict()
    prefixes = tuple(f"{head}." for head in heads)
    headless = {
        name: tensor
        for name, tensor in state.items()
        if name in expected or not (name.startswith(prefixes) or name in removed)
    }
    counts = {name: tensor for name, tensor in expected.items() if name.endswith(_COUNT)}
    headless = {**{n: t for n, t in counts.items() if n not in headless}, **headless}
    both = [name for name in expected if name in headless]
    problems = {
        "missing": [name for name in expected if name not in headless],
        "unexpected": [name for name in headless if name not in expected],
        "of another shape": [
            f"{name} {tuple(headless[name].shape)} for {tuple(expected[name].shape)}"
            for name in both
            if headless[name].shape != expected[name].shape
        ],
        "of another type": [
            f"{name} {_kind(headless[name])} for {_kind(expected[name])}"
            for name in both
            if not _can_be_copied(headless[name], expected[name])
        ],
    }
    lines = [
        f"{len(names)} {why} ({first_names(names)})" for why, names in problems.items() if names
    ]
    return _Fit(headless, lines, sum(map(len, problems.values())))


def _can_be_copied(tensor: Tensor, expected: Tensor) -> bool:
    """Does copying keep the numbers? The integers of quantised weights would pass as weights."""
    plain = tensor.layout == torch.strided and not tensor.is_quantized
    is_number = tensor.is_floating_point() or not expected.is_floating_point()
    same_kind = is_number and tensor.is_complex() == expected.is_complex()
    return plain and same_kind and (expected.is_meta or not tensor.is_meta)


def _kind(tensor: Tensor) -> str:
    layout = "" if tensor.layout == torch.strided else f" {str(tensor.layout)[6:]}"
    return f"{tensor.dtype}{layout}{' without values' if tensor.is_meta else ''}"
