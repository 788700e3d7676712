"""Measure what docs/scale.md says of packs, memory and a ResNet-50 on large images.

    python experiments/scale.py FOLDER [IMAGES [PART ...]]

makes 20,000 JPEGs in FOLDER, packs them, trains an epoch of five methods, probes and explores (part
"commands"); then a few steps of a ResNet-50 beside torchvision's own ("resnet50"), and the reader
beside a DataLoader ("loader"). CPU seconds, which wait for nobody, of single processes with one
thread; what is compared is compared in one run. Writes data/results/scale*.json. About 15 minutes
of a processor, 1 GB of disk.
"""

import io
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from ltcl_helpers import files, runs
from ltcl_helpers.data import splits
from ltcl_helpers.paths import RESULTS

CLASSES, SIDE = 100, 256
LARGEST = 920  # of 20,000 images in 100 classes, the smallest a hundredth
DISTINCT = 200  # pictures that are encoded; each file is a copy of some
METHODS = {  # and the side of their crops
    "simclr": 64, "sdclr": 32, "bcl-i": 32, "moco-v2": 32, "balanced-cl": 32,
}  # fmt: skip
BATCH, STEPS = 4, 2  # of the ResNet-50


def photos(folder: Path, images: int) -> None:
    """JPEGs in train/CLASS and test/CLASS; smooth noise, as large as those of a photograph."""
    draw = np.random.default_rng(0)
    contents = []
    for _ in range(DISTINCT):
        coarse = Image.fromarray(draw.integers(0, 256, (24, 24, 3), np.uint8))
        picture = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
        noisy = (picture + draw.normal(0, 12, picture.shape)).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "JPEG", quality=90)
        contents.append(buffer.getvalue())
    largest = round(LARGEST * images / 20_000)
    sizes = splits.class_sizes(largest, CLASSES, min(100, largest))
    for part, counts in (("train", sizes), ("test", [images // 1000] * CLASSES)):
        for number, count in enumerate(counts):
            place = folder / part / f"class{number:03d}"
            place.mkdir(parents=True)
            for each in range(count):
                content = contents[draw.integers(DISTINCT)]
                (place / f"{each}.jpg").write_bytes(content)


def measured(*words: object) -> dict[str, float]:
    """CPU seconds and peak memory of a command of the kit, a process of its own."""
    command = [sys.executable, "-m", "ltcl_helpers", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    gib = used.ru_maxrss * 1024 / 2**30
    return {"CPU seconds": round(used.ru_utime + used.ru_stime, 1), "peak GiB": round(gib, 2)}


def commands(folder: Path, pack: Path) -> dict[str, dict[str, float]]:
    """The commands on all images, each measured."""
    found = {"pack": measured("data", "pack", folder / "photos", "--out", pack)}
    for method, side in METHODS.items():
        out = folder / method
        given = ["--preset", "tiny", "--method", method, "--split", "all"]
        small = ["--set", "epochs=1", "--set", "batch_size=256", "--set", "device=cpu"]
        if method == "moco-v2":
            small += ["--set", "group_size=64"]
        data = f"pack:{pack}@{side}"
        found[method] = measured("run", *given, *small, "--data", data, "--out", out)
    run = folder / "bcl-i"
    for name, protocol in (("knn", "knn"), ("linear", "logistic")):
        found[name] = measured("probe", run, "--shots", "full", "--protocol", protocol)
    found["explore"] = measured("explore", run, "--out", folder / "page.html")
    return found


# --- a ResNet-50 beside torchvision's own ------------------------------------------------------


def ours(pack: str) -> None:
    """Some updates of SimCLR as paper-imagenet has it, from the JPEGs to the optimizer."""
    from ltcl_helpers.config import RunConfig
    from ltcl_helpers.pretrain import pretrain

    given = dict(
        preset="paper-imagenet", data=f"pack:{pack}", split="all", epochs=1, warmup_epochs=0.0
    )
    config = RunConfig(**given, batch_size=BATCH, precision="float32", device="cpu")
    inputs = splits.select(config)
    some = np.arange(BATCH * STEPS)
    few = inputs._replace(
        images=inputs.images.take(some), labels=inputs.labels[some], index=inputs.index[some]
    )
    tell(lambda: pretrain(config, None, few))


def theirs(_: str) -> None:
    """The same number of crops through torchvision's network: forward, backward, update."""
    import torch
    from torchvision.models import resnet50

    network = resnet50(weights=None)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    crops = torch.rand(2 * BATCH, 3, 224, 224)

    def steps() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            network(crops).square().mean().backward()
            optimizer.step()

    tell(steps)


def tell(steps) -> None:  # noqa: ANN001
    """Print the CPU seconds an update, and the memory of the process."""
    before = time.process_time()
    steps()
    seconds = (time.process_time() - before) / STEPS
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
    print(json.dumps({"CPU seconds": round(seconds, 2), "peak GiB": round(gib, 2)}))


def resnet50(pack: Path) -> dict[str, list[dict[str, float]]]:
    """Both, in turn, twice."""
    found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for _ in range(2):
        for name, each in found.items():
            command = [sys.executable, __file__, name, str(pack)]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
            each.append(json.loads(done.stdout.splitlines()[-1]))
    return found


def main(folder: Path, images: int, part: str) -> None:
    """Measure a part, and write it."""
    pack = folder / "photos.pack"
    facts = {
        "images": images,
        "machine": f"cpu {platform.machine()}, {os.cpu_count()} cores, one thread",
        "versions": runs.versions(),
        "git_commit": runs.git_commit(),
    }
    if part == "commands":
        photos(folder / "photos", images)
        files.write_json(RESULTS / "scale.json", facts | {"commands": commands(folder, pack)})
    elif part == "resnet50":
        found = {"crops": 2 * BATCH, "updates": STEPS, "resnet50": resnet50(pack)}
        files.write_json(RESULTS / "scale-resnet50.json", facts | found)
    else:
        measured(
            "bench", "loader", "--data", f"pack:{pack}", "--out", RESULTS / "scale-loader.json"
        )


if __name__ == "__main__":
    first, *more = sys.argv[1:]
    if first in ("ours", "theirs"):
        {"ours": ours, "theirs": theirs}[first](more[0])
    else:
        count = int(more[0]) if more else 20_000
        for name in more[1:] or ("commands", "resnet50", "loader"):
            main(Path(first), count, name)
