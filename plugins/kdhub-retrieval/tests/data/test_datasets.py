"""Datasets: pairs, texts, evaluation order, cached scores, and the raw batch they make."""

import gzip
import json

import pytest
import torch

from kdhub.errors import UsageError
from kdret.data.collate import collate_texts
from kdret.data.datasets import Pairs, RetrievalSplit, Texts
from kdret.data.scored_lists import ScoredLists


def write_scores(folder, rows):
    path = folder / "scores.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def scored(query, scores):
    return {"query_id": query, "doc_ids": list(scores), "scores": list(scores.values())}


def test_pairs(tiny_data):
    """One sample for each judgement above 0."""
    dataset = Pairs(str(tiny_data), "train")
    assert len(dataset) == 8
    assert dataset[1] == {"texts": {"query": "open", "document": "write open close"}}
    assert dataset.metainfo == {"data_root": str(tiny_data), "split": "train"}


def test_texts_hold_documents_and_queries(tiny_data):
    """All there is to distil embeddings on, none of it empty."""
    with (tiny_data / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "empty", "title": "", "text": ""}\n')
    assert len(Texts(str(tiny_data))) == 12
    dataset = Texts(str(tiny_data), queries="train")
    assert len(dataset) == 20
    assert dataset[19] == {"texts": {"text": "thread"}}


