"""Golden files detect changed numbers, and each belongs to one component."""

from __future__ import annotations

import json

from bench.naming import registry
from tests.kit.check_kit import GOLDEN, Output, difference


def test_a_golden_file_sees_an_edit_that_moves_a_number() -> None:
    output: Output = json.loads((GOLDEN / "encoders/pca.json").read_text())["output"]
    values = output["code"]
    assert difference(values, values) == 0
    assert difference([values[0] * 1.01 + 0.01, *values[1:]], values) > 1e-4


def test_every_golden_file_belongs_to_a_component() -> None:
    files = {p.relative_to(GOLDEN).with_suffix("").as_posix() for p in GOLDEN.rglob("*.json")}
    named = [registry.find("encoders", name) for name in registry.names("encoders")]
    encoders = {f"encoders/{entry.name}" for entry in named if entry.takes != "files"}
    assert files == encoders | {f"protocols/{name}" for name in registry.names("protocols")}
