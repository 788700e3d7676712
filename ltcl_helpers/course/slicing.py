"""The statements of a hand-in that an answer needs, found without running any of them.

A hand-in is a whole lesson, which trains for minutes. Only what the answer reads is run: its own
definition, its helpers, their imports and the data they use. This runs in the answer's process, so
that a hand-in made to break a parser breaks its own row only.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import re
import symtable
from typing import Any, NamedTuple

ANYTHING = "*"  # what a statement binds when nobody can say what it binds
SPACES = {"globals", "locals", "vars"}  # what is stored there may be any name
READERS = {"print", "len", "display", "repr", "type", "help"}  # change nothing of what they get
CHANGERS = {
    "append", "extend", "insert", "pop", "popitem", "popleft", "appendleft", "remove", "clear",
    "update", "setdefault", "add", "discard", "sort", "reverse", "fill",
}  # fmt: skip
BODY_MAGIC = re.compile(r"\A\s*%%(time|timeit|capture|prun)\b.*\n")
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
SMALLEST = 40  # nodes of a definition; shorter answers are alike by themselves


class Part(NamedTuple):
    """A statement with the names it gives a value, and those it looks up."""

    node: ast.stmt
    binds: set[str]
    reads: set[str]
    own: bool  # written by the student, not by the lesson

    def gives(self, wanted: set[str]) -> bool:
        """Whether the statement may decide the value of a wanted name."""
        return bool(self.binds & wanted) or ANYTHING in self.binds


class Program(NamedTuple):
    """What is run for an answer; or no statement, and why."""

    statements: list[ast.stmt]
    problem: str = ""  # an error of syntax where the answer is spoken of
    fingerprint: str = ""

    def __str__(self) -> str:
        """The statements as a text."""
        return "\n".join(map(ast.unparse, self.statements))

    def names(self) -> list[str]:
        """All names that the statements use, at any depth; of dotted ones the parts."""
        found: set[str] = set()
        for statement in self.statements:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name):
                    found.add(node.id)
                elif isinstance(node, ast.Attribute):
                    found.add(node.attr)
                elif isinstance(node, ast.alias):
                    found.update(node.name.split("."))
        return sorted(found)


def program(cells: list[str], lesson: list[str], name: str, whole: bool = False) -> Program:
    """The statements for the answer `name`.

    Args:
        cells: code of the hand-in, a text for each cell.
        lesson: code cells of the lesson as it was handed out; what a student deleted is taken from
            there.
        name: the answer's function.
        whole: keep every cell that the student wrote, not only the statements that seem needed.
    """
    parts, problem = _parts(cells, lesson, name)
    if not any(name in part.binds for part in parts):
        return Program([], problem)
    wanted = _wanted(parts, {name})
    bound: set[str] = set().union(*(part.binds for part in parts))
    missing = wanted - bound - set(dir(builtins))
    given, _ = _parts(lesson, lesson, name)
    needed = _wanted(given, missing) - {name} if missing else set()
    kept = [part for part in given if part.binds & needed]
    kept += [part for part in parts if part.gives(wanted) or (whole and part.own)]
    found = fingerprint([part.node for part in parts if name in part.binds])
    if whole:
        return Program([part.node for part in kept], "", found)
    return Program([_only(part.node, wanted | needed) for part in kept], "", found)


def _wanted(parts: list[Part], wanted: set[str]) -> set[str]:
    """These names, and all that the statements behind them look up."""
    before: set[str] = set()
    while wanted != before:
        before = wanted
        for part in parts:
            if part.gives(wanted):
                wanted = wanted | part.reads
    return wanted


# --- cells and statements -------------------------------------------------------------------


def parse(cell: str) -> list[ast.stmt]:
    """Statements of a cell; lines for Jupyter or the shell become calls. Raises SyntaxError."""
    cell = BODY_MAGIC.sub("", cell)
    try:
        return ast.parse(cell).body
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager

        return ast.parse(TransformerManager().transform_cell(cell)).body


def _parts(cells: list[str], lesson: list[str], name: str) -> tuple[list[Part], str]:
    """Statements of all cells that can be read; and the first error in one that speaks of `name`.

    What the answer's own cell defines, a later cell does not take away by using the same name for
    something else; nor does a lesson's later cell take away what its student wrote before.
    """
    parts: list[Part] = []
    answers: set[str] = set()
    after, problem = 0, ""
    handed_out = {"".join(cell.split()) for cell in lesson}
    for cell in cells:
        own = "".join(cell.split()) not in handed_out
        try:
            found = [Part(node, _binds(node), _reads(node), own) for node in parse(cell)]
        except UNREADABLE as error:
            if re.search(rf"\b{name}\b", cell) and not problem:
                problem = f"{type(error).__name__}: {_where(error)}"
            continue
        parts += found
        bound: set[str] = set().union(*(part.binds for part in found))
        if name in bound:
            answers, after = bound - {ANYTHING}, len(parts)
    written = answers.union(*(part.binds for part in parts[:after] if part.own)) - {ANYTHING}
    later = []
    for part in parts[after:]:
        kept = answers if part.own else written
        later.append(part._replace(binds=part.binds - kept))
    return _with_changes([*parts[:after], *later]), problem


def _where(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.msg}, line {error.lineno}"
    return str(error)


def _with_changes(parts: list[Part]) -> list[Part]:
    """Add to what a statement binds the data that it changes in place."""
    definitions = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    data: set[str] = set()
    for part in parts:
        if not isinstance(part.node, definitions):
            data |= part.binds
    return [part._replace(binds=part.binds | (_changes(part.node) & data)) for part in parts]


# --- names ----------------------------------------------------------------------------------


def _binds(node: ast.AST) -> set[str]:
    """Names that a statement gives a value, outside of functions in it."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    names: set[str] = set()
    if isinstance(node, ast.Call) and _called(node) in ("exec", "get_ipython"):
        names.add(ANYTHING)
    if isinstance(node, ast.Call) and _called(node) == "update" and _is_space(node.func):
        names.add(ANYTHING)
    place = isinstance(node, ast.Name | ast.Attribute | ast.Subscript)
    if place and isinstance(node.ctx, ast.Store):  # type: ignore[attr-defined]
        names.add(ANYTHING if _is_space(node) else _owner(node))
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Lambda):
            names |= _binds(child)
    return names - {""}


