"""Times the kit against the published recipe's shape: same call, same machine, same network.

The reference has the published trainer's shape: PIL transforms of one image after the other in
workers that start anew each epoch, float32, SDCLR's step in two passes, a Python loop over samples
for the momentum loss. Network, loss, optimiser, images, batch size and torch's
threads are the kit's.
"""

from __future__ import annotations

import functools
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms as tv

from . import files, pretrain, probe, report, runs
from .config import RunConfig
from .cores import cores_each
from .data import splits
from .errors import ConfigError
from .methods.losses import nt_xent
from .methods.memory import memorization_score
from .methods.sdclr import SDCLR
from .methods.simclr import Batch
from .pretrain.cuda_graphs import GraphedSteps
from .pretrain.device import describe_machine, pick_precision
from .pretrain.randomness import generator
from .recipes import RECIPES
from .views.boosting import make_views
from .views.simclr import simclr_view

NAMES = tuple(RECIPES)
PROBED = 40_000, 512  # features of a full-shot probe of CIFAR with ResNet-18


class Reference:
    """A trainer of the published shape for images uint8 [N, 3, H, W]; SimCLR or SDCLR."""

    def __init__(
        self, config: RunConfig, images: np.ndarray, device: torch.device, workers: int = 2
    ) -> None:
        self.config, self.device, self.epochs = config, device, 0
        stored = np.ascontiguousarray(images.transpose(0, 2, 3, 1))  # as CIFAR is
        view = tv.Compose(
            [
                tv.RandomResizedCrop(
                    images.shape[2:], (0.1, 1), interpolation=Image.Resampling.BICUBIC
                ),
                tv.RandomHorizontalFlip(),
                tv.RandomApply([tv.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
                tv.RandomGrayscale(0.2),
                tv.ToTensor(),
            ]
        )
        self.loader: DataLoader[int] = DataLoader(
            range(len(images)),  # type: ignore[arg-type]  # has all that is asked of a data set
            config.batch_size,
            shuffle=True,
            num_workers=workers,
            collate_fn=functools.partial(pil_views, stored, view),
            generator=generator(config.seed, "reference", 0),
            multiprocessing_context="fork" if sys.platform == "linux" else None,  # starts fastest
        )
        self.method = pretrain.make_method(config).to(device)
        self.method.start_epoch(1, 1)
        self.optimizer = optim.SGD(
            self.method.parameters(), config.lr, 0.9, weight_decay=config.weight_decay
        )
        self.momentum_loss = torch.zeros(len(images), device=device)

    def epoch(self) -> None:
        """One pass over the images; a small last batch is kept."""
        self.method.start_epoch(1, 1)
        _allow_tf32(True)  # the default of the published code's torch 1.7, and quicker
        for views, index in self.loader:
            self.step(views.to(self.device), index)
        _allow_tf32(False)
        self.epochs += 1

    def step(self, views: Tensor, index: list[int]) -> Tensor:
        """Update with interleaved views [2B, 3, H, W] of samples `index`; their losses [B]."""
        self.optimizer.zero_grad()
        two_passes = hasattr(self.method, "project_pruned")
        losses = (self._two_passes if two_passes else self._one_pass)(views)
        beta, past = self.config.momentum_beta, self.momentum_loss
        for sample, loss in zip(index, losses, strict=True):
            past[sample] = beta * past[sample] + (1 - beta) * loss if self.epochs else loss
        self.optimizer.step()
        return losses

    def _one_pass(self, views: Tensor) -> Tensor:
        projections = self.method.project(views)  # [2B, 128]
        losses = nt_xent(projections[0::2], projections[1::2], self.config.temperature)
        losses.mean().backward()
        return losses.detach()

    def _two_passes(self, views: Tensor) -> Tensor:
        """Each branch is trained against fixed projections of the other."""
        method = self.method
        assert isinstance(method, SDCLR)  # no other is trained in two passes
        with torch.no_grad():
            pruned = method.project_pruned(views[1::2])
        dense = method.project(views[0::2])
        losses = nt_xent(dense, pruned, self.config.temperature)
        losses.mean().backward()
        pruned = method.project_pruned(views[1::2])
        nt_xent(dense.detach(), pruned, self.config.temperature).mean().backward()
        return losses.detach()


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed


def pil_views(stored: np.ndarray, view: tv.Compose, index: list[int]) -> tuple:
    """Views 1, 2, 1, 2, ... [2B, 3, H, W] of the images `index` of uint8 [N, H, W, 3]; `index`."""
    images = [Image.fromarray(stored[i]) for i in index]
    return torch.stack([view(image) for image in images for _ in range(2)]), index


def plain_probe(x: Tensor, y: Tensor, classes: int) -> None:
    """One epoch of protocol "bcl" as it is described: a data loader, a linear layer, Adam."""
    linear = nn.Linear(x.shape[1], classes)
    adam = optim.Adam(linear.parameters(), 1e-2, weight_decay=5e-6)
    for features, labels in DataLoader(TensorDataset(x, y), 1000, shuffle=True):
        adam.zero_grad()
        F.cross_entropy(linear(features), labels).backward()
        adam.step()


def one_epoch(preset: str, data: str, device: str, method: str = "simclr") -> RunConfig:
    """A run of one epoch, shorter than a preset's warm-up."""
    options = {"preset": preset, "data": data, "device": device, "method": method}
    return RunConfig(**options, epochs=1, warmup_epochs=None)


def _tasks(
    config: RunConfig, inputs: splits.Inputs, device: torch.device, workers: Sequence[int]
) -> dict[str, Callable]:
    """What is timed: functions without arguments by name, warmed up."""
    pixels = np.asarray(inputs.images)
    images, labels = (torch.from_numpy(a).to(device) for a in (pixels, inputs.labels))
    draw = generator(config.seed, "bench", 0, device)
    batches = [index.to(device) for index in pretrain.batches(len(labels), config, 0)]
    ready = torch.stack([simclr_view(images, draw) for _ in range(2)], dim=1)
    # Boosted views are timed with scores of real losses, of mean 0.5, not with epoch 1's zeros.
    scores = memorization_score(pretrain.pretrain(config, inputs=inputs).momentum_loss[-1].float())
    scores = scores.to(device)
    chosen = functools.partial(one_epoch, config.preset, config.data, config.device)

    def reference(name: str, count: int) -> Callable:
        trainer = Reference(chosen(name), pixels, device, count)
        trainer.step(ready[batches[0]].flatten(0, 1), batches[0].tolist())
        return trainer.epoch

    def kit(name: str, given: Tensor | None = None) -> Callable:
        own = chosen(name)
        training = pretrain.Training(own, inputs)
        own_batches = pretrain.batches(len(labels), own, 0)
        parts = [index.to(device) for index in own_batches if len(index)] or batches

        def epoch() -> None:
            training.method.start_epoch(1, 1)
            views, steering = make_views(own, scores, training.draws, training.method.VIEWS)
            if given is not None:
                views = lambda index, _: given[index].unbind(1)  # noqa: E731
                training.images = torch.arange(len(given), device=device)
            training.epoch(((index, own.lr) for index in parts), views, steering)

        for _ in range(GraphedSteps.EAGER + 1 if device.type == "cuda" else 1):
            epoch()
        return epoch

    x = torch.rand(PROBED, generator=generator(0, "probe", 0))
    y = torch.arange(PROBED[0]) % 100
    tasks: dict[str, Callable] = {}
    for name in NAMES[:2]:
        for count in workers:
            tasks[f"reference {name} epoch, {count} workers"] = reference(name, count)
    for name in NAMES:
        tasks[f"{name} epoch"] = kit(name)
    tasks["simclr views alone"] = lambda: [simclr_view(images[i], draw) for i in batches * 2]
    tasks["simclr step alone"] = kit("simclr", ready)
    tasks["plain probe epoch"] = lambda: plain_probe(x, y, 100)
    tasks["probe epoch"] = lambda: probe.fit_bcl(x, y, 100, epochs=1)
    return tasks


def _time(tasks: dict[str, Callable], repeats: int, on_gpu: bool) -> tuple[dict, dict]:
    """Seconds, and processor seconds, of each task in each of its turns."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    processor: dict[str, list[float]] = {name: [] for name in tasks}
    for name in list(tasks) * repeats:
        start, spent = time.perf_counter(), sum(os.times()[:4])
        tasks[name]()
        if on_gpu:
            torch.cuda.synchronize()
        seconds[name].append(time.perf_counter() - start)
        processor[name].append(max(0.01, sum(os.times()[:4]) - spent))  # 0.01 is the clock's step
    return seconds, processor


def _ratios(times: dict[str, list[float]]) -> dict[str, list[float]]:
    """Turn by turn: reference over kit, and the kit's methods over SimCLR."""
    pairs = [(n, n.split()[1] + " epoch") for n in times if n.startswith("reference")]
    pairs += [(f"{name} epoch", "simclr epoch") for name in NAMES[1:]]
    pairs.append(("plain probe epoch", "probe epoch"))
    short = {pair: " / ".join(name.replace(" epoch", "") for name in pair) for pair in pairs}
    return {
        name: np.divide(times[first], times[second]).tolist()
        for (first, second), name in short.items()
    }


def _work(config: RunConfig, device: torch.device) -> tuple[float, float]:
    """Operations of one view of a SimCLR step, forward and backward; those a second of a product.

    The product of two large square matrices is the fastest that this machine computes.
    """
    precision = pick_precision(config.precision, device)
    method = pretrain.make_method(config).to(device)
    method.autocast = precision
    views = tuple(torch.rand(2, config.batch_size, 3, 32, 32, device=device))
    unread = torch.empty(0)  # SimCLR looks at the views alone
    with FlopCounterMode(display=False) as counter:
        method(Batch(unread, unread, views)).mean().backward()
    side = 8192 if device.type == "cuda" else 2048
    square, seconds = torch.rand(side, side, device=device, dtype=precision), []
    for _ in range(10):
        start = time.perf_counter()
        (square @ square).flatten()[0].item()  # waits for the result
        seconds.append(time.perf_counter() - start)
    return counter.get_total_flops() / (2 * config.batch_size), 2 * side**3 / np.median(seconds)


def run(device: str, data: str, out: Path | None = None, repeats: int = 5, cap: int = 3000) -> None:
    """Time an epoch of each method on a long-tail split, and print and record the times.

    On a CPU preset `quick` and at most `cap` images, on a GPU preset `paper` and all. Beside the
    times stand processor seconds, of workers too: other guests of a machine lengthen them far less.

    Bad data, a missing GPU or a missing folder is a ConfigError before anything is timed.
    """
    on_gpu = device == "gpu"
    config = one_epoch(*(("paper", data, "cuda") if on_gpu else ("quick", data, "cpu")))
    if on_gpu and not torch.cuda.is_available():
        raise ConfigError("torch finds no GPU here; `ltcl bench cpu` times this machine's CPU")
    if out and not out.parent.is_dir():
        raise ConfigError(f"--out {out}: {out.parent} does not exist; make it first")
    place, split = torch.device(config.device), splits.select(config)
    pick = np.random.default_rng(0).permutation(len(split.index))[: None if on_gpu else cap]
    arrays = {name: getattr(split, name)[pick] for name in ("images", "labels", "index")}
    machine = describe_machine(place, pick_precision(config.precision, place))
    machine |= {"cores": cores_each(), "load before": round(os.getloadavg()[0], 2)}
    waiting = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
    machine |= {name: os.environ.get(name, "not set") for name in waiting}
    workers = (8, cores_each()) if on_gpu else (2,)
    tasks = _tasks(config, split._replace(**arrays), place, workers)
    seconds, processor = _time(tasks, repeats, on_gpu)
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts in bytes, Linux in KiB
    for name, who in (("peak", resource.RUSAGE_SELF), ("worker", resource.RUSAGE_CHILDREN)):
        machine[f"{name} MiB"] = resource.getrusage(who).ru_maxrss // unit
    if on_gpu:
        machine["GPU peak MiB"] = torch.cuda.max_memory_allocated() // 2**20
    operations, fastest = _work(config, place)
    result = {"data": Path(data).name, "images": len(pick), "split": len(split.index)}
    result |= {"preset": config.preset}
    result |= {"operations per view": operations, "product per second": fastest}
    result |= {"seconds": seconds | _ratios(seconds)}
    result |= {"processor seconds": processor | _ratios(processor)}
    result |= {"machine": machine, "git_commit": runs.git_commit()}
    print(table(result))
    if out:
        files.write_json(out, result)


def table(result: dict) -> str:
    """The numbers of `run` as Markdown: medians (smallest-largest)."""
    rows = []
    for name, values in result["seconds"].items():
        cells = [
            "{1:.2f} ({0:.2f}-{2:.2f})".format(*np.quantile(times, [0, 0.5, 1]))
            for times in (values, result["processor seconds"][name])
        ]
        done = PROBED[0] if "probe" in name else 2 * result["images"]
        is_ratio = "/" in name
        speed = "" if is_ratio else f"{done / np.median(values):,.0f}"
        rows.append([name, *cells, speed])
    what = f"{result['data']}: {result['images']:,} of {result['split']:,} images"
    what = f"preset {result['preset']}, {what}"
    head = [what, "seconds", "processor seconds", "views or features/s"]
    epoch, fastest = np.median(result["seconds"]["simclr epoch"]), result["product per second"]
    share = 2 * result["images"] * result["operations per view"] / epoch / fastest
    work = (
        f"A view of a SimCLR step: {result['operations per view'] / 1e9:.3f} GFLOP. A matrix "
        f"product: {fastest / 1e12:.2f} TFLOP/s, of which a SimCLR epoch reaches {share:.0%}."
    )
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    return f"{report.markdown(head, rows)}\n\n{work}\n\nmachine: {machine}"
