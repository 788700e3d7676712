"""Which encoder a run has, by the names in its configuration."""

from __future__ import annotations

from ..config import RunConfig
from .batchnorm import refuse_more_than_a_norm
from .bottleneck import ImageNetResNet
from .foreign import ForeignEncoder, batch_norms, feature_length
from .resnet import Encoder, ResNet


def build(config: RunConfig) -> Encoder:
    """The encoder of a run; its initial weights come from torch's global generator.

    Raises:
        ConfigError: for a network that its library does not have.
    """
    if config.network == "resnet":
        return ResNet(config.blocks, config.width, config.stem_stride)
    if config.network == "bottleneck":
        return ImageNetResNet(config.blocks, config.width, config.stem_stride)
    return ForeignEncoder(config.network)


def check(config: RunConfig) -> None:
    """Raise the ConfigError of `build`, where there is one, without memory for any weights."""
    if ":" in config.network:
        feature_length(config.network)  # of images that every network takes
        if "group_size" in config.options:  # a method with batch norms in groups
            for norm in batch_norms(config.network):
                refuse_more_than_a_norm(norm)


def check_takes(config: RunConfig, height: int, width: int) -> None:
    """Raise a ConfigError where a library's network does not take images of this size."""
    if ":" in config.network:
        feature_length(config.network, height, width)


def layout(config: RunConfig) -> str:
    """How to use the weights of a run's encoder, for those who find its file alone."""
    if ":" in config.network:
        return f"{config.network} without its last linear layer, keys behind 'body.'"
    keys = f"torchvision ResNet keys, blocks {config.blocks}, width {config.width}"
    if config.network == "bottleneck":
        stem = f"7x7 stride {config.stem_stride} without bias, fc identity"
        return f"{keys}, bottleneck blocks; conv1 {stem}"
    stem = f"3x3 stride {config.stem_stride} without bias, maxpool and fc identity"
    return f"{keys}; conv1 {stem}"
