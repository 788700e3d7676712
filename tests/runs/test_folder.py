"""Files are whole or absent, damage is found, and nothing in them runs."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

from ltcl_helpers import files, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError, DamagedFile
from ltcl_helpers.runs import done as run_done

LAPTOP = {"device": "cpu", "threads": 1, "precision": "float32", "torch": "2"}


class Evil:
    """Pickled, it makes a file when loaded."""

    def __reduce__(self):
        return os.mkdir, ("evil-ran",)


def make_run(folder):
    folder.mkdir()
    files.write_json(folder / "config.json", {"preset": "tiny"})
    files.write_npz(folder / "memory.npz", momentum_loss=np.zeros((2, 5), np.float16))
    files.write_bytes(folder / "encoder.safetensors", b"weights")
    runs.seal(folder, "config.json", "memory.npz", "encoder.safetensors", machines=[LAPTOP])
    return folder


def test_a_place_without_a_finished_run_is_named(tmp_path):
    make_run(tmp_path / "one")
    assert runs.finished(tmp_path) == runs.finished(tmp_path / "one") == [tmp_path / "one"]
    with pytest.raises(ConfigError, match="absent is no finished run and holds none"):
        runs.finished([tmp_path, tmp_path / "absent"])


def test_a_failed_write_leaves_the_old_file_and_no_leftovers(tmp_path, monkeypatch):
    path = tmp_path / "rows.json"
    files.write_json(path, {"old": 1})
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write_json(path, {"new": 2})
    assert files.read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["rows.json"]


# Writes version after version; at version 2 it kills itself for good at a chosen moment.
WRITER = """
import io, os, signal, stat
from pathlib import Path
import numpy as np
from ltcl_helpers import files

def die(*given, **named):
    os.kill(os.getpid(), signal.SIGKILL)

