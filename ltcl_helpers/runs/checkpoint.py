"""Checkpoints of a run under way: the newest and the one before it, each with its digest."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import torch

from ..errors import DamagedFile
from ..files import read_bytes, sha256, write_bytes
from .folder import checkpoints

log = logging.getLogger(__name__)


def save_checkpoint(folder: Path, epoch: int, state: dict[str, Any]) -> None:
    """Save `state` after `epoch` epochs and keep the one before it; its name holds its digest.

    Another checkpoint of this epoch or of a later one could not be loaded, or this epoch would not
    be made again: it is removed, so that the one that stays is whole.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    newest = folder / f"checkpoint-{epoch:06d}-{sha256(content)[:16]}.pt"
    write_bytes(newest, content)
    others = [path for path in checkpoints(folder) if path != newest]
    damaged = [path for path in others if int(path.stem.split("-")[1]) >= epoch]
    whole = [path for path in others if path not in damaged]
    for path in damaged + whole[1:]:
        path.unlink()


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, or None when none was written yet."""
    found = checkpoints(folder)
    for path in found:
        try:
            return _load(path)
        except (DamagedFile, OSError) as error:
            log.warning("%s; trying older", error)
    if found:
        raise DamagedFile(f"every checkpoint in {folder} is damaged; start the run again")
    return None


def _load(path: Path) -> dict[str, Any]:
    """The state in a checkpoint; nothing in it can run code."""
    content = read_bytes(path)
    if sha256(content)[:16] != path.stem.split("-")[-1]:
        raise DamagedFile(f"{path} is damaged (its digest is not the one in its name)")
    try:
        state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:  # whatever torch meets in a file that is none of ours
        reason = type(error).__name__
        raise DamagedFile(f"{path} is no checkpoint of this kit ({reason})") from None
    return dict(state)
