"""What the front end gets of a run: a JSON description, and one block of bytes."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..config import RunConfig
from ..data import splits
from ..errors import ConfigError
from ..recipes import AIM_OF, ORACLES, load_method, may_import
from ..report import plots
from ..views import strength_of
from . import orders, pictures, truth
from .history import MOST_IMAGES, History, open_run, without_folders

MOST_EPOCHS = 100  # kept epochs shown; more are thinned evenly
MANY = 200_000  # samples above which a page says what to expect
SHEET = 32  # thumbnails in a row and in a column of one picture file
FEW = 16  # samples; UMAP wants more, for neighbours of each
VIEW_EPOCHS = 3  # at which a page holds views


def payload(
    run: Any, compare: Any = None, views: bool = False
) -> tuple[dict[str, Any], bytes, list[History]]:
    """What the front end gets: a JSON description, one block of bytes, and the opened runs.

    Args:
        run: what `open_run` takes.
        compare: another one of the same samples, or None.
        views: whether the views of some samples are put in; a kernel draws them when asked.
    """
    histories = [open_run(part) for part in (run, compare) if part is not None]
    rows = _common_epochs(histories)
    histories = _side_by_side(histories)
    first = histories[0]
    epochs = [first.kept[row] for row in rows[0]]
    arrays: dict[str, Any] = {}
    meta = _about_samples(first, arrays)
    meta |= {
        "epochs": epochs,
        "used": used_scores(epochs, histories),
        "over": _over(histories),
        "colours": plots.COLOURS,
        "notes": _notes(histories),
        "aboutLabels": _about_labels(histories),
        "kit": __version__,
        "docs": _docs(),
        "runs": [],
    }
    if len(first.kept) > len(epochs):
        meta["notes"].append(f"{len(epochs)} of {len(first.kept)} kept epochs are shown.")
    for number, (history, kept) in enumerate(zip(histories, rows, strict=True)):
        loss = arrays[f"loss{number}"] = np.ascontiguousarray(history.momentum_loss[kept])
        bands = orders.bands(loss, first.groups())
        about = _about(history) | {"type": str(loss.dtype), "bands": _without_nan(bands)}
        meta["runs"].append(about | _add_features(history, number, arrays))
    _add_truth(histories, meta, arrays)
    _add_pictures(first, meta, arrays)
    drawable = "side" in meta and all(_has_views(history) for history in histories)
    meta["drawable"], meta["live"] = drawable, drawable and not views
    if drawable and views:
        _page_views(histories, meta, arrays)
    return meta, _pack(meta, arrays), histories


def _side_by_side(histories: list[History]) -> list[History]:
    """The same runs: two share the pictures that one has, and are told apart by their labels."""
    if len(histories) == 1:
        return histories
    first, second = histories
    images = second.images if first.images is None else first.images
    label = second.label if second.label != first.label else f"{second.label} (2)"
    return [
        dataclasses.replace(first, images=images),
        dataclasses.replace(second, images=images, label=label),
    ]


def _about_samples(history: History, arrays: dict[str, Any]) -> dict[str, Any]:
    """How many samples and classes there are, their names, sizes and groups."""
    names, labels, counts, groups = history.classes()
    arrays["labels"] = labels.astype(np.uint16)
    if history.index is not None:
        arrays["index"] = history.index.astype(np.int32)
    of_class = splits.rarity(np.arange(len(counts)), counts)
    classes = [
        {"name": name, "size": int(size), "group": group, "rarity": float(rare)}
        for name, size, group, rare in zip(names, counts, groups, of_class, strict=True)
    ]
    data = history.config.data if history.config else ""
    kind, colon, place = data.partition(":")
    return {
        "samples": len(labels),
        "classes": classes,
        "labelled": history.labels is not None,
        "data": f"{kind}{colon}{Path(place).name}",  # no folder of this machine
    }


def _common_epochs(histories: list[History]) -> list[list[int]]:
    """Rows to show of each run: the same epochs, at most MOST_EPOCHS."""
    first, other = histories[0], histories[-1]
    parts: list[tuple[Any, Any]] = [(first.index, other.index), (first.labels, other.labels)]
    if isinstance(first.images, np.ndarray) and isinstance(other.images, np.ndarray):
        parts.append((first.images, other.images))  # two sets may have the same labels
    if not all(np.array_equal(*both) for both in parts):
        raise ConfigError(
            f"compare: {_named(first)} and {_named(other)} learned from different images; "
            "give two runs of one data set, split and seed"
        )
    if first.momentum_loss.shape[1] != other.momentum_loss.shape[1]:
        raise ConfigError("compare: the two histories have different numbers of samples")
    common = sorted(set(first.kept) & set(other.kept))
    if not common:
        raise ConfigError("compare: the two runs have no kept epoch in common")
    shown = np.unique(np.linspace(0, len(common) - 1, MOST_EPOCHS).round().astype(int))
    return [[history.kept.index(common[i]) for i in shown] for history in histories]


def _named(history: History) -> str:
    """A history by its label, and a run by what decides which images it had, too."""
    config = history.config
    if config is None:
        return repr(history.label)
    return f"{history.label!r} ({truth.split_of(config)})"


def used_scores(epochs: list[int], histories: list[History]) -> list[list[int] | None]:
    """For each shown row, an epoch whose views it speaks of, and the row whose scores steered them.

    The views of epoch 8 are steered by the scores after epoch 7. So a row speaks of its own epoch
    where the one before is shown, too; in epoch 1 all scores are 0 (row -1). Where epochs are left
    out it speaks of the epoch that follows, which is None when the run is over.
    """
    ends = [history.config.epochs for history in histories if history.config]
    used: list[list[int] | None] = []
    for row, epoch in enumerate(epochs):
        if epoch == 1:
            used.append([1, -1])
        elif row and epochs[row - 1] == epoch - 1:
            used.append([epoch, row - 1])
        elif epoch in ends:
            used.append(None)
        else:
            used.append([epoch + 1, row])
    return used


def _over(histories: list[History]) -> str:
    """What is said of an epoch that no views follow."""
    ends = {history.config.epochs for history in histories if history.config}
    return "the run was over" if len(ends) < 2 else "one of the two runs was over"


STEERS = {  # what steers a sample's boost, and how the page says it
    "none": ("none", "plain views"),
    "memory": ("own", "the sample's own score"),
    "constant": ("mean", "the mean score, the same for all: a control"),
    "inverted": ("inverted", "1 - score: a control"),
    "oracle": ("class", "how rare the sample's class is, read from the labels"),
    "oracle-shuffled": ("other", "how rare another sample's class is: the oracle's control"),
    "oracle-values": ("other", "a score handed out by how rare the sample's class is"),
    "shuffled": ("other", "another sample's score, drawn anew each epoch: a control"),
    **{
        boost: (
            "aim",
            f"{boost}, whose scores no run keeps; the views here follow the momentum loss",
        )
        for boost in AIM_OF
    },
}


def _about(history: History) -> dict[str, Any]:
    """A run's name, and its boost: strengths [lowest, highest] at score 0 and at score 1."""
    config = history.config or RunConfig()  # losses alone are shown as those of plain views
    k = config.boost_k or 1
    rule = config.boost_rule
    steer, note = STEERS[config.boost]
    scores = torch.tensor([0.0, 1.0])
    zeta = torch.ones(2, 1) if rule == "paper" else torch.ones(2)
    lowest = strength_of(scores, 0 * zeta, k, rule).flatten()
    highest = strength_of(scores, zeta, k, rule).flatten()
    strength = torch.stack([lowest, highest], dim=1).tolist()
    scale = config.boost_scale
    if scale != 1:
        note += f"; all scores times {scale:g}"
    if config.boost_noise:
        note += f"; {config.boost_noise:.0%} of the samples have another's score, drawn each epoch"
    about = {"label": history.label, "steer": steer, "scale": scale, "note": note}
    return about | {"strength": strength, "origin": history.origin}


