"""What the page and the widget get of small histories, key by key, and the tables of Python."""

import email.message
import importlib
import importlib.metadata
import io
import json
import typing

import numpy as np
import pytest
import torch
from explorer.browsing import FIRST
from explorer.small import FEATURES, IMAGES, LABELS, LOSS, NAMES, boosted, small
from PIL import Image
from report.recording import config as config_of
from report.recording import record

from ltcl_helpers import __version__, recipes
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.explorer import (
    History,
    bundle,
    from_arrays,
    open_run,
    orders,
    page,
    still,
    truth,
    widget,
)
from ltcl_helpers.explorer import history as history_module
from ltcl_helpers.explorer import payload as make
from ltcl_helpers.report import plots

payload_module = importlib.import_module("ltcl_helpers.explorer.payload")


def part(meta, data, name, kind):
    start, length = meta["arrays"][name]
    assert start % 8 == 0
    return np.frombuffer(data[start : start + length], kind)


def test_a_description_of_losses_alone():
    meta, data, runs = make(from_arrays(np.ones((2, 3)), epochs=[4, 9]))
    bands = {"all": [[1.0] * 3] * 2}
    run = {"label": "momentum loss", "steer": "none", "scale": 1.0, "note": "plain views",
           "strength": [[10.0, 10.0], [10.0, 10.0]], "origin": {}, "type": "float16",
           "bands": bands}  # fmt: skip
    run["strength"] = meta["runs"][0]["strength"]
    assert meta == {
        "samples": 3, "classes": [{"name": "sample", "size": 3, "group": "all", "rarity": 0.0}],
        "labelled": False, "data": "", "epochs": [4, 9], "used": [[5, 0], [10, 1]],
        "over": "the run was over", "drawable": False,
        "colours": plots.COLOURS, "notes": [], "kit": __version__, "docs": payload_module._docs(),
        "aboutLabels": "No labels were given: every sample is one mark of the same kind.",
        "runs": [run], "live": False, "arrays": {"labels": [0, 6], "loss0": [8, 12]},
    }  # fmt: skip
    assert len(data) == 8 + 16 and len(runs) == 1


def test_a_description_of_labels_images_features_and_truth():
    run = small(images=IMAGES, features=FEATURES,
                memorization=np.arange(10.0))  # fmt: skip
    run.index = np.arange(10) + 70_000
    run.origin = {"seed": "3"}
    meta, data, _ = make(run)
    assert [list(c.values()) for c in meta["classes"]] == [
        ["ant", 6, "many", 0.0], ["bee", 3, "medium", pytest.approx(0.5, abs=0.2)],
        ["cow", 1, "few", 1.0],
    ]  # fmt: skip
    assert meta["labelled"] and meta["side"] == 16 and not meta["live"]
    assert (
        meta["runs"][0]["origin"] == {"seed": "3"}
        and meta["runs"][0]["bands"]["few"][0] == [None] * 3
    )
    text = "Labels are used here for looking only: colours, columns and search."
    assert meta["aboutLabels"] == text
    assert meta["notes"] == [
        "Memorization is measured by leaving out: by how much a sample's loss rises when training "
        "does without it. It is of these samples, not of these runs.",
        "Thumbnails are lossy pictures of 16 x 16 px.",
    ]
    assert list(meta["arrays"]) == ["labels", "index", "loss0", "projection0", "neighbours0",
                                    "memorization", "sheet0"]  # fmt: skip
    assert part(meta, data, "labels", np.uint16).tolist() == LABELS.tolist()
    assert part(meta, data, "index", np.int32).tolist() == list(range(70_000, 70_010))
    shown = part(meta, data, "loss0", run.momentum_loss.dtype).reshape(4, 10)
    np.testing.assert_array_equal(shown, run.momentum_loss)
    assert part(meta, data, "memorization", np.float32).tolist() == list(range(10))
    nearest = part(meta, data, "neighbours0", np.int32).reshape(10, 10)
    assert (nearest == orders.neighbours(run.features)).all() and (nearest[:, 9] == -1).all()
    if meta["runs"][0]["projection"] == "PCA":
        flat = part(meta, data, "projection0", np.float32).reshape(10, 2)
        middle = run.features - run.features.mean(0)
        assert np.var(flat, axis=0).sum() == pytest.approx(
            np.sort(np.linalg.eigvalsh(middle.T @ middle / 10))[1:].sum(), rel=1e-4
        )


