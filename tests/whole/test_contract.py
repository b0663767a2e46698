"""A rehearsal of everything to come: the runner driven with toys, so that no family of encoders or
protocols will have to change a type."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.naming.grammar import escape
from bench.naming.specs import resolve
from bench.results.record import Record
from bench.results.status import identities, why_stale
from bench.results.store import Store
from bench.running.executor import run_cells
from bench.running.runner import run_cell
from bench.running.workspace import Workspace
from bench.scoring.comparison import paired
from bench.tasks.cell import Cell
from bench.tasks.task import Primary, Replicates, Task
from tests.kit import TOYS
from tests.kit.boards import rendered


def toy(name: str, arguments: str = "") -> str:
    return f"{TOYS / name}.py{arguments}"


def task(**changes: Any) -> Task:
    options = {
        "name": "toy",
        "family": "probe",
        "dataset": toy("quadrants"),
        "targets": ("label",),
        "protocol": toy("means"),
        "chance": 0.25,
        "primary": Primary(target="label"),
        "replicates": Replicates(seeds=2),
        **changes,
    }
    return Task(**options)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(DataSets(tmp_path))


def run(workspace: Workspace, question: Task, encoder: str = "pixels", **options: Any) -> Record:
    record, _ = run_cell(Cell(question, resolve("encoders", encoder)), workspace, **options)
    return record


def ok(record: Record) -> Record:
    assert record.status == "ok", record.reason
    return record


def reports(record: Record) -> list[Any]:
    return [r.report for r in record.replicates]


TRUNK = toy("small_trunk", "~1k")


# --- Labels and rows


def test_val_is_none_where_only_granted_labels_may_choose(workspace: Workspace) -> None:
    assert {r["val"] for r in reports(ok(run(workspace, task(validation=False))))} == {None}
    assert {r["val"] for r in reports(ok(run(workspace, task())))} == {60}


def test_few_labels_are_granted_nested_and_alike_for_every_encoder(workspace: Workspace) -> None:
    plan = Replicates(seeds=1, per_class=(1, 3, 0), subsets=2)
    question = task(
        family="few_labels",
        validation=False,
        replicates=plan,
        primary=Primary(target="label", reduction="log_area"),
    )
    record = ok(run(workspace, question))
    granted = {}
    for replicate in record.replicates:
        at = replicate.coords
        labels = np.array(replicate.report["labels"]["label"])
        rows = set(np.array(replicate.report["train_rows"])[labels >= 0])
        granted[at.per_class, at.subset] = rows
    assert {key: len(rows) for key, rows in granted.items()} == {
        (1, 0): 4, (1, 1): 4, (3, 0): 12, (3, 1): 12, (None, None): 160,
    }  # fmt: skip
    assert granted[1, 0] < granted[3, 0] and granted[1, 0] != granted[1, 1]
    curve = {s: {} for s in (0, 1)}  # type: ignore[var-annotated]
    for r in record.replicates:
        for s in (0, 1) if r.coords.subset is None else (r.coords.subset,):
            curve[s][r.n_train] = r.scores["label"]["accuracy"]
    areas = []
    for points in curve.values():
        x, y = np.log2(sorted(points)), [points[n] for n in sorted(points)]
        areas.append(np.trapezoid(y, x) / (x[-1] - x[0]))
    assert record.primary is not None
    assert record.primary.value == pytest.approx(np.mean(areas))
    second = ok(run(workspace, question, "pca,dim=4"))
    assert [r["labels"] for r in reports(second)] == [r["labels"] for r in reports(record)]


def test_labels_reach_an_encoder_only_if_it_declares_it_and_only_the_granted_ones(
    workspace: Workspace,
) -> None:
    plan = Replicates(seeds=1, per_class=(2,))
    question = task(validation=False, replicates=plan)
    blind = ok(run(workspace, question, TRUNK))
    seeing = ok(run(workspace, question, toy("small_trunk", ",uses_labels=true~1k")))
    assert blind.training[0].notes["labels"] is None and blind.supervision == "none"
    assert seeing.training[0].notes["labels"] == {"label": 8}
    assert seeing.supervision == "labels"
    assert len(seeing.training[0].notes["rows"]) == 160  # the images of all train rows
    small = question.derive(family="few_labels", name="few")
    assert ok(run(workspace, small)).status == "ok"
    declined = run(workspace, small, toy("small_trunk", ",uses_labels=true~1k"))
    assert declined.status == "declined" and "name another source" in str(declined.reason)


def test_mixed_kinds_of_target_and_partial_labels(workspace: Workspace) -> None:
    question = task(
        dataset=toy("quadrants", ",partial=true"), targets=(), primary=Primary(target=None)
    )
    # accuracy is no metric of a number: the mean over targets needs one that all of them have
    assert run(workspace, question).status == "failed"
    question = question.derive(primary=Primary(target="tag"), name="mixed")
    scores = ok(run(workspace, question)).replicates[0].scores
    assert scores["label"]["accuracy"] > 0.9 and scores["tag"]["accuracy"] > 0.9
    assert set(scores) == {"label", "label:reversed", "tag", "size"} and scores["size"]["r2"] > 0.3


def test_a_control_shuffles_labels_falls_to_chance_and_stays_out_of_the_primary(
    workspace: Workspace,
) -> None:
    plan = Replicates(seeds=1, controls=("shuffled_labels",))
    record = ok(run(workspace, task(replicates=plan)))
    plain, control = record.replicates
    assert control.coords.control == "shuffled_labels"
    assert sorted(plain.report["labels"]["label"]) == sorted(control.report["labels"]["label"])
    assert plain.report["labels"] != control.report["labels"]
    assert record.primary is not None
    assert record.primary.value == plain.scores["label"]["accuracy"]
    assert control.scores["label"]["accuracy"] < 0.7 < plain.scores["label"]["accuracy"]


def test_variant_columns_are_scored_and_are_never_the_primary(workspace: Workspace) -> None:
    record = ok(run(workspace, task()))
    scores = record.replicates[0].scores
    assert scores["label:reversed"]["accuracy"] < scores["label"]["accuracy"]
    assert record.primary is not None
    assert record.primary.value == scores["label"]["accuracy"]


# --- Seeds


def test_select_is_called_once_and_its_choice_reaches_every_seed(workspace: Workspace) -> None:
    record = ok(
        run(
            workspace, task(protocol=toy("choosing", ",strength=5"), replicates=Replicates(seeds=3))
        )
    )
    assert [r["strength"] for r in reports(record)] == [15, 15, 15]
    assert [r["seed"] for r in reports(record)] == [0, 1, 2]
    assert record.tuning == {"chosen": {"strength": 15}}


def test_ten_head_seeds_spread_over_three_encoder_seeds(workspace: Workspace) -> None:
    record = ok(run(workspace, task(replicates=Replicates(seeds=10, encoder_seeds=3)), TRUNK))
    pairs = [(r.coords.encoder_seed, r.coords.head_seed) for r in record.replicates]
    assert pairs == [(i % 3, i) for i in range(10)]
    assert len(record.training) == 3 and len({t.key for t in record.training}) == 3


def test_what_draws_no_random_numbers_runs_once(workspace: Workspace) -> None:
    record = ok(run(workspace, task(protocol="knn", replicates=Replicates(seeds=5)), "pixels"))
    assert len(record.replicates) == 1
    assert len(ok(run(workspace, task(protocol="knn"), TRUNK)).replicates) == 2


def test_the_same_cell_twice_has_the_same_digest_and_another_seed_count_another(
    tmp_path: Path,
) -> None:
    first, again = (ok(run(Workspace(DataSets(tmp_path)), task(), TRUNK)) for _ in range(2))
    assert first.digest == again.digest and first.measured != {}
    assert ok(run(Workspace(DataSets(tmp_path)), task(), TRUNK, seeds=1)).digest != first.digest


# --- Trunks


def test_a_trunk_on_images_is_a_copy_and_the_encoder_stays_as_it_was(workspace: Workspace) -> None:
    question = task(family="finetune", input="images", protocol=toy("tuning"))
    cell = Cell(question, resolve("encoders", TRUNK))
    before: dict[str, Any] = {}
    run_cell(Cell(task(), cell.encoder), workspace)
    for key, fitted in workspace._fitted.items():
        before[key] = copy.deepcopy(fitted.encoder.state_dict())
    record, _ = run_cell(cell, workspace)
    ok(record)
    moved = {name.removeprefix("encoder.") for name in reports(record)[0]["moved"]}
    assert {n for n in moved if n.startswith("trunk")} == {
        "trunk.0.0.weight", "trunk.0.0.bias", "trunk.1.1.weight", "trunk.1.1.bias"
    }  # fmt: skip
    for key, state in before.items():
        now = workspace._fitted[key].encoder.state_dict()
        assert all(torch.equal(now[name], value) for name, value in state.items())


def test_a_trunk_on_activations_is_the_last_blocks_alone(workspace: Workspace) -> None:
    question = task(family="finetune", input="activations", protocol=toy("tuning", ",blocks=2"))
    record = ok(run(workspace, question, TRUNK))
    assert reports(record)[0]["parameters"] == ["1.1.weight", "1.1.bias"]
    assert record.primary is not None and record.primary.value > 0.5


def test_a_trunk_on_features_is_the_identity(workspace: Workspace) -> None:
    record = ok(run(workspace, task(protocol=toy("tuning"))))
    assert reports(record)[0] == {"moved": [], "parameters": [], "body": "Identity"}


def test_an_untrained_trunk_starts_where_the_budget_0_encoder_starts(workspace: Workspace) -> None:
    base = task(family="finetune", input="images", replicates=Replicates(seeds=1))
    scratch = base.derive(protocol=toy("tuning", ",start=untrained"))
    from_zero = ok(run(workspace, base.derive(protocol=toy("tuning")), toy("small_trunk", "~0")))
    from_scratch = ok(run(workspace, scratch, TRUNK))
    assert from_zero.replicates[0].scores == from_scratch.replicates[0].scores


# --- Classes without training images


SPLITS = ((0, 1), (2, 3), (0, 3))


def test_a_sweep_over_splits_equals_the_loop(workspace: Workspace) -> None:
    plan = Replicates(seeds=1, splits=SPLITS)
    zero = {
        "family": "zeroshot",
        "replicates": plan,
        "transductive": True,
        "primary": Primary(metric="seen", target="label", interval="replicates"),
    }
    loop = ok(run(workspace, task(protocol=toy("means"), **zero), TRUNK))
    swept = ok(run(workspace, task(protocol=toy("sweeping"), **zero), TRUNK))
    assert [r["swept"] for r in reports(swept)] == [True] * 3
    assert [r.scores for r in swept.replicates] == [r.scores for r in loop.replicates]
    assert [r["unseen"] for r in reports(swept)] == [list(s) for s in SPLITS]
    assert len(swept.training) == 1  # transductive: one training serves all splits
    assert swept.primary == loop.primary


def test_encoders_are_retrained_per_split_without_its_classes_each_split_its_seed(
    workspace: Workspace,
) -> None:
    plan = Replicates(seeds=1, splits=SPLITS)
    primary = Primary(metric="unseen", target="label", interval="replicates")
    question = task(family="zeroshot", replicates=plan, primary=primary)
    record = ok(run(workspace, question, TRUNK))
    assert [r.coords.encoder_seed for r in record.replicates] == [0, 1, 2]
    for training, unseen in zip(record.training, SPLITS, strict=True):
        assert {row % 4 for row in training.notes["rows"]} == set(range(4)) - set(unseen)
    for report, unseen in zip(reports(record), SPLITS, strict=True):
        assert set(report["labels"]["label"]) == set(range(4)) - set(unseen)
    fixed = ok(run(workspace, question, toy("fixed")))  # nothing to retrain
    assert [r.coords.encoder_seed for r in fixed.replicates] == [0, 0, 0]


def test_shuffled_signatures_are_a_control(workspace: Workspace) -> None:
    plan = Replicates(seeds=1, controls=("shuffled_signatures",))
    plain, control = reports(ok(run(workspace, task(replicates=plan))))
    assert sorted(plain["semantics"]) == sorted(control["semantics"])
    assert plain["semantics"] != control["semantics"] and plain["labels"] == control["labels"]


# --- Encoders built on others, diagnostics, shifts


def test_an_encoder_that_depends_on_another_gets_it_fitted_on_the_same_rows(
    workspace: Workspace,
) -> None:
    spec = toy("squared", ",inner=pca%2Cdim%3D3")
    record = ok(run(workspace, task(), spec))
    assert record.encoder.dim == 6 and record.encoder.id.startswith("squared,inner=pca%2Cdim%3D3")
    assert record.training[0].images == 160  # its own 0 and the other's
    squared = resolve("encoders", toy("squared", ",inner=pca%2Cdim%3D2"))
    assert squared.identity["digest"] != record.encoder.digest


def test_an_encoder_may_depend_on_one_that_depends_on_another(workspace: Workspace) -> None:
    deep = toy("squared", ",inner=pca%2Cdim%3D3")
    spec = toy("squared", ",inner=" + escape(deep))
    assert ok(run(workspace, task(), spec)).encoder.dim == 12


def test_a_diagnostic_gets_the_head_and_null_where_there_is_none(workspace: Workspace) -> None:
    question = task(diagnostics=(toy("head_bias"),))
    values = ok(run(workspace, question, TRUNK)).diagnostics
    name = toy("head_bias")
    assert [d[f"{name}/head_bias"] for d in values] == [7.0, 7.0]
    assert [d["encoder_seed"] for d in values] == [0, 1]
    assert values[0][f"{name}/rows"] == 60 and values[0][f"{name}/dim"] == 8
    without = question.derive(protocol=toy("tuning"))
    assert ok(run(workspace, without, TRUNK)).diagnostics[0][f"{name}/head_bias"] is None


def test_shifted_copies_share_one_fit_and_count_in_their_own_family_alone(
    workspace: Workspace,
) -> None:
    plan = Replicates(seeds=1, shifts=("noise", "inversion"), strengths=(0.2, 1.0))
    record = ok(run(workspace, task(replicates=plan)))
    scores = {
        (r.coords.shift, r.coords.strength): r.scores["label"]["accuracy"]
        for r in record.replicates
    }
    assert len(scores) == 5 and len(record.training) == 1
    assert scores["inversion", 1.0] < 0.3 < 0.9 < scores[None, None]
    assert record.primary is not None and record.primary.value == scores[None, None]
    shifted = ok(run(workspace, task(replicates=plan, family="shift")))
    assert shifted.primary is not None
    mean = np.mean([v for k, v in scores.items() if k[0] is not None])
    assert shifted.primary.value == pytest.approx(mean)


def test_levels_are_read_out_from_one_training(workspace: Workspace) -> None:
    trunk = ok(run(workspace, task(), TRUNK))
    code = ok(run(workspace, task(), toy("small_trunk", ",level=code~1k")))
    assert (trunk.encoder.read_out, code.encoder.read_out) == ("trunk", "code")
    assert [t.key for t in trunk.training] == [t.key for t in code.training]
    assert trunk.encoder.digest != code.encoder.digest
    assert run(workspace, task(), toy("small_trunk", ",level=multi")).status == "failed"


# --- Cells that cannot be, and cells that break


@pytest.mark.parametrize(
    ("question", "encoder", "why"),
    [
        (
            task(family="finetune", input="images", protocol=toy("tuning")),
            toy("fixed"),
            "no gradients",
        ),
        (
            task(family="finetune", input="activations", protocol=toy("tuning", ",blocks=1")),
            "pixels",
            "no stages",
        ),
        (
            task(family="finetune", input="activations", protocol=toy("tuning", ",blocks=9")),
            toy("small_trunk", "~0"),
            "3 stages",
        ),
        (task(targets=("tag",), protocol="knn", primary=Primary(target="tag")), "pixels", "binary"),
        (
            task(
                family="zeroshot",
                replicates=Replicates(splits=SPLITS),
                transductive=True,
                primary=Primary(metric="seen", target="label", interval="replicates"),
            ),
            toy("small_trunk", ",uses_labels=true~0"),
            "no labels",
        ),
        (
            task(
                family="zeroshot",
                replicates=Replicates(splits=SPLITS),
                transductive=True,
                primary=Primary(metric="seen", target="label", interval="replicates"),
            ),
            toy("squared", ",inner=supervised%2Cwidth%3D8%7E0"),
            "no labels",
        ),
        *(
            (
                task(
                    dataset="digits",
                    removed_classes=(1,),
                    family="zeroshot",
                    primary=Primary(metric="seen", target="label"),
                ),
                encoder,
                "all classes",
            )
            for encoder in (
                "pca@digits",
                "pca@multi_digits",  # of which its images are parts
            )
        ),
        (
            task(
                dataset="digits",
                family="few_labels",
                replicates=Replicates(seeds=1, per_class=(2,), subsets=2),
            ),
            "supervised@multi_digits~1k",
            "name another source",
        ),
    ],
)
def test_a_cell_that_cannot_be_is_declined_with_its_reason(
    workspace: Workspace, question: Task, encoder: str, why: str
) -> None:
    record = run(workspace, question, encoder)
    assert record.status == "declined" and why in str(record.reason) and record.primary is None


@pytest.mark.parametrize(("fault", "why"), [("nan", "NaN"), ("batch", "depend on the batch")])
def test_a_broken_encoder_is_a_failed_record(workspace: Workspace, fault: str, why: str) -> None:
    record = run(workspace, task(), toy("fixed", f",fault={fault}"))
    assert record.status == "failed" and why in str(record.reason) and record.primary is None


def test_one_failed_replicate_fails_the_cell_and_keeps_the_others(workspace: Workspace) -> None:
    question = task(protocol=toy("means", ",fail_seed=1"), replicates=Replicates(seeds=3))
    record = run(workspace, question)
    assert record.status == "failed" and record.reason == "1 of 3 replicates: diverged"
    assert [r.status for r in record.replicates] == ["ok", "failed", "ok"]
    assert record.primary is None


# --- Tasks made of tasks, the board


def test_a_derived_task_names_its_parent_and_is_another_cell(workspace: Workspace) -> None:
    child = task().derive(train_limit=40)
    assert child.parent == task().digest and child.name != "toy" and child.digest != task().digest
    record = ok(run(workspace, child))
    assert record.replicates[0].n_train == 40 and record.task.parent == task().digest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_a_baseline_pair_gives_a_paired_gain_on_the_board(store: Store, tmp_path: Path) -> None:
    question = task(baseline="~0", protocol="knn", replicates=Replicates(seeds=3))
    specs = [resolve("encoders", toy("small_trunk", budget)) for budget in ("~1k", "~0")]
    cells = [Cell(question, spec) for spec in specs]
    trained, start = run_cells(cells, DataSets(tmp_path), store=store).records
    ok(trained), ok(start)
    difference, _ = paired(store, trained, start, question, question)
    assert trained.primary is not None and start.primary is not None
    gain = trained.primary.value - start.primary.value
    assert difference.value == pytest.approx(gain)
    board = rendered(store, {"toy": question}, overall=())
    assert f"gain {100 * gain:+.2f} [{100 * difference.low:+.2f}" in board


def test_a_record_goes_stale_by_what_changed_and_by_nothing_else(workspace: Workspace) -> None:
    cell = Cell(task(), resolve("encoders", "pca,dim=4"))
    record = ok(run(workspace, task(), "pca,dim=4"))
    expected = replace(identities(cell), data=record.data)
    assert why_stale(record, expected) == ""
    retitled = Cell(task(title="another title"), cell.encoder)
    assert why_stale(record, replace(identities(retitled), data=record.data)) == ""
    second = Cell(task(protocol=toy("means", ",strength=2")), cell.encoder)
    why = why_stale(record, replace(identities(second), data=record.data))
    assert "protocol" in why or "task" in why
    moved = replace(expected, data=replace(record.data, digest="0" * 32))
    assert "data" in why_stale(record, moved)


def test_a_second_run_does_nothing(store: Store, tmp_path: Path) -> None:
    cells = [Cell(task(dataset="digits", protocol="knn"), resolve("encoders", "pca,dim=4"))]
    assert run_cells(cells, DataSets(tmp_path), store=store).done_before == 0
    lines: list[str] = []
    assert run_cells(cells, DataSets(tmp_path), store=store, tell=lines.append).done_before == 1
    assert lines == []


def test_a_wrong_field_of_a_derived_task_is_refused() -> None:
    with pytest.raises(BenchError, match="no field of a task 'protocl'; did you mean 'protocol'"):
        task().derive(protocl="knn")
