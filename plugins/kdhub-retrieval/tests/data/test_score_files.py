"""Score lists in the formats in which people keep them, fused over teachers and cut to a window."""

import json
import math

import pytest
from hypothesis import given, settings, strategies as st

from kdhub.errors import UsageError
from kdret.data import score_files
from kdret.data.fusion import fuse, reciprocal_ranks, window
from kdret.data.score_files import read_lists
from kdret.data.scored_lists import ScoredLists

RUN = {"q0": {"d0": 2.0, "d3": 9.5, "d4": 8.0}, "q1": {"d1": 1.0, "d5": -1.0}}


def written(folder, name, run=RUN):
    """The same lists in the format that the name says."""
    path = folder / name
    if name.endswith(".json"):
        path.write_text(json.dumps(run, indent=1))
    elif name.endswith(".jsonl"):
        rows = [{"query_id": q, "doc_ids": list(own), "scores": list(own.values())} for q, own in run.items()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [
            f"{q} Q0 {d} {rank} {score} tag\n" for q, own in run.items() for rank, (d, score) in enumerate(own.items())
        ]
        path.write_text("".join(lines))
    return path


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.trec", "a.run"])
def test_all_formats_say_the_same(tmp_path, name):
    """A run in another format must not have to be rewritten by a script of the user's own."""
    assert {query: scored for _, query, scored in read_lists(written(tmp_path, name))} == RUN


@settings(max_examples=80, deadline=None)
@given(
    run=st.dictionaries(
        st.text(max_size=5), st.dictionaries(st.text(max_size=5), st.floats(-1e6, 1e6), max_size=5), max_size=6
    ),
    chunk=st.integers(1, 30),
    indent=st.sampled_from([None, 2]),
)
def test_a_json_run_is_read_piece_by_piece(tmp_path_factory, run, chunk, indent):
    """A number cut in two by the end of a piece is another number."""
    path = tmp_path_factory.mktemp("run") / "run.json"
    path.write_text(json.dumps(run, indent=indent))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(score_files, "_CHUNK", chunk)
        if not run:
            with pytest.raises(UsageError, match="not a run"):
                list(read_lists(path))
            return
        assert {query: scored for _, query, scored in read_lists(path)} == run


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"q0": {"d0": 1, "d0": 2}}', r"'d0' occurs a second time"),
        ("a.json", '{"q0": {"d0": "1"}}', r"query 'q0': no usable score of document 'd0'"),
        ("a.json", '{"q0": [1, 2]}', r"unreadable list .*expected \{doc_id: score\}"),
        ("a.json", '{"q0": {"d0": 1}', r"not a run"),
        ("a.json", '[{"q0": 1}]', r"not a run"),
        ("a.json", "", r"not a run"),
        ("a.trec", "q0 Q0 d0 1 2.0 tag\nq0 Q0 d1 2.0 tag\n", r"a\.trec:2: not a line of a TREC run"),
        ("a.trec", "q0 Q0 d0 1 high tag\n", r"a\.trec:1: no usable score of document 'd0' .*got 'high'"),
        ("a.csv", "", r"unknown format of scores"),
    ],
)
def test_a_bad_file_is_named(tmp_path, name, text, message):
    """A line that is skipped without a word is a query without a teacher."""
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        list(read_lists(tmp_path / name))


def test_a_query_whose_lines_do_not_stand_together_is_told(tiny_data):
    """The second half of its list would replace the first."""
    (tiny_data / "a.run").write_text("q0 Q0 d0 1 2 t\nq1 Q0 d1 1 2 t\nq0 Q0 d3 2 1 t\n")
    with pytest.raises(UsageError, match=r"a\.run:3: query 'q0' occurs a second time"):
        ScoredLists(str(tiny_data), "a.run", candidates=2)


def test_fusion_leaves_out_who_does_not_list_the_document():
    """Card disco.md, acceptance 8: a missing score taken for 0 would halve the others."""
    assert fuse([{"d1": 10.0, "d2": 6.0}, {"d1": 8.0, "d3": 5.0}], [0.5, 0.5]) == {"d1": 9.0, "d2": 6.0, "d3": 5.0}
    weighted = fuse([{"d1": 10.0, "d2": 6.0}, {"d1": 6.0, "d2": math.nan}], [0.75, 0.25])
    assert weighted == {"d1": 9.0, "d2": 6.0}


def test_teachers_of_two_scales_are_mapped_first():
    """Unmapped, the teacher with the larger numbers decides alone."""
    small, large = {"a": 0.0, "b": 1.0, "c": 0.5}, {"a": 300.0, "b": 100.0, "c": 200.0}
    assert fuse([small, large], [0.5, 0.5], "minmax") == {"a": 0.5, "b": 0.5, "c": 0.5}
    scored = fuse([small, large], [0.5, 0.5], "zscore")
    assert all(abs(score) < 1e-12 for score in scored.values())
    assert fuse([{"a": 3.0, "b": 3.0}], [1.0], "zscore") == {"a": 0.0, "b": 0.0}


def test_the_window_is_that_of_the_card():
    """Card disco.md, acceptance 10: ranks 11 to 960, counted from 1; off by one keeps a false negative."""
    assert window({"d1": 9.0, "d2": 8.0, "d3": 7.0, "d4": 6.0}, 1, 2) == {"d2": 8.0, "d3": 7.0}
    ranked = {str(rank): -float(rank) for rank in range(1, 1001)}
    assert list(window(ranked, 10, 950)) == [str(rank) for rank in range(11, 961)]


def test_a_relevant_document_outside_of_the_window(tiny_data):
    """Card disco.md, acceptance 10: it gets the highest score of the window, or its sample is dropped."""
    run = {"q0": {"d0": 9.0, "d1": 8.0, "d2": 7.0, "d3": 6.0}}
    path = written(tiny_data, "a.json", run)
    disco = ScoredLists(str(tiny_data), path.name, candidates=3, skip=1, keep=2, unscored="max")
    assert disco[0]["labels"][0] == 8.0
    assert sorted(disco[0]["labels"][1:]) == [7.0, 8.0]
    with pytest.raises(UsageError, match="no list is left"):
        ScoredLists(str(tiny_data), path.name, candidates=3, skip=1, keep=2)


def test_lists_of_several_teachers(tiny_data):
    """The union is what the student learns from, with each document's mean."""
    names = [
        written(tiny_data, "one.json", {"q0": {"d0": 10.0, "d3": 6.0}}).name,
        written(tiny_data, "two.run", {"q0": {"d0": 8.0, "d4": 5.0}}).name,
    ]
    sample = ScoredLists(str(tiny_data), names, candidates=3)[0]
    assert sample["labels"][0] == 9.0
    assert sorted(sample["labels"][1:]) == [5.0, 6.0]


def test_reciprocal_ranks_by_hand():
    """Ranks from 0, another constant, or a missing document counted as the last: each puts another document first."""
    # b 1/62 + 1/61, a 1/61, d 1/62, c 1/63
    assert reciprocal_ranks([["a", "b", "c"], ["b", "d"]]) == ["b", "a", "d", "c"]
    assert reciprocal_ranks([["a", "b"], []]) == ["a", "b"]
    # 2 / (60 + 62) = 1 / (60 + 1), and equal ones stand from the last id to the first
    for rank, first in ((61, "y"), (62, "z"), (63, "z")):
        others = [[f"{name}{place}" for place in range(rank - 1)] for name in "ab"]
        assert reciprocal_ranks([["z"], *([*own, "y"] for own in others)])[0] == first
