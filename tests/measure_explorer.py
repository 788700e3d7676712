"""Measure the explorer's page, and take its picture: python tests/measure_explorer.py --help.

Prints the rows of the table in docs/explorer.md: a page's size, when it answers, and how many
frames a second it draws while the epoch changes in every frame. Losses are random walks: what a
page costs does not depend on what they say.
"""

import argparse
import os
import platform
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright
from test_explorer import ARGUMENTS, FIRST, SECOND, settle, wait_until

from ltcl_helpers import files, paths
from ltcl_helpers.data import splits
from ltcl_helpers.data.images import read_arrays
from ltcl_helpers.explorer.history import from_arrays, open_run
from ltcl_helpers.explorer.page import export_html

WATCH = """(() => { const look = () => { const said = document.querySelector(".ltcl-status");
  if (said?.textContent) window.ready = performance.now(); else requestAnimationFrame(look); };
  requestAnimationFrame(look); })()"""
# A canvas is 300 wide until something is drawn in it.
DRAWN = """[...document.querySelectorAll(
  ".ltcl-tile:not([hidden]) canvas, .ltcl-picture, .ltcl-strip:not([hidden])"
)].every((canvas) => canvas.width !== 300)"""
SCRUB = """() => new Promise((done) => {
  const slider = document.querySelector("input[type=range]"), start = performance.now();
  let frames = 0;
  requestAnimationFrame(function step(now) {
    if (now - start > 4000) return done(1000 * frames / (now - start));
    slider.value = frames++ % (Number(slider.max) + 1);
    slider.dispatchEvent(new Event("input"));
    requestAnimationFrame(step);
  });
})"""


def history(sizes, images=None, epochs=100):
    """Random walks [epochs, N] of a long tail with these class sizes."""
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    steps = draw.normal(-0.02, 0.05, (epochs, len(labels))).astype(np.float32)
    walks = draw.normal(5, 0.6, len(labels)).astype(np.float32) + steps.cumsum(0)
    taken = None if images is None else np.asarray(images[np.arange(len(labels)) % 12000])
    return from_arrays(walks, labels, taken)


def measure(browser, page_file, times):
    """(megabytes, seconds until it answers, frames a second) of a page, `times` times."""
    rows = []
    for _ in range(times):
        context = browser.new_context(viewport={"width": 1360, "height": 900}, offline=True)
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(page_file.as_uri())
        wait_until(page, "window.ready")
        wait_until(page, DRAWN)
        page.wait_for_timeout(1500)  # then it is at rest
        rows.append((page.evaluate("window.ready / 1000"), page.evaluate(SCRUB)))
        context.close()
    return page_file.stat().st_size / 1e6, *zip(*rows, strict=True)


def report_row(name, megabytes, seconds, frames):
    """One row of the table, as Markdown."""
    spread = [f"{np.median(v):.1f} ({min(v):.1f} to {max(v):.1f})" for v in (seconds, frames)]
    return f"| {name} | {megabytes:.1f} | {spread[0]} | {spread[1]} | {len(frames)} |"


def latest(run, count=8):
    """The samples of few classes with the highest last scores."""
    few = np.flatnonzero(run.groups() == "few")
    return few[np.argsort(-run.scores()[-1, few])[:count]].tolist()


def take_picture(browser, folder):
    """figures/explorer.png, and beside it what rows it shows."""
    page_file = export_html(FIRST, folder / "picture.html", SECOND)
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, color_scheme="light")
    page = context.new_page()
    late = latest(open_run(FIRST, images=False))
    page.goto(
        f"{page_file.as_uri()}#epoch=30&sample={late[0]}&selection={'.'.join(map(str, late))}"
    )
    page.locator(".ltcl-status", has_text="selected").wait_for()
    wait_until(page, DRAWN)
    settle(page)
    target = paths.ROOT / "figures" / "explorer.png"
    page.screenshot(path=target, full_page=True)
    rows = {
        str((run / "memory.npz").relative_to(paths.ROOT)): files.sha256(run / "memory.npz")
        for run in (FIRST, SECOND)
    }
    about = {"made by": "python tests/measure_explorer.py --picture", "rows": rows}
    files.write_json(target.with_suffix(".json"), about)


def main():
    """Measure, or take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", action="store_true", help="take figures/explorer.png instead")
    parser.add_argument("--data", default="shapes", help="the thumbnails' images; default shapes")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=ARGUMENTS)
        if options.picture:
            return take_picture(browser, Path(folder))
        sizes = splits.class_sizes(450, 100, 100)  # 9,754 images, as CIFAR-100-LT
        images = read_arrays(options.data).images
        small = export_html(history(sizes, images), Path(folder) / "small.html")
        many = splits.class_sizes(645, 1000, 256)
        many[0] += 115_846 - sum(many)  # as many as ImageNet-LT
        large = export_html(history(many), Path(folder) / "large.html")
        print(f"{platform.machine()}, {os.cpu_count()} cores, Chromium {browser.version}, "
              f"software rendering, thumbnails of {options.data}")  # fmt: skip
        print("| page | MB | seconds until it answers | frames/s while scrubbing | n |")
        for name, file in (("9,754 x 100, thumbnails", small), ("115,846 x 100", large)):
            print(report_row(name, *measure(browser, file, options.times)))


if __name__ == "__main__":
    main()
