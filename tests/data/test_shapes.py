"""The embedded data set: nests, repeats bit for bit, and gives nothing away by colour."""

import hashlib
import sys

import numpy as np
import pytest

from ltcl_helpers.data import shapes
from ltcl_helpers.data.shapes import CLASS_NAMES, Difficulty, Drawing, draw_images, make_shapes


@pytest.fixture(scope="module")
def train():
    return make_shapes(per_class=60)


def test_shapes_types_and_names(train):
    images, labels = train
    assert images.shape == (720, 3, 32, 32) and images.dtype == np.uint8
    assert labels.dtype == np.int64 and np.array_equal(labels, np.repeat(np.arange(12), 60))
    assert len(set(CLASS_NAMES)) == 12 and CLASS_NAMES[10] == "blob-spiral"
    assert draw_images([], []).shape == (0, 3, 32, 32)


def test_default_sizes():
    assert np.bincount(make_shapes("test")[1]).tolist() == [250] * 12


def test_small_set_is_the_start_of_each_class_of_a_large_one(train):
    few, _ = make_shapes(per_class=10)
    assert np.array_equal(few.reshape(12, 10, -1), train[0].reshape(12, 60, -1)[:, :10])


def test_an_image_is_the_same_alone_in_a_batch_and_in_any_order(train):
    images, labels = train
    indices = np.tile(np.arange(60), 12)
    for row in range(0, 720, 37):
        alone = draw_images(labels[row : row + 1], indices[row : row + 1])
        assert np.array_equal(alone[0], images[row])
    shuffled = np.random.default_rng(0).permutation(720)[:301]
    assert np.array_equal(draw_images(labels[shuffled], indices[shuffled]), images[shuffled])


def test_harder_images_are_the_same_alone_too():
    hard = Difficulty(background_texture=0.5, texture_swap=0.7)
    labels, indices = np.arange(12).repeat(6), np.arange(72)
    batch = draw_images(labels, indices, difficulty=hard)
    for row in range(0, 72, 7):
        alone = draw_images([labels[row]], [indices[row]], difficulty=hard)
        assert np.array_equal(alone[0], batch[row])


def test_no_image_occurs_twice_within_or_between_parts_and_seeds(train):
    sets = [train[0], make_shapes("test", 60)[0], make_shapes("train", 60, seed=1)[0]]
    images = {image.tobytes() for one in sets for image in one}
    assert len(images) == 3 * 720


def test_classes_differ_in_their_mean_edge_image():
    images, _ = make_shapes(per_class=200)
    edges = abs(np.diff(images.astype(float).mean(1), axis=1))
    halves = edges.reshape(12, 2, 100, 31, 32).mean(2)  # two sets of other images
    distance = np.square(halves[:, None, 0] - halves[None, :, 1]).mean((2, 3))
    assert (distance.argmin(1) == np.arange(12)).sum() >= 10  # chance: 1


def test_mean_colour_does_not_tell_the_class():
    (images, _), (others, truth) = make_shapes(per_class=200), make_shapes("test", 100)
    centres = images.mean((2, 3)).reshape(12, 200, 3).mean(1)
    distance = np.square(others.mean((2, 3))[:, None] - centres).sum(2)
    assert (distance.argmin(1) == truth).mean() <= 0.20  # chance: 0.083


def test_generator_is_the_one_that_the_recorded_results_used(train):
    pinned = "87d6b18a9f644782c8750589af14700ee828530acb3845c797484899848179c5"
    assert hashlib.sha256(train[0].tobytes()).hexdigest() == pinned


def test_harder_images_are_those_that_the_exercises_used():
    hard = Difficulty(30.0, (0.3, 0.5), (3.0, 4.0), (0.2, 0.9), 0.5, 0.7)
    images = draw_images(np.arange(12).repeat(12), np.arange(144), 5, "test", hard)
    pinned = "2ad2c392f673aeb3a8f2a6e791bdc06450cdf9f7788cbe23e2ba9bdf3b317204"
    assert hashlib.sha256(images.tobytes()).hexdigest() == pinned


def test_every_knob_does_something(train):
    indices = np.arange(24)
    labels = indices % 12
    plain = draw_images(labels, indices)
    for knob in [
        {"rotation": 0},
        {"radius": (0.3, 0.5)},
        {"frequency": (3, 4)},
        {"saturation": (0.8, 1)},
        {"background_texture": 0.3},
        {"texture_swap": 1},
    ]:
        assert (draw_images(labels, indices, difficulty=Difficulty(**knob)) != plain).any(), knob
    assert np.array_equal(draw_images(labels, indices, difficulty=Difficulty()), plain)


