"""`IRMetric`: numbers by hand, and evaluations that would be quietly wrong."""

import math

import numpy as np
import pytest
import scipy.sparse

from kdhub.errors import UsageError
from kdhub.sealed import read_sealed
from kdret.data.score_files import read_lists
from kdret.metric import IRMetric
from kdret.runs import write_run

AXES = np.eye(4, dtype=np.float32)


def towards(*weights):
    vector = np.array(weights, dtype=np.float32)
    return vector / np.linalg.norm(vector)


QUERIES = {"q1": towards(4, 3, 2, 1), "q2": towards(1, 2, 3, 4)}
DOCUMENTS = {"a": AXES[0], "b": AXES[1], "c": AXES[2], "d": AXES[3]}
QRELS = {"q1": {"b": 1}, "q2": {"d": 1, "a": 1}}


def evaluate(metric, queries=QUERIES, documents=DOCUMENTS, meta=None):
    samples = [{"column": "query", "id": key, "embedding": value} for key, value in queries.items()]
    samples += [{"column": "document", "id": key, "embedding": value} for key, value in documents.items()]
    metric.dataset_meta = meta or {"qrels": QRELS, "n_queries": 2, "n_documents": 4}
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def test_numbers_by_hand():
    """q1 finds b at rank 2; q2 finds d at rank 1 and a at rank 4: a wrong join of ids shows here."""
    found = evaluate(IRMetric(["nDCG@10", "MRR@10", "recall@2", "nDCG@3"]))
    ideal = 1 + 1 / math.log2(3)
    assert found == {
        "retrieval/nDCG@10": pytest.approx((1 / math.log2(3) + (1 + 1 / math.log2(5)) / ideal) / 2),
        "retrieval/MRR@10": pytest.approx((1 / 2 + 1) / 2),
        "retrieval/recall@2": pytest.approx((1 + 1 / 2) / 2),
        "retrieval/nDCG@3": pytest.approx((1 / math.log2(3) + 1 / ideal) / 2),
    }


def test_it_keeps_what_each_query_found():
    """The report names the queries that changed; a value beside another query's id would send its reader astray."""
    metric = IRMetric(["MRR@10", "recall@2"])
    evaluate(metric)
    assert metric.found.measure == "MRR@10"
    assert metric.found.values == {"q1": 0.5, "q2": 1.0}
    assert metric.found.best == {"q1": ["a", "b", "c", "d"], "q2": ["d", "c", "b", "a"]}


def test_measures_of_each_query_are_kept(tmp_path):
    """A paired test over queries with the values of one query under another's id would say anything."""
    path = tmp_path / "new/queries.json"
    found = evaluate(IRMetric(["MRR@10", "RR@10", "recall@2"], per_query=str(path)))
    kept = read_sealed(path)
    assert kept["retrieval/MRR@10"] == kept["retrieval/RR@10"] == {"q1": 0.5, "q2": 1.0}
    assert kept["retrieval/recall@2"] == {"q1": 1.0, "q2": 0.5}
    assert {name: sum(own.values()) / 2 for name, own in kept.items()} == pytest.approx(found)


def test_names_of_ir_measures_work_too():
    """RR and R are the library's names, MRR and recall the papers'."""
    found = evaluate(IRMetric(["RR@10", "MRR@10", "R@2", "recall@2", "AP", "P@1", "precision@1"], prefix="ir"))
    assert found["ir/RR@10"] == found["ir/MRR@10"]
    assert found["ir/R@2"] == found["ir/recall@2"]
    assert found["ir/P@1"] == found["ir/precision@1"] == 0.5
    assert found["ir/AP"] == pytest.approx((1 / 2 + (1 + 2 / 4) / 2) / 2)


TIED = {"a": AXES[0], "b": AXES[0], "c": AXES[0], "d": AXES[1]}
"""Three documents of one text; the measures below cut through their tie."""


def evaluate_tied(measures, relevant, documents=TIED):
    meta = {"qrels": {"q": {relevant: 1}}, "n_queries": 1, "n_documents": 4}
    return evaluate(IRMetric(measures), {"q": towards(4, 3, 0, 0)}, documents, meta)


def test_order_of_evaluation_does_not_matter():
    """Batching and the number of processes must not move a metric, least of all where a cut-off parts equal scores."""
    backwards = {key: TIED[key] for key in reversed(TIED)}
    for relevant in "abcd":
        found = evaluate_tied(["nDCG@1", "recall@2"], relevant)
        assert found == evaluate_tied(["nDCG@1", "recall@2"], relevant, backwards)


