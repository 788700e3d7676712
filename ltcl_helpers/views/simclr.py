"""Views of a whole batch on its device: every image gets its own random parameters.

`draw_view_parameters` is random; `apply_view` is a pure function with static shapes that brings no
value to Python: it can be compiled or graph-captured, and treats each image as if it were alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from .randaugment import check_images

AREA = (0.1, 1.0)  # of a crop, as a share of the image
RATIO = (3 / 4, 4 / 3)  # of a crop, width over height
ATTEMPTS = 10  # boxes tried before the fallback
FACTOR_REACH = 0.4  # of the jitter: factors 1 +- 0.4
HUE_REACH = 0.1  # turns, to either side
FLIP_CHANCE = 0.5
JITTER_CHANCE = 0.8
GRAY_CHANCE = 0.2
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue (ITU-R 601), as in PIL
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # the numbers in `ViewParameters.order`


class ViewParameters(NamedTuple):
    """What one SimCLR view does to each of B images."""

    box: Tensor  # [B, 4] int64, crop: top, left, height, width in pixels
    flip: Tensor  # [B] bool, left and right swapped
    factors: Tensor  # [B, 3] of brightness, contrast, saturation; 1 changes nothing
    hue: Tensor  # [B] shift in turns, at most 1/6 either way; 0 changes nothing
    order: Tensor  # [B, 4] int64, a permutation: order[:, k] is the k-th colour operation
    gray: Tensor  # [B] bool, grayscale at the end


def simclr_view(
    images: Tensor, generator: torch.Generator, *, crop: bool = True, colour: bool = True
) -> Tensor:
    """One SimCLR view of each image (Chen et al. 2020, set for 32x32 as in SDCLR and BCL).

    Images [B, 3, H, W], uint8 or float in [0, 1]; the view is in [0, 1], not normalised, and of
    torch's default type (float32).
    `crop=False` leaves out crop and flip, `colour=False` jitter and grayscale; what stays is the
    same for the same seed. A wrong shape, dtype or generator device is a ValueError.
    """
    check_images(images)
    if generator.device.type != images.device.type:
        raise ValueError(f"generator is on {generator.device}, not {images.device} as the images")
    count, _, height, width = images.shape
    parameters = draw_view_parameters(count, height, width, generator)
    return apply_view(images, parameters, crop=crop, colour=colour)


def draw_view_parameters(
    count: int, height: int, width: int, generator: torch.Generator
) -> ViewParameters:
    """Draw for `count` images, by the laws of torchvision's transforms, in one generator call."""
    if min(count, height, width) < 1:
        raise ValueError(f"count, height, width are {count}, {height}, {width}: each must be >= 1")
    sizes = [ATTEMPTS, ATTEMPTS, 2, 3, 4, 4]
    uniform = torch.rand(count, sum(sizes), generator=generator, device=generator.device)
    area, ratio, place, chance, jitter, order = uniform.split(sizes, dim=1)
    jittered = chance[:, 1:2] < JITTER_CHANCE  # [B, 1]
    jitter = (2 * jitter - 1) * jittered  # [B, 4] in [-1, 1)
    return ViewParameters(
        box=_choose_boxes(area, ratio, place, height, width),
        flip=chance[:, 0] < FLIP_CHANCE,
        factors=1 + FACTOR_REACH * jitter[:, :3],
        hue=HUE_REACH * jitter[:, 3],
        order=order.argsort(dim=1),
        gray=chance[:, 2] < GRAY_CHANCE,
    )


