"""The course as pages: in a browser without a network, and what is published to whom."""

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
from ltcl_helpers.course import editions, mathml
from ltcl_helpers.course import site as static
from ltcl_helpers.errors import ConfigError

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LESSONS = sorted(paths.LESSONS.glob("[0-9]*.ipynb"))
PATIENCE = 600  # seconds until what hangs is given up; no machine is so slow that it decides
EXECUTED = ("05_boosted_views", "07_explore")
PAGES = ("docs/methods", "docs/batch", "api/methods", "api/runs", "api/explorer")
SEEN = ("index", *(f"lessons/{name}" for name in EXECUTED), *PAGES)
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt install chromium")


@pytest.fixture(scope="module")
def executed(tmp_path_factory, at_tiny):
    """All lessons, two of them executed at tiny."""
    folder = tmp_path_factory.mktemp("executed")
    for path in LESSONS:
        shutil.copy2(at_tiny(path) if path.stem in EXECUTED else path, folder)
    return folder


@pytest.fixture(scope="module")
def site(executed, tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    assert len(static.write_site(executed, target)) > len(LESSONS)
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
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_pages_open_offline_without_a_complaint(site, browser, width, scheme):
    context = browser.new_context(
        offline=True, color_scheme=scheme, viewport={"width": width, "height": 800}
    )
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for name in SEEN:
        page.goto((site / f"{name}.html").as_uri())
        broken = page.evaluate(
            "[...document.images].filter(i => i.loading != 'lazy')"
            ".filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"
        )
        assert broken == []
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{name} is {wide} pixels wide"
        fields = page.get_by_role("button", name="Search", exact=True)
        assert sum(field.is_visible() for field in fields.all()) == 1
        text = page.inner_text("article")
        if not name.startswith("api/"):  # a type's pattern may end in one
            assert "$" not in text.replace("$\\", ""), text[text.index("$") - 80 :][:160]
        alts = page.evaluate("[...document.querySelectorAll('article img')].map(i => i.alt)")
        assert [alt for alt in alts if len(alt) < 10 or alt.startswith(("../", "_images"))] == []
        assert len(alts) >= 4 or not name.startswith("lessons/05")
    page.goto((site / "lessons/05_boosted_views.html").as_uri())
    heights = page.evaluate("[...document.querySelectorAll('math')].map(m => m.clientHeight)")
    assert len(heights) > 10 and min(heights) > 5  # drawn, not swallowed
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (colour == "rgb(255, 255, 255)") == (scheme == "light")
    page.goto((site / "lessons/07_explore.html").as_uri())
    frames = page.frame_locator("iframe.explorer >> nth=0")
    frames.locator("canvas").first.wait_for()
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert [said for said in complaints if not said.startswith(("log:", "info:"))] == []
    context.close()


@pytest.mark.parametrize("page", sorted(static.DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_no_line_of_code_of_a_page_is_longer_than_the_site_shows(page):
    """88 columns, as in the lessons."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S):
        assert [line for line in block.splitlines() if len(line) > 88] == []


@needs_browser
def test_a_screen_shows_each_line_of_code_whole(site, browser):
    """Of 1280 pixels; on a phone long lines scroll."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(1000 * PATIENCE)
    for path in LESSONS:
        page.goto((site / "lessons" / f"{path.stem}.html").as_uri())
        cut = page.evaluate(
            "[...document.querySelectorAll('div.cell_input pre')]"
            ".filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)"
        )
        assert cut == [], path.stem
    page.close()


def test_the_explorer_is_in_its_lesson_and_no_object_is_named(site):
    text = (site / "lessons" / "07_explore.html").read_text(encoding="utf-8")
    frames = re.findall(r'<iframe class="explorer" title="([^"]+)" src="([^"]+)"', text)
    assert len(frames) >= 3 and "SimCLR" in frames[0][0]
    for _, place in frames:
        assert (site / "lessons" / place).stat().st_size > 10_000
    assert (site / "explorer.html").exists()
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"object at 0x[0-9a-f]", text), path.name
        assert str(static.DOCS.parent) not in text, f"{path.name} names a folder of this machine"


def test_the_students_site_has_no_solution_and_no_page_for_teachers(site, executed):
    pages = [p for p in site.rglob("*") if p.suffix in (".html", ".js", ".ipynb", ".md", ".txt")]
    content = {page: page.read_text(encoding="utf-8") for page in pages}
    looked_for = 0
    for path in LESSONS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        names = {
            "".join(editions.text(cell).split()) for cell in cells if not editions.is_solution(cell)
        }
        for cell in filter(editions.is_solution, cells):
            for name in re.findall(r"^def (\w+)\(", editions.text(cell), re.M):
                if any(name in each for each in names):
                    continue
                looked_for += 1
                found = [page.name for page, text in content.items() if name in text]
                assert found == [], (path.name, name)
    assert looked_for > 10
    assert not [page for page in pages if page.stem in ("teaching", "teachers_pack", "grading")
                and page.parent.name == "docs"]  # fmt: skip


def test_the_teachers_site_has_the_solutions_folded(executed, tmp_path, monkeypatch):
    monkeypatch.setattr(static, "ROOMS", ())  # the package has the same pages for both
    one = tmp_path / "executed"
    one.mkdir()
    shutil.copy2(executed / "05_boosted_views.ipynb", one)
    static.write_site(one, tmp_path / "site", "teacher")
    text = (tmp_path / "site" / "lessons" / "05_boosted_views.html").read_text(encoding="utf-8")
    assert text.count("<details") >= 3
    assert (tmp_path / "site" / "docs" / "teaching.html").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"executed", "site"}  # nothing beside it


def test_links_lead_to_pages_that_are_there_and_the_site_is_small(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for link in re.findall(r'<(?:a|img|iframe)[^>]+(?:href|src)="([^"#?]+)', text):
            if not re.match(r"(https?|data|mailto):", link):
                assert (path.parent / link).exists(), f"{path.name}: {link}"
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    assert size < 30e6 and not (site / ".buildinfo").exists() and not (site / ".doctrees").exists()


def test_a_page_is_read_by_keys_and_by_landmarks(site):
    text = (site / "docs" / "methods.html").read_text(encoding="utf-8")
    assert '<table tabindex="0" ' in text and "<table class" not in text
    sidebar = '<div id="pst-primary-sidebar" role="complementary" aria-label="Title and pages"'
    assert text.count(sidebar) == 1


def test_a_value_of_a_table_stays_on_one_line(site):
    text = (site / "docs" / "methods.html").read_text(encoding="utf-8")
    cells = re.findall("<td.*?</td>", text, re.DOTALL)
    assert sum(bool(re.search("\\d\u00a0(±|to)\u00a0[+-]?\\d", cell)) for cell in cells) > 100
    assert not any(re.search(r"\d (±|to) [+-]?\d", cell) for cell in cells)


def test_a_room_has_a_page_with_the_shapes_of_its_names(site):
    text = (site / "api" / "methods.html").read_text(encoding="utf-8")
    for name in ("MomentumLoss", "nt_xent", "balanced_contrastive", "magnitude_masks"):
        assert f"{name}</span>" in text
    assert "[B, 2, D]" in re.sub("<[^>]+>", "", text)
    assert len([*(site / "api").glob("*.html")]) == len(static.ROOMS)
    rooms = {path.parent.name for path in paths.PACKAGE.glob("*/__init__.py")}
    assert rooms == set(static.ROOMS)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_formula_of_a_lesson_is_understood(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            text = re.sub(r"(`+).+?\1", "", editions.text(cell), flags=re.S)
            for block, inline in re.findall(r"\$\$(.+?)\$\$|\$([^$]+?)\$", text, re.S):
                found = mathml.to_mathml(block or inline, "block" if block else "inline")
                assert not re.search(r"\\\w", found), found


def test_bad_calls_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no executed lesson"):
        static.write_site(tmp_path, tmp_path / "never")
    shutil.copy2(LESSONS[0], tmp_path)
    with pytest.raises(ConfigError, match="edition is 'pupil'; allowed are student, teacher"):
        static.write_site(tmp_path, tmp_path / "never", "pupil")
    assert not (tmp_path / "never").exists()


def test_a_site_replaces_a_site_and_nothing_else(tmp_path):
    """`--out .` must not cost anybody a folder."""
    place = tmp_path / "public_html"
    place.mkdir()
    (place / "grades.html").write_text("precious")
    (tmp_path / "one").mkdir()
    shutil.copy2(LESSONS[0], tmp_path / "one")
    for target in (place, place / "grades.html"):
        with pytest.raises(ConfigError, match=f"--out is {target}, which holds other files than"):
            static.write_site(tmp_path / "one", target)
    assert (place / "grades.html").read_text() == "precious"
    for name in static.OF_A_SITE:
        (place / name).touch()
    static._refuse_other_files(place)  # an older one
    static._refuse_other_files(tmp_path / "new")


def test_a_lesson_whose_execution_stopped_is_not_published(tmp_path):
    lesson = json.loads(LESSONS[0].read_text(encoding="utf-8"))
    code = [cell for cell in lesson["cells"] if cell["cell_type"] == "code"]
    code[0]["execution_count"] = 1
    (tmp_path / LESSONS[0].name).write_text(json.dumps(lesson), encoding="utf-8")
    with pytest.raises(ConfigError, match=f"{LESSONS[0].name}: 1 of {len(code)} cells are execut"):
        static.write_site(tmp_path, tmp_path / "never")


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
