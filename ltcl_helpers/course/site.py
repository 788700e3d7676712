"""The course as static pages: executed lessons, formulas as MathML, nothing from a network."""

from __future__ import annotations

import html
import json
import logging
import re
from pathlib import Path

from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import markdown2html_mistune
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from .. import files
from ..errors import ConfigError
from ..explorer import export_html
from ..paths import FIGURES, RESULTS

log = logging.getLogger(__name__)
FORMULA = re.compile(
    r"(`+).+?\1|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+(?:\n[^$\n]+)*?)\$", re.S
)
STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --soft: #f3f4f6; --line: #d5d8dd;
  --link: #0b5cad; --note: #5a6270; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #16181c; --soft: #22262d;
  --line: #3a404a; --link: #7ab8ff; --note: #a2abb9; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 17px/1.6 system-ui, -apple-system, "Segoe UI", sans-serif; }
nav { display: flex; justify-content: space-between; gap: 1em; padding: .6em 1em;
  border-bottom: 1px solid var(--line); font-size: 15px; }
nav:empty { display: none; } nav a { flex: 1; } nav a:nth-child(2) { text-align: center; }
nav a:nth-child(3) { text-align: right; }
main { max-width: 50rem; margin: 0 auto; padding: 1em; overflow-wrap: break-word; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 2em; }
a { color: var(--link); } a.anchor-link { display: none; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
pre { overflow-x: auto; padding: .7em .9em; margin: 0; font-size: 14px; line-height: 1.45; }
pre, code { font-family: ui-monospace, "SF Mono", Consolas, monospace; }
code { font-size: .9em; } .cell .highlight { background: var(--soft); border-radius: 4px; }
.cell { margin: 1em 0; } .cell > * { margin: .5em 0; max-width: 100%; overflow-x: auto; }
.printed { color: var(--note); padding: .2em .9em; }
table { border-collapse: collapse; font-size: 15px; display: block; overflow-x: auto; }
th, td { padding: .3em .7em; border-bottom: 1px solid var(--line); text-align: left; }
math[display="block"] { margin: 1em 0; overflow-x: auto; overflow-y: hidden; max-width: 100%; }
blockquote { border-left: 4px solid var(--line); margin-left: 0; padding-left: 1em; }
.card { display: block; border: 1px solid var(--line); border-radius: 6px; padding: .3em 1em;
  margin: .8em 0; text-decoration: none; color: inherit; } .card:hover { background: var(--soft); }
details.solution { border: 1px solid var(--line); border-radius: 4px; padding: .3em .7em; }
"""
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><link rel="stylesheet" href="style.css"></head>
<body><nav>{nav}</nav><main>
{body}
</main><nav>{nav}</nav></body></html>
"""


def to_mathml(formula: str, display: str) -> str:
    """A TeX formula as MathML, with its source for screen readers and for copying."""
    # latex2mathml knows no \\big; the sizes are a matter of looks
    plain = re.sub(r"\\(?:big|Big|bigg|Bigg)[lr]?(?=[\[\](){}|\\])", "", formula.strip())
    plain = plain.replace(r"\tfrac", r"\frac").replace(r"\operatorname", r"\mathrm")
    plain = plain.replace(r"\arg", r"\mathrm{arg}")
    return convert(plain, display=display)


def markdown(text: str) -> str:
    """Markdown as HTML, its formulas as MathML."""
    found: list[str] = []

    def keep(match: re.Match) -> str:
        block, inline = match["block"], match["inline"]
        if block is None and inline is None:  # code
            return match[0]
        found.append(to_mathml(block or inline, "block" if block else "inline"))
        return f"FORMULA{len(found) - 1}x"

    body = markdown2html_mistune(FORMULA.sub(keep, text))
    return re.sub(r"FORMULA(\d+)x", lambda m: found[int(m[1])], body)


def lesson_body(lesson: dict) -> str:
    """An executed lesson as HTML, solutions folded."""
    parts = []
    for cell in lesson["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(markdown(source))
            continue
        part = highlight(source, PythonLexer(), HtmlFormatter()) if source else ""
        part += "".join(map(_output, cell["outputs"]))
        if "solution" in cell["metadata"].get("tags", []):
            part = f'<details class="solution"><summary>A solution</summary>{part}</details>'
        parts.append(f'<div class="cell">{part}</div>')
    body = re.sub(r'((?:src|href)=")\.\./figures/', r"\1figures/", "\n".join(parts))
    return re.sub(r'(href="[\w-]+)\.ipynb', r"\1.html", body)


def _output(output: dict) -> str:
    """One output of a cell, in the richest form that a page without scripts can show."""
    if output["output_type"] == "stream":
        return f'<pre class="printed">{html.escape("".join(output["text"]))}</pre>'
    data = {
        kind: "".join(text)
        for kind, text in output.get("data", {}).items()
        if isinstance(text, str | list)
    }
    if "image/png" in data:
        picture = "".join(data["image/png"].split())
        return f'<img src="data:image/png;base64,{picture}" alt="picture made by the cell above">'
    if "text/markdown" in data:
        return markdown(data["text/markdown"])
    if "text/html" in data and "<script" not in data["text/html"]:
        return f"<div>{data['text/html']}</div>"
    return f'<pre class="printed">{html.escape(data.get("text/plain", ""))}</pre>'


def write_site(executed: Path, target: Path) -> list[Path]:
    """Make `target` from the executed lessons in a folder. Raises ConfigError if it holds none."""
    paths = sorted(executed.glob("[0-9]*.ipynb"))
    if not paths:
        raise ConfigError(f"{executed} holds no executed lesson; `make course` executes them")
    (target / "figures").mkdir(parents=True, exist_ok=True)
    for picture in (FIGURES).glob("*.png"):
        files.write_bytes(target / "figures" / picture.name, picture.read_bytes())
    code = [HtmlFormatter(style=s).get_style_defs(".highlight") for s in ("xcode", "monokai")]
    colours = f"{code[0]}\n@media (prefers-color-scheme: dark) {{ {code[1]} }}"
    files.write_bytes(target / "style.css", f"{colours}\n{STYLE}".encode())

    lessons = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    titles = [_title(lesson) for lesson in lessons]
    written, explorer = [], _explorer(target)
    for k, (path, lesson) in enumerate(zip(paths, lessons, strict=True)):
        before = _link(paths[k - 1], f"← {titles[k - 1]}") if k else "<a></a>"
        after = _link(paths[k + 1], f"{titles[k + 1]} →") if k + 1 < len(paths) else "<a></a>"
        nav = f'{before}<a href="index.html">Start</a>{after}'
        body = lesson_body(lesson)
        written.append(_write(target / f"{path.stem}.html", titles[k], nav, body))
    body = _start(paths, lessons, titles, explorer)
    written.append(_write(target / "index.html", "Long-tail contrastive learning", "", body))
    return written


def _write(path: Path, title: str, nav: str, body: str) -> Path:
    page = PAGE.format(title=html.escape(title), nav=nav, body=body)
    files.write_bytes(path, page.encode("utf-8"))
    return path


def _link(path: Path, text: str) -> str:
    return f'<a href="{path.stem}.html">{html.escape(text)}</a>'


def _title(lesson: dict) -> str:
    return "".join(lesson["cells"][0]["source"]).splitlines()[0].removeprefix("# ")


def _start(paths: list[Path], lessons: list[dict], titles: list[str], explorer: str) -> str:
    cards = []
    for path, lesson, title in zip(paths, lessons, titles, strict=True):
        promise = "".join(lesson["cells"][0]["source"]).split("\n\n")[1].replace("**", "")
        head = f"<strong>{html.escape(title)}</strong>{markdown(promise)}"
        cards.append(f'<a class="card" href="{path.stem}.html">{head}</a>')
    return (
        "<h1>Long-tail contrastive learning</h1><p>What does a network learn about the rare things "
        "in a collection without labels, and can we help it? Lessons, executed; to change and run "
        f"them, open the notebooks.</p>{''.join(cards)}{explorer}"
    )


def _explorer(target: Path) -> str:
    """The memorization explorer's page of one recorded run, and a card that leads there."""
    runs = sorted((RESULTS / "shapes-simclr").glob("long-tail-*"))
    if not runs:
        return ""
    export_html(runs[0], target / "explorer.html")
    return (
        '<a class="card" href="explorer.html"><strong>Memorization explorer</strong>'
        "<p>Pick one image: how did the network learn it, epoch by epoch?</p></a>"
    )
