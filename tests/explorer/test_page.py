"""What the page holds and hands on: its description, policy, links, CSV file, names, looks."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from explorer.browsing import (
    AROUND,
    FIRST,
    chosen,
    complaints,
    drag,
    epoch,
    expect_text,
    history,
    settle,
    status,
)
from PIL import Image

from ltcl_helpers.explorer import pictures
from ltcl_helpers.explorer.history import open_run
from ltcl_helpers.explorer.page import export_html
from ltcl_helpers.explorer.payload import used_scores
from ltcl_helpers.report import plots

MARKUP = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"


def test_all_places_for_views_are_taken_the_tails_first(meta, arrays):
    samples = meta["views"]["samples"]
    few = np.isin(arrays[0]["labels"], np.argsort(arrays[0]["class_counts"])[:4])
    assert len(samples) == len(set(samples)) == pictures.VIEWED
    assert few[samples].sum() >= pictures.TAIL_VIEWED
    for run in arrays:  # the hardest of the tail in each run are among them
        loss = np.where(few, run["momentum_loss"][-1].astype(np.float32), -np.inf)
        assert set(np.argsort(-loss)[:10].tolist()) <= set(samples)


def test_a_row_speaks_of_the_epoch_that_used_its_scores(meta):
    assert meta["used"][:3] == [[1, -1], [2, 0], [3, 1]]
    run = open_run(FIRST, images=False)
    assert used_scores([10, 20, 30], [run]) == [[11, 0], [21, 1], None]  # the run has 30 epochs
    assert used_scores([1, 2, 5], []) == [[1, -1], [2, 0], [6, 2]]


def test_colours_are_those_of_the_figures(meta):
    assert meta["colours"] == plots.COLOURS


def test_csv_holds_the_curves_of_memory_npz(show, two, arrays):
    page = show(two)
    count = len(arrays[0]["labels"])
    samples = np.random.default_rng(0).choice(count, 20, replace=False)
    page.get_by_role("combobox", name="Search").fill(",".join(map(str, samples)))
    page.keyboard.press("Enter")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save CSV (20)").click()
    expect_text(page, ".ltcl-status", 'pandas.read_csv("simclr-beside-bcl-i.csv")')
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8"))))
    assert [int(row["sample"]) for row in rows] == samples.tolist()
    for label, run in zip(("SimCLR", "BCL-I"), arrays, strict=True):
        columns = [f"momentum loss {t}, {label}" for t in run["epochs_kept"]]
        read = np.array([[row[name] for name in columns] for row in rows], np.float16)
        assert np.array_equal(read, run["momentum_loss"][:, samples].T)
    assert [int(row["position"]) for row in rows] == arrays[0]["index"][samples].tolist()


def test_a_link_restores_the_view(show, two, arrays):
    page = show(two)
    page.get_by_role("combobox", name="Search").fill("40-44, 7")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Both runs").click()
    page.get_by_role("button", name="Score", exact=True).click()
    page.locator("input[type=range]").press("Home")
    page.get_by_role("button", name="Copy link").click()
    expect_text(page, ".ltcl-status", "view")  # copied, or in the address where no clipboard is
    assert "link copied" not in status(page)  # a file's path is no link for others
    address = page.evaluate("location.hash")  # page.url hears of it a little later
    other = show(two, address)
    expect_text(other, ".ltcl-epoch", "Epoch 1 of 30")
    settle(other)
    assert status(other) == "6 selected" and chosen(other) == chosen(page)
    for name in ("Both runs", "Score"):
        assert (
            other.get_by_role("button", name=name, exact=True).get_attribute("aria-pressed")
            == "true"
        )
    broken = show(
        two, "#epoch=x&run=length&sample=99999&selection=5-2.x.-1.1e9&layout=<b>&zoom=1,2"
    )
    assert epoch(broken) == "Epoch 30 of 30" and chosen(broken) == len(arrays[0]["labels"]) - 1


def test_a_link_keeps_hidden_groups_and_large_selections(show, two, arrays):
    page = show(two)
    drag(page, AROUND)
    page.get_by_role("button", name="many", exact=True).click()
    settle(page)
    page.get_by_role("button", name="Copy link").click()
    expect_text(page, ".ltcl-status", "view")
    other = show(two, page.evaluate("location.hash"))
    assert status(other) == f"{len(arrays[0]['labels']):,} selected"
    many = other.get_by_role("button", name="many", exact=True)
    assert many.get_attribute("aria-pressed") == "false"


def test_the_page_names_its_runs_and_no_folder(show, two, tmp_path, monkeypatch):
    page = show(two)
    about = page.locator(".ltcl-intro").text_content()
    config = open_run(FIRST, images=False).config
    for fact in ("shapes-simclr/long-tail-0", "seed 0", config.digest()[:12], "docs/explorer.md"):
        assert fact in about
    secret = tmp_path / "secret" / "photos_train.npz"
    run = open_run(FIRST, images=False)
    run.config = run.config.model_copy(update={"data": f"npz:{secret}", "split": f"{secret}.npy"})
    run.no_images = f"No images ({secret} does not exist)."
    text = export_html(run, tmp_path / "page.html").read_text("utf-8")
    assert "photos_train.npz" in text and "secret" not in text


def test_the_pages_policy_knows_its_script_by_hash(two):
    text = two.read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "unsafe" not in policy
    assert {"base-uri 'none'", "form-action 'none'", "default-src 'none'"} <= {
        part.strip() for part in policy.split(";")
    }


def test_names_are_text_never_markup(show, tmp_path):
    labels = np.arange(60) % 3
    odd = history(labels=labels, class_names=(MARKUP, "b & <b>c</b>", '=1+"1'))
    odd.label = MARKUP
    page = show(export_html(odd, tmp_path / "odd.html"))
    page.get_by_role("combobox", name="Search").fill("0")
    page.keyboard.press("Enter")
    expect_text(page, ".ltcl-b h3", MARKUP)
    assert page.locator("h1").text_content() == MARKUP
    settle(page)
    assert page.evaluate("window.ran") is None
    assert page.locator("main img, main script, main b:not(.ltcl-tip b)").count() == 0


def test_letters_can_be_switched_off_and_tiles_have_names(show, two):
    page = show(two)
    page.get_by_label("Single-letter keys").uncheck()
    page.locator("h1").click()
    page.keyboard.press("a")
    page.keyboard.press("Home")
    expect_text(page, ".ltcl-epoch", "Epoch 1 of 30")
    assert status(page) == "nothing selected"
    name = page.locator(".ltcl-tile").first.get_attribute("aria-label")
    assert re.fullmatch(r"\S+ \d+ · [\d.]+; score [\d.]+, \w+; Hardest now", name)
    words = page.locator(".ltcl-curves").first.get_attribute("aria-label")
    assert re.search(r"SimCLR: the momentum loss of sample \d+ is [\d.]+ after epoch 1", words)
    assert page.locator("output, [aria-live]").count() == 0


def test_on_paper_it_is_light_and_without_tools(show, two):
    page = show(two, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    settle(page)
    assert page.locator(".ltcl").get_attribute("data-look") == "light"
    assert not page.locator(".ltcl-tools").is_visible() and page.locator("h1").is_visible()


@pytest.mark.parametrize(("width", "look"), [(1360, "light"), (420, "dark")])
def test_nobody_is_shut_out(show, two, width, look):
    page = show(two, color_scheme=look, viewport={"width": width, "height": 1000})
    assert complaints(page) == []
    page.evaluate("location.hash = 'hidden=many&selection=0-30&layout=data&sort=learnt&keys=off'")
    expect_text(page, ".ltcl-status", "31 selected")
    assert complaints(page) == []  # after what a person may have done, too


@pytest.mark.parametrize("size", [(1360, 1000), (420, 900)])
def test_both_looks_follow_the_system_and_fit(show, two, size):
    light, dark = (
        show(two, color_scheme=look, viewport=dict(zip(("width", "height"), size, strict=True)))
        for look in ("light", "dark")
    )
    paper = [np.asarray(Image.open(io.BytesIO(p.screenshot())).convert("L")) for p in (light, dark)]
    assert np.median(paper[0]) > 230 and np.median(paper[1]) < 40
    light.evaluate("document.body.dataset.jpThemeLight = 'false'")  # as JupyterLab says dark
    settle(light)
    picture = Image.open(io.BytesIO(light.screenshot())).convert("L")
    assert np.median(np.asarray(picture)) < 40
    assert light.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert light.locator("text=How to read").count() == 4  # one line a panel
