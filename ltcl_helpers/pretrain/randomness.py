"""Random numbers that depend on no machine: each stream is named by seed, purpose and epoch."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def generator(
    seed: int, purpose: str, epoch: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator whose state is a function of (seed, purpose, epoch).

    Args:
        seed: the run's.
        purpose: what the numbers are for, such as "order" or "views". Streams of two purposes have
            nothing to do with each other.
        epoch: the number of the epoch, from 1; 0 for what is drawn once.
        device: where the numbers are drawn. A GPU draws other numbers than a CPU.
    """
    state = seed_for(seed, purpose, epoch)
    return torch.Generator(device).manual_seed(state)


def seed_for(seed: int, purpose: str, epoch: int) -> int:
    """The seed of `generator`."""
    name = f"{seed}/{purpose}/{epoch}"
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:7], "little")  # 56 bits: every generator takes such a seed


@contextlib.contextmanager
def random_layers(seed: int, device: torch.device) -> Iterator[None]:
    """Let dropout and the like draw as this seed says; only a library's network has such layers.

    They know no generator but torch's own, which is left as it was found.
    """
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        yield
