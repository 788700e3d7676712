"""Balanced Contrastive Learning, a supervised method: it trains with labels."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import RunConfig
from .cross_entropy import CrossEntropy
from .losses import balanced_contrastive
from .simclr import Batch


class BalancedCL(CrossEntropy):
    """Balanced Contrastive Learning (Zhu et al. 2022): classify one view, contrast two others.

    All three views go through the encoder together. The class prototypes of the contrast are the
    classifier's weights, through a projection of their own. With `class_averaging` and
    `class_complement` both off, the contrast is plain supervised contrastive learning.
    """

    VIEWS = ("autoaugment", "simclr", "simclr")

    class Options(CrossEntropy.Options):
        """The published values on CIFAR."""

        classify_weight: float = Field(2.0, ge=0, le=100)  # lambda, of the cross-entropy
        contrast_weight: float = Field(0.6, ge=0, le=100)  # mu, of the contrast
        class_averaging: bool = True  # a class weighs as one in the denominator
        class_complement: bool = True  # prototypes stand for all classes in every batch
        average: Literal["L1", "L2", "L3"] = "L1"  # what of a class enters the denominator
        hidden: int = Field(512, ge=1, le=16_384)  # width of both projections

    def __init__(
        self, encoder: nn.Module, config: RunConfig, class_counts: Tensor | None = None
    ) -> None:
        super().__init__(encoder, config, class_counts)
        size = self.options.hidden
        self.project_features, self.project_classes = (
            nn.Sequential(
                nn.Linear(encoder.dim, size), nn.BatchNorm1d(size), nn.ReLU(), nn.Linear(size, 128)
            )
            for _ in range(2)
        )

    def prototypes(self) -> Tensor:
        """One unit vector per class, [C, 128]."""
        return F.normalize(self._precisely(self.project_classes, self.head.weight), dim=1)

    def forward(self, batch: Batch) -> Tensor:
        """One loss per sample, [B]: the weighted sum of classification and contrast."""
        features = self._precisely(self.encoder, torch.cat(batch.views))
        classified, contrasted = features.split([len(batch.labels), 2 * len(batch.labels)])
        points = F.normalize(self._precisely(self.project_features, contrasted), dim=1)
        contrast = balanced_contrastive(
            torch.stack(points.chunk(2), 1),
            batch.labels,
            self.prototypes(),
            self.temperature,
            self.options.class_averaging,
            self.options.class_complement,
            self.options.average,
        )
        loss = self.options.classify_weight * self.classify(classified, batch.labels)
        return loss + self.options.contrast_weight * contrast
