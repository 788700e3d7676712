"""The table of grades, row by row: what is kept, in which order, and what others make of it."""

import pytest

from ltcl_helpers.course import gradebook
from ltcl_helpers.errors import ConfigError

HEAD = "student,file,lesson,exercise,answer,status,points,of,message,seconds,same_as"
HEAD += ",fingerprint,digest"


def row(student, answer="my_a", exercise="1", status="right", digest="d", **more):
    """A row of the hand-in STUDENT.ipynb."""
    known = dict.fromkeys(gradebook.COLUMNS, "") | {"lesson": "01", "digest": digest}
    about = dict(student=student, file=f"{student}.ipynb", exercise=exercise, answer=answer)
    return known | about | {"status": status} | more


def answers(book):
    return [(each["student"], each["answer"]) for each in book.sorted()]


def test_a_table_is_written_cell_by_cell_and_read_again(tmp_path):
    path = tmp_path / "grades.csv"
    book = gradebook.Gradebook(path)
    book.begin("anna.ipynb", "d")
    given = row("anna", message='=1+1\nä,"x"\ud800', fingerprint="f", seconds="0.1")
    book.add(gradebook.points(given, 2.5))
    line = 'anna,anna.ipynb,01,1,my_a,right,2.5,2.5,"\'=1+1 ä,""x"" ",0.1,,f,d'
    assert path.read_bytes().decode() == f"{HEAD}\n{line}\n"
    [kept] = book.sorted()
    kept["message"] = '=1+1 ä,"x" '
    assert gradebook.read_csv(path) == [kept]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as a spreadsheet saves it
    assert gradebook.read_csv(path) == [kept]


