"""What the front end gets of a run: a JSON description, and one block of bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import RunConfig
from ..errors import ConfigError
from ..recipes import AIM_OF, ORACLES, load_method
from ..report import plots
from ..views import strength_of
from . import pictures
from .history import MOST_IMAGES, History, open_run

FRONT = Path(__file__).with_name("front")  # the page's own code
SCRIPT = FRONT / "explorer.js"
STYLE = FRONT / "explorer.css"
MOST_EPOCHS = 100  # kept epochs shown; more are thinned evenly
SHEET = 32  # thumbnails in a row and in a column of one picture file
VIEW_EPOCHS = 3  # at which a page holds views


def payload(
    run: Any, compare: Any = None, views: bool = False
) -> tuple[dict[str, Any], bytes, list[History]]:
    """What the front end gets: a JSON description, one block of bytes, and the opened runs."""
    histories = [open_run(part) for part in (run, compare) if part is not None]
    first = histories[0]
    rows = _common_epochs(histories)
    names, labels, counts, groups = first.classes()
    arrays = {"labels": labels.astype(np.uint16)}
    if first.index is not None:
        arrays["index"] = first.index.astype(np.int32)
    meta: dict[str, Any] = {
        "samples": len(labels),
        "epochs": [first.kept[row] for row in rows[0]],
        "classes": [
            {"name": n, "size": int(c), "group": g}
            for n, c, g in zip(names, counts, groups, strict=True)
        ],
        "labelled": first.labels is not None,
        "colours": plots.COLOURS,
        "runs": [],
        "notes": _notes(histories),
        "aboutLabels": _about_labels(histories),
        "data": first.config.data if first.config else "",
    }
    if len(first.kept) > len(rows[0]):
        meta["notes"].append(f"{len(rows[0])} of {len(first.kept)} kept epochs are shown.")
    member = np.array(groups)[labels]
    for number, (history, kept) in enumerate(zip(histories, rows, strict=True)):
        loss = arrays[f"loss{number}"] = np.ascontiguousarray(history.momentum_loss[kept])
        meta["runs"].append(_about(history) | {"bands": _bands(loss, member)})
    _add_pictures(first, meta, arrays)
    if first.encoder is not None and first.images is not None:
        meta["projection"], arrays["projection"] = _project(first.encoder, first.images)
    drawable = "side" in meta and all(history.config for history in histories)
    meta["live"] = drawable and not views
    if drawable and views:
        _page_views(histories, meta, arrays)
    return meta, _pack(meta, arrays), histories


def _common_epochs(histories: list[History]) -> list[list[int]]:
    """Rows to show of each run: the same epochs, at most MOST_EPOCHS."""
    first, other = histories[0], histories[-1]
    for part in ("index", "labels"):
        if not np.array_equal(getattr(first, part), getattr(other, part)):
            raise ConfigError(
                f"compare: {first.label!r} and {other.label!r} learned from different images; "
                "give two runs of one split and seed"
            )
    if first.momentum_loss.shape[1] != other.momentum_loss.shape[1]:
        raise ConfigError("compare: the two histories have different numbers of samples")
    common = sorted(set(first.kept) & set(other.kept))
    if not common:
        raise ConfigError("compare: the two runs have no kept epoch in common")
    shown = np.unique(np.linspace(0, len(common) - 1, MOST_EPOCHS).round().astype(int))
    return [[history.kept.index(common[i]) for i in shown] for history in histories]


STEERS = {  # what steers a sample's boost, and how the page says it
    "none": ("none", "plain views"),
    "memory": ("own", "the sample's own score"),
    "constant": ("mean", "the mean score, the same for all: a control"),
    "inverted": ("inverted", "1 - score: a control"),
    "oracle": ("class", "how rare the sample's class is, read from the labels"),
    "oracle-shuffled": ("other", "how rare another sample's class is: the oracle's control"),
    "oracle-values": ("class", "a score handed out by how rare the sample's class is"),
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
    about = {"label": history.label, "steer": steer, "scale": scale, "note": note}
    return about | {"strength": strength}


def _notes(histories: list[History]) -> list[str]:
    """What differs from the published recipe, and what is missing; each once."""
    cautions = [(h.label, h.config.caution) for h in histories if h.config and h.config.caution]
    said: dict[str, list[str]] = {}
    for label, caution in cautions:
        said.setdefault(caution, []).append(label)
    lines = [f"{' and '.join(labels)}: {caution}." for caution, labels in said.items()]
    lines += [histories[0].no_images] if histories[0].images is None else []
    return list(dict.fromkeys([*filter(None, lines), *(n for h in histories for n in h.notes)]))


def _about_labels(histories: list[History]) -> str:
    if histories[0].labels is None:
        return "No labels were given: every sample is one mark of the same kind."
    text = "Labels are used here for looking only: colours, columns and search."
    blind = all(h.config and not _reads_labels(h.config) for h in histories)
    return f"{text} Training never saw them." if blind else text


def _reads_labels(config: RunConfig) -> bool:
    """Whether training saw the labels: by its method, or by an oracle's boost."""
    method = load_method(config.method)
    return method.READS_LABELS or config.boost in ORACLES


