"""An encoder as data: a network in ONNX, or the features of data sets, which anybody can use without its
code. It is fitted once, with seed 0, and its one level that is read out is what enters.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import DataSet, SourceInfo
from bench.datasets.base import DataSets
from bench.digests import digest, file_digest
from bench.encoders.base import Encoder
from bench.encoders.parts.stored_features import write_features
from bench.errors import BenchError, Declined
from bench.files.reading import read_json
from bench.files.writing import write_atomically
from bench.naming.grammar import escape
from bench.naming.specs import Resolved, resolve
from bench.progress import Tell, progress
from bench.running.backends import disagreement, level_tensor, one_line
from bench.running.cache import Cache
from bench.running.features import check_rows_independent, images_of, source_info
from bench.running.machine import chosen_device
from bench.running.onnx_graphs import exported_for_others
from bench.running.rules import check_readable
from bench.running.workspace import Fitted, TrainingData, Workspace, fresh
from bench.seeding import generator, standard_settings
from bench.tasks.task import Task

Form = Literal["onnx", "features"]
SEED = 0  # of the one network that enters
_FIRST_IMAGES = 32  # of those that an export is checked on; as many of noise follow
_BATCH = 256
_MOST_NOTE = 2**20  # bytes


@dataclass(frozen=True, slots=True)
class Export:
    """The spec that stands for an encoder, and the data sets that it was trained on with labels and
    without them, as far as that is known."""

    spec: str
    with_labels: tuple[str, ...]
    without_labels: tuple[str, ...]


def learns(spec: Resolved) -> bool:
    """Does an encoder, or one within it, learn from images?"""
    trained = spec.entry.training != "none" and spec.budget != 0
    return trained or any(map(learns, spec.depends.values()))


def has_code(spec: Resolved) -> bool:
    """Does it need a Python file of its user's, or images of theirs to learn from?"""
    own_images = spec.training_data is not None and bool(spec.training_data.paths)
    return spec.entry.group == "local" or own_images or any(map(has_code, spec.depends.values()))


def check_exportable(spec: Resolved, form: Form) -> None:
    """Raise BenchError, before any work, where an encoder cannot be exported."""
    if spec.entry.name in ("onnx", "features"):
        raise BenchError(f"{spec.text} is data already; leave out --as {form}")
    if learns(spec) and spec.source is None:
        raise BenchError(
            f"{spec.text} learns, and enters as one network: name what it is trained on, as in "
            f"{spec.entry.name}{'.py' if spec.entry.content else ''}@fashion_mnist"
        )
    if form == "onnx":
        for package in ("onnx", "onnxruntime", "onnxscript"):
            if importlib.util.find_spec(package) is None:
                raise BenchError(f"{package} is not installed: pip install 'reptransfer[fast]'")


def export(
    spec: Resolved,
    form: Form,
    tasks: Sequence[Task],
    datasets: DataSets,
    *,
    folder: Path,
    cache: Cache | None,
    with_labels: Sequence[str] = (),
    without_labels: Sequence[str] = (),
    tell: Tell,
) -> Export:
    """The encoder's default level, or that of its spec, as a file or folder in `folder`. What is there
    already, and is of the same fitted encoder, stays. `with_labels`, `without_labels`: data sets that it
    was trained on as its author says, who alone knows of given weights.

    Raises BenchError for data that are missing, and where the export fails or gives other features.
    """
    with standard_settings(), _told(spec):
        fitted, dataset = _fitted(spec, tasks, datasets, cache)
        encoder, level = fitted.encoder.to("cpu").eval(), spec.level or fitted.encoder.level
        if learns(spec) or encoder.seeded:
            tell(f"{spec.text} enters as one network, that of seed {SEED}")
        sources = (spec.source,) if spec.source is not None and learns(spec) else ()
        supervised = sources if fitted.supervised else ()
        declared = {*with_labels, *without_labels}
        given = [name for name in fitted.pretrained_on if name not in declared]
        labelled = [*with_labels, *(n for n in given if n not in fitted.unlabelled), *supervised]
        further = [*without_labels, *(n for n in given if n in fitted.unlabelled), *sources]
        unlabelled = [name for name in further if name not in labelled]
        name, key = plain_name(spec.text), digest([fitted.key, level, form])
        if form == "onnx":
            path = _as_onnx(encoder, level, folder / f"{name}.onnx", key, dataset, tell)
        else:
            path = _as_features(encoder, level, folder / name, key, tasks, datasets, tell)
    result = Export("", tuple(dict.fromkeys(labelled)), tuple(dict.fromkeys(unlabelled)))
    return replace(result, spec=_spec(form, path, encoder, result))


