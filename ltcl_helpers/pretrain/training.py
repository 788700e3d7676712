"""What a run trains with, put together once, and the training step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from .. import networks
from ..config import RunConfig
from ..data import splits
from ..methods.memory import MomentumLoss
from ..methods.simclr import Batch, SimCLR
from ..recipes import load_method
from ..runs import Run
from ..runs.run import HEAD
from ..views import Views
from . import finite
from .cuda_graphs import GraphedSteps, Step, set_lr
from .device import describe_machine, pick_device, pick_precision, use_full_float32
from .finite import Fault
from .randomness import generator, seed_for
from .schedule import batches, updates


class Training:
    """What a run trains with, put together here and nowhere else.

    Args:
        config: the run's parameters.
        inputs: its images, labels and class counts.
        method: instead of the configuration's own, e.g. with golden weights.

    Attributes:
        images: uint8 [N, 3, H, W], on the device as all else.
        labels: int64 [N].
        method: gives one loss per sample for a `Batch`.
        optimizer: updates the method's parameters.
        memory: takes in every sample's loss.
        scores: [N], what steers the views of this epoch.
        rarity: [N], how rare each sample's class is; an oracle's boost reads it, nothing else.
        trail: of this epoch's steps, the sum of the losses so far, the index and the learning rate.
    """

    def __init__(
        self, config: RunConfig, inputs: splits.Inputs, method: SimCLR | None = None
    ) -> None:
        use_full_float32()  # a GPU's default would round products to 10 bits
        self.config = config
        self.inputs = inputs
        self.device = pick_device(config.device)
        self.images = torch.from_numpy(inputs.images).to(self.device)
        self.labels = torch.from_numpy(inputs.labels).to(self.device)

        # Networks may compute in bf16, the loss never does.
        precision = pick_precision(config.precision, self.device)
        self.machine = describe_machine(self.device, precision)
        self.method = method or make_method(config, torch.from_numpy(inputs.class_counts))
        self.method.autocast = precision
        self.method.to(self.device).to(memory_format=torch.channels_last)  # faster convolutions

        self.optimizer = make_optimizer(self.method, config)
        self.memory = MomentumLoss(len(self.labels), config.momentum_beta, self.device)
        self.scores = torch.zeros_like(self.memory.scores)  # a CUDA graph reads them here
        rarity = splits.rarity(inputs.labels, inputs.class_counts)
        self.rarity = torch.from_numpy(rarity).to(self.scores)  # read by an oracle only
        self.draws = [torch.Generator(self.device) for _ in range(2)]  # of views, of their boost
        self.trail: list[tuple[Tensor, Tensor, float]] = []
        self._choose_steps()

    def _choose_steps(self) -> None:
        """Steps go through CUDA graphs on a GPU."""
        on_gpu = self.device.type == "cuda"
        self.run_step = GraphedSteps(self.optimizer, self.draws) if on_gpu else _run_plainly

    def steps(self, epoch: int) -> Iterator[tuple[Tensor, float]]:
        """Index int64 [B], on the device, and learning rate of each update of an epoch, from 1."""
        return updates(self.config, len(self.labels), epoch, self.device)

    def epoch(self, steps: Iterable[tuple[Tensor, float]], views: Views, scores: Tensor) -> Tensor:
        """One pass over the data; `method.start_epoch` comes before it.

        Args:
            steps: index int64 [B] and learning rate of each.
            views: (images[index], scores[index]) to the views of the batch.
            scores: [N], what steers the views.

        Returns:
            The mean loss of the samples seen, as a tensor: nothing here waits for the device.
        """
        self.method.train()
        self.scores.copy_(scores)
        total = torch.zeros((), device=self.device, dtype=self.memory.value.dtype)
        seen = 0
        self.trail = []

        def step(index: Tensor) -> Tensor:
            drawn = views(self.images[index], self.scores[index])
            batch = Batch(index, self.labels[index], drawn)
            loss: Tensor = self.method(batch)  # [B], one value per sample
            self.memory.update(index, loss)
            # The published loss is the mean over the batch.
            self.optimizer.zero_grad(set_to_none=True)
            loss.mean().backward()
            self.optimizer.step()
            return loss.detach().sum()

        for index, lr in steps:
            set_lr(self.optimizer, lr)
            total = total + self.run_step(step, index)  # a new tensor: the trail keeps each
            seen += len(index)
            self.trail.append((total, index, lr))
        return total / seen

    def fault(self) -> Fault | None:
        """The step of the last epoch that left the numbers, or that weights have left them."""
        weights = (self.method.state_dict(), self.optimizer.state_dict()["state"])
        return finite.find_fault(self.trail, self.memory.value, weights)

    @property
    def lr(self) -> float:
        """The learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def checkpoint_seconds(self) -> float:
        """Seconds between checkpoints: a GPU does in one minute what a CPU does in many."""
        asked = self.config.checkpoint_seconds
        if asked is not None:
            return asked
        return 240 if self.device.type == "cuda" else 60

    def identity(self) -> dict[str, str]:
        """What a run must be made of to go on: the digests of its data and its parameters."""
        return {"data": splits.data_digest(self.inputs), "config": self.config.digest()}

    def generator(self, purpose: str, epoch: int) -> torch.Generator:
        """Random numbers on the device, a function of (seed, purpose, epoch)."""
        return generator(self.config.seed, purpose, epoch, self.device)

    def draws_of(self, epoch: int) -> list[torch.Generator]:
        """The generators of the views and of their boost, set for the epoch in place."""
        for draw, purpose in zip(self.draws, ("views", "boost"), strict=True):
            draw.manual_seed(seed_for(self.config.seed, purpose, epoch))
        return self.draws

    def state_dict(self) -> dict[str, Any]:
        """All that a checkpoint needs; the learning rate as a number, whatever the device."""
        state = {
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "memory": self.memory.state_dict(),
        }
        for group in state["optimizer"]["param_groups"]:  # on a GPU it is a tensor
            group["lr"] = float(group["lr"])
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
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

    def finished(self, rows: list[list[float]]) -> Run:
        """The run that this training made; `rows` are its epochs as the keeper wrote them down."""
        inputs = self.inputs
        parts = self.method.trained() | {HEAD: self.method.head}
        trained = {name: part.cpu().eval() for name, part in parts.items()}
        return Run(
            folder=None,
            config=self.config,
            history=pd.DataFrame(rows, columns=["epoch", "loss", "lr", "seconds"]),
            momentum_loss=self.memory.history.half(),
            epochs_kept=self.memory.epochs,
            labels=torch.from_numpy(inputs.labels),
            index=torch.from_numpy(inputs.index),
            class_counts=torch.from_numpy(inputs.class_counts),
            group_counts=torch.from_numpy(inputs.group_counts),
            networks=trained,
        )


def _run_plainly(step: Step, index: Tensor) -> Tensor:
    return step(index)


def make_method(config: RunConfig, class_counts: Tensor | None = None) -> SimCLR:
    """The configuration's method; of equal networks the first weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # module constructors know no generator argument
        encoder = networks.build(config)
        method: SimCLR = load_method(config.method)(encoder, config, class_counts)
    return method


def make_optimizer(method: nn.Module, config: RunConfig) -> torch.optim.Optimizer:
    """SGD as published: momentum 0.9, weight decay on all parameters, biases too."""
    return torch.optim.SGD(
        method.parameters(),
        lr=config.lr,
        momentum=0.9,
        weight_decay=config.weight_decay,
        fused=True,
    )
