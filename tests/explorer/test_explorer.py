"""The explorer in a real browser: asserted on what the page shows, against the recorded arrays.

No verdict depends on how fast the machine is. A test waits for what it asserts, for two frames,
or on a clock that it moves itself; a time-out only ends a test that would hang.
"""

import base64
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ltcl_helpers import cli, files, paths
from ltcl_helpers.data.images import load_images
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.explorer import orders, pictures, widget
from ltcl_helpers.explorer.history import from_arrays, open_run
from ltcl_helpers.explorer.page import export_html
from ltcl_helpers.explorer.payload import payload, used_scores
from ltcl_helpers.explorer.widget import Explorer
from ltcl_helpers.methods import memory
from ltcl_helpers.report import plots

FIRST = paths.RESULTS / "shapes-simclr" / "long-tail-0"
SECOND = paths.RESULTS / "shapes-methods" / "bcl-i-0"
ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE = 60  # seconds until a test that hangs is ended, far more than a busy machine needs
LAB_PATIENCE = 300  # the same where JupyterLab and a kernel with PyTorch start first
VIEWS_DRAWN = (  # eight views of 32 pixels for each run
    "[...document.querySelectorAll('.ltcl-strip')].map(strip => strip.width).join() === '256,256'"
)
MARKUP = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium; where there is none the tests skip, but not in continuous integration."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        reason = "no Chromium here: apt install chromium"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=path, args=ARGUMENTS, timeout=1000 * PATIENCE
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The page of two recorded runs of one split."""
    return export_html(FIRST, tmp_path_factory.mktemp("two") / "two.html", SECOND)


@pytest.fixture
def show(browser):
    """Open a page; afterwards it must have asked for nothing and complained about nothing."""
    contexts, troubles = [], []

    def open_page(path, address="", **options):
        options = {"viewport": {"width": 1360, "height": 1000}, "offline": True} | options
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.on("console", lambda said: troubles.append(said.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda r: r.url.startswith("file:") or troubles.append(r.url))
        page.goto(f"{path.as_uri()}{address}")
        page.locator(".ltcl-status", has_text="selected").wait_for()
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            page.evaluate("0")  # the answer comes after all complaints so far
        context.close()
    assert troubles == []


@pytest.fixture(scope="module")
def arrays():
    """momentum_loss float16 [epochs, N], labels [N], scores [epochs, N] of both runs."""
    found = [files.read_npz(folder / "memory.npz") for folder in (FIRST, SECOND)]
    for run in found:
        rows = torch.from_numpy(run["momentum_loss"].astype(np.float32))
        run["scores"] = torch.stack([memory.memorization_score(row) for row in rows]).numpy()
    return found


def status(page):
    return page.locator(".ltcl-status").text_content()


def epoch(page):
    return page.locator(".ltcl-epoch").text_content()


def cell(page, row, run=0):
    return page.locator("tbody tr").filter(has_text=row).locator("td").nth(run).text_content()


def chosen(page):
    """The number of the chosen sample, as its panel says it."""
    return int(re.match(r"sample (\d+)", page.locator(".ltcl-facts").text_content())[1])


def expect_text(page, selector, text):
    page.locator(selector).filter(has_text=text).first.wait_for()


def until(asked, what, patience=PATIENCE):
    """Ask again and again until the answer is yes; returns it."""
    end = time.monotonic() + patience
    while not (answer := asked()):
        assert time.monotonic() < end, f"not so after {patience} s: {what}"
        time.sleep(0.05)
    return answer


def wait_until(page, expression):
    """Wait until a JavaScript expression holds in the page.

    Not page.wait_for_function: it evaluates its text again from inside the page, which the page's
    own security policy forbids. So it passes only where the first look finds all done.
    """
    until(lambda: page.evaluate(expression), expression)


def expect_list(page, key):
    """Wait until the list shows the samples with the largest keys; returns them as listed.

    Keys are compared, not samples: many losses are equal as float16, and their order is free.
    """
    tiles = page.locator(".ltcl-tile")

    def shown():
        return tiles.evaluate_all("all => all.map(tile => Number(tile.title.split(/[ ,]/)[1]))")

    first = np.sort(key)[::-1][: tiles.count()]
    until(lambda: np.allclose(key[shown()], first, atol=1e-5), "the list is in order")
    return shown()


def pixels(canvas):
    """What a canvas holds, uint8 [H, W, 4]; a screenshot would also hold fonts and scaling."""
    text = canvas.evaluate("canvas => canvas.toDataURL()").partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGBA"))


def marks(page):
    """The map's marks as drawn, without axes, rings and labels."""
    return pixels(page.locator(".ltcl-map canvas").first)


