"""A grid of runs on a Dask cluster, local or remote: what is missing is run, what is done stays."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm

from .. import files
from ..config import IN_FILES, RunConfig
from ..cores import cores_each
from ..data import splits
from ..data.classes import Classes
from ..data.images import read_classes
from ..errors import ConfigError
from ..paths import own_path
from ..probe.choices import check_enough, check_parts
from . import cell
from .grid import Cell
from .plan import OPEN, Plan

if TYPE_CHECKING:
    from distributed import Client, Future


log = logging.getLogger(__name__)
EPOCH = re.compile(rb"epoch (\d+) of (\d+): loss ([-+.\w]+)")
SILENT = 10  # minutes without a word from a cell, of which a log is told
KILLS = 3  # so many workers may be lost with a cell before it counts as failed
LOCAL = {
    "distributed.scheduler.allowed-failures": KILLS,
    # A laptop that slept for minutes has not lost its workers: one that dies closes its connection.
    "distributed.scheduler.worker-ttl": None,
}
QUIET = {  # Dask watches itself a hundred times a second, for small tasks; cells take minutes
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.system-monitor.gil.enabled": False,
}


class Failure(NamedTuple):
    """A cell that did not finish: its name, the last line of its error, its log."""

    name: str
    error: str
    log: Path


def grouped(gpus: list[str], each: int) -> list[str]:
    """So many GPUs for each cell, as one text: "0,1"."""
    if each < 1 or len(gpus) % each or (each > 1 and not gpus):
        raise ConfigError(
            f"--gpus-per-cell is {each} and --gpus names {len(gpus)}; give a multiple of it"
        )
    return [",".join(gpus[start : start + each]) for start in range(0, len(gpus), each)]


def run(
    plan: Plan,
    workers: int = 2,
    gpus: Sequence[str] = (),
    scheduler: str | None = None,
    silence: float | None = None,
) -> list[Failure]:
    """Run every cell that is not done, and return those that failed.

    Args:
        plan: the grid, and what is there of its runs.
        workers: worker processes of the local cluster; each has its share of the threads.
        gpus: one worker for each of these GPUs, or groups of them ("0,1"), instead.
        scheduler: address of a running scheduler, whose workers share the folders.
        silence: minutes after which a cell that says nothing more is ended.
    """
    states = {one: plan.state(one) for one in plan.cells}
    failures = [
        Failure(one.name, found.about, cell.log_of(one.folder(plan.study)))
        for one, found in states.items()
        if found.state == "damaged"
    ]
    waiting = deque(one for one, found in states.items() if found.state in OPEN)
    _check_inputs(list(waiting))
    log.info("%s: %d cells, %d to run", plan.grid.study, len(states), len(waiting))
    if not waiting:
        return failures
    count = len(gpus) or workers
    threads = None if scheduler else int(os.environ.get("OMP_NUM_THREADS", 0)) or cores_each(count)
    common: dict[str, Any] = {
        "cwd": os.getcwd(),
        "threads": threads,
        "gpus": list(gpus),
        "wait": False,
    }
    with _token(plan.study) as token, _client(count, bool(gpus), scheduler) as client:
        common |= {"token": token, "silence": silence}
        tasks = {one: task_of(plan, one) | common for one in waiting}
        return failures + _drive(client, tasks, len(states))


@contextlib.contextmanager
def _token(study: Path) -> Iterator[tuple[str, str]]:
    """A file that only those who share the study's folder can read; its path and content."""
    study.mkdir(parents=True, exist_ok=True)
    content = uuid.uuid4().hex
    path = study.absolute() / f".token-{content[:8]}"
    files.write_bytes(path, content.encode())
    try:
        yield str(path), content
    finally:
        path.unlink(missing_ok=True)


def _check_inputs(cells: list[Cell]) -> None:
    """Complain about missing lists and data now, not once in every cell."""
    for split in {one.config.split for one in cells} - set(splits.DRAWN):
        if not own_path(split).is_file():
            raise ConfigError(f"{split} does not exist; `ltcl data get splits`, or --set lists=DIR")
    for lists in {one.probe["lists"] for one in cells}:
        if lists is not None and not own_path(lists).is_dir():
            raise ConfigError(f"lists is {lists}, which is no folder; `ltcl data get splits`")
    for one in {one.config.data: one for one in cells}.values():
        _check_cells([each for each in cells if each.config.data == one.config.data])
        splits.select(one.config)  # its images, too


