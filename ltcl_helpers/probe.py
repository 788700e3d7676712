"""Is the frozen encoder any good, and for whom? Linear probes, reports by group."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import splits
from .config import ConfigError, RunConfig
from .datasets import ImageSet, check_classes, load_images, read_arrays
from .knn import weighted_knn
from .lists import LabelledList, labelled_lists, validation_list
from .machine import pick_device
from .runs import Run
from .sdclr_probe import SCHEDULES, Embed, fit_sdclr
from .store import add_table, read_parquet

log = logging.getLogger(__name__)
ON_FEATURES = ("bcl", "logistic", "knn")  # protocols of `linear_probe`
PROTOCOLS = (*ON_FEATURES, "sdclr")
KINDS = ("encoder", "pruned", "pixels")


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
        encoder(part.to(device, memory_format=torch.channels_last) / 255).cpu()
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
        protocol: "bcl", the probe behind the published table (Adam, 500 epochs, batch 1000,
            learning rate 1e-2 to 1e-6), "logistic" (scikit-learn, standardised; fast), or "knn"
            (the nearest 200 vote; nothing is trained).
        seed: of the initial weights and the order of the "bcl" probe.
    """
    if protocol not in ON_FEATURES:
        allowed = " and ".join(ON_FEATURES)
        raise ConfigError(f"protocol is {protocol!r}; allowed for features are {allowed}")
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    fit = {"bcl": _bcl, "logistic": _logistic, "knn": _knn}[protocol]
    return measure(fit(train_features, train_labels, test_features, classes, seed), test_labels)


def measure(logits: Tensor, labels: Tensor) -> ProbeResult:
    """Accuracies of logits [M, C] for labels [M]."""
    classes = logits.shape[1]
    hit = logits.argmax(1) == labels
    top5 = (logits.topk(min(5, classes), 1).indices == labels[:, None]).any(1)
    count = torch.bincount(labels, minlength=classes)
    per_class = torch.bincount(labels[hit], minlength=classes).double() / count
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


def _knn(x: Tensor, y: Tensor, test: Tensor, classes: int, seed: int) -> Tensor:
    return weighted_knn(x, y, test, classes)


def _logistic(x: Tensor, y: Tensor, test: Tensor, classes: int, seed: int) -> Tensor:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    model.fit(x.numpy(), y.numpy())
    logits = torch.full((len(test), classes), float("-inf"))
    score = model.decision_function(test.numpy())
    score = np.stack([-score, score], 1) if score.ndim == 1 else score  # two classes give one score
    logits[:, model.classes_] = torch.from_numpy(score).to(logits.dtype)
    return logits


def group_report(
    per_class: np.ndarray, class_counts: np.ndarray, rule: str = "thirds"
) -> dict[str, float]:
    """Accuracy of the many, medium and few classes, their spread, and the mean over all classes.

    Args:
        per_class: [C] accuracies.
        class_counts: [C] images per class in the long-tail set; where all are equal nobody is many
            or few and only "all" is reported, as where the rule leaves one of the groups empty.
        rule: of `splits.groups`: "thirds" (CIFAR) or "counts" (ImageNet, Places).

    Returns:
        many, medium, few: means of per-class accuracies; std: population standard deviation of
        these three, the "balancedness" of the papers; all: mean over the classes.
    """
    members = splits.groups(class_counts, rule)
    report: dict[str, float] = {}
    if np.ptp(class_counts) > 0 and all(map(len, members.values())):
        report = {name: float(per_class[members[name]].mean()) for name in splits.GROUPS}
        report["std"] = float(np.std(list(report.values())))
    return report | {"all": float(per_class.mean())}


def probe_run(
    folder: str | Path, shots: tuple[str, ...] = ("100",), lists: str | Path | None = None,
    test: str | None = None, protocol: str = "bcl", kind: str = "encoder", groups: str = "thirds",
) -> pd.DataFrame:  # fmt: skip
    """Probe a finished run; one row per list and group, as stored in probe.parquet.

    Args:
        folder: of the run.
        shots: "full", "1%", or numbers of labelled images per class.
        lists: where the list files are, if not beside the split.
        test: name of another test set (as for `load_images`).
        protocol: of `linear_probe`, or "sdclr", the one of that paper, for "full" and "1%".
        kind: "encoder"; "pruned" for SDCLR's pruned branch; "pixels" for the raw images, a baseline
            that has learned nothing.
        groups: who is many, medium and few, a rule of `splits.groups`: "thirds" or "counts".
    """
    _check_choices(kind, protocol, shots, groups)
    run = Run.load(folder)
    config = run.config
    train = read_arrays(config.data, "train", config.root)
    test = test or config.data
    held_out = load_images(test, "test", config.root)
    check_classes(train.class_names, held_out.class_names, test)
    lists = lists and Path(lists)
    found = [(s, each) for s in shots for each in labelled_lists(run, train.labels, s, lists)]
    embed = _embedding(run, kind)
    if protocol == "sdclr":
        held = validation_list(run, train.labels, lists).index
        found = [(s, x._replace(index=np.setdiff1d(x.index, held))) for s, x in found]
        results = _sdclr_results(embed, train, held_out, found, held, pick_device(config.device))
    else:
        results = _feature_results(embed, train, held_out, [x for _, x in found], protocol)
    about = about_run(config, kind) | {"test": test, "protocol": protocol, "groups": groups}
    rows = []
    for (number, each), result in zip(found, results, strict=True):
        report = group_report(result.per_class, run.group_counts.numpy(), groups)
        if protocol == "sdclr":
            report["class std"] = float(np.std(result.per_class))
        report["top5"] = result.top5
        listed = _of_list(number, each)
        rows += [{**about, **listed, "group": g, "accuracy": a} for g, a in report.items()]
        rows[-1]["per_class"] = result.per_class.tolist()  # beside the last number of the list
        log.info("%s %s: %.1f %%", number, each.name, 100 * result.top1)
    return pd.DataFrame(rows)


