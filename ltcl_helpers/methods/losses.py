"""Contrastive losses: one value per sample, so that each sample's history can be kept."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """NT-Xent (Chen et al. 2020, eq. 1), one value per sample.

    Args:
        first: [B, D], the projections of view 1. They are normalised here.
        second: [B, D], the projections of view 2. They are normalised here.
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
    count = len(first)
    both = torch.cat([first, second])  # [2B, D]
    unit = F.normalize(both, dim=1)  # [2B, D]
    similarity = unit @ unit.T / temperature  # [2B, 2B]
    similarity.fill_diagonal_(float("-inf"))  # an anchor is no candidate of its own

    # The positive of an anchor is the sample's other view, B rows further on.
    anchor = torch.arange(2 * count, device=unit.device)  # [2B]
    positive = anchor.roll(count)  # [2B]
    loss = F.cross_entropy(similarity, positive, reduction="none")  # [2B]
    return (loss[:count] + loss[count:]) / 2  # [B]


def info_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """InfoNCE with a queue of negatives (He et al. 2020, eq. 1), one value per sample.

    Args:
        query: [B, D], the projections. They are normalised here.
        key: [B, D], the positive of each query. They are normalised here.
        queue: [D, K], the negatives of all queries, in columns of length 1.
        temperature: divides the cosine similarities.

    Returns:
        [B], the cross-entropy of finding the positive among 1 + K candidates.
    """
    if query.shape != key.shape or query.ndim != 2 or len(queue) != query.shape[1]:
        raise ValueError(
            f"query, key and queue have shapes {list(query.shape)}, {list(key.shape)} and "
            f"{list(queue.shape)}; allowed are [B, D], [B, D] and [D, K]"
        )
    query = F.normalize(query, dim=1)  # [B, D]
    key = F.normalize(key, dim=1)  # [B, D]
    positive = (query * key).sum(dim=1, keepdim=True)  # [B, 1]
    negative = query @ queue  # [B, K]
    candidates = torch.cat([positive, negative], dim=1)  # [B, 1 + K]
    logits = candidates / temperature

    # The right answer is candidate 0, the positive, for every query.
    answer = torch.zeros(len(query), dtype=torch.int64, device=query.device)  # [B]
    return F.cross_entropy(logits, answer, reduction="none")  # [B]


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

    The candidates of an anchor are the 2B features and, by class complement, the C prototypes, so
    that every class is there. An anchor is pulled to all candidates of its class. By class
    averaging every class has the same weight in the denominator, however many candidates it has.
    Without both it is the supervised contrastive loss.

    Args:
        features: [B, 2, D] unit vectors, two views of each sample. Every view is an anchor.
        labels: int64 [B], below C.
        prototypes: [C, D], a unit vector for each class. They are never anchors.
        temperature: divides the dot products.
        class_averaging: whether all classes have the same weight in the denominator.
        class_complement: whether the prototypes are candidates.
        average: what of a class enters the denominator. "L1" is the mean of the exponentials, "L2"
            the exponential of the mean, and "L3" the exponential of the prototype alone.

    Returns:
        [B], the mean of the sample's two anchors; its mean over B is the published loss.
    """
    _check_balanced(features, labels, class_complement, average)
    anchors = features.flatten(0, 1)  # [2B, D]
    anchor_class = labels.repeat_interleave(2)  # [2B]
    classes = torch.arange(len(prototypes), device=labels.device)  # [C]
    candidates = anchors
    candidate_class = anchor_class
    if class_complement:
        candidates = torch.cat([anchors, prototypes])  # [M, D], M = 2B + C
        candidate_class = torch.cat([anchor_class, classes])  # [M]

    # Pull: the mean similarity with all others of the anchor's class.
    similarity = anchors @ candidates.T / temperature  # [2B, M]
    other = torch.ones_like(similarity, dtype=torch.bool).fill_diagonal_(False)  # all but itself
    same_class = anchor_class[:, None] == candidate_class  # [2B, M]
    positive = same_class & other  # [2B, M]
    pull = (similarity * positive).sum(dim=1) / positive.sum(dim=1)  # [2B]

    # Push: the logarithm of the denominator.
    if average == "L3":
        to_prototypes = anchors @ prototypes.T / temperature  # [2B, C]
        push = to_prototypes.logsumexp(dim=1)  # [2B]
    else:
        is_member = candidate_class[:, None] == classes  # [M, C]
        members = is_member.to(similarity.dtype)
        push = _class_push(similarity, other, members, class_averaging, average)  # [2B]

    loss = push - pull  # [2B], the two anchors of a sample lie side by side
    return loss.view(len(labels), 2).mean(dim=1)  # [B]


def _check_balanced(features: Tensor, labels: Tensor, class_complement: bool, average: str) -> None:
    """Raise a ValueError where `balanced_contrastive` cannot take these arguments."""
    if features.ndim != 3 or features.shape[1] != 2 or len(features) != len(labels):
        raise ValueError(
            f"features {list(features.shape)} and labels {list(labels.shape)}: [B, 2, D] and [B]"
        )
    unknown = average not in ("L1", "L2", "L3")
    if unknown or (average == "L3" and not class_complement):
        raise ValueError(f"average is {average!r}: L1, L2, or (with class complement) L3")


def _class_push(
    similarity: Tensor,
    other: Tensor,
    members: Tensor,
    averaging: bool,
    average: str,
) -> Tensor:
    """The logarithm [2B] of the denominator, class by class.

    Args:
        similarity: [2B, M], of anchors and candidates, divided by the temperature.
        other: bool [2B, M], False where the candidate is the anchor itself.
        members: [M, C], 1 where a candidate belongs to a class, else 0.
        averaging: whether all classes have the same weight.
        average: "L1" or "L2", as for `balanced_contrastive`.
    """
    count = other.to(similarity.dtype) @ members  # [2B, C], candidates of each class

    # L2: one term a class, the exponential of its mean similarity.
    if average == "L2":
        total = (similarity * other) @ members  # [2B, C]
        mean = total / count.clamp(min=1)
        weight = count
        if averaging:
            weight = (count > 0).to(count.dtype)  # a class without candidates has no term
        return (mean + weight.log()).logsumexp(dim=1)  # [2B]

    # L1: one term a candidate, divided by the size of its class.
    terms = similarity.masked_fill(~other, float("-inf"))  # [2B, M]
    if averaging:
        class_size = count @ members.T  # [2B, M]
        terms = terms - class_size.clamp(min=1).log()
    return terms.logsumexp(dim=1)  # [2B]


def supervised_contrastive(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, L_out), one value per sample, [B].

    The arguments are those of `balanced_contrastive`.
    """
    no_prototypes = features.new_zeros(0, features.shape[2])  # [0, D]
    return balanced_contrastive(
        features,
        labels,
        no_prototypes,
        temperature,
        class_averaging=False,
        class_complement=False,
    )


def compensate_logits(logits: Tensor, class_counts: Tensor, strength: float = 1.0) -> Tensor:
    """Add the logarithm of each class's share (Menon et al. 2021), for the training loss only.

    Args:
        logits: [B, C].
        class_counts: [C], the images per class; a class without any is never expected.
        strength: multiplies what is added: 0 leaves the logits alone, 1 is published.
    """
    if strength == 0:
        return logits  # the logarithm of an empty class, -inf, times 0 would be NaN
    share = class_counts.to(logits.dtype) / class_counts.sum()  # [C]
    return logits + strength * share.log()  # [B, C]
