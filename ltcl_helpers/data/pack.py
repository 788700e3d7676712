"""A pack: one file with the JPEGs of a data set, an index of them, and checksums.

The file is a line that says what it is, the JPEGs one after the other, the index (an .npz), and at
the end where the index lies and its sha256. Each image is checked when it is read.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import struct
import weakref
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..errors import ConfigError, DamagedFile, NoTestPart
from ..files import npz_arrays, npz_bytes, replacing
from . import lists
from .folders import as_shown, formats, listed, search, why_unreadable
from .stored import EXIF_ORIENTATION, Origin, Stored, shrink

log = logging.getLogger(__name__)
MAGIC = b"LTCL pack 1\n"
FOOTER = struct.Struct("<QQ32s")  # where the index begins, its length, its sha256
SHORT = 256  # pixels of a packed image's short side, at most
QUALITY = 90  # of images that are encoded anew, without loss of colour's resolution
SIDE = 224  # of what is cut out of them, unless the data's name says another
BLOCK = 256  # images that are held in memory while packing
PIECE = 2**24  # bytes that are read at a time where all are
PARTS = ("train", "test")
OF_TEST = re.compile(r"(^|[^a-z])test$", re.IGNORECASE)  # a list's name, not "latest"


class Entry(NamedTuple):
    """An image to be packed."""

    path: str  # as lists name it
    file: Path
    label: int
    part: int  # a number of PARTS


class Packed(NamedTuple):
    """What is written of an image, and what was changed of it ("" where nothing was)."""

    content: bytes
    height: int
    width: int
    change: str


# --- writing ------------------------------------------------------------------------------------


def pack(
    root: Path,
    out: Path,
    names: Sequence[Path] = (),
    tests: Sequence[Path] = (),
    keep: bool = False,
) -> str:
    """Write a pack and say what it holds.

    Args:
        root: the folder that the lists' paths start from; without lists it has train/ and test/
            (or val/) with a folder per class.
        out: the file.
        names: text lists; their images, each once, are packed.
        tests: text lists of the test part; else those of `names` whose last word is "test".
        keep: leave images as large as they are.

    Raises:
        ConfigError: for a list or file that is not there, or labels that contradict each other.
        DamagedFile: for an image that cannot be decoded.
    """
    if out.exists():
        raise ConfigError(f"{out} exists; name another --out, or delete that one first")
    if not root.is_dir():
        raise ConfigError(f"{root} is no folder; give the one that the lists' paths start from")
    if names or tests:
        entries = _of_lists(root, names, tests)
        _check_labels(entries)
        class_names = _class_names(entries)
    else:
        entries, class_names = _of_folders(root)
    _check_names(entries, class_names)
    out.parent.mkdir(parents=True, exist_ok=True)
    changed: Counter[str] = Counter()
    with replacing(out) as file:
        index = _write_images(file, entries, keep, changed)
        about = {"images_sha256": index.pop("digest"), "short_side": None if keep else SHORT}
        content = npz_bytes(
            labels=np.array([entry.label for entry in entries], np.int64),
            parts=np.array([entry.part for entry in entries], np.uint8),
            paths=_as_bytes([entry.path for entry in entries]),
            class_names=_as_bytes(class_names),
            about=_as_bytes([json.dumps(about)]),
            **index,
        )
        start = file.tell()
        file.write(content)
        file.write(FOOTER.pack(start, len(content), hashlib.sha256(content).digest()))
        size = file.tell()
    counts = [sum(entry.part == part for entry in entries) for part in (0, 1)]
    changes = "".join(f"; {count} {what}" for what, count in sorted(changed.items()))
    return (
        f"{out}: {counts[0]:,} training and {counts[1]:,} test images of {len(class_names)} "
        f"classes, {size / 2**20:,.0f} MiB{changes}"
    )


def _write_images(
    file: BinaryIO, entries: list[Entry], keep: bool, changed: Counter[str]
) -> dict[str, Any]:
    """Write all JPEGs; the index's columns of them, and the digest of their bytes."""
    file.write(MAGIC)
    digest = hashlib.sha256()
    columns: dict[str, list[int]] = {name: [] for name in ("lengths", "heights", "widths", "crc")}
    for entry, packed in zip(entries, _prepare_all(entries, keep), strict=True):
        file.write(packed.content)
        digest.update(packed.content)
        columns["lengths"].append(len(packed.content))
        columns["heights"].append(packed.height)
        columns["widths"].append(packed.width)
        columns["crc"].append(zlib.crc32(packed.content))
        if packed.change:
            if not changed[packed.change]:
                log.info("%s %s: the first such image", entry.path, packed.change)
            changed[packed.change] += 1
    arrays: dict[str, Any] = {name: np.array(column) for name, column in columns.items()}
    ends = np.cumsum(arrays["lengths"])
    arrays["offsets"] = ends - arrays["lengths"] + len(MAGIC)
    return arrays | {"digest": digest.hexdigest()}


