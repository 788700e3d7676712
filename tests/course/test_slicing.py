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


def test_a_lessons_later_cell_does_not_take_a_students_helper_away():
    lesson = ["helper = train_for_hours()"]
    own = ["def helper(x):\n    return 4 * x", "def my_f(x):\n    return helper(x)"]
    my_f, text = function([*own, *lesson], lesson=lesson)
    assert my_f(2.5) == 10 and "train" not in text
    my_f, _ = function([*own, *lesson, "def helper(x):\n    return 6 * x"], lesson=lesson)
    assert my_f(2.5) == 15  # a student's own later cell counts


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

    first = "def my_f(values):\n    def square(w):\n        return w * w\n    total = 0\n"
    first += "    for v in values:\n        total += square(v) - 1\n"
    first += "    return total / len(values) + max(values)"
    second = 'def my_f(xs: list) -> float:\n    """Doc."""\n    def sq(y: int) -> int:\n'
    second += "        return y*y\n    s: float = 0  # sum\n    x: int\n    for x in xs:\n"
    second += "        s += sq(x) - 1\n    return s/len(xs) + max(xs)"
    assert of(first) == of(second) != ""
    assert of(first.replace("max", "min")) != of(first)
    assert of("def my_f(x):\n    return x + 1") == ""  # short answers are alike by themselves


@pytest.mark.parametrize("cell", ["(" * 3000 + ")" * 3000, "a" + ".b" * 20000, "\0", "if x:\n"])
def test_a_cell_made_to_break_a_parser_is_left_out(cell):
    assert function([cell, "def my_f(x):\n    return 2 * x"])[0](3) == 6


# --- names ------------------------------------------------------------------------------------

BINDS = {  # a statement, the names it gives a value, and those whose value it may change
    "a = 1": ("a", ""),
    "a, (b, *c) = 1, (2, 3)": ("a b c", ""),
    "a.b[0] = 1": ("a", ""),
    "a[0].b += 1": ("a", ""),
    "f().a = 1": ("", ""),
    "a: int = 1": ("a", ""),
    "def a(b):\n    c = 1": ("a", ""),
    "async def a(b):\n    c.append(1)": ("a", ""),
    "class a(b):\n    c = 1": ("a", ""),
    "import a.b, c as d": ("a d", ""),
    "from a import b as c, d": ("c d", ""),
    "from a import *": ("*", ""),
    "for a in b:\n    c = a": ("a c", ""),
    "with a as b:\n    c = 1": ("b c", ""),
    "if a:\n    b = 1\nelse:\n    c = 1": ("b c", ""),
    "(a := 1)": ("a", ""),
    "a = lambda b: (c := b)": ("a", ""),
    "exec('a')": ("*", "exec"),
    "get_ipython().magic(a)": ("*", "a"),
    "globals()['a'] = 1": ("*", ""),
    "vars().update(a=1)": ("*", ""),
    "locals().a = 1": ("*", ""),
    "a.update(b)": ("", "a b"),
    "a.sort()": ("", "a"),
    "a.b.append(c)": ("", "a c"),
    "x = a.pop(b)": ("x", "a"),
    "x = a.copy(b)": ("x", ""),
    "x = a.add_(b)": ("x", "a"),
    "x = pop(a)": ("x", ""),
    "fill(a, b[0], 1)": ("", "a b"),
    "a.show(b)": ("", "a b"),
    "print(a)": ("", ""),
    "a.display(b)": ("", "a"),
    "check_it(a)": ("", ""),
    "x = [a.append(k) for k in b]": ("x k", "a"),
    "x = lambda: a.append(1)": ("x", ""),
    "del a": ("", ""),
}


@pytest.mark.parametrize("text", BINDS)
def test_what_a_statement_gives_a_value_and_what_it_changes(text):
    [node] = ast.parse(text).body
    binds, changes = (set(words.split()) for words in BINDS[text])
    assert slicing._binds(node) == binds
    assert slicing._changes(node) - {"exec"} == changes - {"exec"}


def test_every_way_to_change_data_in_place_is_known():
    known = """append extend insert pop popitem popleft appendleft remove clear update setdefault
        add discard sort reverse fill"""
    for name in known.split():
        [node] = ast.parse(f"x = [a.{name}() for k in b]").body
        assert slicing._changes(node) == {"a"}, name
    for name in ("print", "len", "display", "repr", "type", "help"):
        assert slicing._changes(ast.parse(f"{name}(a)").body[0]) == set(), name
    for name in ("globals", "locals", "vars"):
        assert slicing._binds(ast.parse(f"{name}()['a'] = 1").body[0]) == {"*"}, name


