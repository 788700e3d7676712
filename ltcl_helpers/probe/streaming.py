"""Features of images that need not fit in memory: those in files are decoded a part at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.stored import Stored
from ..errors import ConfigError

Embed = Callable[[Tensor], Tensor]  # images uint8 [N, 3, H, W] to features [N, D]
PART = 2**26  # bytes of decoded images that are in memory at once


def embed_images(embed: Embed, images: Any, index: np.ndarray | None = None) -> Tensor:
    """Features [n, D] of the images `index` [n], or of all.

    Args:
        embed: makes features of images.
        images: an array uint8 [N, 3, H, W], or what hands out parts of one.
        index: positions among them.
    """
    if not isinstance(images, Stored):
        chosen = np.asarray(images) if index is None else images[index]
        return embed(torch.from_numpy(chosen))
    positions = np.arange(len(images)) if index is None else index
    size = max(1, PART // (3 * images.side**2))
    parts = []
    for start in range(0, len(positions), size):
        decoded = images[positions[start : start + size]]
        parts.append(embed(torch.from_numpy(decoded)))
    return torch.cat(parts)


def in_memory(images: Any, index: np.ndarray, what: str) -> Tensor:
    """Some images uint8 [n, 3, H, W]; refused where they are large ones that lie in files.

    Raises:
        ConfigError: naming `what` needs them and what does not.
    """
    if isinstance(images, Stored):
        raise ConfigError(
            f"{what} needs its images in memory, as small as CIFAR's; of a pack or a large folder "
            "give --protocol bcl, logistic, knn or finetune, on features of the encoder"
        )
    return torch.from_numpy(images[index])
