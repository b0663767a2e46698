"""The study of sharing on tiny data: its statistics, its gains by hand, the labels of each arm."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.data.samples import Meta, Samples, Target
from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.protocols.multitask import single_task
from bench.solvers.towers import Run
from bench.studies.base import Report, Setting
from bench.studies.sharing import _arms as _sharing_arms
from bench.studies.sharing import sharing
from bench.studies.sharing._arms import Problem, chosen, scores, settings
from bench.studies.sharing._findings import (
    CouplingCurve,
    LabelSweep,
    PairGains,
    TargetAffinity,
    equivalence,
    label_multiplier,
    label_worth,
    slope,
)
from tests.kit import TOYS

MARKS = f"{TOYS / 'marks'}.py"
OWN = Run(seed=0, rate=0.01)


# --- Statistics


def test_the_slope_is_that_of_all_points_and_its_interval_that_of_the_seeds() -> None:
    rng = np.random.default_rng(0)
    x = [0.0, 0.2, 0.5, 1.0]
    gains = 0.3 * np.array(x)[:, None] + rng.normal(size=(4, 7))
    value = slope(x, gains)
    pooled = stats.linregress(np.repeat(x, 7), gains.ravel()).slope
    reference = np.polyfit(x, gains, 1)[0]
    half = stats.t.ppf(0.975, 6) * reference.std(ddof=1) / math.sqrt(7)
    assert value.value == pytest.approx(pooled)
    assert (value.low, value.high) == pytest.approx(
        (reference.mean() - half, reference.mean() + half)
    )


@pytest.mark.parametrize("centre", [-0.08, -0.03, 0.0, 0.02, 0.06])
def test_equivalence_is_the_worse_of_two_one_sided_tests(centre: float) -> None:
    values = centre + 0.05 * np.random.default_rng(1).normal(size=10)
    above = stats.ttest_1samp(values, -0.05, alternative="greater").pvalue
    below = stats.ttest_1samp(values, 0.05, alternative="less").pvalue
    assert equivalence(values.tolist(), 0.05) == pytest.approx(max(above, below))


def test_equivalence_without_spread() -> None:
    assert (equivalence([0.01, 0.01], 0.05), equivalence([0.1, 0.1], 0.05)) == (0.0, 1.0)
    with pytest.raises(BenchError, match="two or more"):
        equivalence([0.0], 0.05)


def test_the_label_multiplier_by_hand() -> None:
    """Each tenfold halves the error: at 0.1 * sqrt(2) it is half way, at the root of 1,000 labels."""
    alone, shared = [0.6, 0.8, 0.9], [0.6, 1 - 0.1 * math.sqrt(2), 0.8]
    kappa = label_multiplier([1, 10, 100], alone, shared)
    assert kappa == pytest.approx([1.0, math.sqrt(1000) / 10, 0.1])


@pytest.mark.parametrize("kappa", [0.6, 1.0, 1.7, 2.5])
@pytest.mark.parametrize("floor", [0.0, 0.02, 0.1])
def test_a_known_multiplier_is_recovered_within_5_per_cent(kappa: float, floor: float) -> None:
    sizes = np.array([1, 3, 10, 30, 100, 300])

    def accuracy(n: Any) -> Any:
        return 1 - floor - 0.6 * n**-0.45

    values = label_multiplier(sizes, accuracy(sizes), accuracy(kappa * sizes))
    inside = (kappa * sizes >= 1) & (kappa * sizes <= 300)
    assert inside.sum() >= 5
    assert values[inside] == pytest.approx(np.full(inside.sum(), kappa), rel=0.05)
    assert all(v == (math.inf if kappa > 1 else 0.0) for v in values[~inside])


def test_a_curve_that_falls_counts_as_far_as_it_rises() -> None:
    kappa = label_multiplier([1, 2, 4, 8], [0.5, 0.4, 0.5, 0.75], [0.5, 0.4, 0.75, 0.9])
    assert kappa.tolist() == [1.0, 0.0, pytest.approx(2.0), math.inf]
    flat = label_multiplier([1, 2], [0.5, 0.5], [0.5, 0.6])
    assert flat.tolist() == [1.0, math.inf]
    with pytest.raises(BenchError, match="rising"):
        label_multiplier([2, 1], [0.5, 0.5], [0.5, 0.6])


def test_what_sharing_is_worth_in_labels_holds_the_truth() -> None:
    rng, sizes, held = np.random.default_rng(2), np.array([1, 3, 10, 30, 100]), 0
    for _ in range(12):
        draws = 0.01 * rng.normal(size=(2, 5, 10))
        alone, shared = (1 - 0.6 * (k * sizes) ** -0.4 for k in (1, 2))
        kappa = label_worth(sizes.tolist(), alone[:, None] + draws[0], shared[:, None] + draws[1])
        assert kappa[-1].high == math.inf
        held += kappa[2].low <= 2 <= kappa[2].high
    assert held >= 9  # percentiles of ten seeds hold it a little less than 95 times in 100


# --- Arms


def samples(count: int, *, seed: int) -> Samples:
    x = np.random.default_rng(seed).normal(size=(count, 9)).astype(np.float32)
    y = {"b": x[:, :3].argmax(axis=1), "a": (x[:, 3] > 0).astype(np.int64)}
    return Samples(x, y, np.arange(count))


TARGETS = {"b": Target("classes", 3, ("x", "y", "z")), "a": Target("classes", 2, ("n", "p"))}
PARTS = {split: samples(n, seed=n) for split, n in (("train", 300), ("val", 60), ("test", 80))}


def problem() -> Problem:
    return Problem.read(PARTS, TARGETS, 4, name="toy")


def test_an_arm_scores_as_its_protocol_does() -> None:
    runs = [replace(OWN, seed=seed, decay=0.01, dropout=0.2) for seed in range(2)]
    result = scores(problem(), "single_task,width=8", runs, epochs=3)
    for run in runs:
        protocol = single_task.build(
            meta=Meta(TARGETS),
            trunk=lambda *_, **__: None,  # type: ignore[arg-type, return-value]
            seed=run.seed,
            pca=4,
            width=8,
            epochs=3,
            rate=run.rate,
            decay=run.decay,
            dropout=run.dropout,
        ).fit(PARTS["train"], None)
        for split in ("val", "test"):
            part = PARTS[split]
            for name, values in protocol.predict(np.asarray(part.x)).items():
                right = (values.argmax(axis=1) == part.y[name]).mean()
                assert result[split][name][run.seed] == pytest.approx(right)


def test_one_target_alone_is_that_tower_among_several() -> None:
    both = scores(problem(), "single_task,width=8", [OWN], epochs=3)["test"]
    assert scores(problem().only("a"), "single_task,width=8", [OWN], epochs=3)["test"] == {
        "a": both["a"]
    }


def test_a_setting_is_chosen_by_validation_and_nothing_else() -> None:
    trials = [replace(OWN, rate=1e-6), OWN, replace(OWN, rate=math.nan)]
    arm, question = "hard_sharing,width=8", problem()
    assert chosen(question, arm, trials, on=["a"], epochs=10) is trials[1]
    blind = replace(question, test=replace(question.test, x=question.test.x * np.nan, y={}))
    assert chosen(blind, arm, trials, on=["a", "b"], epochs=10) is trials[1]
    with pytest.raises(BenchError, match="diverges at all"):
        chosen(question, arm, trials[2:], on=["a"], epochs=1)
    with pytest.raises(BenchError, match="has diverged"):
        scores(question, arm, trials[2:], epochs=1)


def test_trials_are_those_of_the_protocols() -> None:
    protocol = single_task.build(meta=Meta(TARGETS), trunk=lambda *_, **__: None, seed=0)  # type: ignore[arg-type, return-value]
    drawn = [(p.rate, p.decay, p.dropout) for p in protocol._drawn()]
    assert [(run.rate, run.decay, run.dropout) for run in settings(12, 0)] == drawn


# --- The study


def study(folder: Path, patch: pytest.MonkeyPatch, **options: Any) -> Report:
    small = {
        "ALONE": "single_task,width=8",
        "HARD": "hard_sharing,width=8",
        "SOFT": "soft_sharing,width=8",
        "PAIR": ("pca=0", 20),
        "SIZES": (1, 3, 1000),
        "COUPLINGS": (0.0, 0.01, math.inf),
        "FEW": 40,
        "MANY": 80,
        "VAL": 30,
        "TEST": 60,
    }
    for name, value in small.items():
        patch.setattr(sharing, name, value)
    patch.setattr(_sharing_arms, "TRIALS", 4)
    setting = Setting(DataSets(Path("nowhere")), folder)
    arguments = {
        "dataset": MARKS,
        "encoders": "pixels random_fourier,dim=8",
        "seeds": 4,
        "epochs": 20,
    }
    return sharing.run(setting=setting, **{**arguments, **options})


@pytest.fixture(scope="module")
def seen() -> list[tuple[str, list[Problem]]]:
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sharing")


@pytest.fixture(scope="module")
def report(folder: Path, seen: list[tuple[str, list[Problem]]]) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        original = _sharing_arms.Arms.scores

        def watched(self: Any, problems: Any, arm: str, run: Run) -> Any:
            seen.append((arm, list(problems)))
            return original(self, problems, arm, run)

        patch.setattr(_sharing_arms.Arms, "scores", watched)
        return study(folder, patch)


@pytest.mark.slow
def test_every_gain_is_recomputed_from_the_scores(report: Report) -> None:
    pair = report.data["pair"]
    gains = [
        [math.log((1 - a) / (1 - s)) for a, s in zip(pair["alone"], row, strict=True)]
        for row in pair["shared"]
    ]
    np.testing.assert_allclose(pair["gains"], gains)
    reference = np.polyfit(pair["correlations"], gains, 1)[0]
    assert pair["slope"]["value"] == pytest.approx(reference.mean())
    for curve in report.data["curves"]:
        test, val = np.array(curve["test"]), np.array(curve["val"])
        by_hand = 100 * (test.mean(axis=1) - test[0].mean(axis=0))
        np.testing.assert_allclose(curve["gains"], by_hand, atol=1e-9)
        assert curve["gains"][0] == [0.0] * 4
        assert curve["best"] == curve["couplings"][int(val.mean(axis=(1, 2)).argmax())]
    affinity = report.data["affinity"]
    assert len(affinity["together"]) == 6
    for cell in affinity["together"]:
        gaps = 100 * (np.array(cell["accuracy"]) - affinity["alone"][cell["of"]])
        half = stats.t.ppf(0.975, 3) * gaps.std(ddof=1) / 2
        interval = [cell["gain"][key] for key in ("value", "low", "high")]
        assert interval == pytest.approx([gaps.mean(), gaps.mean() - half, gaps.mean() + half])
    raw = [
        stats.ttest_1samp(np.array(c["accuracy"]) - affinity["alone"][c["of"]], 0).pvalue
        for c in affinity["together"]
    ]
    least = min(cell["adjusted"] for cell in affinity["together"])
    assert least == pytest.approx(min(1.0, 6 * np.nanmin(raw)), rel=1e-6)


@pytest.mark.slow
def test_no_coupling_is_towers_of_their_own(report: Report) -> None:
    curve, affinity = report.data["curves"][-1], report.data["affinity"]
    assert curve["encoder"] == affinity["encoder"] == "random_fourier,dim=8"
    np.testing.assert_allclose(curve["test"][0], list(affinity["alone"].values()))
    assert curve["couplings"] == ["0", "0.01", "inf"]


@pytest.mark.slow
@pytest.mark.usefixtures("report")
def test_seeds_are_spread_over_the_trainings(seen: list[tuple[str, list[Problem]]]) -> None:
    curves = [problems for arm, problems in seen if arm.startswith("soft")]
    # Pixels draw no random numbers: one training of theirs is all.
    assert [len(problems) for problems in curves] == [1] * 3 + [3] * 3


@pytest.mark.slow
@pytest.mark.usefixtures("report")
def test_few_labels_are_granted_to_the_first_target_alone(
    seen: list[tuple[str, list[Problem]]],
) -> None:
    swept = [p for _, p in seen if "a class" in p[0].name]
    assert len(swept) == 2 * 3 * 3  # encoders, sizes with all, arms; no class has 1,000 labels
    whole = next(p[0] for arm, p in seen if arm.startswith("soft")).train.y
    for problems in swept:
        sizes = [(problem.train.y["row"] >= 0).sum() for problem in problems]
        text = problems[0].name
        expected = next(
            n for key, n in {"1 a": 3, "3 a": 9, "all": 90}.items() if f": {key}" in text
        )
        assert sizes == [expected] * 4
        if expected < 90:
            drawn = {tuple(np.flatnonzero(p.train.y["row"] >= 0)) for p in problems}
            assert len(drawn) == 4
        for problem in problems:
            labelled = problem.train.y["row"] >= 0
            assert (problem.train.y["row"][labelled] == whole["row"][labelled]).all()
            if "alone" in text:
                assert [*problem.targets] == ["row"]
                continue
            same = all((problem.train.y[n] == whole[n]).all() for n in ("column", "side"))
            assert same is ("shuffled" not in text)
            pairs = [np.stack([y["column"], y["side"]]) for y in (problem.train.y, whole)]
            ordered = [p[:, np.lexsort(p)] for p in pairs]
            assert (ordered[0] == ordered[1]).all()  # moved together, so all are still there


def test_affinity_is_that_of_the_second_target_trained_with_the_first() -> None:
    class Told:
        def scores(self, problems: Any, arm: str, run: Run) -> Any:
            rows = [[ord(name) + 0.01 * len(problems[0].targets)] for name in problems[0].targets]
            return None, np.array(rows)

    affinity = sharing._affinity(Told(), "e", [problem()], OWN)  # type: ignore[arg-type]
    assert affinity.alone == {"b": 98.02, "a": 97.02}  # both in one run: towers of their own
    assert affinity.together == {("b", "a"): 97.02, ("a", "b"): 98.02}


def test_the_pairs_first_task_is_one_at_every_correlation() -> None:
    none, full = (sharing._drawn(0.0, 3, full=whole) for whole in (False, True))
    problem_drawn = sharing._drawn(1.0, 3, full=False)
    for split in ("train", "val", "test"):
        a, b = getattr(none, split), getattr(problem_drawn, split)
        np.testing.assert_array_equal(a.x, b.x)
        np.testing.assert_array_equal(a.y["first"], b.y["first"])
    labelled = [~np.isnan(none.train.y[name][:, 0]) for name in ("first", "second")]
    assert [k.sum() for k in labelled] == [sharing.FEW, sharing.MANY]
    assert not (labelled[0] & labelled[1]).any()
    assert not np.isnan(full.train.y["first"]).any()
    expected = problem_drawn.test.y["first"] * 0.5
    assert np.corrcoef(problem_drawn.test.y["second"][:, 0], expected[:, 0])[0, 1] > 0.99


@pytest.mark.slow
def test_run_again_it_does_nothing_new(
    report: Report, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sharing_arms, "train", lambda *_, **__: pytest.fail("run again"))
    again = study(folder, monkeypatch)
    assert again.data == report.data and again.text == report.text
    json.dumps(report.data, allow_nan=False)


@pytest.mark.slow
def test_text_figures_and_claims_belong_together(report: Report) -> None:
    assert set(report.figures) == {"sharing.svg", "labels.svg", "affinity.svg"}
    assert all(f"({name})" in report.text for name in report.figures)
    assert all(svg.startswith(b"<svg") for svg in report.figures.values())
    claims = report.data["claims"]
    assert len(claims) == 2 + 2 * 2 + 2 + 1
    assert report.text.count("| holds") + report.text.count("| does not hold") == len(claims)
    assert report.data["dataset"] == "marks" and report.data["rows"] == 60


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"seeds": 1}, "seeds=1"),
        ({"epochs": 0}, "epochs=0"),
        ({"encoders": ""}, "encoders=''"),
        ({"encoders": "pixel"}, "did you mean 'pixels'"),
        ({"dataset": "digits"}, "digits has 1 targets that are classes"),
        ({"encoders": "supervised,width=8~8"}, "has been trained on the labels"),
    ],
)
def test_wrong_arguments_are_refused(
    options: dict[str, Any], why: str, folder: Path, monkeypatch: pytest.MonkeyPatch, report: Report
) -> None:
    with pytest.raises(BenchError, match=why):
        study(folder, monkeypatch, **options)


def test_a_broken_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs.json").write_text("[1]")
    with pytest.raises(BenchError, match="move it away"):
        study(tmp_path, monkeypatch)


# --- Claims


def test_claims_of_the_pair_ask_for_a_slope_and_for_nothing_at_0() -> None:
    alone = np.full(4, 0.5)
    for level, rise, expected in (
        (0.0, 0.1, [True, True]),
        (0.1, 0.1, [True, False]),
        (-0.2, 0.0, [False, False]),
        (0.0, -0.1, [False, True]),
    ):
        noise = 0.005 * np.array([-1, 1, -1, 1])
        gains = np.stack([level + noise, level + rise - noise])
        pair = PairGains(
            correlations=(0.0, 1.0),
            labels=(1, 2),
            alone=alone,
            shared=1 - 0.5 * np.exp(-gains),
            full=alone,
            slope=slope((0.0, 1.0), gains),
            equivalence=equivalence(gains[0].tolist(), 0.05),
            settings={},
        )
        claims = pair.claims(0.05)
        assert [claim.holds for claim in claims] == expected


def test_the_best_coupling_is_that_of_validation() -> None:
    noise = np.array([[-0.001, 0.001, 0.0]])
    test = np.stack([0.5 + noise, 0.6 - noise, 0.4 - noise])
    for val, expected in ((test, [True, True]), (test[[0, 2, 1]], [False, True])):
        curve = CouplingCurve("e", ("a",), (0.0, 0.1, math.inf), val, test, {})
        assert [claim.holds for claim in curve.claims()] == expected


@pytest.mark.parametrize(("gaps", "holds"), [((0.1, 0.1), True), ((0.1, 0.0), False)])
def test_every_size_but_all_labels_has_to_beat_the_control(
    gaps: tuple[float, float], holds: bool
) -> None:
    noise = np.array([-0.01, 0.0, 0.01])
    base = np.stack([0.5 + noise] * 3)
    shared = base + np.array([*gaps, -0.3])[:, None] + noise[::-1]
    sweep = LabelSweep("e", "a", (1, 3, 9), base, shared, base, (), {})
    assert sweep.claim().holds is holds


@pytest.mark.parametrize(("lost", "holds"), [(0.1, False), (0.0, True), (-0.1, True)])
def test_a_loss_counts_beyond_doubt_only(lost: float, holds: bool) -> None:
    noise = 0.01 * np.arange(-3, 4)
    base = np.full(7, 0.5)
    affinity = TargetAffinity(
        "e", {"a": base, "b": base}, {("a", "b"): base - lost + noise, ("b", "a"): base + noise}
    )
    claim = affinity.claim()
    assert claim.holds is holds and ("b with a" in claim.measured) is not holds
