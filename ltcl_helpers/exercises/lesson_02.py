"""Checks of the answers in lesson 02, SimCLR."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..methods import losses
from .checking import compare, compare_gradient, exercise, unchanged


@exercise(
    "unit vectors, 2B - 1 candidates without the anchor itself, the mean of both anchors.",
    "the anchor among its own candidates",
    "only the other view's B images as candidates",
    "the loss of one anchor instead of the mean of both, or no temperature",
    "a number without a gradient: detached, or computed with NumPy",
    nudge="count the candidates of one anchor, and what an image's two anchors become.",
    may_not_call=("losses.nt_xent", "nt_xent_slow"),
)
def check_nt_xent(answer: Callable[..., Tensor]) -> None:
    """NT-Xent on random projections; `answer(first, second, temperature)` gives [B]."""
    draw = torch.Generator().manual_seed(7)
    for size, dim, temperature in ((2, 16, 0.5), (8, 16, 0.2), (5, 7, 1.0)):
        views = torch.randn(2, size, dim, generator=draw, dtype=torch.float64)
        first, second = (view.clone().requires_grad_() for view in views)
        expected = losses.nt_xent(first, second, temperature)
        got = answer(first, second, temperature)
        name = f"NT-Xent of {size} samples"
        compare(name, got, expected.detach(), 1e-5)
        unchanged(name, torch.stack([first, second]), views)
        compare_gradient(name, got, expected, (first, second))


@exercise(
    "softmax of the cosines over the temperature, then the sum of its M // 10 largest.",
    "the first tenth as given, not the most similar",
    "no temperature",
    "shares of cosines, without the softmax",
    nudge="a share of what? The parts of all negatives add up to one.",
)
def check_hardest_tenth(answer: Callable[[Tensor, float], float]) -> None:
    """The hardest tenth's share of the push; `answer(negatives, temperature)`, negatives [M]."""
    draw = torch.Generator().manual_seed(8)
    for count, temperature in ((20, 0.2), (37, 0.05), (37, 1.0)):
        cosines = 2 * torch.rand(count, generator=draw, dtype=torch.float64) - 1
        weights = sorted((math.exp(c / temperature) for c in cosines.tolist()), reverse=True)
        expected = sum(weights[: count // 10]) / sum(weights)
        name = f"{count} negatives, temperature {temperature}"
        compare(name, answer(cosines.clone(), temperature), expected, 1e-4)


@exercise(
    "g / W before W; from W on half a cosine from 1 down to the floor; g counts from 1.",
    "counting updates from 0",
    "no floor at the end",
    "a straight line instead of half a cosine",
    nudge="what should the factor be at g = 1, at g = W and at g = G?",
    may_not_call=("pretrain.lr_factor",),
)
def check_lr_factor(answer: Callable[[int, int, int, float], float]) -> None:
    """The learning rate's factor; `answer(update, updates, warmup, floor)`."""
    for updates, warmup, floor in ((40, 5, 1e-3), (12, 0, 0.1), (9, 3, 0.0)):
        for g in range(1, updates + 1):
            half = 0.5 * (1 + math.cos(math.pi * (g - warmup) / (updates - warmup)))
            expected = g / warmup if g < warmup else floor + (1 - floor) * half
            name = f"update {g} of {updates}, warm-up {warmup}, floor {floor}"
            compare(name, answer(g, updates, warmup, floor), expected)
