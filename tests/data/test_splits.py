"""Index sets against the published ones and their own law."""

import importlib.util
import json

import numpy as np
import pytest

from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.data.images import read_arrays
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.files import sha256
from ltcl_helpers.paths import DATA

LABELS = np.repeat(np.arange(10), 60)


@pytest.mark.parametrize(("data", "largest", "total"), [("cifar10", 4500, 11165),
                                                        ("cifar100", 450, 9754)])  # fmt: skip
def test_class_sizes_equal_all_five_published_splits(golden, data, largest, total):
    counts = golden("split_counts_and_partial_labels")
    law = splits.class_sizes(largest, int(data[5:]), 100)
    assert sum(law) == total
    for split in range(1, 6):
        assert sorted(counts[f"{data}_counts_split{split}"], reverse=True) == law


def test_class_sizes_take_the_floor_and_never_leave_a_class_empty():
    assert splits.class_sizes(450, 100, 100)[4] == 373  # 373.6
    assert splits.class_sizes(900, 3, 3) == [900, 519, 300]
    assert splits.class_sizes(50, 4, 1) == [50] * 4
    with pytest.raises(ConfigError, match="smallest class empty"):
        splits.class_sizes(40, 10, 100)
    with pytest.raises(ConfigError, match="2 classes"):
        splits.class_sizes(40, 1, 10)


def test_sets_of_a_seed_are_prefixes_of_one_list():
    sizes = splits.class_sizes(50, 10, 10)
    tail = splits.long_tail(LABELS, sizes, seed=4)
    flat = splits.balanced(LABELS, 25, seed=4)
    few = splits.few_shot(LABELS, 5, seed=4)
    assert sorted(np.bincount(LABELS[tail]), reverse=True) == sizes
    for c, shuffled in enumerate(splits.class_lists(LABELS, seed=4)):
        for chosen in (tail, flat, few):
            own = chosen[LABELS[chosen] == c]
            assert own.tolist() == shuffled[: len(own)].tolist()
    assert set(few) <= set(flat) and set(few) <= set(tail)
    assert tail.dtype == np.int64 and (np.diff(LABELS[tail]) >= 0).all()  # class-major


def test_a_mirrored_split_reverses_who_is_many_and_keeps_the_lists():
    sizes = splits.class_sizes(50, 10, 10)
    pair = [splits.long_tail(LABELS, sizes, 4, mirrored) for mirrored in (False, True)]
    counts = [np.bincount(LABELS[index]) for index in pair]
    rank = [np.argsort(-c, kind="stable") for c in counts]
    assert rank[0].tolist() == rank[1][::-1].tolist()
    assert splits.long_tail(LABELS, sizes, 5).tolist() != pair[0].tolist()
    for c in range(10):
        a, b = (index[LABELS[index] == c] for index in pair)
        assert a[: min(len(a), len(b))].tolist() == b[: min(len(a), len(b))].tolist()


def test_asking_for_more_than_there_is_names_the_class():
    with pytest.raises(ConfigError, match="class 0 has 60 images, 61"):
        splits.balanced(LABELS, 61, seed=0)
    with pytest.raises(ConfigError, match="0 were asked for"):
        splits.few_shot(LABELS, 0, seed=0)


@pytest.mark.parametrize("labels", [[7, 10**9], [-1, 0, 1], [], [0.0, 1.0], [2**63, 0, 1]])
def test_labels_that_count_no_classes_are_refused_at_once(labels):
    """Not after a list for each of a thousand million classes."""
    labels = np.array(labels, np.uint64 if max(labels, default=0) > 2**62 else None)
    for draw in (splits.balanced, splits.few_shot):
        with pytest.raises(ConfigError, match="labels "):
            draw(labels, 1, seed=0)


def test_groups_by_thirds_and_by_counts(golden):
    counts = golden("split_counts_and_partial_labels")["cifar100_counts_split1"]
    thirds = splits.groups(counts)
    assert [len(thirds[g]) for g in splits.GROUPS] == [34, 33, 33]
    assert counts[thirds["few"]].max() == 19 and counts[thirds["many"]].min() == 96
    by_count = splits.groups(np.array([101, 100, 20, 19]), rule="counts")
    assert {g: v.tolist() for g, v in by_count.items()} == {
        "many": [0], "medium": [1, 2], "few": [3],
    }  # fmt: skip
    with pytest.raises(ConfigError, match="rule"):
        splits.groups(counts, rule="halves")


