"""Readers of published layouts: what is within, what is out, and what of a post is its author's."""

import pytest

from kdhub import UsageError
from kdood.published import ROSTD, SST, Newsgroups, body


def flags(data):
    return [data[index]["ood"] for index in range(len(data))]


def test_sst_by_its_heading(tmp_path, language_model):
    """A heading that is read as a text, or labels that are read into it, train the model on what nobody wrote."""
    lines = [f"a fine film {number}\t{number % 2}" for number in range(16)]
    (tmp_path / "train.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\na dull film\t0\n")
    (tmp_path / "ood.txt").write_text("quarks confine\n")
    options = {"root": str(tmp_path), "max_length": 32}
    train, val = (SST(split, language_model, **options) for split in ("train", "val"))
    assert (len(train), val.texts) == (14, ["a fine film 0", "a fine film 8"])
    test = SST("test", language_model, str(tmp_path / "ood.txt"), **options)
    assert (test.texts, flags(test)) == (["a dull film", "quarks confine"], [0, 1])
    (tmp_path / "dev.tsv").write_text("index\tsentence\n0\ta dull film\n")
    with pytest.raises(UsageError, match="no table of SST-2"):
        SST("test", language_model, **options)


def test_rostd_by_its_intent(tmp_path, language_model):
    """The third column is the request; a line without it must be named, not skipped."""
    (tmp_path / "test.tsv").write_text(
        "weather/find\t0:1:x\twill it rain\ten_XX\t{}\noutOfDomain\tFILLER\twhat are neurons\tFILLER\n"
    )
    data = ROSTD("test", language_model, root=str(tmp_path), max_length=32)
    assert (data.texts, flags(data)) == (["will it rain", "what are neurons"], [0, 1])
    (tmp_path / "eval.tsv").write_text("weather/find\t0:1:x\twill it rain\nweather/find\n")
    with pytest.raises(UsageError, match=r"eval\.tsv:2: too few columns"):
        ROSTD("val", language_model, root=str(tmp_path))


POST = """From: someone@somewhere
Subject: Re: cats

In article <1@x> other@there writes:
> do cats fly
> at all
No, they do not.
They jump caf\xe9-high.
--
someone, department of cats
"""


def test_a_post_is_what_its_author_wrote(tmp_path, language_model):
    """Headers, quotes and signatures name the group, so a model would tell groups by them; and the posts are no UTF-8."""
    assert body(POST) == "No, they do not. They jump caf\xe9-high."
    assert body("From: x\n\n> only a quote\n") == ""
    for group in ("comp.graphics", "alt.atheism", "talk.politics.misc"):
        (tmp_path / "20news-bydate-test" / group).mkdir(parents=True)
        (tmp_path / "20news-bydate-test" / group / "7").write_bytes(POST.replace("cats", group).encode("latin-1"))
    data = Newsgroups("test", language_model, ["rel"], str(tmp_path), max_length=32)
    assert flags(data) == [0, 1, 1]
    with pytest.raises(UsageError, match="unknown 'religion'"):
        Newsgroups("test", language_model, ["religion"], str(tmp_path))
    (tmp_path / "20news-bydate-test" / "alt.cats").mkdir()
    with pytest.raises(UsageError, match=r"unknown newsgroup 'alt\.cats'"):
        Newsgroups("test", language_model, ["rel"], str(tmp_path))
