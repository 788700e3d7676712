"""The answer's side, step by step: values that cross, a task that is served, errors in words."""

import base64
import io
import json
import pickle
import struct
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch

from ltcl_helpers.course import answering, sandbox


def there_and_back(value, like=None):
    return answering.unpack(json.loads(json.dumps(answering.pack(value))), like)


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 2.5, "x", [], [1, [2, "y"]], {}, {"a": {1: [2]}, None: 2.0}, {1, 2}, set()],
)
def test_a_plain_value_comes_back_as_it_was(value):
    found = there_and_back(value)
    assert found == value and type(found) is type(value)


def test_what_is_like_a_list_or_a_number_comes_back_as_one():
    for value, plain in (
        ((1, 2), [1, 2]), (range(3), [0, 1, 2]), (frozenset({1}), {1}), ({"a": 1}.keys(), {"a"}),
        (Fraction(1, 4), 0.25), (Decimal("0.5"), 0.5), (np.array(["a", "b"]), ["a", "b"]),
        (np.array([Fraction(1, 2), 1], object), [0.5, 1]), (pd.Series(["a"]), ["a"]),
        (np.array([["a"], ["b"]]), [["a"], ["b"]]), (np.array(Fraction(1, 2)), 0.5),
        (np.array("a"), "a"),
    ):  # fmt: skip
        found = there_and_back(value)
        assert found == plain and type(found) is type(plain), value
    once = there_and_back(k for k in (3, 4))
    assert next(once) == 3 and list(once) == [4] and iter(once) is once
    assert list(there_and_back({"a": 1}.values())) == [1]


@pytest.mark.parametrize("kind", ["bool", "int8", "int64", "float32", "float64"])
def test_an_array_and_a_tensor_keep_type_and_shape(kind):
    array = np.arange(6).reshape(2, 3).astype(kind)
    for found in (there_and_back(array), there_and_back(torch.from_numpy(array)).numpy()):
        assert found.dtype == kind and found.tolist() == array.tolist()
        found[0] = 0  # not only to be read
    assert there_and_back(array[1, 2]) == array[1, 2] and np.ndim(there_and_back(array[1, 2])) == 0
    assert there_and_back(np.uint8(7)) == 7 and there_and_back(pd.Series([1, 2])).tolist() == [1, 2]


def test_a_tensor_says_whether_it_carries_a_gradient():
    assert not there_and_back(torch.ones(2)).requires_grad
    weights = torch.ones(2, requires_grad=True)
    found = there_and_back(2 * weights)
    assert found.requires_grad and found.tolist() == [2, 2]
    assert list(answering.pack(2 * weights)) == ["tracked"]


def test_weights_come_back_in_a_copy_and_code_does_not():
    layer, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    copied = there_and_back(other, layer)
    assert torch.equal(copied.weight, other.weight) and copied is not layer
    assert not torch.equal(copied.weight, layer.weight)
    within = [*there_and_back([other], layer), there_and_back({"a": other}, layer)["a"]]
    assert all(torch.equal(each.weight, other.weight) for each in within)
    for odd in (object(), np.array(print), print, 1j, other):
        found = there_and_back(odd)
        assert type(found).__bases__ == (object,) and not callable(found)
    assert answering.pack(1j) == {"other": "complex"} and answering.pack(print) == {
        "other": "builtin_function_or_method"
    }
    assert len(type(answering.unpack({"other": "x" * 99})).__name__) == 40
    with pytest.raises(ValueError, match=r"an array of type \|S1"):
        answering.unpack({"array": ["|S1", [1], "AA=="]})
    with pytest.raises(ValueError):
        answering.unpack({"list": [], "set": []})


# --- messages ---------------------------------------------------------------------------------


def test_a_message_is_its_length_and_its_text():
    stream = io.BytesIO()
    answering.write(stream, {"a": "ä"})
    data = b'{"a": "\\u00e4"}'
    assert stream.getvalue() == struct.pack("<Q", len(data)) + data
    stream.seek(0)
    assert answering.read(stream) == {"a": "ä"}
    for broken in (b"", b"1234567", struct.pack("<Q", 0) + b"{}",
                   struct.pack("<Q", answering.LONGEST + 1) + b"{}"):  # fmt: skip
        with pytest.raises(EOFError):
            answering.read(io.BytesIO(broken))
    with pytest.raises(ValueError):
        answering.read(io.BytesIO(struct.pack("<Q", 9) + b'{"a": 1'))
    largest = struct.pack("<Q", answering.LONGEST) + b"1".ljust(answering.LONGEST)
    assert answering.LONGEST == 16 << 20 and answering.read(io.BytesIO(largest)) == 1


class Line:
    """Both ends of a line: what was asked for is read, what is said is kept."""

    def __init__(self, *messages):
        asked, self.said = io.BytesIO(), io.BytesIO()
        for message in messages:
            answering.write(asked, message)
        asked.seek(0)
        self.read, self.write, self.flush = asked.read, self.said.write, self.said.flush

    def heard(self):
        self.said.seek(0)
        found = []
        while self.said.tell() < len(self.said.getvalue()):
            found.append(answering.read(self.said))
        return found


def served(cells, *calls, lesson=(), whole=False):
    """What a process for the answer `my_f` says."""
    task = {"cells": list(cells), "lesson": list(lesson), "name": "my_f", "whole": whole}
    asked = [{"call": base64.b64encode(pickle.dumps(call)).decode()} for call in calls]
    line = Line(task, *asked)
    with pytest.raises(EOFError):  # nobody asks for more
        answering.serve(line)
    return line.heard()