class Half(io.FileIO):
    def write(self, content):
        super().write(content[: len(content) // 2])
        die()

def sync(number, work=os.fsync):
    die() if stat.S_ISDIR(os.fstat(number).st_mode) else work(number)

for version in (1, 2):
    if version == 2:
        {moment}
    files.write_npz(Path("a.npz"), version=np.full(200_000, version))
"""
MOMENTS = {  # and the version that is then there
    "files.open = Half": 1,
    "os.fsync = die": 1,  # written, but perhaps not on the disk
    "os.replace = die": 1,  # on the disk, without its name
    "Path.unlink = die": 2,
    "os.fsync = sync": 2,  # the file's name is perhaps not on the disk
}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_writer_killed_at_the_worst_moments_leaves_a_whole_file(moment, cold, tmp_path):
    killed = cold.call(cwd=tmp_path, before=WRITER.format(moment=moment))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert np.unique(files.read_npz(tmp_path / "a.npz")["version"]).tolist() == [MOMENTS[moment]]
    files.write_npz(tmp_path / "a.npz", version=np.full(9, 3))  # what was left is in nobody's way
    assert np.unique(files.read_npz(tmp_path / "a.npz")["version"]).tolist() == [3]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_writer_killed_from_outside_leaves_a_whole_file(tmp_path):
    """At whatever moment that is, after it has begun a further version."""
    code = WRITER.format(moment="pass").replace("in (1, 2)", "in range(1, 10**9)")
    for after in (2, 3, 5):
        (tmp_path / "a.npz").unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) as writer:
            try:
                wait_for_version(tmp_path / "a.npz", after, writer)
            finally:
                writer.send_signal(signal.SIGKILL)
        [version] = np.unique(files.read_npz(tmp_path / "a.npz")["version"])
        assert version >= after


def wait_for_version(path, version, writer, patience=300):
    """Wait until a file holds this version; patience ends what hangs."""
    end = time.monotonic() + patience
    while not path.exists() or files.read_npz(path)["version"][0] < version:
        assert writer.poll() is None, "the writer ended"
        assert time.monotonic() < end, "nothing is written"
        time.sleep(0.01)


@pytest.mark.parametrize("name", ["config.json", "memory.npz", "encoder.safetensors"])
def test_a_flipped_byte_anywhere_is_found(tmp_path, name):
    folder = make_run(tmp_path / "run")
    runs.verify(folder)
    content = bytearray((folder / name).read_bytes())
    for at in np.random.default_rng(0).integers(len(content), size=20):
        damaged = content.copy()
        damaged[at] ^= 1
        (folder / name).write_bytes(damaged)
        with pytest.raises(DamagedFile, match=name):
            runs.verify(folder)


def test_done_must_be_there_and_hold(tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "memory.npz").unlink()
    with pytest.raises(DamagedFile, match="does not exist"):
        runs.verify(folder)
    (folder / "DONE.json").unlink()
    with pytest.raises(DamagedFile, match="--resume"):
        runs.verify(folder)


def test_tables_are_added_and_replaced_within_the_seal(tmp_path):
    folder = make_run(tmp_path / "run")
    for accuracy in (0.1, 0.2):
        rows = pd.DataFrame({"accuracy": [accuracy]})
        runs.add_file(folder, "probe.parquet", files.parquet_bytes(rows))
        assert "probe.parquet" in runs.verify(folder)["files"]
    assert files.read_parquet(folder / "probe.parquet")["accuracy"].tolist() == [0.2]
    assert runs.verify(folder)["machines"] == [LAPTOP]


def test_a_record_keeps_rows_and_the_digests_of_the_weights(tmp_path):
    folder = make_run(tmp_path / "run")
    runs.record(folder, tmp_path / "results" / "run")
    done = runs.verify(tmp_path / "results" / "run")
    assert done["left_out"] == ["encoder.safetensors"]
    assert done["files"] == runs.verify(folder)["files"]
    assert not (tmp_path / "results" / "run" / "encoder.safetensors").exists()
    with pytest.raises(ConfigError, match="exists"):
        runs.record(folder, tmp_path / "results" / "run")


def test_checkpoints_keep_two_and_fall_back_when_the_newest_is_damaged(tmp_path, caplog):
    assert runs.load_checkpoint(tmp_path) is None
    for epoch in (1, 2, 3):
        runs.save_checkpoint(tmp_path, epoch, {"epoch": epoch, "w": torch.full((4,), epoch)})
    newest, older = runs.checkpoints(tmp_path)
    assert runs.load_checkpoint(tmp_path)["epoch"] == 3
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 16
    newest.write_bytes(content)
    assert runs.load_checkpoint(tmp_path)["epoch"] == 2
    assert newest.name in caplog.text
    older.write_bytes(older.read_bytes()[:-5])
    with pytest.raises(DamagedFile, match="every checkpoint"):
        runs.load_checkpoint(tmp_path)


def test_no_code_runs_from_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "a.npz", images=np.array([Evil()], dtype=object))
    with pytest.raises(DamagedFile, match=r"a\.npz"):
        files.read_npz(tmp_path / "a.npz")
    buffer = io.BytesIO()
    torch.save({"state": Evil()}, buffer)
    content = buffer.getvalue()
    (tmp_path / f"checkpoint-000001-{files.sha256(content)[:16]}.pt").write_bytes(content)
    with pytest.raises(DamagedFile, match="every checkpoint"):
        runs.load_checkpoint(tmp_path)
    assert not (tmp_path / "evil-ran").exists()


def test_git_commit_and_versions_are_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("LTCL_GIT_COMMIT", "0123456789" * 4)
    done = files.read_json(make_run(tmp_path / "run") / "DONE.json")
    named = {"ltcl-helpers", "numpy", "pandas", "scikit-learn", "torch", "torchvision"}
    assert set(done["versions"]) == named and "absent" not in done["versions"].values()
    for package in (np, pd, torch):  # without a build's own mark, as in 2.11.0+cpu
        told = done["versions"][package.__name__].split("+")[0]
        assert told == str(package.__version__).split("+")[0]
    assert done["git_commit"] == "0123456789" * 4
    assert runs.version("no-such-package") == "absent"


@pytest.fixture
def kit(tmp_path, monkeypatch):
    """Where the package seems to lie; git reads nobody's settings there and looks no higher."""
    (tmp_path / "kit" / "ltcl_helpers").mkdir(parents=True)
    module = tmp_path / "kit" / "ltcl_helpers" / "files.py"
    module.write_text("1")
    monkeypatch.setattr(run_done, "ROOT", tmp_path / "kit")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("LTCL_GIT_COMMIT", raising=False)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return tmp_path / "kit"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_the_clones_and_says_when_files_differ(kit, monkeypatch):
    def git(*words):
        names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *names, *words], cwd=kit, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    git("tag", "-a", "v1", "-m", "a name that is not what is recorded")
    head = git("rev-parse", "HEAD")
    assert len(head) == 40 and runs.git_commit() == head
    (kit / "results.csv").write_text("new, and not git's")
    assert runs.git_commit() == head
    (kit / "ltcl_helpers" / "files.py").write_text("2")
    assert runs.git_commit() == head + "+"
    monkeypatch.setenv("LTCL_GIT_COMMIT", "given")
    assert runs.git_commit() == "given"


def test_without_a_clone_or_without_git_the_commit_is_unknown(kit, monkeypatch):
    assert runs.git_commit() == "unknown"
    monkeypatch.setenv("PATH", str(kit))
    assert runs.git_commit() == "unknown"


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(DamagedFile, match="rows.parquet is not readable"):
        files.read_parquet(tmp_path / "rows.parquet")


# --- what is written, and what is refused ------------------------------------------------------


def says(kind, call, *given):
    with pytest.raises(kind) as caught:
        call(*given)
    return str(caught.value)


def test_a_checkpoint_is_named_by_its_epoch_and_digest_and_opened_where_there_is_no_gpu(
    tmp_path, monkeypatch
):
    for epoch in (1, 2, 30):
        runs.save_checkpoint(tmp_path, epoch, {"epoch": epoch})
    newest, older = runs.checkpoints(tmp_path)
    digest = files.sha256(newest)[:16]
    assert newest.name == f"checkpoint-000030-{digest}.pt" and "-000002-" in older.name
    asked, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda file, **how: asked.append(how) or load(file, **how))
    assert runs.load_checkpoint(tmp_path) == {"epoch": 30}
    assert asked == [{"weights_only": True, "map_location": "cpu"}]


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_whole_one(tmp_path):
    """A run fell back to epoch 10 from a damaged 20: behind it two whole ones stay, as ever."""
    runs.save_checkpoint(tmp_path, 10, {"epoch": 10})
    (tmp_path / "checkpoint-000020-0123456789abcdef.pt").write_bytes(b"half a checkpoint")
    assert runs.load_checkpoint(tmp_path)["epoch"] == 10
    for epoch in (11, 12):
        runs.save_checkpoint(tmp_path, epoch, {"epoch": epoch})
    newest, older = runs.checkpoints(tmp_path)
    newest.write_bytes(b"cut")
    assert runs.load_checkpoint(tmp_path)["epoch"] == 11


