"""The board: a pure function of records and tasks; what does not count is named, never shown."""

from __future__ import annotations

import dataclasses
import html
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench.report.sections.families
from bench.cli.main import main
from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.report import columns, leaderboard
from bench.report.columns import Column, heads
from bench.results.record import Record
from bench.results.status import identities
from bench.results.store import Store
from bench.running.executor import run_cells
from bench.statistics.intervals import paired_difference
from bench.tasks.cell import Cell
from bench.tasks.files import load
from bench.tasks.task import Task
from tests.kit import records
from tests.kit.boards import rendered

TASK = "digits-knn"
SPECS = ("pixels", "pca", "pca,dim=4")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three real records, never changed."""
    root = tmp_path_factory.mktemp("board") / "results"
    cells = [Cell(load(TASK), resolve("encoders", spec)) for spec in SPECS]
    outcome = run_cells(cells, DataSets(root.parent), store=Store(root))
    assert outcome.count("ok") == 3
    return root


@pytest.fixture
def store(results: Path, tmp_path: Path) -> Store:
    """A copy of the three records that a test may change."""
    shutil.copytree(results, tmp_path / "results")
    return Store(tmp_path / "results")


def board(store: Store, tasks: dict[str, Task] | None = None) -> str:
    return rendered(store, tasks or {TASK: load(TASK)}, overall=(TASK,))


def file(store: Store, spec: str = "pca", owner: str = "reptransfer") -> Path:
    return store.path(owner, spec, TASK)


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a record's JSON, and give it the digest that its content then has."""
    value = json.loads(path.read_text())
    value.pop("digest")
    change(value)
    try:
        value["digest"] = Record.from_json(dict(value), "").digest
    except Exception:  # what is broken beyond that needs no digest
        value.pop("digest", None)
    path.write_text(json.dumps(value))


def copy(store: Store, owner: str, change: Callable[[dict[str, Any]], Any] | None = None) -> Path:
    """The record of pca as that of a stranger."""
    target = file(store, owner=owner)
    target.parent.mkdir(parents=True)
    for suffix in (".json", ".npz"):
        shutil.copy(file(store).with_suffix(suffix), target.with_suffix(suffix))
    edit(target, lambda value: value.update(owner=owner))
    if change is not None:
        edit(target, change)
    return target


def sections(text: str) -> dict[str, list[list[str]]]:
    """Heading -> the cells of its table's lines."""
    tables: dict[str, list[list[str]]] = {}
    for part in re.split(r"^##? ", text, flags=re.M)[1:]:
        title, *lines = part.splitlines()
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("|")]
        # Without the columns of ranks and ties, which are asked for by themselves.
        first = 2 if title == "Overall" else 0
        tables.setdefault(title, [])
        tables[title] = tables[title] or [
            [cell.strip() for cell in row][first:] for row in rows[2:]
        ]
    return tables


SCORES = ("Overall", "Frozen: probes and neighbours", "Calibration")


def shown(text: str, name: str) -> list[str]:
    """The sections with scores in which an encoder has a line."""
    tables = sections(text)
    return [s for s in SCORES if any(name in row for row in tables.get(s, []))]


def left_out(text: str) -> list[list[str]]:
    return sections(text)["Left out"]


def test_the_board_shows_what_was_scored_best_first(store: Store) -> None:
    tables = sections(board(store))
    family = tables["Frozen: probes and neighbours"]
    assert [row[0] for row in family] == ["pca", "pixels (control)", "pca,dim=4"]
    for row, spec in zip(family, ("pca", "pixels", "pca,dim=4"), strict=True):
        record = store.read(file(store, spec))
        assert record.primary is not None
        assert row[1].startswith(f"{100 * record.primary.value:.2f} [")
    assert [row[0] for row in tables["Overall"]] == [row[0] for row in family]
    chance = load(TASK).chance
    first = store.read(file(store)).score
    assert float(tables["Overall"][0][1].partition(" ")[0]) == pytest.approx(
        100 * (first.value - chance) / (1 - chance), abs=0.01
    )
    assert "Nothing." in board(store)


