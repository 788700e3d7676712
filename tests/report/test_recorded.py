"""recorded.sh as on a bare machine: packed, stopped, gone on with, brought back, probed."""

import ast
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest

from ltcl_helpers import files, paths, runs

ROOT = paths.ROOT
TINY = ["--preset", "tiny", "--set", "checkpoint_seconds=0", "--set", "epochs=3"]


@pytest.fixture
def kit(tmp_path):
    """A folder with the package and the script, no .git; beside it "full" data and its lists."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    (tmp_path / "kit" / "experiments").mkdir(parents=True)
    (tmp_path / "kit" / "data").mkdir()
    shutil.copy(ROOT / "experiments" / "recorded.sh", tmp_path / "kit" / "experiments")
    (tmp_path / "kit" / "ltcl_helpers").symlink_to(ROOT / "ltcl_helpers")
    (tmp_path / "kit" / "data" / "splits").mkdir()
    shutil.copy(ROOT / "data" / "splits" / "published.json", tmp_path / "kit" / "data" / "splits")
    draw, labels = np.random.default_rng(0), np.arange(1600) % 4
    images = draw.integers(0, 256, (1600, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "cifar100_train.npz", images=images, labels=labels)
    np.savez(tmp_path / "cifar100_test.npz", images=images[:200], labels=labels[:200])
    lists = tmp_path / "lists" / "cifar100_imbSub_with_subsets"
    lists.mkdir(parents=True)
    kept = [p for c, n in enumerate((120, 40, 20, 8)) for p in range(c, 1600, 4)[:n]]
    np.save(lists / "cifar100_split1_D_i.npy", kept)
    np.save(lists / "cifar100_split1_test_10shot.npy", np.arange(800, 840))
    return tmp_path / "kit"


@pytest.fixture
def bare(tmp_path):
    """A Python that finds what recorded.sh asks for, what that needs itself, and nothing else."""
    script = (ROOT / "experiments" / "recorded.sh").read_text()
    asked = ast.literal_eval(re.search(r"^needed = (.*)$", script, re.MULTILINE)[1])
    return python_without(
        tmp_path / "bare", lambda name: name not in with_needs([*asked, "pyarrow"])
    )


def with_needs(names):
    """These distributions and all that they need, by their names in lower case."""
    found, left = set(), [name.replace("_", "-") for name in names]
    while left:
        name = re.split(r"[^\w.-]", left.pop())[0].lower()
        if name in found:
            continue
        found.add(name)
        with contextlib.suppress(metadata.PackageNotFoundError):  # of another system or version
            needs = metadata.requires(name) or []
            left += [need for need in needs if "extra ==" not in need]
    return found


def python_without(folder, hidden):
    """A Python that does not find the modules of distributions that `hidden` says yes to."""
    absent = []
    for module, owners in metadata.packages_distributions().items():
        if module != "ltcl_helpers" and all(
            hidden(owner.lower().replace("_", "-")) for owner in owners
        ):
            absent.append(module)
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        f"ABSENT = set({absent!r})\n"
        "class Finder(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        if name.partition('.')[0] not in ABSENT:\n"
        "            return super().find_spec(name, path, target)\n"
        "sys.meta_path[sys.meta_path.index(PathFinder)] = Finder\n"
    )
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}:$PYTHONPATH" exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


def call(kit, *arguments, **variables):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHON": sys.executable, "WHEELS": ""}
    return subprocess.run(
        ["bash", "experiments/recorded.sh", *map(str, arguments)],
        cwd=kit, env=environment | variables, capture_output=True, text=True,
    )  # fmt: skip


def test_a_run_is_packed_stopped_gone_on_with_brought_back_and_probed(kit, bare):
    lists, out = kit.parent / "lists", kit.parent / "out"
    out.mkdir()
    call(kit, "pack", kit.parent / "cifar100_train.npz", lists)
    packed = np.load(kit / "packed" / "data" / "cifar100_train.npz")
    used = packed["images"].any((1, 2, 3))
    kept = np.load(lists / "cifar100_imbSub_with_subsets" / "cifar100_split1_D_i.npy")
    assert np.flatnonzero(used).tolist() == sorted(kept) and len(packed["labels"]) == 1600
    (kit / "packed" / "commit").write_text("0123456789" * 4)  # it has a .git where it is packed
    stopped = call(
        kit, "train", "one-0", "--method", "bcl-i", *TINY, MINUTES="1e-9", PYTHON=str(bare)
    )
    assert stopped.returncode == 0 and "stopped after epoch 1" in stopped.stdout, stopped.stderr
    early = call(kit, "bring", "one-0", out)
    assert early.returncode == 3 and "no DONE.json" in early.stderr and not any(out.iterdir())
    queue = kit.parent / "queue.txt"
    queue.write_text("# a queue\n\nwrong-0 --method nonsense\none-0 --method bcl-i\n")
    queued = call(kit, "queue", queue, PYTHON=str(bare))
    assert queued.returncode == 0 and "wrong-0 failed, the next begins" in queued.stderr
    assert "epoch 1 of" not in queued.stderr and "epoch 3 of 3" in queued.stderr
    assert call(kit, "bring", "one-0", out, 5).returncode == 0
    shutil.rmtree(kit / "runs")
    for part in ("train", "test"):  # back where the data is
        shutil.copy(kit.parent / f"cifar100_{part}.npz", kit / "data")
    kept_at = kit.parent / "results"
    probed = call(kit, "probe", "one-0", out, lists, SHOTS="10", RESULTS=str(kept_at))
    assert probed.returncode == 0, probed.stderr
    done = runs.verify(kept_at / "one-0")
    assert done["git_commit"] == "0123456789" * 4 and "encoder.safetensors" in done["left_out"]
    config = json.loads((kept_at / "one-0" / "config.json").read_text())
    assert (config["boost"], config["epochs"]) == ("memory", 3)
    assert set(files.read_parquet(kept_at / "one-0" / "probe.parquet")["shots"]) == {"10"}


def test_what_is_missing_is_said_before_a_run_begins(kit):
    absent = python_without(kit.parent / "absent", lambda name: name in ("pydantic", "pyarrow"))
    refused = call(kit, "train", "one-0", *TINY, PYTHON=str(absent))
    assert refused.returncode != 0
    assert "pydantic, fastparquet missing here" in refused.stderr
    assert not (kit / "runs").exists()
    assert call(kit, "nothing").returncode == 2
