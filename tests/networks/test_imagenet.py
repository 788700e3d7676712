"""The networks beyond CIFAR: ResNet-50 as torchvision has it, and encoders of others by name."""

import pytest
import torch
from torchvision.models import resnet50

from ltcl_helpers import networks
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.networks.foreign import ForeignEncoder, feature_length


@pytest.mark.parametrize("train", [True, False])
def test_resnet50_has_torchvisions_keys_and_gives_the_same_features(train, float64):
    theirs = resnet50(weights=None)
    theirs.fc = torch.nn.Identity()
    ours = networks.build(RunConfig(preset="paper-imagenet"))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert len(ours.state_dict()) == 318 and ours.dim == 2048
    ours.load_state_dict(theirs.state_dict())
    images = torch.rand(3, 3, 64, 48)
    normalised = (images - ours.mean) / ours.std
    with torch.no_grad():
        expected = theirs.train(train)(normalised)
        found = ours.train(train)(images)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_first_weights_follow_the_published_law():
    encoder = networks.ImageNetResNet(blocks=(1,), width=32)
    weight = encoder.layer1[0].conv2.weight
    spread = (2 / (32 * 9)) ** 0.5
    assert weight.std().item() == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "torchvision:mobilenet_v3_small"])
def test_an_encoder_of_torchvision_by_name(name):
    config = RunConfig(network=name)
    networks.check(config)
    encoder = networks.build(config)
    assert isinstance(encoder, ForeignEncoder)
    features = encoder(torch.rand(2, 3, 64, 64))
    assert features.shape == (2, encoder.dim)
    assert name in config.caution and "width" not in config.caution
    assert name in networks.layout(config)
    assert config.digest() != RunConfig().digest()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("torchvision:resnet51", "near are resnet5?"),
        ("torchvision:fasterrcnn_resnet50_fpn", "not known"),
        ("torchvision:inception_v3", "take a"),
        ("torchvision:squeezenet1_0", "no linear layer"),
    ],
)
def test_a_network_that_is_no_encoder_is_refused_in_one_line(name, says):
    with pytest.raises(ConfigError, match=says) as error:
        feature_length(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet50", "allowed are resnet, bottleneck"),
        ("torchvision", "allowed are"),
        ("torchvision:", "allowed are"),
        ("hub:vit", "allowed are"),
    ],
)
def test_a_name_of_another_form_is_refused_before_torch_is_loaded(name, says):
    with pytest.raises(ConfigError, match=says):
        RunConfig(network=name)


def test_a_library_that_is_not_installed_is_named():
    pytest.importorskip("torchvision")
    try:
        import timm  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(ConfigError, match="pip install timm"):
            RunConfig(network="timm:resnet18")
