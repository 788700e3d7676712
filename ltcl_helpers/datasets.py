"""Images by name: the embedded shapes, CIFAR, an .npz, a folder of image files.

Everything is read and checked with NumPy first, so that bad input fails before torch is loaded.
"""

from __future__ import annotations

import logging
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import shapes
from .config import ConfigError
from .store import read_json, read_npz, sha256, write_bytes

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)
DATA = Path(__file__).resolve().parents[1] / "data"
CIFAR_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
NAMES = "shapes[:SEED], cifar10, cifar100, npz:PATH, folder:PATH[@SIZE]"
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}


class Arrays(NamedTuple):
    """Images uint8 [N, 3, H, W], labels int64 [N] and the names of the C classes, in NumPy."""

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]


class ImageSet(NamedTuple):
    """Images uint8 [N, 3, H, W], labels int64 [N] and the names of the C classes, in torch."""

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]


def load_images(name: str, part: str = "train", root: str | Path | None = None) -> ImageSet:
    """Load one part of a data set into memory.

    Args:
        name: `shapes` (or `shapes:SEED`), `cifar10`, `cifar100`, `npz:PATH`, `folder:PATH[@SIZE]`.
        part: `train` or `test`.
        root: where CIFAR lies; `data/` of the kit when None.

    Raises:
        ConfigError: naming the data set or file, what is wrong with it and what to do.
    """
    import torch

    images, labels, class_names = read_arrays(name, part, root)
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels), class_names)


def read_arrays(name: str, part: str = "train", root: str | Path | None = None) -> Arrays:
    """The same as `load_images`, as NumPy arrays and without loading torch (but for CIFAR)."""
    if part not in ("train", "test"):
        raise ConfigError(f"part is {part!r}; allowed are 'train' and 'test'")
    kind, _, where = name.partition(":")
    if kind == "shapes":
        return _shapes(name, where, part)
    if name in CIFAR_FOLDERS:
        return _cifar(name, part, Path(root or DATA))
    if kind == "npz" and where:
        return _npz(Path(where), part)
    if kind == "folder" and where:
        return _folder(where, part)
    raise ConfigError(f"data is {name!r}; allowed are {NAMES}")


def _shapes(name: str, seed: str, part: str) -> Arrays:
    if seed and not seed.isdecimal():
        raise ConfigError(f"data is {name!r}; the seed after 'shapes:' is a whole number from 0")
    return Arrays(*shapes.make_shapes(part, seed=int(seed or 0)), shapes.CLASS_NAMES)


def _cifar(name: str, part: str, root: Path) -> Arrays:
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
    return Arrays(images, np.asarray(data.targets, np.int64), tuple(data.classes))


def _npz(path: Path, part: str) -> Arrays:
    if part == "test":
        if not path.stem.endswith("_train"):
            raise ConfigError(
                f"no test set belongs to {path}: name the files X_train.npz and X_test.npz, "
                "or give one with --test npz:PATH"
            )
        path = path.with_name(path.stem.removesuffix("_train") + "_test.npz")
    arrays = read_npz(path)
    missing = {"images", "labels"} - set(arrays)
    if missing:
        held = ", ".join(arrays) or "nothing"
        raise ConfigError(f"{path} lacks {' and '.join(sorted(missing))}; it holds {held}")
    images = _channels_first(arrays["images"], path)
    labels = _checked_labels(arrays["labels"], len(images), path)
    names = tuple(str(n) for n in arrays.get("class_names", range(labels.max() + 1)))
    if len(names) <= labels.max():
        raise ConfigError(
            f"{path} has {len(names)} class_names but label {labels.max()}; names go from label 0"
        )
    return Arrays(images, labels, names)


def _channels_first(images: np.ndarray, path: Path) -> np.ndarray:
    if images.dtype != np.uint8 or images.ndim != 4 or 3 not in (images.shape[1], images.shape[3]):
        raise ConfigError(
            f"{path}: images are {images.dtype} of shape {images.shape}; "
            "allowed is uint8 [N, H, W, 3] or [N, 3, H, W]"
        )
    if not images.size:
        raise ConfigError(f"{path} holds no image")
    return images if images.shape[1] == 3 else np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _checked_labels(labels: np.ndarray, count: int, path: Path) -> np.ndarray:
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ConfigError(
            f"{path}: labels are {labels.dtype} of shape {labels.shape} for {count} images; "
            "allowed is one whole number per image"
        )
    if labels.min() < 0:
        raise ConfigError(f"{path}: label {labels.min()} is below 0; classes count from 0")
    return labels.astype(np.int64)


