"""Pre-training methods: a batch in, one loss per sample out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import pruning
from .config import RunConfig, load_method
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

    @classmethod
    def options(cls, config: RunConfig) -> dict[str, object]:
        """The constructor's arguments, beyond SimCLR's four, that a configuration holds."""
        return {}

    def trained(self) -> dict[str, nn.Module]:
        """What a run keeps, by file name: the encoder, without the head."""
        return {"encoder": self.encoder}

    def start_epoch(self, generator: torch.Generator | None = None) -> None:
        """Prepare an epoch; SimCLR has nothing to do."""

    def project(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] to projections [B, 128] in the precision of the loss."""
        return self._precisely(lambda x: self.head(self.encoder(x)), images)

    def _precisely(self, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        if self.autocast is None:
            return network(images)
        with torch.autocast(images.device.type, self.autocast):
            return network(images).float()

    def forward(self, batch: Batch) -> Tensor:
        """One loss per sample, [B]."""
        # One pass over both views, so that batch norm sees them together, as published.
        first, second = self.project(torch.cat(batch.views)).chunk(2)
        return nt_xent(first, second, self.temperature)


class SDCLR(SimCLR):
    """SDCLR (Jiang et al. 2021): contrast the network with its own pruned twin.

    View 1 goes through the dense network, view 2 through the same weights with the smallest ones
    masked. What the network holds with small weights only, it seems to forget there: such samples
    get a larger loss. Every batch norm, the head's too, exists twice (`make_dual` is done here).

    Args:
        encoder, head, temperature, autocast: as for SimCLR.
        fraction: share of the convolutions' weights to prune, all layers together.
        random_fraction: the part of it that is drawn by chance.
        refresh_statistics: run the pruned branch once more per step without gradient, as the
            published two-pass step does; it moves the pruned running statistics and nothing else.
    """

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module,
        temperature: float = 0.2,
        autocast: torch.dtype | None = None,
        fraction: float = 0.9,
        random_fraction: float = 0.0,
        refresh_statistics: bool = False,
    ) -> None:
        encoder, head = pruning.make_dual(encoder), pruning.make_dual(head)
        super().__init__(encoder, head, temperature, autocast)
        self.fraction, self.random_fraction = fraction, random_fraction
        self.refresh_statistics = refresh_statistics
        self.masks: dict[str, Tensor] = {}  # drawn anew every epoch, so in no checkpoint

    @classmethod
    def options(cls, config: RunConfig) -> dict[str, object]:
        """See SimCLR."""
        return {"fraction": config.prune_fraction, "random_fraction": config.prune_random}

    def trained(self) -> dict[str, nn.Module]:
        """The dense encoder, as published, and the pruned one, to look at what pruning forgets.

        The latter's mask is that of the final weights, by size alone.
        """
        masks = pruning.magnitude_masks(pruning.prunable(self.encoder), self.fraction)
        pruned = pruning.apply_masks(pruning.make_single(self.encoder, pruned=True), masks)
        return {"encoder": pruning.make_single(self.encoder), "pruned": pruned}

    def start_epoch(self, generator: torch.Generator | None = None) -> None:
        """Draw the epoch's masks from the dense weights of this moment."""
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
        return nt_xent(self.project(first), self.project_pruned(second), self.temperature)


def build(
    config: RunConfig, encoder: nn.Module, head: nn.Module, autocast: torch.dtype | None
) -> SimCLR:
    """The configuration's method around these networks."""
    cls = load_method(config.method)
    return cls(encoder, head, config.temperature, autocast, **cls.options(config))
