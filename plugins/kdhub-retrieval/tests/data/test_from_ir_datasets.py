"""Collections of ir_datasets: what becomes of them, and what is said when one cannot be had."""

import builtins
import json

import pytest

from kdret.data.beir import load_split
from kdret.data.from_ir_datasets import main

ir_datasets = pytest.importorskip("ir_datasets", reason="pip install 'kdhub-retrieval[ir-datasets]'")


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """A collection of local files under the name `kdhub-test`, with a split of its own."""
    (tmp_path / "docs.tsv").write_text("d0\tread a file\nd1\tsort a list\nd2\tопера\n", encoding="utf-8")
    (tmp_path / "queries.tsv").write_text("q0\tfile\nq1\tlist\nq2\tlonely\n")
    (tmp_path / "qrels").write_text("q0 0 d0 1\nq0 0 d9 1\nq1 0 d1 1\nq1 0 d1 2\nq1 0 d0 0\nq2 0 d0 0\n")
    monkeypatch.setattr(ir_datasets.registry, "_registered", dict(ir_datasets.registry._registered))
    made = ir_datasets.create_dataset(
        docs_tsv=str(tmp_path / "docs.tsv"),
        queries_tsv=str(tmp_path / "queries.tsv"),
        qrels_trec=str(tmp_path / "qrels"),
    )
    ir_datasets.registry.register("kdhub-test", made)
    ir_datasets.registry.register(
        "kdhub-test/dev", ir_datasets.create_dataset(queries_tsv=str(tmp_path / "queries.tsv"))
    )
    return tmp_path


def test_a_collection_becomes_a_folder_that_all_data_sets_read(registered, capsys):
    """What trec_eval would ignore, strict reading refuses: it must be left out here, and counted."""
    assert main(["kdhub-test", "--output", str(registered / "out")]) == 0
    captured = capsys.readouterr()
    assert "test: left out 1 judgements of documents" in captured.err
    assert "test: left out 1 queries without a relevant document" in captured.err
    assert "test, 2 queries" in captured.out
    data = load_split(registered / "out", "test")
    assert {key: document.content for key, document in data.corpus.items()} == {
        "d0": "read a file",
        "d1": "sort a list",
        "d2": "опера",
    }
    assert data.queries == {"q0": "file", "q1": "list"}
    assert data.qrels == {"q0": {"d0": 1}, "q1": {"d1": 2, "d0": 0}}


def test_splits_have_names_of_their_own(registered):
    """Training on the split that is measured is the mistake that a wrong name makes."""
    splits = ["train=kdhub-test", "dev=kdhub-test"]
    assert main(["kdhub-test", "--splits", *splits, "--output", str(registered / "out")]) == 0
    names = {path.name for path in (registered / "out").iterdir()}
    assert names == {
        "corpus.jsonl",
        *(f"{kind}.{split}.jsonl" for kind in ("queries", "qrels") for split in ("train", "dev")),
    }
    first = json.loads((registered / "out/queries.dev.jsonl").read_text().splitlines()[0])
    assert first == {"_id": "q0", "text": "file"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["kdhub-tset"], "ir_datasets has no data set 'kdhub-tset'; did you mean 'kdhub-test'"),
        (["kdhub-test", "--splits", "dev"], "kdhub-test/dev has no qrels"),
        (["kdhub-test", "--splits", "test"], "ir_datasets has no data set 'kdhub-test/test'"),
    ],
)
def test_mistakes_are_one_line(registered, words, message, capsys):
    """A KeyError out of the library names neither the mistake nor what there is."""
    assert main([*words, "--output", str(registered / "out")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (registered / "out").exists()


def test_files_that_are_gone_are_one_line(registered, capsys):
    """Without a network, or with a damaged download, the library raises whatever it met."""
    (registered / "docs.tsv").unlink()
    assert main(["kdhub-test", "--output", str(registered / "out")]) == 2
    assert "ir_datasets cannot read kdhub-test" in capsys.readouterr().err
    assert main(["kdhub-test", "--output", str(registered)]) == 2
    assert "the folder is there already" in capsys.readouterr().err


def test_without_the_library(registered, monkeypatch, capsys):
    """It is an extra: what to install must be said."""
    load = builtins.__import__

    def missing(name, *rest, **options):
        if name == "ir_datasets":
            raise ImportError(name)
        return load(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert main(["kdhub-test", "--output", str(registered / "out")]) == 2
    assert "pip install 'kdhub-retrieval[ir-datasets]'" in capsys.readouterr().err
