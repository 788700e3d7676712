"""The words of a verdict: what was got, what was handed in, how long it may be, what is listed."""

import functools
import math

import numpy as np
import pytest
import torch

from ltcl_helpers.exercises import checking
from ltcl_helpers.exercises.checking import Verdict, judge

X = torch.tensor([1.0, 2.0], requires_grad=True)
Y = torch.tensor([3.0, 4.0], requires_grad=True)


def refused(work, *given):
    with pytest.raises(checking.Wrong) as caught:
        work("x", *given)
    return str(caught.value)


def test_compare_says_where_and_how_many():
    apart = [[1, 2], [3, 4.0000001]], [[1, 7], [8, 4]]
    assert refused(checking.compare, *apart) == (
        "x: 2 of 4 values differ; at [0, 1] got 2, expected 7"
    )
    assert refused(checking.compare, 1 / 3, 1e7 + 0.25) == "x: got 0.333333, expected 1e+07"
    assert refused(checking.compare, [torch.ones(2)], [1, 2]) == (
        "x: got shape [1, 2], expected [2]"
    )
    assert refused(checking.compare, None, 1) == "x: got None; is a `return` missing?"
    checking.compare("x", [torch.ones(2), (2, 3)], [[1, 1], [2, 3]])
    for got, right in ((1 + 9e-7, 1), (9e-7, 0), (1e6 + 0.9, 1e6)):
        checking.compare("x", got, right)
    for got, right in ((1 + 3e-6, 1), (3e-6, 0), (1e6 + 3, 1e6)):
        assert "expected" in refused(checking.compare, got, right)
    checking.compare("x", 1.09, 1, 0.1)
    with pytest.raises(checking.Wrong, match="got 1.09, expected 1"):
        checking.check("x", 1.09, 1, 0.01)


def test_a_comparison_in_a_lesson_says_that_it_holds(capsys):
    checking.check("half of three", 1.49, 1.5, 0.1)
    assert capsys.readouterr().out == "half of three: correct\n"


def test_what_is_no_number_is_named_when_it_is_short():
    for got, shown in (
        ("7", "'7'"), (b"7", "b'7'"), (1j, "1j"), ([1, [2, 3]], "[1, [2, 3]]"), ({}, "{}"),
        ("y" * 38, repr("y" * 38)), ("y" * 39, "a str"), (["a", "b" * 40], "a list"),
    ):  # fmt: skip
        said = f"x: got {shown}, which is no number or array"
        assert refused(checking.compare, got, 1) == said
    checking.compare("x", [True, False], [1, 0])


def test_a_gradient_is_compared_input_by_input():
    def gradient(got, expected=None, inputs=(X, Y)):
        checking.compare_gradient("x", got, X * Y if expected is None else expected, inputs)

    gradient(X * Y)
    gradient([each for each in X * Y])
    gradient(tuple(X * Y))
    gradient(X * Y * (1 + 5e-5))
    gradient((X * Y).detach().requires_grad_())  # from another process, which keeps no graph
    gradient(X * 2, X * 2 + 0 * Y)  # of no weight there
    lost = "x: right values, but no gradient; a loss that trains a network must carry it"
    for got in (torch.ones(2), np.ones(2), [1.0, 2.0]):
        with pytest.raises(checking.Wrong, match=lost):
            gradient(got)
    with pytest.raises(checking.Wrong, match=r"x: gradient of input 1: .* got 4, expected 3"):
        gradient(X * Y + X)
    with pytest.raises(checking.Wrong, match=r"x: gradient of input 2: .* got 0, expected 1"):
        gradient(X * Y.detach())
    with pytest.raises(checking.Wrong, match="gradient of input 1"):
        gradient(X * Y * (1 + 5e-4))


def test_what_was_handed_in_must_stay():
    checking.unchanged("x", [X, 1 * Y], [X.clone(), Y])
    said = "x: what was handed in has changed; work on a copy"
    assert refused(checking.unchanged, X + 1, X) == said


# --- a verdict --------------------------------------------------------------------------------


def wrong(answer):
    raise checking.Wrong("so  it\nis")