def test_published_lists_read_and_nest(published_splits, golden):
    counts = golden("split_counts_and_partial_labels")
    folder = published_splits / "cifar100_imbSub_with_subsets"
    known = dict(zip(counts["cifar100_known_index"], counts["cifar100_known_block"], strict=True))
    for split in range(1, 6):
        sets = {
            kind: splits.read_split(folder / f"cifar100_split{split}_{kind}.npy")
            for kind in ("D_i", "D_b", "S_b")
        }
        assert [len(s) for s in sets.values()] == [9754, 9700, 400]
        assert set(sets["S_b"]) <= set(sets["D_i"]) & set(sets["D_b"])
        found = np.bincount([known[i] for i in sets["D_i"]], minlength=100)
        assert found.tolist() == counts[f"cifar100_counts_split{split}"].tolist()


@pytest.mark.parametrize(("positions", "complaint"), [
    ([7, 3, 9, 3, 3], "position 3 3 times"), ([4, -2, 0], "position -2"), ([], "is empty"),
])  # fmt: skip
def test_a_list_of_no_distinct_positions_is_refused(tmp_path, positions, complaint):
    """Images that occur twice would be trained on twice, and probed as if there were more."""
    np.save(tmp_path / "list.npy", np.array(positions, np.int64))
    with pytest.raises(ConfigError, match=complaint):
        splits.read_split(tmp_path / "list.npy")
    np.save(tmp_path / "list.npy", np.array([7, 3, 9], np.uint16))
    assert splits.read_split(tmp_path / "list.npy").tolist() == [7, 3, 9]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_our_own_lists_are_what_the_manifest_says(name):
    folder = DATA / "splits" / "own"
    lists = json.loads((folder / f"{name}lt_manifest.json").read_text())["lists"]
    assert sorted(lists) == sorted(p.name for p in folder.glob(f"{name}lt_*.npy"))
    index = {file: splits.read_split(folder / file) for file in lists}
    for file, entry in lists.items():
        assert splits.split_digest(index[file]) == entry["sha256"]
    held_out = set(index[f"{name}lt_valIdxList.npy"])
    law = splits.class_sizes(4500 if name == "cifar10" else 450, int(name[5:]), 100)
    for split in range(1, 6):
        tail, flat, few = (index[f"{name}lt_split{split}_{k}.npy"] for k in ("D_i", "D_b", "S_b"))
        assert len(tail) == sum(law) and not held_out & (set(tail) | set(flat))
        assert set(few) <= set(tail) & set(flat)


def test_our_own_lists_are_drawn_again_from_the_data(cifar, tmp_path):
    path = DATA.parent / "experiments" / "draw_splits.py"
    spec = importlib.util.spec_from_file_location("draw_splits", path)
    draw_splits = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw_splits)
    for name, source in (("cifar10", None), ("cifar100", f"npz:{cifar}/cifar100_train.npz")):
        labels = read_arrays(source or name, "train", cifar).labels
        draw_splits.draw(name, labels, tmp_path)
        own = list((DATA / "splits" / "own").glob(f"{name}lt_*"))
        assert len(own) == 28  # five lists of each of five splits, and three of the data set
        for path in own:
            assert sha256(path) == sha256(tmp_path / path.name), path.name


def test_a_balanced_run_borrows_the_groups_of_its_long_tail_partner():
    data = read_arrays("shapes")
    common = dict(preset="tiny", split_seed=3, imbalance=10.0)
    tail = splits.select(RunConfig(split="long-tail", mirrored=True, **common))
    flat = splits.select(RunConfig(split="balanced", mirrored=True, **common))
    assert flat.group_counts.tolist() == tail.class_counts.tolist()
    assert len(set(flat.class_counts)) == 1 and abs(len(flat.index) - len(tail.index)) < 12
    assert (data.images[flat.index] == flat.images).all()
    # Its images hang on the split's seed, not on the run's: a mirrored pair shares them.
    other = splits.select(RunConfig(split="balanced", mirrored=True, seed=9, **common))
    assert (other.index == flat.index).all()
    per_class = int(flat.class_counts[0])
    assert (flat.index == splits.balanced(data.labels, per_class, 3)).all()
    everything = splits.select(RunConfig(split="all", preset="tiny"))
    assert len(everything.index) == len(data.labels)


def test_a_published_balanced_list_borrows_its_partner_too(cifar, published_splits):
    folder = published_splits / "cifar100_imbSub_with_subsets"
    data = f"npz:{cifar}/cifar100_train.npz"
    flat, tail = (
        splits.select(RunConfig(data=data, split=str(folder / f"cifar100_split2_{k}.npy")))
        for k in ("D_b", "D_i")
    )
    assert set(flat.class_counts) == {97}
    assert flat.group_counts.tolist() == tail.class_counts.tolist()
    assert sorted(tail.class_counts, reverse=True) == splits.class_sizes(450, 100, 100)


# --- what a run of one's own data may look like ---------------------------------------------------

LABELS_OF_24 = np.repeat(np.arange(4), [6, 5, 7, 6])


