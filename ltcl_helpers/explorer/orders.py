"""What the list of samples can be ordered by: one number a sample, from its losses.

The page computes the same numbers in `front/data.mjs`; a test holds both together. NaN is a sample
that was not seen yet: it has no place in an order.
"""

from __future__ import annotations

import numpy as np


def hardest(loss: np.ndarray, row: int) -> np.ndarray:
    """The momentum loss [N] after the epoch of this row."""
    return loss[row].astype(np.float32)


def easiest(loss: np.ndarray, row: int) -> np.ndarray:
    """The same, the smallest loss first: its negative [N]."""
    return -hardest(loss, row)


def first_seen(loss: np.ndarray) -> np.ndarray:
    """The first loss of each sample [N], whenever it came."""
    row = (~np.isnan(loss)).argmax(axis=0)
    return loss[row, np.arange(loss.shape[1])].astype(np.float32)


def falling(loss: np.ndarray, row: int) -> np.ndarray:
    """How far the loss [N] fell from its first value to this row."""
    return first_seen(loss) - hardest(loss, row)


def wandering(loss: np.ndarray) -> np.ndarray:
    """The length of each curve's way beyond its net change [N], over all epochs."""
    way = np.empty(loss.shape[1], np.float32)
    for sample, curve in enumerate(loss.astype(np.float32).T):
        seen = curve[~np.isnan(curve)]
        net = abs(seen[-1] - seen[0]) if len(seen) else np.nan
        way[sample] = np.abs(np.diff(seen)).sum() - net
    return way


def largest(key: np.ndarray, count: int) -> np.ndarray:
    """The samples with the `count` largest keys, largest first; none whose key is NaN."""
    order = (-key).argsort(kind="stable")  # NaN comes last
    with_key = len(key) - int(np.isnan(key).sum())
    return order[: min(count, with_key)]
