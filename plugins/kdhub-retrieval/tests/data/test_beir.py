"""BEIR's layout: what reads, and what each kind of bad input says."""

import gzip
import json
import os
import tracemalloc

import pytest
from hypothesis import given, settings, strategies as st

from kdhub.api import read_jsonl, write_jsonl
from kdhub.errors import UsageError
from kdret.data.beir import load_split
from kdret.data.corpus import load_corpus
from kdret.data.paths import find_data


def append(path, line):
    with path.open("a", encoding="utf-8") as file:
        file.write(line if isinstance(line, str) else json.dumps(line) + "\n")


def test_reads_a_split(tiny_data):
    """The plain case, in file order: evaluation and training must see the same pairs."""
    data = load_split(tiny_data, "test")
    assert list(data.queries) == ["q8", "q9", "q10", "q11"]
    assert len(data.corpus) == 12
    assert [data.corpus.at(row).id for row in data.judged()] == ["d8", "d9", "d10", "d11"]
    assert data.corpus["d0"].content == "read write open"


def test_title_and_text_are_joined_as_beir_joins_them(tmp_path):
    """Numbers are comparable with other people's only if the same text is encoded."""
    write_jsonl(tmp_path / "corpus.jsonl.gz", [{"_id": 7, "title": "Flow", "text": "past a plate"}])
    assert load_corpus(tmp_path)["7"].content == "Flow past a plate"


def test_reads_beirs_own_files(tiny_data):
    """BEIR publishes one queries.jsonl for all splits and qrels/<split>.tsv with a heading."""
    both = (tiny_data / "queries.train.jsonl").read_text() + (tiny_data / "queries.test.jsonl").read_text()
    for path in tiny_data.glob("q*.jsonl"):
        path.unlink()
    (tiny_data / "queries.jsonl").write_text(both)
    (tiny_data / "qrels").mkdir()
    (tiny_data / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nq8\td8\t1\nq9\td9\t2\n")
    data = load_split(tiny_data, "dev")
    assert list(data.queries) == ["q8", "q9"]
    assert data.qrels == {"q8": {"d8": 1}, "q9": {"d9": 2}}


def test_gzip_is_reproducible(tmp_path):
    """A checksum in a manifest is worth nothing if the archive holds the time of writing."""
    rows = [{"_id": "ä", "text": "x" * 100}]
    one, two = tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.gz"
    assert write_jsonl(one, rows) == write_jsonl(two, rows) == 1
    assert one.read_bytes() == two.read_bytes()
    assert list(read_jsonl(one)) == [(1, rows[0])]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_lines_are_written_one_at_a_time(tmp_path, name):
    """TopiOCQA's 25 million passages stood four times in memory before the first was on the disk."""
    path, rows = tmp_path / name, ({"_id": number, "text": "x" * 1000} for number in range(8000))
    tracemalloc.start()
    try:
        assert write_jsonl(path, rows) == 8000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    kept = [entry for _, entry in read_jsonl(path)][:9]
    write_jsonl(path, (entry for _, entry in read_jsonl(path) if entry["_id"] < 9))  # out of the same file
    assert [entry for _, entry in read_jsonl(path)] == kept


@given(rows=st.lists(st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=20), st.integers())), max_size=5))
@settings(deadline=None, max_examples=25)
def test_lines_survive_a_round_trip(rows, tmp_path_factory):
    """Line separators inside texts, such as U+2028, must not be taken for ends of lines."""
    path = tmp_path_factory.mktemp("lines") / "rows.jsonl"
    write_jsonl(path, rows)
    assert [entry for _, entry in read_jsonl(path)] == rows


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("corpus.jsonl", "{not json\n", r"corpus\.jsonl:13: unreadable line \(expected a JSON object"),
        ("corpus.jsonl", "[1]\n", r"corpus\.jsonl:13: unreadable line .*got list"),
        ("corpus.jsonl", {"_id": "d0", "text": ""}, r"corpus\.jsonl:13: 'd0' occurs a second time"),
        ("corpus.jsonl", {"id": "d99", "text": ""}, r"corpus\.jsonl:13: no usable '_id' .*did you mean 'id'"),
        ("corpus.jsonl", {"_id": "d99", "txt": ""}, r"corpus\.jsonl:13: no usable 'text'.* did you mean 'txt'"),
        ("queries.test.jsonl", {"_id": "q8", "text": "again"}, r"queries\.test\.jsonl:5: 'q8' occurs a second time"),
        (
            "queries.test.jsonl",
            {"_id": "q99", "text": "lonely"},
            r"1 of 5 queries have no relevant document, first 'q99'",
        ),
        ("qrels.test.jsonl", {"query_id": "q88", "doc_id": "d8", "score": 1}, r":5: judgement of unknown query 'q88'"),
        (
            "qrels.test.jsonl",
            {"query_id": "q8", "doc_id": "d88", "score": 1},
            r":5: judgement of unknown document 'd88'",
        ),
        ("qrels.test.jsonl", {"query_id": "q8", "doc_id": "d8", "score": 1}, r":5: 'd8' occurs a second time"),
        ("qrels.test.jsonl", {"query_id": "q8", "doc_id": "d9", "score": 0.5}, r":5: no usable score .*got 0.5"),
        ("qrels.test.jsonl", {"query_id": "q8", "doc_id": "d9"}, r":5: no usable score .*got None"),
        ("qrels.test.jsonl", {"query_id": "q8", "doc_id": "d9", "score": True}, r":5: no usable score .*got True"),
        ("qrels.test.jsonl", {"query_id": "q8", "doc_id": "d9", "score": 2**40}, r":5: no usable score"),
        ("qrels.test.jsonl", {"query_id": "q8", "doc_id": "d9", "score": 10**400}, r":5: no usable score"),
        (
            "qrels.test.jsonl",
            {"query_id": ["q8"], "doc_id": "d9", "score": 1},
            r":5: no usable 'query_id' .*got \['q8'\]",
        ),
        ("corpus.jsonl", {"_id": True, "text": ""}, r"corpus\.jsonl:13: no usable '_id' .*got True\)$"),
        ("corpus.jsonl", {"_id": "d99", "title": None, "text": ""}, r":13: no usable 'title' .*got None\)$"),
        ("corpus.jsonl", '{"_id": "d99", "text": "\\ud83d"}\n', r"corpus\.jsonl:13: a text that is not Unicode"),
        ("corpus.jsonl", '{"_id": "\\ude00", "text": ""}\n', r"corpus\.jsonl:13: a text that is not Unicode"),
        ("corpus.jsonl", '{"_id": "d99", "\\x1b[31mtxt": ""}\n', r"corpus\.jsonl:13: unreadable line"),
        ("corpus.jsonl", {"_id": "d99", "\x1b[31mtxt": ""}, r"corpus\.jsonl:13: no usable 'text' .*'\\x1b\[31mtxt'"),
        pytest.param("corpus.jsonl", "[" * 100_000 + "\n", r"corpus\.jsonl:13: unreadable line", id="deep"),
        pytest.param("corpus.jsonl", "1" * 5000 + "\n", r"corpus\.jsonl:13: unreadable line", id="long number"),
    ],
)
def test_a_bad_line_is_named(tiny_data, file, line, message):
    """File and line, or the user searches ten million lines for it."""
    append(tiny_data / file, line)
    with pytest.raises(UsageError, match=message) as caught:
        load_split(tiny_data, "test")
    assert "\n" not in str(caught.value)


