"""Images by name: the embedded shapes, CIFAR, an .npz, a folder of image files.

Everything is read and checked with NumPy first, so that bad input fails before torch is loaded; a
ConfigError names the data set or file, what is wrong with it and what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import ConfigError
from ..paths import DATA, own_path
from . import own, shapes
from .classes import Classes, aligned
from .stored import Stored, margin_of

if TYPE_CHECKING:
    from torch import Tensor

    from .pack import Pack

log = logging.getLogger(__name__)

OWN_KINDS = (*own.KINDS, "pack")
CIFAR_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
NAMES = "shapes[:SEED], cifar10, cifar100, npz:PATH, folder:PATH[@SIZE], pack:PATH[@SIZE]"


class ImageSet(NamedTuple):
    """Images uint8 [N, 3, H, W] and labels int64 [N] as tensors, and C class names."""

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]


class ImageArrays(NamedTuple):
    """The same as arrays; images may be drawn (`shapes.Drawing`) or decoded when they are taken."""

    images: np.ndarray | shapes.Drawing | Stored
    labels: np.ndarray
    class_names: tuple[str, ...]
    ids: tuple[int, ...] = ()  # the classes by number; empty where they have names only

    @property
    def classes(self) -> Classes:
        """The same without the images."""
        return Classes(self.labels, self.class_names, self.ids)


def load_images(name: str, part: str = "train", root: str | Path | None = None) -> ImageSet:
    """Load one part of a data set into memory, as tensors.

    Args:
        name: `shapes` (or `shapes:SEED`), `cifar10`, `cifar100`, `npz:PATH`, `folder:PATH[@SIZE]`,
            `pack:PATH[@SIZE]`.
        part: `train` or `test`; labels of the test part are those of the training part.
        root: where CIFAR lies; `data/` of the kit when None.
    """
    return as_tensors(read_arrays(name, part, root))


def as_tensors(data: ImageArrays) -> ImageSet:
    """The same images and labels for torch."""
    import torch

    images = torch.from_numpy(np.asarray(data.images))
    return ImageSet(images, torch.from_numpy(data.labels), data.class_names)


def read_arrays(
    name: str,
    part: str = "train",
    root: str | Path | None = None,
    margin: float | None = None,
) -> ImageArrays:
    """The same as `load_images`, as NumPy arrays and without loading torch (but for CIFAR).

    Images of `shapes` are a `shapes.Drawing`: a run draws what it takes, not all. `margin` is that
    of the training images, as `stored.margin_of` gives it: where files are read, the test's
    pictures are cut out as those are.
    """
    kind, where = _check(name, part)
    if kind == "shapes":
        drawing = shapes.Drawing(part, int(where or 0))
        ids = tuple(range(len(shapes.CLASS_NAMES)))
        return ImageArrays(drawing, drawing.labels, shapes.CLASS_NAMES, ids)
    if kind in CIFAR_FOLDERS:
        return _cifar(name, part, own_path(root or DATA))
    if kind == "pack":
        return _pack(where, part, margin)
    images, classes = own.read(kind, where, part, margin)
    if classes.said:
        log.warning("%s", classes.said)
    return ImageArrays(images, classes.labels, classes.names, classes.ids)


def read_classes(name: str, part: str = "train", root: str | Path | None = None) -> Classes:
    """The classes of one part as `read_arrays` gives them, fast: no image is read of own data.

    Nothing is logged; what must be said is in `said`.
    """
    kind, where = _check(name, part)
    if kind in own.KINDS:
        return own.read_classes(kind, where, part)
    return read_arrays(name, part, root).classes


def _check(name: str, part: str) -> tuple[str, str]:
    """Kind and place of a data set's name."""
    if part not in ("train", "test"):
        raise ConfigError(f"part is {part!r}; allowed are 'train' and 'test'")
    kind, _, where = name.partition(":")
    if kind == "shapes" and where and not (where.isascii() and where.isdecimal()):
        raise ConfigError(f"data is {name!r}; the seed after 'shapes:' is a whole number")
    if name not in CIFAR_FOLDERS and kind != "shapes" and not (kind in OWN_KINDS and where):
        raise ConfigError(f"data is {name!r}; allowed are {NAMES}")
    return kind, where


def file_names(name: str) -> Sequence[str]:
    """The names of the training part's files, as text lists have them; empty for other data."""
    kind, where = _check(name, "train")
    if kind == "folder":
        return own.file_names(where)
    if kind == "pack":
        opened, images = _open_pack(where, "train")
        return [opened.paths[position] for position in images.positions]
    return []


