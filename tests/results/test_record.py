"""Stored predictions give the scores again; records round-trip, and what is no record is refused."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.results import store as store_module
from bench.results.predictions import decode, encode, encode_truth
from bench.results.record import SCHEMA, Record, StoredPredictions
from bench.results.store import Store
from bench.statistics.metrics import calibration_error, score
from tests.kit import ROOT, records
from tests.kit.records import record

SEEDS = range(4)


def log_probabilities(seed: int, n: int = 1000, k: int = 10, sharp: float = 2.0) -> Any:
    """Truth (n,) and log-probabilities (n, k) of a classifier that is right most of the time."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=n)
    scores = sharp * (rng.normal(size=(n, k)) + 2.5 * np.eye(k)[truth])
    log_p = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    return truth, log_p.astype(np.float32)


def around(kind: str, prediction: Any, truth: Any, probabilistic: bool = True) -> dict[str, Any]:
    """What is left after storing."""
    encoded = encode(kind, prediction, truth, probabilistic=probabilistic)
    return decode(kind, encoded, encode_truth(kind, truth))


@pytest.mark.parametrize("k", [2, 10, 128, 129, 40_000])
def test_the_class_is_kept_exactly(k: int) -> None:
    rng = np.random.default_rng(k)
    scores = rng.normal(size=(20, k)).astype(np.float32)
    scores[0, k - 1] = scores[1, 0] = 9.0
    truth = np.append(rng.integers(k, size=18), [k - 1, -1])
    score = around("classes", scores, truth, probabilistic=False)
    assert score["class"].tolist() == scores.argmax(axis=1).tolist()
    assert score["truth"].tolist() == truth.tolist()
    assert set(score) == {"class", "truth"}


