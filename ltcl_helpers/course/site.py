"""The course as static pages by Sphinx: executed lessons, docs, the package; no network needed.

This module only lays out what Sphinx reads (docs/conf.py): lessons without their solutions for
students, explorers as frames, an alternative text for each picture, a page for each room.
"""

from __future__ import annotations

import base64
import importlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .. import files
from ..errors import ConfigError
from ..explorer import export_html, page
from ..paths import FIGURES, PACKAGE, RESULTS, ROOT
from .editions import is_solution, text

DOCS = ROOT / "docs"
EDITIONS = ("student", "teacher")
OF_A_SITE = ("index.html", "objects.inv", "searchindex.js")  # as Sphinx leaves them
TEACHERS = ("teaching.md", "teachers_pack.md", "grading.md")  # answers and rubrics among them
WIDGET = "application/vnd.jupyter.widget-view+json"
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
FRAME = '<iframe class="explorer" title="{title}" src="../{name}" loading="lazy"></iframe>'
SIDEBAR = '<div id="pst-primary-sidebar"'
LANDMARK = 'role="complementary" aria-label="Title and pages"'  # the theme leaves the title outside
CELL = re.compile("<td.*?</td>", re.DOTALL)
VALUE = re.compile(r"(?<=\d) (±|to) (?=[+-]?\d)")  # inside of "58.6 ± 8.2" and "-0.3 to +2.7"
TWO_RUNS = ("shapes-simclr/long-tail-0", "shapes-methods/bcl-i-0")
ROOMS = (
    "views", "networks", "methods", "pretrain", "probe", "data", "runs", "batch", "report",
    "explorer", "exercises", "course",
)  # fmt: skip


def write_site(executed: Path, target: Path, edition: str = "student") -> list[Path]:
    """Make `target` of the executed lessons in a folder; its pages.

    Args:
        executed: a folder of executed lessons.
        target: the site, made anew; an older site that is there goes once the new one is built.
        edition: "student", without a solution anywhere, or "teacher".

    Raises:
        ConfigError: without lessons, for one whose execution stopped, for another edition, and
            where `target` holds something else than a site.
    """
    paths = sorted(executed.glob("[0-9]*.ipynb"))
    if edition not in EDITIONS:
        raise ConfigError(f"edition is {edition!r}; allowed are {', '.join(EDITIONS)}")
    _refuse_other_files(target)
    if not paths:
        raise ConfigError(f"{executed} holds no executed lesson; `make course` executes them")
    for path in paths:
        _refuse_half_executed(path)
    if not (DOCS / "conf.py").exists():
        raise ConfigError(f"{DOCS} has no conf.py; call this in the kit's clone")
    importlib.import_module("sphinx")  # or the command says what is missing
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        for name in ("lessons", "docs", "api", "extra", "_static"):
            (source / name).mkdir(parents=True)
        shutil.copy2(DOCS / "conf.py", source)
        shutil.copy2(DOCS / "course.css", source / "_static")
        shutil.copytree(FIGURES, source / "figures")
        lessons = [_lesson(path, source, edition) for path in paths]
        pages = [_doc(path, source) for path in _docs(edition)]
        rooms = [_room(name, source) for name in ROOMS]
        explorer = _explorer(source)
        _write(source / "index.md", _start(paths, lessons, pages, rooms, explorer))
        _cut_loose_links(source)
        _build(source, target)
    return sorted(target.rglob("*.html"))


def _refuse_other_files(target: Path) -> None:
    """Raise a ConfigError unless a folder is new, empty or a site: all in it is replaced."""
    is_site = all((target / name).exists() for name in OF_A_SITE)
    is_used = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if is_used and not is_site:
        raise ConfigError(
            f"--out is {target}, which holds other files than a site's, and a site replaces all of "
            "them; name a new folder"
        )


