"""Folders of images in small: which files count, whose fault is named in which words, .npz too."""

import shutil
import struct
import zlib

import numpy as np
import pytest
from own_pictures import SIDE, draw, fill
from PIL import Image

from ltcl_helpers.data import folders, own
from ltcl_helpers.data.images import check_test, read_arrays, read_classes
from ltcl_helpers.errors import ConfigError


@pytest.mark.parametrize(("count", "end"), [(1, "0"), (10, "9"), (11, "9 and 1 more")])
def test_ten_names_are_listed_and_the_others_counted(count, end):
    text = folders.listed([str(k) for k in range(count)])
    assert text == ", ".join(map(str, range(min(count, 10) - 1))) + ", " * (count > 1) + end
    assert folders.listed(["a\tb", "c"]) == r"'a\tb', c"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Image.UnidentifiedImageError("x"), "no image, or of a kind that Pillow does not know"),
        (Image.DecompressionBombError("x"), "more pixels than Pillow opens; make it smaller"),
        (PermissionError(13, "Permission denied"), "permission denied"),
        (OSError("image file is truncated\nor so"), "image file is truncated"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 151), "x" * 150),
    ],
)
def test_why_a_file_cannot_be_read_is_said_in_a_few_words(error, words):
    assert folders.why_unreadable(error) == words


def test_one_bad_file_is_named_without_a_count_and_two_with_one(tmp_path):
    good, *bad = (tmp_path / f"{name}.png" for name in "abc")
    draw(good)
    for path in bad:  # what Pillow has another program for is no image here
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    why = "is not a readable image (no image, or of a kind that Pillow does not know)"
    end = "; repair or delete what cannot be read"
    for files, text in (
        ([good, bad[0]], f"{bad[0]} {why}{end}"),
        ([good, *bad], f"2 of 3 files: {bad[0]} {why}, {bad[1]} {why}{end}"),
    ):
        with pytest.raises(ConfigError) as told:
            folders.read_images(files, SIDE)
        assert str(told.value) == text


def test_a_drawing_by_a_program_is_no_photo_with_or_without_a_suffix(tmp_path):
    draw(tmp_path / "cat" / "x.png")
    for name in ("y.eps", "z"):
        (tmp_path / "cat" / name).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    found = folders.search(tmp_path)
    assert [path.name for path in found.files] == ["x.png"]
    assert found.said == (
        f"{tmp_path}: left out 2 files (1 .eps, 1 without a suffix: nothing that Pillow opens as "
        "an image)"
    )


def test_nothing_is_said_where_nothing_is_left_out(tmp_path):
    fill(tmp_path, ".", {"b": 2, "a": 1})
    found = folders.search(tmp_path)
    assert found.said == "" and found.class_names == ("a", "b")
    assert found.labels.tolist() == [0, 1, 1] and found.labels.dtype == np.int64
    (tmp_path / "c").mkdir()
    assert folders.search(tmp_path).said == f"{tmp_path}: no image in class folder c"
    draw(tmp_path / "big" / "tabby" / "x.png")
    draw(tmp_path / "big" / "lion" / "x.png")
    found = folders.search(tmp_path)
    assert found.class_names == ("a", "b", "big") and found.said.endswith(
        "no image in class folder c; images of several folders are one class each: big"
    )
    shutil.rmtree(tmp_path / "big")
    (tmp_path / ".hidden").mkdir()
    draw(tmp_path / "a" / ".thumbs" / "x.png")
    assert folders.search(tmp_path).said == (
        f"{tmp_path}: left out 2 files (2 hidden); no image in class folder c"
    )


def test_a_pile_is_one_class_of_that_name_and_has_no_test_part(tmp_path):
    draw(tmp_path / "0.png")
    (tmp_path / ".git").mkdir()
    name = f"folder:{tmp_path}@{SIDE}"
    assert read_arrays(name).class_names == ("unlabelled",)
    with pytest.raises(ConfigError, match="has no folder test or val/ with a folder per class"):
        read_arrays(name, "test")
    (tmp_path / "empty").mkdir()
    for place, says in (
        ("empty", "has no folder train/.*it has no folder"),
        ("0.png", "no folder"),
    ):
        with pytest.raises(ConfigError, match=f"{place} .*{says}"):
            read_arrays(f"folder:{tmp_path}/{place}")
    (tmp_path / "empty" / "train" / "cat").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"png, jpg, \.\.\. \(.*: no image in class folder cat\)"):
        read_arrays(f"folder:{tmp_path}/empty")


def test_a_folder_that_two_links_lead_to_is_entered_once_by_the_first_name(tmp_path):
    draw(tmp_path / "shared" / "x.png")
    for name in "febcad":  # made in no order: a disk may list them in any
        (tmp_path / "train" / "cat" / name).mkdir(parents=True)
        (tmp_path / "train" / "cat" / name / "link").symlink_to(tmp_path / "shared")
    assert own.file_names(str(tmp_path)) == ["train/cat/a/link/x.png"]
    again = tmp_path / "again" / "train" / "cat"
    again.mkdir(parents=True)
    for name in "bac":
        (again / name).symlink_to(tmp_path / "shared")
    assert own.file_names(str(tmp_path / "again")) == ["train/cat/a/x.png"]


