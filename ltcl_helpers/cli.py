"""The `ltcl` command. Exit codes: 0 done, 2 wrong call or bad input (one line), 1 anything else."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from .config import PRESETS, ConfigError, RunConfig, parse_setting
from .recipes import RECIPES
from .store import read_config, refuse_used


class Parser(argparse.ArgumentParser):
    """Complains in one line, as everything here does."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        raise ConfigError(f"{message}; `{self.prog} --help` shows the call")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    # torch's threads would wait actively for long, and crawl where others use the cores, too.
    if os.environ.setdefault("OMP_WAIT_POLICY", "passive").lower() == "passive":
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # not at all costs a tenth elsewhere
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        options = _parser().parse_args(arguments)
        options.command(options)
    except ConfigError as error:
        print(f"ltcl: {error}", file=sys.stderr)
        return 2
    except (FloatingPointError, OSError) as error:
        print(f"ltcl: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ltcl: stopped; `ltcl run --resume FOLDER` goes on", file=sys.stderr)
        return 1
    return 0


def _parser() -> Parser:
    parser = Parser("ltcl", description="Contrastive learning on long-tailed, unlabelled data.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="pre-train an encoder without labels")
    run.add_argument("--out", help="the run's folder, new")
    run.add_argument("--resume", metavar="FOLDER", help="finish a run that was stopped")
    run.add_argument("--preset", help=f"{', '.join(PRESETS)}; default quick")
    run.add_argument("--method", help=f"{', '.join(RECIPES)} or module:Class; default simclr")
    run.add_argument("--data", help="shapes[:SEED], cifar10, cifar100, npz:PATH or folder:PATH")
    run.add_argument("--split", help="long-tail, balanced, all, or a list file (.npy)")
    run.add_argument("--minutes", type=float, help="stop at an epoch's end before this time is up")
    run.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    run.set_defaults(command=_run)

    probe = commands.add_parser("probe", help="linear probes of a finished run")
    probe.add_argument("run", type=Path)
    probe.add_argument("--shots", default="100", help="e.g. full,100,50,1%%; default 100")
    probe.add_argument("--lists", type=Path, help="folder of the labelled lists")
    probe.add_argument("--test", help="another test set, named as in --data")
    probe.add_argument("--protocol", default="bcl", help="bcl (as published) or logistic (fast)")
    probe.add_argument("--features", default="encoder", help="encoder, pruned or pixels")
    probe.set_defaults(command=_probe)

    record = commands.add_parser("record", help="keep a finished run's rows, without its weights")
    record.add_argument("run", type=Path)
    record.add_argument("target", type=Path)
    record.set_defaults(command=_record)

    data = commands.add_parser("data", help="get or verify data and published lists")
    data.add_argument("action", choices=("get", "verify"))
    data.add_argument("name", choices=("cifar10", "cifar100", "splits"))
    data.add_argument("--root", type=Path, help="folder of the data; default data/")
    data.add_argument("--source", help="a folder or address that has the published lists")
    data.set_defaults(command=_data)

    bench = commands.add_parser("bench", help="time against the published recipe's shape")
    bench.add_argument("device", choices=("cpu", "gpu"))
    bench.add_argument("--data", default="shapes")
    bench.add_argument("--out", type=Path, help="write the numbers as JSON, too")
    bench.set_defaults(command=_bench)
    return parser


def _run(options: argparse.Namespace) -> None:
    given = {name: getattr(options, name) for name in ("preset", "method", "data", "split")}
    named = {name: value for name, value in given.items() if value is not None}
    if options.resume is not None:
        if named or options.settings or options.out is not None:
            raise ConfigError("--resume goes on with the run's own parameters; give nothing else")
    elif not options.out:
        raise ConfigError("--out is missing: name the run's new folder, e.g. --out runs/first")
    if options.minutes is not None and not options.minutes > 0:
        raise ConfigError(f"--minutes is {options.minutes:g}; allowed is a number above 0")
    if options.resume is not None:
        config = RunConfig(**read_config(Path(options.resume)))
    else:
        config = RunConfig(**named, **dict(parse_setting(text) for text in options.settings))
        refuse_used(Path(options.out))
    from .splits import select

    inputs = select(config)  # every complaint about data comes from here, before torch is loaded
    from .pretrain import TimeUp, pretrain, resume

    try:
        if options.resume is not None:
            run = resume(options.resume, options.minutes)
        else:
            run = pretrain(config, options.out, inputs, options.minutes)
    except TimeUp as pause:
        print(pause)
        return
    if config.caution:
        print(config.caution)
    print(f"done: {run.folder}; next: ltcl probe {run.folder}")


def _probe(options: argparse.Namespace) -> None:
    from .store import verify

    verify(options.run)
    from . import probe, report

    shots = tuple(options.shots.split(","))
    rows = probe.probe_run(
        options.run, shots, options.lists, options.test, options.protocol, options.features
    )
    probe.save_probe(options.run, rows)
    print(report.probe_table(rows))
    if caution := RunConfig(**read_config(options.run)).caution:
        print(caution)


def _record(options: argparse.Namespace) -> None:
    from .store import record

    record(options.run, options.target)


def _data(options: argparse.Namespace) -> None:
    from . import datasets

    if options.action == "get":
        datasets.get(options.name, options.root, options.source)
    else:
        print(datasets.verify(options.name, options.root))


def _bench(options: argparse.Namespace) -> None:
    from . import bench

    bench.run(options.device, options.data, options.out)
