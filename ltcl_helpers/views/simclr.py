"""Views of a whole batch on its device: every image gets its own random parameters.

`draw_view_parameters` is random; `apply_view` is a pure function with static shapes that brings no
value to Python: it can be compiled or graph-captured, and treats each image as if it were alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from .blur import blur, draw_blur
from .randaugment import check_images
from .share import Share

AREA = (0.1, 1.0)  # least and largest area of a crop, as a share of the image
RATIO = (3 / 4, 4 / 3)  # least and largest width of a crop, over its height
ATTEMPTS = 10  # boxes tried before the fallback
FACTOR_REACH = 0.4  # of the jitter: factors 1 +- 0.4
HUE_REACH = 0.1  # turns, to either side
MOST_HUE = 1 / 6  # turns that `_shift_hue` goes at once
FLIP_CHANCE = 0.5
JITTER_CHANCE = 0.8
GRAY_CHANCE = 0.2
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue (ITU-R 601), as in PIL
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # the numbers in `ViewParameters.order`


class Look(NamedTuple):
    """What a run may choose about its views; the defaults are those of CIFAR."""

    crop_from: float = AREA[0]  # the smallest crop, as a share of the image
    jitter: float = JITTER_CHANCE
    hue: float = HUE_REACH
    blur: float = 0.0  # share of the views that are blurred
    gray: float = GRAY_CHANCE  # share of the views that are gray


CIFAR = Look()


class ViewParameters(NamedTuple):
    """What one SimCLR view does to each of B images."""

    box: Tensor  # [B, 4] int64, crop: top, left, height, width in pixels
    flip: Tensor  # [B] bool, left and right swapped
    factors: Tensor  # [B, 3] of brightness, contrast, saturation; 1 changes nothing
    hue: Tensor  # [B] shift in turns, at most 1/6 either way, or [B, P] of several; 0 is no change
    order: Tensor  # [B, 4] int64, a permutation: order[:, k] is the k-th colour operation
    gray: Tensor  # [B] bool, grayscale at the end


def simclr_view(
    images: Tensor,
    generator: torch.Generator,
    *,
    crop: bool = True,
    colour: bool = True,
    look: Look = CIFAR,
    share: Share | None = None,
) -> Tensor:
    """One SimCLR view of each image (Chen et al. 2020, set for 32x32 as in SDCLR and BCL).

    Args:
        images: [B, 3, H, W], uint8 or float in [0, 1].
        generator: on the images' device.
        crop: False leaves out crop and flip.
        colour: False leaves out jitter, grayscale and blur. What stays is the same for the same
            seed.
        look: how views are drawn.
        share: of which batch the images are some rows; None: they are all of it.

    Returns:
        [B, 3, H, W] in [0, 1], not normalised, in torch's default type (float32).

    Raises:
        ValueError: for a wrong shape or type, or a generator of another device.
    """
    check_images(images)
    if generator.device.type != images.device.type:
        raise ValueError(f"generator is on {generator.device}, not {images.device} as the images")
    count, _, height, width = images.shape
    share = share or Share(count, slice(0, count))
    drawn = draw_view_parameters(share.total, height, width, generator, look)
    view = apply_view(images, share.of(drawn), crop=crop, colour=colour)
    if colour and look.blur:
        radius = draw_blur(share.total, look.blur, generator)  # [total]
        view = blur(view, radius[share.rows])
    return view


def draw_view_parameters(
    count: int, height: int, width: int, generator: torch.Generator, look: Look = CIFAR
) -> ViewParameters:
    """Draw for `count` images, by the laws of torchvision's transforms, in one generator call."""
    if min(count, height, width) < 1:
        raise ValueError(f"count, height, width are {count}, {height}, {width}: each must be >= 1")
    sizes = [ATTEMPTS, ATTEMPTS, 2, 3, 4, 4]  # of the parts below
    uniform = torch.rand(count, sum(sizes), generator=generator, device=generator.device)
    area, ratio, place, chance, jitter, order = uniform.split(sizes, dim=1)

    # Some images get no jitter: theirs is 0.
    flip_draw, jitter_draw, gray_draw = chance.unbind(1)  # [B] each
    is_jittered = jitter_draw < look.jitter  # [B]
    jitter = (2 * jitter - 1) * is_jittered[:, None]  # [B, 4] in [-1, 1)
    return ViewParameters(
        box=_choose_boxes(area, ratio, place, height, width, look.crop_from),
        flip=flip_draw < FLIP_CHANCE,
        factors=1 + FACTOR_REACH * jitter[:, :3],
        hue=_in_parts(look.hue * jitter[:, 3], look.hue),
        order=order.argsort(dim=1),
        gray=gray_draw < look.gray,
    )