def settle(page):
    """Wait until what was done is drawn: each change is drawn in the next frame."""
    twice = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    page.evaluate(twice)


def a_mark(page):
    """Hover along the map until a mark answers: its place on the map, and what is said of it."""
    box = page.locator(".ltcl-top").bounding_box()
    for x in range(30, 60):
        place = {"x": 4 * x, "y": 0.45 * box["height"]}
        page.locator(".ltcl-top").hover(position=place)
        settle(page)
        if page.locator(".ltcl-tip").is_visible():
            return place, page.locator(".ltcl-tip").text_content()
    raise AssertionError("no mark under the pointer")


def drag(page, points, **options):
    """Along points in shares of the map's box."""
    box = page.locator(".ltcl-top").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    settle(page)


AROUND = [(0.02, 0.01), (0.99, 0.01), (0.99, 0.95), (0.02, 0.95), (0.02, 0.02)]


# --- what a person does ---------------------------------------------------------------------


def test_hover_and_click_show_a_sample_as_recorded(show, two, arrays):
    page = show(two)
    place, said = a_mark(page)
    name, sample, score = re.match(r"(\S+) \(\w+\) · (\d+)score ([\d.]+)", said).groups()
    sample, names = int(sample), load_images("shapes").class_names
    assert name == names[arrays[0]["labels"][sample]]
    assert float(score) == pytest.approx(arrays[0]["scores"][-1, sample], abs=0.0051)
    page.locator(".ltcl-top").click(position=place)
    expect_text(page, ".ltcl-facts", f"sample {sample} ")
    assert status(page) == "nothing selected"  # a click chooses
    assert page.locator(".ltcl-b h3").text_content() == name
    for run in (0, 1):
        loss = arrays[run]["momentum_loss"][:, sample]
        assert np.float16(cell(page, "Momentum loss", run)) == loss[-1]
        assert float(cell(page, "Score", run)) == pytest.approx(
            arrays[run]["scores"][-1, sample], abs=5.1e-4
        )
        place = 1 + int((arrays[run]["momentum_loss"][-1] > loss[-1]).sum())
        assert cell(page, "Place", run).split(" of ")[0] == f"{place:,}"
    score = arrays[1]["scores"][-2, sample]  # after epoch 29 it steers the views of epoch 30
    assert page.locator("tbody th", has_text="Strength in epoch 30").count() == 1
    assert float(cell(page, "Strength", 1)) == pytest.approx(10 + 20 * score, abs=0.051)
    assert float(cell(page, "Probability", 1)) == pytest.approx(score, abs=0.0051)
    assert cell(page, "Probability", 0).startswith("0 (BCL-I")  # SimCLR has no boost


def test_lasso_takes_what_is_shown(show, two, arrays):
    page = show(two)
    drag(page, AROUND)
    expect_text(page, ".ltcl-status", f"{len(arrays[0]['labels']):,} selected")
    page.get_by_role("button", name="many", exact=True).click()
    settle(page)  # a lasso takes what was drawn last
    drag(page, AROUND)
    many = np.isin(arrays[0]["labels"], np.argsort(arrays[0]["class_counts"])[-4:])
    expect_text(page, ".ltcl-status", f"{(~many).sum()} selected")
    drag(page, [(x, 0.01 + y / 2) for x, y in AROUND])  # the upper half: the hard ones
    hard = int(status(page).split()[0].replace(",", ""))
    assert 0 < hard < (~many).sum()
    page.locator("canvas.ltcl-top").click(modifiers=["Shift"], position={"x": 8, "y": 5})
    settle(page)
    assert status(page).startswith(f"{hard} selected")  # beside all marks: nothing changes


