"""Conversations as queries: their formats, how they are written as one text, and the folder that is made of them."""

import gzip
import json
import re
from pathlib import Path

import pytest

from kdhub.errors import UsageError
from kdret.data.beir import load_split
from kdret.data.conversational import convert, main
from kdret.data.conversations import Turn, flattened, read_turns
from kdret.data.scored_lists import ScoredLists

SHARED = Path(__file__).resolve().parents[5] / "shared/data"


def test_the_newest_part_comes_first():
    """An encoder cuts off at the end, and would lose the question itself. Card disco.md, section 4."""
    turn = Turn("t", "c", "q2", ("q0", "a0", "q1", "a1"))
    assert flattened(turn) == "q2 [SEP] a1 [SEP] q1 [SEP] a0 [SEP] q0"
    assert flattened(turn, last=2) == "q2 [SEP] a1 [SEP] q1"
    assert flattened(Turn("t", "c", "alone")) == "alone"


LINES = [
    {"_id": "2021_7_1", "year": 2021, "history": [], "utterance": "What is it?", "rewrite": "What is kd?"},
    {"_id": "2021_7_2", "history": ["What is it?"], "utterance": "Why?", "rewrite": "Why kd?", "auto_rewrite": "Why?"},
]
QRECC = [
    {"Conversation_no": 3, "Turn_no": 1, "Question": "Who?", "Context": [], "Rewrite": "Who is it?", "Answer": "He."},
    {"Conversation_no": 3, "Turn_no": 2, "Question": "When?", "Context": ["Who?", "He."], "Answer": "Now."},
]
CAST = [
    {
        "number": 31,
        "turn": [
            {"number": 1, "raw_utterance": "What?", "manual_rewritten_utterance": "What is kd?"},
            {"number": 2, "raw_utterance": "Why?", "automatic_rewritten_utterance": "Why kd?"},
        ],
    }
]


def test_each_format_is_told_by_its_fields(tmp_path):
    """A field that goes unread is a turn without its past, which looks like an easy question."""
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    own = read_turns(tmp_path / "a.jsonl")
    assert [turn.conversation for turn in own] == ["2021_7", "2021_7"]
    assert own[1].history == ("What is it?",)
    assert own[1].rewrites == {"human": "Why kd?", "auto": "Why?"}
    with gzip.open(tmp_path / "b.json.gz", "wt") as file:
        json.dump(QRECC, file)
    qrecc = read_turns(tmp_path / "b.json.gz")
    assert [(turn.id, turn.history, dict(turn.rewrites)) for turn in qrecc] == [
        ("3_1", (), {"human": "Who is it?"}),
        ("3_2", ("Who?", "He."), {}),
    ]
    (tmp_path / "c.json").write_text(json.dumps(CAST))
    cast = read_turns(tmp_path / "c.json")
    assert [(turn.id, turn.history, dict(turn.rewrites)) for turn in cast] == [
        ("31_1", (), {"human": "What is kd?"}),
        ("31_2", ("What?",), {"auto": "Why kd?"}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"question": "Who?"}], r"unknown format of conversations .*got question"),
        ([QRECC[0], QRECC[0]], r"turn '3_1' occurs a second time"),
        ([QRECC[0] | {"Context": "Who?"}], r"entry 0: no usable 'Context'"),
        ([QRECC[0] | {"Question": None}], r"entry 0: no usable 'Question'"),
        ([], "no turns"),
        ({}, "no list of conversations"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, message):
    """Half a file of conversations trains half a student."""
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=message):
        read_turns(tmp_path / "a.json")