def test_an_epoch_that_is_made_again_leaves_the_whole_one_before_it(tmp_path):
    """The newest was damaged; its epoch, made again, has another digest, as it has another time."""
    for epoch in (2, 3):
        runs.save_checkpoint(tmp_path, epoch, {"epoch": epoch, "seconds": 9})
    damaged, older = runs.checkpoints(tmp_path)
    damaged.write_bytes(b"cut")
    for seconds in range(5):  # whatever digest it has
        runs.save_checkpoint(tmp_path, 3, {"epoch": 3, "seconds": seconds})
        newest, kept = runs.checkpoints(tmp_path)
        assert kept == older and newest != damaged
    newest.write_bytes(b"cut")
    assert runs.load_checkpoint(tmp_path)["epoch"] == 2


def test_why_a_checkpoint_is_passed_over_is_said(tmp_path, caplog):
    content = b"no checkpoint"
    name = f"checkpoint-000009-{files.sha256(content)[:16]}.pt"
    (tmp_path / name).write_bytes(content)
    (tmp_path / CHECKPOINT).write_bytes(content)
    wrong = says(DamagedFile, runs.load_checkpoint, tmp_path)
    assert wrong == f"every checkpoint in {tmp_path} is damaged; start the run again"
    first, second = (record.getMessage() for record in caplog.records)
    assert (
        first == f"{tmp_path / name} is no checkpoint of this kit (UnpicklingError); trying older"
    )
    assert second.endswith(
        "cdef.pt is damaged (its digest is not the one in its name); trying older"
    )


