"""Batch norm in groups: one device that behaves as several do (MoCo's shuffled batch norm)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SplitBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that normalises each group of a batch by itself, as each of several GPUs does.

    In training the batch is cut into `groups` blocks of near-equal size; the running statistics
    take in the mean over the blocks. In eval mode it is its parent.
    """

    groups = 8

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        if not self.training:
            return super().forward(x)
        statistics = [s.repeat(self.groups, 1) for s in (self.running_mean, self.running_var)]
        options = dict(training=True, momentum=self.momentum, eps=self.eps)
        small, more = divmod(len(x), self.groups)
        # `split`, not `tensor_split`: its backward writes the gradient once, not once per group.
        blocks = x.split([small + (group < more) for group in range(self.groups)])
        parts = [
            F.batch_norm(block, mean, var, self.weight, self.bias, **options)
            for block, mean, var in zip(blocks, *statistics, strict=True)
        ]
        with torch.no_grad():
            self.running_mean.copy_(statistics[0].mean(0))
            self.running_var.copy_(statistics[1].mean(0))
            self.num_batches_tracked += 1
        return torch.cat(parts)


def split_batch_norms(module: nn.Module, groups: int) -> nn.Module:
    """Let every 2-D batch norm of `module` work in groups; changes it in place, keeps its state."""

    def split(norm: nn.Module) -> nn.Module:
        own = SplitBatchNorm2d(norm.num_features, norm.eps, norm.momentum)
        own.to(norm.weight)  # its device and its type
        own.load_state_dict(norm.state_dict())
        own.groups = groups
        return own.train(norm.training)

    return replace_modules(module, nn.BatchNorm2d, split)


def replace_modules(
    module: nn.Module, kind: type[nn.Module], change: Callable[[nn.Module], nn.Module]
) -> nn.Module:
    """Replace every part of `module` that is of a kind by what `change` makes of it, in place."""
    for name, child in module.named_children():
        if isinstance(child, kind):
            setattr(module, name, change(child))
        else:
            replace_modules(child, kind, change)
    return module
