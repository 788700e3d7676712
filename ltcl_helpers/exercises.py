"""Checks of students' answers, one for each exercise; lessons 00 to 03 here.

Each takes the answer alone and brings its own data, so that it can be asked in a lesson, after Run
All, or by `ltcl grade` in another process. The text of a decorator is a hint; what follows it are
common mistakes, which the tests find.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from . import encoders, losses, pruning, splits
from .checking import check, compare, exercise, judge, require, summary
from .config import RunConfig
from .exercises_explore import check_changes, check_hard_head, check_learnt_late
from .exercises_later import (
    check_auroc,
    check_balancedness,
    check_boost_strength,
    check_list_without_overlap,
    check_memorization_score,
    check_momentum_loss,
    check_posterize,
    check_reversed_control,
    check_seeds_needed,
)
from .exercises_more import (
    check_class_weight,
    check_compensation,
    check_info_nce,
    check_ring,
    check_simplex_cosine,
)
from .exercises_report import check_interval, check_pair_means, check_smallest_difference

__all__ = [
    "check",
    "check_auroc",
    "check_balancedness",
    "check_boost_strength",
    "check_changes",
    "check_class_weight",
    "check_compensation",
    "check_hard_head",
    "check_info_nce",
    "check_interval",
    "check_learnt_late",
    "check_list_without_overlap",
    "check_memorization_score",
    "check_momentum_loss",
    "check_pair_means",
    "check_posterize",
    "check_reversed_control",
    "check_ring",
    "check_seeds_needed",
    "check_simplex_cosine",
    "check_smallest_difference",
    "judge",
    "summary",
]

# --- 00 start here --------------------------------------------------------------------------


@exercise(
    "a batch that was started is a batch: divide and round up, once per epoch.",
    "rounding down",
    "`samples // batch_size + 1`, one too many where the batches come out even",
    "rounding up once over all epochs together",
)
def check_updates(answer: Callable[[int, int, int], int]) -> None:
    """Updates of a run; `answer(samples, batch_size, epochs)`."""
    for samples, batch, epochs in ((9754, 512, 2000), (1024, 512, 3), (100, 512, 5), (1001, 10, 7)):
        name = f"{samples} samples, batch {batch}, epochs {epochs}"
        compare(name, answer(samples, batch, epochs), math.ceil(samples / batch) * epochs)


@exercise(
    "standardise with the bank's mean and deviation, compare cosines, return a fraction.",
    "cosines of features that were not standardised",
    "the second neighbour, or a vote of several",
    "percent instead of a fraction",
)
def check_neighbour_accuracy(answer: Callable[[Tensor, Tensor, Tensor, Tensor], float]) -> None:
    """Nearest-neighbour accuracy; `answer(bank, bank_labels, queries, true)` is a fraction."""
    for seed in (1, 2):
        draw = torch.Generator().manual_seed(seed)
        scale = torch.tensor([1.0, 1, 1, 60, 1])  # one loud coordinate that knows nothing
        labels = torch.arange(120) % 4
        centres = 1.3 * torch.randn(4, 5, generator=draw)
        features = (centres[labels] + torch.randn(120, 5, generator=draw)) * scale + 20
        bank, queries = features[:60], features[60:] + 3  # shifted: own statistics would differ
        a, b = ((x - bank.mean(0)) / bank.std(0) for x in (bank, queries))
        cosine = nn.functional.cosine_similarity(b[:, None], a[None], dim=2)  # [60, 60]
        expected = (labels[:60][cosine.argmax(1)] == labels[60:]).double().mean()
        got = answer(bank.clone(), labels[:60], queries.clone(), labels[60:])
        compare("accuracy of 60 queries", got, expected, 1e-4)


@exercise(
    "count pairs (true, guessed) with true != guessed, and take the largest single count.",
    "the most frequent true class and the most frequent guess, each on its own",
    "(guessed, true) instead of (true, guessed)",
    "both directions of a pair added up, or right answers counted",
)
def check_worst_confusion(answer: Callable[[np.ndarray, np.ndarray], tuple[int, int]]) -> None:
    """The most frequent mistake; `answer(guess, labels)` gives (true class, guessed class)."""
    pairs = {(0, 1): 2, (0, 2): 2, (0, 3): 2, (1, 4): 3, (2, 4): 1, (3, 2): 2, (2, 3): 2, (5, 5): 9}
    for shift, winner in ((0, (1, 4)), (1, (2, 5))):
        labels, guess = np.array([p for p, n in pairs.items() for _ in range(n)]).T
        mixed = np.random.default_rng(shift).permutation(len(labels))
        got = answer((guess[mixed] + shift) % 6, (labels[mixed] + shift) % 6)
        compare("(true class, guessed class)", got, winner)


# --- 01 long-tail data ----------------------------------------------------------------------


@exercise(
    "largest / imbalance ** (r / (classes - 1)), cut off once, at the end; a product over the "
    "ranks adds up rounding errors.",
    "rounding instead of cutting off",
    "r / classes instead of r / (classes - 1)",
    "the same factor again and again (`np.cumprod`)",
)
def check_class_sizes(answer: Callable[[int, int, float], list[int]]) -> None:
    """The class-size law; `answer(largest, classes, imbalance)`, largest first."""
    for call in ((450, 100, 100.0), (900, 12, 100.0), (60, 5, 10.0), (60, 12, 10.0)):
        compare(f"class sizes {call}", answer(*call), splits.class_sizes(*call))


@exercise(
    "a stable sort, smallest first, cut at C // 3 and 2 * (C // 3), the rest is many; sorted ids.",
    "what is left over goes to the few classes",
    "ties broken the other way (sorted largest first)",
    "ids left in the order of size",
)
def check_groups(answer: Callable[[np.ndarray], dict[str, np.ndarray]]) -> None:
    """Many, medium, few by thirds; `answer(counts)` gives sorted class ids by name."""
    for classes in (10, 12, 100):
        counts = np.random.default_rng(classes).integers(1, 12, classes)
        got = answer(counts.copy())
        for name, ids in splits.groups(counts).items():
            require(name in got, f"{classes} classes: the group {name!r} is missing")
            compare(f"{name} of {classes} classes", got[name], ids)


@exercise(
    "the first image of each class in S_b is where that class begins in D_i.",
    "the block of the last class forgotten",
    "counting images that are in both lists",
    "dividing positions, which works only where images lie class after class",
)
def check_counts_of_a_list(answer: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> None:
    """Class sizes from two lists; `answer(d_i, s_b, classes)`, in the order of the classes."""
    for classes, largest, shots in ((12, 300, 3), (10, 90, 1)):
        draw = np.random.default_rng(classes)
        labels = draw.permutation(np.repeat(np.arange(classes), 400))
        sizes = splits.class_sizes(largest, classes, 20.0)
        d_i, s_b = splits.long_tail(labels, sizes, 5), splits.few_shot(labels, shots, 5)
        got = answer(d_i.copy(), s_b.copy(), classes)
        compare(f"{classes} classes", got, np.bincount(labels[d_i], minlength=classes))


# --- 02 SimCLR ------------------------------------------------------------------------------


@exercise(
    "unit vectors, 2B - 1 candidates without the anchor itself, the mean of both anchors.",
    "the anchor among its own candidates",
    "only the other view's B images as candidates",
    "the loss of one anchor instead of the mean of both, or no temperature",
)
def check_nt_xent(answer: Callable[..., Tensor]) -> None:
    """NT-Xent on random projections; `answer(first, second, temperature)` gives [B]."""
    draw = torch.Generator().manual_seed(7)
    for size, temperature in ((2, 0.5), (8, 0.2)):
        first, second = torch.randn(2, size, 16, generator=draw, dtype=torch.float64)
        expected = losses.nt_xent(first, second, temperature)
        got = answer(first.clone(), second.clone(), temperature)
        compare(f"NT-Xent of {size} samples", got, expected, 1e-5)


@exercise(
    "softmax of the cosines over the temperature, then the sum of its M // 10 largest.",
    "the first tenth as given, not the most similar",
    "no temperature",
    "shares of cosines, without the softmax",
)
def check_hardest_tenth(answer: Callable[[Tensor, float], float]) -> None:
    """The hardest tenth's share of the push; `answer(negatives, temperature)`, negatives [M]."""
    draw = torch.Generator().manual_seed(8)
    for count, temperature in ((20, 0.2), (37, 0.05), (37, 1.0)):
        cosines = 2 * torch.rand(count, generator=draw, dtype=torch.float64) - 1
        weights = sorted((math.exp(c / temperature) for c in cosines.tolist()), reverse=True)
        expected = sum(weights[: count // 10]) / sum(weights)
        name = f"{count} negatives, temperature {temperature}"
        compare(name, answer(cosines.clone(), temperature), expected, 1e-4)


@exercise(
    "g / W before W; from W on half a cosine from 1 down to the floor; g counts from 1.",
    "counting updates from 0",
    "no floor at the end",
    "a straight line instead of half a cosine",
)
def check_lr_factor(answer: Callable[[int, int, int, float], float]) -> None:
    """The learning rate's factor; `answer(update, updates, warmup, floor)`."""
    for updates, warmup, floor in ((40, 5, 1e-3), (12, 0, 0.1)):
        for g in range(1, updates + 1):
            half = 0.5 * (1 + math.cos(math.pi * (g - warmup) / (updates - warmup)))
            expected = g / warmup if g < warmup else floor + (1 - floor) * half
            name = f"update {g} of {updates}, warm-up {warmup}, floor {floor}"
            compare(name, answer(g, updates, warmup, floor), expected)


# --- 03 SDCLR and pruning -------------------------------------------------------------------


@exercise(
    "one threshold for all layers, at place min(ceil(p P), P - 1); what ties with it stays.",
    "a threshold for each layer",
    "`>` instead of `>=`, which drops a tie",
    "rounding p P down",
)
def check_magnitude_mask(answer: Callable[..., dict[str, Tensor]]) -> None:
    """Masks over all layers together; `answer(weights, fraction)` gives a bool tensor per name."""
    draw = torch.Generator().manual_seed(5)
    weights = {"wide": torch.randn(4, 3, 3, 3, generator=draw), "flat": torch.ones(2, 5)}
    weights["narrow"] = 0.2 * torch.randn(7, generator=draw)
    total = sum(weight.numel() for weight in weights.values())
    below = sum(int((weight.abs() < 1).sum()) for weight in weights.values())
    tie = (below + 4.5) / total  # the threshold is one of the ten equal weights
    for fraction in (0.0, tie, 0.504, 0.9, 1.0):
        masks = answer({name: weight.clone() for name, weight in weights.items()}, fraction)
        for name, expected in pruning.magnitude_masks(weights, fraction).items():
            require(name in masks, f"fraction {fraction:.2f}: no mask of {name!r}")
            compare(f"mask of {name!r}, fraction {fraction:.2f}", masks[name], expected)


@exercise(
    "math.erfc(t / (sigma * sqrt(2))): both tails.",
    "one tail only",
    "`erf`, the share that goes",
    "sqrt(2) forgotten",
)
def check_density(answer: Callable[[float, float], float]) -> None:
    """The share of normal weights that stays; `answer(sigma, threshold)`."""
    for sigma, threshold in ((0.02, 0.03), (0.1, 0.03), (0.03, 0.03), (1.0, 0.0)):
        expected = 2 * stats.norm.sf(threshold / sigma)
        compare(f"sigma {sigma}, threshold {threshold}", answer(sigma, threshold), expected, 1e-3)


@exercise(
    "copy first; one magnitude mask over all convolutions of the copy; nothing else changes.",
    "pruning the encoder that was handed in",
    "a threshold for each layer, or weights drawn by chance",
    "dropping the largest weights",
)
def check_thinned(answer: Callable[[nn.Module, float], nn.Module]) -> None:
    """A pruned copy; `answer(encoder, fraction)` gives an encoder, and leaves the first whole."""
    encoder = encoders.build(RunConfig(preset="tiny", width=4))
    whole = copy.deepcopy(encoder.state_dict())
    for fraction in (0.0, 0.5, 0.9):
        thin = answer(encoder, fraction)
        require(isinstance(thin, nn.Module), f"got a {type(thin).__name__}, expected an encoder")
        same = all(torch.equal(now, whole[n]) for n, now in encoder.state_dict().items())
        require(same, f"fraction {fraction}: the encoder that was handed in has changed")
        masks = pruning.magnitude_masks(pruning.prunable(encoder), fraction)
        for name, value in thin.state_dict().items():
            expected = whole[name] * masks[name] if name in masks else whole[name]
            compare(f"{name}, fraction {fraction}", value, expected)
