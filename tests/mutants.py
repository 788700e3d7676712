"""What may be changed in the package, one line at a time, and which changes nobody could notice."""

import ast
import collections
import copy
import hashlib
import random
import re
from pathlib import Path

# Survivors that change nothing one could see: module, a part of the line, of the change, why.
EQUIVALENT = [
    ("", "device=", "argument device dropped", "the same on a CPU; seen on a GPU only"),
    ("", "strict=True", "True to False", "both lists are of one length here"),
    ("", "strict=True", "argument strict dropped", "both lists are of one length here"),
    ("pretrain/keeper", "tqdm(", "", "whether a progress bar is drawn"),
    ("files", "to_parquet(", "argument index dropped", "pandas leaves a counting index out itself"),
    ("pretrain/keeper", "self.deadline", "Gt to GtE", "a clock does not stand still"),
    ("pretrain/keeper", "self.every", "GtE to Gt", "a clock does not stand still"),
    ("views/randaugment", "value * sign", "Mult to Div", "a sign is 1 or -1"),
    ("recipes", 'Recipe("SimCLR", "simclr"', "", "read of shorthands only"),
    ("data/splits", 'kind="stable"', "'stable' to 'stablex'", "NumPy reads its first letter"),
    ("files", 'os.name == "nt"', "", "Windows' branch: asked there"),
    ("methods/losses", "normalize(", "argument dim dropped", "1 is the library's own default"),
    ("pretrain/device", "cuda", "", "a GPU's branch: asked where there is one"),
    ("probe/classifier", "check_test(", "statement dropped", "refused later, by `read_test`"),
    ("report/plots", "fontsize", "argument fontsize dropped", "how large a legend's letters are"),
    ("views/share", "TypeVar(", "", "read by the type checker, which `make lint` asks"),
    ("pretrain/ranks", "logging.getLogger", "", "what torch says of its own ranks"),
    ("networks/batchnorm", "eps=self.eps", "argument eps dropped", "1e-5 is the library's default"),
    ("batch/form", ": bool = False", "False to True", "a form checks; nobody reads its defaults"),
    ("batch/plan", '"split_seed": 0', "", "all kinds of run get one value, whichever it is"),
    ("course/fences", "(load, 0, 0, 16)", "0 to 1", "to load a value skips no rule"),
    ("exercises/lesson_00", "guess, labels", "", "labels that a check tries: others do as well"),
    ("exercises/lesson_01", "calls = ((450", "", "sizes that a check tries: others do as well"),
    ("exercises/lesson_01", "for classes, largest, shots", "", "sizes that a check tries"),
    ("exercises/lesson_02", "for updates, warmup", "", "lengths that a check tries: others do"),
    ("exercises/lesson_03", "kind = str(", "'dtype'", "NumPy reads a tensor's type, too"),
    ("exercises/lesson_10", "(1, 1), (200, 2)", "", "sizes that a check tries: others do as well"),
    ("exercises/lesson_10", "for counts in ([50", "", "sizes that a check tries: others do"),
    ("exercises/lesson_11", "(-4.0, -2.0, 0.0)", "", "a case as right as the other"),
    ("exercises/lesson_11", "(-1.0, 0.8, 1.0)", "", "a case as right as the other"),
    ("pretrain/aims", "topk(", "argument dim dropped", "the last is the library's own default"),
    (
        "pretrain/device",
        "GPU here",
        "raise dropped",
        "torch itself raises without one",
    ),
]

SWAPS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult, ast.Mod: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
}  # fmt: skip
WORDS = re.compile(r"^[a-z][a-z0-9_.-]*$")  # a name, not a sentence
NO_MATTER = {"help", "metavar", "description", "stacklevel", "indent", "default_factory"}
CALLS = {
    "run",
    "out",
    "resume",
    "minutes",
    "shots",
    "lists",
    "test",
    "protocol",
    "features",
    "target",
    "name",
    "root",
    "source",
    "device",
    "data",
}  # options of the command
SPOKEN = {"log", "warnings", "print", "tqdm"}  # what is said, but not done


