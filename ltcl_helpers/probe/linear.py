"""Linear probes on frozen features, by protocol; and nearest neighbours, which train nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError
from .choices import ON_FEATURES, check_choice

FIRST_LR = 1e-2  # of protocol "bcl", as published, like the four below
LR_DECAY = 1e-4  # from the first epoch to the end: down to 1e-6
WEIGHT_DECAY = 5e-6
EPOCHS = 500
BATCH = 1000
NEIGHBOURS = 200  # that vote in protocol "knn"
BYTES = 2**23  # of images, uint8, that go through an encoder at once: 55 of 224x224
KNN_MEMORY = 256  # MiB of distances that protocol "knn" holds at once
KNN_TEMPERATURE = 0.1  # the smaller, the more the nearest neighbour decides


class ProbeResult(NamedTuple):
    """Accuracies, fractions in [0, 1]."""

    top1: float  # share of the test images whose class comes first
    top5: float  # share of those whose class is among the first five
    per_class: np.ndarray  # [C], NaN for a class without a test image


@torch.no_grad()
def features(encoder: nn.Module, images: Tensor, device: str = "cpu") -> Tensor:
    """Features float32 [N, D] of uint8 images [N, 3, H, W]: no augmentation, eval mode."""
    encoder = encoder.eval().to(device)
    encoder = encoder.to(memory_format=torch.channels_last)  # as in training: faster convolutions
    at_once = max(1, min(1000, BYTES // images[:1].numel()))
    parts = []
    for part in images.split(at_once):  # a part's activations must fit into memory
        part = part.to(device, memory_format=torch.channels_last)
        embedded = encoder(part / 255)  # [at_once, D]
        parts.append(embedded.cpu())
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
        train_labels: int64 [N].
        test_features: [M, D].
        test_labels: int64 [M].
        protocol: the name of the probe. "bcl" is behind the published table (Adam, 500 epochs,
            batch 1000, learning rate 1e-2 to 1e-6). "logistic" is scikit-learn's regression on
            standardised features, and fast. In "knn" the nearest 200 vote, and nothing is trained.
        seed: decides the first weights and the order of the "bcl" probe.
        classes: C, the number of classes. None takes the largest label for the last class.

    Raises:
        ConfigError: for an unknown protocol, or labelled images of one class only.
    """
    check_choice("protocol", protocol, ON_FEATURES)
    if len(train_labels.unique()) < 2:
        raise ConfigError("the labelled images are of one class only; a probe needs 2 or more")
    if classes is None:
        classes = int(max(train_labels.max(), test_labels.max())) + 1
    probes = {"bcl": _bcl, "logistic": _logistic, "knn": _knn}
    probe = probes[protocol]
    logits = probe(train_features, train_labels, test_features, classes, seed)  # [M, C]
    return measure(logits, test_labels)


def measure(logits: Tensor, labels: Tensor) -> ProbeResult:
    """Accuracies of logits [M, C] for labels [M]; -inf is no answer, and so never right."""
    classes = logits.shape[1]
    is_right = logits.argmax(dim=1) == labels  # [M]
    best = logits.topk(min(5, classes), dim=1)  # values and indices [M, 5]
    is_label = (best.indices == labels[:, None]) & best.values.isfinite()  # [M, 5]
    is_among_best = is_label.any(dim=1)  # [M]

    # By class; a class without a test image is 0 / 0, NaN.
    count = torch.bincount(labels, minlength=classes)  # [C]
    right = torch.bincount(labels[is_right], minlength=classes)  # [C]
    per_class = right.double() / count  # [C]
    return ProbeResult(
        top1=float(is_right.double().mean()),
        top5=float(is_among_best.double().mean()),
        per_class=per_class.numpy(),
    )


# --- the protocols: training features x [N, D], labels y [N], test features to logits [M, C] ---


def _bcl(x: Tensor, y: Tensor, test_x: Tensor, classes: int, seed: int) -> Tensor:
    """Logits [M, C] of the probe behind the published table."""
    weight, bias = fit_bcl(x, y, classes, seed)
    return F.linear(test_x, weight, bias).detach()


def fit_bcl(
    x: Tensor,
    y: Tensor,
    classes: int,
    seed: int = 0,
    epochs: int = EPOCHS,
) -> tuple[Tensor, Tensor]:
    """Weight [C, D] and bias [C] of protocol "bcl" for features x [N, D] and labels y [N]."""
    # The first weights are drawn as PyTorch draws a linear layer's.
    dim = x.shape[1]
    draw = torch.Generator().manual_seed(seed)
    bound = dim**-0.5
    weight = torch.empty(classes, dim)
    bias = torch.empty(classes)
    for parameter in (weight, bias):
        parameter.uniform_(-bound, bound, generator=draw)
        parameter.requires_grad_()

    adam = torch.optim.Adam([weight, bias], lr=FIRST_LR, weight_decay=WEIGHT_DECAY, fused=True)
    for epoch in range(epochs):
        progress = epoch / epochs  # in [0, 1)
        adam.param_groups[0]["lr"] = FIRST_LR * LR_DECAY**progress
        order = torch.randperm(len(x), generator=draw)
        for index in order.split(BATCH):
            logits = F.linear(x[index], weight, bias)  # [B, C]
            loss = F.cross_entropy(logits, y[index])
            adam.zero_grad()
            loss.backward()
            adam.step()
    return weight, bias


def _knn(x: Tensor, y: Tensor, test_x: Tensor, classes: int, seed: int) -> Tensor:
    """Shares [M, C] of the votes of the nearest features (Wu et al. 2018), as MoCo monitors CIFAR.

    -inf where a class has no vote.

    A neighbour votes for its class with exp(cosine / temperature); all vote where N is below 200.
    """
    from sklearn import config_context
    from sklearn.neighbors import KNeighborsClassifier

    def votes(distances: np.ndarray) -> np.ndarray:
        cosines = 1 - distances
        return np.exp(cosines / KNN_TEMPERATURE)

    neighbours = min(NEIGHBOURS, len(x))
    model = KNeighborsClassifier(neighbours, weights=votes, algorithm="brute", metric="cosine")
    model.fit(x.numpy(), y.numpy())
    with config_context(working_memory=KNN_MEMORY):  # distances [M, N], a part at a time
        known = torch.from_numpy(model.predict_proba(test_x.numpy()))  # [M, classes in y]

    # A class without a vote, or without a training image, is no answer.
    shares = x.new_full((len(test_x), classes), -torch.inf)
    shares[:, model.classes_] = known.to(x.dtype)
    return shares.where(shares > 0, -torch.inf)


def _logistic(x: Tensor, y: Tensor, test_x: Tensor, classes: int, seed: int) -> Tensor:
    """Logits [M, C] of scikit-learn's logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(C=0.1, max_iter=1000)
    model = make_pipeline(StandardScaler(), regression)
    model.fit(x.numpy(), y.numpy())
    score = model.decision_function(test_x.numpy())  # [M, classes in y]
    if score.ndim == 1:  # two classes give one score
        score = np.stack([-score, score], axis=1)

    # A class without a training image is never chosen.
    logits = torch.full((len(test_x), classes), float("-inf"))
    logits[:, model.classes_] = torch.from_numpy(score).to(logits.dtype)
    return logits


def pixels(images: Tensor) -> Tensor:
    """Raw pixels as features, float32 [N, 3 * H * W]."""
    return images.flatten(1) / 255
