"""One drawing a method, made by code: its idea can be told from the drawing alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from ..data import shapes
from ..views import simclr_view
from .plots import COLOURS, PALETTE

BLUE, ORANGE, GREEN, PINK = PALETTE[:4]
GREY = "0.55"
Point = tuple[float, float]


def sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty drawing whose unit is an inch."""
    figure, ax = plt.subplots(figsize=(width, height))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    figure.subplots_adjust(left=0, right=1, top=1, bottom=0)
    return figure, ax


def box(ax: Axes, centre: Point, text: str, colour: str = "black", width: float = 1.25) -> None:
    """A rounded box with a text in it."""
    x, y = centre
    place = (x - width / 2, y - 0.26)
    style = "round,pad=0.02,rounding_size=0.1"
    ax.add_patch(FancyBboxPatch(place, width, 0.52, boxstyle=style, fc="white", ec=colour, lw=1.6))
    ax.text(x, y, text, ha="center", va="center", fontsize=10, color=colour)


def arrow(ax: Axes, start: Point, end: Point, colour: str = "black", **style: Any) -> None:
    """An arrow from one point to another; `connectionstyle="arc3,rad=..."` bends it."""
    look: dict[str, Any] = dict(arrowstyle="-|>", mutation_scale=13, color=colour, lw=1.5)
    ax.add_patch(FancyArrowPatch(start, end, **(look | style)))


def picture(ax: Axes, centre: Point, image: np.ndarray, size: float = 0.72) -> None:
    """An image [3, H, W] of floats in a frame."""
    x, y = centre
    extent = (x - size / 2, x + size / 2, y - size / 2, y + size / 2)
    ax.imshow(np.asarray(image).transpose(1, 2, 0), extent=extent, interpolation="nearest")
    ax.add_patch(Rectangle((extent[0], extent[2]), size, size, fill=False, lw=0.8, ec=GREY))


def say(ax: Axes, place: Point, text: str, colour: str = "0.25", **style: Any) -> None:
    """A remark."""
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9}
    ax.text(*place, text, color=colour, **(look | style))


def _image_and_views(seeds: Sequence[int] = (5, 11)) -> list[np.ndarray]:
    """An image of `shapes` and SimCLR views of it, floats [3, 32, 32]."""
    import torch

    image = torch.from_numpy(shapes.draw_images([1], [7]))  # [1, 3, 32, 32]
    views = [simclr_view(image, torch.Generator().manual_seed(seed))[0] for seed in seeds]
    return [image[0].numpy() / 255, *(view.numpy() for view in views)]


def simclr() -> Figure:
    """SimCLR: two views of an image, one network, one loss."""
    figure, ax = sheet(8.6, 2.7)
    image, *views = _image_and_views()
    picture(ax, (0.6, 1.4), image, 0.9)
    say(ax, (0.6, 0.7), "one image,\nno label")
    for view, height, name in zip(views, (2.05, 0.75), ("view 1", "view 2"), strict=True):
        arrow(ax, (1.1, 1.4), (1.75, height))
        picture(ax, (2.15, height), view)
        say(ax, (2.15, height - 0.5), name)
        arrow(ax, (2.55, height), (3.05, height))
        box(ax, (3.7, height), "encoder")
        arrow(ax, (4.35, height), (4.8, height))
        box(ax, (5.35, height), "head", GREY, 1.0)
        arrow(ax, (5.88, height), (6.5, 1.5 if height > 1.4 else 1.3), BLUE)
    ax.plot([3.7, 3.7], [1.05, 1.75], ls=":", color="black")
    say(ax, (3.95, 1.4), "same\nweights", ha="left", fontsize=8)
    box(ax, (7.5, 1.4), "find your\npartner", BLUE, 1.6)
    say(ax, (7.5, 0.78), "among 2B $-$ 1 views of the batch", BLUE, fontsize=8)
    return figure


def sdclr() -> Figure:
    """SDCLR: the second view goes through a twin whose small weights are zero."""
    figure, ax = sheet(8.6, 2.9)
    image, *views = _image_and_views()
    picture(ax, (0.6, 1.5), image, 0.9)
    names = ("the network", "its pruned twin")
    for k, (view, height, name) in enumerate(zip(views, (2.2, 0.8), names, strict=True)):
        colour = PINK if k else "black"
        arrow(ax, (1.1, 1.5), (1.7, height))
        picture(ax, (2.1, height), view)
        arrow(ax, (2.5, height), (3.0, height))
        weights = np.random.default_rng(3).normal(size=(5, 16))
        large = np.abs(weights) > np.quantile(np.abs(weights), 0.9)
        shown = np.where(large, 1.0, 0.0 if k else 0.45)
        ax.imshow(
            shown,
            extent=(3.05, 5.05, height - 0.32, height + 0.32),
            cmap="Greys",
            vmin=0,
            vmax=1.4,
        )
        ax.add_patch(Rectangle((3.05, height - 0.32), 2, 0.64, fill=False, ec=colour, lw=1.6))
        say(ax, (4.05, height - 0.47), name, colour)
        arrow(ax, (5.1, height), (6.2, 1.6 if height > 1.5 else 1.4), colour)
    ax.plot([4.05, 4.05], [1.15, 1.55], ls=":", color="black")
    say(ax, (4.2, 1.42), "same weights, but the small\n90 % are zero", ha="left", fontsize=8)
    box(ax, (7.3, 1.5), "find your\npartner", BLUE, 1.6)
    say(ax, (7.3, 0.85), "hard where the twin has\nforgotten the image", BLUE, fontsize=8)
    return figure


