"""Tables of a study in Markdown: results, paired differences, and beside them what is published."""

from __future__ import annotations

import re

import pandas as pd

from . import report, splits
from .datasets import DATA
from .recipes import RECIPES
from .report import SHOWN, markdown, spread
from .study import Study


def results(one: Study, **only: str) -> str:
    """Mean ± sd over runs of every row, section, protocol and shots, in percent."""
    lines = table(one, **only)
    told = [c for c in ("section", "protocol", "shots") if lines[c].nunique() > 1]
    body = lines[[*told, "features", "n", *(g for g in SHOWN if g in lines)]]
    head = [name.replace("section", "runs of") for name in body.columns]
    return markdown(head, body.astype(str).to_numpy().tolist())


def table(one: Study, **only: str) -> pd.DataFrame:
    """One line per section, protocol, shots and row: n runs, and mean ± sd of every group."""
    lines = []
    for section, part, runs in one.blocks(**only):
        about = {"section": section, "protocol": part["protocol"].iloc[0]}
        about["shots"] = part["shots"].iloc[0]
        for row in (row for row in one.labels if row in runs.index.unique(0)):
            here = runs.xs(row)
            cells = {group: spread(here[group]) for group in SHOWN if group in here}
            lines.append({**about, "features": one.labels[row], "n": len(here), **cells})
    return pd.DataFrame(lines)


def comparisons(one: Study, **only: str) -> pd.DataFrame:
    """Paired differences of every section, protocol and shots, as by `report.compare`."""
    found = []
    for section, part, runs in one.blocks(**only):
        groups = [group for group in report.COMPARED if group in runs]
        here = report.compare(runs, one.pairs, one.labels, groups)
        about = {"protocol": part["protocol"].iloc[0], "shots": part["shots"].iloc[0]}
        found.append(here.assign(section=section, **about))
    return pd.concat(found, ignore_index=True)


def compared(one: Study, **only: str) -> str:
    """Paired differences in Markdown, a table with its sentences for each section."""
    found = comparisons(one, **only)
    if found.empty:
        return report.comparison(found)
    texts = []
    for (section, protocol, shots), part in found.groupby(
        ["section", "protocol", "shots"], sort=False
    ):
        several = found["protocol"].nunique() > 1
        supervision = f"{shots}-shot" if " " not in shots else shots  # "own labels" is no number
        words = [section, supervision, f'protocol "{protocol}"' if several else ""]
        title = f"first minus second, {', '.join(word for word in words if word)}, points"
        texts.append(report.comparison(part, title))
    return "\n\n".join(texts)


def facts(one: Study) -> list[str]:
    """What must be said beside a table: what its numbers are, and on which machines."""
    rows = one.rows
    machines = "; ".join(sorted(set(rows["machine"] + ", torch " + rows["torch"])))
    sources = " and ".join(sorted(set(rows["list_source"])))
    mirrored = ", in mirrored pairs" if rows["mirrored"].any() else ""
    return [
        f"Accuracy in percent, mean ± sd over n runs that differ in split or seed{mirrored}; a "
        f"run's value is the mean over its labelled lists ({sources}). std is the balancedness.",
        f"Machine: {machines}.",
    ]


def about(one: Study, *where: str) -> str:
    """The same in Markdown, with what is not the published recipe, where the rows lie, gaps."""
    lines = [*facts(one), sentence(report.caution(one.rows))]
    lines.append(f"Rows: {' and '.join(f'`{place}`' for place in where)}.")
    if one.missing:
        lines.append(f"Missing: {', '.join(one.missing)}.")
    return "\n".join(f"* {line}" for line in lines if line)


def last_auroc(signal: pd.DataFrame) -> pd.DataFrame:
    """AUROC of the last momentum loss by row: n runs, mean ± sd, and weighted to the tail."""
    last = report.last_signal(signal, "label")
    lines = [
        {
            "features": label,
            "n": len(part),
            "AUROC for few": spread(part["auroc"], 1, 3),
            "weighted to the tail's classes": spread(part["weighted"], 1, 3),
        }
        for label, part in last.groupby(level="label", sort=False)
    ]
    return pd.DataFrame(lines)


def sentence(text: str) -> str:
    """With a capital letter and a full stop, unless it is empty."""
    return text[:1].upper() + text[1:] + "." if text else ""


# --- published numbers ----------------------------------------------------------------------


def read_published() -> pd.DataFrame:
    """The published numbers, each with its source: data/published.csv, the only place of them."""
    return pd.read_csv(DATA / "published.csv", dtype={"shots": str}).fillna({"shots": ""})


def published(one: Study) -> pd.DataFrame:
    """Each published number that one of the study's cells stands beside.

    Only runs of a published split, probed with published lists by the same protocol, count.

    Returns:
        One line per number: section, features, protocol, shots, group, n, ours, published,
        difference, within (whether it lies within our spread: yes, no, or "one run"), source.
    """
    theirs, found = read_published(), []
    for section, part, _ in one.blocks(list_source="published"):
        for row in (row for row in one.labels if row in RECIPES):
            ours = part[(part["row"] == row) & (part["name"] == row)]
            for _, number in theirs[theirs["method"] == row].iterrows():
                lists = _named_splits(number["split"])
                here = ours[ours["split"].str.removesuffix(".npy").isin(lists)]
                here = here[
                    (
                        here[["protocol", "shots", "group"]]
                        == number[["protocol", "shots", "group"]]
                    ).all(axis=1)
                ]
                if here["split"].nunique() < len(lists):
                    continue
                values = here.groupby("folder")["accuracy"].mean()
                found.append(
                    {"section": section, "features": one.labels[row], **_beside(values, number)}
                )
    return pd.DataFrame(found)


def _named_splits(text: str) -> list[str]:
    """The lists that a published split names: "split1-5_D_i" are five."""
    match = re.fullmatch(r"(.*split)(\d)-(\d)(_.*)", text)
    if match is None:
        return [text]
    first, last = int(match[2]), int(match[3])
    return [f"{match[1]}{number}{match[4]}" for number in range(first, last + 1)]


def _beside(values: pd.Series, number: pd.Series) -> dict[str, object]:
    apart = values.mean() - number["accuracy"]
    inside = "one run" if len(values) < 2 else "yes" if abs(apart) <= values.std() else "no"
    about = {column: number[column] for column in ("protocol", "shots", "group")}
    return {
        **about,
        "n": len(values),
        "ours": spread(values),
        "published": f"{100 * number['accuracy']:.1f}",
        "difference": f"{100 * apart:+.1f}",
        "within": inside,
        "source": f"{number['source']}, {number['table']}",
    }


def beside_published(one: Study) -> str:
    """The same in Markdown, or why there is none."""
    found = published(one)
    if found.empty:
        return no_published(one)
    told = found[["features", "shots", "group", "n", "ours", "published", "difference", "within"]]
    sources = "; ".join(found["source"].unique())
    head = [*told.columns[:-1], "within our spread"]
    note = f"Published by {sources}. {sentence(report.caution(one.rows))}"
    return f"{markdown(head, told.astype(str).to_numpy().tolist())}\n\n{note}"


def no_published(one: Study) -> str:
    """Why no published number stands beside these."""
    drawn = one.rows["split"].isin(splits.DRAWN).all()
    own = "splits of our own" if drawn else "lists, probes or methods that none was published for"
    return f"No published number belongs here: these runs use {own}."
