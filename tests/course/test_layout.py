"""What Sphinx is given to read, and what is made of its pages: lessons, links, rooms, formulas."""

import base64
import json
from pathlib import Path

import pytest

from ltcl_helpers import exercises, paths
from ltcl_helpers.course import editions, mathml
from ltcl_helpers.course import site as static
from ltcl_helpers.errors import ConfigError

STATE = "application/vnd.jupyter.widget-state+json"
META = {"runs": [{"label": "SimCLR"}, {"label": "BCL"}], "live": True}
DATA = b"numbers of the explorer"
PNG = {"image/png": "iVBO"}


def cell(kind, text, *tags, outputs=()):
    made = editions.new_cell(kind, text)
    if kind == "code":
        made["outputs"] = [*outputs]
    if tags:
        made["metadata"]["tags"] = [*tags]
    return made


def output(data, alt=None):
    about = {"image/png": {"alt": alt}} if alt else {}
    return {"output_type": "display_data", "metadata": about, "data": data}


def lesson():
    """An executed lesson: an explorer with its still, two pictures, a widget without a state."""
    widgets = {
        "one": {"state": {"_meta": META, "_data": None},
                "buffers": [{"path": ["other"], "data": "AAAA"},
                            {"path": ["_data"], "data": base64.b64encode(DATA).decode()}]},
        "two": {"state": {"value": 3}},
    }  # fmt: skip
    views = [output({static.WIDGET: {"model_id": name}, "text/plain": "W"}) for name in widgets]
    figure = {**PNG, "text/plain": ["a line ", "that falls"]}
    cells = [
        cell("markdown", "# A lesson\n\nIt **promises**."),
        cell("markdown", "## First part\n\nText\n\n### Inner part"),
        cell("code", "explore()", outputs=[views[0], output({**PNG, "text/plain": "still"})]),
        cell("code", "answer()", "solution", outputs=[output(PNG)]),
        cell("code", "plot()", outputs=[output(figure), views[1]]),
        cell("code", "plot()", outputs=[output({**PNG, "text/plain": "<Figure>"}, "told")]),
        cell("code", "plot()", outputs=[output({**PNG, "text/plain": "<Figure size 1>"})]),
        cell("code", "say()", outputs=[{"output_type": "stream", "text": "hello"}]),
    ]
    return {"cells": cells, "metadata": {"widgets": {STATE: {"state": widgets}}, "kept": 1}}


@pytest.fixture
def source(tmp_path):
    for name in ("lessons", "docs", "api", "extra"):
        (tmp_path / name).mkdir()
    return tmp_path


def laid_out(source, edition, content=None):
    path = source / "07_one.ipynb"
    path.write_text(json.dumps(content or lesson()), encoding="utf-8")
    found = static._lesson(path, source, edition)
    assert found == json.loads((source / "lessons" / path.name).read_text(encoding="utf-8"))
    return found


def alts(cells):
    return [c["metadata"].get("mystnb", {}).get("image", {}).get("alt") for c in cells]


def test_a_lesson_is_laid_out_for_students_without_its_solutions(source):
    found = laid_out(source, "student")
    texts = [editions.text(each) for each in found["cells"]]
    assert texts[2:] == ["explore()", "plot()", "plot()", "plot()", "say()"]
    assert found["metadata"] == {"kept": 1}
    assert alts(found["cells"])[2:] == [
        None,
        "Inner part: a line that falls",
        "Inner part: told",
        "Inner part: a picture that the code above makes",
        None,
    ]
    teacher = laid_out(source, "teacher")["cells"]
    assert len(teacher) == 8 and teacher[3]["metadata"]["tags"] == ["solution", "hide-cell"]
    assert "mystnb" in teacher[3]["metadata"]


