"""What an epoch's views are: SimCLR's, boosted by each sample's memorization score or a control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ..config import RunConfig
from ..recipes import AIMS, CONTROLS, ORACLES
from .autoaugment import autoaugment_view
from .classified import randaugment_view
from .randaugment import MOST, rand_augment
from .share import Cut, Share, whole
from .simclr import Look, simclr_view

AIM_CONTROLS = [CONTROLS[aim] for aim in AIMS]
# Images [B, 3, H, W] and their scores [B] to the views of the batch.
Views = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
# Images [B, 3, H, W], a generator and what else a kind takes to one view of each.
MakeView = Callable[..., Tensor]
KINDS: dict[str, MakeView] = {
    "simclr": simclr_view,
    "crop": partial(simclr_view, colour=False),
    "autoaugment": autoaugment_view,
    "randaugment": randaugment_view,
}
LOOKS = ("simclr", "crop", "randaugment")  # the kinds that a run's `Look` says something about


def make_views(
    config: RunConfig,
    scores: Tensor,
    generators: Sequence[torch.Generator],
    kinds: Sequence[str] = ("simclr", "simclr"),
    rarity: Tensor | None = None,
    cut: Cut = whole,
) -> tuple[Views, Tensor]:
    """The view function of an epoch and the scores [N] that steer it.

    The views are the same whatever the boost, which draws from the second generator: with scores
    of 0, as in epoch 1, a boosted run equals the plain one.

    Args:
        config: says the boost, its k, its rule, its scale and its noise.
        scores: [N], the memorization scores after the last epoch, or those of another aim.
        generators: two generators; the first draws the views, the second draws their boost.
        kinds: the views that the method wants, by their names in `KINDS`.
        rarity: [N] in [0, 1], as `data.splits.rarity` gives it. Only an oracle needs it.
        cut: which rows of a batch the images are; the scores are those of all of it.

    Images are [B, 3, H, W], or crops that a source has made already, uint8 [B, views, 3, H, W].
    """
    draw_views, draw_boost = generators
    makers = [_maker(config, kind) for kind in kinds]
    k = config.boost_k or 1
    rule = config.boost_rule

    def plain_views(images: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        share = Share(len(scores), cut(len(scores)))
        cropped = images.ndim == 5
        views = []
        for number, make in enumerate(makers):
            given = images[:, number] if cropped else images  # [B, 3, H, W]
            views.append(make(given, draw_views, crop=not cropped, share=share))
        return tuple(views)

    def boosted_views(images: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        views = plain_views(images, scores)

        # All strengths are drawn before any view is changed: results depend on that.
        if rule == "code":  # the published code draws once for all views of an image
            drawn = [boost_strength(scores, k, rule, draw_boost)] * len(views)
        else:
            drawn = [boost_strength(scores, k, rule, draw_boost) for _ in views]
        share = Share(len(scores), cut(len(scores)))
        boosted = []
        for view, (strength, probability) in zip(views, drawn, strict=True):
            changed = rand_augment(view, strength, probability, k, draw_boost, share)
            boosted.append(changed)
        return tuple(boosted)

    if config.boost == "none":
        return plain_views, scores

    # The scores that a boost or a control puts in the place of the memorization scores.
    steering = boost_scores(scores, config.boost, draw_boost, rarity)  # [N]
    steering = _with_dose(steering, config.boost_scale)
    steering = _with_noise(steering, config.boost_noise, draw_boost)
    return boosted_views, steering


def _maker(config: RunConfig, kind: str) -> MakeView:
    """How the run makes its views of a kind."""
    if kind == "autoaugment":
        kind = config.classified_view
    if kind not in LOOKS:
        return KINDS[kind]
    look = Look(config.crop_from, config.jitter, config.hue, config.blur)
    return partial(KINDS[kind], look=look)


def boost_scores(
    scores: Tensor,
    boost: str,
    generator: torch.Generator,
    rarity: Tensor | None = None,
) -> Tensor:
    """The scores [N] that steer an epoch's views.

    In epoch 1, when all memorization scores are 0, these are 0 whatever the boost.

    "memory" keeps the memorization scores. Its controls: "constant" gives every sample their mean,
    "shuffled" permutes them, "inverted" is 1 - score. An oracle reads labels, for analysis only:
    "oracle" gives each sample the rarity of its class, "oracle-shuffled" permutes that, and
    "oracle-values" hands the memorization scores out by rarity, the largest to the rarest.

    Another aim's scores, e.g. of "clean-loss", are kept like those of the memory; its control, e.g.
    "clean-loss-shuffled", permutes them.

    Args:
        scores: [N], the memorization scores after the last epoch, or those of another aim.
        boost: the name of the boost.
        generator: draws what is shuffled.
        rarity: [N], as for `make_views`.
    """
    if boost == "constant":
        return scores.mean().expand_as(scores)
    if boost == "shuffled" or boost in AIM_CONTROLS:
        return _shuffled(scores, generator)
    if boost == "inverted":
        return torch.where(scores.any(), 1 - scores, scores)  # zeros stay zeros
    if boost in ORACLES:
        if rarity is None:
            raise ValueError(f"boost {boost!r} needs the rarity of every sample")
        return _by_rarity(scores, boost, generator, rarity)
    return scores


def _by_rarity(scores: Tensor, boost: str, generator: torch.Generator, rarity: Tensor) -> Tensor:
    """What an oracle gives, [N]; zeros while the memorization scores are zero."""
    if boost == "oracle-values":
        # Within a class chance decides, anew in every epoch.
        order = torch.randperm(len(scores), generator=generator, device=scores.device)  # [N]
        by_rarity = rarity[order].argsort(stable=True)  # [N], places in `order`
        from_common_to_rare = order[by_rarity]  # [N], positions of samples
        handed_out = torch.empty_like(scores)
        handed_out[from_common_to_rare] = scores.sort().values
        return handed_out
    if boost == "oracle-shuffled":
        rarity = _shuffled(rarity, generator)
    return torch.where(scores.any(), rarity, scores)


def _shuffled(values: Tensor, generator: torch.Generator) -> Tensor:
    """The values [N] in an order that chance decides."""
    order = torch.randperm(len(values), generator=generator, device=values.device)
    return values[order]


def _with_dose(scores: Tensor, scale: float) -> Tensor:
    """All scores [N] times a factor; none grows beyond 1."""
    return scores if scale == 1 else (scores * scale).clamp(max=1)


def _with_noise(values: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """The values [N], where those of a share of the samples, drawn by chance, change hands."""
    if share == 0:
        return values  # and nothing is drawn: the same run as before there was noise
    order = torch.randperm(len(values), generator=generator, device=values.device)  # [N]
    some = order[: round(share * len(values))]
    mixed = values.clone()
    mixed[some] = _shuffled(values[some], generator)
    return mixed


def boost_strength(
    scores: Tensor,
    k: int,
    rule: str,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Strength in [0, 30] and probability in [0, 1] of samples with these scores [B].

    The probability is the score. `zeta` of `strength_of` is uniform: with rule "code" it is [B],
    the same number for all views of an image; with rule "paper" it is [B, k], a number for each
    operation of each view.
    """
    shape: tuple[int, ...] = (len(scores),)
    if rule == "paper":
        shape = (len(scores), k)
    zeta = torch.rand(shape, generator=generator, device=scores.device)
    strength = strength_of(scores, zeta, k, rule)
    return strength, scores


def strength_of(scores: Tensor, zeta: Tensor, k: int, rule: str) -> Tensor:
    """Strength, shaped like `zeta`, of samples with these scores [B].

    Rule "code" is the published code's: 10 + 20 * score for k = 1, and for larger k
    5 + 25 * score * zeta. Rule "paper" is 30 * score * zeta.
    """
    if rule == "paper":
        return MOST * scores[:, None] * zeta  # [B, k]
    if k == 1:
        return 10 + 20 * scores  # [B]
    return 5 + 25 * scores * zeta  # [B]
