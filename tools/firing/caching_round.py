"""A teacher store that gets into trouble while it is filled, and the training that reads it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from firing.config import DRAWS, LAST_CHECKPOINT, SAMPLES, config_text
from firing.process import Process, require
from firing.rounds import Round, differences, require_same_checkpoints

from kdhub.errors import UsageError
from kdhub.store import DamagedStoreError, StoreReader, StoreWriter

KEYS = [(index, draw) for draw in range(DRAWS) for index in range(SAMPLES)]
_COMMIT_BYTES = 8 * 1024
"""Each batch is committed: a toy store is too small for two commits of the usual size."""


@dataclass
class CachingRound(Round):
    """A teacher store that gets into trouble while it is filled, and the training that reads it.

    Attributes:
        kept: How many records the store may still hold when `kdhub cache` goes on; `None` for those that a reader sees.
    """

    name: ClassVar[str] = "store"
    kept: frozenset[int] | None = None

    @property
    def store(self) -> Path:
        """The folder of the store."""
        return self.folder / "disk" / "store"

    def cache(self, *options: str, file_limit: int | None = None) -> Process:
        """Prepare a process that fills the store."""
        arguments = ("cache", self._config(), *options)
        return self.typed(*arguments, processes=self.processes, file_limit=file_limit, before=_commit_often)

    def train(self) -> Process:
        """Prepare a process that trains from the store."""
        return self.typed("train", self._config(), "--work-dir", str(self.work_dir))

    def undisturbed(self) -> None:
        """Fill the store and train from it."""
        self.timed(self.cache())
        self.size = max(path.stat().st_size for path in self.store.iterdir())
        self.done(self.train())

    def held(self) -> set[tuple[int, int]]:
        """Return the keys of the records that a reader sees, who may come at any moment."""
        try:
            return set(KEYS) - set(StoreReader(self.store).missing(KEYS))
        except DamagedStoreError:
            raise
        except UsageError:
            return set()  # it has not begun yet

    def stop_somewhere(self) -> None:
        """Kill the filling at a random moment after its first commits."""
        wanted = self.random.randrange(1, len(KEYS))
        with self.cache() as process:
            while process.running() and len(self.held()) < wanted:
                time.sleep(0.001)
            process.kill()

    def recover(self) -> None:
        """Fill the store, unless it is full already, and train from it."""
        if not self.finished:
            kept = frozenset([len(self.held())]) if self.kept is None else self.kept
            with self.cache() as process:
                code = process.wait()
                require(code == 0, f"going on ended with {code}: {process.console}")
                require(not process.errors(), f"an error in {process.console}")
                told = process.console.read_text()
            there = re.search(r"(\d+) of (\d+) records are there already", told)
            written = re.search(r"(\d+) records written now|nothing to do", told)
            require(
                there and int(there[1]) in kept, f"went on from {there and there[1]} records instead of {set(kept)}"
            )
            require(
                there and written and int(there[1]) + int(written[1] or 0) == int(there[2]) == len(KEYS),
                f"{written and written[0]!r} after {there and there[0]!r}",
            )
        self.done(self.train())

    def compare(self) -> None:
        """Demand the same values in the store, and the same weights from it."""
        ours, theirs = StoreReader(self.store), StoreReader(self.reference.store)
        for key in KEYS:
            different = list(differences(ours.read([key]), theirs.read([key]), f"sample {key[0]}, draw {key[1]}"))
            require(not different, f"{different} of the store differ")
        self.compare_weights()

    def compare_weights(self) -> None:
        """Demand the same weights."""
        require_same_checkpoints(self.work_dir / LAST_CHECKPOINT, self.reference.work_dir / LAST_CHECKPOINT)

    def _config(self) -> str:
        config = self.folder / "config.py"
        config.write_text(config_text(self.loop, store=self.store))
        return str(config)


def _commit_often() -> None:
    StoreWriter.COMMIT_BYTES = _COMMIT_BYTES