TWICE = "import math\ndef my_f(x):\n    return 2 * x"


def test_an_answer_is_called_as_often_as_asked():
    about, first, second = served([TWICE], (3,), ("ab",))
    assert first == {"result": 6, "changed": {}, "moved": []} and second["result"] == "abab"
    assert sorted(about) == ["fingerprint", "names", "program"]
    assert about["fingerprint"] == "" and about["names"] == ["x"]
    again, other = served([TWICE]), served([TWICE.replace("2", "3")])
    assert again[0] == about and other[0]["program"] != about["program"]
    assert len(about["program"]) == 64


def test_what_an_answer_changed_in_place_is_told_by_its_place():
    cell = "def my_f(a, b, c, d):\n    b.append(1)\n    c.data = c + 1\n    d += 1\n    return a"
    _, said = served([cell], (1, [], torch.zeros(1), torch.zeros(1)))
    assert said["result"] == 1 and sorted(said["changed"]) == ["1", "2", "3"]
    assert answering.unpack(said["changed"]["1"]) == [1] and said["moved"] == ["2"]
    assert answering.unpack(said["changed"]["3"]).tolist() == [1]


def raised(cells, *calls, **options):
    return [said.get("raised") for said in served(cells, *calls, **options)]


def test_errors_are_told_in_words():
    define = "def my_f(x):\n    return {}"
    assert raised([define.format("1 / x")], (0,), (2,)) == [
        None, "ZeroDivisionError: division by zero", None]  # fmt: skip
    assert raised([define.format("exit()")], (0,)) == [None, "SystemExit: None"]
    for stub in ("...", "NotImplemented", "(_ for _ in ()).throw(NotImplementedError('later'))"):
        assert raised([define.format(stub)], (0,)) == [None, "NotImplementedError"]
    long = define.format("{}['x' * 200]")
    assert raised([long], (0,)) == [None, f"KeyError: '{149 * 'x'}"]
    before = " (before that: ZeroDivisionError: division by zero)"
    assert raised(["a = 1 / 0\nb = c", define.format("a")], (0,)) == [
        None, f"NameError: name 'a' is not defined{before}"]  # fmt: skip
    assert raised(["a = 1 / 0", define.format("a if x else ...")], (0,)) == [
        None, "NotImplementedError"]  # fmt: skip


def served_once(cells, **options):
    task = {"cells": list(cells), "lesson": [], "name": "my_f", "whole": False} | options
    line = Line(task)
    answering.serve(line)
    return line.heard()


def test_a_missing_answer_is_told_with_the_reason():
    for cell, says in (
        ("my_f = 3", "my_f is not a function"),
        ("my_f = 1 / 0", "ZeroDivisionError: division by zero"),
        ("my_f = print\nmy_f = 1\nmy_f.x()", "AttributeError: 'int' object has no attribute 'x'"),
    ):
        assert served_once([cell], whole=True) == [{"raised": says}]
    assert served_once(["x = 1"]) == [{"missing": ""}]
    assert served_once(["def my_f(x)\n    return x"]) == [
        {"missing": "SyntaxError: expected ':', line 1"}
    ]


def test_a_notebooks_own_lines_do_nothing_and_its_name_is_main():
    cell = "%matplotlib inline\nx = !ls\nname = __name__\ndef my_f():\n    return [name, x]"
    assert served([cell], ())[1]["result"] == answering.pack(["__main__", []])
    assert served(["def my_f():\n    return get_ipython().magic('x', y=1)"], ())[1]["result"] == {
        "list": []
    }


def test_how_a_process_ended_is_said():
    assert answering._words(0) == "exit code 0" and answering._words(3) == "exit code 3"
    assert answering._words(-9) == "killed by signal 9"


# --- the grader's side ------------------------------------------------------------------------


def test_arguments_become_what_the_answer_made_of_them():
    layer, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    sandbox._overwrite(layer, other, False)
    assert torch.equal(layer.weight, other.weight)
    tensor, array, rows, table = torch.zeros(2), np.zeros(2), [1, 2], {"a": 1}
    place = tensor.data_ptr()
    sandbox._overwrite(tensor, torch.ones(2), False)
    assert tensor.tolist() == [1, 1] and tensor.data_ptr() == place
    sandbox._overwrite(tensor, torch.full((2,), 3.0), True)
    assert tensor.tolist() == [3, 3] and tensor.data_ptr() != place
    sandbox._overwrite(array, np.ones(2), False)
    sandbox._overwrite(rows, [7], False)
    sandbox._overwrite(table, {"b": 2}, False)
    assert (array.tolist(), rows, table) == ([1, 1], [7], {"b": 2})


def test_a_process_for_answers_inherits_only_what_it_needs(monkeypatch):
    monkeypatch.setenv("SECRET", "key")
    for name in ("SYSTEMROOT", "LANG", "HOME", "TMPDIR", "PATH"):
        monkeypatch.setenv(name, f"my {name}")
    monkeypatch.setenv("PYTHONPATH", "there")
    root = sandbox.fences.ROOT.resolve()
    kept = {name: f"my {name}" for name in ("SYSTEMROOT", "LANG", "HOME", "TMPDIR", "PATH")}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    more = {"PYTHONPATH": f"{root}:there", "MPLBACKEND": "agg"}
    assert sandbox._environment() == kept | threads | more
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.delenv("SYSTEMROOT")
    assert sandbox._environment()["PYTHONPATH"] == str(root)
    assert "SYSTEMROOT" not in sandbox._environment()
