"""Fetching and checking, with a book of published lists and a CIFAR of a few images."""

import hashlib
import io
import json
import urllib.request

import numpy as np
import pytest

from ltcl_helpers.data import downloads, splits
from ltcl_helpers.data.images import read_arrays, read_classes
from ltcl_helpers.errors import ConfigError


def as_npy(*positions):
    buffer = io.BytesIO()
    np.save(buffer, np.array(positions))
    return buffer.getvalue()


CONTENT = {"a/first.npy": as_npy(2, 0, 1), "b/second.txt": b"a/x.jpg 0\n"}
LARGE = b"b/y.jpg 1\nb/z.jpg 2\n"


@pytest.fixture
def book(tmp_path, monkeypatch):
    """The folder `lists` with all lists of a book: one has a repository of its own."""
    first, second = CONTENT.values()
    blob = hashlib.sha1(f"blob {len(LARGE)}\0".encode() + LARGE).hexdigest()
    entries = {
        "repository": "who/what", "commit": "c0ffee",
        "files": {
            "a/first.npy": {"path": "split/first.npy", "size": len(first),
                            "sha256": hashlib.sha256(first).hexdigest()},
            "b/second.txt": {"path": "second.txt", "size": len(second), "repository": "others/own",
                             "sha256": hashlib.sha256(second).hexdigest()},
        },
        "large": {"c/large.txt": {"path": "large.txt", "size": len(LARGE), "git_blob": blob}},
    }  # fmt: skip
    (tmp_path / "book.json").write_text(json.dumps(entries))
    monkeypatch.setattr(downloads, "PUBLISHED_LISTS", tmp_path / "book.json")
    downloads._by_name.cache_clear()
    for name, content in (CONTENT | {"c/large.txt": LARGE}).items():
        (tmp_path / "lists" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lists" / name).write_bytes(content)
    yield tmp_path / "lists"
    downloads._by_name.cache_clear()


def test_a_list_has_the_origin_of_its_book_or_its_own(book):
    first, second = downloads.published_lists().values()
    assert (first["repository"], first["commit"]) == ("who/what", "c0ffee")
    assert (second["repository"], second["commit"]) == ("others/own", "c0ffee")
    assert list(downloads.published_lists("large-splits")) == ["c/large.txt"]


@pytest.mark.parametrize("name", ["splits", "large-splits"])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_lists_are_copied_from_a_folder_or_an_address(book, tmp_path, name, scheme, caplog):
    caplog.set_level("INFO")
    new = tmp_path / "deep" / "new"
    downloads.get(name, new, f"{scheme}{book}")
    published = downloads.published_lists(name)
    for file in published:
        assert (new / file).read_bytes() == (book / file).read_bytes()
    assert downloads.verify(name, new) == f"{len(published)} published lists in {new}, " + (
        "checksums hold"
    )
    assert caplog.messages == [downloads.verify(name, new)]
    downloads.get(name, new, str(tmp_path / "nowhere"))  # what is whole is not fetched again
    for file in published:
        (new / file).write_bytes(b"damaged")
    downloads.get(name, new, f"{scheme}{book}")  # what is not is repaired
    assert downloads.verify(name, new) == caplog.messages[0]


def test_without_a_source_a_list_comes_from_its_repository(book, tmp_path, monkeypatch):
    asked = []

    def answer(address, timeout):
        asked.append(address)
        return open(book / ("a/first.npy" if "first" in address else "b/second.txt"), "rb")

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    monkeypatch.setattr(downloads, "DATA", tmp_path / "data")
    downloads.get("splits")
    host = "https://raw.githubusercontent.com"
    assert asked == [
        f"{host}/who/what/c0ffee/split/first.npy",
        f"{host}/others/own/c0ffee/second.txt",
    ]
    assert (tmp_path / "data" / "splits" / "b" / "second.txt").exists()
    assert downloads.verify("splits").startswith("2 published lists in ")


def test_what_does_not_arrive_or_is_another_list_is_not_saved(book, tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere/a/first\.npy cannot be read .*give --source"):
        downloads.get("splits", tmp_path / "new", str(tmp_path / "nowhere"))
    (book / "c/large.txt").write_bytes(LARGE[::-1])
    with pytest.raises(ConfigError, match=r"large\.txt is not the published list .*nothing saved"):
        downloads.get("large-splits", tmp_path / "new", str(book))
    assert not (tmp_path / "new").exists()


def test_a_damaged_or_missing_list_is_named(book):
    for name, file in (("splits", "b/second.txt"), ("large-splits", "c/large.txt")):
        says = f"{file} is missing or damaged; run `ltcl data get {name}`"
        (book / file).write_bytes(
            (book / file).read_bytes().replace(b"0", b"1").replace(b"2", b"3")
        )
        with pytest.raises(ConfigError, match=says):
            downloads.verify(name, book)
        (book / file).unlink()
        with pytest.raises(ConfigError, match=says):
            downloads.verify(name, book)


def test_a_list_with_a_published_name_and_size_is_that_list(book, tmp_path):
    name = tmp_path / "second.txt"
    name.write_bytes(CONTENT["b/second.txt"])
    assert splits.open_list(name).labels == [0]
    name.write_text("a/x.jpg 1\n")  # of the same size
    with pytest.raises(ConfigError, match="is not the published list of that name"):
        splits.open_list(name)
    name.write_text("a/x.jpg 1\na/y.jpg 0\n")  # somebody's own
    assert splits.open_list(name).labels == [1, 0]
    (tmp_path / "first.npy").write_bytes(CONTENT["a/first.npy"])
    assert splits.open_list(tmp_path / "first.npy").tolist() == [2, 0, 1]
    (tmp_path / "first.npy").write_bytes(as_npy(2, 0, 3))
    with pytest.raises(ConfigError, match="`ltcl data get splits` fetches it, or rename your own"):
        splits.open_list(tmp_path / "first.npy")


def test_a_name_that_stands_for_nothing_is_refused():
    downloads.check_name("large-splits")
    with pytest.raises(ConfigError) as told:
        downloads.check_name("imagenet")
    assert str(told.value) == (
        "name is 'imagenet'; allowed are cifar10, cifar100, splits, large-splits, "
        "or a pack to verify"
    )


# --- CIFAR ---------------------------------------------------------------------------------------


def test_cifar_is_read_with_channels_first(small_cifar, tmp_path):
    images, labels = small_cifar
    for part, rows in (("train", slice(0, 4)), ("test", slice(4, 6))):
        found = read_arrays("cifar10", part, tmp_path)
        np.testing.assert_array_equal(found.images, images[rows])
        assert found.images.flags.c_contiguous
        assert found.labels.tolist() == labels[rows] and found.labels.dtype == np.int64
        assert (found.class_names, found.ids) == (("plane", "car", "bird"), (0, 1, 2))
        assert read_classes("cifar10", part, tmp_path).counts.sum() == len(labels[rows])
    said = downloads.verify("cifar10", tmp_path)
    assert said == "cifar10: 4 training and 2 test images, checksums hold"


def test_cifar_that_is_absent_or_damaged_says_how_to_get_it(small_cifar, tmp_path):
    with pytest.raises(
        ConfigError, match=rf"no folder cifar-100-python.*get cifar100 --root {tmp_path}"
    ):
        read_arrays("cifar100", root=tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=r"cifar-10-batches-py is incomplete or damaged"):
        read_arrays("cifar10", root=tmp_path)
