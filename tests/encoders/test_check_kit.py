"""The check kit and golden files over all encoders."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from bench import testing
from bench.data.images import Delivery
from bench.naming import registry
from bench.running.features import encode_images
from tests.kit.check_kit import assert_golden, parameters
from tests.kit.precision import double

# But those that encode no images: their features lie in files.
NAMES = [n for n in registry.names("encoders") if registry.find("encoders", n).takes != "files"]


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> testing.EncoderCase:
    return testing.EncoderCase(testing.example("encoders", request.param))


@pytest.mark.parametrize("check", parameters(testing.encoder_checks()))
@pytest.mark.parametrize("case", NAMES, indirect=True)
def test_encoder(case: testing.EncoderCase, check: Any) -> None:
    check(case)


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str, request: pytest.FixtureRequest) -> None:
    spec = testing.example("encoders", name)
    is_trained = spec.entry.training == "budget"
    with double() if is_trained else nullcontext():
        encoder = testing.tiny_encoder(spec)
        images = Delivery(testing.tiny_images(4, encoder.input, seed=1), encoder.input)
        levels = encode_images(encoder, images, name="golden images").levels
    output = {level: features[:, :16].ravel().tolist() for level, features in levels.items()}
    write = request.config.getoption("--golden")
    assert_golden(spec, output, tolerance=1e-3 if is_trained else 1e-4, write=write)
