"""MoCo: many negatives without a large batch, from a queue that a slow twin fills; and its rivals.

The rivals are two older sources of negatives, and views of crops alone.
"""

from __future__ import annotations

import copy

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import RunConfig
from ..networks import Encoder
from ..networks.batchnorm import split_batch_norms
from ..recipes import MethodOptions
from .losses import info_nce
from .simclr import Batch, SimCLR

OUTPUTS = 128  # length of a projection


class MoCo(SimCLR):
    """MoCo (He et al. 2020), with the head and temperature of v2 (Chen et al. 2020) or of v1.

    A query, view 1, looks for its key, view 2, among the keys of earlier batches. Keys come from a
    key encoder that follows the trained one slowly, so that old keys still fit; no gradient flows
    there. The batch norms work in groups of the batch, which imitate GPUs, and the keys' groups are
    other ones than the queries': else a network can tell by its batch statistics who belongs
    together.

    Args:
        encoder, class_counts: as for SimCLR.
        config: its batch size sets the length of the queue, its options are `Options`.

    Attributes:
        key_encoder, key_head: the slow twins.
        queue: [128, K], keys of length 1, one a column; random ones at first.
        place: int64 [], the column that the next key goes to.
    """

    queue: Tensor
    place: Tensor
    shuffle: Tensor

    class Options(MethodOptions):
        """What MoCo has beside a run's fields; the defaults are those of MoCo v2 on CIFAR."""

        key_momentum: float = Field(0.99, ge=0, lt=1)  # what the key encoder keeps at a step
        queue_batches: int = Field(8, ge=2, le=4096)  # K; 8 batches of 512 are the published 4096
        mlp: bool = True  # a hidden layer in the head; v1 has none
        group_size: int = Field(64, ge=2)  # of the batch norms: 8 GPUs had 64 of 512 images each
        symmetric: bool = False  # each view is query once: the sum of both losses

    def __init__(
        self, encoder: Encoder, config: RunConfig, class_counts: Tensor | None = None
    ) -> None:
        super().__init__(encoder, config, class_counts)
        self.head = make_head(encoder.dim, self.options.mlp)
        groups = max(1, config.batch_size // self.options.group_size)
        split_batch_norms(self.encoder, groups)
        self.key_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.key_head = copy.deepcopy(self.head).requires_grad_(False)
        size = self.options.queue_batches * config.batch_size
        queue = torch.randn(OUTPUTS, size)
        self.register_buffer("queue", F.normalize(queue, dim=0))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        # Sorting these gives the order of the keys' batch; drawn anew every epoch.
        self.register_buffer("shuffle", torch.zeros(config.batch_size), persistent=False)

    def start_epoch(
        self, epoch: int, epochs: int, generator: torch.Generator | None = None
    ) -> None:
        """Draw the order in which the epoch's keys form groups; batches are random themselves."""
        self.shuffle.uniform_(generator=generator)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the key encoder towards the encoder: parameters only, statistics are its own."""
        leaders = [*self.encoder.parameters(), *self.head.parameters()]
        followers = [*self.key_encoder.parameters(), *self.key_head.parameters()]
        for follower, leader in zip(followers, leaders, strict=True):
            follower.lerp_(leader, 1 - self.options.key_momentum)

    @torch.no_grad()
    def keys(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] to keys [B, 128] of length 1, through the key encoder."""
        order = self.shuffle[: len(images)].argsort()  # [B], a permutation
        network = nn.Sequential(self.key_encoder, self.key_head)
        shuffled = self._precisely(network, images[order])  # [B, 128]
        keys = shuffled[order.argsort()]  # in the order of the images again
        return F.normalize(keys, dim=1)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Write keys [B, 128] over the oldest ones, in place: a CUDA graph reads them there."""
        size = self.queue.shape[1]
        columns = (self.place + torch.arange(len(keys), device=keys.device)) % size
        self.queue.index_copy_(1, columns, keys.T)
        self.place.add_(len(keys)).remainder_(size)

    def forward(self, batch: Batch) -> Tensor:
        """One loss per sample, [B]; the batch's own keys enter the queue afterwards."""
        self.follow()
        first, second = batch.views
        keys = self.keys(second)
        queue = self.queue.clone()  # the backward pass needs it as it is
        loss = info_nce(self.project(first), keys, queue, self.temperature)
        if self.options.symmetric:
            other = self.keys(first)
            loss = loss + info_nce(self.project(second), other, queue, self.temperature)
            keys = torch.cat([keys, other])
        self.enqueue(keys)
        return loss


def make_head(dim: int, mlp: bool) -> nn.Sequential:
    """MoCo's projection head: a linear layer, in v2 after a hidden one; no batch norm."""
    hidden = [nn.Linear(dim, dim), nn.ReLU()] if mlp else []
    return nn.Sequential(*hidden, nn.Linear(dim, OUTPUTS))


# --- what MoCo is compared with ---------------------------------------------------------------


class EndToEnd(SimCLR):
    """Negatives are the other keys of the batch, and the gradient flows into the keys, too.

    With MoCo's head; a query has B - 1 negatives, so many negatives need a large batch.
    """

    class Options(MethodOptions):
        """As MoCo's."""

        mlp: bool = True

    def __init__(
        self, encoder: Encoder, config: RunConfig, class_counts: Tensor | None = None
    ) -> None:
        super().__init__(encoder, config, class_counts)
        self.head = make_head(encoder.dim, self.options.mlp)

    def forward(self, batch: Batch) -> Tensor:
        """One loss per sample, [B]."""
        first, second = batch.views
        queries = F.normalize(self.project(first), dim=1)  # [B, 128]
        keys = F.normalize(self.project(second), dim=1)
        similarity = queries @ keys.T / self.temperature  # [B, B]
        own = torch.arange(len(keys), device=keys.device)
        return F.cross_entropy(similarity, own, reduction="none")


class MemoryBank(EndToEnd):
    """Negatives are what the network said of the images when it last saw them (Wu et al. 2018).

    The bank holds one vector per image. An image's first view looks for its own entry among those
    of all images, N - 1 negatives; there is no second network, and old entries are as old as an
    epoch.
    """

    bank: Tensor

    class Options(EndToEnd.Options):
        """What the bank has beside the head."""

        bank_momentum: float = Field(0.5, ge=0, lt=1)  # what an entry keeps when its image returns

    def __init__(
        self, encoder: Encoder, config: RunConfig, class_counts: Tensor | None = None
    ) -> None:
        super().__init__(encoder, config, class_counts)
        assert class_counts is not None  # a run has them
        entries = torch.randn(int(class_counts.sum()), OUTPUTS)
        self.register_buffer("bank", F.normalize(entries, dim=1))

    def forward(self, batch: Batch) -> Tensor:
        """One loss per sample, [B]; afterwards the batch's entries move towards its queries."""
        queries = self.project(batch.views[0])  # [B, 128]
        bank = self.bank.clone()  # the backward pass needs it as it is
        similarity = F.normalize(queries, dim=1) @ bank.T / self.temperature  # [B, N]
        with torch.no_grad():
            keep = self.options.bank_momentum
            new = keep * bank[batch.index] + (1 - keep) * F.normalize(queries, dim=1)
            self.bank.index_copy_(0, batch.index, F.normalize(new, dim=1))
        return F.cross_entropy(similarity, batch.index, reduction="none")


class CropOnly(MoCo):
    """MoCo on views without their colour part: crop and flip."""

    VIEWS = ("crop", "crop")
