"""Grade submissions: one row for each student and exercise, whatever a submission does.

The checks run here; an answer runs in a process of its own (`sandbox`), and only values come back.
So a submission can print "correct" or replace `exercises.check` as it likes. Of a submission only
the statements are run that its answer needs, not the lesson around it.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import logging
import re
import symtable
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .. import exercises, files
from ..errors import ConfigError
from ..exercises.checking import UNANSWERED, Verdict, judge
from ..paths import LESSONS
from .sandbox import Crashed, Remote, Sandbox, guarantees

log = logging.getLogger(__name__)


CALL = re.compile(r"^#? ?exercises\.(check_\w+)\((my_\w+)\)$", re.MULTILINE)
COLUMNS = ("student", "file", "lesson", "exercise", "answer", "status", "message", "seconds")
LARGEST = 50 << 20  # bytes of a submission


class Exercise(NamedTuple):
    """An exercise of a lesson: the name of its check and of the student's function."""

    number: int
    check: str
    answer: str


def code_cells(path: Path) -> list[str]:
    """The text of a notebook's code cells. Raises ConfigError where there is no notebook."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"more than {LARGEST >> 20} MB")
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path} is no notebook ({type(error).__name__}: {error})") from None


def lessons() -> dict[str, list[Exercise]]:
    """The exercises of every lesson of the course, read from the lessons themselves."""
    found = {}
    for path in sorted(LESSONS.glob("[0-9]*.ipynb")):
        calls = [call for cell in code_cells(path) for call in CALL.findall(cell)]
        found[path.stem] = [Exercise(k, *call) for k, call in enumerate(calls, 1)]
    if not found:
        raise ConfigError(
            f"{LESSONS} holds no lessons, which say what is graded; call this in the kit's clone"
        )
    return found


def lesson_of(path: Path, course: dict[str, list[Exercise]]) -> str:
    """The lesson that a submission answers: the one most of whose functions it defines or calls."""
    text = "\n".join(code_cells(path))
    hits = {
        name: sum(bool(re.search(rf"\b{e.check}\(|\bdef {e.answer}\(", text)) for e in asked)
        for name, asked in course.items()
    }
    best = max(hits, key=lambda name: hits[name])
    return best if hits[best] else ""


def grade(
    submissions: Iterable[Path],
    lesson: str | None = None,
    seconds: float = 20,
    memory_gb: float = 2,
) -> list[dict[str, str]]:
    """One row for each submission and exercise of its lesson.

    Args:
        submissions: notebooks; a student is named by the file, or by its folder if the file has a
            lesson's name.
        lesson: the one that was asked for, by the beginning of its name; each its own if None.
        seconds: for all calls of one exercise.
        memory_gb: that an answer may take beyond what the kit needs.
    """
    course = lessons()
    named = [name for name in course if lesson and name.startswith(lesson)]
    if lesson and len(named) != 1:
        raise ConfigError(f"lesson is {lesson!r}; allowed is the beginning of {', '.join(course)}")
    log.info("Answers run with: %s", guarantees())
    rows = []
    for path in map(Path, submissions):
        student = path.parent.resolve().name if path.stem in course else path.stem
        about = {"student": student, "file": str(path), "lesson": named[0] if named else ""}
        try:
            own = lesson_of(path, course)
            if not own or (named and own != named[0]):
                asked = course[named[0]] if named else [Exercise(0, "", "")]
                handed_in = f"this is lesson {own}" if own else "no exercise of the course in it"
                rows += [about | _row(e, Verdict(UNANSWERED, handed_in), 0) for e in asked]
                continue
            for row in _grade_one(code_cells(path), course[own], seconds, memory_gb):
                rows.append(about | {"lesson": own} | row)
        except ConfigError as error:
            asked = course[named[0]] if named else [Exercise(0, "", "")]
            rows += [about | _row(e, Verdict("error", str(error)), 0) for e in asked]
        log.info("%s: %s", student, ", ".join(r["status"] for r in rows if r["file"] == str(path)))
    return rows


def _grade_one(
    cells: list[str], asked: list[Exercise], seconds: float, memory_gb: float
) -> Iterable[dict[str, str]]:
    sandbox = Sandbox(seconds, memory_gb)
    try:
        for exercise in asked:
            start = time.monotonic()
            verdict = _verdict(cells, exercise, sandbox)
            yield _row(exercise, verdict, time.monotonic() - start)
    finally:
        sandbox.close()


def _verdict(cells: list[str], exercise: Exercise, sandbox: Sandbox) -> Verdict:
    statements, broken = needed(cells, exercise.answer)
    if broken and not statements:
        return Verdict("error", f"SyntaxError: {broken}")
    if not statements:
        return Verdict(UNANSWERED, f"no function {exercise.answer}")
    try:
        sandbox.begin(statements, exercise.answer)
        verdict = judge(getattr(exercises, exercise.check), sandbox.call)
    except NotImplementedError:
        return Verdict(UNANSWERED)
    except (Crashed, Remote) as error:
        verdict = Verdict("error", str(error))
    finally:
        sandbox.end()
    if sandbox.timed_out:
        return Verdict("timed out", f"not done after {sandbox.seconds:g} s")
    return verdict._replace(message=re.sub(r"^(Remote|Crashed): ", "", verdict.message))


def _row(exercise: Exercise, verdict: Verdict, seconds: float) -> dict[str, str]:
    number = str(exercise.number or "")
    values = (number, exercise.answer, verdict.status, verdict.message, f"{seconds:.1f}")
    return dict(zip(COLUMNS[3:], values, strict=True))


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    """Write grades; no cell begins with what a spreadsheet would take for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        cells = ["".join(c if c.isprintable() else " " for c in row[n])[:500] for n in COLUMNS]
        writer.writerow([f"'{c}" if c[:1] in ("=", "+", "-", "@") else c for c in cells])
    files.write_bytes(path, text.getvalue().encode("utf-8", "replace"))


