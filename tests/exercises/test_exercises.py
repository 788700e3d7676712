"""Every check finds right answers right, and plausible wrong ones wrong, in a short line."""

import copy
import importlib
import itertools
import json
import math
import re
import sys

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from ltcl_helpers import exercises, paths
from ltcl_helpers.data import splits
from ltcl_helpers.exercises import checking
from ltcl_helpers.methods import losses, pruning
from ltcl_helpers.methods.memory import memorization_score
from ltcl_helpers.views import randaugment

CHECKS = {n: getattr(exercises, n) for n in exercises.__all__ if n.startswith("check_")}
LESSONS = sorted((paths.ROOT / "notebooks").glob("[0-9]*.ipynb"))


@pytest.fixture(autouse=True)
def seed():
    """A check may draw weights: the same in every test, whatever ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


# --- answers, right (R) and wrong (W) -------------------------------------------------------


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


def confusion(swap=False, diagonal=False, both=False, modes=False):
    def answer(guess, labels):
        count = np.zeros((12, 12), int)
        np.add.at(count, (labels, guess), 1)
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
         confusion(modes=True)],
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
         score(lambda z: z.std()), lambda x: 1 - score()(x),
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


# --- lessons 07 to 11 -----------------------------------------------------------------------


def pair_means(alone=False, each=False, total=False):
    def answer(runs):
        draws = {}
        for draw, _, value in sorted(runs):
            draws.setdefault(draw, []).append(value)
        if each:
            return [value for *_, value in runs]
        found = [v for v in draws.values() if alone or len(v) == 2]
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


def held_out(least=1, stay=1, first=False):
    def answer(labels, share, seed):
        draw, found = np.random.default_rng(seed), []
        for label in np.unique(labels):
            own = np.flatnonzero(labels == label)
            many = min(max(least, round(share * len(own))), len(own) - stay)
            found.append(own[:many] if first else draw.permutation(own)[:many])
        return np.concatenate(found)

    return answer


ANSWERS |= {
    "learnt_late": ([pick("few", 10)],
                    [pick("", 10), pick("few", 10, 1), pick("few", 9), pick("many", 10)]),
    "hard_head": ([pick("many", 1)],
                  [pick("many", 1, 1), pick("many", 10), pick("few", 1)]),
    "changes": ([changes()],
                [changes(chosen=False), changes(sign=-1), changes(change=False)]),
    "pair_means": ([pair_means()],
                   [pair_means(alone=True), pair_means(each=True), pair_means(total=True)]),
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
        [held_out(least=0), held_out(stay=0), held_out(first=True)],
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


def of(kind):
    return [
        pytest.param(CHECKS[f"check_{name}"], answer, id=f"{name}-{k}")
        for name, answers in ANSWERS.items()
        for k, answer in enumerate(answers[kind])
    ]


def test_every_check_is_tried_with_wrong_answers():
    assert {f"check_{name}" for name in ANSWERS} == set(CHECKS)
    assert all(len(wrong) >= 3 for _, wrong in ANSWERS.values())
    assert all(check.hint and len(check.mistakes) >= 3 for check in CHECKS.values())


@pytest.mark.parametrize(("check", "answer"), of(0))
def test_a_right_answer_is_right(check, answer, capsys):
    verdict = exercises.judge(check, answer)
    assert verdict.status == checking.RIGHT, verdict
    assert not verdict.message or verdict.message.startswith("but it calls ")
    check(answer)
    assert ": correct" in capsys.readouterr().out


@pytest.mark.parametrize(("check", "answer"), of(1))
def test_a_wrong_answer_is_wrong_and_gets_a_short_hint(check, answer, capsys):
    verdict = exercises.judge(check, answer)
    assert verdict.status == checking.WRONG, verdict
    assert check.hint[:40] in verdict.message and len(verdict.message) <= 300
    check(answer)  # says so, and stops nothing
    assert ": wrong: " in capsys.readouterr().out


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_a_stub_is_not_answered_and_a_crash_is_an_error(check, capsys):
    def my_stub(*arguments):
        raise NotImplementedError

    for stub in (my_stub, lambda *a: NotImplemented, lambda *a: ...):
        assert exercises.judge(check, stub).status == checking.UNANSWERED
    check(my_stub)
    assert capsys.readouterr().out == "my_stub: not answered\n"
    for broken in (lambda *a: 1 / 0, lambda: 0, lambda *a: exit(), lambda *a: {}["x"]):
        assert exercises.judge(check, broken).status == checking.ERROR
    for empty in (lambda *a: None, lambda *a: "correct"):
        assert exercises.judge(check, empty).status in (checking.WRONG, checking.ERROR)


def test_the_course_and_its_checks_belong_together():
    """Each exercise's cell ends in one commented line, and its solution calls the same check."""
    asked = {}
    for path in LESSONS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = [("".join(c["source"]), c["metadata"].get("tags", [])) for c in cells
                if c["cell_type"] == "code"]  # fmt: skip
        open_checks = []
        for text, tags in code:
            if "solution" in tags:
                solved = re.findall(r"^exercises\.(check_\w+)\(", text, re.M)
                assert solved == open_checks[:1], path.name
                open_checks = open_checks[1:]
            for line in re.findall(r"^# .*exercises\..*$", text, re.M):
                assert line == text.splitlines()[-1], f"{path.name}: one line, the last"
                check, answer = re.fullmatch(r"# exercises\.(check_\w+)\((my_\w+)\)", line).groups()
                assert f"def {answer}(" in text and check not in asked
                asked[check] = path.name
                open_checks.append(check)
        assert not open_checks, path.name
    assert set(asked) == set(CHECKS)


