"""An evaluation query by query, kept on disk to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kdhub.api import read_sealed, write_sealed


class QueryResults(NamedTuple):
    """What one evaluation found.

    Attributes:
        measure: Name of the measure.
        values: Query id to its measure.
        best: Query id to the ids of its first documents, best first.
    """

    measure: str
    values: Mapping[str, float]
    best: Mapping[str, Sequence[str]]

    def write(self, path: Path) -> None:
        """Write them, with a checksum."""
        write_sealed(path, {**self._asdict(), "values": dict(self.values), "best": dict(self.best)})

    @classmethod
    def read(cls, path: Path) -> QueryResults | None:
        """Read them; ``None`` if there is no such file.

        Raises:
            DamagedFileError: If the file is not what was written.
        """
        if not path.is_file():
            return None
        content = read_sealed(path)
        return cls(content["measure"], content["values"], content["best"])


def changed(now: QueryResults, before: QueryResults, count: int) -> tuple[list[str], list[str]]:
    """Find the queries that gained and lost most.

    Args:
        now: Results of the student.
        before: Results of the same measure that it is compared with.
        count: How many of each at most.

    Returns:
        Gained, from the largest gain on, and lost, from the largest loss on; of equal ones the lower id first. Queries without a
        change are in neither.
    """
    gains = {query: value - before.values[query] for query, value in now.values.items() if query in before.values}
    gained = sorted((query for query, gain in gains.items() if gain > 0), key=lambda query: (-gains[query], query))
    lost = sorted((query for query, gain in gains.items() if gain < 0), key=lambda query: (gains[query], query))
    return gained[:count], lost[:count]
