"""Probes and reports against the published ones; which labelled images a probe uses."""

import copy

import numpy as np
import pandas as pd
import pytest
import slow_probes
import torch

from ltcl_helpers import cli, files, probe, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.data.images import load_images
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.paths import DATA
from ltcl_helpers.pretrain.loop import pretrain
from ltcl_helpers.probe import linear
from ltcl_helpers.probe.run import about_run
from ltcl_helpers.runs.run import Run


def test_group_report_equals_the_published_summary(golden):
    values = golden("g_probe_groups_lr")
    report = probe.group_report(values["group_class_acc"], values["group_counts"])
    expected = values["group_all_many_med_few_fullstd_groupstd"]
    got = [report["all"], report["many"], report["medium"], report["few"]]
    np.testing.assert_allclose(got, expected[:4], rtol=1e-12)
    np.testing.assert_allclose(report["std"] / 100, expected[5], rtol=1e-6)  # published as fraction


@pytest.mark.parametrize("counts", [[5, 5], [5, 3]])  # equal sizes; too few classes for thirds
def test_classes_without_groups_are_reported_together(counts):
    report = probe.group_report(np.array([0.2, 0.4]), np.array(counts))
    assert report == {"all": pytest.approx(0.3)}


def test_a_class_without_a_test_image_is_in_no_mean():
    accuracies, counts = np.array([0.9, np.nan, 0.6, 0.5, 0.2, 0.1]), np.array([9, 8, 7, 6, 5, 4])
    report = probe.group_report(accuracies, counts)
    assert report["all"] == pytest.approx(np.mean([0.9, 0.6, 0.5, 0.2, 0.1]))
    found = [report[group] for group in splits.GROUPS]
    assert found == pytest.approx([0.9, 0.55, 0.15]) and report["std"] == pytest.approx(
        np.std(found)
    )
    accuracies[0] = np.nan  # nobody is left of many
    assert probe.group_report(accuracies, counts) == {"all": pytest.approx(0.35)}


def test_groups_by_counts_are_those_of_imagenet():
    accuracies, counts = np.array([0.9, 0.6, 0.4, 0.2]), np.array([1280, 100, 20, 5])
    report = probe.group_report(accuracies, counts, "counts")
    assert [report[g] for g in splits.GROUPS] == pytest.approx([0.9, 0.5, 0.2])
    assert report["std"] == pytest.approx(np.std([0.9, 0.5, 0.2]))
    assert probe.group_report(accuracies, counts)["many"] == pytest.approx(0.75)  # thirds of 4
    assert set(probe.group_report(accuracies, counts + 50, "counts")) == {"all"}  # nobody is few


def golden_features(golden):
    values = golden("g_probe_groups_lr")
    names = ("x_train", "y_train", "x_test", "y_test")
    given = [values[name] for name in names]
    in_float64 = [part.astype(np.float64 if part.dtype.kind == "f" else int) for part in given]
    return [torch.from_numpy(part) for part in given], in_float64, values


def test_probe_reaches_the_published_accuracy_on_golden_features(golden):
    """The plain probe, in float64, has the published accuracies; the kit's has its logits.

    Float32 moves them by 5e-6 (three kinds of processor, 1 to 4 threads); the closest decision
    about an image is one of 5e-4, so all are the same.
    """
    data, (x, y, test, labels), values = golden_features(golden)
    logits = slow_probes.adam_probe(x, y, test, 10, seed=10)
    right = logits.argmax(1) == labels
    top5 = slow_probes.accuracies(logits, labels, np.arange(10))["top5"]
    np.testing.assert_allclose([right.mean(), top5], values["seed10_default"], atol=1e-6)
    weight, bias = probe.fit_bcl(*data[:2], 10, seed=10)
    found = torch.nn.functional.linear(data[2], weight, bias).detach()
    np.testing.assert_allclose(found, logits, rtol=0, atol=1e-4)
    result = probe.linear_probe(*data, seed=10)
    assert (result.top1, result.top5) == pytest.approx((right.mean(), top5), abs=1e-12)
    per_class = [right[labels == c].mean() for c in range(10)]
    np.testing.assert_allclose(result.per_class, per_class, rtol=0, atol=1e-12)