def test_lists_are_drawn_as_ever():
    """Every run that was made with a drawn split rests on these positions."""
    sizes = [4, 3, 2, 1]
    assert splits.long_tail(LABELS_OF_24, sizes, 4).tolist() == [1, 4, 2, 8, 7, 17, 23, 22, 19, 20]
    assert splits.long_tail(LABELS_OF_24, sizes, 4, mirrored=True).tolist() == [
        1, 4, 8, 7, 9, 17, 14, 15, 13, 23,
    ]  # fmt: skip
    for draw in (splits.balanced, splits.few_shot):
        assert draw(LABELS_OF_24, 2, 4).tolist() == [1, 4, 8, 7, 17, 14, 23, 22]
        assert draw(LABELS_OF_24, 5, 4).dtype == np.int64


def test_digests_are_as_ever_however_numbers_are_stored():
    """By these a folder knows its data again."""
    narrow = splits.split_digest(np.array([3, 1], np.int32))
    assert narrow == splits.split_digest(np.array([3, 0, 1])[::2])
    assert narrow.startswith("9b768a7138e147b4")
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    inputs = splits.Inputs(images, *(np.array(part) for part in ([0, 1], [5, 3], [1, 1], [2, 1])))
    assert splits.data_digest(inputs).startswith("2b069343adb254bd")
    apart = np.repeat(images, 2, axis=3)[..., ::2]  # the same numbers in other places of memory
    assert splits.data_digest(inputs._replace(images=apart)) == splits.data_digest(inputs)


@pytest.mark.parametrize(
    ("images", "size", "equal", "drop", "says"),
    [
        (1, 2, False, False, "split all of shapes has 1 image; a run needs 2"),
        (2, 4, False, False, ""),
        (4, 4, False, True, ""),
        (
            3,
            4,
            False,
            True,
            "batch_size is 4, but split all of shapes has 3 images.*batch_size=3 or",
        ),
        (5, 4, False, False, "batch_size 4 leaves a last batch of 1 image"),
        (5, 4, False, True, ""),
        (5, 4, True, False, ""),  # 3 and 2
        (3, 2, True, False, "batch_size 2 leaves a last batch of 1 image"),  # 2 and 1
        (6, 4, False, False, ""),
        (8, 4, False, False, ""),
    ],
)
def test_batches_must_have_something_to_be_told_from(images, size, equal, drop, says):
    config = RunConfig(split="all", batch_size=size, equal_batches=equal, drop_last=drop)
    if not says:
        splits._check_batches(config, images)
        return
    with pytest.raises(ConfigError, match=says):
        splits._check_batches(config, images)


@pytest.fixture
def own(tmp_path):
    """Make data of one's own with so many images a class; their name."""

    def call(*counts, tested=()):
        for part, sizes in (("train", counts), ("test", tested)):
            labels = np.repeat(np.arange(len(sizes)), sizes)
            pictures = np.zeros((len(labels), 8, 8, 3), np.uint8)
            if sizes:
                np.savez(tmp_path / f"x_{part}.npz", images=pictures, labels=labels)
        return f"npz:{tmp_path}/x_train.npz"

    return call


def select(name, **given):
    return splits.select(RunConfig(data=name, **(dict(batch_size=2, split="all") | given)))


def test_a_tail_takes_nine_tenths_of_the_smallest_class_unless_it_is_told(own):
    tail = dict(split="long-tail", imbalance=4.0, batch_size=3)
    assert sorted(select(own(20, 20, 20), **tail).class_counts) == [4, 9, 18]
    assert sorted(select(own(20, 20, 20), largest_class=12, **tail).class_counts) == [3, 6, 12]
    assert sorted(select(own(5, 5, 5), **tail).class_counts) == [1, 2, 4]  # just enough
    flat = select(own(20, 20, 20), split="balanced", imbalance=4.0, batch_size=3)
    assert flat.class_counts.tolist() == [10] * 3  # 31 images, shared out
    assert sorted(flat.group_counts) == [4, 9, 18]


def test_too_few_images_for_a_tail_say_so_by_the_rarest_class(own):
    tail = dict(split="long-tail", imbalance=4.0, batch_size=3)
    says = "class 1 has 4 images, too few to cut a long tail of imbalance 4 from; the classes have"
    with pytest.raises(
        ConfigError, match=f"split long-tail: {says} 4 to 9 images, and --split all"
    ):
        select(own(9, 4), **tail)
    with pytest.raises(ConfigError, match=says):
        select(own(5, 4), **tail)
    with pytest.raises(ConfigError, match="up to 3; --split all takes the data as they are"):
        select(own(4, 4), **tail)
    with pytest.raises(ConfigError, match="up to 2; --split all takes the data as they are"):
        select(own(9, 4), largest_class=2, **tail)
    with pytest.raises(ConfigError, match=r"largest_class is 9, imbalance 1; .* has 4"):
        select(own(9, 4), largest_class=9, **(tail | dict(imbalance=1.0)))
    with pytest.raises(ConfigError, match="class . has 4 images, 9 were asked for; ask for fewer"):
        select(own(9, 4), largest_class=9, **(tail | dict(imbalance=1.0)))
    with pytest.raises(ConfigError, match="there are too few"):
        splits.class_sizes(0, 2, 10)


