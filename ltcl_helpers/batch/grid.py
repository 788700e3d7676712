"""A grid: one YAML file that names the runs behind a table or a figure. docs/batch.md describes it.

Cells are the named rows, each crossed with every list under `cross`; all of them are checked here,
before anything runs.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..config import RunConfig, parse_setting
from ..errors import ConfigError
from ..probe.choices import check_probes, check_run
from .form import MOST_CELLS, load

PROBE = {"shots": "100", "protocol": "bcl", "features": "encoder", "lists": None}


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """One run of a grid."""

    name: str  # its folder in the study's folder; "../other/name" is a run of another study
    row: str  # the name of its row
    axes: dict[str, Any]  # what it was crossed with, e.g. {"seed": 0}
    config: RunConfig
    given: dict[str, Any]  # the parameters as they were given: what papermill is told
    probe: dict[str, str | None]  # shots, protocol, features (each "a,b" for several), lists
    label: str  # of this run alone; a table has the label of its row

    def folder(self, study: str | Path) -> Path:
        """Where the run is when the study's folder is `study`."""
        return Path(os.path.normpath(Path(study) / self.name))


@dataclasses.dataclass(frozen=True)
class Grid:
    """All runs of a table or figure, and how they are compared."""

    path: Path
    title: str
    note: str
    cells: list[Cell]
    labels: dict[str, str]  # of the rows, in their order
    pairs: list[tuple[str, str]]  # names of rows: (first, second) is first minus second
    axes: dict[str, list]  # the lists that the rows are crossed with, by their names in folders
    probe: dict[str, str | None]  # of rows without one of their own
    record: bool  # finished runs are copied to data/results/STUDY, without weights

    @property
    def study(self) -> str:
        """The file's name without its suffix; runs lie in runs/STUDY."""
        return self.path.stem


def read(path: str | Path, settings: Mapping[str, Any] | None = None) -> Grid:
    """Read and check a grid.

    Args:
        path: the YAML file.
        settings: replaces `lists`, a list of `cross` (by one value) or a parameter of `base`.

    Raises:
        ConfigError: one line with everything that is wrong.
    """
    path = Path(path)
    content = load(path)
    base = {**content.get("base", {})}
    cross = {axis: _named(values) for axis, values in content.get("cross", {}).items()}
    for name, value in (settings or {}).items():
        if name == "lists":
            content["lists"] = value
        elif name in cross:
            kept = {k: v for k, v in cross[name].items() if str(value) in (str(k), str(v))}
            cross[name] = kept or {value: value}
        else:
            base[name] = value
    grid = {**content, "base": base, "cross": cross}
    errors = _check_names(grid)
    cells, wrong = _cells(grid, path.stem) if not errors else ([], [])
    if errors := errors + wrong:
        raise ConfigError(f"{path}: {'; '.join(errors)}")
    return Grid(
        path,
        content.get("title") or path.stem,
        content.get("note", ""),
        cells,
        _labels(cells),
        [tuple(p) for p in content.get("compare", [])],
        {axis: list(values) for axis, values in cross.items()},
        _probe(grid, {}),
        content.get("record", False),
    )


def _labels(cells: list[Cell]) -> dict[str, str]:
    """What tables call each row; one that is crossed with methods has no name but its own."""
    found: dict[str, set[str]] = {}
    for cell in cells:
        found.setdefault(cell.row, set()).add(cell.label)
    return told_apart({row: min(of) if len(of) == 1 else row for row, of in found.items()})


