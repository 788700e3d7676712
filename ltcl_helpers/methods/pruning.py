"""Magnitude masks over all convolutions, and the pruned branch with its own batch norm."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..networks.batchnorm import replace_modules


def magnitude_masks(
    weights: Mapping[str, Tensor],
    fraction: float,
    random_fraction: float = 0.0,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Masks of the weights that stay: the largest of all layers together (Jiang et al. 2021).

    Of P weights P - ceil(fraction * P) stay, and at least one; all that tie with the smallest
    of them stay, too.

    Args:
        weights: any shapes, by name.
        fraction: share to prune, in [0, 1].
        random_fraction: the part of it that is drawn by chance instead of by size.
        generator: draws that part, on the weights' device.

    Returns one bool tensor per name, laid out in memory as its weight. Raises ValueError for a
    share that is not allowed.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is {fraction}; allowed is 0 <= fraction <= 1")
    if not 0 <= random_fraction <= fraction:
        raise ValueError(f"random_fraction is {random_fraction}; allowed is 0 to {fraction}")
    if random_fraction and generator is None:
        raise ValueError("random_fraction needs a generator")

    # By size: one threshold for all layers.
    flat = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])  # [P]
    total = len(flat)
    pruned = math.ceil((fraction - random_fraction) * total)
    threshold = _smallest(flat, min(pruned, total - 1), by_sorting=flat.is_cuda)
    keep = flat >= threshold

    # By chance: a share of those that are left.
    if random_fraction:
        share = math.ceil(random_fraction * total) / (total - pruned)
        keep &= torch.rand(total, generator=generator, device=flat.device) >= share

    masks = {}
    sizes = [weight.numel() for weight in weights.values()]
    for (name, weight), part in zip(weights.items(), keep.split(sizes), strict=True):
        # Another layout than the weight's would cost a slow product in every step.
        mask = torch.empty_like(weight, dtype=torch.bool)
        masks[name] = mask.copy_(part.view(weight.shape))
    return masks


def _smallest(values: Tensor, position: int, by_sorting: bool) -> Tensor:
    """The value at `position`, from 0, of the sorted ones; a GPU is far quicker at sorting all."""
    if by_sorting:
        return values.sort().values[position]
    return values.kthvalue(position + 1).values


class DualBatchNorm(nn.Module):
    """Two batch norms, each with parameters and statistics of its own; one is in use."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.dense = norm
        self.pruned = copy.deepcopy(norm)
        self.use_pruned = False

    def forward(self, x: Tensor) -> Tensor:
        """Whatever the batch norm takes and gives."""
        norm = self.pruned if self.use_pruned else self.dense
        y: Tensor = norm(x)
        return y


def make_dual(module: nn.Module) -> nn.Module:
    """Give every batch norm in `module` a twin for the pruned branch; changes it in place."""
    return replace_modules(module, nn.modules.batchnorm._BatchNorm, DualBatchNorm)


def make_single(module: nn.Module, pruned: bool = False) -> nn.Module:
    """A copy of a dual module with plain batch norms: the dense branch's, or the pruned one's."""
    choose = (lambda pair: pair.pruned) if pruned else (lambda pair: pair.dense)
    return replace_modules(copy.deepcopy(module), DualBatchNorm, choose)


def prunable(module: nn.Module) -> dict[str, Tensor]:
    """The weights that pruning may touch, by name: those of all convolutions and nothing else."""
    layers = {n: m for n, m in module.named_modules() if isinstance(m, nn.Conv2d)}
    return {f"{name}.weight": layer.weight for name, layer in layers.items()}


def apply_masks(module: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """Set the pruned weights of `module` to zero, in place."""
    with torch.no_grad():
        for name, weight in prunable(module).items():
            weight.mul_(masks[name])
    return module


def pruned_forward(module: nn.Module, masks: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """`module(x)` with masked weights and the pruned batch norms.

    A masked weight gets no gradient from here: its factor is zero.
    """
    weights = {name: weight * masks[name] for name, weight in prunable(module).items()}
    pairs = [m for m in module.modules() if isinstance(m, DualBatchNorm)]
    for pair in pairs:
        pair.use_pruned = True
    try:
        outputs: Tensor = functional_call(module, weights, (x,))
        return outputs
    finally:
        for pair in pairs:
            pair.use_pruned = False
