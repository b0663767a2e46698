"""The check kit on data sets and signatures with planted faults, each caught by its own check."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.main import main
from bench.data.samples import Meta, Target
from bench.datasets.base import DataSets
from bench.naming import registry
from bench.testing import (
    Check,
    DataSetCase,
    build_checks,
    dataset_checks,
    inspect_dataset,
    run_checks,
    semantics_checks,
)

GOOD = '''
"""Noise of three classes."""
import numpy as np
from bench.data.samples import Meta, Samples, Target
from bench.datasets.base import SplitDataSet
from bench.data.images import ArrayImages

REVISION = 1


def build(*, root):
    rng = np.random.default_rng(0)
    images, labels = {}, {}
    for split, count in (("train", 30), ("val", 9), ("test", 12)):
        images[split] = rng.integers(0, 256, (count, 1, 6, 6)).astype(np.uint8)
        label = np.arange(count, dtype=np.int64) % 3
        labels[split] = {"label": label, "size": rng.random((count, 1)).astype(np.float32)}
    targets = {
        "label": Target("classes", 3, ("a", "b", "c")),
        "size": Target("number", 1, ("size",)),
    }
    made = SplitDataSet.of("noise", meta=Meta(targets), licence="CC0-1.0", flips=False,
                           images=images, labels=labels)
    return made
'''

MADE, DRAWN = "    return made\n", "    rng = np.random.default_rng(0)\n"
LABEL = "        label = np.arange(count, dtype=np.int64) % 3\n"
TARGETS = '        "label": Target("classes", 3, ("a", "b", "c")),\n'


def instead(split: str, advice: str) -> tuple[str, str]:
    """One split of the data set that is made, otherwise."""
    return MADE, f'    old = made.splits["{split}"]\n    made.splits["{split}"] = {advice}\n' + MADE


def images(name: str, read: str) -> tuple[str, str]:
    """A class of images that are read otherwise."""
    head = f"\n\nclass {name}(ArrayImages):\n    def read(self, indices, input):\n"
    return "\n\ndef build(", f"{head}        {read}\n\n\ndef build("


def set_to(name: str, value: str) -> tuple[str, str]:
    return MADE, f'    object.__setattr__(made, "{name}", {value})\n' + MADE


# Name of the fault -> (its check, a word of the finding, what is replaced by what).
DATASETS: dict[str, tuple[str, str, list[tuple[str, str]]]] = {
    "a name for two classes": ("meta", "repeated", [('("a", "b", "c")', '("a", "b", "b")')]),
    "a name too few": ("meta", "2 names for 3", [('("a", "b", "c")', '("a", "b")')]),
    "no licence": ("meta", "name it", [('licence="CC0-1.0"', 'licence=""')]),
    "flips that are no flag": ("meta", "flips", [("flips=False", 'flips="no"')]),
    "a target named as a variant": (
        "meta", "must consist of letters",
        [('"size": Target', '"a:size": Target'), ('{"label": label, "size"', '{"label": label, "a:size"')],
    ),
    "rows numbered on from split to split": (
        "splits", "0, 1, 2", [instead("test", "Samples(old.x, old.y, old.rows + 30)")],
    ),
    "an image too few": (
        "splits", "11 images for 12",
        [instead("test", "Samples(ArrayImages(old.x.array[1:]), old.y, old.rows)")],
    ),
    "a target without labels in test": (
        "splits", "labels of", [instead("test", 'Samples(old.x, {"label": old.y["label"]}, old.rows)')],
    ),
    "shuffles labels at each call": (
        "splits", "from call to call",
        [("    return made\n", "    return Moving(made)\n"),
         ("\n\ndef build(", "\n\nclass Moving:\n"
          "    def __init__(self, made):\n        self.made = made\n\n"
          "    def __getattr__(self, name):\n        return getattr(self.made, name)\n\n"
          "    def split(self, name):\n        found = self.made.split(name)\n"
          '        np.random.default_rng().shuffle(found.y["label"])\n'
          "        return found\n\n\ndef build(")],
    ),
    "labels of 32 bits": (
        "labels", "expected int64 (12,)",
        [instead("test", 'Samples(old.x, {**old.y, "label": old.y["label"].astype(np.int32)}, old.rows)')],
    ),
    "a class without training rows": (
        "labels", "train has no row of 'c'",
        [(LABEL, LABEL.replace("% 3", '% (2 if split == "train" else 3)'))],
    ),
    "a class of one image alone": (
        "labels", "test has no row of 'c'",
        [(LABEL, LABEL.replace("% 3", "% 2") + '        label[0] = 2 if split == "train" else 0\n')],
    ),
    "an infinite number": (
        "labels", "infinite", [(MADE, '    made.splits["test"].y["size"][3] = np.inf\n' + MADE)],
    ),
    "colour in one split": (
        "images", "is stored as",
        [instead("test", "Samples(ArrayImages(old.x.array.repeat(3, axis=1)), old.y, old.rows)")],
    ),
    "gives what it keeps away": (
        "images", "writing into the array",
        [images("Keeping", "if str(indices) + str(input) not in self.__dict__:\n"
                "            self.__dict__[str(indices) + str(input)] = super().read(indices, input)\n"
                "        return self.__dict__[str(indices) + str(input)]"),
         instead("val", "Samples(Keeping(old.x.array), old.y, old.rows)")],
    ),
    "images that depend on the batch": (
        "images", "read with",
        [images("Even", "found = super().read(indices, input)\n        return found - found.min(axis=0)"),
         instead("test", "Samples(Even(old.x.array), old.y, old.rows)")],
    ),
    "floats for bytes": (
        "images", "float32",
        [images("Floats", 'return super().read(indices, input).astype("float32")'),
         instead("test", "Samples(Floats(old.x.array), old.y, old.rows)")],
    ),
    "validation images from train": (
        "disjoint", "2 validation images",
        [(MADE, '    made.splits["val"].x.array[:2] = made.splits["train"].x.array[:2]\n' + MADE)],
    ),
    "does not tell of test images in train": (
        "disjoint", "counted 1",
        [(MADE, '    made.splits["test"].x.array[0] = made.splits["train"].x.array[7]\n' + MADE)],
    ),
    "another draw each time": ("fingerprint", "two builds", [(DRAWN, DRAWN.replace("(0)", "()"))]),
    "a fingerprint of its own kind": (
        "fingerprint", "fingerprint_of", [set_to("fingerprint", '"version 3"')],
    ),
    "seeds NumPy": ("alone", "random state of NumPy", [(DRAWN, DRAWN + "    np.random.seed(0)\n")]),
    "writes an index file": (
        "alone", "writes", [(DRAWN, DRAWN + '    (root / "rows.txt").write_text("0")\n')],
    ),
}  # fmt: skip


def broken(checks: Sequence[Check[Any]], subject: Any) -> list[tuple[str, str]]:
    outcomes = [(outcome["check"], outcome["finding"]) for outcome in run_checks(checks, subject)]
    assert all("\n" not in finding for _, finding in outcomes)
    return [(check, finding) for check, finding in outcomes if finding]


def dataset_findings(folder: Path, text: str) -> list[tuple[str, str]]:
    path = folder / "noise.py"
    path.write_text(text)
    case = DataSetCase(str(path), DataSets(folder))
    return [(o["check"], o["finding"]) for o in inspect_dataset(case) if o["finding"]]


def test_a_right_data_set_passes_every_check(tmp_path: Path) -> None:
    assert dataset_findings(tmp_path, GOOD) == []


@pytest.mark.parametrize("fault", DATASETS)
def test_a_fault_of_a_data_set_is_caught_by_its_own_check_alone(fault: str, tmp_path: Path) -> None:
    check, word, edits = DATASETS[fault]
    text = GOOD
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    broken_rules = dataset_findings(tmp_path, text)
    assert len(broken_rules) == 1, broken_rules
    assert re.match(r"(\S*/)?noise\.py:\d+: ", broken_rules[0][1]), broken_rules
    assert broken_rules[0][0] == f"dataset_{check}", broken_rules[0][1]
    assert word in broken_rules[0][1]


def test_a_data_set_that_is_not_the_known_one_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    case = DataSetCase("digits", DataSets(Path("nowhere")))
    assert broken(build_checks(), case) == []
    object.__setattr__(case.dataset, "test_in_train", 1)
    [(check, finding)] = broken(build_checks(), case)
    assert check == "dataset_fingerprint"
    assert finding == "test_in_train is 1, in known.json 0"


# --- Signatures

EYE = np.eye(4, dtype=np.float32)


def meta(semantics: Any = EYE, *, unseen: frozenset[int] = frozenset(), **changes: Any) -> Meta:
    target = Target("classes", 4, ("nw", "ne", "sw", "se"), semantics=semantics, unseen=unseen)
    return Meta({"label": replace(target, **changes)})


def with_(row: int, column: int, value: float) -> Any:
    table = EYE.copy()
    table[row, column] = value
    return table


SEMANTICS: dict[str, tuple[str, str, Meta]] = {
    "a class too few": ("shape", "floats (4, attributes)", meta(EYE[:3])),
    "whole numbers": ("shape", "int64", meta(EYE.astype(np.int64))),
    "not finite": ("shape", "not finite", meta(with_(1, 1, np.nan))),
    "signatures of numbers": ("shape", "no classes", meta(kind="number")),
    "two classes alike": ("distinct", "'nw' and 'ne' have the same", meta(EYE[[0, 0, 2, 3]])),
    "an attribute of all": ("distinct", "attribute [4]", meta(np.c_[EYE, np.ones(4)])),
    "unseen classes that are none": ("unseen", "[4] are not among", meta(unseen=frozenset({0, 4}))),
    "nothing to learn from": ("unseen", "keep some", meta(unseen=frozenset(range(4)))),
}  # fmt: skip


@pytest.mark.parametrize("fault", SEMANTICS)
def test_a_fault_of_signatures_is_caught_by_its_own_check_first(fault: str) -> None:
    check, word, subject = SEMANTICS[fault]
    broken_rules = broken(semantics_checks(), subject)
    assert broken_rules[0][0] == f"semantics_{check}", broken_rules[0][1]
    assert word in broken_rules[0][1]


def test_right_signatures_pass_every_check() -> None:
    assert broken(semantics_checks(), meta(unseen=frozenset({1}))) == []
    assert broken(semantics_checks(), meta(None)) == []


def test_every_check_of_the_kit_has_a_fault() -> None:
    planted = {f"dataset_{check}" for check, _, _ in DATASETS.values()}
    planted |= {f"semantics_{check}" for check, _, _ in SEMANTICS.values()}
    checks: list[Any] = [*dataset_checks(), *build_checks(), *semantics_checks()]
    assert planted == {check.__name__.removeprefix("check_") for check in checks}
    assert all(check.__doc__ for check in checks)


# --- The command

TASK = """
title = "Mine"
family = "probe"
dataset = "digits"
protocol = "knn"
chance = 0.10185185185185185
[primary]
target = "label"
"""


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["digits"], "dataset_meta"),
        (["digits-knn"], "task_title"),
        (["mine.toml"], "task_title"),
        (["noise.py", "--kind", "datasets"], "dataset_meta"),
        (["noise.py"], "dataset_meta"),
        (["votes.py,k=3"], "protocol_alone"),
        (["linear"], "protocol_alone"),
        (["pixels", "--kind", "encoders"], "encoder_alone"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_the_command_finds_the_kind(
    words: list[str], first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(TASK)
    Path("noise.py").write_text(GOOD)
    shutil.copy(registry.find("protocols", "knn").path, "votes.py")
    status = main(["check", *words, "--data", ".", "--json"])
    outcomes = json.loads(capsys.readouterr().out)
    assert [outcome for outcome in outcomes if outcome["finding"]] == []
    assert (outcomes[0]["check"], status) == (first, 0)


def test_the_command_names_the_fault_and_what_there_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(TASK.replace("0.101", "0.202"))
    assert main(["check", "mine.toml", "--data", "."]) == 1
    assert "the share of the largest class is 0.10185185185185185" in capsys.readouterr().out
    Path("spread.py").write_text("def diagnose(context): ...\n")
    Path("question.py").write_text("def run(*, setting): ...\n")
    for name in ("spread.py", "question.py", "sparsity", "tuning"):
        assert main(["check", name]) == 2
        assert "have no checks; put it into" in capsys.readouterr().err
    assert main(["check", "digits-lnear"]) == 2
    assert "did you mean 'digits-linear'" in capsys.readouterr().err
    assert main(["check", "image_folder", "--data", "."]) == 2
    assert "path=FOLDER" in capsys.readouterr().err