def test_query_judged_only_as_irrelevant(tiny_data):
    """It would count as a miss for every model."""
    append(tiny_data / "queries.test.jsonl", {"_id": "q99", "text": "x"})
    append(tiny_data / "qrels.test.jsonl", {"query_id": "q99", "doc_id": "d1", "score": 0})
    with pytest.raises(UsageError, match=r"no relevant document, first 'q99'"):
        load_split(tiny_data, "test")


@pytest.mark.parametrize(
    ("file", "what"), [("corpus", "documents"), ("queries.test", "queries"), ("qrels.test", "judgements")]
)
def test_an_empty_file_is_refused(tiny_data, file, what):
    """Empty qrels give nDCG 0 or NaN, which looks like a bad model."""
    (tiny_data / f"{file}.jsonl").write_text("\n")
    with pytest.raises(UsageError, match=rf"{file}\.jsonl: no {what}"):
        load_split(tiny_data, "test")


def test_a_missing_file_proposes_what_is_there(tiny_data):
    """`dev` where the data say `test` is the usual case."""
    with pytest.raises(UsageError, match=r"missing file .*queries\.tst\.jsonl.*did you mean .*'queries\.test\.jsonl'"):
        load_split(tiny_data, "tst")


def test_a_truncated_archive_is_named(tiny_data):
    """An interrupted download must be named, not end in a traceback out of gzip."""
    data = gzip.compress((tiny_data / "corpus.jsonl").read_bytes())
    (tiny_data / "corpus.jsonl.gz").write_bytes(data[:-20])
    with pytest.raises(UsageError, match=r"corpus\.jsonl\.gz:after line \d+: a truncated or damaged gzip archive"):
        load_corpus(tiny_data)


