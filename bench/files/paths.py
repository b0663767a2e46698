"""Folders of the user."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bench.errors import BenchError


def user_cache() -> Path:
    """The user's cache folder; a temporary one for a user without a home folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if base.startswith("~"):
        user = os.getuid() if hasattr(os, "getuid") else "user"
        return Path(tempfile.gettempdir()) / f"cache-{user}"
    return Path(base)


def folder_path(value: object, name: str) -> Path:
    """`value` of the argument `name` as a path. Raises BenchError for what is none."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise BenchError(f"{name}={value!r}: must be the path of a folder")
    return Path(os.path.expanduser(os.fsdecode(value)))
