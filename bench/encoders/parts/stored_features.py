"""Files with features of the splits of a data set, tied to its images by its fingerprint."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from bench.data.images import Delivery, Input
from bench.data.samples import SPLITS, Array, DataSet, SplitName
from bench.encoders.base import Encoder
from bench.errors import BenchError, Declined
from bench.files.writing import write_atomically
from bench.progress import progress

SCHEMA = "reptransfer.features/1"
MOST_FEATURES = 2**20  # of one image


@dataclass(frozen=True, slots=True)
class FeatureFile:
    """Features of one data set; dim: their number."""

    path: Path
    fingerprint: str
    dim: int

    @property
    def name(self) -> str:
        return self.path.stem

    def read(self, split: str, rows: int) -> Array:
        """Features (rows, dim), float32. Raises BenchError where the file has others."""
        with safe_open(self.path, "pt") as file:
            features: Array = file.get_tensor(split).float().numpy()
        if features.shape != (rows, self.dim):
            raise BenchError(
                f"{self.path}: {split} is {features.shape}; features ({rows}, {self.dim}) are needed"
            )
        return features


class StoredFeatures(Encoder):
    """Features (n, d) of whole splits, from files: it encodes no image that is not in them."""

    seeded = False
    differentiable = False
    parameter_count = 0

    def __init__(self, files: Mapping[str, FeatureFile]) -> None:
        super().__init__()
        self.files = files
        self.input = Input(size=(1, 1), channels=1)  # no image is read
        self.dims = {"output": next(iter(files.values())).dim}

    def taps(self, images: Tensor) -> dict[str, Tensor]:
        raise Declined("the features of this encoder lie in files; it cannot encode other images")

    def of(self, dataset: DataSet, split: SplitName) -> dict[str, Array]:
        """Features (n, d), float32, of a split. Raises Declined for a data set without a file, BenchError
        for features of other images."""
        file = self.files.get(dataset.fingerprint)
        if file is None:
            names = ", ".join(sorted(f.name for f in self.files.values()))
            raise Declined(f"no features of these images; there are those of {names}")
        return {"output": file.read(split, len(dataset.split(split)))}


def feature_files(folder: Path) -> dict[str, FeatureFile]:
    """The files of a folder by the fingerprints of their data sets. Raises BenchError for none, for one
    of another form, and for files that differ in the number of features."""
    if not folder.is_dir():
        raise BenchError(f"no folder {str(folder)!r}; path= needs one with NAME.safetensors")
    files = [_opened(path) for path in sorted(folder.glob("*.safetensors"))]
    if not files:
        raise BenchError(f"{folder} has no NAME.safetensors; bench.write_features writes them")
    if len(dims := {file.dim for file in files}) > 1:
        raise BenchError(f"{folder}: files with {sorted(dims)} features; all must have as many")
    by_fingerprint = {file.fingerprint: file for file in files}
    if len(by_fingerprint) < len(files):
        raise BenchError(f"{folder}: two files are of one data set; remove one")
    return by_fingerprint


def _opened(path: Path) -> FeatureFile:
    if path.is_symlink() or not path.is_file():
        raise BenchError(f"{path} is not a regular file")
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 it is no dict
            types = {name: file.get_slice(name).get_dtype() for name in shapes}
    except (SafetensorError, OSError, ValueError) as error:
        raise BenchError(f"{path} is no safetensors file: {error}") from error
    if facts.get("schema") != SCHEMA or not re.fullmatch(
        "[0-9a-f]{32}", facts.get("fingerprint", "")
    ):
        raise BenchError(f"{path} has no schema {SCHEMA} and fingerprint; use bench.write_features")
    if set(shapes) != set(SPLITS):
        raise BenchError(f"{path} has {sorted(shapes)}; tensors {', '.join(SPLITS)} are needed")
    if not set(types.values()) <= {"F16", "BF16", "F32"}:
        raise BenchError(
            f"{path} has types {sorted(set(types.values()))}; F16, BF16 or F32 are needed"
        )
    sizes = {tuple(shape[1:]) for shape in shapes.values()}
    if len(sizes) != 1 or len(size := sizes.pop()) != 1 or not 0 < size[0] <= MOST_FEATURES:
        raise BenchError(f"{path} has shapes {list(shapes.values())}; (n, d) with one d are needed")
    return FeatureFile(path, facts["fingerprint"], int(size[0]))


def write_features(
    encode: Callable[[Tensor], object], dataset: DataSet, path: Path, input: Input, batch: int
) -> Path:
    """Write the features of a data set to a file, as `bench.write_features` says."""
    arrays: dict[str, Array] = {
        split: _encoded(encode, dataset, split, input, batch) for split in SPLITS
    }
    facts = {"schema": SCHEMA, "fingerprint": dataset.fingerprint}
    write_atomically(path, save(arrays, facts))
    return path


def _encoded(
    encode: Callable[[Tensor], object], dataset: DataSet, split: SplitName, input: Input, batch: int
) -> Array:
    images = dataset.split(split).x
    if isinstance(images, np.ndarray | Delivery):
        raise BenchError("the data set holds features, not images")
    parts: list[Array] = []
    delivery = Delivery(images, input)
    with torch.no_grad(), progress(f"encoding {split} images", len(delivery), "images") as counted:
        for chunk in delivery.batches(batch):
            features = np.asarray(encode(chunk), dtype=np.float32)
            if features.ndim != 2 or len(features) != len(chunk) or not features.size:
                raise BenchError(
                    f"features of {len(chunk)} images are {features.shape}; (n, d) is needed"
                )
            if not np.isfinite(features).all():
                raise BenchError(f"features of {split} images hold NaN or infinity")
            parts.append(features)
            counted.update(len(chunk))
    return np.concatenate(parts)
