"""Exports give what is on the board, and other readers read it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from bench.cli.main import main
from bench.report.answers import Answer
from bench.report.board import Board
from bench.report.exports.csv_table import csv_text
from bench.report.exports.rows import COLUMNS, ScoreRow, as_dict, score_rows
from bench.statistics.intervals import Interval
from tests.kit import records
from tests.kit.export_boards import board_of, hub_entries, scored, task

A, B, C = ("reptransfer", "pca,dim=4"), ("reptransfer", "pixels"), ("somebody", "net")
TASKS = [task(), task("mnist-linear", dataset="mnist", protocol="linear", title="MNIST")]


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Board:
    """Three encoders on one task, where the first is first alone, one of them on another; and a record
    that does not count."""
    entries = [
        scored(*A, TASKS[0], 0.9),
        scored(*B, TASKS[0], 0.6, encoder=records.encoder(id=B[1], group="controls")),
        scored(*C, TASKS[0], 1 / 3),
        scored(*A, TASKS[1], 0.7, measured={"seconds": {}}),
    ]
    made = board_of(*entries, tasks=TASKS, digits_knn={A: (1, 1), B: (2, 3), C: (2, 3)})
    made.leave_out("vae", "digits-knn", "failed: no memory")
    made.leave_out("unreadable record", "", "x.json: it holds NaN")
    made.store.root = tmp_path
    monkeypatch.setattr("bench.report.leaderboard.collected", lambda _: made)
    return made


@pytest.fixture
def where(tmp_path: Path) -> list[str]:
    return ["--results", str(tmp_path)]


def rows_of(board: Board) -> list[ScoreRow]:
    return score_rows(board, list(board.tasks), sorted(board.rows))


def text(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["export", *words]) == 0
    return capsys.readouterr().out


def test_a_row_tells_a_record_as_the_board_does(board: Board) -> None:
    first, second, *_, last = rows_of(board)
    record = board.rows[A]["digits-knn"]
    assert as_dict(first) == {
        "owner": "reptransfer",
        "encoder": "pca,dim=4",
        "short_name": "pca, dim 4",
        "group": "classical",
        "control": False,
        "task": "digits-knn",
        "title": "Digits",
        "family": "probe",
        "dataset": "digits",
        "protocol": "knn",
        "metric": "accuracy",
        "higher_is_better": True,
        "chance": 0.1,
        "value": 0.9,
        "low": 0.8,
        "high": 1.0,
        "interval": "rows",
        "n_test": 40,
        "seeds": 3,
        "replicates": 3,
        "first_rank": 1,
        "last_rank": 1,
        "compared": 3,
        "unranked": "",
        "trust": "consistent",
        "labels_seen": "none",
        "seconds": 1.5,
        "parameters": 8,
        "features": 4,
        "digest": record.digest,
    }
    assert (second.control, second.first_rank, second.last_rank) == (True, 2, 3)
    assert (last.task, last.first_rank, last.compared, last.seconds) == (
        "mnist-linear",
        None,
        0,
        None,
    )


def test_controls_of_a_task_are_no_runs(board: Board) -> None:
    at = records.Coords(encoder_seed=7, control="shuffled_signatures")
    runs = (records.replicate({}), records.replicate({}, at))
    made = board_of(scored(*C, TASKS[0], replicates=runs), tasks=TASKS)
    [row] = rows_of(made)
    assert (row.seeds, row.replicates) == (1, 1)
    assert row.unranked == "fewer than 3 training seeds"


def test_scores_from_counts_are_compared_among_themselves() -> None:
    made = board_of(tasks=TASKS)
    made.add(scored(*A, TASKS[0], 0.9), "consistent")
    for other in (B, C):
        made.add(scored(*other, TASKS[0]), "from counts")
    made.ranks["digits-knn"] = {A: (1, 1), B: (2, 3), C: (2, 3)}
    assert [row.compared for row in rows_of(made)] == [1, 2, 2]


def test_comma_separated_values_read_back_exactly(
    board: Board, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = text(capsys, "csv", *where)
    lines = list(csv.DictReader(io.StringIO(out)))
    assert tuple(lines[0]) == COLUMNS
    for line, row in zip(lines, rows_of(board), strict=True):
        for name, value in as_dict(row).items():
            assert line[name] == ("" if value is None else str(value))
    frame = pd.read_csv(io.StringIO(out))
    assert frame["value"].tolist() == [0.9, 0.6, 1 / 3, 0.7]
    assert frame["control"].tolist() == [False, True, False, False]


def test_a_wide_table_has_a_line_an_encoder_and_a_column_a_task(
    board: Board, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_csv(io.StringIO(text(capsys, "csv", "--wide", *where)))
    assert list(frame) == ["owner", "encoder", "short_name", "digits-knn", "mnist-linear"]
    assert frame["encoder"].tolist() == ["pca,dim=4", "pixels", "net"]
    assert frame["digits-knn"].tolist() == [0.9, 0.6, 1 / 3]
    assert frame["mnist-linear"].isna().tolist() == [False, True, True]


def test_a_task_of_a_columns_name_has_a_column_of_its_own() -> None:
    odd = task("owner")
    made = board_of(scored(*A, odd), tasks=[odd])
    head, line = csv_text(rows_of(made), wide=True).splitlines()
    assert head == "owner,encoder,short_name,task owner"
    assert next(csv.reader([line]))[3] == "0.5"


def test_json_has_the_same_values(
    board: Board, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert json.loads(text(capsys, "json", *where)) == [as_dict(row) for row in rows_of(board)]
    wide = json.loads(text(capsys, "json", "--wide", *where))
    assert [line["mnist-linear"] for line in wide] == [0.7, None, None]


def test_parquet_has_the_same_values_and_types(
    board: Board, where: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scores.parquet"
    out = text(capsys, "parquet", "--out", str(path), *where)
    assert out == f"4 scores of 3 encoders in {path}\n"
    frame = pd.read_parquet(path)
    assert tuple(frame) == COLUMNS
    for (_, line), row in zip(frame.iterrows(), rows_of(board), strict=True):
        for name, value in as_dict(row).items():
            assert (value is None and math.isnan(line[name])) or line[name] == value
    assert frame["n_test"].dtype == "int64" and frame["control"].dtype == "bool"
    text(capsys, "parquet", "--wide", "--encoder", "pixels", "--out", str(path), *where)
    assert pd.read_parquet(path)["digits-knn"].tolist() == [0.6]


def test_latex_is_bold_only_where_an_encoder_is_first_alone(
    board: Board, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = text(capsys, "latex", *where)
    assert out.count("textbf") == 1
    assert (
        r"pca, dim 4 & digits-knn & accuracy & \textbf{90.00} [80.00, 100.00] & 1 & 40 & 3 \\"
        in out
    )
    assert r"somebody/net & digits-knn & accuracy & 33.33 [23.33, 43.33] & 2--3 & 40 & 3 \\" in out
    assert r"pca, dim 4 & mnist-linear & accuracy & 70.00 [60.00, 80.00] & -- & 40 & 3 \\" in out
    wide = text(capsys, "latex", "--wide", *where)
    assert r"pixels & 60.00 [50.00, 70.00] (2--3) & -- \\" in wide
    for rule in ("toprule", "midrule", "bottomrule"):
        assert f"\\{rule}" in out and f"\\{rule}" in wide


def test_who_has_the_only_score_of_its_kind_is_not_bold() -> None:
    from bench.report.exports.latex_table import latex_text

    made = board_of(tasks=TASKS)
    made.add(scored(*A, TASKS[0], 0.9), "consistent")
    made.add(scored(*B, TASKS[0]), "from counts")
    made.ranks["digits-knn"] = {A: (1, 1), B: (2, 2)}
    assert "textbf" not in latex_text(rows_of(made), wide=False)


def test_a_card_tells_identity_scores_costs_and_what_is_missing(
    board: Board, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    board.leave_out("pca,dim=4", "digits-linear", "declined: no data")
    out = text(capsys, "card", "--encoder", "pca,dim=4", *where)
    assert out.startswith("# pca, dim 4\n")
    assert "`reptransfer run --encoder pca,dim=4 --task digits-knn`" in out
    line = next(x for x in out.splitlines() if x.startswith("| digits-knn"))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == [
        "digits-knn", "digits", "accuracy, %", "90.00 [80.00, 100.00]", "10.00", "1 of 3", "40", "3",
        "consistent",
    ]  # fmt: skip
    assert re.search(r"\| digits-linear +\| declined: no data", out)
    assert "no memory" not in out  # another encoder's
    assert "no rank" in out and "fewer than 500 test rows" in out
    other = text(capsys, "card", "--encoder", "somebody/net", *where)
    assert "No score, where others have one, on 1 tasks: `mnist-linear`." in other
    assert "Its owner entered it" in other


def test_a_card_tells_training_data() -> None:
    from bench.report.exports.model_card import card_text

    encoder = records.encoder(
        id="net", pretrained_on=("imagenet-1k", "photos"), unlabelled=("photos",)
    )
    trained = tuple(records.training(images_seen=n) for n in (300_000, 310_000))
    record = scored(*C, TASKS[0], encoder=encoder, training=trained, supervision="labels elsewhere")
    text = card_text(board_of(record, tasks=TASKS), C, ["digits-knn"])
    assert re.search(r"\| imagenet-1k +\| elsewhere, with labels +\|", text)
    assert re.search(r"\| photos +\| elsewhere, without labels +\|", text)
    assert "300,000 to 310,000 images seen" in text
    assert "*labels elsewhere* on 1 " in text


def test_a_card_has_what_the_owner_states(
    board: Board, where: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.entries.entry import Entry, WeightsFile, write_entry

    entry = Entry(
        title="A net",
        authors=("A. Author", "B. Author"),
        contact="https://a.example",
        licence="MIT",
        hardware="CPU",
        trained_with_labels=(),
        trained_without_labels=(),
        weights=(WeightsFile(name="net.onnx", bytes=5, sha256="0" * 64),),
    )
    path = tmp_path / "somebody" / "net" / "entry.toml"
    path.parent.mkdir(parents=True)
    write_entry(path, entry)
    out = text(capsys, "card", "--encoder", "net", *where)
    assert re.search(r"owner says: licence +\| MIT", out)
    assert "A. Author, B. Author" in out and "0" * 64 in out
    path.write_text("schema = 5")
    assert main(["export", "card", "--encoder", "net", *where]) == 0
    out, err = capsys.readouterr()
    assert "owner says" not in out and "unknown schema" in err


def test_the_hub_reads_its_entries(
    board: Board, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval-results", "--encoder", "pca,dim=4", "--form", "hub", "--benchmark", "org/data"]
    values = yaml.safe_load(text(capsys, *words, *where))
    assert [set(value) for value in values] == [{"dataset", "value", "notes"}] * 2
    first, second = hub_entries(values)
    assert (first.dataset_id, first.task_id, first.value) == ("org/data", "digits-knn", 0.9)
    assert second.task_id == "mnist-linear"
    for words_of_note in ("accuracy", "0.8 to 1", "40 test rows", "3 trainings"):
        assert words_of_note in first.notes


def test_every_eval_ever_has_its_required_fields(
    board: Board, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Names and kinds of version 0.2.2."""
    value = json.loads(text(capsys, "eval-results", "--encoder", "pca,dim=4", *where))
    assert set(value) == {
        "schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "eval_library",
        "model_info", "evaluation_results",
    }  # fmt: skip
    assert value["schema_version"] == "0.2.2"
    assert value["retrieved_timestamp"].isdigit()
    assert value["source_metadata"]["source_type"] == "evaluation_run"
    assert value["source_metadata"]["evaluator_relationship"] == "first_party"
    assert {"name", "id"} <= set(value["model_info"])
    first, _ = value["evaluation_results"]
    assert first["evaluation_name"] == "reptransfer.digits-knn"
    assert first["source_data"] == {"dataset_name": "digits", "source_type": "other"}
    assert first["metric_config"]["lower_is_better"] is False
    assert (first["metric_config"]["min_score"], first["metric_config"]["max_score"]) == (0, 1)
    assert first["score_details"]["score"] == 0.9
    assert all(isinstance(v, str) for v in first["score_details"]["details"].values())
    assert first["score_details"]["uncertainty"] == {
        "confidence_interval": {
            "lower": 0.8,
            "upper": 1.0,
            "confidence_level": 0.95,
            "method": "over test rows and seeds",
        },
        "num_samples": 40,
    }


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["--task", "digits-*"], [A, B, C]),
        (["--family", "probe", "--task", "mnist-linear"], [A]),
        (["--encoder", "pca,dim=4,whiten=false", "--task", "digits-knn"], [A]),
        (["--encoder", "somebody/*", "--encoder", "pixels"], [B, C]),
    ],
)
def test_filters(
    board: Board,
    where: list[str],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    left: list[Any],
) -> None:
    lines = json.loads(text(capsys, "json", *words, *where))
    assert [(line["owner"], line["encoder"]) for line in lines] == left


