"""What is there of a grid's runs, what is left to do, and how long that takes."""

from __future__ import annotations

import fnmatch
import re
import statistics
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from .. import files, runs
from ..config import RunConfig
from ..data import splits
from ..errors import ConfigError, DamagedFile
from ..paths import RESULTS
from . import cell
from .grid import Cell, Grid

OPEN = ("missing", "half done")  # states of a cell that is run


class State(NamedTuple):
    """What is there of a cell: "done", "half done", "missing" or "damaged", and a word on it."""

    state: str
    about: str = ""


class Plan(NamedTuple):
    """A grid and where its runs lie."""

    grid: Grid
    study: Path  # the folder of its runs
    results: Path  # the folder of its recorded rows
    cells: list[Cell]  # all of the grid, or some

    @classmethod
    def of(
        cls,
        grid: Grid,
        out: str | Path | None = None,
        results: Path = RESULTS,
        only: str | None = None,
    ) -> Plan:
        """With the study's folder `out`, by default runs/STUDY, and the cells that match `only`."""
        cells = [one for one in grid.cells if fnmatch.fnmatch(one.name, only or "*")]
        if not cells:
            names = ", ".join(one.name for one in grid.cells[:3])
            raise ConfigError(f"--only {only!r} matches no cell; the cells are {names}, ...")
        return cls(grid, Path(out or Path("runs") / grid.study), results / grid.study, cells)

    def state(self, one: Cell) -> State:
        """What is there of a cell; refuses a folder that holds a run with other parameters."""
        folder, kept = one.folder(self.study), one.folder(self.results)
        try:
            if self.grid.record and (kept / "DONE.json").exists():
                runs.refuse_other(kept, one.config, "--out", elsewhere=True)
                runs.verify(kept)
                if cell.is_done(kept, one.probe):
                    return State("done", f"recorded in {kept}")
                return State(
                    "damaged",
                    f"recorded in {kept} with other probes than the grid asks for, and without "
                    "weights; delete that folder, and the run is made again",
                )
            if not (folder / "config.json").exists():
                return State("missing")
            runs.refuse_other(folder, one.config, "--out")
            if cell.is_done(folder, one.probe) and not self.grid.record:
                return State("done")
        except DamagedFile as error:
            return State("damaged", str(error))
        if (folder / "DONE.json").exists():
            return State("half done", "trained; probes or rows are missing")
        return State("half done", f"epoch {_epochs_done(folder)} of {one.config.epochs}")


def _epochs_done(folder: Path) -> int:
    """The epoch of the newest checkpoint."""
    found = runs.checkpoints(folder)
    return int(found[0].name.split("-")[1]) if found else 0


def dry_run(plan: Plan) -> str:
    """Every cell and what is there of it, and the hours that are left, as recorded runs took."""
    states = {one: plan.state(one) for one in plan.cells}
    counts = Counter(found.state for found in states.values())
    lines = [f"{found.state:9} {one.name}  {found.about}".rstrip() for one, found in states.items()]
    total = ", ".join(f"{count} {state}" for state, count in counts.items())
    begun = {one: one.folder(plan.study) for one, found in states.items() if found.state in OPEN}
    trained = [one for one, folder in begun.items() if (folder / "DONE.json").exists()]
    left = {
        one: one.config.epochs - _epochs_done(folder)
        for one, folder in begun.items()
        if one not in trained and one.config.epochs
    }
    probes = [f"only probes are left: {len(trained)} cells"] if trained else []
    return "\n".join([*lines, f"{len(states)} cells: {total}", *_hours(plan, left), *probes])


def _hours(plan: Plan, left: dict[Cell, int]) -> list[str]:
    """Hours of training on each device that has recorded such runs, for the epochs left."""
    if not left:
        return []
    seconds = recorded_seconds([plan.study, *plan.results.parent.glob("*/")])
    kinds = {one: _cost(one.config) for one in left}
    lines = []
    for device in sorted({device for device, _ in seconds}):
        known = [
            left[one] * seconds[device, kind]
            for one, kind in kinds.items()
            if (device, kind) in seconds
        ]
        unknown = len(left) - len(known)
        more = f"; unknown for {unknown} cells" if unknown else ""
        if known:
            lines.append(f"training left: {sum(known) / 3600:.1f} hours on one {device}{more}")
    return lines or ["training left: unknown; no recorded run is like these"]


def recorded_seconds(studies: Iterable[Path]) -> dict[tuple[str, str], float]:
    """Median seconds of an epoch by (device, kind of run) over the finished runs of studies."""
    found: dict[tuple[str, str], list[float]] = {}
    for done in (path for study in studies for path in study.glob("*/DONE.json")):
        machine = files.read_json(done)["machines"][-1]
        config = runs.read_config(done.parent)
        device = "{device}, threads: {threads}, {precision}".format(**machine)
        history = files.read_parquet(done.with_name("history.parquet"))
        if history.empty:  # an untrained encoder
            continue
        found.setdefault((device, _cost(config)), []).append(history["seconds"].median())
    return {key: statistics.median(values) for key, values in found.items()}


def _cost(config: RunConfig) -> str:
    """What the time of an epoch depends on, as a digest."""
    same: dict[str, Any] = {
        "seed": 0,
        "split_seed": 0,
        "mirrored": False,
        "epochs": 1,
        "warmup_epochs": None,
        "lr": 1.0,
        "weight_decay": 0.0,
        "temperature": 1.0,
        "momentum_beta": 0.0,
        "keep_every": 1,
        "preset": "quick",
        "precision": "auto",
    }
    if config.boost != "none":
        same |= {"boost": "memory", "boost_scale": 1.0, "boost_noise": 0.0}
    same["split"] = re.sub(r"\d", "", splits.tail_of(Path(config.split).name))  # of one size
    same["data"] = Path(config.data).stem.removesuffix("_train")  # wherever it lies
    return config.model_copy(update=same).digest()
