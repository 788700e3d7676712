"""One run as a history of losses with what belongs to it: the input of the explorer."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import RunConfig
from ..data import splits
from ..data.images import read_arrays
from ..errors import ConfigError
from ..methods.memory import memorization_score
from ..runs.run import Run

MOST_IMAGES = 20_000  # above this no thumbnails: a page must stay small enough to mail


@dataclasses.dataclass
class History:
    """What the explorer shows of one run; [epochs, N] is the one thing it must have."""

    momentum_loss: np.ndarray  # float16 [epochs, N]
    label: str = "momentum loss"
    epochs: list[int] = dataclasses.field(default_factory=list)  # 1, 2, ... unless given
    labels: np.ndarray | None = None  # int64 [N]
    index: np.ndarray | None = None  # int64 [N], positions in the data set
    class_names: tuple[str, ...] = ()
    group_counts: np.ndarray | None = None  # int64 [C], says which classes are many, medium, few
    images: np.ndarray | None = None  # uint8 [N, 3, H, W]
    no_images: str = ""  # why there are none, and what to do
    encoder: torch.nn.Module | None = None
    config: RunConfig | None = None
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def kept(self) -> list[int]:
        """The epochs of the rows: as given, or 1, 2, ..."""
        return self.epochs or list(range(1, len(self.momentum_loss) + 1))

    def scores(self) -> np.ndarray:
        """Memorization scores [epochs, N] after each epoch kept."""
        rows = torch.from_numpy(self.momentum_loss.astype(np.float32))
        return torch.stack([memorization_score(row) for row in rows]).numpy()

    def classes(self) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, list[str]]:
        """Names [C], labels [N], sizes [C] and groups [C]; without labels all is one class."""
        if self.labels is None:
            samples = self.momentum_loss.shape[1]
            return ("sample",), np.zeros(samples, np.int64), np.array([samples]), ["all"]
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        found = splits.groups(counts if self.group_counts is None else self.group_counts)
        groups = [next(g for g in found if c in found[g]) for c in range(len(counts))]
        return self.class_names, self.labels, counts, groups

    def groups(self) -> np.ndarray:
        """The group of each sample, [N] of "many", "medium" and "few"."""
        _, labels, _, groups = self.classes()
        return np.array(groups)[labels]


def from_arrays(
    momentum_loss: Any, labels: Any = None, images: Any = None, class_names: Any = None
) -> History:
    """The history of any training loop, for `Explorer` and `export_html`.

    Args:
        momentum_loss: [epochs, N], per-sample losses or their momentum; kept as float16.
        labels: [N] whole numbers from 0, for colours and search only.
        images: uint8 or float in [0, 1], [N, 3, H, W] or [N, H, W, 3].
        class_names: one text per class; "class 0" and so on when None.

    Raises:
        ConfigError: for shapes that do not agree, or a loss that is no finite float16.
    """
    loss = np.asarray(momentum_loss)
    if loss.ndim != 2 or not loss.size or loss.dtype.kind not in "fiu":
        raise ConfigError(
            f"momentum_loss is {loss.dtype} {list(loss.shape)}; allowed are numbers [epochs, N]"
        )
    with np.errstate(over="ignore"):
        loss = loss.astype(np.float16)
    if not np.isfinite(loss).all():
        raise ConfigError("momentum_loss has a NaN or a value beyond 65504; drop these samples")
    history = History(loss)
    if labels is not None:
        history.labels, history.class_names = _check_labels(labels, loss.shape[1], class_names)
    if images is not None:
        history.images = check_images(images, loss.shape[1])
    return history


def _check_labels(labels: Any, samples: int, names: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    labels = np.asarray(labels)
    if labels.shape != (samples,) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise ConfigError(
            f"labels are {labels.dtype} {list(labels.shape)} for {samples} samples; "
            "allowed is one whole number from 0 per sample"
        )
    given = (f"class {n}" for n in range(labels.max() + 1)) if names is None else names
    names = tuple(str(name) for name in given)
    if labels.max() >= min(len(names), 65536):
        raise ConfigError(f"labels go up to {labels.max()}, but there are {len(names)} class_names")
    return labels.astype(np.int64), names


def check_images(images: Any, samples: int) -> np.ndarray:
    """Images as uint8 [N, 3, H, W]; a ConfigError for another shape."""
    images = np.asarray(images)
    if images.ndim == 4 and images.shape[1] != 3:
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[:2] != (samples, 3):
        raise ConfigError(
            f"images are {list(images.shape)} for {samples} samples; "
            "allowed is [N, 3, H, W] or [N, H, W, 3]"
        )
    if images.dtype.kind == "f":
        images = np.clip(images * 255 + 0.5, 0, 255)
    return images.astype(np.uint8)


def open_run(run: Any, images: bool = True) -> History:
    """The history of a run (a `Run`, a folder, or a `History`), images where they are at hand.

    `images=False` leaves them out, and is fast.

    Raises:
        ConfigError: for a folder that is damaged or no run.
    """
    if isinstance(run, History):
        return run
    if isinstance(run, str | Path):
        run = Run.load(run)
    history = History(
        run.momentum_loss.numpy(),
        run.config.label,
        list(run.epochs_kept),
        run.labels.numpy(),
        run.index.numpy(),
        tuple(f"class {number}" for number in range(len(run.group_counts))),
        run.group_counts.numpy(),
        config=run.config,
    )
    if not len(history.momentum_loss):
        raise ConfigError(f"{run.folder} is an untrained encoder: it has no loss history to show")
    try:
        history.encoder = run.encoder
    except ConfigError:
        history.notes.append("Recorded without its weights: there is no map of the features.")
    if images:
        _find_images(history)
    return history


def _find_images(history: History) -> None:
    """The images and class names of a run's data set, or a note that says how to point to them."""
    config, index, labels = history.config, history.index, history.labels
    assert config is not None and index is not None and labels is not None  # a run has all three
    try:
        data = read_arrays(config.data, "train", config.root)
        if index.max() >= len(data.labels):
            raise ConfigError(f"{config.data} here has {len(data.labels)} images, the run had more")
        if not np.array_equal(data.labels[index], labels):
            raise ConfigError(f"{config.data} here has other labels than the run")
    except (ConfigError, OSError) as error:
        history.no_images = (
            f"No images ({error}). To see them, put the data in that place, or open the run with "
            "them: run = explorer.open_run(FOLDER), then run.images = uint8 [N, 3, H, W]."
        )
        return
    history.class_names = data.class_names
    if len(index) <= MOST_IMAGES or history.encoder is not None:
        history.images = np.asarray(data.images[index])
