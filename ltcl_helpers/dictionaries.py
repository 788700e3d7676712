"""What MoCo is compared with: two older sources of negatives, and views of crops alone."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from .config import RunConfig
from .moco import OUTPUTS, MoCo, make_head
from .recipes import Options
from .simclr import Batch, SimCLR


class EndToEnd(SimCLR):
    """Negatives are the other keys of the batch, and the gradient flows into the keys, too.

    With MoCo's head; a query has B - 1 negatives, so many negatives need a large batch.
    """

    class Options(Options):
        """As MoCo's."""

        mlp: bool = True

    def __init__(
        self, encoder: nn.Module, config: RunConfig, class_counts: Tensor | None = None
    ) -> None:
        super().__init__(encoder, config, class_counts)
        self.head = make_head(encoder.dim, self.options.mlp)

    def forward(self, batch: Batch) -> Tensor:
        """One loss per sample, [B]."""
        queries, keys = (F.normalize(self.project(view), dim=1) for view in batch.views)
        own = torch.arange(len(keys), device=keys.device)
        return F.cross_entropy(queries @ keys.T / self.temperature, own, reduction="none")


class MemoryBank(EndToEnd):
    """Negatives are what the network said of the images when it last saw them (Wu et al. 2018).

    The bank holds one vector per image. An image's first view looks for its own entry among those
    of all images, N - 1 negatives; there is no second network, and old entries are as old as an
    epoch.
    """

    class Options(EndToEnd.Options):
        """What the bank has beside the head."""

        bank_momentum: float = Field(0.5, ge=0, lt=1)  # what an entry keeps when its image returns

    def __init__(
        self, encoder: nn.Module, config: RunConfig, class_counts: Tensor | None = None
    ) -> None:
        super().__init__(encoder, config, class_counts)
        entries = torch.randn(int(class_counts.sum()), OUTPUTS)
        self.register_buffer("bank", F.normalize(entries, dim=1))

    def forward(self, batch: Batch) -> Tensor:
        """One loss per sample, [B]; afterwards the batch's entries move towards its queries."""
        queries, bank = self.project(batch.views[0]), self.bank.clone()
        similarity = F.normalize(queries, dim=1) @ bank.T / self.temperature  # [B, N]
        with torch.no_grad():
            old, keep = bank[batch.index], self.options.bank_momentum
            new = keep * old + (1 - keep) * F.normalize(queries, dim=1)
            self.bank.index_copy_(0, batch.index, F.normalize(new, dim=1))
        return F.cross_entropy(similarity, batch.index, reduction="none")


class CropOnly(MoCo):
    """MoCo on views without their colour part: crop and flip."""

    VIEWS = ("crop", "crop")
