"""Packs and text lists: whole, exact, bounded, and clear about what does not fit."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as tv

from ltcl_helpers import bench_loader, data, pretrain, views
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import lists, own, splits
from ltcl_helpers.data.pack import Pack, pack
from ltcl_helpers.data.stored import Stored
from ltcl_helpers.errors import ConfigError, DamagedFile
from ltcl_helpers.pretrain import sources


def picture(seed, width, height, mode="RGB"):
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three classes of JPEGs of several sizes, a flat val/, and lists as ImageNet's."""
    root = tmp_path_factory.mktemp("photos")
    lines = {"LT_train": [], "BL_train": [], "sub_train_0.01": [], "test": []}
    for label, (wnid, count) in enumerate({"n01": 12, "n02": 6, "n03": 4}.items()):
        (root / "train" / wnid).mkdir(parents=True)
        (root / "val").mkdir(exist_ok=True)
        for number in range(count):
            path = f"train/{wnid}/{wnid} {number}.JPEG"
            size = (90 + 10 * number, 70) if number % 2 else (64, 100)
            picture([label, number], *size).save(root / path, quality=90)
            lines["LT_train"].append(f"{path} {label}")
            if number < 4:
                lines["BL_train"].append(f"{path} {label}")
            if number < 2:
                lines["sub_train_0.01"].append(f"{path} {label}")
        for number in range(2):
            picture([9, label, number], 80, 80).save(root / "val" / f"{wnid}_{number}.JPEG")
            lines["test"].append(f"val/{wnid}/{wnid}_{number}.JPEG {label}")
    for name, text in lines.items():
        (root / f"toy_{name}.txt").write_text("\n".join(text) + "\n")
    return root


def toy_lists(root):
    return [root / f"toy_{name}.txt" for name in ("LT_train", "BL_train", "sub_train_0.01", "test")]


@pytest.fixture(scope="module")
def packed(photos, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "toy.pack"
    said = pack(photos, path, toy_lists(photos))
    assert "22 training and 6 test images of 3 classes" in said and "was" not in said
    return path


def test_small_jpegs_are_packed_as_they_are_and_found_by_their_paths(photos, packed):
    opened = Pack(packed)
    assert opened.class_names == ("n01", "n02", "n03")
    assert opened.verify().endswith("28 images, checksums hold")
    for position in (0, 13, 21):
        file = photos / opened.paths[position]
        assert opened.origin.read(position) == file.read_bytes()
    found = data.read_arrays(f"pack:{packed}@32", "test")
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2] and found.images.shape == (6, 3, 32, 32)


@pytest.mark.parametrize("crop_from", [0.2, 0.5])
def test_crops_of_a_pack_are_as_small_as_the_run_lets_them_be(packed, crop_from):
    stored = data.read_arrays(f"pack:{packed}@32", "train").images
    config = RunConfig(preset="tiny", crop_from=crop_from)
    source = sources.Decoded(stored, config, 50, lambda size: slice(0, size), torch.device("cpu"))
    index, boxes, _ = source._draw(torch.arange(len(stored)), torch.Generator().manual_seed(0))
    whole = (stored.heights * stored.widths)[index][:, None]
    shares = boxes[..., 2] * boxes[..., 3] / whole  # [b, V]
    assert crop_from - 0.1 < shares.min() < crop_from + 0.1


def test_crops_are_torchvisions_resized_crops_to_the_last_bit(photos, packed):
    stored = Pack(packed).images("train", 48)
    generator = torch.Generator().manual_seed(0)
    heights, widths = torch.from_numpy(stored.heights), torch.from_numpy(stored.widths)
    boxes, flips = views.draw_crops(heights, widths, 0.08, generator)
    index = np.arange(len(stored))
    crops = stored.crops(index, boxes.numpy()[:, None], flips.numpy()[:, None])[:, 0]
    for position, box, flip, crop in zip(index, boxes.tolist(), flips, crops, strict=True):
        image = Image.open(photos / stored.origin.paths[position])
        expected = tv.resized_crop(image, *box, (48, 48), tv.InterpolationMode.BICUBIC)
        expected = tv.horizontal_flip(expected) if flip else expected
        assert np.array_equal(np.asarray(expected).transpose(2, 0, 1), crop)


