"""`tools/index_evidence.py`: the table of indexes."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch):
    """The tool as a module."""
    pytest.importorskip("kdret")
    monkeypatch.syspath_prepend(ROOT / "tools")
    yield importlib.import_module("index_evidence")
    for name in ("index_evidence", "retrieval_evidence"):
        sys.modules.pop(name, None)


def test_an_exact_index_finds_all_and_a_rough_one_less(tool, monkeypatch, tmp_path, capsys):
    """A recall of an index against itself is 1 whatever it misses, and a column under the wrong head misleads."""
    chance = np.random.default_rng(0)
    documents = chance.normal(size=(400, 16)).astype(np.float32)
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    tables = {"corpus": [{"_id": f"d{row}", "title": "", "text": f"text {row}"} for row in range(400)]}
    for start, split in ((0, "train"), (10, "dev")):
        rows = range(start, start + 10)
        tables[f"queries.{split}"] = [{"_id": f"q{row}", "text": f"query {row}"} for row in rows]
        tables[f"qrels.{split}"] = [{"query_id": f"q{row}", "doc_id": f"d{row}", "score": 1} for row in rows]
    for name, lines in tables.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(tool, "source", lambda _: tmp_path)
    ids = [f"d{row}" for row in range(400)]
    monkeypatch.setattr(tool, "_vectors", lambda *_: (ids, documents, documents[:20]))
    build = tool.FaissIndex
    monkeypatch.setattr(
        tool, "FaissIndex", lambda factory: build(factory=factory, effort=1 if "IVF" in factory else None)
    )
    found = tool.measured("any", ["Flat", "IVF16,Flat"], 1)
    assert found["Flat"]["recall"] == 1.0
    assert found["Flat"]["ndcg"] == 1.0  # each query is its own document
    assert found["IVF16,Flat"]["recall"] < 0.9
    assert found["Flat"]["mib"] >= documents.nbytes / 2**20
    assert tool.main(["any", "--factories", "Flat", "--rounds", "1"]) == 0
    head, _, row = capsys.readouterr().out.splitlines()
    assert head.count("|") == row.count("|")
    assert row.endswith("| 1.000 | 1.000 |")


def test_a_collection_that_is_nowhere_is_one_line(tool, capsys):
    """A traceback would hide that data are missing."""
    assert tool.main(["nowhere"]) == 2
    assert "index_evidence: error:" in capsys.readouterr().err
