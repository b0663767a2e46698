"""What a study has found so far, in one file of its folder, so that nothing is run twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.digests import digest
from bench.errors import BenchError
from bench.files import write_atomically

__all__ = ["Kept"]


class Kept:
    """JSON values by their recipe. Raises BenchError for a file that is none of ours."""

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        self._path, self._tell, self._found = path, tell, dict[str, Any]()
        if path.is_file():
            try:
                self._found = dict(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError) as error:
                raise BenchError(
                    f"{path} cannot be read ({error}); move it away to begin anew"
                ) from error

    def __call__(self, what: str, recipe: object, make: Callable[[], Any]) -> Any:
        """What `make` gives, or has given for an equal `recipe`; `what` is told where it is made."""
        key = digest(recipe)
        if key not in self._found:
            self._tell(what)
            self._found[key] = make()
            content = json.dumps(self._found, indent=1, sort_keys=True, allow_nan=False)
            write_atomically(self._path, content.encode())
        return self._found[key]
