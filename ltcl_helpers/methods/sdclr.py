"""SDCLR: the network against its own pruned twin."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import RunConfig
from ..networks import Encoder
from . import pruning
from .losses import nt_xent
from .simclr import Batch, SimCLR


class SDCLR(SimCLR):
    """SDCLR (Jiang et al. 2021): contrast the network with its own pruned twin.

    View 1 goes through the dense network, view 2 through the same weights with the smallest ones
    masked. What the network holds with small weights only, it seems to forget there: such samples
    get a larger loss. Every batch norm, the head's too, exists twice (`make_dual` is done here).

    Args:
        encoder, class_counts: as for SimCLR.
        config: its `prune_fraction` of the convolutions' weights is masked, all layers together,
            `prune_random` of it by chance.

    Attributes:
        refresh_statistics: run the pruned branch once more per step without gradient, as the
            published two-pass step does; it moves the pruned running statistics and nothing else.
    """

    def __init__(
        self, encoder: Encoder, config: RunConfig, class_counts: Tensor | None = None
    ) -> None:
        super().__init__(encoder, config, class_counts)
        self.encoder = pruning.make_dual(self.encoder)
        self.head = pruning.make_dual(self.head)
        self.fraction = config.prune_fraction
        self.random_fraction = config.prune_random
        self.refresh_statistics = False
        self.masks: dict[str, Tensor] = {}  # drawn anew every epoch, so in no checkpoint

    def trained(self) -> dict[str, nn.Module]:
        """The dense encoder, as published, and the pruned one, to look at what pruning forgets.

        The latter's mask is that of the final weights, by size alone.
        """
        masks = pruning.magnitude_masks(pruning.prunable(self.encoder), self.fraction)
        dense = pruning.make_single(self.encoder)
        pruned = pruning.make_single(self.encoder, pruned=True)
        return {"encoder": dense, "pruned": pruning.apply_masks(pruned, masks)}

    def start_epoch(
        self, epoch: int, epochs: int, generator: torch.Generator | None = None
    ) -> None:
        """Draw the epoch's masks from the dense weights of this moment."""
        # The masks of one epoch stay as they are while its weights move.
        drawn = pruning.magnitude_masks(
            pruning.prunable(self.encoder), self.fraction, self.random_fraction, generator
        )
        for name, mask in drawn.items():  # in place: a CUDA graph reads the masks where they are
            self.masks.setdefault(name, mask).copy_(mask)

    def project_pruned(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] to projections [B, 128] through the pruned branch."""

        def network(x: Tensor) -> Tensor:
            features = pruning.pruned_forward(self.encoder, self.masks, x)
            return pruning.pruned_forward(self.head, {}, features)

        return self._precisely(network, images)

    def forward(self, batch: Batch) -> Tensor:
        """One loss per sample, [B]; its gradient is that of the published two passes together."""
        first, second = batch.views
        if self.refresh_statistics:
            with torch.no_grad():
                self.project_pruned(second)
        dense = self.project(first)  # [B, 128]
        pruned = self.project_pruned(second)
        return nt_xent(dense, pruned, self.temperature)
