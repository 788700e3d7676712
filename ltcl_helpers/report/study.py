"""A study: the runs that a grid names, or a list of runs; what is there, and what is missing.

`study.read("experiments/cifar100-quick.yaml")` gives one; its `rows` are the probe rows of every
run that is there, with the row and label of the grid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import runs
from ..batch import grid
from ..batch.cell import wanted_probes
from ..cautions import in_words
from ..config import RunConfig
from ..data import splits
from ..errors import ConfigError
from ..paths import RESULTS
from .rows import by_run, controlled, folders, group_counts, load_rows, load_signal, place

OF_NETWORK = ("blocks", "width", "stem_stride", "network")  # parts of a recipe
BLOCK = ["section", "protocol", "shots"]  # what is the same in one table


@dataclasses.dataclass(frozen=True)
class Study:
    """Runs that are shown together."""

    title: str
    note: str
    rows: pd.DataFrame  # as `load_rows`, and: row, section ("30 epochs", or "")
    labels: dict[str, str]  # of the rows, in their order
    pairs: list[tuple[str, str]]  # rows that are compared: first minus second
    folders: list[Path]  # of the runs that are there
    missing: list[str]  # cells of the grid that are not, or lack a probe; or unfinished runs

    def blocks(self, **only: str) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
        """(section, rows, accuracies by run) of every section, protocol and shots."""
        rows = self.rows[self.rows["accuracy"].notna()]
        for column, value in only.items():
            rows = rows[rows[column] == value]
        for (section, *_), part in rows.groupby(BLOCK, sort=False):
            yield str(section), part, by_run(part, "row")

    def part(self, *rows: str) -> Study:
        """Some rows, in the order of the grid, and the pairs among them."""
        labels = {row: label for row, label in self.labels.items() if row in rows}
        pairs = [pair for pair in self.pairs if set(pair) <= labels.keys()]
        found = self.rows[self.rows["row"].isin(labels)]
        names = set(found["folder"])
        there = [folder for folder in self.folders if str(folder) in names]
        return dataclasses.replace(self, rows=found, labels=labels, pairs=pairs, folders=there)


def read(
    where: str | Path | Sequence[str | Path], out: Path | None = None, lists: str | None = None
) -> Study:
    """A grid with what is there of its runs, or a study of run folders.

    Args:
        where: one grid (.yaml), or run folders.
        out: the folder of the grid's runs, if it is not runs/STUDY, or data/results/STUDY.
        lists: the folder of the published lists, if it is not the grid's.
    """
    paths = [where] if isinstance(where, str | Path) else list(where)
    if len(paths) == 1 and str(paths[0]).endswith((".yaml", ".yml")):
        return _of_grid(grid.read(paths[0], {"lists": lists} if lists else None), out)
    return _of_runs(folders(paths), runs.unfinished(paths))


def _of_grid(plan: grid.Grid, out: Path | None) -> Study:
    base = RESULTS / plan.study if plan.record else Path("runs") / plan.study
    base = Path(out) if out else base
    there: dict[Path, grid.Cell] = {}
    missing = []
    for cell in plan.cells:
        folder = cell.folder(base)
        if not (folder / "DONE.json").exists() or not (folder / "probe.parquet").exists():
            missing.append(cell.name)
            continue
        runs.refuse_other(folder, cell.config, "--runs", elsewhere=True)
        there[folder] = cell
    if not there:
        raise ConfigError(
            f"{plan.path} has {len(missing)} cells, and none in {base} is done and probed; "
            f"next: ltcl batch {plan.path}"
        )
    rows, unprobed = _as_asked(there, load_rows(there))
    if rows.empty:
        raise ConfigError(
            f"{plan.path} asks for other probes than its {len(there)} runs have; "
            f"next: ltcl batch {plan.path}"
        )
    rows = _in_words_of(there, rows, plan.labels, section_axes(plan))
    labels = dict(zip(rows["row"], rows["label"], strict=True))
    order = [*[row for row in labels if row not in plan.labels], *plan.labels]
    labels = {row: labels[row] for row in order if row in labels}
    names = set(rows["folder"])
    shown = [folder for folder in there if str(folder) in names]
    return Study(plan.title, plan.note, rows, labels, plan.pairs, shown, missing + unprobed)


def _as_asked(there: dict[Path, grid.Cell], found: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The rows of the probes that the grid asks for, and the cells that lack one of these."""
    probe = ["folder", "features", "protocol", "shots"]
    wanted = {
        (str(folder), *asked)
        for folder, cell in there.items()
        for asked in wanted_probes(cell.probe)
    }
    keys = list(found[probe].itertuples(index=False, name=None))
    absent = {folder for folder, *_ in wanted.difference(keys)}
    unprobed = [cell.name for folder, cell in there.items() if str(folder) in absent]
    return found[[key in wanted for key in keys]].reset_index(drop=True), unprobed


