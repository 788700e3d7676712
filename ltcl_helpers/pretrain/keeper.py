"""What a run keeps while it trains: its history, its clock, its checkpoints."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from .. import runs
from ..errors import ConfigError, TimeUp
from ..files import write_json
from .finite import Fault

log = logging.getLogger(__name__)
State = dict[str, Any]
FAULT = "not-finite.json"  # what is known of a step whose numbers are none


def deadline_of(minutes: float | None) -> float:
    """When, on the monotonic clock, a run that has so many minutes must have stopped."""
    if minutes is None:
        return math.inf
    if not minutes > 0:
        raise ConfigError(f"minutes is {minutes:g}; allowed is a number above 0")
    return time.monotonic() + 60 * minutes


class Keeper:
    """Counts the epochs of a run, and saves and restores it at their ends.

    Args:
        identity: digests of the run's data and of its parameters, by these names; a checkpoint
            with other ones is refused.
        machine: that the run is on now.
        folder: the run's, or None to keep nothing on the disk.
        deadline: on the monotonic clock.
        every: seconds between checkpoints.

    Attributes:
        rows: epoch, loss, learning rate and seconds of every epoch done.
        machines: all that the run was on.
    """

    def __init__(
        self,
        identity: dict[str, str],
        machine: dict[str, object],
        folder: Path | None = None,
        deadline: float = math.inf,
        every: float = math.inf,
    ) -> None:
        self.identity = identity
        self.machine = machine
        self.folder = folder
        self.deadline = deadline
        self.every = every
        self.rows: list[list[float]] = []
        self.machines: list[dict[str, object]] = []
        self.saved = self.started = time.monotonic()

    def remaining_epochs(self, epochs: int, load: Callable[[State], None]) -> Iterator[int]:
        """The epochs of `epochs` that are still to be done, from 1.

        Before the first of them, `load` gets the state of the newest checkpoint, if there is one.
        """
        self.epochs = epochs
        self._restore(load)
        if self.machine not in self.machines:
            self.machines.append(self.machine)
        left = range(len(self.rows) + 1, epochs + 1)
        watched = sys.stdout.isatty() or "ipykernel" in sys.modules  # a log needs no bar
        for epoch in tqdm(left, "epochs", file=sys.stdout, disable=not watched or not left):
            self.started = time.monotonic()
            yield epoch

    def end_epoch(self, epoch: int, loss: Tensor, lr: float, state: Callable[[], State]) -> None:
        """Write the epoch down, and a checkpoint of `state()` when it is time for one.

        Raises:
            TimeUp: when the next epoch would not end in time.
        """
        now = time.monotonic()
        seconds = now - self.started
        self.rows.append([epoch, float(loss), lr, seconds])
        log.info("epoch %d of %d: loss %.4f, %.2f s", epoch, self.epochs, loss, seconds)
        # The next epoch takes as long as this one did, most likely.
        over = epoch < self.epochs and now + seconds > self.deadline
        due = now - self.saved >= self.every
        if self.folder and (over or due):
            self._save(epoch, state())
        if over:
            raise TimeUp(
                f"stopped after epoch {epoch} of {self.epochs}; "
                f"`ltcl run --resume {self.folder}` goes on with it"
            )

    def refuse(self, epoch: int, fault: Fault | None, index: np.ndarray) -> None:
        """Stop where numbers are no longer finite, before the epoch is written down anywhere.

        Args:
            epoch: that has just been done.
            fault: as `Training.fault` found it.
            index: positions in the train part, of all samples.

        Raises:
            FloatingPointError: naming epoch, step and learning rate; a record is in the folder.
        """
        if fault is None:
            return
        positions = index[fault.samples].tolist()
        words = f"{fault.what} not finite at step {fault.step} of epoch {epoch} (lr {fault.lr:g})"
        kept = ""
        if self.folder:
            record = {"epoch": epoch} | fault._asdict() | {"samples": positions}
            write_json(self.folder / FAULT, record)
            kept = f"{self.folder / FAULT} names its samples; "
        raise FloatingPointError(
            f"{words}; {kept}start a new run with a lower lr, or look at these images first"
        )

    def _save(self, epoch: int, state: State) -> None:
        kept = {"rows": self.rows, "machines": self.machines}
        runs.save_checkpoint(self.folder, epoch, state | self.identity | kept)
        self.saved = time.monotonic()

    def _restore(self, load: Callable[[State], None]) -> None:
        """Load the newest whole checkpoint, if there is one and it is of this very run."""
        state = runs.load_checkpoint(self.folder) if self.folder else None
        if state is None:
            return
        for what, digest in self.identity.items():
            if state.get(what) != digest:
                named = "config.json" if what == "config" else "the data or split"
                raise ConfigError(
                    f"{named} of {self.folder} changed since its checkpoint; put the old one back, "
                    "or start a new run"
                )
        load(state)
        self.rows = state["rows"]
        self.machines = state["machines"]
