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
from ..errors import ConfigError
from ..networks import Encoder
from ..networks.batchnorm import split_batch_norms
from ..recipes import MethodOptions
from .losses import info_nce
from .simclr import Batch, SimCLR

OUTPUTS = 128  # length of a projection


class MoCo(SimCLR):
    """MoCo (He et al. 2020), with the head and temperature of v2 (Chen et al. 2020) or of v1.

    A query, view 1, looks for its key, view 2, among the keys of earlier batches. Keys come from a
    key encoder that follows the trained encoder slowly, so that old keys still fit; no gradient
    flows there. The batch norms work in groups of the batch, which imitate GPUs. The keys are
    grouped in another way than the queries: else a network could tell by the statistics of a group
    which key belongs to which query.

    Args:
        encoder: as for SimCLR.
        config: its batch size sets the length of the queue, its options are `Options`.
        class_counts: as for SimCLR.

    Attributes:
        key_encoder: the slow twin of the encoder.
        key_head: the slow twin of the head.
        queue: [128, K], keys of length 1 in columns. They are random at first.
        place: int64 [], the column that the next key goes to.
        shuffle: [batch size], random numbers, drawn anew every epoch. Sorting them gives the order
            in which a batch's keys form groups.
    """

    queue: Tensor
    place: Tensor
    shuffle: Tensor

    class Options(MethodOptions):
        """What MoCo has beside a run's fields; the defaults are those of MoCo v2 on CIFAR."""

        key_momentum: float = Field(0.99, ge=0, lt=1)  # share of itself that a twin keeps at a step
        queue_batches: int = Field(8, ge=2, le=4096)  # 8 of 512 are the published 4096
        mlp: bool = True  # a hidden layer in the head, which v1 does not have
        group_size: int = Field(64, ge=2)  # of the batch norms: 8 GPUs had 64 of 512 images each
        symmetric: bool = False  # True makes each view the query once and adds both losses

    def __init__(
        self,
        encoder: Encoder,
        config: RunConfig,
        class_counts: Tensor | None = None,
    ) -> None:
        super().__init__(encoder, config, class_counts)
        self.head = make_head(encoder.dim, self.options.mlp)

        # The slow twins begin as copies of the networks that they follow.
        groups = max(1, config.batch_size // self.options.group_size)
        split_batch_norms(self.encoder, groups)
        self.key_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.key_head = copy.deepcopy(self.head).requires_grad_(False)

        # A queue of random keys. A run that is resumed needs it as it was left.
        size = self.options.queue_batches * config.batch_size  # K
        queue = torch.randn(OUTPUTS, size)
        self.register_buffer("queue", F.normalize(queue, dim=0))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        self.register_buffer("shuffle", torch.zeros(config.batch_size), persistent=False)

    def start_epoch(
        self,
        epoch: int,
        epochs: int,
        generator: torch.Generator | None = None,
    ) -> None:
        """Draw the order in which keys form groups.

        One order does for all batches of an epoch, since the batches are random themselves.
        """
        self.shuffle.uniform_(generator=generator)

    @classmethod
    def check_ranks(cls, config: RunConfig, count: int) -> None:
        """Groups of the batch norms must not be cut: each lies on one rank, in every batch."""
        size = config.options["group_size"]
        groups = max(1, config.batch_size // size)
        even = config.batch_size % groups == 0 and groups % count == 0
        if not even or not config.drop_last:
            raise ConfigError(
                f"method {config.method} has {groups} groups of batch norms in a batch of "
                f"{config.batch_size}, which {count} ranks cannot share; give a batch_size and a "
                f"group_size with a multiple of {count} groups of equal size, and drop_last=true"
            )

    @torch.no_grad()
    def follow(self) -> None:
        """Move the slow twins towards their networks: parameters only, statistics are their own."""
        leaders = [*self.encoder.parameters(), *self.head.parameters()]
        followers = [*self.key_encoder.parameters(), *self.key_head.parameters()]
        share = 1 - self.options.key_momentum  # of the way, at each step
        for follower, leader in zip(followers, leaders, strict=True):
            follower.lerp_(leader, share)

    @torch.no_grad()
    def keys(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] to keys [B, 128] of length 1, through the key encoder."""
        network = nn.Sequential(self.key_encoder, self.key_head)
        whole = self.ranks.gather(images)  # [B, 3, H, W], as published where there are several
        order = self.shuffle[: len(whole)].argsort()  # [B], a permutation
        shuffled = self._in_autocast(network, whole[self.ranks.own(order)])  # [B, 128]
        back = order.argsort()  # [B], the permutation that undoes `order`
        keys = shuffled[back]  # [B, 128], in the order of the images again
        return F.normalize(keys, dim=1)  # [B, 128]

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Write keys [B, 128] over the oldest keys, in place: a CUDA graph reads them there."""
        size = self.queue.shape[1]  # K
        number = torch.arange(len(keys), device=keys.device)  # [B]
        columns = (self.place + number) % size  # [B], round the end to the beginning
        self.queue.index_copy_(1, columns, keys.T)
        self.place.add_(len(keys)).remainder_(size)

    def forward(self, batch: Batch) -> Tensor:
        """One loss per sample, [B]; the batch's own keys enter the queue afterwards."""
        self.follow()
        first, second = batch.views  # [B, 3, H, W] each
        keys = self.keys(second)  # [B, 128]
        queue = self.queue.clone()  # [128, K], since the backward pass needs it as it is now
        queries = self.project(first)  # [B, 128]
        loss = info_nce(queries, keys, queue, self.temperature)  # [B]

        # The other way round: view 2 looks for view 1 in the same queue.
        if self.options.symmetric:
            other_keys = self.keys(first)  # [B, 128]
            other_queries = self.project(second)  # [B, 128]
            loss = loss + info_nce(other_queries, other_keys, queue, self.temperature)  # [B]
            keys = torch.cat([keys, other_keys])  # [2B, 128]

        self.enqueue(keys)
        return loss


def make_head(dim: int, mlp: bool) -> nn.Sequential:
    """MoCo's projection head without batch norm: v1 has one linear layer, v2 two."""
    if mlp:
        return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, OUTPUTS))
    return nn.Sequential(nn.Linear(dim, OUTPUTS))