def _pack(where: str, part: str, margin: float | None = None) -> ImageArrays:
    """A pack's images, which stay in it until they are needed."""
    opened, images = _open_pack(where, part)
    images.margin = margin or images.margin
    return ImageArrays(images, opened.labels[images.positions], opened.class_names)


def _open_pack(where: str, part: str) -> tuple[Pack, Stored]:
    """PATH[@SIZE]: the pack, and a part's images at this size."""
    from .pack import SIDE, Pack

    path, _, size = where.rpartition("@")
    if not path or "/" in size:  # a folder's name may hold such a sign
        path, size = where, str(SIDE)
    if not (size.isascii() and size.isdecimal()) or int(size) not in own.SIZES:
        raise ConfigError(f"pack:{where}: the size after '@' is {size!r}; allowed is 8 to 512")
    opened = Pack(own_path(path))
    return opened, opened.images(part, int(size))


def _cifar(name: str, part: str, root: Path) -> ImageArrays:
    if not (root / CIFAR_FOLDERS[name]).is_dir():
        raise ConfigError(
            f"{name} is not in {root} (no folder {CIFAR_FOLDERS[name]}); "
            f"`ltcl data get {name} --root {root}` downloads it, and `ltcl run --set root=DIR` "
            "takes it from elsewhere"
        )
    from torchvision import datasets  # checks the md5 of every file before it unpickles one

    try:
        data = getattr(datasets, name.upper())(root, train=part == "train")
    except RuntimeError:
        raise ConfigError(
            f"{root / CIFAR_FOLDERS[name]} is incomplete or damaged (torchvision's checksums); "
            f"delete it and run `ltcl data get {name} --root {root}`"
        ) from None
    images = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
    names = tuple(data.classes)
    return ImageArrays(images, np.asarray(data.targets, np.int64), names, tuple(range(len(names))))


# --- a run's data, looked at again --------------------------------------------------------------


def check_same(now: Classes, index: np.ndarray, labels: np.ndarray, name: str) -> None:
    """Refuse data that are not those of a run any more: fewer images, or other labels.

    Args:
        now: the classes of the training part.
        index: int64 [n], the run's positions.
        labels: int64 [n], the run's labels.
        name: of the data set.
    """
    if index.max() >= len(now.labels):
        raise ConfigError(f"{name} here has {len(now.labels)} images, the run had more")
    if not np.array_equal(now.labels[index], labels):
        raise ConfigError(
            f"{name} here has other labels than the run had; put the old data back, or run again"
        )


def read_test(name: str, train: ImageArrays, root: str | Path | None = None) -> ImageArrays:
    """The test part of a data set for a run's training part: its labels, names, and cut.

    Raises:
        ConfigError: for a class that the training part lacks.
    """
    found = read_arrays(name, "test", root, margin_of(train.images))
    classes = aligned(found.classes, train.classes, f"the test part of {name}")
    return ImageArrays(found.images, classes.labels, classes.names, classes.ids)


def check_test(name: str, train: Classes, root: str | Path | None = None) -> None:
    """Refuse a test part of which a probe of these classes can say nothing, before it is read.

    Raises:
        ConfigError: where there is one class only, no test part, or a test class that is unknown.
    """
    if len(train.names) < 2:
        raise ConfigError(
            f"the run's data have one class only ({train.names[0]}), so a probe measures nothing: "
            "every answer is right; `ltcl explore RUN --out page.html` shows how it learnt"
        )
    if name.partition(":")[0] in own.KINDS:
        aligned(read_classes(name, "test", root), train, f"the test part of {name}")


def refuse_absent(name: str) -> None:
    """Complain of data that are not there before torch is loaded; they are read and checked later.

    Raises:
        ConfigError: for a name that means nothing, or a file or folder that does not exist.
    """
    kind, _, where = name.partition(":")
    if kind not in (*CIFAR_FOLDERS, "shapes", "npz", "folder", "pack"):
        raise ConfigError(f"data is {name!r}; allowed are {NAMES}")
    if kind not in ("npz", "folder"):
        return
    places = {where, where.rpartition("@")[0] or where}  # a name may hold an @, or end in @SIZE
    if not any(own_path(place).exists() for place in places):
        place = min(places, key=len)
        here = "" if Path(place).is_absolute() else f" in {Path.cwd()}"
        raise ConfigError(f"{place} does not exist{here}; {kind}: takes a path")
