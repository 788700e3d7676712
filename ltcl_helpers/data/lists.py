"""Text lists of image files, a line each: `path label`, as ImageNet's are published, or `path`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import ConfigError


class FileList(NamedTuple):
    """What a text list says."""

    name: Path
    paths: list[str]
    labels: list[int] | None  # None where the list has paths only


def read_list(path: str | Path) -> FileList:
    """Read a text list; a path may hold spaces, a label is the last word of its line.

    Raises:
        ConfigError: for a missing or empty file, or a line that is not like the others.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors put a mark before it
    except OSError as error:
        raise ConfigError(f"list {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(
            f"list {path} is no text; give one with a line `path label` an image"
        ) from None
    paths = []
    labels: list[int | None] = []
    numbers = []  # of the lines, from 1
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, label = _parse(line.strip())
        paths.append(name)
        labels.append(label)
        numbers.append(number)
    if not paths:
        raise ConfigError(f"list {path} is empty; it needs a line `path label` for every image")
    if all(name.isdecimal() for name in paths):
        raise ConfigError(
            f"list {path} holds positions, not names of files; of a text with a position a line, "
            "make one: numpy.save('list.npy', numpy.loadtxt('list.txt', dtype=int))"
        )
    with_label = [label is not None for label in labels]
    if any(with_label) and not all(with_label):
        other = with_label.index(not with_label[0])
        raise ConfigError(
            f"list {path}: line {numbers[other]} ({paths[other]!r}) and line {numbers[0]} differ "
            "in having a label; give all lines one, or none"
        )
    if any(with_label):
        return FileList(path, paths, [label for label in labels if label is not None])
    return FileList(path, paths, None)


def _parse(line: str) -> tuple[str, int | None]:
    words = line.rsplit(maxsplit=1)  # at a space or a tab
    if len(words) == 2 and words[1].isdecimal():
        return words[0], int(words[1])
    return line, None


def positions(listed: FileList, paths: Sequence[str], labels: np.ndarray, where: str) -> np.ndarray:
    """Positions int64 [n] of a list's files among `paths` [N].

    Args:
        listed: what the list says.
        paths: of the images, as lists name them.
        labels: int64 [N], of the images.
        where: the data's name, for errors.

    Raises:
        ConfigError: for a file that is not there or is listed twice, or with another label.
    """
    at = {path: position for position, path in enumerate(paths)}
    found = []
    for path in listed.paths:
        position = at.get(path.removeprefix("./"))
        if position is None:
            known = f"its names are like {paths[0]}" if len(paths) else "it holds none"
            if where.startswith("pack:"):
                known += "; pack it again with this list among --lists"
            raise ConfigError(
                f"list {listed.name} names {path}, which {where} does not hold; {known}"
            )
        found.append(position)
    index = np.array(found, np.int64)
    if len(np.unique(index)) < len(index):
        values, times = np.unique(index, return_counts=True)
        twice = paths[values[times.argmax()]]
        raise ConfigError(f"list {listed.name} names {twice} {times.max()} times; allowed is once")
    if listed.labels is not None:
        apart = np.flatnonzero(labels[index] != np.array(listed.labels))
        if len(apart):
            first = apart[0]
            raise ConfigError(
                f"list {listed.name} gives {listed.paths[first]} label {listed.labels[first]}, "
                f"{where} has {labels[index[first]]}; pack it with lists of the same labels"
            )
    return index
