"""Training steps as CUDA graphs: many small kernels without the time it takes to launch them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Step = Callable[[Tensor], Tensor]  # index [B] to the sum of the samples' losses


class GraphedSteps:
    """Runs training steps, from the fourth of a batch size on by replaying a CUDA graph.

    A graph repeats kernels on fixed addresses: whatever a step reads must stay one tensor that is
    changed in place. The learning rate becomes such a tensor here.

    Args:
        optimizer: makes the updates of the steps.
        generators: all that the steps draw from, on the GPU.
    """

    EAGER = 3  # in the first steps of a size the libraries choose their kernels

    def __init__(
        self, optimizer: torch.optim.Optimizer, generators: Sequence[torch.Generator]
    ) -> None:
        torch.backends.cudnn.benchmark = True  # its fastest kernels for the shapes of these steps
        self.generators = generators
        self.seen: Counter[int] = Counter()
        self.captured: dict[int, tuple[Callable[[], None], Tensor, Tensor]] = {}
        self.stream: torch.cuda.Stream | None = None  # of all steps but replays, captures too
        group = optimizer.param_groups[0]
        group["lr"] = torch.as_tensor(group["lr"]).to(group["params"][0].device, torch.float32)

    def __call__(self, step: Step, index: Tensor) -> Tensor:
        """`step(index)`; a replay overwrites what the last one of that size gave."""
        size = len(index)
        self.seen[size] += 1
        if self.seen[size] <= self.EAGER:
            return self._on_side_stream(step, index)
        if size not in self.captured:
            given = index.clone()
            self.captured[size] = *self._capture(step, given), given
        replay, result, given = self.captured[size]
        given.copy_(index)
        replay()
        return result

    def _on_side_stream(self, step: Step, index: Tensor) -> Tensor:
        """Not on the default stream: a capture may not wait for work that was begun there.

        On one stream: memory that a step gives back serves the next step of that stream only.
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
