"""Runs the `metarl` command as `python -m metarl`."""

import sys

from metarl.cli import main

if __name__ == "__main__":
    sys.exit(main())
