"""What a run keeps while it trains: its history, its clock, its checkpoints."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor
from tqdm import tqdm

from . import splits, store
from .config import ConfigError

if TYPE_CHECKING:
    from .pretrain import Training

log = logging.getLogger(__name__)


class TimeUp(Exception):
    """The minutes of a run are over: it stopped after an epoch, its checkpoint is written."""


def deadline_of(minutes: float | None) -> float:
    """When, on the monotonic clock, a run that has so many minutes must have stopped."""
    if minutes is not None and not minutes > 0:
        raise ConfigError(f"minutes is {minutes:g}; allowed is a number above 0")
    return math.inf if minutes is None else time.monotonic() + 60 * minutes


class Keeper:
    """Counts the epochs of a run, and saves and restores it at their ends.

    Args:
        folder: of the run, or None to keep nothing on the disk.
        deadline: on the monotonic clock.

    Attributes:
        rows: epoch, loss, learning rate and seconds of every epoch done.
        machines: all that the run was on.
    """

    def __init__(self, folder: Path | None = None, deadline: float = math.inf) -> None:
        self.folder, self.deadline = folder, deadline
        self.rows: list[list] = []
        self.machines: list[dict] = []
        self.saved = self.started = time.monotonic()

    def remaining_epochs(self, training: Training) -> Iterator[int]:
        """The epochs still to be done, from 1, after `training` was brought where it had been."""
        self.training, config = training, training.config
        if self.folder:
            self._restore()
        self.machines += [] if training.machine in self.machines else [training.machine]
        epochs = range(len(self.rows) + 1, config.epochs + 1)
        watched = sys.stdout.isatty() or "ipykernel" in sys.modules  # a log needs no bar
        for epoch in tqdm(epochs, "epochs", file=sys.stdout, disable=not watched or not epochs):
            self.started = time.monotonic()
            yield epoch

    def end_epoch(self, epoch: int, loss: Tensor) -> None:
        """Write the epoch down, and a checkpoint when it is time for one.

        Raises FloatingPointError for a loss that is not finite, TimeUp when the next epoch would
        not end in time.
        """
        training, epochs = self.training, self.training.config.epochs
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss of epoch {epoch} is {loss:g}; lower lr and rerun")
        lr = float(training.optimizer.param_groups[0]["lr"])
        seconds = time.monotonic() - self.started
        self.rows.append([epoch, float(loss), lr, seconds])
        log.info("epoch %d of %d: loss %.4f, %.2f s", epoch, epochs, loss, seconds)
        over = epoch < epochs and time.monotonic() + seconds > self.deadline
        if self.folder and (over or time.monotonic() - self.saved >= self._every()):
            state = training.state_dict() | self._identity()
            store.save_checkpoint(
                self.folder, epoch, state | {"rows": self.rows, "machines": self.machines}
            )
            self.saved = time.monotonic()
        if over:
            raise TimeUp(
                f"stopped after epoch {epoch} of {epochs}; "
                f"`ltcl run --resume {self.folder}` goes on with it"
            )

    def _every(self) -> float:
        """Seconds between checkpoints: a GPU does in one minute what a CPU does in many."""
        if (asked := self.training.config.checkpoint_seconds) is not None:
            return asked
        return 240 if self.training.device.type == "cuda" else 60

    def _identity(self) -> dict[str, str]:
        """What a run must be made of to go on: the digests of its data and its parameters."""
        inputs, config = self.training.inputs, self.training.config
        return {"data": splits.data_digest(inputs), "config": config.digest()}

    def _restore(self) -> None:
        """Load the newest whole checkpoint, if there is one and it is of this very run."""
        if (state := store.load_checkpoint(self.folder)) is None:
            return
        for what, digest in self._identity().items():
            if state.get(what) != digest:
                named = "config.json" if what == "config" else "the data or split"
                raise ConfigError(
                    f"{named} of {self.folder} changed since its checkpoint; put the old one back, "
                    "or start a new run"
                )
        self.training.load_state_dict(state)
        self.rows, self.machines = state["rows"], state["machines"]