def test_logistic_probe_is_the_optimum_on_golden_features(golden):
    """As near as scikit-learn goes: 0.0095 in a logit, on three kinds of processor."""
    data, (x, y, test, labels), _ = golden_features(golden)
    logits = slow_probes.logistic_probe(x, y, test, 10)
    logits -= logits.mean(1, keepdims=True)  # what is added to all classes changes nothing
    found = linear._logistic(*data[:3], 10, 0).numpy()
    found -= found.mean(1, keepdims=True)
    np.testing.assert_allclose(found, logits, rtol=0, atol=0.1)
    result = probe.linear_probe(*data, protocol="logistic")
    expected = slow_probes.accuracies(found, labels, np.arange(10))
    expected = expected["all"], expected["top5"]
    assert (result.top1, result.top5) == pytest.approx(expected, abs=1e-12)


def test_probe_learning_rate_is_the_published_curve(golden, monkeypatch):
    values, seen = golden("g_probe_groups_lr"), []
    step = torch.optim.Adam.step

    def watch(self):
        seen.append(self.param_groups[0]["lr"])
        return step(self)

    monkeypatch.setattr(torch.optim.Adam, "step", watch)
    x, y = torch.randn(20, 3), torch.arange(20) % 2
    probe.linear_probe(x, y, x, y)
    for epoch, expected in zip(values["probe_lr_epochs"], values["probe_lr"], strict=True):
        if epoch < 500:  # the value after the last epoch is never used
            assert seen[epoch] == pytest.approx(expected, rel=1e-9)
    assert len(seen) == 500


@pytest.mark.usefixtures("float64")
def test_probe_learns_from_a_thousand_images_at_a_time():
    draw = torch.Generator().manual_seed(1)
    x, y = torch.randn(1500, 5, generator=draw), torch.arange(1500) % 3
    weight, bias = probe.fit_bcl(x, y, 3, seed=2, epochs=4)
    draw = torch.Generator().manual_seed(2)
    layer = torch.nn.Linear(5, 3)
    for parameter in layer.parameters():
        parameter.data.uniform_(-(5**-0.5), 5**-0.5, generator=draw)
    adam = torch.optim.Adam(layer.parameters(), weight_decay=5e-6)
    for epoch in range(4):
        order = torch.randperm(1500, generator=draw)
        for index in (order[:1000], order[1000:]):
            for group in adam.param_groups:
                group["lr"] = 0.01 * 1e-4 ** (epoch / 4)
            adam.zero_grad()
            torch.nn.functional.cross_entropy(layer(x[index]), y[index]).backward()
            adam.step()
    torch.testing.assert_close(weight, layer.weight, rtol=0, atol=1e-10)
    torch.testing.assert_close(bias, layer.bias, rtol=0, atol=1e-10)


def test_a_class_without_labelled_images_is_never_predicted():
    """Features that show the class, so that all answers are known; the first test image lies."""
    y = torch.arange(40) % 3 + 1  # class 0 has no labelled image
    x = 5 * torch.eye(4)[y]
    shown = torch.tensor([1, 1, 2, 3])
    for protocol in probe.choices.ON_FEATURES:
        result = probe.linear_probe(x, y, 5 * torch.eye(4)[shown], torch.arange(4), protocol)
        assert result.per_class.tolist() == [0, 1, 1, 1] and result.top1 == 0.75
    with pytest.raises(ConfigError, match="protocol"):
        probe.linear_probe(x, y, x, y, "svm")


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return pretrain(RunConfig(preset="tiny", device="cpu"), folder)


