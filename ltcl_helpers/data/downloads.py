"""Data that is not in the repository: where it comes from, and whether it is what it should be."""

from __future__ import annotations

import functools
import hashlib
import logging
import urllib.request
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..files import read_json, sha256, write_bytes
from ..paths import DATA, PUBLISHED_LISTS
from .images import CIFAR_FOLDERS, read_arrays

log = logging.getLogger(__name__)
LISTS = {"splits": "files", "large-splits": "large"}  # by the part of the book they stand in
NAMES = (*CIFAR_FOLDERS, *LISTS)


def check_name(name: str) -> None:
    """Raise a ConfigError for a name that stands for no data set and no lists."""
    if name not in NAMES:
        raise ConfigError(f"name is {name!r}; allowed are {', '.join(NAMES)}, or a pack to verify")


def published_lists(name: str = "splits") -> dict[str, dict[str, Any]]:
    """The published lists: path below the splits folder, to its origin and its checksums.

    `splits` are those of CIFAR and ImageNet-100, `large-splits` those of ImageNet-LT, Places and
    iNaturalist. Every one has its sha256, or its git blob id where only that is known.
    """
    book = read_json(PUBLISHED_LISTS)
    origin = {"repository": book["repository"], "commit": book["commit"]}
    return {file: origin | entry for file, entry in book[LISTS[name]].items()}


def is_published(content: bytes, entry: dict[str, Any]) -> bool:
    """Whether this is the content of a published list."""
    if "sha256" in entry:
        return sha256(content) == str(entry["sha256"])
    header = f"blob {len(content)}\0".encode()  # as `git hash-object` does it
    return hashlib.sha1(header + content).hexdigest() == str(entry["git_blob"])


@functools.cache
def _by_name() -> dict[str, list[dict[str, Any]]]:
    """Size and digest of every published list, by the name of its file."""
    found: dict[str, list[dict[str, Any]]] = {}
    for kind in LISTS:
        for place, entry in published_lists(kind).items():
            found.setdefault(place.rpartition("/")[2], []).append(entry)
    return found


def check_list(path: Path) -> None:
    """Raise a ConfigError for a published list that is no longer as published.

    A file is taken for one that has its name and its size. A list of somebody's own may have the
    name alone, and a file that was cut short is found without this.
    """
    for entry in _by_name().get(path.name, []):
        if path.stat().st_size != entry.get("size"):
            continue
        if not is_published(path.read_bytes(), entry):
            raise ConfigError(
                f"{path} is not the published list of that name, though it has its size; "
                "`ltcl data get splits` fetches it, or rename your own"
            )


def get(name: str, root: Path | None = None, source: str | None = None) -> None:
    """Download `cifar10`, `cifar100` (torchvision, checksummed) or published lists.

    Args:
        name: what is downloaded.
        root: folder to put it in; `data/` (lists: `data/splits/`) when None.
        source: for splits, a folder or address to take them from instead of their repositories.
    """
    if name in LISTS:
        for file, entry in published_lists(name).items():
            _get_list((root or DATA / "splits") / file, entry, source and f"{source}/{file}")
    else:
        from torchvision import datasets

        log.info("CIFAR's host is slow these days; --set root=DIR uses a copy you have already")
        try:
            for train in (True, False):
                getattr(datasets, name.upper())(root or DATA, train=train, download=True)
        except (OSError, RuntimeError) as error:
            raise ConfigError(
                f"{name} did not arrive ({error}); copy the folder {CIFAR_FOLDERS[name]}, or its "
                f"archive from a mirror, into {root or DATA}, or use --data npz:PATH"
            ) from None
    log.info(verify(name, root))


def _get_list(target: Path, entry: dict[str, Any], place: str | None) -> None:
    if target.exists() and is_published(target.read_bytes(), entry):
        return
    host = "https://raw.githubusercontent.com/{repository}/{commit}/{path}"
    place = place or host.format(**entry)
    try:
        if "://" in place:
            with urllib.request.urlopen(place, timeout=60) as reply:
                content = reply.read()
        else:
            content = Path(place).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{place} cannot be read ({error}); try again, or give --source FOLDER with copies"
        ) from None
    if not is_published(content, entry):
        raise ConfigError(f"{place} is not the published list (sha256 differs); nothing saved")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, content)


def verify(name: str, root: Path | None = None) -> str:
    """Check a data set or the published lists against their checksums; one line that says so."""
    if name not in LISTS:
        counts = [len(read_arrays(name, part, root).labels) for part in ("train", "test")]
        return f"{name}: {counts[0]} training and {counts[1]} test images, checksums hold"
    root, lists = root or DATA / "splits", published_lists(name)
    for file, entry in lists.items():
        if not (root / file).exists() or not is_published((root / file).read_bytes(), entry):
            raise ConfigError(f"{root / file} is missing or damaged; run `ltcl data get {name}`")
    return f"{len(lists)} published lists in {root}, checksums hold"
