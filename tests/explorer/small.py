"""Small histories for tests: ten samples of three classes, four epochs."""

import numpy as np

from ltcl_helpers.config import RunConfig
from ltcl_helpers.explorer import from_arrays

LABELS = np.repeat([0, 1, 2], [6, 3, 1])
NAMES = ("ant", "bee", "cow")
LOSS = np.random.default_rng(0).uniform(1, 3, (4, 10))
IMAGES = np.random.default_rng(1).integers(0, 256, (10, 3, 16, 16), np.uint8)
FEATURES = np.random.default_rng(2).normal(size=(10, 3))
LOSS[0, 9] = np.nan


def small(**more):
    """Ten samples of three classes, four epochs, by arrays; images and features where asked."""
    run = from_arrays(LOSS, LABELS, class_names=NAMES, **more)
    run.label = "mine"
    return run


def boosted(boost="none", **more):
    run = small(images=IMAGES)
    run.config = RunConfig(preset="tiny", boost=boost, epochs=4, **more)
    run.label = boost
    return run
