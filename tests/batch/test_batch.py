"""Grids are checked before anything runs; a batch survives every kill, with real processes."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml

from ltcl_helpers import cli, files, paths, runs
from ltcl_helpers.batch import grid, plan
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.methods.cross_entropy import CrossEntropy
from ltcl_helpers.recipes import load_method

EXPERIMENTS = sorted(paths.ROOT.glob("experiments/*.yaml"))
PATIENCE = 900  # seconds until what hangs is ended; no machine is so slow that it decides
EPOCHS = 4
GRID = {
    "base": {
        "preset": "tiny",
        "data": "npz:toy_train.npz",
        "epochs": EPOCHS,
        "batch_size": 16,
        "largest_class": 30,
        "device": "cpu",  # equal bits, also where some of the processes are shown no GPU
    },
    "cross": {"seed": [0]},
    "rows": {"simclr": {}},
    "probe": {"shots": 5, "protocol": "logistic"},
}
# SimCLR that waits, before epoch 3, for as long as there is a file "hold", and says so by another:
# what is done to a batch while a run is under way is done while it surely is.
GATE = """
import time
from pathlib import Path
from ltcl_helpers.methods import SimCLR

class Gate(SimCLR):
    def __init__(self, encoder, config, class_counts=None):
        super().__init__(encoder, config, class_counts)
        self.seed = config.seed

    def start_epoch(self, epoch, epochs, generator=None):
        super().start_epoch(epoch, epochs, generator)
        if epoch == 3 and Path("hold").exists():
            Path(f"held-{self.seed}").touch()
            while Path("hold").exists():
                time.sleep(0.02)
"""
GATED = {"simclr": {"method": "gate:Gate"}}
METHOD = """
import os
from ltcl_helpers.methods import SimCLR

