"""One cell of a grid: papermill executes run_one.ipynb for it, in a process of its own.

`execute` runs in a Dask worker and starts `python -m ltcl_helpers.batch.cell`. That process holds
the cell's lock, so that a kill leaves nothing behind, and ends when its worker does. What papermill
says of a kernel that was killed is not believed: a cell is done when its DONE.json holds.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from .. import files, runs
from ..errors import ConfigError, DamagedFile
from ..paths import PACKAGE, RUN_ONE
from ..probe.choices import CLASSIFIER, OWN_LABELS
from ..probe.rows import read_rows

log = logging.getLogger(__name__)
BUSY = 75  # exit code: another process has the cell (EX_TEMPFAIL)
# What a Dask nanny sets for its worker and a run must not inherit. The first gives memory back to
# the system at every free, which more than doubles the time of an epoch on a CPU; the others would
# hold single libraries at one thread, whatever OMP_NUM_THREADS says.
DASK_SETS = ("MALLOC_TRIM_THRESHOLD_", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
Task = dict[str, Any]  # of `cluster.task_of`, and cwd, threads, gpus, wait, token, silence


def log_of(folder: Path) -> Path:
    """The log of a cell, beside its folder."""
    return folder.with_name(f"{folder.name}.log")


def is_done(folder: Path, probe: dict[str, str | None]) -> bool:
    """Whether DONE.json holds and the wanted probes are there; DamagedFile where it does not."""
    if not (folder / "DONE.json").exists():
        return False
    done = runs.verify(folder, but=runs.REMADE)
    try:
        rows = read_rows(folder, done)
    except DamagedFile as error:
        log.warning("%s", error)
        return False
    if rows is None:
        return False
    rows = rows[rows["test"] == rows["data"]]  # another test set's are not what a grid asks for
    if probe.get("lists"):  # of which "full", and a run's own classifier, may need none
        rows = rows[(rows["list_source"] != "drawn") | rows["shots"].isin(["full", OWN_LABELS])]
    there = set(zip(rows["features"], rows["protocol"], rows["shots"], strict=True))
    return wanted_probes(probe) <= there


def wanted_probes(probe: dict[str, str | None]) -> set[tuple[str, str, str]]:
    """Features, protocol and shots of every probe that a cell asks for."""
    protocols, kinds, counts = (
        str(probe[name]).split(",") for name in ("protocol", "features", "shots")
    )
    wanted = set(itertools.product(kinds, set(protocols) - {CLASSIFIER}, counts))
    if CLASSIFIER in protocols:  # the run's own knows no shots, and stands on the encoder
        wanted.add(("encoder", CLASSIFIER, OWN_LABELS))
    return wanted


# --- in the Dask worker -----------------------------------------------------------------------


def identity() -> dict[str, str]:
    """What must be equal where a batch is driven and where its cells run, by name."""
    code = [*sorted(PACKAGE.rglob("*.py")), RUN_ONE]
    digest = files.sha256("".join(files.sha256(path) for path in code).encode())
    versions = {name: v.partition("+")[0] for name, v in runs.versions().items()}
    return {**versions, "the kit's code": digest[:12]}


def stranger(task: Task, ours: dict[str, str]) -> str:
    """Why a cell of this batch must not run here; empty where it may.

    Args:
        task: names a file of the batch, and what is in it.
        ours: `identity()` of who drives the batch.
    """
    here = identity()
    if apart := [name for name in ours if here.get(name) != ours[name]]:
        name = apart[0]
        return (
            f"the worker on {socket.gethostname()} has {name} {here.get(name)}, the batch "
            f"{ours[name]}; install the same there"
        )
    path, content = task["token"]
    try:
        same = Path(path).read_text() == content
    except OSError:
        same = False
    if not same:
        return (
            f"the worker on {socket.gethostname()} does not share {Path(path).parent} with the "
            "batch; mount the batch's folder there, under the same path"
        )
    return ""


def execute(task: Task, ours: dict[str, str]) -> tuple[str, str]:
    """Run a cell: "done", "busy" (another process has it) or "failed", and why in one line."""
    from distributed import get_worker

    if why := stranger(task, ours):
        return "failed", why
    worker = get_worker()
    key = worker.get_current_task()
    environment = {name: value for name, value in os.environ.items() if name not in DASK_SETS}
    environment["JUPYTER_PREFER_ENV_PATH"] = "1"
    if task["threads"]:
        environment["OMP_NUM_THREADS"] = str(task["threads"])
    if task["gpus"]:
        own = task["gpus"][int(worker.name)]
        environment["CUDA_VISIBLE_DEVICES"] = environment["LTCL_CELL_GPUS"] = own
    log = log_of(Path(task["folder"]))
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()  # an earlier attempt's last word is not this one's
    listen, tell = os.pipe()  # what went wrong must be heard where a full disk takes no log
    about = json.dumps(task | {"pid": os.getpid(), "tell": tell})
    with open(log, "ab") as file, open(listen, errors="replace") as heard:
        process = subprocess.Popen(
            [sys.executable, "-m", "ltcl_helpers.batch.cell", about],
            cwd=task["cwd"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            pass_fds=[tell],
        )
        os.close(tell)
        try:
            alive = LastWord(log, task["silence"])
            while process.poll() is None:
                if alive.is_over():
                    return (
                        "failed",
                        f"no sign of life for {task['silence']:g} minutes; it was ended",
                    )
                known = worker.state.tasks.get(key)
                if known is None or known.state == "cancelled" or worker.status.name != "running":
                    raise RuntimeError("nobody waits for this cell any more")
                time.sleep(0.1)
        finally:
            _kill(process.pid)
            process.wait()
        state = {0: "done", BUSY: "busy"}.get(process.returncode, "failed")
        return state, heard.read() or f"ended with exit code {process.returncode}"


class LastWord:
    """Watches how a log grows; by this machine's clock, which need not be the file server's."""

    def __init__(self, path: Path, minutes: float | None) -> None:
        self.path, self.minutes = path, minutes
        self.size, self.since = -1, time.monotonic()

    def is_over(self) -> bool:
        """Whether nothing was written for longer than it may be."""
        if self.minutes is None:
            return False
        size = self.path.stat().st_size
        if size != self.size:
            self.size, self.since = size, time.monotonic()
        return time.monotonic() - self.since > 60 * self.minutes


def _kill(pid: int) -> None:
    """Kill a process and all that it started; a kernel has a session of its own."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in [*parent.children(recursive=True), parent]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