def test_what_is_left_out_is_said_beside(
    board: Board, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "csv", *where]) == 0
    err = capsys.readouterr().err
    assert "vae: digits-knn: failed: no memory" in err and "it holds NaN" in err
    assert main(["export", "csv", "--encoder", "pixels", *where]) == 0
    err = capsys.readouterr().err
    assert "no memory" not in err and "it holds NaN" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["parquet"], "parquet is no text"),
        (["card"], "name it with --encoder SPEC"),
        (["card", "--encoder", "*"], "--encoder means 3"),
        (["card", "--encoder", "pixels", "--wide"], "--wide is of tables"),
        (["csv", "--form", "hub"], "of eval-results alone"),
        (["eval-results", "--encoder", "pixels", "--form", "hub"], "--benchmark OWNER/NAME"),
        (["eval-results", "--encoder", "pixels", "--benchmark", "a/b"], "is of --form hub"),
        (
            ["eval-results", "--encoder", "pixels", "--form", "hub", "--benchmark", "x\n/y"],
            "no data set of the hub",
        ),
        (
            ["csv", "--task", "digit-knn"],
            "no task with a score 'digit-knn'; did you mean 'digits-knn'",
        ),
        (["csv", "--family", "probes"], "no family of tasks 'probes'"),
        (["csv", "--encoder", "pca,dim=5"], "no encoder with a score 'pca,dim=5'"),
        (["csv", "--encoder", "pixels", "--task", "mnist-linear"], "leave out a filter"),
        (["csv", "--out", "."], "is a folder"),
    ],
)
def test_mistakes_are_one_line(
    board: Board,
    where: list[str],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert main(["export", *words, *where]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1


def test_a_folder_without_scores_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "csv", "--results", str(tmp_path)]) == 2
    assert "has no scores that count" in capsys.readouterr().err


