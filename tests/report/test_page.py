"""The page of a report, as a reader sees it: headings, tables and captions, from top to bottom."""

import base64
import dataclasses
import html
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from report.recording import config, probed, record, record_all

from ltcl_helpers.errors import ConfigError
from ltcl_helpers.report import page, study, tables

CAPTIONS = {
    "accuracy by group": "Small marks are runs, large ones their mean.",
    "paired differences": "Dots are units (mirrored pairs where there are any, else runs), bars "
    "the 95 % interval of the mean; there is none for one unit, and none beyond ±15 points.",
    "AUROC of the momentum loss by epoch": "AUROC for images of the few classes, mean over seeds "
    "(bands: sd, over mirrored pairs where there are any; of many curves without); 0.5 is chance. "
    "No balanced control is among these runs, so class difficulty is in the curves.",
    "accuracy by class size": "Classes put together by size; mean and sd over runs.",
}


@pytest.fixture(scope="module")
def written(two, tmp_path_factory):
    """The page of these, and the study that it shows."""
    out = tmp_path_factory.mktemp("page") / "new" / "place" / "my rows.html"
    return out, page.write(two.folders, out)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """SimCLR and SDCLR, two seeds each, 100-shot."""
    return study.read(record_all(tmp_path_factory.mktemp("two"), seeds=2, shots=("100",)))


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures without their content, which the page from top to bottom has."""
    monkeypatch.setattr(page.plots, "inline", lambda figure: plt.close(figure) or "data:")


def lines(text):
    """What a page says: a heading with its #, a table's row, a picture's name, a paragraph."""
    text = re.sub(r"</?(thead|tbody|table|strong)>", "", text)
    text = re.sub(r"\s*</t[hd]>\s*<t[hd]>", " | ", text)
    text = re.sub(r"<h(\d)>", lambda m: "\n" + "#" * int(m[1]) + " ", text)
    text = re.sub(r'<figure>.*?alt="([^"]*)"></div><figcaption>', r"\n[\1] ", text, flags=re.S)
    text = re.sub(r"\s*<t[hd]>", "", text)
    found = html.unescape(re.sub(r"<[^>]*>", "\n", text)).splitlines()
    return [line.strip() for line in found if line.strip()]


def picture(name):
    return f"[{name}] {CAPTIONS[name]}"


def test_a_page_does_not_replace_a_table_of_somebodys_own(tmp_path):
    runs_ = record_all(tmp_path / "runs", ["simclr"], seeds=1)
    (tmp_path / "labels.csv").write_text("a,b")
    with pytest.raises(ConfigError, match=r"labels\.csv is there and .*labels\.html is not"):
        page.write(runs_, tmp_path / "labels.html")
    assert (tmp_path / "labels.csv").read_text() == "a,b"
    for _ in range(2):  # its own it replaces
        page.write(runs_, tmp_path / "page.html")


def test_a_page_from_top_to_bottom(written):
    text = written[0].read_text(encoding="utf-8")
    assert not plt.get_fignums()
    codes = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]*)"', text)
    assert len(codes) == 3 and all(b"<svg" in base64.b64decode(code) for code in codes)
    assert text.startswith("<!DOCTYPE html>\n<html lang=") and text.endswith("</body></html>\n")
    assert "<title>4 runs</title>" in text and f"<style>{page.STYLE}</style>" in text
    assert f'<meta http-equiv="Content-Security-Policy" content="{page.SAFE}">' in text
    assert '<a href="my%20rows.csv">csv</a> <a href="my%20rows.parquet">parquet</a>' in text
    assert "<blockquote>\n<p>Quick result: ResNet-10" in text
    said = lines(text[text.index("<body>") :])
    assert said[0] == "# 4 runs" and said[1].startswith("Quick result: ResNet-10, width 16")
    assert said[2].startswith("Accuracy in percent")
    source = "MediaBrain-SJTU/BCL@a2342f8, README: Results and Pretrained Models"
    named = '### 100-shot, protocol "bcl"'
    assert said[3:] == [
        "Machine: cpu, threads: 1, float32, torch 2.",
        "## Accuracy", named,
        "features | n | few | std | all | all, published | difference",
        "SimCLR | 2 | 31.0 ± 1.4 | 11.0 ± 1.4 | 51.0 ± 1.4 | 46.3 | +4.7",
        "SDCLR | 2 | 35.1 ± 1.6 | 15.1 ± 1.6 | 55.1 ± 1.6 | 49.7 | +5.4",
        picture("accuracy by group"),
        "## Paired comparisons", named, "first minus second, points | n | few | all",
        "SDCLR minus SimCLR | 2 seeds | +4.1 (+2.8 to +5.4) † | +4.1 (+2.8 to +5.4) †",
        *tables.readings(tables.comparisons(written[1])),
        picture("paired differences"),
        "## Beside published numbers",
        "features | protocol | shots | group | n | ours | published | difference | "
        "within our spread | source",
        f"SimCLR | bcl | 100 | all | 2 | 51.0 ± 1.4 | 46.3 | +4.7 | no | {source}",
        f"SDCLR | bcl | 100 | all | 2 | 55.1 ± 1.6 | 49.7 | +5.4 | no | {source}",
        "Our spread is the standard deviation over runs; the recipe differs as said above.",
        "## Does the momentum loss know the tail?",
        picture("AUROC of the momentum loss by epoch"),
        "features | n | AUROC for few | weighted to the tail's classes",
        "SimCLR | 2 | 1.000 ± 0.000 | 1.000 ± 0.000", "SDCLR | 2 | 1.000 ± 0.000 | 1.000 ± 0.000",
        "## Accuracy against class size",
        "Not recorded: these probes kept groups of classes only.",
        "## Time and device",
        "run | features | epochs | seconds an epoch | minutes | device | torch",
        *(f"{run}-{k} | {label} | 30 | 9{k}.0 | 45.{5 * k} | cpu, threads: 1, float32 | 2"
          for run, label in (("simclr", "SimCLR"), ("sdclr", "SDCLR")) for k in (0, 1)),
        "All rows behind this page:", "csv", "parquet",
    ]  # fmt: skip


