"""RandAugment with a strength and a probability per image, for boosted views (Zhou et al. 2022).

Drawing is random, `apply_rand_augment` is a pure function of what was drawn, as in `simclr`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

# The operations in the published order with their values at strength 0 and at strength 30. The odd
# ranges are published: a larger value weakens Solarize and Posterize, 1 is no change for the four
# blends, three operations have no use for theirs.
OPERATIONS = {
    "ShearX": (0, 0.6), "ShearY": (0, 0.6), "TranslateX": (0, 0.66), "TranslateY": (0, 0.66),
    "Rotate": (0, 60), "AutoContrast": (0, 1), "Invert": (0, 1), "Equalize": (0, 1),
    "Solarize": (0, 110), "Posterize": (4, 8), "Contrast": (0.1, 1.9), "Color": (0.1, 1.9),
    "Brightness": (0.1, 1.9), "Sharpness": (0.1, 1.9), "Cutout": (0, 0.4),
}  # fmt: skip
CODE = {name: number for number, name in enumerate(OPERATIONS)}
CUTOUT_COLOUR = (125, 123, 114)
MOST = 30  # the largest strength


class RandAugmentParameters(NamedTuple):
    """The random choices of k operations on each of B images."""

    operation: Tensor  # [B, k] int64, numbers of OPERATIONS, drawn with replacement
    chance: Tensor  # [B, k] uniform; an operation is done where it is below the probability
    sign: Tensor  # [B, k], -1 or 1, of shears, shifts and rotations
    centre: Tensor  # [B, k, 2] uniform, of Cutout's square, x and y


def rand_augment(
    images: Tensor, strength: Tensor, probability: Tensor, k: int, generator: torch.Generator
) -> Tensor:
    """RandAugment with one strength and one probability per image (Zhou et al. 2022).

    Args:
        images: float32 [B, 3, H, W] in [0, 1].
        strength: [B] in [0, 30], or [B, k] with one for each operation.
        probability: [B] in [0, 1]; 0 leaves an image exactly as it is.
        k: operations per image, each done or not by its own chance.
        generator: on the images' device.

    Returns images like the given ones. ValueError for a wrong shape or a k below 1.
    """
    check_images(images)
    count = len(images)
    if k < 1:
        raise ValueError(f"k is {k}; allowed is k >= 1")
    if strength.shape not in ((count,), (count, k)) or probability.shape != (count,):
        given = f"{list(strength.shape)} and {list(probability.shape)}"
        raise ValueError(
            f"strength and probability have shapes {given}, not [{count}] (strength: or [{count}, "
            f"{k}])"
        )
    return apply_rand_augment(images, strength, probability, draw_rand_augment(count, k, generator))


def draw_rand_augment(count: int, k: int, generator: torch.Generator) -> RandAugmentParameters:
    """Draw the choices for `count` images in one generator call."""
    uniform = torch.rand(count, k, 5, generator=generator, device=generator.device)
    operation = (uniform[..., 0] * len(OPERATIONS)).long().clamp_(max=len(OPERATIONS) - 1)
    sign = 1 - 2.0 * (uniform[..., 2] < 0.5)
    return RandAugmentParameters(operation, uniform[..., 1], sign, uniform[..., 3:])


def apply_rand_augment(
    images: Tensor, strength: Tensor, probability: Tensor, parameters: RandAugmentParameters
) -> Tensor:
    """Apply drawn choices, each image as if it were alone.

    The operations work on whole grey levels, as PIL's do. On a GPU nothing here waits for a value
    or has a shape that depends on one, so that the function can be compiled or graph-captured.
    """
    # Values at strength 0 and 30, filled on the device: a copy could not be captured in a graph.
    low = torch.stack([images.new_full((), least) for least, _ in OPERATIONS.values()])
    high = torch.stack([images.new_full((), most) for _, most in OPERATIONS.values()])
    levels = (images * 255).round_()
    touched = torch.zeros_like(probability, dtype=torch.bool)  # [B]
    if strength.ndim == 1:
        strength = strength[:, None].expand_as(parameters.chance)  # [B, k]

    for step in range(strength.shape[1]):
        operation = parameters.operation[:, step]
        sign = parameters.sign[:, step]
        centre = parameters.centre[:, step]
        done = parameters.chance[:, step] < probability
        value = low[operation] + strength[:, step] / MOST * (high - low)[operation]
        levels = apply_operation(levels, done, operation, value, sign, centre)
        touched |= done
    return torch.where(touched[:, None, None, None], levels / 255, images)


def apply_operation(
    levels: Tensor, done: Tensor, operation: Tensor, value: Tensor, sign: Tensor, centre: Tensor
) -> Tensor:
    """Where `done` [B], apply each image's own operation to grey levels [B, 3, H, W], in place.

    `value` [B] is in the units of OPERATIONS; `sign` [B] and `centre` [B, 2] are as drawn.
    """
    for change, first, last, given in (
        (_move, "ShearX", "Rotate", value * sign),
        (_look_up, "AutoContrast", "Posterize", value),
        (_blend, "Contrast", "Sharpness", value),
        (_cut_out, "Cutout", "Cutout", torch.cat([value[:, None], centre], 1)),
    ):
        chosen = done & (operation >= CODE[first]) & (operation <= CODE[last])
        levels = _change_chosen(levels, chosen, change, operation, given)
    return levels


def _change_chosen(
    levels: Tensor, chosen: Tensor, change: Callable[..., Tensor], *given: Tensor
) -> Tensor:
    """Change the images chosen [B]: all are computed on a GPU, only these elsewhere."""
    if levels.is_cuda:
        return torch.where(chosen[:, None, None, None], change(levels, *given), levels)
    rows = chosen.nonzero()[:, 0]
    if len(rows):
        levels[rows] = change(levels[rows], *(part[rows] for part in given))
    return levels


def _move(levels: Tensor, operation: Tensor, value: Tensor) -> Tensor:
    """Shear, shift or rotate [B, 3, H, W]: nearest neighbour, black where nothing comes from."""
    height, width = levels.shape[2:]
    # An image's own value, and 0 for the four operations that are not its own: [B, 1, 1] each.
    own = [(value * (operation == code))[:, None, None] for code in range(5)]
    shear_x, shear_y, shift_x, shift_y, angle = own
    x = torch.arange(width, device=levels.device) + 0.5  # [W], the middle of each pixel
    y = (torch.arange(height, device=levels.device) + 0.5)[:, None]  # [H, 1]

    # Where each pixel comes from: rotated about the centre, sheared, shifted.
    cos = angle.deg2rad().cos()
    sin = angle.deg2rad().sin()
    across = x - width / 2
    down = y - height / 2
    from_x = cos * across - sin * down + width / 2 + shear_x * y + shift_x * width  # [B, H, W]
    from_y = sin * across + cos * down + height / 2 + shear_y * x + shift_y * height
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)

    row = from_y.clamp(0, height - 1).long()
    column = from_x.clamp(0, width - 1).long()
    source = (row * width + column)[:, None].expand_as(levels).flatten(2)  # [B, 3, H * W]
    moved = levels.flatten(2).gather(2, source).view_as(levels)
    return moved * inside[:, None]


def _look_up(levels: Tensor, operation: Tensor, value: Tensor) -> Tensor:
    """The operations that replace each grey level of a channel by another."""
    pixels = levels.flatten(2).long()  # [B, 3, H * W]
    level = torch.arange(256, device=levels.device, dtype=torch.float64)  # PIL counts in doubles
    lowest = pixels.amin(dim=2, keepdim=True).double()  # [B, 3, 1]
    highest = pixels.amax(dim=2, keepdim=True).double()

    # AutoContrast: infinite in a channel of one level, which stays as it is.
    scale = 255 / (highest - lowest)
    stretched = (level * scale - lowest * scale).trunc().clamp(0, 255)  # [B, 3, 256]

    # Equalize: the histogram, and how many pixels lie below each level.
    ones = torch.ones_like(pixels)
    counts = pixels.new_zeros(*pixels.shape[:2], 256).scatter_add_(2, pixels, ones)
    step = (pixels.shape[2] - counts.gather(2, highest.long())) // 255
    before = counts.cumsum(2) - counts + step // 2

    threshold = value[:, None, None]
    bits = (8 - value.trunc())[:, None, None]
    tables = {
        "AutoContrast": torch.where(highest > lowest, stretched, level),
        "Invert": 255 - level,
        "Equalize": torch.where(step > 0, before // step.clamp(min=1), level).clamp(max=255),
        "Solarize": torch.where(level < threshold, level, 255 - level),
        "Posterize": (level / 2**bits).floor() * 2**bits,
    }
    table = _choose(operation, tables, level.expand_as(stretched))
    return table.to(levels.dtype).gather(2, pixels).view_as(levels)


def _blend(levels: Tensor, operation: Tensor, value: Tensor) -> Tensor:
    """The enhancements: value * image + (1 - value) * a weaker image; 1 changes nothing."""
    red, green, blue = levels.unbind(1)
    gray = ((19595 * red + 38470 * green + 7471 * blue + 2**15) / 2**16).floor()[:, None]  # as PIL
    smooth = (avg_pool2d(levels, 3, 1) * 9 + 4 * levels[..., 1:-1, 1:-1]) / 13
    blurred = levels.clone()
    blurred[..., 1:-1, 1:-1] = (smooth + 0.5).floor()
    weaker = {
        "Contrast": (gray.mean((2, 3), keepdim=True) + 0.5).floor(),
        "Color": gray,
        "Brightness": torch.zeros_like(gray),
        "Sharpness": blurred,
    }
    other = _choose(operation, weaker, levels)
    return (other + value[:, None, None, None] * (levels - other)).clamp(0, 255).trunc()


def _choose(operation: Tensor, by_name: dict[str, Tensor], default: Tensor) -> Tensor:
    """For each image what belongs to its operation."""
    for name, given in by_name.items():
        mine = (operation == CODE[name]).view(-1, *[1] * (default.ndim - 1))
        default = torch.where(mine, given, default)
    return default


def _cut_out(levels: Tensor, _: Tensor, value_and_centre: Tensor) -> Tensor:
    """A grey square; its centre is uniform from 1 to the image's size, as published."""
    value, *centre = value_and_centre.unbind(1)
    covered = []
    for size, place in zip(levels.shape[:1:-1], centre, strict=True):  # width, then height
        side, middle = value * size, size - (size - 1) * place
        start = (middle - side / 2).clamp(min=0).trunc()[:, None]
        pixel = torch.arange(size, device=levels.device)
        covered.append((pixel >= start) & (pixel <= (start + side[:, None]).trunc()))
    square = covered[1][:, None, :, None] & covered[0][:, None, None, :]  # [B, 1, H, W]
    colour = torch.stack([levels.new_full((1, 1), c) for c in CUTOUT_COLOUR])  # [3, 1, 1]
    return torch.where(square, colour, levels)


def check_images(images: Tensor) -> None:
    """Raise a ValueError unless images are uint8 or float32 [B, 3, H, W].

    Float32 is torch's default type: where that was set to float64, as tests do, it is that one.
    """
    allowed = (torch.uint8, torch.get_default_dtype())
    if images.dtype not in allowed or images.ndim != 4 or images.shape[1] != 3:
        given = f"{images.dtype} {list(images.shape)}"
        names = " or ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        raise ValueError(f"images are {given}: {names} [B, 3, H, W] is allowed")
