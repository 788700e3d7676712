"""The linear probe of the SDCLR paper: SGD on augmented images, the best epoch by validation.

Numbers of this protocol and of "bcl" belong in different tables (docs/differences.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.functional import pad

from ..pretrain import generator

log = logging.getLogger(__name__)
Embed = Callable[[Tensor], Tensor]  # images uint8 [N, 3, H, W] to features [N, D]


class Schedule(NamedTuple):
    """How long a probe learns; rates fall tenfold where an epoch of `drops` begins."""

    epochs: int
    drops: tuple[int, int]
    validate_every: int  # epochs


# The published code moves its schedule before the epoch instead of after it, so that epoch 10 has
# the second rate already: 9 epochs of the first. Kept, since its numbers come from there.
SCHEDULES = {"full": Schedule(30, (10, 20), 1), "1%": Schedule(100, (40, 60), 5)}
RATE = 30.0  # of the first epochs
MOMENTUM = 0.9
BATCH = 128
PADDING = 4  # of the crop, pixels of a 32x32 image
# What the published analysis prints of five splits, and the groups of our rows.
SUMMARY = {
    "accuracy": "all",
    "class std": "class std",
    "balancedness": "std",
    "major": "many",
    "moderate": "medium",
    "minor": "few",
}


def rate(epoch: int, schedule: Schedule) -> float:
    """The learning rate of epoch 1, 2, ..."""
    fallen = sum(epoch >= drop for drop in schedule.drops)
    return RATE * 0.1**fallen


def crop_and_flip(images: Tensor, draw: torch.Generator) -> Tensor:
    """Pad with black, crop at a random place, flip by chance: uint8 [N, 3, H, W] like `images`.

    The padding is 4 pixels of 32, and an eighth of other sizes. `draw` is on the CPU, so that every
    device crops alike.
    """
    device = images.device
    count, _, height, width = images.shape
    border = max(1, height * PADDING // 32)
    corner = torch.randint(2 * border + 1, (count, 2), generator=draw)
    flip = torch.rand(count, generator=draw) < 0.5

    rows = corner[:, :1] + torch.arange(height)  # [N, H], of the padded image
    column = torch.arange(width).expand(count, width)
    column = torch.where(flip[:, None], width - 1 - column, column)
    columns = corner[:, 1:] + column  # [N, W]

    each = torch.arange(count, device=device)[:, None, None]
    padded = pad(images, [border] * 4).permute(0, 2, 3, 1)
    cropped = padded[each, rows.to(device)[:, :, None], columns.to(device)[:, None]]
    return cropped.permute(0, 3, 1, 2)


def fit_sdclr(
    embed: Embed,
    images: Tensor,
    labels: Tensor,
    validation: tuple[Tensor, Tensor],
    classes: int,
    schedule: Schedule,
    seed: int = 1,
) -> tuple[Tensor, Tensor]:
    """Weight [C, D] and bias [C] of the epoch that is best on the validation images.

    Args:
        embed: the frozen encoder.
        images: uint8 [N, 3, H, W], on the device that the probe is to learn on.
        labels: int64 [N], there too.
        validation: features [M, D] of images that are not augmented, and labels [M].
        classes: C.
        schedule: one of `SCHEDULES`.
        seed: decides the first weights (normal, sd 0.01), the order and the crops.
    """
    device = images.device
    held_x, held_y = validation
    first = torch.randn(classes, held_x.shape[1], generator=generator(seed, "probe weights", 0))
    weight = (0.01 * first).to(device).requires_grad_()
    bias = torch.zeros(classes, device=device, requires_grad=True)
    sgd = torch.optim.SGD([weight, bias], RATE, MOMENTUM)
    best = -1
    kept = weight.detach().clone(), bias.detach().clone()
    for epoch in range(1, schedule.epochs + 1):
        sgd.param_groups[0]["lr"] = rate(epoch, schedule)
        x = embed(crop_and_flip(images, generator(seed, "probe crops", epoch))).to(device)
        order = torch.randperm(len(x), generator=generator(seed, "probe order", epoch))
        for index in order.to(device).split(BATCH):
            sgd.zero_grad()
            F.cross_entropy(F.linear(x[index], weight, bias), labels[index]).backward()
            sgd.step()
        if epoch % schedule.validate_every:
            continue
        with torch.no_grad():
            right = int((F.linear(held_x, weight, bias).argmax(1) == held_y).sum())
        log.info("probe epoch %d of %d: %d right in validation", epoch, schedule.epochs, right)
        if right > best:  # the first of equals stays, as published
            best = right
            kept = weight.detach().clone(), bias.detach().clone()
    return kept


def split_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and sd (ddof 0) over splits, as the published analysis of five splits prints them.

    Args:
        rows: what `probe_run` gave with this protocol, for one run of each split.

    Returns a table by shots and statistic ("mean", "sd") with columns accuracy, class std,
    balancedness, major, moderate, minor, all fractions, and n, the number of splits. Balancedness
    is the mean of the splits' own, not that of the mean accuracies.
    """
    value = rows.pivot_table("accuracy", ["shots", "split", "seed"], "group")
    value = value[list(SUMMARY.values())].set_axis(list(SUMMARY), axis=1)
    by_shots = value.groupby(level="shots")
    parts = {"mean": by_shots.mean(), "sd": by_shots.std(ddof=0)}
    table = pd.concat(parts, names=["statistic"]).swaplevel().sort_index()
    return table.join(by_shots.size().rename("n"))