def _prepare_all(entries: list[Entry], keep: bool) -> Iterator[Packed]:
    """Each image's bytes, in order; threads decode, and few images are in memory at a time."""
    with ThreadPoolExecutor(Stored.threads) as pool:
        for start in tqdm(range(0, len(entries), BLOCK), "packing", disable=None):
            block = entries[start : start + BLOCK]
            yield from pool.map(lambda entry: _prepare(entry, keep), block)


def _prepare(entry: Entry, keep: bool) -> Packed:
    """A JPEG as it is, where it is upright, in RGB and small enough; else encoded anew."""
    content = entry.file.read_bytes()
    try:
        image = Image.open(io.BytesIO(content), formats=formats())
        turned = image.getexif().get(EXIF_ORIENTATION, 1) != 1
        kind, mode = image.format, image.mode
        pixels = as_shown(image)  # decodes: a file that is cut off is found here
    except Exception as error:  # Pillow raises many kinds, of a header that claims too much, too
        raise DamagedFile(
            f"{entry.file} is not a readable image ({why_unreadable(error)}); repair it, or leave "
            "it out"
        ) from None
    small = pixels if keep else shrink(pixels, SHORT)
    change = _change(kind, mode, turned)
    if small is pixels and not change:
        return Packed(content, pixels.height, pixels.width, "")
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return Packed(buffer.getvalue(), small.height, small.width, change)


def _change(kind: str | None, mode: str, turned: bool) -> str:
    """What besides its size is changed of an image, in words; empty for nothing."""
    if kind != "JPEG":
        return f"was {kind}, not JPEG"
    if mode == "CMYK":
        return "was CMYK, not RGB"
    if mode != "RGB":
        return "was gray, not RGB"
    return "was turned as its EXIF says" if turned else ""


def _of_lists(root: Path, names: Sequence[Path], tests: Sequence[Path]) -> list[Entry]:
    """The images of all lists, each once, in the order of the lists."""
    found = [lists.read_list(name) for name in names]
    parts = [int(not tests and bool(OF_TEST.search(listed.name.stem))) for listed in found]
    found += [lists.read_list(name) for name in tests]
    parts += [1] * len(tests)
    _refuse_mixture(found)
    unlabelled = {path for each in found if each.labels is None for path in each.paths}
    by_folder = {name: number for number, name in enumerate(sorted(set(map(_folder, unlabelled))))}

    entries: dict[str, Entry] = {}
    said: dict[str, tuple[Entry, Path]] = {}  # by file, whatever path it has in a list
    for each, part in zip(found, parts, strict=True):
        paths = [path.removeprefix("./") for path in each.paths]
        labels = each.labels or [by_folder[_folder(path)] for path in paths]
        for path, label in zip(paths, labels, strict=True):
            if path not in entries:
                entries[path] = Entry(path, _find(root, path, each.name), label, part)
            file = os.path.realpath(entries[path].file)
            before, said_by = said.setdefault(file, (entries[path], each.name))
            if (before.label, before.part) != (label, part):
                raise ConfigError(
                    f"{path} is of class {before.label} and part {PARTS[before.part]} by "
                    f"{said_by}, of class {label} and part {PARTS[part]} by {each.name}; "
                    "pack lists that agree"
                )
    return list(entries.values())


