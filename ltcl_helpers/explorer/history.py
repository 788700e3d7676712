"""One run as a history of losses with what belongs to it: the input of the explorer."""

from __future__ import annotations

import dataclasses
import logging
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import RunConfig
from ..data import splits
from ..data.images import read_arrays
from ..data.stored import Stored
from ..errors import ConfigError, DamagedFile
from ..methods.memory import memorization_score
from ..recipes import may_import
from ..runs.run import Run
from . import arrays

log = logging.getLogger(__name__)
MOST_IMAGES = 20_000  # above this no thumbnails: a page must stay small enough to mail


@dataclasses.dataclass
class History:
    """What the explorer shows of one run; [epochs, N] is the one thing it must have."""

    momentum_loss: np.ndarray  # float16 or float32 [epochs, N]; NaN: not seen yet
    label: str = "momentum loss"
    epochs: list[int] = dataclasses.field(default_factory=list)  # 1, 2, ... unless given
    labels: np.ndarray | None = None  # int64 [N]
    index: np.ndarray | None = None  # int64 [N], positions in the data set
    class_names: tuple[str, ...] = ()
    group_counts: np.ndarray | None = None  # int64 [C], says which classes are many, medium, few
    images: np.ndarray | Stored | None = None  # uint8 [N, 3, H, W], large ones in their files
    no_images: str = ""  # why there are none, and what to do
    encoder: torch.nn.Module | None = None
    config: RunConfig | None = None
    notes: list[str] = dataclasses.field(default_factory=list)
    features: np.ndarray | None = None  # float32 [N, D], of another loop; a run's encoder gives its
    origin: dict[str, str] = dataclasses.field(default_factory=dict)  # study, seed, split, digests
    memorization: np.ndarray | None = None  # float32 [N], by leaving out; a recorded one is found

    @property
    def kept(self) -> list[int]:
        """The epochs of the rows: as given, or 1, 2, ..."""
        return self.epochs or list(range(1, len(self.momentum_loss) + 1))

    def scores(self) -> np.ndarray:
        """Memorization scores [epochs, N] after each epoch kept; 0.5 where losses are equal."""
        return np.stack([self.scores_after(row) for row in range(len(self.momentum_loss))])

    def scores_after(self, row: int) -> np.ndarray:
        """Memorization scores [N] after the epoch of a row, float32."""
        loss = torch.from_numpy(self.momentum_loss[row].astype(np.float64))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "all momentum losses are equal")
            return memorization_score(loss).float().numpy()

    def classes(self) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, list[str]]:
        """Names [C], labels [N], sizes [C] and groups [C]; without labels all is one class.

        Where nobody is many or few, as the probe has it, every class is of the group "all".
        """
        if self.labels is None:
            samples = self.momentum_loss.shape[1]
            return ("sample",), np.zeros(samples, np.int64), np.array([samples]), ["all"]
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        groups = ["all"] * len(counts)
        rule = "thirds" if self.config is None else self.config.groups
        served = splits.served(counts if self.group_counts is None else self.group_counts, rule)
        for group, members in served.items():
            for number in members:
                groups[number] = group
        return self.class_names, self.labels, counts, groups

    def groups(self) -> np.ndarray:
        """The group of each sample, [N] of "many", "medium" and "few", or of "all"."""
        _, labels, _, groups = self.classes()
        return np.array(groups)[labels]


def from_arrays(
    momentum_loss: Any,
    labels: Any = None,
    images: Any = None,
    class_names: Any = None,
    epochs: Any = None,
    features: Any = None,
    memorization: Any = None,
) -> History:
    """The history of any training loop, for `Explorer` and `export_html`.

    Lists, NumPy arrays and tensors are all taken.

    Args:
        momentum_loss: [epochs, N], per-sample losses or their momentum; NaN where a sample was not
            seen. Kept as float16 where that keeps their differences, as float32 elsewhere.
        labels: [N] whole numbers from 0, for colours and search only.
        images: whole numbers from 0 to 255 or floats from 0 to 1, [N, 3, H, W] or [N, H, W, 3].
        class_names: one text per class, or {number: name}; "class 0" and so on when None.
        epochs: [epochs], which epoch each row is; 1, 2, ... when None.
        features: [N, D] of the final encoder, for a map of them and for nearest neighbours.
        memorization: [N], how much a sample's loss rises when training leaves it out; a colour.

    Raises:
        ConfigError: for shapes, ranges or kinds that cannot be right; nothing is guessed.
    """
    loss = arrays.check_losses(momentum_loss)
    given = {"labels": labels, "images": images, "features": features}
    given["memorization"] = memorization
    counts = {name: len(part) for name, part in given.items() if part is not None}
    arrays.check_not_transposed(loss.shape, counts)
    history, samples = History(loss), loss.shape[1]
    if labels is not None:
        history.labels, history.class_names = arrays.check_labels(labels, samples, class_names)
    if images is not None:
        history.images = arrays.check_images(images, samples)
    if epochs is not None:
        history.epochs = arrays.check_epochs(epochs, len(loss))
    if features is not None:
        history.features = arrays.check_features(features, samples)
    if memorization is not None:
        history.memorization = arrays.check_memorization(memorization, samples)
    return history