def test_scrub_and_play_move_the_map(show, two, arrays):
    page = show(two, "#sample=100")
    before = marks(page)
    page.locator("input[type=range]").click()  # in its middle
    settle(page)
    row = page.locator("input[type=range]").evaluate("slider => Number(slider.value)")
    assert 12 <= row <= 17 and epoch(page) == f"Epoch {row + 1} of 30"
    assert np.float16(cell(page, "Momentum loss")) == arrays[0]["momentum_loss"][row, 100]
    assert not np.array_equal(marks(page), before)
    left_end = {"x": 41, "y": 50}
    page.locator(".ltcl-curves").first.click(position=left_end)
    expect_text(page, ".ltcl-epoch", "Epoch 1 of 30")
    page.clock.install(time=0)
    page.clock.pause_at(60)  # from here on the page's time moves only in run_for
    page.get_by_role("button", name="Play").click()
    page.clock.run_for(1000)
    still = epoch(page)
    assert re.fullmatch(r"Epoch [3-6] of 30", still)  # it steps every 250 ms
    page.get_by_role("button", name="Pause").click()
    page.clock.run_for(2000)
    assert epoch(page) == still


def test_search_by_class_number_and_group(show, two, arrays):
    page, labels = show(two), arrays[0]["labels"]
    names, numbers = load_images("shapes").class_names, np.arange(len(labels))
    star, disc = (
        np.isin(labels, [at for at, name in enumerate(names) if part in name])
        for part in ("star", "disc-speckle")
    )
    box = page.get_by_role("combobox", name="Search")
    for text, count in (
        ("star", star.sum()), ("12", 1), ("40-60, 70", 22),
        ("disc-speckle, 2600", (disc | (numbers == 2600)).sum()),
        ("few", np.isin(labels, np.argsort(arrays[0]["class_counts"])[:4]).sum()),
    ):  # fmt: skip
        box.fill(text)
        box.press("Enter")
        expect_text(page, ".ltcl-status", f"{count} selected")
    box.fill("unicorn, 99999")
    box.press("Enter")
    expect_text(page, ".ltcl-status", "nothing found for “unicorn”, “99999”")


def test_orders_of_the_list(show, two, arrays):
    page, loss = show(two), arrays[0]["momentum_loss"].astype(np.float32)
    up_and_down = np.abs(np.diff(loss, axis=0)).sum(0) - np.abs(loss[-1] - loss[0])
    keys = {"Hardest now": loss[-1], "Easiest now": -loss[-1],
            "Fastest falling": loss[0] - loss[-1], "Most up and down": up_and_down}  # fmt: skip
    for order, key in keys.items():
        page.get_by_label("Order").select_option(order)
        shown = expect_list(page, key)
    assert len(shown) == 48
    page.locator(".ltcl-tile").nth(2).click()
    settle(page)
    assert chosen(page) == shown[2] and status(page) == "nothing selected"
    page.get_by_role("button", name="Select first").click()
    expect_text(page, ".ltcl-status", "10 selected")
    assert page.locator(".ltcl-tile[aria-pressed=true]").count() == 10
    assert f"{shown[0]} · {key[shown[0]]:.5g}" == page.locator(".ltcl-value").first.text_content()


def test_compare_shows_both_runs(show, two):
    page = show(two)
    assert page.locator("h1").text_content() == "SimCLR beside BCL-I"
    assert page.locator("thead th").all_text_contents() == ["SimCLR", "BCL-I", "difference"]
    assert page.locator(".ltcl-curves").count() == 2
    first = marks(page)
    page.get_by_role("button", name="BCL-I", exact=True).click()
    settle(page)
    assert not np.array_equal(marks(page), first)
    page.get_by_role("button", name="Both runs").click()
    expect_text(page, ".ltcl-a .ltcl-reading", "On the diagonal")


def test_views_of_some_samples_are_in_the_page(show, two, arrays):
    page = show(two)
    hardest = int(arrays[0]["momentum_loss"][-1].argmax())  # of equal ones the first, as the page
    assert chosen(page) == hardest  # what the page opens with
    expect_text(page, ".ltcl-b figcaption", "BCL-I, views of epoch 30")
    wait_until(page, VIEWS_DRAWN)
    plain, boosted = page.locator(".ltcl-strip").all()
    assert not np.array_equal(pixels(plain), pixels(boosted))
    held = page.locator(".ltcl-tile.held").count()
    assert 8 <= held < 48
    page.locator(".ltcl-tile:not(.held)").first.click()
    expect_text(page, ".ltcl-b figcaption", "dotted in the list")
    settle(page)
    assert not plain.is_visible()


