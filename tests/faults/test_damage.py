"""Damage is found where a thing is used, and what can be made again stands in nobody's way."""

import json
import os
import shutil
import threading

import numpy as np
import pandas as pd
import pytest

from ltcl_helpers import explorer, files, pretrain, probe, report, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.errors import ConfigError, DamagedFile
from ltcl_helpers.runs import Run
from ltcl_helpers.runs import done as run_done

SMALL = dict(preset="tiny", device="cpu", split="all", batch_size=10, epochs=1)


def photos(folder, seed=0):
    """a_train.npz and a_test.npz of 4 classes."""
    draw = np.random.default_rng(seed)
    for part, count in (("train", 40), ("test", 12)):
        images = draw.integers(0, 256, (count, 8, 8, 3), np.uint8)
        np.savez(folder / f"a_{part}.npz", images=images, labels=np.arange(count) % 4)
    return f"npz:{folder}/a_train.npz"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run on an .npz with a probe, and the folder of its data."""
    folder = tmp_path_factory.mktemp("made")
    pretrain.pretrain(RunConfig(**SMALL, data=photos(folder)), folder / "run")
    rows = probe.probe_run(folder / "run", ("full",), protocol="logistic")
    probe.save_probe(folder / "run", rows)
    return folder


@pytest.fixture
def run(made, tmp_path):
    """A copy of that run; its data lie where they lay."""
    return shutil.copytree(made / "run", tmp_path / "run")


def flips(path, count, seed=0):
    """The content with one bit flipped, at `count` places that are drawn."""
    content = path.read_bytes()
    for bit in np.random.default_rng(seed).choice(8 * len(content), count, replace=False):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << (bit % 8)
        yield bytes(damaged)


def test_one_flipped_bit_anywhere_in_done_is_found(run):
    path = run / "DONE.json"
    whole = json.loads(path.read_bytes())
    for damaged in flips(path, 300):
        path.write_bytes(damaged)
        with pytest.raises(DamagedFile, match="DONE.json"):
            runs.verify(run)
    for name in whole.keys() - {"seal"}:  # a field that is another one, in a file that is JSON
        path.write_text(json.dumps({**whole, name: {} if name == "files" else "0" * 64}))
        with pytest.raises(DamagedFile, match="seal"):
            runs.verify(run)
    path.write_text(json.dumps({name: v for name, v in whole.items() if name != "seal"}))
    with pytest.raises(DamagedFile, match="seal"):
        runs.verify(run)
    path.write_text(json.dumps(whole))
    runs.verify(run)


OLD = ("seal", "format", "data_sha256")  # what the first recorded runs do not have


def unsealed(run, **changes):
    """DONE.json as the first version wrote it, with something else in it."""
    done = json.loads((run / "DONE.json").read_text())
    done = {name: value for name, value in done.items() if name not in OLD} | changes
    (run / "DONE.json").write_text(json.dumps(done))
    return done


def test_a_run_of_the_first_format_opens_as_it_did_and_takes_rows(run):
    unsealed(run)
    before = (run / "DONE.json").read_bytes()
    assert len(Run.load(run).history) == 1 and len(report.load_rows(run))
    assert (run / "DONE.json").read_bytes() == before
    rows = probe.probe_run(run, ("full",), protocol="knn")
    assert set(probe.save_probe(run, rows)["protocol"]) == {"logistic", "knn"}
    assert "seal" in runs.verify(run) and "data_sha256" not in runs.verify(run)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"files": {}}, "names no config.json"),
        ({"config_sha256": "0" * 64}, "another config_sha256"),
        ({"split_sha256": "0" * 64}, "another split_sha256"),
        ({"files": {"config.json": "0" * 64}}, "config.json has sha256"),
        ({"files": {"../victim.txt": "0" * 64}}, "no name of a file of this folder"),
        ({"files": {"/etc/passwd": "0" * 64}}, "no name of a file of this folder"),
        ({"files": {"a\\b": "0" * 64}}, "no name of a file of this folder"),
        ({"files": ["config.json"]}, "files"),
        ({"files": {"config.json": 7}}, "files.config.json"),
        ({"machines": []}, "machines"),
        ({"machines": ["a laptop"]}, "machines.0"),
        ({"machines": [{"device": "cpu"}]}, "machines.0.threads"),
        ({"versions": 3}, "versions"),
        ({"left_out": "encoder.safetensors"}, "left_out"),
        ({"seal": "0" * 64}, "its seal"),
    ],
)
def test_a_strangers_done_is_judged_by_its_shape(changes, says, run, tmp_path):
    unsealed(run, **changes)
    with pytest.raises(DamagedFile, match=says):
        Run.load(run)
    if "another" not in says:  # what is recorded is compared when it is loaded
        with pytest.raises(DamagedFile, match=says):
            runs.record(run, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_record_follows_no_link(run, tmp_path):
    (tmp_path / "elsewhere").write_bytes((run / "memory.npz").read_bytes())
    (run / "memory.npz").unlink()
    (run / "memory.npz").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is a link"):
        runs.record(run, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("name", ["images", "labels"])
def test_data_replaced_after_the_run_are_refused_everywhere(name, run, made, tmp_path):
    """By probe, explore, and a resumed run that is finished; put back, all goes on."""
    config = files.read_json(run / "config.json")
    photos(tmp_path, seed=1)
    place = made / "a_train.npz"
    kept = place.read_bytes()
    try:
        if name == "labels":
            arrays = dict(np.load(place))
            np.savez(place, **arrays | {"labels": arrays["labels"][::-1]})
        else:
            place.write_bytes((tmp_path / "a_train.npz").read_bytes())
        with pytest.raises(ConfigError, match="other labels|is not what .* learned from"):
            probe.probe_run(run, ("full",), protocol="knn")
        history = explorer.open_run(run)
        assert history.images is None and "No images" in history.no_images
        with pytest.raises(ConfigError, match="changed since"):
            pretrain.resume(run, inputs=splits.select(RunConfig(**config)))
        assert len(pretrain.resume(run).history) == 1  # not asked
    finally:
        place.write_bytes(kept)
    assert explorer.open_run(run).images is not None
    pretrain.resume(run, inputs=splits.select(RunConfig(**config)))


@pytest.mark.parametrize("part", splits.Inputs._fields)
def test_the_digest_of_the_data_is_of_all_parts(part, made):
    inputs = splits.select(RunConfig(**SMALL, data=f"npz:{made}/a_train.npz"))
    changed = getattr(inputs, part).copy()
    changed.flat[-1] += 1
    assert splits.data_digest(inputs._replace(**{part: changed})) != splits.data_digest(inputs)


def test_one_flipped_bit_in_a_published_list_is_found(published_splits, tmp_path):
    for name in ("cifar10_imbSub_with_subsets/split1_D_i.npy", "cifar10/valIdxList.npy"):
        source = published_splits / name
        if not source.exists():
            continue
        place = tmp_path / name
        place.parent.mkdir()
        shutil.copy(source, place)
        splits.read_split(place)
        for damaged in flips(source, 60):
            place.write_bytes(damaged)
            with pytest.raises(ConfigError, match="not the published list of that name"):
                splits.read_split(place)
        elsewhere = tmp_path / source.name  # the same size and name in another folder
        elsewhere.write_bytes(damaged)
        with pytest.raises(ConfigError, match="rename your own"):
            splits.read_split(elsewhere)
        np.save(elsewhere, np.arange(7))  # somebody's own
        assert len(splits.read_split(elsewhere)) == 7


def test_what_lies_in_the_folder_besides_is_its_owners(run, tmp_path):
    for name in ("notes.txt", "page.html"):
        (run / name).write_text("mine")
    rows = probe.probe_run(run, ("full",), protocol="knn")
    probe.save_probe(run, rows)
    (run / "notes.txt").write_text("changed")
    (run / "page.html").unlink()
    assert not {"notes.txt", "page.html"} & runs.verify(run)["files"].keys()
    runs.record(run, tmp_path / "kept")
    assert not (tmp_path / "kept" / "notes.txt").exists()
    # Older versions sealed it; an edit is no damage there either.
    done = unsealed(run)
    unsealed(run, files=done["files"] | {"notes.txt": "0" * 64})
    Run.load(run)


@pytest.mark.parametrize("name", ["probe.parquet", "run.ipynb"])
def test_what_can_be_made_again_is_never_fatal(name, run, caplog):
    if name == "run.ipynb":
        runs.add_file(run, name, b"{}")
    (run / name).write_bytes(b"garbage")
    assert len(Run.load(run).history) == 1 and name in caplog.text
    assert explorer.open_run(run).images is not None
    if name == "probe.parquet":
        with pytest.raises(DamagedFile, match="ltcl probe .* makes it again"):
            report.load_rows(run)
    rows = probe.probe_run(run, ("full",), protocol="knn")
    saved = probe.save_probe(run, rows)
    assert set(saved["protocol"]) == {"knn"} | ({"logistic"} if name == "run.ipynb" else set())
    assert len(report.load_rows(run)) > 0


def test_two_probes_that_save_together_lose_no_row(run):
    rows = probe.probe_run(run, ("full",), protocol="knn")
    kinds = [f"protocol {k}" for k in range(8)]
    together = threading.Barrier(len(kinds))

    def save(kind):
        together.wait()
        probe.save_probe(run, rows.assign(protocol=kind))

    threads = [threading.Thread(target=save, args=[kind]) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = probe.read_rows(run, runs.verify(run))
    assert set(stored["protocol"]) == {"logistic", *kinds}


WRITES = ("DONE.json", "probe.parquet", "DONE.json")  # of a table that is added


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("killed", range(3))
def test_a_kill_while_rows_are_saved_loses_none_that_were_there(killed, first, run, monkeypatch):
    """Before each of the three files of it gets its name."""
    rows = probe.probe_run(run, ("full",), protocol="knn")
    if first:
        (run / "probe.parquet").unlink()
        done = run_done.read_done(run)
        done["files"].pop("probe.parquet")
        run_done.write_done(run, done)
    replace = os.replace
    for _ in range(3):  # in a row
        seen = []

        def dies(source, target):
            if len(seen) == killed:  # noqa: B023
                raise KeyboardInterrupt
            seen.append(target.name)  # noqa: B023
            replace(source, target)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "replace", dies)
            probe.save_probe(run, rows)
        assert tuple(seen) == WRITES[:killed]
        runs.verify(run)
    found = probe.read_rows(run, runs.verify(run))
    before = set() if first else {"logistic"}
    expected = before | ({"knn"} if killed == 2 else set())
    assert (set() if found is None else set(found["protocol"])) == expected
    saved = probe.save_probe(run, rows)
    assert set(saved["protocol"]) == before | {"knn"}
    assert "before" not in runs.verify(run)


def test_two_runs_of_one_folder_begun_together_are_one_run(tmp_path, made):
    """Whoever is first makes it; what is sealed is one process's whole."""
    names, ended = ("simclr", "sdclr", "moco-v2"), {}
    together = threading.Barrier(len(names))

    def begin(name):
        together.wait()
        try:
            config = RunConfig(**SMALL, data=f"npz:{made}/a_train.npz", method=name)
            ended[name] = pretrain.pretrain(config, tmp_path / "run")
        except ConfigError as error:
            ended[name] = str(error)

    threads = [threading.Thread(target=begin, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [first] = [name for name in names if isinstance(ended[name], Run)]
    assert Run.load(tmp_path / "run").config.method == first
    for name in set(names) - {first}:
        assert "another process is at work" in ended[name] or "exists" in ended[name]


def test_the_folder_is_held_before_its_first_file_is_written(tmp_path):
    (tmp_path / "run").mkdir()
    with runs.lock(tmp_path / "run"), pytest.raises(ConfigError, match="another process"):
        pretrain.pretrain(RunConfig(preset="tiny"), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_leftovers_of_killed_writers_are_swept(run):
    for name in ("checkpoint-000001-0123456789abcdef.pt", ".probe.parquet.17.part"):
        (run / name).write_bytes(b"left")
    pretrain.resume(run)
    assert not list(run.glob("*.pt")) and not list(run.glob(".*.part"))


def test_record_leaves_nothing_when_it_is_killed_or_the_run_changes(run, tmp_path, monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "copyfile", dies)
        runs.record(run, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    copy = shutil.copyfile

    def changes(source, target):
        copy(source, target)
        target.write_bytes(b"half")

    with monkeypatch.context() as patch, pytest.raises(DamagedFile):
        patch.setattr(shutil, "copyfile", changes)
        runs.record(run, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    runs.record(run, tmp_path / "kept")  # what was left is in nobody's way
    assert not list(tmp_path.glob(".*.part"))


def test_an_unreadable_newest_checkpoint_falls_back(tmp_path, monkeypatch, caplog):
    for epoch in (1, 2):
        runs.save_checkpoint(tmp_path, epoch, {"epoch": epoch})
    newest, _ = runs.checkpoints(tmp_path)
    read = type(newest).read_bytes

    def refuse(path):
        if path == newest:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(type(newest), "read_bytes", refuse)
    assert runs.load_checkpoint(tmp_path)["epoch"] == 1 and newest.name in caplog.text


READERS = {
    "config.json": lambda run: runs.read_config(run),
    "DONE.json": lambda run: runs.verify(run),
    "memory.npz": lambda run: files.read_npz(run / "memory.npz"),
    "history.parquet": lambda run: files.read_parquet(run / "history.parquet"),
    "probe.parquet": lambda run: files.read_parquet(run / "probe.parquet"),
}
NESTED = b'{"a":' * 20_000 + b"1" + b"}" * 20_000
CONTENTS = [b"", b"[]", b"[[1, 2]]", b"null", b"\xff\xfe", NESTED, b'{"options": 3}', b"{'a'}"]


@pytest.mark.parametrize("name", READERS)
def test_no_reader_gives_a_traceback(name, run):
    """Cut short, flipped, or another thing altogether: one clear error that names the file."""
    path = run / name
    whole = path.read_bytes()
    cuts = [whole[: len(whole) * k // 7] for k in range(7)]
    for content in [*CONTENTS, *cuts, *flips(path, 120)]:
        path.write_bytes(content)
        try:
            READERS[name](run)
        except ConfigError as error:
            assert len(str(error).splitlines()) == 1


def reseal(run):
    """Digests and seal as if somebody had made the folder so."""
    done = run_done.read_done(run)
    done["files"] = {name: files.sha256(run / name) for name in done["files"]}
    run_done.write_done(run, done)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("encoder.safetensors", "does not hold the encoder"),
        ("memory.npz", "no array"),
        ("history.parquet", "no column"),
        ("probe.parquet", "no column"),
    ],
)
def test_a_whole_file_with_another_content_is_named(name, says, run):
    if name == "encoder.safetensors":
        (run / name).write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    elif name == "memory.npz":
        files.write_npz(run / name, index=np.arange(3))
    else:
        files.write_parquet(run / name, pd.DataFrame({"epochs": [1]}))
    reseal(run)
    with pytest.raises(DamagedFile, match=f"{name}.*{says}"):
        report.load_rows(run)
        _ = Run.load(run).encoder


def test_a_full_disk_is_told_with_file_and_bytes(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"rows.json \(\d+ bytes\) cannot be written: No space"):
        files.write_json(tmp_path / "rows.json", {"a": 1})
    assert list(tmp_path.iterdir()) == []
