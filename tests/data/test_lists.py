"""Text lists line by line, names of data sets, and data that are not a run's any more."""

import numpy as np
import pytest

from ltcl_helpers.data import images, lists
from ltcl_helpers.data.classes import Classes
from ltcl_helpers.errors import ConfigError

SAYS = {
    "": "is empty; it needs a line `path label` for every image",
    "\n \n": "is empty; it needs a line `path label` for every image",
    "0\n2\n5\n": "holds positions, not names of files; of a text with a position a line, make one: "
    "numpy.save('list.npy', numpy.loadtxt('list.txt', dtype=int))",
    "a.jpg 1\nb.jpg 0\nc d.jpg\n": "line 3 ('c d.jpg') and line 1 differ in having a label; give "
    "all lines one, or none",
    "\n\na.jpg 1\n\nb.jpg\n": "line 5 ('b.jpg') and line 3 differ in having a label; give all "
    "lines one, or none",
    "a.jpg\nb.jpg 0\n": "line 2 ('b.jpg') and line 1 differ in having a label; give all lines one, "
    "or none",
}


@pytest.mark.parametrize("text", SAYS)
def test_a_bad_list_says_what_is_wrong_with_it(text, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(ConfigError) as told:
        lists.read_list(path)
    assert str(told.value).removeprefix(f"list {path}").lstrip(" :") == SAYS[text]


def test_a_list_may_mix_positions_and_names_and_is_utf_8(tmp_path):
    for mark in ("", "\ufeff"):  # which some editors put before a text
        (tmp_path / "list.txt").write_bytes(f"{mark}12\nété.jpg\n".encode())
        assert lists.read_list(tmp_path / "list.txt").paths == ["12", "été.jpg"]


def test_a_label_may_stand_behind_a_tab(tmp_path):
    (tmp_path / "list.txt").write_text("my cat.jpg\t1\nb/7\t 0 \n")
    found = lists.read_list(tmp_path / "list.txt")
    assert (found.paths, found.labels) == (["my cat.jpg", "b/7"], [1, 0])


@pytest.mark.parametrize(
    ("paths", "labels", "says"),
    [
        (["b", "d"], None, "list x.txt names d, which toy does not hold; its names are like a"),
        (["c", "a", "c", "b", "c"], None, "list x.txt names c 3 times; allowed is once"),
        (["a", "c"], [5, 6], "list x.txt gives c label 6, toy has 7; "
         "pack it with lists of the same labels"),
    ],
)  # fmt: skip
def test_a_list_that_does_not_fit_the_data_says_why(paths, labels, says):
    with pytest.raises(ConfigError) as told:
        lists.positions(lists.FileList("x.txt", paths, labels), "abc", np.array([5, 6, 7]), "toy")
    assert str(told.value) == says


def test_positions_follow_the_list():
    listed = lists.FileList("x.txt", ["c", "./a"], [7, 5])
    found = lists.positions(listed, "abc", np.array([5, 6, 7]), "toy")
    assert found.tolist() == [2, 0] and found.dtype == np.int64


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("shapes:x", "the seed after 'shapes:' is a whole number"),
        ("shapes:-1", "the seed after 'shapes:' is a whole number"),
        ("shapes:\uff11", "the seed after 'shapes:' is a whole number"),  # another script's 1
        ("npz:", "allowed are shapes"),
        ("cifar10:x", "allowed are shapes"),
        ("folder", "allowed are shapes"),
        ("pack:x@7", "the size after '@' is '7'; allowed is 8 to 512"),
        ("pack:x@513", "the size after '@' is '513'; allowed is 8 to 512"),
        ("pack:x@big", "the size after '@' is 'big'; allowed is 8 to 512"),
        ("pack:x@\uff11\uff16", "; allowed is 8 to 512"),
        ("pack:x@8", "pack x cannot be opened"),
        ("pack:x@512", "pack x cannot be opened"),
        ("folder:x@7", "the size after '@' is '7'; allowed is 8 to 512"),
        ("folder:x@513", "the size after '@' is '513'; allowed is 8 to 512"),
        ("folder:x@\uff11\uff16", "; allowed is 8 to 512"),
        ("folder:x@8", "x does not exist; give folder:PATH"),
        ("folder:x@512", "x does not exist; give folder:PATH"),
    ],
)
def test_a_name_of_data_that_cannot_be_is_refused(name, says):
    with pytest.raises(ConfigError, match=says):
        images.read_arrays(name)


def test_images_of_the_embedded_data_have_numbers_and_no_names():
    assert images.file_names("shapes") == []
    found = images.read_arrays("shapes:3", "test")
    assert (found.images.seed, found.images.part) == (3, "test")
    assert images.read_arrays("shapes").images.seed == 0
    assert found.ids == tuple(range(12)) and found.classes.counts.tolist() == [250] * 12


def test_data_that_shrank_or_changed_are_not_the_runs():
    now = Classes(np.array([0, 1, 1]), ("a", "b"))
    images.check_same(now, np.array([2, 0]), np.array([1, 0]), "toy")
    with pytest.raises(ConfigError, match="toy here has 3 images, the run had more"):
        images.check_same(now, np.array([3, 0]), np.array([1, 0]), "toy")
    with pytest.raises(ConfigError, match="toy here has other labels than the run had"):
        images.check_same(now, np.array([2, 0]), np.array([1, 1]), "toy")


def test_a_test_part_is_read_with_the_classes_of_training():
    train = images.read_arrays("shapes")
    found = images.read_test("shapes:2", train)
    assert (found.images.part, found.images.seed) == ("test", 2)
    assert (found.class_names, found.ids) == (train.class_names, train.ids)
    assert len(found.labels) == 3000
