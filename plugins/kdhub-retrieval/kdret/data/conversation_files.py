"""Passages and judgements of conversational collections, in the forms in which their authors publish them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kdhub.api import UsageError, read_jsonl, read_lines
from kdret.data.fields import id_of, judgement
from kdret.data.score_files import read_lists

_HEADER = ("id", "text", "title")


class Judged(NamedTuple):
    """One judgement.

    Attributes:
        where: File and line.
        query: Id of the turn.
        document: Id of the passage.
        score: 0 is not relevant.
    """

    where: str
    query: str
    document: str
    score: int


def read_passages(path: Path) -> Iterator[dict[str, Any]]:
    """Yield ``_id``, ``text`` and perhaps ``title`` of each passage, one at a time; the name of the file tells its form.

    * ``.jsonl``, ``.jsonl.gz``: lines with these fields;
    * ``.tsv``, ``.tsv.gz`` whose first line is ``id``, ``text``, ``title``: TopiOCQA's segments of Wikipedia, quoted as in CSV. The title
      gets a full stop, so that title and text are encoded as DiSCo joins them;
    * other ``.tsv`` and ``.tsv.gz``: id, tab and text, as MS MARCO's collection.

    Raises:
        UsageError: For another form, or a line that is no passage.

    Source: card disco.md, section 4.
    """
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind == ".jsonl":
        return (entry for _, entry in read_jsonl(path))
    if kind != ".tsv":
        raise UsageError(
            "unknown format of passages",
            where=str(path),
            expected="a name that ends in .jsonl or .tsv, or these and .gz",
        )
    first = next((line for _, line in read_lines(path)), "")
    return _segments(path) if tuple(first.split("\t")) == _HEADER else _plain(path)


def read_judgements(path: Path) -> Iterator[Judged]:
    """Yield judgements; the name of the file tells its form.

    * ``.jsonl``, ``.jsonl.gz``: lines with ``query_id``, ``doc_id`` and ``score``;
    * ``.json``: ``{query_id: {doc_id: score}}``;
    * any other: TREC's, ``query_id 0 doc_id score`` with white space between, as CAsT's.

    Raises:
        UsageError: For a line that is no judgement.
    """
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        for number, entry in read_jsonl(path):
            where = f"{path}:{number}"
            found = id_of(entry, "query_id", where), id_of(entry, "doc_id", where)
            yield Judged(where, *found, judgement(entry.get("score"), where))
    elif path.suffix == ".json":
        for where, query, scores in read_lists(path):
            for document, score in scores.items():
                yield Judged(where, query, document, judgement(score, where))
    else:
        for number, line in read_lines(path):
            parts = line.split()
            if parts and len(parts) != 4:
                raise UsageError(
                    "not a line of TREC's judgements",
                    where=f"{path}:{number}",
                    expected="query_id 0 doc_id score",
                    got=repr(line)[:80],
                )
            if parts:
                yield Judged(f"{path}:{number}", parts[0], parts[2], judgement(parts[3], f"{path}:{number}"))


def _segments(path: Path) -> Iterator[dict[str, Any]]:
    rows = csv.reader((f"{line}\n" for _, line in read_lines(path)), delimiter="\t")
    try:
        for row in rows:
            if rows.line_num == 1 or not row:
                continue
            if len(row) != len(_HEADER) or not row[0]:
                where = f"{path}:{rows.line_num}"
                raise UsageError("not a passage", where=where, expected="id, text and title", got=repr(row)[:80])
            key, text, title = row
            yield {"_id": key, "title": f"{title}." if title else "", "text": text}
    except csv.Error as error:
        raise UsageError("not a passage", where=f"{path}:{rows.line_num}", got=str(error)) from error


def _plain(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in read_lines(path):
        key, tab, text = line.partition("\t")
        if not line.strip():
            continue
        if not tab or not key:
            raise UsageError(
                "not a passage", where=f"{path}:{number}", expected="an id, a tab and a text", got=repr(line)[:80]
            )
        yield {"_id": key, "text": text}