def test_compare_says_what_differs():
    exercises.check("same", [1.0, 2.0], np.array([1.0, 2.0 + 1e-9]))
    for got, text in (
        ([1, 3], r"x: 1 of 2 values differ; at \[1\] got 3, expected 2"),
        ([1], r"x: got shape \[1\], expected \[2\]"),
        (None, "x: got None; is a `return` missing?"),
        ("many", "x: got 'many', which is no number or array"),
        ([math.nan, 2], "at .* got nan, expected 1"),
    ):
        with pytest.raises(AssertionError, match=text):
            exercises.check("x", got, [1, 2])
    with pytest.raises(AssertionError, match="x: got 1.5, expected 2"):
        exercises.check("x", torch.tensor(1.5, requires_grad=True), 2)


def test_summary_lists_what_is_open(capsys, monkeypatch):
    monkeypatch.setattr(checking, "SEEN", {})
    exercises.check_updates(ANSWERS["updates"][0][0])
    exercises.check_density(lambda s, t: NotImplemented)
    exercises.check_auroc(duels(tie=0))
    capsys.readouterr()
    exercises.summary()
    assert capsys.readouterr().out == "right: updates\nnot answered: density\nwrong: auroc\n"


def test_splits_and_boost_are_what_the_checks_compare_with():
    """Two constants that no answer above shares with the package."""
    assert splits.class_sizes(450, 100, 100.0)[:3] == [450, 429, 410]
    assert randaugment.CODE["Posterize"] == 9


OWN = """
from ltcl_helpers.exercises.checking import compare, exercise

@exercise("half of it, whatever it is", "the double")
def check_half(answer):
    compare("half of 3", answer(3), 1.5)
"""


def test_a_strangers_file_holds_an_exercise_of_its_own(tmp_path, monkeypatch, capsys):
    """Nothing of the package is edited, or told of it."""
    (tmp_path / "my_course.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(checking, "SEEN", {})
    check = importlib.import_module("my_course").check_half
    check(lambda x: x / 2)
    check(lambda x: 2 * x)
    right, wrong = capsys.readouterr().out.splitlines()
    assert right.endswith("correct") and "got 6, expected 1.5 -- hint: half of it" in wrong
    assert exercises.judge(check, lambda x: x / 2).status == checking.RIGHT
    exercises.summary()
    assert capsys.readouterr().out == "wrong: half\n"
    sys.modules.pop("my_course")