class Method(SimCLR):
    def forward(self, batch):
        names = {"MALLOC_TRIM_THRESHOLD_", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"}
        dask_set = names & set(os.environ)
        raise RuntimeError(f"on purpose {sorted(dask_set)} {os.environ['OMP_NUM_THREADS']}")
"""


# --- reading a grid ---------------------------------------------------------------------------


def write(to, **changes):
    path = to / "toy.yaml"
    path.write_text(yaml.safe_dump({**GRID, **changes}, sort_keys=False))
    return path


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_grid_of_the_kit_is_valid_and_small(path):
    found = grid.read(path)
    assert found.cells and found.title != path.stem
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#") and len(text.splitlines()) <= 50
    for one in found.cells:  # accuracies with and without labels must not be taken for rivals
        learns = issubclass(load_method(one.config.method), CrossEntropy)
        assert ("(with labels)" in one.label) == learns, one.label


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_recorded_runs_are_cells_of_their_grid(path):
    found = plan.Plan.of(grid.read(path))
    recorded = {folder.name for folder in found.results.glob("*/")}
    assert recorded <= {one.name for one in found.cells}
    assert found.grid.record or not recorded
    states = {one.name: found.state(one).state for one in found.cells if one.name in recorded}
    assert states == dict.fromkeys(recorded, "done")


def test_there_are_recorded_runs():
    """What is said above of every grid's recorded runs is said of some."""
    studies = [paths.RESULTS / path.stem for path in EXPERIMENTS]
    assert sum(folder.is_dir() for folder in studies) >= 5
    assert any(study.glob("*/DONE.json") for study in studies)


def test_cells_are_rows_crossed_with_lists(tmp_path):
    rows = {"a": {}, "b": {"method": "bcl-i", "weight_decay": "1e-4", "label": "B"}}
    cross = {"seed": [0, 3], "size": {"few": {"largest_class": 20}, "many": {"largest_class": 30}}}
    path = write(tmp_path, rows=rows, cross=cross, mirrored_pairs=True, skip=["b-0-*"])
    found = grid.read(path)
    names = ["a-0-few", "a-0-many", "a-3-few", "b-3-few", "a-3-many", "b-3-many"]
    assert [one.name for one in found.cells] == names
    last = found.cells[-1]
    assert last.config == RunConfig(
        preset="tiny", data="npz:toy_train.npz", epochs=EPOCHS, largest_class=30, batch_size=16,
        method="bcl-i", weight_decay=1e-4, seed=3, split_seed=1, mirrored=True, device="cpu",
    )  # fmt: skip
    assert (last.label, last.axes, last.row) == ("B", {"seed": 3, "size": "many"}, "b")
    assert found.cells[0].label == "SimCLR" and found.axes["size"] == ["few", "many"]


def test_placeholders_rows_of_other_studies_and_settings(tmp_path):
    rows = {"own": {}, "other": {"folder": "../there/{row}-{number}", "probe": {"shots": "full"}}}
    base = {"preset": "tiny", "split": "{lists}/split{number}.npy"}
    path = write(tmp_path, rows=rows, base=base, cross={"number": [1, 2]}, folder="{number}-{row}")
    found = grid.read(path, {"lists": "L", "number": 2, "epochs": 3})
    assert [one.name for one in found.cells] == ["2-own", "../there/other-2"]
    assert {one.config.split for one in found.cells} == {"L/split2.npy"}
    assert {one.config.epochs for one in found.cells} == {3}
    assert [one.probe["shots"] for one in found.cells] == ["5", "full"]
    assert found.cells[1].folder("runs/toy") == Path("runs/there/other-2")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"roows": {}}, ["roows is no key", "mirrored_pairs"]),
        ({"rows": {}}, ["rows is missing"]),
        ({"rows": {"a": 3}}, ["rows: a is 3"]),
        ({"record": "yes please", "title": 4}, ["record is 'yes please'", "title is 4"]),
        ({"rows": {"a": {"epoch": 3}}}, ["a {'seed': 0}", "epoch is not a parameter"]),
        ({"rows": {"a": {"lr": -1}, "b": {"epochs": -1}}}, ["lr is -1", "epochs is -1"]),
        ({"cross": {"seed": [0, 1]}, "base": {"lr": -1}}, ["(and 1 more): lr is -1"]),
        ({"cross": {"epoch": [1]}}, ["epoch is no parameter"]),
        ({"cross": {"seed": []}}, ["seed is []"]),
        ({"cross": {"blocks": [[1], [1, 1]]}}, ["blocks is [[1]", "holds lists"]),
        ({"base": {"split": "{nummer}.npy"}}, ["{nummer} is unknown", "seed, row, lists"]),
        ({"compare": [["simclr", "sdclr"]]}, ["'sdclr'", "of simclr"]),
        ({"folder": "{row}", "cross": {"seed": [0, 1]}}, ["several cells have the folder simclr"]),
        ({"skip": ["*"]}, ["no cell is left"]),
        ({"probe": {"shots": "ten"}}, ["shots is 'ten'"]),
        ({"probe": {"protocol": "svm"}}, ["protocol is 'svm'"]),
        ({"probe": {"shot": 1}}, ["shot is unknown"]),
        ({"mirrored_pairs": True, "cross": {}}, ["mirrored_pairs needs seeds"]),
    ],
)  # fmt: skip
def test_a_wrong_grid_is_refused_in_one_line(changes, words, tmp_path):
    path = write(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        grid.read(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("text", ["", "- 1", "rows: {a: {}, a: {}}", "rows: [", "\x00"])
def test_what_is_no_grid_is_refused(text, tmp_path):
    (tmp_path / "bad.yaml").write_text(text)
    for path in (tmp_path / "bad.yaml", tmp_path / "none.yaml"):
        with pytest.raises(ConfigError, match=path.name):
            grid.read(path)


def test_probes_that_cannot_be_made_are_refused_before_a_run(tmp_path):
    for asked, says in (
        ({"shots": [100, "1%"], "protocol": ["bcl", "sdclr"]}, "rates for full and 1% only"),
        ({"protocol": "bcd"}, "probe: protocol is 'bcd'"),
        ({"shots": 0}, "probe: shots is '0'"),
        ({"features": "dense"}, "probe: features is 'dense'"),
    ):
        with pytest.raises(ConfigError, match=says):
            grid.read(write(tmp_path, probe=asked))


def test_a_dry_run_says_what_is_left_and_how_long_it_takes(tmp_path):
    """From the recorded runs' seconds, by device, or "unknown"."""
    length = next(path for path in EXPERIMENTS if path.stem == "cifar10-length")
    recorded = paths.RESULTS / "cifar10-length" / "300-simclr-0"
    shutil.copytree(recorded, tmp_path / "results" / "cifar10-length" / "300-simclr-0")
    known = plan.Plan.of(
        grid.read(length), tmp_path / "runs", tmp_path / "results", only="[13]*00-simclr-[01]"
    )
    machine = files.read_json(recorded / "DONE.json")["machines"][-1]
    seconds = files.read_parquet(recorded / "history.parquet")["seconds"].median()
    hours = (100 + 100 + 300 + 1000 + 1000) * seconds / 3600
    device = "{device}, threads: {threads}, {precision}".format(**machine)
    assert plan.dry_run(known).splitlines() == [
        "missing   100-simclr-0",
        "missing   100-simclr-1",
        f"done      300-simclr-0  recorded in {tmp_path}/results/cifar10-length/300-simclr-0",
        "missing   300-simclr-1",
        "missing   1000-simclr-0",
        "missing   1000-simclr-1",
        "6 cells: 5 missing, 1 done",
        f"training left: {hours:.1f} hours on one {device}",
    ]
    untrained = paths.RESULTS / "shapes-simclr" / "untrained-0"  # of no epoch, so of no time
    shutil.copytree(untrained, tmp_path / "results" / "shapes-simclr" / "untrained-0")
    assert plan.recorded_seconds([tmp_path / "results" / "shapes-simclr"]) == {}
    toy = grid.read(write(tmp_path))
    unknown = plan.dry_run(plan.Plan.of(toy, tmp_path / "toy", tmp_path / "results"))
    assert unknown == "missing   simclr-0\n1 cells: 1 missing\n" + (
        "training left: unknown; no recorded run is like these"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", "0"], "--workers is 0"),
        (["--gpus", "0", "--scheduler", "tcp://nobody:1"], "name their own GPU"),
        (["--only", "sdclr-*"], "matches no cell; the cells are simclr-0"),
        (["--set", "epochs=-1"], "epochs is -1"),
        ([], "toy_train.npz does not exist"),
    ],
)
def test_a_wrong_call_is_refused_in_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["batch", str(write(tmp_path)), *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "runs").exists()


# --- faults -----------------------------------------------------------------------------------


class Batch:
    """`ltcl batch` in a folder of its own; whatever it starts can be found by a mark."""

    def __init__(self, folder):
        self.folder, self.mark, self.started = folder, uuid.uuid4().hex, []
        draw, names = np.random.default_rng(0), np.array([*"abcd"])
        for part, each in (("train", 40), ("test", 10)):
            labels = np.repeat(np.arange(4), each)
            images = draw.integers(0, 255, (len(labels), 8, 8, 3), np.uint8)
            np.savez(folder / f"toy_{part}.npz", images=images, labels=labels, class_names=names)
        (folder / "gate.py").write_text(GATE)
        write(folder, rows=GATED)

    def start(self, *arguments, program=("ltcl_helpers", "batch", "toy.yaml"), **options):
        """Start a program without waiting for it; its words go to a file."""
        environment = os.environ | {"OMP_NUM_THREADS": "1", "LTCL_TEST": self.mark}
        self.words = self.folder / f"words-{len(self.started)}.txt"
        with open(self.words, "w") as file:
            command = [sys.executable, "-m", *program, *arguments]
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=file, stderr=file, **options
            )
        self.started.append(process)
        return process

    def run(self, *arguments, **options):
        """Run it to its end: exit code and words."""
        process = self.start("--workers", "1", *arguments, **options)
        return self.ended(process), self.words.read_text()

    def ended(self, process):
        """The exit code of a process that ends by itself."""
        try:
            return process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it does not end: {self.words.read_text()}")

    def path(self, name):
        return self.folder / "runs" / "toy" / name

    def hold(self):
        """From here on a run waits before its third epoch."""
        (self.folder / "hold").touch()

    def let_go(self):
        (self.folder / "hold").unlink()

    def under_way(self, seed=0):
        """Wait until a run is held, which one process of it says once."""
        said = self.folder / f"held-{seed}"
        driver = self.started[-1]
        wait_for(lambda: said.exists() or driver.poll() is not None, self.log(f"simclr-{seed}"))
        assert driver.poll() is None, self.words.read_text()
        said.unlink()
        assert runs.checkpoints(self.path(f"simclr-{seed}"))[0].name.startswith(
            "checkpoint-000002-"
        )

    def log(self, name):
        return lambda: "".join(
            path.read_text() for path in self.folder.glob(f"runs/toy/{name}.log")
        )

    def done(self):
        """Names of the runs whose DONE.json holds."""
        return {path.parent.name for path in self.folder.glob("runs/toy/*/DONE.json")
                if runs.verify(path.parent)}  # fmt: skip

    def processes(self, words=""):
        """The living processes of this batch whose command has these words."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("LTCL_TEST") != self.mark:
                    continue
                if words in " ".join(process.cmdline()) and process.status() != "zombie":
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def end(self):
        for process in [*self.processes(), *self.started]:
            process.kill()
        for process in self.started:
            process.wait()

    def kill_kernel(self):
        for process in self.processes("ipykernel_launcher"):
            process.kill()

    def assert_no_orphan(self):
        wait_for(lambda: not self.processes(), lambda: str(self.processes()))


def wait_for(condition, about):
    """Wait until a condition holds, however long that takes; PATIENCE ends what hangs."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, about()
        time.sleep(0.02)


