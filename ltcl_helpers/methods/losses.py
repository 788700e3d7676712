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


def info_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """InfoNCE with a queue of negatives (He et al. 2020, eq. 1), one value per sample.

    Args:
        query: [B, D] projections, normalised here.
        key: [B, D] each query's positive.
        queue: [D, K] negatives of length 1, one a column, the same for all queries.
        temperature: divides the cosine similarities.

    Returns:
        [B], the cross-entropy of finding the positive among 1 + K candidates.
    """
    if query.shape != key.shape or query.ndim != 2 or len(queue) != query.shape[1]:
        raise ValueError(
            f"query, key and queue have shapes {list(query.shape)}, {list(key.shape)} and "
            f"{list(queue.shape)}; allowed are [B, D], [B, D] and [D, K]"
        )
    query = F.normalize(query, dim=1)
    key = F.normalize(key, dim=1)
    positive = (query * key).sum(dim=1, keepdim=True)  # [B, 1]
    negative = query @ queue  # [B, K]
    logits = torch.cat([positive, negative], dim=1) / temperature
    first = torch.zeros(len(query), dtype=torch.int64, device=query.device)
    return F.cross_entropy(logits, first, reduction="none")


def balanced_contrastive(
    features: Tensor,
    labels: Tensor,
    prototypes: Tensor,
    temperature: float,
    class_averaging: bool = True,
    class_complement: bool = True,
    average: str = "L1",
) -> Tensor:
    """Balanced contrastive loss (Zhu et al. 2022, eq. 7), one value per sample.

    Candidates are the 2B features and, by class complement, the C prototypes: every class is there.
    An anchor is pulled to all candidates of its class; by class averaging a class weighs as one in
    the denominator. Without both it is the supervised contrastive loss.

    Args:
        features: [B, 2, D] unit vectors, two views of each sample; each is an anchor.
        labels: int64 [B], below C.
        prototypes: [C, D] unit vectors, one a class; they are never anchors.
        temperature: divides the dot products.
        class_averaging: whether a class weighs as one in the denominator.
        class_complement: whether the prototypes are candidates.
        average: what of a class enters the denominator: "L1" the mean of the exponentials, "L2" the
            exponential of the mean, "L3" the prototype alone.

    Returns:
        [B], the mean of the sample's two anchors; its mean over B is the published loss.
    """
    if features.ndim != 3 or features.shape[1] != 2 or len(features) != len(labels):
        raise ValueError(
            f"features {list(features.shape)} and labels {list(labels.shape)}: [B, 2, D] and [B]"
        )
    if average not in ("L1", "L2", "L3") or (average == "L3" and not class_complement):
        raise ValueError(f"average is {average!r}: L1, L2, or (with class complement) L3")
    anchors = features.flatten(0, 1)  # [2B, D]
    of_anchor = labels.repeat_interleave(2)  # [2B], the class of each
    known = torch.arange(len(prototypes), device=labels.device)  # [C]
    candidates = anchors
    of_candidate = of_anchor
    if class_complement:
        candidates = torch.cat([anchors, prototypes])  # [M, D]
        of_candidate = torch.cat([of_anchor, known])

    # Pull: the mean similarity with all others of the anchor's class.
    similarity = anchors @ candidates.T / temperature  # [2B, M]
    other = torch.ones_like(similarity, dtype=torch.bool).fill_diagonal_(False)
    positive = (of_anchor[:, None] == of_candidate) & other
    pull = (similarity * positive).sum(dim=1) / positive.sum(dim=1)  # [2B]

    # Push: the logarithm of the denominator.
    if average == "L3":
        push = (anchors @ prototypes.T / temperature).logsumexp(dim=1)
    else:
        members = (of_candidate[:, None] == known).to(similarity.dtype)  # [M, C]
        push = _class_push(similarity, other, members, class_averaging, average)
    return (push - pull).view(len(labels), 2).mean(dim=1)


def _class_push(
    similarity: Tensor, other: Tensor, members: Tensor, averaging: bool, average: str
) -> Tensor:
    """Logarithm [2B] of the denominator: similarity [2B, M], members [M, C]; the anchor is out."""
    count = other.to(similarity.dtype) @ members  # [2B, C], candidates of each class
    if average == "L2":
        mean = (similarity * other) @ members / count.clamp(min=1)
        weight = (count > 0).to(count.dtype) if averaging else count
        return (mean + weight.log()).logsumexp(dim=1)
    similarity = similarity.masked_fill(~other, float("-inf"))
    if averaging:
        similarity = similarity - (count @ members.T).clamp(min=1).log()
    return similarity.logsumexp(dim=1)


def supervised_contrastive(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, L_out); arguments of `balanced_contrastive`.

    One value per sample, [B].
    """
    nothing = features.new_zeros(0, features.shape[2])
    return balanced_contrastive(
        features, labels, nothing, temperature, class_averaging=False, class_complement=False
    )


def compensate_logits(logits: Tensor, class_counts: Tensor, strength: float = 1.0) -> Tensor:
    """Add the logarithm of each class's share (Menon et al. 2021), for the training loss only.

    Args:
        logits: [B, C].
        class_counts: [C] images per class, each at least 1.
        strength: 0 leaves the logits alone, 1 is the published one.
    """
    share = class_counts.to(logits.dtype) / class_counts.sum()
    return logits + strength * share.log()
