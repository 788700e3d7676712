"""The published table beside ours: which runs count, and what a cell says."""

import shutil

import numpy as np
import pandas as pd
import pytest

from ltcl_helpers import files, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.paths import DATA
from ltcl_helpers.report import reproduction

SPLIT = "data/splits/cifar100_imbSub_with_subsets/cifar100_split1_D_i.npy"


def record(folder, config, accuracies):
    """A recorded run as `ltcl record` leaves it, with made-up accuracies by shots."""
    folder.mkdir(parents=True)
    files.write_json(folder / "config.json", config.model_dump(mode="json"))
    few = np.array([0, 1])
    files.write_npz(
        folder / "memory.npz", momentum_loss=np.zeros((1, 2), np.float16), labels=few, index=few,
        epochs_kept=[1], class_counts=few + 1, group_counts=few + 1,
    )  # fmt: skip
    history = {"epoch": [1, 2, 3], "loss": 1.0, "lr": 0.5, "seconds": [9.0, 0.25, 0.25]}
    files.write_parquet(folder / "history.parquet", pd.DataFrame(history))
    rows = [
        {"method": method, "protocol": protocol, "shots": shots, "list": name, "group": group,
         "accuracy": value + off, "list_source": source, "test": test, "data": "npz:a"}
        for shots, value in accuracies.items()
        for method, protocol, group, source, test, wrong in (
            (config.method, "bcl", "all", "published", "npz:a", 0),
            (config.method, "bcl", "few", "published", "npz:a", 0.3),
            (config.method, "logistic", "all", "published", "npz:a", 0.2),
            (config.method, "bcl", "all", "drawn", "npz:a", 0.2),
            (config.method, "bcl", "all", "published", "npz:b", 0.2),
            ("pixels", "bcl", "all", "published", "npz:a", -0.3),
        )
        for name, off in (("a", wrong - 0.01), ("b", wrong + 0.01))
    ]  # fmt: skip
    files.write_parquet(folder / "probe.parquet", pd.DataFrame(rows))
    written = ["config.json", "history.parquet", "memory.npz", "probe.parquet"]
    machine = {"device": "a GPU", "threads": 1, "precision": "bf16", "torch": "2"}
    runs.seal(folder, *written, machines=[machine])


def lines(results):
    table = reproduction.reproduction_table(results).split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {(cell[0], cell[1]): cell[2:] for cell in cells}


def test_the_page_holds_the_table_of_the_rows():
    text = (DATA.parent / "docs" / "reproduction.md").read_text(encoding="utf-8")
    assert reproduction.reproduction_table() in text, "run `make figures`"


def test_every_published_cell_is_there_and_says_that_it_is_not_run(tmp_path):
    table = lines(tmp_path)
    published = pd.read_csv(DATA / "published.csv", dtype={"shots": str})
    published = published[published["protocol"] == "bcl"]
    told = sorted(float(cell[0]) for cell in table.values() if cell[0] != "none")
    assert told == pytest.approx(sorted(100 * published["accuracy"])) and len(told) == 12
    assert len(table) == 12 + 3 * 3 and all(cell[1] == "not run" for cell in table.values())


def test_runs_of_the_recipe_fill_their_cells_and_others_do_not(tmp_path):
    study = tmp_path / reproduction.STUDY
    paper = dict(preset="paper", data="npz:data/cifar100_train.npz", split=SPLIT)
    for seed, value in ((0, 0.5), (1, 0.52)):
        config = RunConfig(method="simclr", seed=seed, **paper)
        record(study / f"one-{seed}", config, {"full": value, "50": value - 0.1})
    shuffled = RunConfig(method="simclr", boost="shuffled", **paper)
    record(study / "control", shuffled, {"100": 0.4})
    decay = RunConfig(method="sdclr", weight_decay=5e-4, **paper)
    record(study / "decay", decay, {"100": 0.45})
    record(study / "short", RunConfig(method="sdclr", epochs=20, **paper), {"100": 0.3})
    other = paper | {"split": SPLIT.replace("split1", "split2")}
    record(study / "second", RunConfig(method="bcl-d", **other), {"100": 0.3})
    table = lines(tmp_path)
    run = {key: cell for key, cell in table.items() if cell[1] != "not run"}
    assert run == {
        ("SimCLR", "full"): ["50.7", "51.0 ± 1.4", "+0.3", "2", "0.25", "a GPU"],
        ("SimCLR", "50"): ["42.4", "41.0 ± 1.4", "-1.4", "2", "0.25", "a GPU"],
        ("SimCLR, boost shuffled (control)", "100"): ["none", "40.0", "", "1", "0.25", "a GPU"],
        (decay.label, "100"): ["none", "45.0", "", "1", "0.25", "a GPU"],
    }
    shutil.rmtree(study / "one-1")
    assert lines(tmp_path)["SimCLR", "full"][1:4] == ["50.0", "-0.7", "1"]


