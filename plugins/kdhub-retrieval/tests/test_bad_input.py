"""What people and broken models give to the commands and indexes: each is one line that says what, where, and what to do."""

import json

import numpy as np
import pytest
import sentence_transformers
from scipy import sparse

from kdhub.cli.main import main
from kdhub.errors import UsageError
from kdret.data.scored_lists import ScoredLists
from kdret.index.dense import FaissIndex
from kdret.index.late import MaxSimIndex
from kdret.index.sparse import SparseIndex

KINDS = {
    "dense": (FaissIndex, np.eye(3, dtype=np.float32)),
    "sparse": (SparseIndex, sparse.csr_array(np.eye(3, dtype=np.float32))),
    "late": (MaxSimIndex, [row[None] for row in np.eye(3, dtype=np.float32)]),
}


def refused(call, *words):
    """Return the one line of an error that must hold these words."""
    with pytest.raises(UsageError) as caught:
        call()
    told = str(caught.value)
    assert "\n" not in told
    assert all(word in told for word in words), told
    return told


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [None, "", True, 1.5])
def test_ids_that_are_none(kind, bad):
    """An answer whose id is missing cannot be looked up, and True is found under '1'."""
    index, vectors = KINDS[kind]
    refused(lambda: index().build(vectors, ["a", bad, "c"]), "the id of row 1 cannot be used", "text or a whole number")


@pytest.mark.parametrize("kind", KINDS)
def test_whole_numbers_are_taken_for_their_digits_and_must_differ(kind):
    """Files of a corpus have ids such as 7 and '7'; two documents under one id would be one."""
    index, vectors = KINDS[kind]
    assert index().build(vectors, [7, np.int64(8), "9"]).ids == ("7", "8", "9")
    refused(lambda: index().build(vectors, [7, 8, "7"]), "'7' occurs twice")


@pytest.mark.parametrize("kind", KINDS)
def test_zero_vectors_are_refused_under_cosine(kind):
    """What has no direction has no cosine: the document would be found last by every query, without a word."""
    index, vectors = KINDS[kind]
    vectors = [row * 0 for row in vectors] if kind == "late" else vectors * 0
    refused(lambda: index(similarity="cosine").build(vectors, "abc"), "vector 0", "similarity='cosine'")


@pytest.mark.parametrize("kind", KINDS)
def test_more_answers_than_documents(kind):
    """A fixed number of rows would be filled up with documents that are none."""
    index, vectors = KINDS[kind]
    (found,) = index().build(vectors, "abc").search(vectors[:1], 99)
    assert len(found) == 3
    assert {key for key, _ in found} == set("abc")


def test_an_index_of_another_model(tiny_encoder, tiny_data, tmp_path, capsys):
    """Vectors of two models of one width have products too, and their order looks like a ranking."""
    other = sentence_transformers.SentenceTransformer(tiny_encoder, device="cpu")
    other[0].auto_model.encoder.layer[0].output.dense.bias.data += 1.0
    other.save(str(tmp_path / "other"), create_model_card=False)
    output = str(tmp_path / "index")
    build = ["index", "build", str(tiny_data), "--output", output, "--model"]
    mine = ["mine", str(tiny_data), "--output", str(tmp_path / "x.jsonl"), "--index", output, "--teacher"]
    assert main([*build, tiny_encoder]) == 0
    capsys.readouterr()
    for command in (
        [*build, str(tmp_path / "other")],
        ["index", "search", output, "read", "--model", str(tmp_path / "other")],
        [*mine, str(tmp_path / "other")],
    ):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert f"{output}: the index is of another model" in err
        assert "build it again with --rebuild" in err


def test_a_document_of_100_kb(tiny_encoder, tiny_data, tmp_path, capsys):
    """One page that somebody pasted a log file into must neither stop hours of encoding nor fill the terminal."""
    with (tiny_data / "corpus.jsonl").open("a") as lines:
        lines.write(json.dumps({"_id": "long", "text": "read file " * 10_000}) + "\n")
    output = str(tmp_path / "index")
    assert main(["index", "build", str(tiny_data), "--model", tiny_encoder, "--output", output]) == 0
    capsys.readouterr()
    assert main(["index", "search", output, "read file", "--top", "20"]) == 0
    captured = capsys.readouterr()
    assert "long" in captured.out
    assert max(map(len, captured.out.splitlines())) <= 160
    assert "longer than" not in captured.err
    scores = tmp_path / "lists.jsonl"
    assert main(["mine", str(tiny_data), "--teacher", tiny_encoder, "--output", str(scores), "--depth", "12"]) == 0
    assert "long" in scores.read_text()


def test_scores_of_another_corpus(tiny_encoder, tiny_data, make_collection, tmp_path, capsys):
    """Ids such as d1 are in every corpus: scores of one would teach a student the texts of another."""
    scores = str(tmp_path / "lists.jsonl")
    assert main(["mine", str(tiny_data), "--teacher", tiny_encoder, "--output", scores, "--depth", "3"]) == 0
    assert len(ScoredLists(str(tiny_data), scores, candidates=2)) == 8
    moved = make_collection(tmp_path / "moved")
    corpus = moved / "corpus.jsonl"
    corpus.write_text("\n" + corpus.read_text())  # other bytes, the same documents
    assert len(ScoredLists(str(moved), scores, candidates=2)) == 8
    corpus.write_text(corpus.read_text().replace("read write", "write read"))
    refused(
        lambda: ScoredLists(str(moved), scores, candidates=2),
        f"{scores}: ScoredLists: scores of another corpus",
        f"expected those of {moved}",
        f"got those of {tiny_data}",
        "-> kdhub mine",
    )
