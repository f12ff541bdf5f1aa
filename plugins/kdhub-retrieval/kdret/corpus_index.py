"""From a corpus of texts to a saved index: encoded in chunks, resumed after a stop, refused for another model or corpus."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from kdhub.api import UsageError, atomic_folder, say
from kdret.collapse import require_spread
from kdret.data.corpus import Contents, Corpus
from kdret.data.digests import corpus_fingerprint
from kdret.index import load_index
from kdret.index.base import DESCRIPTION, Index, read_description
from kdret.index.token_lists import TokenLists
from kdret.kept_vectors import FINGERPRINTS, KeptVectors
from kdret.split_vectors import all_scores
from kdret.text_vectors import TextVectors

_COMPARED = 256


def texts_of(corpus: Corpus) -> Contents:
    """Return the documents that have text, and say how many do not.

    Raises:
        UsageError: If none has.
    """
    documents = corpus.contents()
    if not documents:
        where = str(corpus.path)
        raise UsageError("all documents of the corpus are empty", where=where, expected="at least one text")
    if len(documents) < len(corpus):
        say(f"left out {len(corpus) - len(documents)} documents without text")
    return documents


def about_of(vectors: TextVectors, corpus: Corpus) -> dict[str, str]:
    """Return the fingerprints that an index of this model and corpus bears."""
    return {"model": vectors.fingerprint(), "corpus": corpus_fingerprint(corpus)}


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
    kept = KeptVectors(folder.with_name(f".{folder.name}.vectors"), len(documents), about)
    if vectors.width is not None:
        index.plan(len(documents), vectors.width)  # before hours of encoding
    try:
        whole = kept.complete(vectors, documents)
        require_different(whole, "index")
        say(f"indexing {len(documents)} documents")
        index.about = dict(about)  # before: an index that others hold for us tells its builds apart by it
        index.build(whole, list(documents))
        with atomic_folder(folder) as partial:
            index.save(partial)
    except KeyboardInterrupt:
        raise UsageError(
            f"stopped; {kept.done} of {len(documents)} documents are encoded and kept", fix=f"to go on: {again}"
        ) from None
    kept.discard()
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


def require_different(vectors: Any, where: str) -> None:
    """See that not all documents have one vector; a few of them tell.

    Args:
        vectors: ``(N, D)``, dense or sparse, or one array of token vectors for each document.
        where: Who asks, for the error.

    Raises:
        UsageError: If they have.
    """
    count = len(vectors) if isinstance(vectors, list | TokenLists) else vectors.shape[0]
    rows = np.linspace(0, count - 1, min(count, _COMPARED)).astype(int)
    if isinstance(vectors, list | TokenLists):
        some: Any = [vectors[row] for row in rows]
        finite = all(np.isfinite(one).all() for one in some)
    else:
        some = vectors[rows].toarray() if sparse.issparse(vectors) else np.asarray(vectors[rows])
        finite = np.isfinite(some).all()
    if finite:  # whatever is not finite the index names with its row
        require_spread(some, some, where, all_scores)
