"""The check kit over everything that the file tree holds, and golden files that pin its numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import testing
from bench.data.images import Delivery
from bench.datasets.base import DataSets, known
from bench.errors import Declined
from bench.naming import registry
from bench.naming.specs import Resolved
from bench.running.features import encode_images
from bench.running.workspace import Workspace
from bench.tasks import files as taskfiles
from tests.kit import ROOT
from tests.kit.precision import double

GOLDEN = ROOT / "tests" / "golden"


ENCODERS, PROTOCOLS = registry.names("encoders"), registry.names("protocols")
DEAR = {"check_encoder_sizes", "check_protocol_sweep"}  # they fit several times


def apart(checks: Sequence[Any]) -> list[Any]:
    """Checks as parameters; those that take seconds run with the slow drills."""
    return [
        pytest.param(c, id=c.__name__, marks=[pytest.mark.slow] if c.__name__ in DEAR else [])
        for c in checks
    ]


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> testing.EncoderCase:
    return testing.EncoderCase(testing.example("encoders", request.param))


@pytest.mark.parametrize("check", apart(testing.encoder_checks()))
@pytest.mark.parametrize("case", ENCODERS, indirect=True)
def test_encoder(case: testing.EncoderCase, check: Any) -> None:
    check(case)


@pytest.fixture(scope="module")
def protocol(request: pytest.FixtureRequest) -> testing.ProtocolCase:
    return testing.tiny_protocol(testing.example("protocols", request.param))


@pytest.mark.parametrize("check", apart(testing.protocol_checks()))
@pytest.mark.parametrize("protocol", PROTOCOLS, indirect=True)
def test_protocol(protocol: testing.ProtocolCase, check: Any) -> None:
    check(protocol)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    import os

    root = os.environ.get("REPTRANSFER_DATA") or tmp_path_factory.mktemp("data")
    return Workspace(DataSets(Path(root)))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("urllib.request.urlretrieve", refuse)


UNKNOWN = {
    "awa2",
    "celeba",
    "cifar10",
    "cifar100",
    "cub",
    "xlsa",
}  # not at hand where known.json was written


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", registry.names("datasets"))
def test_dataset(name: str, workspace: Workspace) -> None:
    case = testing.DataSetCase(name, workspace.dataset)  # type: ignore[arg-type]
    try:
        dataset = case.dataset
    except Declined as error:
        pytest.skip(str(error))
    for check in testing.dataset_checks():
        check(dataset)
    for check in testing.semantics_checks():
        check(dataset.meta)
    for check in testing.build_checks():
        check(case)
    assert name in known() or name in UNKNOWN


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", taskfiles.names())
def test_task(name: str, workspace: Workspace) -> None:
    task = taskfiles.load(name)
    try:
        workspace.dataset(task.dataset)
    except Declined as error:
        pytest.skip(str(error))
    for check in testing.task_checks():
        check((task, workspace))


# --- Golden files: an edit that moves no number makes nothing stale, one that does cannot pass unseen


def encoder_output(spec: Resolved) -> dict[str, list[float]]:
    made = testing.tiny_encoder(spec)
    images = Delivery(testing.tiny_images(4, made.input, seed=1), made.input)
    levels = encode_images(made, images, what="golden images").levels
    return {level: features[:, :16].ravel().tolist() for level, features in levels.items()}


def protocol_output(spec: Resolved) -> dict[str, list[float]]:
    case = testing.tiny_protocol(spec)
    fitted = case.fit(
        case.blobs(60, seed=0, separation=2.0), case.blobs(20, seed=1, separation=2.0)
    )
    x = case.blobs(5, seed=2, separation=2.0).x
    assert isinstance(x, np.ndarray)
    return {name: values.ravel().tolist() for name, values in fitted.predict(x).items()}


COMPONENTS = [("encoders", name) for name in ENCODERS] + [("protocols", name) for name in PROTOCOLS]


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_golden(kind: Any, name: str, request: pytest.FixtureRequest) -> None:
    spec = testing.example(kind, name)
    trained = kind == "encoders" and spec.entry.training == "budget"
    with double() if trained else nullcontext():
        found = encoder_output(spec) if kind == "encoders" else protocol_output(spec)
    path = GOLDEN / kind / f"{name}.json"
    old = json.loads(path.read_text()) if path.is_file() else None
    revisions, arguments = dict(spec.entry.revisions), dict(spec.arguments)
    same_recipe = old is not None and (old["revisions"], old["arguments"]) == (revisions, arguments)
    if request.config.getoption("--golden") and not same_recipe:
        value = {"revisions": revisions, "arguments": arguments, "output": found}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
        return
    assert old is not None, f"{path} is missing; write it with: pytest {__file__} --golden"
    assert same_recipe, (
        f"revisions or defaults of {name} have changed; write {path.name} with: pytest {__file__} --golden"
    )
    tolerance = 1e-3 if trained else 1e-4
    assert found.keys() == old["output"].keys()
    for part, values in found.items():
        gap = difference(values, old["output"][part])
        assert gap < tolerance, (
            f"{name}, {part}: numbers have moved by {gap:.2g} of their RMS; if that is meant, raise "
            f"REVISION in {spec.entry.path.name} (or where the edit was) and write the file anew"
        )


def difference(a: list[float], b: list[float]) -> float:
    first, second = np.array(a), np.array(b)
    return float(np.abs(first - second).max() / (np.sqrt((second**2).mean()) or 1.0))


def test_a_golden_file_sees_an_edit_that_moves_a_number() -> None:
    output: Mapping[str, list[float]] = json.loads((GOLDEN / "encoders/pca.json").read_text())[
        "output"
    ]
    values = output["code"]
    assert difference(values, values) == 0
    assert difference([values[0] * 1.01 + 0.01, *values[1:]], values) > 1e-4


def test_every_golden_file_belongs_to_a_component() -> None:
    files = {p.relative_to(GOLDEN).with_suffix("").as_posix() for p in GOLDEN.rglob("*.json")}
    assert files == {f"{kind}/{name}" for kind, name in COMPONENTS}
