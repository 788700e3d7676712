"""Data of one's own from end to end: run, probe, report and explore, on what people have."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from ltcl_helpers import cli, explorer, files, pretrain, probe, report
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.report import page

SIZES = [40, 30, 20, 14, 10, 8]


def picture(number, draw):
    """A noisy picture that its class can be told from."""
    made = draw.integers(0, 60, (16, 16, 3), dtype=np.uint8)
    made[..., number % 3] += np.uint8(60 + number * 37 % 100)
    made[number * 2 :][:3] = 200
    return made


def save(path, labels, **more):
    draw = np.random.default_rng(0)
    images = np.stack([picture(number, draw) for number in labels])
    np.savez(path, images=images, labels=labels, **more)


def train(folder, name, **given):
    """A tiny run, of an epoch or of no boost as it is asked for."""
    given = dict(data=f"npz:{folder}/{name}_train.npz", split="all", preset="tiny") | given
    out = folder / given.pop("out", name)
    config = RunConfig(device="cpu", batch_size=32, width=2, epochs=given.pop("epochs", 1), **given)
    return pretrain.pretrain(config, out)


def ask(folder, *shots, **given):
    """Probe a run and keep the rows."""
    rows = probe.probe_run(folder, shots or ("full",), protocol="logistic", **given)
    probe.save_probe(folder, rows)
    return rows


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Runs on data that are long-tailed, of one class, of two classes."""
    folder = tmp_path_factory.mktemp("own")
    sets = {"tail": SIZES, "pile": [40], "two": [40, 12]}
    for name, sizes in sets.items():
        save(folder / f"{name}_train.npz", np.repeat(np.arange(len(sizes)), sizes))
        save(folder / f"{name}_test.npz", np.repeat(np.arange(len(sizes)), 4))
        train(folder, name)
    train(folder, "tail", method="bcl-i", out="boosted")
    return folder


@pytest.fixture
def copied(place, tmp_path):
    """Those in a folder of the test's own."""
    shutil.copytree(place, tmp_path / "own")
    for config in (tmp_path / "own").glob("*/config.json"):
        assert str(place) in config.read_text()  # data are named by their first place
    return tmp_path / "own"


def words_of(path):
    """A page's text, without the figures."""
    return re.sub(r'src="data:[^"]*"', "", path.read_text(encoding="utf-8"))


# --- classes that are not everywhere ----------------------------------------------------------


def test_a_class_without_a_test_image_is_named_and_in_no_number(place, tmp_path, capsys):
    tested = f"npz:{tmp_path}/fewer_test.npz"
    save(tmp_path / "fewer_test.npz", np.repeat([0, 1, 2, 4, 5], 4))
    shutil.copytree(place / "tail", tmp_path / "run")
    call = ["probe", str(tmp_path / "run"), "--shots", "full,5", "--protocol", "logistic"]
    assert cli.main([*call, "--test", tested]) == 0
    said = capsys.readouterr().out
    assert "nan" not in said and "Without a test image, and so in no mean: class 3." in said
    rows = files.read_parquet(tmp_path / "run" / "probe.parquet")
    assert {"many", "medium", "few", "std"} <= set(rows["group"]) and rows["accuracy"].notna().all()
    for per_class in rows["per_class"].dropna():
        assert len(per_class) == 6 and np.flatnonzero(np.isnan(per_class)).tolist() == [3]

    # The only rows of this run are of another test set: they are shown, and said to be.
    written = page.write([tmp_path / "run"], tmp_path / "page.html")
    text = words_of(tmp_path / "page.html")
    assert "nan" not in text and "in no mean: class 3." in text
    assert f"Tested on {tested}, not on a test part of the run" in text
    assert "class 3" not in set(written.rows["group"])
    assert {f"class {k}" for k in (0, 1, 2, 4, 5)} <= set(written.rows["group"])


def test_a_group_without_a_tested_class_leaves_no_groups(place, tmp_path):
    save(tmp_path / "head_test.npz", np.repeat([0, 1, 2, 3], 4))
    rows = probe.probe_run(place / "tail", ("full",), None, f"npz:{tmp_path}/head_test.npz", "knn")
    assert set(rows["group"]) == {"all", "top5"} and set(rows["untested"]) == {"4, 5"}
    assert "class 4, 5" in report.probe_table(rows)


def test_a_runs_own_classifier_is_tested_by_the_same_rules(place, tmp_path):
    run = train(place, "tail", method="cross-entropy", out=tmp_path / "labelled")
    save(tmp_path / "fewer_test.npz", np.repeat([0, 1, 2, 4, 5], 4))
    rows = probe.classifier_rows(run.folder, f"npz:{tmp_path}/fewer_test.npz")
    assert set(rows["untested"]) == {"3"} and rows["accuracy"].notna().all()
    save(tmp_path / "more_test.npz", np.arange(8) % 8)
    with pytest.raises(ConfigError, match="images of class 6, 7, which the training part lacks"):
        probe.classifier_rows(run.folder, f"npz:{tmp_path}/more_test.npz")


def test_labelled_lists_of_one_class_or_of_more_images_than_there_are(place, tmp_path, capsys):
    np.save(tmp_path / "split1_test_9shot.npy", np.arange(9))
    with pytest.raises(ConfigError, match="has no image of 5 of the 6 classes; is it the list of"):
        probe.probe_run(place / "tail", ("9",), tmp_path, protocol="logistic")
    assert cli.main(["probe", str(place / "tail")]) == 2  # 100 shots, unless it is told otherwise
    said = capsys.readouterr().err
    assert "shots is 100, but the smallest class has 8 images" in said and "--shots full" in said


