"""What the plots show, read back from them: data, colours, words, and that all of it is seen."""

import base64
import importlib.util
import json
import re
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.colors import same_color, to_hex
from PIL import Image

from ltcl_helpers import report
from ltcl_helpers.report import plots
from ltcl_helpers.report.plots import COLOURS, PALETTE


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def said(ax):
    """Label of x, of y, and the words of the legend."""
    legend = ax.get_legend()
    return ax.get_xlabel(), ax.get_ylabel(), [t.get_text() for t in legend.get_texts()]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def points(line):
    return np.column_stack(line.get_data()).tolist()


def full(ax):
    """The lines that hold data, without a legend's own."""
    return [line for line in ax.lines if len(line.get_xdata())]


def legend_is_above_or_beside(ax):
    """Whether the legend lies right outside of the axes, where it hides nothing."""
    ax.figure.canvas.draw()
    legend, whole = ax.get_legend().get_window_extent(), ax.get_window_extent()
    above, beside = legend.y0 - whole.y1, legend.x0 - whole.x1
    aligned = abs(legend.x0 - whole.x0) if above > 0 else abs(legend.y1 - whole.y1)
    return 0 < max(above, beside) < 20 and aligned < 20


# --- one run --------------------------------------------------------------------------------


def test_the_style_is_set_and_its_colours_differ_in_grey():
    assert plt.rcParams["axes.prop_cycle"].by_key()["color"] == PALETTE
    frame = [plt.rcParams[f"axes.spines.{side}"] for side in ("top", "right", "left", "bottom")]
    assert frame == [False, False, True, True] and not plt.rcParams["legend.frameon"]
    assert plt.rcParams["svg.hashsalt"] == "ltcl" and plt.rcParams["font.size"] == 9
    assert plt.rcParams["axes.titlesize"] == "medium"
    grey = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in map(plt.matplotlib.colors.to_rgb,
            (COLOURS["many"], COLOURS["medium"], COLOURS["few"], COLOURS["all"]))]  # fmt: skip
    assert np.diff(sorted(grey)).min() > 0.04
    for shapes in (plots.MARKERS, plots.LINES):
        assert list(shapes) == list(COLOURS) and len(set(shapes.values())) == 4


def test_class_sizes_are_sorted_bars_in_the_colours_of_their_groups():
    ax = plots.class_sizes([3, 100, 20, 7, 50, 1])
    bars = sorted((round(b.get_x() + b.get_width() / 2), b) for b in ax.patches)
    assert [(x, b.get_height()) for x, b in bars] == [
        (0, 100), (1, 50), (2, 20), (3, 7), (4, 3), (5, 1)
    ]  # fmt: skip
    thirds = ["many", "many", "medium", "medium", "few", "few"]
    assert [to_hex(b.get_facecolor(), False).upper() for _, b in bars] == [
        COLOURS[g] for g in thirds
    ]
    assert said(ax) == (
        "class, by size",
        "images",
        [f"{g} classes" for g in plots.LINES][:3],
    )
    assert plots.class_sizes([3, 100], ax) is ax


def test_bars_of_equal_classes_stand_group_by_group():
    ax = plots.class_sizes(np.full(30, 5), rule="thirds")
    many = [b.get_x() for b in ax.patches if same_color(b.get_facecolor(), COLOURS["many"])]
    assert np.round(many + np.float64(0.4)).tolist() == [*range(20, 30)]
    by_number = plots.class_sizes([300, 50, 5], rule="counts")
    assert [b.get_height() for b in by_number.patches] == [300, 50, 5]


def test_images_stand_in_a_grid_with_the_names_of_their_rows():
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (7, 3, 4, 4), np.uint8)
    framed = [True, False, False, False, True]
    figure = plots.image_grid(images, 3, ["first", "second"], framed)
    assert len(figure.axes) == 9 and not any(ax.axison for ax in figure.axes)
    for ax, image in zip(figure.axes, images, strict=False):
        (shown,) = ax.images
        assert (shown.get_array() == image.transpose(1, 2, 0)).all()
        assert shown.get_interpolation() == "nearest"
    assert not figure.axes[7].images and not figure.axes[8].images
    figure.canvas.draw()
    for k, ax in enumerate(figure.axes):
        assert len(ax.patches) == (k < 5 and framed[k])
        for frame in ax.patches:
            assert same_color(frame.get_edgecolor(), PALETTE[2]) and not frame.get_fill()
            assert frame.get_window_extent().bounds == pytest.approx(ax.bbox.bounds)
    names = {k: [t.get_text() for t in ax.texts] for k, ax in enumerate(figure.axes) if ax.texts}
    assert names == {0: ["first"], 3: ["second"]}
    for ax in (figure.axes[0], figure.axes[3]):
        (text,) = ax.texts
        place = text.get_window_extent()
        assert 0 < place.x0 < place.x1 < ax.bbox.x0 and (text.get_ha(), text.get_va()) == (
            "right",
            "center",
        )
        assert ax.bbox.y0 < place.y0 < place.y1 < ax.bbox.y1
    # Without names the pictures use the place that names would need.
    both = (figure, plots.image_grid(images / 255, 3))
    assert [one.axes[0].get_gridspec().get_geometry() for one in both] == [(3, 3)] * 2
    at = [one.subplotpars for one in both]
    edges = [(one.left, one.right, one.bottom, one.top) for one in at]
    assert edges == [(0.2, 0.99, 0.01, 0.99), (0.01, 0.99, 0.01, 0.99)]