@pytest.mark.parametrize(("relevant", "rank"), [("c", 1), ("b", 2), ("a", 3), ("d", 4)])
def test_equal_scores_rank_from_the_last_id_in_every_measure(relevant, rank):
    """Alone nDCG@1 was 0 and beside AP it was 1: the cut-off came first. MRR and nDCG ordered one tie differently."""
    expected = {
        "nDCG@1": float(rank == 1),
        "nDCG@10": 1 / math.log2(1 + rank),
        "MRR@10": 1 / rank,
        "RR": 1 / rank,
        "recall@2": float(rank <= 2),
        "P@1": float(rank == 1),
        "AP": 1 / rank,
    }
    together = evaluate_tied(list(expected), relevant)
    for name, value in expected.items():
        assert together[f"retrieval/{name}"] == pytest.approx(value), name
        assert evaluate_tied([name], relevant)[f"retrieval/{name}"] == pytest.approx(value), name


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_a_collapsed_encoder_is_named_and_not_measured(noise):
    """A constant encoder got a score that only told the order of the ids, and rounding must not hide it."""
    jitter = np.random.default_rng(0).uniform(-noise, noise, (4, 4)).astype(np.float32)
    same = {key: towards(1, 2, 3, 4) + shift for key, shift in zip("abcd", jitter, strict=True)}
    with pytest.raises(UsageError, match=r"same score for every query, so the encoder has collapsed"):
        evaluate(IRMetric(["nDCG@1"]), documents=same)
    with pytest.raises(UsageError, match=r"collapsed"):
        evaluate(IRMetric(["nDCG@1"]), {key: towards(1, 1, 1, 1) for key in QUERIES})
    one_query_ties = QUERIES | {"q2": towards(1, 1, 1, 1)}
    assert evaluate(IRMetric(["nDCG@1"]), one_query_ties)


def test_a_query_that_is_a_document_does_not_find_itself():
    """ArguAna and Quora: every query would rank itself first, and every measure would be lower than BEIR's."""
    documents = {"q1": QUERIES["q1"]} | DOCUMENTS
    meta = {"qrels": QRELS, "n_queries": 2, "n_documents": 5}
    for told in ({}, {"own_documents": {"q1"}}):
        found = evaluate(IRMetric(["MRR@10", "recall@2"]), documents=documents, meta=meta | told)
        assert found == evaluate(IRMetric(["MRR@10", "recall@2"]))
    kept = evaluate(IRMetric(["MRR@10"]), documents=documents, meta=meta | {"own_documents": ()})
    assert kept["retrieval/MRR@10"] == pytest.approx((1 / 3 + 1) / 2)


def test_an_equal_id_that_is_judged_relevant_is_found():
    """Where ids are mere numbers, leaving out the query's number would lose the right answer."""
    documents = {"q1": towards(4, 3, 2, 0)} | DOCUMENTS
    meta = {"qrels": QRELS | {"q1": {"q1": 1}}, "n_queries": 2, "n_documents": 5}
    assert evaluate(IRMetric(["MRR@10"]), documents=documents, meta=meta)["retrieval/MRR@10"] == 1.0


def test_a_text_encoded_twice_counts_once():
    """Distributed samplers pad with repeated samples."""
    metric = IRMetric()
    metric.dataset_meta = {"qrels": QRELS, "n_queries": 2, "n_documents": 4}
    rows = [("query", key, value, 0.1) for key, value in QUERIES.items()]
    rows += [("document", key, value, 0.1) for key, value in DOCUMENTS.items()]
    assert metric.compute_metrics(rows + rows[:3]) == metric.compute_metrics(rows)


def test_missing_texts_are_noticed():
    """A dropped last batch would raise every metric: there is less to confuse."""
    with pytest.raises(UsageError, match=r"embeddings of document texts are missing \(expected 4, got 3\)"):
        evaluate(IRMetric(), documents={key: DOCUMENTS[key] for key in "abc"})


def test_a_dataset_without_judgements_is_named():
    """`kdret.Pairs` as validation set is the obvious mistake."""
    with pytest.raises(UsageError, match=r"kdret\.RetrievalSplit, got metainfo with split"):
        evaluate(IRMetric(), meta={"split": "dev"})


def test_unnormalised_embeddings_are_not_taken_for_cosines():
    """They would rank by length."""
    long = {key: 2 * value for key, value in DOCUMENTS.items()}
    with pytest.raises(UsageError, match="not of length 1"):
        evaluate(IRMetric(), documents=long)
    assert evaluate(IRMetric(similarity="dot"), documents=long) == evaluate(IRMetric())


@pytest.mark.parametrize("name", ["nDGC@10", "nDCG@x", "nDCG@0", "", "recall at 10"])
def test_an_unknown_measure_is_refused_before_encoding(name):
    """Encoding a corpus takes minutes; a typing error must not cost them."""
    with pytest.raises(UsageError, match="no measure"):
        IRMetric([name])


