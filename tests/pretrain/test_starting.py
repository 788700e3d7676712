"""How ranks start and what is said when they end, without training on any."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from ltcl_helpers import runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.networks.exchange import ONE, Ranks
from ltcl_helpers.pretrain import checks, pretrain, ranks

TINY = dict(preset="tiny", device="cpu")


@pytest.mark.parametrize(
    ("given", "count", "says"),
    [
        ({}, 0, "ranks is 0; allowed is 1 or more"),
        ({"epochs": 0}, 2, r"an untrained encoder \(epochs=0\) needs one rank; leave --ranks out"),
        ({"batch_size": 5}, 3, "batch_size is 5 for 3 ranks; give each 2 images or more"),
        ({"boost": "clean-loss"}, 2, "boost clean-loss needs one rank; leave --ranks and --gpus"),
        ({"method": "moco-v2", "group_size": 64}, 2, "which 2 ranks cannot share"),
    ],
)
def test_a_run_that_ranks_cannot_make_is_refused(given, count, says):
    with pytest.raises(ConfigError, match=says):
        checks.check(RunConfig(**TINY | given), count)
    if count:
        checks.check(RunConfig(**TINY | given), 1)


def test_a_run_that_ranks_can_make_is_not():
    checks.check(RunConfig(**TINY, batch_size=6), 3)
    checks.check(RunConfig(**TINY, boost="memory"), 2)


def test_ranks_train_no_imported_weights_and_make_no_folder_for_them(tmp_path):
    config = RunConfig(**TINY).model_copy(update={"weights": "torchvision:x"})
    with pytest.raises(ConfigError, match="weights is set by `ltcl import-weights`"):
        ranks.make(config, tmp_path / "run", inputs=None, is_new=True, count=2)
    assert not (tmp_path / "run").exists()


def test_a_process_that_nobody_started_as_a_rank_is_alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert ranks.join(RunConfig(**TINY)) is ONE
    monkeypatch.setenv("WORLD_SIZE", "4")  # of somebody else: no rank
    assert ranks.join(RunConfig(**TINY)) is ONE
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setenv("RANK", "0")
    assert ranks.join(RunConfig(**TINY)) is ONE


@pytest.fixture
def joined(monkeypatch):
    """Join as rank 1 of 3; what torch is asked for."""
    asked = []
    monkeypatch.setattr(dist, "is_initialized", lambda: False)
    monkeypatch.setattr(dist, "init_process_group", lambda *a, **k: asked.append((a, k)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: asked.append(number))
    for name, value in {"RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "5"}.items():
        monkeypatch.setenv(name, value)
    for name in (ranks.MEETING, ranks.PARENT):
        monkeypatch.delenv(name, raising=False)

    def call(**given):
        asked.clear()
        place = ranks.join(RunConfig(**TINY | given))
        assert (place.count, place.number) == (3, 1)
        return asked

    return call


def test_ranks_on_a_cpu_meet_at_a_file_and_those_of_torchrun_where_it_says(joined, monkeypatch):
    (((backend,), how),) = joined()
    assert backend == "gloo"
    assert how == dict(init_method="env://", world_size=3, rank=1, timeout=ranks.PATIENCE)
    assert ranks.PATIENCE.total_seconds() == 1800
    monkeypatch.setenv(ranks.MEETING, "/there/meeting")
    assert joined()[0][1]["init_method"] == "file:///there/meeting"
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    assert joined() == []


def test_what_ranks_cannot_make_is_refused_before_they_meet(tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "started", lambda: 3)
    with pytest.raises(ConfigError, match="batch_size is 4 for 3 ranks"):
        pretrain(RunConfig(**TINY, batch_size=4), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_rank_takes_the_gpu_of_its_number_on_this_machine(joined, monkeypatch):
    number, ((backend,), _) = joined(device="auto")
    assert (number, backend) == (1, "nccl")  # 5 of 2 cards
    monkeypatch.delenv("LOCAL_RANK")
    assert joined(device="cuda")[0] == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (((backend,), _),) = joined(device="auto")
    assert backend == "gloo"


def test_a_rank_does_not_outlive_who_started_it(joined, monkeypatch):
    started = []

    class Thread:
        def __init__(self, target, args, daemon):
            assert daemon
            self.call = target, args

        def start(self):
            started.append(self.call)

    monkeypatch.setattr(threading, "Thread", Thread)
    joined()
    assert started == []
    monkeypatch.setenv(ranks.PARENT, "17")
    joined()
    assert started == [(ranks._end_with, [17])]

    parents, ends = iter([17, 17, 1]), []
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(time, "sleep", ends.append)
    monkeypatch.setattr(os, "_exit", lambda code: ends.append(f"exit {code}"))
    ranks._end_with(17)
    assert ends == [0.2, 0.2, "exit 1"]


def test_only_several_ranks_wait_and_only_a_group_is_left(monkeypatch):
    calls = []
    monkeypatch.setattr(dist, "barrier", lambda: calls.append("wait"))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: calls.append("leave"))
    ranks.wait(ONE)
    assert calls == []
    ranks.wait(Ranks(2, 1))
    for is_in in (False, True):
        monkeypatch.setattr(dist, "is_initialized", lambda is_in=is_in: is_in)
        ranks.part()
    assert calls == ["wait", "leave"]


def test_a_lost_rank_is_told_from_an_error_of_ones_own():
    assert ranks.is_lost(dist.DistBackendError("NCCL")) and ranks.is_lost(RuntimeError("[gloo] x"))
    assert not ranks.is_lost(RuntimeError("out of memory"))


@pytest.mark.parametrize(
    ("number", "code", "log", "said", "result"),
    [
        (1, 2, "first\nltcl: wrong\n", "ltcl: rank 1: ltcl: wrong; all ranks are ended\n", 2),
        (1, 1, "", "ltcl: rank 1: ended with exit code 1; all ranks are ended\n", 1),
        (1, -9, "words", "ltcl: rank 1: was killed by signal 9; all ranks are ended\n", 1),
        (0, -15, "", "ltcl: rank 0: was killed by signal 15; all ranks are ended\n", 1),
        (0, 2, "", "", 2),  # its own words were heard
        (0, 3, "", "", 1),
    ],
)
def test_why_a_rank_ended_is_one_line(number, code, log, said, result, tmp_path, capsys):
    words = [tmp_path / "0.log", tmp_path / "1.log"]
    for path in words:
        path.write_text(log)
    assert ranks._explain(number, code, words) == result
    assert capsys.readouterr().err == said


class Process:
    """A rank that ends with a code after being asked so often; -9 where it is killed before."""

    def __init__(self, code, polls=0):
        self.code, self.polls, self.returncode, self.killed = code, polls, None, False

    def poll(self):
        if self.polls and not self.killed:
            self.polls -= 1
            return None
        self.returncode = self.code
        return self.returncode

    def kill(self):
        self.killed, self.code = True, -9

    def wait(self):
        return self.poll()


@pytest.mark.parametrize(
    ("processes", "result", "blamed"),
    [
        ([(0, 2), (0, 3)], 0, None),
        ([(0, 1000), (2, 1)], 2, 1),  # the other is not waited for
        ([(1, 0), (-9, 0)], 1, 1),  # the first failed because it lost the second
        ([(2, 0), (1, 0)], 2, 0),
    ],
)
def test_the_rank_that_failed_by_itself_is_blamed(processes, result, blamed, monkeypatch):
    made, calls = [Process(*how) for how in processes], []

    @contextlib.contextmanager
    def started(*given):
        yield made

    explain = ranks._explain
    monkeypatch.setattr(ranks, "_started", started)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(ranks, "_explain", lambda n, *rest: calls.append(n) or explain(n, *rest))
    monkeypatch.setattr(ranks.Path, "read_text", lambda self, errors: "")
    assert ranks.launch(["run"], 2) == result
    assert calls == ([] if blamed is None else [blamed])
    if blamed is None:  # all were waited for
        assert [process.returncode for process in made] == [0, 0]


def test_each_rank_is_a_process_that_knows_its_place(tmp_path, monkeypatch):
    made = []

    def popen(command, env, stdout, stderr):
        made.append((command, env, stdout, stderr, Process(0, 5)))
        return made[-1][-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(ranks, "cores_each", lambda processes: 8 // processes)
    words = [tmp_path / "0.log", tmp_path / "1.log", tmp_path / "2.log"]
    for threads, gpus in (("7", ["4", "6", "5"]), (None, ())):
        made.clear()
        if threads:
            monkeypatch.setenv("OMP_NUM_THREADS", threads)
        else:
            monkeypatch.delenv("OMP_NUM_THREADS")
        with ranks._started(["run", "x"], 3, gpus, str(tmp_path), words) as processes:
            assert len(processes) == 3 and not any(process.killed for process in processes)
        for number, (command, env, out, err, process) in enumerate(made):
            assert command == [sys.executable, "-m", "ltcl_helpers", "run", "x"]
            assert (env["RANK"], env["WORLD_SIZE"]) == (str(number), "3")
            assert env[ranks.MEETING] == str(tmp_path / "meeting")
            assert env[ranks.PARENT] == str(os.getpid())
            assert env["OMP_NUM_THREADS"] == (threads or "2")
            assert env["CUDA_VISIBLE_DEVICES"] == (gpus[number] if gpus else "")
            assert process.killed and process.returncode == -9
            assert out is err and (out is None) == (number == 0)


def test_a_run_is_begun_once_and_then_gone_on_with(tmp_path, monkeypatch):
    calls, config = [], RunConfig(**TINY, batch_size=6)
    monkeypatch.setattr(ranks, "launch", lambda *given: calls.append(given) or 5)
    folder = tmp_path / "deep" / "run"
    inputs = splits.select(config)
    assert ranks.make(config, folder, inputs, True, 2, ["0", "1"], 1.5) == 5
    assert runs.read_config(folder) == config
    assert ranks.make(config, folder, inputs, False, 3) == 5
    resume = ["run", "--resume", str(folder)]
    assert calls == [([*resume, "--minutes", "1.5"], 2, ["0", "1"]), (resume, 3, ())]
    elsewhere = config.moved({"device": "auto", "root": "/scratch"})
    assert ranks.make(elsewhere, folder, inputs, False, 3) == 5
    assert calls[-1][0] == [*resume, "--set", "device=auto", "--set", "root=/scratch"]
    with pytest.raises(ConfigError, match="exists"):
        ranks.make(config, folder, inputs, True, 2)


@pytest.mark.parametrize(
    ("changed", "count", "said"),
    [
        (dict(network="torchvision:zzz"), 2, "is not known"),
        (dict(network="torchvision:vit_b_16"), 2, "does not take 32x32 images"),
        (dict(batch_size=6), 4, "4 ranks; give each 2"),
        (dict(batch_size=63, equal_batches=False), 3, "for 3 ranks; set equal_batches=true"),
        (dict(device="cuda"), 2, "torch finds no GPU"),
        (dict(boost="clean-loss"), 2, "needs one rank"),
    ],
)
def test_what_cannot_be_made_on_ranks_makes_no_folder(changed, count, said, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = RunConfig(**TINY | changed)
    inputs = splits.select(config)
    if "equal_batches" in changed:
        inputs = inputs._replace(labels=inputs.labels[:1].repeat(191))
    with pytest.raises(ConfigError, match=said):
        ranks.make(config, tmp_path / "run", inputs, True, count)
    assert not (tmp_path / "run").exists()


def test_a_class_of_somebodys_own_is_trained_on_ranks(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(ranks, "launch", lambda *given: calls.append(given) or 0)
    (tmp_path / "swung_here.py").write_text(
        "from ltcl_helpers.methods import SimCLR\nclass Swing(SimCLR):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    config = RunConfig(**TINY, method="swung_here:Swing")
    ranks.make(config, Path("run"), splits.select(config), True, 2)
    assert calls == [(["run", "--resume", "run", "--allow-own-method"], 2, ())]


def test_a_cell_of_a_batch_is_made_on_its_gpus(tmp_path, monkeypatch):
    calls, config = [], RunConfig(**TINY)
    monkeypatch.setattr(splits, "select", lambda config: "its images")
    monkeypatch.setattr(ranks, "make", lambda *given: calls.append(given))
    for gpus in ("", "3"):
        monkeypatch.setenv(ranks.CELL_GPUS, gpus)
        ranks.make_on_gpus(config, tmp_path)
    monkeypatch.setenv(ranks.CELL_GPUS, "3,1")
    ranks.make_on_gpus(config, tmp_path)
    (tmp_path / "config.json").write_text("{}")
    ranks.make_on_gpus(config, tmp_path)
    (tmp_path / "DONE.json").write_text("{}")
    ranks.make_on_gpus(config, tmp_path)
    known = (config, tmp_path, "its images")
    assert calls == [(*known, is_new, 2, ["3", "1"]) for is_new in (True, False)]
    (tmp_path / "DONE.json").unlink()
    monkeypatch.setattr(ranks, "make", lambda *given: 3)
    with pytest.raises(RuntimeError, match="2 ranks ended with exit code 3; the log says why"):
        ranks.make_on_gpus(config, tmp_path)
