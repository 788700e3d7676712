"""The SDCLR protocol against a plain loop, image by image; its lists, by features one can read."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import functional as tv

from ltcl_helpers import probe
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.data.images import load_images
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.pretrain.loop import pretrain
from ltcl_helpers.pretrain.randomness import generator
from ltcl_helpers.probe import run as probing
from ltcl_helpers.probe.sdclr import SCHEDULES, Schedule, crop_and_flip, fit_sdclr, rate


def test_schedules_are_the_published_ones():
    """Epochs, where the rate falls, and epochs between two looks at the validation images."""
    assert SCHEDULES == {"full": (30, (10, 20), 1), "1%": (100, (40, 60), 5)}


@pytest.mark.parametrize(("shots", "rates"), [
    ("full", [30.0] * 9 + [3.0] * 10 + [0.3] * 11),
    ("1%", [30.0] * 39 + [3.0] * 20 + [0.3] * 41),
])  # fmt: skip
def test_rates_fall_one_epoch_early_as_published(shots, rates):
    schedule = SCHEDULES[shots]
    got = [rate(epoch, schedule) for epoch in range(1, schedule.epochs + 1)]
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


def test_crops_of_images_that_are_no_squares_have_a_border_of_their_own_on_each_axis():
    images = torch.full((60, 3, 64, 16), 255, dtype=torch.uint8)
    crops = crop_and_flip(images, generator(1, "crops", 1))
    assert crops.shape == images.shape
    rows = (crops > 0).all(1).any(2).sum(1)  # [N], that are not of the border
    columns = (crops > 0).all(1).any(1).sum(1)
    assert rows.min() == 64 - 8 and columns.min() == 16 - 2
    assert rows.max() == 64 and columns.max() == 16


def plain_loop(network, images, labels, held, classes, schedule, seed):
    """The protocol with modules, one batch and one image at a time; the best epoch's layer."""
    layer = nn.Linear(network(images[:1] / 255).shape[1], classes)
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
            batch = [crop_alone(images[i], *corner[i], flip[i], 4) / 255 for i in chosen]
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


@pytest.mark.usefixtures("float64")
def test_the_fit_is_the_plain_loop():
    draw = generator(3, "data", 0)
    images = torch.randint(256, (350, 3, 32, 32), generator=draw).to(torch.uint8)
    labels = torch.randint(5, (350,), generator=draw)
    images[:, 0] = images[:, 0] // 2 + 25 * labels[:, None, None].to(torch.uint8)
    network = nn.Sequential(nn.AvgPool2d(16), nn.Flatten())  # 12 features
    held = network(images[300:] / 255), labels[300:]
    images, labels = images[:300], labels[:300]

    def embed(given):
        return network(given / 255)

    for schedule in (Schedule(9, (3, 5), 1), Schedule(7, (2, 4), 3)):
        expected, scores = plain_loop(network, images, labels, held, 5, schedule, 4)
        got = fit_sdclr(embed, images, labels, held, 5, schedule, 4)
        assert len(set(scores)) > 1
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)
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


# --- which images teach, choose and test ------------------------------------------------------

CLASSES, EACH, TESTED = 5, 60, 10  # of a toy: classes, images of each, test images of each
SHORT = {"full": Schedule(3, (9, 9), 1), "1%": Schedule(9, (9, 9), 3)}
# The coding of each epoch's features: a layer reads the last coding it learned, no other. So the
# first layer that is validated reads coding 0, the second 1, the last 2, for certain.
CODINGS = {"full": [0, 1, 2], "1%": [0, 0, 0, 1, 1, 1, 2, 2, 2]}
# Of its test images, class c shows c in coding 1, one in coding 0, the other ones in coding 2.
SHOWN = np.array([[1] * c + [0] + [2] * (TESTED - 1 - c) for c in range(CLASSES)])


