"""Times a quick SimCLR epoch against the published recipe's shape: same call, same machine.

The reference has the published trainer's shape (SPEC 2.1, 3, 6): PIL transforms of one image after
the other in workers that start anew each epoch, float32, a Python loop over samples for the
momentum loss. Network, loss, optimiser, images, batch size and torch's threads are the kit's.
"""

from __future__ import annotations

import functools
import os
import resource
import sys
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader
from torchvision import transforms as tv

from . import augment, encoders, methods, pretrain, report, splits, store
from .config import ConfigError, RunConfig
from .losses import nt_xent
from .machine import describe_machine, generator, pick_precision
from .memory import MomentumLoss, memorization_score


class Reference:
    """A trainer of the published shape for images uint8 [N, 3, H, W]."""

    def __init__(self, config: RunConfig, images: np.ndarray, device: torch.device) -> None:
        self.config, self.device, self.epochs = config, device, 0
        stored = np.ascontiguousarray(images.transpose(0, 2, 3, 1))  # as CIFAR is
        view = tv.Compose([
            tv.RandomResizedCrop(images.shape[2:], (0.1, 1), interpolation=Image.BICUBIC),
            tv.RandomHorizontalFlip(),
            tv.RandomApply([tv.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            tv.RandomGrayscale(0.2),
            tv.ToTensor(),
        ])  # fmt: skip
        self.loader = DataLoader(
            range(len(images)), config.batch_size, shuffle=True, num_workers=2,
            collate_fn=functools.partial(pil_views, stored, view),
            generator=generator(config.seed, "reference", 0),
            multiprocessing_context="fork" if sys.platform == "linux" else None,  # starts fastest
        )  # fmt: skip
        networks = encoders.build(config)
        self.network = nn.Sequential(*networks).to(device)
        self.optimizer = _sgd(self.network, config)
        self.momentum_loss = torch.zeros(len(images), device=device)

    def epoch(self) -> None:
        """One pass over the images; a small last batch is kept."""
        for views, index in self.loader:
            self.step(views.to(self.device), index)
        self.epochs += 1

    def step(self, views: Tensor, index: list[int]) -> Tensor:
        """Update with interleaved views [2B, 3, H, W] of samples `index`; their losses [B]."""
        projections = self.network(views)  # [2B, 128]
        losses = nt_xent(projections[0::2], projections[1::2], self.config.temperature)
        beta, past = self.config.momentum_beta, self.momentum_loss
        for sample, loss in zip(index, losses.detach(), strict=True):
            past[sample] = beta * past[sample] + (1 - beta) * loss if self.epochs else loss
        self.optimizer.zero_grad()
        losses.mean().backward()
        self.optimizer.step()
        return losses.detach()


def pil_views(stored: np.ndarray, view: tv.Compose, index: list[int]) -> tuple:
    """Views 1, 2, 1, 2, ... [2B, 3, H, W] of the images `index` of uint8 [N, H, W, 3]; `index`."""
    images = [Image.fromarray(stored[i]) for i in index]
    return torch.stack([view(image) for image in images for _ in range(2)]), index


def _sgd(network: nn.Module, config: RunConfig) -> optim.SGD:
    return optim.SGD(network.parameters(), config.lr, 0.9, weight_decay=config.weight_decay)


def _tasks(config: RunConfig, inputs: splits.Inputs, device: torch.device) -> dict:
    """What is timed: functions without arguments by name, warmed up."""
    images, labels = (torch.from_numpy(a).to(device) for a in (inputs.images, inputs.labels))
    draw = generator(config.seed, "bench", 0, device)
    batches = [index.to(device) for index in pretrain.batches(len(labels), config, 0)]
    ready = torch.stack([augment.simclr_view(images, draw) for _ in range(2)], dim=1)
    reference = Reference(config, inputs.images, device)
    reference.step(ready[batches[0]].flatten(0, 1), batches[0].tolist())
    # Boosted views are timed with scores of real losses, of mean 0.5, not with epoch 1's zeros.
    scores = memorization_score(pretrain.pretrain(config, inputs=inputs).momentum_loss[-1].float())
    scores, precision = scores.to(device), pick_precision(config.precision, device)

    def trainer(name: str) -> Callable:
        shared = {"data": config.data, "epochs": 1, "device": config.device}
        chosen = RunConfig(method=name, **shared)
        method = methods.build(chosen, *encoders.build(chosen), precision)
        method.to(device, memory_format=torch.channels_last)
        optimizer, lrs = pretrain.make_optimizer(method, chosen), repeat(chosen.lr)
        memory = MomentumLoss(len(labels), chosen.momentum_beta, device)
        parts = method, optimizer, lrs, memory, batches

        def epoch(ready: Tensor | None = None) -> None:
            method.start_epoch()
            drawn = augment.make_views(chosen, scores, draw, draw)
            given = (images, labels, *drawn)
            if ready is not None:
                given = ready, labels, lambda pair, _: pair.unbind(1)
            pretrain.train_epoch(*parts, *given)

        epoch(ready)
        return epoch

    epochs = {name: trainer(name) for name in ("simclr", "sdclr", "bcl-i", "bcl-d")}
    return {
        "reference epoch": reference.epoch,
        **{f"{name} epoch": epoch for name, epoch in epochs.items()},
        "simclr views alone": lambda: [augment.simclr_view(images[i], draw) for i in batches * 2],
        "simclr step alone": lambda: epochs["simclr"](ready),
    }


def run(device: str, data: str, out: Path | None = None, repeats: int = 5, cap: int = 3000) -> None:
    """Time a quick epoch on at most `cap` images of a long-tail split; print and record the times.

    Beside them stand processor seconds, of workers too: other guests of a machine lengthen them
    far less.
    Bad data, a missing GPU or a missing folder is a ConfigError before anything is timed.
    """
    if device == "gpu" and not torch.cuda.is_available():
        raise ConfigError("torch finds no GPU here; `ltcl bench cpu` times this machine's CPU")
    if out and not out.parent.is_dir():
        raise ConfigError(f"--out {out}: {out.parent} does not exist; make it first")
    config = RunConfig(data=data, epochs=1, device="cuda" if device == "gpu" else "cpu")
    place, split = torch.device(config.device), splits.select(config)
    pick = np.random.default_rng(0).permutation(len(split.index))[:cap]
    arrays = {name: getattr(split, name)[pick] for name in ("images", "labels", "index")}
    machine = describe_machine(place, pick_precision(config.precision, place))
    machine |= {"cores": os.cpu_count(), "load before": round(os.getloadavg()[0], 2)}
    machine["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "not set")
    tasks = _tasks(config, split._replace(**arrays), place)
    seconds, processor = ({name: [] for name in tasks} for _ in range(2))
    for name in list(tasks) * repeats:  # by turns
        start, spent = time.perf_counter(), sum(os.times()[:4])
        tasks[name]()
        if device == "gpu":
            torch.cuda.synchronize()
        seconds[name].append(time.perf_counter() - start)
        processor[name].append(max(0.01, sum(os.times()[:4]) - spent))  # 0.01 is the clock's step
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts in bytes, Linux in KiB
    for name, who in (("peak", resource.RUSAGE_SELF), ("worker", resource.RUSAGE_CHILDREN)):
        machine[f"{name} MiB"] = resource.getrusage(who).ru_maxrss // unit
    result = {"data": Path(data).name, "images": len(pick), "split": len(split.index)}
    result |= {"seconds": seconds, "processor seconds": processor}
    for times in (seconds, processor):
        for name in ("reference", "sdclr", "bcl-i", "bcl-d"):
            ratio = np.divide(times[f"{name} epoch"], times["simclr epoch"])
            times[f"{name} / simclr"] = ratio.tolist()
    result |= {"machine": machine, "git_commit": store.git_commit()}
    print(table(result))
    if out:
        store.write_json(out, result)


def table(result: dict) -> str:
    """The numbers of `run` as Markdown: medians (smallest-largest)."""
    rows = []
    for name, values in result["seconds"].items():
        cells = [
            "{1:.2f} ({0:.2f}-{2:.2f})".format(*np.quantile(times, [0, 0.5, 1]))
            for times in (values, result["processor seconds"][name])
        ]
        rate = "" if "/" in name else f"{2 * result['images'] / np.median(values):,.0f}"
        rows.append([name, *cells, rate])
    what = f"{result['data']}: {result['images']:,} of {result['split']:,} images"
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    head = [what, "seconds", "processor seconds", "views/s"]
    return f"{report.markdown(head, rows)}\n\nmachine: {machine}"
