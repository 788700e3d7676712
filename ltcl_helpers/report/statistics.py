"""What rows say in numbers: paired differences, intervals, verdicts; and numbers as text.

A comparison has one of three answers: a difference, no difference that matters, or it is open.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from scipy import optimize, stats

from ..data import splits

SHOWN = (*splits.GROUPS, "std", "all")
COMPARED = (*splits.GROUPS, "all")
Columns = TypeVar("Columns", pd.Series, pd.DataFrame)  # one, or several side by side

# The smallest differences of accuracy that would change anybody's choice of a method.
MATTERS = {"all": 0.01}
MATTERS_IN_A_GROUP = 0.02
ROUNDING = 1e-12  # of differences of fractions
WIDEST = 0.15  # an open interval that reaches farther to each side is no result

ABOVE, BELOW = "above zero", "below zero"  # a difference
NONE_THAT_MATTERS = "no difference that matters"
OPEN = "no clear difference"


# --- statistics -----------------------------------------------------------------------------


class Interval(NamedTuple):
    """A mean with its 95 % interval (Student's t); NaN ends for fewer than two units."""

    mean: float
    low: float
    high: float
    n: int  # independent units
    unit: str  # "mirrored pair", "seed" or "value"

    @property
    def reach(self) -> float:
        """Half its width."""
        return (self.high - self.low) / 2

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return float(self.reach / stats.t.ppf(0.975, self.n - 1))

    @property
    def p_value(self) -> float:
        """How often chance alone gives a mean this far from zero: the two-sided t test."""
        if self.error == 0:  # all units agree
            return float(self.mean == 0)
        return float(2 * stats.t.sf(abs(self.mean) / self.error, self.n - 1))

    def lies_within(self, size: float) -> bool:
        """Whether two one-sided tests at 5 % put the true mean within ± size.

        That is so where the 90 % interval lies there (Schuirmann 1987).
        """
        reach = stats.t.ppf(0.95, self.n - 1) * self.error
        return bool(abs(self.mean) + reach < size)


def matters(group: str) -> float:
    """The smallest difference that matters over "all" classes, or in a group, as a fraction."""
    return MATTERS.get(group, MATTERS_IN_A_GROUP)


def paired(first: pd.DataFrame | pd.Series, second: pd.DataFrame | pd.Series) -> Any:
    """First minus second, run by run: same split, class order and seed; others are left out."""
    return (first - second).dropna(how="all")


def units(values: Columns) -> Columns:
    """One line per independent unit of values that are indexed by draw, mirrored and seed.

    Two runs whose class orders mirror each other share their images, and what is due to easy
    classes cancels only in their mean: they are one unit. A run without its mirror is left out.
    Pairs come in the order of their draws.
    """
    if not values.index.get_level_values("mirrored").any():
        return values
    halves = values.groupby(level=["draw", "mirrored"]).mean()
    whole = halves.groupby(level="draw").transform("count") == 2
    pairs = halves[whole].groupby(level="draw").mean().dropna(how="all")
    return pairs.sort_index(key=_in_order)


def unmirrored(values: pd.Series | pd.DataFrame) -> int:
    """How many runs of values that are indexed by draw, mirrored and seed are in none of the units.

    They are those whose mirror is missing.
    """
    if not values.index.get_level_values("mirrored").any():
        return 0
    halves = values.index.to_frame(index=False).groupby("draw")["mirrored"]
    return int((halves.transform("nunique") < 2).sum())


def _in_order(draws: pd.Index) -> pd.Index:
    """Keys that sort names of draws as numbers where they are some: 2 comes before 10."""
    return draws.map(lambda draw: draw.zfill(9) if draw.isdecimal() else draw)


def interval(values: pd.Series | np.ndarray | Sequence[float]) -> Interval:
    """Mean and 95 % interval; a Series indexed as by `by_run` is taken unit by unit.

    NaN, of a group that was not tested in a run, is no value. A mean that only rounding keeps from
    zero is zero.
    """
    unit = "value"
    if isinstance(values, pd.Series) and "mirrored" in values.index.names:
        mirrored = values.index.get_level_values("mirrored").any()
        unit, values = ("mirrored pair" if mirrored else "seed"), units(values)
    given = np.asarray(values, float)
    given = given[~np.isnan(given)]
    n, mean = len(given), float(given.mean()) if len(given) else float("nan")
    mean = 0.0 if abs(mean) < ROUNDING else mean
    if n < 2:
        return Interval(mean, float("nan"), float("nan"), n, unit)
    reach = stats.t.ppf(0.975, n - 1) * given.std(ddof=1) / np.sqrt(n)
    return Interval(mean, float(mean - reach), float(mean + reach), n, unit)


def verdict(found: Interval, size: float | None = None) -> str:
    """What an interval says about a difference, in words.

    Args:
        found: of the difference.
        size: the smallest one that matters, in the units of the interval; None: nobody has said.

    Returns:
        "above zero" or "below zero", where the interval leaves zero out; "no difference that
        matters", where the 90 % interval lies within ± size; else "no clear difference": the
        question is open. One unit has no interval, and its words say so.
    """
    if np.isnan(found.low):
        return f"{count([found])}: no interval"
    if found.low > 0:
        return ABOVE
    if found.high < 0:
        return BELOW
    if size is not None and found.lies_within(size):
        return NONE_THAT_MATTERS
    return OPEN


def holm(
    p_values: Sequence[float] | np.ndarray | pd.Series, planned: int | None = None
) -> np.ndarray:
    """Holm's correction (1979): p-values [M] as if each had been the only one looked at.

    Where those below 0.05 are called a difference, the chance that any of M is called so wrongly is
    5 % at most. NaN, of what was not tested, stays and counts for nothing.

    Args:
        p_values: of what is tested so far.
        planned: how many will be tested in all, so that no answer changes when the others come;
            what is not tested yet is taken for larger than all of these.
    """
    given = np.asarray(p_values, float)
    tested = np.flatnonzero(~np.isnan(given))
    smallest_first = tested[given[tested].argsort(kind="stable")]
    # How many are not yet rejected, itself included.
    left = (planned or len(tested)) - np.arange(len(tested))
    raised = np.maximum.accumulate(given[smallest_first] * left)
    corrected = given.copy()
    corrected[smallest_first] = raised.clip(max=1)
    return corrected


def smallest_difference(sd: float, n: int, power: float = 0.8, level: float = 0.95) -> float:
    """The true mean difference that an interval of n units leaves zero out for, this often.

    Args:
        sd: standard deviation of the paired differences, one value a unit.
        n: units, at least 2.
        power: how often it is found when it is there.
        level: how often such an interval holds the true mean.
    """
    return _smallest_in_errors(n, power, level) * sd / float(np.sqrt(n))


@cache
def _smallest_in_errors(n: int, power: float, level: float) -> float:
    """The same in standard errors of the mean."""
    edge = stats.t.ppf((1 + level) / 2, n - 1)
    middles = (np.arange(5000) + 0.5) / 5000
    errors = np.sqrt(stats.chi2.ppf(middles, n - 1) / (n - 1))  # estimated sd over the true one

    def missing(size: float) -> float:
        found = stats.norm.sf(edge * errors - size) + stats.norm.cdf(-edge * errors - size)
        return found.mean() - power

    return float(optimize.brentq(missing, 1e-6, 20 * edge))


def _counts() -> Iterator[int]:
    """Numbers of units to choose from: each up to 50, then in steps of a tenth."""
    n = 2
    while True:
        yield n
        n += 1 if n < 50 else n // 10


COUNTS = list(itertools.takewhile(lambda n: n < 1_000_000, _counts()))


def units_needed(sd: float, size: float, power: float = 0.8, level: float = 0.95) -> int:
    """About how many units it takes to find a true mean difference of this size, this often.

    Args:
        sd: standard deviation of the paired differences, one value a unit.
        size: the difference, in the units of `sd`.
        power: how often it is found when it is there.
        level: how often such an interval holds the true mean.
    """

    def is_enough(n: int) -> bool:
        return smallest_difference(sd, n, power, level) <= size

    place = bisect.bisect_left(COUNTS, True, key=is_enough)
    return COUNTS[min(place, len(COUNTS) - 1)]


def further_units(found: Interval, size: float) -> int:
    """About how many units more give an open comparison an answer in at least 80 % of all cases.

    It is taken that the true difference is the mean so far, and that the spread stays. The answer
    that needs fewer units counts: a difference, or none that matters.

    Args:
        found: of the difference, of two units or more.
        size: the smallest difference that matters.
    """
    sd = found.error * float(np.sqrt(found.n))
    mean = abs(found.mean)
    needed = units_needed(sd, mean)
    if mean < size:  # each of the two one-sided tests in 90 %, so both in 80 % or more
        needed = min(needed, units_needed(sd, size - mean, power=0.9, level=0.9))
    return max(needed - found.n, 1)


def compare(
    runs: pd.DataFrame,
    pairs: Iterable[tuple[str, str]],
    labels: Mapping[str, str] | None = None,
    groups: Sequence[str] = COMPARED,
) -> pd.DataFrame:
    """Paired differences of the pairs that are there, each group with interval and verdict.

    Args:
        runs: what `by_run` gave; its first level is the names.
        pairs: (first, second) is first minus second.
        labels: what the column "difference" calls each name.
        groups: columns to compare.

    Returns:
        One row per pair and group: first, second, difference, group, mean, low, high, n, unit,
        runs (how many were paired), draws (how many splits they are of), unmirrored (how many are
        in no unit, since their mirror is missing), verdict, each (value of every run, in percent,
        as text), p, corrected (the same by Holm's rule over all rows), small (no difference that
        matters is left, whatever the verdict), further (units that would answer it, 0 where it is
        not open).
    """
    labels, rows = labels or {}, []
    found = runs.index.unique(0)
    for first, second in (pair for pair in pairs if set(pair) <= set(found)):
        apart = paired(runs.xs(first), runs.xs(second))
        draws = apart.index.get_level_values("draw").nunique()
        about = {"first": first, "second": second, "runs": len(apart), "draws": draws}
        about["unmirrored"] = unmirrored(apart)
        about["difference"] = f"{labels.get(first, first)} minus {labels.get(second, second)}"
        for group in groups if len(apart) else ():
            here = interval(apart[group])
            says = {"each": each(apart[group]), **_answer(here, matters(group))}
            rows.append({**about, "group": group, **here._asdict(), **says})
    table = pd.DataFrame(rows)
    return table.assign(corrected=holm(table["p"])) if rows else table


def _answer(found: Interval, size: float) -> dict[str, Any]:
    """The columns of `compare` that answer a question."""
    says = verdict(found, size)
    return {
        "verdict": says,
        "p": found.p_value,
        "small": found.lies_within(size),
        "further": further_units(found, size) if says == OPEN else 0,
    }


def rank_correlation(
    first: np.ndarray, second: np.ndarray, draws: int = 200, seed: int = 0
) -> tuple[float, float, float]:
    """Spearman's rank correlation over samples, and the ends of its 95 % interval.

    Args:
        first: [N], one value a sample.
        second: [N], or [K, N] of K runs, whose correlations are averaged.
        draws: bootstrap samples; the interval is that of their percentiles.
        seed: draws them.
    """
    runs = np.atleast_2d(second)
    every = np.arange(len(first))[None]
    drawn = np.random.default_rng(seed).integers(0, len(first), (draws, len(first)))
    value = _mean_correlation(first, runs, every)[0]
    low, high = np.percentile(_mean_correlation(first, runs, drawn), [2.5, 97.5])
    return float(value), float(low), float(high)


def _mean_correlation(first: np.ndarray, runs: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Mean over runs [K, N] of the correlation with `first` [N], for each line of index [D, N]."""
    own = _standard_ranks(first[index])  # [D, N]
    parts = [(own * _standard_ranks(run[index])).mean(axis=1) for run in runs]
    mean: np.ndarray = np.mean(parts, axis=0)
    return mean


def _standard_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the lines, ties averaged, with mean 0 and variance 1."""
    ranks = stats.rankdata(values, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    standard: np.ndarray = ranks / ranks.std(axis=1, keepdims=True)
    return standard


def is_wide(row: Mapping[Any, Any] | pd.Series) -> bool:
    """Whether a row of `compare` is open and so wide that it is no result."""
    return bool(row["verdict"] == OPEN and row["high"] - row["low"] > 2 * WIDEST)


# --- numbers as text ---------------------------------------------------------------------------


def spread(values: pd.Series | np.ndarray, scale: float = 100, digits: int = 1) -> str:
    """Mean ± standard deviation (ddof 1) over runs, in percent unless scaled otherwise.

    NaN, of a group that was not tested in a run, is no value; of no value there is no text.
    """
    values = scale * np.asarray(values, float)
    values = values[~np.isnan(values)]
    if not len(values):
        return ""
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {values.std(ddof=1):.{digits}f}"


def each(values: pd.Series | np.ndarray, scale: float = 100, digits: int = 1) -> str:
    """The value of every run."""
    return ", ".join(f"{scale * v:.{digits}f}" for v in values)


def ends(
    found: Interval | Mapping[str, float] | pd.Series, scale: float = 100, digits: int = 1
) -> str:
    """Mean and ends of an interval, in points: "1.2 (-0.3 to 2.7)"; of no unit "none yet"."""
    if isinstance(found, Interval):
        found = found._asdict()
    mean, low, high = found["mean"], found["low"], found["high"]
    if np.isnan(mean):
        return "none yet"
    text = f"{scale * mean:+.{digits}f}"
    if np.isnan(low):
        return text
    return f"{text} ({scale * low:+.{digits}f} to {scale * high:+.{digits}f})"


def count(found: Sequence[Interval] | pd.DataFrame) -> str:
    """Units of one or several intervals: "2 mirrored pairs", "1 to 3 seeds"."""
    table = pd.DataFrame(found)
    least, most = table["n"].min(), table["n"].max()
    number = f"{most}" if least == most else f"{least} to {most}"
    return f"{number} {table['unit'].iloc[0]}{'s' if most != 1 else ''}"
