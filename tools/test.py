"""``kdhub test``, where users of mmengine's projects look for it."""

import sys

from kdhub.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["test", *sys.argv[1:]]))
