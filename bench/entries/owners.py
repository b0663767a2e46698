"""Names of owners: a GitHub login that nobody takes for another's."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bench.errors import BenchError
from bench.results.store import DEVICES, RESERVED
from bench.tasks.cell import LOCAL, OURS

_LOGIN = re.compile(r"[a-z0-9](?:-?[a-z0-9]){0,38}")
_MOST_NAME = 39
_ALIKE = (
    ("0", "o"), ("1", "l"), ("i", "l"), ("3", "e"), ("4", "a"), ("5", "s"), ("7", "t"), ("8", "b"),
    ("rn", "m"), ("vv", "w"), ("cl", "d"),
)  # fmt: skip


def check_owner(name: str, others: Iterable[str] = ()) -> None:
    """Raise BenchError for a name that no owner of an entry may have: no GitHub login in lower case, the
    name of something else in a results folder, or one that looks like that or like one of `others`."""
    if len(name) > _MOST_NAME or not _LOGIN.fullmatch(name):
        raise BenchError(
            f"owner {name!a:.80} is no GitHub login of 1 to {_MOST_NAME} lower-case letters, digits and "
            "single hyphens between them"
        )
    if name in (OURS, LOCAL) or name in RESERVED or name in DEVICES:
        raise BenchError(f"owner {name!r} is a reserved name; use your GitHub login")
    looks = skeleton(name)
    for other in (OURS, LOCAL, *sorted(RESERVED), *others):
        if other != name and skeleton(other) == looks:
            raise BenchError(f"owner {name!r} looks like {other!a:.80}; use another name")


def skeleton(name: str) -> str:
    """Equal for names that a reader may take for each other: of other case or hyphens, or with letters
    and digits that look alike in most fonts or are written for each other (mostly a part of the table of
    Unicode Technical Standard 39)."""
    text = name.casefold().replace("-", "").replace("_", "")
    for sign, like in _ALIKE:
        text = text.replace(sign, like)
    return text
