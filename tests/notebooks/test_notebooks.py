"""Lessons keep to the template and run without a warning; a batch's notebook fails when it must."""

import ast
import json
import re
import statistics

import papermill
import pytest

from ltcl_helpers import files, paths, recipes, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError

NOTEBOOKS = paths.ROOT / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
RUN_ONE = NOTEBOOKS / "run_one.ipynb"
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def read_cells(path):
    """(kind, text, tags, outputs) of every cell."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        tags = cell["metadata"].get("tags", [])
        yield cell["cell_type"], "".join(cell["source"]), tags, cell.get("outputs", [])


# --- the template ---------------------------------------------------------------------------


def test_there_are_lessons():
    assert LESSONS and RUN_ONE.exists()


@each_lesson
def test_lesson_has_the_size_of_a_lesson(path):
    cells = list(read_cells(path))
    words = sum(len(text.split()) for kind, text, *_ in cells if kind == "markdown")
    lines = [len(text.splitlines()) for kind, text, *_ in cells if kind == "code"]
    assert 1500 <= words <= 3500, words
    assert 15 <= len(lines) <= 35, len(lines)  # one idea a cell
    assert max(lines) <= 31 and statistics.median(lines) <= 18, sorted(lines)  # of 80 columns


@each_lesson
def test_no_line_of_code_is_longer_than_the_site_shows(path):
    """88 columns at 1280 pixels (docs/course.css); a browser measures it in tests/course."""
    for kind, text, *_ in read_cells(path):
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
        for line in (text if kind == "code" else "\n".join(blocks)).splitlines():
            assert len(line) <= 88, line


@each_lesson
def test_lesson_has_its_parts(path):
    cells = list(read_cells(path))
    assert cells[0][0] == "markdown" and cells[0][1].startswith("# ")
    headings = [
        line.lower()
        for kind, text, *_ in cells
        if kind == "markdown"
        for line in text.splitlines()
        if line.startswith("#")
    ]
    for part in ("exercise", "try next", "limit", "summary", "reference"):
        assert any(part in heading for heading in headings), f"no heading with {part!r}"
    tagged = [tag for _, _, tags, _ in cells for tag in tags]
    assert tagged.count("parameters") == 1 and tagged.count("solution") >= 2, tagged
    parameters = next(text for _, text, tags, _ in cells if "parameters" in tags)
    assert all(isinstance(node, ast.AnnAssign) for node in ast.parse(parameters).body)
    assert "preset: str" in parameters


@each_lesson
def test_sections_and_exercises_are_numbered_without_a_gap(path):
    """What a lost cell takes with it is seen here: a stub without its task, a section less."""
    sections, asked = [], []
    for kind, text, *_ in read_cells(path):
        if kind == "markdown":
            sections += re.findall(r"^## (\d+)\.", text, re.M)
            asked += re.findall(r"^### (Exercise \d+.*)", text, re.M)
        elif "# your answer here" in text:
            asked.append("stub")
    assert sections == [str(number + 1) for number in range(len(sections))]
    tasks = [line for line in asked if line != "stub"]
    named = [line.split(":")[0] for line in tasks]
    assert named == [f"Exercise {number + 1}" for number in range(len(tasks))]
    expected = []
    for line in tasks:
        expected += [line] if "paper and pencil" in line else [line, "stub"]
    assert asked == expected
    plan = (paths.ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
    said = re.search(rf"^\| {path.stem[:2]} .*\| (\d+), [●○]", plan, re.M)
    assert int(said[1]) == len(tasks)


@each_lesson
def test_lesson_ends_with_a_bet_and_the_way_on(path):
    """ "Try next" is one bet with a command, and the last lesson but one links to the next."""
    text = "\n".join(text for kind, text, *_ in read_cells(path) if kind == "markdown")
    bet = text.split("## Try next")[1].split("\n## ")[0]
    assert "**Bet:**" in bet
    later = LESSONS[LESSONS.index(path) + 1 :]
    if later:
        assert f"]({later[0].name})" in bet and "Next: [" in bet
    assert re.search(r"^ltcl \w+ ", bet, re.M)


@each_lesson
def test_a_method_is_told_by_its_drawing_and_every_picture_is_there(path):
    text = "\n".join(text for kind, text, *_ in read_cells(path) if kind == "markdown")
    drawn = {"02": "simclr", "03": "sdclr", "04": "bcl", "05": "bcl", "09": "moco"}
    drawn |= {"10": "balanced"}
    name = drawn.get(path.name[:2])
    assert name is None or f"figures/drawing_{name}.png" in text
    for words, picture in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text):
        assert (NOTEBOOKS / picture).exists() and len(words.split()) >= 3, picture


@each_lesson
def test_a_lesson_draws_in_the_style_of_the_course(path):
    """Which `report.plots` sets where it is imported."""
    code = "\n".join(text for kind, text, *_ in read_cells(path) if kind == "code")
    assert "plt." not in code or "plots." in code
    assert "display(" not in code  # show_table and show_frame: every column has a header


@each_lesson
def test_solutions_are_folded(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    solutions = [cell for cell in cells if "solution" in cell["metadata"].get("tags", [])]
    assert solutions
    for cell in solutions:
        assert cell["metadata"]["jupyter"] == {"source_hidden": True}


@each_lesson
def test_lesson_speaks_plain_english(path):
    """Whole sentences in the field's words: phrases of this house that readers stumbled over."""
    text = "\n".join(text for _, text, *_ in read_cells(path))
    for phrase in ("told from zero", r"\blearnt\b", "the trial", "small print"):
        assert not re.search(phrase, text, re.I), phrase