def _refuse_mixture(found: Sequence[lists.FileList]) -> None:
    """Refuse lists with labels beside lists without: whose numbers are whose, nobody knows."""
    labelled = [each.name.name for each in found if each.labels is not None]
    bare = [each.name.name for each in found if each.labels is None]
    if labelled and bare:
        raise ConfigError(
            f"list {listed(labelled)} has labels and {listed(bare)} has none, so their "
            "classes cannot be told to be the same; give all of them labels, or none"
        )


def _check_labels(entries: list[Entry]) -> None:
    """Refuse labels that are no numbers of classes: with gaps, or of test images alone."""
    known = sorted({entry.label for entry in entries})
    if known != list(range(len(known))):
        raise ConfigError(
            f"the lists have labels from {known[0]} to {known[-1]}, of {len(known)} classes; "
            f"a pack numbers its classes from 0 to {len(known) - 1}, with no gap: write the lists "
            "with these numbers"
        )
    trained = {entry.label for entry in entries if entry.part == 0}
    if trained and (strangers := [str(label) for label in known if label not in trained]):
        raise ConfigError(
            f"the test lists have labels that no training list has: {listed(strangers)}"
        )


def _check_names(entries: list[Entry], class_names: Sequence[str]) -> None:
    """Refuse names that an index of lines of UTF-8 cannot hold."""
    for name in (*class_names, *(entry.path for entry in entries)):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"the name {name!r} is not UTF-8; rename it") from None
        if len(name.splitlines()) > 1:
            raise ConfigError(f"the name {name!r} holds a line break; rename it")


def _folder(path: str) -> str:
    """The name of the folder that an image lies in: its class."""
    return path.rpartition("/")[0].rpartition("/")[2]


def _find(root: Path, path: str, listed: Path) -> Path:
    """The file of a path; val/CLASS/x.JPEG may lie in a flat val/, as it is handed out."""
    first, _, rest = path.partition("/")
    flat = root / first / rest.rpartition("/")[2]
    for file in (root / path, flat):
        if file.is_file():
            return file
    raise ConfigError(
        f"{root / path} does not exist, which list {listed} names; is {root} right? (A line is "
        "`path label`: folders parted by /, then a space, then a whole number from 0.)"
    )


def _of_folders(root: Path) -> tuple[list[Entry], list[str]]:
    """The images of train/ and of test/ or val/, and the classes, in alphabetical order."""
    known: dict[str, int] = {}
    entries = []
    for part, folders in enumerate((["train"], ["test", "val"])):
        top = next((root / name for name in folders if (root / name).is_dir()), None)
        if top is None:
            continue
        found = search(top)
        if found.said:
            log.warning("%s", found.said)
        if part == 0:
            known = {name: label for label, name in enumerate(found.class_names)}
        if strangers := sorted(set(found.class_names) - set(known)):
            raise ConfigError(f"{top} has classes that train/ does not have: {listed(strangers)}")
        for file, label in zip(found.files, found.labels.tolist(), strict=True):
            name = file.relative_to(root).as_posix()
            entries.append(Entry(name, file, known[found.class_names[label]], part))
    names = list(known)
    if not any(entry.part == 0 for entry in entries):
        raise ConfigError(
            f"{root} has no folder train/ with a folder of images per class; "
            "make one, or name the images by --lists"
        )
    return entries, names


def _class_names(entries: list[Entry]) -> list[str]:
    """A class is called as the folder of its images, where all lie in one; else by its number."""
    folders: dict[int, set[str]] = {}
    for entry in entries:
        folders.setdefault(entry.label, set()).add(_folder(entry.path))
    names = []
    for label in range(max(folders) + 1):
        own = folders.get(label, set())
        names.append(next(iter(own)) if len(own) == 1 else f"class {label}")
    return names if len(set(names)) == len(names) else [f"class {n}" for n in range(len(names))]


