"""Checks of the answers in lesson 04, memorization."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from ..methods import memory
from .checking import compare, exercise


@exercise(
    "epoch s > 1 weighs (1 - beta) beta ** (t - s), epoch 1 weighs beta ** (t - 1); they add to 1.",
    "the first epoch weighed like all others",
    "beta and 1 - beta exchanged",
    "the plain mean",
    nudge="write out two epochs, then three; what stands before the first loss?",
    may_not_call=("memory.MomentumLoss", "momentum_by_hand"),
)
def check_momentum_loss(answer: Callable[[list[float], float], float]) -> None:
    """The momentum loss of one sample; `answer(losses, beta)` gives its last value."""
    for series in ([4.0, 3.0, 3.5, 1.0], [2.5], [1.0, 2.0, 0.5, 4.0, 3.0, 0.0, 2.0]):
        for beta in (0.9, 0.5, 0.0):
            kept = memory.MomentumLoss(1, beta, dtype=torch.float64)
            for loss in series:
                kept.update(torch.tensor([0]), torch.tensor([loss], dtype=torch.float64))
            name = f"{len(series)} epochs, beta {beta}"
            compare(name, answer(list(series), beta), kept.value.item())


@exercise(
    "minus the mean, over the largest distance from it, then (1 + z) / 2; 0.5 for equal losses.",
    "from the smallest to the largest loss (min-max)",
    "the largest or the smallest loss instead of the largest distance",
    "0 / 0 when all losses are equal",
    nudge="which score has the mean loss, and which image is farthest from it?",
    may_not_call=("memory.memorization_score", "score_by_hand"),
)
def check_memorization_score(answer: Callable[[np.ndarray], np.ndarray]) -> None:
    """Memorization scores; `answer(losses)` takes and gives [N], equal losses give 0.5."""
    draw = np.random.default_rng(5)
    for size in (2, 9, 40):
        low = 9 - draw.gamma(2, 1, size)  # the smallest loss is the farthest from the mean
        for series in (low, 18 - low):  # then the largest one is
            expected = memory.memorization_score(torch.from_numpy(series))
            compare(f"scores of {size} images", answer(series.copy()), expected)
    compare("scores of equal losses", answer(np.full(4, 3.0)), np.full(4, 0.5))


@exercise(
    "the mean over all pairs of a positive and another: 1 if larger, 0.5 for a tie.",
    "ties that count nothing, or one",
    "negative and positive exchanged",
    "the accuracy at one threshold",
    nudge="how many duels are there, and what does a tie score?",
    may_not_call=("roc_auc_score", "auroc"),
)
def check_auroc(answer: Callable[[np.ndarray, np.ndarray], float]) -> None:
    """The AUROC, without and with ties; `answer(values, positive)`, [N] and bool [N]."""
    draw = np.random.default_rng(6)
    tried = {
        "distinct": draw.random(40),
        "tied": draw.integers(4, size=40),
        "negative": draw.random(25) - 2,
    }
    for name, values in tried.items():
        positive = draw.random(len(values)) < 0.3
        expected = roc_auc_score(positive, values)
        compare(f"AUROC of {name} values", answer(values.copy(), positive.copy()), expected)
