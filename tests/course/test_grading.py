"""What a class might hand in, and what becomes of it; real processes behind the real fences."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ltcl_helpers import paths
from ltcl_helpers.course import editions, gradebook, grading, sandbox
from ltcl_helpers.errors import ConfigError

LESSON = "01_long_tail_data"
# What an answer finds in its own /tmp: nothing, or the way to a kit that lies there.
FOUND = [paths.ROOT.parts[2]] if paths.ROOT.is_relative_to("/tmp") else []
HEAD = "def my_sizes(largest, classes, imbalance):\n"
BODY = HEAD + "    "
RIGHT = HEAD + "    return np.floor(largest / imbalance ** (np.arange(classes) / (classes - 1)))"
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
ALL = {"my_sizes": RIGHT, "my_groups": GROUPS, "my_counts": COUNTS}
FAKE = """
from ltcl_helpers.exercises import checking
print("my_sizes: correct")
exercises.check = exercises.check_class_sizes = lambda *a, **k: print("correct")
checking.compare = lambda *a, **k: None
"""
OUTPUT = {"name": "stdout", "output_type": "stream", "text": ["my_sizes: correct\n"]}


def by_student(rows):
    found = {}
    for row in rows:
        found.setdefault(row["student"], []).append(row)
    return found


# --- a class --------------------------------------------------------------------------------

# Each replaces the first answer; the second one is right, and must stay so.
HOSTILE = {
    "endless": BODY + "while True: pass",
    "deaf": BODY + "import signal\n    [signal.signal(n, signal.SIG_IGN) for n in range(1, 32)"
            " if n not in (9, 19)]\n    while True: pass",
    "leaves": BODY + "import os; os._exit(0)",
    "huge": BODY + "return bytearray(1 << 31)",
    "talks": BODY + "return list(range(10**7))",
    "writes": BODY + "n = 0\n    while True:\n        open(str(n), 'wb').write(bytes(1 << 20))\n"
              "        n += 1",
    "forks": BODY + "import os\n    while True: os.fork()",
    "stays": BODY + "import threading, time\n"
             "    threading.Thread(target=time.sleep, args=(9999,)).start()\n    return [1]",
    "prints": BODY + "print('my_sizes: correct')",
    "changes": FAKE + BODY + "\n    ".join(FAKE.splitlines()[2:]) + "\n    return []",
    "pretends": BODY + "class Any(float):\n        __eq__ = lambda *a: True\n"
                "        __array__ = lambda *a, **k: exec('raise SystemExit')\n    return Any()",
    "nested": BODY + "x = []\n    for k in range(10**5): x = [x]\n    return x",
    "parser": "x = " + "(" * 5000 + "\n" + BODY + "return [1]",
    "=cmd|'x'!A0": BODY + "raise ValueError('=1+1\\n,\"')",
}  # fmt: skip


@pytest.fixture(scope="module")
def grades(tmp_path_factory, grade, hand_in):
    """Rows by student, and as a spreadsheet would read them."""
    folder = tmp_path_factory.mktemp("class")
    saved = hand_in(LESSON, ALL)
    saved["metadata"] |= {"kernelspec": {"name": "python3", "display_name": "LTCL"}}
    saved["cells"].insert(3, editions.new_cell("code", "%matplotlib inline\n!pip list\nx = 1"))
    for cell in saved["cells"]:
        if cell["cell_type"] == "code":
            cell["execution_count"], cell["outputs"] = 3, [OUTPUT]
    rounded = {"my_sizes": RIGHT.replace("floor", "round"), "my_counts": COUNTS.replace(
        "len(d_i)]", "0]")}  # fmt: skip
    renamed = hand_in(LESSON, {"my_sizes": RIGHT.replace("my_sizes", "your_sizes")})
    class_ = {
        "right": hand_in(LESSON, ALL),
        "wrong": hand_in(LESSON, rounded),
        "empty": hand_in(LESSON, {}),
        "syntax": hand_in(LESSON, ALL | {"my_sizes": HEAD.replace(":", "") + "    return 1"}),
        "renamed": renamed,
        "other": hand_in("02_simclr", {}),
        "saved": saved,
    }
    for name, answer in HOSTILE.items():
        class_[name] = hand_in(LESSON, {"my_sizes": answer, "my_groups": GROUPS})
    for name, notebook in class_.items():
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook), "utf-8")
    (folder / "text.ipynb").write_text("no notebook")
    (folder / "deep.ipynb").write_text('{"cells":' + "[" * 10**5)
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "right-checkpoint.ipynb").write_text("{}")
    book = gradebook.Gradebook(folder / "grades.csv")
    rows = grade(folder, lesson="01", book=book)
    for row in rows:
        print(*row.values())
    text = (folder / "grades.csv").read_text(encoding="utf-8")
    return by_student(rows), list(csv.DictReader(io.StringIO(text)))


def test_right_answers_are_right_also_when_jupyterlab_saved_them(grades):
    for student in ("right", "saved"):
        assert [row["status"] for row in grades[0][student]] == ["right"] * 3
        assert [row["points"] for row in grades[0][student]] == ["1", "2", "3"]
    answers = [row["answer"] for row in grades[0]["right"]]
    assert answers == ["my_sizes", "my_groups", "my_counts"]


def test_wrong_and_missing_answers_are_told_apart(grades):
    found = grades[0]
    assert [row["status"] for row in found["wrong"]] == ["wrong", "not answered", "wrong"]
    assert "expected" in found["wrong"][0]["message"] and "hint: " in found["wrong"][0]["message"]
    assert [row["status"] for row in found["empty"]] == ["not answered"] * 3
    assert found["renamed"][0]["message"] == "no function my_sizes"
    assert found["syntax"][0]["status"] == "error"
    assert found["syntax"][0]["message"].startswith("SyntaxError: expected ':'")
    assert {row["status"] for row in found["other"]} == {"not answered"}
    assert found["other"][0]["message"] == "this is lesson 02_simclr"
    for name in ("text", "deep"):
        assert "is no notebook" in found[name][0]["message"]
    assert not [name for name in found if "checkpoint" in name]


@pytest.mark.parametrize("student", HOSTILE)
def test_a_hostile_answer_harms_no_other_row(grades, box, student):
    first, second, third = grades[0][student]
    if student in ("endless", "deaf"):
        assert first["status"] == "timed out"
    elif student != "forks" or box.standing["calls"]:
        assert first["status"] in ("error", "wrong"), first
    assert first["points"] == "0"
    assert (second["status"], third["status"]) == ("right", "not answered")


def test_how_an_answer_ended_is_said(grades):
    said = {student: rows[0]["message"] for student, rows in grades[0].items()}
    assert said["leaves"].startswith("the process ended (exit code 0)")
    assert "Memory" in said["huge"] or "ended" in said["huge"]
    assert "[Errno" in said["writes"] or "ended" in said["writes"]


def test_a_spreadsheet_finds_no_formula(grades):
    for row in grades[1]:
        assert not [cell for cell in row.values() if cell[:1] in gradebook.FORMULA]
    assert len(grades[1]) == 3 * (len(HOSTILE) + 9)


def test_who_has_the_same_answer_is_told(grades):
    rows = grades[0]["right"]
    assert "saved" in rows[1]["same_as"] and "endless" in rows[1]["same_as"]
    assert grades[0]["empty"][1]["same_as"] == ""


# --- odd hand-ins ---------------------------------------------------------------------------


def test_names_of_files_say_whose_they_are(tmp_path):
    course = grading.lessons()
    for name, student in {
        "berta/01_long_tail_data.ipynb": "berta", "berta/01_long_tail_data (1).ipynb": "berta",
        "berta/01 (1).ipynb": "berta", "berta/01.ipynb": "berta",
        "berta/01_long_tail_data-Copy1.ipynb": "berta", "berta/01_long_tail.ipynb": "berta",
        "berta/01_long_tail_data (2) (1).ipynb": "berta",
        "x/01_long_tail_data_berta.ipynb": "berta",
        "x/berta - 01_long_tail_data.ipynb": "berta", "x/berta.ipynb": "berta",
        "x/berta (1).ipynb": "berta", "x/1234567.ipynb": "1234567",
        "berta/Copy of 01_long_tail_data.ipynb": "berta", "x/Kopie von berta.ipynb": "berta",
        "x/Berta 01 Long-Tail Data.ipynb": "Berta", "berta/01-long-tail-data.ipynb": "berta",
        "berta/student/01_long_tail_data.ipynb": "berta", "x/Mu\u0308ller.ipynb": "M\u00fcller",
        "Mu\u0308ller/01.ipynb": "M\u00fcller", "x/student.ipynb": "student",
    }.items():  # fmt: skip
        path = tmp_path / name
        found = grading.name_in(path, course)
        assert (found.student or grading.folder_of(path)) == student, name
        assert found.is_sure == ("erta" in path.stem and "01" in path.stem), name


ODD = {  # the first answer of a student who worked otherwise than the lesson
    "star": (["from numpy import *"], RIGHT.replace("np.", "")),
    "loop": (["powers = []\nfor k in range(100):\n    powers.append(k)"],
             HEAD + "    return [int(largest * imbalance ** (-k / (classes - 1)))"
             " for k in powers[:classes]]"),
    "update": (["anna = {}\nanna.update(cut=np.floor)"], RIGHT.replace("np.floor", "anna['cut']")),
    "run": (["%run helpers.py"], RIGHT.replace("np.floor", "cut")),
    "exec": (["exec('cut = np.floor')"], RIGHT.replace("np.floor", "cut")),
    "shell": (["x = !ls\ncut = np.floor"], RIGHT.replace("np.floor", "cut")),
    "whole": (["setattr(np, 'cut_off', np.floor)"], RIGHT.replace("np.floor", "np.cut_off")),
}  # fmt: skip


def test_odd_hand_ins_are_graded_as_their_authors_meant(tmp_path, grade, hand_in):
    (tmp_path / "helpers.py").write_text("from numpy import floor as cut\n")
    for name, (before, answer) in ODD.items():
        notebook = hand_in(LESSON, {"my_sizes": answer})
        place = next(k for k, cell in enumerate(notebook["cells"]) if "np." in editions.text(cell))
        cells = [editions.new_cell("code", each) for each in before]
        notebook["cells"][place + 1 : place + 1] = cells
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(notebook), "utf-8")
    deleted = hand_in(LESSON, {"my_sizes": RIGHT})
    deleted["cells"] = [cell for cell in deleted["cells"] if "import" not in editions.text(cell)]
    (tmp_path / "deleted.ipynb").write_text(json.dumps(deleted), "utf-8")
    (tmp_path / "mark.ipynb").write_text(
        json.dumps(hand_in(LESSON, {"my_sizes": RIGHT})), "utf-8-sig"
    )
    joined = hand_in(LESSON, {"my_sizes": RIGHT})
    for cell in joined["cells"]:
        cell["source"] = editions.text(cell)
    (tmp_path / "joined.ipynb").write_text(json.dumps(joined), "utf-16")
    rows = by_student(grade(tmp_path))
    assert {name: rows[name][0]["status"] for name in rows} == dict.fromkeys(
        [*ODD, "deleted", "mark", "joined"], "right"
    )
    said = {name: rows[name][0]["message"] for name in rows if rows[name][0]["message"]}
    assert set(said) == {"whole"} and "cells were run whole; by statements" in said["whole"]


def test_homework_of_two_folders_is_of_two_students(tmp_path, grade, hand_in):
    for name in ("anna", "berta"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "homework.ipynb").write_text(json.dumps(hand_in(LESSON, {})))
    (tmp_path / "berta" / "02.ipynb").write_text(json.dumps(hand_in("02_simclr", {})))
    found = by_student(grade(tmp_path))
    assert {name: len(rows) for name, rows in found.items()} == {"anna": 3, "berta": 6}


# --- the fences -----------------------------------------------------------------------------


def tries(box, code, *arguments):
    """What the function `tries` of some code gives behind the fences."""
    box.begin([code], "tries")
    try:
        return box.call(*arguments)
    finally:
        box.end()


FAILS = """
import ctypes, os, socket
def fails(work):
    try:
        work()
    except OSError:
        return True
    return False
