"""Checks of the answers in lesson 10, Balanced CL."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from ..methods import losses
from .checking import compare, compare_gradient, exercise, unchanged


@exercise(
    "add log(count / total) to each logit; while training, not while testing.",
    "subtracted instead of added",
    "log of the count without the total",
    "the share itself instead of its log",
    nudge="a class with half of all images: what is added to its logit?",
    may_not_call=("losses.compensate_logits",),
)
def check_compensation(answer: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    """Logits compensated for class sizes; `answer(logits, class_counts)` gives [B, C]."""
    draw = torch.Generator().manual_seed(9)
    for counts in ([50, 50], [900, 90, 9], [4, 7, 1, 1, 20]):
        logits = torch.randn(4, len(counts), generator=draw, dtype=torch.float64)
        expected = losses.compensate_logits(logits, torch.tensor(counts))
        got = answer(logits.clone(), torch.tensor(counts))
        compare(f"compensation for {counts}", got, expected)


@exercise(
    "0 = C + C (C - 1) c, from the square of the sum.",
    "1 / (C - 1), with the wrong sign",
    "-1 / C",
    "0, as for orthogonal vectors",
    nudge="two classes lie opposite each other: what is c then? And for three?",
)
def check_simplex_cosine(answer: Callable[[int], float]) -> None:
    """Cosine between two corners of the regular simplex; `answer(classes)`."""
    for classes in (2, 3, 7, 12, 100):
        # Unit vectors of R^C moved to their mean: the corners of a regular simplex.
        corners = torch.eye(classes, dtype=torch.float64) - 1 / classes
        cosine = F.cosine_similarity(corners[0], corners[1], dim=0)
        compare(f"simplex of {classes} classes", answer(classes), cosine)


@exercise(
    "averaged, each class counts as one of two; else it counts by its members.",
    "averaging and no averaging exchanged",
    "the other class's share",
    "the ratio of the two instead of the share",
    nudge="with averaging, how much does each of the two classes count?",
)
def check_class_weight(answer: Callable[[int, int, bool], float]) -> None:
    """A class's share of the denominator; `answer(members, others, averaging)`, all exp equal."""
    for members, others in ((1, 1), (200, 2), (3, 5), (7, 40)):
        for averaging in (False, True):
            expected = 0.5 if averaging else members / (members + others)
            name = "with" if averaging else "without"
            compare(
                f"{members} against {others} {name} averaging",
                answer(members, others, averaging),
                expected,
            )


@exercise(
    "for each anchor and class the mean of exp(s) over its members without the anchor; then log "
    "of the sum over classes, minus the mean of s over its own class.",
    "the anchor among its own candidates",
    "the sum over a class's members instead of their mean",
    "the prototypes left out, or anchors themselves",
    "the mean of the two anchors forgotten",
    nudge="write down who the members of each class are, for one anchor of a batch of two.",
    may_not_call=("losses.balanced_contrastive", "balanced_slow"),
)
def check_balanced_loss(answer: Callable[..., torch.Tensor]) -> None:
    """The loss of Balanced CL; `answer(features, labels, prototypes, temperature)` gives [B]."""
    draw = torch.Generator().manual_seed(10)
    for own, classes, temperature in (([0, 0, 1], 2, 0.5), ([2, 0, 2, 2, 4, 0], 5, 0.1)):
        shape = (len(own), 2, 8)
        views = F.normalize(torch.randn(shape, generator=draw, dtype=torch.float64), dim=2)
        centres = torch.randn(classes, 8, generator=draw, dtype=torch.float64)
        features = views.clone().requires_grad_()
        prototypes = F.normalize(centres, dim=1).requires_grad_()
        given = (features, torch.tensor(own), prototypes, temperature)
        expected = losses.balanced_contrastive(*given)
        got = answer(*given)
        name = f"loss of {len(own)} images, {classes} classes"
        compare(name, got, expected.detach(), 1e-5)
        unchanged(name, features, views)
        compare_gradient(name, got, expected, (features, prototypes))
