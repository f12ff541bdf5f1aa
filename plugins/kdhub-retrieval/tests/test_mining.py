"""Negatives: margins, ranks, draws, denoising, and what may never be one."""

import json
import random
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kdhub.cli.main import main
from kdhub.errors import UsageError
from kdret.data.beir import RetrievalData, load_split
from kdret.data.corpus import Corpus
from kdret.data.scored_lists import ScoredLists
from kdret.index.dense import FaissIndex
from kdret.mine import mine_lists
from kdret.negatives import NegativeRules, generator

few = settings(deadline=None, max_examples=25)


@pytest.mark.parametrize(
    ("relevant", "kept", "dropped"),
    [(0.8, 0.75, 0.77), (-2.0, -2.2, -2.05)],
)
def test_relative_margin_of_the_card(relevant, kept, dropped):
    """A share of a negative score points upwards: every document above the relevant one would have been a negative."""
    rules = NegativeRules(2, relative_margin=0.05)
    scores = {"kept": kept, "dropped": dropped}
    assert rules.choose("q", ["dropped", "kept"], scores, [relevant]) == ["kept"]


def test_limits():
    """The strictest of several rules holds, and the lowest relevant score counts: a list is paired with each of them."""
    assert NegativeRules(1, margin=0.1).limit([0.9, 0.5]) == pytest.approx(0.4)
    assert NegativeRules(1, margin=0.1, max_score=0.3).limit([0.5]) == 0.3
    assert NegativeRules(1, margin=0.1).limit([]) == float("inf")
    assert NegativeRules(1, margin=0.0).choose("q", ["a"], {"a": 0.5}, [0.5]) == ["a"]


@pytest.mark.parametrize(("query", "first"), [("q42", [0, 3, 6, 8]), ("q43", [8, 6, 3, 2])])
def test_generator_of_the_card(query, first):
    """Another generator would draw other negatives for everybody who trains again."""
    assert generator(13, query).permutation(10)[:4].tolist() == first


@given(
    scores=st.lists(st.floats(-3, 3), min_size=1, max_size=40),
    count=st.integers(1, 5),
    first=st.integers(0, 10),
    width=st.integers(5, 20),
    margin=st.floats(0, 1),
    draw=st.sampled_from(["best", "random"]),
)
@few
def test_chosen_negatives_keep_every_rule(scores, count, first, width, margin, draw):
    """A rule that holds for most negatives only is none: the rest teach the student the opposite."""
    ranked = [str(rank) for rank in range(len(scores))]
    of = dict(zip(ranked, scores, strict=True))
    rules = NegativeRules(count, first, first + width, margin=margin, draw=draw)
    chosen = rules.choose("q", ranked, of, [0.5])
    left = [key for key in ranked[first : first + width] if of[key] <= 0.5 - margin]
    assert len(chosen) == min(count, len(left))
    assert chosen == [key for key in left if key in chosen]
    if draw == "best":
        assert chosen == left[:count]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first": 10, "last": 20}, "ranks 10 to 20 cannot give 50 documents (expected at least 50 ranks, got 10)"),
        ({"first": 20, "last": 10}, "got 0"),
        ({"draw": "random"}, "a random draw needs an end of the ranks -> such as --ranks 0 200"),
        ({"draw": "rnadom"}, "did you mean 'random'?"),
        ({"margin": -0.1}, "bad margin"),
        ({"relative_margin": float("nan")}, "bad relative_margin"),
        ({"max_score": float("inf")}, "bad max_score"),
        ({"count": 0}, "bad depth"),
    ],
)
def test_rules_that_cannot_be_kept(options, message):
    """A window that is too small would give short lists, which training drops query by query."""
    with pytest.raises(UsageError) as caught:
        NegativeRules(**options)
    assert message in str(caught.value)