def bcl() -> Figure:
    """BCL: loss, score, strength of the views, and round again."""
    figure, ax = sheet(6.4, 3.6)
    places = ((3.2, 3.0), (5.2, 1.75), (3.2, 0.55), (1.2, 1.75))
    texts = ("loss of an image", "its history", "score, 0 to 1", "stronger views")
    colours = ("black", GREY, PINK, BLUE)
    for place, text, colour in zip(places, texts, colours, strict=True):
        box(ax, place, text, colour, 1.7)
    bend = {"connectionstyle": "arc3,rad=-0.25"}
    arrow(ax, (4.1, 3.0), (5.2, 2.08), **bend)
    arrow(ax, (5.2, 1.43), (4.1, 0.55), **bend)
    arrow(ax, (2.3, 0.55), (1.2, 1.43), PINK, **bend)
    arrow(ax, (1.2, 2.08), (2.3, 3.0), BLUE, **bend)
    say(ax, (5.35, 2.72), "averaged over\nepochs", ha="left", fontsize=8)
    say(ax, (5.35, 0.8), "compared with\nall images", ha="left", fontsize=8)
    say(ax, (1.05, 0.8), "high: hard,\nperhaps rare", ha="right", fontsize=8)
    say(ax, (1.05, 2.72), "the network\nsees them", ha="right", fontsize=8)
    say(ax, (3.2, 1.75), "once an epoch,\nfor every image")
    return figure


def moco() -> Figure:
    """MoCo: the query looks for its key among a queue of older keys."""
    figure, ax = sheet(8.6, 3.0)
    image, *views = _image_and_views()
    picture(ax, (0.6, 1.6), image, 0.9)
    for view, height, name, colour in zip(
        views, (2.4, 0.85), ("encoder", "key encoder"), ("black", ORANGE), strict=True
    ):
        arrow(ax, (1.1, 1.6), (1.65, height))
        picture(ax, (2.05, height), view)
        arrow(ax, (2.45, height), (2.9, height))
        box(ax, (3.7, height), name, colour, 1.5)
    arrow(ax, (3.7, 2.1), (3.7, 1.15), ORANGE, ls="--")
    slowly = "follows slowly:\nm of itself, 1 $-$ m of it"
    say(ax, (3.8, 1.6), slowly, ORANGE, ha="left", fontsize=8)
    arrow(ax, (4.5, 0.85), (5.45, 0.85), ORANGE)
    say(ax, (4.98, 1.02), "key", ORANGE, fontsize=8)
    for k in range(8):
        shade = ORANGE if k == 0 else str(0.5 + 0.06 * k)
        ax.add_patch(Rectangle((5.5 + 0.32 * k, 0.6), 0.3, 0.5, fc=shade, ec="white"))
    say(ax, (6.75, 0.4), "a queue of keys: new on the left, old ones leave", fontsize=8)
    arrow(ax, (8.1, 0.85), (8.5, 0.85), GREY)
    arrow(ax, (4.5, 2.4), (5.85, 2.4))
    say(ax, (5.15, 2.56), "query", fontsize=8)
    box(ax, (6.75, 2.4), "find your key", BLUE, 1.7)
    arrow(ax, (6.75, 1.15), (6.75, 2.1), BLUE)
    return figure


def balanced() -> Figure:
    """Balanced CL: what a long tail makes of the class means, and what the repairs want."""
    figure, ax = sheet(7.4, 2.9)
    wanted = np.pi / 2 + 2 * np.pi * np.arange(5) / 5
    bent = np.array([np.pi / 2, np.pi, 3 * np.pi / 2 + 0.1, -0.28, 0.28])
    panels = (("on a long tail", bent, 1.7), ("what balance wants: a simplex", wanted, 5.6))
    for title, angles, x in panels:
        ax.add_patch(Circle((x, 1.35), 1.0, fill=False, ec="0.7", lw=1.2))
        for k, angle in enumerate(angles):
            colour = COLOURS["many"] if k < 3 else COLOURS["few"]
            end = (x + np.cos(angle), 1.35 + np.sin(angle))
            arrow(ax, (x, 1.35), end, colour, shrinkA=0, shrinkB=0)
            size = 60 if k < 3 else 16
            spots = np.random.default_rng(k).normal(angle, 0.07, size if "tail" in title else 20)
            ax.plot(x + np.cos(spots), 1.35 + np.sin(spots), ".", color=colour, ms=3, alpha=0.6)
        say(ax, (x, 2.7), title, "black", fontsize=10)
    say(ax, (3.0, 1.35), "rare classes\ndrift together", COLOURS["few"], ha="left", fontsize=8)
    say(ax, (3.65, 0.35), "arrows: class means; dots: images", fontsize=8)
    return figure


DRAWINGS = {
    "drawing_simclr": simclr,
    "drawing_sdclr": sdclr,
    "drawing_bcl": bcl,
    "drawing_moco": moco,
    "drawing_balanced": balanced,
}