def test_a_file_that_is_not_utf8_is_named(tiny_data):
    """Latin-1 data of old collections."""
    append_bytes = (tiny_data / "corpus.jsonl").read_bytes() + b'{"_id": "d99", "text": "caf\xe9"}\n'
    (tiny_data / "corpus.jsonl").write_bytes(append_bytes)
    with pytest.raises(UsageError, match=r"corpus\.jsonl:13: not UTF-8 text"):
        load_corpus(tiny_data)


def test_whole_surrogate_pairs_are_characters(tiny_data):
    """An emoji that a JSON writer escaped is a text like any other."""
    append(tiny_data / "corpus.jsonl", '{"_id": "d99", "text": "\\ud83d\\ude00"}\n')
    assert load_corpus(tiny_data)["d99"].text == "\U0001f600"


def test_byte_order_mark_and_windows_line_ends_are_read(tiny_data):
    """Editors on Windows write both; the first id of a list began with an invisible character."""
    for name in ("corpus", "queries.test", "qrels.test"):
        path = tiny_data / f"{name}.jsonl"
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    plain = load_split(tiny_data, "test")
    (tiny_data / "qrels.test.jsonl").unlink()
    (tiny_data / "qrels").mkdir()
    lines = "\r\n".join(f"{query}\t{query.replace('q', 'd')}\t1" for query in plain.queries)
    (tiny_data / "qrels/test.tsv").write_bytes(b"\xef\xbb\xbf" + lines.encode() + b"\r\n\r\n")
    assert load_split(tiny_data, "test") == plain


def test_judgements_that_are_not_utf8_are_named(tiny_data):
    """The reader of tab-separated judgements ended in a traceback of the decoder."""
    (tiny_data / "qrels.test.jsonl").unlink()
    (tiny_data / "qrels").mkdir()
    (tiny_data / "qrels/test.tsv").write_bytes(b"q8\td8\t1\nq9\td\xe9\t1\n")
    with pytest.raises(UsageError, match=r"test\.tsv:2: not UTF-8 text"):
        load_split(tiny_data, "test")


@pytest.mark.parametrize("name", ["corpus", "queries.train", "qrels.train"])
def test_two_files_that_differ_are_refused(tiny_data, name):
    """A stale archive beside the file that was just edited: the archive was read, and nothing said so."""
    plain, archive = tiny_data / f"{name}.jsonl", tiny_data / f"{name}.jsonl.gz"
    archive.write_bytes(gzip.compress(plain.read_bytes()))
    load_split(tiny_data, "train")
    archive.write_bytes(gzip.compress(b"".join(plain.read_bytes().splitlines(keepends=True)[:-1])))
    os.utime(archive, (1, 1))
    message = (
        rf"{name}\.jsonl(\.gz)?: two files for the same data, and they differ .*got {name}\.jsonl is the newer one"
    )
    with pytest.raises(UsageError, match=message):
        load_split(tiny_data, "train")


def test_judgements_in_two_forms_are_refused(tiny_data):
    """BEIR's table and a converted list may come from two versions of the judgements."""
    (tiny_data / "qrels").mkdir()
    (tiny_data / "qrels/test.tsv").write_text("q8\td9\t1\n")
    with pytest.raises(UsageError, match=r"qrels\.test\.jsonl: two files for the same data"):
        load_split(tiny_data, "test")


@pytest.mark.parametrize("line", ["q8\td8\n", "q8 d8 1\n", "q8\td8\tone\n"])
def test_a_bad_tsv_line_is_named(tiny_data, line):
    """Spaces for tabs are the usual damage."""
    (tiny_data / "qrels.test.jsonl").unlink()
    (tiny_data / "qrels").mkdir()
    (tiny_data / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + line)
    with pytest.raises(UsageError, match=r"test\.tsv:2: (unreadable line|no usable score)"):
        load_split(tiny_data, "test")


def test_data_folder_by_environment(tiny_data, monkeypatch):
    """`data/cranfield` in a config means KDHUB_DATA/cranfield where that is set; a mistyped name is proposed."""
    monkeypatch.setenv("KDHUB_DATA", str(tiny_data.parent))
    assert find_data("data/tiny") == tiny_data
    with pytest.raises(UsageError, match=r"no data folder 'data/tini' \(expected data/tini or .*/tini\)"):
        find_data("data/tini")
    with pytest.raises(UsageError, match=r"did you mean 'tiny'"):
        find_data(tiny_data.parent / "tini")


@pytest.mark.shared
@pytest.mark.parametrize(("split", "queries", "judgements"), [("train", 120, 879), ("dev", 45, 329)])
def test_cranfield(shared_data, split, queries, judgements):
    """The real files, with the counts that their README states."""
    data = load_split(shared_data / "cranfield", split)
    assert (len(data.corpus), len(data.queries)) == (1400, queries)
    assert sum(map(len, data.qrels.values())) == judgements
