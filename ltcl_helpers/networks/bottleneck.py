"""The network of ImageNet: bottleneck blocks behind a large stem, named as torchvision names it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .convolution import Conv
from .resnet import MEAN, STD, Encoder, initialise

EXPANSION = 4  # a block's last convolution has so many times its width


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; the stride is in the 3x3 (version 1.5)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.conv1 = Conv(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = Conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = Conv(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                Conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, 4 * width, H / stride, W / stride]."""
        shortcut = x
        if self.downsample is not None:
            shortcut = self.downsample(x)
        x = self.bn1(self.conv1(x)).relu_()  # [B, width, H, W]
        x = self.bn2(self.conv2(x)).relu_()  # [B, width, H / stride, W / stride]
        y: Tensor = self.bn3(self.conv3(x))  # [B, 4 * width, H / stride, W / stride]
        return y.add_(shortcut).relu_()


class ImageNetResNet(Encoder):
    """A ResNet for large images (He et al. 2016): blocks (3, 4, 6, 3) at width 64 are ResNet-50.

    Its weights bear torchvision's names, so that they load into a network of torchvision's.

    Args:
        blocks: bottleneck blocks per stage.
        width: of the first stage; every further stage doubles it and halves the size.
        stem_stride: stride of the 7x7 convolution, 2 as published; a max-pool follows it.

    The first operation normalises the input with ImageNet's statistics, in training and after.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, blocks: Sequence[int] = (3, 4, 6, 3), width: int = 64, stem_stride: int = 2
    ) -> None:
        super().__init__()
        self.stages = len(blocks)
        self.dim = EXPANSION * width * 2 ** (self.stages - 1)  # length of a feature
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.conv1 = Conv(3, width, 7, stem_stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = width
        for stage, count in enumerate(blocks):
            inner = width * 2**stage
            stride = 1 if stage == 0 else 2
            layers = []
            for block in range(count):
                layers.append(Bottleneck(inputs, inner, stride if block == 0 else 1))
                inputs = EXPANSION * inner
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Images float [B, 3, H, W] in [0, 1] to features [B, dim]."""
        x = (images - self.mean).div_(self.std)  # [B, 3, H, W]
        x = self.bn1(self.conv1(x)).relu_()  # [B, width, H / 2, W / 2]
        x = self.maxpool(x)  # [B, width, H / 4, W / 4]
        for stage in range(self.stages):
            layer = getattr(self, f"layer{stage + 1}")
            x = layer(x)  # after the first, half as high and wide, with twice the channels
        features: Tensor = x.mean((2, 3))  # [B, dim], the mean over all places
        return features
