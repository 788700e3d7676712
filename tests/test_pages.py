"""README and docs: what they promise runs, and what they say comes from rows."""

import importlib.util
import json
import re

import numpy as np
import pytest

from ltcl_helpers import files, report, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.paths import DATA

ROOT = DATA.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def figures():
    spec = importlib.util.spec_from_file_location("figures", ROOT / "experiments" / "figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_generated_tables_are_what_the_rows_say(page, figures):
    text = page.read_text(encoding="utf-8")
    assert report.regenerate(text, figures.TABLES) == text, "run `make figures`"


TYPED = re.compile(
    r"""(accurac|AUROC|top-?[15]\b|-shot|balancedness|\bprobes?\b|correlation)  # of a result
    |\b(many|few|medium)\b.*\b(gap|points)\b""",
    re.I | re.X,
)
NUMBER = re.compile(
    r"\d\.\d+ ?(%|±|\+-|points)|± ?\d|\b0\.\d{2,}|\b\d{2} ?%|\b(is|of|to|from|by) \d{1,2}\.\d"
)


def typed_results(text):
    """Sentences outside of generated tables that seem to state a result."""
    text = re.sub(r"<!-- generated.*?<!-- end -->|```.*?```|`[^`]*`", "", text, flags=re.S)
    blocks = re.split(r"\n\s*\n|\n(?=[*|#]|\d\. )", text)
    sentences = [
        s for block in blocks for s in re.split(r"(?<=[.;:?!])\s", " ".join(block.split()))
    ]
    return [s for s in sentences if TYPED.search(s) and NUMBER.search(s)]


def prose(page):
    """A page's text; of a notebook its text cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


@pytest.mark.parametrize(
    "page", [*PAGES, *(ROOT / "notebooks").glob("*.ipynb")], ids=lambda p: p.name
)
def test_no_accuracy_is_typed_by_hand(page):
    assert typed_results(prose(page)) == []
    code = [line.strip() for line in page.read_text(encoding="utf-8").splitlines()
            if re.search(r"accurac|probe|top-?1|AUROC", line, re.I)
            and re.search(r"\b\d{1,2}\.\d+ ?%|\b0\.[0-9]{3,}\b", line)
            and "tolerance" not in line]  # fmt: skip
    assert page.suffix == ".md" or code == []


def test_a_typed_result_is_found():
    for text in (
        "Here the accuracy is 58.9 ± 1.5.", "After 30 epochs the AUROC 0.62 is small.",
        "The accuracy of SimCLR\nis 57.9 in this run.", "* SimCLR: 46.3 % top-1 accuracy",
        "| SimCLR | 100-shot | 58.9 ± 1.5 |", "The gap of many and few is 8.6 points.",
    ):  # fmt: skip
        assert typed_results(text), text
    for text in ("Accuracies are fractions in [0, 1].", "A probe takes 500 epochs.",
                 "An AUROC of one half is chance.",
                 "<!-- generated: a -->\naccuracy is 58.9 ± 1.5\n<!-- end -->"):  # fmt: skip
        assert not typed_results(text), text


def leave_out_files(folder):
    """Files of runs whose truth is known: the fewer of a class, the more memorized."""
    draw = np.random.default_rng(0)
    sizes = {"long-tail": np.array([60, 30, 15, 8, 4, 3]), "balanced": np.full(6, 20)}
    for kind, counts in sizes.items():
        labels = np.repeat(np.arange(6), counts)
        truth = (labels if kind == "long-tail" else draw.permutation(labels)) / 10
        loss = draw.uniform(3, 4, len(labels))
        for number in range(6):
            inside = np.arange(len(labels)) % 3 != number % 3
            measured = (loss - truth * inside + number).astype(np.float16)
            np.savez(folder / f"{kind}-{number:02d}.npz", inside=inside, loss=measured)
        plain = dict.fromkeys(("pruning-drop", "neighbour-distance", "untrained"), -truth)
        for seed in range(4):
            config = RunConfig(split=kind, split_seed=seed // 2, mirrored=seed % 2 == 1, seed=seed)
            about = np.array(json.dumps({"config": config.model_dump(mode="json")}))
            whole = {"loss": truth, "momentum_loss": np.stack([truth] * 30), "about": about}
            whole |= plain | {"labels": labels, "clean-loss": np.zeros(len(labels))}
            np.savez(folder / f"{kind}-split-{seed}.npz", **whole)
            np.savez(folder / f"{kind}-whole-{seed}.npz", **whole)


def test_what_is_said_of_memorization_is_what_its_files_hold(figures, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "LEAVE_OUT", tmp_path)
    leave_out_files(tmp_path)
    lines = figures.leave_out_table().replace("**", "").splitlines()
    cells = {
        line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in lines if "|" in line
    }
    value = {
        name: [float(c.split()[0]) for c in both] for name, both in cells.items() if "0" in both[0]
    }
    assert value["momentum loss after epoch 30"][0] > 0.9 > -0.9 > value["drop under pruning"][0]
    assert value["rarity of the class"][0] > 0.9 > 0.3 > abs(value["rarity of the class"][1])
    assert value["memorization itself: one half of the runs with the other"][1] > 0.9
    # Classes 4 and 5 are the few: of 4 and 3 samples; 0 and 1 the many, of 60 and 30.
    few, many = (4 * 0.4 + 3 * 0.5) / 7, 30 * 0.1 / 90
    assert value["few"][0] == pytest.approx(few, abs=0.05)
    assert value["many"][0] == pytest.approx(many, abs=0.05)
    tail, flat, apart = value["few minus many"]
    assert tail == pytest.approx(few - many, abs=0.05) and abs(flat) < 0.15
    assert apart == pytest.approx(tail - flat, abs=0.002)
    assert "6 runs on the long-tail set and 6 runs on the balanced set" in "\n".join(lines)
    found = figures._memorization()
    assert found.startswith("### The few are memorized more\n")
    assert f"| few minus many | {tail:+.3f} (" in found
    assert "| rank correlation with the momentum loss | +0.9" in found
    table = figures.aims_table().splitlines()
    momentum, clean, drop, _ = (line.split(" | ") for line in table[2:6])
    assert momentum[1] == "2 mirrored pairs" and momentum[2] == "1.000 ± 0.000"
    assert clean[2] == clean[3] == "0.500 ± 0.000" and drop[2] == "0.000 ± 0.000"


# Made while a file was not committed yet: the grid, which had just been given its dose.
UNCOMMITTED = {"evidence-aims": "469632938adf134e35af4df99f573cdd28f602da+"}


def test_recorded_runs_hold_and_their_weights_are_left_out():
    recorded = [p.parent for p in (DATA / "results").glob("*/*/DONE.json")]
    assert recorded
    for folder in recorded:
        done = runs.verify(folder)
        assert "encoder.safetensors" in done["left_out"], folder
        made_by = done["git_commit"]
        is_known = made_by == UNCOMMITTED.get(folder.parent.name)
        assert is_known or re.fullmatch(r"[0-9a-f]{40}", made_by), folder  # of files as committed
        assert done["config_sha256"] == runs.read_config(folder).digest(), folder
        about = {"device", "threads", "precision", "torch"}
        assert done["machines"] and all(about <= set(one) for one in done["machines"]), folder


def test_a_method_is_one_file_and_nothing_is_edited(ltcl, tmp_path):
    text = (ROOT / "docs" / "adding_a_method.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(code.splitlines()) <= 40
    (tmp_path / "swinging.py").write_text(code, encoding="utf-8")
    common = ["--preset", "tiny", "--set", "epochs=4", "--set", "largest_class=16"]
    method = ["--method", "swinging:SwingingTemperature", *common]
    given = [*method, "--set", "coldest=0.07", "--set", "period=6"]
    whole = ltcl("run", *given, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    stored = files.read_json(tmp_path / "whole" / "config.json")
    assert stored["options"] == {"coldest": 0.07, "period": 6.0}
    stopped = ltcl("run", *given, "--out", "part", "--minutes", "1e-9")
    assert "stopped after epoch 1 of 4" in stopped.stdout
    assert ltcl("run", "--resume", "part", "--allow-own-method").returncode == 0
    plain = ltcl("run", *common, "--out", "plain")
    assert plain.returncode == 0
    memories = [(tmp_path / n / "memory.npz").read_bytes() for n in ("whole", "part", "plain")]
    assert memories[0] == memories[1] != memories[2]
    for wrong, said in (
        (["--set", "coldest=-1"], "coldest is -1"),
        (["--set", "hottest=1"], "hottest is not a parameter.*coldest, period"),
        (["--method", "swinging:Other"], "cannot be loaded"),
        (["--method", "nowhere:Other"], "nowhere.py must lie in this folder"),
    ):
        done = ltcl("run", *method, *wrong, "--out", "none")
        assert done.returncode == 2 and re.search(said, done.stderr), done.stderr
        assert not (tmp_path / "none").exists()


def test_every_figure_names_its_rows_as_they_are(figures):
    places = ROOT / "figures"
    pictures = sorted([*places.glob("*.png"), *places.glob("*.gif")])
    assert pictures
    for picture in pictures:
        rows = files.read_json(picture.with_suffix(".json"))["rows"]
        assert rows, picture.name
        # One figure is of no rows, but of a formula, which is named with an empty digest.
        named = {name: digest for name, digest in rows.items() if "(" not in name}
        assert named or set(rows.values()) == {""}, picture.name
        found = {name: files.sha256(ROOT / name) for name in named}
        assert found == named, f"{picture.name}: run `make figures`"


def test_your_images_in_ten_lines(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.S
    )
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    draw = np.random.default_rng(0)
    for part, count in (("train", 160), ("test", 40)):
        labels = np.arange(count) % 2
        images = draw.integers(0, 128, (count, 32, 32, 3)) + 128 * labels[:, None, None, None]
        np.savez(tmp_path / f"photos_{part}.npz", images=images.astype(np.uint8), labels=labels)
    monkeypatch.chdir(tmp_path)
    tiny = code.replace("folder:photos@32", "npz:photos_train.npz").replace('"quick"', '"tiny"')
    assert tiny != code
    exec(compile(tiny, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "accuracy" in printed and "hardest: [" in printed
    assert runs.verify(tmp_path / "runs" / "photos")
