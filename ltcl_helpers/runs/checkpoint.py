"""Checkpoints of a run under way: the newest and the one before it, each with its digest."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import torch

from ..errors import DamagedFile
from ..files import sha256, write_bytes
from .folder import checkpoints

log = logging.getLogger(__name__)


def save_checkpoint(folder: Path, epoch: int, state: dict[str, Any]) -> None:
    """Save `state` after `epoch` epochs and keep the one before it; its name holds its digest."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    write_bytes(folder / f"checkpoint-{epoch:06d}-{sha256(content)[:16]}.pt", content)
    for old in checkpoints(folder)[2:]:
        old.unlink()


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, or None when none was written yet."""
    found = checkpoints(folder)
    for path in found:
        content = path.read_bytes()
        if sha256(content)[:16] == path.stem.split("-")[-1]:
            state: dict[str, Any] = torch.load(
                io.BytesIO(content), weights_only=True, map_location="cpu"
            )
            return state
        log.warning("%s is damaged (its digest is not the one in its name); trying older", path)
    if found:
        raise DamagedFile(f"every checkpoint in {folder} is damaged; start the run again")
    return None
