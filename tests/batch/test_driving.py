"""Who drives the cells: workers kept busy, words on the way, one cell's process and its end.

The cluster is played here, and a cell's process is a shell's line; test_batch has the real ones.
"""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy_batch import write

from ltcl_helpers import files, runs
from ltcl_helpers.batch import cell, cluster, grid, plan
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError, DamagedFile

KNN = {"protocol": "knn", "features": "encoder", "shots": "full", "lists": None}


def some(*names, **given):
    return [grid.Cell(n, n, {}, RunConfig(**given), {"epochs": 3}, KNN, n.upper()) for n in names]


def a_plan(folder, cells, record=False):
    made = grid.Grid(Path("toy.yaml"), "T", "", cells, {}, [], {}, KNN, record)
    return plan.Plan(made, folder / "toy", folder / "results" / "toy", cells)


# --- before anything runs ---------------------------------------------------------------------


def test_a_token_is_secret_while_the_batch_lasts(tmp_path):
    study = tmp_path / "a" / "b"
    with cluster._token(study) as (path, content):
        assert Path(path) == study / f".token-{content[:8]}" and len(content) == 32
        assert Path(path).read_text() == content
        with cluster._token(study) as other:
            assert other[1] != content
    assert list(study.iterdir()) == []


def test_what_a_worker_must_know_of_a_cell(tmp_path):
    [one] = some("simclr-0")
    task = cluster.task_of(a_plan(tmp_path, [one]), one)
    folder = str(tmp_path / "toy" / "simclr-0")
    given = {"epochs": 3, "protocol": "knn", "features": "encoder", "shots": "full", "out": folder}
    assert task == {"folder": folder, "parameters": given, "probe": KNN, "record": None}
    task = cluster.task_of(a_plan(tmp_path, [one], record=True), one)
    assert task["record"] == str(tmp_path / "results" / "toy" / "simclr-0")


def test_a_batch_hands_each_cell_its_share(tmp_path, monkeypatch, caplog):
    cells = some("a", "b", "c", "d")
    todo, seen = a_plan(tmp_path, cells), {}
    states = {"a": "done", "b": "missing", "c": "half done", "d": "damaged"}
    monkeypatch.setattr(plan.Plan, "state", lambda _, one: plan.State(states[one.name], "bad"))
    monkeypatch.setattr(cluster, "_check_inputs", lambda found: seen.update(checked=found))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(6))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.chdir(tmp_path)

    @contextlib.contextmanager
    def client(*given):
        seen.update(client=given)
        yield "client"

    def drive(client, tasks, total):
        seen.update(tasks=tasks, total=total)
        return ["late"]

    monkeypatch.setattr(cluster, "_client", client)
    monkeypatch.setattr(cluster, "_drive", drive)
    caplog.set_level("INFO")
    damaged = cluster.Failure("d", "bad", tmp_path / "toy" / "d.log")
    assert cluster.run(todo) == [damaged, "late"]
    assert "toy: 4 cells, 2 to run" in caplog.text
    assert seen["checked"] == cells[1:3] == list(seen["tasks"]) and seen["total"] == 4
    assert seen["client"] == (2, False, None)
    task = seen["tasks"][cells[1]]
    known = cluster.task_of(todo, cells[1])
    common = {"cwd": str(tmp_path), "threads": 3, "gpus": [], "wait": False, "silence": None}
    assert {**task, "token": None} == {**known, **common, "token": None}
    assert Path(task["token"][0]).parent == tmp_path / "toy"
    cluster.run(todo, gpus=("0", "1", "2"), silence=5)
    task = seen["tasks"][cells[2]]
    assert seen["client"] == (3, True, None)
    assert (task["threads"], task["gpus"], task["silence"]) == (2, ["0", "1", "2"], 5)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    cluster.run(todo, workers=3)
    assert seen["tasks"][cells[1]]["threads"] == 4 and seen["client"] == (3, False, None)
    cluster.run(todo, scheduler="tcp://a:1")
    assert seen["tasks"][cells[1]]["threads"] is None and seen["client"][2] == "tcp://a:1"
    seen.clear()
    states.update(b="done", c="done")
    assert cluster.run(todo) == [damaged] and "client" not in seen


def test_workers_that_start_leave_ctrl_c_to_the_batch():
    before = signal.getsignal(signal.SIGINT)
    with cluster._deaf_to_interrupts():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before


# --- while cells run --------------------------------------------------------------------------


