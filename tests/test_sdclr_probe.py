"""The SDCLR protocol against the same written out as a plain loop, image by image."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import functional as tv

from ltcl_helpers import lists, probe, sdclr_probe
from ltcl_helpers.config import ConfigError, RunConfig
from ltcl_helpers.datasets import load_images
from ltcl_helpers.machine import generator
from ltcl_helpers.pretrain import pretrain
from ltcl_helpers.sdclr_probe import SCHEDULES, Schedule, crop_and_flip, fit_sdclr


@pytest.mark.parametrize(("shots", "rates"), [
    ("full", [30.0] * 9 + [3.0] * 10 + [0.3] * 11),
    ("1%", [30.0] * 39 + [3.0] * 20 + [0.3] * 41),
])  # fmt: skip
def test_rates_fall_one_epoch_early_as_published(shots, rates):
    schedule = SCHEDULES[shots]
    got = [sdclr_probe.rate(epoch, schedule) for epoch in range(1, schedule.epochs + 1)]
    assert got == pytest.approx(rates)
    weight = nn.Parameter(torch.zeros(1))
    sgd = torch.optim.SGD([weight], 30)
    published = torch.optim.lr_scheduler.MultiStepLR(sgd, schedule.drops, 0.1)
    for expected in got:  # the published loop steps the schedule, then trains
        sgd.step()
        published.step()
        assert sgd.param_groups[0]["lr"] == pytest.approx(expected)


def crop_alone(image, top, left, flip, border):
    """By torchvision, one image uint8 [3, H, W]."""
    size = list(image.shape[1:])
    cropped = tv.crop(tv.pad(image, [border] * 4, fill=0), int(top), int(left), *size)
    return tv.hflip(cropped) if flip else cropped


@pytest.mark.parametrize(("side", "border"), [(32, 4), (16, 2), (64, 8)])
def test_crops_are_torchvisions(side, border):
    images = torch.randint(256, (40, 3, side, side), generator=generator(0, "images", 0))
    images = images.to(torch.uint8)
    got = crop_and_flip(images, generator(1, "crops", 1))
    draw = generator(1, "crops", 1)
    corner = torch.randint(2 * border + 1, (40, 2), generator=draw)
    flip = torch.rand(40, generator=draw) < 0.5
    assert corner.min() == 0 and corner.max() == 2 * border and 10 < flip.sum() < 30
    for i, image in enumerate(images):
        assert torch.equal(got[i], crop_alone(image, *corner[i], flip[i], border))


def plain_loop(network, images, labels, held, classes, schedule, seed):
    """The protocol with modules, one batch and one image at a time; the best epoch's layer."""
    layer = nn.Linear(network(images[:1].float() / 255).shape[1], classes)
    with torch.no_grad():
        layer.weight.normal_(0, 0.01, generator=generator(seed, "probe weights", 0))
        layer.bias.zero_()
    sgd = torch.optim.SGD(layer.parameters(), 30, momentum=0.9, weight_decay=0)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(sgd, schedule.drops, 0.1)
    best, kept, scores = -1, None, []
    for epoch in range(1, schedule.epochs + 1):
        sgd.step()  # there is no gradient yet: it only keeps the scheduler from warning
        scheduler.step()
        draw = generator(seed, "probe crops", epoch)
        corner = torch.randint(9, (len(images), 2), generator=draw)
        flip = torch.rand(len(images), generator=draw) < 0.5
        order = torch.randperm(len(images), generator=generator(seed, "probe order", epoch))
        for start in range(0, len(order), 128):
            chosen = order[start : start + 128].tolist()
            batch = [crop_alone(images[i], *corner[i], flip[i], 4).float() / 255 for i in chosen]
            with torch.no_grad():
                x = torch.cat([network(image[None]) for image in batch])
            loss = F.cross_entropy(layer(x), labels[chosen])
            layer.zero_grad()
            loss.backward()
            sgd.step()
        layer.zero_grad()
        if epoch % schedule.validate_every == 0:
            accuracy = (layer(held[0]).argmax(1) == held[1]).double().mean().item()
            scores.append(accuracy)
            if accuracy > best:
                best, kept = accuracy, (layer.weight.detach().clone(), layer.bias.detach().clone())
    return kept, scores


