"""The files around the package agree with each other; floors and types are held by `make lint`."""

import ast
import csv
import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ltcl_helpers"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_NAMES = {"pytorch": "torch", "playwright-python": "playwright"}  # others are PyPI's
ON_CONDA_FORGE = set(
    """anywidget check-jsonschema distributed filelock hatchling import-linter
    ipykernel jupyterlab latex2mathml lazy-loader matplotlib mistune mypy myst-nb nbconvert
    nbstripout numpy pandas pandas-stubs papermill pillow playwright-python pyarrow pydantic pytest
    pytest-xdist pytorch pyyaml ruff safetensors scikit-learn scipy seaborn sphinx
    sphinx-book-theme torchvision tqdm types-psutil types-pyyaml types-tqdm""".split()  # noqa: SIM905
)
MODULES = sorted(PACKAGE.rglob("*.py"))
LIGHT = {  # what loads neither package: a wrong call fails within a second
    "torch": "cli config recipes files runs data data.splits data.shapes probe.choices batch.grid",
    "pandas": "cli config recipes files runs data data.splits probe.choices batch.grid",
}
HEAVY = {
    "papermill", "jupyter_client", "IPython", "ipywidgets", "dask", "distributed", "matplotlib",
    "seaborn", "anywidget", "sklearn",
}  # fmt: skip


def tracked_files():
    """Files that git tracks; skips the test where this is not a git checkout."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        listing = ""
    if not listing:  # no git, no .git, another user's clone, or a folder inside of another clone
        pytest.skip("not a git checkout: which files are tracked is not known")
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def direct_requirements():
    lines = PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), [])
    return [need for need in map(Requirement, lines) if need.name != PROJECT["name"]]


def bounds(requirements):
    return {canonicalize_name(need.name): need.specifier for need in requirements}


def check_schema(schema, *files):
    """Validates offline: the schemas are part of check-jsonschema."""
    command = [sys.executable, "-m", "check_jsonschema", "--default-filetype", "yaml"]
    done = subprocess.run(
        [*command, "--builtin-schema", schema, *files], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- environments, workflows, Makefile ------------------------------------------------------


def test_conda_environment_names_the_packages_and_bounds_of_pyproject():
    lines = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    conda = bounds(Requirement(line) for line in lines if isinstance(line, str))
    python, _ = conda.pop("python"), conda.pop("pip")
    assert set(conda) <= ON_CONDA_FORGE  # a new name is looked up there, then added here
    conda = {CONDA_NAMES.get(name, name): specifier for name, specifier in conda.items()}
    by_pip = next(line["pip"] for line in lines if isinstance(line, dict))
    conda |= bounds(Requirement(line) for line in by_pip if line != "-e .")
    assert conda == bounds(direct_requirements())
    supported = SpecifierSet(PROJECT["requires-python"])
    for minor in range(8, 20):
        assert f"3.{minor}.0" not in python or f"3.{minor}.0" in supported
    assert "3.11.0" in python and "3.13.0" in python


def locked_pins():
    """(requirement, its hashes) for every pin of the lock."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for block in re.split(r"\n(?=[A-Za-z0-9])", text):
        lines = [line for line in block.splitlines() if not line.lstrip().startswith("#")]
        if lines:
            yield (
                Requirement(lines[0].removesuffix("\\").strip()),
                re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block),
            )


def test_lock_pins_every_direct_dependency_with_hashes():
    pins = list(locked_pins())
    assert [str(pin) for pin, hashes in pins if not hashes] == []
    versions = {}
    for pin, _ in pins:
        (clause,) = pin.specifier
        assert clause.operator == "=="
        versions.setdefault(canonicalize_name(pin.name), []).append(clause.version)
    for need in direct_requirements():
        assert canonicalize_name(need.name) in versions, f"{need.name} is not in the lock"
        for version in versions[canonicalize_name(need.name)]:
            assert version in need.specifier, f"{need} does not allow the locked {version}"
    assert "2.13.0" not in versions["torch"]  # its torchvision does not import beside every build


def test_lock_holds_no_address():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").lower()
    for mark in ("http://", "https://", "file:", "--index-url", "--extra-index", "--find-links"):
        assert mark not in text


def test_workflows_match_the_github_schema():
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert {file.name for file in files} >= {"test.yml", "gpu.yml"}
    check_schema("vendor.github-workflows", *files)


