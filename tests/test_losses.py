"""NT-Xent against the published function, a slow oracle and its symmetries."""

import numpy as np
import pytest
import torch

from ltcl_helpers.losses import nt_xent


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
    torch.testing.assert_close(nt_xent(same, same, 0.2), torch.full((4,), np.log(7.0)).double())
    with pytest.raises(ValueError, match="shapes"):
        nt_xent(torch.rand(3, 4), torch.rand(2, 4), 0.2)
