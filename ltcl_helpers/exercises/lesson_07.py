"""Checks of the answers in lesson 07, exploring.

A selection is an answer like any other: a function that gives the numbers of samples, picked by
hand or computed. It is compared with the recorded SimCLR run of seed 0, the one the lesson opens.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence

import numpy as np

from .. import paths
from ..explorer.history import open_run
from .checking import Wrong, compare, exercise, require

Select = Callable[[np.ndarray, list[str]], Sequence[int]]


@functools.cache
def _recorded() -> tuple[np.ndarray, list[str]]:
    """Last scores [N] and the group of each sample, N texts."""
    history = open_run(paths.RESULTS / "shapes-simclr" / "long-tail-0", images=False)
    return history.scores()[-1], history.groups().tolist()


@exercise(
    "search `few` and take ten with a last score above the median of the few classes.",
    "the highest scores of all images, whatever their class",
    "the lowest scores of the few classes instead of the highest",
    "fewer than ten, or one of them twice",
    nudge="whose median? And are all ten of few classes?",
)
def check_learnt_late(answer: Select) -> None:
    """Ten samples of few classes that end high; `answer(last_scores, groups)` gives numbers."""
    last, groups = _recorded()
    median = float(np.median(last[np.array(groups) == "few"]))
    for k in _distinct(answer(last.copy(), list(groups)), 10, len(last)):
        require(groups[k] == "few", f"sample {k} is of a {groups[k]} class, not of a few one")
        require(last[k] > median, f"sample {k} has score {last[k]:.2f}, not above {median:.2f}")


@exercise(
    "search `many`, order by `Hardest now`, and take one from the top.",
    "the hardest of all images, whatever its class",
    "the easiest of the many classes",
    "the hardest ten instead of one",
    nudge="hard means a high score; which of the many classes' images has it?",
)
def check_hard_head(answer: Select) -> None:
    """One sample of a many class in the hardest 2 %; `answer(last_scores, groups)` gives [it]."""
    last, groups = _recorded()
    (k,) = _distinct(answer(last.copy(), list(groups)), 1, len(last))
    place, most = 1 + int((last > last[k]).sum()), int(0.02 * len(last))
    require(groups[k] == "many", f"sample {k} is of a {groups[k]} class, not of a many one")
    require(place <= most, f"sample {k} has place {place}; a hard one is among {most}")


@exercise(
    "mean of the changes of the selected, to each of the two; the third is their difference.",
    "the mean over all samples instead of the selected",
    "the difference taken from control to boosted with the wrong sign",
    "the boosted scores themselves instead of their change",
    nudge="whose mean, and from which run to which?",
)
def check_changes(answer: Callable[..., Sequence[float]]) -> None:
    """`answer(plain, boosted, control, selection)`: to boosted, to control, and the difference."""
    draw = np.random.default_rng(8)
    for chosen in ([3], [0, 5, 7], [10, 1]):
        plain, boosted, control = draw.random((3, 9 + len(chosen)))
        a, b = (np.mean((other - plain)[chosen]) for other in (boosted, control))
        compare(f"changes of {len(chosen)}", answer(plain, boosted, control, chosen), [a, b, a - b])


def _distinct(selection: Sequence[int], count: int, samples: int) -> list[int]:
    try:
        chosen = sorted({operator.index(k) for k in selection})
    except TypeError:
        kind = type(selection).__name__
        raise Wrong(f"got a {kind}; a selection is a list of whole numbers") from None
    require(len(chosen) == count, f"{len(chosen)} samples are selected, {count} are asked for")
    require(chosen[0] >= 0 and chosen[-1] < samples, f"numbers go from 0 to {samples - 1}")
    return chosen
