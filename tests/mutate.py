"""Change the package one line at a time and see which changes a test notices.

    python tests/mutate.py --state mutants.jsonl [--each 20] [--modules config,probe] [--again]
    python tests/mutate.py --state mutants.jsonl --page docs/mutation.md

The state of the last page is data/results/mutation.jsonl: what it knows is not asked again.
It works in a copy of the tree, one mutant after the other, each in a fork of a process that has the
libraries loaded; an interrupted check goes on where it stopped. It is no part of `make test`: what
survives is to be read by a person, and killed by a test or explained in EQUIVALENT below.
"""

import argparse
import ast
import collections
import copy
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 900  # for one mutant; who needs longer hangs, which is told apart from noticed
# Which tests are asked, the quickest first. All modules end with whole runs.
TRAINING, LOOP, RUN = "pretrain/test_training", "pretrain/test_loop", "probe/test_run*"
RANDAUGMENT, BOOSTING = "views/test_randaugment", "views/test_boosting"
PRUNING, MOCO = "methods/test_pruning", "methods/test_moco"
TESTS = {
    "config": ["test_config", "test_recipes", "test_wiring"],
    "recipes": ["test_recipes", "test_config", "test_wiring"],
    "views/simclr": ["views/test_simclr", RANDAUGMENT, TRAINING],
    "views/randaugment": [RANDAUGMENT, BOOSTING, TRAINING],
    "views/boosting": [BOOSTING, RANDAUGMENT, TRAINING],
    "methods/losses": ["methods/test_losses", TRAINING],
    "methods/memory": [TRAINING, "test_wiring", LOOP],
    "methods/pruning": [PRUNING, TRAINING],
    "methods/simclr": [TRAINING, "test_wiring", LOOP, "test_recipes", MOCO],
    "methods/sdclr": [PRUNING, TRAINING, "test_wiring", LOOP],
    "pretrain/device": ["test_wiring", "pretrain/test_ranks"],
    "pretrain/randomness": ["test_wiring", TRAINING],
    "pretrain/schedule": [TRAINING, "test_wiring", "methods/test_balanced", LOOP],
    "pretrain/training": [TRAINING, "test_wiring", LOOP, MOCO],
    "pretrain/loop": [TRAINING, "test_wiring", LOOP, "pretrain/test_ranks"],
    "pretrain/keeper": ["test_wiring", LOOP],
    "runs/run": ["runs/test_run", "test_recipes", LOOP, TRAINING, RUN],
    "runs/folder": ["runs/test_folder", "test_wiring", LOOP],
    "runs/checkpoint": ["runs/test_folder", "test_wiring", LOOP],
    "paths": ["test_files", "runs/test_released", "report/test_rows"],
    "pretrain/sources": ["data/test_pack", "pretrain/test_[!r]*", "pretrain/test_ranks"],
    "files": ["test_files", "runs/test_folder", "test_wiring", LOOP],
    "probe/run": [TRAINING, RUN, "test_wiring", "probe/test_sdclr"],
    "probe/linear": ["probe/test_li*", TRAINING, RUN, "test_wiring"],
    "probe/groups": [RUN, TRAINING],
    "probe/lists": ["probe/test_lists", RUN, "probe/test_sdclr", "probe/test_scale"],
    "probe/sdclr": ["probe/test_sdclr", RUN],
    "data/splits": ["data/test_splits", "data/test_own", TRAINING, RUN, "test_wiring", "test_cli"],
    "cli": ["test_*calls", "test_wiring", "test_cli"],
}
# All other modules: the tests of their room, then what they have to say to a command.
ROOMS = {
    "": ["test_chores", "test_bench*", "test_project_files", "test_config", "test_cli"],
    "batch": ["batch/test_grid", "faults/test_batches", "faults/test_lines", "batch/test_*"],
    "course": ["course/test_[!s]*", "course/test_*"],
    "data": ["data/test_*", "test_own_data"],
    "exercises": ["exercises/test_exercises*", "exercises/test_*"],
    "explorer": ["explorer/test_arrays", "explorer/test_p*", "explorer/test_*"],
    "methods": ["methods/test_*", TRAINING, "test_wiring"],
    "networks": ["networks/test_*", TRAINING, "test_wiring"],
    "pretrain": ["pretrain/test_[!r]*", "pretrain/test_ranks", "test_wiring"],
    "probe": ["probe/test_*", "test_wiring"],
    "report": ["report/test_*", "test_pages"],
    "runs": ["runs/test_*", "faults/test_*", "test_wiring"],
    "views": ["views/test_*", TRAINING],
}
# Real processes that are killed: asked only about what all others let pass (--slow).
SLOW = [
    "test_killed",
    "test_a_writer_killed",
    "test_help_says",
    "test_two_",
    "test_folders_of_images",
]
ELSEWHERE = ["an_answer_sees_no_file"]  # a sandbox does not follow the links of the copy
LIBRARIES = "numpy pandas torch torchvision pyarrow.parquet sklearn.linear_model sklearn.pipeline"
LIBRARIES += " sklearn.preprocessing sklearn.metrics scipy.optimize scipy.stats PIL.ImageDraw"
LIBRARIES += " PIL.ImageEnhance PIL.ImageOps pydantic safetensors.torch tqdm pytest"
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
    ("exercises/lesson_00", "guess, labels", "", "labels that a check tries: others do as well"),
    ("exercises/lesson_01", "calls = ((450", "", "sizes that a check tries: others do as well"),
    ("exercises/lesson_02", "for updates, warmup", "", "lengths that a check tries: others do"),
    ("exercises/lesson_03", "kind = str(", "'dtype'", "NumPy reads a tensor's type, too"),
    ("exercises/lesson_10", "(1, 1), (200, 2)", "", "sizes that a check tries: others do as well"),
    ("exercises/lesson_11", "(-4.0, -2.0, 0.0)", "", "a case as right as the other"),
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


