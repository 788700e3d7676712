"""The view that a classifier of large images is trained on (Zhu et al. 2022, ImageNet-LT)."""

from __future__ import annotations

import torch
from torch import Tensor

from .randaugment import rand_augment
from .share import Share
from .simclr import CIFAR, Look, simclr_view

OPERATIONS = 2
STRENGTH = 15.0  # of 30: shears of 0.3 and turns of 30 degrees, as magnitude 10 of 10 elsewhere
CHANCE = 0.5  # that an operation is done


def randaugment_view(
    images: Tensor,
    generator: torch.Generator,
    *,
    crop: bool = True,
    look: Look = CIFAR,
    share: Share | None = None,
) -> Tensor:
    """Crop, flip, jitter of every image with neither hue nor grayscale, then RandAugment.

    Arguments, result and errors are those of `simclr_view`.
    """
    share = share or Share(len(images), slice(0, len(images)))
    look = look._replace(jitter=1.0, hue=0.0, blur=0.0, gray=0.0)
    view = simclr_view(images, generator, crop=crop, look=look, share=share)
    strength = view.new_full((share.total,), STRENGTH)
    chance = view.new_full((share.total,), CHANCE)
    return rand_augment(view, strength, chance, OPERATIONS, generator, share)
