"""The loop against the published trainer's numbers, and what a run promises."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from ltcl_helpers import files, networks, pretrain, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.data.stored import Stored
from ltcl_helpers.errors import ConfigError, TimeUp
from ltcl_helpers.methods import pruning
from ltcl_helpers.methods.memory import MomentumLoss
from ltcl_helpers.pretrain import checks
from ltcl_helpers.pretrain import training as training_module

TINY = dict(preset="tiny", device="cpu")
SMALL = dict(TINY, largest_class=16, batch_size=16)


NAMES = {
    "backbone.fc.": "head.", "backbone.": "encoder.", "projector.": "head.",
    "bn_list.0": "dense", "bn_list.1": "pruned", "downsample.conv": "downsample.0",
    "downsample.bn": "downsample.1",
}  # fmt: skip


def replay(values, name, **attributes):
    """The golden run through `Training`: the project's own method, loss, memory and step."""
    lr, batch, labels = float(values["lr"]), int(values["batch"]), np.zeros(16, np.int64)
    config = RunConfig(
        preset="tiny", method=name, width=4, blocks=(1, 1), lr=lr, precision="float32",
        temperature=float(values["temperature"]), weight_decay=float(values["weight_decay"]),
        momentum_beta=float(values["beta"]), device="cpu",
    )  # fmt: skip
    method = pretrain.make_method(config)
    head = networks.ProjectionHead(8, 6)  # smaller than ours
    method.head = head if name == "simclr" else pruning.make_dual(head)
    vars(method).update(attributes)
    inputs = splits.Inputs(np.zeros((16, 1), np.uint8), labels, labels, labels[:2], labels[:2])
    training = pretrain.Training(config, inputs, method.double())
    training.memory = MomentumLoss(16, config.momentum_beta, dtype=torch.float64)

    def state(prefix):
        wanted = {k: v for k, v in values.items() if k.startswith(prefix + ".")}
        found = {}
        for name, value in wanted.items():
            name = name.removeprefix(prefix + ".")
            for theirs, ours in NAMES.items():
                name = name.replace(theirs, ours)
            if not name.startswith("mask.") and "normalize" not in name:
                found[name] = torch.from_numpy(value)
        return found

    method.load_state_dict(state("init"))
    lrs = [lr * pretrain.lr_factor(g, 9, 3, 1e-6 / lr) for g in range(1, 10)]
    losses, remaining = [], iter(lrs)
    method.register_forward_hook(lambda *call: losses.append(call[-1].detach().numpy()))
    for epoch in range(3):
        method.start_epoch(epoch + 1, 3)
        training.images = torch.from_numpy(values["images"][epoch])  # ready-made pairs of views
        parts = torch.from_numpy(values["order"][epoch]).split(batch)
        views = lambda pair, scores: (pair[:, 0], pair[:, 1])  # noqa: E731
        training.epoch(((part, next(remaining)) for part in parts), views, torch.zeros(16))
        training.memory.end_epoch()
        yield epoch, method, state(f"epoch{epoch + 1}"), losses, training.memory, lrs