def test_a_page_is_drawn_without_a_screen_whatever_fails(two, monkeypatch):
    used = []
    monkeypatch.setattr(page.matplotlib, "use", used.append)
    monkeypatch.setattr(page.matplotlib, "get_backend", lambda: "before")
    monkeypatch.setattr(page, "SECTIONS", (page._head, lambda study: [",".join(used)]))
    named = dataclasses.replace(two, title="A <study>", note="Its **note**.")
    text = page.render(named, "x")
    assert "<title>A &lt;study&gt;</title>" in text and "<h1>A &lt;study&gt;</h1>" in text
    assert "<p>Its <strong>note</strong>.</p>" in text and "\nAgg\n" in text
    assert used == ["Agg", "before"]
    monkeypatch.setattr(page, "SECTIONS", (lambda study: 1 / 0,))
    with pytest.raises(ZeroDivisionError):
        page.render(two, "x")
    assert used[2:] == ["Agg", "before"]


def test_a_section_of_its_own_for_each_length_and_each_class(two, undrawn):
    length = two.rows["row"].map({"simclr": "10 epochs", "sdclr": "30 epochs"})
    parted = dataclasses.replace(two, rows=two.rows.assign(section=length))
    named = [f'### {k} epochs, 100-shot, protocol "bcl"' for k in (10, 30)]
    said = lines("".join(page._results(parted)))
    assert [line for line in said if line.startswith("### ")] == named
    assert list(page._compared(parted)) == []  # no two of them are in one section
    assert lines("".join(page._published(parted)))[1].startswith("section | features | protocol")
    said = lines("".join(page._signal(parted)))
    assert [line for line in said if line.startswith("#")][1:] == ["### 10 epochs", "### 30 epochs"]
    each = two.rows.assign(group=[f"class {k % 6}" for k in range(len(two.rows))])
    classes = dataclasses.replace(two, rows=pd.concat([two.rows, each], ignore_index=True))
    assert lines("".join(page._classes(classes))) == [
        "## Accuracy against class size", '### 100-shot, protocol "bcl"',
        picture("accuracy by class size"),
    ]  # fmt: skip


def test_a_page_says_what_there_is_not(two, tmp_path):
    missing = dataclasses.replace(two, note="", missing=["a-1", "a-2"])
    head = lines("".join(page._head(missing)))
    assert head[0].startswith("Quick")
    assert head[-1] == "2 not there or not complete: a-1, a-2"
    drawn = dataclasses.replace(two, rows=two.rows.assign(split="long-tail", list_source="drawn"))
    why = "No published number belongs here: these runs use splits of our own."
    assert lines("".join(page._published(drawn))) == ["## Beside published numbers", why]
    none = dataclasses.replace(two, rows=two.rows.assign(accuracy=np.nan))
    assert lines("".join(page._classes(none)))[1:] == [
        "There is no accuracy here: of one class a probe measures nothing."
    ]
    flat = record(tmp_path / "flat", config("simclr"), probed(config("simclr"), 0.5), epochs=())
    assert lines("".join(page._signal(study.read([flat]))))[1:] == [
        "No run here kept a momentum loss over three or more classes of different sizes."
    ]
    alone = record(tmp_path / "bcl-i-0", config("bcl-i"), probed(config("bcl-i"), 0.5))
    one = study.read([alone])
    assert lines("".join(page._classes(one)))[1:] == [
        "What is left out of the accuracies above is left out here, too."
    ]
    assert lines("".join(page._results(one)))[1].startswith("BCL-I is left out")


def test_balanced_runs_are_named_as_the_control_of_the_signal(tmp_path, undrawn):
    there = []
    for kind in "ib":
        split = f"data/splits/x/cifar100_split1_D_{kind}.npy"
        run = config("simclr", split=split)
        there.append(record(tmp_path / kind, run, probed(run, 0.5)))
    said = "The balanced runs are the control: same classes as few, all of one size."
    assert said in "".join(page._signal(study.read(there)))
    assert said not in "".join(page._signal(study.read(there[:1])))


def test_the_rows_beside_a_page_begin_with_what_is_asked_of_them(written, two):
    out, made = written
    assert made.labels == two.labels and sorted(p.name for p in out.parent.iterdir()) == [
        "my rows.csv", "my rows.html", "my rows.parquet"
    ]  # fmt: skip
    rows = pd.read_parquet(out.with_suffix(".parquet"))
    first = ["section", "row", "label", "protocol", "shots", "list", "group", "accuracy", "seed"]
    assert list(rows)[:9] == first and set(two.rows) - set(rows) == {"folder", "root"}
    assert pd.read_csv(out.with_suffix(".csv")).columns.tolist() == list(rows)  # and no index
    with pytest.raises(
        ConfigError, match=r"--out is x\.pdf; the page is one file, e\.g\. --out re"
    ):
        page.write(two.folders, "x.pdf")
    words = page.picture(plt.subplots()[0], 'a "name"', "a < b")
    assert 'alt="a &quot;name&quot;"></div><figcaption>a &lt; b</figcaption></figure>' in words
