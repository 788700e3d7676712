"""The published table beside ours: every cell, and "not run" where we have no row."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..cautions import unpublished
from ..config import RunConfig
from ..paths import RESULTS
from ..probe.rows import read_rows
from ..recipes import RECIPES
from ..runs.run import Run
from .statistics import spread
from .tables import markdown, read_published

STUDY = "cifar100-paper"
TABLE = dict(data="cifar100", split="cifar100_split1_D_i", protocol="bcl", group="all")
SHOTS = ("full", "100", "50")
PAPER = RunConfig(preset="paper")
CONTROLS = (  # what nobody has published
    RunConfig(preset="paper", method="simclr", boost="shuffled"),
    RunConfig(preset="paper", method="sdclr", boost="shuffled"),
    RunConfig(preset="paper", method="sdclr", weight_decay=PAPER.weight_decay),
)
MEASURED = ("accuracy", "seconds", "device")


def reproduction_table(results: Path = RESULTS) -> str:
    """Published accuracy, ours, difference, n, seconds per epoch and device of every cell."""
    body, sources = _lines(results)
    head = ["method", "shots", "published", "ours", "difference", "n"]
    table = markdown([*head, "seconds per epoch", "device"], body)
    note = (
        "Top-1 accuracy in percent on the CIFAR-100 test set, all classes; split 1, 2,000 epochs, "
        'protocol "bcl"; ours: mean ± sd over n runs that differ in their seed. '
        f"{count_of_cells(results)} Published: `data/published.csv` "
        f"({', '.join(sources)}). Rows: `data/results/{STUDY}`."
    )
    return f"{table}\n\n{note}"


def count_of_cells(results: Path = RESULTS) -> str:
    """How much of the published table there is, in a sentence."""
    body, _ = _lines(results)
    done = sum("not run" not in line for line in body)
    return f"{done} of {len(body)} cells are run."


def _lines(results: Path) -> tuple[list[list[str]], list[str]]:
    """The lines of the table, a cell each, and the sources of what is published."""
    ours = pd.DataFrame(_cells(results / STUDY), columns=["name", "shots", *MEASURED])
    theirs = read_published()
    for column, value in TABLE.items():
        theirs = theirs[theirs[column] == value]
    sources = list(theirs["source"].unique())
    known = theirs.set_index(["method", "shots"])["accuracy"]
    rows = {name: recipe.label for name, recipe in RECIPES.items() if name in known.index}
    rows |= {config.name: config.label for config in CONTROLS}
    body = []
    for name, label in rows.items():
        for shots in SHOTS:
            cell = ours[(ours["name"] == name) & (ours["shots"] == shots)]
            body.append([label, shots, *_line(known.get((name, shots)), cell)])
    return body, sources


def _cells(study: Path) -> list[tuple]:
    """One value per run of the published recipe on split 1, shots: the mean over the lists."""
    cells = []
    wanted = {config.name: unpublished(config) for config in CONTROLS}  # e.g. another weight decay
    for folder in sorted(path.parent for path in study.glob("*/DONE.json")):
        run = Run.load(folder)
        is_published = unpublished(run.config) == wanted.get(run.config.name, {})
        if not is_published or Path(run.config.split).stem != TABLE["split"]:
            continue
        rows = read_rows(folder, run.done)
        if rows is None:
            continue
        kept = (rows["protocol"] == TABLE["protocol"]) & (rows["group"] == TABLE["group"])
        kept &= rows["method"] == run.config.method  # not of pixels, or the pruned branch
        kept &= (rows["list_source"] == "published") & (rows["test"] == rows["data"])
        means = rows[kept].groupby("shots")["accuracy"].mean()
        device = " then ".join(dict.fromkeys(str(m["device"]) for m in run.done["machines"]))
        measured = (run.history["seconds"].median(), device)
        cells += [(run.config.name, shots, mean, *measured) for shots, mean in means.items()]
    return cells


def _line(published: float | None, cell: pd.DataFrame) -> list[str]:
    """The columns from "published" on."""
    told = "none" if published is None else f"{100 * published:.1f}"
    if cell.empty:
        return [told, "not run", "", "0", "", ""]
    apart = "" if published is None else f"{100 * (cell['accuracy'].mean() - published):+.1f}"
    devices = "; ".join(sorted(set(cell["device"])))
    seconds = f"{cell['seconds'].median():.2f}"
    return [told, spread(cell["accuracy"]), apart, str(len(cell)), seconds, devices]
