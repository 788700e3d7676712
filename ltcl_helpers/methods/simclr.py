"""SimCLR: a batch in, one loss per sample out. Every other method builds on this class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import networks
from ..config import RunConfig
from ..networks.exchange import ONE
from ..recipes import MethodOptions
from .losses import nt_xent


class Batch(NamedTuple):
    """What a method gets of B samples.

    Attributes:
        index: int64 [B], the positions of the samples in the training set.
        labels: int64 [B]. Self-supervised methods never read them.
        views: as many tensors as the method's `VIEWS` has names, each float [B, 3, H, W] in [0, 1].
    """

    index: Tensor  # type: ignore[assignment]  # hides a tuple's own method, which nobody calls
    labels: Tensor
    views: tuple[Tensor, ...]


class SimCLR(nn.Module):
    """SimCLR (Chen et al. 2020): pull a sample's two views together, push all others away.

    Args:
        encoder: turns images [B, 3, H, W] into features [B, dim].
        config: the run's parameters, of which the method takes what it needs.
        class_counts: int64 [C], the images per class. Only methods that read labels need it.

    Attributes:
        autocast: the type in which encoder and head compute, such as torch.bfloat16. None is the
            type of their weights. The loss is never computed in less than float32.
        ranks: the processes that train together. The views of a batch are of this one's rows, the
            features of all.
    """

    VIEWS: tuple[str, ...] = ("simclr", "simclr")  # the kinds of views that a batch holds
    READS_LABELS = False  # whether training looks at `Batch.labels`
    # The method's own parameters, beside RunConfig's fields: a subclass declares its class here.
    Options: type[MethodOptions] = MethodOptions

    def __init__(
        self,
        encoder: networks.Encoder,
        config: RunConfig,
        class_counts: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.encoder: nn.Module = encoder
        self.head: nn.Module = networks.ProjectionHead(encoder.dim, layers=config.head_layers)
        self.temperature = config.temperature
        self.options: Any = self.Options(**config.options)  # Any: each class declares its own
        self.autocast: torch.dtype | None = None  # `Training` sets what suits the device
        self.ranks = ONE  # and whether others train with this process

    def trained(self) -> dict[str, nn.Module]:
        """What a run keeps, by file name: the encoder, without the head."""
        return {"encoder": self.encoder}

    @classmethod
    def rebuild(cls, name: str, config: RunConfig, weights: dict[str, Tensor]) -> nn.Module:
        """The network that `trained` gave by this name, to be filled with its stored weights."""
        return networks.build(config)

    @classmethod
    def check_ranks(cls, config: RunConfig, count: int) -> None:
        """Raise a ConfigError where a run cannot be made on so many ranks; these always can."""

    def start_epoch(
        self,
        epoch: int,
        epochs: int,
        generator: torch.Generator | None = None,
    ) -> None:
        """Prepare an epoch, for which SimCLR has nothing to do.

        Args:
            epoch: the number of the epoch, from 1.
            epochs: how many the run has.
            generator: draws whatever the method needs for the epoch.
        """

    def project(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] to projections [B, 128] in the precision of the loss."""

        def network(x: Tensor) -> Tensor:
            features = self.encoder(x)  # [B, dim]
            projections: Tensor = self.head(features)  # [B, 128]
            return projections

        return self._in_autocast(network, images)

    def _in_autocast(self, network: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        """`network(inputs)`, computed in the type `autocast` if there is one, then in float32."""
        if self.autocast is None:
            return network(inputs)
        with torch.autocast(inputs.device.type, self.autocast):
            outputs = network(inputs)
            return outputs.float()

    def forward(self, batch: Batch) -> Tensor:
        """One loss per sample, [B]."""
        # One pass over both views, so that batch norm sees them together, as published.
        images = torch.cat(batch.views)  # [2B, 3, H, W]
        projections = self.project(images)  # [2B, 128]
        first, second = projections.chunk(2)  # [B, 128] each
        return nt_xent(first, second, self.temperature)  # [B]
