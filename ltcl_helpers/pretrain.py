"""The one training loop: epochs over images that stay in memory.

Every random number is a function of (seed, purpose, epoch): a run that was killed and resumed goes
on exactly as if it had never stopped (on the same CPU and thread count).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from . import encoders, runs, splits, store
from .config import ConfigError, RunConfig, load_method
from .graphs import GraphedSteps, set_lr
from .keeper import Keeper, TimeUp, deadline_of
from .lars import LARS
from .machine import describe_machine, generator, pick_device, pick_precision, seed_for
from .memory import MomentumLoss
from .runs import Run
from .simclr import Batch, SimCLR
from .views import Views, make_views

__all__ = ["Run", "TimeUp", "Training", "pretrain", "resume"]


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
        minutes: stop at the last end of an epoch within this time; needs `out`.

    Raises ConfigError before anything is created, FloatingPointError when the loss is not finite,
    TimeUp when the minutes ended before the run.
    """
    deadline = deadline_of(minutes)
    inputs = inputs or splits.select(config)
    pick_device(config.device)  # complains before a folder is made
    if out is None:
        if minutes is not None:
            raise ConfigError("minutes needs out, a folder that keeps what is done by then")
        return _train(Training(config, inputs), Keeper())
    folder = runs.begin(Path(out), config)
    with store.lock(folder):
        return _train(Training(config, inputs), Keeper(folder, deadline))


def resume(folder: str | Path, minutes: float | None = None) -> Run:
    """Go on with a run that was stopped; a finished one is checked and loaded.

    `minutes` and errors are those of `pretrain`.
    """
    folder, deadline = Path(folder), deadline_of(minutes)
    config = RunConfig(**store.read_config(folder))
    with store.lock(folder):
        if (folder / "DONE.json").exists():
            return Run.load(folder)
        return _train(Training(config, splits.select(config)), Keeper(folder, deadline))


def _train(training: Training, keeper: Keeper) -> Run:
    """All epochs that the keeper has not yet seen done."""
    config, method, memory = training.config, training.method, training.memory
    for epoch in keeper.remaining_epochs(training):  # restores what was done, and its random state
        method.start_epoch(epoch, config.epochs, training.generator("pruning", epoch))
        views, scores = make_views(config, memory.scores, training.draws_of(epoch), method.VIEWS)
        loss = training.epoch(updates(training, epoch), views, scores)
        memory.end_epoch(keep=epoch % config.keep_every == 0 or epoch == config.epochs)
        keeper.end_epoch(epoch, loss)
    if config.epochs == 0:
        training.set_batch_norm()
    return runs.finish(training, keeper.rows, keeper.machines, keeper.folder)


