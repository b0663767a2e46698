"""The JSON Schema of a record agrees with what is written and with what is read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import jsonschema
import pytest

from bench.cli.main import main
from bench.digests import digest
from bench.errors import BenchError
from bench.results import record as layout
from bench.results.record import SCHEMA, Record
from bench.results.schema import record_schema
from bench.results.store import Store
from bench.tasks.task import MOST_REPLICATES, Coords
from tests.kit import ROOT, records

PATHS = Store(ROOT / "results").paths()
SCHEMA_JSON: dict[str, Any] = json.loads(record_schema())
PARTS = {
    layout.EncoderIdentity: SCHEMA_JSON["$defs"]["encoder"],
    layout.TaskIdentity: SCHEMA_JSON["properties"]["task"],
    layout.DataIdentity: SCHEMA_JSON["properties"]["data"],
    layout.ProtocolIdentity: SCHEMA_JSON["properties"]["protocol"],
    layout.Replicate: SCHEMA_JSON["$defs"]["replicate"],
    layout.PrimaryScore: SCHEMA_JSON["$defs"]["primary"],
    layout.TrainingReport: SCHEMA_JSON["$defs"]["training"],
    layout.StoredPredictions: SCHEMA_JSON["properties"]["predictions"],
    Coords: SCHEMA_JSON["$defs"]["coords"],
}


@cache
def validator() -> Any:
    kind = jsonschema.Draft202012Validator
    kind.check_schema(SCHEMA_JSON)
    return kind(SCHEMA_JSON)


def faults(value: object) -> list[str]:
    return [f"{error.json_path}: {error.message:.200}" for error in validator().iter_errors(value)]


def example() -> dict[str, Any]:
    """A record made by hand with a value in every part, as the store writes it."""
    made = records.record(
        encoder=records.encoder(digest="e" * 32),
        task=records.task(digest="a" * 32),
        protocol=records.protocol(digest="b" * 32),
        training=(records.training(key="c" * 32),),
        replicates=(
            records.replicate({"label": {"accuracy": 0.5}}, report={"each": [["each", 1, 0.5]]}),
        ),
    )
    value: dict[str, Any] = json.loads(json.dumps({**made.to_json(), "digest": made.digest}))
    return value


def test_every_part_has_the_fields_of_its_class() -> None:
    parts = {**PARTS, Record: SCHEMA_JSON}
    for kind, part in parts.items():
        fields = {f.name for f in dataclasses.fields(kind)}
        optional = {f.name for f in dataclasses.fields(kind) if f.metadata.get("optional")}
        own = {"schema", "digest"} if kind is Record else set()
        assert set(part["properties"]) == fields | own, kind
        assert set(part["required"]) == (fields | own) - optional, kind
        assert part["additionalProperties"] is False, kind


def test_all_is_described() -> None:
    def bare(part: dict[str, Any], where: str) -> list[str]:
        found = []
        for name, inner in part.get("properties", {}).items():
            described = (
                "description" in inner or "$ref" in inner or "enum" in inner or "const" in inner
            )
            found += [] if described else [f"{where}.{name}"]
            found += bare(inner, f"{where}.{name}")
        return found

    assert bare({"properties": SCHEMA_JSON["properties"]}, "") == []
    assert [name for kind, part in PARTS.items() for name in bare(part, kind.__name__)] == []


def test_limits_are_those_of_the_reader() -> None:
    assert SCHEMA_JSON["properties"]["schema"]["const"] == SCHEMA
    assert SCHEMA_JSON["properties"]["replicates"]["maxItems"] == MOST_REPLICATES


@pytest.mark.parametrize("part", range(4))
def test_committed_records_of_every_family_are_valid(part: int) -> None:
    """Every 40th file; the slow test has all."""
    for path in PATHS[part::40]:
        assert faults(json.loads(path.read_text())) == [], path


@pytest.mark.slow
def test_every_committed_record_is_valid() -> None:
    assert len(PATHS) > 600
    for path in PATHS:
        assert faults(json.loads(path.read_text())) == [], path


def test_a_record_made_by_hand_is_valid() -> None:
    assert faults(example()) == []


def test_a_declined_record_is_valid() -> None:
    value = example() | {"status": "declined", "reason": "no data", "primary": None}
    assert faults(value | {"replicates": [], "training": [], "predictions": None}) == []


def edit(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        at: Any = value
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = to

    return change


def drop(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        at: Any = value
        for key in path[:-1]:
            at = at[key]
        del at[path[-1]]

    return change


# What no reader of records takes.
REFUSED: dict[str, Callable[[dict[str, Any]], None]] = {
    "another schema": edit("schema", to="reptransfer.record/2"),
    "no schema": drop("schema"),
    "an unknown field": edit("score", to=0.5),
    "an unknown field of the encoder": edit("encoder", "licence", to="MIT"),
    "an unknown field of a replicate": edit("replicates", 0, "seed", to=1),
    "an unknown coordinate": edit("replicates", 0, "coords", "fold", to=1),
    "no owner": drop("owner"),
    "no task": drop("task"),
    "no digest of the task": drop("task", "digest"),
    "no rows": drop("data", "rows"),
    "rows without a test split": drop("data", "rows", "test"),
    "no test rows": edit("data", "rows", "test", to=0),
    "rows below 0": edit("data", "rows", "train", to=-1),
    "rows in words": edit("data", "rows", "test", to="40"),
    "another status": edit("status", to="done"),
    "a score in words": edit("primary", "value", to="95.5"),
    "a score without an interval": drop("primary", "low"),
    "a score that is too large": edit("primary", "high", to=1e200),
    "no score": edit("primary", to=None),
    "no predictions": edit("predictions", to=None),
    "predictions of no target": edit("predictions", "kinds", to={}),
    "an unknown kind of target": edit("predictions", "kinds", "label", to=["ranks", 5]),
    "a target without a size": edit("predictions", "kinds", "label", to=["classes"]),
    "a target with two sizes": edit("predictions", "kinds", "label", to=["classes", 5, 6]),
    "no classes": edit("predictions", "kinds", "label", to=["classes", 0]),
    "too many classes": edit("predictions", "kinds", "label", to=["classes", 2**40]),
    "no replicates": edit("replicates", to=[]),
    "a failed replicate": edit("replicates", 0, "status", to="failed"),
    "a replicate's status": edit("replicates", 0, "status", to="fine"),
    "a score by metric in words": edit("replicates", 0, "scores", "label", "accuracy", to="0.5"),
    "scores without a target": edit("replicates", 0, "scores", to={"accuracy": 0.5}),
    "a report that is a list": edit("replicates", 0, "report", to=[]),
    "a seed that is no whole number": edit("replicates", 0, "coords", "head_seed", to=0.5),
    "an encoder without a read-out": drop("encoder", "read_out"),
    "an encoder without its parameters": drop("encoder", "parameters"),
    "a spec's budget alone": edit("encoder", "budget", to=5),
    "a dimension below 0": edit("encoder", "dim", to=-4),
    "a dimension in words": edit("encoder", "dim", to="64"),
    "one name for many sources": edit("encoder", "pretrained_on", to="imagenet"),
    "101 sources": edit("encoder", "pretrained_on", to=["d"] * 101),
    "a path as the encoder": edit("encoder", "id", to="../pca"),
    "an empty owner": edit("owner", to=""),
    "a line break in the owner": edit("owner", to="somebody\n"),
    "HTML in the owner": edit("owner", to="<b>"),
    "no total of seconds": drop("measured", "seconds", "total"),
    "seconds before 0": edit("measured", "seconds", "fit", to=-1.0),
    "seconds of a universe": edit("measured", "seconds", "fit", to=1e99),
    "seeds in words": edit("measured", "seeds", to="3"),
    "training that is no list": edit("training", to={}),
    "diagnostics in words": edit("diagnostics", to=[{"rank": "high"}]),
    "a reason that is a list": edit("reason", to=["no data"]),
    "a reason of megabytes": edit("reason", to="x" * 10**6),
}
# What a reader does not mind, but no run writes.
STRICTER: dict[str, Callable[[dict[str, Any]], None]] = {
    "no digest": drop("digest"),
    "a digest of another length": edit("task", "digest", to="abc"),
    "a digest in capitals": edit("data", "digest", to="D" * 32),
    "declined without a reason": edit("status", to="declined"),
    "training steps below 0": edit("training", 0, "steps", to=-1),
    "labels in other words": edit("supervision", to="some"),
    "another reduction": edit("primary", "reduction", to="median"),
}


@pytest.mark.parametrize("kind", [*REFUSED, *STRICTER])
def test_a_broken_record_is_not_valid(kind: str) -> None:
    value = example()
    (REFUSED | STRICTER)[kind](value)
    assert faults(value)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_valid_is_not_read(kind: str) -> None:
    """Nor would it lie in a folder of its names."""
    value = example()
    REFUSED[kind](value)
    value.pop("digest")
    value["digest"] = digest({**value, "measured": {}})

    def read() -> None:
        made = Record.from_json(value, "record")
        Store(ROOT).path(made.owner, made.encoder.id, made.task.id)

    with pytest.raises(BenchError):
        read()


def test_the_command_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "record-schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA_JSON
