"""Histories of other training loops: what is taken, what is refused, and in which words."""

import numpy as np
import pytest
import torch

from ltcl_helpers import probe
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.explorer import History, from_arrays, open_run
from ltcl_helpers.methods.memory import memorization_score

DRAW = np.random.default_rng(0)
LOSS = DRAW.random((5, 40)).astype(np.float32)
IMAGES = DRAW.integers(0, 200, (40, 12, 12, 3), dtype=np.uint8)
LABELS = np.arange(40) % 3


@pytest.mark.parametrize(
    ("loss", "kept"),
    [
        (LOSS, np.float16),
        (LOSS.astype(np.float64), np.float16),
        (1000 + LOSS, np.float32),
        (1e-9 * LOSS, np.float32),
        (1e6 * LOSS, np.float32),
        (np.full((2, 3), 5.3), np.float16),
        (np.array([[1, 2, 3], [1, 1, 2]]), np.float16),
        (torch.tensor(LOSS, requires_grad=True), np.float16),
        (torch.tensor(LOSS).bfloat16(), np.float16),
        ([torch.tensor(row, requires_grad=True) for row in LOSS], np.float16),
        (LOSS.tolist(), np.float16),
    ],
)
def test_the_kept_type_keeps_the_scores(loss, kept):
    history = from_arrays(loss)
    assert history.momentum_loss.dtype == kept
    exact = loss if isinstance(loss, np.ndarray) else LOSS
    for row, found in zip(exact.astype(np.float64), history.scores(), strict=True):
        farthest = np.abs(row - row.mean()).max() or 1
        expected = ((row - row.mean()) / farthest + 1) / 2
        assert np.abs(found - expected).max() < 2 / 256


def test_nan_is_a_sample_that_was_not_seen_yet():
    loss = LOSS.copy()
    loss[:2, 7] = np.nan
    history = from_arrays(loss)
    assert np.isnan(history.momentum_loss[:2, 7]).all() and history.scores()[0, 7] == 0.5
    assert np.isfinite(history.scores()).all()


def alike(history):
    given = IMAGES.transpose(0, 3, 1, 2).astype(int)
    return np.abs(history.images.astype(int) - given).max() <= 1


@pytest.mark.parametrize(
    "images",
    [
        IMAGES,
        IMAGES.transpose(0, 3, 1, 2),
        IMAGES.astype(np.int64),
        IMAGES.astype(np.uint16),
        IMAGES / 255,
        torch.tensor(IMAGES.transpose(0, 3, 1, 2) / 255, requires_grad=True).bfloat16(),
    ],
)
def test_images_are_taken_as_they_are(images):
    assert alike(from_arrays(LOSS, images=images))


