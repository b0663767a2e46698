"""Figures of estimates: places follow values, texts of others are inert, files are small and plain."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import numpy as np
import pytest

from bench.drawing.converter import draw
from bench.drawing.curves import COLOURS, Curve, Curves, spread
from bench.drawing.figures import SMALL, Estimate, Group, text_width
from bench.drawing.forests import Forest
from bench.drawing.plain import SVG, why_not_plain
from bench.drawing.tradeoffs import Costs, Tradeoff, log_places, pareto_front, placed
from tests.kit.hostile_strings import STRINGS

BLUE, RING = Group("encoder", "#0072b2"), Group("control", "#d55e00", "diamond", filled=False)
NAMES = list(STRINGS.values())


def estimates(names: Sequence[str], *, seed: int = 0) -> tuple[Estimate, ...]:
    rng = np.random.default_rng(seed)
    values = np.sort(rng.uniform(20, 90, len(names)))[::-1].round(2).tolist()
    return tuple(
        Estimate(
            name, value, value - 3, value + 2, (BLUE, RING)[i % 2], f"{value:.2f} [-, -] (1-9)"
        )
        for i, (name, value) in enumerate(zip(names, values, strict=True))
    )


def forest(names: Sequence[str], panels: int = 1, **changes: object) -> Forest:
    rows = tuple((e,) for e in estimates(names))
    parts = tuple((f"task {n}", rows) for n in range(panels))
    options = {"title": names[0], "notes": (names[-1],), "axis": "accuracy, %", "panels": parts}
    return Forest(**{**options, **changes})  # type: ignore[arg-type]


def curves(names: Sequence[str]) -> Curves:
    sizes = (1.0, 2, 5, 10, 20, 50, 100, 5500)
    lines = tuple(
        Curve(name, tuple((x, 9.0 * i + j, 9 * i + j - 5.0, 9 * i + j + 5.0) for j, x in enumerate(sizes)))
        for i, name in enumerate(names[: len(COLOURS)])
    )  # fmt: skip
    ticks = tuple((size, f"{size:g}") for size in sizes)
    return Curves(title=names[0], notes=names[-1:], x="labels", y="%", ticks=ticks, curves=lines)  # type: ignore[arg-type]


def tradeoff(names: Sequence[str]) -> Tradeoff:
    rng = np.random.default_rng(1)
    costs = [float(cost) for cost in (10 ** rng.uniform(0, 6, len(names))).round()]
    panels = (Costs("seconds", tuple(costs)), Costs("parameters", (0.0, *costs[1:])))
    return Tradeoff(
        title=names[0], notes=(names[-1],), y="%", estimates=estimates(names), panels=panels
    )


KINDS = {"forest": forest, "curves": curves, "tradeoff": tradeoff}


@pytest.fixture(scope="module", params=KINDS)
def hostile(request: pytest.FixtureRequest) -> bytes:
    content = draw([KINDS[request.param](NAMES)])[0]
    assert isinstance(content, bytes)
    return content


def texts(content: bytes) -> list[str]:
    """Of the elements that are drawn."""
    return ["".join(e.itertext()) for e in ET.fromstring(content).iter(f"{{{SVG}}}text")]


def test_names_of_others_are_text_and_nothing_else(hostile: bytes) -> None:
    assert why_not_plain(hostile) == ""
    assert all(c.isprintable() for c in hostile.decode().rstrip("\n"))
    drawn = " ".join(texts(hostile))
    assert "<script>alert(1)</script>" in drawn
    assert "x" * 51 not in drawn.partition("x" * 52)[0]


def test_a_figure_is_described_has_its_own_paper_and_no_small_text(hostile: bytes) -> None:
    root = ET.fromstring(hostile)
    assert root.get("role") == "img"
    assert [child.tag.rpartition("}")[2] for child in root][:3] == ["title", "desc", "rect"]
    title, about, paper = list(root)[:3]
    assert title.text == NAMES[0] and "script" in str(about.text)
    assert paper.get("fill") == "white" and paper.get("width") == root.get("width")
    sizes = [float(size) for size in re.findall(rb'font-size="([0-9.]+)px"', hostile)]
    assert sizes and min(sizes) >= 11


@pytest.mark.parametrize("kind", KINDS)
def test_equal_values_give_equal_bytes_and_the_largest_are_small(kind: str) -> None:
    names = [f"{i:02} {'wide name of an encoder' * 2}"[:40] for i in range(40)]
    content, again = draw([KINDS[kind](names), KINDS[kind](names)])
    assert [again] == draw([KINDS[kind](names)]) == [content]
    assert len(content) < 100_000
    assert float(ET.fromstring(content).get("width", "inf")) < 1000


def test_marks_stand_where_the_values_are() -> None:
    """Their places are a linear function of the values, and a bar ends at the interval's ends."""
    content = draw([forest(["a", "b", "c", "d"])])[0].decode()
    shown = estimates(["a", "b", "c", "d"])
    marks = re.findall(
        r'<path transform="translate\(([\d.]+),([\d.]+)\)" d="M[^"]+" fill="(?!none)', content
    )
    bars = re.findall(
        r'<line transform="translate\(([\d.]+),([\d.]+)\)" x2="(-?[\d.]+)" y2="0" stroke="#[0d]',
        content,
    )
    marks = [m for m in marks if any(m[1] == b[1] for b in bars)]
    assert len(marks) == len(bars) == 4
    places = np.array([float(x) for x, *_ in marks])
    values = np.array([e.value for e in shown])
    slope, offset = np.polyfit(values, places, 1)
    assert np.abs(slope * values + offset - places).max() < 0.01
    for (x, _, wide), e in zip(bars, shown, strict=True):
        ends = sorted([float(x), float(x) + float(wide)])
        assert ends == pytest.approx([slope * e.low + offset, slope * e.high + offset], abs=0.01)
    downwards = [float(y) for _, y in marks]
    assert downwards == sorted(downwards)


