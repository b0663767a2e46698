"""What a page carries, made up: scores of any number of encoders on any number of tasks."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from bench.report.page.build import html
from bench.report.page.plain import PlainTable
from bench.report.page.ties import freedom_codes, packed, se_codes, steps

FAMILIES = {"probe": "Frozen: probes and neighbours", "few_labels": "Few labels"}
FIGURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
)
PICTURE = "data:image/gif;base64," + base64.b64encode(b"GIF89a").decode()


def made_contents(
    *, encoders: int = 12, tasks: int = 6, seed: int = 0, text: str = ""
) -> dict[str, Any]:
    """The first third of the tasks makes the overall ranking; of the cells of the others one in ten is
    missing and one in ten has no rank. `text` is added to all strings that a record may bring."""
    random = np.random.default_rng(seed)
    skill = random.normal(0.6, 0.1, encoders)
    overall = max(1, tasks // 3)
    cells, ranked = list[list[Any]](), list[list[int]]()
    for task in range(tasks):
        values = (skill + random.normal(0, 0.03, encoders)).clip(0.1, 0.99)
        draw = random.random(encoders) if task >= overall else np.ones(encoders)
        ranked.append(np.flatnonzero(draw > 0.2).tolist())
        for encoder in np.flatnonzero(draw > 0.1).tolist():
            value, half = float(values[encoder]), float(random.uniform(0.005, 0.03))
            has_rank = encoder in ranked[-1]
            ends = [round(value, 6), round(value - half, 6), round(value + half, 6)]
            ranks = [1, len(ranked[-1])] if has_rank else [None, None]
            reason = "" if has_rank else f"fewer than 3 training seeds{text}"
            cells.append([encoder, task, *ends, *ranks, reason, 12.5, "none", "consistent"])
    counts = [len(r) * (len(r) - 1) // 2 for r in ranked]
    errors = [se_codes(random.choice([0.004, 0.01, 0.03], n)) for n in counts]
    freedoms = [freedom_codes(random.choice([7.0, 60.0, 1e6], n)) for n in counts]
    names = [f"encoder_{i}{text}" for i in range(encoders)]
    labels = ("1", "10", "all")
    return {
        "families": [{"name": n, "title": f"{t}{text}"} for n, t in FAMILIES.items()],
        "encoders": [_encoder(i, name, text) for i, name in enumerate(names)],
        "tasks": [_task(i, overall, text) for i in range(tasks)],
        "cells": cells,
        "absent": [[f"encoder_0{text}", f"task_0{text}", f"declined: no data{text}"]],
        "pairs": packed(errors, freedoms),
        **steps(),
        "answers": [
            {"question": f"Which is best?{text}", "text": f"`task_0`: **{names[0]}**", "page": "probe"},
            {"question": "Do few labels change it?", "text": "no", "page": "few_labels"},
        ],
        "curves": [
            {
                "task": tasks - 1,
                "encoder": encoder,
                "kind": "few_labels",
                "points": [
                    [f"{x}{text}", None, 0.3 + i / 9, 0.2 + i / 9, 0.4 + i / 9]
                    for i, x in enumerate(labels)
                ],
            }
            for encoder in range(min(3, encoders))
        ],
        "gains": [{"task": 0, "encoder": 0, "value": -0.01, "low": -0.02, "high": 0.01}],
        "diagnostics": [{"encoder": 0, "task": 0, "of": f"rank{text}", "values": {f"m{text}": 3.25}}],
        "pictures": [{"encoder": 0, "path": "a.png", "file": PICTURE}],
        "studies": [
            {
                "name": f"tuning{text}",
                "summary": f"Which setting?{text}",
                "text": [f"A paragraph.{text}"],
                "figures": [{"file": f"a.svg{text}", "svg": FIGURE}],
            }
        ],
        "exact": [[i, 1, encoders, 1] for i in range(encoders)],
    }  # fmt: skip


def _encoder(index: int, name: str, text: str) -> dict[str, Any]:
    return {
        "name": name,
        "owner": f"owner{text}" if index % 4 == 0 else "reptransfer",
        "spec": f"encoder_{index}{text}" + (",level=code" if index % 5 == 4 else ""),
        "control": index % 3 == 0,
        "group": f"group{text}",
        "parameters": 1000 * index or None,
        "features": 64 + index,
        "pretrained": index % 6 == 5,
        "trained": index % 2 == 0,
        "seconds": 100.0 + index,
    }


def _task(index: int, overall: int, text: str) -> dict[str, Any]:
    families = list(FAMILIES)
    return {
        "name": f"task_{index}{text}",
        "title": f"Task {index}{text}",
        "family": families[index % len(families)],
        "dataset": f"data_{index % 3}{text}",
        "images": index % 3,
        "metric": "accuracy",
        "scale": 100,
        "sign": 1,
        "chance": 0.1,
        "ceiling": 1.0,
        "unit": 0.9,
        "rows": 10_000,
        "by": "rows",
        "overall": index < overall,
        "baseline": "pixels" if index == 0 else None,
    }


def made_page(**options: Any) -> str:
    """The page of `made_contents(**options)`, with one table for readers without JavaScript."""
    contents = made_contents(**options)
    text = options.get("text", "")
    table = PlainTable(f"Overall{text}", "Mean", ["encoder", "score"], [[f"pixels{text}", "1"]])
    return html(contents, [table])
