"""How long the commands take that compute nothing: `python tests/speed/commands.py`.

Whole processes, median of five: `list`; and on 200 copied records of digits, `leaderboard`, `compare`
and a second `run`. The least that any Python command costs is printed beside them.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECORDS = 200


def seconds(*command: str, repeat: int = 5) -> float:
    """Median wall time of a command that must succeed."""
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def copies(root: Path, count: int) -> None:
    """Records of 100 more encoders on two tasks: PCA of every dimension, with pca's predictions."""
    from dataclasses import replace

    from bench.naming.specs import resolve
    from bench.results.store import Store

    store = Store(root)
    for task in ("digits-knn", "digits-linear"):
        old = store.read(root / "reptransfer" / "pca" / f"{task}.json")
        arrays = store.predictions(old)
        for dim in range(1, count // 2 + 1):
            identity = resolve("encoders", f"pca,dim={dim}").identity
            store.write(replace(old, encoder=replace(old.encoder, **identity)), arrays)


def main() -> None:
    reptransfer = (sys.executable, "-m", "bench")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "runs"
        run = (*reptransfer, "run", "--results", str(root))
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        table = {
            "python -c pass": seconds(sys.executable, "-c", "pass"),
            "list encoders": seconds(*reptransfer, "list", "encoders"),
            "list tasks": seconds(*reptransfer, "list", "tasks"),
            "run, nothing to do": seconds(*run),
        }
        copies(root, RECORDS)
        table |= {
            f"leaderboard, {RECORDS} records": seconds(
                *reptransfer, "leaderboard", "--results", str(root)
            ),
            f"compare, {RECORDS} records": seconds(
                *reptransfer, "compare", "pca,dim=3", "pca,dim=5", "--results", str(root)
            ),
        }
    print(json.dumps({name: round(value, 3) for name, value in table.items()}, indent=1))


if __name__ == "__main__":
    main()
