"""Recorded rows with all that their runs were: nothing is read off a folder's name.

A line of runs is found by (draw, mirrored, seed): draw is the seed of a drawn split, or the name of
a list. Values are fractions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from .. import probe, runs
from ..cautions import joint_caution
from ..config import RunConfig
from ..data import splits
from ..errors import ConfigError
from ..probe.choices import next_call
from ..probe.run import about_run
from ..runs import Run
from ..runs import finished as folders

WHO = ("draw", "mirrored", "seed")  # the same in two runs that are compared
OF_A_STUDY = {"row", "section"}  # columns that a study adds


def load_rows(where: str | Path | Iterable[str | Path], **only: Any) -> pd.DataFrame:
    """Every probe row of these runs, joined with its run's whole configuration.

    Args:
        where: a recorded study's name, a folder of runs, or several run folders.
        only: keeps the rows that have this value in that column, e.g. shots="100".

    Returns:
        The columns of probe.parquet and of the configuration (a method's own options by their
        names), and: name, label, control, features, draw, run and folder (where it lies), machine,
        torch, seconds (median of an epoch).
    """
    none = ConfigError(f"{where} has no probe row with {only}; `ltcl probe` makes rows")
    there = [folder for folder in folders(where) if _may_hold(folder, only)]
    if not there:
        raise none
    probed, about = zip(*map(_rows_of, there), strict=True)
    rows = _with_names(_joined(probed, about))
    for column, value in only.items():
        if column not in rows:
            raise ConfigError(f"rows have no {column!r}; they have {', '.join(rows.columns)}")
        if column != "group":
            kept = rows[rows[column] == value]
            if kept.empty:
                known = ", ".join(sorted({repr(each) for each in rows[column]}))
                raise ConfigError(
                    f"{where} has no probe row with {column}={value!r}; there is {known}"
                )
            rows = kept
    # Classes of all runs together: run by run it would take as long as all the rest.
    if "per_class" in rows:
        rows = _with_classes(rows)
    if "group" in only:
        rows = rows[rows["group"] == only["group"]]
    if rows.empty:
        raise none
    return rows


def _may_hold(folder: Path, only: Mapping[str, Any]) -> bool:
    """Whether a run's configuration leaves room for such rows; spares reading all the others."""
    config = runs.read_config(folder)
    told = {"epochs": config.epochs, "split": Path(config.split).name}
    name = only.get("name", "pixels")  # any run may have probed raw pixels
    named = name == "pixels" or name.removesuffix(", pruned") == config.name
    return named and all(only.get(part, value) == value for part, value in told.items())


