"""Rows are read with their runs, their settings and their partners."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report.recording import SPLIT, config, probed, record

from ltcl_helpers import files, pretrain, probe, report, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.paths import DATA


def test_rows_carry_their_runs_whole_configuration():
    rows = report.load_rows("cifar10-length")
    assert set(RunConfig.model_fields) - {"options"} <= set(rows.columns)
    for folder, part in rows.groupby("folder"):
        config = RunConfig(**json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")))
        shown = ["name", "label", "weight_decay", "boost", "epochs", "seed"]
        (line,) = part[shown].drop_duplicates().to_dict("records")
        assert line["name"] == config.name and line["label"] == config.label
        assert line["weight_decay"] == config.weight_decay and line["boost"] == config.boost
        assert set(part["control"].dropna()) == ({config.control} if config.control else set())
    assert set(rows["name"]) == {"simclr", "sdclr", "bcl-i", "bcl-d", "simclr-shuffled",
                                 "sdclr-shuffled", "sdclr-5e-4"}  # fmt: skip


def test_a_folders_name_says_nothing(tmp_path):
    original = DATA / "results" / "shapes-methods" / "bcl-d-1"
    (tmp_path / "simclr-0").symlink_to(original)
    ours, theirs = report.load_rows([tmp_path / "simclr-0"]), report.load_rows([original])
    assert set(ours["name"]) == {"bcl-d"} and set(ours["seed"]) == {1}
    places = ["run", "folder"]
    pd.testing.assert_frame_equal(ours.drop(columns=places), theirs.drop(columns=places))


def test_a_probe_keeps_the_accuracy_of_every_class(tmp_path):
    run = pretrain.pretrain(RunConfig(preset="tiny", device="cpu"), tmp_path / "run")
    probed = probe.probe_run(run.folder, ("10",), protocol="logistic")
    probe.save_probe(run.folder, probed)
    rows = report.load_rows([run.folder])
    by_list = rows[rows["group"].str.fullmatch(r"class \d+")].groupby("list")["accuracy"]
    assert set(by_list.size()) == {12}
    whole = rows[rows["group"] == "all"].set_index("list")["accuracy"]
    pd.testing.assert_series_equal(by_list.mean().sort_index(), whole.sort_index())
    few = np.argsort(run.group_counts.numpy(), kind="stable")[:4]
    names = [f"class {c}" for c in few]
    mean = rows[rows["group"].isin(names)].groupby("list")["accuracy"].mean()
    listed = rows[rows["group"] == "few"].set_index("list")["accuracy"]
    pd.testing.assert_series_equal(mean.sort_index(), listed.sort_index())


def test_features_are_told_by_a_column():
    rows = report.load_rows("shapes-simclr", shots="100")
    assert set(rows["features"]) == {"encoder", "pixels"}
    assert set(rows.loc[rows["features"] == "pixels", "label"]) == {"raw pixels"}
    assert set(rows.loc[rows["features"] == "pixels", "method"]) == {"simclr"}


def test_rows_of_another_test_set_are_left_out_and_times_are_medians(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(DATA / "results" / "shapes-methods" / "bcl-i-0", folder)
    rows = files.read_parquet(folder / "probe.parquet")
    rows = rows.assign(test=rows["data"])
    both = pd.concat([rows, rows.assign(test="cifar10")])
    runs.add_file(folder, "probe.parquet", files.parquet_bytes(both))
    found = report.load_rows(folder)
    assert len(found) == len(rows) and set(found["test"]) == {"shapes"}
    seconds = sorted(files.read_parquet(folder / "history.parquet")["seconds"])
    assert set(found["seconds"]) == {(seconds[14] + seconds[15]) / 2} and len(seconds) == 30


def test_rows_that_are_not_there_say_so(tmp_path):
    with pytest.raises(ConfigError, match="is no finished run"):
        report.load_rows(tmp_path)
    with pytest.raises(ConfigError, match="no probe row with .*shots"):
        report.load_rows("shapes-methods", shots="7")
    with pytest.raises(ConfigError, match="no probe row with .*name"):
        report.load_rows("shapes-methods", name="bcl-x")


@pytest.mark.parametrize("only", [{"name": "sdclr"}, {"epochs": 0}, {"split": "balanced"}])
def test_runs_without_wanted_rows_are_not_read_and_no_row_is_lost(only, monkeypatch):
    rows = report.load_rows("evidence-cifar10")
    [(column, value)] = only.items()
    wanted = rows[rows[column] == value].reset_index(drop=True)
    assert 0 < wanted["folder"].nunique() < rows["folder"].nunique() / 2
    read, loaded = [], runs.Run.load
    monkeypatch.setattr(runs.Run, "load", lambda folder: read.append(folder) or loaded(folder))
    found = report.load_rows("evidence-cifar10", **only)
    assert {str(folder) for folder in read} == set(wanted["folder"])
    shown = ["folder", "group", "list", "shots", "accuracy"]
    pd.testing.assert_frame_equal(
        found[shown].sort_values(shown, ignore_index=True),
        wanted[shown].sort_values(shown, ignore_index=True),
    )


def test_runs_on_a_list_are_found_by_the_name_of_its_file():
    wanted = {"split": "cifar100_split1_D_i.npy", "shots": "100"}
    assert set(report.load_rows("cifar100-quick", **wanted)["split"]) == {wanted["split"]}


def test_a_line_never_mixes_runs_shots_or_protocols():
    with pytest.raises(ConfigError, match="several of shots: 100, 50"):
        report.by_run(report.load_rows("shapes-methods"))
    with pytest.raises(ConfigError, match="several of folder"):
        report.by_run(report.load_rows("shapes-simclr", shots="100", protocol="logistic"))
    with pytest.raises(ConfigError, match="several of folder"):
        report.by_run(report.load_rows("cifar10-length", shots="100"))


def test_by_run_is_the_mean_over_the_lists():
    rows = report.load_rows("cifar100-quick", shots="100")
    here = rows[(rows["name"] == "bcl-i") & (rows["seed"] == 2) & (rows["group"] == "few")]
    assert here["list"].nunique() == len(here) == 5
    found = report.by_run(rows).loc[("bcl-i", "cifar100_split1_D_i", False, 2), "few"]
    assert found == pytest.approx(sum(here["accuracy"]) / 5)


def test_no_boosted_row_without_its_shuffled_control():
    rows = report.load_rows("shapes-methods", shots="100")
    without = rows[rows["name"] != "sdclr-shuffled"]
    found = report.by_run(without).index.unique("name")
    assert "bcl-d" not in found and {"bcl-i", "sdclr", "sdclr-inverted"} <= set(found)
    assert "bcl-d" in report.by_run(rows).index.unique("name")
    other_length = rows.assign(epochs=rows["epochs"].where(rows["name"] != "sdclr-shuffled", 7))
    assert "bcl-d" not in report.by_run(other_length).index.unique("name")


def test_a_balanced_list_stands_beside_its_long_tail_list():
    tail, flat = (RunConfig(split=f"a/cifar100_split3_D_{kind}.npy") for kind in "ib")
    assert report.place(tail) == report.place(flat) == ("cifar100_split3_D_i", False, 0)
    assert report.place(RunConfig(split_seed=4, mirrored=True, seed=9)) == ("4", True, 9)
    assert report.place(RunConfig(seed=9)) == ("9", False, 9)


def test_the_signal_is_the_auroc_of_the_rows_of_memory_npz():
    folder = DATA / "results" / "shapes-simclr" / "balanced-3"
    signal, arrays = report.load_signal(folder), files.read_npz(folder / "memory.npz")
    assert list(signal["epoch"]) == list(arrays["epochs_kept"])
    counts, labels = arrays["group_counts"], arrays["labels"]
    few = np.isin(labels, np.argsort(counts, kind="stable")[: len(counts) // 3])
    loss = arrays["momentum_loss"][10].astype(float)
    pairs = loss[few][:, None] - loss[~few][None]  # every few image against every other
    wins = (pairs > 0) + 0.5 * (pairs == 0)
    weight = (counts / np.bincount(labels))[labels]  # so that a class weighs what the tail has
    weight = weight[few][:, None] * weight[~few][None]
    assert signal["auroc"][10] == pytest.approx(wins.mean())
    assert signal["weighted"][10] == pytest.approx((wins * weight).sum() / weight.sum())
    assert report.group_auroc(folder) == signal["auroc"].iloc[-1]


def test_a_long_tail_run_has_the_tails_mixture_of_classes_without_weights():
    signal = report.load_signal(DATA / "results" / "evidence-shapes" / "simclr-3")
    assert list(signal["weighted"]) == pytest.approx(list(signal["auroc"]), abs=1e-12)


OWN = """
from ltcl_helpers.methods import SimCLR


