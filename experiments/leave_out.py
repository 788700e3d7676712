"""Make the runs behind lesson 04's question "Is it memorization?"; what is there is not made again.

    OMP_NUM_THREADS=1 python experiments/leave_out.py [--out runs/leave-out] [--only 'long-tail-*']

Of one split of the embedded data and of its balanced partner: 40 quick SimCLR runs on random parts,
and three on the whole. Of six splits in mirrored pairs and their partners: one run on the whole, to
see what each aim without labels knows of the tail. Each file is a run; stopped and started again,
it goes on.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Iterator
from pathlib import Path

from ltcl_helpers.config import RunConfig
from ltcl_helpers.probe import leave_out

PARTS = 40
WHOLE = 3  # runs on the whole of the first split
SPLITS = 6  # in mirrored pairs


def jobs(preset: str) -> Iterator[tuple[str, RunConfig, int]]:
    """File name, configuration and part of every run; what decides most comes first."""
    kinds = ("long-tail", "balanced")
    base = dict(preset=preset, precision="float32", device="cpu")
    for seed in range(WHOLE):
        for kind in kinds:
            yield f"{kind}-whole-{seed}", RunConfig(**base, split=kind, split_seed=0, seed=seed), -1
    for number in range(PARTS):
        for kind in kinds:
            config = RunConfig(**base, split=kind, split_seed=0)
            yield f"{kind}-{number:02d}", config, number
    for seed in range(SPLITS):
        for kind in kinds:
            order = dict(split_seed=seed // 2, mirrored=seed % 2 == 1)
            yield f"{kind}-split-{seed}", RunConfig(**base, **order, split=kind, seed=seed), -1


def main() -> None:
    """All runs that are not there yet, one after the other."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, default=Path("runs/leave-out"))
    options.add_argument("--only", default="*", help="names of runs, e.g. 'long-tail-0*'")
    options.add_argument("--preset", default="quick")
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name, config, number in jobs(given.preset):
        if not fnmatch.fnmatch(name, given.only):
            continue
        leave_out.measure(config, number, given.out / f"{name}.npz")
        print(name, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
