"""Classes in the training data of weights: zero-shot splits of the literature, and ambiguous words."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.report.sections.exposure import exposure

# The classes of AwA2 that Xian et al. (2019, arXiv:1707.00600) chose because ImageNet-1k lacks them.
PROPOSED = [
    "sheep",
    "dolphin",
    "bat",
    "seal",
    "blue+whale",
    "rat",
    "horse",
    "walrus",
    "giraffe",
    "bobcat",
]


@pytest.mark.parametrize("name", PROPOSED)
def test_classes_of_the_proposed_split_are_in_12k_and_22k_and_not_in_1k(name: str) -> None:
    assert exposure(name, "imagenet-1k").met != "named"  # type: ignore[union-attr]
    for source in ("imagenet-12k", "imagenet-21k", "imagenet-22k"):
        assert exposure(name, source).met == "named"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "met", "label"),
    [
        ("T-shirt/top", "named", "jersey, T-shirt, tee shirt"),
        ("sandals", "named", "sandal"),
        ("Ankle boot", "possible", "cowboy boot"),
        ("deer", "possible", "deerhound"),  # by its definition: a hound for hunting deer
        ("horse", "possible", "hippopotamus"),  # the river horse: a false match
        ("7", "not found", ""),
        ("+", "not found", ""),
    ],
)
def test_named_and_possible_are_distinguished(name: str, met: str, label: str) -> None:
    match = exposure(name, "imagenet-1k")
    assert match is not None and match.met == met and label in match.label


def test_other_data_sets_have_no_label_list() -> None:
    assert exposure("horse", "jft-300m") is None


def test_neither_torch_nor_timm_is_imported() -> None:
    module = "bench.report.sections.exposure"
    code = f"import sys; from {module} import exposure; exposure('cat', 'imagenet-1k')"
    program = f"{code}; sys.exit(any(m in sys.modules for m in ('torch', 'timm')))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
