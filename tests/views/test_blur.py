"""Blur, wide hue shifts and views of some rows: what large images and several ranks need."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torchvision.transforms.v2 import functional as tv

from ltcl_helpers import views
from ltcl_helpers.config import RunConfig
from ltcl_helpers.views.autoaugment import autoaugment_view
from ltcl_helpers.views.blur import blur, draw_blur
from ltcl_helpers.views.boosting import make_views
from ltcl_helpers.views.classified import randaugment_view
from ltcl_helpers.views.randaugment import rand_augment
from ltcl_helpers.views.share import Share
from ltcl_helpers.views.simclr import Look, draw_view_parameters, simclr_view


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_blur_is_a_gaussian_with_each_images_own_radius(float64):
    images = torch.rand(4, 3, 20, 17, generator=generator())
    radius = torch.tensor([0.1, 0.0, 1.3, 2.0])
    found = blur(images, radius)
    for image, out, sigma in zip(images, found, radius.tolist(), strict=True):
        expected = image.numpy()
        if sigma:
            filtered = [gaussian_filter(c, sigma, mode="nearest", radius=6) for c in expected]
            expected = np.stack(filtered)
        np.testing.assert_allclose(out.numpy(), expected, atol=1e-12)


def test_radius_is_uniform_and_its_share_is_the_chance():
    radius = draw_blur(20_000, 0.5, generator(1))
    blurred = radius[radius > 0]
    assert len(blurred) / len(radius) == pytest.approx(0.5, abs=0.02)
    assert blurred.min() >= 0.1 and blurred.max() <= 2.0
    assert blurred.mean().item() == pytest.approx(1.05, abs=0.02)
    assert not draw_blur(100, 0.0, generator(2)).any()


def test_a_radius_has_two_numbers_of_its_own():
    uniform = torch.rand(5, 2, generator=generator(3))
    expected = torch.where(uniform[:, 1] < 0.5, 0.1 + 1.9 * uniform[:, 0], 0)
    torch.testing.assert_close(draw_blur(5, 0.5, generator(3)), expected)


def test_blur_comes_last_and_changes_nothing_else():
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=generator(3))
    sharp = simclr_view(images, generator(4))
    draw = generator(4)
    both = simclr_view(images, draw, look=Look(blur=1.0))
    again = generator(4)
    draw_view_parameters(8, 32, 32, again)
    assert torch.equal(both, blur(sharp, draw_blur(8, 1.0, again)))


def test_a_wide_hue_shift_is_torchvisions():
    images = torch.rand(40, 3, 6, 6, generator=generator(5))
    drawn = draw_view_parameters(40, 6, 6, generator(6), Look(jitter=1.0, hue=0.4))
    total = drawn.hue.sum(1)
    assert drawn.hue.shape == (40, 3) and total.abs().max() > 0.3
    plain = drawn._replace(
        factors=torch.ones(40, 3), gray=torch.zeros(40, dtype=torch.bool), flip=drawn.flip & False
    )
    found = views.apply_view(images, plain, crop=False)
    for image, out, turns in zip(images, found, total.tolist(), strict=True):
        torch.testing.assert_close(out, tv.adjust_hue(image, turns), atol=2e-5, rtol=0)


def test_jitter_and_smallest_crop_follow_the_look():
    drawn = draw_view_parameters(4000, 64, 64, generator(7), Look(crop_from=0.5, jitter=1.0))
    share = drawn.box[:, 2] * drawn.box[:, 3] / 64**2
    assert share.min() > 0.47 and (drawn.hue != 0).all()


KINDS = ("simclr", "autoaugment", "crop")


@pytest.mark.parametrize("rule", ["code", "paper"])
@pytest.mark.parametrize("classified", ["autoaugment", "randaugment"])
def test_rows_of_a_batch_get_the_views_they_have_in_all_of_it(rule, classified):
    given = dict(boost="memory", boost_k=2, boost_rule=rule, blur=0.5)
    config = RunConfig(method="balanced-cl", classified_view=classified, **given)
    images = torch.randint(0, 256, (7, 3, 16, 16), dtype=torch.uint8, generator=generator(8))
    scores = torch.linspace(0, 1, 7)
    whole, _ = make_views(config, scores, (generator(1), generator(2)), KINDS)
    expected = whole(images, scores)
    for rows in (slice(0, 4), slice(4, 7)):
        draws = (generator(1), generator(2))
        part, _ = make_views(config, scores, draws, KINDS, cut=lambda _, rows=rows: rows)
        found = part(images[rows], scores)
        assert len(found) == len(KINDS)
        for one, all_of_it in zip(found, expected, strict=True):
            torch.testing.assert_close(one, all_of_it[rows], rtol=0, atol=1e-6)


LOOK = dict(crop_from=0.5, jitter=0.4, hue=0.05, blur=0.7)


def draw_images(count=40):
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=generator(11))


@pytest.mark.parametrize("classified", ["autoaugment", "randaugment"])
def test_every_kind_of_view_follows_the_look_of_the_run(classified):
    """The views are drawn one after the other, from one generator."""
    images, scores = draw_images(), torch.zeros(40)
    config = RunConfig(method="balanced-cl", classified_view=classified, **LOOK)
    make, _ = make_views(config, scores, (generator(1), generator(2)), KINDS)
    draw, look = generator(1), Look(**LOOK)
    first = simclr_view(images, draw, look=look)
    if classified == "randaugment":
        second = randaugment_view(images, draw, look=look)
    else:
        second = autoaugment_view(images, draw)
    third = simclr_view(images, draw, colour=False, look=look)
    for found, expected in zip(make(images, scores), (first, second, third), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("crop", [True, False])
def test_a_view_to_classify_is_jittered_without_hue_and_augmented_twice(crop):
    """At 15 of 30, each operation for every second image; the crop is as small as the run's."""
    images = draw_images()
    given = {} if crop else {"crop": False}
    found = randaugment_view(images, generator(1), look=Look(**LOOK), **given)
    draw = generator(1)
    look = Look(crop_from=0.5, jitter=1.0, hue=0.0, gray=0.0)
    plain = simclr_view(images, draw, crop=crop, look=look)
    assert (plain[:, 0] != plain[:, 1]).flatten(1).any(1).all()  # none is gray, as published
    strength, chance = torch.full((40,), 15.0), torch.full((40,), 0.5)
    assert torch.equal(found, rand_augment(plain, strength, chance, 2, draw))


