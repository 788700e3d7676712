"""How files are written and read, and in which words a bad one is refused."""

import errno
import os
import shutil
import stat
import unicodedata
import zipfile
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ltcl_helpers import files, paths
from ltcl_helpers.errors import ConfigError, DamagedFile

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2


def test_a_digest_is_sha256_of_bytes_or_of_a_files(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256(b"abc") == files.sha256(tmp_path / "a") == ABC


def test_a_new_file_is_written_beside_its_name_and_takes_its_place(tmp_path):
    path = tmp_path / "rows"
    path.write_text("old")
    with files.replacing(path) as file:
        file.write(b"new")
        beside = {each.name for each in tmp_path.iterdir()} - {"rows"}
        assert beside == {f".rows.{os.getpid()}.part"} and path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_what_is_written_is_on_the_disk_before_its_name_and_no_file_stays_open(
    tmp_path, monkeypatch
):
    seen, fsync = [], os.fsync

    def watch(number):
        is_file = stat.S_ISREG(os.fstat(number).st_mode)
        seen.append((os.fstat(number).st_size if is_file else "folder", number))
        fsync(number)

    monkeypatch.setattr(os, "fsync", watch)
    files.write_bytes(tmp_path / "rows", b"abc")
    assert [what for what, _ in seen] == [3, "folder"]
    for _, number in seen:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)


@pytest.mark.parametrize(("size", "about"), [((), ""), ((5000,), r" \(5,000 bytes\)")])
def test_what_cannot_be_written_is_named_with_its_size_and_the_reason(size, about, tmp_path):
    path = tmp_path / "rows"
    says = f"rows{about} cannot be written: {{}}; make room or choose another place, then"
    for error, why in (
        (OSError(errno.ENOSPC, "No space left"), "No space left"),
        (OSError("odd"), "odd"),
    ):
        with pytest.raises(OSError, match=says.format(why)) as caught, files.replacing(path, *size):
            raise error
        assert caught.value.errno == error.errno and not list(tmp_path.iterdir())
    with pytest.raises(KeyError), files.replacing(path, *size):
        raise KeyError  # no fault of the disk's
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match=r"rows \(3 bytes\) cannot be written"):
        files.write_bytes(tmp_path / "absent" / "rows", b"abc")


def test_a_lock_is_held_against_others_and_let_go_of_however_its_block_ends(tmp_path, monkeypatch):
    with pytest.raises(KeyError), files.hold(tmp_path / "lock"):
        with (
            pytest.raises(BlockingIOError, match="another process holds .*lock$"),
            files.hold(tmp_path / "lock"),
        ):
            pytest.fail("two have it")
        raise KeyError
    with files.hold(tmp_path / "lock"):
        pass
    real, asked = files.FileLock, []
    note = lambda path, timeout: asked.append(timeout) or real(path, timeout)  # noqa: E731
    monkeypatch.setattr(files, "FileLock", note)
    for wait in (False, True):
        with files.hold(tmp_path / "lock", wait):
            pass
    assert asked == [0, -1]  # seconds; -1 has no end


def test_json_is_for_people_too_and_holds_no_nan(tmp_path):
    files.write_json(tmp_path / "a.json", {"b": [1], "a": "ü"})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": [\n    1\n  ],\n  "a": "\\u00fc"\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert files.read_json(tmp_path / "a.json") == {"b": [1], "a": "ü"}


