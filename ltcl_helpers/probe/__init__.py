"""What a frozen encoder is worth, and for whom: linear probes, and reports by group.

`choices` says by name what a probe can be asked for; it loads nothing heavy.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["choices"],
    submod_attrs={
        "classifier": ["classifier_rows"],
        "finetune": ["fine_tune"],
        "groups": ["group_report"],
        "linear": ["ProbeResult", "features", "fit_bcl", "linear_probe", "measure", "pixels"],
        "lists": ["LabelledList", "labelled_lists", "validation_list"],
        "rows": ["complete", "read_rows", "released_rows", "save_probe"],
        "run": ["probe_run"],
        "sdclr": ["fit_sdclr", "split_summary"],
    },
)
