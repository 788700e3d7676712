"""What rows say in numbers: paired differences, intervals, verdicts; and numbers as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from scipy import optimize, stats

from ..data import splits

SHOWN = (*splits.GROUPS, "std", "all")
COMPARED = (*splits.GROUPS, "all")
Columns = TypeVar("Columns", pd.Series, pd.DataFrame)  # one, or several side by side


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


def paired(first: pd.DataFrame | pd.Series, second: pd.DataFrame | pd.Series) -> Any:
    """First minus second, run by run: same split, class order and seed; others are left out."""
    return (first - second).dropna(how="all")


def units(values: Columns) -> Columns:
    """One line per independent unit of values that are indexed by draw, mirrored and seed.

    Two runs whose class orders mirror each other share their images, and what is due to easy
    classes cancels only in their mean: they are one unit. A run without its mirror is left out.
    """
    if not values.index.get_level_values("mirrored").any():
        return values
    halves = values.groupby(level=["draw", "mirrored"]).mean()
    whole = halves.groupby(level="draw").transform("count") == 2
    return halves[whole].groupby(level="draw").mean().dropna(how="all")


def interval(values: pd.Series | np.ndarray | Sequence[float], level: float = 0.95) -> Interval:
    """Mean and Student's t interval; a Series indexed as by `by_run` is taken unit by unit."""
    unit = "value"
    if isinstance(values, pd.Series) and "mirrored" in values.index.names:
        mirrored = values.index.get_level_values("mirrored").any()
        unit, values = ("mirrored pair" if mirrored else "seed"), units(values)
    values = np.asarray(values, float)
    n, mean = len(values), float(values.mean()) if len(values) else float("nan")
    if n < 2:
        return Interval(mean, float("nan"), float("nan"), n, unit)
    reach = stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return Interval(mean, float(mean - reach), float(mean + reach), n, unit)


def verdict(found: Interval) -> str:
    """Above zero, below zero, not told from zero; or that one unit has no interval."""
    if np.isnan(found.low):
        return f"{found.n} {found.unit}: no interval"
    if found.low > 0:
        return "above zero"
    if found.high < 0:
        return "below zero"
    return "not told from zero"


def smallest_difference(sd: float, n: int, power: float = 0.8, level: float = 0.95) -> float:
    """The true mean difference that an interval of n units leaves zero out for, this often.

    Args:
        sd: standard deviation of the paired differences, one value a unit.
        n: units, at least 2.
        power: how often it is found when it is there.
        level: how often such an interval holds the true mean.
    """
    edge = stats.t.ppf((1 + level) / 2, n - 1)
    middles = (np.arange(5000) + 0.5) / 5000
    errors = np.sqrt(stats.chi2.ppf(middles, n - 1) / (n - 1))  # estimated sd over the true one

    def missing(size: float) -> float:
        found = stats.norm.sf(edge * errors - size) + stats.norm.cdf(-edge * errors - size)
        return found.mean() - power

    return float(optimize.brentq(missing, 1e-6, 20 * edge) * sd / np.sqrt(n))


def units_needed(sd: float, size: float, power: float = 0.8, level: float = 0.95) -> int:
    """How many units it takes to find a true mean difference of this size, this often.

    Args:
        sd: standard deviation of the paired differences, one value a unit.
        size: the difference, in the units of `sd`.
        power: how often it is found when it is there.
        level: how often such an interval holds the true mean.
    """
    n = 2
    while smallest_difference(sd, n, power, level) > size:
        n += 1 if n < 50 else n // 10
    return n


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
        runs (how many were paired), verdict, each (value of every run, in percent, as text).
    """
    labels, rows = labels or {}, []
    found = runs.index.unique(0)
    for first, second in (pair for pair in pairs if set(pair) <= set(found)):
        apart = paired(runs.xs(first), runs.xs(second))
        about = {"first": first, "second": second, "runs": len(apart)}
        about["difference"] = f"{labels.get(first, first)} minus {labels.get(second, second)}"
        for group in groups if len(apart) else ():
            here = interval(apart[group])
            says = {"verdict": verdict(here), "each": each(apart[group])}
            rows.append({**about, "group": group, **here._asdict(), **says})
    return pd.DataFrame(rows)


# --- numbers as text ---------------------------------------------------------------------------


def spread(values: pd.Series | np.ndarray, scale: float = 100, digits: int = 1) -> str:
    """Mean ± standard deviation (ddof 1) over runs, in percent unless scaled otherwise."""
    values = scale * np.asarray(values, float)
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {values.std(ddof=1):.{digits}f}"


def each(values: pd.Series | np.ndarray, scale: float = 100, digits: int = 1) -> str:
    """The value of every run."""
    return ", ".join(f"{scale * v:.{digits}f}" for v in values)


def ends(
    found: Interval | Mapping[str, float] | pd.Series, scale: float = 100, digits: int = 1
) -> str:
    """Mean and ends of an interval, in points: "1.2 (-0.3 to 2.7)"."""
    if isinstance(found, Interval):
        found = found._asdict()
    mean, low, high = found["mean"], found["low"], found["high"]
    text = f"{scale * mean:+.{digits}f}"
    if np.isnan(low):
        return text
    return f"{text} ({scale * low:+.{digits}f} to {scale * high:+.{digits}f})"


def count(row: pd.Series) -> str:
    """Units of a comparison: "2 mirrored pairs"."""
    n = int(row["n"])
    return f"{n} {row['unit']}{'s' if n != 1 else ''}"
