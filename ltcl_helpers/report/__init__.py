"""What recorded rows say: tables, paired differences, intervals, and verdicts in words.

No result is typed by hand, and no folder's name is read: what a run is comes from its config.json.

    rows = report.load_rows("shapes-methods", shots="100")   # rows with their whole configuration
    runs = report.by_run(rows)              # mean over the lists: a line a run, a column a group
    apart = report.paired(runs.xs("bcl-i"), runs.xs("simclr"))   # run by run, same split and seed
    report.interval(apart["few"])           # mean, low, high, n, unit: a mirrored pair is ONE unit
    report.verdict(report.interval(apart["few"]), 0.02)   # "above zero", ..., or open
    report.compare(runs, [("bcl-i", "simclr")])     # all of that for pairs and groups, as a table
    report.comparison(table)                # the same as Markdown with its verdicts in sentences
    report.load_signal("shapes-simclr")     # AUROC of the momentum loss by run and epoch
    report.caution(rows)                    # what in these runs is not the published recipe

A line of runs is found by (draw, mirrored, seed): draw is the seed of a drawn split, or the name of
a list. Values are fractions until they are printed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["page", "plots", "reproduction", "study", "tables"],
    submod_attrs={
        "rows": [
            "WHO",
            "by_run",
            "caution",
            "controlled",
            "folders",
            "group_auroc",
            "group_counts",
            "last_signal",
            "load_rows",
            "load_signal",
            "place",
        ],
        "statistics": [
            "COMPARED",
            "SHOWN",
            "Interval",
            "compare",
            "count",
            "each",
            "ends",
            "further_units",
            "holm",
            "interval",
            "is_wide",
            "matters",
            "paired",
            "rank_correlation",
            "smallest_difference",
            "spread",
            "units",
            "units_needed",
            "verdict",
        ],
        "tables": [
            "comparison",
            "markdown",
            "probe_table",
            "readings",
            "regenerate",
        ],
    },
)