# --- what MoCo is compared with ---------------------------------------------------------------


class EndToEnd(SimCLR):
    """Negatives are the other keys of the batch, and the gradient flows into the keys, too.

    The head is MoCo's. A query has B - 1 negatives, so that many negatives need a large batch.
    """

    class Options(MethodOptions):
        """What it shares with MoCo."""

        mlp: bool = True  # a hidden layer in the head

    def __init__(
        self,
        encoder: Encoder,
        config: RunConfig,
        class_counts: Tensor | None = None,
    ) -> None:
        super().__init__(encoder, config, class_counts)
        self.head = make_head(encoder.dim, self.options.mlp)

    def forward(self, batch: Batch) -> Tensor:
        """One loss per sample, [B]."""
        first, second = batch.views  # [B, 3, H, W] each
        queries = F.normalize(self.project(first), dim=1)  # [B, 128]
        keys = F.normalize(self.project(second), dim=1)  # [B, 128]
        similarity = queries @ keys.T / self.temperature  # [B, B]
        own = torch.arange(len(keys), device=keys.device)  # [B], a query's key has its number
        return F.cross_entropy(similarity, own, reduction="none")  # [B]


class MemoryBank(EndToEnd):
    """Negatives are what the network said of the images when it last saw them (Wu et al. 2018).

    The bank holds one vector per image. An image's first view looks for its own entry among the
    entries of all images, so that it has N - 1 negatives. There is no second network, and an entry
    may be as old as an epoch.
    """

    bank: Tensor

    class Options(EndToEnd.Options):
        """What the bank has beside the head."""

        bank_momentum: float = Field(0.5, ge=0, lt=1)  # share that an entry keeps at an update

    def __init__(
        self,
        encoder: Encoder,
        config: RunConfig,
        class_counts: Tensor | None = None,
    ) -> None:
        super().__init__(encoder, config, class_counts)
        assert class_counts is not None  # a run has them
        images = int(class_counts.sum())  # N
        entries = torch.randn(images, OUTPUTS)
        self.register_buffer("bank", F.normalize(entries, dim=1))

    def forward(self, batch: Batch) -> Tensor:
        """One loss per sample, [B]; afterwards the batch's entries move towards its queries."""
        first = batch.views[0]  # [B, 3, H, W]; no second view is needed
        queries = F.normalize(self.project(first), dim=1)  # [B, 128]
        bank = self.bank.clone()  # [N, 128], since the backward pass needs it as it is now
        similarity = queries @ bank.T / self.temperature  # [B, N]
        with torch.no_grad():
            kept = self.options.bank_momentum
            old = bank[batch.index]  # [B, 128]
            moved = kept * old + (1 - kept) * queries  # [B, 128]
            self.bank.index_copy_(0, batch.index, F.normalize(moved, dim=1))
        return F.cross_entropy(similarity, batch.index, reduction="none")  # [B]


class CropOnly(MoCo):
    """MoCo on views without their colour part: crop and flip."""

    VIEWS = ("crop", "crop")
