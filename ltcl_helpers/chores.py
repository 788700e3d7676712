"""What `make` does, on any system: `python -m ltcl_helpers setup | course | test | ...`.

Nothing but Python is needed to begin with: this module imports no other package, and no bash. It
works in the folder that holds requirements.lock, and installs into .venv there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .cores import cores_each

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
JOBS = int(os.environ.get("JOBS", 2))  # lessons or tests side by side, each on its share of threads
EDITIONS = ("student", "teacher")  # of the site
NO_BUILD = (
    "TORCH={} reads PyTorch's own index, download.pytorch.org. Where that is out of reach, "
    "`make setup` without it installs the lock's versions from your package index."
)


class Failed(SystemExit):
    """A chore that did not end well; the message says why."""


def main(chore: str) -> int:
    """Do one chore and return its exit code."""
    os.environ.setdefault("OMP_NUM_THREADS", str(cores_each(JOBS)))
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel is the one of .venv
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process compiles torch's sources
    os.chdir(ROOT)
    CHORES[chore]()
    return 0


def run(*command: object, quiet: bool = False) -> None:
    """Run a program of .venv (or any other). Raises Failed with its output if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        errors="replace",  # and so as text
    )
    if done.returncode:
        raise Failed(f"{done.stdout or ''}{Path(str(command[0])).name} failed: {command[1:4]}")


def setup() -> None:
    """Make .venv and install the lock and the package, where that is not done."""
    done, wanted = VENV / "done", [ROOT / "requirements.lock", ROOT / "pyproject.toml"]
    if done.exists() and all(done.stat().st_mtime >= path.stat().st_mtime for path in wanted):
        return
    if sys.version_info < (3, 11):  # noqa: UP036  (whoever has an older one comes here, too)
        raise Failed("Python 3.11 or newer is needed")
    backend = os.environ.get("TORCH", "")  # of torch, as uv names them: cpu, cu130, auto, ...
    if not backend:
        print("Setting up .venv: about 6 GB with a GPU's torch; TORCH=cpu makes that 1 GB")
    if not PYTHON.exists():
        try:
            run(sys.executable, "-m", "venv", VENV, quiet=True)
        except Failed:
            shutil.rmtree(VENV, ignore_errors=True)
            raise Failed("Python's venv module is missing: apt install python3-venv") from None
    run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
    install = [PYTHON, "-m", "uv", "pip", "install", "--quiet", "--python", PYTHON]
    if backend:  # another build of torch has other hashes than the lock
        try:
            run(*install, "--torch-backend", backend, "-e", ".[course,site,batch,dev]")
        except Failed as error:
            raise Failed(f"{error}\n{NO_BUILD.format(backend)}") from None
    else:
        run(*install, "--require-hashes", "-r", "requirements.lock")
        run(*install, "--no-deps", "-e", ".")
    done.touch()


def course() -> None:
    """Run every lesson into course/."""
    setup()
    (ROOT / "course").mkdir(exist_ok=True)
    lessons = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    with ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(lesson, lessons))
    print("Done. Executed lessons: course/  figures: figures/  tables: README.md and docs/")


def lesson(path: Path) -> None:
    """Execute one lesson."""
    target = ROOT / "course" / path.name
    run(PYTHON, "-m", "papermill", "--no-progress-bar", path, target, quiet=True)
    print(path.name, flush=True)


def lint() -> None:
    """Check style, format, floors, types, and that no lesson holds outputs."""
    setup()
    run(PYTHON, "-m", "ruff", "check", ".")
    run(PYTHON, "-m", "ruff", "format", "--check", ".")
    run(BIN / "lint-imports", "--no-logo", quiet=True)
    run(PYTHON, "-m", "mypy", quiet=True)
    run(PYTHON, "-m", "nbstripout", "--verify", *sorted((ROOT / "notebooks").glob("*.ipynb")))


def test() -> None:
    """Lint, then all tests, one more at a time: many wait for processes that they start."""
    lint()
    run(PYTHON, "-m", "pytest", f"--numprocesses={JOBS + 1}", "--dist=worksteal")


def faults() -> None:
    """Kill, flip and call wrongly some thousand times (docs/reliability.md)."""
    setup()
    run(PYTHON, "tests/faults/battery.py")


def site() -> None:
    """Execute the lessons and make site/ of them for students, or site-teacher/ for teachers."""
    edition = os.environ.get("EDITION", "student")
    if edition not in EDITIONS:  # before the minutes that the lessons take
        raise Failed(f"EDITION is {edition!r}; allowed are {', '.join(EDITIONS)}")
    out = "site" if edition == "student" else f"site-{edition}"  # solutions are never in site/
    course()
    run(PYTHON, "-m", "ltcl_helpers", "site", "course", "--out", out, "--edition", edition)


def editions() -> None:
    """Make editions/student and editions/teacher."""
    setup()
    run(PYTHON, "-m", "ltcl_helpers", "editions", "--out", "editions")


def figures() -> None:
    """Make the figures and the tables of README and docs from the recorded rows."""
    setup()
    run(PYTHON, "experiments/figures.py")


CHORES: dict[str, Callable[[], None]] = {
    "setup": setup,
    "course": course,
    "lint": lint,
    "test": test,
    "faults": faults,
    "make-site": site,
    "make-editions": editions,
    "figures": figures,
}
