"""A cell: one encoder on one task. It has one record, with all replicates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.naming.specs import Resolved
from bench.tasks.task import Task

if TYPE_CHECKING:
    from bench.encoders.base import Encoder

OURS = "reptransfer"  # owner of the records of the package's own encoders
LOCAL = "local"  # of encoders that need more than the package


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One encoder, by its spec or as an object, on one task."""

    task: Task
    encoder: Resolved | Encoder

    @property
    def spec(self) -> Resolved | None:
        """The encoder's spec; None for an object."""
        return self.encoder if isinstance(self.encoder, Resolved) else None

    @property
    def owner(self) -> str:
        """Owner of the record: `OURS`, or `LOCAL` for an encoder that needs more than the package."""
        return OURS if self.spec is not None and not self.spec.local else LOCAL

    @property
    def name(self) -> str:
        """The encoder's canonical spec; for an object its `name`, else its class."""
        if isinstance(self.encoder, Resolved):
            return self.encoder.text
        return str(getattr(self.encoder, "name", type(self.encoder).__name__))
