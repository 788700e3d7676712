"""Fine-tuning: the whole network learns from few labelled images, not a classifier alone.

As in the appendix of SimCLR (Chen et al. 2020, B.5): Nesterov's momentum, a rate of 0.05 for 256
images, crops and flips only, no weight decay. The cosine of the rate is ours.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import RunConfig
from ..networks import Encoder
from ..pretrain import generator
from ..pretrain.randomness import random_layers, seed_for
from ..pretrain.sources import ahead, on_device
from ..views import make_views
from ..views.share import whole

log = logging.getLogger(__name__)
EPOCHS = {"1%": 60, "10%": 30}  # as published
OTHER_EPOCHS = 60  # for numbers of images per class
RATE = 0.05  # for a batch of 256
BATCH = 256
MOMENTUM = 0.9


class FineTuned(nn.Module):
    """An encoder with a classifier on top."""

    def __init__(self, encoder: nn.Module, dim: int, classes: int) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)
        self.classifier = nn.Linear(dim, classes)
        nn.init.zeros_(self.classifier.weight)  # so that nothing here is random but the images
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] to logits [B, C]."""
        logits: Tensor = self.classifier(self.encoder(images))
        return logits


def fine_tune(
    encoder: Encoder,
    images: Any,
    labels: Tensor,
    classes: int,
    config: RunConfig,
    device: torch.device,
    epochs: int,
    seed: int = 0,
) -> FineTuned:
    """The network after it has learnt from labelled images; the encoder itself stays as it is.

    Args:
        encoder: pre-trained.
        images: N of them, an array uint8 or `Stored`.
        labels: int64 [N].
        classes: C.
        config: of the run; says how small a crop may be.
        device: to learn on.
        epochs: how often each image is seen.
        seed: decides order and crops.
    """
    model = FineTuned(encoder, encoder.dim, classes).to(device)
    batch = min(BATCH, len(labels))
    peak = RATE * batch / BATCH
    sgd = torch.optim.SGD(model.parameters(), peak, MOMENTUM, nesterov=True)
    source = on_device(images, config, 1, whole, device)
    labels = labels.to(device)
    plain = config.model_copy(update={"boost": "none"})
    model.train()
    for epoch in range(1, epochs + 1):
        draw = generator(seed, "finetune views", epoch, device)
        nothing = torch.zeros(len(labels), device=device)
        views, _ = make_views(plain, nothing, (draw, draw), ("crop",))
        steps = _steps(len(labels), batch, epoch, epochs, peak, seed, device)
        with random_layers(seed_for(seed, "finetune layers", epoch), device):
            for index, lr in ahead(source, steps, generator(seed, "finetune crops", epoch)):
                sgd.param_groups[0]["lr"] = lr
                (view,) = views(source[index], nothing[index])
                sgd.zero_grad()
                loss = F.cross_entropy(model(view), labels[index])
                loss.backward()
                sgd.step()
        log.info("fine-tuning epoch %d of %d: loss %.4f", epoch, epochs, float(loss.detach()))
    return model.eval()


def _steps(
    samples: int,
    batch: int,
    epoch: int,
    epochs: int,
    peak: float,
    seed: int,
    device: torch.device,
) -> Iterator[tuple[Tensor, float]]:
    """Index and learning rate of each step: batches of near-equal size, a cosine over the run."""
    order = torch.randperm(samples, generator=generator(seed, "finetune order", epoch))
    parts = order.to(device).tensor_split(math.ceil(samples / batch))
    for number, index in enumerate(parts):
        done = (epoch - 1 + number / len(parts)) / epochs
        yield index, peak / 2 * (1 + math.cos(math.pi * done))
