"""The one training loop: epochs over images that stay in memory.

Every random number is a function of (seed, purpose, epoch). So a run that was killed and resumed
goes on exactly as if it had never stopped (on the same CPU and thread count).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import runs
from ..config import RunConfig
from ..data import splits
from ..errors import ConfigError
from ..networks.exchange import Ranks
from ..recipes import AIM_OF
from ..runs import Run
from ..views import make_views
from . import checks, ranks
from .aims import aimed_scores
from .keeper import Keeper, deadline_of
from .training import Training

# The purpose of the generator that a method draws from in an epoch: SDCLR its masks, MoCo the order
# of its keys. The name was right when only SDCLR drew. Seeds depend on it, so it stays.
METHOD = "pruning"


def pretrain(
    config: RunConfig,
    out: str | Path | None = None,
    inputs: splits.Inputs | None = None,
    minutes: float | None = None,
) -> Run:
    """Train an encoder; with `out`, leave a folder that `Run.load` opens and that can be resumed.

    Args:
        config: the run's parameters.
        out: a folder that does not exist yet, or None to keep everything in memory.
        inputs: what `splits.select(config)` gave, when the caller has it already.
        minutes: the time that the run has; it stops at the last end of an epoch within it. It
            needs `out`.

    Raises:
        ConfigError: before anything is created.
        FloatingPointError: when a loss or a weight is not finite; nothing of it is kept.
        TimeUp: when the minutes ended before the run.
    """
    deadline = deadline_of(minutes)
    if out is None and minutes is not None:
        raise ConfigError("minutes needs out, a folder that keeps what is done by then")
    checks.check(config, ranks.started())
    inputs = inputs or splits.select(config)
    checks.check_data(config, inputs, ranks.started())

    together = ranks.join(config)
    if out is None:
        training = Training(config, inputs, ranks=together)
        keeper = Keeper({}, training.machine, ranks=together)
        return _train(training, keeper)
    folder = Path(out)
    with _new_folder(folder, config, together):
        return _train_in(folder, config, inputs, deadline, together)


def resume(
    folder: str | Path,
    minutes: float | None = None,
    inputs: splits.Inputs | None = None,
    place: Mapping[str, Any] | None = None,
) -> Run:
    """Go on with a run that was stopped; a finished run is checked and loaded.

    Args:
        folder: where the run lies.
        minutes: the time that it has from now on, as for `pretrain`.
        inputs: as for `pretrain`; a finished run's data are compared only where they are given.
        place: where it is made from now on, as `RunConfig.place`; else where it was begun.

    Raises:
        ConfigError: when the folder holds no run, or one that cannot go on.
        FloatingPointError: as for `pretrain`.
        TimeUp: as for `pretrain`.
    """
    folder = Path(folder)
    deadline = deadline_of(minutes)
    config = runs.read_config(folder).moved(place or {})
    if (folder / "DONE.json").exists():
        return _finished(folder, inputs)
    runs.refuse_import(folder, config)
    checks.check(config, ranks.started())
    together = ranks.join(config)
    with _begun_folder(folder, together):
        if together.is_first and (folder / "DONE.json").exists():
            return _finished(folder, inputs)  # by another process, in between
        inputs = inputs or splits.select(config)
        checks.check_data(config, inputs, together.count)
        return _train_in(folder, config, inputs, deadline, together)


@contextmanager
def _new_folder(folder: Path, config: RunConfig, together: Ranks) -> Iterator[None]:
    """The folder of a new run; the first rank holds it from its first file to the last."""
    if not together.is_first:
        ranks.wait(together)
        yield
        return
    runs.refuse_used(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with runs.lock(folder):  # of two processes at once, one makes the run
        runs.begin(folder, config)
        ranks.wait(together)
        yield


@contextmanager
def _begun_folder(folder: Path, together: Ranks) -> Iterator[None]:
    """The folder of a run that goes on; the first rank holds it, and clears what a kill left."""
    if not together.is_first:
        yield
        return
    with runs.lock(folder):
        runs.sweep(folder)
        yield


def _finished(folder: Path, inputs: splits.Inputs | None) -> Run:
    """A run that is over, compared with the data where they are at hand."""
    run = Run.load(folder)
    if inputs:
        run.refuse_other_data(splits.data_digest(inputs))
    if runs.checkpoints(folder):  # killed right behind its DONE.json
        with runs.lock(folder):
            runs.sweep(folder)
    return run


def _train_in(
    folder: Path,
    config: RunConfig,
    inputs: splits.Inputs,
    deadline: float,
    together: Ranks,
) -> Run:
    """Train what is left of the run in `folder`, which the caller holds, or the first rank does."""
    training = Training(config, inputs, ranks=together)
    identity = training.identity()
    keeper = Keeper(
        identity,
        training.machine,
        folder,
        deadline,
        every=training.checkpoint_seconds,
        ranks=together,
    )
    run = _train(training, keeper)
    if together.is_first:
        runs.save(run, folder, keeper.machines, identity["data"])
    return run


def _train(training: Training, keeper: Keeper) -> Run:
    """Do all epochs that the keeper has not seen done yet."""
    config = training.config
    method = training.method
    memory = training.memory
    for epoch in keeper.remaining_epochs(config.epochs, training.load_state_dict):
        # SDCLR draws its pruning mask anew, MoCo the order of its keys.
        draw = training.generator(METHOD, epoch)
        method.start_epoch(epoch, config.epochs, draw)

        # Boosted: how strongly views differ follows each sample's score of the last epoch.
        draws = training.draws_of(epoch)
        views, scores = make_views(
            config,
            memory.scores,
            draws,
            method.VIEWS,
            training.rarity,
            training.ranks.rows,
        )

        # One pass over the data, batch by batch; what is not finite goes no further.
        steps = training.steps(epoch)
        loss = training.epoch(steps, views, scores)
        keeper.refuse(epoch, training.fault(), training.inputs.index)

        # The momentum losses give the scores of the next epoch; some epochs' are kept for good.
        is_kept = epoch % config.keep_every == 0 or epoch == config.epochs
        memory.end_epoch(keep=is_kept)
        if config.boost in AIM_OF:  # what another aim says takes the place of the scores
            draw = training.generator("aim", 0)  # the same in every epoch
            aim = AIM_OF[config.boost]
            memory.scores = aimed_scores(aim, method, training.held(), draw)
        keeper.end_epoch(epoch, loss, training.lr, training.state_dict)

    # A run of no epochs is the baseline of an untrained encoder.
    if config.epochs == 0:
        training.set_batch_norm()
        keeper.refuse(0, training.fault(), training.inputs.index)
    return training.finished(keeper.rows)
