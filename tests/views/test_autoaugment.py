"""The classification view against torchvision's AutoAugment on PIL images, and its other parts."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.functional import pil_to_tensor

from ltcl_helpers.views import autoaugment
from ltcl_helpers.views.autoaugment import AutoAugmentParameters, apply_autoaugment_view

SHIFTS = ("TranslateX", "TranslateY")


def images(count, size=32):
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 6, 6, generator=draw)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return (255 * smooth).to(torch.uint8)


def still(count, **changes):
    """Parameters that change nothing: no crop, no flip, no operation, the hole outside."""
    plain = AutoAugmentParameters(
        torch.zeros(count, dtype=torch.int64), torch.ones(count, 2), torch.ones(count, 2),
        torch.full((count, 2), 4), torch.zeros(count, dtype=torch.bool), torch.full((count, 2), 99),
    )  # fmt: skip
    return plain._replace(**changes)


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("policy", range(25))
def test_every_policy_equals_torchvisions_on_pil_images(policy, sign, monkeypatch):
    (image,) = images(1)
    theirs = AutoAugment(AutoAugmentPolicy.CIFAR10)
    monkeypatch.setattr(
        AutoAugment, "get_params",
        staticmethod(lambda n: (policy, torch.zeros(2), torch.tensor([sign, sign]))),
    )  # fmt: skip
    expected = pil_to_tensor(theirs(Image.fromarray(image.permute(1, 2, 0).numpy()))).float()
    names = [op for op, *_ in theirs.policies[policy]]
    signs = [(2 * sign - 1) * (-1 if name in SHIFTS else 1) for name in names]  # to, not from
    parameters = still(
        1, policy=torch.tensor([policy]), chance=torch.full((1, 2), -1.0),
        sign=torch.tensor([signs]).float(),
    )  # fmt: skip
    got = 255 * apply_autoaugment_view(image[None], parameters)[0]
    differ = ((got - expected).abs() > 1.01).float().mean()
    # None did on three kinds of processor; rounding may bring two pixels to their neighbours.
    assert differ < 0.002, theirs.policies[policy]


def test_probabilities_decide():
    batch = images(1).expand(4000, -1, -1, -1)
    draw = torch.Generator().manual_seed(1)
    parameters = autoaugment.draw_autoaugment(4000, 32, 32, draw)
    one = still(4000, policy=torch.full((4000,), 14), chance=parameters.chance)
    changed = (apply_autoaugment_view(batch, one) != batch / 255).flatten(1).any(1)
    assert abs(changed.float().mean() - 0.5) < 0.03  # Solarize 0.5, then Invert 0.0
    assert abs(parameters.flip.float().mean() - 0.5) < 0.03
    assert parameters.policy.bincount(minlength=25).min() > 100
    assert set(parameters.sign.unique().tolist()) == {-1.0, 1.0}
    assert (parameters.corner.min(), parameters.corner.max()) == (0, 8)
    assert (parameters.hole.min(), parameters.hole.max()) == (0, 31)


def test_crop_flip_and_hole_by_hand():
    (image,) = images(1)
    given = image.float().numpy() / 255
    assert apply_autoaugment_view(image[None], still(1)).dtype == torch.float32
    padded = np.pad(given, ((0, 0), (4, 4), (4, 4)))
    corner = torch.tensor([[7, 2]])
    flip = torch.tensor([True])
    got = apply_autoaugment_view(image[None], still(1, corner=corner, flip=flip))[0]
    np.testing.assert_allclose(got, padded[:, 7:39, 2:34][:, :, ::-1], atol=1e-6)
    got = apply_autoaugment_view(image[None], still(1, hole=torch.tensor([[3, 20]])))[0]
    given[:, 0:11, 12:28] = 0
    np.testing.assert_allclose(got, given, atol=1e-6)


@pytest.mark.usefixtures("float64")
def test_each_image_as_if_it_were_alone_and_float_images_too():
    batch = images(64)
    parameters = autoaugment.draw_autoaugment(64, 32, 32, torch.Generator().manual_seed(2))
    together = apply_autoaugment_view(batch, parameters)
    assert 0 <= together.min() <= together.max() <= 1
    order = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    shuffled = AutoAugmentParameters(*(part[order] for part in parameters))
    assert torch.equal(apply_autoaugment_view(batch[order], shuffled), together[order])
    assert torch.equal(apply_autoaugment_view(batch / 255, parameters), together)
    view = autoaugment.autoaugment_view(batch, torch.Generator().manual_seed(2))
    assert torch.equal(view, together)
    with pytest.raises(ValueError, match="images"):
        autoaugment.autoaugment_view(batch[0], torch.Generator())
