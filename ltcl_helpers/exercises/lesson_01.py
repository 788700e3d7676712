"""Checks of the answers in lesson 01, long-tail data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..data import splits
from .checking import compare, exercise, require


@exercise(
    "largest / imbalance ** (r / (classes - 1)), cut off once, at the end; a product over the "
    "ranks adds up rounding errors, and exp of a log can make 59.999... of 60.",
    "rounding instead of cutting off",
    "r / classes instead of r / (classes - 1)",
    "the same factor again and again (`np.cumprod`)",
    nudge="what is the size of the last rank, and how often is a size cut off?",
    may_not_call=("splits.class_sizes", "my_class_sizes"),
)
def check_class_sizes(answer: Callable[[int, int, float], list[int]]) -> None:
    """The class-size law; `answer(largest, classes, imbalance)`, largest first."""
    calls = ((450, 100, 100.0), (900, 12, 100.0), (60, 5, 10.0), (60, 12, 10.0), (500, 7, 3.0))
    for call in calls:
        compare(f"class sizes {call}", answer(*call), splits.class_sizes(*call))


@exercise(
    "a stable sort, smallest first, cut at C // 3 and 2 * (C // 3), the rest is many; sorted ids.",
    "what is left over goes to the few classes",
    "ties broken the other way (sorted largest first)",
    "ids left in the order of size",
    nudge="take 10 classes: how many are few, and where do the classes go that are left over?",
    may_not_call=("splits.groups",),
)
def check_groups(answer: Callable[[np.ndarray], dict[str, np.ndarray]]) -> None:
    """Many, medium, few by thirds; `answer(counts)` gives sorted class ids by name."""
    for classes in (10, 11, 12, 13, 100):
        counts = np.random.default_rng(classes).integers(1, 12, classes)
        got = answer(counts.copy())
        for name, ids in splits.groups(counts).items():
            require(name in got, f"{classes} classes: the group {name!r} is missing")
            compare(f"{name} of {classes} classes", got[name], ids)


@exercise(
    "the first image of each class in S_b is where that class begins in D_i.",
    "the block of the last class forgotten",
    "counting images that are in both lists",
    "dividing positions, which works only where images lie class after class",
    nudge="where in d_i does each class begin? Which images of s_b can tell?",
)
def check_counts_of_a_list(answer: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> None:
    """Class sizes from two lists; `answer(d_i, s_b, classes)`, in the order of the classes."""
    for classes, largest, shots in ((12, 300, 3), (10, 90, 1), (7, 120, 5)):
        draw = np.random.default_rng(classes)
        labels = draw.permutation(np.repeat(np.arange(classes), 400))
        sizes = splits.class_sizes(largest, classes, 20.0)
        d_i, s_b = splits.long_tail(labels, sizes, 5), splits.few_shot(labels, shots, 5)
        got = answer(d_i.copy(), s_b.copy(), classes)
        compare(f"{classes} classes", got, np.bincount(labels[d_i], minlength=classes))
