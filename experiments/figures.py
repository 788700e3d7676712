"""Make every figure, and every generated table of README and docs, from the recorded rows.

    make figures

A figure is a PNG in figures/ with a .json beside it that names its rows and their sha256. A test
makes the tables again and compares.
"""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from scipy import stats

from ltcl_helpers import augment, bench, plots, report, reproduction, shapes, splits, store
from ltcl_helpers.config import QUICK_DIFFERENCES
from ltcl_helpers.report import RESULTS, SHOWN, markdown, spread

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FIGURES = ROOT / "figures"


def about(rows: pd.DataFrame, *studies: str) -> str:
    """What every table must say: n, device, versions, where the rows are."""
    machines = "; ".join(sorted(set(rows["machine"] + ", torch " + rows["torch"])))
    folders = " and ".join(f"`data/results/{study}`" for study in studies)
    return f"Machine: {machines}. Rows: {folders}."


LABELS = {
    "untrained": "untrained encoder", "simclr": "SimCLR", "sdclr": "SDCLR", "bcl-i": "BCL-I",
    "bcl-d": "BCL-D", "simclr-constant": "SimCLR, boost constant (control)",
    "simclr-shuffled": "SimCLR, boost shuffled (control)",
    "simclr-inverted": "SimCLR, boost inverted (control)",
    "sdclr-constant": "SDCLR, boost constant (control)",
    "sdclr-shuffled": "SDCLR, boost shuffled (control)",
    "sdclr-inverted": "SDCLR, boost inverted (control)",
    "sdclr-5e-4": "SDCLR, weight decay of SimCLR (control)",
}  # fmt: skip
PAIRS = [  # what is compared, seed by seed; a boosted method always with its shuffled control
    ("sdclr", "simclr"), ("sdclr-5e-4", "simclr"), ("bcl-i", "simclr"),
    ("simclr-shuffled", "simclr"),
    ("bcl-i", "simclr-shuffled"), ("bcl-i", "simclr-constant"), ("bcl-i", "simclr-inverted"),
    ("bcl-d", "sdclr"), ("sdclr-shuffled", "sdclr"), ("bcl-d", "sdclr-shuffled"),
    ("bcl-d", "sdclr-constant"), ("bcl-d", "sdclr-inverted"),
]  # fmt: skip