def _rows_of(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The probe rows of a run, and what each of them says of it."""
    run = Run.load(folder)
    rows = probe.read_rows(folder, run.done)
    if rows is None and len(run.class_counts) == 1:
        rows = _no_accuracy(run)
    if rows is None:
        raise ConfigError(f"{folder} has no probe yet; next: {next_call(run.config, folder)}")
    own = rows["test"] == rows["data"]
    others = ", ".join(sorted(set(rows.loc[~own, "test"])))
    rows = rows.assign(also_tested=others if own.any() else "")
    if own.any():
        # Another test set's are no result of the run's data, unless it has none. Its own may have
        # been probed where they lay then.
        rows = rows[own].assign(test=run.config.data)
    return rows, _about(run, rows.columns)


def _joined(probed: Sequence[pd.DataFrame], about: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The rows of all runs, each with what its run says of itself.

    Joined at once: tables of sixty columns, one for each run, take as long as reading the files.
    """
    rows = pd.concat(probed, ignore_index=True)
    number = np.repeat(np.arange(len(probed)), [len(each) for each in probed])
    told = pd.DataFrame(about, dtype=object)
    unset = {name for each in about for name, value in each.items() if value is None}
    set_by_all = told.columns.difference(list(unset))  # in others 2 stays 2, and None None
    told = told.assign(**told[set_by_all].infer_objects())
    told = told.take(number).set_index(rows.index)
    return pd.DataFrame({**rows, **told})


def _no_accuracy(run: Run) -> pd.DataFrame:
    """The one row of a run whose data have one class: no probe can measure anything there."""
    texts = ("protocol", "shots", "list", "list_source", "list_sha256", "untested")
    about = about_run(run.config, "encoder") | dict.fromkeys(texts, "")
    about |= {"test": run.config.data, "groups": run.config.groups, "images": len(run.index)}
    return pd.DataFrame([{**about, "group": "none", "accuracy": np.nan}])


def _about(run: Run, columns: Iterable[str]) -> dict[str, Any]:
    """What every row of a run says: its whole configuration, its machine, where it lies.

    An option of a method that is called as one of the `columns` is "option accuracy" here.
    """
    config = run.config
    about = config.model_dump(exclude={"options", "split", "groups"})  # the rows say these
    draw, mirrored, seed = place(config)
    about.update(
        split_seed=config.drawn_with,
        machine=_machine(run.done),
        torch=run.done["machines"][0]["torch"],
        split_sha256=run.done.get("split_sha256", ""),
        data_sha256=run.done.get("data_sha256", ""),
        run=run.folder.name,
        folder=str(run.folder),
        seconds=run.history["seconds"].median(),
        draw=draw,
        mirrored=mirrored,
        seed=seed,
        control=config.control,
        name=config.name,
        label=config.label,
    )
    taken = {*about, *columns, *OF_A_STUDY}
    for name, value in config.options.items():
        about[f"option {name}" if name in taken else name] = value
    return {n: str(v) if isinstance(v, tuple | dict) else v for n, v in about.items()}


def _with_names(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a name and a label that say what was probed of the run."""
    kinds = rows["features"]
    name = rows["name"] + kinds.map({"encoder": "", "pruned": ", pruned"})
    label = rows["label"] + kinds.map({"encoder": "", "pruned": ", pruned branch"})
    pixels = kinds == "pixels"
    return rows.assign(
        name=name.mask(pixels, "pixels"),
        label=label.mask(pixels, "raw pixels"),
        control=rows["control"].mask(pixels, None),  # what went through no network needs none
    )


def _with_classes(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, and for every class one more, of group "class 17", from the lists they carry."""
    listed = rows[rows["per_class"].notna()]
    each = listed.explode("per_class")
    number = each.groupby(level=0).cumcount().astype(str)
    each = each.assign(group="class " + number, accuracy=each["per_class"].astype(float))
    each = each[each["accuracy"].notna()]  # of a class without a test image there is none
    return pd.concat([rows, each], ignore_index=True).drop(columns="per_class")


def _machine(done: Mapping[str, Any]) -> str:
    """The machines of a run, in words."""
    seen = {
        f"{m['device']}, threads: {m['threads']}, {m['precision']}": 0 for m in done["machines"]
    }
    return " then ".join(seen)


def place(run: RunConfig) -> tuple[str, bool, int]:
    """What a run shares with those it is compared with: draw, mirrored, seed.

    The balanced list of a published split counts as the draw of its long-tail partner.
    """
    in_file = run.split not in splits.DRAWN
    listed = Path(splits.tail_of(run.split)).stem
    return listed if in_file else str(run.drawn_with), run.mirrored, run.seed


def by_run(rows: pd.DataFrame, *levels: str) -> pd.DataFrame:
    """Accuracies averaged over the labelled lists: a line a run, a column a group.

    The lines are indexed by `levels` ("name" if none is given) and draw, mirrored, seed. A boosted
    method without its shuffled control is left out.

    Raises:
        ConfigError: where a line would mix runs, shots or protocols.
    """
    keys = [*(levels or ("name",)), *WHO]
    rows = controlled(rows)
    _check_digests(rows)
    for column in ("folder", "shots", "protocol", "test"):
        mixed = rows.groupby(keys)[column].nunique()
        if (mixed > 1).any():
            worst: Any = mixed.idxmax()
            line = rows.set_index(keys).loc[worst]
            found = ", ".join(sorted(set(line[column])))
            raise ConfigError(f"one line of {keys} has several of {column}: {found}; choose one")
    return rows.groupby([*keys, "group"], sort=False)["accuracy"].mean().unstack()


def _check_digests(rows: pd.DataFrame) -> None:
    """Refuse runs of one name of data and split that had different images, by their digests."""
    if "data_sha256" not in rows:
        return  # made by hand
    rows = rows.drop_duplicates("folder")
    drawn = rows["split"].isin(splits.DRAWN)
    rows = rows.assign(split_seed=rows["split_seed"].where(drawn, 0))  # a list hangs on no seed
    same = ["data", "split", "split_seed", "mirrored", "imbalance", "largest_class"]
    for digest in ("split_sha256", "data_sha256"):  # not every run has recorded both
        known = rows[rows[digest] != ""]
        for _, part in known.groupby(same, dropna=False):
            if part[digest].nunique() > 1:
                first, second = part.drop_duplicates(digest)["folder"][:2]
                what = "list" if digest == "split_sha256" else "data"
                raise ConfigError(
                    f"{first} and {second} are of {part['data'].iloc[0]}, {part['split'].iloc[0]}, "
                    f"but not of the same images: the {what} changed in between. Make one of them "
                    "again"
                )


def controlled(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without those of boosted methods whose shuffled control is not there.

    It is there where one run at least shares split, class order and seed with one of the method's.
    """
    of_a_run = [rows[column] for column in ("epochs", *WHO)]
    there = set(zip(rows["name"], *of_a_run, strict=True))
    wanted = zip(rows["control"], *of_a_run, strict=True)
    methods = list(zip(rows["epochs"], rows["name"], strict=True))
    found = {method for method, key in zip(methods, wanted, strict=True) if key in there}
    return rows[
        [
            control is None or pd.isna(control) or method in found
            for method, control in zip(methods, rows["control"], strict=True)
        ]
    ]


def load_signal(
    where: str | Path | Iterable[str | Path], last: bool = False, **only: Any
) -> pd.DataFrame:
    """How well the momentum loss finds the images of the few classes, by run and epoch.

    Args:
        where: as for `load_rows`.
        last: asks for the last epoch alone, which takes a fraction of the time.
        only: keeps the runs whose configuration, name or place has this value, e.g. name="sdclr".

    Returns:
        Columns run, name, label, split, draw, mirrored, seed, epochs, epoch; auroc (0.5 is chance);
        weighted: each class counts as much as it has images in the long-tail set, so that a
        balanced control has the long tail's mixture of classes; a long-tail run has it anyway.
    """
    tables = []
    for folder in folders(where):
        config = runs.read_config(folder)
        known = {**dict(config), **dict(zip(WHO, place(config), strict=True))}
        known |= {"run": folder.name, "name": config.name, "label": config.label}
        if unknown := only.keys() - known.keys():
            raise ConfigError(
                f"a run has no {', '.join(sorted(unknown))}; it has {', '.join(known)}"
            )
        if any(known[field] != value for field, value in only.items()):
            continue
        run = Run.load(folder)
        counts = run.group_counts.numpy()
        few_classes = splits.groups(counts, config.groups)["few"]  # none of fewer than three
        if not run.epochs_kept or np.ptp(counts) == 0 or not len(few_classes):
            continue
        kind = config.split if config.split in splits.DRAWN else Path(config.split).stem
        about = {"run": run.folder.name, "name": config.name, "label": config.label, "split": kind}
        about |= dict(zip(WHO, place(config), strict=True), epochs=config.epochs)
        few = np.isin(run.labels, few_classes)
        own_counts = np.bincount(run.labels, minlength=len(counts))
        weight = (counts / own_counts.clip(min=1))[run.labels]
        kept = list(zip(run.epochs_kept, run.momentum_loss.float().numpy(), strict=True))
        for epoch, loss in kept[-1:] if last else kept:
            seen = ~np.isnan(loss)  # a first epoch with drop_last leaves some without a loss
            if len(np.unique(few[seen])) == 2:
                given = few[seen], loss[seen]
                found = {"auroc": roc_auc_score(*given)}
                found["weighted"] = roc_auc_score(*given, sample_weight=weight[seen])
                tables.append({**about, "epoch": epoch, **found})
    return pd.DataFrame(tables)


def group_auroc(folder: Path) -> float:
    """AUROC of a run's last momentum loss for "this image is of a few class"; 0.5 is chance."""
    return float(load_signal(folder)["auroc"].iloc[-1])


def last_signal(signal: pd.DataFrame, *levels: str) -> pd.DataFrame:
    """The last epoch's auroc and weighted: a line a run, indexed as by `by_run`."""
    last = signal[signal["epoch"] == signal["epochs"]]
    return last.set_index([*(levels or ("name",)), *WHO])[["auroc", "weighted"]]


def caution(rows: pd.DataFrame) -> str:
    """What in these runs is not the published recipe, in words; empty where nothing is."""
    return joint_caution(*(runs.read_config(Path(folder)) for folder in rows["folder"].unique()))


def group_counts(folder: Path) -> np.ndarray:
    """The class sizes [C] that define a run's many, medium and few; a control's are the tail's."""
    return Run.load(folder).group_counts.numpy()
