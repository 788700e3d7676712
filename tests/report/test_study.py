"""Studies of small recorded runs: which rows, names, sections and pairs they have."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from report.recording import MACHINE, SPLIT, config, probed, record, record_all
from sklearn.metrics import roc_auc_score

from ltcl_helpers import files, report, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.paths import RESULTS
from ltcl_helpers.report import page, study, tables

GRID = """
title: A title
note: A note.
base: {{preset: quick, data: cifar100, split: {split}}}
cross: {{seed: [0, 1, 2], {more}}}
rows:
  sdclr: {{method: sdclr, label: "Second"}}
  simclr: {{method: simclr, label: "First"}}
compare: [[sdclr, simclr]]
"""


def write_grid(folder, name="small.yaml", more=""):
    (folder / name).write_text(GRID.format(split=SPLIT, more=more), encoding="utf-8")
    return folder / name


# --- grids ----------------------------------------------------------------------------------


def test_a_grid_shows_what_is_there_of_it_with_its_own_labels(tmp_path):
    record_all(tmp_path / "runs", seeds=2)
    run = config("sdclr", 0)
    pruned = probed(run, 0.4).assign(features="pruned")
    pixels = probed(run, 0.2).assign(features="pixels", method="pixels")
    runs.add_file(
        tmp_path / "runs" / "sdclr-0",
        "probe.parquet",
        files.parquet_bytes(pd.concat([probed(run, 0.5), pruned, pixels])),
    )
    (tmp_path / "runs" / "simclr-1" / "DONE.json").unlink()
    record(tmp_path / "runs" / "simclr-2", config("simclr", 2))
    path = write_grid(tmp_path, "small.yml")
    asked = "label: Second, probe: {features: [encoder, pruned, pixels]}"
    path.write_text(path.read_text().replace('label: "Second"', asked))
    one = study.read(path, tmp_path / "runs")
    assert (one.title, one.note, one.pairs) == ("A title", "A note.", [("sdclr", "simclr")])
    # Not over, not there, not probed; and one that was not probed as the grid asks.
    assert one.missing == ["simclr-1", "sdclr-2", "simclr-2", "sdclr-1"]
    assert [folder.name for folder in one.folders] == ["sdclr-0", "simclr-0", "sdclr-1"]
    assert list(one.labels.items()) == [
        ("sdclr, pruned", "Second, pruned branch"), ("pixels", "raw pixels"),
        ("sdclr", "Second"), ("simclr", "First"),
    ]  # fmt: skip
    named = one.rows.groupby("features", sort=False)["row"].unique().map(list).to_dict()
    assert named == {
        "encoder": ["sdclr", "simclr"], "pruned": ["sdclr, pruned"], "pixels": ["pixels"]
    }  # fmt: skip
    assert dict(zip(one.rows["row"], one.rows["label"], strict=True)) == one.labels
    assert set(one.rows["section"]) == {""} and list(one.rows.index) == [*range(len(one.rows))]
    part = one.part("simclr", "sdclr")
    assert list(part.labels) == ["sdclr", "simclr"] and part.pairs == one.pairs
    assert one.part("simclr").pairs == [] and list(one.part("simclr").labels) == ["simclr"]


def test_a_grid_without_a_run_says_what_makes_some(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        study.read(write_grid(tmp_path))
    assert str(error.value) == (
        f"{tmp_path / 'small.yaml'} has 6 cells, and none in runs/small is done and probed; next: "
        f"ltcl batch {tmp_path / 'small.yaml'}"
    )
    with pytest.raises(ConfigError, match="is no finished run"):
        study.read([tmp_path / "small.yaml", tmp_path])


def test_other_lengths_are_sections_and_other_seeds_are_not(tmp_path):
    for name in ("sdclr", "simclr"):
        for epochs in (30, 60):
            lists = "/of/another/machine/cifar100_split1_D_i.npy"  # the same list, elsewhere
            run = config(name, 0, epochs=epochs, split=lists)
            record(tmp_path / "runs" / f"{epochs}-{name}-0", run, probed(run, 0.5))
    path = write_grid(tmp_path, more="epochs: [30, 60]")
    text = path.read_text().replace("seed: [0, 1, 2], epochs: [30, 60]", "epochs: [30, 60]")
    path.write_text(text.replace("cross:", "folder: '{epochs}-{row}-0'\ncross:"))
    one = study.read(path, tmp_path / "runs")
    assert list(one.rows["section"].unique()) == ["30 epochs", "60 epochs"] and not one.missing
    assert study._words("lr", 0.5) == "lr 0.5"


# --- runs -----------------------------------------------------------------------------------


def of(folder, **runs_and_rows):
    """A study of one run each, by the names of their folders."""
    there = [record(folder / name, run, probed(run, 0.5)) for name, run in runs_and_rows.items()]
    return study.read(there)


def test_runs_are_sections_by_what_their_names_do_not_say(tmp_path):
    one = of(tmp_path / "a", a=config("simclr"))
    assert one.title == "a" and set(one.rows["section"]) == {""} and one.note == ""
    balanced = config("simclr", split=SPLIT.replace("_D_i", "_D_b"))
    drawn = config("simclr", split="balanced")
    both = of(tmp_path / "b", a=config("simclr"), b=balanced)
    assert both.title == "2 runs" and both.labels == {
        "simclr": "SimCLR", "simclr-balanced": "SimCLR, balanced set"
    }  # fmt: skip
    assert both.pairs == [("simclr", "simclr-balanced")] and both.missing == []
    assert of(tmp_path / "c", b=drawn).labels == {"simclr-balanced": "SimCLR, balanced set"}

    def sections(name, *others):
        found = of(tmp_path / name, a=config("simclr"), **dict(zip("bcd", others, strict=False)))
        return list(found.rows["section"].unique())

    long = config("simclr", epochs=60)
    untrained = config("simclr", epochs=0)
    assert sections("d", long) == ["30 epochs", "60 epochs"]
    assert sections("e", untrained) == [""]  # has no length
    assert sections("f", config("simclr", data="cifar10", split="long-tail"), long) == [
        "cifar100, 30 epochs", "cifar10, 30 epochs", "cifar100, 60 epochs"
    ]  # fmt: skip
    counts = dict(epochs=30, data="shapes", split="long-tail")
    assert sections("i", config("simclr", split="all"), config("simclr", split="long-tail")) == [
        "listed sets", "all images", "drawn sets",
    ]  # fmt: skip
    mild, mixed = config("simclr", imbalance=2, **counts), config("simclr", seed=1, **counts)
    assert set(of(tmp_path / "j", a=mild, b=mixed).rows["section"]) == {
        "drawn sets, imbalance 2.0", "drawn sets, imbalance 100.0",
    }  # fmt: skip
    tiny = RunConfig(preset="tiny", epochs=30)
    assert sections("g", tiny) == ["cifar100, quick preset", "shapes, tiny preset"]
    other = config("simclr", 1)
    there = [record(tmp_path / "h" / "a", config("simclr"), probed(config("simclr"), 0.5)),
             record(tmp_path / "h" / "b", other, probed(other, 0.5, test="cifar10"))]  # fmt: skip
    tested = study.read(there)
    assert list(tested.rows["section"].unique()) == ["tested on cifar100", "tested on cifar10"]


def test_runs_of_one_name_that_differ_in_their_recipe_are_rows_of_their_own(tmp_path):
    slow, fast = config("simclr", lr=0.01), config("simclr", seed=1, lr=1.0)
    boosted = config("bcl-i", lr=0.01), config("simclr-shuffled", lr=0.01)
    one = of(tmp_path / "a", a=slow, b=fast, c=boosted[0], d=boosted[1])
    assert one.labels == {
        "simclr, learning rate 0.01": "SimCLR, learning rate 0.01",
        "simclr, learning rate 1": "SimCLR, learning rate 1",
        "bcl-i": "BCL-I", "simclr-shuffled": "SimCLR, boost shuffled (control)",
    }  # fmt: skip
    assert one.pairs == [("bcl-i", "simclr-shuffled")]
    both = dict(a=slow, b=config("simclr", lr=1.0), c=boosted[0], d=config("bcl-i", lr=1.0))
    assert of(tmp_path / "b", **both).pairs == [
        (f"bcl-i, learning rate {rate}", f"simclr, learning rate {rate}") for rate in ("0.01", "1")
    ]
    wide = config("simclr", seed=2, width=32, network="torchvision:resnet18")
    (small, large) = of(tmp_path / "c", a=slow, b=wide).labels
    assert small.startswith("simclr, ResNet-10") and "torchvision:resnet18" in large
    assert ", ," not in large and not large.endswith(", ")  # it has no such part to say
    untrained = [config("simclr", epochs=0, lr=lr, seed=lr) for lr in (1, 2)]
    assert list(of(tmp_path / "d", a=untrained[0], b=untrained[1]).labels) == ["untrained"]


def test_a_balanced_list_of_imagenet_is_the_control_of_its_partner(tmp_path):
    tail, flat = (config("simclr", split=f"my_{kind}_train.txt") for kind in ("LT", "BL"))
    both = of(tmp_path, a=tail, b=flat)
    assert both.pairs == [("simclr", "simclr-balanced")] and set(both.rows["section"]) == {""}
    assert both.rows.groupby("row")["draw"].first().nunique() == 1  # so they are paired


def test_runs_whose_groups_follow_other_rules_stand_apart(tmp_path):
    for name, rule in (("a", "thirds"), ("b", "counts")):
        run = config("simclr", ord(name))
        record(tmp_path / name, run, probed(run, 0.5).assign(groups=rule))
    one = study.read([tmp_path])
    assert set(one.rows["section"]) == {"groups by thirds", "groups by counts"}


def test_data_that_moved_are_the_runs_own_wherever_they_were_probed(tmp_path):
    run = config("simclr", data="npz:old/x_train.npz", split="all")
    here = probed(run, 0.5, ("100",))
    there = probed(run, 0.5, ("50",)).assign(data="npz:new/x_train.npz", test="npz:new/x_train.npz")
    record(tmp_path / "a", run, pd.concat([here, there]))
    one = study.read([tmp_path])
    assert set(one.rows["section"]) == {""} and set(one.rows["test"]) == {run.data}


def test_a_run_is_called_by_its_encoder_and_counts_once(tmp_path):
    run = config("simclr")
    rows = [probed(run, 0.2).assign(features="pixels"), probed(run, 0.5)]
    folder = record(tmp_path / "a", run, pd.concat(rows))
    one = study.read([folder, folder])
    assert len(one.folders) == 1
    assert list(study.machines(one)["features"]) == ["SimCLR"]
    assert set(study.signal(one)["label"]) == {"SimCLR"}


def test_boosted_methods_stand_beside_plain_and_control(tmp_path):
    names = dict(a=config("simclr"), b=config("sdclr"), c=config("bcl-i"),
                 d=config("simclr-shuffled"), e=config("simclr", epochs=0),
                 f=config("sdclr", split=SPLIT.replace("_D_i", "_D_b")))  # fmt: skip
    pairs = of(tmp_path, **names).pairs
    assert pairs == [
        ("sdclr", "sdclr-balanced"), ("sdclr", "simclr"), ("bcl-i", "simclr"),
        ("bcl-i", "simclr-shuffled"), ("simclr-shuffled", "simclr"),
    ]  # fmt: skip
    assert study._partners("simclr-7e-4", config("simclr", weight_decay=7e-4)) == [
        "simclr-7e-4-balanced", "simclr"
    ]  # fmt: skip
    strong = config("bcl-i", boost_k=2)
    assert study._partners(strong.name, strong)[1:] == ["simclr", strong.control]


def test_a_study_knows_its_machines_signals_and_blocks(tmp_path):
    one = study.read(record_all(tmp_path, seeds=2, shots=("100",)))
    rows = one.rows.assign(seconds=[np.nan, *one.rows["seconds"][1:]])
    assert study.machines(dataclasses.replace(one, rows=rows)).iloc[:2].to_dict("list") == {
        "run": ["simclr-0", "simclr-1"], "features": ["SimCLR"] * 2, "epochs": [30, 30],
        "seconds an epoch": ["", "91.0"], "minutes": ["", "45.5"],
        "device": ["cpu, threads: 1, float32"] * 2, "torch": ["2", "2"],
    }  # fmt: skip
    signal = study.signal(dataclasses.replace(one, rows=one.rows.assign(section="s")))
    assert signal["row"].tolist() == ["simclr"] * 4 + ["sdclr"] * 4
    assert set(signal["section"]) == {"s"} and list(signal.index) == [*range(8)]
    assert signal["label"].tolist()[3:5] == ["SimCLR", "SDCLR"]
    ((section, part, found),) = one.blocks(row="sdclr")
    assert section == "" and len(part) == 12 and list(found.index.unique(0)) == ["sdclr"]
    assert found["all"].tolist() == pytest.approx([0.54, 0.562])
    none = dataclasses.replace(one, rows=one.rows.assign(accuracy=np.nan))
    assert list(none.blocks()) == []


def test_accuracy_of_a_class_is_the_mean_over_its_lists(tmp_path):
    run = config("simclr")
    rows = probed(run, 0.5, shots=("100",))
    each = [[0.1, 0.2, 0.3, 0.4, 0.5, np.nan], [0.3, 0.4, 0.5, 0.6, 0.7, np.nan]]
    rows["per_class"] = None
    for number, listed in zip(rows.index[rows["group"] == "all"], each, strict=True):
        rows.at[number, "per_class"] = listed
    one = study.read([record(tmp_path / "a", run, rows)])
    assert "per_class" not in one.rows and len(one.rows) == 6 + 2 * 5
    assert list(one.rows.index) == [*range(16)]
    found = study.per_class(one)
    about = ["section", "protocol", "shots", "row", "label", "folder", "group"]
    assert list(found) == [*about, "accuracy", "class", "images"]
    assert found["class"].tolist() == [0, 1, 2, 3, 4] and found["images"].tolist() == [
        6,
        5,
        4,
        3,
        2,
    ]
    assert found["accuracy"].tolist() == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6])
    assert study.per_class(dataclasses.replace(one, rows=one.rows[:6])).empty


# --- rows -----------------------------------------------------------------------------------


def test_a_row_says_everything_of_its_run(tmp_path):
    run = config("bcl-i", 3, mirrored=False)
    other = MACHINE | {"device": "gpu", "threads": 8, "precision": "bf16", "torch": "3"}
    folder = record(tmp_path / "a" / "b-3", run, probed(run, 0.5), machines=[other, MACHINE, other])
    line = report.load_rows(folder, group="all", shots="50", list="b").to_dict("records")[0]
    expected = run.model_dump(exclude={"options", "split"}) | {
        "name": "bcl-i", "label": "BCL-I", "control": "simclr-shuffled", "features": "encoder",
        "draw": "cifar100_split1_D_i", "mirrored": False, "seed": 3, "run": "b-3",
        "folder": str(folder), "machine": "gpu, threads: 8, bf16 then cpu, threads: 1, float32",
        "torch": "3", "seconds": 93.0, "split_seed": run.drawn_with, "protocol": "bcl",
        "split": "cifar100_split1_D_i.npy", "list_source": "published", "test": "cifar100",
    }  # fmt: skip
    assert line["accuracy"] == pytest.approx(0.41)
    for name, value in expected.items():
        shown = str(value) if isinstance(value, tuple | dict) else value
        assert line[name] == shown or (value is None and pd.isna(line[name])), name


def test_a_run_of_one_class_has_one_row_without_an_accuracy(tmp_path):
    run = config("simclr")
    folder = tmp_path / "a"
    folder.mkdir()
    one = np.zeros(4, int)
    files.write_json(folder / "config.json", run.model_dump(mode="json"))
    files.write_npz(
        folder / "memory.npz", momentum_loss=np.zeros((1, 4), np.float16), labels=one,
        index=np.arange(4), epochs_kept=[1], class_counts=one[:1] + 4, group_counts=one[:1] + 4,
    )  # fmt: skip
    history = pd.DataFrame({"epoch": [1], "loss": 1.0, "lr": 0.5, "seconds": 1.0})
    files.write_parquet(folder / "history.parquet", history)
    runs.seal(folder, "config.json", "history.parquet", "memory.npz", machines=[MACHINE])
    (line,) = report.load_rows(folder).to_dict("records")
    empty = ("protocol", "shots", "list", "list_source", "list_sha256", "untested")
    assert {line[name] for name in empty} == {""} and np.isnan(line["accuracy"])
    shown = [line[name] for name in ("group", "images", "test", "features", "name")]
    assert shown == ["none", 4, "cifar100", "encoder", "simclr"]
    assert report.load_signal(folder).empty
    plain = record(tmp_path / "b", run)
    with pytest.raises(ConfigError) as error:
        report.load_rows(plain)
    assert str(error.value) == f"{plain} has no probe yet; next: ltcl probe {plain}"


def test_features_have_names_of_their_own(tmp_path):
    run = config("sdclr")
    kinds = [probed(run, 0.5, shots=("100",)).assign(features=kind)
             for kind in ("encoder", "pruned", "pixels")]  # fmt: skip
    folder = record(tmp_path / "a", run, pd.concat(kinds))
    rows = report.load_rows(folder)
    assert list(zip(rows["name"].unique(), rows["label"].unique(), strict=True)) == [
        ("sdclr", "SDCLR"), ("sdclr, pruned", "SDCLR, pruned branch"), ("pixels", "raw pixels")
    ]  # fmt: skip
    for name in rows["name"].unique():
        assert set(report.load_rows(folder, name=name)["name"]) == {name}


def test_what_would_be_mixed_in_a_line_is_named(tmp_path):
    runs_ = record_all(tmp_path, ["simclr"], seeds=2, protocols=("bcl", "logistic"))
    rows = report.load_rows(runs_)
    found = report.by_run(rows[(rows["shots"] == "50") & (rows["protocol"] == "bcl")], "label")
    assert found.index.names == ["label", *report.WHO] and list(found) == ["few", "all", "std"]
    line = "one line of ['name', 'draw', 'mirrored', 'seed'] has several of"
    fifty = rows[rows["shots"] == "50"]
    bcl = fifty[fifty["protocol"] == "bcl"]
    tested = pd.concat([bcl, bcl.assign(test="cifar10")])
    for given, said in (
        (rows, "shots: 100, 50"), (fifty, "protocol: bcl, logistic"),
        (tested, "test: cifar10, cifar100"),
        (bcl.assign(seed=0), f"folder: {runs_[0]}, {runs_[1]}"),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as error:
            report.by_run(given)
        assert str(error.value) == f"{line} {said}; choose one"
    with pytest.raises(ConfigError) as error:
        report.load_rows(runs_[0], shots="7")
    assert str(error.value) == (f"{runs_[0]} has no probe row with shots='7'; there is '100', '50'")
    with pytest.raises(ConfigError, match="rows have no 'shot'; they have method, boost, "):
        report.load_rows(runs_[0], shot="50")
    with pytest.raises(ConfigError, match="a run has no shots; it has preset, "):
        report.load_signal(runs_[0], shots="50")
    assert len(report.load_signal(runs_[0], draw="cifar100_split1_D_i")) == len(
        report.load_signal(runs_[0])
    )


def test_samples_that_an_epoch_left_out_are_left_out_of_its_signal():
    """MoCo drops what fills no batch, so some have no loss after epoch 1, and are NaN."""
    run = runs.Run.load(RESULTS / "shapes-moco" / "moco-v2-0")
    loss = run.momentum_loss.float().numpy()
    assert np.isnan(loss[0]).any()
    signal = report.load_signal(run.folder)
    first = signal[signal["epoch"] == 1].iloc[0]
    few = np.isin(run.labels, splits.groups(run.group_counts.numpy())["few"])
    seen = ~np.isnan(loss[0])
    assert first["auroc"] == roc_auc_score(few[seen], loss[0][seen])
    assert signal[["auroc", "weighted"]].notna().all(axis=None)
    assert len(signal) == run.config.epochs


def test_every_kind_of_recorded_run_has_a_signal_or_none_and_moco_has_a_page(tmp_path):
    for folder in sorted(RESULTS.glob("*/")):
        for file in sorted(folder.glob("*/memory.npz"))[::48]:
            signal = report.load_signal(file.parent)
            assert signal.empty or signal["auroc"].between(0, 1).all(), file.parent
    page.write([RESULTS / "shapes-moco" / "moco-v2-0"], tmp_path / "moco.html")
    assert "MoCo v2" in (tmp_path / "moco.html").read_text(encoding="utf-8")


def test_the_signal_of_a_run_says_whose_it_is(tmp_path):
    run = config("simclr", 2)
    folder = record(tmp_path / "a", run, probed(run, 0.5))
    signal = report.load_signal(folder)
    assert signal.to_dict("records") == [
        {"run": "a", "name": "simclr", "label": "SimCLR", "split": "cifar100_split1_D_i",
         "draw": "cifar100_split1_D_i", "mirrored": False, "seed": 2, "epochs": 30,
         "epoch": epoch, "auroc": found, "weighted": found}
        for epoch, found in ((1, 0.5), (30, 1.0))
    ]  # fmt: skip
    last = report.last_signal(signal)
    assert last.index.names == ["name", *report.WHO] and last.to_numpy().tolist() == [[1, 1]]
    assert report.last_signal(signal, "label", "run").index.names[:2] == ["label", "run"]
    assert report.group_auroc(folder) == 1
    drawn = config("simclr", split="long-tail")
    other = record(tmp_path / "b", drawn, probed(drawn, 0.5))
    assert set(report.load_signal(other)["split"]) == {"long-tail"}
    both = report.load_signal([folder, other], last=True)
    assert both["run"].tolist() == ["a", "b"] and both["epoch"].tolist() == [30, 30]
    assert set(report.load_signal([folder, other], split="long-tail")["run"]) == {"b"}
    assert report.group_counts(other).tolist() == [6, 5, 4, 3, 2, 1]


def test_rows_of_one_label_say_their_names_and_a_row_of_several_methods_says_its_own(tmp_path):
    for name, lr in (("a", 0.25), ("b", 0.1)):
        run = config("simclr", lr=lr)
        record(tmp_path / "runs" / f"{name}-0", run, probed(run, 0.5))
    base = f"base: {{preset: quick, data: cifar100, split: {SPLIT}}}\n"
    path = tmp_path / "rates.yaml"
    path.write_text(base + "cross: {seed: [0]}\nrows: {a: {}, b: {lr: 0.1}}\ncompare: [[b, a]]\n")
    one = study.read(path, tmp_path / "runs")
    assert one.labels == {"a": "SimCLR, a", "b": "SimCLR, b"}
    assert tables.comparisons(one)["difference"].unique().tolist() == ["SimCLR, b minus SimCLR, a"]
    assert tables.last_auroc(study.signal(one))["features"].tolist() == ["SimCLR, a", "SimCLR, b"]

    for name in ("simclr", "sdclr"):
        record(tmp_path / "crossed" / f"plain-{name}", config(name), probed(config(name), 0.5))
    path.write_text(base + "cross: {method: [simclr, sdclr]}\nrows: {plain: {}}\n")
    crossed = study.read(path, tmp_path / "crossed")
    assert crossed.labels == {"plain": "plain"}
    assert list(crossed.rows["section"].unique()) == ["method simclr", "method sdclr"]


def test_runs_of_one_label_say_their_names(tmp_path):
    made = []
    for name in ("bcl:one", "bcl:two"):
        run = config("simclr", weights=name)
        made.append(record(tmp_path / name[4:], run, probed(run, 0.5)))
    found = list(study.read(made).labels.values())
    assert len(set(found)) == 2 and all(
        label.startswith("SimCLR, weights of bcl,") for label in found
    )


def test_a_grid_shows_the_probes_that_it_asks_for_alone(tmp_path):
    record_all(tmp_path / "runs", seeds=3)  # of 100 and 50 shots
    path = write_grid(tmp_path)
    path.write_text(path.read_text() + "probe: {shots: [50]}\n")
    one = study.read(path, tmp_path / "runs")
    assert set(one.rows["shots"]) == {"50"} and one.missing == []
    path.write_text(path.read_text().replace("[50]", "[50, full]"))
    lacking = study.read(path, tmp_path / "runs")
    assert set(lacking.rows["shots"]) == {"50"} and len(lacking.missing) == len(one.folders) == 6
    path.write_text(path.read_text().replace("[50, full]", "[full]"))
    with pytest.raises(ConfigError, match="asks for other probes than its 6 runs have; next: ltcl"):
        study.read(path, tmp_path / "runs")


def test_runs_that_are_not_finished_are_named(tmp_path):
    record_all(tmp_path, ["simclr"], seeds=2)
    (tmp_path / "simclr-1" / "DONE.json").unlink()
    one = study.read([tmp_path])
    begun = tmp_path / "simclr-1"
    assert one.missing == [f"{begun} (`ltcl run --resume {begun}` goes on with it)"]
    assert [folder.name for folder in one.folders] == ["simclr-0"]
    with pytest.raises(ConfigError, match="simclr-1 is not finished; `ltcl run --resume"):
        study.read([begun])