def test_drawn_lists_avoid_what_pre_training_saw(tiny_run):
    labels = load_images("shapes").labels.numpy()
    lists = probe.labelled_lists(tiny_run, labels, "20")
    assert len(lists) == 5 and {x.source for x in lists} == {"drawn"}
    for each in lists:
        assert np.bincount(labels[each.index]).tolist() == [20] * 12
        assert not set(each.index) & set(tiny_run.index.tolist())
    assert lists[0].index.tolist() != lists[1].index.tolist()
    (one,) = probe.labelled_lists(tiny_run, labels, "1%")  # of the lists of pre-training
    first = splits.few_shot(labels, 4, tiny_run.config.drawn_with)
    assert set(first) <= set(tiny_run.index.tolist()) and set(first) <= set(one.index)
    (full,) = probe.labelled_lists(tiny_run, labels, "full")
    assert len(full.index) == len(labels)
    (wide, *_) = probe.labelled_lists(tiny_run, labels, "1000")  # not enough unseen: say so
    assert wide.name.startswith("any")
    for shots in ("0", "ten", "-5"):
        with pytest.raises(ConfigError, match="shots"):
            probe.labelled_lists(tiny_run, labels, shots)


def test_lists_that_are_drawn_on_shapes_share_the_head_classs_unseen_images(tiny_run):
    """As docs/differences.md says: 100 images of it are unseen, and each list takes 100."""
    config = RunConfig(preset="quick", split_seed=1)  # the embedded data's long tail
    run = type(tiny_run)(
        **{**vars(tiny_run), "index": torch.from_numpy(splits.select(config).index)}
    )
    labels = load_images("shapes").labels.numpy()
    head = np.bincount(labels[run.index]).argmax()
    drawn = [
        set(x.index[labels[x.index] == head]) for x in probe.labelled_lists(run, labels, "100")
    ]
    assert len(drawn[0]) == 100 and all(each == drawn[0] for each in drawn)


def test_published_lists_are_found_by_name_and_known_by_content(published_splits, tiny_run):
    folder = published_splits / "cifar100_imbSub_with_subsets"
    run = tiny_run
    run = type(run)(
        **{**vars(run), "config": RunConfig(split=str(folder / "cifar100_split2_D_i.npy"))}
    )
    labels = np.arange(50_000) % 100
    found = {s: probe.labelled_lists(run, labels, s) for s in ("full", "100", "50", "1%")}
    assert [len(v) for v in found.values()] == [1, 5, 5, 1]
    assert [len(v[0].index) for v in found.values()] == [40_000, 10_000, 5_000, 400]
    assert found["1%"][0].name == "cifar100_split2_S_b.npy"
    assert {x.source for v in found.values() for x in v} == {"published"}
    held = probe.validation_list(run, labels)
    assert held.name == "cifar100_valIdxList.npy" and len(held.index) == 5_000
    assert not set(held.index) & set(found["full"][0].index)
    with pytest.raises(ConfigError, match="hold no"):
        probe.labelled_lists(run, labels, "7", published_splits)


def test_lists_of_several_data_sets_are_not_mixed(tiny_run):
    for shots in ("100", "full"):
        with pytest.raises(ConfigError, match="several data sets.*cifar100lt.*cifar10lt"):
            probe.labelled_lists(tiny_run, np.arange(50_000) % 10, shots, DATA / "splits")