"""


def test_an_answer_sees_no_file_no_process_and_no_network(fenced, tmp_path):
    (tmp_path / "hand-in.ipynb").write_text("1")
    (tmp_path / "to").symlink_to("/")
    code = f"""{FAILS}
def tries(port):
    libc = ctypes.CDLL(None)
    places = [{str(tmp_path)!r}, {str(paths.LESSONS)!r}, "/home", "/run", "/var", "/etc/passwd"]
    return {{
        "seen": [place for place in places if os.path.exists(place)],
        "home": os.listdir(os.path.expanduser("~")),
        "connects": not fails(lambda: socket.create_connection(("127.0.0.1", port), 120)),
        "writes": [place for place in ("/", "/usr", {str(paths.PACKAGE)!r}, {str(paths.RESULTS)!r})
                   if not fails(lambda: open(place + "/x", "w"))],
        "works": not fails(lambda: open("own", "w").close()),
        "kills": not fails(lambda: os.kill({os.getpid()}, 0)),
        "forks": not fails(os.fork),
        "mounts": libc.mount(None, b"/", None, 4096 | 32, None) == 0,
        "namespaces": libc.unshare(0x10000000 | 0x20000) == 0 and libc.umount2(b"/proc", 2) == 0,
        "processes": [name for name in os.listdir("/proc") if name.isdigit()],
        "open": os.listdir("/proc/self/fd")[5:],
        "recorded": len(os.listdir({str(paths.RESULTS)!r})) > 5,
    }}
