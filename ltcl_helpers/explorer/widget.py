"""The explorer as a live widget in a notebook."""

from __future__ import annotations

from typing import Any

import anywidget
import numpy as np
import pandas as pd
import traitlets

from ..errors import ConfigError
from . import pictures
from .payload import SCRIPT, STYLE, payload


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
            row = history.kept.index(kept)
            views, score = pictures.draw_views(history, np.array([sample]), row)
            images.append(pictures.webp(views, pictures.VIEWS))
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
