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
from ..networks.exchange import ONE, Ranks
from .finite import Fault

log = logging.getLogger(__name__)
State = dict[str, Any]  # what a checkpoint holds, by name
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
        identity: the digests of the run's data and of its parameters, by the names "data" and
            "config". A checkpoint with another digest is refused.
        machine: the machine that the run is on now, as `describe_machine` gives it.
        folder: the folder of the run, or None to keep nothing on the disk.
        deadline: the time on the monotonic clock at which the run must have stopped.
        every: seconds between checkpoints.

    Attributes:
        rows: epoch, loss, learning rate and seconds of every epoch done.
        machines: all machines that the run was on, this one included.
    """

    def __init__(
        self,
        identity: dict[str, str],
        machine: dict[str, object],
        folder: Path | None = None,
        deadline: float = math.inf,
        every: float = math.inf,
        ranks: Ranks = ONE,
    ) -> None:
        self.identity = identity
        self.machine = machine
        self.folder = folder
        self.deadline = deadline
        self.every = every
        self.ranks = ranks
        self.rows: list[list[float]] = []
        self.machines: list[dict[str, object]] = []
        self.started = time.monotonic()  # when this epoch began
        self.saved = self.started  # when the last checkpoint was written; at first, now

    def remaining_epochs(self, epochs: int, load: Callable[[State], None]) -> Iterator[int]:
        """The numbers of the epochs that are still to be done, each when its turn comes.

        Args:
            epochs: how many the run has; they are numbered from 1.
            load: gets the state of the newest checkpoint before the first epoch, if there is one.
        """
        self.epochs = epochs
        self._restore(load)
        if self.machine not in self.machines:
            self.machines.append(self.machine)

        # A bar for whoever watches; a log needs none, and has a line an epoch.
        left = range(len(self.rows) + 1, epochs + 1)
        watched = sys.stdout.isatty() or "ipykernel" in sys.modules
        for epoch in tqdm(left, "epochs", file=sys.stdout, disable=not watched or not left):
            self.started = time.monotonic()
            yield epoch

    def end_epoch(self, epoch: int, loss: Tensor, lr: float, state: Callable[[], State]) -> None:
        """Write the epoch down, and a checkpoint when it is time for one.

        Args:
            epoch: its number, from 1.
            loss: the mean loss of its samples, [].
            lr: the learning rate of its last step.
            state: gives what a checkpoint must hold; it is called only where one is written.

        Raises:
            TimeUp: when the next epoch would not end in time.
        """
        now = time.monotonic()
        seconds = now - self.started
        self.rows.append([epoch, float(loss), lr, seconds])
        if self.ranks.is_first:
            log.info("epoch %d of %d: loss %.4f, %.2f s", epoch, self.epochs, loss, seconds)

        # The next epoch takes as long as this one did, most likely.
        # Of several ranks the first has the clock, and writes.
        over = self.ranks.agree(epoch < self.epochs and now + seconds > self.deadline)
        due = now - self.saved >= self.every
        if self.folder and self.ranks.is_first and (over or due):
            self._save(epoch, state())
        if over:
            raise TimeUp(
                f"stopped after epoch {epoch} of {self.epochs}; "
                f"`ltcl run --resume {self.folder}` goes on with it"
            )

    def refuse(self, epoch: int, fault: Fault | None, index: np.ndarray) -> None:
        """Stop where numbers are no longer finite, before the epoch is written down anywhere.

        Args:
            epoch: the number of the epoch that has just been done.
            fault: what `Training.fault` found. None is no fault, and nothing is done.
            index: [N], the positions of all samples in the train part.

        Raises:
            FloatingPointError: naming epoch, step and learning rate; a record is in the folder.
        """
        if fault is None:
            return
        words = f"{fault.what} not finite at step {fault.step} of epoch {epoch} (lr {fault.lr:g})"
        kept = ""
        if self.folder and self.ranks.is_first:
            positions = index[fault.samples].tolist()
            record = {"epoch": epoch} | fault._asdict() | {"samples": positions}
            write_json(self.folder / FAULT, record)
            kept = f"{self.folder / FAULT} names its samples; "
        raise FloatingPointError(
            f"{words}; {kept}start a new run with a lower lr, or look at these images first"
        )

    def _save(self, epoch: int, state: State) -> None:
        """Write a checkpoint: the training's state, and what the keeper itself must find again."""
        own = {"rows": self.rows, "machines": self.machines}
        runs.save_checkpoint(self.folder, epoch, state | self.identity | own)
        self.saved = time.monotonic()

    def _restore(self, load: Callable[[State], None]) -> None:
        """Load the newest whole checkpoint, if there is one and it is of this very run."""
        if self.folder is None:
            return
        state = runs.load_checkpoint(self.folder)
        if state is None:
            return
        self._check_identity(state)
        load(state)
        self.rows = state["rows"]
        self.machines = state["machines"]

    def _check_identity(self, state: State) -> None:
        """Refuse a checkpoint of other data or parameters: its run cannot go on with these."""
        for what, digest in self.identity.items():
            if state.get(what) != digest:
                named = "config.json" if what == "config" else "the data or split"
                raise ConfigError(
                    f"{named} of {self.folder} changed since its checkpoint; put the old one back, "
                    "or start a new run"
                )
