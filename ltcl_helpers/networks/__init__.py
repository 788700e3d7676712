"""The networks: encoders, the projection head, and batch norm in groups."""

from .batchnorm import SplitBatchNorm2d, replace_modules, split_batch_norms
from .bottleneck import ImageNetResNet
from .building import build, check, check_takes, layout
from .convolution import Conv
from .resnet import MEAN, STD, Encoder, ProjectionHead, ResNet

__all__ = [
    "MEAN",
    "STD",
    "Conv",
    "Encoder",
    "ImageNetResNet",
    "ProjectionHead",
    "ResNet",
    "SplitBatchNorm2d",
    "build",
    "check",
    "check_takes",
    "layout",
    "replace_modules",
    "split_batch_norms",
]
