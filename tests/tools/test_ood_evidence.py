"""`tools/ood_evidence.py`: rivals of OOD detection that train nothing, from embeddings to the rows of the table."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("kdood", reason="needs the plugin kdhub-ood")
transformers = pytest.importorskip("transformers")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch):
    """The tool as a module."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    yield importlib.import_module("ood_evidence")
    sys.modules.pop("ood_evidence", None)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A random BERT of one layer that knows some words."""
    folder = tmp_path_factory.mktemp("encoder")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *["play", "some", "music", "the", "quarks", "confine", "book", "a", "flight"],
    ]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    transformers.BertModel(config).save_pretrained(folder)
    return str(folder)


def test_embeddings_stand_in_the_order_of_their_texts(tool, encoder):
    """Texts are batched by length: embeddings in that order would be scored as other texts'."""
    texts = ["play some music the flight", "play", "quarks confine", "book a flight", "the"]
    together = tool.embedded(texts, encoder, batch_size=2)
    alone = torch.cat([tool.embedded([text], encoder) for text in texts])
    assert torch.allclose(together, alone, atol=1e-5)


def test_rows_of_texts_that_are_far_away(tool):
    """A score that is higher within than out would be a row of the best rival read as the worst."""
    random = torch.Generator().manual_seed(0)
    known = torch.tensor([3.0, 0.0, 0.0]) + 0.1 * torch.randn(50, 3, generator=random)
    asked = torch.cat([known[:20] + 0.01, torch.tensor([0.0, 3.0, 0.0]) + 0.1 * torch.randn(10, 3, generator=random)])
    found = tool.rows(known, asked, [False] * 20 + [True] * 10)
    assert list(found) == ["Mahalanobis", "nearest neighbour"]
    assert all(row["auroc"] == (100.0, 100.0, 100.0) and row["far95"][0] == 0.0 for row in found.values())


def test_a_config_becomes_rows(tool, encoder, tmp_path, capsys):
    """The command of the documentation must read the texts of the config's training and test data."""
    for name, lines in (("in", ["play some music", "the music"]), ("out", ["quarks confine", "quarks"])):
        (tmp_path / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines * 3))
    texts = {"type": "kdood.OODLines", "path": str(tmp_path / "in.txt"), "tokenizer": encoder, "end_of_text": False}
    config = tmp_path / "config.py"
    config.write_text(
        f"train_dataloader = dict(dataset={texts | {'part': 'in'}!r})\n"
        f"test_dataloader = dict(dataset={texts | {'ood': str(tmp_path / 'out.txt')}!r})\n"
    )
    assert tool.main([str(config), "--model", encoder, "--texts", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["nearest neighbour"]["auroc"][0] == 100.0
    assert tool.main([str(config), "--model", str(tmp_path / "nothing")]) == 2
    assert "ood_evidence: error: cannot load the tokenizer" in capsys.readouterr().err
