"""Training steps as CUDA graphs: many small kernels without the time it takes to launch them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Step = Callable[[Tensor], Tensor]  # index [B] to the sum of the samples' losses, []


class Captured(NamedTuple):
    """A step of one batch size as a graph, with the tensors that it reads and writes."""

    replay: Callable[[], None]  # does the step again
    given: Tensor  # [B], where a replay reads its index
    result: Tensor  # [], where it leaves the sum of the losses


class GraphedSteps:
    """Runs training steps, from the fourth of a batch size on by replaying a CUDA graph.

    A graph repeats kernels on fixed addresses: whatever a step reads must stay one tensor that is
    changed in place. The learning rate becomes such a tensor here.

    Args:
        optimizer: makes the updates of the steps.
        generators: all generators that the steps draw from, on the GPU.
    """

    EAGER = 3  # steps of a size before its capture: in these the libraries choose their kernels

    def __init__(
        self, optimizer: torch.optim.Optimizer, generators: Sequence[torch.Generator]
    ) -> None:
        torch.backends.cudnn.benchmark = True  # its fastest kernels for the shapes of these steps
        self.generators = generators
        self.seen: Counter[int] = Counter()  # steps so far, by batch size
        self.captured: dict[int, Captured] = {}  # by batch size
        self.stream: torch.cuda.Stream | None = None  # of all steps but replays, captures too

        # A number would be recorded as it is now; a tensor is read at each replay.
        group = optimizer.param_groups[0]
        device = group["params"][0].device
        group["lr"] = torch.as_tensor(group["lr"]).to(device, torch.float32)

    def __call__(self, step: Step, index: Tensor) -> Tensor:
        """`step(index)`. The next replay of a batch size overwrites the result of the last."""
        size = len(index)
        self.seen[size] += 1
        if self.seen[size] <= self.EAGER:
            return self._on_side_stream(step, index)
        if size not in self.captured:
            given = index.clone()
            replay, result = self._capture(step, given)
            self.captured[size] = Captured(replay, given, result)
        captured = self.captured[size]
        captured.given.copy_(index)
        captured.replay()
        return captured.result

    def _on_side_stream(self, step: Step, index: Tensor) -> Tensor:
        """`step(index)` on a stream of its own.

        Not on the default stream, since a capture may not wait for work that was begun there. On
        the same stream for all steps, since memory that a step gives back serves only the next
        step of its stream.
        """
        self.stream = self.stream or torch.cuda.Stream()
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = step(index)
        torch.cuda.current_stream().wait_stream(self.stream)
        return result

    def _capture(self, step: Step, given: Tensor) -> tuple[Callable[[], None], Tensor]:
        """A function that repeats `step(given)`, and the tensor that holds its result."""
        graph = torch.cuda.CUDAGraph()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer torch finds the generators by itself
            for generator in self.generators:
                graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=self.stream):  # records, computes nothing
            result = step(given)
        return graph.replay, result


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate, in place where a graph reads it."""
    group = optimizer.param_groups[0]
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr
