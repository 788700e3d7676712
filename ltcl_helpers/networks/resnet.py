"""The networks: ResNets by blocks and width, CIFAR stem, and the projection head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .convolution import Conv

MEAN = (0.485, 0.456, 0.406)  # ImageNet's, for CIFAR too, as published
STD = (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """What every method needs of a network: it turns images [B, 3, H, W] into features [B, dim]."""

    dim: int  # length of a feature


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016, the basic block).

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        stride: of the first convolution; 2 halves height and width.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = Conv(outputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:  # the shortcut must get the shape of the output
            self.downsample = nn.Sequential(
                Conv(inputs, outputs, 1, stride),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        shortcut = x
        if self.downsample is not None:
            shortcut = self.downsample(x)  # [B, outputs, H / stride, W / stride], as all below

        # ReLU and sum are in place: batch norm's backward reads its input, never its output.
        x = self.conv1(x)
        x = self.bn1(x).relu_()
        x = self.conv2(x)
        x = self.bn2(x)
        return x.add_(shortcut).relu_()


class ResNet(Encoder):
    """A ResNet for small images, named as torchvision names its parts.

    Args:
        blocks: the residual blocks of each stage. (2, 2, 2, 2) is ResNet-18 and (1, 1, 1, 1) is
            ResNet-10.
        width: channels of the first stage; every further stage doubles them and halves the size.
        stem_stride: stride of the first convolution. 1 is published, 2 halves the size.

    The first operation normalises the input with ImageNet's statistics, in training and after.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        blocks: Sequence[int] = (2, 2, 2, 2),
        width: int = 64,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        self.stages = len(blocks)
        self.dim = width * 2 ** (self.stages - 1)  # channels of the last stage

        # Not persistent: the weights' file has torchvision's names and no others.
        mean = torch.tensor(MEAN).view(3, 1, 1)
        std = torch.tensor(STD).view(3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

        # The stem, as usual for small images: a 3x3 convolution and no max-pool.
        self.conv1 = Conv(3, width, 3, stem_stride)
        self.bn1 = nn.BatchNorm2d(width)

        # The stages; the first block of each changes the shape.
        inputs = width
        for stage, count in enumerate(blocks):
            outputs = width * 2**stage
            stride = 1 if stage == 0 else 2
            layers = [Block(inputs, outputs, stride)]
            for _ in range(count - 1):
                layers.append(Block(outputs, outputs, stride=1))
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
            inputs = outputs
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Images float [B, 3, H, W] in [0, 1] to features [B, dim]."""
        x = (images - self.mean).div_(self.std)  # [B, 3, H, W]
        x = self.conv1(x)  # [B, width, H / stem_stride, W / stem_stride]
        x = self.bn1(x).relu_()
        for stage in range(self.stages):
            layer = getattr(self, f"layer{stage + 1}")
            x = layer(x)  # after the first, half as high and wide, with twice the channels
        features: Tensor = x.mean((2, 3))  # [B, dim], the mean over all places
        return features


def initialise(encoder: nn.Module) -> None:
    """Draw the convolutions' first weights, as torchvision initialises its ResNets."""
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ProjectionHead(nn.Module):
    """Linear, batch norm, ReLU, Linear, batch norm: used for the loss, dropped afterwards.

    Args:
        dim: the length of a feature.
        outputs: the length of a projection.
        layers: how many linear layers there are, each with its batch norm and all but the last with
            a ReLU. SDCLR's repository has 3.
    """

    def __init__(self, dim: int, outputs: int = 128, layers: int = 2) -> None:
        super().__init__()
        self.layers = layers
        for k in range(1, layers + 1):
            size = outputs if k == layers else dim
            linear = nn.Linear(dim, size, bias=k == 1)  # the first has one, as published
            norm = nn.BatchNorm1d(size)
            self.add_module(f"fc{k}", linear)
            self.add_module(f"bn{k}", norm)

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, dim] to projections [B, outputs], not normalised."""
        x = features
        for k in range(1, self.layers + 1):
            linear = getattr(self, f"fc{k}")
            norm = getattr(self, f"bn{k}")
            x = norm(linear(x))  # [B, dim], at the end [B, outputs]
            if k < self.layers:
                x = x.relu_()
        return x
