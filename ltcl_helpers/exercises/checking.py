"""What a check of an answer is: compare, judge, and say it in one line.

A check is a function that takes a student's function, calls it and compares what it gives. Called
in a lesson, it prints its verdict and never stops the lesson; `judge` gives the verdict to others.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

RIGHT, WRONG, UNANSWERED, ERROR = "right", "wrong", "not answered", "error"
TIMED_OUT = "timed out"
LONGEST = 300  # characters of a message
SECONDS = 20.0  # that a check in a lesson waits for an answer; right ones take less than one
SEEN: dict[str, str] = {}  # the last verdict of each check in this process, for `summary`
WRONG_BEFORE: set[str] = set()  # checks that have given their nudge: the next hint says how


class Wrong(AssertionError):
    """An answer that differs; its message says what was got and what was expected."""


class TooLong(BaseException):
    """The time of a check is over. No `except Exception` of an answer swallows it."""


class Verdict(NamedTuple):
    """What a check found."""

    status: str  # right, wrong, not answered, error or timed out
    message: str = ""


# --- what a check asks ----------------------------------------------------------------------


def compare(name: str, got: Any, expected: Any, tolerance: float = 1e-6) -> None:
    """Raise Wrong, in one short line, unless `got` is `expected` up to the tolerance."""
    expected = np.asarray(_plain(expected), np.float64)
    require(got is not None, f"{name}: got None; is a `return` missing?")
    array = numbers(name, got)
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


def numbers(name: str, got: Any) -> np.ndarray:
    """What an answer gave as an array of floats; a text that looks like a number is none."""
    try:
        array = np.asarray(_plain(got))
        if array.dtype.kind in "USc":
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError):
        raise Wrong(f"{name}: got {_short(got)}, which is no number or array") from None


def require(holds: Any, message: str) -> None:
    """Raise Wrong with the message unless the condition holds."""
    if not holds:
        raise Wrong(message)


def compare_gradient(name: str, got: Any, expected: Tensor, inputs: Sequence[Tensor]) -> None:
    """Raise Wrong unless `got` carries the gradient of `expected` to the inputs.

    A value from another process has lost its graph, and says only that it had one.
    """
    if isinstance(got, list | tuple) and all(isinstance(each, Tensor) for each in got):
        got = torch.stack([*got])
    tracked = isinstance(got, Tensor) and got.requires_grad
    require(
        tracked,
        f"{name}: right values, but no gradient; a loss that trains a network must carry it "
        "(no detach, item, float, numpy or no_grad)",
    )
    if got.grad_fn is None:
        return
    theirs = torch.autograd.grad(expected.sum(), inputs)
    ours = torch.autograd.grad(got.sum(), inputs, allow_unused=True)
    for place, (mine, right) in enumerate(zip(ours, theirs, strict=True), 1):
        found = torch.zeros_like(right) if mine is None else mine
        compare(f"{name}: gradient of input {place}", found, right, 1e-4)


def unchanged(name: str, now: Any, before: Any) -> None:
    """Raise Wrong where an answer has changed what it was given."""
    same = np.array_equal(np.asarray(_plain(now)), np.asarray(_plain(before)))
    require(same, f"{name}: what was handed in has changed; work on a copy")


def check(name: str, got: Any, expected: Any, tolerance: float = 1e-6) -> None:
    """Compare two values in a lesson and say so; unlike an exercise's check it stops the lesson.

    Raises:
        Wrong: an AssertionError that says what was got and what was expected.
    """
    compare(name, got, expected, tolerance)
    print(f"{name}: correct")


# --- an exercise and its verdict ------------------------------------------------------------


def exercise(
    hint: str, *mistakes: str, nudge: str = "", may_not_call: tuple[str, ...] = ()
) -> Callable[[Callable], Callable]:
    """Make a function of an answer the check of an exercise.

    Args:
        hint: says how; shown with a wrong answer, in a lesson from the second on.
        mistakes: common ones, for the teacher's edition; each is tested to be found.
        nudge: where to look; shown in a lesson with the first wrong answer.
        may_not_call: functions that give the answer away, as `name` or `module.name`. An answer
            that calls one of them is right, and the verdict says that it does.
    """

    def decorate(function: Callable[[Callable], None]) -> Callable[[Callable], None]:
        name = function.__name__

        @functools.wraps(function)
        def run(answer: Callable) -> None:
            verdict = judge(run, answer, SECONDS, nudge if name not in WRONG_BEFORE else "")
            SEEN[name] = verdict.status
            if verdict.status in (WRONG, ERROR):
                WRONG_BEFORE.add(name)
            called = getattr(answer, "__name__", "answer")
            shown = "correct" if verdict.status == RIGHT else verdict.status
            print(": ".join(filter(None, [called, shown, verdict.message])))

        vars(run).update(
            hint=hint,
            nudge=nudge,
            mistakes=mistakes,
            may_not_call=may_not_call,
            raises=function,
        )
        return run

    return decorate


def judge(
    check: Callable, answer: Callable, seconds: float | None = None, nudge: str = ""
) -> Verdict:
    """The verdict of a check, whatever the answer does.

    Args:
        check: of an exercise.
        answer: the student's function.
        seconds: after which an answer is given up; None where somebody else keeps the time.
        nudge: what to say instead of the check's hint.
    """
    asked = _Asked(answer)
    hint = nudge or getattr(check, "hint", "")
    try:
        with time_limit(seconds):
            getattr(check, "raises", check)(asked)
    except NotImplementedError:
        return Verdict(UNANSWERED)
    except Wrong as wrong:
        return Verdict(WRONG, _line(str(wrong), hint))
    except TooLong:
        said = f"not done after {seconds:g} s{asked.given()}; can its loop go on for ever?"
        return Verdict(TIMED_OUT, _line(said, hint))
    except (Exception, SystemExit) as error:
        return Verdict(ERROR, _line(f"{type(error).__name__}: {error}{asked.given()}", hint))
    return Verdict(RIGHT, _note(borrowed(check, *_codes(answer))))


@contextlib.contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise TooLong in this thread after so many seconds, as soon as Python code runs in it."""
    if seconds is None:
        yield
        return
    thread, over, lock = ctypes.c_ulong(threading.get_ident()), threading.Event(), threading.Lock()

    def watch() -> None:
        pause = seconds
        while not over.wait(pause):
            with lock:
                if not over.is_set():
                    raised = ctypes.py_object(TooLong)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, raised)
            pause = 1.0  # an answer may have swallowed it

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        with lock:  # what was raised before this line is raised here, and nothing after it
            over.set()


