"""A grid: one YAML file that names the runs behind a table or a figure. docs/batch.md describes it.

Cells are the named rows, each crossed with every list under `cross`; all of them are checked here,
before anything runs.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..config import RunConfig, parse_setting
from ..errors import ConfigError
from ..probe.choices import check_probes

KEYS = {  # of a grid: the type it must have
    "title": str,
    "note": str,
    "base": dict,
    "cross": dict,
    "rows": dict,
    "folder": str,
    "skip": list,
    "compare": list,
    "probe": dict,
    "lists": str,
    "mirrored_pairs": bool,
    "record": bool,
}
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
    label: str  # of its row in a table

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


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice instead of taking the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value]
        if twice := {key for key in keys if keys.count(key) > 1}:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"{', '.join(sorted(twice))} twice in the block of line {line}")
        return super().construct_mapping(node, deep)


def read(path: str | Path, settings: Mapping[str, Any] | None = None) -> Grid:
    """Read and check a grid.

    Args:
        path: the YAML file.
        settings: replaces `lists`, a list of `cross` (by one value) or a parameter of `base`.

    Raises:
        ConfigError: one line with everything that is wrong.
    """
    path = Path(path)
    content = _load(path)
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
    cells, wrong = _cells(grid) if not errors else ([], [])
    if errors := errors + wrong:
        raise ConfigError(f"{path}: {'; '.join(errors)}")
    return Grid(
        path,
        content.get("title", path.stem),
        content.get("note", ""),
        cells,
        {cell.row: cell.label for cell in cells},
        [tuple(p) for p in content.get("compare", [])],
        {axis: list(values) for axis, values in cross.items()},
        _probe(grid, {}),
        content.get("record", False),
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"{path} is not readable ({error.strerror}); name a grid") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no `key: value` lines; docs/batch.md shows a grid")
    errors = [
        f"{k} is no key of a grid; the keys are {', '.join(KEYS)}"
        for k in content.keys() - KEYS.keys()
    ]
    errors += [
        f"{key} is {value!r}; it must be of type {KEYS[key].__name__}"
        for key, value in content.items()
        if key in KEYS and not isinstance(value, KEYS[key])
    ]
    for part in ("cross", "rows"):
        table = content.get(part)
        kinds = (dict, list) if part == "cross" else dict
        for name, value in table.items() if isinstance(table, dict) else ():
            if not isinstance(value, kinds) or (part == "cross" and not value):
                shape = "a list" if part == "cross" else "parameters, {} for none"
                errors.append(f"{part}: {name} is {value!r}; it must hold {shape}")
            elif isinstance(value, list) and any(isinstance(v, list | dict) for v in value):
                errors.append(f"cross: {name} holds lists; name each, e.g. {name}: {{first: [1]}}")
    if errors:
        raise ConfigError(f"{path}: {'; '.join(sorted(errors))}")
    return content


def _named(values: list | dict) -> dict[Any, Any]:
    """Name in a folder to value; in a list, a value is its own name."""
    return values if isinstance(values, dict) else {value: value for value in values}


def _check_names(grid: dict[str, Any]) -> list[str]:
    rows = grid.get("rows", {})
    errors = [] if rows else ["rows is missing; name one row or more, each with its parameters"]
    for pair in grid.get("compare", []):
        if not isinstance(pair, list) or len(pair) != 2 or not set(pair) <= set(rows):
            errors.append(f"compare has {pair!r}; a pair is [row, row], of {', '.join(rows)}")
    text = str([grid["base"], rows, grid.get("folder"), grid.get("probe")])
    for axis in grid["cross"]:
        sets = any(isinstance(value, dict) for value in grid["cross"][axis].values())
        if not sets and axis not in RunConfig.model_fields and _braced(axis) not in text:
            errors.append(f"cross: {axis} is no parameter, and {{{axis}}} is used nowhere")
    if grid.get("mirrored_pairs") and not {"seed"} & (grid["cross"].keys() | grid["base"].keys()):
        errors.append("mirrored_pairs needs seeds; give cross: seed: [0, 1]")
    return errors


def _cells(grid: dict[str, Any]) -> tuple[list[Cell], list[str]]:
    """All cells, and what is wrong with any of them, each complaint once."""
    cells: list[Cell] = []
    wrong: dict[str, list[str]] = {}
    for row, axes, values in _combinations(grid):
        own = dict(grid["rows"][row])
        pattern = own.pop("folder", grid.get("folder")) or "-".join(["{row}", *map(_braced, axes)])
        words = {**axes, "row": row, "lists": grid.get("lists", "data/splits")}
        try:
            name = _fill(pattern, words)
            if any(fnmatch.fnmatch(name, skip) for skip in grid.get("skip", [])):
                continue
            asked = _probe(grid, own.pop("probe", {}))
            probe = {k: None if v is None else _fill(v, words) for k, v in asked.items()}
            label = own.pop("label", None)
            given = _typed({**grid["base"], **values, **own}, words)
            if grid.get("mirrored_pairs"):
                given |= {"split_seed": given["seed"] // 2, "mirrored": given["seed"] % 2 == 1}
            config = RunConfig(**given)
        except ConfigError as error:
            wrong.setdefault(str(error), []).append(f"{row} {axes or ''}".strip())
            continue
        cells.append(Cell(name, row, axes, config, given, probe, label or config.label))
    errors = [f"{cells[0]}{_more(cells)}: {error}" for error, cells in wrong.items()]
    names = [cell.name for cell in cells]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        errors.append(f"several cells have the folder {twice[0]}{_more(twice)}; change `folder`")
    if not cells and not errors:
        errors.append("no cell is left; lessen `skip`")
    return cells, errors


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
    asked = [given[name].split(",") for name in ("protocol", "features", "shots")]
    try:
        check_probes(*asked)
    except ConfigError as error:
        raise ConfigError(f"probe: {error}") from None
    return given


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
