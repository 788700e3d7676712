"""What every command hands on, prints and refuses; what it calls is tested where that lies."""

import io
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ltcl_helpers import bench, bench_loader, cli, cores, explorer, recipes, runs
from ltcl_helpers.batch import cluster, grid, plan
from ltcl_helpers.course import editions, gradebook, grading, site
from ltcl_helpers.data import downloads
from ltcl_helpers.data import pack as packs
from ltcl_helpers.report import page

SETTINGS = dict(settings=["a=1", "b=2"])
MEANT = {  # a call, and what it means beside what all others of its command mean
    "run": dict(out=None, resume=None, preset=None, method=None, data=None, split=None,
                minutes=None, gpus=None, ranks=None, settings=[], allow_own_method=False),
    "run --out O --preset P --method M --data D --split S --minutes 2.5 --gpus 0,1 --ranks 2 "
    "--set a=1 --set b=2 --allow-own-method": dict(
        out="O", preset="P", method="M", data="D", split="S", minutes=2.5, gpus="0,1", ranks=2,
        allow_own_method=True, **SETTINGS,
    ),
    "run --resume F": dict(resume="F"),
    "probe": dict(run=None, weights=None, data=None, shots=None, lists=None, test=None,
                  protocol="bcl", features="encoder", groups=None, allow_own_method=False),
    "probe R --data D --shots full,1% --lists L --test T --protocol knn --features pixels "
    "--groups counts --allow-own-method": dict(
        run=Path("R"), data="D", shots="full,1%", lists=Path("L"), test="T", protocol="knn",
        features="pixels", groups="counts", allow_own_method=True,
    ),
    "probe --weights W": dict(weights="W"),
    "import-weights F --from bcl --out O --data D": dict(
        file=Path("F"), layout="bcl", out=Path("O"), data="D", split="all", settings=[]
    ),
    "import-weights F --from moco --out P --data E --split S --set a=1 --set b=2": dict(
        layout="moco", out=Path("P"), data="E", split="S", **SETTINGS
    ),
    "record R T": dict(run=Path("R"), target=Path("T")),
    "data get N": dict(action="get", name="N", text_lists=[], test_lists=[], out=None, keep=False,
                       root=None, source=None),
    "data pack N --lists A B --test C D --out O --keep --root R --source S": dict(
        action="pack", text_lists=[Path("A"), Path("B")], test_lists=[Path("C"), Path("D")],
        out=Path("O"), keep=True, root=Path("R"), source="S",
    ),
    "data verify N": dict(action="verify"),
    "batch G --gpus-per-cell 2": dict(
        grid=Path("G"), gpus_per_cell=2, workers=2, gpus=None, scheduler=None, out=None, only=None,
        settings=[], dry_run=False, silence=None,
    ),
    "bench loader --data D --out O": dict(device="loader", data="D", out=Path("O")),
}  # fmt: skip


@pytest.mark.parametrize("call", MEANT)
def test_what_a_command_line_means(call):
    found = vars(cli._parser().parse_args(call.split()))
    plain = next(each for each in MEANT if each.split()[0] == call.split()[0])
    assert found.pop("command") is getattr(cli, f"_{call.split()[0].replace('-', '_')}")
    assert found == MEANT[plain] | MEANT[call]


NEEDED = {
    "import-weights F --out O --data D": "--from", "import-weights F --from bcl --data D": "--out",
    "import-weights F --from bcl --out O": "--data", "explore R": "--out", "grade A": "--out",
}  # fmt: skip


@pytest.mark.parametrize("call", NEEDED)
def test_what_a_command_cannot_do_without_is_named(call, capsys):
    assert cli.main(call.split()) == 2
    needed = f"the following arguments are required: {NEEDED[call]}; `ltcl {call.split()[0]}"
    assert capsys.readouterr().err == f"ltcl: {needed} --help` shows the call\n"


