"""What a batch is told before anything runs: its GPUs, and the lists and data of its cells."""

import numpy as np
import pytest

from ltcl_helpers.batch import cluster, grid
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.probe import choices

KNN = {"protocol": "knn", "features": "encoder", "shots": "full", "lists": None}


def cell(probe=KNN, **given):
    return grid.Cell("a", "a", {}, RunConfig(preset="tiny", **given), {}, probe, "A")


def test_gpus_are_dealt_out_in_groups():
    assert cluster.grouped(["0", "1", "2", "3"], 2) == ["0,1", "2,3"]
    assert cluster.grouped(["0", "1"], 1) == ["0", "1"] and cluster.grouped([], 1) == []
    for gpus, each in ((["0"], 0), (["0", "1", "2"], 2), ([], 2)):
        said = f"--gpus-per-cell is {each} and --gpus names {len(gpus)}; give a multiple of it"
        with pytest.raises(ConfigError, match=said):
            cluster.grouped(gpus, each)


def test_lists_that_are_missing_are_named_before_a_run(tmp_path):
    one = cell(split=f"{tmp_path}/gone.npy")
    said = f"{tmp_path}/gone.npy does not exist; `ltcl data get splits`, or --set lists=DIR"
    with pytest.raises(ConfigError, match=said):
        cluster._check_inputs([one])
    lists = KNN | {"lists": f"{tmp_path}/gone"}
    one = cell(lists)
    said = f"lists is {tmp_path}/gone, which is no folder; `ltcl data get splits`"
    with pytest.raises(ConfigError, match=said):
        cluster._check_inputs([one])


def test_lists_in_the_home_folder_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "mine.npy", np.arange(40))
    lists = KNN | {"lists": "~"}
    cluster._check_inputs([cell(lists, split="~/mine.npy")])
    (tmp_path / "mine.npy").unlink()
    with pytest.raises(ConfigError, match="mine.npy"):
        cluster._check_inputs([cell(lists, split="~/mine.npy")])


def own_data(tmp_path, test_labels=(0, 1), count=40):
    """Two classes of forty images, and a test part."""
    images = np.zeros((2 * count, 8, 8, 3), np.uint8)
    names = np.array(["ant", "bee"])
    np.savez(tmp_path / "a_train.npz", images=images, labels=np.arange(2 * count) % 2,
             class_names=names)  # fmt: skip
    labels = np.array(test_labels)
    np.savez(tmp_path / "a_test.npz", images=images[: len(labels)], labels=labels,
             class_names=np.array(["ant", "bee", "cow"]))  # fmt: skip
    return f"npz:{tmp_path}/a_train.npz"


def test_a_probe_that_cannot_be_is_refused_before_hours_of_training(tmp_path):
    one = cell(data=own_data(tmp_path, (0, 1, 2)), split="all", batch_size=10)
    with pytest.raises(ConfigError, match="class cow, which the training part lacks"):
        cluster._check_inputs([one])
    (tmp_path / "a_test.npz").unlink()
    with pytest.raises(ConfigError, match="a_test.npz"):
        cluster._check_inputs([one])


def test_the_next_call_is_one_that_the_data_allow(tmp_path):
    """A probe of so many images as there are; of one class, or without a test part, a look."""

    def says(**given):
        return choices.next_call(RunConfig(preset="tiny", **given), "F")

    many = own_data(tmp_path, count=120)
    assert says() == says(data="cifar10") == says(data=many, split="all") == "ltcl probe F"
    few = own_data(tmp_path, count=40)
    assert says(data=few, split="all") == "ltcl probe F --shots full"
    assert says(data=few, split="mine.npy") == "ltcl probe F"  # its lists lie beside it
    (tmp_path / "a_test.npz").unlink()
    assert says(data=few, split="all") == "ltcl explore F --out page.html"


def test_every_cell_is_asked_and_not_the_first_of_its_data(tmp_path):
    common = dict(data=own_data(tmp_path), batch_size=10, imbalance=2.0)
    first, second = cell(**common, largest_class=20), cell(**common, largest_class=4000)
    with pytest.raises(ConfigError, match="a: split long-tail: .*largest_class is 4000"):
        cluster._check_inputs([first, second])
    gone = cell(**common, largest_class=20, seed=3)
    cluster._check_inputs([first, gone])  # another seed is another draw of the same sizes
