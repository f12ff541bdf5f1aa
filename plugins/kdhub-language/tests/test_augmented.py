"""Edited copies of texts: how many there are, whose labels they have, and that they are the same each time."""

import random

import pytest
import transformers

from kdhub import UsageError
from kdhub.api import build, write_jsonl
from kdlm.data.augmented import Augmented, MaskedWords, RandomEdits

WORDS = [f"word{number}" for number in range(50)]


@pytest.fixture
def table(tmp_path, tokenizer):
    """Config of labelled texts."""
    rows = [{"text": " ".join(WORDS[place : place + 8]), "label": place % 2} for place in range(20)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    return {
        "type": "kdlm.TextTable",
        "path": str(tmp_path / "rows.jsonl"),
        "tokenizer": tokenizer,
        "label": "label",
        "max_length": 128,
    }


def test_copies_follow_with_their_labels(table):
    """A copy with the label of another text teaches the student what is wrong."""
    edits = {"type": "kdlm.RandomEdits"}
    data = build("dataset", {"type": "kdlm.Augmented", "dataset": table, "policies": [edits]}, where="test")
    assert len(data) == 40
    assert [data[place]["labels"] for place in range(20)] == [data[place]["labels"] for place in range(20, 40)]
    changed = sum(one != two for one, two in zip(data.data.texts, data.copies.texts, strict=True))
    assert changed > 15
    again, other = Augmented(table, [edits]), Augmented(table, [edits], seed=1)
    assert data.fingerprint() == again.fingerprint() != other.fingerprint()


def test_the_share_of_edited_words():
    """A probability that is not that of a word makes the study's 0.3 another policy; a lone word must not vanish."""
    text = " ".join(WORDS * 40)
    (edited,) = RandomEdits(0.3)([text], random.Random(0))
    kept = sum(word in WORDS for word in edited.split())
    assert kept == len(edited.split())
    # of 2000 words 7.5 % each are dropped and doubled: the number stays; those that stand where they stood are fewer
    assert len(edited.split()) == pytest.approx(2000, abs=60)
    (whole,) = RandomEdits(1e-9)([text], random.Random(0))
    assert whole == text
    assert all(RandomEdits(1.0)(["alone"], random.Random(seed)) != [""] for seed in range(20))


@pytest.fixture(scope="session")
def masked_model(tmp_path_factory):
    """A random BERT of one layer that knows the words."""
    folder = tmp_path_factory.mktemp("masked")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join(special + WORDS) + "\n")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=55, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.BertForMaskedLM(config).save_pretrained(folder)
    return str(folder)


def test_hidden_words_are_filled_in(masked_model, tokenizer):
    """Words that were not hidden must stay, and no special token may stand in a text."""
    texts = [" ".join(WORDS), " ".join(WORDS[:3])]
    found = MaskedWords(masked_model, batch_size=2)(texts, random.Random(0))
    assert [len(one.split()) for one in found] == [50, 3]
    assert set(" ".join(found).split()) <= set(WORDS)
    changed = sum(one != two for one, two in zip(found[0].split(), WORDS, strict=True))
    assert 5 <= changed <= 25
    with pytest.raises(UsageError, match="no masked language model"):
        MaskedWords(tokenizer)


def test_what_cannot_be_edited_is_refused(table):
    """Four policies, or pairs of texts, would fail far from the config's line."""
    with pytest.raises(UsageError, match="one to three"):
        Augmented(table, [])
    with pytest.raises(UsageError, match="edits single texts"):
        Augmented(list(range(3)), [{"type": "kdlm.RandomEdits"}])
    with pytest.raises(UsageError, match="bad probability"):
        RandomEdits(1.5)