def test_nine_steps_equal_the_published_trainer(golden):
    values = golden("h_train_simclr")
    for epoch, method, expected, losses, memory, lrs in replay(values, "simclr"):  # noqa: B007
        assert len(losses) == 3 * (epoch + 1)
        torch.testing.assert_close(dict(method.state_dict()), expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(memory.value, values["momentum_loss"][epoch], rtol=0, atol=1e-9)
    for call, loss in enumerate(losses):
        np.testing.assert_allclose(loss, values[f"call{call}_per_sample_loss"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(lrs, values["call_lr"], atol=1e-12)
    features = method.encoder.eval()(torch.from_numpy(values["eval_x"]))
    np.testing.assert_allclose(features.detach(), values["eval_features"], rtol=0, atol=1e-9)


def test_nine_sdclr_steps_equal_the_published_trainer(golden):
    values = golden("h_train_sdclr")
    assert float(values["prune_percent"]) == 0.9
    golden_run = replay(values, "sdclr", refresh_statistics=True)
    for epoch, method, expected, losses, memory, lrs in golden_run:  # noqa: B007
        torch.testing.assert_close(dict(method.state_dict()), expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(memory.value, values["momentum_loss"][epoch], rtol=0, atol=1e-9)
        for name, mask in method.masks.items():
            theirs = name.removesuffix(".weight").replace("downsample.0", "downsample.conv")
            np.testing.assert_array_equal(mask, values[f"epoch{epoch + 1}.mask.backbone.{theirs}"])
    assert len(losses) == 9
    for call, loss in enumerate(losses):  # the published step computes each loss twice
        for twin in (2 * call, 2 * call + 1):
            np.testing.assert_allclose(
                loss, values[f"call{twin}_per_sample_loss"], rtol=0, atol=1e-9
            )
    images = torch.from_numpy(values["eval_x"])
    dense = method.trained()["encoder"].eval()(images)
    np.testing.assert_allclose(dense.detach(), values["eval_features_dense"], rtol=0, atol=1e-9)
    method.eval()
    left = pruning.pruned_forward(method.encoder, method.masks, images)
    key = "eval_features_as_left_by_training(pruned)"
    np.testing.assert_allclose(left.detach(), values[key], rtol=0, atol=1e-9)


def test_learning_rate_curve_of_2000_epochs(golden):
    values = golden("g_probe_groups_lr")
    for step, expected in zip(values["lr_steps"], values["lr_values"], strict=True):
        assert 0.5 * pretrain.lr_factor(step, 40_000, 200, 2e-6) == pytest.approx(expected, 1e-12)


def test_momentum_loss_and_scores(golden):
    values = golden("b_momentum")
    for beta in (0.97, 0.5):
        memory = MomentumLoss(11, beta, dtype=torch.float64)  # the golden values are float32
        for epoch, order in enumerate(values["order"]):
            for index in torch.from_numpy(order).split(4):
                memory.update(index, torch.from_numpy(values["losses"][epoch])[index])
            weight = memory.end_epoch()
            np.testing.assert_allclose(memory.value, values[f"beta{beta}_shadow"][epoch], atol=1e-6)
            np.testing.assert_allclose(weight, values[f"beta{beta}_weight"][epoch], atol=1e-6)
        assert memory.history.shape == (4, 11) and memory.epochs == [1, 2, 3, 4]
        restored = MomentumLoss(11, beta, dtype=torch.float64)
        restored.load_state_dict(memory.state_dict())
        assert torch.equal(restored.value, memory.value) and restored.epoch == 4


def test_equal_losses_give_a_half_and_a_warning():
    memory = MomentumLoss(4, 0.9)
    memory.update(torch.arange(4), torch.ones(4))
    with pytest.warns(UserWarning, match="equal"):
        assert memory.end_epoch().tolist() == [0.5] * 4
    with pytest.raises(ValueError, match="beta"):
        MomentumLoss(4, 1.0)


def test_batches_hold_everyone_once_and_paper_keeps_its_small_last_batch():
    quick = pretrain.batches(2607, RunConfig(), epoch=3)
    assert {len(b) for b in quick} == {124, 125}
    paper = pretrain.batches(9754, RunConfig(preset="paper"), epoch=3)
    assert [len(b) for b in paper] == [512] * 19 + [26]
    for parts, count in ((quick, 2607), (paper, 9754)):
        assert torch.equal(torch.cat(parts).sort().values, torch.arange(count))
    again = pretrain.batches(2607, RunConfig(), epoch=4)
    assert not torch.equal(torch.cat(quick), torch.cat(again))


@pytest.mark.parametrize("name", ["simclr", "sdclr"])
def test_self_supervised_training_never_reads_labels(name):
    class Forbidden:
        def __getitem__(self, index):
            return self

        def __getattr__(self, name):
            raise AssertionError(f"the method read labels.{name}")

    training = tiny_training(method=name)
    training.labels = Forbidden()
    training.method.start_epoch(1, 1)
    parts = [(index, 0.1) for index in torch.arange(8).split(4)]
    views = lambda x, s: (x / 255, (x / 255).flip(3))  # noqa: E731
    assert torch.isfinite(training.epoch(parts, views, torch.zeros(8)))


def tiny_training(samples=8, **parameters):
    """A Training of a few random images."""
    images = np.random.default_rng(0).integers(0, 256, (samples, 3, 8, 8), np.uint8)
    labels = np.arange(samples) % 2
    counts = np.bincount(labels)
    inputs = splits.Inputs(images, labels, np.arange(samples), counts, counts)
    return pretrain.Training(RunConfig(**TINY, **parameters), inputs)


def test_a_sample_that_an_epoch_leaves_out_spoils_nobodys_score():
    training = tiny_training(samples=9)
    views = lambda x, s: (x / 255, (x / 255).flip(3))  # noqa: E731
    losses = []
    training.method.register_forward_hook(lambda *call: losses.append(call[-1].detach()))
    parts = [(index, 0.1) for index in torch.arange(8).split(4)]
    mean = training.epoch(parts, views, torch.zeros(9))
    # Of those seen. Eight losses of about 2, summed in another order: 5e-7 was the most measured.
    torch.testing.assert_close(mean, torch.cat(losses).mean(), rtol=0, atol=1e-5)
    scores = training.memory.end_epoch()
    assert scores[8] == 0.5 and scores[:8].isfinite().all() and scores[:8].std() > 0
    seen = MomentumLoss(8)
    seen.update(torch.arange(8), torch.cat(losses))
    assert torch.equal(seen.end_epoch(), scores[:8])


def test_run_on_disk_equals_run_in_memory_and_loads(tmp_path):
    config = RunConfig(**TINY)
    run = pretrain.pretrain(config)
    stored = pretrain.pretrain(config, tmp_path / "run")
    loaded = runs.Run.load(tmp_path / "run")
    for other in (stored, loaded):
        torch.testing.assert_close(
            dict(other.encoder.state_dict()), dict(run.encoder.state_dict()), rtol=0, atol=0
        )
        assert torch.equal(other.momentum_loss, run.momentum_loss)
        assert other.history["loss"].tolist() == run.history["loss"].tolist()
    assert loaded.epochs_kept == [1, 2] and loaded.momentum_loss.dtype == torch.float16
    done = json.loads((tmp_path / "run" / "DONE.json").read_text())
    assert done["config_sha256"] == config.digest() and done["machines"][0]["threads"] > 0
    assert sorted(done["files"]) == [
        "config.json", "encoder.safetensors", "history.parquet", "memory.npz",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="exists"):
        pretrain.pretrain(config, tmp_path / "run")


@pytest.mark.parametrize("method", ["simclr", "sdclr", "bcl-i", "bcl-d"])
def test_stopped_and_resumed_equals_never_stopped(method, tmp_path, stop_and_resume):
    extra = dict(prune_random=0.2) if method == "bcl-d" else {}
    config = RunConfig(**TINY, method=method, epochs=4, **extra)
    pretrain.pretrain(config, tmp_path / "whole")
    resumed, _ = stop_and_resume(config, tmp_path / "stopped", 2)
    pruned = ["pruned.safetensors"] if method in ("sdclr", "bcl-d") else []
    for name in ("memory.npz", "encoder.safetensors", *pruned):
        whole, stopped = (tmp_path / folder / name for folder in ("whole", "stopped"))
        assert whole.read_bytes() == stopped.read_bytes()
    if not pruned:
        with pytest.raises(ConfigError, match="simclr run, which keeps no pruned"):
            resumed.network("pruned")


def test_a_run_stops_when_its_minutes_are_over_and_goes_on_later(tmp_path):
    config = RunConfig(**TINY, epochs=3, checkpoint_seconds=1000.0)
    whole = pretrain.pretrain(config, tmp_path / "whole")
    with pytest.raises(TimeUp, match="stopped after epoch 1 of 3; `ltcl run --resume"):
        pretrain.pretrain(config, tmp_path / "short", minutes=1e-6)
    assert not (tmp_path / "short" / "DONE.json").exists()
    with pytest.raises(TimeUp, match="after epoch 2 of 3"):
        pretrain.resume(tmp_path / "short", minutes=1e-6)
    resumed = pretrain.resume(tmp_path / "short", minutes=60)
    assert torch.equal(resumed.momentum_loss, whole.momentum_loss)
    for minutes, out in ((0, tmp_path / "no"), (float("nan"), tmp_path / "no"), (1, None)):
        with pytest.raises(ConfigError, match="minutes"):
            pretrain.pretrain(config, out, minutes=minutes)
    assert not (tmp_path / "no").exists()


def test_every_epoch_keeps_the_momentum_loss_boosted_or_not():
    run = pretrain.pretrain(RunConfig(**TINY, keep_every=2).model_copy(update={"epochs": 3}))
    assert run.epochs_kept == [2, 3]
    assert run.momentum_loss.isfinite().all() and run.momentum_loss.std() > 0


def test_zero_epochs_give_an_untrained_encoder_with_set_batch_norm():
    run = pretrain.pretrain(RunConfig(**TINY, epochs=0))
    fresh = pretrain.make_method(RunConfig(**TINY)).encoder
    assert torch.equal(run.encoder.conv1.weight, fresh.conv1.weight)
    assert run.encoder.bn1.running_mean.abs().max() > 0 and len(run.history) == 0


@pytest.mark.usefixtures("float64")
def test_the_statistics_of_an_untrained_encoder_come_from_the_order_of_epoch_zero():
    config = RunConfig(**TINY, epochs=0, precision="float32")
    images = torch.from_numpy(splits.select(config).images) / 255
    found = pretrain.pretrain(config).encoder.state_dict()
    for epoch in (0, 1):
        method = pretrain.make_method(config).train()
        with torch.no_grad():
            for index in pretrain.batches(len(images), config, epoch):
                method.project(images[index])
        expected = method.encoder.state_dict()
        if epoch == 0:
            torch.testing.assert_close(dict(found), dict(expected), rtol=0, atol=1e-9)
    mean = "bn1.running_mean"
    assert (found[mean] - expected[mean]).abs().max() > 1e-4  # another order, other statistics


def spoil(monkeypatch, when, how):
    """Call `how(training, result)` after the step that `when` chooses by (epoch, step)."""
    start, epoch_of = pretrain.Training.epoch, {}

    def epoch(self, steps, views, scores):
        epoch_of[self] = epoch_of.get(self, 0) + 1
        run_step, number = self.run_step, itertools.count(1)

        def spoiled(step, index):
            at = epoch_of[self], next(number)
            return run_step(step, index) if at != when else how(self, step, index)

        self.run_step = spoiled
        try:
            return start(self, steps, views, scores)
        finally:
            self.run_step = run_step

    monkeypatch.setattr(pretrain.Training, "epoch", epoch)


def lose_a_sample(training, step, index):
    """The loss of the second sample of the batch is none, as of an image that is all one colour."""
    total = step(index)
    training.memory.value[index[1]] = float("nan")
    return total + float("nan")


def spoil_gradient(training, step, index):
    """The loss is a number, its gradient is not."""
    [weight, *_] = training.method.parameters()
    hook = weight.register_hook(lambda gradient: gradient * float("inf"))
    total = step(index)
    hook.remove()
    return total


def spoil_statistics(training, step, index):
    """Weights are numbers, a batch norm's running mean is not."""
    total = step(index)
    statistics = dict(training.method.named_buffers())
    next(s for name, s in statistics.items() if name.endswith("running_mean"))[0] = float("inf")
    return total


def spoil_momentum(training, step, index):
    """Weights are numbers, what the optimizer adds to them next is not."""
    total = step(index)
    [weight, *_] = training.method.parameters()
    training.optimizer.state[weight]["momentum_buffer"][0] = float("nan")
    return total


@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("simclr", lose_a_sample),
        ("simclr", spoil_gradient),
        ("sdclr", spoil_statistics),
        ("moco-v2", spoil_momentum),
    ],
)
def test_numbers_that_are_none_stop_a_run_and_the_good_checkpoint_stays(
    method, how, tmp_path, monkeypatch
):
    config = RunConfig(**SMALL, method=method)
    inputs = splits.select(config)
    batches = pretrain.batches(len(inputs.index), config, 2)
    at = 2 if how is lose_a_sample else len(batches)  # weights are looked at when it is over
    with monkeypatch.context() as patch, pytest.raises(FloatingPointError) as raised:
        spoil(patch, (2, at), how)
        pretrain.pretrain(config, tmp_path / "run", inputs)
    assert f"not finite at step {at} of epoch 2 (lr " in str(raised.value)
    assert not (tmp_path / "run" / "DONE.json").exists()
    assert not list((tmp_path / "run").glob("*.safetensors"))
    [good] = runs.checkpoints(tmp_path / "run")  # of epoch 1
    record = files.read_json(tmp_path / "run" / "not-finite.json")
    assert (record["epoch"], record["step"]) == (2, at) and record["lr"] > 0
    lost = batches[at - 1][1:2] if how is lose_a_sample else batches[at - 1]
    assert record["samples"] == inputs.index[lost.numpy()].tolist()
    assert runs.load_checkpoint(tmp_path / "run")["rows"][-1][0] == 1
    assert len(pretrain.resume(tmp_path / "run").history) == 2


def test_every_step_is_looked_at_and_the_first_is_named(monkeypatch):
    config = RunConfig(**SMALL)
    inputs = splits.select(config)
    for step in (1, len(pretrain.batches(len(inputs.index), config, 1))):
        with monkeypatch.context() as patch:
            spoil(patch, (1, step), lose_a_sample)
            with pytest.raises(FloatingPointError, match=f"step {step} of epoch 1"):
                pretrain.pretrain(config, inputs=inputs)


def test_an_untrained_encoder_is_looked_at_too(tmp_path, monkeypatch):
    def spoil_weights(training):
        training.method.encoder.conv1.weight.data[0] = float("nan")

    monkeypatch.setattr(pretrain.Training, "set_batch_norm", spoil_weights)
    with pytest.raises(FloatingPointError, match="weights are not finite at step 0 of epoch 0"):
        pretrain.pretrain(RunConfig(**SMALL, epochs=0), tmp_path / "run")
    assert not (tmp_path / "run" / "DONE.json").exists()


def test_a_sum_of_losses_is_added_as_ever():
    """The history's digits are published: one float32 after the other, in the batches' order."""
    training = tiny_training(samples=9)
    sums = iter([1.1, 2.3e-5, 7e4, 0.3])
    training.run_step = lambda step, index: torch.tensor(next(sums))
    parts = [(index, 0.1) for index in torch.arange(8).split(2)]
    expected = torch.zeros(())
    for value in (1.1, 2.3e-5, 7e4, 0.3):
        expected += torch.tensor(value)
    assert torch.equal(training.epoch(parts, None, torch.zeros(9)), expected / 8)


def test_a_finished_run_keeps_no_checkpoint_and_says_how_to_use_its_weights(
    tmp_path,
):
    folder = tmp_path / "new" / "place" / "run"
    pretrain.pretrain(RunConfig(**TINY, epochs=2), folder)  # tiny writes one after every epoch
    assert not runs.checkpoints(folder)
    with safe_open(folder / "encoder.safetensors", "pt") as weights:
        about = json.loads(weights.metadata()["encoder"])
    assert set(about) == {"input", "mean", "std", "network"}
    assert (about["mean"], about["std"]) == ([*networks.MEAN], [*networks.STD])
    assert "blocks (1, 1), width 4" in about["network"] and "stride 1" in about["network"]


def test_checkpoints_are_a_minute_apart_on_a_cpu_and_four_on_a_gpu():
    for device, given, seconds in (("cpu", None, 60), ("cuda", None, 240), ("cuda", 7.0, 7)):
        training = SimpleNamespace(
            config=SimpleNamespace(checkpoint_seconds=given), device=torch.device(device)
        )
        assert pretrain.Training.checkpoint_seconds.fget(training) == seconds


def test_float32_is_not_tf32():
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    config = RunConfig(preset="tiny", device="cpu")
    pretrain.Training(config, splits.select(config))
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


def test_what_a_training_is_made_of():
    """What makes it quick changes no result, so it is looked at."""
    training = tiny_training(blocks=(1, 1), momentum_beta=0.8, lr=0.3)
    weight = training.method.encoder.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    (group,) = training.optimizer.param_groups
    assert group["fused"] and (group["momentum"], group["lr"]) == (0.9, 0.3)
    assert training.lr == 0.3 and training.memory.beta == 0.8
    assert training.rarity.tolist() == [0] * 8 and training.rarity.dtype == torch.float32
    group["lr"] = torch.tensor(0.25)  # as on a GPU
    rates = [g["lr"] for g in training.state_dict()["optimizer"]["param_groups"]]
    assert rates == [0.25] and type(rates[0]) is float and training.lr == 0.25


def test_streams_are_named_by_what_they_are_for(monkeypatch):
    training, seeds = tiny_training(seed=3), []
    monkeypatch.setattr(
        training_module.sources, "ahead", lambda images, steps, draw: seeds.append(draw) or steps
    )
    assert len(list(training.steps(2))) == 1
    assert seeds[0].initial_seed() == pretrain.seed_for(3, "crops", 2)
    draws = training.draws_of(4)
    assert [draw.initial_seed() for draw in draws] == [
        pretrain.seed_for(3, purpose, 4) for purpose in ("views", "boost")
    ]
    assert training.draws_of(5)[0] is draws[0]  # a CUDA graph draws from them


def test_a_run_in_memory_has_its_table_and_networks_that_are_done():
    run = pretrain.pretrain(RunConfig(**SMALL))
    assert list(run.history) == ["epoch", "loss", "lr", "seconds"]
    assert run.folder is None and set(run.networks) == {"encoder", "head"}
    for network in run.networks.values():
        assert not any(module.training for module in network.modules())


@pytest.mark.parametrize("count", [1, 2])
def test_an_aim_needs_all_images_in_memory_on_one_rank(count):
    training = tiny_training()
    assert training.held() is training.images
    config = training.config.model_copy(update={"boost": "clean-loss"})
    checks._check_aim(config, training.inputs, 1)
    inputs = training.inputs
    if count == 1:
        inputs = inputs._replace(images=Stored.__new__(Stored))  # as of a pack
    with pytest.raises(ConfigError, match="boost clean-loss looks at all images after every epoch"):
        checks._check_aim(config, inputs, count)


def test_nothing_is_made_of_a_run_that_cannot_be(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    given = dict(preset="tiny")
    for config, says in (
        (RunConfig(**given, device="cuda"), "torch finds no GPU here"),
        (RunConfig(**given, network="torchvision:resnet5"), "is not known; near are"),
        (RunConfig(**given).model_copy(update={"weights": "x"}), "weights is set by `ltcl import"),
    ):
        with pytest.raises(ConfigError, match=says):
            pretrain.pretrain(config, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_run_goes_into_an_empty_folder_and_what_it_left_behind_its_end_is_swept(tmp_path):
    config, folder = RunConfig(**SMALL), tmp_path / "run"
    folder.mkdir()
    pretrain.pretrain(config, folder)
    runs.save_checkpoint(folder, 2, {})  # killed right behind its DONE.json
    inputs = splits.select(config)
    assert len(pretrain.resume(folder, inputs=inputs).history) == 2
    assert not runs.checkpoints(folder)
    other = inputs._replace(labels=inputs.labels[::-1].copy())
    with pytest.raises(ConfigError, match="changed since"):
        pretrain.resume(folder, inputs=other)
    assert len(pretrain.resume(folder).history) == 2  # data are not asked for
