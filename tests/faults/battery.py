"""The long battery: kills, flipped bits and wrong calls, counted. `make faults` runs it.

    python tests/faults/battery.py [--kills 200] [--flips 1000]

Nothing here is drawn by a clock: moments and places come from a seed. What must hold after a try: a
kill leaves a run that goes on, bit for bit, to what was never killed; a flipped bit is named or
changes nothing; a wrong call ends with exit code 2 and one line, and changes no file. A try that
does not hold is printed, and the exit code is then 1. `--record` keeps the counts as the rows of
docs/reliability.md.
"""

import argparse
import contextlib
import io
import itertools
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from test_strangers import CASES  # beside this file, whose folder Python looks in

from ltcl_helpers import cli, files, pretrain, probe, report, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import read_arrays, splits
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.paths import PUBLISHED_LISTS, RESULTS
from ltcl_helpers.runs import Run

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("simclr", "bcl-i", "sdclr", "bcl-d", "moco-v2", "balanced-cl", "cross-entropy")
SMALL = dict(preset="tiny", device="cpu", split="all", batch_size=10, epochs=3)
KILLED = 99  # exit code of a process that a watched call ended


def photos(folder):
    """a_train.npz and a_test.npz."""
    draw = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 12)):
        images = draw.integers(0, 256, (count, 8, 8, 3), np.uint8)
        np.savez(folder / f"a_{part}.npz", images=images, labels=np.arange(count) % 4)
    return f"npz:{folder}/a_train.npz"


def result_of(folder):
    """Digests of what a run is, without its clock."""
    done = runs.verify(folder)
    history = files.read_parquet(folder / "history.parquet").drop(columns="seconds")
    kept = {n: d for n, d in done["files"].items() if n not in ("history.parquet", "probe.parquet")}
    return kept, history.to_csv(), done["data_sha256"]


