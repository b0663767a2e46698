"""Checks of the numbers that encoders are built with, and lists in one argument."""

from __future__ import annotations

from bench.errors import BenchError


def require_at_least(least: float, encoder: str, **arguments: float) -> None:
    """Raise BenchError, naming the first of the `arguments` of `encoder` that is below `least`."""
    for name, value in arguments.items():
        if not value >= least:
            raise BenchError(f"{encoder},{name}={value:g}: must be {least:g} or more")


def require_positive(encoder: str, **arguments: float) -> None:
    """Raise BenchError, naming the first of the `arguments` of `encoder` that is not above 0."""
    for name, value in arguments.items():
        if not value > 0:
            raise BenchError(f"{encoder},{name}={value:g}: must be above 0")


def training_data(labelled: str, unlabelled: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`pretrained_on` and `unlabelled` of an encoder, from names of data sets joined by `+`: those it was
    trained on with labels, and those without.

    >>> training_data("imagenet-1k", "coco+imagenet-1k")
    (('imagenet-1k', 'coco'), ('coco',))
    """
    with_labels, without = (tuple(filter(None, text.split("+"))) for text in (labelled, unlabelled))
    further = tuple(name for name in dict.fromkeys(without) if name not in with_labels)
    return (*dict.fromkeys(with_labels), *further), further
