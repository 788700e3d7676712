"""Numbers that are none: losses and weights are checked before an epoch is written down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Done(NamedTuple):
    """What is known of a step that was done."""

    total: Tensor  # [], the sum of the losses of the epoch so far
    index: Tensor  # type: ignore[assignment]  # int64 [B]; hides a method that nobody calls
    lr: float


class Fault(NamedTuple):
    """A step that left the numbers."""

    what: str  # for a sentence: "a loss is"
    step: int  # of the epoch, from 1
    lr: float  # of that step
    samples: list[int]  # whose losses are not finite; the step's whole batch for weights


def find_fault(trail: Sequence[Done], memory: Tensor, weights: Any) -> Fault | None:
    """What of an epoch was not finite: the losses of a step, or else the weights at its end.

    Args:
        trail: the steps of the epoch, in order.
        memory: [N], the momentum losses, which every sample's loss went into.
        weights: nested dicts of what a run learns, the optimizer's state too.
    """
    fault = _find_loss(trail, memory)
    if fault is not None:
        return fault
    if _is_finite(weights):
        return None
    if not trail:  # a run of no epochs
        return Fault("weights are", 0, 0.0, [])
    last = trail[-1]
    return Fault("weights are", len(trail), last.lr, last.index.tolist())


def _find_loss(trail: Sequence[Done], memory: Tensor) -> Fault | None:
    """The first step whose losses were not finite.

    A sum that is not finite stays so. So the first such sum names the step, and all sums are read
    from the device in one go.
    """
    if not trail:
        return None
    totals = torch.stack([step.total for step in trail])  # [steps]
    is_whole = totals.isfinite().tolist()
    if all(is_whole):
        return None
    first = is_whole.index(False)
    step = trail[first]
    lost = step.index[~memory[step.index].isfinite()].tolist()
    samples = lost or step.index.tolist()  # the whole batch, where the memory names nobody
    return Fault("a loss is", first + 1, step.lr, samples)


def _is_finite(weights: Any) -> bool:
    """Whether all floating-point tensors are; one transfer from the device."""
    found = [part.isfinite().all() for part in _tensors(weights) if part.is_floating_point()]
    return not found or bool(torch.stack(found).all())


def _tensors(state: Any) -> Iterator[Tensor]:
    """All tensors in nested dicts, lists and tuples."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        yield from _tensors(list(state.values()))
    elif isinstance(state, list | tuple):
        for part in state:
            yield from _tensors(part)