def test_machines_of_a_cell_are_named_and_what_is_not_probed_is_no_run(tmp_path):
    study = tmp_path / reproduction.STUDY
    paper = dict(preset="paper", data="npz:data/cifar100_train.npz", split=SPLIT)
    gpu, cpu = ({"device": device, "threads": 1, "precision": "bf16", "torch": "2"}
                for device in ("a GPU", "a CPU"))  # fmt: skip
    for name, seconds, machines in (
        ("a", [9.0, 0.5, 0.5], [gpu, cpu, gpu]), ("b", [1.0, 1.0, 8.0], [cpu]),
        ("c", [2.0, 2.0, 2.0], [cpu]),
    ):  # fmt: skip
        folder = study / name
        record(folder, RunConfig(method="simclr", seed=ord(name), **paper), {"50": 0.4})
        history = pd.DataFrame({"epoch": [1, 2, 3], "loss": 1.0, "lr": 0.5, "seconds": seconds})
        files.write_parquet(folder / "history.parquet", history)
        written = ["config.json", "history.parquet", "memory.npz", "probe.parquet"]
        if name == "c":
            (folder / written.pop()).unlink()
        (folder / "DONE.json").unlink()
        runs.seal(folder, *written, machines=machines)
    cell = lines(tmp_path)["SimCLR", "50"]
    assert cell == ["42.4", "40.0 ± 0.0", "-2.4", "2", "0.75", "a CPU; a GPU then a CPU"]
    assert reproduction.count_of_cells(tmp_path) == "1 of 21 cells are run."
    text = reproduction.reproduction_table(tmp_path)
    head = "| method | shots | published | ours | difference | n | seconds per epoch | device |"
    assert text.startswith(head + "\n") and "1 of 21 cells are run. Published: `data/" in text
    assert [key[1] for key in lines(tmp_path)][:3] == ["full", "100", "50"]
    assert lines(tmp_path)["SDCLR", "full"] == ["55.0", "not run", "", "0", "", ""]
    part = dict(
        batch_size=64, lr=0.1, width=32, stem_stride=2, temperature=0.5, momentum_beta=0.5,
        warmup_epochs=0.0, crop_from=0.5, blur=0.5, equal_batches=True, drop_last=True,
        weight_decay=1e-3, prune_fraction=0.5,
    )  # fmt: skip
    for name, value in part.items():
        run = RunConfig(method="sdclr", **paper | {name: value})
        assert run.caution
        record(study / name, run, {"50": 0.4})
    assert reproduction.count_of_cells(tmp_path) == "1 of 21 cells are run."


def test_another_rule_of_strength_is_no_run_of_the_published_table(tmp_path):
    paper = dict(preset="paper", data="npz:data/cifar100_train.npz", split=SPLIT, method="bcl-i")
    study = tmp_path / reproduction.STUDY
    record(study / "rule", RunConfig(**paper, boost_rule="paper"), {"100": 0.4})
    assert reproduction.count_of_cells(tmp_path) == "0 of 21 cells are run."
    record(study / "own", RunConfig(**paper), {"100": 0.4})
    assert reproduction.count_of_cells(tmp_path) == "1 of 21 cells are run."
