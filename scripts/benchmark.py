"""Measures the speed of simulation: the same as `metarl benchmark`."""

import sys

from metarl.cli import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
