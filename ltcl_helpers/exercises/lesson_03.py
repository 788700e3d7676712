"""Checks of the answers in lesson 03, SDCLR and pruning."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from .. import networks
from ..config import RunConfig
from ..methods import pruning
from .checking import compare, exercise, require, unchanged


@exercise(
    "one threshold for all layers, at place min(ceil(p P), P - 1); what ties with it stays.",
    "a threshold for each layer",
    "`>` instead of `>=`, which drops a tie",
    "rounding p P down",
    nudge="one sorted list of all layers together; which place of it is the threshold?",
    may_not_call=("pruning.magnitude_masks", "stays"),
)
def check_magnitude_mask(answer: Callable[..., dict[str, Tensor]]) -> None:
    """Masks over all layers together; `answer(weights, fraction)` gives a bool tensor per name."""
    draw = torch.Generator().manual_seed(5)
    weights = {"wide": torch.randn(4, 3, 3, 3, generator=draw), "flat": torch.ones(2, 5)}
    weights["narrow"] = 0.2 * torch.randn(7, generator=draw)
    total = sum(weight.numel() for weight in weights.values())
    below = sum(int((weight.abs() < 1).sum()) for weight in weights.values())
    tie = (below + 4.5) / total  # the threshold is one of the ten equal weights
    for fraction in (0.0, tie, 0.504, 0.9, 1.0):
        given = {name: weight.clone() for name, weight in weights.items()}
        masks = answer(given, fraction)
        require(isinstance(masks, dict), f"got a {type(masks).__name__}, expected a dict of masks")
        for name, expected in pruning.magnitude_masks(weights, fraction).items():
            about = f"mask of {name!r}, fraction {fraction:.2f}"
            require(name in masks, f"{about}: it is missing")
            compare(about, masks[name], expected)
            kind = str(getattr(masks[name], "dtype", np.asarray(masks[name]).dtype))
            require(kind.endswith("bool"), f"{about}: its type is {kind}, expected bool")
            unchanged(f"weights {name!r}", given[name], weights[name])


@exercise(
    "math.erfc(t / (sigma * sqrt(2))): both tails.",
    "one tail only",
    "`erf`, the share that goes",
    "sqrt(2) forgotten",
    nudge="what stays at threshold 0? And do you count both sides of the bell?",
)
def check_density(answer: Callable[[float, float], float]) -> None:
    """The share of normal weights that stays; `answer(sigma, threshold)`."""
    for sigma, threshold in ((0.02, 0.03), (0.1, 0.03), (0.03, 0.03), (1.0, 0.0)):
        expected = 2 * stats.norm.sf(threshold / sigma)
        compare(f"sigma {sigma}, threshold {threshold}", answer(sigma, threshold), expected, 1e-3)


@exercise(
    "copy first; one magnitude mask over all convolutions of the copy; nothing else changes.",
    "pruning the encoder that was handed in",
    "a threshold for each layer, or weights drawn by chance",
    "dropping the largest weights",
    nudge="is the first encoder still whole, and is anything changed beside its convolutions?",
)
def check_thinned(answer: Callable[[nn.Module, float], nn.Module]) -> None:
    """A pruned copy; `answer(encoder, fraction)` gives an encoder, and leaves the first whole."""
    encoder = networks.build(RunConfig(preset="tiny", width=4))
    whole = copy.deepcopy(encoder.state_dict())
    for fraction in (0.0, 0.5, 0.9):
        thin = answer(encoder, fraction)
        require(isinstance(thin, nn.Module), f"got a {type(thin).__name__}, expected an encoder")
        same = all(torch.equal(now, whole[n]) for n, now in encoder.state_dict().items())
        require(same, f"fraction {fraction}: the encoder that was handed in has changed")
        masks = pruning.magnitude_masks(pruning.prunable(encoder), fraction)
        for name, value in thin.state_dict().items():
            expected = whole[name] * masks[name] if name in masks else whole[name]
            compare(f"{name}, fraction {fraction}", value, expected)