def test_the_documentation_is_where_the_package_says(monkeypatch):
    said = email.message.Message()
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: {"ltcl-helpers": said}[name])
    assert payload_module._docs() == ""
    said["Project-URL"] = "Repository, https://a.example/b"
    assert payload_module._docs() == "https://a.example/b"
    said["Project-URL"] = "Documentation, https://a.example/x, y"
    assert payload_module._docs() == "https://a.example/x, y"

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "metadata", absent)
    assert payload_module._docs() == ""


def test_a_boost_is_told_with_its_strengths():
    meta, _, runs = make(boosted(), boosted("memory", boost_scale=0.5, boost_noise=0.25))
    plain, other = meta["runs"]
    assert (plain["steer"], plain["note"], plain["scale"]) == ("none", "plain views", 1.0)
    assert (other["label"], other["steer"], other["scale"]) == ("memory", "own", 0.5)
    assert other["note"] == (
        "the sample's own score; all scores times 0.5; 25% of the samples have another's score, "
        "drawn each epoch"
    )
    assert plain["strength"][0] == plain["strength"][0][:1] * 2 and len(runs) == 2
    low, high = np.array(other["strength"])
    assert low[0] <= low[1] <= high[1] and low[0] <= high[0] and high[1] > low[0]
    assert meta["live"] and "views" not in meta
    assert meta["aboutLabels"].endswith("search. Training never saw them.")
    caution = runs[0].config.caution
    notes = [f"none: {caution}.", f"memory: {runs[1].config.caution}."]
    if caution == runs[1].config.caution:
        notes = [f"none and memory: {caution}."]
    assert meta["notes"][: len(notes)] == notes


def test_every_boost_is_steered_by_something_that_the_page_knows():
    boosts = typing.get_args(RunConfig.model_fields["boost"].annotation)
    steers = {boost: payload_module.STEERS[boost][0] for boost in boosts}
    aims = {boost: steers.pop(boost) for boost in recipes.AIM_OF}
    assert set(aims.values()) == {"aim"} and steers == {
        "none": "none", "memory": "own", "constant": "mean", "inverted": "inverted",
        "oracle": "class", "oracle-shuffled": "other", "oracle-values": "other",
        "shuffled": "other",
    }  # fmt: skip


def test_a_page_holds_views_at_three_epochs():
    meta, data, (run, _) = make(boosted(), boosted("memory"), views=True)
    views = meta["views"]
    assert not meta["live"] and sorted(views["samples"]) == list(range(10))
    assert views["rows"] == [0, 2, 3] and meta["used"] == [[1, -1], [2, 0], [3, 1], [4, 2]]
    first, second = views["used"]
    assert first == [[0.0] * 10] * 3 and second[0] == [0.0] * 10
    scores = boosted("memory").scores()[1][views["samples"]]
    assert second[1] == pytest.approx(scores.tolist(), abs=1e-4)
    start, length = meta["arrays"]["views1"]
    assert Image.open(io.BytesIO(data[start : start + length])).size == (8 * 16, 30 * 16)


def test_long_histories_and_many_samples_are_cut_and_say_so(monkeypatch):
    monkeypatch.setattr(payload_module, "MOST_EPOCHS", 3)
    monkeypatch.setattr(payload_module, "MOST_IMAGES", 9)
    monkeypatch.setattr(payload_module, "MANY", 9)
    run = small(images=IMAGES, features=FEATURES)
    run.epochs = [1, 2, 5, 9]
    run.notes = ["A note.", "", "A note."]
    meta, _, _ = make(run)
    assert meta["epochs"] == [1, 5, 9]
    assert meta["notes"] == [
        "A note.",
        "10 samples: the page takes some seconds to open, and a mark is one pixel; hide groups or "
        "zoom to see single ones.",
        "3 of 4 kept epochs are shown.", "No thumbnails: more than 9 samples.",
    ]  # fmt: skip
    assert "side" not in meta and "neighbours0" not in meta["arrays"]
    assert "projection0" in meta["arrays"]
    run.images, run.no_images = None, "No images (/a b/here/data.npz is not there)."
    assert make(run)[0]["notes"][0].startswith("No images (")


def test_a_page_of_the_last_epoch_alone_has_no_views_and_says_why():
    run = boosted("memory")
    run.momentum_loss, run.epochs = run.momentum_loss[-1:], [4]
    meta, _, _ = make(run, views=True)
    assert meta["used"] == [None] and "views" not in meta
    assert meta["drawable"] and not meta["live"] and meta["over"] == "the run was over"
    longer = boosted()
    longer.config = longer.config.model_copy(update={"epochs": 6})
    assert make(boosted(), longer)[0]["over"] == "one of the two runs was over"


