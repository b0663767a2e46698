"""The JSON Schema of a record, for those who read or write records without this package."""

from __future__ import annotations

from pathlib import Path

RECORD_SCHEMA = "record-schema"  # its name for `reptransfer show`


def record_schema() -> str:
    """The text of `record.schema.json`, of draft 2020-12."""
    return Path(__file__).with_name("record.schema.json").read_text(encoding="utf-8")
