"""Where the images of a batch come from: a tensor on the device, or files that are decoded ahead.

The step asks for `images[rows]` and knows no more. From a tensor it gets whole images, whose views
crop them on the device; from files it gets the crops of all views, made while it computed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from ..config import RunConfig
from ..data.stored import Stored
from ..views import Cut, draw_crops

AHEAD = 3  # batches that are decoded before they are asked for
Step = tuple[Tensor, float]  # index [B] and learning rate


class Decoded:
    """Crops of stored images: those of the next batches are made while the device computes.

    Args:
        stored: the images of the run.
        config: says how small a crop may be.
        views: V, how many crops of an image a batch needs.
        cut: this rank's rows of a batch.
        device: that the crops are for.
    """

    current: Tensor  # the crops of the batch that `ahead` has just named

    def __init__(
        self, stored: Stored, config: RunConfig, views: int, cut: Cut, device: torch.device
    ) -> None:
        self.stored = stored
        self.config = config
        self.views = views
        self.cut = cut
        self.device = device
        self.heights = torch.from_numpy(stored.heights)
        self.widths = torch.from_numpy(stored.widths)

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, index: Tensor) -> Tensor:
        """The crops uint8 [b, V, 3, S, S] of the present batch, whose rows these are."""
        return self.current

    def ahead(self, steps: Iterator[Step], draw: torch.Generator) -> Iterator[Step]:
        """The same steps; the crops of those that follow are made meanwhile, in their order."""
        waiting: deque[tuple[Step, Future[np.ndarray]]] = deque()
        with ThreadPoolExecutor(1) as maker:  # it has threads of its own for the images
            for step in steps:
                waiting.append((step, maker.submit(self.stored.crops, *self._draw(step[0], draw))))
                if len(waiting) > AHEAD:
                    yield self._next(waiting)
            while waiting:
                yield self._next(waiting)

    def _next(self, waiting: deque[tuple[Step, Future[np.ndarray]]]) -> Step:
        step, crops = waiting.popleft()
        made = torch.from_numpy(crops.result())
        self.current = made.to(self.device)
        return step

    def _draw(self, index: Tensor, draw: torch.Generator) -> Sequence[np.ndarray]:
        """Index [b], boxes [b, V, 4] and flips [b, V] of this rank's rows; all ranks draw alike."""
        index = index.cpu()
        heights = self.heights[index].repeat_interleave(self.views)
        widths = self.widths[index].repeat_interleave(self.views)
        boxes, flips = draw_crops(heights, widths, self.config.crop_from, draw)
        rows = self.cut(len(index))
        boxes = boxes.view(len(index), self.views, 4)[rows]
        flips = flips.view(len(index), self.views)[rows]
        return index[rows].numpy(), boxes.numpy(), flips.numpy()

    def whole(self, index: Tensor) -> Tensor:
        """Images uint8 [b, 3, S, S], each a square from its middle, on the device."""
        return torch.from_numpy(self.stored[index.cpu().numpy()]).to(self.device)


Images = Tensor | Decoded


def on_device(
    images: np.ndarray | Stored, config: RunConfig, views: int, cut: Cut, device: torch.device
) -> Images:
    """The images of a run for its device: all of them as a tensor, or decoded as they are needed.

    Arguments are those of `Decoded`.
    """
    if isinstance(images, Stored):
        return Decoded(images, config, views, cut, device)
    return torch.from_numpy(images).to(device)


def ahead(images: Images, steps: Iterator[Step], draw: torch.Generator) -> Iterator[Step]:
    """The steps of an epoch; what they need of stored images is made before they come."""
    if isinstance(images, Decoded):
        return images.ahead(steps, draw)
    return steps


def whole(images: Images, index: Tensor) -> Tensor:
    """Some images uint8 [b, 3, H, W] as they are, without a random crop."""
    if isinstance(images, Decoded):
        return images.whole(index)
    return images[index]
