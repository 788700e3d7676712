"""Make every figure, and every generated table of README and docs, from the recorded rows.

    make figures

What a study is, its labels and its compared pairs stand in experiments/*.yaml. A figure is a PNG in
figures/ with a .json beside it that names its rows and their sha256. A test makes the tables again
and compares. `ltcl report experiments/STUDY.yaml` shows a study whole.
"""

import ast
import json
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from ltcl_helpers import bench, bench_loader, files, probe, report
from ltcl_helpers.batch import grid
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import shapes, splits
from ltcl_helpers.paths import RESULTS, WEIGHTS
from ltcl_helpers.probe import leave_out
from ltcl_helpers.recipes import AIMS, RECIPES
from ltcl_helpers.report import drawings, plots, reproduction, study, tables
from ltcl_helpers.report.rows import place
from ltcl_helpers.report.statistics import ABOVE, BELOW, NONE_THAT_MATTERS
from ltcl_helpers.report.tables import markdown
from ltcl_helpers.runs import Run, finished, read_config, read_done
from ltcl_helpers.views.simclr import simclr_view

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FIGURES = ROOT / "figures"
TITLE_HEAD = ["long-tail minus balanced", "n", "mean (95 % interval)", "verdict", "each of n"]
LOGISTIC = {"shots": "100", "protocol": "logistic"}  # 1,200 images: "bcl"'s updates are too few


@cache
def recorded(name: str) -> study.Study:
    """A study and its recorded rows."""
    return study.read(ROOT / "experiments" / f"{name}.yaml")


def shown(name: str, *where: str, **only: str) -> str:
    """Results, paired differences with their verdicts, and what must be said of a study."""
    one = recorded(name)
    places = [f"data/results/{place}" for place in (name, *where)]
    compared = tables.compared(one, **only) if one.pairs else ""
    parts = [tables.results(one, **only), compared, tables.about(one, *places)]
    return "\n\n".join(filter(None, parts))


def all_cifar100() -> str:
    """Methods and controls on real images, all numbers of shots, and beside published numbers."""
    return f"{shown('cifar100-quick')}\n\n{tables.beside_published(recorded('cifar100-quick'))}"


def cifar10_table() -> str:
    """Methods, controls, the title question and the oracle on real images, in six pairs."""
    one = recorded("evidence-cifar10")
    parts = [shown("evidence-cifar10", "cifar10-length", shots="100")]
    ((_, _, runs),) = one.blocks(shots="100")
    tail, flat = runs.xs("simclr"), runs.xs("balanced")
    apart = report.paired(tail, flat)
    body = [gap_line("many-few gap", apart["many"] - apart["few"])]
    body += _apart_in_auroc(one, "simclr", "balanced")
    parts += [markdown(TITLE_HEAD, body), _last_aurocs(one)]
    return "\n\n".join(parts)


def _apart_in_auroc(one: study.Study, tail: str, flat: str) -> list[list[str]]:
    """What the last momentum loss of the first row knows of the few beyond that of the second."""
    signal = report.last_signal(study.signal(one, last=True), "row")
    apart = report.paired(signal.xs(tail), signal.xs(flat))
    return [
        quantity("AUROC", apart["auroc"], 1, 3),
        quantity("AUROC, weighted to the tail's classes", apart["weighted"], 1, 3),
    ]


def _last_aurocs(one: study.Study) -> str:
    """What the last momentum loss of each row knows of the few classes."""
    signal = tables.last_auroc(study.signal(one, last=True))
    return markdown(list(signal.columns), signal.astype(str).to_numpy().tolist())


def length_table() -> str:
    """Does the order of methods come with training length? Real CIFAR-10-LT, quick network."""
    return shown("cifar10-length", shots="100")


def precision_table() -> str:
    """Do bf16 and float32 runs of the same seeds end at the same accuracy?"""
    return shown("shapes-precision", "shapes-simclr", **LOGISTIC)


def methods_table() -> str:
    """Methods, controls and the oracle on the embedded data, in twelve pairs."""
    return _rows_and_aurocs("evidence-shapes")


def decay_table() -> str:
    """SDCLR with SimCLR's weight decay beside both of them, in twelve pairs."""
    return shown("evidence-decay", "evidence-shapes", **LOGISTIC)


def noise_table() -> str:
    """The oracle made worse, against its shuffled control, in twelve pairs."""
    return shown("evidence-noise", "evidence-shapes", **LOGISTIC)


def dose_table() -> str:
    """Five doses of boosting in three ways, in six pairs."""
    return shown("evidence-dose", "evidence-shapes", **LOGISTIC)


def tried_aims_table() -> str:
    """Two aims that need no labels, each against its shuffled control, in twelve pairs."""
    return shown("evidence-aims", **LOGISTIC)


def further_controls_table() -> str:
    """The controls that only two pairs have, and what their momentum losses know."""
    return _rows_and_aurocs("shapes-methods", "shapes-simclr")


def _rows_and_aurocs(name: str, *where: str) -> str:
    note = "AUROC of the last momentum loss for images of the few classes, mean ± sd over n runs:"
    rows = shown(name, *where, protocol="logistic")
    return f"{rows}\n\n{note}\n\n{_last_aurocs(recorded(name))}"


def title_question() -> study.Study:
    """SimCLR on long-tail and on balanced sets of the embedded data, and what lies below it."""
    return recorded("evidence-shapes").part("pixels", "untrained", "simclr", "balanced")


