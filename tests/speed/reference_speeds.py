"""The times of the reference machine, from the committed records of this package's own encoders:
bench/running/reference_speeds.json.

Run after records are added, on any machine: python tests/speed/reference_speeds.py
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from bench.naming.registry import find
from bench.results.frames import load_results
from bench.running.forecast import Forecast
from bench.tasks.cell import OURS

ROOT = Path(__file__).parents[2]
FILE = ROOT / "bench" / "running" / "reference_speeds.json"
CALIBRATION = 0.000904  # seconds of `calibration_seconds` on the machine of the committed records
FACTOR = (
    1.5  # a spec has an entry where it differs by more from its component, which stands for all
)


def table() -> dict[str, dict[str, float]]:
    """Medians by part and name, as `bench.running.calibration` describes them."""
    records = [r for r in load_results(ROOT / "results").records if r.owner == OURS]
    forecast = Forecast(records, ())
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for (part, name), speeds in forecast.speeds.items():
        values[part][name] = statistics.median(speeds)
    values["dim"] = {name: identity.dim or 0 for name, identity in forecast.facts.items()}
    bare = {r.encoder.id for r in records} & {_component(r.encoder.id) for r in records}
    trainings = {name: f"({find('encoders', name).training})" for name in bare}
    for part in ("fit", "extract", "dim"):
        values[part] |= _group_medians(values[part], trainings)
    bare = {r.protocol.id for r in records} & {_component(r.protocol.id) for r in records}
    values["protocol"] |= _group_medians(values["protocol"], dict.fromkeys(bare, "(any)"))
    rounded = {
        part: {
            name: round(value) if part == "dim" else float(f"{value:.3g}")
            for name, value in sorted(by_name.items())
            if _differs(name, by_name, 1.0 if part == "dim" else FACTOR)
        }
        for part, by_name in values.items()
    }
    return {"calibration": {"seconds": CALIBRATION}, **rounded}


def _component(name: str) -> str:
    return name.partition(",")[0].partition("@")[0].partition("~")[0]


def _group_medians(values: Mapping[str, float], groups: Mapping[str, str]) -> dict[str, float]:
    """The median of each group of names; `groups` has the group of a name."""
    members: dict[str, list[float]] = defaultdict(list)
    for name, group in groups.items():
        if name in values:
            members[group].append(values[name])
    return {group: statistics.median(part) for group, part in members.items()}


def _differs(name: str, values: Mapping[str, float], factor: float) -> bool:
    """Does its value differ by more than `factor` from its component's? A component itself does."""
    component = values.get(_component(name))
    if component is None or name == _component(name):
        return True
    return not component / factor <= values[name] <= component * factor


if __name__ == "__main__":
    FILE.write_text(json.dumps(table(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
