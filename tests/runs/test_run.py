"""A run that is over: what its files say, what is compared, and in which words it is refused."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from ltcl_helpers import files, networks, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import ImageArrays, splits
from ltcl_helpers.errors import ConfigError, DamagedFile
from ltcl_helpers.runs.run import ARRAYS, HISTORY, Run

LAPTOP = {"device": "cpu", "threads": 1, "precision": "float32", "torch": "2"}
CONFIG = RunConfig(preset="tiny", data="npz:there/a_train.npz", split="all", seed=3)


def in_memory():
    """A run of three images that nobody trained."""
    torch.manual_seed(0)
    return Run(
        folder=None,
        config=CONFIG,
        history=pd.DataFrame({"epoch": [1], "loss": [2.0], "lr": [0.1], "seconds": [3.0]}),
        momentum_loss=torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float16),
        epochs_kept=[1],
        labels=torch.tensor([0, 1, 0]),
        index=torch.tensor([5, 0, 2]),
        class_counts=torch.tensor([2, 1]),
        group_counts=torch.tensor([20, 10]),
        networks={"encoder": networks.build(CONFIG).eval(), "head": torch.nn.Linear(2, 2)},
    )


@pytest.fixture
def folder(tmp_path):
    """The run, saved."""
    runs.begin(tmp_path, CONFIG)
    (tmp_path / ".rows.1.part").touch()
    runs.save(in_memory(), tmp_path, [LAPTOP], "d" * 64, licence="MIT")
    return tmp_path


def test_a_size_that_moved_data_need_is_asked_for(tmp_path):
    config = CONFIG.model_copy(update={"data": "folder:me@lab/photos@64"})
    runs.begin(tmp_path, config)
    run = dataclasses.replace(in_memory(), config=config)
    runs.save(run, tmp_path, [LAPTOP], None)
    with pytest.raises(ConfigError, match="give folder:me@lab/moved@64$"):
        Run.load(tmp_path, "folder:me@lab/moved")
    for place in ("folder:moved@64", "pack:moved@32", "npz:moved_train.npz"):
        assert Run.load(tmp_path, place).config.data == place


def test_what_a_run_leaves_and_that_it_comes_back(folder):
    written = {"config.json", "history.parquet", "memory.npz", "encoder.safetensors"}
    assert {path.name for path in folder.iterdir()} == {*written, "DONE.json"}
    done, before = runs.verify(folder), in_memory()
    assert set(done["files"]) == written
    assert (done["machines"], done["licence"], done["data_sha256"]) == ([LAPTOP], "MIT", "d" * 64)
    assert done["config_sha256"] == CONFIG.digest()
    assert done["split_sha256"] == splits.split_digest(np.array([5, 0, 2]))
    assert files.read_json(folder / "config.json") == CONFIG.model_dump(mode="json")
    run = Run.load(str(folder))
    assert (run.folder, run.config, run.done, run.networks) == (folder, CONFIG, done, {})
    assert run.epochs_kept == [1] and run.history.equals(before.history)
    for name in ARRAYS:
        assert torch.equal(getattr(run, name), getattr(before, name)), name
    assert not run.encoder.training and run.encoder is run.networks["encoder"]
    image = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(run.encoder(image), before.encoder(image))
    assert Run.load(folder, "pack:here").config == CONFIG.model_copy(update={"data": "pack:here"})


def test_whoever_finds_the_weights_alone_is_told_how_to_use_them(folder):
    with safe_open(folder / "encoder.safetensors", "pt") as weights:
        told = weights.metadata()
    assert list(told) == ["encoder"] and json.loads(told["encoder"]) == {
        "input": "(x - mean) / std with x in [0, 1]",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "network": networks.layout(CONFIG),
    }


def says(kind, call, *given):
    with pytest.raises(kind) as caught:
        call(*given)
    return str(caught.value)


def test_networks_that_are_not_there_are_refused_in_these_words(folder):
    run = Run.load(folder)
    assert (
        says(ConfigError, lambda: run.pruned) == f"{folder} is a simclr run, which keeps no pruned"
    )
    alone = in_memory()
    assert says(ConfigError, alone.network, "pruned") == "this run is a simclr run, which keeps " \
        "no pruned"  # fmt: skip
    runs.record(folder, folder / "kept")
    kept = Run.load(folder / "kept")
    assert says(ConfigError, kept.network, "encoder") == (
        f"{folder}/kept was recorded without encoder.safetensors; read its tables, probe.parquet, "
        "history.parquet and memory.npz, or make the run again"
    )
    assert says(ConfigError, kept.network, "pruned").endswith("which keeps no pruned")


def test_weights_of_another_network_are_no_encoder_of_this_run(folder):
    run = Run.load(folder)
    wrong = f"{folder}/encoder.safetensors does not hold the encoder that config.json describes ("
    for content in (b"no tensors", (folder / "encoder.safetensors").read_bytes()):
        (folder / "encoder.safetensors").write_bytes(content)
        run.config = RunConfig(preset="tiny", width=8)
        said = says(DamagedFile, run.network, "encoder")
        assert said.startswith(wrong) and said.endswith("); restore it") and "\n" not in said


def test_what_is_compared_with_done_when_a_run_is_opened(folder):
    done, place = runs.read_done(folder), f"{folder}/DONE.json"
    for name in ("config_sha256", "split_sha256"):
        runs.done.write_done(folder, done | {name: "0" * 64})
        told = f"{place} has another {name} than the files beside it; restore them"
        assert says(DamagedFile, Run.load, folder) == told
    for name in ("history.parquet", "memory.npz"):
        rest = {each: value for each, value in done["files"].items() if each != name}
        runs.done.write_done(folder, done | {"files": rest})
        assert says(DamagedFile, Run.load, folder) == f"{place} does not name {name}; restore it"
    old = {name: value for name, value in done.items() if not name.endswith("_sha256")}
    runs.done.write_done(folder, old)  # the first runs had none
    assert Run.load(folder).done.keys() & {"config_sha256", "split_sha256"} == set()


@pytest.mark.parametrize("name", ["probe.parquet", "run.ipynb"])
def test_damage_of_what_can_be_made_again_is_said_once(name, folder, caplog):
    runs.add_file(folder, name, b"{}")
    Run.load(folder)
    assert not caplog.records
    (folder / name).write_text("garbage")
    Run.load(folder)
    (record,) = caplog.records
    assert record.levelname == "WARNING" and f"{name} has sha256" in record.getMessage()


def test_columns_and_arrays_that_a_run_must_have(folder):
    assert HISTORY == ("epoch", "loss", "lr", "seconds")
    done = runs.read_done(folder)
    for name in HISTORY:
        files.write_parquet(folder / "history.parquet", in_memory().history.drop(columns=name))
        runs.seal(folder, "history.parquet")
        assert f"has no column {name}" in says(DamagedFile, Run.load, folder)
    files.write_parquet(folder / "history.parquet", in_memory().history)
    arrays = files.read_npz(folder / "memory.npz")
    assert set(arrays) == {"epochs_kept", *ARRAYS}
    for name in arrays:
        rest = {each: value for each, value in arrays.items() if each != name}
        files.write_npz(folder / "memory.npz", **rest)
        runs.seal(folder, "memory.npz", "history.parquet")
        assert f"has no array {name}" in says(DamagedFile, Run.load, folder)
    assert done["files"].keys() == runs.read_done(folder)["files"].keys()


def test_a_run_knows_the_data_it_learned_from():
    """Of six images it has the three at 5, 0 and 2."""
    labels, images = np.array([1, 9, 0, 9, 9, 0]), np.arange(6, dtype=np.uint8)[:, None]
    names = tuple("abcdefghij")
    data = ImageArrays(images, labels, names)
    run = dataclasses.replace(in_memory(), folder="RUN")
    inputs = run.inputs_of(data)
    assert inputs.images.flatten().tolist() == [5, 0, 2] == inputs.index.tolist()
    assert inputs.labels.tolist() == [0, 1, 0]
    assert (inputs.class_counts.tolist(), inputs.group_counts.tolist()) == ([2, 1], [20, 10])
    run.done = {"data_sha256": splits.data_digest(inputs)}
    run.inputs_of(data)
    other = data._replace(images=images[::-1])
    assert says(ConfigError, run.inputs_of, other) == (
        "npz:there/a_train.npz is not what RUN learned from: its images, labels or split changed "
        "since; put the old data back, or make the run again"
    )
    run.done = {"data_sha256": None}  # nobody is to compare it
    run.inputs_of(other)
    wrong = says(ConfigError, run.inputs_of, data._replace(labels=labels[::-1]))
    assert "npz:there/a_train.npz here has other labels than the run had" in wrong
