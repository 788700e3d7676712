"""The one training loop: epochs over images that stay in memory, checkpoints, resume.

Every random number is a function of (seed, purpose, epoch): a run that was killed and resumed goes
on exactly as if it had never stopped (on the same CPU and thread count).
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from . import encoders, methods, splits, store
from .augment import Views, make_views
from .config import ConfigError, RunConfig
from .graphs import GraphedSteps, Step, set_lr
from .machine import describe_machine, generator, pick_device, pick_precision, seed_for
from .memory import MomentumLoss
from .methods import Batch, SimCLR
from .runs import Run, finish

log = logging.getLogger(__name__)
GO_ON = "`ltcl run --resume {}` goes on with it"


class TimeUp(Exception):
    """The minutes of a run are over: it stopped after an epoch, its checkpoint is written."""


def pretrain(
    config: RunConfig, out: str | Path | None = None,
    inputs: splits.Inputs | None = None, minutes: float | None = None,
) -> Run:  # fmt: skip
    """Train an encoder without labels; with `out`, leave a run folder (DESIGN: files of a run).

    Args:
        config: the run's parameters.
        out: a folder that does not exist yet, or None to keep everything in memory.
        inputs: what `splits.select(config)` gave, when the caller has it already.
        minutes: stop at the last end of an epoch within this time; needs `out`.

    Raises ConfigError before anything is created, FloatingPointError when the loss is not finite,
    TimeUp when the minutes ended before the run.
    """
    deadline = _deadline(minutes)
    inputs = inputs or splits.select(config)
    device = pick_device(config.device)
    if out is None and minutes is not None:
        raise ConfigError("minutes needs out, a folder that keeps what is done by then")
    if out is None:
        return _train(config, inputs, device, None)
    folder = Path(out)
    if folder.exists():
        raise ConfigError(f"{folder} exists; {GO_ON.format(folder)}, or name another --out")
    folder.mkdir(parents=True)
    store.write_json(folder / "config.json", config.model_dump(mode="json"))
    return _train(config, inputs, device, folder, deadline)


def resume(folder: str | Path, minutes: float | None = None) -> Run:
    """Go on with a run that was stopped; a finished one is checked and loaded.

    `minutes` and errors are those of `pretrain`.
    """
    folder, deadline = Path(folder), _deadline(minutes)
    config = RunConfig(**store.read_json(folder / "config.json"))
    if (folder / "DONE.json").exists():
        return Run.load(folder)
    return _train(config, splits.select(config), pick_device(config.device), folder, deadline)


def _deadline(minutes: float | None) -> float:
    if minutes is not None and not minutes > 0:
        raise ConfigError(f"minutes is {minutes:g}; allowed is a number above 0")
    return math.inf if minutes is None else time.monotonic() + 60 * minutes


def make_optimizer(method: nn.Module, config: RunConfig) -> torch.optim.SGD:
    """SGD as published: momentum 0.9, weight decay on all parameters, biases too."""
    return torch.optim.SGD(
        method.parameters(), config.lr, 0.9, weight_decay=config.weight_decay, fused=True
    )


def lr_factor(update: int, updates: int, warmup: int, floor: float) -> float:
    """Learning rate of update 1, 2, ... relative to the peak: linear rise, then a cosine (SPEC 6).

    `floor` is the last value; the published runs end at 1e-6 / lr.
    """
    if update < warmup:
        return update / warmup
    progress = (update - warmup) / max(1, updates - warmup)
    return floor + (1 - floor) / 2 * (1 + math.cos(math.pi * progress))


def batches(samples: int, config: RunConfig, epoch: int) -> list[Tensor]:
    """A fresh shuffle of all samples, cut into batches; nobody is dropped."""
    order = torch.randperm(samples, generator=generator(config.seed, "order", epoch))
    if config.equal_batches:
        return list(order.tensor_split(math.ceil(samples / config.batch_size)))
    return list(order.split(config.batch_size))  # the last one may be small, as published


def train_epoch(
    method: nn.Module,
    optimizer: torch.optim.Optimizer,
    lrs: Iterator[float],
    memory: MomentumLoss,
    batches: Iterable[Tensor],
    images: Tensor,
    labels: Tensor,
    views: Views,
    scores: Tensor | None = None,
    run_step: Callable[[Step, Tensor], Tensor] = lambda step, index: step(index),
) -> Tensor:
    """One pass over the data; `method.start_epoch` comes before it.

    Args:
        method: gives one loss per sample for a `Batch`.
        optimizer: of the method's parameters.
        lrs: the learning rate of each update, one after the other.
        memory: takes in every sample's loss.
        batches: index int64 [B] each.
        images: [N, ...], what `views` takes.
        labels: int64 [N].
        views: (images[index], scores[index]) to the two views of the batch.
        scores: [N], what steers the views; the memory's own unless given.
        run_step: runs a step on an index; `GraphedSteps` does on a GPU.

    Returns the mean loss over the samples, as a tensor: nothing here waits for the device.
    """
    method.train()
    scores = memory.scores if scores is None else scores
    total = torch.zeros((), device=images.device, dtype=memory.value.dtype)

    def step(index: Tensor) -> Tensor:
        batch = Batch(index, labels[index], views(images[index], scores[index]))
        loss = method(batch)  # [B], one value per sample
        memory.update(index, loss)
        optimizer.zero_grad(set_to_none=True)
        loss.mean().backward()
        optimizer.step()
        return loss.detach().sum()

    for index in batches:
        set_lr(optimizer, next(lrs))
        total += run_step(step, index.to(images.device))
    return total / len(labels)


def _train(
    config: RunConfig, inputs: splits.Inputs, device: torch.device, folder: Path | None,
    deadline: float = math.inf,
) -> Run:  # fmt: skip
    """Train from the newest checkpoint of `folder`, or from the start."""
    images, labels = (torch.from_numpy(a).to(device) for a in (inputs.images, inputs.labels))
    precision = pick_precision(config.precision, device)
    method = methods.build(config, *encoders.build(config), precision)
    method.to(device, memory_format=torch.channels_last)
    optimizer = make_optimizer(method, config)
    memory = MomentumLoss(len(labels), config.momentum_beta, device)
    parts = {"method": method, "optimizer": optimizer, "memory": memory}
    split = splits.split_digest(inputs.index)
    rows, machines = _restore(folder, parts, split) if folder else ([], [])
    machine = describe_machine(device, precision)
    machines += [] if machine in machines else [machine]
    per_epoch = len(batches(len(labels), config, 0))
    warmup = round(config.warmup * per_epoch)
    updates = config.epochs * per_epoch
    draws = [torch.Generator(device) for _ in range(2)]  # for the views, and for their boost
    scores = torch.zeros_like(memory.scores)  # that steer the views; a CUDA graph reads them here
    on_gpu = {"run_step": GraphedSteps(optimizer, draws)} if device.type == "cuda" else {}
    saved = time.monotonic()
    watched = sys.stdout.isatty() or "ipykernel" in sys.modules  # a log needs no bar
    epochs = range(len(rows) + 1, config.epochs + 1)
    for epoch in tqdm(epochs, "epochs", file=sys.stdout, disable=not watched or not epochs):
        start = time.monotonic()
        method.start_epoch(generator(config.seed, "pruning", epoch, device))
        done = (epoch - 1) * per_epoch
        lrs = (
            config.lr * lr_factor(g, updates, warmup, 1e-6 / config.lr)
            for g in range(done + 1, updates + 1)
        )
        for draw, purpose in zip(draws, ("views", "boost"), strict=True):
            draw.manual_seed(seed_for(config.seed, purpose, epoch))
        views, steering = make_views(config, memory.scores, *draws)
        loss = train_epoch(
            method, optimizer, lrs, memory, batches(len(labels), config, epoch), images, labels,
            views, scores.copy_(steering), **on_gpu,
        )  # fmt: skip
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss of epoch {epoch} is {loss:g}; lower lr and rerun")
        memory.end_epoch(keep=epoch % config.keep_every == 0 or epoch == config.epochs)
        lr, seconds = float(optimizer.param_groups[0]["lr"]), time.monotonic() - start
        rows.append([epoch, float(loss), lr, seconds])
        log.info("epoch %d of %d: loss %.4f, %.2f s", epoch, config.epochs, loss, seconds)
        over = epoch < config.epochs and time.monotonic() + seconds > deadline
        if folder and (over or time.monotonic() - saved >= (60 if config.checkpoint_seconds is None else config.checkpoint_seconds)):
            state = {name: part.state_dict() for name, part in parts.items()}
            state |= {"rows": rows, "machines": machines, "split": split}
            store.save_checkpoint(folder, epoch, state)
            saved = time.monotonic()
        if over:
            raise TimeUp(f"stopped after epoch {epoch} of {config.epochs}; {GO_ON.format(folder)}")
    if config.epochs == 0:
        _set_batch_norm(method, images, config)
    return finish(config, inputs, method, memory, rows, folder, machines)


def _restore(folder: Path, parts: dict, split: str) -> tuple[list[list], list[dict]]:
    """Load the newest whole checkpoint into `parts`; history rows and machines so far."""
    if (state := store.load_checkpoint(folder)) is None:
        return [], []
    if state["split"] != split:
        raise ConfigError(f"the data or split of {folder} changed since its checkpoint; start anew")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["rows"], state["machines"]


def _set_batch_norm(method: SimCLR, images: Tensor, config: RunConfig) -> None:
    """One pass that sets the batch-norm statistics of an untrained encoder: a fair baseline."""
    method.train()
    with torch.no_grad():
        for index in batches(len(images), config, 0):
            method.project(images[index].float() / 255)
