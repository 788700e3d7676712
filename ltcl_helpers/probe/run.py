"""Probe a finished run: its features, its labelled lists, and the rows that are kept of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from ..config import RunConfig
from ..data import ImageArrays, ImageSet, read_arrays, splits
from ..data.folders import listed
from ..data.images import as_tensors, check_same, check_test, read_test
from ..errors import ConfigError
from ..files import read_parquet
from ..pretrain import pick_device, use_full_float32
from ..runs import Run, add_table
from .choices import PROBES, check_choice, check_probes
from .groups import result_rows
from .linear import ProbeResult, features, linear_probe, measure, pixels
from .lists import LabelledList, labelled_lists, validation_list
from .sdclr import SCHEDULES, Embed, fit_sdclr

log = logging.getLogger(__name__)


def probe_run(
    folder: str | Path,
    shots: tuple[str, ...] = ("100",),
    lists: str | Path | None = None,
    test: str | None = None,
    protocol: str = "bcl",
    kind: str = "encoder",
    groups: str = "thirds",
) -> pd.DataFrame:
    """Probe a finished run; one row per list and group, as stored in probe.parquet.

    Args:
        folder: where the run lies.
        shots: "full", "1%", or numbers of labelled images per class.
        lists: where the list files are, if not beside the split.
        test: name of another test set (as for `load_images`).
        protocol: one of `linear_probe`, or "sdclr", as in that paper, for "full" and "1%".
        kind: "encoder"; "pruned" for SDCLR's pruned branch; "pixels" for the raw images, a baseline
            that has learned nothing.
        groups: who is many, medium and few, a rule of `splits.groups`: "thirds" or "counts".
    """
    check_choice("protocol", protocol, PROBES)
    check_probes([protocol], [kind], shots, groups)
    run = Run.load(folder)
    config = run.config
    test = test or config.data
    train, held_out = _both_parts(run, test)

    # The labelled lists of every number of shots, and a probe of each.
    where = Path(lists) if lists else None
    found = [(s, each) for s in shots for each in labelled_lists(run, train.labels, s, where)]
    embed = _embedding(run, kind)
    if protocol == "sdclr":
        # Images that choose the epoch must not teach.
        held = validation_list(run, train.labels, where).index
        found = [(s, x._replace(index=np.setdiff1d(x.index, held))) for s, x in found]
        results = _sdclr_results(embed, train, held_out, found, held, pick_device(config.device))
    else:
        results = _feature_results(embed, train, held_out, [x for _, x in found], protocol)

    # Rows: a line for each list and group.
    about = about_run(config, kind) | {"test": test, "protocol": protocol, "groups": groups}
    about |= {"untested": untested(held_out)}
    counts = run.group_counts.numpy()
    rows = []
    for (number, each), result in zip(found, results, strict=True):
        listed = about | _of_list(number, each)
        rows += result_rows(result, counts, listed, class_std=protocol == "sdclr")
        log.info("%s %s: %.1f %%", number, each.name, 100 * result.top1)
    return pd.DataFrame(rows)


def _both_parts(run: Run, test: str) -> tuple[ImageArrays, ImageSet]:
    """The training part, which must be the run's still, and a test part of the same classes."""
    config = run.config
    train = read_arrays(config.data, "train", config.root)
    check_same(train.classes, run.index.numpy(), run.labels.numpy(), config.data)
    check_test(test, train.classes, config.root)
    held_out = read_test(test, train.classes, config.root)
    ours, theirs = (part.images[:1].shape[2:] for part in (train, held_out))
    if ours != theirs:
        raise ConfigError(
            f"images of the test part of {test} are {_sides(theirs)}, those of training are "
            f"{_sides(ours)}; give both one size, as in folder:PATH@{ours[0]}"
        )
    return train, as_tensors(held_out)


def _sides(shape: tuple[int, ...]) -> str:
    height, width = shape
    return f"{width} x {height} pixels"


def untested(test: ImageSet) -> str:
    """The names of the classes without a test image, which are in no mean; often none."""
    counts = np.bincount(test.labels, minlength=len(test.class_names))
    return listed([test.class_names[k] for k in np.flatnonzero(counts == 0)])


