"""A tokenizer and text files small enough to be made for a test."""

import json

import pytest

from kdlm.tokenizer import load_tokenizer, train_tokenizer

TEXTS = [
    "Return the number of samples.",
    "Open a file and read its lines.",
    "A text is tokenised once, when the data set is built.",
    "Raise an error that names the line of the file.",
    "Close the file.",
    "Read a line, without its end, and return it as text.",
]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """The folder of a byte-level tokenizer of 300 tokens, whose token 0 ends a text and pads."""
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "text.txt").write_text("\n".join(TEXTS * 3), encoding="utf-8")
    train_tokenizer(folder, [str(folder / "text.txt")], size=300, max_length=128)
    return str(folder / "tokenizer")


@pytest.fixture
def text_file(tmp_path):
    """A function that writes bytes or texts as a file and returns its path."""

    def write(content, name="texts.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else "".join(f"{one}\n" for one in content).encode())
        return str(path)

    return write


@pytest.fixture
def table(text_file):
    """A function that writes rows as lines of JSON and returns the path."""
    return lambda rows, name="table.jsonl": text_file([json.dumps(row) for row in rows], name)


@pytest.fixture(autouse=True)
def _forget_tokenizers():
    """Tests write tokenizers of one name anew."""
    load_tokenizer.cache_clear()
