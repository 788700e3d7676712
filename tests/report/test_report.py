"""Rows and their statistics: pairs, intervals, verdicts, published numbers beside them, a page."""

import dataclasses
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from ltcl_helpers import exercises, files, paths, pretrain, probe, report, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.paths import DATA
from ltcl_helpers.report import page, plots, study, tables

GRIDS = DATA.parent / "experiments"
PATIENCE = 600_000  # milliseconds until a browser that hangs is given up
CHROMIUM = next((p for p in map(Path, ["/usr/bin/chromium", "/usr/bin/chromium-browser"])
                 if p.exists()), None)  # fmt: skip


def runs_of(values, mirrored=True):
    """Accuracies by run, seed by seed; in mirrored pairs as the grids draw them."""
    seeds = range(len(values))
    where = [(str(s // 2), s % 2 == 1, s) if mirrored else ("0", False, s) for s in seeds]
    return pd.Series(values, pd.MultiIndex.from_tuples(where, names=report.WHO), dtype=float)


# --- rows -----------------------------------------------------------------------------------


def test_rows_carry_their_runs_whole_configuration():
    rows = report.load_rows("cifar10-length")
    assert set(RunConfig.model_fields) - {"options"} <= set(rows.columns)
    for folder, part in rows.groupby("folder"):
        config = RunConfig(**json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")))
        shown = ["name", "label", "weight_decay", "boost", "epochs", "seed"]
        (line,) = part[shown].drop_duplicates().to_dict("records")
        assert line["name"] == config.name and line["label"] == config.label
        assert line["weight_decay"] == config.weight_decay and line["boost"] == config.boost
        assert set(part["control"].dropna()) == ({config.control} if config.control else set())
    assert set(rows["name"]) == {"simclr", "sdclr", "bcl-i", "bcl-d", "simclr-shuffled",
                                 "sdclr-shuffled", "sdclr-5e-4"}  # fmt: skip


def test_a_folders_name_says_nothing(tmp_path):
    original = DATA / "results" / "shapes-methods" / "bcl-d-1"
    (tmp_path / "simclr-0").symlink_to(original)
    ours, theirs = report.load_rows([tmp_path / "simclr-0"]), report.load_rows([original])
    assert set(ours["name"]) == {"bcl-d"} and set(ours["seed"]) == {1}
    places = ["run", "folder"]
    pd.testing.assert_frame_equal(ours.drop(columns=places), theirs.drop(columns=places))


def test_a_probe_keeps_the_accuracy_of_every_class(tmp_path):
    run = pretrain.pretrain(RunConfig(preset="tiny", device="cpu"), tmp_path / "run")
    probed = probe.probe_run(run.folder, ("10",), protocol="logistic")
    probe.save_probe(run.folder, probed)
    rows = report.load_rows([run.folder])
    by_list = rows[rows["group"].str.fullmatch(r"class \d+")].groupby("list")["accuracy"]
    assert set(by_list.size()) == {12}
    whole = rows[rows["group"] == "all"].set_index("list")["accuracy"]
    pd.testing.assert_series_equal(by_list.mean().sort_index(), whole.sort_index())
    few = np.argsort(run.group_counts.numpy(), kind="stable")[:4]
    names = [f"class {c}" for c in few]
    mean = rows[rows["group"].isin(names)].groupby("list")["accuracy"].mean()
    listed = rows[rows["group"] == "few"].set_index("list")["accuracy"]
    pd.testing.assert_series_equal(mean.sort_index(), listed.sort_index())


def test_features_are_told_by_a_column():
    rows = report.load_rows("shapes-simclr", shots="100")
    assert set(rows["features"]) == {"encoder", "pixels"}
    assert set(rows.loc[rows["features"] == "pixels", "label"]) == {"raw pixels"}
    assert set(rows.loc[rows["features"] == "pixels", "method"]) == {"simclr"}


def test_rows_of_another_test_set_are_left_out_and_times_are_medians(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(DATA / "results" / "shapes-methods" / "bcl-i-0", folder)
    rows = files.read_parquet(folder / "probe.parquet")
    rows = rows.assign(test=rows["data"])
    both = pd.concat([rows, rows.assign(test="cifar10")])
    runs.add_file(folder, "probe.parquet", files.parquet_bytes(both))
    found = report.load_rows(folder)
    assert len(found) == len(rows) and set(found["test"]) == {"shapes"}
    seconds = sorted(files.read_parquet(folder / "history.parquet")["seconds"])
    assert set(found["seconds"]) == {(seconds[14] + seconds[15]) / 2} and len(seconds) == 30


def test_rows_that_are_not_there_say_so(tmp_path):
    with pytest.raises(ConfigError, match="is no finished run"):
        report.load_rows(tmp_path)
    with pytest.raises(ConfigError, match="no probe row with .*shots"):
        report.load_rows("shapes-methods", shots="7")


def test_a_line_never_mixes_runs_shots_or_protocols():
    with pytest.raises(ConfigError, match="several of shots: 100, 50"):
        report.by_run(report.load_rows("shapes-methods"))
    with pytest.raises(ConfigError, match="several of folder"):
        report.by_run(report.load_rows("shapes-simclr", shots="100", protocol="logistic"))
    with pytest.raises(ConfigError, match="several of folder"):
        report.by_run(report.load_rows("cifar10-length", shots="100"))


def test_by_run_is_the_mean_over_the_lists():
    rows = report.load_rows("cifar100-quick", shots="100")
    here = rows[(rows["name"] == "bcl-i") & (rows["seed"] == 2) & (rows["group"] == "few")]
    assert here["list"].nunique() == len(here) == 5
    found = report.by_run(rows).loc[("bcl-i", "cifar100_split1_D_i", False, 2), "few"]
    assert found == pytest.approx(sum(here["accuracy"]) / 5)


def test_no_boosted_row_without_its_shuffled_control():
    rows = report.load_rows("shapes-methods", shots="100")
    without = rows[rows["name"] != "sdclr-shuffled"]
    found = report.by_run(without).index.unique("name")
    assert "bcl-d" not in found and {"bcl-i", "sdclr", "sdclr-inverted"} <= set(found)
    assert "bcl-d" in report.by_run(rows).index.unique("name")
    other_length = rows.assign(epochs=rows["epochs"].where(rows["name"] != "sdclr-shuffled", 7))
    assert "bcl-d" not in report.by_run(other_length).index.unique("name")


def test_a_balanced_list_stands_beside_its_long_tail_list():
    tail, flat = (RunConfig(split=f"a/cifar100_split3_D_{kind}.npy") for kind in "ib")
    assert report.place(tail) == report.place(flat) == ("cifar100_split3_D_i", False, 0)
    assert report.place(RunConfig(split_seed=4, mirrored=True, seed=9)) == ("4", True, 9)
    assert report.place(RunConfig(seed=9)) == ("9", False, 9)


def test_the_signal_is_the_auroc_of_the_rows_of_memory_npz():
    folder = DATA / "results" / "shapes-simclr" / "balanced-3"
    signal, arrays = report.load_signal(folder), files.read_npz(folder / "memory.npz")
    assert list(signal["epoch"]) == list(arrays["epochs_kept"])
    counts, labels = arrays["group_counts"], arrays["labels"]
    few = np.isin(labels, np.argsort(counts, kind="stable")[: len(counts) // 3])
    loss = arrays["momentum_loss"][10].astype(float)
    pairs = loss[few][:, None] - loss[~few][None]  # every few image against every other
    wins = (pairs > 0) + 0.5 * (pairs == 0)
    weight = counts[labels][few][:, None] * counts[labels][~few][None]
    assert signal["auroc"][10] == pytest.approx(wins.mean())
    assert signal["weighted"][10] == pytest.approx((wins * weight).sum() / weight.sum())
    assert report.group_auroc(folder) == signal["auroc"].iloc[-1]


# --- statistics -----------------------------------------------------------------------------


def test_a_mirrored_pair_is_one_unit():
    values = runs_of([0.1, 0.3, 0.2, 0.6])
    found = report.interval(values)
    assert list(report.units(values)) == pytest.approx([0.2, 0.4])
    assert (found.n, found.unit) == (2, "mirrored pair") and found.mean == pytest.approx(0.3)
    # t of one degree of freedom is tan(0.475 pi), the standard error is 0.1
    assert found.reach == pytest.approx(0.1 * math.tan(0.475 * math.pi))
    alone = report.interval(runs_of([0.1, 0.3, 0.2]))  # seed 2 has no mirror
    assert alone.n == 1 and alone.mean == pytest.approx(0.2) and math.isnan(alone.low)
    assert report.verdict(alone) == "1 mirrored pair: no interval"


def test_without_mirrors_a_seed_is_a_unit():
    values = np.array([0.1, 0.3, 0.2, 0.6])
    found = report.interval(runs_of(values, mirrored=False))
    low, high = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found == pytest.approx((0.3, low, high, 4, "seed")[:4] + ("seed",))
    assert report.interval(values)[:4] == pytest.approx((0.3, low, high, 4))


def test_several_seeds_of_one_class_order_count_as_one_half():
    index = pd.MultiIndex.from_tuples([("0", False, 0), ("0", False, 2), ("0", True, 1)],
                                      names=report.WHO)  # fmt: skip
    assert list(report.units(pd.Series([0.0, 0.4, 1.0], index))) == pytest.approx([0.6])


@pytest.mark.parametrize(
    ("values", "says"),
    [([1.0, 1.1, 0.9], "above zero"), ([-1.0, -1.1, -0.9], "below zero"),
      ([1.0, -1.1, 0.9], "no clear difference"), ([1.0], "1 value: no interval")],
)  # fmt: skip
def test_a_verdict_knows_both_signs(values, says):
    assert report.verdict(report.interval(values)) == says


def test_there_are_three_answers():
    """By hand: of 5 units the 90 % interval reaches 2.1318 errors, the 95 % interval 2.7764."""
    values = np.array([0.004, -0.004, 0.002, -0.002, 0.0])  # mean 0, error 0.001414
    found = report.interval(values)
    assert found.error == pytest.approx(math.sqrt(10e-6 / 5))
    edge = 2.13185 * math.sqrt(2e-6)
    assert report.verdict(found, edge + 1e-6) == "no difference that matters"
    assert report.verdict(found, edge - 1e-6) == report.verdict(found) == "no clear difference"
    # Two one-sided tests, each against one end of what matters, say the same.
    for size in (edge - 1e-6, edge + 1e-6):
        below = scipy.stats.ttest_1samp(values, size, alternative="less").pvalue
        above = scipy.stats.ttest_1samp(values, -size, alternative="greater").pvalue
        assert (max(below, above) < 0.05) == found.lies_within(size)
    # A difference is one, however small; that it does not matter is said beside it.
    small = report.interval(values / 10 + 0.003)
    assert report.verdict(small, 0.01) == "above zero" and small.lies_within(0.01)
    assert report.matters("all") == 0.01 and report.matters("few") == report.matters("std") == 0.02


def test_the_p_value_is_that_of_the_t_test():
    values = [0.1, 0.3, -0.2, 0.6, 0.2]
    found = report.interval(values)
    assert found.p_value == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue)
    assert report.interval([0.5, 0.5]).p_value == 0 and report.interval([0.0, 0.0]).p_value == 1
    assert math.isnan(report.interval([0.5]).p_value)


def test_holms_correction():
    """Holm's own steps: the smallest times m, the next times m - 1, never falling, at most 1."""
    given = [0.01, 0.04, float("nan"), 0.03, 0.005]
    corrected = report.holm(given)
    assert list(corrected[[4, 0, 3, 1]]) == pytest.approx([0.02, 0.03, 0.06, 0.06])
    assert math.isnan(corrected[2])
    assert list(report.holm([0.4, 0.6, 0.5])) == [1, 1, 1] and len(report.holm([])) == 0


def test_an_open_comparison_says_what_would_answer_it():
    values = np.array([2.0, 0.0, 1.0, -1.0])  # mean 0.5, sd 1.29: open
    found = report.interval(values)
    sd = values.std(ddof=1)
    assert report.verdict(found, 1.0) == "no clear difference"
    # As a difference of 0.5, or as one below 1.0, from which it is 0.5 away: the test of that is
    # one-sided, and both of its sides must hold.
    first = report.units_needed(sd, 0.5)
    second = report.units_needed(sd, 0.5, power=0.9, level=0.9)
    assert report.further_units(found, 1.0) == min(first, second) - 4
    # Where the mean is larger than what matters, only a difference can be the answer.
    assert report.further_units(found, 0.4) == first - 4
    # With so many units the answers come as often as they should.
    n = report.units_needed(1.0, 1.0, power=0.9, level=0.9)
    draws = np.random.default_rng(0).normal(0, 1, (4000, n))
    reach = scipy.stats.t.ppf(0.95, n - 1) * draws.std(1, ddof=1) / np.sqrt(n)
    assert (abs(draws.mean(1)) + reach < 1).mean() > 0.79
    # It never asks for none, and a mean of zero is no division by it.
    assert report.further_units(report.interval([1.0, 1.0, 1.01]), 0.1) == 1
    assert report.further_units(report.interval([1.0, -1.0]), 1.0) > 1


def test_differences_pair_split_class_order_and_seed():
    first, second = runs_of([0.5, 0.6, 0.7, 0.8]), runs_of([0.1, 0.4, 0.2])
    assert list(report.paired(first, second[::-1])) == pytest.approx([0.4, 0.2, 0.5])


def test_the_smallest_difference_is_the_one_that_tests_find():
    with_four = report.smallest_difference(2.0, 4)
    draw = np.random.default_rng(0).normal(with_four, 2.0, (40_000, 4))
    t = draw.mean(1) / (draw.std(1, ddof=1) / 2)
    assert (np.abs(t) > scipy.stats.t.ppf(0.975, 3)).mean() == pytest.approx(0.8, abs=0.01)
    effect = 1.6820  # n = 5, power 0.8: noncentral t, as tables of power have it
    assert report.smallest_difference(1, 5) == pytest.approx(effect, abs=1e-3)
    assert report.smallest_difference(1, 2) > 5 * report.smallest_difference(1, 5)


def made_runs():
    """Two methods in two pairs: few loses clearly, many gains clearly, the rest is open."""
    base = {"many": [0.5] * 4, "medium": [0.4] * 4, "few": [0.3] * 4, "all": [0.4] * 4}
    apart = {"many": [0.02, 0.04, 0.03, 0.03], "medium": [0.01, 0.01, -0.01, -0.01],
             "few": [-0.03, -0.05, -0.04, -0.04], "all": [0.0, 0.0, 0.01, 0.01]}  # fmt: skip
    plain = pd.DataFrame({g: runs_of(v) for g, v in base.items()})
    other = plain + pd.DataFrame({g: runs_of(v) for g, v in apart.items()})
    return pd.concat({"b": other, "a": plain}, names=["name"])


def test_the_sentences_name_every_group_and_all_answers():
    table = report.compare(made_runs(), [("b", "a"), ("b", "c")], {"b": "B", "a": "A"})
    assert list(table["group"]) == ["many", "medium", "few", "all"]
    lines = report.readings(table)
    assert lines[0] == "A difference, above zero: B minus A (many)."
    assert lines[1] == "A difference, below zero: B minus A (few)."
    assert lines[2] == "No difference that matters (=): none."
    further = dict(zip(table["group"], table["further"], strict=True))
    assert further["many"] == further["few"] == 0 < further["all"]
    assert f"B minus A (medium {further['medium']}, all {further['all']})" in lines[3]
    assert any("Of 4 comparisons, chance alone would call about 0.2" in line for line in lines)
    assert any("Called so here: 2; left of them by Holm's" in line for line in lines)
    assert any("Two units tell little" in line and "12.7" in line for line in lines)
    text = report.comparison(table)
    assert "**-4.0 (-4.0 to -4.0)** †" in text and "2 mirrored pairs" in text
    one = report.compare(made_runs().iloc[[0, 1, 4, 5]], [("b", "a")])
    assert "One unit, so no interval: b minus a." in report.readings(one)


def test_a_rank_correlation_is_spearmans_and_its_interval_is_the_bootstraps():
    draw = np.random.default_rng(1)
    first = draw.normal(size=60)
    second = np.round(first + draw.normal(size=60))  # with ties
    value, low, high = report.rank_correlation(first, second)
    assert value == pytest.approx(scipy.stats.spearmanr(first, second).statistic)
    found = scipy.stats.bootstrap(
        (first, second), lambda a, b: scipy.stats.spearmanr(a, b).statistic, paired=True,
        vectorized=False, n_resamples=500, method="percentile", rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    assert low == pytest.approx(found.low, abs=0.05) and high == pytest.approx(found.high, abs=0.05)
    assert report.rank_correlation(first, first**3)[0] == pytest.approx(1)
    both = report.rank_correlation(first, np.stack([first, -first, second]))
    assert both[0] == pytest.approx(value / 3)


def rows_of(**differences):
    """A table of `compare`: runs b and a of four seeds that differ so in these groups."""
    apart = pd.DataFrame({g: runs_of(v, mirrored=False) for g, v in differences.items()})
    both = pd.concat({"b": apart + 0.5, "a": apart * 0 + 0.5}, names=["name"])
    return report.compare(both, [("b", "a")], groups=list(differences))


def test_every_answer_has_its_sign_in_the_table():
    table = rows_of(
        many=[0.3, -0.3, 0.2, 0.0],  # reaches 42 points to each side
        medium=[0.02, 0.022, 0.024, 0.03],  # a difference, p = 0.003
        few=[0.001, -0.001, 0.002, 0.0],  # none that matters
        all=[0.01, 0.03, 0.02, -0.02],
    )
    _, ((_, n, many, medium, few, whole),) = tables.lines_of(table, "t")
    assert (n, many) == ("4 seeds", "too wide") and medium.startswith("**+2.4 (")
    assert medium.endswith("** †") and few.endswith(" =") and whole == "+1.0 (-2.4 to +4.4)"
    lines = report.readings(table)
    assert any("15 points to each side: 1." in line for line in lines)
    # Two comparisons with p = 0.034 are differences, and none is left by the correction.
    twice = rows_of(few=[0.02, 0.03, 0.04, 0.07], all=[0.02, 0.03, 0.04, 0.07])
    assert 0.025 < twice["p"].max() < 0.05 < twice["corrected"].min()
    assert "†" not in report.comparison(twice).split("\n\n")[0]
    small = rows_of(few=[0.004, 0.005, 0.006, 0.005])
    assert "Of these, smaller than what matters: b minus a (few)." in report.readings(small)


def test_spread_and_probe_table():
    assert report.spread(pd.Series([0.5])) == "50.0"
    assert report.spread(np.array([0.5, 0.6])) == "55.0 ± 7.1"
    rows = pd.DataFrame({
        "shots": ["100"] * 4, "list": ["a", "a", "b", "b"], "group": ["many", "all"] * 2,
        "accuracy": [0.2, 0.3, 0.4, 0.5],
    })  # fmt: skip
    assert report.probe_table(rows).splitlines()[-1] == "| 100 | 2 | 30.0 | 40.0 |"


def halves(runs, alone=False, single=False, total=False):
    """The exercise about pairs, right, and with each of its common mistakes."""
    if single:
        return [value for *_, value in runs]
    draws = {}
    for draw, _, value in runs:
        draws.setdefault(draw, []).append(value)
    kept = [values for _, values in sorted(draws.items()) if alone or len(values) == 2]
    return [sum(values) / (1 if total else len(values)) for values in kept]


def ends(values, ddof=1, edge=None, divide=True):
    n = len(values)
    reach = (edge or scipy.stats.t.ppf(0.975, n - 1)) * np.std(values, ddof=ddof)
    reach /= np.sqrt(n) if divide else 1
    return np.mean(values) - reach, np.mean(values) + reach


def normal(sd, n):
    return sd * (scipy.stats.norm.ppf(0.975) + scipy.stats.norm.ppf(0.8)) / np.sqrt(n)


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        ("check_pair_means", halves,
         [lambda r: halves(r, alone=True), lambda r: halves(r, single=True),
          lambda r: halves(r, total=True),
          lambda r: [(r[k][-1] + r[k + 1][-1]) / 2 for k in range(0, len(r) - 1, 2)]]),
        ("check_interval", ends,
         [lambda v: ends(v, edge=1.96), lambda v: ends(v, ddof=0),
          lambda v: ends(v, divide=False)]),
        ("check_smallest_difference", report.smallest_difference,
         [lambda sd, n: sd * scipy.stats.t.ppf(0.975, n - 1) / np.sqrt(n), normal,
          lambda sd, n: report.smallest_difference(1, n)]),
    ],
)  # fmt: skip
def test_checks_of_lesson_08_know_right_from_wrong(check, right, wrong):
    check = getattr(exercises, check)
    assert exercises.judge(check, right).status == "right"
    assert exercises.judge(check, lambda *_: NotImplemented).status == "not answered"
    assert len(check.mistakes) == len(wrong)
    for answer in wrong:
        assert exercises.judge(check, answer).status == "wrong"


def test_units_needed_is_the_first_number_that_finds_the_difference():
    for sd, size in ((1.0, 1.0), (2.0, 1.0), (0.3, 1.0), (3.6, 2.0)):
        n = report.units_needed(sd, size)
        assert report.smallest_difference(sd, n) <= size
        assert n == 2 or report.smallest_difference(sd, n - 1) > size
    assert report.units_needed(1.0, 1.0) == 10  # as tables of the paired t-test say
    many = report.units_needed(6.0, 1.0)  # in steps of a tenth, where there are many
    assert report.smallest_difference(6.0, many) <= 1 < report.smallest_difference(6.0, many * 0.85)


# --- studies and published numbers ----------------------------------------------------------


@pytest.fixture(scope="module")
def quick():
    return study.read(GRIDS / "cifar100-quick.yaml")


def test_a_grid_gives_labels_sections_and_missing_cells():
    one = study.read(GRIDS / "cifar10-length.yaml")
    assert {"30 epochs", "100 epochs", "300 epochs"} <= set(one.rows["section"])
    assert len(one.folders) + len(one.missing) == 94
    assert all(not (paths.RESULTS / "cifar10-length" / name).exists() for name in one.missing)
    assert one.labels["sdclr-5e-4"] == "SDCLR, weight decay of SimCLR (control)"
    partners = study.read(GRIDS / "shapes-methods.yaml")  # SimCLR's runs lie in another study
    assert sum("shapes-simclr" in str(folder) for folder in partners.folders) == 4


def test_an_axis_that_tells_no_two_runs_apart_makes_no_section():
    """The grids of evidence take some runs from another study, by an axis that names its folder."""
    one = study.read(GRIDS / "evidence-cifar10.yaml")
    assert not one.rows["section"].any() and len(one.folders) >= 24
    assert sum("cifar10-length" in str(folder) for folder in one.folders) == 24


def test_a_run_with_other_parameters_is_not_a_cell(tmp_path):
    text = (GRIDS / "shapes-precision.yaml").read_text(encoding="utf-8")
    changed = text.replace("preset: quick,", "preset: quick, lr: 0.5,")
    (tmp_path / "other.yaml").write_text(changed, encoding="utf-8")
    with pytest.raises(ConfigError, match="long-tail-0 holds a run with lr 0.25, not 0.5"):
        study.read(tmp_path / "other.yaml", paths.RESULTS / "shapes-precision")


def test_runs_without_a_grid_are_compared_with_plain_and_control():
    one = study.read(["shapes-methods"])
    assert {("bcl-d", "sdclr"), ("bcl-d", "sdclr-shuffled")} <= set(one.pairs)
    tail = study.read(["shapes-simclr"])
    assert tail.pairs == [("simclr", "simclr-balanced")] and not tail.rows["section"].any()


def test_published_numbers_stand_beside_their_own_cells_only(quick):
    found = tables.published(quick)
    theirs = tables.read_published()
    assert set(found["features"]) == {"SimCLR", "SDCLR", "BCL-I", "BCL-D"} and len(found) == 12
    line = found[(found["features"] == "BCL-D") & (found["shots"] == "50")].iloc[0]
    number = theirs[(theirs["method"] == "bcl-d") & (theirs["shots"] == "50")]["accuracy"].item()
    rows = quick.rows.query("row == 'bcl-d' and shots == '50' and group == 'all'")
    ours = rows.groupby("seed")["accuracy"].mean()
    assert float(line["published"]) == pytest.approx(100 * number, abs=0.05)
    assert float(line["difference"]) == pytest.approx(100 * (ours.mean() - number), abs=0.05)
    assert line["within"] == "no" and "BCL@a2342f8" in line["source"]
    drawn = dataclasses.replace(quick, rows=quick.rows.assign(list_source="drawn"))
    other = dataclasses.replace(quick, rows=quick.rows.assign(protocol="logistic"))
    split = quick.rows.assign(split="cifar100_split2_D_i.npy")
    for one in (drawn, other, dataclasses.replace(quick, rows=split)):
        assert tables.published(one).empty
    variant = dataclasses.replace(quick, rows=quick.rows.replace({"name": {"bcl-i": "bcl-i-1e-4"}}))
    assert set(tables.published(variant)["features"]) == {"SimCLR", "SDCLR", "BCL-D"}
    own = study.read(GRIDS / "shapes-precision.yaml")
    assert "splits of our own" in tables.beside_published(own)


def test_within_the_spread_is_one_standard_deviation(quick):
    number = pd.Series({"protocol": "bcl", "shots": "100", "group": "all", "accuracy": 0.5,
                        "source": "s", "table": "t"})  # fmt: skip
    says = [tables._beside(pd.Series(v), number)["within"] for v in
            ([0.48, 0.50], [0.475, 0.49], [0.5])]  # fmt: skip
    assert says == ["yes", "no", "one run"]


def test_a_mean_over_published_splits_waits_for_all_of_them():
    assert tables._named_splits("split1-5_D_i") == [f"split{k}_D_i" for k in range(1, 6)]
    assert tables._named_splits("cifar100_split1_D_i") == ["cifar100_split1_D_i"]


def test_cautions_are_said_with_results(quick):
    assert "30 epochs" in tables.about(quick, "x") and "not the published recipe" in tables.about(
        quick, "x"
    )
    length = tables.about(study.read(GRIDS / "cifar10-length.yaml"), "x")
    assert "300 epochs" in length and "at most" not in length


# --- the page -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "deep" / "report.html"
    page.write([DATA / "results" / "shapes-simclr" / f"{kind}-{seed}" for seed in (0, 1)
                for kind in ("long-tail", "balanced")], out)  # fmt: skip
    return out


def test_a_page_has_its_rows_beside_it(written):
    rows = pd.read_parquet(written.with_suffix(".parquet"))
    again = pd.read_csv(written.with_suffix(".csv"), dtype={"shots": str})
    source = report.load_rows(DATA / "results" / "shapes-simclr" / "long-tail-1")
    mine = rows[(rows["row"] == "simclr") & (rows["seed"] == 1)]
    assert sorted(mine["accuracy"]) == sorted(source["accuracy"])
    assert len(again) == len(rows) and {"weight_decay", "machine", "seconds"} <= set(again)


def test_a_page_says_what_must_be_said(written):
    text = written.read_text(encoding="utf-8")
    for part in ("not the published recipe", "1 mirrored pair", "Not recorded: these probes",
                 "No published number belongs here", "The balanced runs are the control",
                 "seconds an epoch", "cpu x86_64"):  # fmt: skip
        assert part in text, part
    assert text.count("data:image/svg+xml;base64,") >= 5


def test_missing_cells_are_named(tmp_path):
    """Of a grid that has two recorded runs and two that nobody has made."""
    text = (GRIDS / "shapes-precision.yaml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if "bf16" not in line]
    few = "\n".join(lines).replace("[0, 1, 2, 3]", "[0, 1, 8, 9]")
    (tmp_path / "shapes-precision.yaml").write_text(few, encoding="utf-8")
    one = page.write(tmp_path / "shapes-precision.yaml", tmp_path / "r.html")
    assert one.missing == ["float32-8", "float32-9"] and len(one.folders) == 2
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "2 cells of the grid are missing" in text
    assert all(name in text for name in one.missing)


def test_the_rows_behind_a_page_with_a_space_in_its_name_are_linked():
    one = study.read([DATA / "results" / "shapes-simclr" / "long-tail-0"])
    assert 'href="my%20page.csv"' in page.render(one, "my page")


def test_text_is_escaped_and_bold_is_bold():
    table = page.to_html(tables.markdown(["<a>"], [["**1** & 2"]]))
    assert "<th>&lt;a&gt;</th>" in table
    assert "<td><strong>1</strong> &amp; 2</td>" in table
    assert "<script" not in page.to_html("<script>alert(1)</script>")


def test_accuracy_by_class_size_is_shown_where_it_is_recorded(quick):
    rows = quick.rows[quick.rows["row"].isin(["simclr", "sdclr"]) & (quick.rows["group"] == "all")]
    classes = pd.concat([rows.assign(group=f"class {c}", accuracy=c / 100) for c in range(100)])
    one = dataclasses.replace(quick, rows=classes)
    found = study.per_class(one)
    counts = report.group_counts(Path(found["folder"].iloc[0]))
    assert len(found) == 1800 and np.allclose(found["accuracy"], found["class"] / 100)
    assert list(found["images"][:100]) == list(counts[found["class"][:100]])
    assert "data:image/svg" in "".join(page._classes(one))
    assert study.per_class(quick).empty


def test_the_command_writes_a_page(ltcl, tmp_path):
    folder = DATA / "results" / "shapes-simclr" / "long-tail-0"
    done = ltcl("report", folder, "--out", tmp_path / "one.html")
    assert done.returncode == 0 and "1 runs, 0 missing" in done.stdout, done.stderr
    assert (tmp_path / "one.html").exists() and (tmp_path / "one.csv").exists()
    for call, says in (
        ((folder, "--out", "one.pdf"), "one.pdf"), (("nowhere",), "nowhere is no finished run"),
        (("nowhere.yaml",), "nowhere.yaml is not readable"),
    ):  # fmt: skip
        done = ltcl("report", *call)
        assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1


def test_the_page_opens_without_a_network_or_an_error(written):
    if CHROMIUM is None:
        assert os.environ.get("CI") != "true", "no Chromium: apt install chromium"
        pytest.skip("no Chromium at /usr/bin/chromium: the page is not opened")
    sync_api = pytest.importorskip("playwright.sync_api")
    asked, said = [], []
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE
        )
        for width in (1280, 390):
            tab = browser.new_page(viewport={"width": width, "height": 900})
            tab.set_default_timeout(PATIENCE)
            tab.on("request", lambda request: asked.append(request.url))
            tab.on("console", lambda message: said.append(message.text))
            tab.on("pageerror", lambda error: said.append(str(error)))
            tab.goto(written.as_uri(), wait_until="load")
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            pictures = "[...document.images].every(i => i.complete && i.naturalWidth > 100)"
            assert tab.evaluate(pictures)
        browser.close()
    assert {url for url in asked if not url.startswith("data:")} == {written.as_uri()}
    assert said == []


def test_of_few_classes_each_is_a_point_of_every_run():
    """Ranked over all rows, runs shared a class's bin with their neighbours' classes."""
    rows = [
        {"label": label, "folder": label, "images": images, "accuracy": 0.01 * images}
        for label in ("a", "b", "c", "d")
        for images in (9, 2, 30, 4)
    ]
    ax = plots.class_curve(pd.DataFrame(rows))
    lines = [line for line in ax.lines if len(line.get_xdata())]
    assert len(lines) == 4
    for line in lines:
        assert list(line.get_xdata()) == [2, 4, 9, 30]
        np.testing.assert_allclose(line.get_ydata(), [2, 4, 9, 30])
