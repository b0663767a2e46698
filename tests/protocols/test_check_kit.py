"""The check kit and golden files over all protocols."""

from __future__ import annotations

from typing import Any

import pytest

from bench import testing
from bench.naming import registry
from bench.naming.specs import resolve
from tests.kit.check_kit import assert_golden, parameters

NAMES = registry.names("protocols")
# Shorter trainings than those of the golden files, after which all checks hold as well.
SHARED = "pca=0,width=16,epochs=80,trials=2,rate=0.03"
SHORT = {
    "compatibility": "samples=6000",
    "cvae": "samples=4000,width=32,per_class=50",
    "finetune": "images=500",
    "mlp_prototypes": "samples=6000,width=64,rate=0.003,scale=5",
    "tuned_sharing": "images=500",
    "cross_stitch": SHARED,
    "gated_experts": SHARED,
    "hard_sharing": SHARED,
    "single_task": SHARED,
    "soft_sharing": SHARED,
}


@pytest.fixture(scope="module")
def protocol(request: pytest.FixtureRequest) -> testing.ProtocolCase:
    name = request.param
    if name in SHORT:
        return testing.ProtocolCase(resolve("protocols", f"{name},{SHORT[name]}"))
    return testing.ProtocolCase(testing.example("protocols", name))


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
