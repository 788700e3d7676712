"""DONE.json: what it holds, which shape it must have, and what a file's digest is compared with."""

import json
from pathlib import Path

import pytest

from ltcl_helpers import files, runs
from ltcl_helpers.errors import DamagedFile
from ltcl_helpers.runs import done as run_done

LAPTOP = {"device": "cpu", "threads": 1, "precision": "float32", "torch": "2"}
NAMES = ("config.json", "encoder.safetensors", "probe.parquet")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A sealed folder; each file's content is its name."""
    monkeypatch.setenv("LTCL_GIT_COMMIT", "abc")
    for name in NAMES:
        (tmp_path / name).write_text(name)
    runs.seal(tmp_path, *NAMES, machines=[LAPTOP], licence="MIT")
    return tmp_path


def digest(text):
    return files.sha256(text.encode())


def test_the_names_of_a_runs_files():
    ours = [
        "config.json",
        "history.parquet",
        "memory.npz",
        "probe.parquet",
        "run.ipynb",
        "head.safetensors",
    ]
    assert all(map(run_done.is_ours, ours))
    assert not any(map(run_done.is_ours, ("notes.txt", "model.pt", "safetensors.txt")))
    assert tuple(ours[:3]) == run_done.OPENED and tuple(ours[3:5]) == run_done.REMADE
    assert run_done.NOT_RECORDED == (".safetensors", "run.ipynb")


def test_a_seal_is_of_all_that_is_said_and_old_digests_stay(run):
    content = json.loads((run / "DONE.json").read_text())
    said = {name: content[name] for name in content if name != "seal"}
    assert content["seal"] == digest(json.dumps(said, sort_keys=True))
    assert said == {
        "versions": runs.versions(), "git_commit": "abc", "machines": [LAPTOP], "licence": "MIT",
        "format": 2, "files": {name: digest(name) for name in NAMES},
    }  # fmt: skip
    assert runs.read_done(run) == content
    (run / "config.json").write_text("other")
    (run / "memory.npz").write_text("new")
    runs.seal(run, "memory.npz", licence="BSD")
    again = runs.read_done(run)
    assert again["files"] == said["files"] | {"memory.npz": digest("new")}
    assert list(again["files"]) == sorted(again["files"])
    assert (again["licence"], again["machines"]) == ("BSD", [LAPTOP])


def says(folder):
    """In what words a folder's DONE.json is refused."""
    with pytest.raises(DamagedFile) as caught:
        runs.read_done(folder)
    return str(caught.value).replace(f"{folder}", "RUN")


def test_a_missing_or_changed_done_is_refused_in_these_words(run):
    done = runs.read_done(run)
    for changed in ({"licence": "mine"}, {"seal": None}, {"seal": "0" * 64}):
        (run / "DONE.json").write_text(json.dumps(done | changed))
        wrong = "RUN/DONE.json was changed since it was written (its seal); restore it"
        assert says(run) == wrong
    run_done.write_done(run, done | {"files": {"memory.npz": "0" * 64}})
    assert says(run) == "RUN/DONE.json names no config.json among its files; restore it"
    (run / "DONE.json").unlink()
    resume = "ltcl run --resume RUN finishes it"
    assert says(run) == f"RUN is not a finished run (no DONE.json); {resume}"


SHAPES = {  # what is wrong, and the place that is named
    "files.config.json": [{"files": {"config.json": each}} for each in (
        "g" * 64, "0" * 63, "0" * 65, "A" * 64, 1, None,
    )],
    "files.{}.[key]": [{"files": {each: "0" * 64}} for each in (
        "", ".", "..", "a/b", "a\\b", "a:b", "a\0b",
    )],
    "versions.torch": [{"versions": {"torch": 2}}],
    "git_commit": [{"git_commit": None}],
    "machines": [{"machines": []}],
    "machines.0.threads": [{"machines": [LAPTOP | {"threads": "1"}]}],
    "machines.0.device": [{"machines": [LAPTOP | {"device": 1}]}],
    "machines.0.precision": [{"machines": [LAPTOP | {"precision": None}]}],
    "machines.0.torch": [{"machines": [LAPTOP | {"torch": 2}]}],
    "config_sha256": [{"config_sha256": "0" * 63}],
    "split_sha256": [{"split_sha256": "g" * 64}],
    "data_sha256": [{"data_sha256": 0}],
    "left_out.0": [{"left_out": ["a/b"]}],
    "before.config.json": [{"before": {"config.json": "0"}}],
    "before.{}.[key]": [{"before": {"..": None}}],
}  # fmt: skip


@pytest.mark.parametrize("where", SHAPES)
def test_a_strangers_done_is_refused_at_the_place_that_is_wrong(where, run):
    done = runs.read_done(run)
    for changed in SHAPES[where]:
        run_done.write_done(run, done | changed)
        name = next(iter(next(iter(changed.values())))) if "{}" in where else ""
        refused = says(run)
        assert refused.startswith(f"RUN/DONE.json: {where.format(name)}: "), refused
        assert refused.endswith("; restore it") and (not name or "is no name of a file" in refused)


