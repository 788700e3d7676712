"""What a grid's file may hold: its keys, the type of each, and how much of it there may be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from ..errors import ConfigError

MOST_BYTES = 1_000_000  # of the file
MOST_PARTS = 50_000  # values, each counted as often as an alias repeats it
MOST_CELLS = 10_000
PLAIN = (str, int, float, bool, type(None))


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice instead of taking the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(keys) < len(node.value):
            raise yaml.YAMLError(f"a key of the block of line {node.start_mark.line + 1} is a list")
        if twice := {key for key in keys if keys.count(key) > 1}:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"{', '.join(sorted(twice))} twice in the block of line {line}")
        return super().construct_mapping(node, deep)


def _plain(value: Any) -> Any:
    """A parameter: text, a number, true, false, null, or a list of these."""
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, PLAIN) for part in parts):
        raise ValueError("it must be text, a number, true, false, or a list of these")
    return value


def _axis(value: Any) -> Any:
    """The values of one list under `cross`, or their names with what each stands for."""
    if not isinstance(value, dict | list) or not value:
        raise ValueError("it must hold a list")
    if isinstance(value, list) and any(isinstance(each, list | dict) for each in value):
        raise ValueError("a list there holds lists; name each, e.g. {first: [1]}")
    named = value.values() if isinstance(value, dict) else value
    for each in named:
        if isinstance(each, dict):
            if not all(isinstance(name, str) for name in each):
                raise ValueError("a name must stand for parameters by their names")
            for part in each.values():
                _plain(part)
        else:
            _plain(each)
    if isinstance(value, list) and len(set(map(str, value))) < len(value):
        raise ValueError("a value is there twice")
    return value


def _row(value: Any) -> Any:
    """A row is a block of parameters."""
    if not isinstance(value, dict):
        raise ValueError("it must hold parameters, {} for none")
    return value


def _pattern(value: str) -> str:
    """The name of a folder in the study's, or in another study's beside it."""
    parts = value.removeprefix("../").split("/")
    if not all(part.strip() and part != ".." for part in parts) or "\0" in value:
        raise ValueError("it must name a folder of the study, or ../STUDY/NAME")
    return value


Text = Annotated[str, StringConstraints(max_length=10_000)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Value = Annotated[Any, BeforeValidator(_plain)]
Pattern = Annotated[Word, BeforeValidator(lambda v: _pattern(v) if isinstance(v, str) else v)]


class Probe(BaseModel):
    """What is probed of a run; names that it does not know are complained of elsewhere."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Value]


class Row(BaseModel):
    """A row of the table: parameters of its runs, and what it has of its own."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, Value]

    label: Word | None = None
    folder: Pattern | None = None
    probe: Probe = Field(default_factory=Probe.model_construct)


class Form(BaseModel):
    """The keys of a grid's file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    title: Word | None = None
    note: Text = ""
    base: dict[str, Value] = {}
    cross: dict[str, Annotated[Any, BeforeValidator(_axis)]] = {}
    rows: dict[str, Annotated[Row, BeforeValidator(_row)]] = {}
    folder: Pattern | None = None
    skip: list[Word] = []
    compare: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = []
    probe: Probe = Field(default_factory=Probe.model_construct)
    lists: Word = "data/splits"
    mirrored_pairs: bool = False
    record: bool = False


def load(path: Path) -> dict[str, Any]:
    """The content of a grid's file, when it has the form of one.

    Raises:
        ConfigError: one line with every complaint.
    """
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8") if size <= MOST_BYTES else ""
    except OSError as error:
        raise ConfigError(f"{path} is not readable ({error.strerror}); name a grid") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text ({error.reason}); name a grid") from None
    if size > MOST_BYTES:
        raise ConfigError(f"{path} has {size:,} bytes; a grid has at most {MOST_BYTES:,}")
    try:
        content = yaml.load(text, _Loader)
    except Exception as error:  # dates, numbers and deep blocks have errors of their own
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(f"{path} is not YAML: {reason}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no `key: value` lines; docs/batch.md shows a grid")
    if _is_too_large(content):
        raise ConfigError(f"{path} holds more than {MOST_PARTS:,} values, aliases counted")
    try:
        Form.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from None
    return content


def _is_too_large(content: Any) -> bool:
    """Whether there are too many values; an alias that holds itself has no end of them."""
    left = [content]
    for _ in range(MOST_PARTS):
        if not left:
            return False
        part = left.pop()
        if isinstance(part, dict):
            left += [*part, *part.values()]
        elif isinstance(part, list | set | tuple):
            left += part
        if len(left) > MOST_PARTS:
            return True
    return bool(left)


def _explain(error: ValidationError) -> str:
    """Every complaint, in one line."""
    lines = []
    for problem in error.errors():
        where = ": ".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(
                f"{where} is no key of a grid; the keys are {', '.join(Form.model_fields)}"
            )
        else:
            shown = repr(problem["input"])[:80]
            said = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{where} is {shown}; {said[:1].lower()}{said[1:]}")
    return "; ".join(sorted(lines))