def test_a_test_set_has_the_classes_of_training_by_name(tiny_run, tmp_path):
    """In another order they are the same classes; a class that training lacks is refused."""
    images, labels, names = load_images("shapes", "test")
    chosen = torch.arange(0, 3000, 25)
    shown = images[chosen].permute(0, 2, 3, 1).numpy()
    accuracies = []
    for order in (np.arange(12), np.arange(12)[::-1]):
        path = tmp_path / "other_test.npz"
        other = [names[k] for k in order]
        np.savez(path, images=shown, labels=np.argsort(order)[labels[chosen]], class_names=other)
        rows = probe.probe_run(tiny_run.folder, ("10",), None, f"npz:{path}", "logistic")
        accuracies.append(rows.loc[rows["group"] == "few", "accuracy"].tolist())
    assert accuracies[0] == accuracies[1] and np.std(accuracies[0]) > 0
    np.savez(path, images=shown[:13], labels=np.arange(13), class_names=(*names, "bird"))
    with pytest.raises(ConfigError, match="images of class bird, which the training part lacks"):
        probe.probe_run(tiny_run.folder, ("10",), test=f"npz:{path}")
    np.savez(path, images=shown[:12, :24, :24], labels=np.arange(12), class_names=names)
    with pytest.raises(ConfigError, match="24 x 24 pixels, those of training are 32 x 32"):
        probe.probe_run(tiny_run.folder, ("10",), test=f"npz:{path}")


def test_our_own_list_files_are_not_called_published(tiny_run):
    own = DATA / "splits" / "own" / "cifar10lt_split3_D_i.npy"
    run = type(tiny_run)(**{**vars(tiny_run), "config": RunConfig(split=str(own))})
    found = probe.labelled_lists(run, np.arange(50_000) % 10, "100")
    assert [x.name for x in found] == [f"cifar10lt_split{k}_test_100shot.npy" for k in range(1, 6)]
    assert {x.source for x in found} == {"file"}


def test_rows_are_stored_once_and_carry_their_provenance(tiny_run):
    rows = probe.probe_run(tiny_run.folder, ("10", "1%"), protocol="logistic")
    for _ in range(2):
        table = probe.save_probe(tiny_run.folder, rows)
    assert len(table) == len(rows) == (5 + 1) * 6
    stored = files.read_parquet(tiny_run.folder / "probe.parquet")
    assert set(stored["group"]) == {"many", "medium", "few", "std", "all", "top5"}
    one = stored.iloc[0]
    assert (one["method"], one["boost"], one["data"]) == ("simclr", "none", "shapes")
    assert len(one["list_sha256"]) == 64 and one["images"] == 120
    assert stored["accuracy"].between(0, 1).all()
    runs.verify(tiny_run.folder)
    assert set(stored["features"]) == {"encoder"} and set(stored["groups"]) == {"thirds"}
    raw = probe.probe_run(tiny_run.folder, ("10",), protocol="logistic", kind="pixels")
    assert set(raw["method"]) == {"pixels"}
    assert len(probe.save_probe(tiny_run.folder, raw)) == len(rows) + len(raw)
    other = probe.probe_run(tiny_run.folder, ("10",), None, "shapes:1", "logistic")
    table = probe.save_probe(tiny_run.folder, other)  # beside the rows of the own test set
    assert len(table) == len(rows) + len(raw) + len(other)
    assert set(table["test"]) == {"shapes", "shapes:1"}
    counted = probe.probe_run(tiny_run.folder, ("10",), protocol="logistic", groups="counts")
    table = probe.save_probe(tiny_run.folder, counted)  # instead of the rows by thirds
    again = table[table["groups"] == "counts"]
    assert set(again["group"]) == {"all", "top5"} and set(again["shots"]) == {"10"}
    assert len(table) == len(rows) + len(raw) + len(other) - 5 * 4
    for wrong in (dict(kind="magic"), dict(groups="halves"), dict(protocol="svm")):
        with pytest.raises(ConfigError, match=f"is '{next(iter(wrong.values()))}'; allowed are"):
            probe.probe_run(tiny_run.folder, **wrong)


def test_every_list_keeps_the_accuracy_of_its_classes_once(tiny_run):
    rows = probe.probe_run(tiny_run.folder, ("10",), protocol="logistic")
    kept = rows.dropna(subset="per_class").set_index("list")["per_class"]
    overall = rows[rows["group"] == "all"].set_index("list")["accuracy"]
    assert list(kept.index) == list(overall.index) and len(kept) == 5
    for name, per_class in kept.items():
        assert len(per_class) == 12 and np.mean(per_class) == pytest.approx(overall[name])
    assert set(rows.loc[rows["per_class"].notna(), "group"]) == {"top5"}  # the last of a list


