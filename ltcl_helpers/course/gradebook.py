"""Grades on the disk: a row for each answer, written at once; sums, feedback, equal answers."""

from __future__ import annotations

import csv
import io
import os
import re
import threading
from pathlib import Path
from unicodedata import category

from .. import files
from ..errors import ConfigError
from ..exercises.checking import RIGHT, TIMED_OUT

COLUMNS = (
    "student", "file", "lesson", "exercise", "answer", "status", "points", "of", "message",
    "seconds", "same_as", "fingerprint", "digest",
)  # fmt: skip
UNSEEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")  # controls, marks of direction, half characters
JOINERS = "\u200c\u200d"  # of Persian and Indian scripts
NOT_GRADED = "not graded"  # a fault of the grader's system
TRIED_AGAIN = (NOT_GRADED, TIMED_OUT)  # on a quieter machine an answer may be in time
FORMULA = ("=", "+", "-", "@")  # a spreadsheet would compute a cell that begins so
Row = dict[str, str]


class Gradebook:
    """The rows of a grading. Rows of hand-ins that were graded before stay, also if not named now.

    Args:
        path: the CSV, or None for rows in memory only. Raises ConfigError where it is another
            table.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.rows: dict[tuple[str, str], Row] = {}
        self.place: dict[str, int] = {}  # of a hand-in among all
        self.lock = threading.Lock()
        self.closed = False
        if path is not None and path.exists():
            for row in read_csv(path):
                self.begin(row["file"], row["digest"])
                self.rows[row["file"], row["answer"]] = row

    def begin(self, file: str, digest: str) -> None:
        """A hand-in is next; what was said of another file of its name, or by other checks, goes.

        Args:
            file: the hand-in.
            digest: of all that decides its grades.
        """
        file = _cell(file)
        with self.lock:
            self.place.setdefault(file, len(self.place))
            old = [key for key, row in self.rows.items() if row["file"] == file]
            for key in old:
                if self.rows[key]["digest"] != digest:
                    del self.rows[key]

    def get(self, file: str, answer: str) -> Row | None:
        """The row of this answer, if it is graded already."""
        row = self.rows.get((_cell(file), answer))
        return None if row is None or row["status"] in TRIED_AGAIN else row

    def add(self, row: Row) -> None:
        """Keep a row, and write all of them; nothing once the book is closed."""
        row = row | {name: _cell(row[name]) for name in ("student", "file")}  # as they are read
        with self.lock:
            if self.closed:
                return
            self.rows[row["file"], row["answer"]] = row
            if self.path is not None:
                write_csv(self.path, self.sorted(), COLUMNS)

    def close(self) -> None:
        """No row is taken from here on: what still runs was stopped, not graded."""
        with self.lock:
            self.closed = True

    def sorted(self) -> list[Row]:
        """The rows in the order of the hand-ins, with the students who handed in the same."""
        order = [*self.rows.values()]
        order.sort(key=lambda row: (self.place[row["file"]], int(row["exercise"] or 0)))
        alike = _alike(order)
        return [row | {"same_as": ", ".join(alike.get(_source(row), []))} for row in order]


def _source(row: Row) -> tuple[str, str, str]:
    return row["student"], row["answer"], row["fingerprint"]


def _alike(rows: list[Row]) -> dict[tuple[str, str, str], list[str]]:
    """For each (student, answer, fingerprint) the other students who have it, too."""
    holders: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["fingerprint"]:
            holders.setdefault((row["answer"], row["fingerprint"]), []).append(row["student"])
    found = {}
    for row in rows:
        names = dict.fromkeys(holders.get((row["answer"], row["fingerprint"]), []))
        found[_source(row)] = [name for name in names if name != row["student"]]
    return found


# --- sums and feedback ----------------------------------------------------------------------


def sums(rows: list[Row], lessons: dict[str, float]) -> list[Row]:
    """A row for each student: points of each lesson, and all together.

    Of two hand-ins for the same lesson each exercise counts where it is better.

    Args:
        rows: of a gradebook.
        lessons: the points that each lesson has.
    """
    found = []
    for student in dict.fromkeys(row["student"] for row in rows):
        best = _best([row for row in rows if row["student"] == student])
        points = {place: got for place, (got, _) in best.items()}
        line = {"student": student, "points": _number(sum(points.values()))}
        line["of"] = _number(sum(lessons.values()))
        for lesson in lessons:
            line[lesson] = _number(sum(p for (name, _), p in points.items() if name == lesson))
        found.append(line)
    return found


def _best(rows: list[Row]) -> dict[tuple[str, str], tuple[float, float]]:
    """The points that a student has, and could have, for each (lesson, answer)."""
    best: dict[tuple[str, str], tuple[float, float]] = {}
    for row in rows:
        place = (row["lesson"], row["answer"])
        counted = (float(row["points"] or 0), float(row["of"] or 0))
        best[place] = max(best.get(place, counted), counted)
    return best


def _number(value: float) -> str:
    return f"{value:g}"


def write_feedback(folder: Path, rows: list[Row]) -> list[Path]:
    """A Markdown file for each student: what each answer got, and why."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for student in dict.fromkeys(row["student"] for row in rows):
        mine = [row for row in rows if row["student"] == student]
        name = re.sub(r"[^\w .@-]", "_", student).strip(". ") or "student"
        path = folder / f"{name}.md"
        if path in written:  # two names that differ in odd signs only
            path = folder / f"{name} ({len(written)}).md"
        files.write_bytes(path, _feedback(student, mine).encode("utf-8", "replace"))
        written.append(path)
    return written


