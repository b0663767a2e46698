"""Links between boards, and from them to files in the results folder."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from bench.report.plots.plot import Plot
from bench.report.text import code, cut, escaped
from bench.results.store import BOARDS, PLOTS, Store

MADE = "Made by `reptransfer leaderboard` from the records; do not edit."


def link(text: str, *parts: str) -> str:
    """From a board of a family to a file in the results folder."""
    return f"[{code(text)}]({quote('/'.join(['..', *parts]), safe='/,=@~+')})"


def front_link(store: Store, text: str, page: str) -> str:
    """From the first board to that of a family."""
    return f"[{text}]({_from_front(store, BOARDS, f'{page}.md')})"


def images(plots: Sequence[Plot]) -> list[str]:
    """Plots, as a board of a family shows them."""
    return [f"![{_alt(p)}]({quote(f'../{PLOTS}/{p.name}.svg')})" for p in plots]


def front_image(store: Store, plot: Plot) -> str:
    """A plot, as the first board shows it."""
    return f"![{_alt(plot)}]({_from_front(store, PLOTS, f'{plot.name}.svg')})"


def front_plots(store: Store, plots: Sequence[Plot]) -> list[str]:
    """A line with links from the first board to plots; none without plots."""
    links = [f"[{_alt(p)}]({_from_front(store, PLOTS, f'{p.name}.svg')})" for p in plots]
    return [f"Plot{'s' if len(links) > 1 else ''}: {', '.join(links)}."] if links else []


def _alt(plot: Plot) -> str:
    """A plot's title as the text of a link or an image, which brackets would end."""
    return escaped(cut(plot.title, 200).translate({ord("["): "(", ord("]"): ")"}))


def _from_front(store: Store, folder: str, file: str) -> str:
    results = ["results"] if store.root.name == "results" else []
    return quote("/".join([*results, folder, file]))