def _check_cells(cells: list[Cell]) -> None:
    """Complain of what each cell of one data set asks for, training and probe; reads no image."""
    config = cells[0].config
    if config.data.startswith(IN_FILES):  # other data are complete
        check_parts(config, config.data, config.data, ())
    classes = read_classes(config.data, "train", config.root)
    checked = set()
    for one in cells:
        try:
            _check_shots(one, classes)
            if (split := _split_of(one.config)) not in checked:
                splits.check(one.config, classes)
            checked.add(split)
        except ConfigError as error:
            raise ConfigError(f"{one.name}: {error}") from None


def _split_of(config: RunConfig) -> tuple[object, ...]:
    """What decides whether a split can be: all but its seed."""
    sizes = (config.split, config.largest_class, config.imbalance, config.method)
    return (*sizes, config.batch_size, config.equal_batches, config.drop_last)


def _check_shots(one: Cell, classes: Classes) -> None:
    """Complain of more labelled images than a class has, where lists are to be drawn."""
    drawn = one.probe["lists"] is None and one.config.split in splits.DRAWN
    for shots in str(one.probe["shots"]).split(",") if drawn else ():
        check_enough(shots, classes.counts.tolist())


def task_of(plan: Plan, one: Cell) -> cell.Task:
    """What a worker must know of a cell."""
    folder = one.folder(plan.study).absolute()  # a worker may have been started anywhere
    probe = {name: value for name, value in one.probe.items() if value is not None}
    record = str(one.folder(plan.results).absolute()) if plan.grid.record else None
    return {
        "folder": str(folder),
        "parameters": {**one.given, **probe, "out": str(folder)},
        "probe": one.probe,
        "record": record,
    }


@contextlib.contextmanager
def _client(workers: int, on_gpus: bool, scheduler: str | None) -> Iterator[Client]:
    """A client of the remote scheduler, or of a cluster of processes on this machine."""
    import dask
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if scheduler:
        try:
            client = Client(scheduler, timeout=30, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConnectionError(f"no scheduler answers at {scheduler} ({error})") from None
        with client:
            yield client
        return
    resources = {"GPU": 1} if on_gpus else None
    with dask.config.set(LOCAL | QUIET):
        with _deaf_to_interrupts():
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,
                # Its web server cannot be left out: on this machine, at any free port.
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                resources=resources,
                silence_logs=logging.CRITICAL,
            )
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started here leave Ctrl-C to this one, which ends them in good order."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _drive(client: Client, tasks: dict[Cell, cell.Task], total: int) -> list[Failure]:
    """Keep every worker busy until all tasks are over; a cell that is busy elsewhere comes last."""
    ours = cell.identity()
    waiting = deque(tasks)
    running: dict[Future, Cell] = {}
    failures: list[Failure] = []
    with Progress(total, total - len(tasks), tasks) as progress:
        while waiting or running:
            slots = _slots(client)
            while waiting and len(running) < slots:
                one = waiting.popleft()
                running[_submit(client, tasks[one], ours)] = one
            for future in [f for f in running if f.status != "pending"]:
                one = running.pop(future)
                state, error = _result(future)
                if state in ("busy", "lost"):
                    tasks[one]["wait"] = state == "busy" or tasks[one]["wait"]
                    waiting.append(one)
                    continue
                if state == "done" and (error := _unseen(tasks[one])):
                    state = "failed"
                if state == "failed":
                    path = cell.log_of(Path(tasks[one]["folder"]))
                    failures.append(Failure(one.name, error, path))
                progress.over(one, state)
            progress.show(list(running.values()))
            time.sleep(0.5)
    return failures


def _unseen(task: cell.Task, patience: float = 30) -> str:
    """Why a cell is not done, whatever its worker says; empty where its DONE.json holds here."""
    folder = Path(task["folder"])
    end = time.monotonic() + patience
    while not (folder / "DONE.json").exists() and time.monotonic() < end:
        time.sleep(0.5)  # a network file system shows a new file late
    try:
        done = cell.is_done(folder, task["probe"])
    except ConfigError as error:
        return str(error)
    return "" if done else f"its worker calls it done, but {folder} here holds no finished run"


