"""`kdhub index`: building, stopping and going on, asking, and what must be refused."""

import json

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from kdhub.cli.main import main
from kdhub.errors import UsageError
from kdret import kept_vectors, text_vectors
from kdret.corpus_index import about_of, build_index, texts_of
from kdret.data.corpus import load_corpus
from kdret.index import load_index
from kdret.index.dense import FaissIndex
from kdret.kept_vectors import KeptVectors
from kdret.search import open_saved, search
from kdret.text_vectors import TextVectors


@pytest.fixture(scope="session")
def tiny_splade(tiny_encoder, tmp_path_factory):
    """A random SPLADE over the tiny vocabulary."""
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import MLMTransformer, SpladePooling
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

    folder = tmp_path_factory.mktemp("splade")
    tokenizer = BertTokenizerFast.from_pretrained(tiny_encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            initializer_range=0.3,
        )
        BertForMaskedLM(config).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    model = SparseEncoder(modules=[MLMTransformer(str(folder / "bert")), SpladePooling("max")], device="cpu")
    model.save(str(folder / "model"), create_model_card=False)
    return str(folder / "model")


def build(data, model, output, *more):
    return main(["index", "build", str(data), "--model", model, "--output", str(output), *more])


def test_build_info_search(tiny_encoder, tiny_data, tmp_path, capsys):
    """The three words of the command, each with what a program can read."""
    assert build(tiny_data, tiny_encoder, tmp_path / "index", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["factory"], facts["documents"], facts["recall"]) == ("dense", "Flat", 12, None)
    assert main(["index", "info", str(tmp_path / "index")]) == 0
    out = capsys.readouterr().out
    assert "recall      1 (exact)" in out
    assert f"model       {tiny_encoder}" in out
    asked = [str(tmp_path / "index"), "read write open", "--top", "3", "--json"]
    assert main(["index", "search", *asked]) == 0
    hits = json.loads(capsys.readouterr().out)
    assert hits[0]["id"] == "d0"
    assert main(["search", *asked]) == 0
    assert json.loads(capsys.readouterr().out) == hits
    assert main(["index", "search", *asked, "--model", tiny_encoder, "--data", str(tiny_data)]) == 0
    assert json.loads(capsys.readouterr().out) == hits
    assert main(["index", "search", str(tmp_path / "index"), "read", "--top", "99"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 12


def test_an_approximate_index_shows_its_recall(tiny_encoder, tiny_data, tmp_path, capsys):
    """Whoever finds an index in a folder must see how much of the truth it finds."""
    assert build(tiny_data, tiny_encoder, tmp_path / "index", "--factory", "IVF2,Flat", "--effort", "2") == 0
    assert "recall      1.000 @10 on 12 documents" in capsys.readouterr().out
    index = load_index(tmp_path / "index")
    assert index.effort == 2


def test_a_sparse_model_gets_an_inverted_index(tiny_splade, tiny_data, tmp_path, capsys):
    """SPLADE's vectors as dense ones would fill the memory with zeros."""
    assert build(tiny_data, tiny_splade, tmp_path / "index", "--json") == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "sparse"
    _, vectors, corpus = open_saved(tmp_path / "index")
    documents = texts_of(corpus)
    products = vectors.queries(["read file"]).toarray() @ vectors.documents(list(documents.values())).toarray().T
    best = np.argsort(-products[0], kind="stable")[:4]
    assert [hit.id for hit in search(tmp_path / "index", "read file", top=4)] == [list(documents)[row] for row in best]
    assert build(tiny_data, tiny_splade, tmp_path / "other", "--factory", "Flat") == 2
    assert "factory is not for sparse vectors" in capsys.readouterr().err


def test_a_late_interaction_model_gets_an_index_of_tokens(tiny_multi, tiny_data, tmp_path, capsys):
    """Of a ColBERT, one search would otherwise rank by the mean of its tokens, which nobody trained."""
    from sentence_transformers import MultiVectorEncoder

    assert build(tiny_data, tiny_multi, tmp_path / "index", "--candidates", "20", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["candidates"], facts["factory"], facts["documents"]) == ("late", 20, "Flat", 12)
    assert "finder" not in facts
    model = MultiVectorEncoder(tiny_multi, device="cpu")
    documents = {key: one.content for key, one in load_corpus(tiny_data).items()}
    scores = model.similarity(model.encode_query(["read"]), model.encode_document(list(documents.values())))[0]
    expected = sorted(zip(scores.tolist(), documents, strict=True), reverse=True)[:3]
    hits = search(tmp_path / "index", "read", top=3)
    assert [hit.id for hit in hits] == [key for _, key in expected]
    assert [hit.score for hit in hits] == pytest.approx([score for score, _ in expected], rel=1e-4)
    assert main(["search", str(tmp_path / "index"), "read", "--top", "3"]) == 0
    assert expected[0][1] in capsys.readouterr().out
    assert build(tiny_data, tiny_multi, tmp_path / "other", "--prefer", "speed") == 2
    assert "prefer is not for late vectors" in capsys.readouterr().err


def test_a_mean_over_the_query_s_tokens_is_the_model_s(tiny_multi):
    """A score that is so many times too large as a query has tokens would be mined and trained on."""
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(tiny_multi, device="cpu", similarity_fn_name="meanmaxsim")
    vectors = TextVectors("", encoder=model)
    index = vectors.new_index().build(vectors.documents(["read file", "sort list"]), "ab")
    ((best, *_),) = index.search(vectors.queries(["read write open"]), 2)
    expected = model.similarity(
        model.encode_query(["read write open"]), model.encode_document(["read file", "sort list"])
    )
    assert best[1] == pytest.approx(expected.max().item(), rel=1e-4)


def test_what_a_terminal_would_obey_is_escaped_in_answers(tiny_encoder, tmp_path, capsys):
    """Documents come from strangers, with a byte order mark, Windows' line ends and control characters."""
    (tmp_path / "data").mkdir()
    lines = [
        {"_id": 7, "title": "\x1b]0;pwned\x07", "text": "read\u202e file"},
        {"_id": "e", "text": ""},
        {"_id": "b", "text": "sort list"},
    ]
    content = "\ufeff" + "\r\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    (tmp_path / "data/corpus.jsonl").write_bytes(content.encode())
    assert build(tmp_path / "data", tiny_encoder, tmp_path / "index") == 0
    captured = capsys.readouterr()
    assert "left out 1 documents without text" in captured.err
    assert main(["index", "search", str(tmp_path / "index"), "read file"]) == 0
    out = capsys.readouterr().out
    assert r"7  \x1b]0;pwned\x07 read\u202e file" in out
    assert out.replace("\n", "").isprintable()


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 5 documents, so that 12 documents are 3 of them."""
    monkeypatch.setattr(kept_vectors, "_CHUNK", 5)


@pytest.mark.parametrize("kind", ["tiny_encoder", "tiny_splade", "tiny_multi"])
def test_a_build_that_was_stopped_goes_on(request, kind, tiny_data, tmp_path, small_chunks, monkeypatch, capsys):
    """Encoding a corpus takes hours; a stop must cost one chunk, and the index must be the one of a build in one go."""
    model = request.getfixturevalue(kind)
    assert build(tiny_data, model, tmp_path / "whole") == 0
    encode, calls = TextVectors.documents, []

    def interrupted(self, texts, **options):
        calls.append(len(texts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(self, texts, **options)

    monkeypatch.setattr(text_vectors.TextVectors, "documents", interrupted)
    output = tmp_path / "index"
    assert build(tiny_data, model, output) == 2
    err = capsys.readouterr().err
    assert f"stopped; 5 of 12 documents are encoded and kept -> to go on: kdhub index build {tiny_data}" in err
    assert not output.exists()
    assert build(tiny_data, model, output) == 0
    assert "going on after 5 of 12 documents" in capsys.readouterr().err
    assert calls == [5, 5, 5, 2]
    names = {path.name for path in output.iterdir()} - {"index.json"}
    assert names
    assert all((output / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in names)
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "index", "tiny"}


def test_kept_chunks_of_another_corpus_are_not_used(tiny_encoder, tiny_data, tmp_path, small_chunks):
    """Vectors of texts that have changed since would be found under ids of other texts."""
    vectors = TextVectors(tiny_encoder)
    corpus = load_corpus(tiny_data)
    kept = KeptVectors(tmp_path / ".index.vectors", 12, about_of(vectors, corpus))
    kept.add(np.zeros((5, 32), np.float32))
    assert KeptVectors(tmp_path / ".index.vectors", 12, about_of(vectors, corpus)).done == 5
    index = build_index(
        tmp_path / "index", vectors, texts_of(corpus), FaissIndex(), {"model": "m", "corpus": "another"}, "again"
    )
    (ranking,) = index.search(vectors.queries(["read write open"]), 1)
    assert ranking[0][0] == "d0"


def test_used_folders_and_other_models(tiny_encoder, tiny_data, make_collection, tmp_path, capsys):
    """An index that was overwritten by a typing error is hours of work."""
    output = tmp_path / "index"
    assert build(tiny_data, tiny_encoder, output) == 0
    capsys.readouterr()
    assert build(tiny_data, tiny_encoder, output) == 0
    assert "is there already" in capsys.readouterr().err
    assert build(tiny_data, tiny_encoder, output, "--factory", "SQfp16") == 2
    assert "another factory is there (got Flat) -> add --rebuild" in capsys.readouterr().err
    other = make_collection(tmp_path / "other")
    (other / "corpus.jsonl").write_text('{"_id": "a", "text": "read"}\n{"_id": "b", "text": "sort list"}\n')
    assert build(other, tiny_encoder, output) == 2
    assert "the index is of another corpus" in capsys.readouterr().err
    assert build(other, tiny_encoder, output, "--rebuild") == 0
    assert len(load_index(output)) == 2
    (other / "corpus.jsonl").write_text('{"_id": "a", "text": "write"}\n')
    assert main(["index", "search", str(output), "read"]) == 2
    assert "the index is of another corpus" in capsys.readouterr().err
    assert build(tiny_data, tiny_encoder, tiny_data) == 2
    assert "the folder for the index is in use" in capsys.readouterr().err


def test_an_encoder_that_tells_nothing_apart_is_named(tiny_encoder, tiny_data, tmp_path, monkeypatch):
    """All documents at one point have an order all the same: that of the file."""
    monkeypatch.setattr(TextVectors, "documents", lambda self, texts: np.full((len(texts), 4), 0.5, np.float32))
    with pytest.raises(UsageError, match="index: every document has the same score"):
        build_index(
            tmp_path / "index",
            TextVectors(tiny_encoder),
            texts_of(load_corpus(tiny_data)),
            FaissIndex(),
            {"model": "m", "corpus": "c"},
            "again",
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["index"], "no action (expected build, info or search)"),
        (["index", "biuld"], "did you mean 'build'?"),
        (["index", "info", "nowhere"], "nowhere: cannot read index.json"),
        (["index", "search", "nowhere", "x"], "nowhere: cannot read index.json"),
        (["index", "build", "nowhere", "--model", "m", "--output", "o"], "no data folder 'nowhere'"),
    ],
)
def test_mistakes_at_the_prompt(arguments, message, capsys):
    """Each is one line, with what to type."""
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("action", [[], ["build"], ["info"], ["search"]])
def test_help_of_each_action(action, capsys):
    """The help is where most people learn what there is."""
    with pytest.raises(SystemExit) as ended:
        main(["index", *action, "--help"])
    assert ended.value.code == 0
    assert "kdhub index" in capsys.readouterr().out


def test_questions_that_are_none(tiny_encoder, tiny_data, tmp_path):
    """An empty query ranks whatever is nearest to nothing."""
    assert build(tiny_data, tiny_encoder, tmp_path / "index") == 0
    with pytest.raises(UsageError, match="the query is empty"):
        search(tmp_path / "index", "  ")
    with pytest.raises(UsageError, match="bad top"):
        search(tmp_path / "index", "read", top=0)


def test_memory_is_refused_before_anything_is_encoded(tiny_encoder, tiny_data, tmp_path, monkeypatch, capsys):
    """Encoding a corpus takes hours, and then the index would not fit."""
    monkeypatch.setattr(TextVectors, "documents", lambda self, texts: pytest.fail("encoded first"))
    assert build(tiny_data, tiny_encoder, tmp_path / "index", "--memory", "1e-6") == 2
    assert "the index Flat does not fit into memory (expected at most 1.05 KiB, got 1.5 KiB" in capsys.readouterr().err


def test_ctrl_c_in_the_training_of_faiss(tiny_encoder, tiny_data, tmp_path, monkeypatch, capsys):
    """FAISS turns it into an error of its own, which looked like a wrong factory."""
    import faiss

    def train(self, rows):
        raise RuntimeError("computation interrupted")

    monkeypatch.setattr(faiss.IndexIVFFlat, "train", train)
    assert build(tiny_data, tiny_encoder, tmp_path / "index", "--factory", "IVF2,Flat") == 2
    assert "stopped; 12 of 12 documents are encoded and kept -> to go on: kdhub index build" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "library", "model"), [("Milvus", "milvus_lite", "tiny_encoder"), ("Seismic", "seismic", "tiny_splade")]
)
def test_other_kinds_of_index(request, kind, library, model, tiny_data, tmp_path, capfd):
    """An index that the command builds and cannot read again is no index; a library's prints are no JSON."""
    pytest.importorskip(library, reason="an extra of kdhub-retrieval")
    model, output = request.getfixturevalue(model), tmp_path / "index"
    option = {"Milvus": "chunk=5", "Seismic": "effort=3"}[kind]
    assert build(tiny_data, model, output, "--index", f"kdret.{kind}Index", "--options", option, "--json") == 0
    assert json.loads(capfd.readouterr().out)["kind"] == kind.lower()
    assert main(["index", "search", str(output), "read write open", "--top", "2", "--json"]) == 0
    exact = open_saved(output)
    documents = texts_of(exact[2])
    products = exact[1].queries(["read write open"]) @ exact[1].documents(list(documents.values())).T
    products = products.toarray()[0] if kind == "Seismic" else products[0]
    assert json.loads(capfd.readouterr().out)[0]["id"] == list(documents)[int(np.argmax(products))]
    assert build(tiny_data, model, output) == 2
    assert "an index of another kind is there" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["euclidean", "manhattan"])
def test_a_model_of_distances_is_refused(name, tiny_encoder, tiny_data, tmp_path, capsys):
    """Its nearest texts are not those with the largest products: the answers were plausible, and wrong."""
    model = SentenceTransformer(tiny_encoder, device="cpu", similarity_fn_name=name)
    model.save(str(tmp_path / "model"), create_model_card=False)
    for words in (
        ["index", "build", str(tiny_data), "--model", str(tmp_path / "model"), "--output", str(tmp_path / "index")],
        ["mine", str(tiny_data), "--teacher", str(tmp_path / "model"), "--output", str(tmp_path / "lists.jsonl")],
    ):
        assert main(words) == 2
        assert (
            f"cannot be searched by this model's distances (expected cosine, or dot, got {name})"
            in capsys.readouterr().err
        )
