"""Answers of other kinds to the exercises of lessons 06 to 11."""

import decimal
import fractions
import itertools
import math
import statistics

import numpy as np
import pandas as pd
import torch
from exercises.trial import RIGHT, WRONG, right, several
from scipy import stats
from torch.nn import functional as F

from ltcl_helpers.methods import losses

# --- 06 -------------------------------------------------------------------------------------


def listed(labels, used, per_class, seed, classes=None, take=None):
    draw = np.random.default_rng(seed)
    free = np.setdiff1d(np.arange(len(labels)), used)
    chosen = []
    for label in range(labels.max() + 1 if classes is None else classes):
        own = free[labels[free] == label]
        chosen.append(take(own, draw) if take else draw.choice(own, per_class, replace=False))
    return np.concatenate(chosen)


def window(own, draw, size=5):
    first = draw.integers(len(own) - size + 1)
    return own[first : first + size]


@right("list_without_overlap")
def by_random(labels, used, per_class, seed):
    import random

    draw, gone = random.Random(int(seed)), set(used.tolist())
    found = []
    for label in sorted(set(labels.tolist())):
        own = [k for k in range(len(labels)) if labels[k] == label and k not in gone]
        found += draw.sample(own, per_class)
    return found


@right("list_without_overlap")
def by_a_table(labels, used, per_class, seed):
    table = pd.DataFrame({"label": labels}).drop(index=used)
    return table.groupby("label").sample(per_class, random_state=seed).index.to_numpy()


def stood(per_class, counts):
    order = np.lexsort([counts])
    third = len(counts) // 3
    parts = order[:third], order[third : 2 * third], order[2 * third :]
    return statistics.pstdev([per_class[part].mean() for part in parts])


def runs_needed(effect, sd):
    for n in itertools.count(2):
        if abs(effect) > stats.t.isf(0.025, n - 1) * sd / n**0.5:
            return n


several(
    RIGHT,
    balancedness=[stood, lambda a, c: torch.tensor(stood(a, c))],
    seeds_needed=[runs_needed, lambda e, s: runs_needed(-e, s)],
)
several(
    WRONG,
    list_without_overlap=[
        lambda y, u, n, s: listed(y, u, n, s, classes=4),
        lambda y, u, n, s: listed(y, u, n, s, classes=len(y) // 30),
        lambda y, u, n, s: listed(y, u, n, s, take=lambda own, d: np.roll(own, d.integers(99))[:n]),
        lambda y, u, n, s: listed(y, u, n, s, take=lambda own, d: window(own, d, n)),
        lambda y, u, n, s: listed(y, u, n, s, take=lambda own, d: own[s % 3 :: 3][:n]),
        lambda y, u, n, s: listed(y, u, 5, s),
        lambda y, u, n, s: listed(y, u[:0], n, s),
        lambda y, u, n, s: np.sort(listed(y, u, n, s)).astype(float),
        lambda y, u, n, s: listed(y, u, n, min(s, 1)),
    ],
    balancedness=[
        lambda a, c: stood(a, -c) * 100,
        lambda a, c: np.std([part.mean() for part in np.array_split(a[np.argsort(c)], 3)]),
        lambda a, c: np.std([a[c > 20].mean(), a[c <= 20].mean()]) if (c > 20).any() else a.std(),
        lambda a, c: np.std([a[np.argsort(c)][k::3].mean() for k in range(3)]),
    ],
    seeds_needed=[
        lambda e, s: runs_needed(e, s) if e > 0 else 2,
        lambda e, s: runs_needed(e, 1.0),
        lambda e, s: runs_needed(e, s) - 1,
        lambda e, s: str(runs_needed(e, s)),
    ],
)

# --- 07 -------------------------------------------------------------------------------------


def highest(last, groups, group, count):
    own = [k for k, name in enumerate(groups) if name == group]
    return sorted(own, key=lambda k: -last[k])[:count]


several(
    RIGHT,
    learnt_late=[
        lambda last, groups: highest(last, groups, "few", 20)[10:],
        lambda last, groups: np.array(highest(last, groups, "few", 10)),
        lambda last, groups: tuple(np.int32(highest(last, groups, "few", 10))),
    ],
    hard_head=[
        lambda last, groups: highest(last, groups, "many", 2)[1:],
        lambda last, groups: {highest(last, groups, "many", 1)[0]},
    ],
    changes=[
        lambda p, b, c, at: [
            statistics.fmean(b[k] - p[k] for k in at),
            statistics.fmean(c[k] - p[k] for k in at),
            statistics.fmean(b[k] - c[k] for k in at),
        ],
        lambda p, b, c, at: np.array([(b - p)[at].mean(), (c - p)[at].mean(), (b - c)[at].mean()]),
    ],
)
several(
    WRONG,
    learnt_late=[
        lambda last, groups: [highest(last, groups, "few", 1)[0]] * 10,
        lambda last, groups: [str(k) for k in highest(last, groups, "few", 10)],
        lambda last, groups: highest(last, groups, "medium", 10),
        lambda last, groups: list(range(10)),
        lambda last, groups: last[highest(last, groups, "few", 10)],
    ],
    hard_head=[
        lambda last, groups: highest(last, groups, "many", 1)[0],
        lambda last, groups: [groups.index("many")],
        lambda last, groups: [len(groups)],
        lambda last, groups: highest(last, groups, "few", 1),
    ],
    changes=[
        lambda p, b, c, at: (b[at].mean(), c[at].mean(), (b - c)[at].mean()),
        lambda p, b, c, at: ((b - p)[at].sum(), (c - p)[at].sum(), (b - c)[at].sum()),
        lambda p, b, c, at: ((b - p)[at].mean(), (c - p)[at].mean()),
        lambda p, b, c, at: ((p - b)[at].mean(), (p - c)[at].mean(), (c - b)[at].mean()),
    ],
)

# --- 08 -------------------------------------------------------------------------------------


def of_pairs(runs):
    table = pd.DataFrame(runs, columns=["draw", "mirrored", "value"])
    sides = table.pivot_table(index="draw", columns="mirrored", values="value")
    return sides.dropna().mean(axis=1)


def ends(values):
    return stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))


