"""Released encoders: what is exact is asked for exactly, an accuracy within its sampling error."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ltcl_helpers import files, networks, probe, runs
from ltcl_helpers.batch import grid
from ltcl_helpers.data import read_arrays
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.explorer import open_run
from ltcl_helpers.paths import ROOT, WEIGHTS
from ltcl_helpers.probe.lists import labelled_lists
from ltcl_helpers.runs.run import Run

GRID = grid.read(ROOT / "experiments" / "weights.yaml")
CELLS = {cell.name: cell for cell in GRID.cells}


def overall(rows):
    return rows[rows["group"] == "all"].set_index(["shots", "list"])["accuracy"]


def sampling_error(accuracy, images):
    """Two standard errors of a share of so many test images; rounding moves far fewer."""
    return 2 * np.sqrt(accuracy * (1 - accuracy) / images)


RELEASED = sorted(path.name for path in WEIGHTS.iterdir())


def test_what_is_released_is_made_by_the_grid():
    assert set(RELEASED) <= set(CELLS)
    assert {name for name in CELLS if name.startswith("shapes-")} <= set(RELEASED)


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_run_is_whole_small_and_what_the_grid_says(name):
    folder = runs.released(name)
    done = runs.verify(folder)
    run = Run.load(folder)
    assert run.config.differences(CELLS[name].config, elsewhere=True) == []
    assert done["config_sha256"] == run.config.digest()
    assert re.fullmatch(r"[0-9a-f]{40}", done["git_commit"])  # of files as committed
    assert "MIT" in done["licence"]
    weights = load_file(folder / "encoder.safetensors")
    expected = networks.build(run.config).state_dict()
    assert {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in expected.items()}
    there = {path.name for path in folder.iterdir()}
    assert there == {*done["files"], "DONE.json"}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2e6
    assert {"many", "few", "all"} <= set(probe.read_rows(folder, done)["group"])


def test_a_probe_of_a_released_encoder_gives_its_rows_and_changes_nothing(ltcl):
    folder = runs.released("shapes-simclr")
    before = files.sha256(folder / "DONE.json")
    done = ltcl("probe", "--weights", "shapes-simclr", "--protocol", "logistic")
    assert done.returncode == 0, done.stderr
    here, released = done.stdout.split("As released:")
    values = [float(text.split("|")[-3]) for text in (here, released)]
    assert abs(values[0] - values[1]) < 100 * sampling_error(values[1] / 100, 3000)
    assert files.sha256(folder / "DONE.json") == before


@pytest.mark.skipif("cifar100-bcl-i" not in RELEASED, reason="it is not released yet")
def test_cifar_gives_the_released_row_where_it_is_at_hand(cifar, published_splits):
    name = f"npz:{cifar}/cifar100_train.npz"
    folder = runs.released("cifar100-bcl-i")
    run = Run.load(folder, name)
    train, test = read_arrays(name, "train"), read_arrays(name, "test")
    run.inputs_of(train)  # the same labels and positions
    labelled = labelled_lists(run, train.labels, "100", Path(published_splits))[0]
    found = [probe.features(run.encoder, torch.from_numpy(images))
             for images in (train.images[labelled.index], test.images)]  # fmt: skip
    labels = [torch.from_numpy(part) for part in (train.labels[labelled.index], test.labels)]
    result = probe.linear_probe(found[0], labels[0], found[1], labels[1], classes=100)
    expected = overall(probe.read_rows(folder, run.done))["100", labelled.name]
    assert abs(result.top1 - expected) < sampling_error(expected, len(test.labels))


def test_a_released_run_is_explored_with_a_map_of_its_features():
    history = open_run(runs.released("shapes-bcl-i"))
    assert history.encoder is not None and history.images is not None and not history.notes


def test_wrong_names_are_one_line(cold, tmp_path):
    folder = str(runs.released("shapes-simclr"))
    for words, says in (
        (["--weights", "nothing"], f"released are {RELEASED[0]}"),
        ([], "one of them"),
        ([folder, "--weights", "shapes-simclr"], "one of them"),
        (["--weights", "shapes-simclr", "--data", "absent"], "data is 'absent'"),
    ):
        done = cold.call("probe", *words, cwd=tmp_path)
        assert done.returncode == 2 and says in done.stderr, done.stderr
    with pytest.raises(ConfigError, match="released are"):
        runs.released("../results")
    with pytest.raises(ConfigError, match=r"without pruned\.safetensors"):
        _ = Run.load(runs.released("shapes-sdclr")).pruned
