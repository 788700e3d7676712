"""Checks of students' answers in the lessons on MoCo and on Balanced CL."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from . import losses
from .checking import compare, exercise, require


@exercise(
    "normalise query and key; the positive is column 0, and the right answer is always 0.",
    "query and key not normalised",
    "the positive left out of the denominator",
    "not divided by the temperature",
)
def check_info_nce(answer: Callable[..., torch.Tensor]) -> None:
    """InfoNCE with a queue; `answer(query, key, queue, temperature)` gives [B]."""
    draw = torch.Generator().manual_seed(8)
    for size, temperature in ((3, 0.5), (8, 0.2)):
        query, key = torch.randn(2, size, 16, generator=draw, dtype=torch.float64)
        queue = F.normalize(torch.randn(16, 40, generator=draw, dtype=torch.float64), dim=0)
        expected = losses.info_nce(query, key, queue, temperature)
        got = answer(query, key, queue, temperature)
        compare(f"InfoNCE of {size} queries against 40 negatives", got, expected)


@exercise(
    "columns (place + arange(B)) % K, written in place; the next place is modulo K, too.",
    "a new queue instead of the old one",
    "the place not taken modulo K",
    "keys written from column 0 every time",
)
def check_ring(answer: Callable[[torch.Tensor, torch.Tensor, int], int]) -> None:
    """A ring that is overwritten in place; `answer(queue, keys, place)` gives the next place."""
    queue, expected, place = torch.zeros(2, 6), torch.zeros(2, 6), 0
    address = queue.data_ptr()
    for step in range(1, 6):
        keys = torch.tensor([[step, 0.1 * k] for k in range(4)])  # [4, 2]
        for k in range(4):
            expected[:, (4 * (step - 1) + k) % 6] = keys[k]
        place = answer(queue, keys, place)
        compare(f"place after step {step}", place, 4 * step % 6)
        compare(f"queue after step {step}", queue, expected)
    require(queue.data_ptr() == address, "the queue has moved in memory")


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