class Mine(SimCLR):
    class Options(SimCLR.Options):
        accuracy: float = 0.99
        row: int = 3
        depth: int = 2
"""


def test_an_option_that_is_called_like_a_column_takes_no_columns_place(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    run = RunConfig(method="mine:Mine", data="cifar100", split=SPLIT)
    rows = report.load_rows(record(tmp_path / "run", run, probed(run, 0.5)))
    assert rows.loc[rows["group"] == "all", "accuracy"].between(0.3, 0.6).all()
    for name, value in (("option accuracy", 0.99), ("option row", 3), ("depth", 2)):
        assert set(rows[name]) == {value}
    assert "row" not in rows


def test_runs_of_one_name_of_data_and_split_must_have_had_the_same_images(tmp_path):
    names = ("simclr", "bcl-i", "simclr-shuffled")
    made = [record(tmp_path / name, config(name), probed(config(name), 0.5)) for name in names]
    rows = report.load_rows(made, shots="50")
    one, other = "1" * 64, "2" * 64
    first = rows["run"] == "simclr"
    for digest, what in (("split_sha256", "list"), ("data_sha256", "data")):
        assert set(rows[digest]) == {""}
        alike = rows.assign(**{digest: one})
        assert len(report.by_run(alike)) == 3
        assert len(report.by_run(alike.assign(**{digest: alike[digest].mask(first, "")}))) == 3
        unlike = alike.assign(**{digest: alike[digest].mask(first, other)})
        with pytest.raises(ConfigError, match=f"the {what} changed in between. Make one of them"):
            report.by_run(unlike)
        # Of another draw it is no change.
        drawn = unlike.assign(split="long-tail", split_seed=first.astype(int))
        assert len(report.by_run(drawn)) == 3
    recorded = runs.finished("shapes-methods")[0]
    found = report.load_rows(recorded)
    assert set(found["split_sha256"]) == {runs.read_done(recorded)["split_sha256"]}
