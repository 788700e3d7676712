"""The statements that an answer needs: found, and run where they give the right function."""

import ast

import pytest

from ltcl_helpers.course import slicing
from ltcl_helpers.course.answering import Shell, _run


def function(cells, name="my_f", lesson=(), whole=False):
    """The function that the program of these cells defines, and the program."""
    program = slicing.program(cells, list(lesson), name, whole)
    names = {"get_ipython": Shell}
    _run(program.statements, names)
    return names[name], str(program)


def test_only_what_an_answer_needs_is_run():
    cells = [
        "import numpy as np, matplotlib.pyplot as plt\nfrom math import floor, ceil",
        "run = train_for_hours()",
        "FACTOR = 3\nexercises.check = None\nx, y = train_for_hours()",
        "def helper(x):\n    y = [x for x in [x]][0]\n    return FACTOR * y",
        "def my_f(x):\n    return floor(helper(x))",
        "FACTOR = 2",
        "%timeit my_f(1)\nmy_f(1)",
        "this is no Python",
    ]
    my_f, text = function(cells)
    assert my_f(2.5) == 5 and "train" not in text and "plt" not in text and "ceil" not in text
    assert slicing.program(cells, [], "my_g") == ([], "", "")
    assert "line 1" in slicing.program(["def my_f(x) return"], [], "my_f").problem


def test_a_helper_stays_what_it_was_where_the_answer_was_checked():
    """A lesson's later cell may use its name; a student's second attempt replaces both."""
    attempt = "def helper(x):\n    return {} * x\ndef my_f(x):\n    return helper(x)"
    cells = [attempt.format(3), attempt.format(4), "helper, best = train_for_hours(), 1"]
    my_f, text = function(cells)
    assert my_f(2.5) == 10 and "train" not in text


ODD = {  # cells that a notebook runs as their author meant; my_f(3) is 6
    "star import": ["from math import *", "def my_f(x):\n    return factorial(x)"],
    "list filled in a loop": [
        "table = []\nfor k in range(5):\n    table.append(2 * k)",
        "def my_f(x):\n    return table[x]",
    ],
    "dict updated": ["d = {}\nd.update({3: 6})", "def my_f(x):\n    return d[x]"],
    "dict filled by a key": ["d = {}\nd[3] = 6", "def my_f(x):\n    return d[x]"],
    "filled by a function": [
        "d = {}\ndef fill(where):\n    where[3] = 6\nfill(d)", "def my_f(x):\n    return d[x]"
    ],
    "filled while reading": [
        "rest, seen = [3, 2, 1], []\nwhile rest:\n    seen.append(rest.pop())",
        "def my_f(x):\n    return sum(seen)",
    ],
    "filled by a comprehension": [
        "d = {}\n[d.setdefault(k, 2 * k) for k in range(5)]", "def my_f(x):\n    return d[x]"
    ],
    "sorted in place": ["a = [6, 1, 2]\na.sort()", "def my_f(x):\n    return a[2]"],
    "exec": ["exec('def helper(x): return 2 * x')", "def my_f(x):\n    return helper(x)"],
    "globals": ["globals()['factor'] = 2", "def my_f(x):\n    return factor * x"],
    "globals updated": ["globals().update(factor=2)", "def my_f(x):\n    return factor * x"],
    "shell": ["x = !ls\nfactor = 2 + len(x)", "def my_f(x):\n    return factor * x"],
    "magic line": ["%matplotlib inline\nfactor = 2", "def my_f(x):\n    return factor * x"],
    "timed cell": ["%%time\ndef my_f(x):\n    return 2 * x"],
    "help": ["len?", "def my_f(x):\n    return 2 * x"],
    "lambda": ["my_f = lambda x: 2 * x"],
    "made by a function": [
        "def times(n):\n    return lambda x: n * x", "my_f = times(2)", "times = None"
    ],
    "partial": ["from functools import partial\nfrom operator import mul\nmy_f = partial(mul, 2)"],
    "object": ["class Twice:\n    def __call__(self, x):\n        return 2 * x\nmy_f = Twice()"],
    "decorated": [
        "def twice(f):\n    return lambda x: 2 * f(x)", "@twice\ndef my_f(x):\n    return x"
    ],
    "conditional": ["try:\n    import nowhere\nexcept ImportError:\n    nowhere = None",
                    "def my_f(x):\n    return 2 * x if nowhere is None else 0"],
    "counted": ["calls = 0", "def my_f(x):\n    global calls\n    calls += 1\n    return 2 * x"],
    "broken cell below": ["def my_f(x):\n    return 2 * x", "my_f(3"],
    "error above": ["factor = 2", "1 / 0", "def my_f(x):\n    return factor * x"],
    "typed": ["from typing import Any", "def my_f(x: Any) -> Any:\n    return 2 * x"],
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_cells_of_odd_kinds_give_the_function_that_a_notebook_gives(kind):
    assert function(ODD[kind])[0](3) == 6


def test_what_a_student_deleted_is_taken_from_the_lesson():
    lesson = ["import math", "def helper(x):\n    return math.factorial(x)", "run = train()",
              "def my_f(x):\n    raise NotImplementedError"]  # fmt: skip
    my_f, text = function(["def my_f(x):\n    return helper(x)"], lesson=lesson)
    assert my_f(3) == 6 and "train" not in text and "raise" not in text


def test_whole_cells_are_those_of_the_student_and_an_error_stops_none():
    lesson = ["run = train()", "def my_f(x):\n    raise NotImplementedError"]
    odd = "import sys\nsetattr(sys.modules[__name__], 'a', 1)\nbox = type('Box', (), {})()"
    cells = [lesson[0], odd, "(box).__dict__['twice'] = 2", "nowhere()",
             "def my_f(x):\n    return box.twice * x"]  # fmt: skip
    sliced, whole = function(cells, lesson=lesson), function(cells, lesson=lesson, whole=True)
    assert "nowhere" not in sliced[1] and "nowhere" in whole[1] and "train" not in whole[1]
    assert whole[0](3) == 6


def test_a_fingerprint_is_of_what_is_done_not_of_how_it_looks():
    def of(text):
        return slicing.fingerprint(ast.parse(text).body)

    first = "def my_f(values):\n    total = 0\n    for v in values:\n        total += v * v - 1\n"
    first += "    return total / len(values) + max(values)"
    second = 'def my_f(xs: list) -> float:\n    """Doc."""\n    s = 0  # sum\n    for x in xs:\n'
    second += "        s += x*x - 1\n    return s/len(xs) + max(xs)"
    assert of(first) == of(second) != ""
    assert of(first.replace("max", "min")) != of(first)
    assert of("def my_f(x):\n    return x + 1") == ""  # short answers are alike by themselves


@pytest.mark.parametrize("cell", ["(" * 3000 + ")" * 3000, "a" + ".b" * 20000, "\0", "if x:\n"])
def test_a_cell_made_to_break_a_parser_is_left_out(cell):
    assert function([cell, "def my_f(x):\n    return 2 * x"])[0](3) == 6
