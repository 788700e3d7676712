"""What a pack's file holds, byte by byte, and which images of which lists are in it."""

import gc
import io
import os
import shutil
import struct

import numpy as np
import pytest
from own_pictures import draw
from PIL import Image

from ltcl_helpers import data
from ltcl_helpers.data.images import file_names
from ltcl_helpers.data.pack import FOOTER, MAGIC, OF_TEST, Pack, pack
from ltcl_helpers.data.stored import of_files
from ltcl_helpers.errors import ConfigError, DamagedFile


def picture(seed, size=(40, 30)):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    """Two training images each of cat and dog, one test image of dog."""
    for name in ("train/cat/0.jpg", "train/cat/1.jpg", "train/dog/0.jpg", "train/dog/1.jpg",
                 "val/dog/9.jpg"):  # fmt: skip
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(len(name) + int(name[-5])).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def make(root, tmp_path, lists=(), tests=(), **more):
    """A pack of text lists, given as texts by name."""
    paths = []
    for named in (dict(lists), dict(tests)):
        paths.append([])
        for name, text in named.items():
            (tmp_path / name).write_text(text)
            paths[-1].append(tmp_path / name)
    said = pack(root, tmp_path / "toy.pack", *paths, **more)
    opened = Pack(tmp_path / "toy.pack")
    (tmp_path / "toy.pack").unlink()
    return opened, said


def test_a_pack_of_folders_holds_both_parts(folder, tmp_path, caplog):
    (folder / "train" / "notes.txt").write_text("no image")
    opened, said = make(folder, tmp_path)
    assert said == (
        f"{tmp_path}/toy.pack: 4 training and 1 test images of 2 classes, 0 MiB"
    )  # fmt: skip
    assert opened.paths == ["train/cat/0.jpg", "train/cat/1.jpg", "train/dog/0.jpg",
                            "train/dog/1.jpg", "val/dog/9.jpg"]  # fmt: skip
    assert opened.labels.tolist() == [0, 0, 1, 1, 1] and opened.labels.dtype == np.int64
    assert opened.parts.tolist() == [0, 0, 0, 0, 1] and opened.parts.dtype == np.uint8
    assert opened.class_names == ("cat", "dog")
    sizes = opened.origin.heights.tolist(), opened.origin.widths.tolist()
    assert sizes == ([30] * 5, [40] * 5)
    assert opened.about["short_side"] == 256
    assert opened.verify() == f"{tmp_path}/toy.pack: 5 images, checksums hold"
    (line,) = caplog.messages
    assert line == f"{folder}/train: left out 1 files (1 beside the class folders)"
    kept, _ = make(folder, tmp_path, keep=True)
    assert kept.about["short_side"] is None


def test_a_class_is_the_folder_of_a_class_however_deep_its_images_lie(folder, tmp_path):
    for deep in ("train/cat", "train/dog", "val/dog"):
        files = list((folder / deep).iterdir())
        (folder / deep / "holiday").mkdir()
        for file in files:
            file.rename(folder / deep / "holiday" / file.name)
    opened, _ = make(folder, tmp_path)
    assert opened.class_names == ("cat", "dog") and opened.labels.tolist() == [0, 0, 1, 1, 1]


