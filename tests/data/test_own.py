"""Data of one's own: no image, file, class or label is changed, dropped or shifted without a word.

Situations are those of people who asked in public; each test is one kind of them.
"""

import io
import os
import struct
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from ltcl_helpers import files
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import folders, images, splits
from ltcl_helpers.data.images import load_images, read_arrays, read_classes
from ltcl_helpers.errors import ConfigError, DamagedFile

SIDE = 16
COLOURS = {name: (40 * k, 255 - 40 * k, 90) for k, name in enumerate("abcdef")}


def draw(path, colour=(90, 90, 90), size=(20, 24), **options):
    """A picture of one colour, in whatever mode the colour has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[len(colour)]
    picture = Image.new(mode, size, colour[0] if mode == "L" else colour)
    picture.save(path, **options)
    return path


def fill(base, part, counts):
    """Class folders of pictures, each class of a colour of its own."""
    for name, count in counts.items():
        (base / part / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            draw(base / part / name / f"{number}.png", COLOURS.get(name[0], (9, 9, 9)))


def save(path, labels, **more):
    """An .npz whose images show their label."""
    labels = np.asarray(labels)
    shown = np.resize(labels % 200, labels.shape).reshape(-1)
    pictures = np.broadcast_to(shown[:, None, None, None], (len(shown), 8, 8, 3))
    np.savez(path, images=pictures.astype(np.uint8), labels=labels, **more)
    return f"npz:{path}"


def colours_agree(train, test):
    """Whether every label stands for one picture in both parts."""
    shown = {int(k): train.images[np.argmax(train.labels == k)] for k in np.unique(train.labels)}
    return all(
        np.array_equal(shown[int(k)], picture)
        for k, picture in zip(test.labels, test.images, strict=True)
    )


# --- labels and classes -----------------------------------------------------------------------


@pytest.mark.parametrize("tested", [["0", "1", "10"], ["0", "2", "10"], ["2"], ["1", "2"]])
def test_class_folders_are_compared_by_name_not_by_place(tmp_path, tested):
    """Folders 0, 1, 10, 2 and a test part that lacks some: no label moves up."""
    for name in ("0", "1", "2", "10"):
        for part in ["train", *(["test"] if name in tested else [])]:
            draw(tmp_path / part / name / "x.png", (20 * int(name), 9, 9))
    train, test = (read_arrays(f"folder:{tmp_path}@{SIDE}", part) for part in ("train", "test"))
    assert train.class_names == test.class_names == ("0", "1", "10", "2")
    assert {test.class_names[k] for k in test.labels} == set(tested)
    assert colours_agree(train, test)


def test_a_test_class_that_training_lacks_is_refused_with_a_hint(tmp_path):
    fill(tmp_path, "train", {"ant": 2, "bee": 2})
    fill(tmp_path, "test", {"ant": 1, "Bee ": 1})
    with pytest.raises(ConfigError, match=r"class Bee , which the training part lacks.*'bee'\?"):
        read_arrays(f"folder:{tmp_path}@{SIDE}", "test")


@pytest.mark.parametrize(
    ("labels", "tested", "names"),
    [
        ([1, 1, 2, 3], [1, 3, 3], ("1", "2", "3")),  # from 1
        ([0, 4, 4, 9], [9, 4], ("0", "4", "9")),  # gaps
        ([7, 10**9, 2**62], [2**62], ("7", str(10**9), str(2**62))),  # ids
        ([[0], [1], [1], [2]], [0, 2], ("0", "1", "2")),  # a column, and a class without test image
    ],
)
def test_labels_of_an_npz_are_ids_that_both_parts_share(tmp_path, labels, tested, names, caplog):
    save(tmp_path / "x_train.npz", labels)
    name = save(tmp_path / "x_test.npz", tested)
    train, test = (read_arrays(name.replace("_test", "_train"), p) for p in ("train", "test"))
    assert train.class_names == test.class_names == names
    assert train.labels.max() == len(names) - 1 and train.labels.dtype == np.int64
    assert colours_agree(train, test)
    said = [line for line in caplog.messages if "labels are taken as ids" in line]
    assert bool(said) == (names != tuple(map(str, range(len(names)))))


def test_a_label_that_training_lacks_is_refused(tmp_path):
    save(tmp_path / "x_train.npz", [0, 1, 2])
    save(tmp_path / "x_test.npz", [0, 3])
    with pytest.raises(ConfigError, match="images of class 3, which the training part lacks"):
        read_arrays(f"npz:{tmp_path}/x_train.npz", "test")


def test_names_of_an_npz_are_compared_too(tmp_path):
    save(tmp_path / "x_train.npz", [0, 1, 1, 3], class_names=["ant", "bee", "cow", "dog"])
    save(tmp_path / "x_test.npz", [0, 1, 0], class_names=["dog", "ant"])
    name = f"npz:{tmp_path}/x_train.npz"
    train, test = read_arrays(name), read_arrays(name, "test")
    assert train.class_names == test.class_names == ("ant", "bee", "dog")  # of cow there is none
    assert train.labels.tolist() == [0, 1, 1, 2] and test.labels.tolist() == [2, 0, 2]
    save(tmp_path / "x_test.npz", [3, 1])  # without names labels are numbers of the same classes
    assert read_arrays(name, "test").labels.tolist() == [2, 1]
    save(tmp_path / "x_test.npz", [0, 1], class_names=["ant", "ant"])
    with pytest.raises(ConfigError, match="two classes have one name"):
        read_arrays(name, "test")


def test_labels_that_count_from_1_beside_names_say_so(tmp_path):
    name = save(tmp_path / "x_train.npz", [1, 2], class_names=["ant", "bee"])
    with pytest.raises(ConfigError, match="from 1 to 2; allowed are 0 to 1.*subtract 1"):
        read_arrays(name)
    with pytest.raises(ConfigError, match="from -1 to 2.*without a label may all have label 0"):
        read_arrays(save(tmp_path / "y_train.npz", [-1, 2]))


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.array(list("aab")), r"<U1 of shape \(3,\).*numpy\.unique"),
        (np.arange(3.0), "float64.*numpy.unique"),
        (np.eye(3, dtype=int), r"\(3, 3\).*numpy\.argmax"),
        (np.array(3), r"shape \(\)"),
        (np.array([-1, 0, 1]).astype(np.uint64), "to 18446744073709551615; allowed are 0 to 922"),
    ],
)
def test_labels_that_are_no_numbers_of_classes_say_how_to_make_some(tmp_path, labels, says):
    np.savez(tmp_path / "x_train.npz", images=np.zeros((3, 8, 8, 3), np.uint8), labels=labels)
    with pytest.raises(ConfigError, match=says):
        read_arrays(f"npz:{tmp_path}/x_train.npz")


def test_a_test_part_is_not_learnt_from(tmp_path):
    name = save(tmp_path / "x_test.npz", [0, 1, 0])
    with pytest.raises(ConfigError, match=r"a test part by its name.*x_train\.npz"):
        splits.select(RunConfig(data=name, split="all", batch_size=2))
    assert len(read_arrays(name).labels) == 3  # to be looked at, it is what is named


def test_one_name_in_two_unicode_forms_is_one_class(tmp_path):
    composed, apart = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    fill(tmp_path, "train", {composed: 2, "bar": 1})
    fill(tmp_path, "test", {apart: 1})
    if not (tmp_path / "train" / apart).exists():  # this disk keeps both forms
        fill(tmp_path, "train", {apart: 2})
    train, test = (read_arrays(f"folder:{tmp_path}@{SIDE}", part) for part in ("train", "test"))
    assert train.class_names == test.class_names == ("bar", composed)
    assert test.labels.tolist() == [1] and (train.labels == 1).sum() >= 2


def test_classes_are_counted_before_training_in_one_table(tmp_path, caplog):
    caplog.set_level("INFO")
    fill(tmp_path, "train", {"ant": 3, "bee": 2, "cow": 1, "fox": 0})
    fill(tmp_path, "test", {"ant": 1, "bee": 0})
    config = RunConfig(data=f"folder:{tmp_path}@{SIDE}", split="all", preset="tiny", batch_size=2)
    inputs = splits.select(config)
    assert inputs.class_counts.tolist() == [3, 2, 1]
    text = caplog.text
    assert "no image in class folder fox" in text
    assert "3 classes, 6 images (1 to 3 a class) to learn from, 1 images (0 to 1 a class)" in text
    (table,) = [line for line in caplog.messages if line.startswith("Classes without an image")]
    assert [line.split() for line in table.splitlines()[2:]] == [
        ["bee", "2", "0"],
        ["cow", "1", "0"],
    ]


def test_a_run_without_a_test_part_trains_and_says_what_a_probe_needs(tmp_path, caplog):
    caplog.set_level("INFO")
    name = save(tmp_path / "x.npz", [0, 1, 1, 0])
    splits.select(RunConfig(data=name, split="all", preset="tiny", batch_size=2))
    assert "no test part for a probe: no test set belongs to" in caplog.text


@pytest.mark.parametrize("layout", ["train/all", "train", "."])
def test_a_pile_without_labels_is_one_class(tmp_path, layout):
    for number in range(4):
        draw(tmp_path / layout / f"{number}.png", (number, 0, 0))
    found = read_arrays(f"folder:{tmp_path}@{SIDE}")
    assert len(found.labels) == 4 and len(found.class_names) == 1 and not found.labels.any()
    config = RunConfig(data=f"folder:{tmp_path}@{SIDE}", split="all", preset="tiny", batch_size=2)
    assert splits.select(config).class_counts.tolist() == [4]
    with pytest.raises(ConfigError, match="--split all"):
        splits.select(config.model_copy(update={"split": "long-tail"}))
    with pytest.raises(ConfigError, match="one class only"):
        images.check_test("shapes", found.classes)


# --- a long tail that is there already ----------------------------------------------------------


@pytest.mark.parametrize("counts", [[160, 60, 20, 8, 2, 1], [160, 80, 40, 20, 12, 8], [5, 5], [30]])
@pytest.mark.parametrize("preset", ["quick", "tiny"])
def test_the_default_split_of_too_few_images_names_split_all(tmp_path, counts, preset):
    name = save(tmp_path / "x_train.npz", np.repeat(np.arange(len(counts)), counts))
    with pytest.raises(ConfigError, match="--split all takes") as told:
        splits.select(RunConfig(data=name, preset=preset))
    assert "up to 0" not in str(told.value) and "with 0 images" not in str(told.value)
    assert "up to 7" not in str(told.value)  # would throw nine tenths of them away


def test_a_long_tail_cut_out_of_unequal_classes_says_what_it_leaves(tmp_path, caplog):
    name = save(tmp_path / "x_train.npz", np.repeat([0, 1, 2], [90, 60, 50]))
    config = RunConfig(data=name, preset="tiny", imbalance=5.0, largest_class=None)
    taken = len(splits.select(config).index)
    assert f"takes {taken} of the 200 images" in caplog.text and "--split all" in caplog.text


@pytest.mark.parametrize(("images", "size"), [(73, 128), (6, 4), (2, 64)])
def test_fewer_images_than_a_batch_are_one_update_and_that_is_said(tmp_path, images, size, caplog):
    name = save(tmp_path / "x_train.npz", np.arange(images) % 2)
    given = dict(data=name, split="all", preset="quick")
    assert len(splits.select(RunConfig(batch_size=size, **given)).index) == images
    assert ("an epoch is one update" in caplog.text) == (images < size)
    for method in ("moco-v2",):  # a queue needs whole batches
        if images < size:
            with pytest.raises(ConfigError, match=f"set batch_size={images} or less"):
                splits.select(RunConfig(batch_size=size, method=method, **given))


def test_batches_of_one_image_are_refused_however_they_come_about(tmp_path):
    for count, size, equal in ((3, 2, True), (1, 2, True), (5, 4, False)):
        name = save(tmp_path / "x_train.npz", np.zeros(count, int))
        config = RunConfig(data=name, split="all", batch_size=size, equal_batches=equal)
        with pytest.raises(ConfigError, match="1 image"):
            splits.select(config)


# --- an image is what every viewer shows --------------------------------------------------------


def upright(path):
    """What a viewer shows, by Pillow's own words."""
    with Image.open(path) as file:
        turned = ImageOps.exif_transpose(file).convert("RGB")
        fitted = ImageOps.fit(turned, (SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(fitted).transpose(2, 0, 1)


@pytest.mark.parametrize("turn", range(1, 9))
def test_photos_stand_upright(tmp_path, turn):
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[:20, :30] = (250, 10, 10)
    stored[20:, 30:] = (10, 10, 250)
    exif = Image.Exif()
    exif[0x0112] = turn
    (tmp_path / "train" / "cat").mkdir(parents=True)
    for name in ("a.jpg", "b.png", "c.webp", "d.tiff"):
        Image.fromarray(stored).save(tmp_path / "train" / "cat" / name, exif=exif)
    found = read_arrays(f"folder:{tmp_path}@{SIDE}").images
    for picture, path in zip(found, sorted((tmp_path / "train" / "cat").iterdir()), strict=True):
        assert np.array_equal(picture, upright(path)), path.name


def test_transparency_shows_one_background_not_the_colours_under_it(tmp_path):
    hidden = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    hidden.paste((0, 0, 200, 255), (0, 0, 20, 10))
    palette = hidden.convert("P")
    folder = tmp_path / "train" / "cat"
    folder.mkdir(parents=True)
    hidden.save(folder / "a.png")
    hidden.save(folder / "b.webp", lossless=True, exact=True)
    palette.info["transparency"] = palette.getpixel((5, 15))
    palette.save(folder / "c.gif", transparency=palette.getpixel((5, 15)))
    palette.save(folder / "d.png", transparency=palette.getpixel((5, 15)))
    Image.new("LA", (20, 20), (0, 0)).save(folder / "e.png")
    Image.new("RGB", (20, 20), (1, 2, 3)).save(folder / "f.png", transparency=(1, 2, 3))
    Image.new("L", (20, 20), 7).save(folder / "g.png", transparency=7)
    found = read_arrays(f"folder:{tmp_path}@{SIDE}").images
    assert (found[:, :, -1] == 255).all()  # white below, in every kind of file
    assert (found[:4, 2, 0] > 150).all() and (found[:4, 0, 0] < 60).all()  # and blue above


def test_sixteen_bits_are_scaled_and_ranges_that_nobody_knows_are_refused(tmp_path):
    folder = tmp_path / "train" / "cat"
    folder.mkdir(parents=True)
    ramp = np.linspace(0, 65535, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE)
    Image.fromarray(ramp).save(folder / "a.png")
    Image.fromarray(ramp).save(folder / "b.tif")
    header = f"P5 {SIDE} {SIDE} 65535\n".encode()
    (folder / "c.pgm").write_bytes(header + ramp.astype(">u2").tobytes())
    found = read_arrays(f"folder:{tmp_path}@{SIDE}").images
    expected = np.round(ramp / 257).astype(int)
    for picture in found:
        assert np.abs(picture.astype(int) - expected).max() <= 1
    for name, values in (("i.tif", ramp.astype(np.int32)), ("f.tif", ramp / np.float32(65535))):
        Image.fromarray(values).save(folder / name)
        with pytest.raises(ConfigError, match=rf"{name} is not a readable image \(.*8 or 16 bits"):
            read_arrays(f"folder:{tmp_path}@{SIDE}")
        (folder / name).unlink()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_other_modes_are_read_as_their_colours(tmp_path, mode):
    folder = tmp_path / "train" / "cat"
    folder.mkdir(parents=True)
    white = Image.new("RGB", (20, 20), (255, 255, 255)).convert(mode)
    white.save(folder / ("a.png" if mode in "1LP" else "a.jpg"))
    assert read_arrays(f"folder:{tmp_path}@{SIDE}").images.min() >= 254


def test_of_an_animation_the_first_frame_is_taken_and_that_is_said(tmp_path, caplog):
    folder = tmp_path / "train" / "cat"
    folder.mkdir(parents=True)
    frames = [Image.new("RGB", (20, 20), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    for name in ("a.gif", "b.png", "c.webp", "d.tif"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:])
    draw(folder / "e.png", (250, 0, 0))
    found = read_arrays(f"folder:{tmp_path}@{SIDE}").images
    assert (found[:, 0] > 230).all() and (found[:, 1] < 25).all()
    assert "4 files hold several pictures" in caplog.text


# --- no file disappears silently ----------------------------------------------------------------


def test_what_pillow_opens_is_read_and_the_rest_is_counted(tmp_path, caplog):
    folder = tmp_path / "train" / "cat"
    for name in ("a.jfif", "b.jpe", "c.JPG", "d.jpeg"):
        draw(folder / name, format="JPEG")
    for name in ("e.tga", "f.pcx", "g.ico", "h.jp2"):
        draw(folder / name)
    draw(folder / "without", format="PNG")
    (folder / "notes").write_text("no image")
    (folder / "list.csv").write_text("a,b")
    (folder / ".DS_Store").write_text("")
    (folder / "._a.jpg").write_text("of a file manager")
    (tmp_path / "train" / "eel").mkdir()
    for number in range(3):
        (tmp_path / "train" / "eel" / f"{number}.HEIC").write_bytes(b"\0\0\0 ftypheic")
        draw(tmp_path / "train" / f"loose{number}.png")
    found = read_arrays(f"folder:{tmp_path}@{SIDE}")
    assert len(found.labels) == 9 and found.class_names == ("cat",)
    (line,) = [message for message in caplog.messages if "left out" in message]
    assert "left out 10 files (2 hidden; 3 beside the class folders; 1 .csv, 3 .heic, 1 w" in line
    assert "1 without a suffix: nothing that Pillow opens" in line
    assert "no image in class folder eel" in line


def test_linked_folders_are_entered_and_a_ring_of_links_ends(tmp_path):
    base = tmp_path / "photos"
    draw(tmp_path / "elsewhere" / "x.png", (1, 1, 1))
    draw(tmp_path / "outside" / "deep" / "y.png", (2, 2, 2))
    draw(base / "train" / "cat" / "own.png", (3, 3, 3))
    try:
        (base / "train" / "cat" / "more").symlink_to(tmp_path / "elsewhere")
        (base / "train" / "dog").symlink_to(tmp_path / "outside")
        (base / "train" / "cat" / "ring").symlink_to(base / "train" / "cat")
        (base / "train" / "cat" / "up").symlink_to(base)
    except OSError:
        pytest.skip("this system makes no links")
    found = read_arrays(f"folder:{base}@{SIDE}")
    assert found.labels.tolist() == [0, 0, 1] and found.class_names == ("cat", "dog")
    (base / "train" / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ConfigError, match=r"gone\.png is not a readable image \(no such file"):
        read_arrays(f"folder:{base}@{SIDE}")


def test_a_folder_that_is_named_like_an_image_is_a_folder(tmp_path):
    draw(tmp_path / "train" / "cat" / "2021.jpg" / "x.png")
    assert len(read_arrays(f"folder:{tmp_path}@{SIDE}").labels) == 1


def test_an_at_sign_may_be_part_of_a_name(tmp_path):
    for name in ("me@home", "2021@32"):
        draw(tmp_path / name / "train" / "cat" / "x.png")
        for text, side in ((name, 32), (f"{name}@{SIDE}", SIDE), (f"{name}/@{SIDE}", SIDE)):
            assert read_arrays(f"folder:{tmp_path}/{text}").images.shape == (1, 3, side, side)
    with pytest.raises(ConfigError, match="size after '@' is 'big'"):
        read_arrays(f"folder:{tmp_path}/me@home@big")


def test_names_with_a_line_break_leave_a_message_in_one_line(tmp_path):
    fill(tmp_path, "train", {"ant": 1, "b\nee": 0})
    fill(tmp_path, "test", {"c\now": 1})
    with pytest.raises(ConfigError) as told:
        read_arrays(f"folder:{tmp_path}@{SIDE}", "test")
    assert len(str(told.value).splitlines()) == 1 and r"'c\now'" in str(told.value)


@pytest.mark.parametrize("there", [[], ["Train", "Test"], ["training"], ["test"]])
def test_a_folder_without_its_parts_says_what_it_has(tmp_path, there):
    for name in there:
        draw(tmp_path / name / "cat" / "x.png")
    with pytest.raises(ConfigError) as told:
        read_arrays(f"folder:{tmp_path}")
    assert "has no folder train/" in str(told.value)
    assert (there or ["it has no folder"])[0] in str(told.value)
    with pytest.raises(ConfigError, match="does not exist"):
        read_arrays(f"folder:{tmp_path}/nowhere")


# --- a file's fault is named --------------------------------------------------------------------


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *more):
    """A black picture; one that is too large to be decoded ends early."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(min(height * (width + 1), 100_000))))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + body + chunk(b"IEND", b"")


def bad_files():
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    whole = buffer.getvalue()
    at = whole.find(b"IDAT")
    jpeg = io.BytesIO()
    Image.fromarray(noise).save(jpeg, "JPEG")
    return {
        "short-chunk.png": whole[: at - 4] + struct.pack(">I", 100) + whole[at:],
        "half.png": whole[:900],
        "half.jpg": jpeg.getvalue()[:700],
        "page.jpg": b"<html>404</html>",
        "empty.png": b"",
        "huge.png": png(20_000, 15_000),
        "note.png": png(64, 64, chunk(b"zTXt", b"n\0\0" + zlib.compress(b"a" * 3_000_000))),
        "script.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "no-head.gif": b"GIF89a\x00",
        "cut.webp": b"RIFF\x20\0\0\0WEBPVP8 ",
        "cut.tif": b"II*\0\x08\0\0\0",
        "cut.bmp": b"BM" + bytes(20),
    }


@pytest.mark.parametrize("name", bad_files())
def test_a_bad_file_is_named_whatever_is_wrong_with_it(tmp_path, name):
    draw(tmp_path / "train" / "cat" / "good.png")
    (tmp_path / "train" / "cat" / name).write_bytes(bad_files()[name])
    with pytest.raises(ConfigError, match=rf"{name} is not a readable image \(.+\); repair or"):
        read_arrays(f"folder:{tmp_path}@{SIDE}")


def test_all_bad_files_are_in_one_message_ten_of_them_by_name(tmp_path):
    for number in range(14):
        path = draw(tmp_path / "train" / "cat" / f"{number:02}.png")
        if number > 1:
            path.write_bytes(b"no image")
    with pytest.raises(ConfigError) as told:
        read_arrays(f"folder:{tmp_path}@{SIDE}")
    text = str(told.value)
    assert text.startswith("12 of 14 files: ") and "and 2 more" in text
    assert text.count("is not a readable image") == 10 and len(text.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the root user may read all")
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    draw(tmp_path / "train" / "cat" / "mine.png").chmod(0)
    with pytest.raises(ConfigError, match=r"mine\.png is not a readable image \(permission denied"):
        read_arrays(f"folder:{tmp_path}@{SIDE}")


def test_a_folder_that_may_not_be_listed_is_not_taken_for_empty(tmp_path, monkeypatch):
    fill(tmp_path, "train", {"ant": 1, "bee": 1})
    scan = os.scandir

    def refuse(place):
        if str(place).endswith("bee"):
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match=r"bee cannot be listed \(permission denied"):
        read_arrays(f"folder:{tmp_path}@{SIDE}")
    with pytest.raises(ConfigError, match="cannot be opened"):
        read_arrays(f"folder:{tmp_path}/{'x' * 300}")


def test_a_large_photo_is_read_without_a_warning(tmp_path, monkeypatch):
    """Pillow warns of one that is half as large as what it refuses; warnings are errors here."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6000)
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "large.png").write_bytes(png(100, 100))
    assert read_arrays(f"folder:{tmp_path}@{SIDE}").images.max() == 0


# --- places and lists ---------------------------------------------------------------------------


def test_the_home_folder_is_expanded_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    fill(tmp_path / "pics", "train", {"ant": 2})
    assert len(read_arrays(f"folder:~/pics@{SIDE}").labels) == 2
    save(tmp_path / "a_train.npz", [0, 1])
    save(tmp_path / "a_test.npz", [1])
    for part, count in (("train", 2), ("test", 1)):
        assert len(load_images("npz:~/a_train.npz", part).labels) == count
    np.save(tmp_path / "list.npy", [1, 0])
    assert splits.read_split("~/list.npy").tolist() == [1, 0]
    with pytest.raises(ConfigError, match=f"cifar10 is not in {tmp_path}"):
        read_arrays("cifar10", root="~")


def test_a_place_is_found_in_either_unicode_form(tmp_path):
    composed, apart = (unicodedata.normalize(form, "f\u00e9te") for form in ("NFC", "NFD"))
    fill(tmp_path / apart, "train", {"ant": 2})
    assert len(read_arrays(f"folder:{tmp_path}/{composed}@{SIDE}").labels) == 2


@pytest.mark.parametrize(
    ("index", "says"),
    [
        (np.array([-3], np.int64).astype(np.uint64), "has position 18446744073709551613"),
        (np.array([2**63], np.uint64), "has position 9223372036854775808"),
        (np.array([2**40]), "position 1099511627776, but .* has 4 images"),
        (np.array(["0", "1"]), "no.* one list of whole numbers|not one list"),
        (np.array([True, False]), "not one list of whole numbers, but bool"),
        (np.array([{}, 1], object), "holds Python objects"),
    ],
)
def test_positions_at_the_edge_of_their_type_are_refused(tmp_path, index, says):
    np.save(tmp_path / "list.npy", index, allow_pickle=True)
    name = save(tmp_path / "x_train.npz", [0, 1, 0, 1])
    config = RunConfig(data=name, split=str(tmp_path / "list.npy"), batch_size=2)
    with pytest.raises(ConfigError, match=says) as told:
        splits.select(config)
    assert "unsafe" not in str(told.value) and "allow_pickle" not in str(told.value)


def test_a_list_as_text_says_how_to_make_one(tmp_path):
    (tmp_path / "list.txt").write_text("0\n2\n5\n")
    with pytest.raises(ConfigError, match=r"of a text .* numpy\.loadtxt"):
        splits.read_split(tmp_path / "list.txt")


def test_what_is_missing_is_said_to_be_missing(tmp_path):
    with pytest.raises(DamagedFile) as told:
        files.read_npz(tmp_path / "a.npz")
    assert "does not exist" in str(told.value) and "not a whole" not in str(told.value)
    np.savez(tmp_path / "a.npz", images=np.array([{}], object))
    np.save(tmp_path / "b.npz", np.zeros(3))  # gets the suffix .npy
    (tmp_path / "b.npz.npy").rename(tmp_path / "b.npz")
    for name, says in (("a.npz", "Python objects"), ("b.npz", "a single array")):
        with pytest.raises(DamagedFile, match=says) as told:
            files.read_npz(tmp_path / name)
        assert "unsafe" not in str(told.value)


def test_classes_are_read_without_the_images(tmp_path, monkeypatch):
    """What a wrong call needs to fail soon: files are listed, none is opened."""
    fill(tmp_path, "train", {"ant": 2, "bee": 1})
    fill(tmp_path, "test", {"bee": 2})
    monkeypatch.setattr(folders, "read_images", lambda *given: pytest.fail("images were read"))
    train, test = (read_classes(f"folder:{tmp_path}@{SIDE}", part) for part in ("train", "test"))
    assert train.counts.tolist() == [2, 1] and test.counts.tolist() == [0, 2]
    assert read_classes("shapes").names == read_arrays("shapes").class_names
