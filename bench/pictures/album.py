"""Files with the pictures of an encoder that is fitted as a run fits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from bench.data.samples import Meta
from bench.datasets.base import DataSets
from bench.drawing.sheet import Section, page
from bench.errors import BenchError, Declined
from bench.files.writing import write_atomically
from bench.naming import registry
from bench.naming.specs import resolve
from bench.pictures.views import LIMIT, pictures
from bench.protocols.parts.tuning import pick_rows
from bench.results.store import SHEET, Store
from bench.running.cache import Cache
from bench.running.features import source_info
from bench.running.inputs import Inputs, fitted_encoder
from bench.running.rules import check_allowed
from bench.running.workspace import Workspace
from bench.tasks import files as taskfiles
from bench.tasks.cell import Cell
from bench.tasks.grants import Grant, grant, task_targets
from bench.tasks.task import Coords, Task

HEAD_ROWS = 5_000  # training rows of the linear head that is attacked


@dataclass(frozen=True, slots=True, eq=False)
class Album:
    """The pictures of one encoder on one data set; `sections` by name."""

    owner: str
    spec: str
    dataset: str
    sections: Mapping[str, Section]

    def sheet(self) -> bytes:
        """All pictures on one page, a PNG of at most 300 kB."""
        title = f"{self.spec} on {self.dataset}"
        first, *others = self.sections.values()
        named = Section(f"{title}: {first.heading}", first.rows, first.scale)
        return page([named, *others], most_bytes=LIMIT)


def draw_album(
    text: str, *, on: str | None, datasets: DataSets, cache: Cache | None, device: str = "cpu"
) -> Album:
    """The pictures of the encoder with this spec, fitted with seed 0 as for the linear probe on the data
    set `on` (None: Fashion-MNIST if it can be read, else scikit-learn's digits).

    Raises BenchError for unknown names, data without images, and an encoder without pictures.
    """
    spec = resolve("encoders", text)
    name = _default_dataset(datasets) if on is None else resolve("datasets", on).full_text
    workspace = Workspace(datasets, cache=cache, levels={spec.level}, device=device)
    try:
        dataset = workspace.dataset(name)
        task = _task(name, next(iter(dataset.meta.targets)))
        cell = Cell(task, spec)
        check_allowed(cell, source_info(dataset))
    except Declined as error:
        raise BenchError(f"no pictures of {spec.text} on {name}: {error}") from error
    targets = task_targets(task, dataset.meta)
    granted = grant(task, targets, dataset.split("train"), dataset.split("val"), Coords())
    inputs = Inputs(cell, workspace, fitted_encoder(cell, workspace, granted, seed=0))
    sections = pictures(inputs.context(Meta(targets), _head(inputs, granted), 0))
    return Album(cell.owner, spec.text, resolve("datasets", name).text, sections)


def _default_dataset(datasets: DataSets) -> str:
    """Fashion-MNIST if it can be read, else scikit-learn's digits."""
    try:
        datasets("fashion_mnist")
    except BenchError:
        return "digits"
    return "fashion_mnist"


def _task(dataset: str, target: str) -> Task:
    """The linear probe on a data set: the package's task where there is one, so that the encoder is the
    one on the board."""
    name = f"{dataset}-linear"
    if name in taskfiles.names():
        return taskfiles.load(name)
    return Task(
        name=name, family="probe", dataset=dataset, targets=(target,), protocol="linear", chance=0.0
    )


def _head(inputs: Inputs, granted: Grant) -> nn.Module | None:
    """A linear probe fitted on at most HEAD_ROWS rows; None where it cannot predict the targets."""
    spec = inputs.task.resolved_protocol
    train, val = inputs.samples(granted)
    probe = registry.load(spec.entry).build(
        meta=granted.meta, trunk=inputs.trunk(), seed=0, **spec.arguments
    )
    if any(target.kind not in probe.accepts for target in granted.meta.targets.values()):
        return None
    parts = [
        pick_rows(part, np.arange(min(HEAD_ROWS, len(part)))) for part in (train, val or train)
    ]
    head: nn.Module | None = probe.fit(*parts).head()
    return head


def save(album: Album, folder: Path) -> list[Path]:
    """Write each picture as FOLDER/NAME.png, and the contact sheet; their paths."""
    files = {f"{name}.png": page([section]) for name, section in album.sections.items()}
    files[SHEET] = album.sheet()
    for name, content in files.items():
        write_atomically(folder / name, content)
    return [folder / name for name in files]


def save_sheet(album: Album, results: Path) -> Path:
    """Write the contact sheet beside the encoder's records; its path."""
    path = Store(results).path(album.owner, album.spec, "pictures").with_suffix(".png")
    write_atomically(path, album.sheet())
    return path
