"""What several tests need: golden values, real data when it is at hand."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture
def golden():
    """Load one file of golden values by name."""
    return lambda name: dict(np.load(ROOT / "tests" / "golden" / f"{name}.npz"))


@pytest.fixture(scope="session")
def published_splits():
    """The folder of the published index lists."""
    for folder in (SHARED / "splits", ROOT / "data" / "splits"):
        if (folder / "cifar100_imbSub_with_subsets").is_dir():
            return folder
    pytest.skip("the published lists are not at hand: ltcl data get splits")


@pytest.fixture(scope="session")
def cifar(tmp_path_factory):
    """A folder with real CIFAR-10 (torchvision's layout) and cifar100_{train,test}.npz."""
    script = SHARED / "data" / "restore_cifar.py"
    if not script.exists():
        pytest.skip("real CIFAR is not at hand: ../shared/data/restore_cifar.py is missing")
    folder = tmp_path_factory.mktemp("cifar")
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
    return folder


@pytest.fixture
def ltcl(tmp_path):
    """Call the command in a folder of its own; returns the finished process."""

    def call(*arguments, cwd=tmp_path, **options):
        command = [sys.executable, "-m", "ltcl_helpers", *map(str, arguments)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, **options
        )

    return call


@pytest.fixture
def stop_and_resume(monkeypatch):
    """Train into a folder, stop right after the checkpoint of an epoch, go on; the resumed run.

    The state of that checkpoint is the second thing returned.
    """
    from ltcl_helpers import pretrain, store

    def call(config, folder, epoch):
        save, saved = store.save_checkpoint, {}

        def save_and_stop(place, done, state):
            save(place, done, state)
            if done == epoch:
                saved.update(state)
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(store, "save_checkpoint", save_and_stop)
            pretrain.pretrain(config, folder)
        return pretrain.resume(folder), saved

    return call
