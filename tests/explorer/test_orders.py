"""Orders, small pictures and the still figure, by hand on a handful of samples."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from ltcl_helpers.config import RunConfig
from ltcl_helpers.explorer import from_arrays, orders, pictures, still
from ltcl_helpers.report import plots

NAN = np.nan
LOSS = np.array([[5, 3, NAN, 4], [4, 5, 6, 4], [2, 4, 7, 1]], np.float16)


def equal(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    return True


def test_orders_are_numbers_of_each_sample():
    assert equal(orders.hardest(LOSS, 0), [5, 3, NAN, 4])
    assert equal(orders.easiest(LOSS, 2), [-2, -4, -7, -1])
    assert equal(orders.first_seen(LOSS), [5, 3, 6, 4])
    assert equal(orders.falling(LOSS, 2), [3, -1, -1, 3])
    assert equal(orders.wandering(LOSS), [0, 2, 0, 0])
    late = np.array([[NAN, 1], [2, NAN], [NAN, 3], [5, 2]])
    assert equal(orders.wandering(late), [0, 2])
    for key in (orders.hardest(LOSS, 0), orders.first_seen(LOSS), orders.wandering(LOSS)):
        assert key.dtype == np.float32
    assert orders.largest(np.array([1, NAN, 3, 3, 0]), 3).tolist() == [2, 3, 0]
    assert orders.largest(np.array([NAN, 1, NAN]), 3).tolist() == [1]
    equal_keys = orders.largest(np.zeros(40), 40).tolist()
    assert equal_keys == list(range(40))  # of equal ones the first comes first


def test_bands_are_quartiles_of_the_groups_that_were_seen():
    member = np.array(["few", "few", "few", "many"])
    found = orders.bands(LOSS, member)
    assert list(found) == ["many", "few"] and found["few"].dtype == np.float64
    assert equal(found["few"], [[3.5, 4, 4.5], [4.5, 5, 5.5], [3, 4, 5.5]])
    none = orders.bands(np.array([[NAN], [1]]), np.array(["all"]))
    assert list(none) == ["all"] and equal(none["all"], [[NAN] * 3, [1, 1, 1]])


def test_learnt_is_the_first_epoch_from_which_a_loss_stays_below_the_median():
    loss = np.array([[1, 2, 3, 9, 1], [3, 2, 1, 9, 1], [1, 2, 3, 9, 0], [0, 2, 3, 9, 0]])
    member = np.array(["few", "few", "few", "many", "many"])
    assert equal(orders.learnt(loss, member, [5, 6, 8, 9]), [8, NAN, NAN, NAN, 5])


def test_the_data_map_leaves_out_what_was_not_seen():
    mean, sd = orders.data_map(np.array([[0.2, NAN, NAN], [0.6, 0.5, NAN]], np.float32))
    assert equal(mean, [0.4, 0.5, NAN]) and equal(sd, [0.2, 0, NAN]) and sd.dtype == np.float64


def test_neighbours_are_looked_for_in_parts(monkeypatch):
    features = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    whole = orders.neighbours(features)
    monkeypatch.setattr(orders, "CHUNK", 7)
    assert (orders.neighbours(features) == whole).all()
    assert whole.shape == (30, 10) and whole.dtype == np.int32
    scaled = features * np.arange(1, 31, dtype=np.float32)[:, None]  # by angle, not by length
    assert (orders.neighbours(scaled) == whole).all()


# --- small pictures -------------------------------------------------------------------------


def test_a_thumbnail_is_no_larger_than_its_image():
    def side(count, pixels):
        return pictures.side(np.broadcast_to(np.uint8(0), (count, 3, pixels, pixels)))

    assert [side(10, 28), side(10, 48), side(5000, 96), side(5001, 96), side(5001, 20)] == [
        28, 48, 48, 32, 20
    ]  # fmt: skip
    images = np.zeros((2, 3, 4, 4), np.uint8)
    images[0, 0, :2, :2] = 200
    small = pictures.shrink(images, 2)
    assert small.shape == (2, 2, 2, 3) and small[0, :, :, 0].tolist() == [[200, 0], [0, 0]]
    assert (pictures.shrink(images, 4) == images.transpose(0, 2, 3, 1)).all()


def test_tiles_lie_row_by_row_in_one_picture():
    tiles = np.zeros((5, 16, 16, 3), np.uint8)
    tiles[:] = np.array([40, 90, 140, 190, 240])[:, None, None, None]
    content = pictures.webp(tiles, 3)
    shown = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    assert content[8:12] == b"WEBP" and shown.shape == (32, 48)
    assert np.abs(shown[8::16, 8::16] - np.array([[40, 90, 140], [190, 240, 0]])).max() <= 3


def test_who_is_worth_seeing_comes_in_turn():
    lists = [np.array([3, 1]), np.array([], int), np.array([3, 2, 0])]
    assert pictures._in_turn(lists).tolist() == [3, 1, 2, 0]
    labels = np.repeat([0, 1, 2], [200, 80, 70])  # the last are few
    loss = np.stack([np.zeros(350), np.arange(350) % 199]).astype(np.float32)
    first, second = from_arrays(loss, labels), from_arrays(loss[:, ::-1].copy(), labels)
    chosen = pictures.worth_seeing([first])
    few = np.flatnonzero(labels == 2)
    hard = few[np.argsort(-loss[1, few], kind="stable")]
    assert chosen[0] == 198 and chosen[1:65].tolist() == hard[:64].tolist() and len(chosen) == 96
    ends = pictures._ends([first])
    assert [len(end) for end in ends] == [16] * 4
    assert ends[0].tolist()[:2] == [198, 197] and ends[1].tolist()[:2] == [0, 199]
    assert ends[2].tolist() == ends[1].tolist() and ends[3].tolist() == list(range(16))
    rest = pictures._in_turn(ends).tolist()
    taken = set(chosen[:65].tolist())
    assert chosen[65:].tolist() == [sample for sample in rest if sample not in taken][:31]
    both = pictures.worth_seeing([first, second])
    other = few[np.argsort(-second.momentum_loss[1, few], kind="stable")]
    assert both[1:5].tolist() == [hard[0], other[0], hard[1], other[1]]
    small = from_arrays(loss[:, :5])
    assert sorted(pictures.worth_seeing([small])) == [0, 1, 2, 3, 4]


# --- the still figure -----------------------------------------------------------------------


@pytest.fixture
def pair():
    labels = np.array([0, 0, 0, 1, 1, 2])
    loss = np.array([[1, 2, 3, 4, 5, NAN], [6, 2, 3, 4, 1, 5]])
    found = []
    for name in ("one", "two"):
        run = from_arrays(loss, labels, epochs=[3, 7])
        run.label = name
        found.append(run)
    return found


def test_the_still_figure_is_a_map_and_the_bands_of_each_run(pair, monkeypatch):
    figures = []
    monkeypatch.setattr(still, "_as_png", lambda figure: figures.append(figure) or b"")
    still.png(pair, 7), still.png(pair[:1], 3)
    (both, one) = figures
    assert both.get_suptitle() == "A picture of the explorer; run the cell for the live one"
    assert [ax.get_title() for ax in both.axes] == ["one, epoch 7", "one", "two"]
    assert [ax.get_title() for ax in one.axes] == ["one, epoch 3", "one"]
    shown, bands, _ = both.axes
    assert (shown.get_xlabel(), shown.get_ylabel()) == ("class, by size", "memorization score")
    assert (bands.get_xlabel(), bands.get_ylabel()) == ("epoch", "momentum loss")
    assert shown.get_ylim() == (-0.02, 1.02)
    legend = [text.get_text() for text in shown.get_legend().get_texts()]
    assert legend == ["many", "medium", "few"]
    scores = pair[0].scores()[1]
    for marks, column, mine in zip(shown.lines, (0, 1, 2), ([0, 1, 2], [3, 4], [5]), strict=True):
        group = legend[column]
        assert (marks.get_color(), marks.get_marker()) == (
            plots.COLOURS[group], plots.MARKERS[group]
        )  # fmt: skip
        assert np.allclose(marks.get_ydata(), scores[mine])
        aside = marks.get_xdata() - column
        assert np.abs(aside).max() < 0.4 and len(set(aside)) == len(mine)
    sizes = [marks.get_markersize() for marks in shown.lines]
    assert sizes[0] == sizes[1] < sizes[2]  # the few are seen best
    unseen = [len(marks.get_xdata()) for marks in one.axes[0].lines]
    assert unseen == [3, 2]  # the rare one was not seen yet
    for line, area, (group, rows) in zip(
        bands.lines,
        bands.collections,
        orders.bands(pair[0].momentum_loss, pair[0].groups()).items(),
        strict=True,
    ):
        assert line.get_label() == group and line.get_linestyle() == plots.LINES[group]
        assert line.get_color() == plots.COLOURS[group]
        assert line.get_xdata().tolist() == [3, 7]
        np.testing.assert_array_equal(line.get_ydata(), rows[:, 1])
        inside = area.get_paths()[0].vertices if area.get_paths() else np.empty((0, 2))
        edges = rows[~np.isnan(rows[:, 0])][:, [0, 2]].ravel()
        assert set(edges) <= set(inside[:, 1])
    plt.close("all")


def test_large_classes_stand_left_and_the_file_is_small(pair):
    pair[0].labels = np.array([2, 2, 2, 1, 1, 0])
    pair[0].class_names = ("rare", "some", "often")
    axes = plt.subplots()[1]
    still._draw_map(axes, pair[0], 1)
    columns = {line.get_label(): np.round(line.get_xdata().mean()) for line in axes.lines}
    assert columns == {"many": 0, "medium": 1, "few": 2}
    flat = from_arrays(np.arange(80.0)[None], np.arange(80) // 2)
    equal_classes = plt.subplots()[1]
    still._draw_map(equal_classes, flat, 0)
    places = np.concatenate([line.get_xdata() for line in equal_classes.lines])
    scores = np.concatenate([line.get_ydata() for line in equal_classes.lines])
    in_order = np.round(places[np.argsort(scores)] - 0.0)
    assert np.abs(in_order - np.arange(80) // 2).max() <= 1
    content = still.png(pair, 7)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG" and picture.size == (810, 225)
    assert len(plt.get_fignums()) == 2  # its own is closed
    plt.close("all")


def test_views_are_of_the_run_itself_and_the_same_every_time():
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 16, 16), np.uint8)
    run = from_arrays(LOSS, np.array([0, 0, 0, 1]), images)
    run.config = RunConfig(preset="tiny", boost="oracle")
    first, used = pictures.draw_views(run, np.array([0, 3]), 2)
    again, _ = pictures.draw_views(run, np.array([0, 3]), 2)
    assert (first == again).all() and used[0] < used[1] == 1  # by the rarity of the class
    assert pictures.draw_views(run, np.array([0, 3]), None)[1].tolist() != [] and np.ptp(first) > 99
    others = [pictures.draw_views(run, np.array([k, 3]), row)[0] for k, row in ((0, 1), (1, 2))]
    for other in others:
        assert (other[pictures.VIEWS :] != first[pictures.VIEWS :]).any()
    run.config = RunConfig(preset="tiny", boost="memory")
    assert pictures.draw_views(run, np.array([0, 3]), None)[1].tolist() == [0, 0]
    assert pictures.draw_views(run, np.array([0, 2]), 2)[1].tolist() == pytest.approx(
        run.scores()[2][[0, 2]]
    )
    run.labels = None
    assert pictures._rarity(run) is None
