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
    update: int,
    total: int,
    warmup: int,
    floor: float,
    drops: Sequence[float] = (),
) -> float:
    """Learning rate of update 1, 2, ... relative to the peak: linear rise, then a cosine.

    Args:
        update: the number of the update, from 1.
        total: the number of updates of the whole run.
        warmup: the number of updates of the linear rise.
        floor: the last value of the cosine; the published runs end at 1e-6 / lr.
        drops: shares of the run. After each the rate falls to a tenth, and there is no cosine.
    """
    if update < warmup:
        return update / warmup

    # Steps, where there are some.
    if drops:
        fallen = sum(update > share * total for share in drops)
        return 0.1**fallen

    # Half a cosine from 1 down to the floor.
    progress = (update - warmup) / max(1, total - warmup)  # in [0, 1]
    return floor + (1 - floor) / 2 * (1 + math.cos(math.pi * progress))


def batches(samples: int, config: RunConfig, epoch: int) -> list[Tensor]:
    """A fresh shuffle of all samples, cut into batches; only `drop_last` leaves some out."""
    size = config.batch_size
    draw = generator(config.seed, "order", epoch)
    order = torch.randperm(samples, generator=draw)  # [N]

    # Of near-equal size, so that no update rests on a few images only.
    if config.equal_batches:
        count = math.ceil(samples / size)
        return list(order.tensor_split(count))

    # All of one size, where the method needs that.
    if config.drop_last:
        whole_batches = samples // size
        order = order[: whole_batches * size]
    return list(order.split(size))  # the last batch may be small, as published


def updates(
    config: RunConfig,
    samples: int,
    epoch: int,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[Tensor, float]]:
    """Index int64 [B], on the device, and learning rate of each update of an epoch.

    Args:
        config: the run's parameters.
        samples: N, the size of the training set.
        epoch: its number, from 1.
        device: where the images are.
    """
    parts = batches(samples, config, epoch)
    order = torch.cat(parts).to(device)  # one transfer an epoch
    sizes = [len(part) for part in parts]

    # Updates count from 1 over the whole run.
    per_epoch = len(parts)
    total = config.epochs * per_epoch
    warmup = round(config.warmup * per_epoch)
    floor = min(1.0, LAST_LR / config.lr)  # a smaller rate stays as it is
    first = (epoch - 1) * per_epoch + 1
    for number, index in enumerate(order.split(sizes), first):
        factor = lr_factor(number, total, warmup, floor, config.lr_drops)
        yield index, config.lr * factor
