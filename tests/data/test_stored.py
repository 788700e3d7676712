"""Images that stay in files: what is cut out of them, and what stands for them."""

import os

import numpy as np
import pytest
import torch
from own_pictures import draw
from PIL import Image
from torchvision.transforms.v2 import functional as tv

from ltcl_helpers.cores import cores_each
from ltcl_helpers.data import own
from ltcl_helpers.data.images import read_arrays, read_test
from ltcl_helpers.data.pack import pack
from ltcl_helpers.data.stored import Origin, Stored, of_files, shrink
from ltcl_helpers.errors import DamagedFile


def picture(seed, width, height):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def files(tmp_path):
    """A wide, a tall and a tiny picture."""
    sizes = {"wide.png": (90, 60), "tall.png": (60, 91), "tiny.png": (10, 12)}
    for number, (name, size) in enumerate(sizes.items()):
        picture(number, *size).save(tmp_path / name)
    return [tmp_path / name for name in sizes]


def middle(path, side):
    """As for a test: the short side becomes 256 / 224 of the side, then the middle is cut out."""
    image = Image.open(path)
    short = round(side * 256 / 224)
    scale = short / min(image.size)
    size = [max(short, round(length * scale)) for length in image.size]
    resized = image.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(tv.center_crop(resized, side)).transpose(2, 0, 1)


@pytest.mark.parametrize("side", [8, 41, 224])
def test_an_image_is_the_middle_of_the_resized_one_small_or_large(files, side):
    stored = Stored(of_files(files), side)
    assert stored.shape == (3, 3, side, side) and len(stored) == 3
    for path, image in zip(files, stored[:], strict=True):
        np.testing.assert_array_equal(image, middle(path, side))


def test_some_images_are_still_in_their_files_and_know_their_sizes(files):
    stored = Stored(of_files(files), 8)
    assert (stored.heights.tolist(), stored.widths.tolist()) == ([60, 91, 12], [90, 60, 10])
    some = stored.take([2, 0])
    assert (some.heights.tolist(), some.widths.tolist()) == ([12, 60], [10, 90])
    np.testing.assert_array_equal(some[:], stored[np.array([2, 0])])
    np.testing.assert_array_equal(np.asarray(some), some[:])
    np.testing.assert_array_equal(some.take([1])[:], stored[[0]])
    assert some.resized(16).shape == (2, 3, 16, 16)
    np.testing.assert_array_equal(some.resized(16)[:], Stored(stored.origin, 16)[[2, 0]])