def _refuse_half_executed(path: Path) -> None:
    """Raise a ConfigError where a lesson's execution stopped on its way."""
    cells = json.loads(path.read_text(encoding="utf-8")).get("cells", [])
    code = [cell for cell in cells if cell["cell_type"] == "code" and text(cell).strip()]
    done = sum(cell.get("execution_count") is not None for cell in code)
    if 0 < done < len(code):
        raise ConfigError(
            f"{path}: {done} of {len(code)} cells are executed; execute it to its end "
            "(`make course`), or leave it out of the folder"
        )


def _build(source: Path, target: Path) -> None:
    """Run Sphinx. Raises ConfigError with its last lines where it fails, or only warns."""
    quiet = ["-q", "--no-color", "-W", "--keep-going"]  # its words stand in an error of ours
    command = [sys.executable, "-m", "sphinx", "-b", "html", *quiet]
    built = source.with_name("built")  # myst-nb leaves a folder of its own beside the pages
    places = ["-d", str(source / ".doctrees"), str(source), str(built)]
    done = subprocess.run([*command, *places], capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.replace(f"{source}/", "")
        raise ConfigError(f"Sphinx failed: {' '.join(said.split()[-60:])}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)  # an empty folder, or an older site
    shutil.move(built, target)
    (target / ".buildinfo").unlink(missing_ok=True)
    for path in target.rglob("*.html"):
        content = path.read_text(encoding="utf-8").replace(SIDEBAR, f"{SIDEBAR} {LANDMARK}")
        content = content.replace("<table ", '<table tabindex="0" ')  # scrolled by keys, too
        _write(path, CELL.sub(_unbroken, content))


def _unbroken(cell: re.Match) -> str:
    """A table's cell whose values and intervals stay on one line each."""
    return VALUE.sub("\u00a0\\1\u00a0", cell[0])


def _write(path: Path, content: str) -> None:
    files.write_bytes(path, content.encode("utf-8"))


# --- lessons --------------------------------------------------------------------------------


def _lesson(path: Path, source: Path, edition: str) -> dict:
    """Lay out an executed lesson; as it is for this edition."""
    lesson = json.loads(path.read_text(encoding="utf-8"))
    widgets = (
        lesson["metadata"].pop("widgets", {}).get("application/vnd.jupyter.widget-state+json", {})
    )
    cells: list[dict] = []
    section = ""
    for cell in lesson["cells"]:
        section = _section(cell) or section
        if is_solution(cell):
            if edition == "student":
                continue
            cell["metadata"]["tags"].append("hide-cell")
        if cell["cell_type"] == "code":
            frames = f"{path.stem}-{len(cells)}"
            cell["outputs"] = [
                _shown(output, widgets.get("state", {}), source, frames)
                for output in cell["outputs"]
            ]
            _drop_stills(cell)
            _describe(cell, section)
        cells.append(cell)
    lesson = lesson | {"cells": cells}
    content = json.dumps(lesson, ensure_ascii=False)
    _write(source / "lessons" / path.name, content)
    return lesson


def _shown(output: dict, widgets: dict, source: Path, name: str) -> dict:
    """An output as a page can show it: an explorer as a frame of its own."""
    view = output.get("data", {}).get(WIDGET)
    state = widgets.get(view["model_id"], {}) if view else {}
    if "_meta" not in state.get("state", {}):
        if view:
            output["data"] = {"text/plain": "(shown in Jupyter)"}
        return output
    [data] = [each["data"] for each in state["buffers"] if each["path"] == ["_data"]]
    meta = state["state"]["_meta"] | {"live": False}
    title = f"Explorer: {' and '.join(run['label'] for run in meta['runs'])}"
    content = page.text(title, meta, base64.b64decode(data))
    _write(source / "extra" / f"{name}.html", content)
    frame = FRAME.format(title=title, name=f"{name}.html")
    return output | {"data": {"text/html": frame}}


def _drop_stills(cell: dict) -> None:
    """Where an explorer is alive in its frame, the picture of it in the notebook goes."""
    kinds = [output.get("data", {}) for output in cell["outputs"]]
    if any(FRAME[:24] in str(data.get("text/html", "")) for data in kinds):
        cell["outputs"] = [
            output
            for output, data in zip(cell["outputs"], kinds, strict=True)
            if "image/png" not in data
        ]


def _section(cell: dict) -> str:
    """The last heading of a text cell, or ""."""
    if cell["cell_type"] != "markdown":
        return ""
    headings = re.findall(r"^#+ (.+)$", text(cell), re.MULTILINE)
    return str(headings[-1]) if headings else ""


def _describe(cell: dict, section: str) -> None:
    """Give the pictures of a cell what their figure says of itself as an alternative text."""
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            told = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            said = told or "".join(data.get("text/plain", ""))
            words = "a picture that the code above makes" if said.startswith("<") else said
            alt = f"{section}: {words}"
            cell["metadata"].setdefault("mystnb", {})["image"] = {"alt": alt}


# --- docs and the package -------------------------------------------------------------------


def _docs(edition: str) -> list[Path]:
    found = sorted(DOCS.glob("*.md"))
    return [path for path in found if edition == "teacher" or path.name not in TEACHERS]


def _doc(path: Path, source: Path) -> str:
    shutil.copy2(path, source / "docs")
    return f"docs/{path.stem}"


def _room(name: str, source: Path) -> str:
    """A page of a room: what its files say of their public names."""
    lines = [f"# {name}", "", "```{eval-rst}", f".. automodule:: ltcl_helpers.{name}", "```", ""]
    for path in sorted((PACKAGE / name).glob("[a-z]*.py")):
        module = f"ltcl_helpers.{name}.{path.stem}"
        lines += [f"## {name}.{path.stem}", "", "```{eval-rst}", f".. automodule:: {module}"]
        lines += ["   :members:", "   :show-inheritance:", "```", ""]
    _write(source / "api" / f"{name}.md", "\n".join(lines))
    return f"api/{name}"


def _explorer(source: Path) -> str:
    """The explorer's page of two recorded runs; its name, or "" where they are not recorded."""
    runs = [RESULTS / name for name in TWO_RUNS]
    if not all(run.exists() for run in runs):
        return ""
    return export_html(runs[0], source / "extra" / "explorer.html", runs[1]).name


def _start(
    paths: list[Path], lessons: list[dict], docs: list[str], rooms: list[str], explorer: str
) -> str:
    """The first page: what each lesson promises, and all pages in the margin."""
    lines = ["# Long-tail contrastive learning", ""]
    lines += ["What does a network learn about the rare things in a collection without labels, and"]
    lines += ["can we help it? These are the lessons, executed; to change and run them, open the"]
    lines += ["notebooks.", ""]
    for path, lesson in zip(paths, lessons, strict=True):
        first = text(lesson["cells"][0])
        title, promise = first.splitlines()[0].removeprefix("# "), first.split("\n\n")[1]
        lines += [f"**[{title}](lessons/{path.name})**", "", promise.replace("**", ""), ""]
    if explorer:
        lines += ["**<a href='explorer.html'>The memorization explorer</a>**", ""]
        lines += ["Pick one image: how did two networks learn it, epoch by epoch?", ""]
    names = {"Lessons": [f"lessons/{path.stem}" for path in paths], "Pages": docs}
    for caption, entries in (names | {"The package": rooms}).items():
        lines += ["```{toctree}", ":hidden:", f":caption: {caption}", ":maxdepth: 1", "", *entries]
        lines += ["```", ""]
    return "\n".join(lines)


def _cut_loose_links(source: Path) -> None:
    """Where a link leads to a file that is no page here, its words stay without the link."""

    def mend(folder: Path, content: str) -> str:
        def one(match: re.Match) -> str:
            words, place = match[1], match[2]
            if place.endswith("README.md") and "data" not in place:
                return match[0].replace(place, "../index.md")
            return match[0] if (folder / place).exists() else words

        return LINK.sub(one, content)

    for path in [*source.rglob("*.md"), *source.rglob("*.ipynb")]:
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".md":
            _write(path, mend(path.parent, content))
            continue
        lesson: dict[str, Any] = json.loads(content)
        for cell in lesson["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = mend(path.parent, text(cell))
        _write(path, json.dumps(lesson, ensure_ascii=False))
