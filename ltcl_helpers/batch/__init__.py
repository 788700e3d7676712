"""Grids of runs: what a table needs, what is there of it, and a cluster that runs the rest."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["cell", "cluster", "grid", "plan"]
)
