"""Views in the explorer are the views that the run's own method had."""

import numpy as np
import pytest
import torch

from ltcl_helpers.config import RunConfig
from ltcl_helpers.explorer import History, payload
from ltcl_helpers.explorer.pictures import VIEWS, draw_views
from ltcl_helpers.views import boosting

CROP_ONLY = "ltcl_helpers.dictionaries:CropOnly"
SHADES = {"simclr": 50, "crop": 100, "autoaugment": 200}


def history(**parameters):
    """Five one-coloured images, and their losses at two epochs."""
    colours = np.array([[200, 30, 60], [20, 160, 90], [90, 90, 10], [10, 20, 240], [77, 77, 77]])
    images = np.broadcast_to(colours[:, :, None, None], (5, 3, 16, 16)).astype(np.uint8)
    loss = np.array([[1, 2, 3, 4, 5], [2, 1, 3, 5, 4]], np.float16)
    config = RunConfig(preset="tiny", **parameters)
    return History(loss, images=images, config=config)


@pytest.mark.parametrize(
    ("method", "kinds"),
    [
        ("simclr", ["simclr"] * 8),
        ("sdclr", ["simclr"] * 8),
        (CROP_ONLY, ["crop"] * 8),
        ("cross-entropy", ["autoaugment"] * 8),
        ("balanced-cl", ["autoaugment", "simclr", "simclr"] * 2 + ["autoaugment", "simclr"]),
    ],
)
def test_a_run_is_shown_the_kinds_of_views_it_had(method, kinds, monkeypatch):
    made = {
        kind: lambda images, draw, shade=shade, **_: torch.full(images.shape, shade / 255)
        for kind, shade in SHADES.items()
    }
    monkeypatch.setattr(boosting, "KINDS", made)
    tiles, used = draw_views(history(method=method), np.array([0, 3]), 1)
    assert tiles.shape == (2 * VIEWS, 16, 16, 3) and used.tolist() == [0, 0]
    for sample in (0, 1):
        shown = tiles[sample * VIEWS :][:VIEWS, 0, 0, 0].tolist()
        assert shown == [SHADES[kind] for kind in kinds]


def test_crops_of_one_colour_keep_it_and_simclrs_views_do_not():
    for method, kept in ((CROP_ONLY, True), ("simclr", False)):
        given = history(method=method)
        tiles, _ = draw_views(given, np.arange(5), 0)
        own = given.images[:, :, 0, 0].repeat(VIEWS, axis=0)[:, None, None]
        assert bool((np.abs(tiles.astype(int) - own) <= 1).all()) == kept


def test_a_boosted_run_is_shown_boosted_views_by_the_scores_of_that_epoch():
    plain, _ = draw_views(history(), np.array([3, 0]), 1)
    given = history(boost="memory")
    boosted, used = draw_views(given, np.array([3, 0]), 1)
    assert used.tolist() == given.scores()[1][[3, 0]].tolist() == [1, pytest.approx(0.25)]
    assert not np.array_equal(plain[:VIEWS], boosted[:VIEWS])  # score 1: each is operated on


@pytest.mark.parametrize(
    ("given", "blind"),
    [
        (dict(boost="memory"), True),
        (dict(boost="clean-loss"), True),
        (dict(boost="oracle"), False),
        (dict(boost="oracle-shuffled"), False),
        (dict(method="cross-entropy"), False),
    ],
)
def test_training_never_saw_the_labels_is_said_where_it_is_true(given, blind):
    run = history(**given)
    run.labels, run.class_names = np.array([0, 0, 0, 1, 1]), ("a", "b")
    run.group_counts = np.array([3, 2])
    meta, _, _ = payload(run)
    assert ("Training never saw them" in meta["aboutLabels"]) == blind