def test_an_explorer_becomes_a_frame_and_its_still_goes(source):
    cells = laid_out(source, "student")["cells"]
    [frame] = cells[2]["outputs"]
    assert frame["data"] == {
        "text/html": '<iframe class="explorer" title="Explorer: SimCLR and BCL" '
        'src="../07_one-2.html" loading="lazy"></iframe>'
    }
    page = (source / "extra" / "07_one-2.html").read_text(encoding="utf-8")
    assert "<title>Explorer: SimCLR and BCL: " in page
    assert base64.b64encode(DATA).decode() in page and '"live": true' not in page.lower()
    assert cells[3]["outputs"][1]["data"] == {"text/plain": "(shown in Jupyter)"}
    assert cells[6]["outputs"] == [{"output_type": "stream", "text": "hello"}]
    plain = laid_out(source, "student", lesson() | {"metadata": {}})["cells"]
    assert plain[2]["outputs"][0]["data"] == {"text/plain": "(shown in Jupyter)"}
    assert len(plain[2]["outputs"]) == 2  # then its picture stays


def test_a_heading_is_one_of_a_text():
    assert static._section(cell("markdown", "# A\n## B\ntext # C")) == "B"
    assert static._section(cell("markdown", "text")) == "" == static._section(cell("code", "# A"))


# --- pages ------------------------------------------------------------------------------------


def test_pages_for_teachers_are_not_the_students():
    teachers, students = static._docs("teacher"), static._docs("student")
    left = {path.name for path in teachers} - {path.name for path in students}
    assert left == {"teaching.md", "teachers_pack.md", "grading.md"}
    assert teachers == sorted(teachers) and static.DOCS / "methods.md" in students


def test_a_room_is_laid_out_file_by_file(source):
    assert static._room("views", source) == "api/views"
    text = (source / "api" / "views.md").read_text()
    head = "# views\n\n```{eval-rst}\n.. automodule:: ltcl_helpers.views\n```\n\n"
    files = sorted(path.stem for path in (paths.PACKAGE / "views").glob("[a-z]*.py"))
    parts = [
        f"## views.{name}\n\n```{{eval-rst}}\n.. automodule:: ltcl_helpers.views.{name}\n"
        "   :members:\n   :show-inheritance:\n```\n" for name in files
    ]  # fmt: skip
    assert text == head + "\n".join(parts)
    assert static._doc(static.DOCS / "methods.md", source) == "docs/methods"
    assert (source / "docs" / "methods.md").exists()


def test_the_explorers_page_is_made_where_its_runs_are_recorded(source, monkeypatch, tmp_path):
    monkeypatch.setattr(static, "RESULTS", tmp_path)
    assert static._explorer(source) == ""


START = """\
# Long-tail contrastive learning

What does a network learn about the rare things in a collection without labels, and
can we help it? These are the lessons, executed; to change and run them, open the
notebooks.

**[A lesson](lessons/07_one.ipynb)**

It promises.

{explorer}```{{toctree}}
:hidden:
:caption: Lessons
:maxdepth: 1

lessons/07_one
```

```{{toctree}}
:hidden:
:caption: Pages
:maxdepth: 1

docs/a
docs/b
```

```{{toctree}}
:hidden:
:caption: The package
:maxdepth: 1

api/views
```
"""
EXPLORER = """\
**<a href='explorer.html'>The memorization explorer</a>**

Pick one image: how did two networks learn it, epoch by epoch?

"""


@pytest.mark.parametrize(("name", "words"), [("", ""), ("explorer.html", EXPLORER)])
def test_the_first_page_names_all_others(name, words):
    given = [Path("07_one.ipynb")], [lesson()], ["docs/a", "docs/b"], ["api/views"], name
    assert static._start(*given) == START.format(explorer=words)