def test_the_digest_of_a_bench_is_that_of_its_crops(packed):
    stored = Pack(packed).images("train", 16)
    found = [bench_loader._pack(stored.take(np.arange(6)), threads) for threads in (1, 2)]
    assert found[0] == found[1]
    assert found[0] != bench_loader._pack(stored.take(np.array([0, 1, 2, 3, 4, 6])), 1)


def test_a_test_image_is_the_middle_of_the_resized_one(photos, packed):
    stored = Pack(packed).images("train", 56)
    image = Image.open(photos / stored.origin.paths[1])  # 100 x 70
    resized = image.resize((round(100 * 64 / 70), 64), Image.Resampling.BICUBIC)
    expected = tv.center_crop(resized, 56)
    assert np.array_equal(np.asarray(expected).transpose(2, 0, 1), stored[[1]][0])


def test_threads_change_nothing(packed, monkeypatch):
    def epoch(threads):
        monkeypatch.setattr(Stored, "threads", threads)
        config = RunConfig(preset="tiny", data=f"pack:{packed}@16", split="all", batch_size=8)
        training = pretrain.Training(config, splits.select(config))
        return [training.images[index].clone() for index, _ in training.steps(1)]

    first = epoch(1)
    assert len(first) == 3 and first[0].shape == (8, 2, 3, 16, 16)
    for threads in (2, 4):
        for one, other in zip(first, epoch(threads), strict=True):
            assert torch.equal(one, other)


def test_lists_are_splits_and_groups_follow_the_long_tail_list(photos, packed):
    def select(split, **more):
        name = str(photos / f"toy_{split}.txt")
        return splits.select(RunConfig(data=f"pack:{packed}@16", split=name, **more))

    tail = select("LT_train", batch_size=4)
    assert tail.class_counts.tolist() == [12, 6, 4] and len(tail.images) == 22
    flat = select("BL_train", batch_size=4)
    assert flat.class_counts.tolist() == [4, 4, 4]
    assert flat.group_counts.tolist() == [12, 6, 4]
    assert splits.data_digest(tail) == splits.data_digest(select("LT_train", batch_size=4))
    assert splits.data_digest(tail) != splits.data_digest(flat)


def test_the_same_lists_split_a_folder(photos, tmp_path):
    root = tmp_path / "photos"
    shutil.copytree(photos / "train", root / "train")
    split = str(photos / "toy_LT_train.txt")
    config = RunConfig(data=f"folder:{root}@16", split=split, batch_size=4)
    assert splits.select(config).class_counts.tolist() == [12, 6, 4]
    with pytest.raises(ConfigError, match="have no names"):
        splits.select(RunConfig(split=split))


def test_a_large_folder_stays_in_its_files(photos, monkeypatch, caplog):
    name = f"folder:{photos}@16"
    held = data.read_arrays(name, "train")
    monkeypatch.setattr(own, "IN_MEMORY", 1000)
    with caplog.at_level("WARNING"):
        stored = data.read_arrays(name, "train")
    assert "stay in their files" in caplog.text
    assert isinstance(stored.images, Stored) and stored.images.shape == held.images.shape
    assert np.array_equal(stored.labels, held.labels)
    assert stored.images[[0, 5]].shape == (2, 3, 16, 16)


