"""The `ltcl` command. Exit codes: 0 done, 2 wrong call or bad input (one line), 1 anything else."""

from __future__ import annotations

import argparse
import io
import logging
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import cores, recipes, runs
from .config import ANY_PLACE, IN_FILES, RunConfig, parse_settings
from .data.images import refuse_absent
from .errors import ConfigError, TimeUp
from .paths import own_path
from .probe import choices
from .recipes import PRESETS, RECIPES

SCHEDULER = re.compile(r"[a-z]+://[^\s/:]+:\d+/?")


class Parser(argparse.ArgumentParser):
    """Complains in one line, as everything here does."""

    def __init__(self, *names: Any, **more: Any) -> None:
        super().__init__(*names, **{**more, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        unknown = message.rpartition("unrecognized arguments: --")[2].replace("-", "_").split(" ")
        if unknown[0] in RunConfig.model_fields:
            message += f"; `ltcl run` takes --set {'='.join([*unknown, 'VALUE'][:2])}"
        raise ConfigError(f"{message}; `{self.prog} --help` shows the call")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    level = logging.INFO if _is_first() else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a locale may not know every path
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        options = _parser().parse_args(words)
        _refuse_empty(words)
        options = _at_home(options)
        if getattr(options, "allow_own_method", False):
            recipes.allow("*")
        options.command(options)
    except ConfigError as error:
        print(f"ltcl: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if str(error.name).startswith("ltcl_helpers"):
            raise  # a fault of the kit's own
        extras = "pip install -e '.[course,site,batch]' in the kit's clone"
        print(f"ltcl: {error.name} is missing, which this command needs; {extras}", file=sys.stderr)
        return 2
    except (FloatingPointError, OSError) as error:
        print(f"ltcl: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        goes_on = "; `ltcl run --resume FOLDER` goes on" if words[:1] == ["run"] else ""
        print(f"ltcl: stopped{goes_on}", file=sys.stderr)
        return 1
    return 0


def _at_home(options: argparse.Namespace) -> argparse.Namespace:
    """The options with `~` expanded in every place that is named: no shell does it after a "="."""
    for name, value in vars(options).items():
        if isinstance(value, Path) or (name in ("out", "resume", "lists") and value):
            setattr(options, name, type(value)(own_path(value)))
    return options


def _refuse_empty(words: Sequence[str]) -> None:
    """An empty word, as of a variable of the shell that is not set, would mean a default."""
    for before, word in zip(["the call", *words], words, strict=False):
        if not word.strip() or (word.startswith("--") and word.endswith("=")):
            name = before if not word.strip() else word.rstrip("=")
            raise ConfigError(f"the word behind {name} is empty; give a value, or leave it out")


def _parser() -> Parser:
    parser = Parser("ltcl", description="Contrastive learning on long-tailed, unlabelled data.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _run_commands(commands)
    _page_commands(commands)
    _machine_commands(commands)
    _course_commands(commands)
    return parser


def _run_commands(commands: argparse._SubParsersAction) -> None:
    run = commands.add_parser("run", help="pre-train an encoder without labels")
    run.add_argument("--out", help="the run's folder, new")
    run.add_argument("--resume", metavar="FOLDER", help="finish a run that was stopped")
    run.add_argument("--preset", help=f"{', '.join(PRESETS)}; default quick")
    run.add_argument("--method", help=f"{', '.join(RECIPES)} or module:Class; default simclr")
    run.add_argument("--data", help="shapes[:SEED], cifar10, cifar100, npz:, folder: or pack:PATH")
    run.add_argument("--split", help="long-tail, balanced, all, or a list file (.npy, .txt)")
    run.add_argument("--minutes", type=float, help="stop at an epoch's end before this time is up")
    run.add_argument("--gpus", help="e.g. 0,1: one run on several GPUs; torchrun works, too")
    run.add_argument("--ranks", type=int, help="so many processes on the CPU, for tests")
    run.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    _allow_own_method(run)
    run.set_defaults(command=_run)

    probe = commands.add_parser("probe", help="linear probes of a finished run")
    probe.add_argument("run", type=Path, nargs="?", help="its folder")
    probe.add_argument("--weights", metavar="NAME", help="a released encoder's: docs/weights.md")
    probe.add_argument("--data", help="where the run's data are now, if they were moved")
    probe.add_argument("--shots", help="e.g. full,100,50,1%%; default 100")
    probe.add_argument("--lists", type=Path, help="folder of the labelled lists")
    probe.add_argument("--test", help="another test set, named as in --data")
    protocols = (
        f"{', '.join(choices.PROTOCOLS)}: bcl and sdclr as published, classifier the run's own"
    )
    probe.add_argument("--protocol", default="bcl", help=protocols)
    probe.add_argument("--features", default="encoder", help=", ".join(choices.FEATURES))
    probe.add_argument("--groups", help="thirds, or counts (ImageNet); default the run's own")
    _allow_own_method(probe)
    probe.set_defaults(command=_probe)

    foreign = commands.add_parser("import-weights", help="a run of weights that other code made")
    foreign.add_argument("file", type=Path, help=".pt, .pth, .tar or .safetensors")
    foreign.add_argument("--from", required=True, dest="layout", metavar="LAYOUT",
                         help="bcl, sdclr, moco, torchvision or lightly")  # fmt: skip
    foreign.add_argument("--out", type=Path, required=True, help="the run's folder, new")
    foreign.add_argument("--data", required=True, help="what it is probed on")
    foreign.add_argument("--split", default="all", help="that says who is many, medium and few")
    foreign.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="settings"
    )
    foreign.set_defaults(command=_import_weights)

    record = commands.add_parser("record", help="keep a finished run's rows, without its weights")
    record.add_argument("run", type=Path)
    record.add_argument("target", type=Path)
    record.set_defaults(command=_record)


def _page_commands(commands: argparse._SubParsersAction) -> None:
    report = commands.add_parser("report", help="a grid's or runs' tables and figures as one page")
    report.add_argument("where", nargs="+", metavar="GRID.yaml | RUNS")
    report.add_argument("--out", type=Path, default="report.html", help="default report.html")
    report.add_argument("--runs", type=Path, help="folder of the grid's runs; default runs/GRID")
    report.add_argument("--lists", help="folder of the published lists, if not the grid's")
    _allow_own_method(report)
    report.set_defaults(command=_report)

    explore = commands.add_parser("explore", help="a page that shows how each image was learnt")
    explore.add_argument("run", type=Path)
    explore.add_argument("--compare", type=Path, help="a run of the same split, shown beside it")
    explore.add_argument("--out", type=Path, required=True, help="the page, e.g. page.html")
    _allow_own_method(explore)
    explore.set_defaults(command=_explore)


def _allow_own_method(command: argparse.ArgumentParser) -> None:
    text = "import the class that a run's folder names, which may be anybody's code"
    command.add_argument("--allow-own-method", action="store_true", help=text)


def _machine_commands(commands: argparse._SubParsersAction) -> None:
    data = commands.add_parser("data", help="get, verify or pack data; get published lists")
    data.add_argument("action", choices=("get", "verify", "pack"))
    data.add_argument("name", help="cifar10, cifar100, splits; a pack to verify; a folder to pack")
    data.add_argument("--lists", nargs="+", type=Path, default=[], dest="text_lists",
                      help="text lists to pack")  # fmt: skip
    data.add_argument("--test", nargs="+", type=Path, default=[], dest="test_lists",
                      help="text lists of test images")  # fmt: skip
    data.add_argument("--out", type=Path, help="the pack, e.g. packed/imagenet-100.pack")
    data.add_argument("--keep", action="store_true", help="pack images as large as they are")
    data.add_argument("--root", type=Path, help="folder of the data; default data/")
    data.add_argument("--source", help="a folder or address that has the published lists")
    data.set_defaults(command=_data)

    batch = commands.add_parser("batch", help="run what is missing of a grid")
    batch.add_argument("grid", type=Path, help="e.g. experiments/quick.yaml; see docs/batch.md")
    batch.add_argument("--workers", type=int, default=2, help="processes on this machine")
    batch.add_argument("--gpus", help="e.g. 0,1: one worker for each of these GPUs instead")
    batch.add_argument("--gpus-per-cell", type=int, default=1, help="so many for one run")
    batch.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="a running Dask scheduler")
    batch.add_argument("--out", type=Path, help="the folder of the runs; default runs/GRID")
    batch.add_argument("--only", metavar="PATTERN", help="cells by name, e.g. 'bcl-*'")
    batch.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    batch.add_argument("--dry-run", action="store_true", help="say what is done and what is not")
    text = "end a cell that says nothing for so long; default: never"
    batch.add_argument("--silence", type=float, metavar="MINUTES", help=text)
    batch.set_defaults(command=_batch)

    bench = commands.add_parser("bench", help="time against the published recipe's shape")
    bench.add_argument("device", choices=("cpu", "gpu", "loader"))
    bench.add_argument("--data", default="shapes")
    bench.add_argument("--out", type=Path, help="write the numbers as JSON, too")
    bench.set_defaults(command=_bench)


def _run(options: argparse.Namespace) -> None:
    given = {name: getattr(options, name) for name in ("preset", "method", "data", "split")}
    named = {name: value for name, value in given.items() if value is not None}
    if options.resume is not None:
        place = parse_settings(options.settings)
        if named or options.out is not None or set(place) - set(ANY_PLACE):
            may = ", ".join(ANY_PLACE)
            raise ConfigError(
                "--resume goes on with the run's own parameters; only --set of "
                f"{may} may stand by it"
            )
    elif not options.out:
        raise ConfigError("--out is missing: name the run's new folder, e.g. --out runs/first")
    if options.minutes is not None and not options.minutes > 0:
        raise ConfigError(f"--minutes is {options.minutes:g}; allowed is a number above 0")
    if options.resume is not None:
        config = runs.read_config(Path(options.resume)).moved(place)
    else:
        config = RunConfig(**named, **parse_settings(options.settings, named))
        assert options.out is not None  # or it was complained of above
        if _is_first():
            runs.refuse_used(Path(options.out))
    gpus = cores.gpu_names(options.gpus)
    if gpus and options.ranks not in (None, len(gpus)):
        raise ConfigError(f"--gpus names {len(gpus)} and --ranks is {options.ranks}; give one")
    count = len(gpus) or options.ranks
    from .data import splits

    inputs = splits.select(config)  # complains of data here, before torch is loaded
    if gpus:
        cores.refuse_absent_gpus(gpus)
    if count is not None:
        from .pretrain import ranks

        folder = Path(str(options.resume or options.out))
        is_new = options.resume is None
        if code := ranks.make(config, folder, inputs, is_new, count, gpus, options.minutes):
            sys.exit(code)
        return
    from .pretrain import pretrain, ranks, resume

    try:
        if options.resume is not None:
            run = resume(options.resume, options.minutes, inputs, config.place)
        else:
            run = pretrain(config, options.out, inputs, options.minutes)
    except TimeUp as pause:
        if _is_first():
            print(pause)
        return
    except RuntimeError as error:
        if not ranks.is_lost(error):
            raise
        raise ConnectionError("another rank has gone; --resume goes on") from None
    finally:
        ranks.part()
    if config.caution and _is_first():
        print(config.caution)
    if _is_first():
        print(f"done: {run.folder}; next: {choices.next_call(config, run.folder)}")


def _is_first() -> bool:
    """Whether this process is the run's only one or its first; torchrun says which one it is."""
    return int(os.environ.get("RANK", 0)) == 0


def _import_weights(options: argparse.Namespace) -> None:
    settings = parse_settings(options.settings, {"data": options.data, "split": options.split})
    from .runs.foreign import import_weights

    given = {"data": options.data, "split": options.split} | settings
    folder = import_weights(options.file, options.layout, options.out, given)
    print(f"done: {folder}; next: {choices.next_call(runs.read_config(folder), folder)}")


def _probe(options: argparse.Namespace) -> None:
    if (options.run is None) == (options.weights is None):
        raise ConfigError("give a run's folder or --weights NAME, one of them")
    is_released = options.run is None
    if is_released:
        options.run = runs.released(options.weights)
    if options.protocol == choices.CLASSIFIER and (options.shots or options.lists):
        raise ConfigError("protocol classifier has no lists; leave out --shots and --lists")
    shots = tuple((options.shots or "100").split(","))
    choices.check_probes([options.protocol], [options.features], shots, options.groups)
    runs.verify(options.run, but=runs.REMADE)
    config = runs.read_config(options.run)
    choices.check_run(config.method, [options.protocol], [options.features])
    refuse_absent(options.test or options.data or config.data)
    if options.lists is not None and not options.lists.is_dir():
        raise ConfigError(f"--lists is {options.lists}, which is no folder; `ltcl data get splits`")
    if not is_released:
        runs.refuse_unwritable(options.run)
    data = options.data or config.data
    if data.startswith(IN_FILES):  # other data are complete, and slow to read
        test = options.test or data
        is_drawn = options.lists is None and options.protocol != choices.CLASSIFIER
        choices.check_parts(config, data, test, shots if is_drawn else ())
    from . import probe, report

    if options.protocol == choices.CLASSIFIER:
        rows = probe.classifier_rows(options.run, options.test, options.groups, options.data)
    else:
        rows = probe.probe_run(
            options.run, shots, options.lists, options.test, options.protocol, options.features,
            options.groups, options.data,
        )  # fmt: skip
    print(report.probe_table(rows))
    if not is_released:
        probe.save_probe(options.run, rows)
    else:
        asked = (options.protocol, options.features, shots)
        before = probe.released_rows(options.run, *asked)
        if options.test or before.empty:
            print("No row of this probe was released with the encoder.")
        else:
            print(f"As released:\n\n{report.probe_table(before)}")
    if config.caution:
        print(config.caution)


def _report(options: argparse.Namespace) -> None:
    if options.out.suffix != ".html":
        raise ConfigError(f"--out is {options.out}; the page is one file, e.g. --out report.html")
    if options.where[0].endswith((".yaml", ".yml")) and len(options.where) == 1:
        from .batch import grid

        grid.read(options.where[0])
    else:
        runs.finished(options.where)
    from .report import page

    one = page.write(options.where, options.out, options.runs, options.lists)
    for name in one.missing:
        print(f"missing: {name}")
    print(f"{len(one.folders)} runs, {len(one.missing)} missing: {options.out}, .csv, .parquet")


def _record(options: argparse.Namespace) -> None:
    runs.record(options.run, options.target)


def _explore(options: argparse.Namespace) -> None:
    if options.out.suffix != ".html":
        raise ConfigError(f"--out is {options.out}; the page is one file, e.g. --out page.html")
    for folder in filter(None, (options.run, options.compare)):
        runs.verify(folder, but=runs.REMADE)  # before torch is loaded
    from .explorer import export_html

    print(f"done: {export_html(options.run, options.out, options.compare)}; open it in a browser")


def _data(options: argparse.Namespace) -> None:
    if options.action == "pack":
        _pack(options)
        return
    from .data import downloads

    if options.text_lists or options.test_lists or options.out or options.keep:
        raise ConfigError("--lists, --test, --out and --keep are for `ltcl data pack` only")
    path = Path(options.name.removeprefix("pack:"))
    if options.action == "verify" and options.name not in downloads.NAMES and path.is_file():
        from .data.pack import Pack

        print(Pack(path).verify())
        return
    downloads.check_name(options.name)
    if options.action == "get":
        downloads.get(options.name, options.root, options.source)
    else:
        print(downloads.verify(options.name, options.root))


def _pack(options: argparse.Namespace) -> None:
    if options.out is None:
        raise ConfigError("--out is missing: name the pack, e.g. --out packed/photos.pack")
    from .data.pack import pack

    lists = options.text_lists, options.test_lists
    print(pack(Path(options.name), options.out, *lists, options.keep))
    split = options.text_lists[0] if options.text_lists else "all"
    print(f"next: ltcl run --data pack:{options.out} --split {split} --out runs/NAME")


def _batch(options: argparse.Namespace) -> None:
    if options.workers < 1:
        raise ConfigError(f"--workers is {options.workers}; allowed is 1 or more")
    if options.silence is not None and not options.silence > 0:
        raise ConfigError(f"--silence is {options.silence:g}; allowed is a number above 0")
    gpus = cores.gpu_names(options.gpus)
    if options.scheduler and not SCHEDULER.fullmatch(options.scheduler):
        raise ConfigError(f"--scheduler is {options.scheduler!r}; write tcp://HOST:PORT")
    if options.scheduler and gpus:
        raise ConfigError("--gpus is for this machine; a scheduler's workers name their own GPU")
    from .batch import cluster, grid, plan

    groups = cluster.grouped(gpus, options.gpus_per_cell)
    settings = parse_settings(options.settings)
    todo = plan.Plan.of(grid.read(options.grid, settings), options.out, only=options.only)
    if options.dry_run:
        print(plan.dry_run(todo))
        return
    if gpus:
        cores.refuse_absent_gpus(gpus)
    try:
        failures = cluster.run(todo, options.workers, groups, options.scheduler, options.silence)
    except KeyboardInterrupt:
        print("ltcl: stopped; the same command goes on", file=sys.stderr)
        sys.exit(1)
    for name, reason, log in failures:
        print(f"failed: {name}: {reason}\n        log: {log}", file=sys.stderr)
    if failures:
        sys.exit(1)


def _bench(options: argparse.Namespace) -> None:
    refuse_absent(options.data)
    if options.device == "loader":
        from . import bench_loader

        bench_loader.run(options.data, options.out)
        return
    from . import bench

    bench.run(options.device, options.data, options.out)


def _course_commands(commands: argparse._SubParsersAction) -> None:
    editions = commands.add_parser("editions", help="the students' and the teacher's notebooks")
    editions.add_argument("--out", type=Path, default=Path("editions"))
    editions.set_defaults(command=_editions)

    grade = commands.add_parser("grade", help="grade students' notebooks")
    grade.add_argument("submissions", nargs="+", type=Path, metavar="SUBMISSION.ipynb | FOLDER")
    grade.add_argument("--out", type=Path, required=True, help="the grades, as CSV; goes on there")
    grade.add_argument("--lesson", help="the beginning of the lesson's name, e.g. 01")
    grade.add_argument("--seconds", type=float, default=20, help="for each exercise; default 20")
    grade.add_argument("--memory", type=float, default=2, help="GB for each answer; default 2")
    grade.add_argument("--jobs", type=int, default=2, help="hand-ins side by side; default 2")
    grade.add_argument("--feedback", type=Path, metavar="FOLDER", help="a page for each student")
    grade.add_argument("--points", action="append", default=[], metavar="my_NAME=NUMBER",
                       help="of an exercise; default the dots of its heading")  # fmt: skip
    grade.set_defaults(command=_grade)

    site = commands.add_parser("site", help="static pages of executed lessons")
    site.add_argument("executed", type=Path, help="their folder")
    site.add_argument("--out", type=Path, default=Path("site"))
    site.add_argument("--edition", default="student", help="student (no solutions) or teacher")
    site.set_defaults(command=_site)


def _editions(options: argparse.Namespace) -> None:
    from .course import editions

    print(f"{len(editions.write_editions(options.out))} notebooks: {options.out}")


def _grade(options: argparse.Namespace) -> None:
    if not options.seconds > 0 or not options.memory > 0 or options.jobs < 1:
        raise ConfigError("--seconds and --memory must be above 0, --jobs at least 1")
    worth = {}
    for text in options.points:
        name, _, number = text.partition("=")
        if not re.fullmatch(r"\d+(\.\d+)?", number):
            raise ConfigError(f"--points {text}; write my_NAME=NUMBER, e.g. my_sizes=2")
        worth[name] = float(number)
    from .course import gradebook, grading

    book = gradebook.Gradebook(options.out)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is graded stays, too
    limits = grading.Limits(options.seconds, options.memory)
    try:
        grading.grade(options.submissions, options.lesson, limits, options.jobs, book, worth)
    except KeyboardInterrupt:
        print(f"ltcl: stopped, {len(book.rows)} rows are kept; the same command goes on",
              file=sys.stderr)  # fmt: skip
        sys.exit(1)
    students = grading.write_sums(options.out, book.sorted(), worth)
    print(f"{len(book.rows)} rows: {options.out}; sums: {students}")
    if options.feedback is not None:
        pages = gradebook.write_feedback(options.feedback, book.sorted())
        print(f"{len(pages)} pages for students: {options.feedback}")


def _site(options: argparse.Namespace) -> None:
    from .course import site

    pages = site.write_site(options.executed, options.out, options.edition)
    print(f"{len(pages)} pages: {options.out}")
