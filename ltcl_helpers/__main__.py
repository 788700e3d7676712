"""`python -m ltcl_helpers` is the `ltcl` command."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
