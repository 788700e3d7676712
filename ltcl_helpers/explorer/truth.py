"""The truth beside the score: memorization by leaving samples out, for the samples of a run."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import numpy as np
from scipy import stats

from .. import files, paths
from ..config import RunConfig
from ..errors import ConfigError
from ..probe import leave_out
from .history import History

log = logging.getLogger(__name__)
RECORDED = paths.RESULTS / "leave-out"  # as experiments/leave_out.py writes it
RELIABLE = 0.3  # rank correlation of two halves of the runs


def memorization_of(run: History, folder: str | Path = RECORDED) -> np.ndarray:
    """How much each sample's loss rises when training leaves it out, [N] (Feldman 2020).

    Args:
        run: whose samples are asked for.
        folder: what experiments/leave_out.py wrote.

    Raises:
        ConfigError: where the folder holds nothing of the run's data and split, or too few parts.
    """
    parts = _parts_of(run, Path(folder))
    try:
        return leave_out.memorization(*parts).astype(np.float32)
    except ValueError as error:
        raise ConfigError(f"{folder}: {error}") from None


def recorded(run: History) -> np.ndarray | None:
    """The recorded memorization [N] of a run's samples; None where there is none, or only noise.

    It is shown unasked, so two halves of its runs must rank the samples alike.
    """
    try:
        parts = _parts_of(run, RECORDED)
        agree = stats.spearmanr(*leave_out.halves(*parts)).statistic
    except (ConfigError, ValueError) as error:
        log.debug("%s", error)
        return None
    return leave_out.memorization(*parts).astype(np.float32) if agree >= RELIABLE else None


def _parts_of(run: History, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Losses [R, N] of the runs on parts of the run's own split, and which samples each had."""
    there = []
    for name in _kinds(folder):
        first = files.read_npz(min(folder.glob(f"{name}-[0-9]*.npz")), "about", "labels")
        config = RunConfig(**json.loads(str(first["about"]))["config"])
        there.append(split_of(config))
        if _is_of(run, config, first["labels"]):
            return leave_out.read(folder, name)
    asked = split_of(run.config) if run.config else "losses of another loop"
    raise ConfigError(
        f"no memorization by leaving out for {run.label}, which is of {asked}; {folder} has "
        f"{' and '.join(there) or 'none'}; next: experiments/leave_out.py, or a run of that split"
    )


def _kinds(folder: Path) -> list[str]:
    """What parts there are: "long-tail" of long-tail-00.npz, long-tail-01.npz, ..."""
    found = (re.fullmatch(r"(.*)-\d\d+\.npz", path.name) for path in folder.glob("*.npz"))
    return sorted({match[1] for match in found if match})


def _is_of(run: History, config: RunConfig, labels: np.ndarray) -> bool:
    """Whether the parts are of the run's data and split, sample for sample."""
    if run.config is None or run.labels is None:
        return False
    return split_of(run.config) == split_of(config) and np.array_equal(run.labels, labels)


def split_of(config: RunConfig) -> str:
    """Data and split in words; with equal labels equal words mean the same samples."""
    order = ", mirrored" if config.mirrored else ""
    return f"{config.data}, {config.split}, split seed {config.drawn_with}{order}"
