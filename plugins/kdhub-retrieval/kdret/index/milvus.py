"""Search in Milvus: an embedded file for a start, and with the same calls a cluster that holds more than one machine."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kdhub.api import Progress, UsageError, integer, number, require
from kdret.index.base import Index, Ranking
from kdret.index.exact import Answers, ordered, past_ties
from kdret.index.recall import Recall, sample_rows
from kdret.index.vectors import checked, checked_ids, checked_sparse
from kdret.log import tell

_FILE = "milvus.db"
_MOST = 16_384
"""Answers that Milvus gives for a query at most."""
_TOKEN = "MILVUS_TOKEN"
_EXACT = ("FLAT", "SPARSE_INVERTED_INDEX")


class MilvusIndex(Index):
    """Inner-product search over dense or sparse vectors in Milvus, with the corpus's own ids and a fixed order of ties.

    A collection's name ends in a fingerprint of ids, vectors and settings. So nothing of another corpus or model is ever
    overwritten or asked, and a build that was stopped goes on: rows are sent in chunks, and what has arrived stays.

    Args:
        similarity: ``'cosine'`` demands unit vectors; ``'dot'`` takes vectors of any length.
        uri: ``http://HOST:19530`` of a server or cluster; a file that ends in ``.db`` for Milvus Lite, which runs in this process;
            ``None`` for such a file inside the index's folder. A token, if the server wants one, is read from the environment
            variable ``MILVUS_TOKEN`` and never saved.
        collection: How the collection's name begins: letters, digits and underscores.
        index_type: Milvus's index; ``None`` takes the exact one (``FLAT``, for sparse vectors ``SPARSE_INVERTED_INDEX``). With
            another, such as ``'HNSW'``, the recall against exact search is measured and kept.
        build_params: Of that index, such as ``dict(M=32, efConstruction=200)``.
        search_params: Of each search, such as ``dict(ef=128)``.
        recall: Below this share of the true best 10 the log warns.
        chunk: Rows that are sent at once; a message of Milvus holds 64 MB.
        timeout: Seconds that a call may take.
        seed: Of the sample for the recall.

    Raises:
        UsageError: For a value that makes no sense, or if pymilvus is not installed.

    Source: https://milvus.io/docs.
    """

    kind = "milvus"

    def __init__(
        self,
        similarity: str = "cosine",
        uri: str | None = None,
        collection: str = "kdret",
        index_type: str | None = None,
        build_params: Mapping[str, Any] | None = None,
        search_params: Mapping[str, Any] | None = None,
        recall: float = 0.95,
        chunk: int = 1000,
        timeout: float = 60.0,
        seed: int = 0,
    ) -> None:
        super().__init__(similarity)
        require("MilvusIndex", integer(1), chunk=chunk)
        require("MilvusIndex", integer(0), seed=seed)
        require("MilvusIndex", number(above=0), timeout=timeout)
        require("MilvusIndex", number(at_least=0), recall=recall)
        if not collection.isidentifier():
            expected = "letters, digits and underscores, no digit first"
            raise UsageError("MilvusIndex: bad collection", expected=expected, got=repr(collection))
        self.uri, self.collection, self.index_type = uri, collection, index_type
        self.build_params, self.search_params = dict(build_params or {}), dict(search_params or {})
        self.wanted_recall, self.chunk, self.timeout, self.seed = recall, chunk, timeout, seed
        self.recall: Recall | None = None
        self._width, self._sparse, self._name = 0, False, ""
        self._place = ""  # where the collection is: `uri`, or the file in the index's folder
        self._begun = False  # whether this object made the collection, and nobody has saved it
        self._client: Any = None
        _library()

    def build(self, vectors: Any, ids: Sequence[Any], queries: Any = None) -> MilvusIndex:
        """Send the vectors, as far as they are not there yet, and measure the recall; see `Index.build`.

        Args:
            vectors: ``(N, D)``: an array, which may be a memory map, or a sparse matrix of scipy.
            ids: As for `Index.build`; they are the field ``id`` of the collection.
            queries: As for `Index.build`.
        """
        self._sparse = sparse.issparse(vectors)
        rows = self._checked(vectors, "document") if self._sparse else np.asanyarray(vectors)
        if rows.ndim != 2 or not rows.shape[0] or not rows.shape[1]:
            self._checked(rows, "document")
        names = checked_ids(ids, rows.shape[0], "MilvusIndex")
        self._width = rows.shape[1]
        self._name = f"{self.collection}_{self._fingerprint(rows, names)}"
        self._begun = False
        self._open(self.uri)
        self._fill(rows, names)
        self.ids, self.recall = names, None
        if self._kind not in _EXACT:
            self._measure(rows, queries)
        return self

    def search(self, vectors: Any, k: int) -> list[Ranking]:
        """Find the best k documents of each query; see `Index.search`. Of sparse vectors, documents without a common term are not found."""
        k = self._require_built(k)
        if k > self.most:
            raise UsageError("MilvusIndex: more answers than Milvus gives", expected=f"k up to {_MOST}", got=str(k))
        queries = self._checked(vectors, "query")
        self._require_width(queries.shape[1], self._width)
        found: list[Ranking] = []
        for start in range(0, queries.shape[0], self.chunk):
            part = queries[start : start + self.chunk]
            scores, rows = ordered(*past_ties(self._asked(), part, k, min(_MOST, len(self.ids))), k)
            for own in zip(rows.tolist(), scores.tolist(), strict=True):
                found.append([(self.ids[row], score) for row, score in zip(*own, strict=True) if row >= 0])
        return found

    @property
    def most(self) -> int:
        """How many answers Milvus gives for a query."""
        return _MOST

    def discard(self) -> None:
        """Drop the collection, if this object made it and it was not saved; see `Index.discard`."""
        if self._begun:
            with self._told():
                self._client.drop_collection(self._name, timeout=self.timeout)
            self._begun, self.ids = False, ()

    @property
    def _kind(self) -> str:
        return self.index_type or ("SPARSE_INVERTED_INDEX" if self._sparse else "FLAT")

    def _checked(self, vectors: Any, what: str) -> Any:
        check = checked_sparse if self._sparse else checked
        return check(vectors, "MilvusIndex", what, self.similarity)

    def _fingerprint(self, rows: Any, names: Sequence[str]) -> str:
        """Tell this collection from others by its settings, its ids and some of its vectors."""
        said = [self.about, self.similarity, self._kind, self.build_params, self._width, len(names)]
        digest = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
        for name in names:
            digest.update(name.encode() + b"\n")
        for row in np.unique(np.linspace(0, len(names) - 1, 64).astype(int)):
            own = rows[[row]]
            digest.update(np.ascontiguousarray(own.toarray() if self._sparse else own, np.float32).tobytes())
        return digest.hexdigest()[:16]

    def _open(self, place: str | None, copied: Path | None = None) -> None:
        """Connect to a place, or to a copy of a file, or to a new file, which both go with this object."""
        folder = None if place else tempfile.TemporaryDirectory(prefix="kdret-milvus-")
        if folder and copied:
            shutil.copytree(copied, Path(folder.name) / _FILE)
        self._place = place or str(Path(folder.name) / _FILE)  # type: ignore[union-attr]
        with self._told():
            self._client = _library().MilvusClient(
                uri=self._place, token=os.environ.get(_TOKEN, ""), timeout=self.timeout
            )
        weakref.finalize(self, _closed, self._client, self._place, folder)

    def _fill(self, rows: Any, names: Sequence[str]) -> None:
        library = _library()
        with self._told():
            if not self._client.has_collection(self._name, timeout=self.timeout):
                schema = library.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
                schema.add_field("row", library.DataType.INT64, is_primary=True)
                schema.add_field("id", library.DataType.VARCHAR, max_length=65_535)
                if self._sparse:
                    schema.add_field("vector", library.DataType.SPARSE_FLOAT_VECTOR)
                else:
                    schema.add_field("vector", library.DataType.FLOAT_VECTOR, dim=self._width)
                params = library.MilvusClient.prepare_index_params()
                params.add_index("vector", index_type=self._kind, metric_type="IP", params=self.build_params)
                self._client.create_collection(
                    self._name, schema=schema, index_params=params, consistency_level="Strong", timeout=self.timeout
                )
                self._begun = True
            (counted,) = self._client.query(self._name, filter="", output_fields=["count(*)"], timeout=self.timeout)
            there = int(counted["count(*)"]) // self.chunk * self.chunk
            if there:
                tell(f"milvus: {there} of {len(names)} documents are in {self._name} already")
            with Progress("sending", len(names), done=there, unit="documents") as progress:
                for start in range(there, len(names), self.chunk):
                    part = slice(start, start + self.chunk)
                    values = _as_milvus(rows[part] if self._sparse else self._part(rows, start))
                    entries = zip(range(start, len(names)), names[part], values, strict=False)
                    sent = [{"row": row, "id": name, "vector": value} for row, name, value in entries]
                    self._client.upsert(self._name, sent, timeout=self.timeout)
                    progress.reach(start + len(sent))

    def _part(self, rows: Any, start: int) -> NDArray[np.float32]:
        return checked(rows[start : start + self.chunk], "MilvusIndex", "document", self.similarity, start)

    def _asked(self) -> _Collection:
        return _Collection(len(self.ids), self._best)

    def _best(self, queries: Any, k: int) -> Answers:
        scores = np.full((queries.shape[0], k), -np.inf, np.float32)
        rows = np.full((queries.shape[0], k), -1, np.int64)
        # nothing is in common with a query that has no term, and Milvus refuses it
        filled = np.flatnonzero(np.diff(queries.indptr)) if self._sparse else np.arange(len(queries))
        if not len(filled):
            return scores, rows
        with self._told():
            answers = self._client.search(
                self._name,
                data=_as_milvus(queries[filled]),
                anns_field="vector",
                limit=k,
                output_fields=["row"],
                search_params={"metric_type": "IP", "params": self.search_params},
                timeout=self.timeout,
            )
        for own, hits in zip(filled, answers, strict=True):
            scores[own, : len(hits)] = [hit["distance"] for hit in hits]
            rows[own, : len(hits)] = [hit["row"] for hit in hits]
        return scores, rows

    def _measure(self, rows: Any, queries: Any) -> None:
        asked, own = sample_rows(rows, queries, self.seed)
        sample = Recall.prepare(np.asarray(asked, np.float32), own, rows)
        self.recall = sample.measured(
            lambda part, k: self._best(sparse.csr_array(part) if self._sparse else part, k), rows
        )
        told = f"milvus index {self._kind}: {self.recall.line()}"
        if self.recall.value < self.wanted_recall:
            told += f"; less than the {self.wanted_recall:g} asked for, so raise search_params"
        tell(told)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in one line what Milvus says in pages."""
        logs = [logging.getLogger(name) for name in ("pymilvus", "grpc._server")]  # the second one is Milvus Lite's
        levels = [log.level for log in logs]
        for log in logs:
            log.setLevel(logging.CRITICAL)
        try:
            yield
        except _library().MilvusException as error:
            raise UsageError(
                "MilvusIndex: Milvus does not do what it is asked",
                where=self._place,
                got=" ".join(str(error.message).split())[:200],
                fix=f"see that the server runs, and that {_TOKEN} is right, if it wants one",
            ) from error
        finally:
            for log, level in zip(logs, levels, strict=True):
                log.setLevel(level)

    def _settings(self) -> dict[str, Any]:
        return {
            "uri": self.uri,
            "collection": self._name,
            "index_type": self._kind,
            "search_params": self.search_params,
            "width": self._width,
            "sparse": self._sparse,
            "recall": self.recall._asdict() if self.recall else None,
        }

    def _write(self, folder: Path) -> list[str]:
        self._begun = False
        if self.uri is not None:
            return []
        self._client.flush(self._name, timeout=self.timeout)
        shutil.copytree(self._place, folder / _FILE)
        return sorted(str(path.relative_to(folder)) for path in (folder / _FILE).rglob("*") if path.is_file())

    def _read(self, folder: Path, settings: Mapping[str, Any], mmap: bool) -> None:
        self.uri, self._name, self.index_type = settings["uri"], settings["collection"], settings["index_type"]
        self.search_params, self._width, self._sparse = settings["search_params"], settings["width"], settings["sparse"]
        self.recall = Recall(**settings["recall"]) if settings["recall"] else None
        # Milvus writes into the file that it reads, and the index's must stay as it is
        self._open(self.uri, folder / _FILE)
        with self._told():
            there = self._client.has_collection(self._name, timeout=self.timeout)
        if not there:
            raise UsageError(f"Milvus has no collection {self._name!r}", where=self._place, fix="build it again")
        with self._told():
            self._client.load_collection(self._name, timeout=self.timeout)


class _Collection:
    """What `past_ties` asks: FAISS's two words for a collection."""

    def __init__(self, total: int, search: Callable[[Any, int], Answers]) -> None:
        self.ntotal = total
        self.search = search


def _as_milvus(rows: Any) -> list[Any]:
    """Return rows as Milvus takes them: arrays, or dictionaries of term and weight."""
    if not sparse.issparse(rows):
        return list(rows)
    parts = zip(rows.indptr[:-1].tolist(), rows.indptr[1:].tolist(), strict=True)
    terms, weights = rows.indices.tolist(), rows.data.tolist()
    return [dict(zip(terms[start:end], weights[start:end], strict=True)) for start, end in parts]


def _closed(client: Any, place: str, folder: tempfile.TemporaryDirectory[str] | None) -> None:
    client.close()
    if folder:  # nobody else has the file, which Milvus Lite holds until it is given back
        from milvus_lite.server_manager import server_manager_instance

        server_manager_instance.release_server(place)
        folder.cleanup()


def _library() -> Any:
    try:
        import pymilvus
    except ImportError as error:
        raise UsageError(
            "MilvusIndex: pymilvus is not installed", fix="pip install 'kdhub-retrieval[milvus]'"
        ) from error
    return pymilvus
