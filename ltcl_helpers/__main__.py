"""`python -m ltcl_helpers` is the `ltcl` command, and what `make` does where there is no make."""

import sys

from .chores import CHORES
from .chores import main as do_chore


def main() -> int:
    """Do a chore with Python alone, or hand over to the command."""
    if len(sys.argv) == 2 and sys.argv[1] in CHORES:
        return do_chore(sys.argv[1])
    from .cli import main as command

    return command()


if __name__ == "__main__":
    raise SystemExit(main())