def mutants(tree: Path, module: str, each: int) -> list[dict]:
    """`each` changes of a module, drawn by chance, but the same every time."""
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
    draw = random.Random(module)
    return whole if each >= len(whole) else draw.sample(whole, each)


def tests_of(module: str) -> list[str]:
    """Which tests are asked about a module, by name below tests/."""
    room = module.rpartition("/")[0]
    return TESTS.get(module, ROOMS[room])


def all_modules(tree: Path) -> list[str]:
    """Every file of the package that holds code, the listed modules first."""
    package = tree / "ltcl_helpers"
    files = sorted(package.rglob("*.py"))
    names = [path.relative_to(package).with_suffix("").as_posix() for path in files]
    here = [name for name in names if not name.endswith(("__init__", "__main__"))]
    return [name for name in TESTS if name in here] + [name for name in here if name not in TESTS]


def make_copy(tree: Path, target: Path) -> None:
    """Package and tests copied, the rest linked; the command runs in a fork, not a new process."""
    for path in tree.iterdir():
        if path.name in ("ltcl_helpers", "tests"):
            shutil.copytree(path, target / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.name not in (".git", ".venv"):
            (target / path.name).symlink_to(path)
    replace(
        target / "tests" / "conftest.py",
        "        arguments = [str(word) for word in arguments]\n",
        "        return _fork([str(word) for word in arguments], cwd, before)\n",
        FORKED,
    )
    # A fork has torch loaded, a process would not.
    loaded = '(tmp_path / "loaded").read_text() == ""'
    replace(target / "tests" / "test_cli.py", loaded, "True")


def replace(path: Path, before: str, after: str, more: str = "") -> None:
    """Change one place of a file, which must be there."""
    text = path.read_text()
    assert text.count(before) == 1, f"{path.name} looks different: {before!r}"
    path.write_text(text.replace(before, after) + more)


FORKED = """

def _fork(arguments, cwd, before):
    import signal

    outputs = [tempfile.TemporaryFile("w+") for _ in range(2)]
    sys.stdout.flush()
    child = os.fork()
    if not child:
        code = 1
        signal.alarm(200)
        try:
            os.chdir(cwd)
            for number, file in enumerate(outputs, 1):
                os.dup2(file.fileno(), number)
            sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))
            exec(before, {})
            from ltcl_helpers import cli

            try:
                code = cli.main(arguments)
            except SystemExit as stop:
                code = stop.code or 0
            sys.stdout.flush(), sys.stderr.flush()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = []
    for file in outputs:
        with file:
            texts.append(file.seek(0) or file.read())
    return subprocess.CompletedProcess(arguments, code, *texts)
"""


def ask(folder: Path, tests: list[str], slow: bool, one: str = "") -> str:
    """What the tests say about the copy as it is: "survived", or the first test that failed.

    `one` is asked instead of them, by its whole name.
    """
    failed = folder / "failed.txt"
    failed.write_text("")
    child = os.fork()
    if not child:
        os.setsid()
        os.chdir(folder)
        with open(os.devnull, "w") as nowhere:
            for number in (1, 2):
                os.dup2(nowhere.fileno(), number)
        import pytest

        class Note:
            def pytest_runtest_logreport(self, report):
                if report.failed:
                    with open(failed, "a") as file:
                        file.write(report.nodeid + "\n")

            def pytest_collectreport(self, report):
                self.pytest_runtest_logreport(report)

        if slow:
            chosen = " or ".join([*SLOW, "test_cli"])
        else:
            chosen = f"not ({' or '.join([*SLOW, *ELSEWHERE])})"
        tests = [*tests, "test_cli"] if slow and "test_cli" not in tests else tests
        found = [sorted(map(str, Path("tests").glob(f"{name}.py"))) for name in tests]
        paths = list(dict.fromkeys(sum(found, [])))
        call = ["-x", "-q", "-p", "no:cacheprovider"]
        which = [one] if one else ["-k", chosen, *paths]
        os._exit(int(pytest.main([*call, *which], plugins=[Note()])))
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status == 0 or (slow and os.waitstatus_to_exitcode(status) == 5):
                return "survived"
            return failed.read_text().split("\n")[0] or f"pytest's status {status}"
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def check(
    tree: Path,
    folder: Path,
    state: Path,
    modules: list[str],
    each: int,
    slow: bool,
    again: bool,
) -> None:
    """Ask about every mutant that the state file does not know yet, in the copy `folder`.

    A test that notices must pass where nothing is changed. It is asked that, too.
    """
    known = {entry["key"]: entry for entry in read(state)}
    sound = set()
    for library in LIBRARIES.split():
        __import__(library)
    for module in modules:
        path = folder / "ltcl_helpers" / f"{module}.py"
        source = path.read_text()
        left = []
        for mutant in mutants(tree, module, each):
            entry = known.get(mutant["key"])
            if entry is None or (lives(entry) and (slow or again and not reason(entry))):
                left.append(mutant)
        for mutant in left:
            path.write_text(mutant.pop("changed"))
            start = time.monotonic()
            result = ask(folder, tests_of(module), slow)
            path.write_text(source)
            if result.startswith("tests/") and result not in sound:
                assert ask(folder, [], slow, result) == "survived", f"unchanged, {result} fails"
                sound.add(result)
            entry = mutant | {"result": result, "seconds": round(time.monotonic() - start, 1)}
            with open(state, "a") as file:
                file.write(json.dumps(entry) + "\n")
            print(module, entry["number"], entry["what"], "->", result, flush=True)


def read(state: Path, first: bool = False) -> list[dict]:
    """The newest word on every mutant, or the first one."""
    lines = state.read_text().splitlines() if state.exists() else []
    entries = {}
    for entry in map(json.loads, lines):
        if not (first and entry["key"] in entries):
            entries[entry["key"]] = entry
    return list(entries.values())


def lives(entry: dict) -> bool:
    """Whether no test noticed. A test that hung has not noticed."""
    return entry["result"] in ("survived", "timeout")


def reason(entry: dict) -> str:
    """Why a survivor may live; empty where there is none."""
    for module, line, what, why in EQUIVALENT:
        if entry["module"].startswith(module) and line in entry["line"] and what in entry["what"]:
            return why
    return ""


def page(entries: list[dict], first: list[dict], unasked: list[str], commit: str, date: str) -> str:
    """Counts by module, and every survivor with the reason why it may live."""
    alive = [e for e in entries if lives(e)]
    harmless = [e for e in alive if reason(e)]
    matter = [e for e in first if not (lives(e) and reason(e))]
    noticed = sum(not lives(e) for e in matter)
    rows = []
    for module in [*dict.fromkeys(e["module"] for e in entries), ""]:
        mine = [e for e in entries if module in ("", e["module"])]
        if mine:
            passed = sum(e in alive for e in mine)
            same = sum(e in harmless for e in mine)
            score = (len(mine) - passed) / max(1, len(mine) - same)
            name = f"`{module}`" if module else "**all**"
            rows.append(f"| {name} | {len(mine)} | {len(mine) - passed} | {same} | "
                        f"{passed - same} | {100 * score:.0f} % |")  # fmt: skip
    lines = [
        "# Does a test notice?",
        "",
        "The package was changed one line at a time (a number, a comparison, an argument dropped, a"
        " parameter that does not arrive, a statement left out), and its tests were asked about"
        f" each change. Made by `tests/mutate.py` on {date} at commit {commit}; the changes are"
        " drawn by chance from all that it finds, the same every time.",
        "",
        "| module | changes | noticed | equivalent | let pass | score |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        "The score is the share of the changes noticed, without those that change nothing that"
        f" anyone could see. **Asked for the first time, the tests noticed {noticed} of the"
        f" {len(matter)} that matter, {100 * noticed / max(1, len(matter)):.0f} %.** What was let"
        " pass then was answered with a test and asked again, so the table is of the tests as they"
        " are now. A change that makes the tests hang counts as let pass.",
        "",
        "Modules that nothing was asked about: "
        + (", ".join(f"`{name}`" for name in unasked) or "none")
        + ".",
        "",
        "## Equivalent changes",
        "",
    ]
    for e in sorted(harmless, key=lambda e: (e["module"], e["number"])):
        lines.append(f"- `{e['module']}`: `{e['line']}`, {e['what']}: {reason(e)}")
    lines += ["", "## Let pass", ""]
    for e in sorted(alive, key=lambda e: (e["module"], e["number"])):
        if e not in harmless:
            hung = ", the tests hung" * (e["result"] == "timeout")
            lines.append(f"- `{e['module']}`: `{e['line']}`, {e['what']}{hung}")
    found = (e["result"].split("::")[0].split("/")[-1] for e in entries if not lives(e))
    counts = collections.Counter(found)
    lines += ["", "## Who noticed first", "", "| tests | changes |", "|---|---|"]
    lines += [f"| {name} | {count} |" for name, count in counts.most_common()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--state", type=Path, required=True, help="results so far, JSON lines")
    parser.add_argument("--tree", type=Path, default=ROOT, help="another checkout")
    parser.add_argument("--modules", help="separated by commas; default: all")
    parser.add_argument("--each", type=int, default=20, help="changes a module")
    parser.add_argument("--slow", action="store_true", help="ask real processes about survivors")
    parser.add_argument("--again", action="store_true", help="ask about what passed once more")
    parser.add_argument("--page", type=Path, help="write the page instead of checking")
    options = parser.parse_args()
    if options.page:
        git = ["git", "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(git, cwd=options.tree, capture_output=True, text=True).stdout
        first = read(options.state, first=True)
        asked = {entry["module"] for entry in first}
        unasked = [name for name in all_modules(options.tree) if name not in asked]
        text = page(read(options.state), first, unasked, commit.strip(), time.strftime("%Y-%m-%d"))
        options.page.write_text(text)
        return
    if place := os.environ.get("MUTANTS"):
        package = options.tree / "ltcl_helpers"
        named = options.modules.split(",") if options.modules else all_modules(options.tree)
        modules = [name for name in named if (package / f"{name}.py").exists()]
        check(
            options.tree,
            Path(place),
            options.state,
            modules,
            options.each,
            options.slow,
            options.again,
        )
        return
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        make_copy(options.tree.resolve(), Path(place))
        alone = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        here = os.environ | alone | {"MUTANTS": place, "PYTHONPATH": place}
        subprocess.run([sys.executable, *sys.argv], env=here)


if __name__ == "__main__":
    main()
