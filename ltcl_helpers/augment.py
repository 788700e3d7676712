"""Views of a whole batch on its device: every image gets its own random parameters.

The random part (`draw_view_parameters`) is separate from the arithmetic (`apply_view`), which is a pure function of
static shape: it never looks at a value from Python, so it can be compiled or captured in a CUDA graph, and a batch
gives what its images give one by one.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

AREA = (0.1, 1.0)  # share of the image that a crop covers
RATIO = (3 / 4, 4 / 3)  # width / height of a crop
ATTEMPTS = 10  # boxes tried before the fallback
JITTER = (0.4, 0.4, 0.4, 0.1)  # reach of brightness, contrast, saturation, and of hue in turns
FLIP_CHANCE, JITTER_CHANCE, GRAY_CHANCE = 0.5, 0.8, 0.2
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue (ITU-R 601)
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # the numbers in `ViewParameters.order`


class ViewParameters(NamedTuple):
    """What one SimCLR view does to each of B images; the first dimension of every field is B."""

    top: Tensor  # [B] int64, first row of the crop box
    left: Tensor  # [B] int64, its first column
    height: Tensor  # [B] int64, its rows
    width: Tensor  # [B] int64, its columns
    flip: Tensor  # [B] bool, mirror left and right
    brightness: Tensor  # [B] factor; 1 changes nothing, as for the next two
    contrast: Tensor  # [B]
    saturation: Tensor  # [B]
    hue: Tensor  # [B] shift in turns, at most 1/6 either way; 0 changes nothing
    order: Tensor  # [B, 4] int64, order[:, k] says which colour operation comes k-th
    gray: Tensor  # [B] bool, ends without colour


def simclr_view(
    images: Tensor, generator: torch.Generator, *, crop: bool = True, colour: bool = True
) -> Tensor:
    """One SimCLR view of each image (Chen et al. 2020, as set for 32x32 by SDCLR and BCL; SPEC 2.1).

    Args:
        images: [B, 3, H, W], uint8 or float32 in [0, 1].
        generator: source of randomness, on the device of the images.
        crop: False leaves out the random crop and the flip.
        colour: False leaves out colour jitter and grayscale. The crops of a seed stay the same.

    Returns:
        float32 [B, 3, H, W] in [0, 1], not normalised.

    Raises:
        ValueError: wrong shape or dtype, or a generator on another device.
    """
    _check_images(images)
    if generator.device.type != images.device.type:
        raise ValueError(
            f"generator is on {generator.device}, images are on {images.device}: "
            f"make it with torch.Generator({str(images.device)!r})"
        )
    parameters = draw_view_parameters(len(images), *images.shape[2:], generator)
    return apply_view(images, parameters, crop=crop, colour=colour)


def draw_view_parameters(
    count: int, height: int, width: int, generator: torch.Generator
) -> ViewParameters:
    """Draw the parameters of one view for each of `count` images of height x width pixels.

    The laws are those of torchvision's RandomResizedCrop, RandomHorizontalFlip, RandomApply([ColorJitter]) and
    RandomGrayscale; one call of the generator makes all numbers.
    """
    if min(count, height, width) < 1:
        raise ValueError(f"count, height, width = {count}, {height}, {width}: each must be >= 1")
    sizes = [ATTEMPTS, ATTEMPTS, 2, 3, 4, 4]
    uniform = torch.rand(count, sum(sizes), generator=generator, device=generator.device)
    area, ratio, place, chance, jitter, order = uniform.split(sizes, dim=1)
    jittered = (chance[:, 1] < JITTER_CHANCE).float()
    reach = [jittered * size * (2 * jitter[:, k] - 1) for k, size in enumerate(JITTER)]
    return ViewParameters(
        *_choose_boxes(area, ratio, place, height, width),
        flip=chance[:, 0] < FLIP_CHANCE,
        brightness=1 + reach[0],
        contrast=1 + reach[1],
        saturation=1 + reach[2],
        hue=reach[3],
        order=order.argsort(dim=1),
        gray=chance[:, 2] < GRAY_CHANCE,
    )


def _choose_boxes(
    area: Tensor, ratio: Tensor, place: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height and width [B] of the first box that fits, from uniform numbers in [0, 1)."""
    low, high = map(math.log, RATIO)
    pixels = height * width * (AREA[0] + (AREA[1] - AREA[0]) * area)  # [B, ATTEMPTS]
    ratios = (low + (high - low) * ratio).exp()
    # None fits: the largest centred box of a ratio allowed. As one more column that always fits.
    last_height = min(height, round(width / RATIO[0]))
    last_width = min(width, round(height * RATIO[1]))
    pad = torch.nn.functional.pad
    heights = pad((pixels / ratios).sqrt().round().long(), (0, 1), value=last_height)
    widths = pad((pixels * ratios).sqrt().round().long(), (0, 1), value=last_width)
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    first = fits.int().argmax(dim=1, keepdim=True)  # [B, 1], argmax takes the first of equals
    box_height, box_width = heights.gather(1, first)[:, 0], widths.gather(1, first)[:, 0]
    room = torch.stack([height - box_height, width - box_width], dim=1)
    top, left = torch.where(first == ATTEMPTS, room // 2, (place * (room + 1)).long()).unbind(1)
    return top, left, box_height, box_width


def apply_view(
    images: Tensor, parameters: ViewParameters, *, crop: bool = True, colour: bool = True
) -> Tensor:
    """Apply one view's parameters: images [B, 3, H, W] to float32 [B, 3, H, W] in [0, 1]; pure.

    Raises:
        ValueError: wrong shape or dtype, or parameters for another number of images.
    """
    _check_images(images)
    if len(parameters.top) != len(images):
        raise ValueError(f"parameters are for {len(parameters.top)} images, images are {len(images)}")
    scale = 1 / 255 if images.dtype == torch.uint8 else 1.0
    view = images.float() if crop else images * scale
    if crop:
        height, width = images.shape[2:]
        rows = _bicubic_weights(parameters.top, parameters.height, height) * scale
        columns = _bicubic_weights(parameters.left, parameters.width, width, parameters.flip)
        view = (rows[:, None] @ view).flatten(1, 2) @ columns.mT  # [B, 3 * H, W]
        view = view.clamp_(0, 1)  # bicubic overshoots at edges
    if colour:
        view = _change_colours(view.view(len(images), 3, -1), parameters)
    return view.view(images.shape)


def _bicubic_weights(start: Tensor, length: Tensor, size: int, flip: Tensor | None = None) -> Tensor:
    """Matrices [B, size, size]: row o holds what each pixel of the axis gives to output pixel o.

    As PIL's BICUBIC on the cropped image: Keys' cubic (1981) with a = -1/2, pixel centres at half-integers,
    stretched when the box shrinks, cut off at the box [start, start + length) and normalised.
    """
    pixel = torch.arange(size, device=start.device)
    output = pixel if flip is None else torch.where(flip[:, None], size - 1 - pixel, pixel)
    start, scale = start[:, None], (length / size)[:, None]  # [B, 1], input pixels per output pixel
    centre = start + (output + 0.5) * scale - 0.5  # [B, size], where output pixels lie among pixels
    stretch = scale.clamp(min=1)
    outside = (pixel < start) | (pixel >= start + length[:, None])
    place = (pixel / stretch).masked_fill(outside, math.inf)  # out of the kernel's reach
    distance = place[:, None] - (centre / stretch)[:, :, None]  # [B, size, size]
    inner = (1 - distance.abs_()).clamp_(min=-1)  # 1 at the centre, -1 from distance 2 on
    weight = (inner + 1).square_().mul_(inner)  # twice Keys' outer piece, and on 0 < inner
    inner = inner.clamp_(min=0)  # the difference to the inner piece
    weight = weight.addcmul_(inner.square(), 2 - 4 * inner)
    return weight.div_(weight.sum(dim=2, keepdim=True))


def _change_colours(view: Tensor, parameters: ViewParameters) -> Tensor:
    """Jitter [B, 3, H * W] in each image's order, then gray; overwrites `view`.

    The three blends have three places before the hue shift and three after it; an image uses three of the six.
    """
    order = parameters.order
    factors = torch.stack([*parameters[5:8], torch.ones_like(parameters.hue)], dim=1)
    factors = factors.gather(1, order)  # [B, 4], in order of application
    late = (order == HUE).cumsum(dim=1) > 0  # from the hue shift on
    keep = 1 - parameters.gray[:, None].float()
    early = factors[:, :3].masked_fill(late[:, :3], 1)
    factors = torch.cat([early, factors[:, 1:].masked_fill(~late[:, 1:], 1), keep], dim=1)
    others = torch.cat([order[:, :3], order[:, 1:], torch.full_like(order[:, :1], SATURATION)], 1)
    to_mean = (1 - factors) * (others == CONTRAST)  # [B, 7]
    to_luminance = (1 - factors) * (others == SATURATION)
    # Filled on the device: a copy from the host could not be captured in a CUDA graph.
    weights = torch.cat([view.new_full((1,), weight) for weight in LUMINANCE])
    for k in range(7):
        if k == 3:
            view = _shift_hue(view, parameters.hue)
        luminance = weights @ view  # [B, H * W]
        mean = luminance.mean(dim=1, keepdim=True)
        other = luminance.mul_(to_luminance[:, k, None]).add_(mean.mul_(to_mean[:, k, None]))
        view = view.mul_(factors[:, k, None, None]).add_(other[:, None]).clamp_(0, 1)
    return view


def _shift_hue(view: Tensor, turns: Tensor) -> Tensor:
    """Shift the hue of [B, 3, H * W] by `turns` [B], at most 1/6 of the circle, as through HSV and back.

    A hue shift keeps each pixel's largest and smallest channel values and moves the middle one by
    6 * turns * (largest - smallest), downwards where the colours run the other way round the circle; what leaves
    [smallest, largest] makes another channel the middle one. For every channel, with `next` and `last` the two that
    follow it round the circle, that is
    clamp(2 * channel - middle - 6 * turns * (largest - smallest) * sign(next - last), smallest, largest).
    """
    red, green, blue = view.unbind(1)  # [B, H * W]
    low, high = torch.minimum(red, green), torch.maximum(red, green)
    smallest, largest = torch.minimum(low, blue), torch.maximum(high, blue)
    middle = torch.maximum(low, torch.minimum(high, blue))
    step = (largest - smallest).mul_(-6 * turns[:, None])
    shifted = torch.empty_like(view)
    triples = ((red, green, blue), (green, blue, red), (blue, red, green))
    for k, (channel, following, last) in enumerate(triples):
        value = (following - last).sign_().mul_(step).sub_(middle).add_(channel, alpha=2)
        shifted[:, k] = torch.minimum(value.clamp_(min=smallest), largest)
    return shifted


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images have shape {list(images.shape)}: [B, 3, H, W] is expected")
    if images.dtype not in (torch.uint8, torch.float32):
        raise ValueError(f"images are {images.dtype}: torch.uint8 or torch.float32 is allowed")
