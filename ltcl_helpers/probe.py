"""Is the frozen encoder any good, and for whom? Linear probes, reports by group."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import splits
from .config import ConfigError, RunConfig
from .datasets import load_images, published_lists, read_arrays
from .machine import pick_device
from .runs import Run
from .store import add_table, read_parquet, sha256

log = logging.getLogger(__name__)
PROTOCOLS = ("bcl", "logistic")
KINDS = ("encoder", "pruned", "pixels")
DRAWN_LISTS = 5  # as many as are published for each number of shots


class ProbeResult(NamedTuple):
    """Fractions in [0, 1]; per_class is [C], NaN for a class without a test image."""

    top1: float
    top5: float
    per_class: np.ndarray


@torch.no_grad()
def features(encoder: nn.Module, images: Tensor, device: str = "cpu") -> Tensor:
    """Features float32 [N, D] of uint8 images [N, 3, H, W]: no augmentation, eval mode."""
    encoder = encoder.eval().to(device, memory_format=torch.channels_last)
    parts = [
        encoder(part.to(device, memory_format=torch.channels_last).float() / 255).cpu()
        for part in images.split(1000)
    ]
    return torch.cat(parts)


def linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    protocol: str = "bcl",
    seed: int = 0,
) -> ProbeResult:
    """Fit a linear classifier on frozen features and test it.

    Args:
        train_features: [N, D].
        train_labels: [N].
        test_features: [M, D].
        test_labels: [M].
        protocol: "bcl", the probe behind the published table (SPEC 7.2: Adam, 500 epochs, batch
            1000, learning rate 1e-2 to 1e-6), or "logistic" (scikit-learn, standardised; fast).
        seed: of the initial weights and the order of the "bcl" probe.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol is {protocol!r}; allowed are {' and '.join(PROTOCOLS)}")
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    fit = _bcl if protocol == "bcl" else _logistic
    logits = fit(train_features, train_labels, test_features, classes, seed)  # [M, C]
    hit = logits.argmax(1) == test_labels
    top5 = (logits.topk(min(5, classes), 1).indices == test_labels[:, None]).any(1)
    count = torch.bincount(test_labels, minlength=classes)
    per_class = torch.bincount(test_labels[hit], minlength=classes).double() / count
    return ProbeResult(float(hit.double().mean()), float(top5.double().mean()), per_class.numpy())


def _bcl(x: Tensor, y: Tensor, test: Tensor, classes: int, seed: int) -> Tensor:
    weight, bias = fit_bcl(x, y, classes, seed)
    return F.linear(test, weight, bias).detach()


def fit_bcl(
    x: Tensor, y: Tensor, classes: int, seed: int = 0, epochs: int = 500
) -> tuple[Tensor, Tensor]:
    """Weight [C, D] and bias [C] of protocol "bcl" for features x [N, D] and labels y [N]."""
    draw = torch.Generator().manual_seed(seed)
    bound = x.shape[1] ** -0.5  # PyTorch's default for a linear layer
    weight = torch.empty(classes, x.shape[1]).uniform_(-bound, bound, generator=draw)
    bias = torch.empty(classes).uniform_(-bound, bound, generator=draw)
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    adam = torch.optim.Adam(parameters, lr=1e-2, weight_decay=5e-6, fused=True)
    for epoch in range(epochs):
        adam.param_groups[0]["lr"] = 1e-2 * 1e-4 ** (epoch / epochs)
        for index in torch.randperm(len(x), generator=draw).split(1000):
            adam.zero_grad()
            F.cross_entropy(F.linear(x[index], weight, bias), y[index]).backward()
            adam.step()
    return weight, bias


def _logistic(x: Tensor, y: Tensor, test: Tensor, classes: int, seed: int) -> Tensor:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    model.fit(x.numpy(), y.numpy())
    logits = torch.full((len(test), classes), float("-inf"))
    score = model.decision_function(test.numpy())
    score = np.stack([-score, score], 1) if score.ndim == 1 else score  # two classes give one score
    logits[:, model.classes_] = torch.from_numpy(score).float()
    return logits


