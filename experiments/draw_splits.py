"""Draw our own CIFAR-LT index lists, five splits, in the published layout and sizes.

    python experiments/draw_splits.py cifar10 [--root DIR]
    python experiments/draw_splits.py cifar100 --labels npz:.../cifar100_train.npz

A tenth of each class is the validation list; the sets of every split come from the rest. Seeds are
fixed, so the files are always the same; the manifest holds the sha256 of each list.
"""

import argparse
from pathlib import Path

import numpy as np

from ltcl_helpers import files
from ltcl_helpers.data import splits
from ltcl_helpers.data.images import read_arrays
from ltcl_helpers.paths import DATA


def draw(name: str, labels: np.ndarray, out: Path) -> None:
    """Write the lists of the data set `name`, whose training labels are `labels`, into `out`."""
    classes = int(labels.max()) + 1
    validation = splits.few_shot(labels, len(labels) // classes // 10, seed=0)
    pool = np.setdiff1d(np.arange(len(labels)), validation)
    per_class = len(pool) // classes
    sizes = splits.class_sizes(per_class, classes, 100)
    lists = {"trainIdxList": pool, "valIdxList": validation}
    for split in range(1, 6):
        drawn = {
            "D_i": splits.long_tail(labels[pool], sizes, split),
            "D_b": splits.balanced(labels[pool], sum(sizes) // classes, split),
            "S_b": splits.few_shot(labels[pool], per_class // 100, split),
            "test_100shot": splits.few_shot(labels[pool], 100, 100 + split),
            "test_50shot": splits.few_shot(labels[pool], 50, 200 + split),
        }
        lists |= {f"split{split}_{kind}": pool[index] for kind, index in drawn.items()}
    out.mkdir(parents=True, exist_ok=True)
    manifest = {}
    for kind, index in lists.items():
        file = f"{name}lt_{kind}.npy"
        np.save(out / file, index.astype(np.uint16))  # positions below 50,000
        manifest[file] = {"images": len(index), "sha256": splits.split_digest(index)}
    about = {"data": name, "imbalance": 100, "lists": manifest}
    files.write_json(out / f"{name}lt_manifest.json", about)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=("cifar10", "cifar100"))
    parser.add_argument("--root", type=Path)
    parser.add_argument("--labels", help="read the labels from this data instead")
    options = parser.parse_args()
    data = read_arrays(options.labels or options.name, "train", options.root)
    draw(options.name, data.labels, DATA / "splits" / "own")
