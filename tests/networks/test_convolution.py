"""Convolutions by matrix products are the library's, and take its way where that is quicker."""

import pytest
import torch
from torch import nn

from ltcl_helpers.networks import convolution
from ltcl_helpers.networks.convolution import Conv


@pytest.mark.parametrize(
    "kernel, stride, side, how",
    [
        *[(3, stride, side, "Patch") for stride, side in ((1, 3), (1, 4), (2, 5), (2, 8))],
        *[
            (3, stride, side, "Permute")
            for stride, side in ((1, 1), (1, 2), (2, 2), (2, 3), (2, 4))
        ],
        (5, 1, 2, "Permute"),
        (5, 2, 4, "Permute"),
        (1, 2, 8, "Permute"),
    ],
)
def test_convolutions_by_matrix_products_are_the_librarys(kernel, stride, side, how):
    draw = torch.Generator().manual_seed(0)
    conv = Conv(3, 5, kernel, stride).double()
    x = torch.rand(6, 3, side, side, generator=draw, dtype=torch.float64, requires_grad=True)
    results = []
    for output in (conv(x), nn.Conv2d.forward(conv, x)):
        weighted = (output * torch.arange(output.numel()).view_as(output)).sum()
        results.append((output, *torch.autograd.grad(weighted, (x, conv.weight))))
    names = [str(output.grad_fn) for output, *_ in results]
    assert how in names[0] and "ConvolutionBackward" in names[1]
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def count_calls(monkeypatch, conv, x):
    """Which of the quick ways a convolution takes."""
    calls = []
    for name in ("_pointwise", "_one_product"):
        real = getattr(convolution, name)
        monkeypatch.setattr(
            convolution, name, lambda *given, n=name, real=real: calls.append(n) or real(*given)
        )
    real_apply = convolution._PatchGradient.apply
    monkeypatch.setattr(
        convolution._PatchGradient, "apply",
        lambda *given: calls.append("_PatchGradient") or real_apply(*given),
    )  # fmt: skip
    conv(x)
    return calls


@pytest.mark.parametrize(
    ("kernel", "stride", "shape", "way"),
    [
        (1, 1, (9, 9), "_pointwise"),
        (3, 1, (2, 2), "_one_product"),
        (3, 2, (4, 4), "_one_product"),
        (3, 3, (6, 6), "_PatchGradient"),  # an output of 2x2, but a stride that nobody has
        (3, 1, (2, 1), "_PatchGradient"),  # not square
        (3, 1, (3, 3), "_PatchGradient"),
        (3, 1, (4, 4), "_PatchGradient"),
        (3, 1, (2, 8), "_PatchGradient"),
        (3, 1, (3, 6), ""),  # 18 places
        (3, 2, (8, 8), "_PatchGradient"),
        (3, 2, (8, 9), ""),
        (3, 1, (5, 5), ""),
    ],
)
def test_the_quick_ways_are_for_maps_of_few_places(kernel, stride, shape, way, monkeypatch):
    conv, x = Conv(3, 4, kernel, stride).double(), torch.rand(2, 3, *shape, dtype=torch.float64)
    expected = nn.Conv2d.forward(conv, x)
    assert count_calls(monkeypatch, conv, x) == [way] * bool(way)
    torch.testing.assert_close(conv(x), expected)


def test_without_a_weight_gradient_the_library_is_quick_at_small_maps(monkeypatch):
    conv = Conv(3, 4, 3).requires_grad_(False)
    assert count_calls(monkeypatch, conv, torch.rand(2, 3, 4, 4)) == []
    assert count_calls(monkeypatch, conv, torch.rand(2, 3, 2, 2)) == ["_one_product"]


@pytest.mark.parametrize(("kernel", "side"), [(1, 6), (3, 2), (3, 4), (3, 6)])
def test_autocast_reaches_the_quick_ways_too(kernel, side):
    conv, x = Conv(3, 4, kernel), torch.rand(2, 3, side, side)
    with torch.autocast("cpu", torch.bfloat16):
        found = conv(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), conv(x), rtol=0.05, atol=0.02)


def test_features_taken_without_gradients_do_not_keep_the_next_training_from_it():
    """What one call lays out serves all that come later."""
    convolution._taps.cache_clear()
    conv = Conv(2, 3, 3)
    x = torch.rand(4, 2, 2, 2)
    with torch.inference_mode():
        conv(x)
    conv(x.requires_grad_()).sum().backward()
    assert x.grad is not None and conv.weight.grad is not None


def test_a_convolution_has_no_bias_and_keeps_the_size():
    for kernel in (1, 3, 7):
        conv = Conv(2, 3, kernel)
        assert conv.bias is None and conv.stride == (1, 1)
        assert conv(torch.rand(1, 2, 9, 9)).shape == (1, 3, 9, 9)
    assert Conv(2, 3, 3, 2)(torch.rand(1, 2, 9, 9)).shape == (1, 3, 5, 5)


def test_two_gradients_of_one_convolution_are_the_librarys():
    """Of maps that are not square, each side by its own length."""
    conv = Conv(3, 5, 3).double()
    x = torch.rand(2, 3, 2, 6, dtype=torch.float64, requires_grad=True)
    ours, theirs = (
        torch.autograd.grad(output.square().sum(), (x, conv.weight))
        for output in (conv(x), nn.Conv2d.forward(conv, x))
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
