"""Scored pairs of any number, the lines they are read from, and checksums that are remembered."""

import copy
import gzip
import json
import tracemalloc
from types import SimpleNamespace

import pytest
from hypothesis import given, settings, strategies as st

from kdhub.errors import UsageError
from kdret.data import digests
from kdret.data.corpus import Corpus, load_corpus
from kdret.data.lines import Lines
from kdret.data.scored_pairs import ScoredPairs


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(
        st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=9), max_size=99
    ),
    ended=st.booleans(),
    chunk=st.integers(1, 40),
)
def test_every_line_is_found(tmp_path_factory, lines, ended, chunk):
    """A place that is off by one byte gives a pair the scores of its neighbour."""
    path = tmp_path_factory.mktemp("lines") / "file.tsv"
    text = "\n".join(lines) + ("\n" if ended and lines else "")
    path.write_bytes(text.encode())
    expected = text.split("\n")[: -1 if text.endswith("\n") else None] if text else []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("kdret.data.lines._CHUNK", chunk)
        found = Lines(path)
    if expected and expected[0].startswith("\ufeff"):
        expected[0] = expected[0][1:]
    assert len(found) == len(expected)
    assert [found[number] for number in range(len(found))] == expected
    assert list(found) == expected


def test_lines_in_another_process(tmp_path):
    """Two data workers that share one open file read each other's lines."""
    path = tmp_path / "file.tsv"
    path.write_text("a\nb\r\nc")
    lines = Lines(path)
    assert lines[1] == "b"
    assert copy.copy(lines)[2] == "c"
    with pytest.raises(IndexError):
        lines[3]


def test_an_archive_is_unpacked_once(tmp_path):
    """Each access to the middle of an archive would unpack all before it, and training would take weeks."""
    path = tmp_path / "scores.tsv.gz"
    path.write_bytes(gzip.compress(b"a\nb\r\nc"))
    lines = Lines(path)
    path.write_bytes(b"gone")
    assert list(lines) == ["a", "b", "c"]
    assert lines[1] == "b"
    path.write_bytes(gzip.compress(b"a\nb\r\nc"))
    assert copy.copy(lines)[2] == "c"
    with pytest.raises(UsageError, match="unpack it"):
        Lines(tmp_path / "scores.tsv.zst")


def test_a_corpus_finds_each_text_and_no_other(tmp_path, monkeypatch):
    """Identifiers whose hashes collide, and unknown ones, would be given another's text."""
    monkeypatch.setattr("kdret.data.corpus._hash", len)
    path = tmp_path / "collection.tsv"
    keys = ("7", "8", "70", "71", "700")
    path.write_text("".join(f"{key}\ttext of {key}\n" for key in keys))
    corpus = Corpus(path)
    assert [corpus[key].content for key in keys] == [f"text of {key}" for key in keys]
    assert [corpus.get(key) for key in ("9", "79", "701", "12345")] == [None] * 4
    assert [corpus.row(key) for key in keys] == list(range(5))
    assert [corpus.at(row).id for row in range(5)] == list(keys)
    path.write_text("7\ta\n8\tb\n7\tc\n")
    with pytest.raises(UsageError, match=r"collection.tsv:3: '7' occurs a second time"):
        Corpus(path)


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz", "collection.tsv", "collection.tsv.gz"])
def test_texts_of_a_corpus_stay_on_the_disk(tmp_path, name):
    """Ten million passages in Python's memory, and once more in a data set, are a machine that swaps."""
    text, documents = "x" * 5_000, 2_000
    lines = (
        f"{i}\t{text}{i}" if ".tsv" in name else json.dumps({"_id": i, "text": f"{text}{i}"}) for i in range(documents)
    )
    data = ("\ufeff" + "\r\n".join(lines)).encode()
    (tmp_path / name).write_bytes(gzip.compress(data, 1) if name.endswith(".gz") else data)
    tracemalloc.start()
    try:
        corpus = load_corpus(tmp_path)
        contents = corpus.contents()
        rows = sum(len(content) for content in contents.values())
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == corpus.lengths.sum() > 10_000_000
    assert corpus["1999"].content == corpus.at(1999).content == f"{text}1999"
    assert (len(contents), next(iter(contents))) == (documents, "0")
    assert kept < 100 * documents
    assert peak < len(data) / 2


@pytest.fixture
def marco(tmp_path):
    """A folder in MS MARCO's layout."""
    (tmp_path / "collection.tsv").write_text("70\tseventy\n71\tseventy-one\n72\t \n")
    (tmp_path / "queries.train.tsv").write_text("7\tseven\n8\teight\n")
    return tmp_path


def scores(folder, *lines, name="scores.tsv"):
    (folder / name).write_text("".join(line + "\n" for line in lines))
    return name


def test_a_published_line_becomes_a_sample(marco):
    """Card margin_mse.md, acceptance 9: ids become texts, the relevant document first."""
    data = ScoredPairs(str(marco), scores(marco, "5.0\t1.5\t7\t70\t71"))
    assert len(data) == 1
    assert data[0] == {"texts": {"query": "seven", "document": ["seventy", "seventy-one"]}, "labels": [5.0, 1.5]}


def test_the_other_format_in_circulation(marco):
    """Texts whose scores stand last would be read as ids, and every pair dropped."""
    data = ScoredPairs(str(marco), scores(marco, "what is it\tit is this\tit is that\t5.0\t1.5"))
    assert data[0] == {"texts": {"query": "what is it", "document": ["it is this", "it is that"]}, "labels": [5.0, 1.5]}


