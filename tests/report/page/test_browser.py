"""The page in Chromium: views, sorting, filters, addresses, keyboard, small screens, accessibility."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from bench.report.page.ties import ties
from bench.report.sections.overall import letter
from tests.kit.pages import made_contents, made_page
from tests.report.page.test_page import HOSTILE

pytestmark = pytest.mark.slow

VIEWS = ("answers", "table", "encoder", "task", "pair", "pairs", "cost", "studies")
AXE = "axe-core@4.14.1"
HEADS = "#view table thead th"
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
LIMIT = 10_000  # milliseconds that a view may take on a busy machine


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not (path := shutil.which("chromium")):
        pytest.skip("chromium is not installed: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


class Faults(list[str]):
    """Requests that leave the page, errors and lines of the console."""

    def watch(self, tab: Any) -> None:
        tab.on("request", self._request)
        tab.on("console", lambda message: self.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: self.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: (self.append("dialog"), dialog.dismiss()))

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("data:", self.page)):
            self.append(f"request: {request.url}")

    page = "file:///nowhere"


Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """A page of `made_contents(**contents)` at an address, in a new window without a network."""
    contexts, faults = [], Faults()

    def open_page(
        address: str = "",
        *,
        size: tuple[int, int] = (1300, 900),
        scheme: str = "light",
        javascript: bool = True,
        **contents: Any,
    ) -> Any:
        path = tmp_path / "page.html"
        path.write_text(made_page(**contents))
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            java_script_enabled=javascript,
            offline=True,
        )
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(LIMIT)
        faults.page = path.as_uri()
        faults.watch(tab)
        tab.goto(path.as_uri() + address)
        if javascript:
            tab.wait_for_selector("html[data-ready]")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core."""
    if not shutil.which("npm"):
        pytest.skip("npm, which fetches axe-core, is not installed")
    folder = tmp_path_factory.mktemp("axe")
    done = subprocess.run(["npm", "pack", AXE], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm cannot fetch {AXE}: {done.stderr[-200:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


def settle(tab: Any) -> None:
    """Wait until the view of the address is drawn; a script that waits in the page would be refused by
    its policy."""
    for _ in range(LIMIT // 20):
        tab.wait_for_timeout(20)  # also before: links are followed later
        if tab.evaluate("document.documentElement.dataset.drawn === location.hash"):
            return
    raise AssertionError(f"the view of {tab.url} is not drawn")


def column(tab: Any, number: int) -> list[str]:
    """Texts of a column of the first table, from 1."""
    texts: list[str] = tab.locator(f"#view tbody tr > :nth-child({number})").all_inner_texts()
    return [text.strip() for text in texts]


def place(tab: Any, name: str) -> int:
    """The number of the column with this head, from 1."""
    heads = [re.sub(r"[▲▼↕\s]+$", "", text) for text in tab.locator(HEADS).all_inner_texts()]
    return heads.index(name) + 1


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_opens_by_its_address_and_by_its_link(opened: Open, view: str) -> None:
    tab = opened(f"#view={view}")
    heading = tab.locator("h1").inner_text()
    assert heading and heading in tab.title()
    assert tab.locator("#views [aria-current=page]").get_attribute("data-view") == view
    tab.locator("#views a").first.click()
    settle(tab)
    assert tab.url.endswith("#view=answers")
    tab.locator(f"#views [data-view={view}]").click()
    settle(tab)
    assert tab.locator("h1").inner_text() == heading
    assert tab.locator("#ready").count() == 0


def test_without_javascript_answers_and_tables_are_there(opened: Open) -> None:
    tab = opened(javascript=False)
    assert "Which is best?" in tab.locator("#ready-answers").inner_text()
    assert tab.locator("table").first.is_visible()


@pytest.mark.parametrize("head", ["Score", "Encoder", "Rank", "task_0"])
def test_a_head_sorts_by_its_column_and_turns_the_order(opened: Open, head: str) -> None:
    tab = opened("#view=table&costs=1")
    number = place(tab, head)
    button = tab.locator(f"{HEADS}:nth-child({number}) button")
    orders = []
    for _ in range(2):
        button.click()
        settle(tab)
        direction = tab.locator(f"{HEADS}:nth-child({number})").get_attribute("aria-sort")
        assert tab.locator(f"{HEADS}[aria-sort]").count() == 1
        texts = [text for text in column(tab, number) if text != DASH]
        values = [
            text if head == "Encoder" else float(re.split(f"[ {DASH}\n]", text)[0])
            for text in texts
        ]
        assert values == sorted(values, reverse=direction == "descending")
        orders.append(direction)
    assert sorted(orders) == ["ascending", "descending"]
    assert tab.evaluate("document.activeElement.tagName") == "BUTTON"  # the focus stays


def test_filters_are_in_the_address_and_the_back_button_undoes_them(opened: Open) -> None:
    tab = opened("#view=table")
    everybody = len(column(tab, 1))
    tab.get_by_label("Hide controls").check()
    settle(tab)
    without = len(column(tab, 1))
    assert without == everybody - 4  # every third of 12
    assert "nocontrols=1" in tab.url
    tab.locator("#tasks").select_option("probe")
    settle(tab)
    assert "tasks=probe" in tab.url
    assert place(tab, "task_2") and place(tab, "task_4")
    tab.go_back()
    settle(tab)
    assert "probe" not in tab.url
    assert len(column(tab, 1)) == without
    tab.go_back()
    settle(tab)
    assert "nocontrols" not in tab.url
    assert len(column(tab, 1)) == everybody
    assert not tab.get_by_label("Hide controls").is_checked()
    assert "encoders" in tab.locator("#said").inner_text()


def test_the_search_takes_what_is_typed_and_keeps_the_caret(opened: Open) -> None:
    tab = opened("#view=table")
    tab.get_by_label("Search").focus()
    tab.keyboard.type("encoder_1 owner")
    assert tab.get_by_label("Search").input_value() == "encoder_1 owner"
    assert tab.evaluate("document.activeElement.id") == "q"
    tab.get_by_label("Search").fill("encoder_11")
    settle(tab)
    assert len(column(tab, 1)) == 1
    tab.get_by_label("Search").fill("")
    settle(tab)
    tab.locator("#show").select_option("levels")
    settle(tab)
    assert len(column(tab, 1)) == 2  # encoders 4 and 9


def test_single_tasks_are_chosen_by_boxes_that_stay_open(opened: Open) -> None:
    tab = opened("#view=table&tasks=probe")
    tab.get_by_text("Choose single tasks").click()
    tab.locator("#task-task_2").uncheck()
    settle(tab)
    assert tab.locator("#task-task_2").is_visible()
    tab.locator("#task-task_5").check()
    settle(tab)
    assert re.findall("task=(task_.)", tab.url) == ["task_0", "task_4", "task_5"]
    assert tab.evaluate("document.activeElement.id") == "task-task_5"


def test_ranks_and_ties_of_ten_random_filters_are_those_of_python(opened: Open) -> None:
    options = {"encoders": 17, "tasks": 9, "seed": 3}
    contents, random = made_contents(**options), np.random.default_rng(0)
    tab = opened("#view=table", **options)
    for _ in range(10):
        count = int(random.integers(1, 6))
        tasks = sorted(random.choice(9, count, replace=False).tolist())
        fields = "&".join(f"task=task_{task}" for task in tasks)
        tab.evaluate(f"location.hash = '#view=table&{fields}'")
        settle(tab)
        expected = ties(contents, tasks)
        lines = {
            contents["encoders"][encoder]["name"]: (
                f"{a}{DASH}{b}" if a < b else f"{a}",
                letter(group),
            )
            for encoder, (a, b), group in zip(
                expected.encoders, expected.ranges, expected.groups, strict=True
            )
        }
        names = [name.split("\n")[0].removesuffix("control").strip()
                 for name in column(tab, place(tab, "Encoder"))]  # fmt: skip
        columns = column(tab, place(tab, "Rank")), column(tab, place(tab, "Ties"))
        shown = dict(zip(names, zip(*columns, strict=True), strict=True))
        assert {name: line for name, line in shown.items() if line != (DASH, DASH)} == lines


def test_long_and_wide_tables_begin_short_and_can_be_shown_whole(opened: Open) -> None:
    tab = opened("#view=table&tasks=all", encoders=104, tasks=10)
    assert len(column(tab, 1)) == 100
    tab.locator("#rows").click()
    settle(tab)
    assert len(column(tab, 1)) == 104
    columns = tab.locator(HEADS).count()
    tab.locator("#columns").click()
    settle(tab)
    assert tab.locator(HEADS).count() == columns + 2


def test_two_encoders_are_compared_both_ways(opened: Open) -> None:
    tab = opened("#view=pair&a=owner/encoder_0&b=reptransfer/encoder_1")
    number = place(tab, f"A {MINUS} B")
    there = dict(zip(column(tab, 1), column(tab, number), strict=True))
    verdicts = column(tab, place(tab, "Verdict"))
    tab.get_by_text("Swap A and B").click()
    settle(tab)
    assert "a=reptransfer" in tab.url
    back = dict(zip(column(tab, 1), column(tab, number), strict=True))

    def numbers(text: str) -> list[float]:
        return [float(n.replace(MINUS, "-")) for n in re.findall(rf"[{MINUS}+]?\d+\.\d+", text)]

    assert there.keys() == back.keys() and len(there) > 2
    for task, text in there.items():
        value, *ends = numbers(text)
        assert numbers(back[task]) == [-value, *(-end for end in reversed(ends))]
        assert not ends or ends[0] < value < ends[1]
    swapped = column(tab, place(tab, "Verdict"))
    assert verdicts.count("A better") == swapped.count("B better")


def test_the_matrix_has_opposite_signs_across_its_diagonal(opened: Open) -> None:
    tab = opened("#view=pairs")
    cells = [
        row.locator("td").all_inner_texts() for row in tab.locator("table.matrix tbody tr").all()
    ]
    opposite = {"+": MINUS, MINUS: "+", "=": "=", "": ""}
    assert len(cells) == 12
    assert [[opposite[c] for c in column] for column in zip(*cells, strict=True)] == cells
    apart = sum(row.count("+") for row in cells)
    assert tab.locator(".lead").inner_text().startswith(f"{apart} of 66 pairs")
    tab.locator("table.matrix tbody tr").first.locator("td").nth(3).click()
    settle(tab)
    assert "view=pair&" in tab.url


def test_the_front_of_quality_and_cost_is_not_dominated(opened: Open) -> None:
    tab = opened("#view=cost&cost=features")
    cost, score, front = (place(tab, name) for name in ("Features", "Score", "On the front"))
    points = [
        (float(c), float(s.split()[0]), f == "yes")
        for c, s, f in zip(column(tab, cost), column(tab, score), column(tab, front), strict=True)
    ]
    assert {on for _, _, on in points} == {True, False}
    for c, s, on in points:
        assert on == (not any(a <= c and b >= s and (a, b) != (c, s) for a, b, _ in points))
    assert tab.locator("svg.chart[role=img]").get_attribute("aria-label")


def test_an_encoder_shows_all_that_is_carried_of_it(opened: Open) -> None:
    tab = opened("#view=encoder&encoder=owner/encoder_0")
    text = tab.locator("#view").inner_text()
    for words in ("Few labels and shifted images", "Properties of its features", "Pictures"):
        assert words in text
    assert "declined: no data" in text and f"{MINUS}1.00 [{MINUS}2.00, 1.00]" in text
    assert tab.locator("svg.chart").count() == 1
    tab.locator("#view tbody th a").first.click()
    settle(tab)
    assert tab.locator("h1").inner_text().startswith("task_")


def test_by_keyboard_alone_a_view_is_opened_and_a_table_sorted(opened: Open) -> None:
    tab = opened()
    tab.keyboard.press("Tab")
    settle(tab)
    assert tab.evaluate("document.activeElement.id") == "skip"
    tab.keyboard.press("Tab")
    settle(tab)
    tab.keyboard.press("Tab")
    settle(tab)
    tab.keyboard.press("Enter")
    settle(tab)
    assert tab.locator("h1").inner_text() == "Table"
    assert tab.evaluate("document.activeElement.id") == "title"
    for _ in range(40):
        tab.keyboard.press("Tab")
        settle(tab)
        if tab.evaluate("document.activeElement.id") == "table-sort-encoder":
            break
    tab.keyboard.press("Enter")
    settle(tab)
    assert tab.locator("th[aria-sort]").inner_text().startswith("Encoder")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert tab.evaluate(outline) != "none"


def test_the_link_to_the_content_keeps_the_view(opened: Open) -> None:
    tab = opened("#view=table")
    tab.keyboard.press("Tab")
    settle(tab)
    tab.keyboard.press("Enter")
    settle(tab)
    assert tab.locator("h1").inner_text() == "Table"
    assert tab.evaluate("document.activeElement.id") == "view"


@pytest.mark.parametrize("view", VIEWS)
def test_on_a_phone_only_tables_scroll_sideways(opened: Open, view: str) -> None:
    tab = opened(f"#view={view}", size=(390, 844))
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    for region in tab.locator("#view .scroll").all():
        assert region.get_attribute("tabindex") == "0" and region.get_attribute("aria-label")


def test_dark_mode_is_dark_and_print_has_no_controls(opened: Open) -> None:
    backgrounds = [
        tab.evaluate("getComputedStyle(document.body).backgroundColor")
        for tab in (opened("#view=table"), opened("#view=table", scheme="dark"))
    ]
    light, dark = (sum(map(int, re.findall(r"\d+", b))) for b in backgrounds)
    assert dark < 150 < 600 < light
    tab = opened("#view=table")
    tab.emulate_media(media="print")
    assert not tab.locator(".controls").is_visible()
    assert tab.locator("#view table").is_visible()


@pytest.mark.parametrize("address", [
    "#view=nothing", "#view=table&tasks=nothing&sort=nothing&order=up&dataset=none", "#x", "#%E0%A4%A",
    "#view=encoder&encoder=nobody", "#view=task&task=none", "#view=pair&a=x&b=x", "#view=table&task=x",
    "#view=table&tasks=__proto__", "#view=cost&cost=constructor", "#view=pairs&task=task_5&all=1",
])  # fmt: skip
def test_an_address_that_names_nothing_shows_a_view(opened: Open, address: str) -> None:
    assert opened(address).locator("h1").inner_text()


@pytest.mark.parametrize("number", range(0, len(HOSTILE), 3))
def test_hostile_strings_are_text_in_every_view(opened: Open, number: int) -> None:
    text = "".join(HOSTILE[number : number + 3])
    tab = opened(text=text, encoders=4, tasks=3)
    key = quote(f"owner{text}/encoder_0{text}".encode("utf-8", "replace"))
    for view in VIEWS:
        tab.evaluate(f"location.hash = '#view={view}&encoder={key}'")
        settle(tab)
        assert (
            tab.locator("#view script, #view iframe, #view [onload], #view [onerror]").count() == 0
        )
        links = tab.locator("a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
        assert all(link.startswith("#") for link in links)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_no_serious_fault(opened: Open, axe: str, view: str, scheme: str) -> None:
    tab = opened(f"#view={view}&costs=1", scheme=scheme)
    for details in tab.locator("#view details").all():
        details.evaluate("node => { node.open = true; }")
    tab.evaluate(axe)
    found = tab.evaluate("axe.run()")["violations"]
    serious = [
        (fault["id"], fault["nodes"][0]["html"][:200], fault["nodes"][0]["failureSummary"])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]
    assert serious == []
