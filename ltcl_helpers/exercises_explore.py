"""Checks of what a student selected in the explorer; each says what is wrong with which sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .exercises import check
from .histories import History


def check_learnt_late(history: History, selection: Sequence[int], count: int = 10) -> None:
    """`count` samples of few classes, each with a last score above the median of all of them.

    Raises:
        AssertionError: that names the sample and what is wrong with it.
    """
    chosen = _distinct(selection, count)
    group, last = history.groups(), history.scores()[-1]
    median = float(np.median(last[group == "few"]))
    for sample in chosen:
        if group[sample] != "few":
            raise AssertionError(f"sample {sample} is of a {group[sample]} class, not of a few one")
        if last[sample] <= median:
            raise AssertionError(
                f"sample {sample} has score {last[sample]:.2f}, not above {median:.2f}, "
                "the median of the few classes: the network was not late with it"
            )
    print(f"{count} samples learnt late: correct")


def check_hard_head(history: History, selection: Sequence[int], share: float = 0.02) -> None:
    """One sample of a many class among the `share` of all samples with the highest last scores.

    Raises:
        AssertionError: that names the sample and what is wrong with it.
    """
    (sample,) = _distinct(selection, 1)
    group, last = history.groups()[sample], history.scores()[-1]
    place = 1 + int((last > last[sample]).sum())
    most = int(share * len(last))
    if group != "many":
        raise AssertionError(f"sample {sample} is of a {group} class, not of a many one")
    if place > most:
        raise AssertionError(f"sample {sample} has place {place}; a hard one is among {most}")
    print(f"sample {sample}, place {place} of {len(last)}: correct")


def _distinct(selection: Sequence[int], count: int) -> list[int]:
    chosen = sorted(set(selection))
    if len(chosen) != count:
        raise AssertionError(f"{len(chosen)} samples are selected, {count} are asked for")
    return chosen


def check_changes(answer: Callable[..., Sequence[float]]) -> None:
    """`answer(plain, boosted, control, selection)`: to boosted, to control, and the difference."""
    draw = np.random.default_rng(8)
    for chosen in ([3], [0, 5, 7]):
        plain, boosted, control = draw.random((3, 9))
        a, b = (np.mean((other - plain)[chosen]) for other in (boosted, control))
        check(f"changes of {len(chosen)}", answer(plain, boosted, control, chosen), [a, b, a - b])
