"""Rows that a run keeps of its probes, those that it came with, and its own classifier's."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ltcl_helpers import data, files, networks, probe, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.data.pack import pack
from ltcl_helpers.errors import ConfigError, DamagedFile
from ltcl_helpers.methods.cross_entropy import CosineClassifier
from ltcl_helpers.probe import choices, rows, streaming
from ltcl_helpers.probe.run import about_run
from ltcl_helpers.runs.run import HISTORY, Run

LAPTOP = {"device": "cpu", "threads": 1, "precision": "float32", "torch": "2"}


def table(**changes):
    """Two rows of one probe."""
    about = dict(method="simclr", data="shapes", features="encoder", protocol="bcl", shots="100")
    about |= dict(list="a.npy", test="shapes", groups="thirds", untested="") | changes
    return pd.DataFrame([about | {"group": g, "accuracy": a} for g, a in (("all", 1), ("few", 0))])


@pytest.fixture
def folder(tmp_path):
    """What a run's folder needs to take rows."""
    files.write_json(tmp_path / "config.json", {})
    runs.seal(tmp_path, "config.json", machines=[LAPTOP])
    return tmp_path


def test_what_one_probe_is_told_by_and_what_rows_had_since_ever():
    assert rows.KEY == ["features", "protocol", "shots", "list", "test"]
    ever = ("method", "data", "protocol", "shots", "list", "group", "accuracy")
    assert ever == rows.COLUMNS


@pytest.mark.parametrize("name", ["features", "protocol", "shots", "test"])
def test_a_probe_of_another_kind_stands_beside_the_first_and_the_same_takes_its_place(name, folder):
    first, other = table(), table(**{name: "other"})
    assert probe.read_rows(folder, runs.read_done(folder)) is None
    assert probe.save_probe(str(folder), first).equals(first)
    both = probe.save_probe(folder, other)
    assert both[name].tolist() == [first[name][0]] * 2 + ["other"] * 2
    assert both.index.tolist() == list(range(4))
    again = first.assign(groups="counts", accuracy=0.5)
    (folder / ".left.1.part").touch()
    saved = probe.save_probe(folder, pd.concat([again, again.assign(accuracy=0.25)]))
    assert saved["accuracy"].tolist() == [1, 0, 0.25, 0.25]  # of two alike the last one
    stored = probe.read_rows(folder, runs.verify(folder))
    assert stored.equals(saved.reset_index(drop=True)) and not list(folder.glob(".*.part"))


def test_a_probe_with_other_lists_takes_the_place_of_the_first(folder):
    """Reports average over lists: drawn ones and files of the same shots must not be mixed."""
    probe.save_probe(folder, pd.concat([table(list="any seed 0"), table(list="any seed 1")]))
    saved = probe.save_probe(folder, table(list="split1_test_5shot.npy"))
    assert set(saved["list"]) == {"split1_test_5shot.npy"} and len(saved) == 2


def test_rows_of_list_files_do_not_give_way_to_drawn_ones(folder):
    """A copied run is probed where its split and lists do not lie."""
    first = probe.save_probe(folder, table(list_source="published"))
    drawn = table(list="any seed 0", list_source="drawn")
    with pytest.raises(ConfigError, match="holds rows of the lists a.npy, and this probe found no"):
        probe.save_probe(folder, drawn)
    assert probe.read_rows(folder, runs.verify(folder)).equals(first)
    assert len(probe.save_probe(folder, drawn.assign(shots="7"))) == 4
    assert len(probe.save_probe(folder, drawn.assign(protocol="knn"))) == 6


def test_rows_that_are_damaged_are_left_out_and_said_to_be(folder, caplog):
    probe.save_probe(folder, table())
    (folder / "probe.parquet").write_text("garbage")
    with pytest.raises(DamagedFile, match="ltcl probe .* makes it again"):
        probe.read_rows(folder, runs.read_done(folder))
    assert len(probe.save_probe(folder, table(list="b.npy"))) == 2
    (record,) = caplog.records
    said = record.getMessage()
    assert "probe.parquet has sha256" in said and record.levelname == "WARNING"
    assert said.endswith("; what else was in it is lost, probe that again, too")


def test_released_rows_are_those_of_the_probe_that_was_asked_for(folder):
    kinds = [table(shots=shots, list=shots) for shots in ("100", "50", "full")]
    kinds += [table(features="pruned"), table(protocol="knn"), table(protocol="classifier")]
    probe.save_probe(folder, pd.concat(kinds))
    found = probe.released_rows(folder, "bcl", "encoder", ("50", "full", "7"))
    assert found["shots"].tolist() == ["50", "50", "full", "full"]
    assert set(found["protocol"] + found["features"]) == {"bclencoder"}
    assert len(probe.released_rows(folder, "classifier", "encoder", ())) == 2
    assert len(probe.released_rows(folder, "bcl", "pruned", ("100",))) == 2


