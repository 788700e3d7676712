"""`ltcl bench loader`: what it times beside the published way, and the table it prints."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as tv

from ltcl_helpers import bench_loader, views
from ltcl_helpers.data import read_arrays
from ltcl_helpers.data.pack import pack
from ltcl_helpers.data.stored import Stored
from ltcl_helpers.errors import ConfigError

SIZES = [(70, 50), (40, 90), (60, 60), (48, 40), (90, 45), (52, 64), (64, 40)]  # width, height


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The name of a pack of seven photos of many sizes, one of them grey."""
    root = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for number, (width, height) in enumerate(SIZES):
        colours = draw.integers(0, 256, (6, 6, 3), np.uint8)
        photo = Image.fromarray(colours).resize((width, height))
        (photo.convert("L") if number == 3 else photo).save(root / f"{number}.png")
    lines = [f"{number}.png {number % 2}\n" for number in range(len(SIZES))]
    (root / "toy_train.txt").write_text("".join(lines))
    pack(root, root / "toy.pack", [root / "toy_train.txt"])
    return f"pack:{root}/toy.pack@32"


@pytest.fixture
def stored(packed):
    return read_arrays(packed, "train").images


def test_what_is_timed_is_what_the_page_of_speeds_says():
    assert (bench_loader.IMAGES, bench_loader.BATCH, bench_loader.REPEATS) == (512, 64, 3)
    assert (bench_loader.CROP_FROM, bench_loader.THREADS) == (0.08, (1, 2, 4))


def test_the_published_views_are_those_of_sdclr_on_imagenet(stored):
    published = bench_loader.Published(stored)
    crop, flip, colours, grey, last = published.view.transforms
    assert (crop.size, crop.scale) == ((32, 32), (0.08, 1.0))
    assert crop.interpolation is tv.InterpolationMode.BICUBIC
    assert (type(flip), flip.p) == (tv.RandomHorizontalFlip, 0.5)
    (jitter,) = colours.transforms
    assert colours.p == 0.8 and (type(grey), grey.p) == (tv.RandomGrayscale, 0.2)
    strengths = jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue
    assert strengths == ((0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.1, 0.1))
    assert type(last) is tv.ToTensor and len(published) == len(SIZES)
    torch.manual_seed(0)
    two = published[1]
    assert two.shape == (2, 3, 32, 32) and not torch.equal(two[0], two[1])
    published.view = lambda image: torch.tensor([*image.size, *image.getpixel((9, 9))])
    one, other = published[3]
    assert one.tolist()[:2] == [48, 40] and len(one) == 5 and torch.equal(one, other)


def test_the_published_way_makes_every_view_in_batches(stored, monkeypatch):
    seen = []
    loader = lambda *given, **named: seen.append((given, named)) or [0]  # noqa: E731
    monkeypatch.setattr(bench_loader, "DataLoader", loader)
    assert bench_loader._pil(stored) == "random"
    (published, batch), named = seen.pop()
    assert (published.stored, batch, named) == (stored, 64, {"shuffle": True})


def test_a_pack_gives_two_crops_of_every_image_batch_by_batch(stored, monkeypatch):
    monkeypatch.setattr(bench_loader, "BATCH", 5)
    seen, crops, before = [], Stored.crops, Stored.threads

    def watch(self, index, boxes, flips):
        made = crops(self, index, boxes, flips)
        seen.append((self.threads, index.tolist(), boxes, flips, made))
        return made

    monkeypatch.setattr(Stored, "crops", watch)
    digest = bench_loader._pack(stored, 3)
    assert Stored.threads == before
    assert [each[:2] for each in seen] == [(3, [0, 1, 2, 3, 4]), (3, [5, 6])]
    assert digest == hashlib.sha256(b"".join(each[-1].tobytes() for each in seen)).hexdigest()
    draw = torch.Generator().manual_seed(0)
    for _, index, boxes, flips, _ in seen:
        sizes = torch.tensor([SIZES[number] for number in index]).repeat_interleave(2, dim=0)
        expected = views.draw_crops(sizes[:, 1], sizes[:, 0], 0.08, draw)
        assert np.array_equal(boxes.reshape(-1, 4), expected[0])
        assert flips.shape == (len(index), 2) and np.array_equal(flips.flatten(), expected[1])


# Linux counts memory in KiB, macOS in bytes.
@pytest.mark.parametrize(("system", "unit"), [("linux", 2**10), ("darwin", 2**20)])
def test_both_are_timed_in_turn_and_printed_and_recorded(
    system, unit, packed, stored, tmp_path, monkeypatch, capsys
):
    clock = iter(np.cumsum([0, 0.4, 0, 0.2, 0, 0.1, 1, 0.6, 0, 0.2, 0, 0.3]).tolist())
    monkeypatch.setattr(bench_loader, "IMAGES", 4)
    monkeypatch.setattr(bench_loader, "THREADS", (1, 2))
    monkeypatch.setattr(bench_loader, "REPEATS", 2)
    monkeypatch.setattr(bench_loader.time, "process_time", lambda: next(clock))
    usage = SimpleNamespace(ru_maxrss=5120 * unit + 1)
    monkeypatch.setattr(bench_loader.resource, "getrusage", lambda who: usage)
    monkeypatch.setattr(bench_loader.sys, "platform", system)
    monkeypatch.setattr(bench_loader, "cores_each", lambda: 3)
    monkeypatch.setenv("LTCL_GIT_COMMIT", "abc")
    bench_loader.run(packed, tmp_path / "loader.json")
    result = json.loads((tmp_path / "loader.json").read_text())
    spread = stored.take(np.array([0, 2, 4, 6]))
    crops = bench_loader._pack(spread, 1)
    names = ["PIL DataLoader, two published views", "pack, two crops, 1 threads"]
    names.append("pack, two crops, 2 threads")
    times = result.pop("CPU ms per image")
    assert list(times) == names and list(result.pop("sha256 of the crops").values()) == [
        "random", crops, crops,
    ]  # fmt: skip
    assert times == {
        name: pytest.approx(each)
        for name, each in zip(names, ([100, 150], [50, 50], [25, 75]), strict=True)
    }
    assert result == {
        "data": "toy.pack@32", "images": 4, "side": 32, "peak MiB": 5120, "cores": 3,
        "git_commit": "abc",
    }  # fmt: skip
    assert capsys.readouterr().out.splitlines() == [
        "| 4 images at 32 px | CPU ms per image | times | sha |",
        "| --- | --- | --- | --- |",
        f"| {names[0]} | 125.00 (100.00-150.00) | 1.0 | random |",
        f"| {names[1]} | 50.00 (50.00-50.00) | 2.5 | {crops[:12]} |",
        f"| {names[2]} | 50.00 (25.00-75.00) | 2.5 | {crops[:12]} |",
        "",
        "peak memory 5120 MiB",
    ]


def test_all_images_of_a_small_pack_are_timed_and_nothing_is_written_unasked(
    packed, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench_loader, "REPEATS", 1)
    monkeypatch.setattr(bench_loader, "THREADS", (1,))
    bench_loader.run(packed)
    assert "| 7 images at 32 px |" in capsys.readouterr().out and not list(tmp_path.iterdir())
    monkeypatch.setattr(bench_loader, "read_arrays", lambda *given: SimpleNamespace(images=given))
    with pytest.raises(ConfigError, match="data is 'x'; `ltcl bench loader` needs a pack: --data "):
        bench_loader.run("x")
