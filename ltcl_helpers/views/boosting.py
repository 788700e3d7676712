"""What an epoch's views are: SimCLR's, boosted by each sample's memorization score or a control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ..config import RunConfig
from ..recipes import ORACLES
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
    rarity: Tensor | None = None,
) -> tuple[Views, Tensor]:
    """The view function of an epoch and the scores [N] that steer it.

    The views are the same whatever the boost, which draws from the second generator: with scores
    of 0, as in epoch 1, a boosted run equals the plain one.

    Args:
        config: says the boost, its k and its rule.
        scores: memorization scores [N] after the last epoch.
        generators: one that draws the views, one that draws their boost.
        kinds: the views that the method wants, by their names in `KINDS`.
        rarity: [N] in [0, 1], needed by an oracle only, as `data.splits.rarity` gives it.
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
    steering = boost_scores(scores, config.boost, boost, rarity)
    if config.boost_scale != 1:
        steering = (steering * config.boost_scale).clamp(max=1)
    return boosted_views, steering


def boost_scores(
    scores: Tensor, boost: str, generator: torch.Generator, rarity: Tensor | None = None
) -> Tensor:
    """The scores [N] that steer an epoch's views. Before the first ones, all are 0.

    "memory" keeps the memorization scores. Its controls: "constant" gives every sample their mean,
    "shuffled" permutes them, "inverted" is 1 - score. An oracle reads labels, for analysis only:
    "oracle" gives each sample the rarity of its class, "oracle-shuffled" permutes that, and
    "oracle-values" hands the memorization scores out by rarity, the largest to the rarest.
    """
    if boost == "constant":
        return scores.mean().expand_as(scores)
    if boost == "shuffled":
        return _shuffled(scores, generator)
    if boost == "inverted":
        return torch.where(scores.any(), 1 - scores, scores)
    if boost in ORACLES:
        if rarity is None:
            raise ValueError(f"boost {boost!r} needs the rarity of every sample")
        return _by_rarity(scores, boost, generator, rarity)
    return scores


def _by_rarity(scores: Tensor, boost: str, generator: torch.Generator, rarity: Tensor) -> Tensor:
    """What an oracle gives, [N]; zeros while the memorization scores are zero."""
    if boost == "oracle-values":
        # Within a class chance decides, anew in every epoch.
        order = torch.randperm(len(scores), generator=generator, device=scores.device)
        from_common_to_rare = order[rarity[order].argsort(stable=True)]
        handed_out = torch.empty_like(scores)
        handed_out[from_common_to_rare] = scores.sort().values
        return handed_out
    if boost == "oracle-shuffled":
        rarity = _shuffled(rarity, generator)
    return torch.where(scores.any(), rarity, scores)


def _shuffled(values: Tensor, generator: torch.Generator) -> Tensor:
    return values[torch.randperm(len(values), generator=generator, device=values.device)]


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
