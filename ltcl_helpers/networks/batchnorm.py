"""Batch norm in groups: one device that behaves as several do (MoCo's shuffled batch norm)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError


class SplitBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that normalises each group of a batch by itself, as each of several GPUs does.

    In training the batch is cut into `groups` blocks of near-equal size; the running statistics
    take in the mean over the blocks. In eval mode it is its parent.
    """

    groups = 8  # as many as the published MoCo had GPUs
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        if not self.training:
            return super().forward(x)

        # Every group begins with the same running statistics.
        means = self.running_mean.repeat(self.groups, 1)  # [groups, C]
        variances = self.running_var.repeat(self.groups, 1)  # [groups, C]

        # `split`, not `tensor_split`: its backward writes the gradient once, not once per group.
        sizes = _group_sizes(len(x), self.groups)
        blocks = x.split(sizes)  # [size, C, H, W] each
        parts = []
        for block, mean, variance in zip(blocks, means, variances, strict=True):
            part = F.batch_norm(
                block,
                mean,  # [C], changed in place
                variance,  # [C], changed in place
                self.weight,
                self.bias,
                training=True,
                momentum=self.momentum or 0.0,
                eps=self.eps,
            )
            parts.append(part)

        # Afterwards they hold the mean over the groups.
        with torch.no_grad():
            self.running_mean.copy_(means.mean(0))
            self.running_var.copy_(variances.mean(0))
            self.num_batches_tracked += 1
        return torch.cat(parts)  # [B, C, H, W]


def _group_sizes(count: int, groups: int) -> list[int]:
    """Sizes of `groups` groups of `count` samples, the larger ones first."""
    size, left_over = divmod(count, groups)
    return [size + 1] * left_over + [size] * (groups - left_over)


def split_batch_norms(module: nn.Module, groups: int) -> nn.Module:
    """Let every 2-D batch norm of `module` work in groups; changes it in place, keeps its state.

    Raises:
        ConfigError: for a kind of batch norm that does more than normalise.
    """

    def split(norm: nn.Module) -> nn.Module:
        assert isinstance(norm, nn.BatchNorm2d)
        refuse_more_than_a_norm(norm)
        grouped = SplitBatchNorm2d(norm.num_features, norm.eps, norm.momentum)
        grouped.to(norm.weight)  # its device and its type
        grouped.load_state_dict(norm.state_dict())
        grouped.groups = groups
        return grouped.train(norm.training)

    return replace_modules(module, nn.BatchNorm2d, split)


def does_more(norm: nn.Module) -> bool:
    """Whether a batch norm has a step of its own, e.g. timm's, which hold an activation."""
    return isinstance(norm, nn.BatchNorm2d) and type(norm).forward is not nn.BatchNorm2d.forward


def refuse_more_than_a_norm(norm: nn.Module) -> None:
    """Raise a ConfigError where a plain batch norm in place of this one would lose something."""
    if does_more(norm):
        raise ConfigError(
            f"network has a batch norm of kind {type(norm).__name__}, which does more than "
            "normalise, so it cannot be made one in groups (moco-v1, moco-v2) or of several ranks; "
            "take another network, e.g. torchvision:resnet50, or another method on one device"
        )


def replace_modules(
    module: nn.Module,
    kind: type[nn.Module],
    change: Callable[[nn.Module], nn.Module],
) -> nn.Module:
    """Replace every part of `module` that is of a kind by what `change` makes of it, in place.

    What is replaced is not searched for further parts of the kind.
    """
    for name, child in module.named_children():
        if isinstance(child, kind):
            setattr(module, name, change(child))
        else:
            replace_modules(child, kind, change)
    return module
