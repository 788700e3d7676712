"""What a check says of a wrong answer: which call it was, and what is wrong, fault by fault."""

import numpy as np
import pytest
import torch
from exercises import answers_00_to_06, answers_07_to_11
from torch import nn

from ltcl_helpers import exercises
from ltcl_helpers.data import splits
from ltcl_helpers.exercises import lesson_07
from ltcl_helpers.methods import losses, pruning

ANSWERS = answers_00_to_06.ANSWERS | answers_07_to_11.ANSWERS
RIGHT = {name: found[0][0] for name, found in ANSWERS.items()}


def said_of(name, answer):
    """What a check says before its hint."""
    return exercises.judge(getattr(exercises, f"check_{name}"), answer).message.split(" -- ")[0]


SEVEN = {
    "auroc": "AUROC of distinct values: got 7, expected 0.487179",
    "balanced_loss": "loss of 3 images, 2 classes: got shape [], expected [3]",
    "balancedness": "balancedness of 10 classes: got 7, expected 0.127468",
    "boost_strength": "code rule, k 1, score 0.0: got shape [], expected [3]",
    "changes": "changes of 1: got shape [], expected [3]",
    "class_sizes": "class sizes (450, 100, 100.0): got shape [], expected [100]",
    "class_weight": "1 against 1 without averaging: got 7, expected 0.5",
    "compensation": "compensation for [50, 50]: got shape [], expected [4, 2]",
    "counts_of_a_list": "12 classes: got shape [], expected [12]",
    "decision": "interval +2 to +4, smallest gain 1: got 7, expected 'keep'",
    "density": "sigma 0.02, threshold 0.03: got 7, expected 0.133614",
    "hard_head": "got a int; a selection is a list of whole numbers",
    "hardest_tenth": "20 negatives, temperature 0.2: got 7, expected 0.725347",
    "held_out": "got 0 dimensions, expected a list of positions",
    "info_nce": "InfoNCE of 3 queries against 40 negatives: got shape [], expected [3]",
    "interval": "interval of 2 values: got shape [], expected [2]",
    "learnt_late": "got a int; a selection is a list of whole numbers",
    "list_without_overlap": "length of the list: got shape [0], expected [1]",
    "lr_factor": "update 1 of 40, warm-up 5, floor 0.001: got 7, expected 0.2",
    "magnitude_mask": "got a int, expected a dict of masks",
    "memorization_score": "scores of 2 images: got shape [], expected [2]",
    "momentum_loss": "4 epochs, beta 0.9: got 7, expected 3.574",
    "neighbour_accuracy": "accuracy of 60 queries: got 7, expected 0.333333",
    "nt_xent": "NT-Xent of 2 samples: got shape [], expected [2]",
    "pair_means": "3 pairs and 0 runs without their mirrors: got 0 dimensions, expected a list",
    "posterize": "posterize at 0: got shape [], expected [3, 5, 8]",
    "reversed_control": "reversed control of 2 samples: got shape [], expected [2]",
    "ring": "place after step 1, 4 keys into 6 columns: got 7, expected 4",
    "seeds_needed": "effect 4, sd 10: got 7, expected 27",
    "simplex_cosine": "simplex of 2 classes: got 7, expected -1",
    "smallest_difference": "sd 1, n 3: got 7, expected 3.26404",
    "thinned": "got a int, expected an encoder",
    "updates": "9754 samples, batch 512, epochs 2000: got 7, expected 40000",
    "worst_confusion": "(true class, guessed class): got shape [], expected [2]",
}


@pytest.mark.parametrize("name", SEVEN)
def test_a_wrong_number_is_refused_at_the_first_call_in_its_words(name):
    assert said_of(name, lambda *given: 7) == SEVEN[name]


ASKED_FOR = {  # what a right answer is not to call
    "auroc": ["roc_auc_score", "auroc"],
    "balanced_loss": ["losses.balanced_contrastive", "balanced_slow"],
    "balancedness": ["probe.group_report"],
    "boost_strength": ["boost_strength"],
    "class_sizes": ["splits.class_sizes", "my_class_sizes"],
    "compensation": ["losses.compensate_logits"],
    "groups": ["splits.groups"],
    "info_nce": ["losses.info_nce", "info_nce_slow"],
    "interval": ["report.interval"],
    "list_without_overlap": ["splits.few_shot"],
    "lr_factor": ["pretrain.lr_factor"],
    "magnitude_mask": ["pruning.magnitude_masks", "stays"],
    "memorization_score": ["memory.memorization_score", "score_by_hand"],
    "momentum_loss": ["memory.MomentumLoss", "momentum_by_hand"],
    "neighbour_accuracy": ["probe.linear_probe"],
    "nt_xent": ["losses.nt_xent", "nt_xent_slow"],
    "pair_means": ["report.units"],
    "posterize": ["rand_augment", "apply_rand_augment"],
    "reversed_control": ["boost_scores"],
    "seeds_needed": ["report.units_needed"],
    "smallest_difference": ["report.smallest_difference"],
}


