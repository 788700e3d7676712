"""DONE.json: what a finished run is made of, sealed, and compared wherever the run is opened.

It is written last, and holds the digest of every file that the kit wrote there, of the data, and of
itself. What else lies in the folder is its owner's, and nobody asks about it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..errors import DamagedFile
from ..files import read_bytes, read_json, sha256, write_bytes, write_json
from ..paths import IN_CLONE, ROOT

PACKAGES = ("ltcl-helpers", "numpy", "pandas", "scikit-learn", "torch", "torchvision")
FORMAT = 2  # the first one had neither a seal nor a digest of the data
OPENED = ("config.json", "history.parquet", "memory.npz")  # what `Run.load` reads
PROBE = "probe.parquet"
NOTEBOOK = "run.ipynb"
REMADE = (PROBE, NOTEBOOK)  # can be made again; nothing else depends on them
WEIGHTS = ".safetensors"  # of the networks, by the names that the method gives them
NOT_RECORDED = (WEIGHTS, NOTEBOOK)  # ends of names: large, or can be made again


def _in_folder(name: str) -> str:
    """A name that leads nowhere else."""
    if name in ("", ".", "..") or set(name) & set("/\\:\0"):
        raise ValueError("is no name of a file of this folder")
    return name


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, AfterValidator(_in_folder)]


class Machine(BaseModel):
    """What a result's last digits depend on."""

    model_config = ConfigDict(extra="allow", strict=True)

    device: str
    threads: int
    precision: str
    torch: str


class Done(BaseModel):
    """The shape of DONE.json; a stranger's may hold anything."""

    model_config = ConfigDict(extra="allow", strict=True)

    files: dict[FileName, Digest]
    versions: dict[str, str]
    git_commit: str
    machines: list[Machine] = Field(min_length=1)
    config_sha256: Digest | None = None
    split_sha256: Digest | None = None
    data_sha256: Digest | None = None
    left_out: list[FileName] = []
    before: dict[FileName, Digest | None] = {}  # of a file that is just being replaced


def read_done(folder: Path) -> dict[str, Any]:
    """DONE.json of a finished run, after a look at its seal and its shape; no other file is read.

    Raises:
        DamagedFile: when it is missing, or is not what was written.
    """
    path = folder / "DONE.json"
    if not path.exists() and not (folder / "config.json").exists():
        raise DamagedFile(f"{folder} is not a finished run, nor one that was begun; name a run's")
    if not path.exists():
        raise DamagedFile(
            f"{folder} is not a finished run (no DONE.json); ltcl run --resume {folder} finishes it"
        )
    done = read_json(path)
    is_sealed = "seal" in done or "format" in done
    if is_sealed and done.get("seal") != _seal_of(done):
        raise DamagedFile(f"{path} was changed since it was written (its seal); restore it")
    try:
        Done.model_validate(done)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise DamagedFile(f"{path}: {where}: {problem['msg'].lower()}; restore it") from None
    if "config.json" not in done["files"]:
        raise DamagedFile(f"{path} names no config.json among its files; restore it")
    return done


def _seal_of(done: dict[str, Any]) -> str:
    """The digest of all that DONE.json says, besides the digest."""
    rest = {name: value for name, value in done.items() if name != "seal"}
    return sha256(json.dumps(rest, sort_keys=True).encode())


def write_done(folder: Path, done: dict[str, Any]) -> None:
    """Write DONE.json with its seal."""
    content = {**done, "format": FORMAT}
    write_json(folder / "DONE.json", {**content, "seal": _seal_of(content)})


def seal(folder: Path, *written: str, **facts: Any) -> None:
    """Write DONE.json: `facts`, package versions, git commit, and digests of the files `written`.

    Those that were sealed before keep the digests that they had.
    """
    about: dict[str, Any] = {"versions": versions(), "git_commit": git_commit(), "files": {}}
    if (folder / "DONE.json").exists():
        about |= read_done(folder)
    digests = about["files"] | {name: sha256(folder / name) for name in written}
    write_done(folder, {**about, **facts, "files": dict(sorted(digests.items()))})


def add_file(folder: Path, name: str, content: bytes) -> None:
    """Add (or replace) a file of a finished run; killed at any moment, the run stays whole.

    Until the file is there, DONE.json holds for the old one, too. The caller holds the folder.
    """
    done = read_done(folder)
    path = folder / name
    # What is there, if it is what should be: an earlier attempt may have been killed half-way.
    known = (done["files"].get(name), done.get("before", {}).get(name))
    there = sha256(path) if path.exists() else None
    old = there if there in known else None
    done["files"] = dict(sorted({**done["files"], name: sha256(content)}.items()))
    write_done(folder, {**done, "before": {name: old}})
    write_bytes(path, content)
    done.pop("before", None)
    write_done(folder, done)


def verify(folder: Path, but: Collection[str] = ()) -> dict[str, Any]:
    """Check a finished (or recorded) run against its DONE.json and return that.

    Args:
        folder: where the run lies.
        but: names of files that are not asked about.
    """
    done = read_done(folder)
    for name in done["files"]:
        if name not in but and is_ours(name):
            verify_file(folder, done, name)
    return done


def is_ours(name: str) -> bool:
    """Whether the kit writes files of this name; older ones sealed what lay beside them, too."""
    return name in (*OPENED, *REMADE) or name.endswith(WEIGHTS)


def verify_file(folder: Path, done: dict[str, Any], name: str) -> bool:
    """Check one file of a finished run; False where there is none, and none should be.

    Raises:
        DamagedFile: saying what is to be done.
    """
    path = folder / name
    expected = done["files"].get(name)
    if expected is None:
        return False
    left_out = done.get("left_out", [])
    before = done.get("before", {})  # of a file that was just being replaced, or added: None
    is_optional = name in left_out or (name in before and before[name] is None)
    if is_optional and not path.exists():
        return False
    found = sha256(read_bytes(path))
    if found not in (expected, before.get(name)):
        again = f"ltcl probe {folder} makes it again" if name == PROBE else "restore it"
        raise DamagedFile(
            f"{path} has sha256 {found[:12]}..., DONE.json says {expected[:12]}...; "
            + ("restore it" if left_out else again)
        )
    return True


def versions() -> dict[str, str]:
    """The installed versions of the packages that a result depends on."""
    return {name: version(name) for name in PACKAGES}


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
