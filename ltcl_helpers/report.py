"""What recorded rows say: tables, paired differences, intervals, and verdicts in words.

No result is typed by hand, and no folder's name is read: what a run is comes from its config.json.

    rows = report.load_rows("shapes-methods", shots="100")   # rows with their whole configuration
    runs = report.by_run(rows)              # mean over the lists: a line a run, a column a group
    apart = report.paired(runs.xs("bcl-i"), runs.xs("simclr"))   # run by run, same split and seed
    report.interval(apart["few"])           # mean, low, high, n, unit: a mirrored pair is ONE unit
    report.verdict(report.interval(apart["few"]))   # "above zero", ..., "not told from zero"
    report.compare(runs, [("bcl-i", "simclr")])     # all of that for pairs and groups, as a table
    report.comparison(table)                # the same as Markdown with its verdicts in sentences
    report.load_signal("shapes-simclr")     # AUROC of the momentum loss by run and epoch
    report.caution(rows)                    # what in these runs is not the published recipe

A line of runs is found by (draw, mirrored, seed): draw is the seed of a drawn split, or the name of
a list. Values are fractions until they are printed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, stats

from . import splits
from .rows import (
    RESULTS,
    WHO,
    by_run,
    caution,
    controlled,
    folders,
    group_auroc,
    group_counts,
    last_signal,
    load_rows,
    load_signal,
    place,
    read_config,
)

__all__ = [  # what lessons take from here, rows included
    "COMPARED", "RESULTS", "SHOWN", "WHO", "Interval", "by_run", "caution", "compare",
    "comparison", "controlled", "count", "each", "ends", "folders", "group_auroc", "group_counts",
    "interval", "last_signal", "lines_of", "load_rows", "load_signal", "markdown", "paired",
    "place", "probe_table", "read_config", "readings", "regenerate", "smallest_difference",
    "spread", "units", "verdict",
]  # fmt: skip
SHOWN = (*splits.GROUPS, "std", "all")
COMPARED = (*splits.GROUPS, "all")


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


def units(values: pd.Series | pd.DataFrame) -> pd.Series | pd.DataFrame:
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
    return (
        "above zero" if found.low > 0 else "below zero" if found.high < 0 else "not told from zero"
    )


def smallest_difference(sd: float, n: int, power: float = 0.8, level: float = 0.95) -> float:
    """The true mean difference that an interval of n units leaves zero out for, this often.

    Args:
        sd: standard deviation of the paired differences, one value a unit.
        n: units, at least 2.
        power: how often it is found when it is there.
        level: of the interval.
    """
    edge = stats.t.ppf((1 + level) / 2, n - 1)
    middles = (np.arange(5000) + 0.5) / 5000
    errors = np.sqrt(stats.chi2.ppf(middles, n - 1) / (n - 1))  # estimated sd over the true one

    def missing(size: float) -> float:
        found = stats.norm.sf(edge * errors - size) + stats.norm.cdf(-edge * errors - size)
        return found.mean() - power

    return float(optimize.brentq(missing, 1e-6, 20 * edge) * sd / np.sqrt(n))


def compare(
    runs: pd.DataFrame,
    pairs: Iterable[tuple[str, str]],
    labels: Mapping[str, str] | None = None,
    groups: Sequence[str] = COMPARED,
) -> pd.DataFrame:
    """Paired differences of the pairs that are there, each group with interval and verdict.

    Args:
        runs: from `by_run`, first level: names.
        pairs: (first, second) is first minus second.
        labels: of the names, for the column "difference".
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


# --- words and tables -----------------------------------------------------------------------


def spread(values: pd.Series | np.ndarray, scale: float = 100, digits: int = 1) -> str:
    """Mean ± standard deviation (ddof 1) over runs, in percent unless scaled otherwise."""
    values = scale * np.asarray(values, float)
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {values.std(ddof=1):.{digits}f}"


def each(values: pd.Series | np.ndarray, scale: float = 100, digits: int = 1) -> str:
    """The value of every run."""
    return ", ".join(f"{scale * v:.{digits}f}" for v in values)


