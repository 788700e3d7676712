"""The folder of a run: who may write in it, what it was made with, and what is kept of it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..config import RunConfig
from ..errors import ConfigError
from ..files import hold, read_json, write_bytes
from ..paths import RESULTS, WEIGHTS
from .done import NOT_RECORDED, is_ours, verify, write_done

CHECKPOINT = re.compile(r"checkpoint-\d{6,}-[0-9a-f]{16}\.pt")  # epoch and digest


@contextlib.contextmanager
def lock(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold a run's folder while it is written; a second process is refused, or made to wait.

    Raises:
        ConfigError: when another process holds it, unless `wait` is set.
    """
    try:
        with hold(folder / ".lock", wait):
            yield
    except BlockingIOError:
        raise ConfigError(
            f"another process is at work on {folder}; wait for it, or name another folder"
        ) from None


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, newest first; what its owner calls alike is none."""
    found = [path for path in folder.glob("checkpoint-*.pt") if CHECKPOINT.fullmatch(path.name)]
    return sorted(found, reverse=True)


def refuse_used(folder: Path) -> None:
    """Raise a ConfigError where a folder holds anything but hidden leftovers."""
    if folder.exists() and (
        not folder.is_dir() or any(not path.name.startswith(".") for path in folder.iterdir())
    ):
        begun = (folder / "config.json").exists()
        goes_on = f"`ltcl run --resume {folder}` goes on with it, or name" if begun else "name"
        raise ConfigError(f"{folder} exists; {goes_on} another --out")


def finished(where: str | Path | Iterable[str | Path]) -> list[Path]:
    """The run folders of a recorded study's name, of a folder of runs, or as they are listed.

    Raises:
        ConfigError: where there is none.
    """
    if not isinstance(where, str | Path):
        return list(dict.fromkeys(folder for each in where for folder in finished(each)))
    for base in (Path(where), RESULTS / where):
        if (base / "DONE.json").exists():
            return [base]
        if found := sorted(path.parent for path in base.glob("*/DONE.json")):
            return found
    if (Path(where) / "config.json").exists():
        raise ConfigError(f"{where} is not finished; `ltcl run --resume {where}` goes on with it")
    raise ConfigError(f"{where} is no finished run and holds none; `ltcl run` makes one")


def unfinished(where: Iterable[str | Path]) -> list[Path]:
    """The runs that were begun in these folders of runs, and are not done."""
    begun = [path.parent for base in where for path in sorted(Path(base).glob("*/config.json"))]
    return [folder for folder in begun if not (folder / "DONE.json").exists()]


def released(name: str) -> Path:
    """The folder of an encoder that comes with the kit: a run's, to be read and not written.

    Raises:
        ConfigError: for another name than those of docs/weights.md.
    """
    names = sorted(path.parent.name for path in WEIGHTS.glob("*/DONE.json"))
    if not names:
        raise ConfigError(f"{WEIGHTS} holds no weights; they come with a clone of the kit")
    if name not in names:
        raise ConfigError(f"weights are {name!r}; released are {', '.join(names)}")
    return WEIGHTS / name


def refuse_unwritable(folder: Path) -> None:
    """Raise an OSError where nothing can be written: before hours are spent, not after them."""
    trial = folder / ".trial"
    write_bytes(trial, bytes(4096))
    trial.unlink(missing_ok=True)  # a second process may have tried at once


def sweep(folder: Path) -> None:
    """Remove what killed writers left behind; the caller holds the folder."""
    for path in folder.glob(".*.part"):
        path.unlink(missing_ok=True)
    if (folder / "DONE.json").exists():
        for path in checkpoints(folder):  # a finished run needs none, and they are large
            path.unlink(missing_ok=True)


def read_config(folder: Path) -> RunConfig:
    """The configuration of the run in `folder`, begun or done; imports nothing that it names."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} does not exist, or is no folder; name a run's")
    if not (folder / "config.json").exists():
        raise ConfigError(f"{folder} holds no run (no config.json); begin one: ltcl run --out ...")
    return RunConfig.stored(read_json(folder / "config.json"))


def refuse_import(folder: Path, config: RunConfig) -> None:
    """Raise a ConfigError where a run was to be of imported weights: training makes none of these.

    Args:
        folder: where the run was begun.
        config: the run's.
    """
    if config.weights:
        layout = config.weights.partition(":")[0]
        raise ConfigError(
            f"{folder} was to hold imported weights ({layout}), and its making was stopped; delete "
            "it and run `ltcl import-weights` again"
        )


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


def record(folder: Path, target: Path) -> None:
    """Copy a finished run without its weights, all or nothing.

    DONE.json keeps the digests of what is left out.
    """
    done = verify(folder)
    if target.exists():
        raise ConfigError(f"{target} exists; name a new folder or delete that one first")
    names = [name for name in done["files"] if is_ours(name)]
    left_out = [name for name in names if name.endswith(NOT_RECORDED)]
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name in set(names).difference(left_out):
        if (folder / name).is_symlink():
            raise ConfigError(f"{folder / name} is a link; put the file itself there")
        shutil.copyfile(folder / name, part / name)
    digests = {name: done["files"][name] for name in names}
    write_done(part, {**done, "files": digests, "left_out": left_out})
    verify(part)  # the run may have changed meanwhile
    os.replace(part, target)
