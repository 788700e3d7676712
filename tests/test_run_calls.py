"""What `ltcl run`, `import-weights` and `probe` hand on, print and refuse."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from ltcl_helpers import cli, errors, pretrain, probe, runs
from ltcl_helpers import report as reports
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.paths import WEIGHTS
from ltcl_helpers.pretrain import ranks
from ltcl_helpers.runs import foreign

# --- runs --------------------------------------------------------------------------------------

TINY = ["--preset", "tiny", "--set", "epochs=1"]
DONE = "done: F; next: ltcl probe F\n"


@pytest.fixture
def trains(called, monkeypatch):
    """Trains nothing; the calls."""
    monkeypatch.delenv("RANK", raising=False)
    called(splits, "select", "inputs")
    called(ranks, "part")
    called(pretrain, "pretrain", SimpleNamespace(folder="F"))
    return called(pretrain, "resume", SimpleNamespace(folder="F"))


def test_a_run_is_begun_with_what_is_named_and_resumed_with_its_own(
    trains, tmp_path, monkeypatch, capsys, refused
):
    monkeypatch.chdir(tmp_path)
    more = ["--method", "bcl-i", "--data", "shapes:3", "--split", "all", "--minutes", "1.5"]
    assert cli.main(["run", *TINY, *more, "--out", "R"]) == 0
    config = RunConfig(preset="tiny", method="bcl-i", data="shapes:3", split="all", epochs=1)
    begun = ("pretrain", config, "R", "inputs", 1.5)
    assert trains == [("select", config), begun, ("part",)]
    assert capsys.readouterr().out == f"{config.caution}\n{DONE}"
    Path("R").mkdir()
    runs.begin(Path("R"), config)
    trains.clear()
    assert cli.main(["run", "--resume", "R", "--minutes", "2"]) == 0
    assert trains == [("select", config), ("resume", "R", 2.0, "inputs", config.place), ("part",)]
    assert cli.main(["run", "--preset", "paper", "--out", "P"]) == 0
    assert capsys.readouterr().out == f"{config.caution}\n{DONE}{DONE}"  # the published recipe
    assert refused("run --out R").startswith("R exists; `ltcl run --resume R`")
    monkeypatch.setenv("RANK", "1")
    assert cli.main(["run", *TINY, "--out", "R"]) == 0 and capsys.readouterr().out == ""


def test_a_run_on_several_ranks_is_handed_to_them(trains, called, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    Path("R").mkdir()
    runs.begin(Path("R"), RunConfig())
    called(ranks, "make", 0)
    config = RunConfig(preset="tiny", epochs=1)
    new = ["run", *TINY, "--out", "O"]
    for call, asked in (
        ([*new, "--gpus", "0,1"], (config, Path("O"), True, 2, ["0", "1"], None)),
        ([*new, "--gpus", "3", "--ranks", "1"], (config, Path("O"), True, 1, ["3"], None)),
        ([*new, "--ranks", "2", "--minutes", "3"], (config, Path("O"), True, 2, [], 3.0)),
        (["run", "--resume", "R", "--ranks", "2"], (RunConfig(), Path("R"), False, 2, [], None)),
    ):
        trains.clear()
        assert cli.main(call) == 0
        ((made, config, folder, inputs, *rest),) = trains[1:]
        assert (made, config, folder, *rest) == ("make", *asked) and inputs == "inputs"
    called(ranks, "make", 7)
    with pytest.raises(SystemExit) as stopped:
        cli.main(call)
    assert stopped.value.code == 7


def test_how_a_run_ends_early(trains, called, tmp_path, monkeypatch, capsys, refused):
    monkeypatch.chdir(tmp_path)
    call = ["run", *TINY, "--out", "R"]
    called(pretrain, "pretrain", errors.TimeUp("pause"))
    assert cli.main(call) == 0 and capsys.readouterr().out == "pause\n"
    monkeypatch.setenv("RANK", "1")
    assert cli.main(call) == 0 and capsys.readouterr().out == ""
    called(pretrain, "pretrain", RuntimeError("gone"))
    called(ranks, "is_lost", True)
    assert refused(call, 1) == "another rank has gone; --resume goes on"
    called(ranks, "is_lost", False)
    with pytest.raises(RuntimeError, match="gone"):
        cli.main(call)
    assert [each[0] for each in trains].count("part") == 4


def test_weights_are_imported_with_what_is_set(called, capsys, refused):
    folder = WEIGHTS / RELEASED
    calls = called(foreign, "import_weights", folder)
    call = "import-weights W --from bcl --out O --data D --set epochs=3"
    assert cli.main(call.split()) == 0
    assert capsys.readouterr().out == f"done: {folder}; next: ltcl probe {folder}\n"
    given = {"data": "D", "split": "all", "epochs": 3}
    assert calls == [("import_weights", Path("W"), "bcl", Path("O"), given)]
    for name in ("data", "split"):
        said = refused(f"{call} --set {name}=x")
        assert said == f"{name} is given by --{name} and by --set; give it once"


# --- probes ------------------------------------------------------------------------------------

RELEASED = "shapes-simclr"


@pytest.fixture
def probes(called, tmp_path, monkeypatch):
    """Probes nothing: a released run's copy lies in the folder R of the present folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(WEIGHTS / RELEASED, tmp_path / "R")
    called(reports, "probe_table", "the table")
    called(probe, "classifier_rows", "answers")
    called(probe, "save_probe")
    return called(probe, "probe_run", "rows")