RESUMED = (
    "--resume goes on with the run's own parameters; only --set of device, root, "
    "checkpoint_seconds may stand by it"
)
WRONG = {
    "run --resume R --preset tiny": RESUMED,
    "run --resume R --out O": RESUMED,
    "run --resume R --set epochs=1": RESUMED,
    "run": "--out is missing: name the run's new folder, e.g. --out runs/first",
    "run --out O --minutes -1.5": "--minutes is -1.5; allowed is a number above 0",
    "run --out O --gpus 0,1 --ranks 3": "--gpus names 2 and --ranks is 3; give one",
    "probe": "give a run's folder or --weights NAME, one of them",
    "probe R --protocol classifier --shots 50": "protocol classifier has no lists; leave out "
    "--shots and --lists",
    "probe R --protocol classifier --features pixels": "protocol classifier is the run's own, on "
    "its own encoder; give --features encoder",
    "probe R --weights W": "give a run's folder or --weights NAME, one of them",
    "report R --out a.pdf": "--out is a.pdf; the page is one file, e.g. --out report.html",
    "data get cifar10 --keep": "--lists, --test, --out and --keep are for `ltcl data pack` only",
    "data get cifar10 --out O": "--lists, --test, --out and --keep are for `ltcl data pack` only",
    "data verify cifar10 --lists L": "--lists, --test, --out and --keep are for `ltcl data pack` "
    "only",
    "data verify cifar10 --test L": "--lists, --test, --out and --keep are for `ltcl data pack` "
    "only",
    "data pack N": "--out is missing: name the pack, e.g. --out packed/photos.pack",
    "batch G --workers 0": "--workers is 0; allowed is 1 or more",
    "batch G --silence 0": "--silence is 0; allowed is a number above 0",
    "batch G --gpus 0,,1": "--gpus is '0,,1'; name GPUs as in 0,1, each once",
    "batch G --gpus 0,": "--gpus is '0,'; name GPUs as in 0,1, each once",
    "explore R --out my.npz": "--out is my.npz; the page is one file, e.g. --out page.html",
    "run --out O --gpus 0,0": "--gpus is '0,0'; name GPUs as in 0,1, each once",
    "batch G --scheduler host:1": "--scheduler is 'host:1'; write tcp://HOST:PORT",
    "batch G --scheduler tcp://host": "--scheduler is 'tcp://host'; write tcp://HOST:PORT",
    "batch G --scheduler tcp://host:1 --gpus 0": "--gpus is for this machine; a scheduler's "
    "workers name their own GPU",
    "bench cpu --data mnist": "data is 'mnist'; allowed are ",
    "bench cpu --data npz:absent.npz": "absent.npz does not exist in HERE; npz: takes a path",
    "bench cpu --data folder:absent@32": "absent does not exist in HERE; folder: takes a path",
    "bench cpu --data folder:@32": "@32 does not exist in HERE; folder: takes a path",
    "run --out O --epochs 3": "unrecognized arguments: --epochs 3; `ltcl run` takes --set "
    "epochs=3; `ltcl --help` shows the call",
    "run --out O --batch-size 3": "unrecognized arguments: --batch-size 3; `ltcl run` takes "
    "--set batch_size=3; `ltcl --help` shows the call",
    "run --out O --wild 3": "unrecognized arguments: --wild 3; `ltcl --help` shows the call",
    "probe nowhere": "nowhere is not a finished run, nor one that was begun; name a run's",
    "grade A --out O --seconds 0": "--seconds and --memory must be above 0, --jobs at least 1",
    "grade A --out O --memory 0": "--seconds and --memory must be above 0, --jobs at least 1",
    "grade A --out O --jobs 0": "--seconds and --memory must be above 0, --jobs at least 1",
    "grade A --out O --points a=-1": "--points a=-1; write my_NAME=NUMBER, e.g. my_sizes=2",
    "grade A --out O --points a": "--points a; write my_NAME=NUMBER, e.g. my_sizes=2",
}


