"""Approximate indexes: measured recall, effort, refinement, saving, and what cannot be built."""

import faiss
import numpy as np
import pytest

from kdhub.errors import UsageError
from kdret.index import dense
from kdret.index.dense import FaissIndex
from kdret.index.exact import by_pieces
from kdret.index.recall import Recall


def clustered(rows=2000, width=16, seed=0):
    """Unit vectors around 40 centres, as embeddings of topics are."""
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(40, width))
    vectors = centres[chance.integers(40, size=rows)] + 0.4 * chance.normal(size=(rows, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS, QUERIES = clustered(), clustered(50, seed=1)
NAMES = [f"d{row}" for row in range(len(VECTORS))]


def build(factory, **options):
    return FaissIndex(factory=factory, **options).build(VECTORS, NAMES, QUERIES)


def best(k=10):
    order = np.argsort(-(QUERIES @ VECTORS.T), axis=1, kind="stable")[:, :k]
    return [[NAMES[row] for row in rows] for rows in order]


def found(index, k=10):
    return [[key for key, _ in ranking] for ranking in index.search(QUERIES, k)]


def recall_at(k, found, true):
    """The mean share of the true best k among the found best k."""
    return float(np.mean([len(set(one[:k]) & set(other[:k])) / k for one, other in zip(found, true, strict=True)]))


@pytest.mark.parametrize("factory", ["IVF32,PQ4x4", "PQ8x4", "OPQ4,IVF32,PQ4x4", "IVF32,PQ4x4,RFlat"])
def test_codes_are_not_put_in_order(factory):
    """FAISS sorts code books for searches by Hamming distance, which kdret never makes: most of a build's time would be wasted."""
    whole, orders = build(factory, effort=4)._index, []
    part = whole  # which owns its parts
    while part is not None:
        part = faiss.downcast_index(part)
        orders.append(getattr(part, "do_polysemous_training", None))
        part = getattr(part, "index", None) or getattr(part, "base_index", None)
    assert set(orders) - {None} == {False}


@pytest.mark.parametrize("factory", ["IVF32,Flat", "IVF32,SQ8", "IVF32,PQ8x4", "HNSW16", "SQfp16", "OPQ4,IVF32,PQ4x4"])
def test_measured_recall_is_the_true_one(factory):
    """A recall that is stored with the index is believed for years."""
    index = build(factory, recall=0.9)
    assert index.recall.value == pytest.approx(recall_at(10, found(index), best()), abs=0.02)
    assert (index.recall.k, index.recall.queries, index.recall.kind) == (10, 50, "queries")
    assert not index.exact


def test_effort_rises_until_the_recall_is_reached():
    """FAISS searches one list by default, and finds a third of what it should."""
    poor = build("IVF32,Flat", effort=1)
    good = build("IVF32,Flat", recall=0.99)
    assert poor.recall.value < 0.99 <= good.recall.value
    assert poor.effort == 1 < good.effort <= 32


def test_all_lists_are_exact():
    """With every list searched nothing is left out; a difference would be an error of ids or of scores."""
    index = build("IVF32,Flat", effort=32)
    assert index.recall.value == 1.0
    exact = build("Flat").search(QUERIES, 10)
    for one, other in zip(index.search(QUERIES, 10), exact, strict=True):
        assert [key for key, _ in one] == [key for key, _ in other]
        np.testing.assert_allclose([score for _, score in one], [score for _, score in other], atol=1e-6)


def test_recall_does_not_fall_with_effort():
    """Otherwise doubling the effort until it suffices would never end well."""
    recalls = [build("IVF32,Flat", effort=effort).recall.value for effort in (1, 4, 16, 32)]
    assert recalls == sorted(recalls)


def test_codes_are_ranked_again_by_whole_vectors():
    """Four bytes a vector alone found half of the true best; their scores are those of other vectors."""
    blurred, refined = build("IVF32,PQ4x4", refine=0, effort=32), build("IVF32,PQ4x4", refine=20, effort=32)
    assert refined.recall.value > blurred.recall.value + 0.1
    for query, ranking in zip(QUERIES, refined.search(QUERIES, 5), strict=True):
        for key, score in ranking:
            assert score == pytest.approx(float(query @ VECTORS[NAMES.index(key)]), abs=1e-6)


def test_documents_stand_in_for_queries_and_do_not_find_themselves():
    """A document that finds itself would add a tenth to every recall."""
    index = FaissIndex(factory="IVF32,Flat", effort=1).build(VECTORS, NAMES)
    assert index.recall.kind == "documents"
    rows = np.sort(np.random.default_rng(0).permutation(2000)[:200])
    true = np.argsort(-(VECTORS[rows] @ VECTORS.T), axis=1)[:, :11]
    truth = [[f"d{row}" for row in own if row != self][:10] for self, own in zip(rows, true, strict=True)]
    answers = [
        [key for key, _ in ranking if key != f"d{self}"]
        for self, ranking in zip(rows, index.search(VECTORS[rows], 11), strict=True)
    ]
    assert index.recall.value == pytest.approx(recall_at(10, answers, truth), abs=1e-6)


def test_a_tie_with_the_last_true_answer_counts():
    """Duplicated texts tie, and an index that gives one of them for the other made no error."""
    vectors = np.repeat(clustered(20), 50, axis=0)
    index = FaissIndex(factory="IVF4,Flat", effort=4).build(vectors, range(1000))
    assert index.recall.value == 1.0


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("factory", ["Flat", "IVF32,Flat", "IVF32,SQ8", "HNSW16"])
def test_save_and_load_with_and_without_mapping(tmp_path, factory, mmap):
    """An index that answers otherwise after it was saved is another index."""
    index = build(factory)
    index.about = {"model": "m", "corpus": "c"}
    index.save(tmp_path)
    again = FaissIndex.load(tmp_path, mmap=mmap, about={"model": "m", "corpus": "c"})
    assert again.search(QUERIES, 7) == index.search(QUERIES, 7)
    assert again.facts() == index.facts()
    for about, message in (({"model": "x"}, "another model"), ({"corpus": "x"}, "another corpus")):
        with pytest.raises(UsageError, match=message):
            FaissIndex.load(tmp_path, about=about)


def test_the_same_twice():
    """Training draws a sample: another one each time would move every number that is measured."""
    one, two = (build("IVF32,SQ8", seed=3) for _ in range(2))
    assert one.search(QUERIES, 10) == two.search(QUERIES, 10)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("Flt", "cannot make 'Flt'"),
        ("IVF5000,Flat", r"cannot make 'IVF5000,Flat' for 2000 vectors of width 16"),
        ("IVF4,PQ7", "cannot make 'IVF4,PQ7'"),
        ("IDMap2,Flat", "ids are kept beside the index"),
        ("CAGRA", "CAGRA needs a GPU and FAISS with cuVS"),
    ],
)
def test_factories_that_cannot_be_built(factory, message):
    """FAISS tells of its own source lines; the user needs the string and the figures."""
    with pytest.raises(UsageError, match=message) as caught:
        build(factory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"prefer": "fast"}, {"device": "tpu"}, {"memory": 0}, {"effort": 0}, {"refine": -1}, {"recall": "much"}],
)
def test_settings_that_make_no_sense(options):
    """A setting that is quietly ignored is found by whoever trusts the numbers."""
    with pytest.raises(UsageError, match=f"FaissIndex: bad {next(iter(options))}"):
        FaissIndex(**options)


