"""Balanced Contrastive Learning, a supervised method: it trains with labels."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import RunConfig
from ..networks import Encoder
from .cross_entropy import CrossEntropy
from .losses import balanced_contrastive
from .simclr import Batch


class BalancedCL(CrossEntropy):
    """Balanced Contrastive Learning (Zhu et al. 2022): classify one view, contrast two others.

    All three views go through the encoder together. The class prototypes of the contrast are the
    classifier's weights, through a projection of their own. With `class_averaging` and
    `class_complement` both off, the contrast is plain supervised contrastive learning.
    """

    VIEWS = ("autoaugment", "simclr", "simclr")  # the first to classify, the others to contrast

    class Options(CrossEntropy.Options):
        """The published values on CIFAR."""

        classify_weight: float = Field(2.0, ge=0, le=100)  # lambda, of the cross-entropy
        contrast_weight: float = Field(0.6, ge=0, le=100)  # mu, of the contrast
        class_averaging: bool = True  # every class has the same weight in the denominator
        class_complement: bool = True  # prototypes stand for all classes in every batch
        average: Literal["L1", "L2", "L3"] = "L1"  # what of a class enters the denominator

        @model_validator(mode="after")
        def _agree(self) -> BalancedCL.Options:
            if self.average == "L3" and not (self.class_averaging and self.class_complement):
                raise ValueError(
                    "average=L3 is an average over classes that all have prototypes; leave "
                    "class_averaging and class_complement true"
                )
            return self

        hidden: int = Field(512, ge=1, le=16_384)  # width of both projections
        outputs: int = Field(128, ge=1, le=16_384)  # length of what they give

    def __init__(
        self,
        encoder: Encoder,
        config: RunConfig,
        class_counts: Tensor | None = None,
    ) -> None:
        super().__init__(encoder, config, class_counts)
        hidden = self.options.hidden
        outputs = self.options.outputs
        self.project_features = _projection(encoder.dim, hidden, outputs)
        self.project_classes = _projection(encoder.dim, hidden, outputs)

    def prototypes(self) -> Tensor:
        """One unit vector per class, [C, outputs]."""
        projections = self._in_autocast(self.project_classes, self.head.weight)  # [C, outputs]
        return F.normalize(projections, dim=1)  # [C, outputs]

    def forward(self, batch: Batch) -> Tensor:
        """One loss per sample, [B]: the weighted sum of classification and contrast."""
        # All three views together, then one to the classifier and two to the contrast.
        count = len(batch.labels)
        images = torch.cat(batch.views)  # [3B, 3, H, W]
        features = self._in_autocast(self.encoder, images)  # [3B, dim]
        classified, contrasted = features.split([count, 2 * count])  # [B, dim], [2B, dim]

        # The contrast, between the two other views of all samples and the prototypes.
        projections = self._in_autocast(self.project_features, contrasted)  # [2B, outputs]
        unit = F.normalize(projections, dim=1)  # [2B, outputs]
        pairs = torch.stack(unit.chunk(2), 1)  # [B, 2, outputs]
        contrast = balanced_contrastive(
            pairs,
            batch.labels,
            self.prototypes(),
            self.temperature,
            self.options.class_averaging,
            self.options.class_complement,
            self.options.average,
        )  # [B]

        # The published loss is the weighted sum of both.
        class_loss = self.classify(classified, batch.labels)  # [B]
        weighted_class_loss = self.options.classify_weight * class_loss
        weighted_contrast = self.options.contrast_weight * contrast
        loss: Tensor = weighted_class_loss + weighted_contrast
        return loss


def _projection(dim: int, hidden: int, outputs: int) -> nn.Sequential:
    """From features, or class weights, to the space of the contrast."""
    return nn.Sequential(
        nn.Linear(dim, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
    )