def made(seed=0, documents=200, queries=12):
    """A collection whose embeddings are looked up by text; d0 to d11 are relevant, and d100 has the text of d0."""
    chance = np.random.default_rng(seed)
    rows = chance.normal(size=(documents, 8)).astype(np.float32)
    texts = {f"d{row}": f"text {row}" for row in range(documents)}
    texts["d100"] = "TEXT  0"
    rows[100] = rows[0]
    of_text = {text: rows[row] for row, text in enumerate(texts.values())}
    asked = {f"q{row}": f"query {row}" for row in range(queries)}
    of_text |= {
        text: rows[row] + 0.3 * chance.normal(size=8).astype(np.float32) for row, text in enumerate(asked.values())
    }
    with tempfile.TemporaryDirectory() as folder:  # the corpus keeps its file open
        path = Path(folder) / "collection.tsv"
        path.write_text("".join(f"{key}\t{text}\n" for key, text in texts.items()))
        corpus = Corpus(path)
    data = RetrievalData(
        "memory",
        "train",
        corpus,
        asked,
        {f"q{row}": {f"d{row}": 1, f"d{row + 50}": 0} for row in range(queries)},
    )

    def encode(texts, **_):
        return np.stack([of_text[text] for text in texts])

    return SimpleNamespace(encode_document=encode, encode_query=encode), data


def mined(path, teacher, data, **options):
    mine_lists(teacher, data, path, **options)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_copy_of_a_relevant_text_is_no_negative(tmp_path):
    """Crawled corpora hold many texts twice, and judgements name one of them."""
    teacher, data = made()
    first = mined(tmp_path / "a.jsonl", teacher, data, depth=30)[0]
    assert first["doc_ids"][0] == "d0"
    assert "d100" not in first["doc_ids"]
    assert len(first["doc_ids"]) == 31
    assert any("d50" in row["doc_ids"] for row in mined(tmp_path / "b.jsonl", teacher, data, depth=199))


def test_scores_and_order_are_those_of_plain_sorting(tmp_path):
    """The whole of mining against a few lines of numpy."""
    teacher, data = made()
    documents = teacher.encode_document([document.content for document in data.corpus.values()])
    for row in mined(tmp_path / "a.jsonl", teacher, data, rules=NegativeRules(5, 3, 40, margin=0.5)):
        query = teacher.encode_query([data.queries[row["query_id"]]])[0]
        scores = dict(zip(data.corpus, (documents @ query).tolist(), strict=True))
        relevant = row["query_id"].replace("q", "d")
        never = {relevant, "d100"} if relevant == "d0" else {relevant}
        ranked = sorted((key for key in scores if key not in never), key=lambda key: -scores[key])[3:40]
        assert row["doc_ids"][1:] == [key for key in ranked if scores[key] <= scores[relevant] - 0.5][:5]
        np.testing.assert_allclose(row["scores"], [scores[key] for key in row["doc_ids"]], rtol=1e-5)


def test_a_margin_is_met_by_searching_deeper(tmp_path):
    """Where the best hundred are all too close, the next ones are not."""
    teacher, data = made()
    lists = mined(tmp_path / "a.jsonl", teacher, data, rules=NegativeRules(20, max_score=-1.0))
    assert all(len(row["doc_ids"]) == 21 for row in lists)
    assert all(max(row["scores"][1:]) <= -1.0 for row in lists)


def test_an_index_with_a_limit_is_searched_as_deep_as_it_goes(tmp_path, logged):
    """Milvus gives 16,384 answers; mining asked for more, and lost the lists of all other queries with that one."""

    class Limited(FaissIndex):
        most = 40

        def search(self, vectors, k):
            assert k <= self.most
            return super().search(vectors, k)

    teacher, data = made()
    rows = teacher.encode_document([document.content for document in data.corpus.values()])
    index = Limited("dot", factory="Flat").build(rows, list(data.corpus))
    rules = NegativeRules(5, max_score=-9.0)
    assert all(len(row["doc_ids"]) == 1 for row in mined(tmp_path / "a.jsonl", teacher, data, rules=rules, index=index))
    assert any("12 of 12 queries have fewer than 5 negatives" in line for line in logged)


