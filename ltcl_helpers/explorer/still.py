"""A picture of the explorer where no widget runs: a saved notebook, GitHub, nbconvert."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..report import plots
from . import orders
from .history import History

DOTS = 75  # a picture is small in a notebook's file
SPREAD = 0.4  # half a column's width, in columns


def png(histories: list[History], kept: int) -> bytes:
    """The map after a kept epoch, and the bands of each run, as a PNG file.

    Args:
        histories: one run, or two of the same samples.
        kept: the epoch, one of those that all of them kept.
    """
    first = histories[0]
    count = 1 + len(histories)
    figure, axes = plt.subplots(1, count, figsize=(3.6 * count, 3), layout="constrained")
    _draw_map(axes[0], first, first.kept.index(kept))
    for ax, history in zip(axes[1:], histories, strict=True):
        _draw_bands(ax, history, first.groups())
    figure.suptitle("A picture of the explorer; run the cell for the live one", fontsize=8)
    return _as_png(figure)


def _draw_map(ax: Axes, history: History, row: int) -> None:
    """One mark a sample by its score, one column a class, large classes left."""
    _, labels, counts, _ = history.classes()
    column = np.empty(len(counts))
    column[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    aside = np.random.default_rng(0).uniform(-SPREAD, SPREAD, len(labels))
    x, y, member = column[labels] + aside, history.scores_after(row), history.groups()
    seen = ~np.isnan(history.momentum_loss[row])
    for group in orders.GROUPS:
        mine = (member == group) & seen
        if mine.any():
            size = 4 if group == "few" else 2.5
            colour = plots.COLOURS[group]
            (marks,) = ax.plot(x[mine], y[mine], plots.MARKERS[group], color=colour, label=group)
            marks.set(markersize=size, alpha=0.7, markeredgewidth=0)
    ax.set(xlabel="class, by size", ylabel="memorization score", ylim=(-0.02, 1.02))
    ax.set_title(f"{history.label}, epoch {history.kept[row]}")
    ax.legend(fontsize=7)


def _draw_bands(ax: Axes, history: History, member: np.ndarray) -> None:
    """The middle half of each group's losses over time, with the median."""
    for group, quartiles in orders.bands(history.momentum_loss, member).items():
        low, median, high = quartiles.T
        colour = plots.COLOURS[group]
        ax.fill_between(history.kept, low, high, color=colour, alpha=0.15, lw=0)
        ax.plot(history.kept, median, plots.LINES[group], color=colour, label=group)
    ax.set(xlabel="epoch", ylabel="momentum loss", title=history.label)


def _as_png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS)
    plt.close(figure)
    return file.getvalue()
