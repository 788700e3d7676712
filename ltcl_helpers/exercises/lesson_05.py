"""Checks of the answers in lesson 05, boosted views."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..views import randaugment
from ..views.boosting import boost_strength
from .checking import compare, exercise


@exercise(
    "zeta = 0, 1/2 and 1; only the code's rule with k = 1 has no zeta.",
    "the floor of k = 1 for every k",
    "a floor in the paper's rule",
    "the highest strength as the mean",
    "no zeta for k = 1 under the paper's rule",
    nudge="for which k and which rule does zeta play a part?",
    may_not_call=("boost_strength",),
)
def check_boost_strength(answer: Callable[[float, int, str], tuple[float, float, float]]) -> None:
    """Strengths at a score; `answer(score, k, rule)` gives the lowest, the mean and the highest."""
    draw = torch.Generator().manual_seed(6)
    for k, rule in ((1, "code"), (2, "code"), (3, "code"), (1, "paper"), (2, "paper")):
        for score in (0.0, 0.3, 0.5, 1.0):
            scores = torch.full((200_000,), score, dtype=torch.float64)
            drawn = boost_strength(scores, k, rule, draw)[0]
            expected = [drawn.min(), drawn.mean(), drawn.max()]
            compare(f"{rule} rule, k {k}, score {score}", answer(score, k, rule), expected, 0.03)


@exercise(
    "keep int(4 + 4 m / 30) bits: divide whole grey levels by 2 ** (8 - bits), floor, multiply.",
    "rounding to the nearest level instead of dropping the low bits",
    "the range read backwards: fewer bits for a larger strength",
    "bits of a number in [0, 1] instead of a grey level",
    nudge="how many levels become one when 5 of 8 bits stay? And which of them?",
    may_not_call=("rand_augment", "apply_rand_augment"),
)
def check_posterize(answer: Callable[[Tensor, float], Tensor]) -> None:
    """Posterize; `answer(image, strength)`, image [3, H, W] in [0, 1] in and out."""
    draw = torch.Generator().manual_seed(9)
    image = torch.randint(256, (3, 5, 8), generator=draw) / 255
    code = torch.tensor([[randaugment.CODE["Posterize"]]])
    chosen = randaugment.draw_rand_augment(1, 1, draw)._replace(operation=code)
    for strength in (0.0, 5.0, 10.0, 20.0, 25.0, 30.0):
        full = torch.tensor([strength]), torch.ones(1)
        expected = randaugment.apply_rand_augment(image[None], *full, chosen)[0]
        compare(f"posterize at {strength:g}", answer(image.clone(), strength), expected, 1e-5)


@exercise(
    "used[scores.argsort()] = scores, sorted largest first: the order turns, the set stays.",
    "1 - score, which mirrors the shape, too",
    "the list read backwards, whoever owns a score",
    "sorted scores that nobody owns",
    nudge="which sample has the smallest score, and what must it get?",
    may_not_call=("boost_scores",),
)
def check_reversed_control(answer: Callable[[Tensor], Tensor]) -> None:
    """A control with the same scores in reversed order; `answer(scores)` gives [N]."""
    for size in (2, 5, 200):
        scores = torch.rand(size, generator=torch.Generator().manual_seed(size)) ** 2
        expected = torch.empty_like(scores)
        expected[scores.argsort()] = scores.sort(descending=True).values
        compare(f"reversed control of {size} samples", answer(scores.clone()), expected)