def test_a_runs_probe_is_asked_for_printed_and_kept(probes, tmp_path, capsys, refused):
    config = runs.read_config(tmp_path / "R")
    said = f"the table\n{config.caution}\n"
    assert cli.main(["probe", "R"]) == 0 and capsys.readouterr().out == said
    R = Path("R")
    usual = ("probe_run", R, ("100",), None, None, "bcl", "encoder", None, None)
    assert probes == [usual, ("probe_table", "rows"), ("save_probe", R, "rows")]
    probes.clear()
    (tmp_path / "L").mkdir()
    call = "probe R --shots full,1% --lists L --test shapes:2 --protocol knn --features pixels"
    assert cli.main([*call.split(), "--groups", "counts", "--data", "shapes:1"]) == 0
    asked = (("full", "1%"), Path("L"), "shapes:2", "knn", "pixels", "counts", "shapes:1")
    assert probes[0] == ("probe_run", R, *asked)
    capsys.readouterr()
    says = "--lists is absent, which is no folder; `ltcl data get splits`"
    assert refused("probe R --lists absent") == says
    assert refused("probe R --shots 0").startswith("shots is '0'; allowed are")
    assert refused("probe R --test mnist").startswith("data is 'mnist'")
    assert refused("probe R --features pruned").startswith("a simclr run keeps no pruned")


def test_the_runs_own_classifier_answers_where_it_is_asked_for(probes, called, capsys):
    called(probe.choices, "check_run")
    more = ["--test", "shapes:2", "--groups", "counts", "--data", "shapes:1"]
    assert cli.main(["probe", "R", "--protocol", "classifier", *more]) == 0
    assert probes[:3] == [
        ("check_run", "simclr", ["classifier"], ["encoder"]),
        ("classifier_rows", Path("R"), "shapes:2", "counts", "shapes:1"),
        ("probe_table", "answers"),
    ]


def test_a_released_encoders_rows_are_shown_beside_and_nothing_is_kept(probes, called, capsys):
    caution = runs.read_config(runs.released(RELEASED)).caution
    called(probe, "released_rows", pd.DataFrame({"a": [1]}))
    call = ["probe", "--weights", RELEASED]
    assert cli.main(call) == 0
    table = f"the table\nAs released:\n\nthe table\n{caution}\n"
    assert capsys.readouterr().out == table
    folder = runs.released(RELEASED)
    assert probes[2] == ("released_rows", folder, "bcl", "encoder", ("100",))
    assert "save_probe" not in {each[0] for each in probes}
    none = f"the table\nNo row of this probe was released with the encoder.\n{caution}\n"
    assert cli.main([*call, "--test", "shapes:2"]) == 0 and capsys.readouterr().out == none
    called(probe, "released_rows", pd.DataFrame())
    assert cli.main(call) == 0 and capsys.readouterr().out == none


def test_own_data_are_looked_at_before_anything_heavy_is_loaded(probes, called, tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 8, 8, 3), np.uint8), labels=[0, 0, 1, 1])
    called(probe.choices, "check_parts")
    (tmp_path / "L").mkdir()
    config, own = runs.read_config(tmp_path / "R"), "npz:a.npz"
    for more, test, shots in (
        ([], own, ("100",)),
        (["--test", "shapes:2"], "shapes:2", ("100",)),
        (["--lists", "L"], own, ()),
    ):
        probes.clear()
        assert cli.main(["probe", "R", "--data", own, *more]) == 0
        assert probes[0] == ("check_parts", config, own, test, shots)
    called(probe.choices, "check_run")
    probes.clear()
    assert cli.main(["probe", "R", "--data", own, "--protocol", "classifier"]) == 0
    assert probes[1] == ("check_parts", config, own, own, ())