def test_finished_runs_are_found_by_study_by_folder_and_as_they_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(runs.folder, "RESULTS", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "study").mkdir(parents=True)
    for name in ("b", "a"):
        make_run(tmp_path / "results" / "study" / name)
    study = [tmp_path / "results" / "study" / name for name in ("a", "b")]
    assert runs.finished("study") == study == runs.finished(tmp_path / "results" / "study")
    assert runs.finished("study/b") == [study[1]]
    assert runs.finished([study[1], "study"]) == study[::-1]  # each once
    wrong = "absent is no finished run and holds none; `ltcl run` makes one"
    assert says(ConfigError, runs.finished, "absent") == wrong


def test_released_encoders_are_known_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(runs.folder, "WEIGHTS", tmp_path)
    wrong = f"{tmp_path} holds no weights; they come with a clone of the kit"
    assert says(ConfigError, runs.released, "a") == wrong
    for name in ("b", "a"):
        make_run(tmp_path / name)
    (tmp_path / "c").mkdir()
    assert runs.released("b") == tmp_path / "b"
    assert says(ConfigError, runs.released, "c") == "weights are 'c'; released are a, b"


def test_a_folder_that_holds_more_than_leftovers_is_used(tmp_path):
    runs.refuse_used(tmp_path / "absent")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".lock").touch()
    runs.refuse_used(tmp_path / "new")
    (tmp_path / "new" / "notes.txt").touch()
    (tmp_path / "file").touch()
    for name in ("new", "file"):
        place = tmp_path / name
        assert says(ConfigError, runs.refuse_used, place) == (f"{place} exists; name another --out")
    (tmp_path / "new" / "config.json").touch()
    assert says(ConfigError, runs.refuse_used, tmp_path / "new") == (
        f"{tmp_path}/new exists; `ltcl run --resume {tmp_path}/new` goes on with it, or name "
        "another --out"
    )


def test_a_place_is_tried_with_a_file_that_does_not_stay(tmp_path, monkeypatch):
    sizes, write = [], runs.folder.write_bytes
    note = lambda path, content: sizes.append(len(content)) or write(path, content)  # noqa: E731
    monkeypatch.setattr(runs.folder, "write_bytes", note)
    runs.refuse_unwritable(tmp_path)
    assert sizes == [4096] and not list(tmp_path.iterdir())


CHECKPOINT = "checkpoint-000001-0123456789abcdef.pt"


def test_only_what_was_left_behind_is_swept(tmp_path):
    names = (
        ".rows.7.part",
        "rows.part",
        ".lock",
        CHECKPOINT,
        "encoder.pt",
    )
    for name in names:
        (tmp_path / name).touch()
    runs.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names[1:])
    (tmp_path / "DONE.json").touch()
    runs.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*names[1:3], names[4], "DONE.json"}