@pytest.mark.parametrize("path", [*LESSONS, RUN_ONE], ids=lambda path: path.stem)
def test_notebook_is_plain_python_without_outputs(path):
    for kind, text, _, outputs in read_cells(path):
        assert not outputs
        if kind == "code":
            ast.parse(text)  # neither "!" nor "%"
            assert "sys.path" not in text and "download=True" not in text


@each_lesson
def test_lesson_runs_without_its_solutions(path):
    """The student edition drops them: no later cell may use a name that only they define."""
    code = [(ast.parse(text), "solution" in tags) for kind, text, tags, _ in read_cells(path)
            if kind == "code"]  # fmt: skip
    kept = set().union(*(defined(tree) for tree, solution in code if not solution))
    missing = set()
    for tree, solution in code:
        if solution:
            missing |= defined(tree) - kept
        else:
            assert not missing & used(tree)


def defined(tree):
    """Names that a cell assigns, defines or imports, at any depth."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and stores(node)}
    names |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    return names | {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def used(tree):
    """Names that a cell reads."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not stores(node)}


def stores(node):
    return isinstance(node.ctx, ast.Store)


# --- execution ------------------------------------------------------------------------------


@each_lesson
def test_lesson_runs_on_the_tiny_preset(path, at_tiny):
    target = at_tiny(path)
    noise = [
        "".join(output["text"])
        for *_, outputs in read_cells(target)
        for output in outputs
        if output.get("name") == "stderr"
    ]
    assert noise == []
    said = "".join(
        "".join(output.get("text", ""))
        for _, _, tags, outputs in read_cells(target)
        if "solution" in tags
        for output in outputs
    )
    assert ": wrong" not in said and ": error" not in said, said  # checks do not raise


def test_run_one_finishes_a_run_and_goes_on_with_it(tmp_path, execute):
    """In a folder that is named by a date: papermill takes that for a number."""
    folder, tiny = tmp_path / "20240131", dict(preset="tiny", shots="50,1%", protocol="logistic")
    for _ in range(2):  # the second call finds the finished run, and probes it again
        done = execute(RUN_ONE, tmp_path / "one.ipynb", out=folder.name, **tiny)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "unknown parameter" not in done.stderr
        runs.verify(folder)
    rows = files.read_parquet(folder / "probe.parquet")
    assert set(rows["shots"]) == {"50", "1%"} and {"many", "few", "all"} <= set(rows["group"])
    assert not rows.duplicated(["shots", "list", "group"]).any()

    with pytest.raises(ConfigError, match="holds a run with seed 0, not 1; name another out"):
        cells_of_run_one(out=str(folder), **tiny, seed=1)


def test_run_one_ends_papermill_with_an_error_for_a_bad_parameter(tmp_path, execute):
    done = execute(RUN_ONE, tmp_path / "one.ipynb", preset="tiny", out=tmp_path / "run", epochs=-1)
    assert done.returncode != 0 and "ConfigError" in done.stderr and "epochs" in done.stderr
    assert not (tmp_path / "run").exists()


def cells_of_run_one(until=None, **given):
    """The names that its cells make, run here as papermill runs them, up to the one that is asked.

    Without an end all cells run.
    """
    names = {}
    for kind, text, tags, _ in read_cells(RUN_ONE):
        if kind == "code":
            exec(compile(text, RUN_ONE.name, "exec"), names)
        if "parameters" in tags:
            names |= given
        if until in names:
            break
    return names


def test_papermill_knows_every_parameter_of_run_one():
    """In its list of them; a right call is then never said to pass an unknown one."""
    known = papermill.inspect_notebook(str(RUN_ONE))
    wanted = set(RunConfig.model_fields) - {"options", "weights"}
    for name in recipes.RECIPES:
        if recipes.RECIPES[name].has_options:
            wanted |= set(recipes.load_method(name).Options.model_fields)
    wanted |= {"out", "shots", "lists", "protocol", "features", "groups"}
    assert wanted <= set(known)
    assert known["boost_k"]["inferred_type_name"] == "Optional[int]"
    assert known["queue_batches"]["inferred_type_name"] == "Optional[int]"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"split": 20240131}, {"split": "20240131"}),  # papermill makes numbers of such text
        ({"lr": "5e-4"}, {"lr": 5e-4}),  # or leaves text, as with -r
        ({"blocks": "[1,1]"}, {"blocks": (1, 1)}),
        ({"mirrored": "true"}, {"mirrored": True}),
        ({"split_seed": "none"}, {"split_seed": None}),
        ({"method": "moco-v2", "mlp": "False"}, {"options": {"mlp": False}}),
        ({"data": "npz:~/a=b_train.npz"}, {"data": "npz:~/a=b_train.npz"}),
        ({"data": 7, "split": 3}, {"data": "7", "split": "3"}),
    ],
)
def test_run_one_reads_its_parameters_as_the_command_does(given, expected):
    found = cells_of_run_one("config", preset="tiny", **given)
    for name, value in expected.items():
        told = getattr(found["config"], name)
        if name == "options":
            told = {option: told[option] for option in value}
        assert told == value


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", -1), ("preset", "huge"), ("shots", "ten"), ("protocol", "svm"), ("split", "a.npy")],
)
def test_run_one_refuses_a_bad_parameter(name, value, tmp_path):
    given = {"preset": "tiny", "out": str(tmp_path / "run"), name: value}
    with pytest.raises(ConfigError, match=name):
        cells_of_run_one(**given)
    assert not (tmp_path / "run").exists()
