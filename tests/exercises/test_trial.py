"""Answers as students write them, of other kinds than those of test_exercises: the checks' trial.

Wrong ones work for one size, one order, one value, or lose what a training step needs; each is
refused with a hint. Right ones take other ways, types and libraries than the solutions.
"""

import copy
import decimal
import fractions
import itertools
import math
import statistics
import time

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import special, stats
from sklearn.metrics import confusion_matrix, roc_auc_score
from torch import nn
from torch.nn import functional as F

from ltcl_helpers import exercises
from ltcl_helpers.exercises import checking
from ltcl_helpers.methods import losses, pruning

RIGHT: dict[str, list] = {}
WRONG: dict[str, list] = {}


def right(name):
    """An answer that must be accepted."""
    return lambda answer: RIGHT.setdefault(name, []).append(answer) or answer


def wrong(name):
    """An answer that must be refused, with a hint."""
    return lambda answer: WRONG.setdefault(name, []).append(answer) or answer


def several(where, **answers):
    for name, found in answers.items():
        where.setdefault(name, []).extend(found)


# --- 00 -------------------------------------------------------------------------------------

several(
    WRONG,
    updates=[
        lambda s, b, e: e * round(s / b + 0.5),
        lambda s, b, e: str(e * -(-s // b)),
        lambda s, b, e: e * int(s / b + 0.999),
        lambda s, b, e: 40000 if e == 2000 else e * -(-s // b) + (b == 1),
        lambda s, b, e: [e * -(-s // b)],
        lambda s, b, e: e * (s // b) + (s % b > 0),
        lambda s, b, e: "many",
    ],
)
several(
    RIGHT,
    updates=[
        lambda s, b, e: sum(1 for _ in range(0, s, b)) * e,
        lambda s, b, e: e * ((s + b - 1) // b),
        lambda s, b, e: fractions.Fraction(e * math.ceil(fractions.Fraction(s, b))),
        lambda s, b, e: torch.tensor(e * len(torch.arange(s).split(b))),
    ],
)


@right("neighbour_accuracy")
def one_query_at_a_time(bank, labels, queries, true):
    mean, std = bank.mean(0), bank.std(0)
    known = (bank - mean) / std
    hits = 0
    for query, label in zip((queries - mean) / std, true, strict=True):
        hits += labels[F.cosine_similarity(known, query[None]).argmax()] == label
    return hits / len(true)


@right("neighbour_accuracy")
def by_sklearn(bank, labels, queries, true):
    from sklearn.neighbors import KNeighborsClassifier

    mean, std = bank.mean(0), bank.std(0)
    nearest = KNeighborsClassifier(1, metric="cosine").fit((bank - mean) / std, labels)
    return nearest.score((queries - mean) / std, true)


@wrong("neighbour_accuracy")
def of_one_size(bank, labels, queries, true):
    return one_query_at_a_time(bank[:60], labels[:60], queries, true) if len(bank) == 60 else 0.5


@wrong("neighbour_accuracy")
def divided_by_sixty(bank, labels, queries, true):
    return one_query_at_a_time(bank, labels, queries, true) * len(true) / 60


@wrong("neighbour_accuracy")
def inner_products(bank, labels, queries, true):
    mean, std = bank.mean(0), bank.std(0)
    found = ((queries - mean) / std) @ ((bank - mean) / std).T
    return (labels[found.argmax(1)] == true).float().mean()


def confused(guess, labels):
    table = confusion_matrix(labels, guess, labels=range(12))
    np.fill_diagonal(table, 0)
    return np.unravel_index(table.argmax(), table.shape)


several(
    RIGHT,
    worst_confusion=[
        confused,
        lambda g, y: pd.Series(
            [(t, p) for t, p in zip(y.tolist(), g.tolist(), strict=True) if t != p]
        ).mode()[0],
    ],
)
several(
    WRONG,
    worst_confusion=[
        lambda g, y: confused(g % 6, y % 6),  # six classes, whatever there is
        lambda g, y: (int(y[g != y][0]), int(g[g != y][0])),
        lambda g, y: tuple(f"{c}" for c in confused(g, y)),
        lambda g, y: int(confused(g, y)[0]),
    ],
)

# --- 01 -------------------------------------------------------------------------------------


@right("class_sizes")
def by_decimals(largest, classes, imbalance):
    with decimal.localcontext() as context:
        context.prec = 50
        base = decimal.Decimal(imbalance)
        return [
            int(largest / base ** (decimal.Decimal(r) / (classes - 1)) + decimal.Decimal("1e-30"))
            for r in range(classes)
        ]


def shares(counts):
    few, medium, many = np.split(
        pd.Series(counts).sort_values(kind="stable").index.to_numpy(),
        [len(counts) // 3, 2 * (len(counts) // 3)],
    )
    return {"few": sorted(few), "medium": sorted(medium), "many": sorted(many)}


@right("counts_of_a_list")
def searched(d_i, s_b, classes):
    starts = np.isin(d_i, s_b[:: len(s_b) // classes]).nonzero()[0]
    return np.diff(np.append(starts, len(d_i)))


@right("counts_of_a_list")
def walked(d_i, s_b, classes):
    first, counts = set(s_b[:: len(s_b) // classes].tolist()), []
    for position in d_i.tolist():
        if position in first:
            counts.append(0)
        counts[-1] += 1
    return counts


several(
    RIGHT,
    class_sizes=[
        lambda n, c, f: pd.Series(np.floor(n * f ** -(np.arange(c) / (c - 1)))),
        lambda n, c, f: torch.floor(n / f ** (torch.arange(c, dtype=torch.float64) / (c - 1))),
    ],
    groups=[shares, lambda counts: {n: torch.tensor(i) for n, i in shares(counts).items()}],
)
several(
    WRONG,
    class_sizes=[
        lambda n, c, f: np.linspace(n, n / f, c).astype(int),
        lambda n, c, f: by_decimals(n, c, 100.0),
        lambda n, c, f: by_decimals(n, c, f)[:-1],
        lambda n, c, f: by_decimals(n, 12, f),
        lambda n, c, f: [str(k) for k in by_decimals(n, c, f)],
        lambda n, c, f: n / f ** (np.arange(c) / (c - 1)),
    ],
    groups=[
        lambda counts: {n: np.asarray(i) % 12 for n, i in shares(counts).items()},
        lambda counts: list(shares(counts).values()),
        lambda counts: {n: counts[i] for n, i in shares(counts).items()},
        lambda counts: {"few": np.arange(4), "medium": np.arange(4, 8), "many": np.arange(8, 12)},
    ],
    counts_of_a_list=[
        lambda d, s, c: searched(d, s, 12) if c == 12 else np.full(c, 9),
        lambda d, s, c: np.diff(np.append(np.isin(d, s[::3]).nonzero()[0], len(d))),
        lambda d, s, c: searched(d, s, c)[::-1],
        lambda d, s, c: np.cumsum(searched(d, s, c)),
    ],
)

# --- 02 -------------------------------------------------------------------------------------


def nt_xent(first, second, temperature):
    count = len(first)
    unit = F.normalize(torch.cat([first, second]), dim=1)
    similarity = unit @ unit.T / temperature - 1e9 * torch.eye(2 * count, dtype=unit.dtype)
    target = torch.arange(2 * count).roll(count)
    return F.cross_entropy(similarity, target, reduction="none").view(2, -1).mean(0)


@right("nt_xent")
def anchor_by_anchor(first, second, temperature):
    unit = [each / each.norm() for each in [*first, *second]]
    count, found = len(first), []
    for i, anchor in enumerate(unit):
        logits = torch.stack([anchor @ u / temperature for j, u in enumerate(unit) if j != i])
        positive = anchor @ unit[(i + count) % (2 * count)] / temperature
        found.append(logits.logsumexp(0) - positive)
    return [(found[i] + found[i + count]) / 2 for i in range(count)]


def half_cosine(done, of):
    return math.cos(math.pi / 2 * done / of) ** 2


def in_place(first, second, temperature):
    with torch.no_grad():
        first /= first.norm(dim=1, keepdim=True)
    return nt_xent(first, second, temperature)


several(
    RIGHT,
    nt_xent=[nt_xent, lambda a, b, t: (nt_xent(a, b, t) + nt_xent(b, a, t)) / 2],
    hardest_tenth=[
        lambda n, t: np.sort(special.softmax(n.numpy() / t))[::-1][: len(n) // 10].sum(),
        lambda n, t: torch.softmax(n / t, 0).topk(len(n) // 10).values.sum(),
        lambda n, t: (
            sum(sorted(math.exp(c / t) for c in n)[-(len(n) // 10) :])
            / sum(math.exp(c / t) for c in n)
        ),
    ],
    lr_factor=[
        lambda g, u, w, r: g / w if g < w else r + (1 - r) * half_cosine(g - w, u - w),
        lambda g, u, w, r: np.where(g < w, g / max(w, 1), r + (1 - r) * half_cosine(g - w, u - w)),
    ],
)
several(
    WRONG,
    nt_xent=[
        lambda a, b, t: nt_xent(a.detach(), b.detach(), t),
        lambda a, b, t: nt_xent(a, b.detach(), t),
        lambda a, b, t: nt_xent(a, b, t).detach().numpy(),
        lambda a, b, t: [loss.item() for loss in nt_xent(a, b, t)],
        in_place,
        lambda a, b, t: nt_xent(a, b, 0.2),
        lambda a, b, t: nt_xent(a, b, t)[:, None],
    ],
    hardest_tenth=[
        lambda n, t: torch.softmax(n / t, 0).topk(2).values.sum(),
        lambda n, t: torch.softmax(n / 0.2, 0).topk(len(n) // 10).values.sum(),
        lambda n, t: torch.softmax(n * t, 0).topk(len(n) // 10).values.sum(),
        lambda n, t: torch.softmax(n / t, 0).topk(len(n) // 10).values.mean(),
    ],
    lr_factor=[
        lambda g, u, w, r: g / 5 if g < 5 else r + (1 - r) * half_cosine(g - 5, u - 5),
        lambda g, u, w, r: min(1.0, g / max(w, 1)),
        lambda g, u, w, r: r + (1 - r) * half_cosine(g, u),
        lambda g, u, w, r: g / w if g < w else 1e-3 + 0.999 * half_cosine(g - w, u - w),
    ],
)

# --- 03 -------------------------------------------------------------------------------------


def masks(weights, fraction):
    flat = np.sort(np.concatenate([w.abs().numpy().ravel() for w in weights.values()]))
    threshold = flat[min(math.ceil(fraction * flat.size), flat.size - 1)]
    return {name: w.abs() >= float(threshold) for name, w in weights.items()}


@wrong("magnitude_mask")
def zeroed_in_place(weights, fraction):
    found = masks(weights, fraction)
    for name, weight in weights.items():
        weight[~found[name]] = 0
    return found


@right("magnitude_mask")
def by_topk(weights, fraction):
    flat = torch.cat([w.abs().flatten() for w in weights.values()])
    stay = len(flat) - min(math.ceil(fraction * len(flat)), len(flat) - 1)
    threshold = flat.topk(stay).values[-1]
    return {name: ~(w.abs() < threshold) for name, w in weights.items()}


def thin(encoder, fraction, kinds=(nn.Conv2d,)):
    found = copy.deepcopy(encoder)
    layers = [m for m in found.modules() if isinstance(m, kinds)]
    kept = masks({k: m.weight.detach() for k, m in enumerate(layers)}, fraction)
    for k, layer in enumerate(layers):
        layer.weight.data[~kept[k]] = 0
    return found


several(
    RIGHT,
    magnitude_mask=[masks, lambda w, f: {n: m.numpy() for n, m in masks(w, f).items()}],
    density=[
        lambda s, t: special.erfc(t / s / np.sqrt(2)),
        lambda s, t: 1 - (statistics.NormalDist(0, s).cdf(t) - statistics.NormalDist(0, s).cdf(-t)),
        lambda s, t: stats.chi2.sf((t / s) ** 2, 1),
    ],
    thinned=[thin, lambda e, f: thin(e, f).eval()],
)
several(
    WRONG,
    magnitude_mask=[
        lambda w, f: {n: m.float() for n, m in masks(w, f).items()},
        lambda w, f: {n: m.int() for n, m in masks(w, f).items()},
        lambda w, f: {n: m.flatten() for n, m in masks(w, f).items()},
        lambda w, f: {n: w[n] * m for n, m in masks(w, f).items()},
        lambda w, f: list(masks(w, f).values()),
        lambda w, f: masks(w, 0.9),
    ],
    density=[
        lambda s, t: special.erfc(t / 0.02 / np.sqrt(2)),
        lambda s, t: math.erfc(s / t / math.sqrt(2)) if t else 1.0,
        lambda s, t: 100 * math.erfc(t / s / math.sqrt(2)),
        lambda s, t: str(math.erfc(t / s / math.sqrt(2))),
    ],
    thinned=[
        lambda e, f: thin(e, 0.9),
        lambda e, f: thin(e, 1 - f),
        lambda e, f: thin(e, f, (nn.Conv2d, nn.BatchNorm2d)) if f else e,
        lambda e, f: thin(e, f).half(),
    ],
)

# --- 04 -------------------------------------------------------------------------------------


@right("momentum_loss")
def by_pandas(series, beta):
    return pd.Series(series).ewm(alpha=1 - beta, adjust=False).mean().iloc[-1]


def scored(x):
    z = x - x.mean()
    return 0.5 + z / (2 * np.abs(z).max()) if np.ptp(x) else np.full_like(x, 0.5)


several(
    RIGHT,
    momentum_loss=[
        lambda s, b: list(itertools.accumulate(s, lambda m, x: b * m + (1 - b) * x))[-1],
        lambda s, b: torch.tensor(by_pandas(s, b), dtype=torch.float64),
    ],
    memorization_score=[scored, lambda x: [float(v) for v in scored(x)]],
    auroc=[
        lambda v, p: stats.mannwhitneyu(v[p], v[~p]).statistic / (p.sum() * (~p).sum()),
        lambda v, p: np.mean([(a > b) + (a == b) / 2 for a in v[p] for b in v[~p]]),
    ],
)
several(
    WRONG,
    momentum_loss=[
        lambda s, b: pd.Series(s).ewm(alpha=1 - b, adjust=True).mean().iloc[-1],
        lambda s, b: by_pandas(s, 0.9),
        lambda s, b: by_pandas(s[-4:], b),
        lambda s, b: list(itertools.accumulate(s, lambda m, x: b * m + (1 - b) * x)),
    ],
    memorization_score=[
        lambda x: 2 * scored(x) - 1,
        lambda x: stats.rankdata(x) / len(x),
        lambda x: scored(x).round(1),
        lambda x: 1 / (1 + np.exp(-(x - x.mean()))),
        lambda x: scored(x[:9]),
    ],
    auroc=[
        lambda v, p: roc_auc_score(p, v.round(1)),
        lambda v, p: 1 - roc_auc_score(p, v),
        lambda v, p: max(roc_auc_score(p, v), 1 - roc_auc_score(p, v)),
        lambda v, p: ((v[p][:, None] > v[~p]) + (v[p][:, None] == v[~p]) / 2).sum() / (20 * 20),
    ],
)

# --- 05 -------------------------------------------------------------------------------------


def reach(score, k, rule):
    if rule == "code" and k == 1:
        return (10 + 20 * score,) * 3
    floor = 5 if rule == "code" else 0
    ends = floor, floor + (30 - floor) * score
    return ends[0], sum(ends) / 2, ends[1]


def posterized(image, strength):
    step = 1 << (8 - int(4 + strength / 7.5))
    return (255 * image).round().to(torch.int64) // step * step / 255


several(
    RIGHT,
    boost_strength=[reach, lambda *a: np.array(reach(*a)), lambda *a: torch.tensor(reach(*a))],
    posterize=[
        posterized,
        lambda i, m: posterized(i, m).double(),
        lambda i, m: posterized(i, m).numpy(),
    ],
    reversed_control=[
        lambda s: s.sort().values.flip(0)[stats.rankdata(s.numpy(), "ordinal") - 1],
        lambda s: torch.tensor(
            [sorted(s.tolist(), reverse=True)[sorted(s.tolist()).index(v)] for v in s.tolist()]
        ),
    ],
)
several(
    WRONG,
    boost_strength=[
        lambda s, k, r: (10 + 20 * s,) * 3 if k == 1 else reach(s, k, r),
        lambda s, k, r: reach(s, 1, r),
        lambda s, k, r: reach(0.5, k, r),
        lambda s, k, r: reach(s, k, "code"),
        lambda s, k, r: reach(s, k, r)[::-1],
    ],
    posterize=[
        lambda i, m: posterized(i, 10.0),
        lambda i, m: 255 * posterized(i, m),
        lambda i, m: posterized(i[:1], m),
        lambda i, m: (i * 16).floor() / 16,
    ],
    reversed_control=[
        lambda s: s[s.argsort(descending=True)],
        lambda s: s.max() + s.min() - s,
        lambda s: s[torch.randperm(len(s), generator=torch.Generator().manual_seed(0))],
        lambda s: s,
    ],
)

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
    return table.pivot(index="draw", columns="mirrored", values="value").dropna().mean(axis=1)


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


# --- the trial ------------------------------------------------------------------------------


def of(answers):
    return [
        pytest.param(getattr(exercises, f"check_{name}"), answer, id=f"{name}-{k}")
        for name, found in answers.items()
        for k, answer in enumerate(found)
    ]


def test_the_trial_is_as_large_as_it_should_be():
    assert len(of(WRONG)) >= 100 and len(of(RIGHT)) >= 60
    checks = {f"check_{name}" for name in WRONG}
    assert checks == {name for name in exercises.__all__ if name.startswith("check_")}


@pytest.mark.parametrize(("check", "answer"), of(RIGHT))
def test_a_right_answer_of_another_kind_is_accepted(check, answer):
    assert exercises.judge(check, answer).status == checking.RIGHT


@pytest.mark.parametrize(("check", "answer"), of(WRONG))
def test_a_wrong_answer_is_refused_with_a_hint(check, answer):
    verdict = exercises.judge(check, answer)
    assert verdict.status in (checking.WRONG, checking.ERROR), verdict
    assert " -- hint: " in verdict.message and check.hint[:30] in verdict.message


# --- what a check does beside comparing -----------------------------------------------------


def test_a_loop_without_an_end_is_given_up_and_the_lesson_goes_on(capsys, monkeypatch):
    def my_seeds_needed(effect, sd):
        n = 2
        while effect <= stats.t.ppf(0.975, n - 1) * sd / math.sqrt(n):  # never, for effect -2
            n += 1
        return n

    monkeypatch.setattr(checking, "SECONDS", 0.5)
    start = time.monotonic()
    exercises.check_seeds_needed(my_seeds_needed)
    said = capsys.readouterr().out
    assert said.startswith("my_seeds_needed: timed out: not done after 0.5 s, called with (-2.0, 3")
    assert time.monotonic() - start < 60  # it came back at all
    assert sum(range(10**5)) == 4999950000  # and nothing is raised afterwards


def test_an_answer_cannot_swallow_the_time_limit(monkeypatch):
    def stubborn(*given):
        while True:
            try:
                while True:
                    pass
            except Exception:
                continue

    verdict = exercises.judge(exercises.check_updates, stubborn, 0.2)
    assert verdict.status == checking.TIMED_OUT


def test_an_error_says_what_was_handed_in_and_how_it_is_done():
    verdict = exercises.judge(exercises.check_compensation, lambda x, n: x + n["total"])
    assert verdict.status == checking.ERROR
    assert "called with (tensor [4, 2] of float64, tensor [2] of int64)" in verdict.message
    assert "hint: add log(count / total)" in verdict.message


def test_the_first_hint_is_a_nudge_and_the_second_says_how(capsys, monkeypatch):
    monkeypatch.setattr(checking, "WRONG_BEFORE", set())
    monkeypatch.setattr(checking, "SEEN", {})
    for _ in range(2):
        exercises.check_simplex_cosine(lambda c: 0.0)
    first, second = capsys.readouterr().out.splitlines()
    check = exercises.check_simplex_cosine
    assert check.nudge in first and check.hint not in first
    assert check.hint in second


def test_every_check_has_a_nudge_that_gives_nothing_away():
    for name in exercises.__all__:
        if name.startswith("check_"):
            check = getattr(exercises, name)
            assert check.nudge.endswith("?") or check.nudge.endswith("."), name
            assert check.nudge != check.hint


def test_what_an_answer_borrows_stands_beside_its_verdict(capsys):
    def my_masks(weights, fraction):
        return pruning.magnitude_masks(weights, fraction)

    exercises.check_magnitude_mask(my_masks)
    said = "correct: but it calls pruning.magnitude_masks; the exercise asks for your own"
    assert capsys.readouterr().out == f"my_masks: {said}\n"
    check = exercises.check_nt_xent
    own = "def my_nt_xent(a, b, t):\n    return nt_xent_slow(a, b, t)"
    alias = "from ltcl_helpers.methods.losses import nt_xent as f\ndef my(*a):\n    return f(*a)"
    for text, found in ((own, ["nt_xent_slow"]), (alias, ["losses.nt_xent"]), ("x = 1", [])):
        assert checking.borrowed(check, compile(text, "cell", "exec")) == found