@contextmanager
def _told(spec: Resolved) -> Iterator[None]:
    """What fails in code of the user's own is one line."""
    try:
        yield
    except (BenchError, KeyboardInterrupt):
        raise
    except (Exception, SystemExit) as error:
        file = f"; `reptransfer check {spec.entry.path}` says where" if spec.entry.content else ""
        raise BenchError(f"{spec.text} fails: {one_line(error)}{file}") from error


def training_arguments(
    with_labels: Sequence[str], without_labels: Sequence[str]
) -> list[tuple[str, str]]:
    """The arguments of `onnx` and `features` that name the data sets of the training."""
    named = {"pretrained_on": with_labels, "unlabelled": without_labels}
    return [(argument, "+".join(names)) for argument, names in named.items() if names]


def _spec(form: Form, path: Path, encoder: Encoder, trained: Export | None = None) -> str:
    """The spec of what lies in `path`, which gets the same pixels as the encoder."""
    arguments = {"path": str(path)}
    if form == "onnx" and encoder.input.interpolation != "bicubic":
        arguments["interpolation"] = encoder.input.interpolation
    if form == "onnx" and encoder.input.crop != 1.0:
        arguments["crop"] = repr(encoder.input.crop)
    if trained is not None:
        arguments |= training_arguments(trained.with_labels, trained.without_labels)
    return ",".join([form, *(f"{key}={escape(value)}" for key, value in arguments.items())])


def plain_name(spec: str) -> str:
    """A file's name that says which encoder it is of: its spec, with dashes for other signs.

    >>> plain_name("net,width=8@fashion_mnist~60k")
    'net-width-8-fashion_mnist-60k'
    """
    return re.sub(r"[^A-Za-z0-9_.+]+", "-", re.sub("%[0-9A-F]{2}", "-", spec)).strip("-.+")[:80]


def _fitted(
    spec: Resolved, tasks: Sequence[Task], datasets: DataSets, cache: Cache | None
) -> tuple[Fitted, DataSet]:
    """The encoder fitted on its source, with a data set of images; one without a source is built for the
    first data set that is here."""
    if spec.training_data is not None:
        name, dataset = spec.training_data.text, datasets(spec.training_data.full_text)
    else:
        name, dataset = _first_present([task.dataset for task in tasks], datasets)
    check_readable(spec, name, source_info(dataset))
    train = dataset.split("train")
    labels = {name: y.copy() for name, y in train.y.items()}
    workspace = Workspace(datasets, cache=cache, device=chosen_device(None))
    with progress(f"fitting {spec.text}" if learns(spec) else f"building {spec.text}"):
        data = TrainingData.of(dataset, train.rows, labels)
        return workspace.fitted(spec, data, seed=SEED), dataset


def _first_present(names: Sequence[str], datasets: DataSets) -> tuple[str, DataSet]:
    reasons = list[str]()
    for name in dict.fromkeys(names):
        try:
            return name, datasets(name)
        except Declined as error:
            reasons.append(str(error))
    raise BenchError(f"no data set of these tasks is here: {reasons[0]}")


