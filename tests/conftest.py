"""What several tests need: golden values, real data when it is at hand, the command's processes.

As a program, this file is the process from which `Starter` forks those.
"""

import atexit
import hashlib
import importlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import filelock
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
def small_cifar(tmp_path, monkeypatch):
    """CIFAR-10 as torchvision reads it, of four training images and two test images."""
    from torchvision import datasets

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (6, 3072), np.uint8)
    labels = [2, 0, 1, 2, 1, 0]
    batches = {
        "data_batch_1": {"data": images[:4], "labels": labels[:4]},
        "test_batch": {"data": images[4:], "labels": labels[4:]},
        "batches.meta": {"label_names": ["plane", "car", "bird"]},
    }
    for name, content in batches.items():
        (folder / name).write_bytes(pickle.dumps(content))
    sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in batches}
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return images.reshape(6, 3, 32, 32), labels


# --- the command, in processes of its own ---------------------------------------------------

WARM = """ltcl_helpers.cli ltcl_helpers.pretrain ltcl_helpers.probe.run ltcl_helpers.report.tables
    torch._dynamo sklearn.linear_model sklearn.pipeline"""  # an optimizer, a probe load the last
MAIN = "import runpy; runpy.run_module({!r}, run_name='__main__', alter_sys=True)"  # python -m


class Starter:
    """Starts `python -m` a program, each call a process of its own.

    To load torch takes a process many seconds where others are at work, too. So one process loads
    it, once, and is forked for every call: what a call has of its own is its number, its folder,
    its environment, its words, its exit code and its end.
    """

    def __init__(self, *modules, program="ltcl_helpers", **settings):
        self.modules, self.program, self.parent = modules, program, None
        self.settings = {"OMP_NUM_THREADS": "1", **settings}  # of every call's environment

    def call(self, *arguments, cwd, before="", fresh=False):
        """The finished process; `before` is Python that it runs first, `fresh` forks nothing."""
        arguments = [str(word) for word in arguments]
        environment = os.environ | self.settings
        if fresh or sys.platform != "linux":  # elsewhere the system's libraries forbid to fork
            main = MAIN.format(self.program)
            start = ["-c", f"{before}\n{main}"] if before else ["-m", self.program]
            command = [sys.executable, *start, *arguments]
            return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
        if self.parent is None:
            command = [sys.executable, "-P", __file__, *self.modules]  # no module of tests/
            pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.parent = subprocess.Popen(command, env=environment, **pipes)
        with tempfile.TemporaryDirectory() as folder:
            words = [Path(folder, name) for name in ("out", "err")]
            about = {"cwd": str(cwd), "environment": environment, "words": [*map(str, words)]}
            call = [about, before, self.program, arguments]
            print(json.dumps(call), file=self.parent.stdin, flush=True)
            code = int(self.parent.stdout.readline())
            return subprocess.CompletedProcess(arguments, code, *(w.read_text() for w in words))

    def close(self):
        """End the process that is forked from."""
        if self.parent is not None:
            with self.parent:
                self.parent.stdin.close()


def serve(*modules):
    """Load modules; for every line fork a process that becomes the call, and print how it ended."""
    for name in modules:
        importlib.import_module(name)
    for line in sys.stdin:
        if not (child := os.fork()):
            become(*json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(about, before, program, arguments):
    """Go to the call's place, do what it says, and end.

    Without taking apart all that is loaded, which takes Python longer than most calls.
    """
    os.chdir(about["cwd"])
    os.environ.clear()
    os.environ.update(about["environment"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in enumerate(about["words"], 1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = [program, *arguments]
    code = 1
    try:
        exec(before, {})
        exec(MAIN.format(program), {})
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@pytest.fixture(scope="session")
def warm():
    """Starts the command with torch loaded."""
    starter = Starter(*WARM.split())
    yield starter
    starter.close()


@pytest.fixture(scope="session")
def cold():
    """Starts the command with no more loaded than every call loads."""
    starter = Starter("ltcl_helpers.cli")
    yield starter
    starter.close()


@pytest.fixture
def ltcl(warm, tmp_path):
    """Call the command in a folder of its own; returns the finished process."""

    def call(*arguments, cwd=tmp_path, **options):
        return warm.call(*arguments, cwd=cwd, **options)

    return call


@pytest.fixture
def called(monkeypatch):
    """Puts a stand-in in a function's place; returns the list of what all of them are given."""
    calls = []

    def stand_in(module, name, result=None):
        def call(*given, **named):
            calls.append((name, *given, *([named] if named else [])))
            if isinstance(result, BaseException):
                raise result
            return result

        monkeypatch.setattr(module, name, call)
        return calls

    return stand_in


@pytest.fixture
def refused(capsys):
    """The one line, of this process's `ltcl`, that a call ends with."""
    from ltcl_helpers import cli

    def call(words, code=2):
        assert cli.main(words.split() if isinstance(words, str) else words) == code
        said = capsys.readouterr()
        assert said.out == "" and said.err.startswith("ltcl: ") and said.err.count("\n") == 1
        return said.err.strip().removeprefix("ltcl: ")

    return call


@pytest.fixture(scope="session")
def at_tiny(tmp_path_factory, execute):
    """A lesson executed at `tiny`: once for all tests, whichever process they run in."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # of all workers

    def call(path):
        folder = base / "at-tiny" / path.stem
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / path.name
        with filelock.FileLock(folder / "lock"):
            if not target.exists():
                done = execute(path, folder / "under-way.ipynb", preset="tiny")
                assert done.returncode == 0, done.stderr[-3000:]
                (folder / "under-way.ipynb").rename(target)
        return target

    return call


@pytest.fixture(scope="session")
def execute():
    """Run a notebook in a kernel of this environment, from the folder of its target.

    Returns the finished process of papermill.
    """
    importlib.import_module("matplotlib.font_manager")  # lists the fonts: no kernel needs long
    settings = {"OMP_WAIT_POLICY": "passive", "JUPYTER_PREFER_ENV_PATH": "1"}
    papermill = Starter("papermill.cli", program="papermill", **settings)

    def call(path, target, **parameters):
        words = ["--no-progress-bar", path, target]
        words += ["--start-timeout", "600"]  # seconds: only what hangs is given up
        for name, value in parameters.items():
            words += ["-p", name, value]
        return papermill.call(*words, cwd=target.parent)

    yield call
    papermill.close()


@pytest.fixture
def float64():
    """The package computes in torch's default type; what is equal in float64 is so everywhere.

    In float32 a batch norm of nearly equal values amplifies rounding, update by update and by
    another factor on each processor: no tolerance on a whole run would be both safe and sharp.
    """
    import torch

    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def stop_and_resume(monkeypatch):
    """Train into a folder, stop right after the checkpoint of an epoch, go on; the resumed run.

    The state of that checkpoint is the second thing returned.
    """
    from ltcl_helpers import pretrain, runs

    def call(config, folder, epoch):
        save, saved = runs.save_checkpoint, {}

        def save_and_stop(place, done, state):
            save(place, done, state)
            if done == epoch:
                saved.update(state)
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(runs, "save_checkpoint", save_and_stop)
            pretrain.pretrain(config, folder)
        return pretrain.resume(folder), saved

    return call


if __name__ == "__main__":
    serve(*sys.argv[1:])
