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

    Of P weights P - ceil(fraction * P) stay, and at least one. Weights that tie with the smallest
    of these stay, too.

    Args:
        weights: tensors of any shapes, by name.
        fraction: the share of the weights to prune, in [0, 1].
        random_fraction: the part of that share that is drawn by chance instead of by size.
        generator: draws that part, on the weights' device.

    Returns:
        One bool tensor per name, laid out in memory as its weight, True where the weight stays.

    Raises:
        ValueError: for a share that is not allowed.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is {fraction}; allowed is 0 <= fraction <= 1")
    if not 0 <= random_fraction <= fraction:
        raise ValueError(f"random_fraction is {random_fraction}; allowed is 0 to {fraction}")
    if random_fraction and generator is None:
        raise ValueError("random_fraction needs a generator")

    # By size: one threshold for all layers.
    magnitudes = [weight.detach().abs().flatten() for weight in weights.values()]
    flat = torch.cat(magnitudes)  # [P]
    total = len(flat)
    pruned = math.ceil((fraction - random_fraction) * total)
    position = min(pruned, total - 1)  # at least one weight stays
    threshold = _smallest(flat, position, by_sorting=flat.is_cuda)
    keep = flat >= threshold  # [P]

    # By chance: a share of the weights that are left.
    if random_fraction:
        share = math.ceil(random_fraction * total) / (total - pruned)
        chance = torch.rand(total, generator=generator, device=flat.device)  # [P]
        keep &= chance >= share
    return _cut_masks(keep, weights)


def _cut_masks(keep: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cut bool [P] into a mask for each weight."""
    masks = {}
    start = 0
    for name, weight in weights.items():
        end = start + weight.numel()
        part = keep[start:end].view(weight.shape)
        # Another layout than the weight's would cost a slow product in every step.
        mask = torch.empty_like(weight, dtype=torch.bool)
        masks[name] = mask.copy_(part)
        start = end
    return masks


def _smallest(values: Tensor, position: int, by_sorting: bool) -> Tensor:
    """The value at `position`, from 0, of the sorted values.

    Both ways give the same; a GPU is far quicker at sorting all.
    """
    if by_sorting:
        return values.sort().values[position]
    return values.kthvalue(position + 1).values


class DualBatchNorm(nn.Module):
    """Two batch norms, each with parameters and statistics of its own.

    Args:
        norm: the batch norm of the dense branch. The pruned branch gets a copy of it.

    Attributes:
        use_pruned: whether the pruned branch's batch norm is in use, or the dense branch's.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.dense = norm
        self.pruned = copy.deepcopy(norm)
        self.use_pruned = False

    def forward(self, x: Tensor) -> Tensor:
        """Whatever a batch norm takes and gives."""
        norm = self.pruned if self.use_pruned else self.dense
        normalised: Tensor = norm(x)
        return normalised


def make_dual(module: nn.Module) -> nn.Module:
    """Give every batch norm in `module` a twin for the pruned branch; changes it in place."""
    return replace_modules(module, nn.modules.batchnorm._BatchNorm, DualBatchNorm)


def make_single(module: nn.Module, pruned: bool = False) -> nn.Module:
    """A copy of a dual module with plain batch norms: the dense branch's, or the pruned one's."""

    def choose(pair: nn.Module) -> nn.Module:
        assert isinstance(pair, DualBatchNorm)  # nothing else is replaced
        return pair.pruned if pruned else pair.dense

    return replace_modules(copy.deepcopy(module), DualBatchNorm, choose)


def prunable(module: nn.Module) -> dict[str, Tensor]:
    """The weights that pruning may touch, by name: those of all convolutions and nothing else."""
    weights = {}
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d):
            weights[f"{name}.weight"] = part.weight
    return weights


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
    masked = {}
    for name, weight in prunable(module).items():
        masked[name] = weight * masks[name]

    # The batch norms are switched for this call only, whatever happens in it.
    pairs = [part for part in module.modules() if isinstance(part, DualBatchNorm)]
    for pair in pairs:
        pair.use_pruned = True
    try:
        outputs: Tensor = functional_call(module, masked, (x,))
        return outputs
    finally:
        for pair in pairs:
            pair.use_pruned = False
