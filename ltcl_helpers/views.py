"""What an epoch's views are: SimCLR's, boosted by each sample's memorization score or a control."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .augment import simclr_view
from .boost import MOST, rand_augment
from .config import RunConfig

Views = Callable[[Tensor, Tensor], tuple[Tensor, ...]]  # images and scores [B] to their views
KINDS = {"simclr": simclr_view}  # how a view is made of (images, generator), by its kind


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
        generators: of the views, and of their boost.
        kinds: of the views that the method wants, by `KINDS`.
    """
    draw, boost = generators
    k, rule = config.boost_k or 1, config.boost_rule

    def plain_views(images: Tensor, _: Tensor) -> tuple[Tensor, ...]:
        return tuple(KINDS[kind](images, draw) for kind in kinds)

    def boosted_views(images: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        strength, probability = boost_strength(scores, k, rule, boost)  # shared by all views
        views = plain_views(images, scores)
        return tuple(rand_augment(view, strength, probability, k, boost) for view in views)

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
    """Strength in [0, 30] and probability in [0, 1], [B] each, of samples with these scores [B].

    Rule "code" is the published code's: strength 10 + 20 * score for k = 1, and for larger k
    5 + 25 * score * zeta with zeta uniform, once per image. Rule "paper" is 30 * score * zeta.
    """
    zeta = torch.rand(len(scores), generator=generator, device=scores.device)
    if rule == "paper":
        return MOST * scores * zeta, scores
    return (10 + 20 * scores if k == 1 else 5 + 25 * scores * zeta), scores
