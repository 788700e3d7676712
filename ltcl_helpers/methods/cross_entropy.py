"""Classifiers trained with labels: cross-entropy, compensated for the class sizes or not."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import RunConfig
from ..networks import Encoder
from ..recipes import MethodOptions
from .losses import compensate_logits
from .simclr import Batch, SimCLR

SCALE = 30.0  # of the cosine classifier's logits, which lie in [-30, 30]; as published


class CosineClassifier(nn.Module):
    """Logits are scaled cosines: no class gets ahead by the length of its weights."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        weight = 2 * torch.rand(classes, dim) - 1  # [C, dim], uniform in [-1, 1)
        self.weight = nn.Parameter(F.normalize(weight, dim=1))

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, dim] to logits [B, C]."""
        scaled = SCALE * F.normalize(features, dim=1)  # [B, dim]
        weight = F.normalize(self.weight, dim=1)  # [C, dim]
        return scaled @ weight.T  # [B, C]


class CrossEntropy(SimCLR):
    """A classifier trained with labels, its logits compensated for the class sizes or not.

    Args:
        encoder: as for SimCLR.
        config: as for SimCLR.
        class_counts: int64 [C], the images per class. They must be given.
    """

    VIEWS: tuple[str, ...] = ("autoaugment",)  # one view: there is nothing to contrast
    READS_LABELS = True
    counts: Tensor
    head: CosineClassifier

    class Options(MethodOptions):
        """What a classifier has beside a run's fields."""

        compensation: float = Field(1.0, ge=0, le=10)  # of the logits while training; 0 is none

    def __init__(
        self,
        encoder: Encoder,
        config: RunConfig,
        class_counts: Tensor | None = None,
    ) -> None:
        super().__init__(encoder, config, class_counts)
        assert class_counts is not None  # a run has them
        classes = len(class_counts)
        self.head = CosineClassifier(encoder.dim, classes)
        self.register_buffer("counts", class_counts.clone(), persistent=False)

    def trained(self) -> dict[str, nn.Module]:
        """The encoder and, for the test set, the classifier on top of it."""
        return {"encoder": self.encoder, "classifier": self.head}

    @classmethod
    def rebuild(cls, name: str, config: RunConfig, weights: dict[str, Tensor]) -> nn.Module:
        """See SimCLR."""
        if name == "classifier":
            classes, dim = weights["weight"].shape
            return CosineClassifier(dim, classes)
        return super().rebuild(name, config, weights)

    def classify(self, features: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy [B] of features [B, dim]."""
        logits = self.head(features)  # [B, C]
        compensated = compensate_logits(logits, self.counts, self.options.compensation)  # [B, C]
        return F.cross_entropy(compensated, labels, reduction="none")  # [B]

    def forward(self, batch: Batch) -> Tensor:
        """One loss per sample, [B]."""
        images = batch.views[0]  # [B, 3, H, W]
        features = self._in_autocast(self.encoder, images)  # [B, dim]
        return self.classify(features, batch.labels)  # [B]