@pytest.fixture
def batch(tmp_path):
    batch = Batch(tmp_path)
    yield batch
    batch.end()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A batch of two cells that two drivers, started at once, have finished together."""
    batch = Batch(tmp_path_factory.mktemp("finished"))
    write(batch.folder, cross={"seed": [0, 1]})  # SimCLR's own: nobody waits, the bits are the same
    drivers = [batch.start("--workers", "1") for _ in range(2)]
    batch.codes = [batch.ended(driver) for driver in drivers]
    yield batch
    batch.end()


def assert_completes(batch, finished, name="simclr-0"):
    """A further call does what is missing, and ends where an undisturbed run ends, bit for bit."""
    code, words = batch.run()
    assert code == 0, words
    assert name in batch.done()
    for file in ("encoder.safetensors", "memory.npz"):
        assert files.sha256(batch.path(name) / file) == files.sha256(finished.path(name) / file)
    batch.assert_no_orphan()


# Python runs this first in every process: it writes down that it began, and what it had loaded.
NOTE = """
import atexit, os, sys
def note(word):
    with open({path!r}, "a") as file:
        file.write(word + "\\n")
note("began")
for name in ("distributed", "torch", "ipykernel", "papermill"):
    atexit.register(lambda name=name: name in sys.modules and note(name))
