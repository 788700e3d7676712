"""A batch survives every kill; with real processes."""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid

import dask
import numpy as np
import pandas as pd
import psutil
import pytest
from toy_batch import EPOCHS, GATE, GATED, METHOD, write

from ltcl_helpers import files, runs
from ltcl_helpers.batch import cluster, grid, plan
from ltcl_helpers.errors import ConfigError

PATIENCE = 900  # seconds until what hangs is ended; no machine is so slow that it decides


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


def test_a_second_batch_on_a_machine_says_nothing_of_ports():
    """Warnings are errors here."""
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # by somebody else already: as good
            taken.bind(("", 8787))
            taken.listen()
        with cluster._client(1, False, None) as client:
            assert client.submit(int, 3).result(timeout=60) == 3
            assert client.cluster.scheduler.http_server.address == "127.0.0.1"  # nobody else's


def test_a_computer_that_slept_still_has_its_workers():
    soon = {"distributed.scheduler.worker-ttl": "1s"}  # Dask's own is five minutes
    with dask.config.set(soon), cluster._client(1, False, None) as client:
        worker = psutil.Process(client.submit(os.getpid).result(timeout=60))
        worker.suspend()
        time.sleep(7)  # five are the least that Dask waits
        worker.resume()
        assert client.submit(os.getpid, pure=False).result(timeout=60) == worker.pid


def test_a_worker_is_killed_and_the_batch_goes_on(batch, finished):
    batch.hold()
    driver = batch.start("--workers", "1")
    batch.under_way()
    [cell] = batch.processes("ltcl_helpers.batch.cell")
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