def test_no_cell_is_a_formula_or_long_and_a_quote_of_its_own_stays(tmp_path):
    texts = ["=a", "+a", "-a", "@a", "'a", "a=", "a-b", "", "'"]
    for sign in (*texts, "x" * 500):
        gradebook.write_csv(tmp_path / "t.csv", [row("anna", message=sign)], gradebook.COLUMNS)
        assert gradebook.read_csv(tmp_path / "t.csv")[0]["message"] == sign
    gradebook.write_csv(tmp_path / "t.csv", [{"a": t} for t in [*texts, "y" * 501]], ("a",))
    shown = (tmp_path / "t.csv").read_text().splitlines()
    assert shown == ["a", "'=a", "'+a", "'-a", "'@a", "'a", "a=", "a-b", '""', "'", "y" * 500]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"month,euros\nMay,3\n", "is there and is no table of grades; name another --out"),
        (f"{HEAD}\nanna,anna.ipynb\n".encode(), "is there and is no table of grades"),
        (f"{HEAD}\n{',' * 13}\n".encode(), "is there and is no table of grades"),
        (f"{HEAD}\n\xff".encode("latin-1"), r"is no table of grades \('utf-8' codec"),
        (f'{HEAD}\n"{"x" * 200_000}"\n'.encode(), r"is no table of grades \(field larger"),
    ],
)
def test_another_table_is_left_alone(content, says, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=f"t.csv {says}"):
        gradebook.Gradebook(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_bytes() == content


def test_an_empty_file_is_a_table_without_rows(tmp_path):
    for content in ("", f"{HEAD}\n"):
        (tmp_path / "t.csv").write_text(content)
        assert gradebook.Gradebook(tmp_path / "t.csv").sorted() == []


def test_rows_stand_in_the_order_of_hand_ins_and_exercises():
    book = gradebook.Gradebook()
    book.begin("zoe.ipynb", "d")
    book.begin("anna.ipynb", "d")
    book.begin("zoe.ipynb", "d")  # named twice: its place stays
    for each in (
        row("anna"),
        row("zoe", "my_b", "10"),
        row("zoe", "my_a", "1"),
        row("zoe", "my_c", "9"),
        row("zoe", "", ""),
    ):
        book.add(each)
    zoes = [("zoe", answer) for answer in ("", "my_a", "my_c", "my_b")]
    assert answers(book) == [*zoes, ("anna", "my_a")]
    book.close()
    book.add(row("anna", "my_b", "2"))  # it was stopped, not graded
    assert len(answers(book)) == 5


def test_what_is_known_of_a_hand_in_is_kept_until_it_changes(tmp_path):
    path = tmp_path / "grades.csv"
    book = gradebook.Gradebook(path)
    for student in ("anna", "berta"):
        book.begin(f"{student}.ipynb", "d")
        book.add(row(student))
    book.add(row("berta", "my_b", "2", status=gradebook.NOT_GRADED))
    book.add(row("berta", "my_c", "3", status="timed out"))
    again = gradebook.Gradebook(path)
    assert again.get("anna.ipynb", "my_a")["status"] == "right"
    assert again.get("anna.ipynb", "my_b") is None is again.get("carl.ipynb", "my_a")
    assert again.get("berta.ipynb", "my_b") is None  # tried again
    assert again.get("berta.ipynb", "my_c") is None  # on a quieter machine it may be in time
    again.begin("anna.ipynb", "d")
    bertas = [("berta", f"my_{name}") for name in "abc"]
    assert answers(again) == [("anna", "my_a"), *bertas]
    again.begin("berta.ipynb", "another")
    assert answers(again) == [("anna", "my_a")]


def test_the_same_answer_is_told_of_the_others_only():
    book = gradebook.Gradebook()
    given = [
        row("anna", fingerprint="f"), row("berta", fingerprint="f"), row("carl", fingerprint="f"),
        row("carl", "my_b", "2", fingerprint="g"), row("dora", "my_b", "2", fingerprint="f"),
        row("anna", "my_b", "2"), row("berta", "my_b", "2"),
    ]  # fmt: skip
    for each in given:
        book.begin(each["file"], "d")
        book.add(each)
    found = {(r["student"], r["answer"]): r["same_as"] for r in book.sorted() if r["same_as"]}
    assert found == {
        ("anna", "my_a"): "berta, carl",
        ("berta", "my_a"): "anna, carl",
        ("carl", "my_a"): "anna, berta",
    }


def test_points_are_those_of_right_answers():
    for status, got in (("right", "1.5"), ("wrong", "0"), ("not answered", "0"), ("error", "0")):
        found = gradebook.points(row("anna", status=status), 1.5)
        assert (found["points"], found["of"]) == (got, "1.5")


def test_sums_are_by_student_and_lesson_and_the_better_hand_in_counts():
    rows = [
        row("anna", points="1", of="1"),
        row("anna", "my_b", "2", file="old.ipynb", points="2", of="2"),
        row("anna", "my_b", "2", points="0", of="2"),
        row("anna", lesson="02", points="0.5", of="1"),
        row("berta", points="", of=""),
    ]
    assert gradebook.sums(rows, {"01": 3.0, "02": 1.5}) == [
        {"student": "anna", "points": "3.5", "of": "4.5", "01": "3", "02": "0.5"},
        {"student": "berta", "points": "0", "of": "4.5", "01": "0", "02": "0"},
    ]


def test_a_second_call_knows_names_of_every_script(tmp_path):
    wide, hard, joined = "\u3000", "\u00a0", "\u200c"  # spaces of two kinds, a joiner
    names = [f"田中{wide}太郎", f"Zoé{hard}Noir", f"علی{joined}رضا", "a\tb", "\udce4"]
    for _ in range(2):
        book = gradebook.Gradebook(tmp_path / "grades.csv")
        for name in names:
            file = f"{name}/one.ipynb"
            book.begin(file, "d")
            book.add(row(name, file=file, digest="d"))
            assert book.get(file, "my_a")["student"]
        assert [each["student"] for each in book.sorted()] == [*names[:3], "a b", " "]


def test_a_page_counts_two_hand_ins_as_the_sums_do(tmp_path):
    rows = [
        row("anna", file="old.ipynb", points="0", of="2"),
        row("anna", "my_b", "2", file="old.ipynb", points="1", of="1"),
        row("anna", file="new.ipynb", points="2", of="2"),
        row("anna", "my_b", "2", file="new.ipynb", points="0", of="1"),
    ]
    [page] = gradebook.write_feedback(tmp_path, rows)
    assert "3 of 3 points." in page.read_text()
    assert gradebook.sums(rows, {"01": 3.0})[0]["points"] == "3"


PAGE = """\
# an na

1.5 of 4 points.

## 01

`one.ipynb`

* **my_a**: right, 1.5 of 1.5 points
* **my_b**: wrong, 0 of 2.5 points
  `got  b 1 /b   x   2  3`

## no lesson

`two.ipynb`

* **hand-in**: error
"""


def test_a_students_page_is_plain_text(tmp_path):
    rows = [
        row("an*na", file="x/one.ipynb", points="1.5", of="1.5"),
        row("berta"),
        row("an*na", "my_b", "2", "wrong", file="x/one.ipynb", points="0", of="2.5",
            message="got <b>1</b> `x` *2| 3"),
        row("an*na", "", "", "error", file="y/two.ipynb", lesson=""),
    ]  # fmt: skip
    pages = gradebook.write_feedback(tmp_path / "new" / "pages", rows)
    assert [page.name for page in pages] == ["an_na.md", "berta.md"]
    assert pages[0].read_text(encoding="utf-8") == PAGE
    assert gradebook.write_feedback(tmp_path / "new" / "pages", rows) == pages  # made anew


def test_every_student_has_a_page_of_a_name_that_a_system_takes(tmp_path):
    names = ["a/b", "a|b", "a?b", "..", "../c", "d e@f-g.h", "\udce4"]
    pages = gradebook.write_feedback(tmp_path, [row(name) for name in names])
    shown = ["a_b", "a_b (1)", "a_b (2)", "student", "_c", "d e@f-g.h", "_"]
    assert [page.relative_to(tmp_path).as_posix() for page in pages] == [f"{n}.md" for n in shown]
    assert pages[-1].read_text(encoding="utf-8").startswith("# ?\n")