def test_what_workflows_and_pages_call_is_there():
    """A workflow runs elsewhere: a file that has moved would be missed there only, and late."""
    workflows = [*(ROOT / ".github" / "workflows").glob("*.yml"), *(ROOT / ".ci").iterdir()]
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    named = set()
    for file in workflows:
        named |= set(re.findall(r"\b(?:tests|experiments)/[\w./-]*\w", file.read_text("utf-8")))
    for page in pages:
        named |= set(re.findall(r"\btests/[\w./-]+\.(?:py|mjs)", page.read_text("utf-8")))
    assert len(named) > 8
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_citation_is_valid_and_of_this_version():
    check_schema("vendor.citation-file-format", ROOT / "CITATION.cff")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def test_makefile_has_the_promised_targets():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(" ".join(re.findall(r"^([\w -]+):(?!=)", text, re.MULTILINE)).split())
    assert {"setup", "course", "test", "lint", "figures", "site", "clean"} <= targets


# --- what is committed ----------------------------------------------------------------------


def test_no_tracked_file_names_a_folder_of_one_machine():
    pattern = re.compile(rb"(?<![\w.-])/(?:work|root|home|Users)/[\w.~-]+")
    found = [
        f"{path.relative_to(ROOT)}: {match.group().decode()}"
        for path in tracked_files()
        if (match := pattern.search(path.read_bytes()))
    ]
    assert found == []


def test_tracked_notebooks_hold_no_outputs():
    notebooks = [path for path in tracked_files() if path.suffix == ".ipynb"]
    assert len(notebooks) > 12
    for path in notebooks:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            assert not cell.get("outputs") and not cell.get("execution_count"), path.name


def test_every_lesson_has_one_parameters_cell():
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
        assert [cell["cell_type"] for cell in tagged] == ["code"], path.name


def test_no_catch_all_module_and_no_import_path_edits():
    edits = re.compile(r"sys\.path\s*(?:\+?=[^=]|\[|\.(?:append|insert|extend))")
    for path in tracked_files() + MODULES:
        assert path.name != "utils.py", path
        if path.suffix in (".py", ".ipynb"):
            assert not edits.search(path.read_text(encoding="utf-8")), path


def test_published_numbers_are_fractions_with_a_source():
    with (ROOT / "data" / "published.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cells = [tuple(row.values())[:-2] for row in rows]  # all but accuracy and note
    assert len(set(cells)) == len(rows) >= 12
    assert all(row["source"] and row["table"] and 0 < float(row["accuracy"]) < 1 for row in rows)


def test_published_lists_are_named_by_commit_and_checksum():
    book = json.loads((ROOT / "data" / "splits" / "published.json").read_text(encoding="utf-8"))
    assert (len(book["files"]), len(book["large"])) == (49, 15)
    for name, entry in (book["files"] | book["large"]).items():
        origin = {key: book[key] for key in ("repository", "commit")} | entry
        if name.endswith(".txt"):  # lists of file names: git's own name for the content, too
            assert re.fullmatch(r"[0-9a-f]{40}", origin.pop("git_blob"))
            if name in book["large"] and "sha256" not in origin:
                continue  # the copies at hand lack files of 4 MiB and more
        assert set(origin) == {"repository", "commit", "path", "sha256", "size"}
        assert origin["path"].endswith(name) and ".." not in name and origin["size"] > 128
        assert re.fullmatch(r"[\w-]+/[\w-]+", origin["repository"])
        assert re.fullmatch(r"[0-9a-f]{40}", origin["commit"])
        assert re.fullmatch(r"[0-9a-f]{64}", origin["sha256"])


# --- the package ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_are_as_long_as_their_subject(path):
    """A file of 500 lines has two subjects, most likely; a function of 60 has."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno + 1 <= 60, node.name


def test_every_room_says_what_lives_there_and_hands_out_names_that_are_there():
    rooms = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
    assert len(rooms) == 12
    for room in rooms:
        face = importlib.import_module(f"ltcl_helpers.{room.name}")
        assert face.__doc__, room.name
        for name in face.__all__:
            assert getattr(face, name) is not None, f"{room.name}.{name}"


@pytest.mark.parametrize("package", LIGHT)
def test_light_modules_load_neither_torch_nor_pandas(package):
    for module in LIGHT[package].split():
        code = f"import sys, ltcl_helpers.{module}; sys.exit({package!r} in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, f"{module} loads {package} {done.stderr}"


def test_training_needs_no_notebook_cluster_or_plot_package():
    code = (
        "import sys, ltcl_helpers.pretrain\n"
        "from ltcl_helpers.config import RunConfig\n"
        "ltcl_helpers.pretrain.pretrain(RunConfig(preset='tiny', epochs=1))\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()).isdisjoint(HEAVY)
