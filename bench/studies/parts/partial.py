"""Partial results of a study in one file of its folder, so that nothing is computed twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bench.digests import digest
from bench.errors import BenchError
from bench.files import write_atomically
from bench.studies.base import Setting

__all__ = ["PartialResults"]


class PartialResults:
    """JSON values by their recipe, in a file of the study's folder. Raises BenchError for a file that
    does not hold such values."""

    def __init__(self, setting: Setting, name: str) -> None:
        self._path, self._progress = setting.folder / name, setting.progress
        self._values: dict[str, Any] = {}
        if self._path.is_file():
            try:
                self._values = dict(json.loads(self._path.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError) as error:
                raise BenchError(
                    f"{self._path} cannot be read ({error}); move it away to begin anew"
                ) from error

    def __call__(self, title: str, recipe: object, compute: Callable[[], Any]) -> Any:
        """The value of `compute`, or of an earlier call with an equal `recipe`; `title` is reported where
        it is computed."""
        key = digest(recipe)
        if key not in self._values:
            self._progress(title)
            self._values[key] = compute()
            content = json.dumps(self._values, indent=1, sort_keys=True, allow_nan=False)
            write_atomically(self._path, content.encode())
        return self._values[key]
