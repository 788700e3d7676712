"""A run on the disk: its folder, its checkpoints, and what is left when it is over."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(  # a wrong call must fail before torch is loaded
    __name__,
    submod_attrs={
        "checkpoint": ["load_checkpoint", "save_checkpoint"],
        "done": [
            "REMADE",
            "add_file",
            "git_commit",
            "read_done",
            "seal",
            "verify",
            "verify_file",
            "version",
            "versions",
        ],
        "folder": [
            "checkpoints",
            "finished",
            "lock",
            "read_config",
            "record",
            "refuse_import",
            "refuse_other",
            "refuse_unwritable",
            "refuse_used",
            "released",
            "sweep",
            "unfinished",
        ],
        "run": ["Run", "begin", "save"],
    },
)