"""


def stamps(folder):
    """When each file and folder below was written last."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_two_drivers_share_the_cells_and_a_third_repeats_nothing(finished, tmp_path, monkeypatch):
    assert finished.codes == [0, 0], finished.words.read_text()
    assert finished.done() == {"simclr-0", "simclr-1"}
    for name in finished.done():
        assert "run.ipynb" in runs.verify(finished.path(name))["files"]
        words = finished.log(name)()
        assert [words.count(f"epoch {k} of {EPOCHS}") for k in (1, EPOCHS)] == [1, 1], words
    finished.assert_no_orphan()
    before = stamps(finished.folder / "runs")
    notes = tmp_path / "notes.txt"
    (tmp_path / "sitecustomize.py").write_text(NOTE.format(path=str(notes)))
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    code, words = finished.run()
    assert code == 0 and "2 cells, 0 to run" in words
    assert notes.read_text() == "began\n"  # one process, without a cluster, a kernel or torch
    assert before == stamps(finished.folder / "runs")


def test_what_is_there_of_a_run(finished, tmp_path):
    """Recorded, damaged, of other parameters, without the wanted probe, without its end."""
    path = write(tmp_path, record=True, cross={"seed": [0, 1]})
    kept = tmp_path / "results" / "toy" / "simclr-0"
    runs.record(finished.path("simclr-0"), kept)
    assert "encoder.safetensors" not in {file.name for file in kept.iterdir()}
    todo = plan.Plan.of(grid.read(path), tmp_path / "toy", tmp_path / "results")
    states = [todo.state(one) for one in todo.cells]
    assert states == [("done", f"recorded in {kept}"), ("missing", "")]

    shutil.copytree(finished.folder / "runs" / "toy", tmp_path / "toy")
    todo = plan.Plan.of(grid.read(write(tmp_path)), tmp_path / "toy")
    [one] = todo.cells
    assert todo.state(one).state == "done"
    path = write(tmp_path, probe={"shots": 6})
    other = plan.Plan.of(grid.read(path), tmp_path / "toy")
    assert other.state(other.cells[0]) == ("half done", "trained; probes or rows are missing")
    other = plan.Plan.of(grid.read(path, {"temperature": 0.3}), tmp_path / "toy")
    with pytest.raises(ConfigError, match=r"temperature 0\.2, not 0\.3"):
        other.state(other.cells[0])
    weights = tmp_path / "toy" / "simclr-0" / "encoder.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert todo.state(one).state == "damaged" and "sha256" in todo.state(one).about
    (weights.parent / "DONE.json").unlink()
    assert todo.state(one) == ("half done", f"epoch 0 of {EPOCHS}")