def test_other_impossible_settings_are_refused_too():
    """A setting that cannot work must be refused when it is built, not after an epoch of training."""
    with pytest.raises(UsageError, match="no measures"):
        IRMetric([])
    with pytest.raises(UsageError, match="did you mean 'cosine'"):
        IRMetric(similarity="cosne")


def test_speed_counts_documents_only():
    """Queries are short: counted in, they would make any encoder look fast."""
    metric = IRMetric(["nDCG@10"], speed=True)
    rows = [("query", key, value, 9.0) for key, value in QUERIES.items()]
    rows += [("document", key, value, 0.1) for key, value in DOCUMENTS.items()]
    metric.dataset_meta = {"qrels": QRELS, "n_queries": 2, "n_documents": 4}
    found = metric.compute_metrics(rows)
    assert found["documents_per_second"] == pytest.approx(10.0)
    assert found["query_ms"] == pytest.approx(9000.0, abs=500)  # and the search


@pytest.mark.parametrize(
    "index",
    [
        {"type": "kdret.FaissIndex", "factory": "IVF1,Flat"},
        {"type": "kdret.FaissIndex"},
        {"type": "kdret.SparseIndex"},
    ],
    ids=lambda index: " ".join(index.values()),
)
def test_the_index_of_a_config_ranks_as_exact_search(index):
    """Each searches everything here, so measures may not move; a second evaluation must find a new index."""
    metric = IRMetric(["nDCG@10", "MRR@10", "recall@2"], index=index)
    expected = evaluate(IRMetric(["nDCG@10", "MRR@10", "recall@2"]))
    for _ in range(2):
        assert evaluate(metric) == pytest.approx(expected)


def test_ties_keep_their_order_in_every_index():
    """trec_eval's order of equal scores is part of the measure."""
    for index in ({"type": "kdret.FaissIndex", "factory": "IVF1,Flat"}, {"type": "kdret.SparseIndex"}):
        meta = {"qrels": {"q": {"c": 1}}, "n_queries": 1, "n_documents": 4}
        metric = IRMetric(["nDCG@1"], index=index)
        assert evaluate(metric, {"q": towards(4, 3, 0, 0)}, TIED, meta)["retrieval/nDCG@1"] == 1.0


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"type": "kdret.FaissIndex", "factroy": "Flat"}, "factroy"),
        ({"type": "kdret.FaissIdnex"}, "FaissIndex"),
        ({"type": "kdret.FaissIndex", "effort": 0}, "bad effort"),
    ],
)
def test_an_impossible_index_is_refused_before_encoding(index, message):
    """Encoding a corpus takes minutes; a typing error must not cost them."""
    with pytest.raises(UsageError, match=message):
        IRMetric(index=index)


def test_the_index_of_an_evaluation_is_given_back(monkeypatch):
    """A server kept the documents of every evaluation of every run."""
    discarded = []
    monkeypatch.setattr("kdret.index.dense.FaissIndex.discard", lambda self: discarded.append(len(self)))
    evaluate(IRMetric(["RR@10"]))
    assert discarded == [4]


def test_fused_rankings_by_hand(tmp_path):
    """DiSCo's student with its teacher on the rewrite: a run joined to another query's ranking would still look plausible."""
    run = tmp_path / "teacher.trec"
    run.write_text("q2 Q0 a 1 9.0 x\nq1 Q0 d 2 3.0 x\nq1 Q0 b 1 4.0 x\nq9 Q0 z 1 1.0 x\n")
    metric = IRMetric(["MRR@10", "recall@2"], fuse=str(run))
    # q1: b 1/62 + 1/61, d 1/64 + 1/62, a 1/61, c 1/63; q2: a 1/64 + 1/61, d 1/61, c 1/62, b 1/63
    assert evaluate(metric) == {"retrieval/MRR@10": 1.0, "retrieval/recall@2": 1.0}
    assert metric.found.best == {"q1": ["b", "d", "a", "c"], "q2": ["a", "d", "c", "b"]}


def test_a_run_that_was_written_can_be_fused(tmp_path):
    """A run as deep as the shortest measure lacks what the fusion would have brought up."""
    path = tmp_path / "new/own.run"
    plain = IRMetric(["MRR@1"], run=str(path))
    assert evaluate(plain)["retrieval/MRR@1"] == 0.5
    written = {query: scores for _, query, scores in read_lists(path)}
    assert {query: list(scores) for query, scores in written.items()} == plain.found.best
    assert written["q1"]["a"] == pytest.approx(4 / math.sqrt(30))
    twice = IRMetric(["MRR@1"], fuse=[str(path), str(path)])
    assert evaluate(twice)["retrieval/MRR@1"] == 0.5
    assert twice.found.best == plain.found.best