# --- in the cell's own process ----------------------------------------------------------------


def main(task: Task) -> None:
    """Make sure that a cell is done, and recorded where that is wanted."""
    threading.Thread(target=_end_with, args=[task["pid"]], daemon=True).start()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = Path(task["folder"])
    held = files.hold(folder.with_name(f".{folder.name}.lock"), task["wait"])
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held)
        except BlockingIOError:
            sys.exit(BUSY)
        _wait_for_writer(folder)
        if not is_done(folder, task["probe"]):
            _papermill(task, folder)
        if not is_done(folder, task["probe"]):
            raise DamagedFile(f"the notebook ended, but {folder} holds no finished run")
        if task["record"] and not (Path(task["record"]) / "DONE.json").exists():
            runs.record(folder, Path(task["record"]))


def _end_with(parent: int) -> None:
    """End this process, and the kernel, when the worker that started it is gone."""
    while os.getppid() == parent:
        time.sleep(0.2)
    _kill(os.getpid())


def _wait_for_writer(folder: Path, seconds: float = 20) -> None:
    """A kernel that was left behind ends within a second or two; another writer does not."""
    end = time.monotonic() + seconds
    while (folder / "config.json").exists():
        try:
            with runs.lock(folder):
                return
        except ConfigError:
            if time.monotonic() > end:
                sys.exit(BUSY)
            time.sleep(0.2)


def _papermill(task: Task, folder: Path) -> None:
    """Execute the notebook beside the folder, and put it in when the run is done."""
    import papermill
    from traitlets.config import Config

    beside = folder.with_name(f".{folder.name}.ipynb")
    logging.info("%s: %s", time.strftime("%Y-%m-%d %H:%M:%S"), folder)
    with tempfile.TemporaryDirectory(prefix="ltcl-") as sockets:  # two kernels may pick one port
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        papermill.execute_notebook(
            RUN_ONE,
            beside,
            task["parameters"],
            cwd=task["cwd"],
            log_output=True,
            progress_bar=False,
            start_timeout=120,
            config=config,
        )
    with runs.lock(folder, wait=True):
        runs.add_file(folder, "run.ipynb", beside.read_bytes())
    beside.unlink()


def reason(error: BaseException) -> str:
    """One line that says what went wrong; papermill's own error is long and coloured."""
    name, value = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", error)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(value)).strip().splitlines()
    return f"{name}: {lines[-1] if lines else ''}"


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    try:
        main(task)
    except Exception as error:  # whatever it is, the batch's last lines and the log say it
        os.write(task["tell"], reason(error).encode())
        if not isinstance(error, ConfigError):
            logging.exception("failed")
        print(reason(error), file=sys.stderr, flush=True)
        sys.exit(1)
