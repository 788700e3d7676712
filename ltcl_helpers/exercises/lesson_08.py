"""Checks of the answers in lesson 08, reproducing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from .. import report
from .checking import compare, exercise, require


@exercise(
    "group by draw; only a draw with both class orders counts, as the mean of its two halves.",
    "a run without its mirror counted as a unit",
    "each run counted as a unit",
    "the sum of the two halves instead of their mean",
    "neighbours in the list taken for a pair; they come in any order",
    "two runs of the same class order taken for a pair",
    nudge="the runs come in any order; how do you know that two belong together?",
    may_not_call=("report.units",),
)
def check_pair_means(answer: Callable[[list[tuple[str, bool, float]]], Sequence[float]]) -> None:
    """Values of mirrored pairs; `answer([(draw, mirrored, value), ...])`, in order of the draws."""
    draw = np.random.default_rng(8)
    for pairs, alone in ((3, 0), (2, 1), (1, 3), (4, 3)):
        runs = []
        for k in range(pairs):
            runs += [(str(k), half, float(draw.normal())) for half in (True, False)]
        for k in range(alone):
            # The second and the third are two runs of one draw, and of one order of its classes.
            runs.append((str(pairs + min(k, 1)), bool(k), 9.0 - k))
        runs = [runs[k] for k in draw.permutation(len(runs))]
        where = pd.MultiIndex.from_tuples(
            [(d, m, k) for k, (d, m, _) in enumerate(runs)], names=report.WHO
        )
        expected = report.units(pd.Series([value for *_, value in runs], where))
        got = answer(list(runs))
        name = f"{pairs} pairs and {alone} runs without their mirrors"
        require(np.ndim(got) == 1, f"{name}: got {np.ndim(got)} dimensions, expected a list")
        compare(name, list(got), expected.to_numpy())


@exercise(
    "mean, and to each side t.ppf(0.975, n - 1) * sd / sqrt(n), with the sd of ddof 1.",
    "1.96 instead of Student's t",
    "the standard deviation of ddof 0",
    "the standard deviation instead of the standard error",
    nudge="three things make the reach: a quantile, a spread, and a root.",
    may_not_call=("report.interval",),
)
def check_interval(answer: Callable[[Sequence[float]], tuple[float, float]]) -> None:
    """A 95 % interval of the mean; `answer(values)` gives its lower and upper end."""
    draw = np.random.default_rng(9)
    for size in (2, 3, 5, 20):
        values = draw.normal(1, 2, size)
        found = report.interval(values)
        compare(f"interval of {size} values", answer(values.tolist()), [found.low, found.high])


@exercise(
    "find the difference at which 80 % of made samples of n have an interval that leaves zero out.",
    "the half width of the interval itself, which is found in half of the cases only",
    "the normal distribution, which is far too small for few runs",
    "the sample's spread forgotten: it grows with sd",
    nudge="draw many samples; which share of their intervals leaves zero out?",
    may_not_call=("report.smallest_difference",),
)
def check_smallest_difference(answer: Callable[[float, int], float]) -> None:
    """The difference found with power 0.8; `answer(sd, n)`, to a twentieth."""
    for sd, n in ((1.0, 3), (1.0, 5), (2.0, 10), (0.5, 4)):
        expected = report.smallest_difference(sd, n)
        compare(f"sd {sd:g}, n {n}", answer(sd, n), expected, tolerance=0.05)
