"""Which classes there are, in training and in test: told apart by name, counted before training.

Labels of a test set are those of the training part: class k is the same class in both, or it is
refused. A class without a test image is allowed, and said.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np

from ..errors import ConfigError
from .folders import listed

log = logging.getLogger(__name__)


class Classes(NamedTuple):
    """The classes of one part that have an image.

    labels int64 [N], the class 0 to C - 1 of each image; names, C texts; ids, what the file itself
    called each class by number, empty for folders, whose classes have names only; said, what was
    left out or understood, and must be said.
    """

    labels: np.ndarray
    names: tuple[str, ...]
    ids: tuple[int, ...] = ()
    said: str = ""

    @property
    def counts(self) -> np.ndarray:
        """Images per class, int64 [C]."""
        return np.bincount(self.labels, minlength=len(self.names))

    @property
    def numbered(self) -> bool:
        """Whether the names are numbers that nobody chose as names."""
        return bool(self.ids) and self.names == tuple(map(str, self.ids))


def of_numbers(numbers: np.ndarray, names: tuple[str, ...] | None, where: object) -> Classes:
    """Classes of labels that are numbers: positions in `names`, or ids that stand for themselves.

    Args:
        numbers: int [N], of any size and with gaps.
        names: one text for each number from 0, or None.
        where: the file, for errors.
    """
    ids, labels = np.unique(numbers, return_inverse=True)
    allowed = len(names) if names is not None else None
    if ids[0] < 0 or ids[-1] >= (2**63 if allowed is None else allowed):
        _refuse_numbers(int(ids[0]), int(ids[-1]), allowed, where)
    known = tuple(int(number) for number in ids)
    said = ""
    if names is None:
        present = tuple(map(str, known))
        if known != tuple(range(len(known))):
            said = f"{where}: labels are taken as ids of {len(known)} classes: {listed(present)}"
    else:
        present = tuple(names[number] for number in known)
        absent = sorted(set(range(len(names))) - set(known))
        if absent:
            text = listed([names[number] for number in absent])
            said = f"{where}: no image of class {text}, which is left out"
    return Classes(labels.astype(np.int64), present, known, said)


def _refuse_numbers(lowest: int, highest: int, allowed: int | None, where: object) -> None:
    """Say what is wrong with labels that are below 0, or beyond the names."""
    told = f"{where} has labels from {lowest} to {highest}; allowed are 0 "
    if allowed is None:
        told += f"to {2**63 - 1}; images without a label may all have label 0"
    else:
        told += f"to {allowed - 1}, one for each of the {allowed} class_names"
        if lowest == 1 and highest == allowed:
            told += "; these count from 1: subtract 1"
    raise ConfigError(told)


def aligned(test: Classes, train: Classes, where: str) -> Classes:
    """The test part with the training part's classes: names [C] and labels of the latter.

    Classes are the same by their names; where one of both has none, by their numbers. What was said
    of an .npz alone is said no more.

    Raises:
        ConfigError: for a test class that the training part lacks, or an ambiguous name.
    """
    by_number = bool(test.ids and train.ids) and (test.numbered or train.numbered)
    keys = train.ids if by_number else train.names
    wanted = test.ids if by_number else test.names
    said = "" if test.ids else test.said
    if wanted == keys:
        return Classes(test.labels, train.names, train.ids, said)
    place = {key: k for k, key in enumerate(keys)}
    if len(place) < len(keys) or len(set(wanted)) < len(wanted):
        raise ConfigError(f"{where}: two classes have one name; give each a name of its own")

    # Only classes that have a test image must be known.
    used = np.flatnonzero(test.counts)
    if unknown := [str(wanted[k]) for k in used if wanted[k] not in place]:
        raise ConfigError(
            f"{where} has images of class {listed(unknown)}, which the training part lacks; "
            f"its classes are {listed(train.names)}{_alike(unknown, train.names)}"
        )
    new = np.zeros(len(wanted), np.int64)
    new[used] = [place[wanted[k]] for k in used]
    return Classes(new[test.labels], train.names, train.ids, said)


def _alike(unknown: list[str], names: tuple[str, ...]) -> str:
    """A hint where names differ in case or spaces only."""
    loose = {name.strip().casefold(): name for name in names}
    for name in unknown:
        if name.strip().casefold() in loose:
            return f"; is {name!r} meant to be {loose[name.strip().casefold()]!r}?"
    return ""


# --- before training ----------------------------------------------------------------------------


def tell(data: str, names: tuple[str, ...], counts: np.ndarray, test: Classes | str) -> None:
    """Say how many images every class has, and in one table which classes have none.

    Args:
        data: the data set's name.
        names: of the C classes.
        counts: int [C], images that a run learns from.
        test: the test part, or why there is none.
    """
    learnt = f"{data}: {len(names)} {_plural('class', names)}, {_range(counts)} to learn from"
    if isinstance(test, str):
        log.info("%s; no test part for a probe: %s", learnt, test)
        tested = None
    else:
        place = {name: k for k, name in enumerate(test.names)}
        tested = np.array([test.counts[place[name]] if name in place else 0 for name in names])
        log.info("%s, %s to test", learnt, _range(tested))
    none = counts == 0
    if tested is not None:
        none |= tested == 0
    if none.any():
        log.warning("%s", _table(np.flatnonzero(none), names, counts, tested))
    if len(names) == 1:
        log.info("one class is enough for a run and `ltcl explore`, but not for a probe")


def _plural(word: str, things: tuple[str, ...]) -> str:
    return word if len(things) == 1 else f"{word}es"


def _range(counts: np.ndarray) -> str:
    """How many images, and how many a class."""
    low, high = int(counts.min()), int(counts.max())
    each = f"{low}" if low == high else f"{low} to {high}"
    return f"{counts.sum()} images ({each} a class)"


def _table(
    rows: np.ndarray, names: tuple[str, ...], counts: np.ndarray, tested: np.ndarray | None
) -> str:
    """The classes without an image, and how many they have in each part."""
    shown = {k: listed([names[k]]) for k in rows}
    width = max(len("class"), *map(len, shown.values()))
    lines = [f"Classes without an image:\n  {'class':{width}}  train   test"]
    for k in rows[:20]:
        here = "-" if tested is None else str(tested[k])
        lines.append(f"  {shown[k]:{width}}  {counts[k]:5}  {here:>5}")
    if len(rows) > 20:
        lines.append(f"  and {len(rows) - 20} more")
    return "\n".join(lines)
