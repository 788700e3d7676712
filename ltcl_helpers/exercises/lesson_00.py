"""Checks of the answers in lesson 00, start here."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from .checking import compare, exercise


@exercise(
    "a batch that was started is a batch: divide and round up, once per epoch.",
    "rounding down",
    "`samples // batch_size + 1`, one too many where the batches come out even",
    "rounding up once over all epochs together",
    nudge="try 3 images in batches of 2, for one epoch, with a pencil.",
)
def check_updates(answer: Callable[[int, int, int], int]) -> None:
    """Updates of a run; `answer(samples, batch_size, epochs)`."""
    calls = [(9754, 512, 2000), (1024, 512, 3), (100, 512, 5), (1001, 10, 7)]
    calls += [(1536, 512, 4), (4097, 2048, 3), (7, 1, 1)]  # odd and even quotients, a rest of one
    for samples, batch, epochs in calls:
        name = f"{samples} samples, batch {batch}, epochs {epochs}"
        compare(name, answer(samples, batch, epochs), math.ceil(samples / batch) * epochs)


@exercise(
    "standardise with the bank's mean and deviation, compare cosines, return a fraction.",
    "cosines of features that were not standardised",
    "the second neighbour, or a vote of several",
    "percent instead of a fraction",
    nudge="one coordinate of the check's features is loud and knows nothing; is it tamed?",
    may_not_call=("probe.linear_probe",),
)
def check_neighbour_accuracy(answer: Callable[[Tensor, Tensor, Tensor, Tensor], float]) -> None:
    """Nearest-neighbour accuracy; `answer(bank, bank_labels, queries, true)` is a fraction."""
    for seed, classes, known, asked in ((1, 4, 60, 60), (2, 4, 60, 60), (3, 5, 70, 45)):
        draw = torch.Generator().manual_seed(seed)
        scale = torch.tensor([1.0, 1, 1, 60, 1])  # one loud coordinate that knows nothing
        labels = torch.arange(known + asked) % classes
        centres = 1.3 * torch.randn(classes, 5, generator=draw)
        noise = torch.randn(known + asked, 5, generator=draw)
        features = (centres[labels] + noise) * scale + 20
        bank = features[:known]
        queries = features[known:] + 3  # shifted: own statistics would differ
        a, b = ((x - bank.mean(0)) / bank.std(0) for x in (bank, queries))
        cosine = nn.functional.cosine_similarity(b[:, None], a[None], dim=2)  # [asked, known]
        expected = (labels[:known][cosine.argmax(1)] == labels[known:]).double().mean()
        got = answer(bank.clone(), labels[:known], queries.clone(), labels[known:])
        compare(f"accuracy of {asked} queries", got, expected, 1e-4)


@exercise(
    "count pairs (true, guessed) with true != guessed, and take the largest single count.",
    "the most frequent true class and the most frequent guess, each on its own",
    "(guessed, true) instead of (true, guessed)",
    "both directions of a pair added up, or right answers counted",
    "the largest share of a true class instead of the largest count",
    nudge="which order has the pair, and which pairs are no mistakes?",
)
def check_worst_confusion(answer: Callable[[np.ndarray, np.ndarray], tuple[int, int]]) -> None:
    """The most frequent mistake; `answer(guess, labels)` gives (true class, guessed class)."""
    pairs = {(0, 1): 2, (0, 2): 2, (0, 3): 2, (1, 4): 3, (2, 4): 1, (3, 2): 2, (2, 3): 2, (5, 5): 9}
    pairs[1, 1] = 30  # so the most frequent mistake is a small share of its class
    for shift, winner in ((0, (1, 4)), (1, (2, 5))):
        labels, guess = np.array([p for p, n in pairs.items() for _ in range(n)]).T
        mixed = np.random.default_rng(shift).permutation(len(labels))
        got = answer((guess[mixed] + shift) % 6, (labels[mixed] + shift) % 6)
        compare("(true class, guessed class)", got, winner)
    guess, labels = np.array([11, 11, 11, 0, 0, 2, 2, 2, 2]), np.array([3, 3, 3, 7, 7, 2, 2, 2, 2])
    got = answer(guess, labels)  # class 11 is only ever guessed
    compare("(true class, guessed class), of classes 0 to 11", got, (3, 11))
