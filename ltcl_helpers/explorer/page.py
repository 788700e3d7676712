"""The explorer as one page that needs no network and no Python."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

from .. import files
from .payload import SCRIPT, STYLE, payload

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<meta http-equiv="Content-Security-Policy" content="default-src 'none';
 script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<style>{style}</style></head>
<body><main id="explorer"><noscript>This page needs JavaScript.</noscript></main>
<script type="application/json" id="meta">{meta}</script>
<script type="text/plain" id="data">{data}</script>
<script type="module">{script}
openPage(document);
</script></body></html>
"""


def export_html(run: Any, path: str | Path, compare: Any = None) -> Path:
    """Write the explorer as one page that needs no network and no Python; returns its path."""
    meta, data, histories = payload(run, compare, views=True)
    title = html.escape(" and ".join(history.label for history in histories))
    # A class name must not end the script that holds it.
    description = json.dumps(meta, allow_nan=False).replace("<", "\\u003c")
    text = PAGE.format(
        title=f"{title}: memorization explorer",
        meta=description,
        data=base64.b64encode(data).decode("ascii"),
        script=SCRIPT.read_text(encoding="utf-8"),
        style=STYLE.read_text(encoding="utf-8"),
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, text.encode("utf-8"))
    return path
