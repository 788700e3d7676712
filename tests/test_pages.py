"""README and docs: what they promise runs, and what they say comes from rows."""

import importlib.util
import re
import sys
import types

import numpy as np
import pandas as pd
import pytest

from ltcl_helpers import config, methods, report, store
from ltcl_helpers.datasets import DATA

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
    text = page.read_text()
    assert report.regenerate(text, figures.TABLES) == text, "run `make figures`"


@pytest.mark.parametrize(
    "page", [*PAGES, *(ROOT / "notebooks").glob("*.ipynb")], ids=lambda p: p.name
)
def test_no_accuracy_is_typed_by_hand(page):
    text = re.sub(r"<!-- generated.*?<!-- end -->", "", page.read_text(), flags=re.S)
    typed = [
        line.strip() for line in text.splitlines()
        if re.search(r"accurac|probe|top-?1|AUROC", line, re.I)
        and re.search(r"\b\d{1,2}\.\d+ ?%|\b0\.[0-9]{3,}\b", line)
        and not line.lstrip().startswith(("#", '"#')) and "tolerance" not in line
    ]  # fmt: skip
    assert typed == []


def test_recorded_runs_hold_and_their_weights_are_left_out():
    runs = [p.parent for p in (DATA / "results").glob("*/*/DONE.json")]
    assert runs
    for folder in runs:
        done = store.verify(folder)
        assert "encoder.safetensors" in done["left_out"] and len(done["git_commit"]) == 40
        assert len(done["config_sha256"]) == 64 and done["machines"]


def test_a_method_is_added_by_one_class_and_one_line(monkeypatch):
    text = (ROOT / "docs" / "adding_a_method.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    page = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)
    monkeypatch.setattr(config, "METHODS", dict(config.METHODS))
    monkeypatch.setattr(methods, "METHODS", config.METHODS)
    exec(compile(code, "adding_a_method.md", "exec"), page.__dict__)
    losses = page.run.history["loss"]
    assert page.run.config.method == "alignment" and (losses < 2).all() and (losses > 0).all()
    with pytest.raises(config.ConfigError, match="allowed are simclr, sdclr, alignment, bcl-i"):
        config.RunConfig(method="simsiam")


def test_every_figure_names_its_rows_as_they_are(figures):
    pictures = sorted((ROOT / "figures").glob("*.png"))
    assert pictures
    for picture in pictures:
        rows = store.read_json(picture.with_suffix(".json"))["rows"]
        for name, digest in rows.items():
            if digest:
                assert store.sha256(ROOT / name) == digest, f"{picture.name}: run `make figures`"


def test_no_boosted_row_without_its_shuffled_control(figures):
    names = ["simclr", "sdclr", "bcl-i", "bcl-d", "simclr-shuffled"]
    rows = pd.DataFrame(
        {"run": [f"{n}-0" for n in names], "shots": "100", "group": "all", "accuracy": 0.5}
    )
    assert list(figures.by_run(rows).index.unique("name")) == [n for n in names if n != "bcl-d"]
    more = pd.concat([rows, rows.tail(1).assign(run="sdclr-shuffled-0")])
    assert "bcl-d" in figures.by_run(more).index.unique("name")


def test_your_images_in_ten_lines(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
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
    assert store.verify(tmp_path / "runs" / "photos")


def test_spread_and_probe_table():
    assert report.spread(pd.Series([0.5])) == "50.0"
    assert report.spread(np.array([0.5, 0.6])) == "55.0 ± 7.1"
    rows = pd.DataFrame({
        "shots": ["100"] * 4, "list": ["a", "a", "b", "b"], "group": ["many", "all"] * 2,
        "accuracy": [0.2, 0.3, 0.4, 0.5],
    })  # fmt: skip
    assert report.probe_table(rows).splitlines()[-1] == "| 100 | 2 | 30.0 | 40.0 |"
