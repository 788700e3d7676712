"""The folder of a run: who may write in it, what it was made with, and whether it is whole.

A run is done when `DONE.json`, written last, is there and holds the digest of every file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import RunConfig
from ..errors import ConfigError, DamagedFile
from ..files import (
    hold,
    read_bytes,
    read_json,
    sha256,
    write_json,
    write_parquet,
)
from ..paths import IN_CLONE, ROOT

if TYPE_CHECKING:
    import pandas as pd

PACKAGES = ("ltcl-helpers", "numpy", "pandas", "scikit-learn", "torch", "torchvision")
NOT_RECORDED = (  # large, or can be made again
    "encoder.safetensors",
    "pruned.safetensors",
    "classifier.safetensors",
    "run.ipynb",
)


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a run's folder while it is written; a second process is refused, not made to wait.

    Raises:
        ConfigError: when another process holds it.
    """
    try:
        with hold(folder / ".lock"):
            yield
    except BlockingIOError:
        raise ConfigError(
            f"another process is at work on {folder}; wait for it, or name another folder"
        ) from None


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, newest first."""
    return sorted(folder.glob("checkpoint-*.pt"), reverse=True)


def refuse_used(folder: Path) -> None:
    """Raise a ConfigError where a folder holds anything but hidden leftovers."""
    if folder.exists() and (
        not folder.is_dir() or any(not path.name.startswith(".") for path in folder.iterdir())
    ):
        raise ConfigError(
            f"{folder} exists; `ltcl run --resume {folder}` goes on with it, or name another --out"
        )


def read_config(folder: Path) -> RunConfig:
    """The configuration of the run in `folder`, begun or done."""
    if folder.is_dir() and not (folder / "config.json").exists():
        raise ConfigError(f"{folder} holds no run (no config.json); begin one: ltcl run --out ...")
    return RunConfig(**read_json(folder / "config.json"))


def refuse_other(folder: Path, wanted: RunConfig, option: str, elsewhere: bool = False) -> None:
    """Raise a ConfigError where a folder holds a run with another result than the wanted one's.

    Args:
        folder: where a run lies.
        wanted: its configuration, if it is the right one.
        option: how the command is told of another folder, for the error.
        elsewhere: as for `RunConfig.differences`.
    """
    apart = read_config(folder).differences(wanted, elsewhere)
    if apart:
        raise ConfigError(f"{folder} holds a run with {', '.join(apart)}; name another {option}")


def seal(folder: Path, **facts: Any) -> None:
    """Write DONE.json: `facts`, package versions, git commit, and the sha256 of every file."""
    done = folder / "DONE.json"
    before = read_json(done) if done.exists() else {}
    digests = {
        path.name: sha256(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path != done and not _passing(path)
    }
    about = {"versions": {name: version(name) for name in PACKAGES}, "git_commit": git_commit()}
    write_json(done, {**about, **before, **facts, "files": digests})


def _passing(path: Path) -> bool:
    """Whether a file is there only while a run is made: a checkpoint, a part, a lock."""
    return path.suffix in (".pt", ".part") or path.name == ".lock"


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
        found = sha256(read_bytes(path))
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
    if not IN_CLONE:
        return "unknown"  # an installed package may lie inside of somebody else's checkout
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--match", ""]
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return run.stdout.strip() or "unknown"