def draw_crops(
    heights: Tensor, widths: Tensor, crop_from: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Boxes int64 [B, 4] and flips bool [B] for images of these sizes, each [B].

    The law is that of `draw_view_parameters`; the boxes are cut out of files, before any pixel is
    on a device.
    """
    count = len(heights)
    uniform = torch.rand(count, 2 * ATTEMPTS + 3, generator=generator)
    area, ratio, place, flip = uniform.split([ATTEMPTS, ATTEMPTS, 2, 1], dim=1)
    boxes = _choose_boxes(area, ratio, place, heights[:, None], widths[:, None], crop_from)
    return boxes, flip[:, 0] < FLIP_CHANCE


def _in_parts(hue: Tensor, reach: float) -> Tensor:
    """Shifts [B] of up to `reach` turns as they are, or [B, P] equal parts of long ones."""
    parts = math.ceil(reach / MOST_HUE)
    if parts <= 1:
        return hue
    return (hue / parts)[:, None].expand(-1, parts)


def _choose_boxes(
    area: Tensor,
    ratio: Tensor,
    place: Tensor,
    height: int | Tensor,
    width: int | Tensor,
    smallest: float = AREA[0],
) -> Tensor:
    """Boxes of RandomResizedCrop: of some attempts at each, the first that fits its image.

    Args:
        area: uniform [B, ATTEMPTS], decides the areas of the attempts.
        ratio: uniform [B, ATTEMPTS], decides their ratios of width and height.
        place: uniform [B, 2], decides where the box lies, top and left.
        height: of all images, or int64 [B, 1].
        width: as the height.
        smallest: the least area.

    Returns:
        int64 [B, 4]: top, left, height and width.
    """
    # On the device: a copy from the host could not be captured in a CUDA graph.
    height = torch.zeros_like(area[:, :1], dtype=torch.int64) + height  # [B, 1]
    width = torch.zeros_like(height) + width  # [B, 1]
    largest_area = AREA[1]
    least_ratio, largest_ratio = RATIO
    share = smallest + (largest_area - smallest) * area  # [B, ATTEMPTS]
    pixels = height * width * share  # [B, ATTEMPTS]
    ratio = least_ratio * (largest_ratio / least_ratio) ** ratio  # its logarithm is uniform
    heights = (pixels / ratio).sqrt().round().long()  # [B, ATTEMPTS]
    widths = (pixels * ratio).sqrt().round().long()  # [B, ATTEMPTS]

    # One more box, which always fits, for when no other does: the largest of an allowed ratio.
    tallest = torch.minimum(height, (width / least_ratio).round().long())  # [B, 1]
    widest = torch.minimum(width, (height * largest_ratio).round().long())  # [B, 1]
    heights = torch.cat([heights, tallest], dim=1)  # [B, ATTEMPTS + 1]
    widths = torch.cat([widths, widest], dim=1)  # [B, ATTEMPTS + 1]

    # The first box that fits; argmax gives the first of equals.
    fits_height = (heights > 0) & (heights <= height)
    fits_width = (widths > 0) & (widths <= width)
    fits = fits_height & fits_width  # [B, ATTEMPTS + 1]
    first = fits.int().argmax(dim=1, keepdim=True)  # [B, 1]
    box_height = heights.gather(1, first)  # [B, 1]
    box_width = widths.gather(1, first)  # [B, 1]

    # Its place is uniform; the box that always fits lies in the middle.
    room = torch.cat([height - box_height, width - box_width], dim=1)  # [B, 2]
    anywhere = (place * (room + 1)).long()  # [B, 2]
    corner = torch.where(first == ATTEMPTS, room // 2, anywhere)  # [B, 2]
    return torch.cat([corner, box_height, box_width], dim=1)  # [B, 4]


def apply_view(
    images: Tensor,
    parameters: ViewParameters,
    *,
    crop: bool = True,
    colour: bool = True,
) -> Tensor:
    """Apply a view's parameters: images as for `simclr_view`, the same result and errors."""
    check_images(images)
    count = len(images)
    if len(parameters.box) != count:
        raise ValueError(f"parameters are for {len(parameters.box)} images, there are {count}")
    scale = 1 / 255 if images.dtype == torch.uint8 else 1.0  # to [0, 1]
    view = _crop(images, parameters, scale) if crop else images.contiguous() * scale
    if colour:
        pixels = view.view(count, 3, -1)  # [B, 3, H * W]
        view = _change_colours(pixels, parameters)
    return view.view(images.shape)


def _crop(images: Tensor, parameters: ViewParameters, scale: float) -> Tensor:
    """The boxes of images [B, 3, H, W], times `scale`, stretched to the whole size, some mirrored.

    Stretching is a matrix product along each axis.
    """
    height, width = images.shape[2:]
    top, left, box_height, box_width = parameters.box[:, :, None].unbind(1)  # [B, 1] each
    mirrored = parameters.flip[:, None]  # [B, 1]
    upright = torch.zeros_like(mirrored)  # [B, 1]
    rows = _bicubic_weights(top, box_height, upright, height)  # [B, H, H]
    columns = _bicubic_weights(left, box_width, mirrored, width) * scale  # [B, W, W]

    # Bicubic overshoots at edges; PIL, too, clips after each of the two passes.
    lines = images.to(columns.dtype).flatten(1, 2)  # [B, 3 * H, W]
    view = (lines @ columns.mT).clamp_(0, 1)  # [B, 3 * H, W]
    view = view.view(images.shape)  # [B, 3, H, W]
    return (rows[:, None] @ view).clamp_(0, 1)  # [B, 3, H, W]


def _bicubic_weights(start: Tensor, length: Tensor, flip: Tensor, size: int) -> Tensor:
    """Matrices from the pixels of an axis to its box [start, start + length), stretched.

    The weights are Keys' cubic kernel (1981, a = -1/2), cut off at the box and normalised, as PIL
    does on a cropped image. The output is never smaller than the box, so the wider kernel for
    shrinking has no use.

    Args:
        start: int64 [B, 1], the first pixel of the box.
        length: int64 [B, 1], its length in pixels.
        flip: bool [B, 1], whether the output is mirrored.
        size: pixels of the axis.

    Returns:
        [B, size, size], for each pixel of the output the weights of the pixels of the image.
    """
    # Where the centre of each pixel of the output lies, in pixels of the image.
    pixel = torch.arange(size, device=start.device)  # [size]
    output = torch.where(flip, size - 1 - pixel, pixel)  # [B, size]
    centre = start - 0.5 + (output + 0.5) * (length / size)  # [B, size]

    # The kernel does not reach out of the box: what lies there is infinitely far away.
    outside = (pixel < start) | (pixel >= start + length)  # [B, size]
    reached = pixel.to(centre.dtype).masked_fill(outside, torch.inf)  # [B, size]
    distance = (reached[:, None] - centre[:, :, None]).abs_()  # [B, size, size]
    near = 1 - distance

    # Twice the kernel: its outer piece (distance < 2), and what its inner piece (< 1) has more.
    near.clamp_(min=-1)
    core = near.clamp(min=0)  # 0 outside of the inner piece
    weight = (near + 1).square_().mul_(near)  # (near + 1)^2 near
    weight.addcmul_(core.square(), 2 - 4 * core)  # + core^2 (2 - 4 core)
    total = weight.sum(dim=2, keepdim=True)  # [B, size, 1]
    return weight.div_(total)


def _change_colours(view: Tensor, parameters: ViewParameters) -> Tensor:
    """Jitter [B, 3, H * W] in each image's own order, then grayscale; overwrites `view`.

    All but hue are blends, factor * view + (1 - factor) * other, as in PIL's ImageEnhance. The
    other is black for brightness, the mean luminance for contrast, and the luminance itself for
    saturation and grayscale.

    Every image goes the same way, whatever its order: three blends, the hue shift, three blends,
    and one for grayscale. A blend that an image does not have at that step has the factor 1.
    """
    factors, kinds = _blends(parameters)  # [B, 7] each
    to_mean = (1 - factors) * (kinds == CONTRAST)  # [B, 7], the share of the mean luminance
    to_luminance = (1 - factors) * (kinds == SATURATION)  # [B, 7], the share of the luminance

    # Filled on the device: a copy from the host could not be captured in a CUDA graph.
    weights = torch.cat([view.new_full((1,), weight) for weight in LUMINANCE])  # [3]
    for k in range(7):
        if k == 3:
            for turns in parameters.hue.view(len(view), -1).unbind(1):  # [B], often once
                view = _shift_hue(view, turns)
        luminance = weights @ view  # [B, H * W]
        mean = luminance.mean(dim=1, keepdim=True) * to_mean[:, k, None]  # [B, 1]
        other = luminance.mul_(to_luminance[:, k, None]).add_(mean)  # [B, H * W]
        view = view.mul_(factors[:, k, None, None])  # [B, 3, H * W]
        view = view.add_(other[:, None]).clamp_(0, 1)
    return view


def _blends(parameters: ViewParameters) -> tuple[Tensor, Tensor]:
    """The factor and the kind of each of an image's seven blends, [B, 7] each."""
    order = parameters.order  # [B, 4]
    drawn = pad(parameters.factors, (0, 1), value=1.0)  # [B, 4], 1 for the hue shift
    factors = drawn.gather(1, order)  # [B, 4], in the order in which they are applied
    is_late = (order == HUE).cumsum(dim=1) > 0  # [B, 4], from the hue shift on

    # What comes before the hue shift, what comes after it, and grayscale.
    early = factors.masked_fill(is_late, 1)[:, :3]
    late = factors.masked_fill(~is_late, 1)[:, 1:]
    gray = parameters.gray[:, None].to(factors.dtype)  # [B, 1]
    gray_kind = torch.full_like(order[:, :1], SATURATION)  # [B, 1]
    seven_factors = [early, late, 1 - gray]
    seven_kinds = [order[:, :3], order[:, 1:], gray_kind]
    return torch.cat(seven_factors, dim=1), torch.cat(seven_kinds, dim=1)


def _shift_hue(view: Tensor, turns: Tensor) -> Tensor:
    """Shift the hues of [B, 3, H * W] by `turns` [B], |turns| <= 1/6, as through HSV and back.

    A pixel keeps its smallest and its largest value, and its middle value moves between them, by
    their difference times 6 * turns. Where it comes to the smallest or the largest it stops, and
    the colour that has that value moves on in its place.

    One formula does for all three colours: 2 * value - middle, moved, and cut off at smallest and
    largest. For the middle colour that is the middle value, moved. For the two others it begins as
    far outside of the range as the middle value has to go before they move.
    """
    red, green, blue = view.unbind(1)  # [B, H * W] each, as all below
    low = torch.minimum(red, green)
    high = torch.maximum(red, green)
    smallest = torch.minimum(low, blue)
    largest = torch.maximum(high, blue)
    middle = torch.maximum(low, torch.minimum(high, blue))

    # In place from here on: it is memory that takes the time.
    step = (largest - smallest).mul_(-6 * turns[:, None])
    circle = (  # each colour, with the colour after it and the colour before it
        (red, green, blue),
        (green, blue, red),
        (blue, red, green),
    )
    moved = []
    for value, after, before in circle:
        way = (after - before).sign_()  # -1, 0 or 1: up or down the circle
        shifted = way.mul_(step).sub_(middle).add_(value, alpha=2)
        moved.append(shifted.clamp_(smallest, largest))
    return torch.stack(moved, dim=1)  # [B, 3, H * W]
