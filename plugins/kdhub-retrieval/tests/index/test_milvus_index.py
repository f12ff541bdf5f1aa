"""Milvus Lite behind `MilvusIndex`: answers, ids, going on after a stop, and what must be refused."""

import numpy as np
import pytest
from scipy import sparse

from kdhub.errors import UsageError
from kdret.index import load_index

pytest.importorskip("pymilvus", reason="pip install 'kdhub-retrieval[milvus]'")
pytest.importorskip("milvus_lite", reason="pip install --no-deps milvus-lite")

from kdret.index.milvus import MilvusIndex

IDS = [f"d{row}" for row in range(60)]


def vectors(rows, seed, width=16):
    found = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def by_hand(documents, queries, k):
    scores = queries @ documents.T
    return [
        [(IDS[row], scores[own][row]) for row in np.argsort(-scores[own], kind="stable")[:k]]
        for own in range(len(scores))
    ]


def require_same(found, expected):
    assert [[key for key, _ in own] for own in found] == [[key for key, _ in own] for own in expected]
    np.testing.assert_allclose(
        [[s for _, s in own] for own in found], [[s for _, s in own] for own in expected], rtol=1e-4
    )


def test_dense_answers_are_those_of_a_product_also_after_loading(tmp_path):
    """Rows of the collection, ids of the corpus and the order of ties are three chances to answer with a neighbour."""
    documents, queries = vectors(60, 0), vectors(3, 1)
    documents[7] = documents[40]  # a tie that the cut parts
    queries[0] = documents[7]
    index = MilvusIndex(chunk=25)
    index.about = {"model": "m", "corpus": "c"}
    found = index.build(documents, IDS).search(queries, 1)
    assert found[0][0][0] == "d7"
    expected = by_hand(documents, queries, 60)
    require_same(index.search(queries, 5), [own[:5] for own in expected])
    index.save(tmp_path)
    require_same(index.search(queries, 100), expected)
    again = load_index(tmp_path, about={"model": "m"})
    require_same(again.search(queries, 5), [own[:5] for own in expected])
    assert again.facts()["index_type"] == "FLAT"
    with pytest.raises(UsageError, match="of another model"):
        load_index(tmp_path, about={"model": "another"})
    with pytest.raises(UsageError, match=r"queries of another width .*expected \(Q, 16\)"):
        again.search(vectors(1, 0, 8), 1)


def test_sparse_answers_are_those_of_a_product():
    """Documents without a common term score 0, and are not found."""
    documents = sparse.random_array(
        (60, 300), density=0.05, format="csr", dtype=np.float32, rng=np.random.default_rng(0)
    )
    queries = sparse.random_array((3, 300), density=0.1, format="csr", dtype=np.float32, rng=np.random.default_rng(1))
    queries = sparse.vstack([queries, sparse.csr_array((1, 300), dtype=np.float32)], format="csr")
    index = MilvusIndex("dot").build(documents, IDS)
    expected = [
        [(key, score) for key, score in own if score > 0] for own in by_hand(documents.toarray(), queries.toarray(), 4)
    ]
    assert [len(own) for own in expected] == [4, 4, 4, 0]
    found = index.search(queries, 4)
    assert found[3] == []
    require_same(found[:3], expected[:3])


def test_a_stopped_build_goes_on_in_the_same_file(tmp_path, monkeypatch):
    """A hundred million vectors take days to send; another model's must not be taken for them."""
    documents, place = vectors(60, 0), str(tmp_path / "all.db")
    sent = []

    def stopped(self, rows, start):
        sent.append(start)
        if len(sent) == 3:
            raise KeyboardInterrupt
        return whole(self, rows, start)

    whole = MilvusIndex._part
    monkeypatch.setattr(MilvusIndex, "_part", stopped)
    with pytest.raises(KeyboardInterrupt):
        MilvusIndex(uri=place, chunk=20).build(documents, IDS)
    index = MilvusIndex(uri=place, chunk=20).build(documents, IDS)
    assert sent == [0, 20, 40, 40]
    require_same(index.search(documents[:2], 3), by_hand(documents, documents[:2], 3))
    other = MilvusIndex(uri=place, chunk=60).build(vectors(60, 5), IDS)
    assert other.facts()["collection"] != index.facts()["collection"]
    require_same(index.search(documents[:2], 3), by_hand(documents, documents[:2], 3))
    (tmp_path / "saved").mkdir()
    index.save(tmp_path / "saved")
    index._client.drop_collection(index.facts()["collection"])
    with pytest.raises(UsageError, match="Milvus has no collection"):
        load_index(tmp_path / "saved")


def test_a_server_that_is_gone_and_values_that_make_no_sense():
    """Milvus answers with pages of gRPC; one line says what to look at."""
    with pytest.raises(UsageError, match=r"http://127.0.0.1:9: MilvusIndex: Milvus does not") as caught:
        MilvusIndex(uri="http://127.0.0.1:9", timeout=0.5).build(vectors(60, 0), IDS)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="bad collection"):
        MilvusIndex(collection="two words")
    with pytest.raises(UsageError, match="document vector 0 is not of length 1"):
        MilvusIndex().build(2 * vectors(60, 0), IDS)


def test_an_index_that_is_not_saved_leaves_no_collection(tmp_path):
    """Each evaluation left a whole corpus in the server, until its disk was full."""
    place = str(tmp_path / "all.db")
    index = MilvusIndex(uri=place).build(vectors(60, 0), IDS)
    client, name = index._client, index.facts()["collection"]
    same = MilvusIndex(uri=place).build(vectors(60, 0), IDS)
    same.discard()  # it found the collection there
    assert client.has_collection(name)
    index.discard()
    assert not client.has_collection(name)
    kept = MilvusIndex(uri=place).build(vectors(60, 0), IDS)
    kept.save(tmp_path)
    kept.discard()
    assert client.has_collection(name)