def test_packing_changes_only_what_it_names(tmp_path, caplog):
    folder = tmp_path / "train" / "odd"
    folder.mkdir(parents=True)
    picture(1, 64, 64, "L").save(folder / "gray.jpg")
    picture(2, 64, 64, "CMYK").save(folder / "inks.jpg")
    picture(3, 64, 64).save(folder / "really.png")
    picture(4, 700, 300).save(folder / "wide.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(5, 64, 48).save(folder / "turned.jpg", exif=turned)
    with caplog.at_level("INFO"):
        said = pack(tmp_path, tmp_path / "odd.pack")
    for words in ("gray, not RGB", "CMYK, not RGB", "PNG, not JPEG", "turned as its EXIF says"):
        assert f"1 was {words}" in said and words in caplog.text
    stored = Pack(tmp_path / "odd.pack").images("train", 32)
    sizes = dict(
        zip(stored.origin.paths, zip(stored.heights, stored.widths, strict=True), strict=True)
    )
    assert sizes["train/odd/wide.jpg"] == (256, 597) and sizes["train/odd/turned.jpg"] == (64, 48)
    gray = stored[[stored.origin.paths.index("train/odd/gray.jpg")]][0].astype(int)
    assert np.abs(gray[0] - gray[1]).max() <= 2
    pack(tmp_path, tmp_path / "kept.pack", keep=True)
    assert Pack(tmp_path / "kept.pack").images("train").heights.max() == 300


def test_what_cannot_be_packed_is_named_and_leaves_nothing(photos, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(photos, root)
    broken = root / "train" / "n01" / "n01 3.JPEG"
    broken.write_bytes(broken.read_bytes()[:400])
    with pytest.raises(DamagedFile, match="n01 3.JPEG is not a readable image"):
        pack(root, tmp_path / "new.pack", toy_lists(root))
    broken.unlink()
    with pytest.raises(ConfigError, match=r"n01 3.JPEG does not exist, which list .*LT_train.txt"):
        pack(root, tmp_path / "new.pack", toy_lists(root))
    (root / "other.txt").write_text("train/n02/n02 0.JPEG 0\n")
    with pytest.raises(ConfigError, match="lists that agree"):
        pack(photos, tmp_path / "new.pack", [*toy_lists(photos), root / "other.txt"])
    with pytest.raises(ConfigError, match="no folder train/"):
        pack(tmp_path / "root" / "val", tmp_path / "new.pack")
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_every_flipped_byte_is_found(packed, tmp_path):
    whole = packed.read_bytes()
    size = len(whole)
    for place in (3, 200, size // 3, size // 2, size - 200, size - 45, size - 10):
        path = tmp_path / "bad.pack"
        flipped = bytearray(whole)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(DamagedFile):
            Pack(path).verify()
    (tmp_path / "short.pack").write_bytes(whole[:-30])
    for name in ("short.pack", "absent.pack"):
        with pytest.raises(DamagedFile, match=name):
            data.read_arrays(f"pack:{tmp_path / name}")


@pytest.mark.parametrize(
    ("text", "paths", "labels"),
    [
        ("a/x.jpg 0\nb/y.jpg 11\n", ["a/x.jpg", "b/y.jpg"], [0, 11]),
        ("Places/a b/x.jpg 3\n\n", ["Places/a b/x.jpg"], [3]),
        ("a/x.jpg\nb/y 2.jpg\n", ["a/x.jpg", "b/y 2.jpg"], None),
        (
            "train_val2018/Plantae/7477/3b.jpg 7477\r\n",
            ["train_val2018/Plantae/7477/3b.jpg"],
            [7477],
        ),
    ],
)
def test_text_lists_as_they_are_published(text, paths, labels, tmp_path):
    (tmp_path / "list.txt").write_text(text)
    found = lists.read_list(tmp_path / "list.txt")
    assert (found.paths, found.labels) == (paths, labels)


def test_bad_lists_are_one_line(tmp_path, packed):
    cases = {"": "is empty", "a.jpg 1\nb.jpg\n": "line 2", "\xff\xfe": "no text"}
    for text, says in cases.items():
        (tmp_path / "bad.txt").write_bytes(text.encode("latin-1"))
        with pytest.raises(ConfigError, match=says):
            lists.read_list(tmp_path / "bad.txt")
    with pytest.raises(ConfigError, match="cannot be read"):
        lists.read_list(tmp_path / "absent.txt")
    arrays = data.read_arrays(f"pack:{packed}")
    for line, says in (
        ("train/n01/other.JPEG 0", "does not hold"),
        ("train/n01/n01 0.JPEG 2", "gives .* label 2, .* has 0"),
        ("train/n01/n01 0.JPEG 0\ntrain/n01/n01 0.JPEG 0", "2 times"),
    ):
        (tmp_path / "bad.txt").write_text(line)
        with pytest.raises(ConfigError, match=says):
            splits.in_data(lists.read_list(tmp_path / "bad.txt"), arrays.labels, f"pack:{packed}")


def test_imagenet_100_lists_hold_what_is_published(published_splits):
    folder = published_splits / "imagenet-100"
    if not folder.is_dir():
        pytest.skip("the ImageNet-100 lists are not at hand: ltcl data get splits")
    sizes = {
        "imageNet_100_LT_train": 12_205, "imageNet_100_BL_train": 12_200,
        "imageNet_100_sub_balance_train_0.01": 1_200, "ImageNet_100_val": 2_000,
        "ImageNet_100_test": 5_000,
    }  # fmt: skip
    found = {name: lists.read_list(folder / f"{name}.txt") for name in sizes}
    assert {name: len(listed.paths) for name, listed in found.items()} == sizes
    counts = np.bincount(found["imageNet_100_LT_train"].labels)
    groups = splits.groups(counts, "counts")
    assert [len(groups[name]) for name in ("many", "medium", "few")] == [39, 48, 13]


def test_a_run_on_a_pack_trains_probes_and_reads_no_image_for_a_checkpoint(
    photos, packed, tmp_path, monkeypatch
):
    reads = []
    real = Stored._open
    monkeypatch.setattr(Stored, "_open", lambda self, at: reads.append(at) or real(self, at))
    split = str(photos / "toy_LT_train.txt")
    given = dict(data=f"pack:{packed}@16", split=split, batch_size=8, device="cpu")
    config = RunConfig(preset="tiny", method="bcl-d", groups="counts", **given)
    run = pretrain.pretrain(config, tmp_path / "run")
    assert len(reads) == 2 * 22  # each image once an epoch, for both views
    again = pretrain.pretrain(config)
    for name, weight in run.encoder.state_dict().items():
        assert torch.equal(weight, again.encoder.state_dict()[name])


def test_resumed_on_a_pack_is_never_stopped(packed, tmp_path, stop_and_resume):
    given = dict(data=f"pack:{packed}@16", split="all", batch_size=8, device="cpu")
    config = RunConfig(preset="tiny", method="simclr", **given)
    whole = pretrain.pretrain(config)
    resumed, _ = stop_and_resume(config, tmp_path / "run", 1)
    for name, weight in whole.encoder.state_dict().items():
        assert torch.equal(weight, resumed.encoder.state_dict()[name])


def test_the_command_packs_and_verifies(photos, tmp_path, cold):
    names = [str(path) for path in toy_lists(photos)]
    call = ["data", "pack", str(photos), "--lists", *names, "--out", "toy.pack"]
    done = cold.call(*call, cwd=tmp_path)
    assert done.returncode == 0 and "22 training and 6 test" in done.stdout, done.stderr
    for arguments, code, says in (
        (call, 2, "exists"),
        (["data", "verify", "pack:toy.pack"], 0, "checksums hold"),
        (call[:-2], 2, "--out is missing"),
        (["data", "verify", "splits", "--keep"], 2, "only"),
    ):
        done = cold.call(*arguments, cwd=tmp_path)
        assert done.returncode == code and says in done.stdout + done.stderr
