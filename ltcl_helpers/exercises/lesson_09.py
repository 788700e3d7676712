"""Checks of the answers in lesson 09, MoCo."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from ..methods import losses
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
