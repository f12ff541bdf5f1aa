"""Seismic behind `SeismicIndex`: answers against exact ones, the recall that it tells, and what it refuses."""

import numpy as np
import pytest
from scipy import sparse

from kdhub.errors import UsageError
from kdret.index import load_index
from kdret.index.sparse import SparseIndex

pytest.importorskip("seismic", reason="pip install 'kdhub-retrieval[seismic]'")

from kdret.index.seismic import SeismicIndex

IDS = [f"d{row}" for row in range(300)]


@pytest.fixture(scope="module")
def made():
    """300 documents, 20 queries of 40 terms, and an index of them."""
    documents, queries = (
        sparse.random_array((rows, 40), density=0.2, format="csr", dtype=np.float32, rng=np.random.default_rng(rows))
        for rows in (300, 20)
    )
    return documents, queries, SeismicIndex().build(documents, IDS, queries)


def test_recall_is_that_against_exact_search(made, tmp_path):
    """The recall that is saved is what people choose an index by."""
    documents, queries, index = made
    exact = SparseIndex().build(documents, IDS).search(queries, 10)
    found = index.search(queries, 10)
    true = documents.toarray() @ queries.toarray().T
    shares = []
    for query, (own, best) in enumerate(zip(found, exact, strict=True)):
        scores = [score for _, score in own]
        assert scores == sorted(scores, reverse=True)
        np.testing.assert_allclose(scores, [true[IDS.index(key), query] for key, _ in own], rtol=2e-3)
        shares.append(len({key for key, _ in own} & {key for key, _ in best}) / 10)
    assert index.recall.value == pytest.approx(np.mean(shares), abs=0.02)
    assert index.recall.value >= 0.95
    index.save(tmp_path)
    again = load_index(tmp_path)
    assert again.search(queries, 10) == found
    assert again.facts() == index.facts()


def test_what_it_cannot_answer(made):
    """Documents without a common term, and queries without a term, are no errors; negative weights are."""
    _, queries, index = made
    nothing = sparse.csr_array((1, 40), dtype=np.float32)
    found = index.search(sparse.vstack([nothing, queries[[0]]], format="csr"), 10_000)
    assert found[0] == []
    assert 0 < len(found[1]) <= 300
    with pytest.raises(UsageError, match="document vector 1 has a negative weight"):
        SeismicIndex().build(sparse.csr_array([[0.0, 1], [-1, 0]]), ["a", "b"])
    with pytest.raises(UsageError, match="queries of another width"):
        index.search(sparse.csr_array((1, 41), dtype=np.float32), 1)
    with pytest.raises(UsageError, match="bad effort"):
        SeismicIndex(effort=0)
