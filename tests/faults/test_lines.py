"""Lines that decide a number and could once be changed unseen: what they must do, one by one.

Mostly of the kind where a well-tested function is handed the wrong thing.
"""

import io
import os
import random
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ltcl_helpers import cli, explorer, pretrain, probe, report, runs
from ltcl_helpers.batch import cell, grid, plan
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import read_arrays, splits
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.explorer import pictures
from ltcl_helpers.methods.memory import memorization_score
from ltcl_helpers.pretrain import keeper
from ltcl_helpers.probe import run as probe_room
from ltcl_helpers.recipes import load_method
from ltcl_helpers.report import study, tables
from ltcl_helpers.views import boosting, simclr_view

SMALL = dict(preset="tiny", device="cpu", batch_size=8, epochs=2)
SIZES = (12, 6, 3)  # of the long tail's classes
KNN = {"protocol": "knn", "features": "encoder", "shots": "full", "lists": None}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs on one .npz: of a long-tail list, of its balanced partner, and a supervised one."""
    folder = tmp_path_factory.mktemp("lines")
    draw = np.random.default_rng(0)
    for part, each in (("train", 20), ("test", 6)):
        labels = np.arange(3 * each) % 3
        images = draw.integers(0, 256, (len(labels), 8, 8, 3), np.uint8)
        np.savez(folder / f"a_{part}.npz", images=images, labels=labels)
    labels = read_arrays(f"npz:{folder}/a_train.npz").labels
    own = [np.flatnonzero(labels == c) for c in range(3)]
    tail = np.concatenate([places[:n] for places, n in zip(own, SIZES, strict=True)])
    flat = np.concatenate([places[:7] for places in own])
    for name, index in (("D_i", tail), ("D_b", flat)):
        np.save(folder / f"toy_split1_{name}.npy", draw.permutation(index))
    for name, split, method in (
        ("tail", "D_i", "bcl-i"), ("plain", "D_i", "simclr"), ("flat", "D_b", "simclr"),
        ("supervised", "D_b", "cross-entropy"),
    ):  # fmt: skip
        given = dict(SMALL, data=f"npz:{folder}/a_train.npz", method=method)
        given["split"] = str(folder / f"toy_split1_{split}.npy")
        pretrain.pretrain(RunConfig(**given), folder / name)
        rows = probe.probe_run(folder / name, ("full",), protocol="knn")
        probe.save_probe(folder / name, rows)
    return folder


# --- probes: what is handed to them, and what counts as done ----------------------------------


def test_the_sdclr_probe_chooses_its_epoch_on_the_validation_images(made, monkeypatch):
    calls, real = [], probe_room.fit_sdclr

    def watch(embed, images, labels, validation, classes, schedule, *more):
        calls.append((images, labels, validation, classes, schedule))
        short = schedule._replace(epochs=schedule.validate_every)
        return real(embed, images, labels, validation, classes, short, *more)

    monkeypatch.setattr(probe_room, "fit_sdclr", watch)
    rows = probe.probe_run(made / "plain", ("full", "1%"), protocol="sdclr")
    run = runs.Run.load(made / "plain")
    train = read_arrays(run.config.data)
    held = probe.validation_list(run, train.labels).index
    few = probe.labelled_lists(run, train.labels, "1%")[0].index
    expected = [np.setdiff1d(np.arange(60), held), np.setdiff1d(few, held)]
    for (images, labels, validation, classes, schedule), index, shots in zip(
        calls, expected, ("full", "1%"), strict=True
    ):
        assert np.array_equal(images, train.images[index])
        assert labels.tolist() == train.labels[index].tolist()
        features = probe.features(run.encoder, torch.from_numpy(train.images[held]))
        assert torch.equal(validation[0], features)
        assert validation[1].tolist() == train.labels[held].tolist()
        assert classes == 3 and schedule == probe_room.SCHEDULES[shots]
    assert set(rows["images"]) == {len(index) for index in expected}


@pytest.mark.parametrize(
    ("asked", "done"),
    [
        ({}, True),
        ({"protocol": "knn,logistic"}, False),
        ({"features": "encoder,pixels"}, False),
        ({"features": "pixels"}, False),
        ({"shots": "full,5"}, False),
        ({"shots": "5"}, False),
        ({"protocol": "classifier"}, False),
        ({"protocol": "knn,classifier"}, False),
    ],
)
def test_a_cell_is_done_when_every_probe_of_it_is_there(asked, done, made):
    assert cell.is_done(made / "plain", KNN | asked) == done


def test_rows_of_another_test_set_make_no_cell_done(made, tmp_path):
    run = shutil.copytree(made / "plain", tmp_path / "run")
    rows = probe.read_rows(run, runs.verify(run))
    probe.save_probe(run, rows.assign(test="shapes", protocol="logistic"))
    assert cell.is_done(run, KNN) and not cell.is_done(run, KNN | {"protocol": "knn,logistic"})
    assert not cell.is_done(run, KNN | {"features": "encoder,pixels"})
    probe.save_probe(run, rows.assign(features="pixels"))
    assert cell.is_done(run, KNN | {"features": "encoder,pixels"})
    (run / "probe.parquet").write_bytes(b"damaged")
    assert not cell.is_done(run, KNN)  # it is probed again, not given up


def test_several_probes_of_a_cell_are_all_asked_for():
    asked = {"protocol": "bcl,classifier,knn", "features": "encoder,pixels", "shots": "full,5"}
    own = {("encoder", "classifier", "own labels")}
    pairs = {
        (f, p, s) for f in ("encoder", "pixels") for p in ("bcl", "knn") for s in ("full", "5")
    }
    assert cell.wanted_probes(asked) == own | pairs


@pytest.mark.parametrize("kind", ["probe", "classifier"])
@pytest.mark.parametrize("rule", splits.RULES)
def test_a_balanced_run_is_judged_by_its_partners_groups(kind, rule, made):
    """All its own classes are of one size: by them nobody would be many or few."""
    name = "supervised" if kind == "classifier" else "flat"
    run = runs.Run.load(made / name)
    assert run.class_counts.tolist() == [7, 7, 7] and run.group_counts.tolist() == list(SIZES)
    if kind == "classifier":
        rows = probe.classifier_rows(made / name, groups=rule)
    else:
        rows = probe.probe_run(made / name, ("full",), protocol="knn", groups=rule)
    [per_class] = rows["per_class"].dropna()
    found = rows.set_index("group")["accuracy"]
    assert set(rows["groups"]) == {rule}
    if rule == "thirds":
        assert [found[name] for name in splits.GROUPS] == per_class
    else:
        assert set(found.index) == {"all", "top5"}  # nobody has more than 100 images


def test_the_command_hands_the_rule_of_groups_to_a_classifier(made, tmp_path):
    run = shutil.copytree(made / "supervised", tmp_path / "run")
    call = ["probe", str(run), "--protocol", "classifier", "--groups", "counts"]
    assert cli.main(call) == 0
    rows = probe.read_rows(run, runs.verify(run))
    assert set(rows[rows["protocol"] == "classifier"]["groups"]) == {"counts"}


# --- training: schedule, first values, cost and machines ---------------------------------------


def test_half_an_update_of_warm_up_is_rounded_up_at_quick():
    """1.5 epochs of 21 updates are 31.5: the 32nd is the first at the full rate."""
    config = RunConfig()
    lrs = [lr for epoch in (1, 2) for _, lr in pretrain.updates(config, 2607, epoch)]
    assert lrs[30] == config.lr * 31 / 32 and lrs[31] == config.lr


@pytest.mark.parametrize(("samples", "left"), [(64, 64), (70, 64), (79, 64), (80, 80)])
def test_only_a_short_last_batch_is_dropped(samples, left):
    config = RunConfig(batch_size=16, equal_batches=False, drop_last=True)
    found = pretrain.batches(samples, config, 1)
    assert {len(index) for index in found} == {16} and sum(map(len, found)) == left
    whole = pretrain.batches(samples, config.model_copy(update={"drop_last": False}), 1)
    assert sum(map(len, whole)) == samples


def test_the_first_keys_of_a_queue_and_a_bank_have_length_one():
    queue = pretrain.make_method(
        RunConfig(preset="tiny", method="moco-v2"), torch.tensor([3])
    ).queue
    torch.testing.assert_close(queue.norm(dim=0), torch.ones(queue.shape[1]))
    name = "ltcl_helpers.methods.moco:MemoryBank"
    bank = pretrain.make_method(RunConfig(preset="tiny", method=name), torch.tensor([30, 9])).bank
    torch.testing.assert_close(bank.norm(dim=1), torch.ones(39))


def test_an_epochs_seconds_are_its_own(tmp_path, monkeypatch):
    """Not those since the last checkpoint, nor with the time that a checkpoint takes."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    watch = keeper.Keeper({"data": "a"}, {"device": "x"}, tmp_path, every=15)

    def state():
        clock.now += 1000
        return {}

    for epoch in watch.remaining_epochs(4, lambda _: None):
        clock.now += 10 * epoch
        watch.end_epoch(epoch, torch.tensor(1.0), 0.1, state)
    assert [row[3] for row in watch.rows] == [10, 20, 30, 40]
    assert [row[0] for row in watch.rows] == [1, 2, 3, 4]


