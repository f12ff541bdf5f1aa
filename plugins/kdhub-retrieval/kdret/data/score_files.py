"""Lists of a teacher's scores, query by query, from the files in which people keep them.

* ``.jsonl``, ``.jsonl.gz``: one line for each query, ``{"query_id", "doc_ids": [...], "scores": [...]}``, as `kdhub mine` writes it.
  Scores are numbers or ``null``.
* ``.json``: one object, ``{query_id: {doc_id: score}}``, as DiSCo's runs are published. It is never in memory as a whole.
* ``.trec``, ``.run``, ``.txt`` and the same with ``.gz``: a TREC run, ``query_id Q0 doc_id rank score tag``, the lines of a query together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from kdhub.api import UsageError, read_jsonl, read_lines
from kdret.data.fields import as_id, id_of

ScoredList = tuple[str, str, dict[str, float]]
"""Where it stands, the query, and document to score; NaN where the score is missing."""

_CHUNK = 1 << 20
RUNS = (".trec", ".run", ".txt")
"""Ends of the names of TREC runs."""


def read_lists(path: Path) -> Iterator[ScoredList]:
    """Yield the lists of a file, one query at a time.

    Raises:
        UsageError: For another format, or for a line that is no list, holds a document twice or a score that is no number.
            That a query comes twice is left to whoever keeps the queries.
    """
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind == ".jsonl":
        return _from_jsonl(path)
    if path.suffix == ".json":
        return _from_json(path)
    if kind in RUNS:
        return _from_run(path)
    raise UsageError(
        "unknown format of scores",
        where=str(path),
        expected="a name that ends in .jsonl, .jsonl.gz, .json, .trec, .run or .txt",
        fix="see `kdret.data.score_files` for what they hold; rename the file",
    )


def _from_jsonl(path: Path) -> Iterator[ScoredList]:
    for number, entry in read_jsonl(path):
        where = f"{path}:{number}"
        query = id_of(entry, "query_id", where)
        documents, scores = entry.get("doc_ids"), entry.get("scores")
        if not isinstance(documents, list) or not isinstance(scores, list) or len(documents) != len(scores):
            expected = "query_id, and doc_ids and scores of one length"
            raise UsageError("unreadable list", where=where, expected=expected, got=str(entry)[:80])
        scored: dict[str, float] = {}
        for document, score in zip(map(as_id, documents), scores, strict=True):
            if document is None:
                raise UsageError("no usable entry of 'doc_ids'", where=where, expected="text", got=str(documents)[:80])
            _add(scored, document, score, where)
        yield where, query, scored


def _from_run(path: Path) -> Iterator[ScoredList]:
    def fields() -> Iterator[tuple[str, list[str]]]:
        for number, line in read_lines(path):
            if not line.strip():
                continue
            parts = line.split()
            if len(parts) != 6:
                raise UsageError(
                    "not a line of a TREC run",
                    where=f"{path}:{number}",
                    expected="query_id Q0 doc_id rank score tag",
                    got=repr(line)[:80],
                )
            yield f"{path}:{number}", parts

    for query, rows in groupby(fields(), key=lambda row: row[1][0]):
        scored: dict[str, float] = {}
        first = ""
        for where, parts in rows:
            first = first or where
            score: Any = parts[4]
            with suppress(ValueError):
                score = float(parts[4])
            _add(scored, parts[2], score, where)
        yield first, query, scored


def _from_json(path: Path) -> Iterator[ScoredList]:
    for query, value in _members(path):
        where = f"{path}: query {query!r}"
        if not isinstance(value, Mapping):
            raise UsageError("unreadable list", where=where, expected="{doc_id: score}", got=str(value)[:80])
        scored: dict[str, float] = {}
        for document, score in value.items():
            _add(scored, document, score, where)
        yield where, query, scored


def _members(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield key and value of a JSON object, reading on as values need it."""
    decoder = json.JSONDecoder(object_pairs_hook=lambda pairs: _no_twins(pairs, path))
    with path.open(encoding="utf-8-sig", errors="strict") as file:
        text, ended = "", False

        def more() -> None:
            nonlocal text, ended
            chunk = file.read(max(_CHUNK, len(text)))  # doubled, or a long value would be parsed again and again
            text, ended = text + chunk, not chunk

        def after(character: str) -> None:
            nonlocal text
            text = text.lstrip()
            while not text and not ended:
                more()
                text = text.lstrip()
            if not text.startswith(character):
                raise UsageError("not a run", where=str(path), expected=repr(character), got=repr(text[:40]))
            text = text[1:]

        def value() -> Any:
            nonlocal text
            while True:
                text = text.lstrip()
                try:
                    found, end = decoder.raw_decode(text)
                    if end < len(text) or ended:
                        text = text[end:]
                        return found
                except ValueError as error:
                    if ended:
                        raise UsageError("not a run", where=str(path), expected="JSON", got=str(error)) from error
                more()

        after("{")
        text = text.lstrip() or text
        while True:
            key = value()
            after(":")
            yield str(key), value()
            while not text.lstrip() and not ended:
                more()
            if text.lstrip().startswith("}"):
                return
            after(",")


def _no_twins(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twin = next(key for key in keys if keys.count(key) > 1)
        raise UsageError(f"document {twin!r} occurs a second time", where=str(path), fix="keep one of its scores")
    return found


def _add(scored: dict[str, float], document: str, score: Any, where: str) -> None:
    if document in scored:
        raise UsageError(f"document {document!r} occurs a second time", where=where, fix="keep one of its scores")
    number = math.nan if score is None else math.inf
    if isinstance(score, int | float) and not isinstance(score, bool):
        with suppress(OverflowError):
            number = float(score)
    if number == math.inf:
        got = repr(score)[:80]
        raise UsageError(f"no usable score of document {document!r}", where=where, expected="a number", got=got)
    scored[document] = number
