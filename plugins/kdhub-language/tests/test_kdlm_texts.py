"""Texts as tokens: what is kept, cut, left out or refused, and what is said of it."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given, settings, strategies as st

from kdhub import UsageError
from kdlm.data.files import TextLines, TextTable
from kdlm.data.texts import Texts
from kdlm.docstrings import docstrings
from kdlm.tokenizer import load_tokenizer, train_tokenizer


def decoded(data, index):
    return load_tokenizer(data.metainfo["tokenizer"]).decode(data[index]["input_ids"])


def test_what_is_left_out_is_counted(text_file, tokenizer):
    """A text that vanishes without a word makes two data sets of one name."""
    path = text_file(["Read a line.", "", "   ", "x", "Return it."])
    data = TextLines(path, tokenizer, end_of_text=False)
    assert data.counts == {"texts": 2, "empty": 2, "short": 1, "cut": 0, "dropped": 0}
    assert data.kept.tolist() == [0, 4]
    assert [decoded(data, index) for index in range(2)] == ["Read a line.", "Return it."]


def test_one_token_and_the_end_of_text_are_a_text(text_file, tokenizer):
    """With an end to predict, a text of one token teaches something."""
    data = TextLines(text_file(["x"]), tokenizer)
    assert data[0]["input_ids"].tolist()[1:] == [0]
    assert data[0]["labels"].tolist() == [-100, 0]


def test_exactly_one_end_of_text(text_file, tokenizer):
    """Two ends teach that a text goes on after its end; none that it never ends."""
    data = TextLines(text_file(["Read.", "Read.<|endoftext|>"]), tokenizer)
    assert data[0]["input_ids"].tolist() == data[1]["input_ids"].tolist()
    assert (data[0]["input_ids"] == 0).sum() == 1


@pytest.mark.parametrize(("too_long", "length"), [("cut", 2), ("drop", 1)])
def test_long_texts_are_cut_or_left_out_and_counted(text_file, tokenizer, too_long, length):
    """A text beyond the context is an index error on the device, hours later."""
    data = TextLines(
        text_file(["Read.", "Return the number of samples. " * 5]), tokenizer, max_length=8, too_long=too_long
    )
    assert len(data) == length
    assert data.counts["cut" if too_long == "cut" else "dropped"] == 1
    assert all(len(data[index]["input_ids"]) <= 8 for index in range(length))
    assert data[length - 1]["input_ids"][-1] == 0


@pytest.mark.parametrize("too_long", ["cut", "drop", "error"])
def test_a_text_that_fills_the_length_is_whole(text_file, tokenizer, too_long):
    """With `uncut`, a text of exactly the length needs no room for its end: it was counted as cut, left out, or an error."""
    text = "Return the number of samples."
    length = len(load_tokenizer(tokenizer)(text)["input_ids"])
    data = TextLines(text_file([text]), tokenizer, max_length=length, too_long=too_long, end_of_text="uncut")
    assert data.counts == {"texts": 1, "empty": 0, "short": 0, "cut": 0, "dropped": 0}
    assert decoded(data, 0) == text


def test_long_texts_can_be_an_error(text_file, tokenizer):
    """Who cannot afford to lose a word must hear which text is too long."""
    with pytest.raises(UsageError, match=r"text 2.*up to 8"):
        TextLines(text_file(["Read.", "Return " * 20]), tokenizer, max_length=8, too_long="error")


def test_a_limit_above_the_tokenizers_own_is_refused(text_file, tokenizer):
    """The model has no positions for such texts."""
    with pytest.raises(UsageError, match="max_length up to 128"):
        TextLines(text_file(["Read."]), tokenizer, max_length=129)


def test_a_byte_order_mark_and_windows_line_ends_are_no_text(text_file, tokenizer):
    """Files of other systems would begin with an unknown character and end each text with another."""
    data = TextLines(text_file("Read a line.\r\nReturn ü.\r\n".encode("utf-8-sig")), tokenizer, end_of_text=False)
    assert [decoded(data, index) for index in range(2)] == ["Read a line.", "Return ü."]


def test_what_is_no_utf_8_is_named_by_its_line(text_file, tokenizer):
    """A decoder's error names a byte of a buffer, which nobody finds in a file of millions of lines."""
    with pytest.raises(UsageError, match=r"texts\.txt:2.*UTF-8"):
        TextLines(text_file(b"good\nbad \xff\n"), tokenizer)


def test_a_file_without_a_text_is_refused(text_file, tokenizer):
    """A loader of no samples fails far from the file."""
    with pytest.raises(UsageError, match="no text is left"):
        TextLines(text_file(["", " "]), tokenizer)
    with pytest.raises(UsageError, match="no text is left"):
        TextLines(text_file(b""), tokenizer)


def test_a_tokenizer_without_a_pad_token_pads_with_its_end(tmp_path, tokenizer, text_file):
    """GPT-2's has none, and transformers would stop at the first batch."""
    own = transformers.AutoTokenizer.from_pretrained(tokenizer)
    own.pad_token = None
    own.save_pretrained(tmp_path / "gpt2")
    assert Texts(["Read."], str(tmp_path / "gpt2"))[0]["pad"] == own.eos_token_id
    own.eos_token = None
    own.save_pretrained(tmp_path / "neither")
    with pytest.raises(UsageError, match="neither a pad token"):
        Texts(["Read."], str(tmp_path / "neither"))


