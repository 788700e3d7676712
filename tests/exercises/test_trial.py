"""Answers as students write them, of other kinds than those of test_exercises: the checks' trial.

Wrong ones work for one size, one order, one value, or lose what a training step needs; each is
refused with a hint. Right ones take other ways, types and libraries than the solutions.
"""

import pytest
from exercises import trial_00_to_05, trial_06_to_11  # noqa: F401  (they fill both)
from exercises.trial import RIGHT, WRONG

from ltcl_helpers import exercises
from ltcl_helpers.exercises import checking


def of(answers):
    return [
        pytest.param(getattr(exercises, f"check_{name}"), answer, id=f"{name}-{k}")
        for name, found in answers.items()
        for k, answer in enumerate(found)
    ]


def test_the_trial_is_as_large_as_it_should_be():
    assert len(of(WRONG)) >= 100 and len(of(RIGHT)) >= 60
    checks = {f"check_{name}" for name in WRONG}
    assert checks == {name for name in exercises.__all__ if name.startswith("check_")}


@pytest.mark.parametrize(("check", "answer"), of(RIGHT))
def test_a_right_answer_of_another_kind_is_accepted(check, answer):
    assert exercises.judge(check, answer).status == checking.RIGHT


@pytest.mark.parametrize(("check", "answer"), of(WRONG))
def test_a_wrong_answer_is_refused_with_a_hint(check, answer):
    verdict = exercises.judge(check, answer)
    assert verdict.status in (checking.WRONG, checking.ERROR), verdict
    assert " -- hint: " in verdict.message and check.hint[:30] in verdict.message
