"""reptransfer: how good is this representation, and for what?

All names that an encoder, protocol, data set, diagnostic or task of your own needs. Importing this
imports no PyTorch: each name is fetched when it is first used, from the module that the imports below
name. The registry reads them too, to find the REVISIONs that a file depends on.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import evaluate, write_features
    from bench.data.images import ArrayImages, Delivery, EncodedImages, Images, Input
    from bench.data.samples import DataSet, Meta, Samples, SourceInfo, Target, check_labels
    from bench.data.semantics import Semantics, balanced_splits, read_semantics, write_semantics
    from bench.datasets.base import (
        SplitDataSet,
        absent,
        fingerprint_of,
        share_of_train,
        stratified_rows,
        take_split,
    )
    from bench.diagnostics.base import Context, first_images
    from bench.encoders.base import Encoder, FitReport
    from bench.errors import BenchError, Declined
    from bench.protocols.base import (
        Job,
        Selects,
        Sweeps,
        TransferProtocol,
        TrunkFactory,
        features_of,
    )
    from bench.results.frames import Results, load_results
    from bench.results.record import Record
    from bench.results.wrong_images import wrong_images
    from bench.scoring.comparison import compare
    from bench.seeding import generator, minibatches, seeded, stream, torch_generator
    from bench.tasks.task import Primary, Replicates, Task

__all__ = [
    "ArrayImages",
    "BenchError",
    "Context",
    "DataSet",
    "Declined",
    "Delivery",
    "EncodedImages",
    "Encoder",
    "FitReport",
    "Images",
    "Input",
    "Job",
    "Meta",
    "Primary",
    "Record",
    "Replicates",
    "Results",
    "Samples",
    "Selects",
    "Semantics",
    "SourceInfo",
    "SplitDataSet",
    "Sweeps",
    "Target",
    "Task",
    "TransferProtocol",
    "TrunkFactory",
    "absent",
    "balanced_splits",
    "check_labels",
    "compare",
    "evaluate",
    "features_of",
    "fingerprint_of",
    "first_images",
    "generator",
    "load_results",
    "minibatches",
    "read_semantics",
    "seeded",
    "share_of_train",
    "stratified_rows",
    "stream",
    "take_split",
    "torch_generator",
    "write_features",
    "write_semantics",
    "wrong_images",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    from bench.naming.registry import public_modules

    return getattr(importlib.import_module(public_modules()[f"bench.{name}"]), name)


def __dir__() -> list[str]:
    return __all__