def test_arrays_are_compressed_and_some_or_all_are_read(tmp_path):
    path = tmp_path / "a.npz"
    files.write_npz(path, one=np.zeros(1000), two=np.arange(3))
    with zipfile.ZipFile(path) as archive:
        assert {each.compress_type for each in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    assert files.npz_bytes(one=np.zeros(1000), two=np.arange(3))[:4] == path.read_bytes()[:4]
    assert set(files.read_npz(path)) == {"one", "two"}
    assert list(files.read_npz(path, "two", needed=["two"])) == ["two"]
    assert files.npz_arrays(path.read_bytes(), path, "two")["two"].tolist() == [0, 1, 2]
    with pytest.raises(DamagedFile, match=r"a\.npz has no array four; restore it"):
        files.read_npz(path, needed=["two", "six", "four"])


def test_a_table_is_kept_without_its_index_and_read_with_the_columns_it_must_have(tmp_path):
    path = tmp_path / "a.parquet"
    files.write_parquet(path, pd.DataFrame({"a": [1, 2]}, index=["x", "y"]))
    table = files.read_parquet(path, ["a"])
    assert list(table.columns) == ["a"] and table.index.tolist() == [0, 1]
    with pytest.raises(DamagedFile, match=r"a\.parquet has no column b; restore it or run again"):
        files.read_parquet(path, ["c", "a", "b"])


class Odd(Exception):
    """An error that says nothing."""


def test_every_reader_says_what_is_wrong_with_a_file_in_one_line(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "half.json").write_text('{"a": ')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "list.json").write_text("[1]")
    np.savez(tmp_path / "names.npz", a=np.zeros(2), b=np.array(["cat", None], object))
    (tmp_path / "half.npz").write_bytes(files.npz_bytes(a=np.zeros(9))[:60])
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "half.parquet").write_bytes(b"PAR1 and no more")
    with open(tmp_path / "one.npz", "wb") as file:
        np.save(file, np.zeros(3))
    again = "; restore it, or make it again"
    for read, name, says in (
        (files.read_bytes, "absent", "absent does not exist"),
        (files.read_bytes, "folder", r"folder is not readable \(Is a directory\)"),
        (files.read_json, "absent", "absent does not exist"),
        (files.read_json, "half.json", rf"is not JSON \(Expecting value.*\){again}"),
        (files.read_json, "deep.json", rf"is not JSON \(maximum recursion depth.*\){again}"),
        (files.read_json, "list.json", f"list.json holds no JSON object{again}"),
        (files.read_npz, "absent", "absent does not exist"),
        (files.read_npz, "half.npz", r"is not a whole .npz \(File is not a zip.*\); copy it again"),
        (files.read_npz, "text.npz", r"\(it holds Python objects, or is no file of NumPy's\)"),
        (files.read_npz, "names.npz", r"objects, .*; save array b as numbers.*: b\.astype\(str\)"),
        (files.read_npz, "one.npz", r"\(it holds a single array\); write one with numpy.savez"),
        (files.read_parquet, "half.parquet", r"is not readable \(.+\); restore it or run again"),
    ):
        with pytest.raises(DamagedFile, match=says) as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value) and str(tmp_path / name) in str(caught.value)
    assert files.reason(Odd()) == "Odd" and files.reason(Odd("one\ntwo")) == "one"


# --- where files are -------------------------------------------------------------------------


def places(module):
    """Where a module of paths says that things lie."""
    names = "DATA RESULTS WEIGHTS LESSONS FIGURES PUBLISHED_NUMBERS PUBLISHED_LISTS RUN_ONE"
    return [getattr(module, name) for name in names.split()]


OF_USERS = ["data", "data/results", "data/weights", "notebooks", "figures"]
CARRIED = ["data/published.csv", "data/splits/published.json", "notebooks/run_one.ipynb"]


def test_a_clone_holds_everything_and_an_installed_package_the_few_files_it_needs(
    tmp_path, monkeypatch
):
    clone = Path(__file__).resolve().parents[1]
    assert (clone / "ltcl_helpers", clone, True) == (paths.PACKAGE, paths.ROOT, paths.IN_CLONE)
    assert places(paths) == [clone / name for name in OF_USERS + CARRIED]
    assert all(place.exists() for place in places(paths))
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "__init__.py").touch()
    for name in ("paths.py", "errors.py"):
        shutil.copy(paths.PACKAGE / name, tmp_path / "installed")
    monkeypatch.syspath_prepend(tmp_path)
    installed = import_module("installed.paths")
    kit = tmp_path / "installed" / "kit"
    assert (Path(), False, kit) == (installed.ROOT, installed.IN_CLONE, installed.CARRIED)
    assert places(installed) == [Path(each) for each in OF_USERS] + [kit / n for n in CARRIED]


def test_a_persons_path_is_found_at_home_and_in_every_form_of_its_letters(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.own_path("~/new") == tmp_path / "new" and paths.own_path("new") == Path("new")
    assert paths.own_path("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")
    for there, asked in (("NFC", "NFD"), ("NFD", "NFC")):
        name = f"Bär-{there}"
        (tmp_path / unicodedata.normalize(there, name)).mkdir()
        found = paths.own_path(tmp_path / unicodedata.normalize(asked, name))
        assert found == tmp_path / unicodedata.normalize(there, name)
    absent = tmp_path / unicodedata.normalize("NFD", "Bücher")
    assert paths.own_path(absent) == absent
    with pytest.raises(ConfigError, match=r"x cannot be opened \(File name too long\)"):
        paths.own_path("x" * 300)


def test_the_form_of_an_array_is_known_without_reading_it(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=np.zeros((5, 4, 3), np.uint8), ids=np.zeros(2))
    assert files.npz_form(path, "images") == ((5, 4, 3), np.uint8)
    assert files.npz_form(path, "ids") == ((2,), np.float64)
    assert files.npz_form(path, "labels") is None
    path.write_bytes(b"no archive")
    with pytest.raises(DamagedFile, match="is not a whole .npz"):
        files.npz_form(path, "images")