def test_keyboard_alone_is_enough(show, two, arrays):
    page, key = show(two), lambda *names: [page.keyboard.press(name) for name in names]
    key("Home")
    expect_text(page, ".ltcl-epoch", "Epoch 1 of 30")
    key("ArrowRight", "ArrowRight")
    expect_text(page, ".ltcl-epoch", "Epoch 3 of 30")
    key("End", "ArrowLeft")
    expect_text(page, ".ltcl-epoch", "Epoch 29 of 30")
    shown = expect_list(page, arrays[0]["momentum_loss"][-2].astype(np.float32))
    at = shown.index(chosen(page)) if chosen(page) in shown else -1
    key("n", "n", "n")
    settle(page)
    assert chosen(page) == shown[at + 3]
    key("a")
    expect_text(page, ".ltcl-status", "1 selected")
    key("a")
    expect_text(page, ".ltcl-status", "nothing selected")
    key("2", "r")
    settle(page)
    assert page.get_by_role("button", name="Fall so far").get_attribute("aria-pressed") == "true"
    assert (
        page.get_by_role("button", name="BCL-I", exact=True).get_attribute("aria-pressed") == "true"
    )
    key("/")
    page.keyboard.type("star")
    key("Enter")
    expect_text(page, ".ltcl-status", f"{(arrays[0]['labels'] == 3).sum()} selected")
    page.locator("h1").click()
    key("Escape")
    settle(page)
    assert status(page).startswith(f"{(arrays[0]['labels'] == 3).sum()} selected")


def test_csv_holds_the_curves_of_memory_npz(show, two, arrays):
    page = show(two)
    count = len(arrays[0]["labels"])
    samples = np.random.default_rng(0).choice(count, 20, replace=False)
    page.get_by_role("combobox", name="Search").fill(",".join(map(str, samples)))
    page.keyboard.press("Enter")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save CSV (20)").click()
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


# --- what may not be lost -------------------------------------------------------------------


def test_looking_destroys_no_selection_and_changes_can_be_undone(show, two):
    page = show(two, "#selection=2000-2144")
    said = lambda: status(page).split(";")[0]  # noqa: E731
    assert said() == "145 selected"
    place, _ = a_mark(page)
    page.locator(".ltcl-top").click(position=place)
    page.locator(".ltcl-top").click(position={"x": 70, "y": 8})  # beside all marks
    page.locator(".ltcl-tile").nth(3).click()
    page.keyboard.press("Escape")
    settle(page)
    assert said() == "145 selected"
    page.locator(".ltcl-tile").nth(4).click(modifiers=["Shift"])
    expect_text(page, ".ltcl-status", "146 selected")
    page.get_by_role("button", name="Clear", exact=True).click()
    expect_text(page, ".ltcl-status", "nothing selected")
    for keys, left in (
        ("Control+z", "146"), ("Control+z", "145"), ("Control+z", "145"),
        ("Control+Shift+z", "146"), ("Control+y", "nothing"),
    ):  # fmt: skip
        page.keyboard.press(keys)
        settle(page)
        assert said() == f"{left} selected"
    page.get_by_role("button", name="Undo", exact=True).click()
    expect_text(page, ".ltcl-status", "146 selected")


def zoom_of(page):
    """The zoom as the address says it: left end, lower end, scale."""
    until(lambda: "zoom=" in page.evaluate("location.hash"), "the address holds the zoom")
    text = re.search(r"zoom=([\d._]+)", page.evaluate("location.hash"))[1]
    return [float(part) for part in text.split("_")]


def test_the_zoomed_map_can_be_moved_and_pinched(show, two):
    page = show(two, "#zoom=0.4_0.4_4&selection=5-9")
    first = marks(page)
    page.get_by_role("button", name="Move the map by dragging").click()
    drag(page, [(0.5, 0.5), (0.7, 0.5)])
    assert not np.array_equal(marks(page), first)
    until(lambda: zoom_of(page)[0] < 0.38, "what was left is seen")
    assert zoom_of(page)[1:] == [0.4, 4] and status(page) == "5 selected"  # no lasso was drawn
    page.locator(".ltcl-top").focus()
    page.keyboard.press("Shift+ArrowUp")
    until(lambda: zoom_of(page)[1] > 0.4, "the map moved up")
    box = page.locator(".ltcl-top").bounding_box()
    touch = page.context.new_cdp_session(page)
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]

    def fingers(kind, apart):
        points = [{"x": middle[0] + part * apart, "y": middle[1], "id": at}
                  for at, part in enumerate((-1, 1))]  # fmt: skip
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", 40)
    for apart in (50, 60, 80):
        fingers("touchMove", apart)
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    until(lambda: zoom_of(page)[2] == pytest.approx(8, abs=0.2), "twice as near")
    assert status(page) == "5 selected"


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


# --- a stranger's questions -----------------------------------------------------------------


