"""Small pictures of samples and of the views that a run had of them."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from ..data import splits
from ..data.stored import Stored
from ..pretrain.randomness import generator
from ..recipes import load_method
from ..views import make_views
from . import orders
from .history import History

QUALITY = 85  # of lossy WebP
STORED_SIDE = 64  # pixels of the photos whose views are drawn
VIEWED, VIEWS = 96, 8  # samples whose views a page holds, and so many views of each
TAIL_VIEWED = 64  # of them so many of few classes at most
END_VIEWED = 16  # of each order's first samples at most


def side(images: np.ndarray | Stored) -> int:
    """Pixels of a thumbnail's side: the image's own up to 32, 48 where there is room."""
    return min(images.shape[2], 48 if len(images) <= 5000 else 32)


def shrink(images: np.ndarray, side: int) -> np.ndarray:
    """uint8 [n, 3, H, W] to [n, side, side, 3]."""
    tiles = images.transpose(0, 2, 3, 1)
    if tiles.shape[1:3] == (side, side):
        return tiles
    size = (side, side)
    return np.stack(
        [np.asarray(Image.fromarray(t).resize(size, Image.Resampling.BOX)) for t in tiles]
    )


def webp(tiles: np.ndarray, columns: int) -> bytes:
    """Tiles [n, side, side, 3] as one picture file, row by row."""
    rows, side = -(-len(tiles) // columns), tiles.shape[1]
    canvas = np.zeros((rows * columns, side, side, 3), np.uint8)
    canvas[: len(tiles)] = tiles
    canvas = canvas.reshape(rows, columns, side, side, 3).swapaxes(1, 2)
    file = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(canvas.reshape(rows * side, columns * side, 3)))
    picture.save(file, "WEBP", quality=QUALITY, method=2)
    return file.getvalue()


def draw_views(
    history: History, samples: np.ndarray, row: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Views of some samples, steered by the scores of a kept epoch: those of the epoch after it.

    They are made as the run's own method makes them in training, by the same function, and boosted
    as the run boosts them.

    Args:
        history: what is known of a run, with images.
        samples: [S], 0 to N - 1.
        row: number of the kept epoch whose scores steer the boost; None for the views of epoch 1,
            before which all scores are 0.

    Returns:
        VIEWS views of each sample, uint8 [S * VIEWS, side, side, 3], and the scores [S] that
        steered them. A shuffled run gives a sample any other one's score, so this is one draw of
        many.
    """
    config, pictured = history.config, history.images
    assert config is not None and pictured is not None
    if isinstance(pictured, Stored):
        pictured = pictured.resized(STORED_SIDE)  # of photos a page shows small ones
    kinds = load_method(config.method).VIEWS
    number = int(samples[0]) + (0 if row is None else row + 1)
    draws = [generator(config.seed, name, number) for name in ("explorer", "explorer boost")]
    scores = torch.zeros(history.momentum_loss.shape[1])
    if row is not None and config.boost != "none":
        scores = torch.from_numpy(history.scores_after(row))
    views, steering = make_views(config, scores, draws, kinds, _rarity(history))

    used = steering[torch.from_numpy(samples)]
    times = -(-VIEWS // len(kinds))  # so often is a batch drawn, rounded up
    images = torch.from_numpy(pictured[np.repeat(samples, times)])
    drawn = views(images, used.repeat_interleave(times))
    by_sample = torch.stack(drawn, dim=1).unflatten(0, (len(samples), times)).flatten(1, 2)
    chosen = by_sample[:, :VIEWS].flatten(0, 1)  # [S * VIEWS, 3, H, W]
    tiles = (chosen * 255).round().byte().numpy()
    return shrink(tiles, side(pictured)), used.numpy()


def _rarity(history: History) -> torch.Tensor | None:
    """How rare each sample's class is, [N], where labels are known: an oracle boosts by it."""
    if history.labels is None:
        return None
    _, labels, counts, _ = history.classes()
    return torch.from_numpy(splits.rarity(labels, counts)).float()


def worth_seeing(histories: list[History]) -> np.ndarray:
    """VIEWED samples, or all: the hardest, then the tail's, the ends of each order, and the rest.

    Runs take turns; within the tail and among the rest the hardest come first.
    """
    first, hard = histories[0], []
    for history in histories:
        last = len(history.momentum_loss) - 1
        hard.append(
            orders.largest(orders.hardest(history.momentum_loss, last), len(first.groups()))
        )
    few = first.groups() == "few"
    tail = _in_turn([order[few[order]] for order in hard])
    found = [hard[0][:1], tail[:TAIL_VIEWED], _in_turn(_ends(histories)), _in_turn(hard)]
    together = np.concatenate(found).astype(int).tolist()
    return np.array(list(dict.fromkeys(together))[:VIEWED])


def _ends(histories: list[History]) -> list[np.ndarray]:
    """The first samples of each order, in every run."""
    ends = []
    for history in histories:
        loss = history.momentum_loss
        last = len(loss) - 1
        keys = [orders.hardest(loss, last), orders.easiest(loss, last)]
        keys += [orders.falling(loss, last), orders.wandering(loss)]
        ends += [orders.largest(key, END_VIEWED) for key in keys]
    return ends


def _in_turn(lists: list[np.ndarray]) -> np.ndarray:
    """The first of each list, then the second of each, and so on; each sample once."""
    longest = max(map(len, lists))
    turns = [part[at] for at in range(longest) for part in lists if at < len(part)]
    return np.array(list(dict.fromkeys(turns)), dtype=int)