def _slots(client: Client) -> int:
    """How many cells may run: one for each thread of the workers; 0 while nobody is there."""
    if client.status == "closed":
        raise ConnectionError("the scheduler is gone; the same command goes on with what is there")
    if client.status != "running":  # the client tries to reach it again
        return 0
    try:
        return sum(client.nthreads().values())
    except (OSError, TimeoutError):
        return 0


def _submit(client: Client, task: cell.Task, ours: dict[str, str]) -> Future:
    on_gpu = task["gpus"] or str(task["parameters"].get("device", "")).startswith("cuda")
    resources = {"GPU": 1} if on_gpu else None
    # An older kit's `execute` takes no second argument, and fails.
    return client.submit(cell.execute, task, ours, pure=False, resources=resources)


def _result(future: Future) -> tuple[str, str]:
    """State and last line of a cell; "lost" when the scheduler forgot it."""
    if future.status in ("cancelled", "lost"):
        return "lost", ""
    try:
        return future.result()
    except Exception as error:  # whatever the worker met is the cell's failure, not the batch's
        return "failed", cell.reason(error)


class Progress:
    """One bar: cells done, running, failed, time left; the running ones with epoch and loss."""

    def __init__(self, total: int, done: int, tasks: dict[Cell, cell.Task]) -> None:
        self.folders = {one: Path(task["folder"]) for one, task in tasks.items()}
        self.failed, self.finished = 0, done
        self.since: dict[Cell, float] = {}  # when a running cell was seen first
        self.said: dict[Cell, int] = {}  # minutes of silence that are worth the next word
        self.quiet = not sys.stderr.isatty()  # a log gets a line for each cell instead
        self.bar = tqdm(
            total=total,
            initial=done,
            desc="cells",
            unit="cell",
            disable=self.quiet,
            bar_format="{desc} {n:.1f}/{total} |{bar:20}| {elapsed} < {remaining} {postfix}",
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def over(self, one: Cell, state: str) -> None:
        """Count a cell that is done or failed."""
        self.failed += state == "failed"
        self.finished += state == "done"
        if self.quiet:
            log.info("%s: %s (%d of %d done)", one.name, state, self.finished, self.bar.total)

    def show(self, running: list[Cell]) -> None:
        """Draw the bar anew; into a log, say who has been silent for long, each time it doubles."""
        now = time.monotonic()
        self.since = {one: self.since.get(one, now) for one in running}
        if self.quiet:
            for one in running:
                self._say_silence(one, self._silence(one))
            return
        words, parts = [], 0.0
        for one in running:
            log_file = cell.log_of(self.folders[one])
            epoch, epochs, loss = epoch_of(log_file)
            parts += epoch / epochs if epochs else 0
            about = f"{one.name} {epoch}/{epochs} {loss}" if epochs else one.name
            if (minutes := self._silence(one)) >= 1:
                about += f", silent for {minutes} min"
            words.append(about)
        self.bar.n = self.finished + self.failed + parts
        counts = f"{len(running)} running, {self.failed} failed"
        self.bar.set_postfix_str("; ".join([counts, *words]))

    def _silence(self, one: Cell) -> int:
        """Minutes without a word; an earlier attempt's last word is not this one's."""
        waited = int((time.monotonic() - self.since[one]) / 60)
        return min(waited, silent_minutes(cell.log_of(self.folders[one])))

    def _say_silence(self, one: Cell, minutes: int) -> None:
        if minutes >= self.said.get(one, SILENT):
            log.info("%s: no sign of life for %d minutes", one.name, minutes)
            self.said[one] = 2 * minutes
        elif minutes < SILENT:
            self.said.pop(one, None)


def silent_minutes(path: Path) -> int:
    """Whole minutes since a cell's log was written last; 0 before it is there."""
    try:
        return int((time.time() - path.stat().st_mtime) / 60)
    except OSError:
        return 0


def epoch_of(path: Path) -> tuple[int, int, str]:
    """Epoch, epochs and loss that a cell's log tells of last; zeros before the first."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        if found := EPOCH.findall(file.read()):
            epoch, epochs, loss = found[-1]
            return int(epoch), int(epochs), loss.decode()
    return 0, 0, ""
