"""Several processes train as one does: every method, uneven batches, boosted; and how they end."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from ltcl_helpers import pretrain, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data.splits import Inputs
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.networks import exchange
from ltcl_helpers.networks.exchange import Ranks
from ltcl_helpers.pretrain import checks, keeper, loop, ranks
from ltcl_helpers.pretrain.training import Training

SAMPLES, CLASSES = 29, 3
COMMON = dict(preset="tiny", device="cpu", precision="float32", batch_size=16, lr=0.1, epochs=2)
QUEUED = dict(group_size=8, batch_size=16)  # two groups: one a rank
CASES = {  # every recipe, and what else may differ between ranks; 29 samples: batches of 15 and 14
    "simclr": {},
    "sdclr": dict(prune_random=0.2),
    "bcl-i": {},
    "bcl-d": {},
    "bcl-d, paper rule": dict(method="bcl-d", boost_rule="paper"),
    "shuffled": dict(method="simclr", boost="shuffled"),
    "oracle": dict(method="simclr", boost="oracle"),
    "moco-v1": QUEUED,
    "moco-v2": QUEUED | dict(symmetric=True, blur=0.5),
    "balanced-cl": dict(hidden=16),
    "cross-entropy": dict(classified_view="randaugment"),
    "small last batch": dict(method="simclr", equal_batches=False, batch_size=16),
    "end-to-end": dict(method="ltcl_helpers.methods.moco:EndToEnd"),
    "memory bank": dict(method="ltcl_helpers.methods.moco:MemoryBank"),
    "bottleneck": dict(method="simclr", network="bottleneck", epochs=1),
}
ON_FOUR = {
    "simclr": {},
    "bcl-d": {},
    "moco-v2": dict(group_size=4, batch_size=16),
    "balanced-cl": dict(hidden=16),
}


def config_of(name, changes):
    return RunConfig(**COMMON | {"method": name} | changes)


def inputs_of():
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (SAMPLES, 3, 12, 12), np.uint8)
    labels = np.arange(SAMPLES) % CLASSES
    labels[::2] = 0  # a long tail
    counts = np.bincount(labels, minlength=CLASSES)
    return Inputs(images, labels, np.arange(SAMPLES), counts, counts)


def train(config, together):
    """The state after all epochs, and each epoch's loss."""
    training = Training(config, inputs_of(), ranks=together)
    watch = keeper.Keeper({}, training.machine, ranks=together)
    loop._train(training, watch)
    return {"state": training.state_dict(), "loss": [row[1] for row in watch.rows]}


def worker(number, count, folder, cases):
    """One rank: train every case in float64, and keep what came of it."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    found = {}
    for name, config in cases.items():
        os.environ |= {"RANK": str(number), "WORLD_SIZE": str(count)}
        os.environ[ranks.MEETING] = str(Path(folder, "meeting"))
        together = ranks.join(config)
        found[name] = train(config, together)
        if name == "simclr":  # faults that must show, or no test would
            found["no shared norm"] = without_shared_norm(config, together)
    found["own slice"] = own_slice(config_of("balanced-cl", dict(hidden=16)), together)
    torch.save(found, Path(folder, f"{number}.pt"))
    ranks.part()


def without_shared_norm(config, together):
    real = Ranks._shared_norm
    Ranks._shared_norm = lambda self, norm: norm
    try:
        return train(config, together)
    finally:
        Ranks._shared_norm = real


def own_slice(config, together):
    """A gather that passes on the gradient of the own loss only, times the ranks."""
    real = exchange._Gather.backward

    def backward(ctx, gradient):
        return together.count * gradient[ctx.rows], None, None

    exchange._Gather.backward = staticmethod(backward)
    try:
        return train(config, together)
    finally:
        exchange._Gather.backward = real


def start(target, count, folder, *arguments):
    """Ranks in processes of their own, forked from one that has torch loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ltcl_helpers.pretrain", "ltcl_helpers.methods", __name__])
    processes = []
    for number in range(count):
        process = context.Process(target=target, args=(number, count, str(folder), *arguments))
        process.start()
        processes.append(process)
    return processes


def finish(processes):
    """Wait for all ranks, however long that takes; when one fails, the others wait for nothing."""
    while any(process.exitcode is None for process in processes):
        if any(process.exitcode for process in processes):
            break
        time.sleep(0.05)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
    assert codes == [0] * len(processes)


@pytest.fixture(scope="module")
def on_ranks(tmp_path_factory):
    """What every case gave on 2 and on 4 ranks, by count, from the first and the last of them."""
    found = {}
    for count, cases in ((2, CASES), (4, ON_FOUR)):
        folder = tmp_path_factory.mktemp(f"ranks-{count}")
        finish(start(worker, count, folder, {n: config_of(n, c) if "method" not in c
                     else RunConfig(**COMMON | c) for n, c in cases.items()}))  # fmt: skip
        found[count] = [torch.load(folder / f"{n}.pt") for n in (0, count - 1)]
    return found