def test_a_run_names_every_machine_that_it_was_on_once(tmp_path):
    machines = [{"device": name} for name in ("one", "two", "one")]
    for number, machine in enumerate(machines, 1):
        watch = keeper.Keeper({"data": "a"}, machine, tmp_path, every=0)
        for epoch in watch.remaining_epochs(3, lambda _: None):
            watch.end_epoch(epoch, torch.tensor(1.0), 0.1, dict)
            break
        assert watch.machines == machines[: min(number, 2)]
        assert len(watch.rows) == number


def test_a_resumed_run_is_sealed_with_all_its_machines(
    tmp_path, made, monkeypatch, stop_and_resume
):
    config = RunConfig(**SMALL, data=f"npz:{made}/a_train.npz", split="all", checkpoint_seconds=0)
    real, number = pretrain.training.describe_machine, iter(range(7, 99))
    monkeypatch.setattr(
        pretrain.training, "describe_machine", lambda *a: real(*a) | {"threads": next(number)}
    )
    run, _ = stop_and_resume(config, tmp_path / "run", 1)
    assert [machine["threads"] for machine in run.done["machines"]] == [7, 8]


def test_a_later_table_changes_nothing_of_who_made_the_run(made, tmp_path, monkeypatch):
    run = shutil.copytree(made / "plain", tmp_path / "run")
    before = runs.verify(run)
    monkeypatch.setenv("LTCL_GIT_COMMIT", "another+")
    runs.add_file(run, "probe.parquet", (run / "probe.parquet").read_bytes())
    after = runs.verify(run)
    for name in ("git_commit", "versions", "machines", "config_sha256", "data_sha256"):
        assert after[name] == before[name], name