def dies_at(number, action):
    """Do something in a fork that ends at the `number`-th of the watched calls; None: it got by."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        return None if code == 0 else code
    from ltcl_helpers.methods.memory import MomentumLoss

    calls = itertools.count(1)

    def watched(work):
        def call(*given, **named):
            if next(calls) == number:
                os._exit(KILLED)
            return work(*given, **named)

        return call

    os.replace, os.fsync = watched(os.replace), watched(os.fsync)
    Path.unlink, MomentumLoss.update = watched(Path.unlink), watched(MomentumLoss.update)
    code = 1
    try:
        action()
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def train(folder, config):
    """Begin the run of a folder, or go on with it."""
    if (folder / "config.json").exists():
        pretrain.resume(folder)
    else:
        pretrain.pretrain(config, folder)


def kills(place, wanted):
    """Chains of a run, each process killed one watched call later, and of saving a probe."""
    tries, failed, chains = 0, [], 0
    draw = np.random.default_rng(0)
    data = photos(place)
    for method in itertools.cycle(METHODS):
        if tries >= wanted:
            return tries, failed, chains
        config = RunConfig(**SMALL, data=data, method=method, checkpoint_seconds=0)
        whole, folder = place / f"whole-{method}", place / f"killed-{method}"
        shutil.rmtree(folder, ignore_errors=True)
        if not whole.exists():
            pretrain.pretrain(config, whole)
        code, chains = KILLED, chains + 1
        while code is not None:
            at = int(draw.integers(1, 25))
            code = dies_at(at, lambda: train(folder, config))  # noqa: B023
            tries += code is not None
            if code not in (None, KILLED):
                failed.append(f"{method}: killed at call {at}, the next process ended with {code}")
                break
        else:
            if result_of(folder) != result_of(whole):
                failed.append(f"{method}: not the bits of the run that was never killed")
        rows = probe.probe_run(whole, ("full",), protocol="knn")
        for at in range(1, 40):
            code = dies_at(at, lambda: probe.save_probe(folder, rows))  # noqa: B023
            runs.verify(folder)
            if code is None:
                break
            tries += 1
        if report.load_rows([folder]).empty:
            failed.append(f"{method}: rows are lost")


def flips(place, wanted):
    """One flipped bit in every file of a run, in lists and data: named, or nothing is changed."""
    data = photos(place)
    folder = place / "flipped"
    pretrain.pretrain(RunConfig(**SMALL, data=data, method="sdclr"), folder)
    probe.save_probe(folder, probe.probe_run(folder, ("full",), protocol="knn"))
    before = report.load_rows([folder])

    def open_all():
        rows = report.load_rows([folder])
        run = Run.load(folder)
        assert run.encoder and run.pruned
        run.inputs_of(read_arrays(data))
        if not rows.equals(before):
            raise AssertionError("other rows")

    published = files.read_json(PUBLISHED_LISTS)["files"]
    lists = [ROOT.parent / "shared" / "splits" / name for name in published]
    places = [*sorted(folder.iterdir()), place / "a_train.npz"]
    targets = [(path, open_all) for path in places if path.is_file() and path.name != ".lock"]
    for source in [path for path in lists if path.exists()][:3]:
        copy = place / source.parent.name / source.name
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(source, copy)
        targets.append((copy, lambda path=copy: splits.read_split(path)))
    draw, tries, named, failed = np.random.default_rng(0), 0, 0, []
    for path, opens in itertools.cycle(targets):
        if tries >= wanted:
            return tries, failed, named
        whole = path.read_bytes()
        for bit in draw.choice(8 * len(whole), 25, replace=False):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << (bit % 8)
            path.write_bytes(damaged)
            tries += 1
            try:
                opens()
            except ConfigError as error:
                named += 1
                if len(str(error).splitlines()) != 1:
                    failed.append(f"{path.name} bit {bit}: {error!r}")
            except Exception as error:
                failed.append(f"{path.name} bit {bit}: {type(error).__name__}: {error}")
        path.write_bytes(whole)


def wrong_calls(place):
    """Calls with something wrong, in this process: exit code 2, one line, no file changed."""
    photos(place)
    os.chdir(place)
    pretrain.pretrain(RunConfig(**SMALL, data="npz:a_train.npz"), "run")
    Path("grid.yaml").write_text("rows: {a: {}}")

    def stamps():
        found = (path for path in Path().rglob("*") if path.name not in (".lock", "run"))
        return {path: path.stat().st_mtime_ns for path in found}

    failed, before = [], stamps()
    settings = [*WRONG_SETTINGS, *(f"{name}={value}" for name in NUMBERS for value in NO_NUMBERS)]
    calls = [call for call, _ in CASES]
    calls += [["run", "--out", "new", "--set", setting] for setting in settings]
    for call in calls:
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            try:
                code = cli.main(call)
            except BaseException as error:
                code = repr(error)
        if code != 2 or len(said.getvalue().strip().splitlines()) != 1:
            failed.append(f"{call}: {code}: {said.getvalue()[:200]}")
        if stamps() != before:
            failed.append(f"{call}: files changed")
            before = stamps()
    return len(calls), failed


NUMBERS = ("epochs", "lr", "width", "batch_size", "seed", "temperature", "keep_every")
NO_NUMBERS = ("-1", "NaN", "abc", "[1]", "null", "1e999", '{"a": 1}')
WRONG_SETTINGS = (
    "blocks=3",
    "blocks=[]",
    "lr_drops=[2, x]",
    "options=3",
    "method=evil:",
    "preset=7",
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--record", action="store_true", help="write data/results/faults.json")
    options = parser.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        places = [Path(folder) / name for name in ("kills", "flips", "calls")]
        for place in places:
            place.mkdir()
        tries, failed, chains = kills(places[0], options.kills)
        killed = {"tries": tries, "chains": chains, "methods": len(METHODS), "failed": len(failed)}
        wrong += failed
        tries, failed, named = flips(places[1], options.flips)
        quiet = tries - named - len(failed)
        flipped = {"tries": tries, "named": named, "no effect": quiet, "failed": len(failed)}
        wrong += failed
        tries, failed = wrong_calls(places[2])
        called = {"tries": tries, "failed": len(failed)}
        wrong += failed
        os.chdir(ROOT)
    facts = {"kills": killed, "flipped bits": flipped, "wrong calls": called}
    print("\n".join([*wrong, *(f"{name}: {found}" for name, found in facts.items())]))
    if options.record:
        about = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"}
        about |= {"versions": runs.versions(), "commit": runs.git_commit()}
        files.write_json(RESULTS / "faults.json", facts | about)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