"""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        found = tries(fenced, code, server.getsockname()[1])
    assert found == {
        "seen": [], "home": FOUND, "connects": False, "writes": [], "works": True, "kills": False,
        "forks": False, "mounts": False, "namespaces": False, "processes": ["1"], "open": [],
        "recorded": True,
    }  # fmt: skip


def test_an_answer_finds_nothing_of_another_one(fenced):
    """Not in the memory, not in the files: the process that is forked has seen no hand-in."""
    secret = "".join(["the answer", " of anna"])
    tries(fenced, f"def tries():\n    open('kept', 'w').write({secret!r})\n    return 1")
    code = """
import gc, os
def tries(half):
    texts = [each for each in gc.get_objects() if isinstance(each, (list, dict))]
    words = [w for each in texts for w in (each if isinstance(each, list) else each.values())]
    return [os.listdir("."), [w for w in words if isinstance(w, str) and half + " of an" in w]]
"""
    assert tries(fenced, code, "the answer") == [FOUND, []]


def test_a_socket_of_this_user_is_out_of_reach(fenced, tmp_path):
    import socket

    place = str(tmp_path / "s")
    code = f"""{FAILS}
def tries(family):
    def connect():
        with socket.socket(family) as line:
            line.connect({place!r})
    return [fails(connect), fails(lambda: socket.socket(socket.AF_INET))]
