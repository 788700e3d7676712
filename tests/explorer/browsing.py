"""What a test does to the explorer's page in a browser, and what it reads there.

No verdict depends on how fast the machine is. A test waits for what it asserts, for two frames,
or on a clock that it moves itself; a time-out only ends a test that would hang.
"""

import base64
import io
import re
import time
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from ltcl_helpers import paths
from ltcl_helpers.explorer.history import from_arrays

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
AROUND = [(0.02, 0.01), (0.99, 0.01), (0.99, 0.95), (0.02, 0.95), (0.02, 0.02)]


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


def complaints(page):
    """What axe-core finds that shuts a reader out: its rule, what is wrong, and where."""
    package = pytest.importorskip("axe_playwright_python", reason="no axe-core here: make setup")
    script = resources.files(package).joinpath("axe.min.js").read_text("utf-8")
    page.evaluate("document.querySelectorAll('details').forEach(part => (part.open = true))")
    settle(page)
    page.evaluate(script)
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
    return [(rule["id"], part["failureSummary"], part["html"][:99])
            for rule in found for part in rule["nodes"]]  # fmt: skip


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


def history(epochs=4, samples=60, **given):
    draw = np.random.default_rng(1)
    return from_arrays(draw.gamma(3, size=(epochs, samples)), **given)