# --- views ------------------------------------------------------------------------------------


def test_a_crop_only_view_is_a_crop_in_its_own_colours():
    assert load_method("ltcl_helpers.methods.moco:CropOnly").VIEWS == ("crop", "crop")
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    drawn = boosting.KINDS["crop"](images, torch.Generator().manual_seed(1))
    expected = simclr_view(images, torch.Generator().manual_seed(1), crop=True, colour=False)
    assert torch.equal(drawn, expected)
    moved = (drawn - images).abs().flatten(1).amax(1)
    assert (moved > 0.1).all()  # none of them stayed where it was
    gray = images.mean(1, keepdim=True).expand_as(images)
    found = boosting.KINDS["crop"](gray, torch.Generator().manual_seed(1))
    assert (found.amax(1) - found.amin(1)).max() < 1e-6  # equal channels stay so


# --- reports ----------------------------------------------------------------------------------


def rows_of(**columns):
    """Probe rows with all that a line of a table asks for."""
    usual = dict(
        section="", protocol="bcl", shots="full", row="simclr", name="simclr", label="SimCLR",
        list_source="published", group="all", accuracy=0.5, epochs=30, control=None, mirrored=False,
        seed=0, draw="split1_D_i", split="split1_D_i.npy", folder="a", features="encoder",
        data="cifar10", test="cifar10",
    )  # fmt: skip
    count = max(len(v) for v in columns.values() if isinstance(v, list))
    return pd.DataFrame({name: columns.get(name, value) for name, value in usual.items()},
                        index=range(count))  # fmt: skip


@pytest.mark.parametrize(
    ("column", "values"),
    [("protocol", ["bcl", "knn"]), ("shots", ["full", "100"]), ("folder", ["a", "b"])],
)
def test_a_line_never_mixes_any_one_of_them(column, values):
    rows = rows_of(**{column: values})
    with pytest.raises(ConfigError, match=f"several of {column}: {', '.join(sorted(values))}"):
        report.by_run(rows)
    assert len(report.by_run(rows[:1])) == 1


def of_splits(*numbers):
    names = [f"split{k}_D_i" for k in numbers]
    rows = rows_of(
        split=[f"{name}.npy" for name in names], draw=names, folder=names,
        accuracy=[0.8 + 0.01 * k for k in numbers],
    )  # fmt: skip
    return study.Study("t", "", rows, {"simclr": "SimCLR"}, [], [Path(n) for n in names], [])