"""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(place)
        server.listen()
        with socket.socket(socket.AF_UNIX) as mine:
            mine.connect(place)  # whoever stands outside of the fences may
        assert tries(fenced, code, int(socket.AF_UNIX)) == [True, True]


def test_a_jupyter_kernel_of_this_user_is_out_of_reach(fenced, tmp_path):
    """Its connection file is known to the answer, key and all; it speaks through files (ipc)."""
    from jupyter_client import BlockingKernelClient, KernelManager

    target = tmp_path / "written"
    drive = f"open({str(target)!r}, 'w').write('broken out')"
    kernel = KernelManager(transport="ipc", ip=str(tmp_path / "k"))
    kernel.start_kernel(cwd=str(tmp_path))
    code = f"""
import json, os
def tries(about):
    from jupyter_client import BlockingKernelClient
    client = BlockingKernelClient()
    client.load_connection_info(dict(about, key=about["key"].encode()))
    client.start_channels()
    client.execute({drive!r}, reply=True, timeout=3)
    return 1
"""
    try:
        about = kernel.get_connection_info()
        about = {n: v.decode() if isinstance(v, bytes) else v for n, v in about.items()}
        with pytest.raises((sandbox.Remote, sandbox.Crashed)):
            tries(fenced, code, about)
        assert not target.exists()
        client = BlockingKernelClient()
        client.load_connection_info(dict(about, key=about["key"].encode()))
        client.start_channels()
        client.wait_for_ready(timeout=600)
        client.execute(drive, reply=True, timeout=600)
        assert target.read_text() == "broken out"  # outside of the fences the same words do it
        client.stop_channels()
    finally:
        kernel.shutdown_kernel(now=True)


# --- when things go wrong -------------------------------------------------------------------


def test_a_process_that_does_not_start_costs_a_row_and_is_tried_again(
    tmp_path, monkeypatch, hand_in, grade
):
    for name in ("anna", "berta"):
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(hand_in(LESSON, {"my_sizes": RIGHT})))
    book = gradebook.Gradebook(tmp_path / "grades.csv")
    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "way", lambda: (sys.executable, "-c", "raise SystemExit('no room')"))
        rows = grading.grade([tmp_path], book=book)
    assert [row["status"] for row in rows] == ["not graded", "not answered", "not answered"] * 2
    assert rows[0]["message"] == "no room"
    again = grade(tmp_path, book=gradebook.Gradebook(tmp_path / "grades.csv"))
    assert [row["status"] for row in again[:2]] == ["right", "not answered"]


def test_what_is_graded_is_not_graded_again_unless_it_changed(tmp_path, hand_in, grade, box):
    for name in ("anna", "berta"):
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(hand_in(LESSON, {"my_sizes": RIGHT})))
    out, begun = tmp_path / "grades.csv", []
    begin = box.begin
    box.begin = lambda cells, name, *rest, **more: (
        begun.append(name) or begin(cells, name, *rest, **more)
    )
    first = grade(tmp_path, book=gradebook.Gradebook(out))
    assert len(begun) == 2
    (tmp_path / "carl.ipynb").write_text(json.dumps(hand_in(LESSON, {})))
    changed = json.dumps(hand_in(LESSON, {"my_sizes": RIGHT.replace("floor", "ceil")}))
    (tmp_path / "berta.ipynb").write_text(changed)
    rows = grade(tmp_path, book=gradebook.Gradebook(out), worth={"my_sizes": 5})
    del box.begin
    assert len(begun) == 2 + 1 + 1  # Berta's wrong answer also with her whole cells
    assert rows[0] | {"points": "1", "of": "1"} == first[0] and rows[0]["points"] == "5"
    assert [row["status"] for row in rows if row["answer"] == "my_sizes"] == [
        "right", "wrong", "not answered"]  # fmt: skip
    only = grade(tmp_path / "carl.ipynb", book=gradebook.Gradebook(out))
    assert len(only) == 9  # what is not named now stays


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_grading_that_is_stopped_keeps_its_rows_and_goes_on(tmp_path, hand_in):
    folder = tmp_path / "class"
    folder.mkdir()
    for name, answer in {"anna": RIGHT, "zoe": HOSTILE["endless"]}.items():
        notebook = hand_in(LESSON, {"my_sizes": answer})
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook), "utf-8")
    out, temporary = tmp_path / "grades.csv", tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "ltcl_helpers", "grade", folder, "--out", out, "--jobs", "1"]
    command += ["--seconds", "600"]
    process = subprocess.Popen(
        command, env=os.environ | {"TMPDIR": str(temporary)}, stderr=subprocess.PIPE, text=True
    )
    while not out.exists() or len(out.read_text().splitlines()) < 4:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 1 and "3 rows are kept; the same command goes on" in said
    assert [*temporary.iterdir()] == []
    assert [row["status"] for row in gradebook.read_csv(out)] == [
        "right", "not answered", "not answered"]  # fmt: skip


def test_bad_calls_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="lesson is '0'; allowed is the beginning of 00"):
        grading.grade([tmp_path / "a.ipynb"], "0")
    with pytest.raises(ConfigError, match="0 notebooks to grade"):
        grading.grade([tmp_path])
    with pytest.raises(ConfigError, match="points for 'my_size'; allowed are my_auroc"):
        grading.lessons({"my_size": 1})
    with pytest.raises(ConfigError, match="absent.ipynb does not exist"):
        grading.grade([tmp_path / "absent.ipynb"])
    (tmp_path / "budget.csv").write_text("month,euros\nMay,3\n")
    with pytest.raises(ConfigError, match="is no table of grades; name another --out"):
        gradebook.Gradebook(tmp_path / "budget.csv")


def test_the_process_for_answers_starts_without_the_checks(box):
    names = tries(box, "import sys\ndef tries():\n    return list(sys.modules)")
    assert "torch" in names
    assert not [name for name in names if name.startswith("ltcl_helpers.exercises")]