def test_the_board_says_how_few_test_rows_there_are(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "n = " not in board(store)
    monkeypatch.setattr("bench.report.notes.FEW", 541)
    text = f"Test images: n = 540 of `{TASK}`."
    assert board(store).count(text) == 2  # of the overall score, and of the table


def test_equal_records_give_the_same_board_wherever_they_lie(store: Store, results: Path) -> None:
    text = board(store)
    assert text == board(store) == board(Store(results))
    for path in sorted(store.root.glob("*/*/*.json"), reverse=True):
        os.utime(path)
    assert board(store) == text
    assert text.endswith("\n")
    assert str(store.root) not in text


def test_another_encoders_entry_moves_no_score(store: Store) -> None:
    """Ranks it may move, and make less certain: they are about all encoders together."""

    def unranked(text: str) -> dict[str, list[list[str]]]:
        return sections(re.sub(r" \(\d+(-\d+)?\)", "", text))

    before = unranked(board(store))
    copy(store, "stranger")
    after = unranked(board(store))
    for title in SCORES:
        assert [row for row in after[title] if "stranger/pca" not in row] == before[title]
        assert len(after[title]) == len(before[title]) + 1


def forget_task(value: dict[str, Any]) -> None:
    value["task"]["digest"] = "0" * 32


LEFT_OUT: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "failed": (lambda v: v.update(status="failed", reason="it blew up"), "failed: it blew up"),
    "declined": (lambda v: v.update(status="declined", reason="by rule"), "declined: by rule"),
    "failed without reason": (lambda v: v.update(status="failed"), "failed: "),
    "another task version": (forget_task, "its task has changed"),
    "another encoder revision": (
        lambda v: v["encoder"].update(digest="0", revisions={"images": 0}),
        "images 0 -> 1",
    ),
    "other images": (lambda v: v["data"].update(digest="0" * 32), "its data has changed"),
    "no images": (lambda v: v["data"].update(digest=None), "its data were absent"),
    "another protocol": (
        lambda v: v["protocol"].update(digest="0", arguments={"k": 3}),
        "k 3 -> 20",
    ),
}


@pytest.mark.parametrize(("change", "why"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_failed_or_is_stale_is_left_out_with_its_reason(
    store: Store, change: Callable[[dict[str, Any]], Any], why: str
) -> None:
    edit(file(store), change)
    text = board(store)
    assert not shown(text, "pca")
    assert shown(text, "pca,dim=4") == list(SCORES)
    [row] = left_out(text)
    assert row[:2] == ["pca", TASK]
    assert why.strip() in html.unescape(row[2])


def test_a_record_of_an_unknown_task_is_left_out(store: Store) -> None:
    target = file(store).with_name("digits-svm.json")
    file(store).rename(target)
    edit(target, lambda value: value["task"].update(id="digits-svm"))
    text = board(store)
    assert not shown(text, "pca")
    assert ["pca", "digits-svm", "unknown task"] in left_out(text)


def test_a_record_of_ours_whose_encoder_is_gone_is_left_out(store: Store) -> None:
    target = store.path("reptransfer", "gone", TASK)
    target.parent.mkdir()
    file(store).rename(target)
    edit(target, lambda value: value["encoder"].update(id="gone"))
    text = board(store)
    assert not shown(text, "gone")
    [row] = left_out(text)
    assert "unknown encoder" in row[2]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1]", b'{"schema": "other/1"}'])
def test_a_broken_record_is_left_out_with_its_place(store: Store, content: bytes) -> None:
    file(store).write_bytes(content)
    text = board(store)
    assert not shown(text, "pca")
    [row] = left_out(text)
    assert row[0] == "unreadable record"
    assert "results/reptransfer/pca/digits-knn.json" in row[2]


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 broken"])
def test_a_record_whose_predictions_are_gone_or_broken_is_left_out(
    store: Store, content: bytes | None
) -> None:
    predictions = file(store).with_suffix(".npz")
    predictions.unlink()
    if content is not None:
        predictions.write_bytes(content)
    text = board(store)
    assert "Overall" not in shown(text, "pca")
    assert shown(text, "pca,dim=4") == list(SCORES)
    why = "npz" if content is not None else "reported: no predictions are stored"
    assert [row for row in left_out(text) if row[0] == "pca" and why in row[2]]


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys of a record's JSON, as paths; not all the versions and revisions."""
    titles = []
    for key in value if isinstance(value, dict) else range(min(len(value), 1)):
        titles.append((*at, key))
        if isinstance(value[key], dict | list) and key not in ("versions", "training", "machine"):
            titles += places(value[key], (*at, key))
    return titles


ODD: tuple[Any, ...] = (None, [1], {"a": "b"}, "text", -1)


@pytest.mark.parametrize("start", [None, 0, 1])
def test_no_stranger_breaks_the_board_with_an_odd_record(store: Store, start: int | None) -> None:
    """Each part of a record in turn missing (start None) or of another kind: others' lines come."""
    path = copy(store, "stranger")
    for spec in ("pca", "pixels"):
        shutil.rmtree(file(store, spec).parent)
    good = json.loads(path.read_text())
    good["replicates"][0]["scores"] = {"label": good["replicates"][0]["scores"]["label"]}
    expected, broken = (
        [row for row in sections(board(store))["Overall"] if row[0] == "pca,dim=4"],
        {},
    )
    for number, place in enumerate(places(good)):
        value = json.loads(json.dumps(good))
        inner = value
        for key in place[:-1]:
            inner = inner[key]
        if start is None:
            del inner[place[-1]]
        else:
            inner[place[-1]] = ODD[(number + start) % len(ODD)]
        value.pop("digest", None)
        path.write_text(json.dumps(value))
        try:
            rows = sections(board(store))["Overall"]
        except Exception as error:
            broken["/".join(map(str, place))] = repr(error)[:80]
        else:
            assert [row for row in rows if row[0] == "pca,dim=4"] == expected
    assert len(expected) == 1
    assert broken == {}


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "a | b | c |",
    "two\nlines\r\n\n# Heading\n| x | y |",
    "[click](http://example.org)",
    "\\[click](http://example.org)",
    "![x](http://example.org/x.png)",
    "a\u202eb\u2028c\x1b[31m",
    "<script>1</script>&lt;",
    "\\|",
]


