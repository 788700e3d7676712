"""The networks: ResNets by blocks and width, CIFAR stem, and the projection head (SPEC 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn

from .config import RunConfig

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, for CIFAR too, as published


class Conv(nn.Conv2d):
    """A convolution without bias whose padding keeps the size; faster than its parent on a CPU.

    There the library is slow on maps of few places. For an output of up to 2x2 places all of an
    image's inputs times one matrix give all its outputs; for one of up to 4x4 the weight gradient
    is one matrix product over all patches; and a 1x1 convolution is a matrix product. All are
    equal to the parent up to rounding.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        if x.device.type != "cpu":
            return super().forward(x)
        (_, _, height, width), stride = x.shape, self.stride[0]
        if self.kernel_size == (1, 1):
            places = x.permute(0, 2, 3, 1)[:, ::stride, ::stride]
            return nn.functional.linear(places, self.weight[:, :, 0, 0]).permute(0, 3, 1, 2)
        weight, tiny = self.weight, height == width <= 2 * stride <= 4
        if not tiny and (height * width > 16 * stride**2 or not weight.requires_grad):
            return super().forward(x)
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            x, weight = x.to(dtype), weight.to(dtype)
        if tiny:
            return _one_product(x, weight, _taps(height, stride, self.kernel_size[0]))
        return _PatchGradient.apply(x, weight, self.stride, self.padding)


@cache
def _taps(size: int, stride: int, kernel: int) -> Tensor:
    """Which of k*k weights, int64 [h*h, size*size], joins two places; k*k where none does."""
    # Along one axis first: the kernel's index for each output and input.
    apart = kernel // 2 + torch.arange(size) - torch.arange(0, size, stride)[:, None]
    rows, columns = apart[:, None, :, None], apart[None, :, None, :]
    near = (rows >= 0) & (rows < kernel) & (columns >= 0) & (columns < kernel)
    return torch.where(near, kernel * rows + columns, kernel**2).flatten(2).flatten(0, 1)


def _one_product(x: Tensor, weight: Tensor, taps: Tensor) -> Tensor:
    """conv2d [B, I, H, W] to [B, O, h, h]; `weight` [O, I, k, k] is spread by `taps` [h*h, H*W]."""
    outputs, side = len(weight), math.isqrt(len(taps))
    kernel = nn.functional.pad(weight.permute(2, 3, 0, 1).flatten(0, 1), (0, 0, 0, 0, 0, 1))
    matrix = kernel.index_select(0, taps.flatten()).unflatten(0, taps.shape)  # [h*h, H*W, O, I]
    matrix = matrix.transpose(1, 2).flatten(2).flatten(0, 1)  # [h*h*O, H*W*I]
    x = nn.functional.linear(x.permute(0, 2, 3, 1).flatten(1), matrix)
    return x.view(-1, side, side, outputs).permute(0, 3, 1, 2)


class _PatchGradient(torch.autograd.Function):
    """conv2d; in its backward the weight gradient is a matrix product."""

    @staticmethod
    def forward(ctx, x, weight, stride, padding):
        ctx.save_for_backward(x, weight)
        ctx.options = stride, padding
        return nn.functional.conv2d(x, weight, None, stride, padding)

    @staticmethod
    def backward(ctx, gradient):
        (x, weight), (stride, padding) = ctx.saved_tensors, ctx.options
        of_x = nn.grad.conv2d_input(x.shape, weight, gradient, stride, padding)
        (step, _), (edge, _), side = stride, padding, weight.shape[2]
        x = nn.functional.pad(x.permute(0, 2, 3, 1), (0, 0, edge, edge, edge, edge))
        patches = x.unfold(1, side, step).unfold(2, side, step)  # [B, h, w, inputs, side, side]
        patches = patches.permute(0, 1, 2, 4, 5, 3).flatten(0, 2).flatten(1)
        outputs = gradient.permute(0, 2, 3, 1).flatten(0, 2)  # [B h w, outputs]
        of_weight = (outputs.T @ patches).view(-1, side, side, x.shape[3]).permute(0, 3, 1, 2)
        return of_x, of_weight, None, None


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016, the basic block)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = Conv(outputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                Conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn1(self.conv1(x)).relu_()  # in place: batch norm's backward reads its input only
        return self.bn2(self.conv2(x)).add_(shortcut).relu_()


class ResNet(nn.Module):
    """A ResNet for small images, named as torchvision names its parts.

    Args:
        blocks: residual blocks per stage; (2, 2, 2, 2) is ResNet-18, (1, 1, 1, 1) ResNet-10.
        width: channels of the first stage; every further stage doubles them and halves the size.
        stem_stride: of the first convolution; 1 as published, 2 sees everything at half the size.

    The first operation normalises the input with ImageNet's statistics, in training and after.
    """

    def __init__(
        self, blocks: Sequence[int] = (2, 2, 2, 2), width: int = 64, stem_stride: int = 1
    ) -> None:
        super().__init__()
        self.stages = len(blocks)
        self.dim = width * 2 ** (self.stages - 1)  # length of a feature
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.conv1 = Conv(3, width, 3, stem_stride)  # no max-pool
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for stage, count in enumerate(blocks):
            outputs, stride = width * 2**stage, 1 if stage == 0 else 2
            layers = [Block(inputs, outputs, stride)]
            layers += [Block(outputs, outputs, 1) for _ in range(count - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
            inputs = outputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Images float [B, 3, H, W] in [0, 1] to features [B, dim]."""
        x = (images - self.mean).div_(self.std)
        x = self.bn1(self.conv1(x)).relu_()
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return x.mean((2, 3))


class ProjectionHead(nn.Module):
    """Linear, batch norm, ReLU, Linear, batch norm: used for the loss, dropped afterwards.

    `layers=3` puts one more Linear, batch norm, ReLU before the end (SPEC 5, SDCLR's repository).
    """

    def __init__(self, dim: int, outputs: int = 128, layers: int = 2) -> None:
        super().__init__()
        self.layers = layers
        for k in range(1, layers + 1):
            size = outputs if k == layers else dim
            self.add_module(f"fc{k}", nn.Linear(dim, size, bias=k == 1))
            self.add_module(f"bn{k}", nn.BatchNorm1d(size))

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, dim] to projections [B, outputs], not normalised."""
        x = features
        for k in range(1, self.layers + 1):
            x = getattr(self, f"bn{k}")(getattr(self, f"fc{k}")(x))
            x = x.relu_() if k < self.layers else x
        return x


def build(config: RunConfig) -> tuple[ResNet, ProjectionHead]:
    """Encoder and head of a run; of equal networks the initial weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # module constructors know no generator argument
        encoder = ResNet(config.blocks, config.width, config.stem_stride)
        return encoder, ProjectionHead(encoder.dim, layers=config.head_layers)