def numbered(count, part):
    """Images of one colour that says which image of which part it is: uint8 [N, 32, 32, 3]."""
    colours = [(number // 256, number % 256, part) for number in range(count)]
    return np.array(colours, np.uint8)[:, None, None].repeat(32, 1).repeat(32, 2)


class Readable:
    """An encoder without a network: coding k shows class c as unit c + k of five.

    The validation images are shown in coding 1, so the layer that is best for them is neither the
    first nor the last; most test images are shown in coding 2, so the test set would choose the
    last. `calls` holds the images of each call: part, positions and whether they were moved.
    """

    def __init__(self, train_labels, test_labels, validation):
        self.train_labels, self.test_labels = train_labels, test_labels
        self.validation = set(validation.tolist())
        self.codings = iter(CODINGS["full"] + CODINGS["1%"])
        self.calls = []

    def __call__(self, images):
        high, low, part = images[:, :, 16, 16].long().unbind(1)  # where a crop cannot bring black
        position = (256 * high + low).numpy()
        whole = bool((images[:, 2] == part[:, None, None]).all())
        self.calls.append((int(part[0]), sorted(position.tolist()), whole))
        if part[0] == 2:
            labels, coding = self.test_labels[position], SHOWN.flatten()[position]
        else:
            labels = self.train_labels[position]
            coding = 1 if set(position.tolist()) == self.validation else next(self.codings)
        return torch.eye(CLASSES)[(labels + coding) % CLASSES]


@pytest.fixture
def numbered_run(tmp_path):
    """An untrained run on numbered images of five classes, and the labels of both parts."""
    draw = np.random.default_rng(0)
    train_labels = draw.permutation(np.arange(CLASSES).repeat(EACH))
    test_labels = np.arange(CLASSES).repeat(TESTED)
    for part, name, labels in ((1, "train", train_labels), (2, "test", test_labels)):
        images = numbered(len(labels), part)
        np.savez(tmp_path / f"numbered_{name}.npz", images=images, labels=labels)
    config = RunConfig(
        preset="tiny", device="cpu", epochs=0, data=f"npz:{tmp_path}/numbered_train.npz",
        largest_class=40, imbalance=8.0,
    )  # fmt: skip
    return pretrain(config, tmp_path / "run"), train_labels, test_labels


def test_validation_images_choose_the_epoch_and_teach_nothing(numbered_run, monkeypatch):
    run, train_labels, test_labels = numbered_run
    held = probe.validation_list(run, train_labels).index
    embed = Readable(train_labels, test_labels, held)
    monkeypatch.setattr(probing, "SCHEDULES", SHORT)
    monkeypatch.setattr(probing, "_embedding", lambda *_: embed)
    rows = probe.probe_run(run.folder, ("full", "1%"), protocol="sdclr")

    # The lists, by their definition.
    assert np.bincount(train_labels[held]).tolist() == [EACH // 10] * CLASSES
    (one_each,) = probe.labelled_lists(run, train_labels, "1%")
    everything = np.arange(CLASSES * EACH)
    teach = {"full": everything[~np.isin(everything, held)], "1%": one_each.index}
    assert train_labels[one_each.index].tolist() == list(range(CLASSES))
    assert not set(held) & (set(one_each.index) | set(run.index.tolist()))

    # What the encoder was asked for: only images that teach are cropped, each once an epoch.
    expected = [(2, list(range(CLASSES * TESTED)), True), (1, sorted(held.tolist()), True)]
    for shots, codings in CODINGS.items():
        expected += [(1, sorted(teach[shots].tolist()), False)] * len(codings)
    assert embed.calls == expected

    # The second layer was kept: class c has c of ten test images right.
    right = np.arange(CLASSES) / TESTED
    few, medium, *many = np.argsort(run.class_counts.numpy())
    thirds = [right[many].mean(), right[medium], right[few]]
    by_group = dict(zip(("many", "medium", "few"), thirds, strict=True))
    by_group |= {"std": np.std(thirds), "all": 0.2, "class std": np.std(right), "top5": 1.0}
    for shots, index in teach.items():
        found = rows[rows["shots"] == shots].set_index("group")
        assert found["accuracy"].to_dict() == pytest.approx(by_group, abs=1e-12)
        assert set(found["images"]) == {len(index)}
        assert set(found["list_sha256"]) == {splits.split_digest(index)}
        assert found.loc["top5", "per_class"] == pytest.approx(right.tolist())
    assert len(rows) == 2 * len(by_group) and set(rows["protocol"]) == {"sdclr"}
    assert len(probe.save_probe(run.folder, rows)) == len(rows)


def test_shots_without_rates_are_refused(numbered_run):
    run, *_ = numbered_run
    with pytest.raises(ConfigError, match="shots is '100', but protocol sdclr has rates for full"):
        probe.probe_run(run.folder, ("full", "100"), protocol="sdclr")


def test_validation_images_of_shapes_are_a_tenth_that_nobody_else_uses():
    run = pretrain(RunConfig(preset="tiny", device="cpu", epochs=0))
    labels = load_images("shapes").labels.numpy()
    held = probe.validation_list(run, labels).index
    (few,) = probe.labelled_lists(run, labels, "1%")
    assert np.bincount(labels[held]).tolist() == [100] * 12 and len(few.index) == 108
    assert not set(held) & (set(few.index) | set(run.index.tolist()))


def test_the_summary_of_splits_is_the_published_analysis():
    draw = np.random.default_rng(0)
    values = draw.uniform(size=(5, 6))
    groups = ["all", "class std", "std", "many", "medium", "few"]
    rows = pd.DataFrame([
        {"shots": "full", "split": f"split{k}_D_i.npy", "seed": 10, "group": g, "accuracy": a}
        for k, line in enumerate(values) for g, a in zip(groups, line, strict=True)
    ])  # fmt: skip
    table = probe.split_summary(rows).loc["full"]
    names = ["accuracy", "class std", "balancedness", "major", "moderate", "minor"]
    np.testing.assert_allclose(table.loc["mean", names], values.mean(0))
    np.testing.assert_allclose(
        table.loc["sd", names], ((values - values.mean(0)) ** 2).mean(0) ** 0.5
    )
    assert table["n"].tolist() == [5, 5]
