"""Folders of image files: which files are images, their classes, and what a viewer shows of them.

Every file that is no image of a class is counted and said; every file that cannot be read is named.
"""

from __future__ import annotations

import functools
import logging
import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tqdm import tqdm

from ..errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

NO_PHOTOS = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}  # opened, not drawn here
WITH_FRAMES = {"AVIF", "GIF", "PNG", "TIFF", "WEBP"}  # a phone's MPO holds depth, a PSD layers
BACKGROUND = (255, 255, 255)  # under what is transparent: white, as most viewers have it
HIDDEN, LOOSE = "hidden", "beside the class folders"  # why files are left out
UNLABELLED = "unlabelled"  # the one class of a pile of images
MOST_NAMED = 10  # files in one message
DARK = 32  # of 256 levels: an eighth, as 10 or 12 bits leave of 16 at most


class Found(NamedTuple):
    """The images of one part: files, the class of each, the names of the classes."""

    files: list[Path]
    labels: np.ndarray  # int64 [N]
    class_names: tuple[str, ...]
    said: str  # what is left out, and why; empty where nothing is


# --- which files are images -------------------------------------------------------------------


def search(root: Path) -> Found:
    """The images below the class folders of `root`, and one line about what is left out.

    A class is a folder right below `root` that holds an image, at any depth; folders inside of it
    are the same class, which is said. Names are compared in Unicode's NFC.
    Where no folder holds one, the images in `root` itself are a pile without labels: one class.
    """
    left_out: Counter[str] = Counter()
    by_class: dict[str, list[Path]] = {}
    loose: list[Path] = []
    for path in sorted(root.iterdir()):
        if path.name.startswith("."):
            left_out[HIDDEN] += 1
        elif path.is_dir():
            name = unicodedata.normalize("NFC", path.name)
            by_class.setdefault(name, []).extend(_images(_walk(path), path, left_out))
        else:
            loose.append(path)

    empty = sorted(name for name, files in by_class.items() if not files)
    if not any(by_class.values()):
        by_class = {UNLABELLED: _images(loose, root, left_out)}
    elif loose:
        left_out[LOOSE] += len(loose)

    names = tuple(sorted(name for name, files in by_class.items() if files))
    files = [path for name in names for path in sorted(by_class[name])]
    sizes = [len(by_class[name]) for name in names]
    labels = np.repeat(np.arange(len(names)), sizes).astype(np.int64)
    merged = [name for name in names if len({path.parent for path in by_class[name]}) > 1]
    return Found(files, labels, names, _said(root, left_out, empty, merged))


