"""The only code that writes or loads result files: atomic, checksummed, no pickle.

A file is written beside its name, flushed to the disk and renamed, so that it is the old one or the
new one, never half of either. A run is done when `DONE.json`, written last, holds. Every reader
raises DamagedFile, which says which file is missing or damaged and what to do.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .config import ConfigError

if TYPE_CHECKING:  # this module stays light: a wrong call must fail in a second
    import pandas as pd

log = logging.getLogger(__name__)
PACKAGES = ("ltcl-helpers", "numpy", "pandas", "scikit-learn", "torch", "torchvision")
NOT_RECORDED = (  # large, or can be made again
    "encoder.safetensors",
    "pruned.safetensors",
    "classifier.safetensors",
    "run.ipynb",
)


class DamagedFile(ConfigError):
    """A file is not what was written."""


def sha256(data: bytes | Path) -> str:
    """Hex digest of bytes, or of a file's content."""
    return hashlib.sha256(data.read_bytes() if isinstance(data, Path) else data).hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content`; whoever is killed here leaves the old file whole."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    if os.name == "nt":
        return  # Windows opens no folder; its rename is as safe as it gets
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must survive a power cut
    finally:
        os.close(folder)


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a run's folder while it is written; a second process is refused, not made to wait.

    The operating system lets go of it when the process ends, however it ends.

    Raises:
        ConfigError: when another process holds it.
    """
    with open(folder / "config.json", "r+b") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows has no flock: there nobody is refused
            pass
        except BlockingIOError:
            raise ConfigError(
                f"another process is at work on {folder}; wait for it, or name another folder"
            ) from None
        yield


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as readable JSON."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays as a compressed .npz."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_bytes(path, buffer.getvalue())


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_bytes(path, buffer.getvalue())


def _read(path: Path) -> io.BytesIO:
    try:
        return io.BytesIO(path.read_bytes())
    except OSError as error:
        raise DamagedFile(f"{path} does not exist or is not readable ({error.strerror})") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        return dict(json.load(_read(path)))
    except (ValueError, TypeError) as error:
        raise DamagedFile(f"{path} is not a JSON object ({error}); run it again") from None


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz; nothing in it can run code."""
    try:
        with np.load(_read(path), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DamagedFile(f"{path} is not a whole .npz ({reason}); copy it again") from None


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a table."""
    import pandas as pd

    # By its name: from a Python file, Arrow's threads may still want the interpreter when a process
    # ends, and abort it (apache/arrow#34314); one short process in twenty did on a busy machine.
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise DamagedFile(f"{path} is not readable ({error}); restore it or run again") from None


def save_checkpoint(folder: Path, epoch: int, state: dict[str, Any]) -> None:
    """Save `state` after `epoch` epochs and keep the one before it; its name holds its digest."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    write_bytes(folder / f"checkpoint-{epoch:06d}-{sha256(content)[:16]}.pt", content)
    for old in checkpoints(folder)[2:]:
        old.unlink()


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, newest first."""
    return sorted(folder.glob("checkpoint-*.pt"), reverse=True)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, or None when none was written yet."""
    import torch

    found = checkpoints(folder)
    for path in found:
        content = path.read_bytes()
        if sha256(content)[:16] == path.stem.split("-")[-1]:
            return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        log.warning("%s is damaged (its digest is not the one in its name); trying older", path)
    if found:
        raise DamagedFile(f"every checkpoint in {folder} is damaged; start the run again")
    return None


def refuse_used(folder: Path) -> None:
    """Raise a ConfigError where a folder holds anything but hidden leftovers."""
    if folder.exists() and (
        not folder.is_dir() or any(not path.name.startswith(".") for path in folder.iterdir())
    ):
        raise ConfigError(
            f"{folder} exists; `ltcl run --resume {folder}` goes on with it, or name another --out"
        )


def read_config(folder: Path) -> dict:
    """The parameters of the run in `folder`."""
    if folder.is_dir() and not (folder / "config.json").exists():
        raise ConfigError(f"{folder} holds no run (no config.json); begin one: ltcl run --out ...")
    return read_json(folder / "config.json")


def seal(folder: Path, **facts: Any) -> None:
    """Write DONE.json: `facts`, package versions, git commit, and the sha256 of every file."""
    done = folder / "DONE.json"
    before = read_json(done) if done.exists() else {}
    digests = {
        path.name: sha256(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path != done and path.suffix not in (".pt", ".part")
    }
    about = {"versions": {name: version(name) for name in PACKAGES}, "git_commit": git_commit()}
    write_json(done, {**about, **before, **facts, "files": digests})


def verify(folder: Path) -> dict[str, Any]:
    """Check a finished (or recorded) run against its DONE.json and return that."""
    if not (folder / "DONE.json").exists():
        raise DamagedFile(
            f"{folder} is not a finished run (no DONE.json); ltcl run --resume {folder} finishes it"
        )
    done = read_json(folder / "DONE.json")
    for name, digest in done["files"].items():
        path = folder / name
        if not path.exists() and name in done.get("left_out", []):
            continue
        found = sha256(_read(path).getvalue())
        if found != digest:
            raise DamagedFile(
                f"{path} has sha256 {found[:12]}..., DONE.json says {digest[:12]}...; restore it"
            )
    return done


def add_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Add (or replace) a table of a finished run; killed at any moment, the run stays whole."""
    done = verify(folder)
    done["files"].pop(name, None)
    write_json(folder / "DONE.json", done)
    write_parquet(folder / name, table)
    seal(folder)


def record(folder: Path, target: Path) -> None:
    """Copy a finished run without its weights; DONE.json keeps the digest of what is left out."""
    done = verify(folder)
    if target.exists():
        raise ConfigError(f"{target} exists; name a new folder or delete that one first")
    target.mkdir(parents=True)
    left_out = sorted(set(done["files"]) & set(NOT_RECORDED))
    for name in set(done["files"]).difference(left_out):
        shutil.copyfile(folder / name, target / name)
    write_json(target / "DONE.json", {**done, "left_out": left_out})


def version(package: str) -> str:
    """The installed version of a package, or "absent"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def git_commit() -> str:
    """The commit of the kit's checkout ("+" when files differ from it), or "unknown".

    Where the kit travelled without .git, the variable LTCL_GIT_COMMIT names it.
    """
    if given := os.environ.get("LTCL_GIT_COMMIT"):
        return given
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--match", ""]
    try:
        run = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return run.stdout.strip() or "unknown"
