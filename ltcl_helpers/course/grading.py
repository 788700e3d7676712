"""Grade submissions: one row for each student and exercise, whatever a submission does.

The checks run here; an answer runs in a process of its own (`sandbox`), and only values come back.
So a submission can print "correct" or replace `exercises.check` as it likes. Of a submission only
the statements are run that its answer needs (`slicing`), not the lesson around it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import queue
import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from .. import exercises
from ..errors import ConfigError
from ..exercises.checking import ERROR, RIGHT, TIMED_OUT, UNANSWERED, WRONG, Verdict, judge
from ..paths import LESSONS, PACKAGE
from . import gradebook
from .editions import student_edition, text
from .gradebook import NOT_GRADED, Gradebook, Row
from .sandbox import Crashed, Missing, NotStarted, Remote, Sandbox, TimedOut

log = logging.getLogger(__name__)

CALL = re.compile(r"^#? ?exercises\.(check_\w+)\((my_\w+)\)$", re.MULTILINE)
HEADING = re.compile(r"^###+ Exercise \d+.*?(●+)", re.MULTILINE)
RUN_FILE = re.compile(r"^\s*%run\s+(?:-\w+\s+)*([\w-]+\.py)\b", re.MULTILINE)
COPY = re.compile(r"[\s_-]*(\(\d+\)|copy\s*\d*|kopie\s*\d*)$", re.IGNORECASE)
COPY_OF = re.compile(r"^(copy of|kopie von|copie de|copia de)\s+", re.IGNORECASE)  # Colab's
LARGEST = 50 << 20  # bytes of a submission, which may hold pictures
LONGEST = 1 << 20  # characters of its code
MOST = 5000  # submissions of a call
HIDDEN = (".", "__MACOSX")  # folders that a system makes beside a hand-in
OTHER_KINDS = (".py", ".html", ".pdf", ".docx", ".zip", ".gz", ".7z", ".rar")  # of hand-ins
NAMED = 10  # files that a warning names
NOBODYS = ("student", "editions", "notebooks")  # folders of the kit, which may be handed in whole


class Exercise(NamedTuple):
    """An exercise of a lesson: the names of its check and of the student's function, its points."""

    number: int
    check: str
    answer: str
    points: float = 0.0


class HandIn(NamedTuple):
    """A submission: whose it is ("" until all are read), its lesson, its code; or what is wrong."""

    path: Path
    student: str
    lesson: str
    cells: list[str]
    digest: str
    problem: Verdict | None = None


class Limits(NamedTuple):
    """What an answer may take."""

    seconds: float = 20  # for all calls of one exercise
    memory_gb: float = 2  # beyond what the kit needs


# --- lessons and submissions ----------------------------------------------------------------


def read_cells(path: Path) -> list[dict]:
    """A notebook's cells. Raises ConfigError where there is no notebook."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"more than {LARGEST >> 20} MB")
        cells = json.loads(path.read_bytes())["cells"]  # bytes: also with a byte-order mark
        return [dict(cell, source=text(cell)) for cell in cells]
    except (OSError, ValueError, LookupError, TypeError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{path} is no notebook ({type(error).__name__}: {error})") from None


def code_cells(path: Path) -> list[str]:
    """The text of a notebook's code cells; before a cell what it runs by `%run`, if handed in."""
    found = []
    for cell in read_cells(path):
        if cell.get("cell_type") != "code":
            continue
        for name in RUN_FILE.findall(cell["source"]):
            beside = path.with_name(name)
            if beside.is_file() and beside.stat().st_size < LONGEST:
                found.append(beside.read_text(encoding="utf-8-sig", errors="replace"))
        found.append(cell["source"])
    if sum(map(len, found)) > LONGEST:
        raise ConfigError(f"{path} holds more than {LONGEST >> 20} MB of code")
    return found


def lessons(worth: Mapping[str, float] | None = None) -> dict[str, list[Exercise]]:
    """The exercises of every lesson of the course, read from the lessons themselves.

    Args:
        worth: points by the answer's name; an exercise has as many as its heading has dots.
    """
    found = {}
    for path in sorted(LESSONS.glob("[0-9]*.ipynb")):
        found[path.stem] = _exercises(read_cells(path), worth or {})
    if not found:
        raise ConfigError(
            f"{LESSONS} holds no lessons, which say what is graded; call this in the kit's clone"
        )
    names = [exercise.answer for asked in found.values() for exercise in asked]
    for name in worth or {}:
        if name not in names:
            raise ConfigError(f"points for {name!r}; allowed are {', '.join(sorted(names))}")
    return found


