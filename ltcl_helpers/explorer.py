"""The memorization explorer: one sample's image, loss history, score, and the views it got.

The same front end, explorer.js, is a live widget in JupyterLab (`Explorer`) and one page without a
network (`export_html`). Both show recorded momentum losses; nothing is trained or estimated here.
docs/explorer.md says how to read the panels.
"""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import torch
import traitlets

from . import plots, store, thumbnails
from .config import ConfigError
from .histories import MOST_IMAGES, History, check_images, from_arrays, open_run

__all__ = ["Explorer", "History", "export_html", "from_arrays", "open_run", "payload"]

SCRIPT, STYLE = (Path(__file__).with_name(f"explorer.{kind}") for kind in ("js", "css"))
MOST_EPOCHS = 100  # kept epochs shown; more are thinned evenly
SHEET = 32  # thumbnails in a row and in a column of one picture file
BLIND = ("simclr", "sdclr", "moco-v1", "moco-v2")  # methods that never read labels
VIEW_EPOCHS = 3  # at which a page holds views
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<meta http-equiv="Content-Security-Policy" content="default-src 'none';
 script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<style>{style}</style></head>
<body><main id="explorer"><noscript>This page needs JavaScript.</noscript></main>
<script type="application/json" id="meta">{meta}</script>
<script type="text/plain" id="data">{data}</script>
<script type="module">{script}
openPage(document);
</script></body></html>
"""


def payload(
    run: Any, compare: Any = None, views: bool = False
) -> tuple[dict[str, Any], bytes, list[History]]:
    """What the front end gets: a JSON description, one block of bytes, and the opened runs."""
    histories = [open_run(part) for part in (run, compare) if part is not None]
    first = histories[0]
    if first.images is not None:
        first.images = check_images(first.images, first.momentum_loss.shape[1])
    rows = _common_epochs(histories)
    names, labels, counts, groups = first.classes()
    arrays = {"labels": labels.astype(np.uint16)}
    if first.index is not None:
        arrays["index"] = first.index.astype(np.int32)
    meta: dict[str, Any] = {
        "samples": len(labels),
        "epochs": [_epochs(first)[row] for row in rows[0]],
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
    if len(_epochs(first)) > len(rows[0]):
        meta["notes"].append(f"{len(rows[0])} of {len(_epochs(first))} kept epochs are shown.")
    member = np.array(groups)[labels]
    for number, (history, kept) in enumerate(zip(histories, rows, strict=True)):
        loss = arrays[f"loss{number}"] = np.ascontiguousarray(history.momentum_loss[kept])
        meta["runs"].append(_about(history) | {"bands": _bands(loss, member)})
    _add_pictures(first, meta, arrays)
    if first.encoder is not None and first.images is not None:
        meta["projection"], arrays["projection"] = _project(first)
    drawable = "side" in meta and all(history.config for history in histories)
    meta["live"] = drawable and not views
    if drawable and views:
        _page_views(histories, meta, arrays)
    return meta, _pack(meta, arrays), histories


def _epochs(history: History) -> list[int]:
    return history.epochs or list(range(1, len(history.momentum_loss) + 1))


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
    common = sorted(set(_epochs(first)) & set(_epochs(other)))
    if not common:
        raise ConfigError("compare: the two runs have no kept epoch in common")
    shown = np.unique(np.linspace(0, len(common) - 1, MOST_EPOCHS).round().astype(int))
    return [[_epochs(history).index(common[i]) for i in shown] for history in histories]


STEERS = {  # what steers a sample's boost, and how the page says it
    "none": ("none", "plain views"),
    "memory": ("own", "the sample's own score"),
    "constant": ("mean", "the mean score, the same for all: a control"),
    "inverted": ("inverted", "1 - score: a control"),
    "shuffled": ("other", "another sample's score, drawn anew each epoch: a control"),
}


def _about(history: History) -> dict[str, Any]:
    """A run's name, and its boost: strengths [lowest, highest] at score 0 and at score 1."""
    config = history.config
    steer, note = STEERS[config.boost if config else "none"]
    k, rule = (config.boost_k or 1, config.boost_rule) if config else (1, "code")
    strength = [[10, 10], [30, 30]] if k == 1 else [[5, 5], [5, 30]]
    strength = [[0, 0], [0, 30]] if rule == "paper" else strength
    return {"label": history.label, "steer": steer, "note": note, "strength": strength}


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
    blind = all(h.config and h.config.method in BLIND for h in histories)
    return f"{text} Training never saw them." if blind else text


def _bands(loss: np.ndarray, member: np.ndarray) -> dict[str, list[list[float]]]:
    """Quartiles of each group's momentum loss, [epochs, 3]."""
    return {
        group: np.quantile(loss[:, member == group].astype(np.float32), [0.25, 0.5, 0.75], axis=1)
        .T.round(4)
        .tolist()
        for group in ("many", "medium", "few", "all")
        if (member == group).any()
    }