def tail_and_balanced(**only: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracies by run on the embedded data: of the long-tail and of the balanced sets."""
    ((_, _, runs),) = title_question().blocks(**only)
    return runs.xs("simclr"), runs.xs("balanced")


def shapes_table() -> str:
    """What a quick run shows on the embedded data, and what it does not."""
    one, body = title_question(), []
    for protocol, shots in (("logistic", "100"), ("logistic", "50"), ("bcl", "100"), ("bcl", "50")):
        tail, flat = tail_and_balanced(protocol=protocol, shots=shots)
        apart = report.paired(tail, flat)
        gap = apart["many"] - apart["few"]
        body.append(gap_line(f'many-few gap, {shots}-shot, protocol "{protocol}"', gap))
    tail, flat = tail_and_balanced(**LOGISTIC)
    body.append(gap_line("the first without its control", tail["many"] - tail["few"]))
    body += _apart_in_auroc(one, "simclr", "balanced")
    chance = f"Chance is {report.spread(np.array([1 / len(shapes.CLASS_NAMES)]))} %."
    compared = tables.compared(one, **LOGISTIC)
    parts = [tables.results(one, **LOGISTIC), chance, compared, markdown(TITLE_HEAD, body)]
    parts.append(_last_aurocs(one))
    return "\n\n".join([*parts, tables.about(one, "data/results/evidence-shapes")])


def gap_line(name: str, values: pd.Series) -> list[str]:
    """A line about a difference between groups, in points."""
    return quantity(name, values, size=report.matters("few"))


def quantity(
    name: str, values: pd.Series, scale: float = 100, digits: int = 1, size: float | None = None
) -> list[str]:
    """A line about a difference: n units, interval, verdict, the value of every unit.

    `size` is the smallest difference that matters, where somebody has said it.
    """
    found = report.interval(values)
    ends = report.ends(found, scale, digits)
    each = report.each(report.units(values), scale, digits)
    return [name, report.count([found]), ends, report.verdict(found, size), each]


def moco_table() -> str:
    """MoCo beside SimCLR, and boosted beside its control, on the embedded data."""
    return shown("shapes-moco", "shapes-simclr", **LOGISTIC)


def moco_rate_table() -> str:
    """The runs that chose MoCo's quick learning rate, on seeds of no other table."""
    return shown("shapes-moco-lr", **LOGISTIC)


def moco_cifar100_table() -> str:
    """MoCo on real images."""
    return shown("cifar100-moco", "cifar100-quick", shots="100")


def balanced_table() -> str:
    """Methods that learn from labels, each tested with its own classifier, in eight pairs."""
    return f"{shown('evidence-balanced')}\n\n{_how_far(recorded('evidence-balanced'))}"


def _how_far(one: study.Study) -> str:
    """Whether the runs whose training loss stayed high are those that are seldom right."""
    every = one.rows[one.rows["group"] == "all"]
    accuracy = every.groupby(["row", "folder"])["accuracy"].mean()
    losses = {
        folder: files.read_parquet(Path(folder) / "history.parquet")["loss"].iloc[-1]
        for folder in every["folder"].unique()
    }
    body = []
    for row, label in one.labels.items():
        own = accuracy[row]
        last = [losses[folder] for folder in own.index]
        together = stats.spearmanr(last, own).statistic
        body.append([label, report.spread(np.array(last), 1, 2), f"{together:+.2f}"])
    head = ["features", "last training loss", "its rank correlation with accuracy, over runs"]
    return markdown(head, body)


def averages_table() -> str:
    """Other ways to let each class count alike in the loss of Balanced CL, in two pairs."""
    one = recorded("shapes-balanced").part("balanced-cl", "balanced-l2", "balanced-l3")
    about = tables.about(one, "data/results/shapes-balanced")
    return "\n\n".join([tables.results(one), tables.compared(one), about])


def balanced_cifar100_table() -> str:
    """The same on real images."""
    return shown("cifar100-balanced")


def bench_cpu() -> str:
    """Seconds per epoch against the published recipe's shape, one table for each recorded call."""
    paths = sorted(RESULTS.glob("bench-cpu*.json"))
    return "\n\n".join(
        f"{bench.table(files.read_json(path))}\n\nRows: `data/results/{path.name}`."
        for path in paths
    )


def batch_table() -> str:
    """What papermill and Dask cost, in seconds on the clock."""
    facts = files.read_json(RESULTS / "bench-batch.json")
    plain, one = (np.array(facts["rows"][kind])[:, 0] for kind in ("plain", "batch of 1"))
    more, once = (np.array(facts[name])[:, 0] for name in ("more_per_run", "of_a_batch"))
    alone = one - plain
    body = [
        [what, f"{np.median(v):.1f} ({v.min():.1f} to {v.max():.1f})", f"{np.median(v) / 3:.1f} %"]
        for what, v in (
            ("a batch of one run, over the two plain commands", alone),
            ("of it: the batch itself, once", once),
            ("each further run", more),
        )
    ]
    head = ["more than `ltcl run` and `ltcl probe`", "seconds", "of a run of 5 minutes"]
    plain, batch = np.array(facts["seconds_an_epoch"]).T
    ratio = batch / plain
    times = f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})"
    versions = ", ".join(f"{name} {v}" for name, v in facts["versions"].items())
    note = (
        f"An epoch of `quick` takes {times} times as long in a batch.\n\n"
        f"Median (range) of {facts['n']}; {facts['machine']}; {versions}. "
        "Rows: `data/results/bench-batch.json`."
    )
    return f"{markdown(head, body)}\n\n{note}"


def faults_table() -> str:
    """What the long battery of `make faults` tried, and what did not hold."""
    facts = files.read_json(RESULTS / "faults.json")
    kills, flips, calls = (facts[name] for name in ("kills", "flipped bits", "wrong calls"))
    tried = {
        "kills, at a drawn call of a rename, a flush, a removal or a step, of runs by "
        f"{kills['methods']} methods, in {kills['chains']} chains; and while a probe is saved": (
            kills,
            f"{kills['tries']:,}",
        ),
        "one flipped bit, in every file of a run, its data, and published lists": (
            flips,
            f"{flips['tries']:,} ({flips['named']:,} named, {flips['no effect']} without effect)",
        ),
        "wrong calls": (calls, f"{calls['tries']:,}"),
    }
    body = [[what, tries, str(found["failed"])] for what, (found, tries) in tried.items()]
    note = (
        f"On {facts['machine']}, torch {facts['versions']['torch']}. "
        "Rows: `data/results/faults.json`."
    )
    return f"{markdown(['what', 'tries', 'did not hold'], body)}\n\n{note}"


def page_costs() -> str:
    """What a page of the explorer costs the browser."""
    facts = files.read_json(RESULTS / "page-costs.json")
    body = []
    for name, page in facts["pages"].items():
        cells = [f"{page['MB']:.1f}" if page["MB"] < 10 else f"{page['MB']:.0f}"]
        for values, digits in zip(zip(*page["rows"], strict=True), (1, 1, 1, 0), strict=True):
            least, most = (f"{end(values):.{digits}f}" for end in (min, max))
            cells.append(f"{np.median(values):.{digits}f} ({least} to {most})")
        body.append([name, *cells])
    head = ["page", "MB", "seconds until ready", "ms a hover", "ms a step in time"]
    table = markdown([*head, "frames a second"], body)
    times = {len(page["rows"]) for page in facts["pages"].values()}
    note = (
        f"{facts['browser']}, on {facts['machine']} with a load of {facts['load']:g}; medians of "
        f"{max(times)} page loads (least to most), {facts['events']} events each. "
        "Rows: `data/results/page-costs.json`."
    )
    return f"{table}\n\n{note}"


def processors_table() -> str:
    """All tests on imitated processors."""
    words = {
        "ATEN_CPU_CAPABILITY": "PyTorch's loops: {}",
        "ONEDNN_MAX_CPU_ISA": "convolutions: {}",
        "MKL_ENABLE_INSTRUCTIONS": "products: {}",
        "OMP_NUM_THREADS": "threads: {}",
        "bf16": "bf16: {}",
        "PYTHONHASHSEED": "hash seed: {}",
        "busy": "busy processes beside it: {}",
    }
    rows, body = list(files.read_json(RESULTS / "any-processor.json").values()), []
    for row in rows:
        told = ", ".join(words[name].format(value) for name, value in row["told"].items())
        failed = row["failed"] + row["errors"]
        counts = [str(n) for n in (row["passed"], failed, row["skipped"])]
        body.append([told or "nothing", row["tests"], *counts, row["commit"]])
    table = markdown(["told", "tests", "passed", "failed", "skipped", "commit"], body)
    failures = sum(row["failed"] + row["errors"] for row in rows)
    machines = ", ".join(sorted({row["processor"] for row in rows}))
    note = f"{len(rows)} combinations tried on one {machines} machine, failures: {failures}. "
    return f"{table}\n\n{note}Rows: `data/results/any-processor.json`."


# What docs/evidence.md asks: a study, its one protocol, the number of units planned.
EVIDENCE = {
    "shapes-simclr": ({"shots": "100", "protocol": "logistic"}, 12),
    "shapes-methods": ({"shots": "100", "protocol": "logistic"}, 12),
    "cifar100-quick": ({"shots": "100", "protocol": "bcl"}, 12),
    "shapes-moco": ({"shots": "100", "protocol": "logistic"}, 8),
    "shapes-balanced": ({"protocol": "classifier"}, 8),
    "cifar10-length": ({"shots": "100", "protocol": "logistic", "section": "30 epochs"}, 6),
}
# Grids with a number of units chosen before looking; nothing is read off them until they are whole.
PLANNED = {
    "evidence-shapes": ({"shots": "100", "protocol": "logistic"}, 12),
    "evidence-decay": ({"shots": "100", "protocol": "logistic"}, 12),
    "evidence-dose": ({"shots": "100", "protocol": "logistic"}, 6),
    "evidence-noise": ({"shots": "100", "protocol": "logistic"}, 12),
    "evidence-cifar10": ({"shots": "100", "protocol": "logistic"}, 6),
    "evidence-cifar100": ({"shots": "100", "protocol": "bcl"}, 12),
    "evidence-length": ({"shots": "100", "protocol": "logistic"}, 3),
    "evidence-moco": ({"shots": "100", "protocol": "logistic"}, 8),
    "evidence-balanced": ({"protocol": "classifier"}, 8),
    "evidence-balanced-long": ({"protocol": "classifier"}, 8),
    "evidence-aims": ({"shots": "100", "protocol": "logistic"}, 12),
}
# The first seed of a grid that nobody had seen anything of: pairs before it lie in older tables, in
# the pilot of the oracle, or chose a setting.
UNSEEN = {"evidence-cifar10": 4, "evidence-shapes": 6, "evidence-balanced": 4}
EMBEDDED = "the embedded data"
TOLD = ("few", "all")  # the columns of docs/evidence.md