def _exercises(cells: list[dict], worth: Mapping[str, float]) -> list[Exercise]:
    found: list[Exercise] = []
    dots = 1
    for cell in cells:
        if cell["cell_type"] == "markdown":
            heading = HEADING.findall(cell["source"])
            dots = len(heading[-1]) if heading else dots
            continue
        for check, answer in CALL.findall(cell["source"]):
            points = worth.get(answer, float(dots))
            found.append(Exercise(len(found) + 1, check, answer, points))
    return found


@functools.cache
def handed_out(lesson: str) -> list[str]:
    """The code cells of a lesson as students get it, without solutions."""
    edition = student_edition(json.loads((LESSONS / f"{lesson}.ipynb").read_bytes()))
    return [text(cell) for cell in edition["cells"] if cell["cell_type"] == "code"]


def lesson_of(cells: list[str], course: dict[str, list[Exercise]]) -> str:
    """The lesson that a submission answers: the one most of whose functions it defines or calls."""
    code = "\n".join(cells)
    hits = {}
    for name, asked in course.items():
        spoken_of = [rf"\b{e.check}\(|\bdef {e.answer}\(|\b{e.answer}\s*=" for e in asked]
        hits[name] = sum(bool(re.search(pattern, code)) for pattern in spoken_of)
    best = max(hits, key=lambda name: hits[name])
    return best if hits[best] else ""


class Name(NamedTuple):
    """Whose a file is by its name, and whether a lesson's name stood beside the student's."""

    student: str
    is_sure: bool


def name_in(path: Path, course: Iterable[str]) -> Name:
    """What a file's name leaves without the lesson's and a copy's marks; "" if nothing."""
    name = COPY_OF.sub("", unicodedata.normalize("NFC", path.stem))
    while COPY.search(name):
        name = COPY.sub("", name)
    for lesson in course:
        words = re.compile(r"[\s_-]*".join(lesson.split("_")), re.IGNORECASE)
        if words.search(name):
            rest = words.sub("", name).strip(" _-.")
            return Name(rest, bool(rest))
        if name == lesson[:2] or (len(name) > 2 and lesson.startswith(name)):
            return Name("", False)
    return Name(name, False)


def folder_of(path: Path) -> str:
    """The folder of a student: the nearest that the kit does not make itself."""
    above = path.resolve().parents
    names = [folder.name for folder in above if folder.name not in NOBODYS]
    return unicodedata.normalize("NFC", names[0] if names else "")


def whose(names: list[Name], folders: list[Path], lessons: list[str]) -> list[str]:
    """The student of each submission, or "" where its folder has to say.

    A name that is alone for a lesson in each of several folders ("homework") is no student's. A
    folder with several names holds several students: these are people, handed in again elsewhere.
    """
    places: dict[tuple[str, str], set[Path]] = {}
    beside: dict[tuple[Path, str], set[str]] = {}
    for name, folder, lesson in zip(names, folders, lessons, strict=True):
        places.setdefault((name.student, lesson), set()).add(folder)
        beside.setdefault((folder, lesson), set()).add(name.student)
    common = {
        student
        for (student, lesson), where in places.items()
        if len(where) > 1 and all(len(beside[folder, lesson]) == 1 for folder in where)
    }
    return [name.student if name.is_sure or name.student not in common else "" for name in names]


def find(submissions: Iterable[Path]) -> list[Path]:
    """The notebooks that are named, and those in the folders that are named.

    What else lies in a folder is said: a hand-in of another kind would be nobody's.
    """
    found: list[Path] = []
    others: list[Path] = []
    for path in map(Path, submissions):
        if not path.exists():
            raise ConfigError(f"{path} does not exist; name notebooks, or a folder of them")
        if not path.is_dir():
            found.append(path)
            continue
        for below in sorted(path.rglob("*")):
            parts = below.relative_to(path).parts
            if any(part.startswith(HIDDEN) for part in parts):
                continue
            if below.suffix.lower() == ".ipynb":
                found.append(below)
            elif ".ipynb" in below.name.lower() and below.is_file():
                log.warning("%s is left out; a notebook's name ends in .ipynb", below)
            elif below.suffix.lower() in OTHER_KINDS and below.is_file():
                others.append(below)
    _say_what_is_left_out(found, others)
    if not found or len(found) > MOST:
        raise ConfigError(f"{len(found)} notebooks to grade; allowed is 1 to {MOST}")
    return list(dict.fromkeys(found))


def _say_what_is_left_out(found: list[Path], others: list[Path]) -> None:
    """Name files that are no notebooks; a program beside a notebook is its helper."""
    places = {path.parent for path in found}
    left_out = [p for p in others if not (p.suffix.lower() == ".py" and p.parent in places)]
    if left_out:
        names = ", ".join(map(str, left_out[:NAMED]))
        more = f" and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
        log.warning("no notebooks, so left out: %s%s", names, more)


