"""Checks of the exercises from lesson 04 on; lessons reach them through `exercises`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch import Tensor

from . import boost, memory, probe, views
from .checking import compare, exercise, require

# --- 04 memorization ------------------------------------------------------------------------


@exercise(
    "epoch s > 1 weighs (1 - beta) beta ** (t - s), epoch 1 weighs beta ** (t - 1); they add to 1.",
    "the first epoch weighed like all others",
    "beta and 1 - beta exchanged",
    "the plain mean",
)
def check_momentum_loss(answer: Callable[[list[float], float], float]) -> None:
    """The momentum loss of one sample; `answer(losses, beta)` gives its last value."""
    for series in ([4.0, 3.0, 3.5, 1.0], [2.5]):
        for beta in (0.9, 0.5, 0.0):
            kept = memory.MomentumLoss(1, beta, dtype=torch.float64)
            for loss in series:
                kept.update(torch.tensor([0]), torch.tensor([loss], dtype=torch.float64))
            name = f"{len(series)} epochs, beta {beta}"
            compare(name, answer(list(series), beta), kept.value.item())


@exercise(
    "minus the mean, over the largest distance from it, then (1 + z) / 2; 0.5 for equal losses.",
    "from the smallest to the largest loss (min-max)",
    "the largest loss instead of the largest distance",
    "0 / 0 when all losses are equal",
)
def check_memorization_score(answer: Callable[[np.ndarray], np.ndarray]) -> None:
    """Memorization scores; `answer(losses)` takes and gives [N], equal losses give 0.5."""
    draw = np.random.default_rng(5)
    for size in (2, 9, 40):
        series = 9 - draw.gamma(2, 1, size)  # the farthest one is not always the largest
        expected = memory.memorization_score(torch.from_numpy(series))
        compare(f"scores of {size} images", answer(series.copy()), expected)
    compare("scores of equal losses", answer(np.full(4, 3.0)), np.full(4, 0.5))


@exercise(
    "the mean over all pairs of a positive and another: 1 if larger, 0.5 for a tie.",
    "ties that count nothing, or one",
    "negative and positive exchanged",
    "the accuracy at one threshold",
)
def check_auroc(answer: Callable[[np.ndarray, np.ndarray], float]) -> None:
    """The AUROC, without and with ties; `answer(values, positive)`, [N] and bool [N]."""
    draw = np.random.default_rng(6)
    for name, values in (("distinct", draw.random(40)), ("tied", draw.integers(4, size=40))):
        positive = draw.random(40) < 0.3
        expected = roc_auc_score(positive, values)
        compare(f"AUROC of {name} values", answer(values.copy(), positive.copy()), expected)


# --- 05 boosted views -----------------------------------------------------------------------


@exercise(
    "zeta = 0, 1/2 and 1; only the code's rule with k = 1 has no zeta.",
    "the floor of k = 1 for every k",
    "a floor in the paper's rule",
    "the highest strength as the mean",
)
def check_boost_strength(answer: Callable[[float, int, str], tuple[float, float, float]]) -> None:
    """Strengths at a score; `answer(score, k, rule)` gives the lowest, the mean and the highest."""
    draw = torch.Generator().manual_seed(6)
    for k, rule in ((1, "code"), (2, "code"), (3, "code"), (2, "paper")):
        for score in (0.0, 0.5, 1.0):
            scores = torch.full((200_000,), score, dtype=torch.float64)
            drawn = views.boost_strength(scores, k, rule, draw)[0]
            expected = [drawn.min(), drawn.mean(), drawn.max()]
            compare(f"{rule} rule, k {k}, score {score}", answer(score, k, rule), expected, 0.03)


@exercise(
    "keep int(4 + 4 m / 30) bits: divide whole grey levels by 2 ** (8 - bits), floor, multiply.",
    "rounding to the nearest level instead of dropping the low bits",
    "the range read backwards: fewer bits for a larger strength",
    "bits of a number in [0, 1] instead of a grey level",
)
def check_posterize(answer: Callable[[Tensor, float], Tensor]) -> None:
    """Posterize; `answer(image, strength)`, image [3, H, W] in [0, 1] in and out."""
    draw = torch.Generator().manual_seed(9)
    image = torch.randint(256, (3, 8, 8), generator=draw) / 255
    code = torch.tensor([[boost.CODE["Posterize"]]])
    chosen = boost.draw_rand_augment(1, 1, draw)._replace(operation=code)
    for strength in (0.0, 10.0, 20.0, 30.0):
        full = torch.tensor([strength]), torch.ones(1)
        expected = boost.apply_rand_augment(image[None], *full, chosen)[0]
        compare(f"posterize at {strength:g}", answer(image.clone(), strength), expected, 1e-5)


@exercise(
    "used[scores.argsort()] = scores, sorted largest first: the order turns, the set stays.",
    "1 - score, which mirrors the shape, too",
    "the list read backwards, whoever owns a score",
    "sorted scores that nobody owns",
)
def check_reversed_control(answer: Callable[[Tensor], Tensor]) -> None:
    """A control with the same scores in reversed order; `answer(scores)` gives [N]."""
    for size in (2, 5, 200):
        scores = torch.rand(size, generator=torch.Generator().manual_seed(size)) ** 2
        expected = torch.empty_like(scores)
        expected[scores.argsort()] = scores.sort(descending=True).values
        compare(f"reversed control of {size} samples", answer(scores.clone()), expected)


# --- 06 linear probing ----------------------------------------------------------------------


@exercise(
    "draw without replacement among the free images of each class, from default_rng(seed).",
    "drawing with replacement, or one image many times",
    "the same list for every seed, or another one at each call",
    "always the first images of a class",
)
def check_list_without_overlap(answer: Callable[..., np.ndarray]) -> None:
    """A labelled list; `answer(labels, used, per_class, seed)` gives positions."""
    draw = np.random.default_rng(11)
    labels, classes = draw.permutation(np.repeat(np.arange(4), 30)), 4
    used, per_class = draw.permutation(120)[:50], 5
    free, seen = set(range(120)) - set(used.tolist()), set()
    lists = []
    for seed in range(60):
        got = np.asarray(answer(labels.copy(), used.copy(), per_class, seed))
        require(got.dtype.kind in "iu", f"got values of type {got.dtype}, expected positions")
        compare("length of the list", got.shape, [classes * per_class])
        require(len(set(got.tolist())) == len(got), f"seed {seed}: an image comes twice")
        taken = len(set(got.tolist()) - free)
        require(not taken, f"seed {seed}: {taken} positions are used already, or do not exist")
        compare("images per class", np.bincount(labels[got], minlength=classes), [per_class] * 4)
        lists.append(sorted(got.tolist()))
        seen |= set(got.tolist())
    again = np.sort(np.asarray(answer(labels.copy(), used.copy(), per_class, 0)))
    require(again.tolist() == lists[0], "the same seed gives another list")
    require(len({tuple(one) for one in lists}) > 30, "other seeds give the same list")
    require(seen == free, f"60 seeds reach {len(seen)} of the {len(free)} free images")


@exercise(
    "the three groups' accuracies first (thirds of the classes by size), then np.std, ddof 0.",
    "dividing by 2 instead of 3 (ddof=1)",
    "the spread over classes instead of groups",
    "classes grouped by their number instead of their size",
)
def check_balancedness(answer: Callable[[np.ndarray, np.ndarray], float]) -> None:
    """The balancedness; `answer(per_class, class_counts)` gives std over many, medium, few."""
    draw = np.random.default_rng(3)
    for classes in (10, 12, 11):
        accuracies, counts = draw.random(classes), draw.permutation(classes) + 1
        expected = probe.group_report(accuracies, counts)["std"]
        got = answer(accuracies.copy(), counts.copy())
        compare(f"balancedness of {classes} classes", got, expected)


@exercise(
    "try n = 2, 3, ... until |effect| > t.ppf(0.975, n - 1) * sd / sqrt(n); one run has no sd.",
    "twice the standard error (or 1.96 of it) instead of Student's t",
    "one sided, or n degrees of freedom",
    "`max(1, floor(...))`",
)
def check_seeds_needed(answer: Callable[[float, float], int]) -> None:
    """Runs until a 95 % interval leaves out zero; `answer(effect, sd)`, at least 2."""
    for effect, sd in ((4.0, 10.0), (3.0, 1.0), (1.0, 1.0), (-2.0, 3.0), (30.0, 1.0)):
        n = 2
        while abs(effect) <= stats.t.ppf(0.975, n - 1) * sd / math.sqrt(n):
            n += 1
        compare(f"effect {effect:g}, sd {sd:g}", answer(effect, sd), n)
