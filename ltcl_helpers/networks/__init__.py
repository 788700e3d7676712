"""The networks: encoders, the projection head, and batch norm in groups."""

from .batchnorm import SplitBatchNorm2d, replace_modules, split_batch_norms
from .convolution import Conv
from .resnet import MEAN, STD, Encoder, ProjectionHead, ResNet, build

__all__ = [
    "MEAN",
    "STD",
    "Conv",
    "Encoder",
    "ProjectionHead",
    "ResNet",
    "SplitBatchNorm2d",
    "build",
    "replace_modules",
    "split_batch_norms",
]