@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (3, 1), (10, 5)])
def test_a_map_of_few_samples_has_two_dimensions(shape):
    how, flat = payload_module._project(np.random.default_rng(0).normal(size=shape))
    assert how == "PCA" and flat.shape == (shape[0], 2) and np.isfinite(flat).all()


def test_images_that_stay_in_their_files_are_not_read_to_check_them(monkeypatch):
    run = small(images=IMAGES)
    run.images = object.__new__(history_module.Stored)
    assert history_module.checked(run).images is run.images


def test_pages_name_no_folder():
    text = "see /srv/me/data/a.npz, or 'C:\\data\\me\\b.npz'; not 1/2"
    assert history_module.without_folders(text) == "see …/a.npz, or '…/b.npz'; not 1/2"
    run = boosted()
    run.config = run.config.model_copy(update={"data": "npz:/srv/me/a.npz"})
    assert make(run)[0]["data"] == "npz:a.npz"
    run.config = run.config.model_copy(update={"data": "shapes"})
    assert make(run)[0]["data"] == "shapes"


# --- runs -----------------------------------------------------------------------------------


def test_a_recorded_run_opens_with_what_it_lacks(tmp_path):
    folder = record(tmp_path / "study" / "sdclr-3", config_of("sdclr", 3, data="npz:gone.npz"))
    run = open_run(str(folder))
    assert run.label == "SDCLR" and run.kept == [1, 30] and run.encoder is None
    assert run.class_names == tuple(f"class {k}" for k in range(6)) and run.images is None
    assert run.notes == ["SDCLR: recorded without its weights, so there is no map of its features."]
    assert run.no_images.startswith("No images (") and run.no_images.endswith(
        "). To see them, put the data in that place, or open the run with them: "
        "run = explorer.open_run(FOLDER), then run.images = uint8 [N, 3, H, W]."
    )
    assert open_run(folder, images=False).no_images == ""
    origin = run.origin
    assert origin["run"] == "study/sdclr-3" and origin["seed"] == "3"
    assert origin["configuration"] == run.config.digest()[:12]
    name, digest = origin["split"].split()
    assert name == "cifar100_split1_D_i.npy" and len(digest) == 12
    assert run.groups().tolist() == ["many"] * 11 + ["medium"] * 7 + ["few"] * 3
    assert run.scores().shape == (2, 21) and run.scores().dtype == np.float32
    empty = record(tmp_path / "x", config_of("simclr", epochs=0), epochs=())
    with pytest.raises(ConfigError) as error:
        open_run(empty)
    assert str(error.value) == (
        f"{empty} is an untrained encoder: it has no loss history to show; `ltcl probe {empty}` "
        "says what the encoder is worth, explorer.from_arrays shows losses of another training loop"
    )


def test_weights_of_other_code_have_no_history(tmp_path):
    weights = f"moco:{'0' * 64}"
    run = config_of("simclr", epochs=0, weights=weights)
    folder = record(tmp_path / "x", run, epochs=())
    with pytest.raises(ConfigError, match="x holds weights that other code made: it has no loss"):
        open_run(folder)


def test_images_are_taken_up_to_a_limit_and_names_always(monkeypatch):
    for most, there in ((2609, True), (2608, False)):
        monkeypatch.setattr(history_module, "MOST_IMAGES", most)
        run = open_run(FIRST)
        assert (run.images is not None) == there and "class 0" not in run.class_names
    assert run.no_images == ""


def test_groups_follow_the_rule_of_the_run_and_the_sizes_it_was_given():
    run = small()
    run.group_counts = np.array([1, 2, 300])
    assert run.classes()[3] == ["few", "medium", "many"]
    run.config = RunConfig(preset="tiny", groups="counts")
    run.group_counts = np.array([300, 200, 3])
    assert run.classes()[3] == ["all"] * 3  # nobody is medium
    run.group_counts = np.array([300, 50, 3])
    assert run.classes()[3] == ["many", "medium", "few"]
    assert run.classes()[2].tolist() == [6, 3, 1]
    run.class_names = (*NAMES, "dog")
    assert run.classes()[2].tolist() == [6, 3, 1, 0]


