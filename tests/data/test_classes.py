"""Which classes there are: names, numbers, and what is said of them before training."""

import numpy as np
import pytest

from ltcl_helpers.data.classes import Classes, aligned, of_numbers, tell
from ltcl_helpers.errors import ConfigError


def named(*names, labels=(), ids=(), said=""):
    return Classes(np.array(labels, np.int64), names, ids, said)


def test_classes_without_an_image_at_the_end_are_counted_too():
    assert named("a", "b", "c", labels=[0, 0, 1]).counts.tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("names", "ids", "numbered"),
    [(("0", "4"), (0, 4), True), (("0", "4"), (), False), (("a", "b"), (0, 4), False),
     ((), (), False)],
)  # fmt: skip
def test_names_are_numbers_only_where_nobody_chose_them(names, ids, numbered):
    assert named(*names, ids=ids).numbered is numbered


@pytest.mark.parametrize(
    ("numbers", "names", "says"),
    [
        ([0, 2], "ab", "allowed are 0 to 1, one for each of the 2 class_names"),
        ([1, 3], "ab", "allowed are 0 to 1, one for each of the 2 class_names"),
        ([1, 2, 3], "abc", "the 3 class_names; these count from 1: subtract 1"),
        ([1, 2], "ab", "one for each of the 2 class_names; these count from 1: subtract 1"),
        ([-1, 1], "ab", "allowed are 0 to 1, one for each of the 2 class_names"),
        ([-1, 1], None, "to 9223372036854775807; images without a label may all have label 0"),
    ],
)
def test_labels_beyond_the_classes_are_refused(numbers, names, says):
    with pytest.raises(ConfigError) as told:
        of_numbers(np.array(numbers), names, "x.npz")
    assert str(told.value).startswith(f"x.npz has labels from {numbers[0]} to {numbers[-1]}; ")
    assert str(told.value).endswith(says)


def test_of_numbers_with_gaps_the_ids_are_said():
    found = of_numbers(np.array([4, 0, 4]), None, "x.npz")
    assert found[1:] == (
        ("0", "4"), (0, 4), "x.npz: labels are taken as ids of 2 classes: 0, 4",
    )  # fmt: skip
    assert found.labels.tolist() == [1, 0, 1]
    assert of_numbers(np.array([1, 0]), None, "x.npz").said == ""


ANT_BEE = named("ant", "bee", labels=[0, 1])
ONE_TWO = named("1", "2", labels=[0, 1], ids=(1, 2))


@pytest.mark.parametrize(
    ("test", "train", "labels"),
    [
        (named("bee", "ant", labels=[0, 1, 1]), ANT_BEE, [1, 0, 0]),
        (named("2", labels=[0], ids=(2,)), ONE_TWO, [1]),  # by number
        (named("two", labels=[0], ids=(2,)), ONE_TWO, [1]),  # by number: training has no names
        (named("2", "1", labels=[0, 1]), ONE_TWO, [1, 0]),  # a folder has no numbers
        (named("2", labels=[0], ids=(2,)), named("1", "2", labels=[0, 1]), [1]),
        (named("bee", labels=[0], ids=(0,)), named("ant", "bee", labels=[0, 1], ids=(0, 1)), [1]),
        (named("bee", "cow", labels=[0]), ANT_BEE, [1]),  # no image of cow: it need not be known
    ],
)
def test_a_test_part_has_the_labels_of_training(test, train, labels):
    found = aligned(test, train, "the test part")
    assert found.labels.tolist() == labels
    assert (found.names, found.ids) == (train.names, train.ids)


def test_what_was_said_of_an_npz_alone_is_said_no_more():
    train = named("ant", labels=[0])
    assert aligned(named("ant", labels=[0], said="left out"), train, "x").said == "left out"
    numbered = named("0", labels=[0], ids=(0,))
    assert aligned(numbered._replace(said="ids"), numbered, "x").said == ""


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (("bee", "cow"), ""),
        (("bee", " ANT"), "; is ' ANT' meant to be 'ant'?"),
    ],
)
def test_an_unknown_class_is_named_and_one_like_it_too(names, hint):
    with pytest.raises(ConfigError) as told:
        aligned(named(*names, labels=[0, 1]), named("ant", "bee"), "x")
    assert str(told.value) == (
        f"x has images of class {names[1]}, which the training part lacks; "
        f"its classes are ant, bee{hint}"
    )


@pytest.mark.parametrize(
    ("test", "train"), [(("ant", "ant"), ("ant", "bee")), (("ant",), ("ant", "ant"))]
)
def test_classes_of_one_name_are_refused_in_either_part(test, train):
    with pytest.raises(ConfigError, match="x: two classes have one name"):
        aligned(named(*test, labels=[0]), named(*train, labels=[0]), "x")


# --- what is said before training ---------------------------------------------------------------


def said(caplog, names, counts, test):
    caplog.clear()
    with caplog.at_level("INFO"):
        tell("toy", names, np.array(counts), test)
    return caplog.messages


def test_how_many_images_there_are_is_one_line(caplog):
    test = named("a", "b", labels=[0, 1])
    assert said(caplog, ("a", "b"), [5, 3], test) == [
        "toy: 2 classes, 8 images (3 to 5 a class) to learn from, 2 images (1 a class) to test"
    ]
    assert said(caplog, ("a",), [4], "x does not exist") == [
        "toy: 1 class, 4 images (4 a class) to learn from; no test part for a probe: "
        "x does not exist",
        "one class is enough for a run and `ltcl explore`, but not for a probe",
    ]


def test_classes_without_an_image_are_a_table(caplog):
    names, counts = ("ant", "butterfly", "cow", "d\n"), [12, 0, 3, 7]
    test = named("cow", "butterfly", "ant", labels=[0, 1, 2, 2])
    assert said(caplog, names, counts, test)[1] == (
        "Classes without an image:\n"
        "  class      train   test\n"
        "  butterfly      0      1\n"
        "  'd\\n'          7      0"
    )
    assert said(caplog, ("a", "b"), [2, 0], "none")[1] == (
        "Classes without an image:\n  class  train   test\n  b          0      -"
    )


@pytest.mark.parametrize(("empty", "last"), [(20, "c20"), (21, "and 1 more")])
def test_the_table_has_twenty_rows_at_most(caplog, empty, last):
    names = tuple(f"c{k}" for k in range(empty + 1))
    rows = said(caplog, names, [1] + [0] * empty, "none")[1].splitlines()[2:]
    assert len(rows) == empty and rows[-1].split("  ")[1] == last