def test_the_same_seed_draws_the_same_whatever_the_order(tmp_path):
    """Shuffled queries, other threads and another index must not move a single negative."""
    import faiss

    teacher, data = made()
    rules = NegativeRules(5, 2, 60, draw="random", seed=4)
    expected = {row["query_id"]: row for row in mined(tmp_path / "a.jsonl", teacher, data, rules=rules)}
    shuffled = list(data.queries.items())
    random.Random(1).shuffle(shuffled)
    other = RetrievalData(data.root, data.split, data.corpus, dict(shuffled), data.qrels)
    rows = teacher.encode_document([document.content for document in data.corpus.values()])
    index = FaissIndex("dot", factory="IVF2,Flat", effort=2).build(rows, list(data.corpus))
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    try:
        for number, options in enumerate(({}, {"index": index}, {"batch_size": 3})):
            found = mined(tmp_path / f"{number}.jsonl", teacher, other, rules=rules, **options)
            assert {row["query_id"]: row for row in found} == expected
    finally:
        faiss.omp_set_num_threads(threads)
    changed = mined(tmp_path / "c.jsonl", teacher, data, rules=NegativeRules(5, 2, 60, draw="random", seed=5))
    assert changed != list(expected.values())
    alone = RetrievalData(data.root, data.split, data.corpus, {"q3": data.queries["q3"]}, data.qrels)
    assert mined(tmp_path / "d.jsonl", teacher, alone, rules=rules) == [expected["q3"]]


def test_what_was_mined_and_how_is_kept(tmp_path, logged):
    """Half a year later nobody knows the seed of a file of scores."""
    teacher, data = made()
    mined(tmp_path / "a.jsonl", teacher, data, rules=NegativeRules(5, max_score=-9.0))
    kept = json.loads((tmp_path / "a.jsonl.mined.json").read_text())
    assert (kept["rules"]["count"], kept["rules"]["max_score"], kept["queries"]) == (5, -9.0, 12)
    assert kept["index"]["factory"] == "Flat"
    assert any("12 of 12 queries have fewer than 5 negatives" in line for line in logged)


def test_the_command_with_an_index_and_a_finder(tiny_encoder, tiny_data, tmp_path, capsys):
    """The teacher's own index gives the teacher's own lists; a finder only chooses them."""
    common = ["mine", str(tiny_data), "--teacher", tiny_encoder, "--depth", "4", "--output"]
    assert main([*common, str(tmp_path / "plain.jsonl")]) == 0
    assert main(["index", "build", str(tiny_data), "--model", tiny_encoder, "--output", str(tmp_path / "index")]) == 0
    assert main([*common, str(tmp_path / "index.jsonl"), "--index", str(tmp_path / "index")]) == 0
    assert main([*common, str(tmp_path / "finder.jsonl"), "--finder", tiny_encoder]) == 0
    lists = [
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("plain", "index", "finder")
    ]
    for other in lists[1:]:
        for one, two in zip(lists[0], other, strict=True):
            assert one["doc_ids"] == two["doc_ids"]
            np.testing.assert_allclose(one["scores"], two["scores"], atol=1e-5)
    window = ["--ranks", "1", "6", "--draw", "random", "--seed", "3", "--relative-margin", "0"]
    scores = tiny_data / "drawn.jsonl"
    assert main([*common, str(scores), *window]) == 0
    assert len(ScoredLists(str(tiny_data), "drawn.jsonl", candidates=2)) > 0
    capsys.readouterr()
    assert main([*common, str(scores), "--ranks", "1", "3"]) == 2
    assert "ranks 1 to 3 cannot give 4 documents" in capsys.readouterr().err
    assert main([*common, str(scores), "--index", str(tmp_path / "index"), "--max-length", "8"]) == 2
    assert "leave --max-length out" in capsys.readouterr().err
    corpus = tiny_data / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("read write", "write read"))
    assert main([*common, str(scores), "--index", str(tmp_path / "index")]) == 2
    assert "the index is of another corpus" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("teacher", "options"),
    [
        ("tiny_sparse", []),
        ("tiny_multi", []),
        ("tiny_sparse", ["--index", "kdret.SeismicIndex"]),
        ("tiny_encoder", ["--workers", "0", "--shard-rows", "5"]),
    ],
    ids=["sparse", "late", "seismic", "sharded"],
)
def test_every_kind_of_saved_index_mines_as_none_does(teacher, options, request, tiny_data, tmp_path):
    """Only an index of dense vectors was ever mined with; another kind takes and gives other arrays."""
    if "kdret.SeismicIndex" in options:
        pytest.importorskip("seismic", reason="pip install 'kdhub-retrieval[seismic]'")
    model, place = request.getfixturevalue(teacher), str(tmp_path / "index")
    assert main(["index", "build", str(tiny_data), "--model", model, "--output", place, *options]) == 0
    lists = []
    for name, more in (("plain", []), ("saved", ["--index", place])):
        path = tmp_path / f"{name}.jsonl"
        words = ["mine", str(tiny_data), "--teacher", model, "--depth", "4", "--output", str(path)]
        assert main([*words, *more]) == 0
        lists.append([json.loads(line) for line in path.read_text().splitlines()])
    for one, two in zip(*lists, strict=True):
        assert one["doc_ids"] == two["doc_ids"]
        np.testing.assert_allclose(one["scores"], two["scores"], atol=1e-5)