def _choose_boxes(area: Tensor, ratio: Tensor, place: Tensor, height: int, width: int) -> Tensor:
    """Boxes [B, 4] as RandomResizedCrop's, the first attempt that fits, from uniform numbers."""
    share = AREA[0] + (AREA[1] - AREA[0]) * area  # [B, ATTEMPTS]
    pixels = height * width * share
    ratio = RATIO[0] * (RATIO[1] / RATIO[0]) ** ratio  # its logarithm is uniform
    heights = (pixels / ratio).sqrt().round().long()
    widths = (pixels * ratio).sqrt().round().long()

    # One more box, which always fits, for when no other does: the largest of an allowed ratio.
    tallest = min(height, round(width / RATIO[0]))
    widest = min(width, round(height * RATIO[1]))
    heights = pad(heights, (0, 1), value=tallest)  # [B, ATTEMPTS + 1]
    widths = pad(widths, (0, 1), value=widest)

    # The first box that fits; argmax gives the first of equals.
    high_enough = (heights > 0) & (heights <= height)
    wide_enough = (widths > 0) & (widths <= width)
    fits = high_enough & wide_enough
    first = fits.int().argmax(dim=1, keepdim=True)  # [B, 1]
    box_height = heights.gather(1, first)
    box_width = widths.gather(1, first)

    # Its place is uniform; the fallback lies in the middle.
    room = torch.cat([height - box_height, width - box_width], dim=1)  # [B, 2]
    anywhere = (place * (room + 1)).long()
    corner = torch.where(first == ATTEMPTS, room // 2, anywhere)
    return torch.cat([corner, box_height, box_width], dim=1)


def apply_view(
    images: Tensor, parameters: ViewParameters, *, crop: bool = True, colour: bool = True
) -> Tensor:
    """Apply a view's parameters: images as for `simclr_view`, the same result and errors."""
    check_images(images)
    count, _, height, width = images.shape
    if len(parameters.box) != count:
        raise ValueError(f"parameters are for {len(parameters.box)} images, there are {count}")
    scale = 1 / 255 if images.dtype == torch.uint8 else 1.0
    if crop:
        top, left, box_height, box_width = parameters.box[:, :, None].unbind(1)  # [B, 1] each
        upright = torch.zeros_like(top, dtype=torch.bool)
        rows = _bicubic_weights(top, box_height, upright, height)  # [B, H, H]
        columns = _bicubic_weights(left, box_width, parameters.flip[:, None], width) * scale
        # Bicubic overshoots at edges; PIL, too, clips after each of the two passes.
        lines = images.to(columns.dtype).flatten(1, 2)  # [B, 3 * H, W]
        view = (lines @ columns.mT).clamp_(0, 1)
        view = (rows[:, None] @ view.view(images.shape)).clamp_(0, 1)
    else:
        view = images.contiguous() * scale
    if colour:
        view = _change_colours(view.view(count, 3, -1), parameters)
    return view.view(images.shape)


def _bicubic_weights(start: Tensor, length: Tensor, flip: Tensor, size: int) -> Tensor:
    """Matrices [B, size, size] from an axis' pixels to its box [start, start + length), stretched.

    Keys' cubic kernel (1981, a = -1/2) cut off at the box and normalised, as PIL does on a cropped
    image. The output is never smaller than the box, so the wider kernel for shrinking has no use.
    """
    pixel = torch.arange(size, device=start.device)
    output = torch.where(flip, size - 1 - pixel, pixel)
    centre = start - 0.5 + (output + 0.5) * (length / size)  # [B, size], in pixels
    outside = (pixel < start) | (pixel >= start + length)
    pixel = pixel.to(centre.dtype).masked_fill(outside, torch.inf)  # out of the kernel's reach
    near = 1 - (pixel[:, None] - centre[:, :, None]).abs_()  # [B, size, size], 1 - distance
    # Twice the kernel: its outer piece (distance < 2), and what the inner one (< 1) has more.
    near.clamp_(min=-1)
    core = near.clamp(min=0)
    weight = (near + 1).square_().mul_(near).addcmul_(core.square(), 2 - 4 * core)
    return weight.div_(weight.sum(dim=2, keepdim=True))


def _change_colours(view: Tensor, parameters: ViewParameters) -> Tensor:
    """Jitter [B, 3, H * W] in each image's own order, then grayscale; overwrites `view`.

    All but hue are blends, factor * view + (1 - factor) * other, with black, the mean luminance, or
    (saturation, grayscale) the luminance, as PIL's ImageEnhance. There are three places for them
    before the hue shift, three after it, one for grayscale; the factor is 1 where one is not used.
    """
    order = parameters.order  # [B, 4]
    drawn = pad(parameters.factors, (0, 1), value=1.0)  # [B, 4], 1 for the hue shift
    factors = drawn.gather(1, order)  # in the order in which they are applied
    is_late = (order == HUE).cumsum(dim=1) > 0  # from the hue shift on

    # The factor and the kind of each of the seven blends.
    early = factors.masked_fill(is_late, 1)[:, :3]
    late = factors.masked_fill(~is_late, 1)[:, 1:]
    gray = parameters.gray[:, None].to(factors.dtype)
    factors = torch.cat([early, late, 1 - gray], dim=1)  # [B, 7]
    last = torch.full_like(order[:, :1], SATURATION)
    kinds = torch.cat([order[:, :3], order[:, 1:], last], dim=1)  # [B, 7]
    to_mean = (1 - factors) * (kinds == CONTRAST)
    to_luminance = (1 - factors) * (kinds == SATURATION)

    # Filled on the device: a copy from the host could not be captured in a CUDA graph.
    weights = torch.cat([view.new_full((1,), weight) for weight in LUMINANCE])
    for k in range(7):
        if k == 3:
            view = _shift_hue(view, parameters.hue)
        other = weights @ view  # [B, H * W], luminance
        mean = other.mean(dim=1, keepdim=True) * to_mean[:, k, None]
        other = other.mul_(to_luminance[:, k, None]).add_(mean)
        view = view.mul_(factors[:, k, None, None]).add_(other[:, None]).clamp_(0, 1)
    return view


def _shift_hue(view: Tensor, turns: Tensor) -> Tensor:
    """Shift the hues of [B, 3, H * W] by `turns` [B], |turns| <= 1/6, as through HSV and back.

    A pixel keeps its largest and smallest value; the middle one moves by 6 * turns * their
    difference. Where that leaves their range it stops, and the value at that end takes up the rest.
    So one formula does for all: 2 * value - middle is the middle value itself, and as far out of
    the range, for the other two, as the middle one has to go before they move.
    """
    red, green, blue = view.unbind(1)  # [B, H * W]
    low = torch.minimum(red, green)
    high = torch.maximum(red, green)
    smallest = torch.minimum(low, blue)
    largest = torch.maximum(high, blue)
    middle = torch.maximum(low, torch.minimum(high, blue))

    step = (largest - smallest).mul_(-6 * turns[:, None])
    circle = ((red, green, blue), (green, blue, red), (blue, red, green))
    moved = []
    for value, after, before in circle:
        way = (after - before).sign_()  # -1, 0 or 1
        shifted = way.mul_(step).sub_(middle).add_(value, alpha=2)
        moved.append(shifted.clamp_(smallest, largest))
    return torch.stack(moved, dim=1)
