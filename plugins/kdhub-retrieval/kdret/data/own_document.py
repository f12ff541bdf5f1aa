"""Queries that are documents of the corpus themselves, as in ArguAna and Quora."""

from __future__ import annotations

import unicodedata

from mmengine.logging import print_log

from kdret.data.beir import RetrievalData


def own_documents(data: RetrievalData) -> frozenset[str]:
    """Find the queries that stand in the corpus under their own id, and say in the log how many there are.

    Each of them would rank itself first. BEIR leaves every document out of the ranking of the query with the same id
    (``ignore_identical_ids``). Where ids are mere numbers, query 14 and document 14 have nothing to do with each other, so
    kdhub also asks that the document holds the query's text, and that it is not judged relevant.

    Args:
        data: One split.

    Returns:
        Ids of the queries whose own document must be left out of rankings and lists of candidates.
    """
    same_id = [key for key in data.queries if key in data.corpus]
    own = frozenset(key for key in same_id if _is_itself(data, key))
    if own:
        kept = len(same_id) - len(own)
        print_log(
            f"{data.root}, {data.split}: {len(own)} of {len(data.queries)} queries are documents of the corpus and are left out"
            " of their own rankings, as in BEIR"
            + (
                f"; {kept} documents share only the id with a query, or are judged relevant to it, and stay"
                if kept
                else ""
            ),
            logger="current",
        )
    return own


def _is_itself(data: RetrievalData, key: str) -> bool:
    query = squeezed(data.queries[key])
    return bool(query) and query in squeezed(data.corpus[key].content) and data.qrels.get(key, {}).get(key, 0) <= 0


def squeezed(text: str) -> str:
    """Return a text as it is compared: without differences of case, white space and forms of one character."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold()
