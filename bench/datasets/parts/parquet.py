"""Images in Parquet files in the layout of Hugging Face, decoded once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.data.images import EncodedImages, Input
from bench.data.samples import Array
from bench.errors import BenchError


@dataclass(frozen=True, slots=True, eq=False)
class ParquetRows:
    """The rows of one file: n encoded images, class labels int64 (n,), the names of the classes."""

    file: str
    files: tuple[bytes, ...]
    labels: Array
    classes: tuple[str, ...]

    def digests(self) -> list[bytes]:
        """The sha256 of each encoded image."""
        return [hashlib.sha256(data).digest() for data in self.files]

    def pixels(self, input: Input) -> Array:
        """All images decoded, in parallel: uint8 (n, c, h, w). Raises BenchError, naming the first row
        that is not an image."""
        names = [f"{self.file}, row {row}," for row in range(len(self.files))]
        images = EncodedImages(self.files, native=input, names=names)
        return images.read(np.arange(len(images)), input)


def read_rows(path: Path, *, image: tuple[str, ...] = ("img", "image")) -> ParquetRows:
    """Reads a file with a column of structs `{bytes, path}`, whose name is one of `image`, a column
    `label`, and the names of the classes in its metadata.

    Raises FileNotFoundError, and BenchError for damaged files, missing columns or images, and labels
    without a name.
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.compute as pc  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    again = "remove it and fetch it again"
    try:
        # A file object, since a path might be read as a folder or a pattern.
        with path.open("rb") as file:
            table = pq.read_table(file)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise BenchError(f"{path} cannot be read as Parquet ({first}); {again}") from error
    columns = [name for name in image if name in table.column_names]
    if not columns or "label" not in table.column_names:
        raise BenchError(
            f"{path} has the columns {', '.join(table.column_names) or 'none'}; it needs label, and "
            f"{' or '.join(image)}"
        )
    column, label = table.column(columns[0]), table.column("label")
    kind = column.type
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        raise BenchError(f"{path}: {columns[0]} is {kind}; it must be a struct of bytes and path")
    if not pa.types.is_integer(label.type) or label.null_count:
        raise BenchError(
            f"{path}: label is {label.type} with {label.null_count} missing; it must be an integer in "
            "each row"
        )
    files = pc.struct_field(column, "bytes").to_pylist()
    for row, data in enumerate(files):
        if not isinstance(data, bytes) or not data:
            raise BenchError(f"{path}, row {row}, has no image; {again}")
    classes = _classes(table.schema.metadata or {}, path)
    labels = label.to_numpy().astype(np.int64)
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise BenchError(
            f"{path}: labels are from {labels.min()} to {labels.max()}; there are {len(classes)} classes"
        )
    return ParquetRows(path.name, tuple(files), labels, classes)


def _classes(metadata: Mapping[bytes, bytes], path: Path) -> tuple[str, ...]:
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = features["label"]["names"]
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return tuple(names)
    except (KeyError, TypeError, ValueError):
        pass
    raise BenchError(
        f"{path} does not name its classes; it needs features.label.names in the metadata, as Hugging "
        "Face's library writes it"
    )
