"""Captured steps: on a CPU by a stand-in that repeats recorded operations, on a GPU as they are."""

import warnings
from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ltcl_helpers import pretrain
from ltcl_helpers.config import RunConfig
from ltcl_helpers.methods import pruning
from ltcl_helpers.methods.sdclr import SDCLR
from ltcl_helpers.pretrain.cuda_graphs import set_lr
from ltcl_helpers.views import randaugment

ON_CPU = {"device": "cpu", "epochs": 6, "largest_class": 25, "batch_size": 32}
METHODS = [
    {"method": "simclr"}, {"method": "sdclr"}, {"method": "bcl-i"}, {"method": "bcl-d"},
    {"method": "sdclr", "boost": "shuffled"}, {"method": "sdclr", "prune_random": 0.2},
    {"method": "moco-v2", "batch_size": 32, "group_size": 8, "boost": "memory"},
    {"method": "balanced-cl"},
]  # fmt: skip


class Recorded(TorchDispatchMode):
    """Records operations with the very tensors they got, and repeats them on these, no others.

    As a CUDA graph: no Python runs in a replay, and what is not changed in place is not seen.
    """

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "nonzero", "masked_select"), name
        result = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, result))
        return result

    def replay(self):
        for function, args, kwargs, result in self.calls:
            again = function(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class OnCpu(pretrain.GraphedSteps):
    """GraphedSteps with the stand-in, whose recording computes the step a first time."""

    replays = 0

    def _on_side_stream(self, step, index):
        return step(index)

    def _capture(self, step, given):
        with Recorded() as recorded:
            result = step(given)
        first = [True]

        def replay():
            if not first:
                with torch.no_grad():
                    recorded.replay()
                OnCpu.replays += 1
            first.clear()

        return replay, result


def train(monkeypatch, kind, eager, parameters):
    """Encoder, momentum losses and mean losses of a run whose steps go through `kind`."""
    monkeypatch.setattr(kind, "EAGER", eager)

    def choose_steps(self):
        self.run_step = kind(self.optimizer, self.draws if self.device.type == "cuda" else [])

    with monkeypatch.context() as patch:
        patch.setattr(pretrain.Training, "_choose_steps", choose_steps)
        config = RunConfig(preset="tiny", precision="float32", equal_batches=False, **parameters)
        run = pretrain.pretrain(config)
    return dict(run.encoder.state_dict()), run.momentum_loss, run.history["loss"].tolist()


@pytest.mark.parametrize("parameters", METHODS, ids=lambda p: "-".join(map(str, p.values())))
def test_repeating_the_recorded_operations_is_training(parameters, monkeypatch):
    monkeypatch.setattr(randaugment, "_change_chosen", randaugment._change_all)  # as on a GPU
    monkeypatch.setattr(OnCpu, "replays", 0)
    parameters = ON_CPU | parameters
    eager, captured = (train(monkeypatch, OnCpu, n, parameters) for n in (10**9, 3))
    assert OnCpu.replays >= 10
    torch.testing.assert_close(captured, eager, rtol=0, atol=0, equal_nan=True)  # never seen


def test_what_is_not_changed_in_place_is_not_seen(monkeypatch):
    """The stand-in finds the fault that it is there to find."""

    def start_epoch(self, epoch, epochs, generator=None):
        self.masks = pruning.magnitude_masks(pruning.prunable(self.encoder), self.fraction)

    monkeypatch.setattr(SDCLR, "start_epoch", start_epoch)
    parameters = ON_CPU | {"method": "sdclr"}
    eager, captured = (train(monkeypatch, OnCpu, n, parameters) for n in (10**9, 3))
    assert captured[2] != eager[2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
@pytest.mark.parametrize("parameters", METHODS, ids=lambda p: "-".join(map(str, p.values())))
def test_cuda_graphs_are_training(parameters, monkeypatch):
    parameters = {**parameters, "device": "cuda", "epochs": 6}
    eager, captured = (train(monkeypatch, pretrain.GraphedSteps, n, parameters) for n in (10**9, 3))
    torch.testing.assert_close(captured, eager, rtol=1e-2, atol=1e-3)  # sums in another order


def test_all_steps_and_captures_share_one_stream(monkeypatch):
    """With a stream for each, every eager step would take memory of its own from the device."""
    made, captured, waits, registered, replays = [], [], [], [], []

    class Stream:
        def __init__(self):
            made.append(self)

        def wait_stream(self, other):
            waits.append(other)

    class Graph:
        def register_generator_state(self, generator):
            registered.append(generator)
            warnings.warn("deprecated in newer torch", FutureWarning, stacklevel=1)

        def replay(self):
            replays.append(self)

    def graph(_, stream):
        captured.append(stream)
        return nullcontext()

    for name, stand_in in {
        "Stream": Stream, "stream": lambda _: nullcontext(), "CUDAGraph": Graph, "graph": graph,
        "current_stream": lambda: None if not made else made[0],
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], 0.5, fused=True)
    draw = torch.Generator()
    steps = pretrain.GraphedSteps(optimizer, [draw])
    for size in (4, 4, 4, 4, 3, 3, 3, 3):
        steps(lambda index: index.sum(), torch.arange(size))
    assert len(made) == 1 and captured == made * 2
    assert waits == made * 12  # each step that is no replay waits, and is waited for
    assert registered == [draw] * 2 and len(replays) == 2
    assert torch.backends.cudnn.benchmark and optimizer.param_groups[0]["lr"].dtype == torch.float32


def test_the_learning_rate_is_set_where_a_graph_reads_it():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], 0.5, fused=True)
    set_lr(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] == 0.25
    pretrain.GraphedSteps(optimizer, [])
    rate = optimizer.param_groups[0]["lr"]
    set_lr(optimizer, 0.125)
    assert rate == 0.125 and rate is optimizer.param_groups[0]["lr"]
    weight.grad = torch.ones(2)
    optimizer.step()
    assert weight.tolist() == [0.875, 0.875]
