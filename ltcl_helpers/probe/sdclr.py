"""The linear probe of the SDCLR paper: SGD on augmented images, the best epoch by validation.

Numbers of this protocol and of "bcl" belong in different tables (docs/differences.md).
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.functional import pad

from ..pretrain import generator
from .streaming import Embed

log = logging.getLogger(__name__)


class Schedule(NamedTuple):
    """How long a probe learns, and how fast."""

    epochs: int
    drops: tuple[int, int]  # the epochs at whose beginning the learning rate falls tenfold
    validate_every: int  # epochs


# The published code moves its schedule before the epoch instead of after it, so that epoch 10 has
# the second rate already: 9 epochs of the first. Kept, since its numbers come from there.
SCHEDULES = {
    "full": Schedule(epochs=30, drops=(10, 20), validate_every=1),
    "1%": Schedule(epochs=100, drops=(40, 60), validate_every=5),
}
RATE = 30.0  # learning rate of the first epochs: 30 is published, and no slip
MOMENTUM = 0.9
BATCH = 128
PADDING = 4  # of the crop, pixels of a 32x32 image
# The names that the published analysis of five splits prints, and the groups of our rows.
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
    """Pad with black, crop at a random place, flip by chance.

    Args:
        images: uint8 [N, 3, H, W]. The padding is 4 pixels of 32, and an eighth of other sizes.
        draw: a generator on the CPU, so that every device crops alike.

    Returns:
        uint8 [N, 3, H, W], on the device of the images.
    """
    device = images.device
    count, _, height, width = images.shape
    above, beside = (max(1, side * PADDING // 32) for side in (height, width))
    corner = _corners(count, 2 * above + 1, 2 * beside + 1, draw)  # [N, 2]
    flip = torch.rand(count, generator=draw) < 0.5  # [N]

    # The rows and columns of the padded image that each crop takes.
    rows = corner[:, :1] + torch.arange(height)  # [N, H]
    column = torch.arange(width)  # [W]
    column = torch.where(flip[:, None], width - 1 - column, column)  # [N, W]
    columns = corner[:, 1:] + column  # [N, W]

    padded = pad(images, [beside, beside, above, above]).permute(0, 2, 3, 1)  # [N, H + ., W + ., 3]
    image = torch.arange(count, device=device)[:, None, None]  # [N, 1, 1]
    rows = rows.to(device)[:, :, None]  # [N, H, 1]
    columns = columns.to(device)[:, None]  # [N, 1, W]
    cropped = padded[image, rows, columns]  # [N, H, W, 3]
    return cropped.permute(0, 3, 1, 2)  # [N, 3, H, W]


def _corners(count: int, rows: int, columns: int, draw: torch.Generator) -> Tensor:
    """Places [N, 2] below these numbers of rows and columns."""
    if rows == columns:  # of squares both at once: the recorded crops are these
        return torch.randint(rows, (count, 2), generator=draw)
    places = [torch.randint(most, (count,), generator=draw) for most in (rows, columns)]
    return torch.stack(places, dim=1)


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
        labels: int64 [N], on that device, too.
        validation: the features [M, D] of images that are not augmented, and their labels [M].
        classes: C, the number of classes.
        schedule: one of `SCHEDULES`.
        seed: decides the first weights (normal, sd 0.01), the order and the crops.
    """
    device = images.device
    validation_x, validation_y = validation
    dim = validation_x.shape[1]
    draw = generator(seed, "probe weights", 0)
    normal = torch.randn(classes, dim, generator=draw)
    weight = (0.01 * normal).to(device).requires_grad_()
    bias = torch.zeros(classes, device=device, requires_grad=True)
    sgd = torch.optim.SGD([weight, bias], RATE, MOMENTUM)
    most_right = -1
    best = (weight.detach().clone(), bias.detach().clone())
    for epoch in range(1, schedule.epochs + 1):
        # One pass over crops that are drawn anew.
        sgd.param_groups[0]["lr"] = rate(epoch, schedule)
        draw_crops = generator(seed, "probe crops", epoch)
        draw_order = generator(seed, "probe order", epoch)
        x = embed(crop_and_flip(images, draw_crops)).to(device)  # [N, D]
        order = torch.randperm(len(x), generator=draw_order)  # [N]
        for index in order.to(device).split(BATCH):
            logits = F.linear(x[index], weight, bias)  # [B, C]
            loss = F.cross_entropy(logits, labels[index])
            sgd.zero_grad()
            loss.backward()
            sgd.step()

        # Validation: the first of equally good epochs stays, as published.
        if epoch % schedule.validate_every:
            continue
        with torch.no_grad():
            guess = F.linear(validation_x, weight, bias).argmax(1)  # [M]
        right = int((guess == validation_y).sum())
        log.info("probe epoch %d of %d: %d right in validation", epoch, schedule.epochs, right)
        if right > most_right:
            most_right = right
            best = (weight.detach().clone(), bias.detach().clone())
    return best


def split_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and sd (ddof 0) over splits, as the published analysis of five splits prints them.

    Args:
        rows: what `probe_run` gave with this protocol, for one run of each split.

    Returns:
        A table by shots and statistic ("mean", "sd"). Its columns are accuracy, class std,
        balancedness, major, moderate and minor, all of them fractions, and n, the number of splits.
        Balancedness is the mean over the splits of each split's own.
    """
    # A row for each split, a column for each of our groups, under the published names.
    drawn = ["split_seed", "mirrored"]  # of rows that name a split by its kind
    by_split = ["shots", "split", *rows.columns.intersection(drawn), "seed"]
    accuracy = rows.pivot_table("accuracy", by_split, "group", dropna=False).dropna(how="all")
    accuracy = accuracy[list(SUMMARY.values())]
    accuracy = accuracy.set_axis(list(SUMMARY), axis=1)

    by_shots = accuracy.groupby(level="shots")
    statistics = {"mean": by_shots.mean(), "sd": by_shots.std(ddof=0)}
    table = pd.concat(statistics, names=["statistic"])
    table = table.swaplevel().sort_index()
    splits = by_shots.size().rename("n")
    return table.join(splits)
