"""Pictures shared by lessons, figures and report pages: one style, one palette.

Colours differ in grey, too, and go with markers or lines. Importing this module sets the style.
"""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import files
from ..data import splits
from .rows import WHO
from .statistics import COMPARED, compare, is_wide, paired, units

# Okabe and Ito's colours for colour-blind readers, ordered so that they differ in lightness too.
COLOURS = {"many": "#0072B2", "medium": "#E69F00", "few": "#CC79A7", "all": "#000000"}
MARKERS = {"many": "o", "medium": "s", "few": "^", "all": "D"}
LINES = {"many": "-", "medium": "--", "few": ":", "all": "-."}
PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000", "#7F7F7F"]
STYLE: dict[Any, Any] = {  # matplotlib's own type lists every name
    "axes.prop_cycle": plt.cycler(color=PALETTE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "legend.frameon": False,
    "svg.hashsalt": "ltcl",
    "font.size": 9,
}
plt.rcParams.update(STYLE)


def class_sizes(class_counts: np.ndarray, ax: Axes | None = None, rule: str = "thirds") -> Axes:
    """Bars of images per class, sorted, coloured by many / medium / few."""
    ax = ax or plt.subplots(figsize=(6, 3))[1]
    counts = np.asarray(class_counts)
    rank = np.argsort(np.argsort(-counts, kind="stable"))
    for name, members in splits.groups(counts, rule).items():
        ax.bar(rank[members], counts[members], color=COLOURS[name], label=f"{name} classes")
    ax.set(xlabel="class, by size", ylabel="images")
    ax.legend()
    return ax


def image_grid(
    images: np.ndarray, columns: int, rows: Sequence[str] = (), framed: Sequence[bool] = ()
) -> Figure:
    """Images in a grid, row by row.

    Args:
        images: [N, 3, H, W], uint8 or float in [0, 1].
        columns: of the grid.
        rows: names of the rows.
        framed: for each image whether it gets a green frame.
    """
    pictures = np.asarray(images).transpose(0, 2, 3, 1)
    count = -(-len(pictures) // columns)
    figure, axes = plt.subplots(count, columns, figsize=(0.7 * columns + 1, 0.72 * count))
    for ax in np.ravel(axes):
        ax.set_axis_off()
    for ax, picture in zip(np.ravel(axes), pictures, strict=False):
        ax.imshow(picture, interpolation="nearest")
    for ax, frame in zip(np.ravel(axes), framed, strict=False):
        if frame:
            edge = dict(transform=ax.transAxes, fill=False, ec=PALETTE[2], lw=5)
            ax.add_patch(plt.Rectangle((0, 0), 1, 1, **edge))
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
    ax.legend(ncols=3, loc="upper right")
    return ax


def group_curves(
    epochs: Sequence[int],
    values: np.ndarray,
    labels: np.ndarray,
    group_counts: np.ndarray,
    rule: str = "thirds",
) -> Axes:
    """Mean of per-sample values [epochs, N] over the samples of each group, along the epochs."""
    ax = plt.subplots(figsize=(6, 3))[1]
    for name, members in splits.groups(group_counts, rule).items():
        mean = np.asarray(values, np.float32)[:, np.isin(labels, members)].mean(1)
        style: dict[str, Any] = dict(marker=MARKERS[name], markevery=5, ms=4, color=COLOURS[name])
        ax.plot(epochs, mean, LINES[name], label=name, **style)
    ax.set(xlabel="epoch", ylabel="momentum loss")
    ax.legend()
    return ax


# --- recorded runs --------------------------------------------------------------------------


def look(labels: Iterable[str]) -> tuple[dict[str, str], dict[str, tuple | str]]:
    """A colour and a line style for every label; controls are dashed."""
    labels = list(dict.fromkeys(labels))
    colours = {label: PALETTE[k % len(PALETTE)] for k, label in enumerate(labels)}
    dashes = {label: (3, 2) if "(control)" in label else "" for label in labels}
    return colours, dashes


def group_strips(
    runs: pd.DataFrame,
    labels: Mapping[str, str],
    groups: Sequence[str] = COMPARED,
    ax: Axes | None = None,
) -> Axes:
    """Accuracy by group: small a run, large the mean; `runs` as by `by_run`."""
    names = [name for name in labels if name in runs.index.unique(0)]
    ax = ax or plt.subplots(figsize=(7, 0.6 + 0.42 * len(names)))[1]
    groups = [group for group in groups if group in runs]
    stacked: Any = (100 * runs[groups]).rename_axis(columns="group").stack()
    tidy: pd.DataFrame = stacked.rename("accuracy").reset_index()
    tidy["features"] = tidy.iloc[:, 0].map(labels)
    style = dict(
        data=tidy,
        x="accuracy",
        y="features",
        hue="group",
        hue_order=groups,
        order=[labels[name] for name in names],
        palette=COLOURS,
        ax=ax,
    )
    sns.stripplot(**style, dodge=True, jitter=False, size=3, alpha=0.6, legend=False)
    markers = [MARKERS[group] for group in groups]
    sns.pointplot(
        **style,
        dodge=0.8 - 0.8 / len(groups),
        errorbar=None,
        linestyle="none",
        markers=markers,
        markersize=5,
    )
    ax.set(xlabel="accuracy, %", ylabel="")
    ax.legend(ncols=len(groups), loc="lower left", bbox_to_anchor=(0, 1))
    return ax


def paired_strips(
    runs: pd.DataFrame,
    pairs: Iterable[tuple[str, str]],
    labels: Mapping[str, str],
    groups: Sequence[str] = COMPARED,
    axes: Sequence[Axes] | None = None,
) -> Figure:
    """Paired differences, a panel for each group: dots are units, bars the mean's 95 % interval.

    A unit is a mirrored pair where class orders are mirrored, else a run. Where the interval is too
    wide to be a result, the units stand alone.
    """
    table = compare(runs, pairs, labels, [group for group in groups if group in runs])
    names, groups = list(table["difference"].unique()), list(table["group"].unique())
    if axes is None:
        size = (2.6 + 1.6 * len(groups), 0.9 + 0.36 * len(names))
        axes = plt.subplots(
            1, len(groups), figsize=size, sharex=True, sharey=True, layout="constrained"
        )[1]
    panels = np.asarray(axes).ravel()
    for ax, group in zip(panels, groups, strict=True):
        here = table[table["group"] == group]
        for k, row in enumerate(here.to_dict("records")):
            apart = units(paired(runs.xs(row["first"]), runs.xs(row["second"]))[group])
            ax.plot(100 * apart, np.full(len(apart), k), ".", color="0.55", ms=5)
            if is_wide(row):
                continue
            if np.isfinite(row["low"]):
                ax.hlines(k, 100 * row["low"], 100 * row["high"], color=COLOURS[group], lw=1.5)
            ax.plot(100 * row["mean"], k, MARKERS[group], color=COLOURS[group], ms=5)
        ax.axvline(0, color="black", lw=0.8)
        ax.set(title=group, xlabel="points", ylim=(len(names) - 0.5, -0.5))
        ax.set_yticks(range(len(names)), [name.replace(" minus ", "\nminus ") for name in names])
    return panels[0].figure


def signal_bands(signal: pd.DataFrame, ax: Axes | None = None, value: str = "auroc") -> Axes:
    """AUROC of the momentum loss for few along the epochs: mean and, of up to four labels, sd.

    Where class orders are mirrored, over the pairs' means: in them class difficulty cancels. A run
    without its mirror is left out, unless none has one.
    """
    if signal["mirrored"].any():
        runs = signal.set_index([*WHO])
        of_units = []
        for (label, epoch), part in runs.groupby(["label", "epoch"], sort=False):
            whole = units(part[value])
            found = whole if len(whole) else part[value]
            of_units.append(pd.DataFrame({"label": label, "epoch": epoch, value: found.to_numpy()}))
        signal = pd.concat(of_units)
    ax = ax or plt.subplots(figsize=(7, 3.2))[1]
    colours, dashes = look(signal["label"])
    spread = {"errorbar": "sd", "err_kws": {"alpha": 0.12}} if len(colours) <= 4 else {}
    style = dict(hue="label", style="label", palette=colours, dashes=dashes, ax=ax)
    sns.lineplot(signal, x="epoch", y=value, **{"errorbar": None, **style, **spread})
    locator = ax.xaxis.get_major_locator()
    locator.set_params(integer=True)  # type: ignore[call-arg]  # a linear axis has a MaxNLocator
    ax.axhline(0.5, color="black", lw=0.8)
    ax.set(xlabel="epoch", ylabel="AUROC for few classes")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return ax


def class_curve(per_class: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Accuracy of the classes against their size, mean and sd over runs, from `study.per_class`.

    Classes are put together by size, into at most a dozen bins of about equally many.
    """
    ax = ax or plt.subplots(figsize=(7, 3.2))[1]
    bins = per_class["images"]  # of few sizes each is a bin of its own
    if bins.nunique() > 12:  # by its size alone, so that a class is in one bin, whatever the run
        ends = np.unique(bins.quantile(np.linspace(0, 1, 13)))
        bins = pd.Series(np.searchsorted(ends[1:-1], bins), bins.index)
    size = per_class.groupby(bins)["images"].transform("median")
    tidy = per_class.assign(size=size, percent=100 * per_class["accuracy"])
    tidy = tidy.groupby(["label", "folder", "size"], sort=False)["percent"].mean().reset_index()
    colours, dashes = look(tidy["label"])
    sns.lineplot(
        tidy,
        x="size",
        y="percent",
        hue="label",
        style="label",
        palette=colours,
        dashes=dashes,
        errorbar="sd",
        err_kws={"alpha": 0.12},
        ax=ax,
    )
    ax.set(xscale="log", xlabel="images of the class", ylabel="accuracy, %")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return ax


def length_curves(
    lengths: Mapping[int, pd.DataFrame], labels: Mapping[str, str], base: str
) -> Figure:
    """Accuracy against the length of training, and what is gained over `base`, seed by seed."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    colours, dashes = look(labels.values())
    parts: dict[str, list[pd.DataFrame]] = {"accuracy": [], "apart": []}
    for epochs, runs in lengths.items():
        for name in (name for name in labels if name in runs.index.unique(0)):
            here, apart = runs.xs(name)["all"], paired(runs.xs(name), runs.xs(base))["all"]
            for part, values in (("accuracy", here), ("apart", apart)):
                about = {"epochs": epochs, "features": labels[name], "points": 100 * values}
                parts[part].append(pd.DataFrame(about))
    style = dict(x="epochs", y="points", hue="features", palette=colours, legend=False)
    every = pd.concat(parts["accuracy"])
    sns.lineplot(
        every,
        **style | {"legend": "full"},
        style="features",
        dashes=dashes,
        markers=dict.fromkeys(colours, "o"),
        errorbar=None,
        ax=left,
    )
    every = pd.concat(parts["apart"])
    every = every[every["features"] != labels[base]]
    sns.lineplot(every, **style, style="features", dashes=dashes, errorbar=None, ax=right)
    sns.scatterplot(every, **style, s=14, alpha=0.6, ax=right)
    right.axhline(0, color="black", lw=0.8)
    for ax in (left, right):
        ax.set(xscale="log", xlabel="epochs of the run")
        ax.set_xticks(list(lengths), list(lengths))
        ax.minorticks_off()
    left.set(ylabel="100-shot accuracy, %")
    right.set(ylabel=f"minus {labels[base]} of the same seed, points")
    left.legend(fontsize=7)
    return figure


# --- files ----------------------------------------------------------------------------------


def save(figure: Figure, path: Path, sources: Mapping[str, str]) -> None:
    """Write a PNG and, beside it, a .json that names its source rows and their sha256."""
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    files.write_json(path.with_suffix(".json"), {"made by": "make figures", "rows": dict(sources)})


def inline(figure: Figure) -> str:
    """The figure as the text of an address that a page can show without a file: an SVG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


# --- for those who do not see a figure ------------------------------------------------------


def describe(figure: Figure) -> str:
    """A figure in words: its panels, with their titles, axes and what is drawn in them."""
    panels = [ax for ax in figure.axes if ax.get_visible() and ax.has_data()]
    pictures = [ax for ax in panels if ax.images and not ax.get_xlabel()]
    said = [_panel(ax) for ax in panels if ax not in pictures]
    if pictures:
        titles = dict.fromkeys(ax.get_title() for ax in pictures if ax.get_title())
        rows = dict.fromkeys(ax.get_ylabel() for ax in pictures if ax.get_ylabel())
        count = "A picture" if len(pictures) == 1 else f"{len(pictures)} pictures"
        said.append(count + _list(": ", [*titles, *rows]))
    whole = figure.get_suptitle()
    return " ".join(" ".join([f"Figure{_list(', ', [whole])}."] + [f"{s}." for s in said]).split())


def _panel(ax: Axes) -> str:
    legend = ax.get_legend()
    names = [text.get_text() for text in legend.get_texts()] if legend else []
    axes = [f"{label} against" if label else "" for label in [ax.get_ylabel()]]
    axes += [ax.get_xlabel()]
    words = _list("", [ax.get_title(), " ".join(filter(None, axes))])
    return (words or "A panel") + _list(", with ", names)


def _list(before: str, names: Iterable[str]) -> str:
    """Names one after the other, with something before them, or nothing at all."""
    found = ", ".join(filter(None, names))
    return f"{before}{found}" if found else ""


def _tell_jupyter(*_: Any) -> None:
    """An executed notebook keeps a figure's words beside it; the site reads them aloud.

    Before each cell anew: Jupyter drops what was said of figures when it turns plots on.
    """
    shell = sys.modules["IPython"].get_ipython()
    words = shell.display_formatter.formatters["text/plain"]
    words.for_type(Figure, lambda figure, printer, _: printer.text(describe(figure)))


if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
    sys.modules["IPython"].get_ipython().events.register("pre_run_cell", _tell_jupyter)
