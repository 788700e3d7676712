"""The map, time, curves and list, as a person uses them: asserted against the recorded arrays."""

import re

import numpy as np
import pytest
from explorer.browsing import (
    AROUND,
    FIRST,
    VIEWS_DRAWN,
    a_mark,
    cell,
    chosen,
    drag,
    epoch,
    expect_list,
    expect_text,
    history,
    marks,
    pixels,
    settle,
    status,
    until,
    wait_until,
)
from PIL import Image

from ltcl_helpers.data.images import load_images
from ltcl_helpers.explorer import orders
from ltcl_helpers.explorer.history import open_run
from ltcl_helpers.explorer.page import export_html

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
    cut = "all => all.filter(text => text.scrollWidth > text.clientWidth).length"
    assert page.locator(".ltcl-value").evaluate_all(cut) == 0  # every value is seen
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


@pytest.mark.parametrize("width", [1360, 420])
def test_selecting_moves_nothing_on_the_page(show, two, width):
    page = show(two, viewport={"width": width, "height": 1000})
    places = ".ltcl-map, .ltcl-time"
    boxes = "all => all.map(part => JSON.stringify(part.getBoundingClientRect()))"
    before = page.locator(places).evaluate_all(boxes)
    for address in ("selection=5", "selection=0-2608", "selection=&sample=3"):
        page.evaluate(f"location.hash = '{address}'")
        settle(page)
        assert page.locator(places).evaluate_all(boxes) == before, address


@pytest.mark.parametrize("width", [1360, 420])
def test_no_button_lies_on_the_marks(show, two, width):
    page = show(two, viewport={"width": width, "height": 1000})
    settle(page)
    area = page.locator(".ltcl-top").bounding_box()
    for button in page.locator(".ltcl-a button").all():
        box = button.bounding_box()
        above = box["y"] + box["height"] <= area["y"]
        assert above or box["y"] >= area["y"] + area["height"], button.inner_text()


def test_the_keys_named_are_those_of_the_maps_there(show, two):
    page = show(two)
    settle(page)
    maps = page.get_by_role("group", name="Map", exact=True).get_by_role("button").count()
    assert f"1 to {maps} choose the map" in page.locator("footer").inner_text()


def test_of_a_hidden_group_nothing_is_drawn(show, two):
    page = show(two, "#hidden=many.medium.few")
    settle(page)
    marks_and_means = page.locator(".ltcl-map > canvas")
    assert len(np.unique(marks(page).reshape(-1, 4), axis=0)) == 1
    assert not pixels(marks_and_means.nth(2)).any()  # the classes' means


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
