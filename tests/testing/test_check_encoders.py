"""The check kit on planted faults: each is caught by its own check, and by no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import main
from bench.naming.specs import resolve
from bench.testing import EncoderCase, encoder_checks, run_checks

GOOD = '''
"""Scaled random projections, moved by the mean of what it was trained on."""
import numpy as np
import torch
from torch import nn
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.data.images import Input
from bench.seeding import torch_generator

REVISION = 1


class Projection(Encoder):
    def __init__(self, source):
        super().__init__()
        self.input = Input(size=(12, 12), channels=source.channels)
        pixels = 144 * source.channels
        self.dims = {"code": 6}
        self.weight = nn.Parameter(torch.randn(6, pixels) / pixels ** 0.5)
        self.register_buffer("mean", torch.zeros(pixels))

    def taps(self, images):
        return {"code": (images.flatten(1) - self.mean) @ self.weight.T}

    def stages(self):
        return None

    def fit(self, images, *, labels, budget, seed):
        noise = torch_generator(seed, "order")
        rows = torch.randint(len(images), (budget,), generator=noise).numpy()
        self.mean.copy_(images.read(rows).flatten(1).mean(dim=0))
        return FitReport(images_seen=budget, steps=1)


def build(*, source: SourceInfo) -> Projection:
    """Six projections."""
    return Projection(source)
'''

TAPS = '        return {"code": (images.flatten(1) - self.mean) @ self.weight.T}\n'
FIT = "        self.mean.copy_(images.read(rows).flatten(1).mean(dim=0))\n"
MEAN = '        self.register_buffer("mean", torch.zeros(pixels))\n'
CLASS = "class Projection(Encoder):\n"

# Name of the fault -> (its check, a word of the finding, what is replaced by what).
FAULTS: dict[str, tuple[str, str, list[tuple[str, str]]]] = {
    "asks the network in build": (
        "encoder_alone", "network",
        [('    """Six projections."""\n', '    """Six projections."""\n    import urllib.request\n'
          '    urllib.request.urlopen("http://example.org/weights")\n')],
    ),
    "writes a file at import": (
        "encoder_alone", "writes",
        [("REVISION = 1\n", 'REVISION = 1\nopen("log.txt", "w").close()\n')],
    ),
    "seeds PyTorch in fit": (
        "encoder_alone", "random state of PyTorch", [(FIT, FIT + "        torch.manual_seed(0)\n")],
    ),
    "seeds NumPy at import": (
        "encoder_alone", "random state of NumPy",
        [("REVISION = 1\n", "REVISION = 1\nnp.random.seed(0)\n")],
    ),
    "dims are no numbers": (
        "encoder_contract", "dims", [('{"code": 6}\n', '{"code": "6"}\n')],
    ),
    "a flag is no flag": (
        "encoder_contract", "uses_labels", [(CLASS, CLASS + '    uses_labels = "no"\n')],
    ),
    "dims promise too much": ("encoder_shape", "float32 (1, 7)", [('{"code": 6}\n', '{"code": 7}\n')]),
    "features in half precision": (
        "encoder_shape", "float16",
        [("self.weight.T}", "self.weight.T).half()}"), ('{"code": (images', '{"code": ((images')],
    ),
    "divides by the image's own spread": (
        "encoder_finite", "standard deviation",
        [(TAPS, '        flat = images.flatten(1)\n        flat = flat / flat.std(dim=1, keepdim=True)\n'
          '        return {"code": flat @ self.weight.T}\n')],
    ),
    "has collapsed": (
        "encoder_varies", "same for all images",
        [(TAPS, '        return {"code": (0 * images.flatten(1)) @ self.weight.T + 1}\n')],
    ),
    "centres the images in place": (
        "encoder_untouched", "copy them first", [(TAPS, "        images -= 0.5\n" + TAPS)],
    ),
    "goes on learning while it encodes": (
        "encoder_untouched", "changes while encoding",
        [(TAPS, "        with torch.no_grad():\n            self.mean.mul_(0.99)\n" + TAPS)],
    ),
    "samples its code": (
        "encoder_deterministic", "call to call",
        [(MEAN, MEAN + "        self.noise = torch.Generator().manual_seed(0)\n"),
         ("@ self.weight.T}", "@ self.weight.T + torch.rand(6, generator=self.noise)}")],
    ),
    "centres by the batch": (
        "encoder_rows_independent", "GroupNorm",
        [(TAPS, '        flat = images.flatten(1)\n        flat = flat - flat.mean(dim=0)\n'
          '        return {"code": flat @ self.weight.T}\n')],
    ),
    "forward of its own": (
        "encoder_forward", "taps",
        [("    def stages(self)", '    def forward(self, images):\n'
          '        return self.taps(images)["code"].relu()\n\n    def stages(self)')],
    ),
    "counts epochs for images": (
        "encoder_report", "images of a budget", [("images_seen=budget, ", "images_seen=2, ")],
    ),
    "reports what is no number": (
        "encoder_report", "not JSON",
        [("steps=1)", 'steps=1, terms={"loss": float("nan")})')],
    ),
    "draws from NumPy's global state": (
        "encoder_repeatable", "one seed differ",
        [("        noise = torch_generator(seed, \"order\")\n", ""),
         ("torch.randint(len(images), (budget,), generator=noise).numpy()",
          "np.random.RandomState(id(self) % 2**31).randint(len(images), size=budget)")],
    ),
    "says it is seeded and is not": (
        "encoder_seeded", "seeded = False",
        [("torch.randn(6, pixels)", "torch.ones(6, pixels)"), ('torch_generator(seed, "order")',
          'torch_generator(0, "order")')],
    ),
    "says it is not seeded and is": (
        "encoder_seeded", "though it says", [(CLASS, CLASS + "    seeded = False\n")],
    ),
    "learns into an attribute": (
        "encoder_devices", "register_buffer", [(MEAN, "        self.mean = torch.zeros(pixels)\n")],
    ),
    "learns into a number": (
        "encoder_state", "parameters and buffers",
        [(MEAN, MEAN + "        self.scale = 1.0\n"),
         (FIT, FIT + "        self.scale = float(self.mean.mean())\n"),
         ("@ self.weight.T}", "@ self.weight.T * self.scale}")],
    ),
    "makes a buffer in fit": (
        "encoder_state", "full size",
        [(FIT, FIT + '        self.register_buffer("rows", torch.zeros(3))\n')],
    ),
    "reads labels that it does not declare": (
        "encoder_labels", "declare it",
        [(FIT, FIT + "        if labels:\n            self.mean.add_(float(labels['label'].mean()))\n")],
    ),
    "declares labels and does not read them": (
        "encoder_labels", "other labels change nothing", [(CLASS, CLASS + "    uses_labels = True\n")],
    ),
    "cannot take a missing label": (
        "encoder_labels", "missing",
        [(CLASS, CLASS + "    uses_labels = True\n"),
         (FIT, FIT + "        self.mean.add_(torch.eye(2)[labels['label']].mean(0)[0].item()"
          " + float(labels['label'][:9].sum()))\n        assert (labels['label'] >= 0).all()\n")],
    ),
    "detached from its images": (
        "encoder_gradients", "detach", [(TAPS, TAPS.replace("images.flatten", "images.detach().flatten")
                                         .replace("self.weight.T", "self.weight.detach().T"))],
    ),
    "stages that do not compose": (
        "encoder_stages", "differs from forward",
        [("        return None\n", "        return nn.Sequential(nn.Flatten(), nn.Linear(144, 6))\n")],
    ),
    "stages with weights of their own": (
        "encoder_stages", "use its own modules",
        [("        return None\n", "        layer = nn.Linear(144, 6)\n"
          "        layer.weight.data.copy_(self.weight.data)\n"
          "        layer.bias.data.copy_(-self.mean @ self.weight.data.T)\n"
          "        return nn.Sequential(nn.Flatten(), layer)\n")],
    ),
    "state shared by all copies": (
        "encoder_copies", "share state",
        [(MEAN, MEAN + "        type(self).__deepcopy__ = lambda me, memo: me\n")],
    ),
    "decodes to another size": (
        "encoder_methods", "decode",
        [("    def stages(self)",
          "    def decode(self, codes):\n        return codes\n\n    def stages(self)")],
    ),
    "takes 16 pixels and grey alone": (
        "encoder_sizes", "fails",
        [("Input(size=(12, 12), channels=source.channels)", "Input(size=(12, 12), channels=1)")],
    ),
}  # fmt: skip


def findings(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.chdir(folder)
    path = folder / "projection.py"
    path.write_text(text)
    return list(run_checks(encoder_checks(), EncoderCase(resolve("encoders", str(path)))))


def test_a_right_encoder_passes_every_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = findings(tmp_path, GOOD, monkeypatch)
    assert [outcome["check"] for outcome in outcomes if outcome["finding"]] == []
    assert len(outcomes) == len({outcome["rule"] for outcome in outcomes}) == len(encoder_checks())
    assert sorted(path.name for path in tmp_path.iterdir()) in (
        ["projection.py"], ["__pycache__", "projection.py"],
    )  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught_by_its_own_check_alone(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, word, edits = FAULTS[fault]
    text = GOOD
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    broken = [outcome for outcome in findings(tmp_path, text, monkeypatch) if outcome["finding"]]
    assert len(broken) == 1, broken
    assert re.match(r"projection\.py:\d+: ", broken[0]["finding"]), broken
    assert broken[0]["check"] == check, broken[0]["finding"]
    assert word in broken[0]["finding"] and "\n" not in broken[0]["finding"]


def test_every_check_of_the_kit_has_a_fault() -> None:
    names = {check.__name__.removeprefix("check_") for check in encoder_checks()}
    assert {check for check, _, _ in FAULTS.values()} == names
    assert len(FAULTS) >= 20


def test_the_command_names_the_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "projection.py"
    path.write_text(GOOD)
    assert main(["check", str(path)]) == 0
    assert "FAILED" not in capsys.readouterr().out
    path.write_text(GOOD.replace(TAPS, "        images -= 0.5\n" + TAPS))
    assert main(["check", str(path)]) == 1
    [line] = [
        x for x in capsys.readouterr().out.splitlines() if re.search(r"untouched\s+FAILED", x)
    ]
    assert "copy them first" in line
