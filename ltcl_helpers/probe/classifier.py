"""The test accuracy of a run's own classifier: for methods that train with labels."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
import torch

from ..data import read_arrays, splits
from ..data.images import check_same, check_test, read_classes, read_test
from ..runs import Run
from .choices import CLASSIFIER, OWN_LABELS
from .groups import result_rows
from .linear import features, measure
from .run import about_run, check_size, untested
from .streaming import embed_images


def classifier_rows(
    folder: str | Path,
    test: str | None = None,
    groups: str | None = None,
    data: str | None = None,
) -> pd.DataFrame:
    """Test a finished supervised run with the classifier it trained; rows as `probe_run` gives.

    Args:
        folder: where the run lies.
        test: name of another test set (as for `load_images`).
        groups: who is many, medium and few, as for `probe_run`.
        data: where the run's data are now, as for `probe_run`.

    Raises:
        ConfigError: when the run kept no classifier, since it was trained without labels.
    """
    run = Run.load(folder, data)
    config = run.config
    classifier = run.network("classifier")
    test = test or config.data
    train = read_classes(config.data, "train", config.root)
    check_same(train, run.index.numpy(), run.labels.numpy(), config.data)
    check_test(test, train, config.root)
    images_of_training = read_arrays(config.data, "train", config.root)
    held_out = read_test(test, images_of_training, config.root)
    check_size(test, images_of_training, held_out)

    # Without compensation for the class sizes, which is of the training loss only.
    test_x = embed_images(partial(features, run.encoder), held_out.images)  # [M, D]
    with torch.no_grad():
        logits = classifier(test_x)  # [M, C]
    result = measure(logits, torch.from_numpy(held_out.labels))

    # The classifier was trained on the images of pre-training: these are its labelled list.
    about = about_run(config, "encoder") | {
        "test": test,
        "protocol": CLASSIFIER,
        "groups": groups or config.groups,
        "untested": untested(held_out),
        "shots": OWN_LABELS,
        "list": "training split",
        "list_source": "split",
        "list_sha256": splits.split_digest(run.index.numpy()),
        "images": len(run.index),
    }
    return pd.DataFrame(result_rows(result, run.group_counts.numpy(), about))
