"""Grids are checked before anything runs, and say what is left to run."""

import shutil
from pathlib import Path

import pytest
from toy_batch import EPOCHS, write

from ltcl_helpers import cli, files, paths, runs
from ltcl_helpers.batch import cell, grid, plan
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.methods.cross_entropy import CrossEntropy
from ltcl_helpers.recipes import load_method

EXPERIMENTS = sorted(paths.ROOT.glob("experiments/*.yaml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_grid_of_the_kit_is_valid_and_small(path):
    found = grid.read(path)
    assert found.cells and found.title != path.stem
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#") and len(text.splitlines()) <= 50
    for one in found.cells:  # accuracies with and without labels must not be taken for rivals
        learns = issubclass(load_method(one.config.method), CrossEntropy)
        assert ("(with labels)" in one.label) == learns, one.label


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_recorded_runs_are_cells_of_their_grid(path):
    found = plan.Plan.of(grid.read(path))
    recorded = {folder.name for folder in found.results.glob("*/")}
    assert recorded <= {one.name for one in found.cells}
    assert found.grid.record or not recorded
    states = {one.name: found.state(one).state for one in found.cells if one.name in recorded}
    assert states == dict.fromkeys(recorded, "done")


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_boosted_row_that_a_grid_compares_has_its_control_in_the_grid(path):
    """`report.controlled` leaves out what has none, and all of its runs would be for nothing."""
    found = grid.read(path)
    names = {(one.config.epochs, one.config.name) for one in found.cells}
    compared = {row for pair in found.pairs for row in pair}
    for one in found.cells:
        if one.row in compared and one.config.control:
            assert (one.config.epochs, one.config.control) in names, one.name


def test_what_the_planned_grids_of_evidence_promise_of_their_seeds():
    at = {path.stem: grid.read(path).cells for path in EXPERIMENTS}
    lists = {row: [one.config.split for one in at["evidence-cifar100"] if one.row == row]
             for row in ("simclr", "oracle", "oracle-shuffled", "oracle-values")}  # fmt: skip
    assert len(lists["simclr"]) == 12 and len(set(lists["simclr"])) == 5
    for row in ("oracle", "oracle-shuffled", "oracle-values"):
        assert len(lists[row]) == 6 and set(lists[row]) == set(lists["simclr"])  # each split

    def seeds(name):
        return {one.config.seed for one in at[name]}

    assert not seeds("evidence-moco") & seeds("shapes-moco-lr")  # which chose the learning rate
    assert not seeds("evidence-aims") & seeds("evidence-shapes")  # where the aims were looked at
    assert len(seeds("evidence-moco")) == 16 and len(seeds("evidence-aims")) == 24


def test_there_are_recorded_runs():
    """What is said above of every grid's recorded runs is said of some."""
    studies = [paths.RESULTS / path.stem for path in EXPERIMENTS]
    assert sum(folder.is_dir() for folder in studies) >= 5
    assert any(study.glob("*/DONE.json") for study in studies)


def test_cells_are_rows_crossed_with_lists(tmp_path):
    rows = {"a": {}, "b": {"method": "bcl-i", "weight_decay": "1e-4", "label": "B"}}
    cross = {"seed": [0, 3], "size": {"few": {"largest_class": 20}, "many": {"largest_class": 30}}}
    path = write(tmp_path, rows=rows, cross=cross, mirrored_pairs=True, skip=["b-0-*"])
    found = grid.read(path)
    names = ["a-0-few", "a-0-many", "a-3-few", "b-3-few", "a-3-many", "b-3-many"]
    assert [one.name for one in found.cells] == names
    last = found.cells[-1]
    assert last.config == RunConfig(
        preset="tiny", data="npz:toy_train.npz", epochs=EPOCHS, largest_class=30, batch_size=16,
        method="bcl-i", weight_decay=1e-4, seed=3, split_seed=1, mirrored=True, device="cpu",
    )  # fmt: skip
    assert (last.label, last.axes, last.row) == ("B", {"seed": 3, "size": "many"}, "b")
    assert found.cells[0].label == "SimCLR" and found.axes["size"] == ["few", "many"]
    # A row's parameters come before those of `cross`, and these before `base`.
    own = {"c": {"largest_class": 25}, "d": {}}
    cells = grid.read(write(tmp_path, rows=own, cross={"epochs": [2], "size": cross["size"]})).cells
    assert {(one.row, one.config.largest_class) for one in cells} == {
        ("c", 25),
        ("d", 20),
        ("d", 30),
    }
    assert {one.config.epochs for one in cells} == {2} != {EPOCHS}


def test_rows_that_would_be_called_alike_say_their_names(tmp_path):
    rows = {"slow": {"lr": 0.01}, "fast": {"lr": 1.0}, "named": {"label": "Named"}}
    assert grid.read(write(tmp_path, rows=rows)).labels == {
        "slow": "SimCLR, slow", "fast": "SimCLR, fast", "named": "Named"
    }  # fmt: skip


def test_placeholders_rows_of_other_studies_and_settings(tmp_path):
    rows = {"own": {}, "other": {"folder": "../there/{row}-{number}", "probe": {"shots": "full"}}}
    base = {"preset": "tiny", "split": "{lists}/split{number}.npy"}
    path = write(tmp_path, rows=rows, base=base, cross={"number": [1, 2]}, folder="{number}-{row}")
    found = grid.read(path, {"lists": "L", "number": 2, "epochs": 3})
    assert [one.name for one in found.cells] == ["2-own", "../there/other-2"]
    assert {one.config.split for one in found.cells} == {"L/split2.npy"}
    assert {one.config.epochs for one in found.cells} == {3}
    assert [one.probe["shots"] for one in found.cells] == ["5", "full"]
    assert found.cells[1].folder("runs/toy") == Path("runs/there/other-2")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"roows": {}}, ["roows is no key", "mirrored_pairs"]),
        ({"rows": {}}, ["rows is missing"]),
        ({"rows": {"a": 3}}, ["rows: a is 3"]),
        ({"record": "yes please", "title": 4}, ["record is 'yes please'", "title is 4"]),
        ({"rows": {"a": {"epoch": 3}}}, ["a {'seed': 0}", "epoch is not a parameter"]),
        ({"rows": {"a": {"lr": -1}, "b": {"epochs": -1}}}, ["lr is -1", "epochs is -1"]),
        ({"cross": {"seed": [0, 1]}, "base": {"lr": -1}}, ["(and 1 more): lr is -1"]),
        ({"cross": {"epoch": [1]}}, ["epoch is no parameter"]),
        ({"cross": {"seed": []}}, ["seed is []"]),
        ({"cross": {"blocks": [[1], [1, 1]]}}, ["blocks is [[1]", "holds lists"]),
        ({"base": {"split": "{nummer}.npy"}}, ["{nummer} is unknown", "seed, row, lists"]),
        ({"compare": [["simclr", "sdclr"]]}, ["'sdclr'", "of simclr"]),
        ({"folder": "{row}", "cross": {"seed": [0, 1]}}, ["several cells have the folder simclr"]),
        (
            {"folder": "{seed}", "cross": {"seed": {"a/../x": 0, "x": 1}}},
            ["several cells have the folder x"],
        ),
        ({"cross": {"data": ["folder:../../../photos@16"]}}, ["a value has / or .. in it; give"]),
        ({"rows": {"../c": {}}}, ["its folder would be '../c-0'", "a row's name"]),
        ({"rows": {"a/b": {}}}, ["its folder would be 'a/b-0'"]),
        ({"folder": "{row}", "rows": {"..": {}}, "cross": {}}, ["its folder would be '..'"]),
        ({"skip": ["*"]}, ["no cell is left"]),
        ({"probe": {"shots": "ten"}}, ["shots is 'ten'"]),
        ({"probe": {"protocol": "svm"}}, ["protocol is 'svm'"]),
        ({"probe": {"shot": 1}}, ["shot is unknown"]),
        ({"mirrored_pairs": True, "cross": {}}, ["mirrored_pairs needs seeds"]),
    ],
)  # fmt: skip
def test_a_wrong_grid_is_refused_in_one_line(changes, words, tmp_path):
    path = write(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        grid.read(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("text", ["", "- 1", "rows: {a: {}, a: {}}", "rows: [", "\x00"])
def test_what_is_no_grid_is_refused(text, tmp_path):
    (tmp_path / "bad.yaml").write_text(text)
    for path in (tmp_path / "bad.yaml", tmp_path / "none.yaml"):
        with pytest.raises(ConfigError, match=path.name):
            grid.read(path)


def test_probes_that_cannot_be_made_are_refused_before_a_run(tmp_path):
    for asked, says in (
        ({"shots": [100, "1%"], "protocol": ["bcl", "sdclr"]}, "rates for full and 1% only"),
        ({"protocol": "bcd"}, "probe: protocol is 'bcd'"),
        ({"shots": 0}, "probe: shots is '0'"),
        ({"features": "dense"}, "probe: features is 'dense'"),
    ):
        with pytest.raises(ConfigError, match=says):
            grid.read(write(tmp_path, probe=asked))


def test_a_dry_run_says_what_is_left_and_how_long_it_takes(tmp_path):
    """From the recorded runs' seconds, by device, or "unknown"."""
    length = next(path for path in EXPERIMENTS if path.stem == "cifar10-length")
    recorded = paths.RESULTS / "cifar10-length" / "300-simclr-0"
    shutil.copytree(recorded, tmp_path / "results" / "cifar10-length" / "300-simclr-0")
    known = plan.Plan.of(
        grid.read(length), tmp_path / "runs", tmp_path / "results", only="[13]*00-simclr-[01]"
    )
    machine = files.read_json(recorded / "DONE.json")["machines"][-1]
    seconds = files.read_parquet(recorded / "history.parquet")["seconds"].median()
    hours = (100 + 100 + 300 + 1000 + 1000) * seconds / 3600
    device = "{device}, threads: {threads}, {precision}".format(**machine)
    assert plan.dry_run(known).splitlines() == [
        "missing   100-simclr-0",
        "missing   100-simclr-1",
        f"done      300-simclr-0  recorded in {tmp_path}/results/cifar10-length/300-simclr-0",
        "missing   300-simclr-1",
        "missing   1000-simclr-0",
        "missing   1000-simclr-1",
        "6 cells: 5 missing, 1 done",
        f"training left: {hours:.1f} hours on one {device}",
    ]
    untrained = paths.RESULTS / "shapes-simclr" / "untrained-0"  # of no epoch, so of no time
    shutil.copytree(untrained, tmp_path / "results" / "shapes-simclr" / "untrained-0")
    assert plan.recorded_seconds([tmp_path / "results" / "shapes-simclr"]) == {}
    toy = grid.read(write(tmp_path))
    unknown = plan.dry_run(plan.Plan.of(toy, tmp_path / "toy", tmp_path / "results"))
    assert unknown == "missing   simclr-0\n1 cells: 1 missing\n" + (
        "training left: unknown; no recorded run is like these"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", "0"], "--workers is 0"),
        (["--gpus", "0", "--scheduler", "tcp://nobody:1"], "name their own GPU"),
        (["--only", "sdclr-*"], "matches no cell; the cells are simclr-0"),
        (["--set", "epochs=-1"], "epochs is -1"),
        ([], "toy_train.npz does not exist"),
    ],
)
def test_a_wrong_call_is_refused_in_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["batch", str(write(tmp_path)), *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "runs").exists()


def test_a_recorded_run_with_other_probes_than_asked_is_not_done(tmp_path):
    shapes = next(path for path in EXPERIMENTS if path.stem == "shapes-simclr")
    recorded = paths.RESULTS / "shapes-simclr" / "long-tail-0"
    shutil.copytree(recorded, tmp_path / "results" / "shapes-simclr" / "long-tail-0")
    text = shapes.read_text(encoding="utf-8")
    for asked, state in (("[100, 50]", "done"), ("[100]", "done"), ("[100, full]", "damaged")):
        (tmp_path / shapes.name).write_text(text.replace("[100, 50]", asked))
        whole = grid.read(tmp_path / shapes.name)
        of_one = plan.Plan.of(whole, tmp_path / "runs", tmp_path / "results", only="long-tail-0")
        assert of_one.state(of_one.cells[0]).state == state
    assert "delete that folder, and the run is made again" in of_one.state(of_one.cells[0]).about


def test_lists_that_a_grid_names_are_not_those_that_were_drawn(tmp_path):
    folder = shutil.copytree(paths.RESULTS / "shapes-simclr" / "long-tail-0", tmp_path / "run")
    asked = {"shots": "100", "protocol": "logistic", "features": "encoder", "lists": None}
    assert cell.is_done(folder, asked)
    assert not cell.is_done(folder, asked | {"lists": "lists/few"})
    rows = files.read_parquet(folder / "probe.parquet").assign(list_source="file")
    runs.add_file(folder, "probe.parquet", files.parquet_bytes(rows))
    assert cell.is_done(folder, asked | {"lists": "lists/few"})


def test_a_dry_run_counts_no_epoch_of_what_is_trained(tmp_path):
    length = next(path for path in EXPERIMENTS if path.stem == "cifar10-length")
    recorded = paths.RESULTS / "cifar10-length" / "300-simclr-0"
    run = shutil.copytree(recorded, tmp_path / "runs" / "300-simclr-0")
    (run / "probe.parquet").unlink()
    left = plan.Plan.of(grid.read(length), tmp_path / "runs", tmp_path / "results", "300-simclr-0")
    assert plan.dry_run(left).splitlines() == [
        "half done 300-simclr-0  trained; probes or rows are missing",
        "1 cells: 1 half done",
        "only probes are left: 1 cells",
    ]
