"""Run all tests on imitated processors: the verdict of a test must hang on none of them.

    python experiments/any_processor.py [--only default-1 ...] [--jobs 2] [TESTS ...]

Each run of the tests takes minutes, so this is no part of `make test`. Run it in a clean clone,
after `make setup`. Results go to runs/any-processor.json; what passed the same tests at this commit
is not asked again. Copied to data/results, it makes the table of docs/any_processor.md.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "runs" / "any-processor.json"
BUSY = "while True: pass"
COUNTED = ("passed", "failed", "errors", "skipped")

# What each run is told. PyTorch's own loops obey ATEN_CPU_CAPABILITY, its convolutions and products
# ONEDNN_MAX_CPU_ISA and MKL_ENABLE_INSTRUCTIONS; `bf16` is what the processor says it computes in.
MACHINES = {
    "usual": {},
    "default-1": {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"},
    "default-2": {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "2", "bf16": "no"},
    "avx2-1": {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "1", "bf16": "no"},
    "avx2-2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OMP_NUM_THREADS": "2",
        "bf16": "no",
    },
    "sse41-1": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OMP_NUM_THREADS": "1",
        "bf16": "no",
    },
    "avx512-4": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "OMP_NUM_THREADS": "4", "bf16": "no"},
    "bf16-1": {"OMP_NUM_THREADS": "1", "bf16": "yes"},
    "bf16-2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "2", "bf16": "yes"},
    "hash-1": {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"},
    "hash-2": {"PYTHONHASHSEED": "20240131", "OMP_NUM_THREADS": "2", "bf16": "no"},
    "loaded-1": {"OMP_NUM_THREADS": "1", "busy": "2"},
    "loaded-2": {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "2", "bf16": "no", "busy": "4"},
}

# Read by every Python of the run, kernels and the grading's fenced processes, too, which keep
# little of the environment: it changes what torch finds out about the processor.
SITECUSTOMIZE = """
import importlib.util
import os
import sys

for name, value in {told!r}.items():
    os.environ.setdefault(name, value)  # what a test tells a process of its own stays


class Answer:
    def find_spec(self, name, path=None, target=None):
        if name != "torch.cpu":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_answer(module):
            load(module)
            real = module.get_capabilities
            module.get_capabilities = lambda: real() | {answers!r}

        spec.loader.exec_module = load_and_answer
        return spec


sys.meta_path.insert(0, Answer())
"""


@contextmanager
def imitated(told: dict[str, str]):
    """The environment of a run; busy processes beside it while it is used."""
    told = dict(told)
    busy, bf16 = int(told.pop("busy", 0)), told.pop("bf16", None)
    told["OMP_WAIT_POLICY"] = "passive"  # threads that wait do not keep others from a core
    environment = os.environ | {"CI": "true", "JUPYTER_PREFER_ENV_PATH": "1"} | told
    beside = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    with tempfile.TemporaryDirectory() as folder:
        answers = {"avx512_bf16": bf16 == "yes"} if bf16 else {}
        site = SITECUSTOMIZE.replace("{told!r}", repr(told)).replace("{answers!r}", repr(answers))
        (Path(folder) / "sitecustomize.py").write_text(site)
        environment["PYTHONPATH"] = folder
        try:
            yield environment
        finally:
            for process in beside:
                process.kill()


def run(name: str, tests: list[str], jobs: int) -> dict[str, object]:
    """All tests on one imitated processor: counts, and the names of those that failed."""
    command = [sys.executable, "-m", "pytest", f"--numprocesses={jobs}", "--dist=worksteal"]
    command += ["--durations=20", *tests]
    start = time.monotonic()
    with imitated(MACHINES[name]) as environment:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    counts = dict.fromkeys(COUNTED, 0)
    last_line = done.stdout.strip().rsplit("\n", 1)[-1]
    for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", last_line):
        counts["errors" if word == "error" else word] = int(number)
    RESULTS.with_name(f"any-processor-{name}.log").write_text(done.stdout + done.stderr)
    return {
        "told": MACHINES[name],
        "code": done.returncode,
        **counts,
        "seconds": round(time.monotonic() - start),
        "which": re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE),
    }


def commit() -> str:
    """The short name of the commit that is asked about."""
    words = ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    """Ask each imitated processor that has not passed yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=MACHINES, default=list(MACHINES))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("tests", nargs="*")
    chosen = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    about = {"tests": "some" if chosen.tests else "all", "commit": commit()}
    for name in chosen.only:
        before = found.get(name, {})
        if about | {"code": 0} == {key: before.get(key) for key in ("tests", "commit", "code")}:
            continue
        row = run(name, chosen.tests, chosen.jobs)
        found[name] = row | about | {"processor": platform.machine()}
        in_order = {each: found[each] for each in MACHINES if each in found}
        RESULTS.write_text(json.dumps(in_order, indent=1) + "\n")
        print(name, {word: row[word] for word in (*COUNTED, "seconds")}, *row["which"], flush=True)
    return int(any(found[name]["code"] for name in chosen.only))


if __name__ == "__main__":
    sys.exit(main())
