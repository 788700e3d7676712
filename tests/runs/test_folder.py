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
