"""Films held-out tasks before and after adaptation: the same as `metarl watch`."""

import sys

from metarl.cli import main

if __name__ == "__main__":
    sys.exit(main(["watch", *sys.argv[1:]]))
