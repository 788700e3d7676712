"""Release the encoders of experiments/weights.yaml into data/weights, each as a run's folder.

    ltcl batch experiments/weights.yaml
    python experiments/weights.py release runs/weights
    python experiments/weights.py near

The third line measures how near a row is where sums are rounded in another order: it repeats the
probes of `shapes` with other instructions and other numbers of threads than usual.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from ltcl_helpers import files, probe, runs
from ltcl_helpers.paths import RESULTS, WEIGHTS
from ltcl_helpers.probe.choices import CLASSIFIER, KEPT_BY
from ltcl_helpers.runs.run import Run, begin, save

RELEASED = ("encoder", "classifier")  # of the networks that a run keeps
LICENCE = "MIT, as the kit; weights and losses, no image"
# CIFAR-100 as everybody has it, wherever it lay when the run was made. A digest of the images is
# not released: a copy of CIFAR may hold some images of a class in another order.
AT_HOME = {
    "data": "cifar100",
    "split": "data/splits/cifar100_imbSub_with_subsets/cifar100_split1_D_i.npy",
    "root": None,
}
NEAR = RESULTS / "weights-near.json"
MEASURED = ("shapes-simclr",)
TOLD = (  # what another processor does, imitated
    {"OMP_NUM_THREADS": "2"},
    {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
)


def release(folder: Path, target: Path) -> None:
    """Copy a finished run with its encoder and its rows."""
    run = Run.load(folder)
    method = run.config.method
    if method in KEPT_BY[CLASSIFIER]:
        probe.save_probe(folder, probe.classifier_rows(folder))
    rows = probe.read_rows(folder, runs.read_done(folder))
    kept = [name.removesuffix(".safetensors") for name in run.done["files"]]
    networks = {name: run.network(name) for name in RELEASED if name in kept}
    run.networks = networks

    digest = run.done["data_sha256"]
    if run.config.data != "shapes":
        run.config = run.config.model_copy(update=AT_HOME)
        rows = rows.assign(data="cifar100", test="cifar100")
        digest = None
    left_out = [f"{name}.safetensors" for name in ("pruned",) if name in kept]
    facts = {name: run.done[name] for name in ("versions", "git_commit", "machines")}
    target.mkdir(parents=True)
    with runs.lock(target):
        begin(target, run.config)
        save(run, target, data=digest, left_out=left_out, licence=LICENCE, **facts)
    probe.save_probe(target, rows)
    (target / ".lock").unlink(missing_ok=True)
    print(f"{target}: {(target / 'encoder.safetensors').stat().st_size / 1e6:.1f} MB")


def near() -> None:
    """Write how far the accuracies of `shapes` move, in test images, told of each processor."""
    found = []
    for told in TOLD:
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | told
        command = [sys.executable, __file__, "rows"]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        found.append({"told": told, "rows": json.loads(done.stdout)})
    files.write_json(NEAR, {"images": 3000, "found": found, "versions": runs.versions()})


def rows_here() -> dict[str, list[float]]:
    """By released encoder: overall accuracies as released, and as they are here."""
    found = {}
    for name in MEASURED:
        folder = runs.released(name)
        released = probe.read_rows(folder, runs.read_done(folder))
        again = probe.probe_run(folder, ("100",), protocol="logistic")
        key = ["list", "group"]
        wanted = released[(released["shots"] == "100") & (released["protocol"] == "logistic")]
        both = wanted.merge(again, on=key, suffixes=("", "_here")).query("group == 'all'")
        pairs = both[["accuracy", "accuracy_here"]]
        found[folder.name] = pairs.to_numpy().tolist()
    return found


if __name__ == "__main__":
    what, *where = sys.argv[1:]
    if what == "release":
        for finished in runs.finished(where[0]):
            if not (WEIGHTS / finished.name).exists():
                release(finished, WEIGHTS / finished.name)
    elif what == "near":
        near()
    else:
        print(json.dumps(rows_here()))
