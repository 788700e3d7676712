"""Data that a person brings, .npz or a folder of image files, with a train and a test part.

Labels of a test part are those of the training part beside it.
"""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path

import numpy as np

from ..errors import ConfigError, NoTestPart
from ..files import npz_form, read_npz
from ..paths import own_path
from . import folders
from .classes import Classes, aligned, of_numbers
from .stored import MARGIN, Stored, of_files

log = logging.getLogger(__name__)
KINDS = ("npz", "folder")
FOLDERS = {"train": ("train",), "test": ("test", "val")}  # of each part, by preference
IN_MEMORY = 2**31  # bytes; a folder with more is read image by image, as it is needed
SIZES = range(8, 513)  # sides of a folder's images, pixels


def read(
    kind: str, where: str, part: str, margin: float | None = None
) -> tuple[np.ndarray | Stored, Classes]:
    """Images uint8 [N, 3, H, W] and classes of one part.

    Args:
        kind: one of `KINDS`.
        where: the place, as written after the colon of a data set's name.
        part: `train` or `test`.
        margin: of the training images, as `stored.margin_of` gives it, where these are their test.
    """
    if kind == "npz":
        path = _npz_file(where, part)
        arrays = read_npz(path)
        images: np.ndarray | Stored = _npz_images(path, arrays)
        classes = _npz_classes(path, arrays)
    else:
        _, size = _base_and_size(where)
        found = _search(where, part)
        images = _folder_images(found.files, size, margin)
        classes = Classes(found.labels, found.class_names, (), found.said)
    return images, _as_in_training(kind, where, part, classes)


def read_classes(kind: str, where: str, part: str) -> Classes:
    """The same without the images, which are not read: fast."""
    if kind == "npz":
        path = _npz_file(where, part)
        arrays = read_npz(path, "labels", "class_names")
        if form := npz_form(path, "images"):
            _check_images(path, *form)
        classes = _npz_classes(path, arrays)
    else:
        found = _search(where, part)
        classes = Classes(found.labels, found.class_names, (), found.said)
    return _as_in_training(kind, where, part, classes)


def _as_in_training(kind: str, where: str, part: str, classes: Classes) -> Classes:
    """A test part with the classes of the training part beside it, where there is such a part."""
    if part == "train":
        return classes
    if kind == "npz":
        where = str(_training_file(own_path(where)))
        is_there = Path(where).exists()
    else:
        is_there = _part_folder(_base_and_size(where)[0], "train") is not None
    if not is_there:
        return classes
    return aligned(classes, read_classes(kind, where, "train"), f"the test part of {kind}:{where}")


# --- .npz -------------------------------------------------------------------------------------


def _npz_file(where: str, part: str) -> Path:
    """The file of a part: for training as it is named, for the test X_test.npz beside it."""
    path = own_path(where)
    stem, _, named = path.stem.rpartition("_")
    if part == "train":
        return path
    if named not in ("train", "test"):
        raise NoTestPart(
            f"no test set belongs to {path}: name the files X_train.npz and X_test.npz, "
            "or give one with --test npz:X_test.npz"
        )
    test = own_path(path.with_name(f"{stem}_test.npz" if stem else "test.npz"))
    if not test.exists():
        raise NoTestPart(f"{test} does not exist; make it, or give one with --test npz:X_test.npz")
    return test


def _training_file(path: Path) -> Path:
    """What a test file's labels are compared with."""
    stem, _, named = path.stem.rpartition("_")
    name = f"{stem}_train.npz" if stem else "train.npz"
    return own_path(path.with_name(name)) if named == "test" else path


def refuse_test_part(name: str) -> None:
    """Refuse to learn from what a probe would be tested on."""
    kind, _, where = name.partition(":")
    path = Path(where)
    if kind == "npz" and path.stem.rpartition("_")[2] == "test":
        raise ConfigError(
            f"{path} is a test part by its name, and a probe would be tested on it; "
            f"for training name {_training_file(path).name}, or give the file another name"
        )


