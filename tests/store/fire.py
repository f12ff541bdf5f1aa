"""Writes a store until it is killed, and tells of each sample that a commit acknowledged; run as a program by tests."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from small_store import VALUES, make_manifest

from kdhub.errors import UsageError
from kdhub.store import StoreWriter


def main(folder: str, limit: int) -> None:
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    manifest = make_manifest(VALUES, samples=3000)
    while True:
        writer = StoreWriter.open(folder, manifest)
        for first in range(0, 3000, 3):
            keys = [(index, 0) for index in range(first, first + 3)]
            if not writer.missing(keys):
                continue
            indices = [index for index, _ in keys]
            writer.add(keys, {tap: of(indices) for tap, of in VALUES.items()})
            # behind what a small file holds, commits get too large for it; a merge that does is no fault
            if first % (90 if limit and first >= 90 else 9) == 0:
                writer.commit()
                print(first + 2, flush=True)
            if first % 90 == 81:
                break
        writer.close()


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
