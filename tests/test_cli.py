"""The command, called as a person calls it."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ltcl_helpers import files, runs
from ltcl_helpers.runs.run import Run

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
        "table": [[1, 2]], "words": ["0", "1"],
    }.items():  # fmt: skip
        np.save(folder / f"{name}.npy", np.array(index, int if index == [] else None))
    np.save(folder / "signed.npy", np.array([-3, 1]).astype(np.uint64))
    (folder / "text.npy").write_text("0 1 2")
    (folder / "list.txt").write_text("0\n1\n2\n")
    (folder / "pile" / "train").mkdir(parents=True)
    Image.fromarray(SIXTY_FOUR[0]).save(folder / "pile" / "train" / "a.png")
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
    "--set boost_k=2": "boost_k, boost_rule, boost_scale, boost_noise need a boost",
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
    GOOD + " --split all --set drop_last=true": "equal_batches=false",
    GOOD + " --split all --set batch_size=65 --set equal_batches=false --set drop_last=true": (
        "batch_size is 65"
    ),
    GOOD + " --split {bad}/signed.npy": "position 18446744073709551613",
    GOOD + " --split {bad}/words.npy": "not one list of whole numbers",
    GOOD + " --split {bad}/list.txt": "of a text with a position a line",
    "--data folder:{bad}/pile": "a long tail needs 2 classes.*--split all",
    GOOD + " --set imbalance=1000": "smallest class empty",
    GOOD + " --set largest_class=17 --set imbalance=2": "16 images, 17 were asked",
    "--data folder:{bad}/noparts": "no folder train/",
    "--data folder:{bad}/noimages": "holds no images",
    "--data folder:{bad}/broken": "a.png is not a readable image",
    "--data folder:{bad}/nowhere": "nowhere does not exist",
    "--data folder:{bad}/broken@4": "allowed is 8 to 512",
    "--resume {bad}/notarun": "holds no run .no config.json.; begin one",
    "--resume {bad}/nowhere": "nowhere does not exist",
    "--sett epochs=3": "unrecognized arguments",
}


# Says, at the end of a process, which of the packages it has loaded that take seconds to load.
TELL = """
import atexit, sys
HEAVY = {{"torch", "torchvision", "pandas", "sklearn"}}
atexit.register(lambda: open({0!r}, "w").write(" ".join(sorted(HEAVY & set(sys.modules)))))
"""


@pytest.mark.parametrize("arguments", WRONG_RUNS)
def test_a_wrong_run_ends_soon_with_one_clear_line_and_creates_nothing(
    arguments, bad_files, cold, tmp_path
):
    """Soon: before torch is loaded, whatever the machine makes of that."""
    (place := tmp_path / "place").mkdir()
    out = [] if "--resume" in arguments else ["--out", "runs/new"]
    before = sorted(bad_files.rglob("*"))
    call = ["run", *arguments.format(bad=bad_files).split(), *out]
    process = cold.call(*call, cwd=place, before=TELL.format(str(tmp_path / "loaded")))
    assert process.returncode == 2, process.stderr
    (line,) = process.stderr.strip().splitlines()
    assert line.startswith("ltcl: ") and process.stdout == ""
    assert re.search(WRONG_RUNS[arguments], line), line
    assert list(place.iterdir()) == [] and sorted(bad_files.rglob("*")) == before
    assert (tmp_path / "loaded").read_text() == ""


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("", "COMMAND"),
        ("run", "--out is missing"),
        ("run --resume a --set epochs=3", "only --set of device, root"),
        ("probe nowhere", "not a finished run"),
        ("data fetch cifar10", "invalid choice"),
        ("data get mnist", "name is 'mnist'; allowed are"),
        ("data verify splits --root nowhere", "missing or damaged"),
        ("data get splits --source nowhere --root .", "cannot be read"),
        ("record nowhere target", "not a finished run"),
        ("bench tpu", "invalid choice"),
        ("train", "invalid choice"),
    ],
)
def test_other_wrong_calls(call, says, cold, tmp_path):
    process = cold.call(*call.split(), cwd=tmp_path)
    assert process.returncode == 2 and says in process.stderr
    assert len(process.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_home_folder_is_no_folder_called_tilde(ltcl, stopped, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    process = ltcl("run", "--resume=~/run", "--minutes", "1e-9")
    assert process.returncode == 0, process.stderr
    settings = ["--data", "npz:~/a.npz", "--split=all", "--preset=tiny", "--set=batch_size=16"]
    process = ltcl("run", *settings, "--set=epochs=0", "--out=~/other")
    assert process.returncode == 0 and (tmp_path / "other" / "DONE.json").exists()
    assert not (tmp_path / "~").exists()


def test_help_says_what_there_is(ltcl):
    process = ltcl("--help", fresh=True)
    assert process.returncode == 0
    for command in ("run", "probe", "data", "bench", "record"):
        assert command in process.stdout


def digest_of(folder):
    """The result of a run without its clock."""
    done = runs.verify(folder)
    history = files.read_parquet(folder / "history.parquet").drop(columns="seconds")
    others = {n: d for n, d in done["files"].items() if n != "history.parquet"}
    return others, hashlib.sha256(history.to_csv().encode()).hexdigest()


# Kills the process for good, as it begins a chosen call of a chosen function.
KILL = """
import itertools, os, signal
from pathlib import Path
from ltcl_helpers.methods import memory
from ltcl_helpers.runs import run as ended

number, work = itertools.count(1), {function}

def watched(*given, **named):
    if next(number) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return work(*given, **named)

