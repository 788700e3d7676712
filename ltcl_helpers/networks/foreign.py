"""Encoders from torchvision and timm by name, for a user's own runs: `torchvision:resnet50`."""

from __future__ import annotations

import difflib
import importlib
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .resnet import MEAN, STD, Encoder

TRIAL = 224  # pixels; every classifier of both libraries takes images of this size


class ForeignEncoder(Encoder):
    """A library's classifier without its last layer; its weights start at random.

    The first operation normalises the input with ImageNet's statistics, as the kit's networks do.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: str) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.dim = feature_length(network)
        self.body = _without_classifier(network)

    def forward(self, images: Tensor) -> Tensor:
        """Images float [B, 3, H, W] in [0, 1] to features [B, dim]."""
        features: Tensor = self.body((images - self.mean) / self.std)
        return features


def feature_length(network: str, height: int = TRIAL, width: int = TRIAL) -> int:
    """How long a feature of this network is; computed without memory for its weights.

    Args:
        network: library and name.
        height: of the images, in pixels.
        width: of the images.

    Raises:
        ConfigError: for a name that the library does not have, or a network that does not take
            such images or gives no one vector for an image.
    """
    with torch.device("meta"):
        model = _without_classifier(network)
        try:
            found = model.train()(torch.empty(2, 3, height, width))
        except (RuntimeError, ValueError, AssertionError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"network {network!r} does not take {width}x{height} images ({reason}); "
                "take a classifier for images of any size, e.g. torchvision:resnet50, or give the "
                f"images the size that it wants, often {TRIAL}: data=folder:PATH@{TRIAL}"
            ) from None
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 2:
        raise ConfigError(
            f"network {network!r} does not give one vector for an image; "
            "take a plain classifier, e.g. torchvision:resnet50"
        )
    return found.shape[1]


def batch_norms(network: str) -> list[nn.Module]:
    """The 2-D batch norms of this network, without memory for their weights."""
    with torch.device("meta"):
        parts = _without_classifier(network).modules()
    return [part for part in parts if isinstance(part, nn.BatchNorm2d)]


def _without_classifier(network: str) -> nn.Module:
    """A new model of the library, its last linear layer replaced by the identity."""
    library, _, name = network.partition(":")
    if library == "timm":
        timm = _load_timm(network)
        _check_name(network, name, timm.list_models())
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
        return model
    from torchvision import models

    _check_name(network, name, models.list_models(module=models))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some say that their first weights will be others one day
        model = models.get_model(name, weights=None)
    last = None
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear):
            last = path
    if last is None:
        raise ConfigError(f"network {network!r} has no linear layer at its end; take another")
    parent, _, child = last.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
    return model


def _load_timm(network: str) -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError:
        raise ConfigError(
            f"network {network!r} needs timm, which is not installed: pip install timm, "
            "or take one of torchvision:NAME"
        ) from None


def _check_name(network: str, name: str, known: list[str]) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=3) or known[:3]
    raise ConfigError(f"network {network!r} is not known; near are {', '.join(near)}")
