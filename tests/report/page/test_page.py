"""The page as HTML: complete without JavaScript, closed by its policy, inert whatever records say."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import main
from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.report.page import build
from bench.report.page.build import SCRIPTS, STYLE, asset, island, policy, write_page
from bench.results.store import Store
from bench.running.executor import run_cells
from bench.tasks.cell import Cell
from bench.tasks.files import load
from tests.kit.pages import made_contents, made_page

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]>",
    "<img src=x onerror=alert(1)>",
    "\" onmouseover=\"alert(1)",
    "' onfocus='alert(1)' autofocus='",
    "javascript:alert(1)",
    "[link](javascript:alert(1))",
    "[link](https://example.org)",
    "![image](https://example.org/a.png)",
    "<https://example.org>",
    "{{ 7 * 7 }}{% raw %}",
    "${alert(1)}",
    "| a | b |\n|---|---|",
    "# heading\n\n- list",
    "**bold** _emphasis_ `code`",
    "a\r\nb\tc\x00d",
    "\x1b[31mred\x1b[0m",
    "\u202etxt.exe\u202c",
    "\u2066isolate",
    "\u2028\u2029",
    "\ud800 alone \udfff",
    "\ufeff\u200b",
    "&lt;b&gt;&amp;&#60;",
    "</title></style></textarea></noscript>",
    "<svg onload=alert(1)>",
    "<base href=https://example.org>",
    "<meta http-equiv=refresh content=0;url=https://example.org>",
    "=HYPERLINK(\"https://example.org\")",
]  # fmt: skip


class Elements(HTMLParser):
    """What a page has: tags in their order, attributes, texts by the innermost tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def text() -> str:
    return made_page()


@pytest.fixture(scope="module")
def elements(text: str) -> Elements:
    return Elements(text)


def test_every_element_is_closed_and_ids_are_unique(elements: Elements) -> None:
    assert elements.open == []
    ids = Counter(a["id"] for _, a in elements.tags if "id" in a)
    assert max(ids.values()) == 1


def test_answers_and_tables_are_there_without_javascript(elements: Elements) -> None:
    assert "Which is best?" in elements.texts["h2"]
    assert "encoder_0" in elements.texts["strong"]
    assert "pixels" in elements.texts["th"]
    assert [a["scope"] for a in elements.all("th")] == ["col", "col", "row"]
    assert elements.texts["caption"] == ["Mean"]
    assert all(a.get("alt") for a in elements.all("img"))


def test_the_policy_lets_only_the_scripts_and_the_style_of_the_page_run(elements: Elements) -> None:
    (content,) = [a["content"] for a in elements.all("meta") if "http-equiv" in a]
    assert content is not None
    directives = {d.split()[0]: d.split()[1:] for d in content.split("; ")}
    assert directives["default-src"] == ["'none'"]
    scripts = elements.texts["script"][1:]  # the first is the data
    assert elements.all("script")[0]["type"] == "application/json"
    for texts, name in ((scripts, "script-src"), (elements.texts["style"], "style-src")):
        hashes = [base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in texts]
        assert directives[name] == [f"'sha256-{h}'" for h in hashes]
    assert "unsafe" not in content and "http" not in content


def test_every_asset_is_in_the_page_and_could_not_end_its_element() -> None:
    folder = Path(build.__file__).parent / "assets"
    assert {path.name for path in folder.iterdir()} == {*SCRIPTS, STYLE}
    assert len(set(SCRIPTS)) == len(SCRIPTS)
    for name in (*SCRIPTS, STYLE):
        assert not re.search(r"</(script|style)|<!--", asset(name), re.IGNORECASE)
        assert "innerHTML" not in asset(name) and "eval(" not in asset(name)


def test_the_island_parses_to_what_was_put_in(elements: Elements) -> None:
    expected = {k: v for k, v in made_contents().items() if k not in ("answers", "studies")}
    assert json.loads(elements.texts["script"][0]) == json.loads(json.dumps(expected))