def test_a_misspelt_tokenizer_finds_its_neighbour(tokenizer):
    """Transformers answers with a paragraph about the hub."""
    with pytest.raises(UsageError, match="tokenizer"):
        Texts(["Read."], str(Path(tokenizer).with_name("tokeniser")))


def test_labels_are_names_in_order(table, tokenizer):
    """Classes in the order of their first occurrence would differ between training and validation files."""
    path = table([{"text": "Read.", "label": "b"}, {"text": "Close.", "label": "a"}])
    data = TextTable(path, tokenizer, label="label")
    assert data.metainfo["classes"] == ("a", "b")
    assert [data[index]["labels"] for index in range(2)] == [1, 0]
    assert (data[0]["input_ids"] != 0).all()
    assert TextTable(path, tokenizer, label="label", classes=("b", "a"))[0]["labels"] == 0
    with pytest.raises(UsageError, match=r"table\.jsonl:2.*unknown class 'a'"):
        TextTable(path, tokenizer, label="label", classes=("b", "c"))
    assert len(TextTable(path, tokenizer, label="label", where={"label": ["a", "c"]})) == 1


def test_labels_stay_with_their_texts(table, tokenizer):
    """An empty line that is left out of the texts alone moves every label after it."""
    rows = [{"text": text, "label": label} for text, label in (("Read.", 0), ("", 1), ("Close.", 2), ("Open.", 1))]
    data = TextTable(table(rows), tokenizer, label="label")
    assert [(decoded(data, i), data[i]["labels"]) for i in range(3)] == [("Read.", 0), ("Close.", 2), ("Open.", 1)]


@pytest.mark.parametrize(
    ("row", "message"),
    [({"tekst": "Read."}, "no field 'text'"), ({"text": 3}, "'text' is no text"), ({"text": "x"}, "no field 'label'")],
)
def test_a_line_without_its_fields_is_named(table, tokenizer, row, message):
    """A KeyError names neither the line nor what is there."""
    with pytest.raises(UsageError, match=rf"table\.jsonl:1.*{message}"):
        TextTable(table([row]), tokenizer, label="label")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30), min_size=1, max_size=6))
def test_any_text_comes_back(tokenizer, texts):
    """An alphabet with holes loses what its training text did not have."""
    filled = [text for text in texts if text.strip() and "<|endoftext|>" not in text]
    if not filled:
        return
    data = Texts(filled, tokenizer, max_length=100)
    names = load_tokenizer(tokenizer)
    whole = [text for text in filled if len(names(text)["input_ids"]) < 100]
    found = [names.decode(data[i]["input_ids"][:-1]) for i in range(len(data)) if len(data[i]["input_ids"]) < 100]
    assert found == [text for text in whole if len(names(text)["input_ids"]) < 99] or found == whole


def test_the_fingerprint_sees_tokens_and_labels(tokenizer):
    """A run that goes on with other data must not be taken for the same."""
    one = Texts(["Read.", "Close."], tokenizer, [0, 1], ["a", "b"])
    assert one.fingerprint() == Texts(["Read.", "Close."], tokenizer, [0, 1], ["a", "b"]).fingerprint()
    assert one.fingerprint() != Texts(["Read.", "Close."], tokenizer, [1, 0], ["a", "b"]).fingerprint()
    assert one.fingerprint() != Texts(["Read.", "Open."], tokenizer, [0, 1], ["a", "b"]).fingerprint()


def test_more_fields_follow_their_texts(tokenizer):
    """Whether a text is out of distribution is of no use at another text."""
    data = Texts(["Read.", "", "Close."], tokenizer, fields={"ood": [0, 1, 1]})
    assert [data[index]["ood"] for index in range(2)] == [0, 1]


def test_a_tokenizer_needs_room_for_the_bytes(tmp_path, text_file):
    """Fewer tokens than bytes cannot encode every text."""
    with pytest.raises(UsageError, match="size"):
        train_tokenizer(tmp_path, [text_file(["Read."])], size=256)
    with pytest.raises(UsageError, match=r"text\.txt"):
        train_tokenizer(tmp_path, [str(tmp_path / "text.txt")])


def test_docstrings_are_the_same_again(tmp_path, monkeypatch):
    """The recipe's text must not depend on the order of a folder, and no line may stand in both parts."""
    source = tmp_path / "lib"
    source.mkdir()
    for number in range(30):
        doc = f"Return the {number}th entry of the table, or stop.\n\nRaise an error if there is none."
        (source / f"m{number}.py").write_text(f'def f():\n    """{doc}"""\n')
    (source / "broken.py").write_text("def f(:\n")
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(source)})
    (tmp_path / "out").mkdir()
    counts = docstrings(tmp_path / "out", validation=4)
    parts = [set((tmp_path / "out" / f"{name}.txt").read_text().splitlines()) for name in ("train", "val")]
    assert not parts[0] & parts[1]
    assert [len(part) for part in parts] == [counts["train"], counts["val"]]
    assert sum(counts.values()) == 31
    assert json.dumps(counts) == json.dumps(docstrings(tmp_path / "out", validation=4))
    assert torch.is_tensor(torch.tensor(counts["val"]))