def test_five_questions_are_answered_in_three_clicks(show, two, arrays):
    first, second = arrays
    loss, labels = first["momentum_loss"], first["labels"]
    few = np.isin(labels, np.argsort(first["class_counts"])[:4])
    many = np.isin(labels, np.argsort(first["class_counts"])[-4:])
    run = open_run(FIRST, images=False)

    # Which ten tail images were learnt last?
    page = show(two)
    page.get_by_role("button", name="many", exact=True).click()
    page.get_by_role("button", name="medium", exact=True).click()
    page.get_by_label("Order").select_option("Learnt last")
    learnt = np.where(few, orders.learnt(loss, run.groups(), run.kept), np.nan)
    top = orders.largest(learnt, 10)

    def values():
        return page.locator(".ltcl-value").all_text_contents()[:10]

    wanted = [f"{i} · ep. {learnt[i]:.0f}" for i in top]
    until(lambda: values() == wanted, "the ten learnt last")

    # Which image of the head is hardest, and what is like it? (neighbours need weights, below)
    page = show(two)
    page.get_by_role("button", name="few", exact=True).click()
    page.get_by_role("button", name="medium", exact=True).click()
    expect_list(page, np.where(many, loss[-1].astype(np.float32), -np.inf))

    # How do the two runs differ at one image? No click: it is in the table.
    page = show(two, "#sample=17")
    apart = second["scores"][-1, 17] - first["scores"][-1, 17]
    shown = cell(page, "Score", 2).replace("−", "-")
    assert float(shown) == pytest.approx(apart, abs=6e-4)

    # Which strength did it get in epoch 8?
    page = show(two, "#sample=17&epoch=8")
    score = second["scores"][6, 17]  # after epoch 7
    assert page.locator("tbody th", has_text="Strength in epoch 8").count() == 1
    assert float(cell(page, "Strength", 1)) == pytest.approx(10 + 20 * score, abs=0.051)

    # Which images went up and down most?
    page.get_by_label("Order").select_option("Most up and down")
    expect_list(page, orders.wandering(loss))


def test_features_and_neighbours_are_those_of_each_run(show, tmp_path):
    draw = np.random.default_rng(2)
    pair = []
    for name in ("one", "two"):
        run = history(labels=np.arange(60) % 3, features=draw.normal(size=(60, 6)))
        run.label = name
        pair.append(run)
    page = show(export_html(pair[0], tmp_path / "pair.html", pair[1]), "#sample=7")
    page.get_by_role("button", name="Features").click()
    expect_text(page, ".ltcl-a .ltcl-reading", "final encoder of one")
    before = marks(page)
    for run, name in zip(pair, ("one", "two"), strict=True):
        page.get_by_role("button", name=name, exact=True).click()
        page.get_by_label("Order").select_option("Nearest to the chosen")
        nearest = [7, *orders.neighbours(run.features)[7].tolist()]
        tiles = page.locator(".ltcl-tile:not([hidden])")
        until(
            lambda nearest=nearest, tiles=tiles: tiles.evaluate_all(
                "all => all.map(tile => Number(tile.dataset.sample))") == nearest,
            f"the neighbours in {name}",
        )  # fmt: skip
    expect_text(page, ".ltcl-a .ltcl-reading", "final encoder of two")
    assert not np.array_equal(marks(page), before)


# --- what a page holds ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def meta(two):
    """The description inside the page of two runs."""
    return json.loads(re.search(r'id="meta">(.*?)</script>', two.read_text("utf-8"))[1])


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


def test_an_outlier_does_not_squash_the_bands(show, tmp_path):
    loss = np.random.default_rng(0).gamma(3, size=(4, 60))
    loss[:, 5] = 500
    page = show(export_html(from_arrays(loss), tmp_path / "outlier.html"))
    assert chosen(page) == 5
    expect_text(page, ".ltcl-c .ltcl-reading", "A curve that leaves the picture")


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


# --- how it looks ---------------------------------------------------------------------------


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


def test_groups_differ_in_grey_by_shape_and_line(show, two):
    page = show(two)
    white = Image.new("RGBA", (28, 14), "white")
    pictures = [
        np.asarray(Image.alpha_composite(white, Image.fromarray(pixels(swatch))).convert("L")) < 235
        for swatch in page.locator(".ltcl-legend canvas").all()
    ]
    assert len(pictures) == 3
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (pictures[a] != pictures[b]).mean() > 0.05


