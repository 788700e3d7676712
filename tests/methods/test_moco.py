"""MoCo against the published steps, and what its queue and key encoder promise."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from ltcl_helpers import pretrain
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.methods import losses
from ltcl_helpers.methods.losses import info_nce
from ltcl_helpers.methods.moco import MoCo, make_head
from ltcl_helpers.methods.simclr import Batch
from ltcl_helpers.recipes import RECIPES

TINY = dict(preset="tiny", device="cpu", precision="float32")


def toy(**options):
    """MoCo around a small network, in double precision, and a batch for it."""
    config = RunConfig(method="moco-v2", batch_size=8, **(TINY | options))
    method = pretrain.make_method(config).double().train()
    draw = torch.Generator().manual_seed(3)
    views = torch.rand(2, 8, 3, 8, 8, generator=draw, dtype=torch.float64)
    method.start_epoch(1, 1, torch.Generator().manual_seed(0))
    return method, Batch(torch.arange(8), torch.zeros(8), tuple(views))


# --- the published steps --------------------------------------------------------------------


def published(values, start):
    """The golden run's networks in the project's own class, in double precision."""
    hidden = f"{start}init_encoder_q.fc.2.weight" in values
    config = RunConfig(
        method="moco-v2" if hidden else "moco-v1", batch_size=4, queue_batches=4, group_size=4,
        key_momentum=float(values[start + "m"]), temperature=float(values[start + "T"]), **TINY,
    )  # fmt: skip
    body = nn.Sequential(nn.Linear(12, 6), nn.ReLU())
    body.dim = 6
    method = MoCo(body, config).double()
    method.head[-1] = nn.Linear(6, 4).double()
    method.key_head[-1] = copy.deepcopy(method.head[-1]).requires_grad_(False)
    method.queue = torch.from_numpy(values[start + "init_queue"]).clone()
    method.load_state_dict(weights(values, start + "init_"), strict=False)
    return method


def weights(values, start):
    found = {}
    for name in values:
        if name.startswith(start + "encoder_"):
            twin, part, *rest = name.removeprefix(start + "encoder_").split(".")
            own = {"body": "encoder.0", "fc": "head"}[part]
            rest = rest if rest[0].isdigit() or part == "body" else ["0", *rest]
            found[".".join(["key_" * (twin == "k") + own, *rest])] = torch.from_numpy(values[name])
    return found


@pytest.mark.parametrize("start", ["mlp0_", "mlp1_"])
def test_five_steps_equal_the_published_code(start, golden, monkeypatch):
    values, seen = golden("e_moco"), []
    cross_entropy = losses.F.cross_entropy
    monkeypatch.setattr(
        losses.F, "cross_entropy", lambda x, *a, **k: seen.append(x) or cross_entropy(x, *a, **k)
    )
    method = published(values, start)
    optimizer = torch.optim.SGD(method.parameters(), 0.05, 0.9, weight_decay=1e-4)
    for step in range(5):
        name = f"{start}step{step}_"
        views = [torch.from_numpy(values[name + part]) for part in ("im_q", "im_k")]
        loss = method(Batch(torch.arange(4), None, tuple(views)))
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        for got, wanted in (
            (seen[-1].detach(), "logits"), (loss.mean().item(), "loss"), (method.queue, "queue"),
            (method.place, "ptr"),
        ):  # fmt: skip
            np.testing.assert_allclose(got, np.squeeze(values[name + wanted]), rtol=0, atol=1e-9)
    state, final = method.state_dict(), weights(values, start + "final_")
    assert len(final) == (8 if start == "mlp0_" else 12)
    for key, wanted in final.items():
        torch.testing.assert_close(state[key], wanted, rtol=0, atol=1e-9)


# --- its parts ------------------------------------------------------------------------------


def test_the_queue_is_a_ring_written_in_place():
    method, _ = toy(queue_batches=3)
    address, oracle = method.queue.data_ptr(), method.queue.clone()
    for step in range(5):
        keys = torch.full((8, 128), float(step), dtype=torch.float64)
        oracle[:, [(8 * step + k) % 24 for k in range(8)]] = float(step)
        method.enqueue(keys)
        assert torch.equal(method.queue, oracle) and method.place == 8 * (step + 1) % 24
    assert method.queue.data_ptr() == address


def test_the_key_encoder_moves_before_the_keys_and_gets_no_gradient():
    method, batch = toy(key_momentum=0.75, group_size=8)
    for weight in method.parameters():
        weight.data.add_(0.1 * weight.requires_grad)  # now the two encoders differ
    before = copy.deepcopy(method)
    method(batch).sum().backward()
    for name in ("encoder.conv1.weight", "head.2.weight"):
        old, leader = before.get_parameter("key_" + name), before.get_parameter(name)
        moved = method.get_parameter("key_" + name)
        torch.testing.assert_close(moved, 0.75 * old + 0.25 * leader)
        assert moved.grad is None and method.get_parameter(name).grad.abs().sum() > 0
    before.follow()
    torch.testing.assert_close(method.queue[:, :8].T, before.keys(batch.views[1]))
    statistic = "encoder.bn1.running_mean"  # the twin's own, from the keys alone
    assert not torch.equal(method.state_dict()["key_" + statistic], method.state_dict()[statistic])


def test_keys_are_normalised_in_other_groups_and_come_back_in_order():
    method, batch = toy(group_size=2)
    method.shuffle.copy_(torch.tensor([5, 2, 7, 0, 1, 6, 3, 4]) / 8)
    order = method.shuffle.argsort()
    plain = nn.Sequential(method.key_encoder, method.key_head)
    expected = torch.empty(8, 128, dtype=torch.float64)
    for pair in order.view(4, 2):
        expected[pair] = nn.functional.normalize(one_group(plain, batch.views[1][pair]), dim=1)
    torch.testing.assert_close(method.keys(batch.views[1]), expected, rtol=0, atol=1e-10)
    first = method.shuffle.clone()
    method.start_epoch(2, 2, torch.Generator().manual_seed(1))
    assert not torch.equal(first.argsort(), method.shuffle.argsort())


def one_group(network, images):
    alone = copy.deepcopy(network)
    for norm in alone.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.groups = 1
    return alone(images).detach()


def test_symmetric_loss_is_the_sum_of_both_directions():
    method, batch = toy(symmetric=True, group_size=8)
    method.shuffle.zero_()
    twin = copy.deepcopy(method)
    loss = method(batch)
    twin.follow()
    keys = [twin.keys(view) for view in batch.views]
    queries = [twin.project(view) for view in batch.views]
    both = [info_nce(queries[k], keys[1 - k], twin.queue, 0.2) for k in (0, 1)]
    torch.testing.assert_close(loss, sum(both), rtol=0, atol=1e-10)
    assert method.place == 16
    torch.testing.assert_close(method.queue[:, :8].T, keys[1])


def test_options_and_recipes():
    paper = {name: RunConfig(preset="paper", method=name) for name in ("moco-v1", "moco-v2")}
    for config in paper.values():
        assert config.options["queue_batches"] * config.batch_size == 4096
        assert (config.lr, config.warmup, config.drop_last) == (0.06, 0, True)
        assert pretrain.make_method(config.model_copy(update={"width": 4})).encoder.bn1.groups == 8
    assert [c.temperature for c in paper.values()] == [0.1, 0.2]
    assert [c.options["mlp"] for c in paper.values()] == [False, True]
    assert len(make_head(6, True)) == 3 and len(make_head(6, False)) == 1
    boosted = RunConfig(method="moco-v2", boost="memory")
    assert boosted.control == RunConfig(method="moco-v2", boost="shuffled").name
    assert RunConfig(method="moco-v2", queue_batches=4).options["queue_batches"] == 4
    other = RunConfig(method="moco-v2", key_momentum=0.0)
    assert (other.name, other.label) == ("moco-v2-key_momentum-0.0", "MoCo v2, key_momentum 0.0")
    assert RunConfig(method="moco-v1").name == "moco-v1"  # its linear head is its recipe's
    for wrong in (dict(queue_batches=1), dict(key_momentum=1.0), dict(nothing=1)):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            RunConfig(method="moco-v2", **wrong)
    assert {"moco-v1", "moco-v2"} < RECIPES.keys()


# --- in the loop ----------------------------------------------------------------------------


class Forbidden:
    """Labels that may be picked by index and nothing else."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self

    def __getattr__(self, name):
        raise AssertionError(f"the method read labels.{name}")