def checked(history: History) -> History:
    """The same history, whatever was set on it by hand made right or refused."""
    if history.momentum_loss.dtype not in (np.float16, np.float32):
        history.momentum_loss = arrays.check_losses(history.momentum_loss)
    rows, samples = history.momentum_loss.shape
    if len(history.epochs):
        history.epochs = arrays.check_epochs(history.epochs, rows)
    if history.labels is not None:
        names = history.class_names or None
        history.labels, history.class_names = arrays.check_labels(history.labels, samples, names)
    if history.images is not None and not isinstance(history.images, Stored):
        history.images = arrays.check_images(history.images, samples)
    if history.features is not None:
        history.features = arrays.check_features(history.features, samples)
    if history.memorization is not None:
        history.memorization = arrays.check_memorization(history.memorization, samples)
    return history


def open_run(run: Any, images: bool = True) -> History:
    """The history of a run (a `Run`, a folder, or a `History`), images where they are at hand.

    `images=False` leaves them out, and is fast.

    Raises:
        ConfigError: for a folder that is damaged or no run.
    """
    if isinstance(run, History):
        return checked(run)
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
        origin=_origin(run),
    )
    if not len(history.momentum_loss):
        raise ConfigError(_without_history(run))
    try:
        history.encoder = run.encoder
    except DamagedFile:
        raise
    except ConfigError as error:
        why = "recorded without its weights" if may_import(run.config.method) else str(error)
        history.notes.append(f"{history.label}: {why}, so there is no map of its features.")
    if images:
        _find_images(history, run)
    return history


def _without_history(run: Run) -> str:
    """Why there is nothing to show, and what there is instead."""
    what = "is an untrained encoder"
    if run.config.weights:
        what = "holds weights that other code made"
    return (
        f"{run.folder} {what}: it has no loss history to show; `ltcl probe {run.folder}` says what "
        "the encoder is worth, explorer.from_arrays shows losses of another training loop"
    )


def _origin(run: Run) -> dict[str, str]:
    """Where a run comes from, in words that name no folder of this machine."""
    config, found = run.config, {}
    if run.folder is not None:
        found["run"] = "/".join(run.folder.resolve().parts[-2:])  # study and run
    if version := run.done.get("versions", {}).get("ltcl-helpers"):
        found["made with"] = f"ltcl-helpers {version}"
    found["seed"] = str(config.seed)
    found["split"] = f"{Path(config.split).name} {splits.split_digest(run.index.numpy())[:12]}"
    found["configuration"] = config.digest()[:12]
    return found


def without_folders(text: str) -> str:
    """The same text with every absolute path cut to its last part: a page is handed on."""
    return re.sub(r"(?:[A-Za-z]:\\|/)(?:[^\s'\"<>:;,()/\\]+[/\\])+", "…/", text)


def _find_images(history: History, run: Run) -> None:
    """The images and class names of a run's data set, or a note that says how to point to them."""
    config = run.config
    try:
        data = read_arrays(config.data, "train", config.root)
        inputs = run.inputs_of(data)
    except (ConfigError, OSError) as error:
        log.warning("no images: %s", error)
        history.no_images = (
            f"No images ({error}). To see them, put the data in that place, or open the run with "
            "them: run = explorer.open_run(FOLDER), then run.images = uint8 [N, 3, H, W]."
        )
        return
    history.class_names = data.class_names
    if len(inputs.index) <= MOST_IMAGES or history.encoder is not None:
        history.images = inputs.images