def test_a_ring_and_a_dot_have_one_legend() -> None:
    content, only = draw([forest(["a", "b"]), forest(["a"])])
    assert texts(content).count("encoder") == texts(content).count("control") == 1
    assert b'fill="white" stroke="#d55e00"' in content and b'fill="#0072b2"' in content
    assert "encoder" not in texts(only)


def test_the_pareto_front_is_what_no_other_beats() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        costs = rng.integers(0, 8, 9).tolist()
        values = rng.integers(0, 8, 9).tolist()
        front = pareto_front(costs, values)
        points = set(zip(costs, values, strict=True))
        best = {
            (c, v)
            for c, v in points
            if not any(a <= c and b >= v and (a, b) != (c, v) for a, b in points)
        }
        assert {(costs[i], values[i]) for i in front} == best
        assert len(front) == len(best)


def test_names_at_curves_are_apart_in_order_and_moved_as_little_as_can_be() -> None:
    rng = np.random.default_rng(0)
    grid = np.arange(0, 101, 2.0)
    for _ in range(20):
        places = rng.choice(grid, 3).tolist()
        moved = spread(places, 10, 100)
        assert (np.diff(sorted(moved)) > 10 - 1e-9).all()
        assert min(moved) >= 0 and max(moved) <= 100
        order = sorted(range(3), key=lambda i: (places[i], i))
        assert [moved[i] for i in order] == sorted(moved)
        sums = [
            sum((a - places[i]) ** 2 for a, i in zip(triple, order, strict=True))
            for triple in itertools.product(grid, repeat=3)
            if triple[1] - triple[0] >= 10 and triple[2] - triple[1] >= 10
        ]
        assert sum((m - p) ** 2 for m, p in zip(moved, places, strict=True)) <= min(sums) + 1e-9


def test_names_beside_points_touch_neither_points_nor_each_other() -> None:
    rng = np.random.default_rng(0)
    points = [(float(x), float(y)) for x, y in rng.uniform(20, 280, (30, 2))]
    named = placed(
        [(f"encoder {i}", p) for i, p in enumerate(points)], points, [], (400, 300), first=0
    )
    assert 8 < len(named) < 30
    boxes = []
    for name, (left, middle) in named:
        own = points[int(name.split()[1])]
        box = (left, middle - SMALL / 2, left + text_width(name), middle + SMALL / 2)
        assert box[0] > 0 and box[2] < 400 and box[1] > 0 and box[3] < 300
        gaps = {
            p: np.hypot(max(box[0] - p[0], p[0] - box[2], 0), max(box[1] - p[1], p[1] - box[3], 0))
            for p in points
        }
        assert min(gaps, key=lambda p: gaps[p]) == own and gaps[own] > 3
        boxes.append(box)
    for a, b in itertools.combinations(boxes, 2):
        assert not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


def test_a_cost_of_nothing_has_a_place_below_all_others() -> None:
    places, ticks = log_places([0, 3, 1e6])
    assert places[0] < places[1] == pytest.approx(np.log10(3)) and places[2] == pytest.approx(6)
    assert ticks[0] == (places[0], "0") and (6.0, "1M") in ticks
    assert "0" not in [name for _, name in log_places([3, 5])[1]]
    assert log_places([0, 0])[0] == [-1.0, -1.0]


ROOT = f'<svg xmlns="{SVG}" xmlns:xlink="http://www.w3.org/1999/xlink">'


@pytest.mark.parametrize(
    "inside",
    [
        "<script>1</script>", "<style>a</style>", "<image href='x.png'/>", "<a href='x'><path/></a>",
        "<path onload='x'/>", "<path OnClick='x'/>", "<path style='fill: red'/>", "<use xlink:href='#a'/>",
        "<path fill='url(https://evil.example/x)'/>", "<path fill='url(//evil.example/x)'/>",
        "<path fill='URL(x.svg#a)'/>", "<rect fill='&#106;avascript:x'/>", "<foreignObject/>",
        "<animate/>",
        "<svg/>", "<h:body xmlns:h='http://www.w3.org/1999/xhtml'/>", "<path>", "&nothing;", "<?php 1?>",
    ],
)  # fmt: skip
def test_what_runs_or_asks_for_something_is_not_plain(inside: str) -> None:
    assert why_not_plain(f"{ROOT}<path fill='url(#a)'/></svg>".encode()) == ""
    assert why_not_plain(f"{ROOT}{inside}</svg>".encode())


@pytest.mark.parametrize(
    "content",
    [
        b"", b"text", b"<html/>", b"\xff\xfe\x00", ROOT.encode(), b"<svg/>",
        b'<!DOCTYPE svg [<!ENTITY a "b">]>' + ROOT.encode() + b"</svg>",
        b'<?xml-stylesheet href="x.css"?>' + ROOT.encode() + b"</svg>",
        b'<?xml version="1.0" encoding="nobodys"?>' + ROOT.encode() + b"</svg>",
    ],
)  # fmt: skip
def test_another_kind_of_file_is_not_plain(content: bytes) -> None:
    assert why_not_plain(content)
