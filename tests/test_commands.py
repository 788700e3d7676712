"""Every command that README and docs tell a reader to type is typed here, with small runs."""

import glob
import json
import re
import shlex

import numpy as np
import pytest
import torch
from PIL import Image

from ltcl_helpers import cli, networks
from ltcl_helpers.config import RunConfig, parse_settings
from ltcl_helpers.course import editions
from ltcl_helpers.paths import DATA, LESSONS, ROOT

NOTEBOOKS = sorted(LESSONS.glob("[0-9]*.ipynb"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    DATA / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
PHOTOS = "--data folder:photos@32 --split all"
STAND_INS = (  # what a page says, and what stands for it here: small, and without a network
    (r"\[(--\S+ \S+)\]", r"\1"),  # [words that may be left out]
    (r"--data cifar100 --split \S+", PHOTOS),
    (r" --preset \S+", ""),
    (r"^(ltcl run (?!.*--resume).*)", r"\1 --preset tiny --set epochs=1"),
    (r"^(ltcl run (?!.*--data).*--out.*)", rf"\1 {PHOTOS}"),
    (r"--gpus \S+ (?=--out)", ""),  # of a run
    (r"run \.\.\. ", "run --out runs/paused "),
    (r"--resume$", "--resume runs/first"),
    (r"^(ltcl batch (?!.*--dry-run).*)", r"\1 --dry-run"),  # trains nothing
    (r"(experiments/)?GRID\.yaml", "experiments/cifar10-length.yaml"),
    (r"--set lists=DIR --set data=npz:FILE", "--set data=npz:photos_train.npz"),
    (r"HOST:", "127.0.0.1:"),
    (r"report .*", "report experiments/shapes-precision.yaml --out report.html"),  # is recorded
    (r"probe (?=--features pruned)", "probe runs/mild-0 "),  # a run of SDCLR
    (r"probe (?=--)", "probe RUN "),
    (r"\bRUN\b|data/weights/\S+", "runs/first"),
    (r"--shots (?!1%)\S+", "--shots 5"),
    (r"^(ltcl probe (?!.*--shots).*)", r"\1 --shots 5"),
    (r"--protocol classifier", "--protocol logistic"),  # the run here trained without labels
    (r"^(ltcl probe (?!.*--protocol).*)", r"\1 --protocol logistic"),  # "bcl" takes 500 epochs
    (r"npz:X_test", "npz:photos_test"),
    (r"pack --keep", "pack FOLDER --lists A.txt --out kept.pack --keep"),
    (r"FOLDER --lists A\.txt", "IMAGENET --lists data/splits/imagenet-100/*.txt"),
    (r"verify NAME", "verify packed/imagenet-100.pack"),
)
EXCEPTED = {  # how a command begins, and why it is not typed here
    "ltcl data get": "a network; tests/data/test_images.py has a server of its own",
    "ltcl bench": "minutes; tests/test_bench.py runs its parts",
    "ltcl probe --weights": "all embedded images; tests/runs/test_released.py has fewer",
    "torchrun": "processes of its own; tests/pretrain/test_ranks.py",
    "make": "minutes; tests/test_chores.py, tests/notebooks, and the last test here",
    "git clone": "a network",
    "jupyter lab": "does not end; tests/course/test_site.py starts its server",
    ". .venv/bin/activate": "a change of the shell",
    ".venv/bin/pre-commit": "a network",
    "python -m venv": "minutes; tests/test_chores.py, tests/test_wheel.py",
    ".venv/bin/python -m uv": "a network",
    ".venv/bin/python -m pip": "a network",
    ".venv/bin/python -m jupyter": "does not end",
    "dask": "does not end; tests/batch starts schedulers and workers",
    "CUDA_VISIBLE_DEVICES=": "a GPU",
}
FIRST = ("ltcl data pack", "ltcl run", "ltcl import-weights")  # the others use what these make
SAID = re.compile(
    r"ltcl (?!data pack$|batch --dry-run$)\w+ \S"
)  # those two are names in a sentence
ODD = re.compile(r"\bnan\b|Traceback|object at 0x|Warning:", re.IGNORECASE)


# --- the commands of a page -----------------------------------------------------------------


def prose(page):
    """A page's text without generated tables; of a notebook its text cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join(editions.text(c) for c in cells if c["cell_type"] == "markdown")
    return re.sub(r"<!-- generated.*?<!-- end -->", "", text, flags=re.DOTALL)


def commands(page):
    """The commands on a page: lines of its blocks of no language, and code inside of sentences."""
    text = re.sub(r"\\\n\s*", "", prose(page))  # a line that goes on
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line for language, block in blocks if not language for line in block.splitlines()]
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    words = [" ".join(each.split()) for each in re.findall(r"`([^`]+)`", text)]
    lines += [each for each in words if SAID.match(each)]
    bare = [re.sub(r"\s+#.*$", "", line).strip() for line in lines]
    return [line for line in bare if line and not line.startswith("# ")]


def small(command):
    """A command as it is typed here."""
    for said, instead in STAND_INS:
        command = re.sub(said, instead, command)
    return command


def to_type():
    """What is typed here, once each, beside what the pages say."""
    found = {}
    for page in PAGES:
        for command in commands(page):
            if not command.startswith(tuple(EXCEPTED)):
                found.setdefault(small(command), []).append(f"{page.name}: {command}")
    return dict(sorted(found.items(), key=lambda item: not item[0].startswith(FIRST)))


# --- a reader's folder ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder like the clone's, with photos, a hand-in and somebody's weights."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "experiments").symlink_to(ROOT / "experiments")
    (folder / "hand-in").mkdir()
    lesson = json.loads((LESSONS / "01_long_tail_data.ipynb").read_bytes())
    handed_in = json.dumps(editions.student_edition(lesson))
    (folder / "hand-in" / "anna.ipynb").write_text(handed_in, encoding="utf-8")
    method = re.search(r"```python\n(.*?)```", prose(ROOT / "docs" / "adding_a_method.md"), re.S)
    (folder / "swinging.py").write_text(method[1], encoding="utf-8")
    encoder = networks.build(RunConfig(preset="paper", width=4))
    weights = {f"backbone.{name}": value for name, value in encoder.state_dict().items()}
    torch.save({"epoch": 2000, "state_dict": weights}, folder / "model_2000.pt")
    photos(folder)
    imagenet(folder)
    return folder


def photos(folder):
    """Photos as files and as .npz, in three classes: the later, the lighter."""
    draw = np.random.default_rng(0)
    for part, count in (("train", 60), ("test", 12)):
        labels = np.arange(count) % 3
        images = draw.integers(0, 128, (count, 32, 32, 3)) + 60 * labels[:, None, None, None]
        images = images.astype(np.uint8)
        np.savez(folder / f"photos_{part}.npz", images=images, labels=labels)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = folder / "photos" / part / str(label) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


def imagenet(folder):
    """Three classes of JPEGs and the text lists of them, named as ImageNet-100's."""
    lists = folder / "data" / "splits" / "imagenet-100"
    lists.mkdir(parents=True)
    draw = np.random.default_rng(1)
    lines = {"LT_train": [], "sub_balance_train_0.01": [], "test": []}
    for label, count in enumerate((8, 5, 3)):
        for number in range(count + 2):
            path = f"{'train' if number < count else 'val'}/n{label}/{number}.JPEG"
            (folder / "IMAGENET" / path).parent.mkdir(parents=True, exist_ok=True)
            image = draw.integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(image).save(folder / "IMAGENET" / path)
            line = f"{path} {label}\n"
            lines["LT_train" if number < count else "test"].append(line)
            if number < 2:
                lines["sub_balance_train_0.01"].append(line)
    for name, of_list in lines.items():
        (lists / f"imageNet_100_{name}.txt").write_text("".join(of_list))


# --- they are typed -------------------------------------------------------------------------


def test_the_pages_commands_do_what_they_say(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    asked = to_type()
    assert len(asked) > 25
    failed = {}
    for command, pages in asked.items():
        code = cli.main(filled_in(command)[1:])
        said = "".join(capsys.readouterr())
        out = re.search(r"--out (\S+\.(?:html|csv))", command)
        if code == 0 and out:
            said += visible((place / out[1]).read_text(encoding="utf-8"))
        if code or ODD.search(said):
            failed[command] = (pages, code, said[-500:])
    assert failed == {}


def filled_in(command):
    """The words of a command, as a shell hands them on."""
    words = []
    for word in shlex.split(command):
        words += sorted(glob.glob(word)) if word.endswith("*.txt") else [word]
    return words


def visible(page):
    """What a page shows: without scripts and marks."""
    page = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"<[^>]+>", " ", page)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_lessons_bets_are_calls_that_the_command_takes(path):
    """Their runs take minutes; here their words are read and their parameters checked."""
    asked = commands(path)
    assert asked
    for command in asked:
        words = shlex.split(command)[1:]
        options = cli._parser().parse_args(words)
        if words[0] == "run":
            names = ("preset", "method", "data", "split")
            given = {n: getattr(options, n) for n in names if getattr(options, n) is not None}
            RunConfig(**given, **parse_settings(options.settings, given))
        if words[0] in ("batch", "report"):
            assert glob.glob(words[1], root_dir=ROOT), command


def test_what_make_and_python_are_told_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE):
            assert target in targets, (page.name, target)
        for script in re.findall(r"\b((?:tests|experiments)/[\w/]+\.(?:py|sh))\b", text):
            assert (ROOT / script).is_file(), (page.name, script)


def test_a_wrong_output_is_found():
    for said in ("nan hours", "Traceback (most recent", "<Explorer object at 0x7f>"):
        assert ODD.search(said)
    assert visible("<p>nan</p><script>nan</script>").split() == ["nan"]