def test_what_gives_an_answer_away_is_named():
    found = {name: list(getattr(exercises, f"check_{name}").may_not_call) for name in ANSWERS}
    assert {name: words for name, words in found.items() if words} == ASKED_FOR


@pytest.mark.parametrize("name", sorted(set(RIGHT) - {"thinned"}))  # which draws an encoder
def test_a_check_draws_nothing_of_the_notebooks_chance(name):
    before = torch.get_rng_state()
    exercises.judge(getattr(exercises, f"check_{name}"), RIGHT[name])
    assert torch.equal(torch.get_rng_state(), before)


# --- one fault after the other ----------------------------------------------------------------


def spoils(function, *places):
    """An answer that is right, and changes what it was given."""

    def answer(*given):
        value = function(*given)
        with torch.no_grad():
            for place in places:
                given[place].mul_(2)
        return value

    return answer


def doubled(function):
    return lambda *given: 2 * function(*given)


def masks(weights, fraction):
    return pruning.magnitude_masks(weights, fraction)


def spoilt_masks(weights, fraction):
    found = masks(weights, fraction)
    weights["wide"] *= 2
    return found


def spoilt_encoder(encoder, fraction):
    found = RIGHT["thinned"](encoder, fraction)
    with torch.no_grad():
        next(encoder.parameters()).mul_(2)
    return found


def new_memory(queue, keys, place):
    new = queue.clone()
    new[:, (place + torch.arange(len(keys))) % queue.shape[1]] = keys.T
    queue.data = new
    return (place + len(keys)) % queue.shape[1]


def free(labels, used, per_class, seed):
    """Free positions, class by class, as a list that others spoil."""
    found = RIGHT["list_without_overlap"](labels, used, per_class, seed)
    return sorted(np.asarray(found).tolist(), key=lambda k: (labels[k], k))


def moved(labels, used, per_class, seed):
    """Free images next to each other, where a window begins by chance."""
    draw, found = np.random.default_rng(seed), []
    for label in np.unique(labels):
        own = np.setdiff1d(np.flatnonzero(labels == label), used)
        found += np.roll(own, -draw.integers(len(own)))[:per_class].tolist()
    return found