def answers_table() -> str:
    """Every older question with its n, interval and answer, and how many answers of each kind."""
    found = [_compared(name, only) for name, (only, _) in EVIDENCE.items()]
    return _answers(pd.concat(found))


def planned_answers() -> str:
    """The same of the planned grids that are complete."""
    found = [_compared(name, only) for name, (only, _) in PLANNED.items() if _is_complete(name)]
    if not found:
        return "None of these grids is complete yet, so nothing is read off them."
    # Two grids may ask the same of the same runs: that is one comparison.
    table = pd.concat(found).drop_duplicates(["difference", "group", "n", "mean"])
    planned_in_all = set.union(*map(_planned_comparisons, PLANNED))
    return _answers(table, len(planned_in_all) * len(TOLD))


def unseen_answers() -> str:
    """The planned answers again, from the pairs that nobody had seen when they were planned."""
    whole = {name: first for name, first in UNSEEN.items() if _is_complete(name)}
    found = [_compared(name, PLANNED[name][0], first) for name, first in whole.items()]
    table = pd.concat(found)
    head, body = _lines_of_answers(table[table["group"].isin(TOLD)].assign(corrected=1.0))
    return markdown(head[:-2], [line[:-2] for line in body])


def first_pairs() -> str:
    """The oracle against its control on the pairs that suggested it, and on those made after."""
    ((_, _, runs),) = recorded("evidence-shapes").blocks(**LOGISTIC)
    apart = report.units(report.paired(runs.xs("oracle"), runs.xs("oracle-shuffled"))["few"])
    seen = UNSEEN["evidence-shapes"] // 2  # two seeds a pair
    parts = {"tried first": apart[:seen], "made after": apart[seen:]}
    body = [
        [name, report.each(part), report.ends(report.interval(part))]
        for name, part in parts.items()
    ]
    return markdown(["pairs", "oracle minus shuffled, few, points", "mean (95 %)"], body)


@cache
def planned(name: str) -> grid.Grid:
    """A grid that may have no run yet."""
    return grid.read(ROOT / "experiments" / f"{name}.yaml")


def _is_complete(name: str) -> bool:
    """Whether every run that a planned grid names is there."""
    folders = (cell.folder(RESULTS / name) for cell in planned(name).cells)
    return all((folder / "DONE.json").exists() for folder in folders)


def _compared(name: str, only: dict[str, str], first: int = 0) -> pd.DataFrame:
    """The comparisons of a study's one protocol, from the seeds that are not below `first`."""
    one = recorded(name)
    found = []
    for section, _, runs in one.blocks(**only):
        called = ", ".join(filter(None, [name, section]))
        later = runs[runs.index.get_level_values("seed") >= first]
        found.append(report.compare(later, one.pairs, one.labels).assign(study=called))
    return pd.concat(found, ignore_index=True)


def _planned_comparisons(name: str) -> set[tuple[frozenset[Path], frozenset[Path]]]:
    """The comparisons of a planned grid: the runs of the first, and those of the second."""
    plan = planned(name)
    axes = study.section_axes(plan)
    folders: dict[tuple, dict[str, set[Path]]] = {}
    for cell in plan.cells:
        section = tuple(cell.axes[axis] for axis in axes)
        folder = cell.folder(RESULTS / name).resolve()
        folders.setdefault(section, {}).setdefault(cell.row, set()).add(folder)
    return {
        (frozenset(rows[first]), frozenset(rows[second]))
        for rows in folders.values()
        for first, second in plan.pairs
        if {first, second} <= set(rows)
    }


def _answers(table: pd.DataFrame, in_all: int | None = None) -> str:
    """Lines of a page's comparisons, and below them how many answers there are of each kind.

    `in_all` is how many comparisons the page will hold, where some are still to come.
    """
    table = table[table["group"].isin(TOLD)]
    table = table.assign(corrected=report.holm(table["p"], in_all))
    head, body = _lines_of_answers(table)
    return f"{markdown(head, body)}\n\n{tables.bullets(_count(table, in_all))}"