def test_a_link_to_what_is_no_page_leaves_its_words(source):
    text = (
        "[there](b.md) [part](b.md#x) [gone](gone.md) [out](https://a.b/c) [here](#x) ![p](p.png)"
        " [kit](../README.md) [data](../data/README.md) [mail](mailto:a@b)"
    )
    kept = (
        "[there](b.md) [part](b.md#x) gone [out](https://a.b/c) [here](#x) ![p](p.png)"
        " [kit](../index.md) data [mail](mailto:a@b)"
    )
    (source / "docs" / "b.md").write_text("[gone](gone.md)")
    (source / "docs" / "a.md").write_text(text)
    cells = [cell("markdown", "[gone](gone.md)\n[b](../docs/b.md)"), cell("code", "[a](gone.md)")]
    (source / "lessons" / "n.ipynb").write_text(json.dumps({"cells": cells, "kept": "ä"}))
    static._cut_loose_links(source)
    assert (source / "docs" / "a.md").read_text() == kept
    assert (source / "docs" / "b.md").read_text() == "gone"
    found = json.loads((source / "lessons" / "n.ipynb").read_text(encoding="utf-8"))
    assert [editions.text(each) for each in found["cells"]] == [
        "gone\n[b](../docs/b.md)", "[a](gone.md)"]  # fmt: skip
    assert found["kept"] == "ä"


def test_a_warning_of_sphinx_stops_the_site_and_names_the_page(tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as many CI machines do
    source, target = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "conf.py").write_text('html_theme = "basic"\n')
    (source / "index.rst").write_text("A page\n======\n\n:doc:`nowhere`\n")
    target.mkdir()
    (target / "old.html").write_text("old")
    with pytest.raises(ConfigError) as caught:
        static._build(source, target)
    said = str(caught.value)
    assert said.startswith("Sphinx failed: ") and "unknown document: 'nowhere'" in said
    assert " index.rst:4" in said and str(source) not in said and "\n" not in said
    assert (target / "old.html").read_text() == "old"  # the older site goes last
    assert (source / ".doctrees").is_dir()


def test_a_site_without_its_folder_of_docs_is_refused(tmp_path, monkeypatch):
    (tmp_path / "01_a.ipynb").write_text("{}")
    monkeypatch.setattr(static, "DOCS", tmp_path)
    with pytest.raises(ConfigError, match=f"{tmp_path} has no conf.py; call this in the kit's"):
        static.write_site(tmp_path, tmp_path / "never")


# --- formulas ---------------------------------------------------------------------------------


def test_formulas_become_mathml_without_commands_that_are_not_known():
    for tex, plain in (
        (r" \tfrac12 ", r"\frac12"), (r"\operatorname{f}", r"\mathrm{f}"),
        (r"\bigl( x \Bigr)", "( x )"), (r"\bigg[x\Big|", "[x|"), (r"\big\{x\big\}", r"\{x\}"),
        (r"\arg x", r"\mathrm{arg} x"),
    ):  # fmt: skip
        for display in ("inline", "block"):
            found = mathml.to_mathml(tex, display)
            assert found == mathml.convert(plain, display=display) and f'"{display}"' in found
    cases = mathml.to_mathml(r"\begin{cases} 1 & x \\ 2 & y \end{cases}", "block")
    assert '<mo class="brace">' in cases and '<mtable class="cases">' in cases


class Writer:
    def __init__(self):
        self.body = []


class Node:
    def astext(self):
        return "x^2"


def test_sphinx_is_given_the_formulas_of_a_line_and_of_a_block():
    from docutils.nodes import SkipNode

    told = {}

    class App:
        def add_html_math_renderer(self, name, inline, block):
            told.update(name=name, inline=inline[0], block=block[0], ends=(inline[1], block[1]))

    assert mathml.setup(App()) == {"parallel_read_safe": True, "parallel_write_safe": True}
    assert told.pop("name") == "mathml" and told.pop("ends") == (None, None)
    shown = {}
    for kind, write in told.items():
        writer = Writer()
        with pytest.raises(SkipNode):
            write(writer, Node())
        [shown[kind]] = writer.body
    assert shown["inline"] == mathml.to_mathml("x^2", "inline")
    block = mathml.to_mathml("x^2", "block").replace("<math ", '<math tabindex="0" ')
    assert shown["block"] == f'<div class="math">{block}</div>'


# --- editions ---------------------------------------------------------------------------------


