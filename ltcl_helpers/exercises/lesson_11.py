"""Checks of the answers in lesson 11, your own pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .checking import compare, exercise, require


@exercise(
    "the classes of train that are not among those of test; sorted, each once.",
    "the other direction: classes of test that are not in train",
    "names compared by their number in each list, not as names",
    "a class that is in both",
    nudge="three classes in train, two in test: which name is missing where?",
)
def check_never_tested(answer: Callable[[Sequence[str], Sequence[str]], Sequence[str]]) -> None:
    """Classes without a test image; `answer(train, test)`: a name an image, gives sorted names."""
    tried: list[tuple[list[str], list[str], list[str]]] = [
        (["cat", "dog", "dog", "owl"], ["dog", "cat"], ["owl"]),
        (["b", "a", "c", "a"], ["a", "b", "c", "d"], []),
        (["x", "z", "y", "z", "Z"], ["x"], ["Z", "y", "z"]),
    ]
    for train, test, expected in tried:
        got = answer(list(train), list(test))
        require(got is not None, "got None; is a `return` missing?")
        require(not isinstance(got, str | dict), f"got a {type(got).__name__}, expected names")
        found = [str(name) for name in got]
        require(found == expected, f"train {train}, test {test}: got {found}, expected {expected}")


@exercise(
    "per class: draw max(1, round(share * n)) of its n images, but leave one in train.",
    "a share of all images, whatever their class",
    "no test image for a small class, or no training image",
    "always the first images of a class, or neighbours in a row",
    nudge="a class of two images: how many go into the test part, how many stay?",
)
def check_held_out(answer: Callable[[np.ndarray, float, int], np.ndarray]) -> None:
    """Positions of the test part; `answer(labels, share, seed)`, every class in both parts."""
    draw = np.random.default_rng(12)
    seeds = 150  # so many that a right answer misses an image once in a hundred thousand
    tried = {(41, 10, 3, 2): 0.2, (25, 25): 0.4, (6, 2, 50, 4, 9): 0.1, (2, 12): 0.8}
    for sizes, share in tried.items():
        labels = draw.permutation(np.repeat(np.arange(len(sizes)), sizes))
        expected = [min(max(1, round(share * n)), n - 1) for n in sizes]
        lists = []
        for seed in range(seeds):
            got = np.asarray(answer(labels.copy(), share, seed))
            require(got.dtype.kind in "iu", f"got values of type {got.dtype}, expected positions")
            require(got.ndim == 1, f"got {got.ndim} dimensions, expected a list of positions")
            inside = not len(got) or (got.min() >= 0 and got.max() < len(labels))
            require(inside, f"positions go from 0 to {len(labels) - 1}")
            require(len(set(got.tolist())) == len(got), f"seed {seed}: an image comes twice")
            found = np.bincount(labels[got], minlength=len(sizes))
            compare(f"test images of classes of {list(sizes)}, share {share}", found, expected)
            lists.append(tuple(sorted(got.tolist())))
        again = tuple(sorted(np.asarray(answer(labels.copy(), share, 0)).tolist()))
        require(again == lists[0], "the same seed gives another list")
        require(len(set(lists)) > 10, "other seeds give the same list")
        # Drawn by lot, every image of a class of 25 and more comes up, in ever new company.
        for label in np.flatnonzero(np.array(sizes) >= 25):
            parts = {tuple(k for k in each if labels[k] == label) for each in lists}
            reached = len(set().union(*parts))
            of_class = f"of the {sizes[label]} images of class {label}"
            require(reached == sizes[label], f"{seeds} seeds reach {reached} {of_class}")
            many = f"{seeds} seeds give only {len(parts)} different sets {of_class}"
            require(len(parts) > seeds // 2, f"{many}; are neighbours drawn together?")


@exercise(
    "both ends above the smallest gain: keep; both below it: drop; else: run more.",
    "the mean instead of the ends of the interval",
    "zero instead of the smallest gain that is worth it",
    "an interval that holds the smallest gain counted as a yes or a no",
    nudge="draw the interval and the smallest gain on one line; where does it lie?",
)
def check_decision(answer: Callable[[float, float, float], str]) -> None:
    """What an interval says; `answer(low, high, gain)` gives "keep", "drop" or "run more"."""
    tried = {
        (2.0, 4.0, 1.0): "keep",
        (0.5, 4.0, 1.0): "run more",
        (-1.0, 0.8, 1.0): "drop",
        (0.2, 0.6, 1.0): "drop",
        (-9.0, 12.0, 1.0): "run more",
        (-4.0, -2.0, 0.0): "drop",
        (0.3, 2.0, 0.0): "keep",
        (-3.0, 0.1, 0.0): "run more",
        (2.5, 3.0, 2.0): "keep",
    }
    for (low, high, gain), expected in tried.items():
        got = answer(low, high, gain)
        about = f"interval {low:+g} to {high:+g}, smallest gain {gain:g}"
        require(got is not None, f"{about}: got None; is a `return` missing?")
        require(got == expected, f"{about}: got {got!r:.40}, expected {expected!r}")
