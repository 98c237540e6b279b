"""Writes one page of HTML about runs: the same as `metarl report`."""

import sys

from metarl.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