def read(
    submissions: Iterable[Path], course: dict[str, list[Exercise]], wanted: str, limits: Limits
) -> list[HandIn]:
    """The submissions; `wanted` is the lesson that was asked for, or ""."""
    found = [hand_in(path, course, wanted, limits) for path in find(submissions)]
    names = [name_in(each.path, course) for each in found]
    folders = [each.path.resolve().parent for each in found]
    students = whose(names, folders, [each.lesson for each in found])
    found = [
        each._replace(student=student or folder_of(each.path))
        for each, student in zip(found, students, strict=True)
    ]
    _say_who_is_one(found)
    return found


def _say_who_is_one(found: list[HandIn]) -> None:
    """Name the folders whose hand-ins for one lesson count as one student's."""
    places: dict[tuple[str, str], list[str]] = {}
    for each in found:
        folders = places.setdefault((each.student, each.lesson), [])
        if (folder := str(each.path.parent)) not in folders:
            folders.append(folder)
    for (student, lesson), folders in places.items():
        if len(folders) > 1:
            where = ", ".join(folders)
            log.warning("%s, %s: hand-ins of one student in %s", student, lesson or "-", where)


def hand_in(path: Path, course: dict[str, list[Exercise]], wanted: str, limits: Limits) -> HandIn:
    """Read a submission; `wanted` is the lesson that was asked for, or ""."""
    problem = None
    own, cells, content = "", [], b""
    try:
        cells = code_cells(path)
        content = json.dumps(cells).encode("utf-8", "replace")
        own = lesson_of(cells, course)
        if not own or (wanted and own != wanted):
            said = f"this is lesson {own}" if own else "no exercise of the course in it"
            problem = Verdict(UNANSWERED, said)
    except ConfigError as error:
        problem = Verdict(ERROR, str(error))
    made_of = [content, kit(), repr((wanted, limits, problem)).encode()]
    digest = hashlib.sha256(b"\0".join(made_of)).hexdigest()[:12]
    return HandIn(path, "", wanted or own, cells, digest, problem)


@functools.cache
def kit() -> bytes:
    """A digest of the checks, the grader and the lessons: grades by others are not kept."""
    found = [*PACKAGE.glob("course/*.py"), *PACKAGE.glob("exercises/*.py")]
    found += LESSONS.glob("[0-9]*.ipynb")
    content = [path.read_bytes() for path in sorted(found)]
    return hashlib.sha256(b"\0".join(content)).digest()


# --- grading --------------------------------------------------------------------------------


def grade(
    submissions: Iterable[Path],
    lesson: str | None = None,
    limits: Limits | None = None,
    jobs: int = 1,
    book: Gradebook | None = None,
    worth: Mapping[str, float] | None = None,
) -> list[Row]:
    """One row for each submission and exercise of its lesson, in the book as soon as it is known.

    Args:
        submissions: notebooks and folders of them; a student is named by the file, or by its
            folder if the file has a lesson's name.
        lesson: the one that was asked for, by the beginning of its name; each its own if None.
        limits: of an answer.
        jobs: submissions that are graded side by side.
        book: what is in it is not graded again.
        worth: points by the answer's name.
    """
    course = lessons(worth)
    named = [name for name in course if lesson and name.startswith(lesson)]
    if lesson and len(named) != 1:
        raise ConfigError(f"lesson is {lesson!r}; allowed is the beginning of {', '.join(course)}")
    limits = limits or Limits()
    book = book or Gradebook()
    wanted = named[0] if named else ""
    found = read(submissions, course, wanted, limits)
    for each in found:
        book.begin(str(each.path), each.digest)
    boxes: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
    everything = [Sandbox(*limits) for _ in range(max(1, min(jobs, len(found))))]
    for box in everything:
        boxes.put(box)
    _say_what_holds(everything[0])

    def one(each: HandIn) -> None:
        box = boxes.get()
        try:
            _grade_one(each, course, box, book)
        finally:
            boxes.put(box)

    pool = ThreadPoolExecutor(len(everything))
    try:
        for done in [pool.submit(one, each) for each in found]:
            done.result()
    finally:
        book.close()
        pool.shutdown(wait=False, cancel_futures=True)
        for box in everything:
            box.close()
    return book.sorted()


def write_sums(out: Path, rows: list[Row], worth: Mapping[str, float] | None = None) -> Path:
    """Write each student's points beside the grades `out`; returns the path."""
    graded = {row["lesson"] for row in rows}
    whole = {name: sum(e.points for e in asked) for name, asked in lessons(worth).items()}
    whole = {name: points for name, points in whole.items() if name in graded}
    path = out.with_name(f"{out.stem}-students.csv")
    columns = ("student", "points", "of", *whole)
    gradebook.write_csv(path, gradebook.sums(rows, whole), columns)
    return path