def _bands(loss: np.ndarray, member: np.ndarray) -> dict[str, list[list[float | None]]]:
    """Quartiles of each group's momentum loss, [epochs, 3]; None where nobody was seen yet."""
    bands = {}
    for group in ("many", "medium", "few", "all"):
        mine = loss[:, member == group].astype(np.float32)  # [epochs, n]
        if mine.size:
            bands[group] = [_quartiles(row[~np.isnan(row)]) for row in mine]
    return bands


def _quartiles(values: np.ndarray) -> list[float | None]:
    if not len(values):
        return [None, None, None]
    quartiles: list[float | None] = np.quantile(values, [0.25, 0.5, 0.75]).round(4).tolist()
    return quartiles


def _add_pictures(history: History, meta: dict, arrays: dict[str, Any]) -> None:
    """Thumbnails, lossy, in sheets of 32 x 32, and a place for views."""
    if history.images is None or len(history.images) > MOST_IMAGES:
        if len(meta["epochs"]) and meta["samples"] > MOST_IMAGES:
            meta["notes"].append(f"No thumbnails: more than {MOST_IMAGES:,} samples.")
        return
    meta["side"] = pictures.side(history.images)
    for number, start in enumerate(range(0, meta["samples"], SHEET**2)):
        tiles = history.images[start : start + SHEET**2]
        arrays[f"sheet{number}"] = pictures.webp(pictures.shrink(tiles, meta["side"]), SHEET)
    meta["notes"].append(f"Thumbnails are lossy pictures of {meta['side']} x {meta['side']} px.")


def _project(encoder: torch.nn.Module, images: np.ndarray) -> tuple[str, np.ndarray]:
    """The features in two dimensions, [N, 2]: UMAP where umap-learn is installed, or PCA."""
    from sklearn.decomposition import PCA

    from ..probe.linear import features

    found = features(encoder, torch.from_numpy(images)).numpy()
    try:
        from umap import UMAP
    except ImportError:
        return "PCA", PCA(2, random_state=0).fit_transform(found).astype(np.float32)
    return "UMAP", UMAP(random_state=0, n_jobs=1).fit_transform(found).astype(np.float32)


def _page_views(histories: list[History], meta: dict, arrays: dict[str, Any]) -> None:
    """Views for the page: of the ends of each order and of every class, at a few epochs."""
    samples = pictures.worth_seeing(histories[0])
    shown = np.unique(np.linspace(0, len(meta["epochs"]) - 1, VIEW_EPOCHS).round().astype(int))
    meta["views"] = {"samples": samples.tolist(), "rows": shown.tolist(), "used": []}
    for number, history in enumerate(histories):
        history.images = histories[0].images
        drawn = []
        for row in shown:
            kept = history.kept.index(meta["epochs"][row])
            drawn.append(pictures.draw_views(history, samples, kept))
        tiles = np.concatenate([views for views, _ in drawn])
        arrays[f"views{number}"] = pictures.webp(tiles, pictures.VIEWS)
        meta["views"]["used"].append([used.round(4).tolist() for _, used in drawn])


def _pack(meta: dict[str, Any], arrays: dict[str, Any]) -> bytes:
    """All arrays in one block, each at a multiple of 8; meta["arrays"] says where."""
    parts, offset, meta["arrays"] = [], 0, {}
    for name, array in arrays.items():
        part = array if isinstance(array, bytes) else array.tobytes()
        meta["arrays"][name] = [offset, len(part)]
        parts.append(part + bytes(-len(part) % 8))
        offset += len(parts[-1])
    return b"".join(parts)