@pytest.mark.parametrize("sharp", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_likelihood_is_kept_to_a_32nd_of_a_nat(seed: int, sharp: float) -> None:
    truth, log_p = log_probabilities(seed, sharp=sharp)
    likelihood = log_p[np.arange(len(truth)), truth]
    result = around("classes", log_p, truth)
    near = likelihood > -15.9
    assert near.mean() > 0.9
    assert np.abs(result["true"] - likelihood)[near].max() <= 1 / 32 + 1e-6
    assert (result["true"][~near] >= -16).all()
    assert (result["true"][~near] <= -15.9).all()
    nll = score("classes", truth, log_p, probabilistic=True)["nll"]
    beyond = float(np.maximum(-likelihood - 15.9375, 0).mean())  # what clipping takes away
    assert abs(-result["true"].mean() - (nll - beyond)) <= 1 / 32


@pytest.mark.parametrize("value", [0.0, -15.9, -16.0, -50.0, -np.inf])
def test_a_likelihood_out_of_reach_is_clipped(value: float) -> None:
    score = around("classes", np.array([[value, -0.1]]), np.array([0]))
    assert score["true"] == pytest.approx([max(value, -255 / 16)], abs=1 / 32)


@pytest.mark.parametrize("sharp", [0.3, 1.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_calibration_error_is_kept_but_for_rows_near_the_edge_of_a_bin(
    seed: int, sharp: float
) -> None:
    """A confidence moves by 1/510 at most; 255 is a multiple of 15 bins, so that only rows within
    1/510 of an edge change their bin: each moves the sum of the gaps by at most 2 / n."""
    truth, log_p = log_probabilities(seed, sharp=sharp)
    score = around("classes", log_p, truth)
    exact = np.exp(log_p.max(axis=1).astype(np.float64))
    assert np.abs(score["top"] - exact).max() <= 1 / 510 + 1e-6
    right = score["class"] == truth
    moved = np.mean(np.abs(exact * 15 - np.round(exact * 15)) <= 15 / 510 + 1e-4)
    again = calibration_error(score["top"], right)
    assert abs(again - calibration_error(exact, right)) <= 1 / 510 + 2 * moved + 1e-6
    assert 1 / 510 + 2 * moved < 0.3


@pytest.mark.parametrize("probabilistic", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (40, 5), (8, 8)])
def test_yes_and_no_are_kept_exactly(shape: tuple[int, int], probabilistic: bool) -> None:
    rng = np.random.default_rng(shape[0])
    p = rng.uniform(0.01, 0.99, size=shape)
    truth = rng.integers(-1, 2, size=shape)
    score = around("binary", np.log(p) if probabilistic else p - 0.5, truth, probabilistic)
    assert score["yes"].tolist() == (p > 0.5).astype(int).tolist()
    assert score["truth"].tolist() == truth.tolist()


def test_numbers_are_kept_as_fp16() -> None:
    rng = np.random.default_rng(0)
    truth, value = rng.normal(size=(2, 50, 3)).astype(np.float32) * 100
    truth[3, 1] = np.nan
    score = around("number", value, truth, probabilistic=False)
    assert score["value"] == pytest.approx(value, rel=2**-11)
    assert score["truth"] == pytest.approx(truth, rel=2**-11, nan_ok=True)
    assert score["value"].dtype == score["truth"].dtype == np.float64
    assert encode("number", value, truth, probabilistic=False)["value"].dtype == np.float16


@pytest.mark.filterwarnings("ignore:overflow")
def test_numbers_out_of_the_reach_of_fp16_are_not_kept_as_infinity() -> None:
    large = np.array([[1e5], [-3e6]], dtype=np.float32)
    score = around("number", large, large, probabilistic=False)
    assert score["value"] == pytest.approx(large, rel=1e-3)
    assert score["truth"] == pytest.approx(large, rel=1e-3)


@pytest.mark.parametrize("sharp", [0.5, 1.0, 2.0])
def test_10000_rows_of_ten_classes_take_about_20_kilobytes(sharp: float) -> None:
    truth, log_p = log_probabilities(0, n=10_000, sharp=sharp)
    file = io.BytesIO()
    encoded = encode("classes", log_p, truth, probabilistic=True)
    np.savez_compressed(file, **encoded)
    assert file.tell() <= 23_000


OTHER: dict[str, Any] = {
    "owner": "another",
    "encoder": records.encoder(id="pca"),
    "task": records.task(id="u"),
    "data": records.data(id="e"),
    "protocol": records.protocol(id="linear"),
    "status": "failed",
    "reason": "why",
    "supervision": "labels",
    "replicates": (),
    "primary": records.primary(high=0.7),
    "training": (records.training(steps=1),),
    "tuning": {"chosen": {}},
    "diagnostics": ({"x": 1.0, "y": None},),
    "measured": {"seconds": {"total": 9.0}},
    "predictions": StoredPredictions(kinds={"label": ("classes", 5)}, digest="x"),
}


@pytest.mark.skipif(
    not (ROOT / "results" / "reptransfer").is_dir(), reason="a source distribution has no records"
)
def test_the_committed_records_come_back_byte_for_byte() -> None:
    store, count = Store(ROOT / "results"), 0
    for path in store.paths():
        text = path.read_text(encoding="utf-8")
        committed = store.read(path)
        assert store_module._text(committed) == text, path
        assert json.loads(text)["digest"] == committed.digest
        count += 1
    assert count > 600


def test_a_record_comes_back_from_its_json() -> None:
    spec = records.encoder(
        arguments={"dim": 4}, revisions={}, depends={}, read_out=None, dim=None,
        parameters=None, pretrained_on=None, seeded=None,
    )  # fmt: skip
    declined = record(encoder=spec, status="declined", reason="why", primary=None, predictions=None)
    assert declined.to_json()["encoder"]["budget"] is None
    changes = {k: OTHER[k] for k in ("training", "tuning", "predictions")}
    for stored in (record(), record(**changes), declined):
        text = json.dumps({**stored.to_json(), "digest": stored.digest})
        again = Record.from_json(json.loads(text), "here")
        assert again == stored
        assert again.to_json() == stored.to_json()
        assert again.digest == stored.digest


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Record)])
def test_the_digest_ignores_what_was_measured_and_nothing_else(name: str) -> None:
    changed = dataclasses.replace(record(), **{name: OTHER[name]})
    assert (changed.digest == record().digest) == (name == "measured")


GOOD = record(training=(records.training(),), diagnostics=({"encoder_seed": 0},)).to_json()


def inside(*path: Any, **change: Any) -> dict[str, Any]:
    """GOOD with other values in the object at this path."""
    value = inner = json.loads(json.dumps(GOOD))
    for key in path:
        inner = inner[key]
    inner.update(change)
    return {path[0]: value[path[0]]} if path else value


