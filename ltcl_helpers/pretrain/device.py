"""The device that a run is made on, its precision, and what its last digits depend on."""

from __future__ import annotations

import platform

import torch

from ..errors import ConfigError


def pick_device(name: str) -> torch.device:
    """The device of a name; "auto" is the GPU where there is one."""
    has_gpu = torch.cuda.is_available()
    if name.startswith("cuda") and not has_gpu:
        raise ConfigError(f"device is {name!r}, but torch finds no GPU here; use auto or cpu")
    if name == "auto":
        name = "cuda" if has_gpu else "cpu"
    return torch.device(name)


def use_full_float32(full: bool = True) -> None:
    """Let a GPU's convolutions and products compute in float32, or in TF32 (10 bits) if not `full`.

    A setting of the whole process: a run turns TF32 off before its first step.
    """
    torch.backends.cudnn.allow_tf32 = not full
    torch.backends.cuda.matmul.allow_tf32 = not full


def pick_precision(name: str, device: torch.device) -> torch.dtype | None:
    """The autocast type: bf16 where asked for, or on "auto" where the hardware computes in it."""
    if name != "auto":
        return torch.bfloat16 if name == "bf16" else None
    if device.type == "cuda":
        computes_bf16 = torch.cuda.is_bf16_supported()
    else:
        computes_bf16 = torch.cpu.get_capabilities().get("avx512_bf16")
    return torch.bfloat16 if computes_bf16 else None


def describe_machine(device: torch.device, precision: torch.dtype | None) -> dict[str, object]:
    """What a result's last digits depend on."""
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else f"cpu {platform.machine()}"
    full_precision = str(torch.get_default_dtype()).removeprefix("torch.")
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "precision": "bf16" if precision else full_precision,
        "torch": str(torch.__version__),  # a plain string: checkpoints hold nothing else
    }