def test_rows_of_raw_pixels_name_no_boost_those_of_an_encoder_do():
    boosted = RunConfig(preset="tiny", method="bcl-d")
    facts = {kind: about_run(boosted, kind) for kind in ("encoder", "pruned", "pixels")}
    told = {kind: (about["method"], about["boost"]) for kind, about in facts.items()}
    assert told == {
        "encoder": ("sdclr", "memory"), "pruned": ("sdclr pruned", "memory"),
        "pixels": ("pixels", "none"),
    }  # fmt: skip


def test_a_row_says_of_its_run_what_a_reader_of_the_file_alone_needs():
    run = RunConfig(
        preset="tiny", split="there/split1_D_i.npy", split_seed=3, mirrored=True, seed=7
    )
    assert about_run(run, "encoder") == {
        "method": "simclr", "boost": "none", "features": "encoder", "preset": "tiny",
        "data": "shapes", "epochs": 2, "split": "split1_D_i.npy", "split_seed": 3,
        "mirrored": True, "seed": 7,
    }  # fmt: skip


def test_the_command_takes_the_rule_of_groups(tmp_path, capsys):
    folder = tmp_path / "run"
    config = RunConfig(preset="tiny", device="cpu", epochs=0, largest_class=200, imbalance=20.0)
    pretrain(config, folder)
    call = ["probe", str(folder), "--shots", "10", "--protocol", "logistic", "--groups"]
    assert cli.main([*call, "counts"]) == 0
    rows = files.read_parquet(folder / "probe.parquet")
    counts = splits.select(config).class_counts
    assert set(rows["groups"]) == {"counts"} and {"many", "few"} <= set(rows["group"])
    assert (counts > 100).sum() != len(counts) // 3  # the rules differ here
    assert cli.main([*call, "halves"]) == 2
    assert "groups is 'halves'; allowed are thirds, counts" in capsys.readouterr().err


def test_rows_of_older_probes_are_completed():
    old = pd.DataFrame({"method": ["sdclr", "sdclr pruned", "pixels"], "data": "shapes"})
    rows = probe.complete(old)
    assert rows["features"].tolist() == ["encoder", "pruned", "pixels"]
    assert set(rows["groups"]) == {"thirds"} and set(rows["test"]) == {"shapes"}
    assert probe.complete(rows.assign(test="other"))["test"].tolist() == ["other"] * 3


def test_features_are_the_eval_mode_encoder_in_any_batch(tiny_run, request):
    images = load_images("shapes", "test").images[:1100:9]
    got = probe.features(tiny_run.encoder, images)
    assert got.shape == (len(images), tiny_run.encoder.dim) and got.dtype == torch.float32
    request.getfixturevalue("float64")  # from here on
    encoder = copy.deepcopy(tiny_run.encoder).double()
    together, alone = (probe.features(encoder, part) for part in (images, images[5:6]))
    torch.testing.assert_close(together[5:6], alone, rtol=0, atol=1e-10)
    # Float32: 2e-6 of a feature was the most measured, on three kinds of processor.
    torch.testing.assert_close(got.double(), together, rtol=0, atol=1e-4)


def test_a_recorded_run_opens_and_says_that_its_weights_are_not_there(tiny_run, tmp_path):
    runs.record(tiny_run.folder, tmp_path / "kept")
    run = Run.load(tmp_path / "kept")
    assert torch.equal(run.momentum_loss, tiny_run.momentum_loss)
    assert run.config == tiny_run.config and len(run.history) == 2
    with pytest.raises(ConfigError, match="recorded without encoder.safetensors.*run again"):
        _ = run.encoder
    with pytest.raises(ConfigError, match="recorded without"):
        probe.probe_run(tmp_path / "kept", ("10",))
