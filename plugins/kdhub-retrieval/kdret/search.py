"""Search a corpus: that of a run with the student it trained, or that of a saved index."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from kdhub.api import RunCard, UsageError, integer, is_unicode, require, say
from kdret.corpus_index import about_of, build_index, open_index, texts_of
from kdret.data.corpus import Corpus, load_corpus
from kdret.index import load_index
from kdret.index.base import DESCRIPTION, Index, read_description
from kdret.text_vectors import TextVectors

_SHOWN = 120
"""Characters of a document in a hit."""


class Hit(NamedTuple):
    """One answer.

    Attributes:
        rank: From 1.
        score: Similarity to the query.
        id: Document id.
        text: Beginning of title and text, in one line.
    """

    rank: int
    score: float
    id: str
    text: str


def search(
    work_dir: str | Path,
    query: str,
    *,
    top: int = 10,
    rebuild: bool = False,
    data: str | Path | None = None,
    model: str | None = None,
) -> list[Hit]:
    """Rank a corpus for one query.

    The index of a run is made on first use and kept in the run's folder; a changed student or corpus, or damage, makes it anew.
    Of the run's folder only ``run.json``, the student and the index are read. Its config is a program, and is not run.

    Args:
        work_dir: Folder of a finished or interrupted run, or one that ``kdhub index build`` wrote.
        query: What to look for.
        top: How many answers.
        rebuild: Make the index of a run anew in any case.
        data: Folder of the corpus; ``None`` takes the one of the run or of the index.
        model: Model of a saved index, if it has moved.

    Raises:
        UsageError: If the folder holds neither, its corpus is gone, or the query is not Unicode.
    """
    require("search", integer(1), top=top)
    if not is_unicode(query):
        raise UsageError("the query is not Unicode text", got=repr(query), fix="type it in UTF-8")
    if not query.strip():
        raise UsageError("the query is empty", expected="words to look for")
    folder = Path(work_dir)
    if (folder / DESCRIPTION).is_file():
        index, vectors, corpus = open_saved(folder, data, model)
    else:
        index, vectors, corpus = _of_run(folder, rebuild, data, shlex.join(["kdhub", "search", str(work_dir), query]))
    (ranking,) = index.search(vectors.queries([query]), top)
    return [
        Hit(rank, score, key, " ".join(corpus[key].content.split())[:_SHOWN])
        for rank, (key, score) in enumerate(ranking, start=1)
    ]


def open_saved(
    folder: Path, data: str | Path | None = None, model: str | None = None
) -> tuple[Index, TextVectors, Corpus]:
    """Open an index that ``kdhub index build`` wrote, with its model and corpus.

    Args:
        folder: The index.
        data: Folder of the corpus; ``None`` takes the one it was built from.
        model: The model; ``None`` takes the one it was built with.

    Raises:
        UsageError: If model or corpus are gone, or are others than those of the index.
    """
    about = read_description(folder)["about"]
    corpus = load_corpus(data or about["data"])
    vectors = TextVectors(model or about["model_name"])
    return load_index(folder, mmap=True, about=about_of(vectors, corpus)), vectors, corpus


def corpus_of(work_dir: Path) -> str:
    """Return the data folder that a run evaluates on, or else trains on, as its ``run.json`` has it.

    Raises:
        UsageError: If there is no ``run.json``, or it names no data folder.
    """
    card = RunCard.read(work_dir)
    data = card.content.get("data", {}) if card else {}
    for part in ("val", "train"):
        if root := data.get(part, {}).get("data_root"):
            return str(root)
    raise UsageError(
        "run.json names no data folder" if card else "no run.json",
        where=str(work_dir),
        fix="give the folder of the corpus with --data",
    )


def _of_run(folder: Path, rebuild: bool, data: str | Path | None, again: str) -> tuple[Index, TextVectors, Corpus]:
    student = folder / "student"
    if not (student / "modules.json").is_file():
        raise UsageError(
            f"{str(folder)!r} holds no saved sentence encoder and no index",
            expected=f"{student}, or an index of `kdhub index build`",
            fix="give the work_dir of a run that kdhub trained; `kdhub demo` makes one",
        )
    root = data if data is not None else corpus_of(folder)
    corpus = load_corpus(root)
    vectors = TextVectors(str(student.absolute()))
    about = about_of(vectors, corpus)
    index = None if rebuild else open_index(folder / "index", about)
    if index is None:
        documents = texts_of(corpus)
        say("the index is made once")
        about |= {"model_name": str(student), "data": str(root)}
        index = build_index(folder / "index", vectors, documents, vectors.new_index(), about, again)
    return index, vectors, corpus
