"""A stranger's folder runs nothing of what it names; a wrong call ends soon, in one line."""

import contextlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from ltcl_helpers import cli, explorer, pretrain, probe, recipes, runs
from ltcl_helpers.config import RunConfig, parse_settings
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.runs import Run
from ltcl_helpers.runs import done as run_done

EVIL = """
import os
from pathlib import Path
Path("evil-ran").touch()
from ltcl_helpers.methods import SimCLR
from ltcl_helpers.recipes import MethodOptions

class X(SimCLR):
    class Options(MethodOptions):
        sharp: float = 0.5
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A stranger's run with rows, whose config.json names a class of his own."""
    place = tmp_path_factory.mktemp("strangers")
    before = Path.cwd()
    os.chdir(place)
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    for part in ("train", "test"):
        np.savez(f"a_{part}.npz", images=images, labels=np.arange(40) % 4)
    try:
        given = dict(preset="tiny", split="all", batch_size=10, epochs=1, device="cpu")
        pretrain.pretrain(RunConfig(**given, data="npz:a_train.npz"), "run")
        probe.save_probe("run", probe.probe_run("run", ("full",), protocol="knn"))
    finally:
        os.chdir(before)
    own = {"method": "evil:X", "options": {"sharp": 0.5}}
    content = json.loads((place / "run" / "config.json").read_text()) | own
    (place / "run" / "config.json").write_text(json.dumps(content))
    done = run_done.read_done(place / "run")
    digest = RunConfig.stored(content).digest()
    run_done.write_done(place / "run", done | {"config_sha256": digest})
    run_done.seal(place / "run", "config.json")
    (place / "evil.py").write_text(EVIL)
    return place


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """That folder as the present one, in a process that was told of nothing."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes, "_allowed", set())
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    yield tmp_path
    sys.modules.pop("evil", None)


CALLS = {  # what is called, and its exit code while the class may not be imported
    "probe run --shots full --protocol logistic": 2,
    "report run --out page.html": 0,
    "explore run --out page.html": 0,
    "run --resume run": 0,
    "record run kept": 0,
}


@pytest.mark.parametrize("call", CALLS)
def test_no_command_imports_what_a_folder_names(call, place, capsys):
    assert cli.main(call.split()) == CALLS[call]
    assert not (place / "evil-ran").exists() and "evil" not in sys.modules
    if CALLS[call]:
        said = capsys.readouterr().err
        assert "evil:X" in said and "--allow-own-method" in said


def test_a_half_done_run_of_a_class_of_ones_own_needs_a_word(place, capsys):
    (place / "run" / "DONE.json").unlink()
    assert cli.main(["run", "--resume", "run"]) == 2
    assert "--allow-own-method" in capsys.readouterr().err
    assert not (place / "evil-ran").exists()
    assert cli.main(["run", "--resume", "run", "--allow-own-method"]) == 0
    assert (place / "evil-ran").exists()


@pytest.mark.parametrize(
    "call", ["probe run --shots full --protocol knn", "explore run --out p.html"]
)
def test_the_user_may_say_so(call, place):
    assert cli.main([*call.split(), "--allow-own-method"]) == 0
    assert (place / "evil-ran").exists()


def test_to_name_a_method_is_to_mean_it(place):
    stored = Run.load("run").config
    assert stored.options == {"sharp": 0.5} and "sharp-0.5" in stored.name
    with pytest.raises(ConfigError, match="not imported unasked"):
        _ = Run.load("run").encoder
    named = RunConfig(**json.loads(Path("run/config.json").read_text()))
    assert named == stored and named.digest() == stored.digest() and "sharp" not in named.name
    assert Run.load("run").encoder is not None


def test_a_page_of_such_a_run_promises_nothing_about_labels(place):
    meta, _, _ = explorer.payload("run", views=True)
    notes = " ".join(meta["notes"])
    assert "not imported unasked" in notes and "never saw" not in meta["aboutLabels"]
    assert "views" not in meta and "projection" not in meta and "side" in meta


@pytest.mark.parametrize("method", ["os:system", "ltcl_helpers.evil:X", "evil.deep:X"])
def test_no_name_leads_around_it(method, place):
    (place / "ltcl_helpers.evil.py").write_text(EVIL)
    content = json.loads(Path("run/config.json").read_text()) | {"method": method}
    Path("run/config.json").write_text(json.dumps(content))
    for read in (runs.read_config, Run.load):
        with contextlib.suppress(ConfigError):
            read(Path("run"))
    assert not (place / "evil-ran").exists()


EMPTY = [
    ["batch", "grid.yaml", "--only", ""],
    ["batch", "grid.yaml", "--out", ""],
    ["batch", "grid.yaml", "--scheduler", ""],
    ["batch", "grid.yaml", "--gpus", ""],
    ["batch", "grid.yaml", "--set", ""],
    ["batch", "grid.yaml", "--only=", "--dry-run"],
    ["batch", ""],
    ["report", ""],
    ["report", "run", "--out", ""],
    ["report", "run", "--runs", ""],
    ["report", "run", "--lists", ""],
    ["probe", "run", "--test", ""],
    ["probe", "run", "--lists", ""],
    ["probe", "run", "--shots", ""],
    ["probe", "run", "--groups", " "],
    ["probe", ""],
    ["explore", "run", "--out", ""],
    ["explore", "run", "--out", "p.html", "--compare", ""],
    ["explore", "", "--out", "p.html"],
    ["run", "--out", ""],
    ["run", "--out", "x", "--data", ""],
    ["run", "--out", "x", "--split="],
    ["run", "--resume", ""],
    ["run", "--out", "x", "--set", "root="],
    ["run", "--out", "x", "--set", "=3"],
    ["record", "run", ""],
    ["data", "get", "splits", "--source", ""],
    ["data", "verify", "cifar10", "--root", ""],
    ["bench", "cpu", "--data", ""],
    ["grade", "", "--out", "g.csv"],
    ["editions", "--out", ""],
    ["site", ""],
]
DOUBLE = {
    "run --out x --method simclr --set method=sdclr": "method is given by --method and by --set",
    "run --out x --set lr=0.1 --set lr=0.2": "--set gives lr twice: 0.1 and 0.2",
    "batch grid.yaml --set lr=0.1 --set lr=0.2": "--set gives lr twice",
    "run --out x --meth sdclr": "unrecognized arguments",  # an abbreviation is no name
}
WRONG = {
    "batch grid.yaml --scheduler nonsense": "write tcp://HOST:PORT",
    "batch grid.yaml --scheduler tcp://host": "write tcp://HOST:PORT",
    "batch grid.yaml --gpus ,": "name GPUs as in 0,1",
    "batch grid.yaml --gpus 0,,1": "name GPUs as in 0,1",
    "batch nowhere.yaml": "nowhere.yaml is not readable",
    "report nowhere": "nowhere is no finished run",
    "report nowhere.yaml": "nowhere.yaml is not readable",
    "report run --out page.pdf": "the page is one file",
    "probe run --test mnist": "data is 'mnist'",
    "probe run --test npz:nowhere.npz": "nowhere.npz does not exist",
    "probe run --test folder:nowhere@32": "nowhere does not exist",
    "probe run --lists nowhere": "nowhere, which is no folder",
    "probe run --shots ,": "shots is ''",
    "probe nowhere": "not a finished run",
    "explore nowhere --out p.html": "not a finished run",
    "explore run --compare nowhere --out p.html": "nowhere is not a finished run",
    "bench cpu --data mnist": "data is 'mnist'",
    "run --out x --set blocks=[999999,1]": "every stage needs 1 to 64",
}
CASES = [(call, "is empty|write name=value") for call in EMPTY]
CASES += [(call.split(), says) for call, says in (DOUBLE | WRONG).items()]


@pytest.mark.parametrize(("call", "says"), CASES, ids=lambda part: str(part)[:60])
def test_a_wrong_call_ends_with_one_line_before_torch_is_loaded(call, says, place, cold):
    Path("grid.yaml").write_text("rows: {a: {}}")
    before = sorted(p for p in place.rglob("*") if p.name != ".lock")
    loaded = "import atexit, sys\natexit.register(lambda: print('torch' in sys.modules))"
    process = cold.call(*call, cwd=place, before=loaded)
    assert process.returncode == 2, process.stderr
    [line] = process.stderr.strip().splitlines()
    assert re.search(says, line), line
    assert process.stdout == "False\n"
    assert sorted(p for p in place.rglob("*") if p.name != ".lock") == before


def test_settings_keep_their_types():
    assert parse_settings(["lr=1e-3", "blocks=[1, 1]"]) == {"lr": 1e-3, "blocks": [1, 1]}


def test_a_path_that_the_locale_cannot_say_is_said_all_the_same(place, cold):
    (place / "Größe").mkdir()
    encode = "import sys; [s.reconfigure(encoding='ascii') for s in (sys.stdout, sys.stderr)]"
    process = cold.call("probe", "Größe", cwd=place, before=encode)
    assert process.returncode == 2 and "Gr\\xf6\\xdfe is not a finished run" in process.stderr
