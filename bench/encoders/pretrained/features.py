"""Features that were computed elsewhere, of the images of named data sets (path=FOLDER)."""

from __future__ import annotations

from pathlib import Path

from bench.data.samples import SourceInfo
from bench.encoders.parts.arguments import training_data
from bench.encoders.parts.stored_features import StoredFeatures, feature_files

REVISION = 1
TRAINING = "none"
TAKES = "files"


def build(
    *, source: SourceInfo, path: Path, pretrained_on: str = "", unlabelled: str = ""
) -> StoredFeatures:
    """The features in a folder `path` of files NAME.safetensors, one a data set, as
    `bench.write_features` writes them: tensors train, val and test (n, d), and in the metadata the data
    set's fingerprint. `pretrained_on` names what their network was trained on with labels, as in
    `imagenet-1k+coco`, `unlabelled` what it was trained on without.

    Raises BenchError for a folder without such files, and for files that differ in d.
    """
    encoder = StoredFeatures(feature_files(Path(path)))
    encoder.pretrained_on, encoder.unlabelled = training_data(pretrained_on, unlabelled)
    return encoder