@pytest.mark.parametrize("call", WRONG)
def test_a_wrong_call_is_refused_in_these_words(call, capsys, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    said = refused(call)
    wrong = WRONG[call].replace("HERE", str(Path.cwd()))
    assert said.startswith(wrong) and (said == wrong or "mnist" in call)
    assert not list(tmp_path.iterdir())


def test_an_empty_word_is_named_by_the_one_before_it(capsys, refused):
    for words, name in (
        (["run", "--out", " "], "--out"), ([""], "the call"), (["run", "--data", ""], "--data"),
        (["run", "--out", "a", "--split="], "--split"),
    ):  # fmt: skip
        said = refused(words)
        if words != [""]:  # which is no command either
            assert said == f"the word behind {name} is empty; give a value, or leave it out"
    cli._refuse_empty(["run", "--set", "epochs=1", "a=", "--set=root=none"])


# --- the command itself ------------------------------------------------------------------------


def test_a_package_that_is_missing_is_named_and_a_fault_of_the_kits_own_is_raised(
    called, capsys, refused
):
    record = "record R T"
    called(runs, "record", ModuleNotFoundError("x", name="papermill"))
    said = refused(record)
    assert said == (
        "papermill is missing, which this command needs; pip install -e '.[course,site,batch]' in "
        "the kit's clone"
    )
    called(runs, "record", ModuleNotFoundError("x", name="ltcl_helpers.absent"))
    with pytest.raises(ModuleNotFoundError, match="x"):
        cli.main(record.split())


def test_only_the_first_rank_speaks_and_no_name_is_unspeakable(called, capsys, monkeypatch):
    levels, calls = [], called(runs, "record")
    monkeypatch.setattr(logging, "basicConfig", lambda **given: levels.append(given))
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    for rank, level in ((None, logging.INFO), ("0", logging.INFO), ("1", logging.WARNING)):
        monkeypatch.setenv("RANK", rank) if rank else monkeypatch.delenv("RANK", raising=False)
        assert cli.main(["record", "~/R", "T"]) == 0
        assert levels.pop() == {"level": level, "format": "%(message)s", "stream": sys.stderr}
    assert stream.errors == "backslashreplace"
    assert calls[0] == ("record", Path.home() / "R", Path("T"))
    monkeypatch.setattr(sys, "argv", ["ltcl", "record", "A", "B"])
    assert cli.main() == 0 and calls[-1] == ("record", Path("A"), Path("B"))


def test_a_home_folder_and_a_class_of_ones_own_are_taken_where_they_are_named(called, monkeypatch):
    calls = called(recipes, "allow")
    called(cli, "_run"), called(cli, "_probe"), called(cli, "_data")
    home = str(Path.home())
    assert cli.main(["run", "--out", "~/a", "--data", "~/d", "--allow-own-method"]) == 0
    assert cli.main(["run", "--resume", "~/a"]) == cli.main(["probe", "~/r", "--lists", "~/l"]) == 0
    assert cli.main(["report", "~/a", "--lists", "~/l", "--out", "~/x.pdf"]) == 2
    first, out, resumed, probed = calls
    assert first == ("allow", "*") and out[1].out == f"{home}/a" and out[1].data == "~/d"
    assert resumed[1].resume == f"{home}/a" and resumed[1].out is None
    assert (probed[1].run, probed[1].lists) == (Path(home) / "r", Path(home) / "l")


# --- pages -------------------------------------------------------------------------------------


def test_a_report_is_of_a_grid_or_of_runs_and_says_what_is_missing(called, capsys):
    called(grid, "read"), called(runs, "finished")
    calls = called(page, "write", SimpleNamespace(folders=[1, 2], missing=["a-0"]))
    said = "missing: a-0\n2 runs, 1 missing: {}, .csv, .parquet\n"
    for where, first in (
        (["g.yaml"], ("read", "g.yaml")), (["g.yml"], ("read", "g.yml")),
        (["R"], ("finished", ["R"])), (["g.yaml", "R"], ("finished", ["g.yaml", "R"])),
    ):  # fmt: skip
        calls.clear()
        assert cli.main(["report", *where]) == 0
        assert calls == [first, ("write", where, Path("report.html"), None, None)]
        assert capsys.readouterr().out == said.format("report.html")
    assert cli.main(["report", "R", "--out", "a.html", "--runs", "D", "--lists", "L"]) == 0
    assert calls[-1] == ("write", ["R"], Path("a.html"), Path("D"), "L")


def test_an_explorer_is_of_whole_runs(called, capsys):
    called(runs, "verify")
    calls = called(explorer, "export_html", "p.html")
    a, b, out = Path("A"), Path("B"), Path("p.html")
    remade = {"but": runs.REMADE}
    assert cli.main(["explore", "A", "--out", "p.html"]) == 0
    assert calls == [("verify", a, remade), ("export_html", a, out, None)]
    assert capsys.readouterr().out == "done: p.html; open it in a browser\n"
    calls.clear()
    assert cli.main(["explore", "A", "--compare", "B", "--out", "p.html"]) == 0
    assert calls == [("verify", a, remade), ("verify", b, remade), ("export_html", a, out, b)]


# --- data, batches, benches --------------------------------------------------------------------


def test_data_are_got_verified_and_packed(called, tmp_path, monkeypatch, capsys, refused):
    monkeypatch.chdir(tmp_path)
    called(downloads, "get"), called(downloads, "verify", "whole"), called(packs, "pack", "packed")
    opened = SimpleNamespace(verify=lambda: "checksums hold")
    calls = called(packs, "Pack", opened)
    Path("a.pack").touch(), Path("cifar10").touch()
    for call, asked, said in (
        ("get cifar10 --root R --source S", ("get", "cifar10", Path("R"), "S"), ""),
        ("verify cifar10 --root R", ("verify", "cifar10", Path("R")), "whole\n"),
        ("verify a.pack", ("Pack", Path("a.pack")), "checksums hold\n"),
        ("verify pack:a.pack", ("Pack", Path("a.pack")), "checksums hold\n"),
        ("pack N --out O", ("pack", Path("N"), Path("O"), [], [], False), None),
        ("pack N --out O --lists A --test B --keep",
         ("pack", Path("N"), Path("O"), [Path("A")], [Path("B")], True), None),
    ):  # fmt: skip
        calls.clear()
        assert cli.main(["data", *call.split()]) == 0
        assert calls == [asked]
        split = "A" if "--lists" in call else "all"
        pack = f"packed\nnext: ltcl run --data pack:O --split {split} --out runs/NAME\n"
        assert capsys.readouterr().out == (pack if said is None else said)
    assert refused("data get a.pack").startswith("name is 'a.pack'; allowed are")
    assert refused("data verify b.pack").startswith("name is 'b.pack'; allowed are")


def test_gpus_that_are_not_there_are_named_and_nothing_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("g.yaml").write_text("base: {preset: tiny}\nrows: {a: {}}")
    tiny = ["run", "--preset", "tiny", "--out", "new"]
    for found, visible, names, said in (
        (0, None, "0", "--gpus names 0, and torch finds no GPU here"),
        (2, None, "0,5", "--gpus names 5, and torch finds 2 GPUs here"),
        (1, "3", "0", "--gpus names 0, and torch finds 1 GPU here"),
    ):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: found)  # noqa: B023
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        for call in (tiny, ["batch", "g.yaml"]):
            assert cli.main([*call, "--gpus", names]) == 2
            assert capsys.readouterr().err.startswith(f"ltcl: {said}; leave --gpus out")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "g.yaml"]
    cores.refuse_absent_gpus(["3", "GPU-1a2b"])  # a name that only the driver knows


