"""Files are whole or absent, damage is found, and nothing in them runs."""

import io
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

from ltcl_helpers import store
from ltcl_helpers.config import ConfigError
from ltcl_helpers.store import DamagedFile


class Evil:
    """Pickled, it makes a file when loaded."""

    def __reduce__(self):
        return os.mkdir, ("evil-ran",)


def make_run(folder):
    folder.mkdir()
    store.write_json(folder / "config.json", {"preset": "tiny"})
    store.write_npz(folder / "memory.npz", momentum_loss=np.zeros((2, 5), np.float16))
    store.write_bytes(folder / "encoder.safetensors", b"weights")
    store.seal(folder, machines=["a laptop"])
    return folder


def test_a_failed_write_leaves_the_old_file_and_no_leftovers(tmp_path, monkeypatch):
    path = tmp_path / "rows.json"
    store.write_json(path, {"old": 1})
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.write_json(path, {"new": 2})
    assert store.read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["rows.json"]


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path):
    code = (
        "import sys, numpy as np; from pathlib import Path; from ltcl_helpers import store\n"
        "k = 0\n"
        "while True:\n"
        "    k += 1; store.write_npz(Path(sys.argv[1]), k=np.full(200_000, k))"
    )
    path, seen = tmp_path / "a.npz", set()
    for wait in np.linspace(0.01, 0.4, 8):
        stamp, deadline = path.exists() and path.stat().st_mtime_ns, time.monotonic() + 60
        writer = subprocess.Popen([sys.executable, "-c", code, path])
        while stamp == (path.exists() and path.stat().st_mtime_ns):  # until it wrote once
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(wait)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        values = np.unique(store.read_npz(path)["k"])
        assert len(values) == 1
        seen.add(int(values[0]))
    assert max(seen) > 1


@pytest.mark.parametrize("name", ["config.json", "memory.npz", "encoder.safetensors"])
def test_a_flipped_byte_anywhere_is_found(tmp_path, name):
    folder = make_run(tmp_path / "run")
    store.verify(folder)
    content = bytearray((folder / name).read_bytes())
    for at in np.random.default_rng(0).integers(len(content), size=20):
        damaged = content.copy()
        damaged[at] ^= 1
        (folder / name).write_bytes(damaged)
        with pytest.raises(DamagedFile, match=name):
            store.verify(folder)


def test_done_must_be_there_and_hold(tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "memory.npz").unlink()
    with pytest.raises(DamagedFile, match="does not exist"):
        store.verify(folder)
    (folder / "DONE.json").unlink()
    with pytest.raises(DamagedFile, match="--resume"):
        store.verify(folder)


def test_tables_are_added_and_replaced_within_the_seal(tmp_path):
    folder = make_run(tmp_path / "run")
    for accuracy in (0.1, 0.2):
        store.add_table(folder, "probe.parquet", pd.DataFrame({"accuracy": [accuracy]}))
        assert "probe.parquet" in store.verify(folder)["files"]
    assert store.read_parquet(folder / "probe.parquet")["accuracy"].tolist() == [0.2]
    assert store.verify(folder)["machines"] == ["a laptop"]


def test_a_record_keeps_rows_and_the_digests_of_the_weights(tmp_path):
    folder = make_run(tmp_path / "run")
    store.record(folder, tmp_path / "results" / "run")
    done = store.verify(tmp_path / "results" / "run")
    assert done["left_out"] == ["encoder.safetensors"]
    assert done["files"] == store.verify(folder)["files"]
    assert not (tmp_path / "results" / "run" / "encoder.safetensors").exists()
    with pytest.raises(ConfigError, match="exists"):
        store.record(folder, tmp_path / "results" / "run")


def test_checkpoints_keep_two_and_fall_back_when_the_newest_is_damaged(tmp_path, caplog):
    assert store.load_checkpoint(tmp_path) is None
    for epoch in (1, 2, 3):
        store.save_checkpoint(tmp_path, epoch, {"epoch": epoch, "w": torch.full((4,), epoch)})
    newest, older = store.checkpoints(tmp_path)
    assert store.load_checkpoint(tmp_path)["epoch"] == 3
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 16
    newest.write_bytes(content)
    assert store.load_checkpoint(tmp_path)["epoch"] == 2
    assert newest.name in caplog.text
    older.write_bytes(older.read_bytes()[:-5])
    with pytest.raises(DamagedFile, match="every checkpoint"):
        store.load_checkpoint(tmp_path)


def test_no_code_runs_from_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "a.npz", images=np.array([Evil()], dtype=object))
    with pytest.raises(DamagedFile, match=r"a\.npz"):
        store.read_npz(tmp_path / "a.npz")
    buffer = io.BytesIO()
    torch.save({"state": Evil()}, buffer)
    content = buffer.getvalue()
    (tmp_path / f"checkpoint-000001-{store.sha256(content)[:16]}.pt").write_bytes(content)
    with pytest.raises(pickle.UnpicklingError):
        store.load_checkpoint(tmp_path)
    assert not (tmp_path / "evil-ran").exists()


def test_git_commit_and_versions_are_recorded(tmp_path):
    done = store.read_json(make_run(tmp_path / "run") / "DONE.json")
    named = {"ltcl-helpers", "numpy", "pandas", "scikit-learn", "torch", "torchvision"}
    assert set(done["versions"]) == named and "absent" not in done["versions"].values()
    assert done["versions"]["torch"] == torch.__version__.split("+")[0]
    assert done["git_commit"] == "unknown" or len(done["git_commit"]) >= 40
    assert store.version("no-such-package") == "absent"


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(DamagedFile, match="rows.parquet is not readable"):
        store.read_parquet(tmp_path / "rows.parquet")
