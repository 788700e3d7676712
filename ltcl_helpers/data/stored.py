"""Images that stay in their files: decoded by threads when asked for, whole or as crops."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..cores import cores_each
from ..errors import DamagedFile
from ..files import read_bytes, sha256
from .folders import as_shown, formats, unreadable, why_unreadable

if TYPE_CHECKING:  # loaded where images are read: most data need none of it
    from PIL import Image

EXIF_ORIENTATION = 0x0112  # 5 and above: height and width change places
MARGIN = 8 / 7  # as ImageNet is tested: the middle 224 pixels of a short side of 256


class Origin(NamedTuple):
    """Where N images come from."""

    read: Callable[[int], bytes]  # the file's content of image 0 to N - 1; DamagedFile
    heights: np.ndarray  # int64 [N]
    widths: np.ndarray
    paths: Sequence[str]  # [N], for lists and for errors
    digest: str  # of all of them


class Stored:
    """Images uint8 [n, 3, S, S] that are decoded when asked for; PIL lets go of Python's lock.

    Args:
        origin: where they come from.
        side: S, pixels.
        positions: int64 [n], which of the origin's images these are; None: all.
        margin: a whole image's short side over the side of the square that is cut out of it.
    """

    threads = cores_each()

    def __init__(
        self,
        origin: Origin,
        side: int,
        positions: np.ndarray | None = None,
        margin: float = MARGIN,
    ) -> None:
        self.origin = origin
        self.side = side
        self.margin = margin
        everything = np.arange(len(origin.heights))
        self.positions = everything if positions is None else positions

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """As of the array that holds them all: [n, 3, S, S]."""
        return len(self), 3, self.side, self.side

    @property
    def heights(self) -> np.ndarray:
        """Of the images in their files, int64 [n]."""
        return self.origin.heights[self.positions]

    @property
    def widths(self) -> np.ndarray:
        """Of the images in their files, int64 [n]."""
        return self.origin.widths[self.positions]

    def take(self, index: ArrayLike) -> Stored:
        """Some of the images, still in their files."""
        return Stored(self.origin, self.side, self.positions[np.asarray(index)], self.margin)

    def resized(self, side: int) -> Stored:
        """The same images with another side."""
        return Stored(self.origin, side, self.positions, self.margin)

    def digest(self) -> str:
        """Sha256 that stands for these images; nothing is read for it."""
        text = f"{self.origin.digest} {self.side} {sha256(self.positions.tobytes())}"
        return sha256(text.encode())

    def __getitem__(self, index: ArrayLike | slice) -> np.ndarray:
        """Images uint8 [n, 3, S, S], each a square from the middle, as for a test."""
        chosen: np.ndarray = self.positions[index]  # type: ignore[index]  # NumPy's own check
        images = np.empty((len(chosen), 3, self.side, self.side), np.uint8)
        self._fill(images, [partial(self._middle, position) for position in chosen.tolist()])
        return images

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:]

    def crops(self, index: np.ndarray, boxes: np.ndarray, flips: np.ndarray) -> np.ndarray:
        """Crops uint8 [n, V, 3, S, S] of the images `index` [n], as torchvision's resized_crop.

        Args:
            index: positions among these images.
            boxes: int64 [n, V, 4]: top, left, height and width in pixels of the file's image.
            flips: bool [n, V], left and right swapped afterwards.
        """
        count, views = flips.shape
        crops = np.empty((count, views, 3, self.side, self.side), np.uint8)
        cuts = []
        for position, box, flip in zip(self.positions[index].tolist(), boxes, flips, strict=True):
            cuts.append(partial(self._cut, position, box.tolist(), flip.tolist()))
        self._fill(crops, cuts)
        return crops

    def _fill(self, target: np.ndarray, makers: Sequence[Callable[[], np.ndarray]]) -> None:
        """Let threads make the rows of an array, each its own."""

        def make(row: int) -> None:
            target[row] = makers[row]()

        with ThreadPoolExecutor(self.threads) as pool:
            for _ in pool.map(make, range(len(makers))):
                pass  # asked for, so that what went wrong in a thread is raised here

    def _open(self, position: int) -> Image.Image:
        from PIL import Image

        content = self.origin.read(position)
        try:
            return as_shown(Image.open(io.BytesIO(content), formats=formats()))
        except Exception:  # Pillow raises many kinds
            name = self.origin.paths[position]
            raise DamagedFile(f"{name} is not a readable image; repair or delete it") from None

    def _middle(self, position: int) -> np.ndarray:
        image = self._open(position)
        short = round(self.side * self.margin)
        image = shrink(image, short, enlarge=True)
        left = round((image.width - self.side) / 2)  # as torchvision's CenterCrop
        top = round((image.height - self.side) / 2)
        square = image.crop((left, top, left + self.side, top + self.side))
        return np.asarray(square).transpose(2, 0, 1)

    def _cut(self, position: int, boxes: list[list[int]], flips: list[bool]) -> np.ndarray:
        from PIL import Image

        image = self._open(position)
        views = []
        for (top, left, height, width), flip in zip(boxes, flips, strict=True):
            # Cropped first: `resize(box=)` looks beyond the box, and differs by up to 5 levels.
            crop = image.crop((left, top, left + width, top + height))
            pixels = np.asarray(crop.resize((self.side, self.side), Image.Resampling.BICUBIC))
            if flip:
                pixels = pixels[:, ::-1]
            views.append(pixels.transpose(2, 0, 1))
        return np.stack(views)


def margin_of(images: object) -> float:
    """How much larger a whole image was than the square that is left of it; 1: nothing is cut."""
    return images.margin if isinstance(images, Stored) else 1.0


def of_files(files: Sequence[Path]) -> Origin:
    """Images that lie in a file each; their sizes stand for their content, in bytes and in pixels.

    Dates do not: a copied folder is the same data.
    """
    from PIL import Image

    heights = np.empty(len(files), np.int64)
    widths = np.empty(len(files), np.int64)
    facts, bad = [], []
    for number, path in enumerate(files):
        try:
            with Image.open(path, formats=formats()) as image:
                width, height = image.size
                on_its_side = image.getexif().get(EXIF_ORIENTATION, 1) >= 5
                turned = on_its_side and image.format != "TIFF"  # whose size Pillow has turned
        except Exception as error:  # Pillow raises many kinds
            bad.append(f"{path} is not a readable image ({why_unreadable(error)})")
            continue
        heights[number], widths[number] = (width, height) if turned else (height, width)
        facts.append(f"{path.name} {path.stat().st_size} {width} x {height}")
    if bad:
        raise DamagedFile(unreadable(bad, len(files)))
    digest = sha256("\n".join(facts).encode(errors="surrogateescape"))  # names of any bytes
    names = [str(path) for path in files]
    return Origin(lambda position: read_bytes(files[position]), heights, widths, names, digest)


def shrink(image: Image.Image, short: int, enlarge: bool = False) -> Image.Image:
    """The image with a short side of `short` pixels; a smaller one stays unless `enlarge`."""
    from PIL import Image

    side = min(image.size)
    if side == short or (side < short and not enlarge):
        return image
    scale = short / side
    size = [max(short, round(length * scale)) for length in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.BICUBIC)
