"""How airy the code is: a report, not a gate.

    python tests/measure_air.py [FOLDER]

Of the package in FOLDER (this checkout unless named), room by room, the core and the whole, and of
the lessons: tokens a line of code, comments per 100 lines of code, tuple assignments and
comprehensions per 1,000, and the nested ternaries there are. Lines of docstrings count as neither.
"""

import ast
import io
import json
import sys
import tokenize
from collections import Counter
from pathlib import Path

CORE = ("views", "networks", "methods", "pretrain", "probe")
SILENT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
HEAD = (
    "room        ",
    "lines",
    "tokens a line",
    "comments",
    "tuple assignments",
    "comprehensions",
    "nested",
)


def docstring_lines(tree: ast.AST) -> set[int]:
    """The lines of all texts that stand alone."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines |= set(range(node.lineno, node.end_lineno + 1))
    return lines


def count(source: str) -> Counter:
    """What is counted, of one file."""
    tree = ast.parse(source)
    texts = docstring_lines(tree)
    found = Counter()
    code = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            found["comments"] += 1
        elif token.type not in SILENT and token.start[0] not in texts:
            found["tokens"] += 1
            code.add(token.start[0])
    found["lines"] = len(code)
    for node in ast.walk(tree):
        found["comprehensions"] += isinstance(node, COMPREHENSIONS)
        found["nested"] += isinstance(node, ast.IfExp) and any(
            isinstance(part, ast.IfExp) for part in ast.walk(node) if part is not node
        )
        if isinstance(node, ast.Assign):
            tuples = isinstance(node.value, ast.Tuple) or isinstance(node.targets[0], ast.Tuple)
            found["tuples"] += tuples
    return found


def line(name: str, found: Counter) -> str:
    """One line of the report."""
    lines = found["lines"] or 1
    cells = [
        name,
        str(found["lines"]),
        f"{found['tokens'] / lines:.1f}",
        f"{100 * found['comments'] / lines:.1f}",
        f"{1000 * found['tuples'] / lines:.1f}",
        f"{1000 * found['comprehensions'] / lines:.0f}",
        str(found["nested"]),
    ]
    return "".join(f"{cell:>{len(head) + 3}}" for cell, head in zip(cells, HEAD, strict=True))


def main(root: Path) -> None:
    """Print the report."""
    package = root / "ltcl_helpers"
    rooms: dict[str, Counter] = {}
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        rooms.setdefault(room, Counter()).update(count(path.read_text(encoding="utf-8")))
    lessons = Counter()
    for path in sorted((root / "notebooks").glob("[0-9]*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        for source in code:
            lessons.update(count(source))
    print("".join(f"{head:>{len(head) + 3}}" for head in HEAD))
    for name, found in rooms.items():
        print(line(name, found))
    print(line("core", sum((rooms[name] for name in CORE if name in rooms), Counter())))
    print(line("whole", sum(rooms.values(), Counter())))
    print(line("lessons", lessons))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1])
