"""The published code beside ours: the same images, network, recipe and probe, on a CPU.

    git clone https://github.com/MediaBrain-SJTU/BCL && git -C BCL checkout a2342f8
    PYTHONPATH=BCL OMP_NUM_THREADS=1 python experiments/published_code.py

Nothing of that code is here: it is imported from the checkout, with its data sets, transforms,
networks, losses, schedule and training functions as they are. What they need changed to run today
stands in `open_published`. Each run is a line of runs/published-code.jsonl, and none is made twice;
copied to data/results, the lines make the table of docs/reproduction.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import sys
import time
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import load_images, splits
from ltcl_helpers.pretrain import pretrain
from ltcl_helpers.probe import features, group_report, linear_probe
from ltcl_helpers.runs import git_commit, version

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT / "runs" / "published-code.jsonl"
METHODS = ("simclr", "bcl-i", "sdclr", "bcl-d")
SEEDS = 8
SPLIT = "cifar100_split1_D_i.npy"
SHOTS = "cifar100_split1_test_100shot.npy"
# Of the classes by size, the ten largest left out and then each third: 30 that keep the tail.
RANKS = slice(10, None, 3)

QUICK = RunConfig(preset="quick")
WIDTH = QUICK.width  # of the first stage; the published networks start with 64
PUBLISHED_WIDTH = 64


def main() -> None:
    """All runs that are not there yet, seed by seed and both codes in turn."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", default="cifar100", help="another name for it, e.g. npz:P")
    options.add_argument("--root", help="where CIFAR-100 lies; default: data/")
    options.add_argument("--out", type=Path, default=ROWS)
    options.add_argument("--seeds", type=int, default=SEEDS)
    options.add_argument(
        "--epochs", type=int, default=QUICK.epochs, help="fewer is for a first look"
    )
    given = options.parse_args()

    images = SubList(given.data, given.root)
    codes: dict[str, Callable[..., Any]] = {"published": run_published, "ours": run_ours}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(given.seeds):
        for method in METHODS:
            for code, run in codes.items():
                about = {"method": method, "code": code, "seed": seed, "epochs": given.epochs}
                if not is_there(given.out, about):
                    config = recipe(method, seed, given.epochs)
                    keep(given.out, about | measure(run, images, config))


def recipe(method: str, seed: int, epochs: int) -> RunConfig:
    """What both codes are told: preset `quick`, with the small last batch of the published code."""
    return RunConfig(
        preset="quick", method=method, seed=seed, data="cifar100", split="all", epochs=epochs,
        equal_batches=False, precision="float32", device="cpu",
    )  # fmt: skip


def is_there(path: Path, about: dict[str, Any]) -> bool:
    """Whether the file holds a line that says all this."""
    if not path.exists():
        return False
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return any(about.items() <= row.items() for row in rows)


