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

    View 1 goes through the dense network, view 2 through the same weights with the smallest of
    them masked. What the network holds with small weights only, it seems to forget there: such
    samples get a larger loss. Every batch norm, the head's too, exists twice (`make_dual` is done
    here).

    Args:
        encoder: as for SimCLR.
        config: its `prune_fraction` says which share of the convolutions' weights is masked, all
            layers together; its `prune_random` says which part of that share is drawn by chance.
        class_counts: as for SimCLR.

    Attributes:
        masks: bool tensors by the name of the weight that they mask, drawn anew every epoch.
        refresh_statistics: whether the pruned branch runs once more per step without gradient, as
            in the published two-pass step. That moves the pruned running statistics, nothing else.
    """

    def __init__(
        self,
        encoder: Encoder,
        config: RunConfig,
        class_counts: Tensor | None = None,
    ) -> None:
        super().__init__(encoder, config, class_counts)
        self.encoder = pruning.make_dual(self.encoder)
        self.head = pruning.make_dual(self.head)
        self.fraction = config.prune_fraction
        self.random_fraction = config.prune_random
        self.refresh_statistics = False  # True costs a forward pass and moves no dense result
        self.masks: dict[str, Tensor] = {}  # drawn anew every epoch, so in no checkpoint

    def trained(self) -> dict[str, nn.Module]:
        """The dense encoder, as published, and the pruned one, to look at what pruning forgets.

        The pruned one's mask is that of the final weights, by size alone.
        """
        dense = pruning.make_single(self.encoder)
        pruned = pruning.make_single(self.encoder, pruned=True)
        weights = pruning.prunable(self.encoder)
        masks = pruning.magnitude_masks(weights, self.fraction)
        pruning.apply_masks(pruned, masks)
        return {"encoder": dense, "pruned": pruned}

    def start_epoch(
        self,
        epoch: int,
        epochs: int,
        generator: torch.Generator | None = None,
    ) -> None:
        """Draw the epoch's masks from the dense weights of this moment."""
        # The masks of one epoch stay as they are while its weights move.
        weights = pruning.prunable(self.encoder)
        drawn = pruning.magnitude_masks(weights, self.fraction, self.random_fraction, generator)

        # In place after the first epoch: a CUDA graph reads the masks where they are.
        for name, mask in drawn.items():
            kept = self.masks.setdefault(name, mask)
            kept.copy_(mask)

    def project_pruned(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] to projections [B, 128] through the pruned branch."""

        def network(x: Tensor) -> Tensor:
            features = pruning.pruned_forward(self.encoder, self.masks, x)  # [B, dim]
            # No mask for the head, which has no convolution: only its batch norms are others.
            return pruning.pruned_forward(self.head, {}, features)  # [B, 128]

        return self._in_autocast(network, images)

    def forward(self, batch: Batch) -> Tensor:
        """One loss per sample, [B]; its gradient is that of the published two passes together."""
        first, second = batch.views  # [B, 3, H, W] each
        if self.refresh_statistics:
            with torch.no_grad():
                self.project_pruned(second)
        dense = self.project(first)  # [B, 128]
        pruned = self.project_pruned(second)  # [B, 128]
        return nt_xent(dense, pruned, self.temperature)  # [B]