def test_bars_of_groups_stand_in_clusters_in_percent():
    one, two = dict(many=0.7, medium=0.4, few=0.105), dict(many=0.6, medium=0.5, few=0.3)
    ax = plots.group_bars({"SimCLR": one, "BCL": two})
    found = [
        (
            round(b.get_x() + 0.125, 2),
            round(b.get_height(), 1),
            to_hex(b.get_facecolor()),
        )
        for b in ax.patches
    ]
    expected = [
        (k + x, height, COLOURS[group].lower())
        for x, group, heights in (
            (-0.27, "many", (70, 60)), (0, "medium", (40, 50)), (0.27, "few", (10.5, 30))
        )
        for k, height in enumerate(heights)
    ]  # fmt: skip
    assert found == expected and {round(b.get_width(), 2) for b in ax.patches} == {0.25}
    assert [t.get_text() for t in ax.texts] == ["70", "60", "40", "50", "10", "30"]
    assert ticks(ax.xaxis) == ["SimCLR", "BCL"] and ax.get_xticks().tolist() == [0, 1]
    assert said(ax) == ("", "accuracy, %", ["many", "medium", "few"]) and ax.get_ylim() == (0, 100)
    legend = ax.get_legend()
    assert legend._ncols == 3 and legend._loc == 1  # side by side, at the upper right
    assert plots.group_bars({"a": one}, ax) is ax


def test_curves_of_groups_are_means_over_their_images():
    values = np.array([[1, 3, 10, 100, 7], [2, 4, 20, 200, 8]], np.float16)
    labels = np.array([0, 0, 1, 2, 1])
    ax = plots.group_curves([1, 5], values, labels, np.array([30, 20, 3]))
    lines = {line.get_label(): line for line in ax.lines}
    assert {name: points(line) for name, line in lines.items()} == {
        "many": [[1, 2], [5, 3]], "medium": [[1, 8.5], [5, 14]], "few": [[1, 100], [5, 200]],
    }  # fmt: skip
    for name, line in lines.items():
        look = (line.get_color(), line.get_marker(), line.get_linestyle(), line.get_markevery())
        assert look == (COLOURS[name], plots.MARKERS[name], plots.LINES[name], 5)
    assert said(ax) == ("epoch", "momentum loss", ["many", "medium", "few"])
    sizes = np.array([900, 800, 700, 600, 50, 3])
    by_number = plots.group_curves([1], [[1, 2, 3, 4, 5, 6]], np.arange(6), sizes, "counts")
    assert [points(line) for line in by_number.lines] == [[[1, 2.5]], [[1, 5]], [[1, 6]]]


# --- recorded runs --------------------------------------------------------------------------


def runs_of(**names):
    """Accuracies as `by_run` gives them: of every name a list for each group, seed by seed."""
    parts = {}
    for name, groups in names.items():
        seeds = len(next(iter(groups.values())))
        where = pd.MultiIndex.from_tuples([("d", False, k) for k in range(seeds)], names=report.WHO)
        parts[name] = pd.DataFrame(groups, where)
    return pd.concat(parts, names=["name"])


RUNS = runs_of(
    a={"few": [0.30, 0.31, 0.29], "all": [0.5, 0.52, 0.51]},
    b={"few": [0.36, 0.38, 0.34], "all": [0.9, 0.4, 0.5]},
)
LABELS = {"b": "B", "c": "absent", "a": "A"}


