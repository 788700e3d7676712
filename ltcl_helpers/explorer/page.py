"""The explorer as one page that needs no network and no Python."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from pathlib import Path
from typing import Any

from .. import files
from . import bundle
from .payload import payload

# The page runs its own script and no other, and reaches nothing: not even a form can be sent.
POLICY = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<style>{style}</style></head>
<body><main id="explorer"><noscript>This page needs JavaScript.</noscript></main>
<script type="application/json" id="meta">{meta}</script>
<script type="text/plain" id="data">{data}</script>
<script type="module">{script}</script></body></html>
"""


def export_html(run: Any, path: str | Path, compare: Any = None) -> Path:
    """Write the explorer as one page that needs no network and no Python; returns its path."""
    meta, data, histories = payload(run, compare, views=True)
    title = " and ".join(history.label for history in histories)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, text(title, meta, data).encode("utf-8"))
    return path


def text(title: str, meta: dict[str, Any], data: bytes) -> str:
    """The page of what `payload` gives."""
    # A class name must not end the script that holds it.
    description = json.dumps(meta, allow_nan=False).replace("<", "\\u003c")
    script = f"{bundle.script()}\nopenPage(document);\n"
    style = bundle.style()
    return PAGE.format(
        title=f"{html.escape(title)}: memorization explorer",
        policy=POLICY.format(script=_hash(script), style=_hash(style)),
        meta=description,
        data=base64.b64encode(data).decode("ascii"),
        script=script,
        style=style,
    )


def _hash(text: str) -> str:
    """What a content security policy knows a script by."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
