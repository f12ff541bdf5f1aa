"""`MaxSimIndex`: numbers by hand, agreement with brute force, saving, and texts without tokens."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kdhub.errors import UsageError
from kdret.index import load_index
from kdret.index.late import MaxSimIndex

few = settings(deadline=None, max_examples=25)


def texts(count, seed, longest=6, width=8):
    chance = np.random.default_rng(seed)
    drawn = [chance.normal(size=(chance.integers(1, longest + 1), width)) for _ in range(count)]
    return [one / np.linalg.norm(one, axis=1, keepdims=True) for one in drawn]


def brute(query, documents, k):
    scores = np.array([(query @ one.T).max(axis=1).sum() for one in documents])
    order = np.argsort(-scores, kind="stable")[:k]
    return order.tolist(), scores[order]


def test_maxsim_by_hand():
    """Each query token takes its best document token: 1 + 0.8 for a, 0.6 + 1 for b."""
    a, b = np.array([[1.0, 0.0], [0.6, 0.8]]), np.array([[0.6, -0.8], [0.0, 1.0]])
    (ranking,) = MaxSimIndex().build([a, b], ["a", "b"]).search([np.eye(2)], 2)
    assert [key for key, _ in ranking] == ["a", "b"]
    np.testing.assert_allclose([score for _, score in ranking], [1.8, 1.6], rtol=1e-6)


@given(
    count=st.integers(1, 60), k=st.integers(1, 70), seed=st.integers(0, 500), candidates=st.sampled_from([None, 400])
)
@few
def test_late_interaction_agrees_with_brute_force(count, k, seed, candidates):
    """Tokens of neighbouring documents lie side by side; one place off and a document takes another's best."""
    documents, queries = texts(count, seed), texts(3, seed + 1)
    index = MaxSimIndex(candidates=candidates).build(documents, range(count))
    for query, ranking in zip(queries, index.search(queries, k), strict=True):
        order, scores = brute(query, documents, k)
        np.testing.assert_allclose([score for _, score in ranking], scores, atol=1e-5)
        assert {int(key) for key, _ in ranking} == set(order)


def test_tokens_have_no_ids_of_their_own(tmp_path):
    """A text for each of 600 million tokens took 40 GB beside an index that holds none of them."""
    documents = [np.tile(one, (40, 1)) for one in texts(300, 1)]
    index = MaxSimIndex(factory="Flat").build(documents, range(300))
    index.save(tmp_path)
    for one in (index, load_index(tmp_path, mmap=True)):
        assert len(one._finder) == sum(map(len, documents))
        assert sys.getsizeof(one._finder.ids) < 100
    assert load_index(tmp_path).search(documents[:5], 9) == index.search(documents[:5], 9)


def test_few_candidates_still_score_exactly():
    """Candidates decide who is ranked, never with what score."""
    documents, queries = texts(300, 1), texts(10, 2)
    found = MaxSimIndex(candidates=8).build(documents, range(300)).search(queries, 5)
    for query, ranking in zip(queries, found, strict=True):
        for key, score in ranking:
            assert score == pytest.approx((query @ documents[int(key)].T).max(axis=1).sum(), abs=1e-5)
    shared = [
        len({int(key) for key, _ in one} & set(brute(query, documents, 5)[0]))
        for query, one in zip(queries, found, strict=True)
    ]
    assert sum(shared) > 0.6 * 50


def test_documents_are_scored_in_parts(monkeypatch):
    """All tokens of a large corpus at once would not fit into the memory."""
    documents, queries = texts(50, 3), texts(4, 4)
    index = MaxSimIndex(candidates=None).build(documents, range(50))
    expected = index.search(queries, 50)
    monkeypatch.setattr("kdret.index.late._TOKENS_AT_ONCE", 7)
    for one, other in zip(index.search(queries, 50), expected, strict=True):
        assert [key for key, _ in one] == [key for key, _ in other]


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("options", [{"candidates": None}, {"factory": "IVF4,SQ8", "effort": 4}], ids=str)
def test_a_saved_late_index_answers_as_before(tmp_path, mmap, options):
    """The index over tokens is a part of another index, and must come back with it."""
    documents, queries = texts(200, 5), texts(4, 6)
    index = MaxSimIndex(**options).build(documents, [f"d{row}" for row in range(200)])
    index.save(tmp_path)
    again = load_index(tmp_path, mmap=mmap)
    assert again.search(queries, 7) == index.search(queries, 7)
    assert again.facts() == index.facts()


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([np.eye(2), np.zeros((0, 2))], r"document 1 has no tokens .*got \(0, 2\)"),
        ([np.eye(2), np.ones(2)], r"document 1 has no tokens .*got \(2,\)"),
        ([np.eye(2), np.eye(3)], "different widths in one document list .*2, 3"),
        ([np.eye(2), 2 * np.eye(2)], "is not of length 1"),
        ([np.eye(2), np.eye(2) * np.nan], "is not finite"),
    ],
)
@pytest.mark.parametrize("candidates", [None, 4])
def test_tokens_that_cannot_be_searched(documents, message, candidates):
    """An empty text has no best token, and its score would be that of a neighbour."""
    with pytest.raises(UsageError, match=message):
        MaxSimIndex(candidates=candidates).build(documents, ["a", "b"])


def test_late_queries_of_another_width():
    """Another model's queries give products all the same if nobody compares the widths."""
    index = MaxSimIndex().build([np.eye(3)], ["a"])
    with pytest.raises(UsageError, match=r"expected \(Q, 3\), got \(Q, 2\)"):
        index.search([np.eye(2)], 1)
    with pytest.raises(UsageError, match="nothing is indexed"):
        MaxSimIndex().search([np.eye(2)], 1)
    with pytest.raises(UsageError, match="bad candidates"):
        MaxSimIndex(candidates=0)
