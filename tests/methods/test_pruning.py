"""Masks against the published code's, and what the pruned branch promises."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ltcl_helpers import networks, pretrain
from ltcl_helpers.config import RunConfig
from ltcl_helpers.methods import pruning
from ltcl_helpers.methods.losses import nt_xent
from ltcl_helpers.methods.simclr import Batch

LAYERS = ("conv1", "conv2", "down")


def test_masks_equal_the_published_ones_at_every_fraction(golden):
    values = golden("c_prune_mask")
    weights = {name: torch.from_numpy(values[f"w_{name}"]) for name in LAYERS}
    fractions = {key.split("_")[0][1:] for key in values if key.endswith("_kept")}
    assert len(fractions) == 6
    for fraction in fractions:
        masks = pruning.magnitude_masks(weights, float(fraction))
        for name in LAYERS:
            np.testing.assert_array_equal(masks[name], values[f"p{fraction}_mask_{name}"] != 0)
        kept = [int(mask.sum()) for mask in masks.values()]
        assert kept == values[f"p{fraction}_kept"].tolist()


def test_all_weights_that_tie_with_the_threshold_stay(golden):
    values = golden("c_prune_mask")
    weights = {name: torch.from_numpy(values[f"tie_w_{name}"]) for name in LAYERS}
    kept = sum(int(mask.sum()) for mask in pruning.magnitude_masks(weights, 0.9).values())
    assert kept == values["tie_kept_total_p0.9"] == 348


def test_masked_convolution_and_its_gradient_equal_the_published_ones(golden):
    values = golden("c_prune_mask")
    conv = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False))
    with torch.no_grad():
        conv.double()[0].weight.copy_(torch.from_numpy(values["w_conv1"]))
    masks = {"0.weight": torch.from_numpy(values["p0.9_mask_conv1"] != 0)}
    x = torch.from_numpy(values["fwd_x"]).double()  # the golden results are rounded to float32
    for flag, y in enumerate((conv(x), pruning.pruned_forward(conv, masks, x))):
        (gradient,) = torch.autograd.grad(y.square().sum(), conv[0].weight)
        np.testing.assert_allclose(y.detach(), values[f"fwd_y_flag{flag}"], atol=1e-5)
        np.testing.assert_allclose(gradient, values[f"fwd_grad_flag{flag}"], rtol=1e-5, atol=1e-5)
    assert not gradient[~masks["0.weight"]].any() and gradient[masks["0.weight"]].all()


def test_densities_of_a_fresh_resnet18_are_the_published_networks(golden):
    values = golden("c_resnet18_init_density")
    encoder = pretrain.make_method(RunConfig(preset="paper", seed=10)).encoder
    weights = pruning.prunable(encoder)
    assert len(weights) == 20 and sum(w.numel() for w in weights.values()) == 11_159_232
    for fraction in ("0.9", "0.3"):
        masks = pruning.magnitude_masks(weights, float(fraction))
        kept = values[f"kept_p{fraction.replace('.', '_')}"] / values["numel"]
        for name, expected in zip(values["names"], kept, strict=True):
            name = str(name).removeprefix("backbone.").replace("downsample.conv", "downsample.0")
            tolerance = 0.03 if name == "conv1" else 0.01
            assert masks[f"{name}.weight"].float().mean() == pytest.approx(expected, abs=tolerance)


def test_random_share_prunes_as_many_by_chance():
    weights = {"a": torch.randn(200, 500, generator=torch.Generator().manual_seed(0))}
    by_size = pruning.magnitude_masks(weights, 0.5)["a"]
    mixed = pruning.magnitude_masks(weights, 0.8, 0.3, torch.Generator().manual_seed(1))["a"]
    again = pruning.magnitude_masks(weights, 0.8, 0.3, torch.Generator().manual_seed(1))["a"]
    assert torch.equal(mixed, again) and not (mixed & ~by_size).any()
    assert mixed.float().mean() == pytest.approx(0.2, abs=4 * math.sqrt(0.25 / 1e5))
    with pytest.raises(ValueError, match="needs a generator"):
        pruning.magnitude_masks(weights, 0.5, 0.1)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9, 1.0])
def test_sorting_gives_the_same_threshold(fraction, monkeypatch):
    """The way of a GPU, on the CPU, with ties."""
    values = torch.randn(4000, generator=torch.Generator().manual_seed(0)).mul(20).round() / 20
    ways = [pruning._smallest(values, 3999 * k // 9, way) for k in range(10) for way in (0, 1)]
    assert ways[::2] == ways[1::2] and len(set(map(float, ways))) > 5
    expected = pruning.magnitude_masks({"a": values}, fraction)["a"]
    real = pruning._smallest
    monkeypatch.setattr(pruning, "_smallest", lambda v, k, by_sorting: real(v, k, True))
    assert torch.equal(pruning.magnitude_masks({"a": values}, fraction)["a"], expected)


def test_masks_lie_in_memory_as_their_weights():
    weights = torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    plain = pruning.magnitude_masks({"a": weights}, 0.9)["a"]
    moved = weights.contiguous(memory_format=torch.channels_last)
    mask = pruning.magnitude_masks({"a": moved}, 0.9)["a"]
    assert mask.stride() == moved.stride() and torch.equal(mask, plain)
    method, _ = sdclr()
    method.to(memory_format=torch.channels_last)
    method.masks.clear()
    for epoch in (1, 2):
        method.start_epoch(epoch, 2)
        for name, weight in pruning.prunable(method.encoder).items():
            assert method.masks[name].stride() == weight.stride()


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_fraction_outside_0_to_1_is_refused(fraction):
    with pytest.raises(ValueError, match="allowed is 0 <= fraction <= 1"):
        pruning.magnitude_masks({"a": torch.ones(3)}, fraction)
    with pytest.raises(ValueError, match="random_fraction"):
        pruning.magnitude_masks({"a": torch.ones(3)}, 0.5, 0.6)


def sdclr(refresh_statistics=False, **parameters):
    config = RunConfig(preset="tiny", seed=3, method="sdclr", **parameters)
    method = pretrain.make_method(config).double().train()
    method.refresh_statistics = refresh_statistics
    method.start_epoch(1, 1)
    draw = torch.Generator().manual_seed(5)
    views = torch.rand(2, 12, 3, 8, 8, generator=draw, dtype=torch.float64)
    return method, Batch(torch.arange(12), torch.zeros(12, dtype=torch.int64), tuple(views))


def test_one_joint_backward_equals_the_two_published_passes():
    method, batch = sdclr()
    method(batch).mean().backward()
    joint = {name: p.grad.clone() for name, p in method.named_parameters()}
    method.zero_grad(set_to_none=True)
    dense, pruned = method.project(batch.views[0]), method.project_pruned(batch.views[1])
    nt_xent(dense, pruned.detach(), 0.2).mean().backward()
    nt_xent(dense.detach(), pruned, 0.2).mean().backward()
    two = {name: p.grad for name, p in method.named_parameters()}
    torch.testing.assert_close(two, joint, rtol=0, atol=1e-12)


def test_masked_weights_get_no_gradient_from_the_pruned_branch():
    method, batch = sdclr()
    method.project_pruned(batch.views[1]).square().sum().backward()
    for name, weight in pruning.prunable(method.encoder).items():
        mask = method.masks[name]
        assert not weight.grad[~mask].any()
    assert any(w.grad[method.masks[n]].any() for n, w in pruning.prunable(method.encoder).items())


def test_each_branch_moves_its_own_statistics_only():
    for refresh, steps in ((False, 1), (True, 2)):
        method, batch = sdclr(refresh_statistics=refresh)
        method(batch)
        for pair in (method.encoder.bn1, method.head.bn2):
            assert (pair.dense.num_batches_tracked, pair.pruned.num_batches_tracked) == (1, steps)
        before = method.encoder.bn1.dense.running_mean.clone()
        method.project_pruned(batch.views[1])
        assert torch.equal(before, method.encoder.bn1.dense.running_mean)


def test_pruning_nothing_with_equal_views_is_the_dense_branch():
    method, batch = sdclr(prune_fraction=0.0)
    assert torch.equal(method.project(batch.views[0]), method.project_pruned(batch.views[0]))


def test_kept_encoders_are_the_two_branches_with_plain_names():
    method, batch = sdclr()
    method(batch)
    method.eval()
    plain = networks.build(RunConfig(preset="tiny"))
    kept = method.trained()
    images = batch.views[0]
    for name, expected in (
        ("encoder", method.encoder(images)),
        ("pruned", pruning.pruned_forward(method.encoder, method.masks, images)),
    ):
        plain.double().load_state_dict(kept[name].state_dict())
        torch.testing.assert_close(plain.eval()(images), expected)
    density = sum(int((w != 0).sum()) for w in pruning.prunable(kept["pruned"]).values())
    assert density == sum(int(mask.sum()) for mask in method.masks.values())