def test_rows_of_older_probes_get_the_columns_they_lack_and_keep_the_others():
    old = pd.DataFrame({"method": ["sdclr", "sdclr pruned", "pixels"], "data": "shapes"})
    told = {"test": "shapes", "features": ["encoder", "pruned", "pixels"], "groups": "thirds"}
    assert probe.complete(old).equals(old.assign(**told, untested=""))
    new = old.assign(test="a", features="b", groups="counts", untested="c")
    assert probe.complete(new).equals(new)


# --- what can be asked for ---------------------------------------------------------------------

ASKED = [  # protocols, features, shots, groups; what is said of it
    ((["bcl", "sdcl"], ["encoder"], ["100"]), "protocol is 'sdcl'; allowed are bcl, logistic, knn, "
     "sdclr, finetune, classifier"),
    ((["bcl"], ["encoder", "raw"], ["1"]), "features is 'raw'; allowed are encoder, pruned, "
     "pixels"),
    ((["bcl"], ["encoder"], ["0"]), "shots is '0'; allowed are full, 10%, 1% and a number per "
     "class"),
    ((["bcl"], ["encoder"], ["1", "5%"]), "shots is '5%'; allowed are full, 10%, 1% and a number "
     "per class"),
    ((["bcl", "sdclr"], ["encoder"], ["full", "10%"]), "shots is '10%', but protocol sdclr has "
     "rates for full and 1% only; for others use --protocol bcl"),
    ((["finetune"], ["encoder", "pixels"], ["1"]), "protocol finetune trains an encoder, and a "
     "pruned one would not stay pruned; give --features encoder"),
    ((["finetune"], ["pruned"], ["10%"]), "protocol finetune trains an encoder, and a pruned one "
     "would not stay pruned; give --features encoder"),
    ((["bcl"], ["encoder"], ["1"], "halves"), "groups is 'halves'; allowed are thirds, counts"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "says"), ASKED)
def test_what_cannot_be_probed_is_refused_in_these_words(asked, says):
    with pytest.raises(ConfigError, match=f"^{re.escape(says)}$"):
        choices.check_probes(*asked)


def test_all_that_can_be_probed_is_allowed():
    every = ("bcl", "logistic", "knn", "sdclr", "finetune", "classifier")
    assert every == choices.PROTOCOLS
    for rule in (None, "thirds", "counts"):
        choices.check_probes(every, ["encoder"], ["full", "1%"], rule)
    choices.check_probes(every[:3], ["encoder", "pixels"], ["full", "1%", "10%", "1", "50"])
    choices.check_probes(every[:4], ["encoder", "pruned"], ["full", "1%"])
    choices.check_probes(["bcl"], ["pixels"], ["1"])
    for shots in ("full", "1%", "10%", "2"):
        choices.check_enough(shots, [3, 2])
    with pytest.raises(ConfigError) as caught:
        choices.check_enough("3", [3, 2])
    assert str(caught.value) == (
        "shots is 3, but the smallest class has 2 images in the training part; allowed are 1 to 2 "
        "and full, 10%, 1%: --shots full takes them all"
    )


def test_a_run_is_asked_only_for_networks_that_its_method_keeps():
    pruned, classifier = "sdclr", "balanced-cl and cross-entropy"
    for method, protocol, kind, known in (
        ("simclr", "bcl", "pruned", pruned),
        ("cross-entropy", "bcl", "pruned", pruned),
        ("simclr", "classifier", "encoder", classifier),
        ("sdclr", "classifier", "pruned", classifier),
    ):
        lacking = kind if known == pruned else protocol
        says = f"a {method} run keeps no {lacking}; one of {known} does"
        with pytest.raises(ConfigError, match=f"^{says}$"):
            choices.check_run(method, ["bcl", protocol], ["encoder", kind])
    for method in ("sdclr", "my:Own"):
        choices.check_run(method, ["bcl"], ["pruned", "pixels"])
    for method in ("balanced-cl", "cross-entropy", "my:Own"):
        choices.check_run(method, ["classifier"], ["encoder"])


# --- a run's own classifier --------------------------------------------------------------------


