"""Multi-task protocols: their inputs, choices, matched numbers of parameters, and reports."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

from bench.data.samples import Meta, Samples, Target
from bench.datasets.base import DataSets
from bench.errors import BenchError, Declined
from bench.naming import registry
from bench.naming.specs import resolve
from bench.protocols.base import Job
from bench.protocols.parts.multitask import DECAYS, DROPOUTS, RATES, MultiTask
from bench.protocols.parts.whitening import Whitening
from bench.running.runner import run_cell
from bench.running.workspace import Workspace
from bench.solvers.towers import parameter_count
from bench.tasks.cell import Cell
from bench.tasks.task import Primary, Replicates, Task
from tests.kit import TOYS

ARMS = ("single_task", "hard_sharing", "soft_sharing", "cross_stitch", "gated_experts")
META = Meta(
    {
        "colour": Target("classes", 3, ("a", "b", "c")),
        "tag": Target("binary", 2, ("p", "q")),
        "width": Target("number", 1, ("w",)),
    }
)


def samples(count: int, *, seed: int, dim: int = 9) -> Samples:
    rng = np.random.default_rng(seed)
    x = (3 * rng.standard_normal((count, dim)) + 5).astype(np.float32)
    y = {
        "colour": x[:, :3].argmax(axis=1).astype(np.int64),
        "tag": (x[:, 2:4] > 5).astype(np.int64),
        "width": 7 * x[:, 4:5] + 100,
    }
    return Samples(x, y, np.arange(count))


def built(arm: str, *, seed: int = 0, meta: Meta = META, **arguments: Any) -> MultiTask:
    arguments = {"pca": 0, "width": 16, "epochs": 4, "trials": 6, **arguments}
    module = registry.load(registry.find("protocols", arm))
    protocol = module.build(meta=meta, trunk=lambda *_, **__: None, seed=seed, **arguments)
    assert isinstance(protocol, MultiTask)
    return protocol


# --- What heads read


@pytest.mark.parametrize("pca", [0, 4])
def test_heads_read_principal_components_of_train_each_of_unit_variance(pca: int) -> None:
    train, test = samples(200, seed=0), samples(50, seed=1)
    whitening = Whitening.of(train, META.targets, pca)
    theirs = PCA(n_components=pca or 9, whiten=True).fit(train.x)
    expected = theirs.transform(test.x) * math.sqrt(200 / 199)  # they divide by n - 1
    actual = whitening(np.asarray(test.x))
    signs = np.sign((actual * expected).sum(axis=0))
    np.testing.assert_allclose(actual * signs, expected, atol=2e-3)


def test_constant_and_repeated_features_are_left_out() -> None:
    train = samples(50, seed=0, dim=5)
    x = np.concatenate([train.x, train.x[:, :2], np.ones((50, 3), np.float32)], axis=1)
    whitening = Whitening.of(Samples(x, train.y, train.rows), META.targets, 64)
    assert whitening.axes.shape == (10, 5)


def test_numbers_come_back_in_their_own_units() -> None:
    train, test = samples(400, seed=0), samples(100, seed=1)
    fitted = built("hard_sharing", rate=0.01, epochs=60).fit(train, None)
    actual = fitted.predict(test.x)["width"]
    assert 1 - ((actual - test.y["width"]) ** 2).mean() / test.y["width"].var() > 0.8


# --- Fair by construction


@pytest.mark.parametrize("width", [16, 256])
@pytest.mark.parametrize("arm", ["hard_sharing", "gated_experts", "soft_sharing", "cross_stitch"])
def test_arms_have_the_parameters_of_towers_of_their_own_within_2_per_cent(
    arm: str, width: int
) -> None:
    protocol, dim = built(arm, width=width), 64
    actual = parameter_count(dim, list(protocol.sizes.values()), protocol.layout(dim))
    assert abs(actual / protocol.single_task_parameters(dim) - 1) < (0.02 if width == 256 else 0.06)


def test_slim_is_as_wide_as_one_tower() -> None:
    assert built("hard_sharing", slim=True).layout(9).width == 16
    assert built("hard_sharing").layout(9).width > 30


def test_all_arms_try_the_same_settings_and_one_has_its_knob() -> None:
    drawn = {arm: built(arm, trials=12)._drawn() for arm in ARMS}
    seen = {arm: [(p.rate, p.decay, p.dropout) for p in plans] for arm, plans in drawn.items()}
    assert all(settings == seen["single_task"] for settings in seen.values())
    assert len(set(seen["single_task"])) == 12
    for rate, decay, dropout in seen["single_task"]:
        assert rate in RATES and decay in DECAYS and dropout in DROPOUTS
    couplings = {p.coupling for p in drawn["soft_sharing"]}
    assert len(couplings) == 7 and {p.coupling for p in drawn["single_task"]} == {0.0}
    weights = [p.weights for p in built("hard_sharing", weighting="static")._drawn()]
    assert len(set(weights)) == 6 and all(len(w.split()) == 3 for w in weights)


@pytest.mark.parametrize("arm", ARMS)
def test_the_setting_of_best_mean_score_on_validation_is_taken(arm: str) -> None:
    train, val = samples(120, seed=0), samples(60, seed=1)
    protocol = built(arm)
    chosen = protocol.select(train, val)
    report = protocol.trials()["trials"]
    best = max(report, key=lambda t: t[4])
    assert [chosen["rate"], chosen["decay"], chosen["dropout"]] == best[:3] and len(report) == 6
    # The trial itself, run alone, scores the same on validation.
    alone = built(arm, **chosen).fit(train, val)
    assert alone._score(alone.predict(val.x), val) == pytest.approx(best[4], abs=1e-6)
    with pytest.raises(Declined, match="validation"):
        built(arm).select(train, None)
    assert built(arm, rate=0.01).select(train, val) == {}


def test_a_best_rate_at_the_edge_of_what_was_tried_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for best, edge in ((3e-2, True), (3e-3, False)):
        protocol = built("single_task", trials=12)
        plans = protocol._drawn()
        protocol._trials = [(p, float(p.rate == best)) for p in plans]
        assert protocol.trials()["at_edge"] is edge


def test_bookkeeping_counts_what_was_done() -> None:
    train = samples(300, seed=0)
    report = built("hard_sharing", rate=0.01, slim=True).fit(train, None).report()
    assert report["steps"] == 4 * 2 and report["images_seen"] == 1200
    assert report["macs"] == 9 * 16 + 16 * 6
    assert report["parameters"] == 9 * 16 + 3 * 16 + 16 * 6 + 6


def test_seeds_of_a_sweep_are_the_runs_one_by_one() -> None:
    train, test = samples(100, seed=0), samples(40, seed=2)
    rows = np.arange(100)
    jobs = [Job(META, rows, None, seed) for seed in range(3)] + [Job(META, rows[::2], None, 0)]
    for arm in ARMS:
        swept = built(arm, rate=0.01).sweep(train, jobs, np.asarray(test.x))
        for job, (actual, report) in zip(jobs, swept, strict=True):
            part = Samples(
                np.asarray(train.x)[job.train],
                {n: y[job.train] for n, y in train.y.items()},
                job.train,
            )
            alone = built(arm, rate=0.01, seed=job.seed).fit(part, None)
            expected = alone.predict(np.asarray(test.x))
            for name in expected:
                np.testing.assert_allclose(actual[name], expected[name], atol=1e-3)
            assert report["steps"] == alone.report()["steps"]


def test_wrong_arguments_are_refused() -> None:
    wrong = [
        ("single_task", {"width": 0}),
        ("single_task", {"dropout": 1.0}),
        ("soft_sharing", {"coupling": "-1"}),
        ("soft_sharing", {"coupling": "much"}),
        ("gated_experts", {"experts": 0}),
    ]
    for arm, arguments in wrong:
        with pytest.raises(BenchError, match=f"{arm},"):
            built(arm, **arguments)


# --- In a run


@pytest.mark.slow
def test_ten_seeds_over_three_trainings_beside_a_shuffled_control(tmp_path: Path) -> None:
    """The control keeps the first target's labels and shuffles the others'."""
    plan = Replicates(seeds=10, encoder_seeds=3, controls=("shuffled_auxiliary",))
    task = Task(
        name="toy-sharing",
        family="multitask",
        dataset=f"{TOYS / 'quadrants'}.py",
        targets=("label", "tag"),
        protocol="hard_sharing,pca=8,width=16,epochs=200,trials=4",
        chance=0.375,
        primary=Primary(target=None),
        replicates=plan,
    )
    spec = resolve("encoders", f"{TOYS / 'small_trunk'}.py~1k")
    record, arrays = run_cell(Cell(task, spec), Workspace(DataSets(tmp_path)))
    assert record.status == "ok", record.reason
    assert len(record.replicates) == 20 and len(record.training) == 3
    assert record.tuning is not None and len(record.tuning["trials"]) == 4
    plain = [r for r in record.replicates if r.coords.control is None]
    shuffled = [r for r in record.replicates if r.coords.control is not None]
    mean = np.mean([[r.scores[n]["accuracy"] for n in ("label", "tag")] for r in plain])
    assert record.primary is not None and record.primary.value == pytest.approx(mean)
    tags, labels = (
        [
            np.mean([r.scores[name]["accuracy"] for r in replicates])
            for replicates in (plain, shuffled)
        ]
        for name in ("tag", "label")
    )
    assert tags[0] > 0.9 > 0.7 > tags[1] and labels[1] > 0.8
    assert not any(name.endswith(("top", "true")) for name in arrays)
