"""Which cores and GPUs this process may use: of a shared machine, what the job was given."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from .errors import ConfigError


def cores_each(processes: int = 1) -> int:
    """Cores for each of some processes side by side, at least one.

    A scheduler, a container or `taskset` may have left this process a part of the machine (its
    affinity). A system that has no affinities, such as macOS, has all its cores.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    usable = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, usable // processes)


def gpu_names(text: str | None) -> list[str]:
    """The names in `--gpus 0,1`, each once.

    Raises:
        ConfigError: for anything else.
    """
    if not text:
        return []
    names = text.split(",")
    if not re.fullmatch(r"[^\s,]+(,[^\s,]+)*", text) or len(set(names)) < len(names):
        raise ConfigError(f"--gpus is {text!r}; name GPUs as in 0,1, each once")
    return names


def refuse_absent_gpus(names: Sequence[str]) -> None:
    """Complain of GPUs that this machine does not have; a run would be made on the CPU."""
    import torch

    found = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    known = visible.split(",") if visible else [str(number) for number in range(found)]
    absent = [name for name in names if name.isdecimal() and name not in known]
    if not found or absent:
        raise ConfigError(
            f"--gpus names {(absent or names)[0]}, and torch finds {found or 'no'} GPU"
            f"{'s' if found > 1 else ''} here; leave --gpus out for the CPU"
        )
