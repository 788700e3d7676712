"""The weighted nearest-neighbour classifier: a look at features that trains nothing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def weighted_knn(
    bank: Tensor,
    bank_labels: Tensor,
    features: Tensor,
    classes: int,
    k: int = 200,
    temperature: float = 0.1,
) -> Tensor:
    """Votes of the nearest features (Wu et al. 2018), the monitor of MoCo's CIFAR demonstration.

    Each of the `k` nearest bank features by cosine votes for its class with exp(cosine /
    temperature).

    Args:
        bank: [N, D] features of known label; all of them vote where N is below k.
        bank_labels: int64 [N], below `classes`.
        features: [M, D] to classify.
        classes: C.
        k: neighbours that vote.
        temperature: above 0; the smaller, the more the nearest one decides.

    Returns:
        [M, C], the share of each class in the votes; the largest is the answer.
    """
    if k < 1 or not temperature > 0:
        raise ValueError(f"k is {k} and temperature {temperature:g}; allowed are k >= 1 and > 0")
    bank = F.normalize(bank, dim=1)
    parts = []
    for part in F.normalize(features, dim=1).split(1000):
        similarity, nearest = (part @ bank.T).topk(min(k, len(bank)), dim=1)  # [m, k]
        weight = (similarity / temperature).softmax(dim=1)  # the votes' shares
        votes = weight.new_zeros(len(part), classes)
        parts.append(votes.scatter_add_(1, bank_labels[nearest], weight))
    return torch.cat(parts)