def _feedback(student: str, rows: list[Row]) -> str:
    got, of = (sum(each) for each in zip(*_best(rows).values(), strict=True))
    lines = [f"# {_plain(student)}", "", f"{_number(got)} of {_number(of)} points."]
    for name in dict.fromkeys(row["file"] for row in rows):
        mine = [row for row in rows if row["file"] == name]
        title = mine[0]["lesson"] or "no lesson"
        lines += ["", f"## {title}", "", f"`{os.path.basename(name)}`", ""]
        for row in mine:
            points = f", {row['points']} of {row['of']} points" if row["of"] else ""
            lines.append(f"* **{row['answer'] or 'hand-in'}**: {row['status']}{points}")
            if row["message"]:
                lines.append(f"  `{_plain(row['message'])}`")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """A text without what Markdown or a page would take for more than a text."""
    return re.sub(r"[`<>\[\]|*\\]", " ", text)


# --- CSV ------------------------------------------------------------------------------------


def write_csv(path: Path, rows: list[Row], columns: tuple[str, ...]) -> None:
    """Write a table; no cell begins with what a spreadsheet would take for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = [_cell(row[name]) for name in columns]
        writer.writerow([f"'{cell}" if cell[:1] in FORMULA else cell for cell in cells])
    files.write_bytes(path, text.getvalue().encode())


def _cell(text: str) -> str:
    """A text in one line that can be written; spaces and joiners of any script are letters here."""
    return "".join(" " if category(c) in UNSEEN and c not in JOINERS else c for c in text)[:500]


def read_csv(path: Path) -> list[Row]:
    """Rows that `write_csv` wrote. Raises ConfigError where the file is another table."""
    try:
        text = files.read_bytes(path).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text))
        columns, rows = tuple(reader.fieldnames or COLUMNS), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} is no table of grades ({error}); name another --out") from None
    if columns != COLUMNS or any(None in row or None in row.values() for row in rows):
        raise ConfigError(f"{path} is there and is no table of grades; name another --out")
    return [{name: _unquoted(cell) for name, cell in row.items()} for row in rows]


def _unquoted(cell: str) -> str:
    quoted = cell.startswith(tuple(f"'{sign}" for sign in FORMULA))
    return cell[1:] if quoted else cell


def points(row: Row, worth: float) -> Row:
    """A row with its points."""
    got = worth if row["status"] == RIGHT else 0.0
    return row | {"points": _number(got), "of": _number(worth)}