def ends(found: Interval | Mapping[str, float], scale: float = 100, digits: int = 1) -> str:
    """Mean and ends of an interval, in points: "1.2 (-0.3 to 2.7)"."""
    mean, low, high = (
        found[:3] if isinstance(found, Interval) else (found["mean"], found["low"], found["high"])
    )
    text = f"{scale * mean:+.{digits}f}"
    if np.isnan(low):
        return text
    return f"{text} ({scale * low:+.{digits}f} to {scale * high:+.{digits}f})"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows])


def comparison(table: pd.DataFrame, title: str = "first minus second, points") -> str:
    """A table from `compare` as Markdown, and below it what it says: all groups, both signs."""
    if table.empty:
        return "No two of the compared runs are here yet."
    head, body = lines_of(table, title)
    return f"{markdown(head, body)}\n\n" + "\n".join(f"* {line}" for line in readings(table))


def lines_of(table: pd.DataFrame, title: str) -> tuple[list[str], list[list[str]]]:
    """Header and lines of a table from `compare`; what is told from zero is **bold**."""
    groups = list(table["group"].unique())
    body = []
    for name, part in table.groupby("difference", sort=False):
        cells = part.set_index("group")
        shown = [_bold(cells.loc[g]) if g in cells.index else "" for g in groups]
        body.append([name, count(cells.iloc[0]), *shown])
    return [title, "n", *groups], body


def _bold(row: pd.Series) -> str:
    told = row["verdict"] in ("above zero", "below zero")
    return f"**{ends(row)}**" if told else ends(row)


def count(row: pd.Series) -> str:
    """Units of a comparison: "2 mirrored pairs"."""
    n = int(row["n"])
    return f"{n} {row['unit']}{'s' if n != 1 else ''}"


def readings(table: pd.DataFrame) -> list[str]:
    """What a table from `compare` says, in sentences: every pair, every group, both signs."""
    lines = []
    for says in ("above zero", "below zero"):
        part = table[table["verdict"] == says].groupby("difference", sort=False)["group"]
        named = "; ".join(f"{name} ({', '.join(found)})" for name, found in part)
        lines.append(f"Told from zero, {says.split()[0]}: {named or 'none'}.")
    told = table.groupby("difference", sort=False)["verdict"].agg(set)
    open_ = [name for name, says in told.items() if says == {"not told from zero"}]
    lines.append(f"Not told from zero in any group: {'; '.join(open_) or 'none'}.")
    if alone := [name for name, says in told.items() if any("no interval" in s for s in says)]:
        lines.append(f"One unit, so no interval: {'; '.join(alone)}.")
    return [*lines, *_limits(table[~table["low"].isna()])]


def _limits(table: pd.DataFrame) -> list[str]:
    """What intervals of so few units cannot say."""
    if table.empty:
        return []
    reach = 100 * (table["high"] - table["low"]) / 2
    lines = [
        f"95 % intervals of the mean (Student's t); they reach {reach.min():.1f} to "
        f"{reach.max():.1f} points to each side. Of {len(table)} such intervals about "
        f"{0.05 * len(table):.1f} leave zero out by chance alone."
    ]
    if (table["n"] == 2).any():
        lines.append(
            f"Two units tell little: the interval of two reaches {stats.t.ppf(0.975, 1):.1f} "
            "standard errors to each side, so even a difference that all runs share may not be "
            "told from zero."
        )
    return lines


def probe_table(rows: pd.DataFrame) -> str:
    """Accuracies in percent by shots and group of one run, averaged over its lists, as Markdown."""
    means = rows.groupby(["shots", "group"], sort=False)["accuracy"].mean().unstack()
    lists = rows.groupby("shots", sort=False)["list"].nunique()
    shown = [group for group in (*SHOWN, "top5") if group in means]
    body = [[s, str(n), *(f"{100 * means.loc[s, g]:.1f}" for g in shown)] for s, n in lists.items()]
    return markdown(["shots", "lists", *shown], body)


def regenerate(page: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """The page with every generated table made anew by the function of its name."""

    def table(match: re.Match) -> str:
        name = match.group(1)
        return f"<!-- generated: {name} -->\n\n{tables[name]()}\n\n<!-- end -->"

    return re.sub(r"<!-- generated: (\S+) -->.*?<!-- end -->", table, page, flags=re.S)