def test_a_folder_without_a_run_or_with_another_one_is_refused(tmp_path):
    place = tmp_path / "run"
    wrong = f"{place} does not exist, or is no folder; name a run's"
    assert says(ConfigError, runs.read_config, place) == wrong
    place.mkdir()
    begin = "begin one: ltcl run --out ..."
    wrong = f"{place} holds no run (no config.json); {begin}"
    assert says(ConfigError, runs.read_config, place) == wrong
    config = RunConfig(preset="tiny", data="npz:a.npz", split="there/list.npy")
    runs.begin(place, config)
    assert runs.read_config(place) == config
    runs.refuse_other(place, config, "--out")
    moved = RunConfig(preset="tiny", data="npz:b.npz", split="here/list.npy")
    runs.refuse_other(place, moved, "--out", elsewhere=True)
    wanted = RunConfig(preset="tiny", data="npz:a.npz", split="there/list.npy", epochs=7, seed=1)
    apart = "epochs 2, not 7"
    assert says(ConfigError, runs.refuse_other, place, moved, "--out").startswith(
        f"{place} holds a run with data 'npz:a.npz', not 'npz:b.npz', split "
    )
    assert says(ConfigError, runs.refuse_other, place, wanted, "--runs") == (
        f"{place} holds a run with seed 0, not 1, {apart}; name another --runs"
    )


def test_a_record_is_of_the_kits_own_files_and_never_takes_anothers_place(tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "run.ipynb").write_text("{}")
    (folder / "notes.txt").write_text("mine")
    runs.seal(folder, "run.ipynb", "notes.txt")  # as older versions did
    (tmp_path / ".kept.part").mkdir()
    (tmp_path / ".kept.part" / "left.txt").touch()
    runs.record(folder, tmp_path / "kept")
    there = {path.name for path in (tmp_path / "kept").iterdir()}
    assert there == {"config.json", "memory.npz", "DONE.json"}
    done = runs.verify(tmp_path / "kept")
    assert sorted(done["left_out"]) == ["encoder.safetensors", "run.ipynb"]
    assert set(done["files"]) == {*done["left_out"], "config.json", "memory.npz"}
    wrong = f"{tmp_path / 'kept'} exists; name a new folder or delete that one first"
    assert says(ConfigError, runs.record, folder, tmp_path / "kept") == wrong
    (folder / "config.json").rename(tmp_path / "config.json")
    (folder / "config.json").symlink_to(tmp_path / "config.json")
    wrong = f"{folder / 'config.json'} is a link; put the file itself there"
    assert says(ConfigError, runs.record, folder, tmp_path / "deep" / "kept") == wrong
    assert not (tmp_path / "deep" / "kept").exists()


def test_a_held_folder_is_refused_or_waited_for(tmp_path, monkeypatch):
    with runs.lock(tmp_path):
        assert (tmp_path / ".lock").exists()
        wrong = says(ConfigError, lambda: runs.lock(tmp_path).__enter__())
    busy = "wait for it, or name another folder"
    assert wrong == f"another process is at work on {tmp_path}; {busy}"
    asked, hold = [], files.hold
    note = lambda path, wait: asked.append(wait) or hold(path, wait)  # noqa: E731
    monkeypatch.setattr(runs.folder, "hold", note)
    for given in ([], [True]):
        with runs.lock(tmp_path, *given):
            pass
    assert asked == [False, True]


def test_what_an_owner_calls_like_a_checkpoint_is_none(tmp_path):
    for name in ("checkpoint-best.pt", "checkpoint-000003.pt", "checkpoint-finetuned-0.pt"):
        (tmp_path / name).write_bytes(b"mine")
    runs.save_checkpoint(tmp_path, 2, {"epoch": 2})
    assert [path.name[:17] for path in runs.checkpoints(tmp_path)] == ["checkpoint-000002"]
    assert runs.load_checkpoint(tmp_path)["epoch"] == 2
    (tmp_path / "DONE.json").touch()
    runs.sweep(tmp_path)
    left = {path.name for path in tmp_path.glob("checkpoint-*")}
    assert left == {"checkpoint-best.pt", "checkpoint-000003.pt", "checkpoint-finetuned-0.pt"}
