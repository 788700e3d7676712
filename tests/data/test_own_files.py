"""Files of one's own: what a picture shows, what is left out, and whose fault is named."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from own_pictures import SIDE, draw, fill
from PIL import Image, ImageOps

from ltcl_helpers.data.images import read_arrays
from ltcl_helpers.errors import ConfigError

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
    # A picture of one value is not resized: 257 k is k, to the last one.
    for value in (0, 127, 128, 254, 255):
        flat = np.full((SIDE, SIDE), 257 * value, np.uint16)
        Image.fromarray(flat).save(folder / "a.png")
        assert set(read_arrays(f"folder:{tmp_path}@{SIDE}").images[0].ravel()) == {value}
    for name, values in (("i.tif", ramp.astype(np.int32)), ("f.tif", ramp / np.float32(65535))):
        Image.fromarray(values).save(folder / name)
        with pytest.raises(ConfigError, match=rf"{name} is not a readable image \(.*8 or 16 bits"):
            read_arrays(f"folder:{tmp_path}@{SIDE}")
        (folder / name).unlink()


def test_twelve_bits_in_sixteen_are_said_and_a_dark_photo_of_eight_is_not(tmp_path, caplog):
    folder = tmp_path / "train" / "cat"
    folder.mkdir(parents=True)
    ramp = np.linspace(0, 4095, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE)
    Image.fromarray(ramp).save(folder / "a.tif")
    Image.fromarray(16 * ramp).save(folder / "stretched.tif")
    Image.new("L", (SIDE, SIDE), 3).save(folder / "night.png")
    read_arrays(f"folder:{tmp_path}@{SIDE}")
    (said,) = caplog.messages
    assert said.startswith("1 files of 16 bits a channel use less than an eighth of the range")


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
