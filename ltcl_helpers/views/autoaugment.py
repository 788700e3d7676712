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

BLENDS = ("Contrast", "Color", "Brightness", "Sharpness")
PADDING = 8  # the crop moves by up to a side's 8th; Cutout's square has half a side


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


def autoaugment_view(images: Tensor, generator: torch.Generator) -> Tensor:
    """Crop from the padded image, flip, AutoAugment, Cutout (Cubuk et al. 2019; DeVries 2017).

    Images [B, 3, H, W], uint8 or float in [0, 1], on the generator's device; the view is in [0, 1],
    not normalised, of torch's default type (float32). At 32x32: 4 pixels of padding, a black square
    of 16x16.
    """
    check_images(images)
    count, _, height, width = images.shape
    parameters = draw_autoaugment(count, height, width, generator)
    return apply_autoaugment_view(images, parameters)


def draw_autoaugment(
    count: int, height: int, width: int, generator: torch.Generator
) -> AutoAugmentParameters:
    """Draw the choices for `count` images in one generator call."""
    uniform = torch.rand(count, 10, generator=generator, device=generator.device)
    policy = (uniform[:, 0] * len(policies("cpu").operation)).long()
    sign = 1 - 2.0 * (uniform[:, 3:5] < 0.5)
    top = uniform[:, 6] * (2 * (height // PADDING) + 1)
    left = uniform[:, 7] * (2 * (width // PADDING) + 1)
    row = uniform[:, 8] * height
    column = uniform[:, 9] * width
    return AutoAugmentParameters(
        policy=policy,
        chance=uniform[:, 1:3],
        sign=sign,
        corner=torch.stack([top.long(), left.long()], dim=1),
        flip=uniform[:, 5] < 0.5,
        hole=torch.stack([row.long(), column.long()], dim=1),
    )


def apply_autoaugment_view(images: Tensor, parameters: AutoAugmentParameters) -> Tensor:
    """Apply drawn choices: images as for `autoaugment_view`, the same result and errors."""
    check_images(images)
    if images.dtype == torch.uint8:
        levels = images.to(torch.get_default_dtype())
    else:
        levels = (images * 255).round()
    levels = _crop(levels, parameters.corner, parameters.flip)

    # Each policy is two operations, one after the other.
    table = policies(str(images.device))
    height, width = levels.shape[2:]
    no_centre = levels.new_zeros(len(levels), 2)  # no policy has a Cutout
    for k in (0, 1):
        operation = table.operation[parameters.policy, k]  # [B]
        value = table.value[parameters.policy, k]
        spread = table.spread[parameters.policy, k]
        sign = parameters.sign[:, k]
        value = _whole_pixels(operation, value, height, width) + spread * sign
        done = parameters.chance[:, k] < table.probability[parameters.policy, k]
        levels = apply_operation(levels, done, operation, value, sign, no_centre)
    return _cut_hole(levels, parameters.hole) / 255


@cache
def policies(device: str) -> Policies:
    """The 25 policies that were learnt on CIFAR-10, as torchvision lists them."""
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    rows = []
    for policy in AutoAugment(AutoAugmentPolicy.CIFAR10).policies:
        for name, probability, magnitude in policy:
            value, spread = _value(name, (magnitude or 0) / 9)
            rows.append([CODE[name], probability, value, spread])
    operation, *rest = torch.tensor(rows, dtype=torch.float64).view(-1, 2, 4).unbind(2)
    return Policies(operation.long().to(device), *(part.float().to(device) for part in rest))


def _value(name: str, strength: float) -> tuple[float, float]:
    """Value and spread of an operation at a strength in [0, 1]."""
    if name in BLENDS:
        return 1.0, 0.9 * strength
    ends = {
        "ShearX": (0, 0.3),
        "ShearY": (0, 0.3),
        "TranslateX": (0, 150 / 331),
        "TranslateY": (0, 150 / 331),
        "Rotate": (0, 30),
        "Solarize": (255, 0),
        "Posterize": (8, 4),
    }.get(name, (0, 0))
    value = ends[0] + strength * (ends[1] - ends[0])
    return (float(round(value)) if name == "Posterize" else value), 0.0


def _whole_pixels(operation: Tensor, value: Tensor, height: int, width: int) -> Tensor:
    """The values, with shifts cut to whole pixels, as torchvision does."""
    for name, side in (("TranslateX", width), ("TranslateY", height)):
        value = torch.where(operation == CODE[name], (value * side).trunc() / side, value)
    return value


def _crop(levels: Tensor, corner: Tensor, flip: Tensor) -> Tensor:
    """Crops [B, 3, H, W] of the images with a black border, some mirrored."""
    height, width = levels.shape[2:]
    top = height // PADDING
    left = width // PADDING
    padded = pad(levels, (left, left, top, top)).permute(0, 2, 3, 1)  # [B, H + ., W + ., 3]
    pixel = torch.arange(width, device=levels.device)
    column = torch.where(flip[:, None], width - 1 - pixel, pixel)
    columns = corner[:, 1:] + column  # [B, W]
    rows = corner[:, :1] + torch.arange(height, device=levels.device)  # [B, H]
    image = torch.arange(len(levels), device=levels.device)
    cropped = padded[image[:, None, None], rows[:, :, None], columns[:, None]]  # [B, H, W, 3]
    return cropped.permute(0, 3, 1, 2).contiguous()


def _cut_hole(levels: Tensor, hole: Tensor) -> Tensor:
    """A black square of half the side around each centre, as far as it lies in the image."""
    inside = []
    for side, centre in zip(levels.shape[2:], hole.unbind(1), strict=True):
        pixel = torch.arange(side, device=levels.device)
        from_start = pixel - (centre[:, None] - side // 4)  # [B, side]
        inside.append((from_start >= 0) & (from_start < side // 2))
    rows, columns = inside
    square = rows[:, None, :, None] & columns[:, None, None, :]  # [B, 1, H, W]
    return levels * ~square
