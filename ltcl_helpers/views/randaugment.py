"""RandAugment with a strength and a probability per image, for boosted views (Zhou et al. 2022).

Drawing is random, `apply_rand_augment` is a pure function of what was drawn, as in `simclr`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from .share import Share

# The operations in the published order with their values at strength 0 and at strength 30. The odd
# ranges are published: a larger value weakens Solarize and Posterize; the four blends change
# nothing at 1, in the middle; AutoContrast, Invert and Equalize have no use for a value.
OPERATIONS = {
    "ShearX": (0, 0.6), "ShearY": (0, 0.6), "TranslateX": (0, 0.66), "TranslateY": (0, 0.66),
    "Rotate": (0, 60), "AutoContrast": (0, 1), "Invert": (0, 1), "Equalize": (0, 1),
    "Solarize": (0, 110), "Posterize": (4, 8), "Contrast": (0.1, 1.9), "Color": (0.1, 1.9),
    "Brightness": (0.1, 1.9), "Sharpness": (0.1, 1.9), "Cutout": (0, 0.4),
}  # fmt: skip
CODE = {name: number for number, name in enumerate(OPERATIONS)}  # an operation's number, by name
CUTOUT_COLOUR = (125, 123, 114)  # CIFAR-10's mean colour, as published
MOST = 30  # the largest strength


class RandAugmentParameters(NamedTuple):
    """The random choices of k operations on each of B images."""

    operation: Tensor  # [B, k] int64, numbers of OPERATIONS, drawn with replacement
    chance: Tensor  # [B, k] uniform; an operation is done where it is below the probability
    sign: Tensor  # [B, k], -1 or 1, of shears, shifts and rotations
    centre: Tensor  # [B, k, 2] uniform, of Cutout's square, x and y


def rand_augment(
    images: Tensor,
    strength: Tensor,
    probability: Tensor,
    k: int,
    generator: torch.Generator,
    share: Share | None = None,
) -> Tensor:
    """RandAugment with one strength and one probability per image (Zhou et al. 2022).

    Args:
        images: float32 [B, 3, H, W] in [0, 1].
        strength: [B] in [0, 30], or [B, k] with a strength for each operation.
        probability: [B] in [0, 1]; 0 leaves an image exactly as it is.
        k: the number of operations per image, each done or not by its own chance.
        generator: on the images' device.
        share: of which batch the images are some rows; strength and probability are the batch's.

    Returns:
        float32 [B, 3, H, W] in [0, 1].

    Raises:
        ValueError: for a wrong shape or a k below 1.
    """
    check_images(images)
    share = share or Share(len(images), slice(0, len(images)))
    count = share.total
    if k < 1:
        raise ValueError(f"k is {k}; allowed is k >= 1")
    if strength.shape not in ((count,), (count, k)) or probability.shape != (count,):
        given = f"{list(strength.shape)} and {list(probability.shape)}"
        raise ValueError(
            f"strength and probability have shapes {given}, not [{count}] (strength: or [{count}, "
            f"{k}])"
        )
    parameters = share.of(draw_rand_augment(count, k, generator))
    return apply_rand_augment(images, strength[share.rows], probability[share.rows], parameters)


def draw_rand_augment(count: int, k: int, generator: torch.Generator) -> RandAugmentParameters:
    """Draw the choices for `count` images in one generator call."""
    uniform = torch.rand(count, k, 5, generator=generator, device=generator.device)
    operation = (uniform[..., 0] * len(OPERATIONS)).long()  # [B, k]
    operation.clamp_(max=len(OPERATIONS) - 1)  # the product may be rounded up
    is_negative = uniform[..., 2] < 0.5  # [B, k]
    return RandAugmentParameters(
        operation=operation,
        chance=uniform[..., 1],
        sign=1 - 2.0 * is_negative,
        centre=uniform[..., 3:],
    )


def apply_rand_augment(
    images: Tensor,
    strength: Tensor,
    probability: Tensor,
    parameters: RandAugmentParameters,
) -> Tensor:
    """Apply drawn choices, each image as if it were alone.

    The operations work on whole grey levels, as PIL's do. On a GPU nothing here waits for a value
    or has a shape that depends on a value, so that the function can be compiled or graph-captured.
    """
    # Values at strength 0 and 30, filled on the device: a copy could not be captured in a graph.
    low = torch.stack([images.new_full((), least) for least, _ in OPERATIONS.values()])
    high = torch.stack([images.new_full((), most) for _, most in OPERATIONS.values()])
    if strength.ndim == 1:
        strength = strength[:, None].expand_as(parameters.chance)  # [B, k]

    # One operation after the other, each on the images that chance gives it.
    levels = (images * 255).round_()  # [B, 3, H, W]
    touched = torch.zeros_like(probability, dtype=torch.bool)  # [B]
    for step in range(strength.shape[1]):
        operation = parameters.operation[:, step]  # [B], and so are all below but the centre
        sign = parameters.sign[:, step]
        centre = parameters.centre[:, step]  # [B, 2]
        done = parameters.chance[:, step] < probability
        share = strength[:, step] / MOST
        value = low[operation] + share * (high - low)[operation]
        levels = apply_operation(levels, done, operation, value, sign, centre)
        touched |= done

    # An image that nothing touched is given back as it came, and not rounded.
    return torch.where(touched[:, None, None, None], levels / 255, images)


def apply_operation(
    levels: Tensor,
    done: Tensor,
    operation: Tensor,
    value: Tensor,
    sign: Tensor,
    centre: Tensor,
) -> Tensor:
    """Apply each image's own operation to its grey levels; on a CPU in place.

    Args:
        levels: [B, 3, H, W], whole numbers from 0 to 255.
        done: bool [B], whether the image's operation is done.
        operation: int64 [B], numbers of OPERATIONS.
        value: [B], in the units of OPERATIONS.
        sign: [B], as drawn.
        centre: [B, 2], as drawn.
    """
    value_and_centre = torch.cat([value[:, None], centre], 1)  # [B, 3]
    families = (  # a function, the first and the last of its operations, and what these are given
        (_move, "ShearX", "Rotate", value * sign),
        (_look_up, "AutoContrast", "Posterize", value),
        (_blend, "Contrast", "Sharpness", value),
        (_cut_out, "Cutout", "Cutout", value_and_centre),
    )
    for change, first, last, given in families:
        is_of_family = (operation >= CODE[first]) & (operation <= CODE[last])  # [B]
        chosen = done & is_of_family  # [B]
        levels = _change_chosen(levels, chosen, change, operation, given)
    return levels


def _change_chosen(
    levels: Tensor,
    chosen: Tensor,
    change: Callable[..., Tensor],
    *given: Tensor,
) -> Tensor:
    """Change the chosen [B] images of `levels` [B, 3, H, W], and no others."""
    # A GPU computes all: to know how many are chosen it would have to wait.
    if levels.is_cuda:
        return _change_all(levels, chosen, change, *given)

    # A CPU computes these only.
    rows = chosen.nonzero()[:, 0]
    if len(rows):
        given_rows = [part[rows] for part in given]
        levels[rows] = change(levels[rows], *given_rows)
    return levels


def _change_all(
    levels: Tensor,
    chosen: Tensor,
    change: Callable[..., Tensor],
    *given: Tensor,
) -> Tensor:
    """The same without a shape that depends on a value: all are changed, the chosen are taken."""
    changed = change(levels, *given)
    return torch.where(chosen[:, None, None, None], changed, levels)


def _move(levels: Tensor, operation: Tensor, value: Tensor) -> Tensor:
    """Shear, shift or rotate [B, 3, H, W]: nearest neighbour, black where nothing comes from."""
    height, width = levels.shape[2:]

    # An image's own value, and 0 for the four operations that are not its own: [B, 1, 1] each.
    own = []
    for number in range(5):
        is_own = operation == number  # [B]
        own.append((value * is_own)[:, None, None])
    shear_x, shear_y, shift_x, shift_y, angle = own
    x = torch.arange(width, device=levels.device) + 0.5  # [W], the middle of each pixel
    y = torch.arange(height, device=levels.device) + 0.5
    y = y[:, None]  # [H, 1]

    # Where each pixel comes from: rotated about the centre, then sheared, then shifted.
    cos = angle.deg2rad().cos()
    sin = angle.deg2rad().sin()
    across = x - width / 2
    down = y - height / 2
    rotated_x = cos * across - sin * down + width / 2  # [B, H, W]
    rotated_y = sin * across + cos * down + height / 2  # [B, H, W]
    from_x = rotated_x + shear_x * y + shift_x * width  # [B, H, W]
    from_y = rotated_y + shear_y * x + shift_y * height  # [B, H, W]

    # Nearest neighbour: the pixel in which that point lies.
    row = from_y.clamp(0, height - 1).long()
    column = from_x.clamp(0, width - 1).long()
    source = row * width + column  # [B, H, W], a pixel's number in its image
    source = source[:, None].expand_as(levels).flatten(2)  # [B, 3, H * W]
    moved = levels.flatten(2).gather(2, source).view_as(levels)  # [B, 3, H, W]

    # Black where that point lies outside.
    is_inside_x = (from_x >= 0) & (from_x < width)
    is_inside_y = (from_y >= 0) & (from_y < height)
    is_inside = is_inside_x & is_inside_y  # [B, H, W]
    return moved * is_inside[:, None]


def _look_up(levels: Tensor, operation: Tensor, value: Tensor) -> Tensor:
    """The operations that replace each grey level of a channel by another."""
    pixels = levels.flatten(2).long()  # [B, 3, H * W]
    level = torch.arange(256, device=levels.device, dtype=torch.float64)  # PIL counts in doubles
    lowest = pixels.amin(dim=2, keepdim=True).double()  # [B, 3, 1]
    highest = pixels.amax(dim=2, keepdim=True).double()  # [B, 3, 1]

    # AutoContrast: the scale is infinite in a channel of one level, which stays as it is.
    scale = 255 / (highest - lowest)  # [B, 3, 1]
    stretched = level * scale - lowest * scale  # [B, 3, 256]
    stretched = stretched.trunc().clamp(0, 255)
    contrasted = torch.where(highest > lowest, stretched, level)  # [B, 3, 256]

    equalized = _equalize(pixels, highest.long(), level)  # [B, 3, 256]

    # Solarize inverts the levels from a threshold on. Posterize drops a level's lowest bits.
    threshold = value[:, None, None]  # [B, 1, 1]
    bits = (8 - value.trunc())[:, None, None]  # [B, 1, 1], how many are dropped
    multiple = 2**bits  # [B, 1, 1], levels become multiples of it
    tables = {
        "AutoContrast": contrasted,
        "Invert": 255 - level,
        "Equalize": equalized,
        "Solarize": torch.where(level < threshold, level, 255 - level),
        "Posterize": (level / multiple).floor() * multiple,
    }
    table = _choose(operation, tables, level.expand_as(stretched))  # [B, 3, 256]
    replaced = table.to(levels.dtype).gather(2, pixels)  # [B, 3, H * W]
    return replaced.view_as(levels)


def _equalize(pixels: Tensor, highest: Tensor, level: Tensor) -> Tensor:
    """New values [B, 3, 256] of the levels: a level's grows with the number of pixels below it.

    Args:
        pixels: int64 [B, 3, H * W].
        highest: int64 [B, 3, 1], the highest level of each channel.
        level: [256], the levels as they are.
    """
    # The histogram of each channel.
    count = pixels.shape[2]  # H * W
    ones = torch.ones_like(pixels)
    histogram = pixels.new_zeros(*pixels.shape[:2], 256)  # [B, 3, 256]
    histogram.scatter_add_(2, pixels, ones)

    # Pixels for each new value. 0 is a channel that has nearly one level only: it stays as it is.
    at_highest = histogram.gather(2, highest)  # [B, 3, 1]
    step = (count - at_highest) // 255  # [B, 3, 1]
    below = histogram.cumsum(2) - histogram  # [B, 3, 256], pixels below each level
    new = (below + step // 2) // step.clamp(min=1)  # [B, 3, 256]
    return torch.where(step > 0, new, level).clamp(max=255)


def _blend(levels: Tensor, operation: Tensor, value: Tensor) -> Tensor:
    """The enhancements: value * image + (1 - value) * a weaker image; 1 changes nothing."""
    # The luminance in whole numbers, as PIL counts it.
    red, green, blue = levels.unbind(1)  # [B, H, W] each
    weighted = 19595 * red + 38470 * green + 7471 * blue
    gray = ((weighted + 2**15) / 2**16).floor()[:, None]  # [B, 1, H, W]
    mean = gray.mean((2, 3), keepdim=True)  # [B, 1, 1, 1]

    # A pixel smoothed by its eight neighbours; pixels at the edge stay as they are.
    inner = levels[..., 1:-1, 1:-1]  # [B, 3, H - 2, W - 2]
    sum_of_nine = avg_pool2d(levels, 3, 1) * 9
    smooth = (sum_of_nine + 4 * inner) / 13  # a weight of 5 for itself, 1 for each neighbour
    blurred = levels.clone()  # [B, 3, H, W]
    blurred[..., 1:-1, 1:-1] = (smooth + 0.5).floor()

    weaker = {
        "Contrast": (mean + 0.5).floor(),
        "Color": gray,
        "Brightness": torch.zeros_like(gray),
        "Sharpness": blurred,
    }
    other = _choose(operation, weaker, levels)  # [B, 3, H, W]
    share = value[:, None, None, None]  # [B, 1, 1, 1]
    blend = other + share * (levels - other)
    return blend.clamp(0, 255).trunc()


def _choose(operation: Tensor, by_name: dict[str, Tensor], default: Tensor) -> Tensor:
    """For each image what belongs to its operation [B], shaped like `default`."""
    ones = [1] * (default.ndim - 1)
    chosen = default
    for name, given in by_name.items():
        is_its_own = (operation == CODE[name]).view(-1, *ones)  # [B, 1, ...]
        chosen = torch.where(is_its_own, given, chosen)
    return chosen


def _cut_out(levels: Tensor, _: Tensor, value_and_centre: Tensor) -> Tensor:
    """A grey square in each of the images [B, 3, H, W], as far as it lies inside."""
    height, width = levels.shape[2:]
    value, x, y = value_and_centre.unbind(1)  # [B] each
    columns = _covered(value, x, width)  # [B, W]
    rows = _covered(value, y, height)  # [B, H]
    square = rows[:, None, :, None] & columns[:, None, None, :]  # [B, 1, H, W]

    # Filled on the device, as the values in `apply_rand_augment`.
    colour = torch.stack([levels.new_full((1, 1), level) for level in CUTOUT_COLOUR])  # [3, 1, 1]
    return torch.where(square, colour, levels)


def _covered(value: Tensor, place: Tensor, size: int) -> Tensor:
    """Which pixels of an axis a square covers, bool [B, size].

    Args:
        value: [B], its side as a share of the axis.
        place: uniform [B]. Its centre goes from `size` down to 1 with it, as published.
        size: pixels of the axis.
    """
    side = value * size  # [B]
    middle = size - (size - 1) * place  # [B]
    start = (middle - side / 2).clamp(min=0).trunc()  # [B]
    end = (start + side).trunc()  # [B], which is covered, too
    pixel = torch.arange(size, device=value.device)  # [size]
    return (pixel >= start[:, None]) & (pixel <= end[:, None])


def check_images(images: Tensor) -> None:
    """Raise a ValueError unless images are uint8 or float32 [B, 3, H, W].

    Float32 stands for torch's default type: where tests set that to float64, float64 is allowed.
    """
    allowed = (torch.uint8, torch.get_default_dtype())
    if images.dtype not in allowed or images.ndim != 4 or images.shape[1] != 3:
        given = f"{images.dtype} {list(images.shape)}"
        names = " or ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        raise ValueError(f"images are {given}: {names} [B, 3, H, W] is allowed")
