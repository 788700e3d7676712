"""LARS: SGD whose step is scaled layer by layer, for batches of thousands."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017) as in SDCLR's repository.

    A parameter's step is scaled by trust * |w| / (|g| + weight_decay * |w|), or by 1 where a norm
    is 0; no parameter is left out. Nothing here waits for the device, so a CUDA graph can hold it.

    Args:
        params: parameters, or groups of them.
        lr: learning rate; about a thousandth of it is the share of a weight that a step changes.
        momentum: of the scaled steps.
        weight_decay: added to the gradient as weight_decay * w.
        trust: the coefficient, 0.001 as published.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,
        trust: float = 0.001,
    ) -> None:
        given = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, trust=trust)
        super().__init__(params, given)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One update of all parameters that have a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group)

    def _update(self, weight: Tensor, group: dict) -> None:
        size, slope = weight.norm(), weight.grad.norm()
        local = group["trust"] * size / (slope + group["weight_decay"] * size)
        local = torch.where((size < 1e-15) | (slope < 1e-15), torch.ones_like(local), local)
        change = weight.grad.add(weight, alpha=group["weight_decay"]).mul_(local * group["lr"])
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        weight.sub_(state["momentum_buffer"].mul_(group["momentum"]).add_(change))