def inert(text: str) -> bool:
    """No HTML, no link but to a board, no image but of a plot; only characters that print."""
    text = re.sub(r"\[[\w :,?-]*\]\((results/)?boards/[a-z_]+\.md\)", "", text)
    text = re.sub(r"!?\[[\w :-]*\]\((results/|\.\./)?plots/[\w-]+\.svg\)", "", text)
    loose = re.sub(r"\\[\\\[\]|<>`!()]", "", text)  # a backslash takes the next one's meaning
    return (
        not re.search(r"<[a-zA-Z/!]", loose)
        and not re.search(r"\[[^\]]*\]\(", loose)
        and all(c.isprintable() or c == "\n" for c in text)
    )


PLACES: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "reason": lambda v, s: v.update(status="failed", reason=s),
    "supervision": lambda v, s: v.update(supervision=s),
    "data": lambda v, s: v["data"].update(id=s),
    "revision": lambda v, s: v["task"].update(digest="0", revisions={s: 1}, version=s),
}


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("place", PLACES)
def test_what_strangers_write_is_inert(store: Store, place: str, hostile: str) -> None:
    lines = len(board(store).splitlines())
    copy(store, "stranger", lambda value: PLACES[place](value, hostile))
    text = board(store)
    assert inert(text)
    assert len(text.splitlines()) <= lines + 15  # on two boards
    for section in re.split(r"^##? ", text, flags=re.M)[1:]:
        table = [line for line in section.splitlines() if line.startswith("|")]
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in table}) <= 1


@pytest.mark.parametrize("hostile", [h.replace("/", "%2F") for h in HOSTILE])
def test_the_names_of_folders_are_inert(store: Store, hostile: str) -> None:
    target = store.root / "stranger" / hostile / f"{TASK}.json"
    target.parent.mkdir(parents=True)
    shutil.copy(file(store), target)
    text = board(store)
    assert inert(text)
    [row] = left_out(text)
    assert "another cell" in row[2]


def test_the_test_for_inertness_can_fail() -> None:
    assert not any(inert(h) for h in HOSTILE if h[0] in "<[!")
    assert not inert("\\\\[click](http://example.org)")
    assert inert("\\[click](http://example.org) &lt;img>")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("seeds", "ranked"), [(1, False), (2, False), (3, True)])
