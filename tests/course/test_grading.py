"""Twelve submissions that a class might hand in, and what becomes of them; real processes."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ltcl_helpers import paths
from ltcl_helpers.course import answering, editions, grading, sandbox
from ltcl_helpers.errors import ConfigError

LESSON = "01_long_tail_data"
LIMITS = {"seconds": 600, "memory_gb": 0.5}  # only what never ends takes so long
ENDLESS = "while True:"
RIGHT = """
def my_sizes(largest, classes, imbalance):
    return np.floor(largest / imbalance ** (np.arange(classes) / (classes - 1)))
"""
GROUPS = """
def cut(counts):
    return np.argsort(counts, kind="stable"), len(counts) // 3

def my_groups(counts):
    order, third = cut(counts)
    few, medium, many = np.split(order, [third, 2 * third])
    return {"many": np.sort(many), "medium": np.sort(medium), "few": np.sort(few)}
"""
COUNTS = """
def my_counts(d_i, s_b, classes):
    place = {p: k for k, p in enumerate(d_i.tolist())}
    starts = [place[p] for p in s_b[:: len(s_b) // classes].tolist()]
    return np.diff([*starts, len(d_i)])
"""
ROUNDED = RIGHT.replace("np.floor", "np.round")
BODY = "def my_sizes(largest, classes, imbalance):\n    "
FAKE = """
from ltcl_helpers.exercises import checking
print("my_sizes: correct")
exercises.check = exercises.check_class_sizes = lambda *a, **k: print("correct")
checking.compare = lambda *a, **k: None
"""


def handed_in(edition, *answers):
    """A student's edition whose answers replace the stubs of the same functions."""
    for answer in answers:
        for name in ("my_sizes", "my_groups", "my_counts"):
            for cell in edition["cells"]:
                if f"def {name}(" in answer and f"def {name}(" in editions.text(cell):
                    cell["source"] = answer.splitlines(keepends=True)
                    cell["execution_count"], cell["outputs"] = 3, [OUTPUT]
    return edition


OUTPUT = {"name": "stdout", "output_type": "stream", "text": ["my_sizes: correct\n"]}


class ShortOfTime(sandbox.Sandbox):
    """Gives little time to the answer that never ends, and to the others all that they need."""

    def begin(self, statements, name):
        given = self.seconds
        self.seconds = 2 if ENDLESS in statements else given
        try:
            super().begin(statements, name)
        finally:
            self.seconds = given


@pytest.fixture(scope="module")
def grades(tmp_path_factory):
    """Rows by student, graded by the command."""
    folder = tmp_path_factory.mktemp("class")
    lessons = {p.stem: json.loads(p.read_text("utf-8")) for p in paths.LESSONS.glob("0*.ipynb")}
    student = lambda *a, of=LESSON: handed_in(editions.student_edition(lessons[of]), *a)  # noqa: E731
    saved = student(RIGHT, GROUPS, COUNTS)
    saved["metadata"] |= {"kernelspec": {"name": "python3", "display_name": "LTCL"}}
    saved["cells"].insert(3, editions.new_cell("code", "%matplotlib inline\n!pip list\nx = 1"))
    class_ = {
        "right": student(RIGHT, GROUPS, COUNTS),
        "wrong": student(ROUNDED, COUNTS.replace("len(d_i)]", "0]")),
        "empty": student(),
        "endless": student(BODY + ENDLESS + " pass", GROUPS),
        "huge": student(BODY + "return bytearray(1 << 31)", GROUPS),
        "deletes": student(
            BODY + "import shutil, os; shutil.rmtree('.', True)\n"
            f"    shutil.rmtree({str(folder)!r}, True); os.kill(os.getppid(), 9)\n    return [1]",
            GROUPS,
        ),
        "prints": student(
            BODY + "print('my_sizes: correct')", "def my_groups(counts):\n    return 'correct'"
        ),
        "changes": student(FAKE + BODY + "\n    ".join(FAKE.splitlines()[2:]) + "\n    return []"),
        "syntax": student("def my_sizes(largest, classes, imbalance)\n    return 1", GROUPS),
        "renamed": student(RIGHT.replace("my_sizes", "your_sizes"), GROUPS),
        "other": student(of="02_simclr"),
        "saved": saved,
    }
    class_["renamed"]["cells"] = [c for c in class_["renamed"]["cells"]
                                  if "def my_sizes" not in editions.text(c)]  # fmt: skip
    handed = []
    for name, notebook in class_.items():
        handed.append(folder / f"{name}.ipynb")
        handed[-1].write_text(json.dumps(notebook), "utf-8")
    (folder / "text.ipynb").write_text("no notebook")
    out = folder / "grades.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "Sandbox", ShortOfTime)
        rows = grading.grade([*handed, folder / "text.ipynb"], "01", **LIMITS)
    for row in rows:
        print(*row.values())
    grading.write_csv(out, rows)
    assert all(path.exists() for path in handed)  # also of the one that deletes
    found = {}
    for row in csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))):
        found.setdefault(row["student"], []).append(row)
    return found


def test_right_answers_are_right_also_when_jupyterlab_saved_them(grades):
    for student in ("right", "saved"):
        assert [row["status"] for row in grades[student]] == ["right"] * 3
    assert [row["answer"] for row in grades["right"]] == ["my_sizes", "my_groups", "my_counts"]


