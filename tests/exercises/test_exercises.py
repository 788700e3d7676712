"""Every check finds right answers right, and plausible wrong ones wrong, in a short line."""

import json
import re

import pytest
import torch
from exercises import answers_00_to_06, answers_07_to_11

from ltcl_helpers import exercises, paths
from ltcl_helpers.data import splits
from ltcl_helpers.exercises import checking
from ltcl_helpers.views import randaugment

ANSWERS = answers_00_to_06.ANSWERS | answers_07_to_11.ANSWERS
CHECKS = {n: getattr(exercises, n) for n in exercises.__all__ if n.startswith("check_")}
LESSONS = sorted((paths.ROOT / "notebooks").glob("[0-9]*.ipynb"))


@pytest.fixture(autouse=True)
def seed():
    """A check may draw weights: the same in every test, whatever ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def of(kind):
    return [
        pytest.param(CHECKS[f"check_{name}"], answer, id=f"{name}-{k}")
        for name, answers in ANSWERS.items()
        for k, answer in enumerate(answers[kind])
    ]


def test_every_check_is_tried_with_wrong_answers():
    assert {f"check_{name}" for name in ANSWERS} == set(CHECKS)
    assert all(len(wrong) >= 3 for _, wrong in ANSWERS.values())
    assert all(check.hint and len(check.mistakes) >= 3 for check in CHECKS.values())


@pytest.mark.parametrize(("check", "answer"), of(0))
def test_a_right_answer_is_right(check, answer, capsys):
    verdict = exercises.judge(check, answer)
    assert verdict.status == checking.RIGHT, verdict
    assert not verdict.message or verdict.message.startswith("but it calls ")
    check(answer)
    assert ": correct" in capsys.readouterr().out


@pytest.mark.parametrize(("check", "answer"), of(1))
def test_a_wrong_answer_is_wrong_and_gets_a_short_hint(check, answer, capsys):
    verdict = exercises.judge(check, answer)
    assert verdict.status == checking.WRONG, verdict
    assert check.hint[:40] in verdict.message and len(verdict.message) <= 300
    check(answer)  # says so, and stops nothing
    assert ": wrong: " in capsys.readouterr().out


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_a_stub_is_not_answered_and_a_crash_is_an_error(check, capsys):
    def my_stub(*arguments):
        raise NotImplementedError

    for stub in (my_stub, lambda *a: NotImplemented, lambda *a: ...):
        assert exercises.judge(check, stub).status == checking.UNANSWERED
    check(my_stub)
    assert capsys.readouterr().out == "my_stub: not answered\n"
    for broken in (lambda *a: 1 / 0, lambda: 0, lambda *a: exit(), lambda *a: {}["x"]):
        assert exercises.judge(check, broken).status == checking.ERROR
    for empty in (lambda *a: None, lambda *a: "correct"):
        assert exercises.judge(check, empty).status in (checking.WRONG, checking.ERROR)


def test_the_course_and_its_checks_belong_together():
    """Each exercise's cell ends in one commented line, and its solution calls the same check."""
    asked = {}
    for path in LESSONS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = [("".join(c["source"]), c["metadata"].get("tags", [])) for c in cells
                if c["cell_type"] == "code"]  # fmt: skip
        open_checks = []
        for text, tags in code:
            if "solution" in tags:
                solved = re.findall(r"^exercises\.(check_\w+)\(", text, re.M)
                assert solved == open_checks[:1], path.name
                open_checks = open_checks[1:]
            for line in re.findall(r"^# .*exercises\..*$", text, re.M):
                assert line == text.splitlines()[-1], f"{path.name}: one line, the last"
                check, answer = re.fullmatch(r"# exercises\.(check_\w+)\((my_\w+)\)", line).groups()
                assert f"def {answer}(" in text and check not in asked
                asked[check] = path.name
                open_checks.append(check)
        assert not open_checks, path.name
    assert set(asked) == set(CHECKS)


def test_splits_and_boost_are_what_the_checks_compare_with():
    """Two constants that no answer above shares with the package."""
    assert splits.class_sizes(450, 100, 100.0)[:3] == [450, 429, 410]
    assert randaugment.CODE["Posterize"] == 9
