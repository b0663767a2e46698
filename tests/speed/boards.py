"""What a board costs: `python tests/speed/boards.py [--encoders 30 100 300] [--tasks 100]`.

Made-up records (seeded) of encoders with three training seeds on tasks of 1,000 test rows, in a temporary
folder with a cache of its own. Whole processes: the board of all records with an empty cache, again with
what was kept, after one new record, checked again; and the page. Memory is the peak of the process. The
last lines give the exponents of the growth of processor time: at most 2 in encoders, since all pairs are
compared, and 1 in tasks.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.data.samples import Meta, Target
from bench.digests import arrays_digest, digest
from bench.report.text import table
from bench.results.archive import packed
from bench.results.layout import to_json
from bench.results.own_tasks import SCHEMA as TASK_SCHEMA
from bench.results.own_tasks import OwnTask
from bench.results.predictions import pack
from bench.results.record import (
    DataIdentity,
    EncoderIdentity,
    Record,
    Replicate,
    StoredPredictions,
    TrainingReport,
)
from bench.results.status import KnownIdentities
from bench.results.store import ENCODING, TASKS, _text
from bench.scoring.scorer import Scorer
from bench.tasks.files import load
from bench.tasks.task import Coords, Task

ROWS, CLASSES, SEEDS, OWNER = 1000, 10, 3, "made-up"
DATASET = "image_folder,path=made-up"
DATA = DataIdentity(
    id=DATASET,
    version=1,
    digest=digest("made-up images"),
    rows={"train": 8000, "val": 1000, "test": ROWS},
    test_in_train=0,
)
TARGETS = {"label": Target("classes", CLASSES, tuple(f"class {k}" for k in range(CLASSES)))}


def made_up_task(number: int) -> Task:
    return replace(
        load("digits-linear"),
        name=f"made-up-{number:03d}",
        title=f"Made up, {number}",
        dataset=DATASET,
        chance=1 / CLASSES,
        version=1,
    )


def write_task(root: Path, task: Task) -> None:
    import json

    own = OwnTask(task=task, data=DATA, classes={"label": TARGETS["label"].names}, files=None)
    path = root / TASKS / f"{task.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": TASK_SCHEMA, **to_json(own)}))


def made_up_record(number: int, task: Task) -> tuple[Record, bytes]:
    """An encoder's record on a task, and the bytes of its predictions; encoders differ in how often the
    true class wins."""
    rng = np.random.default_rng([number, 0])
    truth = np.random.default_rng(0).integers(CLASSES, size=ROWS)
    scorer = Scorer(task, TARGETS, {"label": truth}, before=lambda: None)
    replicates, strength = [], 1.0 + 2.0 * rng.random()
    for seed in range(SEEDS):
        logits = rng.normal(size=(ROWS, CLASSES))
        logits[np.arange(ROWS), truth] += strength + 0.05 * rng.random()
        log_probability = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        scores = scorer.score(
            seed, Meta(TARGETS), "log_probability", {"label": log_probability}, {}
        )
        at = Coords(encoder_seed=seed, head_seed=seed)
        replicates.append(
            Replicate(coords=at, status="ok", n_train=8000, scores=scores, report={"c": 1.0})
        )
    identities = KnownIdentities().of(task, "pixels", DATA)
    training = [
        TrainingReport(
            key=f"{number}-{k}", images_seen=8000, steps=80, terms={}, notes={}, images=8000
        )
        for k in range(SEEDS)
    ]
    record = Record(
        owner=OWNER,
        encoder=EncoderIdentity(
            id=f"encoder-{number:03d}",
            version=1,
            digest=digest(["made-up", number]),
            group="other",
            read_out="code",
            dim=64,
            parameters=1000 * (number + 1),
            pretrained_on=(),
            seeded=True,
        ),
        task=identities.task,
        data=identities.data,
        protocol=identities.protocol,
        status="ok",
        supervision="none",
        replicates=tuple(replicates),
        primary=scorer.primary(replicates),
        training=tuple(training),
        measured={"seconds": {"total": 1.0 + number}, "seeds": SEEDS},
        predictions=StoredPredictions(
            kinds={"label": ("classes", CLASSES)},
            file=f"{task.name}.npz",
            digest=arrays_digest(scorer.arrays),
            encoding=ENCODING,
        ),
    )
    return record, packed(pack(scorer.arrays))


def write_records(root: Path, encoders: Sequence[int], tasks: Sequence[Task]) -> None:
    """Each encoder has the same predictions on all tasks: what they cost to read and score is as for
    others, and they are made once."""
    known = KnownIdentities()
    identities = {task.name: known.of(task, "pixels", DATA) for task in tasks}
    for number in encoders:
        record, predictions = made_up_record(number, tasks[0])
        folder = root / OWNER / record.encoder.id
        folder.mkdir(parents=True, exist_ok=True)
        for task in tasks:
            current = identities[task.name]
            stored = replace(record.predictions, file=f"{task.name}.npz")
            copy = replace(record, task=current.task, protocol=current.protocol, predictions=stored)
            (folder / f"{task.name}.npz").write_bytes(predictions)
            (folder / f"{task.name}.json").write_text(_text(copy))


def cost(command: Sequence[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak MiB of a process that must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}")
    seconds = time.perf_counter() - start
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def costs(encoders: int, tasks: int, *, page: bool) -> dict[str, tuple[float, float, float]]:
    """By what is made."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "results"
        made = [made_up_task(number) for number in range(tasks)]
        for task in made:
            write_task(root, task)
        write_records(root, range(encoders), made)
        last = root / OWNER / f"encoder-{encoders - 1:03d}" / f"{made[-1].name}.json"
        aside = Path(folder) / "aside"
        aside.mkdir()
        for path in (last, last.with_suffix(".npz")):
            shutil.move(path, aside)
        environment = {**os.environ, "REPTRANSFER_CACHE": str(Path(folder) / "cache")}
        python = (sys.executable, "-m", "bench")
        board = (*python, "leaderboard", "--results", str(root))
        found = {"board, nothing kept": cost(board, environment)}
        found["board, all kept"] = cost(board, environment)
        for path in aside.iterdir():
            shutil.move(path, last.parent)
        found["board, one new record"] = cost(board, environment)
        found["check"] = cost((*board, "--check"), environment)
        found["check again"] = cost((*board, "--check"), environment)
        if page:
            found["page after the board"] = cost(
                (*python, "page", "--results", str(root)), environment
            )
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoders", type=int, nargs="+", default=[30, 100, 300])
    parser.add_argument("--tasks", type=int, nargs="+", default=[100])
    parser.add_argument("--no-page", action="store_true")
    arguments = parser.parse_args()
    found = {
        (encoders, tasks): costs(encoders, tasks, page=not arguments.no_page)
        for tasks in arguments.tasks
        for encoders in arguments.encoders
    }
    lines = [
        [
            str(encoders),
            str(tasks),
            what,
            *(f"{value:.1f}" for value in values[:2]),
            f"{values[2]:.0f}",
        ]
        for (encoders, tasks), by_what in found.items()
        for what, values in by_what.items()
    ]
    print(table(["encoders", "tasks", "what", "s", "processor s", "peak MiB"], lines))
    for axis, name in enumerate(("encoders", "tasks")):
        for one, two in pairwise(sorted(found, key=lambda size: (size[1 - axis], size[axis]))):
            if one[1 - axis] == two[1 - axis]:
                sizes = math.log(two[axis] / one[axis])
                growth = "; ".join(
                    f"{what} {math.log(found[two][what][1] / found[one][what][1]) / sizes:.2f}"
                    for what in found[one]
                )
                print(f"exponent from {one[axis]} to {two[axis]} {name}: {growth}")


if __name__ == "__main__":
    main()
