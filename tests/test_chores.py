"""What `make` does: which packages a set-up takes."""

import pytest

from ltcl_helpers import chores


@pytest.fixture
def called(tmp_path, monkeypatch):
    """The words of every program that a set-up calls, in a folder without .venv."""
    words = []

    def note(*command, quiet=False):
        words.append([str(word) for word in command])
        if "venv" in words[-1]:
            (tmp_path / ".venv").mkdir()

    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    monkeypatch.setattr(chores, "ROOT", tmp_path)
    monkeypatch.setattr(chores, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(chores, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    monkeypatch.setattr(chores, "run", note)
    return words


def test_a_setup_takes_what_the_lock_says_with_hashes_and_is_done_once(called, monkeypatch):
    monkeypatch.delenv("TORCH", raising=False)
    chores.setup()
    (lock, package) = called[-2:]
    assert lock[-3:] == ["--require-hashes", "-r", "requirements.lock"]
    assert package[-3:] == ["--no-deps", "-e", "."]
    count = len(called)
    chores.setup()
    assert len(called) == count


def test_lint_asks_for_style_format_floors_types_and_lessons_without_outputs(called):
    chores.setup()
    called.clear()
    chores.lint()
    asked = [words[words[1] == "-m" and 2 :] for words in called]
    assert asked[:2] == [["ruff", "check", "."], ["ruff", "format", "--check", "."]]
    assert asked[2][0].endswith("lint-imports") and asked[3] == ["mypy"]
    assert asked[4:] == [["nbstripout", "--verify"]]  # and the lessons, of which none are here


def test_a_small_setup_takes_another_build_of_torch(called, monkeypatch):
    monkeypatch.setenv("TORCH", "cpu")
    chores.setup()
    assert called[-1][-4:] == ["--torch-backend", "cpu", "-e", ".[course,site,batch,dev]"]
    assert not any("--require-hashes" in words for words in called)