def test_what_is_built_is_said_first(monkeypatch):
    """The reason of a choice and the recall of its outcome are what a reader of the log needs."""
    lines = []
    monkeypatch.setattr(dense, "tell", lines.append)
    build("auto")
    build("IVF32,PQ4x4", refine=0)
    assert lines[0].startswith("index Flat for 2000 vectors of width 16: 125 KiB in memory")
    assert "exact search is affordable" in lines[0]
    assert "as asked for" in lines[1]
    assert "with nprobe 32; less than the 0.95 asked for" in lines[2]


@pytest.mark.parametrize("size", [1, 7, 300, 1000])
def test_pieces_equal_the_whole(size):
    """A corpus larger than the memory is searched in pieces; ties across their borders must keep their order."""
    vectors = np.round(clustered(1000), 1)
    products = QUERIES @ vectors.T
    scores, rows = by_pieces(QUERIES, vectors, 12, size)
    expected = np.argsort(-products, axis=1, kind="stable")[:, :12]
    np.testing.assert_allclose(scores, np.take_along_axis(products, expected, 1), atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(products, rows, 1), scores, atol=1e-5)
    assert all(len(set(own)) == 12 for own in rows)


def test_pieces_keep_equal_scores_in_order():
    """FAISS answers equal vectors in any order: ten documents, of which one is twice as long, as on the card."""
    vectors = np.zeros((10, 4), np.float32)
    vectors[:, 0] = 1
    vectors[7] *= 2
    query = np.eye(4, dtype=np.float32)[:1]
    for size in (3, 5, 10):
        assert by_pieces(query, vectors, 4, size)[1].tolist() == [[7, 0, 1, 2]]
    (ranking,) = FaissIndex("dot", factory="Flat").build(vectors, range(10)).search(query, 4)
    assert [key for key, _ in ranking] == ["7", "0", "1", "2"]


def test_recall_of_fewer_documents_than_its_depth():
    """With three documents there are no ten best."""
    index = FaissIndex(factory="SQfp16").build(VECTORS[:3], NAMES[:3])
    assert index.recall == Recall(1.0, 2, 3, "documents")
    assert FaissIndex(factory="SQfp16").build(VECTORS[:1], NAMES[:1]).recall.value == 1.0


def test_building_again_chooses_and_measures_again():
    """What was right for the first corpus would stay with the second one: too few lists, or an effort beyond them."""
    index = FaissIndex(prefer="speed").build(VECTORS[:100], NAMES[:100])
    index.memory = 2e-4  # GiB; codes of 8 bits fit, floats do not
    again = index.build(VECTORS, NAMES, QUERIES)
    assert again.factory == "IVF51,SQ8"
    assert len(again) == 2000
    with pytest.raises(UsageError, match="does not fit"):
        FaissIndex(memory=1e-6).build(VECTORS, NAMES)


@pytest.mark.parametrize("k", [1, 3, 7, 19])
def test_a_tie_at_the_cut_of_an_approximate_index_keeps_its_order(k):
    """Which of ten equal documents are among the best three must not depend on where FAISS's heap stood."""
    vectors = np.repeat(np.eye(2, dtype=np.float32), 10, axis=0)
    index = FaissIndex(factory="IVF1,Flat").build(vectors, range(20))
    (ranking,) = index.search(np.array([[0.6, 0.8]]), k)
    assert [int(key) for key, _ in ranking] == [*range(10, 20), *range(10)][:k]
