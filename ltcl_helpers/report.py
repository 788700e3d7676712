"""Tables from recorded rows: no result in them is typed by hand.

A generated table stands between `<!-- generated: NAME -->` and `<!-- end -->`; `make figures`
writes it again from data/results, and a test compares.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from . import splits, store
from .datasets import DATA

RESULTS = DATA / "results"
SHOWN = (*splits.GROUPS, "std", "all")
CONTROLS = {"bcl-i": "simclr-shuffled", "bcl-d": "sdclr-shuffled"}  # a boosted method: its control


def load_rows(study: str) -> pd.DataFrame:
    """Probe rows of every recorded run of a study, each file checked against its DONE.json.

    Beside the columns of probe.parquet: `run` (folder name), `machine`, `torch`, `seconds` (median
    of an epoch).
    """
    tables = []
    for folder in sorted((RESULTS / study).glob("*/")):
        machine = store.verify(folder)["machines"][0]
        history = store.read_parquet(folder / "history.parquet")
        about = f"{machine['device']}, threads: {machine['threads']}, {machine['precision']}"
        columns = {"run": folder.name, "machine": about, "torch": machine["torch"]}
        rows = store.read_parquet(folder / "probe.parquet")
        if "test" in rows:  # probes on another test set are not this study's
            rows = rows[rows["test"] == rows["data"]]
        tables.append(rows.assign(**columns, seconds=history["seconds"].median()))
    if not tables:
        raise store.DamagedFile(f"{RESULTS / study} holds no recorded run; `ltcl record` adds one")
    return pd.concat(tables, ignore_index=True)


def group_auroc(folder: Path) -> float:
    """AUROC of a run's last momentum loss for "this image is of a few class"; 0.5 is chance."""
    arrays = store.read_npz(folder / "memory.npz")
    few = np.isin(arrays["labels"], splits.groups(arrays["group_counts"])["few"])
    return float(roc_auc_score(few, arrays["momentum_loss"][-1].astype(np.float32)))


def spread(values: pd.Series | np.ndarray, scale: float = 100, digits: int = 1) -> str:
    """Mean ± standard deviation (ddof 1) over runs, in percent unless scaled otherwise."""
    values = scale * np.asarray(values, float)
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {values.std(ddof=1):.{digits}f}"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows])


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


def controlled(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs`, with a level "name", without the boosted methods that have no shuffled control."""
    found = set(runs.index.get_level_values("name"))
    alone = [name for name, control in CONTROLS.items() if control not in found]
    return runs.drop(alone, level="name", errors="ignore")