def test_sixteen_bits_are_rounded_and_may_be_transparent(tmp_path):
    """Half a level up, and white where the one transparent value is."""
    values = np.array([[257 * 10 + 128, 257 * 10 + 129], [257 * 20, 0]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png", transparency=257 * 20)
    with Image.open(tmp_path / "a.png") as file:
        shown = np.asarray(folders.as_shown(file))
    assert (shown == shown[..., :1]).all()
    assert shown[..., 0].tolist() == [[10, 11], [255, 0]]


def deep_png(path, value):
    """A PNG of 16 bits in each of three colours, which Pillow does not write."""

    def chunk(kind, content):
        checked = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checked)

    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    rows = (b"\0" + np.full(24, value, ">u2").tobytes()) * 8
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def test_dark_files_of_sixteen_bits_in_colour_are_said_too(tmp_path, caplog):
    deep_png(tmp_path / "bright.png", 2**16 - 1)
    deep_png(tmp_path / "dark.png", 2**12 - 1)
    images = folders.read_images([tmp_path / "bright.png", tmp_path / "dark.png"], 8)
    assert images.max(axis=(1, 2, 3)).tolist() == [255, 15]
    assert caplog.messages[0].startswith("1 files of 16 bits a channel use less than an eighth")


def test_a_test_part_may_be_called_val_and_test_goes_first(tmp_path):
    fill(tmp_path, "train", {"ant": 1, "bee": 1})
    fill(tmp_path, "val", {"ant": 3})
    name = f"folder:{tmp_path}@{SIDE}"
    assert read_classes(name, "test").counts.tolist() == [3, 0]
    fill(tmp_path, "test", {"bee": 2})
    assert read_classes(name, "test").counts.tolist() == [0, 2]
    assert read_arrays(f"folder:{tmp_path}").images.shape[2:] == (32, 32)
    with pytest.raises(ConfigError, match="images of class bee, which the training part lacks"):
        check_test(name, read_classes(name)._replace(names=("ant", "cow")))


# --- .npz ----------------------------------------------------------------------------------------

PICTURES = np.zeros((2, 8, 9, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"images": PICTURES}, "x.npz lacks labels; it holds images"),
        ({"other": PICTURES}, "x.npz lacks images and labels; it holds other"),
        ({}, "x.npz lacks images and labels; it holds nothing"),
        ({"images": PICTURES / 255}, r"images are float64 of shape \(2, 8, 9, 3\); allowed is"),
        ({"images": PICTURES[..., 0]}, r"images are uint8 of shape \(2, 8, 9\); allowed is"),
        ({"images": PICTURES[..., :2]}, r"images are uint8 of shape \(2, 8, 9, 2\); allowed is"),
        ({"images": PICTURES[:0], "labels": []}, "x.npz holds no image"),
        ({"images": PICTURES, "labels": [0, 1, 1]}, r"of shape \(3,\) for 2 images; allowed is"),
        ({"class_names": [["a", "b"]]}, r"class_names are of shape \(1, 2\); allowed is one list"),
    ],
)
def test_an_npz_of_another_form_says_which(tmp_path, arrays, says):
    given = {"images": PICTURES, "labels": [0, 1]} if "class_names" in arrays else {}
    if "images" in arrays and arrays["images"] is not PICTURES:
        given = {"labels": [0, 1]}
    np.savez(tmp_path / "x.npz", **(given | arrays))
    with pytest.raises(ConfigError, match=says):
        read_arrays(f"npz:{tmp_path}/x.npz")


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"images": PICTURES}, "lacks labels; without any, give all images label 0"),
        ({"labels": np.zeros(0, int)}, "x.npz holds no image"),
        ({"labels": [[0, 1]]}, r"int64 of shape \(1, 2\); .*numpy\.argmax\(labels, 1\) makes such"),
        ({"labels": [0.0, 1]}, r"float64 of shape \(2,\); .*labels\.astype\(int\) makes such"),
    ],
)
def test_labels_of_another_form_say_which_before_any_image_is_read(tmp_path, arrays, says):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ConfigError, match=says):
        read_classes(f"npz:{tmp_path}/x.npz")


@pytest.mark.parametrize("shape", [(2, 3, 8, 9), (2, 3, 8, 3), (2, 8, 9, 3)])
def test_channels_may_come_first_or_last(tmp_path, shape):
    given = np.arange(np.prod(shape)).astype(np.uint8).reshape(shape)
    np.savez(tmp_path / "x.npz", images=given, labels=[0, 1])
    found = read_arrays(f"npz:{tmp_path}/x.npz").images
    first = given if shape[1] == 3 else given.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(found, first)
    assert found.flags.c_contiguous


def test_names_of_classes_may_be_bytes_and_are_compared_in_one_form(tmp_path):
    names = np.array(["cafe\u0301".encode(), b"\xff", b"a"])
    np.savez(tmp_path / "x.npz", images=PICTURES, labels=[0, 1], class_names=names)
    assert read_classes(f"npz:{tmp_path}/x.npz").names == ("caf\xe9", "\ufffd")


@pytest.mark.parametrize("name", ["npz:a_train.npz", "npz:a.npz", "folder:my_test", "pack:a_test"])
def test_only_an_npz_says_by_its_name_that_it_is_a_test_part(name):
    own.refuse_test_part(name)
    with pytest.raises(ConfigError, match=r"for training name a_train\.npz, or give the file"):
        own.refuse_test_part("npz:a_test.npz")
    with pytest.raises(ConfigError, match=r"for training name train\.npz, or give the file"):
        own.refuse_test_part("npz:photos/test.npz")  # the test part of train.npz


def test_a_run_of_two_classes_can_be_probed_and_of_one_not(tmp_path):
    with pytest.raises(ConfigError, match=r"have one class only \(disc-speckle\)"):
        check_test("shapes", read_classes("shapes")._replace(names=("disc-speckle",)))
    check_test("shapes", read_classes("shapes")._replace(names=("a", "b")))
