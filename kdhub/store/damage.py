"""The error of a store whose bytes are not those that were written."""

from __future__ import annotations

from pathlib import Path

from kdhub.errors import UsageError


class DamagedStoreError(UsageError):
    """Something in a store is not what was written, and was not used.

    Args:
        path: The damaged file.
        got: What was found.
        sample: Index and draw of the damaged record, if it is one.
    """

    def __init__(self, path: Path, got: str, sample: tuple[int, int] | None = None) -> None:
        record = "" if sample is None else f"the record of sample {sample[0]}, draw {sample[1]} in "
        super().__init__(
            f"{record}{path.name} of the teacher store is damaged, and was not used",
            where=str(path.parent),
            got=got,
            fix="run `kdhub cache CONFIG`: it computes again what is damaged",
        )
