"""Checks of students' answers: they take the answer, and say what they got and expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from . import boost, losses, memory, probe, pruning, splits


def check(name: str, got: Any, expected: Any, tolerance: float = 1e-6) -> None:
    """Compare an answer with the expected one.

    Raises:
        AssertionError: that says what was got and what was expected.
    """
    try:
        got_array = np.asarray(got, dtype=np.float64)
    except (TypeError, ValueError):
        raise AssertionError(f"{name}: got {got!r}, which is no number or array") from None
    expected_array = np.asarray(expected, dtype=np.float64)
    if got_array.shape != expected_array.shape:
        raise AssertionError(
            f"{name}: got shape {got_array.shape}, expected shape {expected_array.shape}"
        )
    if not np.allclose(got_array, expected_array, rtol=tolerance, atol=tolerance):
        raise AssertionError(f"{name}: got {got_array}, expected {expected_array}")
    print(f"{name}: correct")


def check_class_sizes(answer: Callable[[int, int, float], list[int]]) -> None:
    """The class-size law, on three tails; `answer(largest, classes, imbalance)`."""
    for call in ((450, 100, 100.0), (900, 12, 100.0), (60, 5, 10.0)):
        check(f"class sizes {call}", answer(*call), splits.class_sizes(*call))


def check_nt_xent(answer: Callable[..., torch.Tensor]) -> None:
    """NT-Xent on random projections; `answer(first, second, temperature)` gives [B]."""
    draw = torch.Generator().manual_seed(7)
    for size, temperature in ((2, 0.5), (8, 0.2)):
        first, second = torch.randn(2, size, 16, generator=draw, dtype=torch.float64)
        expected = losses.nt_xent(first, second, temperature)
        check(f"NT-Xent of {size} samples", answer(first, second, temperature), expected)


def check_momentum_loss(answer: Callable[[list[float], float], float]) -> None:
    """The momentum loss of one sample; `answer(losses, beta)` gives its last value."""
    series = [4.0, 3.0, 3.5, 1.0]
    for beta in (0.9, 0.5, 0.0):
        kept = memory.MomentumLoss(1, beta, dtype=torch.float64)
        for loss in series:
            kept.update(torch.tensor([0]), torch.tensor([loss], dtype=torch.float64))
        check(f"momentum loss, beta {beta}", answer(series, beta), kept.value.item())


def check_balancedness(answer: Callable[[np.ndarray, np.ndarray], float]) -> None:
    """The balancedness; `answer(per_class, class_counts)` gives std over many, medium, few."""
    draw = np.random.default_rng(3)
    for classes in (10, 12):
        accuracies, counts = draw.random(classes), draw.permutation(classes) + 1
        expected = probe.group_report(accuracies, counts)["std"]
        check(f"balancedness of {classes} classes", answer(accuracies, counts), expected)


def check_magnitude_mask(answer: Callable[..., dict[str, torch.Tensor]]) -> None:
    """Masks over all layers together; `answer(weights, fraction)` gives a bool tensor per name."""
    draw = torch.Generator().manual_seed(5)
    weights = {"wide": torch.randn(4, 3, 3, 3, generator=draw), "flat": torch.ones(2, 5)}
    weights["narrow"] = 0.2 * torch.randn(7, generator=draw)
    for fraction in (0.0, 0.5, 0.9, 1.0):
        masks = answer(weights, fraction)
        for name, expected in pruning.magnitude_masks(weights, fraction).items():
            check(f"mask of {name!r}, fraction {fraction}", masks[name], expected)


def check_boost_strength(answer: Callable[[float, int, str], tuple[float, float, float]]) -> None:
    """Strengths at a score; `answer(score, k, rule)` gives the lowest, the mean and the highest."""
    draw = torch.Generator().manual_seed(6)
    for k, rule in ((1, "code"), (2, "code"), (2, "paper")):
        for score in (0.0, 0.5, 1.0):
            scores = torch.full((200_000,), score, dtype=torch.float64)
            drawn = boost.boost_strength(scores, k, rule, draw)[0]
            expected = [drawn.min(), drawn.mean(), drawn.max()]
            check(f"{rule} rule, k {k}, score {score}", answer(score, k, rule), expected, 0.03)


def check_reversed_control(answer: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """A control with the same scores in reversed order; `answer(scores)` gives [N]."""
    for size in (2, 5, 200):
        scores = torch.rand(size, generator=torch.Generator().manual_seed(size))
        expected = torch.empty_like(scores)
        expected[scores.argsort()] = scores.sort(descending=True).values
        check(f"reversed control of {size} samples", answer(scores), expected)


def check_memorization_score(answer: Callable[[np.ndarray], np.ndarray]) -> None:
    """Memorization scores; `answer(losses)` takes and gives [N], equal losses give 0.5."""
    draw = np.random.default_rng(5)
    for size in (2, 9):
        series = draw.normal(4, 1, size)
        expected = memory.memorization_score(torch.from_numpy(series))
        check(f"scores of {size} images", answer(series), expected)
    check("scores of equal losses", answer(np.full(4, 3.0)), np.full(4, 0.5))


def check_auroc(answer: Callable[[np.ndarray, np.ndarray], float]) -> None:
    """The AUROC, without and with ties; `answer(values, positive)`, [N] and bool [N]."""
    draw = np.random.default_rng(6)
    for name, values in (("distinct", draw.random(40)), ("tied", draw.integers(4, size=40))):
        positive = draw.random(40) < 0.3
        check(f"AUROC of {name} values", answer(values, positive), roc_auc_score(positive, values))
