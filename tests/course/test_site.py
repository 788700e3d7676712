"""The static course in a browser without a network: formulas, pictures, links, no complaint."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import pytest

from ltcl_helpers import paths
from ltcl_helpers.course import site as static
from ltcl_helpers.errors import ConfigError

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LESSONS = sorted(paths.LESSONS.glob("[0-9]*.ipynb"))
PATIENCE = 600  # seconds until what hangs is given up; no machine is so slow that it decides
EXECUTED = ("01_long_tail_data", "05_boosted_views")
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt install chromium")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Two lessons executed at tiny, made into a site."""
    executed, target = tmp_path_factory.mktemp("executed"), tmp_path_factory.mktemp("site")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "JUPYTER_PREFER_ENV_PATH": "1"}
    for name in EXECUTED:
        command = [sys.executable, "-m", "papermill", "--no-progress-bar", "-p", "preset", "tiny"]
        command += ["--start-timeout", str(PATIENCE)]
        places = [paths.LESSONS / f"{name}.ipynb", executed / f"{name}.ipynb"]
        subprocess.run([*command, *places], env=environment, cwd=executed, check=True,
                       capture_output=True)  # fmt: skip
    static.write_site(executed, target)
    return target


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=arguments, timeout=1000 * PATIENCE
        )
        yield found
        found.close()


@needs_browser
@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_open_offline_without_a_complaint(site, browser, width, scheme):
    context = browser.new_context(
        offline=True, color_scheme=scheme, viewport={"width": width, "height": 800}
    )
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for name in ("index", *EXECUTED):
        page.goto((site / f"{name}.html").as_uri())
        broken = page.evaluate(
            "[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"
        )
        assert broken == []
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{name} is {wide} pixels wide"
        if name != "index":
            assert page.evaluate("document.images.length") >= 5
        text = page.inner_text("main")
        assert "$" not in text.replace("$\\", ""), text[text.index("$") - 80 :][:160]
    heights = page.evaluate("[...document.querySelectorAll('math')].map(m => m.clientHeight)")
    assert len(heights) > 10 and min(heights) > 5  # drawn, not swallowed
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (colour == "rgb(255, 255, 255)") == (scheme == "light")
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
    context.close()


def test_pages_lead_to_each_other(site):
    for path in site.glob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"#]+)"', path.read_text(encoding="utf-8")):
            if not link.startswith("data:") and (link in EXECUTED or ".html" not in link):
                assert (site / link).is_file(), f"{path.name}: {link}"
    first, second = ((site / f"{name}.html").read_text("utf-8") for name in EXECUTED)
    assert f'href="{EXECUTED[1]}.html"' in first and f'href="{EXECUTED[0]}.html"' in second
    assert '<details class="solution">' in first


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_formula_of_a_lesson_is_understood(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            body = static.markdown("".join(cell["source"]))
            for formula in re.findall(r"<math.*?</math>", body, re.S):
                assert not re.search(r"\\\w", formula), formula


def test_code_and_prices_are_no_formulas():
    body = static.markdown("`$x$` and $x^2$, then\n\n```\n$y$\n```\n\n$$\\big[a\\big]$$")
    assert body.count("<math") == 2 and "$x$" in body and "$y$" in body
    with pytest.raises(ConfigError, match="holds no executed lesson"):
        static.write_site(Path(__file__).parent, Path("never"))


@pytest.fixture
def server(tmp_path):
    """A Jupyter server as the README starts it: in the repository's root."""
    root = paths.LESSONS.parent
    assert re.search(r"^jupyter lab$", (root / "README.md").read_text("utf-8"), re.M)
    command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"]
    command += ["--port=0", "--IdentityProvider.token=secret"]  # the system picks a free port
    places = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("RUNTIME", "CONFIG", "DATA")}
    words = tmp_path / "words.txt"
    with open(words, "w") as file:
        process = subprocess.Popen(
            command, cwd=root, env=os.environ | places, stdout=file, stderr=file
        )
    browse = build_opener(ProxyHandler({})).open  # a machine's proxy does not know this machine

    def address():
        """Where it answers, once it does."""
        end = time.monotonic() + PATIENCE
        while True:
            assert process.poll() is None and time.monotonic() < end, words.read_text()
            for file in (tmp_path / "RUNTIME").glob("jpserver-*.json"):
                # The file may be half written, the server not yet listening.
                with contextlib.suppress(ValueError, OSError):
                    found = json.loads(file.read_text())["url"]
                    browse(f"{found}api?token=secret", timeout=PATIENCE).close()
                    return found
            time.sleep(0.1)

    def status(path):
        try:
            with browse(f"{base}{path}?token=secret", timeout=PATIENCE) as answer:
                return answer.status
        except HTTPError as error:
            return error.code

    try:
        base = address()
        yield status
    finally:
        process.kill()  # it keeps nothing
        process.wait()


def test_every_link_of_a_lesson_holds_on_a_jupyter_server(server):
    links = set()
    for path in LESSONS:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                links |= set(re.findall(r"\]\((?!https?:)([^)#]+)", "".join(cell["source"])))
    assert len(links) > 5
    for link in links:
        place = Path(os.path.normpath(Path("notebooks", link))).as_posix()
        assert server(f"files/{place}") == 200, link
    assert server("files/notebooks/absent.png") == 404
