"""Negatives of the batch and of a memory bank: the losses by hand, the bank's upkeep, resume."""

import copy

import pytest
import torch
from torch.nn import functional as F

from ltcl_helpers import pretrain
from ltcl_helpers.config import RunConfig
from ltcl_helpers.methods.losses import info_nce
from ltcl_helpers.methods.simclr import Batch

TINY = dict(preset="tiny", device="cpu", precision="float32")
NAMES = ("EndToEnd", "MemoryBank")


def toy(name, **options):
    config = RunConfig(method=f"ltcl_helpers.dictionaries:{name}", **TINY, **options)
    method = pretrain.make_method(config, torch.tensor([7, 3])).double().train()
    draw = torch.Generator().manual_seed(3)
    views = torch.rand(2, 4, 3, 8, 8, generator=draw, dtype=torch.float64)
    return method, Batch(torch.tensor([5, 0, 9, 2]), None, tuple(views))


def test_in_batch_negatives_are_the_other_keys():
    method, batch = toy("EndToEnd")
    twin = copy.deepcopy(method)
    loss = method(batch)
    queries, keys = (F.normalize(twin.project(view), dim=1) for view in batch.views)
    for i in range(4):
        others = keys[[j for j in range(4) if j != i]].T
        expected = info_nce(queries[i : i + 1], keys[i : i + 1], others, 0.2)
        torch.testing.assert_close(loss[i : i + 1], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kept", [0.5, 0.75])
def test_the_bank_holds_what_was_said_of_each_image(kept):
    method, batch = toy("MemoryBank", bank_momentum=kept)
    method.bank.copy_(F.normalize(method.bank, dim=1))  # of length 1 in double precision, too
    twin, before = copy.deepcopy(method), method.bank.clone()
    loss = method(batch)
    loss.sum().backward()
    queries = F.normalize(twin.project(batch.views[0]), dim=1)
    for i, k in enumerate(batch.index.tolist()):
        others = before[[j for j in range(10) if j != k]].T
        expected = info_nce(queries[i : i + 1], before[k : k + 1], others, 0.2)
        torch.testing.assert_close(loss[i : i + 1], expected, rtol=0, atol=1e-10)
        entry = F.normalize(kept * before[k] + (1 - kept) * queries[i], dim=0)
        torch.testing.assert_close(method.bank[k], entry, rtol=0, atol=1e-10)
    rest = [1, 3, 4, 6, 7, 8]
    assert torch.equal(method.bank[rest], before[rest])


@pytest.mark.parametrize("name", NAMES)
def test_stopped_and_resumed_equals_never_stopped(name, tmp_path, stop_and_resume):
    config = RunConfig(method=f"ltcl_helpers.dictionaries:{name}", epochs=3, **TINY)
    pretrain.pretrain(config, tmp_path / "whole")
    stop_and_resume(config, tmp_path / "stopped", 1)
    for file in ("memory.npz", "encoder.safetensors"):
        first, second = (tmp_path / folder / file for folder in ("whole", "stopped"))
        assert first.read_bytes() == second.read_bytes()
