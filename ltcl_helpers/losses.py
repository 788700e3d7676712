"""Contrastive losses: one value per sample, so that each sample's history can be kept."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """NT-Xent (Chen et al. 2020, eq. 1), one value per sample.

    Args:
        first: [B, D] projections of view 1, normalised here.
        second: [B, D] projections of view 2.
        temperature: divides the cosine similarities.

    Returns:
        [B], the mean of the sample's two directions; its mean over B is the published loss. The
        denominator of an anchor runs over the other view of its sample and both views of all
        others, 2B - 1 terms.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(
            f"views have shapes {tuple(first.shape)} and {tuple(second.shape)}; "
            "allowed are two equal shapes [B, D]"
        )
    unit = F.normalize(torch.cat([first, second]), dim=1)  # [2B, D]
    similarity = unit @ unit.T / temperature  # [2B, 2B]
    similarity.fill_diagonal_(float("-inf"))  # an anchor is no candidate of its own
    count = len(first)
    positive = torch.arange(2 * count, device=unit.device).roll(count)  # the sample's other view
    loss = F.cross_entropy(similarity, positive, reduction="none")  # [2B]
    return (loss[:count] + loss[count:]) / 2