REFUSED: dict[str, dict[str, Any]] = {
    "an unknown schema": {"schema": "reptransfer.record/0"},
    "no schema": {"schema": None},
    "an unknown field": {"scores": 1},
    "an owner that is no string": {"owner": 3},
    "an encoder that is a list": {"encoder": []},
    "a task without id": {"task": {}},
    "an id that is a number": inside("data", id=3),
    "protocol null": {"protocol": None},
    "an unknown status": {"status": "fine"},
    "a status that is a list": {"status": ["ok"]},
    "a reason that is a number": {"status": "failed", "reason": 3},
    "supervision that is a list": {"supervision": []},
    "replicates that are an object": {"replicates": {}},
    "replicates of strings": {"replicates": ["a"]},
    "no replicates": {"replicates": []},
    "training of numbers": {"training": [1]},
    "notes that are text": inside("training", 0, notes="odd"),
    "terms of text": inside("training", 0, terms={"loss": "low"}),
    "a negative number of images": inside("training", 0, images=-1),
    "diagnostics null": {"diagnostics": None},
    "a diagnostic that is text": inside("diagnostics", 0, rank="high"),
    "measured null": {"measured": None},
    "seconds of text": {"measured": {"seconds": {"total": "long"}}},
    "no seconds": {"measured": {}},
    "seeds that are a list": {"measured": {"seconds": {"total": 1.0}, "seeds": [3]}},
    "predictions that are a string": {"predictions": "x.npz"},
    "no predictions": {"predictions": None},
    "an unknown kind of target": inside("predictions", kinds={"label": ["words", 5]}),
    "a target without size": inside("predictions", kinds={"label": ["classes", 0]}),
    "a target that is no pair": inside("predictions", kinds={"label": ["classes"]}),
    "tuning that is a number": {"tuning": 3},
    "ok without primary": {"primary": None},
    "a primary that is a number": {"primary": 0.5},
    "a primary without interval": {"primary": {"value": 0.5}},
    "a primary that is text": inside("primary", value="0.5"),
    "a primary that is true": inside("primary", value=True),
    "a primary below its interval": inside("primary", value=0.3),
    "a primary above its interval": inside("primary", value=0.7),
    "a primary that is NaN": inside("primary", value=float("nan")),
    "an infinite end": inside("primary", high=float("inf")),
    "a primary without metric": {"primary": {"value": 0.5, "low": 0.4, "high": 0.6}},
    "NaN among the scores": inside("replicates", 0, scores={"y": {"nll": float("nan")}}),
    "a score that is beyond floats": inside("replicates", 0, scores={"y": {"nll": 10**400}}),
    "a score that is text": inside("replicates", 0, scores={"y": {"nll": "1"}}),
    "a target that is a number": inside("replicates", 0, scores={"y": 3}),
    "NaN in a report": inside("replicates", 0, report={"loss": float("nan")}),
    "a report that is a list": inside("replicates", 0, report=[]),
    "a failed replicate": inside("replicates", 0, status="failed", reason="why"),
    "a declined replicate": inside("replicates", 0, status="declined"),
    "a number of rows that is text": inside("replicates", 0, n_train="many"),
    "a number of rows that is a fraction": inside("replicates", 0, n_train=0.5),
    "a negative number of rows": inside("replicates", 0, n_train=-1),
    "a shift that is a list": inside("replicates", 0, "coords", shift=["noise"]),
    "a seed that is text": inside("replicates", 0, "coords", head_seed="<b>"),
    "a seed beyond 64 bits": inside("replicates", 0, "coords", head_seed=2**63),
    "an unknown coordinate": inside("replicates", 0, "coords", fold=1),
    "rows that are a list": inside("data", rows=[]),
    "no test rows": inside("data", rows={"train": 1, "val": 1}),
    "a dimension that is text": inside("encoder", dim="4"),
    "a dimension alone": inside("encoder", read_out=None),
    "arguments alone": inside("encoder", arguments={}),
    "a version that is text": inside("task", version="1"),
    "an unknown field of a protocol": inside("protocol", name="knn"),
    "line breaks in a name": inside("protocol", **{"a\nb": 1}),
    "another digest": {"digest": "0" * 32},
    "content that was edited": {"owner": "me"},
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_what_is_no_record_is_refused_in_one_line_that_names_the_file(
    change: dict[str, Any],
) -> None:
    value = {**GOOD, **change}
    if change == {"owner": "me"}:
        value["digest"] = Record.from_json(GOOD, "").digest
    with pytest.raises(BenchError) as caught:
        Record.from_json(value, "results/x.json")
    assert "results/x.json" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Record)])
def test_a_missing_field_is_refused_by_its_name(name: str) -> None:
    value = {k: v for k, v in record().to_json().items() if k != name}
    with pytest.raises(BenchError, match=rf"results/x\.json.*{name}"):
        Record.from_json(value, "results/x.json")


@pytest.mark.parametrize("value", [None, [], "text", 3, {}, {"schema": SCHEMA}])
def test_json_of_another_kind_is_refused(value: object) -> None:
    with pytest.raises(BenchError, match="here"):
        Record.from_json(value, "here")