def course():
    """A lesson in small, as a teacher writes it."""
    stub = "def my_one():\n    raise NotImplementedError\n\n# exercises.check_updates(my_one)"
    return {
        "cells": [
            cell("markdown", "# 01 <One>\n\nWords ![a  curve\nthat falls](../figures/a.png)"),
            cell("markdown", "### Exercise 1 ●, 5 minutes\n#### Exercise 2 ●●, 12 minutes"),
            cell("code", stub),
            cell("code", "def one():\n    return 1", "solution"),
            cell("markdown", "### Exercise 3, 3 minutes <svg a>\n</svg> ![](figures/b.png)"),
        ],
        "metadata": {"kept": 1},
    }


def test_an_edition_is_made_cell_by_cell():
    given = course()
    student, teacher = editions.student_edition(given), editions.teacher_edition(given)
    assert given == course()  # nothing of the source is changed
    assert [c["id"] for c in student["cells"]] == [*"012345"] and student["metadata"] == {"kept": 1}
    texts = [editions.text(c) for c in student["cells"]]
    assert texts[2].endswith("\nexercises.check_updates(my_one)")
    assert texts[4:] == ["## What is still open?", "exercises.summary()"]
    assert student["cells"][4]["cell_type"] == "markdown" and "outputs" not in student["cells"][4]
    last = student["cells"][5]
    assert (last["cell_type"], last["outputs"], last["execution_count"]) == ("code", [], None)
    texts = [editions.text(c) for c in teacher["cells"]]
    assert texts[1] == (
        "> **Teacher's edition.** Exercises: about 20 minutes. Plan: docs/teaching.md."
    )
    check = exercises.check_updates
    assert texts[3].splitlines() == [
        f"> **For the teacher.** Hint: {check.hint}", ">", "> Common mistakes:", ">",
        *(f"> * {each}" for each in check.mistakes),
    ]  # fmt: skip
    assert [c["cell_type"] for c in teacher["cells"]] == [
        "markdown", "markdown", "markdown", "markdown", "code", "code", "markdown"]  # fmt: skip
    assert [c["id"] for c in teacher["cells"]] == [*"0123456"]


def test_a_slide_is_a_picture_with_its_words():
    found = editions.slides([course()])
    body = found.split("</head><body>\n")[1].split("\n<script>")[0]
    title = "<h1>01 &lt;One&gt;</h1>"
    assert body.splitlines() == [
        f"<section>{title}</section>",
        f'<section>{title}<img src="figures/a.png" alt="a curve that falls">'
        "<p>a curve that falls</p></section>",
        f"<section>{title}<svg a>",
        "</svg><p></p></section>",
        f'<section>{title}<img src="figures/b.png" alt=""><p></p></section>',
    ]
    assert "{{" not in found and "{ scroll-snap-type" in found


def test_editions_lie_beside_the_pictures_that_they_show(tmp_path):
    source, target = tmp_path / "kit" / "notebooks", tmp_path / "new" / "editions"
    source.mkdir(parents=True)
    (tmp_path / "kit" / "figures").mkdir()
    for name in ("a.png", "unused.png"):
        (tmp_path / "kit" / "figures" / name).write_bytes(name.encode())
    (source / "01_one.ipynb").write_text(json.dumps(course()), encoding="utf-8")
    (source / "notes.ipynb").write_text("{}")
    for _ in range(2):  # the second time in the same folder
        written = editions.write_editions(target, source)
    assert written == [target / name / "01_one.ipynb" for name in ("student", "teacher")]
    for path in written:
        text = path.read_text(encoding="utf-8")
        assert "](figures/a.png)" in text and "../figures" not in text and "●" in text
        assert text.startswith('{\n "cells": [') and text.endswith("}\n")
        assert [p.name for p in (path.parent / "figures").iterdir()] == ["a.png"]
    assert (target / "teacher" / "slides.html").read_text() == editions.slides([course()])
    with pytest.raises(ConfigError, match=f"{tmp_path} holds no lesson; call this in the course's"):
        editions.write_editions(target, tmp_path)