def test_texture_swap_keeps_the_silhouette_and_background():
    plain = draw_images([0] * 50, range(50)).astype(int)
    swapped = draw_images([0] * 50, range(50), difficulty=Difficulty(texture_swap=1)).astype(int)
    changed = abs(plain - swapped).max((0, 1)) > 0
    assert changed[10:22, 10:22].all() and not changed[[0, 0, -1, -1], [0, -1, 0, -1]].any()


def calls_to_draw(count):
    """How many functions of the module are called to draw so many images, a twelfth a class."""
    calls, before = [], sys.getprofile()

    def watch(frame, event, _):
        if event == "call" and frame.f_code.co_filename == shapes.__file__:
            calls.append(frame.f_code.co_name)

    labels, indices = np.arange(count) % 12, np.arange(count)
    sys.setprofile(watch)
    try:
        draw_images(labels, indices)
    finally:
        sys.setprofile(before)
    return len(calls)


def test_images_are_drawn_together_not_one_by_one():
    """That a thousand take no seconds, told without a clock: a chunk takes the calls of a few."""
    few, chunk = calls_to_draw(12), calls_to_draw(shapes.CHUNK)
    assert 0 < chunk == few
    assert calls_to_draw(10 * shapes.CHUNK) <= 10 * few


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"labels": [12], "indices": [0]}, r"labels: got \[12\], .* 0 to 11"),
        ({"labels": [0.5], "indices": [0]}, r"labels: got \[0.5\]"),
        ({"labels": [[1]], "indices": [0]}, "labels: got .* a list"),
        ({"labels": [1], "indices": [-1]}, r"indices: got \[-1\]"),
        ({"labels": [1], "indices": [1, 2]}, "indices: got 2, .* 1"),
        ({"labels": [1], "indices": [1], "seed": -3}, r"seed: got \[-3\]"),
        ({"labels": [1], "indices": [1], "seed": [1]}, "seed: .* one whole number"),
        ({"labels": [1], "indices": [1], "part": "val"}, "part: got 'val', allowed: train or test"),
        ({"labels": [1], "indices": [1], "difficulty": "hard"}, "difficulty: got 'hard'"),
        ({"labels": [11, 13, 12, -1, 14], "indices": [0]}, r"labels: got \[13, 12, -1\], "),
        ({"labels": [1], "indices": [2**56]}, f"a list of whole numbers from 0 to {2**56 - 1}"),
        ({"labels": [1], "indices": [1], "seed": 2**63}, f"one whole number from 0 to {2**63 - 1}"),
    ],
)
def test_bad_input_to_draw_images(arguments, words):
    with pytest.raises(ValueError, match=words):
        draw_images(**arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"part": "val"}, "part: got 'val'"),
        ({"per_class": 0}, r"per_class: got \[0\], .* from 1 to 1000000$"),
        ({"per_class": 10**6 + 1}, r"per_class: got \[1000001\]"),
        ({"per_class": 2.5}, r"per_class: got \[2.5\]"),
    ],
)
def test_bad_input_to_make_shapes(arguments, words):
    with pytest.raises(ValueError, match=words):
        make_shapes(**arguments)


LIMITS = {  # what is still allowed, what is just not
    "rotation": ([0, 180], [-0.1, 180.5]),
    "radius": ([(0.1, 2), (0.5, 0.5)], [(0.09, 1), (0.5, 2.1), (0.9, 0.5), 0.5, (0.2, 0.3, 0.4)]),
    "frequency": ([(0.1, 8)], [(0, 2), (1, 8.1)]),
    "saturation": ([(0, 1)], [(-0.1, 1), (0, 1.1)]),
    "texture_swap": ([0, 1], [-0.1, 1.5]),
    "background_texture": ([0, 1], [float("nan"), 1.1]),
}


@pytest.mark.parametrize("knob", LIMITS)
def test_a_difficulty_has_limits(knob):
    allowed, refused = LIMITS[knob]
    for value in allowed:
        Difficulty(**{knob: value})
    for value in refused:
        with pytest.raises(ValueError, match=f"{knob}: got .*, allowed: "):
            Difficulty(**{knob: value})


def test_the_largest_numbers_are_allowed():
    image = draw_images([11], [2**56 - 1], seed=2**63 - 1, part="test")
    assert image.shape == (1, 3, 32, 32)
    assert not np.array_equal(image, draw_images([11], [2**56 - 1], seed=2**63 - 1))


def test_a_drawing_gives_what_all_images_together_give():
    images, labels = make_shapes("test", seed=3)
    drawing = Drawing("test", 3)
    some = np.array([2999, 0, 250, 251, 7])
    np.testing.assert_array_equal(drawing.labels, labels)
    np.testing.assert_array_equal(drawing[some], images[some])
    np.testing.assert_array_equal(np.asarray(drawing)[-300:], images[-300:])
    np.testing.assert_array_equal(Drawing()[[11_999]], draw_images([11], [999]))
