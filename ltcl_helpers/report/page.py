"""`ltcl report`: a tidy table of all rows, and one page that shows them without a network.

Beside report.html lie report.csv and report.parquet, the rows of which every number on the page is
made. The page is the same Markdown that README and docs show, with figures between.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import matplotlib
import mistune
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import files
from ..data import splits
from ..errors import ConfigError
from . import plots, tables
from .rows import caution
from .statistics import WIDEST
from .study import BLOCK, Study, machines, per_class, read, signal

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem;
  color: #1a1a1a; background: #fff; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
h3 { font-size: 1rem; margin-bottom: 0.3rem; }
.wide { overflow-x: auto; } img { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 0.87rem; font-variant-numeric: tabular-nums;
  display: block; overflow-x: auto; }
th, td { padding: 0.2rem 0.6rem; border-bottom: 1px solid #ddd; text-align: left; }
th { border-bottom: 2px solid #555; vertical-align: bottom; } td { white-space: nowrap; }
td:first-child { white-space: normal; min-width: 9rem; }
figure .wide img { min-width: 36rem; }
blockquote { border-left: 4px solid #d55e00; margin-left: 0; padding: 0.1rem 0 0.1rem 0.8rem; }
figure { margin: 1rem 0; } figcaption { font-size: 0.87rem; color: #444; max-width: 60rem; }
"""
SAFE = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # nothing from elsewhere
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{safe}">
<link rel="icon" href="data:,"><style>{style}</style></head>
<body>
{body}
</body></html>
"""
_convert = mistune.create_markdown(escape=True, plugins=["table"])


def write(
    where: str | Path | Sequence[str | Path],
    out: str | Path,
    runs: Path | None = None,
    lists: str | None = None,
) -> Study:
    """Write the page, and the rows as .csv and .parquet beside it.

    Args:
        where: a grid (.yaml), or run folders.
        out: the page, a name that ends in .html.
        runs: the folder of the grid's runs, if it is not runs/STUDY.
        lists: the folder of the published lists, if it is not the grid's.
    """
    out = Path(out)
    if out.suffix != ".html":
        raise ConfigError(f"--out is {out}; the page is one file, e.g. --out report.html")
    rows_at = [out.with_suffix(suffix) for suffix in (".csv", ".parquet")]
    if not out.exists() and (others := [path for path in rows_at if path.exists()]):
        raise ConfigError(
            f"{others[0]} is there and {out} is not, so it is no report's; the page would replace "
            "it: give another --out"
        )
    study = read(where, runs, lists)
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = tidy(study)
    files.write_parquet(out.with_suffix(".parquet"), rows)
    files.write_bytes(out.with_suffix(".csv"), rows.to_csv(index=False).encode())
    files.write_bytes(out, render(study, out.stem).encode())
    return study


def tidy(study: Study) -> pd.DataFrame:
    """The study's rows, what is asked of them first, then everything that their runs were."""
    first = ["section", "row", "label", "protocol", "shots", "list", "group", "accuracy", "seed"]
    return study.rows[[*first, *study.rows.columns.drop([*first, "folder", "root"])]]


def render(study: Study, name: str) -> str:
    """The page as text; it names `name`.csv and `name`.parquet beside it."""
    backend = matplotlib.get_backend()
    matplotlib.use("Agg")  # a page is drawn without a screen
    try:
        body = "\n".join(part for section in SECTIONS for part in section(study))
    finally:
        matplotlib.use(backend)
    title = html.escape(study.title)
    address = quote(name)  # a space would end the link
    links = f"[csv]({address}.csv) [parquet]({address}.parquet)"
    beside = to_html(f"All rows behind this page: {links}")
    body = f"<h1>{title}</h1>\n{body}\n{beside}"
    return PAGE.format(title=title, safe=SAFE, style=STYLE, body=body)


def to_html(text: str) -> str:
    """Markdown as HTML; HTML in it is shown as text."""
    return str(_convert(text))


# --- sections: what a page holds, from top to bottom ------------------------------------------


def _head(study: Study) -> Iterator[str]:
    if study.note:
        yield to_html(study.note)
    if words := caution(study.rows):
        yield to_html(f"> {tables.sentence(words)}")
    yield to_html(tables.bullets(tables.facts(study)))
    if study.missing:
        count, names = len(study.missing), ", ".join(study.missing)
        yield to_html(f"**{count} not there or not complete:** {names}")


def _results(study: Study) -> Iterator[str]:
    yield to_html("## Accuracy")
    yield to_html(tables.bullets(tables.left_out(study)))
    theirs = tables.published(study)
    for keys, part in tables.by_block(tables.table(study)):
        beside = theirs
        if len(theirs):
            beside = theirs[(theirs[BLOCK] == keys).all(axis=1)]
        cells = part.drop(columns=BLOCK).dropna(axis=1, how="all")
        shown = tables.of_frame(_with_published(cells, beside))
        yield to_html(f"### {tables.name_of_block(*keys)}\n\n{shown}")
        runs = _runs(study, *keys)
        if "all" in runs:
            words = "Small marks are runs, large ones their mean."
            yield picture(plots.group_strips(runs, study.labels), "accuracy by group", words)


