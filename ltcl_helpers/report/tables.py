"""Tables of a study in Markdown: results, paired differences, and beside them what is published."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from scipy import stats

from ..data import splits
from ..paths import PUBLISHED_NUMBERS
from ..probe.choices import CLASSIFIER, OWN_LABELS
from ..recipes import CONTROLS, RECIPES
from .rows import caution, controlled, last_signal
from .statistics import (
    ABOVE,
    BELOW,
    COMPARED,
    NONE_THAT_MATTERS,
    OPEN,
    SHOWN,
    WIDEST,
    compare,
    count,
    ends,
    is_wide,
    matters,
    spread,
)
from .study import BLOCK, Study

DIFFERENCE = (ABOVE, BELOW)
NO_ACCURACY = "There is no accuracy here: of one class a probe measures nothing."

# --- pieces -----------------------------------------------------------------------------------


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    rule = ["---"] * len(header)
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, rule, *rows])


def bullets(sentences: Iterable[str]) -> str:
    """A list in Markdown."""
    return "\n".join(f"* {line}" for line in sentences)


def of_frame(found: pd.DataFrame) -> str:
    """A data frame as a table in Markdown, without its index."""
    return markdown(list(found.columns), found.astype(str).to_numpy().tolist())


def comparison(table: pd.DataFrame, title: str = "first minus second, points") -> str:
    """A table from `compare` as Markdown, and below it what it says: all groups, both signs."""
    if table.empty:
        return "No two of the compared runs are here yet."
    head, body = lines_of(table, title)
    return f"{markdown(head, body)}\n\n{bullets(readings(table))}"


def lines_of(table: pd.DataFrame, title: str) -> tuple[list[str], list[list[str]]]:
    """Header and lines of a table from `compare`; a difference is **bold**."""
    groups = list(table["group"].unique())
    body: list[list[str]] = []
    for name, part in table.groupby("difference", sort=False):
        cells = part.set_index("group")
        shown = [cell(cells.loc[g]) if g in cells.index else "" for g in groups]
        body.append([str(name), count(cells), *shown])
    return [title, "n", *groups], body


def cell(row: pd.Series) -> str:
    """Mean and ends of a line of `compare`, with a sign of its answer: bold, †, = or none."""
    if row["verdict"] in DIFFERENCE:
        stays = " †" if row["corrected"] < 0.05 else ""
        return f"**{ends(row)}**{stays}"
    if row["verdict"] == NONE_THAT_MATTERS:
        return f"{ends(row)} ="
    if is_wide(row):
        return "too wide"
    return ends(row)


def readings(table: pd.DataFrame) -> list[str]:
    """What a table from `compare` says, in sentences: every pair, every group, all answers."""
    lines = []
    for says in DIFFERENCE:
        found = table[table["verdict"] == says]
        lines.append(f"A difference, {says}: {_named(found)}.")
    small = table[table["verdict"].isin(DIFFERENCE) & table["small"]]
    if len(small):
        lines.append(f"Of these, smaller than what matters: {_named(small)}.")
    found = table[table["verdict"] == NONE_THAT_MATTERS]
    lines.append(f"No difference that matters (=): {_named(found)}.")
    lines += _open(table[table["verdict"] == OPEN])
    none, one, more = (table["n"] == 0), (table["n"] == 1), (table["n"] > 1)
    alone = table["unmirrored"] > 0
    few = {
        "One unit, so no interval": one,
        "No whole mirrored pair yet, so no value": none & alone,
        "Not tested in both, so no value": none & ~alone,
        "Runs whose mirror is missing are in none of these intervals": more & alone,
    }
    for words, which in few.items():
        if which.any():
            lines.append(f"{words}: {_named_short(table, which)}.")
    return [*lines, *_limits(table[~table["low"].isna()])]


def _named(rows: pd.DataFrame, column: str = "group") -> str:
    """Comparisons with their groups: "B minus A (many, few); C minus A (all)"."""
    parts = rows.groupby("difference", sort=False)[column]
    return "; ".join(f"{name} ({', '.join(found)})" for name, found in parts) or "none"


def _named_short(table: pd.DataFrame, which: pd.Series) -> str:
    """The same of some rows; a comparison with all its groups goes by its name alone."""
    whole = which.groupby(table["difference"]).transform("all")
    names = list(table.loc[whole, "difference"].unique())
    some = table[which & ~whole]
    return "; ".join([*names, *([_named(some)] if len(some) else [])])


def _open(rows: pd.DataFrame) -> list[str]:
    """What has no answer yet, and what it would take."""
    if rows.empty:
        return ["Open: none."]
    units = rows["unit"].iloc[0]
    further = rows.assign(words=rows["group"] + " " + rows["further"].astype(str))
    lines = [
        f"Open, no clear difference; beside each group, about how many {units}s more would answer "
        f"it in at least 80 % of all cases, if mean and spread stay: {_named(further, 'words')}."
    ]
    wide = rows[rows.apply(is_wide, axis=1)]
    if len(wide):
        beyond = f"their intervals reach more than {100 * WIDEST:g} points to each side"
        lines.append(f"Of these, too wide to be shown, since {beyond}: {len(wide)}.")
    return lines


def _limits(table: pd.DataFrame) -> list[str]:
    """What intervals of so few units cannot say, and what many of them say by chance."""
    if table.empty:
        return []
    shown = table[~table.apply(is_wide, axis=1)]
    reach = 100 * (shown["high"] - shown["low"]) / 2
    found = table[table["verdict"].isin(DIFFERENCE)]
    stays = found[found["corrected"] < 0.05]
    lines = [
        f"A difference: the 95 % interval (Student's t) leaves zero out. No difference that "
        f"matters: the 90 % interval lies within ±{100 * matters('all'):.1f} point over all, "
        f"±{100 * matters('few'):.1f} in a group (two one-sided tests).",
        f"Of {len(table)} comparisons, chance alone would call about {0.05 * len(table):.1f} a "
        f"difference. Called so here: {len(found)}; left of them by Holm's correction over this "
        f"table (†): {len(stays)}.",
    ]
    if len(shown):
        ends = dict.fromkeys(f"{end:.1f}" for end in (reach.min(), reach.max()))
        lines.append(f"Intervals reach {' to '.join(ends)} points to each side.")
    shared = table[(table["unit"] == "seed") & (table["draws"] < table["n"])]
    if len(shared):
        numbers = shared[["n", "draws"]].drop_duplicates().itertuples(index=False)
        counts = [f"{n} seeds are of {m} split{'s' * (m > 1)}" for n, m in numbers]
        lines.append(
            f"{', '.join(counts)}: what a split makes easy or hard its seeds have in common, so "
            "they tell less than as many splits would."
        )
    if (table["n"] == 2).any():
        lines.append(
            f"Two units tell little: the interval of two reaches {stats.t.ppf(0.975, 1):.1f} "
            "standard errors to each side, so even a difference that all runs share may stay open, "
            "and how many more are needed is hardly known."
        )
    return lines


def probe_table(rows: pd.DataFrame) -> str:
    """Accuracies in percent by shots and group of one run, averaged over its lists, as Markdown."""
    means: Any = rows.groupby(["shots", "group"], sort=False)["accuracy"].mean().unstack()
    lists = rows.groupby("shots", sort=False)["list"].nunique()
    shown = [group for group in (*SHOWN, "top5") if group in means]
    body = []
    for key, n in lists.items():
        shots = str(key)
        body.append([shots, str(n), *(f"{100 * means.loc[shots, g]:.1f}" for g in shown)])
    return "\n\n".join([markdown(["shots", "lists", *shown], body), *untested(rows)])


def untested(rows: pd.DataFrame) -> list[str]:
    """A sentence about the classes that have no test image; none where all have."""
    if "untested" not in rows:  # rows that a lesson or a reader made by hand
        return []
    names = sorted(set(rows["untested"]) - {""})
    return [f"Without a test image, and so in no mean: class {name}." for name in names]


def regenerate(page: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """The page with every generated table made anew by the function of its name."""

    def table(match: re.Match) -> str:
        name = match.group(1)
        return f"<!-- generated: {name} -->\n\n{tables[name]()}\n\n<!-- end -->"

    return re.sub(r"<!-- generated: (\S+) -->.*?<!-- end -->", table, page, flags=re.S)


def results(study: Study, **only: str) -> str:
    """Mean ± sd over runs of every row, section, protocol and shots, in percent."""
    lines = table(study, **only)
    if lines.empty:
        return bullets(left_out(study)) or NO_ACCURACY
    told = [c for c in BLOCK if lines[c].nunique() > 1]
    body = lines[[*told, "features", "n", *(g for g in SHOWN if g in lines)]]
    return of_frame(body.rename(columns={"section": "runs of"}))


def table(study: Study, **only: str) -> pd.DataFrame:
    """One line per section, protocol, shots and row: n runs, and mean ± sd of every group."""
    lines = []
    for section, part, runs in study.blocks(**only):
        about = {"section": section, "protocol": part["protocol"].iloc[0]}
        about["shots"] = part["shots"].iloc[0]
        for row in (row for row in study.labels if row in runs.index.unique(0)):
            here = runs.xs(row)
            cells = {group: spread(here[group]) for group in SHOWN if group in here}
            lines.append({**about, "features": study.labels[row], "n": len(here), **cells})
    return pd.DataFrame(lines)


def comparisons(study: Study, **only: str) -> pd.DataFrame:
    """Paired differences of every section, protocol and shots, as by `compare`."""
    found = []
    for section, part, runs in study.blocks(**only):
        groups = [group for group in COMPARED if group in runs]
        here = compare(runs, study.pairs, study.labels, groups)
        about = {"protocol": part["protocol"].iloc[0], "shots": part["shots"].iloc[0]}
        found.append(here.assign(section=section, **about))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def by_block(found: pd.DataFrame) -> Iterator[tuple[list[str], pd.DataFrame]]:
    """Section, protocol and shots of each block, and its lines."""
    if found.empty:
        return
    for keys, part in found.groupby(BLOCK, sort=False):
        yield [str(key) for key in keys], part


def name_of_block(section: str, protocol: str, shots: str) -> str:
    """What is the same in one table, in words: 'shapes, 100-shot, protocol "bcl"'."""
    supervision = shots if shots == OWN_LABELS else f"{shots}-shot"
    if shots.endswith("%"):
        supervision = f"{shots} of the labels"
    words = [section, supervision, f'protocol "{protocol}"' if protocol else ""]
    return ", ".join(word for word in words if word)


def compared(study: Study, **only: str) -> str:
    """Paired differences in Markdown, a table with its sentences for each section."""
    found = comparisons(study, **only)
    if found.empty:
        return comparison(found)
    texts = []
    several = found["protocol"].nunique() > 1
    for (section, protocol, shots), part in by_block(found):
        named = name_of_block(section, protocol if several else "", shots)
        texts.append(comparison(part, f"first minus second, {named}, points"))
    return "\n\n".join(texts)


def facts(study: Study) -> list[str]:
    """What must be said beside a table: what its numbers are, and on which machines."""
    rows = study.rows
    machines = "; ".join(sorted(set(rows["machine"] + ", torch " + rows["torch"])))
    rows = rows[rows["accuracy"].notna()]
    if rows.empty:
        return [NO_ACCURACY, f"Machine: {machines}."]
    values = []
    with_lists = rows[rows["protocol"] != CLASSIFIER]
    if len(with_lists):
        sources = " and ".join(sorted(set(with_lists["list_source"])))
        values.append(f"the mean over its labelled lists ({sources})")
    if len(with_lists) < len(rows):
        values.append("the accuracy of the classifier that it trained")
    mirrored = ", in mirrored pairs" if rows["mirrored"].any() else ""
    others = sorted(set(rows.loc[rows["test"] != rows["data"], "test"]))
    return [
        f"Accuracy in percent, mean ± sd over n runs that differ in split or seed{mirrored}; a "
        f"run's value is {' or '.join(values)}. std is the balancedness.",
        *[f"Tested on {test}, not on a test part of the run's own data." for test in others],
        *[f"Tested on {test}, too, which is not shown here." for test in _also_tested(rows)],
        *untested(rows),
        f"Machine: {machines}.",
    ]


def _also_tested(rows: pd.DataFrame) -> list[str]:
    """Other test sets of runs whose rows here are of their own."""
    return sorted(set(rows["also_tested"]) - {""})


def left_out(study: Study) -> list[str]:
    """Which boosted rows are in no table of accuracies, since their control is not there."""
    rows = study.rows[study.rows["accuracy"].notna() & (study.rows["features"] != "pixels")]
    absent: dict[str, tuple[pd.Series, list[str]]] = {}
    for key, part in rows.groupby(BLOCK, sort=False):  # as the tables are
        block = part.drop_duplicates(["folder", "features"])
        for _, row in block.drop(controlled(block).index).drop_duplicates("row").iterrows():
            section, protocol, shots = key
            table = ", ".join(filter(None, [str(section), f"{shots}-shot", f"protocol {protocol}"]))
            absent.setdefault(row["row"], (row, []))[1].append(table)
    there = set(zip(rows["epochs"], rows["name"], strict=True))
    lines = []
    for row, where in absent.values():
        if (row["epochs"], row["control"]) in there:
            lines.append(
                f"{study.labels[row['row']]} is left out of {'; '.join(where)}: no run of its "
                f"control, {row['control']}, with its split and seed has accuracies there. Make or "
                "probe one as this run was made and probed; then report both."
            )
            continue
        call = f"ltcl run --method {row['method']} --set boost={CONTROLS[row['boost']]}"
        lines.append(
            f"{study.labels[row['row']]} is left out: what a boost does shows only beside its "
            f"control, {row['control']}, which is not among these runs. Make the control as this "
            f"run was made, but with `{call}`; then probe and report both."
        )
    return lines


def about(study: Study, *where: str) -> str:
    """The same in Markdown, with what is not the published recipe, where the rows lie, gaps."""
    lines = [*facts(study), sentence(caution(study.rows))]
    lines.append(f"Rows: {' and '.join(f'`{place}`' for place in where)}.")
    if study.missing:
        lines.append(f"Missing: {', '.join(study.missing)}.")
    return bullets(line for line in lines if line)


def last_auroc(signal: pd.DataFrame) -> pd.DataFrame:
    """AUROC of the last momentum loss by row: n runs, mean ± sd, and weighted to the tail."""
    last = last_signal(signal, "label")
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
    return pd.read_csv(PUBLISHED_NUMBERS, dtype={"shots": str}).fillna({"shots": ""})


def published(study: Study) -> pd.DataFrame:
    """Each published number that one of the study's cells stands beside.

    Only runs of a published split, probed with published lists by the same protocol, count.

    Returns:
        One line per number: section, features, protocol, shots, group, n, ours, published,
        difference, within (whether it lies within our spread: yes, no, or "one run"), source.
    """
    theirs, found = read_published(), []
    for section, part, _ in study.blocks(list_source="published"):
        for row in (row for row in study.labels if row in RECIPES):
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
                    {"section": section, "features": study.labels[row], **_beside(values, number)}
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
    inside = "one run"
    if len(values) > 1:
        inside = "yes" if abs(apart) <= values.std() else "no"
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


def beside_published(study: Study) -> str:
    """The same in Markdown, or why there is none."""
    found = published(study)
    if found.empty:
        return no_published(study)
    told = found[["features", "shots", "group", "n", "ours", "published", "difference", "within"]]
    sources = "; ".join(found["source"].unique())
    head = [*told.columns[:-1], "within our spread"]
    note = f"Published by {sources}. {sentence(caution(study.rows))}"
    return f"{markdown(head, told.astype(str).to_numpy().tolist())}\n\n{note}"


def no_published(study: Study) -> str:
    """Why no published number stands beside these."""
    drawn = study.rows["split"].isin(splits.DRAWN).all()
    own = "splits of our own" if drawn else "lists, probes or methods that none was published for"
    return f"No published number belongs here: these runs use {own}."
