"""What a run trains with, put together once, and the training step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from .. import networks
from ..config import RunConfig
from ..data import splits
from ..methods.memory import MomentumLoss
from ..methods.simclr import Batch, SimCLR
from ..networks.exchange import ONE, Ranks
from ..recipes import load_method
from ..runs import Run
from ..runs.run import HEAD
from ..views import Views
from . import finite, sources
from .cuda_graphs import GraphedSteps, Step, set_lr
from .device import describe_machine, pick_device, pick_precision, use_full_float32
from .finite import Done, Fault
from .randomness import generator, random_layers, seed_for
from .schedule import batches, updates


class Training:
    """What a run trains with, put together here and nowhere else.

    Args:
        config: the run's parameters.
        inputs: its images, labels and class counts.
        method: the method to train, instead of the configuration's own; golden replays give one
            with weights of theirs.
        ranks: the processes that train together.

    Attributes:
        images: uint8 [N, 3, H, W], on the device as all else.
        labels: int64 [N].
        method: gives one loss per sample for a `Batch`.
        optimizer: updates the method's parameters.
        memory: takes in every sample's loss.
        scores: [N], what steers the views of this epoch.
        rarity: [N], how rare each sample's class is. Nothing but an oracle's boost reads it.
        draws: two generators, of the views and of their boost.
        machine: what the last digits of the results depend on.
        trail: what is known of each step of this epoch so far.
    """

    def __init__(
        self,
        config: RunConfig,
        inputs: splits.Inputs,
        method: SimCLR | None = None,
        ranks: Ranks = ONE,
    ) -> None:
        self.config = config
        self.inputs = inputs
        self.device = pick_device(config.device)
        use_full_float32()  # a GPU's default would round products to 10 bits
        precision = pick_precision(config.precision, self.device)
        self.machine = describe_machine(self.device, precision, ranks.count)
        self.labels = torch.from_numpy(inputs.labels).to(self.device)

        # Networks may compute in bf16, the loss never does.
        class_counts = torch.from_numpy(inputs.class_counts)
        self.method = method or make_method(config, class_counts)
        self.method.autocast = precision
        self.method.to(self.device)
        self.method.to(memory_format=torch.channels_last)  # faster convolutions
        self.ranks = self.method.ranks = ranks
        ranks.join(self.method)

        # The whole training set, on the device; images that stay in files are decoded ahead.
        views = len(self.method.VIEWS)
        self.images = sources.on_device(inputs.images, config, views, ranks.rows, self.device)
        self.optimizer = make_optimizer(self.method, config)

        # The history of every sample's loss, and what steers its views.
        self.memory = MomentumLoss(len(self.labels), config.momentum_beta, self.device)
        self.scores = torch.zeros_like(self.memory.scores)  # a CUDA graph reads them here
        rarity = splits.rarity(inputs.labels, inputs.class_counts)
        self.rarity = torch.from_numpy(rarity).to(self.scores)

        # The same two objects for all epochs: a CUDA graph draws from them.
        draw_views = torch.Generator(self.device)
        draw_boost = torch.Generator(self.device)
        self.draws = [draw_views, draw_boost]
        self.layers_seed: int | None = None
        self.trail: list[Done] = []
        self._choose_steps()

    def _choose_steps(self) -> None:
        """Let steps go through CUDA graphs where all they need lies on one GPU."""
        self.run_step: Callable[[Step, Tensor], Tensor] = _run_plainly
        held = isinstance(self.images, Tensor) and self.ranks.count == 1
        if held and self.device.type == "cuda":
            self.run_step = GraphedSteps(self.optimizer, self.draws)

    def steps(self, epoch: int) -> Iterator[tuple[Tensor, float]]:
        """Index int64 [B], on the device, and learning rate of each update of epoch 1, 2, ..."""
        steps = updates(self.config, len(self.labels), epoch, self.device)
        return sources.ahead(self.images, steps, generator(self.config.seed, "crops", epoch))

    def epoch(self, steps: Iterable[tuple[Tensor, float]], views: Views, scores: Tensor) -> Tensor:
        """One pass over the data; `method.start_epoch` comes before it.

        Args:
            steps: the index, int64 [B], and the learning rate of each step.
            views: makes the views of a batch of its images [B, 3, H, W] and its scores [B].
            scores: [N], what steers the views.

        Returns:
            The mean loss of the samples seen, [], on the device: nothing here waits for it.
        """
        if self.layers_seed is None:
            return self._epoch(steps, views, scores)
        with random_layers(self.layers_seed, self.device):
            return self._epoch(steps, views, scores)

    def _epoch(self, steps: Iterable[tuple[Tensor, float]], views: Views, scores: Tensor) -> Tensor:
        self.method.train()
        self.scores.copy_(scores)
        total = torch.zeros((), device=self.device, dtype=self.memory.value.dtype)
        seen = 0
        self.trail = []

        def step(index: Tensor) -> Tensor:
            own = self.ranks.own(index)  # [b], this rank's rows; of one rank all of them
            images = self.images[own]  # uint8 [b, 3, H, W], or the crops of its views
            drawn = views(images, self.scores[index])  # each float [b, 3, H, W] in [0, 1]
            batch = Batch(index, self.labels[index], drawn)

            # One value per sample, [B], on every rank: the memory keeps each, the mean is the
            # published loss.
            loss: Tensor = self.method(batch)
            self.memory.update(index, loss)
            self.optimizer.zero_grad()
            share = self.ranks.own(loss).sum() / len(loss)  # of the mean; of one rank all of it
            share.backward()
            self.ranks.sum_gradients(self.method.parameters())
            self.optimizer.step()
            return loss.detach().sum()

        for index, lr in steps:
            set_lr(self.optimizer, lr)
            total = total + self.run_step(step, index)  # a new tensor: the trail keeps each
            seen += len(index)
            self.trail.append(Done(total, index, lr))
        self.ranks.average_statistics(self.method)
        return total / seen

    def held(self) -> Tensor:
        """All images uint8 [N, 3, H, W], for an aim; `checks` has seen that memory holds them."""
        assert isinstance(self.images, Tensor)
        return self.images

    def fault(self) -> Fault | None:
        """What of the last epoch was not finite, if anything: a step's losses, or the weights."""
        method = self.method.state_dict()
        optimizer = self.optimizer.state_dict()
        weights = (method, optimizer["state"])
        return finite.find_fault(self.trail, self.memory.value, weights)

    @property
    def lr(self) -> float:
        """The learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def checkpoint_seconds(self) -> float:
        """Seconds between checkpoints, unless the configuration says otherwise."""
        asked = self.config.checkpoint_seconds
        if asked is not None:
            return asked
        if self.device.type == "cuda":
            return 240  # a checkpoint stops a GPU, and there is much more to save
        return 60

    def identity(self) -> dict[str, str]:
        """What a run must be made of to go on: the digests of its data and its parameters."""
        return {
            "data": splits.data_digest(self.inputs),
            "config": self.config.digest(),
        }

    def generator(self, purpose: str, epoch: int) -> torch.Generator:
        """Random numbers on the device, a function of (seed, purpose, epoch)."""
        return generator(self.config.seed, purpose, epoch, self.device)

    def draws_of(self, epoch: int) -> list[torch.Generator]:
        """The generators of the views and of their boost, set for the epoch in place.

        What a library's layers draw in this epoch is set, too.
        """
        for draw, purpose in zip(self.draws, ("views", "boost"), strict=True):
            seed = seed_for(self.config.seed, purpose, epoch)
            draw.manual_seed(seed)
        if ":" in self.config.network:
            self.layers_seed = seed_for(self.config.seed, "layers", epoch)
        return self.draws

    def state_dict(self) -> dict[str, Any]:
        """All that a checkpoint needs, in a form that any device can go on with."""
        state = {
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "memory": self.memory.state_dict(),
        }
        for group in state["optimizer"]["param_groups"]:
            group["lr"] = float(group["lr"])  # on a GPU it is a tensor
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, on this or another device."""
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.memory.load_state_dict(state["memory"])
        self._choose_steps()  # anew: the optimizer's learning rate is another object now

    def set_batch_norm(self) -> None:
        """One pass that sets the batch-norm statistics of an untrained encoder: a fair baseline."""
        self.method.train()
        seed = seed_for(self.config.seed, "layers", 0)
        with torch.no_grad(), random_layers(seed, self.device):
            for index in batches(len(self.labels), self.config, 0):  # in an order that no epoch has
                images = sources.whole(self.images, index) / 255  # float [B, 3, H, W] in [0, 1]
                self.method.project(images)

    def finished(self, rows: list[list[float]]) -> Run:
        """The run that this training made; `rows` are its epochs as the keeper wrote them down."""
        self.ranks.leave()
        kept = self.method.trained() | {HEAD: self.method.head}
        for network in kept.values():
            network.cpu().eval()
        history = pd.DataFrame(rows, columns=["epoch", "loss", "lr", "seconds"])
        inputs = self.inputs
        return Run(
            folder=None,
            config=self.config,
            history=history,
            momentum_loss=self.memory.history.half(),
            epochs_kept=self.memory.epochs,
            labels=torch.from_numpy(inputs.labels),
            index=torch.from_numpy(inputs.index),
            class_counts=torch.from_numpy(inputs.class_counts),
            group_counts=torch.from_numpy(inputs.group_counts),
            networks=kept,
        )


def _run_plainly(step: Step, index: Tensor) -> Tensor:
    """The way of `GraphedSteps` without graphs."""
    return step(index)


def make_method(config: RunConfig, class_counts: Tensor | None = None) -> SimCLR:
    """The configuration's method, with first weights that depend on the seed alone.

    Args:
        config: the run's parameters.
        class_counts: int64 [C], the images per class, for a method that reads labels.
    """
    kind = load_method(config.method)
    with torch.random.fork_rng(devices=[]):
        # Module constructors know no generator argument; a caller's GPU draws on as it did.
        torch.default_generator.manual_seed(config.seed)
        encoder = networks.build(config)
        method: SimCLR = kind(encoder, config, class_counts)
    return method


def make_optimizer(method: nn.Module, config: RunConfig) -> torch.optim.Optimizer:
    """SGD as published: momentum 0.9, weight decay on all parameters, biases too."""
    return torch.optim.SGD(
        method.parameters(),
        lr=config.lr,
        momentum=0.9,  # of the gradient; nothing to do with the momentum loss
        weight_decay=config.weight_decay,
        fused=True,  # one kernel for all parameters
    )