class Finder(ast.NodeVisitor):
    """All single-line changes of one file: (first, last offset, replacement, what)."""

    def __init__(self, source: str) -> None:
        self.source, self.found = source, []
        starts = [0]
        for line in source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self.starts = starts

    def span(self, node) -> tuple[int, int]:
        line = self.source.splitlines()[node.lineno - 1].encode()
        first = self.starts[node.lineno - 1] + len(line[: node.col_offset].decode())
        line = self.source.splitlines()[node.end_lineno - 1].encode()
        return first, self.starts[node.end_lineno - 1] + len(line[: node.end_col_offset].decode())

    def add(self, node, text: str, what: str) -> None:
        if node.lineno == node.end_lineno:
            self.found.append((*self.span(node), text, what))

    def swapped(self, node, field: str, index: int | None, kind: type) -> None:
        changed = copy.deepcopy(node)
        if index is None:
            setattr(changed, field, SWAPS[kind]())
        else:
            getattr(changed, field)[index] = SWAPS[kind]()
        self.add(node, f"({ast.unparse(changed)})", f"{kind.__name__} to {SWAPS[kind].__name__}")

    def visit_JoinedStr(self, node) -> None:
        """Messages, and offsets that Python 3.11 gets wrong."""

    def visit_Raise(self, node) -> None:
        self.add(node, "pass", "raise dropped")

    def visit_If(self, node) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.add(node.test, f"not ({ast.unparse(node.test)})", "condition turned round")
            self.generic_visit(node)

    def visit_Expr(self, node) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node.value, ast.Call | ast.Yield):
            name = ast.unparse(node.value).split("(")[0].split(".")[0]
            if name in SPOKEN:
                return
            self.add(node, "pass", "statement dropped")
        self.generic_visit(node)

    def visit_AugAssign(self, node) -> None:
        self.add(node, "pass", "statement dropped")
        self.generic_visit(node)

    def visit_Assign(self, node) -> None:
        if ast.unparse(node.targets[0]) not in ("__all__", "log"):
            self.generic_visit(node)

    def visit_AnnAssign(self, node) -> None:
        if node.value:
            self.visit(node.value)

    def visit_FunctionDef(self, node) -> None:
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(default)
        for part in [*node.decorator_list, *node.body]:
            self.visit(part)

    def visit_Compare(self, node) -> None:
        for k, operator in enumerate(node.ops):
            self.swapped(node, "ops", k, type(operator))
        self.generic_visit(node)

    def visit_BinOp(self, node) -> None:
        if type(node.op) in SWAPS:
            self.swapped(node, "op", None, type(node.op))
        self.generic_visit(node)

    visit_BoolOp = visit_BinOp

    def visit_UnaryOp(self, node) -> None:
        if isinstance(node.op, ast.Not | ast.USub | ast.Invert):
            self.add(node, f"({ast.unparse(node.operand)})", f"{type(node.op).__name__} dropped")
        self.generic_visit(node)

    def visit_Constant(self, node) -> None:
        value = node.value
        if isinstance(value, bool):
            self.add(node, str(not value), f"{value} to {not value}")
        elif isinstance(value, int | float):
            other = value + 1 if isinstance(value, int) else value * 2 or 1.0
            self.add(node, repr(other), f"{value} to {other}")
        elif isinstance(value, str) and WORDS.match(value):
            self.add(node, repr(value + "x"), f"{value!r} to {value + 'x'!r}")

    def visit_Call(self, node) -> None:
        for keyword in node.keywords:
            if keyword.arg and keyword.arg not in NO_MATTER:
                first, last = self.span(keyword)
                after = re.match(r"\s*,", self.source[last:])
                before = re.search(r",\s*$", self.source[:first])
                if after:
                    last += after.end()
                elif before:
                    first -= len(before.group())
                if keyword.lineno == keyword.end_lineno:
                    self.found.append((first, last, "", f"argument {keyword.arg} dropped"))
        self.visit(node.func)
        for part in [*node.args, *(k.value for k in node.keywords if k.arg not in NO_MATTER)]:
            self.visit(part)

    def visit_Attribute(self, node) -> None:
        """A parameter of the run, or an option of the command, that does not arrive."""
        if isinstance(node.ctx, ast.Load):
            owner = ast.unparse(node.value)
            if owner in ("config", "self.config", "run.config", "training.config"):
                default = '__import__("ltcl_helpers.config").config.RunConfig()'
                self.add(node, f"{default}.{node.attr}", f"{owner}.{node.attr} is the default")
            elif owner == "options" and node.attr in CALLS:
                self.add(node, "None", f"options.{node.attr} is None")
        self.generic_visit(node)


def mutants(tree: Path, module: str, each: int, sample: int = 1) -> list[dict]:
    """`each` changes of a module, by chance, but always the same; of each sample others."""
    path = tree / "ltcl_helpers" / f"{module}.py"
    source = path.read_text()
    finder = Finder(source)
    finder.visit(ast.parse(source))
    whole, seen = [], collections.Counter()
    for first, last, text, what in sorted(set(finder.found)):
        changed = source[:first] + text + source[last:]
        try:
            compile(changed, str(path), "exec")
        except SyntaxError:
            continue
        number = source.count("\n", 0, first)
        line = source.splitlines()[number].strip()
        seen[line, what] += 1  # a key that lives on when other lines change
        key = hashlib.sha256(f"{module}/{line}/{what}/{seen[line, what]}".encode()).hexdigest()[:12]
        whole.append(
            dict(key=key, module=module, number=number + 1, line=line, what=what, changed=changed)
        )
    draw = random.Random(module if sample == 1 else f"{module}/{sample}")
    return whole if each >= len(whole) else draw.sample(whole, each)


def reason(entry: dict) -> str:
    """Why a survivor may live; empty where there is none."""
    for module, line, what, why in EQUIVALENT:
        if entry["module"].startswith(module) and line in entry["line"] and what in entry["what"]:
            return why
    return ""