def tensors(state):
    if isinstance(state, dict):
        return {f"{k}.{n}": t for k, part in state.items() for n, t in tensors(part).items()}
    if isinstance(state, list):
        return tensors(dict(enumerate(state)))
    return {} if state is None else {"": torch.as_tensor(state)}


def apart(one, other):
    """The largest difference between two states; names and shapes must agree."""
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    worst = 0.0
    for name, value in first.items():
        both = value.double(), second[name].double()
        assert both[0].shape == both[1].shape, name
        if value.numel():
            gap = (both[0] - both[1]).abs().nan_to_num(0).max()
            worst = max(worst, float(gap))
    return worst


PAIRS = [(2, name) for name in CASES] + [(4, name) for name in ON_FOUR]


@pytest.mark.parametrize(("count", "name"), PAIRS)
def test_ranks_train_as_one_process_does(count, name, on_ranks, float64):
    """Losses, weights, running statistics, queues, momentum and memory, after two epochs."""
    changes = (CASES if count == 2 else ON_FOUR)[name]
    config = RunConfig(**COMMON | {"method": name} | changes)
    alone = train(config, Ranks())
    first, last = (found[name] for found in on_ranks[count])
    history = [state["state"]["memory"].pop("history") for state in (alone, first, last)]
    torch.testing.assert_close(history[0], history[1], rtol=1e-3, atol=1e-3, equal_nan=True)
    assert apart(alone, first) < 1e-9
    assert apart(first, last) < 1e-12


def test_faults_of_other_codes_would_show(on_ranks, float64):
    first = on_ranks[2][0]
    assert apart(first["simclr"]["loss"], first["no shared norm"]["loss"]) > 1e-3
    proper = first["balanced-cl"]["state"]["method"]
    assert apart(proper, first["own slice"]["state"]["method"]) > 1e-6


def test_no_rank_trains_before_the_first_has_begun_the_folder(tmp_path, monkeypatch):
    for number in (0, 1):
        out, order = tmp_path / str(number), []
        patches = {
            (ranks, "join"): lambda _, number=number: Ranks(2, number),
            (ranks, "wait"): lambda _, out=out, order=order: order.append(out.exists()),
            (loop, "_train_in"): lambda *_, order=order: order.append("train"),
        }
        for (module, name), patch in patches.items():
            monkeypatch.setattr(module, name, patch)
        pretrain.pretrain(config_of("simclr", {}), out, inputs_of())
        assert order == [number == 0, "train"]


# --- stopped and resumed ------------------------------------------------------------------------