def test_a_batch_is_planned_run_and_told_of(called, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    called(grid, "read", "cells"), called(plan.Plan, "of", "todo")
    called(plan, "dry_run", "nothing is run")
    called(cluster, "grouped", ["0,1"])
    calls = called(cluster, "run", [])
    more = ["--set", "epochs=2", "--out", "O", "--only", "a*"]
    planned = [
        ("grouped", ["0", "1"], 2), ("read", Path("G"), {"epochs": 2}),
        ("of", "cells", Path("O"), {"only": "a*"}),
    ]  # fmt: skip
    call = ["batch", "G", "--gpus", "0,1", "--gpus-per-cell", "2", *more]
    assert cli.main([*call, "--dry-run"]) == 0 and capsys.readouterr().out == "nothing is run\n"
    assert calls == [*planned, ("dry_run", "todo")]
    calls.clear()
    assert cli.main([*call, "--silence", "0.5", "--workers", "1"]) == 0
    assert calls == [*planned, ("run", "todo", 1, ["0,1"], None, 0.5)]
    called(cluster, "grouped", [])
    for name in ("tcp://host:80", "tls://host:80/"):
        assert cli.main(["batch", "G", "--scheduler", name]) == 0
        assert calls[-1] == ("run", "todo", 2, [], name, None)
    assert calls[-2] == ("of", "cells", None, {"only": None})
    for result, said in (
        ([("a", "broke", "a.log")], "failed: a: broke\n        log: a.log\n"),
        (KeyboardInterrupt(), "ltcl: stopped; the same command goes on\n"),
    ):
        called(cluster, "run", result)
        with pytest.raises(SystemExit) as stopped:
            cli.main(["batch", "G"])
        assert (stopped.value.code, capsys.readouterr().err) == (1, said)


def test_what_is_timed_is_there(called, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = called(bench, "run")
    monkeypatch.setattr(bench_loader, "run", lambda *given: calls.append(("loader", *given)))
    Path("a@b").mkdir(), Path("a.npz").touch()
    for call, asked in (
        ("cpu", ("run", "cpu", "shapes", None)),
        ("gpu --data folder:a@b@32 --out O", ("run", "gpu", "folder:a@b@32", Path("O"))),
        ("cpu --data folder:a@b", ("run", "cpu", "folder:a@b", None)),
        ("cpu --data npz:a.npz", ("run", "cpu", "npz:a.npz", None)),
        ("cpu --data cifar10", ("run", "cpu", "cifar10", None)),
        ("loader --data pack:absent --out O", ("loader", "pack:absent", Path("O"))),
    ):
        assert cli.main(["bench", *call.split()]) == 0
        assert calls.pop() == asked


# --- the course --------------------------------------------------------------------------------


def test_editions_and_a_site_are_written_and_counted(called, capsys):
    calls = called(editions, "write_editions", [1, 2])
    called(site, "write_site", [1, 2, 3])
    assert cli.main(["editions"]) == 0 and calls.pop() == ("write_editions", Path("editions"))
    assert capsys.readouterr().out == "2 notebooks: editions\n"
    assert cli.main(["site", "E"]) == 0
    assert calls.pop() == ("write_site", Path("E"), Path("site"), "student")
    assert capsys.readouterr().out == "3 pages: site\n"


def test_hand_ins_are_graded_within_limits_and_told_of(called, monkeypatch, capsys):
    book = SimpleNamespace(rows=[1, 2], sorted=lambda: "sorted")
    calls, signals = called(gradebook, "Gradebook", book), []
    called(grading, "grade"), called(grading, "write_sums", "sums.csv")
    called(gradebook, "write_feedback", [1, 2, 3])
    monkeypatch.setattr(cli.signal, "signal", lambda *given: signals.append(given))
    assert cli.main(["grade", "A", "B", "--out", "O.csv"]) == 0
    usual = grading.Limits(20, 2)
    assert calls == [
        ("Gradebook", Path("O.csv")),
        ("grade", [Path("A"), Path("B")], None, usual, 2, book, {}),
        ("write_sums", Path("O.csv"), "sorted", {}),
    ]
    assert capsys.readouterr().out == "2 rows: O.csv; sums: sums.csv\n"
    assert signals == [(cli.signal.SIGTERM, cli.signal.default_int_handler)]
    calls.clear()
    more = "--lesson 01 --seconds 3 --memory 0.5 --jobs 1 --points a=2 --points b=1.5 --feedback F"
    assert cli.main(["grade", "A", "--out", "O.csv", *more.split()]) == 0
    worth = {"a": 2.0, "b": 1.5}
    assert calls[1:] == [
        ("grade", [Path("A")], "01", grading.Limits(3, 0.5), 1, book, worth),
        ("write_sums", Path("O.csv"), "sorted", worth),
        ("write_feedback", Path("F"), "sorted"),
    ]
    assert capsys.readouterr().out.splitlines()[1] == "3 pages for students: F"
    called(grading, "grade", KeyboardInterrupt())
    with pytest.raises(SystemExit) as stopped:
        cli.main(["grade", "A", "--out", "O.csv"])
    said = "ltcl: stopped, 2 rows are kept; the same command goes on\n"
    assert (stopped.value.code, capsys.readouterr().err) == (1, said)