{function} = watched
"""
BATCHES = 3  # of an epoch of this run
MOMENTS = [  # the function, its call, and the epoch of the newest checkpoint that is then there
    ("memory.MomentumLoss.update", 2, 0),  # amid the first epoch
    ("os.replace", 2, 1),  # the checkpoint of epoch 2 is written, but has no name yet
    ("Path.unlink", 2, 2),  # the part left by the last kill is removed; it has its name
    ("memory.MomentumLoss.update", BATCHES + 2, 3),  # amid epoch 4
    ("ended.seal", 1, 5),  # all files of the result are there, but DONE.json
]


def test_killed_at_five_moments_and_resumed_equals_never_killed(ltcl, tmp_path):
    """Moments that are chosen, not drawn: the worst ones, and the same on every machine."""
    settings = ["--preset", "tiny", "--method", "bcl-d", "--set", "epochs=5"]
    settings += ["--set", "largest_class=16", "--set", "batch_size=32"]
    whole = ltcl("run", *settings, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    assert whole.stderr.count("epoch ") == 5
    call = [*settings, "--out", "killed"]
    for function, count, epoch in MOMENTS:
        process = ltcl("run", *call, before=KILL.format(function=function, call=count))
        assert process.returncode == -signal.SIGKILL, process.stderr  # neither ended nor failed
        assert not (tmp_path / "killed" / "DONE.json").exists()
        found = runs.checkpoints(tmp_path / "killed")
        assert (int(found[0].name.split("-")[1]) if found else 0) == epoch, function
        call = ["--resume", "killed"]
    resumed = ltcl("run", "--resume", "killed", fresh=True)
    assert resumed.returncode == 0, resumed.stderr
    assert digest_of(tmp_path / "killed") == digest_of(tmp_path / "whole")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").iterdir()}
    again = ltcl("run", "--resume", "killed")  # a finished run is checked, not run again
    assert again.returncode == 0 and "epoch" not in again.stderr
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").iterdir()}


@pytest.fixture(scope="module")
def stopped_once(warm, tmp_path_factory):
    """A run on an .npz, stopped after its first of three epochs."""
    folder = tmp_path_factory.mktemp("stopped")
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), np.uint8)
    np.savez(folder / "a.npz", images=images, labels=np.arange(64) % 4)
    settings = ["--data", "npz:a.npz", "--split", "all", "--preset", "tiny", "--minutes", "1e-9"]
    settings += ["--set", "batch_size=16", "--set", "epochs=3", "--out", "run"]
    process = warm.call("run", *settings, cwd=folder)
    assert process.returncode == 0 and "stopped after epoch 1 of 3" in process.stdout
    return folder


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """That run in a folder of the test's own, where `ltcl` is called."""
    shutil.copytree(stopped_once, tmp_path, dirs_exist_ok=True)
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
    content = files.read_json(stopped / "config.json")
    files.write_json(stopped / "config.json", content | change)
    process = ltcl("run", "--resume", "run")
    assert process.returncode == 2 and "config.json of run changed since" in process.stderr
    elsewhere = content | {"device": "cpu", "checkpoint_seconds": 7.0}  # may change
    files.write_json(stopped / "config.json", elsewhere)
    assert ltcl("run", "--resume", "run").returncode == 0


def test_a_finished_runs_files_are_checked(ltcl, stopped):
    assert ltcl("run", "--resume", "run").returncode == 0
    assert Run.load(stopped).class_counts.tolist() == [16] * 4
    content = files.read_json(stopped / "config.json")
    files.write_json(stopped / "config.json", content | {"epochs": 9})
    process = ltcl("run", "--resume", "run")
    assert process.returncode == 2 and "config.json has sha256" in process.stderr


def test_a_probe_whose_rows_could_not_be_kept_is_not_begun(ltcl, stopped):
    assert ltcl("run", "--resume", "run").returncode == 0
    (stopped / ".trial").mkdir()  # even root cannot write a file of that name
    process = ltcl("probe", "run")
    assert process.returncode == 1 and ".trial" in process.stderr, process.stderr
    assert len(process.stderr.strip().splitlines()) == 1


def test_a_second_process_is_refused_while_the_first_lives(ltcl, stopped):
    holder = (
        "import sys; from pathlib import Path; from ltcl_helpers import runs\n"
        "with runs.lock(Path('run')): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # it holds on until it is killed
    with subprocess.Popen(command, cwd=stopped.parent, **pipes) as first:
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
    for features in ("encoder", "pixels"):
        given = ["--shots", "20,full,1%", "--protocol", "logistic", "--features", features]
        process = ltcl("probe", "run", *given)
        assert process.returncode == 0, process.stderr
    rows = files.read_parquet(tmp_path / "run" / "probe.parquet")
    for _, found in rows.groupby("features"):
        assert set(found["shots"]) == {"20", "full", "1%"}
        assert set(found["group"]) == {"all", "top5"}
        assert set(found.loc[found["group"] == "top5", "accuracy"]) == {1.0}  # of two classes
    # Every pixel alone tells dark from light: labels and images must belong to each other.
    full = rows[(rows["shots"] == "full") & (rows["group"] == "all")].set_index("features")
    assert full.loc["pixels", "accuracy"] == 1.0
    assert full.loc["pixels", "images"] == full.loc["encoder", "images"] == 80


@pytest.mark.parametrize(
    ("given", "policy", "count"),
    [
        ({}, "passive", "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "passive", "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE", None),
    ],
)
def test_threads_wait_shortly_unless_the_environment_says_how(given, policy, count):
    names = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
    code = f"import os, ltcl_helpers; print([os.environ.get(name) for name in {names}])"
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.stdout.decode().strip() == str([policy, count])
