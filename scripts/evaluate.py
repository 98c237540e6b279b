"""Measures adaptation to held-out tasks: the same as `metarl evaluate`."""

import sys

from metarl.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
