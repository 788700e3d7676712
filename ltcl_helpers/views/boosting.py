"""What an epoch's views are: SimCLR's, boosted by each sample's memorization score or a control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ..config import RunConfig
from .autoaugment import autoaugment_view
from .randaugment import MOST, rand_augment
from .simclr import simclr_view

Views = Callable[[Tensor, Tensor], tuple[Tensor, ...]]  # images and scores [B] to their views
MakeView = Callable[[Tensor, torch.Generator], Tensor]
KINDS: dict[str, MakeView] = {  # how a view is made of (images, generator), by its kind
    "simclr": simclr_view,
    "crop": partial(simclr_view, colour=False),
    "autoaugment": autoaugment_view,
}


def make_views(
    config: RunConfig,
    scores: Tensor,
    generators: Sequence[torch.Generator],
    kinds: Sequence[str] = ("simclr", "simclr"),
) -> tuple[Views, Tensor]:
    """The view function of an epoch and the scores [N] that steer it.

    The views are the same whatever the boost, which draws from the second generator: with scores
    of 0, as in epoch 1, a boosted run equals the plain one.

    Args:
        config: says the boost, its k and its rule.
        scores: memorization scores [N] after the last epoch.
        generators: one that draws the views, one that draws their boost.
        kinds: the views that the method wants, by their names in `KINDS`.
    """
    draw, boost = generators
    k = config.boost_k or 1
    rule = config.boost_rule

    def plain_views(images: Tensor, _: Tensor) -> tuple[Tensor, ...]:
        return tuple(KINDS[kind](images, draw) for kind in kinds)

    def boosted_views(images: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        views = plain_views(images, scores)
        if rule == "code":  # the code draws once for all views
            drawn = [boost_strength(scores, k, rule, boost)] * len(views)
        else:
            drawn = [boost_strength(scores, k, rule, boost) for _ in views]
        boosted = []
        for view, (strength, probability) in zip(views, drawn, strict=True):
            boosted.append(rand_augment(view, strength, probability, k, boost))
        return tuple(boosted)

    if config.boost == "none":
        return plain_views, scores
    return boosted_views, boost_scores(scores, config.boost, boost)


def boost_scores(scores: Tensor, boost: str, generator: torch.Generator) -> Tensor:
    """The scores [N] that steer an epoch's views: "memory" keeps them, the rest are controls.

    "constant" gives every sample the mean, "shuffled" permutes the scores, "inverted" is 1 - score.
    Before the first scores, when all are 0, every boost leaves them at 0.
    """
    if boost == "constant":
        return scores.mean().expand_as(scores)
    if boost == "shuffled":
        return scores[torch.randperm(len(scores), generator=generator, device=scores.device)]
    if boost == "inverted":
        return torch.where(scores.any(), 1 - scores, scores)
    return scores


def boost_strength(
    scores: Tensor, k: int, rule: str, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Strength in [0, 30] and probability in [0, 1] of samples with these scores [B].

    `zeta` of `strength_of` is uniform: with rule "code" [B], one for each image and all of its
    views; with rule "paper" [B, k], one for each operation of each view.
    """
    shape = (len(scores), k) if rule == "paper" else (len(scores),)
    zeta = torch.rand(shape, generator=generator, device=scores.device)
    return strength_of(scores, zeta, k, rule), scores


def strength_of(scores: Tensor, zeta: Tensor, k: int, rule: str) -> Tensor:
    """Strength, shaped like `zeta`, of samples with these scores [B].

    Rule "code" is the published code's: 10 + 20 * score for k = 1, and for larger k
    5 + 25 * score * zeta. Rule "paper" is 30 * score * zeta.
    """
    if rule == "paper":
        return MOST * scores[:, None] * zeta
    if k == 1:
        return 10 + 20 * scores
    return 5 + 25 * scores * zeta
