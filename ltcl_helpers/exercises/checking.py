"""What a check of an answer is: compare, judge, and say it in one line.

A check is a function that takes a student's function, calls it and compares what it gives. Called
in a lesson, it prints its verdict and never stops the lesson; `judge` gives the verdict to others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

RIGHT, WRONG, UNANSWERED, ERROR = "right", "wrong", "not answered", "error"
LONGEST = 300  # characters of a message
SEEN: dict[str, str] = {}  # the last verdict of each check in this process, for `summary`


class Wrong(AssertionError):
    """An answer that differs; its message says what was got and what was expected."""


class Verdict(NamedTuple):
    """What a check found."""

    status: str  # right, wrong, not answered or error
    message: str = ""


def compare(name: str, got: Any, expected: Any, tolerance: float = 1e-6) -> None:
    """Raise Wrong, in one short line, unless `got` is `expected` up to the tolerance."""
    expected = np.asarray(expected, np.float64)
    require(got is not None, f"{name}: got None; is a `return` missing?")
    try:
        array = np.asarray(_plain(got), np.float64)
    except (TypeError, ValueError):
        raise Wrong(f"{name}: got {_short(got)}, which is no number or array") from None
    if array.shape != expected.shape:
        shapes = f"got shape {list(array.shape)}, expected {list(expected.shape)}"
        raise Wrong(f"{name}: {shapes}")
    apart = ~np.isclose(array, expected, rtol=tolerance, atol=tolerance)
    if not apart.any():
        return
    first = tuple(np.argwhere(apart)[0]) if apart.ndim else ()
    place = f"{apart.sum()} of {apart.size} values differ; at {[int(i) for i in first]} "
    where = place if first else ""
    raise Wrong(f"{name}: {where}got {array[first]:.6g}, expected {expected[first]:.6g}")


def require(holds: Any, message: str) -> None:
    """Raise Wrong with the message unless the condition holds."""
    if not holds:
        raise Wrong(message)


def check(name: str, got: Any, expected: Any, tolerance: float = 1e-6) -> None:
    """Compare two values in a lesson and say so; unlike an exercise's check it stops the lesson.

    Raises:
        Wrong: an AssertionError that says what was got and what was expected.
    """
    compare(name, got, expected, tolerance)
    print(f"{name}: correct")


def exercise(hint: str, *mistakes: str) -> Callable[[Callable], Callable]:
    """Make a function of an answer the check of an exercise.

    Args:
        hint: shown with a wrong answer.
        mistakes: common ones, for the teacher's edition; each is tested to be found.
    """

    def decorate(function: Callable[[Callable], None]) -> Callable[[Callable], None]:
        @functools.wraps(function)
        def run(answer: Callable) -> None:
            verdict = judge(run, answer)
            SEEN[function.__name__] = verdict.status
            name = getattr(answer, "__name__", "answer")
            shown = "correct" if verdict.status == RIGHT else verdict.status
            print(": ".join(filter(None, [name, shown, verdict.message])))

        vars(run).update(hint=hint, mistakes=mistakes, raises=function)
        return run

    return decorate


def judge(check: Callable, answer: Callable) -> Verdict:
    """The verdict of a check, whatever the answer does."""
    hint = getattr(check, "hint", "")
    try:
        getattr(check, "raises", check)(_asked(answer))
    except NotImplementedError:
        return Verdict(UNANSWERED)
    except Wrong as wrong:
        return Verdict(WRONG, _line(f"{wrong}{f' -- hint: {hint}' if hint else ''}"))
    except (Exception, SystemExit) as error:
        return Verdict(ERROR, _line(f"{type(error).__name__}: {error}"))
    return Verdict(RIGHT)


def summary() -> None:
    """Say which of the exercises that were checked in this process are still open."""
    names = {
        status: [n.removeprefix("check_") for n, s in SEEN.items() if s == status]
        for status in (RIGHT, UNANSWERED, WRONG, ERROR)
    }
    for status, found in names.items():
        if found:
            print(f"{status}: {', '.join(found)}")


def _asked(answer: Callable) -> Callable:
    """The answer, whose NotImplemented or ... means that it is not there yet."""

    def call(*arguments: Any) -> Any:
        result = answer(*arguments)
        if result is NotImplemented or result is ...:
            raise NotImplementedError
        return result

    return call


def _plain(value: Any) -> Any:
    """Tensors as arrays, also inside lists."""
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"a {type(value).__name__}"


def _line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
