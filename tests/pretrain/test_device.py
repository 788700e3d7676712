"""Which device, which precision: what is asked for, and what there is."""

import platform

import pytest
import torch

from ltcl_helpers import pretrain, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.pretrain import device

GIVEN = dict(preset="tiny", device="cpu", largest_class=16, batch_size=16)


@pytest.mark.parametrize(
    ("name", "gpu", "found"),
    [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("cpu", False, "cpu"),
     ("cuda:1", True, "cuda:1")],
)  # fmt: skip
def test_the_gpu_is_taken_where_there_is_one_and_none_is_refused(name, gpu, found, monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert device.pick_device(name) == torch.device(found)
    # CUDA graphs and streams are made on the process's own GPU, whatever tensors lie on.
    assert taken == ([torch.device("cuda:1")] if name == "cuda:1" else [])


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_that_is_not_there_is_refused(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as told:
        device.pick_device(name)
    assert str(told.value) == f"device is {name!r}, but torch finds no GPU here; use auto or cpu"


def test_a_number_that_no_gpu_has_is_refused_with_those_that_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError) as told:
        device.pick_device("cuda:2")
    assert str(told.value) == (
        "device is 'cuda:2', but torch finds cuda:0, cuda:1 alone here; use one of these, or auto"
    )


def test_tf32_is_turned_off_and_on_again():
    backends = torch.backends.cudnn, torch.backends.cuda.matmul
    kept = [backend.allow_tf32 for backend in backends]
    try:
        for full in (False, True, False):
            device.use_full_float32(full)
            assert [backend.allow_tf32 for backend in backends] == [not full] * 2
        device.use_full_float32()
        assert [backend.allow_tf32 for backend in backends] == [False] * 2
    finally:
        for backend, allowed in zip(backends, kept, strict=True):
            backend.allow_tf32 = allowed


@pytest.mark.parametrize(
    ("name", "where", "has", "found"),
    [
        ("auto", "cpu", {"avx512_bf16": True}, torch.bfloat16),
        ("auto", "cpu", {"avx512_bf16": False}, None),
        ("auto", "cpu", {}, None),
        ("auto", "cuda", True, torch.bfloat16),
        ("auto", "cuda", False, None),
        ("bf16", "cpu", {}, torch.bfloat16),
        ("bf16", "cuda", False, torch.bfloat16),
        ("float32", "cpu", {"avx512_bf16": True}, None),
        ("float32", "cuda", True, None),
    ],
)
def test_bf16_is_used_where_it_is_asked_for_or_the_hardware_has_it(
    name, where, has, found, monkeypatch
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    # A card before Ampere can imitate it, which torch counts as support unless told otherwise.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True:
                        has or including_emulation)  # fmt: skip
    assert device.pick_precision(name, torch.device(where)) is found


def test_a_machine_is_described_in_words(monkeypatch):
    cpu = torch.device("cpu")
    about = device.describe_machine(cpu, None)
    assert about == {
        "device": f"cpu {platform.machine()}", "threads": torch.get_num_threads(),
        "precision": "float32", "torch": str(torch.__version__),
    }  # fmt: skip
    assert type(about["torch"]) is str
    assert device.describe_machine(cpu, torch.bfloat16, 1)["precision"] == "bf16"
    assert list(device.describe_machine(cpu, None, 2).items())[0] == ("ranks", 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda which: f"a {which.type} card")
    assert device.describe_machine(torch.device("cuda"), None)["device"] == "a cuda card"


def test_in_double_precision_that_is_said(float64):
    assert device.describe_machine(torch.device("cpu"), None)["precision"] == "float64"


def test_a_run_that_was_begun_on_a_gpu_is_finished_where_there_is_none(tmp_path, monkeypatch):
    whole = pretrain.pretrain(RunConfig(**GIVEN), tmp_path / "whole")
    folder = tmp_path / "begun"
    folder.mkdir()
    begun = RunConfig(**GIVEN).moved({"device": "cuda:1", "root": "/gone"})
    runs.begin(folder, begun)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device is 'cuda:1', but torch finds no GPU here"):
        pretrain.resume(folder)
    with pytest.raises(ConfigError, match="only where it is made may be set: device, root, check"):
        pretrain.resume(folder, place={"epochs": 3})
    with pytest.raises(ConfigError, match="device is 'gpu'"):
        pretrain.resume(folder, place={"device": "gpu"})
    run = pretrain.resume(folder, place=RunConfig(**GIVEN).place)
    assert torch.equal(run.momentum_loss, whole.momentum_loss)
    assert runs.read_config(folder) == begun and begun.digest() == whole.config.digest()