def _lines_of_answers(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Header and a line a comparison: its n, its answers, and what an open one would take."""
    body = []
    for (name, difference), part in table.groupby(["study", "difference"], sort=False):
        cells = part.set_index("group")
        shown = [tables.cell(cells.loc[group]) for group in TOLD]
        further = [str(cells.loc[group, "further"] or "") for group in TOLD]
        body.append([name, difference, report.count(cells), *shown, *further])
    head = ["study", "first minus second, points", "n", *TOLD, "further units: few", "all"]
    return head, body


def _count(table: pd.DataFrame, in_all: int | None) -> list[str]:
    """How many answers there are of each kind."""
    differs = table["verdict"].isin(tables.DIFFERENCE)
    left = differs & (table["corrected"] < 0.05)
    same = table["verdict"] == NONE_THAT_MATTERS
    over = f"all {in_all} that are planned" if in_all else "all of them"
    return [
        f"Of {len(table)} comparisons: a difference {differs.sum()} (chance alone would make "
        f"{0.05 * len(table):.1f}; left by Holm's correction over {over}, †: {left.sum()}), "
        f"no difference that matters (=) {same.sum()}, open {(~differs & ~same).sum()}.",
        "Further units: about how many more would answer an open question in at least 80 % of all "
        "cases, if mean and spread stay.",
    ]


def spent_table() -> str:
    """What is made of each planned grid, and what its training has cost."""
    body = []
    for name in PLANNED:
        folders = [cell.folder(RESULTS / name) for cell in planned(name).cells]
        made = [folder for folder in folders if (folder / "DONE.json").exists()]
        own = [folder for folder in made if folder.parent.name == name]
        hours = sum(map(_training_seconds, own)) / 3600
        older = len(made) - len(own)
        of_them = f"{older} of an older grid" if older else ""
        body.append([name, f"{len(made)} of {len(folders)}", of_them, f"{hours:.1f}"])
    rows = _published_code()
    hours = (rows["cpu_seconds_per_epoch"] * rows["epochs"]).sum() / 3600
    body.append(["published_code.py", str(len(rows)), "", f"{hours:.1f}"])
    runs = len(list(LEAVE_OUT.glob("*.npz")))
    body.append(["leave_out.py", str(runs), "", "not recorded"])
    head = ["grid or driver", "runs made", "of them", "core hours of training"]
    return markdown(head, body)


def _training_seconds(folder: Path) -> float:
    """Epochs times the median epoch: a run that was put to sleep for hours has not cost them."""
    seconds = files.read_parquet(folder / "history.parquet")["seconds"]
    return len(seconds) * float(seconds.median()) if len(seconds) else 0.0


# What docs/evidence.md says of memorization by leaving samples out.
LEAVE_OUT = RESULTS / "leave-out"
PUBLISHED_CODE = RESULTS / "published-code.jsonl"  # of docs/reproduction.md
NOT_MADE = "Not made yet: `python experiments/{}.py`."
EPOCHS = (1, 2, 5, 10, 20, 30)  # whose momentum losses are compared with the truth


def leave_out_table() -> str:
    """Memorization by group, how well it is known of one sample, and what may stand for it."""
    if not LEAVE_OUT.exists():
        return NOT_MADE.format("leave_out")
    kinds = {kind: _Memorized(kind) for kind in ("long-tail", "balanced")}
    tail, flat = kinds.values()
    body = []
    for group in (*splits.GROUPS, "all"):
        rises = [one.rise(group) for one in (tail, flat)]
        body.append([group, *(_rise(each) for each in (*rises, rises[0] - rises[1]))])
    more = [one.rise("few") - one.rise("many") for one in (tail, flat)]
    body.append(["few minus many", *(_rise(each) for each in (*more, more[0] - more[1]))])
    head = ["rise of the loss when left out", *kinds, "long-tail minus balanced"]
    runs = " and ".join(f"{len(one.loss)} runs on the {kind} set" for kind, one in kinds.items())
    note = (
        f"Mean and 95 % interval (Student's t over runs); {runs}, each on 70 % of it. Groups are "
        "the long-tail set's in both columns, so the balanced set is the control. The loss of a "
        f"sample has a mean of {tail.loss.mean():.2f}, and over samples an sd of "
        f"{tail.loss.mean(axis=0).std():.2f}."
    )
    columns = {kind: _correlations(one) for kind, one in kinds.items()}
    lines = [[name, *(columns[kind][name] for kind in kinds)] for name in columns["long-tail"]]
    about = (
        "Spearman's rank correlation over samples (95 % interval of a bootstrap over them); other "
        f"values come from {len(tail.whole)} runs on the whole set, mean of their correlations. "
        "The first line says how much is luck: where two halves of the runs do not agree about a "
        "sample, no witness can agree with them by much, and a small correlation may be a good "
        "witness's. A run's luck moves one sample's loss by an sd of "
        f"{tail.luck():.2f}; of an sd of {tail.truth.std():.3f} between the samples' memorization, "
        f"that luck alone makes {tail.noise():.3f}. {_runs_for_agreement(tail)}"
        "Rows: `data/results/leave-out`."
    )
    second = markdown(["rank correlation with memorization", *kinds], lines)
    return f"{markdown(head, body)}\n\n{note}\n\n{second}\n\n{about}"


def _runs_for_agreement(one: "_Memorized") -> str:
    """How many runs make two sets of so many agree about single samples (Spearman and Brown)."""
    luck = one.noise() ** 2 * len(one.loss)  # of a single run
    real = one.truth.var() - one.noise() ** 2
    if real <= 0:
        return ""
    half, most = (float(f"{luck / real * r / (1 - r):.2g}") for r in (0.5, 0.8))
    return (
        f"What is left is an sd of {np.sqrt(real):.3f}; if it is real, two sets of {half:,.0f} "
        f"runs would agree by a correlation of one half, and two sets of {most:,.0f} by 0.8. "
    )


class _Memorized:
    """What the runs on parts of a set say, and those on the whole of it."""

    def __init__(self, kind: str) -> None:
        self.loss, self.inside = leave_out.read(LEAVE_OUT, kind)
        self.truth = leave_out.memorization(self.loss, self.inside)  # [N]
        self.whole = [
            files.read_npz(path) for path in sorted(LEAVE_OUT.glob(f"{kind}-whole-*.npz"))
        ]
        tail = files.read_npz(LEAVE_OUT / "long-tail-whole-0.npz")["labels"]
        self.sizes = np.bincount(tail)
        self.labels = self.whole[0]["labels"]

    def members(self, group: str) -> np.ndarray:
        """Which samples are of this group, bool [N]."""
        if group == "all":
            return np.ones(len(self.labels), bool)
        return np.isin(self.labels, splits.groups(self.sizes)[group])

    def rise(self, group: str) -> np.ndarray:
        """Memorization of a group by each run, [R]."""
        return leave_out.rise(self.loss, self.inside, self.members(group))

    def luck(self) -> float:
        """How far runs that learnt from a sample, or did not, differ about it: an sd."""
        loss = self.loss - self.loss.mean(axis=1, keepdims=True)
        with_it = np.average(loss, axis=0, weights=self.inside)
        without_it = np.average(loss, axis=0, weights=~self.inside)
        rest = loss - np.where(self.inside, with_it, without_it)
        return float(np.sqrt((rest**2).sum() / (loss.size - 2 * loss.shape[1])))

    def noise(self) -> float:
        """The sd that this luck alone gives the difference of two means."""
        learnt = self.inside.sum(axis=0)
        left_out = len(self.inside) - learnt
        return float(self.luck() * np.sqrt(np.mean(1 / learnt + 1 / left_out)))

    def witnesses(self) -> dict[str, np.ndarray]:
        """What may stand for memorization, [K, N] of K runs on the whole set."""
        history = np.stack([run["momentum_loss"] for run in self.whole]).astype(np.float32)
        found = {MOMENTUM.format(e): history[:, e - 1] for e in EPOCHS}
        for name, title in OTHERS.items():
            found[title] = np.stack([run[name] for run in self.whole]).astype(np.float32)
        found["rarity of the class"] = -self.sizes[self.labels][None]
        return found


def _correlations(one: _Memorized) -> dict[str, str]:
    """The cells of one column."""
    half = report.rank_correlation(*leave_out.halves(one.loss, one.inside))
    cells = {"memorization itself: one half of the runs with the other": _correlation(half)}
    for name, values in one.witnesses().items():
        cells[name] = _correlation(report.rank_correlation(one.truth, values))
    return cells


def _rise(values: np.ndarray) -> str:
    """Mean and 95 % interval over runs."""
    found = report.interval(values)
    text = report.ends(found, 1, 3)
    return f"**{text}**" if report.verdict(found) in (ABOVE, BELOW) else text


MOMENTUM = "momentum loss after epoch {}"
OTHERS = {
    "loss": "loss at the end, on fixed views",
    "pruning-drop": "drop under pruning",
    "neighbour-distance": "distance to the nearest neighbours",
    "untrained": "loss of an untrained network",
}


def _correlation(found: tuple[float, float, float]) -> str:
    value, low, high = found
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"


def aims_table() -> str:
    """AUROC of each aim for the few classes, long-tail minus balanced, over mirrored pairs."""
    if not LEAVE_OUT.exists():
        return NOT_MADE.format("leave_out")
    tail, flat = _aurocs("long-tail"), _aurocs("balanced")
    apart = report.paired(tail, flat)
    weighted = report.paired(tail, _aurocs("balanced", True))
    body = []
    for aim in tail:
        n, ends, *_ = quantity(aim, apart[aim], 1, 3)[1:]
        spread = [report.spread(values[aim], 1, 3) for values in (tail, flat)]
        body.append([aim, n, *spread, ends, report.ends(report.interval(weighted[aim]), 1, 3)])
    head = ["aim", "n", "AUROC for few, long-tail", "balanced", "long-tail minus balanced"]
    head.append("the same, weighted to the tail's classes")
    return f"{markdown(head, body)}\n\nRows: `data/results/leave-out`."


def _aurocs(kind: str, weighted: bool = False) -> pd.DataFrame:
    """AUROC for the few classes by split (as by `report.WHO`) and aim.

    Weighted, each image of a balanced set counts as often as its class has images in the long-tail
    set: both have the same mixture of classes then.
    """
    lines = {}
    for path in sorted(LEAVE_OUT.glob(f"{kind}-split-*.npz")):
        run, tail = (
            files.read_npz(path),
            files.read_npz(path.with_name(f"long-tail{path.name[len(kind) :]}")),
        )
        sizes = np.bincount(tail["labels"])
        few = np.isin(run["labels"], splits.groups(sizes)["few"])
        weight = sizes[run["labels"]] if weighted else None
        scores = {"momentum loss (published)": run["momentum_loss"][-1]}
        scores |= {aim: run[aim] for aim in AIMS}
        config = RunConfig(**json.loads(str(run["about"]))["config"])
        lines[place(config)] = {
            name: roc_auc_score(few, values, sample_weight=weight)
            for name, values in scores.items()
        }
    table = pd.DataFrame.from_dict(lines, orient="index")
    table.index = pd.MultiIndex.from_tuples(table.index, names=report.WHO)
    return table


def published_code_table() -> str:
    """The published code, run today, beside ours: accuracy, loss and time of each method."""
    rows = _published_code()
    body = []
    for method, runs in rows.groupby("method", sort=False):
        codes = [runs[runs["code"] == code] for code in ("published", "ours")]
        theirs, ours = codes
        cells = [RECIPES[str(method)].label, f"{len(theirs)}, {len(ours)}"]
        for group in TOLD:
            cells += [report.spread(code[group]) for code in codes]
            cells.append(_between(ours[group], theirs[group], 100, 1, report.matters(group)))
        cells += [report.spread(code["loss"], 1, 3) for code in codes]
        cells.append(_between(ours["loss"], theirs["loss"], 1, 3))
        seconds = [code["cpu_seconds_per_epoch"].median() for code in codes]
        cells.append(f"{seconds[0] / seconds[1]:.1f}")
        body.append(cells)
    head = ["method", "n: published code, ours"]
    for group in TOLD:
        head += [f"{group}: published code", "ours", "difference"]
    head += ["loss of the last five epochs: published code", "ours", "difference"]
    head.append("CPU time, published over ours")
    compared = [cell for line in body for cell in (line[4], line[7], line[10])]
    differ = sum(cell.startswith("**") for cell in compared)
    versions = ", ".join(f"{name} {rows[name].iloc[0]}" for name in ("torch", "torchvision"))
    note = (
        "Means ± sd over n runs; ours minus the published code's with a 95 % interval (Welch: the "
        "runs of the two codes share no random number). Of these "
        f"{len(compared)} intervals {differ} leave zero out (bold; chance alone would make "
        f"{0.05 * len(compared):.1f}); = is no difference that matters. Top-1 in percent and "
        f"points. {versions}, one thread, float32. Rows: `data/results/{PUBLISHED_CODE.name}`."
    )
    return f"{markdown(head, body)}\n\n{note}"


def _published_code() -> pd.DataFrame:
    """A line a run of the published code or of ours."""
    rows = pd.read_json(PUBLISHED_CODE, lines=True)
    # One epoch alone is noisy.
    return rows.assign(loss=rows["losses"].map(lambda losses: np.mean(losses[-5:])))


def _between(
    first: pd.Series, second: pd.Series, scale: float, digits: int, size: float | None = None
) -> str:
    """Mean of the first minus mean of the second, with a 95 % interval; bold: zero is outside.

    =: the 90 % interval lies within ± size.
    """
    test = stats.ttest_ind(first, second, equal_var=False)
    low, high = test.confidence_interval()
    mean = first.mean() - second.mean()
    text = report.ends({"mean": mean, "low": low, "high": high}, scale, digits)
    if low > 0 or high < 0:
        return f"**{text}**"
    narrower = test.confidence_interval(0.9)
    within = size is not None and max(-narrower.low, narrower.high) < size
    return f"{text} =" if within else text


def beside_published_code() -> str:
    """Whether the published code and ours reach the same accuracy, in a sentence."""
    apart, reaches, differ = [], [], 0
    for _, runs in _published_code().groupby("method"):
        theirs, ours = (100 * runs[runs["code"] == code]["all"] for code in ("published", "ours"))
        low, high = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval()
        apart.append(ours.mean() - theirs.mean())
        reaches.append((high - low) / 2)
        differ += low > 0 or high < 0
    return (
        "At the size of a laptop the published code, run today on the same images, and this kit "
        f"differ by {min(apart):+.1f} to {max(apart):+.1f} points over all classes ({len(apart)} "
        f"methods, {len(ours)} seeds of each code). The 95 % intervals reach {min(reaches):.1f} to "
        f"{max(reaches):.1f} points to each side, and {differ or 'none'} of them "
        f"{'leaves' if differ < 2 else 'leave'} zero out: "
        "[docs/reproduction.md](docs/reproduction.md#the-published-code-run-today)."
    )


def planned_power() -> str:
    """The same of the planned grids that are complete: how small a difference they find."""
    return power_table({name: it for name, it in PLANNED.items() if _is_complete(name)})


def power_table(asked: dict[str, tuple[dict[str, str], int]] = EVIDENCE) -> str:
    """For each comparison the spread known so far, and the units that would tell what matters."""
    body = []
    for name, (only, units) in asked.items():
        for _, _, runs in recorded(name).blocks(**only):
            for first, second in recorded(name).pairs:
                if {first, second} <= set(runs.index.unique(0)):
                    body.append(
                        [name, f"{first} minus {second}", *_power(runs, first, second, units)]
                    )
    head = ["study", "first minus second", "units so far", "sd few", "sd all", "planned"]
    head += ["found by it: few", "all", "units needed: few", "all"]
    return markdown(head, body)


def _power(runs: pd.DataFrame, first: str, second: str, planned: int) -> list[str]:
    """Columns of `power_table`; nothing is known where there are fewer than two units."""
    apart = report.units(report.paired(runs.xs(first), runs.xs(second)))
    if len(apart) < 2:
        return [str(len(apart)), "", "", str(planned), "", "", "", ""]
    sd = apart.std(ddof=1)
    found = [f"{100 * report.smallest_difference(sd[g], planned):.1f}" for g in TOLD]
    needed = [str(report.units_needed(sd[g], report.matters(g))) for g in TOLD]
    spread = [f"{100 * sd[g]:.1f}" for g in TOLD]
    return [str(len(apart)), *spread, str(planned), *found, *needed]


def tree_of_files() -> str:
    """Every file of the package with the first sentence of its own text."""
    package = ROOT / "ltcl_helpers"
    lines = []
    rooms = sorted(path.parent for path in package.glob("*/__init__.py"))
    for path in [*sorted(package.glob("*.py")), *rooms]:
        inside = [path / "__init__.py"] if path.is_dir() else [path]
        if path.is_dir():
            inside += sorted(file for file in path.glob("*.py") if file.stem != "__init__")
        for file in inside:
            says = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))).splitlines()[0]
            name = f"{path.name}/" if file.stem == "__init__" and path.is_dir() else file.name
            name = f"  {name}" if path.is_dir() and file.stem != "__init__" else name
            lines.append(f"{name:24}{says}")
    body = "\n".join(lines)
    return f"```\n{body}\n```"


# --- what was found: the README's sentences ---------------------------------------------------


def found() -> str:
    """Four findings: headlines, numbers and verdicts, all from rows."""
    parts = [_with_labels(), _without_labels(), _aim_of_boosting(), _memorization()]
    return "\n\n".join(parts)


def _finding(title: str, text: str, head: list[str], body: list[list[str]], more: str = "") -> str:
    parts = [f"### {title}", text, markdown(head, body), more]
    return "\n\n".join(filter(None, parts))


def _with_labels() -> str:
    """What a long tail costs a classifier, and what one term gives back."""
    ((_, _, runs),) = recorded("cifar100-balanced").blocks()
    mean = 100 * runs.groupby(level=0).mean()
    plain = mean.loc["cross-entropy"]
    fate = "are lost" if plain["few"] < plain["many"] / 10 else "fall behind"
    rows = {"cross-entropy": "a classifier", "compensated": "with one more term"}
    groups = ("many", "few")
    body = [
        [label, *(f"{mean.loc[row, group]:.1f}" for group in groups)] for row, label in rows.items()
    ]
    gained = report.paired(runs.xs("compensated"), runs.xs("cross-entropy"))
    changes = [report.interval(gained[group]) for group in groups]
    body.append(["with the term minus without (95 %)", *map(report.ends, changes)])
    text = (
        f"A classifier learns from the labels of CIFAR-100-LT (n = {report.count(changes)}). The "
        "term is the logarithm of the class size, added to its logits while it trains. There is no "
        "balanced partner here: that rarity costs something, only the last line shows."
    )
    head = ["right about, %, on CIFAR-100-LT", *groups]
    return _finding(f"With labels, the few {fate}", text, head, body)


def _without_labels() -> str:
    """What it costs SimCLR, against a balanced partner: on real and on embedded images."""
    ((_, _, real),) = recorded("evidence-cifar10").blocks(shots="100")
    differences = {
        "CIFAR-10-LT": report.paired(real.xs("simclr"), real.xs("balanced")),
        EMBEDDED: report.paired(*tail_and_balanced(**LOGISTIC)),
    }
    intervals = {data: report.interval(apart["few"]) for data, apart in differences.items()}
    corrected = report.holm([few.p_value for few in intervals.values()])
    body, costs = [], []
    for (data, few), p_value in zip(intervals.items(), corrected, strict=True):
        apart = differences[data]
        verdict = report.verdict(few, report.matters("few"))
        asked = (apart["few"], apart["many"], apart["many"] - apart["few"])
        shown = [report.ends(report.interval(each)) for each in asked]
        stays = verdict == BELOW and p_value < 0.05
        said = f"few: {verdict} †" if stays else f"few: {verdict}"
        body.append([data, report.count([few]), *shown, said])
        costs += [data] if stays else []
    if costs:
        title = f"Without labels, a long tail costs the few on {' and on '.join(costs)}"
    else:
        title = "Whether a long tail costs the few without labels is open"
    text = (
        "SimCLR learns from images alone; a linear probe of 100 labelled images of every class "
        "reads what it learnt. Held against balanced sets of equal size, with the order of classes "
        "mirrored, so that hard classes cancel: what do the few lose, and what do the many gain? "
        "†: Holm's correction over the two data sets leaves it."
    )
    head = ["long-tail minus balanced, points (95 %)", "n", "few", "many", "many minus few", ""]
    return _finding(title, text, head, body)


DATA_OF = {"evidence-cifar10": "CIFAR-10-LT", "evidence-shapes": EMBEDDED}
SHORT = {"bcl-i": "BCL-I", "bcl-d": "BCL-D", "oracle": "SimCLR, boosted by an oracle"}


def _aim_of_boosting() -> str:
    """Whether a boosted run, and one that knows the classes, differs from its shuffled control.

    The headline is about the boosted methods, and calls a difference what Holm's correction over
    the comparisons of one data set leaves.
    """
    controls = {"bcl-i": "simclr-shuffled", "bcl-d": "sdclr-shuffled", "oracle": "oracle-shuffled"}
    titles: dict[str, list[str]] = {}
    body, known, changed = [], [], []
    for name, data in DATA_OF.items():
        one = recorded(name)
        ((_, _, runs),) = one.blocks(**LOGISTIC)
        table = report.compare(runs, controls.items(), one.labels)
        table = table[table["group"].isin(TOLD)]
        says = _aim_in_words(table[table["first"] != "oracle"])
        titles.setdefault(says, []).append(f"on {data}")
        for first, part in table.groupby("first", sort=False):
            ends, verdicts = _ends_and_verdicts(part)
            label = f"{SHORT[str(first)]}, {data}"
            body.append([label, str(part["n"].iloc[0]), *ends, verdicts])
        changed += _other_answers_unseen(table, runs, controls, one.labels, name)
        signal = report.last_signal(study.signal(one, last=True), "row")["weighted"]
        beyond = report.interval(report.paired(signal.xs("simclr"), signal.xs("balanced")))
        known.append(f"{report.ends(beyond, 1, 2)} on {data} ({report.count([beyond])})")
    says = "; it ".join(f"{title} {' and '.join(where)}" for title, where in titles.items())
    text = (
        "Each boosted run is held against its control, the same boost with its scores shuffled. An "
        "oracle boosts by the true sizes of the classes: a perfect witness of rarity. n counts "
        "mirrored pairs."
    )
    others = f"these change: {'; '.join(changed)}" if changed else "none changes"
    seen = (
        "Some of these pairs had been seen when their number was chosen. Of the answers without "
        f"them ([docs/evidence.md](docs/evidence.md)) {others}."
    )
    witness = (
        "**What the memory knows there:** how well SimCLR's momentum loss tells the images of the "
        "few from the others. Its AUROC beyond that on the balanced partners, where nothing is "
        f"rare, with the same mixture of classes: {'; '.join(known)}."
    )
    more = "\n\n".join([seen, witness, _doses(), _tried_aims()])
    head = ["boosted minus shuffled, points", "n", *TOLD, "few; all"]
    return _finding(f"In thirty epochs, the aim of boosting {says}", text, head, body, more)


def _ends_and_verdicts(part: pd.DataFrame) -> tuple[list[str], str]:
    """Of one comparison: the interval of each told group, and what they say."""
    cells = part.set_index("group")
    ends = [report.ends(cells.loc[group]) for group in TOLD]
    verdicts = dict.fromkeys(cells.loc[group, "verdict"] for group in TOLD)
    return ends, "; ".join(verdicts)


def _doses() -> str:
    """What boosting gives by its dose, without an aim, and what the memory's aim adds to that."""
    one = recorded("evidence-dose")
    ((_, _, runs),) = one.blocks(**LOGISTIC)
    table = report.compare(runs, one.pairs, one.labels)
    of_row = {
        str(row): [tables.cell(part.set_index("group").loc[group]) for group in TOLD]
        for row, part in table.groupby("first")
    }
    doses = [row.removeprefix("shuffled-") for row in of_row if row.startswith("shuffled-")]
    body = [[dose, *of_row[f"shuffled-{dose}"], *of_row[f"memory-{dose}"]] for dose in doses]
    parts = ("shuffled minus SimCLR", "memory minus shuffled")
    head = ["dose", *(f"{part}, {group}" for part in parts for group in TOLD)]
    text = (
        "**How much boosting, and for whom, are two questions.** A dose is the mean score, 0.5 as "
        f"published. On the embedded data, in {report.count(table)} ([docs/methods.md]"
        "(docs/methods.md)); **bold**: the interval leaves zero out:"
    )
    return f"{text}\n\n{markdown(head, body)}"


def _tried_aims() -> str:
    """Whether an aim that needs no labels beats its shuffled control."""
    one = recorded("evidence-aims")
    ((_, _, runs),) = one.blocks(**LOGISTIC)
    table = report.compare(runs, one.pairs, one.labels)
    table = table[table["second"].str.endswith("shuffled") & table["group"].isin(TOLD)]
    body = []
    for aim, part in table.groupby("first", sort=False):
        ends, verdicts = _ends_and_verdicts(part)
        body.append([str(aim), *ends, verdicts])
    text = (
        "**Two aims that need no labels**, an image's distance to its nearest neighbours and its "
        "loss on fixed views, at the dose that gains most, on seeds that chose nothing "
        f"({report.count(table)}), each minus its own shuffled control:"
    )
    return f"{text}\n\n{markdown(['aim', *TOLD, 'few; all'], body)}"


def _other_answers_unseen(
    table: pd.DataFrame, runs: pd.DataFrame, controls: dict[str, str], labels: Any, name: str
) -> list[str]:
    """Answers that change without the pairs that had been seen before their number was chosen."""
    later = runs[runs.index.get_level_values("seed") >= UNSEEN[name]]
    again = report.compare(later, controls.items(), labels)
    both = table.merge(again, on=["first", "group"], suffixes=("", "_later"))
    both = both[both["verdict"] != both["verdict_later"]]
    said = []
    for _, line in both.iterrows():
        ends = report.ends({end: line[f"{end}_later"] for end in ("mean", "low", "high")})
        which = f"{SHORT[str(line['first'])]}, {DATA_OF[name]}, {line['group']}"
        said.append(f"{which}: {ends}, {line['verdict_later']}")
    return said


def _aim_in_words(compared: pd.DataFrame) -> str:
    if (compared["corrected"] < 0.05).any():
        return "makes a difference"
    if (compared["verdict"] == NONE_THAT_MATTERS).all():
        return "makes no difference that matters"
    return "is not shown to help or harm"


def _memorization() -> str:
    """How much quick runs memorize, whether the few are memorized more, and which samples."""
    kinds = [_Memorized("long-tail"), _Memorized("balanced")]
    more = [one.rise("few") - one.rise("many") for one in kinds]
    said = report.verdict(report.interval(more[0] - more[1]))  # beyond the same classes' balanced
    if said == ABOVE:
        title = "The few are memorized more"
    elif said == BELOW:
        title = "The few are memorized less"
    else:
        title = "A quick run memorizes a little, and the few not clearly more than others"
    last = MOMENTUM.format(EPOCHS[-1])
    lines = {
        "a sample's loss rises by": [
            f"{report.ends(report.interval(one.rise('all')), 1, 3)} of {one.loss.mean():.2f}"
            for one in kinds
        ],
        "few minus many": [report.ends(report.interval(rise), 1, 3) for rise in more],
        "rank correlation with the momentum loss": [
            _correlation(report.rank_correlation(one.truth, one.witnesses()[last])) for one in kinds
        ],
        "of one half of the runs with the other": [
            _correlation(report.rank_correlation(*leave_out.halves(one.loss, one.inside)))
            for one in kinds
        ],
    }
    text = (
        "A sample is memorized as much as its loss rises when training leaves it out. On the "
        f"embedded data, by {len(kinds[0].loss)} runs on parts of one split, and as many of its "
        "balanced partner. The last line says how much these runs know about single samples."
    )
    head = ["memorization (95 %)", "long-tail set", "balanced set"]
    return _finding(title, text, head, [[name, *cells] for name, cells in lines.items()])


def project_times() -> str:
    """Minutes of one quick run, by method, as recorded."""
    kinds = {
        "SimCLR, embedded data": "shapes-simclr/long-tail-[0-9]*",
        "BCL-I, embedded data": "shapes-methods/bcl-i-[0-9]*",
        "SDCLR, embedded data": "shapes-methods/sdclr-[0-9]",
        "BCL-D, embedded data": "shapes-methods/bcl-d-[0-9]*",
        "SimCLR, CIFAR-100-LT": "cifar100-quick/simclr-[0-9]*",
    }
    rows = []
    for name, pattern in kinds.items():
        folders = sorted(RESULTS.glob(pattern))
        spent = [files.read_parquet(f / "history.parquet")["seconds"].sum() / 60 for f in folders]
        machine = files.read_json(folders[0] / "DONE.json")["machines"][-1]
        about = f"{machine['device']}, threads: {machine['threads']}, {machine['precision']}"
        rows.append([name, str(len(spent)), f"{np.median(spent):.1f}", about])
    return markdown(["a quick run", "n", "minutes, median", "machine"], rows)


# --- released encoders: docs/weights.md ---------------------------------------------------------


def released_table() -> str:
    """The card of every released encoder: what it is, what made it, the rows it gives."""
    body = []
    for folder in finished(WEIGHTS):
        run = Run.load(folder)
        rows = probe.read_rows(folder, run.done)
        rows = rows[(rows["shots"] == "100") & (rows["features"] == "encoder")]
        means = rows.groupby("group")["accuracy"].mean()
        accuracies = [f"{100 * means[group]:.1f}" for group in ("many", "medium", "few", "all")]
        size = (folder / "encoder.safetensors").stat().st_size / 1e6
        about = [run.config.label, rows["protocol"].iloc[0], *accuracies, _recorded_twin(run, rows)]
        made = [run.config.digest()[:12], run.done["git_commit"][:7], f"{size:.1f}"]
        body.append([f"`{folder.name}`", *about, *made])
    groups = ["many", "medium", "few", "all", "all, recorded run"]
    head = ["name", "method", "probe", *groups, "configuration", "commit", "MB"]
    cautions = sorted({read_config(folder).caution for folder in finished(WEIGHTS)})
    return f"{markdown(head, body)}\n\n{tables.bullets(cautions)}"


def _recorded_twin(run: Run, rows: pd.DataFrame) -> str:
    """Overall accuracy of the recorded run of the same configuration, probed in the same way."""
    protocol = rows["protocol"].iloc[0]
    for path in sorted(RESULTS.glob("*/*-0/config.json")):  # released are runs of seed 0
        folder = path.parent
        if read_config(folder).differences(run.config, elsewhere=True):
            continue
        found = probe.read_rows(folder, read_done(folder))
        asked = (found["shots"] == "100") & (found["protocol"] == protocol)
        accuracies = found[asked & (found["group"] == "all")]["accuracy"]
        if len(accuracies):
            return f"{100 * accuracies.mean():.1f}"
    return ""


def near_table() -> str:
    """How many test images are answered otherwise where rounding differs."""
    facts = files.read_json(RESULTS / "weights-near.json")
    body = []
    for each in facts["found"]:
        told = ", ".join(f"{name}={value}" for name, value in each["told"].items())
        pairs = np.concatenate([np.array(rows) for rows in each["rows"].values()])  # [lists, 2]
        moved = np.abs(pairs[:, 0] - pairs[:, 1]) * facts["images"]
        body.append([f"`{told}`", str(len(moved)), f"{moved.mean():.1f}", f"{moved.max():.0f}"])
    head = ["told", "probes", f"test images of {facts['images']} apart: mean", "most"]
    return f"{markdown(head, body)}\n\nRows: `data/results/weights-near.json`."


# --- large images: docs/scale.md ----------------------------------------------------------------

SETS = {  # images in the training part
    "ImageNet-100-LT": 12_205, "ImageNet-LT": 115_846, "iNaturalist 2018": 437_513,
    "ImageNet": 1_281_167,
}  # fmt: skip
PIXELS = 3 * 224 * 224  # bytes of an image in memory
PHOTO = 37_000  # bytes of a photograph's JPEG whose short side is 256 pixels
WANTED = 1_400  # images of two views a second: assumed of a GPU, not measured


def fits_table() -> str:
    """Sizes of known data sets, by arithmetic, and the time that the measured reader takes."""
    ms = _loader_ms()["pack, two crops, 1 threads"]
    body = []
    for name, images in SETS.items():
        sizes = [_gigabytes(images * each) for each in (PIXELS, PHOTO)]
        minutes = images * ms / 1000 / 60
        body.append([name, f"{images:,}", *sizes, f"{minutes:,.0f} min"])
    head = ["set", "images", "in memory @224", "as a pack", "an epoch's decoding, one core"]
    note = (
        f"Sizes are arithmetic ({PIXELS:,} bytes an image; {PHOTO:,} a JPEG of 256 pixels); the "
        f"time is {ms:.1f} CPU ms an image, measured below. A GPU that took {WANTED:,} images a "
        f"second (assumed, not measured) would want {np.ceil(WANTED * ms / 1000):.0f} cores."
    )
    return f"{markdown(head, body)}\n\n{note}"


def _gigabytes(size: int) -> str:
    """Two digits, or whole gigabytes."""
    gigabytes = size / 1e9
    return f"{gigabytes:.0f} GB" if gigabytes >= 10 else f"{gigabytes:.2g} GB"


def _loader_ms() -> dict[str, float]:
    """Median CPU ms per image of each way."""
    times = files.read_json(RESULTS / "scale-loader.json")["CPU ms per image"]
    return {name: float(np.median(each)) for name, each in times.items()}


def scale_table() -> str:
    """CPU seconds and peak memory of the commands on a pack."""
    facts = files.read_json(RESULTS / "scale.json")
    images = facts["images"]
    words = {
        "pack": "`ltcl data pack`: every image decoded once",
        "knn": "`ltcl probe --protocol knn --shots full`: features of all images, 32 pixels",
        "linear": "`ltcl probe --protocol logistic --shots full`: features, a classifier of all",
        "explore": "`ltcl explore`: a page with thumbnails and a map",
    }
    body = []
    for name, cost in facts["commands"].items():
        what = words.get(name, f"`ltcl run`: an epoch of {name}")
        body.append([what, f"{cost['CPU seconds']:.0f}", f"{cost['peak GiB']:.2f}"])
    head = [f"{images:,} images", "CPU seconds, start included", "peak GiB"]
    return f"{markdown(head, body)}\n\n{_machine_of(facts)} Rows: `data/results/scale.json`."


def _machine_of(facts: dict) -> str:
    versions = facts["versions"]
    return f"{facts['machine']}; torch {versions['torch']}; commit {facts['git_commit'][:7]}."


def resnet50_table() -> str:
    """An update of a ResNet-50 at 224 pixels beside the bare network of torchvision."""
    facts = files.read_json(RESULTS / "scale-resnet50.json")
    found = facts["resnet50"]
    names = {
        "theirs": "torchvision's ResNet-50 alone: forward, backward, update",
        "ours": "SimCLR, `paper-imagenet`: decoding, views, network, loss, memory, update",
    }
    base = np.median([each["CPU seconds"] for each in found["theirs"]])
    body = []
    for name, words in names.items():
        seconds = np.array([each["CPU seconds"] for each in found[name]])
        gib = max(each["peak GiB"] for each in found[name])
        shown = f"{np.median(seconds):.1f} ({seconds.min():.1f} to {seconds.max():.1f})"
        body.append([words, shown, f"{np.median(seconds) / base:.2f}", f"{gib:.2f}"])
    head = [
        f"{facts['crops']} crops of 224 pixels, float32",
        "CPU seconds an update",
        "times",
        "peak GiB",
    ]
    rows = "Rows: `data/results/scale-resnet50.json`."
    return f"{markdown(head, body)}\n\n{_machine_of(facts)} {rows}"


def loader_table() -> str:
    """Crops out of a pack beside a DataLoader with PIL."""
    result = files.read_json(RESULTS / "scale-loader.json")
    return f"{bench_loader.table(result)}\n\nRows: `data/results/scale-loader.json`."


TABLES = {
    "released": released_table, "released-near": near_table,
    "scale-fits": fits_table, "scale": scale_table, "scale-resnet50": resnet50_table,
    "scale-loader": loader_table,
    "project-times": project_times,
    "found": found,
    "cells": reproduction.count_of_cells,
    "tree": tree_of_files, "power": power_table, "answers": answers_table,
    "planned-answers": planned_answers,
    "unseen-answers": unseen_answers, "first-pairs": first_pairs,
    "planned-power": planned_power, "spent": spent_table,
    "leave-out": leave_out_table, "aims": aims_table,
    "published-code": published_code_table, "beside-published-code": beside_published_code,
    "any-processor": processors_table, "faults": faults_table, "page-costs": page_costs,
    "all-cifar100": all_cifar100, "evidence-cifar10": cifar10_table,
    "shapes": shapes_table,
    "evidence-shapes": methods_table, "evidence-noise": noise_table, "evidence-dose": dose_table,
    "evidence-aims": tried_aims_table,
    "evidence-decay": decay_table,
    "shapes-methods": further_controls_table,
    "bench-cpu": bench_cpu, "cifar10-length": length_table,
    "shapes-precision": precision_table, "shapes-moco": moco_table,
    "shapes-moco-lr": moco_rate_table, "cifar100-moco": moco_cifar100_table,
    "evidence-balanced": balanced_table, "shapes-balanced": averages_table,
    "cifar100-balanced": balanced_cifar100_table,
    "bench-batch": batch_table, "reproduction": reproduction.reproduction_table,
}  # fmt: skip


# --- figures --------------------------------------------------------------------------------


def draw_figures() -> None:
    """All figures of README, docs and lessons."""
    drawing = "ltcl_helpers/data/shapes.py"
    code = {drawing: files.sha256(ROOT / drawing)}
    labels, names = np.repeat(np.arange(12), 12), shapes.CLASS_NAMES
    images = shapes.draw_images(labels, np.tile(np.arange(12), 12))
    plots.save(plots.image_grid(images, 12, names), FIGURES / "shapes.png", code)

    some = torch.from_numpy(images[::13])
    views = [simclr_view(some, torch.Generator().manual_seed(s)) for s in range(7)]
    grid = torch.cat([some[:, None].float() / 255, torch.stack(views, 1)], 1).flatten(0, 1)
    picture = plots.image_grid(grid.numpy(), 8, [names[c] for c in labels[::13]])
    plots.save(picture, FIGURES / "views.png", code)

    drawn_by = "ltcl_helpers/report/drawings.py"
    for name, draw in drawings.DRAWINGS.items():
        made = {drawn_by: files.sha256(ROOT / drawn_by)}
        plots.save(draw(), FIGURES / f"{name}.png", made)

    ax = plots.class_sizes(np.array(splits.class_sizes(450, 100, 100)))
    plots.save(ax.figure, FIGURES / "class_sizes.png", {"splits.class_sizes(450, 100, 100)": ""})
    long_tail_effect()
    one = recorded("cifar10-length")
    lengths = {int(p["epochs"].iloc[0]): runs for _, p, runs in one.blocks(shots="100")}
    figure = plots.length_curves(lengths, one.labels, "simclr")
    save_with_rows(figure, "training_length", "cifar10-length/*")
    paired_differences("cifar100-quick", "cifar100-quick/*")
    paired_differences("evidence-cifar10", "evidence-cifar10/*", "cifar10-length/*")
    paired_differences("evidence-shapes", "evidence-shapes/*", protocol="logistic")


def paired_differences(name: str, *places: str, **only: str) -> None:
    """The 100-shot differences of a study's pairs, run by run."""
    one = recorded(name)
    ((_, _, runs),) = one.blocks(shots="100", **only)
    figure = plots.paired_strips(runs, one.pairs, one.labels)
    save_with_rows(figure, name.replace("-", "_"), *places)


def long_tail_effect() -> None:
    """Accuracy by group, long-tail against balanced pre-training, and the paired differences."""
    ((_, _, runs),) = title_question().blocks(**LOGISTIC)
    labels = {"balanced": "balanced set", "simclr": "long-tail set"}
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained")
    plots.group_strips(runs, labels, splits.GROUPS, left)
    left.set(xlabel="100-shot accuracy, %")
    apart = report.paired(*tail_and_balanced(**LOGISTIC))[list(splits.GROUPS)]
    tidy = (100 * apart).rename_axis(columns="group").stack().rename("points").reset_index()
    style = dict(x="group", y="points", hue="group", palette=plots.COLOURS, ax=right)
    sns.stripplot(tidy, **style, jitter=False, alpha=0.7, order=splits.GROUPS)
    for k, group in enumerate(splits.GROUPS):
        found = report.interval(apart[group])
        look = dict(color=plots.COLOURS[group], marker=plots.MARKERS[group], capsize=3)
        right.errorbar(k + 0.25, 100 * found.mean, 100 * found.reach, **look)
    right.axhline(0, color="black", lw=0.8)
    title = f"{len(apart)} seeds in {found.n} mirrored pairs; bars: 95 % interval"
    right.set(xlabel="", ylabel="long-tail minus balanced, points", title=title)
    shown_runs = (f"evidence-shapes/{row}-*" for row in ("untrained", "simclr", "balanced"))
    save_with_rows(figure, "long_tail_effect", *shown_runs)


def save_with_rows(figure: plt.Figure, name: str, *places: str) -> None:
    """A figure beside the names and sha256 of the rows it shows."""
    rows = {
        path.relative_to(ROOT).as_posix(): files.sha256(path)
        for place in places
        for path in sorted(RESULTS.glob(f"{place}/probe.parquet"))
    }
    plots.save(figure, FIGURES / f"{name}.png", rows)


if __name__ == "__main__":
    FIGURES.mkdir(exist_ok=True)
    for page in PAGES:
        before = page.read_text()
        after = report.regenerate(before, TABLES)
        if after != before:
            files.write_bytes(page, after.encode())
    draw_figures()
