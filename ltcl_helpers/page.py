"""`ltcl report`: a tidy table of all rows, and one page that shows them without a network.

Beside report.html lie report.csv and report.parquet, the rows of which every number on the page is
made.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import plots, report, store, study, tables
from .config import ConfigError
from .study import Study

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem;
  color: #1a1a1a; background: #fff; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
h3 { font-size: 1rem; margin-bottom: 0.3rem; }
.wide { overflow-x: auto; } img { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 0.87rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.6rem; border-bottom: 1px solid #ddd; text-align: left; }
th { border-bottom: 2px solid #555; vertical-align: bottom; } td { white-space: nowrap; }
td:first-child { white-space: normal; min-width: 9rem; }
figure .wide img { min-width: 36rem; }
.caution { border-left: 4px solid #d55e00; padding: 0.1rem 0 0.1rem 0.8rem; }
figure { margin: 1rem 0; } figcaption { font-size: 0.87rem; color: #444; max-width: 60rem; }
"""
SAFE = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # nothing from elsewhere


def write(
    where: str | Path | Sequence[str | Path],
    out: str | Path,
    runs: Path | None = None,
    lists: str | None = None,
) -> Study:
    """Write the page, and the rows as .csv and .parquet beside it.

    Args:
        where: a grid (.yaml), or run folders.
        out: the page, *.html.
        runs: the folder of the grid's runs, if it is not runs/STUDY.
        lists: the folder of the published lists, if it is not the grid's.
    """
    out = Path(out)
    if out.suffix != ".html":
        raise ConfigError(f"--out is {out}; the page is one file, e.g. --out report.html")
    one = study.read(where, runs, lists)
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = tidy(one)
    store.write_parquet(out.with_suffix(".parquet"), rows)
    store.write_bytes(out.with_suffix(".csv"), rows.to_csv(index=False).encode())
    store.write_bytes(out, render(one, out.stem).encode())
    return one


def tidy(one: Study) -> pd.DataFrame:
    """The study's rows, what is asked of them first, then everything that their runs were."""
    first = ["section", "row", "label", "protocol", "shots", "list", "group", "accuracy", "seed"]
    return one.rows[[*first, *one.rows.columns.drop([*first, "folder", "root"])]]


def render(one: Study, name: str) -> str:
    """The page as text; it names `name`.csv and `name`.parquet beside it."""
    backend = matplotlib.get_backend()
    matplotlib.use("Agg")  # a page is drawn without a screen
    try:
        parts = "\n".join(part for section in SECTIONS for part in section(one))
    finally:
        matplotlib.use(backend)
    title = html.escape(one.title)
    rows = "".join(f'<a href="{html.escape(name)}.{end}">{end}</a> ' for end in ("csv", "parquet"))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{SAFE}">