def test_kernel_killed_then_driver_killed_then_disk_full(batch, finished):
    """Nothing is marked done, no process stays, and in the end nobody sees that anything was."""
    batch.hold()
    driver = batch.start("--workers", "1")
    batch.under_way()
    assert len(batch.processes("spawn_main")) == 1  # as many workers as asked for
    batch.kill_kernel()
    assert batch.ended(driver) == 1
    words = batch.words.read_text()
    assert "failed: simclr-0: " in words and "runs/toy/simclr-0.log" in words
    assert batch.done() == set()
    batch.assert_no_orphan()

    driver = batch.start("--workers", "1")
    batch.under_way()
    driver.kill()
    driver.wait()
    batch.assert_no_orphan()
    assert batch.done() == set()

    batch.let_go()
    size = (finished.path("simclr-0") / "encoder.safetensors").stat().st_size
    limit = (size // 2, resource.RLIM_INFINITY)  # files beyond it cannot be written
    code, words = batch.run(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert code == 1 and "failed: simclr-0: OSError: " in words, words
    assert batch.done() == set()
    batch.assert_no_orphan()
    assert_completes(batch, finished)


def test_a_worker_is_killed_and_the_batch_goes_on(batch, finished):
    batch.hold()
    driver = batch.start("--gpus", "7")  # one worker, which is told of this GPU
    batch.under_way()
    [cell] = batch.processes("ltcl_helpers.batch.cell")
    assert cell.environ()["CUDA_VISIBLE_DEVICES"] == "7"
    before = batch.processes("ipykernel_launcher")
    psutil.Process(cell.ppid()).kill()
    gone = lambda: not cell.is_running() and not before[0].is_running()  # noqa: E731
    wait_for(gone, batch.words.read_text)
    batch.let_go()
    assert batch.ended(driver) == 0, batch.words.read_text()
    assert_completes(batch, finished)


def test_a_run_that_raises_leaves_the_others_alone(batch, finished):
    shutil.copytree(finished.folder / "runs", batch.folder / "runs")
    write(batch.folder, rows={"raises": {"method": "absent:Method"}, "simclr": {}})
    (batch.folder / "absent.py").write_text(METHOD)
    code, words = batch.run()
    assert code == 1 and "2 cells, 1 to run" in words, words
    # Dask's own settings of memory and threads do not reach a run: they would make it slow.
    assert "failed: raises-0: RuntimeError: on purpose [] 1\n" in words, words
    assert "on purpose" in batch.log("raises-0")()
    assert batch.done() == {"simclr-0", "simclr-1"}
    (batch.folder / "absent.py").write_text(
        METHOD.replace("raise", "return super().forward(batch) #")
    )
    code, words = batch.run()
    assert code == 0 and "2 cells, 1 to run" in words, words
    assert "raises-0" in batch.done()


def start_scheduler(batch, port=None):
    """As docs/batch.md says, by hand, at a port of this machine; the process and the port.

    Below 32768: above, the system takes ports for connections, while a scheduler is down, too.
    """
    for tried in [port] * 100 if port else random.sample(range(20_000, 32_000), 100):
        told = batch.folder / f"scheduler-{len(batch.started)}.json"
        options = ("--no-dashboard", "--host", "127.0.0.1", "--scheduler-file", told.name)
        process = batch.start(*options, "--port", str(tried), program=("dask", "scheduler"))
        wait_for(lambda: address_in(told) or process.poll() is not None, batch.words.read_text)  # noqa: B023
        if process.poll() is None:
            assert address_in(told) == f"tcp://127.0.0.1:{tried}"
            return process, tried
    pytest.fail(f"no scheduler starts: {batch.words.read_text()}")


def address_in(told):
    """What a scheduler's file says; None while it is missing or half written."""
    try:
        return json.loads(told.read_text())["address"]
    except (OSError, json.JSONDecodeError):
        return None


def start_workers(batch, address, count):
    options = (address, "--nthreads", "1", "--no-dashboard")
    return [batch.start(*options, program=("dask", "worker")) for _ in range(count)]


def test_a_scheduler_with_two_workers_one_of_which_is_killed(batch, finished):
    """The rows are those of the local batch."""
    write(batch.folder, rows=GATED, cross={"seed": [0, 1]})
    _, port = start_scheduler(batch)
    address = f"tcp://127.0.0.1:{port}"
    start_workers(batch, address, 2)
    batch.hold()
    driver = batch.start("--scheduler", address)
    batch.under_way(0)
    [cell] = [
        one
        for one in batch.processes("ltcl_helpers.batch.cell")
        if "simclr-0" in str(one.cmdline())
    ]
    worker = psutil.Process(cell.ppid())
    for process in (worker.parent(), worker):  # the nanny, too: this one does not come back
        process.kill()
    wait_for(lambda: not cell.is_running(), lambda: "the cell lives on")
    batch.let_go()
    assert batch.ended(driver) == 0, batch.words.read_text()
    assert batch.done() == {"simclr-0", "simclr-1"}
    for name in batch.done():
        rows, local = (pd.read_parquet(b.path(name) / "probe.parquet") for b in (batch, finished))
        assert set(rows.pop("method")) == {"gate:Gate"} and set(local.pop("method")) == {"simclr"}
        pd.testing.assert_frame_equal(rows, local)


def test_the_scheduler_is_killed_and_restarted(batch, finished):
    scheduler, port = start_scheduler(batch)
    address = f"tcp://127.0.0.1:{port}"
    [worker] = start_workers(batch, address, 1)
    batch.hold()
    driver = batch.start("--scheduler", address)
    batch.under_way()
    driver.send_signal(signal.SIGSTOP)  # it gives a scheduler 30 s to come back: not by our clock
    scheduler.kill()
    scheduler.wait()
    wait_for(lambda: not batch.processes("ltcl_helpers.batch.cell"), lambda: "the cell lives on")
    wait_for(lambda: worker.poll() is not None, lambda: "the worker lives on")
    assert batch.done() == set()
    start_scheduler(batch, port)
    start_workers(batch, address, 1)
    driver.send_signal(signal.SIGCONT)
    batch.let_go()
    assert batch.ended(driver) == 0, "the driver goes on with the new scheduler"
    batch.end()
    assert_completes(batch, finished)
