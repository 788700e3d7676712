"""Change the package one line at a time and see which changes a test notices.

    python tests/mutate.py --state FILE.jsonl [--each 20] [--sample 3] [--modules config] [--again]
    python tests/mutate.py --state FILE.jsonl --page docs/mutation.md

The state of the last page is data/results/mutation.jsonl: what it knows is not asked again.
It works in a copy of the tree, one mutant after the other, each in a fork of a process that has the
libraries loaded; an interrupted check goes on where it stopped. It is no part of `make test`: what
survives is to be read by a person, and killed by a test or explained in mutants.EQUIVALENT.
"""

import argparse
import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mutants import mutants, reason

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 900  # for one mutant; who needs longer hangs, which is told apart from noticed
# Which tests are asked about a module: those of its name, those named here, those of its room.
TRAINING, LOOP, RUN = "pretrain/test_training", "pretrain/test_loop", "probe/test_run*"
TESTS = {
    "config": ["test_recipes", "test_wiring"],
    "recipes": ["test_config", "test_wiring"],
    "cli": ["test_*calls", "test_wiring"],
    "files": ["runs/test_folder"],
    "paths": ["test_files", "runs/test_released", "report/test_rows"],
    "views/randaugment": ["views/test_boosting", "methods/test_options"],
    "methods/losses": ["methods/test_options"],
    "methods/pruning": ["methods/test_options"],
    "pretrain/randomness": ["pretrain/test_schedule"],
    "pretrain/schedule": [TRAINING, "methods/test_balanced"],
    "pretrain/sources": ["data/test_pack"],
    "runs/run": ["test_recipes"],
}
WHOLE = [TRAINING, "test_wiring", LOOP]  # what a run is made of, and whole ones
ROOMS = {
    "": ["test_chores", "test_bench*", "test_project_files", "test_config", "test_cli", *WHOLE],
    "batch": ["batch/test_grid", "faults/test_batches", "faults/test_lines", "batch/test_*"],
    "course": ["course/test_[!s]*", "course/test_*"],
    "data": ["data/test_*", "test_own_data", TRAINING, RUN, "test_wiring", "test_cli"],
    "exercises": ["exercises/test_[!t]*", "exercises/test_*"],
    "explorer": ["explorer/test_[!fml]*", "explorer/test_*"],
    "methods": ["methods/test_*", *WHOLE, "test_recipes"],
    "networks": ["networks/test_*", *WHOLE],
    "pretrain": ["pretrain/test_[!r]*", "test_wiring", "pretrain/test_ranks"],
    "probe": ["probe/test_*", TRAINING, "test_wiring"],
    "report": ["report/test_*", "test_pages"],
    "runs": ["runs/test_*", "faults/test_*", *WHOLE, RUN],
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
# In the copy, which is made of links: a sandbox and a Jupyter server do not follow them.
ELSEWHERE = ["an_answer_sees_no_file", "every_link_of_a_lesson"]
LIBRARIES = "numpy pandas torch torchvision pyarrow.parquet sklearn.linear_model sklearn.pipeline"
LIBRARIES += " sklearn.preprocessing sklearn.metrics scipy.optimize scipy.stats PIL.ImageDraw"
LIBRARIES += " PIL.ImageEnhance PIL.ImageOps pydantic safetensors.torch tqdm pytest"


def tests_of(module: str) -> list[str]:
    """Which tests are asked about a module, by name below tests/, the nearest first."""
    room, _, name = module.rpartition("/")
    own = f"{room}/test_{name}*" if room else f"test_{name}*"
    return [own, *TESTS.get(module, []), *ROOMS[room]]


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
    sample: int,
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
        for mutant in mutants(tree, module, each, sample):
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
            seconds = round(time.monotonic() - start, 1)
            entry = mutant | {"sample": sample, "result": result, "seconds": seconds}
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


def samples(first: list[dict]) -> list[str]:
    """A table of what the tests noticed when they were asked for the first time."""
    rows = []
    for sample in sorted({e.get("sample", 1) for e in first}):
        mine = [e for e in first if e.get("sample", 1) == sample]
        matter = [e for e in mine if not (lives(e) and reason(e))]
        noticed = sum(not lives(e) for e in matter)
        share = 100 * noticed / max(1, len(matter))
        rows.append(f"| {sample} | {len(mine)} | {len(matter)} | **{noticed}** | {share:.0f} % |")
    return [
        "| sample | changes | that matter | noticed at first asking | share |",
        "|---|---|---|---|---|",
        *rows,
    ]


def page(entries: list[dict], first: list[dict], unasked: list[str], commit: str, date: str) -> str:
    """Counts by module, and every survivor with the reason why it may live."""
    alive = [e for e in entries if lives(e)]
    harmless = [e for e in alive if reason(e)]
    rows = []
    for module in [*dict.fromkeys(e["module"] for e in entries), ""]:
        mine = [e for e in entries if module in ("", e["module"])]
        if mine:
            passed = sum(e in alive for e in mine)
            same = sum(e in harmless for e in mine)
            matter = len(mine) - same
            score = f"{100 * (len(mine) - passed) / matter:.0f} %" if matter else "–"
            name = f"`{module}`" if module else "**all**"
            rows.append(f"| {name} | {len(mine)} | {len(mine) - passed} | {same} | "
                        f"{passed - same} | {score} |")  # fmt: skip
    lines = [
        "# Does a test notice?",
        "",
        "The package was changed one line at a time (a number, a comparison, an argument dropped, a"
        " parameter that does not arrive, a statement left out), and its tests were asked about"
        f" each change. Made by `tests/mutate.py` on {date} at commit {commit}; the changes are"
        " drawn by chance from all that it finds, the same every time.",
        "",
        *samples(first),
        "",
        "What was let pass then was answered with a test and asked again, so the table by module is"
        " of the tests as they are now. The score is the share of the changes noticed, without"
        " those that change nothing that anyone could see. A change that makes the tests hang"
        " counts as let pass.",
        "",
        "| module | changes | noticed | equivalent | let pass | score |",
        "|---|---|---|---|---|---|",
        *rows,
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
    parser.add_argument("--sample", type=int, default=1, help="which draw of them")
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
            options.sample,
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