def keep(path: Path, row: dict[str, Any]) -> None:
    """Add the line, and say it."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
    short = [row["method"], row["code"], row["seed"], f"all {row['all']:.3f}", row["losses"][-1]]
    print(*short, file=sys.stderr, flush=True)


class SubList:
    """The images of 30 classes of CIFAR-100-LT split 1, with labels 0 to 29.

    train, shots and test are each (images uint8 [N, 3, 32, 32], labels int64 [N]): what a run
    learns from, the published 100-shot list, the test part. `counts` [30] is of train.
    """

    def __init__(self, name: str, root: str | None) -> None:
        train = load_images(name, "train", root)
        lists = checkout() / "split" / "cifar100_imbSub_with_subsets"
        listed = splits.read_split(lists / SPLIT)
        sizes = np.bincount(train.labels.numpy()[listed], minlength=100)
        by_size = np.argsort(-sizes, kind="stable")
        self.classes = by_size[RANKS]  # [30]
        self.counts = sizes[self.classes]
        self.train = self._part(train, listed)
        self.shots = self._part(train, splits.read_split(lists / SHOTS))
        test = load_images(name, "test", root)
        self.test = self._part(test, np.arange(len(test.labels)))

    def _part(self, data: Any, positions: np.ndarray) -> tuple[Tensor, Tensor]:
        """Of these positions those of the 30 classes."""
        new_label = np.full(100, -1)
        new_label[self.classes] = np.arange(len(self.classes))
        labels = new_label[data.labels.numpy()[positions]]
        here = positions[labels >= 0]
        return data.images[here], torch.from_numpy(labels[labels >= 0])


def measure(
    run: Callable[..., tuple[nn.Module, list[float]]],
    images: SubList,
    config: RunConfig,
) -> dict[str, Any]:
    """One run, probed: accuracies by group, the mean loss of each epoch, processor seconds."""
    start = time.process_time()
    encoder, losses = run(images, config)
    seconds = (time.process_time() - start) / config.epochs
    shots, shot_labels = images.shots
    test, test_labels = images.test
    result = linear_probe(
        features(encoder, shots), shot_labels, features(encoder, test), test_labels, "logistic"
    )
    found = group_report(result.per_class, images.counts)
    return found | {
        "parameters": sum(weight.numel() for weight in encoder.parameters()),
        "losses": [round(loss, 4) for loss in losses],
        "cpu_seconds_per_epoch": round(seconds, 2),
        "threads": torch.get_num_threads(),
        "commit": git_commit(),
        "torch": version("torch"),
        "torchvision": torchvision.__version__,
    }


# --- ours -------------------------------------------------------------------------------------


def run_ours(images: SubList, config: RunConfig) -> tuple[nn.Module, list[float]]:
    """Encoder and mean losses by epoch of a run of this package."""
    train, labels = images.train
    inputs = splits.Inputs(
        images=train.numpy(),
        labels=labels.numpy(),
        index=np.arange(len(labels)),
        class_counts=images.counts,
        group_counts=images.counts,
    )
    run = pretrain(config, inputs=inputs)
    return run.encoder, list(run.history["loss"])


# --- the published code -----------------------------------------------------------------------


def run_published(images: SubList, config: RunConfig) -> tuple[nn.Module, list[float]]:
    """Encoder and mean losses by epoch of a run of the checkout."""
    code = open_published()
    epochs = config.epochs
    pruned = config.method == "sdclr"
    boosted = config.boost == "memory"
    args = SimpleNamespace(
        epochs=epochs,
        momentum_loss_beta=config.momentum_beta,
        prune_percent=config.prune_fraction,
        random_prune_percent=config.prune_random,
        rand_k=config.boost_k,
        rand_strength=30,
        print_freq=1,
    )
    code.utils.setup_seed(config.seed)
    model = code.network(pruned)
    data = code.data_set(images, args, boosted)
    loader = DataLoader(data, batch_size=config.batch_size, shuffle=True)
    decay = config.weight_decay
    sgd = torch.optim.SGD(model.parameters(), lr=config.lr, weight_decay=decay, momentum=0.9)
    steps = len(loader)

    def factor(step: int) -> float:
        warm = config.warmup * steps
        last = 1e-6 / config.lr
        return float(code.utils.cosine_annealing(step, epochs * steps, 1, last, warm))

    schedule = torch.optim.lr_scheduler.LambdaLR(sgd, factor)
    train = code.train_prune if pruned else code.train
    criterion = code.NT_Xent_Loss(temp=config.temperature, average=False)
    shadow = torch.zeros(len(data))
    momentum_loss = torch.zeros(epochs, len(data))
    log = MeanLosses()
    for epoch in range(1, epochs + 1):
        shadow, momentum_loss = train(
            loader, model, criterion, sgd, schedule, epoch, log, shadow, momentum_loss, args=args
        )
        log.end_epoch()
        if boosted:
            data.update_momentum_weight(momentum_loss, epoch)
    return encoder_of(model), log.losses


class MeanLosses:
    """Stands for the published code's log: keeps the mean loss that each epoch ends with."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self._last = ""

    def info(self, line: str) -> None:
        """Take a line of the log."""
        if "Loss" in line:
            self._last = line

    def end_epoch(self) -> None:
        """Keep the mean that the last line gives in brackets."""
        mean = self._last.split("Loss")[1].split("(")[1].split(")")[0]
        self.losses.append(float(mean))


def checkout() -> Path:
    """The folder of the published code."""
    found = importlib.util.find_spec("train_sdclr")
    if found is None or found.origin is None:
        sys.exit("PYTHONPATH names no checkout; next: the two lines at the top of this file")
    return Path(found.origin).parent


