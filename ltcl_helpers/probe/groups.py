"""Who is served: accuracies of the many, medium and few classes, and the rows that keep them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..data import splits
from .linear import ProbeResult


def group_report(
    per_class: np.ndarray, class_counts: np.ndarray, rule: str = "thirds"
) -> dict[str, float]:
    """Accuracy of the many, medium and few classes, their spread, and the mean over all classes.

    Args:
        per_class: [C] accuracies; NaN for a class without a test image, which is in no mean.
        class_counts: [C] images per class in the long-tail set; where all are equal nobody is many
            or few and only "all" is reported, as where the rule leaves one of the groups empty.
        rule: who is in which group: "thirds" (CIFAR) or "counts" (ImageNet, Places).

    Returns:
        many, medium, few: means of per-class accuracies; std: population standard deviation of
        these three, the "balancedness" of the papers; all: mean over the classes.
    """
    tested = ~np.isnan(per_class)
    served = splits.served(class_counts, rule)
    members = {name: ids[tested[ids]] for name, ids in served.items()}
    report: dict[str, float] = {}
    if members and all(map(len, members.values())):
        report = {name: float(per_class[ids].mean()) for name, ids in members.items()}
        report["std"] = float(np.std(list(report.values())))
    return report | {"all": float(per_class[tested].mean())}


def result_rows(
    result: ProbeResult, class_counts: np.ndarray, about: Mapping[str, Any], class_std: bool = False
) -> list[dict[str, Any]]:
    """The rows of one probe, one for each number of its report, as probe.parquet keeps them.

    Args:
        result: what the probe gave.
        class_counts: [C], as for `group_report`.
        about: what all rows say; its "groups" is the rule.
        class_std: also give the standard deviation over the classes, as the SDCLR paper does.
    """
    report = group_report(result.per_class, class_counts, about["groups"])
    if class_std:
        tested = ~np.isnan(result.per_class)
        report["class std"] = float(np.std(result.per_class[tested]))
    report["top5"] = result.top5
    rows = [{**about, "group": group, "accuracy": value} for group, value in report.items()]
    rows[-1]["per_class"] = result.per_class.tolist()  # beside the last number of the list
    return rows
