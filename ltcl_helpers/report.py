"""Tables and figures from recorded rows: nothing in README or docs is typed by hand.

A generated table stands between `<!-- generated: NAME -->` and `<!-- end -->`; `make figures`
writes it again from data/results, and a test compares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from . import splits, store
from .datasets import DATA

RESULTS, REPOSITORY = DATA / "results", DATA.parent
PAGES = ("README.md", "docs/*.md")
SHOWN = ("many", "medium", "few", "std", "all")


def load_rows(study: str) -> pd.DataFrame:
    """Probe rows of every recorded run of a study, each file checked against its DONE.json.

    Beside the columns of probe.parquet: `run` (folder name), `machine`, `seconds` (per epoch).
    """
    tables = []
    for folder in sorted((RESULTS / study).glob("*/")):
        done = store.verify(folder)
        machine = done["machines"][0]
        history = store.read_parquet(folder / "history.parquet")
        about = f"{machine['device']}, {machine['threads']} threads, {machine['precision']}"
        rows = store.read_parquet(folder / "probe.parquet")
        tables.append(
            rows.assign(
                run=folder.name, machine=about, torch=machine["torch"],
                seconds=history["seconds"].median(),
            )
        )  # fmt: skip
    if not tables:
        raise store.DamagedFile(f"{RESULTS / study} holds no recorded run; `ltcl record` adds one")
    return pd.concat(tables, ignore_index=True)


def group_auroc(folder: Path) -> float:
    """AUROC of the last momentum loss for "this image is of a few class"; 0.5 is chance."""
    arrays = store.read_npz(folder / "memory.npz")
    few = np.isin(arrays["labels"], splits.groups(arrays["group_counts"])["few"])
    return float(roc_auc_score(few, arrays["momentum_loss"][-1].astype(np.float32)))


def spread(values: pd.Series | np.ndarray, scale: float = 100) -> str:
    """Mean ± sd (ddof 1) over runs, in percent; one run has no sd."""
    values = scale * np.asarray(values, float)
    text = f"{values.mean():.1f}" if scale == 100 else f"{values.mean():.3f}"
    digits = 1 if scale == 100 else 3
    return text if len(values) < 2 else f"{text} ± {values.std(ddof=1):.{digits}f}"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def probe_table(rows: pd.DataFrame) -> str:
    """Accuracies by shots and group of one run, averaged over its lists, as Markdown."""
    means = rows.groupby(["shots", "group"], sort=False)["accuracy"].mean().unstack()
    lists = rows.groupby("shots", sort=False)["list"].nunique()
    shown = [group for group in (*SHOWN, "top5") if group in means]
    body = [
        [str(s), str(lists[s]), *(f"{100 * means.loc[s, g]:.1f}" for g in shown)] for s in lists.index
    ]
    return markdown(["shots", "lists", *shown], body)


def quick_cifar100() -> str:
    """README's quick result on real images: SimCLR beside an untrained encoder and raw pixels."""
    rows = load_rows("cifar100-quick")
    rows = rows[rows["protocol"] == "bcl"]
    body = []
    for (method, epochs, shots), part in rows.groupby(["method", "epochs", "shots"], sort=False):
        runs = part.groupby(["run", "group"])["accuracy"].mean().unstack()
        name = {"simclr": "SimCLR, quick" if epochs else "untrained encoder", "pixels": "raw pixels"}
        body.append([name[method], shots, str(len(runs)), *(spread(runs[g]) for g in SHOWN)])
    sources = ", ".join(sorted(set(rows["list_source"])))
    note = (
        f"Quick result: {rows['split'].iloc[0]}, 30 epochs of a ResNet-10 of width 16, protocol "
        f'"bcl", lists {sources}, n = runs; {rows["machine"].iloc[0]}, torch '
        f"{rows['torch'].iloc[0]}. Rows: data/results/cifar100-quick."
    )
    return markdown(["features", "shots", "n", *SHOWN], body) + "\n\n" + note


def shapes_table() -> str:
    """Docs: what a quick run shows on the embedded data, and what it does not (six seeds)."""
    rows = load_rows("shapes-simclr")
    rows = rows[(rows["shots"] == "100") & (rows["protocol"] == "bcl")]
    mean = rows.groupby(["run", "method", "group"])["accuracy"].mean().unstack()
    pick = {
        name: mean.xs(method, level="method").filter(like=f"{kind}-", axis=0)
        for name, kind, method in (
            ("raw pixels", "untrained", "pixels"), ("untrained encoder", "untrained", "simclr"),
            ("SimCLR, balanced set", "balanced", "simclr"),
            ("SimCLR, long-tail set", "long-tail", "simclr"),
        )
    }  # fmt: skip
    tail, flat = (pick[f"SimCLR, {kind} set"].reset_index(drop=True) for kind in ("long-tail", "balanced"))
    difference = tail - flat
    difference["gap"] = difference["many"] - difference["few"]
    body = [[name, *(spread(table[g]) for g in SHOWN), _each(table["all"])] for name, table in pick.items()]
    body.append(["long-tail minus balanced", *(spread(difference[g]) for g in SHOWN), _each(difference["all"])])
    body.append(["paired many-few gap", "", "", "", "", spread(difference["gap"]), _each(difference["gap"])])
    for name, kind in (("long-tail", "long-tail"), ("balanced control", "balanced")):
        auroc = np.array([group_auroc(p) for p in sorted((RESULTS / "shapes-simclr").glob(f"{kind}-*"))])
        body.append([f"AUROC of the momentum loss for few, {name}", "", "", "", "", spread(auroc, 1), _each(auroc, 1)])
    return markdown(["100-shot accuracy, %", *SHOWN, '"all" (or the value) of each seed'], body)


def _each(values: pd.Series | np.ndarray, scale: float = 100) -> str:
    return ", ".join(f"{scale * v:.{1 if scale == 100 else 3}f}" for v in values)


TABLES: dict[str, Callable[[], str]] = {
    "quick-cifar100": quick_cifar100,
    "shapes": shapes_table,
}


def regenerate(page: str) -> str:
    """The page with every generated table made anew from its rows."""

    def table(match: re.Match) -> str:
        name = match.group(1)
        if name not in TABLES:
            raise KeyError(f"no table is called {name!r}; the tables are {', '.join(TABLES)}")
        return f"<!-- generated: {name} -->\n\n{TABLES[name]()}\n\n<!-- end -->"

    return re.sub(r"<!-- generated: (\S+) -->.*?<!-- end -->", table, page, flags=re.S)
