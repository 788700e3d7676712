"""A worker's word is not believed, and a grid that cannot be run is refused before anything is."""

import contextlib
import itertools
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ltcl_helpers import errors, pretrain
from ltcl_helpers.batch import cell, cluster, form, grid, plan
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.probe import choices
from ltcl_helpers.recipes import RECIPES

# --- workers ----------------------------------------------------------------------------------

KNN = {"protocol": "knn", "features": "encoder", "shots": "full", "lists": None}


def test_a_worker_must_share_the_folder_and_the_kit(tmp_path):
    with cluster._token(tmp_path / "runs") as token:
        task = {"token": token}
        assert cell.stranger(task, cell.identity()) == ""
        elsewhere = {"token": (str(tmp_path / "other" / Path(token[0]).name), token[1])}
        assert "does not share" in cell.stranger(elsewhere, cell.identity())
        copied = {"token": (token[0], "an older batch's")}  # a copy of the folder, say
        assert "does not share" in cell.stranger(copied, cell.identity())
        for name in cell.identity():
            said = cell.stranger(task, cell.identity() | {name: "another"})
            assert name in said and "install the same there" in said
        future = cell.identity() | {"of a later kit": "1"}
        assert "of a later kit" in cell.stranger(task, future)
    assert not list((tmp_path / "runs").iterdir())
    assert "does not share" in cell.stranger(task, cell.identity())  # the batch is over


def test_the_identity_is_of_the_code_and_of_the_packages(monkeypatch, tmp_path):
    ours = cell.identity()
    assert {"torch", "numpy", "the kit's code"} <= ours.keys()
    assert "+" not in "".join(ours.values())  # a GPU's build of one version is no other version
    (tmp_path / "one.py").write_text("1")
    monkeypatch.setattr(cell, "PACKAGE", tmp_path)
    first = cell.identity()["the kit's code"]
    (tmp_path / "one.py").write_text("2")
    assert first != cell.identity()["the kit's code"] != ours["the kit's code"]


def test_done_is_what_the_driver_sees(tmp_path):
    task = {"folder": str(tmp_path / "absent"), "probe": KNN}
    assert "holds no finished run" in cluster._unseen(task, patience=0)
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "DONE.json").write_text("{}")
    assert "DONE.json" in cluster._unseen(task, patience=0)


def test_every_path_of_a_task_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("toy.yaml").write_text("base: {preset: tiny}\nrows: {a: {}}\nrecord: true")
    todo = plan.Plan.of(grid.read("toy.yaml"), results=Path("results"))
    task = cluster.task_of(todo, todo.cells[0])
    for path in (task["folder"], task["record"], task["parameters"]["out"]):
        assert Path(path).is_absolute() and Path(path).is_relative_to(tmp_path)
    with cluster._token(todo.study) as (path, _):
        assert Path(path).is_absolute()


