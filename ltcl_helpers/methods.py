"""Pre-training methods: a batch in, one loss per sample out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .losses import nt_xent


class Batch(NamedTuple):
    """Index int64 [B], labels int64 [B] (self-supervised methods never read them), two views.

    The views are float [B, 3, H, W] in [0, 1] each.
    """

    index: Tensor
    labels: Tensor
    views: tuple[Tensor, Tensor]


class SimCLR(nn.Module):
    """SimCLR (Chen et al. 2020): pull a sample's two views together, push all others away.

    Args:
        encoder: images [B, 3, H, W] to features [B, D].
        head: features to projections.
        temperature: of the NT-Xent loss.
        autocast: run encoder and head in this type (torch.bfloat16), or None; the loss never is.
    """

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module,
        temperature: float = 0.2,
        autocast: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.temperature, self.autocast = temperature, autocast

    def start_epoch(self) -> None:
        """Nothing to prepare; SDCLR will draw its pruning mask here."""

    def project(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] to projections [B, 128] in the precision of the loss."""
        images = images.contiguous(memory_format=torch.channels_last)
        if self.autocast is None:
            return self.head(self.encoder(images))
        with torch.autocast(images.device.type, self.autocast):
            return self.head(self.encoder(images)).float()

    def forward(self, batch: Batch) -> Tensor:
        """One loss per sample, [B]."""
        # One pass over both views, so that batch norm sees them together, as published.
        first, second = self.project(torch.cat(batch.views)).chunk(2)
        return nt_xent(first, second, self.temperature)
