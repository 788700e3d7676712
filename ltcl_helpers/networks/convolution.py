"""Convolutions that a CPU computes fast where maps are small; equal to PyTorch's up to rounding."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input


class Conv(nn.Conv2d):
    """A convolution without bias whose padding keeps the size; faster than its parent on a CPU.

    A CPU's library is slow on maps of few places. Three cases are computed in other ways here,
    which give the same up to rounding:

    * A 1x1 convolution is a matrix product.
    * Where the output has up to 2x2 places, all inputs of an image, times one matrix, give all its
      outputs.
    * Where the output has up to 4x4 places, the weight gradient is one matrix product over all
      patches.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        kernel: height and width of the kernel, an odd number.
        stride: places from one output to the next, in both directions.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        if x.device.type != "cpu":
            return super().forward(x)
        stride = self.stride[0]
        if self.kernel_size == (1, 1):
            return _pointwise(x, self.weight, stride)

        # The library is quick at larger maps, and at small maps that want no weight gradient.
        height, width = x.shape[2:]
        weight: Tensor = self.weight  # [outputs, inputs, k, k]
        is_tiny = height == width <= 2 * stride <= 4  # an output of up to 2x2 places
        is_large = height * width > 16 * stride**2  # an output of more than 4x4 places
        if not is_tiny and (is_large or not weight.requires_grad):
            return super().forward(x)

        # Autocast knows the library's operations only, and not those below.
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            x = x.to(dtype)
            weight = weight.to(dtype)
        if is_tiny:
            taps = _taps(height, stride, self.kernel_size[0])
            return _one_product(x, weight, taps)
        outputs: Tensor = _PatchGradient.apply(x, weight, self.stride, self.padding)
        return outputs


def _pointwise(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A 1x1 convolution [B, I, H, W] to [B, O, H / stride, W / stride] as a matrix product."""
    places = x.permute(0, 2, 3, 1)[:, ::stride, ::stride]  # [B, h, w, I]
    # Flat first: else PyTorch makes a product per image of it where no gradient is wanted.
    flat_inputs = places.flatten(0, 2)  # [B*h*w, I]
    matrix = weight[:, :, 0, 0]  # [O, I]
    flat_outputs: Tensor = F.linear(flat_inputs, matrix)  # [B*h*w, O]
    outputs: Tensor = flat_outputs.unflatten(0, places.shape[:3])  # [B, h, w, O]
    return outputs.permute(0, 3, 1, 2)  # [B, O, h, w]


@cache
@torch.inference_mode(False)  # what is kept must serve training, whoever asks first
def _taps(size: int, stride: int, kernel: int) -> Tensor:
    """Which of a kernel's k*k weights joins an output and an input; k*k where none does.

    Returns:
        int64 [h*h, size*size], for each place of the output, of which there are h*h, and each place
        of the input.
    """
    # Along one axis first: where the kernel has the input, when it stands on the output.
    inputs = torch.arange(size)  # [size]
    outputs = torch.arange(0, size, stride)[:, None]  # [h, 1]
    tap = kernel // 2 + inputs - outputs  # [h, size]
    is_near = (tap >= 0) & (tap < kernel)  # [h, size], the kernel reaches that far

    # Then both axes.
    row = tap[:, None, :, None]  # [h, 1, size, 1]
    column = tap[None, :, None, :]  # [1, h, 1, size]
    both_near = is_near[:, None, :, None] & is_near[None, :, None, :]  # [h, h, size, size]
    taps = torch.where(both_near, kernel * row + column, kernel**2)
    return taps.flatten(2).flatten(0, 1)  # [h*h, size*size]


def _one_product(x: Tensor, weight: Tensor, taps: Tensor) -> Tensor:
    """A convolution [B, I, H, W] to [B, O, h, h] as one matrix product.

    The matrix is `weight` [O, I, k, k], laid out by `taps` [h*h, H*W].
    """
    channels = len(weight)  # O
    side = math.isqrt(len(taps))  # h

    # The matrix: for each output and input the weight that joins them, or zero.
    kernel = weight.permute(2, 3, 0, 1).flatten(0, 1)  # [k*k, O, I]
    kernel = F.pad(kernel, (0, 0, 0, 0, 0, 1))  # [k*k + 1, O, I], zeros where none joins
    joined = kernel.index_select(0, taps.flatten())  # [h*h*H*W, O, I]
    joined = joined.unflatten(0, taps.shape)  # [h*h, H*W, O, I]
    matrix = joined.transpose(1, 2).flatten(2).flatten(0, 1)  # [h*h*O, H*W*I]

    inputs = x.permute(0, 2, 3, 1).flatten(1)  # [B, H*W*I]
    outputs = F.linear(inputs, matrix)  # [B, h*h*O]
    places = outputs.view(-1, side, side, channels)  # [B, h, h, O]
    return places.permute(0, 3, 1, 2)  # [B, O, h, h]


class _PatchGradient(torch.autograd.Function):
    """The library's convolution; in its backward the weight gradient is a matrix product."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        ctx.padding = padding
        return F.conv2d(x, weight, None, stride, padding)  # [B, O, h, w]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors  # [B, I, H, W], [O, I, k, k]
        of_x = conv2d_input(x.shape, weight, gradient, ctx.stride, ctx.padding)  # [B, I, H, W]

        # The patch of the input that each output has seen.
        stride = ctx.stride[0]
        edge = ctx.padding[0]
        kernel = weight.shape[2]  # k
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, edge, edge, edge, edge))  # [B, H+., W+., I]
        patches = padded.unfold(1, kernel, stride).unfold(2, kernel, stride)  # [B, h, w, I, k, k]
        patches = patches.permute(0, 1, 2, 4, 5, 3)  # [B, h, w, k, k, I]
        patches = patches.flatten(0, 2).flatten(1)  # [B*h*w, k*k*I]

        # A weight's gradient sums, over all outputs, what it was multiplied with.
        outputs = gradient.permute(0, 2, 3, 1).flatten(0, 2)  # [B*h*w, O]
        flat = outputs.T @ patches  # [O, k*k*I]
        of_weight = flat.view(-1, kernel, kernel, x.shape[1])  # [O, k, k, I]
        of_weight = of_weight.permute(0, 3, 1, 2)  # [O, I, k, k]
        return of_x, of_weight, None, None  # none for the stride and the padding