@pytest.fixture
def files(tmp_path):
    """Four conversations of two turns; the second turn of each is judged."""
    turns = [
        {"_id": f"c{c}_{t}", "history": ["one"][: t - 1], "utterance": f"u{c}{t}", "rewrite": f"r{c}{t}"}
        for c in range(4)
        for t in (1, 2)
    ]
    qrels = [{"query_id": f"c{c}_2", "doc_id": "d0", "score": 1} for c in range(4)]
    passages = [{"_id": f"d{n}", "text": f"text {n}"} for n in range(5)]
    for name, rows in (("turns", turns), ("qrels", qrels), ("passages", passages)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def run(files, *more):
    return main(
        [
            str(files / "turns.jsonl"),
            *("--passages", str(files / "passages.jsonl"), "--qrels", str(files / "qrels.jsonl")),
            *("--output", str(files / "out"), *more),
        ]
    )


def test_a_folder_of_conversations(files, capsys):
    """A conversation in training and in test would make the student look better than it is."""
    assert run(files) == 0
    assert "train, 4 queries" in capsys.readouterr().out
    whole, human = (load_split(files / "out", name) for name in ("test", "test-human"))
    assert len(whole.queries) == 2
    assert whole.qrels == human.qrels
    assert whole.queries == {key: f"u{key[1]}2 [SEP] one" for key in whole.queries}
    assert human.queries == {key: f"r{key[1]}2" for key in whole.queries}
    train = load_split(files / "out", "train", judged=False)
    assert not {key[:2] for key in train.queries} & {key[:2] for key in whole.queries}
    assert run(files) == 2
    assert "there already" in capsys.readouterr().err


def test_a_judgement_of_an_unknown_turn_is_told(files, capsys):
    """Judgements of another year of the track would leave every query without a relevant document."""
    (files / "qrels.jsonl").write_text('{"query_id": "c9_1", "doc_id": "d0", "score": 1}\n')
    assert run(files) == 2
    assert "qrels.jsonl:1: judgement of an unknown turn 'c9_1'" in capsys.readouterr().err
    assert not (files / "out").exists()


def test_unjudged_turns_teach_by_the_teachers_best(files):
    """Four of five turns of CAsT have no judgement; without them the student has next to nothing to learn from."""
    assert run(files) == 0
    train = load_split(files / "out", "train", judged=False)
    rows = [{"query_id": q, "doc_ids": ["d1", "d2", "d3"], "scores": [1.0, 3.0, 2.0]} for q in train.queries]
    (files / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = ScoredLists(str(files / "out"), str(files / "scores.jsonl"), candidates=3, first="best")
    assert len(data) == 4
    assert data[0]["labels"][0] == 3.0
    assert data[0]["texts"]["document"][0] == "text 2"


@pytest.mark.parametrize(("first", "expected"), [("judged", "text 1"), ("best", "text 0")])
@pytest.mark.parametrize("skip", [0, 1])
def test_no_judged_document_is_a_negative(tmp_path, first, expected, skip):
    """Card disco.md, section 4. What is known to be relevant would be pushed away, and the best that is left taken for the best."""
    ids = [f"d{row}" for row in range(5)]
    tables = {
        "corpus": [{"_id": key, "title": "", "text": f"text {key[1]}"} for key in ids],
        "queries.train": [{"_id": "q", "text": "which"}],
        "qrels.train": [{"query_id": "q", "doc_id": "d1", "score": 1}],
        "scores": [{"query_id": "q", "doc_ids": ids, "scores": [5.0, 4.0, 3.0, 2.0, 1.0]}],
    }
    for name, rows in tables.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = ScoredLists(str(tmp_path), "scores.jsonl", candidates=2, skip=skip, first=first, unscored="max")
    drawn = [data[0]["texts"]["document"] for _ in range(30)]
    assert {positive for positive, _ in drawn} == {expected}
    assert {negative for _, negative in drawn} <= {"text 0", "text 2", "text 3", "text 4"} - {expected}


TOPIOCQA = [
    {"conv_id": 5, "turn_id": 1, "question": "who is he", "positive_ctxs": [{"passage_id": "12", "title": "He"}]},
    {
        "conv_id": 5,
        "turn_id": 2,
        "question": "who is he [SEP] A king. [SEP] when",
        "positive_ctxs": [{"passage_id": 7}],
    },
]
SEGMENTS = 'id\ttext\ttitle\n12\t"He said ""no"" twice."\tHe [SEP] Life\n7\tIn 1066.\tEngland [SEP] Kings\n'
"""As Python's csv writes them: a field with quotation marks stands in quotation marks."""


def converted(folder, turns, passages, *more):
    (folder / "turns.json").write_text(json.dumps(turns))
    (folder / passages[0]).write_text(passages[1])
    words = [str(folder / "turns.json"), "--passages", str(folder / passages[0]), "--output", str(folder / "out")]
    return main([*words, *more])


@pytest.mark.parametrize("rows", [False, True])
def test_topiocqa_as_it_is_published(tmp_path, rows):
    """Its segments are no lines of JSON, and its judgements stand among the turns: nobody could train DiSCo on what it was made for."""
    more = ["--row-ids"] if rows else []
    assert converted(tmp_path, TOPIOCQA, ("full_wiki_segments.tsv", SEGMENTS), "--test", "1", *more) == 0
    data = load_split(tmp_path / "out", "test")
    one, two = ("0", "1") if rows else ("5_1", "5_2")
    assert data.queries == {one: "who is he", two: "when [SEP] A king. [SEP] who is he"}
    assert data.qrels == {one: {"12": 1}, two: {"7": 1}}
    # card disco.md, section 4: title + ". " + text
    assert data.corpus["12"].content == 'He [SEP] Life. He said "no" twice.'
    assert list(data.corpus) == ["12", "7"]


@pytest.mark.parametrize(
    ("name", "judgements"),
    [
        ("qrels.json", '{"31_1": {"a": 1}, "31_2": {"b": 2, "a": 0}}'),
        ("2020qrels.txt", "31_1 0 a 1\n31_2 0 b 2\n31_2\t0\ta\t0\n\n"),
        (
            "qrels.jsonl",
            "".join(
                f'{{"query_id": "31_{q}", "doc_id": "{d}", "score": {s}}}\n'
                for q, d, s in ((1, "a", 1), (2, "b", 2), (2, "a", 0))
            ),
        ),
    ],
)
def test_all_forms_of_judgements_say_the_same(tmp_path, name, judgements):
    """CAsT's are TREC's, DiSCo's are one object; a form that is taken for another one judges other passages."""
    (tmp_path / name).write_text(judgements)
    passages = "collection.tsv", 'a\tan "unended quote\nb\ttwo\twords\n'
    assert converted(tmp_path, CAST, passages, "--qrels", str(tmp_path / name), "--test", "1") == 0
    data = load_split(tmp_path / "out", "test")
    assert data.qrels == {"31_1": {"a": 1}, "31_2": {"b": 2, "a": 0}}
    assert {key: one.content for key, one in data.corpus.items()} == {"a": 'an "unended quote', "b": "two\twords"}


@pytest.mark.parametrize(
    ("turns", "passages", "qrels", "message"),
    [
        (
            TOPIOCQA,
            ("p.tsv", "id\ttext\ttitle\n12\tno title\n"),
            None,
            r"p\.tsv:2: not a passage \(expected id, text and title",
        ),
        (TOPIOCQA, ("p.tsv", "12 no tab\n"), None, r"p\.tsv:1: not a passage \(expected an id, a tab and a text"),
        (TOPIOCQA, ("p.txt", ""), None, r"p\.txt: unknown format of passages"),
        (CAST, ("p.tsv", "a\tb\n"), None, r"file of turns: no judgements .*-> give a file with --qrels"),
        (CAST, ("p.tsv", "a\tb\n"), "31_1 0 a\n", r"q\.txt:1: not a line of TREC's judgements"),
        (CAST, ("p.tsv", "a\tb\n"), "31_1 0 a x\n", r"q\.txt:1: no usable score"),
        (
            CAST,
            ("p.tsv", "a\tb\n"),
            "31_1 0 a 1\n4 0 a 1\n",
            r"q\.txt:2: judgement of an unknown turn '4'.*add --row-ids",
        ),
        ([TOPIOCQA[0] | {"positive_ctxs": "12"}], ("p.tsv", "a\tb\n"), None, r"entry 0: no usable 'positive_ctxs'"),
    ],
)
def test_inputs_that_are_something_else(tmp_path, capsys, turns, passages, qrels, message):
    """A file that is half understood makes a corpus with wrong ids, and nobody sees why no passage is ever found."""
    more = []
    if qrels is not None:
        (tmp_path / "q.txt").write_text(qrels)
        more = ["--qrels", str(tmp_path / "q.txt")]
    assert converted(tmp_path, turns, passages, *more) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "turns", "judged"), [("conv_cast", 934, 187), ("conv_mtrag", 161, 161)])
def test_the_real_collections(tmp_path, name, turns, judged):
    """Their own counts, as their README states them."""
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine")
    read = read_turns(folder / "turns.jsonl.gz")
    assert len(read) == turns
    counts = convert(read, folder / "passages.jsonl.gz", folder / "qrels.jsonl.gz", tmp_path, test=0.5)
    assert 0.3 * judged < counts["test"] < 0.7 * judged
    assert load_split(tmp_path, "test-human").qrels.keys() == load_split(tmp_path, "test").qrels.keys()
