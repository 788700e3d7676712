"""Every exercise of the course as a student hands it in: right, not answered, wrong."""

import json
import re

import pytest

from ltcl_helpers import exercises, paths
from ltcl_helpers.course import editions, fences, grading, slicing

LESSONS = {p.stem: json.loads(p.read_text("utf-8")) for p in
           sorted(paths.LESSONS.glob("[0-9]*.ipynb"))}  # fmt: skip
ASKED = {name: {e.answer: e.check for e in asked} for name, asked in grading.lessons().items()}
CALL = re.compile(r"^exercises\.(check_\w+)\((\w+)\)$", re.MULTILINE)
each_lesson = pytest.mark.parametrize("name", LESSONS)

# --- answers to lessons 07 to 10 ------------------------------------------------------------

LATE = """
import numpy as np, pandas as pd, torch
def late(last, groups):
    few = np.flatnonzero(np.array(groups) == "few")
    return few[np.argsort(-last[few])[:10]]
"""
DRAWS = """
import pandas as pd
def my_pair_means(runs):
    table = pd.DataFrame(runs, columns=["draw", "mirrored", "value"])
    wide = table.pivot_table(index="draw", columns="mirrored", values="value")
"""
RING = """
import torch
def my_ring(queue, keys, place):
    new, columns = queue.clone(), (place + torch.arange(len(keys))) % queue.shape[1]
"""
NEXT = "\n    return (place + len(keys)) % queue.shape[1]"
WRONG = {
    "my_late": ["def my_late(last, groups):\n    return [int(k) for k in (-last).argsort()[:10]]",
                LATE + "def my_late(*given):\n    return [torch.tensor(late(*given)[0])] * 10",
                "def my_late(last, groups):\n    pass"],
    "my_hard_head": ["def my_hard_head(last, groups):\n    return groups.index('many')",
                     "def my_hard_head(last, groups):\n    return [groups.index('many')]"],
    "my_changes": ["def my_changes(plain, boosted, control, at):\n"
                   "    a, b = (boosted - plain)[at].mean(), (control - plain)[at].mean()\n"
                   "    return a, b, b - a"],
    "my_pair_means": ["def my_pair_means(runs):\n    return [value for _, _, value in runs]",
                      DRAWS + "    return wide.mean(axis=1)",
                      DRAWS + "    return wide.dropna()"],
    "my_interval": ["import numpy as np\ndef my_interval(values):\n"
                    "    reach = 1.96 * np.std(values, ddof=1) / len(values) ** 0.5\n"
                    "    return np.mean(values) - reach, np.mean(values) + reach"],
    "my_smallest_difference": ["from scipy import stats\ndef my_smallest_difference(sd, n):\n"
                               "    return sd * stats.t.ppf(0.975, n - 1) / n**0.5"],
    "my_info_nce": ["import torch\ndef my_info_nce(query, key, queue, temperature):\n"
                    "    logits = torch.cat([(query * key).sum(1, True), query @ queue], 1)\n"
                    "    return (logits / temperature).log_softmax(1)[:, 0].neg()"],
    "my_ring": [RING + "    new[:, columns] = keys.T" + NEXT,
                RING + "    new[:, columns] = keys.T\n    queue.data = new" + NEXT,
                RING + "    queue[:, columns] = keys.T\n    return place + len(keys)"],
    "my_simplex_cosine": ["def my_simplex_cosine(classes):\n    return -1 / classes"],
    "my_balanced_loss": ["def my_balanced_loss(features, own, prototypes, temperature):\n"
                         "    return features.sum((1, 2))"],
    "my_never_tested": ["def my_never_tested(train, test):\n"
                        "    return sorted(set(train) & set(test))"],
    "my_held_out": ["import numpy as np\ndef my_held_out(labels, share, seed):\n"
                    "    return np.arange(int(share * len(labels)))"],
    "my_decision": ["def my_decision(low, high, gain):\n"
                    "    return 'keep' if low + high > 2 * gain else 'drop'"],
    "my_class_weight": ["def my_class_weight(members, others, averaging):\n"
                        "    return 0.5 if averaging else members / others"],
    "my_compensation": ["def my_compensation(logits, class_counts):\n"
                        "    logits -= (class_counts / class_counts.sum()).log()\n"
                        "    return logits"],
}  # fmt: skip
OTHERWISE = {  # right answers of another kind than the solutions'
    "my_late": [LATE + f"def my_late(*given):\n    return {form}" for form in (
                "late(*given)", "list(late(*given))", "set(late(*given).tolist())",
                "pd.Index(late(*given))", "(k for k in late(*given))",
                "torch.tensor(late(*given))")],
    "my_hard_head": ["import numpy as np\ndef my_hard_head(last, groups):\n"
                     "    return [np.where(np.array(groups) == 'many', last, -1).argmax()]"],
    "my_changes": ["def my_changes(plain, boosted, control, at):\n"
                   "    boosted -= plain\n    control -= plain\n"
                   "    a, b = boosted[at].mean(), control[at].mean()\n    return [a, b, a - b]"],
    "my_pair_means": [DRAWS + "    return wide.dropna().mean(axis=1)"],
    "my_info_nce": ["import torch\ndef my_info_nce(query, key, queue, temperature):\n"
                    "    query, key = (x / x.norm(dim=1)[:, None] for x in (query, key))\n"
                    "    logits = torch.cat([(query * key).sum(1, True), query @ queue], 1)\n"
                    "    return logits.div_(temperature).log_softmax(1)[:, 0].neg()"],
    "my_ring": ["def my_ring(queue, keys, place):\n    for key in keys:\n"
                "        queue[:, place] = key\n        place = (place + 1) % queue.shape[1]\n"
                "    return place"],
    "my_simplex_cosine": ["from fractions import Fraction\ndef my_simplex_cosine(classes):\n"
                          "    return Fraction(-1, classes - 1)"],
    "my_compensation": ["def my_compensation(logits, class_counts):\n"
                        "    logits += (class_counts / class_counts.sum()).log()\n"
                        "    return logits"],
}  # fmt: skip