def test_a_header_that_claims_too_much_is_one_line(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses twice as many
    with pytest.raises(DamagedFile, match="train/cat/0.jpg is not a readable image"):
        make(folder, tmp_path)
    with pytest.raises(DamagedFile, match="0.jpg is not a readable image"):
        of_files([folder / "train" / "cat" / "0.jpg"])


def test_a_pack_of_folders_needs_the_test_classes_in_training(folder, tmp_path):
    draw(folder / "val" / "eel" / "0.jpg")
    with pytest.raises(ConfigError, match=r"val has classes that train/ does not have: eel"):
        make(folder, tmp_path)
    shutil.rmtree(folder / "train")
    with pytest.raises(ConfigError):
        make(folder, tmp_path)
    with pytest.raises(ConfigError, match="nowhere is no folder; give the one that"):
        make(folder / "nowhere", tmp_path)


def test_what_is_encoded_anew_has_quality_90_and_all_of_its_colour(folder, tmp_path, caplog):
    for number in (5, 6):
        picture(number).save(folder / "train" / "cat" / f"{number}.png")
    with caplog.at_level("INFO"):
        opened, said = make(folder, tmp_path)
    assert said.endswith("0 MiB; 2 was PNG, not JPEG")
    assert caplog.messages == ["train/cat/5.png was PNG, not JPEG: the first such image"]
    expected = io.BytesIO()
    picture(5).save(expected, "JPEG", quality=90, subsampling=0)
    assert opened.origin.read(opened.paths.index("train/cat/5.png")) == expected.getvalue()


ONE = "train/cat/0.jpg 0\ntrain/dog/0.jpg 1\n"
TWO = "train/cat/1.jpg 0\n./train/dog/0.jpg 1\n"


@pytest.mark.parametrize(
    ("lists", "tests", "parts"),
    [
        ({"a.txt": ONE, "b.txt": TWO}, {}, [0, 0, 0]),
        ({"a.txt": ONE, "my_TEST.txt": "train/dog/1.jpg 1"}, {}, [0, 0, 1]),
        ({"a.txt": ONE}, {"b.txt": "train/dog/1.jpg 1"}, [0, 0, 1]),
        # Where test lists are named, no other list is one by its name.
        ({"my_test.txt": ONE}, {"b.txt": "train/dog/1.jpg 1", "c.txt": "val/dog/9.jpg 1"},
         [0, 0, 1, 1]),
    ],
)  # fmt: skip
def test_which_part_an_image_belongs_to(folder, tmp_path, lists, tests, parts):
    opened, _ = make(folder, tmp_path, lists, tests)
    assert opened.parts.tolist() == parts
    assert opened.class_names == ("cat", "dog")


def test_lists_without_labels_have_the_folders_as_classes(folder, tmp_path):
    paths = "train/dog/1.jpg\ntrain/cat/0.jpg\nval/dog/9.jpg\n"
    opened, _ = make(folder, tmp_path, {"a.txt": paths})
    assert opened.labels.tolist() == [1, 0, 1] and opened.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("train/cat/0.jpg 1\ntrain/dog/0.jpg 0\n", ("dog", "cat")),
        ("train/cat/0.jpg 0\ntrain/dog/0.jpg 0\nval/dog/9.jpg 1\n", ("class 0", "dog")),
        ("train/cat/0.jpg 0\ntrain/cat/1.jpg 1\n", ("class 0", "class 1")),  # one folder for two
    ],
)
def test_a_class_is_called_as_its_folder_where_it_has_one_of_its_own(folder, tmp_path, text, names):
    assert make(folder, tmp_path, {"a.txt": text})[0].class_names == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train/cat/0.jpg 2\ntrain/dog/0.jpg 0\n", "labels from 0 to 2, of 2 classes; a pack numb"),
        ("train/cat/0.jpg 1\ntrain/dog/0.jpg 2\n", "labels from 1 to 2, of 2 classes"),
        ("train/cat/0.jpg 0\ntrain/dog/0.jpg 9000000000000000000000\n", "of 2 classes"),
    ],
)
def test_labels_of_lists_are_numbers_of_classes(folder, tmp_path, text, said):
    with pytest.raises(ConfigError, match=said):
        make(folder, tmp_path, {"a.txt": text})


def test_a_class_of_test_lists_alone_is_refused(folder, tmp_path):
    lists = {"a.txt": "train/cat/0.jpg 0\ntrain/dog/0.jpg 1\n"}
    with pytest.raises(ConfigError, match="test lists have labels that no training list has: 2"):
        make(folder, tmp_path, lists, {"b.txt": "val/dog/9.jpg 2\n"})


@pytest.mark.parametrize(
    ("name", "said"), [(b"caf\xe9", "is not UTF-8; rename it"), (b"a\nb", "holds a line break")]
)
def test_a_name_that_an_index_cannot_hold_is_refused_before_packing(folder, tmp_path, name, said):
    try:
        (folder / "train" / os.fsdecode(name)).mkdir()
    except OSError as error:
        pytest.skip(f"this file system has no such names ({error.strerror})")
    dog = folder / "train" / "dog"
    shutil.copy(next(dog.iterdir()), folder / "train" / os.fsdecode(name) / "0.jpg")
    with pytest.raises(ConfigError, match=said):
        pack(folder, tmp_path / "p.pack")
    assert not (tmp_path / "p.pack").exists()


def test_a_folder_is_no_pack(folder):
    with pytest.raises(ConfigError, match="is a folder; give data as folder:.* ltcl data pack "):
        Pack(folder)


@pytest.mark.parametrize(
    "other",
    [
        {"lists": {"b.txt": "train/dog/0.jpg 0"}},
        {"tests": {"b.txt": "train/dog/0.jpg 1"}},
    ],
)
def test_lists_that_contradict_each_other_are_refused(folder, tmp_path, other):
    lists = {"a.txt": ONE} | other.get("lists", {})
    with pytest.raises(ConfigError, match=r"dog/0.jpg is of class 1 and part train by .*a\.txt, "):
        make(folder, tmp_path, lists, other.get("tests", ()))