def test_crops_that_a_source_has_made_are_not_cropped_again():
    config = RunConfig(jitter=0.0)
    crops = torch.randint(0, 256, (5, 2, 3, 8, 8), dtype=torch.uint8, generator=generator(9))
    make, _ = make_views(config, torch.zeros(5), (generator(1), generator(2)), ("crop", "crop"))
    first, second = make(crops, torch.zeros(5))
    torch.testing.assert_close(torch.stack([first, second], 1), crops / 255)


def test_boxes_for_images_of_many_sizes_lie_inside_and_are_as_for_one_size():
    heights, widths = torch.tensor([256, 300, 256, 40]), torch.tensor([341, 256, 256, 900])
    boxes, flip = views.draw_crops(heights.repeat(500), widths.repeat(500), 0.08, generator(1))
    top, left, height, width = boxes.unbind(1)
    assert (top >= 0).all() and (left >= 0).all() and (height > 0).all() and (width > 0).all()
    assert (top + height <= heights.repeat(500)).all()
    assert (left + width <= widths.repeat(500)).all()
    assert flip.float().mean().item() == pytest.approx(0.5, abs=0.05)
    share = (height * width)[2::4] / 256**2
    assert share.min() < 0.15 and share.max() > 0.9


def test_a_share_takes_its_rows_of_every_field():
    drawn = draw_view_parameters(6, 8, 8, generator(3))
    taken = Share(6, slice(2, 5)).of(drawn)
    assert torch.equal(taken.box, drawn.box[2:5]) and torch.equal(taken.gray, drawn.gray[2:5])