def test_what_is_set_by_hand_is_made_right():
    run = History(LOSS, epochs=np.array([1, 2, 3, 9]), labels=LABELS.tolist(),
                  images=np.ones((10, 8, 8, 3)), features=np.ones((10, 2), int),
                  memorization=list(range(10)))  # fmt: skip
    found = open_run(run)
    assert found is run and found.momentum_loss.dtype == np.float16 and found.epochs == [1, 2, 3, 9]
    assert found.labels.dtype == np.int64 and found.class_names == ("class 0", "class 1", "class 2")
    assert found.images.shape == (10, 3, 8, 8) and found.images.max() == 255
    assert found.features.dtype == found.memorization.dtype == np.float32
    for wrong in (dict(labels=[0]), dict(features=np.ones((9, 2))), dict(memorization=[1])):
        with pytest.raises(ConfigError, match="for 10 samples"):
            open_run(History(LOSS, **wrong))
    with pytest.raises(ConfigError, match="allowed are numbers"):
        open_run(History(np.ones(5)))


def test_truth_names_data_split_and_order(tmp_path):
    run = boosted()
    with pytest.raises(ConfigError) as error:
        truth.memorization_of(run, tmp_path)
    split = f"shapes, {run.config.split}, split seed 0"
    assert str(error.value) == (
        f"no memorization by leaving out for none, which is of {split}; {tmp_path} has none; next: "
        "experiments/leave_out.py, or a run of that split"
    )
    mirrored = run.config.model_copy(update={"mirrored": True})
    assert truth.split_of(mirrored) == f"{split}, mirrored"
    for name in ("b-01.npz", "b-00.npz", "a-x-10.npz", "c-1.npz", "c-00.txt"):
        (tmp_path / name).touch()
    assert truth._kinds(tmp_path) == ["a-x", "b"]
    with pytest.raises(ConfigError, match="which is of losses of another loop"):
        truth.memorization_of(small(), tmp_path / "none")


# --- the page and the widget ----------------------------------------------------------------