def told_apart(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels by row; rows that would be called alike say their own names, too."""
    count = Counter(labels.values())
    return {row: label if count[label] == 1 else f"{label}, {row}" for row, label in labels.items()}


def _named(values: list | dict) -> dict[Any, Any]:
    """Name in a folder to value; in a list, a value is its own name."""
    return values if isinstance(values, dict) else {value: value for value in values}


def _check_names(grid: dict[str, Any]) -> list[str]:
    rows = grid.get("rows", {})
    errors = [] if rows else ["rows is missing; name one row or more, each with its parameters"]
    for pair in grid.get("compare", []):
        if not set(pair) <= set(rows):
            errors.append(f"compare has {pair!r}; a pair is [row, row], of {', '.join(rows)}")
    text = str([grid["base"], rows, grid.get("folder"), grid.get("probe")])
    for axis in grid["cross"]:
        sets = any(isinstance(value, dict) for value in grid["cross"][axis].values())
        if not sets and axis not in RunConfig.model_fields and _braced(axis) not in text:
            errors.append(f"cross: {axis} is no parameter, and {{{axis}}} is used nowhere")
    sizes = [len(rows), *(len(values) for values in grid["cross"].values())]
    if math.prod(sizes) > MOST_CELLS:
        errors.append(f"it has {math.prod(sizes):,} cells; allowed are {MOST_CELLS:,}")
    if grid.get("mirrored_pairs") and not {"seed"} & (grid["cross"].keys() | grid["base"].keys()):
        errors.append("mirrored_pairs needs seeds; give cross: seed: [0, 1]")
    return errors


def _cells(grid: dict[str, Any], study: str) -> tuple[list[Cell], list[str]]:
    """All cells, and what is wrong with any of them, each complaint once."""
    cells: list[Cell] = []
    wrong: dict[str, list[str]] = {}
    for row, axes, values in _combinations(grid):
        own = dict(grid["rows"][row])
        pattern = own.pop("folder", grid.get("folder")) or "-".join(["{row}", *map(_braced, axes)])
        words = {**axes, "row": row, "lists": grid.get("lists", "data/splits")}
        try:
            name = _fill(pattern, words)
            unnamed = [axis for axis, value in axes.items() if grid["cross"][axis][value] is value]
            _check_place(name, _fill(pattern, words | dict.fromkeys(["row", *unnamed], "name")))
            if any(fnmatch.fnmatch(name, skip) for skip in grid.get("skip", [])):
                continue
            asked = _probe(grid, own.pop("probe", {}))
            probe = {k: None if v is None else _fill(v, words) for k, v in asked.items()}
            label = own.pop("label", None)
            given = _typed({**grid["base"], **values, **own}, words)
            if grid.get("mirrored_pairs"):
                given |= _in_pairs(given["seed"])
            config = RunConfig(**given)
            check_run(config.method, *_asked(probe)[:2])
        except ConfigError as error:
            wrong.setdefault(str(error), []).append(f"{row} {axes or ''}".strip())
            continue
        cells.append(Cell(name, row, axes, config, given, probe, label or config.label))
    errors = [f"{cells[0]}{_more(cells)}: {error}" for error, cells in wrong.items()]
    names = {cell.folder(study): cell.name for cell in cells}
    count = Counter(cell.folder(study) for cell in cells)
    if twice := sorted(names[folder] for folder, n in count.items() if n > 1):
        errors.append(f"several cells have the folder {twice[0]}{_more(twice)}; change `folder`")
    if not cells and not errors:
        errors.append("no cell is left; lessen `skip`")
    return cells, errors


def _check_place(name: str, usual: str) -> None:
    """Refuse a folder that a row or a value, not the pattern, puts somewhere else."""
    parts, expected = (Path(os.path.normpath(each)).parts for each in (name, usual))
    if len(parts) != len(expected) or parts.count("..") != expected.count(".."):
        raise ConfigError(
            f"its folder would be {name!r}: a row's name or a value has / or .. in it; give the "
            "value a name, as in cross: {data: {photos: folder:../photos@32}}"
        )


def _in_pairs(seed: Any) -> dict[str, Any]:
    """Split and class order of the seeds 2k and 2k + 1."""
    if type(seed) is not int:
        raise ConfigError(f"mirrored_pairs needs whole numbers as seeds; seed is {seed!r}")
    return {"split_seed": seed // 2, "mirrored": seed % 2 == 1}


def _combinations(grid: dict[str, Any]) -> Iterator[tuple[str, dict, dict]]:
    """(row, names of the axes' values, the parameters they set) of every cell."""
    cross = grid["cross"]
    for names in itertools.product(*cross.values()):
        axes = dict(zip(cross, names, strict=True))
        values: dict[str, Any] = {}
        for axis, name in axes.items():
            value = cross[axis][name]
            if isinstance(value, dict):
                values |= value  # a name that stands for several parameters
            elif axis in RunConfig.model_fields:
                values[axis] = value
        for row in grid["rows"]:
            yield row, axes, values


def _probe(grid: dict[str, Any], own: dict[str, Any]) -> dict[str, str | None]:
    """The probe of a row: its own, else the grid's, else the default's values, as text."""
    given = {**grid.get("probe", {}), **own}
    if unknown := given.keys() - PROBE.keys():
        raise ConfigError(
            f"probe: {', '.join(sorted(unknown))} is unknown; allowed are {', '.join(PROBE)}"
        )
    given = {name: _joined(value) for name, value in {**PROBE, **given}.items()}
    try:
        protocols, features, shots = _asked(given)
        check_probes(protocols, features, shots)
    except ConfigError as error:
        raise ConfigError(f"probe: {error}") from None
    return given


def _asked(probe: Mapping[str, str | None]) -> list[list[str]]:
    """The protocols, features and shots of a probe."""
    return [str(probe[name]).split(",") for name in ("protocol", "features", "shots")]


def _joined(value: Any) -> str | None:
    """[full, 100] or 100 as text."""
    if value is None:
        return None
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _fill(text: str, words: Mapping[str, Any]) -> str:
    """Replace {axis}, {row} and {lists}; any other word in braces is refused."""
    for word in re.findall(r"{(\w*)}", text):
        if word not in words:
            raise ConfigError(f"{{{word}}} is unknown; allowed are {', '.join(words)}")
    return re.sub(r"{(\w+)}", lambda match: str(words[match[1]]), text)


def _typed(given: Mapping[str, Any], words: Mapping[str, Any]) -> dict[str, Any]:
    """Text filled in, and read as `--set` reads it: YAML takes 5e-4 for text."""
    return dict(
        parse_setting(f"{name}={_fill(value, words)}") if isinstance(value, str) else (name, value)
        for name, value in given.items()
    )


def _braced(axis: str) -> str:
    return f"{{{axis}}}"


def _more(found: list) -> str:
    return f" (and {len(found) - 1} more)" if len(found) > 1 else ""