<link rel="icon" href="data:,"><style>{STYLE}</style></head>
<body><h1>{title}</h1>
{parts}
<p>All rows behind this page: {rows}</p>
</body></html>
"""


# --- sections: what a page holds, from top to bottom ------------------------------------------


def _head(one: Study) -> Iterator[str]:
    if one.note:
        yield f"<p>{html.escape(one.note)}</p>"
    if caution := report.caution(one.rows):
        yield f'<p class="caution">{html.escape(tables.sentence(caution))}</p>'
    yield listed(tables.facts(one))
    if one.missing:
        yield (
            f"<details open><summary>{len(one.missing)} cells of the grid are missing</summary>"
            f"<p>{html.escape(', '.join(one.missing))}</p></details>"
        )


def _results(one: Study) -> Iterator[str]:
    yield "<h2>Accuracy</h2>"
    accuracies, theirs = tables.table(one), tables.published(one)
    for (section, protocol, shots), part in accuracies.groupby(
        ["section", "protocol", "shots"], sort=False
    ):
        yield f"<h3>{html.escape(_named(section, protocol, shots))}</h3>"
        here = {"section": section, "protocol": protocol, "shots": shots}
        beside = theirs.loc[(theirs[list(here)] == here).all(axis=1)] if len(theirs) else theirs
        cells = part.drop(columns=["section", "protocol", "shots"]).dropna(axis=1, how="all")
        yield table(_with_published(cells, beside))
        runs = _runs(one, section, protocol, shots)
        if "all" in runs:
            words = "Small marks are runs, large ones their mean."
            yield picture(plots.group_strips(runs, one.labels), "accuracy by group", words)


def _with_published(cells: pd.DataFrame, beside: pd.DataFrame) -> pd.DataFrame:
    """The cells, and beside "all" its published number and the difference, where there is one."""
    if beside.empty or not (beside["group"] == "all").any():
        return cells
    known = beside[beside["group"] == "all"].set_index("features")
    for column, name in (("published", "all, published"), ("difference", "difference")):
        cells = cells.assign(**{name: cells["features"].map(known[column]).fillna("")})
    return cells


def _compared(one: Study) -> Iterator[str]:
    found = tables.comparisons(one)
    if found.empty:
        return
    yield "<h2>Paired comparisons</h2>"
    for keys, part in found.groupby(["section", "protocol", "shots"], sort=False):
        yield f"<h3>{html.escape(_named(*keys))}</h3>"
        yield lines(*report.lines_of(part, "first minus second, points"))
        yield listed(report.readings(part))
        words = "Dots are paired runs, bars the 95 % interval of the mean; none for one unit."
        figure = plots.paired_strips(_runs(one, *keys), one.pairs, one.labels)
        yield picture(figure, "paired differences", words)


def _published(one: Study) -> Iterator[str]:
    yield "<h2>Beside published numbers</h2>"
    found = tables.published(one)
    if found.empty:
        yield f"<p>{html.escape(tables.no_published(one))}</p>"
        return
    found = found if found["section"].any() else found.drop(columns="section")
    yield table(found.rename(columns={"within": "within our spread"}))
    yield "<p>Our spread is the standard deviation over runs; the recipe differs as said above.</p>"


def _signal(one: Study) -> Iterator[str]:
    yield "<h2>Does the momentum loss know the tail?</h2>"
    found = study.signal(one)
    if found.empty:
        yield "<p>No run here kept a momentum loss over classes of different sizes.</p>"
        return
    controls = found["split"].eq("balanced") | found["split"].str.contains("_D_b")
    for section, part in found.groupby("section", sort=False):
        words = "AUROC for images of the few classes, mean over seeds (bands: sd, over mirrored "
        words += "pairs where there are any; of many curves without); 0.5 is chance. "
        words += (
            "The balanced runs are the control: same classes as few, all of one size."
            if controls[part.index].any()
            else "No balanced control is among these runs, so class difficulty is in the curves."
        )
        yield f"<h3>{html.escape(section)}</h3>" if section else ""
        yield picture(plots.signal_bands(part), "AUROC of the momentum loss by epoch", words)
        yield table(tables.last_auroc(part))


def _classes(one: Study) -> Iterator[str]:
    yield "<h2>Accuracy against class size</h2>"
    found = study.per_class(one)
    if found.empty:
        yield "<p>Not recorded: these probes kept groups of classes only.</p>"
        return
    for keys, part in found.groupby(["section", "protocol", "shots"], sort=False):
        words = "Classes put together by size; mean and sd over runs."
        yield f"<h3>{html.escape(_named(*keys))}</h3>"
        yield picture(plots.class_curve(part), "accuracy by class size", words)


def _machines(one: Study) -> Iterator[str]:
    yield "<h2>Time and device</h2>"
    yield table(study.machines(one))


SECTIONS = (_head, _results, _compared, _published, _signal, _classes, _machines)


# --- pieces -----------------------------------------------------------------------------------


def _runs(one: Study, section: str, protocol: str, shots: str) -> pd.DataFrame:
    """The accuracies by run of one block."""
    blocks = one.blocks(section=section, protocol=protocol, shots=shots)
    return next(runs for _, _, runs in blocks)


def _named(section: str, protocol: str, shots: str) -> str:
    words = (section, f"{shots}-shot", f'protocol "{protocol}"')
    return ", ".join(word for word in words if word)


def table(found: pd.DataFrame) -> str:
    """A table of text."""
    return lines(list(found.columns), found.astype(str).to_numpy().tolist())


def lines(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in HTML; **x** is bold."""
    top = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in line) + "</tr>\n" for line in body
    )
    inside = f"<thead><tr>{top}</tr></thead>\n<tbody>{rows}</tbody>"
    return f'<div class="wide"><table>{inside}</table></div>'


def listed(sentences: Sequence[str]) -> str:
    """A list of sentences."""
    return "<ul>" + "".join(f"<li>{_text(line)}</li>" for line in sentences) + "</ul>"


def _text(cell: str) -> str:
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(str(cell)))


def picture(drawn: Figure | Axes, name: str, words: str) -> str:
    """A figure inside the page, and what it shows."""
    figure = drawn.figure if isinstance(drawn, Axes) else drawn
    address = plots.inline(figure)
    return (
        f'<figure><div class="wide"><img src="{address}" alt="{html.escape(name)}"></div>'
        f"<figcaption>{html.escape(words)}</figcaption></figure>"
    )
