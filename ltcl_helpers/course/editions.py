"""The student's and the teacher's edition of the lessons, made from one source.

A lesson marks its solutions with a cell tag, and ends the cell of an exercise in one commented
check. So nothing else is kept by hand: the student's edition drops the solutions and makes the
checks live, the teacher's keeps all and says what is known about each exercise.
"""

from __future__ import annotations

import copy
import html
import json
import re
from pathlib import Path

from .. import exercises, files
from ..errors import ConfigError
from ..paths import LESSONS

CHECK = re.compile(r"^# (exercises\.(check_\w+)\(my_\w+\))$", re.MULTILINE)
MINUTES = re.compile(r"^###+ Exercise .*?(\d+) minutes", re.MULTILINE)
PICTURE = re.compile(r"\]\(\.\./figures/([^)]+)\)")


def text(cell: dict) -> str:
    """The source of a cell."""
    return "".join(cell["source"])


def new_cell(kind: str, source: str) -> dict:
    """A cell of a notebook, "markdown" or "code"."""
    cell = {"cell_type": kind, "metadata": {}, "source": source.splitlines(keepends=True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def student_edition(lesson: dict) -> dict:
    """Solutions dropped, checks live; the last cell lists what is open."""
    cells = [c for c in copy.deepcopy(lesson["cells"]) if not is_solution(c)]
    for cell in cells:
        if cell["cell_type"] == "code":
            cell["source"] = CHECK.sub(r"\1", text(cell)).splitlines(keepends=True)
    cells.append(new_cell("markdown", "## What is still open?"))
    cells.append(new_cell("code", "exercises.summary()"))
    return _numbered(lesson, cells)


def teacher_edition(lesson: dict) -> dict:
    """The whole lesson; before each exercise's first cell its hint and the common mistakes."""
    cells, minutes = [], 0
    for cell in copy.deepcopy(lesson["cells"]):
        check = CHECK.search(text(cell)) if cell["cell_type"] == "code" else None
        if check:
            cells.append(new_cell("markdown", _notes(check.group(2))))
        cells.append(cell)
        if cell["cell_type"] == "markdown":
            minutes += sum(map(int, MINUTES.findall(text(cell))))
    about = f"> **Teacher's edition.** Exercises: about {minutes} minutes. Plan: docs/teaching.md."
    return _numbered(lesson, [cells[0], new_cell("markdown", about), *cells[1:]])


def is_solution(cell: dict) -> bool:
    """Whether a cell is tagged as one."""
    return "solution" in cell["metadata"].get("tags", [])


def _notes(name: str) -> str:
    check = getattr(exercises, name)
    mistakes = "\n".join(f"> * {mistake}" for mistake in check.mistakes)
    return f"> **For the teacher.** Hint: {check.hint}\n>\n> Common mistakes:\n>\n{mistakes}"


def _numbered(lesson: dict, cells: list[dict]) -> dict:
    return lesson | {"cells": [cell | {"id": str(k)} for k, cell in enumerate(cells)]}


SLIDES = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Slides</title><style>
html {{ scroll-snap-type: y mandatory; font: 3vmin system-ui, sans-serif; }} body {{ margin: 0; }}
section {{ height: 100vh; scroll-snap-align: start; display: flex; flex-direction: column;
 align-items: center; justify-content: center; gap: 2vmin; break-after: page; }}
h1 {{ margin: 0; font-size: 5vmin; text-align: center; }} p {{ margin: 0 5vw; }}
img {{ max-width: 92vw; max-height: 75vh; }} @page {{ size: landscape; margin: 0; }}
</style></head><body>
{slides}
<script>
const step = {{ ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1,
 PageUp: -1 }};
addEventListener("keydown", (key) => {{
  if (!(key.key in step)) return;
  key.preventDefault();
  scrollTo(0, (Math.round(scrollY / innerHeight) + step[key.key]) * innerHeight);
}});
</script></body></html>
"""
SHOWN = re.compile(r"!\[([^\]]*)\]\((?:\.\./)?(figures/[^)\s]+)\)|(<svg\b.*?</svg>)", re.DOTALL)


def slides(lessons: list[dict]) -> str:
    """A page with the pictures of the lessons' texts, one to a screen, without a network."""
    found = []
    for lesson in lessons:
        title = html.escape(text(lesson["cells"][0]).splitlines()[0].removeprefix("# "))
        found.append(f"<section><h1>{title}</h1></section>")
        for cell in lesson["cells"]:
            if cell["cell_type"] != "markdown":
                continue
            for words, place, drawing in SHOWN.findall(text(cell)):
                said = html.escape(" ".join(words.split()))
                picture = drawing or f'<img src="{html.escape(place)}" alt="{said}">'
                found.append(f"<section><h1>{title}</h1>{picture}<p>{said}</p></section>")
    return SLIDES.format(slides="\n".join(found))


def write_editions(target: Path, source: Path = LESSONS) -> list[Path]:
    """Write `target`/student and `target`/teacher with the pictures that their texts show.

    Raises ConfigError where there are no lessons, and before anything is written where a notebook
    is there that is not as it was handed out: there may be answers in it.
    """
    lessons = []
    contents: dict[Path, bytes] = {}
    for path in sorted(source.glob("[0-9]*.ipynb")):
        lesson = json.loads(path.read_text(encoding="utf-8"))
        lessons.append(lesson)
        for name, make in (("student", student_edition), ("teacher", teacher_edition)):
            edition, folder = make(lesson), target / name
            content = json.dumps(edition, indent=1, ensure_ascii=False)
            for picture in set(PICTURE.findall(content)):
                drawn = (source.parent / "figures" / picture).read_bytes()
                contents[folder / "figures" / picture] = drawn
            content = PICTURE.sub(r"](figures/\1)", content)
            contents[folder / path.name] = f"{content}\n".encode()
    if not lessons:
        raise ConfigError(f"{source} holds no lesson; call this in the course's folder")
    _refuse_changed({path: content for path, content in contents.items() if _is_notebook(path)})
    contents[target / "teacher" / "slides.html"] = slides(lessons).encode()
    for path, whole in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, whole)
    return [path for path in contents if _is_notebook(path)]


def _is_notebook(path: Path) -> bool:
    return path.suffix == ".ipynb"


def _refuse_changed(notebooks: dict[Path, bytes]) -> None:
    """Raise a ConfigError where a notebook is there with another content than it would get."""
    changed = [path for path, content in notebooks.items()
               if path.exists() and path.read_bytes() != content]  # fmt: skip
    if changed:
        raise ConfigError(
            f"{changed[0]} is there and is not as it was handed out ({len(changed)} such "
            "notebooks), and there may be answers in it; move it, or name another --out"
        )
