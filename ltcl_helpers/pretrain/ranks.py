"""One run in several processes: how they start, find each other, and end together."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from .. import runs
from ..config import RunConfig
from ..cores import cores_each
from ..data import splits
from ..networks.exchange import ONE, Ranks
from ..recipes import is_of_the_kit
from .checks import check, check_data

MEETING = "LTCL_RANKS_MEET_AT"  # a file that the ranks of `launch` find each other by
CELL_GPUS = "LTCL_CELL_GPUS"  # of a batch's cell, where it has several
PARENT = "LTCL_RANKS_PARENT"  # the process that they must not outlive
PATIENCE = timedelta(minutes=30)  # of a rank for the others: an epoch's end may take a while


def started() -> int:
    """How many ranks `launch` or torchrun started, this process among them; 1 where none did."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "RANK" in os.environ else 1


def join(config: RunConfig) -> Ranks:
    """This process's place among the ranks that were started; it waits for the others there."""
    count = started()
    if count == 1:
        return ONE
    number = int(os.environ["RANK"])
    on_gpu = config.device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    if not dist.is_initialized():
        meeting = os.environ.get(MEETING)
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            init_method=f"file://{meeting}" if meeting else "env://",
            world_size=count,
            rank=number,
            timeout=PATIENCE,
        )
    if PARENT in os.environ:
        threading.Thread(target=_end_with, args=[int(os.environ[PARENT])], daemon=True).start()
    return Ranks(count, number)


def make_on_gpus(config: RunConfig, folder: Path) -> None:
    """Make the run in `folder` on the GPUs that a batch gave this cell, where these are several.

    Raises:
        ConfigError: as `checks.check`.
        RuntimeError: when the ranks ended before the run did; the log has their words.
    """
    gpus = os.environ.get(CELL_GPUS, "").split(",")
    if len(gpus) < 2 or (folder / "DONE.json").exists():
        return
    is_new = not (folder / "config.json").exists()
    inputs = splits.select(config)
    if code := make(config, folder, inputs, is_new, len(gpus), gpus):
        raise RuntimeError(f"{len(gpus)} ranks ended with exit code {code}; the log says why")


def begin(folder: Path, config: RunConfig) -> None:
    """Make the folder of a run whose ranks are still to be started."""
    runs.refuse_used(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with runs.lock(folder):
        runs.begin(folder, config)


def make(
    config: RunConfig,
    folder: Path,
    inputs: splits.Inputs,
    is_new: bool,
    count: int,
    gpus: Sequence[str] = (),
    minutes: float | None = None,
) -> int:
    """Make or finish the run in `folder` on so many ranks; the exit code, as `launch`.

    Raises:
        ConfigError: as `checks.check` and `checks.check_data`, and where the folder is not right;
            before it is made.
    """
    if not is_new:
        runs.refuse_import(folder, config)
    check(config, count)
    check_data(config, inputs, count)
    arguments = ["run", "--resume", str(folder)]
    if is_new:
        begin(folder, config)
    else:
        begun = runs.read_config(folder).place
        moved = {name: value for name, value in config.place.items() if value != begun[name]}
        for name, value in moved.items():
            arguments += ["--set", f"{name}={value}"]
    if not is_of_the_kit(config.method):
        arguments.append("--allow-own-method")  # as this process was: `check` has imported it
    if minutes is not None:
        arguments += ["--minutes", str(minutes)]
    return launch(arguments, count, gpus)


def wait(ranks: Ranks) -> None:
    """Go on when all ranks have come here."""
    if ranks.count > 1:
        dist.barrier()


def part() -> None:
    """Take this process out of the group, if it is in one; nothing waits for it afterwards."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def is_lost(error: RuntimeError) -> bool:
    """Whether an error says that another rank has gone, not that something is wrong here."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _end_with(parent: int) -> None:
    """End this rank when the process that started it is gone."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def launch(arguments: Sequence[str], count: int, gpus: Sequence[str] = ()) -> int:
    """Run `ltcl` with these arguments as `count` ranks; the exit code of the first that fails.

    The first rank speaks. When one ends before its time, all are ended, and the last line that it
    said is repeated.

    Args:
        arguments: of the command, e.g. ["run", "--resume", FOLDER].
        count: ranks.
        gpus: one for each rank, or none on a CPU.
    """
    with tempfile.TemporaryDirectory(prefix="ltcl-ranks-") as folder:
        words = [Path(folder, f"rank-{number}.log") for number in range(count)]
        with _started(arguments, count, gpus, folder, words) as processes:
            while any(process.poll() is None for process in processes):
                failed = [p for p in processes if p.poll() not in (None, 0)]
                if failed:
                    break
                time.sleep(0.1)
            failed = [p for p in processes if p.poll() not in (None, 0)]
        if not failed:
            return 0
        # Those that were killed first: the others lost them, and failed for that.
        failed.sort(key=lambda process: process.returncode > 0)
        return _explain(processes.index(failed[0]), failed[0].returncode, words)


@contextlib.contextmanager
def _started(
    arguments: Sequence[str], count: int, gpus: Sequence[str], folder: str, words: list[Path]
) -> Iterator[list[subprocess.Popen]]:
    """The ranks' processes; whatever happens, none is left."""
    threads = str(cores_each(count))
    processes = []
    try:
        for number, log in enumerate(words):
            environment = os.environ | {
                "RANK": str(number),
                "WORLD_SIZE": str(count),
                MEETING: str(Path(folder, "meeting")),
                PARENT: str(os.getpid()),
                "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
            }
            environment["CUDA_VISIBLE_DEVICES"] = gpus[number] if gpus else ""
            with open(log, "wb") as file:
                command = [sys.executable, "-m", "ltcl_helpers", *arguments]
                heard = None if number == 0 else file
                processes.append(
                    subprocess.Popen(command, env=environment, stdout=heard, stderr=heard)
                )
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def _explain(number: int, code: int, words: list[Path]) -> int:
    """One line on why a rank ended; 2 stays 2, everything else is 1."""
    if code < 0:
        reason = f"was killed by signal {-code}"
    else:
        lines = words[number].read_text(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"ended with exit code {code}"
    if number or code < 0:  # the first one's own words were heard already
        print(f"ltcl: rank {number}: {reason}; all ranks are ended", file=sys.stderr)
    return 2 if code == 2 else 1


logging.getLogger("torch.distributed").setLevel(logging.ERROR)
