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


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(momentum_loss=np.ones(5)), "allowed are numbers"),
        (dict(momentum_loss=np.full((2, 3), np.nan)), "NaN everywhere"),
        (dict(momentum_loss=np.array([[1, np.inf], [1, 2]])), "inf in row 0 at sample 1"),
        (dict(momentum_loss=np.array([[1, 2e38 * 10], [1, 2]])), "up to 3.4e38"),
        (dict(momentum_loss=1e9 + LOSS.astype(float)), "subtract a constant"),
        (dict(momentum_loss=[[1.0, 2.0], [1.0]]), "different lengths (1, 2)"),
        (dict(momentum_loss=[row[: 3 + i] for i, row in enumerate(torch.tensor(LOSS))]), "3, 4, 5"),
        (dict(momentum_loss=LOSS.T, labels=LABELS), "momentum_loss.T"),
        (dict(momentum_loss=LOSS.T, images=IMAGES), "momentum_loss.T"),
        (dict(epochs=[1, 2, 3]), "for 5 rows"),
        (dict(epochs=[1, 2, 2, 3, 4]), "must rise"),
        (dict(labels=[0, 1]), "for 40 samples"),
        (dict(labels=LABELS - 1), "from 0"),
        (dict(labels=LABELS, class_names=["a"]), "1 class_names"),
        (dict(labels=LABELS, class_names={0: "ant", 2: "cow"}), "no name for class 1"),
        (dict(images=np.ones((40, 8, 8))), "allowed is"),
        (dict(images=IMAGES.astype(np.float32)), "from 0.0 to 19"),
        (dict(images=(IMAGES / 255 - 0.5) / 0.25), "floats from 0 to 1"),
        (dict(images=IMAGES.astype(np.uint16) * 257), "uint16 from 0 to"),
        (dict(images=IMAGES.astype(np.int16) - 128), "from -128 to"),
        (dict(images=np.full(IMAGES.shape, np.nan)), "nan"),
        (dict(features=np.ones((39, 4))), "for 40 samples"),
    ],
)
def test_arrays_that_cannot_be_right_are_refused_in_one_line(given, said):
    with pytest.raises(ConfigError) as error:
        from_arrays(**({"momentum_loss": LOSS} | given))
    assert said in str(error.value) and "\n" not in str(error.value)


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