def test_an_encoder_that_draws_numbers_is_ranked_with_three_seeds(
    store: Store, seeds: int, ranked: bool
) -> None:
    record = store.read(file(store))
    arrays, replicates = store.predictions(record), []
    for seed in range(seeds):
        coords = dataclasses.replace(record.replicates[0].coords, encoder_seed=seed)
        replicates.append(dataclasses.replace(record.replicates[0], coords=coords))
        arrays |= {f"{seed}/{k[2:]}": v for k, v in arrays.items() if k.startswith("0/")}
    store.write(
        dataclasses.replace(
            record,
            replicates=tuple(replicates),
            encoder=dataclasses.replace(record.encoder, seeded=True),
        ),
        arrays,
    )
    text = board(store)
    assert ("Overall" in shown(text, "pca")) == ranked
    assert "Frozen: probes and neighbours" in shown(text, "pca")
    why = ["pca", "overall", "fewer than 3 training seeds"]
    assert (why in left_out(text)) != ranked if left_out(text) else ranked


def test_a_level_that_was_requested_by_name_is_shown_without_a_rank(store: Store) -> None:
    """Nor does it move another's rank: the same features once more would tie with their own."""
    before = sections(board(store))["Frozen: probes and neighbours"]
    cell = Cell(load(TASK), resolve("encoders", "pca,level=code"))
    assert run_cells([cell], DataSets(store.root.parent), store=store).count("ok") == 1
    text = board(store)
    lines = {row[0]: row[1:] for row in sections(text)["Frozen: probes and neighbours"]}
    assert "(" not in lines.pop("pca,level=code")[0]
    assert [[name, *row] for name, row in lines.items()] == before
    assert shown(text, "pca,level=code") == ["Frozen: probes and neighbours", "Calibration"]
    assert any(row[0] == "pca,level=code" and row[1] == "overall" for row in left_out(text))


def test_an_encoder_without_all_tasks_is_not_ranked(store: Store) -> None:
    tasks = {name: load(name) for name in (TASK, "digits-linear")}
    text = rendered(store, tasks, overall=tuple(tasks))
    assert "Overall" not in sections(text)
    assert ["pca, pca,dim=4, pixels", "overall", "no score on digits-linear"] in left_out(text)


def test_a_gain_is_the_paired_difference_from_the_baseline(store: Store) -> None:
    base = load(TASK)
    derived = base.derive(name="digits-knn-again", baseline=TASK)
    tasks = {TASK: base, derived.name: derived}
    old, second = store.read(file(store)), store.read(file(store, "pca,dim=4"))
    ids = identities(Cell(derived, resolve("encoders", "pca")))
    record = dataclasses.replace(
        old,  # as if this task had gone as well as the other does with four dimensions
        task=ids.task,
        protocol=ids.protocol,
        replicates=second.replicates,
        primary=second.primary,
    )
    store.write(record, store.predictions(second))
    truth = store.predictions(old)["truth/label"]
    right = [store.predictions(r)["0/label/class"] == truth for r in (second, old)]
    expected, _ = paired_difference(*(np.array(r, dtype=float)[None] for r in right))
    gain = (
        f"gain {100 * expected.value:+.2f} [{100 * expected.low:+.2f}, {100 * expected.high:+.2f}]"
    )
    lines = sections(rendered(store, tasks, overall=(TASK,)))["Frozen: probes and neighbours"]
    [line] = [line for line in lines if line[0] == "pca"]
    assert expected.value < -0.1
    assert gain in line[2]
    assert "gain" not in line[1]