class Training:
    """What a run trains with, put together here and nowhere else.

    Args:
        config: of the run.
        inputs: its images, labels and class counts.
        method: instead of the configuration's own, e.g. with golden weights.

    Attributes:
        images: uint8 [N, 3, H, W], on the device as all else.
        labels: int64 [N].
        method: gives one loss per sample for a `Batch`.
        optimizer: of its parameters.
        memory: takes in every sample's loss.
        scores: [N], what steers the views of this epoch.
    """

    def __init__(
        self, config: RunConfig, inputs: splits.Inputs, method: SimCLR | None = None
    ) -> None:
        self.config, self.inputs, self.device = config, inputs, pick_device(config.device)
        self.images, self.labels = (
            torch.from_numpy(array).to(self.device) for array in (inputs.images, inputs.labels)
        )
        precision = pick_precision(config.precision, self.device)
        self.machine = describe_machine(self.device, precision)
        self.method = method or make_method(config, torch.from_numpy(inputs.class_counts))
        self.method.autocast = precision
        self.method.to(self.device, memory_format=torch.channels_last)
        self.optimizer = make_optimizer(self.method, config)
        self.memory = MomentumLoss(len(self.labels), config.momentum_beta, self.device)
        self.scores = torch.zeros_like(self.memory.scores)  # a CUDA graph reads them here
        self.draws = [torch.Generator(self.device) for _ in range(2)]  # of views, and their boost
        self._choose_steps()

    def _choose_steps(self) -> None:
        """Steps go through CUDA graphs on a GPU."""
        on_gpu = self.device.type == "cuda"
        plain = lambda step, index: step(index)  # noqa: E731
        self.run_step = GraphedSteps(self.optimizer, self.draws) if on_gpu else plain

    def epoch(
        self, updates: Iterable[tuple[Tensor, float]], views: Views, scores: Tensor
    ) -> Tensor:
        """One pass over the data; `method.start_epoch` comes before it.

        Args:
            updates: index int64 [B] and learning rate of each.
            views: (images[index], scores[index]) to the views of the batch.
            scores: [N], what steers the views.

        Returns the mean loss of the samples seen, as a tensor: nothing here waits for the device.
        """
        self.method.train()
        scores = self.scores.copy_(scores)
        total, seen = torch.zeros((), device=self.device, dtype=self.memory.value.dtype), 0

        def step(index: Tensor) -> Tensor:
            batch = Batch(index, self.labels[index], views(self.images[index], scores[index]))
            loss = self.method(batch)  # [B], one value per sample
            self.memory.update(index, loss)
            self.optimizer.zero_grad(set_to_none=True)
            loss.mean().backward()
            self.optimizer.step()
            return loss.detach().sum()

        for index, lr in updates:
            set_lr(self.optimizer, lr)
            total += self.run_step(step, index)
            seen += len(index)
        return total / seen

    def generator(self, purpose: str, epoch: int) -> torch.Generator:
        """Random numbers on the device, a function of (seed, purpose, epoch)."""
        return generator(self.config.seed, purpose, epoch, self.device)

    def draws_of(self, epoch: int) -> list[torch.Generator]:
        """The generators of the views and of their boost, set for the epoch in place."""
        for draw, purpose in zip(self.draws, ("views", "boost"), strict=True):
            draw.manual_seed(seed_for(self.config.seed, purpose, epoch))
        return self.draws

    def state_dict(self) -> dict:
        """All that a checkpoint needs; the learning rate as a number, whatever the device."""
        parts = {"method": self.method, "optimizer": self.optimizer, "memory": self.memory}
        state = {name: part.state_dict() for name, part in parts.items()}
        for group in state["optimizer"]["param_groups"]:
            group["lr"] = float(group["lr"])
        return state

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` gave, on this or another device."""
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.memory.load_state_dict(state["memory"])
        self._choose_steps()

    def set_batch_norm(self) -> None:
        """One pass that sets the batch-norm statistics of an untrained encoder: a fair baseline."""
        self.method.train()
        with torch.no_grad():
            for index in batches(len(self.images), self.config, 0):
                self.method.project(self.images[index] / 255)


def make_method(config: RunConfig, class_counts: Tensor | None = None) -> SimCLR:
    """The configuration's method; of equal networks the first weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # module constructors know no generator argument
        return load_method(config.method)(encoders.build(config), config, class_counts)


def make_optimizer(method: nn.Module, config: RunConfig) -> torch.optim.Optimizer:
    """SGD as published, or LARS: momentum 0.9, weight decay on all parameters, biases too."""
    given = dict(lr=config.lr, momentum=0.9, weight_decay=config.weight_decay)
    if config.optimizer == "lars":
        return LARS(method.parameters(), **given)
    return torch.optim.SGD(method.parameters(), **given, fused=True)


def lr_factor(
    update: int, updates: int, warmup: int, floor: float, drops: Sequence[float] = ()
) -> float:
    """Learning rate of update 1, 2, ... relative to the peak: linear rise, then a cosine.

    `floor` is the last value; the published runs end at 1e-6 / lr. With `drops`, shares of the run,
    it falls to a tenth after each of them instead.
    """
    if update < warmup:
        return update / warmup
    if drops:
        return 0.1 ** sum(update > share * updates for share in drops)
    progress = (update - warmup) / max(1, updates - warmup)
    return floor + (1 - floor) / 2 * (1 + math.cos(math.pi * progress))


def batches(samples: int, config: RunConfig, epoch: int) -> list[Tensor]:
    """A fresh shuffle of all samples, cut into batches; only `drop_last` leaves some out."""
    order = torch.randperm(samples, generator=generator(config.seed, "order", epoch))
    if config.equal_batches:
        return list(order.tensor_split(math.ceil(samples / config.batch_size)))
    if config.drop_last:
        order = order[: samples // config.batch_size * config.batch_size]
    return list(order.split(config.batch_size))  # the last one may be small, as published


def updates(training: Training, epoch: int) -> Iterator[tuple[Tensor, float]]:
    """Index, on the device, and learning rate of each update of an epoch, from 1."""
    config, samples = training.config, len(training.labels)
    parts = batches(samples, config, epoch)
    order = torch.cat(parts).to(training.device)  # one transfer an epoch
    warmup, count = round(config.warmup * len(parts)), config.epochs * len(parts)
    first = (epoch - 1) * len(parts) + 1
    for number, index in enumerate(order.split([len(part) for part in parts]), first):
        factor = lr_factor(number, count, warmup, 1e-6 / config.lr, config.lr_drops)
        yield index, config.lr * factor