def rewrite(path, **changes):
    rows = [json.loads(line) | changes for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_pairs_with_an_empty_text_are_counted(tiny_data, logged):
    """What is left out without a word is missed by nobody until the student is worse."""
    rows = (tiny_data / "corpus.jsonl").read_text().splitlines()
    (tiny_data / "corpus.jsonl").write_text("\n".join(['{"_id": "d0", "title": " ", "text": "\\n"}', *rows[1:]]))
    assert len(Pairs(str(tiny_data), "train")) == 7
    assert "left out 1 of 8 pairs: a text is empty" in logged.pop()
    assert len(Texts(str(tiny_data), "train")) == 19
    assert "left out 1 of 20 texts: a text is empty" in logged.pop()


@pytest.mark.parametrize("file", ["corpus", "queries.train"])
def test_all_texts_empty(tiny_data, file):
    """A sampler without end over no sample is a loop that no Ctrl-C interrupts."""
    rewrite(tiny_data / f"{file}.jsonl", text=" ")
    kinds = [lambda: Pairs(str(tiny_data), "train"), lambda: RetrievalSplit(str(tiny_data), "train")]
    if file == "corpus":
        kinds.append(lambda: Texts(str(tiny_data)))
    for make in kinds:
        with pytest.raises(UsageError, match=r"tiny: all (pairs|documents|queries|texts) are empty"):
            make()


def arguana(folder):
    """Let each test query be a document too, under the same id, that argues against its relevant one."""
    queries = [json.loads(line) for line in (folder / "queries.test.jsonl").read_text().splitlines()]
    with (folder / "corpus.jsonl").open("a") as file:
        for query in queries:
            file.write(json.dumps({"_id": query["_id"], "title": "A topic", "text": query["text"].upper()}) + "\n")
    return {query["_id"] for query in queries}


def test_queries_that_are_documents_are_named(tiny_data, logged):
    """ArguAna and Quora: the metric must know who shall not find itself, and the reader of a log how many."""
    own = arguana(tiny_data)
    assert RetrievalSplit(str(tiny_data), "test").metainfo["own_documents"] == sorted(own)
    assert [line.partition(": ")[2] for line in logged] == [
        "4 of 4 queries are documents of the corpus and are left out of their own rankings, as in BEIR"
    ]


def test_the_form_of_unicode_makes_no_other_text(tiny_data):
    """A corpus in NFD beside queries in NFC: each query found itself first, and nothing was said."""
    folder = tiny_data
    rewrite(folder / "queries.test.jsonl", text="caf\u00e9")
    own = arguana(folder)
    corpus = (folder / "corpus.jsonl").read_text().replace("\\u00c9", "E\\u0301")
    (folder / "corpus.jsonl").write_text(corpus)
    assert "E\\u0301" in corpus
    assert RetrievalSplit(str(folder), "test").metainfo["own_documents"] == sorted(own)


def test_equal_ids_by_coincidence_stay(tiny_data, logged):
    """Query 14 and document 14 of Cranfield have nothing to do with each other; BEIR's rule would drop the document."""
    arguana(tiny_data)
    rows = [json.loads(line) for line in (tiny_data / "corpus.jsonl").read_text().splitlines()]
    rows = [row | ({"text": "another text"} if row["_id"] in ("q9", "q10") else {}) for row in rows]
    (tiny_data / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (tiny_data / "qrels.test.jsonl").open("a") as file:  # judged relevant, so it stays, whatever its text
        file.write(json.dumps({"query_id": "q8", "doc_id": "q8", "score": 1}) + "\n")
    assert RetrievalSplit(str(tiny_data), "test").metainfo["own_documents"] == ["q11"]
    assert "1 of 4 queries" in logged[0]
    assert logged[0].endswith("3 documents share only the id with a query, or are judged relevant to it, and stay")


@pytest.mark.parametrize(("corpus", "documents"), [("all", 12), ("judged", 4)])
def test_evaluation_goes_from_long_to_short(tiny_data, corpus, documents):
    """Mixed lengths pad every batch to its longest text, and a batch too large fails only after minutes."""
    dataset = RetrievalSplit(str(tiny_data), "test", corpus)
    assert len(dataset) == documents + 4
    texts = [next(iter(dataset[i]["texts"].values())) for i in range(len(dataset))]
    assert sorted(map(len, texts), reverse=True) == list(map(len, texts))
    assert dataset.metainfo["n_documents"] == documents
    assert dataset.metainfo["qrels"]["q8"] == {"d8": 1}


def test_evaluation_corpus_is_named(tiny_data):
    """A typing error must not search another corpus."""
    with pytest.raises(UsageError, match="'all' or 'judged'"):
        RetrievalSplit(str(tiny_data), "test", "jugded")


def test_collate_keeps_documents_of_a_query_together():
    """`score` shares documents out by position."""
    batch = collate_texts(
        [
            {"texts": {"query": "a", "document": ["a1", "a2"]}, "labels": [1.0, 0.5]},
            {"texts": {"query": "b", "document": ["b1", "b2"]}, "labels": [2.0, 1.5]},
        ]
    )
    assert batch["texts"] == {"query": ["a", "b"], "document": ["a1", "a2", "b1", "b2"]}
    assert torch.equal(batch["labels"], torch.tensor([[1.0, 0.5], [2.0, 1.5]]))


def test_collate_keeps_the_order_of_keys():
    """Predictions are given back in the dataset's order, by which distributed evaluation drops its padding."""
    batch = collate_texts(
        [
            {"texts": {column: text}, "key": (column, text)}
            for column, text in [("document", "x"), ("query", "y"), ("document", "z")]
        ]
    )
    assert batch["texts"] == {"document": ["x", "z"], "query": ["y"]}
    assert batch["keys"] == [("document", "x"), ("query", "y"), ("document", "z")]


def test_scored_lists_put_the_relevant_document_first(tiny_data):
    """Margin-MSE takes index 0 for relevant; another order teaches the reverse."""
    write_scores(
        tiny_data, [scored("q0", {"d3": 9.0, "d0": 2.0, "d4": 8.0}), scored("q1", {"d1": 1.0, "d5": -1.0, "d6": 0.0})]
    )
    dataset = ScoredLists(str(tiny_data), "scores.jsonl", candidates=3)
    assert len(dataset) == 2
    sample = dataset[0]
    assert sample["texts"]["query"] == "write"
    assert sample["texts"]["document"][0] == "read write open"
    assert sample["labels"][0] == 2.0
    assert sorted(sample["labels"][1:]) == [8.0, 9.0]


def test_scored_lists_draw_from_torchs_generator(tiny_data):
    """Exact resume restores torch's generator; any other source of chance would be lost."""
    write_scores(tiny_data, [scored("q0", {"d0": 2.0} | {f"d{i}": float(i) for i in range(1, 12)})])
    dataset = ScoredLists(str(tiny_data), "scores.jsonl", candidates=4)
    draws = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            draws.append([dataset[0]["labels"] for _ in range(3)])
    assert draws[0] == draws[1]
    assert len({tuple(labels) for labels in draws[0]}) > 1


def test_missing_scores_are_dropped_and_counted(tiny_data):
    """A NaN taken for 0 would be a confident wrong label."""
    rows = [
        scored("q0", {"d0": 2.0, "d3": None, "d4": float("nan"), "d5": 1.0}),
        scored("q1", {"d1": 1.0, "d5": None}),
    ]
    write_scores(tiny_data, rows)
    dataset = ScoredLists(str(tiny_data), "scores.jsonl", candidates=2)
    assert len(dataset) == 1
    assert dataset.metainfo["dropped"] == {
        "candidates without a score": 3,
        "queries without a relevant document or with too few others": 1,
    }
    assert dataset[0]["labels"] == [2.0, 1.0]


def test_whole_numbers_are_ids_as_in_the_corpus(tiny_data):
    """The corpus takes `{"_id": 7}`; the same id in a list of scores ended in a TypeError."""
    with (tiny_data / "corpus.jsonl").open("a") as file:
        file.write('{"_id": 7, "text": "read"}\n')
    write_scores(tiny_data, [{"query_id": "q0", "doc_ids": ["d0", 7], "scores": [1, 0.5]}])
    assert ScoredLists(str(tiny_data), "scores.jsonl", candidates=2)[0]["labels"] == [1.0, 0.5]


def test_a_query_among_its_own_candidates_is_dropped(tiny_data):
    """Scores mined elsewhere have the query itself as its hardest negative."""
    own = arguana(tiny_data)
    rows = [scored(query, {query: 9.0, query.replace("q", "d"): 2.0, "d0": 1.0}) for query in sorted(own)]
    write_scores(tiny_data, rows)
    dataset = ScoredLists(str(tiny_data), "scores.jsonl", "test", candidates=2)
    assert dataset[0]["labels"] == [2.0, 1.0]
    assert dataset.metainfo["dropped"] == {"candidates that are the query itself": 4}


def test_scores_here_and_in_the_data_folder_must_agree(tiny_data, tmp_path, monkeypatch):
    """A file of the same name in the current folder would win, with the scores of another teacher."""
    write_scores(tiny_data, [scored("q0", {"d0": 2.0, "d3": 1.0})])
    write_scores(tmp_path, [scored("q0", {"d0": 2.0, "d3": 1.0})])
    monkeypatch.chdir(tmp_path)
    assert len(ScoredLists(str(tiny_data), "scores.jsonl", candidates=2)) == 1
    write_scores(tmp_path, [scored("q0", {"d0": 2.0, "d3": 8.0})])
    with pytest.raises(UsageError, match="two files for the same data, and they differ"):
        ScoredLists(str(tiny_data), "scores.jsonl", candidates=2)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"query_id": "q0", "doc_ids": ["d0", "d1"], "scores": ["1.0", 2.0]},
            r":1: no usable score of .*'d0'.*got '1.0'",
        ),
        (scored("q0", {"d0": True, "d1": 1.0}), r":1: no usable score of document 'd0' .*got True"),
        (scored("q0", {"d0": float("inf"), "d1": 1.0}), r":1: no usable score of document 'd0' .*got inf"),
        (scored("q0", {"d0": 10**400, "d1": 1.0}), r":1: no usable score of document 'd0'"),
        (
            {"query_id": "q0", "doc_ids": ["d0", "d1", "d0"], "scores": [1, 2, 3]},
            r":1: document 'd0' occurs a second time",
        ),
        ({"query_id": "q0", "doc_ids": ["d0", ["d1"]], "scores": [1, 2]}, r":1: no usable entry of 'doc_ids'"),
        ({"query_id": ["q0"], "doc_ids": ["d0"], "scores": [1]}, r":1: no usable 'query_id'"),
        ({"query_id": 0, "doc_ids": ["d0"], "scores": [1]}, r":1: unknown query '0'"),
        (scored("q77", {"d0": 1.0}), r"scores\.jsonl:1: unknown query 'q77'"),
        (scored("q0", {"d77": 1.0, "d0": 1.0}), r"scores\.jsonl:1: unknown document 'd77'.*did you mean 'd7'"),
        ({"query_id": "q0", "doc_ids": ["d0"], "scores": []}, r"scores\.jsonl:1: unreadable list"),
        (scored("q0", {"d0": 1.0}), r"no list is left .*one relevant and 7 other scored"),
    ],
)
def test_a_bad_score_file_is_named(tiny_data, row, message):
    """PyLate makes missing documents empty strings in silence."""
    write_scores(tiny_data, [row])
    with pytest.raises(UsageError, match=message):
        ScoredLists(str(tiny_data), "scores.jsonl")


def test_a_missing_score_file_says_how_to_make_it(tiny_data):
    """Scores come from a command that a new user has not heard of: the error must name it."""
    (tiny_data / "scores.train.jsonl.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(UsageError, match=r"did you mean 'scores\.train\.jsonl\.gz'.* -> kdhub mine"):
        ScoredLists(str(tiny_data), "score.train.jsonl.gz")