@cache
def open_published() -> SimpleNamespace:
    """The checkout's modules, made to run with today's libraries and without a GPU.

    Changed: `.cuda()` does nothing; NumPy's and torchvision's removed names are there again; a
    strength of shape [1] is made a number, which today's NumPy no longer does by itself; the
    networks start with 16 channels, one block a stage and stride 2, as preset `quick` does; the
    data sets get their images handed instead of reading CIFAR's files.
    """
    Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    if not hasattr(np, "int"):
        np.int = int  # type: ignore[attr-defined]
    gone = ModuleType("torchvision.models.utils")
    gone.load_state_dict_from_url = torch.hub.load_state_dict_from_url  # type: ignore[attr-defined]
    sys.modules["torchvision.models.utils"] = gone

    plain = import_module("models.resnet")
    dual = import_module("models.resnet_prune_multibn")
    simclr = import_module("models.simclr")
    sdclr = import_module("models.sdclr")
    unboosted = import_module("data.cifar100")
    boosted_views = import_module("data.memoboosted_cifar100")
    transforms = import_module("data.augmentations")

    strengthen = boosted_views.RandAugment_prob

    def by_number(operations: int, strength: Any, chance: float) -> Any:
        return strengthen(operations, np.ravel(strength)[0], chance)

    boosted_views.RandAugment_prob = by_number

    def network(pruned: bool) -> nn.Module:
        holder = sdclr.SDCLR if pruned else simclr.SimCLR
        library = dual if pruned else plain
        holder.get_backbone = staticmethod(lambda name: lambda **known: small(library))
        model: nn.Module = holder()
        return model

    def data_set(images: SubList, args: SimpleNamespace, boosted: bool) -> Any:
        train, labels = images.train
        pixels = train.permute(0, 2, 3, 1).numpy()  # [N, 32, 32, 3]

        def hand_over(self: Any, transform: Any = None, **_: Any) -> None:
            self.data, self.targets, self.transform = pixels, labels.tolist(), transform

        torchvision.datasets.CIFAR100.__init__ = hand_over  # type: ignore[method-assign]
        everything = list(range(len(labels)))
        if boosted:
            return boosted_views.memoboosted_CIFAR100(everything, args)
        return unboosted.CIFAR100_index(everything, transform=transforms.cifar_tfs_train)

    return SimpleNamespace(
        network=network,
        data_set=data_set,
        NT_Xent_Loss=import_module("losses.nt_xent").NT_Xent_Loss,
        train=import_module("train").train,
        train_prune=import_module("train_sdclr").train_prune,
        utils=import_module("utils"),
    )


def small(library: ModuleType) -> nn.Module:
    """Its ResNet at the size of preset `quick`, drawn as its own is."""

    class Small(library.ResNet):  # type: ignore[name-defined,misc]
        def _make_layer(self, block: type, planes: int, *rest: Any, **more: Any) -> nn.Module:
            if planes == PUBLISHED_WIDTH:  # the first stage; what lies before it is still theirs
                self.inplanes = WIDTH
                self.conv1 = type(self.conv1)(3, WIDTH, 3, 2, 1, bias=False)
                self.bn1 = narrow(self.bn1)
            narrower = planes * WIDTH // PUBLISHED_WIDTH
            layer: nn.Module = super()._make_layer(block, narrower, *rest, **more)
            return layer

        def __init__(self) -> None:
            super().__init__(library.BasicBlock, [1, 1, 1, 1])
            self.fc = nn.Linear(8 * WIDTH, 100)  # read for its size, and replaced by the head

    return Small()


def narrow(norm: nn.Module) -> nn.Module:
    """The same batch norm, or list of them by branch, for 16 channels."""
    if isinstance(norm, nn.BatchNorm2d):
        return nn.BatchNorm2d(WIDTH)
    return type(norm)(nn.BatchNorm2d, WIDTH, norm.bn_names)


def encoder_of(model: Any) -> nn.Module:
    """What is probed: the whole network before its head, not the pruned one."""
    encoder: nn.Module = model.backbone
    encoder.fc = nn.Identity()
    if hasattr(encoder, "set_prune_flag"):
        encoder.set_prune_flag(False)
    return encoder


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main()