LOSSES = "momentum_loss is {}; allowed are numbers [epochs, N]"
FINITE = "momentum_loss is {}; allowed are finite values up to 3.4e38"
ROWS = (
    "momentum_loss has rows of different lengths ({}); allowed is one value per sample in every "
    "row, NaN for a sample that was not seen"
)
TURNED = (
    "momentum_loss is [40, 5] and {} are for 40 samples: is it [N, epochs]? Give momentum_loss.T, "
    "which is [epochs, N]"
)
A_ROW = "epochs are {} for 5 rows of momentum_loss; allowed is one whole number per row"
RISE = "epochs are {}...; they must rise, from 0 or more"
A_LABEL = "labels are {} for {} samples; allowed is one whole number from 0 per sample"
SHAPES = "images are {} for 40 samples; allowed is [N, 3, H, W] or [N, H, W, 3]"
RANGE = "images are {}; allowed are whole numbers from 0 to 255, or floats from 0 to 1"
FEATURES = "features are {} for 40 samples; allowed are numbers [N, D], D 2 or more"
HOLES = "features have a NaN or an infinite value; allowed are finite numbers"
APART = (
    "momentum_loss has differences between samples that float32 cannot hold beside values up to "
    "1e+09; subtract a constant from all"
)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(momentum_loss=np.ones(5)), LOSSES.format("float64 [5]")),
        (dict(momentum_loss=np.ones((0, 3))), LOSSES.format("float64 [0, 3]")),
        (dict(momentum_loss=np.array([["a", "b"]])), LOSSES.format("<U1 [1, 2]")),
        (
            dict(momentum_loss=np.full((2, 3), np.nan)),
            "momentum_loss is NaN everywhere; NaN means that a sample was not seen",
        ),
        (dict(momentum_loss=[[1, np.inf], [1, 2]]), FINITE.format("inf in row 0 at sample 1")),
        (dict(momentum_loss=[[1, 2], [-2e39, 2]]), FINITE.format("-2e+39 in row 1 at sample 0")),
        (dict(momentum_loss=1e9 + LOSS.astype(float)), APART),
        (dict(momentum_loss=[[1.0, 2.0], [1.0]]), ROWS.format("1, 2")),
        (dict(momentum_loss=[[1.0], 2.0]), ROWS.format("0, 1")),
        (
            dict(momentum_loss=[row[: 3 + i] for i, row in enumerate(torch.tensor(LOSS))]),
            ROWS.format("3, 4, 5"),
        ),
        (dict(momentum_loss=LOSS.T, labels=LABELS), TURNED.format("labels")),
        (dict(momentum_loss=LOSS.T, images=IMAGES), TURNED.format("images")),
        (dict(momentum_loss=LOSS.T, features=np.ones((40, 2))), TURNED.format("features")),
        (dict(momentum_loss=LOSS.T, memorization=np.ones(40)), TURNED.format("memorization")),
        (dict(epochs=[1, 2, 3]), A_ROW.format("int64 [3]")),
        (dict(epochs=np.arange(5.0)), A_ROW.format("float64 [5]")),
        (dict(epochs=[1, 2, 2, 3, 4]), RISE.format([1, 2, 2, 3, 4])),
        (dict(epochs=[-1, 0, 1, 2, 3]), RISE.format([-1, 0, 1, 2, 3])),
        (dict(labels=[0, 1]), A_LABEL.format("int64 [2]", 40)),
        (dict(labels=LABELS - 1), A_LABEL.format("int64 [40]", 40)),
        (dict(labels=LABELS / 2), A_LABEL.format("float64 [40]", 40)),
        (dict(labels=LABELS * 32_768), "labels go up to 65536; allowed are 65,536 classes"),
        (
            dict(labels=LABELS, class_names=["a", "b"]),
            "labels go up to 2, but there are 2 class_names",
        ),
        (
            dict(labels=LABELS, class_names={0: "ant", 2: "cow"}),
            "class_names have no name for class 1; give one per class",
        ),
        (dict(images=np.ones((40, 8, 8))), SHAPES.format([40, 8, 8])),
        (dict(images=np.ones((39, 3, 8, 8))), SHAPES.format([39, 3, 8, 8])),
        (dict(images=np.ones((40, 4, 8, 8))), SHAPES.format([40, 8, 4, 8])),
        (dict(images=np.full((40, 3, 8, 8), "a")), RANGE.format("<U1")),
        (dict(images=IMAGES.astype(np.float32)), RANGE.format("float32 from 0.0 to 199.0")),
        (dict(images=np.full(IMAGES.shape, 1.002)), RANGE.format("float64 from 1.002 to 1.002")),
        (dict(images=np.full(IMAGES.shape, -0.002)), RANGE.format("float64 from -0.002 to -0.002")),
        (dict(images=np.full(IMAGES.shape, 256)), RANGE.format("int64 from 256 to 256")),
        (dict(images=np.full(IMAGES.shape, -1)), RANGE.format("int64 from -1 to -1")),
        (dict(images=np.full(IMAGES.shape, np.nan)), RANGE.format("float64 from nan to nan")),
        (dict(features=np.ones((39, 4))), FEATURES.format("float64 [39, 4]")),
        (dict(features=np.ones((40, 1))), FEATURES.format("float64 [40, 1]")),
        (dict(features=np.ones(40)), FEATURES.format("float64 [40]")),
        (dict(features=np.full((40, 2), "a")), FEATURES.format("<U1 [40, 2]")),
        (dict(features=np.full((40, 2), np.nan)), HOLES),
        (dict(features=np.full((40, 2), 1e39)), HOLES),
    ],
)
def test_arrays_that_cannot_be_right_are_refused_in_one_line(given, said):
    with pytest.raises(ConfigError) as error:
        from_arrays(**({"momentum_loss": LOSS} | given))
    assert str(error.value) == said