def _add_pictures(history: History, meta: dict, arrays: dict[str, Any]) -> None:
    """Thumbnails, lossy, in sheets of 32 x 32, and a place for views."""
    if history.images is None or len(history.images) > MOST_IMAGES:
        if len(meta["epochs"]) and meta["samples"] > MOST_IMAGES:
            meta["notes"].append(f"No thumbnails: more than {MOST_IMAGES:,} samples.")
        return
    meta["side"] = thumbnails.side(history)
    for number, start in enumerate(range(0, meta["samples"], SHEET**2)):
        tiles = history.images[start : start + SHEET**2]
        arrays[f"sheet{number}"] = thumbnails.webp(thumbnails.shrink(tiles, meta["side"]), SHEET)
    meta["notes"].append(f"Thumbnails are lossy pictures of {meta['side']} x {meta['side']} px.")


def _project(history: History) -> tuple[str, np.ndarray]:
    """The features in two dimensions, [N, 2]: UMAP where umap-learn is installed, or PCA."""
    from sklearn.decomposition import PCA

    from .probe import features

    found = features(history.encoder, torch.from_numpy(history.images)).numpy()
    try:
        from umap import UMAP
    except ImportError:
        return "PCA", PCA(2, random_state=0).fit_transform(found).astype(np.float32)
    return "UMAP", UMAP(random_state=0, n_jobs=1).fit_transform(found).astype(np.float32)


def _page_views(histories: list[History], meta: dict, arrays: dict[str, Any]) -> None:
    """Views for the page: of the ends of each order and of every class, at a few epochs."""
    samples = thumbnails.worth_seeing(histories[0])
    shown = np.unique(np.linspace(0, len(meta["epochs"]) - 1, VIEW_EPOCHS).round().astype(int))
    meta["views"] = {"samples": samples.tolist(), "rows": shown.tolist(), "used": []}
    for number, history in enumerate(histories):
        history.images = histories[0].images
        drawn = []
        for row in shown:
            kept = _epochs(history).index(meta["epochs"][row])
            drawn.append(thumbnails.draw_views(history, samples, kept))
        tiles = np.concatenate([views for views, _ in drawn])
        arrays[f"views{number}"] = thumbnails.webp(tiles, thumbnails.VIEWS)
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


class Explorer(anywidget.AnyWidget):
    """The explorer in a notebook; `explorer.selection` holds the chosen samples, 0 to N - 1.

    Args:
        run: a `Run`, a run's folder, or what `from_arrays` gives.
        compare: another run of the same split, shown beside it.

    Setting `selection` changes what the page shows, too.
    """

    _esm = SCRIPT.read_text(encoding="utf-8")
    _css = STYLE.read_text(encoding="utf-8")
    _meta = traitlets.Dict().tag(sync=True)
    _data = traitlets.Bytes().tag(sync=True)
    selection = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, run: Any, compare: Any = None) -> None:
        meta, data, self._histories = payload(run, compare)
        super().__init__(_meta=meta, _data=data)
        self.on_msg(self._reply)

    @traitlets.validate("selection")
    def _check_selection(self, proposal: dict[str, Any]) -> list[int]:
        last = self._meta["samples"] - 1
        if wrong := [sample for sample in proposal["value"] if not 0 <= sample <= last]:
            raise ConfigError(f"selection has sample {wrong[0]}; allowed are 0 to {last}")
        return proposal["value"]

    def _reply(self, _: Any, asked: dict[str, Any], __: list) -> None:
        """Draw the views of one sample at one epoch, for every run."""
        images, used, sample = [], [], int(asked["sample"])
        kept = self._meta["epochs"][int(asked["row"])]
        for history in self._histories:
            history.images = self._histories[0].images
            row = _epochs(history).index(kept)
            views, score = thumbnails.draw_views(history, np.array([sample]), row)
            images.append(thumbnails.webp(views, thumbnails.VIEWS))
            used.append(float(score[0]))
        self.send({"sample": sample, "row": int(asked["row"]), "used": used}, images)

    def table(self) -> pd.DataFrame:
        """The selection, one row a sample: position, class, group, and each run's last score."""
        chosen = np.array(self.selection, dtype=np.int64)
        first = self._histories[0]
        names, labels, counts, groups = first.classes()
        rows = pd.DataFrame({"sample": chosen}, index=range(len(chosen)))
        if first.index is not None:
            rows["position"] = first.index[chosen]
        if first.labels is not None:
            mine = labels[chosen]
            rows["class"] = [names[label] for label in mine]
            rows["size"], rows["group"] = counts[mine], [groups[label] for label in mine]
        for history in self._histories:
            rows[f"score, {history.label}"] = history.scores()[-1, chosen]
        return rows


def export_html(run: Any, path: str | Path, compare: Any = None) -> Path:
    """Write the explorer as one page that needs no network and no Python; returns its path."""
    meta, data, histories = payload(run, compare, views=True)
    title = html.escape(" and ".join(history.label for history in histories))
    text = PAGE.format(
        title=f"{title}: memorization explorer",
        meta=json.dumps(meta).replace("<", "\\u003c"),  # a class name must not end the script
        data=base64.b64encode(data).decode("ascii"),
        script=SCRIPT.read_text(encoding="utf-8"),
        style=STYLE.read_text(encoding="utf-8"),
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    store.write_bytes(path, text.encode("utf-8"))
    return path