def test_labels_have_colours_and_controls_are_dashed():
    colours, dashes = plots.look(["x", "y (control)", "x", *"stuvwz!"])
    assert list(colours) == ["x", "y (control)", *"stuvwz!"]
    assert list(colours.values()) == [*PALETTE, PALETTE[0]]
    assert dashes == dict.fromkeys(colours, "") | {"y (control)": (3, 2)}


def test_strips_show_every_run_and_the_mean_of_each_group():
    ax = plots.group_strips(RUNS, LABELS, groups=("many", "few", "all"))
    assert ticks(ax.yaxis) == ["B", "A"]  # as the labels stand, top to bottom
    assert said(ax) == ("accuracy, %", "", ["few", "all"]) and ax.get_legend()._ncols == 2
    assert legend_is_above_or_beside(ax) and ax.get_legend().get_title().get_text() == ""
    dots = sorted(
        (round(y, 1), round(x, 6), to_hex(colour).upper())
        for part in ax.collections
        for (x, y), colour in zip(part.get_offsets(), [*part.get_facecolors()] * 9, strict=False)
    )
    few, whole = COLOURS["few"], COLOURS["all"]
    rows = (0, "b"), (1, "a")
    expected = sorted(
        (row + y, round(100 * value, 6), colour)
        for row, name in rows
        for group, y, colour in (("few", -0.2, few), ("all", 0.2, whole))
        for value in RUNS.loc[name][group]
    )
    assert dots == expected
    means = [(round(x, 6), round(y, 6), to_hex(line.get_color()).upper(), line.get_marker(),
              line.get_linestyle()) for line in full(ax) for x, y in points(line)]  # fmt: skip
    assert means == [
        (36, -0.2, few, "^", "None"), (30, 0.8, few, "^", "None"),
        (60, 0.2, whole, "D", "None"), (51, 1.2, whole, "D", "None"),
    ]  # fmt: skip
    own = plt.subplots()[1]
    assert plots.group_strips(RUNS, LABELS, ax=own) is own and len(own.texts) == 0


def test_paired_strips_show_runs_and_intervals_but_none_that_is_too_wide():
    figure = plots.paired_strips(RUNS, [("b", "a"), ("a", "b"), ("b", "c")], {"a": "A", "b": "B"})
    few, whole = figure.axes
    assert [ax.get_title() for ax in figure.axes] == ["few", "all"]
    assert {ax.get_xlabel() for ax in figure.axes} == {"points"}
    assert ticks(few.yaxis) == ["B\nminus A", "A\nminus B"] and few.get_ylim() == (1.5, -0.5)
    assert few.get_shared_x_axes().joined(few, whole) and few.get_shared_y_axes().joined(few, whole)
    dots, mean, *_, zero = few.lines
    assert np.allclose(points(dots), [[6, 0], [7, 0], [5, 0]])
    assert np.allclose(points(mean), [[6, 0]]) and mean.get_marker() == "^"
    assert mean.get_color() == COLOURS["few"] and zero.get_xdata() == [0, 0]
    assert np.allclose(points(few.lines[2]), [[-6, 1], [-7, 1], [-5, 1]])
    reach = 2.484  # of t with two degrees of freedom: 4.303 / sqrt(3)
    bars = [bar.get_segments()[0] for bar in few.collections]
    assert np.allclose(bars[0], [[6 - reach, 0], [6 + reach, 0]], atol=0.001)
    assert np.allclose(bars[1], [[-6 - reach, 1], [-6 + reach, 1]], atol=0.001)
    assert same_color(few.collections[0].get_color(), COLOURS["few"])
    assert len(whole.lines) == 3 and not whole.collections  # two of dots, and zero
    alone = RUNS[RUNS.index.get_level_values("seed") == 0]
    axes = plt.subplots(1, 2)[1]
    assert plots.paired_strips(alone, [("b", "a")], {}, axes=axes) is axes[0].figure
    assert len(axes[0].lines) == 3 and not axes[0].collections  # a mean, but no interval
    assert ticks(axes[0].yaxis) == ["b\nminus a"]


