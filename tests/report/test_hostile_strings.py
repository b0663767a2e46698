"""What strangers write is inert on boards, as GitHub's Markdown reads them, and on a terminal."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import main
from bench.datasets.base import DataSets
from bench.digests import canonical_json
from bench.naming.specs import resolve
from bench.report.leaderboard import Boards, render
from bench.results.record import Record
from bench.results.store import LEDGER, VERIFIED, Store
from bench.running.executor import run_cells
from bench.tasks.cell import Cell
from bench.tasks.files import load
from tests.kit.hostile_strings import STRINGS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    cmark = pytest.importorskip("cmarkgfm")

TASK = "digits-knn"
PLACES: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "reason": lambda v, s: v.update(status="failed", reason=s),
    "shown": lambda v, s: [
        v.update(supervision=s, diagnostics=[{f"{s}/{s}": 1.0}]),
        v["encoder"].update(group=s, pretrained_on=[s]),
    ],
    "data": lambda v, s: v["data"].update(id=s),
    "revision": lambda v, s: [
        v["task"].update(digest="0", version=s),
        v["protocol"].update(id=s, arguments={s: s}, revisions={s: 1}),
    ],
    "encoder": lambda v, s: v["encoder"].update(id=s),
    "owner": lambda v, s: v.update(owner=s),
}
ELEMENTS = {
    "h1", "h2", "h3", "p", "a", "img", "ul", "li", "strong", "em", "code",
    "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
OURS = re.compile(r"(\.\./|results/)?(boards|plots)/[a-z-]+\.(md|svg)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of two encoders, and of a stranger for each string at each place."""
    root = tmp_path_factory.mktemp("strangers") / "results"
    store = Store(root)
    (root / "tasks").mkdir(parents=True)
    cells = [Cell(load(TASK), resolve("encoders", spec)) for spec in ("pixels", "pca")]
    assert run_cells(cells, DataSets(root.parent), store=store).count("ok") == 2
    good = store.path("reptransfer", "pca", TASK)
    text = good.read_text()
    for number, hostile in enumerate(STRINGS.values()):
        for place, change in PLACES.items():
            value = json.loads(text)
            value.pop("digest")
            value["owner"] = f"{place}{number}"
            change(value, hostile)
            try:
                value["digest"] = Record.from_json(dict(value), "").digest
            except Exception:
                value.pop("digest", None)
            path = root / f"{place}{number}" / "pca" / f"{TASK}.json"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(value))
            shutil.copy(good.with_suffix(".npz"), path.with_suffix(".npz"))
        with suppress(OSError, ValueError):  # not every string can be a file's name
            name = hostile.replace("/", "%2F")[:80]
            for path in (root / "strangers" / name, root / name / "pca"):
                path.mkdir(parents=True, exist_ok=True)
                shutil.copy(good, path / f"{TASK}.json")
            (root / "tasks" / f"{name}.json").write_text(json.dumps({"schema": hostile}))
    ledger = root / LEDGER
    look = json.loads(ledger.read_text().splitlines()[0])
    looks = [{**look, key: s} for key in look for s in STRINGS.values() if len(s) < 2000]
    with ledger.open("a") as lines:
        lines.writelines(f"{canonical_json(line)}\n" for line in looks)
    (root / VERIFIED).write_text(json.dumps({"schema": "".join(STRINGS.values())[:2000]}))
    return root


@pytest.fixture(scope="module")
def made(folder: Path) -> Boards:
    titled = replace(load(TASK), title=" ".join(STRINGS.values()))
    return render(Store(folder), {TASK: titled}, overall=(TASK,))


class Elements(HTMLParser):
    """Collects what a page has."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.targets, self.cells = set[str](), set[str](), list[int]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for key, value in attrs:
            assert key in ("href", "src", "alt"), (tag, key, value)
            if key != "alt":
                self.targets.add(str(value))


def page_of(text: str) -> Elements:
    options = cmark.cmark.Options.CMARK_OPT_UNSAFE  # nothing is taken out: GitHub itself does that
    page = Elements()
    page.feed(cmark.github_flavored_markdown_to_html(text, options=options))
    return page


def test_boards_have_no_element_and_no_address_of_a_stranger(made: Boards) -> None:
    assert len(made.texts) > 3
    for name, text in made.texts.items():
        page = page_of(text)
        assert page.tags <= ELEMENTS, name
        assert all(map(OURS.fullmatch, page.targets)), name
        assert all(c.isprintable() or c == "\n" for c in text), name


def test_every_line_of_a_table_has_as_many_cells_as_its_head(made: Boards) -> None:
    for name, text in made.texts.items():
        for table in re.findall(r"(?m)(?:^\|.*\n)+", text):
            counts = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in table.splitlines()}
            assert len(counts) == 1, name


def test_the_parser_sees_what_is_not_escaped() -> None:
    """The tests above can fail."""
    for attack in ("a comment in HTML", "an image with an event", "the end of an attribute"):
        with pytest.raises(AssertionError):
            assert page_of(f"<p>\n{STRINGS[attack]}\n</p>").tags <= ELEMENTS
    for attack in ("a link in Markdown", "an image in Markdown", "an automatic link"):
        assert not all(map(OURS.fullmatch, page_of(STRINGS[attack]).targets))


COMMANDS = [
    ["leaderboard"],
    ["leaderboard", "--check"],
    ["leaderboard", "--json"],
    ["export", "csv"],
    ["export", "latex"],
    ["verify", "{}"],
    ["status"],
    ["plan"],
    ["compare", "pixels", "pca"],
    ["forget", "pca", "--dry-run"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_terminal_is_told_to_do_anything(
    folder: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    arguments = [part.format(folder) for part in command]
    arguments += [] if command[0] == "verify" else ["--results", str(folder)]
    assert main(arguments) in (0, 1)
    out, err = capsys.readouterr()
    for text in (out, err):
        odd = {c for c in text if not c.isprintable()} - {"\n"}
        assert not odd, sorted(map(ascii, odd))
