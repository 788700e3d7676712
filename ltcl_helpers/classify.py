"""The test accuracy of a run's own classifier: for methods that train with labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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
    hit = (logits.argmax(1) == held_out.labels).double()
    count = torch.bincount(held_out.labels, minlength=logits.shape[1])
    per_class = (
        torch.zeros(len(count)).double().index_add(0, held_out.labels, hit) / count
    ).numpy()
    about = {
        "method": config.method,
        "boost": config.boost,
        "features": "encoder",
        "preset": config.preset,
        "data": config.data,
        "epochs": config.epochs,
        "split": Path(config.split).name,
        "split_seed": config.drawn_with,
        "mirrored": config.mirrored,
        "seed": config.seed,
        "test": test or config.data,
        "protocol": PROTOCOL,
        "groups": groups,
        "shots": SHOTS,
        "list": "training split",
        "list_source": "split",
        "list_sha256": splits.split_digest(run.index.numpy()),
        "images": len(run.index),
    }
    report = probe.group_report(per_class, np.asarray(run.group_counts), groups)
    top5 = (logits.topk(min(5, len(count)), 1).indices == held_out.labels[:, None]).any(1)
    report["top5"] = float(top5.double().mean())
    return pd.DataFrame([{**about, "group": g, "accuracy": a} for g, a in report.items()])
