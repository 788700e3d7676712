"""Which images make an update, and at which learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..config import RunConfig
from .randomness import generator

LAST_LR = 1e-6  # where a published run's cosine ends


def lr_factor(
    update: int, total: int, warmup: int, floor: float, drops: Sequence[float] = ()
) -> float:
    """Learning rate of update 1, 2, ... relative to the peak: linear rise, then a cosine.

    Args:
        update: number of the update, from 1.
        total: updates of the whole run.
        warmup: updates of the linear rise.
        floor: the last value; the published runs end at 1e-6 / lr.
        drops: shares of the run after which the rate falls to a tenth, instead of the cosine.
    """
    if update < warmup:
        return update / warmup
    if drops:
        fallen = sum(update > share * total for share in drops)
        return 0.1**fallen
    progress = (update - warmup) / max(1, total - warmup)
    return floor + (1 - floor) / 2 * (1 + math.cos(math.pi * progress))


def batches(samples: int, config: RunConfig, epoch: int) -> list[Tensor]:
    """A fresh shuffle of all samples, cut into batches; only `drop_last` leaves some out."""
    order = torch.randperm(samples, generator=generator(config.seed, "order", epoch))
    if config.equal_batches:
        return list(order.tensor_split(math.ceil(samples / config.batch_size)))
    if config.drop_last:
        whole_batches = samples // config.batch_size
        order = order[: whole_batches * config.batch_size]
    return list(order.split(config.batch_size))  # the last one may be small, as published


def updates(
    config: RunConfig, samples: int, epoch: int, device: torch.device | str = "cpu"
) -> Iterator[tuple[Tensor, float]]:
    """Index int64 [B], on the device, and learning rate of each update of an epoch, from 1."""
    parts = batches(samples, config, epoch)
    order = torch.cat(parts).to(device)  # one transfer an epoch
    sizes = [len(part) for part in parts]

    # Updates count from 1 over the whole run.
    total = config.epochs * len(parts)
    warmup = round(config.warmup * len(parts))
    floor = LAST_LR / config.lr
    first = (epoch - 1) * len(parts) + 1
    for number, index in enumerate(order.split(sizes), first):
        factor = lr_factor(number, total, warmup, floor, config.lr_drops)
        yield index, config.lr * factor