def test_a_published_mean_over_five_splits_stands_beside_five(monkeypatch):
    number = dict(method="simclr", split="split1-5_D_i", protocol="bcl", shots="full", group="all",
                  accuracy=0.83, source="s", table="t", data="cifar10")  # fmt: skip
    one = {**number, "split": "split1_D_i", "accuracy": 0.4}
    monkeypatch.setattr(tables, "read_published", lambda: pd.DataFrame([number, one]))
    few = tables.published(of_splits(1, 2, 3, 4))
    assert few["published"].tolist() == ["40.0"] and few["n"].tolist() == [1]
    all_five = tables.published(of_splits(1, 2, 3, 4, 5)).set_index("published")
    assert all_five.loc["83.0", "n"] == 5 and all_five.loc["83.0", "difference"] == "+0.0"
    assert all_five.loc["40.0", "n"] == 1 and all_five.loc["40.0", "within"] == "one run"


def test_the_spread_beside_a_published_number_is_that_of_a_sample():
    """Standard deviation with n - 1: 1.41 points of 50 and 52 %, where n would give 1.00."""
    number = dict(protocol="bcl", shots="100", group="all", source="s", table="t")
    for published, says in ((0.498, "yes"), (0.4955, "no"), (0.522, "yes"), (0.525, "no")):
        found = tables._beside(pd.Series([0.50, 0.52]), pd.Series(number | {"accuracy": published}))
        assert found["within"] == says and found["ours"].endswith("± 1.4")
    rows = [
        {"shots": "full", "split": f"s{k}", "seed": 1, "group": g, "accuracy": a}
        for k, a in enumerate((0.5, 0.7))
        for g in ("all", "std", "class std", *splits.GROUPS)
    ]  # of five splits the published analysis has n, and so has its imitation
    table = probe.split_summary(pd.DataFrame(rows))
    assert table.loc[("full", "sd"), "accuracy"] == pytest.approx(0.1)


def test_a_balanced_list_is_told_from_its_long_tail(made):
    one = study.read([made / "plain", made / "flat"])
    assert set(one.rows["row"]) == {"simclr", "simclr-balanced"}
    assert one.labels == {"simclr": "SimCLR", "simclr-balanced": "SimCLR, balanced set"}
    assert one.pairs == [("simclr", "simclr-balanced")]
    paired = report.by_run(one.rows, "row")
    assert len(report.paired(paired.xs("simclr"), paired.xs("simclr-balanced"))) == 1
    page = report.page.render(one, "page")
    assert "The balanced runs are the control" in page
    alone = report.page.render(study.read([made / "plain"]), "page")
    assert "No balanced control is among these runs" in alone


