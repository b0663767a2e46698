"""What is said of one place in a file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remark:
    """What is said of one place in a file: `field` is empty for the file as a whole."""

    file: str
    field: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.field, self.message) if part)


def printed(name: str) -> str:
    """A file's name as it is printed: on one line, and what a terminal would obey or hide is escaped."""
    return name if name.isascii() and name.isprintable() else ascii(name)[1:-1]
