"""What a lesson says of recorded rows: one finding a pair, and the rest folded."""

import numpy as np
import pandas as pd

from ltcl_helpers.report import compare, lesson
from ltcl_helpers.report.rows import WHO


def runs(**values):
    """Accuracies of methods over seeds, as `by_run` gives them; few and all are the same."""
    parts = {}
    for name, found in values.items():
        where = pd.MultiIndex.from_tuples([("d", False, k) for k in range(len(found))], names=WHO)
        parts[name] = pd.DataFrame({"few": found, "all": found}, where)
    return pd.concat(parts)


def compared(found, *pairs):
    return compare(found, pairs, groups=("few", "all"))


def test_a_finding_says_how_large_and_how_sure_in_plain_words():
    found = runs(a=[0.5, 0.52, 0.54], b=[0.4, 0.421, 0.439], c=[0.45, 0.56, 0.52], d=[0.1])
    table = compared(found, ("a", "b"), ("c", "a"), ("d", "a"))
    said = lesson.finding(table)
    assert "a minus b: higher by 10.0 points (between +9.8 and +10.2 points)" in said
    assert "on the few classes higher by 10.0 points" in said
    assert "c minus a: no clear difference (between -" in said
    assert "d minus a: 1 seed only, so nothing can be said." in said
    assert "told from zero" not in said


def test_too_wide_an_interval_is_no_finding():
    found = runs(a=[0.1, 0.9, 0.5], b=[0.5, 0.4, 0.6])
    assert "the runs scatter too much" in lesson.finding(compared(found, ("a", "b")))


def test_a_comparison_shows_a_table_a_finding_and_folds_the_rest(monkeypatch):
    shown = []
    monkeypatch.setattr(lesson, "display", lambda text: shown.append(text.data))
    lesson.show_comparison(compared(runs(a=[0.5, 0.52], b=[0.4, 0.43]), ("a", "b")))
    lesson.show_comparison(pd.DataFrame())
    table, finding, seen, *_ = shown[0].split("\n\n")
    assert table.startswith("| first minus second, points |")
    assert finding.startswith("**Finding") and seen.startswith("<details><summary>")
    assert shown[0].endswith(lesson.INTERVALS)
    assert shown[1] == "No two of the compared runs are here yet."


def test_a_study_whose_pairs_are_not_there_yet_shows_its_rows_and_says_so(monkeypatch):
    shown = []
    monkeypatch.setattr(lesson, "display", lambda text: shown.append(text.data))
    monkeypatch.setattr(lesson, "results", lambda study, **only: f"the rows of {study}, {only}")
    monkeypatch.setattr(lesson, "comparisons", lambda study, **only: pd.DataFrame())
    lesson.show_study("toy", shots="100")
    rows, nothing = shown[0].split("\n\n")
    assert rows == "the rows of toy, {'shots': '100'}"
    assert nothing == "No two of the compared runs are here yet."


def test_a_frame_is_shown_without_its_index_and_without_nan(monkeypatch):
    shown = []
    monkeypatch.setattr(lesson, "show", shown.append)
    lesson.show_frame(pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan]}, index=["x", "y"]))
    assert shown[0].split("\n") == ["| a | b |", "| --- | --- |", "| 1 | 0.5 |", "| 2 |  |"]


def test_a_finding_without_all_classes_names_the_clear_groups_only():
    found = runs(a=[0.5, 0.501, 0.5], b=[0.5, 0.5, 0.501])
    few = compare(found, [("a", "b")], groups=("few",))
    start = "**Finding, over all classes.** a minus b: "
    assert lesson.finding(few) == f"{start}no group shows a clear difference."
    both = lesson.finding(compared(found, ("a", "b")))
    assert both == f"{start}no difference that matters (between -0.2 and +0.2 points)."
    lower = lesson.finding(compared(runs(a=[0.1, 0.11], b=[0.3, 0.31]), ("a", "b")))
    assert lower.startswith(f"{start}lower by 20.0 points (between -20.0 and -20.0 points); on the")


def test_paragraphs_and_tables_are_shown_as_markdown(monkeypatch):
    shown = []
    monkeypatch.setattr(lesson, "display", shown.append)
    lesson.show("one", "two")
    lesson.show_table(["a", "b"], [["1", "2"]])
    lesson.show_comparison(compared(runs(a=[0.5, 0.52], b=[0.4, 0.43]), ("a", "b")), "a title")
    first, second, third = (text.data for text in shown)
    assert first == "one\n\ntwo" and second == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert third.startswith("| a title | n | few | all |")
    assert lesson.folded("s", "t") == "<details><summary>s</summary>\n\nt\n\n</details>"
