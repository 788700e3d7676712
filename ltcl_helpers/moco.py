"""MoCo: many negatives without a large batch, from a queue that a slow twin fills."""

from __future__ import annotations

import copy

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from .batchnorm import split_batch_norms
from .config import RunConfig
from .losses import info_nce
from .recipes import Options
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

    class Options(Options):
        """What MoCo has beside a run's fields; the defaults are those of MoCo v2 on CIFAR."""

        key_momentum: float = Field(0.99, ge=0, lt=1)  # what the key encoder keeps at a step
        queue_batches: int = Field(8, ge=2, le=4096)  # K; 8 batches of 512 are the published 4096
        mlp: bool = True  # a hidden layer in the head; v1 has none
        group_size: int = Field(64, ge=2)  # of the batch norms: 8 GPUs had 64 of 512 images each
        symmetric: bool = False  # each view is query once: the sum of both losses

    def __init__(
        self, encoder: nn.Module, config: RunConfig, class_counts: Tensor | None = None
    ) -> None:
        super().__init__(encoder, config, class_counts)
        self.head = make_head(encoder.dim, self.options.mlp)
        split_batch_norms(self.encoder, max(1, config.batch_size // self.options.group_size))
        self.key_encoder, self.key_head = map(copy.deepcopy, (self.encoder, self.head))
        for twin in (self.key_encoder, self.key_head):
            twin.requires_grad_(False)
        size = self.options.queue_batches * config.batch_size
        self.register_buffer("queue", F.normalize(torch.randn(OUTPUTS, size), dim=0))
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
        order = self.shuffle[: len(images)].argsort()
        network = nn.Sequential(self.key_encoder, self.key_head)
        return F.normalize(self._precisely(network, images[order])[order.argsort()], dim=1)

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
        keys, queue = self.keys(second), self.queue.clone()  # the backward pass needs it as it is
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
