"""RandAugment against the published pixels; strength and score reach the right sample."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from ltcl_helpers import pretrain
from ltcl_helpers.config import RunConfig
from ltcl_helpers.methods.memory import MomentumLoss
from ltcl_helpers.views import randaugment
from ltcl_helpers.views.boosting import boost_scores, boost_strength
from ltcl_helpers.views.randaugment import CODE, OPERATIONS, RandAugmentParameters, rand_augment

EXACT = {"Invert", "Solarize", "Posterize", "AutoContrast", "Equalize", "TranslateX", "Cutout"}
# A shear of +-0.2 or -0.6 lands on edges of pixels: the last bit decides which is nearest.
TIES = {("ShearX", 10), ("ShearX", 30), ("ShearY", 10), ("ShearY", 30)}
BLENDS = {"Contrast", "Color", "Brightness", "Sharpness"}  # a value is off by a level at most
# Mean differences in levels; measured: 0 where exact, else 0.01 on three kinds of processor. But
# Brightness at 20 multiplies by 1.3: of every tenth level the last bit decides which one it gets.
LIMITS = dict.fromkeys(EXACT, 1e-4) | {"Brightness": 0.2}


def choices(count, operation, sign=1.0, centre=0.5):
    """Parameters that do one operation, on every image, for sure."""
    return RandAugmentParameters(
        torch.full((count, 1), CODE[operation]), torch.zeros(count, 1),
        torch.full((count, 1), sign), torch.full((count, 1, 2), centre),
    )  # fmt: skip


def as_image(array):
    return torch.from_numpy(array).permute(2, 0, 1)[None].float() / 255


@pytest.fixture
def images():
    draw = torch.Generator().manual_seed(0)
    return (torch.rand(6, 3, 16, 16, generator=draw) * 255).round() / 255


def test_names_ranges_and_magnitudes_are_the_published_ones(golden):
    values = golden("f_randaug")
    assert list(OPERATIONS) == values["op_names"].tolist()
    low, high = np.array(list(OPERATIONS.values())).T
    np.testing.assert_array_equal([low, high], [values["op_min"], values["op_max"]])
    magnitudes = low[:, None] + values["m_grid"] / 30 * (high - low)[:, None]
    np.testing.assert_allclose(magnitudes, values["m_values"], atol=1e-12)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_gives_the_published_pixels(golden, operation):
    values = golden("f_randaug")
    image, found = as_image(values["img"]), 0
    for strength, (mark, sign) in itertools.product((5, 10, 20, 30), {"pos": 1, "neg": -1}.items()):
        expected = values.get(f"m{strength}_{operation}_{mark}")
        if expected is None or (operation, strength) in TIES:
            continue
        found += 1
        # The golden Cutout's centre is (16, 16): 32 - 31 * u = 16.
        parameters = choices(1, operation, sign, centre=16 / 31)
        result = randaugment.apply_rand_augment(
            image, torch.tensor([float(strength)]), torch.ones(1), parameters
        )
        difference = (result - as_image(expected)).abs() * 255
        assert difference.mean() <= LIMITS.get(operation, 0.1), (strength, mark)
        assert operation not in BLENDS or difference.max() < 1.01, (strength, mark)
    assert found == (8 if operation.startswith(("Translate", "Rotate")) else 4)


@pytest.mark.parametrize("operation", sorted(BLENDS))
def test_enhancements_are_pillows_on_images_of_any_mean(images, operation):
    """One image has one mean luminance; several tell rounding from cutting off."""
    low, high = OPERATIONS[operation]
    for strength, image in itertools.product((4.0, 13.0, 26.0), images):
        given = torch.tensor([strength]), torch.ones(1), choices(1, operation)
        result = randaugment.apply_rand_augment(image[None], *given)
        picture = Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy())
        enhanced = getattr(ImageEnhance, operation)(picture).enhance(
            low + strength / 30 * (high - low)
        )
        difference = 255 * (result - as_image(np.array(enhanced))).abs()
        assert difference.mean() <= 0.1 and difference.max() < 1.01, strength


@pytest.mark.parametrize("side", [16, 18])
@pytest.mark.parametrize("operation", ["Equalize", "AutoContrast"])
def test_grey_levels_are_spread_as_by_pillow_also_where_there_are_few(operation, side):
    """One level, two of them, and as many pixels as just make a step: of 324, not of 256."""
    levels = torch.arange(side * side).reshape(side, side)
    for image in (levels * 0 + 90, 40 + 50 * (levels % 7 == 0), levels % 200, levels // 2):
        given = image.to(torch.uint8).repeat(3, 1, 1)
        picture = Image.fromarray(given.permute(1, 2, 0).numpy())
        expected = getattr(ImageOps, operation.lower())(picture)
        found = randaugment.apply_rand_augment(
            given[None] / 255, torch.tensor([15.0]), torch.ones(1), choices(1, operation)
        )
        # AutoContrast multiplies by a reciprocal where Pillow divides: some levels are one higher.
        off = 1.001 if operation == "AutoContrast" else 0.001
        found = 255 * found[0].permute(1, 2, 0)
        np.testing.assert_allclose(found, np.array(expected), rtol=0, atol=off)


@pytest.mark.parametrize(("operation", "axis"), [("TranslateX", 2), ("TranslateY", 1)])
def test_a_point_on_an_edge_belongs_to_the_pixel_behind_it(operation, axis):
    levels = torch.arange(1.0, 3 * 8 * 16 + 1).reshape(1, 3, 8, 16)
    number = torch.tensor([CODE[operation]])
    half = 0.5 / (16 if axis == 2 else 8)  # of a pixel
    assert torch.equal(randaugment._move(levels, number, torch.tensor([-half])), levels)
    moved = randaugment._move(levels, number, torch.tensor([half]))
    first, rest = levels[0].split([1, levels.shape[axis + 1] - 1], dim=axis)
    assert torch.equal(moved[0], torch.cat([rest, 0 * first], dim=axis))


def test_cutout_is_drawn_around_the_published_centres(golden):
    values = golden("f_randaug")
    for seed in range(3):
        state = np.random.RandomState(seed)
        x, y = state.rand(2)  # numpy's uniform(32) is 32 - 31 * rand
        parameters = choices(1, "Cutout")._replace(centre=torch.tensor([[[x, y]]]).float())
        result = randaugment.apply_rand_augment(
            as_image(values["img"]), torch.tensor([30.0]), torch.ones(1), parameters
        )
        expected = as_image(values[f"cutout_npseed{seed}_m30"])
        assert ((result - expected).abs() * 255).max() < 1e-3


@pytest.mark.parametrize(("k", "key"), [(1, "k1"), (2, "k2"), (3, "k3")])
def test_strength_follows_the_score_as_published(golden, monkeypatch, k, key):
    values = golden("f_randaug")
    scores = torch.from_numpy(values[f"{key}_weight"])
    for column, zeta in enumerate(values[f"{key}_zeta"]):
        monkeypatch.setattr(
            randaugment.torch,
            "rand",
            lambda shape, zeta=zeta, **_: torch.full(shape, zeta).double(),
        )
        strength, probability = boost_strength(scores, k, "code", None)
        np.testing.assert_allclose(strength, values[f"{key}_strength"][:, column], atol=1e-12)
        np.testing.assert_allclose(probability, values[f"{key}_prob"], atol=1e-12)
        paper, _ = boost_strength(scores, k, "paper", None)
        expected = (30 * scores * zeta)[:, None].expand(-1, k)  # the same zeta for each operation
        np.testing.assert_allclose(paper, expected)


def test_probability_0_is_the_identity_and_1_changes_every_image(images):
    draw = torch.Generator().manual_seed(1)
    off, on = torch.zeros(6), torch.ones(6)
    unrounded = images * 0.999
    assert torch.equal(rand_augment(unrounded, on * 30, off, 3, draw), unrounded)
    strong = torch.stack([rand_augment(images, on * 20, on, 2, draw) for _ in range(20)])
    changed = (strong != images).flatten(2).any(2)
    assert changed.float().mean() > 0.9 and strong.min() >= 0 and strong.max() <= 1


@pytest.mark.usefixtures("float64")
def test_permuting_a_batch_with_its_parameters_permutes_the_result(images):
    draw = torch.Generator().manual_seed(2)
    strength, probability = 30 * torch.rand(6, generator=draw), torch.rand(6, generator=draw)
    for _ in range(10):
        parameters = randaugment.draw_rand_augment(6, 2, draw)
        result = randaugment.apply_rand_augment(images, strength, probability, parameters)
        order = torch.randperm(6, generator=draw)
        moved = RandAugmentParameters(*(p[order] for p in parameters))
        again = randaugment.apply_rand_augment(
            images[order], strength[order], probability[order], moved
        )
        assert torch.equal(again, result[order])


@pytest.mark.usefixtures("float64")
def test_changing_all_images_equals_changing_the_chosen_ones(images, monkeypatch):
    """The way of a GPU, where no shape may depend on a value, run on the CPU."""
    draw = torch.Generator().manual_seed(6)
    strength, probability = 30 * torch.rand(6, generator=draw), torch.rand(6, generator=draw)
    for _ in range(10):
        given = images, strength, probability, randaugment.draw_rand_augment(6, 3, draw)
        expected = randaugment.apply_rand_augment(*given)
        with monkeypatch.context() as patch:
            patch.setattr(randaugment, "_change_chosen", randaugment._change_all)
            assert torch.equal(randaugment.apply_rand_augment(*given), expected)


def test_strength_and_probability_reach_their_own_sample(images):
    only = torch.tensor([0.0, 0, 1, 0, 0, 0])
    result = randaugment.apply_rand_augment(images, 30 * only, only, choices(6, "Invert"))
    changed = (result != images).flatten(1).any(1)
    assert changed.tolist() == only.bool().tolist()
    angles = torch.tensor([0.0, 5, 10, 15, 20, 30])
    brighter = randaugment.apply_rand_augment(
        images, angles, torch.ones(6), choices(6, "Brightness")
    )
    assert (brighter.mean((1, 2, 3)).diff() > 0).all()  # each image by its own strength
    assert torch.equal(brighter[3], images[3])  # 15 is no change


@pytest.mark.usefixtures("float64")
def test_every_operation_can_have_a_strength_of_its_own(images):
    draw = torch.Generator().manual_seed(8)
    chosen = randaugment.draw_rand_augment(6, 3, draw)
    strength, certain = 30 * torch.rand(6, 3, generator=draw), torch.ones(6)
    expected = images
    for k in range(3):
        one = RandAugmentParameters(*(part[:, k : k + 1] for part in chosen))
        expected = randaugment.apply_rand_augment(expected, strength[:, k], certain, one)
    got = randaugment.apply_rand_augment(images, strength, certain, chosen)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    same = strength[:, :1]
    got = randaugment.apply_rand_augment(images, same.expand(6, 3), certain, chosen)
    assert torch.equal(got, randaugment.apply_rand_augment(images, same[:, 0], certain, chosen))


def test_what_has_no_probability_is_never_done_and_everything_has_its_random_number(images):
    chosen = choices(6, "Invert")  # with a chance of 0
    strength = torch.full((6,), 15.0)
    assert torch.equal(
        randaugment.apply_rand_augment(images, strength, torch.zeros(6), chosen), images
    )
    drawn = randaugment.draw_rand_augment(50, 2, torch.Generator().manual_seed(4))
    u = torch.rand(50, 2, 5, generator=torch.Generator().manual_seed(4))
    assert torch.equal(drawn.operation, (15 * u[..., 0]).long())
    assert torch.equal(drawn.chance, u[..., 1]) and torch.equal(drawn.centre, u[..., 3:])
    assert torch.equal(drawn.sign, torch.where(u[..., 2] < 0.5, -1.0, 1.0))


def test_operations_are_drawn_uniformly_with_replacement():
    parameters = randaugment.draw_rand_augment(6000, 2, torch.Generator().manual_seed(3))
    shares = torch.bincount(parameters.operation.flatten(), minlength=15) / 12000
    assert shares.sub(1 / 15).abs().max() < 4 * (1 / 15 / 12000) ** 0.5
    same = (parameters.operation[:, 0] == parameters.operation[:, 1]).float().mean()
    assert same == pytest.approx(1 / 15, abs=0.02)
    assert parameters.sign.mean().abs() < 0.04 and parameters.sign.abs().eq(1).all()


def test_controls_keep_the_mean_and_lose_the_owner():
    scores, draw = torch.linspace(0, 1, 101), torch.Generator().manual_seed(4)
    assert torch.equal(boost_scores(scores, "memory", draw), scores)
    assert torch.equal(boost_scores(scores, "inverted", draw), 1 - scores)
    constant = boost_scores(scores, "constant", draw)
    assert constant.unique().tolist() == pytest.approx([0.5]) and len(constant) == 101
    shuffled = boost_scores(scores, "shuffled", draw)
    assert torch.equal(shuffled.sort().values, scores)
    assert np.corrcoef(shuffled, scores)[0, 1] < 0.4
    for control in ("constant", "shuffled", "inverted"):
        assert not boost_scores(torch.zeros(5), control, draw).any()


def test_scores_of_an_epoch_steer_the_views_of_the_next(monkeypatch):
    """The published code can silently become SimCLR when its workers keep the zeros of epoch 1."""
    seen, scores = [], []
    real_strength, real_end = boost_strength, MomentumLoss.end_epoch
    monkeypatch.setattr(
        "ltcl_helpers.views.boosting.boost_strength",
        lambda s, *rest: seen.append(s.clone()) or real_strength(s, *rest),
    )
    monkeypatch.setattr(
        MomentumLoss,
        "end_epoch",
        lambda self, **kept: scores.append(real_end(self, **kept).clone()) or scores[-1],
    )
    config = RunConfig(preset="tiny", method="bcl-i", epochs=3, device="cpu")
    pretrain.pretrain(config)
    per_epoch = len(seen) // 3
    for epoch in range(3):
        used = torch.cat(seen[epoch * per_epoch : (epoch + 1) * per_epoch])
        expected = torch.zeros_like(used) if epoch == 0 else scores[epoch - 1]
        assert torch.equal(used.sort().values, expected.sort().values)
    assert 1 in scores[0] or 0 in scores[0]  # the sample farthest from the mean loss


def test_a_boosted_run_starts_as_the_plain_one_and_then_leaves_it():
    runs = {
        name: pretrain.pretrain(RunConfig(preset="tiny", device="cpu", **changes))
        for name, changes in (
            ("simclr", {}), ("bcl-i", dict(method="bcl-i")), ("sdclr", dict(method="sdclr")),
            ("bcl-d", dict(method="bcl-d")), ("shuffled", dict(boost="shuffled")),
        )
    }  # fmt: skip
    losses = {name: run.history["loss"].tolist() for name, run in runs.items()}
    for plain, boosted in (("simclr", "bcl-i"), ("sdclr", "bcl-d"), ("simclr", "shuffled")):
        assert losses[plain][0] == losses[boosted][0] and losses[plain][1] != losses[boosted][1]
    assert losses["bcl-i"][1] != losses["shuffled"][1]


def test_bad_input_is_refused(images):
    draw, ones = torch.Generator().manual_seed(0), torch.ones(6)
    with pytest.raises(ValueError, match="allowed is k >= 1"):
        rand_augment(images, ones, ones, 0, draw)
    with pytest.raises(ValueError, match=r"not \[6\]"):
        rand_augment(images, ones[:5], ones, 1, draw)
    with pytest.raises(ValueError, match=r"or \[6, 2\]"):
        rand_augment(images, torch.ones(6, 3), ones, 2, draw)
    with pytest.raises(ValueError, match="uint8 or float32"):
        rand_augment(images.double(), ones, ones, 1, draw)
