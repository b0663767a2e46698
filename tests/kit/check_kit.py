"""The check kit as parametrized tests, and golden files: numbers that pin what components compute.

An edit that moves no number makes nothing stale; one that does needs a higher REVISION, and then
`pytest tests/encoders tests/protocols --golden` writes the golden files anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.naming.specs import Resolved
from tests.kit import ROOT

GOLDEN = ROOT / "tests" / "golden"
WRITE = "pytest tests/encoders tests/protocols --golden"
SEVERAL_FITS = {"check_encoder_sizes", "check_protocol_sweep"}

Output = Mapping[str, list[float]]


def parameters(checks: Sequence[Any]) -> list[Any]:
    """Checks as parameters; those that take seconds are marked slow."""
    return [
        pytest.param(c, id=c.__name__, marks=[pytest.mark.slow] * (c.__name__ in SEVERAL_FITS))
        for c in checks
    ]


def assert_golden(spec: Resolved, output: Output, *, tolerance: float, write: bool) -> None:
    """The output is within `tolerance` of its RMS of the golden file's; with `write`, the file of a new
    component, or of one whose revisions or arguments have changed, is written."""
    name = spec.entry.name
    path = GOLDEN / spec.entry.kind / f"{name}.json"
    golden = json.loads(path.read_text()) if path.is_file() else None
    arguments = {k: Path(v).name if k in spec.paths else v for k, v in spec.arguments.items()}
    recipe = {"revisions": dict(spec.entry.revisions), "arguments": arguments}
    same_recipe = golden is not None and recipe == {key: golden[key] for key in recipe}
    if write and not same_recipe:
        path.parent.mkdir(parents=True, exist_ok=True)
        value = {**recipe, "output": output}
        path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
        return
    assert golden is not None, f"{path} is missing; write it with: {WRITE}"
    assert same_recipe, (
        f"revisions or defaults of {name} have changed; write {path.name} with: {WRITE}"
    )
    assert output.keys() == golden["output"].keys()
    for part, values in output.items():
        gap = difference(values, golden["output"][part])
        assert gap < tolerance, (
            f"{name}, {part}: numbers have moved by {gap:.2g} of their RMS; if that is meant, raise "
            f"REVISION in {spec.entry.path.name} (or where the edit was) and run: {WRITE}"
        )


def difference(values: list[float], golden: list[float]) -> float:
    """The largest absolute difference, as a share of the RMS of `golden`."""
    reference = np.array(golden)
    rms = float(np.sqrt((reference**2).mean()))
    return float(np.abs(np.array(values) - reference).max() / (rms or 1.0))