def least(sd, n, power=0.8, draws=20_000):
    drawn = np.random.default_rng(3).normal(size=(draws, n))
    spread = stats.t.ppf(0.975, n - 1) * drawn.std(1, ddof=1) / n**0.5
    for size in np.linspace(0.2, 12, 600):
        if (np.abs(drawn.mean(1) + size) > spread).mean() >= power:
            return sd * size


several(
    RIGHT,
    pair_means=[
        of_pairs,
        lambda runs: [
            (first + second) / 2
            for (a, m, first), (b, o, second) in itertools.product(sorted(runs), repeat=2)
            if a == b and (m, o) == (False, True)
        ],
    ],
    interval=[ends, lambda v: sorted(ends(v)), lambda v: np.array(ends(v))],
    smallest_difference=[
        least,
        lambda sd, n: float(stats.nct.isf(0.8, n - 1, 0) * 0 + least(sd, n)),
    ],
)
several(
    WRONG,
    pair_means=[
        lambda runs: [
            (a[2] + b[2]) / 2 for a, b in zip(runs[::2], runs[1::2], strict=False)
        ],  # neighbours
        lambda runs: [
            (a[2] + b[2]) / 2
            for a, b in zip([r for r in runs if r[1]], [r for r in runs if not r[1]], strict=False)
        ],  # by order
        lambda runs: of_pairs(runs)[::-1],
        lambda runs: {name: float(value) for name, value in of_pairs(runs).items()},
        lambda runs: of_pairs(runs)[:3],
        lambda runs: float(of_pairs(runs).mean()),
    ],
    interval=[
        lambda v: stats.t.interval(0.90, len(v) - 1, np.mean(v), stats.sem(v)),
        lambda v: stats.t.interval(0.95, len(v), np.mean(v), stats.sem(v)),
        lambda v: ends(v)[::-1],
        lambda v: (ends(v)[1] - ends(v)[0]) / 2,
        lambda v: ends(v[:5]),
    ],
    smallest_difference=[
        lambda sd, n: least(sd, n, power=0.5),
        lambda sd, n: least(sd, 5),
        lambda sd, n: least(sd, n) / sd,
        lambda sd, n: 1.2 * least(sd, n),
    ],
)

