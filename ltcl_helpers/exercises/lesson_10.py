"""Checks of the answers in lesson 10, Balanced CL."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from ..methods import losses
from .checking import compare, exercise


@exercise(
    "add log(count / total) to each logit; while training, not while testing.",
    "subtracted instead of added",
    "log of the count without the total",
    "the share itself instead of its log",
)
def check_compensation(answer: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    """Logits compensated for class sizes; `answer(logits, class_counts)` gives [B, C]."""
    draw = torch.Generator().manual_seed(9)
    for counts in ([50, 50], [900, 90, 9]):
        logits = torch.randn(4, len(counts), generator=draw, dtype=torch.float64)
        expected = losses.compensate_logits(logits, torch.tensor(counts))
        got = answer(logits.clone(), torch.tensor(counts))
        compare(f"compensation for {counts}", got, expected)


def simplex_cosine(classes: int) -> float:
    """The cosine between any two of `classes` class means that are as far apart as can be."""
    return -1 / (classes - 1)


@exercise(
    "0 = C + C (C - 1) c, from the square of the sum.",
    "1 / (C - 1), with the wrong sign",
    "-1 / C",
    "0, as for orthogonal vectors",
)
def check_simplex_cosine(answer: Callable[[int], float]) -> None:
    """Cosine between two corners of the regular simplex; `answer(classes)`."""
    for classes in (2, 3, 12, 100):
        # Unit vectors of R^C moved to their mean: the corners of a regular simplex.
        corners = torch.eye(classes, dtype=torch.float64) - 1 / classes
        cosine = F.cosine_similarity(corners[0], corners[1], dim=0)
        compare(f"simplex of {classes} classes", answer(classes), cosine)


@exercise(
    "averaged, each class counts as one of two; else it counts by its members.",
    "averaging and no averaging exchanged",
    "the other class's share",
    "the ratio of the two instead of the share",
)
def check_class_weight(answer: Callable[[int, int, bool], float]) -> None:
    """A class's share of the denominator; `answer(members, others, averaging)`, all exp equal."""
    for members, others in ((1, 1), (200, 2)):
        for averaging in (False, True):
            expected = 0.5 if averaging else members / (members + others)
            name = "with" if averaging else "without"
            compare(
                f"{members} against {others} {name} averaging",
                answer(members, others, averaging),
                expected,
            )
