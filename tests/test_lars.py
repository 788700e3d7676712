"""LARS against its formula in NumPy."""

import copy

import numpy as np
import torch

from ltcl_helpers import pretrain
from ltcl_helpers.config import RunConfig
from ltcl_helpers.lars import LARS


def test_five_steps_equal_the_formula():
    draw = torch.Generator().manual_seed(0)
    start = [torch.randn(3, 4, generator=draw).double(), torch.zeros(4).double()]
    weights = [torch.nn.Parameter(w.clone()) for w in start]
    optimizer = LARS(weights, lr=2.0, momentum=0.9, weight_decay=0.01)
    expected, buffers = [w.numpy().copy() for w in start], [0.0, 0.0]
    for step in range(5):
        gradients = [torch.randn(w.shape, generator=draw).double() for w in start]
        gradients = [g * (step != 2) for g in gradients]  # a step without any slope
        for k, gradient in enumerate(g.numpy() for g in gradients):
            w, norm = expected[k], np.linalg.norm
            local = 0.001 * norm(w) / (norm(gradient) + 0.01 * norm(w)) if norm(w) else 1.0
            local = 1.0 if norm(gradient) < 1e-15 else local
            buffers[k] = 0.9 * buffers[k] + 2.0 * local * (gradient + 0.01 * w)
            expected[k] = w - buffers[k]
            weights[k].grad = gradients[k]
        optimizer.step()
        for got, wanted in zip(weights, expected, strict=True):
            np.testing.assert_allclose(got.detach(), wanted, rtol=0, atol=1e-12)


def test_parameters_without_gradient_stay_and_the_state_can_be_restored():
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    weights[0].grad = torch.ones(3)
    optimizer = LARS(weights, lr=1.0)
    optimizer.step()
    assert torch.equal(weights[1], torch.ones(3)) and not torch.equal(weights[0], torch.ones(3))
    other = LARS([torch.nn.Parameter(w.detach().clone()) for w in weights], lr=1.0)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    other.param_groups[0]["params"][0].grad = torch.ones(3)
    optimizer.step()
    other.step()
    assert torch.equal(weights[0], other.param_groups[0]["params"][0])


def test_a_run_can_ask_for_it_and_goes_on_after_a_stop(tmp_path, stop_and_resume):
    config = RunConfig(preset="tiny", optimizer="lars", lr=1.0, epochs=3, device="cpu")
    assert isinstance(pretrain.make_optimizer(torch.nn.Linear(2, 2), config), LARS)
    whole = pretrain.pretrain(config)
    resumed, _ = stop_and_resume(config, tmp_path / "run", 1)
    assert torch.equal(resumed.momentum_loss, whole.momentum_loss)
