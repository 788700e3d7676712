"""The rows that a run keeps of its probes: how they are saved, and completed where they are old."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.folders import listed
from ..errors import ConfigError, DamagedFile
from ..files import parquet_bytes, read_parquet
from ..runs import add_file, lock, read_done, sweep, verify_file
from ..runs.done import PROBE
from .choices import CLASSIFIER

if TYPE_CHECKING:  # a batch that has nothing to do loads as little as it can
    import pandas as pd

log = logging.getLogger(__name__)
PROBE_KEY = ["features", "protocol", "shots", "test"]  # of a probe, whose lists are averaged
KEY = ["features", "protocol", "shots", "list", "test"]  # of one list's rows
COLUMNS = ("method", "data", "protocol", "shots", "list", "group", "accuracy")  # since ever


def read_rows(folder: Path, done: dict[str, Any]) -> pd.DataFrame | None:
    """The rows of a run's probes, checked against its DONE.json; None where nothing was probed.

    Raises:
        DamagedFile: `ltcl probe` makes them again.
    """
    if not verify_file(folder, done, PROBE):
        return None
    return complete(read_parquet(folder / PROBE, COLUMNS))


def released_rows(folder: Path, protocol: str, features: str, shots: Sequence[str]) -> pd.DataFrame:
    """The rows of such a probe that came with a released encoder; maybe none."""
    rows = read_rows(folder, read_done(folder))
    assert rows is not None  # every released run has some
    rows = rows[(rows["protocol"] == protocol) & (rows["features"] == features)]
    if protocol != CLASSIFIER:
        rows = rows[rows["shots"].isin(shots)]
    return rows


def save_probe(folder: str | Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Add rows to a run's probe.parquet; a probe done again replaces its old rows.

    Also where it was done with other `groups`, or with other lists: what is averaged follows one
    rule. Of two processes that save at once, the second waits, and adds to what the first one
    wrote. Rows that are damaged are left out, and said to be: a probe makes them again.
    """
    import pandas as pd

    folder = Path(folder)
    with lock(folder, wait=True):
        sweep(folder)
        try:
            before = read_rows(folder, read_done(folder))
        except DamagedFile as error:
            log.warning("%s; what else was in it is lost, probe that again, too", error)
            before = None
        if before is not None:
            again = pd.MultiIndex.from_frame(before[PROBE_KEY]).isin(
                pd.MultiIndex.from_frame(rows[PROBE_KEY])
            )
            _refuse_drawn_lists(folder, before[again], rows)
            rows = pd.concat([before[~again], rows], ignore_index=True)
        rows = rows.drop_duplicates([*KEY, "group"], keep="last")
        add_file(folder, PROBE, parquet_bytes(rows))
    return rows


def _refuse_drawn_lists(folder: Path, before: pd.DataFrame, rows: pd.DataFrame) -> None:
    """Keep rows of list files where the same probe drew lists, since it did not find the files."""
    if "list_source" not in before or "list_source" not in rows:
        return  # rows of long ago
    of_files = before[~before["list_source"].isin(["drawn", "split"])]
    drawn = rows[rows["list_source"] == "drawn"]
    if set(of_files["shots"]) & set(drawn["shots"]):
        raise ConfigError(
            f"{folder} holds rows of the lists {listed(sorted(set(of_files['list'])))}, and this "
            "probe found no list files and drew its own; its rows are not kept. Give --lists with "
            "the folder of the files, or probe a copy of the run"
        )


def complete(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of older probes with the columns that these did not have yet.

    Recorded rows are never rewritten (their digests are published), so this stays.
    """
    usual = {"test": rows["data"], "features": _kinds, "groups": "thirds", "untested": ""}
    missing: dict[str, Any] = {name: each for name, each in usual.items() if name not in rows}
    return rows.assign(**missing) if missing else rows


def _kinds(rows: pd.DataFrame) -> pd.Series:
    """What was probed, as the oldest rows say it: in the name of the method."""
    pruned = rows["method"].str.endswith(" pruned")
    kinds = pruned.map({True: "pruned", False: "encoder"})
    return kinds.mask(rows["method"] == "pixels", "pixels")
