"""Both editions come from the lessons; the student's has no solution and runs to its end."""

import ast
import json
import re

import pytest

from ltcl_helpers import exercises, paths
from ltcl_helpers.course import editions
from ltcl_helpers.errors import ConfigError

LESSONS = sorted(paths.LESSONS.glob("[0-9]*.ipynb"))
each_lesson = pytest.mark.parametrize("name", [p.name for p in LESSONS])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    target = tmp_path_factory.mktemp("editions")
    assert len(editions.write_editions(target)) == 2 * len(LESSONS)
    return target


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def lines(cell):
    """Lines that say something, without what everybody writes."""
    common = re.compile(
        r"return$|def |for |import |from |print\(|else:|\)$|[\w, ]+ = \w+$"
        r"|(\w+: [\w.\[\]]+,? ?)+$"
    )  # the last: parameters of a long head
    found = (line.strip() for line in editions.text(cell).splitlines())
    return {line for line in found if len(line) > 20 and not common.match(line)}


@each_lesson
def test_the_students_edition_has_no_solution_and_live_checks(written, name):
    source, student = read(paths.LESSONS / name), read(written / "student" / name)
    kept = {line for c in source["cells"] if not editions.is_solution(c) for line in lines(c)}
    solved = {line for c in source["cells"] if editions.is_solution(c) for line in lines(c)} - kept
    assert solved, "the test looks for nothing"
    content = "\n".join(editions.text(cell) for cell in student["cells"])
    assert [line for line in solved if line in content] == []
    asked = editions.CHECK.findall("\n".join(map(editions.text, source["cells"])))
    for call, _ in asked:
        assert re.search(rf"^{re.escape(call)}$", content, re.M)
    assert "# exercises." not in content and content.endswith("exercises.summary()")
    for cell in student["cells"]:
        assert not cell.get("outputs") and "solution" not in str(cell["metadata"])
        if cell["cell_type"] == "code":
            ast.parse(editions.text(cell))


@each_lesson
def test_the_teachers_edition_adds_hints_and_mistakes_and_loses_nothing(written, name):
    source, teacher = read(paths.LESSONS / name), read(written / "teacher" / name)
    code = [editions.text(c) for c in teacher["cells"] if c["cell_type"] == "code"]
    assert code == [editions.text(c) for c in source["cells"] if c["cell_type"] == "code"]
    content = "\n".join(editions.text(cell) for cell in teacher["cells"])
    for _, check in editions.CHECK.findall("\n".join(code)):
        asked = getattr(exercises, check)
        assert f"Hint: {asked.hint}" in content and all(m in content for m in asked.mistakes)
    minutes = int(re.search(r"Exercises: about (\d+) minutes", content)[1])
    assert minutes == sum(map(int, re.findall(r"Exercise \d.*?(\d+) minutes", content)))


@pytest.mark.parametrize("edition", ["student", "teacher"])
def test_every_picture_of_an_edition_comes_with_it(written, edition):
    pages = list((written / edition).glob("*.ipynb"))
    assert len(pages) == len(LESSONS)
    for path in pages:
        texts = (editions.text(c) for c in read(path)["cells"] if c["cell_type"] == "markdown")
        for link in re.findall(r"\]\(([^)#]+)\)", "\n".join(texts)):
            if not re.match(r"https?:", link):
                assert (path.parent / link).is_file(), f"{path.name}: {link}"


@pytest.mark.parametrize("name", [LESSONS[1].name, LESSONS[8].name])  # that train nothing
def test_run_all_of_the_students_edition_lists_what_is_open(written, tmp_path, name, execute):
    target = tmp_path / name
    done = execute(written / "student" / name, target, preset="tiny")
    assert done.returncode == 0, done.stderr[-3000:]
    *cells, last = read(target)["cells"]
    printed = "".join("".join(o.get("text", "")) for o in last["outputs"])
    asked = [c for _, c in editions.CHECK.findall(
        "\n".join(map(editions.text, read(paths.LESSONS / name)["cells"])))]  # fmt: skip
    open_names = ", ".join(check.removeprefix("check_") for check in asked)
    assert printed == f"not answered: {open_names}\n"
    for cell in cells:
        if re.search(r"^exercises\.check_", editions.text(cell), re.M):
            said = "".join("".join(output["text"]) for output in cell["outputs"])
            assert said.endswith(": not answered\n")


def test_a_notebook_with_answers_in_it_is_not_written_over(tmp_path):
    first, *_ = editions.write_editions(tmp_path)
    answered = first.read_text(encoding="utf-8").replace("your answer here", "return 42")
    first.write_text(answered, encoding="utf-8")
    slides = tmp_path / "teacher" / "slides.html"
    slides.unlink()
    with pytest.raises(ConfigError, match=f"{first} is there and is not as .*1 such notebooks"):
        editions.write_editions(tmp_path)
    assert first.read_text(encoding="utf-8") == answered and not slides.exists()


def test_where_there_are_no_lessons_the_call_says_so(tmp_path):
    with pytest.raises(ConfigError, match="holds no lesson"):
        editions.write_editions(tmp_path / "out", tmp_path)


def test_slides_show_the_pictures_of_the_lessons_and_need_no_network(written):
    page = (written / "teacher" / "slides.html").read_text(encoding="utf-8")
    assert "//" not in page and not (written / "student" / "slides.html").exists()
    places = re.findall(r'<img src="([^"]+)" alt="[^"]{10,}"', page)
    assert len(places) == page.count("<img") >= 3
    for place in places:
        assert (written / "teacher" / place).is_file()
    assert page.count("<section>") >= len(LESSONS) + len(places)


def test_the_pack_has_as_many_answers_as_questions():
    pack = (paths.ROOT / "docs" / "teachers_pack.md").read_text(encoding="utf-8")
    quiz = pack.split("## Quiz")[1].split("\n## ")[0]
    questions, answers = quiz.split("**Answers.**")
    asked = re.findall(r"^(\d+)\. \(", questions, re.M)
    assert asked == re.findall(r"(?:^|\s)(\d+): ", answers) == [str(k) for k in range(1, 21)]
