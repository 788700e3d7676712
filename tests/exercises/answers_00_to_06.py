"""Answers to the exercises of lessons 00 to 06, by check: first the right, then the wrong."""

import copy
import itertools
import math

import numpy as np
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from ltcl_helpers.methods import pruning
from ltcl_helpers.methods.memory import memorization_score


def neighbours(bank, queries, k=1, standard=True, own=False):
    if standard:
        mean, std = bank.mean(0), bank.std(0)
        bank = (bank - mean) / std
        queries = (queries - queries.mean(0)) / queries.std(0) if own else (queries - mean) / std
    return (F.normalize(queries, dim=1) @ F.normalize(bank, dim=1).T).topk(k, dim=1).indices


def lazy(k=0, scale=1.0, **options):
    def answer(bank, labels, queries, true):
        guess = labels[neighbours(bank, queries, k + 1, **options)[:, k]]
        return scale * (guess == true).float().mean()

    return answer


def euclid(bank, labels, queries, true):
    return float((labels[torch.cdist(queries, bank).argmin(1)] == true).float().mean())


def confusion(swap=False, diagonal=False, both=False, modes=False, share=False):
    def answer(guess, labels):
        count = np.zeros((12, 12))
        np.add.at(count, (labels, guess), 1)
        if share:
            count /= count.sum(1, keepdims=True).clip(1)
        if not diagonal:
            np.fill_diagonal(count, 0)
        if modes:
            return int(count.sum(1).argmax()), int(count.sum(0).argmax())
        count = count + count.T if both else count.T if swap else count
        return tuple(map(int, np.unravel_index(count.argmax(), count.shape)))

    return answer


def sizes(turn=math.floor, last=1):
    def answer(n, c, f):
        return [turn(n / f ** (r / (c - last))) for r in range(c)]

    return answer


def step_by_step(n, c, f):
    return np.floor(n * np.cumprod([1, *[f ** (-1 / (c - 1))] * (c - 1)])).astype(int)


def groups(order=lambda counts: np.argsort(counts, kind="stable"), rest=0, tidy=np.sort):
    def answer(counts):
        third = len(counts) // 3
        cuts = [third + rest * (len(counts) % 3), 2 * third + rest * (len(counts) % 3)]
        few, medium, many = np.split(order(counts), cuts)
        return {"many": tidy(many), "medium": tidy(medium), "few": tidy(few)}

    return answer


