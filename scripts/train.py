"""Meta-trains a policy: the same as `metarl train`."""

import sys

from metarl.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
