"""What a check does: compares, gives up in time, helps step by step, sums up; also a stranger's."""

import importlib
import math
import sys
import time

import numpy as np
import pytest
import torch
from scipy import stats

from ltcl_helpers import exercises
from ltcl_helpers.exercises import checking
from ltcl_helpers.methods import pruning

PATIENCE = 300  # seconds until an answer that nobody stops ends itself; its limit is below one


def test_compare_says_what_differs():
    exercises.check("same", [1.0, 2.0], np.array([1.0, 2.0 + 1e-9]))
    for got, text in (
        ([1, 3], r"x: 1 of 2 values differ; at \[1\] got 3, expected 2"),
        ([1], r"x: got shape \[1\], expected \[2\]"),
        (None, "x: got None; is a `return` missing?"),
        ("many", "x: got 'many', which is no number or array"),
        ([math.nan, 2], "at .* got nan, expected 1"),
    ):
        with pytest.raises(AssertionError, match=text):
            exercises.check("x", got, [1, 2])
    with pytest.raises(AssertionError, match="x: got 1.5, expected 2"):
        exercises.check("x", torch.tensor(1.5, requires_grad=True), 2)


def test_summary_lists_what_is_open(capsys, monkeypatch):
    monkeypatch.setattr(checking, "SEEN", {})
    exercises.check_updates(lambda s, b, e: e * -(-s // b))
    exercises.check_density(lambda s, t: NotImplemented)
    exercises.check_auroc(lambda values, positive: 0.0)
    capsys.readouterr()
    exercises.summary()
    assert capsys.readouterr().out == "right: updates\nnot answered: density\nwrong: auroc\n"


# --- beside comparing -----------------------------------------------------------------------


def test_a_loop_without_an_end_is_given_up_and_the_lesson_goes_on(capsys, monkeypatch):
    start = time.monotonic()

    def my_seeds_needed(effect, sd):
        n = 2
        while effect <= stats.t.ppf(0.975, n - 1) * sd / math.sqrt(n):  # never, for effect -2
            n += 1
            if time.monotonic() > start + PATIENCE:
                break
        return n

    monkeypatch.setattr(checking, "SECONDS", 0.5)
    exercises.check_seeds_needed(my_seeds_needed)
    said = capsys.readouterr().out
    assert said.startswith("my_seeds_needed: timed out: not done after 0.5 s, called with (-2.0, 3")
    assert sum(range(10**5)) == 4999950000  # and nothing is raised afterwards


def test_an_answer_cannot_swallow_the_time_limit(monkeypatch):
    end = time.monotonic() + PATIENCE

    def stubborn(*given):
        while time.monotonic() < end:
            try:
                while time.monotonic() < end:
                    pass
            except Exception:
                continue

    verdict = exercises.judge(exercises.check_updates, stubborn, 0.2)
    assert verdict.status == checking.TIMED_OUT


def test_an_error_says_what_was_handed_in_and_how_it_is_done():
    verdict = exercises.judge(exercises.check_compensation, lambda x, n: x + n["total"])
    assert verdict.status == checking.ERROR
    assert "called with (tensor [4, 2] of float64, tensor [2] of int64)" in verdict.message
    assert "hint: add log(count / total)" in verdict.message


def test_the_first_hint_is_a_nudge_and_the_second_says_how(capsys, monkeypatch):
    monkeypatch.setattr(checking, "WRONG_BEFORE", set())
    monkeypatch.setattr(checking, "SEEN", {})
    for _ in range(2):
        exercises.check_simplex_cosine(lambda c: 0.0)
    first, second = capsys.readouterr().out.splitlines()
    check = exercises.check_simplex_cosine
    assert check.nudge in first and check.hint not in first
    assert check.hint in second


def test_every_check_has_a_nudge_that_gives_nothing_away():
    for name in exercises.__all__:
        if name.startswith("check_"):
            check = getattr(exercises, name)
            assert check.nudge.endswith("?") or check.nudge.endswith("."), name
            assert check.nudge != check.hint


def test_what_an_answer_borrows_stands_beside_its_verdict(capsys):
    def my_masks(weights, fraction):
        return pruning.magnitude_masks(weights, fraction)

    exercises.check_magnitude_mask(my_masks)
    said = "correct: but it calls pruning.magnitude_masks; the exercise asks for your own"
    assert capsys.readouterr().out == f"my_masks: {said}\n"
    check = exercises.check_nt_xent
    own = "def my_nt_xent(a, b, t):\n    return nt_xent_slow(a, b, t)"
    alias = "from ltcl_helpers.methods.losses import nt_xent as f\ndef my(*a):\n    return f(*a)"
    for text, found in ((own, ["nt_xent_slow"]), (alias, ["losses.nt_xent"]), ("x = 1", [])):
        assert checking.borrowed(check, compile(text, "cell", "exec")) == found


# --- an exercise of one's own ----------------------------------------------------------------

OWN = """
from ltcl_helpers.exercises.checking import compare, exercise

@exercise("half of it, whatever it is", "the double")
def check_half(answer):
    compare("half of 3", answer(3), 1.5)
"""


def test_a_strangers_file_holds_an_exercise_of_its_own(tmp_path, monkeypatch, capsys):
    """Nothing of the package is edited, or told of it."""
    (tmp_path / "my_course.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(checking, "SEEN", {})
    check = importlib.import_module("my_course").check_half
    check(lambda x: x / 2)
    check(lambda x: 2 * x)
    right, wrong = capsys.readouterr().out.splitlines()
    assert right.endswith("correct") and "got 6, expected 1.5 -- hint: half of it" in wrong
    assert exercises.judge(check, lambda x: x / 2).status == checking.RIGHT
    exercises.summary()
    assert capsys.readouterr().out == "wrong: half\n"
    sys.modules.pop("my_course")