def stop_after_first(number, count, folder, out, config):
    """A rank of a run whose first rank dies right after its first checkpoint."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    os.environ |= {"RANK": str(number), "WORLD_SIZE": str(count)}
    os.environ[ranks.MEETING] = str(Path(folder, "meeting"))
    if config is not None:
        save = runs.save_checkpoint

        def save_and_die(*arguments):
            save(*arguments)
            os._exit(9)

        runs.save_checkpoint = save_and_die
        pretrain.pretrain(config, out, inputs_of())
    else:
        loop.splits.select = lambda _: inputs_of()
        pretrain.resume(out)
    ranks.part()


def encoder_of(folder):
    return runs.Run.load(folder).encoder.state_dict()


def test_a_run_goes_on_with_another_number_of_ranks(tmp_path, float64, monkeypatch):
    config = config_of("bcl-d", dict(epochs=3, keep_every=1))
    whole = pretrain.pretrain(config, tmp_path / "whole", inputs_of())
    meetings = [tmp_path / name for name in ("first", "second")]
    for meeting in meetings:
        meeting.mkdir()
    stopped = start(stop_after_first, 2, meetings[0], str(tmp_path / "two"), config)
    stopped[0].join()
    assert stopped[0].exitcode == 9
    stopped[1].kill()
    stopped[1].join()
    subprocess.run(["cp", "-r", tmp_path / "two", tmp_path / "one"], check=True)

    finish(start(stop_after_first, 2, meetings[1], str(tmp_path / "two"), None))
    monkeypatch.setattr(loop.splits, "select", lambda _: inputs_of())
    pretrain.resume(tmp_path / "one")
    expected = whole.encoder.state_dict()
    assert apart(expected, encoder_of(tmp_path / "two")) < 1e-9
    assert apart(expected, encoder_of(tmp_path / "one")) < 1e-9
    machines = runs.verify(tmp_path / "one")["machines"]
    assert [machine.get("ranks") for machine in machines] == [2, None]
    assert runs.verify(tmp_path / "two")["machines"] == machines[:1]


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (30, 8, 8, 3), np.uint8)
    np.savez("a_train.npz", images=images, labels=np.arange(30) % 3)
    call = ["run", "--preset", "tiny", "--data", "npz:a_train.npz", "--split", "all"]
    return [*call, "--set", "device=cpu", "--set", "batch_size=10", "--set", "epochs=40"]


def command(*arguments):
    call = [sys.executable, "-m", "ltcl_helpers", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        call, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_minutes_a_killed_rank_and_a_resumed_run(photos):
    short = command(*photos, "--ranks", "2", "--out", "run", "--minutes", "0.0001")
    said, complained = short.communicate()
    assert short.returncode == 0 and "stopped after epoch 1 of 40" in said, complained

    going = command("run", "--resume", "run", "--ranks", "2")
    newest = runs.checkpoints(Path("run"))[0]
    while runs.checkpoints(Path("run"))[0] == newest and going.poll() is None:
        time.sleep(0.05)
    second = [
        child
        for child in psutil.Process(going.pid).children()
        if child.environ().get("RANK") == "1"
    ]
    os.kill(second[0].pid, signal.SIGKILL)
    _, complained = going.communicate()
    assert going.returncode == 1
    assert complained.strip().splitlines()[-1].startswith("ltcl: rank 1: was killed by signal 9")
    assert not Path("run/DONE.json").exists()

    run = pretrain.resume("run")
    assert len(run.history) == 40 and run.done["machines"][0]["ranks"] == 2


def test_a_wrong_call_is_one_line_and_starts_nothing(photos, ltcl):
    for more, says in (
        (["--ranks", "0"], "ranks is 0"),
        (["--ranks", "6"], "batch_size is 10 for 6 ranks"),
        (["--ranks", "2", "--gpus", "0,1,2"], "give one"),
        (["--ranks", "2", "--method", "moco-v2", "--set", "group_size=10"], "cannot share"),
        (["--ranks", "2", "--split", "absent.npy"], "does not exist"),
    ):
        done = ltcl(*photos, *more, "--out", "new")
        assert done.returncode == 2 and says in done.stderr, done.stderr
        assert done.stderr.count("ltcl: ") == 1 and "Traceback" not in done.stderr
        assert not Path("new").exists()


def test_an_untrained_encoder_needs_one_rank():
    with pytest.raises(ConfigError, match="needs one rank"):
        checks.check(RunConfig(epochs=0), 2)
    checks.check(RunConfig(epochs=0), 1)


def test_a_last_batch_with_fewer_images_than_ranks_is_refused_before_a_folder_is_made(
    tmp_path, monkeypatch
):
    small = RunConfig(**COMMON, equal_batches=False, largest_class=16)  # 70 images: 16, ..., 6
    checks._check_batches(small, 70, 6)
    checks._check_batches(small.model_copy(update={"equal_batches": True}), 70, 7)
    with pytest.raises(ConfigError, match="70 images has 6, for 7 ranks; set equal_batches=true"):
        checks._check_batches(small, 70, 7)
    monkeypatch.setattr(ranks, "started", lambda: 7)
    with pytest.raises(ConfigError, match="for 7 ranks"):
        pretrain.pretrain(small, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rows_are_cut_in_order_and_nearly_equal():
    cuts = [Ranks(4, number).rows(10) for number in range(4)]
    assert [(cut.start, cut.stop) for cut in cuts] == [(0, 3), (3, 6), (6, 8), (8, 10)]
    assert Ranks().rows(7) == slice(0, 7)


def test_a_cell_with_two_gpus_is_one_run_of_two_ranks(photos, monkeypatch):
    """Without a GPU both ranks are on the CPU; what a batch sets is the same."""
    given = dict(preset="tiny", data="npz:a_train.npz", split="all", batch_size=10, device="cpu")
    config = RunConfig(**given)
    pretrain.make_on_gpus(config, Path("one"))
    assert not Path("one").exists()  # nothing is done where no batch gave several
    monkeypatch.setenv(ranks.CELL_GPUS, "0,1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    pretrain.make_on_gpus(config, Path("two"))
    assert runs.verify(Path("two"))["machines"][0]["ranks"] == 2
    pretrain.make_on_gpus(config, Path("two"))  # it is done
    with pytest.raises(ConfigError, match="ranks cannot share"):
        moco = RunConfig(**given | {"method": "moco-v2", "group_size": 10})
        pretrain.make_on_gpus(moco, Path("moco"))
    assert not Path("moco").exists()
