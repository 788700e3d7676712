"""How many cores this process may use: of a shared machine, what the job was given."""

from __future__ import annotations

import os


def cores_each(processes: int = 1) -> int:
    """Cores for each of some processes side by side, at least one.

    A scheduler, a container or `taskset` may have left this process a part of the machine (its
    affinity). A system that has no affinities, such as macOS, has all its cores.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    usable = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, usable // processes)
