"""What an index costs, and which one fits: sizes by FAISS's factory strings, and a choice with its reason."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from kdhub.api import UsageError, data_size

EXACT_UP_TO = 2_000_000
"""Vectors up to which exact search is the default; card faiss_indexing.md, section 3."""
CHUNK = 131_072
"""Rows that are read, checked and added at once."""
_GRAPH_FROM = 20_000
"""Below, exact search answers in milliseconds, and a graph saves nothing."""
_FEWEST_PER_LIST = 39
_SAMPLE_PER_LIST = 64
_PQ_FEWEST = 9_984
"""FAISS warns of codebooks from fewer vectors."""
_CODEBOOK = 256
_PQ_BYTES = (96, 64, 48, 32, 24, 16, 12, 8, 4)
_SQ_BITS = {"SQ8": 8, "SQ6": 6, "SQ4": 4, "SQfp16": 16, "SQbf16": 16}
_SHARE_OF_FREE = 0.8
_PLACE_BYTES = 20
_ID_BYTES = 66
"""CPython's text of 9 letters, and its pointer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which index will be built, and the memory that takes.

    Attributes:
        factory: FAISS's factory string.
        reason: Why this one.
        rows: Vectors.
        width: Numbers of a vector.
        index_bytes: The index itself; ``None`` for a factory whose size is not known here.
        working_bytes: The training sample, or the chunk that is being added, whichever is larger.
        budget: Bytes that may be used; ``None`` where the system does not say what is free.
    """

    factory: str
    reason: str
    rows: int
    width: int
    index_bytes: int | None
    working_bytes: int
    budget: int | None

    def line(self) -> str:
        """Write the plan as one line."""
        size = "not known for this factory" if self.index_bytes is None else data_size(self.index_bytes)
        allowed = f", of {data_size(self.budget)} that may be used" if self.budget is not None else ""
        return (
            f"index {self.factory} for {self.rows} vectors of width {self.width}: {size} in memory and"
            f" {data_size(self.working_bytes)} to build it{allowed}; {self.reason}"
        )

    def require_fit(self) -> None:
        """See that the memory is there.

        Raises:
            UsageError: With the figures, if it is not.
        """
        if self.budget is None or (self.index_bytes or 0) + self.working_bytes <= self.budget:
            return
        raise UsageError(
            f"the index {self.factory} does not fit into memory",
            expected=f"at most {data_size(self.budget)}",
            got=f"{data_size(self.index_bytes or 0)} and {data_size(self.working_bytes)} to build it, for {self.rows} vectors of"
            f" width {self.width}",
            fix="take factory='auto' or a smaller factory such as IVF1024,SQ8, or raise `memory` (GiB) if there is more",
        )


def plan(rows: int, width: int, factory: str, memory: float | None, prefer: str, cagra: bool = False) -> Plan:
    """Plan an index.

    Args:
        rows: Vectors.
        width: Numbers of a vector.
        factory: FAISS's factory string, or ``'auto'``.
        memory: GiB that may be used; ``None`` takes 80 % of what is free.
        prefer: ``'accuracy'`` or ``'speed'``, for ``'auto'``.
        cagra: Whether a GPU and FAISS can build a CAGRA graph.

    Raises:
        UsageError: If no index fits.
    """
    budget = budget_of(memory)

    def planned(name: str, reason: str) -> Plan:
        return Plan(name, reason, rows, width, size_of(name, rows, width), working(name, rows, width), budget)

    if factory != "auto":
        found = planned(factory, "as asked for")
        found.require_fit()
        return found
    candidates = [planned(name, reason) for name, reason in _candidates(rows, width, prefer, cagra)]
    for found in candidates:
        if budget is None or (found.index_bytes or 0) + found.working_bytes <= budget:
            return found
    smallest = min(candidates, key=lambda one: (one.index_bytes or 0) + one.working_bytes)
    smallest.require_fit()
    return smallest


@dataclass(frozen=True, slots=True)
class Scale:
    """What a corpus costs that no single index holds: indexed in shards, as `kdret.cluster.build_shards` does.

    Attributes:
        rows: Passages.
        width: Numbers of a vector.
        factory: FAISS's factory string of each shard.
        text: Mean bytes of a passage on the disk; MS MARCO's have about 350.
        shard: Passages of a shard.
        rate: Passages that a worker encodes in a second. It is no property of kdhub: measure yours.
        workers: How many encode at once.
        memory: GiB of a machine that searches, of which 80 % are used.
    """

    rows: int
    width: int
    factory: str
    text: int = 350
    shard: int = 1_000_000
    rate: float = 2000.0
    workers: int = 8
    memory: float = 256.0

    @property
    def text_bytes(self) -> int:
        """Texts on the disk."""
        return self.rows * self.text

    @property
    def place_bytes(self) -> int:
        """Places of the lines, in the memory of each worker; see `kdret.data.corpus.Corpus`."""
        return self.rows * _PLACE_BYTES

    @property
    def vector_bytes(self) -> int:
        """All vectors in float32, if they are kept."""
        return 4 * self.rows * self.width

    @property
    def shards(self) -> int:
        """How many shards."""
        return math.ceil(self.rows / self.shard)

    @property
    def index_bytes(self) -> int:
        """All shards of the index.

        Raises:
            UsageError: If the size of this factory is not known here.
        """
        size = size_of(self.factory, self.shard, self.width)
        if size is None:
            raise UsageError("the size of this factory is not known", got=repr(self.factory))
        return self.shards * size

    @property
    def id_bytes(self) -> int:
        """Ids of the corpus in the memory of whoever searches: short texts of Python, and a pointer to each."""
        return self.rows * _ID_BYTES

    @property
    def machines(self) -> int:
        """Machines that hold the index and its ids in memory."""
        return math.ceil((self.index_bytes + self.id_bytes) / (_SHARE_OF_FREE * self.memory * 2**30))

    @property
    def hours(self) -> float:
        """Hours of encoding, with all workers."""
        return self.rows / (self.rate * self.workers) / 3600


def size_of(factory: str, rows: int, width: int) -> int | None:
    """Return the bytes of an index in memory, without the vectors that a refinement reads from disk.

    Args:
        factory: FAISS's factory string.
        rows: N.
        width: D.

    Returns:
        Bytes, or ``None`` for a factory that is not known here.

    Source: card faiss_indexing.md, section 3, measured on serialised indexes.
    """
    total, lists, coded = 0, 0, width
    for part in factory.split(","):
        if reduced := re.fullmatch(r"(?:PCAR?|OPQ\d+_)(\d+)", part):
            total, coded = total + 4 * coded * int(reduced[1]), int(reduced[1])
        elif re.fullmatch(r"OPQ\d+", part):
            total += 4 * coded * coded
        elif found := re.fullmatch(r"IVF(\d+)(?:_HNSW(\d+))?", part):
            lists = int(found[1])
            total += 8 * rows + 4 * lists * coded + (_links(int(found[2]), lists) if found[2] else 0)
        elif found := re.fullmatch(r"HNSW(\d+)", part):
            total += _links(int(found[1]), rows)
            if factory.endswith(part):
                total += 4 * coded * rows
        elif part == "CAGRA":
            total += 4 * coded * rows + 4 * 64 * rows
        elif part in ("Flat", "RFlat", "Refine(Flat)"):
            total += 4 * (coded if part == "Flat" else width) * rows
        elif part in _SQ_BITS:
            total += rows * math.ceil(coded * _SQ_BITS[part] / 8)
        elif found := re.fullmatch(r"PQ(\d+)(?:x(\d+)(?:fs)?)?(?:np)?", part):
            bits = int(found[2] or 8)
            total += rows * math.ceil(int(found[1]) * bits / 8) + 2**bits * coded * 4
        else:
            return None
    return total


def working(factory: str, rows: int, width: int) -> int:
    """Return the bytes that building takes besides the index."""
    return 4 * width * max(training_rows(factory, rows), min(rows, CHUNK))


def training_rows(factory: str, rows: int) -> int:
    """Return how many vectors an index is trained on; 0 for one that is not."""
    if found := re.search(r"IVF(\d+)", factory):
        wanted = _SAMPLE_PER_LIST * int(found[1])
        return min(rows, max(wanted, _SAMPLE_PER_LIST * _CODEBOOK if "PQ" in factory else 0))
    trained = re.search(r"PQ|SQ|PCA|LSH|RaBitQ", factory)
    return min(rows, _SAMPLE_PER_LIST * _CODEBOOK) if trained else 0


def lists_for(rows: int) -> int:
    """Return the number of inverted lists, 4√N, but no more than can be trained well."""
    return max(1, min(round(4 * math.sqrt(rows)), rows // _FEWEST_PER_LIST))


def budget_of(memory: float | None) -> int | None:
    """Return the bytes that may be used.

    Args:
        memory: GiB that somebody allows; ``None`` takes 80 % of what is free.
    """
    if memory is not None:
        return int(memory * 2**30)
    free = available_memory()
    return None if free is None else int(_SHARE_OF_FREE * free)


def available_memory() -> int | None:
    """Return the bytes that this process may still use, or ``None`` where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
    try:  # a container's own limit
        limit, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text("ascii") for name in ("max", "current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):
        return free


def _candidates(rows: int, width: int, prefer: str, cagra: bool) -> list[tuple[str, str]]:
    lists = lists_for(rows)
    flat = ("Flat", f"exact search is affordable up to {EXACT_UP_TO} vectors")
    found = []
    if prefer == "speed" and rows > _GRAPH_FROM:
        if cagra:
            found.append(("CAGRA", "speed is preferred, and a GPU builds the graph"))
        found.append(("HNSW32", "speed is preferred, and the graph fits"))
    if rows <= EXACT_UP_TO:
        found.append(flat)
    else:
        found.append((f"IVF{lists},Flat", f"more than {EXACT_UP_TO} vectors, and full precision fits"))
    if lists > 1:
        found.append((f"IVF{lists},SQ8", "full precision does not fit, 8 bits a number do"))
        code = next((size for size in _PQ_BYTES if width % size == 0 and width // size >= 4), None)
        if code and rows >= _PQ_FEWEST:
            found.append(
                (f"IVF{lists},PQ{code}", "8 bits a number do not fit; the best are ranked again by whole vectors")
            )
    return found


def _links(neighbours: int, rows: int) -> int:
    return math.ceil(rows * (8 * neighbours + 12 + 4 * neighbours / (neighbours - 1)))
