"""Writes the figures of a report to files: the same as `metarl plot`."""

import sys

from metarl.cli import main

if __name__ == "__main__":
    sys.exit(main(["plot", *sys.argv[1:]]))
