"""Film the explorer for the README: figures/explorer_film.gif, and beside it the rows it shows.

    python experiments/moving_picture.py [--chromium /usr/bin/chromium]

A page of two recorded runs on the embedded data is opened in a browser and used as a reader would
use it: the epochs go by, the images of the few classes that are hard at the end are chosen one
after the other. Nothing is drawn by hand.
"""

import argparse
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from ltcl_helpers import files
from ltcl_helpers.explorer import export_html
from ltcl_helpers.explorer.history import open_run
from ltcl_helpers.paths import FIGURES, RESULTS, ROOT

RUNS = (RESULTS / "shapes-simclr" / "long-tail-0", RESULTS / "shapes-methods" / "bcl-i-0")
SIZE = {"width": 1400, "height": 900}
SHOWN = (980, 630)  # pixels of the film
COLOURS = 255
CHOSEN = 4  # images that are looked at when the epochs have gone by
BLINK = 120  # milliseconds of an epoch
LOOK = 1600  # of an image


def hard_and_rare() -> list[int]:
    """The samples of the few classes with the highest scores after the last epoch."""
    history = open_run(RUNS[0], images=False)
    few = np.flatnonzero(history.groups() == "few")
    order = (-history.scores()[-1, few]).argsort(kind="stable")
    return few[order[:CHOSEN]].tolist()


def film(page: Page) -> tuple[list[Image.Image], list[int]]:
    """The pictures and how long each stays, in milliseconds."""
    pictures, times = [], []

    def take(milliseconds: int) -> None:
        page.wait_for_timeout(250)  # drawn by then; a picture too early costs nothing but looks
        picture = Image.open(io.BytesIO(page.screenshot()))
        pictures.append(picture.convert("RGB").resize(SHOWN, Image.Resampling.LANCZOS))
        times.append(milliseconds)

    slider = page.locator("input[type=range]")
    slider.focus()
    page.keyboard.press("Home")
    take(4 * BLINK)
    for _ in range(int(slider.get_attribute("max") or 0)):
        page.keyboard.press("ArrowRight")
        take(BLINK)
    search = page.locator("input[type=search]")
    for sample in hard_and_rare():
        search.fill(str(sample))
        search.press("Enter")
        take(LOOK)
    return pictures, times


def main() -> None:
    """Make the film."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = export_html(RUNS[0], Path(folder) / "page.html", RUNS[1])
        browser = playwright.chromium.launch(
            executable_path=options.chromium, args=["--no-sandbox"]
        )
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(page_file.as_uri())
        page.locator(".ltcl-status", has_text="selected").wait_for()
        page.wait_for_timeout(2000)
        pictures, times = film(page)
        browser.close()

    # One palette for all, made of the last picture, which has the most colours.
    palette = pictures[-1].quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
    frames = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    target = FIGURES / "explorer_film.gif"
    frames[0].save(
        target, save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=True
    )
    rows = {
        str((run / "memory.npz").relative_to(ROOT)): files.sha256(run / "memory.npz")
        for run in RUNS
    }
    about = {"made by": "python experiments/moving_picture.py", "rows": rows}
    files.write_json(FIGURES / "explorer_film.json", about)
    print(f"{target}: {len(frames)} pictures, {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
