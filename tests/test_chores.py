"""What `make` does: which programs it calls, where, and how it says that one of them failed."""

import os
import re
import runpy
import sys
from pathlib import Path

import pytest

from ltcl_helpers import __main__, chores
from ltcl_helpers.course import site

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def called(tmp_path, monkeypatch):
    """The words of every program that a chore calls, in a folder without .venv."""
    words = []

    def note(*command, quiet=False):
        words.append([str(word) for word in command] + ["(quiet)"] * quiet)
        if "venv" in words[-1]:
            (tmp_path / ".venv").mkdir(exist_ok=True)

    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / "notebooks").mkdir()
    for name in ("01_second.ipynb", "00_first.ipynb", "run_one.ipynb"):
        (tmp_path / "notebooks" / name).touch()
    monkeypatch.setattr(chores, "ROOT", tmp_path)
    monkeypatch.setattr(chores, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(chores, "BIN", tmp_path / ".venv" / "bin")
    monkeypatch.setattr(chores, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    monkeypatch.setattr(chores, "run", note)
    monkeypatch.setattr(chores, "JOBS", 2)
    monkeypatch.delenv("EDITION", raising=False)
    monkeypatch.delenv("TORCH", raising=False)
    return words


def said(called, tmp_path):
    """The calls as one types them, in the chore's folder."""
    lines = [" ".join(words).replace(f"{tmp_path}/", "") for words in called]
    return [line.replace(sys.executable, "this").replace(".venv/bin/", "") for line in lines]


UV = "python -m uv pip install --quiet --python python"
SETUP = [
    "this -m venv .venv (quiet)",
    "python -m pip install --quiet --disable-pip-version-check uv",
    f"{UV} --require-hashes -r requirements.lock",
    f"{UV} --no-deps -e .",
]


def test_a_setup_takes_what_the_lock_says_with_hashes_and_is_done_once(called, tmp_path, capsys):
    chores.setup()
    assert said(called, tmp_path) == SETUP
    assert "TORCH=cpu makes that 1 GB" in capsys.readouterr().out
    done, count = tmp_path / ".venv" / "done", len(called)
    for lock, again in ((0, False), (1, True)):  # as old as the lock is new enough
        for name in ("requirements.lock", "pyproject.toml"):
            newer = done.stat().st_mtime_ns + lock * 10**9
            os.utime(tmp_path / name, ns=(newer, newer))
        chores.setup()
        assert (len(called) > count) == again


def test_a_small_setup_takes_another_build_of_torch(called, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCH", "cpu")
    chores.setup()
    build = f"{UV} --torch-backend cpu -e .[course,site,batch,dev]"
    assert said(called, tmp_path) == [*SETUP[:2], build]
    assert capsys.readouterr().out == ""


def test_where_another_build_cannot_be_had_the_other_way_is_named(called, tmp_path, monkeypatch):
    note = chores.run

    def run(*command, quiet=False):
        if "--torch-backend" in command:
            raise chores.Failed("python failed")
        note(*command, quiet=quiet)

    monkeypatch.setattr(chores, "run", run)
    monkeypatch.setenv("TORCH", "cpu")
    with pytest.raises(chores.Failed, match="^python failed\nTORCH=cpu reads .* `make setup`"):
        chores.setup()
    assert not (tmp_path / ".venv" / "done").exists()


def test_a_python_that_is_too_old_is_told_so(called, monkeypatch):
    for version, is_told in (((3, 10, 9), True), ((3, 11), False)):
        monkeypatch.setattr(chores.sys, "version_info", version)
        if is_told:
            with pytest.raises(chores.Failed, match=r"Python 3\.11 or newer is needed"):
                chores.setup()
            assert not called
        else:
            chores.setup()


def test_an_environment_that_cannot_be_made_leaves_nothing(called, tmp_path, monkeypatch):
    def fail(*command, quiet):
        (tmp_path / ".venv").mkdir()
        raise chores.Failed("no ensurepip")

    monkeypatch.setattr(chores, "run", fail)
    with pytest.raises(chores.Failed, match="venv module is missing: apt install python3-venv"):
        chores.setup()
    assert not (tmp_path / ".venv").exists()
    monkeypatch.setattr(Path, "mkdir", lambda *_: None)  # Python may fail before there is a folder
    with pytest.raises(chores.Failed, match="apt install python3-venv"):
        chores.setup()


LINT = [
    "python -m ruff check .",
    "python -m ruff format --check .",
    "lint-imports --no-logo (quiet)",
    "python -m mypy (quiet)",
    "python -m nbstripout --verify " + " ".join(
        f"notebooks/{name}.ipynb" for name in ("00_first", "01_second", "run_one")
    ),
]  # fmt: skip
LESSONS = [
    f"python -m papermill --no-progress-bar notebooks/{name}.ipynb course/{name}.ipynb (quiet)"
    for name in ("00_first", "01_second")
]
CALLS = {
    "lint": LINT,
    "test": [*LINT, "python -m pytest --numprocesses=3 --dist=worksteal"],
    "faults": ["python tests/faults/battery.py"],
    "course": LESSONS,
    "make-site": [*LESSONS, "python -m ltcl_helpers site course --out site --edition student"],
    "make-editions": ["python -m ltcl_helpers editions --out editions"],
    "figures": ["python experiments/figures.py"],
    "setup": [],  # it is done
}


@pytest.mark.parametrize("chore", CALLS)
def test_what_a_chore_calls_after_a_setup(chore, called, tmp_path, capsys):
    chores.CHORES[chore]()
    lines = said(called, tmp_path)
    assert lines[:4] == SETUP
    assert sorted(lines[4:]) == sorted(CALLS[chore])  # lessons run side by side
    if chore == "course":
        assert (tmp_path / "course").is_dir() and "00_first.ipynb\n" in capsys.readouterr().out
        chores.course()  # again


def test_a_teachers_site_is_in_a_folder_of_its_own(called, tmp_path, monkeypatch):
    monkeypatch.setenv("EDITION", "teacher")
    chores.site()
    site = "python -m ltcl_helpers site course --out site-teacher --edition teacher"
    assert said(called, tmp_path)[-1] == site


def test_an_edition_that_is_none_is_refused_before_the_lessons_run(called, monkeypatch):
    assert chores.EDITIONS == site.EDITIONS
    monkeypatch.setenv("EDITION", "teachers")
    with pytest.raises(chores.Failed, match="EDITION is 'teachers'; allowed are student, teacher"):
        chores.site()
    assert not called


def test_a_chore_is_done_in_the_clone_with_its_share_of_the_threads(monkeypatch, tmp_path):
    python = ROOT / ".venv" / "bin" / "python"
    places = (chores.ROOT, chores.VENV, chores.BIN, chores.PYTHON)
    assert places == (ROOT, ROOT / ".venv", python.parent, python)
    monkeypatch.delenv("JOBS", raising=False)
    monkeypatch.delitem(sys.modules, chores.__name__)
    assert runpy.run_module(chores.__name__)["JOBS"] == 2
    seen, names = [], ("OMP_NUM_THREADS", "JUPYTER_PREFER_ENV_PATH", "PYTHONDONTWRITEBYTECODE")
    note = lambda: seen.append((Path.cwd(), [os.environ.get(n) for n in names]))  # noqa: E731
    monkeypatch.setitem(chores.CHORES, "test", note)
    for cores, jobs, given, threads in (
        (8, 2, None, "4"), (2, 2, None, "1"), (8, 2, "3", "3"),
    ):  # fmt: skip
        for name in names:
            monkeypatch.setenv(name, "1")
        monkeypatch.setenv(*(names[0], given)) if given else monkeypatch.delenv(names[0])
        monkeypatch.setattr(chores, "cores_each", lambda jobs, cores=cores: cores // jobs)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(chores, "JOBS", jobs)
        assert chores.main("test") == 0
        assert seen.pop() == (ROOT, [threads, "1", None])


def test_every_chore_is_called_by_its_name_and_all_else_is_the_commands(monkeypatch, capsys):
    monkeypatch.setattr(__main__, "do_chore", lambda chore: f"done: {chore}")
    for chore in CALLS:
        monkeypatch.setattr(sys, "argv", ["ltcl", chore])
        assert __main__.main() == f"done: {chore}"
    assert set(CALLS) == set(chores.CHORES)
    targets = re.search(r"PHONY: (.+) clean", (ROOT / "Makefile").read_text())[1].split()
    assert set(targets) == {chore.removeprefix("make-") for chore in CALLS}
    for words in (["course", "more"], ["absent"]):
        monkeypatch.setattr(sys, "argv", ["ltcl", *words])
        assert __main__.main() == 2 and "invalid choice" in capsys.readouterr().err


def test_a_program_that_fails_shows_what_it_said_even_when_it_was_to_be_quiet(capfd):
    code = "import sys; sys.stdout.buffer.write(b'caf\\xe9 '); sys.exit({})"
    chores.run(sys.executable, "-c", code.format(0))
    assert capfd.readouterr().out.startswith("caf")
    chores.run(sys.executable, "-c", code.format(0), quiet=True)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(chores.Failed) as stopped:
        chores.run(sys.executable, "-c", code.format(3))
    assert str(stopped.value).startswith(f"{Path(sys.executable).name} failed: ('-c', ")
    talk = "import sys; print('why', file=sys.stderr); " + code.format(3)
    with pytest.raises(chores.Failed, match="^caf\ufffd why\n|^why\ncaf\ufffd") as stopped:
        chores.run(sys.executable, "-c", talk, "more", "words", quiet=True)
    assert str(stopped.value).endswith("'more')") and capfd.readouterr().err == ""
