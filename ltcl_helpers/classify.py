"""The test accuracy of a run's own classifier: for methods that train with labels."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from . import probe, splits
from .datasets import load_images
from .runs import Run

PROTOCOL = "classifier"  # its name among the protocols of probes
SHOTS = "own labels"  # in rows beside probes, whose shots are labelled images


def classifier_rows(
    folder: str | Path, test: str | None = None, groups: str = "thirds"
) -> pd.DataFrame:
    """Test a finished supervised run with the classifier it trained; rows as `probe_run` gives.

    Args:
        folder: of the run.
        test: name of another test set (as for `load_images`).
        groups: who is many, medium and few, as for `probe_run`.

    Raises:
        ConfigError: when the run kept no classifier, since it was trained without labels.
    """
    run = Run.load(folder)
    config, classifier = run.config, run.network("classifier")
    held_out = load_images(test or config.data, "test", config.root)
    with torch.no_grad():
        logits = classifier(probe.features(run.encoder, held_out.images))  # [M, C]
    result = probe.measure(logits, held_out.labels)
    about = probe.about_run(config, "encoder") | {
        "test": test or config.data,
        "protocol": PROTOCOL,
        "groups": groups,
        "shots": SHOTS,
        "list": "training split",
        "list_source": "split",
        "list_sha256": splits.split_digest(run.index.numpy()),
        "images": len(run.index),
    }
    report = probe.group_report(result.per_class, run.group_counts.numpy(), groups)
    report["top5"] = result.top5
    rows = [{**about, "group": group, "accuracy": value} for group, value in report.items()]
    rows[-1]["per_class"] = result.per_class.tolist()  # as probe_run keeps it
    return pd.DataFrame(rows)
