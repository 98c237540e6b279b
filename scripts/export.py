"""Writes a run's policy as an ONNX file: the same as `metarl export`."""

import sys

from metarl.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
