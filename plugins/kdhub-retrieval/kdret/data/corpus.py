"""A corpus on the disk: places of its lines in memory, texts read when they are asked for.

corpus.jsonl[.gz]    {"_id", "title", "text"}, as BEIR publishes it
collection.tsv       id <TAB> text, as MS MARCO publishes it
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from kdhub.api import UsageError, parsed_object
from kdret.data.fields import id_of, text_of
from kdret.data.lines import Lines
from kdret.data.paths import find_data, find_file

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Document:
    """One entry of a corpus.

    Attributes:
        id: Identifier, unique in the corpus.
        title: Title, possibly empty.
        text: Body, possibly empty.
    """

    id: str
    title: str
    text: str

    @property
    def content(self) -> str:
        """What is encoded: title and body, as BEIR joins them."""
        return f"{self.title} {self.text}".strip()


class _Streamed(Mapping[str, Value], Generic[Value]):
    """A mapping whose entries are read one after the other where all are wanted, and not looked up one by one."""

    @abstractmethod
    def entries(self) -> Iterator[tuple[str, Value]]:
        """Yield id and value in file order."""

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self.entries())

    def items(self) -> ItemsView[str, Value]:
        return _Items(self)

    def values(self) -> ValuesView[Value]:
        return _Values(self)


class _Items(ItemsView[str, Any]):
    _mapping: _Streamed[Any]

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self._mapping.entries()


class _Values(ValuesView[Any]):
    _mapping: _Streamed[Any]

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._mapping.entries())


class Corpus(_Streamed[Document]):
    """Documents by id, and by row in file order. About 20 bytes of memory for each, whatever the length of its text.

    The file is read once, and every line is checked; then a document costs one read. Blank lines are skipped.

    Args:
        path: ``.jsonl`` or ``.tsv``, plain or gzipped; see `kdret.data.lines.Lines`.

    Attributes:
        path: The file.
        lengths: Characters of each row's content, ``(N,)``; 0 is a document without text.

    Raises:
        UsageError: For a line that cannot be read, an id that occurs twice, or a file without a document.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = Lines(path)
        self._tabs = ".tsv" in path.suffixes
        total = len(self._lines)
        # 4 bytes are enough for any file that is worth reading from one disk
        hashes, numbers = np.zeros(total, np.uint64), np.zeros(total, np.min_scalar_type(total))
        lengths, count = np.zeros(total, np.int32), 0
        for number, document in self._numbered():
            hashes[count], numbers[count], lengths[count] = _hash(document.id), number, len(document.content)
            count += 1
        if not count:
            raise UsageError("no documents", where=str(path), expected="at least one line", got="an empty file")
        self.lengths, self._numbers = lengths[:count], numbers[:count]
        self._order = np.argsort(hashes[:count], kind="stable").astype(numbers.dtype)
        self._hashes = hashes[self._order]
        repeated = self._hashes[1:][self._hashes[1:] == self._hashes[:-1]]
        self._shared = frozenset(map(int, repeated))
        for hashed in self._shared:
            self._require_different(hashed)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, key: str) -> Document:
        """Read the document of an id.

        Raises:
            KeyError: If there is none.
        """
        row = self.row(key) if isinstance(key, str) else None
        document = None if row is None else self.at(row)
        if document is None or document.id != key:
            raise KeyError(key)
        return document

    def at(self, row: int) -> Document:
        """Read the document of a row."""
        number = int(self._numbers[row])
        return self._parsed(number, self._lines[number])

    def row(self, key: str) -> int | None:
        """Return the row of an id without reading the file; ``None`` if there is none.

        An unknown id is taken for a known one with a chance of N in 2⁶⁴. Indexing by the id reads, and leaves no doubt.
        """
        hashed = _hash(key)
        place = int(np.searchsorted(self._hashes, np.uint64(hashed)))
        while place < len(self._hashes) and int(self._hashes[place]) == hashed:
            row = int(self._order[place])
            if hashed not in self._shared or self.at(row).id == key:
                return row
            place += 1
        return None

    def entries(self) -> Iterator[tuple[str, Document]]:
        """Yield id and document in file order."""
        return ((document.id, document) for _, document in self._numbered())

    def contents(self) -> Contents:
        """Return what is encoded of the documents that have text."""
        return Contents(self)

    def _numbered(self) -> Iterator[tuple[int, Document]]:
        return ((number, self._parsed(number, line)) for number, line in enumerate(self._lines) if line.strip())

    def _parsed(self, number: int, line: str) -> Document:
        if not self._tabs:
            return _from_json(line, self._lines.where(number))
        key, tab, text = line.partition("\t")
        if not tab or not key:
            where = self._lines.where(number)
            raise UsageError("unreadable line", where=where, expected="an id, a tab and a text", got=repr(line)[:80])
        return Document(key, "", text)

    def _require_different(self, hashed: int) -> None:
        seen: set[str] = set()
        first = int(np.searchsorted(self._hashes, np.uint64(hashed)))
        last = int(np.searchsorted(self._hashes, np.uint64(hashed), "right"))
        for row in map(int, self._order[first:last]):
            key = self.at(row).id
            if key in seen:
                where = self._lines.where(int(self._numbers[row]))
                raise UsageError(f"{key!r} occurs a second time", where=where, fix="keep one of the two lines")
            seen.add(key)


class Contents(_Streamed[str]):
    """Id and content of the documents of a corpus that have text, in file order.

    Args:
        corpus: The corpus.
    """

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    def __len__(self) -> int:
        return int(np.count_nonzero(self._corpus.lengths))

    def __getitem__(self, key: str) -> str:
        content = self._corpus[key].content
        if not content:
            raise KeyError(key)
        return content

    def entries(self) -> Iterator[tuple[str, str]]:
        """Yield id and content in file order."""
        return ((key, document.content) for key, document in self._corpus.entries() if document.content)

    def row(self, key: str) -> int | None:
        """Return the row of an id in the whole corpus; see `Corpus.row`."""
        return self._corpus.row(key)


def load_corpus(root: str | Path) -> Corpus:
    """Open the corpus of a data folder.

    Raises:
        UsageError: For a missing or empty file, an unreadable line, or an id that occurs twice.
    """
    names = ("corpus.jsonl", "corpus.jsonl.gz"), ("collection.tsv", "collection.tsv.gz")
    return Corpus(find_file(find_data(root), *names))


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


def _from_json(line: str, where: str) -> Document:
    entry = parsed_object(line, where)
    return Document(id_of(entry, "_id", where), text_of(entry, "title", where, ""), text_of(entry, "text", where))
