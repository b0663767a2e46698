"""The check kit on protocols with planted faults: each is caught by its own check, by no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bench.naming.specs import resolve
from bench.testing import ProtocolCase, protocol_checks, run_checks
from tests.kit import TOYS

GOOD = (TOYS / "least_squares.py").read_text()

BUILD = "    return Ridge(meta, trunk, seed, penalty)\n"
FIT = "        parts = [train] if val is None else [train, val]\n"
VALUES = "            values = np.c_[x, np.ones(len(x))] @ weights\n"
LOGITS = "                values = 8 * values\n"
PREDICT = "    def predict(self, x):\n        predictions = {}\n"
SOLVED = "        x = np.c_[x, np.ones(len(x))].astype(np.float64)\n"
EXPECTED = '        expected = np.eye(target.size)[y] if target.kind == "classes" else y\n'
PREDICTED = "            predictions[name] = values.astype(np.float32)\n"
LABELLED = "        labelled = y >= 0 if y.ndim == 1 else ~np.isnan(y[:, 0])\n"
REPORT = (
    '        return {"penalty": self.penalty, "temperature": dict.fromkeys(self.weights, 1.0)}\n'
)

# Name of the fault -> (its check, a word of the finding, what is replaced by what).
FAULTS: dict[str, tuple[str, str, list[tuple[str, str]]]] = {
    "asks the network in fit": (
        "alone", "network",
        [(FIT, '        import urllib.request\n'
          '        urllib.request.urlopen("http://example.org/test-labels")\n' + FIT)],
    ),
    "writes a file in predict": (
        "alone", "writes", [(PREDICT, PREDICT + '        open("log.txt", "w").close()\n')],
    ),
    "seeds NumPy in select": (
        "alone", "random state of NumPy",
        [("        right = {}\n", "        right = {}\n        np.random.seed(0)\n")],
    ),
    "takes its trunk in build": (
        "contract", "call it in fit",
        [(BUILD, BUILD.replace("trunk,", 'trunk("trained", seed=seed),'))],
    ),
    "an output of its own": ("contract", "'logits'", [('"log_probability"', '"logits"')]),
    "accepts a list": ("contract", "frozenset", [('frozenset({"classes", "number"})', '["classes"]')]),
    "accepts what there is not": ("contract", "frozenset", [('"number"})', '"numbers"})')]),
    "a flag is no flag": ("contract", "seeded", [("seeded = False", 'seeded = "no"')]),
    "chooses what build does not take": (
        "contract", "'ridge'", [('return {"penalty": max', 'return {"ridge": max')],
    ),
    "fit gives nothing": (
        "contract", "return self",
        [("for n in self.meta.targets}\n        return self\n", "for n in self.meta.targets}\n"),
         (".fit(train, None)\n", "\n            tried.fit(train, None)\n"),
         ],
    ),
    "probabilities for their logarithms": (
        "output", "not 1", [(PREDICTED, PREDICTED.replace("values.", "np.exp(values)."))],
    ),
    "double precision": ("output", "float64", [(PREDICTED, PREDICTED.replace(".astype(np.float32)", ""))]),
    "a column of no target": (
        "output", "variant of no target",
        [(PREDICTED, PREDICTED + '            predictions["top:k=5"] = predictions[name]\n')],
    ),
    "forgets the target itself": (
        "output", "predictions are of", [(PREDICTED, PREDICTED.replace("[name]", '[name + ":plain"]')),
                                 (".predict(val.x)[name]", '.predict(val.x)[name + ":plain"]')],
    ),
    "centres the features in place": (
        "untouched", "training features",
        [(FIT, "        x = train.x\n        x -= x.mean(axis=0)\n" + FIT)],
    ),
    "fills in missing labels in place": (
        "untouched", "labels", [(FIT, FIT + '        train.y["label"][:3] = 0\n')],
    ),
    "scales the test rows in place": (
        "untouched", "test features",
        [(PREDICT, PREDICT + "        if len(x) == 60:\n            x *= 1.01\n")],
    ),
    "mixes up two classes": (
        "learns", "expected 0.95",
        [(EXPECTED, EXPECTED + '        if target.kind == "classes":\n'
          "            expected = np.roll(expected, 1, axis=1)\n")],
    ),
    "guesses by the row's place": (
        "chance", "on shuffled labels",
        [(LOGITS, "                size = values.shape[1]\n"
          "                values = 8 * values + 99 * np.eye(size)[np.arange(len(x)) % size]"
          " * (len(x) > 1)\n")],
    ),
    "dropout is on in predict": (
        "deterministic", "second predict",
        [("        self.meta, self.trunk,", "        self.rng = np.random.default_rng(seed)\n"
          "        self.meta, self.trunk,"),
         (VALUES, VALUES.replace("np.c_[x,", "np.c_[x * (self.rng.random(x.shape) > 0.01),"))],
    ),
    "draws from the system": (
        "repeatable", "one seed differ",
        [(SOLVED, SOLVED + "        x += 1e-3 * np.random.default_rng().standard_normal(x.shape)\n")],
    ),
    "says it is seeded and is not": ("seeded", "seeded = False", [("seeded = False", "seeded = True")]),
    "says it is not seeded and is": (
        "seeded", "though it says",
        [(SOLVED, SOLVED + "        rng = np.random.default_rng(self.seed)\n"
          "        x += 1e-3 * rng.standard_normal(x.shape)\n")],
    ),
    "keeps what it learns on the class": (
        "instances", "share state",
        [("        self.weights = {n", "        type(self).weights = {n")],
    ),
    "scales the test rows by themselves": (
        "test_order", "the other test rows",
        [(PREDICT, PREDICT + "        x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1)\n")],
    ),
    "learns from the first rows alone": (
        "train_order", "use all rows alike",
        [("        return samples.x[labelled], y[labelled]\n",
          "        return samples.x[labelled][:90], y[labelled][:90]\n")],
    ),
    "favours the lower classes": (
        "relabelled", "all classes alike",
        [(LOGITS, "                values = 8 * values - 0.3 * np.arange(values.shape[1])\n")],
    ),
    "takes missing for the last class": (
        "missing", "leave out rows",
        [(LABELLED, "        labelled = np.full(len(y), y.dtype != np.float32)"
          " | (y.reshape(len(y), -1)[:, 0] >= -9)\n")],
    ),
    "centres on rows without a label": (
        "missing", "means",
        [(FIT, FIT + "        self.mean = 0.1 * np.concatenate([p.x for p in parts]).mean(axis=0)\n"),
         (PREDICT, PREDICT + "        x = x - self.mean\n")],
    ),
    "a sweep forgets validation": (
        "sweep", "job 0", [("            for rows in (job.train, job.val):\n",
                            "            for rows in (job.train,):\n")],
    ),
    "a sweep takes all rows": (
        "sweep", "job 1", [("for rows in (job.train, job.val)",
                            "for rows in (np.arange(120), job.val)")],
    ),
    "a sweep leaves one job out": ("sweep", "outcomes", [("        for job in jobs:\n",
                                                          "        for job in jobs[1:]:\n")]),
    "one target's rows for all": (
        "targets", "its label",
        [(LABELLED, LABELLED.replace("labelled = ", "labelled = next(iter(samples.y.values())) >= 0\n"
                               "        y = np.nan_to_num(y)\n        _ = "))],
    ),
    "reads the test rows by hundreds": (
        "test_sizes", "101 test rows",
        [(PREDICT, PREDICT + "        np.zeros((max(100, len(x) // 100 * 100), 1))[: len(x)] + x\n")],
    ),
    "counts the classes in the labels": (
        "empty_class", "expected a float32 array|expected 0.9",
        [(EXPECTED, EXPECTED.replace("np.eye(target.size)", "np.eye(y.max() + 1)"))],
    ),
    "the logarithm of an empty class": (
        "empty_class", "NaN or infinity",
        [(EXPECTED, EXPECTED + "        share = {name: expected.mean(axis=0)}\n"
          '        self.share = {**getattr(self, "share", {}), **share}\n'),
         (LOGITS, '                with np.errstate(divide="ignore"):\n'
          "                    values = 8 * values + np.log(self.share[name])\n")],
    ),
    "wants twenty neighbours": (
        "few_rows", "refused", [(SOLVED, SOLVED + "        np.argpartition(x[:, 0], 20)\n")],
    ),
    "divides by a spread of 0": (
        "degenerate", "NaN or infinity",
        [(FIT, FIT + "        self.scale = np.concatenate([p.x for p in parts]).std(axis=0)\n"),
         (PREDICTED, PREDICTED + '            with np.errstate(all="ignore"):\n'
          "                predictions[name] += np.float32(0) * (1 / self.scale).sum()\n")],
    ),
    "reads validation without asking": (
        "no_val", "raise Declined",
        [("        if val is None:\n            return {}\n", "        val.x\n")],
    ),
    "an error that fails the cell": (
        "no_val", "raises no Declined",
        [("        if val is None:\n            return {}\n",
          "        from bench.errors import BenchError\n        if val is None:\n"
          '            raise BenchError("no validation")\n')],
    ),
    "reports an array": (
        "report", "not return JSON", [(REPORT, REPORT.replace("self.penalty,", "np.ones(3),"))],
    ),
    "reports infinity": (
        "report", "not return JSON", [(REPORT, REPORT.replace("self.penalty,", "float('inf'),"))],
    ),
    "a temperature of nothing": (
        "report", "temperature", [(REPORT, REPORT.replace("1.0", "0.0"))],
    ),
    "the head of train and validation": (
        "head", "train alone", [("iter(self.alone.values())", "iter(self.weights.values())")],
    ),
    "the head is a function": (
        "head", "expected a module", [("        return layer\n", "        return layer.forward\n")],
    ),
    "the head passes no gradient": (
        "head", "gradient", [("        return layer\n",
                              "        layer.forward = lambda x: (layer.weight @ x.detach().T)"
                              ".detach().T\n        return layer\n")],
    ),
}  # fmt: skip


def findings(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.chdir(folder)
    path = folder / "least_squares.py"
    path.write_text(text)
    return list(run_checks(protocol_checks(), ProtocolCase(resolve("protocols", str(path)))))


def test_a_right_protocol_passes_every_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = findings(tmp_path, GOOD, monkeypatch)
    assert [outcome for outcome in outcomes if outcome["finding"]] == []
    assert len(outcomes) == len({outcome["rule"] for outcome in outcomes}) == len(protocol_checks())


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
    assert re.match(r"least_squares\.py:\d+: ", broken[0]["finding"]), broken
    assert broken[0]["check"] == f"protocol_{check}", broken[0]["finding"]
    assert any(part in broken[0]["finding"] for part in word.split("|")), broken[0]["finding"]
    assert "\n" not in broken[0]["finding"]


def test_every_check_of_the_kit_has_a_fault() -> None:
    names = {check.__name__.removeprefix("check_protocol_") for check in protocol_checks()}
    assert {check for check, _, _ in FAULTS.values()} == names
    assert len(FAULTS) >= 20
