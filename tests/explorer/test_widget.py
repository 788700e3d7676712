"""The widget: what is shown can be read and set from Python, here and in a real JupyterLab."""

import base64
import json
import os
import re
import subprocess
import sys
import urllib.request

import nbformat
import numpy as np
import pytest
from explorer.browsing import (
    FIRST,
    LAB_PATIENCE,
    PATIENCE,
    SECOND,
    VIEWS_DRAWN,
    a_mark,
    expect_text,
    settle,
    until,
)
from IPython.core.formatters import DisplayFormatter
from nbconvert import HTMLExporter

from ltcl_helpers.errors import ConfigError
from ltcl_helpers.explorer import orders, widget
from ltcl_helpers.explorer.widget import Explorer


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

    # The same notebook as a page by nbconvert: the picture, and no word of a widget that loads.
    data, metadata = DisplayFormatter().format(picture)
    outputs = [
        nbformat.v4.new_output("display_data", data, metadata=metadata),
        nbformat.v4.new_output("display_data", bundle),
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("view", outputs=outputs)])
    page, _ = HTMLExporter().from_notebook_node(book)
    assert base64.b64encode(picture.data).decode("ascii") in page.replace("\n", "")
    assert "Loading widget" not in page


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