def test_the_fit_is_the_plain_loop():
    draw = generator(3, "data", 0)
    images = torch.randint(256, (300, 3, 32, 32), generator=draw).to(torch.uint8)
    labels = torch.randint(5, (300,), generator=draw)
    images[:, 0] = images[:, 0] // 2 + 25 * labels[:, None, None].to(torch.uint8)
    held = torch.randn(50, 12, generator=draw), torch.randint(5, (50,), generator=draw)
    network = nn.Sequential(nn.AvgPool2d(16), nn.Flatten())  # 12 features

    def embed(given):
        return network(given.float() / 255)

    for schedule in (Schedule(9, (3, 5), 1), Schedule(7, (2, 4), 3)):
        expected, scores = plain_loop(network, images, labels, held, 5, schedule, 4)
        got = fit_sdclr(embed, images, labels, held, 5, schedule, 4)
        assert len(set(scores)) > 1
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
        again = fit_sdclr(embed, images, labels, held, 5, schedule, 4)
        assert all(torch.equal(a, b) for a, b in zip(got, again, strict=True))


def test_the_first_best_epoch_on_the_validation_images_is_kept():
    """Validation images of which all are right from epoch 1 on, and one that never is."""
    x = torch.tensor([[1.0, 0], [0, 1]]).repeat(10, 1)
    labels = torch.tensor([0, 1]).repeat(10)
    images = torch.zeros(20, 3, 32, 32, dtype=torch.uint8)
    held = x[:3], torch.tensor([0, 1, 1])
    long = fit_sdclr(lambda _: x, images, labels, held, 2, Schedule(8, (9, 9), 1))
    short = fit_sdclr(lambda _: x, images, labels, held, 2, Schedule(1, (9, 9), 1))
    torch.testing.assert_close(long, short, rtol=0, atol=0)


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return pretrain(RunConfig(preset="tiny", device="cpu"), folder)


def test_a_run_is_probed_with_the_protocol(tiny_run, monkeypatch):
    short = {"full": Schedule(2, (2, 3), 1), "1%": Schedule(5, (3, 4), 5)}
    monkeypatch.setattr(probe, "SCHEDULES", short)
    labels = load_images("shapes").labels.numpy()
    held = lists.validation_list(tiny_run, labels).index
    assert np.bincount(labels[held]).tolist() == [100] * 12
    assert not set(held) & set(tiny_run.index.tolist())
    rows = probe.probe_run(tiny_run.folder, ("full", "1%"), protocol="sdclr")
    assert set(rows["protocol"]) == {"sdclr"}
    assert rows.groupby("shots")["images"].first().to_dict() == {"1%": 108, "full": 12_000 - 1_200}
    per_shots = rows.groupby("shots")["group"].apply(set)
    for groups in per_shots:
        assert groups == {"many", "medium", "few", "std", "all", "class std", "top5"}
    full = rows[(rows["shots"] == "full") & (rows["group"] == "all")]["accuracy"].item()
    assert full > 1.4 / 12  # chance is 1 / 12; two epochs of a tiny network
    probe.save_probe(tiny_run.folder, rows)
    with pytest.raises(ConfigError, match="shots is '100', but protocol sdclr has rates for full"):
        probe.probe_run(tiny_run.folder, ("full", "100"), protocol="sdclr")


def test_the_summary_of_splits_is_the_published_analysis():
    draw = np.random.default_rng(0)
    values = draw.uniform(size=(5, 6))
    groups = ["all", "class std", "std", "many", "medium", "few"]
    rows = pd.DataFrame([
        {"shots": "full", "split": f"split{k}_D_i.npy", "seed": 10, "group": g, "accuracy": a}
        for k, line in enumerate(values) for g, a in zip(groups, line, strict=True)
    ])  # fmt: skip
    table = sdclr_probe.split_summary(rows).loc["full"]
    names = ["accuracy", "class std", "balancedness", "major", "moderate", "minor"]
    np.testing.assert_allclose(table.loc["mean", names], values.mean(0))
    np.testing.assert_allclose(
        table.loc["sd", names], ((values - values.mean(0)) ** 2).mean(0) ** 0.5
    )
    assert table["n"].tolist() == [5, 5]