def test_what_cannot_be_used_is_left_out_and_counted(marco, logged):
    """A missing score taken for 0, or an unknown id for an empty text, teaches the wrong order."""
    lines = ("5\t1\t7\t70\t99", "nan\t1\t7\t70\t71", "5\t1\t7\t70\t72", "4\t2\t8\t71\t70")
    data = ScoredPairs(str(marco), scores(marco, *lines))
    assert [data[index]["labels"] for index in range(4)] == [[4.0, 2.0]] * 4
    # index 0 meets three of them, 1 two, 2 one
    assert data.metainfo["dropped"] == {"pairs with an unknown id or an empty text": 4, "pairs without a score": 2}
    assert any("unknown id" in line for line in logged)
    only = ScoredPairs(str(marco), scores(marco, *lines[:3]))
    with pytest.raises(UsageError, match="no pair is left"):
        only[0]


def test_pairs_that_the_teacher_turns_round(marco):
    """A filter that is on by itself would throw away what the teacher knows better."""
    name = scores(marco, "1\t5\t7\t70\t71", "6\t2\t8\t71\t70")
    assert ScoredPairs(str(marco), name)[0]["labels"] == [1.0, 5.0]
    assert ScoredPairs(str(marco), name, margins="positive")[0]["labels"] == [6.0, 2.0]


def test_an_ensemble_is_the_mean_of_its_teachers(marco):
    """Card margin_mse.md, acceptance 6: (5, 1), (7, 2), (6, 0) give (6, 1)."""
    pair = "\t7\t70\t71"
    names = [scores(marco, line + pair, name=f"{i}.tsv") for i, line in enumerate(("5\t1", "7\t2", "6\t0"))]
    assert ScoredPairs(str(marco), names)[0]["labels"] == pytest.approx([6, 1])
    assert ScoredPairs(str(marco), names, weights=[0, 2, 2])[0]["labels"] == pytest.approx([6.5, 1])
    with pytest.raises(UsageError, match="bad weights"):
        ScoredPairs(str(marco), names, weights=[1, 1])
    other = scores(marco, "5\t1\t7\t71\t70", name="other.tsv")
    with pytest.raises(UsageError, match="do not list the same pairs"):
        ScoredPairs(str(marco), [names[0], other])
    longer = scores(marco, "5\t1" + pair, "5\t1" + pair, name="longer.tsv")
    with pytest.raises(UsageError, match="do not list the same pairs"):
        ScoredPairs(str(marco), [names[0], longer])


@pytest.mark.parametrize("line", ["5\t1\t7\t70", "five\t1\t7\t70\tx", "", "5 1 7 70 71"])
def test_a_bad_line_is_named(marco, line):
    """Of forty million lines nobody finds the bad one by hand."""
    data = ScoredPairs(str(marco), scores(marco, "5\t1\t7\t70\t71", line))
    with pytest.raises(UsageError, match=r"scores.tsv:2: not a scored pair"):
        data[1]


def test_beir_collections_serve_too(tiny_data):
    """A folder that all other data sets read must not need to be rewritten for this one."""
    query = json.loads((tiny_data / "queries.train.jsonl").read_text().splitlines()[0])
    data = ScoredPairs(str(tiny_data), scores(tiny_data, f"2\t1\t{query['_id']}\td0\td1"))
    assert data[0]["texts"]["query"] == query["text"]


def test_a_large_file_is_hashed_once(tmp_path, monkeypatch):
    """Ten gigabytes of passages would be read at each start; a changed file must be read again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_LARGE", 4)
    monkeypatch.setattr(digests, "_SETTLED", -1.0)
    read = []
    real = digests.file_sha256
    monkeypatch.setattr(digests, "file_sha256", lambda path: read.append(path) or real(path))
    path = tmp_path / "corpus.jsonl"
    path.write_text("large enough")
    first = digests.checksum(path)
    assert digests.checksum(path) == first
    assert len(read) == 1
    path.write_text("changed now.")
    assert digests.checksum(path) != first
    (tmp_path / "cache/kdhub/checksums.json").write_text("{")
    assert digests.checksum(path) == real(path)


def test_a_file_that_is_still_written_is_not_remembered(tmp_path, monkeypatch):
    """Two versions within the clock's resolution look alike to the file system."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_LARGE", 4)
    monkeypatch.setattr(digests, "_SETTLED", 1e9)
    (tmp_path / "corpus.jsonl").write_text("large enough")
    digests.checksum(tmp_path / "corpus.jsonl")
    assert not (tmp_path / "cache").exists()


def test_texts_of_a_large_corpus_are_fingerprinted_once(tiny_data, tmp_path, monkeypatch):
    """Each search of a saved index read ten gigabytes twice before it answered."""
    from kdret import corpus_index

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_LARGE", 4)
    monkeypatch.setattr(digests, "_SETTLED", -1.0)
    read = []
    real = digests.texts_fingerprint
    monkeypatch.setattr(digests, "texts_fingerprint", lambda texts: read.append(1) or real(texts))
    vectors = SimpleNamespace(fingerprint=lambda: "m")
    first = corpus_index.about_of(vectors, load_corpus(tiny_data))
    assert corpus_index.about_of(vectors, load_corpus(tiny_data)) == first
    assert len(read) == 1
    with (tiny_data / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "more", "text": "a text"}\n')
    assert corpus_index.about_of(vectors, load_corpus(tiny_data)) != first