def _walk(folder: Path) -> Iterator[Path]:
    """All files below a folder, also through links; a folder that is met again is not entered."""
    real_folder = Path(os.path.realpath(folder))
    met = {str(path) for path in (real_folder, *real_folder.parents)}
    for here, inner, names in os.walk(folder, onerror=_refuse, followlinks=True):
        for name in sorted(inner):
            real = os.path.realpath(os.path.join(here, name))
            if real in met:
                inner.remove(name)
            met.add(real)
        inner.sort()
        yield from (Path(here, name) for name in names)


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed is no empty folder."""
    raise ConfigError(f"{error.filename} cannot be listed ({str(error.strerror).lower()})")


def _images(paths: Iterator[Path] | list[Path], root: Path, left_out: Counter[str]) -> list[Path]:
    """The image files among paths below `root`; the others are counted."""
    found = []
    for path in paths:
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            left_out[HIDDEN] += 1
        elif _is_image(path):
            found.append(path)
        else:
            left_out[path.suffix.lower() or "without a suffix"] += 1
    return found


def _is_image(path: Path) -> bool:
    """By its suffix; a file without any is opened."""
    from PIL import Image, UnidentifiedImageError

    if path.suffix:
        return path.suffix.lower() in _suffixes()
    try:
        with Image.open(path, formats=formats()):
            return True
    except (UnidentifiedImageError, OSError):
        return False


@functools.cache
def formats() -> tuple[str, ...]:
    """What Pillow opens, without what is no picture or needs other programs."""
    from PIL import Image

    Image.init()
    return tuple(name for name in Image.ID if name not in NO_PHOTOS)


@functools.cache
def _suffixes() -> frozenset[str]:
    """How the names of such files end."""
    from PIL import Image

    known = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in known.items() if kind in formats())


def _said(root: Path, left_out: Counter[str], empty: list[str], merged: list[str]) -> str:
    """One line about what is in a folder and is not learnt from, or not told apart."""
    said = []
    if left_out:
        total = sum(left_out.values())
        known = [f"{left_out.pop(kind)} {kind}" for kind in (HIDDEN, LOOSE) if kind in left_out]
        others = [f"{count} {kind}" for kind, count in sorted(left_out.items())]
        if others:
            known.append(f"{listed(others)}: nothing that Pillow opens as an image")
        said.append(f"left out {total} files ({'; '.join(known)})")
    if empty:
        said.append(f"no image in class folder {listed(empty)}")
    if merged:
        said.append(f"images of several folders are one class each: {listed(merged)}")
    return f"{root}: {'; '.join(said)}" if said else ""


def listed(names: Sequence[str]) -> str:
    """The first names in one line, and how many more there are."""
    shown = [name if name.isprintable() else repr(name) for name in names[:MOST_NAMED]]
    more = len(names) - MOST_NAMED
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


# --- what a viewer shows of a file --------------------------------------------------------------


def read_images(files: list[Path], size: int) -> np.ndarray:
    """Each image centre-cropped and resized, uint8 [N, 3, size, size].

    Raises:
        ConfigError: naming the files that cannot be read, and why.
    """
    images = np.empty((len(files), 3, size, size), np.uint8)
    bad: list[str] = []
    several = 0
    dark = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of files that can be read all the same
        for i, path in enumerate(tqdm(files, "images", disable=None, delay=2, leave=False)):
            try:
                images[i], more, is_dark = _read(path, size)
            except Exception as error:  # whatever a decoder trips over is a fault of this file
                bad.append(f"{path} is not a readable image ({why_unreadable(error)})")
            else:
                several += more
                dark += is_dark
    if bad:
        raise ConfigError(unreadable(bad, len(files)))
    if several:
        log.warning("%d files hold several pictures (frames, pages): the first is taken", several)
    if dark:
        log.warning(
            "%d files of 16 bits a channel use less than an eighth of the range and are nearly "
            "black: perhaps they hold 10 or 12 bits; stretch them before",
            dark,
        )
    return images


def _read(path: Path, size: int) -> tuple[np.ndarray, bool, bool]:
    """One image uint8 [3, size, size]; whether its file holds more; whether it is 16 dark bits."""
    from PIL import Image, ImageOps

    with Image.open(path, formats=formats()) as file:
        more = file.format in WITH_FRAMES and bool(getattr(file, "is_animated", False))
        is_wide = _is_wide(file) or _is_wide_in_colour(file)
        fitted = ImageOps.fit(as_shown(file), (size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(fitted).transpose(2, 0, 1)
    return pixels, more, bool(is_wide and pixels.max() < DARK)


def as_shown(file: Image.Image) -> Image.Image:
    """The picture in an opened file as every viewer shows it, in RGB."""
    from PIL import ImageOps

    file.load()
    ImageOps.exif_transpose(file, in_place=True)
    return _on_background(_eight_bits(file))


def _is_wide(image: Image.Image) -> bool:
    """Whether a file has 16 bits a channel that Pillow hands out as they are."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")


def _is_wide_in_colour(image: Image.Image) -> bool:
    """Whether an opened file has 16 bits a channel of which Pillow hands out the upper 8."""
    return any(";16" in str(part[-1]) for part in getattr(image, "tile", ()))


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image with 8 bits a channel; of 16 the upper ones, as viewers do."""
    from PIL import Image

    if not _is_wide(image):
        if image.mode in ("I", "F"):
            kind = {"I": "32-bit whole numbers", "F": "floating-point numbers"}[image.mode]
            raise ValueError(f"{kind}, whose black and white nobody knows; save 8 or 16 bits")
        return image
    values = np.asarray(image).astype(np.uint32)
    grey = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if "transparency" in image.info:
        hidden = values == image.info["transparency"]
        grey.putalpha(Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8)))
    return grey


def _on_background(image: Image.Image) -> Image.Image:
    """RGB; what is transparent shows the background, not the colours hidden under it."""
    from PIL import Image

    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    under = Image.new("RGBA", clear.size, BACKGROUND)
    return Image.alpha_composite(under, clear).convert("RGB")


def unreadable(bad: Sequence[str], files: int) -> str:
    """One line about files that cannot be read, of so many."""
    count = f"{len(bad)} of {files} files: " if len(bad) > 1 else ""
    return f"{count}{listed(bad)}; repair or delete what cannot be read"


def why_unreadable(error: Exception) -> str:
    """Why a file cannot be read, in a few words."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no image, or of a kind that Pillow does not know"
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than Pillow opens; make it smaller"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return (str(error) or type(error).__name__).splitlines()[0][:150]
