"""Which labelled images a probe learns from: published list files, or lists that are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..config import RunConfig
from ..data import splits
from ..data.downloads import published_lists
from ..errors import ConfigError
from ..files import sha256
from ..paths import own_path
from ..runs import Run
from .choices import check_enough, check_shots

DRAWN_LISTS = 5  # as many as are published for each number of shots


class LabelledList(NamedTuple):
    """The labelled images of one probe: name, positions int64 [n], "published" or "drawn"."""

    name: str
    index: np.ndarray  # type: ignore[assignment]  # hides a tuple's own method, which nobody calls
    source: str


def labelled_lists(
    run: Run, labels: np.ndarray, shots: str, where: Path | None = None
) -> list[LabelledList]:
    """The labelled sets of a probe with `shots` ("full", "1%", or images per class).

    Lists beside the run's split file (or in `where`) come first; without any, five are drawn. Drawn
    ones avoid the images of pre-training where every class has enough others.
    """
    check_shots(shots)
    if found := _find_lists(run.config, shots, len(labels), where):
        return found
    if shots == "full":
        return [LabelledList("train part", np.arange(len(labels)), "drawn")]
    if shots == "1%":  # a prefix of pre-training's lists, as published: 4 of 450, 45 of 4500
        per_class = max(1, int(np.bincount(labels).min()) * 9 // 1000)
        drawn = splits.few_shot(labels, per_class, run.config.drawn_with)
        return [LabelledList(f"first {per_class} per class", drawn, "drawn")]
    check_enough(shots, np.bincount(labels).tolist())
    pool, name = _unseen(run, labels, int(shots))
    return [
        LabelledList(
            f"{name} seed {seed}", pool[splits.few_shot(labels[pool], int(shots), seed)], "drawn"
        )
        for seed in range(1, DRAWN_LISTS + 1)
    ]


def validation_list(run: Run, labels: np.ndarray, where: Path | None = None) -> LabelledList:
    """The images that choose a probe's best epoch: a published list, or a drawn tenth.

    Drawn ones, a tenth of the smallest class from each, avoid the 1 % list, and the images of
    pre-training where every class has enough others.
    """
    if found := _find_lists(run.config, "validation", len(labels), where):
        return found[0]
    smallest = int(np.bincount(labels).min())
    if smallest < 2:
        raise ConfigError(
            "protocol sdclr sets images of each class aside for validation, but the smallest class "
            "has 1; use --protocol bcl"
        )
    per_class = max(1, smallest // 10)
    (few,) = labelled_lists(run, labels, "1%", where)
    pool, name = _unseen(run, labels, per_class, few.index)
    drawn = pool[splits.few_shot(labels[pool], per_class, 0)]
    return LabelledList(f"{name}, {per_class} per class", drawn, "drawn")


def _unseen(
    run: Run, labels: np.ndarray, per_class: int, besides: np.ndarray | tuple = ()
) -> tuple[np.ndarray, str]:
    """Positions that pre-training did not see, or all where a class has too few; their name."""
    everything = np.setdiff1d(np.arange(len(labels)), besides)
    pool = np.setdiff1d(everything, run.index)
    enough = np.bincount(labels[pool], minlength=labels.max() + 1).min() >= per_class
    return (pool, "unseen") if enough else (everything, "any")


def _find_lists(
    config: RunConfig, shots: str, images: int, where: Path | None
) -> list[LabelledList]:
    """List files by the published naming: split1_D_i.npy has split*_test_100shot.npy beside it."""
    split = own_path(config.split)
    in_file = config.split not in splits.DRAWN and "split" in split.stem
    if not in_file and where is None:
        return []
    prefix, _, rest = split.stem.partition("split") if in_file else ("*", "", "*")
    patterns = {
        "full": f"{prefix}trainIdxList.npy",
        "1%": f"{prefix}split{rest[:1]}_S_b.npy",
        "validation": f"{prefix}valIdxList.npy",
    }
    pattern = patterns.get(shots, f"{prefix}split*_test_{shots}shot.npy")
    where = where and own_path(where)
    folder = where or split.parent.parent
    paths = sorted([*folder.glob(pattern), *folder.glob(f"*/{pattern}")])
    if where and not paths:
        raise ConfigError(f"{where} and its folders hold no {pattern} for shots {shots}")
    owners = {p.name.partition("split")[0] for p in paths}
    owners = {o.removesuffix("trainIdxList.npy").removesuffix("valIdxList.npy") for o in owners}
    if len(owners) > 1:
        raise ConfigError(
            f"{where} and its folders hold lists of several data sets for shots {shots}: "
            f"{', '.join(sorted(p.name for p in paths))}; name the folder of one"
        )
    known = {entry["sha256"] for entry in published_lists().values()}
    found = [
        LabelledList(p.name, splits.read_split(p), "published" if sha256(p) in known else "drawn")
        for p in paths
    ]
    for each in found:
        if each.index.max() >= images:
            raise ConfigError(f"{each.name} has positions beyond the {images} images")
    return found