def _in_words_of(
    there: dict[Path, grid.Cell], found: pd.DataFrame, labels: dict[str, str], axes: list[str]
) -> pd.DataFrame:
    """The rows with row and label of their cells, and a section by their place on these axes."""

    def of_cell(words: Callable[[grid.Cell], str]) -> pd.Series:
        return found["folder"].map({str(folder): words(cell) for folder, cell in there.items()})

    kind, row = found["features"], of_cell(lambda c: c.row)
    label = row.map(labels)
    encoder, pruned = kind == "encoder", kind == "pruned"
    return found.assign(
        row=kind.mask(encoder, row).mask(pruned, row + ", pruned"),
        label=found["label"].mask(encoder, label).mask(pruned, label + ", pruned branch"),
        section=of_cell(lambda c: ", ".join(_words(axis, c.axes[axis]) for axis in axes)),
    )


def section_axes(plan: grid.Grid) -> list[str]:
    """The axes of a grid that are no repetition: several of their values share split and seed."""
    found = []
    for axis in plan.axes:
        places: dict[tuple, list] = {}
        for cell in plan.cells:
            rest = (cell.row, *(str(v) for k, v in cell.axes.items() if k != axis))
            places.setdefault(rest, []).append(place(cell.config))
        share = all(len(set(each)) == 1 for each in places.values())
        if share and any(len(each) > 1 for each in places.values()):
            found.append(axis)
    return found


def _words(axis: str, value: object) -> str:
    return f"{value} epochs" if axis == "epochs" else f"{axis} {value}"


def _of_runs(there: list[Path], unfinished: Sequence[Path] = ()) -> Study:
    """Runs by their names; what a name does not say (data, length, split) makes a section."""
    rows = load_rows(there)
    balanced = rows["split"].map(splits.is_balanced)
    rows = rows.assign(
        row=rows["name"].where(~balanced, rows["name"] + "-balanced"),
        label=rows["label"].where(~balanced, rows["label"] + ", balanced set"),
    )
    trained = rows[rows["epochs"] > 0]
    parts = [rows["data"], rows["preset"] + " preset"]
    if (rows["test"] != rows["data"]).any():
        parts.append("tested on " + rows["test"])
    if trained["epochs"].nunique() > 1:
        parts.append(rows["epochs"].astype(str) + " epochs")
    parts += _by_split(rows)
    told: list[Any] = [part for part in parts if part.nunique() > 1]
    section = pd.Series("", index=rows.index) if not told else told[0].str.cat(told[1:], ", ")
    rows = rows.assign(section=section)
    apart = _told_apart(rows)
    rows = rows.assign(row=rows["row"] + apart, label=rows["label"] + apart)
    labels = grid.told_apart(dict(zip(rows["row"], rows["label"], strict=True)))
    rows = rows.assign(label=rows["row"].map(labels))
    title = there[0].name if len(there) == 1 else f"{len(there)} runs"
    missing = [f"{folder} (`ltcl run --resume {folder}` goes on with it)" for folder in unfinished]
    return Study(title, "", rows, labels, pairs_of(rows), there, missing)


def _told_apart(rows: pd.DataFrame) -> pd.Series:
    """What must be added to a row's name, where runs of one name differ in their recipe.

    Pixels went through no network, so nothing is said of theirs; of an untrained network its shape.
    """
    parts: dict[str, dict[str, str]] = {}
    for folder in rows["folder"].unique():
        config = runs.read_config(Path(folder))
        options = {name: f"{name} {value}" for name, value in config.options.items()}
        parts[folder] = in_words(config) | options
    words = rows["folder"].map(parts)
    apart = pd.Series("", index=rows.index)
    same = [rows["section"], rows["row"]]
    seen = rows["features"] != "pixels"
    for part in dict.fromkeys(name for known in parts.values() for name in known):
        word = words.map(lambda known: known.get(part, ""))  # noqa: B023
        has_several = word.groupby(same).transform("nunique") > 1
        applies = seen if part in OF_NETWORK else seen & (rows["epochs"] > 0)
        apart = apart.mask(has_several & applies & (word != ""), apart + ", " + word)
    return apart


