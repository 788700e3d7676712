"""Images by name: the embedded shapes, CIFAR, an .npz, a folder of image files.

Everything is read and checked with NumPy first, so that bad input fails before torch is loaded; a
ConfigError names the data set or file, what is wrong with it and what to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import ConfigError
from ..files import read_npz
from ..paths import DATA
from . import shapes

if TYPE_CHECKING:
    from torch import Tensor

CIFAR_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
NAMES = "shapes[:SEED], cifar10, cifar100, npz:PATH, folder:PATH[@SIZE]"
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}


class ImageSet(NamedTuple):
    """Images uint8 [N, 3, H, W] and labels int64 [N] as tensors, and C class names."""

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]


class ImageArrays(NamedTuple):
    """The same as arrays; images may be a `shapes.Drawing`, which draws what is taken of it."""

    images: np.ndarray | shapes.Drawing
    labels: np.ndarray
    class_names: tuple[str, ...]


def load_images(name: str, part: str = "train", root: str | Path | None = None) -> ImageSet:
    """Load one part of a data set into memory, as tensors.

    Args:
        name: `shapes` (or `shapes:SEED`), `cifar10`, `cifar100`, `npz:PATH`, `folder:PATH[@SIZE]`.
        part: `train` or `test`.
        root: where CIFAR lies; `data/` of the kit when None.
    """
    import torch

    images, labels, class_names = read_arrays(name, part, root)
    return ImageSet(torch.from_numpy(np.asarray(images)), torch.from_numpy(labels), class_names)


def read_arrays(name: str, part: str = "train", root: str | Path | None = None) -> ImageArrays:
    """The same as `load_images`, as NumPy arrays and without loading torch (but for CIFAR).

    Images of `shapes` are a `shapes.Drawing`: a run draws what it takes, not all.
    """
    if part not in ("train", "test"):
        raise ConfigError(f"part is {part!r}; allowed are 'train' and 'test'")
    kind, _, where = name.partition(":")
    if kind == "shapes":
        if where and not where.isdecimal():
            raise ConfigError(f"data is {name!r}; the seed after 'shapes:' is a whole number")
        drawing = shapes.Drawing(part, int(where or 0))
        return ImageArrays(drawing, drawing.labels, shapes.CLASS_NAMES)
    if name in CIFAR_FOLDERS:
        return _cifar(name, part, Path(root or DATA))
    if kind == "npz" and where:
        return _npz(Path(where), part)
    if kind == "folder" and where:
        return _folder(where, part)
    raise ConfigError(f"data is {name!r}; allowed are {NAMES}")


def _cifar(name: str, part: str, root: Path) -> ImageArrays:
    if not (root / CIFAR_FOLDERS[name]).is_dir():
        raise ConfigError(
            f"{name} is not in {root} (no folder {CIFAR_FOLDERS[name]}); "
            f"`ltcl data get {name} --root {root}` downloads it, --set root=DIR names another place"
        )
    from torchvision import datasets  # checks the md5 of every file before it unpickles one

    try:
        data = getattr(datasets, name.upper())(root, train=part == "train", download=False)
    except RuntimeError:
        raise ConfigError(
            f"{root / CIFAR_FOLDERS[name]} is incomplete or damaged (torchvision's checksums); "
            f"delete it and run `ltcl data get {name} --root {root}`"
        ) from None
    images = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
    return ImageArrays(images, np.asarray(data.targets, np.int64), tuple(data.classes))


def _npz(path: Path, part: str) -> ImageArrays:
    if part == "test" and not path.stem.endswith("_test"):
        if not path.stem.endswith("_train"):
            raise ConfigError(
                f"no test set belongs to {path}: name the files X_train.npz and X_test.npz, "
                "or give one with --test npz:X_test.npz"
            )
        path = path.with_name(path.stem.removesuffix("_train") + "_test.npz")
    arrays = read_npz(path)
    if missing := {"images", "labels"} - set(arrays):
        held = ", ".join(arrays) or "nothing"
        raise ConfigError(f"{path} lacks {' and '.join(sorted(missing))}; it holds {held}")
    images, labels = arrays["images"], arrays["labels"]
    if images.dtype != np.uint8 or images.ndim != 4 or 3 not in (images.shape[1], images.shape[3]):
        raise ConfigError(
            f"{path}: images are {images.dtype} of shape {images.shape}; "
            "allowed is uint8 [N, H, W, 3] or [N, 3, H, W]"
        )
    if not images.size:
        raise ConfigError(f"{path} holds no image")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise ConfigError(
            f"{path}: labels are {labels.dtype} of shape {labels.shape} for {len(images)} images; "
            "allowed is one whole number per image"
        )
    names = tuple(str(n) for n in arrays.get("class_names", range(labels.max() + 1)))
    if labels.min() < 0 or labels.max() >= len(names):
        raise ConfigError(
            f"{path} has labels from {labels.min()} to {labels.max()}; "
            f"allowed are 0 to {len(names) - 1}, one for each of the {len(names)} class_names"
        )
    if images.shape[1] != 3:
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return ImageArrays(images, labels.astype(np.int64), names)


def _shown(path: Path, root: Path) -> bool:
    """Neither hidden nor in a hidden folder: editors and file managers leave copies there."""
    return not any(part.startswith(".") for part in path.relative_to(root).parts)


def _folder(where: str, part: str) -> ImageArrays:
    """Class folders of image files, each centre-cropped and resized to SIZE x SIZE (default 32)."""
    from PIL import Image, ImageOps

    base, _, size = where.rpartition("@") if "@" in where else (where, "", "32")
    if not size.isdecimal() or not 8 <= int(size) <= 512:
        raise ConfigError(f"folder:{where}: the size after '@' is {size!r}; allowed is 8 to 512")
    parts = ["train"] if part == "train" else ["test", "val"]
    root = next((Path(base) / p for p in parts if (Path(base) / p).is_dir()), None)
    if root is None:
        raise ConfigError(f"{base} has no folder {' or '.join(parts)}/ with a folder per class")
    class_names = tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and _shown(p, root)))
    found = [
        (path, label)
        for label, name in enumerate(class_names)
        for path in sorted((root / name).rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES and _shown(path, root)
    ]
    if not found:
        raise ConfigError(f"{root} holds no images: it needs a folder per class with png, jpg, ...")
    images = np.empty((len(found), 3, int(size), int(size)), np.uint8)
    for i, (path, _) in enumerate(found):
        try:
            with Image.open(path) as file:
                fitted = ImageOps.fit(
                    file.convert("RGB"), (int(size), int(size)), Image.Resampling.BICUBIC
                )
        except OSError:
            raise ConfigError(f"{path} is not a readable image; repair or delete it") from None
        images[i] = np.asarray(fitted).transpose(2, 0, 1)
    return ImageArrays(images, np.array([label for _, label in found], np.int64), class_names)


def check_classes(known: tuple[str, ...], tested: tuple[str, ...], where: str) -> None:
    """Refuse a test set whose label k is not the training part's class k."""
    for k, name in enumerate(tested):
        own = known[k] if k < len(known) else "absent"
        if own != name and not (k < len(known) and str(k) in (own, name)):  # a number is no name
            raise ConfigError(
                f"class {k} is {name!r} in the test set of {where}, in the training part {own!r}; "
                "both need the same classes in the same order"
            )