def _say_what_holds(box: Sandbox) -> None:
    try:
        log.info("Answers run with: %s", box.guarantees())
    except NotStarted as error:
        log.warning("No process for answers starts here: %s", error)


def _grade_one(
    each: HandIn, course: dict[str, list[Exercise]], sandbox: Sandbox, book: Gradebook
) -> None:
    """Add a row to the book for every exercise of a submission's lesson."""
    about = {"student": each.student, "file": str(each.path), "lesson": each.lesson}
    statuses = []
    for exercise in course.get(each.lesson, [Exercise(0, "", "")]):
        if book.closed:
            return
        if known := book.get(str(each.path), exercise.answer):
            known |= {"student": each.student}  # a hand-in beside it may tell more of names
            book.add(gradebook.points(known, exercise.points))  # which may count otherwise now
            continue
        start = time.monotonic()
        verdict, fingerprint = each.problem, ""
        if verdict is None:
            verdict, fingerprint = _verdict(each, exercise, sandbox)
        row = about | {
            "exercise": str(exercise.number or ""),
            "answer": exercise.answer,
            "status": verdict.status,
            "message": verdict.message,
            "seconds": f"{time.monotonic() - start:.1f}",
            "fingerprint": fingerprint,
            "digest": each.digest,
        }
        book.add(gradebook.points(row, exercise.points))
        statuses.append(verdict.status)
    if statuses and not book.closed:
        log.info("%s: %s", each.student, ", ".join(statuses))


def _verdict(each: HandIn, exercise: Exercise, sandbox: Sandbox) -> tuple[Verdict, str]:
    """The verdict on an answer, and its fingerprint.

    What an answer needs is guessed. So an answer that is not right gets a second chance with all
    that its student wrote.
    """
    if _untouched(each, exercise):
        return Verdict(UNANSWERED), ""
    verdict, first = _attempt(each, exercise, sandbox, whole=False)
    if verdict.status in (WRONG, ERROR) and first:
        again, second = _attempt(each, exercise, sandbox, whole=True, unless=first["program"])
        if again.status == RIGHT:
            said = f"the student's cells were run whole; by statements it was {verdict.status}"
            said = "; ".join(filter(None, [again.message, f"{said}: {verdict.message}"]))
            return Verdict(RIGHT, said), str(second["fingerprint"])
    return verdict, str(first.get("fingerprint", ""))


def _untouched(each: HandIn, exercise: Exercise) -> bool:
    """Whether an answer is what was handed out, and nothing else in the hand-in speaks of it."""
    given = {"".join(cell.split()) for cell in handed_out(each.lesson)}
    cells = [cell for cell in each.cells if re.search(rf"\b{exercise.answer}\b", cell)]
    return bool(cells) and all("".join(cell.split()) in given for cell in cells)


SAME = Verdict("the same program")


def _attempt(
    each: HandIn, exercise: Exercise, sandbox: Sandbox, whole: bool, unless: str = ""
) -> tuple[Verdict, dict]:
    """Run and check an answer; beside the verdict what is known of its program."""
    about = {}
    try:
        about = sandbox.begin(each.cells, exercise.answer, handed_out(each.lesson), whole)
        if about["program"] == unless:
            return SAME, about
        check = getattr(exercises, exercise.check)
        verdict = judge(check, sandbox.call)
        if verdict.status == RIGHT:
            verdict = Verdict(RIGHT, _note(check, about))
    except NotImplementedError:
        verdict = Verdict(UNANSWERED)
    except Missing as error:
        no_function = Verdict(UNANSWERED, f"no function {exercise.answer}")
        verdict = Verdict(ERROR, str(error)) if str(error) else no_function
    except (Crashed, Remote, TimedOut, NotStarted) as error:
        verdict = Verdict(ERROR, f"{type(error).__name__}: {error}")
    finally:
        sandbox.end()
    return _as_graded(verdict), about


def _note(check: Callable, about: dict) -> str:
    """What a right answer calls of that which its exercise asks for."""
    used = set(map(str, about["names"]))
    asked = getattr(check, "may_not_call", ())
    called = [name for name in asked if set(name.split(".")) <= used]
    return f"but it calls {', '.join(called)}; the exercise asks for your own" if called else ""


def _as_graded(verdict: Verdict) -> Verdict:
    """A verdict in words that do not speak of the grader's own classes."""
    kinds = {TimedOut: TIMED_OUT, NotStarted: NOT_GRADED, Remote: ERROR, Crashed: ERROR}
    for kind, status in kinds.items():
        name = f"{kind.__name__}: "
        if verdict.status == ERROR and verdict.message.startswith(name):
            return Verdict(status, verdict.message.removeprefix(name))
    return verdict
