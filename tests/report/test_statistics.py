"""Pairs, intervals, the three answers and their signs."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from ltcl_helpers import report
from ltcl_helpers.report import statistics, tables


def runs_of(values, mirrored=True):
    """Accuracies by run, seed by seed; in mirrored pairs as the grids draw them."""
    seeds = range(len(values))
    where = [(str(s // 2), s % 2 == 1, s) if mirrored else ("0", False, s) for s in seeds]
    return pd.Series(values, pd.MultiIndex.from_tuples(where, names=report.WHO), dtype=float)


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
    # Of ten that are planned two are tested: no answer may change when the others come.
    assert report.holm([0.004, 0.006], 10) == pytest.approx([0.04, 0.054])
    for others in ([0.5] * 8, [0.02] * 8, [0.005] * 8):
        assert report.holm([0.004, 0.006, *others])[0] <= 0.04 + 1e-12


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


def test_half_a_mirrored_pair_is_no_unit_and_is_said_to_be_none():
    table = report.compare(made_runs().iloc[[1, 5]], [("b", "a")])
    text = report.comparison(table)
    assert "| b minus a | 0 mirrored pairs | none yet |" in text and "nan" not in text
    assert "No whole mirrored pair yet, so no value: b minus a." in report.readings(table)
    assert "One unit" not in text


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


def test_units_needed_is_the_first_number_that_finds_the_difference():
    for sd, size in ((1.0, 1.0), (2.0, 1.0), (0.3, 1.0), (3.6, 2.0)):
        n = report.units_needed(sd, size)
        assert report.smallest_difference(sd, n) <= size
        assert n == 2 or report.smallest_difference(sd, n - 1) > size
    assert report.units_needed(1.0, 1.0) == 10  # as tables of the paired t-test say
    many = report.units_needed(6.0, 1.0)  # in steps of a tenth, where there are many
    assert report.smallest_difference(6.0, many) <= 1 < report.smallest_difference(6.0, many * 0.85)


@pytest.mark.parametrize(("n", "power", "level"), [(3, 0.8, 0.95), (5, 0.8, 0.95), (12, 0.9, 0.9)])
def test_the_smallest_difference_has_the_power_of_noncentral_t(n, power, level):
    apart = report.smallest_difference(1.0, n, power, level) * math.sqrt(n)
    edge = scipy.stats.t.ppf((1 + level) / 2, n - 1)
    found = scipy.stats.nct.sf(edge, n - 1, apart) + scipy.stats.nct.cdf(-edge, n - 1, apart)
    assert found == pytest.approx(power, abs=1e-5)
    assert report.smallest_difference(3.0, n, power, level) == pytest.approx(
        3 * apart / math.sqrt(n)
    )


def test_numbers_of_units_rise_one_by_one_and_then_by_a_tenth():
    assert statistics.COUNTS[:49] == list(range(2, 51)) and statistics.COUNTS[49:52] == [55, 60, 66]
    assert 900_000 < statistics.COUNTS[-1] < 1_000_000
    assert report.units_needed(1.0, 1e-9) == statistics.COUNTS[-1]  # more than anybody makes
    usual = report.units_needed(1.0, 0.5, power=0.8, level=0.95)
    assert report.units_needed(1.0, 0.5) == usual == 34
    assert report.smallest_difference(1.0, 7) == report.smallest_difference(1.0, 7, 0.8, 0.95)


def test_edges_belong_to_no_side():
    for low, high in ((0.0, 1.0), (-1.0, 0.0)):
        touching = report.Interval((low + high) / 2, low, high, 3, "seed")
        assert report.verdict(touching) == "no clear difference"
    exact = report.interval([0.02, 0.02, 0.02])
    assert not exact.lies_within(0.02) and exact.lies_within(0.0201) and exact.reach == 0
    wide = dict(verdict="no clear difference", low=-0.125, high=0.25)
    assert report.is_wide(wide) and not report.is_wide(wide | {"high": 0.17})
    assert not report.is_wide(wide | {"verdict": "above zero"})
    assert report.interval([]).n == 0 and math.isnan(report.interval([]).mean)
    assert report.interval([0.5]).unit == "value" and report.interval([0.5]).mean == 0.5


def test_a_group_without_a_value_does_not_drop_the_others():
    both = pd.DataFrame({"few": runs_of([0.5, 0.6, 0.7, 0.8]), "all": runs_of([1.0, 2, 3, 4])})
    holed = both.copy()
    holed.loc[holed.index[0], "few"] = np.nan
    apart = report.paired(holed, both)
    assert len(apart) == 4 and np.isnan(apart["few"].iloc[0])
    whole = report.units(holed)
    assert whole["all"].tolist() == [1.5, 3.5] and np.isnan(whole["few"].iloc[0])
    assert report.units(both["few"]).tolist() == pytest.approx([0.55, 0.75])


def test_every_column_of_a_comparison():
    runs = pd.concat({
        "b": pd.DataFrame({"all": runs_of([0.50, 0.53], mirrored=False)}),
        "a": pd.DataFrame({"all": runs_of([0.48, 0.50, 0.9], mirrored=False)}),
    })  # fmt: skip
    (line,) = report.compare(runs, iter([("b", "a"), ("a", "c")]), groups=["all"]).to_dict(
        "records"
    )
    found = report.interval([0.02, 0.03])
    assert line == {
        "first": "b", "second": "a", "runs": 2, "draws": 1, "unmirrored": 0,
        "difference": "b minus a", "group": "all",
        "mean": pytest.approx(0.025), "low": pytest.approx(found.low),
        "high": pytest.approx(found.high), "n": 2, "unit": "seed", "each": "2.0, 3.0",
        "verdict": "no clear difference", "p": pytest.approx(found.p_value), "small": False,
        "further": report.further_units(found, 0.01), "corrected": pytest.approx(found.p_value),
    }  # fmt: skip
    named = report.compare(runs, [("b", "a"), ("a", "b")], {"b": "B"}, groups=["all"])
    assert named["difference"].tolist() == ["B minus a", "a minus B"]
    assert named["corrected"].tolist() == pytest.approx([2 * found.p_value] * 2)
    assert report.compare(runs, [("b", "c")]).empty
    other = runs.rename(index={"b": "c"}, level=0).rename(index={0: 7, 1: 8}, level="seed")
    assert report.compare(pd.concat([runs, other]), [("b", "c")], groups=["all"]).empty


def test_numbers_as_text():
    assert report.each([0.123, -0.5]) == "12.3, -50.0" and report.each([1.26], 1, 2) == "1.26"
    assert report.spread([1.0, 2.0], 1, 3) == "1.500 ± 0.707"
    found = report.Interval(0.0123, -0.0031, 0.0277, 2, "mirrored pair")
    assert report.ends(found) == report.ends(found._asdict()) == "+1.2 (-0.3 to +2.8)"
    assert report.ends(found, 1, 2) == "+0.01 (-0.00 to +0.03)"
    assert report.ends(report.interval([0.5])) == "+50.0"
    pairs = {n: report.Interval(0, 0, 0, n, "mirrored pair") for n in (0, 1, 2)}
    units = [report.count([found]) for found in pairs.values()]
    assert units == ["0 mirrored pairs", "1 mirrored pair", "2 mirrored pairs"]
    assert report.count([pairs[2], pairs[1]]) == "1 to 2 mirrored pairs"


def test_what_one_run_could_not_measure_hides_nothing_of_the_others():
    places = [("0", False, seed) for seed in range(4)]
    where = pd.MultiIndex.from_tuples(
        [(name, *place) for name in "ab" for place in places], names=["name", *report.WHO]
    )
    accuracy = [0.5, 0.6, 0.7, 0.9, 0.4, 0.5, 0.5, 0.6]
    runs = pd.DataFrame({"few": accuracy, "all": accuracy}, index=where)
    runs.loc[("a", "0", False, 3), "few"] = np.nan  # its test part holds no image of the few
    table = report.compare(runs, [("a", "b")], groups=["few", "all"])
    few, both = table.to_dict("records")
    assert (few["n"], both["n"]) == (3, 4)
    assert few["mean"] == pytest.approx(0.4 / 3) and few["low"] == pytest.approx(-0.01, abs=0.01)
    assert tables.lines_of(table, "")[1][0][1] == "3 to 4 seeds"


def test_a_mean_that_only_rounding_keeps_from_zero_is_no_difference():
    found = report.interval([0.1 + 0.2 - 0.3] * 4)
    assert found.mean == 0 and found.p_value == 1
    assert report.verdict(found, 0.01) == statistics.NONE_THAT_MATTERS
    assert report.verdict(report.interval([1e-6] * 4), 0.01) == statistics.ABOVE


def test_pairs_come_in_the_order_of_their_numbers():
    places = [(str(draw), half, draw) for draw in (10, 2, 1) for half in (False, True)]
    where = pd.MultiIndex.from_tuples(places, names=report.WHO)
    values = pd.Series([10.0, 10, 2, 2, 1, 1], where)
    assert report.units(values).tolist() == [1, 2, 10]
    named = values.rename(index={"10": "b", "2": "c", "1": "a"}, level="draw")
    assert report.units(named).tolist() == [1, 10, 2]


def test_the_interval_of_a_rank_correlation_is_that_of_its_draws():
    draw = np.random.default_rng(3)
    first, second = draw.normal(size=(2, 12)).round(1)
    drawn = np.random.default_rng(5).integers(0, 12, (60, 12))
    each = [scipy.stats.spearmanr(first[line], second[line]).statistic for line in drawn]
    low, high = np.percentile(each, [2.5, 97.5])
    whole = scipy.stats.spearmanr(first, second).statistic
    found = report.rank_correlation(first, second, draws=60, seed=5)
    assert found == pytest.approx((whole, low, high))
    usual = report.rank_correlation(first, second)
    assert usual == report.rank_correlation(first, second, draws=200, seed=0)


def test_what_would_answer_it_at_the_edge_of_what_matters():
    found = report.interval([0.0, 0.02])  # mean 0.01
    sd = 0.02 / math.sqrt(2)
    assert report.further_units(found, found.mean) == report.units_needed(sd, 0.01) - 2
    near = report.further_units(found, 0.03)
    assert near == report.units_needed(sd, 0.02, power=0.9, level=0.9) - 2
    negative = report.interval([0.0, -0.02])
    assert report.further_units(negative, 0.03) == near
