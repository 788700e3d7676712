"""Which images a run learns from: long-tail, balanced and few-shot index sets.

Every class has one shuffled list per seed, and all sets take a prefix of it: the few-shot set of a
class lies inside its balanced set and its long-tail set, as in the published files.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..config import IN_FILES, RunConfig
from ..errors import ConfigError, DamagedFile, NoTestPart
from ..files import UNREADABLE, read_bytes, reason, sha256
from ..paths import own_path
from ..recipes import SUPERVISED
from . import classes as own_classes
from . import lists
from .downloads import check_list
from .folders import listed
from .images import ImageArrays, file_names, read_arrays, read_classes
from .own import refuse_test_part
from .stored import Stored

log = logging.getLogger(__name__)

GROUPS = ("many", "medium", "few")
RULES = ("thirds", "counts")
DRAWN = ("long-tail", "balanced", "all")


class Inputs(NamedTuple):
    """What a run learns from, checked; NumPy only.

    images uint8 [n, 3, H, W], labels int64 [n], index int64 [n] (positions in the train part),
    class_counts int64 [C] (of the split), group_counts int64 [C] (of the long-tail split that says
    which classes are many, medium and few; the balanced control borrows its partner's).
    """

    images: np.ndarray | Stored  # large ones stay in their files
    labels: np.ndarray
    index: np.ndarray  # type: ignore[assignment]  # hides a tuple's own method, which nobody calls
    class_counts: np.ndarray
    group_counts: np.ndarray


def class_sizes(largest: int, classes: int, imbalance: float) -> list[int]:
    """Images per class by rank: floor(largest / imbalance^(r / (classes - 1))), r = 0, 1, ...

    The published CIFAR splits follow this law exactly, with largest 4500 and 450, imbalance 100.

    Raises:
        ConfigError: when a class would be empty, or fewer than two classes are asked for.
    """
    if classes < 2:
        raise ConfigError(f"a long tail needs 2 classes or more, the data has {classes}")
    sizes = [math.floor(largest / imbalance ** (r / (classes - 1))) for r in range(classes)]
    if sizes[-1] < 1:
        allowed = f"allowed is an imbalance up to {largest}" if largest else "there are too few"
        raise ConfigError(
            f"imbalance {imbalance:g} with {largest} images in the largest class leaves the "
            f"smallest class empty; {allowed}"
        )
    return sizes


def class_lists(labels: np.ndarray, seed: int) -> list[np.ndarray]:
    """One shuffled list of positions per class; every index set takes prefixes of these.

    Raises:
        ConfigError: for labels that are not the numbers 0 to C - 1 of classes.
    """
    _check_labels(labels)
    labels = np.asarray(labels)
    return [
        np.random.default_rng([seed, 1, c]).permutation(np.flatnonzero(labels == c))
        for c in range(int(labels.max()) + 1)
    ]


def _check_labels(labels: np.ndarray) -> None:
    """Refuse what counts no classes, before a list is made for each number below the largest."""
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or not len(labels):
        raise ConfigError(f"labels are {labels.dtype} {list(labels.shape)}; give whole numbers")
    if labels.min() < 0 or labels.max() >= len(labels):
        raise ConfigError(
            f"labels go from {labels.min()} to {labels.max()} for {len(labels)} images; classes "
            "count from 0: numpy.unique(labels, return_inverse=True)[1] numbers them anew"
        )


def long_tail(
    labels: np.ndarray, sizes: list[int], seed: int, mirrored: bool = False
) -> np.ndarray:
    """Positions of a long-tail set, class-major, int64.

    Args:
        labels: [N], the class of every image.
        sizes: images per rank, largest first; which class has which rank is drawn from `seed`.
        seed: decides the class order and every class's list.
        mirrored: reverse the class order, so that class difficulty cancels within the pair.
    """
    order = np.random.default_rng([seed, 0]).permutation(len(sizes))
    size_of = dict(zip(order[::-1] if mirrored else order, sizes, strict=True))
    return _prefixes(labels, [size_of[c] for c in range(len(sizes))], seed)


def balanced(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Positions of a set with `per_class` images of each class, class-major, int64."""
    _check_labels(labels)
    return _prefixes(labels, [per_class] * (int(np.max(labels)) + 1), seed)


def few_shot(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Positions of a labelled few-shot set: the same prefixes as `balanced`."""
    return balanced(labels, per_class, seed)


def _prefixes(labels: np.ndarray, sizes: list[int], seed: int) -> np.ndarray:
    lists = class_lists(labels, seed)
    for c, (size, positions) in enumerate(zip(sizes, lists, strict=True)):
        if not 0 < size <= len(positions):
            raise ConfigError(
                f"class {c} has {len(positions)} images, {size} were asked for; "
                "ask for fewer, at least 1"
            )
    parts = [positions[:size] for size, positions in zip(sizes, lists, strict=True)]
    return np.concatenate(parts).astype(np.int64)


def groups(class_counts: np.ndarray, rule: str = "thirds") -> dict[str, np.ndarray]:
    """Class ids of the many, medium and few groups, as published.

    Args:
        class_counts: [C], images per class in the long-tail set.
        rule: "thirds" (few = the C // 3 smallest, many = the rest; CIFAR) or "counts"
            (many > 100, few < 20 images; ImageNet, Places).
    """
    counts = np.asarray(class_counts)
    if rule == "counts":
        member = {"many": counts > 100, "few": counts < 20}
        member["medium"] = ~(member["many"] | member["few"])
        return {name: np.flatnonzero(member[name]) for name in GROUPS}
    if rule != "thirds":
        raise ConfigError(f"rule is {rule!r}; allowed are {' and '.join(RULES)}")
    ascending, third = np.argsort(counts, kind="stable"), len(counts) // 3
    few, medium, many = np.split(ascending, [third, 2 * third])
    return {"many": np.sort(many), "medium": np.sort(medium), "few": np.sort(few)}


def served(class_counts: np.ndarray, rule: str = "thirds") -> dict[str, np.ndarray]:
    """The groups of `groups`, or none: where all classes are of one size nobody is many or few.

    None, too, where the rule leaves one of the groups empty. Probe and explorer both ask here.
    """
    members = groups(class_counts, rule)
    if np.ptp(class_counts) == 0 or not all(map(len, members.values())):
        return {}
    return members


def rarity(labels: np.ndarray, class_counts: np.ndarray) -> np.ndarray:
    """How rare each sample's class is: 0 for the largest to 1 for the smallest, in equal steps.

    Args:
        labels: [N].
        class_counts: [C] images per class; of equal ones the earlier counts as the larger.

    Returns:
        float64 [N]; zeros where all classes are of one size, since nobody is rare there.
    """
    if np.ptp(class_counts) == 0:
        return np.zeros(len(labels))
    of_class = np.empty(len(class_counts))
    largest_first = np.argsort(-class_counts, kind="stable")
    of_class[largest_first] = np.linspace(0, 1, len(class_counts))
    of_sample: np.ndarray = of_class[labels]
    return of_sample


def read_split(path: str | Path) -> np.ndarray:
    """Read a list of positions (.npy, whole numbers), e.g. a published one; int64.

    Raises:
        ConfigError: when the file is missing, damaged, no list of distinct positions, or named as a
            published list and another one.
    """
    path = own_path(path)
    try:
        content = read_bytes(path)
    except DamagedFile as error:
        if path.exists():
            raise
        raise ConfigError(
            f"split {path} does not exist; allowed are {', '.join(DRAWN)} and list files (.npy, "
            ".txt)"
        ) from error
    check_list(path)
    index = _positions_in(path, content)
    if not len(index):
        raise ConfigError(f"split {path} is empty; it needs one position or more")
    if index.min() < 0:
        raise ConfigError(f"split {path} has position {index.min()}; allowed is 0 and above")
    if index.max() >= 2**63:
        raise ConfigError(
            f"split {path} has position {index.max()}, more than any data set has images; "
            "a number below 0 that is stored as unsigned becomes such a large one"
        )
    positions, times = np.unique(index, return_counts=True)
    if times.max() > 1:
        more = f"position {positions[times.argmax()]} {times.max()} times"
        raise ConfigError(f"split {path} has {more}; each is allowed once")
    return index.astype(np.int64)


def _positions_in(path: Path, content: bytes) -> np.ndarray:
    """The whole numbers [n] in a list file."""
    if not content.startswith(b"\x93NUMPY"):
        raise ConfigError(
            f"split {path} is not a whole .npy file; a list of names of files ends in .txt; of a "
            "text with a position a line, make a .npy: "
            "numpy.save('list.npy', numpy.loadtxt('list.txt', dtype=int))"
        )
    try:
        index = np.load(io.BytesIO(content), allow_pickle=False)
    except UNREADABLE as error:
        raise ConfigError(f"split {path} is not a whole .npy file ({reason(error)})") from None
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise ConfigError(
            f"split {path} is not one list of whole numbers, but {index.dtype} {list(index.shape)}"
        )
    positions: np.ndarray = index
    return positions


def split_digest(index: np.ndarray) -> str:
    """Sha256 of the positions as int64, however a file stores them."""
    return sha256(np.ascontiguousarray(index, np.int64).tobytes())


def open_list(path: str | Path) -> np.ndarray | lists.FileList:
    """A list file: positions (.npy), or the names of image files (.txt).

    Raises:
        ConfigError: as `read_split`, and for a text list as `lists.read_list`.
    """
    if Path(path).suffix == ".txt":
        listed = lists.read_list(own_path(path))
        check_list(own_path(path))
        return listed
    return read_split(path)


def in_data(listed: np.ndarray | lists.FileList, labels: np.ndarray, name: str) -> np.ndarray:
    """The positions int64 [n] in the train part that a list file means.

    Args:
        listed: as `open_list` gives it.
        labels: int64 [N], of the train part.
        name: the data's.
    """
    if isinstance(listed, np.ndarray):
        return listed
    names = file_names(name)
    if not names:
        raise ConfigError(
            f"list {listed.name} names files, and the images of {name} have no names; "
            "give data as pack:PATH or folder:PATH, or a list of positions (.npy)"
        )
    return lists.positions(listed, names, labels, name)


def data_digest(inputs: Inputs) -> str:
    """Sha256 of everything a run learns from: images, labels, positions, class counts."""
    return sha256("".join(_digest(part) for part in inputs).encode())


def _digest(part: np.ndarray | Stored) -> str:
    """Of an array's bytes, which are not copied; images in files have theirs already."""
    if isinstance(part, Stored):
        return part.digest()
    return hashlib.sha256(np.ascontiguousarray(part).data).hexdigest()


def select(config: RunConfig) -> Inputs:
    """Load and check what a run learns from.

    Raises:
        ConfigError: for data, split, or a batch larger than the split, before torch is loaded.
    """
    listed = None if config.split in DRAWN else open_list(config.split)  # fails before data loads
    refuse_test_part(config.data)
    data = read_arrays(config.data, "train", config.root)
    index, counts, group_counts = _chosen(config, listed, data.classes)
    _tell(config, data, counts)
    images = taken(data.images, index)
    return Inputs(images, data.labels[index], index, counts, group_counts)


def check(config: RunConfig, classes: own_classes.Classes) -> None:
    """Raise a ConfigError where `select` would, for another reason than an image.

    Args:
        config: the run's.
        classes: of its training part.
    """
    listed = None if config.split in DRAWN else open_list(config.split)
    refuse_test_part(config.data)
    _chosen(config, listed, classes)


def _chosen(
    config: RunConfig, listed: np.ndarray | lists.FileList | None, classes: own_classes.Classes
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions [n] of a run's images, their counts [C], and the counts [C] that make groups."""
    if listed is None:
        index, group_counts = _positions(config, classes)
    else:
        index, group_counts = in_data(listed, classes.labels, config.data), None
    _check_range(config, config.split, index, len(classes.labels))
    if not config.weights:  # those are not trained here, so there are no batches
        _check_batches(config, len(index))
    counts = np.bincount(classes.labels[index], minlength=len(classes.names))
    if config.method in SUPERVISED and np.count_nonzero(counts) < 2:
        raise ConfigError(
            f"method {config.method} learns from labels, and these are of one class only; "
            "simclr, sdclr, bcl-i, bcl-d and moco need none"
        )
    partner = own_path(tail_of(config.split))
    is_its_own = str(partner) == str(own_path(config.split))  # a long-tail list
    if listed is not None and not is_its_own and partner.exists():
        of_partner = in_data(open_list(partner), classes.labels, config.data)
        _check_range(config, str(partner), of_partner, len(classes.labels))
        group_counts = np.bincount(classes.labels[of_partner], minlength=len(classes.names))
    return index, counts, counts if group_counts is None else group_counts


def _check_range(config: RunConfig, name: str, index: np.ndarray, images: int) -> None:
    if index.max() >= images:
        raise ConfigError(
            f"split {name} has position {index.max()}, but {config.data} has {images} images; "
            "is it the list of another data set?"
        )


def tail_of(split: str) -> str:
    """The long-tail partner of a balanced set, by the published naming; of a long-tail set itself.

    Published are `split1_D_b.npy` beside `split1_D_i.npy`, and `ImageNet_BL_train.txt` beside
    `ImageNet_LT_train.txt`.
    """
    if split == "balanced":
        return "long-tail"
    folder, slash, name = split.rpartition("/")
    return folder + slash + name.replace("_D_b", "_D_i").replace("_BL_", "_LT_")


def is_balanced(split: str) -> bool:
    """Whether a set is the balanced partner of a long-tail one."""
    return tail_of(split) != split


def taken(images: Any, index: np.ndarray) -> np.ndarray | Stored:
    """Some of a data set's images: as an array, or still in their files."""
    if isinstance(images, Stored):
        return images.take(index)
    return np.asarray(images[index])


def _check_batches(config: RunConfig, images: int) -> None:
    """Refuse batches that are empty, or have one image, which has nothing to be told from."""
    if images < 2:
        raise ConfigError(f"split {config.split} of {config.data} has 1 image; a run needs 2")
    size = config.batch_size
    if config.drop_last and images < size:
        raise ConfigError(
            f"batch_size is {size}, but split {config.split} of {config.data} has {images} images, "
            f"and drop_last leaves out what fills no batch; set batch_size={images} or less"
        )
    smallest = images % size or size
    if config.equal_batches:
        smallest = images // math.ceil(images / size)
    if smallest == 1 and not config.drop_last:
        raise ConfigError(
            f"batch_size {size} leaves a last batch of 1 image, which has nothing to "
            "be told from; use another batch_size, equal_batches=true or drop_last=true"
        )


def _tell(config: RunConfig, data: ImageArrays, counts: np.ndarray) -> None:
    """Say before training what a person should know of her own data: their classes above all."""
    taken, there = int(counts.sum()), len(data.labels)
    if taken < config.batch_size and not config.weights:
        log.warning(
            "%d images are less than a batch of %d, so an epoch is one update; for more updates "
            "set batch_size, for example to %d",
            taken, config.batch_size, max(2, taken // 4),
        )  # fmt: skip
    if not config.data.startswith(IN_FILES):
        return
    if config.split == "long-tail" and np.ptp(data.classes.counts) > 0:
        log.warning(
            "split long-tail takes %d of the %d images, as if classes of one size were there; "
            "--split all takes the data as they are",
            taken, there,
        )  # fmt: skip
    test: own_classes.Classes | str
    try:
        test = read_classes(config.data, "test", config.root)
        if test.said:
            log.warning("%s", test.said)
    except DamagedFile:
        raise
    except ConfigError as error:
        test = str(error)
        if not isinstance(error, NoTestPart):
            log.warning("a probe will refuse the test part as it is; mend it before you train")
    own_classes.tell(config.data, data.class_names, counts, test)


def _positions(
    config: RunConfig, classes: own_classes.Classes
) -> tuple[np.ndarray, np.ndarray | None]:
    """The split's positions, and the class counts that define its groups if not its own."""
    if config.split == "all":
        return np.arange(len(classes.labels)), None
    counts = classes.counts
    largest = config.largest_class or int(counts.min()) * 9 // 10  # a tenth stays unseen
    cannot = largest < config.imbalance and config.largest_class is None
    if cannot and np.ptp(counts) > 0:
        rarest = classes.names[counts.argmin()]
        raise ConfigError(
            f"split {config.split}: class {rarest} has {counts.min()} images, too few to cut a "
            f"long tail of imbalance {config.imbalance:g} from; the classes have {counts.min()} to "
            f"{counts.max()} images, and --split all takes them as they are"
        )
    try:
        return _drawn(config, classes.labels, class_sizes(largest, len(counts), config.imbalance))
    except ConfigError as error:
        sizes = zip(classes.names, counts.tolist(), strict=True)
        small = [f"{name} has {count}" for name, count in sizes if count < largest]
        about = f" (largest_class is {largest}, imbalance {config.imbalance:g}; {listed(small)})"
        raise ConfigError(
            f"split {config.split}: {error}{about if small else ''}; --split all takes the data as "
            "they are"
        ) from None


def _drawn(
    config: RunConfig, labels: np.ndarray, sizes: list[int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """A long tail of these sizes; or its balanced partner, and the counts of the tail."""
    tail = long_tail(labels, sizes, config.drawn_with, config.mirrored)
    if config.split == "long-tail":
        return tail, None
    same_size = balanced(labels, sum(sizes) // len(sizes), config.drawn_with)
    return same_size, np.bincount(labels[tail], minlength=len(sizes))
