"""Which labelled images a probe learns from: published list files, or lists that are drawn."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..config import RunConfig
from ..data import splits
from ..data.downloads import published_lists
from ..data.lists import read_list
from ..errors import ConfigError
from ..files import sha256
from ..paths import own_path
from ..runs import Run
from .choices import check_enough, check_shots

log = logging.getLogger(__name__)

SHARES = {"1%": 9, "10%": 90}  # thousandths of the smallest class: a tenth is held out first
DRAWN_LISTS = 5  # as many as are published for each number of shots
ALL_IMAGES = "trainIdxList.npy"  # the end of the name of a published list for shots "full"
VALIDATION = "valIdxList.npy"  # the end of the name of a published validation list


class LabelledList(NamedTuple):
    """The labelled images of one probe.

    Attributes:
        name: the name of the file, or what the list holds where it was drawn.
        index: int64 [n], positions in the training part.
        source: "published", "drawn", or "file" for a list file of somebody's own.
    """

    name: str
    index: np.ndarray  # type: ignore[assignment]  # hides a tuple's own method, which nobody calls
    source: str


def labelled_lists(
    run: Run,
    labels: np.ndarray,
    shots: str,
    where: Path | None = None,
) -> list[LabelledList]:
    """The labelled lists that a probe learns from, each by itself.

    List files beside the run's split file (or in `where`) are taken where there are some. Else
    lists are drawn, five of them where `shots` is a number. These avoid the images of pre-training
    where every class has enough others.

    Args:
        run: the run whose encoder is probed.
        labels: int64 [N], of the whole training part.
        shots: "full", "1%", "10%", or the number of images per class.
        where: the folder of the list files, if they do not lie beside the split.
    """
    check_shots(shots)
    found = _find_lists(run.config, shots, labels, where)
    if found:
        return found
    if shots == "full":
        everything = np.arange(len(labels))
        return [LabelledList("train part", everything, "drawn")]
    if shots in SHARES:
        return [_first_of_each_class(run, labels, SHARES[shots])]

    # A number per class, drawn with five seeds.
    check_enough(shots, np.bincount(labels).tolist())
    per_class = int(shots)
    pool, name = _unseen(run, labels, per_class)
    lists = []
    for seed in range(1, DRAWN_LISTS + 1):
        drawn = pool[splits.few_shot(labels[pool], per_class, seed)]
        lists.append(LabelledList(f"{name} seed {seed}", drawn, "drawn"))
    return lists


def _first_of_each_class(run: Run, labels: np.ndarray, share: int) -> LabelledList:
    """A prefix of pre-training's lists; 1 % as published, 4 of 450 or 45 of 4500."""
    smallest = int(np.bincount(labels).min())
    per_class = max(1, smallest * share // 1000)
    drawn = splits.few_shot(labels, per_class, run.config.drawn_with)
    return LabelledList(f"first {per_class} per class", drawn, "drawn")


def validation_list(run: Run, labels: np.ndarray, where: Path | None = None) -> LabelledList:
    """The images that choose a probe's best epoch: a published list, or a drawn tenth.

    What is drawn is the same number from each class, a tenth of the smallest class. It avoids the
    1 % list, and the images of pre-training where every class has enough others.

    Args:
        run: the run whose encoder is probed.
        labels: int64 [N], of the whole training part.
        where: as for `labelled_lists`.
    """
    found = _find_lists(run.config, "validation", labels, where)
    if len(found) > 1:
        names = " and ".join(each.name for each in found)
        raise ConfigError(
            f"{names} are several validation lists, and one chooses the best epoch; give --lists "
            "with the folder of one"
        )
    if found:
        return found[0]
    smallest = int(np.bincount(labels).min())
    if smallest < 2:
        raise ConfigError(
            "protocol sdclr sets images of each class aside for validation, but the smallest class "
            "has 1; use --protocol bcl"
        )
    per_class = max(1, smallest // 10)
    one_percent = [each.index for each in labelled_lists(run, labels, "1%", where)]
    pool, name = _unseen(run, labels, per_class, np.concatenate(one_percent))
    drawn = pool[splits.few_shot(labels[pool], per_class, 0)]
    return LabelledList(f"{name}, {per_class} per class", drawn, "drawn")


def _unseen(
    run: Run,
    labels: np.ndarray,
    per_class: int,
    besides: np.ndarray | tuple = (),
) -> tuple[np.ndarray, str]:
    """Positions that pre-training did not see, or all where a class has too few; and their name.

    Args:
        run: the run whose encoder is probed.
        labels: int64 [N], of the whole training part.
        per_class: the number of images that every class must have.
        besides: positions that are left out in any case.
    """
    everything = np.setdiff1d(np.arange(len(labels)), besides)
    unseen = np.setdiff1d(everything, run.index)
    class_sizes = np.bincount(labels[unseen], minlength=labels.max() + 1)
    if class_sizes.min() >= per_class:
        return unseen, "unseen"
    return everything, "any"


# --- list files -------------------------------------------------------------------------------


def _find_lists(
    config: RunConfig,
    shots: str,
    labels: np.ndarray,
    where: Path | None,
) -> list[LabelledList]:
    """The list files for a number of shots, or for "validation"; none without a split file.

    They are known by the published naming: split1_D_i.npy has split*_test_100shot.npy beside it.
    """
    is_text = own_path(config.split).suffix == ".txt"
    find = _find_text_lists if is_text else _find_index_lists
    found = find(config, shots, labels, where)
    for each in found:
        if each.source != "published":  # of which one of 1 % has no image of some classes
            _check_classes(each, shots, labels)
    return found


def _find_index_lists(
    config: RunConfig, shots: str, labels: np.ndarray, where: Path | None
) -> list[LabelledList]:
    """Lists of positions by their published names, in folders beside the split's or in `where`."""
    split = own_path(config.split)
    has_file = config.split not in splits.DRAWN and "split" in split.stem
    if not has_file and where is None:
        return []
    if where is None and not split.exists():
        log.warning(
            "the split %s is not here, so no list files are; lists are drawn, unless --lists "
            "names a folder",
            split,
        )
    stem = split.stem if has_file else "*split*"  # of any data set, with any number
    pattern = _pattern_of(stem, shots)
    given = where and own_path(where)
    folder = given or split.parent.parent  # published lists lie in folders beside the split's
    paths = sorted([*folder.glob(pattern), *folder.glob(f"*/{pattern}")])
    if given and not paths:
        raise ConfigError(f"{given} and its folders hold no {pattern} for shots {shots}")
    _check_one_data_set(paths, shots, given)
    _check_one_name(paths)
    published = _published()
    return [_read_list(path, len(labels), published) for path in paths]


def _check_classes(found: LabelledList, shots: str, labels: np.ndarray) -> None:
    """Refuse a list that lacks a class, and say where its name promises other numbers."""
    counts = np.bincount(labels[found.index], minlength=labels.max() + 1)
    if not counts.all():
        raise ConfigError(
            f"list {found.name} has no image of {np.count_nonzero(counts == 0)} of the "
            f"{len(counts)} classes; is it the list of another data set? Give --lists with the "
            "folder of its lists"
        )
    if shots.isdecimal() and (counts != int(shots)).any():
        log.warning(
            "list %s has %d to %d images a class, not %s", found.name, counts.min(), counts.max(),
            shots,
        )  # fmt: skip


def _pattern_of(stem: str, shots: str) -> str:
    """The pattern of the names of list files that belong to a split, e.g. split1_D_i."""
    prefix, _, rest = stem.partition("split")  # a prefix names the data set
    number = rest.partition("_")[0]  # of the split; of any of them *
    patterns = {
        "full": f"{prefix}{ALL_IMAGES}",
        "1%": f"{prefix}split{number}_S_b.npy",
        "validation": f"{prefix}{VALIDATION}",
    }
    return patterns.get(shots, f"{prefix}split*_test_{shots}shot.npy")


def _check_one_data_set(paths: list[Path], shots: str, where: Path | None) -> None:
    """Raise a ConfigError where the prefixes of the names tell of several data sets."""
    prefixes = set()
    for path in paths:
        prefix = path.name.partition("split")[0]
        prefix = prefix.removesuffix(ALL_IMAGES).removesuffix(VALIDATION)
        prefixes.add(prefix)
    if len(prefixes) > 1:
        names = ", ".join(sorted(path.name for path in paths))
        raise ConfigError(
            f"{where} and its folders hold lists of several data sets for shots {shots}: "
            f"{names}; name the folder of one"
        )


def _check_one_name(paths: list[Path]) -> None:
    """Raise a ConfigError where two lists have one name, by which rows tell them apart."""
    places: dict[str, Path] = {}
    for path in paths:
        other = places.setdefault(path.name, path)
        if other != path:
            raise ConfigError(
                f"{other} and {path} are two lists of one name, and a table would hold one of "
                "them; rename one, or give --lists with the folder of one"
            )


def _read_list(path: Path, images: int, published: set[str]) -> LabelledList:
    """The list in a file. Its digest, not its name, tells whether it is a published list."""
    source = "published" if sha256(path) in published else "file"
    index = splits.read_split(path)
    if index.max() >= images:
        raise ConfigError(f"{path.name} has positions beyond the {images} images")
    return LabelledList(path.name, index, source)


def _find_text_lists(
    config: RunConfig, shots: str, labels: np.ndarray, where: Path | None
) -> list[LabelledList]:
    """Text lists by their published names, beside the split or in `where`; none for "full"."""
    patterns = {
        "1%": "*sub_balance_train_0.01.txt",
        "10%": "*sub_balance_train_0.1.txt",
        "validation": "*_val.txt",
    }
    if shots == "full":
        if where:
            log.warning("shots full takes the whole training part, whatever lies in %s", where)
        return []
    pattern = patterns.get(shots, f"*_test_{shots}shot.txt")
    folder = own_path(where or Path(config.split).parent)
    files = sorted(folder.glob(pattern))
    if where and not files:
        raise ConfigError(f"{where} holds no {pattern} for shots {shots}")
    found = []
    for path in files:
        index = splits.in_data(read_list(path), labels, config.data)
        source = "published" if sha256(path) in _published() else "file"
        found.append(LabelledList(path.name, index, source))
    return found


def _published() -> set[str]:
    """The sha256 of every published list."""
    books = [*published_lists().values(), *published_lists("large-splits").values()]
    return {entry["sha256"] for entry in books if "sha256" in entry}