def test_the_page_holds_its_description_and_no_tag_of_a_name(tmp_path):
    run = from_arrays(LOSS, LABELS, class_names=("<a>", "b", "</script>"))
    run.label = "<mine>"
    out = page.export_html(run, tmp_path / "new" / "a.html", small_like(run))
    text = out.read_text(encoding="utf-8")
    assert out == tmp_path / "new" / "a.html"
    assert "<title>&lt;mine&gt; and other: memorization explorer</title>" in text
    description = text.split('id="meta">')[1].split("</script>")[0]
    assert "<" not in description
    assert [c["name"] for c in json.loads(description)["classes"]] == ["<a>", "b", "</script>"]
    script = text.split('<script type="module">')[1].split("</script>")[0]
    assert script == f"{bundle.script()}\nopenPage(document);\n" and "\nimport " not in script
    assert "\nexport {" not in script and "\nexport function" not in script
    assert page._hash("") == "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    policy = text.split('Content-Security-Policy" content="')[1].split('"')[0]
    assert policy == (
        f"default-src 'none'; script-src '{page._hash(script)}'; style-src "
        f"'{page._hash(bundle.style())}'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    assert set(bundle.MODULES) == {file.stem for file in bundle.FRONT.glob("*.mjs")}


def small_like(run):
    other = from_arrays(LOSS[:, ::-1], run.labels, class_names=run.class_names)
    other.label = "other"
    return other


@pytest.fixture
def live():
    run = small(features=FEATURES)
    run.index = np.arange(10) * 7
    return widget.Explorer(run)


def test_a_selection_is_a_table_with_every_column(live):
    live.selection = (9, 0)
    table, (run,) = live.table(), live._histories
    scores = run.scores()
    learnt = orders.learnt(run.momentum_loss, run.groups(), [1, 2, 3, 4])
    assert table.to_dict("list") == {
        "sample": [9, 0], "position": [63, 0], "class": ["cow", "ant"], "size": [1, 6],
        "group": ["few", "many"], "score, mine": pytest.approx(scores[3, [9, 0]].tolist()),
        "loss, mine": run.momentum_loss[3, [9, 0]].tolist(),
        "learnt in epoch, mine": pytest.approx(learnt[[9, 0]].tolist(), nan_ok=True),
        "hardest": run.momentum_loss[3, [9, 0]].tolist(),
    }  # fmt: skip
    assert list(widget.Explorer(from_arrays(np.ones((1, 3)))).table(2)) == [
        "sample", "score, momentum loss", "loss, momentum loss", "learnt in epoch, momentum loss",
        "hardest",
    ]  # fmt: skip
    live.selection, live.epoch = [], 2
    assert live.table().empty and list(live.table().columns) == list(table.columns)
    for sort, key in {
        "hardest": orders.hardest(run.momentum_loss, 1),
        "easiest": orders.easiest(run.momentum_loss, 1),
        "falling": orders.falling(run.momentum_loss, 1),
        "wandering": orders.wandering(run.momentum_loss),
        "learnt": learnt,
    }.items():
        live.sort = sort
        shown = live.table(3)
        assert shown["sample"].tolist() == orders.largest(key, 3).tolist()
        assert shown[sort].tolist() == pytest.approx(key[shown["sample"]].tolist())
    live.sort, live.focus = "near", 4
    nearest = orders.neighbours(run.features)[4]
    assert live.table(3)["sample"].tolist() == [4, *nearest[:2]]
    assert live.table(3)["near"].tolist() == [0, -1, -2] and len(live.table(99)) == 10
    live.focus = None
    assert live.table(3).empty


def test_two_runs_have_their_difference_and_refusals_name_what_is_allowed(live):
    first, second = small(), small_like(small())
    second.momentum_loss[1, 3] = np.nan
    both = widget.Explorer(first, second)
    both.epoch, both.sort = 2, "difference"
    apart = np.abs(second.scores()[1] - first.scores()[1])
    apart[3] = np.nan
    table = both.table(10)
    assert table["sample"].tolist() == orders.largest(apart, 9).tolist() and len(table) == 9
    assert "loss, mine" in table and "loss, other" in table
    for one, name, value, said in (
        (both, "sort", "near", "sort is 'near'; allowed here are hardest, easiest, falling, "
         "wandering, learnt, difference"),
        (live, "sort", "difference", "sort is 'difference'; allowed here are hardest, easiest, "
         "falling, wandering, learnt, near"),
        (live, "epoch", 9, "epoch is 9, which is not shown; the nearest is 4"),
        (live, "focus", 10, "focus has sample 10; allowed are 0 to 9"),
        (live, "focus", -1, "focus has sample -1; allowed are 0 to 9"),
        (live, "focus", 1.5, "focus has 1.5; allowed are whole numbers"),
        (live, "selection", 3, "selection is 3; allowed is a list of sample numbers"),
        (live, "selection", ["a"], "selection has 'a'; allowed are whole numbers"),
        (live, "selection", [10], "selection has sample 10; allowed are 0 to 9"),
    ):  # fmt: skip
        before = getattr(one, name)
        with pytest.raises(ConfigError) as error:
            setattr(one, name, value)
        assert str(error.value) == said and getattr(one, name) == before
    live.selection = np.array([0, 9])
    assert live.selection == [0, 9] and all(type(k) is int for k in live.selection)


def test_a_widget_opens_at_the_end_at_its_hardest_sample(live):
    loss = live._histories[0].momentum_loss
    assert (live.epoch, live.sort, live.selection) == (4, "hardest", [])
    assert live.focus == int(loss[-1].argmax())
    unseen = LOSS.copy()
    unseen[-1] = np.nan
    assert widget.Explorer(from_arrays(unseen)).focus == 0
    traits = {name: live.trait_metadata(name, "sync") for name in
              ("_meta", "_data", "selection", "focus", "epoch", "sort")}  # fmt: skip
    assert set(traits.values()) == {True}


def test_the_kernel_answers_with_the_views_of_each_run(monkeypatch):
    live = widget.Explorer(boosted(), boosted("memory"))
    sent = []
    monkeypatch.setattr(live, "send", lambda *what: sent.append(what))
    live._reply(None, {"sample": "4", "row": 2}, [])
    ((about, images),) = sent
    score = live._histories[1].scores()[1, 4]
    assert about == {"sample": 4, "row": 2, "used": [0.0, pytest.approx(score)]}
    assert len(images) == 2 and all(image[8:12] == b"WEBP" for image in images)
    shown = []
    monkeypatch.setattr(widget, "display", lambda *what, **how: shown.append((what[0], how)))
    live.epoch = 2
    live._ipython_display_()
    assert shown[0][0].metadata == {"alt": "map and loss curves of the explorer's runs"}
    assert shown[0][0].data == still.png(live._histories, 2) and shown[1][1] == {"raw": True}


def test_features_come_from_the_encoder_where_there_is_one():
    run = boosted()
    run.encoder = torch.nn.Sequential(torch.nn.AvgPool2d(16), torch.nn.Flatten())
    found = payload_module.features_of(run)
    assert found.shape == (10, 3) and found is run.features
    np.testing.assert_allclose(found, run.images.mean((2, 3)) / 255, rtol=1e-4)
    assert payload_module.features_of(small()) is None
