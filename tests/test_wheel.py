"""The built package in an environment of its own, called from a folder that is no clone."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ltcl_helpers.paths import ROOT

GRID = """
base: {preset: tiny, data: npz:toy_train.npz, epochs: 1, batch_size: 16, split: all, device: cpu}
rows: {simclr: {}}
probe: {shots: 5, protocol: logistic}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Call `ltcl` of the installed wheel in a folder with an .npz; other packages are borrowed."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [wheel] = folder.glob("*.whl")
    home = folder / "env"
    venv.create(home, symlinks=os.name != "nt")
    paths = sysconfig.get_paths(vars={"base": str(home), "platbase": str(home)})
    python = Path(paths["scripts"]) / ("python.exe" if os.name == "nt" else "python")
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps"]
    subprocess.run([*install, "--python", python, wheel], check=True)
    borrowed = Path(paths["purelib"]) / "borrowed.pth"
    borrowed.write_text(sysconfig.get_paths()["purelib"])

    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    draw = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 5)):
        labels = np.repeat(np.arange(4), count)
        images = draw.integers(0, 256, (len(labels), 8, 8, 3), np.uint8)
        np.savez(elsewhere / f"toy_{part}.npz", images=images, labels=labels)
    (elsewhere / "toy.yaml").write_text(GRID)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "JUPYTER_PREFER_ENV_PATH": "1"}
    environment.pop("PYTHONPATH", None)

    def call(*words):
        command = [python, "-m", "ltcl_helpers", *words]
        return subprocess.run(
            command, cwd=elsewhere, env=environment, capture_output=True, text=True
        )

    call.folder, call.wheel, call.python = elsewhere, wheel, python
    return call


def test_the_wheel_carries_the_package_and_what_its_commands_need(installed):
    names = zipfile.ZipFile(installed.wheel).namelist()
    for file in (
        "kit/notebooks/run_one.ipynb",
        "kit/data/published.csv",
        "kit/data/splits/published.json",
        "explorer/front/homes.mjs",
        "explorer/front/explorer.css",
        "course/grading.py",
        "runs/run.py",
        "py.typed",
    ):
        assert f"ltcl_helpers/{file}" in names
    assert not [name for name in names if not name.startswith("ltcl_helpers")]
    assert len({name for name in names if "kit/" in name}) == 3


def test_the_commands_work_from_another_folder(installed):
    where = "import ltcl_helpers; print(ltcl_helpers.__file__)"
    command = [installed.python, "-c", where]
    found = subprocess.run(command, cwd=installed.folder, capture_output=True, text=True)
    assert str(installed.folder.parent) in found.stdout  # not the clone's

    done = installed("batch", "toy.yaml", "--workers", "1")
    assert done.returncode == 0, done.stderr
    run = installed.folder / "runs" / "toy" / "simclr"
    assert json.loads((run / "DONE.json").read_text())["git_commit"] == "unknown"
    assert (run / "run.ipynb").exists()

    done = installed("run", "--resume", run)
    assert done.returncode == 0 and "done: " in done.stdout, done.stderr
    done = installed("probe", run, "--shots", "full", "--protocol", "knn")
    assert done.returncode == 0, done.stderr
    assert set(pd.read_parquet(run / "probe.parquet")["protocol"]) == {"logistic", "knn"}
    done = installed("explore", run, "--out", "explorer.html")
    assert done.returncode == 0, done.stderr
    done = installed("report", "toy.yaml", "--out", "report.html")
    assert done.returncode == 0, done.stderr
    page = (installed.folder / "report.html").read_text(encoding="utf-8")
    assert "No published number belongs here" in page


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("grade", "mine.ipynb", "--out", "g.csv"), "lessons"),
        (("editions",), "lesson"),
        (("site", "."), "holds no executed lesson"),
        (("report", "shapes-simclr"), "no finished run"),
        (("data", "verify", "splits"), "ltcl data get splits"),
        (("data", "verify", "cifar10"), "ltcl data get cifar10"),
    ],
)
def test_what_needs_more_says_so_in_one_line(installed, words, says):
    (installed.folder / "mine.ipynb").write_text('{"cells": []}')
    done = installed(*words)
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("ltcl: ") and says in line
