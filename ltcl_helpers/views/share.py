"""Which images of a batch are at hand: all, or one rank's rows of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

Parameters = TypeVar("Parameters", bound=tuple)


class Share(NamedTuple):
    """Rows of a batch of `total` images; random numbers are drawn for all of it on every rank."""

    total: int
    rows: slice

    def of(self, drawn: Parameters) -> Parameters:
        """The same named tuple of tensors [total, ...], with these rows of each."""
        return type(drawn)(*(field[self.rows] for field in drawn))


Cut = Callable[[int], slice]  # the size of a batch to this rank's rows of it


def whole(total: int) -> slice:
    """All rows: the cut of a single rank."""
    return slice(0, total)
