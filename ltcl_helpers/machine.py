"""The machine a run is on, its device and precision; random numbers that depend on no machine."""

from __future__ import annotations

import hashlib
import platform

import torch

from .config import ConfigError


def pick_device(name: str) -> torch.device:
    """The device of a name; "auto" is the GPU where there is one.

    Float32 means float32 there, too: convolutions and products in TF32 (10 bits) are turned off.
    """
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device is {name!r}, but torch finds no GPU here; use auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> torch.dtype | None:
    """The autocast type: bf16 where asked for, or on "auto" where the hardware computes in it."""
    if name != "auto":
        return torch.bfloat16 if name == "bf16" else None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    return torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16") else None


def generator(
    seed: int, purpose: str, epoch: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator whose state is a function of (seed, purpose, epoch)."""
    return torch.Generator(device).manual_seed(seed_for(seed, purpose, epoch))


def seed_for(seed: int, purpose: str, epoch: int) -> int:
    """The seed of `generator`."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:7], "little")


def describe_machine(device: torch.device, precision: torch.dtype | None) -> dict[str, object]:
    """What a result's last digits depend on."""
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else f"cpu {platform.machine()}",
        "threads": torch.get_num_threads(),
        "precision": "bf16" if precision else str(torch.get_default_dtype()).split(".")[1],
        "torch": str(torch.__version__),  # a plain string: checkpoints hold nothing else
    }
