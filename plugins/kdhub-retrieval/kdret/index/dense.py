"""Search over dense vectors in FAISS, exact or approximate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import faiss
import numpy as np
from numpy.typing import NDArray

from kdhub.api import Progress, UsageError, choice, integer, number, optional, require
from kdret.index import gpu, planning
from kdret.index.base import Index, Ranking, batches
from kdret.index.exact import by_pieces, ordered, past_ties
from kdret.index.recall import Recall, sample_rows
from kdret.index.vectors import checked, checked_ids, chunks
from kdret.log import tell

_QUERIES_AT_ONCE = 1024
_VECTORS = "vectors.npy"
_MOST_EFFORT = 4096


class FaissIndex(Index):
    """Inner-product search in FAISS with the corpus's own ids, a fixed order of ties, and a recall that was measured.

    Before anything is built, the plan is logged: factory, reason, memory. ``Flat`` is exact. Any other factory is approximate:
    its effort (lists that are searched, or the beam of a graph) is doubled until the recall against exact search reaches
    ``recall``, and the last measurement is kept with the index. What codes have blurred is ranked again by whole vectors.

    Args:
        similarity: ``'cosine'`` demands unit vectors, for an inner product is a cosine only for those, and unnormalised
            vectors would give a plausible, wrong ranking. ``'dot'`` takes vectors of any length.
        factory: FAISS's factory string, such as ``'Flat'``, ``'IVF4096,Flat'``, ``'IVF4096,SQ8'`` or ``'HNSW32'``; ``'auto'``
            takes ``Flat`` while that is affordable, and then the most exact one that fits.
        prefer: For ``'auto'``: ``'accuracy'``, or ``'speed'`` for a graph.
        memory: GiB that the index and its building may use; ``None`` takes 80 % of what is free.
        effort: ``nprobe`` of inverted lists or ``efSearch`` of a graph; ``None`` finds it by measuring.
        recall: Share of the true best 10 to be found.
        refine: So many times k candidates are ranked again by whole vectors, where an index holds only codes; 0 leaves their
            scores as they are.
        device: ``'cpu'``, or ``'gpu'``; without a GPU in reach the CPU is taken, and the log says so.
        gpus: How many GPUs; ``None`` takes all.
        shards: Whether several GPUs share the vectors, instead of each having all.
        float16: Whether a GPU keeps vectors in half precision; the best are then ranked again by whole ones.
        seed: Of the training sample and of the sample for the recall.

    Raises:
        UsageError: For a value that makes no sense.
    """

    kind = "dense"

    def __init__(
        self,
        similarity: str = "cosine",
        factory: str = "auto",
        prefer: str = "accuracy",
        memory: float | None = None,
        effort: int | None = None,
        recall: float = 0.95,
        refine: int = 4,
        device: str = "cpu",
        gpus: int | None = None,
        shards: bool = False,
        float16: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(similarity)
        owner = "FaissIndex"
        require(owner, choice(("accuracy", "speed")), prefer=prefer)
        require(owner, choice(("cpu", "gpu")), device=device)
        require(owner, optional(number(above=0)), memory=memory)
        require(owner, optional(integer(1)), effort=effort, gpus=gpus)
        require(owner, number(at_least=0), recall=recall)
        require(owner, integer(0), refine=refine, seed=seed)
        self.factory, self.prefer, self.memory = factory, prefer, memory
        self.effort, self.wanted_recall, self.refine = effort, recall, refine
        self.placement = gpu.Placement(device, gpus, shards, float16)
        self.seed = seed
        self.recall: Recall | None = None
        self._asked = factory, effort  # what building chooses and measures stands in the attributes of these names
        self._told: tuple[int, int, str] | None = None
        self._index: Any = None
        self._searched: Any = None  # the same, or its copy on GPUs
        self._whole: NDArray[Any] | None = None  # vectors that candidates are ranked by again

    @property
    def exact(self) -> bool:
        """Whether every answer is the true one."""
        return self.factory == "Flat" and not self._half

    @property
    def max_k(self) -> int | None:
        """How many answers one request to the device may ask for; more are split for exact search, and refused otherwise."""
        return None if self._searched is self._index else gpu.max_k()

    @property
    def most(self) -> int | None:
        """See `Index.most`: exact search is split, so that it gives any number."""
        return None if self.exact else self.max_k

    @property
    def _half(self) -> bool:
        return self.placement.float16 and self._searched is not self._index

    def plan(self, rows: int, width: int) -> None:
        """Choose the factory and tell the memory; see `Index.plan`. The plain case, exact search as asked for, is not told."""
        cagra = gpu.builds_graphs(self.placement)
        plan = planning.plan(rows, width, self._asked[0], self.memory, self.prefer, cagra)
        told = (rows, width, plan.factory)
        if told != self._told and (self._asked[0], plan.factory) != ("Flat", "Flat"):
            tell(plan.line())
        self.factory, self._told = plan.factory, told

    def build(self, vectors: Any, ids: Sequence[Any], queries: Any = None) -> FaissIndex:
        """Plan, train and fill the index, and measure its recall; see `Index.build`."""
        vectors = np.asanyarray(vectors)
        if vectors.ndim != 2 or not vectors.size:
            checked(vectors, "FaissIndex", "document", self.similarity)
        return self._built(vectors, checked_ids(ids, len(vectors), "FaissIndex"), queries)

    def build_rows(self, vectors: NDArray[Any], queries: Any = None) -> FaissIndex:
        """Build without ids, for an index that has this one as a part and asks for `nearest`: a text for each row takes 66 bytes."""
        return self._built(vectors, range(len(vectors)), queries)

    def _built(self, vectors: NDArray[Any], names: tuple[str, ...] | range, queries: Any) -> FaissIndex:
        self.plan(*vectors.shape)
        self.effort = self._asked[1]
        self._index = _trained(self.factory, vectors, self.similarity, self.seed)
        with Progress("indexing", len(vectors), unit="vectors") as progress:
            for rows in chunks(vectors, "FaissIndex", "document", self.similarity):
                self._index.add(rows)
                progress.reach(self._index.ntotal)
        self._index = gpu.finished(self._index, self.factory)
        self._number(names)
        self.recall, self._whole = None, None
        self._place()
        coded = self.factory != "Flat" and re.search(r"PQ|SQ|RaBitQ|LSH|PCA", self.factory)
        if self.refine and coded and "RFlat" not in self.factory and "Refine" not in self.factory:
            self._whole = vectors
        if not self.exact:
            self._measure(vectors, queries)
        return self

    def search(self, vectors: Any, k: int) -> list[Ranking]:
        """Find the best k documents of each query; see `Index.search`. An approximate index may find fewer."""
        found: list[Ranking] = []
        for scores, rows in self.nearest(vectors, k):
            for own_rows, own_scores in zip(rows.tolist(), scores.tolist(), strict=True):
                if own_rows[-1] < 0:  # what was not found comes last
                    del own_rows[own_rows.index(-1) :]
                # a call for each pair would take longer than searching a few lists
                found.append(list(zip(map(self.ids.__getitem__, own_rows), own_scores, strict=False)))
        return found

    def nearest(self, vectors: Any, k: int) -> Iterator[tuple[NDArray[np.floating], NDArray[np.int64]]]:
        """Find the best k rows of each query; see `search`.

        Yields:
            Scores and rows of some queries after the others, ``(q, k)`` each; row −1 is none.
        """
        k = self._require_built(k)
        queries = checked(vectors, "FaissIndex", "query", self.similarity)
        self._require_width(queries.shape[1], self._index.d)
        for part in batches(len(queries), _QUERIES_AT_ONCE):
            yield ordered(*self._answers(queries[part], k), k)

    def _number(self, names: tuple[str, ...] | range) -> None:
        self.ids = cast("tuple[str, ...]", names)  # a range is as long, and nobody sees its entries

    def _answers(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        whole = self._whole
        limit = self.max_k
        if self.exact:
            scores, rows = past_ties(self._searched, queries, k, limit, self._split)
            # FAISS answers with row -1 where it found no finite score, and numpy would take that for the last document
            if (rows < 0).any() or not np.isfinite(scores).all():
                raise _not_finite(k)
            return scores, rows
        if limit is not None and k > limit:
            raise UsageError(
                "FaissIndex: more answers than a GPU gives for an approximate index",
                expected=f"k up to {limit}",
                got=str(k),
                fix="ask for fewer, or set device='cpu' or factory='Flat'",
            )
        if whole is None:
            scores, rows = past_ties(self._searched, queries, k, limit)
        else:
            depth = min(k * max(self.refine, 1), len(self.ids), limit or len(self.ids))
            _, rows = self._searched.search(queries, depth)
            scores = scores_of(queries, rows, whole)
        scores = np.where(rows >= 0, scores, -np.inf)
        if not np.isfinite(scores[rows >= 0]).all():
            raise _not_finite(k)
        return scores, rows

    def _split(self, queries: NDArray[np.float32], depth: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search pieces of the corpus that a device can rank whole."""
        rows = gpu.flat_vectors(self._index)
        return by_pieces(queries, rows, depth, self.max_k or len(rows), gpu.knn(self._searched is not self._index))

    def _measure(self, vectors: NDArray[Any], queries: Any) -> None:
        """Raise the effort until the recall is reached, or nothing more can be done."""
        asked, own = sample_rows(vectors, queries, self.seed)
        sample = Recall.prepare(checked(asked, "FaissIndex", "query", self.similarity), own, vectors)
        name, most = self._knob()
        effort = self._asked[1] or min(most, max(16, most // 64) if name == "nprobe" else 128)
        while True:
            self._set_effort(name, effort)
            self.recall = sample.measured(lambda part, depth: self._answers(part, depth), vectors)
            if not name or self._asked[1] or self.recall.value >= self.wanted_recall or effort >= most:
                break
            effort = min(2 * effort, most)
        self.effort = effort if name else None
        told = f"index {self.factory}: {self.recall.line()}" + (f" with {name} {effort}" if name else "")
        if self.recall.value < self.wanted_recall:
            told += f"; less than the {self.wanted_recall:g} asked for, so take another factory, or 'Flat'"
        tell(told)

    def _knob(self) -> tuple[str, int]:
        if found := re.search(r"IVF(\d+)", self.factory):
            return "nprobe", int(found[1])
        if re.match(r"HNSW|CAGRA", self.factory):
            return "efSearch", min(_MOST_EFFORT, max(len(self.ids), 16))
        return "", 1

    def _set_effort(self, name: str, value: int) -> None:
        if name:
            for index in {id(self._index): self._index, id(self._searched): self._searched}.values():
                gpu.parameters(index is not self._index).set_index_parameter(index, name, value)

    def _place(self) -> None:
        self._searched = gpu.placed(self._index, self.factory, self.placement)
        if self._half and self.factory == "Flat":
            self._whole = gpu.flat_vectors(self._index)

    def write_vectors(self, folder: Path) -> list[str]:
        """Write all but ids and description, for an index that has this one as a part; return the names of the files."""
        return self._write(folder)

    def read_vectors(self, folder: Path, settings: Mapping[str, Any], mmap: bool, rows: int) -> None:
        """Read what `write_vectors` wrote.

        Args:
            folder: The folder.
            settings: What `facts` told.
            mmap: As for `load`.
            rows: How many there are.
        """
        self._number(range(rows))
        self._read(folder, settings, mmap)

    def _settings(self) -> dict[str, Any]:
        return {
            "factory": self.factory,
            "width": self._index.d if self._index is not None else None,
            "effort": self.effort,
            "refine": self.refine if self._whole is not None else 0,
            "recall": self.recall._asdict() if self.recall else None,
            "faiss": faiss.__version__,
        }

    def _write(self, folder: Path) -> list[str]:
        faiss.write_index(self._index, str(folder / "index.faiss"))
        if self._whole is None or self.factory == "Flat":
            return ["index.faiss"]
        np.save(folder / _VECTORS, self._whole)
        return ["index.faiss", _VECTORS]

    def _read(self, folder: Path, settings: Mapping[str, Any], mmap: bool) -> None:
        self.factory, self.effort, self.refine = settings["factory"], settings["effort"], settings["refine"]
        self.recall = Recall(**settings["recall"]) if settings["recall"] else None
        # two ways of mapping, which FAISS does not combine: one for inverted lists, the other for plain vectors and graphs
        # a FAISS that lacks the second one reads such an index whole
        mapped = faiss.IO_FLAG_MMAP if "IVF" in self.factory else getattr(faiss, "IO_FLAG_MMAP_IFC", 0)
        flags = mapped if mmap else 0
        self._index = faiss.read_index(str(folder / "index.faiss"), flags)
        if self._index.ntotal != len(self.ids):
            raise ValueError("index.faiss and ids.jsonl do not belong together")
        if self.refine:
            self._whole = np.load(folder / _VECTORS, mmap_mode="r", allow_pickle=False)
        self._searched = self._index
        if self.effort:
            self._set_effort(self._knob()[0], self.effort)

    def to(self, placement: gpu.Placement) -> FaissIndex:
        """Move what is searched to GPUs, as far as there are any; a loaded index is on the CPU.

        Args:
            placement: Where to.
        """
        self.placement = placement
        self._place()
        if self.effort:
            self._set_effort(self._knob()[0], self.effort)
        return self


def scores_of(queries: NDArray[np.float32], rows: NDArray[np.integer], vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Score found rows by whole vectors.

    Args:
        queries: ``(Q, D)``.
        rows: ``(Q, K)``; −1 is no row.
        vectors: ``(N, D)``; may be a memory map.

    Returns:
        ``(Q, K)``; of −1 the score means nothing.
    """
    return np.stack(
        [np.asarray(vectors[own], np.float32) @ query for query, own in zip(queries, np.maximum(rows, 0), strict=True)]
    )


def _trained(factory: str, vectors: NDArray[Any], similarity: str, seed: int) -> Any:
    width = vectors.shape[1]
    if factory == "CAGRA":
        return gpu.new_graph(width)
    if "IDMap" in factory:
        raise UsageError("FaissIndex: ids are kept beside the index", got=repr(factory), fix="leave IDMap out")
    try:
        index = faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
        _train_no_order_of_codes(index)
        if index.is_trained:
            return index
        rows = np.random.default_rng(seed).permutation(len(vectors))
        rows = np.sort(rows[: planning.training_rows(factory, len(vectors)) or len(vectors)])
        index.train(checked(vectors[rows], "FaissIndex", "training", similarity))
    except (RuntimeError, AssertionError) as error:
        if "interrupt" in str(error):  # FAISS's own word for Ctrl-C
            raise KeyboardInterrupt from error
        said = str(error).strip().splitlines()[-1] if str(error) else type(error).__name__
        raise UsageError(
            f"FaissIndex: cannot make {factory!r} for {len(vectors)} vectors of width {width}",
            expected="a factory string of FAISS whose lists and codes these vectors can fill",
            got=said.rsplit(": ", 1)[-1][:160],
            fix="take factory='auto', or see FAISS's page on the index factory",
        ) from error
    return index


def _train_no_order_of_codes(index: Any) -> None:
    """Switch off FAISS's polysemous training: only a search by Hamming distance uses it, and it takes most of the time of building."""
    part = index
    while part is not None:
        part = faiss.downcast_index(part)
        if hasattr(part, "do_polysemous_training"):
            part.do_polysemous_training = False
        part = getattr(part, "index", None) or getattr(part, "base_index", None)


def _not_finite(k: int) -> UsageError:
    return UsageError(
        "FaissIndex: some scores are not finite",
        expected=f"a number for each of the best {k} documents",
        got="NaN, infinity or no answer from FAISS",
        fix="build the index again; if that does not help, look for huge values in the embeddings",
    )