def test_what_is_just_right_is_taken():
    edges = np.full(IMAGES.shape, 1.0009)
    edges[0], edges[1, 0, 0, 0] = -0.0009, 0.5
    found = from_arrays(LOSS, images=edges, features=np.ones((40, 2)), epochs=[0, 1, 2, 3, 9])
    assert found.images.min() == 0 and found.images.max() == 255 and found.kept[-1] == 9
    assert found.images[1, 0, 0, 0] == 128 and found.images.dtype == np.uint8
    assert from_arrays(np.ones((40, 40)), np.zeros(40, int)).class_names == ("class 0",)
    last = from_arrays(LOSS, np.full(40, 65_535), class_names={65_535: "z", **dict.fromkeys(
        range(65_535), "y")})  # fmt: skip
    assert last.labels.dtype == np.int64 and last.class_names[-1] == "z"
    gap = from_arrays(LOSS, LABELS, class_names={0: "a", 1: "b", 2: "c", 4: "e"})
    assert gap.class_names == ("a", "b", "c", "class 3", "e")
    assert from_arrays(LOSS, LABELS, class_names=[1, 2, 3]).class_names == ("1", "2", "3")


@pytest.mark.parametrize(("lost", "kept"), [(1 / 300, np.float16), (1 / 200, np.float32)])
def test_half_precision_may_lose_a_256th_of_the_farthest_distance(lost, kept):
    step = 2.0**-10  # float16 knows 1 and 1 + step
    away = step / 2.002 / lost
    assert from_arrays([[1 + step / 2.002, 1 - away, 1 + away]]).momentum_loss.dtype == kept


@pytest.mark.parametrize("names", [{0: "ant", 2: "cow", 1: "bee"}, {"bee": 1, "ant": 0, "cow": 2}])
def test_class_names_are_taken_by_number(names):
    assert from_arrays(LOSS, LABELS, class_names=names).class_names == ("ant", "bee", "cow")


def test_what_is_set_by_hand_is_checked_when_it_is_shown():
    for wrong, said in ((dict(epochs=[1, 2]), "for 5 rows"), (dict(images=IMAGES[:3]), "3, 12")):
        with pytest.raises(ConfigError, match=said):
            open_run(History(LOSS, **wrong))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("samples", [3, 2609, 115_846])
@pytest.mark.parametrize("value", [5.3, 0.1, 1e-9, 7 / 3])
def test_equal_losses_score_one_half(value, samples, kind):
    with pytest.warns(UserWarning, match="all momentum losses are equal"):
        scores = memorization_score(torch.full((samples,), value, dtype=kind))
    assert (scores == 0.5).all()


def test_losses_that_differ_by_little_are_told_apart():
    scores = memorization_score(torch.tensor([1000, 1000.001, 1000.002]))
    assert scores.tolist() == pytest.approx([0, 0.5, 1], abs=0.1)


@pytest.mark.parametrize("counts", [[20, 20], [3, 2], [5, 5, 5, 5], [9, 5, 4, 2, 2, 1]])
def test_groups_are_those_of_the_probe(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    history = from_arrays(np.ones((1, len(labels))), labels)
    report = probe.group_report(np.ones(len(counts)), np.array(counts))
    named = {"many", "medium", "few"} & set(report)
    assert set(history.groups()) == (named or {"all"})