def _notes(histories: list[History]) -> list[str]:
    """What differs from the published recipe, and what is missing; each once."""
    cautions = [(h.label, h.config.caution) for h in histories if h.config and h.config.caution]
    said: dict[str, list[str]] = {}
    for label, caution in cautions:
        said.setdefault(caution, []).append(label)
    lines = [f"{' and '.join(labels)}: {caution}." for caution, labels in said.items()]
    if histories[0].images is None:
        lines.append(without_folders(histories[0].no_images))
    for history in histories:
        lines += history.notes
    samples = histories[0].momentum_loss.shape[1]
    if samples > MANY:
        lines.append(
            f"{samples:,} samples: the page takes some seconds to open, and a mark is one pixel; "
            "hide groups or zoom to see single ones."
        )
    return list(dict.fromkeys(filter(None, lines)))


def _docs() -> str:
    """Where the project's documentation is, if its package says so."""
    try:
        urls = importlib.metadata.metadata("ltcl-helpers").get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:  # a folder that was never installed
        return ""
    named = dict(url.split(", ", 1) for url in urls)
    return named.get("Documentation") or named.get("Repository") or ""


def _about_labels(histories: list[History]) -> str:
    if histories[0].labels is None:
        return "No labels were given: every sample is one mark of the same kind."
    text = "Labels are used here for looking only: colours, columns and search."
    blind = all(h.config and not _reads_labels(h.config) for h in histories)
    return f"{text} Training never saw them." if blind else text


def _has_views(history: History) -> bool:
    """Whether it is known which views its batches held."""
    return history.config is not None and may_import(history.config.method)


def _reads_labels(config: RunConfig) -> bool:
    """Whether training saw the labels: by its method, or by an oracle's boost."""
    if not may_import(config.method):
        return True  # nobody knows, so nothing is promised
    method = load_method(config.method)
    return method.READS_LABELS or config.boost in ORACLES


