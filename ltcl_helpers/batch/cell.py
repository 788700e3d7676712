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
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from .. import files, runs
from ..errors import ConfigError, DamagedFile
from ..paths import RUN_ONE
from ..probe.choices import OWN_LABELS

BUSY = 75  # exit code: another process has the cell (EX_TEMPFAIL)
# What a Dask nanny sets for its worker and a run must not inherit. The first gives memory back to
# the system at every free, which more than doubles the time of an epoch on a CPU; the others would
# hold single libraries at one thread, whatever OMP_NUM_THREADS says.
DASK_SETS = ("MALLOC_TRIM_THRESHOLD_", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
Task = dict[str, Any]  # folder, record, parameters, probe, cwd, threads, gpus, wait


def log_of(folder: Path) -> Path:
    """The log of a cell, beside its folder."""
    return folder.with_name(f"{folder.name}.log")


def is_done(folder: Path, probe: dict[str, str | None]) -> bool:
    """Whether DONE.json holds and the wanted probes are there; DamagedFile where it does not."""
    if not (folder / "DONE.json").exists():
        return False
    if "probe.parquet" not in runs.verify(folder)["files"]:
        return False
    rows = files.read_parquet(folder / "probe.parquet")
    there = set(zip(rows["protocol"], rows["shots"], strict=True))
    protocols, counts = probe["protocol"], probe["shots"]
    assert protocols is not None and counts is not None  # only `lists` may be
    wanted = itertools.product(protocols.split(","), counts.split(","))
    own = {name for name, shots in there if shots == OWN_LABELS}  # a classifier knows no shots
    return all(pair in there or pair[0] in own for pair in wanted)


# --- in the Dask worker -----------------------------------------------------------------------


def execute(task: Task) -> tuple[str, str]:
    """Run a cell: "done", "busy" (another process has it) or "failed", and why in one line."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    environment = {name: value for name, value in os.environ.items() if name not in DASK_SETS}
    environment["JUPYTER_PREFER_ENV_PATH"] = "1"
    if task["threads"]:
        environment["OMP_NUM_THREADS"] = str(task["threads"])
    if task["gpus"]:
        environment["CUDA_VISIBLE_DEVICES"] = task["gpus"][int(worker.name)]
    log = log_of(Path(task["folder"]))
    log.parent.mkdir(parents=True, exist_ok=True)
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
            while process.poll() is None:
                known = worker.state.tasks.get(key)
                if known is None or known.state == "cancelled" or worker.status.name != "running":
                    raise RuntimeError("nobody waits for this cell any more")
                time.sleep(0.1)
        finally:
            _kill(process.pid)
            process.wait()
        state = {0: "done", BUSY: "busy"}.get(process.returncode, "failed")
        return state, heard.read() or f"ended with exit code {process.returncode}"


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
            _record(folder, Path(task["record"]))


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
    done = runs.verify(folder)
    done["files"].pop("run.ipynb", None)  # killed after this line, the run holds without it
    files.write_json(folder / "DONE.json", done)
    os.replace(beside, folder / "run.ipynb")
    runs.seal(folder)


def _record(folder: Path, target: Path) -> None:
    """Copy the rows to where they are kept, all or nothing."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    runs.record(folder, part)
    os.replace(part, target)


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
