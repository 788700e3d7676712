"""The drawings of the methods: what leads to what, what is said beside what, and all of it seen."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import same_color
from matplotlib.patches import ArrowStyle, Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.transforms import Bbox

from ltcl_helpers.data import shapes
from ltcl_helpers.report import drawings
from ltcl_helpers.report.plots import COLOURS
from ltcl_helpers.views import simclr_view

NAMES = {"black": "black", "0.55": "grey", "0.25": "dark", "0.7": "light",
         drawings.BLUE: "blue",
         drawings.ORANGE: "orange", drawings.PINK: "pink"}  # fmt: skip

LEADS = {
    "simclr": """picture 0 > picture 1, black; picture 1 > encoder, black; encoder > head, black
        head > find your partner, blue
        picture 0 > picture 2, black; picture 2 > encoder, black; encoder > head, black
        head > find your partner, blue""",
    "sdclr": """picture 0 > picture 1, black; picture 1 > picture 2, black
        picture 2 > find your partner, black
        picture 0 > picture 3, black; picture 3 > picture 4, black
        picture 4 > find your partner, pink""",
    "bcl": """loss of an image > its history, black; its history > score, 0 to 1, black
        score, 0 to 1 > stronger views, pink; stronger views > loss of an image, blue""",
    "moco": """picture 0 > picture 1, black; picture 1 > encoder, black
        picture 0 > picture 2, black; picture 2 > key encoder, black
        encoder > key encoder, orange; key encoder > picture 3, orange
        picture 10 > the edge, grey
        encoder > find your key, black; picture 6 > find your key, blue""",
    "balanced": "",
}
SAID = {
    "simclr": """one image, no label, dark: below picture 0; view 1, dark: below picture 1
        view 2, dark: below picture 2; same weights, dark: between encoder and encoder
        among 2B $-$ 1 views of the batch, blue: below find your partner""",
    "sdclr": """the network, black: below picture 2; its pruned twin, pink: below picture 4
        same weights, but the small 90 % are zero, dark: above picture 4
        hard where the twin has forgotten the image, blue: below find your partner""",
    "bcl": """averaged over epochs, dark: above its history
        compared with all images, dark: below its history
        high: hard, perhaps rare, dark: below stronger views
        the network sees them, dark: above stronger views
        once an epoch, for every image, dark: between stronger views and its history""",
    "moco": """follows slowly: m of itself, 1 $-$ m of it, orange: above key encoder
        key, orange: right of key encoder
        a queue of keys: new on the left, old ones leave, dark: below picture 6
        query, dark: right of encoder""",
    "balanced": """on a long tail, black: above circle 0
        what balance wants: a simplex, black: above circle 1
        rare classes drift together, pink: right of circle 0
        arrows: class means, dots: images, dark: between circle 0 and circle 1""",
}


class Seen:
    """A drawing's parts as they come to lie on its sheet, in inches."""

    def __init__(self, figure):
        figure.canvas.draw()
        (self.ax,) = figure.axes
        self.back = self.ax.transData.inverted()
        self.texts = {text: self.area(text) for text in self.ax.texts}
        self.frames, self.names, self.arrows = [], [], []
        for patch in self.ax.patches:
            if isinstance(patch, FancyArrowPatch):
                self.arrows.append(patch)
            else:
                self.frames.append(self.area(patch))
                self.names.append(self.name(patch))

    def area(self, part):
        return part.get_window_extent().transformed(self.back)

    def name(self, patch):
        """A box by its text, others by their number."""
        if isinstance(patch, FancyBboxPatch):
            (text,) = (t for t, area in self.texts.items() if inside(area, self.frames[-1]))
            return words(text)
        kind = "circle" if isinstance(patch, Circle) else "picture"
        return f"{kind} {sum(name.startswith(kind) for name in self.names)}"

    def at(self, point):
        """The name of the frame that an arrow's end touches."""
        away = [distance(Bbox([point, point]), frame) for frame in self.frames]
        edges = self.ax.get_xlim()[1] - point[0], self.ax.get_ylim()[1] - point[1], *point
        assert 0 < min(*away, *edges) < 0.3, f"an arrow that hangs in the air at {point}"
        return self.names[np.argmin(away)] if min(away) < min(edges) else "the edge"

    def beside(self, area):
        """Where a remark stands."""
        places = [middle(area) - middle(frame) for frame in self.frames]
        away = [round(distance(area, frame), 2) for frame in self.frames]
        order = sorted(range(len(away)), key=lambda k: (away[k], np.hypot(*places[k])))
        first, second = order[:2]
        assert away[first] < 0.9, f"a remark that belongs to nothing at {area}"
        if away[first] == away[second] and places[first] @ places[second] < 0:
            return f"between {self.names[first]} and {self.names[second]}"
        x, y = places[first]
        width, height = self.frames[first].size / 2
        sides = ("above", "below") if abs(y) - height > abs(x) - width else ("right of", "left of")
        return f"{sides[int((y if 'above' in sides else x) < 0)]} {self.names[first]}"