def _folder(where: str, part: str) -> Arrays:
    """Class folders of image files, each centre-cropped and resized to SIZE x SIZE (default 32)."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    base, _, size = where.rpartition("@") if "@" in where else (where, "", "32")
    if not size.isdecimal() or not 8 <= int(size) <= 512:
        raise ConfigError(f"folder:{where}: the size after '@' is {size!r}; allowed is 8 to 512")
    parts = ["train"] if part == "train" else ["test", "val"]
    root = next((Path(base) / p for p in parts if (Path(base) / p).is_dir()), None)
    if root is None:
        raise ConfigError(f"{base} has no folder {' or '.join(parts)}/ with a folder per class")
    class_names = tuple(sorted(p.name for p in root.iterdir() if p.is_dir()))
    found = [
        (path, label)
        for label, name in enumerate(class_names)
        for path in sorted((root / name).rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not found:
        raise ConfigError(f"{root} holds no images: it needs a folder per class with png, jpg, ...")
    images = np.empty((len(found), 3, int(size), int(size)), np.uint8)
    for i, (path, _) in enumerate(found):
        try:
            with Image.open(path) as file:
                fitted = ImageOps.fit(file.convert("RGB"), (int(size), int(size)), Image.BICUBIC)
        except (UnidentifiedImageError, OSError):
            raise ConfigError(f"{path} is not a readable image; repair or delete it") from None
        images[i] = np.asarray(fitted).transpose(2, 0, 1)
    return Arrays(images, np.array([label for _, label in found], np.int64), class_names)


def get(name: str, root: Path | None = None, source: str | None = None) -> None:
    """Download `cifar10`, `cifar100` (torchvision, checksummed) or the published `splits`.

    Args:
        name: of the data.
        root: folder to put it in; `data/` (lists: `data/splits/`) when None.
        source: for splits: a folder or address to take them from instead of their repositories.
    """
    if name == "splits":
        _get_lists(root or DATA / "splits", source)
    else:
        from torchvision import datasets

        log.info(
            "CIFAR's host is slow these days. Have you a copy already? Name its folder with "
            "--set root=DIR; the archive from a mirror goes into %s first", root or DATA
        )  # fmt: skip
        try:
            for train in (True, False):
                getattr(datasets, name.upper())(root or DATA, train=train, download=True)
        except (OSError, RuntimeError) as error:
            raise ConfigError(
                f"{name} did not arrive ({error}); copy the folder {CIFAR_FOLDERS[name]} or its "
                f"archive into {root or DATA}, or use --data npz:PATH"
            ) from None
    log.info(verify(name, root))


def _published() -> dict[str, dict[str, str]]:
    """The published lists: path below the splits folder, to where it is from and its sha256."""
    book = read_json(DATA / "splits" / "published.json")
    origin = {"repository": book["repository"], "commit": book["commit"]}
    return {name: origin | entry for name, entry in book["files"].items()}


def _get_lists(root: Path, source: str | None) -> None:
    for name, entry in _published().items():
        target = root / name
        if target.exists() and sha256(target) == entry["sha256"]:
            continue
        host = "https://raw.githubusercontent.com/{repository}/{commit}/{path}"
        place = f"{source.rstrip('/')}/{name}" if source else host.format(**entry)
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
        if sha256(content) != entry["sha256"]:
            raise ConfigError(f"{place} is not the published list (sha256 differs); nothing saved")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, content)


def verify(name: str, root: Path | None = None) -> str:
    """Check a data set or the published lists against their checksums; one line that says so.

    Raises:
        ConfigError: naming the first file that is missing or damaged.
    """
    if name != "splits":
        counts = [len(read_arrays(name, part, root).labels) for part in ("train", "test")]
        return f"{name}: {counts[0]} training and {counts[1]} test images, checksums hold"
    root = root or DATA / "splits"
    for file, entry in _published().items():
        if not (root / file).exists() or sha256(root / file) != entry["sha256"]:
            raise ConfigError(f"{root / file} is missing or damaged; run `ltcl data get splits`")
    return f"{len(_published())} published lists in {root}, checksums hold"
