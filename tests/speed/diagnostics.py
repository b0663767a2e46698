"""Seconds of every diagnostic of one encoder on Fashion-MNIST, beside a pass over its training images.

The features are there already, as after any other row of the encoder; the head is a ridge probe. Aim: all
diagnostics together under 60 s on two cores.

Run: python tests/speed/diagnostics.py [--threads N] [--encoder SPEC] [--runs N]; REPTRANSFER_DATA names
the folder of the images.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.data.samples import Meta
from bench.datasets.base import DataSets, data_root
from bench.naming import registry
from bench.naming.specs import resolve
from bench.running.cache import Cache, cache_root
from bench.running.features import encode_images
from bench.running.inputs import Inputs, fitted_encoder
from bench.running.workspace import Workspace
from bench.tasks import files as taskfiles
from bench.tasks.cell import Cell
from bench.tasks.grants import grant, task_targets
from bench.tasks.task import Coords


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--encoder", default="autoencoder")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    task = taskfiles.load("fashion_mnist-diagnostics")
    workspace = Workspace(DataSets(data_root(None)), cache=Cache(cache_root(None)))
    cell = Cell(task, resolve("encoders", arguments.encoder))
    dataset = workspace.dataset(task.dataset)
    targets = task_targets(task, dataset.meta)
    granted = grant(task, targets, dataset.split("train"), dataset.split("val"), Coords())
    fitted = fitted_encoder(cell, workspace, granted, seed=0)
    inputs = Inputs(cell, workspace, fitted)
    train, val = inputs.samples(granted)
    spec = task.resolved_protocol
    probe = registry.load(spec.entry).build(
        meta=Meta(targets), trunk=inputs.trunk(), seed=0, **spec.arguments
    )
    probe.fit(train, val)
    context = inputs.context(Meta(targets), probe.head(), 0)
    seconds: dict[str, list[float]] = {"a pass over the training images": []}
    for _ in range(arguments.runs):
        start = time.perf_counter()
        encode_images(fitted.encoder, context.training.x, name="training images")
        seconds["a pass over the training images"].append(time.perf_counter() - start)
        for name in task.diagnostics:
            start = time.perf_counter()
            registry.load(registry.find("diagnostics", name)).diagnose(context)
            seconds.setdefault(name, []).append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in medians.items():
        print(f"{name:<34} {values:7.2f} s")
    total = sum(medians[name] for name in task.diagnostics)
    print(
        f"{'all diagnostics':<34} {total:7.2f} s; {arguments.threads} threads, {arguments.encoder}"
    )


if __name__ == "__main__":
    main()
