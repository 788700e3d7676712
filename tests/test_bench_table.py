"""`ltcl bench cpu` and `gpu`: what is timed how often, what is recorded, and the table of it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision import transforms as tv

from ltcl_helpers import bench, pretrain
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.methods.memory import memorization_score

CPU = torch.device("cpu")


def test_the_reference_is_set_up_as_published():
    config = RunConfig(preset="tiny", lr=0.05, batch_size=16, weight_decay=0.01, seed=3)
    reference = bench.Reference(config, np.zeros((40, 3, 24, 32), np.uint8), CPU, workers=1)
    crop, flip, colours, grey, last = reference.loader.collate_fn.args[1].transforms
    assert (crop.size, crop.scale) == ((24, 32), (0.1, 1))
    assert crop.interpolation.value == "bicubic"
    assert (type(flip), flip.p) == (tv.RandomHorizontalFlip, 0.5)
    (jitter,) = colours.transforms
    assert colours.p == 0.8 and (type(grey), grey.p) == (tv.RandomGrayscale, 0.2)
    strengths = jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue
    assert strengths == ((0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.1, 0.1))
    assert type(last) is tv.ToTensor
    loader = reference.loader
    assert (loader.batch_size, loader.num_workers) == (16, 1)
    assert loader.generator.initial_seed() == pretrain.seed_for(3, "reference", 0)
    assert loader.multiprocessing_context.get_start_method() == "fork"
    (group,) = reference.optimizer.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.05, 0.9, 0.01)
    assert not group["nesterov"] and reference.momentum_loss.tolist() == [0] * 40


def test_an_epoch_of_the_reference_is_every_batch_once_in_its_own_precision(monkeypatch):
    config = RunConfig(preset="tiny", method="sdclr", batch_size=16)
    reference = bench.Reference(config, np.zeros((40, 3, 32, 32), np.uint8), CPU, workers=1)
    seen, calls, backends = [], [], torch.backends
    allowed = lambda: {backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32}  # noqa: E731
    monkeypatch.setattr(reference, "step", lambda views, index: seen.append((allowed(), index)))
    monkeypatch.setattr(reference.method, "start_epoch", lambda *given: calls.append(given))
    monkeypatch.setattr(backends.cudnn, "allow_tf32", True)  # as it was afterwards, too
    reference.loader = DataLoader(range(40), 16, collate_fn=lambda index: (torch.zeros(1), index))
    for epochs in (1, 2):
        reference.epoch()
        assert reference.epochs == epochs and allowed() == {False}
        tf32, batches = zip(*seen, strict=True)
        assert tf32 == ({True},) * 3 and sum(batches, []) == list(range(40))
        seen.clear()
    assert calls == [(1, 1), (1, 1)]  # SDCLR draws its masks anew


def test_each_task_has_its_turn_and_its_own_clocks(monkeypatch):
    order, clock, spent = [], iter([0, 1, 5, 7, 10, 13, 20, 24]), iter([0, 2, 2, 2, 5, 8, 8, 8.5])
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(clock))
    # Of this process and of its children, user's and system's; the last is the wall's.
    monkeypatch.setattr(bench.os, "times", lambda: (next(spent) - 3, 1, 1, 1, 1000))
    waits = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(len(order)))
    tasks = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds, processor = bench._time(tasks, 2, on_gpu=True)
    assert order == ["a", "b", "a", "b"] and waits == [1, 2, 3, 4]
    assert seconds == {"a": [1, 3], "b": [2, 4]}
    assert processor == {"a": [2, 3], "b": [0.01, 0.5]}  # the clock's step is the least
    clock, spent = iter(range(10)), iter(range(10))
    bench._time(tasks, 1, on_gpu=False)
    assert len(waits) == 4


def test_ratios_are_the_references_over_the_kits_and_the_methods_over_simclr():
    times = {"reference simclr epoch, 2 workers": [8.0, 9.0], "plain probe epoch": [6.0, 3.0]}
    times |= {"reference sdclr epoch, 8 workers": [20.0, 30.0], "probe epoch": [2.0, 1.0]}
    times |= {f"{name} epoch": [2.0 + k, 3.0 + k] for k, name in enumerate(bench.NAMES)}
    others = {
        f"{name} / simclr": [(2 + k) / 2, (3 + k) / 3] for k, name in enumerate(bench.NAMES) if k
    }
    assert bench._ratios(times) == {
        "reference simclr, 2 workers / simclr": [4.0, 3.0],
        "reference sdclr, 8 workers / sdclr": [20 / 3, 7.5],
        **others,
        "plain probe / probe": [3.0, 3.0],
    }


def test_the_work_of_a_view_is_counted_forward_and_backward(monkeypatch):
    """Of a linear layer of 5 outputs: a multiplication and an addition a weight, both ways."""

    class Linear(torch.nn.Linear):
        def forward(self, batch):
            one, other = batch.views
            assert one.shape == other.shape == (6, 3, 32, 32)
            return super().forward(torch.cat([one, other]).flatten(1)).sum(1)

    method, real, sizes = Linear(3 * 32 * 32, 5, bias=False), torch.rand, []

    def small(*size, dtype=None, **more):
        if len(size) == 2:
            sizes.append((size, dtype))
            size = (2, 2)
        return real(*size, dtype=dtype, **more)

    clock = iter(np.cumsum([0, 4] * 4 + [0, 2] * 6).tolist())
    monkeypatch.setattr(bench.pretrain, "make_method", lambda config: method)
    monkeypatch.setattr(torch, "rand", small)
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(clock))
    config = RunConfig(preset="tiny", batch_size=6, precision="bf16")
    operations, product = bench._work(config, CPU)
    assert operations == 2 * 2 * 3 * 32 * 32 * 5
    assert product == 2 * 2048**3 / 2 and next(clock, None) is None  # the median of ten
    assert sizes == [((2048, 2048), torch.bfloat16)] and method.autocast is torch.bfloat16


RESULT = {
    "data": "photos", "images": 2000, "split": 30_000, "preset": "quick",
    "operations per view": 2.5e8, "product per second": 4e11,
    "seconds": {
        "simclr epoch": [20.0, 10.0, 12.0], "probe epoch": [4.0] * 3, "a / b": [1.0, 2.0, 4.0],
    },
    "processor seconds": {
        "simclr epoch": [11.0, 12.0, 13.5], "probe epoch": [5.0] * 3, "a / b": [1.5] * 3,
    },
    "machine": {"device": "cpu", "threads": 2},
}  # fmt: skip


def test_the_table_has_medians_and_spans_and_says_what_of_the_machine_is_reached():
    first = "preset quick, photos: 2,000 of 30,000 images"
    assert bench.table(RESULT).splitlines() == [
        f"| {first} | seconds | processor seconds | views or features/s |",
        "| --- | --- | --- | --- |",
        "| simclr epoch | 12.00 (10.00-20.00) | 12.00 (11.00-13.50) | 333 |",
        "| probe epoch | 4.00 (4.00-4.00) | 5.00 (5.00-5.00) | 10,000 |",
        "| a / b | 2.00 (1.00-4.00) | 1.50 (1.50-1.50) |  |",
        "",
        "A view of a SimCLR step: 0.250 GFLOP. A matrix product: 0.40 TFLOP/s, of which a SimCLR "
        "epoch reaches 21%.",
        "",
        "machine: device cpu, threads 2",
    ]
    assert bench.PROBED == (40_000, 512)  # CIFAR's training images of ResNet-18


@pytest.fixture
def machine(monkeypatch):
    """A machine that is known, on which nothing is computed; `asked` are the calls."""
    asked = []
    monkeypatch.setattr(bench, "_tasks", lambda *given: asked.append(given) or "tasks")

    def clocks(*given):
        asked.append(given)
        return dict(RESULT["seconds"]), dict(RESULT["processor seconds"])

    usage = {"self": 7 * 2**30 + 5, "children": 3 * 2**30}
    monkeypatch.setattr(bench, "_time", clocks)
    monkeypatch.setattr(bench, "_ratios", lambda times: {"of": list(times)})
    monkeypatch.setattr(bench, "_work", lambda *given: asked.append(given) or (3.0, 4.0))
    monkeypatch.setattr(bench, "table", lambda result: f"table of {result['data']}")
    monkeypatch.setattr(bench, "describe_machine", lambda *given: {"about": list(map(str, given))})
    monkeypatch.setattr(bench, "pick_precision", lambda *given: " ".join(map(str, given)))
    monkeypatch.setattr(bench, "cores_each", lambda: 3)
    monkeypatch.setattr(bench.os, "getloadavg", lambda: (1.234, 8, 9))
    monkeypatch.setattr(bench.sys, "platform", "linux")
    for name, which in (("self", "RUSAGE_SELF"), ("children", "RUSAGE_CHILDREN")):
        monkeypatch.setattr(bench.resource, which, name)

    def memory(who):
        of_linux = bench.sys.platform == "linux"  # counts in KiB, macOS in bytes
        return SimpleNamespace(ru_maxrss=usage[who] // (2**10 if of_linux else 1))

    monkeypatch.setattr(bench.resource, "getrusage", memory)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 9 * 2**20 + 1)
    monkeypatch.setenv("LTCL_GIT_COMMIT", "abc")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    return asked


@pytest.mark.parametrize("system", ["linux", "darwin"])
@pytest.mark.parametrize(
    ("device", "preset", "workers", "count"),
    [("cpu", "quick", (2,), 20), ("gpu", "paper", (8, 3), 227)],
)
def test_what_a_call_records(
    device, preset, workers, count, system, machine, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(bench.sys, "platform", system)
    draw, labels = np.random.default_rng(0), np.arange(4).repeat(200)
    images = draw.integers(0, 256, (800, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "small.npz", images=images, labels=labels)
    data = f"npz:{tmp_path}/small.npz"
    bench.run(device, data, tmp_path / "bench.json", cap=20)
    (config, inputs, place, asked), time, work = machine
    name = {"cpu": "cpu", "gpu": "cuda"}[device]
    assert (config.preset, config.device, config.epochs, config.data) == (preset, name, 1, data)
    assert (str(place), asked, work) == (name, workers, (config, place))
    assert time == ("tasks", 5, device == "gpu")
    split = splits.select(config)
    assert len(split.index) == 227
    pick = np.random.default_rng(0).permutation(227)[:count]
    for field in ("images", "labels", "index"):
        assert np.array_equal(getattr(inputs, field), getattr(split, field)[pick])
    result = json.loads((tmp_path / "bench.json").read_text())
    about = {"about": [name, f"auto {name}"], "cores": 3, "load before": 1.23}
    about |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "not set"}
    about |= {"peak MiB": 7168, "worker MiB": 3072}
    kinds = ("seconds", "processor seconds")
    assert result == {
        "data": "small.npz", "images": count, "split": 227, "preset": preset,
        "operations per view": 3.0, "product per second": 4.0,
        **{kind: RESULT[kind] | {"of": list(RESULT[kind])} for kind in kinds},
        "machine": about | ({"GPU peak MiB": 9} if device == "gpu" else {}), "git_commit": "abc",
    }  # fmt: skip
    assert capsys.readouterr().out == "table of small.npz\n"


def test_three_thousand_images_are_timed_on_a_cpu_and_nothing_is_written_unasked(
    machine, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    many = SimpleNamespace(index=np.arange(4000), images=np.arange(4000), labels=np.arange(4000))
    many._replace = lambda **arrays: arrays
    monkeypatch.setattr(bench.splits, "select", lambda config: many)
    bench.run("cpu", "shapes")
    assert len(machine[0][1]["labels"]) == 3000 and not list(tmp_path.iterdir())


def test_an_epoch_that_is_timed_is_one_of_the_presets_recipe():
    config = bench.one_epoch("paper", "cifar10", "cuda", "bcl-d")
    given = (config.preset, config.data, config.device, config.method, config.boost)
    assert given == ("paper", "cifar10", "cuda", "sdclr", "memory")
    assert (config.epochs, config.warmup) == (1, 0.05)
    assert bench.one_epoch("quick", "shapes", "cpu").method == "simclr"


# --- the tasks ---------------------------------------------------------------------------------


class Kit:
    """Stands for `Training`; `asked` holds what its epochs are given."""

    asked = []

    def __init__(self, config, inputs):
        self.config, self.images, self.draws = config, inputs.images, "draws"
        self.method = SimpleNamespace(VIEWS=("simclr", "simclr"), start_epoch=self.start)

    def start(self, *given):
        self.asked.append((self.config.method, given))

    def epoch(self, steps, views, steering):
        steps = [(index.tolist(), lr) for index, lr in steps]
        self.asked.append((self.config, steps, views, steering, self.images))


class Theirs:
    """Stands for `Reference`."""

    asked = []

    def __init__(self, *given):
        self.asked.append(given)
        self.epoch = f"epoch of {given[0].method}, {given[-1]}"

    def step(self, views, index):
        self.asked.append((tuple(views.shape), index))


@pytest.fixture
def tasks(monkeypatch):
    """The tasks of 12 images in batches of 5, with stand-ins for what trains."""
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 256, (12, 3, 8, 8), np.uint8), np.arange(12) % 3
    counts = np.array([4, 4, 4])
    inputs = splits.Inputs(images, labels, np.arange(12), counts, counts)
    config = bench.one_epoch("tiny", "shapes", "cpu").model_copy(
        update={"batch_size": 5, "equal_batches": False}
    )
    losses = torch.arange(24.0).reshape(2, 12)
    trained = SimpleNamespace(momentum_loss=losses.half())
    for kind in (Kit, Theirs):
        monkeypatch.setattr(kind, "asked", [])
    monkeypatch.setattr(bench, "Reference", Theirs)
    monkeypatch.setattr(bench.pretrain, "Training", Kit)
    monkeypatch.setattr(bench.pretrain, "pretrain", lambda config, inputs: trained)
    monkeypatch.setattr(bench, "make_views", lambda *given: (given, "steering"))
    monkeypatch.setattr(bench, "PROBED", (200, 4))
    return bench._tasks(config, inputs, CPU, (2, 8)), memorization_score(losses[-1])


def test_what_is_timed_has_a_name_each_and_is_warm(tasks):
    made, scores = tasks
    assert list(made) == [
        *(f"reference {name} epoch, {count} workers"
          for name in ("simclr", "sdclr") for count in (2, 8)),
        *(f"{name} epoch" for name in bench.NAMES),
        "simclr views alone", "simclr step alone", "plain probe epoch", "probe epoch",
    ]  # fmt: skip
    for number, (name, count) in enumerate(
        [("simclr", 2), ("simclr", 8), ("sdclr", 2), ("sdclr", 8)]
    ):
        begun, (views, index) = Theirs.asked[2 * number : 2 * number + 2]
        assert (begun[0].method, begun[2], begun[3]) == (name, CPU, count)
        assert (begun[0].epochs, begun[0].preset, begun[0].device) == (1, "tiny", "cpu")
        assert views == (2 * len(index), 3, 8, 8) and len(index) == 5
        assert made[f"reference {name} epoch, {count} workers"] == f"epoch of {name}, {count}"
    epochs = [each for each in Kit.asked if len(each) == 5]
    starts = [each for each in Kit.asked if len(each) == 2]
    assert [config.method for config, *_ in epochs] == [
        bench.one_epoch("tiny", "shapes", "cpu", name).method for name in [*bench.NAMES, "simclr"]
    ]
    assert starts == [(config.method, (1, 1)) for config, *_ in epochs]  # each once: a CPU's
    for config, steps, views, steering, _ in epochs[:-1]:
        assert steering == "steering" and all(lr == config.lr for _, lr in steps)
        assert views[0] is config and torch.equal(views[1], scores.float())
        assert views[2:] == ("draws", ("simclr", "simclr"))
        seen = [sample for index, _ in steps for sample in index]
        assert sorted(seen) == list(range(12))
        assert len(steps) == (3 if config.drop_last else 1)  # a queue's batch were larger than all
    made["simclr epoch"]()
    assert len(Kit.asked) == 2 * len(epochs) + 2  # an epoch more


def test_parts_of_an_epoch_are_timed_alone(tasks, monkeypatch):
    made, _ = tasks
    _, steps, views, _, images = Kit.asked[-1]
    assert images.tolist() == list(range(12))  # what is given is looked up, not made
    first, second = views(torch.tensor([3, 1]), None)
    assert first.shape == second.shape == (2, 3, 8, 8) and not torch.equal(first, second)
    calls = []
    monkeypatch.setattr(bench, "simclr_view", lambda images, draw: calls.append(len(images)))
    made["simclr views alone"]()
    assert calls == [5, 5, 2] * 2  # two of each image
    probes = []
    monkeypatch.setattr(bench, "plain_probe", lambda *given: probes.append(given))
    fit = lambda *given, epochs: probes.append((*given, epochs))  # noqa: E731
    monkeypatch.setattr(bench.probe, "fit_bcl", fit)
    made["plain probe epoch"]()
    made["probe epoch"]()
    (x, y, classes), (again, labels, count, epochs) = probes
    assert x is again and y is labels and (classes, count, epochs) == (100, 100, 1)
    assert x.shape == (200, 4) and x.min() >= 0 and x.std() > 0.2
    assert y.tolist() == [*range(100), *range(100)]
    assert [sorted(index) for index, _ in steps] == [list(range(12))]
