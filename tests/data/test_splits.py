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
        for path in (DATA / "splits" / "own").glob(f"{name}lt_*"):
            assert sha256(path) == sha256(tmp_path / path.name), path.name


def test_a_balanced_run_borrows_the_groups_of_its_long_tail_partner():
    data = read_arrays("shapes")
    common = dict(preset="tiny", split_seed=3, imbalance=10.0)
    tail = splits.select(RunConfig(split="long-tail", mirrored=True, **common))
    flat = splits.select(RunConfig(split="balanced", mirrored=True, **common))
    assert flat.group_counts.tolist() == tail.class_counts.tolist()
    assert len(set(flat.class_counts)) == 1 and abs(len(flat.index) - len(tail.index)) < 12
    assert (data.images[flat.index] == flat.images).all()
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
