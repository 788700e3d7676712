"""Probe a finished run: its features, its labelled lists, and the rows that are kept of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from ..config import RunConfig
from ..data import ImageArrays, read_arrays, splits
from ..data.folders import listed
from ..data.images import check_test, read_test
from ..data.stored import Stored
from ..errors import ConfigError
from ..networks import Encoder, check_takes
from ..pretrain import pick_device, use_full_float32
from ..runs import Run
from .choices import PROBES, check_choice, check_probes
from .finetune import EPOCHS, OTHER_EPOCHS, fine_tune
from .groups import result_rows
from .linear import ProbeResult, features, linear_probe, measure, pixels
from .lists import LabelledList, labelled_lists, validation_list
from .sdclr import SCHEDULES, fit_sdclr
from .streaming import Embed, embed_images, in_memory

log = logging.getLogger(__name__)
Listed = tuple[str, LabelledList]  # the shots that were asked for, and a list of them


def probe_run(
    folder: str | Path,
    shots: tuple[str, ...] = ("100",),
    lists: str | Path | None = None,
    test: str | None = None,
    protocol: str = "bcl",
    kind: str = "encoder",
    groups: str | None = None,
    data: str | None = None,
) -> pd.DataFrame:
    """Probe a finished run; one row per list and group, as stored in probe.parquet.

    Args:
        folder: where the run lies.
        shots: each "full", "1%", "10%", or a number of labelled images per class.
        lists: the folder of the list files, if they do not lie beside the split.
        test: the name of another test set (as for `load_images`).
        protocol: one of `linear_probe`, or "sdclr", as in that paper, for "full" and "1%".
        kind: the features. "encoder" is the run's own, "pruned" is SDCLR's pruned branch, and
            "pixels" are the raw images, a baseline that has learned nothing.
        groups: the rule of `splits.groups` that says who is many, medium and few: "thirds" or
            "counts"; the run's own when None.
        data: where the run's data are now, if not where its configuration says.
    """
    check_choice("protocol", protocol, PROBES)
    check_probes([protocol], [kind], shots, groups)
    run = Run.load(folder, data)
    config = run.config
    test = test or config.data
    train, held_out = _both_parts(run, test)

    _refuse_large_images(kind, protocol, train, config.data)

    where = Path(lists) if lists else None
    found = _all_lists(run, train, shots, where)

    # A probe of each list.
    embed = _embedding(run, kind)
    if protocol == "sdclr":
        validation = validation_list(run, train.labels, where).index
        found = _without(found, validation)  # images that choose the epoch must not teach
        device = _device_of(config)
        results = _sdclr_results(embed, train, held_out, found, validation, device)
    elif protocol == "finetune":
        results = _finetune_results(run, kind, train, held_out, found)
    else:
        results = _feature_results(embed, train, held_out, found, protocol)

    # Its rows, one for each group.
    asked = {"test": test, "protocol": protocol, "groups": groups or config.groups}
    about = about_run(config, kind) | asked | {"untested": untested(held_out)}
    class_counts = run.group_counts.numpy()
    rows = []
    for (wanted, labelled), result in zip(found, results, strict=True):
        about_this = about | _about_list(wanted, labelled)
        rows += result_rows(result, class_counts, about_this, class_std=protocol == "sdclr")
        over_all = np.nanmean(result.per_class)  # the row "all": each class counts alike
        log.info("%s %s: %.1f %%, mean over classes", wanted, labelled.name, 100 * over_all)
    return pd.DataFrame(rows)


def _all_lists(
    run: Run, train: ImageArrays, shots: tuple[str, ...], where: Path | None
) -> list[Listed]:
    """The labelled lists: one, or several, for each of the shots."""
    found = []
    for wanted in shots:
        for labelled in labelled_lists(run, train.labels, wanted, where):
            found.append((wanted, labelled))
    return found


def _refuse_large_images(kind: str, protocol: str, train: ImageArrays, name: str) -> None:
    """Raise a ConfigError for what large images are too many numbers for; nothing is embedded."""
    if protocol == "sdclr":
        in_memory(train.images, np.arange(1), "protocol sdclr")
    if kind == "pixels" and isinstance(train.images, Stored):
        raise ConfigError(
            f"features pixels of {name} are {3 * train.images.side**2:,} numbers an image; "
            "give --features encoder"
        )


def _both_parts(run: Run, test: str) -> tuple[ImageArrays, ImageArrays]:
    """The training part, which must be the run's still, and a test part of the same classes."""
    config = run.config
    train = read_arrays(config.data, "train", config.root)
    run.inputs_of(train)  # complains of other data than the run's
    check_test(test, train.classes, config.root)
    held_out = read_test(test, train, config.root)

    check_size(test, train, held_out)
    check_takes(config, *train.images[:1].shape[2:])
    return train, held_out


def check_size(test: str, train: ImageArrays, held_out: ImageArrays) -> None:
    """Complain of test images of another size; an encoder would take these and say nothing."""
    ours = train.images[:1].shape[2:]
    theirs = held_out.images[:1].shape[2:]
    if ours != theirs:
        raise ConfigError(
            f"images of the test part of {test} are {_sides(theirs)}, those of training are "
            f"{_sides(ours)}; give both one size, as in folder:PATH@{ours[0]}"
        )


