"""Convolutions that a CPU computes fast where maps are small; equal to PyTorch's up to rounding."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input


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
        height, width = x.shape[2:]
        stride = self.stride[0]
        if self.kernel_size == (1, 1):
            return _pointwise(x, self.weight, stride)

        # Larger maps, and small ones that want no weight gradient, are the library's.
        weight: Tensor = self.weight
        tiny = height == width <= 2 * stride <= 4
        large = height * width > 16 * stride**2
        if not tiny and (large or not weight.requires_grad):
            return super().forward(x)

        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            x = x.to(dtype)
            weight = weight.to(dtype)
        if tiny:
            taps = _taps(height, stride, self.kernel_size[0])
            return _one_product(x, weight, taps)
        outputs: Tensor = _PatchGradient.apply(x, weight, self.stride, self.padding)
        return outputs


def _pointwise(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A 1x1 convolution [B, I, H, W] to [B, O, H / stride, W / stride] as a matrix product."""
    places = x.permute(0, 2, 3, 1)[:, ::stride, ::stride]  # [B, h, w, I]
    # Flat first: else PyTorch makes a product per image of it where no gradient is wanted.
    flat: Tensor = nn.functional.linear(places.flatten(0, 2), weight[:, :, 0, 0])  # [B h w, O]
    outputs: Tensor = flat.unflatten(0, places.shape[:3])  # [B, h, w, O]
    return outputs.permute(0, 3, 1, 2)


@cache
def _taps(size: int, stride: int, kernel: int) -> Tensor:
    """Which of k*k weights, int64 [h*h, size*size], joins two places; k*k where none does."""
    # Along one axis first: the kernel's index for each output and input.
    inputs = torch.arange(size)
    outputs = torch.arange(0, size, stride)[:, None]
    apart = kernel // 2 + inputs - outputs  # [h, size]
    is_near = (apart >= 0) & (apart < kernel)
    # Then both axes: [h, h, size, size].
    rows = apart[:, None, :, None]
    columns = apart[None, :, None, :]
    near = is_near[:, None, :, None] & is_near[None, :, None, :]
    taps = torch.where(near, kernel * rows + columns, kernel**2)
    return taps.flatten(2).flatten(0, 1)


def _one_product(x: Tensor, weight: Tensor, taps: Tensor) -> Tensor:
    """conv2d [B, I, H, W] to [B, O, h, h]; `weight` [O, I, k, k] is spread by `taps` [h*h, H*W]."""
    outputs = len(weight)
    side = math.isqrt(len(taps))
    kernel = weight.permute(2, 3, 0, 1).flatten(0, 1)  # [k*k, O, I]
    kernel = nn.functional.pad(kernel, (0, 0, 0, 0, 0, 1))  # and zeros, where none joins
    matrix = kernel.index_select(0, taps.flatten()).unflatten(0, taps.shape)  # [h*h, H*W, O, I]
    matrix = matrix.transpose(1, 2).flatten(2).flatten(0, 1)  # [h*h*O, H*W*I]
    inputs = x.permute(0, 2, 3, 1).flatten(1)  # [B, H*W*I]
    y = nn.functional.linear(inputs, matrix)  # [B, h*h*O]
    return y.view(-1, side, side, outputs).permute(0, 3, 1, 2)


class _PatchGradient(torch.autograd.Function):
    """conv2d; in its backward the weight gradient is a matrix product."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.options = stride, padding
        return nn.functional.conv2d(x, weight, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        stride, padding = ctx.options
        of_x = conv2d_input(x.shape, weight, gradient, stride, padding)

        step = stride[0]
        edge = padding[0]
        side = weight.shape[2]
        x = nn.functional.pad(x.permute(0, 2, 3, 1), (0, 0, edge, edge, edge, edge))
        patches = x.unfold(1, side, step).unfold(2, side, step)  # [B, h, w, I, k, k]
        patches = patches.permute(0, 1, 2, 4, 5, 3).flatten(0, 2).flatten(1)  # [B h w, k k I]
        outputs = gradient.permute(0, 2, 3, 1).flatten(0, 2)  # [B h w, O]
        flat = outputs.T @ patches  # [O, k k I]
        of_weight = flat.view(-1, side, side, x.shape[3]).permute(0, 3, 1, 2)
        return of_x, of_weight, None, None
