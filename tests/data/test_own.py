"""Data of one's own: no image, file, class or label is changed, dropped or shifted without a word.

Situations are those of people who asked in public; each test is one kind of them.
"""

import unicodedata

import numpy as np
import pytest
from own_pictures import SIDE, colours_agree, draw, fill, save

from ltcl_helpers import files
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import classes, folders, images, own, splits
from ltcl_helpers.data.images import load_images, read_arrays, read_classes
from ltcl_helpers.errors import ConfigError, DamagedFile

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


def test_parts_may_be_called_train_and_test_alone(tmp_path):
    save(tmp_path / "train.npz", [0, 1, 1])
    save(tmp_path / "test.npz", [1])
    for part, count in (("train", 3), ("test", 1)):
        assert len(read_arrays(f"npz:{tmp_path}/train.npz", part).labels) == count
    assert own._training_file(tmp_path / "test.npz") == tmp_path / "train.npz"


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
        (np.array(list("aab")), r"<U1 of shape \(3,\).*numpy\.unique\(.*class_names=names, and do"),
        (np.arange(3.0), "float64.*astype.int"),
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


def test_only_a_class_without_an_image_is_told_as_left_out():
    names = ("a", "b", "c")
    assert classes.of_numbers(np.array([0, 1, 2]), names, "x").said == ""
    found = classes.of_numbers(np.array([0, 2, 2]), names, "x")
    assert found.said == "x: no image of class b, which is left out"
    assert found.names == ("a", "c") and found.labels.tolist() == [0, 1, 1]


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


def test_a_damaged_test_part_stops_a_run_before_it_trains_and_one_that_misfits_is_said(
    tmp_path, caplog
):
    save(tmp_path / "x_train.npz", [0, 1, 1, 0])
    config = RunConfig(preset="tiny", data=f"npz:{tmp_path}/x_train.npz", split="all", batch_size=4)
    save(tmp_path / "x_test.npz", [0, 3])
    splits.select(config)
    assert "a probe will refuse the test part as it is; mend it before you train" in caplog.messages
    caplog.clear()
    np.savez(tmp_path / "x_test.npz", images=np.zeros((2, SIDE, SIDE, 3)), labels=[0, 1])
    with caplog.at_level("INFO"):
        splits.select(config)
    assert any("x_test.npz: images are float64 of shape (2, " in text for text in caplog.messages)
    assert "a probe will refuse the test part as it is; mend it before you train" in caplog.messages
    caplog.clear()
    (tmp_path / "x_test.npz").unlink()
    splits.select(config)
    assert not caplog.messages
    (tmp_path / "x_test.npz").write_bytes(b"PK damaged")
    with pytest.raises(DamagedFile, match="x_test"):
        splits.select(config)


def test_a_balanced_lists_partner_is_checked_as_the_list_is(tmp_path):
    save(tmp_path / "x_train.npz", [0, 1, 1, 0])
    np.save(tmp_path / "k_D_b.npy", np.arange(4))
    np.save(tmp_path / "k_D_i.npy", np.array([0, 5000]))
    config = RunConfig(
        preset="tiny", data=f"npz:{tmp_path}/x_train.npz", split=f"{tmp_path}/k_D_b.npy",
        batch_size=4,
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"k_D_i\.npy has position 5000, but npz:.* has 4 images"):
        splits.select(config)
