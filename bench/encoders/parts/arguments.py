"""Checks of the numbers that encoders are built with."""

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