# --- the statements that an answer needs ----------------------------------------------------


def needed(cells: list[str], name: str) -> tuple[str, str]:
    """Statements of the cells that define `name` and all that it reads, in order.

    What the answer's own cell defines, a lesson's later cell does not take away by using the same
    name. Beside the statements the first syntax error in a cell that speaks of `name`, or "".
    """
    parts: list[tuple[ast.stmt, set[str], set[str]]] = []
    own: set[str] = set()
    after, broken = 0, ""
    for cell in cells:
        try:
            found = [(node, _binds(node), _reads(node)) for node in _parse(cell)]
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if re.search(rf"\b{name}\b", cell):
                broken = (
                    broken or f"{getattr(error, 'msg', error)}, line {getattr(error, 'lineno', 0)}"
                )
            continue
        parts += found
        bound: set[str] = set().union(*(binds for _, binds, _ in found))
        own, after = (bound, len(parts)) if name in bound else (own, after)
    parts[after:] = [(node, binds - own, reads) for node, binds, reads in parts[after:]]
    wanted = {name}
    before: set[str] = set()
    while wanted != before:
        before = set(wanted)
        for _, binds, reads in parts:
            if binds & wanted:
                wanted |= reads
    if broken or not any(name in binds for _, binds, _ in parts):
        return "", broken
    kept = [_only(node, wanted) for node, binds, _ in parts if binds & wanted]
    return "\n".join(map(ast.unparse, kept)), ""


def _parse(cell: str) -> list[ast.stmt]:
    try:
        return ast.parse(cell).body
    except SyntaxError:  # perhaps only because of lines for Jupyter or the shell
        return ast.parse(re.sub(r"^\s*[%!?].*$", "", cell, flags=re.MULTILINE)).body


def _binds(node: ast.AST) -> set[str]:
    """Names that a statement gives a value, or changes, outside of functions in it."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    names: set[str] = set()
    if isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and isinstance(
        node.ctx, ast.Store
    ):
        while not isinstance(node, ast.Name):
            if not isinstance(node, ast.Attribute | ast.Subscript):
                return names
            node = node.value
        return {node.id}
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Lambda):
            names |= _binds(child)
    return names


def _reads(node: ast.stmt) -> set[str]:
    """Names that a statement looks up in the notebook; a function's own variables are not."""

    def names(table: symtable.SymbolTable) -> set[str]:
        top = table.get_type() == "module"
        found = {
            s.get_name()
            for s in table.get_symbols()
            if (s.is_referenced() if top else s.is_global())
        }
        return found.union(*map(names, table.get_children()))

    return names(symtable.symtable(ast.unparse(node), "cell", "exec"))


def _only(node: ast.stmt, wanted: set[str]) -> ast.stmt:
    """An import without the names that nobody needs: a plot package takes seconds."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        node.names = [a for a in node.names if (a.asname or a.name).split(".")[0] in wanted]
    return node