def test_dots_of_mirrored_runs_are_their_pairs():
    runs = RUNS.reset_index()
    runs = runs.assign(draw=(runs["seed"] // 2).astype(str), mirrored=runs["seed"] % 2 == 1)
    runs = runs.set_index(RUNS.index.names)
    dots, mean, zero = plots.paired_strips(runs, [("b", "a")], {}).axes[0].lines
    assert np.allclose(points(dots), [[6.5, 0]])  # of the seeds 0 and 1; 2 has no partner
    assert np.allclose(points(mean), [[6.5, 0]]) and zero.get_xdata() == [0, 0]


def curves(count, mirrored=False, **more):
    """AUROC by epoch of two runs of each label: 0.1 a label apart, the two 0.02."""
    return pd.DataFrame([
        {"label": f"label {k}", "epoch": epoch, "draw": "0", "mirrored": mirrored and bool(run),
         "seed": run, "auroc": 0.5 + 0.1 * k + 0.02 * run + 0.01 * epoch, "other": epoch}
        for k in range(count) for run in range(2) for epoch in (1, 2, 3)
    ])  # fmt: skip


def test_the_signal_is_a_mean_with_a_band_where_there_are_few_curves():
    ax = plots.signal_bands(curves(4))
    first = [line for line in full(ax) if len(line.get_xdata()) == 3][0]
    assert np.allclose(points(first), [[1, 0.52], [2, 0.53], [3, 0.54]])
    assert first.get_color().upper() == PALETTE[0] and len(ax.collections) == 4
    band = ax.collections[0].get_paths()[0].vertices
    assert np.ptp(band[band[:, 0] == 1][:, 1]) == pytest.approx(2 * np.sqrt(2) * 0.01)
    names = [f"label {k}" for k in range(4)]
    assert said(ax) == ("epoch", "AUROC for few classes", names)
    assert ax.get_legend().get_title().get_text() == "" and legend_is_above_or_beside(ax)
    chance = [line for line in full(ax) if len(line.get_xdata()) == 2]
    assert [list(line.get_ydata()) for line in chance] == [[0.5, 0.5]]
    assert all(float(x).is_integer() for x in ax.get_xticks())
    assert not plots.signal_bands(curves(5)).collections
    other = plots.signal_bands(curves(1), value="other")
    assert points(other.lines[0]) == [[1, 1], [2, 2], [3, 3]]
    assert plots.signal_bands(curves(1), ax) is ax


def test_of_mirrored_runs_the_signal_is_of_their_pairs():
    pairs = curves(1, mirrored=True)
    both = pd.concat([pairs, pairs.assign(draw="1", auroc=pairs["auroc"] + 0.04)])
    ax = plots.signal_bands(both)
    assert np.allclose(points(ax.lines[0]), [[1, 0.54], [2, 0.55], [3, 0.56]])
    band = ax.collections[0].get_paths()[0].vertices
    assert np.ptp(band[band[:, 0] == 1][:, 1]) == pytest.approx(2 * np.sqrt(2) * 0.02)


def test_a_run_without_its_mirror_is_in_no_curve_of_pairs_unless_it_is_alone():
    pair = curves(1, mirrored=True)
    half = pair[pair["seed"] == 1].assign(draw="1", seed=3, auroc=0.9)
    ax = plots.signal_bands(pd.concat([pair, half]))
    assert np.allclose(points(ax.lines[0]), [[1, 0.52], [2, 0.53], [3, 0.54]])
    assert np.allclose(points(plots.signal_bands(half).lines[0])[0], [1, 0.9])


def test_a_class_lies_in_the_same_bin_whatever_the_run():
    sizes = [100, 60, 40, 30, 22, 16, 12, 9, 7, 6, 5, 4, 3, 3, 2, 2]
    rows = [{"label": name, "folder": name, "images": size, "accuracy": 0.01 * size}
            for name in "AB" for size in sizes]  # fmt: skip
    first, second = full(plots.class_curve(pd.DataFrame(rows)))
    assert points(first) == points(second)
    assert len(points(first)) <= 12


def test_controls_are_dashed_in_curves():
    table = curves(2).replace({"label": {"label 1": "B (control)"}})
    plain, dashed = (line.get_linestyle() for line in full(plots.signal_bands(table))[:2])
    assert (plain, dashed) == ("-", "--")


def test_many_class_sizes_are_put_together_in_a_dozen():
    rows = [{"label": "A", "folder": run, "images": 2 * c + 2, "accuracy": 0.01 * c + 0.1 * k}
            for k, run in enumerate("xy") for c in range(24)]  # fmt: skip
    ax = plots.class_curve(pd.DataFrame(rows))
    (line,) = full(ax)
    assert np.allclose(line.get_xdata(), 3 + 4 * np.arange(12))  # two classes each
    assert np.allclose(line.get_ydata(), 0.5 + 2 * np.arange(12) + 5)
    assert said(ax) == ("images of the class", "accuracy, %", ["A"]) and ax.get_xscale() == "log"
    band = ax.collections[0].get_paths()[0].vertices
    assert np.ptp(band[band[:, 0] == 3][:, 1]) == pytest.approx(2 * np.sqrt(2) * 5)
    assert ax.get_legend().get_title().get_text() == "" and legend_is_above_or_beside(ax)
    assert plots.class_curve(pd.DataFrame(rows), ax) is ax


def test_lengths_stand_side_by_side_with_what_is_gained_over_the_base():
    longer = RUNS + 0.1
    longer.loc["b", "all"] = [0.7, 0.8, 0.9]
    labels = {"a": "A", "b": "B (control)", "c": "absent"}
    figure = plots.length_curves({30: RUNS, 100: longer}, labels, "a")
    left, right = figure.axes
    mean = {tuple(map(tuple, np.round(points(line), 6).tolist())) for line in full(left)}
    assert mean == {((30, 51), (100, 61)), ((30, 60), (100, 80))}
    assert {line.get_marker() for line in full(left)} == {"o"}
    (gained, zero) = full(right)
    assert np.allclose(points(gained), [[30, 9], [100, 19]]) and list(zero.get_ydata()) == [0, 0]
    assert gained.get_linestyle() == "--" and to_hex(gained.get_color()).upper() == PALETTE[1]
    (dots,) = right.collections
    assert np.allclose(
        dots.get_offsets(), [[30, 40], [30, -12], [30, -1], [100, 10], [100, 18], [100, 29]]
    )
    for ax in (left, right):
        assert ax.get_xscale() == "log" and ax.get_xlabel() == "epochs of the run"
        assert ticks(ax.xaxis) == ["30", "100"] and not len(ax.xaxis.get_minorticklocs())
    assert said(left)[1:] == ("100-shot accuracy, %", ["A", "B (control)"])
    assert right.get_ylabel() == "minus A of the same seed, points"
    assert left.get_legend().get_title().get_text() == "" and right.get_legend() is None


# --- files and words ------------------------------------------------------------------------


def test_a_saved_figure_names_its_rows_and_neither_machine_nor_time(tmp_path):
    figure, again = (plots.class_sizes([3, 2, 1]).figure for _ in range(2))
    plots.save(figure, tmp_path / "a.png", {"data/results/x": "digest"})
    about = {"made by": "make figures", "rows": {"data/results/x": "digest"}}
    assert json.loads((tmp_path / "a.json").read_text()) == about
    with Image.open(tmp_path / "a.png") as picture:
        assert "Software" not in picture.info and round(picture.info["dpi"][0]) == 110
        assert 500 < picture.width < 660  # cut to what is drawn
    text = plots.inline(again)
    head, _, code = text.partition(",")
    drawn = base64.b64decode(code).decode()
    assert head == "data:image/svg+xml;base64" and "<svg" in drawn and "dc:date" not in drawn
    assert not plt.get_fignums()
    beside = base64.b64decode(plots.inline(plots.signal_bands(curves(2)).figure).partition(",")[2])
    width = float(re.search(r'width="([\d.]+)pt"', beside.decode())[1])
    assert width > 72 * 7  # with the legend, which lies beside a figure of seven inches


def test_a_figure_is_told_in_words():
    figure, ((bars, map_), (curve, other)) = plt.subplots(2, 2)
    figure.suptitle("All of it")
    bars.bar([1], [2], label="many")
    bars.set(title="sizes", xlabel="class", ylabel="images")
    bars.legend()
    map_.imshow([[1]])
    map_.set(title="a picture", ylabel="its row")
    curve.plot([1, 2])
    other.set_title("nothing is drawn here")
    words = "Figure, All of it. sizes, images against class, with many. A panel. A picture: "
    assert plots.describe(figure) == words + "a picture, its row."
    other.imshow([[2]])
    other.set(title="a picture")
    curve.set_visible(False)
    bars.set(title="", ylabel="", xlabel="class")
    bars.get_legend().remove()
    assert plots.describe(figure) == "Figure, All of it. class. 2 pictures: a picture, its row."
    heat = plt.subplots()[1]
    heat.imshow([[1]])
    heat.set(xlabel="first", ylabel="second")  # has axes: a panel
    assert plots.describe(heat.figure) == "Figure. second against first."
    assert plots.describe(plt.figure()) == "Figure."


def test_jupyter_keeps_a_figures_words(monkeypatch):
    shell = InteractiveShell()
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    spec = importlib.util.spec_from_file_location("ltcl_helpers.report.in_jupyter", plots.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shell.events.trigger("pre_run_cell", None)
    ax = plots.class_sizes([3, 2, 1])
    texts, _ = shell.display_formatter.format(ax.figure)
    assert texts["text/plain"] == plots.describe(ax.figure)