def _sides(shape: tuple[int, ...]) -> str:
    """The size of an image in words."""
    height, width = shape
    return f"{width} x {height} pixels"


def untested(test: ImageArrays) -> str:
    """The names of the classes without a test image, which are in no mean; often none."""
    counts = np.bincount(test.labels, minlength=len(test.class_names))
    return listed([test.class_names[k] for k in np.flatnonzero(counts == 0)])


def _without(lists: list[Listed], positions: np.ndarray) -> list[Listed]:
    """The lists without the images at these positions."""
    shorter = []
    for shots, labelled in lists:
        left = labelled.index[~np.isin(labelled.index, positions)]  # in the list's own order
        shorter.append((shots, labelled._replace(index=left)))
    return shorter


def _about_list(shots: str, labelled: LabelledList) -> dict[str, object]:
    """What a row says about its labelled images."""
    return {
        "shots": shots,
        "list": labelled.name,
        "list_source": labelled.source,
        "list_sha256": splits.split_digest(labelled.index),
        "images": len(labelled.index),
    }


def _embedding(run: Run, kind: str) -> Embed:
    """The function from images to the features of this kind."""
    if kind == "pixels":
        return pixels
    use_full_float32()  # as in training
    network = run.network(kind)
    device = str(_device_of(run.config))
    return lambda images: features(network, images, device)


def _device_of(config: RunConfig) -> torch.device:
    """The run's device; the usual one where that is not here."""
    try:
        return pick_device(config.device)
    except ConfigError:
        here = pick_device("auto")
        log.info(
            "The run was made with device=%s, which is not here: %s probes", config.device, here
        )
        return here


def about_run(config: RunConfig, kind: str) -> dict[str, object]:
    """What a row says about its run and its features."""
    method = config.method
    boost = config.boost
    if kind == "pruned":
        method = f"{config.method} pruned"
    elif kind == "pixels":  # no run has made them
        method = "pixels"
        boost = "none"
    return {
        "method": method,
        "boost": boost,
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
    embed: Embed,
    train: ImageArrays,
    test: ImageArrays,
    lists: list[Listed],
    protocol: str,
) -> Iterator[ProbeResult]:
    """Each list's probe on features that are computed once for all lists."""
    positions = [labelled.index for _, labelled in lists]
    used = np.unique(np.concatenate(positions))  # sorted, each once
    train_x = embed_images(embed, train.images, used)  # [images used, D]
    test_x = embed_images(embed, test.images)  # [M, D]
    test_y = torch.from_numpy(test.labels)  # [M]
    classes = len(train.class_names)
    for index in positions:
        rows = torch.from_numpy(np.searchsorted(used, index))  # [n], of `train_x`
        labels = torch.from_numpy(train.labels[index])  # [n]
        yield linear_probe(train_x[rows], labels, test_x, test_y, protocol, classes=classes)


def _finetune_results(
    run: Run,
    kind: str,
    train: ImageArrays,
    test: ImageArrays,
    lists: list[Listed],
) -> Iterator[ProbeResult]:
    """Each list's network, fine-tuned as a whole."""
    device = _device_of(run.config)
    use_full_float32()  # as in training
    classes = len(train.class_names)
    encoder = run.network(kind)
    assert isinstance(encoder, Encoder)
    for shots, labelled in lists:
        images = splits.taken(train.images, labelled.index)
        labels = torch.from_numpy(train.labels[labelled.index])  # [n]
        epochs = EPOCHS.get(shots, OTHER_EPOCHS)
        model = fine_tune(encoder, images, labels, classes, run.config, device, epochs)
        embed = partial(features, model, device=str(device))
        logits = embed_images(embed, test.images)  # [M, C]
        yield measure(logits, torch.from_numpy(test.labels))


def _sdclr_results(
    embed: Embed,
    train: ImageArrays,
    test: ImageArrays,
    lists: list[Listed],
    validation: np.ndarray,
    device: torch.device,
) -> Iterator[ProbeResult]:
    """Each list's probe as in the SDCLR paper; `validation` are positions in the training part."""
    classes = len(train.class_names)
    test_x = embed_images(embed, test.images)  # [M, D]

    # The images that choose the epoch, for all lists.
    validation_images = in_memory(train.images, validation, "protocol sdclr")
    validation_x = embed(validation_images).to(device)
    validation_y = torch.from_numpy(train.labels[validation]).to(device)
    held_out = (validation_x, validation_y)

    for shots, labelled in lists:
        images = in_memory(train.images, labelled.index, "protocol sdclr").to(device)
        labels = torch.from_numpy(train.labels[labelled.index]).to(device)
        schedule = SCHEDULES[shots]
        weight, bias = fit_sdclr(embed, images, labels, held_out, classes, schedule)
        logits = F.linear(test_x, weight.cpu(), bias.cpu())  # [M, C]
        yield measure(logits, torch.from_numpy(test.labels))
