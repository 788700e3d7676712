"""Which labelled images a probe learns from: what is drawn, and which files are found by name."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ltcl_helpers import files, probe
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.probe import lists

LABELS = np.arange(1500) % 3  # 500 of each class, as CIFAR-100 has


def run_of(index=(), **given):
    """What lists ask of a run: where its split is, and what it learned from."""
    return SimpleNamespace(config=RunConfig(**given), index=np.array(index, int))


def says(call, *given):
    with pytest.raises(ConfigError) as caught:
        call(*given)
    return str(caught.value)


# --- drawn lists -------------------------------------------------------------------------------


def test_all_images_and_shares_of_them():
    run = run_of(range(30), split_seed=7)
    (everything,) = probe.labelled_lists(run, LABELS, "full")
    assert (everything.name, everything.source) == ("train part", "drawn")
    assert everything.index.tolist() == list(range(1500))
    for shots, count in (("1%", 4), ("10%", 45)):  # a tenth is held out first
        (one,) = probe.labelled_lists(run, LABELS, shots)
        assert (one.name, one.source) == (f"first {count} per class", "drawn")
        assert np.array_equal(one.index, splits.few_shot(LABELS, count, 7))
    many = np.arange(15_000) % 3  # 5,000 of each class, as CIFAR-10 has
    for shots, count in (("1%", 45), ("10%", 450)):
        (one,) = probe.labelled_lists(run, many, shots)
        assert one.name == f"first {count} per class"
    (least,) = probe.labelled_lists(run, LABELS[:30], "1%")
    assert least.name == "first 1 per class" and len(least.index) == 3


def test_five_lists_of_so_many_images_that_pre_training_did_not_see():
    seen = np.arange(30)  # ten of each class
    drawn = probe.labelled_lists(run_of(seen), LABELS, "490")
    names = [f"{{}} seed {seed}" for seed in (1, 2, 3, 4, 5)]
    assert [each.name for each in drawn] == [name.format("unseen") for name in names]
    for seed, each in enumerate(drawn, 1):
        assert not set(each.index) & set(seen) and each.source == "drawn"
        chosen = splits.few_shot(LABELS[30:], 490, seed)
        assert np.array_equal(each.index, 30 + chosen)
    drawn = probe.labelled_lists(run_of(seen), LABELS, "491")  # no class has so many others
    assert [each.name for each in drawn] == [name.format("any") for name in names]
    assert np.bincount(LABELS[drawn[0].index]).tolist() == [491] * 3
    assert says(probe.labelled_lists, run_of(), LABELS, "501").startswith("shots is 501, but the")
    assert says(probe.labelled_lists, run_of(), LABELS, "5%").startswith("shots is '5%'; allowed")
    all_of_one = np.flatnonzero(LABELS == 2)
    (first, *_) = probe.labelled_lists(run_of(all_of_one), LABELS, "1")
    assert first.name == "any seed 1"


def test_images_that_choose_an_epoch_are_a_tenth_that_teaches_nothing():
    run = run_of(range(30))
    held = probe.validation_list(run, LABELS)
    (taught,) = probe.labelled_lists(run, LABELS, "1%")
    assert (held.name, held.source) == ("unseen, 50 per class", "drawn")
    assert np.bincount(LABELS[held.index]).tolist() == [50] * 3
    assert not set(held.index) & (set(taught.index) | set(range(30)))
    pool = np.setdiff1d(np.arange(30, 1500), taught.index)
    assert np.array_equal(held.index, pool[splits.few_shot(LABELS[pool], 50, 0)])
    few = probe.validation_list(run_of(range(6)), LABELS[:6])  # two of each class
    assert few.name == "any, 1 per class"
    assert says(probe.validation_list, run_of(), LABELS[:5]) == (
        "protocol sdclr sets images of each class aside for validation, but the smallest class has "
        "1; use --protocol bcl"
    )


# --- list files --------------------------------------------------------------------------------

PATTERNS = {
    ("split2_D_i", "full"): "trainIdxList.npy",
    ("split2_D_i", "1%"): "split2_S_b.npy",
    ("split2_D_i", "validation"): "valIdxList.npy",
    ("split2_D_i", "50"): "split*_test_50shot.npy",
    ("cifar10lt_split31_D_b", "1%"): "cifar10lt_split31_S_b.npy",
    ("cifar10lt_split3_D_b", "full"): "cifar10lt_trainIdxList.npy",
    ("cifar10lt_split3_D_b", "validation"): "cifar10lt_valIdxList.npy",
    ("*split*", "1%"): "*split*_S_b.npy",
    ("*split*", "7"): "*split*_test_7shot.npy",
}


@pytest.mark.parametrize(("stem", "shots"), PATTERNS)
def test_list_files_have_the_published_names(stem, shots):
    assert lists._pattern_of(stem, shots) == PATTERNS[stem, shots]


@pytest.fixture
def place(tmp_path):
    """A split with lists beside it and one folder up, as they are published."""
    (tmp_path / "lt").mkdir()
    (tmp_path / "other").mkdir()
    for number, name in enumerate((
        "lt/split1_D_i", "lt/split1_S_b", "other/split2_test_5shot", "split1_test_5shot",
        "lt/trainIdxList", "valIdxList",
    )):  # fmt: skip
        np.save(tmp_path / f"{name}.npy", np.arange(number, number + 6))
    return tmp_path


def test_lists_beside_a_split_are_taken_in_the_order_of_their_names(place):
    run = run_of(split=f"{place}/lt/split1_D_i.npy")
    for shots, expected in (
        ("5", {"split1_test_5shot.npy": 3, "split2_test_5shot.npy": 2}),
        ("1%", {"split1_S_b.npy": 1}), ("full", {"trainIdxList.npy": 4}),
    ):  # fmt: skip
        found = probe.labelled_lists(run, LABELS, shots)
        assert {each.name: each.index[0] for each in found} == expected
        assert {each.source for each in found} == {"file"}
    assert sorted(path.name for path in place.glob("*/*_test_5shot.npy")) == [
        "split2_test_5shot.npy"
    ]
    held = probe.validation_list(run, LABELS)
    assert held.name == "valIdxList.npy" and held.index.tolist() == list(range(5, 11))
    (drawn, *_) = probe.labelled_lists(run, LABELS, "6")  # of which there is no file
    assert drawn.name == "unseen seed 1"
    np.save(place / "mine.npy", np.arange(3))  # is not named as a published split is
    assert len(probe.labelled_lists(run_of(split=f"{place}/mine.npy"), LABELS, "5")) == 5


def test_lists_of_a_folder_are_taken_whatever_the_split_is(place, monkeypatch):
    for split in ("long-tail", "balanced", f"{place}/mine.npy"):
        found = probe.labelled_lists(run_of(split=split), LABELS, "5", place)
        names = [f"split{number}_test_5shot.npy" for number in (2, 1)]
        assert sorted(each.name for each in found) == sorted(names)
    monkeypatch.setenv("HOME", str(place))
    home = type(place)("~/lt")
    (one,) = probe.labelled_lists(run_of(), LABELS, "1%", home)
    assert one.name == "split1_S_b.npy"
    wrong = f"{place} and its folders hold no *split*_test_7shot.npy for shots 7"
    assert says(probe.labelled_lists, run_of(), LABELS, "7", place) == wrong
    (too_few,) = (says(probe.labelled_lists, run_of(), LABELS[:6], "1%", place),)
    assert too_few == "split1_S_b.npy has positions beyond the 6 images"
    assert len(probe.labelled_lists(run_of(), LABELS[:7], "1%", place)) == 1
    (place / "more").mkdir()
    np.save(place / "more" / "split1_test_5shot.npy", np.arange(3))
    with pytest.raises(ConfigError, match="two lists of one name, and a table would hold one"):
        probe.labelled_lists(run_of(), LABELS, "5", place)
    (place / "more" / "split1_test_5shot.npy").unlink()
    np.save(place / "b_split1_test_5shot.npy", np.arange(3))
    assert says(probe.labelled_lists, run_of(), LABELS, "5", place) == (
        f"{place} and its folders hold lists of several data sets for shots 5: "
        "b_split1_test_5shot.npy, split1_test_5shot.npy, split2_test_5shot.npy; name the folder of "
        "one"
    )
    for name in ("trainIdxList.npy", "valIdxList.npy"):
        np.save(place / f"b_{name}", np.arange(3))
    assert "for shots full: b_trainIdxList.npy, trainIdxList.npy;" in says(
        probe.labelled_lists, run_of(), LABELS, "full", place
    )
    assert "for shots validation: b_valIdxList" in says(
        probe.validation_list, run_of(), LABELS, place
    )


def test_a_published_list_is_known_by_its_content(place, monkeypatch):
    assert len(lists._published()) == 57  # 49, and the large ones whose digest is known
    digest = files.sha256(place / "lt" / "split1_S_b.npy")
    monkeypatch.setattr(lists, "_published", lambda: {digest})
    for shots, source in (("1%", "published"), ("5", "file")):
        found = probe.labelled_lists(run_of(), LABELS, shots, place)
        assert {each.source for each in found} == {source}


def test_text_lists_are_found_by_their_names(tmp_path, monkeypatch, caplog):
    names = {
        "1%": "a_sub_balance_train_0.01.txt", "10%": "a_sub_balance_train_0.1.txt",
        "validation": "a_val.txt", "5": "a_test_5shot.txt",
    }  # fmt: skip
    for number, name in enumerate(names.values()):
        (tmp_path / name).write_text(f"{number}.jpg 0\n")
    found, checked = [], []
    monkeypatch.setattr(
        lists.splits, "in_data", lambda *given: found.append(given) or given[0].paths
    )
    monkeypatch.setattr(lists, "_check_classes", lambda one, *rest: checked.append(one.name))
    run = run_of(split=f"{tmp_path}/a_LT_train.txt", data="pack:b.pack")
    for number, (shots, name) in enumerate(names.items()):
        if shots == "validation":
            one = probe.validation_list(run, LABELS)
        else:
            (one,) = probe.labelled_lists(run, LABELS, shots)
        assert (one.name, one.source) == (name, "file") and one.index == [f"{number}.jpg"]
        assert found[-1][1] is LABELS and found[-1][2] == "pack:b.pack"
    assert set(checked) == set(names.values())
    checked.clear()
    digest = files.sha256(tmp_path / names["5"])
    monkeypatch.setattr(lists, "_published", lambda: {digest})
    (tmp_path / "there").mkdir()
    (tmp_path / names["5"]).rename(tmp_path / "there" / names["5"])
    (one,) = probe.labelled_lists(run, LABELS, "5", tmp_path / "there")
    assert one.source == "published" and not checked
    (everything,) = probe.labelled_lists(run, LABELS, "full", tmp_path)
    assert everything.name == "train part"
    assert f"shots full takes the whole training part, whatever lies in {tmp_path}" in caplog.text
    wrong = f"{tmp_path} holds no *_test_7shot.txt for shots 7"
    assert says(probe.labelled_lists, run, LABELS, "7", tmp_path) == wrong
    assert len(probe.labelled_lists(run, LABELS, "7")) == 5  # there is none beside the split


def test_a_validation_tenth_avoids_every_one_percent_list_and_is_one(tmp_path, monkeypatch):
    def many(given, *rest):
        """300 positions for each file, so that a draw of 150 cannot miss them by luck."""
        return np.arange(300) + 300 * int(given.paths[0][:-4])

    monkeypatch.setattr(lists.splits, "in_data", many)
    for number in (0, 1):
        name = tmp_path / f"{number}_sub_balance_train_0.01.txt"
        name.write_text(f"{number}.jpg 0\n")
    run = run_of(split=f"{tmp_path}/a_LT_train.txt", data="pack:b.pack")
    chosen = probe.validation_list(run, LABELS).index
    assert chosen.min() >= 600
    for number in (0, 1):
        (tmp_path / f"{number}_val.txt").write_text(f"{number}.jpg 0\n")
    said = says(probe.validation_list, run, LABELS)
    assert "0_val.txt and 1_val.txt are several validation lists" in said


# --- accuracies --------------------------------------------------------------------------------


def test_accuracies_are_shares_of_images_and_of_each_class():
    logits = torch.eye(7)[torch.tensor([0, 0, 1, 6, 5])]
    # Class 1 is the second for image 1, class 5 the sixth for image 4.
    logits[1] = logits[4] = torch.tensor([9, 8, 7, 6, 5, 4, 3])
    found = probe.measure(logits, torch.tensor([0, 1, 1, 6, 5]))
    assert found.top1 == pytest.approx(3 / 5) and found.top5 == pytest.approx(4 / 5)
    assert found.per_class[[0, 1, 5, 6]].tolist() == [1, 0.5, 0, 1]
    assert np.isnan(found.per_class[[2, 3, 4]]).all()
    two = probe.measure(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    assert (two.top1, two.top5) == (0.5, 1)
    unanswered = torch.full((2, 5), -torch.inf)
    unanswered[:, 3] = 1  # one answer each; the other four are among the best five and are none
    found = probe.measure(unanswered, torch.tensor([3, 0]))
    assert (found.top1, found.top5) == (0.5, 0.5)


@pytest.mark.parametrize("protocol", ["bcl", "logistic", "knn"])
def test_two_classes_are_told_apart_and_one_is_refused(protocol):
    x, y = torch.tensor([[1.0, 0.1], [0.1, 1.0]]).repeat(10, 1), torch.arange(20) % 2
    found = probe.linear_probe(x, y, x[:2], y[:2], protocol)
    assert (found.top1, found.per_class.tolist()) == (1, [1, 1])
    wider = probe.linear_probe(x, y, x[:2], y[:2], protocol, classes=4)
    assert len(wider.per_class) == 4 and wider.top1 == 1
    wrong = "the labelled images are of one class only; a probe needs 2 or more"
    assert says(probe.linear_probe, x, 0 * y, x, y, protocol) == wrong


def test_a_list_that_lacks_a_class_is_another_data_sets_and_other_numbers_are_said(
    tmp_path, caplog
):
    (tmp_path / "mine").mkdir()
    (tmp_path / "others").mkdir()
    split = tmp_path / "mine" / "split1_D_i.npy"
    np.save(split, np.arange(30))
    of_others = tmp_path / "others" / "split1_test_100shot.npy"
    run = run_of(range(30), split=str(split))
    np.save(of_others, np.flatnonzero(LABELS < 2)[:200])
    said = says(probe.labelled_lists, run, LABELS, "100")
    assert said.startswith("list split1_test_100shot.npy has no image of 1 of the 3 classes; is it")
    np.save(of_others, np.arange(300))
    assert len(probe.labelled_lists(run, LABELS, "100")[0].index) == 300 and not caplog.messages
    np.save(of_others, np.arange(299))
    probe.labelled_lists(run, LABELS, "100")
    assert caplog.messages == ["list split1_test_100shot.npy has 99 to 100 images a class, not 100"]
