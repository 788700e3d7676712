"""The page in Firefox, with the hands of a person: mouse and keyboard, and nothing is said."""

import numpy as np
import pytest
from explorer.browsing import AROUND, until
from explorer.firefox import PROGRAM, Firefox

FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture
def firefox(tmp_path):
    """Firefox where it is installed."""
    if PROGRAM is None:
        pytest.skip("no Firefox here: apt install firefox-esr")
    opened = Firefox(tmp_path)
    yield opened
    opened.close()


def a_mark(firefox):
    """Hover along the map until a mark answers: its place in the window, and what is said."""
    left, top, _, height = firefox.box(".ltcl-top")
    for x in range(14, 80):
        place = (left + 8 * x, top + 0.45 * height)
        firefox.pointer(place)
        firefox.evaluate(FRAMES)
        if firefox.evaluate("!document.querySelector('.ltcl-tip').hidden"):
            return place, firefox.text(".ltcl-tip")
    raise AssertionError("no mark under the pointer")


def test_the_page_works_in_firefox_too(firefox, two, arrays):
    samples = f"{len(arrays[0]['labels']):,}"

    def says(selector, part):
        until(lambda: part in (firefox.text(selector) or ""), f"{selector} says {part}")

    firefox.open(two.as_uri())
    says(".ltcl-status", "nothing selected")
    place, said = a_mark(firefox)
    sample = int(said.split("score")[0].split(" · ")[1])
    score = float(said.split("score")[1])
    assert score == pytest.approx(arrays[0]["scores"][-1, sample], abs=0.0051)
    firefox.pointer(place, place, press=True)
    says(".ltcl-facts", f"sample {sample} ")
    firefox.pointer(place, place, press=True, held=["Shift"])
    says(".ltcl-status", "1 selected")

    # A lasso after a click with Shift: the browser must not take it for text that is dragged.
    left, top, width, height = firefox.box(".ltcl-top")
    around = [(left + x * width, top + y * height) for x, y in AROUND]
    firefox.pointer(*around, press=True)
    says(".ltcl-status", f"{samples} selected")
    firefox.press("Control+z")
    says(".ltcl-status", "1 selected")
    firefox.press("Control+Shift+z")
    says(".ltcl-status", f"{samples} selected")

    left, top, width, height = firefox.box("input[type=range]")
    middle = (left + width / 2, top + height / 2)
    firefox.pointer(middle, middle, press=True)
    until(lambda: firefox.text(".ltcl-epoch") != "Epoch 30 of 30", "the slider moves time")
    row = firefox.evaluate("Number(document.querySelector('input[type=range]').value)")
    loss = "document.querySelector('.ltcl-b tbody td').textContent"
    assert np.float16(firefox.evaluate(loss)) == arrays[0]["momentum_loss"][row, sample]
    firefox.press("Home")
    says(".ltcl-epoch", "Epoch 1 of 30")
    firefox.press("ArrowRight", "n", "a")
    says(".ltcl-epoch", "Epoch 2 of 30")
    says(".ltcl-status", f"{len(arrays[0]['labels']) - 1:,} selected")
    assert firefox.troubles == []  # nothing in the console, nothing asked for