def test_minutes_are_sixty_seconds_and_hours_sixty_minutes(made):
    one = study.read([made / "plain"])
    rows = one.rows.assign(seconds=6.0, epochs=25)
    table = study.machines(study.Study("t", "", rows, one.labels, [], one.folders, []))
    assert table[["seconds an epoch", "minutes"]].to_numpy().tolist() == [["6.0", "2.5"]]
    config = RunConfig(preset="tiny", epochs=25)
    asked = grid.Cell("a", "a", {}, config, {}, KNN, "A")
    known = {("cpu", plan._cost(config)): 7.2 * 60}
    place = SimpleNamespace(study=Path("x"), results=Path("y/x"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "recorded_seconds", lambda _: known)
        assert plan._hours(place, {asked: 25}) == ["training left: 3.0 hours on one cpu"]


def test_several_machines_of_a_run_are_all_named_and_the_last_one_tells_the_time(made, tmp_path):
    run = shutil.copytree(made / "plain", tmp_path / "study" / "run")
    done = runs.read_done(run)
    other = done["machines"][0] | {"device": "a GPU", "torch": "9"}
    runs.seal(run, machines=[*done["machines"], other])
    rows = report.load_rows([run])
    assert "cpu" in rows["machine"].iloc[0] and "then a GPU" in rows["machine"].iloc[0]
    assert rows["torch"].iloc[0] == done["machines"][0]["torch"]
    [(device, _)] = plan.recorded_seconds([tmp_path / "study"])
    assert device.startswith("a GPU")


# --- the explorer -----------------------------------------------------------------------------


def test_the_explorer_shows_the_runs_own_images_classes_and_groups(made):
    for name in ("flat", "tail"):
        run = runs.Run.load(made / name)
        history = explorer.open_run(made / name)
        images = np.load(made / "a_train.npz")["images"].transpose(0, 3, 1, 2)
        assert np.array_equal(history.images, images[run.index])
        assert np.array_equal(history.labels, np.load(made / "a_train.npz")["labels"][run.index])
        names, labels, counts, groups = history.classes()
        assert groups == ["many", "medium", "few"]  # the long tail's, for its control, too
        assert counts.tolist() == run.class_counts.tolist()
        assert history.kept == run.epochs_kept
        meta, _, _ = explorer.payload(made / name)
        assert [c["group"] for c in meta["classes"]] == groups
        assert [c["size"] for c in meta["classes"]] == counts.tolist()


def boosted_history(samples=6, epochs=3):
    """White and black images in turn, whose scores differ from epoch to epoch."""
    draw = np.random.default_rng(1)
    history = explorer.from_arrays(draw.random((epochs, samples)))
    history.config = RunConfig(preset="tiny", method="bcl-i", epochs=6)
    images = np.zeros((samples, 3, 32, 32), np.uint8)
    images[::2] = 255
    history.images = images
    history.epochs = [2, 4, 5]
    return history


def scores_after(history, row):
    return memorization_score(torch.from_numpy(history.momentum_loss[row].astype(np.float32)))


def test_a_page_shows_each_samples_views_by_the_scores_of_its_epoch():
    first, second = boosted_history(), boosted_history()
    second.momentum_loss = second.momentum_loss[::-1].copy()
    second.momentum_loss[0, 0] = 9
    meta, block, _ = explorer.payload(first, second, views=True)
    samples = meta["views"]["samples"]
    assert samples != sorted(samples)  # or an order could not be lost
    for number, history in enumerate((first, second)):
        for row, used in zip(meta["views"]["rows"], meta["views"]["used"][number], strict=True):
            epoch, _ = meta["used"][row]
            kept = history.kept.index(epoch - 1)  # the scores after the epoch before
            assert used == pytest.approx(scores_after(history, kept)[samples].tolist(), abs=1e-4)
        offset, length = meta["arrays"][f"views{number}"]
        sheet = np.asarray(Image.open(io.BytesIO(block[offset : offset + length])).convert("L"))
        side = meta["side"]
        lines = sheet[: len(sheet) // side * side].reshape(-1, side, pictures.VIEWS * side)
        # Black stays black under every view but those boosted with inversions or brightness of 0.
        bright = lines.mean((1, 2))[: len(samples)]
        white, black = (bright[[s % 2 == k for s in samples]] for k in (0, 1))
        assert np.median(white) > np.median(black)


def test_plain_views_are_of_the_sample_that_was_asked_for():
    history = boosted_history()
    history.config = RunConfig(preset="tiny")
    for asked in ([3, 0, 5], [4, 1]):
        tiles, used = pictures.draw_views(history, np.array(asked), 1)
        shown = tiles.reshape(len(asked), pictures.VIEWS, -1).max((1, 2))
        assert [bool(value > 20) for value in shown] == [sample % 2 == 0 for sample in asked]
        assert used.tolist() == [0.0] * len(asked)  # a plain run has no boost


def test_the_widget_answers_with_the_epoch_that_was_asked_for():
    anywidget = pytest.importorskip("anywidget")
    assert anywidget
    history = boosted_history()
    shown, sent = explorer.Explorer(history), []
    shown.send = lambda content, buffers: sent.append((content, buffers))
    for row in range(3):
        shown._reply(None, {"sample": 4, "row": row}, [])
        content, buffers = sent[-1]
        assert content["row"] == row and content["sample"] == 4 and len(buffers) == 1
        epoch, _ = shown._meta["used"][row]
        kept = history.kept.index(epoch - 1)
        assert content["used"] == [pytest.approx(float(scores_after(history, kept)[4]))]
    shown.selection = [5, 1]
    assert shown.table()["sample"].tolist() == [5, 1]


# --- data -------------------------------------------------------------------------------------


def test_image_files_are_taken_in_the_order_of_their_names(tmp_path, monkeypatch):
    """Whatever order the file system tells them in: positions of a split mean files."""
    for part in ("train", "test"):
        for name in ("b", "a"):
            (tmp_path / part / name).mkdir(parents=True)
            for k in random.Random(0).sample(range(12), 12):
                level = 100 * (name == "b") + 5 * k
                Image.new("RGB", (8, 8), (level, level, level)).save(
                    tmp_path / part / name / f"{k:02}.png"
                )
    expected = [5 * k for k in range(12)] + [100 + 5 * k for k in range(12)]
    found = read_arrays(f"folder:{tmp_path}@8").images[:, 0, 0, 0].tolist()
    assert found == expected
    scandir = os.scandir

    class Reversed:
        def __init__(self, path):
            with scandir(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __iter__(self):
            return self

        def __next__(self):
            if not self.entries:
                raise StopIteration
            return self.entries.pop(0)

        def close(self):
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert read_arrays(f"folder:{tmp_path}@8").images[:, 0, 0, 0].tolist() == expected