def test_a_saved_index_does_not_hide_a_collapsed_teacher(tiny_data, tmp_path):
    """With an index of another model the teacher is never searched with, and its equal scores would be written."""
    data = load_split(tiny_data, "train")
    rows = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    index = FaissIndex("dot").build(rows, list(data.corpus))
    constant = SimpleNamespace(
        encode_document=lambda texts, **_: np.ones((len(texts), 4), np.float32),
        encode_query=lambda texts, **_: np.ones((len(texts), 4), np.float32),
    )
    with pytest.raises(UsageError, match="mine: every document has the same score"):
        mine_lists(constant, data, tmp_path / "x.jsonl", index=index)
    assert not (tmp_path / "x.jsonl").exists()


def test_a_sparse_teacher_scores_queries_that_nobody_judged(tiny_data, tiny_sparse, tmp_path):
    """DiSCo's teacher is a SPLADE, and most turns of a conversation have no judgement."""
    from sentence_transformers import SparseEncoder

    (tiny_data / "qrels.train.jsonl").unlink()
    path = tmp_path / "lists.jsonl"
    assert main(["mine", str(tiny_data), "--teacher", tiny_sparse, "--output", str(path), "--depth", "5"]) == 0
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    data = load_split(tiny_data, "train", judged=False)
    model = SparseEncoder(tiny_sparse, device="cpu")
    documents = model.encode_document([one.content for one in data.corpus.values()]).to_dense()
    for row in rows:
        scores = (documents @ model.encode_query([data.queries[row["query_id"]]]).to_dense()[0]).tolist()
        assert row["scores"] == pytest.approx(sorted(scores, reverse=True)[:5], rel=1e-4)


def test_a_limit_that_no_document_meets_ends_the_search(tmp_path, logged, monkeypatch):
    """One hopeless query had the teacher score the whole corpus: 8.8 million pairs of MS MARCO."""
    deepest = []
    search = FaissIndex.search
    monkeypatch.setattr(FaissIndex, "search", lambda self, vectors, k: deepest.append(k) or search(self, vectors, k))
    teacher, data = made()
    lists = mined(tmp_path / "a.jsonl", teacher, data, rules=NegativeRules(2, 3, max_score=-9.0))
    assert all(len(row["doc_ids"]) == 1 for row in lists)
    # ranks 3 to 43, the relevant document and its copy, and 16 to spare
    assert max(deepest) == 43 + 2 + 16
    assert any(
        "12 of 12 queries have fewer than 2 negatives among ranks 3 to 43 -> widen --ranks" in line for line in logged
    )


def test_where_the_ranks_end_does_not_depend_on_how_deep_a_search_went():
    """A query searched deeper for another one's sake would get negatives that it does not get alone."""
    ranked = [str(rank) for rank in range(50)]
    scores = {key: float(rank < 41) for rank, key in enumerate(ranked)}
    assert NegativeRules(2, max_score=0.5).choose("q", ranked, scores, []) == []
    assert NegativeRules(2, 0, 43, max_score=0.5).choose("q", ranked, scores, []) == ["41", "42"]
