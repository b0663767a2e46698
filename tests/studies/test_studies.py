"""Studies: each measures its question, and continues from partial results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.main import main
from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.naming import registry
from bench.studies import autoencoders, seed_ties, tuning
from bench.studies.base import Report, Setting, keep
from tests.kit import ROOT


def setting(folder: Path, said: list[str] | None = None) -> Setting:
    lines = [] if said is None else said
    return Setting(DataSets(Path("nowhere")), folder, progress=lines.append)


# --- Ties of seeds


def seeds(count: int, n: int, spread: float, *, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    hard = rng.uniform(0.3, 0.95, size=n)
    return (rng.random((count, n)) < hard + spread * rng.normal(size=(count, 1))).astype(float)


@pytest.mark.parametrize("spread", [0.0, 0.03])
def test_triples_of_one_encoder_tie_about_95_times_in_100(spread: float) -> None:
    ties = seed_ties.measure_ties(seeds(24, 400, spread), 200)
    for interval in (ties.real, ties.simulated):
        assert 0.9 <= interval.value <= 1.0
        assert interval.low <= interval.value <= interval.high
    assert ties.simulated.high >= 0.95 and ties.real.high >= 0.95
    assert ties.seed_deviation == pytest.approx(spread, abs=0.012)


def test_a_test_that_tells_seeds_apart_too_often_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the spread of seeds were not counted: rows alone."""

    def of_rows(a: Any, b: Any) -> bool:
        gap = a.mean(axis=0) - b.mean(axis=0)
        return bool(abs(gap.mean()) < 1.96 * gap.std() / len(gap) ** 0.5)

    monkeypatch.setattr(seed_ties, "ties", of_rows)
    ties = seed_ties.measure_ties(seeds(24, 400, 0.05), 200)
    assert ties.simulated.high < 0.95 and ties.real.value < 0.9
    assert "Too few tie: seeds differ too often" in seed_ties.report(ties, "x", "y").text


def test_the_jackknife_leaves_out_one_seed_at_a_time() -> None:
    """Twice the same seeds know no more than once: the interval does not shrink with the pairs."""
    rows = seeds(8, 60, 0.1)
    small, large = (seed_ties._real(rows, pairs) for pairs in (200, 800))
    assert (large.high - large.low) > 0.4 * (small.high - small.low)


def test_the_study_runs_its_trainings_once_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    options = {"encoder": "random_fourier,dim=8", "task": "digits-knn", "seeds": 7, "pairs": 20}
    first = seed_ties.run(setting=setting(tmp_path, said), **options)
    assert first.data["seeds"] == 7 and first.data["pairs"] == 20
    assert "7 trainings of `random_fourier,dim=8` on `digits-knn`" in first.text
    ran = [line for line in said if "accuracy" in line]
    assert len(ran) == 1
    again = seed_ties.run(setting=setting(tmp_path, said), **options)
    assert again.text == first.text and [line for line in said if "accuracy" in line] == ran
    json.dumps(first.data, allow_nan=False)


@pytest.mark.parametrize("options", [{"seeds": 6}, {"pairs": 0}])
def test_too_few_seeds_or_pairs_are_refused(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(BenchError, match="or more"):
        seed_ties.run(setting=setting(tmp_path), **options)


# --- Tuning


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "TASK", "digits-linear")
    monkeypatch.setattr(tuning, "BUDGET", "256")
    monkeypatch.setattr(tuning, "TRIALS", {"autoencoder,width=8": ("rate=1e-9", "rate=0.004")})


@pytest.mark.usefixtures("tiny")
def test_the_setting_that_is_best_on_validation_is_chosen_and_test_is_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.data.samples import SPLITS
    from bench.datasets.base import SplitDataSet

    read: list[str] = []
    split = SplitDataSet.split

    def watched(self: Any, name: Any) -> Any:
        read.append(name)
        return split(self, name)

    monkeypatch.setattr(SplitDataSet, "split", watched)
    report = tuning.run(setting=setting(tmp_path))
    assert set(read) == set(SPLITS) - {"test"}
    best = max(report.data["trials"], key=lambda trial: trial["accuracy"])
    chosen = report.data["chosen"]["autoencoder,width=8"]
    assert best["spec"] == f"autoencoder,width=8,{chosen}~256"
    assert report.text.count("chosen") == 2  # the head and one line


@pytest.mark.usefixtures("tiny")
def test_a_trial_that_was_run_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tuning.run(setting=setting(tmp_path))
    monkeypatch.setattr(tuning, "probe_accuracy", lambda *_: pytest.fail("run again"))
    assert tuning.run(setting=setting(tmp_path)).data == first.data
    (tmp_path / "trials.json").write_text("no JSON")
    with pytest.raises(BenchError, match="move it away"):
        tuning.run(setting=setting(tmp_path))


def test_every_learner_has_as_many_trials_and_their_specs_are_known() -> None:
    from bench.naming.specs import resolve

    counts = {len(options) for options in tuning.TRIALS.values()}
    assert counts == {4}
    for learner, options in tuning.TRIALS.items():
        digests = {resolve("encoders", f"{learner},{o}").identity["digest"] for o in options}
        assert len(digests) == 4


