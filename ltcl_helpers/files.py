"""The only code that writes or loads result files: atomic, checksummed, no pickle.

A file is written beside its name, flushed to the disk and renamed. So it is the old file or the new
one, never half of either. Every reader raises DamagedFile, which says which file is missing or
damaged and what to do.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout

from .errors import DamagedFile

if TYPE_CHECKING:  # this module stays light: a wrong call must fail in a second
    import pandas as pd


# What NumPy raises for a file that is damaged or none of its own.
UNREADABLE = (
    ValueError, OSError, EOFError, AttributeError, KeyError, TypeError, RuntimeError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def sha256(data: bytes | Path) -> str:
    """Hex digest of bytes, or of a file's content."""
    return hashlib.sha256(data.read_bytes() if isinstance(data, Path) else data).hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content`; raises as `replacing`."""
    with replacing(path, len(content)) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path, size: int = 0) -> Iterator[BinaryIO]:
    """A new file, open for writing, that takes the place of `path` when all went well.

    A process that is killed here leaves the old file whole.

    Raises:
        OSError: naming the file and its size, where it is known and the system refuses to take it.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        about = f" ({size:,} bytes)" if size else ""
        refused = OSError(
            f"{path}{about} cannot be written: {error.strerror or error}; "
            "make room or choose another place, then give the same command again"
        )
        refused.errno = error.errno
        raise refused from None
    finally:
        with contextlib.suppress(OSError):  # gone, unless something failed: it was renamed
            beside.unlink()
    if os.name == "nt":
        return  # Windows opens no folder; its rename is as safe as it gets
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must survive a power cut
    finally:
        os.close(folder)


@contextlib.contextmanager
def hold(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path` against every other process.

    The operating system lets go of it when this process ends, however it ends.

    Raises:
        BlockingIOError: when another process holds it, unless `wait` is set.
    """
    held = FileLock(path, timeout=-1 if wait else 0)
    try:
        held.acquire()
    except Timeout:
        raise BlockingIOError(f"another process holds {path}") from None
    try:
        yield
    finally:
        held.release()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as readable JSON."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays as a compressed .npz."""
    write_bytes(path, npz_bytes(**arrays))


def npz_bytes(**arrays: np.ndarray) -> bytes:
    """Arrays as the content of a compressed .npz."""
    buffer = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez_compressed(buffer, **named)
    return buffer.getvalue()


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index."""
    write_bytes(path, parquet_bytes(table))


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """A table as a file holds it, without its index."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def read_bytes(path: Path) -> bytes:
    """The content of a file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DamagedFile(f"{path} does not exist") from None
    except OSError as error:
        raise DamagedFile(f"{path} is not readable ({error.strerror})") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    content = read_bytes(path)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedFile(
            f"{path} is not JSON ({_first_line(error)}); restore it, or make it again"
        ) from None
    if not isinstance(found, dict):
        raise DamagedFile(f"{path} holds no JSON object; restore it, or make it again")
    return found


def read_npz(path: Path, *names: str, needed: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz, or those of these names; nothing in it can run code.

    Args:
        path: the file.
        names: the arrays that are read; all where none is named.
        needed: arrays without which the file is damaged.
    """
    arrays = npz_arrays(read_bytes(path), path, *names)
    if absent := set(needed) - set(arrays):
        raise DamagedFile(f"{path} has no array {min(absent)}; restore it")
    return arrays


def npz_arrays(content: bytes, path: Path, *names: str) -> dict[str, np.ndarray]:
    """The arrays of these names, or all, in the content of an .npz that lies in the file `path`."""
    arrays: dict[str, np.ndarray] = {}
    name = ""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            for name in file.files:
                if name in names or not names:
                    arrays[name] = file[name]
    except Exception as error:  # zip, zlib, NumPy's header: each has errors of its own
        why = reason(error)
        if why == OF_OBJECTS and name:
            next_step = f"save array {name} as numbers, or as text: {name}.astype(str)"
        elif why == ONE_ARRAY:
            next_step = "write one with numpy.savez"
        else:
            next_step = "copy it again"
        raise DamagedFile(f"{path} is not a whole .npz ({why}); {next_step}") from None
    return arrays


def npz_form(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype] | None:
    """Shape and type of an array in an .npz, which is not read; None where it is not there."""
    try:
        with zipfile.ZipFile(path) as file, file.open(f"{name}.npy") as array:
            is_old = np.lib.format.read_magic(array) == (1, 0)
            header = "read_array_header_1_0" if is_old else "read_array_header_2_0"
            shape, _, dtype = getattr(np.lib.format, header)(array)
    except KeyError:
        return None
    except Exception as error:  # zip and NumPy's header: each has errors of its own
        raise DamagedFile(f"{path} is not a whole .npz ({reason(error)}); copy it again") from None
    return shape, dtype


OF_OBJECTS = "it holds Python objects, or is no file of NumPy's"
ONE_ARRAY = "it holds a single array"


def reason(error: Exception) -> str:
    """Why NumPy cannot read a file; its own advice, to read what may run code, is not given."""
    if isinstance(error, TypeError):
        return ONE_ARRAY
    first = _first_line(error)
    if "pickle" in first.lower():
        return OF_OBJECTS
    return first


def read_parquet(path: Path, columns: Collection[str] = ()) -> pd.DataFrame:
    """Read a table.

    Args:
        path: the file.
        columns: that it must have.
    """
    from pyarrow.parquet import ParquetFile

    # By its name: from a Python file, Arrow's threads may still want the interpreter when a process
    # ends, and abort it (apache/arrow#34314); one short process in twenty did on a busy machine.
    # And not by pandas, which takes such a small file for a data set: it needs twice the time.
    try:
        with ParquetFile(path) as file:
            table: pd.DataFrame = file.read(use_threads=False).to_pandas(use_threads=False)
    except Exception as error:  # Arrow, Thrift and pandas have errors of their own
        why = _first_line(error)
        raise DamagedFile(f"{path} is not readable ({why}); restore it or run again") from None
    if absent := set(columns) - set(table.columns):
        raise DamagedFile(f"{path} has no column {min(absent)}; restore it or run again")
    return table


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