def test_colours_are_those_of_the_figures(meta):
    assert meta["colours"] == plots.COLOURS


# --- other histories ------------------------------------------------------------------------


def history(epochs=4, samples=60, **given):
    draw = np.random.default_rng(1)
    return from_arrays(draw.gamma(3, size=(epochs, samples)), **given)


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


def test_long_histories_without_labels_and_images_are_thinned(show, tmp_path):
    page = show(export_html(history(epochs=250), tmp_path / "long.html"))
    expect_text(page, "footer", "100 of 250 kept epochs are shown")
    expect_text(page, "footer", "No labels were given")
    page.keyboard.press("End")
    settle(page)
    assert epoch(page) == "Epoch 250 of 250"
    expect_text(page, ".ltcl-b figcaption", "No views")


def test_one_epoch_and_equal_losses_are_shown(show, tmp_path):
    flat = from_arrays(np.ones((1, 5)), images=np.zeros((5, 40, 40, 3), np.uint8))
    page = show(export_html(flat, tmp_path / "flat.html"))
    assert cell(page, "Score") == "0.500" and epoch(page) == "Epoch 1 of 1"
    expect_text(page, "footer", "40 x 40 px")


def test_a_run_without_its_images_says_how_to_show_them(show, tmp_path):
    folder = paths.RESULTS / "cifar10-length" / "30-simclr-0"
    found = open_run(folder)
    if found.images is not None:
        pytest.skip("CIFAR is at hand here")
    page = show(export_html(found, tmp_path / "bare.html"))
    expect_text(page, "footer", "ltcl data get cifar10")
    expect_text(page, "footer", "no map of its features")
    assert page.locator(".ltcl-map").is_visible()
    found.images = np.zeros((len(found.labels), 8, 8, 3), np.uint8)  # now they are at hand
    page = show(export_html(found, tmp_path / "handed.html"))
    expect_text(page, "footer", "8 x 8 px")
    assert "No images" not in page.locator("footer").text_content()


# --- wrong input ----------------------------------------------------------------------------


def test_damaged_and_foreign_folders_give_one_line(tmp_path):
    damaged = shutil.copytree(FIRST, tmp_path / "damaged")
    (damaged / "memory.npz").write_bytes(b"x" + (damaged / "memory.npz").read_bytes()[1:])
    (tmp_path / "foreign").mkdir()
    for folder, named in ((damaged, "memory.npz"), (tmp_path / "foreign", "foreign")):
        with pytest.raises(ConfigError, match=named) as error:
            export_html(folder, tmp_path / "page.html")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "page.html").exists()


def test_a_run_without_a_history_is_refused():
    with pytest.raises(ConfigError, match="no loss history"):
        open_run(paths.RESULTS / "shapes-simclr" / "untrained-0")


def test_runs_of_different_images_are_not_compared():
    with pytest.raises(ConfigError, match="different images"):
        payload(FIRST, paths.RESULTS / "shapes-simclr" / "long-tail-1")


# --- the widget -----------------------------------------------------------------------------


def test_selection_is_checked_and_tabulated(arrays):
    live = Explorer(FIRST, SECOND)
    rare = int(np.flatnonzero(arrays[0]["labels"] == arrays[0]["class_counts"].argmin())[0])
    live.selection = [3, rare]
    table = live.table()
    assert table["sample"].tolist() == [3, rare] and table["group"].tolist()[1] == "few"
    assert table["score, BCL-I"].tolist() == pytest.approx(arrays[1]["scores"][-1, [3, rare]])
    assert {"score, SimCLR", "score, BCL-I"} <= set(table)
    with pytest.raises(ConfigError, match="allowed are 0 to 2608"):
        live.selection = [2609]
    assert live.selection == [3, rare]


