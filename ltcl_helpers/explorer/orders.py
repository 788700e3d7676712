"""What samples can be ordered by: numbers of each sample, from its losses or its features.

The page computes the same numbers in `front/data.mjs`; a test holds both together. NaN is a sample
that was not seen yet: it has no place in an order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import normalize

GROUPS = ("many", "medium", "few", "all")
NEIGHBOURS = 10
CHUNK = 1024  # samples whose neighbours are looked for at once


def bands(loss: np.ndarray, member: np.ndarray) -> dict[str, np.ndarray]:
    """Quartiles of each group's losses, float64 [epochs, 3]; NaN where nobody was seen yet.

    Args:
        loss: [epochs, N].
        member: [N], each sample's group.
    """
    found = {}
    for group in GROUPS:
        mine = loss[:, member == group].astype(np.float64)  # [epochs, n]
        if mine.size:
            found[group] = np.array([_quartiles(row[~np.isnan(row)]) for row in mine])
    return found


def _quartiles(values: np.ndarray) -> np.ndarray:
    if not len(values):
        return np.full(3, np.nan)
    return np.quantile(values, [0.25, 0.5, 0.75])


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
    epochs, samples = loss.shape
    first = first_seen(loss)
    # Where a sample was not seen, its last loss stands; before the first one, that.
    row = np.where(np.isnan(loss), 0, np.arange(epochs)[:, None])
    row = np.maximum.accumulate(row, axis=0)
    filled = loss[row, np.arange(samples)].astype(np.float32)
    filled = np.where(np.isnan(filled), first, filled)
    return np.abs(np.diff(filled, axis=0)).sum(axis=0) - np.abs(filled[-1] - first)


def learnt(loss: np.ndarray, member: np.ndarray, epochs: Sequence[int]) -> np.ndarray:
    """The first epoch from which on a sample's loss stays below its group's median [N].

    "Stays" means at every later row, the last one included; NaN where it does not.
    """
    medians = {group: quartiles[:, 1] for group, quartiles in bands(loss, member).items()}
    found = np.full(loss.shape[1], np.nan)
    stays = np.ones(loss.shape[1], bool)
    for row in reversed(range(len(loss))):
        median = np.array([medians[group][row] for group in GROUPS if group in medians])
        kinds = np.array([group for group in GROUPS if group in medians])
        own = median[(member[:, None] == kinds).argmax(axis=1)]  # [N]
        stays &= loss[row] < own  # False of NaN
        found[stays] = epochs[row]
    return found


def data_map(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each sample's score over the epochs it was seen in, [N] each.

    Args:
        scores: [epochs, N], NaN where a sample was not seen (Swayamdipta et al. 2020 use the
            probability of the label; here it is the memorization score, which needs none).
    """
    scores = scores.astype(np.float64)
    seen = ~np.isnan(scores)
    with np.errstate(invalid="ignore"):
        mean = np.where(seen, scores, 0).sum(axis=0) / seen.sum(axis=0)
        squares = np.where(seen, (scores - mean) ** 2, 0).sum(axis=0) / seen.sum(axis=0)
    return mean, np.sqrt(squares)


def neighbours(features: np.ndarray) -> np.ndarray:
    """The samples with the most alike features by cosine, int32 [N, 10]; -1 where there are fewer.

    Args:
        features: [N, D].
    """
    unit = normalize(torch.from_numpy(features))  # [N, D]
    count = min(NEIGHBOURS, len(unit) - 1)
    found = torch.full((len(unit), NEIGHBOURS), -1, dtype=torch.int32)
    for start in range(0, len(unit), CHUNK):
        alike = unit[start : start + CHUNK] @ unit.T  # [chunk, N]
        own = torch.arange(len(alike))
        alike[own, start + own] = -torch.inf
        found[start : start + CHUNK, :count] = alike.topk(count).indices.int()
    return found.numpy()


def largest(key: np.ndarray, count: int) -> np.ndarray:
    """The samples with the `count` largest keys, largest first; none whose key is NaN."""
    order = (-key).argsort(kind="stable")  # NaN comes last
    with_key = len(key) - int(np.isnan(key).sum())
    return order[: min(count, with_key)]