def test_many_tasks_stand_in_a_table_of_their_own_and_one_a_data_set(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, old = load(TASK), store.read(file(store))
    tasks = {TASK: base, **{n: base.derive(name=n, baseline=TASK) for n in ("again", "and-again")}}
    for task in tasks.values():
        ids = identities(Cell(task, resolve("encoders", "pca")))
        record = dataclasses.replace(old, task=ids.task, protocol=ids.protocol)
        store.write(record, store.predictions(old))
    family, against = "Frozen: probes and neighbours", "digits: tasks with a baseline"
    facts = heads()
    assert {"labels seen", "features", "parameters", "seconds"} <= set(facts)
    for limit, titles in (
        (3, {family: list(tasks)}),
        (2, {family: [TASK], against: ["again", "and-again"]}),
    ):
        monkeypatch.setattr(bench.report.sections.families, "LIMIT", limit)
        text = rendered(store, tasks, overall=())
        assert {title: table_of(text, title)[0] for title in titles} == {
            title: ["encoder", *names, *facts] for title, names in titles.items()
        }
        assert (against in text) == (against in titles)


def test_a_column_is_one_entry_of_a_table(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is then in every table of scores, and is explained on both boards."""
    read_out = Column(
        "read-out", "the level of features", lambda _, records: records[0].encoder.read_out
    )
    before = board(store)
    monkeypatch.setattr(columns, "COLUMNS", (*columns.COLUMNS, read_out))
    text = board(store)
    assert "ead-out" not in before and text.count("Read-out: the level of features.") == 2
    levels = {spec: store.read(file(store, spec)).encoder.read_out for spec in SPECS}
    for title, at in (("Overall", 2), ("Frozen: probes and neighbours", 0)):
        head, *lines = table_of(text, title)
        assert head[-1] == "read-out" and len(lines) == len(levels)
        assert {line[at].removesuffix(" (control)"): line[-1] for line in lines} == levels
        assert [[*line[:-1]] for line in (head, *lines)] == table_of(before, title)


def test_a_baseline_of_tilde_0_is_the_untrained_encoder(store: Store) -> None:
    task = dataclasses.replace(load(TASK), name="digits-knn-gain", baseline="~0")
    record, second = store.read(file(store)), store.read(file(store, "pca,dim=4"))
    task_id = identities(Cell(task, resolve("encoders", "pca"))).task
    for spec, source in (("thing", record), ("thing~0", second)):
        encoder_id = dataclasses.replace(record.encoder, id=spec)
        stranger = dataclasses.replace(source, owner="stranger", encoder=encoder_id, task=task_id)
        store.write(stranger, store.predictions(source))
    lines = sections(rendered(store, {task.name: task}, overall=()))[
        "Frozen: probes and neighbours"
    ]
    gains = {line[0]: "gain +" in line[1] for line in lines}
    assert gains == {"stranger/thing": True, "stranger/thing~0": False}


def test_a_baseline_may_be_the_untrained_encoder_on_another_task_or_one_of_the_same_start(
    store: Store,
) -> None:
    """Its own untrained self comes first, then whoever has the same untrained trunk."""
    long = dataclasses.replace(load(TASK), name="digits-knn-long")
    task = dataclasses.replace(load(TASK), name="digits-knn-gain", baseline="digits-knn-long~0")
    record, second = store.read(file(store)), store.read(file(store, "pca,dim=4"))

    def write(spec: str, question: Any, source: Any, start: str | None) -> None:
        encoder_id = dataclasses.replace(record.encoder, id=spec, start=start)
        task_id = identities(Cell(question, resolve("encoders", "pca"))).task
        stranger = dataclasses.replace(source, owner="stranger", encoder=encoder_id, task=task_id)
        store.write(stranger, store.predictions(source))

    for spec, start in (("alike", "s"), ("apart", "t"), ("blank", None), ("own", "s")):
        write(spec, task, record, start)
    write("first~0", long, second, "s")
    write("own~0", long, record, "s")
    text = rendered(store, {t.name: t for t in (task, long)}, overall=())
    lines = sections(text)["Frozen: probes and neighbours"]
    gains = {line[0]: line[1] for line in lines}  # the first task's column
    assert "gain +" in gains["stranger/alike"]
    assert gains["stranger/own"].endswith("gain +0.00 [-0.51, +0.51]")
    assert all("gain" not in gains[f"stranger/{name}"] for name in ("apart", "blank"))
    assert "of `digits-knn-gain` over the untrained encoder on `digits-knn-long`" in text


def test_check_says_whether_the_board_is_fresh_and_writes_nothing(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    results = str(store.root)
    path = store.root.parent / "leaderboard.md"
    assert main(["leaderboard", "--check", "--results", results]) == 1
    assert not path.exists()
    assert "stale" in capsys.readouterr().err
    assert main(["leaderboard", "--results", results]) == 0
    assert path.read_text() + "\n" == capsys.readouterr().out
    assert main(["leaderboard", "--check", "--results", results]) == 0
    assert capsys.readouterr().err == ""
    copy(store, "stranger")
    before = path.read_bytes()
    assert main(["leaderboard", "--check", "--json", "--results", results]) == 1
    value = json.loads(capsys.readouterr().out)
    assert (value["file"], value["fresh"]) == (str(path), False)
    assert {row["owner"] for row in value["families"][0]["scores"]} == {"reptransfer", "stranger"}
    assert path.read_bytes() == before
    assert main(["leaderboard", "--results", results]) == 0
    assert "stranger/pca" in path.read_text()
    assert main(["leaderboard", "--check", "--results", results]) == 0


@pytest.mark.parametrize("mend", ["edit", "missing", "bytes"])
def test_a_board_that_was_edited_is_stale_and_made_anew(
    store: Store, capsys: pytest.CaptureFixture[str], mend: str
) -> None:
    results, path = str(store.root), store.root.parent / "leaderboard.md"
    assert main(["leaderboard", "--results", results]) == 0
    good = path.read_bytes()
    if mend == "missing":
        path.unlink()
    else:
        path.write_bytes(good.replace(b"98.", b"99.") if mend == "edit" else b"\xff" + good)
    assert main(["leaderboard", "--check", "--results", results]) == 1
    assert main(["leaderboard", "--results", results]) == 0
    assert path.read_bytes() == good
    assert main(["leaderboard", "--check", "--results", results]) == 0
    capsys.readouterr()


def test_a_board_is_made_once_and_unlocked_where_nothing_is_to_be_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_lock(self: Store, **_: bool) -> None:
        raise BenchError("the folder can only be read")

    made: list[leaderboard.Boards] = []
    make = leaderboard.boards
    monkeypatch.setattr(leaderboard, "boards", lambda of: made.append(make(of)) or made[-1])
    texts = leaderboard.update_boards(store).texts
    assert texts[leaderboard.FRONT] == leaderboard.board_path(store).read_text()
    assert len(made) == 1
    monkeypatch.setattr(Store, "board_lock", no_lock)
    assert leaderboard.update_boards(store) == made[0]


def table_of(text: str, title: str) -> list[list[str]]:
    """The cells of a table's lines, the head first."""
    part = re.split(rf"^#+ {re.escape(title)}$", text, flags=re.M)[1].partition("\n#")[0]
    rows = [line.split("|")[1:-1] for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[:1] + rows[2:]]


def made_up(store: Store, spec: str, shares: list[float], *, seed: int) -> None:
    """A record of `spec` with a training for each share of right answers."""
    old = store.read(file(store))
    rng = np.random.default_rng(seed)
    arrays = dict(store.predictions(old))
    truth = arrays["truth/label"].astype(np.int64)
    replicates, stored = [], {"truth/label": arrays["truth/label"]}
    for number, share in enumerate(shares):
        right = rng.random(len(truth)) < share
        stored[f"{number}/label/class"] = np.where(right, truth, (truth + 1) % 10).astype(np.int8)
        scores = {"accuracy": float(right.mean())}
        coords = dataclasses.replace(old.replicates[0].coords, encoder_seed=number)
        replicates.append(
            dataclasses.replace(old.replicates[0], coords=coords, scores={"label": scores})
        )
    mean = float(np.mean([r.scores["label"]["accuracy"] for r in replicates]))
    primary = dataclasses.replace(old.score, value=mean, low=mean - 0.1, high=mean + 0.1)
    identity = dataclasses.replace(
        old.encoder, **resolve("encoders", spec).identity, seeded=len(shares) > 1
    )
    record = dataclasses.replace(
        old, encoder=identity, replicates=tuple(replicates), primary=primary
    )
    store.write(record, stored)


@pytest.mark.usefixtures("unchecked")
def test_ranks_are_ranges_and_ties_are_letters(tmp_path: Path, results: Path) -> None:
    shutil.copytree(results, tmp_path / "runs")
    store = Store(tmp_path / "runs")
    for folder in (store.root / "reptransfer").iterdir():
        if folder.name != "pca":
            shutil.rmtree(folder)
    made_up(store, "pca,dim=1", [0.9, 0.91, 0.89], seed=1)
    made_up(store, "pca,dim=2", [0.9, 0.9, 0.91], seed=2)
    made_up(store, "pca,dim=3", [0.5], seed=3)
    made_up(store, "pca,dim=5", [0.99, 0.99], seed=4)  # two trainings: shown, not ranked
    text = rendered(store, {TASK: load(TASK)}, overall=(TASK,))
    head, *lines = table_of(text, "Overall")
    assert head[:3] == ["rank", "ties", "encoder"]
    ranks = {line[2]: line[:2] for line in lines}
    assert ranks == {
        "pca": ["1", "a"],
        "pca,dim=1": ["2-3", "b"],
        "pca,dim=2": ["2-3", "b"],
        "pca,dim=3": ["4", "c"],
    }
    _, *cells = table_of(text, "Frozen: probes and neighbours")
    notes = {line[0]: line[1].partition("] ")[2] for line in cells}
    assert notes == {"pca": "(1)", "pca,dim=1": "(2-3)", "pca,dim=2": "(2-3)", "pca,dim=3": "(4)",
                    "pca,dim=5": ""}  # fmt: skip


@pytest.mark.usefixtures("unchecked")
def test_an_answer_says_how_many_encoders_have_no_rank(store: Store) -> None:
    text = leaderboard.boards(store).texts[leaderboard.FRONT]
    assert "no rank" not in text
    task = load("digits-linear")
    ids = {spec: identities(Cell(task, resolve("encoders", spec))) for spec in SPECS}
    for spec in SPECS:
        old = store.read(file(store, spec))
        facts = dataclasses.replace(
            old.encoder, seeded=spec == "pca,dim=4"
        )  # one training: no rank
        record = dataclasses.replace(
            old, encoder=facts, task=ids[spec].task, protocol=ids[spec].protocol
        )
        store.write(record, store.predictions(old))
    [line] = [
        line
        for line in rendered(store, {task.name: task}, overall=()).splitlines()
        if line.startswith("  - on `digits-linear`")
    ]
    assert "of 2 ranked encoders; " in line and line.endswith("; 1 more have no rank.")


@pytest.mark.usefixtures("unchecked")
def test_a_wide_spread_of_seeds_makes_ranks_uncertain(tmp_path: Path, results: Path) -> None:
    """The same rows right on average; only the seeds differ more."""
    for spread, expected in ((0.01, ["1", "2"]), (0.15, ["1-2", "1-2"])):
        root = tmp_path / str(spread)
        shutil.copytree(results, root)
        store = Store(root)
        made_up(store, "pca,dim=1", [0.8 - spread, 0.8, 0.8 + spread], seed=1)
        made_up(store, "pca,dim=2", [0.7 - spread, 0.7, 0.7 + spread], seed=2)
        for folder in (store.root / "reptransfer").iterdir():
            if folder.name not in ("pca,dim=1", "pca,dim=2"):
                shutil.rmtree(folder)
        text = rendered(store, {TASK: load(TASK)}, overall=(TASK,))
        assert [line[0] for line in table_of(text, "Overall")[1:]] == expected


@pytest.mark.parametrize(
    ("notes", "collapsed"),
    [({"collapsed": True}, True), ({"collapsed": False}, False), ({}, False)],
)
def test_a_record_of_a_collapsed_training_has_no_rank(
    store: Store, notes: object, collapsed: bool
) -> None:
    record = store.read(file(store))
    training = (records.training(notes=notes),)
    store.write(dataclasses.replace(record, training=training), store.predictions(record))
    text = board(store)
    assert ("Overall" in shown(text, "pca")) is not collapsed
    why = ["pca", "overall", "a training has collapsed"]
    assert (why in (left_out(text) or [])) is collapsed


def test_the_board_links_to_pictures_and_studies_that_are_there(store: Store) -> None:
    assert "## Studies" not in board(store) and "pictures.png" not in board(store)
    study = store.root / "studies" / "tuning" / "report.md"
    study.parent.mkdir(parents=True)
    study.write_text("# [click](https://evil.example) <script>")
    (store.root / "studies" / "nobodys").mkdir()
    (store.root / "studies" / "nobodys" / "report.md").write_text("# Not of the package")
    strangers = copy(store, "someone").parent
    for folder in (file(store).parent, strangers, store.root / "someone" / "without_records"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pictures.png").write_bytes(b"")
    text = board(store)
    links = re.findall(r"\[`([^`]*)`\]\(([^)]*)\)", text)
    inside = "../"
    assert links == [
        ("pca", f"{inside}reptransfer/pca/pictures.png"),
        ("someone/pca", f"{inside}someone/pca/pictures.png"),
        ("tuning", f"{inside}studies/tuning/report.md"),
    ]
    assert "evil" not in text and "nobodys" not in text


def test_a_board_that_cannot_be_locked_is_not_written(tmp_path: Path) -> None:
    """A stale one is an error; one that is up to date is read, as in a folder that can only be read."""
    store = Store(tmp_path)
    texts = leaderboard.update_boards(store)
    locks = tmp_path / ".locks"
    shutil.rmtree(locks)
    locks.write_text("no folder")
    assert leaderboard.update_boards(store) == texts
    leaderboard.board_path(store).write_text("stale")
    with pytest.raises(BenchError):
        leaderboard.update_boards(store)
    assert leaderboard.board_path(store).read_text() == "stale"