def by_run(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracies over the lists: one row per (name, seed, shots), one column per group.

    A boosted method is left out until its shuffled control is there.
    """
    name, seed = (rows["run"].str.rsplit("-", n=1).str[k] for k in (0, 1))
    keys = [name.rename("name"), seed.astype(int).rename("seed"), "shots", "group"]
    return report.controlled(rows.groupby(keys, sort=False)["accuracy"].mean().unstack())


def methods_body(runs: pd.DataFrame) -> list[list[str]]:
    """Lines of a table: each method and shots, its n runs, mean and sd of each group."""
    body = []
    for name in (name for name in LABELS if name in runs.index.unique("name")):
        for shots, part in runs.xs(name).groupby(level="shots", sort=False):
            body.append([LABELS[name], shots, str(len(part)), *(spread(part[g]) for g in SHOWN)])
    return body


def reach(values: pd.Series) -> float:
    """Half of the 95 % interval of a mean (Student's t)."""
    return stats.t.ppf(0.975, len(values) - 1) * values.sem()


def paired_table(runs: pd.DataFrame, shots: str = "100") -> str:
    """Differences seed by seed, and a sentence that says which exceed their spread."""
    body, larger, within = [], [], []
    runs = runs.xs(shots, level="shots")
    found = runs.index.unique("name")
    for first, second in (pair for pair in PAIRS if set(pair) <= set(found)):
        difference = (runs.xs(first) - runs.xs(second)).dropna()
        cells = [spread(difference[g]) for g in ("many", "few", "all")]
        name = f"{LABELS[first]} minus {LABELS[second]}"
        body.append([name, str(len(difference)), *cells, each(difference["all"])])
        if len(difference) > 1:
            values = difference["all"]
            clear = abs(values.mean()) > reach(values)
            (larger if clear else within).append(f"{name} ({spread(values)})")
    if not body:
        return ""
    reading = "One seed each: there is no spread to compare with."
    if larger + within:
        reading = (
            f"In all classes together, the mean is told from zero (95 % interval, Student's t) "
            f"for: {'; '.join(larger) or 'none'}. It is not for: {'; '.join(within) or 'none'}."
        )
    head = [f"paired differences, {shots}-shot", "n", "many", "few", "all", "all, each seed"]
    return f"{markdown(head, body)}\n\n{reading}\n\n"


def quick_cifar100() -> str:
    """Methods and controls on real images, beside an untrained encoder."""
    rows = report.load_rows("cifar100-quick")
    runs = by_run(rows)
    table = markdown(["features", "shots", "n", *SHOWN], methods_body(runs))
    epochs = f"{rows['epochs'].max()} epochs"
    sources = " and ".join(sorted(set(rows["list_source"])))
    note = (
        f"Accuracy in percent after {epochs}, mean ± sd over n runs that differ in their seed; "
        f"100-shot and 50-shot are means over five lists ({sources}); std is the balancedness. "
        f"This is a {QUICK_DIFFERENCES}. {about(rows, 'cifar100-quick')}"
    )
    return f"{table}\n\n{paired_table(runs)}{note}"


def with_plain_runs(study: str, name: str) -> pd.DataFrame:
    """Rows of a study on shapes, and as `name` the long-tail SimCLR runs of the same seeds."""
    rows, plain = report.load_rows(study), report.load_rows("shapes-simclr")
    plain = plain[plain["run"].str.startswith("long-tail-")]
    plain = plain.assign(run=plain["run"].str.replace("long-tail", name))
    rows = pd.concat([plain[plain["seed"].isin(rows["seed"].unique())], rows])
    return rows[rows["protocol"] == "logistic"]


def precision_table() -> str:
    """Do bf16 and float32 runs of the same seeds end at the same accuracy?"""
    rows = with_plain_runs("shapes-precision", "bf16")
    runs = by_run(rows).xs("100", level="shots")
    parts = {name: runs.xs(name) for name in ("float32", "bf16")}
    parts["bf16 minus float32"] = parts["bf16"] - parts["float32"]
    body = [[n, *(spread(t[g]) for g in SHOWN), each(t["all"])] for n, t in parts.items()]
    head = ["SimCLR, long-tail set", *SHOWN, "all, each seed"]
    apart = parts["bf16 minus float32"]["all"]
    low, high = 100 * (apart.mean() + reach(apart) * np.array([-1, 1]))
    note = (
        f"Accuracy in percent, 100-shot, mean ± sd over {len(apart)} seeds. The 95 % interval of "
        f"the mean difference in all classes (Student's t) is {low:+.1f} to {high:+.1f} points."
    )
    return f"{markdown(head, body)}\n\n{note} {about(rows, 'shapes-precision', 'shapes-simclr')}"


def methods_table() -> str:
    """Methods and controls on the embedded data."""
    rows = with_plain_runs("shapes-methods", "simclr")
    runs = by_run(rows)
    folders = sorted((RESULTS / "shapes-methods").glob("*/"))
    auroc = pd.Series({folder.name: report.group_auroc(folder) for folder in folders})
    for seed in sorted(rows["seed"].unique()):
        folder = RESULTS / "shapes-simclr" / f"long-tail-{seed}"
        auroc[f"simclr-{seed}"] = report.group_auroc(folder)
    auroc = auroc.groupby(auroc.index.str.rsplit("-", n=1).str[0])
    seen = [name for name in LABELS if name in auroc.groups]
    signal = [[LABELS[n], spread(auroc.get_group(n), 1, 3)] for n in seen]
    note = (
        f'Accuracy in percent, protocol "logistic", mean ± sd over n seeds in mirrored pairs. '
        f"{QUICK_DIFFERENCES[0].upper()}{QUICK_DIFFERENCES[1:]}. "
        f"{about(rows, 'shapes-methods', 'shapes-simclr')}"
    )
    table = markdown(["features", "shots", "n", *SHOWN], methods_body(runs))
    second = markdown(["AUROC of the momentum loss for few", "mean ± sd"], signal)
    return f"{table}\n\n{paired_table(runs)}{second}\n\n{note}"


def length_runs() -> tuple[pd.DataFrame, dict[int, pd.DataFrame]]:
    """Rows of the training-length study, and their 100-shot `by_run` by number of epochs."""
    rows = report.load_rows("cifar10-length")
    plain = rows.assign(run=rows["run"].str.split("-", n=1).str[1])  # without the epochs
    plain = plain[plain["shots"] == "100"]
    return rows, {int(epochs): by_run(part) for epochs, part in plain.groupby("epochs")}


def length_table() -> str:
    """Does the order of methods come with training length? Real CIFAR-10-LT, quick network."""
    rows, lengths = length_runs()
    body, answers = [], []
    for epochs, runs in lengths.items():
        body += [[str(epochs), name, *cells] for name, _, *cells in methods_body(runs)]
        answers.append(f"{epochs} epochs:\n\n{paired_table(runs)}".strip())
    note = (
        f'Accuracy in percent, 100-shot, protocol "logistic", mean ± sd over n seeds in mirrored '
        f"pairs; std is the balancedness. Every length is a run with a schedule of its own. But "
        f"for its length each is a {QUICK_DIFFERENCES}. "
        f"{about(rows, 'cifar10-length')}"
    )
    return "\n\n".join([markdown(["epochs", "features", "n", *SHOWN], body), *answers, note])


def length_figure() -> None:
    """Accuracy and paired differences of the methods against the length of training."""
    _, lengths = length_runs()
    names = [n for n in LABELS if any(n in runs.index.unique("name") for runs in lengths.values())]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    for k, name in enumerate(names):
        found = {e: runs.xs(name)["all"] for e, runs in lengths.items() if name in runs.index}
        style = dict(color=f"C{k}", marker="o", ls="--" if "control" in LABELS[name] else "-")
        means = [100 * part.mean() for part in found.values()]
        left.plot(list(found), means, label=LABELS[name], **style)
        if name != "simclr":
            apart = {
                e: 100 * (p - lengths[e].xs("simclr")["all"]).dropna() for e, p in found.items()
            }
            right.plot(list(apart), [part.mean() for part in apart.values()], **style)
            for epochs, part in apart.items():
                right.plot([epochs] * len(part), part, ".", color=f"C{k}", alpha=0.5)
    right.axhline(0, color="black", lw=0.8)
    for ax in (left, right):
        ax.set(xscale="log", xlabel="epochs of the run")
        ax.set_xticks(list(lengths), list(lengths))
        ax.minorticks_off()
    left.set(ylabel="100-shot accuracy, %")
    right.set(ylabel="minus SimCLR of the same seed, points")
    left.legend(fontsize=7)
    figure.tight_layout()
    save_with_rows(figure, "training_length", "cifar10-length")


def shapes_pairs(protocol: str = "logistic", shots: str = "100") -> dict[str, pd.DataFrame]:
    """Per seed and group, the accuracies of each kind of features.

    1,200 labelled images are two batches of the "bcl" probe, whose 1,000 updates do not converge;
    "logistic" does.
    """
    rows = report.load_rows("shapes-simclr")
    rows = rows[(rows["shots"] == shots) & (rows["protocol"] == protocol)]
    mean = rows.groupby(["run", "method", "group"])["accuracy"].mean().unstack()
    kinds = {
        "raw pixels": ("untrained", "pixels"),
        "untrained encoder": ("untrained", "simclr"),
        "SimCLR, balanced set": ("balanced", "simclr"),
        "SimCLR, long-tail set": ("long-tail", "simclr"),
    }
    found = {}
    for name, (kind, method) in kinds.items():
        part = mean[mean.index.get_level_values("method") == method].droplevel("method")
        found[name] = part[part.index.str.startswith(f"{kind}-")].reset_index(drop=True)
    return found


def shapes_table() -> str:
    """What a quick run shows on the embedded data, and what it does not."""
    kinds = shapes_pairs()
    tail, flat = kinds["SimCLR, long-tail set"], kinds["SimCLR, balanced set"]
    body = [[n, *(spread(t[g]) for g in SHOWN), each(t["all"])] for n, t in kinds.items()]
    paired = tail - flat
    body.append(
        ["long-tail minus balanced", *(spread(paired[g]) for g in SHOWN), each(paired["all"])]
    )
    gap, blank = paired["many"] - paired["few"], ["", "", "", ""]
    body.append(["paired many-few gap", *blank, spread(gap), each(gap)])
    for protocol, shots in (("logistic", "50"), ("bcl", "100"), ("bcl", "50")):
        other = shapes_pairs(protocol, shots)
        other = other["SimCLR, long-tail set"] - other["SimCLR, balanced set"]
        other = other["many"] - other["few"]
        name = f'the same, {shots}-shot, protocol "{protocol}"'
        body.append([name, *blank, spread(other), each(other)])
    raw = tail["many"] - tail["few"]
    body.append(["many-few gap of the long-tail runs alone", *blank, spread(raw), each(raw)])
    auroc = {}
    for kind in ("long-tail", "balanced"):
        folders = sorted((RESULTS / "shapes-simclr").glob(f"{kind}-*"))
        auroc[kind] = np.array([report.group_auroc(folder) for folder in folders])
    for name, values in (
        ("AUROC of the momentum loss for few, long-tail set", auroc["long-tail"]),
        ("the same in the balanced control", auroc["balanced"]),
        ("AUROC, long-tail minus balanced", auroc["long-tail"] - auroc["balanced"]),
    ):
        body.append([name, *blank, spread(values, 1, 3), each(values, 1, 3)])
    rows = report.load_rows("shapes-simclr")
    count = {"n": len(tail), "gap": int((gap > 0).sum()), "all": int((paired["all"] < 0).sum())}
    above = int((auroc["long-tail"] > auroc["balanced"]).sum())
    reading = (
        f"Shown: the paired many-few gap is positive in {count['gap']} of {count['n']} seeds; the "
        f"AUROC is above its control in {above} of {count['n']}. Not shown: a loss of overall "
        f"accuracy on the long tail (lower in {count['all']} of {count['n']} seeds); the raw "
        f"many-few gap of one run, which class difficulty alone moves by as much. Chance is "
        f'{spread([1 / 12])} %. Protocol "logistic" unless named.'
    )
    head = ["features", *SHOWN, "all, or the value, of seeds 0 to 5"]
    note = f"{QUICK_DIFFERENCES[0].upper()}{QUICK_DIFFERENCES[1:]}. {about(rows, 'shapes-simclr')}"
    return "\n\n".join([markdown(head, body), reading, note])


def each(values: pd.Series | np.ndarray, scale: float = 100, digits: int = 1) -> str:
    """The value of every run."""
    return ", ".join(f"{scale * v:.{digits}f}" for v in values)


def bench_cpu() -> str:
    """Seconds per epoch against the published recipe's shape, one table for each recorded call."""
    paths = sorted(RESULTS.glob("bench-cpu*.json"))
    return "\n\n".join(
        f"{bench.table(store.read_json(path))}\n\nRows: `data/results/{path.name}`."
        for path in paths
    )


TABLES = {
    "quick-cifar100": quick_cifar100, "shapes": shapes_table, "shapes-methods": methods_table,
    "bench-cpu": bench_cpu, "cifar10-length": length_table,
    "shapes-precision": precision_table, "reproduction": reproduction.reproduction_table,
}  # fmt: skip


def draw_figures() -> None:
    """All figures of README, docs and lessons."""
    code = {"ltcl_helpers/shapes.py": store.sha256(ROOT / "ltcl_helpers" / "shapes.py")}
    labels, names = np.repeat(np.arange(12), 12), shapes.CLASS_NAMES
    images = shapes.draw_images(labels, np.tile(np.arange(12), 12))
    plots.save(plots.image_grid(images, 12, names), FIGURES / "shapes.png", code)

    some = torch.from_numpy(images[::13])
    views = [augment.simclr_view(some, torch.Generator().manual_seed(s)) for s in range(7)]
    grid = torch.cat([some[:, None].float() / 255, torch.stack(views, 1)], 1).flatten(0, 1)
    picture = plots.image_grid(grid.numpy(), 8, [names[c] for c in labels[::13]])
    plots.save(picture, FIGURES / "views.png", code)

    ax = plots.class_sizes(np.array(splits.class_sizes(450, 100, 100)))
    plots.save(ax.figure, FIGURES / "class_sizes.png", {"splits.class_sizes(450, 100, 100)": ""})
    long_tail_effect()
    if (RESULTS / "cifar10-length").is_dir():
        length_figure()


def long_tail_effect() -> None:
    """Accuracy by group, long-tail against balanced pre-training, and the paired differences."""
    kinds = shapes_pairs()
    tail, flat = kinds["SimCLR, long-tail set"], kinds["SimCLR, balanced set"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), width_ratios=(3, 2))
    means = {"balanced set": flat.mean(), "long-tail set": tail.mean()}
    plots.group_bars(means, left)
    left.set(ylabel="100-shot accuracy, %", ylim=(0, 100))
    for i, group in enumerate(splits.GROUPS):
        paired = 100 * (tail[group] - flat[group])
        jitter = np.linspace(-0.15, 0.15, len(paired))
        right.plot(i + jitter, paired, plots.MARKERS[group], color=plots.COLOURS[group], ms=6)
        right.hlines(paired.mean(), i - 0.3, i + 0.3, color=plots.COLOURS[group])
    right.axhline(0, color="black", lw=0.8)
    right.set_xticks(range(3), splits.GROUPS)
    right.set(ylabel="long-tail minus balanced, points", title=f"{len(tail)} seeds, quick runs")
    figure.tight_layout()
    save_with_rows(figure, "long_tail_effect", "shapes-simclr")


def save_with_rows(figure: plt.Figure, name: str, study: str) -> None:
    """A figure beside the names and sha256 of the rows it shows."""
    rows = {
        f"data/results/{study}/{path.parent.name}/probe.parquet": store.sha256(path)
        for path in sorted((RESULTS / study).glob("*/probe.parquet"))
    }
    plots.save(figure, FIGURES / f"{name}.png", rows)


if __name__ == "__main__":
    FIGURES.mkdir(exist_ok=True)
    for page in PAGES:
        before = page.read_text()
        after = report.regenerate(before, TABLES)
        if after != before:
            store.write_bytes(page, after.encode())
    draw_figures()
