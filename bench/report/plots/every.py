"""All plots of a board, in the order in which the boards show them."""

from __future__ import annotations

from bench.report.board import Board
from bench.report.plots.cost import cost_plot
from bench.report.plots.few_labels import few_label_plots
from bench.report.plots.gains import fine_tuning_plot, sharing_plot
from bench.report.plots.plot import Plot
from bench.report.plots.scores import family_plots, overall_plot

KINDS = (overall_plot, family_plots, cost_plot, few_label_plots, fine_tuning_plot, sharing_plot)


def plots(board: Board) -> list[Plot]:
    """Of all that there are values for."""
    by_name = dict[str, Plot]()  # one of each name, also where a system does not tell capitals
    for kind in KINDS:
        for plot in kind(board):
            by_name.setdefault(plot.name.lower(), plot)
    return list(by_name.values())