def solutions(name):
    """The teacher's cells under the students' names, by name."""
    found = {}
    for cell in filter(editions.is_solution, LESSONS[name]["cells"]):
        for check, function in CALL.findall(editions.text(cell)):
            (mine,) = (answer for answer, asked in ASKED[name].items() if asked == check)
            found[mine] = re.sub(rf"\b{function}\b", mine, editions.text(cell))
    return found


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory, grade, hand_in):
    """Grade a lesson's submission with these answers; (status, message) by answer."""
    path = tmp_path_factory.mktemp("class")

    def call(name, answers):
        file = path / f"{name}.ipynb"
        file.write_text(json.dumps(hand_in(name, answers)), "utf-8")
        rows = grade(file)
        assert [row["answer"] for row in rows] == list(ASKED[name])
        assert {row["lesson"] for row in rows} == {name}
        return {row["answer"]: (row["status"], row["message"]) for row in rows}

    return call


@each_lesson
def test_the_teachers_solutions_are_right(verdicts, name):
    answers = solutions(name)
    assert set(answers) == set(ASKED[name])
    assert verdicts(name, answers) == dict.fromkeys(ASKED[name], ("right", ""))


@each_lesson
def test_a_students_edition_is_not_answered(verdicts, name):
    assert verdicts(name, {}) == dict.fromkeys(ASKED[name], ("not answered", ""))


@pytest.mark.parametrize("name", list(LESSONS)[7:])
def test_wrong_answers_are_wrong_and_get_the_hint(verdicts, name):
    tried = {answer: WRONG[answer] for answer in ASKED[name]}
    for k in range(max(map(len, tried.values()))):
        answers = {answer: forms[k] for answer, forms in tried.items() if k < len(forms)}
        for answer, (status, message) in verdicts(name, answers).items():
            if answer in answers:
                hint = getattr(exercises, ASKED[name][answer]).hint
                assert status == "wrong" and hint[:30] in message, (answer, k, status, message)


@pytest.mark.parametrize("name", [name for name in LESSONS if set(ASKED[name]) & set(OTHERWISE)])
def test_right_answers_of_another_kind_are_right(verdicts, name):
    tried = {answer: OTHERWISE[answer] for answer in ASKED[name] if answer in OTHERWISE}
    for k in range(max(map(len, tried.values()))):
        answers = {answer: forms[k] for answer, forms in tried.items() if k < len(forms)}
        found = verdicts(name, answers)
        assert {a: found[a] for a in answers} == dict.fromkeys(answers, ("right", "")), k


@each_lesson
def test_a_lesson_has_all_that_its_students_edition_calls(name):
    """The line that imports `exercises` gives the checks, `check` and the summary."""
    lines = "\n".join(grading.code_cells(paths.LESSONS / f"{name}.ipynb"))
    names = {}
    exec(str(slicing.program([lines], [], "exercises")), names)
    called = re.findall(r"\bexercises\.(\w+)", lines)
    assert called and all(hasattr(names["exercises"], each) for each in [*called, "summary"])


def test_an_answer_may_read_what_lessons_read_and_no_lesson():
    seen = fences.visible()
    read = [paths.DATA / name for name in ("results", "published.csv", "splits")]
    for place in (*read, paths.ROOT / "figures", paths.ROOT / "experiments"):
        assert place.absolute() in seen, place
    assert not [place for place in seen if paths.LESSONS.absolute().is_relative_to(place)]