@pytest.fixture
def labelled(tmp_path):
    """A run on photos of four classes, whose classifier nobody trained, and its test labels."""
    draw = np.random.default_rng(0)
    sizes, tested = np.array([9, 6, 4, 3]), np.array([0, 0, 0, 2, 2, 3, 3, 3, 3, 3])
    for part, labels in (("train", np.arange(4).repeat(sizes)), ("test", tested)):
        images = draw.integers(0, 256, (len(labels), 8, 8, 3), np.uint8)
        np.savez(tmp_path / f"a_{part}.npz", images=images, labels=labels)
    config = RunConfig(
        preset="tiny", method="cross-entropy", data=f"npz:{tmp_path}/a_train.npz", split="all",
        seed=5, split_seed=6, mirrored=True, epochs=7, batch_size=8,
    )  # fmt: skip
    inputs = splits.select(config)
    torch.manual_seed(0)
    encoder = networks.build(config).eval()
    counts = torch.from_numpy(inputs.class_counts)
    run = Run(
        folder=None, config=config, history=pd.DataFrame(columns=HISTORY),
        momentum_loss=torch.zeros(0, len(inputs.index)), epochs_kept=[],
        labels=torch.from_numpy(inputs.labels), index=torch.from_numpy(np.asarray(inputs.index)),
        class_counts=counts, group_counts=counts,
        networks={"encoder": encoder, "classifier": CosineClassifier(encoder.dim, 4)},
    )  # fmt: skip
    (tmp_path / "run").mkdir()
    runs.begin(tmp_path / "run", config)
    runs.save(run, tmp_path / "run", [LAPTOP], splits.data_digest(inputs))
    return run, tested


def test_a_classifiers_rows_are_its_own_answers_about_the_test_images(labelled):
    run, tested = labelled
    rows = probe.classifier_rows(run.folder)
    images = data.read_arrays(run.config.data, "test").images
    with torch.no_grad():
        features = run.encoder(torch.from_numpy(np.asarray(images)) / 255)
        guess = run.network("classifier")(features).argmax(1).numpy()
    right = [(guess == tested)[tested == label].mean() for label in (0, 2, 3)]
    found = rows.set_index("group")["accuracy"]
    assert found["all"] == pytest.approx(np.mean(right)) and found["top5"] == 1
    assert found[["many", "medium", "few"]].tolist() == pytest.approx(right)
    about = about_run(run.config, "encoder") | {
        "test": run.config.data, "protocol": "classifier", "groups": "thirds", "untested": "1",
        "shots": "own labels", "list": "training split", "list_source": "split",
        "list_sha256": splits.split_digest(run.index.numpy()), "images": 22,
    }  # fmt: skip
    for name, value in about.items():
        assert set(rows[name]) == {value}, name


def test_a_classifier_is_tested_on_what_is_asked_for(labelled, tmp_path):
    run, tested = labelled
    other = f"npz:{tmp_path}/other_test.npz"
    np.savez(
        tmp_path / "other_test.npz", images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.arange(4)
    )
    rows = probe.classifier_rows(str(run.folder), other, "counts")
    assert set(rows["test"]) == {other} and set(rows["untested"]) == {""}
    assert set(rows["groups"]) == {"counts"} and set(rows["group"]) == {"all", "top5"}
    for part in ("train", "test"):
        (tmp_path / f"a_{part}.npz").rename(tmp_path / f"b_{part}.npz")
    moved = f"npz:{tmp_path}/b_train.npz"
    assert set(probe.classifier_rows(run.folder, data=moved)["data"]) == {moved}
    arrays = dict(np.load(tmp_path / "b_train.npz"))
    np.savez(tmp_path / "b_train.npz", **arrays | {"labels": arrays["labels"][::-1]})
    with pytest.raises(ConfigError, match="b_train.npz here has other labels than the run had"):
        probe.classifier_rows(run.folder, data=moved)


# --- features of many images -------------------------------------------------------------------


def test_images_are_embedded_whole_or_by_their_positions(tmp_path, monkeypatch):
    assert streaming.PART == 2**26
    images, seen = np.arange(24, dtype=np.uint8).reshape(8, 3, 1, 1), []

    def embed(part):
        seen.append(len(part))
        return part.flatten(1).float()

    assert streaming.embed_images(embed, images)[:, 0].tolist() == list(range(0, 24, 3))
    assert streaming.embed_images(embed, images, np.array([2, 0]))[:, 0].tolist() == [6, 0]
    assert streaming.in_memory(images, np.array([2, 0]), "x")[:, 0].flatten().tolist() == [6, 0]
    for number in range(5):
        Image.fromarray(np.full((40, 40, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "a_train.txt").write_text("".join(f"{k}.png {k % 2}\n" for k in range(5)))
    pack(tmp_path, tmp_path / "a.pack", [tmp_path / "a_train.txt"])
    stored = data.read_arrays(f"pack:{tmp_path}/a.pack@32", "train").images
    for part, sizes in ((3 * 32**2 * 2, [2, 2, 1]), (1, [1] * 5)):
        monkeypatch.setattr(streaming, "PART", part)
        seen.clear()
        assert streaming.embed_images(embed, stored)[:, 0].tolist() == list(range(5))
        assert seen == sizes
    assert streaming.embed_images(embed, stored, np.array([4, 1]))[:, 0].tolist() == [4, 1]
    with pytest.raises(ConfigError) as caught:
        streaming.in_memory(stored, np.array([0]), "this")
    assert str(caught.value) == (
        "this needs its images in memory, as small as CIFAR's; of a pack or a large folder "
        "give --protocol bcl, logistic, knn or finetune, on features of the encoder"
    )
