"""The explorer as a live widget in a notebook."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import traitlets
from IPython.display import Image, display

from ..errors import ConfigError
from . import bundle, orders, pictures, still
from .payload import draw_row, payload

SORTS = ("hardest", "easiest", "falling", "wandering", "learnt", "difference", "near")


class Whole(traitlets.Int):
    """A whole number, NumPy's too."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Python's int of it."""
        return super().validate(obj, None if value is None else _whole(value, self.name))


class Samples(traitlets.List):
    """Sample numbers: a list, an array, or any other iterable of whole numbers."""

    def validate(self, obj: Any, value: Any) -> Any:
        """A list of Python's ints of it."""
        if not isinstance(value, Iterable):
            raise ConfigError(f"{self.name} is {value!r}; allowed is a list of sample numbers")
        return super().validate(obj, [_whole(sample, self.name) for sample in value])


def _whole(value: Any, name: str | None) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ConfigError(f"{name} has {value!r}; allowed are whole numbers") from None


class Explorer(anywidget.AnyWidget):
    """The explorer in a notebook. What is shown can be read and set, in both directions.

    Args:
        run: a `Run`, a run's folder, or what `from_arrays` gives.
        compare: another run of the same split, shown beside it.

    Attributes:
        selection: the selected samples, 0 to N - 1; lists and arrays are taken.
        focus: the chosen sample, or None.
        epoch: the epoch after which everything is shown, one of those kept.
        sort: the order of the list, one of "hardest", "easiest", "falling", "wandering", "learnt",
            "difference" (two runs) and "near" (runs with weights or features).
    """

    _esm = bundle.script()
    _css = bundle.style()
    _meta = traitlets.Dict().tag(sync=True)
    _data = traitlets.Bytes().tag(sync=True)
    selection = Samples(traitlets.Int()).tag(sync=True)
    focus = Whole(allow_none=True, default_value=None).tag(sync=True)
    epoch = Whole().tag(sync=True)
    sort = traitlets.Unicode("hardest").tag(sync=True)

    def __init__(self, run: Any, compare: Any = None) -> None:
        meta, data, self._histories = payload(run, compare)
        last = self._histories[0].kept.index(meta["epochs"][-1])
        hardest = orders.largest(orders.hardest(self._histories[0].momentum_loss, last), 1)
        focus = int(hardest[0]) if len(hardest) else 0
        super().__init__(_meta=meta, _data=data, epoch=meta["epochs"][-1], focus=focus)
        self.on_msg(self._reply)

    @traitlets.validate("selection")
    def _check_selection(self, proposal: dict[str, Any]) -> list[int]:
        samples: list[int] = proposal["value"]
        for sample in samples:
            self._check_sample(sample, "selection")
        return samples

    @traitlets.validate("focus")
    def _check_focus(self, proposal: dict[str, Any]) -> int | None:
        sample: int | None = proposal["value"]
        if sample is not None:
            self._check_sample(sample, "focus")
        return sample

    def _check_sample(self, sample: int, name: str) -> None:
        last = self._meta["samples"] - 1
        if not 0 <= sample <= last:
            raise ConfigError(f"{name} has sample {sample}; allowed are 0 to {last}")

    @traitlets.validate("epoch")
    def _check_epoch(self, proposal: dict[str, Any]) -> int:
        epoch: int = proposal["value"]
        shown = self._meta["epochs"]
        if epoch not in shown:
            nearest = min(shown, key=lambda other: abs(other - epoch))
            raise ConfigError(f"epoch is {epoch}, which is not shown; the nearest is {nearest}")
        return epoch

    @traitlets.validate("sort")
    def _check_sort(self, proposal: dict[str, Any]) -> str:
        sort: str = proposal["value"]
        allowed = self._sorts()
        if sort not in allowed:
            raise ConfigError(f"sort is {sort!r}; allowed here are {', '.join(allowed)}")
        return sort

    def _sorts(self) -> list[str]:
        """The orders that these runs have."""
        missing = set()
        if len(self._histories) < 2:
            missing.add("difference")
        runs = range(len(self._histories))
        if not all(f"neighbours{number}" in self._meta["arrays"] for number in runs):
            missing.add("near")
        return [name for name in SORTS if name not in missing]

    def _ipython_display_(self) -> None:
        """Show the widget, and before it a picture that it hides as soon as it is alive.

        The picture is what a saved notebook, GitHub and nbconvert have of it.
        """
        picture = still.png(self._histories, self.epoch)
        display(Image(picture, metadata={"alt": "map and loss curves of the explorer's runs"}))
        found = self._repr_mimebundle_()
        assert found is not None  # only a class without a front end has none
        display(found[0], raw=True)

    def _reply(self, _: Any, asked: dict[str, Any], __: list) -> None:
        """Draw the views of one sample, for every run."""
        images, used, sample, row = [], [], int(asked["sample"]), int(asked["row"])
        for history in self._histories:
            views, score = draw_row(history, self._meta, row, np.array([sample]))
            images.append(pictures.webp(views, pictures.VIEWS))
            used.append(float(score[0]))
        self.send({"sample": sample, "row": row, "used": used}, images)

    def table(self, first: int | None = None) -> pd.DataFrame:
        """The selection as a table, one row a sample; or the first samples of the list.

        Args:
            first: None for the selection, as it is ordered; a number for so many samples of the
                list, in the order `sort` at `epoch`, of the first run.

        Returns:
            sample, position, class, size, group; and for each run the score and the loss after
            `epoch`, and the epoch in which the sample was learnt; last what the list is ordered by.
        """
        key = self._key()
        if first is None:
            chosen = np.array(self.selection, dtype=np.int64)
        else:
            chosen = orders.largest(key, first)
        rows = self._about_samples(chosen)
        for history in self._histories:
            shown = self._rows(history)
            loss, now = history.momentum_loss[shown], shown[self._row()]
            learnt = orders.learnt(loss, self._histories[0].groups(), self._meta["epochs"])
            rows[f"score, {history.label}"] = history.scores_after(now)[chosen]
            rows[f"loss, {history.label}"] = history.momentum_loss[now, chosen].astype(np.float32)
            rows[f"learnt in epoch, {history.label}"] = learnt[chosen]
        rows[self.sort] = key[chosen]
        return rows

    def _about_samples(self, chosen: np.ndarray) -> pd.DataFrame:
        first = self._histories[0]
        names, labels, counts, groups = first.classes()
        rows = pd.DataFrame({"sample": chosen}, index=range(len(chosen)))
        if first.index is not None:
            rows["position"] = first.index[chosen]
        if first.labels is not None:
            mine = labels[chosen]
            rows["class"] = [names[label] for label in mine]
            rows["size"] = counts[mine]
            rows["group"] = [groups[label] for label in mine]
        return rows

    def _row(self) -> int:
        row: int = self._meta["epochs"].index(self.epoch)
        return row

    def _rows(self, history: Any) -> list[int]:
        """The rows of a history that are shown."""
        return [history.kept.index(epoch) for epoch in self._meta["epochs"]]

    def _key(self) -> np.ndarray:
        """What the list is ordered by, [N], in the first run."""
        first, row = self._histories[0], self._row()
        shown = self._rows(first)
        loss = first.momentum_loss[shown]
        if self.sort == "learnt":
            return orders.learnt(loss, first.groups(), self._meta["epochs"])
        if self.sort == "difference":
            return self._difference(row)
        if self.sort == "near":
            return self._nearness()
        if self.sort == "wandering":
            return orders.wandering(loss)
        return {
            "hardest": orders.hardest,
            "easiest": orders.easiest,
            "falling": orders.falling,
        }[self.sort](loss, row)

    def _difference(self, row: int) -> np.ndarray:
        """How far apart the scores of both runs are, [N]; NaN where one has not seen a sample."""
        scores = []
        for history in self._histories:
            kept = self._rows(history)[row]
            unseen = np.isnan(history.momentum_loss[kept])
            scores.append(np.where(unseen, np.nan, history.scores_after(kept)))
        return np.abs(scores[1] - scores[0])

    def _nearness(self) -> np.ndarray:
        """0 for the chosen sample, -1 for its nearest neighbour, and so on, [N]; NaN beyond."""
        key = np.full(self._meta["samples"], np.nan)
        if self.focus is None:
            return key
        start, length = self._meta["arrays"]["neighbours0"]
        found = np.frombuffer(self._data[start : start + length], np.int32)
        nearest = found.reshape(-1, orders.NEIGHBOURS)[self.focus]
        nearest = nearest[nearest >= 0]
        key[nearest] = -np.arange(1, len(nearest) + 1)
        key[self.focus] = 0
        return key