def test_one_file_under_two_paths_is_one_image(folder, tmp_path):
    absolute = folder / "train/dog/0.jpg"
    for text, part in (("{} 0", "lists"), ("{} 1", "tests")):
        both = {"lists": {"a.txt": ONE}, "tests": {}}
        both[part] |= {"b.txt": text.format(absolute)}
        with pytest.raises(
            ConfigError, match=r"dog/0.jpg is of class 1 and part train by .*a\.txt"
        ):
            make(folder, tmp_path, **both)
    agreed, _ = make(folder, tmp_path, {"a.txt": f"{ONE}\n{absolute} 1"})
    assert str(absolute) in agreed.paths and "train/dog/0.jpg" in agreed.paths
    (folder / "flat").mkdir()
    picture(1).save(folder / "flat" / "0.jpg")
    with pytest.raises(
        ConfigError, match=r"flat/dog/0.jpg is of class 0 and part train by .*a\.txt"
    ):
        make(folder, tmp_path, {"a.txt": "flat/cat/0.jpg 0\nflat/dog/0.jpg 1"})


def test_lists_with_labels_and_lists_without_are_not_packed_together(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"list a\.txt has labels and b\.txt has none, so their"):
        make(folder, tmp_path, {"a.txt": ONE}, {"b.txt": "val/dog/9.jpg"})


def test_a_pack_is_made_in_a_new_folder_and_never_over_an_old_one(folder, tmp_path):
    out = tmp_path / "deep" / "er" / "toy.pack"
    pack(folder, out)
    with pytest.raises(ConfigError, match="toy.pack exists; name another --out"):
        pack(folder, out)
    pack(folder, out.with_name("other.pack"))
    assert out.read_bytes() == out.with_name("other.pack").read_bytes()


# --- reading -------------------------------------------------------------------------------------


@pytest.fixture
def packed(folder, tmp_path):
    pack(folder, tmp_path / "toy.pack")
    return tmp_path / "toy.pack"


def test_images_are_of_224_pixels_unless_the_name_says_another_size(packed, tmp_path):
    found = data.read_arrays(f"pack:{packed}")
    assert found.images.shape == (4, 3, 224, 224) and found.class_names == ("cat", "dog")
    assert Pack(packed).images("test").shape == (1, 3, 224, 224)
    assert data.read_arrays(f"pack:{packed}@512", "test").images.shape == (1, 3, 512, 512)
    assert file_names(f"pack:{packed}") == ["train/cat/0.jpg", "train/cat/1.jpg",
                                            "train/dog/0.jpg", "train/dog/1.jpg"]  # fmt: skip


def test_a_pack_without_a_part_says_which_list_is_missing(folder, tmp_path):
    opened, _ = make(folder, tmp_path, {"a.txt": ONE})
    with pytest.raises(ConfigError, match=r"holds no test images; pack its list, too \(--test"):
        opened.images("test")


def test_the_file_is_closed_with_the_last_that_reads_it(packed):
    opened = Pack(packed)
    number = opened.file
    os.fstat(number)
    del opened
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


@pytest.mark.parametrize(
    ("name", "is_test"),
    [("my_test", True), ("test", True), ("LT-TEST", True), ("train_latest", False), ("t", False)],
)
def test_a_list_of_test_images_has_test_for_its_last_word(name, is_test):
    assert bool(OF_TEST.search(name)) == is_test


def test_a_system_that_cannot_read_at_a_place_reads_the_same(packed, monkeypatch):
    expected = Pack(packed).origin.read(2)
    monkeypatch.delattr(os, "pread")
    opened = Pack(packed)
    assert opened.origin.read(2) == expected
    assert opened.verify().endswith("5 images, checksums hold")


def test_a_file_that_is_no_whole_pack_is_refused_whatever_its_end_says(packed):
    whole = packed.read_bytes()
    start, length, digest = FOOTER.unpack(whole[-FOOTER.size :])
    assert whole.startswith(MAGIC) and len(whole) == start + length + FOOTER.size
    for damaged in (
        MAGIC,
        b"PK" + whole[2:],
        whole + b"\0",
        whole[: -FOOTER.size] + struct.pack("<QQ32s", start, 2**62, digest),
        whole[: -FOOTER.size] + struct.pack("<QQ32s", start + 1, length - 1, digest),
        whole[: -FOOTER.size] + struct.pack("<QQ32s", start, length, digest[::-1]),
    ):
        packed.write_bytes(damaged)
        with pytest.raises(DamagedFile, match=r"toy\.pack is damaged or no pack; `ltcl data pack`"):
            Pack(packed)


def test_a_changed_image_is_found_when_it_is_read_and_by_verify(packed):
    whole = bytearray(packed.read_bytes())
    whole[len(MAGIC) + 5] ^= 1
    packed.write_bytes(whole)
    opened = Pack(packed)
    with pytest.raises(DamagedFile, match=r"train/cat/0\.jpg in pack .* is not what was packed"):
        opened.origin.read(0)
    assert opened.origin.read(1)
    opened._read = lambda position: b""  # as if the change left this checksum as it is
    with pytest.raises(DamagedFile, match=r"is not what was written \(sha256\); make it again"):
        opened.verify()