# --- 09 and 10 ------------------------------------------------------------------------------


def info_nce(query, key, queue, temperature):
    query = query / query.norm(dim=1, keepdim=True)
    key = key / key.norm(dim=1, keepdim=True)
    logits = torch.cat([(query * key).sum(1)[:, None], query @ queue], dim=1) / temperature
    return -logits.log_softmax(dim=1)[:, 0]


def ring(queue, keys, place, columns=None, batch=None):
    columns = columns or queue.shape[1]
    batch = batch or len(keys)
    for k in range(batch):
        queue[:, (place + k) % columns] = keys[k % len(keys)]
    return (place + batch) % columns


def balanced(
    features, own, prototypes, temperature, itself=False, mean=True, centres=True, half=False
):
    anchors = features.flatten(0, 1)
    classes = len(prototypes)
    of = own.repeat_interleave(2)
    everyone = torch.cat([anchors, prototypes]) if centres else anchors
    whose = torch.cat([of, torch.arange(classes)]) if centres else of
    scores = anchors @ everyone.T / temperature
    allowed = torch.ones_like(scores)
    if not itself:
        allowed = allowed - torch.eye(len(anchors), len(everyone), dtype=scores.dtype)
    member = F.one_hot(whose, classes).to(scores.dtype)
    counts = allowed @ member
    total = (scores.exp() * allowed) @ member
    push = (total / counts.clamp(min=1) if mean else total).sum(1).log()
    same = (of[:, None] == whose) * allowed
    pull = (scores * same).sum(1) / same.sum(1)
    found = (push - pull).view(-1, 2)
    return found[:, 0] if half else found.mean(1)


@right("balanced_loss")
def class_by_class(features, own, prototypes, temperature):
    anchors, of = features.reshape(-1, features.shape[-1]), own.repeat_interleave(2)
    result = []
    for i, anchor in enumerate(anchors):
        push = 0
        for c, centre in enumerate(prototypes):
            others = [a for j, a in enumerate(anchors) if j != i and of[j] == c]
            scores = torch.stack([*others, centre]) @ anchor / temperature
            push = push + scores.exp().mean()
            if of[i] == c:
                pull = scores.mean()
        result.append(push.log() - pull)
    return torch.stack(result).view(-1, 2).mean(1)


several(
    RIGHT,
    info_nce=[
        info_nce,
        lambda q, k, queue, t: info_nce(q, k, queue / queue.norm(dim=0), t),  # of length 1 already
        lambda q, k, queue, t: F.cross_entropy(
            torch.cat([F.cosine_similarity(q, k)[:, None], F.normalize(q, dim=1) @ queue], 1) / t,
            torch.zeros(len(q), dtype=torch.int64),
            reduction="none",
        ),
    ],
    ring=[ring, lambda queue, keys, place: np.int64(ring(queue, keys, place))],
    compensation=[
        lambda x, n: x + torch.log(n.double()) - math.log(n.sum()),
        lambda x, n: torch.stack([x[:, c] + math.log(n[c] / n.sum()) for c in range(len(n))], 1),
    ],
    simplex_cosine=[
        lambda c: decimal.Decimal(-1) / (c - 1),
        lambda c: np.corrcoef(np.eye(c))[0, 1],
    ],
    class_weight=[
        lambda m, o, a: (m / m) / (m / m + o / o) if a else m / (m + o),
        lambda m, o, a: fractions.Fraction(1, 2) if a else fractions.Fraction(m, m + o),
    ],
    balanced_loss=[balanced],
)
several(
    WRONG,
    info_nce=[
        lambda q, k, queue, t: info_nce(q.detach(), k, queue, t),
        lambda q, k, queue, t: info_nce(q, k, queue, t).detach().numpy(),
        lambda q, k, queue, t: info_nce(q, k, queue, 0.2),
        lambda q, k, queue, t: info_nce(q, k, queue, t).mean(),
        lambda q, k, queue, t: info_nce(k, q, queue, t),
    ],
    ring=[
        lambda queue, keys, place: ring(queue, keys, place, columns=6),
        lambda queue, keys, place: ring(queue, keys, place, batch=4),
        lambda queue, keys, place: (ring(queue, keys, place) + 1) % queue.shape[1],
        lambda queue, keys, place: ring(queue, keys.flip(0), place),
    ],
    compensation=[
        lambda x, n: x + (n / 99).log(),
        lambda x, n: x * (n / n.sum()),
        lambda x, n: (x + (n / n.sum()).log()).softmax(1),
        lambda x, n: x + (n / n.sum()).log10(),
    ],
    simplex_cosine=[
        lambda c: f"{-1 / (c - 1)}",
        lambda c: -1 / 11,
        lambda c: round(-1 / (c - 1), 2),
        lambda c: -1 / (c - 1) ** 2,
    ],
    class_weight=[
        lambda m, o, a: 0.5 if a else (200 / 202 if m == 200 else 0.5),
        lambda m, o, a: 0.5,
        lambda m, o, a: 1 / m if a else m / (m + o),
        lambda m, o, a: "half" if a else m / (m + o),
    ],
    balanced_loss=[
        lambda *given: balanced(*given, itself=True),
        lambda *given: balanced(*given, mean=False),
        lambda *given: balanced(*given, centres=False),
        lambda *given: balanced(*given, half=True),
        lambda *given: balanced(*given).detach(),
        lambda f, y, p, t: balanced(f, y, p, 0.1),
        lambda f, y, p, t: losses.supervised_contrastive(f, y, t),
        lambda *given: balanced(*given).mean(),
    ],
)

