"""What attacks on `verify` cost: `python tests/speed/attacks.py`.

Each attack of `tests/kit/attacks.py`, and some that are too large for tests, by a process of its own: wall
seconds and largest memory of the command. Exit status 1 where one takes 5 seconds or 300 MB. Making a
million files takes a minute or more, twice.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.kit.attacks import ATTACKS, LARGE, good_entry, made

MOST_SECONDS, MOST_MB = 5.0, 300.0


def cost(folder: Path) -> tuple[int, float, float]:
    """Exit status, wall seconds and largest memory in MB of `verify`."""
    command = [sys.executable, "-m", "bench", "verify", str(folder)]
    start = time.perf_counter()
    nothing = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, nothing, 1), (os.POSIX_SPAWN_DUP2, nothing, 2)]
    process = os.posix_spawn(sys.executable, command, os.environ, file_actions=actions)
    _, status, usage = os.wait4(process, 0)
    os.close(nothing)
    seconds = time.perf_counter() - start
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss / unit


def main() -> int:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder) / "good" / "results"
        # By another process: what this one needs would count as memory of those that it starts.
        subprocess.run([sys.executable, __file__, str(good)], check=True)
        for number, (name, attack) in enumerate({**LARGE, **ATTACKS}.items()):
            with tempfile.TemporaryDirectory(dir=folder) as root:
                status, seconds, memory = cost(made(good, attack, Path(root)))
            if status != attack.status:
                print(f"exit status {status} for {name}")
                return 1
            rows.append((seconds, memory, name))
            if number % 20 == 0:
                print(f"{number} attacks", file=sys.stderr)
    for key, unit in ((0, "s"), (1, "MB")):
        for row in sorted(rows, key=lambda row: -row[key])[:5]:
            print(f"{row[key]:8.1f} {unit}  {row[2]}")
    worst = max(row[0] for row in rows), max(row[1] for row in rows)
    print(f"{len(rows)} attacks: at most {worst[0]:.1f} s and {worst[1]:.0f} MB")
    return int(worst[0] >= MOST_SECONDS or worst[1] >= MOST_MB)


if __name__ == "__main__":
    if sys.argv[1:]:
        good_entry(Path(sys.argv[1]))
    else:
        sys.exit(main())