class _Level(nn.Module):
    """One level of an encoder's features, float32, of images in [0, 1]."""

    def __init__(self, encoder: Encoder, level: str) -> None:
        super().__init__()
        self.encoder, self.level = encoder, level
        self.training = False  # else the exporter would leave the encoder in training mode

    def forward(self, images: Tensor) -> Tensor:
        return level_tensor(self.encoder.taps(images), self.level).float()


def _as_onnx(
    encoder: Encoder, level: str, path: Path, key: str, dataset: DataSet, tell: Tell
) -> Path:
    """The network in a file, whose features are those of the encoder."""
    module, sample = _Level(encoder, level), _sample(encoder, dataset)
    with torch.no_grad():
        truth = {"output": module(sample)}
    different = partial(_difference, path, encoder, source_info(dataset), sample, truth)
    if not _is_noted(path, key) or different():
        path.unlink(missing_ok=True)
        with progress("exporting"):
            try:
                content = exported_for_others(module, sample[:2])
            except Exception as error:
                raise _not_exported(f"its export fails: {one_line(error)}") from error
        write_atomically(path, content)
        if reason := different():
            path.unlink(missing_ok=True)
            raise _not_exported(f"its export {reason}")
        _note(path, key)
    tell(f"{path}: the network in {path.stat().st_size:,} bytes; its features agree with PyTorch's")
    return path


def _not_exported(reason: str) -> BenchError:
    return BenchError(f"no network in ONNX: {reason}; --as features enters its features alone")


def _sample(encoder: Encoder, dataset: DataSet) -> Tensor:
    """Training images, and noise, in the encoder's form."""
    images = Delivery(images_of(dataset.split("train")), encoder.input)
    check_rows_independent(encoder, images)
    rows = images.read(np.arange(min(_FIRST_IMAGES, len(images))))
    noise = generator(SEED, "noise").random((_FIRST_IMAGES, *rows.shape[1:]), np.float32)
    return torch.cat([rows, torch.from_numpy(noise)])


def _difference(
    path: Path, encoder: Encoder, info: SourceInfo, sample: Tensor, truth: Mapping[str, Tensor]
) -> str:
    """What is wrong with the network in a file, run as others run it; "" if nothing is."""
    try:
        network = fresh(resolve("encoders", _spec("onnx", path, encoder)), info, SEED, {})
    except BenchError as error:
        return f"cannot be run: {error}"
    if network.input != encoder.input:
        return f"takes {network.input}, and the encoder {encoder.input}"
    return disagreement(network.taps, sample, truth)


def _as_features(
    encoder: Encoder,
    level: str,
    folder: Path,
    key: str,
    tasks: Sequence[Task],
    datasets: DataSets,
    tell: Tell,
) -> Path:
    """A folder with the features of the tasks' data sets that are here."""
    if folder.exists() and not _is_noted(folder, key):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    module = _Level(encoder, level)
    encode: Callable[[Tensor], Any] = partial(_numpy, module)
    for name in dict.fromkeys(task.dataset for task in tasks):
        path = folder / f"{plain_name(name)}.safetensors"
        if path.exists():
            continue
        with suppress(Declined):  # the cell says that the data are missing
            dataset = datasets(name)
            check_rows_independent(
                encoder, Delivery(images_of(dataset.split("train")), encoder.input)
            )
            write_features(encode, dataset, path, encoder.input, _BATCH)
            _note(folder, key)
            tell(f"{path}: its features of {name}")
    return folder


def _numpy(module: nn.Module, images: Tensor) -> Any:
    with torch.no_grad():
        return module(images).numpy()


# --- Which fitted encoder a file or folder is of: exporting again gives other bytes, and costs minutes


def _note_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.json")


def _note(path: Path, key: str) -> None:
    value = {"encoder": key, "content": file_digest(path)}
    write_atomically(_note_path(path), (json.dumps(value) + "\n").encode())


def _is_noted(path: Path, key: str) -> bool:
    if not os.path.exists(path):
        return False
    try:
        value = read_json(_note_path(path), most=_MOST_NOTE)
    except BenchError:
        return False
    return bool(value == {"encoder": key, "content": file_digest(path)})