# --- 11 -------------------------------------------------------------------------------------


def held_out(labels, share, seed, count=None, take=None):
    draw, found = np.random.default_rng(seed), []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        many = count(len(own)) if count else min(max(1, round(share * len(own))), len(own) - 1)
        found.append(own[:many] if take else draw.permutation(own)[:many])
    return np.concatenate(found)


@right("held_out")
def one_by_one(labels, share, seed):
    import random

    draw, found = random.Random(seed), []
    for label in set(labels.tolist()):
        own = [k for k, each in enumerate(labels) if each == label]
        draw.shuffle(own)
        found += own[: max(1, min(len(own) - 1, round(share * len(own))))]
    return found


def decide(low, high, gain):
    return "keep" if low > gain else "drop" if high < gain else "run more"


several(
    RIGHT,
    never_tested=[
        lambda train, test: sorted(set(train) - set(test)),
        lambda train, test: [name for name in np.unique(train) if name not in test],
        lambda train, test: tuple(sorted(filter(lambda n: n not in test, dict.fromkeys(train)))),
    ],
    held_out=[held_out, lambda *given: np.sort(held_out(*given)).tolist()],
    decision=[
        decide,
        lambda low, high, gain: ["drop", "run more", "keep"][(high >= gain) + (low >= gain)],
    ],
)
several(
    WRONG,
    never_tested=[
        lambda train, test: sorted(set(test) - set(train)),
        lambda train, test: set(train) - set(test) | {"cat"},
        lambda train, test: [name for name in train if name not in test],
        lambda train, test: len(set(train) - set(test)),
        lambda train, test: sorted(set(train) ^ set(test)),
        lambda train, test: ", ".join(sorted(set(train) - set(test))),
    ],
    held_out=[
        lambda y, share, s: np.random.default_rng(s).permutation(len(y))[: round(share * len(y))],
        lambda y, share, s: held_out(y, share, s, count=lambda n: int(share * n)),
        lambda y, share, s: held_out(y, share, s, count=lambda n: max(1, math.ceil(share * n))),
        lambda y, share, s: held_out(y, share, s, take=True),
        lambda y, share, s: held_out(y, 0.2, s),
        lambda y, share, s: np.setdiff1d(np.arange(len(y)), held_out(y, share, s)),
        lambda y, share, s: held_out(y, share, 0),
    ],
    decision=[
        lambda low, high, gain: "keep" if (low + high) / 2 > gain else "drop",
        lambda low, high, gain: decide(low, high, 0),
        lambda low, high, gain: decide(low, high, 1),
        lambda low, high, gain: {"keep": True, "drop": False}.get(decide(low, high, gain)),
        lambda low, high, gain: decide(low, high, gain).title(),
    ],
)
