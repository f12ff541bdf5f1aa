"""Vectors of a corpus on the disk, chunk by chunk, so that encoding goes on after a stop."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kdhub.api import Progress, UsageError, atomic_file, read_sealed, say, write_sealed
from kdret.index.token_lists import TokenLists
from kdret.text_vectors import TextVectors

FINGERPRINTS = ("model", "corpus")
"""What tells these vectors from others."""
_CHUNK = 1024
_STATE = "state.json"


class KeptVectors:
    """Rows of one array for dense vectors, one long array for those of tokens, and a file for each chunk of sparse ones.

    Args:
        folder: Where they are kept; made by the first chunk.
        total: Documents.
        about: What they are about, with the `FINGERPRINTS`; chunks about something else are not used.

    Attributes:
        done: How many documents are there.
        chunk: How many are encoded and added at once.
    """

    def __init__(self, folder: Path, total: int, about: Mapping[str, Any]) -> None:
        self.folder, self.total = folder, total
        self.chunk = _CHUNK
        self._about = {key: about[key] for key in FINGERPRINTS} | {"total": total, "chunk": _CHUNK}
        self.done = self._found()

    def complete(self, vectors: TextVectors, documents: Mapping[str, str]) -> Any:
        """Encode what is missing.

        Args:
            vectors: The model.
            documents: Id to text; all of them.

        Returns:
            All vectors: ``(N, D)`` on the disk, a sparse matrix, or `TokenLists`.
        """
        told = f"going on after {self.done} of" if self.done else "encoding"
        if self.done < self.total:
            say(f"{told} {self.total} documents")
        texts = islice(documents.values(), self.done, None)
        with Progress("encoding", self.total, done=self.done, unit="documents") as progress:
            while chunk := list(islice(texts, _CHUNK)):
                self.add(vectors.documents(chunk))
                progress.reach(self.done)
        return self.whole()

    def add(self, rows: Any) -> None:
        """Keep the next chunk; the first one takes the place of whatever is in the folder."""
        if not self.done:
            self.discard()
        self.folder.mkdir(parents=True, exist_ok=True)
        if sparse.issparse(rows):
            with atomic_file(self._piece(self.done)) as stream:
                sparse.save_npz(stream, rows)
        elif isinstance(rows, list):
            self._add_tokens(rows)
        else:
            kept = self._array("dense.npy", np.float32, rows.shape[1])
            kept[self.done : self.done + len(rows)] = rows
            kept.flush()
        self.done += len(rows) if isinstance(rows, list) else rows.shape[0]
        write_sealed(self.folder / _STATE, {**self._about, "done": self.done})

    def whole(self) -> Any:
        """Return all vectors; all must be there."""
        return whole_of(self.folder, self.total, self.chunk)

    def discard(self) -> None:
        """Remove them, if there are any."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _found(self) -> int:
        try:
            state = read_sealed(self.folder / _STATE)
        except UsageError:
            return 0
        return int(state.pop("done")) if {**state, "done": 0} == {**self._about, "done": 0} else 0

    def _add_tokens(self, texts: list[NDArray[np.float32]]) -> None:
        lengths = self._array("lengths.npy", np.int64)
        path = self.folder / "tokens.f32"
        with path.open("r+b" if self.done else "wb") as stream:
            # what a chunk left that was not counted is written over
            stream.seek(int(lengths[: self.done].sum()) * texts[0].shape[1] * 4)
            stream.write(np.concatenate(texts).astype(np.float32).tobytes())
            stream.truncate()
        lengths[self.done : self.done + len(texts)] = list(map(len, texts))
        lengths.flush()

    def _array(self, name: str, dtype: type[np.generic], *width: int) -> Any:
        if self.done:
            return np.load(self.folder / name, mmap_mode="r+", allow_pickle=False)
        return np.lib.format.open_memmap(self.folder / name, mode="w+", dtype=dtype, shape=(self.total, *width))

    def _piece(self, start: int) -> Path:
        return _piece(self.folder, start)


def whole_of(folder: Path, total: int, chunk: int) -> Any:
    """Return the vectors of a folder that has all of them.

    Args:
        folder: The folder.
        total: Documents.
        chunk: How many were added at once.
    """
    if (folder / "dense.npy").is_file():
        return np.load(folder / "dense.npy", mmap_mode="r", allow_pickle=False)
    if (folder / "lengths.npy").is_file():
        starts = np.append(0, np.cumsum(np.load(folder / "lengths.npy", allow_pickle=False)))
        tokens = np.memmap(folder / "tokens.f32", np.float32, mode="r")
        return TokenLists(tokens.reshape(starts[-1], -1), starts)
    pieces = [sparse.load_npz(_piece(folder, start)) for start in range(0, total, chunk)]
    return sparse.vstack(pieces, format="csr")


def _piece(folder: Path, start: int) -> Path:
    return folder / f"sparse{start}.npz"
