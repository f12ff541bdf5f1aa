"""The Cranfield collection, from its TREC form into BEIR's layout.

The original is ``cran.all.1400.xml``, ``cran.qry.xml`` and ``cranqrel.trec.txt``. No licence is stated: a classic test
collection that universities hand out for research.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

from kdhub.api import UsageError, write_jsonl
from kdret.data.beir import load_split

ORIGINAL = "https://github.com/oussbenk/cranfield-trec-dataset"
DOCUMENTS, QUERIES, JUDGEMENTS = "cran.all.1400.xml", "cran.qry.xml", "cranqrel.trec.txt"
SPLITS = {
    "train": (3, 6, 7, 9, 12, 13, 15, 20, 21, 27, 29, 30, 32, 33, 34, 36, 38, 39, 40, 42, 43, 44, 45, 46, 47, 50, 52, 53,
              56, 57, 58, 61, 65, 67, 68, 69, 71, 73, 77, 79, 82, 83, 85, 89, 90, 91, 92, 93, 94, 95, 96, 98, 100, 101, 104,
              106, 107, 109, 110, 111, 112, 114, 117, 123, 124, 125, 126, 127, 129, 130, 134, 135, 137, 139, 140, 141, 143,
              146, 147, 148, 149, 150, 156, 159, 161, 165, 171, 172, 173, 175, 177, 179, 180, 183, 184, 185, 186, 187, 191,
              192, 194, 195, 196, 198, 199, 201, 202, 203, 205, 207, 208, 209, 211, 212, 214, 217, 218, 221, 223, 224),
    "dev": (1, 5, 14, 18, 19, 23, 26, 28, 31, 35, 54, 55, 59, 63, 64, 66, 70, 74, 75, 80, 81, 86, 87, 88, 97, 99, 103, 108,
            121, 142, 145, 155, 157, 166, 169, 170, 174, 176, 181, 182, 188, 189, 193, 197, 213),
}  # fmt: skip
"""Queries by their place in the original, drawn once at random; the other 60 are held back."""

_SIZE = (1400, 225)


def is_ready(folder: Path) -> bool:
    """Tell whether a folder holds the collection in BEIR's layout already."""
    return any(folder.glob("corpus.jsonl*"))


def describe(folder: Path) -> str:
    """Count a prepared folder's queries."""
    counts = {split: len(load_split(folder, split).queries) for split in SPLITS}
    return ", ".join(f"{count} {split} queries" for split, count in counts.items())


def convert(source: Path, target: Path) -> None:
    """Write corpus, queries and judgements above 0 of both splits.

    Args:
        source: Folder with the three original files, or with the folder that holds them.
        target: Existing folder to fill.

    Raises:
        UsageError: If a file is missing, or does not hold the known number of documents and queries.
    """
    source = next((path.parent for path in source.glob(f"*/{DOCUMENTS}")), source)
    documents = _blocks(source / DOCUMENTS, "doc")
    queries = _blocks(source / QUERIES, "top")
    if (len(documents), len(queries)) != _SIZE:
        raise UsageError(
            "not the Cranfield 1400 collection",
            where=str(source),
            expected="{} documents and {} queries".format(*_SIZE),
            got=f"{len(documents)} and {len(queries)}",
        )
    corpus = [{"_id": _tag(one, "docno"), "title": _tag(one, "title"), "text": _tag(one, "text")} for one in documents]
    write_jsonl(target / "corpus.jsonl.gz", corpus)
    judgements = _judgements(source / JUDGEMENTS)
    for split, members in SPLITS.items():
        # judgements number the queries by place, whatever stands in their <num>
        rows = [{"_id": str(place), "text": _tag(queries[place - 1], "title")} for place in members]
        write_jsonl(target / f"queries.{split}.jsonl.gz", rows)
        kept = [row for row in judgements if int(str(row["query_id"])) in members]
        write_jsonl(target / f"qrels.{split}.jsonl.gz", kept)


def _blocks(path: Path, tag: str) -> list[str]:
    return re.findall(rf"<{tag}>(.*?)</{tag}>", _read(path), re.IGNORECASE | re.DOTALL)


def _tag(block: str, tag: str) -> str:
    # not an XML parser: the files have no root element
    found = re.search(rf"<{tag}>(.*?)</{tag}>", block, re.IGNORECASE | re.DOTALL)
    return " ".join(html.unescape(found.group(1)).split()) if found else ""


def _judgements(path: Path) -> list[dict[str, str | int]]:
    rows: list[dict[str, str | int]] = []
    for number, line in enumerate(_read(path).splitlines(), start=1):
        fields = line.split()
        if len(fields) != 4 or not fields[3].lstrip("-").isdigit():
            raise UsageError(
                "unreadable line", where=f"{path}:{number}", expected="query 0 document score", got=repr(line)
            )
        if int(fields[3]) > 0:
            rows.append({"query_id": fields[0], "doc_id": fields[2], "score": int(fields[3])})
    return rows


def _read(path: Path) -> str:
    if not path.is_file():
        raise UsageError("missing file", where=str(path.parent), expected=path.name)
    return path.read_text(encoding="utf-8", errors="replace")
