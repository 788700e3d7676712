"""Split batch norm: each group by itself, the running statistics their mean."""

import copy

import pytest
import torch
from torch import nn

from ltcl_helpers import networks, pretrain
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.networks import foreign
from ltcl_helpers.networks.batchnorm import split_batch_norms
from ltcl_helpers.networks.exchange import Ranks


def drawn():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(12, 5, 3, 3, generator=draw, dtype=torch.float64)
    plain = nn.Sequential(nn.BatchNorm2d(5)).double()
    plain[0].weight.data.uniform_(0.5, 2, generator=draw)
    return x, plain


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_each_group_is_normalised_by_itself(memory_format):
    x, plain = drawn()
    split = split_batch_norms(copy.deepcopy(plain), 4)
    alone = [copy.deepcopy(plain) for _ in range(4)]
    got = split(x.contiguous(memory_format=memory_format))
    assert got.is_contiguous(memory_format=memory_format)  # other layers are slow otherwise
    for j in range(4):
        torch.testing.assert_close(got[3 * j :][:3], alone[j](x[3 * j :][:3]))
    for name in ("running_mean", "running_var"):
        mean = torch.stack([getattr(a[0], name) for a in alone]).mean(0)
        torch.testing.assert_close(getattr(split[0], name), mean)
    assert split[0].num_batches_tracked == 1


def test_gradients_are_those_of_the_groups():
    x, plain = drawn()
    split = split_batch_norms(copy.deepcopy(plain), 3)
    weights = torch.arange(x.numel()).view_as(x).sin()
    given = [x.clone().requires_grad_() for _ in range(2)]
    (split(given[0]) * weights).sum().backward()
    for j in range(3):
        (plain(given[1][4 * j :][:4]) * weights[4 * j :][:4]).sum().backward()
    torch.testing.assert_close(given[0].grad, given[1].grad)
    torch.testing.assert_close(split[0].weight.grad, plain[0].weight.grad)


def test_in_eval_mode_it_is_plain_and_one_group_is_plain_too():
    x, plain = drawn()
    split = split_batch_norms(copy.deepcopy(plain), 1)
    torch.testing.assert_close(split(x), plain(x))
    assert split.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(split.eval()(x), plain.eval()(x))


def test_without_a_momentum_the_statistics_stay_as_they_are():
    x, _ = drawn()
    split = split_batch_norms(nn.Sequential(nn.BatchNorm2d(5, momentum=None)).double(), 3)
    split(x)
    assert split[0].running_mean.tolist() == [0] * 5 and split[0].running_var.tolist() == [1] * 5


class WithActivation(nn.BatchNorm2d):
    """As timm's BatchNormAct2d: the activation is a part of it."""

    def forward(self, x):
        return super().forward(x).relu()


def test_a_norm_that_does_more_than_normalise_is_refused(monkeypatch, tmp_path):
    """A plain one in its place would drop the rest, silently: in MoCo, or on ranks."""
    with pytest.raises(ConfigError, match="WithActivation, which does more"):
        split_batch_norms(nn.Sequential(WithActivation(5)), 4)
    with pytest.raises(ConfigError, match="WithActivation, which does more"):
        Ranks(2)._shared_norm(WithActivation(5))

    def small(_network):
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), WithActivation(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )

    monkeypatch.setattr(foreign, "_without_classifier", small)
    about = {"preset": "tiny", "network": "torchvision:resnet18"}
    networks.check(RunConfig(**about, method="sdclr"))  # its twins keep the norm as it is
    for method in ("moco-v1", "moco-v2"):
        with pytest.raises(ConfigError, match="take another network"):
            networks.check(RunConfig(**about, method=method))
    with pytest.raises(ConfigError, match="take another network"):
        pretrain.pretrain(RunConfig(**about, method="moco-v2"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