def test_what_a_done_may_leave_out_or_say_besides(run):
    done = runs.read_done(run)
    machine = LAPTOP | {"driver": 7}
    more = {"config_sha256": None, "split_sha256": "0" * 64, "left_out": ["a"], "odd": {"b": 1}}
    more |= {"before": {"probe.parquet": None, "config.json": "0" * 64}, "machines": [machine]}
    run_done.write_done(run, done | more)
    assert runs.read_done(run).items() >= more.items()
    del done["seal"], done["format"]  # as the first format had none
    (run / "DONE.json").write_text(json.dumps(done))
    assert runs.read_done(run) == done


PROBE, WEIGHTS, OTHER = "probe.parquet", "encoder.safetensors", "notes.txt"
GONE, CHANGED = None, "changed"
FILES = [  # the file, its content there, what DONE.json says besides; what comes of it
    ("config.json", "config.json", {}, True),
    ("config.json", CHANGED, {}, "restore it"),
    ("config.json", GONE, {}, "does not exist"),
    (PROBE, CHANGED, {}, "ltcl probe RUN makes it again"),
    (PROBE, CHANGED, {"left_out": [WEIGHTS]}, "restore it"),
    (WEIGHTS, GONE, {"left_out": [WEIGHTS]}, False),
    (WEIGHTS, WEIGHTS, {"left_out": [WEIGHTS]}, True),
    (WEIGHTS, CHANGED, {"left_out": [WEIGHTS]}, "restore it"),
    (OTHER, CHANGED, {}, False),  # is its owner's
    (OTHER, GONE, {}, False),
    (PROBE, GONE, {"before": {PROBE: None}}, False),  # a kill while the first rows were saved
    (PROBE, PROBE, {"before": {PROBE: None}}, True),
    (PROBE, CHANGED, {"before": {PROBE: None}}, "ltcl probe RUN makes it again"),
    (PROBE, CHANGED, {"before": {PROBE: digest(CHANGED)}}, True),  # while others took their place
    (PROBE, GONE, {"before": {PROBE: digest(CHANGED)}}, "does not exist"),
]


@pytest.mark.parametrize(("name", "content", "besides", "comes"), FILES)
def test_what_a_files_digest_is_compared_with(name, content, besides, comes, run):
    done = runs.read_done(run) | besides
    (run / name).unlink(missing_ok=True)
    if content is not GONE:
        (run / name).write_text(content)
    if isinstance(comes, bool):
        assert runs.verify_file(run, done, name) is comes
        return
    with pytest.raises(DamagedFile) as caught:
        runs.verify_file(run, done, name)
    found, wanted = digest(CHANGED)[:12], digest(name)[:12]
    other = f"has sha256 {found}..., DONE.json says {wanted}...; {comes}"
    expected = f"RUN/{name} {comes if content is GONE else other}"
    assert str(caught.value).replace(f"{run}", "RUN") == expected


def test_a_look_at_a_run_is_at_its_own_files_but_for_those_one_does_not_ask_about(run):
    (run / OTHER).write_text("mine")
    runs.seal(run, OTHER)  # as older versions did
    for name in (OTHER, PROBE):
        (run / name).write_text(CHANGED)
    assert runs.verify(run, but=runs.REMADE) == runs.read_done(run)
    with pytest.raises(DamagedFile, match="probe.parquet has sha256"):
        runs.verify(run)


def test_rows_that_are_added_leave_a_whole_run_at_every_step(run, monkeypatch):
    steps, write_done, write_bytes = [], run_done.write_done, run_done.write_bytes

    def told(folder, done):
        write_done(folder, done)
        steps.append((runs.verify(folder)["files"][PROBE], done.get("before")))

    monkeypatch.setattr(run_done, "write_done", told)
    note = lambda path, content: steps.append(path.name) or write_bytes(path, content)  # noqa: E731
    monkeypatch.setattr(run_done, "write_bytes", note)
    runs.add_file(run, PROBE, b"new")
    assert steps == [(digest("new"), {PROBE: digest(PROBE)}), PROBE, (digest("new"), None)]
    steps.clear()
    (run / PROBE).write_text("damaged")  # is not what it should be, and no reason to be kept
    monkeypatch.setattr(run_done, "write_done", lambda _, done: steps.append(done.get("before")))
    runs.add_file(run, PROBE, b"newer")
    assert steps == [{PROBE: None}, PROBE, None]


def test_an_installed_package_does_not_know_the_commit_of_whatever_lies_around_it(monkeypatch):
    monkeypatch.delenv("LTCL_GIT_COMMIT", raising=False)
    monkeypatch.setattr(run_done, "IN_CLONE", False)
    asked = []
    monkeypatch.setattr(run_done.subprocess, "run", lambda *given, **named: asked.append(given))
    assert runs.git_commit() == "unknown" and not asked
    assert Path(run_done.ROOT) == Path(__file__).resolve().parents[2]
