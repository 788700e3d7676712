"""Answers to the exercises of lessons 07 to 11, by check: first the right, then the wrong."""

import math

import numpy as np
import torch
from scipy import stats
from torch.nn import functional as F

from ltcl_helpers.methods import losses


def pair_means(alone=False, each=False, total=False, blind=False):
    def answer(runs):
        draws, orders = {}, {}
        for draw, mirrored, value in sorted(runs):
            draws.setdefault(draw, []).append(value)
            orders.setdefault(draw, set()).add(mirrored)
        if each:
            return [value for *_, value in runs]
        whole = {d for d, found in orders.items() if len(draws[d] if blind else found) == 2}
        found = [v for d, v in draws.items() if alone or d in whole]
        return [sum(v) / (1 if total else len(v)) for v in found]

    return answer


def interval(student=True, ddof=1, root=True):
    def answer(values):
        n = len(values)
        factor = stats.t.ppf(0.975, n - 1) if student else 1.96
        half = factor * np.std(values, ddof=ddof) / (math.sqrt(n) if root else 1)
        return np.mean(values) - half, np.mean(values) + half

    return answer


def smallest(sd, n):
    drawn = np.random.default_rng(0).normal(size=(20_000, n))
    reach = stats.t.ppf(0.975, n - 1) * drawn.std(1, ddof=1) / math.sqrt(n)
    return sd * np.quantile(reach - drawn.mean(1), 0.8)


def info_nce(unit=True, positive=True, divide=True):
    def answer(query, key, queue, temperature):
        if unit:
            query, key = F.normalize(query, dim=1), F.normalize(key, dim=1)
        scale = temperature if divide else 1
        own, others = (query * key).sum(1, keepdim=True) / scale, query @ queue / scale
        logits = torch.cat([own, others], 1) if positive else others
        return logits.logsumexp(1) - own[:, 0]

    return answer


def ring(copied=False, wrapped=True, start=True):
    def answer(queue, keys, place):
        queue = queue.clone() if copied else queue
        first = place if start else 0
        queue[:, (first + torch.arange(len(keys))) % queue.shape[1]] = keys.T
        return (place + len(keys)) % queue.shape[1] if wrapped else place + len(keys)

    return answer


def pick(group, count, sign=-1):
    def answer(last, groups):
        found = np.flatnonzero([group in (g, "") for g in groups])
        return found[np.argsort(sign * last[found])[:count]].tolist()

    return answer


def changes(chosen=True, sign=1, change=True):
    def answer(plain, boosted, control, selection):
        at = selection if chosen else slice(None)
        a, b = ((other - change * plain)[at].mean() for other in (boosted, control))
        return a, b, sign * (a - b)

    return answer


def held_out(least=1, stay=1, first=False, window=False, near=None):
    def answer(labels, share, seed):
        draw, found = np.random.default_rng(seed), []
        for label in np.unique(labels):
            own = np.flatnonzero(labels == label)
            many = min(max(least, round(share * len(own))), len(own) - stay)
            mixed = np.roll(own, seed) if window else draw.permutation(own[: near and many + near])
            found.append(own[:many] if first else mixed[:many])
        return np.concatenate(found)

    return answer


ANSWERS = {
    "learnt_late": ([pick("few", 10)],
                    [pick("", 10), pick("few", 10, 1), pick("few", 9), pick("many", 10)]),
    "hard_head": ([pick("many", 1)],
                  [pick("many", 1, 1), pick("many", 10), pick("few", 1)]),
    "changes": ([changes()],
                [changes(chosen=False), changes(sign=-1), changes(change=False)]),
    "pair_means": ([pair_means()],
                   [pair_means(alone=True), pair_means(each=True), pair_means(total=True),
                    pair_means(blind=True)]),
    "interval": ([interval()], [interval(student=False), interval(ddof=0), interval(root=False)]),
    "smallest_difference": (
        [smallest],
        [lambda sd, n: sd * stats.t.ppf(0.975, n - 1) / math.sqrt(n),
         lambda sd, n: sd * (1.96 + 0.84) / math.sqrt(n),
         lambda sd, n: smallest(1, n)],
    ),
    "info_nce": ([info_nce()],
                 [info_nce(unit=False), info_nce(positive=False), info_nce(divide=False)]),
    "ring": ([ring()], [ring(copied=True), ring(wrapped=False), ring(start=False)]),
    "compensation": (
        [lambda x, n: x + (n / n.sum()).log()],
        [lambda x, n: x - (n / n.sum()).log(), lambda x, n: x + n.log(),
         lambda x, n: x + n / n.sum()],
    ),
    "simplex_cosine": ([lambda c: -1 / (c - 1)],
                       [lambda c: 1 / (c - 1), lambda c: -1 / c, lambda c: 0.0]),
    "balanced_loss": (
        [lambda *given: losses.balanced_contrastive(*given)],
        [lambda *given: losses.balanced_contrastive(*given, False, True),
         lambda *given: losses.balanced_contrastive(*given, True, False),
         lambda *given: losses.balanced_contrastive(*given, average="L2")],
    ),
    "never_tested": (
        [lambda train, test: sorted(set(train) - set(test))],
        [lambda train, test: sorted(set(test) - set(train)), lambda train, test: sorted(train),
         lambda train, test: []],
    ),
    "held_out": (
        [held_out()],
        [held_out(least=0), held_out(stay=0), held_out(first=True), held_out(window=True),
         held_out(near=2)],
    ),
    "decision": (
        [lambda low, high, gain: "keep" if low > gain else "drop" if high < gain else "run more"],
        [lambda low, high, gain: "keep" if low + high > 2 * gain else "drop",
         lambda low, high, gain: "keep" if low > 0 else "drop" if high < 0 else "run more",
         lambda low, high, gain: "keep" if high > gain else "drop"],
    ),
    "class_weight": (
        [lambda m, o, a: 0.5 if a else m / (m + o)],
        [lambda m, o, a: m / (m + o) if a else 0.5, lambda m, o, a: 0.5 if a else o / (m + o),
         lambda m, o, a: 1.0 if a else m / o],
    ),
}  # fmt: skip
