"""Random numbers that depend on no machine: each stream is named by seed, purpose and epoch."""

from __future__ import annotations

import hashlib

import torch


def generator(
    seed: int, purpose: str, epoch: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator whose state is a function of (seed, purpose, epoch)."""
    return torch.Generator(device).manual_seed(seed_for(seed, purpose, epoch))


def seed_for(seed: int, purpose: str, epoch: int) -> int:
    """The seed of `generator`."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:7], "little")