def test_what_is_shown_can_be_set_with_numpy_and_tabulated(arrays):
    live = Explorer(FIRST, SECOND)
    loss = arrays[0]["momentum_loss"]
    assert live.epoch == 30 and live.focus == int(loss[-1].argmax())
    live.selection = np.array([5, 7])
    live.focus, live.epoch, live.sort = np.int64(7), np.int32(8), "falling"
    assert (live.selection, live.focus, live.epoch) == ([5, 7], 7, 8)
    fall = orders.falling(loss, 7)
    table = live.table(10)
    assert table["sample"].tolist() == orders.largest(fall, 10).tolist()
    assert table["falling"].tolist() == pytest.approx(fall[table["sample"]].tolist())
    scores = arrays[0]["scores"][7, table["sample"]]
    assert table["score, SimCLR"].tolist() == pytest.approx(scores, abs=1e-5)
    for name, value, said in (
        ("focus", 2609, "0 to 2608"), ("epoch", 31, "nearest is 30"), ("sort", "size", "falling"),
        ("sort", "near", "allowed here"), ("selection", ["a"], "whole numbers"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            setattr(live, name, value)


def test_a_notebook_that_is_only_read_holds_a_picture(monkeypatch):
    shown = []
    monkeypatch.setattr(widget, "display", lambda *what, **how: shown.append((what[0], how)))
    Explorer(FIRST)._ipython_display_()
    picture, (bundle, how) = shown[0][0], shown[1]
    assert picture.data.startswith(b"\x89PNG") and 5e3 < len(picture.data) < 2e5
    assert "application/vnd.jupyter.widget-view+json" in bundle and how == {"raw": True}


NOTEBOOK = """
import json
from IPython.display import display
from ltcl_helpers import explorer
live = explorer.Explorer({first!r}, {second!r})
display(live)
def write(change):
    told = dict(selection=live.selection, focus=live.focus, epoch=live.epoch)
    live.epoch, live.sort = 8, "learnt"
    open({out!r}, "w").write(json.dumps(told))
live.observe(write, "selection")
"""


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab server with a notebook that shows the explorer; gives its address."""
    source = NOTEBOOK.format(first=str(FIRST), second=str(SECOND), out=str(tmp_path / "chosen"))
    cell = {"cell_type": "code", "id": "a", "source": source, "metadata": {}, "outputs": [],
            "execution_count": None}  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "look.ipynb").write_text(json.dumps(book))
    places = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = os.environ | places | {"JUPYTER_PREFER_ENV_PATH": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0",
               "--IdentityProvider.token=t", "--ServerApp.port_retries=50",
               "--LabApp.expose_app_in_browser=True",
               f"--ServerApp.root_dir={tmp_path}"]  # fmt: skip
    with open(tmp_path / "server.log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
    try:
        yield _address(tmp_path, server)
    finally:
        server.terminate()
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:  # how fast it ends is no verdict on the explorer
            server.kill()
            server.wait()


def _address(folder, server):
    def answered():
        assert server.poll() is None, (folder / "server.log").read_text()[-2000:]
        for file in (folder / "RUNTIME").glob("jpserver-*.json"):
            try:
                url = json.loads(file.read_text())["url"]
                urllib.request.urlopen(f"{url}api?token=t", timeout=PATIENCE).close()
                return url
            except (OSError, ValueError):
                pass
        return None

    return until(answered, "JupyterLab answers", LAB_PATIENCE)


def run_the_cell(page):
    """Run the notebook's one cell, once.

    Each further call would draw the explorer anew under the test's hands, so none is made while
    one runs: a call that came before the kernel listens ends without a number at the cell.
    """
    run = "void jupyterapp.commands.execute('notebook:run-all-cells').finally(() => (ran = 1))"

    def done():
        page.evaluate(f"ran = 0; {run}")
        until(lambda: page.evaluate("ran"), "the cell has run", LAB_PATIENCE)
        settle(page)
        prompt = page.locator(".jp-CodeCell .jp-InputPrompt").first.text_content()
        return re.search(r"\d|\*", prompt)

    until(done, "the kernel takes the cell", LAB_PATIENCE)


def test_a_click_in_jupyterlab_reaches_the_kernel(browser, lab, arrays, tmp_path):
    page = browser.new_context(viewport={"width": 1400, "height": 1100}).new_page()
    page.set_default_timeout(1000 * LAB_PATIENCE)
    page.goto(f"{lab}lab/tree/look.ipynb?token=t")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").first.wait_for()
    page.get_by_text("| Idle").first.wait_for()
    page.locator(".jp-Notebook .cm-content").first.click()
    run_the_cell(page)
    page.locator(".ltcl-top").wait_for()
    until(lambda: page.evaluate(VIEWS_DRAWN), "the first views", LAB_PATIENCE)  # they come last
    assert page.locator(".jp-RenderedImage").count() == 1  # for those who only read the notebook
    assert not page.locator(".jp-RenderedImage").is_visible()
    place, said = a_mark(page)
    page.locator(".ltcl-top").click(position=place, modifiers=["Shift"])
    expect_text(page, ".ltcl-status", "1 selected")
    sample = int(re.search(r"· (\d+)score", said)[1])
    score = pytest.approx(arrays[1]["scores"][6, sample], abs=0.0051)  # after epoch 7

    def drawn_by_the_kernel():
        caption = page.locator(".ltcl-b figcaption").nth(1).text_content()
        steered = re.search(r"BCL-I, views of epoch 8, steered by ([\d.]+)", caption)
        return steered and float(steered[1]) == score

    written = tmp_path / "chosen"
    until(lambda: written.exists() and written.read_text(), "the click is told", LAB_PATIENCE)
    told = json.loads(written.read_text())
    assert told == {"selection": [sample], "focus": sample, "epoch": 30}
    expect_text(page, ".ltcl-epoch", "Epoch 8 of 30")  # what Python set in answer
    until(lambda: page.get_by_label("Order").input_value() == "learnt", "Python's order")
    until(drawn_by_the_kernel, "the clicked sample's views", LAB_PATIENCE)

    # A kernel that was started anew knows nothing of the page: no picture may stay.
    kernels = json.loads(urllib.request.urlopen(f"{lab}api/kernels?token=t").read())
    again = f"{lab}api/kernels/{kernels[0]['id']}/restart?token=t"
    urllib.request.urlopen(urllib.request.Request(again, method="POST"), timeout=LAB_PATIENCE)
    page.locator(".ltcl-tile").nth(5).click()
    expect_text(page, ".ltcl-b figcaption", "No kernel answers")
    assert page.locator(".ltcl-strip:visible").count() == 0
    page.context.close()


# --- the command ----------------------------------------------------------------------------


def test_command_writes_a_page(tmp_path, capsys):
    page = tmp_path / "page.html"
    assert cli.main(["explore", str(FIRST), "--compare", str(SECOND), "--out", str(page)]) == 0
    assert page.stat().st_size > 1e6 and str(page) in capsys.readouterr().out
    assert cli.main(["explore", str(tmp_path), "--out", str(tmp_path / "no.html")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


# --- every kind of run ----------------------------------------------------------------------


def a_run_of_every_study():
    """The first run of each study that has a history; a sooner one where samples were not seen."""
    found = {}
    for file in sorted(paths.RESULTS.glob("*/*/memory.npz")):
        loss, study = files.read_npz(file)["momentum_loss"], file.parts[-3]
        if len(loss):
            late = bool(np.isnan(loss[0]).any())
            found.setdefault((study, late), file.parent)
    with_late = {study for study, late in found if late}
    return [run for (study, late), run in found.items() if late or study not in with_late]


def test_a_run_of_every_study_opens_with_the_numbers_of_python(show, tmp_path):
    folders = a_run_of_every_study()
    studies = {path.name for path in paths.RESULTS.iterdir() if path.is_dir()}
    assert {folder.parent.name for folder in folders} == studies
    never_seen = 0
    for number, folder in enumerate(folders):
        run = open_run(folder, images=False)
        loss, scores = run.momentum_loss, run.scores()
        last, hardest = len(loss) - 1, int(np.nanargmax(loss[-1]))
        late = int(np.isnan(loss[0]).argmax())  # the first that was not seen in epoch 1, or 0
        never_seen += np.isnan(loss[0]).any()
        page = show(export_html(run, tmp_path / f"{number}.html"), f"#sample={hardest}")
        for sample, row, key in ((hardest, last, "End"), (hardest, 0, "Home"), (late, 0, "Home")):
            page.evaluate(f"location.hash = 'sample={sample}'")
            page.keyboard.press(key)
            expect_text(page, ".ltcl-epoch", f"Epoch {run.kept[row]} of")
            expect_text(page, ".ltcl-facts", f"sample {sample} ")
            settle(page)
            shown = float(cell(page, "Score").split()[0])
            assert shown == pytest.approx(scores[row, sample], abs=6e-4), folder
            seen = loss[row][~np.isnan(loss[row])]
            if np.isnan(loss[row, sample]):
                assert cell(page, "Place") == cell(page, "Momentum loss") == "not seen yet"
            else:
                assert np.float16(cell(page, "Momentum loss")) == loss[row, sample]
                place = 1 + int((seen > loss[row, sample]).sum())
                assert cell(page, "Place") == f"{place:,} of {len(seen):,}"
        assert np.isfinite(pixels(page.locator(".ltcl-curves").first)).any()
        page.context.close()
    assert never_seen >= 3  # MoCo's: a queue drops the last batch
