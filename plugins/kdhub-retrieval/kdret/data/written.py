"""Writes collections of other libraries as a data folder that `kdret.data.beir.load_split` reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from kdhub.api import say, write_jsonl


def write_corpus(target: Path, documents: Iterable[Mapping[str, str]]) -> set[str]:
    """Write the corpus one document at a time, so that its size does not matter.

    Args:
        target: Existing folder.
        documents: ``_id``, ``title`` and ``text`` of each.

    Returns:
        Their ids.
    """
    ids: set[str] = set()

    def noted() -> Iterator[Mapping[str, str]]:
        for document in documents:
            ids.add(document["_id"])
            yield document

    write_jsonl(target / "corpus.jsonl", noted())
    return ids


def write_split(
    target: Path, split: str, ids: set[str], texts: Mapping[str, str], judged: Iterable[tuple[str, str, int]]
) -> int:
    """Write the queries and judgements of a split.

    Queries that nobody found a relevant document for, and judgements of documents or queries that the collection lacks, are left
    out: `kdret.data.beir.load_split` refuses both. How many they are is said.

    Args:
        target: Existing folder.
        split: Name of the split.
        ids: Those of the corpus.
        texts: Query id to text.
        judged: Query id, document id and judgement; of a pair that was judged twice the last counts, as in trec_eval.

    Returns:
        Number of queries.
    """
    judged = list(judged)
    known = [(query, document, score) for query, document, score in judged if document in ids and query in texts]
    wanted = {query for query, _, score in known if score > 0}
    if len(known) < len(judged):
        say(f"{split}: left out {len(judged) - len(known)} judgements of documents or queries that are not there")
    if len(wanted) < len(texts):
        say(f"{split}: left out {len(texts) - len(wanted)} queries without a relevant document")
    queries = ({"_id": key, "text": text} for key, text in texts.items() if key in wanted)
    count = write_jsonl(target / f"queries.{split}.jsonl", queries)
    rows = {(query, document): score for query, document, score in known if query in wanted}
    write_jsonl(
        target / f"qrels.{split}.jsonl",
        ({"query_id": query, "doc_id": document, "score": score} for (query, document), score in rows.items()),
    )
    return count
