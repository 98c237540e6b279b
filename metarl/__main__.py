"""Lets `python -m metarl` do what `metarl` does."""

import sys

from metarl.cli import main

if __name__ == "__main__":
    sys.exit(main())