def _called(call: ast.Call) -> str:
    """The last word of what is called: `f` in `f()` and in `a.f()`."""
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def _is_space(node: ast.AST) -> bool:
    """Whether this is a part of `globals()` or the like."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return isinstance(node, ast.Call) and _called(node) in SPACES


def _owner(node: ast.AST) -> str:
    """The name at the beginning of `name.part[0].other`, or "" where there is none."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _changes(node: ast.AST) -> set[str]:
    """Names whose value a statement may change in place: `rows.append(1)`, `fill(rows)`."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return set()
    names: set[str] = set()
    if isinstance(node, ast.Call):
        changes = _called(node) in CHANGERS or _called(node).endswith("_")
        names.add(_owner(node.func) if changes and isinstance(node.func, ast.Attribute) else "")
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):  # the result is not kept
        call = node.value
        names.add(_owner(call.func) if isinstance(call.func, ast.Attribute) else "")
        if _called(call) not in READERS and not _called(call).startswith("check_"):
            names |= {_owner(argument) for argument in call.args}
    for child in ast.iter_child_nodes(node):
        names |= _changes(child)
    return names - {""}


def _reads(node: ast.stmt) -> set[str]:
    """Names that a statement looks up in the notebook; a function's own variables are not."""

    def names(table: symtable.SymbolTable) -> set[str]:
        top = table.get_type() == "module"
        found = set()
        for symbol in table.get_symbols():
            if symbol.is_referenced() if top else symbol.is_global():
                found.add(symbol.get_name())
        return found.union(*map(names, table.get_children()))

    return names(symtable.symtable(ast.unparse(node), "cell", "exec"))


def _only(node: ast.stmt, wanted: set[str]) -> ast.stmt:
    """An import without the names that nobody needs: a plot package takes seconds."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return node
    kept = []
    for alias in node.names:
        bound = (alias.asname or alias.name).split(".")[0]
        if bound in wanted or bound == ANYTHING:
            kept.append(alias)
    if isinstance(node, ast.Import):
        return ast.Import(kept)
    return ast.ImportFrom(node.module, kept, node.level)


# --- are two answers the same? --------------------------------------------------------------


def fingerprint(definitions: list[ast.stmt]) -> str:
    """A digest of the last of these definitions, or "" for a short one.

    Names of arguments and variables, type hints, comments and layout do not change it.
    """
    if not definitions or sum(1 for _ in ast.walk(definitions[-1])) < SMALLEST:
        return ""
    copy = ast.parse(ast.unparse(definitions[-1])).body[0]
    text = ast.dump(_Renamed(copy).visit(copy))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class _Renamed(ast.NodeTransformer):
    """Variables, arguments and functions become v0, v1, ...; docstrings and type hints go."""

    def __init__(self, node: ast.AST) -> None:
        self.names: dict[str, str] = {}
        for each in ast.walk(node):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                self._name(each.id)
            elif isinstance(each, ast.arg):
                self._name(each.arg)
            elif isinstance(each, ast.FunctionDef):
                self._name(each.name)

    def _name(self, name: str) -> None:
        self.names.setdefault(name, f"v{len(self.names)}")

    def visit_Name(self, node: ast.Name) -> Any:
        """A variable."""
        return ast.Name(self.names.get(node.id, node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> Any:
        """An argument."""
        return ast.arg(self.names.get(node.arg, node.arg))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        """A function."""
        node.returns = None
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        node.name = self.names[node.name]
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        """A variable with a type hint; a hint without a value does nothing."""
        if node.value is None:
            return None
        return ast.Assign([self.visit(node.target)], self.visit(node.value))