def _npz_images(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Checked images uint8 [N, 3, H, W]."""
    if missing := {"images", "labels"} - set(arrays):
        held = ", ".join(arrays) or "nothing"
        raise ConfigError(f"{path} lacks {' and '.join(sorted(missing))}; it holds {held}")
    images, labels = arrays["images"], arrays["labels"]
    _check_images(path, images.shape, images.dtype)
    if not images.size:
        raise ConfigError(f"{path} holds no image")
    if labels.shape[:1] != (len(images),):
        raise ConfigError(
            f"{path}: labels are {labels.dtype} of shape {labels.shape} for {len(images)} images; "
            "allowed is one whole number per image"
        )
    if images.shape[1] != 3:
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return images


def _check_images(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuse an array that is none of images."""
    if dtype != np.uint8 or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise ConfigError(
            f"{path}: images are {dtype} of shape {shape}; "
            "allowed is uint8 [N, H, W, 3] or [N, 3, H, W]"
        )


def _npz_classes(path: Path, arrays: dict[str, np.ndarray]) -> Classes:
    """The classes of an .npz by its labels, and by its class_names where it has them."""
    if "labels" not in arrays:
        raise ConfigError(f"{path} lacks labels; without any, give all images label 0")
    labels = arrays["labels"]
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]  # a column, as Keras has it
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        # Numbers that are made of names mean nothing in another file without its own names.
        maker = (
            "names, numbers = numpy.unique(labels, return_inverse=True) makes such; save "
            "labels=numbers, class_names=names, and do the same with the other part"
        )
        if labels.ndim > 1:
            maker = "numpy.argmax(labels, 1) makes such"
        elif labels.dtype.kind == "f":
            maker = "labels.astype(int) makes such"
        raise ConfigError(
            f"{path}: labels are {labels.dtype} of shape {labels.shape}; "
            f"allowed is one whole number per image; {maker}"
        )
    if not len(labels):
        raise ConfigError(f"{path} holds no image")
    names = arrays.get("class_names")
    if names is None:
        return of_numbers(labels, None, path)
    if names.ndim != 1:
        raise ConfigError(f"{path}: class_names are of shape {names.shape}; allowed is one list")
    texts = tuple(_text(name) for name in names.tolist())
    return of_numbers(labels, texts, path)


def _text(name: object) -> str:
    """A class name as text, in the one Unicode form in which names are compared."""
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    return unicodedata.normalize("NFC", text)


# --- folders ----------------------------------------------------------------------------------


def _folder_images(
    files: list[Path], size: int, margin: float | None = None
) -> np.ndarray | Stored:
    """The images; where they would not fit in memory they stay in their files, which is said.

    A test's images are cut as those that a probe learns from, whatever the number of either.
    """
    total = len(files) * 3 * size**2
    fits = total <= IN_MEMORY
    if fits and margin in (None, 1):
        return folders.read_images(files, size)
    if not fits:
        log.warning(
            "%d images of %d pixels would take %.1f GiB: they stay in their files, and crops are "
            "cut from all of an image; `ltcl data pack` makes that faster",
            *(len(files), size, total / 2**30),
        )
    return Stored(of_files(files), size, margin=margin or MARGIN)


def file_names(where: str) -> list[str]:
    """The names of the training part's files below the folder, as text lists have them."""
    base, _ = _base_and_size(where)
    return [path.relative_to(base).as_posix() for path in _search(where, "train").files]


def _base_and_size(where: str) -> tuple[Path, int]:
    """PATH[@SIZE]: the folder, and the side of its images."""
    base, _, size = where.rpartition("@")
    named_so = bool(base) and not own_path(base).is_dir() and own_path(where).is_dir()
    if not base or named_so:  # no size, or an @ in the folder's own name
        base, size = where, "32"
    if not (size.isascii() and size.isdecimal()) or int(size) not in SIZES:
        raise ConfigError(
            f"folder:{where}: the size after '@' is {size!r}; "
            f"allowed is {SIZES.start} to {SIZES.stop - 1}"
        )
    return own_path(base), int(size)


def _part_folder(base: Path, part: str) -> Path | None:
    """The folder of a part; for training also `base` itself, where it is a pile of images."""
    for name in FOLDERS[part]:
        if (base / name).is_dir():
            return base / name
    pile = base.is_dir() and not _inner(base) and any(base.iterdir())
    return base if part == "train" and pile else None


def _inner(base: Path) -> list[str]:
    """The folders in a folder that are not hidden."""
    return sorted(p.name for p in base.iterdir() if p.is_dir() and not p.name.startswith("."))


def _search(where: str, part: str) -> folders.Found:
    """The images of a part, at least one."""
    base, _ = _base_and_size(where)
    if not base.is_dir():
        what = "is no folder" if base.exists() else "does not exist"
        raise ConfigError(f"{base} {what}; give folder:PATH[@SIZE]")
    root = _part_folder(base, part)
    if root is None:
        wanted = " or ".join(FOLDERS[part])
        there = folders.listed(_inner(base)) or "no folder"
        kind = ConfigError if part == "train" else NoTestPart
        raise kind(f"{base} has no folder {wanted}/ with a folder per class; it has {there}")
    found = folders.search(root)
    if not found.files:
        raise ConfigError(
            f"{root} holds no images: it needs a folder per class with png, jpg, ..."
            + (f" ({found.said})" if found.said else "")
        )
    return found
