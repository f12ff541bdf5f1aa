"""Mining in shares over the processes of a machine or a cluster; see `kdret.shares`.

The corpus is encoded in the same chunks, and the queries are mined in the same groups, as in one process, so each line is the same,
whatever the number of workers. What shares have done lies beside the file until that is whole, and a second call goes on with the rest.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from kdhub.api import Progress, UsageError, atomic_file, atomic_folder, read_sealed, write_sealed
from kdret.index import load_index
from kdret.index.base import Index
from kdret.kept_lines import KeptLines
from kdret.kept_vectors import KeptVectors, whole_of
from kdret.mine import AT_ONCE, Miner, scorer_of
from kdret.mining_task import MiningTask
from kdret.shares import each

_ABOUT = "about.json"


class RayShares:
    """Encodes and mines for `kdret.mine.mine_lists` in other processes.

    Args:
        task: What is mined.
        workers: As for `each`.
        folder: Where results of shares are kept, on a disk that all workers see.
        about: What tells this task from others; a folder about something else is begun anew.
    """

    def __init__(self, task: MiningTask, workers: int, folder: Path, about: Mapping[str, Any]) -> None:
        self._task, self._workers, self._folder = task.absolute(), workers, folder.absolute()
        self._vectors: dict[str, Any] | None = None
        kept = {**about, "at_once": AT_ONCE}
        try:
            known = read_sealed(self._folder / _ABOUT) == kept
        except UsageError:
            known = False
        if not known:
            self.discard()
            self._folder.mkdir(parents=True)
            write_sealed(self._folder / _ABOUT, kept)

    def encode(self, kept: KeptVectors) -> None:
        """Encode the chunks that are missing, and put them together in their order."""
        self._vectors = {"folder": kept.folder.absolute(), "total": kept.total, "chunk": kept.chunk}
        numbers = range(math.ceil(kept.done / kept.chunk), math.ceil(kept.total / kept.chunk))
        missing = [number for number in numbers if not self._chunk(number).is_file()]
        given = {"task": self._task, "folder": self._folder, "chunk": kept.chunk}
        with Progress("encoding", len(numbers), done=len(numbers) - len(missing), unit="chunks") as progress:
            for done, _ in enumerate(each(_Encoding, missing, self._workers, **given), len(numbers) - len(missing) + 1):
                progress.reach(done)
        for number in numbers:
            kept.add(_read(self._chunk(number)))
            self._chunk(number).unlink()

    def mine(self, kept: KeptLines, index: Index | None, queries: Sequence[str]) -> None:
        """Mine for the queries that have no line yet; ``index`` is of the vectors that `encode` gave, or else the task's."""
        place = self._folder / "index"
        if index is not None:
            with atomic_folder(place) as partial:
                index.save(partial)
        shares = [queries[start : start + AT_ONCE] for start in range(0, len(queries), AT_ONCE)]
        open_shares = [number for number, own in enumerate(shares) if not all(query in kept.found for query in own)]
        missing = [number for number in open_shares if not self._take(number, kept)]
        given = {
            "task": self._task,
            "folder": self._folder,
            "index": place if index is not None else None,
            "vectors": self._vectors,
            "at_once": AT_ONCE,
        }
        with Progress("mining", len(shares), done=len(shares) - len(missing), unit="shares") as progress:
            for done, share in enumerate(
                each(_Mining, missing, self._workers, **given), len(shares) - len(missing) + 1
            ):
                self._take(share["share"], kept)
                progress.reach(done)

    def discard(self) -> None:
        """Remove what shares left."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _chunk(self, number: int) -> Path:
        return _chunk(self._folder, number)

    def _take(self, number: int, kept: KeptLines) -> bool:
        """Keep the lines of a share, if it is done."""
        path = _lines(self._folder, number)
        if not path.is_file():
            return False
        with path.open(encoding="utf-8") as lines:
            kept.add(json.loads(line) for line in lines)
        path.unlink()
        return True


class _Encoding:
    """Encodes one chunk of the corpus after the other."""

    def __init__(self, task: MiningTask, folder: Path, chunk: int) -> None:
        self._folder, self._chunk = folder, chunk
        self._corpus = task.data().corpus
        self._rows = np.flatnonzero(self._corpus.lengths)
        vectors = task.searcher() or task.vectors_of(task.model())
        assert vectors is not None  # `mine_lists` has refused a cross-encoder without a finder
        self._vectors = vectors

    def __call__(self, number: int) -> dict[str, Any]:
        rows = self._rows[number * self._chunk : (number + 1) * self._chunk]
        _write(_chunk(self._folder, number), self._vectors.documents([self._corpus.at(row).content for row in rows]))
        return {"share": number}


class _Mining:
    """Mines for the queries of one share after the other."""

    def __init__(
        self, task: MiningTask, folder: Path, index: Path | None, vectors: Mapping[str, Any] | None, at_once: int
    ) -> None:
        self._folder, self._at_once = folder, at_once
        data, teacher, finder = task.data(), task.model(), task.searcher()
        documents = data.corpus.contents()
        found = load_index(index or Path(str(task.index)), mmap=True)
        whole = whole_of(**vectors) if finder is None and vectors is not None else None
        scorer = scorer_of(teacher, task.vectors_of(teacher), documents, task.batch_size, found, whole)
        self._miner = Miner(data, documents, task.rules, scorer, found, finder)
        self._queries = list(data.queries)

    def __call__(self, number: int) -> dict[str, Any]:
        own = self._queries[number * self._at_once : (number + 1) * self._at_once]
        lines = self._miner.lines(own, compare=not number)
        with atomic_file(_lines(self._folder, number)) as stream:
            stream.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        return {"share": number}


def _chunk(folder: Path, number: int) -> Path:
    return folder / f"vectors-{number:06}"


def _lines(folder: Path, number: int) -> Path:
    return folder / f"lines-{number:06}.jsonl"


def _write(path: Path, rows: Any) -> None:
    with atomic_file(path) as stream:
        if sparse.issparse(rows):
            sparse.save_npz(stream, rows)
        elif isinstance(rows, list):
            np.savez(stream, lengths=list(map(len, rows)), tokens=np.concatenate(rows))
        else:
            np.save(stream, rows)


def _read(path: Path) -> Any:
    found = np.load(path, allow_pickle=False)
    if isinstance(found, np.ndarray):
        return found
    with found:
        if "tokens" in found:
            return np.split(found["tokens"], np.cumsum(found["lengths"])[:-1])
    return sparse.load_npz(path)
