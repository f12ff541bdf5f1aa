"""What every index has: ids of the corpus, one form of answer, a fixed order of ties, and a folder with checksums."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from kdhub.api import UsageError, choice, file_sha256, integer, read_sealed, require, write_sealed

SIMILARITIES = ("cosine", "dot")
DESCRIPTION = "index.json"
_IDS = "ids.jsonl"
_FORMAT = 2

Ranking = list[tuple[str, float]]
"""Ids and scores of one query, from best to worst."""
Self = TypeVar("Self", bound="Index")


class Index(ABC):
    """A corpus that can be searched. Rows of the vectors are numbered inside, and the corpus's own ids outside.

    Attributes:
        similarity: ``'cosine'`` or ``'dot'``.
        ids: Id of each row.
        about: Where the vectors came from, such as fingerprints of ``model`` and ``corpus``; kept with the index.
    """

    kind: ClassVar[str]

    def __init__(self, similarity: str) -> None:
        require(type(self).__name__, choice(SIMILARITIES), similarity=similarity)
        self.similarity = similarity
        self.ids: tuple[str, ...] = ()
        self.about: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def plan(self, rows: int, width: int) -> None:  # noqa: B027 (most kinds have nothing to choose)
        """Choose what will be built and tell the memory it takes, before there are vectors.

        Args:
            rows: Documents.
            width: Numbers of a vector.

        Raises:
            UsageError: If it does not fit.
        """

    @abstractmethod
    def build(self, vectors: Any, ids: Sequence[Any], queries: Any = None) -> Index:
        """Index vectors, replacing what was there.

        Args:
            vectors: ``(N, D)``, N ≥ 1.
            ids: One for each row, all different: text, or whole numbers, which are kept as text.
            queries: ``(Q, D)``, typical questions, on which an approximate index is tried; ``None`` takes documents.

        Returns:
            The index itself.

        Raises:
            UsageError: For vectors that cannot be searched, ids that do not fit them, or too little memory.
        """

    @abstractmethod
    def search(self, vectors: Any, k: int) -> list[Ranking]:
        """Find the best k documents of each query.

        Args:
            vectors: Queries ``(Q, D)``.
            k: At least 1; more than there are documents gives all of them.

        Returns:
            For each query ``(id, score)`` from best to worst; equal scores in the order of `build`.

        Raises:
            UsageError: If nothing was indexed, the queries cannot be compared with what was, or a score is not finite.
        """

    @property
    def most(self) -> int | None:
        """How many answers `search` gives for a query at most; ``None`` gives any number."""
        return None

    def discard(self) -> None:  # noqa: B027 (most kinds hold nothing but memory)
        """Remove what an index that is not saved holds outside this process, such as the collection of a server."""

    def facts(self) -> dict[str, Any]:
        """Return what ``kdhub index info`` shows: kind, size, and how it was made."""
        return {"kind": self.kind, "documents": len(self), "similarity": self.similarity, **self._settings()}

    def save(self, folder: str | Path) -> None:
        """Write the index into an existing folder, with its ids and checksums of everything."""
        folder = Path(folder)
        if not self.ids:
            raise UsageError(f"{type(self).__name__}: nothing to save yet", fix="build it first")
        names = [*self._write(folder), _IDS]
        with (folder / _IDS).open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(key) + "\n" for key in self.ids)
        files = {name: [(folder / name).stat().st_size, file_sha256(folder / name)] for name in names}
        write_sealed(
            folder / DESCRIPTION,
            {
                "format": _FORMAT,
                "kind": self.kind,
                "documents": len(self),
                "similarity": self.similarity,
                "settings": self._settings(),
                "about": self.about,
                "files": files,
            },
        )

    @classmethod
    def load(
        cls: type[Self], folder: str | Path, *, mmap: bool = False, about: Mapping[str, Any] | None = None
    ) -> Self:
        """Read what `save` wrote.

        Args:
            folder: The folder.
            mmap: Leave vectors on the disk and read them when they are needed. Only the sizes of the files are checked then,
                for a checksum would read all of them.
            about: What the index must be about, such as ``{'model': ..., 'corpus': ...}``.

        Raises:
            UsageError: If the files are missing or damaged, an older kdhub wrote them, or the index is of another model or
                corpus.
        """
        folder = Path(folder)
        try:
            description = read_description(folder)
            if description["kind"] != cls.kind:
                raise ValueError(f"an index of kind {description['kind']!r}, not {cls.kind!r}")
            for name, (size, checksum) in description["files"].items():
                if (folder / name).stat().st_size != size or (not mmap and file_sha256(folder / name) != checksum):
                    raise ValueError(f"{name} does not match its checksum")
            index = cls(similarity=description["similarity"])
            with (folder / _IDS).open(encoding="utf-8") as lines:
                index.ids = tuple(json.loads(line) for line in lines)
            index.about = description["about"]
            index._read(folder, description["settings"], mmap)
        except (UsageError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            first = (str(error) or type(error).__name__).splitlines()[0]
            raise UsageError("cannot read the index", where=str(folder), got=first, fix="build it again") from error
        require_about(index.about, about or {}, folder)
        return index

    def _settings(self) -> dict[str, Any]:
        return {}

    @abstractmethod
    def _write(self, folder: Path) -> list[str]:
        """Write the vectors; return the names of the files."""

    @abstractmethod
    def _read(self, folder: Path, settings: Mapping[str, Any], mmap: bool) -> None:
        """Read what `_write` wrote."""

    def _require_built(self, k: int) -> int:
        if not self.ids:
            raise UsageError(f"{type(self).__name__}: nothing is indexed yet", fix="build it, or load one")
        require(type(self).__name__, integer(1), k=k)
        return min(k, len(self.ids))

    def _require_width(self, width: int, expected: int) -> None:
        if width != expected:
            raise UsageError(
                f"{type(self).__name__}: queries of another width than the documents",
                expected=f"(Q, {expected})",
                got=f"(Q, {width})",
                fix="encode both with the model the index was built with, or build it again",
            )


def read_description(folder: Path) -> dict[str, Any]:
    """Read ``index.json``.

    Raises:
        UsageError: If it is missing, damaged, or of an older kdhub.
    """
    description = read_sealed(folder / DESCRIPTION)
    if description.get("format") != _FORMAT:
        raise UsageError("an index of another version of kdhub", where=str(folder), fix="build it again")
    return description


def require_about(own: Mapping[str, Any], expected: Mapping[str, Any], folder: Path) -> None:
    """See that an index is about the model and the corpus at hand.

    Raises:
        UsageError: If it is about others: its answers would be plausible, and wrong.
    """
    for key, value in expected.items():
        if own.get(key) != value:
            raise UsageError(
                f"the index is of another {key}",
                where=str(folder),
                expected=str(value)[:16],
                got=str(own.get(key, "nothing"))[:16],
                fix=f"give the {key} it was built with, or build it again with --rebuild",
            )


def batches(total: int, size: int) -> Iterator[slice]:
    """Yield slices that cover ``total`` rows."""
    return (slice(start, min(start + size, total)) for start in range(0, total, size))
