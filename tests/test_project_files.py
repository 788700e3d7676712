"""The files around the package agree with each other, and the package keeps to its floors."""

import ast
import csv
import graphlib
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
CONDA_NAMES = {"pytorch": "torch"}
FLOORS = {
    module: floor
    for floor, modules in enumerate(
        [
            "config recipes store chores",
            "shapes datasets splits machine boost augment autoaugment views encoders convolution "
            "batchnorm losses pruning memory graphs lars",
            "simclr sdclr moco supervised balanced",
            "runs",
            "dictionaries keeper pretrain lists knn sdclr_probe probe classify",
            "grid plan cell",
            "batch bench rows report study tables plots page reproduction",
            "histories thumbnails explorer",
            "checking exercises exercises_later exercises_report exercises_explore exercises_more",
            "answering sandbox course grading website",
            "cli __main__",
        ]
    )
    for module in modules.split()
} | {"__init__": -1}  # importing any module runs it, so it imports none
MODULES = sorted(PACKAGE.glob("*.py"))
LIGHT = {
    "torch": "cli config recipes store shapes datasets splits",
    "pandas": "cli config recipes store",
}
HEAVY = {"papermill", "jupyter_client", "IPython", "ipywidgets", "dask", "distributed"}


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
    conda = {CONDA_NAMES.get(name, name): specifier for name, specifier in conda.items()}
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
    for path in tracked_files():
        if path.suffix == ".ipynb":
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
    assert len(book["files"]) == 44
    for name, entry in book["files"].items():
        origin = {key: book[key] for key in ("repository", "commit")} | entry
        assert set(origin) == {"repository", "commit", "path", "sha256", "size"}
        assert origin["path"].endswith(name) and ".." not in name and origin["size"] > 128
        assert re.fullmatch(r"[\w-]+/[\w-]+", origin["repository"])
        assert re.fullmatch(r"[0-9a-f]{40}", origin["commit"])
        assert re.fullmatch(r"[0-9a-f]{64}", origin["sha256"])


# --- the package ----------------------------------------------------------------------------


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_modules_and_functions_are_short(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 300, f"{path.name} has {lines} lines"
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno + 1 <= 60, f"{path.name}: {node.name}"


def statements(node, at_load):
    """Every node below; with `at_load` only what runs when the module is imported."""
    for child in ast.iter_child_nodes(node):
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            child = ast.Module(child.orelse, [])
        if not (at_load and function):
            yield child
            yield from statements(child, at_load)


def imports(path, at_load=False):
    """Names a module imports: `.config` for one of the package, `torch` for another package."""
    names = set()
    for node in statements(parse(path), at_load):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = "ltcl_helpers." * bool(node.level) + (node.module or "")
            names |= {f"{origin.rstrip('.')}.{alias.name}" for alias in node.names}
    found = set()
    for first, *rest in (name.split(".") for name in names):
        if first != "ltcl_helpers":
            found.add(first)
        elif rest and (PACKAGE / f"{rest[0]}.py").is_file():
            found.add("." + rest[0])
    return found


def own(names):
    return {name[1:] for name in names if name.startswith(".")}


def loaded_by(module):
    """Packages loaded by importing a module, through the package's other modules too."""
    seen, waiting, packages = set(), {"__init__", module}, set()
    while waiting:
        seen.add(current := waiting.pop())
        names = imports(PACKAGE / f"{current}.py", at_load=True)
        packages |= {name for name in names if not name.startswith(".")}
        waiting |= own(names) - seen
    return packages


def test_every_module_has_a_floor():
    assert {path.stem for path in MODULES} <= set(FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_modules_import_from_their_own_floor_or_below(path):
    above = [name for name in own(imports(path)) if FLOORS[name] > FLOORS[path.stem]]
    assert above == []


def test_modules_import_each_other_without_cycles():
    graph = {path.stem: own(imports(path)) for path in MODULES}
    assert set(graphlib.TopologicalSorter(graph).static_order()) == set(graph)


@pytest.mark.parametrize("package", LIGHT)
def test_light_modules_load_neither_torch_nor_pandas(package):
    for module in LIGHT[package].split():
        if (PACKAGE / f"{module}.py").is_file():
            loaded = loaded_by(module)
            assert package not in loaded, f"{module} loads {package}"
            assert package != "torch" or "torchvision" not in loaded, f"{module} loads torchvision"


def test_training_needs_no_notebook_cluster_or_plot_package():
    for path in MODULES:
        if FLOORS[path.stem] <= FLOORS["pretrain"]:
            assert imports(path).isdisjoint(HEAVY | {"matplotlib", "seaborn"}), path.name
