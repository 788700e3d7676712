"""The device that a run is made on, its precision, and what its last digits depend on."""

from __future__ import annotations

import platform

import torch

from ..errors import ConfigError


def pick_device(name: str) -> torch.device:
    """The device of a name; "auto" is the GPU where there is one.

    A GPU that is named by its number becomes the process's own, for CUDA graphs, too.
    """
    has_gpu = torch.cuda.is_available()
    if name.startswith("cuda") and not has_gpu:
        raise ConfigError(f"device is {name!r}, but torch finds no GPU here; use auto or cpu")
    if name == "auto":
        name = "cuda" if has_gpu else "cpu"
    device = torch.device(name)
    if device.index is not None and device.type == "cuda":
        count = torch.cuda.device_count()
        if device.index >= count:
            found = ", ".join(f"cuda:{number}" for number in range(count))
            raise ConfigError(
                f"device is {name!r}, but torch finds {found} alone here; use one of these, or auto"
            )
        torch.cuda.set_device(device)
    return device


def use_full_float32(full: bool = True) -> None:
    """Let a GPU's convolutions and matrix products compute in float32.

    It is a setting of the whole process. A run makes it before its first step, since a GPU's own
    default is faster and rounds to 10 bits (TF32).

    Args:
        full: False turns TF32 on again.
    """
    torch.backends.cudnn.allow_tf32 = not full
    torch.backends.cuda.matmul.allow_tf32 = not full


def pick_precision(name: str, device: torch.device) -> torch.dtype | None:
    """The type of autocast for a precision: bf16, or None for no autocast.

    Args:
        name: "bf16" or "float32"; "auto" is bf16 where the hardware computes in it.
        device: the hardware.
    """
    if name != "auto":
        use_bf16 = name == "bf16"
    elif device.type == "cuda":
        use_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:  # without this set of instructions a CPU imitates bf16, slowly
        use_bf16 = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.bfloat16 if use_bf16 else None


def describe_machine(
    device: torch.device, precision: torch.dtype | None, ranks: int = 1
) -> dict[str, object]:
    """What a result's last digits depend on."""
    name = f"cpu {platform.machine()}"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    default = str(torch.get_default_dtype()).removeprefix("torch.")  # float64 in some tests
    together = {"ranks": ranks} if ranks > 1 else {}
    return together | {
        "device": name,
        "threads": torch.get_num_threads(),  # they decide the order of sums
        "precision": "bf16" if precision else default,
        "torch": str(torch.__version__),  # a plain string: checkpoints hold nothing else
    }
