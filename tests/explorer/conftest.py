"""A browser, the page of two recorded runs, and their arrays, for all files of this room."""

import contextlib
import io
import json
import os
import re
import shutil

import numpy as np
import pytest
import torch
from explorer.browsing import ARGUMENTS, FIRST, PATIENCE, SECOND

from ltcl_helpers import cli, files
from ltcl_helpers.methods import memory


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


@pytest.fixture(scope="session")
def two(tmp_path_factory):
    """The page of two recorded runs of one split, as the command writes it."""
    page = tmp_path_factory.mktemp("two") / "two.html"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = cli.main(["explore", str(FIRST), "--compare", str(SECOND), "--out", str(page)])
    assert code == 0 and str(page) in said.getvalue()
    return page


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


@pytest.fixture(scope="session")
def arrays():
    """momentum_loss float16 [epochs, N], labels [N], scores [epochs, N] of both runs."""
    found = [files.read_npz(folder / "memory.npz") for folder in (FIRST, SECOND)]
    for run in found:
        rows = torch.from_numpy(run["momentum_loss"].astype(np.float32))
        run["scores"] = torch.stack([memory.memorization_score(row) for row in rows]).numpy()
    return found


@pytest.fixture(scope="session")
def meta(two):
    """The description inside the page of two runs."""
    return json.loads(re.search(r'id="meta">(.*?)</script>', two.read_text("utf-8"))[1])
