"""SimCLR: a batch in, one loss per sample out. Every other method builds on this class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import networks
from ..config import RunConfig
from ..recipes import MethodOptions
from .losses import nt_xent


class Batch(NamedTuple):
    """Index int64 [B], labels int64 [B] (self-supervised methods never read them), the views.

    A view is float [B, 3, H, W] in [0, 1]; there are as many as the method's `VIEWS`.
    """

    index: Tensor  # type: ignore[assignment]  # hides a tuple's own method, which nobody calls
    labels: Tensor
    views: tuple[Tensor, ...]


class SimCLR(nn.Module):
    """SimCLR (Chen et al. 2020): pull a sample's two views together, push all others away.

    Args:
        encoder: images [B, 3, H, W] to features [B, dim].
        config: the run's; the method takes what it needs from it.
        class_counts: int64 [C], for methods that read labels.

    Attributes:
        autocast: run encoder and head in this type (torch.bfloat16), or None; the loss never is.
    """

    VIEWS: tuple[str, ...] = ("simclr", "simclr")  # the kinds of views that a batch holds
    READS_LABELS = False  # whether training sees them
    Options: type[MethodOptions] = (
        MethodOptions  # the method's own parameters, beside RunConfig's fields
    )

    def __init__(
        self, encoder: networks.Encoder, config: RunConfig, class_counts: Tensor | None = None
    ) -> None:
        super().__init__()
        self.encoder: nn.Module = encoder
        self.head: nn.Module = networks.ProjectionHead(encoder.dim, layers=config.head_layers)
        self.temperature = config.temperature
        self.options: Any = self.Options(**config.options)  # each class declares its own
        self.autocast: torch.dtype | None = None

    def trained(self) -> dict[str, nn.Module]:
        """What a run keeps, by file name: the encoder, without the head."""
        return {"encoder": self.encoder}

    @classmethod
    def rebuild(cls, name: str, config: RunConfig, weights: dict[str, Tensor]) -> nn.Module:
        """The network that `trained` gave by this name, to be filled with its stored weights."""
        return networks.build(config)

    def start_epoch(
        self, epoch: int, epochs: int, generator: torch.Generator | None = None
    ) -> None:
        """Prepare epoch 1 to `epochs`, with random numbers of its own; SimCLR has nothing to do."""

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
