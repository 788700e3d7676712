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
        per_class: [C], the accuracies of the classes. NaN is a class without a test image, which
            is in no mean.
        class_counts: [C], the images per class in the long-tail set. Where all are equal, no class
            is many or few, and only "all" is reported, as where the rule leaves a group empty.
        rule: says who is in which group: "thirds" (CIFAR) or "counts" (ImageNet, Places).

    Returns:
        A number by name. "many", "medium" and "few" are means of per-class accuracies, "std" is the
        population standard deviation of these three, the "balancedness" of the papers, and "all" is
        the mean over the classes.
    """
    is_tested = ~np.isnan(per_class)  # [C]
    members = {}
    for name, classes in splits.served(class_counts, rule).items():
        members[name] = classes[is_tested[classes]]

    # No groups where there are none, or where nobody of a group is tested.
    report: dict[str, float] = {}
    if members and all(map(len, members.values())):
        for name, classes in members.items():
            report[name] = float(per_class[classes].mean())
        report["std"] = float(np.std(list(report.values())))
    report["all"] = float(per_class[is_tested].mean())
    return report


def result_rows(
    result: ProbeResult,
    class_counts: np.ndarray,
    about: Mapping[str, Any],
    class_std: bool = False,
) -> list[dict[str, Any]]:
    """The rows of one probe, one for each number of its report, as probe.parquet keeps them.

    Args:
        result: what the probe gave.
        class_counts: [C], as for `group_report`.
        about: what all rows say. Its "groups" names the rule of `group_report`.
        class_std: whether there is a row with the standard deviation over the classes, which the
            SDCLR paper gives.
    """
    report = group_report(result.per_class, class_counts, about["groups"])
    if class_std:
        is_tested = ~np.isnan(result.per_class)
        report["class std"] = float(np.std(result.per_class[is_tested]))
    report["top5"] = result.top5

    rows = []
    for group, value in report.items():
        row = {**about, "group": group, "accuracy": value}
        rows.append(row)
    rows[-1]["per_class"] = result.per_class.tolist()  # once is enough: beside the last number
    return rows