def _without_nan(bands: dict[str, np.ndarray]) -> dict[str, list[list[float | None]]]:
    """The same as JSON knows it, which has no NaN."""
    found: dict[str, list[list[float | None]]] = {}
    for group, rows in bands.items():
        found[group] = [[None if np.isnan(v) else float(v) for v in row] for row in rows]
    return found


def _add_features(history: History, number: int, arrays: dict[str, Any]) -> dict[str, str]:
    """A map of a run's features, and each sample's nearest neighbours in them, where it has any."""
    found = features_of(history)
    if found is None:
        return {}
    how, arrays[f"projection{number}"] = _project(found)
    if len(found) <= MOST_IMAGES:  # all pairs are compared
        arrays[f"neighbours{number}"] = orders.neighbours(found)
    return {"projection": how}


def features_of(history: History) -> np.ndarray | None:
    """What the final encoder makes of each image, [N, D]; or None without one."""
    if history.features is None and history.encoder is not None and history.images is not None:
        from ..probe.linear import features
        from ..probe.streaming import embed_images

        embed = partial(features, history.encoder)
        history.features = embed_images(embed, history.images).numpy()
    return history.features


def _project(features: np.ndarray) -> tuple[str, np.ndarray]:
    """The features in two dimensions, [N, 2]: UMAP where umap-learn is installed, or PCA."""
    from sklearn.decomposition import PCA

    try:
        from umap import UMAP
    except ImportError:
        UMAP = None
    if UMAP is None or len(features) <= FEW:
        found = np.zeros((len(features), 2), np.float32)
        axes = min(2, *features.shape)
        if len(features) > 1:
            found[:, :axes] = PCA(axes, random_state=0).fit_transform(features)
        return "PCA", found
    return "UMAP", UMAP(random_state=0, n_jobs=1).fit_transform(features).astype(np.float32)


def _add_truth(histories: list[History], meta: dict, arrays: dict[str, Any]) -> None:
    """Memorization by leaving out: as given with a run, or as it is recorded of their samples."""
    given = [history.memorization for history in histories if history.memorization is not None]
    found = given[0] if given else truth.recorded(histories[0])
    if found is None:
        return
    arrays["memorization"] = found
    meta["notes"].append(
        "Memorization is measured by leaving out: by how much a sample's loss rises when training "
        "does without it. It is of these samples, not of these runs."
    )


def _add_pictures(history: History, meta: dict, arrays: dict[str, Any]) -> None:
    """Thumbnails, lossy, in sheets of 32 x 32, and a place for views."""
    if history.images is None or len(history.images) > MOST_IMAGES:
        if meta["samples"] > MOST_IMAGES:
            meta["notes"].append(f"No thumbnails: more than {MOST_IMAGES:,} samples.")
        return
    meta["side"] = pictures.side(history.images)
    for number, start in enumerate(range(0, meta["samples"], SHEET**2)):
        tiles = history.images[start : start + SHEET**2]
        arrays[f"sheet{number}"] = pictures.webp(pictures.shrink(tiles, meta["side"]), SHEET)
    meta["notes"].append(f"Thumbnails are lossy pictures of {meta['side']} x {meta['side']} px.")


def _page_views(histories: list[History], meta: dict, arrays: dict[str, Any]) -> None:
    """Views for the page: of some samples, at some epochs, in every run."""
    samples = pictures.worth_seeing(histories)
    with_views = [row for row, used in enumerate(meta["used"]) if used]
    if not with_views:
        return  # the last epoch alone is shown
    places = np.linspace(0, len(with_views) - 1, VIEW_EPOCHS).round().astype(int)
    shown = [with_views[place] for place in np.unique(places)]
    meta["views"] = {"samples": samples.tolist(), "rows": shown, "used": []}
    for number, history in enumerate(histories):
        drawn = [draw_row(history, meta, row, samples) for row in shown]
        tiles = np.concatenate([views for views, _ in drawn])
        arrays[f"views{number}"] = pictures.webp(tiles, pictures.VIEWS)
        meta["views"]["used"].append([used.round(4).tolist() for _, used in drawn])


def draw_row(
    history: History, meta: dict, row: int, samples: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`pictures.draw_views` of the epoch that a shown row speaks of."""
    _, scores_row = meta["used"][row]
    kept = history.kept.index(meta["epochs"][scores_row]) if scores_row >= 0 else None
    return pictures.draw_views(history, samples, kept)


def _pack(meta: dict[str, Any], arrays: dict[str, Any]) -> bytes:
    """All arrays in one block, each at a multiple of 8; meta["arrays"] says where."""
    parts, offset, meta["arrays"] = [], 0, {}
    for name, array in arrays.items():
        part = array if isinstance(array, bytes) else array.tobytes()
        meta["arrays"][name] = [offset, len(part)]
        parts.append(part + bytes(-len(part) % 8))
        offset += len(parts[-1])
    return b"".join(parts)
