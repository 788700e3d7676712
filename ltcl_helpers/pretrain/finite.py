"""Numbers that are none: losses and weights are checked before an epoch is written down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Fault(NamedTuple):
    """A step that left the numbers."""

    what: str  # for a sentence: "a loss is"
    step: int  # of the epoch, from 1
    lr: float  # of that step
    samples: list[int]  # whose losses are not finite; the step's whole batch for weights


def find_fault(
    trail: Sequence[tuple[Tensor, Tensor, float]], memory: Tensor, weights: Any
) -> Fault | None:
    """The first step of an epoch that was not finite; else whether it left such weights behind.

    A sum that is not finite stays so. So the first one names the step, and all of them are read
    from the device in one go.

    Args:
        trail: sum of the losses so far, index [B] and learning rate of each step of the epoch.
        memory: [N], what every sample's loss went into.
        weights: nested dicts of what a run learns, the optimizer's state too.
    """
    if trail:
        whole = torch.stack([total for total, _, _ in trail]).isfinite().tolist()
        if not all(whole):
            first = whole.index(False)
            _, index, lr = trail[first]
            lost = index[~memory[index].isfinite()]
            return Fault("a loss is", first + 1, lr, lost.tolist() or index.tolist())
    if _is_finite(weights):
        return None
    if not trail:
        return Fault("weights are", 0, 0.0, [])
    _, index, lr = trail[-1]
    return Fault("weights are", len(trail), lr, index.tolist())


def _is_finite(weights: Any) -> bool:
    """Whether all floating-point tensors are; one transfer from the device."""
    found = [part.isfinite().all() for part in _tensors(weights) if part.is_floating_point()]
    return not found or bool(torch.stack(found).all())


def _tensors(state: Any) -> Iterator[Tensor]:
    """All tensors in nested dicts, lists and tuples."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict | list | tuple):
        for part in state.values() if isinstance(state, dict) else state:
            yield from _tensors(part)