def _by_split(rows: pd.DataFrame) -> list[pd.Series]:
    """What decides which images of its data a run had, beside its seed; and whom a group holds."""
    drawn = rows["split"].isin(set(splits.DRAWN) - {"all"})
    kinds = rows["split"].map({"all": "all images"}).fillna("listed sets").mask(drawn, "drawn sets")
    for name in ("imbalance", "largest_class"):
        if rows.loc[drawn, name].nunique(dropna=False) > 1:
            kinds = kinds.mask(drawn, kinds + f", {name} " + rows[name].astype(str))
    found = [kinds, "groups by " + rows["groups"]]
    alike = [rows["data"], rows["preset"]]  # these are said already
    return [part for part in found if (part.groupby(alike).nunique() > 1).any()]


def pairs_of(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """What is compared where no grid says it: boosted with plain and control, tail with balanced.

    Plain methods are compared with SimCLR.
    """
    there = rows[rows["features"] == "encoder"].drop_duplicates("row").set_index("row")["folder"]
    pairs: list[tuple[str, str]] = []
    for key, folder in there.items():
        row, config = str(key), runs.read_config(Path(folder))
        name = config.name + "-balanced" * splits.is_balanced(config.split)
        apart = row.removeprefix(name)  # what tells it from other runs of its name
        others = [other + apart for other in _partners(name, config)]
        pairs += [(row, other) for other in others if other in there.index]
    return pairs


def _partners(row: str, run: RunConfig) -> list[str]:
    """The rows that this one is compared with."""
    if run.epochs == 0 or row.endswith("-balanced"):
        return []
    plain = run.model_copy(update={"boost": "none", "boost_k": None}).name
    others = [plain, run.control] if run.boost != "none" else ["simclr"]
    return [name for name in (f"{row}-balanced", *others) if name and name != row]


def _of_encoders(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each run: one of its encoder, where there is one, whatever was probed first."""
    last = (rows["features"] != "encoder").sort_values(kind="stable").index
    return rows.loc[last].drop_duplicates("folder").sort_index()


def machines(study: Study) -> pd.DataFrame:
    """Time and device of every run: one line each."""
    runs = _of_encoders(study.rows)
    lines = {
        "run": runs["run"],
        "features": runs["label"],
        "epochs": runs["epochs"],
        "seconds an epoch": runs["seconds"].map(_seconds),
        "minutes": (runs["seconds"] * runs["epochs"] / 60).map(_seconds),
        "device": runs["machine"],
        "torch": runs["torch"],
    }
    return pd.DataFrame(lines)


def _seconds(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.1f}"


def signal(study: Study, last: bool = False) -> pd.DataFrame:
    """AUROC by run and epoch as by `load_signal`, with the study's rows and labels."""
    runs = _of_encoders(study.rows).set_index("folder")
    found = []
    for folder in study.folders:
        here = runs.loc[str(folder)]
        curve = load_signal([folder], last)
        found.append(curve.assign(row=here["row"], label=here["label"], section=here["section"]))
    return pd.concat([curve for curve in found if len(curve)] or found, ignore_index=True)


def per_class(study: Study) -> pd.DataFrame:
    """Accuracy of every class against its size, where probes recorded it; else empty.

    Returns:
        Columns section, protocol, shots, row, label, folder, class, images, accuracy (mean over
        the lists).
    """
    of_blocks = [controlled(part) for _, part in study.rows.groupby(BLOCK, sort=False)]
    found = pd.concat(of_blocks) if of_blocks else study.rows
    found = found[found["group"].str.fullmatch(r"class \d+")]
    if found.empty:
        return pd.DataFrame()
    keys = ["section", "protocol", "shots", "row", "label", "folder", "group"]
    mean = found.groupby(keys, sort=False)["accuracy"].mean().reset_index()
    mean["class"] = mean["group"].str.removeprefix("class ").astype(int)
    counts = {f: group_counts(Path(f)) for f in mean["folder"].unique()}
    images = [counts[f][c] for f, c in zip(mean["folder"], mean["class"], strict=True)]
    return mean.assign(images=images)
