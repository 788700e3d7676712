"""Small recorded runs with made-up accuracies, which a study reads like real ones."""

import numpy as np
import pandas as pd

from ltcl_helpers import files, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.probe.run import about_run

SPLIT = "data/splits/cifar100_imbSub_with_subsets/cifar100_split1_D_i.npy"
SIZES = np.array([6, 5, 4, 3, 2, 1])  # images of a class
VALUES = {  # of a name, seed by seed: accuracy over all classes, 100-shot
    "simclr": [0.50, 0.52, 0.51], "sdclr": [0.54, 0.562, 0.549],
    "bcl-i": [0.55, 0.54, 0.50], "simclr-shuffled": [0.51, 0.49, 0.50],
}  # fmt: skip
BOOSTS = {"bcl-i": "memory", "simclr-shuffled": "shuffled"}
MACHINE = {"device": "cpu", "threads": 1, "precision": "float32", "torch": "2"}


def config(name, seed=0, **more):
    """The configuration of a run by its name; split 1 of CIFAR-100, by quick's recipe."""
    method = "sdclr" if name == "sdclr" else "simclr"
    about = {"data": "cifar100", "split": SPLIT, "boost": BOOSTS.get(name, "none")} | more
    return RunConfig(method=method, seed=seed, **about)


def probed(run, value, shots=("100", "50"), protocols=("bcl",), **more):
    """Rows of two lists each: all classes, 20 points less for few, and 10 less of 50 shots."""
    about = about_run(run, "encoder") | {"list_source": "published", "test": run.data} | more
    return pd.DataFrame([
        {**about, "protocol": protocol, "shots": k, "list": name, "group": group,
         "accuracy": value + off + less + (0.01 if name == "b" else -0.01)}
        for protocol in protocols for k, less in zip(shots, (0, -0.1), strict=False)
        for name in "ab" for group, off in (("few", -0.2), ("all", 0), ("std", -0.4))
    ])  # fmt: skip


def record(folder, run, rows=None, epochs=(1, 30), machines=(MACHINE,)):
    """A folder as `ltcl record` leaves it; after the last epoch the rarest lose the most."""
    folder.mkdir(parents=True)
    labels = np.repeat(np.arange(6), SIZES)
    late = np.array([epoch == epochs[-1] for epoch in epochs], bool)
    loss = (late[:, None] * labels).astype(np.float16)
    files.write_json(folder / "config.json", run.model_dump(mode="json"))
    files.write_npz(
        folder / "memory.npz", momentum_loss=loss, labels=labels, index=np.arange(21),
        epochs_kept=np.array(epochs, int), class_counts=SIZES, group_counts=SIZES,
    )  # fmt: skip
    seconds = [9.0, 90.0 + run.seed, 90.0 + run.seed]
    history = {"epoch": [1, 2, 3], "loss": 1.0, "lr": 0.5, "seconds": seconds}
    files.write_parquet(folder / "history.parquet", pd.DataFrame(history))
    written = ["config.json", "history.parquet", "memory.npz"]
    if rows is not None:
        files.write_parquet(folder / "probe.parquet", rows)
        written.append("probe.parquet")
    runs.seal(folder, *written, machines=list(machines))
    return folder


def record_all(folder, names=("simclr", "sdclr"), seeds=3, **more):
    """Runs of these names, each with its seeds."""
    found = []
    for name in names:
        for seed, value in enumerate(VALUES[name][:seeds]):
            run = config(name, seed)
            found.append(record(folder / f"{name}-{seed}", run, probed(run, value, **more)))
    return found