@pytest.mark.parametrize("name", ["moco-v1", "moco-v2"])
def test_labels_are_never_read(name):
    config = RunConfig(method=name, **TINY)
    training = pretrain.Training(config, splits.select(config))
    training.labels = Forbidden()
    training.method.start_epoch(1, 2, training.generator("pruning", 1))
    updates = [(torch.arange(64), 0.1)] * 2
    loss = training.epoch(updates, lambda x, s: (x / 255, x.flip(3) / 255), training.memory.scores)
    assert torch.isfinite(loss)


def test_batches_have_one_size_and_a_sample_left_out_scores_half():
    config = RunConfig(method="moco-v2", **TINY)
    run = pretrain.pretrain(config)
    parts = pretrain.batches(len(run.labels), config, 1)
    assert {len(part) for part in parts} == {64} and len(run.labels) % 64
    seen = torch.cat(parts)
    first = run.momentum_loss[0]
    assert first[seen].isfinite().all() and first.isnan().sum() == len(first) - len(seen)


@pytest.mark.parametrize("changes", [{}, {"boost": "memory"}, {"symmetric": True}, {"mlp": False}])
def test_stopped_and_resumed_equals_never_stopped(changes, tmp_path, stop_and_resume):
    config = RunConfig(method="moco-v2", epochs=4, **TINY, **changes)
    pretrain.pretrain(config, tmp_path / "whole")
    _, saved = stop_and_resume(config, tmp_path / "stopped", 2)
    assert {"queue", "place", "key_encoder.conv1.weight", "key_head.0.weight"} <= saved[
        "method"
    ].keys()
    for name in ("memory.npz", "encoder.safetensors"):
        whole, stopped = (tmp_path / folder / name for folder in ("whole", "stopped"))
        assert whole.read_bytes() == stopped.read_bytes()


def test_boost_steers_it_and_shuffled_is_another_run():
    losses_of = {}
    for boost in ("none", "memory", "shuffled"):
        config = RunConfig(method="moco-v2", boost=boost, epochs=3, **TINY)
        losses_of[boost] = pretrain.pretrain(config).history["loss"].tolist()
    assert losses_of["none"][0] == losses_of["memory"][0] == losses_of["shuffled"][0]
    assert len({series[2] for series in losses_of.values()}) == 3