@pytest.mark.parametrize(
    ("given", "starts"),
    [
        (dict(batch_size=10), "9 images are less than a batch of 10"),
        (dict(batch_size=9), ""),
        (dict(split="long-tail", imbalance=1.0), "split long-tail takes 6 of the 9 images"),
        (dict(split="balanced", imbalance=1.0), ""),
    ],
)
def test_what_a_person_should_know_of_her_data_is_said(own, given, starts, caplog):
    counts = (5, 4)
    if "imbalance" in given:
        given = given | dict(largest_class=3)
    select(own(*counts, tested=(1, 1)), **(dict(batch_size=2) | given))
    assert [line.startswith(starts) for line in caplog.messages] == [True] * bool(starts)


@pytest.mark.parametrize(("images", "advice"), [(9, 2), (7, 2), (20, 5)])
def test_a_batch_of_a_quarter_of_the_images_is_the_advice(own, images, advice, caplog):
    select(own(images), batch_size=32)
    assert caplog.messages[0].endswith(f"for more updates set batch_size, for example to {advice}")


def test_of_a_tail_of_equal_classes_and_of_other_data_nothing_is_said(own, caplog):
    name = own(6, 6, tested=(1, 1))
    select(name, split="long-tail", imbalance=2.0, batch_size=3)
    splits.select(RunConfig(preset="tiny"))
    assert caplog.messages == []


def test_a_test_part_that_does_not_fit_is_said_before_training(own, caplog):
    name = own(6, 0, 6, tested=(1, 0, 0, 1))
    with caplog.at_level("INFO"):
        select(name)
    assert "no test part for a probe: the test part of npz:" in caplog.messages[-1]


def test_a_list_may_name_the_last_image_and_none_behind_it(own, tmp_path):
    name = own(3, 3)
    np.save(tmp_path / "list.npy", [5, 0])
    assert select(name, split=str(tmp_path / "list.npy")).labels.tolist() == [1, 0]
    np.save(tmp_path / "list.npy", [6, 0])
    with pytest.raises(ConfigError, match="has position 6, but .* has 6 images; is it the list of"):
        select(name, split=str(tmp_path / "list.npy"))
    with pytest.raises(
        ConfigError, match=r"absent\.npy does not exist; allowed are long-tail, bal"
    ):
        select(name, split=str(tmp_path / "absent.npy"))
    (tmp_path / "list.npy").write_bytes((tmp_path / "list.npy").read_bytes()[:-1])
    with pytest.raises(ConfigError, match="is not a whole .npy file"):
        select(name, split=str(tmp_path / "list.npy"))


@pytest.mark.parametrize("method", ["balanced-cl", "cross-entropy"])
def test_labels_of_one_class_teach_nobody_who_learns_from_labels(own, method):
    with pytest.raises(ConfigError, match=f"method {method} learns from labels, and these are of"):
        select(own(4), method=method)
    assert len(select(own(2, 2), method=method).index) == 4


@pytest.mark.parametrize(
    ("flat", "tail"), [("a_D_b.npy", "a_D_i.npy"), ("a_BL_b.npy", "a_LT_b.npy")]
)
def test_a_list_borrows_the_groups_of_a_partner_beside_it(own, tmp_path, flat, tail):
    name = own(4, 4)
    np.save(tmp_path / flat, [0, 1, 4, 5])
    assert select(name, split=str(tmp_path / flat)).group_counts.tolist() == [2, 2]
    np.save(tmp_path / tail, [0, 1, 2, 4])
    assert select(name, split=str(tmp_path / flat)).group_counts.tolist() == [3, 1]
    assert select(name, split=str(tmp_path / tail)).group_counts.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("counts", "rule", "expected"),
    [
        ([9, 8, 7], "thirds", {"many": [0], "medium": [1], "few": [2]}),
        ([1, 2, 3, 4], "thirds", {"many": [2, 3], "medium": [1], "few": [0]}),
        ([5, 5, 5], "thirds", {}),
        ([9, 8], "thirds", {}),
        ([200, 50, 30], "counts", {}),
        ([200, 50, 3], "counts", {"many": [0], "medium": [1], "few": [2]}),
    ],
)
def test_groups_are_served_where_there_are_three_of_them(counts, rule, expected):
    given = (rule,) if rule == "counts" else ()
    found = splits.served(np.array(counts), *given)
    assert {name: members.tolist() for name, members in found.items()} == expected
    with pytest.raises(ConfigError, match="rule is 'halves'; allowed are thirds and counts"):
        splits.groups(np.array(counts), "halves")