DRAW = np.random.default_rng(0)  # an answer that draws from it never gives the same list twice
FAULTS = [
    ("nt_xent", spoils(losses.nt_xent, 0), "NT-Xent of 2 samples: what was handed in has changed;"
     " work on a copy"),
    ("nt_xent", lambda *given: losses.nt_xent(*given).detach(), "NT-Xent of 2 samples: right"),
    ("info_nce", spoils(losses.info_nce, 1), "InfoNCE of 3 queries against 40 negatives: what was"),
    ("info_nce", doubled(losses.info_nce), "InfoNCE of 3 queries against 40 negatives: 3 of 3"),
    ("balanced_loss", spoils(losses.balanced_contrastive, 0), "loss of 3 images, 2 classes: what"),
    ("balanced_loss", doubled(losses.balanced_contrastive), "loss of 3 images, 2 classes: 3 of 3"),
    ("magnitude_mask", lambda w, f: {n: m for n, m in masks(w, f).items() if n != "flat"},
     "mask of 'flat', fraction 0.00: it is missing"),
    ("magnitude_mask", lambda w, f: {n: m.float() for n, m in masks(w, f).items()},
     "mask of 'wide', fraction 0.00: its type is torch.float32, expected bool"),
    ("magnitude_mask", lambda w, f: masks(w, f) | {"narrow": torch.zeros(7, dtype=torch.bool)},
     "mask of 'narrow', fraction 0.00: 7 of 7 values differ"),
    ("magnitude_mask", spoilt_masks, "weights 'wide': what was handed in has changed"),
    ("thinned", lambda encoder, fraction: torch.ones(1), "got a Tensor, expected an encoder"),
    ("thinned", spoilt_encoder, "fraction 0.0: the encoder that was handed in has changed"),
    ("thinned", lambda encoder, fraction: nn.Linear(1, 1), "KeyError: 'weight', called with"),
    ("groups", lambda counts: {}, "10 classes: the group 'many' is missing"),
    ("groups", lambda counts: splits.groups(counts) | {"few": [0]}, "few of 10 classes: got shape"),
    ("counts_of_a_list", lambda d_i, s_b, classes: np.zeros(classes), "12 classes: 12 of 12"),
    ("memorization_score", lambda x: RIGHT["memorization_score"](x) if np.ptp(x) else x,
     "scores of equal losses: 4 of 4 values differ; at [0] got 3, expected 0.5"),
    ("worst_confusion", lambda g, y: RIGHT["worst_confusion"](g, y) if len(g) > 9 else (7, 0),
     "(true class, guessed class), of classes 0 to 11: 2 of 2 values differ; at [0] got 7"),
    ("list_without_overlap", lambda *given: np.array(free(*given), float),
     "got values of type float64, expected positions"),
    ("list_without_overlap", lambda *given: free(*given)[1:],
     "length of the list: 1 of 1 values differ; at [0] got 19, expected 20"),
    ("list_without_overlap", lambda *given: free(*given)[:1] * 2 + free(*given)[2:],
     "seed 0: an image comes twice"),
    ("list_without_overlap", lambda labels, used, n, seed: used[: n * len(set(labels))],
     "seed 0: 20 positions are used already, or do not exist"),
    ("list_without_overlap", lambda labels, used, n, seed: DRAW.permutation(
        np.setdiff1d(np.arange(len(labels)), used))[: n * len(set(labels))],
     "images of 4 classes: "),
    ("list_without_overlap", lambda *given: free(*given[:3], int(DRAW.integers(10**6))),
     "the same seed gives another list"),
    ("list_without_overlap", lambda *given: free(*given[:3], given[3] % 30),
     "other seeds give the same list"),
    ("list_without_overlap", moved, "150 seeds give only "),
    ("pair_means", lambda runs: [RIGHT["pair_means"](runs)],
     "3 pairs and 0 runs without their mirrors: got 2 dimensions, expected a list"),
    ("ring", new_memory, "the queue has moved in memory"),
    ("ring", lambda queue, keys, place: 4, "queue after step 1, 4 keys into 6 columns: 8 of 12"),
    ("never_tested", lambda train, test: None, "got None; is a `return` missing?"),
    ("never_tested", lambda train, test: "owl", "got a str, expected names"),
    ("never_tested", lambda train, test: {"owl": 1}, "got a dict, expected names"),
    ("never_tested", lambda train, test: ["cat"],
     "train ['cat', 'dog', 'dog', 'owl'], test ['dog', 'cat']: got ['cat'], expected ['owl']"),
    ("held_out", lambda *given: np.array(RIGHT["held_out"](*given), float),
     "got values of type float64, expected positions"),
    ("held_out", lambda *given: [RIGHT["held_out"](*given)],
     "got 2 dimensions, expected a list of positions"),
    ("held_out", lambda labels, *more: [0, len(labels)], "positions go from 0 to 55"),
    ("held_out", lambda labels, *more: [0, -1], "positions go from 0 to 55"),
    ("held_out", lambda *given: [*RIGHT["held_out"](*given)[:1], *RIGHT["held_out"](*given)],
     "seed 0: an image comes twice"),
    ("held_out", lambda *given: np.zeros(0, int),
     "test images of classes of [41, 10, 3, 2], share 0.2: 4 of 4 values differ"),
    ("held_out", lambda labels, share, seed: RIGHT["held_out"](labels, share, DRAW.integers(99**3)),
     "the same seed gives another list"),
    ("held_out", lambda labels, share, seed: RIGHT["held_out"](labels, share, seed % 10),
     "other seeds give the same list"),
    ("decision", lambda *given: None,
     "interval +2 to +4, smallest gain 1: got None; is a `return` missing?"),
    ("class_weight", lambda m, o, averaging: 7 if averaging else m / (m + o),
     "1 against 1 with averaging: got 7, expected 0.5"),
    ("learnt_late", lambda *given: "ten", "got a str; a selection is a list of whole numbers"),
    ("learnt_late", lambda *given: range(9), "9 samples are selected, 10 are asked for"),
    ("learnt_late", lambda last, groups: range(len(last) - 9, len(last) + 1),
     "numbers go from 0 to 2608"),
    ("hard_head", lambda *given: [-1], "numbers go from 0 to 2608"),
    ("hard_head", lambda *given: [0], "sample 0 is of a medium class, not of a many one"),
    ("learnt_late", lambda *given: range(10), "sample 0 is of a medium class, not of a few one"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answer", "says"), FAULTS)
def test_a_fault_is_named(name, answer, says):
    assert said_of(name, answer).startswith(says)


def test_a_place_and_a_score_are_told_beside_what_they_must_be():
    last, groups = lesson_07._recorded()
    many, few = (np.flatnonzero(np.array(groups) == name) for name in ("many", "few"))
    for k in many[np.argsort(last[many])][[0, len(many) // 2]]:
        place = sorted(last, reverse=True).index(last[k]) + 1
        assert said_of("hard_head", lambda *given, k=k: [k]) == (
            f"sample {k} has place {place}; a hard one is among 52"
        )
    easy = few[np.argsort(last[few])[:10]]
    first, middle = min(easy), np.median(last[few])
    assert said_of("learnt_late", lambda *given: easy.tolist()) == (
        f"sample {first} has score {last[first]:.2f}, not above {middle:.2f}"
    )
