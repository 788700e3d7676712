"""Checks of the answers in lesson 09, MoCo."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from ..methods import losses
from .checking import compare, compare_gradient, exercise, require, unchanged


@exercise(
    "normalise query and key; the positive is column 0, and the right answer is always 0.",
    "query and key not normalised",
    "the positive left out of the denominator",
    "not divided by the temperature",
    "a number without a gradient: detached, or computed with NumPy",
    nudge="how many candidates has a query, and which of them is the right one?",
    may_not_call=("losses.info_nce", "info_nce_slow"),
)
def check_info_nce(answer: Callable[..., torch.Tensor]) -> None:
    """InfoNCE with a queue; `answer(query, key, queue, temperature)` gives [B]."""
    draw = torch.Generator().manual_seed(8)
    for size, negatives, temperature in ((3, 40, 0.5), (8, 40, 0.2), (5, 7, 1.0)):
        views = torch.randn(2, size, 16, generator=draw, dtype=torch.float64)
        query, key = (view.clone().requires_grad_() for view in views)
        queue = torch.randn(16, negatives, generator=draw, dtype=torch.float64)
        queue = F.normalize(queue, dim=0)
        expected = losses.info_nce(query, key, queue, temperature)
        got = answer(query, key, queue.clone(), temperature)
        name = f"InfoNCE of {size} queries against {negatives} negatives"
        compare(name, got, expected.detach())
        unchanged(name, torch.stack([query, key]), views)
        compare_gradient(name, got, expected, (query,))


@exercise(
    "columns (place + arange(B)) % K, written in place; the next place is modulo K, too.",
    "a new queue instead of the old one",
    "the place not taken modulo K",
    "keys written from column 0 every time",
    "the sizes of one queue or one batch written into the function",
    nudge="which columns get the keys when only one column is left before the end?",
)
def check_ring(answer: Callable[[torch.Tensor, torch.Tensor, int], int]) -> None:
    """A ring that is overwritten in place; `answer(queue, keys, place)` gives the next place."""
    for columns, batch, dim in ((6, 4, 2), (7, 3, 2), (5, 5, 3), (8, 1, 2)):
        queue, place = torch.zeros(dim, columns), 0
        expected = queue.clone()
        address = queue.data_ptr()
        for step in range(1, 6):
            keys = step + torch.arange(batch * dim).view(batch, dim) / 100  # [B, D]
            for k in range(batch):
                expected[:, (batch * (step - 1) + k) % columns] = keys[k]
            place = answer(queue, keys, place)
            name = f"step {step}, {batch} keys into {columns} columns"
            compare(f"place after {name}", place, batch * step % columns)
            compare(f"queue after {name}", queue, expected)
        require(queue.data_ptr() == address, "the queue has moved in memory")
