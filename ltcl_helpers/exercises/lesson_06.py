"""Checks of the answers in lesson 06, linear probing."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats

from .. import probe
from .checking import compare, exercise, require


@exercise(
    "draw without replacement among the free images of each class, from default_rng(seed).",
    "drawing with replacement, or one image many times",
    "the same list for every seed, or another one at each call",
    "always the first images of a class, or neighbours in the list",
    "four classes, or so many images a class, written into the function",
    nudge="which images are free, class by class? Then draw.",
    may_not_call=("splits.few_shot",),
)
def check_list_without_overlap(answer: Callable[..., np.ndarray]) -> None:
    """A labelled list; `answer(labels, used, per_class, seed)` gives positions."""
    draw = np.random.default_rng(11)
    for sizes, taken, per_class in (((30, 30, 30, 30), 50, 5), ((40, 36, 45), 30, 4)):
        labels = draw.permutation(np.repeat(np.arange(len(sizes)), sizes))
        used = draw.permutation(len(labels))[:taken]
        _check_lists(answer, labels, used, per_class)


def _check_lists(
    answer: Callable[..., np.ndarray], labels: np.ndarray, used: np.ndarray, per_class: int
) -> None:
    """The lists of many seeds: what each must be, and what they are together."""
    seeds = 150  # so many that a right answer misses a free image once in a million
    classes = len(np.unique(labels))
    free = set(range(len(labels))) - set(used.tolist())
    lists: list[tuple[int, ...]] = []
    for seed in range(seeds):
        got = np.asarray(answer(labels.copy(), used.copy(), per_class, seed))
        require(got.dtype.kind in "iu", f"got values of type {got.dtype}, expected positions")
        compare("length of the list", got.shape, [classes * per_class])
        require(len(set(got.tolist())) == len(got), f"seed {seed}: an image comes twice")
        wrong = len(set(got.tolist()) - free)
        require(not wrong, f"seed {seed}: {wrong} positions are used already, or do not exist")
        found = np.bincount(labels[got], minlength=classes)
        compare(f"images of {classes} classes", found, [per_class] * classes)
        lists.append(tuple(sorted(got.tolist())))
    again = np.sort(np.asarray(answer(labels.copy(), used.copy(), per_class, 0)))
    require(tuple(again.tolist()) == lists[0], "the same seed gives another list")
    require(len(set(lists)) > 30, "other seeds give the same list")
    seen = set().union(*map(set, lists))
    require(seen == free, f"{seeds} seeds reach {len(seen)} of the {len(free)} free images")
    # Of one class there are thousands of lists; a window that is moved along has few.
    for label in range(classes):
        parts = {tuple(k for k in each if labels[k] == label) for each in lists}
        require(
            len(parts) > seeds // 2,
            f"{seeds} seeds give only {len(parts)} different sets of class {label}; are neighbours "
            "drawn together?",
        )


@exercise(
    "the three groups' accuracies first (thirds of the classes by size), then np.std, ddof 0.",
    "dividing by 2 instead of 3 (ddof=1)",
    "the spread over classes instead of groups",
    "classes grouped by their number instead of their size",
    nudge="three numbers go into the standard deviation; which ones, and what divides them?",
    may_not_call=("probe.group_report",),
)
def check_balancedness(answer: Callable[[np.ndarray, np.ndarray], float]) -> None:
    """The balancedness; `answer(per_class, class_counts)` gives std over many, medium, few."""
    draw = np.random.default_rng(3)
    for classes in (10, 12, 11, 30):
        accuracies, counts = draw.random(classes), draw.permutation(classes) + 1
        expected = probe.group_report(accuracies, counts)["std"]
        got = answer(accuracies.copy(), counts.copy())
        compare(f"balancedness of {classes} classes", got, expected)


@exercise(
    "try n = 2, 3, ... until |effect| > t.ppf(0.975, n - 1) * sd / sqrt(n); one run has no sd.",
    "twice the standard error (or 1.96 of it) instead of Student's t",
    "one sided, or n degrees of freedom",
    "`max(1, floor(...))`",
    "a loop that never ends for a negative effect",
    nudge="an effect may be negative; and what is the fewest number of runs with an sd?",
    may_not_call=("report.units_needed",),
)
def check_seeds_needed(answer: Callable[[float, float], int]) -> None:
    """Runs until a 95 % interval leaves out zero; `answer(effect, sd)`, at least 2."""
    for effect, sd in ((4.0, 10.0), (3.0, 1.0), (1.0, 1.0), (-2.0, 3.0), (30.0, 1.0)):
        reach = {n: stats.t.ppf(0.975, n - 1) * sd / math.sqrt(n) for n in range(2, 99)}
        expected = next(n for n in reach if abs(effect) > reach[n])
        compare(f"effect {effect:g}, sd {sd:g}", answer(effect, sd), expected)
