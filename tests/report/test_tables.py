"""Tables and sentences of a small study, word by word."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from report.recording import VALUES, config, probed, record, record_all

from ltcl_helpers import report
from ltcl_helpers.report import lesson, study, tables

RECIPE = (
    "Quick result: ResNet-10, width 16, stride 2 in the first convolution, 30 epochs, batch 128, "
    "batches of near-equal size, learning rate 0.25, warm-up of 1.5 epochs, momentum beta 0.9; "
    "not the published recipe."
)
SOURCE = "MediaBrain-SJTU/BCL@a2342f8, README: Results and Pretrained Models"
NOTHING = "No two of the compared runs are here yet."
LIMITS = (
    "* A difference: the 95 % interval (Student's t) leaves zero out. No difference that matters: "
    "the 90 % interval lies within ±1.0 point over all, ±2.0 in a group (two one-sided tests)."
)
SHARED = (
    "* {n} seeds are of 1 split: what a split makes easy or hard its seeds have in common, so they "
    "tell less than as many splits would."
)
CLEAR = f"""
* A difference, above zero: SDCLR minus SimCLR (few, all).
* A difference, below zero: none.
* No difference that matters (=): none.
* Open: none.
{LIMITS}
* Of 2 comparisons, chance alone would call about 0.1 a difference. Called so here: 2; left of \
them by Holm's correction over this table (†): 2.
* Intervals reach 0.4 points to each side.
{SHARED.format(n=3)}"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """SimCLR and SDCLR, three seeds each."""
    return study.read(record_all(tmp_path_factory.mktemp("two")))


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """These, BCL-I and its control, by two protocols."""
    made = record_all(tmp_path_factory.mktemp("four"), VALUES, protocols=("bcl", "logistic"))
    return study.read(made)


def cells(text):
    """The lines of a table in Markdown, split at its bars."""
    lines = text.split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_results_are_the_mean_over_lists_and_the_spread_over_runs(two, four):
    first = ["100", "SimCLR", "3", "31.0 ± 1.0", "11.0 ± 1.0", "51.0 ± 1.0"]
    assert cells(tables.results(two)) == [
        ["shots", "features", "n", "few", "std", "all"], ["---"] * 6, first,
        ["100", "SDCLR", "3", "35.0 ± 1.1", "15.0 ± 1.1", "55.0 ± 1.1"],
        ["50", "SimCLR", "3", "21.0 ± 1.0", "1.0 ± 1.0", "41.0 ± 1.0"],
        ["50", "SDCLR", "3", "25.0 ± 1.1", "5.0 ± 1.1", "45.0 ± 1.1"],
    ]  # fmt: skip
    head, _, line, *others = cells(tables.results(two, shots="100"))
    assert head == ["features", "n", "few", "std", "all"] and line == first[1:] and len(others) == 1
    head, _, *lines = cells(tables.results(four))
    assert head[:3] == ["protocol", "shots", "features"]
    assert [line[:2] for line in lines[::4]] == [
        ["bcl", "100"], ["bcl", "50"], ["logistic", "100"], ["logistic", "50"]
    ]  # fmt: skip
    parted = dataclasses.replace(
        two, rows=two.rows.assign(section=two.rows["row"].map({"simclr": "a", "sdclr": "b"}))
    )
    assert cells(tables.results(parted))[0][:3] == ["runs of", "shots", "features"]
    about = ["section", "protocol", "shots", "features", "n"]
    assert list(tables.table(two)) == [*about, "few", "std", "all"]


def test_a_comparison_is_told_in_words(two, four):
    row = "| SDCLR minus SimCLR | 3 seeds | **+4.0 (+3.7 to +4.4)** † | **+4.0 (+3.7 to +4.4)** † |"
    table = f"| {{}} | n | few | all |\n| --- | --- | --- | --- |\n{row}\n{CLEAR}"
    both = [table.format(f"first minus second, {k}-shot, points") for k in (100, 50)]
    assert tables.compared(two) == "\n\n".join(both)
    assert tables.compared(two, shots="50") == both[1]
    found = tables.comparisons(two, shots="100")
    assert tables.comparison(found) == table.format("first minus second, points")
    assert set(found["section"]) == {""} and set(found["shots"]) == {"100"}
    assert list(tables.comparisons(two).index) == [0, 1, 2, 3]
    assert tables.comparison(pd.DataFrame()) == tables.compared(two, shots="7") == NOTHING
    assert tables.comparisons(two, shots="7").empty
    several = tables.compared(four, shots="50").split("| first minus second, 50-shot, protocol ")
    assert [text[:6] for text in several] == ["", '"bcl",', '"logis']
    words = several[1].split("\n")
    assert (
        words[3] == "| BCL-I minus SimCLR | 3 seeds | +2.0 (-5.5 to +9.5) | +2.0 (-5.5 to +9.5) |"
    )
    assert words[10].startswith(
        "* Open, no clear difference; beside each group, about how many seeds more would answer it "
        "in at least 80 % of all cases, if mean and spread stay: BCL-I minus SimCLR (few 17, all "
        "17); BCL-I "
    )
    assert words[12].startswith("* Of 8 comparisons, chance alone would call about 0.4 a")
    assert words[13] == "* Intervals reach 0.4 to 7.5 points to each side."


def test_wide_small_and_single_comparisons_have_sentences_of_their_own():
    where = pd.MultiIndex.from_tuples([("d", False, k) for k in range(2)], names=report.WHO)
    zero = pd.DataFrame({"few": [0.0, 0.0], "all": [0.0, 0.0]}, where)
    other = pd.DataFrame({"few": [0.1, -0.1], "all": [0.0050, 0.0051]}, where)
    table = report.compare(pd.concat({"b": other, "a": zero}), [("b", "a")], groups=["few", "all"])
    few = table["further"][0]
    assert tables.comparison(table, "t").splitlines() == [
        "| t | n | few | all |", "| --- | --- | --- | --- |",
        "| b minus a | 2 seeds | too wide | **+0.5 (+0.4 to +0.6)** † |", "",
        "* A difference, above zero: b minus a (all).",
        "* A difference, below zero: none.",
        "* Of these, smaller than what matters: b minus a (all).",
        "* No difference that matters (=): none.",
        "* Open, no clear difference; beside each group, about how many seeds more would answer it "
        f"in at least 80 % of all cases, if mean and spread stay: b minus a (few {few}).",
        "* Of these, too wide to be shown, since their intervals reach more than 15 points to each "
        "side: 1.",
        LIMITS,
        "* Of 2 comparisons, chance alone would call about 0.1 a difference. Called so here: 1; "
        "left of them by Holm's correction over this table (†): 1.",
        "* Intervals reach 0.1 points to each side.",
        SHARED.format(n=2),
        "* Two units tell little: the interval of two reaches 12.7 standard errors to each side, "
        "so even a difference that all runs share may stay open, and how many more are needed is "
        "hardly known.",
    ]  # fmt: skip
    one = report.compare(
        pd.concat({"b": other[:1], "a": zero[:1]}), [("b", "a"), ("a", "b")], groups=["all"]
    )
    assert tables.comparison(one).splitlines()[2:] == [
        "| b minus a | 1 seed | +0.5 |", "| a minus b | 1 seed | -0.5 |", "",
        "* A difference, above zero: none.", "* A difference, below zero: none.",
        "* No difference that matters (=): none.", "* Open: none.",
        "* One unit, so no interval: b minus a; a minus b.",
    ]  # fmt: skip
    wide = table[table["group"] == "few"]
    assert not any("Intervals reach" in line for line in report.readings(wide))
    # A group that one pair lacks is left empty in its line.
    part = pd.concat([table, table[1:].assign(difference="c minus a")])
    assert tables.lines_of(part, "t")[1][1][2] == ""


def test_a_lesson_tells_the_same_with_its_finding(two, four, monkeypatch):
    shown = []
    monkeypatch.setattr(lesson, "display", lambda text: shown.append(text.data))
    lesson.show_study(two, shots="50")
    lesson.show_study(four, shots="50")
    table, *body, how = shown[0].split("\n\n")
    assert table == tables.results(two, shots="50") and how == lesson.INTERVALS
    assert body[0].startswith("| first minus second, 50-shot, points |")
    assert body[1:] == [
        "**Finding, over all classes.** SDCLR minus SimCLR: higher by 4.0 points (between +3.7 and "
        "+4.4 points); on the few classes higher by 4.0 points (between +3.7 and +4.4 points).",
        "<details><summary>What we see, group by group</summary>", CLEAR[1:], "</details>",
    ]  # fmt: skip
    assert shown[1].count('| first minus second, 50-shot, protocol "') == 2


def test_a_classifier_has_no_labelled_lists(two):
    first, second = two.rows.index[two.rows["row"] == "simclr"][:2]
    part = two.rows.loc[[first, second]].assign(protocol=["classifier", "bcl"])
    said = [
        tables.facts(dataclasses.replace(two, rows=rows))[0].split("a run's value is ")[1]
        for rows in (part.iloc[:1], part)
    ]
    assert said == [
        "the accuracy of the classifier that it trained. std is the balancedness.",
        "the mean over its labelled lists (published) or the accuracy of the classifier that it "
        "trained. std is the balancedness.",
    ]


def test_what_must_be_said_beside_a_table(two, tmp_path):
    accuracy = (
        "Accuracy in percent, mean ± sd over n runs that differ in split or seed{}; a run's value "
        "is the mean over its labelled lists ({}). std is the balancedness."
    )
    machine = "Machine: cpu, threads: 1, float32, torch 2."
    assert tables.about(two, "x", "y").splitlines() == [
        f"* {line}"
        for line in (accuracy.format("", "published"), machine, RECIPE, "Rows: `x` and `y`.")
    ]
    rows = two.rows.assign(test="cifar10", untested="moth", mirrored=two.rows["seed"] == 1)
    rows.loc[rows["row"] == "sdclr", ["list_source", "machine", "untested"]] = ["drawn", "gpu", ""]
    other = dataclasses.replace(two, rows=rows, missing=["c-1", "c-2"])
    assert tables.facts(other) == [
        accuracy.format(", in mirrored pairs", "drawn and published"),
        "Tested on cifar10, not on a test part of the run's own data.",
        "Without a test image, and so in no mean: class moth.",
        "Machine: cpu, threads: 1, float32, torch 2; gpu, torch 2.",
    ]
    assert tables.about(other, "x").endswith("* Rows: `x`.\n* Missing: c-1, c-2.")
    none = dataclasses.replace(two, rows=two.rows.assign(accuracy=np.nan))
    nothing = "There is no accuracy here: of one class a probe measures nothing."
    assert tables.facts(none) == [nothing, machine] and tables.results(none) == nothing
    assert tables.sentence("") == "" and tables.sentence("ab Cd") == "Ab Cd."


def test_a_boost_without_its_control_is_left_out_and_says_how_to_make_it(four, tmp_path):
    assert tables.left_out(four) == []
    pixels = probed(config("bcl-i"), 0.2).assign(features="pixels")
    both = pd.concat([probed(config("bcl-i"), 0.5), pixels])
    alone = study.read([record(tmp_path / "bcl-i-0", config("bcl-i"), both)])
    said = (
        "BCL-I is left out: what a boost does shows only beside its control, simclr-shuffled, "
        "which is not among these runs. Make the control as this run was made, but with `ltcl run "
        "--method simclr --set boost=shuffled`; then probe and report both."
    )
    assert tables.left_out(alone) == [said]
    named = {line[1] for line in cells(tables.results(alone))[2:]}
    assert named == {"raw pixels"}  # they went through no network
    encoder = study.read(
        [record(tmp_path / "alone", config("bcl-i"), probed(config("bcl-i"), 0.5))]
    )
    assert tables.results(encoder) == f"* {said}"


def test_a_boost_is_left_out_of_the_tables_that_its_control_is_not_in(tmp_path):
    boosted, control = config("bcl-i"), config("simclr-shuffled")
    rows = probed(boosted, 0.5, ("100", "full"))
    one = study.read([
        record(tmp_path / "a", boosted, rows),
        record(tmp_path / "b", control, probed(control, 0.5, ("100",))),
    ])  # fmt: skip
    assert tables.left_out(one) == [
        "BCL-I is left out of full-shot, protocol bcl: no run of its control, simclr-shuffled, "
        "with its split and seed has accuracies there. Make or probe one as this run was made and "
        "probed; then report both."
    ]


def test_a_control_of_another_seed_is_none(tmp_path):
    made = [
        record(tmp_path / f"{name}-{seed}", config(name, seed), probed(config(name, seed), 0.5))
        for name, seed in (("bcl-i", 0), ("simclr-shuffled", 1))
    ]
    assert (
        "no run of its control, simclr-shuffled, with its split and seed"
        in (tables.left_out(study.read(made))[0])
    )
    shared = config("bcl-i", 1)
    made.append(record(tmp_path / "bcl-i-1", shared, probed(shared, 0.5)))
    assert tables.left_out(study.read(made)) == []  # both of the method's runs are shown


def test_runs_without_their_mirror_and_groups_without_a_test_are_said():
    where = pd.MultiIndex.from_tuples(
        [("0", False, 0), ("0", True, 1), ("1", False, 2)], names=report.WHO
    )
    zero = pd.DataFrame({"few": 0.0, "all": 0.0}, where)
    other = pd.DataFrame({"few": np.nan, "all": [0.1, 0.2, 0.3]}, where)
    found = report.compare(pd.concat({"b": other, "a": zero}), [("b", "a")], groups=["few", "all"])
    assert found["unmirrored"].tolist() == [1, 1] and found["n"].tolist() == [0, 1]
    words = tables.readings(found)
    assert "One unit, so no interval: b minus a (all)." in words
    assert "No whole mirrored pair yet, so no value: b minus a (few)." in words
    plain = found.assign(unmirrored=0)
    assert "Not tested in both, so no value: b minus a (few)." in tables.readings(plain)
    more = found.assign(n=[0, 2], unit="mirrored pair", unmirrored=[1, 1])
    said = "Runs whose mirror is missing are in none of these intervals: b minus a (all)."
    assert said in tables.readings(more)
    assert report.spread([0.5, np.nan, 0.7]) == "60.0 ± 14.1" and report.spread([np.nan]) == ""


def test_what_a_run_was_tested_on_besides_is_said(tmp_path):
    run = config("simclr")
    both = pd.concat([probed(run, 0.5), probed(run, 0.1).assign(test="cifar10")])
    one = study.read([record(tmp_path / "a", run, both)])
    assert "Tested on cifar10, too, which is not shown here." in tables.facts(one)
    assert set(one.rows["test"]) == {"cifar100"}
    alone = study.read([record(tmp_path / "b", run, probed(run, 0.1).assign(test="cifar10"))])
    assert not any("too, which" in line for line in tables.facts(alone))


def test_published_numbers_stand_beside_ours_line_by_line(two):
    text, note = tables.beside_published(two).split("\n\n")
    assert cells(text) == [
        ["features", "shots", "group", "n", "ours", "published", "difference", "within our spread"],
        ["---"] * 8,
        ["SimCLR", "100", "all", "3", "51.0 ± 1.0", "46.3", "+4.7", "no"],
        ["SDCLR", "100", "all", "3", "55.0 ± 1.1", "49.7", "+5.3", "no"],
        ["SimCLR", "50", "all", "3", "41.0 ± 1.0", "42.4", "-1.4", "no"],
        ["SDCLR", "50", "all", "3", "45.0 ± 1.1", "45.6", "-0.6", "yes"],
    ]
    assert note == f"Published by {SOURCE}. {RECIPE}"
    found = tables.published(two)
    assert list(found) == ["section", "features", "protocol", "shots", "group", "n", "ours",
                           "published", "difference", "within", "source"]  # fmt: skip
    lists = dataclasses.replace(two, rows=two.rows.assign(list_source="drawn"))
    said = "No published number belongs here: these runs use {}."
    why = "lists, probes or methods that none was published for"
    assert tables.beside_published(lists) == said.format(why)
    drawn = dataclasses.replace(two, rows=two.rows.assign(split="long-tail"))
    assert tables.no_published(drawn) == said.format("splits of our own")
    assert tables.read_published()["shots"].tolist().count("") == 6


def test_blocks_are_named_by_what_is_the_same_in_them():
    named = tables.name_of_block
    assert named("shapes", "bcl", "100") == 'shapes, 100-shot, protocol "bcl"'
    assert named("", "bcl", "1%") == '1% of the labels, protocol "bcl"'
    assert named("", "", "full") == "full-shot" and named("", "", "own labels") == "own labels"
    assert list(tables.by_block(pd.DataFrame())) == []


def test_a_probe_is_told_by_shots_and_group():
    rows = pd.DataFrame([
        {"shots": shots, "list": name, "group": group, "accuracy": value + (name == "b") * 0.02,
         "untested": untested}
        for shots, name, untested in (("100", "a", ""), ("100", "b", "moth"), ("own", "a", "ant"))
        for group, value in (("all", 0.5), ("top5", 0.8), ("few", 0.3), ("other", 0.1))
    ])  # fmt: skip
    assert tables.probe_table(rows).split("\n") == [
        "| shots | lists | few | all | top5 |", "| --- | --- | --- | --- | --- |",
        "| 100 | 2 | 31.0 | 51.0 | 81.0 |", "| own | 1 | 30.0 | 50.0 | 80.0 |", "",
        "Without a test image, and so in no mean: class ant.", "",
        "Without a test image, and so in no mean: class moth.",
    ]  # fmt: skip


def test_a_page_is_made_anew_between_its_marks_only():
    page = "a\n<!-- generated: x -->\nold\n\nolder<!-- end -->\nb <!-- generated: y --><!-- end -->"
    again = tables.regenerate(page, {"x": lambda: "new", "y": lambda: "too"})
    first, second = (f"<!-- generated: {k} -->\n\n{v}\n\n<!-- end -->" for k, v in (["x", "new"],
                     ["y", "too"]))  # fmt: skip
    assert again == f"a\n{first}\nb {second}"


def test_the_last_signal_stands_row_by_row(two):
    signal = study.signal(two)
    signal.loc[(signal["epoch"] == 30) & (signal["seed"] == 2), ["auroc", "weighted"]] = 0.5, 0.7
    found = tables.last_auroc(signal).to_dict("records")
    line = {"n": 3, "AUROC for few": "0.833 ± 0.289"}
    line["weighted to the tail's classes"] = "0.900 ± 0.173"
    assert found == [{"features": name, **line} for name in ("SimCLR", "SDCLR")]
