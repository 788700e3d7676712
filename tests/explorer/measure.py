"""Measure the explorer's page, and take its picture: python tests/explorer/measure.py --help.

Writes the rows of the table in docs/explorer.md: a page's size, when it answers, and what a hover
and a step in time cost the page's main thread, in milliseconds of CPU, which other programs on the
machine do not lengthen. Losses are random walks: what they say does not matter to the cost.
"""

import argparse
import os
import platform
import tempfile
from pathlib import Path

import numpy as np
from browsing import ARGUMENTS, FIRST, SECOND, settle, wait_until
from playwright.sync_api import sync_playwright

from ltcl_helpers import files, paths
from ltcl_helpers.data import splits
from ltcl_helpers.data.images import read_arrays
from ltcl_helpers.explorer.history import from_arrays, open_run
from ltcl_helpers.explorer.page import export_html

EVENTS = 60  # of each kind, one a frame
WATCH = """(() => { const look = () => { const said = document.querySelector(".ltcl-status");
  if (said?.textContent) window.ready = performance.now(); else requestAnimationFrame(look); };
  requestAnimationFrame(look); })()"""
# A canvas is 300 wide until something is drawn in it.
DRAWN = """[...document.querySelectorAll(
  ".ltcl-tile:not([hidden]) canvas, .ltcl-picture, .ltcl-strip:not([hidden])"
)].every((canvas) => canvas.width !== 300)"""
FRAMES = """(events, what) => new Promise((done) => {
  const start = performance.now();
  let frame = 0;
  requestAnimationFrame(function step() {
    if (frame === events) return done(1000 * events / (performance.now() - start));
    what(frame++);
    requestAnimationFrame(step);
  });
})"""
SCRUB = f"""(events) => {{
  const slider = document.querySelector("input[type=range]");
  return ({FRAMES})(events, (frame) => {{
    slider.value = (frame * 7) % (Number(slider.max) + 1);
    slider.dispatchEvent(new Event("input"));
  }});
}}"""
HOVER = f"""(events) => {{
  const map = document.querySelector(".ltcl-top"), box = map.getBoundingClientRect();
  return ({FRAMES})(events, (frame) => {{
    const place = {{ clientX: box.left + 80 + frame * 9, clientY: box.top + box.height * 0.45 }};
    map.dispatchEvent(new PointerEvent("pointermove", {{ ...place, bubbles: true }}));
  }});
}}"""


def history(sizes, images=None, epochs=100):
    """Random walks [epochs, N] of a long tail with these class sizes."""
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    steps = draw.normal(-0.02, 0.05, (epochs, len(labels))).astype(np.float32)
    walks = draw.normal(5, 0.6, len(labels)).astype(np.float32) + steps.cumsum(0)
    taken = None if images is None else np.asarray(images[np.arange(len(labels)) % 12000])
    return from_arrays(walks, labels, taken)


def cost(page, metrics, script):
    """Milliseconds of the main thread's CPU for an event, and frames a second."""

    def spent():
        found = metrics.send("Performance.getMetrics")["metrics"]
        return next(m["value"] for m in found if m["name"] == "TaskDuration")

    before = spent()
    frames = page.evaluate(script, EVENTS)
    return 1000 * (spent() - before) / EVENTS, frames


def measure(browser, page_file, times):
    """Megabytes of a page, and of each time: seconds until ready, ms a hover, a step, frames/s."""
    rows = []
    for _ in range(times):
        context = browser.new_context(viewport={"width": 1360, "height": 900}, offline=True)
        page = context.new_page()
        page.set_default_timeout(300_000)
        page.add_init_script(WATCH)
        page.goto(page_file.as_uri())
        wait_until(page, "window.ready")
        wait_until(page, DRAWN)
        page.wait_for_timeout(1500)  # then it is at rest
        metrics = context.new_cdp_session(page)
        metrics.send("Performance.enable", {"timeDomain": "threadTicks"})
        hover, _ = cost(page, metrics, HOVER)
        scrub, frames = cost(page, metrics, SCRUB)
        rows.append((page.evaluate("window.ready / 1000"), hover, scrub, frames))
        context.close()
    return {"MB": page_file.stat().st_size / 1e6, "rows": rows}


def small(folder):
    """As many samples as CIFAR-100-LT, with thumbnails."""
    sizes = splits.class_sizes(450, 100, 100)
    return export_html(history(sizes, read_arrays("shapes").images), folder / "small.html")


def large(folder):
    """As many samples as ImageNet-LT."""
    sizes = splits.class_sizes(645, 1000, 256)
    sizes[0] += 115_846 - sum(sizes)
    return export_html(history(sizes), folder / "large.html")


def huge(folder):
    """A million samples."""
    sizes = splits.class_sizes(5000, 1000, 256)
    sizes[0] += 1_000_000 - sum(sizes)
    return export_html(history(sizes, epochs=20), folder / "huge.html")


PAGES = {
    "9,754 samples x 100 epochs, thumbnails": small,
    "115,846 samples x 100 epochs": large,
    "1,000,000 samples x 20 epochs": huge,
}


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
    about = {"made by": "python tests/explorer/measure.py --picture", "rows": rows}
    files.write_json(target.with_suffix(".json"), about)


def main():
    """Measure, or take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", action="store_true", help="take figures/explorer.png instead")
    parser.add_argument("--only", default="", help="measure the pages with this in their name")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=ARGUMENTS)
        if options.picture:
            return take_picture(browser, Path(folder))
        pages = {name: make(Path(folder)) for name, make in PAGES.items() if options.only in name}
        facts = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "load": round(os.getloadavg()[0], 1),
            "browser": f"Chromium {browser.version}, headless, software rendering",
            "events": EVENTS,
            "pages": {},
        }
        for name, file in pages.items():
            facts["pages"][name] = measure(browser, file, options.times)
            print(name, facts["pages"][name], flush=True)
        if not options.only:
            files.write_json(paths.RESULTS / "page-costs.json", facts)


if __name__ == "__main__":
    main()
