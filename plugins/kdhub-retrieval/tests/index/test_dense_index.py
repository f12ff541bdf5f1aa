"""`FaissIndex` with factory `Flat`: agreement with plain numpy, ties, saving, and vectors that must not be searched."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kdhub.errors import UsageError
from kdhub.sealed import write_sealed
from kdret.index.dense import FaissIndex
from kdret.index.exact import ordered, past_ties

few = settings(deadline=None, max_examples=25)


def units(rows, width=5, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(rows, width))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def names(rows):
    return [f"d{row}" for row in range(rows)]


@given(documents=st.integers(1, 40), k=st.integers(1, 50), seed=st.integers(0, 1000))
@few
def test_agrees_with_sorting_all_products(documents, k, seed):
    """The index is the reference for every approximate one to come: it must be exact."""
    vectors, queries = units(documents, seed=seed), units(3, seed=seed + 1)
    products = queries.astype(np.float32) @ vectors.astype(np.float32).T
    for ranking, scores in zip(
        FaissIndex(factory="Flat").build(vectors, names(documents)).search(queries, k), products, strict=True
    ):
        assert len(ranking) == min(k, documents)
        assert [int(key[1:]) for key, _ in ranking] == np.argsort(-scores, kind="stable")[:k].tolist()
        np.testing.assert_allclose([score for _, score in ranking], -np.sort(-scores)[:k], atol=1e-6)


@given(levels=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=60), k=st.integers(1, 60))
@few
def test_ties_keep_the_order_of_building(levels, k):
    """FAISS cuts a tie where its heap stood; rankings would differ between runs and machines."""
    vectors = np.array([[level, 1.0] for level in levels])
    (ranking,) = FaissIndex("dot").build(vectors, names(len(levels))).search(np.array([[1.0, 0.0]]), k)
    assert [int(key[1:]) for key, _ in ranking] == sorted(range(len(levels)), key=lambda row: -levels[row])[:k]


def test_save_and_load(tmp_path):
    """A saved index answers as the one in memory."""
    index = FaissIndex(factory="Flat").build(units(20), names(20))
    index.save(tmp_path)
    again = FaissIndex.load(tmp_path)
    assert len(again) == 20
    assert again.similarity == "cosine"
    assert again.search(units(4, seed=9), 5) == index.search(units(4, seed=9), 5)


def test_float16_and_non_contiguous_rows_are_taken(tmp_path):
    """FAISS itself reads the memory of such arrays as if it were something else, or refuses with a riddle."""
    vectors = units(10, 8)
    index = FaissIndex(factory="Flat").build(np.asfortranarray(vectors), names(10))
    expected = FaissIndex(factory="Flat").build(vectors.astype(np.float32), names(10)).search(vectors, 3)
    assert index.search(np.asfortranarray(vectors), 3) == expected
    assert len(FaissIndex(factory="Flat").build(vectors.astype(np.float16), names(10))) == 10


@pytest.mark.parametrize(
    ("vectors", "ids", "message"),
    [
        (2 * units(3), names(3), r"document vector 0 is not of length 1.*got length 2\).*similarity='dot'"),
        (np.array([[1.0, 0], [np.nan, 1]]), names(2), r"document vector 1 is not finite .*1 of 2 vectors"),
        (np.zeros((0, 4)), [], r"no usable document vectors"),
        (np.ones(4), ["a"], r"no usable document vectors .*got \(4,\)"),
        (units(3), names(2), r"3 different ids, got 2, 2 of them different"),
        (units(3), ["a", "b", "a"], r"got 3, 2 of them different; 'a' occurs twice"),
    ],
)
def test_vectors_that_would_rank_wrongly_are_refused(vectors, ids, message):
    """Inner products of unnormalised vectors are no cosines, and NaN ranks anywhere."""
    with pytest.raises(UsageError, match=message):
        FaissIndex(factory="Flat").build(vectors, ids)


def test_searching_wrongly():
    """Nothing indexed, another model's queries, no answers asked for."""
    with pytest.raises(UsageError, match="nothing is indexed"):
        FaissIndex().search(units(1), 3)
    index = FaissIndex(factory="Flat").build(units(3), names(3))
    with pytest.raises(UsageError, match=r"expected \(Q, 5\), got \(Q, 4\)"):
        index.search(units(1, 4), 3)
    with pytest.raises(UsageError, match="bad k"):
        index.search(units(1), 0)
    with pytest.raises(UsageError, match="did you mean 'cosine'"):
        FaissIndex("cosin")


def nan_in_a_vector(folder):
    """Overwrite the last number of the vectors, as a bad disk would."""
    content = bytearray((folder / "index.faiss").read_bytes())
    content[-4:] = np.float32(np.nan).tobytes()
    (folder / "index.faiss").write_bytes(content)


def another_id(folder):
    text = (folder / "ids.jsonl").read_text()
    (folder / "ids.jsonl").write_text(text.replace('"d1"', '"d7"'))


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:10])


@pytest.mark.parametrize(
    "damage",
    [
        nan_in_a_vector,
        another_id,
        cut("index.faiss"),
        cut("index.json"),
        lambda folder: (folder / "index.faiss").unlink(),
        lambda folder: write_sealed(folder / "index.json", {"similarity": "cosine", "ids": ["d0"]}),
    ],
    ids=["nan", "id", "cut vectors", "cut description", "no vectors", "an older kdhub's"],
)
def test_a_damaged_index_says_to_build_it_again(tmp_path, damage):
    """A NaN in the saved vectors gave one document twice, with a score of -3.4e38; a changed id gave a wrong answer."""
    with pytest.raises(UsageError, match="nothing to save"):
        FaissIndex().save(tmp_path)
    FaissIndex(factory="Flat").build(units(3), names(3)).save(tmp_path)
    damage(tmp_path)
    with pytest.raises(UsageError, match="build it again") as caught:
        FaissIndex.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_answer_that_faiss_does_not_have_is_never_an_id():
    """FAISS answers -1 for a product that overflows, and numpy takes row -1 for the last document."""
    index = FaissIndex("dot").build(np.array([[1.0, 0.0], [-3e38, 0.0]]), names(2))
    with pytest.raises(UsageError, match="some scores are not finite"):
        index.search(np.array([[3e38, 0.0]]), 2)


def test_only_the_queries_with_a_parted_tie_are_searched_again():
    """One query with many copies of a document made the search of a thousand others take twice as long."""
    chance = np.random.default_rng(0)
    vectors = chance.normal(size=(300, 8)).astype(np.float32)
    queries = chance.normal(size=(50, 8)).astype(np.float32)
    vectors[:, 7], queries[:, 7] = 0, 0
    vectors[100:140] = queries[7] = np.eye(8)[7]  # copies that no other query meets
    index = faiss.IndexFlatIP(8)
    index.add(vectors)
    asked = []

    class Counting:
        ntotal = index.ntotal

        def search(self, some, k):
            asked.append((len(some), k))
            return index.search(some, k)

    scores, rows = ordered(*past_ties(Counting(), queries, 10), 10)
    assert asked == [(50, 11), (1, 22), (1, 44)]
    assert rows[7].tolist() == list(range(100, 110))
    expected = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ vectors.T, expected, 1), rtol=1e-5)
