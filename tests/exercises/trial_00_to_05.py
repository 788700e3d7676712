"""Answers of other kinds to the exercises of lessons 00 to 05."""

import copy
import decimal
import fractions
import itertools
import math
import statistics

import numpy as np
import pandas as pd
import torch
from exercises.trial import RIGHT, WRONG, right, several, wrong
from scipy import special, stats
from sklearn.metrics import confusion_matrix, roc_auc_score
from torch import nn
from torch.nn import functional as F

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
