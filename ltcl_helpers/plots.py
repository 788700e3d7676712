"""Pictures shared by lessons and figures; colours that also differ in grey, and markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import splits, store

# Okabe and Ito's colours for colour-blind readers, ordered so that they differ in lightness too.
COLOURS = {"many": "#0072B2", "medium": "#E69F00", "few": "#CC79A7", "all": "#000000"}
MARKERS = {"many": "o", "medium": "s", "few": "^", "all": "D"}
LINES = {"many": "-", "medium": "--", "few": ":", "all": "-."}


def class_sizes(class_counts: np.ndarray, ax: Axes | None = None) -> Axes:
    """Bars of images per class, sorted, coloured by many / medium / few."""
    ax = ax or plt.subplots(figsize=(6, 3))[1]
    counts = np.asarray(class_counts)
    rank = np.argsort(np.argsort(-counts, kind="stable"))
    for name, members in splits.groups(counts).items():
        ax.bar(rank[members], counts[members], color=COLOURS[name], label=f"{name} classes")
    ax.set(xlabel="class, by size", ylabel="images")
    ax.legend(frameon=False)
    return ax


def image_grid(images: np.ndarray, columns: int, rows: Sequence[str] = ()) -> Figure:
    """Images [N, 3, H, W], uint8 or float in [0, 1], row by row; `rows` names the rows."""
    pictures = np.asarray(images).transpose(0, 2, 3, 1)
    count = -(-len(pictures) // columns)
    figure, axes = plt.subplots(count, columns, figsize=(0.7 * columns + 1, 0.72 * count))
    for ax in np.ravel(axes):
        ax.set_axis_off()
    for ax, picture in zip(np.ravel(axes), pictures, strict=False):
        ax.imshow(picture, interpolation="nearest")
    for ax, name in zip(np.reshape(axes, (count, columns))[:, 0], rows, strict=False):
        ax.text(-0.15, 0.5, name, transform=ax.transAxes, ha="right", va="center", fontsize=8)
    figure.subplots_adjust(left=0.2 if rows else 0.01, right=0.99, top=0.99, bottom=0.01)
    return figure


def group_bars(reports: Mapping[str, Mapping[str, float]], ax: Axes | None = None) -> Axes:
    """Accuracy of the many, medium and few classes, one cluster of bars per report.

    Args:
        reports: name to `probe.group_report`.
        ax: where to draw.
    """
    ax = ax or plt.subplots(figsize=(6, 3))[1]
    for i, group in enumerate(splits.GROUPS):
        x = np.arange(len(reports)) + (i - 1) * 0.27
        heights = [100 * report[group] for report in reports.values()]
        bars = ax.bar(x, heights, 0.25, color=COLOURS[group], label=group)
        ax.bar_label(bars, fmt="%.0f", fontsize=8)
    ax.set_xticks(np.arange(len(reports)), list(reports))
    ax.set(ylabel="accuracy, %", ylim=(0, 100))
    ax.legend(frameon=False, ncols=3, loc="upper right")
    return ax


def group_curves(
    epochs: Sequence[int], values: np.ndarray, labels: np.ndarray, group_counts: np.ndarray
) -> Axes:
    """Mean of per-sample values [epochs, N] over the samples of each group, along the epochs."""
    ax = plt.subplots(figsize=(6, 3))[1]
    for name, members in splits.groups(group_counts).items():
        mean = np.asarray(values, np.float32)[:, np.isin(labels, members)].mean(1)
        ax.plot(epochs, mean, LINES[name], marker=MARKERS[name], markevery=5, ms=4,
                color=COLOURS[name], label=name)  # fmt: skip
    ax.set(xlabel="epoch", ylabel="momentum loss")
    ax.legend(frameon=False)
    return ax


def save(figure: Figure, path: Path, sources: Mapping[str, str]) -> None:
    """Write a PNG and, beside it, a .json that names its source rows and their sha256."""
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    store.write_json(path.with_suffix(".json"), {"made by": "make figures", "rows": dict(sources)})