class Future:
    def __init__(self, play):
        self.play = play
        self.status = play if play in ("lost", "cancelled") else "finished"

    def result(self):
        if isinstance(self.play, Exception):
            raise self.play
        return self.play


class Client:
    """A scheduler of two threads; each cell's tries end as they are told, one after the other."""

    def __init__(self, **plays):
        self.plays, self.status, self.asked = plays, "running", []

    def nthreads(self):
        return {"one": 1, "two": 1}

    def submit(self, function, task, ours, pure, resources):
        assert function is cell.execute and ours == cell.identity() and pure is False
        name = Path(task["folder"]).name
        self.asked.append((name, task["wait"], resources))
        return Future(self.plays[name].pop(0))


def driven(tmp_path, monkeypatch, client, *names, **task):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    cells = some(*names)
    usual = {"wait": False, "gpus": [], "parameters": {}, "probe": KNN}
    tasks = {one: {"folder": str(tmp_path / one.name), **usual, **task} for one in cells}
    return cluster._drive(client, tasks, 5)


def test_a_cell_that_is_busy_elsewhere_comes_last_and_waits(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(cluster, "_unseen", lambda task: "")
    caplog.set_level("INFO")
    done = ("done", "")
    client = Client(a=[("busy", ""), done], b=["lost", done], c=[done], d=["cancelled", done])
    assert driven(tmp_path, monkeypatch, client, "a", "b", "c", "d") == []
    assert [asked[:2] for asked in client.asked] == [
        ("a", False), ("b", False), ("c", False), ("d", False), ("a", True), ("b", False),
        ("d", False)]  # fmt: skip
    said = [record.message for record in caplog.records]
    assert said == [f"{name}: done ({k} of 5 done)" for name, k in zip("cabd", (2, 3, 4, 5),
                                                                       strict=True)]  # fmt: skip


def test_a_cell_that_failed_is_told_with_its_log(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(cluster, "_unseen", lambda task: "not here" * task["folder"].endswith("c"))
    client = Client(a=[("failed", "why")], b=[ValueError("x\ny")], c=[("done", "")])
    assert driven(tmp_path, monkeypatch, client, "a", "b", "c") == [
        ("a", "why", tmp_path / "a.log"), ("b", "ValueError: y", tmp_path / "b.log"),
        ("c", "not here", tmp_path / "c.log")]  # fmt: skip
    assert caplog.records[-1].message == "c: failed (2 of 5 done)"


def test_a_cell_on_a_gpu_asks_for_one():
    client = Client(a=[1] * 9)
    task = {"folder": "a", "wait": False, "gpus": [], "parameters": {}}
    for more in ({}, {"gpus": ["0"]}, {"parameters": {"device": "cuda:1"}},
                 {"parameters": {"device": "cpu"}}):  # fmt: skip
        cluster._submit(client, task | more, cell.identity())
    assert [asked[2] for asked in client.asked] == [None, {"GPU": 1}, {"GPU": 1}, None]


def test_cells_start_where_workers_are():
    client = Client()
    assert cluster._slots(client) == 2
    client.status = "connecting"
    assert cluster._slots(client) == 0
    client.status = "closed"
    with pytest.raises(ConnectionError, match="the scheduler is gone; the same command goes on"):
        cluster._slots(client)
    for error in (OSError(), TimeoutError()):
        client = SimpleNamespace(status="running", nthreads=lambda e=error: raises(e))
        assert cluster._slots(client) == 0


def raises(error):
    raise error


def test_what_a_log_tells_of_last(tmp_path):
    log = tmp_path / "a.log"
    assert cluster.epoch_of(log) == (0, 0, "")
    for text, told in (
        ("nothing yet", (0, 0, "")), ("epoch 1 of 20: loss 1.5\nepoch 12 of 20: loss -2.5e-3\nx",
         (12, 20, "-2.5e-3")), ("epoch 3 of 9: loss nan", (3, 9, "nan")),
        ("epoch 1 of 9: loss 2.0" + " " * 4074, (1, 9, "2.0")),
        ("epoch 1 of 9: loss 2.0" + " " * 4075, (0, 0, "")),
    ):  # fmt: skip
        log.write_text(text)
        assert cluster.epoch_of(log) == told, text


def test_a_bar_shows_epochs_silence_and_failures(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(
        isatty=lambda: True, write=lambda _: None, flush=lambda: None))  # fmt: skip
    cells = some("a", "b", "c", "d")
    tasks = {one: {"folder": str(tmp_path / one.name)} for one in cells}
    (tmp_path / "a.log").write_text("epoch 1 of 4: loss 2.5")
    (tmp_path / "b.log").write_text("no epoch")
    past = time.time() - 61
    os.utime(tmp_path / "b.log", (past, past))
    with cluster.Progress(9, 3, tasks) as progress:
        progress.over(cells[2], "done")
        progress.over(cells[3], "failed")
        progress.show(cells[:2])
        assert "silent" not in progress.bar.postfix  # the log is that of an earlier attempt
        clock = time.monotonic() + 61
        monkeypatch.setattr(time, "monotonic", lambda: clock)
        progress.show(cells[:2])
        assert progress.bar.n == 3 + 1 + 1 + 0.25 and progress.bar.total == 9
        assert progress.bar.postfix == "2 running, 1 failed; a 1/4 2.5; b, silent for 1 min"
        assert (progress.bar.desc, progress.bar.unit, progress.bar.initial) == ("cells", "cell", 3)


def test_a_log_is_told_of_silence_each_time_it_doubles(tmp_path, monkeypatch, caplog):
    (one,) = some("a")
    log = tmp_path / "a.log"
    log.write_text("epoch 1 of 4: loss 2.5")
    start, said = time.time(), {}
    os.utime(log, (start - 3600, start - 3600))  # of an earlier attempt
    caplog.set_level("INFO")
    with cluster.Progress(1, 0, {one: {"folder": str(tmp_path / "a")}}) as progress:
        for minutes in (0, 9, 10, 11, 19, 20, 39, 40):
            monkeypatch.setattr(time, "monotonic", lambda now=60 * minutes: now)
            progress.show([one])
            said[minutes] = caplog.messages.copy()
            caplog.clear()
        assert [minutes for minutes, words in said.items() if words] == [10, 20, 40]
        assert said[10] == ["a: no sign of life for 10 minutes"]
        os.utime(log)  # a word: silence begins anew
        progress.show([one])
        assert progress.said == {} and not caplog.messages


# --- one cell's process -----------------------------------------------------------------------

SHELL = """#!/bin/sh
echo "$1 $2 $3" > {folder}/told
env > {folder}/environment
echo out; echo err >&2
tell=$(echo "$3" | sed 's/.*"tell": \\([0-9]*\\).*/\\1/')
{line}
"""
TASK = {"threads": 3, "gpus": [], "silence": None, "wait": False, "record": None, "probe": KNN}


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """Run a cell whose process is a shell's line; what becomes of it."""
    script = tmp_path / "shell"
    known = SimpleNamespace(tasks={"key": SimpleNamespace(state="executing")})
    status = SimpleNamespace(name="running")
    worker = SimpleNamespace(name="1", status=status, state=known, get_current_task=lambda: "key")
    monkeypatch.setattr(cell, "identity", lambda: {"kit": "1"})  # to read its code takes long

    def call(line, **changes):
        import distributed

        script.write_text(SHELL.format(folder=tmp_path, line=line))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(distributed, "get_worker", lambda: worker)
        monkeypatch.setattr(cell.sys, "executable", str(script))
        task = TASK | {"folder": str(tmp_path / "toy" / "a"), "cwd": str(tmp_path)} | changes
        with cluster._token(tmp_path / "toy") as token:
            return cell.execute(task | {"token": token}, cell.identity())

    call.worker, call.folder = worker, tmp_path
    return call


def test_how_a_cells_process_ended_is_its_state(executed, monkeypatch):
    for name in cell.DASK_SETS:
        monkeypatch.setenv(name, "1")
    assert executed("exit 0") == ("done", "ended with exit code 0")
    assert executed("exit 75") == ("busy", "ended with exit code 75")
    assert executed("printf 'no room' > /dev/fd/$tell; exit 1") == ("failed", "no room")
    assert executed("kill -9 $$") == ("failed", "ended with exit code -9")
    log = (executed.folder / "toy" / "a.log").read_text()
    assert log == 4 * "out\nerr\n"  # one after the other, nothing lost
    module, told = (executed.folder / "told").read_text().split(maxsplit=2)[1:]
    told = json.loads(told)
    assert module == "ltcl_helpers.batch.cell" and told["pid"] == os.getpid()
    assert TASK.items() <= told.items()
    lines = (executed.folder / "environment").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    assert found["JUPYTER_PREFER_ENV_PATH"] == "1" and found["OMP_NUM_THREADS"] == "3"
    assert not set(cell.DASK_SETS) & set(found) and "LTCL_CELL_GPUS" not in found
    dask_sets = ("MALLOC_TRIM_THRESHOLD_", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    assert dask_sets == cell.DASK_SETS


def test_a_cell_has_the_gpus_of_its_worker(executed):
    executed("exit 0", gpus=["0,1", "2,3"], threads=None)
    found = (executed.folder / "environment").read_text().splitlines()
    assert {"CUDA_VISIBLE_DEVICES=2,3", "LTCL_CELL_GPUS=2,3"} <= set(found)


def test_a_cell_that_begins_again_is_not_silent_since_its_last_attempt(executed, monkeypatch):
    log = executed.folder / "toy" / "a.log"
    log.parent.mkdir()
    log.write_text("epoch 1 of 9\n")
    os.utime(log, (1, 1))
    start, silent = subprocess.Popen, []

    def watched(*args, **options):  # the process itself has not said a word yet
        silent.append(cluster.silent_minutes(log))
        return start(*args, **options)

    monkeypatch.setattr(cell.subprocess, "Popen", watched)
    assert executed("exit 0")[0] == "done" and silent[0] < 60
    assert log.read_text() == "epoch 1 of 9\nout\nerr\n"


def test_a_cell_is_ended_when_it_is_silent_or_nobody_waits(executed):
    said = "no sign of life for 1e-06 minutes; it was ended"
    assert executed("sleep 600", silence=1e-6) == ("failed", said)
    cancelled = SimpleNamespace(tasks={"key": SimpleNamespace(state="cancelled")})
    for change in (
        {"status": SimpleNamespace(name="closing")},
        {"state": SimpleNamespace(tasks={})},
        {"state": cancelled},
    ):
        before = dict(vars(executed.worker))
        vars(executed.worker).update(change)
        with pytest.raises(RuntimeError, match="nobody waits for this cell any more"):
            executed("sleep 600")
        vars(executed.worker).update(before)


def test_a_stranger_runs_no_cell(monkeypatch):
    real = cell.identity()
    monkeypatch.setattr(cell, "identity", lambda: real | {"torch": "0.1"})
    pytest.importorskip("distributed")
    task = TASK | {"folder": "a", "token": ("/nowhere/.token", "x")}
    host = cell.socket.gethostname()
    assert cell.execute(task, real) == (
        "failed", f"the worker on {host} has torch 0.1, the batch {real['torch']}; install the "
        "same there")  # fmt: skip
    assert cell.stranger(task, cell.identity()) == (
        f"the worker on {host} does not share /nowhere with the batch; mount the batch's folder "
        "there, under the same path"
    )
    assert len(real["the kit's code"]) == 12


@pytest.fixture
def played(tmp_path, monkeypatch):
    """Go through a cell's own steps: is it done at first, is it after its notebook."""
    steps = []
    monkeypatch.setattr(cell, "_papermill", lambda task, folder: steps.append("notebook"))
    monkeypatch.setattr(runs, "record", lambda folder, to: steps.append(("record", folder, to)))

    def call(*done, **changes):
        steps.clear()
        answers = list(done)
        monkeypatch.setattr(cell, "is_done", lambda folder, probe: answers.pop(0))
        cell.main(TASK | {"folder": str(tmp_path / "a"), "pid": os.getppid()} | changes)
        return steps

    call.steps, call.folder = steps, tmp_path / "a"
    return call


def test_a_cells_notebook_is_run_unless_it_is_done(played, tmp_path):
    assert played(True, True) == [] and played(False, True) == ["notebook"]
    with pytest.raises(DamagedFile, match=f"notebook ended, but {tmp_path}/a holds no finished"):
        played(False, False)
    kept = tmp_path / "results"
    assert played(True, True, record=str(kept)) == [("record", played.folder, kept)]
    kept.mkdir()
    files.write_json(kept / "DONE.json", {})
    assert played(True, True, record=str(kept)) == []


def test_a_cell_that_another_process_has_is_busy(played, monkeypatch):
    with files.hold(played.folder.with_name(".a.lock")), pytest.raises(SystemExit) as stopped:
        played(False, True)
    assert stopped.value.code == 75 and played.steps == []
    played.folder.mkdir()
    (played.folder / "config.json").touch()
    cell._wait_for_writer(played.folder)  # nobody writes
    with runs.lock(played.folder), pytest.raises(SystemExit) as stopped:
        cell._wait_for_writer(played.folder, seconds=-1)
    assert stopped.value.code == 75


def test_an_error_is_its_last_line_without_colours():
    error = ValueError("\x1b[31mfirst\x1b[0m\nlast \x1b[1;32mline\x1b[0m\n")
    assert cell.reason(error) == "ValueError: last line" and cell.reason(OSError()) == "OSError: "
    told = SimpleNamespace(ename="KeyError", evalue="'a'")  # as papermill tells a cell's error
    assert cell.reason(told) == "KeyError: 'a'"
    assert cell.log_of(Path("runs/toy/a.b")) == Path("runs/toy/a.b.log")


# --- what is left to do -----------------------------------------------------------------------


def test_a_plan_is_of_a_study_and_of_the_cells_that_are_asked_for(tmp_path):
    found = grid.read(write(tmp_path, cross={"seed": [0, 1, 2, 3]}))
    whole = plan.Plan.of(found)
    assert (whole.study, whole.results) == (Path("runs/toy"), plan.RESULTS / "toy")
    assert whole.cells == found.cells
    some_ = plan.Plan.of(found, tmp_path / "x", tmp_path / "r", "*-[13]")
    assert [one.name for one in some_.cells] == ["simclr-1", "simclr-3"]
    assert (some_.study, some_.results) == (tmp_path / "x", tmp_path / "r" / "toy")
    said = r"--only 'b\*' matches no cell; the cells are simclr-0, simclr-1, simclr-2, \.\.\."
    with pytest.raises(ConfigError, match=said):
        plan.Plan.of(found, only="b*")


def test_a_run_that_is_half_done_tells_its_epoch(tmp_path):
    [one] = grid.read(write(tmp_path)).cells
    todo = plan.Plan.of(grid.read(write(tmp_path)), tmp_path, tmp_path / "r")
    folder = one.folder(tmp_path)
    folder.mkdir()
    assert todo.state(one) == ("missing", "")
    (folder / "config.json").write_text(one.config.model_dump_json())
    for epoch in (1, 3):
        (folder / f"checkpoint-{epoch:06}-{16 * 'a'}.pt").touch()
    assert todo.state(one) == ("half done", "epoch 3 of 4")


def test_hours_are_told_for_each_machine_with_what_is_unknown(tmp_path, monkeypatch):
    one, two, three = some("a", epochs=10) + some("b", epochs=20, width=32) + some("c", width=24)
    known = {("gpu", plan._cost(one.config)): 36.0, ("gpu", plan._cost(two.config)): 72.0,
             ("cpu", plan._cost(one.config)): 3600.0, ("tpu", "another"): 1.0}  # fmt: skip
    monkeypatch.setattr(plan, "recorded_seconds", lambda studies: known)
    todo = a_plan(tmp_path, [one, two, three])
    assert plan._hours(todo, {one: 10, two: 20, three: 5}) == [
        "training left: 10.0 hours on one cpu; unknown for 2 cells",
        "training left: 0.5 hours on one gpu; unknown for 1 cells",
    ]
    unknown = ["training left: unknown; no recorded run is like these"]
    assert plan._hours(todo, {three: 5}) == unknown and plan._hours(todo, {}) == []


def test_what_the_time_of_an_epoch_depends_on():
    boosted = dict(boost="memory", method="simclr")
    for base, same in (
        ({}, dict(seed=3, split_seed=2, mirrored=True, epochs=7, warmup_epochs=1, lr=0.3)),
        ({}, dict(weight_decay=0.1, temperature=0.3, momentum_beta=0.5, keep_every=3)),
        ({}, dict(precision="float32")), ({"split": "long-tail"}, {"split": "balanced"}),
        ({"split": "a/split1_D_i.npy"}, {"split": "b/split22_D_b.npy"}),
        ({"data": "npz:a/x_train.npz"}, {"data": "npz:b/c/x_train.npz"}),
        (boosted, boosted | {"boost_scale": 0.5}), (boosted, boosted | {"boost_noise": 0.1}),
        (boosted, boosted | {"boost": "shuffled"}),
    ):  # fmt: skip
        costs = [plan._cost(RunConfig(**given)) for given in (base, base | same)]
        assert costs[0] == costs[1], same
    kinds = [{}, {"batch_size": 64}, {"width": 32}, boosted, {"data": "cifar10"}, {"split": "all"},
             {"method": "sdclr"}]  # fmt: skip
    assert len({plan._cost(RunConfig(**kind)) for kind in kinds}) == len(kinds)
