"""The classification view against torchvision's AutoAugment on PIL images, and its other parts."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.functional import pil_to_tensor

from ltcl_helpers.views import autoaugment, randaugment
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


@pytest.mark.parametrize(
    ("name", "weakest", "middle", "strongest"),
    [
        ("ShearX", 0, 0.15, 0.3),
        ("ShearY", 0, 0.15, 0.3),
        ("TranslateX", 0, 75 / 331, 150 / 331),
        ("TranslateY", 0, 75 / 331, 150 / 331),
        ("Rotate", 0, 15, 30),
        ("Solarize", 255, 127.5, 0),
        ("Posterize", 8, 6, 4),
        ("Invert", 0, 0, 0),
    ],
)
def test_an_operation_goes_from_its_weakest_to_its_strongest(name, weakest, middle, strongest):
    found = [autoaugment._value(name, strength) for strength in (0, 0.5, 1)]
    assert found == [(pytest.approx(value), 0.0) for value in (weakest, middle, strongest)]


def test_bits_are_whole_and_blends_go_both_ways():
    assert autoaugment._value("Posterize", 0.3) == (7.0, 0.0)  # 6.8
    for name in ("Contrast", "Color", "Brightness", "Sharpness"):
        assert autoaugment._value(name, 0.5) == (1.0, 0.45)


def test_every_choice_has_a_random_number_of_its_own():
    """Of images that are not square: each axis by its own length."""
    drawn = autoaugment.draw_autoaugment(300, 16, 40, torch.Generator().manual_seed(4))
    u = torch.rand(300, 10, generator=torch.Generator().manual_seed(4))
    assert torch.equal(drawn.policy, (25 * u[:, 0]).floor().long())
    assert torch.equal(drawn.chance, u[:, 1:3])
    assert torch.equal(drawn.sign, torch.where(u[:, 3:5] < 0.5, -1.0, 1.0))
    assert torch.equal(drawn.flip, u[:, 5] < 0.5)
    assert torch.equal(drawn.corner, (u[:, 6:8] * torch.tensor([5, 11])).long())
    assert torch.equal(drawn.hole, (u[:, 8:] * torch.tensor([16, 40])).long())


def test_crop_flip_hole_and_shift_of_an_image_that_is_not_square():
    given = images(1, 40)[:, :, :16]  # 16 x 40
    plain = given[0].float().numpy() / 255
    padded = np.pad(plain, ((0, 0), (2, 2), (5, 5)))
    still_here = still(1, corner=torch.tensor([[2, 5]]))
    got = apply_autoaugment_view(given, still_here)[0]
    np.testing.assert_allclose(got, plain, atol=1e-6)
    flipped = still_here._replace(corner=torch.tensor([[4, 1]]), flip=torch.tensor([True]))
    got = apply_autoaugment_view(given, flipped)[0]
    np.testing.assert_allclose(got, padded[:, 4:20, 1:41][:, :, ::-1], atol=1e-6)
    got = apply_autoaugment_view(given, still_here._replace(hole=torch.tensor([[9, 12]])))[0]
    np.testing.assert_allclose(got[:, 5:13, 2:22], 0)
    assert (got.numpy() == 0).sum() == 3 * 8 * 20 + (plain == 0).sum() - (
        plain[:, 5:13, 2:22] == 0
    ).sum()
    for name, side in (("TranslateX", 40), ("TranslateY", 16)):
        operation = torch.tensor([randaugment.CODE[name]])
        value = torch.tensor([0.3])
        whole = autoaugment._whole_pixels(operation, value, 16, 40)
        assert whole.item() == pytest.approx(int(0.3 * side) / side)
    turned = autoaugment._whole_pixels(torch.tensor([randaugment.CODE["Rotate"]]), value, 16, 40)
    assert turned.item() == pytest.approx(0.3)


def test_without_a_crop_only_operations_and_the_hole_are_left():
    given = images(8)
    found = autoaugment.autoaugment_view(given, torch.Generator().manual_seed(2), crop=False)
    drawn = autoaugment.draw_autoaugment(8, 32, 32, torch.Generator().manual_seed(2))
    centred = drawn._replace(
        corner=torch.full((8, 2), 4), flip=torch.zeros(8, dtype=torch.bool)
    )  # fmt: skip
    assert torch.equal(found, apply_autoaugment_view(given, centred))
    assert torch.equal(found, apply_autoaugment_view(given, drawn, crop=False))


def test_what_has_no_probability_is_never_done():
    """Policy 14 would invert with a probability of 0."""
    given = images(1)
    never = still(1, policy=torch.tensor([14]), chance=torch.tensor([[1.0, 0.0]]))
    assert torch.equal(apply_autoaugment_view(given, never), given / 255)


def test_the_first_policies_are_torchvisions():
    table = autoaugment.policies("cpu")
    assert table.operation.shape == (25, 2) and table.operation.dtype == torch.int64
    names = list(randaugment.OPERATIONS)
    assert [names[k] for k in table.operation[:2].flatten()] == [
        "Invert", "Contrast", "Rotate", "TranslateX",
    ]  # fmt: skip
    torch.testing.assert_close(table.probability[:2], torch.tensor([[0.1, 0.2], [0.7, 0.3]]))
    torch.testing.assert_close(table.value[1], torch.tensor([30 * 2 / 9, 150 / 331]))
    torch.testing.assert_close(table.spread[:2], torch.tensor([[0, 0.9 * 6 / 9], [0, 0]]))
