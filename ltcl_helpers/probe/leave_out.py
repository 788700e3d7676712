"""The truth behind the score: how much a sample's loss rises when training leaves it out.

That is memorization as the field defines it (Feldman 2020; Wang et al. 2024 for self-supervision):
many runs learn from random parts of one split, and every sample's loss is measured by all of them,
by the same views and negatives, with the sample in and out. The mean of those without it minus the
mean of those with it is its memorization.

    leave_out.measure(config, number, path)   # one run; experiments/leave_out.py makes all
    loss, inside = leave_out.read(folder, "long-tail")
    leave_out.memorization(loss, inside)      # [N]
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import files
from ..config import RunConfig
from ..data import splits
from ..data.stored import Stored
from ..errors import ConfigError
from ..pretrain import AIMS, clean_loss, generator, pretrain
from ..runs import Run, git_commit, version
from ..runs.run import HEAD

LEFT_OUT = 3  # tenths of the split that a run does not learn from
DRAWS = 8  # pairs of views that a loss is averaged over


def measure(config: RunConfig, number: int, path: Path) -> None:
    """Train on a random part of the split and keep every sample's loss; done once, it stays.

    Args:
        config: the split, and the seed of the views; the run's own seed is `number`.
        number: of the part, from 0. Part -1 is the whole split: its momentum losses are kept, too,
            and what the other aims say.
        path: an .npz of float16 arrays: loss [N], inside bool [N]; of the whole split also
            momentum_loss [epochs, N], untrained [N] and one array of each aim. Its "about" says
            how it was made.
    """
    if path.exists():
        return
    inputs = splits.select(config)
    if isinstance(inputs.images, Stored):
        raise ConfigError(f"leaving samples out needs images in memory; {config.data} is in files")
    inside = part(len(inputs.labels), number, config.drawn_with)
    seed = config.seed if number < 0 else number
    own = config.model_copy(update={"seed": seed, "split_seed": config.drawn_with})
    run = pretrain(own, inputs=restrict(inputs, inside))
    found = {"loss": losses(run, inputs, config.seed)}
    if number < 0:
        found |= other_scores(run, inputs, config.seed)
    kept = {name: values.half().numpy() for name, values in found.items()}
    about = {"config": own.model_dump(), "part": number, "commit": git_commit()}
    about |= {"torch": version("torch"), "views": config.seed}
    told = np.array(json.dumps(about))
    files.write_npz(path, inside=inside, labels=inputs.labels, about=told, **kept)


def part(samples: int, number: int, seed: int) -> np.ndarray:
    """Which samples the run of this number learns from, bool [N]: 70 % by chance, or all for -1.

    Of each ten runs (0 to 9, 10 to 19, ...) every sample is left out by three.
    """
    if number < 0:
        return np.ones(samples, bool)
    ten, place = divmod(number, 10)
    tenth = np.random.default_rng([seed, 2, ten]).permutation(np.arange(samples) % 10)
    inside: np.ndarray = (tenth - place) % 10 >= LEFT_OUT
    return inside


def restrict(inputs: splits.Inputs, inside: np.ndarray) -> splits.Inputs:
    """What a run learns from when these samples [N] alone are left; the groups stay."""
    labels = inputs.labels[inside]
    counts = np.bincount(labels, minlength=len(inputs.class_counts))
    return splits.Inputs(
        inputs.images[inside], labels, inputs.index[inside], counts, inputs.group_counts
    )


@torch.no_grad()
def losses(run: Run, inputs: splits.Inputs, seed: int) -> Tensor:
    """Every sample's loss [N] by the run's networks; views and negatives depend on `seed` alone."""
    images = torch.from_numpy(inputs.images)
    return clean_loss(run.encoder, run.network(HEAD), images, _draw(seed), DRAWS)


@torch.no_grad()
def other_scores(run: Run, inputs: splits.Inputs, seed: int) -> dict[str, Tensor]:
    """What may stand for memorization: momentum losses, an untrained network's loss, all aims."""
    fresh = RunConfig(**run.config.model_dump() | {"epochs": 0})
    untrained = pretrain(fresh, inputs=inputs)
    found = {"momentum_loss": run.momentum_loss, "untrained": losses(untrained, inputs, seed)}
    images = torch.from_numpy(inputs.images)
    for name, aim in AIMS.items():
        found[name] = aim(run.encoder, run.network(HEAD), images, _draw(seed))
    return found


def _draw(seed: int) -> torch.Generator:
    return generator(seed, "leave out", 0)


def read(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Losses float32 [R, N] of the R parts there, and which samples each learnt from, bool [R, N].

    The files are NAME-00.npz, NAME-01.npz, ...
    """
    found = [files.read_npz(path) for path in sorted(folder.glob(f"{name}-[0-9]*.npz"))]
    if not found:
        raise ConfigError(f"{folder} holds no {name}-00.npz; next: experiments/leave_out.py")
    loss = np.stack([arrays["loss"] for arrays in found]).astype(np.float32)
    return loss, np.stack([arrays["inside"] for arrays in found])


def memorization(loss: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """How much each sample's loss rises when it is left out, [N].

    Args:
        loss: [R, N], by run and sample.
        inside: bool [R, N], whether the run learnt from the sample.

    Raises:
        ValueError: for samples that no run left out, or none learnt from.
    """
    _, with_it, without_it = _levels(loss, inside)
    difference: np.ndarray = without_it - with_it
    return difference


def rise(loss: np.ndarray, inside: np.ndarray, which: np.ndarray | None = None) -> np.ndarray:
    """How much more the samples that a run left out cost it than those it learnt from, [R].

    A sample's own level is taken off first, so it does not matter which ones a run left out. Over
    the runs the mean is the memorization of these samples, and the spread tells how well it is
    known: much better than that of any single sample.

    Args:
        loss: [R, N], by run and sample.
        inside: bool [R, N], whether the run learnt from the sample.
        which: bool [N], the samples that are asked for, e.g. those of a group; all if None. Each
            run must have learnt from some of them and left out some.
    """
    relative, with_it, without_it = _levels(loss, inside)
    relative = relative - (with_it + without_it) / 2
    asked = np.ones(loss.shape[1], bool) if which is None else which
    out, learnt = asked & ~inside, asked & inside  # [R, N]
    means = [(relative * part).sum(axis=1) / part.sum(axis=1) for part in (out, learnt)]
    difference: np.ndarray = means[0] - means[1]
    return difference


def _levels(loss: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses [R, N] without their runs' means; each sample's mean [N] with it in, and without."""
    learnt = inside.sum(axis=0)
    left_out = len(inside) - learnt
    unknown = (learnt == 0) | (left_out == 0)
    if unknown.any():
        raise ValueError(
            f"{unknown.sum()} of {len(unknown)} samples are in all runs or in none; make more runs"
        )
    # Runs differ in the level of all their losses, which is no sample's memorization.
    loss = loss - loss.mean(axis=1, keepdims=True)
    return loss, (loss * inside).sum(axis=0) / learnt, (loss * ~inside).sum(axis=0) / left_out


def halves(loss: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Memorization by the first half of the runs and by the second: its reliability.

    Of a multiple of 20 runs, so that every sample is left out as often in both.
    """
    middle = len(loss) // 2
    first = memorization(loss[:middle], inside[:middle])
    return first, memorization(loss[middle:], inside[middle:])