def test_a_query_that_found_nothing_can_be_fused(tmp_path, monkeypatch):
    """`kdret.SeismicIndex` finds nothing for a query without a word of any document: it has no line, and kdhub refused its own file."""
    path = tmp_path / "own.run"
    write_run(path, {"q1": [("b", 3.0), ("d", 2.0), ("a", 2.0), ("c", 1.0)], "q2": []})
    told = []
    monkeypatch.setattr("kdret.runs.tell", lambda line, warn: told.append(line))
    fused = IRMetric(["MRR@10"], fuse=[str(path)])
    # q1: a 1/61 + 1/63, b 1/62 + 1/61, c 1/63 + 1/64, d 1/64 + 1/62; q2: its own ranking
    assert evaluate(fused) == {"retrieval/MRR@10": 1.0}
    assert fused.found.best == {"q1": ["b", "a", "d", "c"], "q2": ["d", "c", "b", "a"]}
    assert told == [f"{path} ranks nothing for 1 of 2 queries"]


def test_a_querys_own_document_takes_no_rank_in_a_fusion(tmp_path):
    """ArguAna: a run of another program begins with the query itself, and each other document lost a rank in that run alone."""
    path = tmp_path / "other.run"
    path.write_text("q1 Q0 q1 1 9.0 x\nq1 Q0 b 2 8.0 x\nq1 Q0 a 3 7.0 x\nq2 Q0 d 1 1.0 x\n")
    metric = IRMetric(["MRR@10"], fuse=[str(path)])
    meta = {"qrels": QRELS, "n_queries": 2, "n_documents": 5}
    evaluate(metric, documents={"q1": QUERIES["q1"]} | DOCUMENTS, meta=meta)
    # a 1/61 + 1/62 and b 1/62 + 1/61 are equal; with the query at rank 1, a 1/61 + 1/63 would be above b 1/62 + 1/62
    assert metric.found.best["q1"] == ["b", "a", "c", "d"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("q7 Q0 a 1 1.0 x\n", r"a run of other queries .*queries such as 'q1', got none of the split's 2 queries"),
        ("q1 Q0 e 1 1.0 x\nq2 Q0 a 1 1.0 x\n", r"run:1: a ranking of another corpus \(got document 'e'"),
        (None, r"no run to fuse with"),
    ],
)
def test_a_run_of_something_else_is_refused(tmp_path, monkeypatch, lines, message):
    """Fused with a run of another split, queries would keep the student's own ranking, and an index of hours would be built first."""
    path = tmp_path / "other.run"
    if lines is not None:
        path.write_text(lines)
    with pytest.raises(UsageError, match=message), monkeypatch.context() as patch:
        patch.setattr("kdret.index.dense.FaissIndex.build", lambda *given: pytest.fail("an index was built first"))
        evaluate(IRMetric(["MRR@10"], fuse=[str(path)]))
    with pytest.raises(UsageError, match="end of run"):
        IRMetric(run="ranking.json")


TEXTS = {
    "kdret.SparseIndex": lambda vector: scipy.sparse.csr_array(vector[None]),
    "kdret.SeismicIndex": lambda vector: scipy.sparse.csr_array(vector[None]),
    "kdret.MaxSimIndex": lambda vector: np.stack([vector, vector[::-1]]),
    "kdret.ShardedIndex": lambda vector: vector,
}


@pytest.mark.parametrize("kind", TEXTS)
def test_every_kind_of_index_ranks_an_evaluation(kind):
    """An index that was never tried with a metric fails after the first epoch. Few texts leave little to miss."""
    if kind == "kdret.SeismicIndex":
        pytest.importorskip("seismic", reason="pip install 'kdhub-retrieval[seismic]'")
    chance = np.random.default_rng(0)
    queries, documents = (
        {f"{name}{row}": TEXTS[kind](towards(*chance.random(4) + 0.1)) for row in range(count)}
        for name, count in (("q", 6), ("d", 40))
    )
    meta = {"qrels": {f"q{row}": {f"d{row}": 1} for row in range(6)}, "n_queries": 6, "n_documents": 40}
    index = {"type": kind} | ({"rows": 15} if kind == "kdret.ShardedIndex" else {})
    names = ["nDCG@10", "MRR@10", "recall@5"]
    found = evaluate(IRMetric(names, index=index), queries, documents, meta)
    expected = evaluate(IRMetric(names), queries, documents, meta)
    # Seismic is approximate and keeps weights at half precision
    near = 0.05 if kind == "kdret.SeismicIndex" else 1e-9
    for name in names:
        assert found[f"retrieval/{name}"] == pytest.approx(expected[f"retrieval/{name}"], abs=near)
    assert 0 < found["retrieval/nDCG@10"] < 1