def test_a_verdict_says_in_one_line_what_happened():
    def calls(answer):
        answer(1, "two")

    def crash(number, text):
        raise ValueError("no\nway")

    assert judge(wrong, print) == Verdict("wrong", "so it is")
    assert judge(wrong, print, nudge="look") == Verdict("wrong", "so it is -- hint: look")
    assert judge(calls, crash) == Verdict("error", "ValueError: no way, called with (1, 'two')")
    assert judge(lambda answer: {}["a"], print) == Verdict("error", "KeyError: 'a'")
    assert judge(calls, lambda *given: exit(3)).message == "SystemExit: 3, called with (1, 'two')"
    assert judge(calls, lambda *given: ...) == Verdict("not answered", "")
    assert judge(calls, lambda *given: 1) == Verdict("right", "")
    with pytest.raises(KeyboardInterrupt):  # who stops a lesson stops it
        judge(functools.partial(raises, KeyboardInterrupt), print)


def raises(kind, answer):
    raise kind


def test_a_line_is_cut_before_its_hint():
    for said, hint, line in (
        ("a" * 300, "", "a" * 300),
        ("a" * 301, "", "a" * 297 + "..."),
        ("a" * 287, "b", "a" * 287 + " -- hint: b"),
        ("a" * 290, "b", "a" * 286 + "... -- hint: b"),
        ("a" * 99, "b" * 299, "a" * 57 + "..." + " -- hint: " + "b" * 230),
    ):
        assert checking._line(said, hint) == line, (len(said), len(hint))


def test_what_was_handed_in_is_told_by_kind_and_size():
    asked = checking._Asked(lambda *given: None)
    assert asked.given() == ""
    asked(True, 2, math.pi, "a long text", torch.ones(2, 3), np.ones(4, "int8"), [1], (1, 2), {})
    assert asked.given() == (
        ", called with (True, 2, 3.1415926535, 'a long text, tensor [2, 3] of float32, "
        "array [4] of int8, list of 1, tuple of 2, dict of 0)"
    )
    asked(asked)
    assert asked.given() == ", called with (_Asked)"


def test_the_first_wrong_answer_of_each_check_is_nudged(capsys, monkeypatch):
    monkeypatch.setattr(checking, "WRONG_BEFORE", set())
    monkeypatch.setattr(checking, "SEEN", {})

    @checking.exercise("how", nudge="where")
    def check_one(answer):
        checking.compare("one", answer(), 1)

    @checking.exercise("how else")
    def check_two(answer):
        checking.compare("two", answer(), 2)

    class Answer:
        def __call__(self):
            return 3

    for check, answer in (
        (check_one, lambda: ...), (check_one, lambda: 1 / 0), (check_one, Answer()),
        (check_two, Answer()), (check_two, Answer()), (check_one, math.pi), (check_two, lambda: 2),
    ):  # fmt: skip
        check(answer)
    assert capsys.readouterr().out.splitlines() == [
        "<lambda>: not answered",
        "<lambda>: error: ZeroDivisionError: division by zero -- hint: where",
        "answer: wrong: one: got 3, expected 1 -- hint: how",
        "answer: wrong: two: got 3, expected 2 -- hint: how else",
        "answer: wrong: two: got 3, expected 2 -- hint: how else",
        "answer: error: TypeError: 'float' object is not callable -- hint: how",
        "<lambda>: correct",
    ]
    checking.summary()
    assert capsys.readouterr().out == "right: two\nerror: one\n"
    assert (check_one.hint, check_one.nudge, check_one.mistakes) == ("how", "where", ())


def test_the_summary_is_in_one_order(capsys, monkeypatch):
    states = ("timed out", "error", "wrong", "not answered", "right")
    seen = {f"check_{state[:3]}_{k}": state for k in (1, 2) for state in states}
    monkeypatch.setattr(checking, "SEEN", seen)
    checking.summary()
    assert capsys.readouterr().out.splitlines() == [
        f"{state}: {state[:3]}_1, {state[:3]}_2" for state in reversed(states[1:])
    ] + ["timed out: tim_1, tim_2"]


# --- what an answer calls ---------------------------------------------------------------------


def sort_it(values):
    return np.linalg.norm(values)


def helper(values):
    return [sort_it(each) for each in values]


def my_answer(values):
    return helper(values)


def test_the_notebooks_own_functions_are_read_with_the_answer():
    @checking.exercise("how", may_not_call=("linalg.norm", "sort_it", "linalg.inv", "norm.x"))
    def check_it(answer):
        pass

    assert len(checking._codes(my_answer, __name__)) == 3  # as those of a notebook
    codes = checking._codes(my_answer, __name__)
    assert checking.borrowed(check_it, *codes) == ["linalg.norm", "sort_it"]
    note = "but it calls sort_it; the exercise asks for your own"
    assert judge(check_it, my_answer) == Verdict("right", note)
    assert checking._codes(math.sqrt) == [] == checking._codes(checking._Asked(print))
    assert judge(check_it, lambda values: values) == Verdict("right", "")
