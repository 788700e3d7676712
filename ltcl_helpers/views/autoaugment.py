"""AutoAugment and Cutout for a whole batch: the view that a supervised classifier is trained on.

Drawing is random, `apply_autoaugment_view` is a pure function of what was drawn, as in `simclr`.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from .randaugment import CODE, apply_operation, check_images
from .share import Share

BLENDS = ("Contrast", "Color", "Brightness", "Sharpness")
# The values of operations at strength 0 and 1. Those of the blends are in `_value`.
ENDS = {
    "ShearX": (0, 0.3),
    "ShearY": (0, 0.3),
    "TranslateX": (0, 150 / 331),
    "TranslateY": (0, 150 / 331),
    "Rotate": (0, 30),
    "Solarize": (255, 0),
    "Posterize": (8, 4),
}
PADDING = 8  # the crop moves by up to a side's 8th: 4 pixels of 32


class Policies(NamedTuple):
    """The learnt policies: two operations each."""

    operation: Tensor  # [P, 2] int64, numbers of randaugment.OPERATIONS
    probability: Tensor  # [P, 2]
    value: Tensor  # [P, 2] in the units of randaugment.OPERATIONS
    spread: Tensor  # [P, 2], added to the value, or taken from it, by the drawn sign


class AutoAugmentParameters(NamedTuple):
    """The random choices for B images."""

    policy: Tensor  # [B] int64
    chance: Tensor  # [B, 2] uniform; an operation is done where it is below its probability
    sign: Tensor  # [B, 2], -1 or 1
    corner: Tensor  # [B, 2] int64, top and left of the crop in the padded image
    flip: Tensor  # [B] bool
    hole: Tensor  # [B, 2] int64, row and column of the centre of Cutout's square


def autoaugment_view(
    images: Tensor,
    generator: torch.Generator,
    *,
    crop: bool = True,
    share: Share | None = None,
) -> Tensor:
    """Crop from the padded image, flip, AutoAugment, Cutout (Cubuk et al. 2019; DeVries 2017).

    Args:
        images: [B, 3, H, W], uint8 or float in [0, 1]. At 32x32 the padding has 4 pixels, and
            Cutout's black square 16x16.
        generator: on the images' device.
        crop: False leaves out crop and flip.
        share: of which batch the images are some rows; None: they are all of it.

    Returns:
        [B, 3, H, W] in [0, 1], not normalised, in torch's default type (float32).
    """
    check_images(images)
    count, _, height, width = images.shape
    share = share or Share(count, slice(0, count))
    parameters = draw_autoaugment(share.total, height, width, generator)
    return apply_autoaugment_view(images, share.of(parameters), crop)


def draw_autoaugment(
    count: int, height: int, width: int, generator: torch.Generator
) -> AutoAugmentParameters:
    """Draw the choices for `count` images in one generator call."""
    uniform = torch.rand(count, 10, generator=generator, device=generator.device)
    known = len(policies("cpu").operation)
    policy = (uniform[:, 0] * known).long()  # [B]
    is_negative = uniform[:, 3:5] < 0.5  # [B, 2]

    # The crop may lie anywhere in the padded image.
    rows = 2 * (height // PADDING) + 1  # of the padded image, in which a crop may begin
    columns = 2 * (width // PADDING) + 1
    top = uniform[:, 6] * rows
    left = uniform[:, 7] * columns

    # The centre of Cutout's square may be any pixel.
    row = uniform[:, 8] * height
    column = uniform[:, 9] * width
    return AutoAugmentParameters(
        policy=policy,
        chance=uniform[:, 1:3],
        sign=1 - 2.0 * is_negative,
        corner=torch.stack([top.long(), left.long()], dim=1),
        flip=uniform[:, 5] < 0.5,
        hole=torch.stack([row.long(), column.long()], dim=1),
    )


def apply_autoaugment_view(
    images: Tensor, parameters: AutoAugmentParameters, crop: bool = True
) -> Tensor:
    """Apply drawn choices: images as for `autoaugment_view`, the same result and errors."""
    check_images(images)
    if images.dtype == torch.uint8:
        levels = images.to(torch.get_default_dtype())
    else:
        levels = (images * 255).round()
    if crop:
        levels = _crop(levels, parameters.corner, parameters.flip)  # [B, 3, H, W]

    # Each policy is two operations, one after the other.
    table = policies(str(images.device))
    height, width = levels.shape[2:]
    no_centre = levels.new_zeros(len(levels), 2)  # no policy has a Cutout
    for k in (0, 1):
        operation = table.operation[parameters.policy, k]  # [B], and so are all below
        probability = table.probability[parameters.policy, k]
        value = table.value[parameters.policy, k]
        spread = table.spread[parameters.policy, k]
        sign = parameters.sign[:, k]
        done = parameters.chance[:, k] < probability
        value = _whole_pixels(operation, value, height, width) + spread * sign
        levels = apply_operation(levels, done, operation, value, sign, no_centre)
    return _cut_hole(levels, parameters.hole) / 255


@cache
def policies(device: str) -> Policies:
    """The 25 policies that were learnt on CIFAR-10, as torchvision lists them."""
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    rows = []
    for policy in AutoAugment(AutoAugmentPolicy.CIFAR10).policies:
        for name, probability, magnitude in policy:
            strength = (magnitude or 0) / 9  # magnitudes go from 0 to 9; some have none
            value, spread = _value(name, strength)
            rows.append([CODE[name], probability, value, spread])
    table = torch.tensor(rows, dtype=torch.float64).view(-1, 2, 4)  # [P, 2, 4]
    numbers = table.float().to(device)
    return Policies(
        operation=table[..., 0].long().to(device),
        probability=numbers[..., 1],
        value=numbers[..., 2],
        spread=numbers[..., 3],
    )


def _value(name: str, strength: float) -> tuple[float, float]:
    """Value and spread of an operation at a strength in [0, 1]."""
    if name in BLENDS:
        return 1.0, 0.9 * strength  # stronger or weaker than the image itself, by the sign
    first, last = ENDS.get(name, (0, 0))
    value = first + strength * (last - first)
    if name == "Posterize":
        value = float(round(value))  # whole bits
    return value, 0.0


def _whole_pixels(operation: Tensor, value: Tensor, height: int, width: int) -> Tensor:
    """The values, with shifts cut to whole pixels, as torchvision does."""
    for name, side in (("TranslateX", width), ("TranslateY", height)):
        whole = (value * side).trunc() / side  # [B]
        value = torch.where(operation == CODE[name], whole, value)
    return value


def _crop(levels: Tensor, corner: Tensor, flip: Tensor) -> Tensor:
    """Crops [B, 3, H, W] of the images with a black border, some mirrored."""
    count, _, height, width = levels.shape
    top = height // PADDING
    left = width // PADDING
    padded = pad(levels, (left, left, top, top))  # [B, 3, H + ., W + .]
    padded = padded.permute(0, 2, 3, 1)  # [B, H + ., W + ., 3]

    # The rows and columns of the padded image that each crop takes.
    row = torch.arange(height, device=levels.device)  # [H]
    rows = corner[:, :1] + row  # [B, H]
    pixel = torch.arange(width, device=levels.device)  # [W]
    column = torch.where(flip[:, None], width - 1 - pixel, pixel)  # [B, W]
    columns = corner[:, 1:] + column  # [B, W]

    image = torch.arange(count, device=levels.device)  # [B]
    cropped = padded[image[:, None, None], rows[:, :, None], columns[:, None]]  # [B, H, W, 3]
    return cropped.permute(0, 3, 1, 2).contiguous()  # [B, 3, H, W]


def _cut_hole(levels: Tensor, hole: Tensor) -> Tensor:
    """A black square of half the side around each centre, as far as it lies in the image."""
    height, width = levels.shape[2:]
    row, column = hole.unbind(1)  # [B] each
    rows = _covered(row, height)  # [B, H]
    columns = _covered(column, width)  # [B, W]
    square = rows[:, None, :, None] & columns[:, None, None, :]  # [B, 1, H, W]
    return levels * ~square


def _covered(centre: Tensor, side: int) -> Tensor:
    """Which of an axis' `side` pixels lie in the half around `centre` [B]: bool [B, side]."""
    pixel = torch.arange(side, device=centre.device)  # [side]
    start = centre[:, None] - side // 4  # [B, 1]
    from_start = pixel - start  # [B, side]
    return (from_start >= 0) & (from_start < side // 2)
