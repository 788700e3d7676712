"""What a lesson shows of recorded rows: a table, one finding in plain words, the rest folded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from .statistics import ABOVE, BELOW, NONE_THAT_MATTERS, count, is_wide
from .study import Study
from .tables import (
    bullets,
    by_block,
    comparisons,
    lines_of,
    markdown,
    name_of_block,
    readings,
    results,
)

WORDS = {ABOVE: "higher", BELOW: "lower"}
INTERVALS = (
    "How to read an interval: it says where the true difference may well lie; an interval that "
    "holds zero leaves open which of the two is better. Lesson 01 says what it is, and lesson 08 "
    "how many runs make it narrow."
)


def show(*texts: str) -> None:
    """Display Markdown in a notebook; each text is a paragraph of its own."""
    display(Markdown("\n\n".join(texts)))


def show_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Display a table in a notebook."""
    show(markdown(header, rows))


def show_frame(frame: pd.DataFrame) -> None:
    """Display a table of pandas without its index, which has no header; what is absent is empty."""
    told = frame.astype(object).where(frame.notna(), "")
    show_table([str(name) for name in frame.columns], told.astype(str).to_numpy().tolist())


def folded(summary: str, text: str) -> str:
    """Text that a reader opens with a click."""
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


def finding(table: pd.DataFrame) -> str:
    """What a table from `compare` says, in plain words: a sentence a pair, all classes first."""
    said = []
    for name, part in table.groupby("difference", sort=False):
        rows = {row["group"]: row for _, row in part.iterrows()}
        words = [_in_words(rows.pop("all"))] if "all" in rows else []
        for group, row in rows.items():
            if row["verdict"] in WORDS:
                words.append(f"on the {group} classes {_in_words(row)}")
        said.append(f"{name}: {'; '.join(words) or 'no group shows a clear difference'}.")
    return "**Finding, over all classes.** " + " ".join(said)


def _in_words(row: pd.Series) -> str:
    """One comparison in plain words."""
    if np.isnan(row["low"]):
        return f"{count(row.to_frame().T)} only, so nothing can be said"
    low, high, mean = (100 * row[end] for end in ("low", "high", "mean"))
    between = f"between {low:+.1f} and {high:+.1f} points"
    if row["verdict"] in WORDS:
        return f"{WORDS[row['verdict']]} by {abs(mean):.1f} points ({between})"
    if row["verdict"] == NONE_THAT_MATTERS:
        return f"no difference that matters ({between})"
    if is_wide(row):
        return "open; the runs scatter too much to say anything"
    return f"no clear difference ({between})"


def show_comparison(table: pd.DataFrame, title: str = "first minus second, points") -> None:
    """Display a table from `compare`, its finding, and folded what it says group by group."""
    if table.empty:
        show("No two of the compared runs are here yet.")
        return
    show(_comparison(table, title), INTERVALS)


def _comparison(table: pd.DataFrame, title: str) -> str:
    seen = folded("What we see, group by group", bullets(readings(table)))
    return "\n\n".join([markdown(*lines_of(table, title)), finding(table), seen])


def show_study(study: Study, **only: str) -> None:
    """Display the results of a study, and its paired differences block by block.

    Args:
        study: as `study.read` gives it.
        only: protocol, shots or other columns of the rows, with the value to show.
    """
    texts = [results(study, **only)]
    found = comparisons(study, **only)
    if found.empty:
        show(*texts, "No two of the compared runs are here yet.")
        return
    several = found["protocol"].nunique() > 1
    for (section, protocol, shots), part in by_block(found):
        named = name_of_block(section, protocol if several else "", shots)
        texts.append(_comparison(part, f"first minus second, {named}, points"))
    show(*texts, INTERVALS)
