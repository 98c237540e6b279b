"""Plays classic strategies for bandits and tabular MDPs: the same as `metarl strategies`."""

import sys

from metarl.cli import main

if __name__ == "__main__":
    sys.exit(main(["strategies", *sys.argv[1:]]))
