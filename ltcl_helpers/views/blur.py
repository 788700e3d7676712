"""Gaussian blur with a radius per image, as views of large images have it (Chen et al. 2020).

Drawing is random, `blur` is a pure function of what was drawn, as in `simclr`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

RADIUS = (0.1, 2.0)  # standard deviation in pixels, uniform
REACH = 6  # pixels of the kernel to either side: three times the largest radius


def draw_blur(count: int, chance: float, generator: torch.Generator) -> Tensor:
    """The radius [B] of each of `count` images; 0 for those that stay sharp."""
    uniform = torch.rand(count, 2, generator=generator, device=generator.device)
    radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * uniform[:, 0]
    return radius * (uniform[:, 1] < chance)


def blur(images: Tensor, radius: Tensor) -> Tensor:
    """Blur float images [B, 3, H, W], each with its own radius [B]; edges are continued.

    On a CPU only the images with a radius above 0 are computed, on a GPU all.
    """
    if images.is_cuda:
        return _blur_and_choose(images, radius)
    rows = radius.nonzero()[:, 0]
    if not len(rows):
        return images
    return images.index_copy(0, rows, _blurred(images[rows], radius[rows]))


def _blur_and_choose(images: Tensor, radius: Tensor) -> Tensor:
    """The same without a shape that depends on a value: all are blurred, some are taken."""
    chosen = (radius > 0)[:, None, None, None]
    blurred = _blurred(images, radius.clamp(min=RADIUS[0]))  # of radius 0 it would be 0 / 0
    return torch.where(chosen, blurred, images)


def _blurred(images: Tensor, radius: Tensor) -> Tensor:
    count, channels, height, width = images.shape
    distance = torch.arange(-REACH, REACH + 1, device=images.device)
    kernel = (-(distance**2) / (2 * radius[:, None] ** 2)).exp()  # [B, 13]
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).to(images.dtype)
    kernel = kernel.repeat_interleave(channels, dim=0)[:, None]  # [3B, 1, 13]

    # Every channel of every image is a channel of one image, with a kernel of its own.
    planes = images.reshape(1, count * channels, height, width)
    planes = pad(planes, (0, 0, REACH, REACH), mode="replicate")
    planes = conv2d(planes, kernel[..., None], groups=count * channels)
    planes = pad(planes, (REACH, REACH, 0, 0), mode="replicate")
    planes = conv2d(planes, kernel[:, :, None], groups=count * channels)
    return planes.view(images.shape)