def test_a_silent_cell_is_seen_and_ended_only_where_that_is_asked_for(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("epoch 1 of 9: loss 1.0")
    assert not cell.LastWord(log, None).is_over()
    patient, hasty = cell.LastWord(log, 60), cell.LastWord(log, 1e-9)
    assert not patient.is_over()
    hasty.is_over()  # the first look is a sign of life
    time.sleep(0.01)
    assert hasty.is_over() and not patient.is_over()
    past = time.time() - 700
    os.utime(log, (past, past))
    assert cluster.silent_minutes(log) == 11 and cluster.silent_minutes(tmp_path / "no.log") == 0


# --- grids ------------------------------------------------------------------------------------

GOOD = "base: {preset: tiny, data: 'npz:a.npz'}\n"
BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join(9 * [f'*{old}'])}]\n"
    for old, new in itertools.pairwise("abcdefghij")
)
WRONG = {  # text of a grid, and what its one line says
    BOMB: "aliases counted",
    "rows: &a {b: *a}": "aliases counted",
    "rows: {a: {}}\ncross: {"
    + ", ".join(
        f"{name}: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"
        for name in (
            "seed",
            "split_seed",
            "epochs",
            "width",
            "keep_every",
            "boost_k",
            "batch_size",
            "lr",
        )
    )
    + "}": "100,000,000 cells; allowed are 10,000",
    "[" * 5000: "is not YAML",
    "rows: {? [a, b] : {}}": "is not YAML",
    "rows: {? {a: b} : {}}": "is not YAML",
    "title: 2024-13-45": "is not YAML",
    "rows: {a: {lr: 2024-01-01}}": "rows: a: lr is datetime",
    "rows: {1: {}}": "rows: 1",
    "rows: {a: {label: 3}}": "rows: a: label is 3",
    "rows: {a: {label: ''}}": "rows: a: label is ''",
    "rows: {a: {folder: [x]}}": "rows: a: folder is ['x']",
    "rows: {a: {probe: full}}": "rows: a: probe is 'full'",
    "rows: {a: {probe: {shots: {a: 1}}}}": "shots is {'a': 1}",
    "rows: {a: {probe: {features: null}}}": "features is 'None'",
    "rows: {a: {lr: {b: 1}}}": "rows: a: lr is {'b': 1}",
    "rows: {a: {blocks: [[1]]}}": "rows: a: blocks is [[1]]",
    "rows: [a]": "rows is ['a']",
    "rows: {a: null}": "rows: a is None",
    "rows: {a: {}}\nbase: {1: 2}": "base: 1",
    "rows: {a: {}}\nbase: [a]": "base is ['a']",
    "rows: {a: {}}\nskip: [1]": "skip: 0 is 1",
    "rows: {a: {}}\nskip: a": "skip is 'a'",
    "rows: {a: {}}\ncompare: [a, a]": "compare: 0 is 'a'",
    "rows: {a: {}}\ncompare: [[a]]": "compare: 0 is ['a']",
    "rows: {a: {}}\ncompare: [[[a], [a]]]": "compare: 0: 0 is ['a']",
    "rows: {a: {}}\ncompare: [[a, a, a]]": "compare: 0 is ['a', 'a', 'a']",
    "rows: {a: {}}\ncross: {seed: 3}": "cross: seed is 3",
    "rows: {a: {}}\ncross: {seed: [0, 0]}": "a value is there twice",
    "rows: {a: {}}\ncross: {n: {a: {1: 2}}}": "cross: n is",
    "rows: {a: {}}\ncross: {n: {a: {lr: {x: 1}}}}": "cross: n is",
    "rows: {a: {}}\nmirrored_pairs: true\nbase: {seed: x}": "needs whole numbers as seeds",
    "rows: {a: {}}\nmirrored_pairs: true\ncross: {seed: [0.5]}": "needs whole numbers as seeds",
    "rows: {a: {}}\nmirrored_pairs: 1": "mirrored_pairs is 1",
    "rows: {a: {}}\nlists: 3": "lists is 3",
    "rows: {a: {}}\nlists: ''": "lists is ''",
    "rows: {a: {}}\nfolder: ''": "folder is ''",
    "rows: {a: {}}\nfolder: /etc/{row}": "folder is '/etc/{row}'",
    "rows: {a: {}}\nfolder: ../../{row}": "folder is '../../{row}'",
    "rows: {a: {}}\nfolder: x/../../{row}": "folder is 'x/../../{row}'",
    "rows: {a: {method: sdclr}}\nprobe: {protocol: sdclr, shots: 100}": "rates for full and 1%",
    "rows: {a: {}}\nprobe: {features: pruned}": "a simclr run keeps no pruned",
    "rows: {a: {method: moco-v2}}\nprobe: {features: 'encoder,pruned'}": "keeps no pruned",
    "rows: {a: {}}\nprobe: {protocol: classifier}": "a simclr run keeps no classifier",
    "rows: {a: {epochs: 1e999}}": "epochs is inf",
    "#" * (form.MOST_BYTES + 1): "a grid has at most",
    "\ud800".encode("utf-8", "surrogatepass"): "is no text",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: str(text)[:40])
def test_a_malformed_grid_is_refused_at_once_in_one_line(text, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        grid.read(path)
    message = str(caught.value)
    assert WRONG[text] in message and len(message.splitlines()) == 1, message[:500]


def test_any_text_is_a_grid_or_refused(tmp_path):
    """Pieces of a grid, cut and joined by chance, give a grid or one line."""
    pieces = [
        "rows:", " {a: {}}", "\n", "cross:", "  seed: [0, 1]", "- ", "{", "}", "[", "]", ":", "&a ",
        "*a", "probe: {shots: 5}", "base: ", "{preset: tiny}", "? ", "!!set", "0x1F", "null", "~",
        "mirrored_pairs: true", "skip: ['*']", "1e3", "'", '"', "\t", "%",
    ]  # fmt: skip
    draw = np.random.default_rng(0)
    for _ in range(200):
        text = "".join(pieces[k] for k in draw.integers(len(pieces), size=draw.integers(1, 12)))
        (tmp_path / "g.yaml").write_text(text)
        with contextlib.suppress(errors.ConfigError):
            grid.read(tmp_path / "g.yaml")


def test_more_shots_than_a_class_has_are_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = np.arange(40) % 4
    for part in ("train", "test"):
        np.savez(f"a_{part}.npz", images=np.zeros((40, 8, 8, 3), np.uint8), labels=labels)
    good = GOOD.replace("a.npz", "a_train.npz")
    given = "rows: {a: {split: all, batch_size: 10}}\n"
    for shots, refused in (("100000", True), ("11", True), ("10", False), ("full,1%", False)):
        Path("g.yaml").write_text(f"{good}{given}probe: {{shots: '{shots}', protocol: knn}}")
        cells = grid.read("g.yaml").cells
        if refused:
            with pytest.raises(ConfigError, match=f"shots is {shots}.* has 10 images"):
                cluster._check_inputs(cells)
        else:
            cluster._check_inputs(cells)


@pytest.mark.parametrize("name", [n for n, recipe in RECIPES.items() if recipe.boost == "none"])
def test_what_methods_keep_is_what_the_table_says(name):
    method = pretrain.make_method(RunConfig(preset="tiny", method=name), torch.tensor([30, 9]))
    kept = set(method.trained())
    if hasattr(method, "masks"):
        method.start_epoch(1, 1, torch.Generator().manual_seed(0))
    for asked, methods in choices.KEPT_BY.items():
        assert (asked in kept) == (name in methods), asked
    choices.check_run("my_own:Mine", ["classifier"], ["pruned"])  # may keep anything
