"""The command, called as a person calls it."""

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from ltcl_helpers import cli, store
from ltcl_helpers.pretrain import Run

SIXTY_FOUR = np.zeros((64, 8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    """Files that are wrong in all the usual ways."""
    folder = tmp_path_factory.mktemp("bad")
    labels = np.arange(64) % 4
    good = folder / "good_train.npz"
    np.savez(good, images=SIXTY_FOUR, labels=labels)
    (folder / "truncated.npz").write_bytes(good.read_bytes()[:500])
    (folder / "text.npz").write_text("not an archive")
    np.savez(folder / "nolabels.npz", images=SIXTY_FOUR)
    np.savez(folder / "fewer.npz", images=SIXTY_FOUR, labels=labels[:60])
    np.savez(folder / "negative.npz", images=SIXTY_FOUR, labels=labels - 1)
    np.savez(folder / "fractions.npz", images=SIXTY_FOUR, labels=labels / 2)
    np.savez(folder / "float.npz", images=SIXTY_FOUR / 255, labels=labels)
    np.savez(folder / "grey.npz", images=SIXTY_FOUR[..., 0], labels=labels)
    np.savez(folder / "names.npz", images=SIXTY_FOUR, labels=labels, class_names=["a", "b"])
    np.savez(folder / "empty.npz", images=SIXTY_FOUR[:0], labels=labels[:0])
    np.savez(folder / "objects.npz", images=SIXTY_FOUR, labels=np.array([{}] * 64, dtype=object))
    for name, index in {
        "beyond": [0, 64], "below": [-1, 2], "twice": [1, 1], "none": [], "floats": [0.5],
        "table": [[1, 2]],
    }.items():  # fmt: skip
        np.save(folder / f"{name}.npy", np.array(index, int if index == [] else None))
    (folder / "text.npy").write_text("0 1 2")
    (folder / "noparts").mkdir()
    (folder / "noimages" / "train" / "cat").mkdir(parents=True)
    (folder / "broken" / "train" / "cat").mkdir(parents=True)
    (folder / "broken" / "train" / "cat" / "a.png").write_bytes(b"no image")
    (folder / "notarun").mkdir()
    return folder


GOOD = "--data npz:{bad}/good_train.npz"
WRONG_RUNS = {
    "--set epoch=3": "epoch is not a parameter",
    "--set epochs=ten": "epochs is 'ten'",
    "--set epochs=-1": "epochs is -1",
    "--set epochs=2.5": "epochs is 2.5",
    "--set batch_size=0": "batch_size is 0",
    "--set lr=0": "lr is 0",
    "--set lr=-1": "lr is -1",
    "--set lr=NaN": "lr is nan",
    "--set lr=Infinity": "lr is inf",
    "--set temperature=0": "temperature is 0",
    "--set momentum_beta=1": "momentum_beta is 1",
    "--set imbalance=0.5": "imbalance is 0.5",
    "--set width=0": "width is 0",
    "--set blocks=[0]": "blocks is",
    "--set blocks=[]": "blocks is",
    "--set seed=-1": "seed is -1",
    "--set keep_every=0": "keep_every is 0",
    "--set warmup_epochs=99": "warmup_epochs is 99",
    "--set weight_decay=-1": "weight_decay is -1",
    "--method sdclr --set prune_fraction=1.5": "prune_fraction is 1.5",
    "--method sdclr --set prune_fraction=NaN": "prune_fraction is nan",
    "--method sdclr --set prune_fraction=0.3 --set prune_random=0.5": "prune_random is 0.5",
    "--method bcl-i --set boost_k=0": "bcl-i means boost_k 1, not 0",
    "--set boost=memory --set boost_k=0": "boost_k is 0",
    "--set boost_k=2": "boost_k and boost_rule need a boost",
    "--set boost=random": "boost is 'random'",
    "--method bcl-d --set boost=shuffled": "bcl-d means boost memory, not 'shuffled'",
    "--method bcl-d --set boost_rule=theirs": "boost_rule is 'theirs'",
    "--method sdclr --set momentum_beta=1.2": "momentum_beta is 1.2",
    "--method sdclr --set epochs=0": "epochs=0 is an untrained encoder",
    "--set head_layers=4": "head_layers is 4",
    "--minutes 0": "--minutes is 0",
    "--minutes soon": "invalid float value",
    "--set precision=float8": "precision is 'float8'",
    "--set device=tpu": "device is 'tpu'",
    "--set mirrored=perhaps": "mirrored is 'perhaps'",
    "--set epochs": "write name=value",
    "--set lr=abc --set width=-4": "width is -4.*lr is 'abc'",
    "--preset huge": "preset is 'huge'",
    "--method simsiam": "method is 'simsiam'",
    "--data mnist": "data is 'mnist'",
    "--data shapes:one": "whole number",
    "--data cifar100 --set root=nowhere": "ltcl data get cifar100",
    "--split missing.npy": "missing.npy does not exist",
    "--data npz:missing.npz": "missing.npz does not exist",
    "--data npz:{bad}/truncated.npz": "truncated.npz is not a whole .npz",
    "--data npz:{bad}/text.npz": "text.npz is not a whole .npz",
    "--data npz:{bad}/nolabels.npz": "lacks labels",
    "--data npz:{bad}/fewer.npz": r"\(60,\) for 64 images",
    "--data npz:{bad}/negative.npz": "labels from -1 to 2; allowed are 0",
    "--data npz:{bad}/fractions.npz": "labels are float64",
    "--data npz:{bad}/float.npz": "images are float64",
    "--data npz:{bad}/grey.npz": r"shape \(64, 8, 8\)",
    "--data npz:{bad}/names.npz": "labels from 0 to 3; allowed are 0 to 1",
    "--data npz:{bad}/empty.npz": "holds no image",
    "--data npz:{bad}/objects.npz": "objects.npz is not a whole .npz",
    GOOD + " --split {bad}/beyond.npy": "position 64",
    GOOD + " --split {bad}/below.npy": "has position -1; allowed is 0",
    GOOD + " --split {bad}/twice.npy": "has position 1 2 times",
    GOOD + " --split {bad}/none.npy": "is empty",
    GOOD + " --split {bad}/floats.npy": "whole numbers",
    GOOD + " --split {bad}/table.npy": "one list",
    GOOD + " --split {bad}/text.npy": "not a whole .npy",
    GOOD + " --split all --set batch_size=65": "batch_size is 65",
    GOOD + " --set imbalance=1000": "smallest class empty",
    GOOD + " --set largest_class=17 --set imbalance=2": "16 images, 17 were asked",
    "--data folder:{bad}/noparts": "no folder train/",
    "--data folder:{bad}/noimages": "holds no images",
    "--data folder:{bad}/broken": "a.png is not a readable image",
    "--data folder:{bad}/broken@4": "allowed is 8 to 512",
    "--resume {bad}/notarun": "holds no run .no config.json.; begin one",
    "--resume {bad}/nowhere": "config.json does not exist",
    "--sett epochs=3": "unrecognized arguments",
}


@pytest.mark.parametrize("arguments", WRONG_RUNS)
def test_a_wrong_run_ends_soon_with_one_clear_line_and_creates_nothing(
    arguments, bad_files, ltcl, tmp_path
):
    out = [] if "--resume" in arguments else ["--out", "runs/new"]
    before = sorted(bad_files.rglob("*"))
    start = time.process_time(), os.times()
    process = ltcl("run", *arguments.format(bad=bad_files).split(), *out)
    used = os.times().children_user - start[1].children_user
    assert process.returncode == 2, process.stderr
    (line,) = process.stderr.strip().splitlines()
    assert line.startswith("ltcl: ") and process.stdout == ""
    assert re.search(WRONG_RUNS[arguments], line), line
    assert list(tmp_path.iterdir()) == [] and sorted(bad_files.rglob("*")) == before
    assert used < 3, f"{used:.1f} s of processor time; torch must not be loaded for this"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("", "COMMAND"),
        ("run", "--out is missing"),
        ("run --resume a --set epochs=3", "give nothing else"),
        ("probe nowhere", "not a finished run"),
        ("data fetch cifar10", "invalid choice"),
        ("data get mnist", "invalid choice"),
        ("data verify splits --root nowhere", "missing or damaged"),
        ("data get splits --source nowhere --root .", "cannot be read"),
        ("record nowhere target", "not a finished run"),
        ("bench tpu", "invalid choice"),
        ("train", "invalid choice"),
    ],
)
def test_other_wrong_calls(call, says, ltcl, tmp_path):
    process = ltcl(*call.split())
    assert process.returncode == 2 and says in process.stderr
    assert len(process.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_help_says_what_there_is(ltcl):
    process = ltcl("--help")
    assert process.returncode == 0
    for command in ("run", "probe", "data", "bench", "record"):
        assert command in process.stdout


def digest_of(folder):
    """The result of a run without its clock."""
    done = store.verify(folder)
    history = store.read_parquet(folder / "history.parquet").drop(columns="seconds")
    files = {n: d for n, d in done["files"].items() if n != "history.parquet"}
    return files, hashlib.sha256(history.to_csv().encode()).hexdigest()


def test_killed_at_five_random_moments_and_resumed_equals_never_killed(ltcl, tmp_path):
    settings = ["--preset", "tiny", "--method", "bcl-d", "--set", "epochs=40"]
    start = time.monotonic()
    whole = ltcl("run", *settings, "--out", "whole")
    seconds = time.monotonic() - start
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, "-m", "ltcl_helpers", "run"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    call, draw, kills = [*settings, "--out", "killed"], random.Random(1), 0
    interrupted = []
    while kills < 5:
        process = subprocess.Popen(
            command + call, cwd=tmp_path, env=environment,
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        for line in process.stderr:  # the first epoch's line: it trains
            if line.startswith("epoch"):
                break
        time.sleep(draw.uniform(0, 0.05 * seconds))
        process.send_signal(signal.SIGKILL)
        _, error = process.communicate()
        assert process.returncode == -signal.SIGKILL, error  # neither finished nor failed
        kills += 1
        assert not (tmp_path / "killed" / "DONE.json").exists(), "too fast to be killed"
        found = store.checkpoints(tmp_path / "killed")
        interrupted.append(found[0].name if found else None)
        call = ["--resume", "killed"]
    resumed = ltcl("run", "--resume", "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert len(set(interrupted)) > 1  # the kills fell at different epochs
    assert digest_of(tmp_path / "killed") == digest_of(tmp_path / "whole")
    again = ltcl("run", "--resume", "killed")  # a finished run is checked, not run again
    assert again.returncode == 0 and "epoch" not in again.stderr


@pytest.fixture
def stopped(ltcl, tmp_path):
    """A run on an .npz, stopped after its first of three epochs."""
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(64) % 4)
    settings = ["--data", "npz:a.npz", "--split", "all", "--preset", "tiny", "--minutes", "1e-6"]
    process = ltcl("run", *settings, "--set", "batch_size=16", "--set", "epochs=3", "--out", "run")
    assert process.returncode == 0 and "stopped after epoch 1 of 3" in process.stdout
    return tmp_path / "run"


@pytest.mark.parametrize("what", ["images", "labels"])
def test_resume_refuses_data_that_changed(what, ltcl, stopped):
    arrays = dict(np.load(stopped.parent / "a.npz"))
    changed = arrays | {what: np.roll(arrays[what], 1, axis=0)}
    np.savez(stopped.parent / "a.npz", **changed)
    process = ltcl("run", "--resume", "run")
    assert process.returncode == 2 and "the data or split of run changed since" in process.stderr
    np.savez(stopped.parent / "a.npz", **arrays)
    assert ltcl("run", "--resume", "run").returncode == 0


@pytest.mark.parametrize(
    "change", [{"lr": 0.03}, {"temperature": 0.3}, {"weight_decay": 0.0}, {"epochs": 4}]
)
def test_resume_refuses_parameters_that_changed(change, ltcl, stopped):
    content = store.read_json(stopped / "config.json")
    store.write_json(stopped / "config.json", content | change)
    process = ltcl("run", "--resume", "run")
    assert process.returncode == 2 and "config.json of run changed since" in process.stderr
    elsewhere = content | {
        "device": "cpu",
        "checkpoint_seconds": 7.0,
    }  # where it is made may change
    store.write_json(stopped / "config.json", elsewhere)
    assert ltcl("run", "--resume", "run").returncode == 0


def test_a_finished_runs_files_are_checked(ltcl, stopped):
    assert ltcl("run", "--resume", "run").returncode == 0
    assert Run.load(stopped).class_counts.tolist() == [16] * 4
    content = store.read_json(stopped / "config.json")
    store.write_json(stopped / "config.json", content | {"epochs": 9})
    process = ltcl("run", "--resume", "run")
    assert process.returncode == 2 and "config.json has sha256" in process.stderr


def test_a_second_process_is_refused_while_the_first_lives(ltcl, stopped):
    holder = (
        "import sys, time; from pathlib import Path; from ltcl_helpers import store\n"
        "with store.lock(Path('run')): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", holder]
    with subprocess.Popen(command, cwd=stopped.parent, stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"held\n"
        process = ltcl("run", "--resume", "run")
        assert process.returncode == 2 and "another process is at work on run" in process.stderr
        first.send_signal(signal.SIGKILL)  # leaves nothing behind
    assert ltcl("run", "--resume", "run").returncode == 0


def test_a_last_batch_of_one_image_is_refused_before_training(ltcl, tmp_path):
    np.savez(tmp_path / "a.npz", images=SIXTY_FOUR[:33], labels=np.arange(33) % 3)
    settings = ["--data", "npz:a.npz", "--split", "all", "--preset", "tiny", "--method", "sdclr"]
    settings += ["--set", "batch_size=16", "--set", "epochs=1", "--out", "run"]
    process = ltcl("run", *settings, "--set", "equal_batches=false")
    assert process.returncode == 2 and "last batch of 1 image" in process.stderr
    assert not (tmp_path / "run").exists()


def test_folders_of_images_train_and_probe(ltcl, tmp_path):
    draw = np.random.default_rng(0)
    for part, count in (("train", 40), ("val", 10)):
        for name, low in (("dark", 0), ("light", 128)):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(low, low + 128, (20 + i, 30, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    (tmp_path / "photos" / "train" / ".ipynb_checkpoints").mkdir()  # no class
    (tmp_path / "photos" / "train" / "dark" / "._0.png").write_text("of a file manager")
    process = ltcl(
        "run", "--data", "folder:photos@16", "--split", "all", "--preset", "tiny", "--out", "run"
    )
    assert process.returncode == 0, process.stderr
    process = ltcl("probe", "run", "--shots", "20,full,1%", "--protocol", "logistic")
    assert process.returncode == 0, process.stderr
    rows = store.read_parquet(tmp_path / "run" / "probe.parquet")
    assert set(rows["shots"]) == {"20", "full", "1%"} and set(rows["group"]) == {"all", "top5"}
    full = rows[(rows["shots"] == "full") & (rows["group"] == "all")]
    assert full["accuracy"].item() > 0.9  # dark against light


@pytest.mark.parametrize(
    ("given", "policy", "count"),
    [
        ({}, "passive", "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "passive", "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE", None),
    ],
)
def test_threads_wait_shortly_unless_the_environment_says_how(given, policy, count, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(given))
    assert cli.main(["run", "--preset", "unknown"]) == 2
    assert os.environ.get("OMP_WAIT_POLICY") == policy
    assert os.environ.get("GOMP_SPINCOUNT") == count