def _of_list(shots: str, each: LabelledList) -> dict[str, object]:
    """What a row says about its labelled images."""
    return {
        "shots": shots,
        "list": each.name,
        "list_source": each.source,
        "list_sha256": splits.split_digest(each.index),
        "images": len(each.index),
    }


def _embedding(run: Run, kind: str) -> Embed:
    """Images to the features of this kind."""
    if kind == "pixels":
        return pixels
    use_full_float32()
    network = run.network(kind)
    device = str(pick_device(run.config.device))
    return lambda images: features(network, images, device)


def about_run(config: RunConfig, kind: str) -> dict[str, object]:
    """What a row says about its run and its features."""
    method = {"encoder": config.method, "pruned": f"{config.method} pruned", "pixels": "pixels"}
    return {
        "method": method[kind],
        "boost": "none" if kind == "pixels" else config.boost,
        "features": kind,
        "preset": config.preset,
        "data": config.data,
        "epochs": config.epochs,
        "split": Path(config.split).name,
        "split_seed": config.drawn_with,
        "mirrored": config.mirrored,
        "seed": config.seed,
    }


def _feature_results(
    embed: Embed, train: ImageArrays, test: ImageSet, lists: list[LabelledList], protocol: str
) -> Iterator[ProbeResult]:
    """Each list's probe on features that are computed once for all lists."""
    used = np.unique(np.concatenate([each.index for each in lists]))  # sorted positions
    train_x = embed(torch.from_numpy(train.images[used]))
    test_x = embed(test.images)
    for each in lists:
        at = torch.from_numpy(np.searchsorted(used, each.index))
        labels = torch.from_numpy(train.labels[each.index])
        classes = len(train.class_names)
        yield linear_probe(train_x[at], labels, test_x, test.labels, protocol, classes=classes)


def _sdclr_results(
    embed: Embed,
    train: ImageArrays,
    test: ImageSet,
    lists: list[tuple[str, LabelledList]],
    held: np.ndarray,
    device: torch.device,
) -> Iterator[ProbeResult]:
    """Each list's probe as in the SDCLR paper; `held` are the positions of the validation list."""
    classes = len(train.class_names)
    test_x = embed(test.images)
    held_x = embed(torch.from_numpy(train.images[held])).to(device)
    held_y = torch.from_numpy(train.labels[held]).to(device)
    for shots, each in lists:
        images = torch.from_numpy(train.images[each.index]).to(device)
        labels = torch.from_numpy(train.labels[each.index]).to(device)
        fitted = fit_sdclr(embed, images, labels, (held_x, held_y), classes, SCHEDULES[shots])
        weight, bias = (part.cpu() for part in fitted)
        yield measure(F.linear(test_x, weight, bias), test.labels)


def save_probe(folder: str | Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Add rows to a run's probe.parquet; a probe done again replaces its old rows.

    Also where it was done with other `groups`: one list's rows follow one rule.
    """
    path = Path(folder) / "probe.parquet"
    key = ["features", "protocol", "shots", "list", "test"]
    if path.exists():
        before = complete(read_parquet(path))
        again = pd.MultiIndex.from_frame(before[key]).isin(pd.MultiIndex.from_frame(rows[key]))
        rows = pd.concat([before[~again], rows], ignore_index=True)
    rows = rows.drop_duplicates([*key, "group"], keep="last")
    add_table(Path(folder), path.name, rows)
    return rows


def complete(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of older probes with the columns that these did not have yet.

    Recorded rows are never rewritten (their digests are published), so this stays.
    """
    pruned = rows["method"].str.endswith(" pruned")
    kinds = pruned.map({True: "pruned", False: "encoder"})
    kinds = kinds.mask(rows["method"] == "pixels", "pixels")
    usual = {"test": rows["data"], "features": kinds, "groups": "thirds", "untested": ""}
    missing: dict[str, Any] = {name: each for name, each in usual.items() if name not in rows}
    return rows.assign(**missing)
