"""What `probe_run` hands to each protocol, and the rows that it makes of the answers."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from ltcl_helpers import files, networks, probe, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.probe import groups, linear, run, sdclr
from ltcl_helpers.runs.run import HISTORY, Run

LAPTOP = {"device": "cpu", "threads": 1, "precision": "float32", "torch": "2"}
SIZES = [30, 20, 10]


def photos(folder, name, sizes, side=(8, 8), classes=("ant", "bee", "cat")):
    images = np.random.default_rng(0).integers(0, 256, (sum(sizes), *side, 3), np.uint8)
    labels = np.arange(len(sizes)).repeat(sizes)
    np.savez(folder / f"{name}.npz", images=images, labels=labels, class_names=list(classes))
    return f"npz:{folder}/{name}.npz"


@pytest.fixture
def made(tmp_path):
    """A run that nobody trained, on 60 photos; it saw the first half of each class."""
    data = photos(tmp_path, "a_train", SIZES)
    photos(tmp_path, "a_test", [4, 4, 4])
    seen = np.concatenate([np.arange(15), np.arange(30, 40), np.arange(50, 55)])
    np.save(tmp_path / "half.npy", seen)
    config = RunConfig(
        preset="tiny", data=data, split=f"{tmp_path}/half.npy", device="cpu", groups="counts",
        seed=5, split_seed=3, epochs=7, batch_size=8,
    )  # fmt: skip
    inputs = splits.select(config)
    torch.manual_seed(0)
    finished = Run(
        folder=None, config=config, history=pd.DataFrame(columns=HISTORY),
        momentum_loss=torch.zeros(0, len(seen)), epochs_kept=[],
        labels=torch.from_numpy(inputs.labels), index=torch.from_numpy(seen),
        class_counts=torch.from_numpy(inputs.class_counts),
        group_counts=torch.from_numpy(inputs.group_counts),
        networks={"encoder": networks.build(config).eval()},
    )  # fmt: skip
    (tmp_path / "run").mkdir()
    runs.begin(tmp_path / "run", config)
    runs.save(finished, tmp_path / "run", [LAPTOP], splits.data_digest(inputs))
    return finished


def test_rows_say_what_was_asked_of_which_images(made, tmp_path, caplog):
    caplog.set_level("INFO")
    rows = probe.probe_run(str(made.folder), ("2", "full"), None, None, "knn", groups="thirds")
    assert rows["group"].tolist() == ["many", "medium", "few", "std", "all", "top5"] * 6
    assert rows["shots"].tolist() == ["2"] * 30 + ["full"] * 6
    lists = [f"unseen seed {k}" for k in range(1, 6)] + ["train part"]
    assert list(dict.fromkeys(rows["list"])) == lists
    same = {
        "method": "simclr", "boost": "none", "features": "encoder", "preset": "tiny",
        "data": made.config.data, "epochs": 7, "split": "half.npy", "split_seed": 3,
        "mirrored": False, "seed": 5, "test": made.config.data, "protocol": "knn",
        "groups": "thirds", "untested": "", "list_source": "drawn",
    }  # fmt: skip
    assert {name: rows[name].unique().tolist() for name in same} == {
        n: [v] for n, v in same.items()
    }
    drawn = probe.labelled_lists(made, np.arange(3).repeat(SIZES), "2")
    for each, name in zip(drawn, lists, strict=False):
        found = rows[rows["list"] == name]
        assert set(found["list_sha256"]) == {splits.split_digest(each.index)}
        assert set(found["images"]) == {6}
    full = rows[rows["shots"] == "full"].set_index("group")["accuracy"]
    assert rows["images"].tolist()[-1] == 60
    told = [record.getMessage() for record in caplog.records if " %" in record.getMessage()]
    assert told[-1] == f"full train part: {100 * full['all']:.1f} %, mean over classes"
    assert len(told) == 6


def test_a_probe_of_the_full_list_is_the_protocols_own_answer(made, tmp_path):
    arrays = dict(np.load(tmp_path / "a_train.npz")), dict(np.load(tmp_path / "a_test.npz"))
    images = [torch.from_numpy(each["images"]).permute(0, 3, 1, 2) for each in arrays]
    labels = [torch.from_numpy(each["labels"]) for each in arrays]
    for kind, embed in (
        ("pixels", linear.pixels),
        ("encoder", lambda given: linear.features(made.encoder, given)),
    ):
        x, test_x = map(embed, images)
        expected = probe.linear_probe(x, labels[0], test_x, labels[1], "logistic")
        rows = probe.probe_run(made.folder, ("full",), protocol="logistic", kind=kind)
        found = rows.set_index("group")["accuracy"]
        assert found["all"] == pytest.approx(expected.per_class.mean())
        assert rows["per_class"].iloc[-1] == expected.per_class.tolist()
        assert set(rows["groups"]) == {"counts"}  # the run's own
    assert linear.pixels(images[0]).shape == (60, 192) and linear.pixels(images[0]).max() == 1


def test_other_test_images_and_moved_data_are_those_that_are_named(made, tmp_path):
    other = photos(tmp_path, "b_test", [2, 2])
    rows = probe.probe_run(made.folder, ("full",), test=other, protocol="knn")
    assert set(rows["test"]) == {other} and set(rows["untested"]) == {"cat"}
    for part in ("train", "test"):
        (tmp_path / f"a_{part}.npz").rename(tmp_path / f"c_{part}.npz")
    moved = f"npz:{tmp_path}/c_train.npz"
    rows = probe.probe_run(made.folder, ("full",), protocol="knn", data=moved)
    assert set(rows["data"]) == set(rows["test"]) == {moved}
    wide = photos(tmp_path, "d_test", [1, 1, 1], side=(8, 16))
    with pytest.raises(ConfigError) as caught:
        probe.probe_run(made.folder, ("full",), test=wide, protocol="knn", data=moved)
    assert str(caught.value) == (
        f"images of the test part of {wide} are 16 x 8 pixels, those of training are 8 x 8 pixels; "
        "give both one size, as in folder:PATH@8"
    )
    arrays = dict(np.load(tmp_path / "c_train.npz"))
    np.savez(tmp_path / "c_train.npz", **arrays | {"images": arrays["images"][::-1]})
    with pytest.raises(ConfigError, match="is not what .* learned from"):
        probe.probe_run(made.folder, ("full",), protocol="knn", data=moved)


def test_a_run_of_a_gpu_is_probed_where_there_is_none(made, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = made.config.model_copy(update={"device": "cuda:1"})
    assert run._device_of(config) == torch.device("cpu")
    assert "made with device=cuda:1, which is not here: cpu probes" in caplog.text
    assert run._device_of(made.config) == torch.device("cpu")


def test_a_run_of_another_gpu_and_another_root_is_probed_with_what_is_here(
    made, monkeypatch, caplog, tmp_path
):
    caplog.set_level("INFO")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    config = made.config.model_copy(update={"device": "cuda:1"})
    assert run._device_of(config) == torch.device("cuda")
    assert "made with device=cuda:1, which is not here: cuda probes" in caplog.text

    folder = tmp_path / "moved"
    shutil.copytree(made.folder, folder)
    content = files.read_json(folder / "config.json") | {"root": "/gone"}
    files.write_json(folder / "config.json", content)
    runs.seal(folder, "config.json")
    assert Run.load(folder).config.root is None
    assert "/gone, where the run's data lay, is not here" in caplog.text


def test_the_usual_probe_is_of_a_hundred_images_a_class_by_protocol_bcl(made, monkeypatch):
    asked = []
    monkeypatch.setattr(run, "check_probes", lambda *given: asked.append(given))
    with pytest.raises(ConfigError, match="shots is 100, but the smallest class has 10"):
        probe.probe_run(made.folder)
    assert asked == [(["bcl"], ["encoder"], ("100",), None)]
    with pytest.raises(ConfigError, match=re.escape("protocol is 'classifier'; allowed are bcl")):
        probe.probe_run(made.folder, protocol="classifier")


@pytest.mark.parametrize(("shots", "epochs"), [("1%", 60), ("10%", 30), ("2", 60)])
def test_fine_tuning_is_asked_for_each_list_with_its_epochs(shots, epochs, made, monkeypatch):
    asked = []

    def note(encoder, images, labels, classes, config, device, count):
        asked.append((len(images), labels.tolist(), classes, config, str(device), count))
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, classes))

    monkeypatch.setattr(run, "fine_tune", note)
    rows = probe.probe_run(made.folder, (shots,), protocol="finetune")
    each = 2 if shots == "2" else 1
    labels = np.arange(3).repeat(each).tolist()
    assert all((n, sorted(y)) == (3 * each, labels) for n, y, *_ in asked)
    config = made.config
    assert [given[2:] for given in asked] == [(3, config, "cpu", epochs)] * len(asked)
    assert len(asked) == (5 if shots == "2" else 1) and set(rows["protocol"]) == {"finetune"}


def test_protocol_sdclr_learns_without_the_images_that_choose_its_epoch(made, monkeypatch):
    asked = []

    def fit(embed, images, labels, held_out, classes, schedule):
        asked.append((len(images), [len(part) for part in held_out], classes, schedule))
        return torch.zeros(3, held_out[0].shape[1]), torch.tensor([0.0, 1.0, 0.0])

    monkeypatch.setattr(run, "fit_sdclr", fit)
    rows = probe.probe_run(made.folder, ("full", "1%"), protocol="sdclr", groups="thirds")
    full, few = sdclr.SCHEDULES["full"], sdclr.SCHEDULES["1%"]
    assert asked == [(57, [3, 3], 3, full), (3, [3, 3], 3, few)]
    assert rows["images"].unique().tolist() == [57, 3]
    found = rows[rows["shots"] == "full"].set_index("group")["accuracy"].to_dict()
    sd = pytest.approx(np.std([0, 1, 0]))
    assert found == {
        "many": 0, "medium": 1, "few": 0, "std": sd, "all": pytest.approx(1 / 3), "class std": sd,
        "top5": 1,
    }  # fmt: skip


def test_a_row_for_each_number_and_the_classes_once():
    result = linear.ProbeResult(0.5, 0.75, np.array([0.9, np.nan, 0.3]))
    about = {"groups": "thirds", "seed": 1}
    rows = groups.result_rows(result, np.array([30, 20, 10]), about, class_std=True)
    assert [(row["group"], row["accuracy"]) for row in rows] == [
        ("all", pytest.approx(0.6)), ("class std", pytest.approx(0.3)), ("top5", 0.75),
    ]  # fmt: skip
    assert [len(row.get("per_class", [])) for row in rows] == [0, 0, 3]
    assert all(row["seed"] == 1 and row["groups"] == "thirds" for row in rows)
    plain = groups.result_rows(result, np.array([30, 20, 10]), about)
    assert [row["group"] for row in plain] == ["all", "top5"]


def test_summaries_of_splits_are_told_apart_by_split_and_seed():
    said = {
        "accuracy": "all", "class std": "class std", "balancedness": "std", "major": "many",
        "moderate": "medium", "minor": "few",
    }  # fmt: skip
    assert said == sdclr.SUMMARY
    rows = [
        {"shots": shots, "split": split, "seed": seed, "group": group, "accuracy": value}
        for value, (shots, split, seed) in enumerate(
            [("1%", "a", 1), ("1%", "a", 2), ("1%", "b", 1), ("full", "a", 1)]
        )
        for group in said.values()
    ]
    table = probe.split_summary(pd.DataFrame(rows))
    assert table.index.tolist() == [(s, t) for s in ("1%", "full") for t in ("mean", "sd")]
    assert table.index.names == ["shots", "statistic"]
    assert list(table.columns) == [*said, "n"] and table["n"].tolist() == [3, 3, 1, 1]
    assert table["minor"].tolist() == pytest.approx([1, np.std([0, 1, 2]), 3, 0])
    drawn = [
        {"shots": "1%", "split": "long-tail", "split_seed": draw, "mirrored": half, "seed": 0,
         "group": group, "accuracy": draw + 0.5 * half}
        for draw in (0, 1) for half in (False, True) for group in said.values()
    ]  # fmt: skip
    table = probe.split_summary(pd.DataFrame(drawn))
    assert table["n"].tolist() == [4, 4]
    assert table["minor"].tolist() == pytest.approx([0.75, np.std([0, 0.5, 1, 1.5])])
    assert (sdclr.RATE, sdclr.MOMENTUM, sdclr.BATCH, sdclr.PADDING) == (30, 0.9, 128, 4)


def test_features_go_through_the_network_in_parts(monkeypatch):
    seen = []

    class Network(torch.nn.Module):
        def forward(self, images):
            seen.append((len(images), self.training))
            assert images.is_contiguous(memory_format=torch.channels_last)
            return images.mean((2, 3))

    images = torch.full((5, 3, 4, 4), 51, dtype=torch.uint8)
    for size, parts in ((96, [2, 2, 1]), (1, [1] * 5), (2**23, [5])):
        monkeypatch.setattr(linear, "BYTES", size)
        found = probe.features(Network(), images)
        assert found.tolist() == [[pytest.approx(0.2)] * 3] * 5
        assert [count for count, *_ in seen] == parts
        assert {training for _, training in seen} == {False}
        seen.clear()
    probe.features(Network(), images.repeat(201, 1, 1, 1))
    assert [count for count, *_ in seen] == [1000, 5]
