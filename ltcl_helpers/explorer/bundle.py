"""The front end's modules as one script, joined without a bundler."""

from __future__ import annotations

import re
from pathlib import Path

FRONT = Path(__file__).with_name("front")  # the page's own code
MODULES = (
    "data",
    "draw",
    "layouts",
    "legend",
    "map",
    "curves",
    "sample",
    "panels",
    "homes",
)  # each imports from those before it only
IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
EXPORT = re.compile(r"^export (?!default)", re.MULTILINE)


def script() -> str:
    """All modules in one scope; what the last one exports by default is the widget."""
    parts = []
    for name in MODULES:
        text = (FRONT / f"{name}.mjs").read_text(encoding="utf-8")
        parts.append(EXPORT.sub("", IMPORT.sub("", text)))
    return "\n".join(parts)


def style() -> str:
    """The style sheet, for both homes."""
    return (FRONT / "explorer.css").read_text(encoding="utf-8")