def test_json_of_the_command_names_the_file_or_has_the_text(
    board: Board, where: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = json.loads(text(capsys, "latex", "--json", *where))
    assert value["scores"] == 4 and r"\toprule" in value["text"]
    assert value["left_out"][0] == ["unreadable record", "", "x.json: it holds NaN"]
    path = tmp_path / "new" / "x.csv"
    value = json.loads(text(capsys, "csv", "--json", "--out", str(path), *where))
    assert value["file"] == str(path) and path.is_file()


def test_tables_of_a_board(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.report.exports.board_tables import board_tables

    tables = board_tables(board)
    assert [family["name"] for family in tables["families"]] == ["probe"]
    assert tables["families"][0]["scores"] == [as_dict(row) for row in rows_of(board)]
    assert tables["overall"] == {"tasks": [], "scores": []}
    assert {"encoder": "vae", "where": "digits-knn", "reason": "failed: no memory"} in tables[
        "left_out"
    ]
    answer = Answer("Which?", "**pca**", "probe")
    monkeypatch.setattr("bench.report.exports.board_tables.answers", lambda _: [answer])
    # The best first, shares of the way from chance to the ceiling.
    board.overall = ("digits-knn",)
    monkeypatch.setattr(
        "bench.report.exports.board_tables.overall_ranks",
        lambda _, rows: ([(1, 1), (2, 3), (2, 3)], [1, 2, 2]),
    )
    monkeypatch.setattr(
        "bench.report.exports.board_tables.mean_score",
        lambda _, records: Interval(*(100 * v for v in (records[0].score.value, 0.1, 0.95))),
    )
    tables = board_tables(board)
    assert tables["answers"] == [{"question": "Which?", "text": "**pca**", "family": "probe"}]
    scores = tables["overall"]["scores"]
    assert [
        (s["encoder"], s["value"], s["first_rank"], s["last_rank"], s["ties"]) for s in scores
    ] == [
        ("pca,dim=4", pytest.approx(0.9), 1, 1, "a"),
        ("pixels", pytest.approx(0.6), 2, 3, "b"),
        ("net", pytest.approx(1 / 3), 2, 3, "b"),
    ]