def test_wrong_and_missing_answers_are_told_apart(grades):
    assert [row["status"] for row in grades["wrong"]] == ["wrong", "not answered", "wrong"]
    assert "expected" in grades["wrong"][0]["message"] and "hint: " in grades["wrong"][0]["message"]
    assert [row["status"] for row in grades["empty"]] == ["not answered"] * 3
    assert grades["renamed"][0]["status"] == "not answered"
    assert grades["renamed"][0]["message"] == "no function my_sizes"
    assert grades["syntax"][0]["status"] == "error"
    assert grades["syntax"][0]["message"].startswith("SyntaxError: expected ':'")
    assert {row["status"] for row in grades["other"]} == {"not answered"}
    assert grades["other"][0]["message"] == "this is lesson 02_simclr"
    assert "is no notebook" in grades["text"][0]["message"]


def test_hostile_answers_harm_no_other_row(grades):
    assert grades["endless"][0]["status"] == "timed out"
    assert grades["huge"][0]["status"] in ("error", "wrong")  # a MemoryError, or a message too long
    assert "Memory" in grades["huge"][0]["message"] or "ended" in grades["huge"][0]["message"]
    assert grades["deletes"][0]["status"] in ("error", "wrong")
    for student in ("endless", "huge", "deletes", "syntax", "renamed"):
        assert grades[student][1]["status"] == "right", student
    assert all(len(rows) == 3 for rows in grades.values())


def test_saying_correct_or_changing_the_checks_wins_nothing(grades):
    assert [row["status"] for row in grades["prints"]] == ["wrong", "wrong", "not answered"]
    assert grades["changes"][0]["status"] == "wrong"
    assert grades["right"][0]["status"] == "right"  # the grader's own checks are what they were


def test_behind_the_fences_there_is_no_network_no_process_and_nothing_to_write(tmp_path):
    if "--mount" not in sandbox.fences():
        pytest.skip("this system refuses namespaces")
    (tmp_path / "mine").write_text("1")
    probe = f"""
import ctypes, os, socket
def tries():
    def fails(work):
        try:
            work()
        except OSError:
            return 1
        return 0
    libc = ctypes.CDLL(None)
    return [
        fails(lambda: socket.create_connection(("127.0.0.1", {{port}}), 120)),
        fails(lambda: open({str(tmp_path / "mine")!r}, "w")),
        fails(lambda: open("own", "w").close()),
        fails(lambda: os.kill({os.getpid()}, 0)),
        libc.mount(None, b"/", None, 4096 | 32, None),
        len([n for n in os.listdir("/proc") if n.isdigit()]) < 4,
    ]
"""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        box = sandbox.Sandbox(**LIMITS)
        box.begin(probe.replace("{port}", str(server.getsockname()[1])), "tries")
        assert box.call() == [1, 1, 0, 1, -1, True]
        box.end()
        folder = Path(box.folder)
        box.close()
    assert not folder.exists() and (tmp_path / "mine").read_text() == "1"


def test_values_cross_whole_and_code_does_not():
    values = {"a": [1, 2.5, None, True, "x"], "b": np.eye(2), 3: torch.arange(4, dtype=torch.int8)}
    there = answering.unpack(json.loads(json.dumps(answering.pack(values))))
    assert there["a"] == values["a"] and np.array_equal(there["b"], np.eye(2))
    assert there[3].dtype == torch.int8 and there[3].tolist() == [0, 1, 2, 3]
    layer = torch.nn.Linear(2, 1)
    copied = answering.unpack(answering.pack(torch.nn.Linear(2, 1)), like=layer)
    assert not torch.equal(copied.weight, layer.weight)
    for odd in (object(), np.array([print]), {"other": "x" * 99}):
        assert "print" not in json.dumps(answering.pack(odd))
    with pytest.raises(ValueError, match="type object"):
        answering.unpack({"array": ["|O", [1], "AAAA"]})


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
    statements, broken = grading.needed(cells, "my_f")
    assert broken == "" and "train" not in statements and "plt" not in statements
    names = {}
    exec(statements, names)
    assert names["my_f"](2.5) == 5 and "ceil" not in names
    assert grading.needed(cells, "my_g") == ("", "")
    assert "line 1" in grading.needed([*cells, "def my_f(x) return"], "my_f")[1]


def test_a_helper_stays_what_it_was_where_the_answer_was_checked():
    """A lesson's later cell may use its name; a student's second attempt replaces both."""
    attempt = "def helper(x):\n    return {} * x\ndef my_f(x):\n    return helper(x)"
    cells = [attempt.format(3), attempt.format(4), "helper, best = train_for_hours(), 1"]
    statements, names = grading.needed(cells, "my_f")[0], {}
    exec(statements, names)
    assert names["my_f"](2.5) == 10 and "train" not in statements


def test_bad_calls_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="lesson is '0'; allowed is the beginning of 00"):
        grading.grade([tmp_path / "a.ipynb"], "0")
    (row,) = grading.grade([tmp_path / "absent.ipynb"])
    assert row["status"] == "error" and "is no notebook" in row["message"]
    grading.write_csv(tmp_path / "g.csv", [dict.fromkeys(grading.COLUMNS, "=cmd\n|x")])
    assert "'=cmd |x" in (tmp_path / "g.csv").read_text()


def test_the_process_for_answers_starts_without_the_course():
    """It imports neither the checks nor a plot package; a class of thirty would wait for them."""
    code = "import ltcl_helpers.course.answering, sys; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert not {"ltcl_helpers.exercises", "matplotlib", "sklearn"} & set(names.split())
