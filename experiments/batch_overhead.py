"""What papermill and Dask cost a run: one by `ltcl batch`, one by `ltcl run` and `ltcl probe`.

    python experiments/batch_overhead.py [REPETITIONS]

Writes data/results/bench-batch.json: seconds on the clock and of the processor, for n runs each.
"""

import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ltcl_helpers import files, runs
from ltcl_helpers.paths import RESULTS

GRID = """
base: {preset: %s, epochs: %d}
cross: {seed: [%s]}
rows: {simclr: {}}
probe: {shots: 50, protocol: logistic}
"""


def seconds(*commands: list[str], cwd: str) -> tuple[float, float]:
    """Seconds on the clock, and of the processor, that commands take one after the other."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in commands:
        call = [sys.executable, "-m", "ltcl_helpers", *command]
        subprocess.run(call, cwd=cwd, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - start, processor


def main(repetitions: int = 3) -> None:
    """Time plain runs and batches, and write the numbers."""
    kinds = ("plain", "batch of 1", "batch of 3")
    rows = {kind: [measure(kind, k)[:2] for k in range(repetitions)] for kind in kinds}
    epochs = [[measure(kind, k, "quick", 8)[2] for kind in kinds[:2]] for k in range(repetitions)]
    plain, one, three = (np.array(rows[kind]) for kind in kinds)  # [n, 2]
    more = (three - one) / 2 - plain  # of a further run in a batch, over a plain one
    facts = {
        "n": repetitions, "columns": ["clock seconds", "processor seconds"], "rows": rows,
        "more_per_run": more.tolist(), "of_a_batch": (one - plain - more).tolist(),
        "seconds_an_epoch": epochs,  # of quick: plain, in a batch of one
        "machine": f"cpu {platform.machine()}, {os.cpu_count()} cores, "
        f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}",
        "load_average": os.getloadavg(),
        "versions": {p: runs.version(p) for p in ("papermill", "distributed", "torch")},
    }  # fmt: skip
    files.write_json(RESULTS / "bench-batch.json", facts)


def measure(
    kind: str, seed: int, preset: str = "tiny", epochs: int = 2
) -> tuple[float, float, float]:
    """Seconds of one plain run, or of a batch of some; and those of an epoch, the median."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == "plain":
            given = [f"preset={preset}", f"epochs={epochs}", f"seed={seed}"]
            settings = [word for setting in given for word in ("--set", setting)]
            run = ["run", *settings, "--out", "run"]
            probe = ["probe", "run", "--shots", "50", "--protocol", "logistic"]
            spent = seconds(run, probe, cwd=folder)
        else:
            seeds = ", ".join(str(seed + k) for k in range(int(kind.split()[-1])))
            (Path(folder) / "grid.yaml").write_text(GRID % (preset, epochs, seeds))
            spent = seconds(["batch", "grid.yaml", "--workers", "1"], cwd=folder)
        history = next(Path(folder).rglob("history.parquet"))
        return *spent, float(files.read_parquet(history)["seconds"].median())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