def _of_list(shots: str, each: LabelledList) -> dict[str, object]:
    """What a row says about its labelled images."""
    return {
        "shots": shots, "list": each.name, "list_source": each.source,
        "list_sha256": splits.split_digest(each.index), "images": len(each.index),
    }  # fmt: skip


def _check_choices(kind: str, protocol: str, shots: tuple[str, ...], groups: str) -> None:
    """Refuse what is not known before a file is read."""
    for name, value, allowed in (
        ("features", kind, KINDS), ("protocol", protocol, PROTOCOLS),
        ("groups", groups, splits.RULES),
    ):  # fmt: skip
        if value not in allowed:
            raise ConfigError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")
    if protocol == "sdclr" and (other := [s for s in shots if s not in SCHEDULES]):
        raise ConfigError(
            f"shots is {other[0]!r}, but protocol sdclr has rates for {' and '.join(SCHEDULES)} "
            "only; for others use --protocol bcl"
        )


def _embedding(run: Run, kind: str) -> Embed:
    """Images to the features of this kind."""
    if kind == "pixels":
        return pixels
    network, device = run.network(kind), str(pick_device(run.config.device))
    return lambda images: features(network, images, device)


def about_run(config: RunConfig, kind: str) -> dict[str, object]:
    """What a row says about its run and its features."""
    names = {"encoder": config.method, "pruned": config.method + " pruned", "pixels": "pixels"}
    return {
        "method": names[kind], "boost": "none" if kind == "pixels" else config.boost,
        "features": kind, "preset": config.preset, "data": config.data,
        "epochs": config.epochs, "split": Path(config.split).name,
        "split_seed": config.drawn_with, "mirrored": config.mirrored, "seed": config.seed,
    }  # fmt: skip


def _feature_results(
    embed: Embed, train: ImageSet, test: ImageSet, lists: list[LabelledList], protocol: str
) -> Iterator[ProbeResult]:
    """Each list's probe on features that are computed once for all lists."""
    used = np.unique(np.concatenate([each.index for each in lists]))
    train_x, test_x = embed(torch.from_numpy(train.images[used])), embed(test.images)
    for each in lists:
        at, labels = np.searchsorted(used, each.index), torch.from_numpy(train.labels[each.index])
        yield linear_probe(train_x[torch.from_numpy(at)], labels, test_x, test.labels, protocol)


def _sdclr_results(
    embed: Embed, train: ImageSet, test: ImageSet, lists: list[tuple[str, LabelledList]],
    held: np.ndarray, device: torch.device,
) -> Iterator[ProbeResult]:  # fmt: skip
    """Each list's probe as in the SDCLR paper; `held` are the positions of the validation list."""
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    test_x = embed(test.images)
    held_x = embed(torch.from_numpy(train.images[held])).to(device)
    validation = held_x, torch.from_numpy(train.labels[held]).to(device)
    for shots, each in lists:
        arrays = train.images[each.index], train.labels[each.index]
        images, labels = (torch.from_numpy(array).to(device) for array in arrays)
        fitted = fit_sdclr(embed, images, labels, validation, classes, SCHEDULES[shots])
        weight, bias = (part.cpu() for part in fitted)
        yield measure(F.linear(test_x, weight, bias), test.labels)


def pixels(images: Tensor) -> Tensor:
    """Raw pixels as features, float32 [N, 3 * H * W]."""
    return images.flatten(1) / 255


def save_probe(folder: str | Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Add rows to a run's probe.parquet; a probe done again replaces its old rows.

    Also where it was done with other `groups`: one list's rows follow one rule.
    """
    path = Path(folder) / "probe.parquet"
    key = ["features", "protocol", "shots", "list", "test"]
    if path.exists():
        before = complete(read_parquet(path))
        again = pd.MultiIndex.from_frame(before[key]).isin(pd.MultiIndex.from_frame(rows[key]))
        rows = pd.concat([before[~again], rows], ignore_index=True)
    rows = rows.drop_duplicates([*key, "group"], keep="last")
    add_table(Path(folder), path.name, rows)
    return rows


def complete(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of older probes with the columns that these did not have yet."""
    kinds = rows["method"].map(lambda m: KINDS[1] if m.endswith(" pruned") else KINDS[0])
    kinds = kinds.mask(rows["method"] == "pixels", "pixels")
    missing = {"test": rows["data"], "features": kinds, "groups": "thirds"}
    return rows.assign(**{n: v for n, v in missing.items() if n not in rows})
