"""Data sets in the form of the Hugging Face hub: what becomes of them, and what is said when one cannot be had."""

import builtins
import json

import pytest

from kdret.data.beir import load_split
from kdret.data.from_hf_datasets import main

pytest.importorskip("datasets", reason="pip install 'kdhub-retrieval[hf-datasets]'")

CARD = """---
configs:
- config_name: {judged}
  data_files:
  - split: train
    path: qrels/train.jsonl
  - split: test
    path: qrels/test.jsonl
- config_name: corpus
  data_files:
  - split: corpus
    path: corpus.jsonl
- config_name: queries
  data_files:
  - split: queries
    path: queries.jsonl
---
"""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder as MTEB's data sets are, ids under a name of one's choice, in a cache of its own."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "hub"

    def written(name="_id", judged="default"):
        (folder / "qrels").mkdir(parents=True)
        tables = {
            "corpus": [
                {name: "d0", "title": "files", "text": "read a file"},
                {name: "d1", "title": None, "text": "sort"},
            ],
            "queries": [{name: "q0", "text": "file"}, {name: "q1", "text": "list"}, {name: "q2", "text": "lonely"}],
            "qrels/train": [{"query-id": "q1", "corpus-id": "d1", "score": 2}],
            "qrels/test": [
                {"query-id": "q0", "corpus-id": "d0", "score": 1},
                {"query-id": "q0", "corpus-id": "d9", "score": 1},
                {"query-id": "q2", "corpus-id": "d1", "score": 0},
            ],
        }
        for table, rows in tables.items():
            (folder / f"{table}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "README.md").write_text(CARD.format(judged=judged))
        return folder

    return written


@pytest.mark.parametrize(("name", "judged"), [("_id", "default"), ("id", "qrels")])
def test_a_data_set_of_the_hub_becomes_a_folder_that_all_data_sets_read(hub, tmp_path, name, judged, capsys):
    """Both spellings stand on the hub; a split must take its own queries out of the one table."""
    out = tmp_path / "out"
    assert main([str(hub(name, judged)), "--splits", "train", "test", "--output", str(out)]) == 0
    captured = capsys.readouterr()
    assert "test: left out 1 judgements of documents" in captured.err
    assert "test: left out 1 queries without a relevant document" in captured.err
    test, train = load_split(out, "test"), load_split(out, "train")
    assert {key: document.content for key, document in test.corpus.items()} == {"d0": "files read a file", "d1": "sort"}
    assert (test.queries, test.qrels) == ({"q0": "file"}, {"q0": {"d0": 1}})
    assert (train.queries, train.qrels) == ({"q1": "list"}, {"q1": {"d1": 2}})


@pytest.mark.parametrize(
    ("edit", "words", "message"),
    [
        (None, ["--splits", "tset"], "has no split 'tset' (got train, test); did you mean 'test'"),
        (("corpus.jsonl", '"text"', '"body"'), [], "table 'corpus' has no column 'text' (got _id, title, body)"),
        (("README.md", "config_name: queries", "config_name: asked"), [], "has no table 'queries' (got"),
        (
            ("README.md", "config_name: default", "config_name: judged"),
            [],
            "-> name the data set of the judgements: --qrels DATASET",
        ),
    ],
)
def test_mistakes_are_one_line(hub, tmp_path, edit, words, message, capsys):
    """A KeyError out of the library names neither the mistake nor what there is."""
    folder = hub()
    if edit is not None:
        path, old, new = edit
        (folder / path).write_text((folder / path).read_text().replace(old, new))
    assert main([str(folder), *words, "--output", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err.strip()
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_a_name_that_is_nowhere_is_one_line(hub, tmp_path, capsys):
    """Without a network the library raises errors of its own, each of another type."""
    assert main([str(tmp_path / "gone"), "--output", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err.strip()
    assert f"datasets cannot read {tmp_path}/gone" in err
    assert "Traceback" not in err


def test_without_the_library(hub, tmp_path, monkeypatch, capsys):
    """It is an extra: what to install must be said."""
    load = builtins.__import__

    def missing(name, *rest, **options):
        if name == "datasets":
            raise ImportError(name)
        return load(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert main([str(hub()), "--output", str(tmp_path / "out")]) == 2
    assert "pip install 'kdhub-retrieval[hf-datasets]'" in capsys.readouterr().err