def _as_bytes(texts: Sequence[str]) -> np.ndarray:
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


# --- reading ------------------------------------------------------------------------------------


class Pack:
    """An open pack.

    Attributes:
        paths: [N], as lists name the images.
        labels: int64 [N].
        parts: uint8 [N], numbers of PARTS.
        class_names: [C].
    """

    def __init__(self, path: str | Path) -> None:
        """Open a pack and check its index; images are checked when they are read.

        Raises:
            DamagedFile: for a file that is missing, no pack, or not what was written.
        """
        self.path = Path(path)
        if self.path.is_dir():
            raise ConfigError(
                f"pack {path} is a folder; give data as folder:{path}@SIZE, or make a pack of it "
                f"first: ltcl data pack {path} --out NAME.pack"
            )
        try:
            self.file = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise DamagedFile(
                f"pack {path} cannot be opened ({error.strerror}); `ltcl data pack` makes one"
            ) from None
        weakref.finalize(self, os.close, self.file)
        arrays = self._read_index()
        self.paths = _texts(arrays["paths"])
        self.class_names = tuple(_texts(arrays["class_names"]))
        self.labels = arrays["labels"]
        self.parts = arrays["parts"]
        self.offsets = arrays["offsets"]
        self.lengths = arrays["lengths"]
        self.crc = arrays["crc"]
        self.about = json.loads(_texts(arrays["about"])[0])
        self.origin = Origin(
            self._read, arrays["heights"], arrays["widths"], self.paths, self.index_sha256
        )

    def _read_index(self) -> dict[str, np.ndarray]:
        size = os.fstat(self.file).st_size
        damaged = f"pack {self.path} is damaged or no pack; `ltcl data pack` makes it again"
        if size < len(MAGIC) + FOOTER.size or self._at(0, len(MAGIC)) != MAGIC:
            raise DamagedFile(damaged)
        start, length, digest = FOOTER.unpack(self._at(size - FOOTER.size, FOOTER.size))
        if start + length + FOOTER.size != size:
            raise DamagedFile(damaged)
        content = self._at(start, length)
        if hashlib.sha256(content).digest() != digest:
            raise DamagedFile(damaged)
        self.index_sha256 = digest.hex()
        return npz_arrays(content, self.path)

    def _at(self, offset: int, length: int) -> bytes:
        if hasattr(os, "pread"):  # threads share the file and have no place in it
            return os.pread(self.file, length, offset)
        with open(self.path, "rb") as file:
            file.seek(offset)
            return file.read(length)

    def _read(self, position: int) -> bytes:
        content = self._at(int(self.offsets[position]), int(self.lengths[position]))
        if zlib.crc32(content) != self.crc[position]:
            raise DamagedFile(
                f"{self.paths[position]} in pack {self.path} is not what was packed; copy or make "
                "the pack again"
            )
        return content

    def images(self, part: str, side: int = SIDE) -> Stored:
        """The images of a part, still packed."""
        positions = np.flatnonzero(self.parts == PARTS.index(part))
        if not len(positions):
            kind = ConfigError if part == "train" else NoTestPart
            raise kind(
                f"pack {self.path} holds no {part} images; pack its list, too (--test LIST), or "
                "name other data"
            )
        return Stored(self.origin, side, positions)

    def verify(self) -> str:
        """Read all of it; one line that says that it is whole. DamagedFile where it is not."""
        for position in range(len(self.labels)):
            self._read(position)
        end = int(self.offsets[-1] + self.lengths[-1])
        digest = hashlib.sha256()
        for place in range(len(MAGIC), end, PIECE):
            digest.update(self._at(place, min(PIECE, end - place)))
        if digest.hexdigest() != self.about["images_sha256"]:
            raise DamagedFile(f"pack {self.path} is not what was written (sha256); make it again")
        return f"{self.path}: {len(self.labels):,} images, checksums hold"


def _texts(content: np.ndarray) -> list[str]:
    return content.tobytes().decode().split("\n")
