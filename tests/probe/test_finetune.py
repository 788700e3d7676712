"""Fine-tuning against a plain loop, and the protocols' numbers in one place."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ltcl_helpers.config import RunConfig
from ltcl_helpers.pretrain import generator, seed_for
from ltcl_helpers.probe import finetune
from ltcl_helpers.views import make_views

CPU = torch.device("cpu")


class Small(nn.Sequential):
    """An encoder of five features."""

    dim = 5

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(nn.Flatten(), nn.Linear(3 * 8 * 8, 5), nn.BatchNorm1d(5), nn.ReLU())


def photos():
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (20, 3, 8, 8), np.uint8), torch.arange(20) % 3


def plain_loop(encoder, images, labels, config, batch, epochs, seed):
    """Momentum written out; the crops are the package's own."""
    model = nn.Sequential(copy.deepcopy(encoder), nn.Linear(5, 3)).train()
    for parameter in model[1].parameters():
        nn.init.zeros_(parameter)
    speed = [torch.zeros_like(parameter) for parameter in model.parameters()]
    steps, losses = math.ceil(20 / batch), []
    for epoch in range(1, epochs + 1):
        draw, scores = generator(seed, "finetune views", epoch), torch.zeros(20)
        views, _ = make_views(config, scores, (draw, draw), ("crop",))
        order = torch.randperm(20, generator=generator(seed, "finetune order", epoch))
        for number, index in enumerate(order.tensor_split(steps)):
            (view,) = views(torch.from_numpy(images)[index], scores[index])
            loss = F.cross_entropy(model(view), labels[index])
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            done = (epoch - 1 + number / steps) / epochs
            rate = 0.05 * batch / finetune.BATCH * (1 + math.cos(math.pi * done)) / 2
            with torch.no_grad():
                for parameter, gradient, s in zip(
                    model.parameters(), gradients, speed, strict=True
                ):
                    s.mul_(0.9).add_(gradient)
                    parameter -= rate * (gradient + 0.9 * s)  # Nesterov's
        losses.append(float(loss.detach()))
    return model.eval(), losses


@pytest.mark.parametrize(("most", "batch"), [(256, 20), (8, 8)])
@pytest.mark.parametrize("method", ["simclr", "bcl-i"])
def test_the_whole_network_learns_as_in_a_plain_loop(most, batch, method, monkeypatch, caplog):
    monkeypatch.setattr(finetune, "BATCH", most)
    caplog.set_level("INFO")
    images, labels = photos()
    config = RunConfig(preset="tiny", method=method, crop_from=0.3)
    plain = RunConfig(preset="tiny", crop_from=0.3)
    encoder = Small()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    model = finetune.fine_tune(encoder, images, labels, 3, config, CPU, epochs=3, seed=4)
    expected, losses = plain_loop(encoder, images, labels, plain, batch, 3, 4)
    given = torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(model(given), expected(given), rtol=1e-4, atol=1e-5)
    assert not model.training and model(given).abs().max() > 0
    assert all(torch.equal(before[name], v) for name, v in encoder.state_dict().items())
    assert [record.getMessage() for record in caplog.records] == [
        f"fine-tuning epoch {k} of 3: loss {loss:.4f}" for k, loss in enumerate(losses, 1)
    ]


def test_a_fine_tuned_network_begins_without_an_opinion():
    model = finetune.FineTuned(Small(), 5, 3)
    assert model.classifier.weight.shape == (3, 5)
    assert not model(torch.rand(4, 3, 8, 8)).any()


def test_crops_of_images_in_files_are_drawn_from_the_probes_seed(monkeypatch):
    seeds, real = [], finetune.ahead

    def note(source, steps, draw):
        seeds.append(draw.initial_seed())
        return real(source, steps, draw)

    monkeypatch.setattr(finetune, "ahead", note)
    images, labels = photos()
    for given, seed in (({}, 0), ({"seed": 4}, 4)):
        finetune.fine_tune(
            Small(), images, labels, 3, RunConfig(preset="tiny"), CPU, epochs=2, **given
        )
        expected = [seed_for(seed, "finetune crops", epoch) for epoch in (1, 2)]
        assert seeds == expected
        seeds.clear()
