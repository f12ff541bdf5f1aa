"""From a corpus of texts to a saved index: encoded in chunks, resumed after a stop, refused for another model or corpus."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from kdhub.api import Progress, UsageError, atomic_file, atomic_folder, read_sealed, say, write_sealed
from kdret.collapse import require_spread
from kdret.data.corpus import Contents, Corpus
from kdret.data.digests import remembered
from kdret.index import load_index
from kdret.index.base import DESCRIPTION, Index, read_description
from kdret.text_vectors import TextVectors, corpus_fingerprint

FINGERPRINTS = ("model", "corpus")
"""What `about_of` tells of an index."""
_CHUNK = 1024
_STATE = "state.json"
_COMPARED = 256


def texts_of(corpus: Corpus) -> Contents:
    """Return the documents that have text, and say how many do not.

    Raises:
        UsageError: If none has.
    """
    documents = corpus.contents()
    if not documents:
        raise UsageError("all documents of the corpus are empty", expected="at least one text")
    if len(documents) < len(corpus):
        say(f"left out {len(corpus) - len(documents)} documents without text")
    return documents


def about_of(vectors: TextVectors, corpus: Corpus) -> dict[str, str]:
    """Return the fingerprints that an index of this model and corpus bears."""
    return {
        "model": vectors.fingerprint(),
        "corpus": remembered(
            corpus.path,
            "texts",
            lambda: corpus_fingerprint((key, document.content) for key, document in corpus.items()),
        ),
    }


def build_index(
    folder: Path, vectors: TextVectors, documents: Mapping[str, str], index: Index, about: Mapping[str, Any], again: str
) -> Index:
    """Encode documents and save an index of them.

    Encoding takes most of the time, so its chunks are kept beside the folder until the index stands, and a second call goes on
    where the first one stopped. Training and filling are done in one go; they start from the same vectors and give the same index.

    Args:
        folder: Where the index shall stand; what is there is replaced at the end.
        vectors: The model.
        documents: Id to text.
        index: An empty one, with its settings.
        about: What the index is about; kept with it.
        again: What to type to go on after Ctrl-C.

    Returns:
        The saved index, memory-mapped.

    Raises:
        UsageError: After Ctrl-C, with how to go on; for vectors that cannot be indexed or are all the same.
    """
    parts = _Parts(folder.with_name(f".{folder.name}.vectors"), len(documents), about)
    if vectors.width is not None:
        index.plan(len(documents), vectors.width)  # before hours of encoding
    try:
        _encode(parts, vectors, documents)
        whole = parts.whole()
        require_different(whole, "index")
        say(f"indexing {len(documents)} documents")
        index.about = dict(about)  # before: an index that others hold for us tells its builds apart by it
        index.build(whole, list(documents))
        with atomic_folder(folder) as partial:
            index.save(partial)
    except KeyboardInterrupt:
        raise UsageError(
            f"stopped; {parts.done} of {len(documents)} documents are encoded and kept", fix=f"to go on: {again}"
        ) from None
    parts.discard()
    return load_index(folder, mmap=True)


def open_index(folder: Path, about: Mapping[str, Any]) -> Index | None:
    """Return the index of a folder if it is about this, or ``None`` if it must be built; a damaged one is named."""
    if not (folder / DESCRIPTION).is_file():
        return None
    try:
        own = read_description(folder)["about"]
        return load_index(folder) if all(own.get(key) == about[key] for key in FINGERPRINTS) else None
    except UsageError as error:
        say(f"{error.what}: {error.got}" if error.got else error.what)
        return None


def _encode(parts: _Parts, vectors: TextVectors, documents: Mapping[str, str]) -> None:
    if parts.done:
        say(f"going on after {parts.done} of {len(documents)} documents")
    else:
        say(f"encoding {len(documents)} documents")
    texts = islice(documents.values(), parts.done, None)
    with Progress("encoding", len(documents), done=parts.done, unit="documents") as progress:
        while chunk := list(islice(texts, _CHUNK)):
            parts.add(vectors.documents(chunk))
            progress.reach(parts.done)


class _Parts:
    """Chunks of vectors on the disk: rows of one array for dense ones, a file each for sparse ones."""

    def __init__(self, folder: Path, total: int, about: Mapping[str, Any]) -> None:
        self.folder, self.total = folder, total
        self._about = {key: about[key] for key in FINGERPRINTS} | {"total": total, "chunk": _CHUNK}
        self.done = self._kept()

    def _kept(self) -> int:
        try:
            state = read_sealed(self.folder / _STATE)
        except UsageError:
            return 0
        return int(state.pop("done")) if {**state, "done": 0} == {**self._about, "done": 0} else 0

    def add(self, rows: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if sparse.issparse(rows):
            with atomic_file(self._piece(self.done)) as stream:
                sparse.save_npz(stream, rows)
        else:
            kept = self._dense(rows.shape[1] if not self.done else None)
            kept[self.done : self.done + len(rows)] = rows
            kept.flush()
        self.done += rows.shape[0]
        write_sealed(self.folder / _STATE, {**self._about, "done": self.done})

    def whole(self) -> Any:
        if (self.folder / "dense.npy").is_file():
            return np.load(self.folder / "dense.npy", mmap_mode="r", allow_pickle=False)
        starts = range(0, self.total, _CHUNK)
        return sparse.vstack([sparse.load_npz(self._piece(start)) for start in starts], format="csr")

    def discard(self) -> None:
        for path in self.folder.glob("*"):
            path.unlink()
        self.folder.rmdir()

    def _piece(self, start: int) -> Path:
        return self.folder / f"sparse{start}.npz"

    def _dense(self, width: int | None) -> Any:
        path = self.folder / "dense.npy"
        if width is None:
            return np.load(path, mmap_mode="r+", allow_pickle=False)
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(self.total, width))


def require_different(vectors: Any, where: str) -> None:
    """See that not all documents have one vector; a few of them tell.

    Args:
        vectors: ``(N, D)``, dense or sparse.
        where: Who asks, for the error.

    Raises:
        UsageError: If they have.
    """
    if vectors.shape[0] < 2:
        return
    rows = np.linspace(0, vectors.shape[0] - 1, min(vectors.shape[0], _COMPARED)).astype(int)
    some = vectors[rows].toarray() if sparse.issparse(vectors) else np.asarray(vectors[rows])
    if np.isfinite(some).all():  # whatever is not finite the index names with its row
        require_spread(some, some, where)
