"""The reference of `ltcl bench` computes what the kit computes; the call measures and records."""

import json

import numpy as np
import pytest
import torch
from torchvision import transforms as tv

from ltcl_helpers import bench, pretrain, probe
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.methods.losses import nt_xent
from ltcl_helpers.methods.memory import MomentumLoss
from ltcl_helpers.methods.simclr import Batch
from ltcl_helpers.views.simclr import simclr_view

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 and on


def random_images(count):
    """Smooth enough that crops of them look alike."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 3, 4, 4), dtype=np.uint8)
    return coarse.repeat(8, axis=2).repeat(8, axis=3)


def make_reference(count, method="simclr"):
    config = RunConfig(preset="tiny", method=method, lr=0.05, batch_size=16)
    return bench.Reference(config, random_images(count), torch.device("cpu"))


def test_reference_keeps_the_kits_losses_and_momentum_losses():
    reference = make_reference(40)
    config, method = reference.config, reference.method.double()
    reference.momentum_loss = reference.momentum_loss.double()
    memory = MomentumLoss(40, config.momentum_beta, dtype=torch.float64)
    draw = torch.Generator().manual_seed(0)
    assert reference.epochs == 0
    for epoch in range(3):
        reference.epochs = epoch
        for index in torch.randperm(40, generator=draw).split(16):
            pair = torch.rand(len(index), 2, 3, 32, 32, generator=draw, dtype=torch.float64)
            with torch.no_grad():
                first, second = method.project(torch.cat(pair.unbind(1))).chunk(2)
            expected = nt_xent(first, second, config.temperature)
            losses = reference.step(pair.flatten(0, 1), index.tolist())
            torch.testing.assert_close(losses, expected)
            memory.update(index, losses)
        torch.testing.assert_close(reference.momentum_loss, memory.value)


def test_reference_trains_sdclr_in_two_passes_as_published():
    reference = make_reference(16, "sdclr")
    theirs, draw = reference.method.double(), torch.Generator().manual_seed(0)
    ours = pretrain.make_method(reference.config).double()
    ours.refresh_statistics = True
    ours.start_epoch(1, 1)
    optimizer = pretrain.make_optimizer(ours, reference.config)
    for _ in range(3):
        pair = torch.rand(16, 2, 3, 32, 32, generator=draw, dtype=torch.float64)
        losses = ours(Batch(None, None, pair.unbind(1)))
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
        found = reference.step(pair.flatten(0, 1), list(range(16)))
        torch.testing.assert_close(found, losses.detach(), rtol=1e-10, atol=1e-10)
    expected = dict(ours.state_dict())
    torch.testing.assert_close(dict(theirs.state_dict()), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.usefixtures("float64")
def test_plain_probe_is_an_epoch_of_the_kits(monkeypatch):
    """Three batches in one order: the same layer, when both begin with the same."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.rand(2300, 5, generator=draw), torch.arange(2300) % 3
    order, shuffled = torch.randperm(2300, generator=draw), []
    monkeypatch.setattr(
        torch, "randperm", lambda count, generator: shuffled.append(count) or order.clone()
    )
    linear, draw = torch.nn.Linear(5, 3), torch.Generator().manual_seed(4)
    for parameter in linear.parameters():
        parameter.data.uniform_(-(5**-0.5), 5**-0.5, generator=draw)
    made = []
    monkeypatch.setattr(bench.nn, "Linear", lambda *sizes: made.append(sizes) or linear)
    bench.plain_probe(x, y, 3)
    assert made == [(5, 3)] and set(shuffled) == {2300}
    weight, bias = probe.fit_bcl(x, y, 3, seed=4, epochs=1)
    torch.testing.assert_close(linear.weight, weight, rtol=0, atol=1e-10)
    torch.testing.assert_close(linear.bias, bias, rtol=0, atol=1e-10)


def test_reference_views_are_those_of_the_recipe():
    reference = make_reference(40)
    batches = list(reference.loader)
    assert [len(index) for _, index in batches] == [16, 16, 8]  # the small last one is kept
    order = [i for _, index in batches for i in index]
    assert sorted(order) == list(range(40)) != order
    assert not reference.loader.persistent_workers and reference.loader.num_workers == 2
    batches += [batch for _ in range(3) for batch in reference.loader]
    views = torch.cat([views for views, _ in batches])
    assert views.shape == (320, 3, 32, 32) and views.dtype == torch.float32
    assert views.min() >= 0 and views.max() <= 1
    images = torch.from_numpy(random_images(40))
    kit = torch.cat([simclr_view(images, torch.Generator().manual_seed(s)) for s in range(20)])
    for statistic in (torch.mean, torch.std):
        assert statistic(views).item() == pytest.approx(statistic(kit).item(), abs=0.03)
    collate = reference.loader.collate_fn
    assert collate.func is bench.pil_views
    # With a view that changes nothing, one sees that an image's two views are neighbours.
    pairs, index = bench.pil_views(collate.args[0], tv.ToTensor(), [31, 7])
    assert index == [31, 7] and torch.equal(pairs, images[[31, 31, 7, 7]] / 255)


def test_one_call_times_prints_and_records(tmp_path, capsys):
    labels = np.arange(4).repeat(200)
    np.savez(tmp_path / "small.npz", images=random_images(800), labels=labels)
    bench.run("cpu", f"npz:{tmp_path}/small.npz", tmp_path / "bench.json", repeats=1, cap=32)
    text = (tmp_path / "bench.json").read_text()
    result, table = json.loads(text), capsys.readouterr().out
    assert str(tmp_path) not in text + table and result["data"] == "small.npz"
    assert (result["images"], result["split"]) == (32, 227)
    for unit in ("processor seconds", "seconds"):
        assert [len(times) for times in result[unit].values()] == [1] * (
            6 + 2 * len(bench.NAMES) + 2
        )
        seconds = {name: times[0] for name, times in result[unit].items()}
        expected = seconds["reference sdclr epoch, 2 workers"] / seconds["sdclr epoch"]
        assert seconds["reference sdclr, 2 workers / sdclr"] == pytest.approx(expected)
        assert {"sdclr / simclr", "bcl-i / simclr", "plain probe / probe"} < set(seconds)
    assert min(seconds.values()) > 0
    assert result["machine"]["threads"] >= 1 and result["machine"]["peak MiB"] > 100
    assert table == bench.table(result) + "\n"
    assert f"| simclr epoch | {seconds['simclr epoch']:.2f} (" in table
    assert "32 of 227 images" in table


def test_bad_calls_are_refused_before_anything_is_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench.one_epoch("paper", "shapes", "cuda", "bcl-d").epochs == 1  # within the warm-up
    monkeypatch.setattr(bench, "_tasks", lambda *inputs: pytest.fail("something was timed"))
    with pytest.raises(ConfigError, match="no GPU here; `ltcl bench cpu`"):
        bench.run("gpu", "shapes")
    with pytest.raises(ConfigError, match="absent does not exist"):
        bench.run("cpu", "shapes", tmp_path / "absent" / "bench.json")
    with pytest.raises(ConfigError, match="data is 'shape'"):
        bench.run("cpu", "shape")
