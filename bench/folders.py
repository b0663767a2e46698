"""Tasks on a user's own images: the linear probe and neighbours, on a data set that is a folder."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from bench.datasets.base import DataSets
from bench.specs import escape, resolve
from bench.task import Primary, Task

__all__ = ["folder_tasks"]


def folder_tasks(folder: Path, datasets: DataSets) -> list[Task]:
    """The tasks NAME-linear and NAME-knn on `image_folder,path=FOLDER`, of which NAME is the name.

    Chance is the largest class's share of the test images. Raises BenchError for a folder that is
    no data set.
    """
    path = folder.expanduser().resolve()
    spec = resolve("datasets", f"image_folder,path={escape(str(path))}").text
    labels = datasets(spec).split("test").y["label"]
    chance = float(np.bincount(labels).max() / len(labels))
    name = re.sub(r"[^A-Za-z0-9_]+", "_", path.name).strip("_") or "images"
    return [
        Task(
            name=f"{name}-{protocol}",
            title=f"{path.name}, {title}",
            family="probe",
            dataset=spec,
            targets=("label",),
            protocol=protocol,
            chance=chance,
            primary=Primary(metric="accuracy", target="label"),
        )
        for protocol, title in (("linear", "linear probe"), ("knn", "nearest neighbours"))
    ]
