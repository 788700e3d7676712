"""Aims of a boost that need no labels: what an epoch leaves of a sample, beside its momentum loss.

An aim is a function of the epoch's encoder and head (in eval mode), all images, and a generator
that begins alike in every epoch: so all epochs see the same views and the same negatives. It gives
one value a sample, the larger the rarer the sample seems. For an aim of your own, add a function to
`AIMS` here, and its name to `recipes.AIMS` and to the boosts of `config`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..methods import pruning
from ..methods.losses import nt_xent
from ..methods.memory import memorization_score
from ..methods.simclr import SimCLR
from ..views.simclr import simclr_view

Aim = Callable[[nn.Module, nn.Module, Tensor, torch.Generator], Tensor]

DRAWS = 2  # pairs of views that a clean loss is averaged over; each costs a third of an epoch
BATCH = 256  # samples that are each other's negatives
TEMPERATURE = 0.2  # as published
PRUNED = 0.9  # share of the convolutions' weights, as SDCLR's
NEIGHBOURS = 10


def clean_loss(
    encoder: nn.Module,
    head: nn.Module,
    images: Tensor,
    draw: torch.Generator,
    draws: int = DRAWS,
) -> Tensor:
    """Each sample's contrastive loss on plain views, [N]: the mean over several draws.

    Two networks that are given equal generators see the same views and the same negatives.

    Args:
        encoder: images to features.
        head: features to projections.
        images: uint8 [N, 3, H, W].
        draw: on the images' device.
        draws: how many pairs of views.
    """
    total = torch.zeros(len(images), device=images.device)
    for _ in range(draws):
        order = torch.randperm(len(images), generator=draw, device=images.device)
        for index in _parts(order):
            first = simclr_view(images[index], draw)
            second = simclr_view(images[index], draw)
            losses = nt_xent(head(encoder(first)), head(encoder(second)), TEMPERATURE)
            total[index] += losses.to(total.dtype)
    return total / draws


def pruning_drop(
    encoder: nn.Module, head: nn.Module, images: Tensor, draw: torch.Generator
) -> Tensor:
    """How much a sample's clean loss rises when the encoder is pruned, [N]: SDCLR's idea."""
    start = draw.get_state()
    whole = clean_loss(encoder, head, images, draw)
    draw.set_state(start)  # the same views and negatives
    return clean_loss(pruned_copy(encoder, images), head, images, draw) - whole


def pruned_copy(encoder: nn.Module, images: Tensor) -> nn.Module:
    """The encoder with its largest weights alone, and batch-norm statistics of its own."""
    small = copy.deepcopy(encoder)
    masks = pruning.magnitude_masks(pruning.prunable(small), PRUNED)
    pruning.apply_masks(small, masks)
    norms = [m for m in small.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    small.train()
    parts = -(-len(images) // BATCH)
    for number in range(parts):
        for norm in norms:
            norm.momentum = 1 / (number + 1)  # so statistics end as the mean over all parts
        small(images[number::parts] / 255)  # every part holds all classes
    return small.eval()


def neighbour_distance(
    encoder: nn.Module, head: nn.Module, images: Tensor, draw: torch.Generator
) -> Tensor:
    """How far a sample's nearest neighbours are in the features, [N]: mean of 1 - cosine."""
    features = F.normalize(torch.cat([encoder(part / 255) for part in _parts(images)]), dim=1)
    found = []
    for part in _parts(features):
        nearest = (part @ features.T).topk(min(NEIGHBOURS + 1, len(features)), dim=1).values
        found.append(1 - nearest[:, 1:].mean(dim=1))  # the nearest of all is the sample itself
    return torch.cat(found)


def _parts(samples: Tensor) -> Iterator[Tensor]:
    """Near-equal parts of at most BATCH."""
    yield from samples.tensor_split(-(-len(samples) // BATCH))


AIMS: dict[str, Aim] = {
    "clean-loss": clean_loss,
    "pruning-drop": pruning_drop,
    "neighbour-distance": neighbour_distance,
}


@torch.no_grad()
def aim_values(aim: str, method: SimCLR, images: Tensor, draw: torch.Generator) -> Tensor:
    """The values [N] of an aim by its name, after an epoch; leaves the method in eval mode."""
    method.eval()
    return AIMS[aim](method.encoder, method.head, images, draw)


def aimed_scores(aim: str, method: SimCLR, images: Tensor, draw: torch.Generator) -> Tensor:
    """The same as scores in [0, 1], by the rule that makes memorization scores of losses."""
    return memorization_score(aim_values(aim, method, images, draw))
