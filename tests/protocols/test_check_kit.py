"""The check kit and golden files over all protocols."""

from __future__ import annotations

from typing import Any

import pytest

from bench import testing
from bench.naming import registry
from tests.kit.check_kit import assert_golden, parameters

NAMES = registry.names("protocols")


@pytest.fixture(scope="module")
def protocol(request: pytest.FixtureRequest) -> testing.ProtocolCase:
    return testing.ProtocolCase(testing.example("protocols", request.param))


@pytest.mark.parametrize("check", parameters(testing.protocol_checks()))
@pytest.mark.parametrize("protocol", NAMES, indirect=True)
def test_protocol(protocol: testing.ProtocolCase, check: Any) -> None:
    check(protocol)


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str, request: pytest.FixtureRequest) -> None:
    spec = testing.example("protocols", name)
    case = testing.ProtocolCase(spec)
    train, val, test = (
        case.blobs(count, seed=seed, separation=2.0) for seed, count in enumerate((60, 20, 5))
    )
    predictions = case.fit(train, val).predict(test.x)  # type: ignore[arg-type]
    output = {name: values.ravel().tolist() for name, values in predictions.items()}
    write = request.config.getoption("--golden")
    assert_golden(spec, output, tolerance=1e-4, write=write)
