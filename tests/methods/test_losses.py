"""The losses against the published functions, slow oracles and their symmetries."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ltcl_helpers.methods.losses import (
    balanced_contrastive,
    compensate_logits,
    info_nce,
    nt_xent,
    supervised_contrastive,
)


def oracle(first, second, temperature):
    """The formula, term by term."""
    z = [v / v.norm() for v in [*first, *second]]
    count, losses = len(first), []
    for i in range(2 * count):
        pair = (i + count) % (2 * count)
        terms = [torch.exp(z[i] @ z[j] / temperature) for j in range(2 * count) if j != i]
        losses.append(-torch.log(torch.exp(z[i] @ z[pair] / temperature) / sum(terms)))
    return torch.stack(losses).view(2, count).mean(0)


@pytest.mark.parametrize("temperature", ["0.2", "0.5", "0.07"])
def test_interleaved_golden_values_and_gradient(golden, temperature):
    values = golden("a_ntxent")
    x = torch.from_numpy(values["inter_x"]).requires_grad_()
    loss = nt_xent(x[0::2], x[1::2], float(temperature))
    loss.mean().backward()
    for got, name in ((loss.detach(), "per_sample"), (x.grad, "grad")):
        np.testing.assert_allclose(got, values[f"inter_t{temperature}_{name}"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(loss.mean().item(), values[f"inter_t{temperature}_loss"], atol=1e-12)


@pytest.mark.parametrize("temperature", ["0.2", "0.5"])
def test_two_tensors_golden_values_and_gradients(golden, temperature):
    values = golden("a_ntxent")
    z1, z2 = (torch.from_numpy(values[f"two_z{i}"]).requires_grad_() for i in (1, 2))
    loss = nt_xent(z1, z2, float(temperature))
    loss.mean().backward()
    for got, name in ((loss.detach(), "per_sample"), (z1.grad, "grad1"), (z2.grad, "grad2")):
        np.testing.assert_allclose(got, values[f"two_t{temperature}_{name}"], rtol=0, atol=1e-12)


def test_single_precision_and_a_lone_sample(golden):
    values = golden("a_ntxent")
    x = torch.from_numpy(values["f32_x"])
    # A temperature of 0.2 makes rounding five times as large: 2e-7 of the loss was measured.
    np.testing.assert_allclose(nt_xent(x[0::2], x[1::2], 0.2), values["f32_per_sample"], rtol=1e-5)
    x = torch.from_numpy(values["b1_x"])
    assert nt_xent(x[:1], x[1:], 0.2).tolist() == [0.0]


def test_equals_the_slow_oracle_and_its_symmetries():
    draw = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 5, 7, generator=draw, dtype=torch.float64)
    loss = nt_xent(first, second, 0.3)
    torch.testing.assert_close(loss, oracle(first, second, 0.3), rtol=0, atol=1e-12)
    torch.testing.assert_close(loss, nt_xent(second, first, 0.3))  # the views are equals
    torch.testing.assert_close(loss, nt_xent(3 * first, 0.1 * second, 0.3))  # only directions count
    order = torch.randperm(5, generator=draw)
    torch.testing.assert_close(loss[order], nt_xent(first[order], second[order], 0.3))


def test_known_constant_and_bad_shapes():
    same = torch.ones(4, 3, dtype=torch.float64)
    torch.testing.assert_close(
        nt_xent(same, same, 0.2), torch.full((4,), np.log(7.0), dtype=torch.float64)
    )
    with pytest.raises(ValueError, match="shapes"):
        nt_xent(torch.rand(3, 4), torch.rand(2, 4), 0.2)


# --- InfoNCE -------------------------------------------------------------------------------------


def test_info_nce_equals_the_slow_oracle_and_has_its_constant():
    draw = torch.Generator().manual_seed(1)
    query, key = torch.randn(2, 5, 7, generator=draw, dtype=torch.float64)
    queue = F.normalize(torch.randn(7, 11, generator=draw, dtype=torch.float64), dim=0)
    loss = info_nce(query, key, queue, 0.3)
    for i in range(5):
        candidates = [key[i], *queue.T]
        terms = [torch.exp(F.cosine_similarity(query[i], c, dim=0) / 0.3) for c in candidates]
        torch.testing.assert_close(loss[i], -torch.log(terms[0] / sum(terms)))
    torch.testing.assert_close(loss, info_nce(2 * query, 0.1 * key, queue, 0.3))
    shuffled = queue[:, torch.randperm(11, generator=draw)]
    torch.testing.assert_close(loss, info_nce(query, key, shuffled, 0.3))
    same = torch.ones(4, 3, dtype=torch.float64)
    torch.testing.assert_close(
        info_nce(same, same, F.normalize(same.T, dim=0), 0.2),
        torch.full((4,), np.log(5.0), dtype=torch.float64),
    )
    with pytest.raises(ValueError, match="shapes"):
        info_nce(query, key, queue.T, 0.2)


# --- balanced contrastive ------------------------------------------------------------------------


def balanced_oracle(features, labels, prototypes, temperature, averaging, complement, average):
    """The definition, anchor by anchor and class by class."""
    everyone = [(f, int(y)) for pair, y in zip(features, labels, strict=True) for f in pair]
    anchors = len(everyone)
    everyone += [(c, k) for k, c in enumerate(prototypes)] if complement else []
    losses = []
    for i in range(anchors):
        unit, own = everyone[i]
        logit = [unit @ other / temperature for other, _ in everyone]
        by_class = {}
        for j, (_, k) in enumerate(everyone):
            if j != i:
                by_class.setdefault(k, []).append(logit[j])
        total = 0.0
        for k, members in by_class.items():
            weight = 1 if averaging else len(members)
            if average == "L1":
                total += weight * sum(map(torch.exp, members)) / len(members)
            elif average == "L2":
                total += weight * torch.exp(sum(members) / len(members))
            else:
                total += torch.exp(unit @ prototypes[k] / temperature)
        positives = [logit[j] for j, (_, k) in enumerate(everyone) if k == own and j != i]
        losses.append(torch.log(total) - sum(positives) / len(positives))
    return torch.stack(losses).view(-1, 2).mean(1)


@pytest.mark.parametrize("temperature", ["0.1", "0.07"])
def test_balanced_contrastive_golden_value_and_gradients(golden, temperature):
    values = golden("d_balscl")
    features, prototypes = (
        torch.from_numpy(values[name]).requires_grad_() for name in ("features", "centers")
    )
    labels = torch.from_numpy(values["targets"])
    loss = balanced_contrastive(features, labels, prototypes, float(temperature)).mean()
    loss.backward()
    start = f"t{temperature}_"
    np.testing.assert_allclose(loss.item(), values[start + "loss"], rtol=0, atol=1e-9)
    for got, name in ((features.grad, "grad_features"), (prototypes.grad, "grad_centers")):
        np.testing.assert_allclose(got, values[start + name], rtol=0, atol=1e-9)


@pytest.mark.parametrize("averaging", [True, False])
@pytest.mark.parametrize(
    ("complement", "average"),
    [(True, "L1"), (False, "L1"), (True, "L2"), (False, "L2"), (True, "L3")],
)
def test_balanced_contrastive_equals_the_slow_oracle(averaging, complement, average):
    draw = torch.Generator().manual_seed(2)
    features = F.normalize(torch.randn(7, 2, 6, generator=draw, dtype=torch.float64), dim=2)
    prototypes = F.normalize(torch.randn(5, 6, generator=draw, dtype=torch.float64), dim=1)
    labels = torch.tensor([0, 0, 0, 3, 1, 0, 3])  # classes 2 and 4 are absent, 1 has one sample
    switches = (averaging, complement, average)
    loss = balanced_contrastive(features, labels, prototypes, 0.2, *switches)
    expected = balanced_oracle(features, labels, prototypes, 0.2, *switches)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    order = torch.randperm(7, generator=draw)
    shuffled = balanced_contrastive(features[order], labels[order], prototypes, 0.2, *switches)
    torch.testing.assert_close(shuffled, loss[order])
    if (averaging, complement) == (False, False) and average == "L1":
        torch.testing.assert_close(supervised_contrastive(features, labels, 0.2), loss)


def test_balanced_contrastive_constants_and_bad_calls():
    same = F.normalize(torch.ones(6, 2, 4, dtype=torch.float64), dim=2)
    labels, centres = torch.tensor([0, 0, 0, 0, 1, 2]), same[:5, 0]
    # All alike: every class that is there counts as one, or every other candidate does.
    for averaging, expected in ((True, 5), (False, 11 + 5)):
        loss = balanced_contrastive(same, labels, centres, 0.1, averaging)
        expected = torch.full((6,), np.log(expected), dtype=torch.float64)
        torch.testing.assert_close(loss, expected)
    loss = balanced_contrastive(same, labels, centres, 0.1, class_complement=False)
    torch.testing.assert_close(loss, torch.full((6,), np.log(3.0), dtype=torch.float64))
    with pytest.raises(ValueError, match="average"):
        balanced_contrastive(same, labels, centres, 0.1, average="L4")
    with pytest.raises(ValueError, match="average"):
        balanced_contrastive(same, labels, centres, 0.1, class_complement=False, average="L3")
    with pytest.raises(ValueError, match="features"):
        balanced_contrastive(same[:, 0], labels, centres, 0.1)


@pytest.mark.parametrize("strength", ["1.0", "0.5"])
def test_logit_compensation_golden_values(golden, strength):
    values = golden("d_balscl")
    logits = torch.from_numpy(values["la_logits"]).double().requires_grad_()  # golden: float32
    counts = torch.from_numpy(values["cls_num_list"])
    moved = compensate_logits(logits, counts, float(strength))
    loss = F.cross_entropy(moved, torch.from_numpy(values["targets"]))
    loss.backward()
    start = f"la_tau{strength}_"
    np.testing.assert_allclose(loss.item(), values[start + "loss"], atol=1e-6)
    np.testing.assert_allclose(logits.grad, values[start + "grad"], atol=1e-6)
    margin = (moved - logits).detach()[:1]
    np.testing.assert_allclose(margin, values[start + "margin"], atol=1e-6)