def words(text):
    return " ".join(text.get_text().replace(";", ",").split())


def middle(area):
    return (area.min + area.max) / 2


def inside(part, whole):
    return (part.min >= whole.min).all() and (part.max <= whole.max).all()


def distance(one, other):
    """Between two rectangles; 0 where they meet."""
    return float(np.hypot(*np.maximum(0, np.maximum(one.min - other.max, other.min - one.max))))


def in_a_box(text, seen):
    return any(inside(seen.texts[text], frame) for frame in seen.frames)


def called(colour):
    return next(name for value, name in NAMES.items() if same_color(value, colour))


def listed(text):
    return [part.strip() for line in text.splitlines() for part in line.split("; ")]


@pytest.fixture(scope="module", params=LEADS)
def drawn(request):
    figure = drawings.DRAWINGS[f"drawing_{request.param}"]()
    yield request.param, Seen(figure)
    plt.close(figure)


def test_a_drawing_can_be_told_from_its_arrows_and_remarks(drawn):
    name, seen = drawn
    arrows = [(*arrow._posA_posB, called(arrow.get_edgecolor())) for arrow in seen.arrows]
    if name != "balanced":  # whose arrows are directions
        leads = [f"{seen.at(start)} > {seen.at(end)}, {colour}" for start, end, colour in arrows]
        assert leads == listed(LEADS[name])
    said = [
        f"{words(text)}, {called(text.get_color())}: {seen.beside(area)}"
        for text, area in seen.texts.items()
        if not in_a_box(text, seen)
    ]
    assert said == listed(SAID[name])


def test_everything_is_on_the_sheet_and_nothing_on_something_else(drawn):
    name, seen = drawn
    size = seen.ax.figure.get_size_inches()
    inch = np.diff(seen.ax.transData.transform([(0, 0), (1, 1)]), axis=0)[0]
    assert inch == pytest.approx([seen.ax.figure.dpi] * 2) and not seen.ax.axison
    sheet = Bbox([(0, 0), size])
    for area in [*seen.texts.values(), *seen.frames, *map(seen.area, seen.arrows)]:
        assert inside(area, sheet)
    for one, other in itertools.combinations(seen.frames, 2):
        assert not one.overlaps(other)
    for (one, area), (other, place) in itertools.combinations(seen.texts.items(), 2):
        assert not area.overlaps(place), f"{words(one)} over {words(other)}"
    for text, area in seen.texts.items():
        for frame in seen.frames:
            free = inside(area, frame) or not area.overlaps(frame)
            assert free or name == "balanced", words(text)  # the corner of a circle's square
    for line in seen.ax.lines if name != "balanced" else ():
        (x, again), ends = line.get_data()
        assert x == again and line.get_linestyle() == ":"
        for frame in seen.frames:
            assert not frame.overlaps(Bbox([(x, ends[0]), (x, ends[1])]))
        for y in ends:
            away = [
                distance(Bbox([(x, y), (x, y)]), p) for p in (*seen.frames, *seen.texts.values())
            ]
            assert min(away) < 0.15
        through = Bbox([(x, min(ends)), (x, max(ends))])
        assert min(distance(through, place) for place in seen.texts.values()) > 0.08
    for arrow in seen.arrows:
        assert isinstance(arrow.get_arrowstyle(), ArrowStyle.CurveFilledB)
    dashed = [a.get_linestyle() for a in seen.arrows].count("--")
    assert dashed == (name == "moco")
    bent = {arrow.get_connectionstyle().rad for arrow in seen.arrows}
    assert bent == {-0.25 if name == "bcl" else 0}
    edges = [called(p.get_edgecolor()) for p in seen.ax.patches if isinstance(p, FancyBboxPatch)]
    assert edges == [called(t.get_color()) for t in seen.texts if in_a_box(t, seen)]
    assert len(seen.ax.lines) == {"balanced": 10, "simclr": 1, "sdclr": 1}.get(name, 0)