def test_made_anew_the_page_is_equal(text: str) -> None:
    assert made_page() == text


@pytest.mark.parametrize("hostile", HOSTILE)
def test_whatever_records_say_the_page_has_the_same_elements(
    hostile: str, elements: Elements
) -> None:
    page = made_page(text=hostile)
    page.encode()  # no lone surrogates
    found = Elements(page)
    shape = ("script", "style", "img", "a", "base", "meta", "svg", "title", "details", "iframe")
    assert [t for t, _ in found.tags if t in shape] == [t for t, _ in elements.tags if t in shape]
    for _, attributes in found.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert not str(attributes.get("href", "#")).lower().startswith(("javascript", "http"))
        assert str(attributes.get("src", "data:")).startswith("data:image/svg+xml;base64,") or (
            "src" not in attributes
        )
    carried = json.loads(found.texts["script"][0])
    assert carried["encoders"][1]["name"] == f"encoder_1{hostile}"  # as it is: scripts make it text
    visible = "".join(t for tag, texts in found.texts.items() if tag != "script" for t in texts)
    assert not re.search("[\x00-\x08\x1b\u202a-\u202e\u2066-\u2069]", visible)


def test_a_number_that_json_has_not_is_an_error() -> None:
    with pytest.raises(ValueError, match="JSON"):
        island({"value": float("nan")})


def test_a_policy_names_each_script() -> None:
    assert policy(["a", "b"], "c").count("sha256-") == 3


class _Board:
    """As much as `write_page` asks of one before it makes the page."""


def test_a_folder_in_the_place_of_the_page_is_an_error(tmp_path: Path) -> None:
    board: Any = _Board()
    with pytest.raises(BenchError, match="is a folder"):
        write_page(board, tmp_path)


def test_a_page_that_cannot_be_made_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise BenchError("no")

    (tmp_path / "page.html").write_text("old")
    monkeypatch.setattr(build, "page", fail)
    board: Any = _Board()
    with pytest.raises(BenchError):
        write_page(board, tmp_path / "page.html")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text() == "old"


def test_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "markdown_it", None)
    assert main(["page", "--results", str(tmp_path)]) == 2
    assert 'pip install "reptransfer[demo]"' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_the_libraries_writes_the_board_and_says_what_the_page_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    words = ["--encoder", "pixels", "--task", "digits-knn", "--results", str(tmp_path / "runs")]
    assert main(["run", *words]) == 0
    out, err = capsys.readouterr()
    assert 'pip install "reptransfer[demo]"' in err and "no page" in err
    assert "the page" not in out and "the board is in" in out
    assert (tmp_path / "runs" / "leaderboard.md").is_file()
    assert not (tmp_path / "runs" / "page.html").exists()


def test_the_command_writes_one_file_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    out = tmp_path / "deep" / "all.html"
    assert main(["page", "--results", str(tmp_path / "runs"), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(out), "bytes": out.stat().st_size}
    assert "0 encoders" in out.read_text()
    assert main(["page", "--results", str(tmp_path / "missing")]) == 2
    assert "no folder" in capsys.readouterr().err


def test_a_check_tells_a_page_of_other_records_or_of_other_scripts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    words = ["page", "--results", str(tmp_path / "runs")]
    assert main([*words, "--check"]) == 1  # there is none
    assert "is stale; update it with: reptransfer page" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "page.html").exists()
    assert main(words) == 0
    before = (tmp_path / "runs" / "page.html").read_bytes()
    assert main([*words, "--check"]) == 0
    store = Store(tmp_path / "runs")
    run_cells(
        [Cell(load("digits-knn"), resolve("encoders", "pixels"))], DataSets(tmp_path), store=store
    )
    assert main([*words, "--check"]) == 1
    assert main(words) == 0 and main([*words, "--check"]) == 0
    assert (tmp_path / "runs" / "page.html").read_bytes() != before
    monkeypatch.setattr(build, "asset", lambda name: "changed")
    assert main([*words, "--check"]) == 1
