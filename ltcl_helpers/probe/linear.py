"""Linear probes on frozen features, by protocol; and nearest neighbours, which train nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError
from .choices import ON_FEATURES, check_choice

FIRST_LR = 1e-2  # of protocol "bcl"
NEIGHBOURS = 200  # that vote in protocol "knn"
KNN_TEMPERATURE = 0.1  # the smaller, the more the nearest neighbour decides


class ProbeResult(NamedTuple):
    """Fractions in [0, 1]; per_class is [C], NaN for a class without a test image."""

    top1: float
    top5: float
    per_class: np.ndarray


@torch.no_grad()
def features(encoder: nn.Module, images: Tensor, device: str = "cpu") -> Tensor:
    """Features float32 [N, D] of uint8 images [N, 3, H, W]: no augmentation, eval mode."""
    encoder = encoder.eval().to(device).to(memory_format=torch.channels_last)
    parts = [
        encoder(part.to(device, memory_format=torch.channels_last) / 255).cpu()
        for part in images.split(1000)
    ]
    return torch.cat(parts)


def linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    protocol: str = "bcl",
    seed: int = 0,
    classes: int | None = None,
) -> ProbeResult:
    """Fit a linear classifier on frozen features and test it.

    Args:
        train_features: [N, D].
        train_labels: [N].
        test_features: [M, D].
        test_labels: [M].
        protocol: "bcl", the probe behind the published table (Adam, 500 epochs, batch 1000,
            learning rate 1e-2 to 1e-6), "logistic" (scikit-learn, standardised; fast), or "knn"
            (the nearest 200 vote; nothing is trained).
        seed: decides the first weights and the order of the "bcl" probe.
        classes: C; by the largest label when None.

    Raises:
        ConfigError: for an unknown protocol, or labelled images of one class only.
    """
    check_choice("protocol", protocol, ON_FEATURES)
    if len(train_labels.unique()) < 2:
        raise ConfigError("the labelled images are of one class only; a probe needs 2 or more")
    if classes is None:
        classes = int(max(train_labels.max(), test_labels.max())) + 1
    fit = {"bcl": _bcl, "logistic": _logistic, "knn": _knn}[protocol]
    return measure(fit(train_features, train_labels, test_features, classes, seed), test_labels)


def measure(logits: Tensor, labels: Tensor) -> ProbeResult:
    """Accuracies of logits [M, C] for labels [M]."""
    classes = logits.shape[1]
    hit = logits.argmax(dim=1) == labels  # [M]
    best = logits.topk(min(5, classes), dim=1).indices  # [M, 5]
    among_best = (best == labels[:, None]).any(dim=1)  # [M]
    count = torch.bincount(labels, minlength=classes)  # [C]
    right = torch.bincount(labels[hit], minlength=classes)
    per_class = right.double() / count
    top1 = float(hit.double().mean())
    top5 = float(among_best.double().mean())
    return ProbeResult(top1, top5, per_class.numpy())


def _bcl(x: Tensor, y: Tensor, test: Tensor, classes: int, seed: int) -> Tensor:
    weight, bias = fit_bcl(x, y, classes, seed)
    return F.linear(test, weight, bias).detach()


def fit_bcl(
    x: Tensor, y: Tensor, classes: int, seed: int = 0, epochs: int = 500
) -> tuple[Tensor, Tensor]:
    """Weight [C, D] and bias [C] of protocol "bcl" for features x [N, D] and labels y [N]."""
    draw = torch.Generator().manual_seed(seed)
    bound = x.shape[1] ** -0.5  # PyTorch's default for a linear layer
    weight = torch.empty(classes, x.shape[1]).uniform_(-bound, bound, generator=draw)
    bias = torch.empty(classes).uniform_(-bound, bound, generator=draw)
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    adam = torch.optim.Adam(parameters, lr=FIRST_LR, weight_decay=5e-6, fused=True)
    for epoch in range(epochs):
        adam.param_groups[0]["lr"] = FIRST_LR * 1e-4 ** (epoch / epochs)  # down to 1e-6
        order = torch.randperm(len(x), generator=draw)
        for index in order.split(1000):
            adam.zero_grad()
            logits = F.linear(x[index], weight, bias)  # [B, C]
            F.cross_entropy(logits, y[index]).backward()
            adam.step()
    return weight, bias


def _knn(x: Tensor, y: Tensor, test: Tensor, classes: int, seed: int) -> Tensor:
    """Shares [M, C] of the votes of the nearest features (Wu et al. 2018), as MoCo monitors CIFAR.

    A neighbour votes for its class with exp(cosine / temperature); all vote where N is below 200.
    """
    from sklearn.neighbors import KNeighborsClassifier

    def votes(distances: np.ndarray) -> np.ndarray:
        return np.exp((1 - distances) / KNN_TEMPERATURE)

    neighbours = min(NEIGHBOURS, len(x))
    model = KNeighborsClassifier(neighbours, weights=votes, algorithm="brute", metric="cosine")
    model.fit(x.numpy(), y.numpy())
    shares = torch.zeros(len(test), classes, dtype=x.dtype)
    shares[:, model.classes_] = torch.from_numpy(model.predict_proba(test.numpy())).to(x.dtype)
    return shares


def _logistic(x: Tensor, y: Tensor, test: Tensor, classes: int, seed: int) -> Tensor:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    model.fit(x.numpy(), y.numpy())
    logits = torch.full((len(test), classes), float("-inf"))
    score = model.decision_function(test.numpy())
    if score.ndim == 1:  # two classes give one score
        score = np.stack([-score, score], axis=1)
    logits[:, model.classes_] = torch.from_numpy(score).to(logits.dtype)
    return logits


def pixels(images: Tensor) -> Tensor:
    """Raw pixels as features, float32 [N, 3 * H * W]."""
    return images.flatten(1) / 255