def test_what_a_statement_looks_up_is_of_the_notebook():
    for text, names in {
        "a = b + c.d": "b c", "def f(x, y=b):\n    z = x\n    return z + g": "b g",
        "class A(B):\n    c = d\n    def e(self):\n        return f": "B d f",
        "x = [k + y for k in z]": "y z", "def f():\n    global g\n    g += 1": "g",
        "@d\ndef f():\n    def h():\n        return i\n    return h": "d i",
    }.items():  # fmt: skip
        found = slicing._reads(ast.parse(text).body[0])
        assert names.split() == sorted(found & set("abcdefghiBxyz") - {"f"} | found & {"f"}), text


def test_cells_of_jupyter_become_statements():
    for cell, text in {
        "%%time\nx = 1": "x = 1", "  %%timeit -n 3\nx = 1": "x = 1",
        "%%capture out\nx = 1": "x = 1",
        "%%prun\nx = 1": "x = 1", "x = 1\n# %%time\n": "x = 1",
        "!ls": "get_ipython().system('ls')", "%pwd": "get_ipython().run_line_magic('pwd', '')",
    }.items():  # fmt: skip
        assert "\n".join(map(ast.unparse, slicing.parse(cell))) == text
    with pytest.raises(SyntaxError):
        slicing.parse("def f(:")


def test_an_import_keeps_only_what_is_needed():
    cells = ["import a.b, c as d, e", "from f import g, h as i\nfrom . import j as k",
             "from l import *", "def my_f():\n    return a, i, k"]  # fmt: skip
    assert str(slicing.program(cells, [], "my_f")).splitlines()[:4] == [
        "import a.b", "from f import h as i", "from . import j as k",
        "from l import *"]  # fmt: skip
    whole = str(slicing.program(cells, [], "my_f", whole=True))
    assert whole.startswith("import a.b, c as d, e\nfrom f import g, h as i\n")


def test_all_names_of_a_program_are_listed_with_their_parts():
    cells = ["import np.linalg as la", "def my_f(x):\n    return la.norm(x).item()"]
    assert slicing.program(cells, [], "my_f").names() == ["item", "la", "linalg", "norm", "np", "x"]
    assert slicing.Program([]).names() == []


def test_why_there_is_no_answer_is_said_of_the_first_cell_that_speaks_of_it():
    cells = ["x = (", "my_fx = (", "def my_f(x)\n  return", "my_f("]
    assert slicing.program(cells, [], "my_f") == ([], "SyntaxError: expected ':', line 1", "")
    assert slicing.program(["x = 1\nmy_f = = 1"], [], "my_f").problem == (
        "SyntaxError: invalid syntax, line 2"
    )
    assert slicing.program(["my_f = '\0'"], [], "my_f").problem.startswith(("SyntaxE", "ValueE"))


def of(text):
    return slicing.fingerprint(ast.parse(text).body)


LONG = "def my_f(a, b):\n    c = a + b\n    d = c * c - a / b\n    return [c, d, a, max(b, {})]"


def test_a_fingerprint_forgets_names_hints_and_docs_and_is_of_the_last_definition():
    first = of(LONG.format(1))
    assert len(first) == 12 and first == of(LONG.format(1).replace("my_f", "another"))
    for before, after in (("c", "sum_"), ("(a, b)", "(a: int, b: list) -> list"),
                          (":\n", ':\n    "Doc."\n')):  # fmt: skip
        assert of(LONG.format(1).replace(before, after, 9 if before == "c" else 1)) == first
    for before, after in (("max", "min"), ("- a", "- b"), (" 1)", " 2)"), ("c, d", "d, c")):
        assert of(LONG.format(1).replace(before, after)) != first
    assert of(f"{LONG.format(2)}\n{LONG.format(1)}") == first != of(LONG.format(2)) != ""
    assert slicing.fingerprint([]) == ""


def test_an_answer_of_40_pieces_has_a_fingerprint_and_a_shorter_one_none():
    def pieces(count):
        text = f"def f():\n    return {'-' * count}1"
        return sum(1 for _ in ast.walk(ast.parse(text).body[0])), text

    sizes = dict(pieces(count) for count in range(30))
    assert of(sizes[40]) != "" and of(sizes[39] if 39 in sizes else sizes[38]) == ""