def test_each_view_is_a_crop_of_its_own_and_may_be_mirrored(files):
    boxes = np.array([[[5, 7, 40, 30], [0, 0, 60, 90]], [[1, 2, 9, 6], [0, 0, 12, 10]]])
    flips = np.array([[True, False], [False, True]])
    crops = Stored(of_files(files), 16).crops(np.array([0, 2]), boxes, flips)
    assert crops.shape == (2, 2, 3, 16, 16)
    for row, path in enumerate((files[0], files[2])):
        for view in (0, 1):
            bicubic = tv.InterpolationMode.BICUBIC
            expected = tv.resized_crop(Image.open(path), *boxes[row, view], (16, 16), bicubic)
            expected = tv.horizontal_flip(expected) if flips[row, view] else expected
            np.testing.assert_array_equal(crops[row, view], np.asarray(expected).transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize(("turn", "on_its_side"), [(1, False), (4, False), (5, True), (8, True)])
def test_the_size_of_a_photo_is_that_of_the_upright_one(tmp_path, turn, on_its_side, kind):
    exif = Image.Exif()
    exif[0x0112] = turn
    photo = tmp_path / f"a.{kind}"
    picture(0, 40, 24).save(photo, exif=exif)
    origin = of_files([photo])
    size = origin.heights[0], origin.widths[0]
    assert size == ((40, 24) if on_its_side else (24, 40))
    assert Stored(origin, 8)[:].shape == (1, 3, 8, 8)


def test_names_and_sizes_of_files_stand_for_their_content(files):
    first = of_files(files).digest
    assert first == of_files(files).digest != of_files(files[::-1]).digest
    os.utime(files[1], ns=(0, 10**18 + 1))  # as a copy has it
    assert of_files(files).digest == first
    read = files[2].read_bytes()
    assert of_files(files).read(2) == read
    assert of_files(files).paths == [str(path) for path in files]
    files[2].write_bytes(read.ljust(5000, b"0"))
    longer = of_files(files).digest
    picture(0, 9, 17).save(files[2])
    files[2].write_bytes(files[2].read_bytes().ljust(5000, b"0"))  # as long, of other pixels
    assert files[2].stat().st_size == 5000
    other_pixels = of_files(files).digest
    assert len({first, longer, other_pixels}) == 3


def test_the_digest_is_of_origin_side_and_positions(files):
    origin = of_files(files)
    stored = Stored(origin, 8)
    assert stored.digest() == Stored(origin, 8, np.arange(3)).digest()
    others = [stored.take([0, 2, 1]), stored.resized(9), Stored(origin._replace(digest="0"), 8)]
    assert len({stored.digest(), *(other.digest() for other in others)}) == 4


def test_a_file_that_is_no_image_is_named_before_and_while_it_is_read(files):
    origin = of_files(files)
    files[1].write_bytes(files[1].read_bytes()[:200])
    with pytest.raises(DamagedFile, match=r"tall\.png is not a readable image; repair or delete"):
        Stored(origin, 8)[:]
    files[1].write_bytes(b"no image")
    with pytest.raises(DamagedFile, match=r"tall\.png is not a readable image \(no image, or of"):
        of_files(files)
    files[2].write_bytes(b"none, too")
    with pytest.raises(DamagedFile, match=r"^2 of 3 files: .*tall\.png .*; repair or delete what"):
        of_files(files)
    absent = Origin(lambda position: b"", np.array([1]), np.array([1]), ["absent"], "")
    with pytest.raises(DamagedFile, match="absent is not"):
        Stored(absent, 8)[:]


@pytest.mark.parametrize(
    ("size", "short", "enlarge", "expected"),
    [
        ((60, 40), 40, False, (60, 40)),
        ((60, 40), 20, False, (30, 20)),
        ((40, 61), 20, False, (20, 30)),  # 30.5 is rounded to the even number
        ((60, 40), 80, False, (60, 40)),
        ((60, 40), 80, True, (120, 80)),
    ],
)
def test_the_short_side_is_shrunk_and_enlarged_only_where_that_is_asked(
    size, short, enlarge, expected
):
    image = picture(0, *size)
    found = shrink(image, short, enlarge) if enlarge else shrink(image, short)
    assert found.size == expected and (found is image) == (size == expected)


def test_a_folder_of_more_than_two_gigabytes_is_read_image_by_image(tmp_path, monkeypatch, caplog):
    """An image of 512 pixels takes 0.75 MiB: 2730 of them fit."""
    path = draw(tmp_path / "x.png", size=(9, 9))
    monkeypatch.setattr(own.folders, "read_images", lambda files, size: (len(files), size))
    nothing = Origin(lambda position: b"", np.zeros(2731), np.zeros(2731), [], "")
    monkeypatch.setattr(own, "of_files", lambda files: nothing)
    assert own._folder_images([path] * 2730, 512) == (2730, 512)
    assert not caplog.messages
    stored = own._folder_images([path] * 2731, 512)
    assert stored.shape == (2731, 3, 512, 512)
    (said,) = caplog.messages
    assert said.startswith("2731 images of 512 pixels would take 2.0 GiB: they stay in their files")
    monkeypatch.setattr(own, "IN_MEMORY", 5 * 3 * 16**2)
    assert own._folder_images([path] * 5, 16) == (5, 16)  # just as large
    assert isinstance(own._folder_images([path] * 6, 16), Stored)


@pytest.mark.parametrize("fits", [("train",), ("test",), ("train", "test"), ()])
def test_a_test_is_cut_as_its_training_images_whichever_part_fits_in_memory(
    tmp_path, monkeypatch, fits
):
    """One picture in both parts, and in a pack: a probe must see it alike."""
    for part, count in (("train", 3), ("test", 2)):
        (tmp_path / "own" / part / "cat").mkdir(parents=True)
        for number in range(count):
            picture(5, 60, 60).save(tmp_path / "own" / part / "cat" / f"{number}.png")
    pack(tmp_path / "own", tmp_path / "own.pack", keep=True)
    read = own._folder_images

    def in_memory(files, size, margin=None):
        part = "train" if len(files) == 3 else "test"
        monkeypatch.setattr(own, "IN_MEMORY", 2**31 if part in fits else 0)
        return read(files, size, margin)

    monkeypatch.setattr(own, "_folder_images", in_memory)
    train = read_arrays(f"folder:{tmp_path}/own@20")
    assert isinstance(train.images, Stored) == ("train" not in fits)
    expected = train.images[:1].astype(float)
    for name in (f"folder:{tmp_path}/own@20", f"pack:{tmp_path}/own.pack@20"):
        held_out = read_test(name, train).images
        assert len(held_out) == 2
        # An image that is cut first and then resized differs by rounding.
        assert np.abs(held_out[:1] - expected).mean() < 1


def test_threads_are_as_many_as_the_processors_that_may_be_used():
    assert Stored.threads == cores_each()


def test_images_of_a_folder_are_fit_into_a_square(tmp_path):
    """What is read at once, with the same margin on both sides cut off."""
    for name, size in (("a.png", (40, 20)), ("b.png", (20, 40))):
        (tmp_path / "train" / "cat").mkdir(parents=True, exist_ok=True)
        picture(3, *size).save(tmp_path / "train" / "cat" / name)
    found = read_arrays(f"folder:{tmp_path}@20").images
    for image, box in zip(found, ((10, 0, 30, 20), (0, 10, 20, 30)), strict=True):
        size = (40, 20) if box[0] else (20, 40)
        expected = tv.pil_to_tensor(picture(3, *size).crop(box))
        assert torch.equal(torch.from_numpy(image), expected)
