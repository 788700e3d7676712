"""How fast a pack hands out crops, beside the published way: PIL transforms, image by image."""

from __future__ import annotations

import hashlib
import io
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from . import files, report, runs
from .cores import cores_each
from .data import read_arrays
from .data.stored import Stored
from .errors import ConfigError
from .views import draw_crops

PUBLISHED = "PIL DataLoader, two published views"
IMAGES = 512  # of the pack, spread over it
BATCH = 64
CROP_FROM = 0.08
THREADS = (1, 2, 4)
REPEATS = 3


class Published(Dataset):
    """Two views of each image as the published code makes them (SDCLR's, for ImageNet)."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        jitter = transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)
        self.view = transforms.Compose(
            [
                transforms.RandomResizedCrop(
                    stored.side,
                    (CROP_FROM, 1.0),
                    interpolation=transforms.InterpolationMode.BICUBIC,
                ),
                transforms.RandomHorizontalFlip(),
                transforms.RandomApply([jitter], 0.8),
                transforms.RandomGrayscale(0.2),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, number: int) -> Tensor:
        content = self.stored.origin.read(int(self.stored.positions[number]))
        image = Image.open(io.BytesIO(content)).convert("RGB")
        return torch.stack([self.view(image), self.view(image)])


def run(data: str, out: Path | None = None) -> None:
    """Time both on one machine, in turn, and print a table; CPU time, which waits for nobody.

    Raises:
        ConfigError: for data that is no pack.
    """
    images = read_arrays(data, "train").images
    if not isinstance(images, Stored):
        raise ConfigError(f"data is {data!r}; `ltcl bench loader` needs a pack: --data pack:PATH")
    count = min(IMAGES, len(images))
    some = images.take(np.linspace(0, len(images) - 1, count).round().astype(int))
    ways: dict[str, Callable[[], str]] = {PUBLISHED: partial(_pil, some)}
    for threads in THREADS:
        ways[f"pack, two crops, {threads} threads"] = partial(_pack, some, threads)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    digests: dict[str, str] = {}
    for _ in range(REPEATS):
        for name, way in ways.items():
            before = time.process_time()
            digests[name] = way()
            seconds[name].append(time.process_time() - before)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    result = {
        "data": Path(data).name,
        "images": count,
        "side": some.side,
        "CPU ms per image": {n: [1000 * s / count for s in each] for n, each in seconds.items()},
        "sha256 of the crops": digests,
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit,
        "cores": cores_each(),
        "git_commit": runs.git_commit(),
    }
    print(table(result))
    if out:
        files.write_json(out, result)


def table(result: dict) -> str:
    """The numbers of `run` as Markdown: medians (smallest-largest)."""
    times = result["CPU ms per image"]
    published = np.median(next(iter(times.values())))
    rows = []
    for name, each in times.items():
        low, middle, high = np.quantile(each, [0, 0.5, 1])
        sha = result["sha256 of the crops"][name][:12]
        faster = f"{published / middle:.1f}"
        rows.append([name, f"{middle:.2f} ({low:.2f}-{high:.2f})", faster, sha])
    head = [f"{result['images']} images at {result['side']} px", "CPU ms per image", "times", "sha"]
    return f"{report.markdown(head, rows)}\n\npeak memory {result['peak MiB']} MiB"


def _pil(stored: Stored) -> str:
    for _ in DataLoader(Published(stored), BATCH, shuffle=True):
        pass
    return "random"


def _pack(stored: Stored, threads: int) -> str:
    """Two crops of every image, batch by batch; the digest of all of them."""
    draw = torch.Generator().manual_seed(0)
    before = Stored.threads
    Stored.threads = threads
    digest = hashlib.sha256()
    try:
        for start in range(0, len(stored), BATCH):
            index = np.arange(start, min(start + BATCH, len(stored)))
            heights = torch.from_numpy(stored.heights[index]).repeat_interleave(2)
            widths = torch.from_numpy(stored.widths[index]).repeat_interleave(2)
            boxes, flips = draw_crops(heights, widths, CROP_FROM, draw)
            boxes = boxes.view(len(index), 2, 4)
            crops = stored.crops(index, boxes.numpy(), flips.view(len(index), 2).numpy())
            digest.update(crops.data)
    finally:
        Stored.threads = before
    return digest.hexdigest()