def from_lists(d_i, s_b, classes):
    first = s_b[:: len(s_b) // classes]
    starts = [int(np.flatnonzero(d_i == position)[0]) for position in first]
    return np.diff([*starts, len(d_i)])


def nt_xent(itself=False, cross=False, one=False, tau=None):
    def answer(first, second, temperature):
        temperature, count = tau or temperature, len(first)
        unit = F.normalize(torch.cat([first, second]), dim=1)
        similarity = unit @ unit.T / temperature
        if cross:
            losses = F.cross_entropy(similarity[:count, count:], torch.arange(count),
                                     reduction="none")  # fmt: skip
            return losses
        if not itself:
            similarity.fill_diagonal_(-math.inf)
        target = (torch.arange(2 * count) + count) % (2 * count)
        losses = F.cross_entropy(similarity, target, reduction="none")
        return losses[:count] if one else (losses[:count] + losses[count:]) / 2

    return answer


def tenth(order="largest", tau=None, soft=True, up=False):
    def answer(negatives, temperature):
        push = torch.softmax(negatives / (tau or temperature), 0) if soft else negatives
        push = push if order == "given" else push.sort(descending=order == "largest").values
        many = -(-len(negatives) // 10) if up else len(negatives) // 10
        return push[:many].sum() / push.sum()

    return answer


def lr(shift=0, line=False, floored=True):
    def answer(g, updates, warmup, floor):
        g, floor = g + shift, floor * floored
        if g < warmup:
            return g / warmup
        part = (g - warmup) / (updates - warmup)
        return floor + (1 - floor) * (1 - part if line else 0.5 * (1 + math.cos(math.pi * part)))

    return answer


def masks(strict=False, turn=math.ceil, each=False, random=False):
    def of(parts, fraction):
        flat = torch.cat([w.abs().flatten() for w in parts.values()]).sort().values
        threshold = flat[min(turn(fraction * len(flat)), len(flat) - 1)]
        return {n: w.abs() > threshold if strict else w.abs() >= threshold
                for n, w in parts.items()}  # fmt: skip

    def answer(weights, fraction):
        if random:
            draw = torch.Generator().manual_seed(0)
            return {n: torch.rand(w.shape, generator=draw) >= fraction for n, w in weights.items()}
        if each:
            return {n: of({n: w}, fraction)[n] for n, w in weights.items()}
        return of(weights, fraction)

    return answer


def exactly(weights, fraction):
    """Keeps exactly P - k: drops some of a tie."""
    flat = torch.cat([w.abs().flatten() for w in weights.values()])
    keep = torch.ones(len(flat), dtype=torch.bool)
    keep[flat.argsort()[: min(math.ceil(fraction * len(flat)), len(flat) - 1)]] = False
    parts = keep.split([w.numel() for w in weights.values()])
    return {n: p.view(w.shape) for p, (n, w) in zip(parts, weights.items(), strict=True)}


def thinned(copied=True, mask=pruning.magnitude_masks, every=False):
    def answer(encoder, fraction):
        thin = copy.deepcopy(encoder) if copied else encoder
        weights = dict(thin.named_parameters()) if every else pruning.prunable(thin)
        found = mask(weights, fraction)
        with torch.no_grad():
            for name, weight in weights.items():
                weight.mul_(found[name])
        return thin

    return answer


def largest_gone(weights, fraction):
    flat = torch.cat([w.detach().abs().flatten() for w in weights.values()]).sort().values
    threshold = flat[max(0, math.floor((1 - fraction) * len(flat)) - 1)]
    return {n: w.abs() <= threshold for n, w in weights.items()}


def momentum(first=True, swap=False):
    def answer(series, beta):
        beta = 1 - beta if swap else beta
        value = series[0] if first else (1 - beta) * series[0]
        for loss in series[1:]:
            value = beta * value + (1 - beta) * loss
        return value

    return answer


def score(scale=lambda z: np.abs(z).max()):
    def answer(losses):
        z = losses - losses.mean()
        return (1 + z / scale(z)) / 2 if z.any() else np.full(len(z), 0.5)

    return answer


def duels(tie=0.5, swap=False):
    def answer(values, positive):
        a, b = values[positive][:, None], values[~positive]
        a, b = (b, a) if swap else (a, b)
        return float(((a > b) + tie * (a == b)).mean())

    return answer


def strengths(floors=(10, 5, 0), mean=0.5):
    def answer(score, k, rule):
        if rule == "code" and k == 1:
            return (floors[0] + (30 - floors[0]) * score,) * 3
        floor = floors[2] if rule == "paper" else floors[1]
        reach = (30 - floor) * score
        return floor, floor + mean * reach, floor + reach

    return answer


def posterize(turn=torch.floor, bits=lambda m: int(4 + m / 30 * 4), top=255):
    def answer(image, strength):
        lost = 2 ** (8 - bits(strength))
        return turn((image * top).round() / lost) * lost / top

    return answer


def turned(scores):
    used = torch.empty_like(scores)
    used[scores.argsort()] = scores.sort(descending=True).values
    return used


CALL = itertools.count()  # a seed that is another in every call


def lists(replace=False, seeded=True, one=False, first=False, shift=False, overlap=False):
    def answer(labels, used, per_class, seed):
        draw = np.random.default_rng(seed if seeded else 0)
        free = np.arange(len(labels)) if overlap else np.setdiff1d(np.arange(len(labels)), used)
        chosen = []
        for c in np.unique(labels):
            of_class = free[labels[free] == c]
            if one:
                chosen.append(np.repeat(of_class[:1], per_class))
            elif first:
                chosen.append(of_class[:per_class])
            elif shift:
                chosen.append(np.roll(of_class, seed % 3)[:per_class])
            else:
                chosen.append(draw.choice(of_class, per_class, replace=replace))
        return np.concatenate(chosen)

    return answer


def balance(ddof=0, by=lambda counts: np.argsort(counts, kind="stable")):
    def answer(accuracies, counts):
        third = len(counts) // 3
        parts = np.split(by(counts), [third, 2 * third])
        return np.std([accuracies[p].mean() for p in parts], ddof=ddof)

    return answer


def needed(level=0.975, freedom=1, least=2):
    def answer(effect, sd):
        n = least
        while abs(effect) <= stats.t.ppf(level, n - freedom) * sd / math.sqrt(n):
            n += 1
        return n

    return answer


ANSWERS = {
    "updates": (
        [lambda s, b, e: e * -(-s // b), lambda s, b, e: np.int64(e * math.ceil(s / b))],
        [lambda s, b, e: e * (s // b), lambda s, b, e: e * (s // b + 1),
         lambda s, b, e: math.ceil(s * e / b), lambda s, b, e: -(-s // b),
         lambda s, b, e: e * round(s / b)],
    ),
    "neighbour_accuracy": (
        [lazy()],
        [lazy(standard=False), lazy(k=1), lazy(scale=100), lazy(scale=60), lazy(own=True), euclid],
    ),
    "worst_confusion": (
        [confusion(), lambda g, y: np.array(confusion()(g, y))],
        [confusion(swap=True), confusion(diagonal=True), confusion(both=True),
         confusion(modes=True), confusion(share=True)],
    ),
    "class_sizes": (
        [sizes(), lambda n, c, f: np.floor(n / f ** (np.arange(c) / (c - 1))),
         lambda n, c, f: [int(n * f ** (-r / (c - 1))) for r in range(c)],
         lambda n, c, f: torch.tensor(sizes()(n, c, f))],
        [sizes(round), sizes(math.ceil), sizes(last=0), step_by_step,
         lambda n, c, f: sizes()(n, c, f)[::-1]],
    ),
    "groups": (
        [groups(), lambda c: {n: list(i) for n, i in groups()(c).items()}],
        [groups(rest=1), groups(tidy=lambda ids: ids),
         groups(lambda c: np.argsort(-c, kind="stable")[::-1]),
         groups(lambda c: np.argsort(-c, kind="stable")),
         lambda c: {"few": groups()(c)["few"]}],
    ),
    "counts_of_a_list": (
        [from_lists, lambda d, s, c: list(from_lists(d, s, c))],
        [lambda d, s, c: from_lists(d, s, c)[:-1],
         lambda d, s, c: np.full(c, len(d) // c),
         lambda d, s, c: np.bincount(d * c // (d.max() + 1), minlength=c),
         lambda d, s, c: np.sort(from_lists(d, s, c))[::-1],
         lambda d, s, c: np.full(c, np.isin(d, s).sum() // c)],
    ),
    "nt_xent": (
        [nt_xent(), lambda a, b, t: nt_xent()(a.float(), b.float(), t)],
        [nt_xent(itself=True), nt_xent(cross=True), nt_xent(one=True), nt_xent(tau=1.0),
         lambda a, b, t: nt_xent()(a, b, t).mean(), lambda a, b, t: 2 * nt_xent()(a, b, t)],
    ),
    "hardest_tenth": (
        [tenth(), lambda n, t: float(tenth()(n, t))],
        [tenth("given"), tenth("smallest"), tenth(tau=1), tenth(soft=False), tenth(up=True),
         lambda n, t: 100 * tenth()(n, t)],
    ),
    "lr_factor": (
        [lr()],
        [lr(shift=-1), lr(line=True), lr(floored=False), lambda g, u, w, r: lr()(g, u, 0, r)],
    ),
    "magnitude_mask": (
        [masks(), pruning.magnitude_masks],
        [masks(strict=True), masks(turn=math.floor), masks(each=True), masks(random=True), exactly,
         lambda w, f: {n: ~m for n, m in masks()(w, f).items()}, lambda w, f: {}],
    ),
    "density": (
        [lambda s, t: math.erfc(t / (s * math.sqrt(2))), lambda s, t: 2 * stats.norm.cdf(-t / s),
         lambda s, t: torch.erfc(torch.tensor(t / s / 2**0.5))],
        [lambda s, t: stats.norm.sf(t / s), lambda s, t: math.erf(t / (s * math.sqrt(2))),
         lambda s, t: math.erfc(t / s), lambda s, t: math.erfc(t / (s**2 * math.sqrt(2)))],
    ),
    "thinned": (
        [thinned(), thinned(mask=masks())],
        [thinned(copied=False), thinned(mask=masks(each=True)), thinned(mask=masks(random=True)),
         thinned(mask=largest_gone), thinned(every=True), lambda e, f: copy.deepcopy(e),
         lambda e, f: dict(e.state_dict())],
    ),
    "momentum_loss": (
        [momentum(), lambda s, b: np.float32(momentum()(s, b))],
        [momentum(first=False), momentum(swap=True), lambda s, b: sum(s) / len(s),
         lambda s, b: momentum()(s[::-1], b)],
    ),
    "memorization_score": (
        [score(), lambda x: memorization_score(torch.from_numpy(x))
         if np.ptp(x) else torch.full((len(x),), 0.5)],
        [lambda x: (x - x.min()) / (np.ptp(x) or 1), score(lambda z: z.max()),
         score(lambda z: -z.min()), score(lambda z: z.std()), lambda x: 1 - score()(x),
         lambda x: score()(x) if np.ptp(x) else np.full(len(x), np.nan)],
    ),
    "auroc": (
        [duels(), lambda v, p: roc_auc_score(p, v)],
        [duels(tie=0), duels(tie=1), duels(swap=True),
         lambda v, p: ((v > v.mean()) == p).mean()],
    ),
    "boost_strength": (
        [strengths(), lambda *a: list(strengths()(*a))],
        [strengths((10, 10, 0)), strengths((10, 5, 5)), strengths(mean=1), strengths((0, 0, 0)),
         lambda s, k, r: strengths()(s, 2 if k > 2 else 1, r)],
    ),
    "posterize": (
        [posterize(), lambda i, m: ((255 * i).round().int() & (256 - (1 << (8 - int(4 + m / 7.5)))))
         / 255],
        [posterize(torch.round), posterize(bits=lambda m: int(8 - m / 7.5)), posterize(top=1),
         lambda i, m: i, posterize(bits=lambda m: 4)],
    ),
    "reversed_control": (
        [turned, lambda s: s.sort(descending=True).values[s.argsort().argsort()]],
        [lambda s: 1 - s, lambda s: s.flip(0), lambda s: s.sort(descending=True).values,
         lambda s: s.sort(descending=True).values[s.argsort()]],
    ),
    "list_without_overlap": (
        [lists(), lambda *a: torch.from_numpy(np.sort(lists()(*a))),
         lambda *a: lists()(*a).tolist()],
        [lists(replace=True), lists(seeded=False), lists(one=True), lists(first=True),
         lists(shift=True), lists(overlap=True), lambda y, u, n, s: lists()(y, u, n, next(CALL)),
         lambda y, u, n, s: lists()(y, u, n - 1, s)],
    ),
    "balancedness": (
        [balance()],
        [balance(ddof=1), balance(by=lambda c: np.arange(len(c))), lambda a, c: a.std(),
         lambda a, c: balance()(a, c) ** 2, lambda a, c: np.ptp(a)],
    ),
    "seeds_needed": (
        [needed(), lambda e, s: float(needed()(e, s))],
        [needed(0.95), needed(freedom=0), lambda e, s: max(2, math.ceil((2 * s / e) ** 2)),
         lambda e, s: max(2, math.ceil((1.96 * s / e) ** 2)),
         lambda e, s: max(1, math.floor((2 * s / e) ** 2))],
    ),
}  # fmt: skip