def test_pictures_are_an_image_and_two_views_of_it():
    image, *views = drawings._image_and_views()
    drawn = torch.from_numpy(shapes.draw_images([1], [7]))
    np.testing.assert_array_equal(image, drawn[0].numpy() / 255)
    for view, seed in zip(views, (5, 11), strict=True):
        generator = torch.Generator().manual_seed(seed)
        np.testing.assert_array_equal(view, simclr_view(drawn, generator)[0])
    for name, shown in (("simclr", [0, 1, 2]), ("moco", [0, 1, 2]), ("sdclr", [0, 1, 3])):
        figure = drawings.DRAWINGS[f"drawing_{name}"]()
        pictures = figure.axes[0].images
        for place, there in zip(shown, (image, *views), strict=True):
            np.testing.assert_array_equal(pictures[place].get_array(), there.transpose(1, 2, 0))
        frames = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
        for picture, frame in zip(pictures, frames, strict=False):
            left, right, bottom, top = picture.get_extent()
            expected = pytest.approx([left, bottom, right, top])
            assert frame.get_bbox().extents == expected and not frame.get_fill()
            assert len(pictures) > 3 or called(frame.get_edgecolor()) == "grey"
        plt.close(figure)


def test_the_twin_lacks_the_small_weights_and_keeps_the_large_ones():
    figure = drawings.sdclr()
    both = [figure.axes[0].images[k] for k in (2, 4)]
    whole, twin = (shown.get_array() for shown in both)
    assert [shown.get_clim() for shown in both] == [(0, 1.4)] * 2  # black on white, not too dark
    assert {shown.get_cmap().name for shown in both} == {"Greys"}
    assert whole.shape == (5, 16) and set(np.unique(twin)) == {0, 1}
    assert (twin == 0).mean() == 0.9 and set(np.unique(whole[twin == 0])) == {0.45}
    assert (whole[twin == 1] == 1).all()
    plt.close(figure)


def test_the_newest_key_of_the_queue_is_orange_and_older_ones_fade():
    figure = drawings.moco()
    keys = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)][3:]
    assert len(keys) == 8 and same_color(keys[0].get_facecolor(), drawings.ORANGE)
    grey = [key.get_facecolor()[0] for key in keys[1:]]
    assert grey == sorted(set(grey)) and grey[0] > 0.5 and grey[-1] < 0.95
    gaps = np.diff([key.get_x() for key in keys]) - keys[0].get_width()
    assert gaps == pytest.approx([0.02] * 7)
    plt.close(figure)


def test_a_long_tail_bends_the_means_that_balance_wants_apart():
    figure = drawings.balanced()
    ax = figure.axes[0]
    arrows = [p for p in ax.patches if isinstance(p, FancyArrowPatch)]
    circles = [p for p in ax.patches if isinstance(p, Circle)]
    assert len(arrows) == len(ax.lines) == 10
    angles = []
    for k, (arrow, dots) in enumerate(zip(arrows, ax.lines, strict=True)):
        circle = circles[k // 5]
        start, end = map(np.array, arrow._posA_posB)
        assert tuple(start) == circle.center and np.hypot(*(end - start)) == pytest.approx(1)
        assert (arrow.shrinkA, arrow.shrinkB, circle.radius) == (0, 0, 1)
        colour = COLOURS["many" if k % 5 < 3 else "few"]
        assert same_color(arrow.get_edgecolor(), colour) and same_color(dots.get_color(), colour)
        spots = np.stack(dots.get_data(), 1) - start
        assert np.hypot(*spots.T) == pytest.approx(np.ones(len(spots)))
        direction = end - start
        across = np.arccos(np.clip(spots @ direction, -1, 1))
        assert across.max() < 0.25 and 0.03 < across.mean() < 0.1
        angles.append(np.degrees(np.arctan2(*direction[::-1])) % 360)
    assert angles[:5] == pytest.approx([90, 180, 275.7, 344, 16], abs=0.1)
    assert angles[5:] == pytest.approx([90, 162, 234, 306, 18])
    assert [len(dots.get_xdata()) for dots in ax.lines] == [60, 60, 60, 16, 16, *[20] * 5]
    plt.close(figure)
