"""A grid of runs that take seconds, and methods that wait or fail on purpose."""

import yaml

EPOCHS = 4
GRID = {
    "base": {
        "preset": "tiny",
        "data": "npz:toy_train.npz",
        "epochs": EPOCHS,
        "batch_size": 16,
        "largest_class": 30,
        "device": "cpu",  # equal bits, also where some of the processes are shown no GPU
    },
    "cross": {"seed": [0]},
    "rows": {"simclr": {}},
    "probe": {"shots": 5, "protocol": "logistic"},
}
# SimCLR that waits, before epoch 3, for as long as there is a file "hold", and says so by another:
# what is done to a batch while a run is under way is done while it surely is.
GATE = """
import time
from pathlib import Path
from ltcl_helpers.methods import SimCLR

class Gate(SimCLR):
    def __init__(self, encoder, config, class_counts=None):
        super().__init__(encoder, config, class_counts)
        self.seed = config.seed

    def start_epoch(self, epoch, epochs, generator=None):
        super().start_epoch(epoch, epochs, generator)
        if epoch == 3 and Path("hold").exists():
            Path(f"held-{self.seed}").touch()
            while Path("hold").exists():
                time.sleep(0.02)
"""
GATED = {"simclr": {"method": "gate:Gate"}}
METHOD = """
import os
from ltcl_helpers.methods import SimCLR

class Method(SimCLR):
    def forward(self, batch):
        names = {"MALLOC_TRIM_THRESHOLD_", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"}
        dask_set = names & set(os.environ)
        raise RuntimeError(f"on purpose {sorted(dask_set)} {os.environ['OMP_NUM_THREADS']}")
"""


def write(to, **changes):
    path = to / "toy.yaml"
    path.write_text(yaml.safe_dump({**GRID, **changes}, sort_keys=False))
    return path
