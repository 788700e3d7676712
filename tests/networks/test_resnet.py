"""The networks of small images: torchvision's names and features, published sizes, by name."""

import pytest
import torch
from torch import nn

from ltcl_helpers import networks, pretrain
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.networks import foreign
from ltcl_helpers.networks.resnet import Block


def test_a_stem_with_stride_sees_half_the_size():
    images = torch.rand(2, 3, 32, 32)
    for stride, side in ((1, 32), (2, 16)):
        encoder = networks.build(RunConfig(preset="tiny", stem_stride=stride))
        assert encoder.conv1(images).shape[2:] == (side, side)
        assert encoder(images).shape == (2, 8)


def test_resnet18_has_the_published_sizes_and_torchvisions_names():
    import torchvision

    method = pretrain.make_method(RunConfig(preset="paper")).double()
    encoder, head = method.encoder, method.head
    assert sum(p.numel() for p in encoder.parameters()) == 11_168_832
    assert sum(p.numel() for p in head.parameters()) == 329_472
    theirs = torchvision.models.resnet18()
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = theirs.fc = nn.Identity()
    theirs.double().load_state_dict(encoder.state_dict())
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    normalised = (x - encoder.mean) / encoder.std
    torch.testing.assert_close(encoder.eval()(x), theirs.eval()(normalised))


def test_blocks_and_width_are_the_configurations():
    given = dict(blocks=(1, 3), width=6, stem_stride=2)
    small = networks.build(RunConfig(**given))
    assert (len(small.layer1), len(small.layer2), small.dim) == (1, 3, 12)
    assert small.conv1.stride == (2, 2) and small.conv1.out_channels == 6
    assert [block.conv1.stride[0] for block in small.layer2] == [2, 1, 1]
    large = networks.build(RunConfig(network="bottleneck", **given))
    assert (len(large.layer1), len(large.layer2), large.dim) == (1, 3, 48)
    assert large.conv1.stride == (2, 2) and large.conv1.kernel_size == (7, 7)
    assert [block.conv2.stride[0] for block in large.layer2] == [2, 1, 1]
    assert [block.conv1.stride[0] for block in large.layer2] == [1, 1, 1]
    for network in (small, large):
        assert not {"mean", "std"} & network.state_dict().keys()
        assert network(torch.rand(2, 3, 32, 32)).shape == (2, network.dim)


def test_unless_told_otherwise_networks_are_resnet18_and_resnet50():
    with torch.device("meta"):
        small, large = networks.ResNet(), networks.ImageNetResNet()
        sizes = [sum(p.numel() for p in network.parameters()) for network in (small, large)]
    assert sizes == [11_168_832, 23_508_032]
    assert (small.dim, large.dim) == (512, 2048)
    assert (small.conv1.stride, large.conv1.stride) == ((1, 1), (2, 2))


@pytest.mark.parametrize(
    ("inputs", "outputs", "stride", "has_shortcut"),
    [(4, 4, 1, False), (4, 8, 1, True), (4, 4, 2, True)],
)
def test_a_shortcut_is_a_convolution_only_where_the_shape_changes(
    inputs, outputs, stride, has_shortcut
):
    block = Block(inputs, outputs, stride).eval()
    assert (block.downsample is not None) == has_shortcut
    x = torch.rand(2, inputs, 6, 6)
    found = block(x)
    assert found.shape == (2, outputs, 6 // stride, 6 // stride)
    inner = block.bn2(block.conv2(block.bn1(block.conv1(x)).relu()))
    shortcut = block.downsample(x) if has_shortcut else x
    torch.testing.assert_close(found, (inner + shortcut).relu())


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_head_has_a_batch_norm_after_each_layer_and_a_relu_between_them(layers):
    head = networks.ProjectionHead(5, 7, layers).eval()
    names = [f"fc{k}.{part}" for k in range(1, layers + 1) for part in ("weight", "bias")]
    named = dict(head.named_parameters())
    assert [name for name in names if name in named] == [
        "fc1.weight", "fc1.bias", "fc2.weight", "fc3.weight",
    ][: layers + 1]  # fmt: skip
    x = features = torch.randn(4, 5)
    for k in range(1, layers + 1):
        x = getattr(head, f"bn{k}")(getattr(head, f"fc{k}")(x))
        x = x.relu() if k < layers else x
    torch.testing.assert_close(head(features), x)
    assert head(features).shape == (4, 7) and head(features).min() < 0
    default = networks.ProjectionHead(5)
    assert default.layers == 2 and default.fc2.out_features == 128


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ("resnet", "torchvision ResNet keys, blocks (1, 2), width 8; conv1 3x3 stride 2 without "
         "bias, maxpool and fc identity"),
        ("bottleneck", "torchvision ResNet keys, blocks (1, 2), width 8, bottleneck blocks; conv1 "
         "7x7 stride 2 without bias, fc identity"),
        ("torchvision:resnet18", "torchvision:resnet18 without its last linear layer, keys behind "
         "'body.'"),
    ],
)  # fmt: skip
def test_weights_say_how_they_are_used(network, says):
    config = RunConfig(network=network, blocks=(1, 2), width=8, stem_stride=2)
    assert networks.layout(config) == says


# --- encoders of other libraries ----------------------------------------------------------------


def test_a_foreign_encoder_is_the_librarys_without_its_classifier():
    from torchvision import models

    encoder = foreign.ForeignEncoder("torchvision:resnet18").eval()
    theirs = models.resnet18(weights=None)
    theirs.fc = nn.Identity()
    weights = {name.removeprefix("body."): w for name, w in encoder.state_dict().items()}
    theirs.load_state_dict(weights)
    images = torch.rand(2, 3, 40, 40)
    mean, std = (torch.tensor(x)[:, None, None] for x in (networks.MEAN, networks.STD))
    torch.testing.assert_close(encoder(images), theirs.eval()((images - mean) / std))
    assert encoder.dim == 512


def test_a_foreign_network_is_tried_with_images_of_224_pixels():
    assert foreign.feature_length("torchvision:vit_b_16") == 768  # takes no other size


def test_a_foreign_network_that_does_not_take_the_images_is_refused(tmp_path):
    config = RunConfig(preset="tiny", network="torchvision:vit_b_32")
    with pytest.raises(ConfigError, match=r"does not take 32x32 images .*data=folder:PATH@224"):
        pretrain.pretrain(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Odd(nn.Module):
    """A classifier that gives something else than a vector for each image."""

    def __init__(self, give):
        super().__init__()
        self.give = give

    def forward(self, images):
        return self.give(images)


@pytest.mark.parametrize(
    "give",
    [lambda x: x[:, :, 0], lambda x: x[0, :, 0], lambda x: [x[:, 0, 0]]],
    ids=["three axes", "another number", "no tensor"],
)
def test_what_gives_no_vector_for_an_image_is_refused(give, monkeypatch):
    monkeypatch.setattr(foreign, "_without_classifier", lambda network: Odd(give))
    with pytest.raises(ConfigError, match="'odd' does not give one vector for an image; take a"):
        foreign.feature_length("odd")


def test_three_names_that_are_near_are_named():
    for name, near in (
        ("torchvision:resnet51", "resnet5"),
        ("torchvision:zzzzzzzz", "alexnet, convnext_base, convnext_large"),  # the first of all
    ):
        with pytest.raises(ConfigError) as told:
            networks.check(RunConfig(network=name))
        assert str(told.value).startswith(f"network {name!r} is not known; near are {near}")
        assert str(told.value).count(", ") == 2
