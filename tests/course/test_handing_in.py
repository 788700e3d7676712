"""From a file to a row: what is read of a hand-in, whose it is, and the words of a verdict."""

import json
import types

import pytest

from ltcl_helpers.course import editions, gradebook, grading, sandbox
from ltcl_helpers.course.grading import Exercise, HandIn, Limits
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.exercises.checking import Verdict

COURSE = {
    "01_one": [Exercise(1, "check_a", "my_a", 2.0)],
    "02_two": [Exercise(1, "check_b", "my_b"), Exercise(2, "check_c", "my_c", 3.0)],
}
LESSON = "01_long_tail_data"


def notebook(path, *cells):
    """A notebook of code cells, and of markdown where a text begins so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = [("markdown" if c.startswith("#") else "code", c) for c in cells]
    made = [editions.new_cell(kind, text) for kind, text in kinds]
    path.write_text(json.dumps({"cells": made}), "utf-8")
    return path


def test_the_lessons_say_what_is_graded_and_what_it_is_worth():
    course = grading.lessons()
    assert [(e.number, e.check, e.answer, e.points) for e in course[LESSON]] == [
        (1, "check_class_sizes", "my_sizes", 1.0),
        (2, "check_groups", "my_groups", 2.0),
        (3, "check_counts_of_a_list", "my_counts", 3.0),
    ]
    assert len(course) == 12 and list(course) == sorted(course)
    assert [e.points for e in grading.lessons({"my_groups": 0.5})[LESSON]] == [1, 0.5, 3]


def test_a_lesson_is_worth_as_many_points_as_its_heading_has_dots(monkeypatch, tmp_path):
    monkeypatch.setattr(grading, "LESSONS", tmp_path)
    with pytest.raises(ConfigError, match=f"{tmp_path} holds no lessons, which say what is graded"):
        grading.lessons()
    call = "def my_{0}():\n    pass\n# exercises.check_{0}(my_{0})"
    cells = [call.format("a"), "### Exercise 1 ●●", call.format("b"), "# Words",
             call.format("c"), "### Exercise 3 ●\n### Exercise 4 ●●●", call.format("d"),
             "exercises.check_d(my_d)\n x exercises.check_e(my_e)"]  # fmt: skip
    notebook(tmp_path / "03_x.ipynb", *cells)
    notebook(tmp_path / "notes.ipynb", call.format("z"))
    assert grading.lessons() == {
        "03_x": [
            Exercise(1, "check_a", "my_a", 1.0), Exercise(2, "check_b", "my_b", 2.0),
            Exercise(3, "check_c", "my_c", 2.0), Exercise(4, "check_d", "my_d", 3.0),
            Exercise(5, "check_d", "my_d", 3.0),
        ]
    }  # fmt: skip


def test_code_is_read_with_the_files_that_it_runs(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_bytes(b"\xef\xbb\xbfx = '\xff'")
    (tmp_path / "b-c.py").write_text("y = 2")
    (tmp_path / "large.py").write_text("#" * grading.LONGEST)
    cells = [
        "# Text",
        "%run a.py\n %run -i b-c.py --fast\nz = 1",
        "%run absent.py",
        "%run large.py",
    ]
    found = grading.code_cells(notebook(tmp_path / "n.ipynb", *cells))
    assert found == ["x = '\ufffd'", "y = 2", *cells[1:]]
    monkeypatch.setattr(grading, "LONGEST", 20)
    assert grading.code_cells(notebook(tmp_path / "n.ipynb", "x" * 20)) == ["x" * 20]
    with pytest.raises(ConfigError, match=r"n.ipynb holds more than 0 MB of code"):
        grading.code_cells(notebook(tmp_path / "n.ipynb", "x" * 20, "y"))


def test_what_is_no_notebook_is_told_with_the_reason(tmp_path, monkeypatch):
    path = tmp_path / "n.ipynb"
    for content, says in (
        ("[", "JSONDecodeError"), ("{}", "KeyError: 'cells'"), ("[]", "TypeError"),
        ('{"cells": [{}]}', "KeyError: 'source'"), ('{"cells": 3}', "TypeError"),
    ):  # fmt: skip
        path.write_text(content)
        with pytest.raises(ConfigError, match=rf"n.ipynb is no notebook \({says}"):
            grading.read_cells(path)
    with pytest.raises(ConfigError, match=r"is no notebook \(FileNotFoundError"):
        grading.read_cells(tmp_path / "gone.ipynb")
    assert (grading.LARGEST, grading.LONGEST, grading.MOST) == (50 << 20, 1 << 20, 5000)
    monkeypatch.setattr(grading, "LARGEST", path.stat().st_size)
    assert path.write_text('{"cells":    []}') >= 0
    monkeypatch.setattr(grading, "LARGEST", path.stat().st_size)
    assert grading.read_cells(path) == []
    path.write_text('{"cells":     []}')
    with pytest.raises(ConfigError, match=r"is no notebook \(ValueError: more than 0 MB\)"):
        grading.read_cells(path)


def test_a_hand_in_is_of_the_lesson_most_of_which_it_answers():
    for cells, lesson in (
        (["def my_a(x):\n    return 1"], "01_one"), (["my_b = 1", "def my_a(x): 1"], "01_one"),
        (["my_b = 1", "check_c(f)", "check_a(f)"], "02_two"), (["def my_ab(x): 1"], ""),
        (["xmy_a = 1"], ""), (["x = my_a"], ""), ([], ""),
    ):  # fmt: skip
        assert grading.lesson_of(cells, COURSE) == lesson, cells


def test_folders_are_searched_without_what_a_system_puts_there(tmp_path, monkeypatch):
    names = ["b/2.ipynb", "b/c/1.ipynb", "a.ipynb", ".hidden/x.ipynb", "__MACOSX/a.ipynb",
             "b/.ipynb_checkpoints/2.ipynb", "b/._2.ipynb"]  # fmt: skip
    for name in [*names, "b/text.txt"]:
        notebook(tmp_path / name)
    found = grading.find([tmp_path, str(tmp_path / "a.ipynb")])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "a.ipynb", "b/2.ipynb", "b/c/1.ipynb"]  # fmt: skip
    with pytest.raises(ConfigError, match=f"{tmp_path}/gone does not exist; name notebooks, or"):
        grading.find([tmp_path, tmp_path / "gone"])  # not a student with no points
    hidden = grading.find([tmp_path / ".hidden" / "x.ipynb"])  # named, so it is meant
    assert len(hidden) == len(grading.find([tmp_path / ".hidden"])) == 1
    monkeypatch.setattr(grading, "MOST", 3)
    assert len(grading.find([tmp_path])) == 3
    notebook(tmp_path / "d.ipynb")
    with pytest.raises(ConfigError, match="4 notebooks to grade; allowed is 1 to 3"):
        grading.find([tmp_path])


def test_what_is_wrong_with_a_hand_in_is_its_verdict(tmp_path):
    one = notebook(tmp_path / "anna.ipynb", "def my_a(x):\n    return 1")
    none = notebook(tmp_path / "none.ipynb", "x = 1")

    def read(path, wanted="", limits=None):
        return grading.hand_in(path, COURSE, wanted, limits or Limits())

    found = read(one)
    assert found[:4] == (one, "", "01_one", ["def my_a(x):\n    return 1"])
    assert found.problem is None and len(found.digest) == 12
    assert read(one, "02_two").problem == Verdict("not answered", "this is lesson 01_one")
    assert read(one, "02_two").lesson == "02_two" and read(one, "01_one").problem is None
    assert read(none).problem == Verdict("not answered", "no exercise of the course in it")
    gone = read(tmp_path / "gone.ipynb")
    assert gone.problem.status == "error" and "gone.ipynb is no notebook" in gone.problem.message
    digests = [read(one).digest, read(one, "01_one").digest, read(one, "", Limits(1, 2)).digest,
               read(none).digest, gone.digest]  # fmt: skip
    assert len(set(digests)) == 5 and read(one).digest == digests[0]


def test_grades_by_other_checks_or_lessons_are_not_kept(monkeypatch, tmp_path):
    package, lessons = tmp_path / "package", tmp_path / "lessons"
    for name in ("course/a.py", "exercises/b.py"):
        (package / name).parent.mkdir(parents=True)
        (package / name).write_text("1")
    notebook(lessons / "01_x.ipynb")
    monkeypatch.setattr(grading, "PACKAGE", package)
    monkeypatch.setattr(grading, "LESSONS", lessons)
    digests = {grading.kit.__wrapped__()}
    for path in (package / "course/a.py", package / "exercises/b.py", lessons / "01_x.ipynb"):
        path.write_text("2")
        digests.add(grading.kit.__wrapped__())
    (lessons / "notes.ipynb").write_text("3")
    assert len(digests) == 4 and grading.kit.__wrapped__() in digests


def test_a_name_that_two_folders_have_for_one_lesson_is_no_students(tmp_path):
    code = "def my_{}(x):\n    return 1"
    for name, answer in {"anna/hw": "a", "berta/hw": "a", "carl/own": "a", "carl/own2": "b",
                         "dora/own": "b"}.items():  # fmt: skip
        notebook(tmp_path / f"{name}.ipynb", code.format(answer))
    found = grading.read([tmp_path], COURSE, "", Limits())
    assert [each.student for each in found] == ["anna", "berta", "own", "own2", "own"]


def students(folder, answers):
    """Whose hand-ins of these names and functions are, in the order of their names."""
    for name, answer in answers.items():
        notebook(folder / f"{name}.ipynb", f"def my_{answer}(x):\n    return 1")
    return [each.student for each in grading.read([folder], COURSE, "", Limits())]


def test_a_name_beside_a_lessons_is_a_students_wherever_it_is_handed_in(tmp_path, caplog):
    late = {"late/anna_01_one": "a", "late/berta_01_one": "a", "on time/anna_01_one": "a"}
    assert students(tmp_path, late) == ["anna", "berta", "anna"]
    [said] = caplog.messages  # both count, and somebody may look
    assert said.startswith("anna, 01_one: hand-ins of one student in ") and "on time" in said


def test_a_folder_of_several_names_is_a_week_and_no_student(tmp_path):
    weeks = {f"week{k}/{name}": "a" for k in (1, 2) for name in ("anna", "berta")}
    assert students(tmp_path, weeks) == ["anna", "berta"] * 2


def test_a_folder_that_the_kit_makes_is_no_student(tmp_path, caplog):
    whole = {f"{name}/student/01_one": "a" for name in ("anna", "berta")}
    assert students(tmp_path, whole) == ["anna", "berta"] and not caplog.messages


def test_a_known_row_takes_the_name_that_a_second_call_knows(tmp_path):
    one = notebook(tmp_path / "anna" / "hw.ipynb", "def my_a(x):\n    return 1")
    book = gradebook.Gradebook()
    book.begin(str(one), "d")
    for name in ("hw", "anna"):  # until Berta hands in a file of this name, too
        each = HandIn(one, name, "01_one", [], "d", Verdict("error", "x"))
        grading._grade_one(each, COURSE, None, book)
    assert {row["student"] for row in book.sorted()} == {"anna"}


def test_a_name_that_is_no_notebooks_is_told(tmp_path, caplog):
    notebook(tmp_path / "anna.IPYNB", "def my_a(x):\n    return 1")
    for name in ("berta.ipynb.txt", "carl.ipynb.json", "notes.txt"):
        (tmp_path / name).write_text("{}")
    assert [path.name for path in grading.find([tmp_path])] == ["anna.IPYNB"]
    assert [word.split(" is left out")[0][-9:] for word in caplog.messages] == [
        "ipynb.txt", "pynb.json",
    ]  # fmt: skip


def test_hand_ins_of_other_kinds_are_named_and_a_notebooks_helper_is_not(tmp_path, caplog):
    notebook(tmp_path / "anna" / "a.ipynb", "def my_a(x):\n    return 1")
    names = ["anna/helpers.py", "ben.zip", "carla/c.py", "dan.HTML", "dan/plot.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert len(grading.find([tmp_path])) == 1
    place = f"{tmp_path}/"
    assert [said.replace(place, "") for said in caplog.messages] == [
        "no notebooks, so left out: ben.zip, carla/c.py, dan.HTML"
    ]
    caplog.clear()
    for number in range(9):
        (tmp_path / f"{number}.zip").write_text("")
    grading.find([tmp_path])
    assert caplog.messages[0].endswith("ben.zip and 2 more")


# --- verdicts ---------------------------------------------------------------------------------


def test_a_verdict_does_not_speak_of_the_graders_own_classes():
    for said, status, message in (
        ("TimedOut: not done", "timed out", "not done"), ("Remote: x: y", "error", "x: y"),
        ("NotStarted: no room", "not graded", "no room"), ("Crashed: gone", "error", "gone"),
        ("KeyError: x", "error", "KeyError: x"), ("Remote", "error", "Remote"),
    ):  # fmt: skip
        assert grading._as_graded(Verdict("error", said)) == Verdict(status, message)
    right = Verdict("right", "Remote: x")
    assert grading._as_graded(right) == right


def test_a_right_answer_that_borrows_is_told_so():
    check = types.SimpleNamespace(may_not_call=("np.sort", "cut", "x.y"))
    note = "but it calls np.sort, cut; the exercise asks for your own"
    assert grading._note(check, {"names": ["np", "sort", "cut", "x"]}) == note
    assert grading._note(check, {"names": ["np"]}) == "" == grading._note(print, {"names": ["np"]})


class Box:
    """A sandbox that plays what an answer does, and notes how it was asked."""

    def __init__(self, *plays):
        self.plays, self.begun, self.ended = list(plays), [], 0

    def begin(self, cells, name, lesson, whole):
        self.begun.append((name, whole))
        self.play = self.plays.pop(0)
        if isinstance(self.play, Exception):
            raise self.play
        return {"program": self.play[0], "names": ["np"], "fingerprint": self.play[0] + "!"}

    def call(self, *given):
        return self.play[1](*given)

    def end(self):
        self.ended += 1


def law(largest, classes, imbalance):
    return [int(largest / imbalance ** (r / (classes - 1))) for r in range(classes)]


def verdict(*plays, cells=("def my_sizes(a, b, c):\n    return law(a, b, c)",)):
    box = Box(*plays)
    each = HandIn(None, "anna", LESSON, list(cells), "d")
    found = grading._verdict(each, Exercise(1, "check_class_sizes", "my_sizes"), box)
    assert box.ended == len(box.begun)
    return found, [whole for _, whole in box.begun]


def never(*given):
    raise NotImplementedError


def test_an_answer_has_a_second_chance_with_all_of_its_cells():
    right, wrong, crash = ("p", law), ("q", lambda *given: 7), sandbox.Crashed("the process ended")
    assert verdict(right) == ((Verdict("right", ""), "p!"), [False])
    (said, print_), tried = verdict(wrong, right)
    assert said.status == "right" and print_ == "p!" and tried == [False, True]
    assert said.message.startswith(
        "the student's cells were run whole; by statements it was wrong: class sizes (450, 100"
    )
    (said, print_), tried = verdict(wrong, wrong)  # the same program is not called again
    assert said.status == "wrong" and print_ == "q!" and tried == [False, True]
    (said, print_), tried = verdict(wrong, ("r", lambda *given: 8))
    assert "got shape [], expected [100]" in said.message and print_ == "q!"
    assert verdict(crash) == ((Verdict("error", "the process ended"), ""), [False])
    assert verdict(("p", never)) == ((Verdict("not answered", ""), "p!"), [False])
    (said, _), tried = verdict(wrong, crash)
    assert said.status == "wrong" and tried == [False, True]


def test_an_answer_that_is_not_there_is_told_apart_from_one_that_cannot_be_read():
    missing = Verdict("not answered", "no function my_sizes")
    assert verdict(sandbox.Missing("")) == ((missing, ""), [False])
    unreadable = Verdict("error", "SyntaxError: x")
    assert verdict(sandbox.Missing("SyntaxError: x")) == ((unreadable, ""), [False])
    assert verdict(sandbox.TimedOut("not done")) == (
        (Verdict("timed out", "not done"), ""),
        [False],
    )
    stub = next(cell for cell in grading.handed_out(LESSON) if "def my_sizes(" in cell)
    untouched = ((Verdict("not answered", ""), ""), [])
    assert verdict(cells=[stub, "x = 1"]) == untouched == verdict(cells=[f"\n{stub}  \n"])
    assert verdict(("p", law), cells=[stub, "my_sizes = law"])[1] == [False]
    assert verdict(("p", law), cells=["x = 1"])[1] == [False]


def test_the_sums_stand_beside_the_grades_and_are_of_the_graded_lessons(tmp_path):
    row = {"student": "anna", "lesson": LESSON, "answer": "my_sizes", "points": "1", "of": "2"}
    path = grading.write_sums(tmp_path / "g.csv", [row], {"my_groups": 4})
    assert path == tmp_path / "g-students.csv"
    assert path.read_text() == f"student,points,of,{LESSON}\nanna,1,8,1\n"


def test_an_answer_has_20_seconds_and_2_gigabytes_where_nothing_else_is_said():
    assert Limits() == (20, 2) and Exercise(1, "c", "a").points == 0
