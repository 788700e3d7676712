"""Studies, published numbers beside them, and the page."""

import collections
import dataclasses
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ltcl_helpers import paths, report
from ltcl_helpers.batch import grid
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.paths import DATA
from ltcl_helpers.report import page, plots, study, tables

GRIDS = DATA.parent / "experiments"
PATIENCE = 600_000  # milliseconds until a browser that hangs is given up
CHROMIUM = next((p for p in map(Path, ["/usr/bin/chromium", "/usr/bin/chromium-browser"])
                 if p.exists()), None)  # fmt: skip


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


def test_the_aims_are_tried_at_the_dose_that_their_grid_promised():
    """The largest gain of shuffled scores over SimCLR, over all classes; the gentler at a tie."""
    dose = study.read(GRIDS / "evidence-dose.yaml")
    ((_, _, runs),) = dose.blocks(shots="100", protocol="logistic")
    scales = {
        one.row: one.config.boost_scale
        for one in grid.read(GRIDS / "evidence-dose.yaml").cells
        if one.row.startswith("shuffled")
    }
    gains = {
        row: report.paired(runs.xs(row), runs.xs("simclr"))["all"].mean()
        for row in sorted(scales, key=scales.get)
    }
    best = max(gains, key=gains.get)
    boosted = [one.config for one in grid.read(GRIDS / "evidence-aims.yaml").cells]
    used = {config.boost_scale for config in boosted if config.boost != "none"}
    assert not dose.missing and len(scales) == 5 and used == {scales[best]}


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
    alts = collections.Counter(re.findall(r'base64,[^"]*" alt="([^"]*)"', text))
    signal = "AUROC of the momentum loss by epoch"
    assert alts == {"accuracy by group": 4, "paired differences": 4, signal: 1}


def test_a_published_number_stands_in_the_line_of_its_features():
    cells = pd.DataFrame({
        "features": ["encoder", "pixels"], "n": [3, 3], "all": ["50.0", "20.0"],
    })  # fmt: skip
    beside = pd.DataFrame({
        "features": ["encoder"] * 2, "n": 3, "group": ["few", "all"],
        "published": ["49.4", "53.1"], "difference": ["-1.0", "-3.1"],
    })  # fmt: skip
    shown = page._with_published(cells, beside)
    assert shown["all, published"].tolist() == ["53.1", ""]
    assert shown["difference"].tolist() == ["-3.1", ""]
    assert page._with_published(cells, beside[:1]).equals(cells)  # nothing is known of all
    five = page._with_published(cells.assign(n=15), beside)  # a mean over splits of no such number
    assert five["all, published"].tolist() == five["difference"].tolist() == ["", ""]


def test_missing_cells_are_named(tmp_path):
    """Of a grid that has two recorded runs and two that nobody has made."""
    text = (GRIDS / "shapes-precision.yaml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if "bf16" not in line]
    few = "\n".join(lines).replace("[0, 1, 2, 3]", "[0, 1, 8, 9]")
    (tmp_path / "shapes-precision.yaml").write_text(few, encoding="utf-8")
    one = page.write(tmp_path / "shapes-precision.yaml", tmp_path / "r.html")
    assert one.missing == ["float32-8", "float32-9"] and len(one.folders) == 2
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "2 not there or not complete:" in text
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
    assert list(dict.fromkeys(found["row"])) == ["simclr", "sdclr"]  # the grid's order
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