def test_what_was_chosen_is_what_the_suites_run() -> None:
    """Chosen on validation, and never run otherwise: the committed trials and the suites agree."""
    from bench.encoders.autoencoders.denoising import CORRUPTIONS
    from bench.encoders.autoencoders.sparse import WEIGHTS
    from bench.naming.specs import resolve
    from bench.tasks.files import suite, suites

    def settings(spec: str) -> Any:
        """With the usual strength or weight where none is given."""
        spec_found = resolve("encoders", spec)
        arguments = dict(spec_found.arguments)
        if arguments.get("strength", 0) is None:
            arguments["strength"] = CORRUPTIONS[arguments["corruption"]][1]
        if arguments.get("penalty") and arguments["weight"] is None:
            arguments["weight"] = WEIGHTS[arguments["penalty"]]
        return spec_found.entry.name, sorted(arguments.items())

    stored = json.loads((ROOT / "results" / "studies" / "tuning" / "report.json").read_text())
    run = [settings(spec) for name in suites() for spec in suite(name).encoders]
    assert stored["chosen"].keys() == tuning.TRIALS.keys()
    for learner, setting in stored["chosen"].items():
        assert settings(f"{learner},{setting}") in run, (learner, setting)


# --- Claims about autoencoders


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoders, "TASK", "digits-knn")


@pytest.mark.slow
@pytest.mark.usefixtures("claims")
def test_every_claim_is_judged_by_what_was_measured_and_nothing_is_run_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    report = autoencoders.run(setting=setting(tmp_path, said), seeds=2, budget="128")
    claims = report.data["claims"]
    assert len(claims) == 5
    assert report.text.count("| holds") + report.text.count("| does not hold") == 5
    # So few images teach no unit to be quiet: sigmoid units start at a half.
    assert not claims[0]["holds"] and all(float(v) > 0.07 for v in claims[0]["measured"])
    assert sum(" s" in line and "accuracy" in line for line in said) == 4
    monkeypatch.setattr("bench.running.runner.run_cell", lambda *_, **__: pytest.fail("run again"))
    assert autoencoders.run(setting=setting(tmp_path), seeds=2, budget="128").data == report.data


@pytest.mark.slow
@pytest.mark.usefixtures("claims")
def test_the_loss_under_a_shift_is_that_of_the_records_own_scores(tmp_path: Path) -> None:
    report = autoencoders.run(setting=setting(tmp_path), seeds=2, budget="128")
    measured = report.data["claims"][3]["measured"]
    for spec, text in (("autoencoder~128", measured[0]), ("denoising~128", measured[1])):
        [path] = (tmp_path / "cells" / "reptransfer" / spec).glob("*noise.json")
        replicates = json.loads(path.read_text())["replicates"]
        clean, moved = (
            np.mean(
                [
                    r["scores"]["label"]["accuracy"]
                    for r in replicates
                    if (r["coords"]["shift"] is not None) is shifted
                ]
            )
            for shifted in (False, True)
        )
        assert float(text.split()[1]) == pytest.approx(100 * (clean - moved), abs=0.006)


@pytest.mark.parametrize(
    ("active", "holds"), [((0.05, 0.06), True), ((0.05, 0.08), False), ((0.02, 0.05), False)]
)
def test_a_seed_out_of_range_breaks_the_claim(
    active: tuple[float, float], holds: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    notes = {
        autoencoders.activity: lambda seed: {"mean_activation": active[seed]},
        autoencoders.scale_free_contraction: float,
        autoencoders.copies: lambda seed: {"noise_kept": 0.9, "images_kept": 0.9},
    }

    def look_at(_: Any, spec: str, seed: int, look: Any) -> Any:
        return notes[look](seed)

    monkeypatch.setattr(autoencoders, "_look", look_at)
    monkeypatch.setattr(autoencoders, "TASK", "digits-knn")
    result = autoencoders._training_claims(
        autoencoders.load("digits-knn"), setting(tmp_path), 2, "600"
    )
    assert [claim.holds for claim in result] == [holds, False, False]


# --- The command


def test_a_report_is_kept_whole(tmp_path: Path) -> None:
    report = Report("# Found\n\n", {"b": 1, "a": [2.5]}, {"figure.svg": b"<svg/>"})
    path = keep(report, tmp_path / "new")
    assert path.read_text() == "# Found\n"
    assert json.loads((tmp_path / "new" / "report.json").read_text()) == {"a": [2.5], "b": 1}
    assert (tmp_path / "new" / "figure.svg").read_bytes() == b"<svg/>"


def test_the_command_runs_a_study_by_its_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPTRANSFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("REPTRANSFER_DATA", raising=False)
    spec = "seed_ties,encoder=random_fourier%2Cdim%3D8,task=digits-knn,seeds=7,pairs=10"
    assert main(["study", spec, "--results", str(tmp_path / "runs")]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("# Do two triples") and "report.md" in output.err
    [folder] = (tmp_path / "runs" / "studies").iterdir()
    assert (folder / "report.md").read_text() == output.out
    assert main(["leaderboard", "--results", str(tmp_path / "runs")]) == 0
    assert "broken" not in capsys.readouterr().out
    assert main(["study", "seed_tie"]) == 2
    assert "did you mean 'seed_ties'" in capsys.readouterr().err
    assert main(["list", "studies"]) == 0
    told_names = capsys.readouterr().out
    assert all(name in told_names for name in registry.names("studies"))