@pytest.mark.parametrize("compensation", [0.0, 1.0])
def test_a_list_that_leaves_a_class_out_trains_with_labels_too(place, tmp_path, compensation):
    """No image of class 5 is in the list: the logarithm of its share is infinite."""
    np.save(tmp_path / "list.npy", np.arange(sum(SIZES[:5])))
    given = dict(
        method="cross-entropy", compensation=compensation, split=str(tmp_path / "list.npy")
    )
    run = train(place, "tail", out=tmp_path / "run", **given)
    assert run.class_counts.tolist() == [*SIZES[:5], 0]
    assert np.isfinite(run.history["loss"]).all()
    rows = probe.classifier_rows(run.folder)
    assert rows["accuracy"].notna().all() and rows["per_class"].dropna().iloc[0][5] == 0


# --- one class, two classes -------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["bcl", "logistic", "knn", "sdclr"])
def test_one_class_is_refused_by_every_probe(place, protocol, capsys):
    call = ["probe", str(place / "pile"), "--shots", "full", "--protocol", protocol]
    assert cli.main(call) == 2
    said = capsys.readouterr().err
    assert said.startswith("ltcl: the run's data have one class only (0)") and "explore" in said
    with pytest.raises(ConfigError, match="one class only"):
        probe.probe_run(place / "pile", ("full",), protocol=protocol)


def test_one_class_has_a_page_in_report_and_explorer(place, tmp_path):
    explorer.export_html(place / "pile", tmp_path / "explore.html")
    page.write([place / "pile"], tmp_path / "page.html")
    text = words_of(tmp_path / "page.html")
    assert "There is no accuracy here" in text and "nan" not in text and "Time and device" in text
    assert "Not recorded" not in text


@pytest.mark.parametrize("method", ["cross-entropy", "balanced-cl"])
def test_one_class_teaches_no_method_that_learns_from_labels(place, tmp_path, method):
    with pytest.raises(ConfigError, match=f"{method} learns from labels, and these are of one"):
        train(place, "pile", method=method, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_two_classes_have_neither_groups_nor_a_signal(place, copied, tmp_path):
    rows = ask(copied / "two")
    assert set(rows["group"]) == {"all", "top5"}
    page.write([copied / "two"], tmp_path / "page.html")
    text = words_of(tmp_path / "page.html")
    assert "nan" not in text and "three or more classes of different sizes" in text
    explorer.export_html(place / "two", tmp_path / "explore.html")


# --- a boosted run without its control ----------------------------------------------------------


def test_a_boosted_run_without_its_control_is_named_on_the_page(place, copied, tmp_path):
    ask(copied / "boosted")
    page.write([copied / "boosted"], tmp_path / "one.html")
    alone = words_of(tmp_path / "one.html")
    ask(copied / "tail")
    page.write([copied / "boosted", copied / "tail"], tmp_path / "two.html")
    beside = words_of(tmp_path / "two.html")
    for text in (alone, beside):
        assert (
            "BCL-I is left out" in text and "ltcl run --method simclr --set boost=shuffled" in text
        )
        assert "nan" not in text and "Not recorded" not in text
    assert "<td>SimCLR</td>" in beside and "<td>SimCLR</td>" not in alone
    # Of the same data, by the name that the others have for them.
    same = f"npz:{place}/tail_train.npz"
    train(copied, "tail", boost="shuffled", out="control", data=same)
    ask(copied / "control")
    page.write([copied / n for n in ("boosted", "tail", "control")], tmp_path / "three.html")
    assert "left out" not in words_of(tmp_path / "three.html")


# --- data that changed, sizes that differ -----------------------------------------------------


def test_probe_and_explorer_ask_one_function_whether_data_are_the_runs(place, tmp_path):
    for name in ("tail_train.npz", "tail_test.npz"):
        shutil.copy(place / name, tmp_path / name)
    run = train(tmp_path, "tail")
    arrays = dict(np.load(tmp_path / "tail_train.npz"))
    for changed, says in (
        (arrays | {"labels": np.roll(arrays["labels"], 1)}, "has other labels than the run had"),
        ({name: part[:90] for name, part in arrays.items()}, "the run had more"),
    ):
        np.savez(tmp_path / "tail_train.npz", **changed)
        with pytest.raises(ConfigError, match=says):
            probe.probe_run(run.folder, ("full",), protocol="logistic")
        assert says in explorer.open_run(run.folder).no_images


def test_a_test_part_of_another_size_is_refused(place, tmp_path):
    images = np.zeros((12, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "small_test.npz", images=images, labels=np.arange(12) % 6)
    for kind in ("encoder", "pixels"):
        with pytest.raises(ConfigError, match="8 x 8 pixels, those of training are 16 x 16"):
            probe.probe_run(
                place / "tail", ("full",), None, f"npz:{tmp_path}/small_test.npz", kind=kind
            )


def test_seventy_three_photos_go_the_readmes_way(tmp_path):
    """ "Your images in ten lines", with fewer photos than a batch, and less of a network."""
    draw = np.random.default_rng(0)
    for part, sizes in (("train", [40, 20, 13]), ("test", [3, 3, 3])):
        for number, size in enumerate(sizes):
            folder = tmp_path / "photos" / part / f"class {number}"
            folder.mkdir(parents=True)
            for k in range(size):
                Image.fromarray(picture(number, draw)).save(folder / f"{k}.jpg")
    data = f"folder:{tmp_path}/photos@32"
    config = RunConfig(data=data, split="all", preset="quick", epochs=1, width=4, device="cpu")
    run = pretrain.pretrain(config, tmp_path / "run")
    rows = ask(run.folder)
    assert {"many", "medium", "few", "all"} <= set(rows["group"])
    assert run.momentum_loss.shape == (1, 73)
