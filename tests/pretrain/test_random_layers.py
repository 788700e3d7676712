"""Networks of a library may have random layers; the kit's own have none."""

import pytest
import torch

from ltcl_helpers import pretrain
from ltcl_helpers.config import RunConfig
from ltcl_helpers.networks import foreign
from ltcl_helpers.pretrain.keeper import Keeper
from ltcl_helpers.runs import checkpoints


class WithDropout(torch.nn.Sequential):
    """Stands for a library's network that has random layers."""

    def __init__(self):
        layers = torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2)
        super().__init__(*layers, torch.nn.Flatten(), torch.nn.Dropout(0.5))


def test_random_layers_of_a_librarys_network_follow_the_seed_and_a_resumed_run(
    tmp_path, monkeypatch
):
    """They draw from torch's own generator: what was drawn from it before must not matter."""
    monkeypatch.setattr(foreign, "_without_classifier", lambda network: WithDropout())
    about = dict(preset="tiny", network="torchvision:resnet18", device="cpu", largest_class=16)
    whole = pretrain.pretrain(RunConfig(**about, epochs=3))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = pretrain.pretrain(RunConfig(**about, epochs=3))
    assert torch.equal(torch.get_rng_state(), before)  # left as it was found
    other = pretrain.pretrain(RunConfig(**about, epochs=3, seed=1))
    losses = [run.history["loss"].tolist() for run in (whole, again, other)]
    assert losses[0] == losses[1] != losses[2]
    assert len(set(losses[0])) == 3

    def stop(self, epoch, *rest):
        end_epoch(self, epoch, *rest)
        raise KeyboardInterrupt  # behind its checkpoint

    end_epoch = Keeper.end_epoch
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Keeper, "end_epoch", stop)
        pretrain.pretrain(RunConfig(**about, epochs=3), tmp_path / "run")
    assert checkpoints(tmp_path / "run")
    torch.manual_seed(99)
    resumed = pretrain.resume(tmp_path / "run")
    assert resumed.history["loss"].tolist() == losses[0]


class DropoutBeforeNorm(torch.nn.Sequential):
    """Its batch norm takes in what the dropout drew."""

    def __init__(self):
        layers = torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.Dropout(0.5), torch.nn.BatchNorm2d(4)
        super().__init__(*layers, torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())


def test_an_untrained_network_of_a_library_follows_the_seed_alone(monkeypatch):
    monkeypatch.setattr(foreign, "_without_classifier", lambda network: DropoutBeforeNorm())
    about = dict(preset="tiny", network="torchvision:resnet18", device="cpu", largest_class=16)

    def statistics(drawn, seed=0):
        torch.manual_seed(drawn)
        before = torch.get_rng_state()
        weights = pretrain.pretrain(RunConfig(**about, epochs=0, seed=seed)).encoder.state_dict()
        assert torch.equal(torch.get_rng_state(), before)  # left as it was found
        return next(value for name, value in weights.items() if name.endswith("running_mean"))

    assert torch.equal(statistics(1), statistics(2))
    assert not torch.equal(statistics(1), statistics(1, seed=1))
