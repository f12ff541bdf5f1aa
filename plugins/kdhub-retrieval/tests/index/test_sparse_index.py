"""`SparseIndex`: the ranking of the dense product, explicit zeros, ties, saving, and vectors that must not be searched."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse

from kdhub.errors import UsageError
from kdret.index.sparse import SparseIndex

few = settings(deadline=None, max_examples=25)


def drawn(rows, terms, density, seed, signed=False):
    """Weights whose first terms are in most rows, as stop words are."""
    chance = np.random.default_rng(seed)
    often = np.minimum(1.0, density * terms / (1 + np.arange(terms)))
    weights = chance.gamma(2.0, 0.5, size=(rows, terms)) * (chance.random((rows, terms)) < often)
    return (weights * chance.choice([-1, 1], size=weights.shape) if signed else weights).astype(np.float32)


def expected(queries, documents, k):
    products = queries.astype(np.float64) @ documents.astype(np.float64).T
    return np.argsort(-products, axis=1, kind="stable")[:, :k], -np.sort(-products, axis=1)[:, :k]


def names(rows):
    return [f"d{row}" for row in range(rows)]


@given(
    rows=st.integers(1, 400),
    terms=st.integers(1, 40),
    density=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    k=st.integers(1, 450),
    seed=st.integers(0, 1000),
    signed=st.booleans(),
)
@few
def test_the_ranking_is_that_of_the_dense_product(rows, terms, density, k, seed, signed):
    """Lists, columns and rough scores are shortcuts; none may change an answer."""
    documents, queries = drawn(rows, terms, density, seed, signed), drawn(4, terms, 0.3, seed + 1, signed)
    index = SparseIndex().build(sparse.csr_matrix(documents), names(rows))
    order, scores = expected(queries, documents, k)
    for ranking, own, values in zip(index.search(sparse.csr_matrix(queries), k), order, scores, strict=True):
        np.testing.assert_allclose([score for _, score in ranking], values, rtol=1e-5, atol=1e-6)
        assert [key for key, _ in ranking] == [f"d{row}" for row in own]


def test_card_example_of_a_random_matrix():
    """100 documents over 50 terms equal the dense product, and every answer is a document."""
    documents = drawn(100, 50, 0.1, 7)
    index = SparseIndex().build(sparse.csc_matrix(documents), range(100))
    order, _ = expected(documents[:5], documents, 10)
    assert [[int(key) for key, _ in one] for one in index.search(documents[:5], 10)] == order.tolist()


def test_many_documents_and_a_small_k_take_the_shortcut():
    """Only with many blocks of documents is the k-th score guessed from below."""
    documents, queries = drawn(20_000, 60, 0.1, 1), drawn(6, 60, 0.2, 2)
    order, _ = expected(queries, documents, 20)
    found = SparseIndex().build(documents, range(20_000)).search(queries, 20)
    assert [[int(key) for key, _ in one] for one in found] == order.tolist()


@given(levels=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=300), k=st.integers(1, 60))
@few
def test_sparse_ties_keep_the_order_of_building(levels, k):
    """Documents with the same weights, and those with none of the query's terms, tie in large numbers."""
    documents = np.array([[level, 1.0] for level in levels])
    (ranking,) = SparseIndex().build(documents, names(len(levels))).search(np.array([[1.0, 0.0]]), k)
    assert [int(key[1:]) for key, _ in ranking] == sorted(range(len(levels)), key=lambda row: -levels[row])[:k]


def test_explicit_zeros_and_repeated_entries():
    """A stored zero is no term: it made a term look frequent, and its document a match."""
    zeros = sparse.csr_matrix((np.array([0.0, 2.0, 0.0]), np.array([0, 1, 1]), np.array([0, 1, 2, 3])), shape=(3, 2))
    twice = sparse.coo_matrix((np.array([1.0, 1.0]), (np.array([1, 1]), np.array([1, 1]))), shape=(3, 2))
    query = np.array([[1.0, 3.0]])
    for documents in (zeros, twice):
        index = SparseIndex().build(documents, names(3))
        assert index.search(query, 3) == [[("d1", 6.0), ("d0", 0.0), ("d2", 0.0)]]
        assert index.facts()["entries"] == pytest.approx(1 / 3, abs=0.05)
    assert zeros.nnz == 3, "the caller's matrix must stay as it was"


@pytest.mark.parametrize(("terms", "density"), [(8000, 0.05), (8000, 0.001), (60, 0.9)])
def test_the_plan_is_what_building_takes(terms, density):
    """The plan named the finished index alone; building took up to three times as much, and the system ended the process."""
    # few frequent terms among many rare ones, rare ones alone, and frequent ones alone
    documents = sparse.random_array((4000, terms), density=density, format="csr", dtype=np.float32, rng=0)
    documents.data += 0.1
    if density == 0.05:
        documents = sparse.hstack([documents, np.ones((4000, 9), np.float32)], format="csr")
    ids = names(4000)
    tracemalloc.start()
    try:
        SparseIndex(memory=9.0).build(documents, ids)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    with pytest.raises(UsageError, match="does not fit"):
        SparseIndex(memory=peak * 0.99 / 2**30).build(documents, ids)
    SparseIndex(memory=peak * 1.5 / 2**30).build(documents, ids)  # nor is it a number that fits nothing


@pytest.mark.parametrize("mmap", [False, True])
def test_a_saved_sparse_index_answers_as_before(tmp_path, mmap):
    """Nine arrays that belong together are easily mixed up."""
    documents, queries = drawn(300, 30, 0.2, 3), drawn(4, 30, 0.3, 4)
    index = SparseIndex().build(documents, names(300))
    index.about = {"model": "m"}
    index.save(tmp_path)
    again = SparseIndex.load(tmp_path, mmap=mmap, about={"model": "m"})
    assert again.search(queries, 9) == index.search(queries, 9)
    assert again.facts() == index.facts()
    with pytest.raises(UsageError, match="another model"):
        SparseIndex.load(tmp_path, about={"model": "n"})
    (tmp_path / "row_weights.npy").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"row_weights.npy does not match its checksum.* -> build it again"):
        SparseIndex.load(tmp_path, mmap=mmap)


@pytest.mark.parametrize(
    ("vectors", "options", "message"),
    [
        (np.array([[1.0, 0], [np.nan, 1]]), {}, "document vector 1 is not finite"),
        (sparse.csr_matrix((0, 4)), {}, "no usable document vectors"),
        (2 * np.eye(2), {"similarity": "cosine"}, r"vector 0 is not of length 1.*got length 2"),
        (np.eye(3), {}, r"expected 3 different ids, got 2"),
        (
            np.eye(2),
            {"memory": 1e-9},
            r"does not fit into memory \(expected at most 1 bytes, got 160 bytes and 18 bytes to build it",
        ),
    ],
)
def test_sparse_vectors_that_cannot_be_searched(vectors, options, message):
    """The same promises as for dense vectors, and as one line."""
    with pytest.raises(UsageError, match=message):
        SparseIndex(**options).build(vectors, ["a", "b"])


def test_sparse_queries_of_another_vocabulary():
    """Another tokenizer's terms would be looked up under the numbers of these."""
    index = SparseIndex().build(np.eye(3), names(3))
    with pytest.raises(UsageError, match=r"expected \(Q, 3\), got \(Q, 4\)"):
        index.search(np.eye(4), 1)
    with pytest.raises(UsageError, match="nothing is indexed"):
        SparseIndex().search(np.eye(3), 1)
    with pytest.raises(UsageError, match="bad k"):
        index.search(np.eye(3), 0)