def group_report(per_class: np.ndarray, class_counts: np.ndarray) -> dict[str, float]:
    """Accuracy of the many, medium and few classes, their spread, and the mean over all classes.

    Args:
        per_class: [C] accuracies.
        class_counts: [C] images per class in the long-tail set; where all are equal, or fewer
            than three, nobody is many or few and only "all" is reported.

    Returns:
        many, medium, few: means of per-class accuracies; std: population standard deviation of
        these three, the "balancedness" of the papers; all: mean over the classes.
    """
    report: dict[str, float] = {}
    if np.ptp(class_counts) > 0 and len(class_counts) >= len(splits.GROUPS):
        members = splits.groups(class_counts)
        report = {name: float(per_class[members[name]].mean()) for name in splits.GROUPS}
        report["std"] = float(np.std(list(report.values())))
    return report | {"all": float(per_class.mean())}


class LabelledList(NamedTuple):
    """The labelled images of one probe: name, positions int64 [n], "published" or "drawn"."""

    name: str
    index: np.ndarray
    source: str


def labelled_lists(
    run: Run, labels: np.ndarray, shots: str, where: Path | None = None
) -> list[LabelledList]:
    """The labelled sets of a probe with `shots` ("full", "1%", or images per class).

    Lists beside the run's split file (or in `where`) come first; without any, five are drawn. Drawn
    ones avoid the images of pre-training where every class has enough others.
    """
    if shots not in ("full", "1%") and not (shots.isdecimal() and int(shots)):
        raise ConfigError(f"shots is {shots!r}; allowed are full, 1% and a number per class")
    found = _find_lists(run.config, shots, where)
    for each in found:
        if each.index.max() >= len(labels):
            raise ConfigError(f"{each.name} has positions beyond the {len(labels)} images")
    if found:
        return found
    if shots == "full":
        return [LabelledList("train part", np.arange(len(labels)), "drawn")]
    if shots == "1%":  # a prefix of pre-training's lists, as published: 4 of 450, 45 of 4500
        per_class = max(1, int(np.bincount(labels).min()) * 9 // 1000)
        drawn = splits.few_shot(labels, per_class, run.config.drawn_with)
        return [LabelledList(f"first {per_class} per class", drawn, "drawn")]
    pool = np.setdiff1d(np.arange(len(labels)), run.index)
    unseen = np.bincount(labels[pool], minlength=labels.max() + 1).min() >= int(shots)
    pool, name = (pool, "unseen") if unseen else (np.arange(len(labels)), "any")
    return [
        LabelledList(
            f"{name} seed {seed}", pool[splits.few_shot(labels[pool], int(shots), seed)], "drawn"
        )
        for seed in range(1, DRAWN_LISTS + 1)
    ]


def _find_lists(config: RunConfig, shots: str, where: Path | None) -> list[LabelledList]:
    """List files by the published naming: split1_D_i.npy has split*_test_100shot.npy beside it."""
    split = Path(config.split)
    in_file = config.split not in splits.DRAWN and "split" in split.stem
    if not in_file and where is None:
        return []
    prefix, _, rest = split.stem.partition("split") if in_file else ("*", "", "*")
    patterns = {"full": f"{prefix}trainIdxList.npy", "1%": f"{prefix}split{rest[:1]}_S_b.npy"}
    pattern = patterns.get(shots, f"{prefix}split*_test_{shots}shot.npy")
    folder = where or split.parent.parent
    paths = sorted([*folder.glob(pattern), *folder.glob(f"*/{pattern}")])
    if where and not paths:
        raise ConfigError(f"{where} and its folders hold no {pattern} for shots {shots}")
    owners = {p.name.partition("split")[0].removesuffix("trainIdxList.npy") for p in paths}
    if len(owners) > 1:
        raise ConfigError(
            f"{where} and its folders hold lists of several data sets for shots {shots}: "
            f"{', '.join(sorted(p.name for p in paths))}; name the folder of one"
        )
    known = {entry["sha256"] for entry in published_lists().values()}
    return [
        LabelledList(p.name, splits.read_split(p), "published" if sha256(p) in known else "drawn")
        for p in paths
    ]


def probe_run(
    folder: str | Path,
    shots: tuple[str, ...] = ("100",),
    lists: str | Path | None = None,
    test: str | None = None,
    protocol: str = "bcl",
    kind: str = "encoder",
) -> pd.DataFrame:
    """Probe a finished run; one row per list and group, as stored in probe.parquet.

    Args:
        folder: of the run.
        shots: "full", "1%", or numbers of labelled images per class.
        lists: where the list files are, if not beside the split.
        test: name of another test set (as for `load_images`).
        protocol: of `linear_probe`.
        kind: "encoder"; "pruned" for SDCLR's pruned branch; "pixels" for the raw images, a baseline
            that has learned nothing.
    """
    if kind not in KINDS:
        raise ConfigError(f"features is {kind!r}; allowed are {', '.join(KINDS)}")
    run = Run.load(folder)
    config = run.config
    train = read_arrays(config.data, "train", config.root)
    test = test or config.data
    held_out = load_images(test, "test", config.root)
    _check_classes(train.class_names, held_out.class_names, test)
    found = {s: labelled_lists(run, train.labels, s, lists and Path(lists)) for s in shots}
    used = np.unique(np.concatenate([x.index for items in found.values() for x in items]))
    device = str(pick_device(config.device))
    network = None if kind == "pixels" else run.network(kind)
    embed = pixels if kind == "pixels" else (lambda images: features(network, images, device))
    train_x = embed(torch.from_numpy(train.images[used]))
    train_y, test_x = torch.from_numpy(train.labels), embed(held_out.images)
    names = {"encoder": config.method, "pruned": config.method + " pruned", "pixels": "pixels"}
    about = {
        "method": names[kind], "boost": "none" if kind == "pixels" else config.boost,
        "preset": config.preset, "data": config.data, "test": test,
        "epochs": config.epochs, "split": Path(config.split).name,
        "split_seed": config.drawn_with, "mirrored": config.mirrored, "seed": config.seed,
        "protocol": protocol,
    }  # fmt: skip
    rows = []
    for number, items in found.items():
        for each in items:
            at = torch.from_numpy(np.searchsorted(used, each.index))
            given = train_x[at], train_y[each.index], test_x, held_out.labels
            result = linear_probe(*given, protocol)
            report = group_report(result.per_class, run.group_counts.numpy())
            listed = {
                "shots": number, "list": each.name, "list_source": each.source,
                "list_sha256": splits.split_digest(each.index), "images": len(each.index),
            }  # fmt: skip
            for group, accuracy in {**report, "top5": result.top5}.items():
                rows.append({**about, **listed, "group": group, "accuracy": accuracy})
            log.info("%s %s: %.1f %%", number, each.name, 100 * result.top1)
    return pd.DataFrame(rows)


def _check_classes(known: tuple[str, ...], tested: tuple[str, ...], where: str) -> None:
    """Refuse a test set whose label k is not the training part's class k."""
    for k, name in enumerate(tested):
        own = known[k] if k < len(known) else "absent"
        if own != name and not (k < len(known) and str(k) in (own, name)):  # a number is no name
            raise ConfigError(
                f"class {k} is {name!r} in the test set of {where}, in the training part {own!r}; "
                "both need the same classes in the same order"
            )


def pixels(images: Tensor) -> Tensor:
    """Raw pixels as features, float32 [N, 3 * H * W]."""
    return images.flatten(1).float() / 255


def save_probe(folder: str | Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Add rows to a run's probe.parquet; a probe done again replaces its old rows."""
    path = Path(folder) / "probe.parquet"
    key = ["method", "protocol", "shots", "list", "group", "test"]
    if path.exists():
        before = read_parquet(path)
        rows = pd.concat([before.assign(test=before.get("test", before["data"])), rows])
    table = rows.drop_duplicates(key, keep="last")
    add_table(Path(folder), path.name, table)
    return table