def _with_published(cells: pd.DataFrame, beside: pd.DataFrame) -> pd.DataFrame:
    """The cells, and beside "all" its published number and the difference, where there is one."""
    if beside.empty or not (beside["group"] == "all").any():
        return cells
    known = beside[beside["group"] == "all"].drop_duplicates(["features", "n"])
    # Of the same runs alone: a number of one split does not belong beside a mean over five.
    found = cells[["features", "n"]].merge(known, "left", ["features", "n"]).set_index(cells.index)
    for column, name in (("published", "all, published"), ("difference", "difference")):
        cells = cells.assign(**{name: found[column].fillna("")})
    return cells


def _compared(study: Study) -> Iterator[str]:
    found = tables.comparisons(study)
    if found.empty:
        return
    yield to_html("## Paired comparisons")
    for keys, part in tables.by_block(found):
        yield to_html(f"### {tables.name_of_block(*keys)}\n\n{tables.comparison(part)}")
        words = "Dots are units (mirrored pairs where there are any, else runs), bars the 95 % "
        words += "interval of the mean; there is none for one unit, and none beyond "
        words += f"±{100 * WIDEST:g} points."
        figure = plots.paired_strips(_runs(study, *keys), study.pairs, study.labels)
        yield picture(figure, "paired differences", words)


def _published(study: Study) -> Iterator[str]:
    yield to_html("## Beside published numbers")
    found = tables.published(study)
    if found.empty:
        yield to_html(tables.no_published(study))
        return
    found = found if found["section"].any() else found.drop(columns="section")
    yield to_html(tables.of_frame(found.rename(columns={"within": "within our spread"})))
    yield to_html(
        "Our spread is the standard deviation over runs; the recipe differs as said above."
    )


def _signal(study: Study) -> Iterator[str]:
    yield to_html("## Does the momentum loss know the tail?")
    found = signal(study)
    if found.empty:
        yield to_html(
            "No run here kept a momentum loss over three or more classes of different sizes."
        )
        return
    controls = found["split"].map(splits.is_balanced)
    for key, part in found.groupby("section", sort=False):
        section = str(key)
        words = "AUROC for images of the few classes, mean over seeds (bands: sd, over mirrored "
        words += "pairs where there are any; of many curves without); 0.5 is chance. "
        if controls[part.index].any():
            words += "The balanced runs are the control: same classes as few, all of one size."
        else:
            words += (
                "No balanced control is among these runs, so class difficulty is in the curves."
            )
        yield to_html(f"### {section}") if section else ""
        yield picture(plots.signal_bands(part), "AUROC of the momentum loss by epoch", words)
        yield to_html(tables.of_frame(tables.last_auroc(part)))


def _classes(study: Study) -> Iterator[str]:
    yield to_html("## Accuracy against class size")
    found = per_class(study)
    if found.empty:
        yield to_html(_why_no_classes(study))
        return
    for keys, part in tables.by_block(found):
        yield to_html(f"### {tables.name_of_block(*keys)}")
        words = "Classes put together by size; mean and sd over runs."
        yield picture(plots.class_curve(part), "accuracy by class size", words)


def _why_no_classes(study: Study) -> str:
    """Why there is no accuracy of single classes."""
    if study.rows["accuracy"].isna().all():
        return tables.NO_ACCURACY
    if tables.left_out(study):
        return "What is left out of the accuracies above is left out here, too."
    return "Not recorded: these probes kept groups of classes only."


def _machines(study: Study) -> Iterator[str]:
    yield to_html(f"## Time and device\n\n{tables.of_frame(machines(study))}")


SECTIONS = (_head, _results, _compared, _published, _signal, _classes, _machines)


# --- pieces -----------------------------------------------------------------------------------


def _runs(study: Study, section: str, protocol: str, shots: str) -> pd.DataFrame:
    """The accuracies by run of one block."""
    blocks = study.blocks(section=section, protocol=protocol, shots=shots)
    return next(runs for _, _, runs in blocks)


def picture(drawn: Figure | Axes, name: str, words: str) -> str:
    """A figure inside the page, and what it shows."""
    figure = drawn.figure if isinstance(drawn, Axes) else drawn
    assert isinstance(figure, Figure)  # no plot here draws on a part of one
    address = plots.inline(figure)
    return (
        f'<figure><div class="wide"><img src="{address}" alt="{html.escape(name)}"></div>'
        f"<figcaption>{html.escape(words)}</figcaption></figure>"
    )
