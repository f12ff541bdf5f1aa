"""``kdhub cache``, as a file that torchrun can start."""

import sys

from kdhub.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["cache", *sys.argv[1:]]))