def borrowed(check: Callable, *codes: types.CodeType) -> list[str]:
    """What code calls of that which the exercise asks for, named as in `may_not_call`.

    Args:
        check: of an exercise.
        codes: of a function, or of a cell: `compile(text, "cell", "exec")`.
    """
    names: set[str] = set()
    for code in codes:
        names |= _names(code)
    asked = getattr(check, "may_not_call", ())
    return [name for name in asked if set(name.split(".")) <= names]


def summary() -> None:
    """Say which of the exercises that were checked in this process are still open."""
    for status in (RIGHT, UNANSWERED, WRONG, ERROR, TIMED_OUT):
        found = [name.removeprefix("check_") for name, seen in SEEN.items() if seen == status]
        if found:
            print(f"{status}: {', '.join(found)}")


# --- pieces ---------------------------------------------------------------------------------


class _Asked:
    """The answer, whose NotImplemented or ... means that it is not there yet."""

    def __init__(self, answer: Callable) -> None:
        self.answer = answer
        self.arguments: tuple[Any, ...] = ()

    def __call__(self, *arguments: Any) -> Any:
        self.arguments = arguments
        result = self.answer(*arguments)
        if result is NotImplemented or result is ...:
            raise NotImplementedError
        return result

    def given(self) -> str:
        """What it was called with the last time, in words."""
        if not self.arguments:
            return ""
        return f", called with ({', '.join(map(_kind, self.arguments))})"


def _kind(value: Any) -> str:
    """The type of an argument, with the size of what has one, and the value of a number."""
    if isinstance(value, bool | int | float | str):
        return f"{value!r:.12}"
    if isinstance(value, Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return f"tensor {list(value.shape)} of {kind}"
    if isinstance(value, np.ndarray):
        return f"array {list(value.shape)} of {value.dtype}"
    if isinstance(value, list | tuple | dict):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__


def _codes(answer: Any, module: str = "__main__") -> list[types.CodeType]:
    """The code of an answer and of the notebook's functions that it names."""
    found: list[types.CodeType] = []
    waiting = [answer]
    while waiting:
        function = waiting.pop()
        if not isinstance(function, types.FunctionType) or function.__code__ in found:
            continue
        found.append(function.__code__)
        own = function.__module__ if function is answer else module
        for name in _names(function.__code__):
            named = function.__globals__.get(name)
            if getattr(named, "__module__", None) == own:
                waiting.append(named)
    return found


def _names(code: types.CodeType) -> set[str]:
    """All names that code uses, at any depth; of dotted ones the parts."""
    names = {part for name in code.co_names for part in name.split(".")}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _note(names: Sequence[str]) -> str:
    return f"but it calls {', '.join(names)}; the exercise asks for your own" if names else ""


def _plain(value: Any) -> Any:
    """Tensors as arrays, also inside lists."""
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"a {type(value).__name__}"


def _line(said: str, hint: str) -> str:
    """One line of at most LONGEST characters; what happened is cut before the hint is."""
    hint = f" -- hint: {hint}" if hint else ""
    said = " ".join(said.split())
    room = max(LONGEST - len(hint), 60)
    if len(said) > room:
        said = f"{said[: room - 3]}..."
    return f"{said}{hint}"[:LONGEST]
